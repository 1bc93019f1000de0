#!/usr/bin/python3
"""The notifier between a real Kafka and receivers that misbehave: whatever fails or is killed, each receiver hears of
each alert in the right order, and nothing is lost.

The large campaign: MILLRACE_EPISODES=100000 MILLRACE_KILLS=500 tests/pipeline/notifier_test.py Campaign
"""

import collections
import dataclasses
import json
import os
import pathlib
import random
import sys
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import kafka
import records
import torture
from millraced import Millraced, until
from outbox import Outbox, episode_key, receiver, told

EPISODES = int(os.environ.get("MILLRACE_EPISODES", 2000))
KILLS = int(os.environ.get("MILLRACE_KILLS", 20))
SEED = int(os.environ.get("MILLRACE_SEED", 20))
IN_FLIGHT = 4  # messages of a receiver under way or not recorded yet, at most: what a kill may repeat
SETTLED_WITHIN_S = 120
WITHIN_S = 30
OPEN = 150  # episodes at a time
STAYS_OPEN = max(5, EPISODES // 5000)  # each so many-th episode goes on firing: fewer than people are shown at a time

FAST = """notify:
  allow_http: true
  allow_private: true
  timeout: 300ms
  retry_min: 20ms
  retry_max: 200ms
  breaker_failures: 5
"""


# --- what receivers saw ---

def verdict(heard, firing, ended):
    """What is wrong with what one receiver heard: {what: [keys]}. firing, ended: keys of the episodes that go on, and
    that are over."""
    fired, over, incidents = set(), set(), collections.Counter()
    early = []
    for one in heard:
        if one.stage != "resolved":
            if one.key not in fired or one.key in over:
                incidents[one.key] += 1  # as PagerDuty counts: a trigger after a resolve is a new incident
            fired.add(one.key)
            over.discard(one.key)
        elif one.key not in fired:
            early.append(one.key)
        else:
            over.add(one.key)
    wrong = {"resolve before trigger": early, "duplicate incident": [key for key, count in incidents.items() if count > 1],
             "firing lost": firing - fired, "end lost": (fired & ended) - over, "ended while it fires": firing & over,
             "unknown": fired - firing - ended}
    return {what: sorted(keys) for what, keys in wrong.items() if keys}


def repeats(heard):
    """Messages that say again what an earlier one said."""
    return len(heard) - len({(one.key, one.stage) for one in heard})


class Campaign(unittest.TestCase):
    """Episodes, outages and kills at random moments; a receiver of each kind behaves, another of each does not."""

    NAMES = {"slack": "slack", "pager": "pagerduty", "slack-bad": "slack", "pager-bad": "pagerduty"}
    BAD = 15  # of a hundred requests

    def config(self, receivers):
        lines = [FAST, "pipeline:\n  workers: 2\n", "receivers:\n"]
        for name, kind in self.NAMES.items():
            how = ("mix", self.BAD) if name.endswith("bad") else ("ok", 0)
            lines.append(receiver(name, kind, receivers.url(kind, name, *how)))
        return "".join(lines)

    def play(self, outbox, dice, episodes):
        """Writes the episodes' transitions, some of many episodes mixed; yields after each few."""
        open_keys, number = [], 0
        while number < episodes or open_keys:
            if number < episodes and (len(open_keys) < OPEN or dice.random() < 0.5):
                key = episode_key((SEED, number))
                outbox.fire(key)
                (self.firing if number % STAYS_OPEN == 0 else self.ended).add(key)
                if number % STAYS_OPEN == 0:
                    self.rising(outbox, dice, key)
                else:
                    open_keys.append(key)
                number += 1
            else:
                key = open_keys.pop(dice.randrange(len(open_keys)))
                self.rising(outbox, dice, key)
                outbox.resolve(key)
            if outbox.written % 40 == 0:
                yield number

    @staticmethod
    def rising(outbox, dice, key):
        if dice.random() < 0.3:
            outbox.rise(key)

    def trouble(self, receivers, dice):
        """Outages of some moments, of one receiver or of several."""
        for name in [name for name, until_turn in self.outages.items() if until_turn <= self.turn]:
            receivers.up(name)
            del self.outages[name]
        if dice.random() < 0.1:
            name = dice.choice(list(self.NAMES))
            receivers.down(name, dice.choice(torture.OUTAGES))
            self.outages[name] = self.turn + dice.randrange(1, 8)
        self.turn += 1

    def test_kills_and_outages_lose_nothing_and_repeat_at_most_what_was_under_way(self):
        dice = random.Random(SEED)
        receivers = torture.Torture(SEED)
        self.addCleanup(receivers.stop)
        self.firing, self.ended = set(), set()
        self.asleep, self.starts = None, []
        self.outages, self.turn, self.kills = {}, 0, []
        kills, began = 0, time.monotonic()
        with kafka.Kafka() as broker, Millraced(broker.address, self.config(receivers)) as daemon:
            daemon.wait_ready()
            outbox = Outbox(broker.address)
            for number in self.play(outbox, dice, EPISODES):
                if number * KILLS >= kills * EPISODES + EPISODES and kills < KILLS:
                    self.kill_when_busy(daemon, receivers, dice)
                    kills += 1
                self.trouble(receivers, dice)
                self.keep_pace(daemon, receivers, dice)
            while kills < KILLS:
                self.kill_when_busy(daemon, receivers, dice)
                kills += 1
            outbox.flush()
            for name in self.NAMES:
                receivers.up(name)
            daemon.wait_ready()
            self.assertTrue(until(lambda: self.settled(daemon, outbox), SETTLED_WITHIN_S), self.left(daemon))
            read_again = self.after_a_restart(daemon, receivers)
            self.deliveries = records.read(broker.address, "millrace.alerts.delivery")
        took = time.monotonic() - began
        print(f"seed {SEED}: {EPISODES} episodes, {outbox.written} transitions, {kills} kills, {took:.0f} s; a restart "
              f"read {read_again:.0f} again; sending {sum(self.starts) / len(self.starts):.1f} s after a start")
        for name, kind in self.NAMES.items():
            with self.subTest(receiver=name):
                self.judge(name, kind, receivers.of(name))

    def kill_when_busy(self, daemon, receivers, dice):
        """Some requests from now, so that it is in the midst of something; what follows finds it away."""
        self.hear(receivers, dice.randrange(1, 100))
        time.sleep(dice.random() * 0.02)
        self.kills.append(time.time())
        daemon.kill()
        daemon.start()
        self.started, self.asleep = time.monotonic(), len(receivers.requests)

    def hear(self, receivers, count, within_s=1):
        """Until so many more requests came, or the time is over."""
        target = len(receivers.requests) + count
        receivers.wait(lambda: len(receivers.requests) >= target, within_s)

    def behind(self, daemon):
        """What waits for those that are there and behave."""
        metrics = daemon.metrics()
        return max((metrics.get(f'millrace_notifications_pending{{receiver="{name}"}}', 0) for name in self.NAMES
                    if not name.endswith("bad") and name not in self.outages), default=0)

    def keep_pace(self, daemon, receivers, dice):
        """Most of the time the notifier follows what is written; now and then it is far behind."""
        if self.asleep is not None and dice.random() < 0.5:
            receivers.wait(lambda: len(receivers.requests) > self.asleep, WITHIN_S)
            self.starts.append(time.monotonic() - self.started)
            self.asleep = None
        elif self.asleep is None:
            self.hear(receivers, 120, 1)
            if dice.random() < 0.9:
                until(lambda: self.behind(daemon) < 20, 5)

    def settled(self, daemon, outbox):
        metrics = daemon.metrics()
        return (sum(value for name, value in metrics.items()
                    if name.startswith(("millrace_notifications_pending", "millrace_notifications_unrecorded"))) == 0
                and metrics.get("millrace_outbox_behind", 1) == 0
                and all(self.known(daemon, key) == sequence for key, sequence in outbox.newest()))

    @staticmethod
    def known(daemon, key):
        """The sequence of the newest transition of an episode that was read."""
        status, text = daemon.get(f"/api/v1/alerts?key={key}")
        found = json.loads(text).get("alerts", []) if status == 200 else []
        return int(found[0]["alert"]["sequence"]) if found else 0

    def left(self, daemon):
        return "\n".join(f"{name} {value}" for name, value in daemon.metrics().items()
                         if "notif" in name or "receiver" in name or "outbox" in name) + daemon.log()[-2000:]

    def after_a_restart(self, daemon, receivers):
        """All is settled: a restart sends nothing, and reads nothing of the outbox again."""
        time.sleep(1.5)  # the position is committed once a second
        before = len(receivers.requests)
        daemon.kill()
        daemon.start()
        daemon.wait_ready()
        time.sleep(1)
        self.assertEqual(before, len(receivers.requests))
        return daemon.metric("millrace_outbox_read_total")

    def judge(self, name, kind, requests):
        heard = told(requests)
        wrong = verdict(heard, self.firing, self.ended)
        again = repeats(heard)
        unheard = len(self.ended - {one.key for one in heard})
        print(f"{name}: {len(requests)} requests, {len(heard)} acted on, {again} repeats, "
              f"{unheard} episodes that ended unheard; {wrong or 'nothing wrong'}")
        self.assertEqual({}, wrong, f"{name}: MILLRACE_SEED={SEED}{self.story(name, requests, wrong)}")
        if not name.endswith("bad"):
            self.assertLess(unheard, len(self.ended) * 3 / 4, "it was away most of the time: little was tested")
            self.assertLessEqual(again, IN_FLIGHT * KILLS)
        self.controls(heard)

    def story(self, name, requests, wrong):
        """All that is known of the first key that is wrong."""
        if not wrong:
            return ""
        key = next(iter(wrong.values()))[0]
        lines = [(at, "killed") for at in self.kills]
        lines += [(request.at, f"{request.behaviour}, acted: {request.acted}, until {request.answered:.3f}: {one.stage}")
                  for request in requests for one in told([dataclasses.replace(request, acted=True)]) if one.key == key]
        lines += [(record.delivered_ns / 1e9, f"record {record.sequence}, owed: {record.resolve_owed}, uncertain: "
                                              f"{record.uncertain}, failed: {record.failed} {record.error}")
                  for record in self.deliveries if (record.key, record.receiver) == (key, name)]
        return "\n" + "\n".join(f"{at:.3f} {what}" for at, what in sorted(lines))

    @staticmethod
    def counted(wrong):
        return {what: len(keys) for what, keys in wrong.items()}

    def controls(self, heard):
        """The judge himself: what must not happen is found where it was put."""
        ends = [at for at, one in enumerate(heard) if one.stage == "resolved"]
        key, first = heard[ends[len(ends) // 2]].key, {}
        for at, one in enumerate(heard):
            first.setdefault((one.key, one.stage), at)
        lost_end = [one for one in heard if (one.key, one.stage) != (key, "resolved")]
        self.assertEqual({"end lost": 1}, self.counted(verdict(lost_end, self.firing, self.ended)))
        fires = next(iter(self.firing))
        lost = [one for one in heard if one.key != fires]
        self.assertEqual({"firing lost": 1}, self.counted(verdict(lost, self.firing, self.ended)))
        early = [heard[first[key, "resolved"]]] + heard
        self.assertEqual({"resolve before trigger": 1}, self.counted(verdict(early, self.firing, self.ended)))
        twice = heard + [heard[first[key, "firing"]], heard[first[key, "resolved"]]]
        self.assertEqual({"duplicate incident": 1}, self.counted(verdict(twice, self.firing, self.ended)))
        self.assertEqual(repeats(heard) + 1, repeats(heard + [heard[first[key, "resolved"]]]))


class ReadBack(unittest.TestCase):
    """A start reads the outbox before it sends: of what went on and ended while it was away only the end is told. Who had
    the end just before it was killed, unrecorded, would else hear of an older state behind it."""

    def test_what_ended_while_it_was_away_is_told_as_ended_alone(self):
        keys = [episode_key((SEED, "read back", number)) for number in range(100)]
        receivers = torture.Torture(SEED)
        self.addCleanup(receivers.stop)
        config = FAST + "receivers:\n" + receiver("slack", "slack", receivers.url("slack", "slack"))
        with kafka.Kafka() as broker, Millraced(broker.address, config) as daemon:
            daemon.wait_ready()
            outbox = Outbox(broker.address)

            def hears(stage):
                return until(lambda: {one.key for one in told(receivers.requests) if one.stage == stage} >= set(keys),
                             WITHIN_S)

            for key in keys:
                outbox.fire(key)
            self.assertTrue(hears("firing"))
            self.assertTrue(until(lambda: daemon.metric('millrace_notifications_unrecorded{receiver="slack"}') == 0,
                                  WITHIN_S))
            daemon.kill()
            for key in keys:
                outbox.rise(key)
            for key in keys:
                outbox.resolve(key)
            outbox.flush()
            daemon.start()
            self.assertTrue(hears("resolved"))
            stages = collections.Counter(one.stage for one in told(receivers.requests))
        self.assertEqual({"firing": len(keys), "resolved": len(keys)}, stages)


class Routes(unittest.TestCase):
    """Each receiver hears of what it is for, by its patterns beside its severity; what is nobody's is counted."""

    WHO = {"critical": "    severity: critical\n", "cart": "    match: {server: [cart, payments]}\n",
           "others": '    match: {server: ["!cart*"]}\n'}

    def test_each_hears_of_its_own_from_when_it_is_its_own_until_the_end(self):
        receivers = torture.Torture(SEED)
        self.addCleanup(receivers.stop)
        config = FAST + "receivers:\n" + "".join(receiver(name, "pagerduty", receivers.url("pagerduty", name), more)
                                                 for name, more in self.WHO.items())
        cart, other, later, nobodys = (episode_key((SEED, "routes", number)) for number in range(4))
        with kafka.Kafka() as broker, Millraced(broker.address, config) as daemon:
            daemon.wait_ready()
            outbox = Outbox(broker.address)

            def heard(name):
                return {(one.key, one.stage) for one in told(receivers.of(name))}

            def wait(name, *keys_and_stages):
                self.assertTrue(until(lambda: heard(name) >= set(keys_and_stages), WITHIN_S), (name, heard(name)))

            outbox.fire(cart)
            for key, server in ((other, "search"), (later, "search"), (nobodys, "cartoon")):
                outbox.write(key, 1, 0, server=server)
            wait("cart", (cart, "firing"))
            wait("others", (other, "firing"), (later, "firing"))
            outbox.write(later, 2, 0, server="payments")
            wait("cart", (later, "firing"))
            outbox.write(later, 3, 1, server="search")
            outbox.rise(cart)
            wait("critical", (cart, "worse"))
            outbox.resolve(cart)
            for name, key in (("cart", cart), ("cart", later), ("critical", cart), ("others", later)):
                wait(name, (key, "resolved"))
            self.assertEqual({"critical": {cart}, "cart": {cart, later}, "others": {other, later}},
                             {name: {key for key, _ in heard(name)} for name in self.WHO})
            self.assertEqual(1, daemon.metric("millrace_alerts_unrouted_total"))


if __name__ == "__main__":
    if kafka.missing():
        print("skipped: not installed:", *kafka.missing())
        sys.exit(77)
    unittest.main()
