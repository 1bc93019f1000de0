#!/usr/bin/python3
"""The deployment's key and the list of revoked nodes change under a running millraced."""

import pathlib
import sys
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import kafka
import nodes
from millraced import Millraced, until

KEY, NEXT = b"the first key of all nodes", b"the second key of all nodes"
WITHIN_S = 5  # promised
READ_WITHIN_S = 30
UNAUTHENTICATED = 'millrace_deadletters_total{reason="unauthenticated"}'


class Keys(unittest.TestCase):
    def setUp(self):
        self.kafka = kafka.Kafka()
        self.addCleanup(self.kafka.stop)

    def told(self, daemon, words):
        began = time.monotonic()
        self.assertTrue(until(lambda: words in daemon.log(), WITHIN_S), daemon.log())
        return time.monotonic() - began

    def test_a_revoked_node_is_refused_within_five_seconds(self):
        with Millraced(self.kafka.address, "") as probe:
            folder = probe.folder
            probe.terminate(30)
            key, revoked = folder / "key", folder / "revoked"
            key.write_bytes(KEY + b"\n")
            revoked.write_text("# none yet\n")
            with Millraced(self.kafka.address, f"key_file: {key}\nrevoked_path: {revoked}\n") as daemon:
                daemon.wait_ready()
                pair = nodes.Pair(secret=KEY)
                pair.talk(self.kafka)
                came = daemon.wait_metric("millrace_events_received_total", pair.events, READ_WITHIN_S)
                self.assertEqual(pair.events, came)
                self.assertEqual(0, daemon.metric(UNAUTHENTICATED))
                revoked.write_text("node-a # stolen\nnode-b\n")
                took = self.told(daemon, "the keys or the revoked nodes have changed")
                time.sleep(max(0, WITHIN_S - took))  # what is promised, and not before
                pair.talk(self.kafka)
                self.assertGreater(daemon.wait_metric(UNAUTHENTICATED, 2, READ_WITHIN_S), 1)
                self.assertEqual(came, daemon.metric("millrace_events_received_total"))
                # What is no good changes nothing and is told once.
                revoked.unlink()
                self.told(daemon, "the keys stay as they were: revoked_path: cannot read")
                self.assertGreater(daemon.metric("millrace_key_reload_errors_total"), 0)

    def test_another_key_file_is_taken_without_a_restart(self):
        with Millraced(self.kafka.address, "") as probe:
            probe.terminate(30)
            key = probe.folder / "key"
            key.write_bytes(KEY)
            with Millraced(self.kafka.address, f"key_file: {key}\n") as daemon:
                daemon.wait_ready()
                first = nodes.Pair(secret=KEY)
                first.talk(self.kafka)
                self.assertEqual(first.events,
                                 daemon.wait_metric("millrace_events_received_total", first.events, READ_WITHIN_S))
                key.write_bytes(NEXT)
                self.told(daemon, "the keys or the revoked nodes have changed: 1 keys")
                time.sleep(1.5)  # a task looks each second
                first.talk(self.kafka)
                self.assertGreater(daemon.wait_metric(UNAUTHENTICATED, 2, READ_WITHIN_S), 1)
                second = nodes.Pair(secret=NEXT, client="node-c", server="node-d")
                before = daemon.metric("millrace_events_received_total")
                second.talk(self.kafka)
                came = daemon.wait_metric("millrace_events_received_total", before + second.events, READ_WITHIN_S)
                self.assertEqual(before + second.events, came)
                self.assertNotIn(NEXT.decode(), daemon.log())


if __name__ == "__main__":
    if kafka.missing():
        print("skipped: not installed:", *kafka.missing())
        sys.exit(77)
    unittest.main()
