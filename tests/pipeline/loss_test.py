#!/usr/bin/python3
"""The log of events loses records before they are read, is deleted, made anew, or grows while millraced runs: it says
so, counts it, and goes on with what there is or ends, as configured. Offsets of one log are never applied to another."""

import json
import os
import pathlib
import signal
import sys
import tempfile
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import kafka
import nodes
import records
from millraced import Millraced, until

TOPIC = "millrace.events"
NOTICED_WITHIN_S = 60  # promised
READ_WITHIN_S = 30
LOSSES = "millrace_data_losses_total"
LOST = "millrace_data_lost_records_total"
RECEIVED = "millrace_events_received_total"
SETTINGS = ["message.timestamp.type=LogAppendTime", "compression.type=zstd", "max.message.bytes=1048576"]


class Loss(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.kafka = kafka.Kafka()
        cls.addClassCleanup(cls.kafka.stop)

    def daemon(self, policy, more=""):
        daemon = Millraced(self.kafka.address,
                           f"  group: {self.id()}\npipeline: {{on_data_loss: {policy}}}\n{more}")
        self.addCleanup(daemon.stop)
        daemon.wait_ready()
        return daemon

    def known(self, daemon):
        """Events that came, each once: what came before it was noticed is read again."""
        return daemon.metric(RECEIVED) - daemon.metric("millrace_events_duplicate_total")

    def talk(self, daemon, pair):
        before = daemon.metric(RECEIVED)
        events = pair.events
        pair.talk(self.kafka)
        wanted = before + pair.events - events
        self.assertEqual(daemon.wait_metric(RECEIVED, wanted, READ_WITHIN_S), wanted, daemon.log()[-2000:])

    def lose(self, daemon, pair):
        """Records that come and go while the process stands still. How many."""
        partition = nodes.partition_of(pair.client.name)
        os.kill(daemon.child.pid, signal.SIGSTOP)
        before = records.ends(self.kafka.address, TOPIC)[partition]
        assert nodes.produce(self.kafka, pair.client.name, [pair.talk_values(1, 1, 1)[0] for _ in range(40)])
        end = records.ends(self.kafka.address, TOPIC)[partition]
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump({"version": 1, "partitions": [{"topic": TOPIC, "partition": partition, "offset": end}]}, file)
            file.flush()
            self.kafka.tool("DeleteRecordsCommand", "--offset-json-file", file.name)
        os.kill(daemon.child.pid, signal.SIGCONT)
        return end - before

    def make_anew(self):
        self.delete()
        self.create()

    def delete(self):
        self.kafka.tool("TopicCommand", "--delete", "--topic", TOPIC)

    def create(self):
        words = [word for setting in SETTINGS for word in ("--config", setting)]
        self.kafka.tool("TopicCommand", "--create", "--topic", TOPIC, "--partitions", nodes.PARTITIONS,
                        *words)

    def test_1_what_retention_took_is_counted_and_told_and_the_rest_is_read(self):
        daemon = self.daemon("continue")
        pair = nodes.Pair()
        self.talk(daemon, pair)
        lost = self.lose(daemon, pair)
        self.assertEqual(daemon.wait_metric(LOSSES, 1, NOTICED_WITHIN_S), 1, daemon.log()[-2000:])
        # What the client had fetched before it stood still was read.
        self.assertLessEqual(daemon.metric(LOST), lost)
        self.assertGreaterEqual(daemon.metric(LOST), 40)
        self.assertIn("retention took them before they were read", daemon.log())
        # The agent's own numbers tell which events these were.
        self.talk(daemon, pair)
        self.assertGreater(daemon.wait_metric("millrace_events_lost_total", 40 * 3, READ_WITHIN_S), 40 * 3 - 1)

    def test_2_a_loss_ends_it_where_that_is_configured(self):
        daemon = self.daemon("stop")
        pair = nodes.Pair()
        self.talk(daemon, pair)
        self.lose(daemon, pair)
        self.assertEqual(daemon.child.wait(NOTICED_WITHIN_S), 1)
        self.assertIn("pipeline.on_data_loss is stop", daemon.log())

    def test_3_a_topic_made_anew_is_noticed_and_read_from_its_beginning(self):
        daemon = self.daemon("continue")
        stops = self.daemon("stop")
        pair = nodes.Pair()
        before = self.known(daemon)
        self.talk(daemon, pair)
        self.delete()
        self.assertTrue(until(lambda: not daemon.ready(), NOTICED_WITHIN_S), daemon.log())
        self.create()
        pair.talk(self.kafka)
        self.assertGreaterEqual(daemon.wait_metric(LOSSES, 1, NOTICED_WITHIN_S), 1, daemon.log()[-2000:])
        self.assertIn("it is another log: the topic was deleted and made anew", daemon.log())
        self.assertTrue(until(lambda: self.known(daemon) - before == pair.events, NOTICED_WITHIN_S),
                        (self.known(daemon), before, pair.events))
        daemon.wait_ready(NOTICED_WITHIN_S)
        self.talk(daemon, pair)
        self.assertEqual(stops.child.wait(NOTICED_WITHIN_S), 1)

    def test_4_a_topic_made_anew_while_it_was_down_is_noticed_though_it_is_longer(self):
        folder = tempfile.TemporaryDirectory(prefix="millrace-loss-")
        self.addCleanup(folder.cleanup)
        daemon = self.daemon("continue", f'snapshots: {{folder: "{folder.name}/snapshots", period: 1s}}\n')
        self.talk(daemon, nodes.Pair())
        self.assertGreaterEqual(daemon.wait_metric("millrace_snapshots_total", 2), 2)
        time.sleep(11)  # it looks what times mean in this log each 10 s
        daemon.kill()
        position = max(records.ends(self.kafka.address, TOPIC).values())
        self.make_anew()
        pair = nodes.Pair()
        values = [pair.talk_values(1, 1, 1)[0] for _ in range(position + 100)]
        self.assertTrue(nodes.produce(self.kafka, pair.client.name, values))
        daemon.start()
        daemon.wait_ready()
        self.assertIn("it is another log", daemon.log())
        client_events = pair.events // 2
        self.assertGreaterEqual(daemon.wait_metric(RECEIVED, client_events, READ_WITHIN_S), client_events)

    def test_5_a_topic_made_anew_is_noticed_again_by_who_was_killed_before_its_next_snapshot(self):
        folder = tempfile.TemporaryDirectory(prefix="millrace-loss-")
        self.addCleanup(folder.cleanup)
        daemon = self.daemon("continue", f'snapshots: {{folder: "{folder.name}/snapshots", period: 30s}}\n')
        self.talk(daemon, nodes.Pair())
        self.assertGreaterEqual(daemon.wait_metric("millrace_snapshots_total", 1, 2 * NOTICED_WITHIN_S), 1)
        longest = max(records.ends(self.kafka.address, TOPIC).values())
        told = [f"data loss in partition {partition} of" for partition in range(nodes.PARTITIONS)]
        self.make_anew()
        self.assertTrue(until(lambda: all(line in daemon.log() for line in told), NOTICED_WITHIN_S), daemon.log())
        daemon.kill()
        before = [daemon.log().count(line) for line in told]
        for partition in range(nodes.PARTITIONS):  # the new log is longer than the old one was
            self.kafka.produce(TOPIC, b"\n".join([b"no batch"] * (longest + 100)), partition=partition)
        daemon.start()
        daemon.wait_ready()
        self.assertIn("going on from the snapshot", daemon.log())
        for line, count in zip(told, before):
            self.assertGreater(daemon.log().count(line), count, line)

    def test_6_a_topic_that_has_grown_is_noticed(self):
        daemon = self.daemon("continue")
        self.kafka.tool("TopicCommand", "--alter", "--topic", TOPIC, "--partitions", nodes.PARTITIONS + 2)
        grown = f"topic {TOPIC} has {nodes.PARTITIONS + 2} partitions now and pipeline.tasks is {nodes.PARTITIONS}"
        self.assertTrue(until(lambda: grown in daemon.get("/readyz")[1], NOTICED_WITHIN_S), daemon.log())
        self.assertIn(grown, daemon.log())


if __name__ == "__main__":
    if kafka.missing():
        sys.exit(77)
    unittest.main(verbosity=2)
