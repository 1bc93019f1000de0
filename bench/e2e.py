#!/usr/bin/python3
"""End to end on real traffic: the lab of network namespaces, two scoped agents, a real Kafka, millraced, a receiver.

    ./dev bench e2e [--json] [--connections N] [--tries N]

Prints (with --json as one line): flows, joined_share, bytes_exact, alert_latency_p50_s, alert_latency_p99_s,
agent_cpu_share and pipeline_cpu_share (of one core, over the time of the load), connections_per_s.
Exit status 0 if every connection was joined and exact and every alert came within 2 s."""

import argparse
import json
import math
import pathlib
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests" / "netns"), str(ROOT / "tests" / "support")]

import records
import system
from alert_test import Knocker, PORT, told
from lab import SERVER_PORT, SERVICE4, SERVICE_PORT

HEAD = len("10 20\n")
SETTLE_S = 6


def quantile(values, q):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, math.ceil(q * len(ordered)) - 1)] if ordered else None


def load(lab_system, connections):
    """The storm; returns its rate and what the programs used of one core meanwhile."""
    programs = {"agent": list(lab_system.agents.values()), "pipeline": [lab_system.millraced]}
    before = {name: sum(system.cpu_seconds(child.pid) for child in children) for name, children in programs.items()}
    began = time.monotonic()
    done = lab_system.peer("storm", SERVICE4, SERVICE_PORT, connections, 4)[0]
    took = time.monotonic() - began
    time.sleep(2)
    share = {name: (sum(system.cpu_seconds(child.pid) for child in children) - before[name]) / (took + 2)
             for name, children in programs.items()}
    return done, connections / took, share


def alerts(lab_system, tries):
    server = lab_system.serve(lab_system.lab.servers[0], PORT)
    knocker = Knocker(lab_system.lab)
    latencies = []
    knocker.wait("ok")
    time.sleep(2)
    for _ in range(tries):
        seen = len(lab_system.receiver.messages)
        lab_system.end(server)
        refused = knocker.wait("refused")
        message = lab_system.receiver.wait_for(
            lambda m: m in lab_system.receiver.messages[seen:] and told(m, "firing"), 10)
        latencies.append(message["at"] - refused if message else math.inf)
        server = lab_system.serve(lab_system.lab.servers[0], PORT)
        knocker.wait("ok")
        lab_system.receiver.wait_for(lambda m: m in lab_system.receiver.messages[seen:] and told(m, "resolved"), 20)
        time.sleep(0.5)
    knocker.stop()
    return latencies


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one line of JSON")
    parser.add_argument("--connections", type=int, default=10000)
    parser.add_argument("--tries", type=int, default=20)
    arguments = parser.parse_args()
    reason = system.missing()
    if reason:
        print("bench e2e:", reason, file=sys.stderr)
        return 1
    lab_system = system.System(lambda lab: {"node-a": [lab.client, lab.router], "node-b": lab.servers})
    try:
        for server in lab_system.lab.servers:
            lab_system.serve(server, SERVER_PORT)
        done, rate, share = load(lab_system, arguments.connections)
        time.sleep(SETTLE_S)
        flows, _ = records.flows(lab_system.kafka.address)
        established = [flow for flow in flows.values() if flow.established and flow.dialled_port == SERVICE_PORT]
        exact = sum(1 for flow in established
                    if flow.joined and flow.client.tx_bytes == flow.server.rx_bytes == HEAD + 10
                    and flow.client.rx_bytes == flow.server.tx_bytes == 20)
        latencies = alerts(lab_system, arguments.tries)
    finally:
        lab_system.stop()
    result = {
        "bench": "e2e",
        "connections": done["ok"],
        "flows": len(established),
        "joined_share": round(sum(flow.joined for flow in established) / max(1, len(established)), 6),
        "bytes_exact": exact == len(established) == done["ok"],
        "alert_latency_p50_s": quantile(latencies, 0.5),
        "alert_latency_p99_s": quantile(latencies, 0.99),
        "alert_tries": len(latencies),
        "agent_cpu_share": round(share["agent"] / 2, 4),
        "pipeline_cpu_share": round(share["pipeline"], 4),
        "connections_per_s": round(rate, 1),
    }
    if arguments.json:
        print(json.dumps(result))
    else:
        for name, value in result.items():
            print(f"{name:22} {value}")
    good = result["bytes_exact"] and result["joined_share"] == 1 and quantile(latencies, 1) <= 2.0
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
