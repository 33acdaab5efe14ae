#!/usr/bin/env python3
"""A tiny GPT-2 in float64 by PyTorch: logits, loss, gradients, AdamW.  Writes pytorch_gpt2.json beside itself.

The model is Hugging Face's GPT2LMHeadModel: Conv1D weights (in, out), gelu_new (tanh), tied head, no dropout.  Fill rule and
summaries: pytorch_common.py.  In the file: "loss" is the mean over labels that are not -100; "hits" counts the rows whose
first largest logit is the label; "gradients" are of "loss"; "adamw" is training on the same batch over and over: "losses"
before each step, the gradient's norm before each step, and every weight after the first and after the last step (entries
are chosen where the first gradient is far above rounding; sums and squares contain the others too, so compare those loosely).
Weight decay applies to tensors of rank 2.  The optimizer is torch.optim.AdamW, the clipping clip_grad_norm_'s."""
import math
import os

import torch

from pytorch_common import FILL, Tensors, clear, summary, write

LAYERS, HEADS, WIDTH, VOCABULARY, POSITIONS, T, B, EPS = 2, 2, 16, 61, 16, 12, 3, 1e-5
ADAMW = {"lr": 0.01, "beta1": 0.9, "beta2": 0.95, "eps": 1e-4, "weight_decay": 0.1, "max_norm": 0.25, "steps": 10}


def make():
    t = Tensors()
    t.add("wte.weight", (VOCABULARY, WIDTH), 0.2)
    t.add("wpe.weight", (POSITIONS, WIDTH), 0.1)
    for layer in range(LAYERS):
        p = "h.%d." % layer
        t.add(p + "ln_1.weight", (WIDTH,), 0.2, 1.0)
        t.add(p + "ln_1.bias", (WIDTH,), 0.1)
        t.add(p + "attn.c_attn.weight", (WIDTH, 3 * WIDTH), 0.4)
        t.add(p + "attn.c_attn.bias", (3 * WIDTH,), 0.1)
        t.add(p + "attn.c_proj.weight", (WIDTH, WIDTH), 0.4)
        t.add(p + "attn.c_proj.bias", (WIDTH,), 0.1)
        t.add(p + "ln_2.weight", (WIDTH,), 0.2, 1.0)
        t.add(p + "ln_2.bias", (WIDTH,), 0.1)
        t.add(p + "mlp.c_fc.weight", (WIDTH, 4 * WIDTH), 0.4)
        t.add(p + "mlp.c_fc.bias", (4 * WIDTH,), 0.1)
        t.add(p + "mlp.c_proj.weight", (4 * WIDTH, WIDTH), 0.3)
        t.add(p + "mlp.c_proj.bias", (WIDTH,), 0.1)
    t.add("ln_f.weight", (WIDTH,), 0.2, 1.0)
    t.add("ln_f.bias", (WIDTH,), 0.1)
    return t


def norm(t, name, x):
    return torch.nn.functional.layer_norm(x, (WIDTH,), t[name + ".weight"], t[name + ".bias"], EPS)


def conv(t, name, x):
    return x @ t[name + ".weight"] + t[name + ".bias"]


def gelu(x):
    return 0.5 * x * (1.0 + torch.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x ** 3)))


def forward(t, tokens):
    x = t["wte.weight"][tokens] + t["wpe.weight"][:T]
    mask = torch.ones(T, T, dtype=torch.bool).tril()
    for layer in range(LAYERS):
        p = "h.%d." % layer
        q, k, v = [y.reshape(B, T, HEADS, WIDTH // HEADS).transpose(1, 2)
                   for y in conv(t, p + "attn.c_attn", norm(t, p + "ln_1", x)).split(WIDTH, dim=2)]
        scores = (q @ k.transpose(2, 3) / math.sqrt(WIDTH // HEADS)).masked_fill(~mask, -math.inf)
        x = x + conv(t, p + "attn.c_proj", (scores.softmax(-1) @ v).transpose(1, 2).reshape(B, T, WIDTH))
        x = x + conv(t, p + "mlp.c_proj", gelu(conv(t, p + "mlp.c_fc", norm(t, p + "ln_2", x))))
    return norm(t, "ln_f", x) @ t["wte.weight"].T


def main():
    t = make()
    tokens = torch.tensor([[(7 * b + 5 * i + 3 * i * i) % VOCABULARY for i in range(T)] for b in range(B)])
    labels = torch.tensor([[-100 if (b + i) % 5 == 4 else (11 * b + 4 * i + i * i) % VOCABULARY for i in range(T)] for b in range(B)])

    def loss_of(logits):
        return torch.nn.functional.cross_entropy(logits.reshape(-1, VOCABULARY), labels.reshape(-1), ignore_index=-100)

    logits = forward(t, tokens)
    best = (torch.arange(B)[:, None] + torch.arange(T)) % 4 == 1  # some labels that the model predicts, for "hits"
    labels = torch.where(best & (labels >= 0), logits.argmax(-1), labels)
    loss = loss_of(logits)
    loss.backward()
    gradients = {name: value.grad.clone() for name, value in t.values.items()}
    document = {
        "about": "made by pytorch_gpt2.py, which says what each part is", "torch": torch.__version__, "fill": FILL,
        "model": {"model_type": "gpt2", "n_layer": LAYERS, "n_head": HEADS, "n_embd": WIDTH, "vocab_size": VOCABULARY,
                  "n_positions": POSITIONS, "layer_norm_epsilon": EPS, "activation_function": "gelu_new"},
        "batch": B, "sequence": T, "tensors": t.entries, "tokens": tokens.tolist(), "labels": labels.tolist(),
        "logits": summary(logits, 16), "loss": loss.item(), "rows": int((labels >= 0).sum()),
        "hits": int(((logits.argmax(-1) == labels) & (labels >= 0)).sum()),
        "row_losses": torch.nn.functional.cross_entropy(logits.reshape(-1, VOCABULARY), labels.reshape(-1), ignore_index=-100,
                                                         reduction="none").tolist(),
        "gradients": {name: summary(g) for name, g in gradients.items()},
        "gradient_norm": math.sqrt(sum((g * g).sum().item() for g in gradients.values())),
    }
    decay = [v for v in t.values.values() if v.dim() == 2]
    keep = [v for v in t.values.values() if v.dim() == 1]
    optimizer = torch.optim.AdamW([{"params": decay, "weight_decay": ADAMW["weight_decay"]}, {"params": keep, "weight_decay": 0.0}],
                                  lr=ADAMW["lr"], betas=(ADAMW["beta1"], ADAMW["beta2"]), eps=ADAMW["eps"])
    losses, norms, first = [], [], {}
    for step in range(ADAMW["steps"]):
        optimizer.zero_grad()
        loss = loss_of(forward(t, tokens))
        loss.backward()
        losses.append(loss.item())
        norms.append(float(torch.nn.utils.clip_grad_norm_(list(t.values.values()), ADAMW["max_norm"])))
        optimizer.step()
        if step == 0:
            first = {name: summary(v, 8, clear(gradients[name])) for name, v in t.values.items()}
    document["adamw"] = dict(ADAMW, losses=losses, norms=norms, first=first,
                             last={name: summary(v, 8, clear(gradients[name])) for name, v in t.values.items()})
    write(os.path.join(os.path.dirname(os.path.abspath(__file__)), "pytorch_gpt2.json"), document)


if __name__ == "__main__":
    main()
