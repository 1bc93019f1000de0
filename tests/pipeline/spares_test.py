#!/usr/bin/python3
"""More instances than tasks: who has none answers for all like the others, and takes over. None keeps snapshots, so each
run begins anew, together."""

import json
import pathlib
import sys
import tempfile
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import fleet
import kafka
import processes
from millraced import Millraced, until
from outbox import Outbox, episode_key

TASKS = 1
NODES = 4
CONFIG = """  group: spares
pipeline: {{tasks: 1, workers: 1}}
exchange: {{carrier: kafka, instance: "{name}", session_timeout: 6s}}
rollups: {{finest: 1s}}
baselines: {{warmup: 10000}}
"""
WITHIN_S = 60


class Spares(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory(prefix="millrace-spares-")
        cls.addClassCleanup(cls.folder.cleanup)
        cls.broker = kafka.Kafka()
        cls.addClassCleanup(cls.broker.stop)
        for topic, partitions in (("millrace.events", TASKS), ("millrace.exchange", TASKS + 1)):
            cls.broker.tool("TopicCommand", "--delete", "--topic", topic)
            cls.broker.tool("TopicCommand", "--create", "--topic", topic, "--partitions", partitions, "--config",
                            "max.message.bytes=33554432", "--config", "message.timestamp.type=LogAppendTime")
        cls.daemons = {name: cls.start(name) for name in "ab"}

    @classmethod
    def start(cls, name):
        daemon = Millraced(cls.broker.address, CONFIG.format(name=name), under=cls.folder.name)
        cls.addClassCleanup(daemon.stop, check=False)
        return daemon

    @classmethod
    def owned(cls):
        return {name: daemon.metric("millrace_tasks_owned") for name, daemon in cls.daemons.items()}

    @staticmethod
    def shown(daemon, key):
        edges = json.loads(daemon.get("/api/v1/map?window=10s&limit=1000")[1]).get("edges", [])
        agents = json.loads(daemon.get("/api/v1/agents")[1]).get("agents", [])
        alerts = json.loads(daemon.get(f"/api/v1/alerts?key={key}")[1]).get("alerts", [])
        return len(edges), len(agents), [alert["alert"]["key"] for alert in alerts]

    def assert_shown(self, daemon, key):
        def whole():
            edges, agents, alerts = self.shown(daemon, key)
            return edges > 10 and agents == NODES and len(alerts) == 1
        self.assertTrue(until(whole, WITHIN_S), (self.shown(daemon, key), daemon.get("/readyz?verbose"), daemon.log()[-3000:]))

    def test_a_spare_answers_for_all_and_takes_over(self):
        self.assertTrue(until(lambda: sorted(self.owned().values()) == [0, TASKS], WITHIN_S),
                        "".join(daemon.log()[-3000:] for daemon in self.daemons.values()))
        key = episode_key(1)
        feed = fleet.Feed(self.folder.name, nodes=NODES, flows=100, edges=20, rate=500, seconds=150)
        sender = feed.start(self.broker.address)
        self.addCleanup(processes.end, sender)
        time.sleep(1)
        outbox = Outbox(self.broker.address)
        outbox.fire(key)
        outbox.flush()
        for daemon in self.daemons.values():
            self.assert_shown(daemon, key)
        owner, spare = sorted(self.daemons, key=self.owned().get, reverse=True)
        self.daemons[owner].terminate(15, check=False)
        self.assertTrue(until(lambda: self.daemons[spare].metric("millrace_tasks_owned") == TASKS and
                              self.daemons[spare].metric("millrace_lag_seconds") < 2, WITHIN_S),
                        self.daemons[spare].log()[-3000:])
        self.assert_shown(self.daemons[spare], key)


if __name__ == "__main__":
    if kafka.missing():
        sys.exit(77)
    unittest.main()
