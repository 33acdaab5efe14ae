"""Runs of `aios train` in several processes, for the tests of this folder."""
import glob
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import unittest

AIOS = os.environ["AIOS_TOOL"]
STEPS = 16


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def environment(**more):
    """Without what a launcher around the tests may have set."""
    drop = ("RANK", "WORLD_SIZE", "MASTER_", "LOCAL_", "OMPI_", "PMI", "SLURM_", "TORCHELASTIC_", "AIOS_RANK", "AIOS_DDP", "AIOS_JOB")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(drop)}
    return {**kept, "AIOS_CPU_THREADS": "1", **{name: str(value) for name, value in more.items()}}


class Runs(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.run_folder = os.path.join(self.folder, "run")
        self.text = os.path.join(self.folder, "text.txt")
        with open(self.text, "w", encoding="utf-8") as text:
            text.write("the cat sat on the mat and the dog ran far. " * 90)

    def command(self, *more, run=None, steps=STEPS):
        return [AIOS, "train", "--dataset-file", self.text, "--cache-dir", os.path.join(self.folder, "cache"), "--tokenizer", "bytes", "--save-dir",
                run or self.run_folder, "--n-layer", "1", "--n-head", "2", "--n-embd", "16", "--max-seq-len", "16", "--batch-size", "2",
                "--gradient-accumulation-steps", "2", "--eval-fraction", "0.1", "--eval-interval", "8", "--checkpoint-interval", "8", "--device", "cpu",
                "--step-deadline", "4", "--lr-schedule", "constant", "--steps", str(steps), *more]

    def alone(self, devices, steps=STEPS):
        """The same run in one process; its events."""
        folder = os.path.join(self.folder, "alone")
        names = ",".join(f"cpu:{i}" for i in range(devices))
        result = subprocess.run(self.command("--devices", names, "--strategy", "ddp", run=folder, steps=steps), encoding="utf-8", capture_output=True,
                                timeout=120, check=False, env=environment(AIOS_CPU_DEVICES=devices))
        self.assertEqual(result.returncode, 0, result.stderr)
        return self.events(folder)

    def start(self, ranks, *more, steps=STEPS, port=None, variables=None):
        """One process per rank, as torchrun starts them.  variables: for a rank, what its environment has besides."""
        port = port or free_port()
        started = [subprocess.Popen(self.command(*more, steps=steps), encoding="utf-8", stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                    env=environment(RANK=rank, LOCAL_RANK=rank, WORLD_SIZE=ranks, LOCAL_WORLD_SIZE=ranks, MASTER_ADDR="127.0.0.1",
                                                    MASTER_PORT=port, **(variables or {}).get(rank, {}))) for rank in range(ranks)]
        self.addCleanup(self.end, started)
        return started

    def end(self, started):
        for process in started:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
            process.communicate()

    def finish(self, started):
        """(code, output, errors) of each."""
        return [(*process.communicate(timeout=120), process.returncode) for process in started]

    def await_step(self, step, folder=None):
        """Returns when the log has that step."""
        log = os.path.join(folder or self.run_folder, "metrics.jsonl")
        until = time.monotonic() + 60
        while time.monotonic() < until:
            if os.path.exists(log) and any(event["event"] == "step" and event["step"] >= step for event in self.events(folder or self.run_folder)):
                return
            time.sleep(0.02)
        self.fail(f"step {step} did not come")

    def events(self, folder=None):
        events = []
        with open(os.path.join(folder or self.run_folder, "metrics.jsonl"), encoding="utf-8") as log:
            for line in log:
                if line.endswith("\n"):
                    events.append(json.loads(line))
        return events

    def assert_same_run(self, events, whole):
        """Losses and tokens of every step, each step once."""
        def of(events, name, key):
            return [(event["step"], event[key]) for event in events if event["event"] == name]
        for name, key in (("step", "loss"), ("step", "tokens"), ("eval", "loss")):
            here, there = of(events, name, key), of(whole, name, key)
            self.assertEqual([step for step, _ in here], [step for step, _ in there], name)
            for (step, a), (_, b) in zip(here, there):
                self.assertAlmostEqual(a, b, delta=1e-5 * b, msg=f"{name} {step}: {key}")

    def assert_whole_checkpoint(self, step):
        newest = sorted(glob.glob(os.path.join(self.run_folder, "checkpoints", "step-*")))[-1]
        self.assertTrue(newest.endswith(f"{step:08d}"), newest)
        with open(os.path.join(newest, "trainer.json"), encoding="utf-8") as state:
            return json.load(state)
