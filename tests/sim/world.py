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

A node's own batches keep their order: agents write with idempotence, and a key names a partition.
Key frames come every few seconds instead of every 45, so that a short world has them.

What the pipeline is told is the bytes alone (World.log); the truth is for tests of the oracle."""

import heapq
import random
import struct

MS = 1_000_000
S = 1_000_000_000
PANE = 250 * MS
EPOCH_S = 1_700_000_000

TCP, UDP = 6, 17
AGAIN, EXISTED, GUESSED, PROBE = 1, 2, 4, 8
UNKNOWN, CLIENT, SERVER = 0, 1, 2
NORMAL, RESET, TIMEOUT, REFUSED, CONNECT_TIMEOUT, UNREACHABLE, ABORTED = 1, 2, 3, 4, 5, 6, 7
FAILURES = (REFUSED, CONNECT_TIMEOUT, UNREACHABLE, ABORTED)

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
    def __init__(self, seed, without=(), events=2000, hazards=None):
        self.seed = seed
        self.rng = rng = random.Random(seed)
        self.hazards = {name for name in HAZARDS if rng.random() < 0.4}
        if hazards is not None:
            self.hazards = set(hazards)
        self.hazards -= set(without)
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
        self.make_services()
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

    def log(self, batch_class):
        """Records in the order of their append times: (append_ns, partition, bytes)."""
        self.batch_class = batch_class
        records = []
        for number, node in enumerate(self.nodes):
            if node.has_agent:
                records += Agent(self, node, random.Random(self.seed * 64 + number)).records()
        records.sort(key=lambda record: record[:2])
        return self.ticked(records)

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


class Agent:
    """The agent of one node: what happens on it, in batches."""

    def __init__(self, world, node, rng):
        self.world, self.node, self.rng = world, node, rng
        self.sockets = sorted((s for s in world.sockets if s.node is node), key=lambda s: s.established)
        self.scan = rng.choice((300, 500, 1000)) * MS
        self.free, self.slots, self.generations = [], 0, {}
        self.boot = bytes([1 + rng.randrange(255)] * 16)
        self.hazards = world.hazards
        self.start_epoch(node.agent_start)
        self.live = []
        self.waiting = self.sockets[:]
        self.nats = self.nat_events()
        self.told = {}

    def chance(self, hazard, share):
        drawn = self.rng.random()
        return hazard in self.hazards and drawn < share

    def start_epoch(self, at):
        self.epoch = self.rng.getrandbits(63)
        self.sequence = self.first_event = 0
        self.begun = at

    def nat_events(self):
        """(time, ended, from, to, connection), each entry repeated while it stands."""
        events = []
        for c in self.world.connections:
            for node, seen, to in c.nats:
                if node is not self.node:
                    continue
                at = c.start + self.rng.randint(0, 900) * 1000
                ends = (at if c.failed else c.end) + self.rng.randint(50, 300) * MS
                times = [at]
                while times[-1] + node.key_frame < ends:
                    times.append(times[-1] + node.key_frame)
                if self.world.chance("late_nat", 0.15):
                    times.pop(0)  # lost in the agent; a repeat tells it
                for time in times:
                    heapq.heappush(events, (time, 0, seen, to, c.protocol))
                heapq.heappush(events, (ends, 1, seen, to, c.protocol))
        return events

    # ---- batches

    def records(self):
        world, node = self.world, self.node
        restarts = list(node.restarts)
        last_sent, out, stalled_until, last_append = 0, [], 0, 0
        at = node.agent_start
        self.first = True
        stop = world.end
        while at < stop:
            if restarts and at >= restarts[0]:
                restarts.pop(0)
                at += self.restart(at)
                continue
            end = at + world.period
            self.begin_batch(at)
            self.collect(at, end)
            at = end
            if not self.count and not self.first and end - last_sent < S:
                continue
            payload = self.seal(end)
            self.first = False
            last_sent = end
            heartbeat = self.count == 0
            append = end + node.least_delay
            if not heartbeat and self.sequence > 1:
                append += self.rng.randint(0, node.jitter // 1000) * 1000
            if self.chance("stalls", 0.03) and self.sequence > 1:
                stalled_until = append + self.rng.randint(200, 5000) * MS
            append = last_append = max(append, stalled_until, last_append + 1000)
            if self.sequence > 1 and self.chance("loss", 0.06):
                continue
            out.append((append, node.partition, payload))
            if self.chance("duplicates", 0.1):
                out.append((append + self.rng.randint(0, 3000) * MS, node.partition, payload))
        return out + self.heartbeats(last_append)

    def heartbeats(self, last_append):
        """While the log goes on without events, so that no node counts as silent."""
        world, out = self.world, []
        if not world.long_tail:
            return out
        at = max(world.end, last_append) + 5 * S
        while at < world.end + world.tail:
            self.begin_batch(at)
            out.append((at + self.node.least_delay, self.node.partition, self.seal(at)))
            at += 5 * S
        return out

    def restart(self, at):
        """How long the node is without an agent. What lives is told as existing, what ended meanwhile is not."""
        gap = self.rng.randint(100, 2000) * MS
        if self.node.reboot and not self.rng.getrandbits(1):
            self.boot = bytes([self.boot[0] % 255 + 1] * 16)
            self.live.clear()
            self.waiting = [s for s in self.waiting if s.established > at + gap]
            self.nats = [event for event in self.nats if event[0] > at + gap and event[1] == 0]
            heapq.heapify(self.nats)
        self.start_epoch(at + gap)
        self.told = {}
        self.waiting = [s for s in self.live if s.closed > at + gap] + self.waiting
        self.live.clear()
        self.free, self.slots, self.generations = [], 0, {}
        return gap

    def begin_batch(self, at):
        self.batch = self.world.batch_class()
        self.base = (at + self.node.skew) // 1000
        self.strings, self.addresses = {"": 0}, {}
        self.count = 0
        self.last_us = {}
        self.defined, self.slot_updates, self.freed = set(), {}, []

    def string(self, text):
        return self.strings.setdefault(text, len(self.strings))

    def address(self, address):
        return self.addresses.setdefault(address, len(self.addresses))

    def dt(self, group, time):
        us = (time + self.node.skew) // 1000
        difference = us - self.last_us.get(group, self.base)
        self.last_us[group] = us
        return difference

    def collect(self, at, end):
        self.tell_objects(at, end)
        self.tell_nats(end)
        events = []
        for socket in self.live:
            events += self.socket_events(socket, at, end)
        while self.waiting and self.waiting[0].established < end:
            socket = self.waiting.pop(0)
            if socket.closed <= self.begun:
                continue  # over before the agent looked
            self.live.append(socket)
            existed = socket.established < self.begun
            socket.next_key = end + self.rng.randint(1000, self.node.key_frame // MS) * MS
            socket.next_scan = end + self.rng.randint(0, self.scan // MS) * MS
            events.append((max(socket.established, at), 0, id(socket), "existed" if existed else "define", socket))
            if not existed and socket.connection.failure and socket.closed == socket.established:
                events.append((socket.closed, 1, id(socket), "close", socket))
            elif socket.closed < end:
                events.append((socket.closed, 1, id(socket), "close", socket))
        events.sort(key=lambda event: event[:2])
        updates = []
        for time, _, _, kind, socket in events:
            if kind == "update":
                updates.append((socket.slot, time, socket))
            else:
                getattr(self, kind)(socket, time)
        self.tell_updates(updates)
        self.free += self.freed

    def socket_events(self, socket, at, end):
        if socket.closed < end:
            return [(max(socket.closed, at), 1, id(socket), "close", socket)]
        if socket.next_key < end:
            socket.next_key += self.node.key_frame
            # Absolute counters; what moved since is in them.
            return [(max(at, socket.next_key - self.node.key_frame), 1, id(socket), "again", socket)]
        if socket.next_scan < end:
            time = max(at, socket.next_scan)
            socket.next_scan += self.scan
            difference = socket.take(time)
            if any(difference):
                socket.difference = difference
                return [(time, 1, id(socket), "update", socket)]
        return []

    # ---- kinds of events

    def take_slot(self, socket):
        slot = self.free.pop(0) if self.free else None
        if slot is None:
            slot = self.slots
            self.slots += 1
        self.generations[slot] = self.generations.get(slot, 0) + 1
        socket.slot, socket.generation = slot, self.generations[slot]

    def define(self, socket, time):
        self.take_slot(socket)
        self.definition(socket, time, socket.flags, time - socket.opened, True)

    def existed(self, socket, time):
        self.take_slot(socket)
        socket.flags |= EXISTED
        age = self.rng.randint(0, 40) * 1000  # nobody knows when it was opened
        self.definition(socket, time, socket.flags, age, True)

    def again(self, socket, time):
        self.definition(socket, time, socket.flags | AGAIN, time - socket.opened, False)

    def definition(self, socket, time, flags, age, fresh):
        d = self.batch.definitions
        c = socket.connection
        socket.take(time)
        d.slot.append(socket.slot)
        d.generation.append(socket.generation)
        d.protocol.append(c.protocol)
        d.flags.append(flags)
        d.role.append(socket.told_role)
        d.local.append(self.address(socket.local[0]))
        d.remote.append(self.address(socket.remote[0]))
        d.local_port.append(socket.local[1])
        d.remote_port.append(socket.remote[1])
        d.pid.append(socket.told_pid)
        d.cgroup.append(socket.cgroup)
        d.age_us.append(age // 1000)
        d.connect_us.append(socket.connect // 1000 if not c.failure and not flags & EXISTED else 0)
        for column, value in zip((d.tx_bytes, d.rx_bytes, d.tx_segments, d.rx_segments, d.retransmits), socket.total):
            column.append(value)
        measured = c.protocol == TCP and not c.failure
        d.srtt_us.append(c.rtt if fresh and measured else 0)
        d.min_rtt_us.append(c.rtt * 3 // 4 if measured else 0)
        d.dt_us.append(self.dt("definitions", time))
        self.count += 1

    def tell_updates(self, updates):
        updates.sort(key=lambda update: update[:2])
        u = self.batch.updates
        slot = sparse = 0
        for index, (own, time, socket) in enumerate(updates):
            tx, rx, txs, rxs, retransmits = socket.difference
            u.slot.append(own - slot)
            slot = own
            u.tx_bytes.append(tx)
            u.rx_bytes.append(rx)
            u.tx_segments.append(txs)
            u.rx_segments.append(rxs)
            u.srtt_us.append(self.rng.randint(40, 60_000) if socket.connection.protocol == TCP else 0)
            u.dt_us.append(self.dt("updates", time))
            if retransmits:
                u.retransmits_index.append(index - sparse)
                u.retransmits.append(retransmits)
                sparse = index
            self.count += 1

    def close(self, socket, time):
        c, closes = socket.connection, self.batch.closes
        socket.take(max(time, socket.closed))
        closes.slot.append(socket.slot)
        closes.reason.append(c.failure or c.reason)
        closes.pid.append(socket.close_pid)
        for column, value in zip((closes.tx_bytes, closes.rx_bytes, closes.tx_segments, closes.rx_segments,
                                  closes.retransmits), socket.total):
            column.append(value)
        closes.min_rtt_us.append(c.rtt // 2 if c.protocol == TCP and not c.failure else 0)
        closes.connect_us.append(socket.connect // 1000 if c.failure else 0)
        closes.dt_us.append(self.dt("closes", time))
        self.count += 1
        self.freed.append(socket.slot)
        self.live.remove(socket)

    def tell_objects(self, at, end):
        for replica in self.node.objects:
            if self.due(("process", replica.pid), replica.process_told, end):
                self.process(replica, max(at, self.node.agent_start))
            if replica.container and self.due(("container", replica.cgroup), replica.container_told, end):
                self.container(replica)

    def due(self, key, delay, end):
        """First when the agent begins, or `delay` after the world does; then again in key frames."""
        told = self.told.get(key)
        if told is None:
            if end < self.world.start + delay:
                return False
        elif end < told + 3 * self.node.key_frame:
            return False
        self.told[key] = end
        return True

    def process(self, replica, time):
        p = self.batch.processes
        p.pid.append(replica.pid)
        p.parent.append(1)
        p.started_ns.append(replica.started_ns)
        p.cgroup.append(replica.process_cgroup)
        p.comm.append(self.string(replica.comm))
        p.exe.append(self.string(replica.exe))
        p.cmdline.append(self.string(replica.comm + " --serve"))
        p.dt_us.append(self.dt("processes", time))
        self.count += 1

    def container(self, replica):
        c = self.batch.containers
        c.cgroup.append(replica.cgroup)
        for name, text in replica.container.items():
            getattr(c, name).append(self.string(text))
        self.count += 1

    def tell_nats(self, end):
        n = self.batch.nat
        while self.nats and self.nats[0][0] < end:
            time, ended, seen, to, protocol = heapq.heappop(self.nats)
            if time < self.begun and (ended or not any(event[2] == seen for event in self.nats)):
                continue
            time = max(time, self.begun)
            n.protocol.append(protocol)
            n.op.append(ended)
            n.original_source.append(self.address(seen[0]))
            n.original_source_port.append(seen[1])
            n.original_destination.append(self.address(seen[2]))
            n.original_destination_port.append(seen[3])
            n.reply_destination.append(self.address(to[0]))
            n.reply_destination_port.append(to[1])
            n.reply_source.append(self.address(to[2]))
            n.reply_source_port.append(to[3])
            n.dt_us.append(self.dt("nat", time))
            self.count += 1

    def seal(self, end):
        b, node = self.batch, self.node
        b.node, b.version, b.boot_id, b.epoch = node.name, 1, self.boot, self.epoch
        b.sequence, b.first_event, b.events = self.sequence, self.first_event, self.count
        b.base_time_us = self.base
        b.sent_boottime_ns = end - self.world.start + 1000 * S
        b.sent_realtime_ns = end + node.skew
        b.zone, b.role = node.zone, node.role
        b.addresses = b"".join(self.addresses)
        if len(self.strings) > 1:
            b.strings.extend(self.strings)
        self.sequence += 1
        self.first_event += self.count
        return b.SerializeToString()


def packed_log(log, partitions, lateness_ns=500 * MS):
    """The log as the driver reads it."""
    parts = [struct.pack("<IIQQ", 0x676F6C6D, partitions, len(log), lateness_ns)]
    for append, partition, payload in log:
        parts.append(struct.pack("<IIQ", partition, len(payload), append))
        parts.append(payload)
    return b"".join(parts)
