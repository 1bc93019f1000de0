#!/usr/bin/python3
"""What an event costs the core may not grow unseen: instructions and bytes, which repeat, not times, which do not.

The bounds are the measured figures (docs/benchmarks.md) and a few percent. Lower them when the core gets cheaper."""

import json
import shutil
import subprocess
import sys
import unittest

sys.path.insert(0, "tests/support")
import processes

INSTRUCTIONS_MAX = 1300  # of a small fleet
WIRE_BYTES_MAX = 16.2    # before compression


class Core(unittest.TestCase):
    @unittest.skipUnless(shutil.which("valgrind"), "valgrind counts the instructions")
    def test_an_event_costs_no_more_than_it_did(self):
        done = subprocess.run([processes.BUILD / "bin" / "bench-core", "--nodes", "16", "--seconds", "2", "--json"],
                              stdout=subprocess.PIPE, check=True, text=True)
        core = json.loads(done.stdout)
        self.assertTrue(core["bytes_exact"])
        self.assertEqual(core["joined_share"], 1)
        self.assertEqual([core[name] for name in ("lost", "late", "refused", "folded", "deadletters")], [0] * 5)
        self.assertEqual(core["instructions_by"], "callgrind")
        self.assertLessEqual(core["instructions_per_event"], INSTRUCTIONS_MAX)
        self.assertLessEqual(core["wire_bytes_per_event"], WIRE_BYTES_MAX)


if __name__ == "__main__":
    unittest.main()
