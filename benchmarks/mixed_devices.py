#!/usr/bin/env python3
"""How near devices that train on chunks of their own come to the sum of what each does alone.

    benchmarks/mixed_devices.py [--bin build/release/bin] [--seconds 20] [--merge-interval 500] DEVICE=SPEED…

Each DEVICE (cuda:0, hip:0, xpu:0, …) is a simulated one (aios-sim) of that speed: it spends 1 - SPEED of its time asleep, so that
with small speeds even two cores are enough for all of them, and what is measured is the coordination: claims, waiting for
each other, merges.  Each trains alone first, then all together, for so many seconds."""
import argparse
import collections
import json
import os
import random
import subprocess
import sys
import tempfile


def train(arguments, folder, devices):
    counts = collections.Counter(device.split(":")[0] for device in arguments.speeds)
    flags = [flag for device, speed in arguments.speeds.items() for flag in ("--speed", f"{device}={speed}")]
    run = os.path.join(folder, devices.replace(",", "-").replace(":", ""))
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
    parser.add_argument("--merge-interval", type=int, default=500)
    parser.add_argument("device", nargs="+")
    arguments = parser.parse_args()
    arguments.speeds = dict(device.split("=") for device in arguments.device)
    with tempfile.TemporaryDirectory() as folder:
        with open(os.path.join(folder, "text.txt"), "w", encoding="utf-8") as text:
            text.write("".join(random.choices("abcdefghij ", k=1_000_000)))
        parts = {}
        for device in arguments.speeds:
            parts[device] = train(arguments, folder, device)["tokens_per_second"]
            print(f"{device:8} alone      {parts[device]:8.1f} tokens/s", flush=True)
        together = train(arguments, folder, ",".join(parts))
    for device in together["devices"]:
        print(f"{device['device']:8} together   {device['share'] * together['tokens_per_second']:8.1f} tokens/s, {100 * device['share']:.1f} %, {device['steps']} steps")
    total = together["tokens_per_second"]
    print(f"together {total:.1f} tokens/s: {100 * total / sum(parts.values()):.1f} % of the sum of the parts, {total / max(parts.values()):.2f} times the fastest")
    return 0


if __name__ == "__main__":
    sys.exit(main())
