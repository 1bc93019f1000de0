#!/usr/bin/python3
"""Every public topic, read by programs that are not ours: kcat reads it, protoc explains it."""

import pathlib
import re
import subprocess
import sys
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import kafka
import nodes
import receiver
import records
from millraced import Millraced, until

# Topic, and a word that protoc must find in its records.
WORDS = {
    "millrace.events": 'node: "node-a"',
    "millrace.flows": 'workload: "shop/web"',
    "millrace.rollups": 'server: "shop/cart"',
    "millrace.alerts": 'monitor: "refused"',
    "millrace.alerts.delivery": 'receiver: "slack"',
    "millrace.baselines": 'server: "shop/cart"',
    "millrace.deadletter": 'reason: "malformed"',
}
NUMBERED = ("millrace.flows", "millrace.rollups", "millrace.alerts", "millrace.deadletter")
COME_WITHIN_S = 30
BASELINES_WITHIN_S = 150  # kept once a minute, after the first windows of 10 s
TRAFFIC_EVERY_S = 0.5

CONFIG = """
monitors:
  - name: refused
    metric: connections_failed
    threshold: 2
    window: 1s
    clear_after: 1s
notify:
  allow_http: true
  allow_private: true
receivers:
  - name: slack
    type: slack
    url: {url}
"""


def named(word):
    """What stands between the quotes, as the wire has it."""
    return word.split('"')[1].encode()


def explained(topic, value):
    noun, message = records.MESSAGES[topic]
    done = subprocess.run(["protoc", f"--proto_path={kafka.ROOT / 'proto'}", f"--decode=millrace.v1.{message}",
                           f"millrace/v1/{noun}.proto"], input=value, capture_output=True, check=True)
    return done.stdout.decode()


class Topics(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.kafka = kafka.Kafka()
        cls.receiver = receiver.Receiver()
        cls.daemon = Millraced(cls.kafka.address, CONFIG.format(url=cls.receiver.slack_url))
        try:
            cls.daemon.wait_ready()
            cls.pair = nodes.Pair()
            cls.run_traffic()
        except BaseException:
            cls.tearDownClass()
            raise

    @classmethod
    def tearDownClass(cls):
        cls.daemon.stop()
        cls.receiver.stop()
        cls.kafka.stop()

    @classmethod
    def run_traffic(cls):
        """Until every topic has a record of what is looked for."""
        cls.pair.talk(cls.kafka)
        cls.pair.fail(cls.kafka)
        assert nodes.produce(cls.kafka, "node-x", [b"\x00"])
        missing = set(WORDS)
        deadline = time.monotonic() + BASELINES_WITHIN_S
        while missing and time.monotonic() < deadline:
            cls.pair.talk(cls.kafka)
            missing = {topic for topic in missing
                       if not any(named(WORDS[topic]) in value for value in records.raw(cls.kafka.address, topic))}
            time.sleep(TRAFFIC_EVERY_S)
        assert not missing, f"nothing in {missing}\n{cls.daemon.log()[-2000:]}"
        resolved = cls.receiver.wait_for(lambda message: message["body"]["text"].startswith("Resolved"), COME_WITHIN_S)
        assert resolved, f"no resolve came: {cls.receiver.messages}"
        time.sleep(4)  # windows close, their rows are written

    def test_protoc_explains_every_topic(self):
        for topic, word in WORDS.items():
            with self.subTest(topic=topic):
                texts = []
                for value in list(records.raw(self.kafka.address, topic))[:20]:
                    if topic == "millrace.events" and value == b"\x00":
                        continue  # the one that is none
                    texts.append(explained(topic, value))
                    # A number instead of a name is a field that the schema does not know.
                    self.assertIsNone(re.search(r"^\s*\d+( \{|:)", texts[-1], re.M), texts[-1])
                values = [text for text in texts if word in text] or \
                    [value for value in records.raw(self.kafka.address, topic)
                     if named(word) in value]
                self.assertTrue(values, f"{word} in none of {len(texts)}")

    def test_outputs_are_numbered_without_gaps(self):
        for topic in NUMBERED:
            with self.subTest(topic=topic):
                out = subprocess.run(["kcat", "-q", "-C", "-e", "-b", self.kafka.address, "-t", topic, "-o",
                                      "beginning", "-f", "%p %h\n"], capture_output=True, text=True, check=True).stdout
                sequences = {}
                for line in out.splitlines():
                    partition, header = line.split(" ", 1)
                    epoch, task, sequence = re.fullmatch(records.NUMBER, header).groups()
                    sequences.setdefault((epoch, task), []).append(int(sequence))
                    if topic in ("millrace.flows", "millrace.rollups"):
                        self.assertEqual(task, partition)
                self.assertTrue(sequences)
                self.assertEqual(1, len({epoch for epoch, _ in sequences}))
                for key, found in sequences.items():
                    # Tasks write alerts by key into several partitions, so in no order that a reader sees.
                    self.assertEqual(list(range(len(found))), sorted(found), key)
                    if topic in ("millrace.flows", "millrace.rollups"):
                        self.assertEqual(sorted(found), found, key)

    def test_numbers_in_the_header_are_those_in_the_record(self):
        for topic in ("millrace.flows", "millrace.rollups"):
            for record in records.read(self.kafka.address, topic):
                self.assertEqual(1, record.version)
                self.assertGreater(record.epoch, 0)

    def test_flows_and_rollups_add_up_to_what_was_sent(self):
        def flows():
            found, repeats = records.flows(self.kafka.address)
            self.assertEqual(0, repeats)
            return [flow for flow in found.values() if flow.established]
        until(lambda: len(flows()) >= self.pair.connections, COME_WITHIN_S)
        self.assertEqual(self.pair.connections, len(flows()))
        self.assertEqual(self.pair.tx_bytes, sum(flow.client.tx_bytes for flow in flows()))
        self.assertEqual(self.pair.rx_bytes, sum(flow.client.rx_bytes for flow in flows()))
        self.assertEqual(self.pair.connections, sum(flow.joined for flow in flows()))

        def rollups(counter):
            total = 0
            for record in records.read(self.kafka.address, "millrace.rollups"):
                number = list(record.counters).index(counter)
                total += sum(dict(zip(row.counter, row.value)).get(number, 0) for row in record.rows
                             if row.window_ms == 10000 and row.scope == 0)  # with what came late
            return total
        for counter, wanted in (("tx_bytes", self.pair.tx_bytes), ("rx_bytes", self.pair.rx_bytes),
                                ("opened", self.pair.connections), ("failed", self.pair.failed)):
            until(lambda: rollups(counter) >= wanted, COME_WITHIN_S)
            self.assertEqual(wanted, rollups(counter), counter)

    def test_an_alert_was_told_once_begun_and_once_ended(self):
        messages = [message for message in self.receiver.messages if "refused" in str(message["body"])]
        self.assertEqual([], [problem for message in messages for problem in message["problems"]])
        self.assertEqual(2, len(messages))
        self.assertNotIn("Resolved", messages[0]["body"]["text"])
        deliveries = [delivery for delivery in records.read(self.kafka.address, "millrace.alerts.delivery")
                      if not delivery.failed and not delivery.uncertain]
        self.assertEqual([True, False], [delivery.resolve_owed for delivery in deliveries][:2])
        self.assertEqual({"slack"}, {delivery.receiver for delivery in deliveries})


if __name__ == "__main__":
    if kafka.missing():
        print("skipped: not installed:", *kafka.missing())
        sys.exit(77)
    unittest.main()
