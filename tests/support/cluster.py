"""Three real Kafka brokers, each also a controller, behind a network that may be broken: every record has three copies
and counts when two have it.

    with Cluster() as cluster:
        Millraced(cluster.address, ...)
        cluster.brokers[0].kill(), .freeze(), .thaw(), .restart()
        cluster.network.cut(...)        # proxy.py; the names are cluster.names

Clients, the copies and the vote all go through the network. The cluster's folder goes away with this process, however
that ends, and the brokers with it, also frozen ones; what else belongs to a test may be put there.
"""

import base64
import pathlib
import re
import shutil
import subprocess
import tempfile
import time
import uuid

import processes
from kafka import ASK_EVERY_S, READY_WITHIN_S, SCRIPT, Kafka
from proxy import Network

BROKERS = 3
JVM = ["-Xms64m", "-Xmx256m"]  # three of them share two processors with what is tested
COPIES = {
    "default.replication.factor": 3,
    "min.insync.replicas": 2,
    "offsets.topic.replication.factor": 3,
    "share.coordinator.state.topic.replication.factor": 3,
    "transaction.state.log.replication.factor": 3,
    # A follower that stands is given up in this time (default: 30 s).
    "replica.lag.time.max.ms": 5000,
    "replica.socket.timeout.ms": 10000,
    "controlled.shutdown.enable": "false",
    # Brokers that get little of a busy machine are neither dead nor out of office (defaults: 60, 9, 2, 1 and 2 s).
    "initial.broker.registration.timeout.ms": 240000,
    "broker.session.timeout.ms": 5000,
    "controller.quorum.fetch.timeout.ms": 4000,
    "controller.quorum.election.timeout.ms": 2000,
    "controller.quorum.request.timeout.ms": 4000,
}


TASKS = 16  # as deploy/kafka/topics has them


def topics(tasks):
    """That file for a pipeline of so many tasks."""
    text = (SCRIPT.parent / "topics").read_text()
    counts = {TASKS: tasks, TASKS + 1: tasks + 1}
    return re.sub(r"^(millrace\.\S+ +)(\d+)", lambda line: f"{line[1]}{counts.get(int(line[2]), line[2])}", text, flags=re.M)


def listeners(*ports):
    return ",".join(f"{name}://127.0.0.1:{port}" for name, port in zip(("PLAIN", "BROKERS", "CONTROLLER"), ports))


class Cluster:
    def __init__(self, tasks=TASKS):
        self.tasks = tasks
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="millrace-cluster-"))
        self.network = Network()
        self.names = [f"broker-{number}" for number in range(1, BROKERS + 1)]
        self.brokers = []
        try:
            self._set_up()
            self.restart()
        except BaseException:
            self.stop()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def _set_up(self):
        real = {}  # by name: ports for clients, for brokers, for controllers
        for name in self.names:
            subprocess.run([SCRIPT, "setup", self.folder / name, "0"], check=True)
            text = (self.folder / name / "server.properties").read_text()
            clients, controller = map(int, re.search(r"^listeners=\S+?:(\d+),\S+:(\d+)$", text, re.M).groups())
            real[name] = (clients, processes.free_port(), controller)
        told = {name: [self.network.listen(name, port) for port in ports] for name, ports in real.items()}
        voters = ",".join(f"{number}@127.0.0.1:{told[name][2]}" for number, name in enumerate(self.names, 1))
        # an id that begins with "-" would be taken for an option
        cluster = base64.urlsafe_b64encode(b"\0" + uuid.uuid4().bytes[1:]).decode().rstrip("=")
        for number, name in enumerate(self.names, 1):
            clients, brokers, controller = real[name]
            (self.folder / name / "topics").write_text(topics(self.tasks))
            broker = Kafka(folder=self.folder / name, jvm_options=[
                *JVM, f"-Dmillrace.cluster={cluster}", f"-Dmillrace.scratch={self.folder}"])
            broker.change({
                **COPIES,
                "node.id": number,
                "controller.quorum.voters": voters,
                "listeners": listeners(clients, brokers, controller),
                "advertised.listeners": listeners(*told[name][:2]),
                "listener.security.protocol.map": "PLAIN:PLAINTEXT,BROKERS:PLAINTEXT,CONTROLLER:PLAINTEXT",
                "inter.broker.listener.name": "BROKERS"})
            self.brokers.append(broker)
        self.address = ",".join(f"127.0.0.1:{told[name][0]}" for name in self.names)

    def launch(self):
        """Starts the brokers that do not run."""
        for name, broker in zip(self.names, self.brokers):
            if not broker.alive():
                broker.launch()
                self.network.know(name, broker.pid)

    def ready(self):
        """Whether all brokers run and answer. What ended by itself is told, once for all."""
        for broker in self.brokers:
            if not broker.alive():
                raise RuntimeError(f"a broker ended:\n{broker.log()[-4000:]}")
        return all(broker.ready() for broker in self.brokers)

    def restart(self):
        self.launch()
        deadline = time.monotonic() + READY_WITHIN_S
        while not self.ready():
            if time.monotonic() > deadline:
                raise RuntimeError("the cluster did not start:\n" + "\n".join(
                    broker.log()[-2000:] for broker in self.brokers))
            time.sleep(ASK_EVERY_S)

    def stop(self):
        for broker in self.brokers:
            broker.stop()
        self.network.close()
        shutil.rmtree(self.folder, ignore_errors=True)
