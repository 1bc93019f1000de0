#!/usr/bin/python3
"""UDP by peer: what the agent says against what the programs sent and received, and what netfilter counted.

Two namespaces on a wire; the agent in the host's. Root, BTF and cgroup2 are needed; else the test is skipped.
"""

import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time
import unittest

import agent_test
import halves
from agent_test import AGENT, SKIPPED, Agent, run
from halves import CLIENT, EXISTED, ROLE_GUESSED, SERVER, UDP
import kafka
import processes
import records

NET = 64 + os.getpid() % 128
NEAR, FAR, FAR_TOO = f"10.{NET}.11.1", f"10.{NET}.11.2", f"10.{NET}.11.3"
NEAR6, FAR6 = f"fd77:{NET}:11::1", f"fd77:{NET}:11::2"
PORT, ECHO, PREFORK, EARLY, IPERF = 7301, 7302, 7303, 7304, 7305
PEERS_MAX, MANY = 5000, 7000  # more than fit the map that each scan walks
SILENCE_S, SILENCE_ASKED_S, SCAN_S = 30, 5, 1

# Receives on every address, tells how much of whom when its input ends.
SINK = r"""
import collections, json, socket, sys, threading
s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); s.bind(("::", int(sys.argv[1])))
s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
got = collections.defaultdict(lambda: [0, 0])
def loop():
    while True:
        data, peer = s.recvfrom(1 << 16)
        row = got[f"{peer[0].removeprefix('::ffff:')} {peer[1]}"]; row[0] += len(data); row[1] += 1
threading.Thread(target=loop, daemon=True).start()
print("ready", flush=True); sys.stdin.read(); print(json.dumps(got))
"""

ECHOING = r"""
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(("", int(sys.argv[1]))); print("ready", flush=True)
while True:
    data, peer = s.recvfrom(1 << 16); s.sendto(data * 2, peer)
"""

# The socket is the parent's; children serve. Each answers with its pid.
PREFORKED = r"""
import os, socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(("", int(sys.argv[1])))
parent = os.getpid()
import ctypes
if os.fork() == 0:
    ctypes.CDLL(None).prctl(1, 9)
    while True:
        data, peer = s.recvfrom(1 << 16); s.sendto(str(os.getpid()).encode(), peer)
print("ready", flush=True); sys.stdin.read()
"""

# argv: what each prints is the local port
UNCONNECTED = r"""
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for _ in range(5): s.sendto(b"a" * 100, (sys.argv[1], int(sys.argv[3])))
for _ in range(3): s.sendto(b"b" * 200, (sys.argv[2], int(sys.argv[3])))
print(s.getsockname()[1])
"""

CONNECTED = r"""
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.connect((sys.argv[1], int(sys.argv[2])))
for _ in range(4): s.send(b"c" * 300)
print(s.getsockname()[1])
"""

IPV6 = r"""
import socket, sys
s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); s.sendto(b"d" * int(sys.argv[2]), (sys.argv[1], int(sys.argv[3])))
print(s.getsockname()[1])
"""

SEGMENTED = r"""
import socket, struct, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.connect((sys.argv[1], int(sys.argv[2])))
s.sendmsg([b"e" * 5000], [(17, 103, struct.pack("H", 1000))])  # SOL_UDP, UDP_SEGMENT
print(s.getsockname()[1])
"""

LARGE = r"""
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.sendto(b"f" * 9000, (sys.argv[1], int(sys.argv[2])))
print(s.getsockname()[1])
"""

ASK = r"""
import socket, sys, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(10)
for _ in range(int(sys.argv[3])):
    s.sendto(b"g" * 10, (sys.argv[1], int(sys.argv[2]))); answer = s.recv(1000)
print(s.getsockname()[1], answer.decode() if answer[:1].isdigit() else len(answer), flush=True)
if len(sys.argv) > 4: sys.stdin.read()
"""

# Two destinations from two threads of one socket.
BOTH = r"""
import socket, sys, threading
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
def send(to, size, count):
    for _ in range(count): s.sendto(b"h" * size, (to, int(sys.argv[3])))
threads = [threading.Thread(target=send, args=(sys.argv[1], 11, 2000)), threading.Thread(target=send, args=(sys.argv[2], 13, 3000))]
for t in threads: t.start()
for t in threads: t.join()
print(s.getsockname()[1])
"""

# Open before the agent; sends when told to.
EARLY_CLIENT = r"""
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(("", 0)); print("ready", flush=True)
sys.stdin.readline()
for _ in range(7): s.sendto(b"i" * 10, (sys.argv[1], int(sys.argv[2])))
print(s.getsockname()[1], flush=True); sys.stdin.read()
"""

SPRAY = r"""
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for i in range(int(sys.argv[2])): s.sendto(b"j", (sys.argv[1], 20000 + i))
"""


def why_not():
    missing = [program for program in ("iperf3", "iptables") if not shutil.which(program)]
    if missing:
        return "needs " + ", ".join(missing)
    if "cgroup2" not in pathlib.Path("/proc/self/mounts").read_text():
        return "needs cgroup2"
    return agent_test.why_not()


class Wire:
    """Two namespaces on a veth."""

    def __init__(self):
        self.near, self.far = (f"mr{os.getpid()}{end}" for end in ("u1", "u2"))
        self.processes = []
        self._sweep()
        for name in (self.near, self.far):
            run("ip", "netns", "add", name)
            run("ip", "-n", name, "link", "set", "lo", "up")
        run("ip", "-n", self.near, "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", self.far)
        for name, addresses in ((self.near, (f"{NEAR}/24", f"{NEAR6}/64")),
                                (self.far, (f"{FAR}/24", f"{FAR_TOO}/24", f"{FAR6}/64"))):
            for address in addresses:
                run("ip", "-n", name, "addr", "add", address, "dev", "eth0", *(["nodad"] if ":" in address else []))
            run("ip", "-n", name, "link", "set", "eth0", "up")
        for iptables in ("iptables", "ip6tables"):  # netfilter's own count of what is sent
            self.run(self.near, iptables, "-A", "OUTPUT", "-p", "udp", "--dport", IPERF)
        # else ICMP's port unreachable ends the spraying
        self.run(self.far, "iptables", "-A", "INPUT", "-p", "udp", "--dport", "20000:29999", "-j", "DROP")

    @staticmethod
    def _sweep():
        """Takes away what a killed run left: namespaces of processes that are no more, and who works in them."""
        for line in run("ip", "netns", "list").splitlines():
            found = re.match(r"mr(\d+)u[12]\b", line)
            if found and not pathlib.Path(f"/proc/{found[1]}").exists():
                for pid in run("ip", "netns", "pids", found[0]).split():
                    os.kill(int(pid), signal.SIGKILL)
                run("ip", "netns", "del", found[0], check=False)

    def run(self, netns, *words):
        return run("ip", "netns", "exec", netns, *words)

    def python(self, script, *words):
        return self.run(self.near, "/usr/bin/python3", "-c", script, *words).split()

    def start(self, netns, script, *words, ready=True):
        process = processes.start(["/usr/bin/python3", "-c", script, *words], netns=netns, stdin=subprocess.PIPE,
                                  stdout=subprocess.PIPE, text=True)
        self.processes.append(process)
        if ready:
            assert process.stdout.readline() == "ready\n"
        return process

    def stop(self):
        for process in self.processes:
            process.stdin.close()
            process.terminate()
            process.wait(60)
            process.stdout.close()
        for name in (self.near, self.far):
            run("ip", "netns", "del", name, check=False)


def iperf(wire):
    server = processes.start(["iperf3", "-s", "-1", "-p", IPERF], netns=wire.far, stdout=subprocess.DEVNULL)
    report = {}
    for _ in range(50):
        out = subprocess.run(["ip", "netns", "exec", wire.near, "iperf3", "-J", "-u", "-b", "20M", "-t", "2", "-l", "1200",
                              "-c", FAR, "-p", str(IPERF)], stdout=subprocess.PIPE).stdout
        report = json.loads(out)
        if "error" not in report:
            break
        time.sleep(0.2)
    server.wait(60)
    rules = wire.run(wire.near, "iptables", "-nvxL", "OUTPUT")
    packets, size = map(int, re.search(r"^\s*(\d+)\s+(\d+)", rules.splitlines()[2]).groups())
    return report, packets, size - 28 * packets


class Live(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        broker = kafka.Kafka()
        cls.addClassCleanup(broker.stop)
        wire = cls.wire = Wire()
        cls.addClassCleanup(wire.stop)
        sink = wire.start(wire.far, SINK, PORT)  # before the agent
        early = wire.start(wire.near, EARLY_CLIENT, FAR, EARLY)
        agent = Agent(broker.address, "udp", f"scope.netns={wire.near},{wire.far}", "features.conntrack=false")
        small = Agent(broker.address, "small", f"scope.netns={wire.near}", f"limits.udp_peers={PEERS_MAX}",
                      "features.conntrack=false")
        for each in (agent, small):
            cls.addClassCleanup(each.process.kill)
        wire.start(wire.far, ECHOING, ECHO)
        prefork = wire.start(wire.far, PREFORKED, PREFORK)
        cls.prefork_parent = prefork.pid
        asking = wire.start(wire.near, ASK, FAR, ECHO, 1, "stay", ready=False)
        cls.asked_port = int(asking.stdout.readline().split()[0])
        talking = wire.start(wire.near, ASK, FAR, ECHO, 3, "stay", ready=False)
        cls.talked_port = int(talking.stdout.readline().split()[0])
        cls.silent_since = time.monotonic()
        cls.ports = {
            "unconnected": wire.python(UNCONNECTED, FAR, FAR_TOO, PORT),
            "connected": wire.python(CONNECTED, FAR, PORT),
            "v6": wire.python(IPV6, FAR6, 60, PORT),
            "mapped": wire.python(IPV6, f"::ffff:{FAR}", 70, PORT),
            "segmented": wire.python(SEGMENTED, FAR, PORT),
            "large": wire.python(LARGE, FAR, PORT),
            "both": wire.python(BOTH, FAR, FAR_TOO, PORT),
            "echo": wire.python(ASK, FAR, ECHO, 6),
            "prefork": wire.python(ASK, FAR, PREFORK, 2),
        }
        early.stdin.write("go\n")
        early.stdin.flush()
        cls.early_port = int(early.stdout.readline())
        cls.iperf = iperf(wire)
        time.sleep(SCAN_S + 1)
        before = small.metrics()
        wire.python(SPRAY, FAR, MANY)
        time.sleep(SCAN_S + 1)
        cls.small_metrics, cls.small_before = small.metrics(), before
        small.stop()
        time.sleep(max(0, cls.silent_since + SILENCE_S + 3 * SCAN_S - time.monotonic()))
        cls.metrics = agent.metrics()
        cls.stopped = agent.stop()
        out, _ = sink.communicate(timeout=60)
        wire.processes.remove(sink)
        cls.got = json.loads(out)
        cls.halves = halves.Halves(records.batches(broker.address, "udp"))
        cls.small = halves.Halves(records.batches(broker.address, "small"))

    def sent(self, what, remote=FAR, remote_port=PORT):
        half, = self.halves.find(protocol=UDP, local_port=int(self.ports[what][0]), remote=remote,
                                 remote_port=remote_port)
        return half

    def test_nothing_is_lost_and_no_number_missing(self):
        self.assertEqual(self.stopped, 0)
        last = self.halves.batches[-1]
        self.assertEqual(last.dropped_ring, 0)
        self.assertEqual([b.sequence for b in self.halves.batches], list(range(len(self.halves.batches))))

    def test_one_unconnected_socket_is_a_half_for_each_peer(self):
        for remote, amount in ((FAR, (500, 5)), (FAR_TOO, (600, 3))):
            half = self.sent("unconnected", remote)
            self.assertEqual((half.sent, half.role, half.local), (amount, CLIENT, NEAR))

    def test_datagrams_and_bytes_are_what_was_sent(self):
        self.assertEqual(self.sent("connected").sent, (1200, 4))
        self.assertEqual(self.sent("v6", FAR6).sent, (60, 1))
        self.assertEqual(self.sent("mapped").sent, (70, 1))
        self.assertEqual(self.sent("segmented").sent, (5000, 5))
        self.assertEqual(self.sent("large").sent, (9000, 1))  # cut by IP, one datagram all the same

    def test_what_a_server_received_is_what_it_says_it_did(self):
        wanted = {}
        for half in self.halves.find(protocol=UDP, local_port=PORT):
            self.assertIn(half.local, (FAR, FAR_TOO, FAR6))
            row = wanted.setdefault(f"{half.remote} {half.remote_port}", [0, 0])
            row[0] += half.rx_bytes
            row[1] += half.rx_segments
        self.assertGreater(len(self.got), 5)
        self.assertEqual(wanted, self.got)

    def test_two_threads_of_one_socket_do_not_mix_their_peers(self):
        self.assertEqual(self.sent("both").sent, (22000, 2000))
        self.assertEqual(self.sent("both", FAR_TOO).sent, (39000, 3000))

    def test_both_directions_count_and_both_ends_agree(self):
        near = self.sent("echo", remote_port=ECHO)
        far, = self.halves.find(role=SERVER, local_port=ECHO, remote_port=near.local_port)
        self.assertEqual((near.sent, near.received), ((60, 6), (120, 6)))
        self.assertEqual((far.sent, far.received), (near.received, near.sent))
        self.assertEqual((far.local, far.remote), (FAR, NEAR))

    def test_the_owner_is_who_serves_not_who_made_the_socket(self):
        port, worker = self.ports["prefork"]
        far, = self.halves.find(role=SERVER, local_port=PREFORK, remote_port=int(port))
        self.assertEqual(far.pid, int(worker))
        near, = self.halves.find(role=CLIENT, remote_port=PREFORK)
        self.assertIn("python3", self.halves.processes[near.pid][1])

    def test_a_socket_from_before_has_its_role_by_its_port(self):
        half, = self.halves.find(protocol=UDP, local_port=self.early_port)
        self.assertEqual((half.role, half.flags, half.sent), (CLIENT, EXISTED | ROLE_GUESSED, (70, 7)))
        sink = self.halves.find(protocol=UDP, local_port=PORT)
        self.assertEqual({(half.role, half.flags) for half in sink}, {(SERVER, EXISTED | ROLE_GUESSED)})
        self.assertTrue(all("python3" in self.halves.processes[half.pid][1] for half in sink))

    def test_a_peer_ends_with_its_socket(self):
        for what in ("connected", "unconnected", "segmented"):
            half = self.sent(what)
            self.assertEqual(half.reason, 1)
            self.assertLess(half.closed_us - half.opened_us, 4e6)

    def test_a_peer_ends_by_silence_and_sooner_after_one_question_and_answer(self):
        for port, silence_s in ((self.asked_port, SILENCE_ASKED_S), (self.talked_port, SILENCE_S)):
            half, = self.halves.find(role=CLIENT, local_port=port)
            self.assertEqual(half.reason, 1)
            self.assertGreaterEqual(half.closed_us - half.opened_us, silence_s * 1e6)
            self.assertLess(half.closed_us - half.opened_us, (silence_s + 3 * SCAN_S) * 1e6)

    def test_iperf_sent_what_netfilter_and_the_agent_count(self):
        report, packets, size = self.iperf
        near, = self.halves.find(protocol=UDP, role=CLIENT, remote_port=IPERF)
        far, = self.halves.find(protocol=UDP, role=SERVER, local_port=IPERF)
        self.assertEqual(near.sent, (size, packets))
        self.assertGreaterEqual(near.tx_bytes, report["end"]["sum"]["bytes"])
        self.assertEqual(near.received, far.sent)
        lost = report["end"]["sum"]["lost_packets"]
        self.assertLessEqual(near.tx_segments - far.rx_segments, lost)

    def test_peers_beyond_the_bound_are_counted(self):
        told = [half for half in self.small.find(protocol=UDP, role=CLIENT) if 20000 <= half.remote_port < 30000]
        name = 'millrace_agent_dropped_events_total{where="ring",kind="datagram"}'
        refused = int(self.small_metrics[name]) - int(self.small_before[name])
        self.assertEqual(len(told) + refused, MANY)
        self.assertGreater(refused, MANY - PEERS_MAX - 1)
        self.assertEqual(self.small.batches[-1].dropped_ring, refused)


class Off(unittest.TestCase):
    def log_of(self, *words):
        process = subprocess.run(["timeout", "-s", "TERM", "8", *words, AGENT, "--config", "/dev/null", "--set", "node=off",
                                  "--set", "listen=", "--set", "kafka.brokers=127.0.0.1:1"],
                                 capture_output=True, text=True, timeout=60)
        return process.stderr

    def test_without_cgroup2_the_rest_goes_on(self):
        mounts = [line.split() for line in pathlib.Path("/proc/self/mounts").read_text().splitlines()]
        mount = next(words[1] for words in mounts if words[2] == "cgroup2")
        log = self.log_of("unshare", "-m", "sh", "-c", f"umount -l {mount}; exec \"$@\"", "sh")
        self.assertIn("no cgroup2 file system is mounted: UDP and DNS are not seen", log)
        self.assertIn("node off,", log)

    def test_without_the_right_to_attach_the_rest_goes_on(self):
        log = self.log_of("setpriv", "--bounding-set=-net_admin,-sys_admin", "--inh-caps=-net_admin,-sys_admin")
        self.assertIn("no UDP and no name lookups", log)
        self.assertIn("node off,", log)


if __name__ == "__main__":
    reason = why_not()
    if reason:
        print(f"skipped: {reason}")
        sys.exit(SKIPPED)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # a time limit: clean up all the same
    unittest.main(verbosity=2)
