#!/usr/bin/python3
"""Records what a real API server says of a small shop into tests/data/kube/: of each kind the answer to a list, and the
watch that follows on it while things change, as bytes of the answers' bodies. tests/kube/catalog/recorded_test.c plays them.

    /usr/bin/python3 tests/conformance/kube/record.py
"""

import http.client
import pathlib
import ssl
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "support"))
import kube

DATA = kube.ROOT / "tests" / "data" / "kube"
SHOP = "/api/v1/namespaces/shop"
SETS = "/apis/apps/v1/namespaces/shop/replicasets"
JOBS = "/apis/batch/v1/namespaces/shop/jobs"
SLICES = "/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices"
LISTS = {"namespaces": "/api/v1/namespaces", "nodes": "/api/v1/nodes", "replicasets": "/apis/apps/v1/replicasets",
         "jobs": "/apis/batch/v1/jobs", "pods": "/api/v1/pods", "services": "/api/v1/services",
         "endpointslices": "/apis/discovery.k8s.io/v1/endpointslices"}
WATCH_S = 6  # how long a watch is held; the changes take less than one
ID = "containerd://" + "0123456789abcdef" * 4


def owner(kind, name, uid, group="apps/v1"):
    return [{"apiVersion": group, "kind": kind, "name": name, "uid": uid, "controller": True}]


def status(phase, address, **container):
    return {"status": {"phase": phase, "podIP": address, "podIPs": [{"ip": address}], "containerStatuses": [
        {"name": "main", "image": "", "imageID": "", "ready": True, "restartCount": 0, "containerID": ID, "state": {},
         **container}]}}


def stamp():
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


class Shop:
    def __init__(self, lab):
        self.lab = lab

    def patch(self, path, change):
        return self.lab.ask("PATCH", path, change, kind="application/merge-patch+json")

    def replica_set(self, revision):
        name, labels = f"cart-{revision}", {"app": f"cart-{revision}"}
        return self.lab.ask("POST", SETS, {
            "metadata": {"name": name, "ownerReferences": owner("Deployment", "cart", "dep-1"), "annotations": {
                "deployment.kubernetes.io/revision": str(revision),
                "deployment.kubernetes.io/desired-replicas": "1"}},
            "spec": {"replicas": 1, "selector": {"matchLabels": labels}, "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "main", "image": f"registry.example.com/shop/cart:v{revision}"}]}}}})

    def pod(self, name, owners, image, address):
        pod = self.lab.ask("POST", f"{SHOP}/pods", {
            "metadata": {"name": name, "ownerReferences": owners, "labels": {"team": "carts"}},
            "spec": {"nodeName": "node-1", "containers": [{"name": "main", "image": image}]}})
        self.patch(f"{SHOP}/pods/{name}/status", status("Running", address))
        return pod

    def slice(self, pod, address):
        return {"metadata": {"name": "cart-1", "labels": {"kubernetes.io/service-name": "cart"}}, "addressType": "IPv4",
                "endpoints": [{"addresses": [address], "targetRef": {
                    "kind": "Pod", "namespace": "shop", "name": pod["metadata"]["name"],
                    "uid": pod["metadata"]["uid"]}}], "ports": [{"port": 8080}]}

    def open(self):
        self.lab.ask("POST", "/api/v1/namespaces", {"metadata": {"name": "shop", "labels": {"team": "shop"}}})
        self.lab.ask("POST", "/api/v1/nodes", {"metadata": {"name": "node-1", "labels": {
            "topology.kubernetes.io/zone": "eu-1a", "topology.kubernetes.io/region": "eu-1"}}})
        self.patch("/api/v1/nodes/node-1/status", {"status": {
            "addresses": [{"type": "InternalIP", "address": "192.168.0.1"}],
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": stamp()}]}})
        self.first = self.replica_set(1)
        labels = {"batch": "backup"}
        self.job = self.lab.ask("POST", JOBS, {
            "metadata": {"name": "backup-1", "ownerReferences": owner("CronJob", "backup", "cron-1", "batch/v1")},
            "spec": {"template": {"metadata": {"labels": labels}, "spec": {
                "restartPolicy": "Never", "containers": [{"name": "main", "image": "backup:7"}]}}}})
        self.cart = self.pod("cart-1-a", owner("ReplicaSet", "cart-1", self.first["metadata"]["uid"]),
                             "registry.example.com/shop/cart:v1", "10.0.0.1")
        self.backup = self.pod("backup-1-a", owner("Job", "backup-1", self.job["metadata"]["uid"], "batch/v1"),
                               "backup:7", "10.0.0.2")
        self.lab.ask("POST", f"{SHOP}/services", {"metadata": {"name": "cart"}, "spec": {
            "type": "NodePort", "clusterIP": "10.96.0.80", "selector": {"app": "cart"},
            "ports": [{"name": "http", "port": 80, "targetPort": 8080, "nodePort": 30080}]}})
        self.lab.ask("POST", SLICES, self.slice(self.cart, "10.0.0.1"))

    def change(self):
        self.patch(f"{SHOP}/pods/cart-1-a/status", status("Running", "10.0.0.1", restartCount=1, lastState={
            "terminated": {"exitCode": 137, "reason": "OOMKilled", "containerID": ID,
                           "startedAt": stamp(), "finishedAt": stamp()}}))
        self.patch(f"{SHOP}/pods/backup-1-a/status", status("Succeeded", "10.0.0.2", state={
            "terminated": {"exitCode": 0, "reason": "Completed", "containerID": ID,
                           "startedAt": stamp(), "finishedAt": stamp()}}))
        second = self.replica_set(2)
        cart = self.pod("cart-2-a", owner("ReplicaSet", "cart-2", second["metadata"]["uid"]),
                        "registry.example.com/shop/cart:v2", "10.0.0.3")
        self.lab.ask("PUT", f"{SLICES}/cart-1", self.slice(cart, "10.0.0.3"))
        self.lab.ask("DELETE", f"{SHOP}/pods/cart-1-a?gracePeriodSeconds=0")
        self.patch("/api/v1/nodes/node-1", {"spec": {"unschedulable": True}})
        self.patch(f"{SHOP}/services/cart", {"spec": {"ports": [
            {"name": "http", "port": 81, "targetPort": 8080, "nodePort": 30080}]}})
        self.lab.ask("DELETE", f"{JOBS}/backup-1?propagationPolicy=Orphan")
        self.patch("/api/v1/namespaces/shop", {"metadata": {"labels": {"tier": "gold"}}})


class Recorder:
    def __init__(self, lab):
        self.lab = lab

    def get(self, target):
        """(status, body) in the server's own encoding."""
        connection = http.client.HTTPSConnection("127.0.0.1", self.lab.port, timeout=10 * WATCH_S,
                                                 context=ssl.create_default_context(cafile=self.lab.authority))
        connection.request("GET", target, headers={"Authorization": f"Bearer {self.lab.tokens['admin']}",
                                                   "Accept": "application/vnd.kubernetes.protobuf"})
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        assert answer.status == 200, body
        return body

    def list(self):
        for kind, path in LISTS.items():
            (DATA / f"{kind}.list.bin").write_bytes(self.get(f"{path}?limit=500"))
        return self.lab.ask("GET", "/api/v1/pods?limit=1")["metadata"]["resourceVersion"]

    def watch(self, kind, version):
        target = f"{LISTS[kind]}?watch=true&timeoutSeconds={WATCH_S}&allowWatchBookmarks=true"
        (DATA / f"{kind}.watch.bin").write_bytes(self.get(f"{target}&resourceVersion={version}"))


def main():
    DATA.mkdir(parents=True, exist_ok=True)
    with kube.Kube(arguments=["--endpoint-reconciler-type=none"]) as lab:  # its own address is nobody else's
        shop, recorder = Shop(lab), Recorder(lab)
        shop.open()
        version = recorder.list()
        watches = [threading.Thread(target=recorder.watch, args=(kind, version)) for kind in LISTS]
        for watch in watches:
            watch.start()
        time.sleep(1)  # they may begin later as well: they are from that version on
        shop.change()
        for watch in watches:
            watch.join()
    sizes = {path.name: path.stat().st_size for path in sorted(DATA.glob("*.bin"))}
    print(f"{sum(sizes.values())} bytes: {sizes}")


if __name__ == "__main__":
    if kube.missing():
        sys.exit(kube.missing())
    main()
