#!/usr/bin/python3
"""What is no batch goes to millrace.deadletter with its reason and is counted; the good ones round it still count."""

import pathlib
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import kafka
import nodes
import records
from millraced import Millraced, until

SECRET = b"0123456789abcdef0123456789abcdef"
FLOWS_WITHIN_S = 40
FIELDS_MAX = 100000  # ingest/decode.h
EVENTS_MAX = 65536
HEAD_BYTES = 4096


def varint(value):
    out = bytearray()
    while value > 0x7f:
        out.append(value & 0x7f | 0x80)
        value >>= 7
    return bytes(out + bytes([value]))


class BadInput(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.kafka = kafka.Kafka()

    @classmethod
    def tearDownClass(cls):
        cls.kafka.stop()

    def node(self):
        return nodes.Node("node-bad", "192.0.2.9", "bad")

    def changed(self, change):
        """The bytes of a good batch with one change."""
        node = self.node()

        def fill(batch):
            batch.addresses = node.address + node.address
            nodes.define(batch, 0, 1, 1, 1000, 2000)
        batch = node.batch(fill, 1)
        change(batch)
        return batch.SerializeToString()

    def bad(self):
        """[(reason, record)]"""
        good = self.changed(lambda batch: None)

        def columns(batch):
            batch.definitions.tx_bytes.append(1)

        def address(batch):
            batch.definitions.local[0] = 2

        def string(batch):
            batch.containers.name[0] = 3

        def port(batch):
            batch.definitions.local_port[0] = 65536

        def future(batch):
            batch.version = 2

        def count(batch):
            batch.events = 7

        def boot(batch):
            batch.boot_id = b"short"

        def events(batch):
            batch.events = EVENTS_MAX + 1

        return [
            ("malformed", b"\x00"),
            ("malformed", b"\x0a\x08node-bad" + b"\xff" * 11),
            ("malformed", b"this is a text, not a batch, and goes on for a while"),
            ("truncated", good[:-5]),
            ("truncated", good[:len(good) // 2]),
            ("oversized", b"\x0a\x08node-bad" + b"\xaa\x01\x00" * (FIELDS_MAX + 1)),
            ("oversized", self.changed(events)),
            ("version", self.changed(future)),
            ("column_length", self.changed(columns)),
            ("field", self.changed(address)),
            ("field", self.changed(string)),
            ("field", self.changed(port)),
            ("field", self.changed(count)),
            ("field", self.changed(boot)),
            ("field", good + b"\x10" + varint(1)),  # the version a second time
        ]

    def flow_sums(self, pair, daemon):
        """(flows, tx, rx) once they are all there, or as many as came."""
        def sums():
            flows, _ = records.flows(self.kafka.address)
            mine = [flow for flow in flows.values() if flow.client.instance.node == pair.client.name]
            self.assertTrue(daemon.alive(), daemon.log()[-4000:])
            return (len(mine), sum(flow.client.tx_bytes for flow in mine), sum(flow.client.rx_bytes for flow in mine))
        until(lambda: sums()[0] >= pair.connections, FLOWS_WITHIN_S)
        return sums()

    def test_each_bad_record_has_its_reason_and_the_good_ones_count(self):
        bad = self.bad()
        pair = nodes.Pair(client="node-c", server="node-d")
        with Millraced(self.kafka.address) as daemon:
            daemon.wait_ready()
            before = len(records.read(self.kafka.address, "millrace.deadletter"))
            for _, value in bad:
                pair.talk(self.kafka, connections=3, tx_bytes=11, rx_bytes=13)
                # Into the partition of the good ones, between them.
                self.assertTrue(nodes.produce(self.kafka, pair.client.name, [value]))
            pair.talk(self.kafka, connections=3, tx_bytes=11, rx_bytes=13)
            letters = until(lambda: len(found := records.read(self.kafka.address, "millrace.deadletter")[before:])
                            >= len(bad) and found, 20) or []
            self.assertEqual([reason for reason, _ in bad], [letter.reason for letter in letters],
                             [letter.detail for letter in letters])
            for reason in sorted({reason for reason, _ in bad}):
                wanted = sum(1 for other, _ in bad if other == reason)
                name = f'millrace_deadletters_total{{reason="{reason}"}}'
                self.assertEqual(wanted, daemon.wait_metric(name, wanted), name)
            for letter, (_, value) in zip(letters, bad):
                self.assertEqual(len(value), letter.size)
                self.assertEqual(value[:HEAD_BYTES], letter.head)
                self.assertEqual("millrace.events", letter.topic)
                self.assertEqual(nodes.partition_of(pair.client.name), letter.partition)
                self.assertTrue(letter.detail)
            self.assertEqual("node-bad", letters[-1].node)
            self.assertEqual((pair.connections, pair.tx_bytes, pair.rx_bytes), self.flow_sums(pair, daemon))
            self.assertTrue(daemon.ready())
            self.assertEqual(0, daemon.terminate(15)[0])

    def test_with_a_key_only_signed_batches_count(self):
        pair = nodes.Pair(secret=SECRET, client="node-e", server="node-f")
        with Millraced(self.kafka.address, f"key: {SECRET.decode()}\n") as daemon:
            daemon.wait_ready()
            refused = 'millrace_deadletters_total{reason="unauthenticated"}'
            unsigned_before = daemon.metric(refused)
            pair.talk(self.kafka)
            good = pair.client.batch(lambda batch: None, 0).SerializeToString()
            wrong = nodes.sealed(good, b"another secret, as long", pair.client.name)
            stolen = nodes.sealed(good, SECRET, pair.server.name)  # a node may not speak for another
            tampered = bytearray(nodes.sealed(good, SECRET, pair.client.name))
            tampered[12] ^= 1
            self.assertTrue(nodes.produce(self.kafka, pair.client.name, [good, wrong, stolen, bytes(tampered)]))
            self.assertEqual(unsigned_before + 4, daemon.wait_metric(refused, unsigned_before + 4))
            pair.client.sequence -= 1  # that batch never was
            pair.client.events -= 1
            pair.talk(self.kafka)
            self.assertEqual((pair.connections, pair.tx_bytes, pair.rx_bytes), self.flow_sums(pair, daemon))
            self.assertEqual(unsigned_before + 4, daemon.metric(refused))


if __name__ == "__main__":
    if kafka.missing():
        print("skipped: not installed:", *kafka.missing())
        sys.exit(77)
    unittest.main()
