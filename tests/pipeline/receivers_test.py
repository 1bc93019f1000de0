#!/usr/bin/python3
"""Receivers as people set them up, with a real Kafka: a test notification through each by the program millrace, by REST
and by gRPC, and who may ask for one."""

import json
import os
import pathlib
import subprocess
import sys
import unittest
import urllib.error
import urllib.request

import grpc

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import kafka
import millraced
import processes
import records
from receiver import ROUTING_KEY, Receiver

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


if __name__ == "__main__":
    if kafka.missing():
        print("skipped: not installed:", *kafka.missing())
        sys.exit(77)
    unittest.main()
