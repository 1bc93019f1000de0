"""What the pipeline must say of a log, computed another way: from the same records, in one go, by their public meaning
(proto/millrace/v1, docs/events.md, docs/topics.md), with lists, dictionaries and every pair looked at.

    expected = oracle.Oracle(log, partitions, batch_class, record_class).expected()
    problems = compare.compare(expected, output)

Steps: halves.py dedupes and dates events and gives each socket (half) its deltas, one a pane and kind; join.py pairs
halves as panes of knowledge come; Rows here adds the deltas up under the labels that the end of the log knows.

What is exact, and what is bounded
----------------------------------
A label of pane k acts on pane k itself. Windows of ten seconds and longer must be exact: amendments move what was
given under an earlier label, so the sum of all rows of one key and window, signed ones included, is compared with the
sum under final labels. (A late half is waited for 120 s; worlds are shorter, so each change of a label is amended.)

Deltas of halves that have met take their place as they are made: what is learnt of their owners later, or parts them,
acts from the next pane on.

Panes and seconds are not amended. There a delta is *certain* if its half's final label was known in its pane (both
halves told, every mapping told, both owners told), and *provisional* otherwise: it stood under some earlier label. Of
each short row its certain part must be there in full; what is left over in all rows of a window may not be negative
anywhere and must add up, over all edges, to the provisional deltas: exactly in the columns of each end (client_*,
server_*), and to at most their sum in the counted columns, since two halves that do not know of each other yet both
count, and of two that do only one. A window without provisional deltas is exact, row by row.

A mapping of NAT belongs to a connection if their lives touch within 250 ms and it was told at the opening or later:
the first packet makes it. Halves pair by key, overlapping life and nearest opening; a pair older than 2 s, or told,
stays. A closed half without a peer is told as a one-sided flow after 2 s, and a pair whose other end does not close
after 120 s. Two halves that were both told so stay apart: a flow that was told can be amended, not taken back. A lone
half's rows name whom its flow names. A role that is guessed is tried the other way round once, for three panes, the
greater key first.

When an agent starts again on the same boot, a half goes on if it is told as existing within 50 s, seen alike from the
same side, with no counter below what was accounted; the difference is recovered. Of several that were seen alike that
of the same owner goes on, or none. What another definition contradicts, and what nobody tells of in time, ended at the
restart.

A node is mute when its log is three seconds past what it told last, and out from the next ten seconds on until those that
begin two seconds after it was heard again. Of a pair the server's half counts in the ten seconds in which the client's
node is out and its own is not, if both lived when that began. What is late counts as of its own time; what is healed in
one number is nobody's if sides may have turned since the loss. A socket that a new agent tells anew does not count while
the other end counts for its former self.

An agent may say that a container is a pod's. The cluster's record of that pod is waited for from when the first record
of any was known, until it is, for at most two minutes from the pane that told of the container. Once two halves have met
of which neither waits, their label stays for what they did; until then it is the one that they have when nobody waits any
more. A half that ended waiting is named by the record, too, and else keeps its name. A record is known from the pane
behind the one that was open when it came.

Each socket keeps the owner that was known when it ended; what is told of a living one's owner also moves what it did
before. A client's half that existed before its agent has no past of its own: what the server's half told before it
came stays counted.

A slot is one socket's within a batch. A lookup over a slot that its batch defines anew, in a later pane, or late where
the definition is in time, is nobody's: the socket is not known yet, and the slot's former one it is not.

GAPS are the known differences of the pipeline at hand, each with a name; take a name away when it is mended. The
constants below say which rows are made."""

import collections

from counters import (
    ACTIVE, AGENT_ISSUED, AGENT_RECEIVED, CLIENT_RETRANSMITS, CLIENT_ROW, CLIENT_RX, CLIENT_TX, CLOSED,
    CONNECTION_EVENTS, CONNECT_COUNT, CONNECT_US, DNS_COUNT, DNS_OTHER, DNS_QUERIES, DNS_TIMEOUTS, DNS_US, EDGE, EVENT_COLUMNS, FAILED, FAILURE_COUNTERS, JOINED, LANE, LATE_BYTES,
    LATE_CONNECTIONS, OPENED, RCODE_COUNTERS, RECOVERED_BYTES, RESETS, RETRANSMITS, RX, RX_SEGMENTS, SERVER_RETRANSMITS, SERVER_ROW,
    SERVER_RX, SERVER_TX, SRTT_COUNT, SRTT_US, TIMEOUTS, TX, TX_SEGMENTS)
from halves import (
    CLIENT, GUESSED, INFINITE, LATE, MS, NORMAL, Node, PANE, PROBE, RECOVERED, RESET, S, SERVER, TEN_PANES, TIMEOUT,
    TRIAL_PANES, TURNED, merged)
from join import Ends, Join, Sides


# Which rows there are: windows in ms of edges and of their parts. Panes of parts hold connection events only;
# smoothed round-trip times have a sketch in edges' windows from ten seconds on.
EDGE_WINDOWS, PART_WINDOWS = (250, 1000, 10_000, 60_000, 3_600_000), (250, 10_000)
# Panes of parts only of edges in which something failed or broke in this pane or in so many before.
PARTS_OF_SUSPECTS, SUSPECT_PANES = True, 40
# Round-trip times are samples of both ends, not only of the one that counts.
SRTT_OF_BOTH = True
# A failed attempt makes nothing active.
FAILED_IS_ACTIVE = False

GAPS = frozenset((
    "amended_samples",  # amendments leave round-trip times, sketches, late and recovered where they were;
                        # of windows with amendments only their sums over all edges are compared
    "told_resolution",  # who owns a socket is not told again when only the way of its name changes
    "last_place",  # who serves at several places is renamed at once at the last told one only
    "existed_uncounts",  # what a server's half counted before its client's, which existed already, was told is lost
))
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
        self.loose = set()  # flows whose server was told in one pane to be two
        self.counts = None
        self.last_pane = 0
        self.amended = set()  # numbers of the ten seconds of which something was amended
        self.turned = set()  # and of those in which a half spoke as the other end
        self.certain = self.provisional = self.vague = 0


class Oracle:
    def __init__(self, log, partitions, batch_class, record_class, gaps=GAPS, lateness=500 * MS):
        self.log, self.partitions, self.batch_class = log, partitions, batch_class
        self.record_class = record_class
        self.gaps, self.lateness = gaps, lateness
        self.pods, self.pods_known = {}, []  # by uid, and by container: (from which pane on, record)
        self.halves, self.nat_events = [], []
        self.places = {}  # where servers are, as told: their address and port -> [(pane, owner)]
        self.announced, self.disputed = {}, {}  # where two owners were told in one pane, and from which on
        self.counts = collections.Counter()

    def expected(self):
        self.read()
        for node in self.nodes.values():
            node.events += [(pane, -1, False, 0, "pods", ()) for pane in self.pods_known]
            node.apply(self.last_pane)
        for told in self.places.values():
            told.sort(key=lambda place: place[0])
        self.join = Join(self).run(self.last_pane)
        expected = Expected()
        expected.last_pane, expected.counts = self.last_pane, self.counts
        expected.flows = list(self.join.flows.values())
        expected.loose = self.join.loose
        self.label_all()
        Rows(self, expected).fill()
        return expected

    # -- the log

    def read(self):
        clocks, firsts, self.nodes = {}, {}, {}
        seconds, partitions = {}, collections.defaultdict(list)
        for append, partition, payload in self.log:
            clock = clocks.get(partition)
            if clock is None:
                clock = append
                firsts[partition] = (append - self.lateness) // PANE
            clock = clocks[partition] = max(clock, min(append, clock + 10 * S))
            batch = self.batch_class.FromString(payload)
            self.open_pane = max(firsts[partition], (clock - self.lateness) // PANE)
            if seconds.get(partition) != clock // S:
                seconds[partition] = clock // S
                for node in partitions[partition]:
                    node.listen(clock)
            for record in batch.metadata:
                self.metadata(self.record_class.FromString(record))
            if batch.kind:
                continue
            self.counts["events"] += batch.events
            node = self.nodes.get(batch.node)
            if node is None:
                node = self.nodes[batch.node] = Node(self, batch.node)
                partitions[partition].append(node)
            node.batch(batch, append, clock)
        self.last_pane = (min(clocks.values()) - self.lateness) // PANE - 1

    def metadata(self, record):
        """It is known behind the pane that is open when it comes."""
        pane = self.open_pane + 1
        self.pods_known.append(pane)
        for key in (record.pod.uid, *(container.id for container in record.pod.containers)):
            self.pods.setdefault(key, (pane, record.pod))

    def pod(self, container, pane):
        """What the cluster says of the container's pod, as far as it is known."""
        for key in (container["pod_uid"], container["id"]):
            known, pod = self.pods.get(key, (INFINITE, None))
            if key and known <= pane:
                return pod
        return None

    def server_told(self, pane, place, owner):
        told = self.places.setdefault(place, [])
        announced = self.announced.setdefault((pane, place), owner)
        if announced[:6] != owner[:6]:
            self.disputed.setdefault(place, pane)
        known = 6 if "told_resolution" in self.gaps else 7
        if not told or told[-1][1][:known] != owner[:known]:
            told.append((pane, owner))

    def ends(self, join, client, server, pane):
        return Ends(join, client, server, pane, self.places, self.disputed)

    # -- labels

    def label_all(self):
        """The last label of each half: who it belongs to, and from which pane on that was known."""
        for half in self.halves:
            if not half.applied:
                continue
            peer = half.peer or half.final_peer
            known = max(half.label_pane, 0 if peer else half.owners[-1][0], 0 if peer else half.asked_late() or 0)
            if peer:
                known = max(known, peer.label_pane)
                known = max(known, self.join.known_since(half, peer))
                if (half.flags | peer.flags) & GUESSED:  # when trials end is not the meaning's matter
                    known += 2 * TRIAL_PANES
            ends = half.lone
            if peer or ends is None:
                client, server = (half, peer) if half.side == CLIENT else (peer, half)
                ends = self.ends(self.join, client, server, INFINITE if peer else half.label_pane)
            half.label_pane = known
            half.vague = ends.vague
            half.label = ends  # the label


def stretches(history):
    """(from, until, peer): with whom a half was, and when alone."""
    merged_ = []
    for told, peer in history:
        if not merged_ or merged_[-1][1] is not peer:
            merged_.append((told, peer))
    for (begin, peer), (end, _) in zip(merged_, merged_[1:] + [(INFINITE, None)]):
        yield begin, end, peer


def instance_of(owner):
    """Names that another process asked for, or a handshake, are instances of their own."""
    return "|".join(owner[:6]) + "|" + (owner[6] if owner[6] in ("node_dns", "sni") else "")


def parts_of(client, server):
    """(scope, its part of a row's key)"""
    return ((LANE, f"{client[2]}|{server[2]}|{client[1]}|{server[1]}|"), (CLIENT_ROW, instance_of(client)),
            (SERVER_ROW, instance_of(server)))


class Rows:
    def __init__(self, oracle, expected):
        self.oracle, self.expected = oracle, expected
        self.rows = expected.rows
        self.last = (oracle.last_pane + 1) * PANE

    def fill(self):
        for half in self.oracle.halves:
            if half.applied and not half.flags & PROBE:
                self.half(half)

    def half(self, half):
        seen_windows, names = {}, {}
        panes = collections.defaultdict(list)
        for place in half.parts:
            panes[place[0]].append(place)
        for place in half.lookups:
            panes[place[0]]  # is there
        for pane in sorted(panes):
            if pane < half.label_pane:
                self.expected.amended.add(pane * PANE // (10 * S))
            if half.turned:
                self.expected.turned.add(pane * PANE // (10 * S))
            ends = self.first_final(half, pane)
            client, server = ends.client, ends.server
            owners = (ends.client_owner, ends.server_owner, ends.key)
            if owners not in names:
                names[owners] = (ends.edge(), parts_of(*owners[:2]))
            joined = client is not None and server is not None
            sides = self.sides(half, client, server)
            deltas = collections.defaultdict(list)
            for place in panes[pane]:
                deltas[self.counted(sides, half, place)].append(half.parts[place])
            for (kind, counts), parts in deltas.items():
                if joined and half is server and client.existed and pane < client.first_pane and not counts:
                    counts = "existed_uncounts" not in self.oracle.gaps
                self.delta(half, merged(parts), pane, kind, counts, joined, *names[owners], seen_windows)
            for place, lookups in half.lookups.items():
                if place[0] != pane:
                    continue
                kind, counts = self.counted(sides, half, place)
                if joined and half is server and client.existed and pane < client.first_pane and not counts:
                    counts = "existed_uncounts" not in self.oracle.gaps
                for code, latency in lookups:
                    self.lookup(half, code, latency, pane, kind, counts, *names[owners])

    def sides(self, half, client, server):
        if client and server:
            return self.oracle.join.sides[client.number, server.number]
        return half.alone or Sides(half.side, 0, 0)

    def counted(self, sides, half, place):
        """Its kind, and whether it counts: what is late by its own time. What is healed in one number and may be of
        times in which both sides counted in turn is counted by neither."""
        pane, kind, ten, gap = place
        present = pane // TEN_PANES
        now = sides.at(present) == half.side
        if gap and sides.turned_since(gap, pane):
            return (TURNED if now else kind), False
        if kind == LATE and (sides.at_known(ten, pane) == half.side) != now:
            return TURNED, not now
        return kind, now

    def first_final(self, half, pane):
        """The label of the first pane from this one on in which the half had a peer; what is learnt of those who have
        met, or parts them, acts from the next pane on."""
        peer, met = None, INFINITE
        for begin, end, other in stretches(half.history):
            if end < pane or other is None:
                continue
            met = max(begin, pane - 1 if begin < pane else begin, self.oracle.join.final(half, other, begin))
            if met < end or end == INFINITE:
                peer = other
                break
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
        self.samples = (connect, part.srtt if counts or SRTT_OF_BOTH else 0)
        counts = counts and (FAILED_IS_ACTIVE or not part.failed)  # from here on: whether it may be active
        self.doubt = (own, counted, half.turned)
        self.start, self.certain, self.amended = pane * PANE, certain, not half.vague
        for window in EDGE_WINDOWS:
            if window < 10_000 and kind != NORMAL:
                continue
            active = kind != TURNED and self.touch(seen_windows, window, self.start, counts)
            self.put(window, EDGE, edge, self.pairs, active)
        for window in PART_WINDOWS:
            if window < 10_000 and kind != NORMAL:
                continue
            pairs, active = self.pairs, False
            if window < 10_000:
                if not any(pair[0] in CONNECTION_EVENTS for pair in pairs) and certain:
                    continue
                pairs = [pair for pair in pairs if pair[0] in EVENT_COLUMNS]
            elif kind != TURNED:
                active = self.touch(seen_windows, ("part", window), self.start, counts)
            for scope, sub in subs:
                self.put(window, scope, edge + sub, pairs, active)

    def lookup(self, half, code, latency, pane, kind, counts, edge, subs):
        """A delta of its own, by which nothing is active."""
        arrived = half.node.received[pane]
        own = [(AGENT_RECEIVED, arrived), (AGENT_ISSUED, arrived + half.node.lost[pane])]
        counted = [(DNS_QUERIES, 1)]
        if code is None:
            counted.append((DNS_TIMEOUTS, 1))
        else:
            counted += [(DNS_COUNT, 1), (DNS_US, latency)]
        if code:
            counted.append((RCODE_COUNTERS.get(code, DNS_OTHER), 1))
        certain = pane >= half.label_pane and not half.vague
        self.expected.certain += certain
        self.expected.provisional += not certain
        self.expected.vague += half.vague
        pairs = [pair for pair in (own + counted if counts else own) if pair[1]]
        self.samples, self.doubt = (0, 0), (own, counted, half.turned)
        self.start, self.certain, self.amended = pane * PANE, certain, not half.vague
        for window in EDGE_WINDOWS:
            if window >= 10_000 or kind == NORMAL:
                self.put(window, EDGE, edge, pairs, False)
        for scope, sub in subs:
            self.put(10_000, scope, edge + sub, pairs, False)

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
        if SRTT_OF_BOTH:
            pairs += [(SRTT_US, part.srtt), (SRTT_COUNT, int(part.srtt > 0))]
        return [pair for pair in pairs if pair[1]]

    def counted_pairs(self, half, part, kind, joined):
        """What it adds where its half counts."""
        tx, rx, tx_segments, rx_segments, again = part.traffic
        if half.side == SERVER:
            tx, rx, tx_segments, rx_segments = rx, tx, rx_segments, tx_segments
        pairs = [(TX, tx), (RX, rx), (TX_SEGMENTS, tx_segments), (RX_SEGMENTS, rx_segments), (RETRANSMITS, again),
                 (OPENED, int(part.opened)), (JOINED, int(part.opened and joined)), (CLOSED, int(part.closed > 0)),
                 (RESETS, int(part.closed == RESET)), (TIMEOUTS, int(part.closed == TIMEOUT))]
        if not SRTT_OF_BOTH:
            pairs += [(SRTT_US, part.srtt), (SRTT_COUNT, int(part.srtt > 0))]
        if part.failed:
            pairs += [(FAILED, 1), (FAILURE_COUNTERS[part.failed], 1)]
        if kind in (LATE, TURNED):
            pairs += [(LATE_BYTES, tx + rx), (LATE_CONNECTIONS, int(part.opened) + int(part.failed > 0))]
        elif kind == RECOVERED:
            pairs += [(RECOVERED_BYTES, tx + rx)]
        return [pair for pair in pairs if pair[1]]

    def touch(self, seen_windows, window, start, counts):
        """Whether this makes the socket active in the window: its first touch does, if it counts then."""
        return self.first(seen_windows, window, start) and counts

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
        if scope != EDGE or window < 10_000:
            srtt = 0
        self.rows[f"{window}|{begin}|{scope}|{rest}"].add(pairs, connect, srtt)
