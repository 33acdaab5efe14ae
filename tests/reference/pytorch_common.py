"""What the reference generators share: the fill rule, and how a tensor is summed up in JSON.

Fill rule.  Tensor number k of the file's "tensors" (k counts from 0), element i (row-major, from 0), all in uint32 that wraps:

    u = (i + 1) * 2654435761 + (k + 1) * 2246822519
    u ^= u >> 15;  u *= 2246822519;  u ^= u >> 13;  u *= 3266489917;  u ^= u >> 16
    value = (float)(offset + scale * ((u >> 8) / 8388608.0 - 1.0))

with offset and scale as the tensor's entry says; the arithmetic of the last line is double.  The references are computed
in float64 from those float32 values."""
import json

import torch

FILL = ("u = (i + 1) * 2654435761 + (k + 1) * 2246822519; u ^= u >> 15; u *= 2246822519; u ^= u >> 13; u *= 3266489917; "
        "u ^= u >> 16; value = (float)(offset + scale * ((u >> 8) / 8388608.0 - 1.0)); u is uint32, i the element, k the tensor's index")


def fill(k, count, scale, offset):
    mask = 0xFFFFFFFF
    values = []
    for i in range(count):
        u = ((i + 1) * 2654435761 + (k + 1) * 2246822519) & mask
        u ^= u >> 15
        u = (u * 2246822519) & mask
        u ^= u >> 13
        u = (u * 3266489917) & mask
        u ^= u >> 16
        values.append(offset + scale * ((u >> 8) / 8388608.0 - 1.0))
    return torch.tensor(values, dtype=torch.float64).float().double()


class Tensors:
    """The parameters of a reference model, in the order of their numbers."""

    def __init__(self):
        self.entries, self.values = [], {}

    def add(self, name, shape, scale, offset=0.0):
        count = 1
        for n in shape:
            count *= n
        value = fill(len(self.entries), count, scale, offset).reshape(shape).requires_grad_(True)
        self.entries.append({"name": name, "shape": list(shape), "scale": scale, "offset": offset})
        self.values[name] = value
        return value

    def __getitem__(self, name):
        return self.values[name]


def summary(x, samples=8, where=None):
    """Sum, sum of squares and a few entries; where: a mask of the entries that may be chosen."""
    x = x.detach().reshape(-1)
    candidates = list(range(x.numel())) if where is None else [i for i, w in enumerate(where.reshape(-1).tolist()) if w]
    step = max(1, len(candidates) // samples)
    picked = candidates[step // 2::step][:samples]
    return {"sum": x.sum().item(), "squares": (x * x).sum().item(), "index": picked, "value": [x[i].item() for i in picked]}


def clear(gradient):
    """Entries whose gradient is far above rounding: there an optimizer's first step is well conditioned."""
    return gradient.abs() > 1e-3 * gradient.abs().max()


def write(path, document):
    with open(path, "w", encoding="ascii") as f:
        json.dump(document, f, indent=1)
        f.write("\n")
