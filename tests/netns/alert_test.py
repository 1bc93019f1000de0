"""A server is killed: Slack and PagerDuty hear of it within two seconds of the kernel event, twenty times out of twenty,
and of its return, and nothing comes twice."""

import collections
import pathlib
import subprocess
import sys
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import system

TRIES = 20
LIMIT_S = 2.0
PORT = 9090
KNOCK_S = 0.05


def told(message, verb):
    body = message["body"]
    if message["kind"] == "pagerduty":
        return body["event_action"] == {"firing": "trigger", "resolved": "resolve"}[verb]
    return body["text"].startswith("Resolved") == (verb == "resolved")


class Knocker:
    """A client that connects again and again; says when it was first refused."""

    def __init__(self, lab):
        self.child = lab.start(lab.client, [system.PYTHON, system.PEER, "knock", "10.77.2.2", PORT, KNOCK_S],
                               stdout=subprocess.PIPE, text=True)

    def wait(self, word):
        while True:
            line = self.child.stdout.readline()
            if not line:
                raise RuntimeError("the client ended")
            seen, at = line.split()
            if seen == word:
                return float(at)

    def stop(self):
        self.child.kill()
        self.child.wait()
        self.child.stdout.close()


class Alerts(unittest.TestCase):
    def test_a_killed_server_is_told_within_two_seconds_and_its_return_too(self):
        lab = self.system.lab
        server = self.system.serve(lab.servers[0], PORT)
        knocker = Knocker(lab)
        self.addCleanup(knocker.stop)
        knocker.wait("ok")
        time.sleep(3)
        latencies = []
        for attempt in range(TRIES):
            seen = len(self.system.receiver.messages)
            self.system.end(server)
            refused = knocker.wait("refused")
            arrived = {}
            for kind in ("slack", "pagerduty"):
                message = self.system.receiver.wait_for(
                    lambda m: m["kind"] == kind and m in self.system.receiver.messages[seen:] and told(m, "firing"), 10)
                self.assertIsNotNone(message, f"try {attempt}: no {kind} message\n{self.system.all_logs()}")
                self.assertEqual(message["problems"], [])
                arrived[kind] = message["at"] - refused
            latencies.append(max(arrived.values()))
            server = self.system.serve(lab.servers[0], PORT)
            knocker.wait("ok")
            for kind in ("slack", "pagerduty"):
                message = self.system.receiver.wait_for(
                    lambda m: m["kind"] == kind and m in self.system.receiver.messages[seen:] and told(m, "resolved"),
                    20)
                self.assertIsNotNone(message, f"try {attempt}: no resolve at {kind}\n{self.system.all_logs()}")
        print("latencies:", " ".join(f"{latency:.2f}" for latency in sorted(latencies)))
        self.assertLessEqual(max(latencies), LIMIT_S)
        self.nothing_came_twice()

    def nothing_came_twice(self):
        time.sleep(3)
        events = [(m["body"]["dedup_key"], m["body"]["event_action"])
                  for m in self.system.receiver.messages if m["kind"] == "pagerduty"]
        key = events[0][0]  # what begins again within five minutes is the same incident
        self.assertEqual(events, [(key, "trigger"), (key, "resolve")] * TRIES)
        slack = collections.Counter(told(m, "firing") for m in self.system.receiver.messages if m["kind"] == "slack")
        self.assertEqual(slack, {True: TRIES, False: TRIES})

    @classmethod
    def setUpClass(cls):
        cls.system = system.System(lambda lab: {"node-a": [lab.client, lab.router], "node-b": lab.servers})

    @classmethod
    def tearDownClass(cls):
        cls.system.stop()


if __name__ == "__main__":
    reason = system.missing()
    if reason:
        print("skipped:", reason)
        sys.exit(77)
    unittest.main(verbosity=2)
