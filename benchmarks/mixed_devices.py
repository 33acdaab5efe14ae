#!/usr/bin/env python3
"""How near devices that train on chunks of their own come to the sum of what each does alone.

    benchmarks/mixed_devices.py [--bin build/release/bin] [--seconds 20] [--rounds 3] [--merge-interval 500] DEVICE=SPEED…

Each DEVICE (cuda:0, hip:0, xpu:0, …) is a simulated one (aios-sim) of that speed: it spends 1 - SPEED of its time asleep, so that
with small speeds even two cores are enough for all of them, and what is measured is the coordination: claims, waiting for
each other, merges.  In each round every device trains alone, then all together, for so many seconds; medians are printed, since a shared
machine's speed drifts."""
import argparse
import collections
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile


def train(arguments, folder, devices):
    counts = collections.Counter(device.split(":")[0] for device in arguments.speeds)
    flags = [flag for device, speed in arguments.speeds.items() for flag in ("--speed", f"{device}={speed}")]
    run = os.path.join(folder, "run")
    shutil.rmtree(run, ignore_errors=True)
    subprocess.run([os.path.join(arguments.bin, "aios-sim"), "--devices", ",".join(f"{backend}:{count}" for backend, count in counts.items()),
                    *flags, "--", os.path.join(arguments.bin, "aios"), "train", "--dataset-file", os.path.join(folder, "text.txt"), "--cache-dir",
                    os.path.join(folder, "cache"), "--tokenizer", "bytes", "--n-layer", "1", "--n-head", "2", "--n-embd", "16", "--max-seq-len", "16",
                    "--batch-size", "2", "--eval-fraction", "0", "--devices", devices, "--strategy", "parallel-independent", "--steps", "1000000",
                    "--dataset-chunk-size", "100", "--merge-interval", str(arguments.merge_interval), "--max-minutes", str(arguments.seconds / 60),
                    "--log-interval", "1000", "--save-dir", run], check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with open(os.path.join(run, "metrics.jsonl"), encoding="utf-8") as log:
        events = [json.loads(line) for line in log]
    return next(event for event in events if event["event"] == "devices")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", default="build/release/bin")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--merge-interval", type=int, default=500)
    parser.add_argument("device", nargs="+")
    arguments = parser.parse_args()
    arguments.speeds = dict(device.split("=") for device in arguments.device)
    with tempfile.TemporaryDirectory() as folder:
        with open(os.path.join(folder, "text.txt"), "w", encoding="utf-8") as text:
            text.write("".join(random.choices("abcdefghij ", k=1_000_000)))
        alone, together, shares = collections.defaultdict(list), [], collections.defaultdict(list)
        for _ in range(arguments.rounds):
            for device in arguments.speeds:
                alone[device].append(train(arguments, folder, device)["tokens_per_second"])
            run = train(arguments, folder, ",".join(arguments.speeds))
            together.append(run["tokens_per_second"])
            for device in run["devices"]:
                shares[device["device"]].append(device["share"])
    parts = {device: statistics.median(values) for device, values in alone.items()}
    total = statistics.median(together)
    for device, speed in parts.items():
        print(f"{device:8} {speed:8.1f} tokens/s alone, {100 * statistics.median(shares[device]):.1f} % of the tokens together")
    print(f"together {total:8.1f} tokens/s: {100 * total / sum(parts.values()):.1f} % of the sum of the parts, {total / max(parts.values()):.2f} times the fastest")
    return 0


if __name__ == "__main__":
    sys.exit(main())
