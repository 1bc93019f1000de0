"""The whole system round the lab: a real Kafka, millraced, scoped agents and a receiver of webhooks."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))

import kafka as kafka_fixture
import ledger
import processes
import receiver as receiver_fixture
from lab import Lab

PEER = pathlib.Path(__file__).resolve().parent / "peer" / "peer.py"
PYTHON = "/usr/bin/python3"

MONITORS = """
monitors:
  - name: connections refused
    metric: connections_failed
    threshold: 0
    window: 1s
    clear_after: 1s
    severity: critical
"""


def missing():
    """A sentence when this machine cannot run the system, else None."""
    if os.geteuid() != 0:
        return "needs root: network namespaces and eBPF"
    if not pathlib.Path("/sys/kernel/btf/vmlinux").exists():
        return "needs a kernel with BTF (/sys/kernel/btf/vmlinux)"
    for program in ("ip", "iptables", "ip6tables", "curl", "nginx", "protoc"):
        if subprocess.run(["sh", "-c", f"command -v {program}"], stdout=subprocess.DEVNULL).returncode:
            return f"needs {program}: ./dev deps test"
    absent = kafka_fixture.missing()
    return f"needs {', '.join(absent)}: ./dev deps test" if absent else None


def cpu_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class System:
    """agents: {node: [lab namespaces]}, as a function of the lab."""

    def __init__(self, agents, baselines=False, keep_logs=False):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="millrace-lab-"))
        self.children = []
        self.logs = {}
        self.keep_logs = keep_logs
        self.receiver = receiver_fixture.Receiver()
        self.lab = Lab()
        self.kafka = kafka_fixture.Kafka()
        self.api = f"127.0.0.1:{processes.free_port()}"
        self.started = False
        try:
            self._start_millraced(baselines)
            self.agents = {node: self._start_agent(node, scope) for node, scope in agents(self.lab).items()}
            self._wait_ready()
            self.started = True
        except BaseException:
            self.stop()
            raise

    def _child(self, name, words, netns=None):
        self.logs[name] = self.folder / f"{name}.log"
        with open(self.logs[name], "ab") as log:
            child = processes.start(words, netns=netns, stdout=log, stderr=log)
        self.children.append(child)
        return child

    def _start_millraced(self, baselines):
        config = self.folder / "millraced.yaml"
        config.write_text(f"""
listen: {self.api}
kafka:
  brokers: ["{self.kafka.address}"]
baselines:
  enabled: {str(baselines).lower()}
notify:
  allow_http: true
  allow_private: true
receivers:
  - name: slack
    type: slack
    url: {self.receiver.slack_url}
  - name: pagerduty
    type: pagerduty
    url: {self.receiver.pagerduty_url}
    routing_key: {receiver_fixture.ROUTING_KEY}
{MONITORS}
""")
        self.config = config
        self.millraced = self._child("millraced", [processes.BUILD / "bin" / "millraced", "--config", config])

    def _start_agent(self, node, scope):
        config = self.folder / f"{node}.yaml"
        config.write_text(f"""
node: {node}
zone: zone-{node[-1]}
listen: ""
budget: {{cpu: 0}}  # figures of all that it can do
kafka:
  brokers: ["{self.kafka.address}"]
scope:
  netns: [{", ".join(scope)}]
""")
        return self._child(node, [processes.BUILD / "bin" / "millrace-agent", "--config", config])

    def get(self, path):
        with urllib.request.urlopen(f"http://{self.api}{path}", timeout=10) as answer:
            return json.load(answer)

    def _wait_ready(self, within_s=60):
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            self.check_children()
            try:
                agents = self.get("/api/v1/agents")["agents"]
                if {agent["node"] for agent in agents} >= set(self.agents) and self.get("/readyz?verbose")["ready"]:
                    return
            except (OSError, KeyError):
                pass
            time.sleep(0.2)
        raise RuntimeError("the system is not ready:\n" + self.all_logs())

    def check_children(self):
        for child in self.children:
            if child.poll() is not None:
                raise RuntimeError(f"{child.args[0]} ended with {child.returncode}:\n{self.all_logs()}")

    def all_logs(self):
        return "\n".join(f"--- {name}\n{path.read_text(errors='replace')[-3000:]}" for name, path in self.logs.items())

    def serve(self, netns, port):
        server = self.lab.start(netns, [PYTHON, PEER, "serve", port], stdout=subprocess.PIPE)
        self.children.append(server)
        assert server.stdout.readline() == b"listening\n"
        return server

    def end(self, child):
        if child in self.children:
            self.children.remove(child)
        child.send_signal(signal.SIGKILL)
        child.wait()
        if child.stdout:
            child.stdout.close()

    def peer(self, *words):
        """A client program in the client's namespace; its JSON lines."""
        out = self.lab.start(self.lab.client, [PYTHON, PEER, *words], stdout=subprocess.PIPE)
        text, _ = out.communicate(timeout=300)
        assert out.returncode == 0, f"peer {words} failed"
        return [json.loads(line) for line in text.splitlines()]

    def check_ledger(self):
        def get(path):
            with urllib.request.urlopen(f"http://{self.api}{path}", timeout=10) as answer:
                return answer.status, answer.read().decode()
        if self.millraced.poll() is None:
            ledger.check(get)

    def stop(self):
        try:
            if self.started:
                self.check_ledger()
        finally:
            self._stop()

    def _stop(self):
        for child in reversed(self.children):
            processes.end(child)
        self.children = []
        self.receiver.stop()
        self.kafka.stop()
        self.lab.stop()
        if self.keep_logs:
            print("logs in", self.folder)
        else:
            for path in sorted(self.folder.iterdir()):
                path.unlink()
            self.folder.rmdir()
