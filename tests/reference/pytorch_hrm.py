"""Runs the public HRM implementation (github.com/sapientinc/HRM, Apache-2.0) once and writes what tests/train/pytorch_hrm_test.c
compares libaios with.

    python3 pytorch_hrm.py FOLDER_OF_A_CHECKOUT_OF_HRM > pytorch_hrm.json

Its own modules are imported as they are: models/hrm/hrm_act_v1.py, models/losses.py, in float32 on the CPU.  What they need and a CPU
with an older PyTorch lacks is stood in for here: flash attention by softmax(q k^T / sqrt(d)) v, nn.Buffer by the tensor itself, pydantic by
a plain class.  halt_exploration_prob is 0, so nothing is drawn.

The file: "tensors" as pytorch_common.py says (scale and offset of the fill rule), "inputs", "labels", "puzzles" of two segments in a row,
and per segment "losses" [lm, q_halt, q_continue] (sums over the batch), "q" (B, 2), "steps", "halted", and summaries of the gradients of
(lm + (q_halt + q_continue) / 2) / B by the names of the weights; "model.inner.puzzle_emb" is that of the batch's rows."""
import json
import math
import sys
import types

import torch
from torch import nn

from pytorch_common import FILL, Tensors, summary

CONFIG = {"batch_size": 4, "seq_len": 5, "vocab_size": 7, "num_puzzle_identifiers": 3, "puzzle_emb_ndim": 24, "hidden_size": 16,
          "num_heads": 2, "H_layers": 1, "L_layers": 2, "H_cycles": 2, "L_cycles": 2, "expansion": 4.0, "pos_encodings": "rope",
          "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "halt_max_steps": 3, "halt_exploration_prob": 0.0, "forward_dtype": "float32"}


def attention(q, k, v, causal):
    assert not causal
    weights = torch.softmax(torch.einsum("bthd,bshd->bhts", q, k) / math.sqrt(q.shape[-1]), dim=-1)
    return torch.einsum("bhts,bshd->bthd", weights, v).contiguous()


class Model:
    """Of pydantic: fields from keywords, class attributes as defaults."""

    def __init__(self, **fields):
        for name, value in fields.items():
            setattr(self, name, value)


def stand_in():
    if not hasattr(nn, "Buffer"):
        nn.Buffer = lambda tensor, persistent=True: tensor
    if "torch.optim.optimizer" not in sys.modules or not hasattr(sys.modules["torch.optim.optimizer"], "ParamsT"):
        sys.modules["torch.optim.optimizer"] = types.SimpleNamespace(Optimizer=torch.optim.Optimizer, ParamsT=object)
    no_grad = torch.no_grad  # newer ones decorate without brackets too
    torch.no_grad = lambda function=None: no_grad()(function) if function else no_grad()
    sys.modules["flash_attn"] = types.SimpleNamespace(flash_attn_func=attention)
    sys.modules["pydantic"] = types.SimpleNamespace(BaseModel=Model)


def fill(inner, tensors):
    named = dict(inner.named_parameters())
    named.update({"H_init": inner.H_init, "L_init": inner.L_init, "puzzle_emb.weights": inner.puzzle_emb.weights})
    with torch.no_grad():
        for name in sorted(named):
            scale = 1.0 if name.endswith("_init") else -0.5 if name == "q_head.bias" else 0.4 if name.startswith("q_head") else 1.5 / math.sqrt(named[name].shape[-1])
            named[name].copy_(tensors.add("model.inner." + name, list(named[name].shape), scale).detach().float())


def main():
    stand_in()
    sys.path.insert(0, sys.argv[1])
    from models.hrm.hrm_act_v1 import HierarchicalReasoningModel_ACTV1
    from models.losses import ACTLossHead
    batch, length = CONFIG["batch_size"], CONFIG["seq_len"]
    head = ACTLossHead(HierarchicalReasoningModel_ACTV1(CONFIG), "stablemax_cross_entropy")
    head.train()
    tensors = Tensors()
    fill(head.model.inner, tensors)
    inputs = [[[(3 * b + 5 * t + b * t + s) % 7 for t in range(length)] for b in range(batch)] for s in range(2)]
    labels = [[[-100 if (b + t + s) % 4 == 3 else (2 * b + t * t + s) % 7 for t in range(length)] for b in range(batch)] for s in range(2)]
    puzzles = [[b % 3 for b in range(batch)], [2 - b % 3 for b in range(batch)]]
    segments, carry = [], None
    for s in range(2):
        data = {"inputs": torch.tensor(inputs[s]), "labels": torch.tensor(labels[s]), "puzzle_identifiers": torch.tensor(puzzles[s])}
        carry = head.initial_carry(data) if carry is None else carry
        rows = head.model.inner.puzzle_emb.local_weights
        rows.grad = None
        head.zero_grad()
        carry, loss, metrics, outputs, _ = head(return_keys=["q_halt_logits", "q_continue_logits"], carry=carry, batch=data)
        (loss / batch).backward()
        gradients = {"model." + name[6:] if name.startswith("model.") else name: summary(p.grad.double()) for name, p in head.named_parameters()}
        gradients["model.inner.puzzle_emb"] = summary(rows.grad.double())
        segments.append({"losses": [metrics[k].item() for k in ("lm_loss", "q_halt_loss", "q_continue_loss")],
                         "q": [[a, b] for a, b in zip(outputs["q_halt_logits"].tolist(), outputs["q_continue_logits"].tolist())],
                         "steps": carry.steps.tolist(), "halted": [int(h) for h in carry.halted.tolist()], "gradients": gradients})
    json.dump({"fill": FILL, "config": CONFIG, "tensors": tensors.entries, "inputs": inputs, "labels": labels, "puzzles": puzzles,
               "segments": segments}, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
