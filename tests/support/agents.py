"""A real agent as a child of one test: it dies with the test, whatever ends that, and its log and figures are asked here."""

import os
import pathlib
import re
import tempfile
import time
import urllib.error
import urllib.request

import processes

AGENT = pathlib.Path(os.environ.get("MILLRACE_BUILD", processes.ROOT / "build" / "dev")) / "bin" / "millrace-agent"
WITHIN_S = 60
# Of ends: on virtual machines whose host keeps BPF programs from running beside its own control process, what that
# process's interrupts handle is hidden from the agent (ARCHITECTURE.md); a roll call finds it.
HIDDEN = 1 / 1000


def missed_drops(log):
    """Of an agent that has ended: dropped packets of which it was not told. The kernel leaves a program out while the same
    one runs on that processor, and packets of all the machine are dropped in interrupts, too; what is counted so is no
    loss of what the agent had."""
    told = re.search(r'(\d+) events of kind "drop" were lost \(kernel\)', log)
    return int(told[1]) if told else 0


class Agent:
    def __init__(self, brokers, node, *settings, under=(), ready=200, config="/dev/null"):
        """under: words before the agent's, of a program that executes it with other rights. ready: what it answers."""
        self.node = node
        self.address = f"127.0.0.1:{processes.free_port()}"
        words = [*under, AGENT, "--config", config]
        for setting in (f"node={node}", f"kafka.brokers={brokers}", f"listen={self.address}", "budget.cpu=0",
                        "features.self_probe=false", *settings):
            words += ["--set", setting]
        self._errors, self._said = tempfile.TemporaryFile("w+"), ""
        self.process = processes.start(words, stderr=self._errors)
        deadline = time.monotonic() + WITHIN_S
        while self.get("/readyz") != ready:
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.process.kill()
                raise RuntimeError("the agent is not ready: " + self.log)
            time.sleep(0.1)

    def page(self, path):
        """Status and text; None and why without an answer."""
        try:
            with urllib.request.urlopen(f"http://{self.address}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError as error:
            return None, str(error)

    def get(self, path):
        return self.page(path)[0]

    def metrics(self):
        status, text = self.page("/metrics")
        assert status == 200, text
        return dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))

    def metric(self, name):
        return float(self.metrics()["millrace_agent_" + name])

    @property
    def log(self):
        if not self._errors.closed:
            self._errors.seek(0)
            self._said = self._errors.read()
        return self._said

    def stop(self):
        status = processes.end(self.process, WITHIN_S)
        self._said = self.log
        self._errors.close()
        return status
