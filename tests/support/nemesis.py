"""What befalls a pipeline and its brokers, drawn by a seed: one fault at a time begins, lasts, is healed, and the pipeline
is given time to be well again before the next. Meanwhile, or alone, an instance of millraced is killed or stands still.

    nemesis = Nemesis(cluster, [daemon], random.Random(seed), lasts_s=(2, 8))
    for step in nemesis.draw(faults=10, kills=10):
        result = nemesis.do(step)       # a Result: what was done, and how long it was until all was well

All is well when the brokers answer, the instances that live run all tasks between them, each is ready, and none lags.
"""

import dataclasses
import math
import time

from proxy import OUTSIDE

WELL_WITHIN_S = 60  # of healing: the bound that is promised
GIVE_UP_S = 240  # a machine that is busy with other things
WELL_LAG_S = 2
ASK_EVERY_S = 0.05
SLOW_BYTES_A_SECOND = 1024
DELAY_S = 0.2
RESETS_EVERY_S = 0.7
QUIET_S = (0.3, 2.5)  # before each step: a kill finds snapshots of different ages
STANDS_S = (1, 12)  # millraced under SIGSTOP
# Of several instances: longer than their session, so that the others take the tasks and a zombie comes back.
SESSION_S = 6
STANDS_WITH_OTHERS_S = (8, 12)
GONE_S = (8, 12)  # after some kills; after the others it starts at once, and its tasks are its own again
GONE_SHARE = 1 / 3

FAULTS = ("kill", "freeze", "partition", "partition-in", "partition-out", "partition-clients", "partition-brokers",
          "delay", "slow", "reset", "half-open", "full-restart")
RESTARTS = ("kill", "full-restart")


@dataclasses.dataclass
class Step:
    fault: str  # one of FAULTS, or "" for none
    target: int  # which broker
    lasts_s: float
    daemon: str  # "kill", "stand" or ""
    after_s: float  # of the fault's beginning
    stands_s: float
    instance: int = 0  # which is killed or stands
    gone_s: float = 0  # from its death to its start

    def __str__(self):
        words = [f"{self.fault} of broker {self.target + 1} for {self.lasts_s:.1f} s"] if self.fault else []
        name = f"millraced {self.instance + 1}"
        gone = f", gone for {self.gone_s:.1f} s" if self.gone_s else ""
        words += {"kill": [f"kill -9 of {name} after {self.after_s:.1f} s{gone}"],
                  "stand": [f"{name} stands for {self.stands_s:.1f} s"], "": []}[self.daemon]
        return ", ".join(words)


@dataclasses.dataclass
class Result:
    step: Step
    well_s: float  # from the healing, or from millraced's start if that was later, until all kept up again
    well: bool  # within WELL_WITHIN_S
    taken_s: float | None = None  # from a kill while the brokers were well until the others kept up without the dead


class Nemesis:
    def __init__(self, cluster, daemons, dice, lasts_s=(2, 8), tell=lambda sentence: None, lag_s=WELL_LAG_S):
        self.cluster, self.daemons, self.dice = cluster, daemons, dice
        self.lasts_s, self.tell, self.lag_s = lasts_s, tell, lag_s
        self.dead = None  # the one of the instances that is not to be asked

    # ---- drawing

    def draw(self, faults, kills, stands=0):
        """Steps with so many of each in all, in a drawn order: half of the kills come while a fault lasts. Each kind of
        fault once before one comes again."""
        kinds = []
        while len(kinds) < faults:
            kinds += self.dice.sample(FAULTS, len(FAULTS))
        inside = min(faults, (kills + 1) // 2)
        daemon = self.dice.sample(["kill"] * inside + [""] * (faults - inside), faults)
        steps = [self._step(kind, done) for kind, done in zip(kinds, daemon)]
        steps += [self._step("", "kill") for _ in range(kills - inside)]
        steps += [self._step("", "stand") for _ in range(stands)]
        self.dice.shuffle(steps)
        return steps

    def _step(self, fault, daemon):
        lasts_s = self.dice.uniform(*self.lasts_s) if fault else 0
        step = Step(fault, self.dice.randrange(len(self.cluster.brokers)), lasts_s, daemon,
                    self.dice.uniform(0, lasts_s + 1) if fault else 0, self.dice.uniform(*STANDS_S))
        if daemon and len(self.daemons) > 1:
            step.instance = self.dice.randrange(len(self.daemons))
            step.stands_s = self.dice.uniform(*STANDS_WITH_OTHERS_S)
            step.gone_s = self.dice.uniform(*GONE_S) if daemon == "kill" and self.dice.random() < GONE_SHARE else 0
        return step

    # ---- doing

    def do(self, step):
        """Returns when all is well again, or raises when it does not become so at all."""
        time.sleep(self.dice.uniform(*QUIET_S))
        self.tell(str(step))
        began = time.monotonic()
        if step.fault:
            self._begin(step)
        daemon, taken_s = self.daemons[step.instance], None
        kill_at = began + step.after_s if step.daemon == "kill" else None
        start_at = None
        heal_at = began + step.lasts_s
        reset_at = began
        while kill_at or start_at or heal_at:
            now = time.monotonic()
            if kill_at and now >= kill_at:
                daemon.kill()
                kill_at, start_at = None, now + step.gone_s
                if step.gone_s and not step.fault:
                    taken_s = self._wait_taken(step, daemon)
            if start_at and now >= start_at:
                daemon.start()
                start_at = None
            if heal_at and now >= heal_at:
                self._heal(step)
                heal_at = None
            elif step.fault == "reset" and now >= reset_at:
                self.cluster.network.reset(self._name(step))
                reset_at = now + RESETS_EVERY_S
            time.sleep(ASK_EVERY_S)
        if step.daemon == "stand":
            daemon.stand()
            time.sleep(step.stands_s)
            daemon.go_on()
        since = time.monotonic()
        while not self.cluster.ready():
            if time.monotonic() > since + GIVE_UP_S:
                raise AssertionError(f"{step}: the brokers did not come back")
            time.sleep(ASK_EVERY_S)
        return dataclasses.replace(self.wait_well(step, since if step.fault not in RESTARTS else time.monotonic()),
                                   taken_s=taken_s)

    def wait_well(self, step, since):
        while not self._is_well():
            if time.monotonic() > since + GIVE_UP_S:
                raise AssertionError(f"{step}: not well {GIVE_UP_S} s after healing:\n{self._state()}")
            for daemon in self._living():
                assert daemon.alive(), f"{step}: a millraced ended by itself:\n{self._state()}"
            time.sleep(ASK_EVERY_S)
        well_s = time.monotonic() - since
        self.tell(f"    well after {well_s:.1f} s{' without it' if self.dead else ''}")
        return Result(step, well_s, well_s <= WELL_WITHIN_S)

    def wait_passed(self, when_s):
        """Until all that came before then has been worked off."""
        began = time.monotonic()
        while not (self._is_well() and all(
                time.time() - daemon.metrics().get("millrace_lag_seconds", math.inf) > when_s for daemon in self.daemons)):
            if time.monotonic() > began + GIVE_UP_S:
                raise AssertionError(f"what came is not worked off after {GIVE_UP_S} s:\n{self._state()}")
            time.sleep(ASK_EVERY_S)

    def _wait_taken(self, step, daemon):
        """From now until the others do all that this one did."""
        self.dead = daemon
        try:
            return self.wait_well(step, time.monotonic()).well_s
        finally:
            self.dead = None

    def _living(self):
        return [daemon for daemon in self.daemons if daemon is not self.dead]

    def _is_well(self):
        owned = 0
        for daemon in self._living():
            if self.lag_s <= WELL_LAG_S and not daemon.ready():
                return False  # a lag that is allowed may be one with which it is not ready
            metrics = daemon.metrics()
            if metrics.get("millrace_lag_seconds", self.lag_s) >= self.lag_s:
                return False
            owned += metrics.get("millrace_tasks_owned", 0)
        return owned == self.cluster.tasks

    def _state(self):
        return "\n".join(f"{number} (status {daemon.child.poll()}): {daemon.get('/readyz?verbose')} lag {daemon.metric('millrace_lag_seconds')} owned "
                         f"{daemon.metric('millrace_tasks_owned')}\n{daemon.log()[-4000:]}"
                         for number, daemon in enumerate(self.daemons, 1))

    def _name(self, step):
        return self.cluster.names[step.target]

    def _begin(self, step):
        broker, network = self.cluster.brokers[step.target], self.cluster.network
        name = self._name(step)
        brokers = [other for other in self.cluster.names if other != name]
        others = [OUTSIDE, *brokers]
        if step.fault == "kill":
            broker.kill()
        elif step.fault == "full-restart":
            for each in self.cluster.brokers:
                each.kill()
        elif step.fault == "freeze":
            broker.freeze()
        elif step.fault == "half-open":
            network.half_open(name)
        elif step.fault.startswith("partition"):
            _, _, which = step.fault.partition("-")
            for other in {"clients": [OUTSIDE], "brokers": brokers}.get(which, others):
                if which != "out":
                    network.cut(other, name)
                if which != "in":
                    network.cut(name, other)
        elif step.fault in ("delay", "slow"):
            put, much = (network.delay, DELAY_S) if step.fault == "delay" else (network.slow, SLOW_BYTES_A_SECOND)
            for other in others:
                put(other, name, much)
                put(name, other, much)

    def _heal(self, step):
        if step.fault == "freeze":
            self.cluster.brokers[step.target].thaw()
        elif step.fault in RESTARTS:
            self.cluster.launch()
        self.cluster.network.heal()
