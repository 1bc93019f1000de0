#!/usr/bin/python3
"""Kafka refuses what millraced writes for good: a topic takes smaller batches only, or is deleted. millraced ends at once with
a line that says so, before it has written anything behind a hole, and the next start makes again what was refused: what
tests/pipeline/kill_test.py compares, after such ends.

MILLRACE_REFUSALS is how often it is refused (2); MILLRACE_SEED seeds the moments and the sizes."""

import os
import pathlib
import random
import sys
import tempfile
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import fleet
import kafka
import kill_test
import processes
from millraced import Millraced, until

ENDS_WITHIN_S = 40
SIZES = (200, 4000)  # of batches: of those that are written some are larger and some smaller


def allow(broker, size):
    for topic in kill_test.OUTPUTS:
        broker.tool("kafka.admin.ConfigCommand", "--alter", "--entity-type", "topics", "--entity-name", topic,
                    "--add-config", f"max.message.bytes={size}")


class TooLarge(kill_test.Killed):
    times = int(os.environ.get("MILLRACE_REFUSALS", 2))
    lives_s = (1, 3)
    more_s = 30 * times  # Kafka's tool takes its time
    test_it_is_back_in_time = None  # of kills
    dice = random.Random(kill_test.SEED)
    statuses = []

    @classmethod
    def end(cls, daemon):
        allow(cls.broker, cls.dice.randint(*SIZES))
        try:
            cls.statuses.append(daemon.child.wait(ENDS_WITHIN_S))
        finally:
            allow(cls.broker, 1048576)

    def test_it_ends_and_says_why(self):
        self.assertEqual(self.statuses, [1] * self.times, self.log[-3000:])
        self.assertIn("was refused: Broker: Message size too large; set its max.message.bytes to 1048576 or more", self.log)


class Deleted(unittest.TestCase):
    TOPIC = "millrace.flows"

    def test_what_comes_after_the_snapshot_is_in_the_topic_that_was_made_anew(self):
        with tempfile.TemporaryDirectory(prefix="millrace-refused-") as folder, kafka.Kafka() as broker:
            feed = fleet.Feed(folder, nodes=8, flows=200, edges=40, rate=2000, seconds=40)
            settings = kill_test.CONFIG.format(group="deleted", folder=f"{folder}/snapshots", workers=2)
            with Millraced(broker.address, settings) as daemon:
                daemon.wait_ready()
                sender = feed.start(broker.address)
                self.assertGreaterEqual(daemon.wait_metric("millrace_snapshots_total", 5), 5)
                broker.tool("TopicCommand", "--delete", "--topic", self.TOPIC)
                self.assertEqual(daemon.child.wait(ENDS_WITHIN_S), 1, daemon.log()[-3000:])
                daemon.start()
                self.assertTrue(until(lambda: f"topic {self.TOPIC}" in daemon.get("/readyz")[1], ENDS_WITHIN_S))
                broker.tool("TopicCommand", "--create", "--topic", self.TOPIC, "--partitions", 16)
                daemon.wait_ready()
                sender.stdout.readline()
                assert processes.end(sender, within_s=60) == 0
                time.sleep(kill_test.SETTLE_S)
                log = daemon.log()
            with Millraced(broker.address, kill_test.CONFIG.format(group="whole", folder="", workers=1)) as daemon:
                daemon.wait_ready(kill_test.READ_WITHIN_S)
                assert until(lambda: daemon.metric("millrace_events_received_total") >= feed.events,
                             kill_test.READ_WITHIN_S)
                time.sleep(kill_test.SETTLE_S)
            found = kill_test.numbered(broker.address, self.TOPIC)
        self.assertRegex(log, f"for partition [0-9]+ of topic {self.TOPIC} was refused: .*; make it as deploy/kafka/topics says")
        self.assertIn("going on from the snapshot", log)
        first, whole = sorted({epoch for epoch, _ in found})
        compared = 0
        for task in (task for epoch, task in found if epoch == first):
            told, all_of_it = found[first, task], found[whole, task]
            begin = told[0][0]
            self.assertEqual([number for number, _ in told], list(range(begin, begin + len(told))), task)
            compared += len(told[:len(all_of_it) - begin])
            self.assertEqual(told[:len(all_of_it) - begin], all_of_it[begin:begin + len(told)], task)
        self.assertGreater(compared, 100)


if __name__ == "__main__":
    if kafka.missing():
        sys.exit(77)
    unittest.main(verbosity=2)
