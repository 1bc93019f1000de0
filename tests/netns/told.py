"""What an agent told of its node, read back from Kafka."""

import ipaddress
import itertools
import os
import pathlib
import shutil
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import kafka
import processes
import records
from agents import AGENT, WITHIN_S, Agent
from network import CLIENT, CLIENT6, SERVER, SERVER6, N, Network, run

SKIPPED = 77


def why_not(*programs):
    if os.geteuid() != 0:
        return "needs root"
    if not os.path.exists("/sys/kernel/btf/vmlinux"):
        return "needs a kernel with BTF"
    missing = kafka.missing() + [p for p in ("ip", "protoc", *programs) if not shutil.which(p)]
    if missing:
        return "needs " + ", ".join(missing)
    if not AGENT.exists():
        return f"needs {AGENT}"
    return None


class _Columns:
    """Of a group: those that are not there are zeros."""

    def __init__(self, group):
        self.group = group

    def __getattr__(self, name):
        return getattr(self.group, name) or itertools.repeat(0)

    def rows(self, count, *names):
        return zip(range(count), *(iter(getattr(self, name)) for name in names))


class Told:
    """A node's batches, in order; their drops and NAT as rows."""

    def __init__(self, address, node):
        self.batches = records.batches(address, node)

    @staticmethod
    def _addresses(batch):
        v4, v6 = batch.addresses_v4, batch.addresses
        texts = [str(ipaddress.IPv4Address(v4[i:i + 4])) for i in range(0, len(v4), 4)]
        for i in range(0, len(v6), 16):
            address = ipaddress.IPv6Address(v6[i:i + 16])
            texts.append(str(address.ipv4_mapped or address))
        return texts

    def drops(self):
        rows = []
        for batch in self.batches:
            addresses = self._addresses(batch)
            columns = _Columns(batch.drops)
            for _, reason, kind, protocol, source, destination, source_port, destination_port, packets, size, netns, slot, \
                    location in columns.rows(len(batch.drops.reason), "reason", "kind", "protocol", "source", "destination",
                                             "source_port", "destination_port", "packets", "bytes", "netns", "socket",
                                             "location"):
                rows.append(dict(reason=batch.strings[reason], icmp=kind == 1, protocol=protocol, source=addresses[source],
                                 destination=addresses[destination], source_port=source_port,
                                 destination_port=destination_port, packets=packets, bytes=size, netns=netns, slot=slot,
                                 location=batch.strings[location], sequence=batch.sequence))
        return rows

    def nat(self):
        """(sent time ns, [(ended, netns, zone, mark, protocol, original, reply)]) of each batch; tuples are
        (source, port, destination, port)."""
        names = ("op", "netns", "zone", "mark", "protocol", "original_source", "original_source_port",
                 "original_destination", "original_destination_port", "reply_source", "reply_source_port",
                 "reply_destination", "reply_destination_port")
        for batch in self.batches:
            if not batch.nat.protocol:
                continue
            a = self._addresses(batch)
            yield batch.sent_realtime_ns, [
                (bool(op), netns, zone, mark, protocol, (a[os], osp, a[od], odp), (a[rs], rsp, a[rd], rdp))
                for _, op, netns, zone, mark, protocol, os, osp, od, odp, rs, rsp, rd, rdp
                in _Columns(batch.nat).rows(len(batch.nat.protocol), *names)]
