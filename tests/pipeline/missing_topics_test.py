#!/usr/bin/python3
"""Topics that are not there, or not as they must be, when millraced starts: it goes on without them or waits, and says which
topic it is and what to do."""

import http.client
import pathlib
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import kafka
import records
from millraced import Millraced, until

WITHIN_S = 40
EXCHANGE = """  group: missing
exchange: {carrier: kafka, instance: one}
"""


class MissingTopics(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory(prefix="millrace-missing-")
        cls.addClassCleanup(cls.folder.cleanup)
        cls.broker = kafka.Kafka()
        cls.addClassCleanup(cls.broker.stop)

    def start(self, more=""):
        daemon = Millraced(self.broker.address, more, under=self.folder.name)
        self.addCleanup(daemon.stop, check=False)
        return daemon

    def delete(self, topic):
        """Returns when the broker says so too: it hears of it after the controller."""
        self.broker.tool("TopicCommand", "--delete", "--topic", topic)
        self.assertTrue(until(lambda: "Unknown topic" in subprocess.run(
            ["kcat", "-L", "-b", self.broker.address, "-t", topic], capture_output=True, text=True).stdout, WITHIN_S))

    def create(self, topic, partitions):
        self.broker.tool("TopicCommand", "--create", "--topic", topic, "--partitions", partitions, "--config",
                         "message.timestamp.type=LogAppendTime")

    def ask(self, daemon, method):
        """The status of a request about control records."""
        path = "/api/v1/agents/control" + ("/x" if method == "DELETE" else "")
        connection = http.client.HTTPConnection(daemon.api, timeout=30)
        connection.request(method, path, b'{"settings": {"scan_period_s": 2}}' if method == "POST" else None,
                           {"Content-Type": "application/json"})
        status = connection.getresponse().status
        connection.close()
        return status

    def test_without_the_topic_of_control_records_it_runs_and_says_so(self):
        self.delete("millrace.control")
        daemon = self.start()
        daemon.wait_ready(WITHIN_S)
        self.assertTrue(until(lambda: "topic millrace.control" in daemon.log(), WITHIN_S), daemon.log()[-3000:])
        for method in ("GET", "POST", "DELETE"):
            self.assertEqual(503, self.ask(daemon, method), method)
        self.assertTrue(daemon.ready())
        self.create("millrace.control", 1)
        self.assertTrue(until(lambda: self.ask(daemon, "GET") == 200, WITHIN_S), daemon.log()[-3000:])
        self.assertEqual(404, self.ask(daemon, "DELETE"))
        self.assertEqual(0, daemon.terminate(15)[0])

    def test_without_the_topic_of_rules_metadata_is_told_all_the_same(self):
        self.delete("millrace.rules")
        daemon = self.start()
        daemon.wait_ready(WITHIN_S)
        self.assertTrue(until(lambda: "topic millrace.rules" in daemon.log(), WITHIN_S), daemon.log()[-3000:])
        self.assertEqual(503, daemon.get("/api/v1/monitors")[0])
        record = records.module("metadata").Metadata(id="c/range/r/0", version=1, cluster="c", from_ns=1, observed_ns=1)
        record.range.address, record.range.prefix, record.range.name = bytes([10, 0, 0, 0]), 8, "others"
        self.broker.put("millrace.metadata", record.id, record.SerializeToString())
        self.assertEqual(1, daemon.wait_metric("millrace_relay_told_total", 1, WITHIN_S), daemon.log()[-3000:])
        self.create("millrace.rules", 1)
        self.assertTrue(until(lambda: daemon.get("/api/v1/monitors")[0] == 200, WITHIN_S), daemon.log()[-3000:])
        self.assertEqual(0, daemon.terminate(15)[0])

    def test_without_the_topic_of_the_exchange_it_waits_and_with_too_few_partitions_it_ends(self):
        self.delete("millrace.exchange")
        daemon = self.start(EXCHANGE)
        self.assertTrue(until(lambda: "topic millrace.exchange at" in daemon.log(), WITHIN_S), daemon.log()[-3000:])
        self.assertIn("millrace.exchange", daemon.get("/readyz")[1])
        self.create("millrace.exchange", 5)
        self.assertEqual(1, daemon.child.wait(WITHIN_S))
        self.assertIn("topic millrace.exchange has 5 partitions and must have 17", daemon.log())


if __name__ == "__main__":
    if kafka.missing():
        sys.exit(77)
    unittest.main()
