#!/usr/bin/python3
"""millraced killed at any moment while agents send through a real Kafka: it goes on from its snapshot, and what it wrote
is what one that nobody killed writes of the same log: every record once, in its order, the same to the byte.

MILLRACE_KILLS is how often it is killed (4); MILLRACE_SEED seeds the moments."""

import os
import pathlib
import random
import re
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import fleet
import kafka
import processes
import records
from millraced import Millraced, until

KILLS = int(os.environ.get("MILLRACE_KILLS", 4))
SEED = int(os.environ.get("MILLRACE_SEED", 1))
LIVES_S = (0.2, 4)  # the shortest does not get to the end of its start
BOTH_SAW = 0.8  # of the records: one of them ended earlier
OUTPUTS = ("millrace.flows", "millrace.rollups", "millrace.alerts")
RECOVERS_WITHIN_S = 10
READ_WITHIN_S = 60
SETTLE_S = 4  # windows of a second close, their rows are written

# Behind the address of the broker.
CONFIG = """  group: {group}
pipeline: {{keep: 1h, workers: {workers}}}
rollups: {{finest: 1s}}
snapshots: {{folder: "{folder}", period: 1s}}
monitors:
  - name: failed
    metric: connections_failed
    threshold: 1
    window: 1s
    clear_after: 1s
"""


def numbered(address, topic):
    """{(epoch, task): [(number, record without epoch and number)]}, in the order of the log."""
    noun, message = records.MESSAGES[topic]
    kind = getattr(records.module(noun), message)
    words = ["kcat", "-q", "-C", "-e", "-b", address, "-t", topic, "-o", "beginning", "-f", "%h %S\n%s"]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as child:
        found = {}
        while line := child.stdout.readline():
            found_in = re.fullmatch(rf"{records.NUMBER} (\d+)\n".encode(), line)
            epoch, task, number, size = map(int, found_in.groups())
            record = kind.FromString(child.stdout.read(size))
            record.ClearField("epoch")
            found.setdefault((epoch, task), []).append((number, record.SerializeToString(deterministic=True)))
    return found


class Killed(unittest.TestCase):
    times, lives_s = KILLS, LIVES_S
    more_s = 0  # of the log, for an end that takes its time

    @classmethod
    def end(cls, daemon):
        daemon.kill()

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory(prefix="millrace-kill-")
        cls.addClassCleanup(cls.folder.cleanup)
        cls.broker = kafka.Kafka()
        cls.addClassCleanup(cls.broker.stop)
        cls.run_both()

    @classmethod
    def run_both(cls):
        dice = random.Random(SEED)
        seconds = max(20, int(cls.times * (sum(cls.lives_s) / 2 + 1)) + 8 + cls.more_s)
        feed = fleet.Feed(cls.folder.name, nodes=8, flows=200, edges=40, rate=2000, seconds=seconds, restarts=20, late=20,
                          duplicate=10, late_names=50, fault="refuse,server=3,from=10,to=15")
        snapshots = pathlib.Path(cls.folder.name, "snapshots")
        cls.recoveries = []
        with Millraced(cls.broker.address, CONFIG.format(group="killed", folder=snapshots, workers=2)) as daemon:
            daemon.wait_ready()
            sender = feed.start(cls.broker.address)
            for _ in range(cls.times):
                time.sleep(dice.uniform(*cls.lives_s))
                cls.end(daemon)
                daemon.start()
                cls.recoveries.append(cls.time_recovery(daemon))
            sender.stdout.readline()
            assert processes.end(sender, within_s=60) == 0
            time.sleep(SETTLE_S)
            cls.log = daemon.log()
        with Millraced(cls.broker.address, CONFIG.format(group="whole", folder="", workers=1)) as daemon:
            daemon.wait_ready(READ_WITHIN_S)
            assert until(lambda: daemon.metric("millrace_events_received_total") >= feed.events, READ_WITHIN_S)
            time.sleep(SETTLE_S)
        cls.found = {topic: numbered(cls.broker.address, topic) for topic in OUTPUTS}

    @classmethod
    def time_recovery(cls, daemon):
        """Seconds until its log clocks are those of now."""
        began = time.monotonic()
        until(daemon.ready, RECOVERS_WITHIN_S)
        return time.monotonic() - began

    def test_it_goes_on_from_a_snapshot_under_one_epoch(self):
        self.assertGreaterEqual(self.log.count("going on from the snapshot"), self.times // 2, self.log[-3000:])
        for topic in OUTPUTS:
            self.assertEqual(len({epoch for epoch, _ in self.found[topic]}), 2, topic)

    def test_every_number_is_there_once(self):
        for topic in OUTPUTS:
            for (epoch, task), found in self.found[topic].items():
                self.assertEqual([number for number, _ in found], list(range(len(found))), (topic, epoch, task))

    def test_what_was_written_is_what_nobody_interrupted_writes(self):
        for topic in OUTPUTS:
            killed, whole = ({task: found for (of, task), found in self.found[topic].items() if of == epoch}
                             for epoch in sorted({epoch for epoch, _ in self.found[topic]}))
            compared = 0
            for task in killed.keys() & whole.keys():
                shorter = min(len(killed[task]), len(whole[task]))
                self.assertEqual(killed[task][:shorter], whole[task][:shorter], (topic, task))
                compared += shorter
            total = max(sum(map(len, one.values())) for one in (killed, whole))
            self.assertGreater(compared, total * BOTH_SAW, topic)
            print(f"{topic}: {compared} records the same", file=sys.stderr)

    def test_it_is_back_in_time(self):
        print(f"recoveries: {[round(took, 2) for took in sorted(self.recoveries)]} s", file=sys.stderr)
        self.assertLess(sorted(self.recoveries)[-1], RECOVERS_WITHIN_S)


class Anew(unittest.TestCase):
    """Killed, and its snapshots are gone: it reads the log again from before the last outputs, and tells what follows
    on them. All of this log is read again, so nothing may differ from what one pipeline tells."""

    def told(self, topic, chosen):
        """{task: all records of these epochs without their numbers, one behind the other}."""
        noun, message = records.MESSAGES[topic]
        kind = getattr(records.module(noun), message)
        found = {}
        for (epoch, task), told in sorted(self.found[topic].items()):
            for _, value in told if epoch in chosen else ():
                record = kind.FromString(value)
                record.ClearField("sequence")
                found.setdefault(task, []).append(record.SerializeToString(deterministic=True))
        return found

    def test_what_follows_on_the_last_outputs_is_told_once(self):
        with tempfile.TemporaryDirectory(prefix="millrace-kill-") as folder, kafka.Kafka() as broker:
            feed = fleet.Feed(folder, nodes=8, flows=200, edges=40, rate=2000, seconds=24, late=20,
                              fault="refuse,server=3,from=4,to=20")
            with Millraced(broker.address, CONFIG.format(group="killed", folder="", workers=2)) as daemon:
                daemon.wait_ready()
                sender = feed.start(broker.address)
                time.sleep(12)
                daemon.kill()
                daemon.start()
                sender.stdout.readline()
                assert processes.end(sender, within_s=60) == 0
                time.sleep(SETTLE_S)
                log = daemon.log()
            with Millraced(broker.address, CONFIG.format(group="whole", folder="", workers=1)) as daemon:
                daemon.wait_ready(READ_WITHIN_S)
                assert until(lambda: daemon.metric("millrace_events_received_total") >= feed.events, READ_WITHIN_S)
                time.sleep(SETTLE_S)
            self.found = {topic: numbered(broker.address, topic) for topic in OUTPUTS}
        self.assertIn("no snapshot to go on from", log)
        for topic in ("millrace.flows", "millrace.rollups"):
            epochs = sorted({epoch for epoch, _ in self.found[topic]})
            self.assertEqual(len(epochs), 3, topic)
            killed, whole = self.told(topic, epochs[:2]), self.told(topic, epochs[2:])
            compared = 0
            for task in killed.keys() & whole.keys():
                shorter = min(len(killed[task]), len(whole[task]))
                self.assertEqual(killed[task][:shorter], whole[task][:shorter], (topic, task))
                compared += shorter
            self.assertGreater(compared, BOTH_SAW * max(sum(map(len, one.values())) for one in (killed, whole)), topic)
            print(f"{topic}: {compared} records the same", file=sys.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)
