"""A webhook receiver that holds messages to Slack's and PagerDuty's published limits and notes when each came.

    receiver = Receiver(); receiver.slack_url; receiver.pagerduty_url
    receiver.messages -> [{"kind", "at", "body", "problems"}, ...]
"""

import http.server
import json
import re
import threading
import time

ROUTING_KEY = "0123456789abcdef0123456789abcdef"


def _length(problems, what, text, most, least=1):
    if not isinstance(text, str):
        problems.append(f"{what} is no text")
    elif not least <= len(text) <= most:
        problems.append(f"{what} has {len(text)} characters, allowed {least} to {most}")


def _mrkdwn(problems, what, text):
    rest = re.sub(r"<https?://[^<>|]+\|[^<>|]+>", "", text)
    if "<" in rest or ">" in rest:
        problems.append(f"{what} holds a raw angle bracket: {text!r}")
    if re.search(r"&(?!amp;|lt;|gt;)", rest):
        problems.append(f"{what} holds a raw ampersand: {text!r}")
    if re.search(r"[\u202a-\u202e\u2066-\u2069\x00-\x09\x0b-\x1f]", rest):
        problems.append(f"{what} holds control or bidi characters")


def _text_object(problems, what, value, most, kinds=("plain_text", "mrkdwn")):
    if not isinstance(value, dict) or value.get("type") not in kinds:
        problems.append(f"{what} is no text object")
        return
    _length(problems, what, value.get("text"), most)
    if value["type"] == "mrkdwn":
        _mrkdwn(problems, what, value["text"])


def slack_problems(body):
    problems = []
    _length(problems, "text", body.get("text"), 4000)
    _mrkdwn(problems, "text", body.get("text", ""))
    blocks = body.get("blocks", [])
    if len(blocks) > 50:
        problems.append("more than 50 blocks")
    for number, block in enumerate(blocks):
        what = f"block {number}"
        kind = block.get("type")
        if kind == "header":
            _text_object(problems, what, block.get("text"), 150, ("plain_text",))
        elif kind == "section":
            if "text" in block:
                _text_object(problems, what, block["text"], 3000)
            fields = block.get("fields", [])
            if len(fields) > 10 or ("text" not in block and not fields):
                problems.append(f"{what}: fields")
            for field in fields:
                _text_object(problems, what, field, 2000)
        elif kind == "context":
            elements = block.get("elements", [])
            if not 1 <= len(elements) <= 10:
                problems.append(f"{what}: elements")
            for element in elements:
                _text_object(problems, what, element, 3000)
        elif kind not in ("divider",):
            problems.append(f"{what}: type {kind!r}")
    return problems


def pagerduty_problems(body):
    problems = []
    if body.get("routing_key") != ROUTING_KEY:
        problems.append("routing_key")
    if body.get("event_action") not in ("trigger", "resolve", "acknowledge"):
        problems.append("event_action")
    _length(problems, "dedup_key", body.get("dedup_key"), 255)
    if body.get("event_action") == "trigger":
        payload = body.get("payload", {})
        _length(problems, "summary", payload.get("summary"), 1024)
        _length(problems, "source", payload.get("source"), 1024)
        if payload.get("severity") not in ("critical", "error", "warning", "info"):
            problems.append("severity")
        if not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", payload.get("timestamp", "")):
            problems.append("timestamp")
    return problems


class Receiver:
    def __init__(self):
        self.messages = []
        self.failures = []  # statuses to answer with before taking messages again
        self.delay_s = 0  # between taking a message and answering
        self._changed = threading.Condition()
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                at = time.time()
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                receiver._take(self, at, body)

            def log_message(self, *_):
                pass

        class Server(http.server.ThreadingHTTPServer):
            request_queue_size = 128

        self._server = Server(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self.slack_url = f"http://127.0.0.1:{self.port}/services/T000/B000/XXXX"
        self.pagerduty_url = f"http://127.0.0.1:{self.port}/v2/enqueue"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def _take(self, handler, at, raw):
        kind = "slack" if handler.path.startswith("/services/") else "pagerduty"
        with self._changed:
            status = self.failures.pop(0) if self.failures else None
        if status:
            self._answer(handler, status, b"rollup_error")
            return
        problems = []
        try:
            body = json.loads(raw)
            problems = slack_problems(body) if kind == "slack" else pagerduty_problems(body)
        except ValueError as error:
            body, problems = None, [str(error)]
        with self._changed:
            self.messages.append({"kind": kind, "at": at, "body": body, "problems": problems})
            delay_s = self.delay_s  # as it is before anybody hears of the message
            self._changed.notify_all()
        time.sleep(delay_s)
        if kind == "slack":
            self._answer(handler, 400 if problems else 200, b"invalid_payload" if problems else b"ok")
        else:
            reply = {"status": "success", "message": "Event processed", "dedup_key": (body or {}).get("dedup_key")}
            self._answer(handler, 400 if problems else 202, json.dumps(reply).encode())

    @staticmethod
    def _answer(handler, status, body):
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    def wait_for(self, wanted, within_s):
        """The first message for which wanted(message) holds, or None."""
        deadline = time.monotonic() + within_s
        with self._changed:
            while True:
                for message in self.messages:
                    if wanted(message):
                        return message
                left = deadline - time.monotonic()
                if left <= 0:
                    return None
                self._changed.wait(left)

    def stop(self):
        self._server.shutdown()
        self._server.server_close()
