#!/usr/bin/python3
"""Silences and acknowledgements between a real Kafka and receivers: nobody is told of what is silenced, incidents are shown all the same, and
what still fires is told when the silence ends; whatever is restarted in between."""

import hmac
import http.client
import json
import os
import pathlib
import subprocess
import sys
import time
import unittest

import grpc

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import kafka
import millraced
import processes
import records
import torture
from outbox import Outbox, episode_key, receiver, told

CLI = processes.BUILD / "bin" / "millrace"
SECRET = "0123456789abcdef the deployment's"
TOKEN = "a token that nobody guesses"
PATH = "/api/v1/silences"
WITHIN_S = 60
QUIET_S = 1.5  # in which an alert would have been told long ago
AT_ONCE_S = 2
NOTIFY = "notify:\n  allow_http: true\n  allow_private: true\n"


def pipeline_key(secret=SECRET.encode()):
    key = hmac.digest(bytes(32), secret, "sha256")  # HKDF-SHA-256, no salt
    return hmac.digest(key, b"millrace.pipeline\x01", "sha256")


def at(seconds):
    """So many seconds from now, as RFC 3339 with milliseconds."""
    moment = time.time() + seconds
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(moment)) + f".{int(moment % 1 * 1000):03}Z"


class Asking(unittest.TestCase):
    def cli(self, *words, status=0, daemon=None, **environment):
        done = subprocess.run([CLI, *words], capture_output=True, text=True, timeout=30,
                              env={**os.environ, "MILLRACE_SERVER": f"http://{(daemon or self.daemon).api}",
                                   **environment})
        self.assertEqual(status, done.returncode, (words, done.stdout, done.stderr))
        return done

    def add(self, *words):
        """The state of a silence that was added."""
        return json.loads(self.cli("silences", "add", *words, "-o", "json").stdout)

    def ask(self, method, path, body=None, kind="application/json", daemon=None, **headers):
        connection = http.client.HTTPConnection((daemon or self.daemon).api, timeout=30)
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, json.dumps(body) if isinstance(body, dict) else body,
                           {"Content-Type": kind, **headers})
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        return answer.status, json.loads(text) if text else None

    def listed(self, state=""):
        return [one["silence"]["id"] for one in self.ask("GET", f"{PATH}?state={state}")[1]["silences"]]

    def reads(self):
        self.daemon.wait_ready()
        self.assertTrue(millraced.until(lambda: self.daemon.get(PATH)[0] == 200, WITHIN_S), self.daemon.log()[-3000:])

    def expire_all(self):
        self.reads()
        for state in ("active", "pending"):
            for one in self.listed(state):
                self.ask("DELETE", f"{PATH}/{one}")


class Sends(Asking):
    NAMES = {"slack": "slack", "pager": "pagerduty"}
    number = 0

    @classmethod
    def setUpClass(cls):
        cls.kafka = kafka.Kafka()
        cls.addClassCleanup(cls.kafka.stop)
        cls.receivers = torture.Torture(7)
        cls.addClassCleanup(cls.receivers.stop)
        config = NOTIFY + "receivers:\n" + "".join(
            receiver(name, kind, cls.receivers.url(kind, name)) for name, kind in cls.NAMES.items())
        cls.daemon = millraced.Millraced(cls.kafka.address, config)
        cls.addClassCleanup(cls.daemon.stop)
        cls.outbox = Outbox(cls.kafka.address)

    def setUp(self):
        self.reads()

    def tearDown(self):
        self.expire_all()

    def key(self):
        type(self).number += 1
        return episode_key(("silences", self.number))

    def heard(self, key):
        """What each receiver heard of it, in order."""
        return {name: [one.stage for one in told(self.receivers.of(name)) if one.key == key] for name in self.NAMES}

    def hears(self, key, *stages, within_s=WITHIN_S):
        wanted = {name: list(stages) for name in self.NAMES}
        self.assertTrue(millraced.until(lambda: self.heard(key) == wanted, within_s),
                        (self.heard(key), self.daemon.log()[-2000:]))

    def hears_nothing_more(self, key, *stages):
        time.sleep(QUIET_S)
        self.assertEqual({name: list(stages) for name in self.NAMES}, self.heard(key))

    def shown(self, key):
        episodes = self.ask("GET", f"/api/v1/alerts?key={key}")[1]["alerts"]
        return episodes[0] if episodes else None

    def is_shown(self, key, sequence=1):
        self.assertTrue(millraced.until(lambda: (one := self.shown(key)) and int(one["alert"]["sequence"]) == sequence,
                                        WITHIN_S), key)

    def restart(self):
        self.daemon.kill()
        self.daemon.start()
        self.reads()

    def test_what_fires_while_it_is_silenced_is_shown_and_told_when_that_is_expired(self):
        key, other = self.key(), self.key()
        state = self.add("--server", "ca*", "--for", "2h", "--comment", "new disks")
        self.assertEqual("active", state["state"])
        ident = state["silence"]["id"]
        before = self.daemon.metric('millrace_notifications_silenced_total{receiver="slack"}')
        self.outbox.fire(key)
        self.outbox.fire(other, server="shop/db")
        self.hears(other, "firing")
        self.is_shown(key)
        self.hears_nothing_more(key)
        self.assertEqual([ident], self.shown(key)["silenced_by"])
        self.assertEqual([], self.shown(other)["silenced_by"])
        self.assertIn(ident, self.cli("alerts", "--state", "firing").stdout)
        self.assertIn(key, self.ask("GET", f"{PATH}/{ident}")[1]["alerts"])
        metrics = self.daemon.metrics()
        self.assertEqual((1, 1, 0), (metrics["millrace_silences_active"],
                                     metrics['millrace_notifications_silenced{receiver="slack"}'],
                                     metrics['millrace_notifications_pending{receiver="slack"}']))
        self.assertEqual(before + 1, metrics['millrace_notifications_silenced_total{receiver="slack"}'])
        self.restart()
        self.is_shown(key)
        self.assertEqual([ident], self.shown(key)["silenced_by"])
        self.hears_nothing_more(key)
        began = time.monotonic()
        self.assertEqual("expired", json.loads(self.cli("silences", "expire", ident, "-o", "json").stdout)["state"])
        self.hears(key, "firing")
        self.assertLess(time.monotonic() - began, AT_ONCE_S + 3)
        self.assertEqual([], self.shown(key)["silenced_by"])
        self.outbox.resolve(key)
        self.hears(key, "firing", "resolved")

    def test_what_ends_while_it_is_silenced_is_never_told(self):
        key = self.key()
        ident = self.add("--monitor", "err*", "--for", "1h")["silence"]["id"]
        self.outbox.fire(key)
        self.is_shown(key)
        self.outbox.resolve(key)
        self.is_shown(key, 3)
        self.cli("silences", "expire", ident)
        self.hears_nothing_more(key)

    def test_what_was_told_before_gets_its_end_and_no_update(self):
        key = self.key()
        self.outbox.fire(key)
        self.hears(key, "firing")
        self.add("--server", "cart", "--port", "8080", "--for", "1h")
        self.outbox.rise(key)
        self.is_shown(key, 2)
        self.hears_nothing_more(key, "firing")
        self.restart()
        self.hears_nothing_more(key, "firing")
        self.outbox.resolve(key)
        self.hears(key, "firing", "resolved")

    def test_a_silence_ends_by_itself_and_at_once(self):
        key = self.key()
        state = self.add("--server", "cart", "--for", "4s")
        ends = time.time() + 4
        self.outbox.fire(key)
        self.is_shown(key)
        self.assertEqual([state["silence"]["id"]], self.shown(key)["silenced_by"])
        self.hears(key, "firing")
        for name in self.NAMES:
            first = next(one for one in told(self.receivers.of(name)) if one.key == key)
            self.assertLess(abs(first.at - ends), AT_ONCE_S, (first.at, ends))
        self.assertIn(state["silence"]["id"], self.listed("expired"))

    def test_a_silence_begins_at_its_time(self):
        key, later = self.key(), self.key()
        state = self.add("--server", "cart", "--starts-at", at(3), "--ends-at", at(3600))
        self.assertEqual("pending", state["state"])
        self.outbox.fire(key)
        self.hears(key, "firing")
        self.assertTrue(millraced.until(lambda: state["silence"]["id"] in self.listed("active"), WITHIN_S))
        self.outbox.fire(later)
        self.is_shown(later)
        self.hears_nothing_more(later)

    def test_what_is_silenced_when_a_silence_ends_while_nothing_runs_is_told_by_the_next_start(self):
        key = self.key()
        self.add("--server", "cart", "--for", "3s")
        self.outbox.fire(key)
        self.is_shown(key)
        self.daemon.kill()
        time.sleep(4)
        self.assertEqual({name: [] for name in self.NAMES}, self.heard(key))
        self.daemon.start()
        self.hears(key, "firing")

    def test_what_fired_while_nothing_ran_is_silenced_by_the_next_start(self):
        key = self.key()
        ident = self.add("--server", "cart", "--for", "1h")["silence"]["id"]
        self.daemon.kill()
        self.outbox.fire(key)
        self.outbox.flush()
        self.daemon.start()
        self.reads()
        self.is_shown(key)
        self.hears_nothing_more(key)
        self.cli("silences", "expire", ident)
        self.hears(key, "firing")

    def test_an_incident_is_silenced_only_if_all_of_its_episodes_are(self):
        key = self.key()
        members = [{"monitor": "errors", "server": server, "port": 8080} for server in ("shop/cart", "shop/db")]
        first = self.add("--server", "shop/cart", "--for", "1h")["silence"]["id"]
        self.outbox.fire(key, members=members, episodes=2)
        self.hears(key, "firing")
        other = self.key()
        second = self.add("--server", "shop/db", "--for", "1h")["silence"]["id"]
        self.outbox.fire(other, members=members, episodes=2)
        self.is_shown(other)
        self.hears_nothing_more(other)
        self.assertEqual(sorted([first, second]), self.shown(other)["silenced_by"])
        self.cli("silences", "expire", second)
        self.hears(other, "firing")

    def test_what_was_silenced_for_longer_than_the_life_of_a_notification_is_told(self):
        key = self.key()
        ident = self.add("--server", "cart", "--for", "1h")["silence"]["id"]
        long_ago = time.time_ns() - 25 * 3600 * 10**9  # notify.life is 24 h
        self.outbox.fire(key, pane_end_ns=long_ago)
        self.is_shown(key)
        self.restart()
        self.is_shown(key)
        self.cli("silences", "expire", ident)
        self.hears(key, "firing")
        self.assertEqual(0, self.daemon.metric('millrace_notifications_failed_total{receiver="slack",reason="expired"}'))


class Acknowledged(Asking):
    """Of what somebody attends to, a webhook and Slack hear when it becomes severer and when it ends."""

    @classmethod
    def setUpClass(cls):
        cls.kafka = kafka.Kafka()
        cls.addClassCleanup(cls.kafka.stop)
        cls.receivers = torture.Torture(7)
        cls.addClassCleanup(cls.receivers.stop)
        config = f'key: "{SECRET}"\n' + NOTIFY + "receivers:\n" + receiver("slack", "slack", cls.receivers.url("slack", "slack"))
        cls.daemon = millraced.Millraced(cls.kafka.address, config)
        cls.addClassCleanup(cls.daemon.stop)
        cls.outbox = Outbox(cls.kafka.address)

    def setUp(self):
        self.reads()

    def texts(self, key):
        return [request.json()["text"] for request in self.receivers.of("slack") if request.acted and key in json.dumps(request.json())]

    def shown(self, key):
        episodes = self.ask("GET", f"/api/v1/alerts?key={key}")[1]["alerts"]
        return episodes[0] if episodes else None

    def write(self, key, sequence, state=0, **more):
        self.outbox.write(key, sequence, state, **more)
        self.assertTrue(millraced.until(lambda: (one := self.shown(key)) and int(one["alert"]["sequence"]) == sequence,
                                        WITHIN_S), (key, sequence))

    def hears(self, key, count):
        self.assertTrue(millraced.until(lambda: len(self.texts(key)) >= count, WITHIN_S), self.texts(key))
        time.sleep(QUIET_S)
        self.assertEqual(count, len(self.texts(key)), self.texts(key))

    def test_what_is_acknowledged_is_told_again_only_when_it_is_severer_or_ends(self):
        key = episode_key("acknowledged")
        suspects = [{"kind": "server_node", "name": "n1", "share": 1, "excess": 3}]
        self.write(key, 1)
        self.hears(key, 1)
        self.assertIsNone(self.shown(key)["acknowledgement"])
        said = self.cli("alerts", "ack", key[:12], "--comment", "new disks", "--created-by", "ann").stdout
        self.assertIn(f"{key} is acknowledged since ", said)
        one = self.shown(key)["acknowledgement"]
        self.assertEqual((key, "ann", "127.0.0.1", "new disks"),
                         (one["key"], one["created_by"], one["author"], one["comment"]))
        self.assertAlmostEqual(time.time(), one["acknowledged_ns"] / 1e9, delta=30)
        self.assertIn("ann: new disks", self.cli("alerts").stdout)
        value = list(records.raw(self.kafka.address, "millrace.silences"))[-1]
        self.assertEqual(hmac.digest(pipeline_key(), value[:-35], "sha256"), value[-32:])
        self.write(key, 2, suspects=suspects)
        self.hears(key, 1)
        self.daemon.kill()
        self.daemon.start()
        self.reads()
        self.write(key, 3, suspects=suspects)
        self.assertEqual("ann", self.shown(key)["acknowledgement"]["created_by"])
        self.hears(key, 1)
        self.write(key, 4, severity=3, suspects=suspects)
        self.hears(key, 2)
        self.write(key, 5, 1)
        self.hears(key, 3)
        self.assertTrue(self.texts(key)[2].startswith("Resolved"), self.texts(key))
        self.write(key, 6, reopened_ns=time.time_ns())
        self.hears(key, 4)
        self.assertIsNone(self.shown(key)["acknowledgement"])
        self.assertEqual(1, self.daemon.metric("millrace_acknowledgements"))
        self.outbox.resolve(key)

    def test_who_acknowledges_what_is_not_there_or_not_rightly_is_refused(self):
        key = episode_key("refused")
        self.write(key, 1)
        self.assertEqual(404, self.ask("POST", "/api/v1/alerts/NONE4711/ack")[0])
        self.assertEqual(404, self.ask("POST", f"/api/v1/alerts/{key}")[0])
        status, problem = self.ask("POST", f"/api/v1/alerts/{key[:3]}/ack")
        self.assertEqual((404, True), (status, "four characters" in problem["detail"]))
        self.assertEqual(400, self.ask("POST", f"/api/v1/alerts/{key}/ack", {"comment": "c" * 1025})[0])
        self.assertEqual(400, self.ask("POST", f"/api/v1/alerts/{key}/ack", {"who": "me"})[0])
        self.assertEqual(400, self.ask("POST", f"/api/v1/alerts/{key}/ack?dry_run=1")[0])
        self.assertEqual(403, self.ask("POST", f"/api/v1/alerts/{key}/ack", Host="evil.example")[0])
        other = key[:20] + ("A" if key[20] != "A" else "B") + key[21:]
        self.write(other, 1)
        status, problem = self.ask("POST", f"/api/v1/alerts/{key[:20]}/ack")
        self.assertEqual((400, True), (status, "give more of it" in problem["detail"]))
        self.assertEqual(200, self.ask("POST", f"/api/v1/alerts/{key}/ack")[0])
        silences = records.module("silences")
        with grpc.insecure_channel(self.daemon.api) as channel:
            call = channel.unary_unary("/millrace.v1.Silences/Acknowledge", silences.AcknowledgeRequest.SerializeToString,
                                       records.module("alerts").Acknowledgement.FromString)
            one = call(silences.AcknowledgeRequest(key=other, created_by="bob", comment="mine"))
            self.assertEqual((other, "bob", "mine"), (one.key, one.created_by, one.comment))
            with self.assertRaises(grpc.RpcError) as raised:
                call(silences.AcknowledgeRequest(key=other, comment="c" * 1025))
            self.assertEqual("INVALID_ARGUMENT", raised.exception.code().name)
        self.write(key, 3, 1)
        self.assertEqual(409, self.ask("POST", f"/api/v1/alerts/{key}/ack")[0])


class Api(Asking):
    MAX = 3

    @classmethod
    def setUpClass(cls):
        cls.kafka = kafka.Kafka()
        cls.addClassCleanup(cls.kafka.stop)
        cls.daemon = millraced.Millraced(cls.kafka.address, f'key: "{SECRET}"\nsilences:\n  max: {cls.MAX}\n  keep: 10s\n')
        cls.addClassCleanup(cls.daemon.stop)

    def setUp(self):
        self.reads()

    def tearDown(self):
        self.expire_all()

    def last(self):
        return list(records.raw(self.kafka.address, "millrace.silences"))[-1]

    def taken_back(self):
        """Some record has no value."""
        return sum(records.ends(self.kafka.address, "millrace.silences").values()) > len(
            list(records.raw(self.kafka.address, "millrace.silences")))

    def test_what_is_added_stands_in_the_topic_signed_and_is_listed(self):
        state = self.add("--server", "shop/*", "--client", "web-?", "--port", "8080", "--severity", "warning", "--monitor",
                         "baseline/*", "--for", "2h", "--comment", "new disks", "--created-by", "ann", "--id", "disks")
        silence = state["silence"]
        self.assertEqual({"id": "disks", "monitor": "baseline/*", "client": "web-?", "server": "shop/*", "port": 8080,
                          "severity": "warning", "created_by": "ann", "comment": "new disks"},
                         {name: value for name, value in silence.items() if not name.endswith("_at")})
        self.assertEqual(("active", "127.0.0.1", []), (state["state"], state["author"], state["alerts"]))
        self.assertAlmostEqual(time.time(), state["changed_s"], delta=10)
        value = self.last()
        self.assertEqual(b"\xfa\x07\x20", value[-35:-32])
        self.assertEqual(hmac.digest(pipeline_key(), value[:-35], "sha256"), value[-32:])
        record = records.module("silences").SilenceRecord.FromString(value)
        self.assertEqual(("silence/disks", 1, "shop/*"), (record.id, record.version, record.silence.server))
        self.assertEqual(7200 * 10**9, record.silence.ends_ns - record.silence.starts_ns)
        table = self.cli("silences").stdout
        self.assertIn("web-? -> shop/*:8080, monitor baseline/*, severity warning", table)
        self.assertEqual(state, json.loads(self.cli("silences", "get", "disks", "-o", "json").stdout))
        # What is shown may be given back, and changed.
        status, again = self.ask("POST", PATH, {**silence, "comment": "newer disks"})
        self.assertEqual((200, "newer disks", silence["ends_at"]),
                         (status, again["silence"]["comment"], again["silence"]["ends_at"]))
        longer = self.add("--id", "disks", "--server", "shop/*", "--for", "3h")["silence"]
        self.assertEqual(silence["starts_at"], longer["starts_at"])
        self.assertEqual(["disks"], self.listed("active"))
        ended = json.loads(self.cli("silences", "expire", "disks", "-o", "json").stdout)
        self.assertEqual("expired", ended["state"])
        self.assertEqual([], self.listed("active"))
        self.assertIn("disks", self.listed("expired"))
        self.assertIn("expired already", self.cli("silences", "expire", "disks", status=1).stderr)
        self.assertTrue(millraced.until(lambda: "disks" not in self.listed(), WITHIN_S))  # silences.keep is over
        self.assertTrue(millraced.until(self.taken_back, WITHIN_S))
        self.cli("silences", "get", "disks", status=1)

    def test_what_is_wrong_is_refused_with_what_is_accepted(self):
        for body, words in (({"server": "x"}, "ends_at, duration: one of them"),
                            ({"server": "x", "duration": "1h", "ends_at": at(60)}, "and not both"),
                            ({"duration": "1h"}, "at least one of monitor, client"),
                            ({"server": "x", "ends_at": at(-60)}, "past already"),
                            ({"server": "x", "ends_at": "tomorrow"}, 'ends_at is "tomorrow"; accepted: a time'),
                            ({"server": "x", "starts_at": at(120), "ends_at": at(60)}, "before starts_at"),
                            ({"server": "x", "duration": "367d"}, "366d"),
                            ({"server": "x", "starts_at": at(-86400), "ends_at": at(366 * 86400)}, "at most 366 days"),
                            ({"server": "x", "duration": "1h", "severity": "bad"}, "accepted: info, warning"),
                            ({"server": "x", "duration": "1h", "port": 70000}, "65535"),
                            ({"server": "x", "duration": "1h", "id": "No!"}, "a-z, 0-9"),
                            ({"server": "x" * 256, "duration": "1h"}, "255"),
                            ({"server": "x", "duration": "1h", "comment": "c" * 1025}, "1024"),
                            ({"servers": "x", "duration": "1h"}, "servers")):
            status, problem = self.ask("POST", PATH, body)
            self.assertEqual(400, status, (body, problem))
            self.assertIn(words, problem["detail"], body)
        self.assertEqual(415, self.ask("POST", PATH, "x", kind="text/plain")[0])
        self.assertEqual(400, self.ask("GET", f"{PATH}?state=over")[0])
        self.assertEqual(400, self.ask("GET", f"{PATH}/x?dry_run")[0])
        self.assertEqual(404, self.ask("GET", f"{PATH}/x")[0])
        self.assertEqual(404, self.ask("DELETE", f"{PATH}/x")[0])
        self.assertIn("--for DURATION or --ends-at", self.cli("silences", "add", "--server", "x", status=2).stderr)
        self.assertIn("-s is millraced's address",
                      self.cli("silences", "--server", f"http://{self.daemon.api}", status=2).stderr)
        self.assertIn("list, get ID", self.cli("silences", "frob", status=2).stderr)
        self.assertIn('not "more"', self.cli("silences", "list", "more", status=2).stderr)
        self.assertIn('not "more"', self.cli("monitors", "list", "more", status=2).stderr)
        self.assertIn("millraced's address is -s", self.cli("silences", "add", "--server", f"http://{self.daemon.api}",
                                                            "--for", "1h", status=2).stderr)
        self.assertEqual([], self.listed("active"))
        status, state = self.ask("POST", PATH, "server: x\nduration: 1h\n", kind="application/yaml")
        self.assertEqual((200, "active"), (status, state["state"]))

    def test_by_a_letter_it_is_the_address(self):
        self.cli("silences", "-s", f"http://{self.daemon.api}", MILLRACE_SERVER="http://127.0.0.1:1")
        self.cli("alerts", "--server", f"http://{self.daemon.api}", MILLRACE_SERVER="http://127.0.0.1:1")

    def test_past_the_bound_another_is_refused(self):
        for number in range(self.MAX):
            self.assertEqual(200, self.ask("POST", PATH, {"id": f"s{number}", "server": "x", "duration": "1h"})[0])
        status, problem = self.ask("POST", PATH, {"server": "x", "duration": "1h"})
        self.assertEqual((409, True), (status, "silences.max" in problem["detail"]))
        self.assertEqual(200, self.ask("POST", PATH, {"id": "s1", "server": "y", "duration": "1h"})[0])
        self.assertEqual(200, self.ask("DELETE", f"{PATH}/s0")[0])
        self.assertEqual(200, self.ask("POST", PATH, {"server": "x", "duration": "1h"})[0])

    def test_a_dry_run_changes_nothing_and_says_what_it_would_silence(self):
        outbox, key = Outbox(self.kafka.address), episode_key("dry")
        outbox.fire(key)
        self.assertTrue(millraced.until(lambda: self.ask("GET", f"/api/v1/alerts?key={key}")[1]["alerts"], WITHIN_S))
        before = len(list(records.raw(self.kafka.address, "millrace.silences")))
        self.assertEqual(([key], "active"), (lambda state: (state["alerts"], state["state"]))(
            self.add("--server", "cart", "--for", "1h", "--dry-run")))
        self.assertEqual([key], self.add("--server", "cart", "--starts-at", at(60), "--for", "1h", "--dry-run")["alerts"])
        self.assertEqual([], self.add("--server", "other", "--for", "1h", "--dry-run")["alerts"])
        self.assertEqual(before, len(list(records.raw(self.kafka.address, "millrace.silences"))))
        self.assertEqual([], self.listed("active"))
        outbox.resolve(key)

    def test_whoever_has_not_the_key_silences_nothing(self):
        before = self.daemon.metric("millrace_silences_malformed_total")
        now = time.time_ns()
        record = records.module("silences").SilenceRecord(id="silence/forged", version=1, issued_ns=now)
        record.silence.server, record.silence.starts_ns, record.silence.ends_ns = "*", now, now + 10**12
        self.kafka.put("millrace.silences", record.id, record.SerializeToString())
        self.assertEqual(before + 1, self.daemon.wait_metric("millrace_silences_malformed_total", before + 1, WITHIN_S))
        self.assertNotIn("forged", self.listed())
        self.assertIn("the record silence/forged of millrace.silences is passed over: not signed", self.daemon.log())
        self.add("--id", "mine", "--server", "x", "--for", "1h")
        self.kafka.put("millrace.silences", "silence/other", self.last())  # ours, under another's key
        self.assertEqual(before + 2, self.daemon.wait_metric("millrace_silences_malformed_total", before + 2, WITHIN_S))

    def values(self, count):
        """Of all records behind the first so many; not of those that take another back."""
        return list(records.raw(self.kafka.address, "millrace.silences"))[count:]

    def count(self):
        return len(self.values(0))

    def latest(self, ident):
        """The last record of a silence."""
        found = map(records.module("silences").SilenceRecord.FromString, records.raw(self.kafka.address, "millrace.silences"))
        return [record for record in found if record.id == f"silence/{ident}"][-1]

    def test_what_somebody_without_the_key_takes_back_or_brings_back_stands_in_the_topic_again(self):
        self.add("--id", "stands", "--server", "x", "--for", "1h")
        began = self.last()
        count = self.count()
        self.kafka.put("millrace.silences", "silence/stands", None)
        self.assertTrue(millraced.until(lambda: set(self.values(count)) == {began}, WITHIN_S))
        self.assertEqual(["stands"], self.listed("active"))
        self.cli("silences", "expire", "stands")
        ended = self.last()
        self.assertNotEqual(began, ended)
        count = self.count()
        self.kafka.put("millrace.silences", "silence/stands", began)
        self.assertTrue(millraced.until(lambda: began in self.values(count) and self.last() == ended, WITHIN_S))
        self.assertEqual([], self.listed("active"))

    def test_records_that_come_all_the_time_do_not_put_off_the_topics_keeping(self):
        self.add("--id", "stands", "--server", "x", "--for", "1h")
        stands, other, count = self.last(), self.signed("other"), self.count()
        self.kafka.put("millrace.silences", "silence/stands", None)
        for _ in range(12):  # more often than once a second, for more than two
            self.kafka.put("millrace.silences", "silence/other", other)
            time.sleep(0.25)
        self.assertIn(stands, self.values(count))

    def signed(self, ident):
        """A good record that another instance may have written."""
        now = time.time_ns()
        record = records.module("silences").SilenceRecord(id=f"silence/{ident}", version=1, issued_ns=now)
        record.silence.server, record.silence.starts_ns, record.silence.ends_ns = "x", now, now + 3600 * 10**9
        value = record.SerializeToString()
        return value + b"\xfa\x07\x20" + hmac.digest(pipeline_key(), value, "sha256")

    def asked_while_another_takes_the_room(self, ident, other):
        connection = http.client.HTTPConnection(self.daemon.api, timeout=30)
        connection.connect()
        self.daemon.stand()
        try:
            self.kafka.put("millrace.silences", f"silence/{other}", self.signed(other))
            connection.request("POST", PATH, json.dumps({"id": ident, "server": "x", "duration": "1h"}),
                               {"Content-Type": "application/json"})
        finally:
            self.daemon.go_on()
        answer = connection.getresponse()
        problem = json.loads(answer.read())
        connection.close()
        return answer.status == 409 and "at the same time" in problem["detail"]

    def test_one_that_had_expired_and_finds_no_room_does_not_come_back_by_itself(self):
        for number in range(self.MAX - 1):
            self.add("--id", f"other{number}", "--server", "x", "--for", "1h")
        for attempt in range(20):  # the request is mostly looked at before the record comes
            self.add("--id", f"again{attempt}", "--server", "x", "--for", "1h")
            self.cli("silences", "expire", f"again{attempt}")
            if self.asked_while_another_takes_the_room(f"again{attempt}", f"taken{attempt}"):
                break
            self.assertTrue(millraced.until(lambda: f"taken{attempt}" in self.listed("active"), WITHIN_S))
            self.cli("silences", "expire", f"taken{attempt}")
        else:
            self.fail("the room was never taken in between")
        self.assertTrue(millraced.until(
            lambda: self.latest(f"again{attempt}").silence.ends_ns <= time.time_ns(), 15), self.latest(f"again{attempt}"))
        self.assertNotIn(f"again{attempt}", self.listed("active"))

    def test_grpc_gives_the_same_answers(self):
        silences = records.module("silences")
        with grpc.insecure_channel(self.daemon.api) as channel:
            def call(method, request, answer):
                return channel.unary_unary(f"/millrace.v1.Silences/{method}", type(request).SerializeToString,
                                           answer.FromString)(request)

            document = json.dumps({"id": "by-grpc", "server": "x", "duration": "1h"})
            state = call("Add", silences.AddSilenceRequest(document=document, dry_run=True), silences.SilenceState)
            self.assertEqual(("by-grpc", []), (state.silence.id, self.listed("active")))
            call("Add", silences.AddSilenceRequest(document=document), silences.SilenceState)
            listed = call("List", silences.ListSilencesRequest(state="active"), silences.ListSilencesResponse)
            self.assertEqual(["by-grpc"], [one.silence.id for one in listed.silences])
            self.assertEqual(self.ask("GET", f"{PATH}/by-grpc")[1]["silence"]["ends_at"], listed.silences[0].silence.ends_at)
            one = call("List", silences.ListSilencesRequest(id="by-grpc"), silences.ListSilencesResponse)
            self.assertEqual(1, len(one.silences))
            ended = call("Expire", silences.ExpireSilenceRequest(id="by-grpc"), silences.SilenceState)
            self.assertEqual("expired", ended.state)
            for method, request, answer, code in (
                    ("Add", silences.AddSilenceRequest(document="{}"), silences.SilenceState, "INVALID_ARGUMENT"),
                    ("List", silences.ListSilencesRequest(id="none"), silences.ListSilencesResponse, "NOT_FOUND"),
                    ("List", silences.ListSilencesRequest(state="x"), silences.ListSilencesResponse, "INVALID_ARGUMENT"),
                    ("Expire", silences.ExpireSilenceRequest(id="none"), silences.SilenceState, "NOT_FOUND")):
                with self.assertRaises(grpc.RpcError) as raised:
                    call(method, request, answer)
                self.assertEqual(code, raised.exception.code().name, (method, request))

    def test_zz_it_is_kept_over_a_restart_and_when_the_key_is_another_signed_again(self):
        self.add("--id", "kept", "--server", "x", "--for", "1h")
        self.daemon.kill()
        with open(self.daemon.config, "a") as config:
            config.write('keys: [{id: new, secret: "another key of the deployment"}]\n')
        self.daemon.start()
        self.reads()
        self.assertEqual(["kept"], self.listed("active"))

        def signed():
            value = self.last()
            return value[-32:] == hmac.digest(pipeline_key(b"another key of the deployment"), value[:-35], "sha256")

        self.assertTrue(millraced.until(signed, WITHIN_S), self.daemon.log()[-3000:])
        self.assertEqual(["kept"], self.listed("active"))


class Rights(Asking):
    def test_who_does_not_show_the_token_changes_nothing(self):
        with kafka.Kafka() as broker, millraced.Millraced(broker.address, f'control.token: "{TOKEN}"\n') as self.daemon:
            self.reads()
            body = {"server": "x", "duration": "1h"}
            self.assertEqual(401, self.ask("POST", PATH, body)[0])
            self.assertEqual(401, self.ask("POST", PATH, body, Authorization="Bearer no")[0])
            status, state = self.ask("POST", PATH, body, Authorization=f"Bearer {TOKEN}")
            self.assertEqual(200, status)
            ident = state["silence"]["id"]
            self.assertEqual(401, self.ask("DELETE", f"{PATH}/{ident}")[0])
            self.cli("silences", "expire", ident, status=1)
            self.cli("silences", "expire", ident, MILLRACE_TOKEN=TOKEN)

    def test_without_the_topic_alerts_are_told_after_a_while_and_requests_are_refused(self):
        receivers = torture.Torture(7)
        self.addCleanup(receivers.stop)
        config = NOTIFY + "receivers:\n" + receiver("slack", "slack", receivers.url("slack", "slack"))
        with kafka.Kafka() as broker:
            broker.tool("TopicCommand", "--delete", "--topic", "millrace.silences")
            with millraced.Millraced(broker.address, config) as self.daemon:
                self.daemon.wait_ready()
                for method in ("GET", "POST"):
                    self.assertEqual(503, self.ask(method, PATH, {"server": "x", "duration": "1h"})[0], method)
                Outbox(broker.address).fire(episode_key("away"))
                self.assertTrue(millraced.until(lambda: receivers.of("slack"), WITHIN_S), self.daemon.log()[-3000:])
                self.assertIn("millrace.silences could not be read in time", self.daemon.log())


if __name__ == "__main__":
    if kafka.missing():
        print("skipped: not installed:", *kafka.missing())
        sys.exit(77)
    unittest.main()
