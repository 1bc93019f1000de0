#!/usr/bin/python3
"""A simulated fleet with two faults behind a real Kafka, and millraced with a monitor: a backtest of that monitor over
the same time finds the incidents that millrace.alerts has, the same to the value, whether it reads the log from its
beginning or from shortly before, and again each time; a stricter one finds fewer, a looser one more; and what the log
does not hold is said."""

import json
import pathlib
import re
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import fleet
import kafka
import processes
import records
from millraced import PROGRAM, Millraced

CLI = processes.BUILD / "bin" / "millrace"
SECRET = "0123456789abcdef the deployment's"
SECONDS = 190
# Twice of a server that is called eleven times a second, and between of one that is called four times.
FAULTS = ("refuse,server=14,from=8,to=14", "refuse,server=13,from=60,to=66", "refuse,server=14,from=165,to=172")
SERVERS = ["team-13/svc-00013", "team-14/svc-00014"]
THRESHOLD = 17  # in two seconds: well above what the one has, eight or so, and below the other's twenty-two
SECOND_S = 155  # from here on only the last; what is read before it begins behind the first
SETTLE_S = 10  # of the monitor's quiet, and until what follows it closes its panes
WITHIN_S = 120
CONFIG = f"""key: "{SECRET}"
pipeline: {{keep: 10s}}
baselines: {{enabled: false}}
incidents: {{reopen_within: 0s}}
monitors:
  - {{name: failed, metric: connections_failed, threshold: {THRESHOLD}, window: 2s, clear_after: 2s, per: server, severity: error}}
"""
OTHER = ("name: other\nmetric: connections_failed\nthreshold: {}\nwindow: 2s\nclear_after: 2s\nper: server\n"
         "severity: error\n")


def ns(seconds):
    return int(seconds * 1e9)


class Backtest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory(prefix="millrace-backtest-")
        cls.addClassCleanup(folder.cleanup)
        cls.broker = kafka.Kafka()
        cls.addClassCleanup(cls.broker.stop)
        feed = fleet.Feed(folder.name, nodes=8, flows=200, edges=40, rate=2000, seconds=SECONDS, key=SECRET,
                          fault=list(FAULTS))
        cls.daemon = Millraced(cls.broker.address, CONFIG)
        cls.addClassCleanup(cls.daemon.stop)
        cls.daemon.wait_ready()
        cls.began = time.time()
        sender = feed.start(cls.broker.address)
        sender.stdout.readline()
        assert processes.end(sender, within_s=60) == 0
        cls.ended = time.time()
        time.sleep(SETTLE_S)
        cls.told = cls.incidents_told()

    @classmethod
    def incidents_told(cls):
        """By key [first transition, newest one]."""
        found = {}
        for alert in records.read(cls.broker.address, "millrace.alerts"):
            found.setdefault(alert.key, [alert, alert])[1] = alert
        return found

    @classmethod
    def run_cli(cls, *words, status=0, given=None):
        done = subprocess.run([CLI, "-s", f"http://{cls.daemon.api}", *map(str, words)], capture_output=True, text=True,
                              timeout=WITHIN_S, input=given)
        assert done.returncode == status, (words, done.returncode, done.stdout, done.stderr)
        return done

    def backtest(self, *words, begin=None, end=None, status=0, given=None):
        return self.run_cli("backtest", *words, "-o", "json", "--config", self.daemon.config, "--from",
                            ns(begin or self.began), "--to", ns(end or self.ended), status=status, given=given)

    @staticmethod
    def seen(incident):
        """What is compared, of an incident of a backtest."""
        alert = incident["alert"]
        return (alert["key"], alert["monitor"], alert["severity"], alert["client"], alert["server"], alert["port"],
                alert["started_ns"], alert["ended_ns"], alert["state"], alert["metric"], alert["window_ms"],
                incident["value"], alert["threshold"], alert["summary"], alert["sequence"],
                [(suspect["kind"], suspect["name"]) for suspect in alert["suspects"]])

    @staticmethod
    def seen_told(first, newest):
        """The same of what millrace.alerts has."""
        names = records.module("alerts")
        return (newest.key, newest.monitor, names.Severity.Name(newest.severity)[len("SEVERITY_"):].lower(),
                newest.client, newest.server, newest.port, newest.started_ns, newest.ended_ns,
                names.AlertState.Name(newest.state)[len("ALERT_STATE_"):].lower(), newest.metric, newest.window_ms,
                first.value, newest.threshold, newest.summary, newest.sequence,
                [(suspect.kind, suspect.name) for suspect in newest.suspects])

    def all_told(self, begin=0):
        return sorted(self.seen_told(*pair) for pair in self.told.values() if pair[1].ended_ns > ns(begin))

    def found(self, done):
        return sorted(self.seen(incident) for incident in json.loads(done.stdout)["incidents"])

    def test_1_it_finds_what_was_told(self):
        done = self.backtest("failed")
        self.assertEqual([SERVERS[1]] * 2, [row[4] for row in self.all_told()])
        self.assertEqual(self.all_told(), self.found(done))
        answer = json.loads(done.stdout)
        summary = answer["summary"]
        self.assertEqual((len(self.told),) * 3, (summary["incidents"], summary["overlapping"], summary["told"]))
        self.assertEqual((0, 0), (summary["firing"], summary["left_out"]))
        self.assertEqual((ns(self.began), ns(self.ended)), (answer["from_ns"], answer["to_ns"]))
        for incident in answer["incidents"]:
            self.assertEqual([incident["alert"]["key"]], [told["key"] for told in incident["told"]])
            self.assertFalse(incident["began_before"])

    def test_2_it_says_the_same_each_time_whatever_runs_it(self):
        texts = {self.backtest("failed", "--set", f"pipeline.workers={workers}").stdout for workers in (1, 2, 4, 2)}
        self.assertEqual(1, len(texts))

    def test_3_it_finds_the_same_where_it_reads_from_shortly_before(self):
        begin = self.began + SECOND_S
        done = self.backtest("failed", begin=begin)
        answer = json.loads(done.stdout)
        self.assertGreater(answer["read_from_ns"], ns(self.began))
        self.assertLess(answer["records"], json.loads(self.backtest("failed").stdout)["records"])
        self.assertIn("reading millrace.events from", done.stderr)
        self.assertEqual(self.all_told(begin), self.found(done))
        self.assertTrue(0 < len(self.found(done)) < len(self.told))

    def test_4_a_stricter_one_finds_fewer_and_a_looser_one_more(self):
        counts = [len(self.found(self.backtest("-f", "-", given=OTHER.format(threshold))))
                  for threshold in (10**6, THRESHOLD, 3)]
        self.assertEqual([0, len(self.told)], counts[:2])
        self.assertGreater(counts[2], counts[1])
        both = "monitors:\n" + "".join(f"  - {{name: m{n}, metric: connections_failed, threshold: 3, window: 2s, "
                                       f"clear_after: 2s, per: server, server: '{server}'}}\n"
                                       for n, server in enumerate(SERVERS))
        found = {(row[1], row[4]) for row in self.found(self.backtest("-f", "-", given=both))}
        self.assertEqual({("m0", SERVERS[0]), ("m1", SERVERS[1])}, found)

    def test_5_one_that_was_put_in_force_since_is_known_by_its_name(self):
        self.run_cli("monitors", "apply", "-f", "-", given=OTHER.format(THRESHOLD))
        rows = [row[2:14] for row in self.found(self.backtest("other"))]
        self.assertEqual(sorted(row[2:13] for row in self.all_told()), sorted(row[:11] for row in rows))
        table = self.run_cli("backtest", "other", "--config", self.daemon.config, "--from", ns(self.began), "--to",
                             ns(self.ended)).stdout
        self.assertRegex(table, rf"\n{len(self.told)} incidents from ")
        self.run_cli("monitors", "delete", "other")
        self.assertIn("no monitor of the name other", self.backtest("other", status=1).stderr)

    def test_6_what_it_cannot_say_it_says(self):
        done = self.backtest("failed", end=time.time() + 3600)
        self.assertRegex(done.stderr, r"millrace.events ends at \S+Z: what follows is up to then")
        self.assertEqual(self.all_told(), self.found(done))
        later = time.time() + 1800
        self.assertIn("holds nothing of that time", self.backtest("failed", begin=later, end=later + 60, status=1).stderr)
        done = self.backtest("failed", "--set", "key=another key of another deployment", status=1)
        self.assertRegex(done.stderr, r"(\d+) of \1 records were not read: unauthenticated; the keys")
        done = self.backtest("failed", "--set", "pipeline.tasks=4", status=1)
        self.assertIn("make them equal", done.stderr)
        done = self.backtest("failed", "--set", "kafka.brokers=127.0.0.1:1", status=3)
        self.assertIn("millraced: Kafka does not give millrace.alerts", done.stderr)
        done = self.backtest("-f", "-", given="name: a\nmetric: speed\nthreshold: 1\n", status=2)
        self.assertIn("stdin:2", done.stderr)
        self.assertIn("cannot be read: No such file", self.backtest("-f", "/nowhere.yaml", status=1).stderr)

    def test_6_each_kind_looks_back_as_long_as_it_must(self):
        begin = self.began + SECOND_S
        quiet = "name: quiet\nkind: baseline\nsilent: true\n"
        self.assertIn("quiet is left out", self.backtest("-f", "-", given=quiet, status=2).stderr)
        for words, back_s in (("kind: new_edge\nlearn: 20m\n", 1200 + 300), ("kind: new_edge\nlearn: 0s\n", 300),
                              ("kind: absence\nabsent_for: 10s\n", 2 * 10 + 3600 + 5),
                              ("kind: burn_rate\nobjective: 0.99\nserver: nobody\n", 73 * 3600 + 5)):
            answer = json.loads(self.backtest("-f", "-", begin=begin, given=f"name: other\n{words}").stdout)
            # pipeline.keep, and what is known of clients at least
            self.assertEqual(ns(begin) - ns(10 + 120 + back_s), answer["read_from_ns"], words)
            self.assertEqual("learn: 0s" in words, bool(answer["incidents"]), words)

    def test_7_it_writes_nothing(self):
        topics = [line.split()[0] for line in (processes.ROOT / "deploy/kafka/topics").read_text().splitlines()
                  if line and line[0] != "#"]
        quiet = [topic for topic in topics  # what the daemon writes by itself
                 if topic not in ("millrace.events", "millrace.metadata", "millrace.rollups", "millrace.flows")]
        before = {topic: records.ends(self.broker.address, topic) for topic in quiet}
        self.backtest("failed")
        self.assertEqual(before, {topic: records.ends(self.broker.address, topic) for topic in quiet})

    def test_8_it_ends_when_nobody_waits_for_it(self):
        words = [PROGRAM, "--config", self.daemon.config, "--backtest", "failed", "--from", ns(self.began), "--to",
                 ns(self.ended)]
        with subprocess.Popen([str(word) for word in words], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
            child.stdout.close()
            said = child.stderr.read().decode()
        self.assertEqual(1, child.returncode)
        self.assertIn("nobody reads the answer", said)

    def test_9_where_retention_took_the_beginning_it_tells_from_when_on(self):
        cut_ns = ns(self.began + 90)
        words = ["kcat", "-q", "-Q", "-b", self.broker.address]
        for partition in records.ends(self.broker.address, "millrace.events"):
            words += ["-t", f"millrace.events:{partition}:{cut_ns // 10**6}"]
        found = subprocess.run(words, check=True, timeout=WITHIN_S, capture_output=True, text=True).stdout
        partitions = [{"topic": "millrace.events", "partition": int(partition), "offset": int(offset)}
                      for partition, offset in re.findall(r"\[(\d+)\] offset (\d+)", found)]
        with tempfile.NamedTemporaryFile("w") as file:
            json.dump({"version": 1, "partitions": partitions}, file)
            file.flush()
            self.broker.tool("DeleteRecordsCommand", "--offset-json-file", file.name)
        done = self.backtest("failed")
        self.assertRegex(done.stderr, r"millrace.events begins at \S+Z: what follows is of \S+Z on, not of --from")
        answer = json.loads(done.stdout)
        self.assertAlmostEqual(cut_ns + ns(10), answer["from_ns"], delta=ns(1))
        self.assertEqual(self.all_told(self.began + 100), self.found(done))
        done = self.backtest("failed", end=self.began + 60, status=1)
        self.assertIn("nothing can be said", done.stderr)


if __name__ == "__main__":
    if kafka.missing():
        print("not installed:", *kafka.missing(), file=sys.stderr)
        sys.exit(77)
    unittest.main()
