#!/usr/bin/python3
"""The Kubernetes client against a real API server: what it was told, put together, is what the server has, also when
the server is killed in the midst of changes, forgets old versions, refuses tokens or forbids a kind."""

import base64
import json
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "support"))
import kube
import kubedrive

PODS = 1200  # three pages
PATIENCE_S = 120


def pod(name, image="web:1"):
    return {"metadata": {"name": name, "labels": {"app": name[:3], "app.kubernetes.io/version": image[4:]},
                         "annotations": {"note": "x" * 40, "other": "y" * 2000}},
            "spec": {"nodeName": "n1", "containers": [{"name": "web", "image": image}]}}


class Copy:
    """What someone who is told has."""

    def __init__(self, drive):
        self.drive, self.taken, self.pods = drive, 0, {}

    def update(self):
        self.drive.status()  # all before it has come then
        for line in self.drive.seen[self.taken:]:
            if line["kind"] == "pods" and line["what"] == "changed":
                self.pods[line["uid"]] = (line["name"], line["version"])
            elif line["kind"] == "pods" and line["what"] == "deleted":
                del self.pods[line["uid"]]
        self.taken = len(self.drive.seen)
        return self.pods


class Client(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.make_certificates()
        self.lab = kube.Kube(users=["watcher"], arguments=["--client-ca-file", self.folder / "people.crt"])
        self.addCleanup(self.lab.stop)
        self.token = self.folder / "token"
        self.use_token("admin")

    def make_certificates(self):
        """people.crt, which signs clients' certificates, and one of an administrator: ada.crt, ada.key."""
        def openssl(*words):
            subprocess.run(["openssl", *words], cwd=self.folder, check=True, capture_output=True)

        key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        openssl("req", "-x509", *key, "-subj", "/CN=people", "-keyout", "people.key", "-out", "people.crt")
        openssl("req", *key, "-subj", "/O=system:masters/CN=ada", "-keyout", "ada.key", "-out", "ada.csr")
        openssl("x509", "-req", "-in", "ada.csr", "-CA", "people.crt", "-CAkey", "people.key", "-CAcreateserial",
                "-out", "ada.crt")

    def use_token(self, user):
        self.token.write_text(self.lab.tokens[user] + "\n")

    def watch(self, kinds="pods", **settings):
        config = kubedrive.kubeconfig(self.folder, self.lab.url, f"certificate-authority: '{self.lab.authority}'",
                                      f"tokenFile: '{self.token}'")
        return kubedrive.Drive(config, kinds, **{"retry_ms": 100, "retry_max_ms": 1000, **settings})

    def post(self, name, **more):
        return self.lab.ask("POST", "/api/v1/namespaces/default/pods", pod(name, **more))

    def delete(self, name):
        self.lab.ask("DELETE", f"/api/v1/namespaces/default/pods/{name}?gracePeriodSeconds=0")

    def in_server(self):
        return {item["metadata"]["uid"]: (item["metadata"]["name"], item["metadata"]["resourceVersion"])
                for item in self.lab.ask("GET", "/api/v1/pods")["items"]}

    def until_equal(self, copy):
        deadline = time.monotonic() + PATIENCE_S
        while copy.update() != self.in_server() and time.monotonic() < deadline:
            time.sleep(0.2)
        self.assertEqual(copy.update(), self.in_server())

    def churn(self, seed, count):
        """Pods made, changed and deleted; whoever is refused because the server is away tries again."""
        dice = random.Random(seed)
        names = []
        for number in range(count):
            try:
                if names and dice.random() < 0.4:
                    self.delete(names.pop(dice.randrange(len(names))))
                elif names and dice.random() < 0.5:
                    self.lab.ask("PATCH", f"/api/v1/namespaces/default/pods/{dice.choice(names)}",
                                 {"metadata": {"labels": {"app": f"a{number}"}}},
                                 kind="application/merge-patch+json")
                else:
                    names.append(f"churn-{seed}-{number}")
                    self.post(names[-1])
            except (OSError, kube.Refused, kube.http.client.HTTPException):
                time.sleep(0.1)

    def test_what_was_told_is_what_the_server_has_after_kills_in_the_midst_of_changes(self):
        for number in range(PODS):
            self.post(f"web-{number}")
        drive = self.watch("namespaces,nodes,replicasets,jobs,pods,services,endpointslices")
        copy = Copy(drive)
        synced = drive.until("synced", kind="pods")
        print(f"{PODS} pods in {synced['at_s']:.2f} s")
        self.assertEqual(copy.update(), self.in_server())
        seed = random.randrange(1 << 30)
        print(f"seed {seed}")
        changes = threading.Thread(target=self.churn, args=(seed, 600))
        changes.start()
        for _ in range(2):
            time.sleep(1)
            self.lab.kill()
            self.lab.restart()
        changes.join()
        self.until_equal(copy)
        last = drive.end()
        self.assertEqual({name: state["error"] for name, state in last["kinds"].items() if state["error"]}, {})
        self.assertEqual(last["malformed"], 0)

    def test_a_change_is_told_at_once_and_whole(self):
        drive = self.watch()
        drive.until("synced")
        began = time.monotonic()
        made = self.post("web-1", image="web:7")
        line = drive.until("changed")
        self.assertLess(time.monotonic() - began, 5)
        self.assertEqual(line["uid"], made["metadata"]["uid"])
        self.assertEqual(line["labels"], {"app": "web", "app.kubernetes.io/version": "7"})
        self.assertEqual(line["annotations"], {"note": "x" * 40})
        self.assertEqual(line["is"]["node"], "n1")
        self.assertEqual(line["is"]["containers"][0]["image"], "web:7")
        made["status"] = {
            "phase": "Running", "podIP": "10.0.0.7", "podIPs": [{"ip": "10.0.0.7"}, {"ip": "fd00::7"}],
            "containerStatuses": [{
                "name": "web", "image": "web:7", "imageID": "sha256:aa", "containerID": "containerd://bb", "ready": True,
                "restartCount": 2, "state": {"running": {"startedAt": "2026-01-01T00:00:05Z"}},
                "lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled",
                                             "finishedAt": "2026-01-01T00:00:04Z"}}}]}
        self.lab.ask("PUT", "/api/v1/namespaces/default/pods/web-1/status", made)
        told = drive.until("changed")["is"]
        self.assertEqual(told["addresses"], ["10.0.0.7", "fd00::7"])
        self.assertEqual(told["phase"], "Running")
        container = told["containers"][0]
        self.assertEqual((container["id"], container["restarts"], container["ended_before"], container["reason"],
                          container["finished_s"]), ("containerd://bb", 2, True, "OOMKilled", 1767225604))
        self.delete("web-1")
        self.assertEqual(drive.until("deleted")["name"], "web-1")
        drive.end()

    def test_what_happened_while_it_slept_and_the_server_forgot_is_told(self):
        for name in ("stays", "goes", "changes"):
            self.post(name)
        drive = self.watch()
        copy = Copy(drive)
        drive.until("synced")
        drive.child.send_signal(signal.SIGSTOP)
        self.lab.kill()
        self.lab.restart()
        self.delete("goes")
        self.post("comes")
        self.lab.ask("PATCH", "/api/v1/namespaces/default/pods/changes", {"metadata": {"labels": {"app": "b"}}},
                     kind="application/merge-patch+json")
        self.compact()
        self.lab.kill()
        self.lab.restart()
        drive.child.send_signal(signal.SIGCONT)
        self.until_equal(copy)
        state = drive.end()["kinds"]["pods"]
        self.assertEqual((state["expired"], state["lists"]), (1, 2))
        self.assertEqual([line["what"] for line in drive.seen], ["changed"] * 3 + ["synced"] + ["changed"] * 2 +
                         ["deleted", "synced"])

    def test_a_server_that_hangs_is_left_and_found_again(self):
        drive = self.watch("pods,nodes", stall_ms=3000)
        copy = Copy(drive)
        drive.until("synced", kind="pods")
        self.lab.server.send_signal(signal.SIGSTOP)
        state = drive.until_status("pods", lambda state: state["stalled"] and state["failures"] > 2)
        self.assertIn("no answer for 3 s", state["error"])
        self.lab.server.send_signal(signal.SIGCONT)
        self.post("web-1")
        self.until_equal(copy)
        drive.end()

    def compact(self):
        """etcd forgets all versions but the present one."""
        def ask(path, body):
            request = urllib.request.Request(self.lab.etcd_url + path, json.dumps(body).encode())
            return json.loads(urllib.request.urlopen(request, timeout=30).read())

        revision = ask("/v3/kv/range", {"key": "AA=="})["header"]["revision"]
        ask("/v3/kv/compaction", {"revision": revision, "physical": True})

    def test_a_token_that_is_revoked_is_said_and_a_new_one_is_found(self):
        drive = self.watch()
        drive.until("synced")
        self.lab.tokens["admin"] = "token-new"
        self.lab.kill()
        self.lab.set_up()
        self.lab.restart()
        state = drive.until_status("pods", lambda state: "HTTP 401" in state["error"])
        self.assertTrue(state["synced"])
        self.use_token("admin")
        self.post("web-1")
        drive.until("changed", name="web-1")
        self.assertEqual(drive.end()["kinds"]["pods"]["error"], "")

    def test_certificates_in_files_and_in_the_kubeconfig_are_as_good_as_a_token(self):
        def data(path):
            return base64.b64encode(pathlib.Path(path).read_bytes()).decode()

        for cluster, user in (
                (f"certificate-authority: '{self.lab.authority}'", "client-certificate: ada.crt, client-key: ada.key"),
                (f"certificate-authority-data: {data(self.lab.authority)}",
                 f"client-certificate-data: {data(self.folder / 'ada.crt')}, "
                 f"client-key-data: {data(self.folder / 'ada.key')}"),
                ("insecure-skip-tls-verify: true", f"token: {self.lab.tokens['admin']}")):
            drive = kubedrive.Drive(kubedrive.kubeconfig(self.folder, self.lab.url, cluster, user))
            drive.until("synced")
            drive.end()

    def test_a_server_that_another_authority_vouches_for_gets_no_token(self):
        config = kubedrive.kubeconfig(self.folder, self.lab.url, "certificate-authority: people.crt",
                                      f"tokenFile: '{self.token}'")
        drive = kubedrive.Drive(config)
        state = drive.until_status("pods", lambda state: state["failures"])
        self.assertIn("certificate", state["error"])
        drive.end()

    def test_who_may_see_pods_only_sees_pods_and_is_told_why_not_nodes(self):
        self.use_token("watcher")
        self.lab.ask("POST", "/apis/rbac.authorization.k8s.io/v1/clusterroles",
                     {"metadata": {"name": "pods"},
                      "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"]}]})
        self.lab.ask("POST", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
                     {"metadata": {"name": "pods"}, "subjects": [{"kind": "User", "name": "watcher"}],
                      "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "pods"}})
        drive = self.watch("pods,nodes")
        drive.until("synced", kind="pods")
        state = drive.until_status("nodes", lambda state: state["failures"])
        self.assertIn('listing nodes: HTTP 403: nodes is forbidden: User "watcher" cannot list', state["error"])
        self.post("web-1")
        drive.until("changed", name="web-1")
        drive.end()


if __name__ == "__main__":
    if kube.missing() or kubedrive.missing():
        print(kube.missing() or kubedrive.missing())
        sys.exit(77)
    unittest.main()
