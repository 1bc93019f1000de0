#!/usr/bin/python3
"""The whole pipeline over a log in a file, killed (-9) again and again: what comes out is what comes out of a life that
nobody cut short, byte for byte, whatever the number of workers.

    replay_test.py              all of it, with MILLRACE_KILLS kills (2,000)
    replay_test.py --run N      one series of kills, as a failure names it: its log, workers and moments follow from N

Moments are shares of what a whole life takes here, so a repeated series meets the same places but roughly."""

import argparse
import collections
import hashlib
import multiprocessing
import os
import pathlib
import random
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "support"))
import processes

REPLAY = processes.BUILD / "tests" / "sim-replay"
FLEET = processes.BUILD / "bin" / "bench-fleet"
MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # fdatasync costs nothing there
KILLS = int(os.environ.get("MILLRACE_KILLS", 2000))
AT_ONCE = 2
TASKS = 4
WORKERS = (1, 2, 4)
LOGS = 5
KILLS_A_RUN = 60  # of a life that ends by itself there is none
END_S = 60
KINDS = 3

# What happens in each log: nodes that restart, batches late, twice or never, names that come late, tuples and PIDs that
# are used again, clocks that are wrong and jump, servers that refuse or drop.
HAZARDS = ("--restarts=400 --late=50 --duplicate=50 --lost=20 --late-names=100 --reused=100 --wrapped=100 --jumps=20 "
           "--skew-ms=200 --fault=refuse,server=0,from=2,to=8 --fault=refuse,server=1,from=3,to=6 "
           "--fault=drop,server=2,from=3,to=6").split()


def make_log(folder, seed):
    path = folder / f"log.{seed}"
    command = [FLEET, "-n6", "-f60", "-e30", f"-p{TASKS}", "-r600", "-s12", f"--seed={seed}", "-o", path, *HAZARDS]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return path


class Life:
    """One process over a folder."""

    def __init__(self, log, folder, workers, fault=None, instance=0):
        words = [REPLAY, log, folder, str(workers), fault or "none", "", str(instance)]
        self.child = subprocess.Popen(words, close_fds=False, stderr=subprocess.PIPE)

    def ended(self, within_s):
        """Whether it ended by itself in this time, well or it is an error."""
        try:
            _, said = self.child.communicate(timeout=within_s)
        except subprocess.TimeoutExpired:
            return False
        if self.child.returncode:
            raise RuntimeError(f"sim-replay ended with {self.child.returncode}: {said.decode()}")
        return True

    def kill(self):
        self.child.kill()
        self.child.communicate()


def whole_life(log, folder, workers, fault=None):
    life = Life(log, folder, workers, fault)
    if not life.ended(END_S):
        life.kill()
        raise RuntimeError(f"sim-replay with {workers} workers over {log} did not end in {END_S} s")


def digest(folder):
    """Of each task's part of each topic as it is. What comes first of two topics is nobody's to see."""
    digests = []
    for task in range(TASKS):
        sums = [hashlib.sha256() for _ in range(KINDS)]
        for kind, _, bytes in records(folder / f"out.{task}"):
            sums[kind].update(bytes)
        digests += [sum.hexdigest() for sum in sums]
    return digests


def records(path):
    bytes, at = path.read_bytes(), 0
    while at < len(bytes):
        length, kind, sequence = struct.unpack_from("<IIQ", bytes, at)
        assert at + 16 + length <= len(bytes), f"{path} is torn at {at}"
        yield kind, sequence, bytes[at:at + 16 + length]
        at += 16 + length


def read_as_a_reader(folder):
    """The digests of what a reader keeps that drops what it has seen, and how many it dropped."""
    digests, repeats = [], 0
    for task in range(TASKS):
        sums, next = [hashlib.sha256() for _ in range(KINDS)], collections.Counter()
        for kind, sequence, bytes in records(folder / f"out.{task}"):
            if sequence < next[kind]:
                repeats += 1
                continue
            assert sequence == next[kind], f"task {task}, kind {kind}: {next[kind]} to {sequence - 1} are missing"
            next[kind] += 1
            sums[kind].update(bytes)
        digests += [sum.hexdigest() for sum in sums]
    return digests, repeats


class Folder:
    """Of one series of lives; gone when all went well."""

    def __init__(self, above, name):
        self.path = above / name
        shutil.rmtree(self.path, ignore_errors=True)
        self.path.mkdir(mode=0o700)

    def remove(self):
        shutil.rmtree(self.path)


# --- a series of kills ---

Reference = collections.namedtuple("Reference", "log digest seconds")
Series = collections.namedtuple("Series", "number kills identical seconds")


def reference(above, seed):
    folder, log = Folder(above, f"reference.{seed}"), make_log(above, seed)
    begun = time.monotonic()
    whole_life(log, folder.path, 2)
    seconds = time.monotonic() - begun
    found = Reference(log, digest(folder.path), seconds)
    folder.remove()
    return found


def series(above, references, number, kills_max=KILLS_A_RUN, fault=None):
    """Lives over one folder until one ends by itself. Lengths follow those that lately ended, for machines are busy."""
    chance, log = random.Random(f"replay {number}"), references[number % len(references)]
    folder = Folder(above, f"series.{number}")
    kills, begun = 0, time.monotonic()
    while True:
        life = Life(log.log, folder.path, chance.choice(WORKERS), fault)
        delay_s = log.seconds * chance.random() ** 2 * 1.2
        if kills < kills_max:
            if life.ended(delay_s):
                break
            life.kill()
            kills += 1
        else:
            assert life.ended(END_S), f"series {number}: its last life did not end"
            break
    identical = digest(folder.path) == log.digest
    if identical or fault:
        folder.remove()
    return Series(number, kills, identical, time.monotonic() - begun)


def _series(arguments):
    return series(*arguments)


class Replay(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.above = pathlib.Path(tempfile.mkdtemp(prefix="millrace-replay-", dir=MEMORY))
        cls.references = [reference(cls.above, seed) for seed in range(1, LOGS + 1)]

    @classmethod
    def tearDownClass(cls):
        kept = list(cls.above.glob("series.*"))
        if kept:
            print("kept:", *kept, file=sys.stderr)
        else:
            shutil.rmtree(cls.above)

    def whole(self, reference, workers, fault=None):
        folder = Folder(self.above, "whole")
        whole_life(reference.log, folder.path, workers, fault)
        found = digest(folder.path)
        folder.remove()
        return found

    def test_logs_make_outputs_of_each_kind(self):
        kinds = collections.Counter()
        for reference in self.references:
            folder = Folder(self.above, "whole")
            whole_life(reference.log, folder.path, 1)
            for task in range(TASKS):
                kinds.update(kind for kind, _, _ in records(folder.path / f"out.{task}"))
            self.assertEqual(read_as_a_reader(folder.path), (reference.digest, 0))
            folder.remove()
        self.assertEqual(sorted(kinds), list(range(KINDS)))
        self.assertGreater(min(kinds.values()), 1)
        self.assertEqual(len({tuple(reference.digest) for reference in self.references}), LOGS)

    def test_the_number_of_workers_does_not_matter(self):
        for reference in self.references:
            for workers in WORKERS:
                self.assertEqual(self.whole(reference, workers), reference.digest, f"{workers} workers")

    def test_killed_lives_leave_what_one_life_leaves(self):
        made, begun, number = 0, time.monotonic(), 0
        with multiprocessing.Pool(AT_ONCE) as pool:
            while made < KILLS:
                some = max(AT_ONCE, (KILLS - made) // KILLS_A_RUN)
                jobs = [(self.above, self.references, number + i) for i in range(some)]
                number += some
                for done in pool.imap_unordered(_series, jobs):
                    made += done.kills
                    self.assertTrue(done.identical, f"again: {pathlib.Path(__file__).name} --run {done.number}")
        print(f"{made} kills in {number} series, {time.monotonic() - begun:.0f} s, all identical")

    # --- seeded bugs: the checker must see each ---

    def caught(self, fault, series_max=20):
        """How many series it took to see it."""
        for number in range(series_max):
            if not series(self.above, self.references, number, 10, fault).identical:
                return number + 1
        return None

    def test_a_repeated_output_is_caught(self):
        self.assertEqual(self.whole(self.references[0], 2, "repeat"), self.references[0].digest)
        self.assertIsNotNone(self.caught("repeat"))

    def test_a_skipped_record_is_caught(self):
        self.assertEqual(self.whole(self.references[0], 2, "skip"), self.references[0].digest)
        self.assertIsNotNone(self.caught("skip"))

    def test_a_clock_in_the_output_is_caught(self):
        self.assertNotEqual(self.whole(self.references[0], 2, "clock"), self.references[0].digest)

    def test_an_order_of_addresses_is_caught(self):
        self.assertIsNotNone(self.caught("unsorted"))

    # --- zombies ---

    def zombie(self, number):
        """An instance is stopped, its successor works for a while, and both go on to their ends. The digests that a reader
        comes to, and how many repeats it dropped."""
        chance, log = random.Random(f"zombie {number}"), self.references[number % LOGS]
        folder = Folder(self.above, f"zombie.{number}")
        old = Life(log.log, folder.path, chance.choice(WORKERS))
        try:
            time.sleep(log.seconds * chance.uniform(0.1, 0.8))
            old.child.send_signal(signal.SIGSTOP)
            new = Life(log.log, folder.path, chance.choice(WORKERS), instance=1)
            new.ended(log.seconds * chance.uniform(0, 1.2))
            old.child.send_signal(signal.SIGCONT)
            self.assertTrue(old.ended(END_S) and new.ended(END_S))
        finally:
            old.kill()
        after_two = read_as_a_reader(folder.path)
        whole_life(log.log, folder.path, chance.choice(WORKERS))  # whichever snapshot it finds: there is no more to tell
        self.assertEqual(read_as_a_reader(folder.path), after_two)
        folder.remove()
        return log, *after_two

    def test_a_zombie_repeats_and_changes_nothing(self):
        repeats = 0
        for number in range(12):
            log, digests, dropped = self.zombie(number)
            self.assertEqual(digests, log.digest, f"zombie {number}")
            repeats += dropped
        self.assertGreater(repeats, 0, "no zombie wrote anything: the checker was not tried")


def one(number):
    above = pathlib.Path(tempfile.mkdtemp(prefix="millrace-replay-", dir=MEMORY))
    references = [reference(above, seed) for seed in range(1, LOGS + 1)]
    done = series(above, references, number)
    print(done, "" if done.identical else f"kept: {above}")
    if done.identical:
        shutil.rmtree(above)
    return not done.identical


if __name__ == "__main__":
    if not REPLAY.exists() or not FLEET.exists():
        print("no programs in", processes.BUILD, file=sys.stderr)
        sys.exit(77)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=int)
    known, rest = parser.parse_known_args()
    if known.run is not None:
        sys.exit(one(known.run))
    unittest.main(argv=[sys.argv[0], *rest])
