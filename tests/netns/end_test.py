#!/usr/bin/python3
"""Ends of connections that no process tells by close(): in the queue of a listener, of a socket that connects again, by a
thread of the kernel. No scan helps: it comes later than all of this. Root and BTF are needed; else it is skipped."""

import pathlib
import sys
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import kafka
import told
from network import CLIENT, SERVER, Network
from tcp_test import RESET, RESET_RECEIVED, REFUSED, NORMAL, Agent, Events

UNTOUCHED, AGAIN, OTHER, LEFT, CLOSED = 7201, 7202, 7203, 7204, 79
SENT = b"12345"

LISTEN = """
import ctypes, os, select, socket, sys
libc = ctypes.CDLL(None)
def listen(port):
    s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); s.bind(("", int(port))); s.listen(8)
    return s
"""

# Listens, accepts nobody.
UNTOUCHING = LISTEN + """
s = listen(sys.argv[1]); print("ready", flush=True); sys.stdin.read()
"""

# What it accepted is reset before it read; the same socket connects elsewhere. Another fails twice and then connects.
REUSE = LISTEN + """
accepts, other = listen(sys.argv[1]), listen(sys.argv[2]); to = (sys.argv[3], int(sys.argv[2])); print("ready", flush=True)
c, _ = accepts.accept()
poll = select.poll(); poll.register(c, 0); poll.poll()
libc.connect(c.fileno(), bytes(16), 16)  # AF_UNSPEC
c.connect(to); other.accept()[0].close(); c.close()
c = socket.socket()
for _ in range(2): assert c.connect_ex((sys.argv[3], int(sys.argv[4])))
c.connect(to); other.accept()[0].close(); c.close()
print("done", flush=True); sys.stdin.read()
"""

# A child leaves what it accepted to its io_uring and ends: a worker of the kernel closes it.
LEAVE = LISTEN + """
SETUP, REGISTER, FILES = 425, 427, 2
s = listen(sys.argv[1]); print("ready", flush=True)
if not (child := os.fork()):
    c, _ = s.accept(); ring = libc.syscall(SETUP, 8, ctypes.create_string_buffer(120))
    os._exit(libc.syscall(REGISTER, ring, FILES, (ctypes.c_int * 1)(c.fileno()), 1) != 0)
print(os.waitpid(child, 0)[1], flush=True); sys.stdin.read()
"""

CUT = """
import socket, struct, sys, time
s = socket.create_connection((sys.argv[1], int(sys.argv[2]))); s.sendall(sys.argv[3].encode()); time.sleep(0.3)
s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)); s.close()
"""

WAIT = """
import socket, sys
s = socket.create_connection((sys.argv[1], int(sys.argv[2]))); s.recv(1); s.close()
"""


class Ends(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        broker = kafka.Kafka()
        cls.addClassCleanup(broker.stop)
        cls.network = network = Network("mre")
        cls.addClassCleanup(network.stop)
        servers = [network.start_python(network.server, *words) for words in (
            (UNTOUCHING, UNTOUCHED), (REUSE, AGAIN, OTHER, SERVER, CLOSED), (LEAVE, LEFT))]
        cls.pids = [server.pid for server in servers]
        agent = Agent(broker.address, "end", f"scope.netns={network.client},{network.server}", "features.conntrack=false",
                      "scan.period=15s")
        scans = agent.metric("scans_total")
        for port in (UNTOUCHED, AGAIN):
            network.python(network.client, CUT, SERVER, port, SENT.decode())
        network.python(network.client, WAIT, SERVER, LEFT)
        assert servers[1].stdout.readline() == "done\n"
        cls.registered = servers[2].stdout.readline() == "0\n"
        time.sleep(0.3)
        cls.scans = agent.metric("scans_total") - scans
        cls.status = agent.stop()
        cls.events = Events(broker.address, "end")

    def server_half(self, port):
        row, = self.events.find(role=2, local_port=port, remote=CLIENT)
        return row, self.events.close(row)

    def test_the_agent_ends_well_and_tells_each_end_once(self):
        self.assertEqual(self.status, 0)
        self.assertEqual(self.scans, 0, "a scan may have told them")
        self.assertEqual(self.events.doubled, 0)

    def test_a_reset_in_the_queue_of_a_listener_is_told_at_once_and_as_the_listeners(self):
        row, end = self.server_half(UNTOUCHED)
        self.assertEqual((end.reason, end.rx_bytes), (RESET, len(SENT)))
        self.assertEqual(self.events.flag(row), RESET_RECEIVED)
        self.assertEqual(self.events.owner(row), self.pids[0])

    def test_a_socket_that_connects_again_tells_what_it_was_with_its_bytes(self):
        row, end = self.server_half(AGAIN)
        self.assertEqual((end.reason, end.rx_bytes, end.tx_bytes), (RESET, len(SENT), 0))
        self.assertEqual(self.events.owner(row), self.pids[1])
        rows = self.events.find(role=1, local=SERVER, remote=SERVER, remote_port=OTHER)
        self.assertEqual([self.events.close(row).reason for row in rows], [NORMAL, NORMAL])

    def test_each_of_two_failures_of_one_socket_is_told(self):
        rows = self.events.find(role=1, local=SERVER, remote=SERVER, remote_port=CLOSED)
        self.assertEqual([self.events.close(row).reason for row in rows], [REFUSED, REFUSED])

    def test_a_thread_of_the_kernel_owns_nothing(self):
        if not self.registered:
            self.skipTest("no io_uring here, or not for us")
        row, end = self.server_half(LEFT)
        self.assertEqual((end.reason, self.events.owner(row)), (NORMAL, self.pids[2]))


if __name__ == "__main__":
    reason = told.why_not()
    if reason:
        print(f"skipped: {reason}")
        sys.exit(told.SKIPPED)
    unittest.main(verbosity=2)
