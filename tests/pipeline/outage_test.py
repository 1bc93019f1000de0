#!/usr/bin/python3
"""millraced without its broker: it says so, waits, goes on where it was, and ends when it is told to."""

import json
import pathlib
import sys
import threading
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import kafka
import nodes
import processes
import proxy
import records
from millraced import Millraced, until

ENDS_WITHIN_S = 5
READY_WITHIN_S = 20  # of the broker's coming; seconds on an idle machine
NOTICED_WITHIN_S = 15
FLOWS_WITHIN_S = 60
ROLLUPS_WITHIN_S = 40  # 10 s windows close, on a busy machine
GONE_WITHIN_S = 40  # a client notices after 15 s, and then may ask once more on another such connection
ROUNDS = 30
CONNECTIONS = 4


class Producer(threading.Thread):
    """Batches in a steady stream. One that the broker has not acknowledged is sent again as it was, so some may be in
    the log twice: their sequence numbers tell."""

    def __init__(self, broker, pair):
        super().__init__(daemon=True)
        self.broker, self.pair = broker, pair
        self.sent = 0
        self.enough = threading.Event()

    def run(self):
        while not self.enough.is_set():
            values = self.pair.talk_values(CONNECTIONS, 111, 2222)
            for node, value in zip((self.pair.client, self.pair.server), values):
                while not nodes.produce(self.broker, node.name, [value]):
                    time.sleep(0.2)
            self.sent += 1
            time.sleep(0.1)


class Outage(unittest.TestCase):
    def reasons(self, daemon):
        status, text = daemon.get("/readyz?verbose")
        return status, json.loads(text)

    def test_millraced_may_be_there_first(self):
        with kafka.Kafka() as broker:
            broker.kill()
            with Millraced(broker.address) as daemon:
                self.assertTrue(until(lambda: daemon.get("/healthz")[0] == 200, READY_WITHIN_S), daemon.log())
                status, answer = self.reasons(daemon)
                self.assertEqual(503, status)
                self.assertFalse(answer["ready"])
                told = until(lambda: broker.address in self.reasons(daemon)[1]["reasons"][0], NOTICED_WITHIN_S)
                self.assertTrue(told, self.reasons(daemon))
                self.assertEqual(0, daemon.metric("millrace_ready"))
                broker.restart()
                daemon.wait_ready(READY_WITHIN_S)
                self.assertEqual(1, daemon.metric("millrace_ready"))
                pair = nodes.Pair()
                pair.talk(broker)
                self.assertTrue(until(lambda: len(records.flows(broker.address)[0]) == pair.connections,
                                      FLOWS_WITHIN_S))

    def test_it_ends_in_time_while_it_waits_for_the_first_broker(self):
        with kafka.Kafka() as broker:
            broker.kill()
            with Millraced(broker.address) as daemon:
                self.assertTrue(until(lambda: daemon.get("/healthz")[0] == 200, READY_WITHIN_S), daemon.log())
                status, took = daemon.terminate(30)
                self.assertEqual(0, status, daemon.log()[-2000:])
                self.assertLess(took, ENDS_WITHIN_S)

    def test_it_ends_in_time_when_all_is_well_and_when_the_broker_went_away(self):
        with kafka.Kafka() as broker:
            for away in (False, True):
                with self.subTest(away=away), Millraced(broker.address) as daemon:
                    daemon.wait_ready()
                    nodes.Pair(client=f"node-a{away:d}", server=f"node-b{away:d}").talk(broker)
                    time.sleep(1)  # outputs are under way
                    if away:
                        broker.kill()
                        self.assertTrue(until(lambda: not daemon.ready(), NOTICED_WITHIN_S))
                    status, took = daemon.terminate(30)
                    self.assertEqual(0, status, daemon.log()[-2000:])
                    self.assertLess(took, ENDS_WITHIN_S)

    def test_connections_that_are_gone_without_a_word_are_made_anew(self):
        port, controller = processes.free_port(), processes.free_port()
        network = proxy.Network()
        self.addCleanup(network.close)
        front = network.listen("broker", port)
        with kafka.Kafka({"listeners": f"PLAIN://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}",
                          "controller.quorum.voters": f"1@127.0.0.1:{controller}",
                          "advertised.listeners": f"PLAIN://127.0.0.1:{front}"}) as broker, \
                Millraced(broker.address) as daemon:
            daemon.wait_ready()
            pair = nodes.Pair()
            pair.talk(broker)
            self.assertTrue(until(lambda: len(records.flows(broker.address)[0]) == pair.connections, FLOWS_WITHIN_S))
            network.half_open("broker")
            gone = time.monotonic()
            self.assertTrue(until(lambda: not daemon.ready(), NOTICED_WITHIN_S), "it did not notice")
            daemon.wait_ready(GONE_WITHIN_S)
            self.assertLess(time.monotonic() - gone, GONE_WITHIN_S)
            pair.talk(broker)
            self.assertTrue(until(lambda: len(records.flows(broker.address)[0]) == pair.connections, FLOWS_WITHIN_S))

    def test_a_broker_that_is_killed_and_comes_back_costs_nothing_that_was_in_kafka(self):
        with kafka.Kafka() as broker, Millraced(broker.address) as daemon:
            daemon.wait_ready()
            pair = nodes.Pair()
            producer = Producer(broker, pair)
            producer.start()
            self.assertTrue(until(lambda: producer.sent >= ROUNDS // 2, 60))
            broker.kill()
            self.assertTrue(until(lambda: not daemon.ready(), NOTICED_WITHIN_S), "it did not notice")
            self.assertEqual(200, daemon.get("/healthz")[0])
            self.assertIn("Kafka", self.reasons(daemon)[1]["reasons"][0])
            broker.restart()
            daemon.wait_ready(READY_WITHIN_S)
            before = producer.sent
            self.assertTrue(until(lambda: producer.sent >= before + ROUNDS // 2, 60))
            producer.enough.set()
            producer.join()

            def flows():
                return records.flows(broker.address)[0].values()
            until(lambda: len(flows()) >= pair.connections, FLOWS_WITHIN_S)
            ended = flows()
            self.assertEqual(pair.connections, len(ended))
            self.assertEqual(pair.tx_bytes, sum(flow.client.tx_bytes for flow in ended))
            self.assertEqual(pair.rx_bytes, sum(flow.client.rx_bytes for flow in ended))
            self.assertEqual(pair.tx_bytes, sum(flow.server.rx_bytes for flow in ended))
            self.assertEqual(pair.connections, sum(flow.joined for flow in ended))
            # The ledger: all that was numbered came, once.
            self.assertEqual(pair.events, daemon.wait_metric("millrace_events_issued_total", pair.events))
            self.assertEqual(0, daemon.metric("millrace_events_lost_total"))
            self.assertEqual(0, daemon.metric("millrace_outputs_failed_total"))
            metrics = daemon.metrics()
            self.assertEqual(metrics["millrace_events_received_total"],
                             metrics["millrace_events_aggregated_total"] + metrics["millrace_events_pending"]
                             + metrics["millrace_events_late_total"] + metrics["millrace_events_duplicate_total"]
                             + metrics["millrace_events_quarantined_total"]
                             + metrics["millrace_events_refused_total"])
            for counter, wanted in (("tx_bytes", pair.tx_bytes), ("rx_bytes", pair.rx_bytes)):
                until(lambda: self.rollups(broker, counter) >= wanted, ROLLUPS_WITHIN_S)
                self.assertEqual(wanted, self.rollups(broker, counter))
            self.assertEqual(0, daemon.terminate(30)[0])

    @staticmethod
    def rollups(broker, counter):
        """A counter over all 10 s windows of whole edges: in these late events count, too."""
        value = 0
        for record in records.read(broker.address, "millrace.rollups"):
            number = list(record.counters).index(counter)
            value += sum(dict(zip(row.counter, row.value)).get(number, 0) for row in record.rows
                         if row.window_ms == 10000 and row.scope == 0)
        return value


if __name__ == "__main__":
    if kafka.missing():
        print("skipped: not installed:", *kafka.missing())
        sys.exit(77)
    unittest.main()
