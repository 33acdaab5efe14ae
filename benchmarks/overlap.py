#!/usr/bin/env python3
"""What exchanging gradients while backward goes on gains over exchanging them afterwards.

    benchmarks/overlap.py [--bin build/release/bin] [--steps 40] [--rounds 7] [--bucket-mb 1] [--zero-stage none] [DEVICE[=SPEED]…]
    benchmarks/overlap.py --link-mbit 800 …      two processes with a CPU device each, which meet over a link of that speed (as root)

Trains a GPT-2 of 4 layers on the devices together (two CPU devices where none is named), in turn with option overlap on and off, and
prints tokens per second: the median of the rounds, each without its first quarter, and of the ratios within a round. A DEVICE with a
SPEED is a simulated one (aios-sim), which spends 1 - SPEED of its time asleep: with 0.1 two cores are enough. The link is the loopback
of a network namespace of its own, held back by tc. Needs an idle machine."""
import argparse
import collections
import json
import os
import random
import shutil
import socket
import statistics
import subprocess
import tempfile


NAMESPACE = "aios-overlap"


def make_link(mbit):
    for words in (["netns", "add", NAMESPACE], ["-n", NAMESPACE, "link", "set", "lo", "up"]):
        subprocess.run(["ip", *words], check=True)
    subprocess.run(["tc", "-n", NAMESPACE, "qdisc", "add", "dev", "lo", "root", "tbf", "rate", f"{mbit}mbit", "burst", "256kb", "latency", "50ms"],
                   check=True)


def command(arguments, folder, overlap):
    specs = [device.split("=")[0] for device in arguments.devices]
    speeds = [device for device in arguments.devices if "=" in device]
    counts = collections.Counter(device.split(":")[0] for device in speeds)
    simulated = [os.path.join(arguments.bin, "aios-sim"), "--devices", ",".join(f"{backend}:{count}" for backend, count in counts.items()),
                 *[word for speed in speeds for word in ("--speed", speed)], "--"] if speeds else []
    return [*simulated, os.path.join(arguments.bin, "aios"), "train", "--dataset-file", os.path.join(folder, "text.txt"), "--cache-dir",
            os.path.join(folder, "cache"), "--tokenizer", "bytes", "--n-layer", "4", "--n-head", "4", "--n-embd", str(arguments.width),
            "--max-seq-len", str(arguments.length), "--batch-size", str(arguments.batch), "--eval-fraction", "0", "--devices", ",".join(specs), "--keep-cpu", "--strategy", "ddp",
            "--zero-stage", arguments.zero_stage, "--bucket-mb", str(arguments.bucket_mb), "--steps", str(arguments.steps), "--log-interval",
            "1", "--save-dir", os.path.join(folder, "run"), "--overlap" if overlap else "--no-overlap"]


def train(arguments, folder, overlap):
    if not arguments.link_mbit:
        subprocess.run(command(arguments, folder, overlap), check=True, stdout=subprocess.DEVNULL)
        return
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = str(found.getsockname()[1])
    both = []
    for rank in "01":
        arguments.devices = ["cpu:" + rank]
        both.append(subprocess.Popen(["ip", "netns", "exec", NAMESPACE, *command(arguments, folder, overlap), "--launcher", "auto"],
                                     stdout=subprocess.DEVNULL, env={**os.environ, "RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2",
                                                                     "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}))
    if any(process.wait() for process in both):
        raise SystemExit("a process failed")


def rate(arguments, folder, overlap):
    run = os.path.join(folder, "run")
    shutil.rmtree(run, ignore_errors=True)
    train(arguments, folder, overlap)
    with open(os.path.join(run, "metrics.jsonl"), encoding="utf-8") as log:
        steps = [event for event in map(json.loads, log) if event["event"] == "step"]
    began = steps[len(steps) // 4]
    return (steps[-1]["tokens"] - began["tokens"]) / (steps[-1]["elapsed"] - began["elapsed"])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("devices", nargs="*", default=["cpu:0", "cpu:1"])
    parser.add_argument("--bin", default="build/release/bin")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--length", type=int, default=32)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--link-mbit", type=int, default=0)
    parser.add_argument("--bucket-mb", type=float, default=1)
    parser.add_argument("--zero-stage", default="none")
    arguments = parser.parse_args()
    os.environ.setdefault("AIOS_CPU_DEVICES", str(max(1, sum(device.startswith("cpu") for device in arguments.devices))))
    if arguments.link_mbit:
        make_link(arguments.link_mbit)
    try:
        with tempfile.TemporaryDirectory() as folder:
            with open(os.path.join(folder, "text.txt"), "w", encoding="ascii") as text:
                text.write("".join(random.Random(1).choices("abcdefgh ", k=200000)))
            rounds = [(rate(arguments, folder, True), rate(arguments, folder, False)) for _ in range(arguments.rounds)]
    finally:
        if arguments.link_mbit:
            subprocess.run(["ip", "netns", "del", NAMESPACE], check=True)
    on, off = (statistics.median(column) for column in zip(*rounds))
    ratios = sorted(a / b for a, b in rounds)
    where = f"two processes, {arguments.link_mbit} Mbit/s" if arguments.link_mbit else ", ".join(arguments.devices)
    print(f"{where}, {arguments.zero_stage}: {on:.0f} tokens/s overlapped, {off:.0f} not: "
          f"x {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})")


if __name__ == "__main__":
    main()
