#!/usr/bin/python3
"""The list of agents over the whole system: what two agents' nodes are, who listens on them and how long the queues are,
against uname, /proc, ss and the kernel's own counters; and an agent that is killed."""

import os
import pathlib
import platform
import re
import signal
import subprocess
import sys
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import system
import millraced  # of tests/support, which system has put on the path

WITHIN_S = 60  # what an agent is, it tells in its first batch and every 45 s
FULL_PORT, SERVED_PORT, BACKLOG = 9191, 9192, 3

# Listens, accepts nobody, says when it listens.
DEAF = r"""
import socket, sys
s = socket.create_server(("10.77.2.2", int(sys.argv[1])), backlog=int(sys.argv[2]))
print("listening", flush=True); sys.stdin.read()
"""

# Connects again and again until the queue is full, and then some.
CROWD = r"""
import socket, sys, time
held = []
for _ in range(int(sys.argv[2])):
    s = socket.socket(); s.setblocking(False); s.connect_ex(("10.77.2.2", int(sys.argv[1]))); held.append(s)
print("connected", flush=True); sys.stdin.read()
"""


def inside(netns, *words):
    return subprocess.run(["ip", "netns", "exec", netns, *map(str, words)], check=True, capture_output=True,
                          text=True).stdout


def listening(netns):
    """(address, port): (waiting, at most), as ss says."""
    found = {}
    for line in inside(netns, "ss", "-Hltn").splitlines():
        _, waiting, most, local, *_ = line.split()
        address, port = local.rsplit(":", 1)
        address = re.sub(r"%.*", "", address.strip("[]")).replace("*", "::")
        found[address, int(port)] = int(waiting), int(most)
    return found


def listen_drops(netns):
    names, values = (line.split() for line in inside(netns, "cat", "/proc/net/netstat").splitlines()
                     if line.startswith("TcpExt:"))
    return int(dict(zip(names, values))["ListenDrops"])


class Fleet(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.system = system.System(lambda lab: {"node-a": [lab.client, lab.router], "node-b": lab.servers})
        cls.addClassCleanup(cls.system.stop)

    def until(self, what, condition):
        found = millraced.until(condition, WITHIN_S)
        self.assertTrue(found, f"not within {WITHIN_S} s: {what}\n{self.one('node-b')}\n{self.system.all_logs()}")
        return found

    def one(self, node):
        return self.system.get(f"/api/v1/agents/{node}")

    def agents(self):
        return {agent["node"]: agent for agent in self.system.get("/api/v1/agents")["agents"]}

    def program(self, netns, script, *words):
        child = self.system.lab.start(netns, [system.PYTHON, "-c", script, *words], stdin=subprocess.PIPE,
                                      stdout=subprocess.PIPE)
        child.stdout.readline()

        def end():
            child.kill()
            child.wait()
            child.stdin.close()
            child.stdout.close()
        self.addCleanup(end)
        return child, end

    def test_a_node_is_what_it_says_it_is(self):
        agents = self.until("two live agents with facts", lambda: (found := self.agents()) and
                            all(one["state"] == "live" and one["kernel"] for one in found.values()) and found)
        memory = int(re.search(r"MemTotal:\s+(\d+)", pathlib.Path("/proc/meminfo").read_text())[1]) * 1024
        boot = pathlib.Path("/proc/sys/kernel/random/boot_id").read_text().strip().replace("-", "")
        for node, agent in agents.items():
            for name, value in (("zone", f"zone-{node[-1]}"), ("kernel", platform.release()),
                                ("architecture", platform.machine()), ("cpus", os.sysconf("SC_NPROCESSORS_ONLN")),
                                ("memory_bytes", memory), ("os", platform.freedesktop_os_release()["PRETTY_NAME"]),
                                ("boot_id", boot), ("level", 0), ("control_pending", False),
                                ("dropped_ring", 0), ("lost", 0)):
                self.assertEqual(value, agent[name], (node, name))
            self.assertAlmostEqual(time.time() - time.clock_gettime(time.CLOCK_BOOTTIME), agent["booted_s"], delta=1)
            self.assertLess(agent["lag_s"], 3)
            self.assertIn("tcp", agent["features"])
            self.assertGreater(agent["programs"], 5)
            self.assertEqual(agent["programs_wanted"], agent["programs"])
            self.assertTrue(any("self-test" in sentence for sentence in agent["missing"]), agent["missing"])

    def test_listeners_are_those_that_ss_knows_with_their_queues(self):
        servers = self.system.lab.servers
        before = listen_drops(servers[0])
        deaf, end = self.program(servers[0], DEAF, FULL_PORT, BACKLOG)
        self.program(servers[1], DEAF.replace("10.77.2.2", ""), SERVED_PORT, 77)
        _, leave = self.program(self.system.lab.client, CROWD, FULL_PORT, 20)
        time.sleep(2)
        leave()  # whoever is queued stays queued

        def told():
            return {(one["address"], one["port"]): one for one in self.one("node-b")["listeners"]}

        def wanted():
            return {**listening(servers[0]), **listening(servers[1])}

        self.until("the same listeners as ss", lambda: {key: (one["backlog"], one["backlog_max"])
                                                        for key, one in told().items()} == wanted())
        full = self.until("the drops", lambda: (one := told()["10.77.2.2", FULL_PORT])["drops"] ==
                          listen_drops(servers[0]) - before and one)
        self.assertGreater(full["drops"], 0)
        self.assertGreater(full["backlog"], BACKLOG)  # one more than it may is the kernel's way
        self.assertEqual(BACKLOG, full["backlog_max"])
        self.assertEqual(full, self.one("node-b")["listeners"][0])  # who drops stands first
        self.assertEqual(deaf.pid, full["pid"])
        self.assertEqual(pathlib.Path(f"/proc/{deaf.pid}/exe").resolve().name, full["program"])
        self.assertEqual(os.stat(f"/run/netns/{servers[0]}").st_ino, full["netns"])
        self.assertEqual(77, told()["0.0.0.0", SERVED_PORT]["backlog_max"])
        end()
        self.until("its end", lambda: ("10.77.2.2", FULL_PORT) not in told())

    def test_an_agent_that_is_killed_is_silent_and_its_successor_is_live(self):
        agent = self.system.agents["node-a"]
        epoch = self.agents()["node-a"]["epoch"]
        self.system.children.remove(agent)
        agent.send_signal(signal.SIGKILL)
        agent.wait()
        silent = self.until("node-a silent", lambda: (one := self.agents()["node-a"])["state"] == "silent" and one)
        self.assertGreaterEqual(silent["lag_s"], 3)
        self.assertEqual(platform.release(), silent["kernel"])
        self.assertEqual("live", self.agents()["node-b"]["state"])
        self.system.agents["node-a"] = self.system._start_agent("node-a", [self.system.lab.client, self.system.lab.router])
        live = self.until("node-a live", lambda: (one := self.agents()["node-a"])["state"] == "live" and
                          one["programs"] and one)
        self.assertNotEqual(epoch, live["epoch"])


if __name__ == "__main__":
    reason = system.missing()
    if reason:
        print("skipped:", reason)
        sys.exit(77)
    unittest.main(verbosity=2)
