#!/usr/bin/env python3
"""Transformer blocks in float64 by PyTorch, as HRM and Llama use them: losses, gradients, one step.  Writes pytorch_blocks.json.

Both cases: x = sqrt(width) * embed[tokens]; one block; logits = x head^T; q = x[:, 0] q_head^T + q_bias;
    total = (sum of cross-entropy over labels that are not -100 + 0.5 * sum of BCE-with-logits(q, q_targets)) / rows
with rows = how many labels are not -100.  Linear weights are (out, in).  qkv = [queries | keys | values] rows of heads; rotary
positions 0 … T-1, half-split, theta 10000, on queries and keys; rms(x) = x / sqrt(mean(x^2) + eps); swiglu of [gate | up].

hrm_block (post-norm, no gains, attention without mask, stablemax):
    x = rms(x + attention(x qkv^T) o^T);  x = rms(x + swiglu(x gate_up^T) down^T)
    stablemax: p = s(x) / sum s, s(x) = x + 1 for x >= 0, 1 / (1 - x) below.  HRM's own code has 1 / (1 - x + 1e-30): the same
    in float64.
    Then one step of Adam-atan2 with decay on every tensor (sapientinc/HRM's kernel):
    p *= 1 - lr wd;  m = (1 - b1) g;  v = (1 - b2) g^2;  p -= lr / (1 - b1) * atan2(m, sqrt(v / (1 - b2)))
llama_block (pre-norm, gains, causal, two query heads on one key-value head, softmax):
    x = x + attention((rms(x) * norm_1) qkv^T) o^T;  x = x + swiglu((rms(x) * norm_2) gate_up^T) down^T
    Then one step of sign-SGD: p = p (1 - lr wd) - lr sign(g).
Entries after a step are chosen where the gradient is far above rounding; sums and squares contain the others too, so compare
those loosely."""
import math
import os

import torch

from pytorch_common import FILL, Tensors, clear, summary, write

B, T, WIDTH, HEADS, INNER, VOCABULARY, THETA, EPS = 2, 7, 24, 2, 40, 19, 10000.0, 1e-5
HEAD = WIDTH // HEADS
STEP = {"lr": 0.01, "beta1": 0.9, "beta2": 0.95, "weight_decay": 0.1}


def make(kv_heads, gains):
    t = Tensors()
    t.add("embed", (VOCABULARY, WIDTH), 0.3)
    t.add("qkv", ((HEADS + 2 * kv_heads) * HEAD, WIDTH), 0.4)
    t.add("o", (WIDTH, WIDTH), 0.4)
    t.add("gate_up", (2 * INNER, WIDTH), 0.4)
    t.add("down", (WIDTH, INNER), 0.3)
    t.add("head", (VOCABULARY, WIDTH), 0.4)
    t.add("q_head", (2, WIDTH), 0.3)
    t.add("q_bias", (2,), 0.5)
    if gains:
        t.add("norm_1", (WIDTH,), 0.2, 1.0)
        t.add("norm_2", (WIDTH,), 0.2, 1.0)
    return t


def rms(x):
    return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + EPS)


def rotate(x):
    """x (B, heads, T, HEAD)."""
    frequency = THETA ** (-2.0 * torch.arange(HEAD // 2, dtype=torch.float64) / HEAD)
    angle = torch.arange(T, dtype=torch.float64)[:, None] * frequency
    a, b = x[..., :HEAD // 2], x[..., HEAD // 2:]
    return torch.cat([a * angle.cos() - b * angle.sin(), b * angle.cos() + a * angle.sin()], -1)


def attention(qkv, kv_heads, causal):
    q, k, v = qkv.split([WIDTH, kv_heads * HEAD, kv_heads * HEAD], dim=2)
    q = rotate(q.reshape(B, T, HEADS, HEAD).transpose(1, 2))
    k = rotate(k.reshape(B, T, kv_heads, HEAD).transpose(1, 2)).repeat_interleave(HEADS // kv_heads, 1)
    v = v.reshape(B, T, kv_heads, HEAD).transpose(1, 2).repeat_interleave(HEADS // kv_heads, 1)
    scores = q @ k.transpose(2, 3) / math.sqrt(HEAD)
    if causal:
        scores = scores.masked_fill(~torch.ones(T, T, dtype=torch.bool).tril(), -math.inf)
    return (scores.softmax(-1) @ v).transpose(1, 2).reshape(B, T, WIDTH)


def swiglu(x):
    gate, up = x.chunk(2, -1)
    return gate * torch.sigmoid(gate) * up


def log_stablemax(x):
    s = torch.where(x >= 0, x + 1, 1 / (1 - x.clamp(max=0)))
    return torch.log(s / s.sum(-1, keepdim=True))


def case(kv_heads, hrm):
    t = make(kv_heads, not hrm)
    tokens = torch.tensor([[(5 * b + 3 * i + i * i) % VOCABULARY for i in range(T)] for b in range(B)])
    labels = torch.tensor([[-100 if (b + i) % 6 == 5 else (7 * b + 2 * i + i * i) % VOCABULARY for i in range(T)] for b in range(B)])
    targets = torch.tensor([[1.0, 0.25], [0.0, 0.75]], dtype=torch.float64)
    x = math.sqrt(WIDTH) * t["embed"][tokens]
    if hrm:
        x = rms(x + attention(x @ t["qkv"].T, kv_heads, False) @ t["o"].T)
        x = rms(x + swiglu(x @ t["gate_up"].T) @ t["down"].T)
    else:
        x = x + attention((rms(x) * t["norm_1"]) @ t["qkv"].T, kv_heads, True) @ t["o"].T
        x = x + swiglu((rms(x) * t["norm_2"]) @ t["gate_up"].T) @ t["down"].T
    logits = x @ t["head"].T
    best = (torch.arange(B)[:, None] + torch.arange(T)) % 4 == 1  # some labels that the model predicts, for "hits"
    labels = torch.where(best & (labels >= 0), logits.argmax(-1), labels)
    q = x[:, 0] @ t["q_head"].T + t["q_bias"]
    log_p = log_stablemax(logits) if hrm else logits.log_softmax(-1)
    rows = int((labels >= 0).sum())
    row_losses = torch.where(labels >= 0, -log_p.gather(-1, labels.clamp(min=0)[..., None])[..., 0], torch.zeros((), dtype=torch.float64))
    bce = torch.nn.functional.binary_cross_entropy_with_logits(q, targets, reduction="sum")
    total = (row_losses.sum() + 0.5 * bce) / rows
    total.backward()
    hits = int(((logits.argmax(-1) == labels) & (labels >= 0)).sum())
    after = {}
    for name, p in t.values.items():
        g, lr, decay = p.grad, STEP["lr"], 1 - STEP["lr"] * STEP["weight_decay"]
        if hrm:
            m, v = (1 - STEP["beta1"]) * g, (1 - STEP["beta2"]) * g * g
            new = p * decay - lr / (1 - STEP["beta1"]) * torch.atan2(m, torch.sqrt(v / (1 - STEP["beta2"])))
        else:
            new = p * decay - lr * torch.sign(g)
        after[name] = summary(new, 8, clear(g))
    return {"kv_heads": kv_heads, "causal": 0 if hrm else 1, "norm": "post" if hrm else "pre", "loss_kind": "stablemax" if hrm else "softmax",
            "tensors": t.entries, "tokens": tokens.tolist(), "labels": labels.tolist(), "q_targets": targets.tolist(),
            "logits": summary(logits, 16), "q": q.tolist(), "row_losses": row_losses.reshape(-1).tolist(), "bce": bce.item(),
            "loss": total.item(), "rows": rows, "hits": hits, "gradients": {name: summary(p.grad) for name, p in t.values.items()},
            "optimizer": dict(STEP, kind="adam-atan2" if hrm else "sign-sgd", after=after)}


def main():
    write(os.path.join(os.path.dirname(os.path.abspath(__file__)), "pytorch_blocks.json"), {
        "about": "made by pytorch_blocks.py, which says what each part is", "torch": torch.__version__, "fill": FILL,
        "batch": B, "sequence": T, "width": WIDTH, "heads": HEADS, "inner": INNER, "vocabulary": VOCABULARY,
        "rope_theta": THETA, "rms_eps": EPS, "hrm_block": case(HEADS, True), "llama_block": case(1, False)})


if __name__ == "__main__":
    main()
