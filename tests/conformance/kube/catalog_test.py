#!/usr/bin/python3
"""What the catalog tells of a real API server's cluster is that server's history: 10,000 pods of 500 deployments come
and go while the server is killed, the watcher is killed, and addresses are used again. There are no controllers, so the
test plays them; it writes down what it did and when. The watcher has the role that deploy/ ships, and no other."""

import concurrent.futures
import datetime
import json
import os
import pathlib
import queue
import subprocess
import sys
import tempfile
import threading
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "support"))
import kube
import kubedrive
import processes

PROGRAM = processes.BUILD / "tests" / "kube-watcher"
ROLE = kube.ROOT / "deploy" / "kubernetes" / "rbac.yaml"
ACCOUNT = "system:serviceaccount:millrace:millraced"
PODS = int(os.environ.get("MILLRACE_KUBE_PODS", 10000))
DEPLOYMENTS = max(1, PODS // 20)
CHURN = PODS // 20  # pods replaced while the watch is up; as many while it is cut, and while there is no watcher
WRITERS = 4
PATIENCE_S = 300
SLACK_S = 0.005  # clocks are read before and after each request, in this process


class Watcher:
    """kube-watcher with its topic; `told` is the latest record of each id, over all watchers of that topic."""

    def __init__(self, config, topic, told):
        self.told = told
        self.synced = queue.Queue()
        self.stats = queue.Queue()
        self.child = processes.start([PROGRAM, config, topic], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                     text=True)
        self.reader = threading.Thread(target=self.read)
        self.reader.start()

    def read(self):
        for text in self.child.stdout:
            line = json.loads(text)
            if "id" in line:
                self.told[line["id"]] = line
            elif "synced" in line:
                self.synced.put(line["synced"])
            else:
                self.stats.put(line)

    def until_synced(self, kinds=7):
        return [self.synced.get(timeout=PATIENCE_S) for _ in range(kinds)]

    def state(self):
        self.child.stdin.write("\n")
        self.child.stdin.flush()
        return self.stats.get(timeout=PATIENCE_S)

    def kill(self):
        self.child.kill()
        self.child.wait()
        self.reader.join()
        self.child.stdin.close()
        self.child.stdout.close()


class Pod:
    """What was done to one, between which times of our clock."""

    def __init__(self, answer, deployment, address):
        self.uid, self.name = answer["metadata"]["uid"], answer["metadata"]["name"]
        created = datetime.datetime.fromisoformat(answer["metadata"]["creationTimestamp"].replace("Z", "+00:00"))
        self.created_s = created.timestamp()
        self.deployment, self.address = deployment, address
        self.deleted = None  # (before the request, after the answer)
        self.learnt_s = None  # when the watcher can have known at the latest


class Cluster:
    def __init__(self, lab):
        self.lab, self.pods, self.numbers = lab, [], iter(range(1 << 30))
        self.free = [f"10.{i >> 16 & 255}.{i >> 8 & 255}.{i & 255}" for i in range(1, PODS + CHURN // 2)]
        self.lock = threading.Lock()
        self.sets = {}

    def set_up(self):
        for text in ROLE.read_text().split("---\n"):
            kind = next(line.split()[1] for line in text.splitlines() if line.startswith("kind:"))
            path = {"Namespace": "/api/v1/namespaces",
                    "ServiceAccount": "/api/v1/namespaces/millrace/serviceaccounts",
                    "ClusterRole": "/apis/rbac.authorization.k8s.io/v1/clusterroles",
                    "ClusterRoleBinding": "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings"}[kind]
            self.lab.ask("POST", path, text, kind="application/yaml")
        self.lab.ask("POST", "/api/v1/namespaces", {"metadata": {"name": "shop"}})
        self.all(self.deploy, range(DEPLOYMENTS))

    def all(self, act, items):
        with concurrent.futures.ThreadPoolExecutor(WRITERS) as pool:
            return list(pool.map(act, items))

    def deploy(self, number, version="v1"):
        name = f"app-{number}-{version}"
        owner = {"apiVersion": "apps/v1", "kind": "Deployment", "name": f"app-{number}", "uid": f"dep-{number}",
                 "controller": True}
        spec = {"containers": [{"name": "main", "image": f"registry.example.com/shop/app-{number}:{version}"}]}
        labels = {"app": name}
        answer = self.lab.ask("POST", "/apis/apps/v1/namespaces/shop/replicasets", {
            "metadata": {"name": name, "ownerReferences": [owner], "annotations": {
                "deployment.kubernetes.io/revision": version[1:],
                "deployment.kubernetes.io/desired-replicas": str(PODS // DEPLOYMENTS)}},
            "spec": {"replicas": PODS // DEPLOYMENTS, "selector": {"matchLabels": labels},
                     "template": {"metadata": {"labels": labels}, "spec": spec}}})
        self.sets[number] = (name, answer["metadata"]["uid"], spec)

    def create(self, deployment):
        name, uid, spec = self.sets[deployment]
        with self.lock:
            number, address = next(self.numbers), self.free.pop(0)
        owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": name, "uid": uid, "controller": True}
        path = "/api/v1/namespaces/shop/pods"
        answer = self.lab.ask("POST", path, {
            "metadata": {"name": f"{name}-{number}", "ownerReferences": [owner]},
            "spec": {**spec, "nodeName": f"node-{number % 50}"}})
        self.lab.ask("PATCH", f"{path}/{name}-{number}/status", {
            "status": {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]}},
            kind="application/merge-patch+json")
        with self.lock:
            self.pods.append(Pod(answer, deployment, address))

    def delete(self, pod):
        before_s = time.time()
        self.lab.ask("DELETE", f"/api/v1/namespaces/shop/pods/{pod.name}?gracePeriodSeconds=0")
        pod.deleted = (before_s, time.time())
        with self.lock:
            self.free.append(pod.address)

    def churn(self):
        """As many go as come; who comes takes the addresses of those that went before."""
        alive = [pod for pod in self.pods if not pod.deleted][:CHURN]
        self.all(lambda pod: (self.delete(pod), self.create(pod.deployment)), alive)
        return alive


def eventually(holds):
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


class Catalog(unittest.TestCase):
    def setUp(self):
        self.lab = kube.Kube(users=[ACCOUNT])
        self.addCleanup(self.lab.stop)
        folder = tempfile.TemporaryDirectory(prefix="millrace-watcher-")
        self.addCleanup(folder.cleanup)
        self.topic = pathlib.Path(folder.name) / "topic"
        self.config = kubedrive.kubeconfig(folder.name, self.lab.url,
                                           cluster=f"certificate-authority: '{self.lab.authority}'",
                                           user=f"token: '{self.lab.tokens[ACCOUNT]}'")
        self.told = {}
        self.cluster = Cluster(self.lab)
        self.cluster.set_up()

    def watch(self):
        watcher = Watcher(self.config, self.topic, self.told)
        self.addCleanup(watcher.kill)
        return watcher

    def record(self, pod):
        return self.told.get(f"/pod/{pod.uid}/0")

    def settled(self):
        """Everything that is true of the pods that are there has been told."""
        def told(pod):
            record = self.record(pod)
            return record and (record["until_s"] if pod.deleted else
                               record["pod"]["address"] and record["pod"]["workload_kind"] == "Deployment")
        return all(map(told, self.cluster.pods))

    def wait_until_settled(self, gone):
        """What is deleted by now was learnt by now."""
        self.assertTrue(eventually(self.settled), "the records do not come to what the server has")
        for pod in gone:
            pod.learnt_s = time.time()

    def assert_history(self):
        for pod in self.cluster.pods:
            record = self.record(pod)
            with self.subTest(pod=pod.name):
                self.assertEqual(record["pod"]["address"], pod.address)
                self.assertEqual(record["pod"]["name"], pod.name)
                self.assertEqual((record["pod"]["workload_kind"], record["pod"]["workload"]),
                                 ("Deployment", f"app-{pod.deployment}"))
                self.assertAlmostEqual(record["from_s"], pod.created_s, places=3)
                self.assertEqual(bool(record["until_s"]), bool(pod.deleted))
                self.assertNotIn(f"/pod/{pod.uid}/1", self.told)
                if pod.deleted:
                    self.assertGreaterEqual(record["until_s"], pod.deleted[0] - SLACK_S)
                    self.assertLessEqual(record["until_s"], pod.learnt_s + SLACK_S)

    def test_what_is_told_is_the_servers_history(self):
        cluster = self.cluster
        cluster.all(lambda number: cluster.create(number % DEPLOYMENTS), range(PODS))
        began_s = time.monotonic()
        watcher = self.watch()
        watcher.until_synced()
        first_sync_s = time.monotonic() - began_s
        self.wait_until_settled([])
        state = watcher.state()
        print(f"{state['pods']} pods, first sync {first_sync_s:.2f} s, {state['bytes'] / PODS:.0f} bytes a pod, "
              f"{state['records']} records", flush=True)
        self.assertEqual(state["pods"], PODS)
        self.assertEqual(set(state["errors"].values()), {""}, "the role does not suffice")
        self.assertLessEqual(state["bytes"], 1024 * PODS)

        began_s = time.monotonic()
        gone = cluster.churn()  # the watch is up
        print(f"{len(gone)} pods replaced in {time.monotonic() - began_s:.1f} s, watched", flush=True)
        self.wait_until_settled(gone)
        late_s = sorted(self.record(pod)["until_s"] - pod.deleted[1] for pod in gone)
        print(f"an end is told {late_s[len(late_s) // 2] * 1000:.0f} ms after the answer, at most {late_s[-1]:.2f} s",
              flush=True)

        self.lab.kill()  # the watch is cut, and again while pods come and go
        self.lab.restart()
        gone = cluster.churn()
        self.wait_until_settled(gone)

        watcher.kill()  # and nobody watches
        gone = cluster.churn()
        self.cluster.all(lambda number: cluster.deploy(number, "v2"), range(1))
        watcher = self.watch()
        watcher.until_synced()
        self.wait_until_settled(gone)
        self.assertEqual(watcher.state()["unreadable"], 0)
        self.assert_history()
        changes = [(line["change"]["workload"], line["change"]["before"], line["change"]["after"])
                   for line in list(self.told.values()) if "change" in line]
        self.assertEqual(changes, [("app-0", "v1", "v2")])

    def test_the_role_lets_read_what_is_watched_and_nothing_else(self):
        def may(verb, group, resource):
            answer = self.lab.ask("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", {
                "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
                "spec": {"user": ACCOUNT, "resourceAttributes": {"verb": verb, "group": group, "resource": resource,
                                                                 "namespace": "shop"}}})
            return answer["status"]["allowed"]
        watched = [("", "pods"), ("", "nodes"), ("", "services"), ("", "namespaces"), ("apps", "replicasets"),
                   ("batch", "jobs"), ("discovery.k8s.io", "endpointslices")]
        others = [(group["name"].split("/")[0] if "/" in group["name"] else "", resource["name"])
                  for group in self.groups() for resource in group["resources"]]
        self.assertGreater(len(others), 50)
        for group, resource in others:
            for verb in ("get", "list", "watch"):
                self.assertEqual(may(verb, group, resource), (group, resource) in watched, (verb, group, resource))
        for group, resource in watched:
            for verb in ("create", "update", "patch", "delete", "deletecollection"):
                self.assertFalse(may(verb, group, resource), (verb, group, resource))

    def groups(self):
        """All that the server offers: every version's name with its resources."""
        versions = ["/api/v1"] + [f"/apis/{version['groupVersion']}" for group in self.lab.ask("GET", "/apis")["groups"]
                                  for version in group["versions"]]
        for version in versions:
            answer = self.lab.ask("GET", version)
            yield {"name": answer["groupVersion"], "resources": answer["resources"]}


if __name__ == "__main__":
    if kube.missing():
        print(kube.missing())
        sys.exit(77)
    unittest.main(verbosity=2, warnings="ignore")  # connections go with their threads
