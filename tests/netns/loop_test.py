#!/usr/bin/python3
"""The agent's one loop goes on whatever the node does to it: metrics are answered and batches sealed.

A thread that the loop could wait for is stopped by its debugger; then hundreds of network namespaces and tens of
thousands of NAT entries come and go while all of them are dumped once a second. MILLRACE_NAMESPACES, MILLRACE_ENTRIES:
how many, 100 and 20,000. Root and BTF are needed; without them the test is skipped."""

import contextlib
import ctypes
import os
import pathlib
import sys
import threading
import time
import unittest
import urllib.request

import told
from told import SERVER, N

NAMESPACES, ENTRIES = (int(os.environ.get(f"MILLRACE_{name}", number)) for name, number in
                       (("NAMESPACES", "100"), ("ENTRIES", "20000")))
VIP = f"10.{N}.200.10"
HELD_S = 3
LONGEST_S = 2  # of an answer; some 30 ms on an idle machine, and others' turns on a busy one
SEIZE, INTERRUPT, DETACH, ALL_THREADS = 0x4206, 0x4207, 17, 0x40000000

SEND = r"""
import socket, sys
first, count = int(sys.argv[2]), int(sys.argv[3])
for port in range(first, first + count):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(("", port)); s.sendto(b"b", (sys.argv[1], 9000)); s.close()
"""

CHURN = r"""
import subprocess, sys
stem, count = sys.argv[1], int(sys.argv[2])
def each(verb): subprocess.run(["ip", "-batch", "-"], input="".join(f"netns {verb} {stem}x{i}\n" for i in range(count)),
                               check=True, text=True)
print("ready", flush=True)
each("add"); print("made", flush=True); sys.stdin.readline(); each("delete")
"""


@contextlib.contextmanager
def held(pid, name):
    """One thread of a process, stopped as a debugger does it."""
    thread, = (int(task.name) for task in pathlib.Path(f"/proc/{pid}/task").iterdir()
               if (task / "comm").read_text().strip() == name)
    libc = ctypes.CDLL(None, use_errno=True)

    def ptrace(request):
        if libc.ptrace(ctypes.c_long(request), ctypes.c_long(thread), None, None):
            raise OSError(ctypes.get_errno(), f"ptrace: {os.strerror(ctypes.get_errno())}")

    ptrace(SEIZE)
    try:
        ptrace(INTERRUPT)
        os.waitpid(thread, ALL_THREADS)
        yield
    finally:
        ptrace(DETACH)


class Probe(threading.Thread):
    """Asks for the metrics ten times a second."""

    def __init__(self, agent):
        super().__init__(daemon=True)
        self.url, self.ending, self.took, self.late = f"http://{agent.address}/metrics", threading.Event(), [], []

    def run(self):
        while not self.ending.wait(0.1):
            asked = time.monotonic()
            text = urllib.request.urlopen(self.url, timeout=told.WITHIN_S).read().decode()
            self.took.append(time.monotonic() - asked)
            self.late += [float(line.split()[1]) for line in text.splitlines()
                          if line.startswith("millrace_agent_late_peak_seconds ")]

    def stop(self):
        self.ending.set()
        self.join()
        return max(self.took), max(self.late, default=0)


class Loop(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.broker = told.kafka.Kafka()
        cls.addClassCleanup(cls.broker.stop)

    def setUp(self):
        self.lab = told.Network("mrl")
        self.addCleanup(self.lab.stop)

    def start_agent(self, *settings):
        agent = told.Agent(self.broker.address, self.id().rsplit(".", 1)[1], *settings)
        self.addCleanup(told.processes.end, agent.process)
        return agent

    def until(self, what, condition):
        deadline = time.monotonic() + told.WITHIN_S
        while not condition():
            self.assertLess(time.monotonic(), deadline, what)
            time.sleep(0.1)

    def test_the_loop_waits_for_no_namespace(self):
        agent = self.start_agent("key_frame.period=1s")
        with held(agent.process.pid, "mr-keeper"):
            self.lab.add("l")  # to be listed and dumped
            before = agent.metric("batches_total")
            probe = Probe(agent)
            probe.start()
            time.sleep(HELD_S)
            longest, late = probe.stop()
            self.assertGreaterEqual(agent.metric("batches_total"), before + HELD_S - 1)
        self.assertLess(max(longest, late), LONGEST_S)
        dumps = agent.metric("conntrack_dumps_total")
        self.until("dumps go on", lambda: agent.metric("conntrack_dumps_total") > dumps + 1)

    def test_answers_come_while_namespaces_and_entries_come_and_go(self):
        lab = self.lab
        lab.run(lab.router, "iptables", "-w", "-t", "nat", "-A", "PREROUTING", "-p", "udp", "-d", VIP, "-j", "DNAT",
                "--to-destination", SERVER)
        lab.run(lab.client, "sysctl", "-qw", "net.ipv4.ip_local_port_range=1024 65535")
        lab.run(lab.router, "sysctl", "-qw", "net.netfilter.nf_conntrack_udp_timeout=600")
        agent = self.start_agent("key_frame.period=1s", "limits.nat=262144")
        probe = Probe(agent)
        probe.start()
        churn = lab.start_python(lab.client, CHURN, lab.client, NAMESPACES)
        self.addCleanup(told.processes.end, churn)
        lab.python(lab.client, SEND, VIP, 1024, ENTRIES)
        self.assertEqual(churn.stdout.readline(), "made\n")
        self.until("all are told", lambda: agent.metric("nat_entries") >= ENTRIES)
        dumps = agent.metric("conntrack_dumps_total")
        self.until("all are dumped", lambda: agent.metric("conntrack_dumps_total") > dumps + 1)
        lab.run(lab.router, "conntrack", "-F")
        churn.stdin.write("\n")
        churn.stdin.flush()
        self.assertEqual(churn.wait(told.WITHIN_S), 0)
        self.until("all have ended", lambda: agent.metric("nat_entries") == 0)
        longest, late = probe.stop()
        print(f"{NAMESPACES} namespaces, {ENTRIES} entries: the longest of {len(probe.took)} answers took "
              f"{longest * 1000:.0f} ms, the latest batch began {late * 1000:.0f} ms late", file=sys.stderr)
        self.assertLess(max(longest, late), LONGEST_S)


if __name__ == "__main__":
    reason = told.why_not("iptables", "conntrack")
    if reason:
        print(f"skipped: {reason}")
        sys.exit(told.SKIPPED)
    unittest.main(verbosity=2)
