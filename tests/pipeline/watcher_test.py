#!/usr/bin/python3
"""millraced writes millrace.metadata from what a cluster's API server tells: once, by one instance, also after a restart."""

import json
import pathlib
import sys
import tempfile
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import kafka
import kubedrive
import records
from kubescript import HOLD, Answer, Server, event, page, pod
from millraced import Millraced, until

WITHIN_S = 40
KINDS = ["namespaces", "nodes", "replicasets", "jobs", "pods", "services", "endpointslices"]
QUIET = Answer(HOLD)


def by_request(listed, watched=QUIET):
    return lambda query, headers: watched if "watch" in query else listed


class Watcher(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.kafka = kafka.Kafka()

    @classmethod
    def tearDownClass(cls):
        cls.kafka.stop()

    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="millrace-watcher-")
        self.addCleanup(folder.cleanup)
        self.server = Server({kind: [by_request(Answer(page(1, [])))] for kind in KINDS})
        self.addCleanup(self.server.close)
        config = kubedrive.kubeconfig(folder.name, self.server.url)
        self.cluster = pathlib.Path(folder.name).name
        self.config = (f"kubernetes:\n  source: kubeconfig\n  kubeconfig: {config}\n  cluster: {self.cluster}\n")

    def answer(self, kind, answer):
        with self.server.lock:
            self.server.script[kind] = [answer]

    def told(self):
        """Of each pod of this test's cluster what was written of it, in order: (from, until)."""
        found = {}
        for record in records.read(self.kafka.address, "millrace.metadata"):
            if record.cluster == self.cluster and record.HasField("pod"):
                found.setdefault(record.pod.name, []).append((record.from_ns, record.until_ns))
        return found

    def written(self):
        """Records so far, but those that say that the cluster is watched."""
        watched = sum(record.HasField("watch") for record in records.read(self.kafka.address, "millrace.metadata"))
        return sum(records.ends(self.kafka.address, "millrace.metadata").values()) - watched

    def watched(self):
        """What is said of this test's cluster being watched: when it was."""
        return [record.observed_ns for record in records.read(self.kafka.address, "millrace.metadata")
                if record.cluster == self.cluster and record.HasField("watch")]

    def verbose(self, daemon):
        return json.loads(daemon.get("/readyz?verbose")[1])["kubernetes"]

    def test_pods_are_written_as_they_come_and_go_and_not_again_by_the_next_process(self):
        self.answer("pods", by_request(Answer(page(7, [pod("a", 1), pod("b", 2)])),
                                       Answer(event("ADDED", pod("c", 8)), event("DELETED", pod("b", 9)), HOLD)))
        with Millraced(self.kafka.address, self.config) as daemon:
            daemon.wait_ready()
            self.assertTrue(until(lambda: len(self.told().get("b", [])) == 2, WITHIN_S), daemon.log()[-3000:])
            first = self.told()
            self.assertEqual({"a": 1, "b": 2, "c": 1}, {name: len(lives) for name, lives in first.items()})
            self.assertEqual([0, 0], [first["a"][0][1], first["c"][0][1]])
            self.assertGreater(first["b"][1][1], first["b"][1][0])
            self.assertTrue(self.verbose(daemon)["pods"]["synced"])
            self.assertTrue(until(self.watched, WITHIN_S))
            self.assertEqual(1, daemon.metric("millrace_kubernetes_watching"))
            self.assertEqual(2, daemon.metric('millrace_kubernetes_objects{kind="pods"}'))
            self.assertEqual(0, daemon.terminate(15)[0])
            # Meanwhile c vanishes, and nobody sees it go.
            self.answer("pods", by_request(Answer(page(12, [pod("a", 1)]))))
            daemon.start()
            daemon.wait_ready()
            self.assertTrue(until(lambda: len(self.told()["c"]) == 2, WITHIN_S), daemon.log()[-3000:])
            self.assertEqual({"a": 1, "b": 2, "c": 2}, {name: len(lives) for name, lives in self.told().items()})
            self.assertGreater(self.told()["c"][1][1], 0)

    def test_what_was_taken_back_long_ago_is_neither_learned_nor_taken_back_again(self):
        record = records.module("metadata").Metadata(
            id=f"{self.cluster}/pod/uid-old/0", version=1, cluster=self.cluster, from_ns=1, until_ns=2, observed_ns=3)
        record.pod.uid, record.pod.name, record.pod.node = "uid-old", "old", "n1"
        self.kafka.put("millrace.metadata", record.id, record.SerializeToString())
        self.kafka.put("millrace.metadata", record.id, None)
        before = self.written()
        with Millraced(self.kafka.address, self.config) as daemon:
            daemon.wait_ready()
            self.assertTrue(until(lambda: self.verbose(daemon).get("pods", {}).get("synced"), WITHIN_S), daemon.log()[-3000:])
            daemon.wait_metric("millrace_metadata_written_total", 0)
            time.sleep(2.5)  # turns of the catalog
            self.assertEqual(before, self.written())

    def test_what_is_forbidden_is_told_and_the_rest_goes_on(self):
        self.answer("nodes", Answer(code=403))
        self.answer("pods", by_request(Answer(page(7, [pod("a", 1)]))))
        with Millraced(self.kafka.address, self.config) as daemon:
            daemon.wait_ready()
            self.assertTrue(until(lambda: "a" in self.told(), WITHIN_S), daemon.log()[-3000:])
            said = self.verbose(daemon)
            self.assertFalse(said["nodes"]["synced"])
            self.assertIn("403", said["nodes"]["error"])
            self.assertEqual("", said["pods"]["error"])
            self.assertTrue(until(lambda: "Kubernetes, nodes: " in daemon.log(), WITHIN_S))
            self.assertEqual(0, daemon.metric('millrace_kubernetes_synced{kind="nodes"}'))

    def test_a_file_that_cannot_be_read_is_told_once_and_tried_again(self):
        config = pathlib.Path(self.config.split("kubeconfig: ")[-1].split("\n")[0])
        text = config.read_text()
        config.unlink()
        self.answer("pods", by_request(Answer(page(7, [pod("a", 1)]))))
        with Millraced(self.kafka.address, self.config) as daemon:
            daemon.wait_ready()
            self.assertTrue(until(lambda: self.verbose(daemon)["error"], WITHIN_S))
            self.assertEqual(1, daemon.log().count("Kubernetes is not watched: "))
            config.write_text(text)
            self.assertTrue(until(lambda: "a" in self.told(), WITHIN_S), daemon.log()[-3000:])
            self.assertEqual("", self.verbose(daemon)["error"])


if __name__ == "__main__":
    unittest.main()
