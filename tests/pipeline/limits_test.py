#!/usr/bin/python3
"""millraced at the limits of its machine: files that cannot grow, no descriptors left. It goes on, says so, counts it,
and is as before when there is room again."""

import os
import pathlib
import resource
import socket
import sys
import tempfile
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import fleet
import kafka
import nodes
from millraced import Millraced, until

READ_WITHIN_S = 30
NOTICED_WITHIN_S = 30
RECEIVED = "millrace_events_received_total"
CALLERS = 100
SPARE = 8
BUSY_S = 3

CONFIG = """  group: {group}
snapshots: {{folder: "{folder}/snapshots", period: 1s}}
history: {{path: "{folder}/history.db"}}
"""


class Limits(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.kafka = kafka.Kafka()
        cls.addClassCleanup(cls.kafka.stop)

    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="millrace-limits-")
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.daemon = Millraced(self.kafka.address, CONFIG.format(group=self.id(), folder=folder.name))
        self.addCleanup(self.daemon.stop)
        self.daemon.wait_ready()
        self.pair = nodes.Pair(client=self.id()[-20:])

    def limit(self, which, most):
        """The soft limit that it had."""
        soft, hard = resource.prlimit(self.daemon.child.pid, which)
        resource.prlimit(self.daemon.child.pid, which, (most, hard))
        return soft

    def talk(self):
        before = self.daemon.metric(RECEIVED)
        events = self.pair.events
        self.pair.talk(self.kafka)
        wanted = before + self.pair.events - events
        self.assertEqual(self.daemon.wait_metric(RECEIVED, wanted, READ_WITHIN_S), wanted, self.daemon.log()[-2000:])

    def snapshots(self):
        return sorted(path.name for path in (self.folder / "snapshots").glob("*.snapshot"))

    def test_files_that_cannot_grow(self):
        daemon = self.daemon
        self.talk()
        self.assertGreaterEqual(daemon.wait_metric("millrace_snapshots_total", 2), 2)
        until(lambda: daemon.metric("millrace_history_rows") > 0, READ_WITHIN_S)
        had = self.limit(resource.RLIMIT_FSIZE, 4096)
        time.sleep(1)  # one that was nearly written may count
        kept = self.snapshots()
        self.talk()
        for failed in ("millrace_snapshots_failed_total", "millrace_history_failed_total"):
            self.assertGreaterEqual(daemon.wait_metric(failed, 1, NOTICED_WITHIN_S), 1, failed + daemon.log()[-2000:])
        self.assertRegex(daemon.log(), r"snapshot .*: writing: File too large")
        self.assertIn("history: rows are not stored: ", daemon.log())
        self.assertTrue(daemon.ready())
        self.assertEqual(self.snapshots(), kept)
        self.talk()
        self.limit(resource.RLIMIT_FSIZE, had)
        taken = daemon.metric("millrace_snapshots_total")
        rows = daemon.metric("millrace_history_rows")
        self.talk()
        self.assertGreater(daemon.wait_metric("millrace_snapshots_total", taken + 1), taken)
        self.assertGreater(daemon.wait_metric("millrace_history_rows", rows + 1), rows)
        daemon.kill()
        daemon.start()
        daemon.wait_ready()
        self.assertIn("going on from the snapshot", daemon.log())

    def test_no_descriptors_left(self):
        daemon = self.daemon
        pid = daemon.child.pid
        self.talk()
        had = self.limit(resource.RLIMIT_NOFILE, len(os.listdir(f"/proc/{pid}/fd")) + SPARE)
        host, port = daemon.api.split(":")
        callers = []
        for _ in range(CALLERS):
            caller = socket.create_connection((host, int(port)), 5)
            callers.append(caller)
        logged = len(daemon.log())
        spent = fleet.cpu_seconds(pid)
        time.sleep(BUSY_S)
        spent = fleet.cpu_seconds(pid) - spent
        print(f"{spent:.2f} s of processor in {BUSY_S} s", file=sys.stderr)
        self.assertLess(spent, BUSY_S * 0.5)
        self.assertLess(len(daemon.log()) - logged, 4000)
        for caller in callers:
            caller.close()
        self.assertTrue(until(daemon.ready, NOTICED_WITHIN_S), daemon.log()[-2000:])
        self.assertGreaterEqual(daemon.metric("millrace_descriptors_exhausted_total"), 1)
        self.assertIn("hardly any file descriptor is left", daemon.log())
        self.talk()
        self.limit(resource.RLIMIT_NOFILE, had)
        self.talk()


if __name__ == "__main__":
    if kafka.missing():
        sys.exit(77)
    unittest.main(verbosity=2)
