#!/usr/bin/python3
"""Programs that people run, in a network of namespaces, with the real agent and a real Kafka: nginx under curl and wrk,
redis under redis-benchmark, iperf3, openssl, an asyncio server. Who owned each socket and how many payload bytes it
moved is known from the programs themselves (logs, counters, own sums), never from the agent.

Root and BTF are needed; without them the test is skipped.
"""

import collections
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import agent_test as lab
from agents import missed_drops

kafka = lab.kafka
PROGRAMS = ("wrk", "redis-server", "redis-benchmark", "redis-cli", "iperf3", "openssl")
PAGE_BYTES = 20000
CURLS, PAGES_A_CURL = 30, 20
ECHOES = 1000
REDIS_PORT, IPERF_PORT, TLS_PORT, ECHO_PORT, WEB_PORT = 6390, 5210, 4430, 7100, 8080
OWNERS_RIGHT_MIN = 0.999

ECHO_SERVER = r"""
import asyncio, sys
async def echo(reader, writer):
    got = 0
    while chunk := await reader.read(1 << 16):
        got += len(chunk); writer.write(chunk); await writer.drain()
    print(writer.get_extra_info("peername")[1], got, flush=True); writer.close()
async def main():
    server = await asyncio.start_server(echo, "0.0.0.0", int(sys.argv[1]), backlog=1024)
    print("ready", flush=True)
    async with server: await server.serve_forever()
asyncio.run(main())
"""

ECHO_CLIENT = r"""
import asyncio, random, sys
async def one(gate, seed):
    async with gate:
        size = random.Random(seed).choice((1, 10, 1000, 70000, 400000))
        reader, writer = await asyncio.open_connection(sys.argv[1], int(sys.argv[2]))
        port = writer.get_extra_info("sockname")[1]
        writer.write(b"e" * size); writer.write_eof()
        got = 0
        while chunk := await reader.read(1 << 16): got += len(chunk)
        writer.close(); await writer.wait_closed()
        assert got == size; print(port, size)
async def main():
    gate = asyncio.Semaphore(100)
    await asyncio.gather(*(one(gate, i) for i in range(int(sys.argv[3]))))
asyncio.run(main())
"""


def why_not():
    missing = [name for name in PROGRAMS if not shutil.which(name)]
    return lab.why_not() or (missing and "needs " + ", ".join(missing)) or None


def start_nginx(network, folder):
    www = pathlib.Path(folder, "www")
    www.mkdir()
    (www / "page").write_bytes(b"p" * PAGE_BYTES)
    config = pathlib.Path(folder, "nginx.conf")
    config.write_text(f"""daemon off; worker_processes 2; pid {folder}/nginx.pid; error_log stderr crit;
events {{}}
http {{
    log_format lab '$remote_port $pid $bytes_sent $request_length';
    access_log {folder}/access.log lab; keepalive_requests 1000000;
    server {{ listen {WEB_PORT}; root {www}; }}
}}
""")
    return network.start(network.server, "nginx", "-c", config, "-e", "stderr", ready=False)


class Events(lab.Events):
    """Knows the owner that a socket's newest definition named, too: a better one is told by defining it again."""

    def _take(self, batch):
        super()._take(batch)
        self.owners = getattr(self, "owners", {})
        columns = batch.definitions
        for slot, generation, pid in zip(columns.slot, columns.generation, columns.pid):
            self.owners[slot, generation] = pid

    def owner(self, row):
        return self.close(row).pid or self.owners[row.slot, row.generation]


class Truth:
    """What the programs say of their sockets."""

    def __init__(self):
        self.bytes = {}   # (server's port, client's port): (client to server, server to client)
        self.server = {}  # likewise: pid
        self.client = {}


def client(network, truth, *words):
    """Runs a client; (its pid, what it printed)."""
    process = subprocess.Popen(["ip", "netns", "exec", network.client, *map(str, words)], stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, text=True)
    out, _ = process.communicate(timeout=lab.WITHIN_S)
    if process.returncode:
        raise RuntimeError(f"{words}: {out}")
    return process.pid, out


def web_traffic(network, truth, folder):
    url = f"http://{lab.SERVER}:{WEB_PORT}/page"
    for _ in range(CURLS):
        pid, out = client(network, truth, "curl", "-s", "-w", "%{local_port} %{stderr}", *(["-o", "/dev/null", url] * PAGES_A_CURL))
        truth.client[WEB_PORT, int(out.split()[0])] = pid
    exact = {port for _, port in truth.client}
    wrk, _ = client(network, truth, "wrk", "-t", 1, "-c", 20, "-d", "1s", url)
    time.sleep(0.5)
    rows = collections.defaultdict(lambda: [0, 0])
    for line in pathlib.Path(folder, "access.log").read_text().splitlines():
        port, pid, sent, received = map(int, line.split())
        truth.server[WEB_PORT, port] = pid
        truth.client.setdefault((WEB_PORT, port), wrk)
        rows[port][0] += received
        rows[port][1] += sent
    # wrk cuts its connections in the middle of an answer: there nginx has given more to the kernel than went out
    truth.bytes.update({(WEB_PORT, port): tuple(rows[port]) for port in exact})


def echo_traffic(network, truth, server):
    pid, out = client(network, truth, "/usr/bin/python3", "-c", ECHO_CLIENT, lab.SERVER, ECHO_PORT, ECHOES)
    for line in out.splitlines():
        port, size = map(int, line.split())
        truth.client[ECHO_PORT, port] = pid
        truth.server[ECHO_PORT, port] = server.pid
        truth.bytes[ECHO_PORT, port] = (size, size)


def iperf_traffic(network):
    pid, out = client(network, None, "iperf3", "-c", lab.SERVER, "-p", IPERF_PORT, "-n", "40M", "-P", 2, "-J")
    return pid, json.loads(out)


def redis_info(network):
    _, out = client(network, None, "redis-cli", "-h", lab.SERVER, "-p", REDIS_PORT, "info", "stats")
    values = dict(line.split(":", 1) for line in out.split() if ":" in line)
    return int(values["total_net_input_bytes"]), int(values["total_net_output_bytes"])


class Programs(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix="millrace-programs-")
        cls.addClassCleanup(shutil.rmtree, cls.folder, ignore_errors=True)
        os.chmod(cls.folder, 0o755)
        broker = kafka.Kafka()
        cls.addClassCleanup(broker.stop)
        cls.network = network = lab.Network()
        cls.addClassCleanup(network.stop)
        agent = lab.Agent(broker.address, "programs")
        cls.make_traffic(network)
        time.sleep(1.2)
        cls.status, cls.agent = agent.stop(), agent
        cls.events = Events(broker.address, "programs")
        cls.near = {(row.remote_port, row.local_port): row for row in cls.events.find(role=1, local=lab.CLIENT)}
        cls.far = {(row.local_port, row.remote_port): row for row in cls.events.find(role=2, local=lab.SERVER)}

    @classmethod
    def make_traffic(cls, network):
        server = network.server
        cls.truth = truth = Truth()
        start_nginx(network, cls.folder)
        echo = network.start(server, "/usr/bin/python3", "-c", ECHO_SERVER, ECHO_PORT)
        cls.redis = network.start(server, "redis-server", "--port", REDIS_PORT, "--save", "", "--dir", cls.folder,
                                  "--protected-mode", "no", ready=False)
        cls.iperf = network.start(server, "iperf3", "-s", "-p", IPERF_PORT, ready=False)
        cls.certificate(server)
        cls.tls = network.start(server, "openssl", "s_server", "-quiet", "-www", "-accept", TLS_PORT, "-cert",
                                f"{cls.folder}/tls.pem", "-key", f"{cls.folder}/tls.key", ready=False)
        time.sleep(0.5)
        web_traffic(network, truth, cls.folder)
        echo_traffic(network, truth, echo)
        cls.iperf_client, cls.iperf_told = iperf_traffic(network)
        cls.benchmark, _ = client(network, truth, "redis-benchmark", "-h", lab.SERVER, "-p", REDIS_PORT, "-c", 20, "-n",
                                  20000, "-t", "set,get", "-d", 100, "-q")
        cls.redis_bytes = redis_info(network)
        cls.tls_client, _ = client(network, truth, "curl", "-sk", "-o", "/dev/null", f"https://{lab.SERVER}:{TLS_PORT}/")

    @classmethod
    def certificate(cls, server):
        lab.run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", 2, "-subj", "/CN=lab", "-keyout",
                f"{cls.folder}/tls.key", "-out", f"{cls.folder}/tls.pem")

    def test_the_agent_ends_well_and_loses_nothing(self):
        self.assertEqual(self.status, 0, self.agent.log)
        last = self.events.batches[-1]
        self.assertEqual((last.dropped_ring, last.dropped_netlink, last.dropped_spool),
                         (missed_drops(self.agent.log), 0, 0), self.agent.log)

    def test_every_connection_of_every_program_is_there_at_both_ends_once(self):
        for port in (WEB_PORT, ECHO_PORT, REDIS_PORT, IPERF_PORT, TLS_PORT):
            near = [key for key in self.near if key[0] == port]
            far = [key for key in self.far if key[0] == port]
            self.assertEqual(sorted(near), sorted(far))
            self.assertEqual(len(near), len(self.events.find(role=1, local=lab.CLIENT, remote_port=port)))
        missing = set(self.truth.client) - set(self.near)
        self.assertEqual(missing, set())
        self.assertEqual(len([key for key in self.near if key[0] == ECHO_PORT]), ECHOES)

    def test_payload_bytes_equal_the_programs_own_count(self):
        self.assertEqual(len(self.truth.bytes), CURLS + ECHOES)
        for key, (up, down) in self.truth.bytes.items():
            near, far = self.events.close(self.near[key]), self.events.close(self.far[key])
            self.assertEqual((near.tx_bytes, near.rx_bytes), (up, down), key)
            self.assertEqual((far.rx_bytes, far.tx_bytes), (up, down), key)

    def test_redis_counts_the_same_bytes(self):
        rows = [self.events.close(row) for key, row in self.far.items() if key[0] == REDIS_PORT]
        asked = max((row for key, row in self.far.items() if key[0] == REDIS_PORT), key=self.events.definitions.index)
        received, sent = self.redis_bytes
        self.assertEqual(sum(row.rx_bytes for row in rows), received)
        # its answer to `info` came after it had counted
        self.assertEqual(sum(row.tx_bytes for row in rows) - self.events.close(asked).tx_bytes, sent)

    def test_iperf3_moved_what_it_says(self):
        cookie = 37  # each of its streams begins with one
        streams = self.iperf_told["end"]["streams"]
        for place, stream in zip(self.iperf_told["start"]["connected"], streams):
            key = (IPERF_PORT, place["local_port"])
            near, far = self.events.close(self.near[key]), self.events.close(self.far[key])
            # it ends when it has written, not when all has gone out
            self.assertLessEqual(near.tx_bytes, stream["sender"]["bytes"] + cookie)
            self.assertGreaterEqual(far.rx_bytes, stream["receiver"]["bytes"])
            self.assertLessEqual(far.rx_bytes, near.tx_bytes)

    def test_owners_are_the_processes_that_did_it(self):
        right = wrong = 0
        wanted = [(self.near[key], pid) for key, pid in self.truth.client.items()]
        wanted += [(self.far[key], pid) for key, pid in self.truth.server.items() if key in self.far]
        for port, near, far in ((REDIS_PORT, None, self.redis.pid), (IPERF_PORT, self.iperf_client, self.iperf.pid),
                                (TLS_PORT, self.tls_client, self.tls.pid)):
            wanted += [(row, near) for key, row in self.near.items() if key[0] == port and near]
            wanted += [(row, far) for key, row in self.far.items() if key[0] == port]
        first = []
        for row, pid in wanted:
            if self.events.owner(row) == pid:
                right += 1
            else:
                wrong += 1
                first.append((row, pid))
        print(f"{right} of {right + wrong} owners right", file=sys.stderr)
        self.assertGreaterEqual(right / (right + wrong), OWNERS_RIGHT_MIN, first[:5])

    def test_every_owner_has_its_program(self):
        programs = {WEB_PORT: {"nginx"}, ECHO_PORT: {"python3"}, REDIS_PORT: {"redis-server"}, IPERF_PORT: {"iperf3"},
                    TLS_PORT: {"openssl"}}
        for key, row in self.far.items():
            if key[0] in programs:
                comm, exe, _ = self.events.processes[self.events.owner(row)]  # redis-server's file has another name
                self.assertIn(comm, programs[key[0]], (key, exe))


if __name__ == "__main__":
    reason = why_not()
    if reason:
        print(f"skipped: {reason}")
        sys.exit(lab.SKIPPED)
    unittest.main(verbosity=2)
