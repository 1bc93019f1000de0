#!/usr/bin/python3
"""More comes in than millraced can do: with too little of the processor, and with outputs that leave at 1 KiB/s.
Its memory stays under what its settings bound (docs/reliability.md), nothing is dropped, and it catches up.

MILLRACE_OVERLOAD_S is how long each lasts (30), MILLRACE_CALM_S how long it has all that it needs before (8): its tables
grow for some four minutes, so what lasts for longer than a minute needs 240."""

import os
import pathlib
import signal
import socket
import struct
import sys
import tempfile
import threading
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import fleet
import kafka
import processes
from millraced import Millraced, until

OVERLOAD_S = int(os.environ.get("MILLRACE_OVERLOAD_S", 30))
CALM_S = int(os.environ.get("MILLRACE_CALM_S", 8))
SLICE_S = 0.2
SLOW_BYTES_A_S = 1024
CATCHES_UP_WITHIN_S = 60 + 2 * OVERLOAD_S
LAG_S = 3
HELD = 0.2  # of what the first seconds take, in which every connection is new: twice and more of what the others do
PARTITIONS = 16
MIB = 1 << 20
PRODUCE = 0
# What may be held beside the tasks' state, docs/reliability.md: fetched records (limits.fetched, and one fetch more),
# outputs that wait (64 MiB, twice while they are sent), rows that wait for the history, allocator's slack.
FETCHED_MIB = 1
MORE_BYTES = (PARTITIONS * (FETCHED_MIB + 4) + 2 * 64 + 64) * MIB
RECEIVED = "millrace_events_received_total"

CONFIG = """  group: {group}
pipeline: {{workers: 2}}
limits: {{fetched: %d}}
rollups: {{finest: 250ms}}
history: {{rows_a_second: 100}}
""" % FETCHED_MIB


class Proxy:
    """Between clients and the broker. While it is slow, connections on which millraced sends records get 1 KiB/s."""

    def __init__(self, port):
        self.slow = False
        self.target = port
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            client, _ = self.listener.accept()
            try:
                broker = socket.create_connection(("127.0.0.1", self.target), 5)
            except OSError:
                client.close()
                continue
            broker.settimeout(None)
            threading.Thread(target=self._requests, args=(client, broker), daemon=True).start()
            threading.Thread(target=self._bytes, args=(broker, client), daemon=True).start()

    def _bytes(self, source, sink):
        try:
            while data := source.recv(65536):
                sink.sendall(data)
        except OSError:
            pass
        for end in (source, sink):
            end.close()

    @staticmethod
    def _exactly(source, size):
        data = bytearray()
        while len(data) < size:
            more = source.recv(min(65536, size - len(data)))
            if not more:
                raise OSError
            data += more
        return bytes(data)

    def _requests(self, client, broker):
        try:
            while True:
                size = self._exactly(client, 4)
                request = self._exactly(client, *struct.unpack(">i", size))
                kind, _, _, name = struct.unpack_from(">hhih", request)
                self._pass(broker, size + request, kind == PRODUCE and request[10:10 + name] == b"millraced")
        except OSError:
            pass
        for end in (client, broker):
            end.close()

    def _pass(self, broker, request, produces):
        at = 0
        while at < len(request):
            step = SLOW_BYTES_A_S // 10 if produces and self.slow else 65536
            broker.sendall(request[at:at + step])
            at += step
            if produces and self.slow:
                time.sleep(0.1)


class Overload(unittest.TestCase):
    def setUp(self):
        port, controller = processes.free_port(), processes.free_port()
        self.proxy = Proxy(port)
        self.kafka = kafka.Kafka({"listeners": f"PLAIN://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}",
                                  "controller.quorum.voters": f"1@127.0.0.1:{controller}",
                                  "advertised.listeners": f"PLAIN://127.0.0.1:{self.proxy.port}"})
        self.addCleanup(self.kafka.stop)
        folder = tempfile.TemporaryDirectory(prefix="millrace-overload-")
        self.addCleanup(folder.cleanup)
        self.feed = fleet.Feed(folder.name, nodes=64, flows=20000, edges=2000, rate=40000, seconds=CALM_S + OVERLOAD_S)
        self.daemon = Millraced(self.kafka.address, CONFIG.format(group="overload"))
        self.addCleanup(self.daemon.stop)
        self.daemon.wait_ready()
        self.most = 0

    def resident(self):
        pages = int(pathlib.Path(f"/proc/{self.daemon.child.pid}/statm").read_text().split()[1])
        self.most = max(self.most, pages * os.sysconf("SC_PAGE_SIZE"))
        return pages * os.sysconf("SC_PAGE_SIZE")

    def calm(self):
        """(sender, bytes resident, CPU seconds a second) with all that it needs."""
        sender = self.feed.start(self.kafka.address)
        time.sleep(CALM_S / 2)
        before = fleet.cpu_seconds(self.daemon.child.pid)
        began = time.monotonic()
        time.sleep(CALM_S / 2)
        return sender, self.resident(), (fleet.cpu_seconds(self.daemon.child.pid) - before) / (time.monotonic() - began)

    def held_to(self, share):
        """Runs until its share of a slice is used up, then stands until the next."""
        pid = self.daemon.child.pid
        allowed = fleet.cpu_seconds(pid)
        until_s = time.monotonic() + OVERLOAD_S
        while time.monotonic() < until_s:
            allowed += share * SLICE_S
            os.kill(pid, signal.SIGCONT if fleet.cpu_seconds(pid) < allowed else signal.SIGSTOP)
            time.sleep(SLICE_S)
            self.resident()
        os.kill(pid, signal.SIGCONT)

    def check_end(self, sender, calm_bytes):
        """(how far behind it was, seconds of log that it then read in one of the processor)."""
        lag_s, began = self.daemon.metric("millrace_lag_seconds"), time.monotonic()
        spent = fleet.cpu_seconds(self.daemon.child.pid)
        caught_up = until(lambda: (self.resident() and self.daemon.metric(RECEIVED) >= self.feed.events and
                                   self.daemon.metric("millrace_lag_seconds") < LAG_S), CATCHES_UP_WITHIN_S)
        spent = fleet.cpu_seconds(self.daemon.child.pid) - spent
        speed = (lag_s + time.monotonic() - began) / max(spent, 0.01)
        sender.stdout.readline()
        self.assertEqual(processes.end(sender, within_s=60), 0)
        self.assertTrue(caught_up, (self.daemon.metric("millrace_lag_seconds"), self.daemon.log()[-2000:]))
        found = self.daemon.metrics()
        print(f"lag was {lag_s:.1f} s, read at {speed:.1f} s of log a CPU second; resident "
              f"{calm_bytes / MIB:.0f} MiB before, {self.most / MIB:.0f} at most", file=sys.stderr)
        self.assertEqual(found[RECEIVED], self.feed.events)
        taken = sum(found[f"millrace_events_{name}_total"] for name in ("aggregated", "late", "duplicate", "refused",
                                                                         "quarantined"))
        self.assertEqual(taken + found["millrace_events_pending"], self.feed.events)
        for name in ("millrace_events_lost_total", "millrace_events_refused_total", "millrace_data_losses_total",
                     "millrace_outputs_failed_total"):
            self.assertEqual(found[name], 0, name)
        self.assertLess(self.most, calm_bytes + MORE_BYTES)
        self.assertNotIn("does not get on", self.daemon.log())
        return lag_s, speed

    def test_with_less_than_half_of_the_processor_that_it_needs(self):
        sender, calm_bytes, share = self.calm()
        self.held_to(share * HELD)
        lag_s, speed = self.check_end(sender, calm_bytes)
        self.assertGreater(lag_s, LAG_S, "it was never behind")
        self.assertGreater(speed, 1.5)

    def test_with_outputs_that_leave_slowly(self):
        sender, calm_bytes, _ = self.calm()
        self.proxy.slow = True
        waited = 0
        for _ in range(OVERLOAD_S):
            time.sleep(1)
            self.resident()
            waited = max(waited, self.daemon.metric("millrace_outputs_waiting"))
        self.proxy.slow = False
        self.assertGreater(waited, 0)
        self.assertTrue(self.daemon.alive(), self.daemon.log()[-2000:])
        self.check_end(sender, calm_bytes)


if __name__ == "__main__":
    if kafka.missing():
        sys.exit(77)
    unittest.main(verbosity=2)
