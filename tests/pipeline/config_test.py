#!/usr/bin/python3
"""A wrong configuration is refused with file, line and reason, by exit status 2, before a port is open."""

import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import processes

ENDS_WITHIN_S = 20

# The lines that are wrong, the line number told (None: the reason concerns several lines), and words of the reason.
MILLRACED = [
    ("kafka:\n  broker: x\n", 3, "did you mean kafka.brokers"),
    ("pipeline:\n  lateness: soon\n", 3, "pipeline.lateness"),
    ("pipeline:\n  lateness: 11s\n", 3, "10s"),
    ("limits:\n  rows: -1\n", 3, "limits.rows"),
    ("limits:\n  rows: 1e99\n", 3, "limits.rows"),
    ("key: short\n", 2, "key"),
    ("monitors:\n  - name: a\n    metric: rtt\n    threshold: many\n", 5, "threshold"),
    ("monitors:\n  - name: a\n    threshold: 1\n", None, "metric"),
    ("monitors:\n  - name: a\n    kind: burnrate\n", 4, "burn_rate"),
    ("monitors:\n  - {name: a, kind: burn_rate}\n", None, "objective"),
    ("monitors:\n  - {name: a, kind: new_edge, client: !shop/*}\n", 3, ""),
    ("receivers:\n  - name: a\n    type: pager\n", 4, "pagerduty"),
    ("receivers:\n  - {name: a, type: webhook, url: \"https://a.example\", secret: whsec_short}\n", None, "24 to 64"),
    ("kafka: [\n", None, "YAML"),
    ("listen: 127.0.0.1:1\n", 2, "listen"),  # given twice
    ("monitors:\n  - {name: a, metric: speed, threshold: 1}\n", 3, "dns_latency, clients_new"),
    ("monitors:\n  - {name: a, metric: failure_ratio, threshold: 5}\n", None, "0 to 1"),
    ("rollups:\n  finest: 30s\n", 3, "250ms, 1s, 10s, 60s, 1h"),
    ("monitors:\n  - {name: a, metric: rtt, threshold: 1, window: 300ms}\n", None, "250ms"),
    ("receivers:\n  - {name: a, type: slack}\n", None, "url"),
    ("receivers:\n  - {name: a, type: slack, url: 'http://hooks.example/x'}\n", None, "allow_http"),
    ("receivers:\n  - {name: a, type: slack, url: 'file:///etc/passwd'}\n", None, "https:"),
    ("receivers:\n  - {name: a, type: pagerduty, routing_key: abc}\n", None, "32 characters"),
    ("tls:\n  certificate: /x\n", None, "tls"),
    ("kafka:\n  properties:\n    no.such: x\n", None, "no.such"),
    ("embedded:\n  listen: nowhere\n", None, "embedded.listen"),
]

AGENT = [
    ("kafka:\n  broker: x\n", 3, "did you mean kafka.brokers"),
    ("kafka:\n  spool: 1KiB\n", 3, "1MiB"),
    ("zones: a\n", 2, "did you mean zone"),
    ("kafka: [\n", None, "YAML"),
]


class Config(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory(prefix="millrace-config-")
        self.port = processes.free_port()
        self.file = pathlib.Path(self.folder.name) / "wrong.yaml"

    def tearDown(self):
        self.folder.cleanup()

    def run_program(self, program, text, more=()):
        """(status, stderr, whether its port was ever open)"""
        self.file.write_text(text)
        opened = threading.Event()
        ended = threading.Event()

        def knock():
            while not ended.is_set():
                with socket.socket() as client:
                    if client.connect_ex(("127.0.0.1", self.port)) == 0:
                        opened.set()
                time.sleep(0.002)
        knocking = threading.Thread(target=knock)
        knocking.start()
        try:
            done = subprocess.run([processes.BUILD / "bin" / program, "--config", self.file, *more],
                                  capture_output=True, text=True, timeout=ENDS_WITHIN_S)
        finally:
            ended.set()
            knocking.join()
        return done.returncode, done.stderr, opened.is_set()

    def refused(self, program, wrong):
        for lines, line, reason in wrong:
            with self.subTest(program=program, lines=lines):
                status, told, opened = self.run_program(program, f"listen: 127.0.0.1:{self.port}\n{lines}")
                self.assertEqual(2, status, told)
                self.assertFalse(opened)
                self.assertIn(str(self.file), told)
                if line:
                    self.assertIn(f"{self.file}:{line}:", told)
                self.assertIn(reason, told)

    def test_millraced_says_where_and_why(self):
        self.refused("millraced", MILLRACED)

    def test_the_agent_says_where_and_why(self):
        self.refused("millrace-agent", AGENT)

    def test_every_mistake_is_told_at_once(self):
        _, told, _ = self.run_program("millraced", "pipeline:\n  lateness: soon\nlimits:\n  rows: none\nsecrets: x\n")
        for line in (2, 4, 5):
            self.assertIn(f"{self.file}:{line}:", told)

    def test_a_secret_is_not_told(self):
        _, told, _ = self.run_program("millraced", "key: hunter2\n")
        self.assertIn("key", told)
        self.assertNotIn("hunter2", told)
        url = "http://hooks.example/services/T0/B0/hunter2"
        _, told, _ = self.run_program("millraced", f"receivers:\n  - {{name: a, type: slack, url: '{url}'}}\n")
        self.assertNotIn("hunter2", told)

    def test_flags_and_environment_are_held_to_the_same_rules(self):
        for program in ("millraced", "millrace-agent"):
            status, told, _ = self.run_program(program, "", ["--set", "kafka.brokerz=x"])
            self.assertEqual(2, status)
            self.assertIn("kafka.brokerz", told)
            status, told, _ = self.run_program(program, "", ["--chek-config"])
            self.assertEqual(2, status)
            self.assertIn("did you mean --check-config", told)
            status, told, _ = self.run_program(program, "", ["-s", "kafka.brokerz=x"])
            self.assertEqual(2, status)
            self.assertIn("kafka.brokerz", told)
        os.environ["MILLRACE_PIPELINE_LATENESS"] = "soon"
        try:
            status, told, _ = self.run_program("millraced", "")
        finally:
            del os.environ["MILLRACE_PIPELINE_LATENESS"]
        self.assertEqual(2, status)
        self.assertIn("MILLRACE_PIPELINE_LATENESS", told)

    def test_a_file_that_is_not_there_is_told(self):
        for program in ("millraced", "millrace-agent"):
            done = subprocess.run([processes.BUILD / "bin" / program, "--config", "/nonexistent.yaml"],
                                  capture_output=True, text=True, timeout=ENDS_WITHIN_S)
            self.assertEqual(2, done.returncode)
            self.assertIn("/nonexistent.yaml: cannot read", done.stderr)

    @unittest.skipIf(subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode, "may not unshare mounts")
    def test_the_usual_file_that_may_not_be_read_is_told(self):
        for program, name in (("millraced", "millraced.yaml"), ("millrace-agent", "agent.yaml")):
            path = f"/etc/millrace/{name}"
            hide = f"mount -t tmpfs none /etc && mkdir /etc/millrace && install -m 0 /dev/null {path}"
            done = subprocess.run(["unshare", "-m", "--propagation", "private", "sh", "-c", hide + ' && exec "$@"', "sh",
                                   "setpriv", "--bounding-set", "-dac_override,-dac_read_search",
                                   processes.BUILD / "bin" / program, "--check-config"],
                                  capture_output=True, text=True, timeout=ENDS_WITHIN_S)
            self.assertEqual(2, done.returncode, done)
            self.assertIn(f"{path}: cannot read", done.stderr)

    def test_the_defaults_that_it_prints_are_taken(self):
        for program in ("millraced", "millrace-agent"):
            defaults = subprocess.run([processes.BUILD / "bin" / program, "--print-defaults"],
                                      capture_output=True, text=True, check=True).stdout
            status, told, _ = self.run_program(program, defaults, ["--check-config"])
            self.assertEqual(0, status, told)


if __name__ == "__main__":
    unittest.main()
