#!/usr/bin/env python3
"""Who starts the ranks of a run: torchrun, mpirun, `aios train --spawn`, or variables as they set them.  The run is the same as in one process."""
import glob
import json
import os
import shutil
import signal
import subprocess
import time
import unittest

from runs import STEPS, Runs, environment, free_port

# Debian's, or another: AIOS_TORCHRUN="/tmp/venv/bin/python -m torch.distributed.run"
TORCHRUN = os.environ.get("AIOS_TORCHRUN", shutil.which("torchrun") or "").split()


class Launchers(Runs):
    def run_launcher(self, command, **more):
        return subprocess.run(command, encoding="utf-8", capture_output=True, timeout=120, check=False, env=environment(**more))

    def assert_two_ranks(self, result):
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        events = self.events()
        self.assertEqual([(event["process"], event["processes"]) for event in events if event["event"] == "run_start"], [(0, 2)])
        self.assert_same_run(events, self.alone(2))
        self.assertEqual(result.stdout.count("complete at step"), 1, result.stdout)
        tokens = [device["tokens"] for device in self.assert_whole_checkpoint(STEPS)["devices"]]
        self.assertEqual(sum(tokens), events[-1]["tokens"])

    def test_variables_of_torchrun(self):
        results = self.finish(self.start(2))
        self.assertEqual([code for _, _, code in results], [0, 0], results)
        self.assertIn('{"ddp": "external_launcher_detected"', results[0][1])
        self.assertEqual(results[1][:2], ("", ""))  # the second has nothing to say
        self.assert_same_run(self.events(), self.alone(2))

    @unittest.skipUnless(TORCHRUN, "torchrun is not installed")
    def test_torchrun(self):
        self.assert_two_ranks(self.run_launcher([*TORCHRUN, "--master_port", str(free_port()), "--nproc_per_node", "2", "--no_python",
                                                 "--redirects", "2", "--tee", "1",  # 1.13 under Python 3.11 can't do without
                                                 *self.command()]))

    @unittest.skipUnless(shutil.which("mpirun"), "mpirun is not installed")
    def test_mpirun(self):
        self.assert_two_ranks(self.run_launcher(["mpirun", "--allow-run-as-root", "--oversubscribe", "-n", "2", *self.command()],
                                                MASTER_PORT=free_port()))

    def test_spawn(self):
        result = self.run_launcher([*self.command(), "--spawn", "--world-size", "2"])
        self.assert_two_ranks(result)
        self.assertIn('{"ddp": "spawning_workers"', result.stderr)
        self.assertTrue(os.path.exists(os.path.join(self.run_folder, "logs", "rank-1.log")))

    def test_spawn_by_variable_stops_and_goes_on(self):
        whole = self.alone(2, steps=600)
        variables = {"AIOS_DDP_SPAWN": "1"}
        command = [*self.command(steps=600), "--world-size", "2", "--ddp"]
        started = subprocess.Popen(command, encoding="utf-8", stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(**variables))
        self.addCleanup(self.end, [started])
        self.await_step(20)
        started.send_signal(signal.SIGINT)
        output, errors = started.communicate(timeout=60)
        self.assertEqual(started.returncode, 128 + signal.SIGINT, output + errors)
        self.assertLess(self.events()[-1]["step"], 600)
        result = self.run_launcher([*command, "--resume"], **variables)
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        events = self.events()
        steps = [event["step"] for event in events if event["event"] == "step"]
        self.assertEqual(steps, list(range(1, 601)))
        self.assertEqual(events[-1]["tokens"], whole[-1]["tokens"])

    def test_a_folder_that_is_there_is_another_run_s(self):
        for second in range(20):
            os.makedirs(os.path.join(self.folder, "runs", time.strftime("%Y%m%d-%H%M%S", time.gmtime(time.time() + second))))
        command = self.command(steps=2)
        at = command.index("--save-dir")
        result = subprocess.run([*command[:at], *command[at + 2:], "--spawn", "--world-size", "2"], encoding="utf-8", capture_output=True, timeout=120,
                                check=False, env=environment(), cwd=self.folder)
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        logs = glob.glob(os.path.join(self.folder, "runs", "*", "metrics.jsonl"))
        self.assertEqual([os.path.dirname(log)[-2:] for log in logs], ["-2"], result.stderr)

    def test_without_the_engine_one_process_does_it(self):
        alone = os.path.join(self.folder, "lib")  # the library with nothing beside it
        os.mkdir(alone)
        for name in glob.glob(os.path.join(os.path.dirname(os.environ["AIOS_BACKEND_PATH"]), "libaios.so*")):
            shutil.copy(name, alone)
        variables = {"AIOS_BACKEND_PATH": self.folder, "LD_LIBRARY_PATH": alone}
        result = self.run_launcher([*self.command(), "--spawn", "--world-size", "2"], **variables)
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        self.assertIn('{"ddp": "fallback"', result.stderr)
        self.assertIn("aios-gloo.so", result.stderr)
        with open(os.path.join(self.run_folder, "run.json"), encoding="utf-8") as f:
            self.assertEqual(json.load(f)["options"]["strategy"], "ddp")  # as the processes would have had it
        shutil.rmtree(self.run_folder)
        result = self.run_launcher([*self.command(), "--spawn", "--world-size", "2", "--strict"], **variables)
        self.assertNotEqual(result.returncode, 0)

    def test_ranks_that_differ_end_all(self):
        port = free_port()
        started = [subprocess.Popen(self.command("--lr", lr), encoding="utf-8", stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                    env=environment(RANK=rank, LOCAL_RANK=rank, WORLD_SIZE=2, LOCAL_WORLD_SIZE=2, MASTER_PORT=port))
                   for rank, lr in enumerate(("1e-4", "2e-4"))]
        self.addCleanup(self.end, started)
        for _, errors, code in self.finish(started):
            self.assertNotEqual(code, 0)
            self.assertIn("process 1", errors)
            self.assertIn('list of options is not that of process 0: "lr":0.0002 and "lr":0.0001', errors)

    def test_variables_that_make_no_sense_are_named(self):
        for variables, named in (({"RANK": "2", "WORLD_SIZE": "2"}, "RANK"), ({"RANK": "x", "WORLD_SIZE": "2"}, "RANK")):
            result = self.run_launcher(self.command(), **variables)
            self.assertNotEqual(result.returncode, 0)
            self.assertIn(named, result.stderr)
        result = self.run_launcher([*self.command("--launcher", "none")], RANK="2", WORLD_SIZE="2")
        self.assertEqual(result.returncode, 0, result.stderr)

    def test_a_number_of_processes_is_a_whole_number(self):
        for number in ("0", "2x", "two", "65", "-4294967295"):
            result = self.run_launcher([*self.command(), "--spawn", f"--world-size={number}"])
            self.assertEqual(result.returncode, 2, result.stdout + result.stderr)
            self.assertIn(f"--world-size is {number}", result.stderr)

    def test_who_has_no_log_is_not_said_to_have_one(self):
        result = self.run_launcher([*self.command("--dataset-file", "nothing"), "--spawn", "--world-size", "2", "--strict"])
        self.assertNotEqual(result.returncode, 0)
        self.assertIn("logs/rank-1.log", result.stderr)
        self.assertNotIn("rank-0.log", result.stderr)

    def test_a_run_that_trained_is_not_begun_anew_in_one_process(self):
        diverge = ["--lr", "1000", "--weight-decay", "1000", "--grad-clip", "0", "--max-nan-steps", "3", "--eval-interval", "0", "--checkpoint-interval", "2"]
        for name, more in (("a", ["--log-file", os.path.join(self.folder, "log.jsonl")]), ("b", ["--log-interval", "1000"])):
            run = os.path.join(self.folder, name)
            result = self.run_launcher([*self.command(*diverge, *more, run=run, steps=400), "--spawn", "--world-size", "2"])
            self.assertEqual(result.returncode, 1, result.stdout + result.stderr)
            self.assertIn("no finite gradient", result.stderr)
            self.assertNotIn("fallback", result.stderr)

    def test_chunks_are_for_one_process(self):
        for _, errors, code in self.finish(self.start(2, "--strategy", "parallel-independent")):
            self.assertNotEqual(code, 0)
            self.assertIn("parallel-independent", errors)


if __name__ == "__main__":
    unittest.main(verbosity=2)
