#!/usr/bin/python3
"""What a full ring did not hold is mended: cgroups whose end was lost are found by a walk.

The agent is stopped while programs with long command lines fill its ring; then cgroups that it told of end. Root and BTF
are needed; without them the test is skipped."""

import os
import pathlib
import signal
import sys
import time
import unittest

import told

SPAWNS, ARGUMENT_BYTES = 4500, 4000  # 16 MiB
GONE = 40  # the first may fit into what the last program left
OTHERS = 10  # cgroups that the machine may make meanwhile
TREES = ("/sys/fs/cgroup/unified", "/sys/fs/cgroup")


class Losses(unittest.TestCase):
    def setUp(self):
        self.broker = told.kafka.Kafka()
        self.addCleanup(self.broker.stop)
        tree = next(path for path in TREES if os.path.exists(f"{path}/cgroup.procs"))
        self.cgroups = [pathlib.Path(tree, f"mrloss{os.getpid()}n{i}") for i in range(GONE)]
        self.addCleanup(self.remove_cgroups)

    def remove_cgroups(self):
        for cgroup in self.cgroups:
            if cgroup.exists():
                cgroup.rmdir()

    def until(self, what, condition):
        deadline = time.monotonic() + told.WITHIN_S
        while not condition():
            self.assertLess(time.monotonic(), deadline, what)
            time.sleep(0.1)

    def test_cgroups_that_ended_unheard_are_forgotten(self):
        agent = told.Agent(self.broker.address, "losses", "key_frame.period=1s")
        self.addCleanup(told.processes.end, agent.process)
        before = agent.metric("cgroups")
        for cgroup in self.cgroups:
            cgroup.mkdir()
        self.until("they are known", lambda: agent.metric("cgroups") >= before + GONE)
        agent.process.send_signal(signal.SIGSTOP)
        try:
            for _ in range(SPAWNS):
                os.waitpid(os.posix_spawn("/bin/true", ["true", "x" * ARGUMENT_BYTES], {}), 0)
            self.remove_cgroups()
        finally:
            agent.process.send_signal(signal.SIGCONT)
        lost = 'dropped_events_total{where="ring",kind="cgroup_end"}'
        self.until("ends are lost", lambda: agent.metric(lost) > 0)
        self.until("a walk finds it", lambda: agent.metric("vanished_cgroups_total") > 0)
        self.until("they are forgotten", lambda: agent.metric("cgroups") <= before + OTHERS)
        self.assertEqual(agent.stop(), 0)


if __name__ == "__main__":
    reason = told.why_not()
    if reason:
        print(f"skipped: {reason}")
        sys.exit(told.SKIPPED)
    unittest.main(verbosity=2)
