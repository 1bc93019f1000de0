#!/usr/bin/python3
"""Three brokers, the network between them and three instances of millraced fail in turn, and nothing that was written is
lost, twice or other; and who judges that is judged by faults that are put in.

MILLRACE_CHAOS_FAULTS (10) and MILLRACE_CHAOS_KILLS (10) are how often, MILLRACE_SEED what is drawn,
MILLRACE_CHAOS_INSTANCES (1) how many share the tasks. More than those is a
campaign of several rounds: MILLRACE_CHAOS_STATE names a file in which the rounds that are done are kept."""

import argparse
import os
import pathlib
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import chaos
import kafka
import outputs
from outputs import Output

FAULTS = int(os.environ.get("MILLRACE_CHAOS_FAULTS", 10))
KILLS = int(os.environ.get("MILLRACE_CHAOS_KILLS", 10))
SEED = int(os.environ.get("MILLRACE_SEED", 1))
INSTANCES = int(os.environ.get("MILLRACE_CHAOS_INSTANCES", 1))
STATE = os.environ.get("MILLRACE_CHAOS_STATE")
BUSY = 4  # runnable processes a processor: nobody's clock counts then
LASTS_S = (1, 5)  # of the ten: short, so that they fit into two minutes


def tell(sentence):
    print(sentence, file=sys.stderr, flush=True)


class Judged(unittest.TestCase):
    """Every seeded fault is found in the outputs that the run really made, and in no other."""

    @classmethod
    def setUpClass(cls):
        if FAULTS <= 10 and KILLS <= 10:
            field = chaos.Field(SEED, LASTS_S, tell=tell, instances=INSTANCES)
            cls.rounds, cls.found, cls.until_ns = [field.run(FAULTS, KILLS)], field.found, field.until_ns
        else:
            options = argparse.Namespace(minutes=None, faults=FAULTS, kills=KILLS, seed=SEED, instances=INSTANCES,
                                         state=STATE and pathlib.Path(STATE), logs=None,
                                         lag=chaos.WELL_LAG_S)
            cls.rounds, cls.found = chaos.campaign(options, tell), None
        cls.summary = chaos.summary(cls.rounds)
        tell(chaos.table(cls.summary))

    def test_all_faults_were_done(self):
        self.assertGreaterEqual(self.summary["faults"], FAULTS)
        self.assertGreaterEqual(self.summary["kills"], KILLS)
        self.assertGreaterEqual(self.summary["from_snapshot"], KILLS)
        if INSTANCES > 1:
            self.assertGreaterEqual(self.summary["rebalances"], KILLS)

    def test_nothing_is_lost_or_twice_or_other(self):
        for one in self.rounds:
            self.assertEqual((0, 0, 0), (one.lost, one.duplicated, one.mismatches), (one.seed, one.told))
            self.assertGreater(one.records, 500, one.told)
            self.assertEqual(0, one.stuck, one.told)

    def test_it_keeps_up_again_in_time(self):
        if self.summary["load"] > BUSY * os.cpu_count():
            self.skipTest(f"load {self.summary['load']}: others have the machine")
        self.assertEqual(0, self.summary["late"], [one.healings_s + one.recoveries_s for one in self.rounds])

    def verdict(self, change):
        """Of the real outputs after this change to those of the one that was disturbed, in its longest place."""
        if self.found is None:
            self.skipTest("a campaign keeps no outputs")
        *judged, whole = outputs.by_epoch(self.found).values()
        judged[0] = {place: list(written) for place, written in judged[0].items()}
        change(max(judged[0].values(), key=len))
        return outputs.compare(judged, whole, self.until_ns)

    def test_the_judge_finds_a_lost_record(self):
        def lose(written):  # as if the numbers went on without it
            del written[len(written) // 2]
            written[:] = [Output(at, output.content, output.end_ns) for at, output in enumerate(written)]
        self.assertEqual(1, self.verdict(lose).lost)

    def test_the_judge_finds_a_gap_in_the_numbers(self):
        def skip(written):
            at = len(written) // 2
            written[at:] = [output._replace(number=output.number + 1) for output in written[at:]]
        self.assertEqual(1, self.verdict(skip).lost)

    def test_the_judge_finds_a_lost_end(self):
        def cut(written):
            del written[len(written) // 2:]
        self.assertGreater(self.verdict(cut).lost, 1)

    def test_the_judge_finds_a_record_under_two_numbers(self):
        def double(written):
            written.insert(len(written) // 2, written[len(written) // 2])
            written[:] = [Output(at, output.content, output.end_ns) for at, output in enumerate(written)]
        self.assertEqual(1, self.verdict(double).duplicated)

    def test_the_judge_finds_a_changed_record(self):
        def change(written):
            written[len(written) // 2] = written[len(written) // 2]._replace(content=b"changed")
        self.assertEqual(1, self.verdict(change).mismatches)

    def test_the_judge_finds_two_in_the_wrong_order(self):
        def swap(written):
            at = len(written) // 2
            one, other = written[at:at + 2]
            written[at:at + 2] = [other._replace(number=one.number), one._replace(number=other.number)]
        self.assertEqual(2, self.verdict(swap).mismatches)

    def test_the_judge_finds_a_repeat_that_differs_and_allows_one_that_does_not(self):
        def repeat(content):
            return lambda written: written.append(written[5]._replace(content=content or written[5].content))
        same, other = self.verdict(repeat(None)), self.verdict(repeat(b"changed"))
        self.assertTrue(same.good, same.faults)
        self.assertGreaterEqual(same.repeats, 1)
        self.assertEqual(1, other.mismatches)

    def test_the_judge_finds_a_pipeline_that_began_anew(self):
        if self.found is None:
            self.skipTest("a campaign keeps no outputs")
        found = {topic: dict(by_task) for topic, by_task in self.found.items()}
        epochs = list(outputs.by_epoch(found))
        for by_task in found.values():
            for (epoch, task), written in list(by_task.items()):
                if epoch == epochs[0]:
                    by_task[epochs[0] + 1, task] = written
        self.assertGreater(outputs.judge(found, self.until_ns).duplicated, 0)


if __name__ == "__main__":
    if kafka.missing():
        print("skipped: not installed:", *kafka.missing())
        sys.exit(77)
    unittest.main(verbosity=2)
