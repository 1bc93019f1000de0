#!/usr/bin/python3
"""Real TLS to outside, and what millraced calls it: openssl, curl and Python's ssl against openssl's server.

Two namespaces on a wire: the agent sees the near one alone, so the far one is outside, with unbound and addresses of the
public internet. Root, BTF and cgroup2 are needed; else the test is skipped.
"""

import json
import pathlib
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
from names_test import UNBOUND
from udp_test import FAR, Wire
import kafka
import processes
import records
from millraced import Millraced, until

WITHIN_S = 60
LOOKED_AT, TOO, NOT_LOOKED_AT = PORTS = 443, 8443, 9443
ADDRESSES = [f"93.184.216.{number}" for number in range(31, 40)]
OPENSSL, CURL, PYTHON, LARGE, ASKED, NAMELESS, ELSEWHERE, LATE, SECOND = ADDRESSES
SIX = "2606:2800:220:1::1"

# The resolver, the name to ask for or "", the address and port, the name for TLS, seconds to wait before that.
CLIENT = r"""
import socket, ssl, struct, sys, time
server, name, address, port, sni, wait_s = sys.argv[1:]
if name:
    q = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); q.connect((server, 53)); q.settimeout(10)
    words = b"".join(bytes([len(word)]) + word.encode() for word in name.split("."))
    q.send(struct.pack("!6H", 7, 0x100, 1, 0, 0, 0) + words + b"\0" + struct.pack("!2H", 1, 1))
    assert q.recv(512)[3] & 15 == 0; q.close()
context = ssl.create_default_context(); context.check_hostname = False; context.verify_mode = ssl.CERT_NONE
s = socket.create_connection((address, int(port)), 10); time.sleep(float(wait_s))
t = context.wrap_socket(s, server_hostname=sni or None); t.send(b"GET / HTTP/1.0\r\n\r\n"); t.recv(100); t.close()
"""


def why_not():
    missing = [program for program in ("unbound", "openssl", "curl") if not shutil.which(program)]
    return "needs " + ", ".join(missing) if missing else udp_test.why_not()


class Outside(Wire):
    def __init__(self, folder):
        super().__init__()
        for address in [f"{address}/32" for address in ADDRESSES] + [f"{SIX}/128"]:
            run("ip", "-n", self.far, "addr", "add", address, "dev", "lo")
        run("ip", "-n", self.near, "route", "add", "default", "via", FAR)
        run("ip", "-n", self.near, "route", "add", "default", "via", udp_test.FAR6)
        config = pathlib.Path(folder, "unbound.conf")
        config.write_text(UNBOUND.format(folder=folder, asked=ASKED, asked6=SIX))
        run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=lab.test", "-keyout",
            f"{folder}/key.pem", "-out", f"{folder}/cert.pem")
        self.others = [processes.start(["unbound", "-d", "-c", config], netns=self.far)]
        for port in PORTS:
            self.others.append(processes.start(
                ["openssl", "s_server", "-quiet", "-www", "-accept", port, "-cert", f"{folder}/cert.pem", "-key",
                 f"{folder}/key.pem"], netns=self.far, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
            assert until(lambda: self.reach(port), 10)
        time.sleep(0.5)

    def reach(self, port):
        return subprocess.run(["ip", "netns", "exec", self.far, "bash", "-c", f"exec 3<>/dev/tcp/127.0.0.1/{port}"],
                              check=False, stderr=subprocess.DEVNULL).returncode == 0

    def openssl(self, address, *options, port=LOOKED_AT):
        subprocess.run(["ip", "netns", "exec", self.near, "openssl", "s_client", "-connect", f"{address}:{port}", *options],
                       check=False, input=b"Q\n", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=WITHIN_S)

    def curl(self, name, address):
        run("ip", "netns", "exec", self.near, "curl", "--silent", "--insecure", "--output", "/dev/null", "--resolve",
            f"{name}:443:{address}", f"https://{name}/")

    def dial(self, address, sni, name="", port=LOOKED_AT, wait_s=0):
        self.python(CLIENT, FAR, name, address, port, sni, wait_s)

    def stop(self):
        for other in self.others:
            processes.end(other, 30)
        super().stop()


class Handshakes(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.mkdtemp(prefix="millrace-sni-")
        cls.addClassCleanup(shutil.rmtree, folder, ignore_errors=True)
        broker = kafka.Kafka()
        cls.addClassCleanup(broker.stop)
        outside = Outside(folder)
        cls.addClassCleanup(outside.stop)
        ranges = "networks: {ranges: [{cidr: 93.184.216.0/24, name: partner}]}\n"
        with Millraced(broker.address, ranges) as daemon:
            daemon.wait_ready()
            until(lambda: daemon.metric("millrace_metadata_objects") >= 1, WITHIN_S)
            agent = Agent(broker.address, "near", f"scope.netns={outside.near}", "features.conntrack=false")
            off = Agent(broker.address, "off", f"scope.netns={outside.near}", "features.conntrack=false", "features.sni=false")
            ports = Agent(broker.address, "ports", f"scope.netns={outside.near}", "features.conntrack=false",
                          f"sni.ports={NOT_LOOKED_AT}", "features.udp=false", "features.dns=false")
            for each in (agent, off, ports):
                cls.addClassCleanup(each.process.kill)
            outside.openssl(OPENSSL, "-servername", "Api.Openssl.Test")
            outside.curl("curl.test", CURL)
            outside.dial(PYTHON, "python.test")
            protocols = ",".join(f"protocol-{number:03}" for number in range(120))
            outside.openssl(LARGE, "-servername", "large.test", "-alpn", protocols)
            outside.dial(ASKED, "python.test", name="pay.lab.test")
            outside.openssl(NAMELESS, "-noservername")
            outside.dial(ELSEWHERE, "elsewhere.test", port=NOT_LOOKED_AT)
            outside.dial(LATE, "late.test", wait_s=1)
            outside.dial(SECOND, "second.test", port=TOO)
            outside.dial(SIX, "six.test")
            time.sleep(1.5)
            cls.metrics = agent.metrics()
            for each in (agent, off, ports):
                assert each.stop() == 0
            cls.told, cls.off, cls.ports = (halves.Halves(records.batches(broker.address, node))
                                            for node in ("near", "off", "ports"))

            def found():
                flows, _ = records.flows(broker.address)
                return {flow.server_address: (flow.server.instance.workload, flow.server.instance.resolution)
                        for flow in flows.values() if flow.client.instance.node == "near" and flow.server_port in PORTS}
            until(lambda: len(found()) >= len(ADDRESSES) + 1, WITHIN_S)
            cls.flows = found()
            cls.shown = {node["workload"]: node["resolution"]
                         for node in json.loads(daemon.get("/api/v1/map")[1])["nodes"]}

    def test_the_agent_tells_what_each_handshake_asked_for(self):
        self.assertEqual({OPENSSL: "api.openssl.test", CURL: "curl.test", PYTHON: "python.test", LARGE: "large.test",
                          ASKED: "python.test", LATE: "late.test", SECOND: "second.test", SIX: "six.test"},
                         {each.half.remote: each.name for each in self.told.names})
        self.assertEqual(8, len(self.told.names))

    def test_nothing_is_told_when_it_is_off_or_of_other_ports(self):
        self.assertEqual([], self.off.names)
        self.assertEqual({ELSEWHERE: "elsewhere.test"}, {each.half.remote: each.name for each in self.ports.names})

    def test_the_far_end_has_the_name_unless_dns_said_another(self):
        self.assertEqual({OPENSSL: ("api.openssl.test", "sni"), CURL: ("curl.test", "sni"), PYTHON: ("python.test", "sni"),
                          LARGE: ("large.test", "sni"), ASKED: ("pay.lab.test", "dns"), NAMELESS: ("partner", "range"),
                          ELSEWHERE: ("partner", "range"), LATE: ("late.test", "sni"), SECOND: ("second.test", "sni"),
                          SIX: ("six.test", "sni")}, self.flows)

    def test_the_map_shows_them(self):
        for name in ("api.openssl.test", "curl.test", "large.test", "second.test", "six.test"):
            self.assertEqual("sni", self.shown.get(name), name)
        self.assertEqual("dns", self.shown.get("pay.lab.test"))

    def test_metrics_agree(self):
        self.assertEqual(8, int(self.metrics["millrace_agent_sni_total"]))
        untold = {why: int(self.metrics[f'millrace_agent_sni_untold_total{{why="{why}"}}'])
                  for why in ("none", "cut", "other", "malformed", "repeated", "unplaced")}
        self.assertEqual({"none": 1, "cut": 0, "other": 0, "malformed": 0, "repeated": 0, "unplaced": 0}, untold)


if __name__ == "__main__":
    reason = why_not()
    if reason:
        print(f"skipped: {reason}")
        sys.exit(SKIPPED)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # a time limit: clean up all the same
    unittest.main(verbosity=2)
