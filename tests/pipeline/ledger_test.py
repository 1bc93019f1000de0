#!/usr/bin/python3
"""The loss ledger of a real Kafka's log: each fate of an event has its number, a real agent's own count is what was
issued, what its spool dropped is what is missing, and the checker tells of any term that is off."""

import copy
import json
import os
import pathlib
import signal
import subprocess
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import agents
import kafka
import ledger
import millraced
import nodes
import processes
from millraced import until

SKIPPED = 77
CLI = processes.BUILD / "bin" / "millrace"
WITHIN_S = 60
CONNECTIONS = 50000  # four events each: more than a spool of 1 MiB holds
NETNS = f"mrledger{os.getpid()}"

# One thread is both ends.
STORM = """
import socket, sys
s = socket.socket(); s.bind(("127.0.0.1", 8080)); s.listen(64)
for i in range(int(sys.argv[1])):
    c = socket.socket(); c.bind((f"127.{1 + i // 10000}.0.1", 0)); c.connect(("127.0.0.1", 8080))
    a, _ = s.accept(); c.close(); a.close()
"""


class Ledgers(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.kafka = kafka.Kafka()
        cls.addClassCleanup(cls.kafka.stop)
        cls.daemon = millraced.Millraced(cls.kafka.address)
        cls.addClassCleanup(cls.daemon.stop)
        cls.daemon.wait_ready()

    def ledger_of(self, node):
        status, text = self.daemon.get(f"/api/v1/agents/{node}")
        return json.loads(text)["agent"]["ledger"] if status == 200 else None

    def cli(self, *words):
        return subprocess.run([CLI, "agents", "--loss", *words], capture_output=True, text=True, timeout=30, check=True,
                              env={**os.environ, "MILLRACE_SERVER": f"http://{self.daemon.api}"}).stdout

    def test_each_fate_of_an_event_has_its_number(self):
        node = nodes.Node("fates", "10.9.0.1", "web")
        batches = [node.batch(lambda batch: None, 0) for _ in range(6)]  # of one event each
        batches[3].base_time_us -= 20_000_000
        node.epoch, node.sequence, node.events = node.epoch ^ 1, 0, 0
        batches.append(node.batch(lambda batch: None, 0))
        for batch in batches:  # however long their way is, it says the same of the node's clock
            batch.sent_realtime_ns, batch.sent_boottime_ns = batches[0].sent_realtime_ns, batches[0].sent_boottime_ns
        *sent, again = (batch.SerializeToString() for batch in batches)
        # the second is lost at first, the third comes twice, the fourth late, the fifth is cut off; then the agent
        # starts again, and of its former start the second comes after all, and the third once more
        self.assertTrue(nodes.produce(self.kafka, node.name, [
            sent[0], sent[2], sent[2], sent[3], sent[4][:-3], sent[5], again, sent[1], sent[2]]))
        wanted = {"issued": 7, "received": 9, "lost": 1, "duplicate": 2, "quarantined": 1, "refused": 1, "late": 1, "pending": 0,
                  "aggregated": 4, "unexplained": 0}
        fates = lambda: (found := self.ledger_of(node.name)) and {name: found[name] for name in wanted}
        until(lambda: fates() == wanted, WITHIN_S)
        self.assertEqual(wanted, fates())
        self.assertRegex(self.cli(node.name), rf"\n{node.name} .* 7 +0 +1 +9 +2 +1 +1 +1 +0 +4 .* 0\n$")
        line = json.loads(self.cli(node.name, "-o", "jsonl"))
        self.assertEqual(wanted, {name: line["ledger"][name] for name in wanted})

    @unittest.skipIf(os.geteuid(), "an agent needs root")
    def test_what_the_agent_sealed_was_issued_and_what_its_spool_dropped_is_lost(self):
        subprocess.run(["ip", "netns", "add", NETNS], check=True)
        self.addCleanup(subprocess.run, ["ip", "netns", "del", NETNS], check=True)
        subprocess.run(["ip", "-n", NETNS, "link", "set", "lo", "up"], check=True)
        agent = agents.Agent(self.kafka.address, "sealing", f"scope.netns={NETNS}", "kafka.spool=1MiB")
        self.addCleanup(agent.stop)
        storm = ["ip", "netns", "exec", NETNS, sys.executable, "-c", STORM, str(CONNECTIONS)]
        subprocess.run(storm[:-1] + ["100"], check=True)
        dropped = 'dropped_events_total{where="spool",kind="any"}'
        os.kill(self.kafka.pid, signal.SIGSTOP)
        try:
            subprocess.run(storm, check=True)
            self.assertTrue(until(lambda: agent.metric(dropped), WITHIN_S))
        finally:
            os.kill(self.kafka.pid, signal.SIGCONT)

        def agreed():
            """The ledger when the agent seals nothing between two looks and millraced has all of it."""
            sealed = agent.metric("events_total")
            found = self.ledger_of("sealing")
            same = found and found["issued"] == sealed == agent.metric("events_total")
            return same and found["lost"] == found["lost_spool"] and not found["pending"] and found
        found = until(agreed, WITHIN_S)
        self.assertTrue(found, (agent.metric("events_total"), agent.metric(dropped), self.ledger_of("sealing")))
        self.assertEqual(agent.metric(dropped), found["lost"])
        losses = {(loss["place"], loss["kind"]): loss["events"] for loss in found["losses"]}
        self.assertEqual(found["lost"], losses.pop(("spool", "any")))
        self.assertEqual(found["dropped_ring"], sum(events for (place, _), events in losses.items() if place != "netlink"))
        # what the header tells, the state tells by kind
        metrics = agent.metrics()
        for (place, kind), events in losses.items():
            self.assertEqual(events, float(metrics[f'millrace_agent_dropped_events_total{{where="{place}",kind="{kind}"}}']))
        # It is of closed panes, and what was lost is in none that waits.
        share = until(lambda: (found := self.ledger_of("sealing")) and found["completeness_1h"] < 1 and found, WITHIN_S)
        self.assertGreater(share and share["completeness_1h"], 0)

    def test_the_checker_tells_of_any_term_that_is_off(self):
        pair = nodes.Pair(client="off-a", server="off-b")
        pair.talk(self.kafka)
        until(lambda: (found := self.ledger_of("off-b")) and not found["pending"], WITHIN_S)
        ledger.check(self.daemon.get)
        pages = {}

        def keep(path):
            pages[path] = self.daemon.get(path)
            return pages[path]
        self.assertTrue(until(lambda: not ledger.ask(keep), WITHIN_S))
        answer = json.loads(pages[ledger.AGENTS][1])
        metrics = ledger.numbers(pages["/metrics"][1])
        self.assertEqual([], list(ledger.faults(answer, metrics)))
        books = [lambda wrong: next(one for one in wrong["agents"] if one["node"] == "off-a")["ledger"],
                 lambda wrong: wrong["total"], lambda wrong: wrong["others"]]
        for book in books:
            for term in (*ledger.TERMS, "unexplained"):
                for by in (-1, 1):
                    wrong = copy.deepcopy(answer)
                    book(wrong)[term] += by
                    self.assertTrue(list(ledger.faults(wrong, metrics)), (term, by))
        for name in (*ledger.METRICS.values(), "millrace_events_unexplained", "millrace_partial_rows_total",
                     "millrace_partial_rows_merged_total", "millrace_outputs_total", "millrace_outputs_delivered_total",
                     "millrace_outputs_failed_total", "millrace_outputs_waiting"):
            self.assertTrue(list(ledger.faults(answer, {**metrics, name: metrics[name] + 1})), name)

    def test_a_test_that_ends_with_a_term_off_fails(self):
        daemon = millraced.Millraced(self.kafka.address, "  group: another\n")
        daemon.wait_ready()
        asked = daemon.get

        def off_by_one(path):
            status, text = asked(path)
            if path == ledger.AGENTS:
                answer = json.loads(text)
                answer["total"]["aggregated"] += 1
                text = json.dumps(answer)
            return status, text
        daemon.get = off_by_one
        ledger_within_s, ledger.WITHIN_S = ledger.WITHIN_S, 1
        try:
            with self.assertRaisesRegex(ledger.Unbalanced, r"all: received is -1 from"):
                daemon.stop()
        finally:
            ledger.WITHIN_S = ledger_within_s
        self.assertFalse(daemon.alive())


if __name__ == "__main__":
    missing = kafka.missing() + [str(p) for p in (CLI, millraced.PROGRAM) if not p.exists()]
    if missing:
        print("skipped: needs " + ", ".join(missing))
        sys.exit(SKIPPED)
    unittest.main(verbosity=2)
