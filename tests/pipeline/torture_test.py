#!/usr/bin/python3
"""Every way in which a receiver can misbehave, one receiver each, all at once, through a real millraced: what passes is
tried again, what is refused is given up and says so, and nobody suffers from another."""

import json
import pathlib
import socket
import subprocess
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import kafka
import records
import torture
from millraced import PROGRAM, Millraced, until
from outbox import ROUTING_KEY, Outbox, episode_key, receiver, told

WITHIN_S = 60
TIMES = 2  # tries that fail, before all is well

# What may pass: the message comes in the end, once its receiver takes it.
PASSES = ["500", "502", "503", "504", "408", "429", "429-seconds", "429-date", "429-negative", "429-garbage",
          "503-seconds", "ok-html", "ok-false", "ok-more", "204", "silent", "reset", "close", "cut-status", "cut-headers",
          "cut-body", "slow", "endless", "wrong-length", "bad-chunk", "nul", "nonsense", "large-header", "bomb", "huge",
          "lost", "idle"]
REFUSED = ["400", "401", "413", "301", "302", "307", "308"]
GONE = ["403", "404", "410"]

CONFIG = """notify:
  allow_http: true
  allow_private: true
  timeout: 2s
  retry_min: 50ms
  retry_max: 500ms
"""


def closed_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Behaviours(unittest.TestCase):
    def config(self):
        url = self.receivers.url
        lines = [CONFIG, "receivers:\n", receiver("well", "slack", url("slack", "well")),
                 receiver("pager", "pagerduty", url("pagerduty", "pager")),
                 receiver("pager-400", "pagerduty", url("pagerduty", "pager-400", "400")),
                 receiver("years", "slack", url("slack", "years", "429-huge")),
                 receiver("nobody", "slack", url("slack", "nobody", port=closed_port())),
                 receiver("self-signed", "slack", url("slack", "self-signed", scheme="https",
                                                      port=self.receivers.tls("self-signed"))),
                 receiver("stalled", "slack", url("slack", "stalled", scheme="https",
                                                  port=self.receivers.tls("stalled")))]
        lines += [receiver(f"p-{how}", "slack", url("slack", f"p-{how}", how, TIMES)) for how in PASSES]
        lines += [receiver(f"r-{how}", "slack", url("slack", f"r-{how}", how)) for how in REFUSED + GONE]
        return "".join(lines)

    def stages(self, name):
        return [one.stage for one in told(self.receivers.of(name))]

    def states(self, daemon):
        status, text = daemon.get("/api/v1/receivers")
        self.assertEqual(200, status, text)
        return {one["name"]: one for one in json.loads(text)["receivers"]}

    def test_each_is_told_what_it_takes_and_none_disturbs_another(self):
        self.receivers = torture.Torture(seed=3)
        self.addCleanup(self.receivers.stop)
        with kafka.Kafka() as broker, Millraced(broker.address, self.config()) as daemon:
            daemon.wait_ready()
            outbox = Outbox(broker.address)
            outbox.fire(episode_key("torture"))
            took = [f"p-{how}" for how in PASSES] + ["well", "pager"]
            self.wait(daemon, lambda states: all(states[name]["open"] == 1 for name in took))
            outbox.resolve(episode_key("torture"))
            outbox.flush()
            self.wait(daemon, lambda states: all(states[name]["open"] == states[name]["waiting"] == 0 for name in took))
            self.what_passed(daemon)
            self.what_was_refused(daemon, broker)
            self.what_waits(daemon)
            self.what_people_see(daemon)
            self.no_secrets(daemon)

    def wait(self, daemon, condition):
        self.assertTrue(until(lambda: condition(self.states(daemon)), WITHIN_S), self.states(daemon))

    def what_passed(self, daemon):
        states = self.states(daemon)
        for how in PASSES:
            with self.subTest(passes=how):
                stages = self.stages(f"p-{how}")
                self.assertEqual("firing", stages[0])
                self.assertEqual("resolved", stages[-1])
                self.assertEqual(1, stages.count("resolved"))
                # A message that was acted on and not answered comes again; others do not.
                most = 1 + TIMES if how in torture.SILENCES + ["lost"] else 1
                self.assertLessEqual(stages.count("firing"), most)
                requests = self.receivers.of(f"p-{how}")
                self.assertEqual(TIMES + 2 if how != "idle" else 2, len(requests))
                state = states[f"p-{how}"]
                self.assertEqual(("ok", 2, 0, ""),
                                 (state["state"], state["delivered"], state["failed"], state["last_error"]))
                self.assertLessEqual(len(requests) - 2, state["retried"])  # one may not even have arrived
        for name in ("well", "pager"):
            self.assertEqual(["firing", "resolved"], self.stages(name))
        lost = self.receivers.of("p-lost")
        for again in lost[1:-1]:  # the reader is told that it may be a repeat
            self.assertIn(b"May repeat an earlier message", again.body)
        self.assertNotIn(b"May repeat an earlier message", lost[0].body)

    def what_was_refused(self, daemon, broker):
        states, metrics = self.states(daemon), daemon.metrics()
        letters = {}
        for letter in records.read(broker.address, "millrace.deadletter"):
            letters.setdefault(letter.detail.split(":")[0], []).append(letter)
        for name, reason in ([("pager-400", "refused")] + [(f"r-{how}", "refused") for how in REFUSED]
                             + [(f"r-{how}", "gone") for how in GONE]):
            with self.subTest(refused=name):
                self.assertEqual(1, len(self.receivers.of(name)), "it was asked again, or its redirect was followed")
                state = states[name]
                self.assertEqual("disabled" if reason == "gone" else "ok", state["state"])
                self.assertEqual((0, 1, 0), (state["delivered"], state["failed"], state["waiting"]))
                self.assertIn(name.split("-")[1], state["last_error"])
                counter = f'millrace_notifications_failed_total{{receiver="{name}",reason="{reason}"}}'
                self.assertEqual(1, metrics[counter])
                letter, = letters[f"receiver {name}"]
                self.assertEqual((reason, "millrace.alerts"), (letter.reason, letter.topic))
                alert = records.module("alerts").Alert.FromString(letter.head)
                self.assertEqual((episode_key("torture"), 1), (alert.key, alert.sequence))
        self.assertEqual(len(REFUSED) + len(GONE) + 1, sum(map(len, letters.values())))

    def what_waits(self, daemon):
        states = self.states(daemon)
        self.assertEqual(1, len(self.receivers.of("years")))
        self.assertTrue(3400 < states["years"]["resumes_in_s"] <= 3600, states["years"])
        for name in ("years", "nobody", "self-signed", "stalled"):
            with self.subTest(waits=name):
                self.assertEqual(0, states[name]["delivered"])
                self.assertNotEqual("", states[name]["last_error"])
                self.assertLess(0, states[name]["failing_since_s"] + states[name]["waiting"] + 1)
        for name in ("self-signed", "stalled", "nobody"):
            self.assertEqual([], self.receivers.of(name))
        self.assertIn(states["nobody"]["state"], ("failing", "open", "half_open", "ok"))

    def what_people_see(self, daemon):
        out = subprocess.run([PROGRAM.parent / "millrace", "--server", f"http://{daemon.api}", "status"],
                             capture_output=True, text=True, timeout=30)
        self.assertIn("receiver r-404", out.stdout, out)
        self.assertIn("disabled", out.stdout)
        self.assertIn("the receiver answered 404: channel_not_found", out.stdout)

    def no_secrets(self, daemon):
        places = {"log": daemon.log(), "metrics": daemon.get("/metrics")[1],
                  "receivers": daemon.get("/api/v1/receivers")[1], "alerts": daemon.get("/api/v1/alerts")[1]}
        for place, text in places.items():
            for secret in ("/slack/", "/pagerduty/", ROUTING_KEY):
                self.assertNotIn(secret, text, place)


if __name__ == "__main__":
    if kafka.missing():
        print("skipped: not installed:", *kafka.missing())
        sys.exit(77)
    unittest.main()
