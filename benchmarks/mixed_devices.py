#!/usr/bin/env python3
"""How near devices that train together come to the sum of what each does alone.

    benchmarks/mixed_devices.py [--bin build/release/bin] [--strategy parallel-independent|ddp] [--seconds 20] [--rounds 3]
                                [--merge-interval 500] [--accumulation 16] DEVICE=SPEED… [-- FLAGS…]

Each DEVICE (cuda:0, hip:0, xpu:0, …) is a simulated one (aios-sim) of that speed: it spends 1 - SPEED of its time asleep, so that
with small speeds even two cores are enough for all of them, and what is measured is the coordination: claims, waiting for
each other, merges; with ddp measured shares, the exchange of gradients, and waiting for the last (a step has so many
micro-batches for each device that takes part).  cpu:0=1 cpu:1=1 are real ones: the processors, split in two.
FLAGS of aios train may make the model another one.  In each round every device trains alone, then all together, for so many seconds;
the first quarter does not count, medians are printed, since a shared machine's speed drifts."""
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


def simulation(arguments):
    gpus = {device: speed for device, speed in arguments.speeds.items() if not device.startswith("cpu")}
    counts = collections.Counter(device.split(":")[0] for device in gpus)
    flags = [flag for device, speed in gpus.items() for flag in ("--speed", f"{device}={speed}")]
    if not gpus:
        return []
    return [os.path.join(arguments.bin, "aios-sim"), "--devices", ",".join(f"{backend}:{count}" for backend, count in counts.items()), *flags, "--"]


def command(arguments, folder, devices):
    together = len(devices.split(","))
    strategy = {"parallel-independent": ["--dataset-chunk-size", "100", "--merge-interval", str(arguments.merge_interval), "--log-interval", "1000"],
                "ddp": ["--gradient-accumulation-steps", str(arguments.accumulation), "--log-interval", "1",
                        "--balance", "measured" if together > 1 else "even"]}
    return [*simulation(arguments), os.path.join(arguments.bin, "aios"), "train", "--dataset-file", os.path.join(folder, "text.txt"), "--cache-dir",
            os.path.join(folder, "cache"), "--tokenizer", "bytes", "--n-layer", "1", "--n-head", "2", "--n-embd", "16", "--max-seq-len", "16",
            "--batch-size", "2", "--eval-fraction", "0", "--devices", devices, "--keep-cpu", "--strategy", arguments.strategy, "--steps", "1000000",
            "--max-minutes", str(arguments.seconds / 60), *strategy[arguments.strategy], *arguments.flags]


def rate(steps, balanced=0):
    """Tokens per second after the first quarter, and after the step that found out the speeds."""
    began = next(step for step in steps if step["elapsed"] >= steps[-1]["elapsed"] / 4 and step["step"] >= balanced)
    return (steps[-1]["tokens"] - began["tokens"]) / (steps[-1]["elapsed"] - began["elapsed"])


def train(arguments, folder, devices):
    """Tokens per second of all, and each device's share of the tokens."""
    run = os.path.join(folder, "run")
    shutil.rmtree(run, ignore_errors=True)
    processors = sum(device.startswith("cpu") for device in arguments.speeds)
    environment = {**os.environ, **({"AIOS_CPU_DEVICES": str(processors)} if processors else {})}
    subprocess.run([*command(arguments, folder, devices), "--save-dir", run], env=environment, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with open(os.path.join(run, "metrics.jsonl"), encoding="utf-8") as log:
        events = [json.loads(line) for line in log]
    if arguments.strategy == "parallel-independent":
        found = next(event for event in events if event["event"] == "devices")
        return found["tokens_per_second"], {device["device"]: device["share"] for device in found["devices"]}
    balances = [event for event in events if event["event"] == "balance"]
    dealt = [event["micro_batches"] for event in balances] or [[1] * len(devices.split(","))]
    return (rate([event for event in events if event["event"] == "step"], balances[0]["step"] if balances else 0),
            {device: count / sum(dealt[-1]) for device, count in zip(devices.split(","), dealt[-1])})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", default="build/release/bin")
    parser.add_argument("--strategy", choices=("parallel-independent", "ddp"), default="parallel-independent")
    parser.add_argument("--accumulation", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--merge-interval", type=int, default=500)
    parser.add_argument("device", nargs="+")
    words = sys.argv[1:]
    cut = words.index("--") if "--" in words else len(words)
    arguments = parser.parse_args(words[:cut])
    arguments.flags = words[cut + 1:]
    arguments.speeds = dict(device.split("=") for device in arguments.device)
    with tempfile.TemporaryDirectory() as folder:
        with open(os.path.join(folder, "text.txt"), "w", encoding="utf-8") as text:
            text.write("".join(random.choices("abcdefghij ", k=1_000_000)))
        alone, together, shares = collections.defaultdict(list), [], collections.defaultdict(list)
        for _ in range(arguments.rounds):
            for device in arguments.speeds:
                alone[device].append(train(arguments, folder, device)[0])
            speed, dealt = train(arguments, folder, ",".join(arguments.speeds))
            together.append(speed)
            for device, share in dealt.items():
                shares[device].append(share)
    parts = {device: statistics.median(values) for device, values in alone.items()}
    total = statistics.median(together)
    for device, speed in parts.items():
        print(f"{device:8} {speed:8.1f} tokens/s alone, {100 * statistics.median(shares[device]):.1f} % of the tokens together")
    print(f"together {total:8.1f} tokens/s: {100 * total / sum(parts.values()):.1f} % of the sum of the parts, {total / max(parts.values()):.2f} times the fastest")
    return 0


if __name__ == "__main__":
    sys.exit(main())
