#!/usr/bin/python3
"""The list of agents, from batches in a real Kafka to the API, the command line and the metrics.

The batches are made here from the schema's own words; who is silent is so by the log's clock, which ticks move."""

import json
import os
import re
import subprocess
import sys
import time
import unittest
import pathlib

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import kafka
import millraced
import nodes
import processes

SKIPPED = 77
CLI = processes.BUILD / "bin" / "millrace"
WITHIN_S = 30


class Teller(nodes.Node):
    """A node that tells of itself, and that listens."""

    def __init__(self, kafka, name, address):
        super().__init__(name, address, "server")
        self.kafka = kafka
        self.control_id, self.control_error, self.failed = "", "", 0

    def facts(self, batch):
        facts = batch.node_facts
        facts.kernel, facts.os, facts.architecture = "6.1.0-37-amd64", "Debian GNU/Linux 12 (bookworm)", "x86_64"
        facts.cpus, facts.memory_bytes, facts.booted_us = 8, 16 << 30, 1_700_000_000_000_000
        facts.cloud, facts.instance_id, facts.instance_type = "aws", "i-1", "m5.large"
        facts.labels.add(key="rack", value="r7")

    def state(self, batch):
        state = batch.agent_state
        state.cpu_share, state.cpu_budget, state.programs, state.programs_wanted = 0.0004, 0.005, 14, 14
        state.features.extend(("tcp", "dns"))
        state.missing.append("no drops: this kernel has no reasons")
        state.self_tests, state.self_tests_failed = 7, self.failed
        state.control_id, state.control_error = self.control_id, self.control_error

    def listener(self, batch, drops):
        batch.strings.append("/usr/bin/server")
        processes_, listeners = batch.processes, batch.listeners
        batch.addresses = self.address
        for column, value in (("pid", 4242), ("parent", 1), ("started_ns", 5), ("cgroup", self.cgroup), ("comm", 0),
                              ("exe", 3), ("cmdline", 0), ("dt_us", 0)):
            getattr(processes_, column).append(value)
        for column, value in (("cookie", 9), ("address", 0), ("port", 8080), ("netns", 5), ("pid", 4242),
                              ("cgroup", self.cgroup), ("backlog", 3), ("backlog_max", 128), ("drops", drops),
                              ("flags", 0), ("dt_us", 0)):
            getattr(listeners, column).append(value)

    def send(self, *fills, events=0, age_s=0):
        def fill(batch):
            for one in fills:
                one(batch)
            batch.sent_realtime_ns -= int(age_s * 1e9)
            batch.sent_boottime_ns -= int(age_s * 1e9)
            batch.base_time_us -= int(age_s * 1e6)
        assert nodes.produce(self.kafka, self.name, [self.batch(fill, events).SerializeToString()])


class Agents(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.kafka = kafka.Kafka()
        cls.addClassCleanup(cls.kafka.stop)
        cls.daemon = millraced.Millraced(cls.kafka.address)
        cls.addClassCleanup(cls.daemon.stop)
        cls.daemon.wait_ready()
        assert millraced.until(lambda: cls.daemon.get("/api/v1/agents/control")[0] == 200, WITHIN_S)

    def agent(self, node):
        status, text = self.daemon.get(f"/api/v1/agents/{node}")
        return json.loads(text) if status == 200 else None

    def until(self, node, condition):
        """The answer about the node once the condition holds of its agent."""
        answer = millraced.until(lambda: (one := self.agent(node)) and condition(one["agent"]) and one, WITHIN_S)
        self.assertTrue(answer, self.agent(node))
        return answer

    def cli(self, *words):
        done = subprocess.run([CLI, "agents", *words], capture_output=True, text=True, timeout=30, check=True,
                              env={**os.environ, "MILLRACE_SERVER": f"http://{self.daemon.api}", "LC_ALL": "C.UTF-8"})
        return done.stdout

    def states(self):
        return {re.search('"(.*)"', name)[1]: value for name, value in self.daemon.metrics().items()
                if name.startswith("millrace_agents_state{")}

    def test_what_a_node_tells_is_shown_and_its_silence_too(self):
        node = Teller(self.kafka, "shown-1", "10.0.1.1")
        node.send(node.facts, node.state, lambda batch: node.listener(batch, 17), events=2)
        answer = self.until(node.name, lambda one: one["listeners"] == 1)
        agent = answer["agent"]
        for name, value in (("kernel", "6.1.0-37-amd64"), ("cpus", 8), ("memory_bytes", 16 << 30),
                            ("booted_s", 1_700_000_000), ("cloud", "aws"), ("instance_type", "m5.large"),
                            ("labels", [{"key": "rack", "value": "r7"}]), ("cpu_share", 0.0004), ("programs", 14),
                            ("features", ["tcp", "dns"]), ("missing", ["no drops: this kernel has no reasons"]),
                            ("zone", "zone-1"), ("version", "test"), ("scan_period_s", 0.1), ("control_pending", False),
                            ("boot_id", node.boot_id.hex())):
            self.assertEqual(value, agent[name], name)
        self.assertEqual([{"address": "10.0.1.1", "port": 8080, "program": "server", "pid": 4242,
                           "workload": "shop/server", "backlog": 3, "backlog_max": 128, "drops": 17,
                           "netns": 5}], answer["listeners"])
        node.send()
        self.until(node.name, lambda one: one["state"] == "live" and one["lag_s"] < 3)
        self.assertGreaterEqual(self.states()["live"], 1)
        silent = self.until(node.name, lambda one: one["state"] == "silent")["agent"]
        self.assertGreaterEqual(silent["lag_s"], 3)
        self.assertIn("nothing came for", silent["reason"])
        self.assertGreaterEqual(self.states()["silent"], 1)
        self.assertEqual(self.daemon.metric("millrace_agents"), sum(self.states().values()))
        self.assertIn(node.name, [one["node"] for one in json.loads(self.daemon.get("/api/v1/agents?state=silent")[1])["agents"]])
        self.assertRegex(self.cli("--node", node.name), rf"\n{node.name} +zone-1 +silent +test +6\.1\.0-37-amd64 +0\.04 % +0\.50 %")
        self.assertRegex(self.cli("show", node.name), r"\n10\.0\.1\.1 +8080 +server +4242 +3 +128 +17 +5 +shop/server\n")

    def test_what_comes_late_is_behind(self):
        node = Teller(self.kafka, "late-1", "10.0.2.1")
        node.send(node.state)
        self.until(node.name, lambda one: one["state"] == "live")
        time.sleep(5)  # what comes then is later than what came

        def behind():
            node.send(age_s=4)
            return self.agent(node.name)["agent"]["state"] == "behind"
        self.assertTrue(millraced.until(behind, WITHIN_S), self.agent(node.name))
        self.assertIn("what comes is", self.agent(node.name)["agent"]["reason"])

    def test_a_failed_self_test_is_counted_while_it_is_new(self):
        node = Teller(self.kafka, "blind-1", "10.0.3.1")
        node.send(node.state)
        self.until(node.name, lambda one: one["self_tests"] == 7)
        node.failed = 1
        node.send(node.state)
        self.until(node.name, lambda one: one["self_test_failing"])
        node.send()
        self.until(node.name, lambda one: one["state"] == "degraded" and "self-test" in one["reason"])
        self.assertEqual(1, self.daemon.metric("millrace_agents_self_test_failing"))

    def test_a_control_record_is_pending_until_its_agent_says_that_it_applies_it(self):
        node, other = Teller(self.kafka, "told-1", "10.0.4.1"), Teller(self.kafka, "other-1", "10.0.4.2")
        node.send(node.facts, node.state)
        other.send(other.facts, other.state)
        made = json.loads(self.cli("set", "--node", "told-*", "--label", "rack=r7", "--scan-period", "5s", "--for", "10m",
                                   "-o", "json"))
        for one in (node, other):
            one.send()
        self.until(node.name, lambda one: one["control_pending"] and one["control_wanted"] == made["id"])
        self.assertEqual(("", False), tuple(self.agent(other.name)["agent"][name] for name in ("control_wanted",
                                                                                             "control_pending")))
        self.assertEqual(1, self.daemon.metric("millrace_agents_control_pending"))
        self.assertRegex(self.cli("--node", node.name), rf"{made['id']} pending")
        node.control_id = made["id"]
        node.send(node.state)
        self.until(node.name, lambda one: one["control_id"] == made["id"] and not one["control_pending"])
        self.cli("unset", made["id"])
        node.send()
        self.until(node.name, lambda one: one["control_pending"] and one["control_wanted"] == "")
        node.control_id, node.control_error = "", "a later one of its id is known"
        node.send(node.state)
        self.until(node.name, lambda one: one["control_error"] and not one["control_pending"])
        self.assertEqual(1, self.daemon.metric("millrace_agents_control_refused"))


if __name__ == "__main__":
    absent = kafka.missing() + [str(p) for p in (CLI, millraced.PROGRAM) if not p.exists()]
    if absent:
        print("skipped: needs " + ", ".join(absent))
        sys.exit(SKIPPED)
    unittest.main(verbosity=2)
