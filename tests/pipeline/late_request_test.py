#!/usr/bin/python3
"""What a killed millraced had sent may reach its broker after what the next one wrote: old numbers then stand behind new
ones, and the start after that goes on from its snapshot all the same; also when no record stands at the end, but the
mark of a transaction."""

import pathlib
import subprocess
import sys
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import chaos
import cluster
import fleet
import kafka
import outputs
import processes
from millraced import Millraced, until

READ_WITHIN_S = 60
LATE = 3  # records of a partition


def kcat(broker, *words, **options):
    return subprocess.run(["kcat", "-q", "-b", broker.address, *map(str, words)], check=True, timeout=READ_WITHIN_S,
                          stdout=subprocess.PIPE, **options).stdout


def come_late(broker, folder, transactions=False):
    """The first records of each partition of the outputs once more, at its end. How many partitions."""
    done = 0
    for topic, by_task in outputs.read(broker.address).items():
        for (_, task), written in by_task.items():
            if len(written) < 2 * LATE:
                continue
            for offset in range(LATE):
                one = ("-C", "-e", "-t", topic, "-p", task, "-o", offset, "-c", 1)
                value = pathlib.Path(folder, "value")
                value.write_bytes(kcat(broker, *one, "-f", "%s"))
                headers = kcat(broker, *one, "-f", "%h").decode().split(",")
                way = ("-X", f"transactional.id=late-{topic}-{task}") if transactions and offset + 1 == LATE else ()
                kcat(broker, "-P", "-t", topic, "-p", task, *(word for head in headers for word in ("-H", head)), *way,
                     value)
            done += 1
    return done


class Late(unittest.TestCase):
    def killed_and_started(self, broker, transactions, settle_s):
        """Events that were sent. Its outputs have old records at their ends when it starts again."""
        config = chaos.CONFIG.format(group="killed", folder=broker.folder / "snapshots", workers=2, period="1s",
                                     tasks=cluster.TASKS)
        feed = fleet.Feed(broker.folder, seconds=10, **chaos.FLEET)
        with Millraced(broker.address, config, under=broker.folder) as daemon:
            daemon.wait_ready()
            sender = feed.start(broker.address)
            sender.stdout.readline()
            self.assertEqual(0, processes.end(sender, within_s=READ_WITHIN_S))
            before = daemon.metric("millrace_snapshots_total")
            self.assertGreaterEqual(daemon.wait_metric("millrace_snapshots_total", before + 2), before + 2)
            daemon.kill()
            self.assertGreater(come_late(broker, broker.folder, transactions), 8)
            daemon.start()
            daemon.wait_ready()
            time.sleep(settle_s)
            log = daemon.log()
            daemon.kill()
        self.assertEqual(1, log.count("going on from the snapshot"), log[-2000:])
        return feed.events

    def test_an_end_without_a_record_does_not_hide_it_either(self):
        with kafka.Kafka() as broker:
            self.killed_and_started(broker, transactions=True, settle_s=0)

    def test_old_numbers_behind_new_ones_do_not_hide_what_was_written(self):
        with kafka.Kafka() as broker:
            events = self.killed_and_started(broker, transactions=False, settle_s=chaos.SETTLE_S)
            with Millraced(broker.address, chaos.CONFIG.format(group="whole", folder="", workers=1, period="1s",
                                               tasks=cluster.TASKS),
                           under=broker.folder) as daemon:
                daemon.wait_ready(READ_WITHIN_S)
                self.assertTrue(until(lambda: daemon.metric("millrace_events_received_total") >= events,
                                      READ_WITHIN_S))
                time.sleep(chaos.SETTLE_S)
                daemon.terminate(30)
            found = outputs.read(broker.address)
            self.assertEqual(2, len(outputs.by_epoch(found)))
            verdict = outputs.judge(found)
            self.assertTrue(verdict.good, verdict)
            self.assertGreater(verdict.repeats, 8 * LATE)


if __name__ == "__main__":
    if kafka.missing():
        print("skipped: not installed:", *kafka.missing())
        sys.exit(77)
    unittest.main(verbosity=2)
