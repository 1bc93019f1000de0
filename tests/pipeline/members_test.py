#!/usr/bin/python3
"""tests/daemon/members_test.c with a real Kafka, which knows static members: a restart, fencing, leaving at once."""

import os
import pathlib
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import kafka
from processes import BUILD

WITHIN_S = 240


def main():
    if kafka.missing():
        sys.exit(77)
    with kafka.Kafka() as broker:
        ended = subprocess.run([BUILD / "tests" / "test-daemon-members"], timeout=WITHIN_S,
                               env={**os.environ, "MILLRACE_KAFKA": broker.address})
    sys.exit(ended.returncode)


if __name__ == "__main__":
    main()
