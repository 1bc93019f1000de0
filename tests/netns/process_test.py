#!/usr/bin/python3
"""Processes: what the agent tells of 15,000 that begin and end in every way, against what wait(2) said of each.

The agent, the kernel and Kafka are real. Root and BTF are needed; without them the test is skipped."""

import itertools
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import agent_test
import kafka

SPAWNER = pathlib.Path(__file__).resolve().parent / "spawn" / "spawn.c"
COUNT = int(os.environ.get("MILLRACE_SPAWNS", "15000"))
CUT, WHOLE = 255, 4096  # bytes of a command line: kept beyond limits.process_text, told
TOLD_AGAIN = 1  # a key frame's period, s


def why_not():
    missing = [program for program in ("cc", "setpriv", "unshare") if not shutil.which(program)]
    return agent_test.why_not() or (missing and "needs " + ", ".join(missing)) or None


class Processes:
    """All that the batches of a node tell of processes."""

    def __init__(self, address, node):
        self.told, self.ends = [], {}
        self.events = agent_test.Events(address, node)
        for batch in self.events.batches:
            self._take(batch)

    def _take(self, batch):
        def column(group, name, count):
            return getattr(group, name) or [0] * count

        group = batch.processes
        pids = list(itertools.accumulate(group.pid_change))
        starts = self._starts(batch, group)
        columns = [column(group, name, len(pids)) for name in ("parent", "uid", "cgroup")]
        texts = [[batch.strings[i] for i in column(group, name, len(pids))] for name in ("comm", "exe", "cmdline")]
        self.told += zip(pids, starts, *columns, *texts)
        group = batch.exits
        pids = list(itertools.accumulate(group.pid_change))
        for pid, start, status, signal in zip(pids, self._starts(batch, group), column(group, "status", len(pids)),
                                              column(group, "signal", len(pids))):
            self.ends.setdefault((pid, start), []).append((status, signal))

    @staticmethod
    def _starts(batch, group):
        return list(itertools.accumulate(group.started_change_ns, initial=batch.sent_boottime_ns))[1:]


class Live(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix="millrace-process-")
        cls.addClassCleanup(shutil.rmtree, cls.folder, ignore_errors=True)
        os.chmod(cls.folder, 0o755)
        cls.program = f"{cls.folder}/spawn"
        agent_test.run("cc", "-O1", "-o", cls.program, "-D_GNU_SOURCE", SPAWNER, "-lpthread")
        script = pathlib.Path(cls.folder, "end")
        script.write_text("#!/bin/sh -e\nn=${3#n}; exit $((n % 256))\n")
        script.chmod(0o755)
        broker = kafka.Kafka()
        cls.addClassCleanup(broker.stop)
        sleeper = subprocess.Popen([cls.program, "child", "wait", "n0", "before"])
        agent = agent_test.Agent(broker.address, "live", "limits.process_text=0", f"key_frame.period={TOLD_AGAIN}s")
        begun = time.monotonic()
        out = subprocess.run([cls.program, str(COUNT), cls.folder], check=True, stdout=subprocess.PIPE, text=True).stdout
        cls.took_s = time.monotonic() - begun
        agent_test.run("setpriv", "--reuid", "65534", "--clear-groups", "unshare", "-U", "-r", cls.program, "child", "plain",
                       "n0", "in-a-user-namespace")
        held = subprocess.Popen([cls.program, "child", "wait", "n0", "h" * 2000])
        time.sleep(0.5)
        sleeper.kill()
        sleeper.wait()
        time.sleep(2.5 * TOLD_AGAIN)
        cls.metrics = agent.metrics()
        held.kill()
        held.wait()
        cls.sleeper, cls.held = sleeper.pid, held.pid
        cls.status, cls.log = agent.stop(), agent.log
        cls.truth = [(int(number), kind, int(pid), int(status)) for number, kind, pid, status in
                     (line.split() for line in out.splitlines())]
        cls.processes = Processes(broker.address, "live")
        cls.spawner = next(row for row in cls.processes.told
                           if row[2] == os.getpid() and row[7] == f"{cls.program} {COUNT} {cls.folder}")
        cls.by_number = {}
        for row in cls.processes.told:  # of the children, the first that is told of each
            words = row[7].split(" ")
            if row[2] == cls.spawner[0] and "child" in words[:4]:
                cls.by_number.setdefault(int(words[words.index("child") + 2][1:]), row)

    def expected(self, number, kind):
        words = ["spawn", "child", kind, f"n{number}", "two words", "ä"]
        if kind == "script":  # as the kernel makes it of the first line
            words = ["/bin/sh", "-e", f"{self.folder}/end", *words[1:]]
        if kind in ("long", "too-long"):
            words.append("p" * (3900 if kind == "long" else 9000))
        return " ".join(words).encode()[:WHOLE].decode()

    def test_the_agent_ends_well_and_loses_nothing(self):
        self.assertEqual(self.status, 0, self.log)
        self.assertEqual(self.processes.events.batches[-1].dropped_ring, 0)
        for name in ("arguments_unread_total", "bpf_missed_runs_total", "malformed_records_total",
                     "vanished_processes_total"):
            self.assertEqual(int(self.metrics[f"millrace_agent_{name}"]), 0, name)
        print(f"{COUNT} processes in {self.took_s:.1f} s")

    def test_every_spawn_is_seen_with_its_program_and_whole_command_line(self):
        self.assertEqual(len(self.truth), COUNT)
        shell = os.path.realpath("/bin/sh")
        for number, kind, pid, _ in self.truth:
            if kind == "forked":
                continue
            row = self.by_number[number]
            self.assertEqual((row[0], row[6], row[7]),
                             (pid, shell if kind == "script" else self.program, self.expected(number, kind)))
            self.assertEqual((row[2], row[3]), (self.spawner[0], 0))

    def test_every_end_is_as_wait_says_and_told_once(self):
        forked, seen = {}, {row[:2] for row in self.by_number.values()}  # a key frame may come between fork and exec
        for row in self.processes.told:  # a fork has its parent's program; what still runs is told again
            if row[2] == self.spawner[0] and row[7] == self.spawner[7] and row[:2] not in seen:
                seen.add(row[:2])
                forked.setdefault(row[0], []).append(row)
        for number, kind, pid, status in self.truth:
            row = forked[pid].pop(0) if kind == "forked" else self.by_number[number]
            self.assertEqual(self.processes.ends[row[:2]], [((status >> 8) & 0xff, status & 0x7f)], (number, kind, row))
        self.assertEqual(sum(len(rows) for rows in forked.values()), 0)

    def test_a_user_is_the_hosts(self):
        row, = {row[:4] for row in self.processes.told if row[7].endswith("in-a-user-namespace") and row[5] == "spawn"}
        self.assertEqual(row[3], 65534)

    def test_a_process_from_before_is_listed_with_the_same_names(self):
        row = next(row for row in self.processes.told if row[0] == self.sleeper)
        self.assertEqual(row[5:], ("spawn", self.program, f"{self.program} child wait n0 before"))
        self.assertEqual(self.processes.ends[row[:2]], [(0, 9)])

    def test_beyond_the_bound_a_command_line_is_told_whole_once_and_kept_cut(self):
        lengths = [len(row[7]) for row in self.processes.told if row[0] == self.held]
        self.assertGreater(lengths[0], 2000)
        self.assertEqual(set(lengths[1:]), {CUT})
        self.assertGreater(int(self.metrics["millrace_agent_process_texts_cut_total"]), 0)


if __name__ == "__main__":
    reason = why_not()
    if reason:
        print(f"skipped: {reason}")
        sys.exit(agent_test.SKIPPED)
    unittest.main(verbosity=2)
