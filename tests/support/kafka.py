"""A real Kafka broker for one test: its own folder, its own free ports, Millrace's topics.

    with Kafka() as kafka:
        kafka.produce("millrace.events", b"value", key=b"node-1", partition=3)
        kafka.kill()      # SIGKILL, as when the machine loses power
        kafka.restart()   # same data, same address
        records = kafka.consume("millrace.events")

The broker reads a pipe that this process holds and ends when the pipe closes, so it goes away with the test however
that one dies (assertion, SIGKILL by ctest's time limit), and takes its folder along. Run tests with /usr/bin/python3.
One thread. `./dev deps test` installs what is needed; missing() says what is not there.
"""

import atexit
import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "deploy" / "kafka" / "kafka.sh"

# A start takes 4 s on an idle 2-core machine; a first start also fetches 44 MB.
READY_WITHIN_S = 300
ASK_EVERY_S = 0.05
KCAT_WITHIN_S = 60


def missing():
    """The programs that this fixture needs and that are not installed (a test exits 77 then)."""
    return [program for program in ("java", "kcat") if shutil.which(program) is None]


class Kafka:
    def __init__(self, properties=None, format_arguments=(), jvm_options=()):
        """properties: lines added to server.properties ({} or {"name": "value"}); a name given replaces the line.
        format_arguments: for StorageTool format, e.g. --add-scram. jvm_options: e.g. -D..."""
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="millrace-kafka-"))
        self.format_arguments = list(format_arguments)
        self.jvm_options = list(jvm_options)
        self.process = None
        self.address = None
        atexit.register(self.stop)
        subprocess.run([SCRIPT, "setup", self.folder, "0"], check=True)
        if properties:
            self._change(properties)
        self.restart()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def _change(self, properties):
        path = self.folder / "server.properties"
        kept = [line for line in path.read_text().splitlines() if line.split("=")[0] not in properties]
        added = [f"{name}={value}" for name, value in properties.items()]
        path.write_text("\n".join(kept + added) + "\n")

    def restart(self):
        """Start on the data that is there; returns when the broker answers and all topics exist."""
        assert not self.alive(), "it runs: kill() it first"
        options = ["-Dmillrace.lifeline=true", f"-Dmillrace.scratch={self.folder}", *self.jvm_options]
        ready = self.folder / "ready"
        ready.unlink(missing_ok=True)
        with open(self.folder / "broker.log", "ab") as log:
            self.process = subprocess.Popen(
                [SCRIPT, "run", self.folder, *self.format_arguments],
                stdin=subprocess.PIPE, stdout=log, stderr=log,
                env={**os.environ, "KAFKA_OPTS": " ".join(options)})
        deadline = time.monotonic() + READY_WITHIN_S
        while not (ready.exists() and ready.read_text().endswith("\n")):
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the broker did not start:\n{self.log()[-4000:]}")
            time.sleep(ASK_EVERY_S)
        self.address = ready.read_text().strip()

    def alive(self):
        return self.process is not None and self.process.poll() is None

    @property
    def pid(self):
        return self.process.pid

    def log(self):
        return (self.folder / "broker.log").read_text(errors="replace")

    def kill(self):
        """SIGKILL; the data stay."""
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()

    def stop(self):
        if self.alive():
            self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)
        atexit.unregister(self.stop)

    def produce(self, topic, value, key=None, partition=None, codec="none"):
        """One record, value and key as bytes without newline or tab; any bytes: use a client library."""
        # every topic exists from the start, so an unknown one need not be waited for
        words = ["kcat", "-q", "-P", "-X", "topic.metadata.propagation.max.ms=1000", "-b", self.address, "-t", topic,
                 "-z", codec]
        if partition is not None:
            words += ["-p", str(partition)]
        line = value
        if key is not None:
            words += ["-K", "\t"]
            line = key + b"\t" + value
        subprocess.run(words, input=line, check=True, timeout=KCAT_WITHIN_S)

    def consume(self, topic, partition=None, offset="beginning"):
        """All records up to the end: [{partition, offset, tstype, ts, key, payload}, ...], bytes as text."""
        words = ["kcat", "-q", "-C", "-e", "-J", "-b", self.address, "-t", topic, "-o", str(offset)]
        if partition is not None:
            words += ["-p", str(partition)]
        out = subprocess.run(words, check=True, timeout=KCAT_WITHIN_S, stdout=subprocess.PIPE).stdout
        return [json.loads(line) for line in out.splitlines()]
