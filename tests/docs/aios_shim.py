#!/usr/bin/env python3
"""`aios` as the documentation's blocks meet it: the built one, with models that train in a moment, on simulated GPUs where a GPU is named.  A model, run or
text that a block takes for granted is made where it is missing."""
import os
import re
import subprocess
import sys

AIOS, SIM, MODEL, TEXT = (os.environ[name] for name in ("AIOS_TOOL", "AIOS_SIM", "DOCS_MODEL", "DOCS_TEXT"))
SMALL = {"n-layer": "1", "n-head": "2", "n-embd": "16", "max-seq-len": "32", "batch-size": "2", "eval-batches": "2", "eval-interval": None,
         "checkpoint-interval": None, "gradient-accumulation-steps": "2", "merge-interval": "3", "dataset-chunk-size": "20", "lr-warmup-steps": "1",
         "hidden-size": "16", "num-heads": "2", "h-layers": "1", "l-layers": "1", "global-batch-size": "8", "halt-max-steps": "2", "train-count": "40",
         "test-count": "10"}


def value_of(arguments, name):
    for i, argument in enumerate(arguments[:-1]):
        if argument == "--" + name:
            return arguments[i + 1]
    return None


def replace(arguments, name, value):
    at = arguments.index("--" + name)
    return arguments[:at] + arguments[at + 2:] + (["--" + name, value] if value else [])


def provide(path, source):
    if path and "://" not in path and path != "-" and not os.path.exists(path):
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        os.symlink(source, path)


def main():
    arguments, steps = sys.argv[1:], None
    command = next((a for a in arguments if not a.startswith("-")), "")
    provide(value_of(arguments, "dataset-file"), TEXT)
    provide(value_of(arguments, "model"), MODEL)
    if command in ("chunks", "report", "merge"):
        for argument in arguments[arguments.index(command) + 1:]:
            if not argument.startswith("-") and "." not in argument:
                provide(argument, os.path.dirname(os.path.dirname(MODEL)) if command != "merge" else MODEL)
    puzzles = value_of(arguments, "data-path")
    if puzzles and not os.path.exists(puzzles):
        subprocess.check_call([AIOS, "data", "sudoku", "--puzzle-size", "4", "--train-count", "40", "--test-count", "10", "--output-dir", puzzles, "--quiet"])
    if command == "data" and "text" not in arguments:
        arguments += [word for name in ("train-count", "test-count") if "--" + name not in arguments for word in ("--" + name, SMALL[name])]
    if command in ("train", "hrm", "hrm-hf", "data"):
        steps = value_of(arguments, "steps")
        for name, value in SMALL.items():
            if "--" + name in arguments:
                arguments = replace(arguments, name, value)
        sizes = ("n-layer", "n-head", "n-embd", "max-seq-len", "batch-size", "eval-batches", "merge-interval", "dataset-chunk-size")
        if command == "train":
            for name in sizes if "--model" not in arguments else sizes[3:]:
                if "--" + name not in arguments:
                    arguments += ["--" + name, SMALL[name]]
        if command == "hrm" and "train" in arguments and "--resume" not in arguments:
            arguments += [word for name in ("hidden-size", "num-heads", "h-layers", "l-layers", "global-batch-size", "halt-max-steps")
                          if "--" + name not in arguments for word in ("--" + name, SMALL[name])]
        if command == "hrm-hf":
            arguments += [word for name in ("hidden-size", "num-heads", "h-layers", "l-layers", "max-seq-len", "batch-size", "eval-batches")
                          if "--" + name not in arguments for word in ("--" + name, SMALL[name])]
        if command in ("train", "hrm-hf") or (command == "hrm" and "train" in arguments):
            arguments = [*(replace(arguments, "steps", None) if steps else arguments), "--steps", "6"]
    line = [AIOS, *arguments]
    if re.search(r"\b(cuda|hip|xpu|gpu):\d|--gpu-ids|--cuda-ids", " ".join(arguments)):
        line = [SIM, "--devices", "cuda:2,hip:1,xpu:1", "--", *line]
    code = subprocess.call(line, env={**os.environ, "AIOS_CPU_DEVICES": os.environ.get("AIOS_CPU_DEVICES", "2")})
    brain = value_of(arguments, "brain-name")
    made = os.path.join(value_of(arguments, "save-dir") or (os.path.join("artifacts/brains/actv1", brain) if brain else ""), "checkpoints")
    if code == 0 and steps and os.path.isdir(os.path.join(made, "step-00000006")) and not os.path.exists(os.path.join(made, f"step-{int(steps):08}")):
        os.symlink("step-00000006", os.path.join(made, f"step-{int(steps):08}"))  # what the next line names
    return code


sys.exit(main())
