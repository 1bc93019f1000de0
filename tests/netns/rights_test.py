#!/usr/bin/python3
"""The real agent with fewer rights than it wants, one after the other: it says what is missing in one sentence, once,
and the rest works. And what it keeps of its rights once it runs.

One namespace of our own, in which a program serves and calls; the agent sits in the host's. What must be told is what
the programs say. Root is needed; without it the test is skipped."""

import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

import agent_test
import network
from agent_test import AGENT, WITHIN_S, Agent, Events, run
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import kafka
import processes

PYTHON = "/usr/bin/python3"
NET = 128 + os.getpid() % 64
HOST, VIP = f"10.{NET}.7.1", f"10.{NET}.7.99"
NOBODY = 65534
# What the unit grants (deploy/systemd/millrace-agent.service).
UNIT = ("bpf", "perfmon", "net_admin", "net_broadcast", "sys_admin", "sys_ptrace")
BITS = {"net_broadcast": 11, "net_admin": 12, "sys_ptrace": 19, "sys_admin": 21, "perfmon": 38, "bpf": 39}
KEEPER = sum(1 << BITS[name] for name in ("net_admin", "net_broadcast", "sys_admin", "sys_ptrace"))

SERVE = r"""
import socket, sys, threading
s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(("", 8080)); s.listen(256); print("ready", flush=True)
def serve(c):
    while True:
        got = c.recv(1 << 16)
        if not got: break
        c.sendall(got * 2)
    c.close()
while True: threading.Thread(target=serve, args=(s.accept()[0],), daemon=True).start()
"""

# Each line of the answer: local port, bytes sent.
TALK = r"""
import socket, sys
for i in range(1, int(sys.argv[2]) + 1):
    s = socket.create_connection((sys.argv[1], 8080)); port = s.getsockname()[1]
    s.sendall(b"x" * i); got = 0
    while got < 2 * i: got += len(s.recv(1 << 16))
    s.close(); print(port, i)
"""

HOLD = r"""
import socket, sys
s = socket.create_connection((sys.argv[1], 8080)); s.sendall(b"x"); s.recv(2)
print(s.getsockname()[1], flush=True); sys.stdin.read()
"""

HIDE = {
    "btf": 'mount -t tmpfs none /sys/kernel/btf',
    "tracefs": 'mount -t tmpfs none /sys/kernel/debug; mount -t tmpfs none /sys/kernel/tracing',
    "cgroup2": 'umount -l $(findmnt -n -t cgroup2 -o TARGET)',
}


def without(name):
    """Root, but this capability is not in the bounding set."""
    return ("setpriv", "--bounding-set", f"-{name}")


def as_nobody(*names):
    wanted = ",".join(["-all", *(f"+{name}" for name in names)])
    return ("setpriv", "--reuid", NOBODY, "--regid", NOBODY, "--clear-groups", "--bounding-set", wanted, "--inh-caps",
            wanted, "--ambient-caps", wanted)


def hiding(what):
    return ("unshare", "-m", "--propagation", "private", "sh", "-c", HIDE[what] + '; exec "$@"', "sh")


def words_of(under):
    return tuple(str(word) for word in under)


class Rights(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="millrace-rights-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder, ignore_errors=True)
        os.chmod(cls.folder, 0o755)
        cls.broker = kafka.Kafka()
        cls.addClassCleanup(cls.broker.stop)
        cls.netns = f"mr{os.getpid()}q"
        network.sweep("mr", "[ktq]|n\\d+")
        run("ip", "netns", "add", cls.netns)
        cls.addClassCleanup(run, "ip", "netns", "del", cls.netns, check=False)
        run("ip", "-n", cls.netns, "link", "set", "lo", "up")
        for address in (HOST, VIP):
            run("ip", "-n", cls.netns, "addr", "add", f"{address}/32", "dev", "lo")
        run("ip", "netns", "exec", cls.netns, "iptables", "-w", "-t", "nat", "-A", "OUTPUT", "-d", VIP, "-p", "tcp",
            "--dport", "8080", "-j", "DNAT", "--to-destination", f"{HOST}:8080")
        cls.start(SERVE, ready=b"ready\n")
        # A connection through NAT from before every agent, held by a program of another user.
        hold = cls.start(HOLD, VIP, under=("setpriv", "--reuid", "1", "--clear-groups"))
        cls.held_port = int(hold.stdout.readline())
        cls.nodes = 0

    @classmethod
    def start(cls, script, *words, ready=None, under=()):
        child = processes.start([*under, PYTHON, "-c", script, *words], netns=cls.netns, stdin=subprocess.PIPE,
                                stdout=subprocess.PIPE)
        cls.addClassCleanup(processes.end, child)
        assert ready is None or child.stdout.readline() == ready
        return child

    def talk(self, address, count):
        out = run("ip", "netns", "exec", self.netns, PYTHON, "-c", TALK, address, count)
        return [tuple(map(int, line.split())) for line in out.splitlines()]

    def observe(self, under, *settings):
        """Runs the agent, makes connections, ends it; keeps its log and events."""
        type(self).nodes += 1
        node = f"rights{self.nodes}"
        agent = Agent(self.broker.address, node, f"scope.netns={self.netns}", *settings, under=words_of(under))
        self.addCleanup(processes.end, agent.process)
        try:
            self.threads = self.capabilities(agent.process.pid)
            self.direct, self.translated = self.talk(HOST, 20), self.talk(VIP, 5)
            time.sleep(1.3)
            self.metrics = agent.metrics()
        finally:
            self.assertEqual(agent.stop(), 0, agent.log)
        self.log = agent.log
        self.events = Events(self.broker.address, node)
        self.check_tcp()

    @staticmethod
    def capabilities(pid):
        """{thread's name: masks and flags of its status}, once the agent has started; names of threads repeat."""
        found = []
        for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
            status = dict(re.findall(r"(\w+):\t(.*)", (task / "status").read_text()))
            masks = tuple(int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"))
            found.append((status["Name"], masks, status["NoNewPrivs"], status["Seccomp"]))
        return found

    def check_tcp(self):
        """Every connection at both ends, to the byte."""
        for address, talked in ((HOST, self.direct), (VIP, self.translated)):
            for port, sent in talked:
                near, = self.events.find(role=1, remote=address, remote_port=8080, local_port=port)
                # the address too: one to HOST and one to VIP may have the same port
                far, = self.events.find(role=2, local_port=8080, remote=near.local, remote_port=port)
                near_end, far_end = self.events.close(near), self.events.close(far)
                self.assertEqual((near_end.tx_bytes, near_end.rx_bytes), (sent, 2 * sent))
                self.assertEqual((far_end.rx_bytes, far_end.tx_bytes), (sent, 2 * sent))

    def told(self, port):
        return [nat for nat in self.events.nat if nat[0] == 0 and nat[2] == port and nat[3:5] == (VIP, 8080)]

    def check_nat(self, before, after):
        """Whether NAT entries from before the agent, and those made while it runs, were told."""
        self.assertEqual(bool(self.told(self.held_port)), before, self.log)
        self.assertEqual([bool(self.told(port)) for port, _ in self.translated], [after] * len(self.translated))

    def check_log(self, *sentences):
        """Each once, and nothing else is missing."""
        missing = [line for line in self.log.splitlines() if "node " not in line and "kafka:" not in line]
        self.assertEqual(len(missing), len(sentences), self.log)
        for line, sentence in zip(missing, sentences):
            self.assertIn(sentence, line)

    def program_of_holder(self):
        pid = next(row.pid for row in self.events.find(role=1, local_port=self.held_port))
        return self.events.processes[pid][1]

    def check_all_given_away(self):
        keepers = [thread for thread in self.threads if thread[0] == "mr-keeper"]
        others = [thread for thread in self.threads if thread[0] != "mr-keeper"]
        self.assertEqual([thread[1][1:3] for thread in keepers], [(KEEPER, KEEPER)])
        self.assertGreater(len(others), 4)  # main, the pool, librdkafka's
        self.assertEqual({thread[1][1:3] for thread in others}, {(0, 0)}, self.threads)
        self.assertEqual({thread[1][0] | thread[1][4] for thread in self.threads}, {0})
        self.assertEqual({thread[2:] for thread in self.threads}, {("1", "2")})

    def test_root_gives_all_away_and_still_sees_all(self):
        self.observe(())
        self.check_log()
        self.check_all_given_away()
        self.assertEqual({thread[1][3] for thread in self.threads}, {0})  # bounding sets
        self.check_nat(before=True, after=True)
        self.assertIn("python3", self.program_of_holder())
        self.assertGreater(float(self.metrics["millrace_agent_bpf_seconds_total"]), 0)

    def test_who_wants_to_keep_them_keeps_them(self):
        self.observe((), "security.drop_capabilities=false", "security.seccomp=off")
        own = int(re.search(r"CapEff:\t(\w+)", pathlib.Path("/proc/self/status").read_text())[1], 16)
        self.assertEqual({(thread[1][2], thread[2], thread[3]) for thread in self.threads}, {(own, "0", "0")})
        self.check_nat(before=True, after=True)

    def test_the_units_user_and_capabilities_are_enough(self):
        root = self.folder / "docker"
        (root / "containers").mkdir(parents=True)
        os.chmod(root, 0o700)
        self.observe(as_nobody(*UNIT), f"docker.root={root}")
        self.check_log("CAP_DAC_READ_SEARCH is missing and Docker's files may not be read")
        self.check_all_given_away()
        self.check_nat(before=True, after=True)
        self.assertIn("python3", self.program_of_holder())

    def test_a_service_manager_hears_of_the_limited_agent(self):
        path = self.folder / "notify"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.bind(str(path))
            os.chmod(path, 0o666)
            manager.settimeout(WITHIN_S)
            heard = []

            def listen():  # all the time: the kernel keeps but ten for who does not read
                while b"STOPPING=1" not in heard:
                    heard.append(manager.recv(100))
            listener = threading.Thread(target=listen, daemon=True)
            listener.start()
            self.observe(("env", f"NOTIFY_SOCKET={path}", "WATCHDOG_USEC=400000", *as_nobody(*UNIT)))
            listener.join(WITHIN_S)
        self.assertEqual(heard[0], b"READY=1")
        self.assertEqual(set(heard[1:-1]), {b"WATCHDOG=1"})
        self.assertGreater(len(heard), 5)  # some seconds, five a second

    def test_one_who_is_not_root_keeps_what_reads_containers_files(self):
        self.observe(as_nobody(*UNIT, "dac_read_search"))
        self.check_log()
        self.assertEqual({thread[1][2] for thread in self.threads}, {1 << 2, KEEPER | 1 << 2})

    def test_without_net_admin(self):
        self.observe(without("net_admin"))
        self.check_log("CAP_NET_ADMIN is missing: no NAT, no UDP and no name lookups are seen")
        self.assertFalse(self.told(self.held_port))

    def test_without_net_broadcast(self):
        self.observe(without("net_broadcast"), "key_frame.period=2s")
        self.check_log("CAP_NET_BROADCAST is missing: NAT of other network namespaces comes late")
        self.assertTrue(self.told(self.held_port))

    def test_without_sys_admin(self):
        self.observe(without("sys_admin"))
        self.check_log("CAP_SYS_ADMIN is missing: NAT of other network namespaces from before the agent, and BPF run times, "
                       "are not seen")
        self.check_nat(before=False, after=True)

    def test_without_sys_ptrace(self):
        self.observe(without("sys_ptrace"))
        self.check_log("CAP_SYS_PTRACE is missing: programs of other users that ran before the agent stay unknown")
        self.check_nat(before=True, after=True)
        self.assertEqual(self.program_of_holder(), "")

    def test_without_bpf_or_perfmon_it_says_so_and_ends(self):
        for name in ("bpf", "perfmon"):
            done = self.end_at_once(without(name))
            self.assertEqual(done.stderr.count(f"fatal: CAP_{name.upper()} is missing: "), 1, done.stderr)

    def test_without_btf_it_says_so_and_ends(self):
        done = self.end_at_once(hiding("btf"))
        self.assertEqual(done.stderr.count("fatal: no /sys/kernel/btf/vmlinux: "), 1, done.stderr)

    def end_at_once(self, under):
        done = subprocess.run([*words_of(under), AGENT, "--config", "/dev/null", "--set",
                               f"kafka.brokers={self.broker.address}"], capture_output=True, text=True, timeout=WITHIN_S)
        self.assertEqual(done.returncode, 1)
        return done

    def test_without_tracefs_nothing_is_missing(self):
        self.observe(hiding("tracefs"))
        self.check_log()
        self.check_nat(before=True, after=True)

    def test_without_cgroup2(self):
        self.observe(hiding("cgroup2"))
        self.check_log("cgroup")  # none at all, or none of version 2
        self.assertIn("UDP and DNS are not seen", self.log)
        self.check_nat(before=True, after=True)

    def test_in_another_pid_namespace_it_says_so(self):
        done = subprocess.run(["unshare", "-pf", "--mount-proc", AGENT, "--config", "/dev/null", "--check"],
                              capture_output=True, text=True, timeout=WITHIN_S)
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertEqual(done.stdout.count("not in the host's pid namespace"), 1, done.stdout)

    def test_forbidden_calls_end_the_process(self):
        """The unit test's children, on these programs too: without sanitizers ptrace, fork and tgkill are forbidden."""
        program = AGENT.parents[1] / "tests" / "test-agent-privileges"
        if not program.exists():
            self.skipTest(f"needs {program}")
        done = subprocess.run([program], capture_output=True, text=True, timeout=WITHIN_S)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)


def why_not():
    missing = [program for program in ("setpriv", "unshare", "findmnt") if not shutil.which(program)]
    return agent_test.why_not() or (f"needs {', '.join(missing)}" if missing else None)


if __name__ == "__main__":
    reason = why_not()
    if reason:
        print(f"skipped: {reason}")
        sys.exit(agent_test.SKIPPED)
    unittest.main(verbosity=2)
