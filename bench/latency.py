#!/usr/bin/python3
"""How long an event takes to be looked at, at a steady rate: a simulated fleet's log goes through a real Kafka in its
own time, all on this machine. Measured after one key-frame period, from the start of each 250 ms pane (so for its
earliest event, which was appended later) until its rows have passed the anomaly stage.

    ./dev bench latency [--json] [--nodes N] [--rate N] [--warm N] [--seconds N]

Prints (with --json as one line): p50_s and p99_s (upper bounds of the histogram's buckets), panes, cpu_share of
millraced (of one core), events_per_s, sender_behind_s, rss_bytes, lost, late."""

import argparse
import json
import pathlib
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests" / "support")]

import fleet
import kafka
import millraced

CONFIG = 'rollups:\n  finest: 10s\n'  # as the configuration's reference advises above 20,000 edges
HISTOGRAM = "millrace_event_to_pane_seconds"


def since(before, after):
    return {bound: count - before.get(bound, 0) for bound, count in after.items()}


def measure(arguments, folder):
    shape = {"nodes": arguments.nodes, "seconds": arguments.warm + arguments.seconds}
    if arguments.rate:
        shape["rate"] = arguments.rate
    feed = fleet.Feed(folder, **shape)
    with kafka.Kafka() as broker:
        daemon = millraced.Millraced(broker.address, CONFIG)
        try:
            daemon.wait_ready()
            sender = feed.start(broker.address)
            time.sleep(arguments.warm)
            before, cpu, began = daemon.metrics(), fleet.cpu_seconds(daemon.child.pid), time.monotonic()
            line = sender.stdout.readline()
            after, took = daemon.metrics(), time.monotonic() - began
            cpu = fleet.cpu_seconds(daemon.child.pid) - cpu
            sent = json.loads(line) if line else {}
        finally:
            daemon.stop(check=False)  # it is in the middle of its work
    waited = since(fleet.buckets_of(before, HISTOGRAM), fleet.buckets_of(after, HISTOGRAM))

    def gone(name):
        return after.get(name, 0) - before.get(name, 0)

    return {
        "bench": "latency",
        "nodes": arguments.nodes,
        "events_per_s": round(gone("millrace_events_received_total") / took),
        "p50_s": fleet.quantile(waited, 0.5),
        "p99_s": fleet.quantile(waited, 0.99),
        "panes": int(waited.get(float("inf"), 0)),
        "seconds": round(took, 1),
        "cpu_share": round(cpu / took, 3),
        "ns_per_event": round(cpu / max(1, gone("millrace_events_received_total")) * 1e9, 1),
        "sender_behind_s": round(sent["behind_ms_max"] / 1000, 3),
        "rss_bytes": int(after.get("process_resident_memory_bytes", 0)),
        "lost": int(gone("millrace_events_lost_total")),
        "late": int(gone("millrace_events_late_total")),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one line of JSON")
    parser.add_argument("--nodes", type=int, default=1000)
    parser.add_argument("--rate", type=int, help="events a second in all; 5,670 a node by default")
    parser.add_argument("--warm", type=int, default=50, help="seconds before the measurement")
    parser.add_argument("--seconds", type=int, default=60)
    arguments = parser.parse_args()
    if kafka.missing():
        print("bench latency: not installed:", *kafka.missing(), file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory(prefix="millrace-bench-") as folder:
        result = measure(arguments, folder)
    if arguments.json:
        print(json.dumps(result))
    else:
        for name, value in result.items():
            print(f"{name:22} {value}")
    return 0 if result["panes"] and not result["lost"] else 1


if __name__ == "__main__":
    sys.exit(main())
