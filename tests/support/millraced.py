"""One millraced for one test, on a port and in a folder of its own; it ends with the test.

    with Millraced(kafka.address, "monitors: ...") as daemon:
        daemon.wait_ready(); daemon.metric("millrace_records_total"); daemon.get("/readyz")
"""

import pathlib
import shutil
import signal
import tempfile
import time
import urllib.error
import urllib.request

import ledger
import processes

PROGRAM = processes.BUILD / "bin" / "millraced"
ASK_EVERY_S = 0.05
READY_WITHIN_S = 60  # a sanitizer's build on a busy machine; an idle one takes under 2 s


def until(condition, within_s):
    """Whatever true value condition() gives in time, else its last value."""
    deadline = time.monotonic() + within_s
    while True:
        value = condition()
        if value or time.monotonic() > deadline:
            return value
        time.sleep(ASK_EVERY_S)


class Millraced:
    def __init__(self, brokers, more="", environment=None, under=None):
        """more: lines of its configuration behind the address of the brokers. under: the folder that its own is made in."""
        self.environment = environment
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="millrace-daemon-", dir=under))
        self.api = f"127.0.0.1:{processes.free_port()}"
        self.config = self.folder / "millraced.yaml"
        self.config.write_text(f'listen: {self.api}\nkafka:\n  brokers: ["{brokers}"]\n{more}')
        self.start()

    def start(self):
        """Again, with the same configuration, after it has ended."""
        with open(self.folder / "log", "ab") as log:
            self.child = processes.start([PROGRAM, "--config", self.config], stdout=log, stderr=log,
                                         env=self.environment)

    def kill(self):
        """SIGKILL: it has no moment to put anything in order."""
        self.child.kill()
        self.child.wait()

    def stand(self):
        """As a machine without time for it; go_on() ends that."""
        self.child.send_signal(signal.SIGSTOP)

    def go_on(self):
        self.child.send_signal(signal.SIGCONT)

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        self.stop(check=kind is None)

    def log(self):
        return (self.folder / "log").read_text(errors="replace")

    def alive(self):
        return self.child.poll() is None

    def get(self, path):
        """(status, text); status 0 when nobody answers."""
        try:
            with urllib.request.urlopen(f"http://{self.api}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError as error:
            return 0, str(error)

    def ready(self):
        return self.get("/readyz")[0] == 200

    def wait_ready(self, within_s=READY_WITHIN_S):
        if not until(lambda: self.ready() or not self.alive(), within_s) or not self.alive():
            raise AssertionError(f"not ready: {self.get('/readyz')}\n{self.log()[-4000:]}")

    def metrics(self):
        """{"name{labels}": value}."""
        return ledger.numbers(self.get("/metrics")[1])

    def metric(self, name):
        return self.metrics().get(name, 0)

    def wait_metric(self, name, least, within_s=30):
        """Its value once it is at least that much, or after the time."""
        return until(lambda: (value := self.metric(name)) >= least and value, within_s) or self.metric(name)

    def terminate(self, within_s, check=True):
        """SIGTERM, and before it (check) every event must be accounted for; (exit status, seconds that it took); status
        None when it did not end in time."""
        if check:
            ledger.check(self.get)
        began = time.monotonic()
        self.child.send_signal(signal.SIGTERM)
        try:
            status = self.child.wait(within_s)
        except processes.subprocess.TimeoutExpired:
            status = None
        return status, time.monotonic() - began

    def stop(self, check=True):
        """check: and every event must be accounted for, if it still runs."""
        try:
            if check and self.alive():
                ledger.check(self.get)
        finally:
            processes.end(self.child)
            shutil.rmtree(self.folder, ignore_errors=True)
