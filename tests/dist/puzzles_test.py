#!/usr/bin/env python3
"""Puzzles in several processes: what they carry from step to step is one device's, wherever their rows are, also from a checkpoint and where a rank dies."""
import os
import signal
import subprocess
import unittest

from runs import AIOS, Runs, environment

ENGINE = os.environ["AIOS_DYING_ENGINE"]
STEPS = 12


class Puzzles(Runs):
    def setUp(self):
        super().setUp()
        self.data = os.path.join(self.folder, "data")
        subprocess.run([AIOS, "data", "sudoku", "--puzzle-size", "4", "--train-count", "60", "--test-count", "12", "--output-dir", self.data], check=True,
                       capture_output=True, env=environment())

    def command(self, *more, run=None, steps=STEPS):
        return [AIOS, "hrm", "train", "--data-path", self.data, "--save-dir", run or self.run_folder, "--hidden-size", "16", "--num-heads", "2",
                "--h-layers", "1", "--l-layers", "1", "--h-cycles", "1", "--l-cycles", "1", "--halt-max-steps", "3", "--halt-exploration-prob", "0.4",
                "--global-batch-size", "12", "--lr", "5e-3", "--puzzle-emb-lr", "1e-2", "--lr-warmup-steps", "2", "--eval-interval", "4", "--log-interval", "1",
                "--checkpoint-interval", "4", "--device", "cpu", "--step-deadline", "4", "--steps", str(steps), *more]

    def assert_same_run(self, events, whole):
        """Losses of every step and evaluation, each once."""
        def of(events, name):
            return [(event["step"], event["loss"]) for event in events if event["event"] == name]
        for name in ("step", "eval"):
            here, there = of(events, name), of(whole, name)
            self.assertEqual([step for step, _ in here], [step for step, _ in there], name)
            for (step, a), (_, b) in zip(here, there):
                self.assertAlmostEqual(a, b, delta=2e-5 * b, msg=f"{name} {step}")

    def test_any_number_of_processes_is_one(self):
        whole = self.alone(1)
        for ranks, more in ((2, ["--gradient-accumulation-steps", "3"]), (3, ["--zero-stage", "2"])):
            self.run_folder = os.path.join(self.folder, f"run-{ranks}")
            results = self.finish(self.start(ranks, *more))
            self.assertEqual([code for _, _, code in results], [0] * ranks, results)
            self.assertEqual(results[1][:2], ("", ""))  # the first one speaks
            self.assert_same_run(self.events(), whole)

    def test_a_checkpoint_goes_on_in_any_number_of_processes(self):
        whole = self.alone(1, 20)
        for ranks, steps in ((3, 8), (1, 12), (2, 20)):
            results = self.finish(self.start(ranks, "--resume", steps=steps) if ranks > 1 else [self.one("--resume", steps=steps)])
            self.assertEqual([code for _, _, code in results], [0] * ranks, results)
        for event in whole:  # a run that ends evaluates
            self.assertTrue(event["event"] != "eval" or event["step"] % 4 == 0)
        self.assert_same_run(self.events(), whole)

    def one(self, *more, steps):
        return subprocess.Popen(self.command(*more, steps=steps), encoding="utf-8", stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment())

    def test_spawn_stops_and_goes_on(self):
        whole = self.alone(1, 300)
        command = [*self.command("--log-interval", "1", steps=300), "--spawn", "--world-size", "2"]
        started = subprocess.Popen(command, encoding="utf-8", stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment())
        self.addCleanup(self.end, [started])
        self.await_step(20)
        started.send_signal(signal.SIGINT)
        output, errors = started.communicate(timeout=60)
        self.assertEqual(started.returncode, 128 + signal.SIGINT, output + errors)
        result = subprocess.run([*command, "--resume"], encoding="utf-8", capture_output=True, timeout=120, check=False, env=environment())
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        steps = [(event["step"], event["loss"]) for event in self.events() if event["event"] == "step"]
        self.assertEqual([step for step, _ in steps], list(range(1, 301)))
        for (step, a), (_, b) in zip(steps[:40], [(event["step"], event["loss"]) for event in whole if event["event"] == "step"]):
            self.assertAlmostEqual(a, b, delta=1e-3 * b, msg=f"step {step}")  # sums in another order, over many updates

    def test_who_dies_takes_its_own_puzzles_alone_along(self):
        """Whether the step in which a rank dies counts or not, what the others' puzzles carry is the same for all: so there are two curves, not more."""
        path = ":".join((ENGINE, os.environ["AIOS_BACKEND_PATH"]))

        def run(name, steps, **variables):
            self.run_folder = os.path.join(self.folder, name)
            results = self.finish(self.start(3, "--checkpoint-interval", "0", "--eval-interval", "0", steps=steps,
                                             variables={1: {"AIOS_BACKEND_PATH": path, **variables}}))
            return [(results[rank][2], results[rank][1]) for rank in (0, 2)], self.events()

        def count(steps):
            log = os.path.join(self.folder, f"sends-{steps}")
            run(f"count-{steps}", steps, AIOS_DYING_LOG=log)
            with open(log, encoding="utf-8") as lines:
                return int(lines.read())

        begin = count(4)
        curves = []
        for message in range(begin, count(5)):  # of step 5, or of what ends a run of 4, which is among them
            results, events = run(f"death-{message}", STEPS, AIOS_DYING_SENDS=message)
            self.assertEqual([code for code, _ in results], [0, 0], f"message {message}: {results}")
            self.assertEqual([event["devices"] for event in events if event["event"] == "reform"], [2], f"message {message}: {results}")
            losses = [(event["step"], event["loss"]) for event in events if event["event"] == "step"]
            self.assertEqual([step for step, _ in losses], list(range(1, STEPS + 1)), f"message {message}")
            curve = [loss for _, loss in losses]
            if not any(all(abs(a - b) < 1e-4 for a, b in zip(curve, other)) for other in curves):
                curves.append(curve)
        self.assertLessEqual(len(curves), 2, curves)


if __name__ == "__main__":
    unittest.main(verbosity=2)
