#!/usr/bin/python3
"""A real resolver, real connections to outside, and what millraced calls them.

Two namespaces on a wire: the agent sees the near one alone, so the far one is outside, with unbound and addresses of the
public internet. Root, BTF and cgroup2 are needed; else the test is skipped.
"""

import json
import pathlib
import shutil
import signal
import sys
import tempfile
import time
import unittest

import udp_test
from agent_test import SKIPPED, Agent, run
from udp_test import FAR, Wire
import kafka
import processes
import records
from millraced import Millraced, until

PORT, WITHIN_S = 7443, 60
ASKED, ASKED6, NEVER = "93.184.216.34", "2606:2800:220:1::1", "93.184.216.35"

UNBOUND = """server:
  interface: 0.0.0.0
  access-control: 0.0.0.0/0 allow
  do-daemonize: no
  use-syslog: no
  chroot: ""
  username: ""
  directory: "{folder}"
  pidfile: "{folder}/unbound.pid"
  local-data: "Pay.Lab.Test. 30 IN A {asked}"
  local-data: "mail.lab.test. 30 IN A {asked}"
  local-data: "six.lab.test. 30 IN AAAA {asked6}"
remote-control:
  control-enable: no
"""

SERVE = r"""
import socket, sys, threading
s = socket.create_server(("::", int(sys.argv[1])), family=socket.AF_INET6, dualstack_ipv6=True)
print("ready", flush=True)
while True:
    c, _ = s.accept(); c.recv(1); c.close()
"""

# The resolver, the name or "", the type, the address and port to connect to: prints the local port.
CLIENT = r"""
import socket, struct, sys
server, name, kind, address, port = sys.argv[1:]
if name:
    q = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); q.connect((server, 53)); q.settimeout(10)
    words = b"".join(bytes([len(word)]) + word.encode() for word in name.split("."))
    q.send(struct.pack("!6H", 7, 0x100, 1, 0, 0, 0) + words + b"\0" + struct.pack("!2H", int(kind), 1))
    assert q.recv(512)[3] & 15 == 0; q.close()
s = socket.create_connection((address, int(port)), 10); print(s.getsockname()[1]); s.send(b"x"); s.recv(1); s.close()
"""


def why_not():
    return udp_test.why_not() or (None if shutil.which("unbound") else "needs unbound")


class Outside(Wire):
    def __init__(self, folder):
        super().__init__()
        for address in (f"{ASKED}/32", f"{NEVER}/32", f"{ASKED6}/128"):
            run("ip", "-n", self.far, "addr", "add", address, "dev", "lo")
        run("ip", "-n", self.near, "route", "add", "default", "via", FAR)
        run("ip", "-n", self.near, "route", "add", "default", "via", udp_test.FAR6)
        config = pathlib.Path(folder, "unbound.conf")
        config.write_text(UNBOUND.format(folder=folder, asked=ASKED, asked6=ASKED6))
        self.resolver = processes.start(["unbound", "-d", "-c", config], netns=self.far)
        self.start(self.far, SERVE, PORT)

    def dial(self, address, name="", kind=1):
        """A process's question and connection; its local port."""
        return int(self.python(CLIENT, FAR, name, kind, address, PORT)[0])

    def stop(self):
        processes.end(self.resolver, 30)
        super().stop()


class Names(unittest.TestCase):
    def test_who_is_outside_is_called_as_it_was_asked_for(self):
        folder = tempfile.mkdtemp(prefix="millrace-names-")
        self.addCleanup(shutil.rmtree, folder, ignore_errors=True)
        broker = kafka.Kafka()
        self.addCleanup(broker.stop)
        outside = Outside(folder)
        self.addCleanup(outside.stop)
        ranges = "networks: {ranges: [{cidr: 93.184.216.0/24, name: partner}]}\n"
        with Millraced(broker.address, ranges) as daemon:
            daemon.wait_ready()
            self.assertTrue(until(lambda: daemon.metric("millrace_metadata_objects") >= 1, WITHIN_S), daemon.log()[-3000:])
            agent = Agent(broker.address, "near", f"scope.netns={outside.near}", "features.conntrack=false")
            self.addCleanup(agent.process.kill)
            wanted = {}
            wanted[outside.dial(ASKED)] = ("partner", "range")
            wanted[outside.dial(ASKED, "PAY.lab.test")] = ("pay.lab.test", "dns")
            wanted[outside.dial(ASKED, "mail.lab.test")] = ("mail.lab.test", "dns")
            wanted[outside.dial(ASKED)] = ("mail.lab.test", "node_dns")
            wanted[outside.dial(ASKED6, "six.lab.test", 28)] = ("six.lab.test", "dns")
            wanted[outside.dial(NEVER)] = ("partner", "range")
            time.sleep(1.5)
            self.assertEqual(0, agent.stop())

            def found():
                flows, _ = records.flows(broker.address)
                return {flow.client_port: (flow.server.instance.workload, flow.server.instance.resolution)
                        for flow in flows.values() if flow.server_port == PORT}
            until(lambda: len(found()) >= len(wanted), WITHIN_S)
            self.assertEqual(wanted, found())
            shown = {node["workload"]: node["resolution"] for node in json.loads(daemon.get("/api/v1/map")[1])["nodes"]}
            self.assertEqual({"partner": "range", "pay.lab.test": "dns", "mail.lab.test": "dns", "six.lab.test": "dns"},
                             {name: shown.get(name) for name, _ in wanted.values()})


if __name__ == "__main__":
    reason = why_not()
    if reason:
        print(f"skipped: {reason}")
        sys.exit(SKIPPED)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # a time limit: clean up all the same
    unittest.main(verbosity=2)
