#!/usr/bin/python3
"""Signed webhooks of a real millraced: who has the secret can check them, a retry has the same id, and what they say is
what the API says."""

import base64
import hmac
import http.server
import json
import pathlib
import sys
import threading
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import kafka
from millraced import Millraced, until
from outbox import Outbox, episode_key

SECRET, FORMER = b"the secret of thirty-two bytes!!", b"what it was until last week....."
WITHIN_S = 30
CONFIG = """external_url: https://millrace.example
notify: {{allow_http: true, allow_private: true, retry_min: 20ms, retry_max: 50ms}}
receivers:
  - name: hook
    type: webhook
    url: "http://127.0.0.1:{port}/hook"
    secret: "{secret}"
    former_secret: "{former}"
    severity: warning
"""


def words(secret):
    return "whsec_" + base64.b64encode(secret).decode()


class Receiver(http.server.ThreadingHTTPServer):
    """Refuses the first two requests, then takes all."""

    def __init__(self):
        self.heard = []
        heard = self.heard

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                heard.append((self.headers, body))
                self.send_response(503 if len(heard) <= 2 else 204)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Webhook(unittest.TestCase):
    def check(self, headers, body):
        """As docs/alerts.md says how."""
        self.assertAlmostEqual(time.time(), int(headers["webhook-timestamp"]), delta=60)
        signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
        self.assertEqual([f"v1,{base64.b64encode(hmac.digest(secret, signed, 'sha256')).decode()}"
                          for secret in (SECRET, FORMER)], headers["webhook-signature"].split(" "))
        self.assertEqual("application/json", headers["content-type"])

    def test_who_has_the_secret_can_check_all_that_is_told(self):
        receiver = Receiver()
        self.addCleanup(receiver.server_close)
        self.addCleanup(receiver.shutdown)
        config = CONFIG.format(port=receiver.server_port, secret=words(SECRET), former=words(FORMER))
        with kafka.Kafka() as broker, Millraced(broker.address, config) as daemon:
            daemon.wait_ready()
            outbox = Outbox(broker.address)
            key = episode_key("webhook")
            outbox.fire(key)
            self.assertTrue(until(lambda: len(receiver.heard) >= 3, WITHIN_S), daemon.log()[-3000:])
            outbox.resolve(key)
            self.assertTrue(until(lambda: len(receiver.heard) >= 4, WITHIN_S), daemon.log()[-3000:])
            for headers, body in receiver.heard:
                self.check(headers, body)
            ids = [headers["webhook-id"] for headers, _ in receiver.heard]
            self.assertEqual([f"{key}-1"] * 3, ids[:3])
            self.assertTrue(ids[3].startswith(f"{key}-"))
            bodies = [json.loads(body) for _, body in receiver.heard]
            self.assertEqual(["alert.firing"] * 3 + ["alert.resolved"], [body["type"] for body in bodies])
            self.assertEqual(f"https://millrace.example/api/v1/alerts?key={key}", bodies[0]["url"])
            self.assertAlmostEqual(time.time(), time.mktime(time.strptime(
                bodies[3]["timestamp"].split(".")[0] + "UTC", "%Y-%m-%dT%H:%M:%S%Z")) - time.timezone, delta=60)

            def told():
                return json.loads(daemon.get(f"/api/v1/alerts?key={key}")[1])["alerts"][0]["alert"]

            self.assertTrue(until(lambda: told()["state"] == "resolved", WITHIN_S))
            self.assertEqual({**told(), "epoch": 0, "task": 0, "output": 0},
                             {**bodies[3]["data"], "epoch": 0, "task": 0, "output": 0})
            view, = json.loads(daemon.get("/api/v1/receivers")[1])["receivers"]
            self.assertEqual(("webhook", 2), (view["type"], view["delivered"]))


if __name__ == "__main__":
    unittest.main()
