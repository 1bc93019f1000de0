#!/usr/bin/python3
"""A simulated fleet at its own pace for long: what millraced holds does not grow with the number of events.

MILLRACE_SOAK is how many seconds it lasts (300; 1,410 are 400 million events). Prints the slope of resident memory
after the first 220 s: until then tables come to their size, for names and instances are kept for 180 s."""

import os
import pathlib
import sys
import tempfile
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import fleet
import kafka
import processes
from millraced import Millraced

SOAK_S = int(os.environ.get("MILLRACE_SOAK", 300))
WARM_S = 220
NODES = 50  # 283,500 events a second
ASK_EVERY_S = 1
SLOPE_MIB = 1  # at most, per 10^7 events
STRETCH = 20  # measurements of which the lowest counts: panes under way and buffers of Kafka's client come and go
NOISE_MIB = 12  # of what is left of these
MIB = 1 << 20

CONFIG = """rollups: {{finest: 10s}}
history: {{path: "{folder}/history"}}
snapshots: {{folder: "{folder}/snapshots"}}
"""


def slope(points):
    """Of the straight line through points (x, y) with the least squares."""
    x_mean = sum(x for x, _ in points) / len(points)
    y_mean = sum(y for _, y in points) / len(points)
    return sum((x - x_mean) * (y - y_mean) for x, y in points) / sum((x - x_mean) ** 2 for x, _ in points)


class Soak(unittest.TestCase):
    def test_memory_does_not_grow_with_events(self):
        self.assertGreaterEqual(SOAK_S, WARM_S + 3 * STRETCH, "MILLRACE_SOAK")
        with tempfile.TemporaryDirectory(prefix="millrace-soak-") as folder, kafka.Kafka() as broker:
            feed = fleet.Feed(folder, nodes=NODES, seconds=SOAK_S)
            os.mkdir(f"{folder}/snapshots", 0o700)
            with Millraced(broker.address, CONFIG.format(folder=folder)) as daemon:
                daemon.wait_ready()
                sender = feed.start(broker.address)
                points = self.watch(daemon, sender)
                self.assertEqual(processes.end(sender, within_s=60), 0)
                metrics = daemon.metrics()
            self.judge(points, metrics)

    def watch(self, daemon, sender):
        """(seconds, millions of events, MiB) each second until the sender is done."""
        points, began = [], time.monotonic()
        while sender.poll() is None:
            time.sleep(ASK_EVERY_S)
            metrics = daemon.metrics()
            points.append((time.monotonic() - began, metrics["millrace_events_received_total"] / 1e6,
                           metrics["process_resident_memory_bytes"] / MIB))
            if points[-1][0] > SOAK_S * 3 + 120:
                self.fail("the sender does not end")
        return points

    def judge(self, points, metrics):
        warm = [(events, mib) for second, events, mib in points if second > WARM_S]
        warm = [min(warm[at:at + STRETCH], key=lambda point: point[1])
                for at in range(0, len(warm) - STRETCH + 1, STRETCH)]
        self.assertGreater(len(warm), 2)
        events, grown = (warm[-1][0] - warm[0][0]) / 10, slope(warm) * 10
        print(f"{points[-1][1]:.0f} million events in {SOAK_S} s: resident {warm[0][1]:.0f} MiB after {WARM_S} s, "
              f"{warm[-1][1]:.0f} at the end, {max(mib for _, _, mib in points):.0f} at most; "
              f"{grown:+.2f} MiB per 10 million events since")
        self.assertLessEqual(grown * events, SLOPE_MIB * events + NOISE_MIB)
        self.assertEqual(metrics.get("millrace_events_lost_total", 0), 0)
        self.assertGreater(metrics["millrace_snapshots_total"], 0)


if __name__ == "__main__":
    unittest.main()
