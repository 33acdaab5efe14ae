#!/usr/bin/env python3
"""The peer of benchmark_hrm: steps of the public HRM implementation (github.com/sapientinc/HRM, Apache-2.0) on the same machine, the same
model of 27M parameters and the same batch.

    python3 benchmarks/hrm_pytorch.py FOLDER_OF_A_CHECKOUT_OF_HRM [--threads 2] [--batch 8] [--seconds 30] [--modes eager,compile]
                                      [--dtype float32|bfloat16] [--beside build/release/bin/benchmark_hrm]

bfloat16 is the public configuration's own forward_dtype.  With --beside, steps of the two follow one another by turns, so that what else the
machine does strikes both, and the line has the median of their ratios.

Its own modules are imported as they are; what they need and a CPU lacks is stood in for as tests/reference/pytorch_hrm.py does, attention by
PyTorch's fused one where there is one.  AdamATan2 exists for CUDA alone: torch.optim.AdamW stands in, fused or foreach where it is, which does as
much work.  A step: the segment with its look ahead, backward, the update of the weights and of the puzzles' embedding.  A line of JSON per mode."""
import argparse
import json
import os
import statistics
import subprocess
import sys
import time
import types

import torch
from torch.nn import functional as F

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests", "reference"))
import pytorch_hrm  # noqa: E402

CONFIG = {"seq_len": 81, "vocab_size": 11, "num_puzzle_identifiers": 1, "puzzle_emb_ndim": 512, "hidden_size": 512, "num_heads": 8, "H_layers": 4,
          "L_layers": 4, "H_cycles": 2, "L_cycles": 2, "expansion": 4.0, "pos_encodings": "rope", "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
          "halt_max_steps": 16, "halt_exploration_prob": 0.1, "forward_dtype": "float32"}


def fused_attention(q, k, v, causal):
    assert not causal
    return F.scaled_dot_product_attention(*(x.transpose(1, 2) for x in (q, k, v))).transpose(1, 2).contiguous()


def optimizer(parameters):
    for more in ({"fused": True}, {"foreach": True}, {}):
        try:
            return torch.optim.AdamW(parameters, lr=1e-4, betas=(0.9, 0.95), weight_decay=0.1, **more)
        except (RuntimeError, TypeError):
            pass
    raise RuntimeError("no AdamW")


class Beside:
    """benchmark_hrm, which takes a step when it is told to."""

    def __init__(self, arguments):
        precision = {"float32": "32", "bfloat16": "bf16-mixed"}[arguments.dtype]
        environment = {name: value for name, value in os.environ.items() if name not in ("LD_PRELOAD", "LD_LIBRARY_PATH")}
        if arguments.threads:
            environment["AIOS_CPU_THREADS"] = str(arguments.threads)
        self.process = subprocess.Popen([arguments.beside, "--turns", "--batch", str(arguments.batch), "--precision", precision], text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)

    def step(self):
        print(file=self.process.stdin, flush=True)
        return float(self.process.stdout.readline())

    def close(self):
        self.process.communicate()


def measure(arguments, mode):
    from models.hrm.hrm_act_v1 import HierarchicalReasoningModel_ACTV1
    from models.losses import ACTLossHead
    from models.sparse_embedding import CastedSparseEmbeddingSignSGD_Distributed
    torch.manual_seed(1)
    head = ACTLossHead(HierarchicalReasoningModel_ACTV1({**CONFIG, "forward_dtype": arguments.dtype, "batch_size": arguments.batch}), "stablemax_cross_entropy")
    head.train()
    weights = optimizer(head.parameters())
    table = head.model.puzzle_emb  # an older PyTorch knows nothing of buffers, and wants long indices
    table.local_ids = table.local_ids.long()
    rows = CastedSparseEmbeddingSignSGD_Distributed([table.local_weights, table.local_ids, table.weights], world_size=1, lr=1e-2, weight_decay=0.1)
    labels = torch.randint(2, 11, (arguments.batch, 81), dtype=torch.int32)
    data = {"labels": labels, "inputs": torch.where(torch.rand(labels.shape) < 0.3, labels, torch.ones_like(labels)),
            "puzzle_identifiers": torch.zeros(arguments.batch, dtype=torch.int64)}
    carry = head.initial_carry(data)
    run = torch.compile(head, dynamic=False) if mode == "compile" else head
    beside = Beside(arguments) if arguments.beside else None
    times, ours, began = [], [], time.perf_counter()
    while len(times) < 5 or time.perf_counter() - began < arguments.seconds:
        start = time.perf_counter()
        carry, loss, _, _, _ = run(carry=carry, batch=data, return_keys=[])
        (loss / arguments.batch).backward()
        for each in (weights, rows):
            each.step()
            each.zero_grad()
        times.append(time.perf_counter() - start)
        if beside:
            ours.append(beside.step())
        if len(times) == 2:
            began = time.perf_counter()  # the first ones compile
    median = statistics.median(times[2:])
    compared = {}
    if beside:
        beside.close()
        compared = {"libaios_median_s": round(statistics.median(ours[2:]), 4),
                    "libaios_times_faster": round(statistics.median(a / b for a, b in zip(times[2:], ours[2:])), 3)}
    print(json.dumps({"mode": mode, "dtype": arguments.dtype, "torch": torch.__version__, "threads": torch.get_num_threads(), "batch": arguments.batch,
                      "parameters": sum(p.numel() for p in head.parameters()), "median_s": round(median, 4), "steps": len(times) - 2,
                      "sequences_per_s": round(arguments.batch / median, 3), **compared}), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--modes", default="eager")
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--beside", help="the program benchmark_hrm, to take turns with")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    pytorch_hrm.stand_in()
    if hasattr(F, "scaled_dot_product_attention"):
        sys.modules["flash_attn"] = types.SimpleNamespace(flash_attn_func=fused_attention)
    sys.path.insert(0, arguments.checkout)
    for mode in arguments.modes.split(","):
        measure(arguments, mode)


if __name__ == "__main__":
    main()
