"""What the pipeline must say of a log, computed another way: from the same records, in one go, by their public meaning
(proto/millrace/v1, docs/events.md, docs/topics.md), with lists, dictionaries and every pair looked at.

    expected = Oracle(log, partitions, batch_class).expected()
    problems = compare(expected, output)

Steps: read() dedupes and dates events and gives each socket (half) its deltas, one a pane and kind; Join pairs halves
as panes of knowledge come; rows() adds the deltas up under the labels that the end of the log knows.

What is exact, and what is bounded
----------------------------------
A label of pane k acts on pane k itself. Windows of ten seconds and longer must be exact: amendments move what was
given under an earlier label, so the sum of all rows of one key and window, signed ones included, is compared with the
sum under final labels. (A late half is waited for 120 s; worlds are shorter, so each change of a label is amended.)

Panes and seconds are not amended. There a delta is *certain* if its half's final label was known in its pane (both
halves told, every mapping told, both owners told), and *provisional* otherwise: it stood under some earlier label. Of
each short row its certain part must be there in full; what is left over in all rows of a window may not be negative
anywhere and must add up, over all edges, to the provisional deltas: exactly in the columns of each end (client_*,
server_*), and to at most their sum in the counted columns, since two halves that do not know of each other yet both
count, and of two that do only one. A window without provisional deltas is exact, row by row.

A mapping of NAT belongs to a connection if their lives touch within 250 ms and it was told at the opening or later:
the first packet makes it. Halves pair by key, overlapping life and nearest opening; a pair older than 2 s, or told,
stays. A closed half without a peer is told as a one-sided flow after 2 s, and a pair whose other end does not close
after 120 s. A role that is guessed is tried
the other way round once, for three panes, the greater key first. What two halves of one node and slot say is one
socket; an agent's restart makes new halves of old sockets, which exist already: they were opened before.

Each socket keeps the owner that was known when it ended; what is told of a living one's owner also moves what it did
before. A client's half that existed before its agent has no past of its own: what the server's half told before it
came stays counted.

GAPS are the known differences of the pipeline at hand, each with a name; take a name away when it is mended. POLICY
says which rows are made."""

import bisect
import collections
import ipaddress
import re

MS = 1_000_000
S = 1_000_000_000
PANE = 250 * MS
SLACK = 250 * MS
WAIT_PANES = 8  # 2 s: one-sided flows, and pairs that settle
KEEP_PANES = 480  # 120 s
HOPS = 4
TRIAL_PANES = 4
INFINITE = 1 << 62

COUNTERS = ("client_tx_bytes client_rx_bytes server_tx_bytes server_rx_bytes client_retransmits server_retransmits "
            "tx_bytes rx_bytes tx_segments rx_segments retransmits opened closed failed failed_refused "
            "failed_timeout failed_unreachable failed_aborted resets timeouts joined active connect_us "
            "connect_count srtt_us srtt_count late_bytes late_connections recovered_bytes agent_received "
            "agent_issued").split()
(CLIENT_TX, CLIENT_RX, SERVER_TX, SERVER_RX, CLIENT_RETRANSMITS, SERVER_RETRANSMITS, TX, RX, TX_SEGMENTS, RX_SEGMENTS,
 RETRANSMITS, OPENED, CLOSED, FAILED, FAILED_REFUSED, FAILED_TIMEOUT, FAILED_UNREACHABLE, FAILED_ABORTED, RESETS,
 TIMEOUTS, JOINED, ACTIVE, CONNECT_US, CONNECT_COUNT, SRTT_US, SRTT_COUNT, LATE_BYTES, LATE_CONNECTIONS,
 RECOVERED_BYTES, AGENT_RECEIVED, AGENT_ISSUED) = range(len(COUNTERS))

# Connection events: all that panes of lanes, clients and servers hold.
CONNECTION_EVENTS = frozenset((OPENED, CLOSED, FAILED, FAILED_REFUSED, FAILED_TIMEOUT, FAILED_UNREACHABLE,
                               FAILED_ABORTED, RESETS, TIMEOUTS, JOINED, CONNECT_US, CONNECT_COUNT))
# What each end tells of itself, whoever counts.
OWN_COLUMNS = frozenset((CLIENT_TX, CLIENT_RX, SERVER_TX, SERVER_RX, CLIENT_RETRANSMITS, SERVER_RETRANSMITS,
                         AGENT_RECEIVED, AGENT_ISSUED))

BYTES = (CLIENT_TX, CLIENT_RX, SERVER_TX, SERVER_RX)
AGAINS = (CLIENT_RETRANSMITS, SERVER_RETRANSMITS)

EDGE, LANE, CLIENT_ROW, SERVER_ROW = range(4)
CLIENT, SERVER = 0, 1  # sides
NORMAL, RECOVERED, LATE = range(3)  # kinds of deltas
VANISHED, RESET, TIMEOUT = 8, 2, 3
FAILURE_COUNTERS = {4: FAILED_REFUSED, 5: FAILED_TIMEOUT, 6: FAILED_UNREACHABLE, 7: FAILED_ABORTED}
AGAIN, EXISTED, GUESSED, PROBE = 1, 2, 4, 8


class Policy:
    """Which rows there are: window lengths in ms of edges and of their parts; windows of parts that hold connection
    events only; from which length on rows have a round-trip sketch; whether more than that is wrong."""

    def __init__(self, edge, parts, parts_events_only, srtt_from, strict):
        self.edge, self.parts, self.parts_events_only, self.srtt_from = edge, parts, parts_events_only, srtt_from
        self.strict = strict


HOURS = Policy(edge=(250, 1000, 10_000, 60_000, 3_600_000), parts=(250, 10_000), parts_events_only=(250,),
               srtt_from=10_000, strict=True)
# Windows up to ten seconds; parts have seconds too, and panes of parts hold more: neither is looked at.
TEN_SECONDS = Policy(edge=(250, 1000, 10_000), parts=(250, 10_000), parts_events_only=(250,), srtt_from=250,
                     strict=False)

POLICY = TEN_SECONDS
GAPS = frozenset((
    "failed_connect",  # a failed attempt's flow does not say how long it took
    "trial_close",  # a close in the pane in which a guessed role's trial ends is lost, and with it the flow
    "amended_samples",  # amendments leave round-trip times, sketches, completeness, late and recovered where they were
    "told_stay_apart",  # of two halves that were both told as one-sided flows neither finds the other any more
    "told_resolution",  # where a server is is not told again when only the way of its name changes
    "unnamed",  # a row may come before the name of an owner that was learnt late
    "existed_uncounts",  # what a server's half counted before the client's half, which existed already, was told is lost
    "final_stays",  # what is learnt of an owner after both halves met moves nothing that was before
    "recovered_hides_active",  # a socket active and healed in one pane may not be active in the pane and the second
))
SAMPLES = frozenset((CONNECT_US, CONNECT_COUNT, SRTT_US, SRTT_COUNT, AGENT_RECEIVED, AGENT_ISSUED, LATE_BYTES,
                     LATE_CONNECTIONS, RECOVERED_BYTES))


class Half:
    __slots__ = ("node", "slot", "generation", "side", "flags", "guessed", "seen", "opened", "first_pane", "closed_pane",
                 "closed", "reason", "failed", "pid", "cgroup", "parts", "accounted", "gaps", "applied", "owners",
                 "min_rtt", "connect", "lost_at", "lost", "total", "pids", "key", "hops", "peer", "settled", "told",
                 "gone", "paired_pane", "placed", "label_pane", "home", "away_until", "leaves", "vague",
                 "label", "final_peer", "epoch", "existed", "number", "turned", "waits", "onward", "history", "lone")

    def __init__(self, number, node, slot, generation, epoch):
        self.number, self.node, self.slot, self.generation, self.epoch = number, node, slot, generation, epoch
        self.applied = self.failed = self.settled = self.told = self.gone = self.vague = self.existed = False
        self.parts, self.owners, self.pids, self.history = {}, [], [], []
        self.accounted = [0] * 5
        self.min_rtt = self.pid = self.cgroup = self.hops = self.connect = self.gaps = self.lost = self.lost_at = 0
        self.closed_pane = self.closed = INFINITE
        self.first_pane = self.label_pane = self.placed = self.paired_pane = self.waits = -1
        self.reason = 0
        self.peer = self.final_peer = self.home = self.label = self.lone = None
        self.leaves = self.away_until = INFINITE
        self.turned = False  # its role was guessed wrong

    def part(self, pane, kind):
        part = self.parts.get((pane, kind))
        if part is None:
            part = self.parts[pane, kind] = Part()
        return part

    def owner_at(self, pane):
        """Who owned it as far as was known in that pane."""
        best = self.owners[0][1]
        for told, owner in self.owners:
            if told <= pane:
                best = owner
        return best

    def pid_at(self, pane):
        best = self.pids[0][1]
        for told, pid in self.pids:
            if told <= pane:
                best = pid
        return best


class Part:
    """What a half did in a pane."""
    __slots__ = ("traffic", "opened", "closed", "failed", "srtt", "min_rtt", "connect", "time")

    def __init__(self):
        self.traffic = [0] * 5  # sent, received, segments sent, received, sent again
        self.opened = False
        self.closed = self.failed = self.srtt = self.min_rtt = self.connect = self.time = 0


class Mapping:
    """A stretch of one node's NAT entry: from -> to, told from begin on, latest last, ended at end."""
    __slots__ = ("node", "source", "target", "begin", "latest", "end", "known")

    def __init__(self, node, source, target, known):
        self.node, self.source, self.target, self.known = node, source, target, known
        self.begin, self.latest, self.end = INFINITE, -1, INFINITE

    def covers(self, opened, closed):
        return self.begin <= closed + SLACK and opened <= self.end + SLACK and self.latest >= opened - SLACK


def smaller(a, b):
    """Of two round-trip times, of which 0 is none."""
    return b if not a or (b and b < a) else a


# ---- records to halves


class Node:
    """One node, as its batches tell in the order of the log. Afterwards events are applied pane by pane."""

    def __init__(self, oracle, name):
        self.oracle, self.name = oracle, name
        self.epoch = self.boot = None
        self.former, self.seen = set(), set()
        self.samples = []
        self.next_sequence = self.end_event = self.gaps = 0
        self.slots, self.halves = {}, []
        self.events = []  # (pane, order, late, time, kind, ...)
        self.processes, self.containers = {}, {}
        self.received = collections.Counter()
        self.lost = collections.Counter()
        self.lost_so_far = 0
        self.mappings = []

    def corrected(self, us, offset):
        return us * 1000 + offset

    def put(self, time, kind, *rest):
        open_pane = self.oracle.open_pane
        pane = time // PANE
        late = pane < open_pane
        self.events.append((max(pane, open_pane), len(self.events), late, time, kind, rest))

    def batch(self, b, append):
        o = self.oracle.counts
        if b.epoch in self.former and b.epoch != self.epoch:
            o["issued"] += b.events
            o["refused"] += b.events
            return
        self.samples = [s for s in self.samples if s[0] > append - 60 * S]
        self.samples.append((append, append - b.sent_realtime_ns))
        offset = min(s[1] for s in self.samples)
        offset = offset if abs(offset) > 50 * MS else 0
        base = self.corrected(b.base_time_us, offset)
        if (b.epoch, b.boot_id) != (self.epoch, self.boot):
            self.begin(b, base)
        if b.sequence in self.seen:
            o["duplicate"] += b.events
            return
        self.seen.add(b.sequence)
        self.gaps += b.sequence > self.next_sequence
        self.next_sequence = max(self.next_sequence, b.sequence + 1)
        lost = b.first_event - self.end_event
        self.end_event = b.first_event + b.events
        o["issued"] += b.events + lost
        o["lost"] += lost
        self.put(base, "node", b.events, lost)
        self.describe = (b.zone, b.role)
        self.groups(b, base, offset)

    def begin(self, b, base):
        if self.epoch is None:
            self.first = base
            self.next_sequence, self.end_event = b.sequence, b.first_event
        else:
            self.put(base, "reset", b.boot_id != self.boot, list(self.halves))
            self.next_sequence = self.end_event = 0
            self.former.add(self.epoch)
        self.epoch, self.boot = b.epoch, b.boot_id
        self.seen, self.slots = set(), {}

    def groups(self, b, base, offset):
        strings = list(b.strings) or [""]
        addresses = [b.addresses[i:i + 16] for i in range(0, len(b.addresses), 16)]
        c = b.containers
        for i, cgroup in enumerate(c.cgroup):
            names = {name: strings[getattr(c, name)[i]]
                     for name in ("name", "image", "pod", "namespace", "workload", "unit", "path", "version")}
            self.put(base, "container", cgroup, names)
        us, p = b.base_time_us, b.processes
        for i, pid in enumerate(p.pid):
            us += p.dt_us[i]
            name = strings[p.exe[i]].rpartition("/")[2] or strings[p.comm[i]]
            self.put(us * 1000 + offset, "process", pid, p.cgroup[i], name,
                     f"{name}@{b.role}" if name and b.role else name)
        self.nat(b, addresses, offset, 0)
        self.definitions(b, addresses, offset)
        self.updates(b, offset)
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
            self.put(us * 1000 + offset, "nat", op, source, target)

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
            time = us * 1000 + offset
            half = self.slots.get(slot)
            fresh = half is None or half.generation != generation
            if fresh:
                if half is not None:
                    self.put(time, "close", half, VANISHED, 0, None, 0, 0, 0)
                half = self.slots[slot] = Half(len(self.oracle.halves), self, slot, generation, self.epoch)
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
                     srtt, min_rtt, self.gaps)

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
            self.put(us * 1000 + offset, "update", half, [u.tx_bytes[i], u.rx_bytes[i], u.tx_segments[i],
                                                          u.rx_segments[i], sparse.get(i, 0)], u.srtt_us[i])

    def closes(self, b, offset):
        us, c = b.base_time_us, b.closes
        for i, slot in enumerate(c.slot):
            us += c.dt_us[i]
            half = self.slots.pop(slot, None)
            if half is None:
                self.oracle.counts["refused"] += 1
                continue
            self.put(us * 1000 + offset, "close", half, c.reason[i], c.pid[i],
                     [c.tx_bytes[i], c.rx_bytes[i], c.tx_segments[i], c.rx_segments[i], c.retransmits[i]],
                     c.min_rtt_us[i], c.connect_us[i], self.gaps)

    # ---- applied, pane by pane

    def apply(self, last_pane):
        """What happens up to the last closed pane."""
        events = sorted(self.events, key=lambda event: event[:2])
        self.live, at = {}, 0
        while at < len(events) and events[at][0] <= last_pane:
            pane, self.told, self.renamed = events[at][0], {}, False
            while at < len(events) and events[at][0] == pane:
                _, _, late, time, kind, rest = events[at]
                getattr(self, "apply_" + kind)(pane, late, time, *rest)
                at += 1
            self.name_owners(pane)
        numbered = ("container", "process", "nat", "definition", "update", "close")
        self.oracle.counts["pending"] += sum(event[4] in numbered for event in events[at:])

    def apply_node(self, pane, late, time, received, lost):
        self.received[pane] += received
        self.lost[pane] += lost
        self.lost_so_far += lost

    def apply_reset(self, pane, late, time, rebooted, halves):
        for half in halves:
            if half.applied and half.closed_pane == INFINITE:
                self.end(half, pane, LATE if late else NORMAL, time, VANISHED)
        if rebooted:
            self.processes, self.containers = {}, {}

    def apply_container(self, pane, late, time, cgroup, names):
        self.containers[cgroup] = names
        self.renamed = True

    def apply_process(self, pane, late, time, pid, cgroup, name, workload):
        self.processes[pid] = (cgroup, name, workload)
        self.renamed = True

    def apply_nat(self, pane, late, time, op, source, target):
        if source != target:
            self.oracle.nat_events.append((pane, time, op, self.name, source, target))

    def apply_definition(self, pane, late, time, half, fresh, flags, side, seen, pid, cgroup, opened, connect, total,
                         srtt, min_rtt, gaps):
        half.side, half.seen, half.cgroup = side, seen, cgroup
        half.pid = pid or half.pid
        half.connect = connect or half.connect
        kind = LATE if late else NORMAL
        if not half.applied:
            half.applied = True
            half.flags, half.guessed = flags & ~AGAIN, bool(flags & GUESSED)
            half.opened, half.first_pane, half.gaps = opened, pane, gaps
            half.lost_at = self.lost_so_far
            self.live[half.number] = half
            if flags & EXISTED or (flags & AGAIN and opened < self.first):
                half.existed = True
                half.accounted = total
            else:
                part = half.part(pane, LATE if late else RECOVERED if flags & AGAIN else NORMAL)
                self.absolute(half, part, total)
                part.opened = True
                part.connect = connect
        else:
            self.heal(half, pane, late, time, total, gaps)
        half.min_rtt = smaller(half.min_rtt, min_rtt)
        for kind in (NORMAL, RECOVERED, LATE):
            part = half.parts.get((pane, kind))
            if part:
                part.time = time
                part.srtt = srtt or part.srtt
                part.min_rtt = smaller(part.min_rtt, min_rtt)
        self.told[half.number] = half

    def absolute(self, half, part, total):
        for i in range(5):
            part.traffic[i] += max(0, total[i] - half.accounted[i])
        half.accounted = total

    def heal(self, half, pane, late, time, total, gaps):
        """Absolute counters: what they hold beyond the differences is healed if something was lost since the last."""
        recovered = half.gaps != gaps
        half.gaps = gaps
        if all(total[i] <= half.accounted[i] for i in range(5)):
            half.accounted = total
            return
        part = half.part(pane, LATE if late else RECOVERED if recovered else NORMAL)
        self.absolute(half, part, total)
        part.time = time

    def apply_update(self, pane, late, time, half, moved, srtt):
        if not half.applied or half.closed_pane != INFINITE:
            self.oracle.counts["refused"] += 1
            return
        part = half.part(pane, LATE if late else NORMAL)
        for i in range(5):
            part.traffic[i] += moved[i]
        half.accounted = [a + b for a, b in zip(half.accounted, moved)]
        part.srtt = srtt or part.srtt
        part.time = time

    def apply_close(self, pane, late, time, half, reason, pid, total, min_rtt, connect, gaps):
        if not half.applied or half.closed_pane != INFINITE:
            return
        if pid and pid != half.pid:
            half.pid = pid
            self.told[half.number] = half
        half.min_rtt = smaller(half.min_rtt, min_rtt)
        if total is not None:
            self.heal(half, pane, late, time, total, gaps)
        self.end(half, pane, LATE if late else NORMAL, time, reason)
        if half.failed:
            for kind in (NORMAL, RECOVERED, LATE):
                if (pane, kind) in half.parts:
                    half.parts[pane, kind].opened = False
            if "failed_connect" not in self.oracle.gaps:
                half.connect = connect or half.connect

    def end(self, half, pane, kind, time, reason):
        half.closed_pane, half.closed, half.reason = pane, time, reason
        half.total = list(half.accounted)
        half.lost = self.lost_so_far - half.lost_at
        half.failed = reason in FAILURE_COUNTERS
        part = half.part(pane, kind)
        part.time = time
        part.min_rtt = smaller(part.min_rtt, half.min_rtt)
        if half.failed:
            part.failed = reason
        else:
            part.closed = reason
        self.live.pop(half.number, None)

    def name_owners(self, pane):
        """At the end of a pane: sockets told in it, and living ones of which something was learnt."""
        told = dict(self.told)
        if self.renamed:
            told.update(self.live)
        for half in told.values():
            owner = self.owner(half)
            changed = not half.owners or half.owners[-1][1] != owner
            if changed:
                half.owners.append((pane, owner))
            if not half.pids or half.pids[-1][1] != half.pid:
                half.pids.append((pane, half.pid))
            if changed or half.number in self.told:
                self.oracle.servers_told(pane, half, owner)

    def owner(self, half):
        """(workload, version, zone, node, container, process, resolution)"""
        process = self.processes.get(half.pid) if half.pid else None
        cgroup = half.cgroup or (process[0] if process else 0)
        c = self.containers.get(cgroup) if cgroup else None
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
        return (workload, version, self.describe[0], self.name, container, process[1] if process else "", resolution)


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


def address_owner(address):
    return (address_text(address), "", "", "", "", "", "address")


# ---- halves to pairs


class Join:
    """Pane by pane, what was told up to it decides who belongs to whom."""

    def __init__(self, oracle):
        self.oracle = oracle
        self.by_key = collections.defaultdict(list)
        self.out, self.into = collections.defaultdict(list), collections.defaultdict(list)
        self.flows, self.optional, self.loose = {}, set(), set()
        self.relabelled = set()
        self.returning = []  # halves on their way to a trial, or back

    def run(self, last_pane):
        halves = [h for h in self.oracle.halves if h.applied]
        opens, closes, nats, owners = (collections.defaultdict(list) for _ in range(4))
        panes = set()
        for half in halves:
            opens[half.first_pane].append(half)
            panes.add(half.first_pane)
            for told, _ in half.owners[1:]:
                owners[told].append(half)
                panes.add(told)
            if half.closed_pane != INFINITE:
                closes[half.closed_pane].append(half)
                panes.add(half.closed_pane)
        for event in self.oracle.nat_events:
            nats[event[0]].append(event)
            panes.add(event[0])
        self.todo = sorted(panes)
        while self.todo and self.todo[0] <= last_pane:
            pane = self.todo.pop(0)
            self.touched = {}
            self.step(pane, opens[pane], closes[pane], nats[pane], owners[pane])
        return self

    def later(self, pane):
        if pane <= self.pane:
            return
        at = bisect.bisect_left(self.todo, pane)
        if at == len(self.todo) or self.todo[at] != pane:
            self.todo.insert(at, pane)

    def step(self, pane, opens, closes, nats, owners):
        """Rounds: who goes on through a mapping arrives in the next. Trials begin and end in the first."""
        self.pane = pane
        self.map(nats)
        for half in opens:
            self.arrive(half)
        for half in closes:
            self.touch(half)
        for half in owners:
            if not half.peer and not half.gone:
                self.relabel(half)
        for turn in range(1 + HOPS):
            going = [half for half in list(self.touched.values()) if self.goes_on(half)]
            for half in going:
                self.touched.pop(half.number, None)
                half.placed = -1
            self.pair_all()
            if turn == 0:
                self.guesses()
            for half, _ in self.returning:
                self.touched.pop(half.number, None)
                half.placed = -1
            self.place()
            self.tell()
            self.touched = {}
            if not going and not self.returning:
                break
            for half, key in self.returning:
                self.rekey(half, key)
            self.returning = []
            for half in going:
                self.hop(half)
        for half in self.relabelled:
            if not half.peer and not half.home:
                half.lone = self.oracle.ends(self, *((half, None) if half.side == CLIENT else (None, half)), pane)
        self.relabelled = set()

    def touch(self, half):
        if not half.gone:
            self.touched[half.number] = half

    def closed(self, half):
        return half.closed if half.closed_pane <= self.pane else INFINITE

    # -- mappings

    def map(self, nats):
        for _, time, op, node, source, target in sorted(nats, key=lambda event: event[1:]):
            found = None
            for mapping in self.out[source]:
                if mapping.target == target and mapping.node == node and time <= mapping.end:
                    found = mapping
            if found is None:
                found = Mapping(node, source, target, self.pane)
                self.out[source].append(found)
                self.into[target].append(found)
            found.begin = min(found.begin, time)
            if op == 0:
                found.latest = max(found.latest, time)
            elif found.end == INFINITE:
                found.end = time
            for half in self.by_key[source]:
                if half.side == CLIENT:
                    self.touch(half)
            for half in self.by_key[target]:
                if half.side == SERVER and not half.peer:
                    self.touch(half)
                    self.relabel(half)

    def best(self, mappings, half):
        fitting = [m for m in mappings if m.covers(half.opened, self.closed(half))]
        return min(fitting, key=lambda m: abs(m.begin - half.opened), default=None)

    def arrive(self, half):
        half.key, half.hops = half.seen, 0
        half.label_pane = self.pane
        if half.side == CLIENT:
            for _ in range(HOPS):  # what its own node translates is no hop
                mapping = self.best([m for m in self.out[half.key] if m.node == half.node.name], half)
                if mapping is None or mapping.target == half.seen:
                    break
                half.key = mapping.target
        self.by_key[half.key].append(half)
        if half.guessed:
            self.watch(half, 0)
        self.touch(half)
        self.relabel(half)

    def goes_on(self, half):
        """A client's half leaves for where a mapping told elsewhere, or late, leads it."""
        if half.gone or half.side != CLIENT or half.settled or half.home or half.hops == HOPS:
            return False
        half.onward = self.best(self.out[half.key], half)
        if half.onward is None:
            return False
        self.part(half)
        self.leave(half)
        return True

    def hop(self, half):
        self.rekey(half, half.onward.target)
        half.hops += 1
        if half.guessed:
            self.watch(half, 1)
        self.relabel(half)

    def rekey(self, half, key):
        self.leave(half)
        half.key = key
        self.by_key[key].append(half)
        half.placed = -1
        self.touch(half)

    # -- guessed roles

    def watch(self, half, later):
        reverse = reversed_key(half.key)
        if key_bytes(half.key) == key_bytes(reverse):
            return
        half.leaves = self.pane + later + (1 if key_bytes(half.key) > key_bytes(reverse) else TRIAL_PANES)
        self.later(half.leaves)

    def guesses(self):
        for half in self.oracle.halves:
            if not half.applied or half.gone or half.peer or half.told:
                continue
            if half.leaves == self.pane and half.guessed and not half.home:
                half.home = (half.key, half.side, half.seen)
                half.side ^= 1
                half.seen = reversed_key(half.seen)
                self.leave(half)
                self.returning.append((half, reversed_key(half.key)))
                half.away_until = self.pane + TRIAL_PANES
                self.later(half.away_until)
            elif half.away_until == self.pane and half.home:
                key, half.side, half.seen = half.home
                half.home, half.guessed = None, False
                self.relabel(half)
                self.leave(half)
                self.returning.append((half, key))

    # -- pairs

    def lives_touch(self, a, b, slack):
        return b.opened <= self.closed(a) + slack and a.opened <= self.closed(b) + slack

    def pair_all(self):
        keys = {half.key for half in self.touched.values() if not half.gone}
        for key in keys:
            self.pair_key(key)

    def pair_key(self, key):
        """Nearest openings first, over all that may still choose."""
        free = [h for h in self.by_key[key] if not (h.gone or h.settled or (h.failed and h.closed_pane <= self.pane))]
        clients, servers = [h for h in free if h.side == CLIENT], [h for h in free if h.side == SERVER]
        if not clients or not servers:
            for half in free:
                if half.peer and half.peer not in free:
                    self.part(half)
            return
        apart = "told_stay_apart" in self.oracle.gaps
        pairs = [(abs(c.opened - s.opened), c.number, s.number, c, s) for c in clients for s in servers
                 if self.lives_touch(c, s, SLACK) and not (c.told and s.told and apart)]
        pairs.sort(key=lambda pair: pair[:3])
        taken = {}
        for _, _, _, c, s in pairs:
            if c not in taken and s not in taken:
                taken[c], taken[s] = s, c
        for half in free:
            if half.peer is not None and taken.get(half) is not half.peer:
                self.part(half)
        for half, peer in taken.items():
            if half.peer is not peer:
                half.turned = half.turned or half.home is not None
                half.peer, half.paired_pane, half.placed = peer, self.pane, self.pane
                half.guessed, half.home = False, None
                self.relabel(half)
                self.touch(half)

    def part(self, half):
        peer = half.peer
        if peer is None:
            return
        half.peer = peer.peer = None
        half.placed = peer.placed = -1
        for one in (half, peer):
            self.touch(one)
            self.relabel(one)

    def relabel(self, half):
        half.label_pane = self.pane
        self.relabelled.add(half)
        if half.history and half.history[-1][0] == self.pane:
            half.history.pop()
        half.history.append((self.pane, half.peer))

    # -- what is over

    def place(self):
        for half in self.touched.values():
            if half.gone:
                continue
            if half.peer:
                self.place_pair(half)
            else:
                self.place_lone(half)

    def is_closed(self, half):
        return half.closed_pane <= self.pane

    def place_pair(self, half):
        peer = half.peer
        if self.is_closed(half) and self.is_closed(peer):
            certain = self.lives_touch(half, peer, 0) and abs(half.opened - peer.opened) <= SLACK
            if half.settled or certain:
                self.emit(half)
                half.gone = peer.gone = True
                self.leave(half)
                self.leave(peer)
                return
        if not half.settled:
            self.later(half.paired_pane + WAIT_PANES)
            return
        for one, other in ((half, peer), (peer, half)):
            if self.is_closed(one) and not self.is_closed(other) and one.waits < 0:
                one.waits = self.pane
                self.later(self.pane + KEEP_PANES)

    def place_lone(self, half):
        if not self.is_closed(half):
            return
        if half.told and half.settled:
            half.gone = True
            self.leave(half)
        elif half.failed:
            self.emit(half)
            half.gone = True
            self.leave(half)
        elif not half.told:
            if half.placed < 0:
                half.placed = self.pane
            self.later(half.placed + WAIT_PANES)
        else:
            if half.placed < 0:
                half.placed = self.pane
            self.later(half.placed + KEEP_PANES)

    def leave(self, half):
        if half in self.by_key[half.key]:
            self.by_key[half.key].remove(half)

    def tell(self):
        """What waited long enough."""
        pane = self.pane
        for half in self.oracle.halves:
            if not half.applied or half.gone or half.first_pane > pane:
                continue
            if half.peer and not half.settled and pane - half.paired_pane >= WAIT_PANES:
                half.settled = half.peer.settled = True
                self.place_pair(half)
            elif not half.peer and self.is_closed(half) and not half.told and half.placed >= 0 and \
                    pane - half.placed >= WAIT_PANES:
                self.emit(half)
                half.told = True
                half.placed = pane
                self.later(pane + KEEP_PANES)
            elif not half.peer and self.is_closed(half) and half.told and half.placed >= 0 and \
                    pane - half.placed >= KEEP_PANES:
                half.gone = True
                self.leave(half)
            elif half.peer and half.settled and self.is_closed(half) and not self.is_closed(half.peer) and \
                    pane - half.waits >= KEEP_PANES:
                self.emit(half)
                half.final_peer, half.peer.final_peer = half.peer, half
                half.gone = True
                half.peer.told = True
                half.peer.peer = None
                self.leave(half)

    # -- what it says

    def emit(self, half):
        peer = half.peer
        client, server = (half, peer) if half.side == CLIENT else (peer, half)
        first = client or server
        told = client if client and client.told else server if server and server.told else None
        ends = self.oracle.ends(self, client, server, self.pane)
        over = first if self.is_closed(first) else half
        key = (told or first).number
        flow = ends.flow(over, half, self)
        self.flows[key] = flow
        if ends.vague:
            self.loose.add(opening(flow))
        if "trial_close" in self.oracle.gaps and not peer and half.closed_pane == half.away_until:
            self.optional.add(flow)
        if client:
            client.final_peer = server
        if server:
            server.final_peer = client


def reversed_key(key):
    return (key[2], key[3], key[0], key[1]) + key[4:]


def key_bytes(key):
    return key[0] + key[2] + key[1].to_bytes(2, "little") + key[3].to_bytes(2, "little")


class Ends:
    """A connection as far as it was known in a pane."""

    def __init__(self, join, client, server, pane, places):
        half = client or server
        self.client, self.server, self.pane = client, server, pane
        self.key = key = half.key
        self.client_place, self.dialled = key[:2], key[2:4]
        self.hops, seen = 0, None
        self.vague = False
        if client:
            seen, self.hops = client.seen, client.hops
        else:
            mapping = join.best(join.into[key], server)
            if mapping:
                seen, self.hops = mapping.source, 1
        if seen:
            self.client_place, self.dialled = seen[:2], seen[2:4]
        self.client_owner = client.owner_at(pane) if client else address_owner(self.client_place[0])
        if server:
            self.server_owner = server.owner_at(pane)
        else:
            told = [place for place in places.get(key[2:], ()) if place[0] <= pane]
            self.server_owner = told[-1][1] if told else address_owner(key[2])
            self.vague = bool(told) and any(place[0] == told[-1][0] and place[1] != told[-1][1] for place in told)

    def edge(self):
        return f"{self.client_owner[0]}|{self.server_owner[0]}|{self.key[3]}|{self.key[4]}|"

    def flow(self, over, half, join):
        first = self.client or self.server
        place = lambda at: f"{address_text(at[0])}|{at[1]}|"  # noqa: E731
        head = (place(self.client_place) + place(self.key[2:4]) + place(self.dialled) + place(self.key[:2]) +
                f"{self.key[4]}|{int(bool(self.client and self.server))}|{int(not half.failed)}|{first.opened}|"
                f"{over.closed}|{self.client.connect if self.client else 0}|{self.edge()}"
                f"{self.client_owner[6]}|{self.server_owner[6]}|")
        return (head, self.end(self.client, self.client_owner, join), self.end(self.server, self.server_owner, join))

    def end(self, half, owner, join):
        if half is None:
            return "0|0|0|0|" + "|".join(owner) + "|0|0|0|0|0|0|0"
        pid = half.pid_at(self.pane)
        if not join.is_closed(half):
            return f"1|0|0|{pid}|" + "|".join(owner) + "|0|0|0|0|0|0|0"
        return (f"1|1|{half.reason}|{pid}|" + "|".join(owner) + "|" + "|".join(map(str, half.total)) +
                f"|{half.min_rtt}|{half.lost}")


# ---- rows


class Row:
    __slots__ = ("counters", "connect", "srtt", "min_rtt")

    def __init__(self):
        self.counters, self.connect, self.srtt, self.min_rtt = {}, [], [], 0

    def add(self, pairs, connect=0, srtt=0):
        counters = self.counters
        for counter, value in pairs:
            counters[counter] = counters.get(counter, 0) + value
        if connect:
            self.connect.append(connect)
        if srtt:
            self.srtt.append(srtt)


class Expected:
    def __init__(self):
        self.rows = collections.defaultdict(Row)  # key of the row -> what it must hold
        self.clouds = collections.defaultdict(list)  # (window_ms, start_ns) -> provisional deltas
        self.flows = []
        self.optional = set()  # flows that a gap may lose
        self.loose = set()  # flows whose server was told in one pane to be two
        self.counts = None
        self.last_pane = 0
        self.amended = set()  # numbers of the ten seconds of which something was amended
        self.certain = self.provisional = self.vague = 0


class Oracle:
    def __init__(self, log, partitions, batch_class, policy=POLICY, gaps=GAPS, lateness=500 * MS):
        self.log, self.partitions, self.batch_class = log, partitions, batch_class
        self.policy, self.gaps, self.lateness = policy, gaps, lateness
        self.halves, self.nat_events = [], []
        self.places = {}
        self.counts = collections.Counter()

    def expected(self):
        self.read()
        for node in self.nodes.values():
            node.apply(self.last_pane)
        for told in self.places.values():
            told.sort(key=lambda place: place[0])
        self.join = Join(self).run(self.last_pane)
        expected = Expected()
        expected.last_pane, expected.counts = self.last_pane, self.counts
        expected.flows = list(self.join.flows.values())
        expected.optional, expected.loose = self.join.optional, self.join.loose
        self.label_all()
        Rows(self, expected).fill()
        return expected

    # -- the log

    def read(self):
        clocks, firsts, self.nodes = {}, {}, {}
        for append, partition, payload in self.log:
            clock = clocks.get(partition)
            if clock is None:
                clock = append
                firsts[partition] = (append - self.lateness) // PANE
            clock = clocks[partition] = max(clock, min(append, clock + 10 * S))
            batch = self.batch_class.FromString(payload)
            if batch.kind == 1:
                continue
            self.open_pane = max(firsts[partition], (clock - self.lateness) // PANE)
            self.counts["events"] += batch.events
            node = self.nodes.get(batch.node)
            if node is None:
                node = self.nodes[batch.node] = Node(self, batch.node)
            node.batch(batch, append)
        self.last_pane = (min(clocks.values()) - self.lateness) // PANE - 1

    def servers_told(self, pane, half, owner):
        if half.side != SERVER or half.guessed or half.failed or is_loopback(half.seen[2]):
            return
        told = self.places.setdefault(half.seen[2:], [])
        known = 6 if "told_resolution" in self.gaps else 7
        if not told or told[-1][1][:known] != owner[:known]:
            told.append((pane, owner))

    def ends(self, join, client, server, pane):
        return Ends(join, client, server, pane, self.places)

    # -- labels

    def label_all(self):
        """The last label of each half: who it belongs to, and from which pane on that was known."""
        for half in self.halves:
            if not half.applied:
                continue
            peer = half.peer or half.final_peer
            stays = peer is not None and "final_stays" in self.gaps
            known = max(half.label_pane, 0 if stays else half.owners[-1][0])
            if peer:
                known = max(known, peer.label_pane, 0 if stays else peer.owners[-1][0])
                if (half.flags | peer.flags) & GUESSED:  # when trials end is not the meaning's matter
                    known += 2 * TRIAL_PANES
            ends = half.lone
            if peer or ends is None:
                client, server = (half, peer) if half.side == CLIENT else (peer, half)
                ends = self.ends(self.join, client, server, INFINITE if peer else half.label_pane)
            half.label_pane = known
            half.vague = ends.vague
            half.label = ends  # the label


def parts_of(client, server):
    """(scope, its part of a row's key)"""
    return ((LANE, f"{client[2]}|{server[2]}|{client[1]}|{server[1]}|"), (CLIENT_ROW, "|".join(client[:6]) + "|"),
            (SERVER_ROW, "|".join(server[:6]) + "|"))


class Rows:
    def __init__(self, oracle, expected):
        self.oracle, self.expected, self.policy = oracle, expected, oracle.policy
        self.rows = expected.rows
        self.last = (oracle.last_pane + 1) * PANE

    def fill(self):
        for half in self.oracle.halves:
            if half.applied and not half.flags & PROBE:
                self.half(half)

    def half(self, half):
        seen_windows, names = {}, {}
        for (pane, kind) in sorted(half.parts, key=lambda place: place[0]):
            if pane < half.label_pane:
                self.expected.amended.add(pane * PANE // (10 * S))
            ends = half.label
            if "final_stays" in self.oracle.gaps:
                ends = self.first_final(half, pane)
            client, server = ends.client, ends.server
            owners = (ends.client_owner, ends.server_owner, ends.key)
            if owners not in names:
                names[owners] = (ends.edge(), parts_of(*owners[:2]))
            joined = client is not None and server is not None
            counts = half is (client or server)
            if joined and half is server and client.existed and pane < client.first_pane:
                counts = "existed_uncounts" not in self.oracle.gaps
            self.delta(half, half.parts[pane, kind], pane, kind, counts, joined, *names[owners], seen_windows)

    def first_final(self, half, pane):
        """The label of the first pane from this one on in which the half had a peer."""
        peer, met = None, pane
        for told, other in half.history:
            if told <= pane:
                peer = other
            elif peer is None and other is not None:
                peer, met = other, told
        if peer is None:
            return half.label
        client, server = (half, peer) if peer.side == SERVER else (peer, half)
        return self.oracle.ends(self.oracle.join, client, server, met)

    def delta(self, half, part, pane, kind, counts, joined, edge, subs, seen_windows):
        """One delta into all its windows."""
        connect = part.connect if half.side == CLIENT and part.opened else 0
        own = self.own_pairs(half, part, pane, connect)
        counted = self.counted_pairs(half, part, kind, joined)
        certain = pane >= half.label_pane and not half.vague
        self.expected.certain += certain
        self.expected.provisional += not certain
        self.expected.vague += half.vague
        self.pairs = own + counted if counts else own
        self.samples = (connect, part.srtt if counts else 0)
        self.doubt = (own, counted, half.turned)
        self.start, self.certain, self.amended = pane * PANE, certain, not half.vague
        for window in self.policy.edge:
            if window < 10_000 and kind != NORMAL:
                if kind == RECOVERED and "recovered_hides_active" in self.oracle.gaps:
                    self.first(seen_windows, window, self.start)
                continue
            active = self.touch(seen_windows, window, self.start, counts)
            self.put(window, EDGE, edge, self.pairs, active)
        for window in self.policy.parts:
            if window < 10_000 and kind != NORMAL:
                continue
            pairs, active = self.pairs, False
            if window in self.policy.parts_events_only:
                pairs = [pair for pair in pairs if pair[0] in CONNECTION_EVENTS]
                if not pairs and certain:
                    continue
            else:
                active = self.touch(seen_windows, ("part", window), self.start, counts)
            for scope, sub in subs:
                self.put(window, scope, edge + sub, pairs, active)

    def own_pairs(self, half, part, pane, connect):
        """What its end tells of itself, whoever counts."""
        sent, received, _, _, again = part.traffic
        if half.side == CLIENT:
            pairs = [(CLIENT_TX, sent), (CLIENT_RX, received), (CLIENT_RETRANSMITS, again)]
        else:
            pairs = [(SERVER_TX, received), (SERVER_RX, sent), (SERVER_RETRANSMITS, again)]
        arrived = half.node.received[pane]
        pairs += [(AGENT_RECEIVED, arrived), (AGENT_ISSUED, arrived + half.node.lost[pane]), (CONNECT_US, connect),
                  (CONNECT_COUNT, int(connect > 0))]
        return [pair for pair in pairs if pair[1]]

    def counted_pairs(self, half, part, kind, joined):
        """What it adds where its half counts."""
        tx, rx, tx_segments, rx_segments, again = part.traffic
        if half.side == SERVER:
            tx, rx, tx_segments, rx_segments = rx, tx, rx_segments, tx_segments
        pairs = [(TX, tx), (RX, rx), (TX_SEGMENTS, tx_segments), (RX_SEGMENTS, rx_segments), (RETRANSMITS, again),
                 (OPENED, int(part.opened)), (JOINED, int(part.opened and joined)), (CLOSED, int(part.closed > 0)),
                 (RESETS, int(part.closed == RESET)), (TIMEOUTS, int(part.closed == TIMEOUT)), (SRTT_US, part.srtt),
                 (SRTT_COUNT, int(part.srtt > 0))]
        if part.failed:
            pairs += [(FAILED, 1), (FAILURE_COUNTERS[part.failed], 1)]
        if kind == LATE:
            pairs += [(LATE_BYTES, tx + rx), (LATE_CONNECTIONS, int(part.opened) + int(part.failed > 0))]
        elif kind == RECOVERED:
            pairs += [(RECOVERED_BYTES, tx + rx)]
        return [pair for pair in pairs if pair[1]]

    def touch(self, seen_windows, window, start, counts):
        """Whether this makes the socket active in the window."""
        if "final_stays" in self.oracle.gaps:  # what moved away took the first touch with it
            return self.first(seen_windows, window, start) and counts
        return counts and self.first(seen_windows, window, start)

    def first(self, seen_windows, window, start):
        """Whether the half was not active in this window before."""
        length = (window if isinstance(window, int) else window[1]) * MS
        number = start // length
        if seen_windows.get(window) == number:
            return False
        seen_windows[window] = number
        return True

    def put(self, window, scope, rest, pairs, active):
        length = window * MS
        begin = self.start - self.start % length
        if begin + length > self.last:
            return
        if not (self.certain or (window >= 10_000 and self.amended)):
            self.expected.clouds[window, begin, scope].append(self.doubt)
            return
        if active:
            pairs = pairs + [(ACTIVE, 1)]
        connect, srtt = self.samples
        if scope != EDGE and window in self.policy.parts_events_only or window < self.policy.srtt_from:
            srtt = 0
        self.rows[f"{window}|{begin}|{scope}|{rest}"].add(pairs, connect, srtt)


# ---- the comparison


def sketch_index(us):
    """The bucket of rollups.proto: 64 an octave."""
    ns = us * 1000
    if ns < 64:
        return ns
    exponent = ns.bit_length() - 1
    return (exponent - 5) * 64 + ((ns >> (exponent - 6)) & 63)


def sketch_value(index):
    if index < 128:
        return index
    shift = index // 64 - 1
    return ((64 + index % 64) << shift) + ((1 << shift) >> 1)


def parsed(pairs):
    out = {}
    for pair in pairs.split(",")[:-1]:
        left, _, right = pair.partition(":")
        left = int(left)
        out[left] = out.get(left, 0) + int(right)
    return out


def written(numbers):
    """As the driver writes it."""
    return "".join([f"{name}:{numbers[name]}," for name in sorted(numbers) if numbers[name]])


def written_sketch(values):
    if len(values) == 1:
        return f"{sketch_index(values[0])}:1,"
    return written(collections.Counter(map(sketch_index, values))) if values else ""


def parsed_sketch(pairs):
    """Counts are unsigned on paper; taken away ones wrap."""
    if not pairs:
        return {}
    return {index: count - (1 << 32) if count >= 1 << 31 else count for index, count in parsed(pairs).items()}


def added(sum_, more):
    for name, value in more.items():
        sum_[name] = sum_.get(name, 0) + value
    return sum_


class Output:
    """The driver's lines: rows summed by key, the last record of each flow, and what was out of order."""

    def __init__(self, text, policy, gaps):
        self.rows, self.flows, self.problems, self.stats = {}, {}, [], {}
        self.gaps, self.strict = gaps, policy.strict
        self.edge_windows = {str(window) for window in policy.edge}
        self.part_windows = {str(window) for window in policy.parts}
        order = None
        flows = {}
        self.names = dict(line.split("\t")[1:] for line in re.findall("^N\t.*$", text, re.M))
        for line in text.split("\n"):
            mark = line[:1]
            if mark == "R":
                self.row(line, order)
                order = line[2:51]
            elif mark == "B":
                order = None
            elif mark == "F":
                self.flow(line, flows)
            elif mark == "S":
                self.stats = {name: int(value) for name, _, value in
                              (field.partition(":") for field in line.split("\t")[1:])}
            elif mark == "C" and line.split("\t")[1].split(",") != COUNTERS:
                self.problems.append(f"counters are {line}, not {COUNTERS}")
        self.flow_records = self.close_flows(flows)

    def row(self, line, order):
        _, own, key, amendment, counters, min_rtt, connect, srtt, _ = line.split("\t")
        if order is not None and own <= order:
            self.problems.append(f"row out of order: {key}")
        window, _, rest = key.partition("|")
        scope = int(rest.split("|", 2)[1])
        if window not in (self.part_windows if scope else self.edge_windows):
            if self.strict:
                self.problems.append(f"a row of a window that its scope does not have: {key}")
            return
        if not (counters or connect or srtt):
            return
        if "?" in key:
            if "unnamed" not in self.gaps:
                self.problems.append(f"row without a name: {key}")
            key = re.sub(r"\?([0-9a-f]{16})", lambda found: self.names[found[1]], key)
        if amendment == "1" and int(window) < 10_000:
            self.problems.append(f"an amendment of a short window: {key}")
        there = self.rows.get(key)
        if there is None:
            self.rows[key] = [counters, connect, srtt, amendment == "1"]
            return
        if amendment == "0" and not there[3]:
            self.problems.append(f"row told twice: {key}")
        there[0] += counters
        there[1] += connect
        there[2] += srtt
        there[3] = there[3] and amendment == "1"

    def flow(self, line, flows):
        """A flow whose half went on to another task is amended there: tasks have no order among them."""
        _, id_, amended, _, head, client, server, _ = line.split("\t")
        first, last = flows.get(id_, (0, None))
        if amended == "1":
            flows[id_] = (first, (head, client, server))
        else:
            flows[id_] = (first + 1, last or (head, client, server))

    def close_flows(self, flows):
        for id_, (first, last) in flows.items():
            if first != 1:
                self.problems.append(f"flow {id_} told {first} times without amendment: {last[0]}")
        return [last for _, last in flows.values()]


def same_sketch(values, cells):
    """Counts exactly, values within 1 %."""
    mine = sorted(value * 1000 for value in values)
    theirs = []
    for index in sorted(cells):
        if cells[index] < 0:
            return False
        theirs += [sketch_value(index)] * cells[index]
    return len(mine) == len(theirs) and all(abs(a - b) * 100 <= max(a, b) for a, b in zip(mine, theirs))


def named(counters):
    return ", ".join(f"{COUNTERS[counter]} {value}" for counter, value in sorted(counters.items()) if value)


def compare(expected, text, policy=POLICY, gaps=GAPS):
    """Sentences, one a difference; none if the output is right."""
    output = Output(text, policy, gaps)
    problems = list(output.problems)
    if output.stats.get("last_pane") != expected.last_pane:
        problems.append(f"last pane {output.stats.get('last_pane')}, expected {expected.last_pane}")
    for name in ("issued", "events", "lost", "duplicate"):
        if output.stats.get(name) != expected.counts[name]:
            problems.append(f"{name}: {output.stats.get(name)}, expected {expected.counts[name]}")
    problems += compare_flows(expected, output)
    problems += compare_rows(expected, output, policy, gaps)
    return problems


def opening(flow):
    """Whose flow it is and when it began."""
    fields = flow[0].split("|")
    return fields[0], fields[1], fields[11]


def compare_flows(expected, output):
    problems = []
    theirs, mine = (collections.Counter(flow for flow in flows if opening(flow) not in expected.loose)
                    for flows in (output.flow_records, expected.flows))
    for flow in (mine - theirs):
        if flow in expected.optional:
            continue
        problems.append("flow expected: " + "  ".join(flow))
    for flow in (theirs - mine):
        problems.append("flow unexpected: " + "  ".join(flow))
    return sorted(problems)


def is_amended(expected, window):
    """Whether labels of what is in that window changed later. What began before the window may have been moved too."""
    length, start, _ = window
    return length >= 10_000 and any(start <= number * 10 * S < start + length * MS for number in expected.amended)


def without_samples(row):
    out = Row()
    out.counters = {counter: value for counter, value in row.counters.items() if counter not in SAMPLES}
    return out


# Any of CONNECTION_EVENTS, as the driver writes counters.
EVENTS_WRITTEN = re.compile("(?:^|,)(?:" + "|".join(map(str, sorted(CONNECTION_EVENTS))) + "):")


def compare_rows(expected, output, policy, gaps):
    problems = []
    left = collections.defaultdict(list)  # (window, start, scope) -> residues of rows
    mine_all = expected.rows
    for key, (counters, connect, srtt, _) in output.rows.items():
        window, start, scope, _ = key.split("|", 3)
        cloud = (int(window), int(start), int(scope))
        mine = mine_all.get(key)
        if mine and cloud not in expected.clouds and counters == written(mine.counters) and \
                connect == written_sketch(mine.connect) and srtt == written_sketch(mine.srtt):
            continue
        if not mine and scope != "0" and not policy.strict and not EVENTS_WRITTEN.search(counters):
            continue
        theirs = parsed(counters)
        if scope != "0" and int(window) in policy.parts_events_only and not policy.strict:
            theirs = {counter: value for counter, value in theirs.items() if counter in CONNECTION_EVENTS}
            srtt = ""
        if int(window) < policy.srtt_from and not policy.strict:
            srtt = ""
        connect, srtt = parsed_sketch(connect), parsed_sketch(srtt)
        if "amended_samples" in gaps and is_amended(expected, cloud):
            theirs = {counter: value for counter, value in theirs.items() if counter not in SAMPLES}
            mine = mine and without_samples(mine)
            connect = srtt = {}
        if cloud in expected.clouds:
            left[cloud].append((key, mine, theirs, connect, srtt))
            continue
        if mine is None:
            if any(theirs.values()) or any(connect.values()) or any(srtt.values()):
                problems.append(f"row unexpected: {key}: {named(theirs)}")
            continue
        problems += compare_row(key, mine, theirs, connect, srtt)
    for key, mine in mine_all.items():
        if key in output.rows:
            continue
        if "amended_samples" in gaps and is_amended(expected, tuple(map(int, key.split("|", 3)[:3]))):
            mine = without_samples(mine)
        if any(mine.counters.values()):
            problems.append(f"row expected: {key}: {named(mine.counters)}")
    for cloud, deltas in expected.clouds.items():
        without = SAMPLES if "amended_samples" in gaps and is_amended(expected, cloud) else ()
        problems += compare_cloud(cloud, deltas, left[cloud], without)
    return problems


def compare_row(key, mine, theirs, connect, srtt):
    problems = []
    for counter in set(mine.counters) | set(theirs):
        a, b = mine.counters.get(counter, 0), theirs.get(counter, 0)
        if a != b:
            problems.append(f"row {key}: {COUNTERS[counter]} is {b}, expected {a}")
    for name, values, cells in (("connect", mine.connect, connect), ("srtt", mine.srtt, srtt)):
        cells = {index: count for index, count in cells.items() if count}
        wanted = collections.Counter(sketch_index(value) for value in values)
        if cells != wanted and not same_sketch(values, cells):
            problems.append(f"row {key}: {name} sketch is {cells}, expected {dict(wanted)}")
    return problems


def compare_cloud(cloud, deltas, residues, without):
    """Certain parts are there in full, and what is left over adds up to what was provisional."""
    problems, over = [], {}
    for key, mine, theirs, connect, srtt in residues:
        rest = dict(theirs)
        if mine:
            for counter, value in mine.counters.items():
                rest[counter] = rest.get(counter, 0) - value
        negative = {counter: value for counter, value in rest.items() if value < 0}
        if negative:
            problems.append(f"row {key}: less than what is certain: {named(negative)}")
        added(over, rest)
    wanted, most, turned = {}, {ACTIVE: len(deltas)}, False
    for own, counted, one_turned in deltas:
        turned |= one_turned
        for counter, value in own:
            wanted[counter] = wanted.get(counter, 0) + value
        for counter, value in counted:
            most[counter] = most.get(counter, 0) + value
            if counter == OPENED:
                most[JOINED] = most.get(JOINED, 0) + value
    if not turned and cloud[2] == EDGE:
        above = {counter: value for counter, value in over.items()
                 if counter not in wanted and counter not in OWN_COLUMNS and value > most.get(counter, 0)}
        if above:
            problems.append(f"window {cloud}: more than the provisional deltas can give: {named(above)}")
    sums = [(counter,) for counter in OWN_COLUMNS] if cloud[2] == EDGE else []
    sums += [(CONNECT_US,), (CONNECT_COUNT,)]
    if turned:  # it spoke as the other end
        sums = [BYTES, AGAINS, (AGENT_RECEIVED,), (AGENT_ISSUED,)] if cloud[2] == EDGE else []
    for counters in sums:
        if counters[0] in without:
            continue
        is_, expected = (sum(one.get(counter, 0) for counter in counters) for one in (over, wanted))
        if is_ != expected:
            names = " + ".join(COUNTERS[counter] for counter in counters)
            problems.append(f"window {cloud}: {names} of provisional deltas is {is_}, expected {expected}")
    return problems
