#!/usr/bin/python3
"""What changed is shown, names the incident that follows it, and is taken back; what a cluster told is believed while
somebody watches it."""

import json
import pathlib
import subprocess
import sys
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import kafka
import nodes
import processes
import records
from millraced import Millraced, until

WITHIN_S = 40
HOUR_NS = 3600 * 10**9
CONTAINER = "3f4e5d6c7b8a" * 5 + "3f4e"
MONITORS = """
monitors:
  - name: refused
    metric: connections_failed
    threshold: 0
    window: 1s
    clear_after: 1s
"""


class Events(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.kafka = kafka.Kafka()

    @classmethod
    def tearDownClass(cls):
        cls.kafka.stop()

    def put(self, record):
        self.kafka.put("millrace.metadata", record.id, record.SerializeToString())

    def record(self, kind, uid, age_ns=0, cluster=""):
        now_ns = time.time_ns() - age_ns
        return records.module("metadata").Metadata(id=f"{cluster}/{kind}/{uid}/0", version=1, cluster=cluster,
                                                   from_ns=now_ns, observed_ns=now_ns)

    def change(self, uid, kind, age_s, **words):
        record = self.record("change", uid, int(age_s * 10**9))
        record.until_ns = record.from_ns
        record.change.kind, record.change.time_ns = kind, record.from_ns
        for word, value in words.items():
            setattr(record.change, word, value)
        self.put(record)
        return record

    def events(self, daemon, query=""):
        return json.loads(daemon.get(f"/api/v1/events{query}")[1])["events"]

    def texts(self, daemon, query=""):
        return [event["text"] for event in self.events(daemon, query)]

    def test_what_changed_is_shown_newest_first_and_by_time_workload_node_and_kind(self):
        self.change("a1", 1, 300, namespace="shop", workload="cart", workload_kind="Deployment", before="v3", after="v4")
        self.change("a2", 2, 200, namespace="shop", workload="cart", before="3", after="5")
        self.change("a3", 5, 100, node="n1", before="True", after="False")
        self.change("a4", 9, 50, namespace="shop", workload="pay", instance="shop/cart", after="80/tcp")
        wanted = ["new edge shop/cart -> shop/pay:80/tcp", "node n1 ready True → False",
                  "scaling shop/cart 3 → 5 replicas", "deployment shop/cart v3 → v4"]
        with Millraced(self.kafka.address) as daemon:
            daemon.wait_ready()
            self.assertTrue(until(lambda: self.texts(daemon) == wanted, WITHIN_S), self.texts(daemon))
            self.assertEqual([wanted[0], wanted[2], wanted[3]], self.texts(daemon, "?workload=shop/cart"))
            self.assertEqual([wanted[1]], self.texts(daemon, "?node=n1"))
            self.assertEqual([wanted[3]], self.texts(daemon, "?kind=deployed"))
            self.assertEqual(wanted[:2], self.texts(daemon, "?window=150s"))
            self.assertEqual(wanted[2:], self.texts(daemon, f"?end={time.time() - 150:.0f}"))
            page = json.loads(daemon.get("/api/v1/events?limit=1")[1])
            self.assertEqual((1, 3), (len(page["events"]), page["events_left_out"]))
            event = self.events(daemon, "?kind=deployed")[0]
            self.assertEqual(("Deployment", "v3", "v4"), (event["workload_kind"], event["before"], event["after"]))
            self.assertEqual(400, daemon.get("/api/v1/events?kind=nothing")[0])
            said = subprocess.run([processes.BUILD / "bin" / "millrace", "-s", f"http://{daemon.api}", "events", "shop/cart", "-n", "2"],
                                  capture_output=True, text=True, check=True)
            self.assertIn(wanted[0], said.stdout)
            self.assertIn("1 more", said.stderr)
            self.assertEqual(4, daemon.metric("millrace_events"))
            for uid in ("a1", "a2", "a3", "a4"):
                self.kafka.put("millrace.metadata", f"/change/{uid}/0", None)
            self.assertTrue(until(lambda: self.texts(daemon) == [], WITHIN_S))

    def test_an_incident_names_what_changed_before_it(self):
        pair = nodes.Pair(client="node-e", server="node-f")
        with Millraced(self.kafka.address, MONITORS) as daemon:
            daemon.wait_ready()
            pair.talk(self.kafka)

            def alert():
                pair.fail(self.kafka)
                alerts = json.loads(daemon.get("/api/v1/alerts?state=firing")[1])["alerts"]
                return alerts and alerts[0]["alert"]
            first = until(alert, WITHIN_S)
            self.assertTrue(first, daemon.log()[-3000:])
            server = first["server"]
            self.change("b1", 1, 42, workload=server, before="v3", after="v4")
            self.assertTrue(until(lambda: (alert() or first)["likely_cause"], WITHIN_S), daemon.log()[-3000:])
            cause = json.loads(daemon.get("/api/v1/alerts")[1])["alerts"][0]["alert"]["likely_cause"]
            self.assertEqual(("deployed", server, "v3", "v4"), tuple(cause[word] for word in ("kind", "workload", "before", "after")))
            summary = json.loads(daemon.get("/api/v1/alerts")[1])["alerts"][0]["alert"]["summary"]
            self.assertRegex(summary, f"; likely cause: deployment {server} v3 → v4, [0-9]+ s before$")
            written = records.read(self.kafka.address, "millrace.alerts")[-1]
            self.assertEqual("v4", written.likely_cause.after)
            self.kafka.put("millrace.metadata", "/change/b1/0", None)

    def test_what_the_pipeline_sees_itself_is_told(self):
        def run(node, version, cgroup, oom_kills):
            """The node's container as Docker runs it from now on."""
            def batch(fill, events):
                def more(message):
                    fill(message)
                    message.strings.extend([CONTAINER, f"/docker/{CONTAINER}", f"lab/cart:{version}"])
                    row = message.containers
                    row.cgroup[0], row.id[0], row.path[0], row.image[0] = cgroup, 3, 4, 5
                    row.oom_kills.append(oom_kills)
                return nodes.Node.batch(node, more, events)
            node.batch = batch

        pair, newcomer = nodes.Pair(client="node-g", server="node-h"), nodes.Pair(client="node-i", server="node-h")
        newcomer.client.container, newcomer.server = "jobs", pair.server
        run(pair.server, "v3", 77, 0)
        with Millraced(self.kafka.address, "events: {learn: 10s, gone: 20s}\n") as daemon:
            daemon.wait_ready()
            since = time.monotonic()
            wanted = {"deployment shop/cart v3 → v4", "new edge shop/jobs -> shop/cart:8080/tcp", "restart of cart on node-h",
                      "out of memory in cart on node-h"}

            def seen():
                age_s = time.monotonic() - since
                pair.talk(self.kafka)
                if age_s > 25:
                    run(pair.server, "v4", 77, 1)
                    newcomer.talk(self.kafka)
                if age_s > 30:
                    run(pair.server, "v4", 78, 1)
                return wanted <= set(self.texts(daemon))
            self.assertTrue(until(seen, 3 * WITHIN_S), (self.texts(daemon), daemon.log()[-2000:]))
            for record in records.read(self.kafka.address, "millrace.metadata"):
                if record.HasField("change") and record.change.pipeline:
                    self.kafka.put("millrace.metadata", record.id, None)
            self.assertEqual(1, daemon.metric('millrace_events_told_total{kind="restarted"}'))

    def test_what_is_older_than_it_is_kept_is_taken_out_of_the_topic(self):
        old = self.change("c1", 3, 2 * 3600, workload="old")
        with Millraced(self.kafka.address) as daemon:
            daemon.wait_ready()
            gone = lambda: daemon.metric("millrace_relay_read_total{reason=\"good\"}") and not self.texts(daemon, "?workload=old")
            self.assertTrue(until(gone, WITHIN_S), self.texts(daemon))
        read = subprocess.run(["kcat", "-q", "-C", "-e", "-b", self.kafka.address, "-t", "millrace.metadata", "-f", "%k %S\n"],
                              capture_output=True, text=True, check=True).stdout
        self.assertEqual(f"{old.id} -1", [line for line in read.splitlines() if line.startswith(old.id)][-1])

    def test_a_cluster_that_nobody_watches_any_more_is_not_confirmed(self):
        pod = self.record("pod", "p1", HOUR_NS * 3, cluster="lost")
        pod.pod.uid, pod.pod.name = "p1", "p1"
        watch = self.record("watch", "watch", HOUR_NS * 2, cluster="lost")
        watch.watch.since_ns = watch.from_ns
        self.put(pod)
        self.put(watch)
        with Millraced(self.kafka.address) as daemon:
            daemon.wait_ready()
            self.assertTrue(until(lambda: daemon.metric("millrace_relay_unwatched") == 1, WITHIN_S), daemon.log()[-3000:])
            self.assertTrue(until(lambda: "nobody has watched" in daemon.log(), WITHIN_S), daemon.log()[-3000:])
            self.assertEqual(0, daemon.metric("millrace_metadata_objects"))
            watch.observed_ns = time.time_ns()
            self.put(watch)
            self.assertEqual(1, daemon.wait_metric("millrace_metadata_objects", 1, WITHIN_S), daemon.log()[-3000:])
            self.assertTrue(until(lambda: daemon.metric("millrace_relay_unwatched") == 0, WITHIN_S))


if __name__ == "__main__":
    unittest.main()
