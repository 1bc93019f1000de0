#!/usr/bin/python3
"""A day's churn in a minute: after warm-up the agent's memory and file descriptors stay flat.

What accumulates in an agent is what it keeps of things that come and go: sockets, NAT entries, processes, cgroups,
network namespaces, key frames, dumps. Time is compressed by making all of these as fast as the machine can and by key
frames and dumps each second instead of each 45 s: 1,920 of them are a day's. The tables of cgroups and processes are
made so small that their bounds are met. Here 60,000 connections, 60 namespaces, 600 processes, 100 cgroups;
MILLRACE_SOAK=N for N times as much (20: 1,200,000 connections, 1,200 namespaces, 12,000 processes, 2,000 cgroups).

Flat: the median of the last quarter is not above that of the second by more than 3 % and 3 MiB of memory, 2 of file
descriptors. Half of the work lies between the two, so the long form sees a leak of 6 bytes a connection. The agent must
have seen the work, or it proves nothing. Root is needed; without it the test is skipped."""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time
import unittest

import agent_test
import network
from agent_test import Agent, run
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import kafka
import processes

TIMES = float(os.environ.get("MILLRACE_SOAK", "1"))
CONNECTIONS, NAMESPACES, PROCESSES, CGROUPS = (int(n * TIMES) for n in (60000, 60, 600, 100))
WITHIN_S = 400 * max(TIMES, 1)  # on a machine that does much else
PYTHON = "/usr/bin/python3"
NET = 192 + os.getpid() % 32
HOST, VIP = f"10.{NET}.7.1", f"10.{NET}.7.99"
ALLOWED_BYTES, ALLOWED_SHARE, ALLOWED_FDS = 3 << 20, 0.03, 2

# One thread is both ends. Every 100th connection goes through NAT; the address changes before its ports are used up.
STORM = r"""
import socket, sys
count, host, vip = int(sys.argv[1]), sys.argv[2], sys.argv[3]
s = socket.socket(); s.bind(("", 8080)); s.listen(64)
for i in range(count):
    c = socket.socket()
    if i % 100: c.bind((f"127.{1 + i // 10000 % 200}.0.1", 0)); c.connect(("127.0.0.1", 8080))
    else: c.connect((vip, 8080))
    a, _ = s.accept(); c.sendall(b"ask"); a.recv(3); a.sendall(b"answer"); c.recv(6); c.close(); a.close()
"""

CHURN = r"""
import os, subprocess, sys, time
what, count, stem = sys.argv[1], int(sys.argv[2]), sys.argv[3]
quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
def namespace(i):
    name = f"{stem}n{i}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        if i % 10 == 0: time.sleep(1.2)  # long enough for a dump
    finally: subprocess.run(["ip", "netns", "del", name], check=True)
def process(i): os.waitpid(os.posix_spawn("/bin/true", ["true", "x" * (i % 3000)], {}), 0)
def cgroup(i):
    path = f"{sys.argv[4]}/{stem}g{i}"
    os.mkdir(path)
    try: subprocess.run(["sh", "-c", f'echo $$ >"{path}/cgroup.procs" && curl -s http://127.0.0.1:1/'], **quiet)
    finally:
        for _ in range(50):
            try: os.rmdir(path); break
            except OSError: time.sleep(0.02)
for i in range(count): {"namespace": namespace, "process": process, "cgroup": cgroup}[what](i)
"""


def median(values):
    return sorted(values)[len(values) // 2]


class Sampler:
    def __init__(self, agent):
        self.pid, self.samples = agent.process.pid, []

    def take(self):
        status = pathlib.Path(f"/proc/{self.pid}/status").read_text()
        rss = int(re.search(r"RssAnon:\s+(\d+) kB", status)[1]) << 10
        fds = len(os.listdir(f"/proc/{self.pid}/fd"))
        threads = int(re.search(r"Threads:\s+(\d+)", status)[1])
        self.samples.append((rss, fds, threads))

    def quarters(self):
        """Medians of the second and of the last quarter, for memory, descriptors and threads."""
        n = len(self.samples)
        early, late = self.samples[n // 4:n // 2], self.samples[3 * n // 4:]
        return [(median(a), median(b)) for a, b in zip(zip(*early), zip(*late))]


class Soak(unittest.TestCase):
    def setUp(self):
        self.stem = f"mr{os.getpid()}"
        self.netns = f"{self.stem}k"
        network.sweep("mr", "[ktq]|n\\d+")
        run("ip", "netns", "add", self.netns)
        self.addCleanup(run, "ip", "netns", "del", self.netns, check=False)
        self.addCleanup(self.sweep)
        run("ip", "-n", self.netns, "link", "set", "lo", "up")
        for address in (HOST, VIP):
            run("ip", "-n", self.netns, "addr", "add", f"{address}/32", "dev", "lo")
        run("ip", "netns", "exec", self.netns, "iptables", "-w", "-t", "nat", "-A", "OUTPUT", "-d", VIP, "-p", "tcp",
            "--dport", "8080", "-j", "DNAT", "--to-destination", f"{HOST}:8080")
        run("ip", "netns", "exec", self.netns, "sysctl", "-qw", "net.netfilter.nf_conntrack_tcp_timeout_time_wait=1")
        # the sanitizer's quarantine would grow as a leak does
        os.environ["ASAN_OPTIONS"] = os.environ.get("ASAN_OPTIONS", "") + ":quarantine_size_mb=1"

    def sweep(self):
        for line in run("ip", "netns", "list").splitlines():
            if line.startswith(f"{self.stem}n"):
                run("ip", "netns", "del", line.split()[0], check=False)

    def remove_own_cgroups(self, mount):
        for path in pathlib.Path(mount).glob(f"{self.stem}g*"):
            path.rmdir()

    @staticmethod
    def sweep_cgroups(mount):
        for path in pathlib.Path(mount).glob("mr*g*"):
            found = re.fullmatch(r"mr(\d+)g\d+", path.name)
            if found and not os.path.exists(f"/proc/{found[1]}"):
                path.rmdir()

    def start_work(self):
        words = [("namespace", NAMESPACES), ("process", PROCESSES), ("cgroup", CGROUPS)]
        mounts = run("findmnt", "-n", "-t", "cgroup2,cgroup", "-O", "memory", "-o", "TARGET", check=False).split() or \
            run("findmnt", "-n", "-t", "cgroup2", "-o", "TARGET").split()
        self.sweep_cgroups(mounts[0])
        self.addCleanup(self.remove_own_cgroups, mounts[0])
        work = [processes.start([PYTHON, "-c", CHURN, what, str(count), self.stem, mounts[0]])
                for what, count in words]
        work.append(processes.start([PYTHON, "-c", STORM, str(CONNECTIONS), HOST, VIP], netns=self.netns))
        for child in work:
            self.addCleanup(processes.end, child)
        return work

    def watch(self, agent, work, look=None):
        sampler, deadline = Sampler(agent), time.monotonic() + WITHIN_S
        while any(child.poll() is None for child in work):
            self.assertLess(time.monotonic(), deadline)
            sampler.take()
            if look:
                look(agent.metrics())
            time.sleep(0.2)
        self.assertEqual([child.returncode for child in work], [0] * len(work))
        return sampler

    def check_flat(self, sampler, what):
        memory, fds, threads = sampler.quarters()
        print(f"\n{what}: {len(sampler.samples)} samples, memory {memory[0] / 1048576:.2f} -> {memory[1] / 1048576:.2f}"
              f" MiB, {fds[0]} -> {fds[1]} descriptors, {threads[0]} -> {threads[1]} threads", file=sys.stderr)
        self.assertGreater(len(sampler.samples), 20)
        self.assertLess(memory[1] - memory[0], ALLOWED_BYTES + ALLOWED_SHARE * memory[0])
        self.assertLessEqual(fds[1] - fds[0], ALLOWED_FDS)
        self.assertLessEqual(threads[1] - threads[0], 1)

    def test_memory_and_descriptors_stay_flat(self):
        with kafka.Kafka() as broker:
            agent = Agent(broker.address, "soak", "key_frame.period=1s", "limits.cgroups=64", "limits.processes=512")
            self.addCleanup(processes.end, agent.process)
            before = agent.metrics()
            sampler = self.watch(agent, self.start_work())
            time.sleep(1)  # what is in the ring
            after = agent.metrics()
            self.assertEqual(agent.stop(), 0, agent.log)

        def grown(name):
            return float(after["millrace_agent_" + name]) - float(before["millrace_agent_" + name])
        ring = sum(float(value) for name, value in after.items() if 'where="ring"' in name)
        print(f"\n{grown('closes_total'):.0f} closes, {grown('nat_events_total'):.0f} NAT events, "
              f"{grown('conntrack_dumps_total'):.0f} dumps, {ring:.0f} lost in the ring", file=sys.stderr)
        self.assertGreaterEqual(grown("closes_total") + ring, 2 * CONNECTIONS)
        self.assertGreaterEqual(grown("nat_events_total"), CONNECTIONS / 100)
        self.assertGreaterEqual(grown("conntrack_dumps_total"), 5)
        self.check_flat(sampler, "broker there")

    def test_without_a_broker_the_spool_is_the_bound(self):
        spool = 1 << 20
        seen = []
        agent = Agent(f"127.0.0.1:{processes.free_port()}", "away", "kafka.spool=1MiB", "batch.interval=10ms",
                      "key_frame.period=1s", ready=503)
        self.addCleanup(processes.end, agent.process)
        dropped_name = 'millrace_agent_dropped_events_total{where="spool",kind="any"}'
        sampler = self.watch(agent, self.start_work(), lambda metrics: seen.append(
            (float(metrics["millrace_agent_spool_bytes"]), float(metrics[dropped_name]))))
        metrics = agent.metrics()
        agent.stop()
        self.assertLessEqual(max(bytes_ for bytes_, _ in seen), spool)
        self.assertGreater(max(bytes_ for bytes_, _ in seen), 0.8 * spool)
        dropped = float(metrics[dropped_name])
        self.assertGreater(dropped, 0)
        self.assertLess(dropped, float(metrics["millrace_agent_events_total"]))
        self.assertEqual([d for _, d in seen], sorted(d for _, d in seen))
        self.check_flat(sampler, "no broker")


def why_not():
    missing = [program for program in ("findmnt", "curl") if not shutil.which(program)]
    return agent_test.why_not() or (f"needs {', '.join(missing)}" if missing else None)


if __name__ == "__main__":
    reason = why_not()
    if reason:
        print(f"skipped: {reason}")
        sys.exit(agent_test.SKIPPED)
    unittest.main(verbosity=2)
