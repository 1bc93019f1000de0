#!/usr/bin/python3
"""What the agent costs, measured on real sockets with the real kernel and, where one can be had, a real Kafka.

    ./dev bench agent [--json] [--rate N] [--seconds N] [--sockets N] [--pairs N]

Prints (with --json as one line):
ns_per_request, ns_per_connection   of the TCP core, both ends, on a keep-alive request and on a connection over
                                    loopback: programs attached and not in turn, median of the paired differences; what
                                    sees each send and receive with its greatest share of the time
bpf_ns_per_request, ..._connection  the same by the run time that the kernel measures of the programs, less what measuring
                                    adds; without the way into them
runs_per_request, ..._connection    of programs
cpu_share                           of one core: the agent's own CPU time, Kafka's client and zstd with it, and the run
                                    time of its BPF programs, at events_per_s
wire_bytes_per_event                as Kafka stores them, compressed by the agent; of the embedded broker: not compressed
rss_bytes                           with rss_sockets live sockets and after all of the ring buffer was used
lost                                events that never reached Kafka
broker                              kafka, or embedded where Java or the jars are missing

The load runs in a network namespace of its own, which is the agent's scope. Exit status 1 if a figure misses its bound:
100 ns, 3,000 ns, 0.8 % of a core, 11 bytes, 64 MiB, none lost."""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests" / "support")]

import kafka
import processes

BOUNDS = {"ns_per_request": 100, "ns_per_connection": 3000, "cpu_share": 0.008, "wire_bytes_per_event": 11,
          "rss_bytes": 64 << 20, "lost": 0}
DRIVER, AGENT = processes.BUILD / "bin" / "bench-agent", processes.BUILD / "bin" / "millrace-agent"
SETTLE_S = 3
READY_WITHIN_S = 60


def missing():
    if os.geteuid() != 0:
        return "needs root: eBPF and a network namespace"
    if not pathlib.Path("/sys/kernel/btf/vmlinux").exists():
        return "needs a kernel with BTF"
    return next((f"needs {program}" for program in (DRIVER, AGENT) if not program.exists()), None)


class Embedded:
    """millraced's own broker, where there is no Java."""

    name = "embedded"

    def __init__(self):
        self.address = "127.0.0.1:7472"
        self.child = subprocess.Popen([processes.BUILD / "bin" / "millraced", "--embedded", "--config", "/dev/null"],
                                      stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def stored_bytes(self):
        return None

    def stop(self):
        self.child.terminate()
        self.child.wait()


class Real(kafka.Kafka):
    name = "kafka"

    def stored_bytes(self):
        return sum(path.stat().st_size for path in self.folder.rglob("millrace.events-*/*.log"))


class Agent:
    def __init__(self, broker, netns):
        listen = f"127.0.0.1:{processes.free_port()}"
        self.url = f"http://{listen}/metrics"
        words = [AGENT, "--config", "/dev/null"]
        for setting in ("node=bench", f"kafka.brokers={broker.address}", f"listen={listen}", f"scope.netns={netns}",
                        "budget.cpu=0"):
            words += ["--set", setting]
        self.child = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
        deadline = time.monotonic() + READY_WITHIN_S
        while not self.delivering():
            if self.child.poll() is not None or time.monotonic() > deadline:
                self.child.kill()
                raise RuntimeError("the agent is not ready: " + self.child.stderr.read())
            time.sleep(0.1)

    def delivering(self):
        try:
            return self.metrics()["millrace_agent_kafka_connected"] == 1
        except OSError:
            return False

    def metrics(self):
        text = urllib.request.urlopen(self.url, timeout=10).read().decode()
        lines = (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
        return {name: float(value) for name, value in lines}

    def rss(self):
        for line in pathlib.Path(f"/proc/{self.child.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        return 0

    def stop(self):
        self.child.terminate()
        self.child.communicate(timeout=READY_WITHIN_S)


def lost(metrics):
    return int(sum(value for name, value in metrics.items() if name.startswith("millrace_agent_dropped_events_total")))


def driver(netns, *words):
    child = subprocess.Popen(["ip", "netns", "exec", netns, DRIVER, *map(str, words)], stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE)
    if child.stdout.readline() != b"ready\n":
        raise RuntimeError("the load did not start")
    return child


def under_load(broker, netns, rate, seconds):
    agent = Agent(broker, netns)
    try:
        load = driver(netns, "load", rate, seconds + 2 * SETTLE_S + 2)
        time.sleep(SETTLE_S)  # all is defined
        before, bytes_before, began = agent.metrics(), broker.stored_bytes(), time.monotonic()
        time.sleep(seconds)
        after, bytes_after, took = agent.metrics(), broker.stored_bytes(), time.monotonic() - began
        load.stdin.close()
        load.wait()
        end = agent.metrics()
    finally:
        agent.stop()
    moved = {name: after[name] - before[name] for name in before}
    events = moved["millrace_agent_events_total"]
    cpu = moved["millrace_agent_cpu_seconds_total"] + moved["millrace_agent_bpf_seconds_total"]
    stored = moved["millrace_agent_batch_bytes_total"] if bytes_before is None else bytes_after - bytes_before
    return {
        "events_per_s": round(events / took),
        "cpu_share": round(cpu / took, 5),
        "cpu_share_user_space": round(moved["millrace_agent_cpu_seconds_total"] / took, 5),
        "cpu_share_bpf": round(moved["millrace_agent_bpf_seconds_total"] / took, 5),
        "wire_bytes_per_event": round(stored / events, 2),
        "updates_share": round(moved["millrace_agent_updates_total"] / events, 3),
        "lost": lost(end),
    }


def at_rest(broker, netns, sockets):
    agent = Agent(broker, netns)
    try:
        holder = driver(netns, "hold", sockets)
        time.sleep(SETTLE_S)
        metrics = agent.metrics()
        result = {"rss_bytes": agent.rss(), "rss_sockets": int(metrics["millrace_agent_sockets"]), "storm_lost": lost(metrics)}
        holder.stdin.close()
        holder.wait()
    finally:
        agent.stop()
    return result


def measure(arguments):
    netns = f"mrb{os.getpid()}"
    subprocess.run(["ip", "netns", "add", netns], check=True)
    try:
        subprocess.run(["ip", "-n", netns, "link", "set", "lo", "up"], check=True)
        words = ["ip", "netns", "exec", netns, DRIVER, "overhead", str(arguments.pairs)]
        overhead = json.loads(subprocess.run(words, check=True, stdout=subprocess.PIPE).stdout)
        broker = Embedded() if kafka.missing() else Real()
        try:
            result = {"bench": "agent", **overhead, **under_load(broker, netns, arguments.rate, arguments.seconds),
                      **at_rest(broker, netns, arguments.sockets), "broker": broker.name}
        finally:
            broker.stop()
    finally:
        subprocess.run(["ip", "netns", "delete", netns], check=False)
    result["lost"] += result.pop("storm_lost")
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one line of JSON")
    parser.add_argument("--rate", type=int, default=5670, help="events a second")
    parser.add_argument("--seconds", type=int, default=20, help="of load that are measured")
    parser.add_argument("--sockets", type=int, default=10000, help="live sockets when memory is measured")
    parser.add_argument("--pairs", type=int, default=24, help="of windows with and without the programs")
    arguments = parser.parse_args()
    reason = missing()
    if reason:
        print("bench agent:", reason, file=sys.stderr)
        return 1
    result = measure(arguments)
    if arguments.json:
        print(json.dumps(result))
    else:
        for name, value in result.items():
            bound = f"   (at most {BOUNDS[name]})" if name in BOUNDS else ""
            print(f"{name:24} {value}{bound}")
    return 0 if all(result[name] <= bound for name, bound in BOUNDS.items()) else 1


if __name__ == "__main__":
    sys.exit(main())
