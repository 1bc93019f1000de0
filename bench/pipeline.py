#!/usr/bin/python3
"""What millraced spends on an event that it reads from a real Kafka: a simulated fleet's log is written first, in its
own time and with the agents' default codec; then millraced starts and reads all of it. The broker's and the
sender's time is not counted.

    ./dev bench pipeline [--json] [--nodes N] [--rate N] [--seconds N] [--snapshots]

Prints (with --json as one line): events, events_per_cpu_s, ns_per_event, cpu_s, wall_s, cores, rss_bytes, lost, late,
refused, snapshots, and snapshot_bytes and snapshot_cost_s of the newest. Exit status 0 if every event arrived and none was lost, late or refused.

Reading starts with the settling of the fleet: its live connections are defined in the log's first seconds."""

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
ALL_WITHIN_S = 600


def events_received(daemon):
    return daemon.metric("millrace_events_received_total")


def measure(arguments, folder):
    shape = {"nodes": arguments.nodes, "seconds": arguments.seconds}
    if arguments.rate:
        shape["rate"] = arguments.rate
    feed = fleet.Feed(folder, **shape)
    with kafka.Kafka() as broker:
        sent = feed.send(broker.address)
        began = time.monotonic()
        config = CONFIG
        if arguments.snapshots:
            snapshots = pathlib.Path(folder) / "snapshots"
            snapshots.mkdir(mode=0o700)
            config += f'snapshots: {{folder: "{snapshots}"}}\n'
        with millraced.Millraced(broker.address, config) as daemon:
            daemon.wait_metric("millrace_events_received_total", feed.events, ALL_WITHIN_S)
            wall = time.monotonic() - began
            cpu = fleet.cpu_seconds(daemon.child.pid)
            metrics = daemon.metrics()
    received = metrics.get("millrace_events_received_total", 0)
    return {
        "bench": "pipeline",
        "nodes": arguments.nodes,
        "events": int(received),
        "events_made": feed.events,
        "wire_bytes_per_event": round(feed.made["bytes"] / feed.events, 2),
        "sender_behind_s": round(sent["behind_ms_max"] / 1000, 3),
        "events_per_cpu_s": round(received / cpu),
        "ns_per_event": round(cpu / max(received, 1) * 1e9, 1),
        "cpu_s": round(cpu, 2),
        "wall_s": round(wall, 2),
        "cores": round(cpu / wall, 2),
        "rss_bytes": int(metrics.get("process_resident_memory_bytes", 0)),
        "flows": int(metrics.get("millrace_flows_total", 0)),
        "lost": int(metrics.get("millrace_events_lost_total", 0)),
        "late": int(metrics.get("millrace_events_late_total", 0)),
        "refused": int(metrics.get("millrace_events_refused_total", 0)),
        "snapshots": int(metrics.get("millrace_snapshots_total", 0)),
        "snapshot_bytes": int(metrics.get("millrace_snapshot_bytes", 0)),
        "snapshot_cost_s": round(metrics.get("millrace_snapshot_cost_seconds", 0), 3),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one line of JSON")
    parser.add_argument("--nodes", type=int, default=1000)
    parser.add_argument("--rate", type=int, help="events a second in all; 5,670 a node by default")
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--snapshots", action="store_true",
                        help="taken each 10 s, as snapshots.folder does it; the time of the process that writes them counts")
    arguments = parser.parse_args()
    if kafka.missing():
        print("bench pipeline: not installed:", *kafka.missing(), file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory(prefix="millrace-bench-") as folder:
        result = measure(arguments, folder)
    if arguments.json:
        print(json.dumps(result))
    else:
        for name, value in result.items():
            print(f"{name:22} {value}")
    complete = result["events"] == result["events_made"] and not (result["lost"] or result["late"] or result["refused"])
    return 0 if complete else 1


if __name__ == "__main__":
    sys.exit(main())
