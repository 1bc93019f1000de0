#!/usr/bin/python3
"""Monitors over the API: written in the configuration's language, signed into a real Kafka, in force from a pane on in
all tasks, still there after a restart, gone when they are deleted; whoever may not or says nonsense is refused."""

import concurrent.futures
import hmac
import http.client
import json
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import time
import unittest

import grpc

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import fleet
import kafka
import millraced
import processes
import records

CLI = processes.BUILD / "bin" / "millrace"
SECRET = "0123456789abcdef the deployment's"
TOKEN = "a token that nobody guesses"
PATH = "/api/v1/monitors"
WITHIN_S = 60
OWN = """monitors:
  - {name: from the file, metric: rtt, threshold: 9}
"""
ERRORS = """name: shop/errors
metric: failure_ratio
threshold: 0.05
window: 10s
minimum: 20
per: server
server: "shop/*"
port: 8080
severity: critical
"""


def pipeline_key(secret=SECRET.encode()):
    key = hmac.digest(bytes(32), secret, "sha256")  # HKDF-SHA-256, no salt
    return hmac.digest(key, b"millrace.pipeline\x01", "sha256")


def rule_of(name, metric, threshold):
    rule = records.module("rules").Rule(id=f"monitor/{name}", version=1, issued_ns=time.time_ns())
    rule.monitor.name, rule.monitor.metric, rule.monitor.threshold, rule.monitor.clear = name, metric, threshold, threshold
    rule.monitor.window_ns = rule.monitor.clear_after_ns = 10**9
    return rule


class Asking(unittest.TestCase):
    def cli(self, *words, status=0, given=None, daemon=None, **environment):
        done = subprocess.run([CLI, *words], capture_output=True, text=True, timeout=30, input=given,
                              env={**os.environ, "MILLRACE_SERVER": f"http://{(daemon or self.daemon).api}",
                                   **environment})
        self.assertEqual(status, done.returncode, (words, done.stdout, done.stderr))
        return done

    def ask(self, method, path, body=None, kind="application/yaml", daemon=None, **headers):
        connection = http.client.HTTPConnection((daemon or self.daemon).api, timeout=30)
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, {"Content-Type": kind, **headers})
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        return answer.status, json.loads(text) if text else None

    def names(self, daemon=None):
        return [state["monitor"]["name"] for state in self.ask("GET", PATH, daemon=daemon)[1]["monitors"]]


class Api(Asking):
    @classmethod
    def setUpClass(cls):
        cls.kafka = kafka.Kafka()
        cls.addClassCleanup(cls.kafka.stop)
        cls.daemon = millraced.Millraced(cls.kafka.address, f'key: "{SECRET}"\n{OWN}')
        cls.addClassCleanup(cls.daemon.stop)
        cls.daemon.wait_ready()
        millraced.until(lambda: cls.daemon.get(PATH)[0] == 200, WITHIN_S)

    def tearDown(self):
        for name in self.names()[1:]:
            self.ask("DELETE", f"{PATH}/{name.replace(' ', '%20')}")

    def last(self):
        return list(records.raw(self.kafka.address, "millrace.rules"))[-1]

    def test_what_is_applied_stands_in_the_topic_signed_and_is_listed(self):
        done = self.cli("monitors", "apply", "-f", "-", "-o", "json", given=ERRORS)
        state, = json.loads(done.stdout)["monitors"]
        self.assertEqual({"name": "shop/errors", "metric": "failure_ratio", "comparison": "above", "threshold": 0.05,
                          "clear": 0.05, "window": "10s", "clear_after": "5s", "minimum": 20, "severity": "critical",
                          "per": "server", "client": [], "server": ["shop/*"], "port": 8080, "kind": "threshold",
                          "protocol": "any", "client_namespace": [], "server_namespace": [], "client_zone": [],
                          "server_zone": [], "client_version": [], "server_version": [], "objective": 0,
                          "sensitivity": 0, "silent": False, "absent_for": "0s", "learn": "0s"}, state["monitor"])
        self.assertEqual(("api", "127.0.0.1"), (state["source"], state["author"]))
        self.assertAlmostEqual(time.time(), state["changed_s"], delta=10)
        value = self.last()
        self.assertEqual(b"\xfa\x07\x20", value[-35:-32])
        self.assertEqual(hmac.digest(pipeline_key(), value[:-35], "sha256"), value[-32:])
        rule = records.module("rules").Rule.FromString(value)
        self.assertEqual(("monitor/shop/errors", 1, False), (rule.id, rule.version, rule.withdrawn))
        self.assertEqual((10 * 10**9, 5 * 10**9, ["shop/*"]),
                         (rule.monitor.window_ns, rule.monitor.clear_after_ns, rule.monitor.server))
        self.assertEqual(["from the file", "shop/errors"], self.names())
        table = self.cli("monitors").stdout
        self.assertIn("failure_ratio above 0.05", table)
        self.assertIn("* -> shop/*:8080", table)
        one = json.loads(self.cli("monitors", "get", "shop/errors", "-o", "json").stdout)
        self.assertEqual(state, one)
        self.cli("monitors", "delete", "shop/errors")
        self.assertTrue(records.module("rules").Rule.FromString(self.last()).withdrawn)
        self.assertEqual(["from the file"], self.names())
        self.cli("monitors", "get", "shop/errors", status=1)

    def test_what_is_shown_can_be_given_back_and_a_list_is_taken_whole(self):
        self.ask("PUT", f"{PATH}/shop/errors", ERRORS)
        status, state = self.ask("GET", f"{PATH}/shop/errors")
        changed = {**state["monitor"], "threshold": 0.1, "clear": 0.01}
        status, state = self.ask("PUT", f"{PATH}/shop/errors", json.dumps(changed), kind="application/json")
        self.assertEqual((200, changed), (status, state["monitor"]))
        both = "monitors:\n" + "".join(f"  - {{name: {name}, metric: bytes, threshold: 1}}\n" for name in "ba")
        status, answer = self.ask("POST", PATH, both)
        self.assertEqual((200, ["b", "a"]), (status, [state["monitor"]["name"] for state in answer["monitors"]]))
        self.assertEqual(["from the file", "a", "b", "shop/errors"], self.names())
        half = both + "  - {name: c, metric: speed, threshold: 1}\n"
        status, problem = self.ask("POST", PATH, half)
        self.assertEqual(400, status)
        self.assertIn("line:4", problem["detail"])
        self.assertIn("'speed' is none of", problem["detail"])
        self.assertNotIn("c", self.names())

    KINDS = {
        "slo": ("kind: burn_rate\nobjective: 0.999\nserver: [shop/*, '!shop/test']\nseverity: critical\n",
                "the error budget of 0.999 burns"),
        "strangers": ("kind: new_edge\nlearn: 0s\nclient: '!shop/*'\nserver: shop/db\nprotocol: tcp\n",
                      "such an edge is there"),
        "newcomers": ("kind: new_edge\nserver_namespace: [shop, bank]\n", "an edge is new"),
        "gone": ("kind: absence\nabsent_for: 2m\nper: server\nserver_zone: eu-1\n", "nothing passes"),
        "noisy": ("kind: baseline\nmetric: bytes\nclient: batch/*\nsilent: true\n", "never: baseline of bytes"),
        "pay": ("kind: baseline\nsensitivity: 6\nserver: pay/*\n", "baseline of all departs by 6"),
        "canary": ("metric: failure_ratio\nthreshold: 0.1\nwindow: 10s\nserver_version: v2*\nclient_zone: '!eu-*'\n",
                   "failure_ratio above 0.1"),
    }

    def test_each_kind_is_taken_told_given_back_and_tried(self):
        for name, (words, told) in self.KINDS.items():
            with self.subTest(name=name):
                document = f"name: {name}\n{words}"
                trial = json.loads(self.cli("monitors", "test", "-f", "-", "-o", "json", given=document).stdout)
                self.assertEqual(0, trial["monitors"][0]["trial"]["firing"])
                text = self.cli("monitors", "test", "-f", "-", given=document).stdout
                self.assertIn(f"{name} is valid: fires when ", text)
                self.cli("monitors", "apply", "-f", "-", given=document)
                self.assertIn(told, self.cli("monitors").stdout)
                status, state = self.ask("GET", f"{PATH}/{name}")
                rule = records.module("rules").Rule.FromString(self.last())
                self.assertEqual((200, 2), (status, rule.version))
                back = self.ask("PUT", f"{PATH}/{name}", json.dumps(state["monitor"]), kind="application/json")
                self.assertEqual((200, state["monitor"]), (back[0], back[1].get("monitor")), back)
                tried = self.ask("GET", f"{PATH}/{name}?test")[1]
                self.assertEqual(state["monitor"], tried["monitor"])
        self.assertEqual({"from the file", *self.KINDS}, set(self.names()))
        self.daemon.kill()
        self.daemon.start()
        self.daemon.wait_ready()
        self.assertTrue(millraced.until(lambda: self.daemon.get(PATH)[0] == 200, WITHIN_S))
        self.assertTrue(millraced.until(lambda: set(self.names()) == {"from the file", *self.KINDS}, WITHIN_S))

    def test_a_dry_run_changes_nothing_and_says_what_it_would_do(self):
        before = len(list(records.raw(self.kafka.address, "millrace.rules")))
        done = self.cli("monitors", "apply", "--dry-run", "-f", "-", "-o", "json", given=ERRORS)
        self.assertEqual("shop/errors", json.loads(done.stdout)["monitors"][0]["monitor"]["name"])
        self.assertEqual(before, len(list(records.raw(self.kafka.address, "millrace.rules"))))
        self.assertEqual(["from the file"], self.names())

    def test_nonsense_is_refused_with_its_line_and_reason(self):
        for text, *words in [("name: a\nmetric: rtt\nthreshold: much\n", "line:3", "threshold"),
                             ("name: a\nmetric: rtt\n", "threshold", "required"),
                             ("name: a\nmetric: rtt\nthreshold: 1\nwindow: 61s\n", "line:4", "window"),
                             ("name: a\nmetric: rtt\nthreshold: 1\nwindow: 300ms\n", "250ms"),
                             ("name: a\nmetric: rtt\nthreshold: 1\nspeed: 1\n", "line:4", "speed"),
                             ("name: baseline/rtt\nmetric: rtt\nthreshold: 1\n", "baseline/"),
                             ("name: a\nmetric: failure_ratio\nthreshold: 2\n", "a:", "0 to 1"),
                             ("name: a\nmetric: rtt\nthreshold: 1\nclear: 2\n", "clear"),
                             ("name: a\nkind: burn_rate\n", "a:", "objective", "required"),
                             ("name: a\nkind: policy\n", "line:2", "new_edge"),
                             ("name: a\nkind: absence\nmetric: rtt\n", "metric", "kind: threshold"),
                             ("name: a\nmetric: rtt\nthreshold: 1\nserver_zone: eu-1\n", "window", "10s"),
                             ("name: a\nmetric: rtt\nthreshold: 1\nclient: !shop/*\n", "line:4", "tag"),
                             ("name: a\nmetric: clients_new\nthreshold: 1\n", "per: server"),
                             ("name: a\nmetric: rtt\nthreshold: 1\nper: server\nclient: b\n", "client"),
                             ("monitors: []\n", "monitors"),
                             ("monitors:\n  - {name: a, metric: rtt, threshold: 1}\n" * 1 +
                              "  - {name: a, metric: bytes, threshold: 1}\n", "twice"),
                             ("", "required"), ("[1]", "line:1"), ("{", "YAML")]:
            with self.subTest(text=text):
                status, problem = self.ask("POST", PATH, text)
                self.assertEqual(400, status)
                for word in words:
                    self.assertIn(word, problem["detail"])
        self.assertEqual(400, self.ask("PUT", f"{PATH}/other", ERRORS)[0])
        self.assertEqual(415, self.ask("POST", PATH, ERRORS, kind="text/plain")[0])
        self.assertEqual(404, self.ask("DELETE", f"{PATH}/nobody")[0])

    def test_a_monitor_of_the_configuration_is_changed_there(self):
        own = "name: from the file\nmetric: rtt\nthreshold: 1\n"
        both = f"monitors:\n  - {{name: a, metric: rtt, threshold: 1}}\n  - {{{', '.join(own.splitlines())}}}\n"
        for method, path, body in (("POST", PATH, own), ("POST", PATH, both), ("POST", f"{PATH}?dry_run", own),
                                   ("PUT", f"{PATH}/from%20the%20file", own),
                                   ("DELETE", f"{PATH}/from%20the%20file", None)):
            with self.subTest(method=method, path=path):
                status, problem = self.ask(method, path, body)
                self.assertEqual(409, status)
                self.assertIn("configuration", problem["detail"])
        self.assertEqual(["from the file"], self.names())

    def test_documented_parameters_are_those_that_are_accepted(self):
        paths = self.ask("GET", "/openapi.json")[1]["paths"]
        for path, asked in ((PATH, PATH), (PATH + "/{name}", f"{PATH}/from%20the%20file")):
            for verb, operation in paths[path].items():
                names = [one["name"] for one in operation["parameters"] if one["in"] == "query"]
                status, problem = self.ask(verb.upper(), asked + "?nobody=1", ERRORS)
                self.assertEqual((400, ", ".join(names) or "none"), (status, problem["detail"].split("accepted: ")[1]))

    def test_a_flag_is_what_it_says_and_a_parameter_that_nobody_knows_is_refused(self):
        for path, test in (("", False), ("?test=0", False), ("?test=false", False), ("?test", True), ("?test=1", True),
                           ("?test=true", True)):
            status, state = self.ask("GET", f"{PATH}/from%20the%20file{path}")
            self.assertEqual((200, test), (status, bool(state["trial"])), path)
        one, made = f"{PATH}/shop/errors", "shop/errors"
        for method, path in (("POST", PATH), ("PUT", one)):
            for dry in ("", "=1", "=true"):
                status, answer = self.ask(method, f"{path}?dry_run{dry}", ERRORS)
                state = answer["monitors"][0] if method == "POST" else answer
                self.assertEqual((200, made), (status, state["monitor"]["name"]), (method, dry))
                self.assertTrue(state["trial"])
                self.assertEqual(["from the file"], self.names())
            for wet in ("=0", "=false"):
                self.assertEqual(200, self.ask(method, f"{path}?dry_run{wet}", ERRORS)[0])
                self.assertEqual(["from the file", made], self.names(), (method, wet))
                self.assertEqual(200, self.ask("DELETE", one)[0])
        for method, path, word in (("GET", PATH + "?test", '"test"'), ("GET", one + "?tests=1", '"tests"'),
                                   ("GET", one + "?test=yes", '"yes"'), ("POST", PATH + "?dryrun=1", '"dryrun"'),
                                   ("POST", PATH + "?dry_run=no", '"no"'), ("PUT", one + "?dryrun=1", '"dryrun"'),
                                   ("POST", PATH + "?dry_run=1&dry_run=0", "more than once"),
                                   ("DELETE", one + "?dry_run=1", '"dry_run"')):
            status, problem = self.ask(method, path, ERRORS)
            self.assertEqual(400, status, (method, path, problem))
            self.assertIn(word, problem["detail"])
        self.assertEqual(["from the file"], self.names())

    def test_the_environment_of_millraced_is_told_to_nobody(self):
        status, answer = self.ask("POST", PATH, "name: a\nmetric: rtt\nthreshold: 1\nclient: \"${HOME}\"\n")
        self.assertEqual((200, ["${HOME}"]), (status, answer["monitors"][0]["monitor"]["client"]))

    def test_no_more_than_256_stand(self):
        for first in range(0, 256, 64):
            status, _ = self.ask("POST", PATH, "monitors:\n" + "".join(
                f"  - {{name: m{first + i}, metric: rtt, threshold: 1}}\n" for i in range(64)))
            self.assertEqual(200, status)
        status, problem = self.ask("POST", PATH, ERRORS)
        self.assertEqual(409, status, problem)
        self.assertEqual(200, self.ask("POST", PATH, "name: m7\nmetric: rtt\nthreshold: 2\n")[0])
        self.assertEqual(200, self.ask("DELETE", f"{PATH}/m7")[0])
        self.assertEqual(200, self.ask("POST", PATH, ERRORS)[0])
        status, problem = self.ask("POST", PATH, "monitors:\n" + "".join(
            f"  - {{name: n{i}, metric: rtt, threshold: 1}}\n" for i in range(65)))
        self.assertEqual(400, status, problem)

    def put_lists(self, letters, daemons):
        def put(at, letter):
            document = "monitors:\n" + "".join(
                f"  - {{name: {letter}{i}, metric: rtt, threshold: 1}}\n" for i in range(64))
            return self.ask("POST", PATH, document, daemon=daemons[at % len(daemons)])[0]

        with concurrent.futures.ThreadPoolExecutor(len(letters)) as pool:
            statuses = list(pool.map(put, range(len(letters)), letters))
        stand = self.names()[1:]
        self.assertLessEqual(len(stand), 256)
        for letter, status in zip(letters, statuses):
            if status == 200:
                self.assertEqual(64, sum(name[0] == letter for name in stand), (letter, statuses))
        return sorted(statuses)

    def test_of_requests_at_once_as_many_are_taken_as_can_stand(self):
        self.assertEqual([200] * 4 + [409] * 2, self.put_lists("abcdef", [self.daemon]))

    def test_what_another_instance_left_no_room_for_is_refused(self):
        with millraced.Millraced(self.kafka.address, f'key: "{SECRET}"\nkafka.group: second\n{OWN}') as second:
            second.wait_ready()
            self.assertTrue(millraced.until(lambda: second.get(PATH)[0] == 200, WITHIN_S))
            statuses = self.put_lists("abcdef", [self.daemon, second])
            self.assertLessEqual({409}, set(statuses))
            self.assertLessEqual(set(statuses), {200, 409})

            self.assertTrue(millraced.until(lambda: self.standing() == set(self.names()[1:]), WITHIN_S))

    def rules(self):
        """Of each name the last that was signed."""
        rules = [records.module("rules").Rule.FromString(value)
                 for value in records.raw(self.kafka.address, "millrace.rules")]
        return {rule.monitor.name: rule for rule in rules if rule.hmac}

    def standing(self):
        return {name for name, rule in self.rules().items() if not rule.withdrawn}

    def test_what_found_no_room_is_taken_back_though_nobody_waits_for_its_answer(self):
        def put_and_leave(letter, daemon):  # so each instance takes more than have room
            document = "monitors:\n" + "".join(
                f"  - {{name: {letter}{i}, metric: rtt, threshold: 1}}\n" for i in range(64))
            host, port = daemon.api.split(":")
            with socket.create_connection((host, int(port)), 10) as asker:
                asker.sendall(f"POST {PATH} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/yaml\r\n"
                              f"Content-Length: {len(document)}\r\n\r\n{document}".encode())
                time.sleep(0.02)  # it is read before its end

        with millraced.Millraced(self.kafka.address, f'key: "{SECRET}"\nkafka.group: left\n{OWN}') as second:
            second.wait_ready()
            self.assertTrue(millraced.until(lambda: second.get(PATH)[0] == 200, WITHIN_S))
            with concurrent.futures.ThreadPoolExecutor(6) as pool:
                list(pool.map(put_and_leave, "uvwxyz", [self.daemon, second] * 3))
            self.assertTrue(millraced.until(lambda: len(self.names()) == 257 and
                                            self.standing() == set(self.names()[1:]), WITHIN_S),
                            (len(self.names()), len(self.standing())))

    def test_what_a_configured_monitor_hides_counts_too(self):
        self.assertEqual([200] * 4, self.put_lists("abcd", [self.daemon]))
        own = "monitors:\n  - {name: a0, metric: rtt, threshold: 9}\n"
        with millraced.Millraced(self.kafka.address, f'key: "{SECRET}"\nkafka.group: hiding\n{own}') as daemon:
            daemon.wait_ready()
            self.assertTrue(millraced.until(lambda: daemon.get(PATH)[0] == 200, WITHIN_S))
            self.assertEqual(256, len(self.names(daemon)))
            self.assertEqual(409, self.ask("POST", PATH, ERRORS, daemon=daemon)[0])

    def test_a_list_is_what_begins_as_one(self):
        for text in ("name: a\nmetric: rtt\nthreshold: 1\nserver: x/monitors\n",
                     "# one of the monitors\nname: a\nmetric: rtt\nthreshold: 1\n",
                     '{"name": "monitors", "metric": "rtt", "threshold": 1}',
                     '# more\n---\n"monitors": [{name: a, metric: rtt, threshold: 1}]'):
            status, answer = self.ask("POST", PATH, text)
            self.assertEqual(200, status, (text, answer))
            self.assertEqual(1, len(answer["monitors"]))

    def test_grpc_gives_the_same_answers(self):
        messages = records.module("monitors")
        with grpc.insecure_channel(self.daemon.api) as channel:
            def call(method, request, answer):
                return channel.unary_unary(f"/millrace.v1.Monitors/{method}",
                                           request_serializer=lambda message: message.SerializeToString(),
                                           response_deserializer=answer.FromString)(request, timeout=30)

            made = call("Apply", messages.ApplyMonitorsRequest(document=ERRORS), messages.ListMonitorsResponse)
            self.assertEqual("10s", made.monitors[0].monitor.window)
            listed = call("List", messages.ListMonitorsRequest(), messages.ListMonitorsResponse)
            self.assertEqual(["from the file", "shop/errors"], [state.monitor.name for state in listed.monitors])
            one = call("List", messages.ListMonitorsRequest(name="shop/errors"), messages.ListMonitorsResponse)
            self.assertEqual(made.monitors[0], one.monitors[0])
            gone = call("Delete", messages.DeleteMonitorRequest(name="shop/errors"), messages.MonitorState)
            self.assertEqual("shop/errors", gone.monitor.name)
            for method, request, code in [("Delete", messages.DeleteMonitorRequest(name="shop/errors"), "NOT_FOUND"),
                                          ("Apply", messages.ApplyMonitorsRequest(document="x"), "INVALID_ARGUMENT")]:
                with self.assertRaises(grpc.RpcError) as raised:
                    call(method, request, messages.MonitorState)
                self.assertEqual(code, raised.exception.code().name)

    def test_who_has_not_the_token_may_look_and_not_touch(self):
        with millraced.Millraced(self.kafka.address, f'key: "{SECRET}"\ncontrol:\n  token: "{TOKEN}"\n') as daemon:
            daemon.wait_ready()
            self.assertTrue(millraced.until(lambda: daemon.get(PATH)[0] == 200, WITHIN_S))
            self.assertEqual(401, self.ask("POST", PATH, ERRORS, daemon=daemon)[0])
            self.assertEqual(401, self.ask("DELETE", f"{PATH}/a", daemon=daemon)[0])
            self.cli("monitors", "apply", "-f", "-", given=ERRORS, daemon=daemon, MILLRACE_TOKEN=TOKEN)
            self.assertIn("shop/errors", self.names(daemon))
        self.assertEqual(403, self.ask("POST", PATH, ERRORS, Host="evil.example")[0])

    def test_what_another_wrote_without_the_key_is_no_monitor(self):
        rule = rule_of("forged", "rtt", 0)
        before = self.daemon.metric("millrace_relay_rules_refused_total")
        self.kafka.put("millrace.rules", rule.id, rule.SerializeToString())
        self.assertGreater(self.daemon.wait_metric("millrace_relay_rules_refused_total", before + 1), before)
        self.assertNotIn("forged", self.names())

    def test_what_is_listed_is_what_the_relay_believes(self):
        self.ask("PUT", f"{PATH}/shop/errors", ERRORS)
        rule = records.module("rules").Rule.FromString(self.last()[:-35])
        rule.id, rule.monitor.name, rule.issued_ns = "monitor/astray", "astray", rule.issued_ns + 1
        value = rule.SerializeToString()
        value += b"\xfa\x07\x20" + hmac.digest(pipeline_key(), value, "sha256")
        before = self.daemon.metric("millrace_relay_rules_refused_total")
        self.kafka.put("millrace.rules", "monitor/elsewhere", value)
        self.assertGreater(self.daemon.wait_metric("millrace_relay_rules_refused_total", before + 1), before)
        self.assertNotIn("astray", self.names())
        self.kafka.put("millrace.rules", rule.id, value)
        self.assertTrue(millraced.until(lambda: "astray" in self.names(), WITHIN_S))

    def test_what_stands_and_makes_no_sense_is_passed_over_until_a_good_one_takes_its_place(self):
        rule = rule_of("senseless", "failure_ratio", 5)
        body = rule.SerializeToString()
        before = self.daemon.metric("millrace_relay_rules_refused_total")
        self.kafka.put("millrace.rules", rule.id,
                       body + b"\xfa\x07\x20" + hmac.digest(pipeline_key(), body, "sha256"))
        self.assertGreater(self.daemon.wait_metric("millrace_relay_rules_refused_total", before + 1), before)
        self.daemon.kill()
        self.daemon.start()
        self.daemon.wait_ready()
        self.assertTrue(millraced.until(lambda: self.daemon.get(PATH)[0] == 200, WITHIN_S))
        self.assertEqual(["from the file"], self.names())
        self.assertEqual(200, self.ask("POST", PATH, "name: senseless\nmetric: failure_ratio\nthreshold: 0.5\n")[0])
        self.assertEqual(["from the file", "senseless"], self.names())


class InForce(Asking):
    """A simulated fleet's log, in its own time."""

    def fired(self, state):
        alerts = json.loads(self.daemon.get(f"/api/v1/alerts?limit=1000&state={state}")[1])["alerts"]
        return [alert["alert"] for alert in alerts
                if any(member["monitor"] == "told" for member in alert["alert"]["members"]) or
                alert["alert"]["monitor"] == "told"]

    def tries_monitors_on_what_was(self):
        def trial(document):
            done = self.cli("monitors", "test", "-f", "-", "-o", "json", given=document)
            return json.loads(done.stdout)["monitors"][0]["trial"]

        busy = "name: busy\nmetric: bytes\nthreshold: {}\nwindow: 10s\nminimum: 0\n"
        some = millraced.until(lambda: (found := trial(busy.format(0))) and found["firing"] and found, WITHIN_S)
        self.assertLessEqual(some["firing"], some["matched"])
        self.assertEqual(10, some["end_s"] - some["start_s"])
        self.assertAlmostEqual(time.time(), some["end_s"], delta=30)
        values = [value["value"] for value in some["values"]]
        self.assertEqual(sorted(values, reverse=True), values)
        self.assertLessEqual(len(values), 20)
        self.assertTrue(all(value["fires"] and value["known"] and value["client"] for value in some["values"]))
        self.assertEqual(0, trial(busy.format("1e15"))["firing"])
        self.assertEqual(0, trial(busy.format(0) + "server: nobody\n")["matched"])
        self.assertFalse(any(value["known"] for value in trial(busy.format(0).replace(
            "minimum: 0", "minimum: 1000000"))["values"]))
        servers = trial(busy.format(0) + "per: server\n")
        self.assertLess(servers["matched"], some["matched"] + 1)
        self.assertEqual({""}, {value["client"] for value in servers["values"]})
        for words, firing in (("kind: new_edge\nlearn: 0s\n", True), ("kind: new_edge\nlearn: 30d\n", False),
                              ("kind: absence\n", False), ("kind: burn_rate\nobjective: 0.5\n", False),
                              ("kind: baseline\nsilent: true\n", False),
                              ("metric: bytes\nthreshold: 0\nwindow: 10s\nserver_zone: '*'\n", True),
                              ("kind: absence\nclient_version: '*'\n", False)):
            tried = millraced.until(lambda: (found := trial(f"name: tried\n{words}"))["matched"] and found, WITHIN_S)
            self.assertTrue(tried, words)
            self.assertEqual(firing, tried["firing"] > 0, (words, tried))
            self.assertEqual(0, trial(f"name: tried\n{words}server: nobody\n")["matched"], words)
        nobody = "name: tried\nmetric: bytes\nthreshold: 0\nwindow: 10s\nserver_zone: nowhere\n"
        self.assertEqual(0, trial(nobody)["matched"])
        self.assertIn("is valid: fires when bytes is above 0 over 10s",
                      self.cli("monitors", "test", "-f", "-", given=busy.format(0)).stdout)
        self.cli("monitors", "test", "nobody", status=1)
        self.cli("monitors", "test", "-f", "-", given="name: a\n", status=2)

    def test_a_withdrawal_that_nobody_told_in_time_is_told_late(self):
        def put(issued_s, withdrawn):
            rule = records.module("rules").Rule(id="monitor/told", version=1, withdrawn=withdrawn,
                                                issued_ns=time.time_ns() - issued_s * 10**9)
            rule.monitor.name, rule.monitor.metric = "told", "bytes"
            rule.monitor.window_ns, rule.monitor.clear_after_ns = 10 * 10**9, 600 * 10**9
            broker.put("millrace.rules", rule.id, rule.SerializeToString())

        with tempfile.TemporaryDirectory() as folder, kafka.Kafka() as broker:
            put(7200, False)
            feed = fleet.Feed(folder, nodes=8, flows=200, edges=40, rate=2000, seconds=180)
            with millraced.Millraced(broker.address, "baselines:\n  enabled: false\n"
                                     f"snapshots: {{folder: '{folder}/snapshots', period: 1s}}\n") as self.daemon:
                self.daemon.wait_ready()
                sender = feed.start(broker.address)
                self.addCleanup(processes.end, sender)
                self.assertTrue(millraced.until(lambda: self.fired("firing"), WITHIN_S), self.daemon.log()[-3000:])
                written = self.daemon.metric("millrace_snapshots_total")
                self.daemon.wait_metric("millrace_snapshots_total", written + 2)
                self.daemon.kill()
                put(3600, True)
                self.daemon.start()
                self.daemon.wait_ready()
                self.assertIn("going on from the snapshot", self.daemon.log())
                self.assertTrue(millraced.until(lambda: not self.fired("firing"), WITHIN_S), self.daemon.log()[-3000:])

    def test_it_fires_from_then_on_outlives_a_restart_under_its_key_and_ends_when_it_is_deleted(self):
        with tempfile.TemporaryDirectory() as folder, kafka.Kafka() as broker:
            feed = fleet.Feed(folder, nodes=8, flows=200, edges=40, rate=2000, seconds=120)
            with millraced.Millraced(broker.address, "baselines:\n  enabled: false\n") as self.daemon:
                self.daemon.wait_ready()
                sender = feed.start(broker.address)
                self.addCleanup(processes.end, sender)
                self.assertTrue(self.daemon.wait_metric("millrace_rollups_total", 1, WITHIN_S))
                self.tries_monitors_on_what_was()
                began_ns = time.time_ns()
                self.cli("monitors", "apply", "-f", "-", given="name: told\nmetric: bytes\nthreshold: 0\nwindow: 10s\n"
                                                               "clear_after: 1m\n")
                firing = millraced.until(lambda: self.fired("firing"), WITHIN_S)
                self.assertTrue(firing, self.daemon.log()[-3000:])
                self.assertGreater(min(alert["started_ns"] for alert in firing), began_ns - 2 * 10**9)
                keys = {alert["key"] for alert in self.fired("firing")}
                self.daemon.kill()
                self.daemon.start()
                self.daemon.wait_ready()
                self.assertEqual(["told"], millraced.until(
                    lambda: self.daemon.get(PATH)[0] == 200 and self.names(), WITHIN_S))
                time.sleep(5)  # of the log's time, in which it could have ended
                self.assertEqual(set(), keys - {alert["key"] for alert in self.fired("firing")})
                self.assertEqual([], self.fired("resolved"))
                self.cli("monitors", "delete", "told")
                self.assertTrue(millraced.until(lambda: not self.fired("firing"), WITHIN_S))
                self.assertTrue(keys <= {alert["key"] for alert in self.fired("resolved")})

    def test_when_the_key_is_another_what_stands_is_signed_again(self):
        with kafka.Kafka() as broker, millraced.Millraced(broker.address, f'key: "{SECRET}"\n') as self.daemon:
            self.daemon.wait_ready()
            self.assertTrue(millraced.until(lambda: self.daemon.get(PATH)[0] == 200, WITHIN_S))
            self.assertEqual(200, self.ask("POST", PATH, ERRORS)[0])
            self.daemon.kill()
            with open(self.daemon.config, "a") as config:
                config.write('keys: [{id: new, secret: "another key of the deployment"}]\n')
            self.daemon.start()
            self.daemon.wait_ready()

            def signed():
                value = list(records.raw(broker.address, "millrace.rules"))[-1]
                return value[-32:] == hmac.digest(pipeline_key(b"another key of the deployment"), value[:-35], "sha256")

            self.assertTrue(millraced.until(signed, WITHIN_S), self.daemon.log()[-3000:])
            self.assertIn("shop/errors", self.names())


if __name__ == "__main__":
    unittest.main()
