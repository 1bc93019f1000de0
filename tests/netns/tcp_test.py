#!/usr/bin/python3
"""What only TCP has, told by the real agent of the real kernel, against what the programs and the kernel's own counters
say: listeners, shut windows, resets, failures, owners over all styles of servers, sockets from before, storms.

MILLRACE_STORM=300000 makes the storm as long as the contract has it. Root and BTF are needed; else it is skipped."""

import collections
import itertools
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import agent_test
import kafka
from agents import HIDDEN, missed_drops
from agent_test import CLIENT, SERVER, SHORTS, SERVE, RESETS, CONNECT, GIVE_UP, Agent, Network, run

PEER = pathlib.Path(__file__).resolve().parent / "peer" / "tcp.c"
STORM = int(os.environ.get("MILLRACE_STORM", 60000))
RATE = 20000  # connections a second, where this machine has the time
BUSY_CLIENTS, BUSY_EACH = 6, 2000
ASKS = 25
STALL_BYTES = 300000
NO_ROUTE = "203.0.113.1"
NORMAL, RESET, REFUSED, CONNECT_TIMEOUT, UNREACHABLE, ABORTED, VANISHED = 1, 2, 4, 5, 6, 7, 8
RESET_RECEIVED, RESET_SENT, ZERO_WINDOW = 1, 2, 4
AGAIN, ENDED = 1, 2
WITHIN_S = 120
OPENED = (7101, 7102, 7103)  # prefork, pass, uring
HANDED = 7108
HELD_S = 12  # longer than the programs that see who sends and receives rest

LATE = """
import socket, sys
s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); s.bind(("", 7105)); s.listen(8)
print("ready", flush=True); sys.stdin.readline()
c, _ = s.accept(); c.recv(10); c.sendall(b"late"); c.recv(1); c.close()
"""

EARLY = """
import socket, sys
s = socket.create_connection((sys.argv[1], 7105)); print("ready", flush=True); sys.stdin.readline()
s.sendall(b"12345"); s.recv(10); s.close()
"""

FULL = """
import socket, sys
s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); s.bind(("", 7106)); s.listen(1)
print("ready", flush=True); sys.stdin.readline()
"""

SIX = """
import socket, sys, time
all = [socket.socket() for _ in range(6)]
for s in all: s.setblocking(False); s.connect_ex((sys.argv[1], 7106))
time.sleep(2.5)
"""

# Who listens is nobody's worker: one child exchanges and leaves the close to its parent, the other only closes.
HANDS = """
import os, socket, sys
s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); s.bind(("", int(sys.argv[1]))); s.listen(8)
print("ready", flush=True)
c, _ = s.accept()
exchanges = os.fork()
if not exchanges:
    while got := c.recv(10): c.sendall(got)
    os._exit(0)
os.waitpid(exchanges, 0); c.close()
closes = os.fork()
if not closes:
    for _ in range(2):
        c, _ = s.accept()
        try: c.recv(1)
        except ConnectionResetError: pass
        c.close()
    os._exit(0)
print(exchanges, closes, flush=True); os.waitpid(closes, 0)
"""

HAND = """
import socket, struct, sys, time
to = (sys.argv[1], int(sys.argv[2])); end = time.monotonic() + int(sys.argv[3])
s = socket.create_connection(to); ports = [s.getsockname()[1]]
while time.monotonic() < end: s.sendall(b"x"); s.recv(1); time.sleep(0.02)
s.close()
for linger in (1, 0):
    s = socket.create_connection(to); ports.append(s.getsockname()[1])
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", linger, 0)); time.sleep(0.1); s.close()
print(*ports, flush=True)
"""

STALL = """
import socket, sys, time
s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096); s.bind(("", 7107)); s.listen(1)
print("ready", flush=True)
c, _ = s.accept(); time.sleep(4)
while c.recv(65536): time.sleep(0.001)
time.sleep(2.5)  # two scans see the window open
"""

PUSH = """
import socket, sys
s = socket.create_connection((sys.argv[1], 7107)); s.sendall(b"z" * int(sys.argv[2])); s.shutdown(1); s.recv(1)
"""

MAPPED = """
import socket, sys
s = socket.socket(socket.AF_INET6); s.connect(("::ffff:" + sys.argv[1], 7001)); s.sendall(b"y" * int(sys.argv[3]))
got = 0
while got < int(sys.argv[2]): got += len(s.recv(1 << 16))
s.close()
"""

UNREAD = """
import socket, sys, time
s = socket.create_connection((sys.argv[1], int(sys.argv[2]))); s.sendall(b"??"); time.sleep(0.3); s.close()
"""

SPIN = """
import os, sys
while os.getppid() == int(sys.argv[1]):  # not longer than who started it, however that ends
    for _ in range(1000000): pass
"""

BUSY_SERVE = """
import socket
s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); s.bind(("", 7002)); s.listen(4096)
print("ready", flush=True)
while True:
    c, _ = s.accept(); c.close()
"""


class Events(agent_test.Events):
    """With what TCP tells beside openings and ends."""

    Listener = collections.namedtuple("Listener", "cookie flags address port netns pid backlog backlog_max drops")

    def _take(self, batch):
        self.listeners = getattr(self, "listeners", [])
        self.flags = getattr(self, "flags", {})
        self.owners = getattr(self, "owners", {})
        self.windows = getattr(self, "windows", collections.defaultdict(list))
        self.doubled = getattr(self, "doubled", 0)
        self.ended = getattr(self, "ended", set())
        super()._take(batch)
        d, u, c, l = batch.definitions, batch.updates, batch.closes, batch.listeners
        column = lambda group, name, i: (getattr(group, name) or collections.defaultdict(int))[i]
        for i, slot in enumerate(d.slot):
            self.owners[(slot, d.generation[i])] = column(d, "pid", i)
        shut = set(itertools.accumulate(u.zero_window_index))
        for i, slot in enumerate(itertools.accumulate(u.slot)):
            if slot in self.last:
                self.windows[(slot, self.last[slot])].append(i in shut)
        for i, slot in enumerate(c.slot):
            key = (slot, self.last[slot])
            self.doubled += key in self.ended
            self.ended.add(key)
            self.flags[key] = column(c, "flags", i)
            self.owners[key] = column(c, "pid", i) or self.owners.get(key)
        v4 = len(batch.addresses_v4) // 4
        for i, cookie in enumerate(l.cookie):
            index = column(l, "address", i)
            raw = batch.addresses_v4[4 * index:][:4] if index < v4 else batch.addresses[16 * (index - v4):][:16]
            self.listeners.append(self.Listener(cookie, column(l, "flags", i), raw, column(l, "port", i),
                                                column(l, "netns", i), column(l, "pid", i), column(l, "backlog", i),
                                                column(l, "backlog_max", i), column(l, "drops", i)))

    def flag(self, row):
        return self.flags[(row.slot, row.generation)]

    def owner(self, row):
        return self.owners[(row.slot, row.generation)]


def counter(network, name):
    words = network.run(network.server, "nstat", "-asz", name).split()
    return int(words[words.index(name) + 1])


class Tcp(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix="millrace-tcp-")
        cls.addClassCleanup(shutil.rmtree, cls.folder, ignore_errors=True)
        cls.peer = pathlib.Path(cls.folder, "tcp")
        run("cc", "-O2", "-pthread", "-o", cls.peer, PEER)
        broker = kafka.Kafka()
        cls.addClassCleanup(broker.stop)
        cls.network = network = Network()
        cls.addClassCleanup(network.stop)
        network.run(network.server, "iptables", "-A", "INPUT", "-p", "tcp", "--dport", "83", "-j", "REJECT")
        run("ip", "-n", network.client, "route", "add", "unreachable", NO_ROUTE)
        for end in (network.client, network.server):
            # A storm leaves more in TIME-WAIT than the kernel keeps, which then resets whoever closes second.
            network.run(end, "sysctl", "-qw", "net.ipv4.ip_local_port_range=10000 65000",
                        f"net.ipv4.tcp_max_tw_buckets={2 * STORM}")
        late = network.start(network.server, "/usr/bin/python3", "-c", LATE)
        early = network.start(network.client, "/usr/bin/python3", "-c", EARLY, SERVER)
        cls.agent = Agent(broker.address, "tcp", f"scope.netns={network.client},{network.server}",
                          "features.conntrack=false", "key_frame.period=5s")
        for process in (late, early):  # accepted only now
            process.stdin.write(b"go\n")
            process.stdin.flush()
        network.start(network.server, "/usr/bin/python3", "-c", SERVE, agent_test.DOWN, agent_test.UP)
        cls.servers(network)
        cls.traffic(network)
        hands = network.start(network.server, "/usr/bin/python3", "-c", HANDS, HANDED)
        hand = network.start(network.client, "/usr/bin/python3", "-c", HAND, SERVER, HANDED, HELD_S, ready=False)
        cls.storm(network)
        cls.busy(network)
        cls.ports = [int(word) for word in hand.stdout.readline().split()]
        cls.workers = [int(word) for word in hands.stdout.readline().split()]
        time.sleep(2.2)
        cls.all_ended(network)
        cls.metrics = cls.agent.metrics()
        cls.full.terminate()
        cls.full.wait(WITHIN_S)
        time.sleep(0.5)
        cls.status = cls.agent.stop()
        cls.events = Events(broker.address, "tcp")

    @classmethod
    def all_ended(cls, network):
        """The agent knows no more connections than there are: a roll call ends those whose end was hidden from it. Those
        in FIN-WAIT-2 were closed by who had them."""
        deadline = time.monotonic() + WITHIN_S
        while True:
            there = sum(len(network.run(end, "ss", "-Htna", "exclude", "listening", "exclude", "time-wait",
                                        "exclude", "fin-wait-2").splitlines())
                        for end in (network.client, network.server))
            known = int(cls.agent.metrics()["millrace_agent_sockets"])
            if known <= there:
                return
            if time.monotonic() > deadline:
                raise AssertionError(f"the agent knows {known} connections of {there}")
            time.sleep(1)

    @classmethod
    def servers(cls, network):
        cls.pids = {}
        for port, verb, more in zip(OPENED, ("prefork", "pass", "uring"), ((4,), (), ())):
            process = network.start(network.server, cls.peer, verb, SERVER, port, *more, ready=False)
            cls.pids[port] = [int(word) for word in process.stdout.readline().split()]
        cls.asked = {}
        for port, pids in cls.pids.items():
            asks = [network.run(network.client, cls.peer, "ask", SERVER, port).split() for _ in range(ASKS if pids else 0)]
            cls.asked.update({(port, int(client)): int(pid) for client, pid in asks})

    @classmethod
    def traffic(cls, network):
        c = network.client
        stall = network.start(network.server, "/usr/bin/python3", "-c", STALL)
        push = network.start(c, "/usr/bin/python3", "-c", PUSH, SERVER, STALL_BYTES, ready=False)
        network.python(c, MAPPED, SERVER, agent_test.DOWN, agent_test.UP)
        network.python(c, RESETS, SERVER)
        network.python(c, UNREAD, SERVER, OPENED[0])
        cls.errors = [network.python(c, CONNECT, address, port).strip()
                      for address, port in ((SERVER, 79), (SERVER, 83), (SERVER, 82), (SERVER, 81), (NO_ROUTE, 80))]
        network.python(c, GIVE_UP, SERVER, 81)
        cls.full = network.start(network.server, "/usr/bin/python3", "-c", FULL)
        network.python(c, SIX, SERVER)
        time.sleep(1.2)  # a scan
        cls.overflows = counter(network, "TcpExtListenOverflows")
        push.wait(WITHIN_S)
        stall.wait(WITHIN_S)

    @classmethod
    def storm(cls, network):
        log = pathlib.Path(cls.folder, "storm")
        peer = network.start(network.client, cls.peer, "storm", 2, STORM, log, ready=False)
        cls.storm_pid = peer.pid
        cls.storm_s = float(peer.stdout.read())
        cls.log = [line.split() for line in log.read_text().splitlines()]

    @classmethod
    def busy(cls, network):
        """Many processes and few processors: packets' interrupts come in the middle of connect() and close()."""
        network.start(network.client, "/usr/bin/python3", "-c", BUSY_SERVE)
        spin = [subprocess.Popen([sys.executable, "-c", SPIN, str(os.getpid())]) for _ in range(4)]
        try:
            clients = [network.start(network.client, "/usr/bin/python3", "-c", SHORTS, f"127.0.0.{2 + i}", BUSY_EACH,
                                     ready=False) for i in range(BUSY_CLIENTS)]
            for client in clients:
                client.wait(WITHIN_S)
        finally:
            for one in spin:
                one.kill()
                one.wait()

    def client_half(self, port, **more):
        return self.events.find(role=1, local=CLIENT, remote=SERVER, remote_port=port, **more)

    def test_the_agent_ends_well_and_loses_nothing(self):
        self.assertEqual(self.status, 0, self.agent.log)
        last = self.events.batches[-1]
        self.assertEqual((last.dropped_ring, last.dropped_netlink, last.dropped_spool),
                         (missed_drops(self.agent.log), 0, 0), self.agent.log)
        vanished, closed = (int(self.metrics[f"millrace_agent_{what}_total"]) for what in ("vanished_sockets", "closes"))
        self.assertLessEqual(vanished, closed * HIDDEN)
        self.assertEqual(self.events.doubled, 0)

    def test_failures_are_told_apart(self):
        self.assertEqual(self.errors, ["111", "111", "113", "110", "113"])
        for port, reasons, flags in ((79, [REFUSED], RESET_RECEIVED), (83, [REFUSED], 0), (82, [UNREACHABLE], 0),
                                     (81, [CONNECT_TIMEOUT, ABORTED], 0)):
            rows = self.client_half(port)
            self.assertEqual([self.events.close(row).reason for row in rows], reasons, port)
            self.assertEqual({self.events.flag(row) for row in rows}, {flags}, port)
        self.assertEqual(self.events.find(remote=NO_ROUTE), [])  # connect() fails before there is anything to tell

    def test_a_reset_is_told_by_both_ends(self):
        for port, sender in ((7003, 2), (OPENED[0], 1)):  # by SO_LINGER, and by closing with bytes unread
            near = self.client_half(port)[-1]
            far, = self.events.find(role=2, local_port=port, remote=CLIENT, remote_port=near.local_port)
            sent, received = (near, far) if sender == 1 else (far, near)
            self.assertEqual(self.events.flag(sent) & (RESET_SENT | RESET_RECEIVED), RESET_SENT)
            self.assertEqual(self.events.flag(received) & (RESET_SENT | RESET_RECEIVED), RESET_RECEIVED)
            self.assertEqual(self.events.close(received).reason, RESET)

    def test_owners_are_those_who_answered(self):
        for (port, client), pid in self.asked.items():
            far, = self.events.find(role=2, local_port=port, remote_port=client)
            self.assertEqual(self.events.owner(far), pid, (port, client))
        self.assertGreaterEqual(len({pid for (port, _), pid in self.asked.items() if port == OPENED[0]}), 2)

    def test_owners_are_found_while_no_program_runs_at_each_send(self):
        exchanges, closes = self.workers
        for port, pid, reason in zip(self.ports, (exchanges, closes, closes), (NORMAL, RESET, NORMAL)):
            far, = self.events.find(role=2, local_port=HANDED, remote_port=port)
            self.assertEqual((self.events.owner(far), self.events.close(far).reason), (pid, reason))

    def test_a_listener_begins_overflows_and_ends(self):
        rows = [row for row in self.events.listeners if row.port == 7106]
        self.assertEqual(len({row.cookie for row in rows}), 1)
        self.assertEqual(rows[0].flags, 0)
        self.assertEqual({row.flags for row in rows[1:-1]}, {AGAIN})
        self.assertEqual(rows[-1].flags, AGAIN | ENDED)
        self.assertEqual(rows[0].address, bytes(4))
        full = max(rows, key=lambda row: row.drops)
        self.assertEqual((full.backlog, full.backlog_max), (2, 1))
        self.assertGreater(self.overflows, 0)
        self.assertEqual(full.drops, self.overflows)
        self.assertIn("python3", self.events.processes[rows[0].pid][1])

    def test_a_listener_from_before_is_told_and_again_within_a_key_frame(self):
        rows = [row for row in self.events.listeners if row.port == 7105]
        self.assertEqual(rows[0].flags, 0)

    def test_a_shut_window_is_told_until_it_opens(self):
        near, = self.client_half(7107)
        shut = self.events.windows[(near.slot, near.generation)]
        self.assertGreaterEqual(sum(shut), 2)
        self.assertFalse(shut[-1])
        self.assertEqual(self.events.close(near).tx_bytes, STALL_BYTES)
        self.assertEqual(self.events.flag(near) & ZERO_WINDOW, 0)

    def test_a_mapped_address_is_the_ipv4_address(self):
        near, = self.client_half(7001)
        end = self.events.close(near)
        self.assertEqual((end.tx_bytes, end.rx_bytes), (agent_test.UP, agent_test.DOWN))

    def test_a_connection_that_waited_to_be_accepted_is_told_at_its_first_byte(self):
        far, = self.events.find(role=2, local_port=7105)
        near, = self.client_half(7105)
        self.assertEqual([(end.tx_bytes, end.rx_bytes) for end in map(self.events.close, (near, far))], [(5, 4), (4, 5)])

    def test_a_storm_is_told_whole_once_and_to_the_byte(self):
        self.assertEqual(len(self.log), STORM)
        halves = collections.defaultdict(list)
        for row in self.events.definitions:
            key = (row.remote, row.local_port) if row.role == 1 else (row.local, row.remote_port)
            if key[0].startswith("127.1."):
                halves[key + (row.role,)].append(row)
        made = collections.Counter((address, int(port)) for address, _, port, _, _ in self.log)
        wanted = {key + (role,): count for key, count in made.items() for role in (1, 2)}
        other = [(key, len(halves.get(key, ())), wanted.get(key, 0)) for key in wanted.keys() | halves.keys()
                 if len(halves.get(key, ())) != wanted.get(key, 0)]
        self.assertEqual(other[:4], [], f"{len(other)}: (end, told, made)")
        wrong, owners, hidden = [], set(), 0
        for address, _, client_port, up, down in self.log:
            for role, wanted in ((1, (int(up), int(down))), (2, (int(down), int(up)))):
                row = halves[(address, int(client_port), role)].pop(0)  # a port may be taken again, later
                end = self.events.close(row)
                owners.add(self.events.owner(row))
                if end.reason == VANISHED:
                    hidden += 1
                elif (end.tx_bytes, end.rx_bytes) != wanted:
                    wrong.append((row, end, wanted))
        self.assertEqual(wrong[:3], [], len(wrong))
        self.assertLessEqual(hidden, 2 * STORM * HIDDEN)
        print(f"storm: {STORM / self.storm_s:.0f} connections/s, of {RATE} wanted", file=sys.stderr)
        self.assertEqual(owners, {self.storm_pid})

    def test_no_end_is_missed_when_interrupts_nest(self):
        near = self.events.find(role=1, remote_port=7002)
        far = self.events.find(role=2, local_port=7002)
        self.assertEqual((len(near), len(far)), (BUSY_CLIENTS * BUSY_EACH,) * 2)
        missing = [row for row in near + far if (row.slot, row.generation) not in self.events.closes]
        self.assertEqual(missing[:3], [], len(missing))


if __name__ == "__main__":
    reason = agent_test.why_not() or (None if shutil.which("cc") else "needs cc")
    if reason:
        print(f"skipped: {reason}")
        sys.exit(agent_test.SKIPPED)
    unittest.main(verbosity=2)
