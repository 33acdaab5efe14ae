#!/usr/bin/env python3
"""`aios train --strategy ddp` on simulated devices of every vendor whose plugin is built (arguments) and a CPU: devices that fail, are lost or hang.
The others go on from memory, with the samples and the losses of a run that lost nothing."""
import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

SIM, AIOS = os.environ["AIOS_SIM"], os.environ["AIOS_TOOL"]
BUILT = [backend for backend in ("cuda", "xpu", "hip") if backend in sys.argv[1:]]
STEPS = 16


class Recovery(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.folder)
        self.text = os.path.join(self.folder, "text.txt")
        with open(self.text, "w", encoding="utf-8") as text:
            text.write("the cat sat on the mat and the dog ran far. " * 90)

    def train(self, *more, faults=(), devices=None, name="run", simulation=(), log=True):
        run = os.path.join(self.folder, name)
        flags = [flag for fault in faults for flag in ("--fault", fault)]
        devices = devices or ",".join(f"{backend}:0" for backend in BUILT) + ",cpu:0"
        command = [AIOS, "train", "--dataset-file", self.text, "--cache-dir", os.path.join(self.folder, "cache"), "--tokenizer", "bytes", "--save-dir", run,
                   "--n-layer", "1", "--n-head", "2", "--n-embd", "16", "--max-seq-len", "16", "--batch-size", "2", "--gradient-accumulation-steps", "2",
                   "--eval-fraction", "0.1", "--eval-interval", "8", "--checkpoint-interval", "8", "--devices", devices, "--keep-cpu", "--strategy", "ddp",
                   "--step-deadline", "6", "--verify-interval", "3", "--steps", str(STEPS), *more]
        result = subprocess.run([SIM, "--devices", ",".join(f"{backend}:1" for backend in BUILT), *simulation, *flags, "--", *command], encoding="utf-8",
                                capture_output=True, timeout=120, check=False)
        if not log:
            return result, []
        with open(os.path.join(run, "metrics.jsonl"), encoding="utf-8") as lines:
            return result, [json.loads(line) for line in lines]

    def assert_same_run(self, events, whole):
        def of(events, name, key):
            return {event["step"]: event[key] for event in events if event["event"] == name}
        for name, key in (("step", "loss"), ("step", "tokens"), ("eval", "loss")):
            here, there = of(events, name, key), of(whole, name, key)
            self.assertEqual(here.keys(), there.keys())
            for step, value in there.items():
                self.assertAlmostEqual(here[step], value, delta=1e-5 * value, msg=f"{name} {step}: {key}")
        self.assertEqual(sum(event["event"] == "step" for event in events), STEPS)

    def dropped(self, events):
        return [event["device"] for event in events if event["event"] == "device_dropped"]

    def test_others_go_on_without_a_device_that_fails_or_is_lost(self):
        whole = self.train(name="whole")[1]
        for backend in BUILT:
            for place, count, mode in (("work", 150, "once"), ("work", 400, "lost")):
                result, events = self.train(faults=[f"{place}@{backend}:0:{count}:{mode}"], name=f"{backend}-{mode}")
                self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
                self.assertEqual(self.dropped(events), [f"{backend}:0"])
                self.assert_same_run(events, whole)

    def test_one_after_the_other_is_lost(self):
        whole = self.train(name="whole")[1]
        faults = [f"work@{backend}:0:{200 * (i + 1)}:lost" for i, backend in enumerate(BUILT)]
        result, events = self.train(faults=faults)
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        self.assertEqual(sorted(self.dropped(events)), sorted(f"{backend}:0" for backend in BUILT))
        self.assert_same_run(events, whole)

    def test_a_device_that_hangs_is_lost_after_half_of_the_deadline(self):
        whole = self.train(name="whole")[1]
        result, events = self.train(faults=[f"work@{BUILT[0]}:0:300:hang"])
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        self.assertEqual(self.dropped(events), [f"{BUILT[0]}:0"])
        self.assertIn("has not returned for 3 s", result.stderr)
        self.assert_same_run(events, whole)

    def test_a_run_ends_where_nothing_is_left_or_it_is_strict(self):
        result, events = self.train("--strict", faults=[f"work@{BUILT[0]}:0:300:lost"])
        self.assertNotEqual(result.returncode, 0)
        self.assertEqual(self.dropped(events), [f"{BUILT[0]}:0"])
        devices = ",".join(f"{backend}:0" for backend in BUILT)
        result, events = self.train(faults=[f"work@{backend}:0:300:lost" for backend in BUILT], devices=devices, name="none")
        self.assertNotEqual(result.returncode, 0)
        self.assertEqual(sorted(self.dropped(events)), sorted(devices.split(",")))
        self.assertIn("no device is left", result.stderr)

    def test_a_device_that_fails_at_the_start_is_left_out(self):
        whole = self.train(name="whole")[1]
        for count in (1, 12, 30):
            result, events = self.train(faults=[f"work@{BUILT[-1]}:0:{count}:lost"], name=f"start{count}")
            self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
            self.assertEqual(self.dropped(events), [f"{BUILT[-1]}:0"], count)
            self.assert_same_run(events, whole)
        result, events = self.train(name="small", simulation=("--memory", f"{BUILT[-1]}:0=64KiB"))
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        self.assertEqual(self.dropped(events), [f"{BUILT[-1]}:0"])
        self.assert_same_run(events, whole)
        result = self.train("--strict", faults=[f"work@{BUILT[-1]}:0:1:lost"], name="strict", log=False)[0]
        self.assertNotEqual(result.returncode, 0)

    def test_what_was_saved_goes_on_with_all_devices_again(self):
        whole = self.train(name="whole")[1]
        result, _ = self.train("--steps", "8", "--lr-schedule", "constant", faults=[f"work@{BUILT[0]}:0:200:lost"])
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        result, events = self.train("--resume")
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        self.assertEqual(events[-1]["tokens"], whole[-1]["tokens"])
        self.assertEqual([event["step"] for event in events if event["event"] == "step"], list(range(1, STEPS + 1)))


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
