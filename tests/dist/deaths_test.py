#!/usr/bin/env python3
"""A rank dies at a message, whichever of a step it is: the others go on, and every step is logged once, with the numbers of a run that lost nothing.

Of three ranks it is the second, which gives each message to the third first: so the third may have made a step that the first, the writer, has not."""
import os
import unittest

from runs import Runs

ENGINE = os.environ["AIOS_DYING_ENGINE"]
STEPS = 12


class Deaths(Runs):
    def run_with(self, name, steps, *more, **variables):
        """Three ranks, of which the second has these variables; ((code, output) of the others, events)."""
        self.run_folder = os.path.join(self.folder, name)
        path = ":".join((ENGINE, os.environ["AIOS_BACKEND_PATH"]))
        started = self.start(3, *more, steps=steps, variables={1: {"AIOS_BACKEND_PATH": path, **variables}})
        results = self.finish(started)
        return [(results[rank][2], results[rank][0] + results[rank][1]) for rank in (0, 2)], self.events()

    def count(self, steps, *more):
        """Messages that the second rank sends in so many steps."""
        log = os.path.join(self.folder, f"sends-{steps}")
        results, _ = self.run_with(f"count-{steps}", steps, *more, AIOS_DYING_LOG=log)
        self.assertEqual([code for code, _ in results], [0, 0], results)
        with open(log, encoding="utf-8") as lines:
            return int(lines.read())

    def each_message_of_a_step(self, *more):
        """(message, events) where the second rank died at that message of a step in the middle."""
        begin = self.count(2, *more)
        step = self.count(3, *more) - begin
        self.assertGreater(step, 4)
        for message in range(begin, begin + step):  # what ends a run takes fewer messages than the steps that are left here
            results, events = self.run_with(f"death-{message}", STEPS, *more, AIOS_DYING_SENDS=message)
            self.assertEqual([code for code, _ in results], [0, 0], f"message {message}: {results}")
            self.assertEqual([event["devices"] for event in events if event["event"] == "reform"], [2], f"message {message}: {results}")
            yield message, events

    def test_the_other_has_all_of_the_state(self):
        whole = self.alone(3, STEPS)
        for _, events in self.each_message_of_a_step():
            self.assert_same_run(events, whole)

    def test_the_other_has_a_part_of_the_state(self):
        whole = self.alone(3, STEPS)
        for _, events in self.each_message_of_a_step("--zero-stage", "1", "--checkpoint-interval", "4"):
            self.assertEqual(len([event for event in events if event["event"] == "rewind"]), 1)
            self.assert_same_run(events, whole)


if __name__ == "__main__":
    unittest.main()
