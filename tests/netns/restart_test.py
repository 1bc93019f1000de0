#!/usr/bin/python3
"""Agents killed (SIGKILL) and started again under real connections: what all batches in Kafka say together is what the
programs counted, or lies in a gap in which no agent looked.

What is proved, from the programs' own log (addresses, bytes, clock before and after each end) and the batches alone:

    connections that the programs ended = told + ended in gaps

A gap begins with the last batch of a killed agent that reached Kafka and ends when the next agent that reaches it is
attached. A connection that ends while an agent looks is told exactly once at each end with its bytes to the byte, also those of
before the agent and of earlier agents: counters are absolute. One that ends in a gap is told by nobody; how many these
are follows from the log. What is between (the start of an agent, whose moment of attaching only the agent knows) may be
either, but not both, and what began after the attachment is told.

20 restarts; MILLRACE_RESTARTS for another number. Root is needed; without it the test is skipped."""

import collections
import json
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import time
import unittest

import agent_test
import network
from agent_test import AGENT, WITHIN_S, Events, run
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import kafka
import processes

RESTARTS = int(os.environ.get("MILLRACE_RESTARTS", "20"))
LIFE_S = (0.3, 2.3)  # of an agent, once it is attached; some die before their first batch is in Kafka
# How much later than the client has seen the end, the two sockets' own ends may be: the server's waits for the last
# acknowledgement, which on a busy machine takes its turn.
SLACK_NS = {1: 50_000_000, 2: 400_000_000}
QUEUED_NS = 2_000_000_000  # the longest that a connection waits for its server to accept it
NODE = "restart"
PORT = 8080

# Answers each byte with two, closes when the client has.
SERVE = r"""
import asyncio
async def serve(reader, writer):
    while got := await reader.read(1 << 16): writer.write(got * 2); await writer.drain()
    writer.close()
async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", 8080, backlog=1024)
    print("ready", flush=True)
    await server.serve_forever()
asyncio.run(main())
"""

# Each connection has an address of its own, so no two are alike. Long ones live as long as the program does, others for
# seconds, most for one exchange. A line at each end: address, bytes sent and received, clock before and after.
LOAD = r"""
import asyncio, itertools, json, random, sys, time
random.seed(int(sys.argv[1]))
numbers = itertools.count(1)
ending = asyncio.Event()
started = 0
async def connection(lives):
    global started
    n = next(numbers)
    host = f"127.{1 + (n >> 16)}.{n >> 8 & 255}.{n & 255}"
    began = time.time_ns()
    reader, writer = await asyncio.open_connection("127.0.0.1", 8080, local_addr=(host, 0))
    started += 1
    sent = received = 0
    until = time.monotonic() + lives
    while True:
        size = random.choice((1, 100, 3000, 40000))
        writer.write(b"x" * size); sent += size
        await writer.drain()
        received += len(await reader.readexactly(2 * size))
        left = until - time.monotonic()
        if left <= 0 or ending.is_set(): break
        await asyncio.sleep(min(left, random.uniform(0.05, 0.3)))
    before = time.time_ns()
    writer.write_eof()
    assert await reader.read() == b""
    writer.close()
    await writer.wait_closed()
    print(json.dumps([host, sent, received, began, before, time.time_ns()]))
async def again(lives):
    while not ending.is_set():
        await connection(lives() if callable(lives) else lives)
        await asyncio.sleep(random.uniform(0.01, 0.04))
async def main():
    workers = [asyncio.create_task(connection(1e9)) for _ in range(20)]
    workers += [asyncio.create_task(again(lambda: random.uniform(2, 6))) for _ in range(20)]
    workers += [asyncio.create_task(again(0)) for _ in range(6)]
    print("ready", file=sys.stderr, flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    ending.set()
    await asyncio.gather(*workers)
asyncio.run(main())
"""

Ended = collections.namedtuple("Ended", "host sent received began before after")
Life = collections.namedtuple("Life", "spawned attached killed")  # of an agent, as the lab saw it, ns


def median(values):
    return sorted(values)[len(values) // 2]


class Restarts(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.seed = random.randrange(1 << 30)
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="millrace-restart-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder, ignore_errors=True)
        cls.broker = kafka.Kafka()
        cls.addClassCleanup(cls.broker.stop)
        cls.netns = f"mr{os.getpid()}t"
        network.sweep("mr", "[ktq]|n\\d+")
        run("ip", "netns", "add", cls.netns)
        cls.addClassCleanup(run, "ip", "netns", "del", cls.netns, check=False)
        run("ip", "-n", cls.netns, "link", "set", "lo", "up")
        server = processes.start([agent_test.shutil.which("python3"), "-c", SERVE], netns=cls.netns,
                                 stdout=subprocess.PIPE)
        cls.addClassCleanup(processes.end, server)
        assert server.stdout.readline() == b"ready\n"
        cls.lives = []
        cls.run_all()

    @classmethod
    def run_all(cls):
        path = cls.folder / "ended"
        with open(path, "wb") as out:
            load = processes.start([shutil.which("python3"), "-c", LOAD, cls.seed], netns=cls.netns,
                                   stdin=subprocess.PIPE, stderr=subprocess.PIPE, stdout=out)
            cls.addClassCleanup(processes.end, load)
            assert load.stderr.readline() == b"ready\n"
            lives = random.Random(cls.seed)
            for number in range(RESTARTS):
                agent = cls.start_agent()
                time.sleep(lives.uniform(*LIFE_S))
                cls.lives[-1] = cls.lives[-1]._replace(killed=time.time_ns())
                agent.kill()
                agent.wait()
                agent.stderr.close()
            agent = cls.start_agent()  # the last one sees the end and ends well
            time.sleep(1)
            load.stdin.close()
            assert load.wait(WITHIN_S) == 0
            time.sleep(1)
            agent.terminate()
            cls.status = agent.wait(WITHIN_S)
            agent.stderr.close()
            cls.lives[-1] = cls.lives[-1]._replace(killed=time.time_ns())
        cls.ended = [Ended(*json.loads(line)) for line in path.read_text().splitlines()]
        cls.epochs = cls.read_epochs()
        cls.started = len(cls.lives)
        cls.lives = [next(life for life in cls.lives if life.spawned < events.batches[0].sent_realtime_ns < life.killed)
                     for events in cls.epochs]  # of those that were heard

    @classmethod
    def start_agent(cls):
        spawned = time.time_ns()
        words = [AGENT, "--config", "/dev/null"]
        for setting in (f"node={NODE}", f"kafka.brokers={cls.broker.address}", "listen=", f"scope.netns={cls.netns}"):
            words += ["--set", setting]
        agent = processes.start(words, stderr=subprocess.PIPE)
        cls.addClassCleanup(processes.end, agent)
        for line in agent.stderr:
            if b": node " in line:
                break
        else:
            raise RuntimeError("the agent did not start")
        cls.lives.append(Life(spawned, time.time_ns(), None))
        return agent

    @classmethod
    def read_epochs(cls):
        """The events of each agent that reached Kafka, in the order of the agents."""
        everything = Events(cls.broker.address, NODE, take=False)
        by_epoch = collections.defaultdict(list)
        for batch in everything.batches:
            by_epoch[batch.epoch].append(batch)
        epochs = [Events.of(batches) for batches in by_epoch.values()]
        epochs.sort(key=lambda events: events.batches[0].sent_realtime_ns)
        return epochs

    def setUp(self):
        self.told = collections.defaultdict(list)  # (host, role): [(epoch, close, definition)]
        for number, events in enumerate(self.epochs):
            for row in events.definitions:
                close = events.closes.get((row.slot, row.generation))
                host = row.local if row.role == 1 else row.remote
                if close and PORT in (row.local_port, row.remote_port):
                    self.told[host, row.role].append((number, close, row))

    def looked_at(self, number):
        """From when to when it is sure that an agent's events reached Kafka."""
        return self.lives[number].attached, self.epochs[number].batches[-1].sent_realtime_ns

    def test_what_is_heard_of_an_agent_has_no_hole(self):
        self.assertEqual(self.status, 0)
        self.assertEqual(len(set(self.lives)), len(self.epochs))
        self.assertGreater(len(self.epochs), self.started / 2)
        for events in self.epochs:
            self.assertEqual([b.sequence for b in events.batches], list(range(len(events.batches))))
            last = events.batches[-1]
            self.assertEqual((last.dropped_ring, last.dropped_spool), (0, 0))

    def test_nothing_is_told_twice_and_all_that_is_told_is_exact(self):
        by_host = {ended.host: ended for ended in self.ended}
        self.assertEqual(len(by_host), len(self.ended))
        for (host, role), closes in self.told.items():
            ended = by_host[host]
            self.assertEqual(len(closes), 1, (host, role, closes))
            _, close, _ = closes[0]
            wanted = (ended.sent, ended.received) if role == 1 else (ended.received, ended.sent)
            self.assertEqual((close.tx_bytes, close.rx_bytes), wanted, (host, role, f"seed {self.seed}"))

    def test_ended_is_told_plus_ended_in_gaps(self):
        spans = [self.looked_at(number) for number in range(len(self.epochs))]
        told, gap, half, near = 0, 0, 0, 0
        for ended in self.ended:
            roles = {role for role in (1, 2) if self.told.get((ended.host, role))}
            seen = {role for role in (1, 2) if self.ended_while_looked_at(ended, spans, role) or
                    self.lived_while_looked_at(ended, role)}
            gone = self.ended_in_a_gap(ended)
            ends = [round((end - ended.after) / 1e6) for _, end in spans if end > ended.before]
            self.assertLessEqual(seen, roles, (ended, f"seed {self.seed}; ms to the end of what was heard: {ends[:1]}"))
            self.assertFalse(gone and roles, (ended, f"seed {self.seed}"))
            told += len(roles) == 2
            gap += len(roles) == 0
            half += len(roles) == 1
            near += not seen and not gone
        lengths = [self.lives[i + 1].attached - self.epochs[i].batches[-1].sent_realtime_ns
                   for i in range(len(spans) - 1)]
        print(f"\n{RESTARTS} restarts, {len(self.epochs)} agents heard, {len(self.ended)} connections: {told} told, "
              f"{gap} ended in gaps, {half} with one end each side of an edge ({near} near an edge); "
              f"a gap is {median(lengths) / 1e9:.2f} s", file=sys.stderr)
        self.assertEqual(told + gap + half, len(self.ended))
        self.assertGreater(told, len(self.ended) / 3)
        self.assertLess(half, len(self.ended) / 100)

    @staticmethod
    def ended_while_looked_at(ended, spans, role):
        """A server's end from just before the attachment may not have been accepted then, and what no process has open is
        in no listing: it may stay untold, and counts among those with one end."""
        return any(begin + SLACK_NS[1] < ended.before and ended.after < end - SLACK_NS[role] and
                   (role == 1 or not begin - QUEUED_NS < ended.began < begin + SLACK_NS[1]) for begin, end in spans)

    def ended_in_a_gap(self, ended):
        """Surely: after the last batch that came of one agent, before the next was started."""
        return ended.after < self.lives[0].spawned or any(
            self.epochs[i].batches[-1].sent_realtime_ns + SLACK_NS[1] < ended.before and
            ended.after + SLACK_NS[2] < self.lives[i + 1].spawned for i in range(len(self.epochs) - 1))

    def lived_while_looked_at(self, ended, role):
        """After the first event of a fresh connection that this agent told, and before its last batch."""
        for number, events in enumerate(self.epochs):
            end = events.batches[-1].sent_realtime_ns - SLACK_NS[role]
            if self.first_fresh(number) + SLACK_NS[1] < ended.began and ended.after < end:
                return True
        return False

    def first_fresh(self, number):
        if not hasattr(self, "fresh"):
            began = {ended.host: ended.before for ended in self.ended}
            self.fresh = collections.defaultdict(lambda: 1 << 63)
            for (host, role), closes in self.told.items():
                for epoch, _, row in closes:
                    if not row.flags & agent_test.EXISTED:
                        self.fresh[epoch] = min(self.fresh[epoch], began[host])
        return self.fresh[number]

    def test_long_connections_are_told_by_the_last_agent_with_all_their_bytes(self):
        first = self.lives[0].attached
        lasting = [ended for ended in self.ended if ended.began < first and ended.before > self.lives[-1].attached]
        self.assertGreaterEqual(len(lasting), 20)
        for ended in lasting:
            for role in (1, 2):
                (epoch, _, row), = self.told[ended.host, role]
                self.assertEqual(epoch, len(self.epochs) - 1)
                self.assertTrue(row.flags & agent_test.EXISTED)


if __name__ == "__main__":
    reason = agent_test.why_not()
    if reason:
        print(f"skipped: {reason}")
        sys.exit(agent_test.SKIPPED)
    unittest.main(verbosity=2)
