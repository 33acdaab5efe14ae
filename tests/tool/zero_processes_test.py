#!/usr/bin/env python3
"""ZeRO over processes: two processes with a device each learn what one process with both devices does, at every stage, and save the same
bytes.  AIOS_TOOL is the command."""
import json
import os
import socket
import subprocess
import tempfile
import unittest

TOOL = os.environ["AIOS_TOOL"]
FLAGS = ["--n-layer", "1", "--n-head", "2", "--n-embd", "32", "--max-seq-len", "16", "--batch-size", "2", "--gradient-accumulation-steps", "2",
         "--steps", "3", "--bucket-mb", "0.02", "--verify-interval", "1", "--eval-fraction", "0.05", "--eval-batches", "1", "--precision",
         "bf16-mixed", "--strategy", "ddp"]


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


class Processes(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        with open(self.path("text.txt"), "w", encoding="ascii") as text:
            text.write("the quick brown fox jumps over the lazy dog. " * 60)

    def path(self, name):
        return os.path.join(self.folder.name, name)

    def start(self, devices, run, stage, *flags, **environment):
        return subprocess.Popen([TOOL, "train", "--dataset-file", self.path("text.txt"), "--cache-dir", self.path("cache"), "--devices", devices,
                                 "--zero-stage", stage, "--save-dir", self.path(run), *FLAGS, *flags], stdout=subprocess.DEVNULL,
                                stderr=subprocess.PIPE, text=True, env={**os.environ, "AIOS_CPU_DEVICES": "2", "AIOS_CPU_THREADS": "2", **environment})

    def wait(self, *processes):
        for process in processes:
            errors = process.communicate(timeout=120)[1]
            if process.returncode and "is built where Gloo is" in errors:
                self.skipTest(errors)
            self.assertEqual(process.returncode, 0, errors)

    def losses(self, run):
        with open(os.path.join(self.path(run), "metrics.jsonl"), encoding="utf-8") as log:
            return [event["loss"] for event in map(json.loads, log) if event["event"] in ("step", "eval")]

    def saved(self, run, name):
        with open(os.path.join(self.path(run), "checkpoints", "step-00000003", name), "rb") as file:
            return file.read()

    def test_two_processes_are_one_process_with_two_devices(self):
        for stage in ("none", "zero1", "zero2", "zero3"):
            port = str(free_port())
            self.wait(self.start("cpu:0,cpu:1", "one-" + stage, stage))
            self.wait(*[self.start(f"cpu:{rank}", "two-" + stage, stage, "--launcher", "auto", RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2",
                                   LOCAL_WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=port) for rank in (0, 1)])
            one, two = self.losses("one-" + stage), self.losses("two-" + stage)
            self.assertEqual(len(one), 4, stage)
            self.assertEqual(one, two, stage)
            for name in ("model.safetensors", "optimizer.safetensors"):  # two numbers have one sum
                self.assertEqual(self.saved("one-" + stage, name), self.saved("two-" + stage, name), stage)


if __name__ == "__main__":
    unittest.main()
