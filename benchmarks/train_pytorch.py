#!/usr/bin/env python3
"""The peer: how many tokens per second PyTorch trains GPT-2 with, on the same machine and the same shapes as libaios.

The model is Hugging Face's GPT2LMHeadModel without dropout (Conv1D, tanh GELU, tied head, fused attention where this PyTorch
has it), the optimizer torch.optim.AdamW (fused or foreach where it is faster), the loss over all positions.  Each shape is
measured eager and, with --modes eager,compile, by torch.compile too; each result is one JSON line, the last line of a shape
names the best mode.  Works with PyTorch 1.13 and newer; the numbers of docs/measurements.md come from it.

    python3 benchmarks/train_pytorch.py --threads 2
    python3 benchmarks/train_pytorch.py --device cuda --dtype bfloat16 --shapes gpt2:16:1024 --modes eager,compile
"""
import argparse
import contextlib
import json
import math
import statistics
import sys
import time

import torch
from torch import nn
from torch.nn import functional as F

MODELS = {"gpt2": (12, 12, 768), "gpt2-medium": (24, 16, 1024), "gpt2-xl": (48, 25, 1600)}  # layers, heads, width
FUSED = hasattr(F, "scaled_dot_product_attention")


class Conv1D(nn.Module):
    def __init__(self, inside, outside, deviation=0.02):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(inside, outside) * deviation)
        self.bias = nn.Parameter(torch.zeros(outside))

    def forward(self, x):
        return torch.addmm(self.bias, x.view(-1, x.size(-1)), self.weight).view(*x.shape[:-1], -1)


class Block(nn.Module):
    def __init__(self, heads, width, layers):
        super().__init__()
        self.heads = heads
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.c_attn, self.c_proj = Conv1D(width, 3 * width), Conv1D(width, width, 0.02 / math.sqrt(2 * layers))
        self.c_fc, self.mlp_proj = Conv1D(width, 4 * width), Conv1D(4 * width, width, 0.02 / math.sqrt(2 * layers))

    def attention(self, x):
        b, t, c = x.shape
        q, k, v = [y.view(b, t, self.heads, c // self.heads).transpose(1, 2) for y in self.c_attn(x).split(c, dim=2)]
        if FUSED:
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        else:
            scores = q @ k.transpose(2, 3) / math.sqrt(c // self.heads)
            mask = torch.ones(t, t, dtype=torch.bool, device=x.device).tril()
            y = scores.masked_fill(~mask, -math.inf).softmax(-1) @ v
        return self.c_proj(y.transpose(1, 2).reshape(b, t, c))

    def forward(self, x):
        x = x + self.attention(self.ln_1(x))
        return x + self.mlp_proj(F.gelu(self.c_fc(self.ln_2(x)), approximate="tanh"))


class GPT2(nn.Module):
    def __init__(self, layers, heads, width, vocabulary, positions):
        super().__init__()
        self.wte, self.wpe = nn.Embedding(vocabulary, width), nn.Embedding(positions, width)
        nn.init.normal_(self.wte.weight, std=0.02)
        nn.init.normal_(self.wpe.weight, std=0.01)
        self.h = nn.ModuleList([Block(heads, width, layers) for _ in range(layers)])
        self.ln_f = nn.LayerNorm(width)

    def forward(self, tokens, labels):
        x = self.wte(tokens) + self.wpe(torch.arange(tokens.size(1), device=tokens.device))
        for block in self.h:
            x = block(x)
        logits = F.linear(self.ln_f(x), self.wte.weight)
        return F.cross_entropy(logits.view(-1, logits.size(-1)), labels.view(-1))


def adamw(model):
    groups = [{"params": [p for p in model.parameters() if p.dim() >= 2], "weight_decay": 0.1},
              {"params": [p for p in model.parameters() if p.dim() < 2], "weight_decay": 0.0}]
    for extra in ({"fused": True}, {"foreach": True}, {}):
        try:
            return torch.optim.AdamW(groups, lr=1e-4, betas=(0.9, 0.95), eps=1e-8, **extra)
        except (TypeError, RuntimeError):
            continue
    raise RuntimeError("this PyTorch has no AdamW")


def sizes(name):
    """Of a named model, or of LAYERSxWIDTH with heads of 64."""
    if name in MODELS:
        return MODELS[name]
    layers, width = [int(n) for n in name.split("x")]
    return layers, max(1, width // 64), width


def measure(name, batch, sequence, mode, arguments):
    layers, heads, width = sizes(name)
    vocabulary = arguments.vocabulary
    device = torch.device(arguments.device)
    dtype = getattr(torch, arguments.dtype)
    torch.manual_seed(1)
    model = GPT2(layers, heads, width, vocabulary, max(1024, sequence)).to(device)
    optimizer = adamw(model)
    run = torch.compile(model) if mode == "compile" else model
    text = torch.randint(vocabulary, (batch, sequence + 1), device=device)

    def step():
        start = time.perf_counter()
        with torch.autocast(device.type, dtype=dtype) if dtype != torch.float32 else contextlib.nullcontext():
            loss = run(text[:, :-1].contiguous(), text[:, 1:].contiguous())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        value = loss.item()  # waits for the device
        if not math.isfinite(value):
            raise RuntimeError("the loss is %s" % value)
        return time.perf_counter() - start

    for _ in range(arguments.warmup):
        step()
    times, began = [], time.perf_counter()
    while len(times) < 3 or (time.perf_counter() - began < arguments.seconds and len(times) < 1000):
        times.append(step())
    seconds = statistics.median(times)
    parameters = sum(p.numel() for p in model.parameters())
    flops = 6 * (parameters - model.wpe.weight.numel()) + 6 * layers * width * sequence  # of one token
    rate = batch * sequence / seconds
    return {"program": "pytorch", "version": torch.__version__, "mode": mode, "fused_attention": FUSED, "device": arguments.device,
            "dtype": arguments.dtype, "threads": torch.get_num_threads(), "model": name, "parameters": parameters, "batch": batch,
            "sequence": sequence, "steps": len(times), "seconds_per_step": round(seconds, 6), "fastest": round(min(times), 6),
            "tokens_per_second": round(rate, 1), "gflops": round(rate * flops / 1e9, 1)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", default="gpt2:4:64,gpt2:4:256,6x384:4:64,6x384:4:256",
                        help="MODEL:BATCH:TOKENS, comma-separated; MODEL: %s or LAYERSxWIDTH" % ", ".join(MODELS))
    parser.add_argument("--vocabulary", type=int, default=50257)
    parser.add_argument("--modes", default="eager", help="eager, compile or both, comma-separated")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32", help="float32, or bfloat16 by autocast")
    parser.add_argument("--seconds", type=float, default=10, help="how long to measure one shape")
    parser.add_argument("--warmup", type=int, default=2, help="steps before the measured ones")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    for shape in arguments.shapes.split(","):
        name, batch, sequence = shape.split(":")
        results = []
        for mode in arguments.modes.split(","):
            try:
                results.append(measure(name, int(batch), int(sequence), mode, arguments))
                print(json.dumps(results[-1]), flush=True)
            except Exception as error:  # a mode that this build of PyTorch can't do must not hide the others
                print("train_pytorch: %s, %s: %s" % (shape, mode, str(error).strip().split("\n")[0]), file=sys.stderr, flush=True)
        if not results:
            return 1
        if len(results) > 1:
            best = max(results, key=lambda r: r["tokens_per_second"])
            print(json.dumps({"best": best["mode"], "shape": shape, "tokens_per_second": best["tokens_per_second"]}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
