"""A small network on one kernel: a client, a router with DNAT and MASQUERADE, two servers, IPv4 and IPv6.

    client 10.77.1.2 fd77:1::2 -- router -- 10.77.2.2 fd77:2::2 server 1
                                         -- 10.77.3.2 fd77:3::2 server 2
    service 10.96.0.10:80, [fd96::10]:80 -> server 1 or 2, port 8080, in turn; the servers see the router as client.

All names are unique to the process and gone with stop(), which also runs at exit. Needs root."""

import atexit
import os
import pathlib
import re
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))

import processes

SERVICE4, SERVICE6, SERVICE_PORT = "10.96.0.10", "fd96::10", 80
SERVER_PORT = 8080


def run(*words, check=True):
    return subprocess.run([str(word) for word in words], check=check, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True)


class Lab:
    def __init__(self):
        stem = f"mr{os.getpid()}"
        self.client, self.router = f"{stem}c", f"{stem}r"
        self.servers = [f"{stem}s1", f"{stem}s2"]
        self.made = []
        atexit.register(self.stop)
        self._sweep()
        for name in (self.client, self.router, *self.servers):
            run("ip", "netns", "add", name)
            self.made.append(name)
            run("ip", "-n", name, "link", "set", "lo", "up")
        self._connect(self.client, 1)
        self._connect(self.servers[0], 2)
        self._connect(self.servers[1], 3)
        self._route()
        self._translate()

    @staticmethod
    def _sweep():
        """Takes away what a killed run of this lab left behind: namespaces of processes that are no more."""
        for line in run("ip", "netns", "list").stdout.splitlines():
            found = re.match(r"mr(\d+)(c|r|s1|s2)\b", line)
            if found and not pathlib.Path(f"/proc/{found[1]}").exists():
                run("ip", "netns", "delete", found[0], check=False)

    def _connect(self, name, net):
        inside, outside = f"{name}v"[-14:], f"{name}w"[-14:]
        run("ip", "link", "add", inside, "netns", name, "type", "veth", "peer", "name", outside, "netns", self.router)
        for where, device, host in ((name, inside, 2), (self.router, outside, 1)):
            run("ip", "-n", where, "addr", "add", f"10.77.{net}.{host}/24", "dev", device)
            run("ip", "-n", where, "addr", "add", f"fd77:{net}::{host}/64", "dev", device, "nodad")
            run("ip", "-n", where, "link", "set", device, "up")
        run("ip", "-n", name, "route", "add", "default", "via", f"10.77.{net}.1")
        run("ip", "-n", name, "-6", "route", "add", "default", "via", f"fd77:{net}::1")

    def _route(self):
        for key in ("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"):
            run("ip", "netns", "exec", self.router, "sysctl", "-qw", f"{key}=1")
        run("ip", "netns", "exec", self.client, "sysctl", "-qw", "net.ipv4.ip_local_port_range=10000 65000")
        run("ip", "netns", "exec", self.client, "sysctl", "-qw", "net.ipv4.tcp_tw_reuse=1")
        for server in self.servers:
            run("ip", "netns", "exec", server, "sysctl", "-qw", "net.core.somaxconn=8192",
                "net.ipv4.tcp_max_syn_backlog=8192")

    def _translate(self):
        turn = ("-m", "statistic", "--mode", "nth", "--every", "2", "--packet", "0")
        for iptables, service, targets, source in (
                ("iptables", SERVICE4, ("10.77.2.2", "10.77.3.2"), "10.77.1.0/24"),
                ("ip6tables", SERVICE6, ("[fd77:2::2]", "[fd77:3::2]"), "fd77:1::/64")):
            rule = ("ip", "netns", "exec", self.router, iptables, "-w", "-t", "nat", "-A")
            match = ("PREROUTING", "-p", "tcp", "-d", service, "--dport", SERVICE_PORT)
            run(*rule, *match, *turn, "-j", "DNAT", "--to-destination", f"{targets[0]}:{SERVER_PORT}")
            run(*rule, *match, "-j", "DNAT", "--to-destination", f"{targets[1]}:{SERVER_PORT}")
            run(*rule, "POSTROUTING", "-s", source, "-j", "MASQUERADE")

    def start(self, where, words, **options):
        return processes.start(words, netns=where, **options)

    def stop(self):
        for name in reversed(self.made):
            run("ip", "netns", "delete", name, check=False)
        self.made = []
        atexit.unregister(self.stop)
