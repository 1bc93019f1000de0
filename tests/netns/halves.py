"""A node's batches as what they say of each socket and UDP peer: definitions, updates and closes added up, the lookups
beside. Written from the schema alone (proto/millrace/v1/events.proto), so it shares no mistake with the agent."""

import collections
import dataclasses
import ipaddress
import itertools

TCP, UDP = 6, 17
CLIENT, SERVER = 1, 2
AGAIN, EXISTED, ROLE_GUESSED = 1, 2, 4
TIMEOUT, TRUNCATED = 1, 2
COUNTERS = ("tx_bytes", "rx_bytes", "tx_segments", "rx_segments")

Lookup = collections.namedtuple("Lookup", "half name type rcode flags latency_us answers")
Name = collections.namedtuple("Name", "half name")  # that a TLS handshake asked for


@dataclasses.dataclass(eq=False)
class Half:
    slot: int
    protocol: int
    role: int
    flags: int
    local: str
    remote: str
    local_port: int
    remote_port: int
    pid: int
    tx_bytes: int = 0
    rx_bytes: int = 0
    tx_segments: int = 0
    rx_segments: int = 0
    reason: int = 0  # 0: open
    closed_us: int = 0
    opened_us: int = 0
    lookups: list = dataclasses.field(default_factory=list)

    @property
    def sent(self):
        return self.tx_bytes, self.tx_segments

    @property
    def received(self):
        return self.rx_bytes, self.rx_segments


class Columns:
    """A group's columns; those that are not there are zeros."""

    def __init__(self, group):
        self.group = group

    def __getattr__(self, name):
        return getattr(self.group, name) or collections.defaultdict(int)


class Halves:
    def __init__(self, batches):
        self.batches, self.all, self.lookups, self.names, self.processes, self.live = batches, [], [], [], {}, {}
        for batch in batches:
            self._take(batch)

    def _take(self, batch):
        self.v4 = len(batch.addresses_v4) // 4
        self.batch = batch
        p = Columns(batch.processes)
        for i, pid in enumerate(itertools.accumulate(batch.processes.pid_change)):
            self.processes[pid] = tuple(batch.strings[column[i]] for column in (p.comm, p.exe, p.cmdline))
        self._define(Columns(batch.definitions), len(batch.definitions.slot))
        self._update(Columns(batch.updates), len(batch.updates.slot))
        self._look_up(Columns(batch.dns), len(batch.dns.slot))
        n = Columns(batch.sni)
        self.names += [Name(self.live[n.slot[i]], batch.strings[n.name[i]]) for i in range(len(batch.sni.slot))]
        self._close(Columns(batch.closes), len(batch.closes.slot))

    def _address(self, index):
        if index < self.v4:
            return str(ipaddress.IPv4Address(self.batch.addresses_v4[4 * index:4 * index + 4]))
        at = 16 * (index - self.v4)
        ip = ipaddress.IPv6Address(self.batch.addresses[at:at + 16])
        return str(ip.ipv4_mapped or ip)

    def _define(self, d, count):
        for i in range(count):
            half = self.live.get(d.slot[i])
            if not d.flags[i] & AGAIN or half is None:
                half = Half(d.slot[i], d.protocol[i], d.role[i], d.flags[i], self._address(d.local[i]),
                            self._address(d.remote[i]), d.local_port[i], d.remote_port[i], d.pid[i])
                half.opened_us = self.batch.base_time_us + d.dt_us[i]
                self.all.append(half)
                self.live[d.slot[i]] = half
            half.pid = d.pid[i]
            for name in COUNTERS:
                setattr(half, name, getattr(d, name)[i])

    def _update(self, u, count):
        slot = 0
        for i in range(count):
            slot += u.slot[i]
            for name in COUNTERS:
                setattr(self.live[slot], name, getattr(self.live[slot], name) + getattr(u, name)[i])

    def _look_up(self, n, count):
        at = 0
        for i in range(count):
            answers = [(self._address(n.answers_address[k]), n.answers_ttl_s[k]) for k in range(at, at + n.answers[i])]
            at += n.answers[i]
            half = self.live[n.slot[i]]
            lookup = Lookup(half, self.batch.strings[n.name[i]], n.type[i], n.rcode[i], n.flags[i], n.latency_us[i],
                            answers)
            half.lookups.append(lookup)
            self.lookups.append(lookup)

    def _close(self, c, count):
        for i in range(count):
            half = self.live.pop(c.slot[i])
            half.reason = c.reason[i]
            half.closed_us = self.batch.base_time_us + c.dt_us[i]
            half.pid = c.pid[i] or half.pid
            for name in COUNTERS:
                setattr(half, name, getattr(c, name)[i])

    def find(self, **wanted):
        return [half for half in self.all if all(getattr(half, name) == value for name, value in wanted.items())]
