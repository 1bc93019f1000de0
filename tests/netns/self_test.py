#!/usr/bin/python3
"""What the agent says of itself, against what the node says: the real agent, the real kernel, a real Kafka.

Facts against uname and /proc; metadata services as their clouds document them, one of which never answers; control
records signed, forged, replayed, expired; a budget that a load breaks; a BPF program that somebody replaced. Root and
BTF are needed; without them the test is skipped."""

import contextlib
import ctypes
import hmac
import http.server
import os
import pathlib
import platform
import re
import socket
import subprocess
import sys
import threading
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "support"))
import agents
import kafka
import processes
import records
from agents import WITHIN_S
from told import SKIPPED, why_not

SECRET = b"the lab's own deployment key"
MINUTE_NS = 60 * 10**9

LOAD = r"""
import socket, sys, threading
def serve(s):
    while True:
        c, _ = s.accept(); c.recv(1); c.close()
s = socket.socket(); s.bind(("127.0.0.1", 0)); s.listen(128)
threading.Thread(target=serve, args=(s,), daemon=True).start()
print("ready", flush=True)
while True:
    c = socket.create_connection(s.getsockname()); c.send(b"x"); c.recv(1); c.close()
"""


def until(what, condition, within_s=WITHIN_S):
    deadline = time.monotonic() + within_s
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within_s} s: {what}")
        time.sleep(0.2)
    return found


class Agent(agents.Agent):
    """And what it tells, as it comes."""

    def __init__(self, brokers, node, *settings, **options):
        self.read = []
        super().__init__(brokers, node, "features.self_probe=true", *settings, **options)
        self.reader = processes.start(["kcat", "-q", "-u", "-C", "-b", brokers, "-t", "millrace.events", "-o", "beginning",
                                       "-f", "%S\n%s\n"], stdout=subprocess.PIPE)
        self.reading = threading.Thread(target=self.follow, daemon=True)
        self.reading.start()

    def follow(self):
        batch_of = records.module("events").Batch.FromString
        while line := self.reader.stdout.readline():
            batch = batch_of(self.reader.stdout.read(int(line)))
            self.reader.stdout.read(1)
            if batch.node == self.node:
                self.read.append(batch)

    def batches(self):
        """Those that came so far: at least the first."""
        until("a batch", lambda: self.read)
        return list(self.read)

    def states(self):
        return [b.agent_state for b in self.batches() if b.HasField("agent_state")]

    def state(self, condition, what, within_s=WITHIN_S):
        return until(what, lambda: next((s for s in self.states()[-1:] if condition(s)), None), within_s)

    def stop(self):
        super().stop()
        time.sleep(1)  # the last batches are read

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.stop()
        self.reader.kill()
        self.reader.wait()
        self.reading.join(WITHIN_S)
        self.reader.stdout.close()


def derived(info):  # HKDF-SHA-256, no salt, one block
    key = hmac.digest(bytes(32), SECRET, "sha256")
    return hmac.digest(key, info + b"\x01", "sha256")


def control(id, node, seconds=600, issued_ns=None, info=b"millrace.pipeline", **settings):
    module = records.module("control")
    issued = issued_ns or time.time_ns()
    record = module.Control(id=id, version=1, issued_ns=issued, expires_ns=issued + int(seconds * 1e9),
                            withdrawn=settings.pop("withdrawn", False))
    record.selector.node.append(node)
    for name, on in settings.pop("features", {}).items():
        record.settings.features.add(name=name, on=on)
    for name, value in settings.items():
        setattr(record.settings, name, value)
    return sealed(record.SerializeToString(), info)


def sealed(body, info):
    return body + b"\xfa\x07\x20" + hmac.digest(derived(info), body, "sha256") if info else body


def spawn(mark):
    """A program with a mark in its arguments, so that its record can be known."""
    subprocess.run(["/bin/true", mark], check=True)
    time.sleep(2.5)


def told(agent, mark):
    return any(mark in string for batch in agent.batches() for string in batch.strings)


class SelfTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.kafka = kafka.Kafka()

    @classmethod
    def tearDownClass(cls):
        cls.kafka.stop()

    def agent(self, *settings):  # whose node is called as the test
        return Agent(self.kafka.address, f"{self._testMethodName[5:60]}-{os.getpid()}", *settings)

    def give(self, record, key):
        path = self.kafka.folder / "record"  # any bytes: a file is one record
        path.write_bytes(record)
        subprocess.run(["kcat", "-q", "-P", "-b", self.kafka.address, "-t", "millrace.control", "-k", key, path],
                       check=True, timeout=WITHIN_S)

    def test_facts_and_state_are_in_the_first_batch_and_are_those_of_the_node(self):
        with self.agent("cloud.provider=off", "key_frame.period=8s") as agent:
            agent.state(lambda s: s.self_tests == 1, "a self-test")
            time.sleep(10)
            agent.stop()
            batches = agent.batches()
        facts, state = batches[0].node_facts, batches[0].agent_state
        self.assertEqual(platform.release(), facts.kernel)
        self.assertEqual(platform.machine(), facts.architecture)
        self.assertEqual(os.sysconf("SC_NPROCESSORS_ONLN"), facts.cpus)
        self.assertEqual(int(re.search(r"MemTotal:\s+(\d+)", pathlib.Path("/proc/meminfo").read_text())[1]) * 1024,
                         facts.memory_bytes)
        self.assertEqual(platform.freedesktop_os_release()["PRETTY_NAME"], facts.os)
        booted = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
        self.assertAlmostEqual(booted, facts.booted_us / 1e6, delta=1)
        self.assertIn("tcp", state.features)
        self.assertIn("owners", state.features)
        self.assertIn("processes", state.features)
        self.assertIn("containers", state.features)
        self.assertGreater(state.programs, 5)
        self.assertEqual(state.programs_wanted, state.programs)
        last = [b for b in batches if b.HasField("agent_state")][-1]
        self.assertEqual(0, last.agent_state.self_tests_failed)
        self.assertGreater(last.agent_state.cpu_share, 0)
        told_at = [b.sent_boottime_ns for b in batches if b.HasField("node_facts")]
        self.assertGreaterEqual(len(told_at), 2)
        self.assertLess(max(b - a for a, b in zip(told_at, told_at[1:])), 8.2e9)

    def test_labels_are_told(self):
        path = self.kafka.folder / "labels.yaml"
        path.write_text("labels: {rack: r7, team: shop}\n")
        with self.agent("cloud.provider=off") as plain:
            self.assertEqual([], list(plain.batches()[0].node_facts.labels))
        with Agent(self.kafka.address, f"labelled-{os.getpid()}", "cloud.provider=off", config=path) as agent:
            self.assertEqual({"rack": "r7", "team": "shop"},
                             {label.key: label.value for label in agent.batches()[0].node_facts.labels})

    # --- cloud metadata, each as documented ---

    def cloud(self, provider, answers, *settings):
        with metadata(answers) as (port, asked), \
                self.agent(f"cloud.provider={provider}", f"cloud.endpoint=http://127.0.0.1:{port}", *settings) as agent:
            until("the service's answer", lambda: any(b.node_facts.cloud for b in agent.batches()))
            time.sleep(1.5)  # the next heartbeat has the zone
            agent.stop()
            return agent.batches()[-1], next(b for b in reversed(agent.batches()) if b.node_facts.cloud), asked

    def test_aws_is_asked_with_a_token(self):
        document = ('{"availabilityZone": "eu-west-1b", "region": "eu-west-1", "instanceId": "i-0123456789abcdef0",'
                    ' "instanceType": "m5.large", "accountId": "123456789012"}')

        def answer(method, path, headers):
            if (method, path) == ("PUT", "/latest/api/token") and headers.get("X-aws-ec2-metadata-token-ttl-seconds"):
                return 200, "TOKEN=="
            if headers.get("X-aws-ec2-metadata-token") != "TOKEN==":
                return 401, ""
            return (200, document) if path == "/latest/dynamic/instance-identity/document" else (404, "")

        last, batch, _ = self.cloud("aws", answer)
        self.assertEqual(("aws", "i-0123456789abcdef0", "m5.large"),
                         (batch.node_facts.cloud, batch.node_facts.instance_id, batch.node_facts.instance_type))
        self.assertEqual(("eu-west-1b", "eu-west-1"), (last.zone, last.region))

    def test_gcp_is_asked_with_its_flavour_and_the_configured_zone_wins(self):
        answers = {"zone": "projects/123456/zones/us-central1-a", "id": "4520031799277581759",
                   "machine-type": "projects/123456/machineTypes/n1-standard-1"}

        def answer(method, path, headers):
            if headers.get("Metadata-Flavor") != "Google":
                return 403, "Missing Metadata-Flavor:Google header."
            return 200, answers[path.rsplit("/", 1)[1]]

        last, batch, asked = self.cloud("gcp", answer, "zone=mine")
        self.assertEqual(("gcp", "4520031799277581759", "n1-standard-1"),
                         (batch.node_facts.cloud, batch.node_facts.instance_id, batch.node_facts.instance_type))
        self.assertEqual(("mine", "us-central1"), (last.zone, last.region))
        self.assertEqual({"/computeMetadata/v1/instance/" + name for name in answers}, set(asked))

    def test_azure_is_asked_with_its_version(self):
        def answer(method, path, headers):
            if headers.get("Metadata") != "true" or "api-version=2021-02-01" not in path:
                return 400, '{"error": "Bad request"}'
            return 200, ('{"location": "westeurope", "zone": "2", "vmId": "02aab8a4-74ef-476e-8182-f6d2ba4166a6",'
                         ' "vmSize": "Standard_A3", "tags": ""}')

        last, batch, _ = self.cloud("azure", answer)
        self.assertEqual(("azure", "02aab8a4-74ef-476e-8182-f6d2ba4166a6", "Standard_A3"),
                         (batch.node_facts.cloud, batch.node_facts.instance_id, batch.node_facts.instance_type))
        self.assertEqual(("westeurope-2", "westeurope"), (last.zone, last.region))

    def test_a_service_that_never_answers_is_given_up_and_holds_nothing_up(self):
        with socket.create_server(("127.0.0.1", 0)) as silent, \
                self.agent("cloud.provider=aws", f"cloud.endpoint=http://127.0.0.1:{silent.getsockname()[1]}") as agent:
            until("given up", lambda: agent.metric("metadata_failed_total") == 1, 10)
            agent.stop()
            sent = [b.sent_boottime_ns for b in agent.batches()]
        self.assertLess(max(b - a for a, b in zip(sent, sent[1:])), 1.5e9)  # a heartbeat a second all the while
        self.assertRegex(agent.log, "metadata service of aws: .*(Timeout|no answer)")

    # --- control ---

    def test_a_control_record_is_applied_acknowledged_and_withdrawn(self):
        with open(self.kafka.folder / "key", "wb") as file:
            file.write(SECRET)
        with self.agent(f"key_file={file.name}", "cloud.provider=off") as agent:
            spawn("seen-before")
            self.give(control("slow", agent.node[:12] + "*", scan_period_ms=3000, batch_interval_ms=500,
                              features={"processes": False, "nat": False}), "slow")
            state = agent.state(lambda s: s.control_id == "slow", "the record is acknowledged")
            self.assertEqual("", state.control_error)
            self.assertNotIn("processes", state.features)
            self.assertNotIn("cmdlines", state.features)
            self.assertNotIn("nat", state.features)
            self.assertIn("owners", state.features)
            spawn("not-seen")
            until("the scan's period", lambda: agent.batches()[-1].scan_period_ms == 3000)
            seals = [b.sent_boottime_ns for b in agent.batches()[-4:]]
            self.assertGreater(min(b - a for a, b in zip(seals, seals[1:])), 0.4e9)  # the batch interval
            self.give(control("slow", agent.node[:12] + "*", withdrawn=True), "slow")
            state = agent.state(lambda s: not s.control_id and "processes" in s.features, "the withdrawal")
            self.assertIn("nat", state.features)
            spawn("seen-again")
            until("the configured period", lambda: agent.batches()[-1].scan_period_ms == 1000)
            until("processes are told again", lambda: told(agent, "seen-again"))
            self.assertTrue(told(agent, "seen-before"))
            self.assertFalse(told(agent, "not-seen"))

    def test_a_record_that_expires_falls_back_and_one_for_others_is_not_applied(self):
        with self.agent("cloud.provider=off") as agent:
            self.give(control("other", "db-*", info=None, scan_period_ms=5000), "other")
            self.give(control("short", agent.node, seconds=20, info=None, scan_period_ms=2000), "short")
            agent.state(lambda s: s.control_id == "short", "the record is acknowledged")
            agent.state(lambda s: not s.control_id, "it expires", 60)
            until("the configured period", lambda: agent.batches()[-1].scan_period_ms == 1000)
            self.assertEqual({"", "short"}, {s.control_id for s in agent.states()})

    def test_what_the_pipeline_did_not_sign_is_refused_and_told(self):
        with open(self.kafka.folder / "key", "wb") as file:
            file.write(SECRET)
        with self.agent(f"key_file={file.name}", "cloud.provider=off") as agent:
            self.give(control("mark", "db-*"), "mark")  # behind what other tests left in the topic
            until("the topic is read", lambda: agent.metric("control_records_total"))
            before = [agent.metric(f'control_refused_total{{reason="{reason}"}}')
                      for reason in ("unsigned", "forged", "replayed", "malformed")]
            node_key = b"millrace.node " + agent.node.encode()
            self.give(control("bad-1", agent.node, info=None, scan_period_ms=7000), "bad-1")
            self.give(control("bad-2", agent.node, info=node_key, scan_period_ms=7000), "bad-2")
            self.give(control("bad-3", agent.node, issued_ns=time.time_ns() - 2 * MINUTE_NS, scan_period_ms=7000),
                      "bad-3")
            self.give(sealed(b"\xff" * 40, b"millrace.pipeline"), "bad-4")
            state = agent.state(lambda s: "not a Control message" in s.control_error, "the last refusal is told")
            self.assertEqual("", state.control_id)
            after = [agent.metric(f'control_refused_total{{reason="{reason}"}}')
                     for reason in ("unsigned", "forged", "replayed", "malformed")]
            self.assertEqual([1, 1, 1, 1], [b - a for a, b in zip(before, after)])
            self.assertEqual(1000, agent.batches()[-1].scan_period_ms)
            self.give(control("good", agent.node, scan_period_ms=2000, features={"levitation": True}), "good")
            state = agent.state(lambda s: s.control_id == "good", "a good one is applied all the same")
            self.assertIn("levitation", state.control_error)

    # --- budget ---

    def test_a_load_takes_steps_down_which_come_back_when_it_ends(self):
        with namespace() as netns, self.agent("cloud.provider=off", f"scope.netns={netns}") as agent:
            until("two windows", lambda: agent.metric("cpu_share") > 0, 30)
            time.sleep(11)
            idle = agent.metric("cpu_share")
            self.give(control("tight", agent.node, info=None, cpu_budget=idle * 2.5), "tight")
            agent.state(lambda s: s.control_id == "tight", "the budget")
            load = [processes.start(["/usr/bin/python3", "-c", LOAD], netns=netns, stdout=subprocess.PIPE) for _ in range(2)]
            try:
                for process in load:
                    process.stdout.readline()
                state = agent.state(lambda s: s.level >= 2, "two steps down", 150)
                self.assertGreater(state.cpu_share, state.cpu_budget)
                self.assertIn("to keep the CPU budget counters of open sockets are read four times as rarely",
                              state.degraded)
                self.assertIn("dropped packets are not told", state.degraded)
                self.assertNotIn("drops", state.features)
                self.assertIn("tcp", state.features)
                until("a longer scan period", lambda: agent.batches()[-1].scan_period_ms >= 4000)
            finally:
                for process in load:
                    process.kill()
                    process.wait()
                    process.stdout.close()
            state = agent.state(lambda s: s.level == 0 and not s.degraded, "all steps back", 300)
            self.assertIn("drops", state.features)
            self.assertEqual(agent.metric("steps_down_total"), agent.metric("steps_up_total"))

    # --- sight ---

    def test_a_replaced_program_is_seen_within_five_seconds(self):
        with self.agent("cloud.provider=off") as agent, \
                Agent(self.kafka.address, f"other-{os.getpid()}", "cloud.provider=off") as other:
            link = scan_link(agent.process.pid)
            replace_program(link["link_id"], scan_link(other.process.pid)["prog_id"])
            replaced = time.monotonic()
            until("not ready", lambda: agent.get("/readyz") == 503, 10)
            self.assertLess(time.monotonic() - replaced, 5)
            self.assertIn("scan is not: somebody detached or replaced it", agent.page("/readyz")[1])
            state = agent.state(lambda s: s.programs == s.programs_wanted - 1, "the state")
            self.assertGreater(state.programs, 0)
            replace_program(link["link_id"], link["prog_id"])
            until("ready again", lambda: agent.get("/readyz") == 200, 10)


@contextlib.contextmanager
def namespace():
    """A network namespace of our own: what others do on this machine is not the agent's load then."""
    name = f"mrself{os.getpid()}"
    for line in subprocess.run(["ip", "netns", "list"], check=True, capture_output=True, text=True).stdout.splitlines():
        left = re.match(r"mrself(\d+)\b", line)  # by a run that was killed
        if left and not os.path.exists(f"/proc/{left[1]}"):
            subprocess.run(["ip", "netns", "delete", left[0]], check=False)
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True)
        yield name
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=True)


# --- bpf(2) by number: what bpftool would do ---

PROG_GET_FD_BY_ID, LINK_UPDATE, LINK_GET_FD_BY_ID = 13, 29, 30
SYS_BPF = {"x86_64": 321, "aarch64": 280}[platform.machine()]


def bpf(command, *numbers):
    attributes = (ctypes.c_uint32 * 32)(*numbers)
    done = ctypes.CDLL(None, use_errno=True).syscall(SYS_BPF, command, attributes, ctypes.sizeof(attributes))
    if done < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return done


def scan_link(pid):
    for path in pathlib.Path(f"/proc/{pid}/fdinfo").iterdir():
        with contextlib.suppress(FileNotFoundError):
            text = path.read_text()
            if "bpf_sk_storage_map" in text:
                return {name: int(re.search(rf"{name}:\s*(\d+)", text)[1]) for name in ("link_id", "prog_id")}
    raise AssertionError("the agent has no such iterator")


def replace_program(link_id, program_id):
    link, program = bpf(LINK_GET_FD_BY_ID, link_id), bpf(PROG_GET_FD_BY_ID, program_id)
    try:
        bpf(LINK_UPDATE, link, program)
    finally:
        os.close(link)
        os.close(program)


@contextlib.contextmanager
def metadata(answer):
    """A metadata service on loopback: answer(method, path, headers) -> status, body."""
    asked = []

    class Service(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            status, body = answer(self.command, self.path, self.headers)
            asked.append(self.path)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        do_PUT = do_GET

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Service)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_address[1], asked
    finally:
        server.shutdown()
        server.server_close()


if __name__ == "__main__":
    reason = why_not()
    if reason:
        print(f"skipped: {reason}")
        sys.exit(SKIPPED)
    unittest.main(verbosity=2)
