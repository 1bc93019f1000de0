"""A real kube-apiserver with its etcd for one test: own folder, own free ports, no controllers and no nodes, so the
test plays them.

    with Kube() as kube:
        pod = kube.ask("POST", "/api/v1/namespaces/shop/pods", {...})
        kube.kill()      # SIGKILL the API server; etcd and its data stay
        kube.restart()   # same data, same address

Who has kube.tokens["admin"] may do anything; users= adds others, whom only roles allow something. Certificates are the
server's own (kube.authority). The programs are built once by tests/conformance/kube/build.sh (`./dev deps kube`);
missing() says so where they are not. `python3 tests/support/kube.py` starts one for people and prints how to reach it.
One thread; ask() opens a connection for each thread that calls it.
"""

import atexit
import http.client
import json
import pathlib
import shutil
import ssl
import subprocess
import tempfile
import threading
import time

import processes

ROOT = pathlib.Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "tests" / "conformance" / "kube" / "build.sh"

READY_WITHIN_S = 120  # 5 s on an idle 2-core machine
ASK_EVERY_S = 0.1
ANSWER_WITHIN_S = 60


def missing():
    """Why there can be no lab here, or None (a test exits 77 then)."""
    where = subprocess.run([SCRIPT, "where"], stdout=subprocess.PIPE)
    return None if where.returncode == 0 else "kube-apiserver is not built here: ./dev deps kube builds it"


class Refused(Exception):
    def __init__(self, status, text):
        super().__init__(f"{status}: {text}")
        self.status = status


class Kube:
    def __init__(self, users=(), arguments=()):
        """users: names that get a token of their own, in no group. arguments: more flags of kube-apiserver."""
        self.programs = pathlib.Path(
            subprocess.run([SCRIPT, "where"], check=True, stdout=subprocess.PIPE, text=True).stdout.strip())
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="millrace-kube-"))
        self.arguments = list(arguments)
        self.etcd = self.server = None
        atexit.register(self.stop)
        self.port = processes.free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.url = f"https://{self.address}"
        self.authority = self.folder / "certs" / "apiserver.crt"
        self.tokens = {name: f"token-{number}" for number, name in enumerate(["admin", *users])}
        self.local = threading.local()
        self.set_up()
        self.start_etcd()
        self.restart()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def set_up(self):
        lines = [f"{token},{name},{token}" + (",system:masters" if name == "admin" else "")
                 for name, token in self.tokens.items()]
        (self.folder / "tokens.csv").write_text("\n".join(lines) + "\n")
        subprocess.run(["openssl", "genrsa", "-out", self.folder / "sa.key", "2048"], check=True,
                       stderr=subprocess.DEVNULL)

    def start_etcd(self):
        self.etcd_url = f"http://127.0.0.1:{processes.free_port()}"
        peer = f"http://127.0.0.1:{processes.free_port()}"
        with open(self.folder / "etcd.log", "ab") as log:
            self.etcd = processes.start(
                [self.programs / "etcd", "--data-dir", self.folder / "etcd", "--unsafe-no-fsync",
                 "--listen-client-urls", self.etcd_url, "--advertise-client-urls", self.etcd_url,
                 "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
                 "--initial-cluster", f"default={peer}"], stdout=log, stderr=log)

    def restart(self):
        """Start the API server on the data that are there; returns when it is ready."""
        assert not self.alive(), "it runs: kill() it first"
        key = self.folder / "sa.key"
        with open(self.folder / "apiserver.log", "ab") as log:
            self.server = processes.start(
                [self.programs / "apiserver", "--etcd-servers", self.etcd_url, "--bind-address", "127.0.0.1",
                 "--secure-port", self.port, "--cert-dir", self.folder / "certs",
                 "--token-auth-file", self.folder / "tokens.csv", "--authorization-mode", "RBAC",
                 "--service-account-issuer", "https://kubernetes.default.svc", "--service-account-key-file", key,
                 "--service-account-signing-key-file", key, "--disable-admission-plugins", "ServiceAccount",
                 "--service-cluster-ip-range", "10.96.0.0/16", "--enable-priority-and-fairness=false",
                 *self.arguments], stdout=log, stderr=log)
        deadline = time.monotonic() + READY_WITHIN_S
        while not self.ready():
            if not self.alive() or self.etcd.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the API server did not start:\n{self.log()[-4000:]}")
            time.sleep(ASK_EVERY_S)

    def ready(self):
        try:
            self.ask("GET", "/readyz")
            self.ask("GET", "/api/v1/namespaces/default")
            return True
        except (OSError, Refused, http.client.HTTPException):
            return False

    def alive(self):
        return self.server is not None and self.server.poll() is None

    def log(self):
        return "".join((self.folder / f"{name}.log").read_text(errors="replace") for name in ("etcd", "apiserver"))

    def kill(self):
        self.server.kill()
        self.server.wait()

    def stop(self):
        for child in (self.server, self.etcd):
            if child:
                child.kill()
                child.wait()
        shutil.rmtree(self.folder, ignore_errors=True)
        atexit.unregister(self.stop)

    def connection(self):
        connection = getattr(self.local, "connection", None)
        if connection is None:
            context = ssl.create_default_context(cafile=self.authority)
            connection = http.client.HTTPSConnection("127.0.0.1", self.port, context=context, timeout=ANSWER_WITHIN_S)
            self.local.connection = connection
        return connection

    def ask(self, method, path, body=None, user="admin", kind="application/json"):
        """The answer to one request, as JSON tells it; Refused if it is not 2xx. kind: media type of the body, which is
        text or is made JSON."""
        connection = self.connection()
        if body is not None and not isinstance(body, str):
            body = json.dumps(body)
        try:
            connection.request(method, path, body,
                               {"Authorization": f"Bearer {self.tokens[user]}", "Content-Type": kind})
            answer = connection.getresponse()
            text = answer.read()
        except (OSError, http.client.HTTPException):
            connection.close()
            self.local.connection = None
            raise
        if answer.status // 100 != 2:
            raise Refused(answer.status, text.decode(errors="replace"))
        return json.loads(text) if text[:1] == b"{" else text.decode(errors="replace")


if __name__ == "__main__":
    if missing():
        raise SystemExit(missing())
    with Kube(users=["watcher"]) as people:
        print(f"{people.url} authority {people.authority} tokens {people.tokens}", flush=True)
        try:
            people.server.wait()
        except KeyboardInterrupt:
            pass
