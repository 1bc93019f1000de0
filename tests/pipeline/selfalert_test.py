#!/usr/bin/python3
"""Kafka is gone: people hear of it without Kafka, once, whatever is killed meanwhile; the heartbeat stops."""

import json
import pathlib
import sys
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import kafka
import torture
from millraced import Millraced, until
from outbox import Outbox, episode_key, receiver, told

WITHIN_S = 40
BLIND_S = 12  # more than a start takes, on most machines
QUIET_S = 10  # of daemon/selfwatch.c
BLIND = "Millrace is blind"
PERIOD_S = 1
TASKS = 16
SHARED_S = 90
SHARED = """exchange: {{carrier: kafka, instance: "{}", session_timeout: 6s}}
pipeline: {{workers: 1}}
"""


class SelfAlerts(unittest.TestCase):
    def config(self, folder):
        url = self.receivers.url
        return (f"""notify:
  allow_http: true
  allow_private: true
  timeout: 3s
  retry_min: 50ms
  retry_max: 500ms
  journal: {folder}/journal
  blind_after: {BLIND_S}s
  failing_after: 2s
  heartbeat_url: {url("slack", "heartbeat")}
  heartbeat_period: {PERIOD_S}s
receivers:
""" + receiver("team", "slack", url("slack", "team"), "    self_alerts: true\n    severity: critical\n")
                + receiver("pager", "pagerduty", url("pagerduty", "pager"), "    self_alerts: true\n")
                + receiver("others", "slack", url("slack", "others")))

    def stages(self, name, words):
        """Of the messages about this."""
        found = []
        for request in self.receivers.of(name):
            body = request.json()
            if words in (body["payload"]["summary"] if "payload" in body else body["text"]):
                found += ["resolved" if one.stage == "resolved" else "firing" for one in told([request])]
        return found[self.before.get(name, 0):]

    def settle(self, daemon):
        """A slow start may have been told as blindness: that comes to its end, and is no part of the test."""
        daemon.wait_ready()
        until(lambda: daemon.metric("millrace_self_blind") == 0, WITHIN_S)
        self.before = {name: len(self.stages(name, BLIND)) for name in ("team", "pager")}

    def until_told(self, name, words, stage="firing"):
        self.assertTrue(until(lambda: stage in self.stages(name, words), WITHIN_S),
                        f"{name} was not told: {words}, {stage}; {self.daemon.get('/api/v1/receivers')}\n"
                        f"{self.daemon.log()[-3000:]}")

    def heartbeats(self):
        return len(self.receivers.of("heartbeat"))

    def test_a_broker_that_is_away_is_told_once_and_so_is_its_return(self):
        self.receivers = torture.Torture(seed=5)
        self.addCleanup(self.receivers.stop)
        with kafka.Kafka() as broker, Millraced(broker.address, self.config(broker.folder)) as daemon:
            self.daemon, self.before = daemon, {}
            self.settle(daemon)
            self.assertTrue(until(lambda: self.heartbeats() >= 2, WITHIN_S))
            broker.kill()
            for name in ("team", "pager"):
                self.until_told(name, BLIND)
            self.assertEqual(1, daemon.metric("millrace_self_blind"))
            self.no_heartbeat(daemon)
            self.killed_while_it_is_blind(broker, daemon)
            broker.restart()
            daemon.wait_ready()
            for name in ("team", "pager"):
                self.until_told(name, BLIND, "resolved")
            self.assertTrue(until(lambda: self.heartbeats() >= 5, WITHIN_S))
            for name in ("team", "pager"):
                self.assertEqual(["firing", "resolved"], self.stages(name, BLIND), name)
            self.assertEqual([], self.receivers.of("others"))
            self.a_receiver_that_fails(broker, daemon)

    def test_each_of_several_instances_tells_that_it_is_blind(self):
        """Longer than their sessions: they have lost their tasks by then, and nobody else has them."""
        self.receivers = torture.Torture(seed=6)
        self.addCleanup(self.receivers.stop)
        with kafka.Kafka() as broker:
            daemons, self.before = [], {}
            for number in range(2):
                folder = broker.folder / f"instance-{number}"
                folder.mkdir()
                daemons.append(Millraced(broker.address, self.config(folder) + SHARED.format(number), under=folder))
                self.addCleanup(daemons[-1].stop, check=False)
            self.daemon = daemons[0]
            self.assertTrue(until(lambda: all(daemon.ready() for daemon in daemons) and
                                  sum(daemon.metric("millrace_tasks_owned") for daemon in daemons) == TASKS, SHARED_S))
            for daemon in daemons:
                until(lambda: daemon.metric("millrace_self_blind") == 0, WITHIN_S)
            self.before = {"pager": len(self.stages("pager", BLIND))}
            self.assertTrue(until(lambda: self.heartbeats() >= 2, WITHIN_S))
            broker.kill()
            self.assertTrue(until(lambda: self.stages("pager", BLIND) == ["firing"] * 2, WITHIN_S),
                            self.daemon.log()[-3000:])
            before = self.heartbeats()
            time.sleep(3 * PERIOD_S)
            self.assertEqual(before, self.heartbeats())
            broker.restart()
            self.assertTrue(until(lambda: sorted(self.stages("pager", BLIND)) == ["firing"] * 2 + ["resolved"] * 2,
                                  SHARED_S), self.daemon.log()[-3000:])
            self.assertTrue(until(lambda: self.heartbeats() > before, WITHIN_S))

    def no_heartbeat(self, daemon):
        before = self.heartbeats()
        self.assertTrue(until(lambda: daemon.metric("millrace_heartbeats_withheld_total") >= 2, WITHIN_S))
        self.assertEqual(before, self.heartbeats())

    def killed_while_it_is_blind(self, broker, daemon):
        """The journal knows what was told; half a record at its end, as a crash leaves it, is no matter."""
        journal = broker.folder / "journal"
        daemon.kill()
        with open(journal, "ab") as file:
            file.write(b"\x40\x00\x00\x00half of a record")
        daemon.start()
        self.assertTrue(until(lambda: daemon.get("/healthz")[0] == 200, WITHIN_S), daemon.log())
        self.assertEqual(20, daemon.metric("millrace_self_journal_cut_bytes"))
        time.sleep(QUIET_S + 2)
        for name in ("team", "pager"):
            self.assertEqual(["firing"], self.stages(name, BLIND), f"{name} was told again")

    def a_receiver_that_fails(self, broker, daemon):
        outbox = Outbox(broker.address)
        self.receivers.down("others", "503")
        outbox.fire(episode_key("self"))
        outbox.flush()
        self.until_told("team", "receiver others fails since")
        self.assertIn('"failing_since_s":', daemon.get("/api/v1/receivers")[1])
        states = {one["name"]: one for one in json.loads(daemon.get("/api/v1/receivers")[1])["receivers"]}
        self.assertEqual(1, states["others"]["waiting"])
        self.receivers.up("others")
        self.until_told("team", "receiver others fails since", "resolved")
        self.assertEqual(["firing"], [one.stage for one in told(self.receivers.of("others"))])


if __name__ == "__main__":
    if kafka.missing():
        print("skipped: not installed:", *kafka.missing())
        sys.exit(77)
    unittest.main()
