#!/usr/bin/python3
"""The real agent, the real kernel, a real Kafka: what batches say against what the programs did.

Three namespaces, client - router - server, the router with DNAT; the agent in the host's. All traffic is made first,
then the agent ends and everything is read. Root and BTF are needed; without them the test is skipped.
"""

import collections
import ipaddress
import itertools
import os
import pathlib
import shutil
import sys
import tempfile
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import kafka
import network
import records
import told
from agents import AGENT, HIDDEN, WITHIN_S, Agent
from network import CLIENT, CLIENT6, SERVER, SERVER6, N as NET, run
from told import SKIPPED

SHORT = 5000
DOWN, UP = 1234567, 54321  # bytes of the exact transfer: server to client, client to server
VIP = f"10.{NET}.200.10"
NORMAL, RESET, REFUSED, CONNECT_TIMEOUT, UNREACHABLE, ABORTED, VANISHED = 1, 2, 4, 5, 6, 7, 8
AGAIN, EXISTED, ROLE_GUESSED = 1, 2, 4

SERVE = r"""
import socket, struct, sys, threading
DOWN, UP = int(sys.argv[1]), int(sys.argv[2])
def listen(family, port):
    s = socket.socket(family); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind(("", port)); s.listen(1024); return s
def exact(c):
    got = 0
    while got < UP: got += len(c.recv(1 << 16))
    c.sendall(b"x" * DOWN); c.recv(1); c.close()
def short(c): c.close()
def held(c): c.recv(1); c.close()
def reset(c):
    c.recv(1); c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)); c.close()
def loop(s, act, threads):
    while True:
        c, _ = s.accept()
        if threads: threading.Thread(target=act, args=(c,), daemon=True).start()
        else: act(c)
for family, port, act, threads in ((socket.AF_INET6, 7001, exact, 1), (socket.AF_INET, 7002, short, 0),
                                   (socket.AF_INET, 7003, reset, 1), (socket.AF_INET, 7004, held, 1)):
    threading.Thread(target=loop, args=(listen(family, port), act, threads), daemon=True).start()
print("ready", flush=True); sys.stdin.read()
"""

EXACT = r"""
import socket, sys
s = socket.create_connection((sys.argv[1], 7001)); s.sendall(b"y" * int(sys.argv[3]))
got = 0
while got < int(sys.argv[2]): got += len(s.recv(1 << 16))
s.close()
"""

SHORTS = r"""
import socket, sys
for _ in range(int(sys.argv[2])):
    s = socket.create_connection((sys.argv[1], 7002)); s.recv(1); s.close()
"""

RESETS = r"""
import socket, sys
s = socket.create_connection((sys.argv[1], 7003)); s.sendall(b"r")
try: s.recv(1)
except ConnectionResetError: pass
s.close()
"""

CONNECT = r"""
import socket, sys
try: socket.create_connection((sys.argv[1], int(sys.argv[2]))).close()
except OSError as error: print(error.errno)
"""

GIVE_UP = r"""
import socket, sys, time
s = socket.socket(); s.setblocking(False); s.connect_ex((sys.argv[1], int(sys.argv[2]))); time.sleep(0.2); s.close()
"""

HOLD = r"""
import socket, sys
s = socket.create_connection((sys.argv[1], 7004)); print("ready", flush=True); sys.stdin.read(); s.send(b"e"); s.close()
"""


def why_not():
    return told.why_not("iptables", "nginx", "curl")


class Network(network.Network):
    """With DNAT and with what makes connects fail."""

    def __init__(self):
        super().__init__("mra")
        # as a veth to the host would: its events reach the host's socket; any agent may have done so already
        run("ip", "netns", "set", self.router, "auto", check=False)
        self.run(self.client, "sysctl", "-qw", "net.ipv4.tcp_syn_retries=1")
        self.run(self.router, "iptables", "-t", "nat", "-A", "PREROUTING", "-d", VIP, "-p", "tcp", "--dport", "80",
                 "-j", "DNAT", "--to-destination", f"{SERVER}:8080")
        self.run(self.server, "iptables", "-A", "INPUT", "-p", "tcp", "--dport", "81", "-j", "DROP")
        self.run(self.server, "iptables", "-A", "INPUT", "-p", "tcp", "--dport", "82", "-j", "REJECT", "--reject-with",
                 "icmp-admin-prohibited")


class Events:
    """All batches of a node, as rows."""

    def __init__(self, address, node, take=True):
        self._clear()
        self.batches = records.batches(address, node)
        for batch in self.batches if take else []:
            self._take(batch)

    def _clear(self):
        self.batches, self.definitions, self.closes, self.nat, self.processes = [], [], {}, [], {}

    @classmethod
    def of(cls, batches):
        """These batches alone, in this order: one epoch's."""
        events = cls.__new__(cls)
        events._clear()
        events.batches = batches
        for batch in batches:
            events._take(batch)
        return events

    def _take(self, batch):
        Row = collections.namedtuple("Row", "slot generation flags role local remote local_port remote_port pid connect_us")
        Close = collections.namedtuple("Close", "reason pid tx_bytes rx_bytes connect_us min_rtt_us")

        v4 = len(batch.addresses_v4) // 4

        def address(index):
            if index < v4:
                return str(ipaddress.IPv4Address(batch.addresses_v4[4 * index:4 * index + 4]))
            at = 16 * (index - v4)
            ip = ipaddress.IPv6Address(batch.addresses[at:at + 16])
            return str(ip.ipv4_mapped or ip)

        class Columns:  # of a group: those that are not there are zeros
            def __init__(self, group):
                self.group = group

            def __getattr__(self, name):
                return getattr(self.group, name) or collections.defaultdict(int)

        p, n, d, c = (Columns(group) for group in (batch.processes, batch.nat, batch.definitions, batch.closes))
        for i, pid in enumerate(itertools.accumulate(batch.processes.pid_change)):
            self.processes[pid] = tuple(batch.strings[column[i]] for column in (p.comm, p.exe, p.cmdline))
        for i in range(len(n.protocol)):
            self.nat.append((n.op[i], address(n.original_source[i]), n.original_source_port[i],
                             address(n.original_destination[i]), n.original_destination_port[i],
                             address(n.reply_source[i]), n.reply_source_port[i], address(n.reply_destination[i]),
                             n.reply_destination_port[i]))
        for i in range(len(d.slot)):
            row = Row(d.slot[i], d.generation[i], d.flags[i], d.role[i], address(d.local[i]), address(d.remote[i]),
                      d.local_port[i], d.remote_port[i], d.pid[i], d.connect_us[i])
            if not row.flags & AGAIN:
                self.definitions.append(row)
                self.last = getattr(self, "last", {})
                self.last[row.slot] = row.generation
        for i in range(len(c.slot)):
            self.closes[(c.slot[i], self.last[c.slot[i]])] = Close(c.reason[i], c.pid[i], c.tx_bytes[i], c.rx_bytes[i],
                                                                   c.connect_us[i], c.min_rtt_us[i])

    def find(self, **wanted):
        return [row for row in self.definitions if all(getattr(row, name) == value for name, value in wanted.items())]

    def close(self, row):
        return self.closes[(row.slot, row.generation)]


def start_nginx(network, folder):
    pathlib.Path(folder, "www").mkdir()
    pathlib.Path(folder, "www", "page").write_bytes(b"p" * 100000)
    config = pathlib.Path(folder, "nginx.conf")
    config.write_text(f"daemon off; worker_processes 2; pid {folder}/nginx.pid; error_log stderr crit; events {{}}\n"
                      f"http {{ access_log off; server {{ listen 8080; root {folder}/www; }} }}\n")
    network.start(network.server, "nginx", "-c", config, "-e", "stderr", ready=False)


def make_traffic(network):
    c = network.client
    network.python(c, EXACT, SERVER, DOWN, UP)
    network.python(c, EXACT, SERVER6, DOWN, UP)
    network.python(c, SHORTS, SERVER, SHORT)
    network.python(c, RESETS, SERVER)
    network.errors = [network.python(c, CONNECT, SERVER, port).strip() for port in (79, 81, 82)]
    network.python(c, GIVE_UP, SERVER, 81)
    network.page = network.run(c, "curl", "-s", "-o", "/dev/null", "--retry", "20", "--retry-connrefused",
                               "-w", "%{http_code} %{size_download}", f"http://{VIP}/page")


class Live(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix="millrace-agent-")
        cls.addClassCleanup(shutil.rmtree, cls.folder, ignore_errors=True)
        os.chmod(cls.folder, 0o755)
        broker = kafka.Kafka()
        cls.addClassCleanup(broker.stop)
        cls.network = network = Network()
        cls.addClassCleanup(network.stop)
        network.start_python(network.server, SERVE, DOWN, UP)
        start_nginx(network, cls.folder)
        held = network.start_python(network.client, HOLD, SERVER)  # before the agent
        cls.agent = Agent(broker.address, "live")
        scoped = Agent(broker.address, "scoped", f"scope.netns={network.client}")
        make_traffic(network)
        held.stdin.close()  # it says goodbye
        held.wait(WITHIN_S)
        time.sleep(1.2)  # a scan, so that the last updates are in
        cls.metrics = scoped.metrics()  # nobody else works in its namespace
        cls.status, cls.scoped_status = cls.agent.stop(), scoped.stop()
        cls.events = Events(broker.address, "live")
        cls.scoped = Events(broker.address, "scoped")

    def halves(self, remote, port, local):
        """The client's and the server's definition of the one connection from local to remote:port."""
        client, = self.events.find(role=1, local=local, remote=remote, remote_port=port)
        server, = self.events.find(role=2, local=remote, local_port=port, remote=local, remote_port=client.local_port)
        return client, server

    def test_the_agent_ends_well_and_loses_nothing(self):
        self.assertEqual((self.status, self.scoped_status), (0, 0), self.agent.log)
        last = self.events.batches[-1]
        self.assertEqual((last.dropped_ring, last.dropped_netlink, last.dropped_spool), (0, 0, 0))
        self.assertEqual([b.sequence for b in self.events.batches], list(range(len(self.events.batches))))
        self.assertEqual(last.first_event, sum(b.events for b in self.events.batches[:-1]))

    def test_payload_bytes_are_exact_at_both_ends(self):
        for server, client in ((SERVER, CLIENT), (SERVER6, CLIENT6)):
            near, far = self.halves(server, 7001, client)
            near_end, far_end = self.events.close(near), self.events.close(far)
            self.assertEqual((near_end.tx_bytes, near_end.rx_bytes), (UP, DOWN))
            self.assertEqual((far_end.tx_bytes, far_end.rx_bytes), (DOWN, UP))
            self.assertEqual((near_end.reason, far_end.reason), (NORMAL, NORMAL))
            self.assertGreater(near.connect_us, 0)
            self.assertGreater(near_end.min_rtt_us, 0)

    def test_no_short_connection_is_missed(self):
        near = self.events.find(role=1, local=CLIENT, remote=SERVER, remote_port=7002)
        far = self.events.find(role=2, local=SERVER, local_port=7002)
        self.assertEqual((len(near), len(far)), (SHORT, SHORT))
        ends = collections.Counter(end.reason if (end := self.events.closes.get((row.slot, row.generation))) else None
                                   for row in near + far)
        self.assertLessEqual(ends.keys(), {NORMAL, VANISHED, None}, ends)
        self.assertGreaterEqual(ends[NORMAL], 2 * SHORT * (1 - HIDDEN), ends)
        self.assertEqual({r.local_port for r in near}, {r.remote_port for r in far})

    def test_failed_connects_have_their_reason(self):
        self.assertEqual(self.network.errors, ["111", "110", "113"])
        for port, reasons in ((79, [REFUSED]), (81, [CONNECT_TIMEOUT, ABORTED]), (82, [UNREACHABLE])):
            rows = self.events.find(role=1, remote=SERVER, remote_port=port)
            self.assertEqual([self.events.close(row).reason for row in rows], reasons)
            self.assertTrue(all(self.events.close(row).connect_us > 0 for row in rows))

    def test_a_reset_is_told_by_who_received_it(self):
        near, far = self.halves(SERVER, 7003, CLIENT)
        self.assertEqual(self.events.close(near).reason, RESET)
        self.assertEqual(self.events.close(far).reason, NORMAL)

    def test_a_socket_from_before_is_listed_with_its_role(self):
        for row, role in zip(self.halves(SERVER, 7004, CLIENT), (1, 2)):
            self.assertEqual(row.flags, EXISTED | ROLE_GUESSED)
            self.assertEqual(row.role, role)
            self.assertIn("python3", self.events.processes[row.pid][1])
            self.assertEqual(self.events.close(row).reason, NORMAL)

    def test_nat_joins_what_the_client_dialled_to_what_the_server_saw(self):
        self.assertEqual(self.network.page, "200 100000")
        near, = [row for row in self.events.find(role=1, local=CLIENT, remote=VIP) if self.events.close(row).reason == NORMAL]
        entry, = [nat for nat in self.events.nat if nat[0] == 0 and nat[1:5] == (CLIENT, near.local_port, VIP, 80)]
        self.assertEqual(entry[5:], (SERVER, 8080, CLIENT, near.local_port))
        far, = self.events.find(role=2, local=SERVER, local_port=8080, remote=CLIENT, remote_port=near.local_port)
        self.assertEqual(self.events.close(near).rx_bytes, self.events.close(far).tx_bytes)

    def test_owners_are_the_processes_that_did_it(self):
        near, = [row for row in self.events.find(role=1, remote=VIP) if self.events.close(row).reason == NORMAL]
        comm, exe, cmdline = self.events.processes[near.pid]
        self.assertEqual((comm, exe), ("curl", "/usr/bin/curl"))
        self.assertIn(f"http://{VIP}/page", cmdline)
        far, = self.events.find(role=2, local=SERVER, local_port=8080, remote_port=near.local_port)
        comm, exe, cmdline = self.events.processes[self.events.close(far).pid or far.pid]
        self.assertEqual(comm, "nginx")
        self.assertIn("worker process", cmdline)  # the worker that served, not the master that listens

    def test_a_scope_leaves_out_the_other_namespaces(self):
        self.assertEqual({row.local for row in self.scoped.definitions}, {CLIENT, CLIENT6})
        self.assertEqual(len(self.scoped.find(role=1, remote_port=7002)), SHORT)
        self.assertEqual(self.scoped.find(role=2), [])
        self.assertEqual(self.scoped.nat, [])  # the router does it

    def test_metrics_agree_with_the_batches(self):
        self.assertEqual(int(self.metrics["millrace_agent_failed_connects_total"]), 4)
        self.assertEqual(int(self.metrics["millrace_agent_unknown_sockets_total"]), 0)
        self.assertLess(float(self.metrics["millrace_agent_bpf_seconds_total"]), 5)


class Away(unittest.TestCase):
    def test_a_broker_that_dies_and_comes_back_has_every_batch_in_order(self):
        with kafka.Kafka() as broker:
            agent = Agent(broker.address, "away")
            broker.kill()
            waiting = made = 0
            deadline = time.monotonic() + WITHIN_S
            while waiting < 5 and time.monotonic() < deadline:
                run("curl", "-s", "http://127.0.0.1:1/", check=False)  # something to tell
                made += 1
                waiting = float(agent.metrics()["millrace_agent_spool_batches"])
                time.sleep(0.1)
            self.assertGreaterEqual(waiting, 5)
            broker.restart()
            deadline = time.monotonic() + WITHIN_S
            while agent.get("/readyz") != 200 and time.monotonic() < deadline:
                time.sleep(0.1)
            self.assertEqual(agent.stop(), 0, agent.log)
            self.assertNotIn("not delivered", agent.log)
            events = Events(broker.address, "away")
            self.assertEqual([b.sequence for b in events.batches], list(range(len(events.batches))))
            refused = [row for row in events.find(remote_port=1) if events.close(row).reason == REFUSED]
            self.assertGreaterEqual(len(refused), made)


if __name__ == "__main__":
    reason = why_not()
    if reason:
        print(f"skipped: {reason}")
        sys.exit(SKIPPED)
    unittest.main(verbosity=2)
