#!/usr/bin/python3
"""Name lookups: what the agent says against what dig, unbound and dnsmasq say, and against a driver's own clock.

Two namespaces on a wire, unbound in one, dnsmasq behind a redirection as Docker's in the other. Root, BTF and cgroup2
are needed; else the test is skipped.
"""

import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

import halves
import udp_test
from agent_test import SKIPPED, Agent, run
from halves import CLIENT, SERVER, TCP, TIMEOUT, TRUNCATED, UDP
from udp_test import FAR, FAR_TOO, NEAR, NET, Wire
import kafka
import processes
import records

VIP, LOCAL = f"10.{NET}.200.53", "127.0.0.11"
OTHER_PORT, REDIRECTED_PORT, LOAD_PORT = 5399, 39685, 53
QUERIES = 50000
TIMEOUT_S = 2
A, TXT, AAAA = 1, 16, 28
NOERROR, SERVFAIL, NXDOMAIN, REFUSED = 0, 2, 3, 5
LONG = 12  # records that do not fit 512 bytes together

UNBOUND = """server:
  interface: 0.0.0.0@53
  interface: 0.0.0.0@{port}
  access-control: 0.0.0.0/0 allow
  access-control: 127.0.0.0/8 refuse
  do-daemonize: no
  use-syslog: no
  chroot: ""
  username: ""
  directory: "{folder}"
  pidfile: "{folder}/unbound.pid"
  do-not-query-localhost: no
  module-config: "iterator"
  local-zone: "lab.test." static
  local-data: "www.lab.test. 120 IN A 192.0.2.1"
  local-data: "www.lab.test. 120 IN A 192.0.2.2"
  local-data: "www.lab.test. 300 IN AAAA 2001:db8::7"
{long}
  local-zone: "no.test." refuse
remote-control:
  control-enable: no
forward-zone:
  name: "."
  forward-addr: 127.0.0.1@{port}
"""


def why_not():
    missing = [program for program in ("dig", "unbound", "dnsmasq", "gcc") if not shutil.which(program)]
    return "needs " + ", ".join(missing) if missing else udp_test.why_not()


class Resolvers(Wire):
    def __init__(self, folder):
        super().__init__()
        self.servers = []
        long = "\n".join(f'  local-data: "long.lab.test. 60 IN TXT {i:02}{"x" * 100}"' for i in range(LONG))
        config = pathlib.Path(folder, "unbound.conf")
        config.write_text(UNBOUND.format(port=OTHER_PORT, folder=folder, long=long))
        self.serve(self.far, "unbound", "-d", "-c", config)
        self.serve(self.near, "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts",
                   f"--port={REDIRECTED_PORT}", f"--listen-address={LOCAL}", "--bind-interfaces", "--pid-file=",
                   "--user=root", "--host-record=db.lab.test,192.0.2.9,2001:db8::9,77", "--cname=alias.lab.test,db.lab.test,33",
                   "--local=/lab.test/")
        near = ("ip", "netns", "exec", self.near, "iptables", "-w")
        run(*near, "-t", "nat", "-A", "OUTPUT", "-d", VIP, "-p", "udp", "--dport", "53", "-j", "DNAT", "--to-destination",
            f"{FAR}:{OTHER_PORT}")
        for protocol in ("udp", "tcp"):  # as Docker does
            run(*near, "-t", "nat", "-A", "OUTPUT", "-d", LOCAL, "-p", protocol, "--dport", "53", "-j", "DNAT",
                "--to-destination", f"{LOCAL}:{REDIRECTED_PORT}")
            run(*near, "-t", "nat", "-A", "POSTROUTING", "-s", LOCAL, "-p", protocol, "--sport", REDIRECTED_PORT, "-j", "SNAT",
                "--to-source", ":53")
        run("ip", "-n", self.near, "route", "add", VIP, "via", FAR)
        self.silence("-A")
        for server in (FAR, LOCAL):
            self.wait_for(server)

    def silence(self, change):
        self.run(self.far, "iptables", "-w", change, "INPUT", "-d", FAR_TOO, "-p", "udp", "--dport", "53", "-j", "DROP")

    def serve(self, netns, *words):
        self.servers.append(processes.start(words, netns=netns, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))

    def wait_for(self, server):
        deadline = time.monotonic() + 30
        while "status:" not in self.dig(server, "up.lab.test", "A", "+time=1", "+tries=1"):
            if time.monotonic() > deadline:
                raise RuntimeError(f"no resolver at {server}")

    def dig(self, server, name, kind, *options):
        return run("ip", "netns", "exec", self.near, "dig", "+nocookie", f"@{server}", name, kind, *options, check=False)

    def stop(self):
        for server in self.servers:
            server.terminate()
            server.wait(60)
        super().stop()


def load(resolvers, program):
    """The rows of both ends, and the rate."""
    answering = processes.start([program, "answer", FAR_TOO, LOAD_PORT, QUERIES], netns=resolvers.far,
                                stdout=subprocess.PIPE, text=True)
    try:
        assert answering.stdout.readline() == "ready\n"
        asked = run("ip", "netns", "exec", resolvers.near, program, "ask", FAR_TOO, LOAD_PORT, QUERIES)
        answered, _ = answering.communicate(timeout=60)
    finally:
        answering.kill()
    asked, answered = ([tuple(map(int, line.split())) for line in text.splitlines()] for text in (asked, answered))
    spent_ns = max(row[2] for row in asked) - min(row[1] for row in asked)
    return asked, answered, QUERIES / (spent_ns / 1e9)


class Live(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.mkdtemp(prefix="millrace-dns-")
        cls.addClassCleanup(shutil.rmtree, folder, ignore_errors=True)
        program = pathlib.Path(folder, "dnsload")
        run("gcc", "-std=gnu11", "-O2", "-Wall", "-Werror", "-o", program, pathlib.Path(__file__).parent / "peer" / "dnsload.c")
        broker = kafka.Kafka()
        cls.addClassCleanup(broker.stop)
        resolvers = Resolvers(folder)
        cls.addClassCleanup(resolvers.stop)
        agent = Agent(broker.address, "dns", f"scope.netns={resolvers.near},{resolvers.far}", "features.conntrack=false",
                      f"dns.timeout={TIMEOUT_S}s")
        bare = Agent(broker.address, "bare", f"scope.netns={resolvers.near}", "features.conntrack=false", "features.udp=false")
        off = Agent(broker.address, "off", f"scope.netns={resolvers.near}", "features.conntrack=false", "features.dns=false")
        for each in (agent, bare, off):
            cls.addClassCleanup(each.process.kill)
        dig = resolvers.dig
        cls.said = {
            "a": dig(FAR, "www.lab.test", "A"),
            "aaaa": dig(FAR, "WWW.lab.TEST", "AAAA"),
            "nxdomain": dig(FAR, "nobody.lab.test", "A"),
            "refused": dig(FAR, "secret.no.test", "A"),
            "servfail": dig(FAR, "elsewhere.example", "A", "+time=15", "+tries=1"),
            "silent": dig(FAR_TOO, "silent.lab.test", "A", f"+time={TIMEOUT_S + 2}", "+tries=1"),
            "given up": dig(FAR_TOO, "impatient.lab.test", "A", "+time=1", "+tries=1"),
            "long": dig(FAR, "long.lab.test", "TXT", "+noedns"),
            "vip": dig(VIP, "www.lab.test", "A", "+subnet=0"),
            "local": dig(LOCAL, "alias.lab.test", "A"),
            "local tcp": dig(LOCAL, "db.lab.test", "AAAA", "+tcp"),
        }
        # what no name lookup is stays out of the way of `bare`
        resolvers.python(udp_test.UNCONNECTED, FAR, FAR_TOO, 9999)
        for each in (bare, off):
            each.stop()
        resolvers.silence("-D")
        resolvers.servers.pop(0).terminate()  # unbound: the load has its port
        time.sleep(1)
        cls.asked, cls.answered, cls.rate = load(resolvers, program)
        print(f"\n{QUERIES} queries at {cls.rate:.0f} a second", flush=True)
        time.sleep(1.5)
        cls.metrics = agent.metrics()
        agent.stop()
        cls.halves, cls.bare, cls.off = (halves.Halves(records.batches(broker.address, node))
                                         for node in ("dns", "bare", "off"))

    def lookups(self, name, role=CLIENT, **wanted):
        return [each for each in self.halves.lookups if each.name == name and each.half.role == role
                and all(getattr(each.half, key) == value for key, value in wanted.items())]

    def said_ms(self, what):
        return int(re.search(r"Query time: (\d+) msec", self.said[what])[1])

    def test_addresses_come_with_their_ttl(self):
        near, = self.lookups("www.lab.test", remote=FAR, remote_port=53, protocol=UDP)[:1]
        self.assertEqual((near.type, near.rcode, near.flags), (A, NOERROR, 0))
        self.assertEqual(sorted(near.answers), [("192.0.2.1", 120), ("192.0.2.2", 120)])
        near, = [each for each in self.lookups("www.lab.test") if each.type == AAAA]
        self.assertEqual(near.answers, [("2001:db8::7", 300)])

    def test_failures_have_their_code(self):
        for what, name, rcode in (("nxdomain", "nobody.lab.test", NXDOMAIN), ("refused", "secret.no.test", REFUSED),
                                  ("servfail", "elsewhere.example", SERVFAIL)):
            self.assertIn(f"status: {what.upper()}", self.said[what])
            for role in (CLIENT, SERVER):
                each, = self.lookups(name, role)
                self.assertEqual((each.rcode, each.flags, each.answers), (rcode, 0, []))

    def test_latency_is_what_dig_measured_and_longer_than_at_the_server(self):
        for what, name in (("a", "www.lab.test"), ("nxdomain", "nobody.lab.test"), ("servfail", "elsewhere.example")):
            near, far = (next(each for each in self.lookups(name, role) if each.half.protocol == UDP)
                         for role in (CLIENT, SERVER))
            self.assertGreaterEqual(near.latency_us, far.latency_us)
            self.assertLess(near.latency_us, (self.said_ms(what) + 2) * 1000)
            self.assertGreater(far.latency_us, 0)

    def test_silence_is_a_timeout_after_the_configured_time(self):
        self.assertRegex(self.said["silent"], "timed out|no servers could be reached")
        silent, = self.lookups("silent.lab.test")
        self.assertEqual((silent.flags, silent.rcode), (TIMEOUT, 0))
        self.assertEqual(silent.latency_us, TIMEOUT_S * 1000000)
        self.assertEqual(self.lookups("silent.lab.test", SERVER), [])  # its kernel dropped it

    def test_who_gives_up_sooner_has_waited_for_so_long(self):
        each, = self.lookups("impatient.lab.test")
        self.assertEqual(each.flags, TIMEOUT)
        self.assertGreater(each.latency_us, 900000)
        self.assertLess(each.latency_us, TIMEOUT_S * 1000000)

    def test_a_cut_answer_is_asked_again_over_tcp(self):
        self.assertIn("retrying in TCP mode", self.said["long"])
        for role in (CLIENT, SERVER):
            over_udp, over_tcp = sorted(self.lookups("long.lab.test", role), key=lambda each: -each.half.protocol)
            self.assertEqual((over_udp.half.protocol, over_udp.flags), (UDP, TRUNCATED))
            self.assertEqual((over_tcp.half.protocol, over_tcp.flags, over_tcp.rcode), (TCP, 0, NOERROR))
            self.assertEqual((over_udp.type, over_tcp.type), (TXT, TXT))

    def test_a_translated_resolver_has_the_address_that_was_asked(self):
        self.assertIn("192.0.2.1", self.said["vip"])
        each, = self.lookups("www.lab.test", remote=VIP)
        self.assertEqual((each.half.remote_port, each.rcode, len(each.answers)), (53, NOERROR, 2))

    def test_a_redirected_local_resolver_is_seen_as_the_application_asked_it(self):
        self.assertIn("192.0.2.9", self.said["local"])
        each, = self.lookups("alias.lab.test")
        self.assertEqual((each.half.remote, each.half.remote_port), (LOCAL, 53))
        self.assertEqual(each.answers, [("192.0.2.9", 33)])  # the alias lives shorter than the address
        over_tcp, = self.lookups("db.lab.test")
        self.assertEqual((over_tcp.half.protocol, over_tcp.half.remote, over_tcp.half.remote_port), (TCP, LOCAL, 53))
        self.assertEqual(over_tcp.answers, [("2001:db8::9", 77)])

    def test_who_asked_is_known(self):
        each, = self.lookups("nobody.lab.test")
        self.assertEqual(self.halves.processes[each.half.pid][1], "/usr/bin/dig")
        far, = self.lookups("nobody.lab.test", SERVER)
        self.assertIn("unbound", self.halves.processes[far.half.pid][1])

    def test_every_query_of_the_load_is_matched_at_both_ends(self):
        self.assertEqual(self.halves.batches[-1].dropped_ring, 0)
        for role in (CLIENT, SERVER):
            told = {}
            for each in self.halves.lookups:
                found = re.fullmatch(r"q(\d+)\.load\.test", each.name)
                if found and each.half.role == role:
                    self.assertNotIn(int(found[1]), told)
                    told[int(found[1])] = each
            self.assertEqual(len(told), QUERIES)
            wrong = [number for number, each in told.items()
                     if (each.rcode, each.flags, each.type) != (number % 6, 0, A)
                     or each.answers != ([] if number % 6 else
                                         [(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", 60)])]
            self.assertEqual(wrong, [])
            setattr(self, f"told{role}", told)
        # the programs' clocks are around the kernel's at the client, within them at the server
        for number, asked_ns, answered_ns, rcode in self.asked:
            near, far = self.told1[number], self.told2[number]
            self.assertEqual(rcode, number % 6)
            self.assertLessEqual(near.latency_us, (answered_ns - asked_ns) / 1000 + 1)
            self.assertLessEqual(far.latency_us, near.latency_us)
        for number, taken_ns, answered_ns, _ in self.answered:
            self.assertGreaterEqual(self.told2[number].latency_us + 1, (answered_ns - taken_ns) // 1000)

    def test_metrics_agree(self):
        self.assertEqual(int(self.metrics["millrace_agent_lookup_timeouts_total"]), 2)
        told = sum(1 for each in self.halves.lookups if not each.flags & TIMEOUT)
        self.assertEqual(int(self.metrics["millrace_agent_lookups_total"]), told)
        for why in ("malformed", "evicted", "unplaced"):
            self.assertEqual(int(self.metrics[f'millrace_agent_lookups_untold_total{{why="{why}"}}']), 0, why)

    def test_lookups_without_udp_are_all_that_is_told_of_udp(self):
        self.assertEqual({half.remote_port for half in self.bare.find(protocol=UDP, role=CLIENT)}, {53})
        before_load = [each for each in self.halves.lookups if "load" not in each.name and each.half.local not in (FAR, FAR_TOO)]
        self.assertEqual(sorted(each.name for each in self.bare.lookups), sorted(each.name for each in before_load))

    def test_udp_without_lookups_tells_none(self):
        self.assertEqual(self.off.lookups, [])
        self.assertIn(53, {half.remote_port for half in self.off.find(protocol=UDP)})
        self.assertIn(9999, {half.remote_port for half in self.off.find(protocol=UDP)})


if __name__ == "__main__":
    reason = why_not()
    if reason:
        print(f"skipped: {reason}")
        sys.exit(SKIPPED)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # a time limit: clean up all the same
    unittest.main(verbosity=2)
