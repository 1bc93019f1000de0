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
import signal
import subprocess
import tempfile
import time

import processes

ROOT = pathlib.Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "deploy" / "kafka" / "kafka.sh"

# A start takes 4 s on an idle 2-core machine; a first start also fetches 44 MB.
READY_WITHIN_S = 300
ASK_EVERY_S = 0.05
KCAT_WITHIN_S = 60
TOOL_WITHIN_S = 120


def missing():
    """The programs that this fixture needs and that are not installed (a test exits 77 then)."""
    return [program for program in ("java", "kcat") if shutil.which(program) is None]


class Kafka:
    def __init__(self, properties=None, format_arguments=(), jvm_options=(), folder=None):
        """properties: lines added to server.properties ({} or {"name": "value"}); a name given replaces the line, or
        extends it when its value begins with "+".
        format_arguments: for StorageTool format, e.g. --add-scram. jvm_options: e.g. -D...
        folder: one set up before, which is somebody else's to delete."""
        self.lent = folder is not None
        self.folder = folder or pathlib.Path(tempfile.mkdtemp(prefix="millrace-kafka-"))
        self.format_arguments = list(format_arguments)
        self.jvm_options = list(jvm_options)
        self.process = None
        self.address = None
        atexit.register(self.stop)
        if self.lent:
            return
        subprocess.run([SCRIPT, "setup", self.folder, "0"], check=True)
        if properties:
            self.change(properties)
        self.restart()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def put(self, topic, key, value):
        """One record; value None is a tombstone."""
        words = ["kcat", "-q", "-P", "-b", self.address, "-t", topic]
        if value is None:
            subprocess.run([*words, "-K", "\t", "-Z"], input=key.encode() + b"\t\n", check=True, timeout=READY_WITHIN_S)
            return
        with tempfile.NamedTemporaryFile(prefix="millrace-record-") as file:
            file.write(value)
            file.flush()
            subprocess.run([*words, "-k", key, file.name], check=True, timeout=READY_WITHIN_S)

    def change(self, properties):
        path = self.folder / "server.properties"
        lines = path.read_text().splitlines()
        present = dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
        kept = [line for line in lines if line.split("=")[0] not in properties]
        added = [f"{name}={present[name] + value[1:] if str(value)[0] == '+' else value}"
                 for name, value in properties.items()]
        path.write_text("\n".join(kept + added) + "\n")

    def restart(self):
        """Start on the data that is there; returns when the broker answers and all topics exist."""
        self.launch()
        deadline = time.monotonic() + READY_WITHIN_S
        while not self.ready():
            if not self.alive() or time.monotonic() > deadline:
                raise RuntimeError(f"the broker did not start:\n{self.log()[-4000:]}")
            time.sleep(ASK_EVERY_S)

    def launch(self):
        """The first half of restart(); ready() tells when the other is done."""
        assert not self.alive(), "it runs: kill() it first"
        options = ["-Dmillrace.lifeline=true", *self.jvm_options]
        if not self.lent:
            options.append(f"-Dmillrace.scratch={self.folder}")
        (self.folder / "ready").unlink(missing_ok=True)
        with open(self.folder / "broker.log", "ab") as log:
            self.process = subprocess.Popen(
                [SCRIPT, "run", self.folder, *self.format_arguments],
                stdin=subprocess.PIPE, stdout=log, stderr=log,
                preexec_fn=processes.wake_with_parent, env={**os.environ, "KAFKA_OPTS": " ".join(options)})

    def ready(self):
        ready = self.folder / "ready"
        if not (self.alive() and ready.exists() and ready.read_text().endswith("\n")):
            return False
        self.address = ready.read_text().strip()
        return True

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

    def freeze(self):
        """It stands, and its connections stay open."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self):
        self.process.send_signal(signal.SIGCONT)

    def stop(self):
        if self.process and not self.process.stdin.closed:
            self.kill()
        if not self.lent:
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

    def tool(self, name, *words):
        """One of Kafka's own tools, org.apache.kafka.tools.<name> or a class by its whole name, to its end."""
        if "." not in name:
            name = f"org.apache.kafka.tools.{name}"
        class_path = subprocess.run([SCRIPT, "jars"], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
        subprocess.run(["java", "-XX:TieredStopAtLevel=1", "-cp", class_path, name, "--bootstrap-server", self.address,
                        *map(str, words)], check=True, timeout=TOOL_WITHIN_S, stdout=subprocess.DEVNULL)

    def consume(self, topic, partition=None, offset="beginning"):
        """All records up to the end: [{partition, offset, tstype, ts, key, payload}, ...], bytes as text."""
        words = ["kcat", "-q", "-C", "-e", "-J", "-b", self.address, "-t", topic, "-o", str(offset)]
        if partition is not None:
            words += ["-p", str(partition)]
        out = subprocess.run(words, check=True, timeout=KCAT_WITHIN_S, stdout=subprocess.PIPE).stdout
        return [json.loads(line) for line in out.splitlines()]
