#!/usr/bin/python3
"""millraced told to end (SIGTERM) at any moment while agents send: it is not ready at once, ends with status 0 in time,
and the next start loses and repeats nothing: what tests/pipeline/kill_test.py compares, after ends of its own will. A
second signal ends it at once.

MILLRACE_STOPS is how often it is told to (20)."""

import os
import pathlib
import signal
import sys
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import kafka
import kill_test
from millraced import Millraced

ENDS_WITHIN_S = 5


class Stopped(kill_test.Killed):
    times = int(os.environ.get("MILLRACE_STOPS", 20))
    lives_s = (0.2, 1.5)
    test_it_is_back_in_time = None  # of kills
    ends = []

    @classmethod
    def end(cls, daemon):
        cls.ends.append(daemon.terminate(3 * ENDS_WITHIN_S))

    def test_each_end_is_a_good_one_and_in_time(self):
        print(f"ends: {[round(took, 2) for _, took in sorted(self.ends, key=lambda end: end[1])]} s", file=sys.stderr)
        self.assertEqual([status for status, _ in self.ends], [0] * self.times, self.log[-3000:])
        self.assertLess(max(took for _, took in self.ends), ENDS_WITHIN_S)


class Second(unittest.TestCase):
    def test_a_second_signal_ends_it_at_once(self):
        with kafka.Kafka() as broker, Millraced(broker.address) as daemon:
            daemon.wait_ready()
            os.kill(broker.pid, signal.SIGSTOP)  # what is queued cannot leave, so the end takes its time
            try:
                time.sleep(0.5)
                daemon.child.send_signal(signal.SIGTERM)
                time.sleep(0.3)
                self.assertTrue(daemon.alive(), "nothing was left to wait for")
                self.assertNotEqual(daemon.get("/readyz")[0], 200)
                status, took = daemon.terminate(ENDS_WITHIN_S, check=False)  # it answers nobody any more
            finally:
                os.kill(broker.pid, signal.SIGCONT)
            self.assertEqual(status, 1)
            self.assertLess(took, 0.5)


if __name__ == "__main__":
    if kafka.missing():
        sys.exit(77)
    unittest.main(verbosity=2)
