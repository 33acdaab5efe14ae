#!/usr/bin/env python3
"""Holds lib/model/safetensors.c against the public library (pip install safetensors numpy ml_dtypes huggingface_hub).

    safetensors_check.py make tests/data       writes the fixtures that tests/unit read
    safetensors_check.py verify FILE...        reads each file with the library and writes it again: the bytes must be the same
"""
import json
import pathlib
import struct
import sys

import ml_dtypes
import numpy as np
from safetensors import safe_open
from safetensors.numpy import save, save_file

TYPES = ["bool", "uint8", "int8", "int16", "uint16", "float16", "int32", "uint32", "float32", "float64", "int64", "uint64"]


def every_type():
    tensors = {"n." + name: np.arange(6).astype(name).reshape(2, 3) for name in TYPES}
    tensors["n.bfloat16"] = np.arange(6).astype(ml_dtypes.bfloat16).reshape(3, 2)
    tensors["scalar"] = np.array(0.5, np.float32)
    tensors["empty"] = np.zeros((0, 3), np.float32)
    tensors["also empty"] = np.zeros((4, 0), np.float32)
    tensors["näme \"\\\n\x01\x7f/ \U0001F600"] = np.array([-1], np.int8)
    return tensors


def rounding():
    """f32 values around every kind of boundary, and what ml_dtypes and numpy make of them."""
    values = [0.0, -0.0, 1.0, 1.0 + 2**-11, 1.0 + 3 * 2**-11, 65504.0, 65519.99, 65520.0, 2**-14, 2**-24, 2**-25, 3 * 2**-26, 2**-25 * 1.5,
              6.1e-5, 5.9604645e-08, 1e-40, np.inf, -np.inf, np.nan, 3.3895314e38, 3.4e38, 1.00390625, 1.01171875, -1.00390625, 0.1, -0.3]
    with np.errstate(over="ignore"):
        wide = np.array(values, np.float32)
        return {"f32": wide, "f16": wide.astype(np.float16), "bf16": wide.astype(ml_dtypes.bfloat16)}


def sharded(folder):
    from huggingface_hub.serialization import split_state_dict_into_shards_factory as split

    sizes = {"transformer.wte": 6, "transformer.wpe": 6, "transformer.h.0.big": 20, "transformer.h.0.b": 2, "transformer.h.0.a": 6, "transformer.é": 2}
    state = {name: np.arange(size, dtype=np.float32) for name, size in sizes.items()}
    plan = split(state, get_storage_size=lambda t: t.nbytes, filename_pattern="model{suffix}.safetensors", max_shard_size=40)
    for file, names in plan.filename_to_tensors.items():
        save_file({name: state[name] for name in names}, folder / file, metadata={"format": "pt"})
    # transformers' modeling_utils.save_pretrained
    index = {"metadata": {"total_parameters": sum(t.size for t in state.values()), **plan.metadata}, "weight_map": plan.tensor_to_filename}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def make(folder):
    (folder / "sharded").mkdir(parents=True, exist_ok=True)
    save_file(every_type(), folder / "types.safetensors", metadata={"format": "pt", "näme": "\U0001F600\n"})
    save_file({"b": np.ones(3, np.float32), "a": np.arange(2, dtype=np.int64)}, folder / "plain.safetensors")
    save_file(rounding(), folder / "rounding.safetensors")
    (folder / "none.safetensors").write_bytes(save({}))
    (folder / "empty_metadata.safetensors").write_bytes(save({"x": np.zeros(1, np.uint8)}, metadata={}))
    (folder / "float8.safetensors").write_bytes(save({"x": np.zeros(4, ml_dtypes.float8_e4m3fn)}))
    sharded(folder / "sharded")
    config = {"model_type": "gpt2", "n_embd": 384, "layer_norm_epsilon": 1e-05, "activation": None, "tie": True, "name": "näme\U0001F600\x7f\n",
              "nested": {"z": [], "a": {}, "list": [1, 2.0, -0.0, 1e16, 123456789.125, 5e-324, 1.7976931348623157e308, 0.0001, 1e15]}}
    (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def verify(path):
    def header(bytes_):
        return json.loads(bytes_[8:8 + struct.unpack("<Q", bytes_[:8])[0]])

    written = path.read_bytes()
    with safe_open(path, framework="numpy") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}
        metadata = file.metadata()
    again = save(tensors, metadata)
    # The library writes __metadata__ in an order of its own, which changes from run to run.
    same = again == written or (len(metadata or {}) > 1 and len(again) == len(written) and header(again) == header(written))
    print(f"{path}: {len(tensors)} tensors, {'same bytes' if same else 'DIFFERENT BYTES'}")
    return same


if __name__ == "__main__":
    if len(sys.argv) == 3 and sys.argv[1] == "make":
        make(pathlib.Path(sys.argv[2]))
    elif len(sys.argv) > 2 and sys.argv[1] == "verify":
        sys.exit(not all([verify(pathlib.Path(name)) for name in sys.argv[2:]]))
    else:
        sys.exit(__doc__)
