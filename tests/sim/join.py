"""Halves to connections: pane by pane, what was told up to it decides who belongs to whom. oracle.py has the rules."""

import bisect
import collections

from halves import (
    CLIENT, HOPS, INFINITE, KEEP_PANES, OWN_SLACK, SERVER, SLACK, TEN, TEN_PANES, TRIAL_PANES, VANISHED, WAIT_PANES,
    Outages, address_owner, address_text)


class Mapping:
    """A stretch of one node's NAT entry: from -> to, told from begin on, latest last, ended at end."""
    __slots__ = ("node", "source", "target", "begin", "latest", "end", "known")

    def __init__(self, node, source, target, known):
        self.node, self.source, self.target, self.known = node, source, target, known
        self.begin, self.latest, self.end = INFINITE, -1, INFINITE

    def covers(self, opened, closed):
        return self.begin <= closed + SLACK and opened <= self.end + SLACK and self.latest >= opened - SLACK


class Sides:
    """Whose half counts, by ten seconds."""

    def __init__(self, side, since, pane):
        self.turns = [(0, side ^ 1 if since else side, pane)]
        if since:
            self.turns.append((since, side, pane))

    def turn(self, since, side, pane):
        if self.turns[-1][1] != side:
            self.turns.append((since, side, pane))

    def at(self, ten):
        return [side for since, side, _ in self.turns if since <= ten][-1]

    def at_known(self, ten, pane):
        """Of an earlier time: as far as it was known before that pane; else what comes late is of the pane."""
        known = [side for since, side, told in self.turns if since <= ten and told < pane]
        return known[-1] if known else self.at(pane // TEN_PANES)

    def turned_since(self, gap, pane):
        """Or may have: who was told of a turn only later does not know."""
        began, shown = gap
        return any(since and known < pane and (began < since or shown <= known) for since, _, known in self.turns)


class Join:
    """Pane by pane, what was told up to it decides who belongs to whom."""

    def __init__(self, oracle):
        self.oracle = oracle
        self.by_key = collections.defaultdict(list)
        self.out, self.into = collections.defaultdict(list), collections.defaultdict(list)
        self.flows, self.loose = {}, set()
        self.relabelled = set()
        self.returning = []  # halves on their way to a trial, or back
        self.sides = {}  # of pairs, by their halves' numbers
        self.outages = {node: Outages(node.hearings) for node in oracle.nodes.values()}

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
            if half.asked_late() is not None:
                owners[half.asked_late()].append(half)
                panes.add(half.asked_late())
            if half.closed_pane != INFINITE:
                closes[half.closed_pane].append(half)
                panes.add(half.closed_pane)
        for event in self.oracle.nat_events:
            nats[event[0]].append(event)
            panes.add(event[0])
        for outages in self.outages.values():
            panes.update(ten * TEN_PANES - 1 for span in outages.spans for ten in span if ten != INFINITE)
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
        for half in closes:
            if half.repeated and half.peer and self.final(half, half.peer, half.paired_pane) < pane:
                half.owners = [told for told in half.owners if told[0] != pane]
        for half in owners:  # a label that was final stays
            if half.named_late == pane and half.peer and self.final(half, half.peer, half.paired_pane) < pane:
                half.owners = [told for told in half.owners if told[0] != pane]
                half.named_late = None
        self.map(nats)
        for half in opens:
            self.arrive(half)
        for half in closes:
            self.touch(half)
        for half in owners:
            if not half.peer and (not half.gone or half.failed and self.named_anew(half)):
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
                half.lone = self.lone_ends(half)
                self.count_alone(half)
        self.relabelled = set()
        if (pane + 1) % TEN_PANES == 0:
            self.turn((pane + 1) // TEN_PANES)

    # -- whose half counts

    def side(self, client, server, ten):
        """The server's while the client's node is out and its own is not, if both lived when that began."""
        span = self.outages[client.node].span(ten)
        if span is None or self.outages[server.node].span(ten):
            return CLIENT
        return SERVER if min(self.closed(client), self.closed(server)) // TEN >= span[0] else CLIENT

    def counting(self, client, server):
        """Who counts from the next pane on, and since which ten seconds; 0 if always."""
        ten = (self.pane + 1) // TEN_PANES
        side, since = self.side(client, server, ten), ten
        first = min(client.opened, server.opened) // TEN
        while since > first and self.side(client, server, since - 1) == side:
            since -= 1
        return side, since if since > first else 0

    def count_alone(self, half):
        """What stands for a former half of the same connection and node leaves the counting to that one's peer."""
        side, since = half.side, 0
        ten = (self.pane + 1) // TEN_PANES
        if half.side == CLIENT:
            former = [h for h in self.by_key[half.key] if h.side == CLIENT and h.peer and self.is_closed(h) and
                      h.reason == VANISHED and h.node is half.node]
            if former and not half.failed and self.outages[half.node].span(ten):
                side, since = self.counting(former[-1], former[-1].peer)
                since = since if side == SERVER else 0
            if side == CLIENT and half.alone and half.alone.turns[-1][1] == SERVER:
                since = ten
        if half.alone is None or half.alone.turns[-1][1] != side and not since:
            half.alone = Sides(side, since, self.pane)
        else:
            half.alone.turn(since, side, self.pane)

    def turn(self, ten):
        for halves in list(self.by_key.values()):
            for half in halves:
                if half.gone or half.side != CLIENT:
                    continue
                if half.peer is None:
                    before = half.alone.turns[-1][1] if half.alone else CLIENT
                    self.count_alone(half)
                    if half.alone.turns[-1][1] != before:
                        half.lone = self.lone_ends(half)
                elif self.side(half, half.peer, ten) != self.side(half, half.peer, ten - 1):
                    self.sides[half.number, half.peer.number].turn(ten, self.side(half, half.peer, ten), self.pane)

    # -- what is waited for

    def final(self, half, peer, met):
        """The first pane from which on neither waits for its record."""
        waiting = {half: False, peer: False}
        told = sorted((pane, one.number, is_) for one in waiting for pane, is_ in one.waiting)
        by_number = {one.number: one for one in waiting}
        at = 0
        for pane in [met] + [pane for pane, _, _ in told if pane > met]:
            while at < len(told) and told[at][0] <= pane:
                waiting[by_number[told[at][1]]] = told[at][2]
                at += 1
            if not any(waiting.values()):
                return pane
        return INFINITE

    def named_anew(self, half):
        """In this pane, behind its end; not told is what differs by its resolution only."""
        known = 6 if "told_resolution" in self.oracle.gaps else 7
        return half.named_late == self.pane and half.owners[-2][1][:known] != half.owners[-1][1][:known]

    def known_since(self, half, peer):
        """From which pane on what it did stood under its last label at once."""
        final = self.final(half, peer, half.paired_pane)
        if final != INFINITE:
            return final
        return max(half.owners[-1][0], peer.owners[-1][0])

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

    def own(self, half):
        """A node knows of each source the newest stretch, and whether it ever led elsewhere; its times are its own."""
        own = [m for m in self.out[half.key] if m.node == half.node.name]
        if not own:
            return None
        newest = own[-1]
        turned = any(a.target != b.target and b.begin >= half.opened - OWN_SLACK for a, b in zip(own, own[1:]))
        covers = (newest.latest >= half.opened - OWN_SLACK and newest.begin <= self.closed(half) + OWN_SLACK and
                  half.opened <= newest.end + OWN_SLACK)
        return newest if covers and not turned else None

    def arrive(self, half):
        half.key, half.hops = half.seen, 0
        half.label_pane = self.pane
        if half.side == CLIENT:
            for _ in range(HOPS):  # what its own node translates is no hop
                mapping = self.own(half)
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
        half.leaves = INFINITE  # who goes on is tried where it comes to
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
        pairs = [(abs(c.opened - s.opened), c.number, s.number, c, s) for c in clients for s in servers
                 if self.lives_touch(c, s, SLACK) and not (c.told and s.told)]
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
                if half.side == CLIENT:
                    self.sides[half.number, peer.number] = Sides(*self.counting(half, peer), self.pane)
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

    def name_again(self, half):
        """Its rows say what its flow says."""
        before, half.lone = half.lone, self.lone_ends(half)
        if not before or (before.client_owner, before.server_owner) != (half.lone.client_owner, half.lone.server_owner):
            half.label_pane = self.pane

    def lone_ends(self, half):
        return self.oracle.ends(self, *((half, None) if half.side == CLIENT else (None, half)), self.pane)

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
                self.name_again(half)
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
        if client:
            client.final_peer = server
        if server:
            server.final_peer = client


def opening(flow):
    """Whose flow it is and when it began."""
    fields = flow[0].split("|")
    return fields[0], fields[1], fields[11]


def reversed_key(key):
    return (key[2], key[3], key[0], key[1]) + key[4:]


def key_bytes(key):
    return key[0] + key[2] + key[1].to_bytes(2, "little") + key[3].to_bytes(2, "little")


class Ends:
    """A connection as far as it was known in a pane."""

    def __init__(self, join, client, server, pane, places, disputed):
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
            self.server_owner = told[-1][1] if told else client.sought_at(pane) or address_owner(key[2])
            self.vague = disputed.get(key[2:], INFINITE) <= pane

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
