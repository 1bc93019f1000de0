#!/usr/bin/python3
"""Containers: a Docker daemon of the test's own, its containerd, and what three agents tell of what runs in them.

Docker's and containerd's word is the truth: container ids, names, images, labels. One agent asks Docker's socket, one
has only Docker's files, one is there to see containers that live for a moment. Cgroups that look like podman's are made
by hand, with the files that podman writes. Root, BTF, Docker and a static busybox are needed; else skipped."""

import atexit
import concurrent.futures
import ctypes
import http.server
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import agent_test
import kafka
from agent_test import run

IMAGE, SHORT, AT_ONCE, ROUNDS, WITHIN_S = "lab/base:1.2", 200, 8, 6, 60
POD_UID = "1a2b3c4d-0000-1111-2222-333344445555"
FIELDS = ("id", "name", "image", "pod", "namespace", "workload", "unit", "path", "version", "runtime", "pod_uid")


def why_not():
    missing = [name for name in ("dockerd", "docker", "containerd", "ctr", "runc", "busybox") if not shutil.which(name)]
    return agent_test.why_not() or (missing and "needs " + ", ".join(missing)) or None


def until(true, what):
    deadline = time.monotonic() + WITHIN_S
    while not true():
        if time.monotonic() > deadline:
            raise RuntimeError(f"not within {WITHIN_S} s: {what}")
        time.sleep(0.05)


class Docker:
    """A daemon without network, in a folder of its own; it ends its containers when it or we end."""

    def __init__(self, folder):
        self.folder, self.socket = folder, f"{folder}/d.sock"
        atexit.register(self.stop)
        self.start()

    def start(self):
        def end_with_parent():
            ctypes.CDLL(None).prctl(1, signal.SIGTERM)

        with open(f"{self.folder}/dockerd.log", "ab") as log:
            self.process = subprocess.Popen(
                ["dockerd", "--data-root", f"{self.folder}/root", "--exec-root", f"{self.folder}/run", "-H",
                 f"unix://{self.socket}", "--pidfile", f"{self.folder}/pid", "--iptables=false", "--ip6tables=false",
                 "--bridge=none", "--storage-driver=vfs"], stdout=log, stderr=log, preexec_fn=end_with_parent)
        until(lambda: run("docker", "-H", f"unix://{self.socket}", "version", check=False).count("Version") > 1, "dockerd")

    def __call__(self, *words, check=True):
        return run("docker", "-H", f"unix://{self.socket}", *words, check=check).strip()

    def import_image(self):
        root = pathlib.Path(self.folder, "rootfs", "bin")
        root.mkdir(parents=True)
        shutil.copy(shutil.which("busybox"), root / "busybox")
        for name in ("sh", "sleep", "true", "usleep"):
            (root / name).symlink_to("busybox")
        run("tar", "-C", root.parent, "-cf", f"{self.folder}/rootfs.tar", ".")
        self("import", f"{self.folder}/rootfs.tar", IMAGE)

    def ctr(self, *words, **options):
        return run("ctr", "-a", f"{self.folder}/run/containerd/containerd.sock", "-n", "k8s.io", *words, **options)

    @staticmethod
    def sweep():
        """Parents of cgroups that Docker and containerd leave behind; those in use stay."""
        for parent in ("docker", "ecs", "kubepods", "kubepods.slice"):
            run("find", *pathlib.Path("/sys/fs/cgroup").glob(f"*/{parent}"), "/sys/fs/cgroup/" + parent, "-depth", "-type", "d",
                "-exec", "rmdir", "{}", ";", check=False)

    def end_pods(self):
        for container in self.ctr("tasks", "ls", "-q", check=False).split():
            self.ctr("tasks", "rm", "-f", container, check=False)

    def stop(self):
        if self.process.poll() is None:
            for container in self("ps", "-aq", check=False).split():
                self("rm", "-f", container, check=False)
            self.end_pods()
            self.process.terminate()
            self.process.wait(WITHIN_S)
        self.sweep()
        atexit.unregister(self.stop)


class Containers:
    """What the batches of a node tell: of containers each row in order, of processes the cgroup by command line."""

    def __init__(self, address, node):
        self.events = agent_test.Events(address, node)
        self.rows, self.cgroup_of = [], {}
        for batch in self.events.batches:
            group, strings = batch.containers, batch.strings
            labels = iter(zip(group.labels_key, group.labels_value or [0] * len(group.labels_key)))
            for i, cgroup in enumerate(group.cgroup):
                row = {name: strings[getattr(group, name)[i]] if getattr(group, name) else "" for name in FIELDS}
                count = group.labels[i] if group.labels else 0
                row["oom_kills"] = group.oom_kills[i] if group.oom_kills else 0
                row["labels"] = {strings[key]: strings[value] for key, value in (next(labels) for _ in range(count))}
                self.rows.append((cgroup, row))
            group = batch.processes
            for i in range(len(group.pid_change)):
                if group.cgroup and group.cmdline:
                    self.cgroup_of.setdefault(strings[group.cmdline[i]], group.cgroup[i])

    def of(self, cmdline):
        """The last word on the container in which this ran."""
        return [row for cgroup, row in self.rows if cgroup == self.cgroup_of[cmdline]][-1]

    def all_of(self, container):
        return [row for _, row in self.rows if row["id"] == container]


class Tasks(http.server.BaseHTTPRequestHandler):
    """ECS's agent: one task, of a service, once its container is there."""
    container, asked = None, []

    def do_GET(self):
        self.asked.append(self.path)
        known = self.path == "/v4/lab-1/task" and self.container
        body = json.dumps({"Family": "pay", "ServiceName": "checkout", "Containers": [{"DockerId": self.container}]}).encode()
        self.send_response(200 if known else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Live(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix="mrd")
        tasks = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Tasks)
        threading.Thread(target=tasks.serve_forever, daemon=True).start()
        cls.addClassCleanup(tasks.server_close)
        cls.addClassCleanup(tasks.shutdown)
        cls.addClassCleanup(shutil.rmtree, cls.folder, ignore_errors=True)
        broker = kafka.Kafka()
        cls.addClassCleanup(broker.stop)
        cls.docker = docker = Docker(cls.folder)
        cls.addClassCleanup(docker.stop)
        docker.import_image()
        cls.before = docker("run", "-d", "--network", "none", "--name", "before", "--label", "app=old", IMAGE, "/bin/sleep", "1001")
        off = [f"containers.storage_root={cls.folder}/storage", f"containers.storage_run={cls.folder}/storage-run",
               f"containers.containerd_root={cls.folder}/run/containerd/daemon"]
        asking = agent_test.Agent(broker.address, "asking", f"containers.docker_socket={docker.socket}", "docker.root=",
                                  f"containers.ecs_endpoint=127.0.0.1:{tasks.server_port}", *off)
        reading = agent_test.Agent(broker.address, "reading", "containers.docker_socket=", f"docker.root={cls.folder}/root",
                                   "containers.labels=app,com.docker.", "containers.ecs_endpoint=", *off)
        for agent in (asking, reading):
            cls.addClassCleanup(agent.process.kill)
        cls.run_docker()
        cls.run_containerd()
        cls.run_podman()
        time.sleep(1)
        cls.restart_docker(asking)
        time.sleep(1)
        cls.metrics = asking.metrics()
        cls.status = (asking.stop(), reading.stop())
        cls.asking = Containers(broker.address, "asking")
        cls.reading = Containers(broker.address, "reading")

    @classmethod
    def run_docker(cls):
        docker = cls.docker
        cls.web = docker("run", "-d", "--network", "none", "--name", "web", "--label", "app=web", "--label", "other=x",
                         "--label", "com.docker.compose.project=shop", "--label", "com.docker.compose.service=front",
                         "--label", "app.kubernetes.io/version=7.1", IMAGE, "/bin/sleep", "1002")
        time.sleep(0.5)
        docker("rename", "web", "renamed")
        docker("stop", "-t", "0", "renamed")
        docker("start", "renamed")
        cls.ecs = docker("run", "-d", "--network", "none", "--cgroup-parent", "/ecs/0123456789abcdef0123456789abcdef", "--label",
                         "com.amazonaws.ecs.cluster=arn:aws:ecs:eu:1:cluster/blue", "--label",
                         "com.amazonaws.ecs.task-definition-family=pay", "--label", "com.amazonaws.ecs.container-name=api", "-e",
                         "ECS_CONTAINER_METADATA_URI_V4=http://169.254.170.2/v4/lab-1", IMAGE, "/bin/sleep", "1003")
        Tasks.container = cls.ecs
        many = [word for i in range(40) for word in ("--label", f"l{i:02}={i}")]
        cls.many = docker("run", "-d", "--network", "none", *many, IMAGE, "/bin/sleep", "1004")
        cls.run_storms()

    @classmethod
    def run_storms(cls):
        """SHORT containers of a moment, AT_ONCE under way; some of longer life that are renamed, stopped and started meanwhile."""
        docker = cls.docker
        cls.stormy = [docker("run", "-d", "--network", "none", "--name", f"storm{i}", IMAGE, "/bin/sleep", f"{1200 + i}")
                      for i in range(AT_ONCE)]

        def live_for_a_moment(i):
            name = f"{cls.folder}/cid{i}"
            docker("run", "--rm", "--network", "none", "--name", f"short{i}", "--cidfile", name, IMAGE, "/bin/true", f"short{i}")
            return pathlib.Path(name).read_text()

        def be_thrown_about(i):
            for turn in range(ROUNDS):
                docker("rename", f"storm{i}" if turn == 0 else f"storm{i}-{turn - 1}", f"storm{i}-{turn}")
                docker("restart" if turn % 2 else "stop", "-t", "0", cls.stormy[i])
                docker("start", cls.stormy[i])

        with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
            thrown = [pool.submit(be_thrown_about, i) for i in range(AT_ONCE // 2)]
            cls.short = list(pool.map(live_for_a_moment, range(SHORT)))
            for each in thrown:
                each.result()
        cls.greedy = docker("run", "-d", "--network", "none", "--name", "greedy", "--memory", "16m", "--memory-swap", "16m", IMAGE,
                            "/bin/sh", "-c", "sleep 2; x=a; while :; do x=$x$x; done")
        until(lambda: docker("inspect", "-f", "{{.State.OOMKilled}} {{.State.Running}}", cls.greedy) == "true false", "out of memory")

    @classmethod
    def run_containerd(cls):
        """As the kubelet's containerd: its namespace, annotations and cgroup, with both cgroup drivers."""
        cls.docker("save", "-o", f"{cls.folder}/image.tar", IMAGE)
        cls.docker.ctr("images", "import", f"{cls.folder}/image.tar")
        image = cls.docker.ctr("images", "ls", "-q").split()[0]
        under = POD_UID.replace("-", "_")
        cls.pods = {}
        for number, cgroup in ((1, "/kubepods/burstable/pod" + POD_UID + "/{}"),
                               (2, f"/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{under}.slice/cri-containerd-{{}}.scope")):
            container = os.urandom(32).hex()
            said = {"container-name": f"main{number}", "image-name": "registry/app:3.4", "sandbox-name": "app-5f-x2",
                    "sandbox-namespace": "prod", "sandbox-uid": POD_UID}
            words = [word for key, value in said.items() for word in ("--annotation", f"io.kubernetes.cri.{key}={value}")]
            cls.docker.ctr("run", "-d", *words, "--cgroup", cgroup.format(container), image, container, "/bin/sleep", f"110{number}")
            cls.pods[number] = container
        time.sleep(0.5)

    @classmethod
    def run_podman(cls):
        cls.podman = "9" * 64
        listed = pathlib.Path(cls.folder, "storage", "overlay-containers")
        listed.mkdir(parents=True)
        (listed / "containers.json").write_text(json.dumps([{"id": cls.podman, "names": ["tool"], "metadata": json.dumps(
            {"image-name": "quay.io/tool:9", "name": "tool"})}]))
        trees = [path for path in ("/sys/fs/cgroup/memory", "/sys/fs/cgroup/unified", "/sys/fs/cgroup")
                 if os.path.exists(f"{path}/cgroup.procs")]
        places = [f"{tree}/mrlab{os.getpid()}/libpod-{cls.podman}.scope/container" for tree in trees]
        enter = "; ".join(f"mkdir -p {place}; echo $$ > {place}/cgroup.procs" for place in places)
        run("/bin/sh", "-c", f"{enter}; exec busybox true podman-{os.getpid()}")
        for place in places:
            for path in (place, os.path.dirname(place), os.path.dirname(os.path.dirname(place))):
                os.rmdir(path)

    @classmethod
    def restart_docker(cls, agent):
        cls.docker.end_pods()
        cls.docker.process.terminate()
        cls.docker.process.wait(WITHIN_S)
        until(lambda: agent.metrics()["millrace_agent_docker_connected"] == "0", "Docker is seen to be gone")
        cls.docker.start()
        until(lambda: agent.metrics()["millrace_agent_docker_connected"] == "1", "Docker is seen again")
        cls.after = cls.docker("run", "-d", "--network", "none", "--name", "after", IMAGE, "/bin/sleep", "1005")

    def expect(self, told, cmdline, **wanted):
        row = told.of(cmdline)
        self.assertEqual({name: row[name] for name in wanted}, wanted)
        return row

    def test_the_agents_end_well_and_read_no_directory_for_an_event(self):
        self.assertEqual(self.status, (0, 0))
        self.assertEqual(self.asking.events.batches[-1].dropped_ring, 0)
        self.assertEqual(int(self.metrics["millrace_agent_cgroup_walks_total"]), 1)
        self.assertEqual(int(self.metrics["millrace_agent_cgroups_evicted_total"]), 0)

    def test_docker_says_what_runs_before_and_after_it_was_asked(self):
        for told, label in ((self.asking, {"app": "old"}), (self.reading, {"app": "old"})):
            self.expect(told, "/bin/sleep 1001", id=self.before, name="before", image=IMAGE, runtime="docker", labels=label)
        self.expect(self.asking, "/bin/sleep 1005", id=self.after, name="after", image=IMAGE, runtime="docker")
        self.assertGreaterEqual(int(self.metrics["millrace_agent_docker_connects_total"]), 2)

    def test_a_container_has_its_labels_project_service_and_version(self):
        row = self.expect(self.asking, "/bin/sleep 1002", id=self.web, namespace="shop", workload="front", version="7.1")
        self.assertEqual(row["labels"], {"app": "web", "other": "x", "com.docker.compose.project": "shop",
                                         "com.docker.compose.service": "front", "app.kubernetes.io/version": "7.1"})
        row = self.expect(self.reading, "/bin/sleep 1002", id=self.web, namespace="shop", workload="front", version="7.1")
        self.assertNotIn("other", row["labels"])
        self.assertEqual(row["labels"]["app"], "web")

    def test_a_new_name_is_told_again(self):
        names = [row["name"] for row in self.asking.all_of(self.web) if row["name"]]
        self.assertEqual((names[0], names[-1]), ("web", "renamed"))

    def test_ecs_tasks_are_known_by_their_service_or_else_by_their_labels(self):
        for told, workload in ((self.asking, "checkout"), (self.reading, "pay")):
            self.expect(told, "/bin/sleep 1003", id=self.ecs, name="api", namespace="blue", workload=workload, runtime="ecs")
        self.assertEqual(set(Tasks.asked), {"/v4/lab-1/task"})

    def test_of_too_many_labels_the_first_are_told_and_the_rest_counted(self):
        self.assertEqual(len(self.asking.of("/bin/sleep 1004")["labels"]), 32)
        self.assertGreaterEqual(int(self.metrics["millrace_agent_container_labels_left_out_total"]), 8)

    def test_containers_of_a_moment_are_known_by_path_name_and_image(self):
        for i, container in enumerate(self.short):
            row = self.expect(self.asking, f"/bin/true short{i}", id=container, name=f"short{i}", image=IMAGE)
            self.assertTrue(row["path"].endswith(container), row["path"])
            self.assertEqual(self.reading.of(f"/bin/true short{i}")["id"], container)

    def test_in_a_storm_of_stops_starts_and_names_each_cgroup_is_told_with_its_container(self):
        for i in range(AT_ONCE // 2):
            rows = [row for row in self.asking.all_of(self.stormy[i]) if row["path"].endswith(self.stormy[i])]
            cgroups = {cgroup for cgroup, row in self.asking.rows if row["id"] == self.stormy[i]
                       and row["path"].endswith(self.stormy[i])}
            self.assertGreaterEqual(len(cgroups), ROUNDS)  # one of each start
            self.assertEqual(f"storm{i}-{ROUNDS - 1}", rows[-1]["name"])
            for cgroup in cgroups:
                self.assertEqual(IMAGE, [row for other, row in self.asking.rows if other == cgroup][-1]["image"])

    def test_an_end_for_want_of_memory_is_told_with_its_container(self):
        self.assertEqual([self.greedy], sorted({row["id"] for _, row in self.asking.rows if row["oom_kills"]}))

    def test_a_pods_container_is_known_by_containerds_files(self):
        for number, container in self.pods.items():
            for told in (self.asking, self.reading):
                self.expect(told, f"/bin/sleep 110{number}", id=container, name=f"main{number}", image="registry/app:3.4",
                            pod="app-5f-x2", namespace="prod", pod_uid=POD_UID, runtime="containerd")

    def test_podmans_container_is_known_by_its_files(self):
        self.expect(self.asking, f"busybox true podman-{os.getpid()}", id=self.podman, name="tool", image="quay.io/tool:9",
                    runtime="podman")


if __name__ == "__main__":
    reason = why_not()
    if reason:
        print(f"skipped: {reason}")
        sys.exit(agent_test.SKIPPED)
    unittest.main(verbosity=2)
