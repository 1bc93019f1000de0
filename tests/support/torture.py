#!/usr/bin/python3
"""A webhook receiver that behaves as badly as receivers can, by the path of the request:

    /slack/NAME/BEHAVIOUR/TIMES        an incoming webhook of Slack: the first TIMES requests get BEHAVIOUR (0: all),
    /pagerduty/NAME/BEHAVIOUR/TIMES    PagerDuty's Events API v2;              those after it are taken as they should be
    /slack/NAME/mix/PERCENT            so many requests of a hundred get one of MIX, by the seed's dice

    receiver = Torture(seed=7)
    receiver.url("slack", "team", "429-date", 2)
    receiver.down("team", "silent")    # an outage, until receiver.up("team")
    receiver.requests                  # [Request, ...]: every byte and time, and whether the receiver acted on it

What is taken is what a caller may rely on; whether a message whose answer is lost was acted on is left to the dice.
As a program it serves until its standard input closes and writes its requests as JSON lines:

    tests/support/torture.py [--seed N]
"""

import argparse
import base64
import dataclasses
import email.utils
import gzip
import json
import pathlib
import random
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import threading
import time

BODY_MAX = 1 << 20
SILENCE_S = 60  # longer than any sender waits
STOPPED_S = 0.05

# What is answered, whole. None: a plain success of the kind.
OK = {"slack": b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok",
      "pagerduty": b"HTTP/1.1 202 Accepted\r\nContent-Type: application/json\r\nContent-Length: 20\r\n\r\n"
                   b'{"status":"success"}'}
WORDS = {400: "invalid_payload", 401: "invalid_auth", 403: "action_prohibited", 404: "channel_not_found",
         408: "request_timeout", 410: "channel_is_archived", 413: "too_large", 429: "rate_limited",
         500: "rollup_error", 502: "bad_gateway", 503: "unavailable", 504: "gateway_timeout"}


def answer(status, body=b"", *headers):
    lines = [f"HTTP/1.1 {status} Word", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def word(status, *headers):
    return answer(status, WORDS[status].encode(), *headers)


def soon():
    return "Retry-After: " + email.utils.formatdate(time.time() + 2, usegmt=True)


# The receiver did not act, and says so: the caller may try again, or must not.
REFUSALS = {
    **{str(status): word(status) for status in WORDS},
    "ok-html": answer(200, b"<html>a proxy's page</html>"),
    "ok-false": answer(200, b'{"ok":false}'),
    "ok-more": answer(200, b"okay"),
    "204": answer(204),
    "429-seconds": word(429, "Retry-After: 1"),
    "429-negative": word(429, "Retry-After: -5"),
    "429-huge": word(429, "Retry-After: 1000000000"),
    "429-garbage": word(429, "Retry-After: soon, or later"),
    "503-seconds": word(503, "Retry-After: 1"),
    "301": answer(301, b"", "Location: http://127.0.0.1/"),
    "302": answer(302, b"", "Location: http://169.254.169.254/latest/meta-data/"),
    "307": answer(307, b"", "Location: /slack/other/ok/0"),
    "308": answer(308, b"", "Location: /"),
    "wrong-length": b"HTTP/1.1 200 OK\r\nContent-Length: 12x\r\n\r\nok",
    "bad-chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nok\r\n0\r\n\r\n",
    "nul": b"HTTP/1.1 200 OK\r\nX: \0\r\nContent-Length: 3\r\n\r\no\0k",
    "nonsense": b"\x16\x03\x01 this is no HTTP\r\n\r\n",
    "large-header": b"HTTP/1.1 200 OK\r\nX: " + b"x" * 400_000 + b"\r\nContent-Length: 2\r\n\r\nok",
    "bomb": answer(200, gzip.compress(bytes(10 << 20)), "Content-Encoding: gzip"),
    "huge": answer(200, b"x" * (10 << 20)),
}
# The caller gets no answer: whether the receiver acted nobody can tell.
SILENCES = ["silent", "reset", "close", "cut-status", "cut-headers", "cut-body", "slow", "endless", "502", "504"]
# Of one caller's tries: what passes.
MIX = ["500", "503", "408", "429", "429-seconds", "429-negative", "429-garbage", "429-date", "ok-html", "wrong-length",
       "bad-chunk", "nonsense", "huge", "reset", "close", "cut-status", "cut-headers", "cut-body", "502", "504", "silent",
       "idle"]
CLOSES = {"wrong-length", "bad-chunk", "nul", "nonsense", "large-header", "huge", "bomb"}
OUTAGES = ["503", "429", "reset", "silent"]


@dataclasses.dataclass
class Request:
    at: float
    kind: str
    receiver: str
    behaviour: str
    head: bytes
    body: bytes
    acted: bool = False
    answered: float = 0.0

    def json(self):
        return json.loads(self.body)


class Gone(Exception):
    pass


class Torture:
    def __init__(self, seed=1):
        self.seed = seed
        self.requests = []
        self.connections = 0
        self._dice = random.Random(seed)
        self._counts, self._outages = {}, {}
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._stopped = False
        self._listener = self._listen(self._serve)
        self.port = self._listener.getsockname()[1]

    def _listen(self, serve):
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", 0))
        listener.listen(512)
        threading.Thread(target=self._accept, args=(listener, serve), daemon=True).start()
        return listener

    def _accept(self, listener, serve):
        while not self._stopped:
            try:
                peer, _ = listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._talk, args=(peer, serve), daemon=True).start()

    @staticmethod
    def _talk(peer, serve):
        try:
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            serve(peer)
        except (OSError, Gone, ValueError):
            pass
        finally:
            peer.close()

    # --- what a test says ---

    def url(self, kind, name, behaviour="ok", times=0, scheme="http", port=None):
        return f"{scheme}://127.0.0.1:{port or self.port}/{kind}/{name}/{behaviour}/{times}"

    def tls(self, how):
        """The port of a TLS listener: self-signed, or one that never answers the handshake (stalled)."""
        if how == "stalled":
            return self._listen(lambda peer: time.sleep(SILENCE_S)).getsockname()[1]
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        with tempfile.TemporaryDirectory(prefix="millrace-torture-") as folder:
            key, certificate = pathlib.Path(folder) / "key", pathlib.Path(folder) / "certificate"
            subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
                            "-nodes", "-keyout", key, "-out", certificate, "-days", "1", "-subj", "/CN=127.0.0.1"],
                           check=True, capture_output=True)
            context.load_cert_chain(certificate, key)
        return self._listen(lambda peer: self._serve(context.wrap_socket(peer, server_side=True))).getsockname()[1]

    def down(self, name, mode):
        with self._lock:
            self._outages[name] = mode

    def up(self, name):
        with self._lock:
            self._outages.pop(name, None)

    def wait(self, condition, within_s):
        """Until condition() holds; it is asked at each request."""
        deadline = time.monotonic() + within_s
        with self._changed:
            while not condition():
                left = deadline - time.monotonic()
                if left <= 0:
                    return False
                self._changed.wait(min(left, 0.5))
            return True

    def of(self, name):
        with self._lock:
            return [request for request in self.requests if request.receiver == name]

    def stop(self):
        self._stopped = True
        self._listener.close()

    # --- one connection ---

    def _serve(self, peer):
        read = b""
        while True:
            while b"\r\n\r\n" not in read:
                read += self._read(peer)
            head, _, rest = read.partition(b"\r\n\r\n")
            length = int(next((line.split(b":")[1] for line in head.split(b"\r\n")
                               if line.lower().startswith(b"content-length:")), 0))
            if length > BODY_MAX:
                raise Gone
            while len(rest) < length:
                rest += self._read(peer)
            body, read = rest[:length], rest[length:]
            if not self._answer(peer, head, body):
                return

    @staticmethod
    def _read(peer):
        got = peer.recv(65536)
        if not got:
            raise Gone
        return got

    def _choose(self, kind, name, behaviour, times):
        """What this request gets, and whether the receiver acts on it. Under the lock."""
        outage = self._outages.get(name)
        if outage:
            chosen = outage
        elif behaviour == "mix":
            chosen = self._dice.choice(MIX) if self._dice.randrange(100) < times else "ok"
        else:
            count = self._counts[name] = self._counts.get(name, 0) + 1
            chosen = behaviour if times == 0 or count <= times else "ok"
        if chosen in SILENCES:
            acted = not outage and self._dice.random() < 0.5
        elif chosen in ("202", "204") and kind == "slack":
            acted = False
        else:
            acted = chosen in ("ok", "idle", "lost")
        return chosen, acted

    def _answer(self, peer, head, body):
        """False: the connection is over."""
        at = time.time()
        _, kind, name, behaviour, times = head.split()[1].decode().split("/")
        with self._changed:
            chosen, acted = self._choose(kind, name, behaviour, int(times))
            request = Request(at, kind, name, chosen, head, body, acted)
            self.requests.append(request)
            self._changed.notify_all()
        stays = self._behave(peer, kind, chosen)
        request.answered = time.time()
        return stays

    def _behave(self, peer, kind, chosen):
        whole = OK[kind]
        if chosen == "ok":
            peer.sendall(whole)
            return True
        if chosen == "429-date":
            peer.sendall(word(429, soon()))
            return True
        if chosen in REFUSALS:
            peer.sendall(REFUSALS[chosen])
            if chosen in CLOSES:
                peer.shutdown(socket.SHUT_WR)
            return chosen not in CLOSES
        if chosen == "idle":  # answered, and closed as the next request may be on its way
            peer.sendall(whole)
            time.sleep(STOPPED_S)
        elif chosen == "silent":
            self._until_gone(peer)
        elif chosen == "reset":
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif chosen.startswith("cut-"):
            end = {"cut-status": 9, "cut-headers": whole.index(b"\r\n") + 10, "cut-body": len(whole) - 1}[chosen]
            peer.sendall(whole[:end])
        elif chosen == "slow":
            for byte in whole:
                peer.sendall(bytes([byte]))
                time.sleep(1)
        elif chosen == "endless":
            peer.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            while not self._stopped:
                peer.sendall(b"4000\r\n" + b"x" * 0x4000 + b"\r\n")
        return False  # "close", "lost": without a word

    @staticmethod
    def _until_gone(peer):
        peer.settimeout(SILENCE_S)
        while peer.recv(65536):
            pass


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--seed", type=int, default=1)
    receiver = Torture(parser.parse_args().seed)
    print(json.dumps({"port": receiver.port}), flush=True)
    seen = 0

    def write():
        nonlocal seen
        for request in receiver.requests[seen:]:
            words = dataclasses.asdict(request)
            for name in ("head", "body"):
                words[name] = base64.b64encode(words[name]).decode()
            print(json.dumps(words), flush=True)
            seen += 1

    reader = threading.Thread(target=sys.stdin.read, daemon=True)
    reader.start()
    while reader.is_alive():
        write()
        reader.join(0.1)
    write()
    receiver.stop()


if __name__ == "__main__":
    main()
