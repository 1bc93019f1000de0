"""Alert transitions in millrace.alerts as tasks write them, receivers of the configuration, and what these heard."""

import base64
import collections
import ctypes
import hashlib
import time

import records

ROUTING_KEY = "0123456789abcdef0123456789abcdef"
FLUSH_MS = 60000

Told = collections.namedtuple("Told", "at key stage")  # stage: firing, worse or resolved


def receiver(name, kind, url, more=""):
    key = f"    routing_key: {ROUTING_KEY}\n" if kind == "pagerduty" else ""
    return f'  - name: {name}\n    type: {kind}\n    url: "{url}"\n{key}    per_minute: 60000\n    burst: 1000\n{more}'


class Producer:
    """librdkafka's own producer: a record is on its way at once, unlike what kcat reads from a pipe."""

    COPY = 2
    BY_KEY = -1

    def __init__(self, address, topic):
        self._lib = lib = ctypes.CDLL("librdkafka.so.1")
        for name in ("conf_new", "new", "topic_new"):
            getattr(lib, f"rd_kafka_{name}").restype = ctypes.c_void_p
        error = ctypes.create_string_buffer(512)
        conf = ctypes.c_void_p(lib.rd_kafka_conf_new())
        for name, value in (("bootstrap.servers", address), ("acks", "all"), ("message.timeout.ms", "0"),
                            ("max.in.flight.requests.per.connection", "1")):
            assert lib.rd_kafka_conf_set(conf, name.encode(), value.encode(), error, 512) == 0, error.value
        self._client = ctypes.c_void_p(lib.rd_kafka_new(0, conf, error, 512))
        assert self._client, error.value
        self._topic = ctypes.c_void_p(lib.rd_kafka_topic_new(self._client, topic.encode(), None))

    def write(self, key, value):
        self._lib.rd_kafka_poll(self._client, 0)
        assert self._lib.rd_kafka_produce(self._topic, self.BY_KEY, self.COPY, value, ctypes.c_size_t(len(value)), key,
                                          ctypes.c_size_t(len(key)), None) == 0

    def flush(self):
        """All of it is in Kafka then."""
        assert self._lib.rd_kafka_flush(self._client, FLUSH_MS) == 0


class Outbox:
    """Alert transitions written to millrace.alerts, as tasks write them."""

    def __init__(self, address):
        self.alerts = records.module("alerts")
        self._producer = Producer(address, "millrace.alerts")
        self.written = 0
        self._newest = {}

    def newest(self):
        """The last episodes written of, with their newest transitions: of all partitions."""
        return list(self._newest.items())[-200:]

    def write(self, key, sequence, state, severity=2, server="cart", **more):
        now = time.time_ns()
        fields = dict(version=1, key=key, sequence=sequence, state=state, severity=severity, monitor="errors",
                      client="shop", server=server, port=8080, protocol="tcp", metric="failure_ratio", unit="ratio",
                      value=0.25, threshold=0.05, window_ms=1000, started_ns=now, pane_end_ns=now, last_event_ns=now,
                      completeness=1, summary=f"shop to cart: 25 % fail ({key})")
        self._producer.write(key.encode(), self.alerts.Alert(**{**fields, **more}).SerializeToString())
        self.written += 1
        self._newest.pop(key, None)  # to the end
        self._newest[key] = sequence

    def fire(self, key, **more):
        self.write(key, 1, 0, **more)

    def rise(self, key, **more):
        self.write(key, 2, 0, severity=3, **more)

    def resolve(self, key, **more):
        self.write(key, 3, 1, **more)

    def flush(self):
        self._producer.flush()


def episode_key(number):
    return base64.b32encode(hashlib.sha256(str(number).encode()).digest()).decode()[:52]


def told(requests):
    """What the receiver acted on, in order."""
    found = []
    for request in requests:
        if not request.acted:
            continue
        body = request.json()
        if request.kind == "pagerduty":
            key, end = body["dedup_key"], body["event_action"] == "resolve"
            worse = body["payload"]["severity"] == "critical"
        else:
            text = body["blocks"][-1]["elements"][0]["text"]
            key, end = text.split("alert `")[1].split("`")[0], body["text"].startswith("Resolved")
            worse = "Update" in body["blocks"][0]["text"]["text"]
        found.append(Told(request.at, key, "resolved" if end else "worse" if worse else "firing"))
    return found
