#!/usr/bin/python3
"""What millrace.metadata says of an address names the flows there: it goes through the log of events, signed where that is,
and again after a restart."""

import pathlib
import sys
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import kafka
import nodes
import records
from millraced import Millraced, until

SECRET = b"0123456789abcdef0123456789abcdef"
WITHIN_S = 40


class Metadata(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.kafka = kafka.Kafka()

    @classmethod
    def tearDownClass(cls):
        cls.kafka.stop()

    def put(self, key, value):
        self.kafka.put("millrace.metadata", key, value)

    def pod(self, uid, address, workload):
        """(key, value)"""
        metadata = records.module("metadata").Metadata(
            id=f"/pod/{uid}/0", version=1, from_ns=time.time_ns() - 3600 * 10**9, observed_ns=time.time_ns())
        metadata.pod.uid, metadata.pod.namespace, metadata.pod.name = uid, "shop", f"{workload}-{uid}"
        metadata.pod.workload, metadata.pod.version = workload, "v4"
        metadata.pod.address.append(bytes(map(int, address.split("."))))
        return metadata.id, metadata.SerializeToString()

    def server_of(self, pair):
        """Of the flow of a client to whose server there is no agent: (workload, version, pod, resolution)."""
        client, _ = pair.talk_values(1, 100, 1000)
        self.assertTrue(nodes.produce(self.kafka, pair.client.name, [client]))

        def found():
            flows, _ = records.flows(self.kafka.address)
            return [flow for flow in flows.values() if flow.client.instance.node == pair.client.name]
        until(found, WITHIN_S)
        instance = found()[0].server.instance
        return instance.workload, instance.version, instance.container, instance.resolution

    def test_a_pod_is_named_by_the_topic_also_after_a_restart(self):
        key, value = self.pod("u1", "192.0.2.2", "basket")
        self.put(key, value)
        self.put("/pod/u2/0", b"\x0a\x05x")
        self.put("/pod/u3/0", self.pod("u4", "192.0.2.4", "other")[1])  # another's key
        wanted = ("shop/basket", "v4", "basket-u1", "pod")
        with Millraced(self.kafka.address, f"key: {SECRET.decode()}\n") as daemon:
            daemon.wait_ready()
            self.assertEqual(1, daemon.wait_metric("millrace_metadata_objects", 1, WITHIN_S), daemon.log()[-3000:])
            self.assertEqual(wanted, self.server_of(nodes.Pair(secret=SECRET, client="node-a")))
            for reason, count in (("good", 1), ("malformed", 1), ("id", 1)):
                self.assertEqual(count, daemon.metric(f'millrace_relay_read_total{{reason="{reason}"}}'), reason)
            self.assertEqual(1, daemon.metric("millrace_relay_records"))
            self.assertEqual(0, daemon.metric('millrace_deadletters_total{reason="unauthenticated"}'))
            self.assertEqual(0, daemon.terminate(15)[0])
            daemon.start()
            daemon.wait_ready()
            self.assertEqual(1, daemon.wait_metric("millrace_relay_told_total", 1, WITHIN_S))
            self.assertEqual(wanted, self.server_of(nodes.Pair(secret=SECRET, client="node-c")))
            self.put(key, None)
            self.assertTrue(until(lambda: daemon.metric("millrace_relay_records") == 0, WITHIN_S))

    @staticmethod
    def outside(client):
        """Whose server is at an address that no record of other tests tells of."""
        pair = nodes.Pair(client=client)
        pair.server.address = pair.server.address[:12] + bytes((198, 51, 100, 2))
        return pair

    def test_configured_ranges_are_told_and_a_changed_one_takes_the_place_of_the_former(self):
        more = "networks: {ranges: [{cidr: 198.51.0.0/16, name: far, zone: abroad}, {cidr: 198.51.100.0/24, name: %s}]}\n"
        with Millraced(self.kafka.address, more % "partner") as daemon:
            daemon.wait_ready()
            self.assertTrue(until(lambda: daemon.metric("millrace_relay_told_total") >= 2, WITHIN_S), daemon.log()[-3000:])
            self.assertTrue(until(lambda: daemon.metric("millrace_metadata_objects") >= 2, WITHIN_S))
            self.assertEqual(("partner", "", "", "range"), self.server_of(self.outside("node-e")))
            self.assertEqual(0, daemon.terminate(15)[0])
            daemon.config.write_text(daemon.config.read_text().replace("partner", "bank"))
            daemon.start()
            daemon.wait_ready()
            self.assertTrue(until(lambda: daemon.metric("millrace_relay_told_total") >= 2, WITHIN_S))
            self.assertTrue(until(lambda: daemon.metric("millrace_metadata_objects") >= 2, WITHIN_S))
            time.sleep(2)  # the record is told and its pane closed
            self.assertEqual(("bank", "", "", "range"), self.server_of(self.outside("node-f")))

    def test_what_ended_long_ago_is_told_by_nobody(self):
        for i in range(3):
            key, value = self.pod(f"ended{i}", f"192.0.2.{50 + i}", "ended")
            self.put(key, value)
            record = records.module("metadata").Metadata.FromString(value)
            record.until_ns = record.from_ns + 10**9
            record.observed_ns += 1
            self.put(key, record.SerializeToString())
        with Millraced(self.kafka.address) as daemon:
            daemon.wait_ready()
            self.assertTrue(until(lambda: sum(value for name, value in daemon.metrics().items()
                                              if name.startswith("millrace_relay_read_total")) >= 6, WITHIN_S))
            time.sleep(1)  # turns of the relay
            self.assertEqual(0, daemon.metric("millrace_relay_records"))
            self.assertEqual(0, daemon.metric("millrace_relay_told_total"))

    def test_what_is_beyond_the_limit_is_counted_and_the_rest_goes_on(self):
        for i in range(20):
            self.put(*self.pod(f"many{i}", f"192.0.2.{100 + i}", "many"))
        with Millraced(self.kafka.address, "limits: {metadata: 16}\n") as daemon:
            daemon.wait_ready()
            self.assertEqual(16, daemon.wait_metric("millrace_metadata_objects", 16, WITHIN_S), daemon.log()[-3000:])
            self.assertEqual(4, daemon.wait_metric("millrace_relay_refused_total", 4, WITHIN_S))
            self.assertEqual(16, daemon.metric("millrace_relay_records"))
            self.assertEqual(0, daemon.terminate(15)[0])


if __name__ == "__main__":
    unittest.main()
