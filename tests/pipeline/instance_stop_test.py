#!/usr/bin/python3
"""An instance among several that is asked, and stopped, at any moment: while Kafka is away, while it joins, in its run."""

import pathlib
import subprocess
import sys
import tempfile
import threading
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import kafka
import processes
from millraced import PROGRAM, Millraced, until

CONFIG = """  group: {name}
exchange: {{carrier: kafka, instance: {name}, session_timeout: 6s}}
snapshots: {{folder: "{folder}/{name}", period: 1s}}
"""
STOP_WITHIN_S = 12
MOMENTS_S = (0.2, 1, 3, 5)


class InstanceStop(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory(prefix="millrace-instance-stop-")
        cls.addClassCleanup(cls.folder.cleanup)

    def start(self, brokers, name):
        daemon = Millraced(brokers, CONFIG.format(name=name, folder=self.folder.name), under=self.folder.name)
        self.addCleanup(daemon.stop, check=False)
        assert until(lambda: daemon.get("/healthz")[0] == 200, 30), daemon.log()
        return daemon

    def stop(self, daemon):
        status, _ = daemon.terminate(STOP_WITHIN_S, check=False)
        self.assertEqual(0, status, daemon.log()[-6000:])

    def test_it_answers_and_stops_while_kafka_is_away(self):
        daemon = self.start(f"127.0.0.1:{processes.free_port()}", "away")
        self.assertEqual(0, daemon.metrics()["millrace_tasks_owned"])
        self.assertIn("millrace.exchange", daemon.get("/readyz")[1])
        self.stop(daemon)

    def test_it_answers_and_stops_at_any_moment(self):
        with kafka.Kafka() as broker:
            for moment_s in MOMENTS_S:
                daemon = self.start(broker.address, f"at{moment_s:g}")
                asker = threading.Thread(target=until, args=(lambda: daemon.get("/metrics")[0] != 200, 60))
                asker.start()
                time.sleep(moment_s)
                self.stop(daemon)
                asker.join()

    def test_of_one_name_one_process_uses_a_folder(self):
        brokers = f"127.0.0.1:{processes.free_port()}"
        first = self.start(brokers, "twin")
        config = CONFIG.format(name="twin", folder=self.folder.name)
        second = Millraced(brokers, config, under=self.folder.name)
        self.addCleanup(second.stop, check=False)
        self.assertEqual(1, second.child.wait(30))
        self.assertIn(f"snapshots.folder {self.folder.name}/twin is used by another millraced of the same name: give each its own "
                      "exchange.instance, or its own snapshots.folder", second.log())
        first.kill()
        second.start()
        self.assertTrue(until(lambda: second.get("/healthz")[0] == 200, 30), second.log())

    def test_an_embedded_broker_is_for_one_process_alone(self):
        config = pathlib.Path(self.folder.name, "embedded.yaml")
        config.write_text("listen: 127.0.0.1:0\nexchange: {carrier: kafka}\n")
        ended = subprocess.run([PROGRAM, "--embedded", "--config", config], stderr=subprocess.PIPE, text=True, timeout=30)
        self.assertEqual(1, ended.returncode)
        self.assertIn("with --embedded exchange.carrier must be memory", ended.stderr)


if __name__ == "__main__":
    if kafka.missing():
        sys.exit(77)
    unittest.main()
