"""A small network to make something happen in.

    client 10.N.1.2 fd77:N:1::2 -- router -- 10.N.2.2 fd77:N:2::2 server       no rules, no NAT

Names carry the process's id and prefix; the children die with the process, and what a killed one left behind goes at the
next start. Needs root.
"""

import atexit
import os
import pathlib
import re
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import processes

PYTHON = "/usr/bin/python3"
WITHIN_S = 60
N = 64 + os.getpid() % 128  # the agent sees the whole host: another run beside this one has other addresses
CLIENT, SERVER = f"10.{N}.1.2", f"10.{N}.2.2"
CLIENT6, SERVER6 = f"fd77:{N:x}:1::2", f"fd77:{N:x}:2::2"


def run(*words, check=True):
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, timeout=WITHIN_S * 2)
    if check and done.returncode:
        raise RuntimeError(f"{words}: {done.stderr}")
    return done.stdout


def sweep(prefix, ends="[a-z0-9]+"):
    """Takes away what killed runs left: namespaces named after processes that are no more."""
    for line in run("ip", "netns", "list", check=False).splitlines():
        found = re.match(rf"{prefix}(\d+)({ends})\b", line)
        if found and not pathlib.Path(f"/proc/{found[1]}").exists():
            run("ip", "netns", "delete", found[0], check=False)


class Network:
    def __init__(self, prefix):
        self.prefix, self.made, self.children = prefix, [], []
        sweep(prefix)
        atexit.register(self.stop)
        self.client, self.router, self.server = (self.add(end) for end in "crs")
        for i, end in ((1, self.client), (2, self.server)):
            run("ip", "-n", end, "link", "add", "eth0", "type", "veth", "peer", "name", f"to{i}", "netns", self.router)
            for netns, device, host in ((end, "eth0", 2), (self.router, f"to{i}", 1)):
                run("ip", "-n", netns, "addr", "add", f"10.{N}.{i}.{host}/24", "dev", device)
                run("ip", "-n", netns, "addr", "add", f"fd77:{N:x}:{i}::{host}/64", "dev", device, "nodad")
                run("ip", "-n", netns, "link", "set", device, "up")
            run("ip", "-n", end, "route", "add", "default", "via", f"10.{N}.{i}.1")
            run("ip", "-n", end, "route", "add", "default", "via", f"fd77:{N:x}:{i}::1")
        for setting in ("net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"):
            self.run(self.router, "sysctl", "-qw", setting)

    def add(self, end):
        name = f"{self.prefix}{os.getpid()}{end}"
        run("ip", "netns", "add", name)
        self.made.append(name)
        run("ip", "-n", name, "link", "set", "lo", "up")
        return name

    def delete(self, name):
        run("ip", "netns", "delete", name, check=False)
        self.made.remove(name)

    @staticmethod
    def inode(name):
        return os.stat(f"/run/netns/{name}").st_ino

    def run(self, netns, *words, check=True):
        return run("ip", "netns", "exec", netns, *words, check=check)

    def python(self, netns, script, *words):
        return self.run(netns, PYTHON, "-c", script, *words)

    def start(self, netns, *words, ready=True, **options):
        """A program that ends when its standard input does; ready: it says so first."""
        child = processes.start(words, netns=netns, stdin=subprocess.PIPE, stdout=subprocess.PIPE, **options)
        self.children.append(child)
        if ready and child.stdout.readline() not in (b"ready\n", "ready\n"):
            raise RuntimeError(f"a program did not start: {words}")
        return child

    def start_python(self, netns, script, *words):
        return self.start(netns, PYTHON, "-c", script, *words, text=True)

    def stop(self):
        for child in self.children:
            processes.end(child)
        for name in reversed(self.made):
            run("ip", "netns", "delete", name, check=False)
        self.made = []
        atexit.unregister(self.stop)
