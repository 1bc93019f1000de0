"""A simulated fleet's log on its way into a real Kafka, and what millraced spends on it: for benches.

    feed = Feed(folder, nodes=1000, seconds=60)  # makes the log, once
    feed.send(kafka.address)                     # in its own time; returns when all is sent
"""

import json
import os
import pathlib
import subprocess

import processes

PROGRAM = processes.BUILD / "bin" / "bench-fleet"


class Feed:
    def __init__(self, folder, **shape):
        """shape: flags of bench-fleet, nodes=1000 is --nodes 1000; of a list each item is given."""
        self.log = pathlib.Path(folder) / "fleet.log"
        self.key = shape.get("key")
        words = [PROGRAM, "--file", self.log]
        for name, value in shape.items():
            for one in value if isinstance(value, list) else [value]:
                words += [f"--{name.replace('_', '-')}", one]
        done = subprocess.run([str(word) for word in words], check=True, stdout=subprocess.PIPE, text=True)
        self.made = json.loads(done.stdout.splitlines()[0])

    @property
    def events(self):
        return self.made["events"]

    def start(self, brokers, **options):
        """The sender, a child process that prints one line of JSON when all is sent, or when it is told to end."""
        words = [PROGRAM, "--replay", self.log, "--brokers", brokers]
        words += ["--key", self.key] if self.key else []  # the times are new, so are the signatures
        return processes.start(words, stdout=subprocess.PIPE, text=True, **options)

    def send(self, brokers):
        child = self.start(brokers)
        line = child.stdout.readline()
        if processes.end(child, within_s=60) != 0:
            raise RuntimeError("the fleet's log could not be sent")
        return json.loads(line)


def cpu_seconds(pid):
    """User and system time of a process, its threads, and its children that have ended."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return sum(int(field) for field in fields[11:15]) / os.sysconf("SC_CLK_TCK")


def quantile(buckets, q):
    """Upper bound of a Prometheus histogram's quantile: {bound: cumulative count}; inf past the last bound."""
    bounds = sorted(buckets)
    total = buckets[bounds[-1]] if bounds else 0
    for bound in bounds:
        if total and buckets[bound] >= q * total:
            return bound
    return None


def buckets_of(metrics, name):
    """Of Millraced.metrics(): {bound: cumulative count}."""
    prefix = f'{name}_bucket{{le="'
    return {float(key[len(prefix):-2].replace("+Inf", "inf")): value
            for key, value in metrics.items() if key.startswith(prefix)}
