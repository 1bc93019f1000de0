#!/usr/bin/python3
"""Chaos: millraced, or several instances that share its work, behind three real Kafka brokers, on which a fleet's events
come in, while brokers, the network and the instances fail; afterwards one that nobody disturbs reads the same log alone,
and both must have written the same.

    chaos.py [--minutes N] [--seed S] [--json]                      faults for N minutes (default 5), in rounds
    chaos.py --kills N --faults N [--state FILE] [--seed S]         until there were so many of each; FILE: goes on there
    chaos.py --instances 3 [...]                                    so many share the tasks (default: one is alone)

Each round has brokers and a log of its own, so that its check is short and a campaign may be interrupted: a round that
is in FILE is not run again. Prints a line of JSON with --json, else its progress and a table; the status is 1 when
anything was lost, came twice or differs.
"""

import argparse
import contextlib
import dataclasses
import json
import math
import os
import pathlib
import random
import re
import sys
import time

import cluster
import fleet
import kafka
import nemesis
import outputs
import processes
from millraced import Millraced, until
from nemesis import SESSION_S, WELL_LAG_S, WELL_WITHIN_S

INSTANCES = 1
# Of several instances: each task tells each other one something a few times a pane, three brokers copy each of these
# messages, and all of them share two processors.
SHARED_TASKS = 4
STARTS_WITHIN_S = 120
READS_WITHIN_S = 300
SETTLE_S = 4  # windows of a second close, their rows are written
CLOSED_S = 3  # a window that ended so long before is written

BASELINES = "millrace.baselines"

# Behind the address of the brokers. Baselines learn, and tell what fails outright; for more the rounds are too short.
CONFIG = """  group: {group}
pipeline: {{keep: 1h, tasks: {tasks}, workers: {workers}}}
rollups: {{finest: 1s}}
snapshots: {{folder: "{folder}", period: {period}}}
baselines: {{warmup: 10000}}
monitors:
  - name: failed
    metric: connections_failed
    threshold: 1
    window: 1s
    clear_after: 1s
"""
SHARED = 'exchange: {{carrier: kafka, instance: "{instance}", session_timeout: {session}s}}\n'
FLEET = {"nodes": 8, "flows": 200, "edges": 40, "rate": 2000, "restarts": 20, "late": 20, "duplicate": 10,
         "late_names": 50, "fault": "refuse,server=3,from=10,to=15"}


@dataclasses.dataclass
class Round:
    seed: int
    faults: int = 0
    kills: int = 0
    stands: int = 0
    lost: int = 0
    duplicated: int = 0
    mismatches: int = 0
    repeats: int = 0
    records: int = 0
    events: int = 0
    sent: int = 0
    seconds: float = 0
    instances: int = 1
    rebalances: int = 0
    from_snapshot: int = 0  # of all instances
    epochs: int = 0  # of the pipeline that suffered: 1 if it always found its snapshot
    recoveries_s: list = dataclasses.field(default_factory=list)  # of kills while the brokers were well
    takeovers_s: list = dataclasses.field(default_factory=list)  # of those of them that left the tasks to others
    healings_s: list = dataclasses.field(default_factory=list)  # of faults of brokers and network
    late: int = 0  # not well within 60 s
    stuck: int = 0  # 1: it did not become well at all, so nothing was compared
    told: list = dataclasses.field(default_factory=list)  # what was wrong

    @property
    def good(self):
        return not (self.lost or self.duplicated or self.mismatches)


def _tell_nothing(_):
    pass


class Field:
    """One round: a cluster, a fleet that sends, the instances that suffer and then the one that checks them."""

    def __init__(self, seed, lasts_s=(2, 8), period="1s", tell=_tell_nothing, instances=INSTANCES,
                 lag_s=WELL_LAG_S):
        self.round = Round(seed, instances=instances)
        self.dice = random.Random(seed)
        self.lasts_s, self.period, self.tell, self.lag_s = lasts_s, period, tell, lag_s
        self.found = None  # what was read back, for who wants to look closer
        self.until_ns = 0
        self.logs = []  # of the instances

    def run(self, faults, kills, stands=0, seconds=math.inf):
        """Until all of these were done, or the seconds are over."""
        self.tell(f"seed {self.round.seed}: three brokers start, then millraced: {self.round.instances}")
        with cluster.Cluster(SHARED_TASKS if self.round.instances > 1 else cluster.TASKS) as brokers:
            length = min(seconds, (20 + SESSION_S) * (faults + kills + stands)) + 2 * WELL_WITHIN_S
            feed = fleet.Feed(brokers.folder, seed=self.round.seed % 1000000, seconds=int(length),
                              partitions=brokers.tasks, **FLEET)
            self._suffer(brokers, feed, (faults, kills, stands), seconds)
            self._check(brokers)
        return self.round

    def _suffer(self, brokers, feed, wanted, seconds):
        with contextlib.ExitStack() as stack:
            daemons = [stack.enter_context(self._instance(brokers, nth)) for nth in range(self.round.instances)]
            try:
                self._disturb(brokers, daemons, feed, wanted, seconds)
            finally:
                self.logs = [daemon.log() for daemon in daemons]
            for daemon in daemons:
                daemon.kill()
        self._read_logs()

    def _disturb(self, brokers, daemons, feed, wanted, seconds):
        evil = nemesis.Nemesis(brokers, daemons, self.dice, self.lasts_s, self.tell, self.lag_s)
        evil.wait_well("the start", time.monotonic())
        with open(brokers.folder / "sender.log", "wb") as log:
            sender = feed.start(brokers.address, stderr=log)
        for daemon in daemons:
            assert daemon.wait_metric("millrace_snapshots_total", 1, STARTS_WITHIN_S) >= 1, daemon.log()[-4000:]
        evil.wait_well("the first snapshots", time.monotonic())
        began = time.monotonic()
        for step in evil.draw(*wanted):
            if time.monotonic() - began >= seconds:
                break
            self._count(step, evil.do(step))
        self.round.seconds = time.monotonic() - began
        self._end_sender(sender)
        evil.wait_well("after all", time.monotonic())
        ended_s = time.time()
        self.until_ns = int((ended_s - CLOSED_S) * 10**9)
        evil.wait_passed(ended_s)
        time.sleep(SETTLE_S)

    def _instance(self, brokers, nth):
        shared = SHARED.format(instance=f"instance-{nth + 1}", session=SESSION_S) if self.round.instances > 1 else ""
        return Millraced(brokers.address, CONFIG.format(
            group="killed", folder=brokers.folder / "snapshots", workers=2 - nth % 2, period=self.period,
            tasks=brokers.tasks) + shared, under=brokers.folder)

    def _read_logs(self):
        self.round.from_snapshot = sum(log.count("going on from the snapshot") for log in self.logs)
        runs = {number for log in self.logs for number in re.findall(r"\brun (\d+): \d+ instances", log)}
        self.round.rebalances = max(0, len(runs) - 1)

    def _count(self, step, result):
        self.round.faults += bool(step.fault)
        self.round.kills += step.daemon == "kill"
        self.round.stands += step.daemon == "stand"
        self.round.late += not result.well
        if step.fault:
            self.round.healings_s.append(round(result.well_s, 2))
        elif step.daemon == "kill":
            self.round.recoveries_s.append(round(result.well_s, 2))
        if result.taken_s is not None:
            self.round.takeovers_s.append(round(result.taken_s, 2))

    def _end_sender(self, sender):
        sender.terminate()
        line = json.loads(sender.stdout.readline())
        processes.end(sender, within_s=60)
        self.round.events, self.round.sent = line["events"], line["delivered"]

    @staticmethod
    def _forget_baselines(brokers):
        """The one that checks begins as the first did, and not with what that has learnt since: a threshold of the first
        minutes, when only what fails outright is told, would be another."""
        tool = brokers.brokers[0].tool
        tool("TopicCommand", "--delete", "--topic", BASELINES)
        tool("TopicCommand", "--create", "--topic", BASELINES, "--partitions", brokers.tasks)

    def _check(self, brokers):
        self.tell("one that nobody disturbs reads the same log")
        self._forget_baselines(brokers)
        config = CONFIG.format(group="whole", folder="", workers=1, period=self.period, tasks=brokers.tasks)
        with Millraced(brokers.address, config, under=brokers.folder) as daemon:
            assert until(lambda: daemon.ready() and daemon.metric("millrace_lag_seconds") < WELL_LAG_S,
                         READS_WITHIN_S), daemon.log()[-4000:]
            time.sleep(SETTLE_S)
            daemon.terminate(30)
        self.found = outputs.read(brokers.address)
        verdict = outputs.judge(self.found, self.until_ns)
        for name in ("lost", "duplicated", "mismatches", "repeats", "records"):
            setattr(self.round, name, getattr(verdict, name))
        self.round.epochs = len(outputs.by_epoch(self.found)) - 1
        self.round.told = verdict.faults
        self.tell(f"{verdict.records} records compared: {verdict.lost} lost, {verdict.duplicated} twice, "
                  f"{verdict.mismatches} other, {verdict.repeats} repeats under their number")
        for fault in verdict.faults:
            self.tell(f"    {fault}")


# ---- a campaign: rounds, and what they come to

ROUND_S = 600
SHORT_S = 60  # not worth another round's brokers
ROUND_FAULTS, ROUND_KILLS, ROUND_STANDS = 6, 20, 2  # of a campaign that is counted


def p99(values):
    """The least of the values that 99 % of them do not pass; None without any."""
    ordered = sorted(values)
    return ordered[math.ceil(0.99 * len(ordered)) - 1] if ordered else None


def summary(rounds):
    def total(name):
        return sum(getattr(one, name) for one in rounds)
    recoveries = [value for one in rounds for value in one.recoveries_s]
    healings = [value for one in rounds for value in one.healings_s]
    takeovers = [value for one in rounds for value in one.takeovers_s]
    return {
        "chaos": "millraced", "instances": max((one.instances for one in rounds), default=0), "rounds": len(rounds),
        "seconds": round(total("seconds")),
        "faults": total("faults"), "kills": total("kills"), "stands": total("stands"),
        "rebalances": total("rebalances"),
        "lost": total("lost"), "duplicated": total("duplicated"), "mismatches": total("mismatches"),
        "repeats": total("repeats"), "records": total("records"), "events": total("events"),
        "from_snapshot": total("from_snapshot"), "epochs": total("epochs"), "late": total("late"), "stuck": total("stuck"),
        "recovery_p99_s": p99(recoveries), "recoveries": len(recoveries),
        "takeover_p99_s": p99(takeovers), "takeovers": len(takeovers),
        "healing_p99_s": p99(healings), "healing_max_s": max(healings, default=None),
        "load": round(os.getloadavg()[1], 1), "seeds": [one.seed for one in rounds],
    }


def load(path):
    lines = path.read_text().splitlines() if path and path.exists() else []
    return [Round(**json.loads(line)) for line in lines]


def keep(path, one):
    if path:
        with open(path, "a") as file:
            file.write(json.dumps(dataclasses.asdict(one)) + "\n")


def keep_logs(folder, field):
    if folder and (field.round.stuck or not field.round.good):
        folder.mkdir(parents=True, exist_ok=True)
        for number, log in enumerate(field.logs, 1):
            (folder / f"{field.round.seed}.{number}.log").write_text(log)
        (folder / f"{field.round.seed}.told").write_text("\n".join(field.round.told) + "\n")


def campaign(options, tell):
    rounds = load(options.state)
    began = time.monotonic()

    def due():
        done = [sum(getattr(one, name) for one in rounds) for name in ("faults", "kills")]
        if options.minutes:
            left = options.minutes * 60 - (time.monotonic() - began)
            return left > (SHORT_S if rounds else 0) and (10000, 10000, 1000, min(left, ROUND_S))
        faults, kills = max(0, options.faults - done[0]), max(0, options.kills - done[1])
        return (faults or kills) and (min(faults, ROUND_FAULTS), min(kills, ROUND_KILLS), ROUND_STANDS, math.inf)

    while wanted := due():
        field = Field(options.seed + len(rounds), tell=tell, instances=options.instances,
                      lag_s=options.lag)
        rounds.append(field.round)
        try:
            field.run(*wanted)
        except (AssertionError, RuntimeError) as error:
            field.round.stuck = 1
            field.round.told.append(str(error))
            tell(str(error))
            break
        finally:
            keep_logs(options.logs, field)
        keep(options.state, field.round)
    return rounds


def table(found):
    width = max(map(len, found))
    return "\n".join(f"{name:{width}}  {value}" for name, value in found.items() if name != "chaos")


EPILOG = """rebalances is how often the instances agreed anew on who runs which tasks (different numbers in their lines "run
N:"), the first time not counted: a kill, a start or a stand is one or more of them."""


def main():
    parser = argparse.ArgumentParser(prog="./dev chaos", description=__doc__.split("\n\n")[0], epilog=EPILOG)
    parser.add_argument("--minutes", type=float, help="how long there are faults (default: 5)")
    parser.add_argument("--faults", type=int, default=0, help="instead of --minutes: so many of brokers and network")
    parser.add_argument("--kills", type=int, default=0, help="instead of --minutes: so many of millraced")
    parser.add_argument("--instances", type=int, default=INSTANCES,
                        help="of millraced, which share the tasks, and of which one at a time is killed or stands; 1: one "
                             f"that is alone (default: {INSTANCES})")
    parser.add_argument("--lag", type=float, default=WELL_LAG_S,
                        help="seconds behind with which all is well: more lets a campaign go on where the machine is too busy "
                             f"to keep up (default: {WELL_LAG_S})")
    parser.add_argument("--seed", type=int, default=1, help="of all that is drawn (default: 1)")
    parser.add_argument("--state", type=pathlib.Path, help="rounds done are added there and not done again")
    parser.add_argument("--logs", type=pathlib.Path, help="a folder for what the instances logged in rounds that went wrong")
    parser.add_argument("--json", action="store_true", help="one line of JSON alone")
    options = parser.parse_args()
    if not (options.minutes or options.faults or options.kills):
        options.minutes = 5
    if not 1 <= options.instances <= SHARED_TASKS:
        parser.error(f"--instances {options.instances}: not between 1 and {SHARED_TASKS}")
    if kafka.missing():
        sys.exit(f"chaos: not installed: {' '.join(kafka.missing())}")
    began = time.monotonic()

    def tell(sentence):
        print(f"{time.monotonic() - began:7.1f}  {sentence}", file=sys.stderr if options.json else sys.stdout, flush=True)
    found = summary(campaign(options, tell))
    print(json.dumps(found) if options.json else table(found), flush=True)
    return int(bool(found["lost"] or found["duplicated"] or found["mismatches"] or found["stuck"]))


if __name__ == "__main__":
    sys.exit(main())
