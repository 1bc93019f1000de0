#!/usr/bin/python3
"""The demo does what it shows: the shop's connections are joined and counted as its generator made them, the fault's
alert comes, and nothing stays behind however it ends."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))

import processes

DEMO = processes.ROOT / "bench" / "demo"
PROGRAMS = [processes.BUILD / "bin" / name for name in ("millraced", "bench-shop")]
SECONDS = 40
GONE_WITHIN_S = 20
STARTED_WITHIN_S = 90


def check(condition, *words):
    if not condition:
        raise AssertionError(" ".join(map(str, words)))


def the_result_matches_the_truth():
    done = subprocess.run([DEMO, "--seconds", str(SECONDS)], capture_output=True, text=True, timeout=240)
    check(done.returncode == 0, done.returncode, done.stdout[-4000:], done.stderr[-2000:])
    result = json.loads(done.stdout.splitlines()[-1])
    print(result)
    check(result["batches_lost"] == 0, "batches were lost")
    check(result["failed"] == result["failed_truth"] > 0, "failed attempts differ")
    check(result["joined"] >= 0.99 * result["flows"], "flows without a peer")
    check(abs(result["flows"] - result["flows_truth"]) <= 0.01 * result["flows_truth"], "flows differ")
    check(abs(result["bytes"] - result["bytes_truth"]) <= 0.01 * result["bytes_truth"], "bytes differ")
    check(result["edges"] >= result["edges_truth"], "edges are missing")
    check(result["alerts"] >= 1 and result["messages_refused"] == 0, "alerts")
    # the contract is 2 s at p99; one trial on a machine that tests share is held to more
    check(0 < result["alert_latency_s"] <= 4, "the alert came late")


def children(pid):
    """The direct children, by pid and start time: pids are used again."""
    found = []
    for child in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        found.append((int(child), started(int(child))))
    return found


def started(pid):
    try:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else fields[19]


def until(condition, within_s):
    deadline = time.monotonic() + within_s
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.1)
    return condition()


def nothing_stays_behind(number):
    with tempfile.TemporaryDirectory(prefix="millrace-demo-test-") as folder:
        demo = subprocess.Popen([DEMO], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                env={**os.environ, "TMPDIR": folder})
        try:
            shop = lambda: any(path.name == "truth.json" for path in pathlib.Path(folder).rglob("*"))
            check(until(lambda: shop() and len(children(demo.pid)) >= 2, STARTED_WITHIN_S), "the demo did not start")
            alive = children(demo.pid)
            demo.send_signal(number)
            demo.wait(GONE_WITHIN_S)
        finally:
            if demo.poll() is None:
                demo.kill()
                demo.wait()
        check(until(lambda: all(started(pid) != since for pid, since in alive), GONE_WITHIN_S), "an orphan lives", alive)
        left = [path.name for path in pathlib.Path(folder).iterdir()]
        check(number == signal.SIGKILL or not left, "left behind:", left)


if __name__ == "__main__":
    absent = [str(path) for path in PROGRAMS if not path.exists()]
    if absent:
        print("skipped: not built:", *absent)
        sys.exit(77)
    the_result_matches_the_truth()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGKILL):
        nothing_stays_behind(number)
