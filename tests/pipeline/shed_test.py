#!/usr/bin/python3
"""millraced falls behind by more than half of the log's retention: agents are told to send less, signed and in the log,
and to send all again when it has caught up. Without a key it says that it cannot tell them."""

import hmac
import os
import pathlib
import signal
import sys
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import kafka
import records
from millraced import Millraced, until

SECRET = "0123456789abcdef the deployment's"
RETENTION_S = 8  # a quarter of it is more than what a look at the lag may be late by
STANDS_S, RUNS_S = 4.6, 0.4
TOLD_WITHIN_S = 60
TRAILER = 35  # tag and length of the signature, and the signature


def pipeline_key():
    key = hmac.digest(bytes(32), SECRET.encode(), "sha256")  # HKDF-SHA-256, no salt
    return hmac.digest(key, b"millrace.pipeline\x01", "sha256")


class Shed(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.kafka = kafka.Kafka()
        cls.addClassCleanup(cls.kafka.stop)
        cls.kafka.tool("kafka.admin.ConfigCommand", "--alter", "--entity-type", "topics", "--entity-name",
                       "millrace.events", "--add-config", f"retention.ms={RETENTION_S * 1000}")

    def daemon(self, more=""):
        daemon = Millraced(self.kafka.address, f"  group: {self.id()}\n{more}")
        self.addCleanup(daemon.stop)
        daemon.wait_ready()
        self.assertEqual(daemon.wait_metric("millrace_retention_seconds", RETENTION_S), RETENTION_S)
        return daemon

    def hold_back(self, daemon, words):
        """As one that gets too little of the processor, until it says so."""
        deadline = time.monotonic() + TOLD_WITHIN_S
        while words not in daemon.log() and time.monotonic() < deadline:
            os.kill(daemon.child.pid, signal.SIGSTOP)
            time.sleep(STANDS_S)
            os.kill(daemon.child.pid, signal.SIGCONT)
            time.sleep(RUNS_S)
        self.assertIn(words, daemon.log())

    def told(self):
        """The record as it stands, and whether the pipeline signed it."""
        values = list(records.raw(self.kafka.address, "millrace.control"))
        if not values:
            return None, False
        record = records.module("control").Control.FromString(values[-1])
        return record, record.hmac == hmac.digest(pipeline_key(), values[-1][:-TRAILER], "sha256")

    def test_agents_are_told_to_send_less_and_then_all_again(self):
        daemon = self.daemon(f'key: "{SECRET}"\n')
        self.assertEqual(self.told(), (None, False))
        self.hold_back(daemon, "agents are told to send less (control record shed)")
        self.assertTrue(until(lambda: self.told()[1], TOLD_WITHIN_S))
        record, _ = self.told()
        self.assertEqual((record.id, record.withdrawn, record.author), ("shed", False, "millraced"))
        self.assertGreater(record.settings.scan_period_ms, 1000)
        self.assertEqual({feature.name: feature.on for feature in record.settings.features},
                         {"drops": False, "sni": False, "dns": False, "cmdlines": False})
        self.assertTrue(until(lambda: "all is sent again" in daemon.log(), TOLD_WITHIN_S), daemon.log())
        self.assertTrue(until(lambda: self.told()[0].withdrawn and self.told()[1], TOLD_WITHIN_S))
        self.assertEqual(daemon.metric("millrace_shed_level"), 0)

    def test_without_a_key_it_says_that_it_cannot(self):
        before = self.told()
        daemon = self.daemon()
        self.hold_back(daemon, "agents cannot be told to send less, as no key is configured")
        self.assertEqual(self.told(), before)


if __name__ == "__main__":
    if kafka.missing():
        sys.exit(77)
    unittest.main(verbosity=2)
