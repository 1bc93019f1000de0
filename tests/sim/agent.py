"""The agents of a simulated world: what happens on a node becomes batches, with the mishaps that world.py names."""

import heapq
import random

from wire import MS, S, TCP, AGAIN, EXISTED, CLIENT


class Agent:
    """The agent of one node: what happens on it, in batches."""

    def __init__(self, world, node, rng):
        self.world, self.node, self.rng = world, node, rng
        self.sockets = sorted((s for s in world.sockets if s.node is node), key=lambda s: s.established)
        self.scan = rng.choice((300, 500, 1000)) * MS
        self.free, self.slots, self.generations = [], 0, {}
        self.boot = bytes([1 + rng.randrange(255)] * 16)
        self.hazards = world.hazards
        self.lookup_rng = random.Random(f"lookups {world.seed} {node.name}")
        self.handshake_rng = random.Random(f"handshakes {world.seed} {node.name}")
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
            dead = [ends for begins, ends, spool in node.outages if begins <= at < ends and spool is None]
            if dead:
                at += self.restart(at, dead[0] - at)
                continue
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
            cut = [(ends, spool) for begins, ends, spool in node.outages if begins <= end < ends and spool is not None]
            if cut:
                ends, spool = cut[0]
                if ends >= stop or end < ends - spool:
                    continue
                append = last_append = max(append, ends + self.rng.randint(0, 500) * MS)
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

    def restart(self, at, gap=None):
        """How long the node is without an agent. What lives is told as existing, what ended meanwhile is not."""
        gap = gap or self.rng.randint(100, 2000) * MS
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
        if "lookups" in self.hazards:
            self.tell_lookups(events, at, end)
        if "handshakes" in self.hazards:
            self.tell_handshakes(events, at, end)
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
        if "outages" in self.hazards:
            socket.opened = time - age
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

    def tell_lookups(self, events, at, end):
        """Over sockets that the batch tells of, and some others. A socket has its slot from its definition on until its
        close."""
        rng = self.lookup_rng
        spans = {id(socket): [socket, at, end] for socket in self.live if rng.random() < 0.03}
        for *_, socket in events:
            if id(socket) not in spans and rng.random() < 0.3:
                spans[id(socket)] = [socket, at, end]
        for time, _, _, kind, socket in events:
            if id(socket) in spans and kind in ("define", "existed"):
                spans[id(socket)][1] = time
            if id(socket) in spans and kind == "close":
                spans[id(socket)][2] = time
        for socket, begin, until in spans.values():
            for _ in range(rng.randint(1, 3)):
                self.lookup(socket, rng.randint(begin // 1000, until // 1000) * 1000, rng)
        if rng.random() < 0.1:
            self.drop_and_listener(end, rng)

    def lookup(self, socket, time, rng):
        d = self.batch.dns
        timeout = rng.random() < 0.1
        d.slot.append(socket.slot)
        d.name.append(self.string(rng.choice(("shop.test", "gone.test"))))
        d.type.append(rng.choice((1, 28)))
        d.rcode.append(0 if timeout else rng.choice((0, 0, 0, 1, 2, 3, 3, 5, 16, 4095)))
        d.flags.append(1 if timeout else rng.choice((0, 0, 2)))
        d.latency_us.append(5_000_000 if timeout else rng.choice((0, 1, 700, 90_000)))
        answers = rng.choice((0, 0, 1, 2))
        d.answers.append(answers)
        for _ in range(answers):
            d.answers_address.append(self.address(socket.remote[0]))
            d.answers_ttl_s.append(rng.randint(0, 300))
        d.dt_us.append(self.dt("dns", time))
        self.count += 1

    def tell_handshakes(self, events, at, end):
        """Of clients, mostly soon after they began."""
        rng = self.handshake_rng
        spans = {id(socket): [socket, at, end] for socket in self.live if rng.random() < 0.02}
        for time, _, _, kind, socket in events:
            if kind == "define" and rng.random() < 0.5:
                spans[id(socket)] = [socket, time, min(end, time + rng.choice((0, 1, 50, 400)) * MS)]
            elif id(socket) in spans and kind in ("define", "existed"):
                spans[id(socket)][1] = time
            if id(socket) in spans and kind == "close":
                spans[id(socket)][2] = min(time, spans[id(socket)][2])
        s = self.batch.sni
        for socket, begin, until in spans.values():
            if socket.told_role != CLIENT:
                continue
            s.slot.append(socket.slot)
            s.name.append(self.string(rng.choice(("tls.test", "shop.test", "public"))))
            s.dt_us.append(self.dt("sni", rng.randint(begin // 1000, max(begin, until) // 1000) * 1000))
            self.count += 1

    def drop_and_listener(self, time, rng):
        drops, listeners = self.batch.drops, self.batch.listeners
        drops.reason.append(self.string(rng.choice(("NO_SOCKET", "NETFILTER_DROP"))))
        drops.kind.append(rng.randint(0, 1))
        drops.protocol.append(TCP)
        drops.packets.append(rng.randint(1, 9))
        for column in (drops.source, drops.destination, listeners.address):
            column.append(self.address(self.node.address))
        drops.dt_us.append(self.dt("drops", time))
        listeners.cookie.append(rng.randint(1, 5))
        listeners.flags.append(rng.choice((0, 1, 1, 2)))
        listeners.port.append(80)
        listeners.drops.append(rng.randint(0, 9))
        listeners.dt_us.append(self.dt("listeners", time))
        self.count += 2

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
