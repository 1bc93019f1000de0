#!/usr/bin/python3
"""Dropped packets and ICMP errors: what the agent tells against the counters of iptables, sockets and /proc/net.

Real programs send what cannot arrive; then both agents end and everything is read. One agent sees all, the other one
namespace with very little room. Root and BTF are needed; without them the test is skipped.
"""

import re
import sys
import time
import unittest

import told
from told import CLIENT, CLIENT6, SERVER, SERVER6, N

TCP, UDP = 6, 17
DATAGRAMS, SIZE = 3000, 1000
FLOOD = 6000  # tuples
ROOM = 64
GHOST, GHOST6 = f"10.{N}.2.77", f"fd77:{N:x}:2::77"  # nobody

FULL = r"""
import socket, sys
s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
s.bind(("::", 6001)); print("ready", flush=True); sys.stdin.read()
"""

LISTEN = r"""
import socket, sys
s = socket.socket(); s.bind(("", 7010)); s.listen(); print("ready", flush=True)
c, _ = s.accept(); sys.stdin.read()
"""

HELD = r"""
import socket, sys
s = socket.create_connection((sys.argv[1], 7010)); print("ready", flush=True)
print(s.getsockname()[1], flush=True)
sys.stdin.readline(); s.send(b"lost"); sys.stdin.read()
"""

SEND = r"""
import socket, sys
address, port, count, size, source, hops, df = sys.argv[1], *map(int, sys.argv[2:])
v6 = ":" in address
s = socket.socket(socket.AF_INET6 if v6 else socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("", source))
if hops: s.setsockopt(*((socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS) if v6 else (socket.IPPROTO_IP, socket.IP_TTL)), hops)
if df: s.setsockopt(*((socket.IPPROTO_IPV6, 23) if v6 else (socket.IPPROTO_IP, 10)), 3)  # MTU_DISCOVER, PROBE
sent = 0
for i in range(count):
    try: s.sendto(b"d" * size, (address, port)); sent += 1
    except PermissionError: pass
print(sent)
"""

MANY = r"""
import socket, sys
for i in range(int(sys.argv[3])):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(("", 20000 + i))
    s.sendto(b"f", (sys.argv[1], int(sys.argv[2]))); s.close()
"""

CONNECT = r"""
import socket, sys
s = socket.socket(socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET); s.settimeout(5); s.bind(("", int(sys.argv[3])))
try: s.connect((sys.argv[1], int(sys.argv[2])))
except OSError as error: print(error.errno)
"""

# 20 connections whose two ends read all and close, and one whose server closes with 7 bytes unread
CLOSE = r"""
import socket, sys
listener = socket.create_server(("127.0.0.1", 7020))
for left in [0] * 20 + [7]:
    near = socket.create_connection(("127.0.0.1", 7020)); far, _ = listener.accept()
    near.sendall(b"whole"); far.recv(100); near.sendall(b"u" * left)
    if not left: near.close()
    far.close(); near.close()
"""


class Drops(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        broker = told.kafka.Kafka()
        cls.addClassCleanup(broker.stop)
        cls.network = network = told.Network("mrd")
        cls.addClassCleanup(network.stop)
        cls.rules()
        full = network.start_python(network.server, FULL)
        cls.addClassCleanup(told.processes.end, full)
        agent = told.Agent(broker.address, "drops")
        small = told.Agent(broker.address, "small", f"scope.netns={network.server}", f"limits.drops={ROOM}",
                           "features.conntrack=false")
        cls.traffic()
        time.sleep(2.5)  # the map in use is read within 1.2 s
        cls.small_folded = small.metric("drops_folded_total")
        cls.missed = agent.metric('dropped_events_total{where="kernel",kind="drop"}')
        cls.count_truth()
        cls.status = agent.stop(), small.stop()
        cls.log = agent.log
        cls.rows = told.Told(broker.address, "drops").drops()
        small_told = told.Told(broker.address, "small")
        cls.small_rows = small_told.drops()
        cls.batches = told.Told(broker.address, "drops").batches

    @classmethod
    def rules(cls):
        n = cls.network
        n.run(n.router, "ip", "link", "set", "to2", "mtu", 1280)
        n.run(n.client, "sysctl", "-qw", "net.ipv4.tcp_syn_retries=1")
        for program, prohibited in (("iptables", "icmp-admin-prohibited"), ("ip6tables", "icmp6-adm-prohibited")):
            for port, action in ((6002, ("DROP",)), (6003, ("REJECT",)), (6004, ("REJECT", "--reject-with", prohibited))):
                n.run(n.server, program, "-w", "-A", "INPUT", "-p", "udp", "--dport", port, "-j", *action)
            n.run(n.server, program, "-w", "-A", "INPUT", "-p", "tcp", "--dport", 81, "-j", "DROP")
            n.run(n.server, program, "-w", "-A", "INPUT", "-p", "tcp", "--dport", 82, "-j", "REJECT", "--reject-with",
                  prohibited)
            n.run(n.client, program, "-w", "-A", "OUTPUT", "-p", "udp", "--dport", 6005, "-j", "DROP")
        for setting in ("net.ipv4.icmp_ratelimit=0", "net.ipv4.icmp_msgs_per_sec=100000", "net.ipv4.icmp_msgs_burst=100000",
                        "net.ipv6.icmp.ratelimit=0"):
            for where in (n.server, n.router):
                n.run(where, "sysctl", "-qw", setting, check=False)  # some are the whole host's

    @classmethod
    def traffic(cls):
        n = cls.network

        def send(address, port, count, size=10, source=0, hops=0, df=0):
            return int(n.python(n.client, SEND, address, port, count, size, source, hops, df))

        send(SERVER, 6001, DATAGRAMS, SIZE, 5001)
        send(SERVER6, 6001, 500, SIZE, 5002)
        for address, base in ((SERVER, 5100), (SERVER6, 5200)):
            send(address, 6002, 200, source=base + 2)
            send(address, 6003, 20, source=base + 3)
            send(address, 6004, 20, source=base + 4)
            cls.denied = send(address, 6005, 30, source=base + 5)
            send(address, 6009, 25, source=base + 9)  # nobody listens
            send(address, 33434, 7, source=base + 10, hops=1)
            send(address, 6011, 5, size=1400, source=base + 11, df=1)
            for port in (79, 81, 82):
                n.python(n.client, CONNECT, address, port, base + 50 + port)
        send(GHOST, 6012, 2, source=5112)
        send(GHOST6, 6012, 2, source=5212)
        cls.established()
        n.python(n.server, CLOSE)
        time.sleep(3.5)  # neighbours are given up after 3 s
        n.python(n.client, MANY, SERVER, 6002, FLOOD)

    @classmethod
    def established(cls):
        """A connection whose sender is cut off by its own host's firewall."""
        n = cls.network
        server, client = n.start_python(n.server, LISTEN), n.start_python(n.client, HELD, SERVER)
        cls.held_port = int(client.stdout.readline())
        n.run(n.client, "iptables", "-w", "-A", "OUTPUT", "-p", "tcp", "--dport", 7010, "-j", "DROP")
        client.stdin.write("\n")
        client.stdin.flush()
        time.sleep(2)  # the row is told while the socket lives
        n.run(n.client, "iptables", "-w", "-D", "OUTPUT", "-p", "tcp", "--dport", 7010, "-j", "DROP")
        for child in (client, server):
            told.processes.end(child)

    @classmethod
    def count_truth(cls):
        n = cls.network
        cls.rule = {}
        for name, netns, chain in (("client", n.client, "OUTPUT"), ("server", n.server, "INPUT")):
            for v6, program in ((False, "iptables"), (True, "ip6tables")):
                for line in n.run(netns, program, "-w", "-nvxL", chain).splitlines():
                    found = re.match(r"\s*(\d+)\s+(\d+)\s.*dpt:(\d+)", line)
                    if found:
                        cls.rule[name, v6, int(found[3])] = int(found[1]), int(found[2])
        cls.udp_drops = sum(int(line.split()[-1]) for line in n.run(n.server, "cat", "/proc/net/udp6").splitlines()
                            if ":1771 " in line)  # 6001
        text = n.run(n.client, "cat", "/proc/net/snmp")
        heads = re.findall(r"^Icmp: (.*)$", text, re.M)
        icmp = dict(zip(heads[0].split(), map(int, heads[1].split())))
        icmp6 = {name: int(value) for name, value in
                 (line.split() for line in n.run(n.client, "cat", "/proc/net/snmp6").splitlines())}
        cls.came = {
            (False, "unreachable"): icmp["InDestUnreachs"], (False, "ttl_exceeded"): icmp["InTimeExcds"],
            (True, "unreachable"): icmp6["Icmp6InDestUnreachs"], (True, "ttl_exceeded"): icmp6["Icmp6InTimeExcds"],
            (True, "fragmentation_needed"): icmp6["Icmp6InPktTooBigs"]}
        text = n.run(n.server, "cat", "/proc/net/snmp")
        heads = re.findall(r"^Udp: (.*)$", text, re.M)
        cls.no_ports = dict(zip(heads[0].split(), map(int, heads[1].split())))["NoPorts"]

    def find(self, rows=None, **wanted):
        return [row for row in (self.rows if rows is None else rows)
                if all(row[name] == value for name, value in wanted.items())]

    def sums(self, rows):
        return sum(row["packets"] for row in rows), sum(row["bytes"] for row in rows)

    def test_the_agents_end_well_and_miss_nothing(self):
        self.assertEqual(self.status, (0, 0), self.log)
        self.assertEqual(self.missed, 0)

    def test_a_full_receive_buffer_is_told_to_the_datagram(self):
        rows = self.find(reason="SOCKET_RCVBUFF", destination_port=6001)
        v4, v6 = self.find(rows, destination=SERVER), self.find(rows, destination=SERVER6)
        self.assertEqual(sum(row["packets"] for row in rows), self.udp_drops)
        self.assertGreater(self.sums(v4)[0], DATAGRAMS - 10)
        self.assertEqual(self.sums(v4)[1], self.sums(v4)[0] * (SIZE + 28))
        self.assertEqual(self.sums(v6), (500, 500 * (SIZE + 48)))
        self.assertEqual({(row["source"], row["source_port"], row["protocol"], row["netns"], row["icmp"]) for row in rows},
                         {(CLIENT, 5001, UDP, self.network.inode(self.network.server), False),
                          (CLIENT6, 5002, UDP, self.network.inode(self.network.server), False)})
        self.assertTrue(all("udp" in row["location"] for row in rows), rows)

    def test_what_a_rule_drops_is_what_its_counter_says(self):
        n = self.network
        for (where, v6, port), truth in self.rule.items():
            near, far = (CLIENT6, SERVER6) if v6 else (CLIENT, SERVER)
            rows = self.find(reason="NETFILTER_DROP", source=near, destination=far, destination_port=port)
            if truth[0] > 1000:  # the flood may fold; the other agent's test is about that
                self.assertLessEqual(self.sums(rows)[0], truth[0])
                rows = [row for row in rows if row["source_port"] < 20000]
                truth = 200, 200 * 38
            self.assertEqual(self.sums(rows), truth, (where, v6, port))
            netns = n.inode(getattr(n, where))
            self.assertEqual({(row["netns"], row["protocol"]) for row in rows}, {(netns, TCP if port < 100 else UDP)})
        self.assertEqual(self.denied, 0)  # the program was told so, too

    def test_an_icmp_error_is_told_with_the_packet_that_it_is_about(self):
        client = self.network.inode(self.network.client)
        for v6 in (False, True):
            near, far, ghost = (CLIENT6, SERVER6, GHOST6) if v6 else (CLIENT, SERVER, GHOST)
            base = 5200 if v6 else 5100
            for reason, protocol, destination, port, source_port, count in (
                    ("port_unreachable", UDP, far, 6003, base + 3, 20),
                    ("admin_prohibited", UDP, far, 6004, base + 4, 20),
                    ("port_unreachable", UDP, far, 6009, base + 9, 25),
                    ("ttl_exceeded", UDP, far, 33434, base + 10, 7),
                    ("fragmentation_needed", UDP, far, 6011, base + 11, 5),
                    ("host_unreachable", UDP, ghost, 6012, base + 12, 2),
                    ("admin_prohibited", TCP, far, 82, base + 132, self.rule["server", v6, 82][0])):
                rows = self.find(icmp=True, protocol=protocol, source=near, destination=destination,
                                 destination_port=port, source_port=source_port)
                self.assertEqual({(row["reason"], row["netns"], row["bytes"]) for row in rows}, {(reason, client, 0)},
                                 (v6, port))
                self.assertEqual(self.sums(rows)[0], count, (v6, port))

    def test_as_many_icmp_errors_are_told_as_the_kernel_counted(self):
        client = self.network.inode(self.network.client)
        kinds = {"ttl_exceeded": ["ttl_exceeded"], "fragmentation_needed": ["fragmentation_needed"]}
        for (v6, kind), count in self.came.items():
            rows = [row for row in self.find(icmp=True, netns=client) if (":" in row["source"]) == v6]
            names = kinds.get(kind) or {row["reason"] for row in rows} - {"ttl_exceeded"} - \
                ({"fragmentation_needed"} if v6 else set())
            self.assertEqual(sum(row["packets"] for row in rows if row["reason"] in names), count, (v6, kind))
        self.assertGreater(sum(self.came.values()), 150)

    def test_a_packet_that_nobody_wants_has_no_socket(self):
        server = self.network.inode(self.network.server)
        rows = self.find(reason="NO_SOCKET", netns=server, protocol=UDP, destination=SERVER)
        self.assertEqual(self.sums(rows)[0], self.no_ports)
        for address, source, base in ((SERVER, CLIENT, 5100), (SERVER6, CLIENT6, 5200)):
            rows = self.find(reason="NO_SOCKET", netns=server, protocol=UDP, destination=address, destination_port=6009)
            self.assertEqual({(row["source"], row["source_port"]) for row in rows}, {(source, base + 9)})
            self.assertEqual(self.sums(rows)[0], 25)
            rows = self.find(reason="NO_SOCKET", netns=server, protocol=TCP, destination=address, destination_port=79)
            self.assertEqual([(row["source"], row["source_port"], row["packets"]) for row in rows],
                             [(source, base + 129, 1)])

    def test_a_drop_names_the_socket_that_it_was_of(self):
        rows = self.find(reason="NETFILTER_DROP", destination_port=7010, source_port=self.held_port, protocol=TCP)
        self.assertTrue(rows)
        named = {row["slot"] - 1 for row in rows if row["slot"]}  # none once the socket is gone
        self.assertTrue(named)
        self.assertLessEqual(named, self.slots(self.held_port))

    def test_a_dropped_datagram_names_the_peer_of_the_socket_that_it_was_for(self):
        for source_port in (5001, 5002):
            rows = self.find(reason="SOCKET_RCVBUFF", destination_port=6001, source_port=source_port)
            slots = self.slots(6001, source_port)
            self.assertEqual(len(slots), 1)
            self.assertEqual({row["slot"] - 1 for row in rows}, slots)

    def slots(self, local_port, remote_port=None):
        return {slot for batch in self.batches
                for slot, local, remote in zip(batch.definitions.slot, batch.definitions.local_port,
                                               batch.definitions.remote_port)
                if local == local_port and remote_port in (None, remote)}

    def test_a_connection_that_ends_well_dropped_nothing(self):
        rows = [row for row in self.rows if 7020 in (row["destination_port"], row["source_port"])]
        self.assertEqual(rows, [])  # the kernel tells of unread bytes by a RST alone

    def test_every_drop_names_a_function_of_the_kernel(self):
        with open("/proc/kallsyms") as file:
            names = {line.split()[2] for line in file}
        for row in self.rows:
            if not row["icmp"] and row["netns"]:
                self.assertIn(row["location"], names, row)

    def test_a_flood_of_tuples_costs_no_room_and_its_sum_is_right(self):
        rows = self.find(self.small_rows, reason="NETFILTER_DROP")
        counted = sum(packets for (where, _, _), (packets, _) in self.rule.items() if where == "server")
        sizes = sum(size for (where, _, _), (_, size) in self.rule.items() if where == "server")
        self.assertEqual(self.sums(rows), (counted, sizes))
        folded = self.find(rows, source="::", destination="::", protocol=0, netns=0)
        self.assertGreater(self.sums(folded)[0], FLOOD / 2)
        self.assertGreaterEqual(self.small_folded, self.sums(folded)[0])
        per_batch = {}
        for row in self.small_rows:
            per_batch[row["sequence"]] = per_batch.get(row["sequence"], 0) + (row["source"] != "::")
        self.assertLessEqual(max(per_batch.values()), ROOM)


if __name__ == "__main__":
    reason = told.why_not("iptables", "ip6tables")
    if reason:
        print(f"skipped: {reason}")
        sys.exit(told.SKIPPED)
    unittest.main(verbosity=2)
