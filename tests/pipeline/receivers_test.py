#!/usr/bin/python3
"""Receivers as people set them up, with a real Kafka: a test notification through each by the program millrace, by REST
and by gRPC, and who may ask for one; a real Alertmanager; and a bot of Slack."""

import http.server
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import urllib.error
import urllib.request

import grpc

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import kafka
import millraced
import processes
import records
from outbox import Outbox, episode_key
from receiver import ROUTING_KEY, Receiver, slack_problems

CLI = processes.BUILD / "bin" / "millrace"
PATH = "/api/v1/receivers/test"
WITHIN_S = 60
CONFIG = """notify: {{allow_http: true, allow_private: true}}
{more}monitors:
  - {{name: cart refuses, metric: failure_ratio, threshold: 0.05, server: "shop/cart*", severity: error}}
receivers:
  - {{name: team, type: slack, url: "{slack}"}}
  - {{name: on-call, type: pagerduty, url: "{pagerduty}", routing_key: {key}, severity: critical}}
  - {{name: payments, type: slack, url: "{slack}", match: {{server: ["payments/*"]}}}}
"""


class Tests(unittest.TestCase):
    def setUp(self):
        self.receiver = Receiver()
        self.addCleanup(self.receiver.stop)

    def start(self, more=""):
        broker = kafka.Kafka()
        self.addCleanup(broker.stop)
        self.daemon = millraced.Millraced(broker.address, CONFIG.format(
            slack=self.receiver.slack_url, pagerduty=self.receiver.pagerduty_url, key=ROUTING_KEY, more=more))
        self.addCleanup(self.daemon.stop)
        self.daemon.wait_ready()
        self.assertTrue(millraced.until(lambda: self.daemon.get("/api/v1/monitors")[0] == 200, WITHIN_S))

    def cli(self, *words, status=0):
        done = subprocess.run([CLI, *words], capture_output=True, text=True, timeout=60,
                              env={**os.environ, "MILLRACE_SERVER": f"http://{self.daemon.api}"})
        self.assertEqual(status, done.returncode, (words, done.stdout, done.stderr))
        return done

    def ask(self, body, kind="application/json", **headers):
        """(status, answer, headers)"""
        request = urllib.request.Request(f"http://{self.daemon.api}{PATH}", body.encode(), method="POST",
                                         headers={"Content-Type": kind, **headers})
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, json.loads(answer.read()), answer.headers
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read()), error.headers

    def heard(self):
        self.assertEqual([], [message["problems"] for message in self.receiver.messages if message["problems"]])
        return [(message["kind"], message["body"]) for message in self.receiver.messages]

    def test_a_test_goes_to_whom_it_is_for_says_what_it_is_and_tells_the_answer(self):
        self.start()
        table = self.cli("monitors", "test", "cart refuses", "--send").stdout
        self.assertRegex(table, r"team +slack +[\d.]+ s +taken\n")
        self.assertRegex(table, r"on-call +pagerduty .*not sent: it is not for such an alert")
        self.assertRegex(table, r"payments +slack .*not sent: it is not for such an alert")
        (kind, body), = self.heard()
        self.assertEqual(("slack", True), (kind, body["text"].startswith("Test: TEST, nothing is wrong")))
        self.assertIn("Test of cart refuses: client → shop/cart*", body["blocks"][0]["text"]["text"])
        tests = json.loads(self.cli("monitors", "test", "cart refuses", "--send", "on-call", "-o", "json").stdout)["tests"]
        self.assertEqual([("on-call", False, True, True, 202)],
                         [tuple(one[key] for key in ("receiver", "routed", "sent", "taken", "status")) for one in tests])
        (_, _), (_, trigger), (_, resolve) = self.heard()
        self.assertEqual(("trigger", "resolve"), (trigger["event_action"], resolve["event_action"]))
        self.assertEqual(trigger["dedup_key"], resolve["dedup_key"])
        self.assertIn("TEST", trigger["payload"]["summary"])
        self.receiver.failures.append(500)
        failed = self.cli("monitors", "test", "baseline/failure_ratio", "--send", "team", status=1).stdout
        self.assertIn("failed: the receiver answered 500: rollup_error", failed)
        self.assertEqual(2, self.daemon.metric('millrace_notifications_tested_total{receiver="team"}'))
        self.assertEqual(0, self.daemon.metric('millrace_notifications_total{receiver="team"}'))

    def test_what_is_no_test_is_refused_and_more_than_three_at_once_too(self):
        self.start()
        for body, status, word in (('{"monitor": "nobody"}', 404, "in force"), ("{}", 400, "monitor"),
                                   ('{"monitor": "cart refuses", "receiver": "nobody"}', 404, "no receiver"),
                                   ('{"monitor": "baseline/speed"}', 404, "baseline/"), ('{"monitor": 1}', 400, "names"),
                                   ('{"watch": "x"}', 400, "accepted"), ("[]", 400, "object"), ("{", 400, "object")):
            with self.subTest(body=body):
                answer = self.ask(body)
                self.assertEqual(status, answer[0])
                self.assertIn(word, answer[1]["detail"])
        self.assertEqual(415, self.ask('{"monitor": "cart refuses"}', kind="text/plain")[0])
        self.cli("monitors", "test", "--send", status=2)
        self.cli("monitors", "get", "cart refuses", "--send", status=2)
        self.cli("monitors", "test", "a", "b", status=2)
        self.assertEqual([], self.heard())
        address = self.daemon.api
        for _ in range(3):
            self.assertEqual(200, self.ask('{"monitor": "cart refuses", "receiver": "on-call"}')[0])
        status, problem, headers = self.ask('{"monitor": "cart refuses"}')
        self.assertEqual((429, True), (status, 1 <= int(headers["retry-after"]) <= 10), problem)
        monitors = records.module("monitors")
        with grpc.insecure_channel(address) as channel:
            send = channel.unary_unary("/millrace.v1.Monitors/SendTest",
                                       request_serializer=monitors.SendTestRequest.SerializeToString,
                                       response_deserializer=monitors.SendTestResponse.FromString)
            with self.assertRaises(grpc.RpcError) as refused:
                send(monitors.SendTestRequest(monitor="cart refuses"), timeout=30)
            self.assertEqual(grpc.StatusCode.RESOURCE_EXHAUSTED, refused.exception.code())

            def taken():
                try:
                    return send(monitors.SendTestRequest(monitor="cart refuses", receiver="team"), timeout=30).tests
                except grpc.RpcError:
                    return None

            test, = millraced.until(taken, WITHIN_S)
            self.assertEqual(("team", "slack", True, 200), (test.receiver, test.type, test.taken, test.status))

    def test_only_who_may_change_monitors_may_send_one(self):
        self.start('control: {token: "a token that nobody guesses"}\n')
        self.assertEqual(401, self.ask('{"monitor": "cart refuses"}')[0])
        status, _, _ = self.ask('{"monitor": "cart refuses", "receiver": "team"}',
                                Authorization="Bearer a token that nobody guesses")
        self.assertEqual((200, 1), (status, len(self.heard())))


ALERTMANAGER = shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")
FORGETS_S = 20  # longer than a restart takes on a busy machine
EVIL = 'shop/"}] <!channel>\u202e\n\\ \u00e4'
TO_ALERTMANAGER = f"""external_url: https://millrace.example
notify: {{{{allow_http: true, allow_private: true, retry_min: 20ms, retry_max: 500ms}}}}
monitors:
  - {{{{name: cart refuses, metric: failure_ratio, threshold: 0.05, server: "shop/cart*"}}}}
receivers:
  - {{{{name: am, type: alertmanager, url: "http://127.0.0.1:{{port}}/", resolve_after: {FORGETS_S}s}}}}
"""


@unittest.skipUnless(ALERTMANAGER, "not installed: prometheus-alertmanager")
class Alertmanager(unittest.TestCase):
    """What fires stays in a real Alertmanager as long as it fires, longer than that keeps what it is not told of, and no
    longer."""

    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="millrace-alertmanager-")
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        config = pathlib.Path(self.folder) / "config.yml"
        config.write_text("route: {receiver: none}\nreceivers: [{name: none}]\n")
        self.port = processes.free_port()
        self.begin()
        broker = kafka.Kafka()
        self.addCleanup(broker.stop)
        self.daemon = millraced.Millraced(broker.address, TO_ALERTMANAGER.format(port=self.port))
        self.addCleanup(self.daemon.stop)
        self.daemon.wait_ready()
        self.outbox = Outbox(broker.address)

    def begin(self):
        with open(pathlib.Path(self.folder) / "log", "ab") as log:
            self.alertmanager = processes.start(
                [ALERTMANAGER, f"--config.file={self.folder}/config.yml", f"--storage.path={self.folder}/data",
                 f"--web.listen-address=127.0.0.1:{self.port}", "--cluster.listen-address="], stdout=log, stderr=log)
        self.addCleanup(processes.end, self.alertmanager)
        self.assertTrue(millraced.until(lambda: self.get("/-/ready") is not None, WITHIN_S))

    def get(self, path):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                return answer.read()
        except OSError:
            return None

    def alerts(self):
        return {alert["labels"]["server"]: alert for alert in json.loads(self.get("/api/v2/alerts") or "[]")}

    def wait(self, *servers):
        self.assertTrue(millraced.until(lambda: set(self.alerts()) == set(servers), WITHIN_S),
                        (servers, self.alerts(), self.daemon.log()[-2000:]))

    def stays(self, server, seconds):
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.assertIn(server, self.alerts(), self.daemon.log()[-2000:])
            time.sleep(0.2)

    def test_it_has_what_fires_as_long_as_it_fires(self):
        key = episode_key("alertmanager")
        self.outbox.fire(key)
        self.wait("cart")
        alert = self.alerts()["cart"]
        self.assertEqual({"alertname": "errors", "severity": "error", "incident": key, "client": "shop", "server": "cart",
                          "port": "8080", "metric": "failure_ratio"}, alert["labels"])
        self.assertEqual("25 %", alert["annotations"]["value"])
        self.assertEqual(f"https://millrace.example/api/v1/alerts?key={key}", alert["generatorURL"])
        self.stays("cart", FORGETS_S + 5)
        self.assertGreater(self.daemon.metric('millrace_notifications_repeated_total{receiver="am"}'), 4)
        # Another cause is another alert there, and the former ends at once.
        self.outbox.write(key, 2, 0, server=EVIL)
        self.assertTrue(millraced.until(lambda: len(self.alerts()) == 1 and "cart" not in self.alerts(), WITHIN_S))
        (server, alert), = self.alerts().items()
        self.assertEqual(('shop/"}] <!channel> \\ \u00e4', "shop"), (server, alert["labels"]["namespace"]))
        # A second life goes on, and an Alertmanager that has forgotten all is told again.
        self.daemon.kill()
        self.daemon.start()
        self.daemon.wait_ready()
        self.stays(server, FORGETS_S + 5)
        processes.end(self.alertmanager)
        shutil.rmtree(f"{self.folder}/data")
        self.begin()
        self.wait(server)
        self.outbox.write(key, 3, 1, server=EVIL)
        self.wait()
        time.sleep(FORGETS_S / 2)  # two repeats
        self.wait()

    def test_without_millrace_it_is_over_in_time_and_a_test_leaves_nothing(self):
        done = subprocess.run([CLI, "monitors", "test", "cart refuses", "--send"], capture_output=True, text=True,
                              timeout=60, env={**os.environ, "MILLRACE_SERVER": f"http://{self.daemon.api}"})
        self.assertRegex(done.stdout, r"am +alertmanager +[\d.]+ s +taken\n")
        self.wait()
        self.outbox.fire(episode_key("left alone"))
        self.wait("cart")
        self.daemon.kill()
        killed = time.monotonic()
        self.wait()
        self.assertGreater(time.monotonic() - killed, FORGETS_S / 2)


TOKEN = "xoxb-17653672481-19874698323-pdFZKVeTuE8sk7oOcHrzqqgy"
TO_BOT = f"""notify: {{{{allow_http: true, allow_private: true, retry_min: 20ms, retry_max: 100ms}}}}
receivers:
  - {{{{name: team, type: slack, url: "http://127.0.0.1:{{port}}/api", token: {TOKEN}, channel: "#ops", per_minute: 60000,
     burst: 100}}}}
"""


class Slack(http.server.ThreadingHTTPServer):
    """Slack's Web API, as far as a bot that writes needs it: it keeps messages and changes them."""

    def __init__(self):
        self.messages, self.replies, self.problems, self.answers = {}, [], [], []
        slack = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle(self):
                try:
                    super().handle()
                except ConnectionError:  # a process that was killed
                    pass

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                said = json.dumps(slack.answers.pop(0) if slack.answers else slack.act(self.path, self.headers, body))
                self.send_response(200)
                self.send_header("content-length", str(len(said)))
                self.end_headers()
                self.wfile.write(said.encode())

            def log_message(self, *_):
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def act(self, path, headers, body):
        self.problems += slack_problems(body)
        if headers["authorization"] != f"Bearer {TOKEN}":
            return {"ok": False, "error": "invalid_auth"}
        if path == "/api/chat.update":
            if (body["channel"], body["ts"]) not in self.messages:
                return {"ok": False, "error": "message_not_found"}
            self.messages[body["channel"], body["ts"]] = body
            return {"ok": True, "channel": body["channel"], "ts": body["ts"], "text": body["text"]}
        if path != "/api/chat.postMessage" or body["channel"] not in ("#ops", "C0OPS"):
            return {"ok": False, "error": "channel_not_found"}
        ts = f"{1700000000 + len(self.messages) + len(self.replies)}.000100"
        if "thread_ts" in body:
            self.replies.append(body)
        else:
            self.messages["C0OPS", ts] = body
        return {"ok": True, "channel": "C0OPS", "ts": ts, "message": {"text": body["text"]}}

    def texts(self):
        return [body["text"] for body in self.messages.values()]


class Bot(unittest.TestCase):
    """One message an incident, changed as that changes, also by a process that did not write it."""

    def test_an_incident_is_one_message_with_its_story_behind_it(self):
        slack = Slack()
        self.addCleanup(slack.server_close)
        self.addCleanup(slack.shutdown)
        key, other = episode_key("bot"), episode_key("another")
        with kafka.Kafka() as broker, millraced.Millraced(broker.address, TO_BOT.format(port=slack.server_port)) as daemon:
            daemon.wait_ready()
            outbox = Outbox(broker.address)

            def wait(condition):
                self.assertTrue(millraced.until(condition, WITHIN_S), (slack.messages, slack.replies, daemon.log()[-2000:]))

            slack.answers += [{"ok": False, "error": "ratelimited"}, {"ok": False, "error": "internal_error"}]
            outbox.fire(key)
            wait(lambda: slack.texts() == [f"error: shop to cart: 25 % fail ({key})"])
            outbox.write(key, 2, 0)  # no news for people
            wait(lambda: daemon.metric('millrace_notifications_total{receiver="team"}') == 2)
            self.assertEqual([], slack.replies)
            outbox.write(key, 3, 0, severity=3)
            wait(lambda: len(slack.replies) == 1)
            self.assertEqual((True, "C0OPS"), (slack.replies[0]["reply_broadcast"], slack.replies[0]["channel"]))
            wait(lambda: daemon.metric('millrace_notifications_total{receiver="team"}') == 3)
            wait(lambda: daemon.metric('millrace_notifications_unrecorded{receiver="team"}') == 0)
            daemon.kill()  # nothing is under way that might come once more
            daemon.start()
            daemon.wait_ready()
            outbox.write(key, 4, 1, severity=3)
            wait(lambda: len(slack.replies) == 2)
            (at, message), = slack.messages.items()
            self.assertTrue(message["text"].startswith("Resolved: "))
            self.assertEqual({at[1]}, {reply["thread_ts"] for reply in slack.replies})
            self.assertFalse(slack.replies[1]["reply_broadcast"])
            # A message that people have deleted is written again; what the bot may not do ends it, in words.
            outbox.fire(other)
            wait(lambda: len(slack.messages) == 2)
            slack.messages.clear()
            outbox.write(other, 2, 0, severity=3)
            wait(lambda: len(slack.messages) == 1)
            wait(lambda: daemon.metric('millrace_notifications_total{receiver="team"}') == 3)  # of this life
            slack.answers.append({"ok": False, "error": "not_in_channel"})
            outbox.fire(episode_key("a third"))
            wait(lambda: daemon.metric('millrace_receiver_disabled{receiver="team"}') == 1)
            view, = json.loads(daemon.get("/api/v1/receivers")[1])["receivers"]
            self.assertEqual("slack", view["type"])
            self.assertIn("not_in_channel", view["last_error"])
            self.assertEqual([], slack.problems)
            self.assertNotIn(TOKEN, daemon.log())


if __name__ == "__main__":
    if kafka.missing():
        print("skipped: not installed:", *kafka.missing())
        sys.exit(77)
    unittest.main()
