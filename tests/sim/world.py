"""A small random world and the log that its agents would write: nodes, workloads, connections through every kind of
NAT, and then what goes wrong on the way. Everything follows from the seed.

A world has about 2,000 events. Its truth is a list of connections; each end that has an agent is a socket of its node,
whose counters grow with what passed. Agents batch what happens, repeat it in key frames, and hand batches to their
partition, each with its own delay, clock error and mishaps:

    reorder     delays differ, within lateness: partitions interleave, nodes overtake each other
    duplicates  a batch comes twice
    loss        a batch never comes; the next absolute counters heal it
    stalls      a node's batches wait for seconds and come late, in order
    skew        a node's clock is wrong by up to 5 s
    late names  a process or container is told after its sockets, or a socket's owner only when it closes
    restarts    an agent begins anew, with a new epoch; sockets that live are told as existing
    reboots     the node does, and its sockets are gone
    outages     nothing is heard of a node for long: its agent dies, and another begins at last; or it is cut off, and
                its spool delivers later what it had room for, or never
    late pods   containers are of pods of a cluster, whose records of these come late, or never
    lookups     DNS lookups pass over sockets, some as the only sign of life; drops and listeners are told
    handshakes  TLS handshakes ask for names, some long after their connection began or again

A node's own batches keep their order: agents write with idempotence, and a key names a partition.
Key frames come every few seconds instead of every 45, so that a short world has them.

What the pipeline is told is the bytes alone (World.log); the truth is for tests of the oracle."""

import random
import struct

from agent import Agent
from wire import MS, S, TCP, UDP, GUESSED, PROBE, UNKNOWN, CLIENT, SERVER, NORMAL, RESET, TIMEOUT, FAILURES

EPOCH_S = 1_700_000_000  # worlds begin within hours of it

HAZARDS = ("reorder", "duplicates", "loss", "stalls", "skew", "late_names", "late_pids", "restarts", "reboots",
           "late_nat", "missing", "guessed", "reuse", "late_agents", "probes", "udp")


def v4(text):
    return b"\0" * 10 + b"\xff\xff" + bytes(int(part) for part in text.split("."))


class Node:
    def __init__(self, number):
        self.name = f"node-{number}"
        self.address = v4(f"10.0.0.{number + 1}")
        self.gateway_ports = 50000
        self.objects = []  # processes
        self.has_agent = True


class Replica:
    """A process that serves or asks, in its container if it has one."""

    def __init__(self, node, address, pid, port):
        self.node, self.address, self.pid, self.port = node, address, pid, port
        self.started_ns = self.cgroup = 0
        self.comm = self.exe = ""
        self.container = None


class Connection:
    def __init__(self):
        self.client = self.server = None  # Replica, or None: outside
        self.protocol = TCP
        self.nats = []  # (node, from, to): tuples of (client, port, server, port, protocol)
        self.failure = 0
        self.reason = NORMAL
        self.flags = 0


class Socket:
    """One end of a connection on a node with an agent."""

    def __init__(self, connection, node, replica, role, local, remote):
        self.connection, self.node, self.replica, self.role = connection, node, replica, role
        self.local, self.remote = local, remote  # (address, port)
        self.flags = connection.flags
        self.told_role = role
        self.opened = self.established = self.closed = 0
        self.told_pid = self.close_pid = replica.pid
        self.cgroup = replica.cgroup
        self.moves = []  # (time, tx, rx, txs, rxs, retransmits), by time
        self.moved = 0
        self.total = [0, 0, 0, 0, 0]
        self.slot = self.generation = None
        self.rtt = 0

    def take(self, until):
        """Counts what passed up to then; returns the difference."""
        difference = [0, 0, 0, 0, 0]
        while self.moved < len(self.moves) and self.moves[self.moved][0] <= until:
            for i in range(5):
                difference[i] += self.moves[self.moved][1 + i]
            self.moved += 1
        for i in range(5):
            self.total[i] += difference[i]
        return difference


class World:
    def __init__(self, seed, events=2000, hazards=None):
        self.seed = seed
        self.rng = rng = random.Random(seed)
        self.hazards = {name for name in HAZARDS if rng.random() < 0.4}
        outages = random.Random(f"outages {seed}")  # apart, as it came later: other worlds stay as they were
        if outages.random() < 0.3:
            self.hazards.add("outages")
        if random.Random(f"lookups {seed}").random() < 0.4:
            self.hazards.add("lookups")
        if random.Random(f"handshakes {seed}").random() < 0.4:
            self.hazards.add("handshakes")
        pods = random.Random(f"pods {seed}")
        if pods.random() < 0.4:
            self.hazards.add("late_pods")
        if hazards is not None:
            self.hazards = set(hazards)
        self.period = rng.choice((100, 200, 250, 300)) * MS
        self.seconds = rng.randint(8, 24) if self.period == 100 * MS else rng.randint(12, 45)
        self.long_tail = rng.random() < 0.1  # ticks until every wait is over
        self.tail = (130 if self.long_tail else rng.randint(4, 14)) * S
        # Mostly the hour ends soon after the log, so that its window closes; at times within the world.
        hour = (EPOCH_S // 3600 + 1 + rng.randint(0, 5)) * 3600 * S
        end = self.seconds * S + self.tail - 2 * S
        self.start = hour - (end if rng.random() < 0.8 else rng.randint(1, end // S) * S)
        self.start += rng.randint(0, 999_999) * 1000
        self.end = self.start + self.seconds * S
        self.partitions = rng.randint(1, 4)
        self.make_nodes()
        self.make_outages(outages)
        self.make_services()
        self.make_pods(pods)
        self.connections, self.sockets = [], []
        self.used_ports = {}
        weight = weighed = 0
        while weight < events and len(self.connections) < 600:
            self.make_connection()
            weight += sum(map(self.weight, self.sockets[weighed:]))
            weighed = len(self.sockets)

    # ---- who is there

    def chance(self, hazard, share):
        """Whether a hazard strikes here; draws whatever is switched on, so that a world stays the same without it."""
        drawn = self.rng.random()
        return hazard in self.hazards and drawn < share

    def make_nodes(self):
        rng = self.rng
        self.nodes = [Node(i) for i in range(rng.randint(3, 8))]
        for node in self.nodes:
            node.partition = rng.randrange(self.partitions)
            node.zone = rng.choice(("", "za", "zb", "zc"))
            node.role = rng.choice(("", "", "db"))
            node.has_agent = not self.chance("missing", 0.2)
            node.skew = 0
            if self.chance("skew", 0.4):
                node.skew = rng.choice((-1, 1)) * rng.randint(60_000, 5_000_000) * 1000
            node.least_delay = rng.randint(1, 8) * MS
            node.jitter = rng.randint(0, 300 if self.chance("reorder", 0.5) else 10) * MS
            node.agent_start = self.start + rng.randint(0, 200) * MS
            if self.chance("late_agents", 0.2):
                node.agent_start = self.start + rng.randint(1, max(1, self.seconds // 2)) * S
            node.restarts = []
            if self.chance("restarts", 0.4):
                node.restarts = sorted(node.agent_start + rng.randint(2_000, self.seconds * 1000) * MS
                                       for _ in range(rng.randint(1, 2)))
            node.reboot = self.chance("reboots", 0.3) and bool(node.restarts)
            node.key_frame = rng.randint(2, 7) * S
        self.nodes[0].has_agent = self.nodes[1].has_agent = True

    def make_outages(self, rng):
        """(from, to, how much of it the spool holds; None: the agent is dead), in their order. Not where all waits are
        waited for: what is never heard of again is another matter."""
        for node in self.nodes:
            node.outages, at = [], node.agent_start
            while "outages" in self.hazards and not self.long_tail and rng.random() < 0.6:
                begins = at + rng.randint(1_000, 15_000) * MS
                at = begins + rng.randint(3_000, 18_000) * MS
                node.outages.append((begins, at, rng.choice((None, 0, 3 * S, 60 * S, 60 * S))))

    def replica(self, node, name, kind, version, port):
        rng = self.rng
        pid = rng.randint(2, 30000)
        while any(other.pid == pid for other in node.objects):
            pid += 1
        inside = kind in ("workload", "container")
        address = v4(f"10.1.{self.nodes.index(node)}.{len(node.objects) + 1}") if inside else node.address
        replica = Replica(node, address, pid, port)
        replica.started_ns = rng.randint(1, 1 << 40)
        replica.comm = name[:15]
        replica.exe = rng.choice((f"/usr/bin/{name}", ""))
        replica.cgroup = 0 if kind == "process" else rng.randint(1, 1 << 50)
        tag = f"registry:5000/{name}" + (f":{version}" if version and version[0] != "@" else version)
        if inside:
            replica.container = dict(
                id="%064x" % rng.getrandbits(256), name=name, image=tag, pod=rng.choice((f"{name}-{pid}", "")),
                namespace=rng.choice(("shop", "")), workload=name if kind == "workload" else "", unit="",
                path=f"/kubepods/{name}", version=rng.choice(("", "v-label")))
        elif kind == "unit":
            replica.container = dict(
                id="", name="", image="", pod="", namespace="", workload="",
                unit=rng.choice((f"{name}.service", f"{name}.service", "session-1.scope")),
                path=rng.choice(("/system.slice/x", "/user.slice/x")), version="")
        # How the socket names its owner: cgroup itself, or only through the process.
        replica.names_cgroup = rng.random() < 0.7
        replica.process_cgroup = replica.cgroup if rng.random() < 0.8 or not replica.names_cgroup else 0
        replica.process_told = replica.container_told = 0  # seconds after the first socket's agent, 0: at once
        if self.chance("late_names", 0.3):
            replica.process_told = rng.randint(200, 9000) * MS
        if self.chance("late_names", 0.3):
            replica.container_told = rng.randint(200, 9000) * MS
        node.objects.append(replica)
        return replica

    def make_services(self):
        rng = self.rng
        self.services = []
        for number in range(rng.randint(2, 5)):
            kind = rng.choice(("workload", "container", "unit", "process"))
            versions = rng.sample(("1.0", "2.0", "", "@sha256:" + "ab" * 32), rng.randint(1, 2))
            port = rng.choice((80, 443, 5432, 8080, 9000)) + number
            nodes = rng.sample(self.nodes, rng.randint(1, min(3, len(self.nodes))))
            replicas = [self.replica(node, f"svc{number}", kind, rng.choice(versions), port) for node in nodes]
            self.services.append((replicas, v4(f"10.96.0.{number + 1}"), rng.choice((80, 443)), 30000 + number))
        self.clients = [self.replica(rng.choice(self.nodes), f"job{i}", rng.choice(("workload", "process", "unit")),
                                     rng.choice(("1.0", "")), 0) for i in range(rng.randint(1, 4))]
        self.clients += [replica for replicas, *_ in self.services for replica in replicas]

    def make_pods(self, rng):
        """(time, partition, uid, container's id, namespace, workload, name, version) of each pod's record."""
        self.pods = []
        if "late_pods" not in self.hazards:
            return
        if rng.random() < 0.7:
            self.pods.append((self.start, 0, "other", "", "shop", "", "other", ""))
        for replica in (replica for node in self.nodes for replica in node.objects):
            if not replica.container:
                continue
            inside = replica.container["name"] and rng.random() < 0.8
            uid = f"uid-{replica.node.name}-{replica.pid}"
            replica.container["pod_uid"] = uid if inside else ""
            delay = rng.choice((0, rng.randint(0, 3000), rng.randint(0, 15_000), rng.randint(0, 45_000), None))
            if not inside or delay is None:
                continue
            name = replica.container["name"]
            by_id = rng.random() < 0.2  # its manifest lies on the node: another uid than the cluster's
            self.pods.append((self.start + delay * MS, rng.randrange(self.partitions), f"mirror-{uid}" if by_id else uid,
                              replica.container["id"] if by_id else "", rng.choice(("prod", "")),
                              rng.choice((f"{name}-set", name, "")), f"{name}-{replica.pid}", rng.choice(("9.9", ""))))

    # ---- connections

    def weight(self, socket):
        life = (min(socket.closed, self.end) - socket.established) / S
        return 2 + min(len(socket.moves), life / 1.0) + life / 4

    def port(self, address):
        """An ephemeral port; the same again only long after, unless reuse strikes."""
        used = self.used_ports.setdefault(address, [])
        port = 32768 + len(used) * 7 % 28000
        used.append(port)
        return port

    def make_connection(self):
        rng = self.rng
        c = Connection()
        self.connections.append(c)
        replicas, vip, vip_port, node_port = rng.choice(self.services)
        c.server = rng.choice(replicas)
        c.client = rng.choice(self.clients)
        c.protocol = UDP if self.chance("udp", 0.3) else TCP
        kind = rng.choices(("direct", "dnat", "third", "snat", "masquerade", "two_hops", "outside", "loopback"),
                           (30, 15, 10, 10, 5, 8, 8, 6))[0]
        failed = rng.random() < 0.08 and c.protocol == TCP
        start = self.start + int(rng.uniform(0.3, self.seconds - 3) * S) // 1000 * 1000
        life = int(rng.choice((0.002, 0.05, 0.4, 2, 6, 20)) * rng.uniform(0.5, 1.5) * S) // 1000 * 1000
        if kind == "outside":
            c.client = None
        if kind == "loopback":
            c.client = rng.choice([r for r in self.clients if r.node is c.server.node])
        if kind == "direct" and self.chance("probes", 0.1):
            c.flags = PROBE
        if kind == "masquerade":
            c.server = None
        end = min(start + life, self.end - 1500 * MS)
        self.wire(c, kind, vip, vip_port, node_port, start, end, failed)
        if failed and c.client is None:
            self.connections.pop()
            return
        self.ends(c, kind, start, end, failed)

    def wire(self, c, kind, vip, vip_port, node_port, start, end, failed):
        """Addresses and NAT: c.seen_client and c.seen_server are (client, port, server, port) as each end sees it."""
        rng = self.rng
        client = v4(f"203.0.113.{rng.randint(1, 9)}") if c.client is None else c.client.address
        server = v4(f"198.51.100.{rng.randint(1, 9)}") if c.server is None else c.server.address
        port = 443 if c.server is None else c.server.port
        if kind == "loopback":
            client = server = v4("127.0.0.1")
        repeat = None
        if kind in ("direct", "dnat") and self.chance("reuse", 0.3):
            # The same ports again, after a pause or almost at once.
            former = [o for o in self.connections[:-1] if o.kind == kind and o.client is c.client and
                      o.server is c.server and o.protocol == c.protocol]
            repeat = former[-1] if former else None
        own = repeat.seen_client[1] if repeat else self.port(client)
        c.kind, c.repeats = kind, repeat
        direct = (client, own, server, port)
        dialled = (client, own, vip, vip_port)
        gateway = rng.choice(self.nodes)
        snat = (gateway.address, gateway.gateway_ports, server, port)
        gateway.gateway_ports += 1
        if kind == "dnat" and c.client:
            c.seen_client, c.seen_server = dialled, direct
            c.nats = [(c.client.node, dialled, direct)]
        elif kind == "third":
            c.seen_client, c.seen_server = dialled, direct
            c.nats = [(gateway, dialled, direct)]
        elif kind in ("snat", "outside"):
            c.seen_client, c.seen_server = (client, own, gateway.address, node_port), snat
            c.nats = [(gateway, c.seen_client, snat)]
            if kind == "outside" and rng.random() < 0.5:
                c.seen_client, c.seen_server, c.nats = direct, direct, []
        elif kind == "masquerade":
            c.seen_client = direct
            c.seen_server = (c.client.node.address, gateway.gateway_ports, server, port)
            gateway.gateway_ports += 1
            c.nats = [(c.client.node, direct, c.seen_server)]
        elif kind == "two_hops":
            middle = (client, own, gateway.address, node_port)
            first = rng.choice((c.client.node, rng.choice(self.nodes)))
            c.seen_client, c.seen_server = dialled, snat
            c.nats = [(first, dialled, middle), (gateway, middle, snat)]
        else:
            c.seen_client = c.seen_server = direct

    def ends(self, c, kind, start, end, failed):
        rng = self.rng
        if c.repeats:
            gap = rng.choice((2, 40, 700, 4000)) * MS
            start, end = c.repeats.end + gap, c.repeats.end + gap + max(end - start, 3 * MS)
            if end > self.end - 1500 * MS:
                self.connections.pop()
                return
        connect = rng.randint(50, 20_000) * 1000
        c.start, c.end = start, max(end, start + connect + 2 * MS)
        c.failed = failed
        c.reason = rng.choices((NORMAL, RESET, TIMEOUT), (8, 1, 1))[0]
        c.rtt = rng.randint(50, 40_000)
        client = server = None
        if c.client and c.client.node.has_agent:
            ca, cp, sa, sp = c.seen_client
            client = Socket(c, c.client.node, c.client, CLIENT, (ca, cp), (sa, sp))
            client.opened, client.established = start, start + connect
            client.closed = c.end
            client.connect = connect
        if failed:
            c.failure = rng.choice(FAILURES)
            if client:
                client.closed = client.established
                self.sockets.append(client)
            return
        if c.server and c.server.node.has_agent:
            ca, cp, sa, sp = c.seen_server
            server = Socket(c, c.server.node, c.server, SERVER, (sa, sp), (ca, cp))
            server.opened = start + connect // 3 // 1000 * 1000
            server.established = start + connect * 2 // 3 // 1000 * 1000
            server.closed = c.end + rng.randint(0, 3000) * 1000
            server.connect = 0
        for socket in (client, server):
            if socket is None:
                continue
            self.owner(socket)
            self.sockets.append(socket)
        self.traffic(c, client, server)

    def owner(self, socket):
        replica = socket.replica
        if not replica.names_cgroup:
            socket.cgroup = 0
        if socket.role == CLIENT and self.chance("late_pids", 0.2):
            socket.told_pid, socket.cgroup = 0, 0
        if self.chance("guessed", 0.3):
            socket.flags |= GUESSED
            if self.rng.random() < 0.5:
                socket.told_role = UNKNOWN
            elif self.rng.random() < 0.3:
                socket.told_role = SERVER if socket.role == CLIENT else CLIENT
            # At least one end knows: two wrong guesses have no right answer.
            other = [s for s in self.sockets[-1:] if s.connection is socket.connection and s.flags & GUESSED]
            if other:
                socket.flags &= ~GUESSED
                socket.told_role = socket.role

    def traffic(self, c, client, server):
        rng = self.rng
        at = c.start + (c.client is not None) * 0
        at = max(s.established for s in (client, server) if s) if client or server else c.start
        times = sorted(rng.randint(at // 1000, c.end // 1000) * 1000
                       for _ in range(rng.choice((0, 1, 2, 4, 10, 30))))
        for time in times:
            tx, rx = rng.choice((0, 1, 200, 3000, 10**6)), rng.choice((0, 5, 700, 10**5))
            if not tx + rx:
                tx = 1
            segments = [1 + tx // 1400, 1 + rx // 1400]
            if client:
                client.moves.append((time, tx, rx, *segments, rng.choice((0, 0, 0, 1, 3))))
            if server:
                server.moves.append((time, rx, tx, segments[1], segments[0], rng.choice((0, 0, 0, 2))))

    # ---- what agents write

    def log(self, batch_class, pod_class):
        """Records in the order of their append times: (append_ns, partition, bytes)."""
        self.batch_class, self.pod_class = batch_class, pod_class
        records = []
        for number, node in enumerate(self.nodes):
            if node.has_agent:
                records += Agent(self, node, random.Random(self.seed * 64 + number)).records()
        records += self.metadata()
        records.sort(key=lambda record: record[:2])
        return self.ticked(records)

    def metadata(self):
        """What the pipeline itself writes of the cluster's pods."""
        for time, partition, uid, id_, namespace, workload, name, version in self.pods:
            record = self.pod_class(id=f"/pod/{uid}/0", version=1, observed_ns=time)
            pod = record.pod
            pod.uid, pod.namespace, pod.workload, pod.name, pod.version = uid, namespace, workload, name, version
            if id_:
                pod.containers.add(id=id_)
            batch = self.batch_class(version=1, kind=2, base_time_us=time // 1000, sent_realtime_ns=time)
            batch.metadata.append(record.SerializeToString())
            yield time, partition, batch.SerializeToString()

    def ticked(self, records):
        """Idle partitions are ticked every 125 ms; behind the last event, each second until all waits are over."""
        tick = self.batch_class(version=1, kind=1, base_time_us=self.start // 1000,
                                sent_realtime_ns=self.start).SerializeToString()
        out = []
        last = self.end
        for partition in range(self.partitions):
            own = [record for record in records if record[1] == partition]
            last = max([last] + [record[0] for record in own])
            times, at = [], self.start
            for append, *_ in own:
                while append - at > 125 * MS:
                    at += 125 * MS
                    times.append(at)
                at = max(at, append)
            out += own + [(time, partition, tick) for time in times]
        final = self.end + self.tail
        for partition in range(self.partitions):
            at = self.start if not any(record[1] == partition for record in records) else self.end
            while at < max(final, last + 2 * S):
                at += S if at >= self.end else 125 * MS
                out.append((at, partition, tick))
        out.sort(key=lambda record: record[:2])
        return out


def packed_log(log, partitions, lateness_ns=500 * MS):
    """The log as the driver reads it."""
    parts = [struct.pack("<IIQQ", 0x676F6C6D, partitions, len(log), lateness_ns)]
    for append, partition, payload in log:
        parts.append(struct.pack("<IIQ", partition, len(payload), append))
        parts.append(payload)
    return b"".join(parts)
