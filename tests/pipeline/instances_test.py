#!/usr/bin/python3
"""Several millraced share the tasks of one pipeline: instances come and go, are killed, and stand still until others have
taken their tasks; what they wrote together is what a single one writes of the same log, every record once. Each answers for all of them,
and who is told of an alert is told once, whoever notifies at the time.

MILLRACE_ROUNDS is how often the number of instances goes 1-2-3-2-1 (1)."""

import json
import os
import pathlib
import re
import sys
import tempfile
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import fleet
import kafka
import outputs
import processes
from millraced import Millraced, until
from receiver import ROUTING_KEY, Receiver

ROUNDS = int(os.environ.get("MILLRACE_ROUNDS", 1))
SESSION_S = 6
SHARED_WITHIN_S = 45  # a session that ends, a start, and what came meanwhile; a machine that others use takes it
READ_WITHIN_S = 60
SETTLE_S = 4
CLOSED_S = 3
TASKS = 16

CONFIG = """  group: shared
pipeline: {{keep: 1h, workers: {workers}}}
rollups: {{finest: 1s}}
snapshots: {{folder: "{folder}", period: 2s}}
exchange: {{carrier: {carrier}, instance: "{name}", session_timeout: 6s}}
baselines: {{warmup: 10000}}
monitors:
  - name: failed
    metric: connections_failed
    threshold: 1
    window: 1s
    clear_after: 1s
notify: {{allow_http: true, allow_private: true}}
"""
RECEIVERS = """receivers:
  - {{name: pager, type: pagerduty, url: "{url}", routing_key: "{key}"}}
"""
NODES = 8


class Instances(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory(prefix="millrace-instances-")
        cls.addClassCleanup(cls.folder.cleanup)
        cls.broker = kafka.Kafka()
        cls.addClassCleanup(cls.broker.stop)
        cls.receiver = Receiver()
        cls.addClassCleanup(cls.receiver.stop)
        cls.daemons, cls.took = {}, []
        cls.addClassCleanup(cls.end_all)
        feed = fleet.Feed(cls.folder.name, nodes=NODES, flows=200, edges=40, rate=2000, seconds=120 + 120 * ROUNDS, restarts=20,
                          late=20, duplicate=10, late_names=50, fault="refuse,server=3,from=10,to=15")
        cls.start("a")
        cls.wait_shared("a")
        cls.sender = feed.start(cls.broker.address)
        time.sleep(3)
        for _ in range(ROUNDS):
            cls.up_and_down()
        cls.sender.terminate()
        cls.sender.stdout.readline()
        processes.end(cls.sender, within_s=60)
        cls.until_ns = time.time_ns() - CLOSED_S * 10**9
        time.sleep(SETTLE_S)
        cls.logs = {name: daemon.log() for name, daemon in cls.daemons.items()}
        cls.end_all()
        cls.read_alone()

    @classmethod
    def start(cls, name):
        if name in cls.daemons:
            cls.daemons[name].start()
            return
        snapshots = pathlib.Path(cls.folder.name, "snapshots")
        cls.daemons[name] = Millraced(cls.broker.address, CONFIG.format(
            workers=1 + len(cls.daemons) % 2, folder=snapshots, carrier="kafka", name=name) +
            RECEIVERS.format(url=cls.receiver.pagerduty_url, key=ROUTING_KEY), under=cls.folder.name)

    @classmethod
    def end_all(cls):
        for daemon in cls.daemons.values():
            daemon.stop(check=False)
        cls.daemons = {}

    @classmethod
    def owned(cls, name):
        daemon = cls.daemons[name]
        return daemon.metric("millrace_tasks_owned") if daemon.ready() else 0

    @classmethod
    def state(cls, name):
        daemon = cls.daemons[name]
        kept = [f"{key} {value}" for key, value in daemon.metrics().items() if re.search("exchange|lag|pane.*count|runs", key)]
        return f"{name}: {daemon.get('/readyz')}\n{kept}\n{daemon.log()[-3000:]}"

    @classmethod
    def wait_shared(cls, *names):
        """Until these run all tasks between them, each some."""
        began = time.monotonic()

        def shared():
            counts = [cls.owned(name) for name in names]
            return sum(counts) == TASKS and all(counts)
        assert until(shared, SHARED_WITHIN_S), \
            "\n".join(map(cls.state, names))
        cls.took.append(round(time.monotonic() - began, 1))

    @classmethod
    def ask_all(cls):
        """What each instance shows: {name: (edges, nodes)}, once they agree or after some seconds."""
        def ask():
            views = {}
            for name, daemon in cls.daemons.items():
                edges = json.loads(daemon.get("/api/v1/map?window=10s&limit=1000")[1]).get("edges", [])
                agents = json.loads(daemon.get("/api/v1/agents")[1]).get("agents", [])
                views[name] = ({str(edge["edge"]) for edge in edges},
                               {agent["node"] for agent in agents})
            return views
        until(lambda: len({str(sorted(map(sorted, view))) for view in ask().values()}) == 1, 20)
        return ask()

    @classmethod
    def up_and_down(cls):
        cls.start("b")
        cls.wait_shared("a", "b")
        assert until(lambda: all(cls.daemons[name].metric("millrace_lag_seconds") < 3 for name in "ab"), READ_WITHIN_S)
        time.sleep(3)
        cls.start("c")
        cls.wait_shared("a", "b", "c")
        time.sleep(3)
        cls.views = cls.ask_all()
        cls.daemons["b"].kill()  # and is back before its session ends: nothing moves
        cls.start("b")
        cls.wait_shared("a", "b", "c")
        time.sleep(3)
        cls.daemons["c"].stand()  # others take its tasks, and it comes back as if nothing had been
        cls.wait_shared("a", "b")
        time.sleep(2)
        cls.daemons["c"].go_on()
        cls.wait_shared("a", "b", "c")
        time.sleep(3)
        cls.daemons["c"].kill()
        cls.wait_shared("a", "b")
        time.sleep(3)
        cls.daemons["a"].terminate(15, check=False)
        cls.wait_shared("b")
        time.sleep(3)
        cls.start("a")
        cls.wait_shared("a", "b")
        cls.daemons["b"].kill()
        cls.wait_shared("a")

    @classmethod
    def read_alone(cls):
        config = CONFIG.format(workers=2, folder="", carrier="memory", name="").replace("group: shared", "group: alone")
        with Millraced(cls.broker.address, config, under=cls.folder.name) as daemon:
            daemon.wait_ready(READ_WITHIN_S)
            assert until(lambda: daemon.metric("millrace_lag_seconds") < 2, READ_WITHIN_S), daemon.log()[-4000:]
            time.sleep(SETTLE_S)
        cls.found = outputs.read(cls.broker.address)
        cls.verdict = outputs.judge(cls.found, cls.until_ns)

    def test_together_they_write_what_one_alone_writes(self):
        print(f"{self.verdict.records} records, {self.verdict.repeats} repeats; shared again after {self.took} s",
              file=sys.stderr)
        self.assertGreater(self.verdict.records, 1000)
        self.assertEqual((0, 0, 0), (self.verdict.lost, self.verdict.duplicated, self.verdict.mismatches), self.verdict.faults)

    def test_each_answers_for_all(self):
        first = self.views["a"]
        self.assertGreater(len(first[0]), 20)
        self.assertEqual(NODES, len(first[1]))
        for name, view in self.views.items():
            self.assertEqual(first, view, name)

    def test_each_episode_is_told_and_resolved(self):
        told = {}
        for message in self.receiver.messages:
            told.setdefault(message["body"]["dedup_key"], []).append(message["body"]["event_action"])
        self.assertGreater(len(told), 0)
        for key, actions in told.items():
            self.assertEqual(["trigger", "resolve"], sorted(set(actions), reverse=True), (key, actions))
            self.assertEqual("resolve", actions[-1], (key, actions))

    def test_they_go_on_from_snapshots_under_one_epoch(self):
        self.assertEqual(2, len(outputs.by_epoch(self.found)), self.logs["a"][-6000:])


if __name__ == "__main__":
    if not processes.BUILD.exists():
        sys.exit(77)
    unittest.main()
