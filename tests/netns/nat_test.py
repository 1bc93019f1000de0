#!/usr/bin/python3
"""NAT in every network namespace: the table that the agent tells against `conntrack -L`.

DNAT, SNAT, MASQUERADE by iptables and nftables, IPv4 and IPv6, TCP and UDP, zones and marks, namespaces made later and
taken away; and bursts of ends and beginnings that the smallest netlink buffer cannot hold. MILLRACE_ROUNDS: bursts, 3.
Root and BTF are needed; without them the test is skipped.
"""

import collections
import os
import re
import subprocess
import sys
import time
import unittest

import told
from told import CLIENT, CLIENT6, SERVER, SERVER6, N

TCP, UDP = 6, 17
VIP, VIP6 = f"10.{N}.200.10", f"fd77:{N:x}:200::10"
BURST = 30000
ROUNDS = int(os.environ.get("MILLRACE_ROUNDS", "3"))
WITHIN_S = 5  # of the end of a burst (H-21)

SERVE = r"""
import socket, sys, threading
def tcp(family, port):
    s = socket.socket(family); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6: s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    s.bind(("", port)); s.listen(64)
    while True:
        c, a = s.accept(); c.sendall(repr(a[:2]).encode() + b"\n"); held.append(c)
def udp(family, port):
    s = socket.socket(family, socket.SOCK_DGRAM)
    if family == socket.AF_INET6: s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    s.bind(("", port))
    while True:
        _, a = s.recvfrom(100); s.sendto(repr(a[:2]).encode() + b"\n", a)
held = []
for family in (socket.AF_INET, socket.AF_INET6):
    for act, port in ((tcp, 8080), (udp, 5353)):
        threading.Thread(target=act, args=(family, port), daemon=True).start()
print("ready", flush=True); sys.stdin.read()
"""

# ADDRESS PORT tcp|udp SOURCE-PORT: what the server sees of us
ASK = r"""
import socket, sys
address, port, kind, source = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
s = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET,
                  socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
s.settimeout(10); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); s.bind(("", source)); s.connect((address, port))
if kind == "udp": s.send(b"?")
print(s.recv(200).decode(), end="")
"""

BURSTS = r"""
import socket, sys
first, count = int(sys.argv[2]), int(sys.argv[3])
for port in range(first, first + count):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(("", port)); s.sendto(b"b", (sys.argv[1], 9000)); s.close()
"""


def table(lab, netns):
    """conntrack -L of a namespace, the entries with NAT: {(zone, mark, protocol, original, reply)}."""
    rows = set()
    for family in ("ipv4", "ipv6"):
        for line in lab.run(netns, "conntrack", "-L", "-f", family, check=False).splitlines():
            words = re.findall(r"(\w+(?:-\w+)?)=(\S+)", line)
            ends = [value for name, value in words if name in ("src", "dst", "sport", "dport")]
            if len(ends) != 8 or line.split()[0] not in ("tcp", "udp"):
                continue
            fields = dict(words)
            original, reply = ((ends[i], int(ends[i + 2]), ends[i + 1], int(ends[i + 3])) for i in (0, 4))
            if original == (reply[2], reply[3], reply[0], reply[1]):
                continue
            zone = int(fields.get("zone") or fields.get("zone-orig") or 0)
            rows.add((zone, int(fields.get("mark", 0)), TCP if line.startswith("tcp") else UDP, original, reply))
    return rows


class Mirror:
    """The table as a reader of the batches has it: by namespace, zone, protocol and original tuple."""

    def __init__(self):
        self.rows = {}

    def take(self, row):
        ended, netns, zone, mark, protocol, original, reply = row
        key = netns, zone, protocol, original
        if ended:
            self.rows.pop(key, None)
        else:
            self.rows[key] = mark, reply

    def of(self, netns):
        return {(zone, mark, protocol, original, reply)
                for (where, zone, protocol, original), (mark, reply) in self.rows.items() if where == netns}


class Nat(unittest.TestCase):
    def setUp(self):
        self.lab = told.Network("mrn")
        self.addCleanup(self.lab.stop)
        child = self.lab.start_python(self.lab.server, SERVE)
        self.addCleanup(told.processes.end, child)
        for name in ("udp_timeout", "udp_timeout_stream", "tcp_timeout_close", "tcp_timeout_time_wait", "tcp_timeout_last_ack",
                     "tcp_timeout_fin_wait", "tcp_timeout_close_wait"):
            self.set_timeout(self.lab.router, name)

    def set_timeout(self, netns, name):
        self.lab.run(netns, "sysctl", "-qw", f"net.netfilter.nf_conntrack_{name}=600")

    def start_agent(self, *settings):
        name = self.id().rsplit(".", 1)[1]
        self.agent = told.Agent(self.broker.address, name, "limits.nat=262144", "features.drops=false",
                                "features.processes=false", *settings)
        self.addCleanup(told.processes.end, self.agent.process)
        return name

    def told(self, name):
        return told.Told(self.broker.address, name)

    def mirror(self, name):
        mirror = Mirror()
        for _, rows in self.told(name).nat():
            for row in rows:
                mirror.take(row)
        return mirror

    def ask(self, address, port, kind, source):
        return self.lab.python(self.lab.client, ASK, address, port, kind, source).strip()

    def assert_same(self, rows, truth):
        wrong = rows ^ truth
        self.assertEqual(len(wrong), 0, f"of {len(truth)}; {sorted(wrong)[:4]}")

    def assert_equal_tables(self, name, *namespaces):
        time.sleep(1)
        mirror = self.mirror(name)
        for netns in namespaces:
            truth = table(self.lab, netns)
            self.assertTrue(truth)
            self.assertEqual(mirror.of(self.lab.inode(netns)), truth)

    def rules(self, *rules, program="iptables", where=None):
        for rule in rules:
            self.lab.run(where or self.lab.router, program, "-w", "-t", *rule.split())

    def test_iptables_dnat_snat_and_masquerade_of_both_families_and_protocols(self):
        before = ("nat -A PREROUTING -p udp -d {vip} --dport 53 -j DNAT --to-destination {server}:5353",
                  "nat -A PREROUTING -p tcp -d {vip} --dport 80 -j DNAT --to-destination {server}:8080",
                  "nat -A PREROUTING -p tcp -d {vip} --dport 81 -j DNAT --to-destination {server}:8080",
                  "nat -A POSTROUTING -p tcp --sport 6001 -j MASQUERADE",
                  "nat -A POSTROUTING -p udp --sport 6003 -j SNAT --to-source {router}:7003",
                  "mangle -A PREROUTING -p tcp --dport 81 -j CONNMARK --set-mark 0x2a")
        for program, words in (("iptables", dict(vip=VIP, server=SERVER, router=f"10.{N}.2.1")),
                               ("ip6tables", dict(vip=VIP6, server=f"[{SERVER6}]", router=f"[fd77:{N:x}:2::1]"))):
            self.rules(*(rule.format(**words) for rule in before), program=program)
        old = [self.ask(VIP, 80, "tcp", 6000), self.ask(VIP6, 80, "tcp", 6000)]  # before the agent
        name = self.start_agent("key_frame.period=5s")
        for vip, server in ((VIP, SERVER), (VIP6, SERVER6)):
            self.ask(vip, 80, "tcp", 6001)   # DNAT and MASQUERADE
            self.ask(vip, 53, "udp", 6002)   # DNAT
            self.ask(server, 5353, "udp", 6003)  # SNAT
            self.ask(server, 8080, "tcp", 6001 + 1000)  # no NAT
            self.ask(vip, 81, "tcp", 6004)   # with a mark
        self.assert_equal_tables(name, self.lab.router)
        mirror = self.mirror(name).of(self.lab.inode(self.lab.router))
        self.assertEqual(len(mirror), 2 * 5)
        self.assertEqual({(mark, original[1]) for _, mark, _, original, _ in mirror if mark}, {(42, 6004)})
        near = {(original[0], reply[2:]) for _, _, _, original, reply in mirror if original[1] == 6001}
        self.assertEqual(near, {(CLIENT, (f"10.{N}.2.1", 6001)), (CLIENT6, (f"fd77:{N:x}:2::1", 6001))})
        self.assertTrue(all("6000" in answer for answer in old))
        self.lab.run(self.lab.router, "conntrack", "-D", "-p", "udp")
        self.lab.run(self.lab.router, "conntrack", "-D", "-f", "ipv6", "-p", "tcp")
        time.sleep(8)  # an entry that nobody listened to when it was made ends silently: the next sweep tells
        self.assert_equal_tables(name, self.lab.router)
        self.assertEqual(self.agent.stop(), 0, self.agent.log)

    def test_nftables_dnat_snat_and_masquerade(self):
        subprocess.run(["ip", "netns", "exec", self.lab.router, "nft", "-f", "-"], check=True, text=True, input=f"""
            table inet shop {{
                chain before {{ type nat hook prerouting priority dstnat;
                    ip daddr {VIP} tcp dport 80 dnat ip to {SERVER}:8080
                    ip daddr {VIP} udp dport 53 dnat ip to {SERVER}:5353
                    ip6 daddr {VIP6} tcp dport 80 dnat ip6 to [{SERVER6}]:8080
                    ip6 daddr {VIP6} udp dport 53 dnat ip6 to [{SERVER6}]:5353
                }}
                chain behind {{ type nat hook postrouting priority srcnat;
                    tcp sport 6001 masquerade
                    ip protocol udp udp sport 6002 snat ip to 10.{N}.2.1:7002
                }}
            }}""")
        name = self.start_agent()
        for vip in (VIP, VIP6):
            self.ask(vip, 80, "tcp", 6001)
            self.ask(vip, 53, "udp", 6002)
            self.ask(vip, 80, "tcp", 6003)
        self.assert_equal_tables(name, self.lab.router)
        self.assertEqual(len(self.mirror(name).of(self.lab.inode(self.lab.router))), 6)

    def test_entries_of_two_zones_are_kept_apart(self):
        """The same tuple twice in one namespace: two clients with the same addresses, a zone each."""
        lab, twin = self.lab, self.lab.add("t")
        told.run("ip", "-n", twin, "link", "add", "eth0", "type", "veth", "peer", "name", "to3", "netns", lab.router)
        told.run("ip", "-n", twin, "addr", "add", f"{CLIENT}/24", "dev", "eth0")
        told.run("ip", "-n", twin, "link", "set", "eth0", "up")
        told.run("ip", "-n", lab.router, "link", "set", "to3", "up")
        told.run("ip", "-n", lab.router, "addr", "add", f"10.{N}.9.1/24", "dev", "to3")
        told.run("ip", "-n", twin, "route", "add", f"10.{N}.9.1", "dev", "eth0")
        told.run("ip", "-n", twin, "route", "add", "default", "via", f"10.{N}.9.1")
        lab.run(lab.router, "sysctl", "-qw", "net.ipv4.conf.all.rp_filter=0", "net.ipv4.conf.to3.rp_filter=0")
        self.rules("raw -A PREROUTING -i to1 -p udp -j CT --zone 11", "raw -A PREROUTING -i to3 -p udp -j CT --zone 12",
                   f"nat -A PREROUTING -p udp -d {VIP} --dport 53 -j DNAT --to-destination {SERVER}:5353")
        name = self.start_agent()
        send = ('import socket, sys; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(("", 6001)); '
                's.sendto(b"z", (sys.argv[1], 53))')
        lab.python(lab.client, send, VIP)
        lab.python(twin, send, VIP)
        time.sleep(1)
        mirror = self.mirror(name).of(lab.inode(lab.router))
        self.assertEqual({(zone, original) for zone, _, _, original, _ in mirror},
                         {(11, (CLIENT, 6001, VIP, 53)), (12, (CLIENT, 6001, VIP, 53))})
        self.assertEqual(mirror, table(lab, lab.router))
        lab.run(lab.router, "conntrack", "-D", "--zone", "11")
        time.sleep(1)
        self.assertEqual({zone for zone, *_ in self.mirror(name).of(lab.inode(lab.router))}, {12})

    def test_a_namespace_made_later_is_watched_and_one_that_goes_is_forgotten(self):
        name = self.start_agent()
        later = self.lab.add("l")
        address = f"10.{N}.77.1"
        told.run("ip", "-n", later, "addr", "add", f"{address}/32", "dev", "lo")
        self.rules(f"nat -A OUTPUT -p udp -d {VIP} --dport 53 -j DNAT --to-destination {address}:5353", where=later)
        told.run("ip", "-n", later, "route", "add", "default", "dev", "lo")
        send = ('import socket, sys; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(("", int(sys.argv[2]))); '
                's.sendto(b"n", (sys.argv[1], 53))')
        self.set_timeout(later, "udp_timeout")
        self.lab.python(later, send, VIP, 6001)  # at once: before or after the agent saw the namespace
        time.sleep(2)
        self.lab.python(later, send, VIP, 6002)
        inode = self.lab.inode(later)
        self.assert_equal_tables(name, later)
        self.assertEqual({original[1] for _, _, _, original, _ in self.mirror(name).of(inode)}, {6001, 6002})
        self.lab.delete(later)
        deadline = time.monotonic() + WITHIN_S
        while self.mirror(name).of(inode) and time.monotonic() < deadline:
            time.sleep(0.2)
        self.assertEqual(self.mirror(name).of(inode), set())

    def test_after_a_burst_beyond_the_buffer_the_table_is_right_within_five_seconds(self):
        lab = self.lab
        self.rules(f"nat -A PREROUTING -p udp -d {VIP} -j DNAT --to-destination {SERVER}", "filter -A FORWARD -d 0/0 -j ACCEPT")
        lab.run(lab.client, "sysctl", "-qw", "net.ipv4.ip_local_port_range=1024 65535")
        name = self.start_agent("nat.buffer=4KiB")
        inode = lab.inode(lab.router)
        ends, lost = [], 0
        for number in range(ROUNDS):
            first = 1024 + number % 2 * (BURST + 1)
            if number % 2 == 0 and number:
                lab.run(lab.router, "conntrack", "-F")  # as many ends as beginnings
            lab.python(lab.client, BURSTS, VIP, first, BURST)
            if number % 3 == 1:
                lab.run(lab.router, "conntrack", "-D", "-p", "udp", "--orig-port-src", first + 7)
            ended = time.time_ns()
            truth = table(lab, lab.router)
            self.assertGreaterEqual(len(truth), BURST - 1)
            time.sleep(max(0, WITHIN_S - (time.time_ns() - ended) / 1e9))
            self.assert_same(table(lab, lab.router), truth)
            now_lost = self.agent.metric('dropped_events_total{where="netlink",kind="nat"}')
            self.assertGreater(now_lost, lost, "no loss was detected")
            lost = now_lost
            ends.append((ended, truth))
        resyncs, overruns = self.agent.metric("nat_resyncs_total"), self.agent.metric("nat_overruns_total")
        self.assertEqual(self.agent.stop(), 0, self.agent.log)
        reader = self.told(name)
        self.assertEqual([batch.sequence for batch in reader.batches], list(range(len(reader.batches))))
        self.assertEqual(reader.batches[-1].dropped_netlink, lost)
        batches, mirror, took = collections.deque(reader.nat()), Mirror(), []
        for ended, truth in ends:
            right_at = None
            while batches and batches[0][0] <= ended + WITHIN_S * 10**9:
                sent, rows = batches.popleft()
                for row in rows:
                    mirror.take(row)
                if sent < ended or len(mirror.rows) < len(truth):
                    continue
                right = mirror.of(inode) == truth
                right_at = (right_at or sent) if right else None
            self.assert_same(mirror.of(inode), truth)
            took.append(((right_at or ended) - ended) / 1e9)
        print(f"{ROUNDS} bursts of {BURST}: right within {max(took):.2f} s at most, {sum(took) / len(took):.2f} s on average; "
              f"{lost:.0f} messages lost in {overruns:.0f} overruns, {resyncs:.0f} resyncs", file=sys.stderr)


if __name__ == "__main__":
    reason = told.why_not("iptables", "ip6tables", "nft", "conntrack")
    if reason:
        print(f"skipped: {reason}")
        sys.exit(told.SKIPPED)
    with told.kafka.Kafka() as Nat.broker:
        done = unittest.main(verbosity=2, exit=False)
    sys.exit(not done.result.wasSuccessful())
