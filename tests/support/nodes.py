"""Nodes that publish batches of events as agents do: a client and a server that talk to each other over TCP.

    pair = Pair()
    pair.talk(kafka, connections=10, tx_bytes=100, rx_bytes=1000)  # opened and closed, both ends told
    pair.fail(kafka, connections=5)                                 # refused, told by the client's node
    pair.tx_bytes, pair.rx_bytes, pair.connections                  # what the outputs must add up to
"""

import hashlib
import hmac
import os
import pathlib
import subprocess
import tempfile
import time

import records

PRODUCE_WITHIN_S = 20
CLIENT_PORT_FIRST = 20000
SERVER_PORT = 8080
REFUSED = 4
NORMAL = 1
PARTITIONS = 16


def node_key(secret, node):
    """As agent/batch/seal.c: HKDF-SHA-256 without salt, one block."""
    extracted = hmac.new(bytes(32), secret, hashlib.sha256).digest()
    return hmac.new(extracted, b"millrace.node " + node.encode() + b"\x01", hashlib.sha256).digest()


def sealed(value, secret, node):
    mac = hmac.new(node_key(secret, node), value, hashlib.sha256).digest()
    return value + b"\xfa\x07\x20" + mac


def partition_of(node):
    return hashlib.sha256(node.encode()).digest()[0] % PARTITIONS


def produce(kafka, node, values):
    """Values of any bytes, in order, into the node's partition. True when the broker has them all."""
    with tempfile.TemporaryDirectory(prefix="millrace-values-") as folder:
        paths = []
        for number, value in enumerate(values):
            paths.append(pathlib.Path(folder) / f"{number:06}")
            paths[-1].write_bytes(value)
        words = ["kcat", "-q", "-P", "-b", kafka.address, "-t", "millrace.events", "-z", "zstd", "-k", node,
                 "-p", str(partition_of(node)), "-X", "message.timeout.ms=10000", *paths]
        return subprocess.run(words, timeout=PRODUCE_WITHIN_S, stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL).returncode == 0


class Node:
    def __init__(self, name, address, container):
        self.name, self.container = name, container
        self.address = bytes(10) + b"\xff\xff" + bytes(map(int, address.split(".")))
        self.boot_id = os.urandom(16)
        self.epoch = int.from_bytes(os.urandom(8), "little")
        self.sequence = self.events = 0
        self.cgroup = 77

    def batch(self, fill, events):
        """A Batch with header and dictionaries; fill(batch) adds groups of that many events."""
        now_ns = time.time_ns()
        batch = records.module("events").Batch(
            node=self.name, version=1, boot_id=self.boot_id, epoch=self.epoch, sequence=self.sequence,
            first_event=self.events, events=events + 1, base_time_us=now_ns // 1000,
            sent_boottime_ns=time.clock_gettime_ns(time.CLOCK_BOOTTIME), sent_realtime_ns=now_ns,
            zone=f"zone-{self.name[-1]}", agent_version="test", scan_period_ms=100,
            strings=["", self.container, "shop"])
        containers = batch.containers
        containers.cgroup.append(self.cgroup)
        for column, value in (("name", 1), ("pod", 1), ("namespace", 2), ("workload", 1)):
            getattr(containers, column).append(value)
        for column in ("id", "image", "unit", "path", "version"):
            getattr(containers, column).append(0)
        fill(batch)
        self.sequence += 1
        self.events += events + 1
        return batch


def define(batch, slot, generation, role, local_port, remote_port):
    row = {"slot": slot, "generation": generation, "protocol": 6, "flags": 0, "role": role, "local": 0, "remote": 1,
           "local_port": local_port, "remote_port": remote_port, "pid": 0, "cgroup": 77, "age_us": 0,
           "connect_us": 300 if role == 1 else 0, "tx_bytes": 0, "rx_bytes": 0, "tx_segments": 0, "rx_segments": 0,
           "retransmits": 0, "srtt_us": 0, "min_rtt_us": 0, "dt_us": 0}
    for column, value in row.items():
        getattr(batch.definitions, column).append(value)


def close(batch, slot, reason, tx_bytes, rx_bytes):
    row = {"slot": slot, "reason": reason, "pid": 0, "tx_bytes": tx_bytes, "rx_bytes": rx_bytes,
           "tx_segments": 2, "rx_segments": 2, "retransmits": 0, "min_rtt_us": 100,
           "connect_us": 300 if reason == REFUSED else 0, "dt_us": 0}
    for column, value in row.items():
        getattr(batch.closes, column).append(value)


class Pair:
    def __init__(self, secret=None, client="node-a", server="node-b"):
        self.secret = secret
        self.client = Node(client, "192.0.2.1", "web")
        self.server = Node(server, "192.0.2.2", "cart")
        self.connections = self.failed = self.tx_bytes = self.rx_bytes = 0
        self.events = 0

    def encoded(self, node, batch):
        value = batch.SerializeToString()
        return sealed(value, self.secret, node.name) if self.secret else value

    def _one(self, node, peer, fill, events):
        def with_addresses(batch):
            batch.addresses = node.address + peer.address
            fill(batch)
        self.events += events + 1
        return self.encoded(node, node.batch(with_addresses, events))

    def talk_values(self, connections, tx_bytes, rx_bytes):
        """[client's record, server's record]: connections that were opened and closed, ended in the same batch."""
        first = self.connections + self.failed

        def client(batch):
            for i in range(connections):
                define(batch, i, first + i, 1, CLIENT_PORT_FIRST + (first + i) % 40000, SERVER_PORT)
                close(batch, i, NORMAL, tx_bytes, rx_bytes)

        def server(batch):
            for i in range(connections):
                define(batch, i, first + i, 2, SERVER_PORT, CLIENT_PORT_FIRST + (first + i) % 40000)
                close(batch, i, NORMAL, rx_bytes, tx_bytes)

        self.connections += connections
        self.tx_bytes += connections * tx_bytes
        self.rx_bytes += connections * rx_bytes
        return [self._one(self.client, self.server, client, 2 * connections),
                self._one(self.server, self.client, server, 2 * connections)]

    def fail_value(self, connections):
        first = self.connections + self.failed

        def fill(batch):
            for i in range(connections):
                define(batch, i, first + i, 1, CLIENT_PORT_FIRST + (first + i) % 40000, SERVER_PORT)
                close(batch, i, REFUSED, 0, 0)

        self.failed += connections
        return self._one(self.client, self.server, fill, 2 * connections)

    def talk(self, kafka, connections=10, tx_bytes=100, rx_bytes=1000):
        client, server = self.talk_values(connections, tx_bytes, rx_bytes)
        assert produce(kafka, self.client.name, [client]) and produce(kafka, self.server.name, [server])

    def fail(self, kafka, connections=5):
        assert produce(kafka, self.client.name, [self.fail_value(connections)])
