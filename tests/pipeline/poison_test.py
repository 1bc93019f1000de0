#!/usr/bin/python3
"""A record that ends millraced, or makes a worker hang, does so three times; then it is passed over: a dead letter
tells of it, the next life reads on behind it, and so does every later one.

No record is known to do this, so the library that checks signatures is given a fault: it ends, or never comes back, when
it is handed the bytes of one node."""

import os
import pathlib
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import kafka
import nodes
import records
from millraced import Millraced, until

SECRET = b"0123456789abcdef0123456789abcdef"
VICTIM = "node-poison"
CRASHES = 3  # daemon/culprit.h
ENDS_WITHIN_S = 60
READ_WITHIN_S = 30

FAULT = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

unsigned char *HMAC(const void *md, const void *key, int key_len, const unsigned char *bytes, size_t length,
		    unsigned char *mac, unsigned *mac_length)
{
	static unsigned char *(*next)(const void *, const void *, int, const unsigned char *, size_t, unsigned char *,
				      unsigned *);

	if (!next)
		next = dlsym(RTLD_NEXT, "HMAC");
	if (memmem(bytes, length, "node-poison", 11)) {
		if (!getenv("HANGS"))
			abort();
		for (;;)
			pause();
	}
	return next(md, key, key_len, bytes, length, mac, mac_length);
}
"""

CONFIG = """key: "{key}"
pipeline: {{workers: 2, hang_after: 1s}}
snapshots: {{folder: "{folder}", period: 1s}}
"""


class Poison(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory(prefix="millrace-poison-")
        self.addCleanup(self.folder.cleanup)
        self.fault = pathlib.Path(self.folder.name, "fault.so")
        source = self.fault.with_suffix(".c")
        source.write_text(FAULT)
        subprocess.run(["cc", "-shared", "-fPIC", "-o", self.fault, source, "-ldl"], check=True)
        self.kafka = kafka.Kafka()
        self.addCleanup(self.kafka.stop)

    def daemon(self, **environment):
        environment = {**os.environ, "LD_PRELOAD": str(self.fault), "ASAN_OPTIONS": "verify_asan_link_order=0",
                       **environment}
        config = CONFIG.format(key=SECRET.decode(), folder=pathlib.Path(self.folder.name, "snapshots"))
        return Millraced(self.kafka.address, config, environment)

    def talk(self, daemon, pair):
        """Whether all that the pair's nodes told was read."""
        before = daemon.metric("millrace_events_received_total")
        sent = pair.events
        pair.talk(self.kafka)
        wanted = before + pair.events - sent
        return daemon.wait_metric("millrace_events_received_total", wanted, READ_WITHIN_S) >= wanted

    def lives(self, daemon):
        """Started anew whenever it ends, as by a supervisor; how often it ended, and how."""
        ends = []
        while len(ends) <= CRASHES:
            deadline = time.monotonic() + ENDS_WITHIN_S
            while daemon.alive() and time.monotonic() < deadline:
                if daemon.metric('millrace_deadletters_total{reason="crashed"}'):
                    return ends
                time.sleep(0.05)
            self.assertFalse(daemon.alive(), daemon.log()[-3000:])
            ends.append(daemon.child.wait())
            daemon.start()
        return ends

    def run_with(self, **environment):
        pair = nodes.Pair(SECRET)
        with self.daemon(**environment) as daemon:
            daemon.wait_ready()
            self.assertTrue(self.talk(daemon, pair))
            poison = nodes.Node(VICTIM, "192.0.2.9", "bad").batch(lambda batch: None, 0)
            value = nodes.sealed(poison.SerializeToString(), SECRET, VICTIM)
            self.assertTrue(nodes.produce(self.kafka, VICTIM, [value]))
            self.assertEqual(self.lives(daemon), [-6] * CRASHES, daemon.log()[-3000:])
            self.assertIn("it goes to millrace.deadletter and is passed over from now on", daemon.log())
            self.assertEqual(daemon.metric("millrace_records_passed_over"), 1)
            daemon.wait_ready()
            self.assertTrue(self.talk(daemon, pair), "what comes after it is not read")
            daemon.kill()  # its list outlives it, and what comes before the snapshot is read again
            daemon.start()
            daemon.wait_ready()
            self.assertTrue(self.talk(daemon, pair))
            letters = [letter for letter in records.read(self.kafka.address, "millrace.deadletter")
                       if letter.reason == "crashed"]
            self.assertEqual({(letter.partition, letter.size, letter.head) for letter in letters},
                             {(nodes.partition_of(VICTIM), len(value), value)})
            return daemon.log()

    def test_a_record_that_ends_the_process_is_passed_over_after_three_lives(self):
        self.run_with()

    def test_a_record_at_which_a_worker_hangs_is_passed_over_after_three_lives(self):
        log = self.run_with(HANGS="1")
        self.assertEqual(log.count("does not get on for 1.0 s"), CRASHES, log[-3000:])


if __name__ == "__main__":
    if kafka.missing():
        sys.exit(77)
    unittest.main(verbosity=2)
