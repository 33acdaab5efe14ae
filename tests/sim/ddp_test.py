#!/usr/bin/env python3
"""`aios train --strategy ddp` on simulated devices of every vendor whose plugin is built (arguments) and a CPU: one gradient from any mix of them,
by the vendors' collectives or in host memory."""
import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

SIM, AIOS = os.environ["AIOS_SIM"], os.environ["AIOS_TOOL"]
BUILT = [backend for backend in ("cuda", "hip", "xpu") if backend in sys.argv[1:]]
LIBRARIES = {"cuda": "AIOS_NCCL", "hip": "AIOS_RCCL"}
WITH_LIBRARY = [backend for backend in BUILT if backend in LIBRARIES]
BATCH = 12  # samples of a step, whoever computes them


class Ddp(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.folder)
        self.text = os.path.join(self.folder, "text.txt")
        with open(self.text, "w", encoding="utf-8") as text:
            text.write("the cat sat on the mat and the dog ran far. " * 90)

    def command(self, devices, *more, faults=(), simulation=(), steps=12):
        counts = {}
        for backend in (device.split(":")[0] for device in devices.split(",")):
            counts[backend] = counts.get(backend, 0) + (backend != "cpu")
        simulated = ",".join(f"{backend}:{max(count, 1)}" for backend, count in counts.items() if backend != "cpu") or f"{BUILT[0]}:1"
        flags = [flag for fault in faults for flag in ("--fault", fault)]
        ranks = devices.count(",") + 1
        command = [AIOS, "train", "--dataset-file", self.text, "--cache-dir", os.path.join(self.folder, "cache"), "--tokenizer", "bytes", "--save-dir",
                   os.path.join(self.folder, "run"), "--n-layer", "1", "--n-head", "2", "--n-embd", "16", "--max-seq-len", "16", "--batch-size", "1",
                   "--gradient-accumulation-steps", str(BATCH // ranks), "--eval-fraction", "0", "--log-interval", "1", "--devices", devices, "--keep-cpu",
                   "--strategy", "ddp", "--step-deadline", "20", "--verify-interval", "5", "--lr", "3e-3", "--steps", str(steps), *more]
        return [SIM, "--devices", simulated, *flags, *simulation, "--", *command]

    def run_on(self, devices, *more, faults=(), simulation=(), steps=12, **environment):
        shutil.rmtree(os.path.join(self.folder, "run"), ignore_errors=True)
        return subprocess.run(self.command(devices, *more, faults=faults, simulation=simulation, steps=steps), env={**os.environ, **environment}, encoding="utf-8",
                              capture_output=True, timeout=120, check=False)

    def metrics(self, name="step", key="loss"):
        with open(os.path.join(self.folder, "run", "metrics.jsonl"), encoding="utf-8") as lines:
            return [event[key] for event in map(json.loads, lines) if event["event"] == name]

    def losses(self, devices, *more, **options):
        result = self.run_on(devices, *more, **options)
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        return self.metrics(), result.stderr

    def assert_same_curve(self, losses, whole):
        self.assertEqual(len(losses), len(whole))
        for step, (here, there) in enumerate(zip(losses, whole)):
            # f32 sums in another order; what one step leaves of that the next ones carry on
            self.assertAlmostEqual(here, there, delta=5e-6 * there, msg=f"step {step + 1}")

    def test_all_vendors_and_the_cpu_learn_as_one_cpu_device_does(self):
        whole = self.losses("cpu:0", steps=24)[0]
        self.assertLess(whole[-1], 0.85 * whole[0])
        together = ",".join(f"{backend}:0" for backend in BUILT) + ",cpu:0"
        self.assert_same_curve(self.losses(together, steps=24)[0], whole)

    def test_vendors_collectives_and_the_hosts_give_the_same_curve(self):
        whole = self.losses("cpu:0")[0]
        sets = [f"{backend}:0,{backend}:1" for backend in WITH_LIBRARY]
        if len(BUILT) == 3:
            sets += ["cuda:0,cuda:1,hip:0,cpu:0", "cuda:0,cuda:1,hip:0,hip:1,xpu:0,cpu:0"]
        for devices in sets:
            for collectives in ("host", "vendor"):
                losses, said = self.losses(devices, "--collectives", collectives)
                self.assert_same_curve(losses, whole)
                self.assertNotIn("host memory", said)

    def test_a_run_repeats_bit_by_bit(self):
        for backend in WITH_LIBRARY:
            devices = f"{backend}:0,{backend}:1"
            self.assertEqual(self.losses(devices, steps=5)[0], self.losses(devices, steps=5)[0])

    def test_measured_shares_follow_the_speed_and_not_the_mathematics(self):
        whole = self.losses("cpu:0", steps=8)[0]
        for devices in ("{0}:0,{1}:0", "{0}:0,{0}:1"):
            pair = devices.format(WITH_LIBRARY[0], BUILT[-1]).split(",")
            slow = [flag for device, speed in zip(pair, (0.2, 0.025)) for flag in ("--speed", f"{device}={speed}")]
            if pair[0] == pair[1]:
                continue
            self.assert_same_curve(self.losses(",".join(pair), "--balance", "measured", simulation=slow, steps=8)[0], whole)
            fast, slow = self.metrics("balance", "micro_batches")[-1]
            self.assertGreater(fast, 2 * slow)  # eight times as fast, of twelve

    def test_a_library_that_is_not_there_is_told_once(self):
        for backend in WITH_LIBRARY:
            devices, missing = f"{backend}:0,{backend}:1", {LIBRARIES[backend]: "/nonexistent"}
            said = self.losses(devices, steps=2, **missing)[1]
            self.assertEqual(said.count("go through host memory"), 1, said)
            result = self.run_on(devices, "--collectives", "vendor", **missing)
            self.assertNotEqual(result.returncode, 0)
            self.assertIn("option collectives is vendor", result.stderr)
            self.assertIn("/nonexistent", result.stderr)
            self.assertEqual(self.losses(devices, "--collectives", "host", steps=2, **missing)[1], "")

    @unittest.skipUnless(os.path.exists(os.path.join(os.environ["AIOS_BACKEND_PATH"], "aios-gloo.so")), "no engine between processes")
    def test_processes_whose_library_refuses_all_take_the_host(self):
        for backend in WITH_LIBRARY[:1]:
            devices = f"{backend}:0,{backend}:1"
            whole = self.losses(devices, steps=4)[0]
            shutil.rmtree(os.path.join(self.folder, "run"))
            # the stand-in's ranks are those of one process
            launched = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(20000 + os.getpid() % 20000), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
            ranks = [subprocess.Popen(self.command(devices, "--launcher", "auto", steps=4), encoding="utf-8", stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                      env={**os.environ, **launched, "RANK": str(rank), "LOCAL_RANK": str(rank)}) for rank in range(2)]
            said = "".join(rank.communicate(timeout=120)[0] for rank in ranks)
            self.assertEqual([rank.returncode for rank in ranks], [0, 0], said)
            self.assertEqual(said.count("collectives go through host memory: ncclCommInitRankConfig"), 1, said)
            self.assert_same_curve(self.metrics(), whole)

    def test_the_earlier_programs_name_for_it_is_heard(self):
        for backend in WITH_LIBRARY[:1]:
            devices, missing = f"{backend}:0,{backend}:1", {LIBRARIES[backend]: "/nonexistent"}
            self.assertEqual(self.losses(devices, steps=2, AIOS_DDP_BACKEND="gloo", **missing)[1], "")
            self.assertIn("option collectives is vendor", self.run_on(devices, AIOS_DDP_BACKEND="nccl", **missing).stderr)
            result = self.run_on(devices, AIOS_DDP_BACKEND="mpi")
            self.assertEqual((result.returncode, "nccl, rccl or gloo" in result.stderr), (2, True))

    def test_others_go_on_without_a_device_that_is_lost_in_a_collective(self):
        whole = self.losses("cpu:0")[0]
        for backend in WITH_LIBRARY:
            devices = f"{backend}:0,{backend}:1,{backend}:2"
            losses, said = self.losses(devices, faults=[f"ncclAllReduce@{backend}:1:6:lost"])
            self.assert_same_curve(losses, whole)
            self.assertIn(f"{backend}:1", said)

    def test_a_device_that_fails_in_a_collective_is_named(self):
        for backend in WITH_LIBRARY:
            for mode, words in (("once", "ncclAllReduce"), ("lost", f"{backend}:1"), ("hang", "has not returned")):
                result = self.run_on(f"{backend}:0,{backend}:1", "--strict", faults=[f"ncclAllReduce@{backend}:1:4:{mode}"],
                                     AIOS_DEVICE_DEADLINE="3" if mode == "hang" else "60")  # a busy machine is slow, too
                self.assertNotIn(result.returncode, (0, 124), result.stdout)
                self.assertIn(words, result.stderr)
                self.assertIn(f"{backend}:1", result.stderr)
                self.assertNotIn("aios-sim: ", result.stderr)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
