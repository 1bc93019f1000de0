#!/usr/bin/python3
"""Every call by which a pipeline keeps its state, let fail or be its last: the next life goes on with the same outputs.

    faults_test.py              single points, a seeded sample of what comes by the hundred and of pairs
    MILLRACE_FAULTS=all ...     every point and every pair
    faults_test.py --rules R,R [--then R]   a case again, as a failure names it (see faults.c)

Then the power fails: of every order in which a disk may have kept what was not yet synced, a sample."""

import argparse
import collections
import itertools
import multiprocessing
import os
import pathlib
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
sys.path.insert(0, str(HERE.parent / "support"))
import processes
import replay_test as replay

SHIM = processes.BUILD / "tests" / "sim-faults.so"
ALL = os.environ.get("MILLRACE_FAULTS") == "all"
SEED = int(os.environ.get("MILLRACE_FAULTS_SEED", 1))
PAIRS = 60
SAMPLE = 3  # of calls that come more often, beside the first and the last
END_S = 60
DAMAGED = re.compile("damaged|too early|not what was written|out of (place|its heap)|it is no snapshot")

ACTIONS = {
    "parent.open": "before after EIO EMFILE",
    "parent.opendir": "before EIO EMFILE",
    "parent.read": "before EIO EINTR short",
    "parent.write": "before after short ENOSPC",
    "parent.close": "before after EIO",
    "parent.fork": "before after EAGAIN ENOMEM",
    "parent.pipe": "before after EMFILE",
    "parent.rename": "before after EIO ENOSPC EACCES",
    "parent.fsync": "before after EIO",
    "parent.unlink": "before after EIO",
    "parent.mmap": "before after ENOMEM",
    "parent.mprotect": "before after ENOMEM",
    "child.write": "before crash after EIO ENOSPC EINTR short",
    "child.fdatasync": "before crash after EIO",
    "child.tell": "before crash after EIO short",
    "child.pagemap": "before crash EMFILE short",
}
# What costs but the snapshot at hand: the process goes on, and says so.
TOLD = re.compile(r"parent\.(fork|pipe)\.\d+\.E|parent\.(rename|fsync)\.\d+\.E"
                  r"|child\.(write|fdatasync)\.\d+\.(before|after|EIO|ENOSPC)|child\.tell\.\d+\.(before|EIO|short)")
# What ends the process with a sentence: outputs that cannot be written, memory that cannot be had.
ENDS = re.compile(r"parent\.(write|mmap|mprotect|open)\.")

Op = collections.namedtuple("Op", "side call number bytes path second")
Outcome = collections.namedtuple("Outcome", "returncode said struck noticed")


def log_of(path):
    """What the shim noted, in its order."""
    found = []
    text = path.read_bytes().rstrip(b"\0").replace(b"\0", b"\n")  # a hole: who had that line was killed
    for line in text.decode(errors="replace").splitlines():
        words = line.split(" ")
        if len(words) == 6 and words[0] in ("parent", "child"):
            found.append(Op(words[0], words[1], int(words[2]), int(words[3]), words[4], words[5]))
    return found


def noted_beside(folder):
    return folder.parent / f"{folder.name}.noted"


def life(log, folder, rules="", workers=2, **more):
    """One life, with faults. Its children have ended, too, when it returns: they hold the same pipe."""
    noted = noted_beside(folder)
    environment = {**os.environ, "LD_PRELOAD": str(SHIM), "FAULTS_FOLDER": str(folder), "FAULTS_LOG": str(noted), **more}
    if rules:
        environment["FAULTS"] = rules
    done = subprocess.run([replay.REPLAY, log, folder, str(workers)], env=environment, stderr=subprocess.PIPE,
                          timeout=END_S)
    ops = log_of(noted)
    struck = [i for i, op in enumerate(ops) if op.call == "struck"]
    # A snapshot that failed is taken away, unless the life ended before it heard of that.
    noticed = any(op.side == "parent" and op.call == "unlink" for op in ops[struck[-1]:]) if struck else False
    return Outcome(done.returncode, done.stderr.decode(), len(struck), noticed)


class Case:
    """Lives with faults over one folder, then one without."""

    def __init__(self, above, reference, prepared, lives):
        self.reference, self.lives = reference, lives
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="case-", dir=above))
        if prepared:
            shutil.copytree(prepared, self.folder, dirs_exist_ok=True)

    def problem(self):
        struck = 0
        for rules in self.lives:
            outcome = life(self.reference.log, self.folder, rules)
            struck += outcome.struck
            wrong = self.life_problem(rules.split(","), outcome)
            if wrong:
                return f"with {rules}: {wrong}; it said: {outcome.said}", struck
        outcome = life(self.reference.log, self.folder)
        if outcome.returncode or DAMAGED.search(outcome.said):
            return f"the next life ended with {outcome.returncode} and said: {outcome.said}", struck
        if replay.digest(self.folder) != self.reference.digest:
            return "the outputs differ", struck
        return None, struck

    def life_problem(self, rules, outcome):
        if DAMAGED.search(outcome.said) and not any(".read." in rule for rule in rules):
            return "it found a damaged snapshot"
        if outcome.struck == 0:
            return None if outcome.returncode == 0 else f"ended with {outcome.returncode} without a fault"
        if outcome.returncode == 0:
            if replay.digest(self.folder) != self.reference.digest:
                return "it ended well and its outputs differ"
            if len(rules) == 1 and TOLD.match(rules[0]) and outcome.noticed and "snapshot" not in outcome.said:
                return "it did not tell that a snapshot failed"
            return None
        if outcome.returncode == -9 and any(re.search(r"parent\..*(before|after)|crash", rule) for rule in rules):
            return None
        if any(ENDS.match(rule) and not rule.endswith(("before", "after")) for rule in rules) and outcome.said.strip():
            return None
        return f"ended with {outcome.returncode}"

    def done(self):
        shutil.rmtree(self.folder)
        noted_beside(self.folder).unlink(missing_ok=True)


def try_case(arguments):
    above, reference, prepared, lives = arguments
    case = Case(above, reference, prepared, lives)
    try:
        problem, struck = case.problem()
    except subprocess.TimeoutExpired:
        problem, struck = f"a life did not end in {END_S} s", 0
    if not problem:
        case.done()
    return lives, problem, struck


def points_of(ops, chance):
    """Rules for the calls of a life, without those that differ from life to life: the first two snapshots'."""
    counts = collections.Counter(f"{op.side}.{op.call}" for op in ops)
    snapshots = max(1, counts["child.fdatasync"])
    found = []
    for call, actions in ACTIONS.items():
        count = counts[call]
        if call.startswith("child.") or call in ("parent.fork", "parent.pipe", "parent.rename", "parent.fsync"):
            count = -(-count // snapshots) * min(2, snapshots)  # the last may have been cut short
        numbers = list(range(1, count + 1))
        if not ALL and count > 8:
            numbers = numbers[:3] + sorted(chance.sample(numbers[3:-2], SAMPLE)) + numbers[-2:]
        found += [f"{call}.{number}.{action}" for number in numbers for action in actions.split()]
    return found


class Faults(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.above = pathlib.Path(tempfile.mkdtemp(prefix="millrace-faults-", dir=replay.MEMORY))
        cls.chance = random.Random(f"faults {SEED}")
        cls.reference = replay.reference(cls.above, SEED)
        cls.ops = cls.life_with_snapshots(cls.above / "fresh", cls.above / "kept")
        cls.prepared = cls.prepare()

    @classmethod
    def prepare(cls):
        """A folder as a life leaves it that was killed after its second snapshot."""
        folder = cls.above / "prepared"
        for _ in range(20):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(mode=0o700)
            life(cls.reference.log, folder, "child.fdatasync.3.crash")
            if len(list(folder.glob("*.snapshot"))) == 2:
                return folder
        raise RuntimeError("no life made two snapshots and began a third")

    @classmethod
    def tearDownClass(cls):
        if list(cls.above.glob("case-*")):
            print("kept:", cls.above, file=sys.stderr)
        else:
            shutil.rmtree(cls.above)

    def try_all(self, what, cases):
        begun, struck = time.monotonic(), 0
        jobs = [(self.above, self.reference, prepared, lives) for prepared, lives in cases]
        problems = []
        with multiprocessing.Pool(replay.AT_ONCE) as pool:
            for lives, problem, hits in pool.imap_unordered(try_case, jobs):
                struck += hits > 0
                if problem:
                    problems.append(f"{' then '.join(lives)}: {problem}")
        print(f"{what}: {len(jobs)} cases, {struck} of them struck, {time.monotonic() - begun:.0f} s")
        self.assertEqual(problems, [], f"{len(problems)} problems")
        return struck

    def points(self):
        """Of a life that begins anew, and of one that goes on."""
        folder = self.above / "again"
        shutil.copytree(self.prepared, folder)
        life(self.reference.log, folder)
        again = log_of(noted_beside(folder))
        shutil.rmtree(folder)
        first = points_of(self.ops, self.chance)
        only_then = [rule for rule in points_of(again, self.chance) if rule.startswith(("parent.read", "parent.m",
                                                                                       "parent.open", "parent.unlink"))]
        return first, only_then

    def test_a_fault_at_any_call_leaves_what_the_next_life_needs(self):
        first, then = self.points()
        cases = [(None, [rule]) for rule in first] + [(self.prepared, [rule]) for rule in then]
        if not ALL:
            self.assertGreater(len({rule.rsplit(".", 2)[0] for rule in first + then}), len(ACTIONS) - 1)
        struck = self.try_all("single points", cases)
        self.assertGreater(struck, len(cases) * 0.8, "most of the points were not met")

    def test_two_faults_leave_what_the_next_life_needs(self):
        first, then = self.points()
        lives = [(None, [a, b]) for a, b in itertools.product(first, first + then)]
        together = [(None, [f"{a},{b}"]) for a, b in itertools.combinations(first, 2)]
        cases = lives + together
        if not ALL:
            cases = self.chance.sample(lives, PAIRS // 2) + self.chance.sample(together, PAIRS // 2)
        self.try_all("pairs", cases)

    # --- the power fails ---

    def crash_states(self, fresh, kept, chance, states_max):
        """Folders as a disk may show them after a loss of power at some call of that life, and from which pane the next life
        must go on at least. Outputs are acknowledged as they are written, so they are there as far as they went."""
        ops = log_of(noted_beside(fresh))
        turns = [i for i, op in enumerate(ops) if op.call in ("fdatasync", "rename", "fsync", "unlink")]
        chosen = turns + [i + 1 for i in turns] + chance.sample(range(len(ops)), 10)
        chosen = sorted(chance.sample(chosen, min(len(chosen), states_max)))
        for at in chosen:
            disk = Disk(fresh)
            for op in ops[:at]:
                disk.do(op)
            yield disk.lose_power(chance), disk

    def build(self, folder, state, disk, fresh, kept):
        folder.mkdir(mode=0o700)
        for name, length in disk.outputs.items():
            (folder / name).write_bytes((fresh / name).read_bytes()[:length])
        for name, (made, length, holes) in state.items():
            content = bytearray((kept / made).read_bytes()[:length])
            for hole in holes:
                content[hole:hole + 4096] = bytes(len(content[hole:hole + 4096]))
            (folder / name).write_bytes(content)

    @classmethod
    def life_with_snapshots(cls, fresh, kept, **more):
        """A whole life from nothing that published some: on a busy machine one may end before."""
        for _ in range(20):
            for folder in fresh, kept:
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir(mode=0o700)
            life(cls.reference.log, fresh, FAULTS_KEPT=str(kept), **more)
            ops = log_of(noted_beside(fresh))
            if sum(op.call == "rename" for op in ops) >= 3:
                return ops
        raise RuntimeError("no life made three snapshots")

    def lose_power(self, name, states_max, **more):
        """How many states did not go on from where they should."""
        fresh, kept, chance = self.above / name, self.above / f"{name}.kept", random.Random(f"power {SEED}")
        self.life_with_snapshots(fresh, kept, **more)
        behind = tried = 0
        for state, disk in self.crash_states(fresh, kept, chance, states_max):
            folder = self.above / f"{name}.state"
            self.build(folder, state, disk, fresh, kept)
            outcome = life(self.reference.log, folder)
            self.assertEqual(outcome.returncode, 0, outcome.said)
            self.assertEqual(replay.digest(folder), self.reference.digest, f"{state} {outcome.said}")
            went_on = re.search(r"goes on from pane (\d+)", outcome.said)
            behind += (int(went_on[1]) if went_on else -1) < disk.promised
            tried += disk.promised >= 0
            shutil.rmtree(folder)
        shutil.rmtree(fresh)
        shutil.rmtree(kept)
        self.assertGreater(tried, 3, "no snapshot was promised")
        return behind

    def test_a_loss_of_power_keeps_the_newest_snapshot_that_was_synced(self):
        self.assertEqual(self.lose_power("power", 1000 if ALL else 30), 0)

    def test_a_lost_fdatasync_is_caught(self):
        self.assertGreater(self.lose_power("lost.data", 16, FAULTS_LIES="fdatasync"), 0)

    def test_a_lost_sync_of_the_folder_is_caught(self):
        self.assertGreater(self.lose_power("lost.folder", 16, FAULTS_LIES="fsync"), 0)


class Disk:
    """What is in the folder, and what of it would outlast a loss of power. Data that is not synced may be there in parts,
    entries of the folder that are not synced may be there or not, each for itself."""

    def __init__(self, folder):
        self.folder = str(folder)
        self.outputs, self.lengths, self.synced = {}, {}, {}
        self.entries = {}  # synced: name to the name under which it was made
        self.pending = []  # (name that comes, name that goes, made as)
        self.made = {}     # as the running system sees it
        self.promised = -1

    def do(self, op):
        name, second = os.path.basename(op.path), os.path.basename(op.second)
        if op.call == "open" and op.bytes and name.startswith("out."):
            self.outputs[name] = 0
        elif op.call == "write" and name in self.outputs:
            self.outputs[name] += op.bytes
        elif op.call == "open" and op.bytes:
            self.lengths[name] = self.synced[name] = 0
            self.made[name] = name
            self.pending.append((name, None, name))
        elif op.call == "write" and name in self.lengths:
            self.lengths[name] += op.bytes
        elif op.call == "fdatasync" and not op.bytes:
            self.synced[name] = self.lengths[name]
        elif op.call == "rename" and op.bytes == 0:
            self.made[second] = self.made.pop(name)
            self.pending.append((second, name, self.made[second]))
        elif op.call == "unlink" and op.bytes == 0:
            self.made.pop(name, None)
            self.pending.append((None, name, None))
        elif op.call == "fsync":
            self.promised = max([self.promised] + [int(name.split(".")[0]) for name in self.made
                                                   if name.endswith(".snapshot")])
            if not op.bytes:
                for change in self.pending:
                    self.apply(self.entries, change)
                self.pending = []

    @staticmethod
    def apply(entries, change):
        comes, goes, made = change
        entries.pop(goes, None)
        if comes:
            entries[comes] = made

    def lose_power(self, chance):
        """Names to (made as, length, pages of zeros)."""
        entries, kind = dict(self.entries), chance.random()
        for i, change in enumerate(self.pending):
            if kind < 0.3 or (kind < 0.8 and chance.random() < 0.5):
                self.apply(entries, change)
        state = {}
        for name, made in entries.items():
            length = chance.choice([self.synced[made], self.lengths[made],
                                    chance.randint(self.synced[made], self.lengths[made])])
            loose = range(self.synced[made] // 4096 * 4096, length, 4096) if length > self.synced[made] else []
            state[name] = (made, length, [page for page in loose if chance.random() < 0.3])
        return state


def again(rules, then):
    above = pathlib.Path(tempfile.mkdtemp(prefix="millrace-faults-", dir=replay.MEMORY))
    lives, problem, struck = try_case((above, replay.reference(above, SEED), None, [rules] + ([then] if then else [])))
    print(problem or "no problem", f"({struck} struck)", f"kept: {above}" if problem else "")
    if not problem:
        shutil.rmtree(above)
    return bool(problem)


if __name__ == "__main__":
    if not replay.REPLAY.exists() or not SHIM.exists():
        print("no programs in", processes.BUILD, file=sys.stderr)
        sys.exit(77)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rules")
    parser.add_argument("--then")
    known, rest = parser.parse_known_args()
    if known.rules:
        sys.exit(again(known.rules, known.then))
    unittest.main(argv=[sys.argv[0], *rest])
