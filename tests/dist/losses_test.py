#!/usr/bin/env python3
"""Ranks that die, stop, lose their device or their link: the others go on with the samples and the losses of a run that lost nothing."""
import os
import shutil
import signal
import subprocess
import unittest

from runs import Runs, environment

STEPS = 160


class Losses(Runs):
    def survive(self, ranks, victim, number, *more):
        started = self.start(ranks, *more, steps=STEPS)
        self.await_step(10)
        started[victim].send_signal(number)
        others = [process for rank, process in enumerate(started) if rank != victim]
        results = self.finish(others)
        return results, self.events()

    def test_a_rank_that_is_killed(self):
        whole = self.alone(3, STEPS)
        results, events = self.survive(3, 1, signal.SIGKILL)
        self.assertEqual([code for _, _, code in results], [0, 0], results)
        self.assertEqual([event["devices"] for event in events if event["event"] == "reform"], [2])
        self.assert_same_run(events, whole)
        tokens = [device["tokens"] for device in self.assert_whole_checkpoint(STEPS)["devices"]]
        self.assertEqual(sum(tokens), whole[-1]["tokens"])

    def test_a_rank_that_is_stopped(self):
        whole = self.alone(2, STEPS)
        results, events = self.survive(2, 1, signal.SIGSTOP)
        self.assertEqual([code for _, _, code in results], [0], results)
        self.assert_same_run(events, whole)

    def test_where_a_part_of_the_state_dies_the_newest_checkpoint_is_next(self):
        whole = self.alone(2, STEPS)
        results, events = self.survive(3, 2, signal.SIGKILL, "--zero-stage", "2", "--batch-size", "1", "--gradient-accumulation-steps", "2")
        self.assertEqual([code for _, _, code in results], [0, 0], results)
        rewinds = [event for event in events if event["event"] == "rewind"]
        self.assertEqual(len(rewinds), 1)
        self.assertEqual([event["step"] for event in events if event["event"] == "step"], list(range(1, STEPS + 1)))
        self.assertEqual(whole[-1]["step"], events[-1]["step"])

    def test_who_writes_is_killed(self):
        whole = self.alone(2, STEPS)
        results, _ = self.survive(2, 0, signal.SIGKILL)
        self.assertNotEqual(results[0][2], 0)
        self.assertIn("resume", results[0][1])
        results = self.finish(self.start(2, "--resume", steps=STEPS))
        self.assertEqual([code for _, _, code in results], [0, 0], results)
        self.assert_same_run(self.events(), whole)

    def test_spawn_starts_again_where_the_writer_is_killed(self):
        whole = self.alone(2, STEPS)
        started = subprocess.Popen([*self.command(steps=STEPS), "--spawn", "--world-size", "2"], encoding="utf-8", stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, env=environment())
        self.addCleanup(self.end, [started])
        self.await_step(10)
        writer = subprocess.run(["pgrep", "-P", str(started.pid)], encoding="utf-8", capture_output=True, check=True).stdout.split()[0]
        os.kill(int(writer), signal.SIGKILL)
        output, errors = started.communicate(timeout=120)
        self.assertEqual(started.returncode, 0, output + errors)
        self.assertIn("restarting_workers", errors)
        self.assert_same_run(self.events(), whole)

    def test_a_host_whose_link_goes_down(self):
        names = [f"aios-{os.getpid()}-{rank}" for rank in range(2)]
        def ip(*arguments):
            return subprocess.run(["ip", *arguments], capture_output=True, check=False).returncode == 0
        for name in names:
            self.addCleanup(ip, "netns", "delete", name)
        if not shutil.which("ip") or not all(ip("netns", "add", name) for name in names):
            self.skipTest("network namespaces are not permitted here")
        self.assertTrue(ip("-n", names[0], "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", names[1]))
        for rank, name in enumerate(names):
            self.assertTrue(ip("-n", name, "address", "add", f"10.78.0.{rank + 1}/24", "dev", "eth0"))
            self.assertTrue(ip("-n", name, "link", "set", "eth0", "up") and ip("-n", name, "link", "set", "lo", "up"))
        whole = self.alone(2, STEPS)
        started = [subprocess.Popen(["ip", "netns", "exec", name, *self.command(steps=STEPS)], encoding="utf-8", stdout=subprocess.PIPE,
                                    stderr=subprocess.PIPE, env=environment(RANK=rank, LOCAL_RANK=0, WORLD_SIZE=2, LOCAL_WORLD_SIZE=1,
                                                                            MASTER_ADDR="10.78.0.1", MASTER_PORT=29500))
                   for rank, name in enumerate(names)]
        self.addCleanup(self.end, started)
        self.await_step(10)
        self.assertTrue(ip("-n", names[1], "link", "set", "eth0", "down"))
        results = self.finish(started)
        self.assertEqual(results[0][2], 0, results)
        self.assertNotEqual(results[1][2], 0)
        self.assert_same_run(self.events(), whole)

    @unittest.skipUnless("cuda" in os.environ["AIOS_PLUGINS"] and os.path.exists(os.environ["AIOS_SIM"]), "no simulated devices")
    def test_a_rank_that_loses_its_only_device(self):
        sim = [os.environ["AIOS_SIM"], "--devices", "cuda:3", "--fault", "work@cuda:1:2000:lost", "--report", os.path.join(self.folder, "report"), "--"]
        flags = ["--devices", "cuda:0,cuda:1,cuda:2", "--collectives", "host"]
        whole = self.alone(3, 60)
        result = subprocess.run([*sim, *self.command(*flags, "--spawn", steps=60)], encoding="utf-8", capture_output=True, timeout=120, check=False,
                                env=environment())
        self.assertIn(result.returncode, (0, 3), result.stdout + result.stderr)
        events = self.events()
        self.assertEqual([event["devices"] for event in events if event["event"] == "reform"], [2], result.stderr)
        self.assert_same_run(events, whole)

    def test_a_strict_run_ends(self):
        results, _ = self.survive(3, 1, signal.SIGKILL, "--strict")
        self.assertTrue(all(code != 0 for _, _, code in results), results)


if __name__ == "__main__":
    unittest.main(verbosity=2)
