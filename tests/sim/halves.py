"""Records to halves: each socket as its node told of it, with what it did, pane by pane, and who owned it."""

import collections
import ipaddress

from counters import FAILURE_COUNTERS

MS = 1_000_000
S = 1_000_000_000
PANE = 250 * MS
ORPHAN_PANES = 200  # 50 s
SLACK = 250 * MS
OWN_SLACK = 10 * MS  # between a node's sockets and its mappings
WAIT_PANES = 8  # 2 s: one-sided flows, and pairs that settle
KEEP_PANES = 480  # 120 s
HOPS = 4
TRIAL_PANES = 4
INFINITE = 1 << 62

CLIENT, SERVER = 0, 1  # sides
NORMAL, RECOVERED, LATE, TURNED = range(4)  # kinds of deltas; TURNED: late, and its other end counts now, or did then
TEN = 10 * S
TEN_PANES = 40
MUTE = 3 * S
RETURN_PANES = 8
VANISHED, RESET, TIMEOUT = 8, 2, 3
AGAIN, EXISTED, GUESSED, PROBE = 1, 2, 4, 8
ANSWER_LEAST_S, ANSWER_GREATEST_S, ANSWERS_MAX = 60, 3600, 16
WORDS = ("public", "link-local", "loopback", "multicast")  # that ends without a name go by


class Half:
    __slots__ = ("node", "slot", "generation", "side", "flags", "guessed", "seen", "opened", "first_pane",
                 "closed_pane", "closed", "reason", "failed", "pid", "cgroup", "parts", "accounted", "gaps",
                 "applied", "owners", "min_rtt", "connect", "lost_at", "lost", "total", "pids", "key", "hops", "peer",
                 "settled", "told", "gone", "paired_pane", "placed", "label_pane", "home", "away_until", "leaves",
                 "vague", "label", "final_peer", "epoch", "existed", "number", "turned", "waits", "onward", "history",
                 "lone", "repeated", "same", "gap", "alone", "lookups", "defined", "sought", "asked", "waiting",
                 "named_late")

    def __init__(self, number, node, slot, generation, epoch):
        self.number, self.node, self.slot, self.generation, self.epoch = number, node, slot, generation, epoch
        self.applied = self.failed = self.settled = self.told = self.gone = self.vague = self.existed = False
        self.parts, self.owners, self.pids, self.history = {}, [], [], []
        self.named_late = None  # the pane in which its record came behind its end
        self.waiting = []  # (pane, whether the cluster may still tell of its owner)
        self.lookups = {}  # by place, as parts: [(code or None for a timeout, latency in us)]
        self.defined = None  # by which batch, and where that is applied
        self.sought = None  # whom its node's lookups name at the address that it dialled, as an owner
        self.asked = None  # whom its handshake named: the pane in which that was told, and an owner
        self.accounted = [0] * 5
        self.min_rtt = self.pid = self.cgroup = self.hops = self.connect = self.gaps = self.lost = self.lost_at = 0
        self.closed_pane = self.closed = INFINITE
        self.first_pane = self.label_pane = self.placed = self.paired_pane = self.waits = -1
        self.reason = 0
        self.peer = self.final_peer = self.home = self.label = self.lone = None
        self.leaves = self.away_until = INFINITE
        self.turned = False  # its role was guessed wrong
        self.repeated = False
        self.same = self  # or the one that it goes on with, under a new agent
        self.gap = None  # the ten seconds since which something is missing, and the pane that showed it
        self.alone = None  # by ten seconds: whether it counts while it has no peer

    def part(self, pane, kind, time, gap=None):
        """What is late is kept by the ten seconds that it is of, what is healed by those since which it may be."""
        place = (pane, kind, time // TEN if kind == LATE else None, gap)
        part = self.parts.get(place)
        if part is None:
            part = self.parts[place] = Part()
        return part

    def parts_of(self, pane):
        return [part for place, part in self.parts.items() if place[0] == pane]

    def serves(self):
        """Whether others may learn from it who is at its address and port."""
        return self.side == SERVER and not self.guessed and not self.failed and not is_loopback(self.seen[2])

    def owner_at(self, pane):
        """Who owned it as far as was known in that pane."""
        best = self.owners[0][1]
        for told, owner in self.owners:
            if told <= pane:
                best = owner
        return best

    def sought_at(self, pane):
        """The name of its far end that was known in that pane, as an owner; None if there was none."""
        return self.sought or (self.asked[1] if self.asked and self.asked[0] <= pane else None)

    def asked_late(self):
        """The pane in which its handshake named whom nothing named before; None if there is none."""
        late = self.asked and not self.sought and self.asked[0] > self.first_pane
        return self.asked[0] if late else None

    def pid_at(self, pane):
        best = self.pids[0][1]
        for told, pid in self.pids:
            if told <= pane:
                best = pid
        return best


class Part:
    """What a half did in a pane."""
    __slots__ = ("traffic", "opened", "closed", "failed", "srtt", "srtt_event", "min_rtt", "connect", "time")

    def __init__(self):
        self.srtt_event = 0
        self.traffic = [0] * 5  # sent, received, segments sent, received, sent again
        self.opened = False
        self.closed = self.failed = self.srtt = self.min_rtt = self.connect = self.time = 0


def merged(parts):
    """As if it had been one."""
    if len(parts) == 1:
        return parts[0]
    out = Part()
    for part in parts:
        out.traffic = [a + b for a, b in zip(out.traffic, part.traffic)]
        out.opened |= part.opened
        out.closed, out.failed = out.closed or part.closed, out.failed or part.failed
        out.connect = out.connect or part.connect
        out.min_rtt = smaller(out.min_rtt, part.min_rtt)
        out.time = max(out.time, part.time)
    out.srtt = max(parts, key=lambda part: part.srtt_event).srtt
    return out


def smaller(a, b):
    """Of two round-trip times, of which 0 is none."""
    return b if not a or (b and b < a) else a


class Node:
    """One node, as its batches tell in the order of the log. Afterwards events are applied pane by pane."""

    def __init__(self, oracle, name):
        self.oracle, self.name = oracle, name
        self.epoch = self.boot = None
        self.former, self.seen = {}, set()
        self.samples, self.sent, self.floor = [], None, 0
        self.end_event = self.gaps = 0
        self.slots, self.halves = {}, []
        self.orphans = {}  # half whose agent began anew -> (pane, time) of that
        self.events = []  # (pane, order, late, time, kind, ...)
        self.processes, self.containers = {}, {}
        self.received = collections.Counter()
        self.lost = collections.Counter()
        self.lost_so_far = 0
        self.mappings = []
        self.newest = None  # the latest time of its own that it told of
        self.mute = False
        self.hearings = []  # (pane, whether it is mute)
        self.batch_time = 0  # the latest of those applied
        self.answers = {}  # of DNS, by process (0: any) and address: [from, until, name], oldest first
        self.answers_since = 0
        self.containers_since = {}  # in which pane they were told first
        self.awaited = []  # halves that ended while the cluster might still tell of their owner

    def corrected(self, us, offset):
        return max(us * 1000 + offset, self.floor)

    def place(self, time):
        """The pane in which it is applied, and whether it is in time for that: what a batch says late comes first."""
        pane, open_pane = time // PANE, self.oracle.open_pane
        return max(pane, open_pane), pane >= open_pane

    def put(self, time, kind, *rest):
        pane, in_time = self.place(time)
        self.events.append((pane, len(self.events), not in_time, time, kind, rest))

    def listen(self, clock):
        """Once a second of its log: a node is mute that told of nothing of the last three."""
        if not self.mute and self.newest + MUTE <= clock:
            self.mute = True
            self.hearings.append((self.oracle.open_pane, True))

    def tell(self, time, clock):
        time = min(time, clock)
        self.newest = time if self.newest is None else max(self.newest, time)
        if self.mute and self.newest + MUTE > clock:
            self.mute = False
            self.hearings.append((self.oracle.open_pane, False))

    def batch(self, b, append, clock):
        o = self.oracle.counts
        if b.epoch in self.former and b.epoch != self.epoch:
            self.straggler(b, *self.former[b.epoch])
            return
        if b.boot_id != self.boot:
            if self.sent:  # another boot, another clock, but nothing is earlier than what the one before told
                self.floor = max(self.floor, sum(self.sent))
            self.samples, self.sent = [], None
        self.samples = [s for s in self.samples if s[0] > append - 60 * S]
        self.samples.append((append, append - b.sent_realtime_ns))
        offset = min(s[1] for s in self.samples)
        offset = offset if abs(offset) > 50 * MS else 0
        if self.sent and offset < self.sent[1]:  # no event comes before the end of the batch before
            self.floor = max(self.floor, sum(self.sent))
        self.sent = b.sent_realtime_ns, offset
        self.tell(b.sent_realtime_ns + offset, clock)
        base = self.corrected(b.base_time_us, offset)
        if (b.epoch, b.boot_id) != (self.epoch, self.boot):
            self.begin(b, base)
        if b.sequence in self.seen:
            o["duplicate"] += b.events
            return
        self.seen.add(b.sequence)
        lost = b.first_event - self.end_event
        self.end_event = b.first_event + b.events
        o["issued"] += b.events + lost
        o["lost"] += lost
        self.put(base, "node", b.events, lost)
        if lost:
            self.put(base, "gap")
        self.describe = (b.zone, b.role)
        self.groups(b, base, offset)

    def straggler(self, b, seen, end):
        """Of an agent that was replaced; its batches still come in their order, but for repeats."""
        o = self.oracle.counts
        if b.sequence in seen:
            o["duplicate"] += b.events
            return
        seen.add(b.sequence)
        lost = b.first_event - end[0]
        end[0] += lost + b.events
        o["issued"] += b.events + lost
        o["lost"] += lost
        o["refused"] += b.events

    def begin(self, b, base):
        if self.epoch is None:
            self.first = base
            self.end_event = 0 if b.sequence < 64 else b.first_event  # the log is read from its first record
        else:
            self.put(base, "reset", b.boot_id != self.boot, list(self.halves))
            pane = self.events[-1][0]
            self.events.append((pane + ORPHAN_PANES, len(self.events), False, base, "expiry", ()))
            self.former[self.epoch] = self.seen, [self.end_event]
            self.end_event = 0
        self.epoch, self.boot = b.epoch, b.boot_id
        self.seen, self.slots = set(), {}

    def groups(self, b, base, offset):
        strings = list(b.strings) or [""]
        addresses = [b.addresses[i:i + 16] for i in range(0, len(b.addresses), 16)]
        c = b.containers
        for i, cgroup in enumerate(c.cgroup):
            names = {name: strings[getattr(c, name)[i]]
                     for name in ("id", "name", "image", "pod", "namespace", "workload", "unit", "path", "version")}
            names["pod_uid"] = strings[c.pod_uid[i]] if c.pod_uid else ""
            self.put(base, "container", cgroup, names)
        us, p = b.base_time_us, b.processes
        for i, pid in enumerate(p.pid):
            us += p.dt_us[i]
            name = strings[p.exe[i]].rpartition("/")[2] or strings[p.comm[i]]
            self.put(self.corrected(us, offset), "process", pid, p.cgroup[i], name,
                     f"{name}@{b.role}" if name and b.role else name)
        self.nat(b, addresses, offset, 0)
        self.definitions(b, addresses, offset)
        self.updates(b, offset)
        self.lookups(b, strings, addresses, offset)
        self.names(b, strings, offset)
        self.closes(b, offset)
        self.nat(b, addresses, offset, 1)

    def nat(self, b, addresses, offset, op):
        us, n = b.base_time_us, b.nat
        for i, own in enumerate(n.op):
            us += n.dt_us[i]
            if own != op:
                continue
            source = (addresses[n.original_source[i]], n.original_source_port[i], addresses[n.original_destination[i]],
                      n.original_destination_port[i], n.protocol[i], "")
            target = (addresses[n.reply_destination[i]], n.reply_destination_port[i], addresses[n.reply_source[i]],
                      n.reply_source_port[i], n.protocol[i], "")
            self.put(self.corrected(us, offset), "nat", op, source, target)

    def definitions(self, b, addresses, offset):
        us, d = b.base_time_us, b.definitions
        if not d.slot:
            return
        columns = zip(d.slot, d.generation, d.protocol, d.flags, d.role, d.local, d.remote, d.local_port, d.remote_port,
                      d.pid, d.cgroup, d.age_us, d.connect_us, d.tx_bytes, d.rx_bytes, d.tx_segments, d.rx_segments,
                      d.retransmits, d.srtt_us, d.min_rtt_us, d.dt_us)
        for (slot, generation, protocol, flags, role, local, remote, local_port, remote_port, pid, cgroup, age, connect,
             tx, rx, txs, rxs, retransmits, srtt, min_rtt, dt) in columns:
            us += dt
            time = self.corrected(us, offset)
            half = self.slots.get(slot)
            fresh = half is None or half.generation != generation
            if fresh:
                if half is not None:
                    self.put(time, "close", half, VANISHED, 0, None, 0, 0)
                half = self.slots[slot] = Half(len(self.oracle.halves), self, slot, generation, self.epoch)
                half.defined = b.sequence, self.place(time)
                self.oracle.halves.append(half)
                self.halves.append(half)
            if role == 0:
                server = local_port < remote_port and local_port < 32768
                flags |= GUESSED
            else:
                server = role == 2
            local, remote = addresses[local], addresses[remote]
            scope = self.name if is_loopback(local) and is_loopback(remote) else ""
            seen = ((remote, remote_port, local, local_port) if server else (local, local_port, remote, remote_port))
            self.put(time, "definition", half, fresh, flags, SERVER if server else CLIENT,
                     seen + (protocol, scope), pid, cgroup, time - age * 1000, connect, [tx, rx, txs, rxs, retransmits],
                     srtt, min_rtt)

    def updates(self, b, offset):
        us, u, slot = b.base_time_us, b.updates, 0
        sparse, at = {}, 0
        for i, step in enumerate(u.retransmits_index):
            at += step
            sparse[at] = u.retransmits[i]
        for i in range(len(u.slot)):
            slot += u.slot[i]
            us += u.dt_us[i]
            half = self.slots.get(slot)
            if half is None:
                self.oracle.counts["refused"] += 1
                continue
            self.put(self.corrected(us, offset), "update", half, [u.tx_bytes[i], u.rx_bytes[i], u.tx_segments[i],
                                                          u.rx_segments[i], sparse.get(i, 0)], u.srtt_us[i])

    def lookups(self, b, strings, addresses, offset):
        us, d, end = b.base_time_us, b.dns, 0
        for i, slot in enumerate(d.slot):
            us += d.dt_us[i]
            first, end = end, end + d.answers[i]
            half, time = self.slots.get(slot), self.corrected(us, offset)
            if half is None or (b.sequence == half.defined[0] and self.place(time) < half.defined[1]):
                self.oracle.counts["refused"] += 1  # nobody knows the socket yet
                continue
            answers = [(addresses[d.answers_address[at]], d.answers_ttl_s[at]) for at in range(first, end)]
            self.put(time, "lookup", half, None if d.flags[i] & 1 else d.rcode[i], d.latency_us[i], strings[d.name[i]],
                     answers)

    def names(self, b, strings, offset):
        us, s = b.base_time_us, b.sni
        for i, slot in enumerate(s.slot):
            us += s.dt_us[i]
            half, time = self.slots.get(slot), self.corrected(us, offset)
            if half is None or (b.sequence == half.defined[0] and self.place(time) < half.defined[1]):
                self.oracle.counts["refused"] += 1
                continue
            self.put(time, "name", half, strings[s.name[i]])

    def closes(self, b, offset):
        us, c = b.base_time_us, b.closes
        for i, slot in enumerate(c.slot):
            us += c.dt_us[i]
            half = self.slots.pop(slot, None)
            if half is None:
                self.oracle.counts["refused"] += 1
                continue
            self.put(self.corrected(us, offset), "close", half, c.reason[i], c.pid[i],
                     [c.tx_bytes[i], c.rx_bytes[i], c.tx_segments[i], c.rx_segments[i], c.retransmits[i]],
                     c.min_rtt_us[i], c.connect_us[i])

    # ---- applied, pane by pane

    def apply(self, last_pane):
        """What happens up to the last closed pane."""
        events = sorted(self.events, key=lambda event: event[:2])
        self.live, self.last_place, at = {}, {}, 0
        while at < len(events) and events[at][0] <= last_pane:
            pane, self.told, self.renamed = events[at][0], {}, False
            self.fresh, self.repeated, self.moved = [], set(), set()
            self.account(pane, events, at)
            while at < len(events) and events[at][0] == pane:
                _, self.event, late, time, kind, rest = events[at]
                getattr(self, "apply_" + kind)(pane, late, time, *rest)
                at += 1
            self.name_owners(pane)
        numbered = ("container", "process", "nat", "definition", "update", "lookup", "name", "close")
        self.oracle.counts["pending"] += sum(event[4] in numbered for event in events[at:])

    def account(self, pane, events, at):
        """What a pane's batches tell of losses is known to all that happens in it."""
        self.gap_from = INFINITE
        while at < len(events) and events[at][0] == pane:
            if events[at][4] == "reset":
                self.gap_from = min(self.gap_from, self.batch_time // TEN)
            if events[at][4] == "node":
                received, lost = events[at][5]
                if lost:
                    self.gap_from = min(self.gap_from, self.batch_time // TEN)
                self.batch_time = max(self.batch_time, events[at][3])
                self.received[pane] += received
                self.lost[pane] += lost
                self.lost_so_far += lost
            at += 1

    def apply_node(self, pane, late, time, received, lost):
        """Accounted for when its pane began."""

    def apply_gap(self, pane, late, time):
        self.gaps += 1
        for half in self.live.values():
            self.miss(half, pane)

    def miss(self, half, pane):
        since, shown = half.gap or (INFINITE, pane)
        half.gap = min(since, self.gap_from), shown

    def apply_reset(self, pane, late, time, rebooted, halves):
        for half in halves:
            if half.applied and half.closed_pane == INFINITE:
                self.orphans.setdefault(half, (pane, time))
                self.miss(half, pane)
        if rebooted:
            for half in list(self.orphans):
                self.end_orphan(half, pane, late)
            self.name_owners(pane)
            self.processes, self.containers, self.containers_since, self.awaited = {}, {}, {}, []
            self.last_place = {}
            self.answers_since = time
            self.told, self.renamed, self.fresh = {}, False, []

    def apply_expiry(self, pane, late, time):
        for half, (orphaned, _) in list(self.orphans.items()):
            if orphaned + ORPHAN_PANES <= pane:
                self.end_orphan(half, pane, late)

    def end_orphan(self, half, pane, late):
        """It was last known to live when its agent was."""
        _, time = self.orphans.pop(half)
        self.end(half, pane, LATE if late else NORMAL, time, VANISHED)

    def adopt(self, pane, late, half, flags, side, seen, pid, cgroup, total):
        """The half that a new socket's definition goes on with: that orphan's, or its own."""
        alike = [orphan for orphan in self.orphans if (orphan.side, orphan.seen) == (side, seen)]
        own = [orphan for orphan in alike if (pid or orphan.pid, cgroup) == (orphan.pid, orphan.cgroup)]
        if len(own or alike) != 1:
            return half
        orphan = (own or alike)[0]
        if not flags & EXISTED or any(now < before for now, before in zip(total, orphan.accounted)):
            self.end_orphan(orphan, pane, late)
            return half
        del self.orphans[orphan]
        half.same, orphan.gaps = orphan, -1  # whatever it moved meanwhile is recovered
        self.moved.add(orphan.number)
        return orphan

    def apply_pods(self, pane, late, time):
        self.renamed = True

    def apply_container(self, pane, late, time, cgroup, names):
        self.containers[cgroup] = names
        self.containers_since.setdefault(cgroup, pane)
        self.renamed = True

    def apply_process(self, pane, late, time, pid, cgroup, name, workload):
        self.processes[pid] = (cgroup, name, workload)
        self.renamed = True

    def apply_nat(self, pane, late, time, op, source, target):
        if source != target:
            self.oracle.nat_events.append((pane, time, op, self.name, source, target))

    def apply_definition(self, pane, late, time, half, fresh, flags, side, seen, pid, cgroup, opened, connect, total,
                         srtt, min_rtt):
        half = half.same
        if not half.applied:
            half = self.adopt(pane, late, half, flags, side, seen, pid, cgroup, total)
        if half.applied and (pid or half.pid, cgroup) == (half.pid, half.cgroup):
            self.repeated.add(half.number)
        elif not half.applied:
            self.fresh.append(half)
        half.side, half.seen, half.cgroup = side, seen, cgroup
        half.pid = pid or half.pid
        if half.owners and half.serves():
            self.last_place[half.pid, cgroup] = seen[2:]
            self.oracle.server_told(pane, seen[2:], half.owners[-1][1])
        half.connect = connect or half.connect
        kind = LATE if late else NORMAL
        if not half.applied:
            half.applied = True
            half.flags, half.guessed = flags & ~AGAIN, bool(flags & GUESSED)
            half.opened, half.first_pane, half.gaps = opened, pane, self.gaps
            half.lost_at = self.lost_so_far
            self.live[half.number] = half
            if flags & EXISTED or (flags & AGAIN and opened < self.first):
                half.existed = True
                half.accounted = total
            else:
                part = half.part(pane, LATE if late else RECOVERED if flags & AGAIN else NORMAL, time)
                self.absolute(half, part, total)
                part.opened = True
                part.connect = connect
        else:
            self.heal(half, pane, late, time, total)
        half.min_rtt = smaller(half.min_rtt, min_rtt)
        for part in half.parts_of(pane):
            part.time = time
            if srtt:
                part.srtt, part.srtt_event = srtt, self.event
            part.min_rtt = smaller(part.min_rtt, min_rtt)
        self.told[half.number] = half

    def absolute(self, half, part, total):
        for i in range(5):
            part.traffic[i] += max(0, total[i] - half.accounted[i])
        half.accounted = total

    def heal(self, half, pane, late, time, total):
        """Absolute counters: what they hold beyond the differences is healed if something was lost since the last."""
        recovered, gap = half.gaps != self.gaps, half.gap
        half.gaps, half.gap = self.gaps, None
        if all(total[i] <= half.accounted[i] for i in range(5)):
            half.accounted = total
            return
        part = half.part(pane, LATE if late else RECOVERED if recovered else NORMAL, time, gap)
        self.absolute(half, part, total)
        part.time = time

    def apply_update(self, pane, late, time, half, moved, srtt):
        half = half.same
        if not half.applied or half.closed_pane != INFINITE:
            self.oracle.counts["refused"] += 1
            return
        part = half.part(pane, LATE if late else NORMAL, time)
        for i in range(5):
            part.traffic[i] += moved[i]
        half.accounted = [a + b for a, b in zip(half.accounted, moved)]
        if srtt:
            part.srtt, part.srtt_event = srtt, self.event
        part.time = time

    def apply_lookup(self, pane, late, time, half, code, latency, name, answers):
        half = half.same
        if not half.applied or half.closed_pane != INFINITE:
            self.oracle.counts["refused"] += 1
            return
        place = (pane, LATE if late else NORMAL, time // TEN if late else None, None)
        half.lookups.setdefault(place, []).append((code, latency))
        if code == 0 and half.side == CLIENT:
            for address, ttl in answers:
                for pid in {half.pid, 0}:
                    self.answered(self.answers.setdefault((pid, address), []), time, ttl, name)

    def apply_name(self, pane, late, time, half, name):
        half = half.same
        if not half.applied or half.closed_pane != INFINITE:
            self.oracle.counts["refused"] += 1
        elif half.side == CLIENT and name not in WORDS:
            half.asked = half.asked or (pane, (name, "", "", "", "", "", "sni"))
            if half.first_pane < pane:  # told again with it, and with what the pane tells of its owner
                self.told.setdefault(half.number, half)
                self.repeated.add(half.number)

    def answered(self, known, time, ttl, name):
        until = time + min(max(ttl, ANSWER_LEAST_S), ANSWER_GREATEST_S) * S
        if known and known[-1][2] == name and self.answers_since <= known[-1][0] <= time <= known[-1][1]:
            known[-1][1] = max(known[-1][1], until)
            return
        if len(known) == ANSWERS_MAX:
            known.pop(0)
        known.insert(sum(answer[0] <= time for answer in known), [time, until, name])

    def asked(self, pid, half):
        """The name under which this process, or any, knew what the half dialled when it did."""
        for since, until, name in reversed(self.answers.get((pid, half.seen[2]), ())):
            if self.answers_since <= since <= half.opened + MS and half.opened < until:
                return name
        return None

    def seek(self, half):
        own = half.pid and self.asked(half.pid, half)
        others = self.asked(0, half)
        if own or others:
            half.sought = (own or others, "", "", "", "", "", "dns" if own else "node_dns")

    def apply_close(self, pane, late, time, half, reason, pid, total, min_rtt, connect):
        half = half.same
        if not half.applied or half.closed_pane != INFINITE:
            return
        if pid and pid != half.pid:
            half.pid = pid
            self.repeated.discard(half.number)
            self.told[half.number] = half
        half.min_rtt = smaller(half.min_rtt, min_rtt)
        if total is not None:
            self.heal(half, pane, late, time, total)
        self.end(half, pane, LATE if late else NORMAL, time, reason)
        if half.failed:
            for part in half.parts_of(pane):
                part.opened = False
            half.connect = connect or half.connect

    def end(self, half, pane, kind, time, reason):
        half.closed_pane, half.closed, half.reason = pane, time, reason
        half.total = list(half.accounted)
        half.lost = self.lost_so_far - half.lost_at
        half.failed = reason in FAILURE_COUNTERS
        part = half.part(pane, kind, time)
        part.time = time
        part.min_rtt = smaller(part.min_rtt, half.min_rtt)
        if half.failed:
            part.failed = reason
        else:
            part.closed = reason
        self.live.pop(half.number, None)
        if half.waiting and half.waiting[-1][1]:
            self.awaited.append(half)

    def name_owners(self, pane):
        """At the end of a pane, or of a boot: sockets told in it, and living ones of which something was learnt. A pid
        or cgroup of another boot is another process or container, and serves where it says so itself."""
        told = dict(self.told)
        if self.renamed:
            told.update(self.live)
        for half in told.values():
            owner = self.owner(half, pane)
            self.wait(half, pane)
            changed = not half.owners or half.owners[-1][1] != owner
            if changed:
                half.owners.append((pane, owner))
            if not half.pids or half.pids[-1][1] != half.pid:
                half.pids.append((pane, half.pid))
            # Ended in the pane of the news: those who have met it already keep what they knew.
            half.repeated = (changed and len(half.owners) > 1 and half.number in self.repeated and
                             half.number not in self.moved and half.number not in self.live)
            place = self.last_place.get((half.pid, half.cgroup))
            if changed and place and half.number in self.live:
                self.oracle.server_told(pane, place, owner)
        self.name_awaited(pane)
        for half in self.fresh:
            if half.side == CLIENT:
                self.seek(half)
            if half.serves():
                self.last_place[half.pid, half.cgroup] = half.seen[2:]
                self.oracle.server_told(pane, half.seen[2:], half.owners[-1][1])
        living = {(half.pid, half.cgroup) for half in [*self.live.values(), *self.awaited]}
        self.last_place = {key: place for key, place in self.last_place.items() if key in living}

    def cgroup_of(self, half):
        process = self.processes.get(half.pid) if half.pid else None
        return half.cgroup or (process[0] if process else 0)

    def waits(self, half, pane):
        """For what the cluster tells of its pod: if there is one, and it did not yet, within two minutes."""
        cgroup = self.cgroup_of(half)
        c = self.containers.get(cgroup) if cgroup else None
        return bool(c and c["pod_uid"] and any(known <= pane for known in self.oracle.pods_known) and
                    pane < self.containers_since[cgroup] + KEEP_PANES and not self.oracle.pod(c, pane))

    def wait(self, half, pane):
        waits = self.waits(half, pane)
        if waits != (bool(half.waiting) and half.waiting[-1][1]):
            half.waiting.append((pane, waits))
        if waits and half.closed_pane != INFINITE and half not in self.awaited:
            self.awaited.append(half)

    def name_awaited(self, pane):
        """Those that ended: the record names them, or they keep their names."""
        for half in self.awaited[:]:
            self.wait(half, pane)
            if half.waiting[-1][1]:
                continue
            self.awaited.remove(half)
            c = self.containers.get(self.cgroup_of(half))
            owner = self.owner(half, pane)
            if c and self.oracle.pod(c, pane) and half.owners[-1][1] != owner:
                half.owners.append((pane, owner))
                half.named_late = pane

    def owner(self, half, pane):
        """(workload, version, zone, node, container, process, resolution)"""
        process = self.processes.get(half.pid) if half.pid else None
        cgroup = self.cgroup_of(half)
        c = self.containers.get(cgroup) if cgroup else None
        pod = c and self.oracle.pod(c, pane)
        workload, resolution = self.name, "node"
        if process and process[2]:
            workload, resolution = process[2], "process"
        version = container = ""
        if c:
            unit = c["unit"]
            if unit.endswith(".service") and len(unit) > 8 and "system.slice/" in c["path"]:
                workload, resolution = unit[:-8], "unit"
            if c["name"] or c["pod"]:
                workload, resolution = qualified(c["namespace"], c["name"] or c["pod"]), "container"
            if c["workload"]:
                workload, resolution = qualified(c["namespace"], c["workload"]), "workload"
            version = image_version(c["image"]) or c["version"]
            container = c["pod"] or c["name"]
        if pod:
            workload, resolution = qualified(pod.namespace, pod.workload or pod.name), "workload"
            version, container = pod.version or version, pod.name
        return (workload, version, self.describe[0], self.name, container, process[1] if process else "", resolution)


class Outages:
    """When a node was out: from the ten seconds after it became mute until those that begin two seconds or more after
    it was heard again."""

    def __init__(self, hearings):
        self.spans = []  # [from, until) in ten seconds
        self.told = []  # the pane in which each span was
        for pane, mute in hearings:
            start = pane // TEN_PANES + 1
            if mute:
                if self.spans and self.spans[-1][1] >= start:
                    self.spans[-1][1] = INFINITE
                else:
                    self.spans.append([start, INFINITE])
            elif self.spans[-1][0] >= start:
                self.spans.pop()
            else:
                self.spans[-1][1] = (pane + RETURN_PANES) // TEN_PANES + 1

    def span(self, ten):
        """The one that holds these ten seconds, or None."""
        for begin, end in self.spans:
            if begin <= ten < end:
                return begin, end
        return None


def qualified(namespace, name):
    return f"{namespace}/{name}" if namespace else name


def image_version(image):
    name, _, digest = image.partition("@")
    tag = name.rpartition("/")[2].partition(":")[2]
    return tag or digest[:7 + 12]


def is_loopback(address):
    return address[:13] == b"\0" * 10 + b"\xff\xff\x7f" or address == b"\0" * 15 + b"\1"


_texts = {}


def address_text(address):
    text = _texts.get(address)
    if text is None:
        value = ipaddress.IPv6Address(address)
        text = _texts[address] = str(value.ipv4_mapped or value)
    return text


def kind_of(address):
    """What an address of nobody is called, unless it is private: by what kind of address it is."""
    value = ipaddress.IPv6Address(address)
    value = value.ipv4_mapped or value
    if value.is_loopback:
        return "loopback"
    if value.is_multicast or str(value) == "255.255.255.255":
        return "multicast"
    if value.is_link_local:
        return "link-local"
    return "public" if value.is_global else None


def address_owner(address):
    kind = kind_of(address)
    return (kind or address_text(address), "", "", "", "", "", kind or "address")
