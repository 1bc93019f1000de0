"""The program kube-drive, which watches a cluster and writes what it is told, a JSON line each."""

import json
import os
import pathlib
import queue
import subprocess
import threading
import time

import processes

PROGRAM = processes.BUILD / "tests" / "kube-drive"
PATIENCE_S = 60  # under sanitizers, on a busy machine


def kubeconfig(folder, server, cluster="", user=""):
    """Its path; cluster and user: more of what stands in the flow mappings."""
    path = pathlib.Path(folder) / "kubeconfig"
    path.write_text(f"current-context: here\n"
                    f"clusters: [{{name: c, cluster: {{server: '{server}'{cluster and ', ' + cluster}}}}}]\n"
                    f"users: [{{name: u, user: {{{user}}}}}]\n"
                    f"contexts: [{{name: here, context: {{cluster: c, user: u}}}}]\n")
    return path


class Drive:
    def __init__(self, config, kinds="pods", **settings):
        words = [PROGRAM, config, kinds, *(f"{name}={value}" for name, value in settings.items())]
        self.child = processes.start(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.lines = queue.Queue()
        self.seen = []  # all lines but states
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        for line in self.child.stdout:
            self.lines.put(json.loads(line))
        self.lines.put(None)

    def next(self, within_s=PATIENCE_S):
        line = self.lines.get(timeout=within_s)
        if line is None:
            raise RuntimeError(f"kube-drive ended with {self.child.wait()}")
        if line["what"] != "status":
            self.seen.append(line)
        return line

    def until(self, what, **members):
        """The next line of that sort, with these members."""
        while True:
            line = self.next()
            if line["what"] == what and all(line.get(name) == value for name, value in members.items()):
                return line

    def status(self):
        self.child.stdin.write("status\n")
        self.child.stdin.flush()
        return self.until("status")

    def until_status(self, kind, good):
        """The state of that kind once good(state) holds."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            state = self.status()["kinds"][kind]
            if good(state):
                return state
            if time.monotonic() > deadline:
                raise RuntimeError(f"it did not become so: {state}")
            time.sleep(0.02)

    def told(self):
        """All lines so far but states: (what, name or uid or kind, version)."""
        return [(line["what"], line.get("name") or line.get("uid") or line["kind"], line.get("version"))
                for line in self.seen]

    def end(self):
        """Its exit status, which sanitizers decide on too; the last state."""
        self.child.stdin.close()
        last = None
        while True:
            line = self.lines.get(timeout=PATIENCE_S)
            if line is None:
                break
            last = line
            if line["what"] != "status":
                self.seen.append(line)
        status = self.child.wait(PATIENCE_S)
        self.child.stdout.close()
        assert status == 0, f"kube-drive ended with {status}"
        return last


def missing():
    return None if os.access(PROGRAM, os.X_OK) else f"{PROGRAM} is not built"
