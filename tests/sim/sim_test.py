#!/usr/bin/python3
"""Seeded worlds through the whole pipeline, compared row by row and flow by flow with an independent oracle.

    sim_test.py                 all of it: MILLRACE_SIM_SEEDS worlds (2,000), from MILLRACE_SIM_FIRST (0) on
    sim_test.py --seed N        one world, with every difference
    sim_test.py --seed N --hazards loss,skew    the same with these mishaps only
    sim_test.py --seed N --events 100 --mended told_resolution    a smaller world, as if that gap of oracle.GAPS were mended

A mismatch tells its seed; the seed is all that a world depends on."""

import argparse
import collections
import multiprocessing
import os
import pathlib
import random
import subprocess
import sys
import time
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
sys.path.insert(0, str(HERE.parent / "support"))
import compare
import counters
import halves
import oracle
import processes
import records
import wire
import world

MS = wire.MS
DRIVE = processes.BUILD / "tests" / "sim-drive"
WORKERS = 2


class Pipeline:
    """The driver, for one log after the other."""

    def __init__(self):
        self.child = processes.start([DRIVE], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def run(self, log, partitions, lateness=500 * MS):
        self.child.stdin.write(world.packed_log(log, partitions, lateness))
        self.child.stdin.flush()
        lines = []
        for line in self.child.stdout:
            if line == b"E\n":
                return b"".join(lines).decode()
            lines.append(line)
        raise RuntimeError(f"the driver died: exit code {self.child.wait()}")

    def close(self):
        self.child.stdin.close()
        self.child.stdout.close()
        if self.child.wait():
            raise RuntimeError(f"the driver ended with exit code {self.child.returncode}")


def batch_class():
    return records.module("events").Batch


def record_class():
    return records.module("metadata").Metadata


def make(seed, hazards=None, events=2000):
    made = world.World(seed, hazards=hazards, events=events)
    return made, made.log(batch_class(), record_class())


def expect(log, partitions, gaps=oracle.GAPS):
    return oracle.Oracle(log, partitions, batch_class(), record_class(), gaps=gaps).expected()


def check(pipeline, seed, hazards=None, events=2000, gaps=oracle.GAPS):
    made, log = make(seed, hazards, events=events)
    text = pipeline.run(log, made.partitions)
    expected = expect(log, made.partitions, gaps)
    return made, expected, compare.compare(expected, text, gaps=gaps)


def check_seeds(job):
    """A share of the seeds: how much was compared, and the first mismatches."""
    seeds, hazards = job
    pipeline, counts, found = Pipeline(), collections.Counter(), []
    for seed in seeds:
        made, expected, problems = check(pipeline, seed, hazards)
        counts["worlds"] += 1
        counts["events"] += expected.counts["events"]
        counts["rows"] += len(expected.rows)
        counts["flows"] += len(expected.flows)
        counts["certain"] += expected.certain
        counts["provisional"] += expected.provisional
        counts["vague"] += expected.vague
        if problems:
            found.append((seed, sorted(made.hazards), problems))
            if len(found) == 5:
                break
    pipeline.close()
    return counts, found


def told(seed, hazards, problems, limit=5):
    lines = [f"seed {seed} ({', '.join(hazards) or 'no hazards'}): {len(problems)} differences"]
    lines += ["  " + problem for problem in problems[:limit]]
    return "\n".join(lines + [f"  again: /usr/bin/python3 tests/sim/sim_test.py --seed {seed}"])


def in_parallel(seeds, hazards=None):
    shares = [(seeds[i::WORKERS * 4], hazards) for i in range(WORKERS * 4)]
    counts, found = collections.Counter(), []
    with multiprocessing.Pool(WORKERS) as pool:
        for more, mismatches in pool.imap_unordered(check_seeds, shares):
            counts += more
            found += mismatches
    return counts, sorted(found)


class Worlds(unittest.TestCase):
    def agree(self, seeds, hazards=None):
        began = time.monotonic()
        counts, found = in_parallel(seeds, hazards)
        if found:
            self.fail("\n".join([f"{len(found)} worlds differ"] + [told(*one) for one in found[:5]]))
        print(f"{counts['worlds']} worlds, {counts['events']} events, {counts['rows']} rows, {counts['flows']} flows "
              f"agree in {time.monotonic() - began:.0f} s; of {counts['certain'] + counts['provisional']} deltas "
              f"{counts['provisional']} were provisional in their pane, {counts['vague']} may have either name",
              file=sys.stderr)
        self.assertLess(counts["vague"], 1 + counts["certain"] // 1000)

    def test_the_pipeline_agrees_with_the_oracle_in_every_world(self):
        first, count = int(os.environ.get("MILLRACE_SIM_FIRST", 0)), int(os.environ.get("MILLRACE_SIM_SEEDS", 2000))
        self.agree(list(range(first, first + count)))

    def test_a_guessed_role_is_settled_by_the_other_end(self):
        self.agree(list(range(40)), ["guessed"])


class Truth(unittest.TestCase):
    """The oracle itself, against the world that it has not seen."""

    def test_in_a_world_without_mishap_the_oracle_finds_every_connection(self):
        for seed in range(5):
            made, log = make(seed, [])
            joined = collections.Counter()
            for head, client, server in expect(log, made.partitions).flows:
                fields = head.split("|")
                if fields[9] == "1":
                    joined[fields[0], int(fields[1]), fields[2], int(fields[3])] += 1
            wanted = collections.Counter()
            for c in made.connections:
                if c.client and c.server and not c.failed:
                    place = halves.address_text
                    wanted[place(c.seen_client[0]), c.seen_client[1], place(c.seen_server[2]), c.seen_server[3]] += 1
            self.assertEqual(joined, wanted, f"seed {seed}")


class Log(unittest.TestCase):
    """What the order and the number of records may not change."""

    @classmethod
    def setUpClass(cls):
        cls.pipeline = Pipeline()

    @classmethod
    def tearDownClass(cls):
        cls.pipeline.close()

    def outcome(self, log, partitions):
        """Everything but the counts of what came."""
        return [line for line in self.pipeline.run(log, partitions).split("\n") if not line.startswith("S")]

    def test_disorder_within_lateness_leaves_every_byte_as_it_is(self):
        for seed in range(20):
            made, log = make(seed, [])
            self.assertEqual(self.outcome(disordered(log, made, seed), made.partitions),
                             self.outcome(log, made.partitions), f"seed {seed}")

    def test_duplicates_change_nothing(self):
        for seed in range(20):
            made, log = make(seed, [])
            rng = random.Random(seed)
            twice = log + [(append + rng.randint(1, 3000) * MS, partition, payload)
                           for append, partition, payload in log if rng.random() < 0.5 and append < made.end]
            twice.sort(key=lambda record: record[:2])
            self.assertEqual(self.outcome(twice, made.partitions), self.outcome(log, made.partitions), f"seed {seed}")

    def test_what_was_lost_is_in_the_totals_after_the_next_absolute(self):
        healed = 0
        for seed in range(20):
            made, log = make(seed, [])
            log = prolonged(log, made)
            lossy = without_updates(log, random.Random(seed))
            whole, healing = (totals(self.pipeline.run(one, made.partitions)) for one in (log, lossy))
            healed += sum(columns.pop(counters.RECOVERED_BYTES, 0) for columns in healing.values())
            self.assertEqual(healing, whole, f"seed {seed}")
        self.assertGreater(healed, 0)


class Lateness(unittest.TestCase):
    """What pods are is told late: nothing of that is left in the sums."""

    DELAYS_S = (0, 5, 15, 30)

    def test_records_of_pods_that_come_late_leave_no_trace_in_windows_from_ten_seconds_on(self):
        pipeline, moved = Pipeline(), 0
        for seed in range(30):
            sums = []
            for delay in self.DELAYS_S:
                text = pipeline.run(*self.told_after(seed, delay))
                sums.append(long_rows(text))
                moved += delay > 0 and sums[-1] == sums[0] and sum(line.startswith("R") and "\t1\t" in line
                                                                  for line in text.split("\n"))
            for delay, sum_ in zip(self.DELAYS_S, sums):
                self.assertEqual(sum_, sums[0], f"seed {seed}, {delay} s late")
        pipeline.close()
        self.assertGreater(moved, 10_000)

    @staticmethod
    def told_after(seed, delay_s):
        """The log and its partitions. Attempts that failed keep the name of their pane, so there are none."""
        made = world.World(seed, hazards=["late_pods", "reorder", "duplicates", "reuse", "udp"])
        made.pods = [(made.start, 0, "other", "", "shop", "", "other", "")] + [
            (made.start + delay_s * 1000 * MS, *rest) for _, *rest in made.pods if rest[1] != "other"]
        made.sockets = [socket for socket in made.sockets if not socket.connection.failed]
        made.tail = max(made.tail, 40_000 * MS)
        return made.log(batch_class(), record_class()), made.partitions


def long_rows(text):
    """By key, without what amendments leave where it was."""
    out = collections.defaultdict(dict)
    for line in text.split("\n"):
        if line.startswith("R"):
            _, _, key, _, columns, *_ = line.split("\t")
            if int(key.partition("|")[0]) >= 10_000:
                compare.added(out[key], compare.parsed(columns))
    rows = {key: {counter: value for counter, value in row.items() if value and counter not in counters.SAMPLES}
            for key, row in out.items()}
    return {key: row for key, row in rows.items() if row}


def disordered(log, made, seed):
    """Each batch as late as it may be, in its node's order; heartbeats and each node's first stay, as clocks need."""
    rng, out, last, seen = random.Random(seed), [], {}, set()
    batch = batch_class()
    for append, partition, payload in log:
        b = batch.FromString(payload)
        if b.kind == 0 and b.events and b.node in seen:
            append += rng.randint(0, 500 - made.period // MS - 10) * MS
        if b.kind == 0:
            append = last[b.node] = max(append, last.get(b.node, 0) + 1000)
            seen.add(b.node)
        out.append((append, partition, payload))
    return sorted(out, key=lambda record: record[:2])


def prolonged(log, made):
    """Ticked on until all windows of ten seconds are closed."""
    tick = next(payload for _, _, payload in log if batch_class().FromString(payload).kind == 1)
    end = log[-1][0]
    return log + [(end + (i + 1) * 5000 * MS, partition, tick)
                  for i in range(3) for partition in range(made.partitions)]


def without_updates(log, rng):
    batch, out = batch_class(), []
    for record in log:
        b = batch.FromString(record[2])
        only = b.updates.slot and b.events == len(b.updates.slot)
        if not (only and rng.random() < 0.5):
            out.append(record)
    return out


def totals(text):
    """Bytes, segments and connections by edge, over all windows of ten seconds."""
    columns = (counters.TX, counters.RX, counters.TX_SEGMENTS, counters.RX_SEGMENTS, counters.RETRANSMITS,
               counters.OPENED, counters.CLOSED, counters.RECOVERED_BYTES)
    out = collections.defaultdict(dict)
    for line in text.split("\n"):
        if not line.startswith("R"):
            continue
        _, _, key, _, columns_told, *_ = line.split("\t")
        window, _, scope, edge = key.split("|", 3)
        if window == "10000" and scope == "0":
            compare.added(out[edge], {counter: value for counter, value in compare.parsed(columns_told).items()
                                     if counter in columns})
    return out


class Controls(unittest.TestCase):
    """A checker that cannot fail proves nothing: each of these faults must be seen."""

    @classmethod
    def setUpClass(cls):
        cls.pipeline = Pipeline()
        cls.made, cls.log = make(7, ["stalls", "reorder", "duplicates"])
        cls.expected = expect(cls.log, cls.made.partitions)
        cls.text = cls.pipeline.run(cls.log, cls.made.partitions)

    @classmethod
    def tearDownClass(cls):
        cls.pipeline.close()

    def seen(self, text):
        self.assertNotEqual(text, self.text, "the fault changed nothing")
        self.assertNotEqual(compare.compare(self.expected, text), [])

    def rerun(self, log, **options):
        self.seen(self.pipeline.run(log, self.made.partitions, **options))

    def rows(self, where):
        return [i for i, line in enumerate(self.text.split("\n")) if line.startswith("R") and where(line.split("\t"))]

    def exact(self, row):
        """In a window whose rows are compared one by one."""
        window, start, scope, _ = row[2].split("|", 3)
        return (int(window), int(start), int(scope)) not in self.expected.clouds

    def changed(self, change):
        lines = self.text.split("\n")
        change(lines)
        self.seen("\n".join(lines))

    def test_without_a_fault_there_is_nothing_to_see(self):
        self.assertEqual(compare.compare(self.expected, self.text), [])

    def test_a_record_that_is_skipped(self):
        batch = batch_class()
        at = next(i for i, record in enumerate(self.log) if batch.FromString(record[2]).updates.slot)
        self.rerun(self.log[:at] + self.log[at + 1:])

    def test_a_record_that_is_read_twice(self):
        """As if nobody dropped duplicates: the same events under the next number."""
        batch, out, shift = batch_class(), [], {}
        for append, partition, payload in self.log:
            b = batch.FromString(payload)
            batches, events = shift.get((b.node, b.epoch), (0, 0))
            b.sequence += batches
            b.first_event += events
            out.append((append, partition, b.SerializeToString() if b.kind == 0 else payload))
            if b.updates.slot and not shift:
                b.sequence += 1
                b.first_event += b.events
                out.append((append, partition, b.SerializeToString()))
                shift[b.node, b.epoch] = (1, b.events)
        self.rerun(out)

    def test_lateness_off_by_a_pane(self):
        self.rerun(self.log, lateness=250 * MS)
        self.rerun(self.log, lateness=750 * MS)

    def test_a_time_that_is_not_the_logs(self):
        batch, out = batch_class(), []
        for append, partition, payload in self.log:
            b = batch.FromString(payload)
            if b.updates.slot:
                b.base_time_us += 250_000
                payload = b.SerializeToString()
            out.append((append, partition, payload))
        self.rerun(out)

    def test_the_label_of_another_half(self):
        batch, out, changed = batch_class(), [], False
        for append, partition, payload in self.log:
            b = batch.FromString(payload)
            d = b.definitions
            others = [i for i in range(len(d.pid)) if (d.pid[i], d.cgroup[i]) != (d.pid[0], d.cgroup[0])]
            if others and not changed:
                i, changed = others[0], True
                d.pid[0], d.pid[i] = d.pid[i], d.pid[0]
                d.cgroup[0], d.cgroup[i] = d.cgroup[i], d.cgroup[0]
                payload = b.SerializeToString()
            out.append((append, partition, payload))
        self.rerun(out)

    def test_a_row_that_is_emitted_twice(self):
        for window in ("250", "1000", "10000"):
            at = self.rows(lambda row, w=window: row[2].startswith(w + "|") and row[2].split("|")[2] == "0" and row[4])
            self.changed(lambda lines: lines.insert(at[9], lines[at[9]]))

    def test_an_emission_that_comes_twice(self):
        def change(lines):
            begin = next(i for i, line in enumerate(lines) if line.startswith("B") and lines[i + 1].split("\t")[4])
            end = next(i for i in range(begin + 1, len(lines)) if lines[i][:1] != "R")
            lines[begin:begin] = lines[begin:end]
        self.changed(change)

    def test_a_row_that_is_not_emitted(self):
        for scope in "0123":
            at = self.rows(lambda row, s=scope: row[2].startswith("10000|") and row[2].split("|")[2] == s and row[4])
            self.changed(lambda lines: lines.pop(at[3]))

    def test_an_amendment_that_is_not_emitted(self):
        at = self.rows(lambda row: row[3] == "1" and row[2].split("|")[2] == "0" and "6:" in row[4])
        self.changed(lambda lines: lines.pop(at[0]))

    def test_rows_that_are_not_sorted(self):
        lines = self.text.split("\n")
        at = next(i for i in range(len(lines)) if lines[i][:1] == "R" and lines[i + 1][:1] == "R")

        def change(lines):
            lines[at], lines[at + 1] = lines[at + 1], lines[at]
        self.changed(change)

    def test_a_counter_that_is_off_by_one(self):
        for window in ("250", "1000", "10000"):
            for counter in (counters.TX, counters.OPENED, counters.CLOSED, counters.ACTIVE, counters.CLIENT_TX):
                at = self.rows(lambda row, w=window, c=counter: row[2].startswith(w + "|") and f",{c}:" in "," + row[4]
                               and row[2].split("|")[2] == "0" and row[3] == "0" and self.exact(row))

                def change(lines):
                    fields = lines[at[0]].split("\t")
                    fields[4] += f"{counter}:1,"
                    lines[at[0]] = "\t".join(fields)
                self.changed(change)

    def test_a_sample_in_the_wrong_bucket(self):
        def change(lines):
            at = self.rows(lambda row: row[6] and row[2].startswith("250|"))[0]
            fields = lines[at].split("\t")
            index, _, rest = fields[6].partition(":")
            fields[6] = f"{int(index) + 2}:{rest}"
            lines[at] = "\t".join(fields)
        self.changed(change)

    def flow(self, change):
        lines = self.text.split("\n")
        at = next(i for i, line in enumerate(lines) if line.startswith("F"))
        change(lines, at)
        self.seen("\n".join(lines))

    def test_a_flow_that_is_told_twice(self):
        self.flow(lambda lines, at: lines.insert(at, lines[at]))

    def test_a_flow_that_is_not_told(self):
        self.flow(lambda lines, at: lines.pop(at))

    def test_a_flow_with_another_end(self):
        def change(lines, at):
            fields = lines[at].split("\t")
            fields[5], fields[6] = fields[6], fields[5]
            lines[at] = "\t".join(fields)
        self.flow(change)


def show(options):
    named, mended = options.hazards, set(options.mended.split(","))
    hazards = None if named is None else [word for word in named.split(",") if word]
    pipeline = Pipeline()
    made, expected, problems = check(pipeline, options.seed, hazards, options.events, oracle.GAPS - mended)
    pipeline.close()
    print(f"{expected.counts['events']} events, {len(made.nodes)} nodes, {made.partitions} partitions, "
          f"{len(expected.rows)} rows, {len(expected.flows)} flows")
    print(told(options.seed, sorted(made.hazards), problems, limit=None) if problems else "no difference")
    return bool(problems)


def main():
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--hazards")
    parser.add_argument("--events", type=int, default=2000)
    parser.add_argument("--mended", default="")
    options, rest = parser.parse_known_args()
    if options.seed is not None:
        sys.exit(show(options))
    if not DRIVE.exists():
        sys.exit(f"{DRIVE} is not there: build the target sim-drive, or set MILLRACE_BUILD")
    records.module("events")  # compiled once, before workers part
    unittest.main(argv=[sys.argv[0]] + rest)


if __name__ == "__main__":
    main()
