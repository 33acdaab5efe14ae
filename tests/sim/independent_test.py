#!/usr/bin/env python3
"""`aios train --strategy parallel-independent` on simulated devices of every vendor whose plugin is built (arguments), and on CPUs: devices that
fail, are lost or hang, and processes that are killed.  What the run logged of steps and merges says which samples are in the model; the
chunk tracker is not asked."""
import collections
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest

SIM, AIOS = os.environ["AIOS_SIM"], os.environ["AIOS_TOOL"]
BUILT = [backend for backend in ("cuda", "xpu", "hip") if backend in sys.argv[1:]]


def ledger(folder):
    """How often each sample is in the model, and what was dropped."""
    pending, trained, dropped = collections.defaultdict(list), collections.Counter(), []
    with open(os.path.join(folder, "metrics.jsonl"), encoding="utf-8") as log:
        events = [json.loads(line) for line in log]
    for event in events:
        if event["event"] == "step" and "device" in event:
            pending[event["device"]] += range(event["sample"], event["sample"] + event["samples"])
        elif event["event"] == "merge":
            for device in event["devices"]:
                trained.update(pending[device])
            pending.clear()
        elif event["event"] == "device_dropped":
            dropped.append((event["device"], event["message"]))
    return trained, dropped, events


class Independent(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.folder)
        self.run_folder = os.path.join(self.folder, "run")
        self.text = os.path.join(self.folder, "text.txt")
        with open(self.text, "w", encoding="utf-8") as text:
            text.write("the cat sat on the mat and the dog ran far. " * 90)
        self.samples = 248

    def command(self, devices, *more):
        return [AIOS, "train", "--dataset-file", self.text, "--cache-dir", os.path.join(self.folder, "cache"), "--tokenizer", "bytes", "--save-dir",
                self.run_folder, "--n-layer", "1", "--n-head", "2", "--n-embd", "16", "--max-seq-len", "16", "--batch-size", "2", "--eval-fraction",
                "0", "--devices", devices, "--keep-cpu", "--strategy", "parallel-independent", "--merge-interval", "10", "--dataset-chunk-size", "20",
                "--stop-after-epoch", "--steps", "100000", *more]

    def simulate(self, *more, faults=(), devices=None, extra=()):
        flags = [flag for fault in faults for flag in ("--fault", fault)]
        counts = ",".join(f"{backend}:1" for backend in BUILT)
        devices = devices or ",".join(f"{backend}:0" for backend in BUILT) + ",cpu:0"
        return subprocess.run([SIM, "--devices", counts, *flags, *extra, "--", *self.command(devices, *more)], encoding="utf-8", capture_output=True,
                              timeout=120, check=False)

    def assert_epoch(self):
        trained, dropped, events = ledger(self.run_folder)
        start = next(event for event in events if event["event"] == "run_start")
        self.assertEqual(start["train_samples"], self.samples)
        self.assertEqual(sorted(trained.elements()), list(range(self.samples)))
        return dropped

    def test_all_vendors_train_one_model(self):
        result = self.simulate()
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        self.assertEqual(self.assert_epoch(), [])
        trained, _, events = ledger(self.run_folder)
        shares = [event for event in events if event["event"] == "devices"][-1]
        self.assertEqual(sum(device["tokens"] for device in shares["devices"]), events[-1]["tokens"])

    def test_the_strategy_is_by_vendor_unless_one_is_asked_for(self):
        def strategy(devices, *more):
            shutil.rmtree(self.run_folder, ignore_errors=True)
            self.assertEqual(self.simulate(*more, devices=devices).returncode, 0)
            return next(event for event in ledger(self.run_folder)[2] if event["event"] == "run_start")["strategy"]

        one, both = f"{BUILT[0]}:0", f"{BUILT[0]}:0,cpu:0"
        short = ["--steps", "2", "--strategy"]
        self.assertEqual(strategy(one, *short, "auto"), "single")
        self.assertEqual(strategy(both, *short, "auto"), "parallel-independent")
        self.assertEqual(strategy(both, *short, "ddp"), "ddp")
        self.assertEqual(strategy(both, *short[:-1], "--ddp"), "ddp")

    def test_a_device_that_fails_is_dropped_and_nothing_is_lost(self):
        for mode in ("once", "forever", "lost"):
            for backend in BUILT:
                with self.subTest(mode=mode, backend=backend):
                    shutil.rmtree(self.run_folder, ignore_errors=True)
                    others = ",".join(f"{other}:0" for other in BUILT if other != backend) or "cpu:0"
                    result = self.simulate(faults=[f"work@{backend}:0:{random.randint(60, 160)}:{mode}"], devices=f"{backend}:0,{others}")
                    self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
                    dropped = self.assert_epoch()
                    self.assertEqual([device for device, _ in dropped], [f"{backend}:0"])

    def test_the_next_device_evaluates_where_the_first_is_lost(self):
        result = self.simulate("--eval-fraction", "0.1", "--eval-interval", "20", faults=[f"work@{BUILT[0]}:0:100:lost"], devices=f"{BUILT[0]}:0,cpu:0")
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        self.samples = 224
        self.assertEqual([device for device, _ in self.assert_epoch()], [f"{BUILT[0]}:0"])
        self.assertGreater(len([event for event in ledger(self.run_folder)[2] if event["event"] == "eval"]), 1)

    def test_a_device_that_hangs_is_dropped_and_nothing_is_lost(self):
        result = self.simulate("--step-deadline", "2", faults=[f"work@{BUILT[0]}:0:150:hang"])
        self.assertIn(result.returncode, (0, 3), result.stdout + result.stderr)  # 3: what hangs is never given back
        for line in result.stderr.splitlines():
            self.assertFalse(line.startswith("aios-sim: ") and f"aios-sim: {BUILT[0]}:0: leak" not in line, line)
        dropped = self.assert_epoch()
        self.assertEqual([device for device, _ in dropped], [f"{BUILT[0]}:0"])

    def test_a_device_with_little_memory_takes_smaller_micro_batches(self):
        result = self.simulate("--batch-size", "32", "--n-embd", "32", "--max-seq-len", "32", devices=f"{BUILT[0]}:0,cpu:0",
                               extra=["--memory", f"{BUILT[0]}:0=4MiB"])
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        self.assertEqual(result.stderr.count("has no memory for micro-batches of 32 samples"), 1, result.stderr)
        self.samples = 124
        self.assertEqual(self.assert_epoch(), [])

    def test_caps_are_kept_or_refused(self):
        result = self.simulate("--max-temperature", "70")  # the CPU is among the devices
        self.assertEqual(result.returncode, 2, result.stderr)
        self.assertIn("cpu:0 can't tell its temperature", result.stderr)
        gpus = ",".join(f"{backend}:0" for backend in BUILT)
        result = self.simulate("--max-temperature", "109", "--max-power", "100000", "--max-utilisation", "50", devices=gpus)
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        self.assertEqual(self.assert_epoch(), [])
        shutil.rmtree(self.run_folder)
        # 32 samples at a time take more than a MiB of the device.
        result = self.simulate("--batch-size", "32", "--n-embd", "32", "--max-seq-len", "32", "--max-memory", "0.002", devices=gpus)
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        self.assertIn("has no memory for micro-batches of 32 samples", result.stderr)
        shutil.rmtree(self.run_folder)
        result = self.simulate("--max-memory", "0.0001", devices=gpus)
        self.assertNotEqual(result.returncode, 0)
        self.assertIn("max-memory is 0.0001 GiB", result.stderr)

    def test_strict_ends_with_the_devices_error(self):
        result = self.simulate("--strict", faults=[f"work@{BUILT[0]}:0:100:lost"])
        self.assertEqual(result.returncode, 1, result.stdout + result.stderr)
        self.assertIn(f"{BUILT[0]}:0", result.stderr)

    def test_no_device_is_left(self):
        result = self.simulate(faults=[f"work@{BUILT[0]}:0:100:lost"], devices=f"{BUILT[0]}:0")
        self.assertEqual(result.returncode, 1, result.stdout + result.stderr)
        resumed = subprocess.run(self.command("cpu:0", "--resume"), encoding="utf-8", capture_output=True, timeout=120, check=False)
        self.assertEqual(resumed.returncode, 0, resumed.stdout + resumed.stderr)
        self.assert_epoch()

    def test_kill_9_and_resume_until_the_epoch_is_over(self):
        kills = 0
        environment = {**os.environ, "AIOS_CPU_DEVICES": "2", "AIOS_CPU_THREADS": "2"}
        for _ in range(30):
            process = subprocess.Popen(self.command("cpu:0,cpu:1", "--resume", "--checkpoint-interval", "20"), env=environment,
                                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            try:
                self.assertEqual(process.wait(random.uniform(0.02, 0.12)), 0)
                break
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.wait()
                kills += 1
        else:
            subprocess.run(self.command("cpu:0,cpu:1", "--resume"), env=environment, check=True, capture_output=True, timeout=120)
        # A run that was killed when all was saved but its exit is followed by one that trains the next epoch.
        trained, _, _ = ledger(self.run_folder)
        self.assertEqual([sample for sample in range(self.samples) if trained[sample] != 1], [])
        self.assertEqual([sample for sample, times in trained.items() if times != 1], [])
        print(f"killed {kills} times")


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
