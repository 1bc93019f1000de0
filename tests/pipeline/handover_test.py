#!/usr/bin/python3
"""Who notifies changes hands while a receiver takes its time with a message: it is ended and written down first, so each
message is sent once; also where the one that had it gets no task any more. One that stood still has not heard that it was
replaced, and sends nothing all the same."""

import pathlib
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import kafka
import processes
from millraced import Millraced, until
from outbox import Outbox, episode_key
from outbox import receiver as line
from receiver import Receiver

CONFIG = """  group: shared
pipeline: {{workers: 1}}
snapshots: {{folder: "{folder}", period: 1s}}
exchange: {{carrier: kafka, instance: "{name}", session_timeout: 6s}}
notify: {{allow_http: true, allow_private: true}}
receivers:
"""
TASKS = 16
SHARED_WITHIN_S = 60
DELAY_S = 4
NEXT_WITHIN_S = 40


class Handover(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory(prefix="millrace-handover-")
        cls.addClassCleanup(cls.folder.cleanup)
        cls.broker = kafka.Kafka()
        cls.addClassCleanup(cls.broker.stop)

    def setUp(self):
        self.receiver = Receiver()
        self.addCleanup(self.receiver.stop)
        self.outbox = Outbox(self.broker.address)
        self.running = []

    def start(self, name):
        daemon = Millraced(self.broker.address, CONFIG.format(folder=f"{self.folder.name}/snapshots", name=name) +
                           line("pager", "pagerduty", self.receiver.pagerduty_url), under=self.folder.name)
        self.addCleanup(daemon.stop, check=False)
        self.running.append(daemon)
        return daemon

    def wait_shared(self):
        def shared():
            counts = [daemon.metric("millrace_tasks_owned") if daemon.ready() else 0 for daemon in self.running]
            return sum(counts) == TASKS and all(counts)
        self.assertTrue(until(shared, SHARED_WITHIN_S), "".join(daemon.log()[-3000:] for daemon in self.running))

    def fire(self, number):
        """A message is under way from now on, for some seconds."""
        self.receiver.delay_s = DELAY_S
        key = episode_key((self.id(), number))
        self.outbox.fire(key)
        self.outbox.flush()
        self.assertIsNotNone(self.receiver.wait_for(self.of(key), 20))
        self.receiver.delay_s = 0
        return key

    @staticmethod
    def of(key, action="trigger"):
        return lambda message: message["body"]["dedup_key"] == key and message["body"]["event_action"] == action

    def assert_each_once(self, *keys):
        """And the one who notifies now has read all that: it tells what comes after."""
        for key in keys:
            self.outbox.resolve(key)
        self.outbox.flush()
        for key in keys:
            self.assertIsNotNone(self.receiver.wait_for(self.of(key, "resolve"), NEXT_WITHIN_S), self.running[-1].log()[-3000:])
            told = [message["body"]["event_action"] for message in self.receiver.messages if message["body"]["dedup_key"] == key]
            self.assertEqual(["trigger", "resolve"], told)

    def test_one_that_is_stopped_ends_its_messages_first(self):
        first = self.start("a")  # which has task 0: the group gives them in the order of names
        self.wait_shared()
        self.start("b")
        self.wait_shared()
        key = self.fire(1)
        self.running.remove(first)
        status, took_s = first.terminate(DELAY_S + 12, check=False)
        self.assertEqual(0, status, first.log()[-3000:])
        self.wait_shared()
        self.assert_each_once(key)

    def test_one_whose_tasks_are_wanted_ends_its_messages_first(self):
        self.start("b")
        self.wait_shared()
        key = self.fire(1)
        self.start("a")
        self.wait_shared()
        self.assert_each_once(key)

    def test_one_that_stood_still_does_not_open_again_what_is_closed(self):
        first = self.start("a")
        self.wait_shared()
        self.start("b")
        self.wait_shared()
        self.receiver.failures = [502] * 1000  # it may have been taken, so it needs no word to be sent again
        key = episode_key((self.id(), 1))
        self.outbox.fire(key)
        self.outbox.flush()
        self.assertTrue(until(lambda: len(self.receiver.failures) < 998, 30))  # and it will try again
        first.stand()
        self.receiver.failures = []
        self.assertIsNotNone(self.receiver.wait_for(self.of(key), NEXT_WITHIN_S), self.running[-1].log()[-3000:])
        self.assert_each_once(key)
        first.go_on()
        self.wait_shared()
        self.assertIn("it stood still for", first.log())
        self.assert_each_once(key, self.fire(2))

    def test_one_alone_that_is_started_again_sends_nothing_twice(self):
        first = self.start("a")
        self.wait_shared()
        key = self.fire(1)
        first.terminate(DELAY_S + 12, check=False)
        first.start()
        self.wait_shared()
        self.assert_each_once(key)


if __name__ == "__main__":
    if kafka.missing():
        sys.exit(77)
    unittest.main()
