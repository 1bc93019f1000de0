#!/usr/bin/python3
"""The fixture of all pipeline tests is itself held to what they rely on."""

import os
import pathlib
import signal
import subprocess
import sys
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import kafka

TOPICS = kafka.ROOT / "deploy" / "kafka" / "topics"
GONE_WITHIN_S = 20


def exists(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def until(condition):
    deadline = time.monotonic() + GONE_WITHIN_S
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.05)
    return False


class Broker(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.kafka = kafka.Kafka()

    @classmethod
    def tearDownClass(cls):
        cls.kafka.stop()

    def test_every_topic_of_the_contract_is_there_with_its_partitions(self):
        listing = subprocess.run(["kcat", "-L", "-b", self.kafka.address], check=True,
                                 stdout=subprocess.PIPE, text=True).stdout
        for line in TOPICS.read_text().splitlines():
            if line and not line.startswith("#"):
                name, partitions = line.split()[:2]
                self.assertIn(f'topic "{name}" with {partitions} partitions', listing)

    def test_events_carry_the_time_of_the_log(self):
        before = time.time() * 1000
        self.kafka.produce("millrace.events", b"timed", key=b"node", partition=1)
        record = self.kafka.consume("millrace.events", partition=1)[-1]
        self.assertEqual("logappend", record["tstype"])
        self.assertGreaterEqual(record["ts"], int(before))
        self.assertLessEqual(record["ts"], time.time() * 1000)

    def test_a_misspelt_topic_is_not_made(self):
        with self.assertRaises(subprocess.CalledProcessError):
            self.kafka.produce("millrace.event", b"lost")

    def test_what_was_acknowledged_survives_sigkill_at_the_same_address(self):
        self.kafka.produce("millrace.deadletter", b"kept")
        address = self.kafka.address
        self.kafka.kill()
        self.kafka.restart()
        self.assertEqual(address, self.kafka.address)
        self.assertIn("kept", [record["payload"] for record in self.kafka.consume("millrace.deadletter")])

    def test_a_broker_and_its_folder_go_with_a_test_that_is_killed(self):
        self.check_that_it_goes("")

    def test_so_does_a_frozen_one(self):
        self.check_that_it_goes("k.freeze();")

    def check_that_it_goes(self, before):
        body = (f"import sys; sys.path.insert(0, sys.argv[1]); import kafka, time; k = kafka.Kafka();{before}"
                "print(k.pid, k.folder, flush=True); time.sleep(600)")
        test = subprocess.Popen(["/usr/bin/python3", "-c", body, str(kafka.ROOT / "tests" / "support")],
                                stdout=subprocess.PIPE, text=True)
        pid, folder = test.stdout.readline().split()
        self.assertTrue(exists(int(pid)))
        test.send_signal(signal.SIGKILL)
        test.wait()
        test.stdout.close()
        self.assertTrue(until(lambda: not exists(int(pid))), "the broker outlived its test")
        self.assertTrue(until(lambda: not os.path.exists(folder)), "its folder stayed")


if __name__ == "__main__":
    if kafka.missing():
        print("skipped: not installed:", *kafka.missing())
        sys.exit(77)
    unittest.main()
