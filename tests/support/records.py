"""Records of Millrace's topics as Python messages: the schema compiled by protoc, the bytes read by kcat."""

import importlib
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
_folder = None

MESSAGES = {
    "millrace.events": ("events", "Batch"),
    "millrace.deadletter": ("events", "DeadLetter"),
    "millrace.flows": ("flows", "Flows"),
    "millrace.rollups": ("rollups", "Rollups"),
    "millrace.alerts": ("alerts", "Alert"),
    "millrace.alerts.delivery": ("alerts", "Delivery"),
    "millrace.baselines": ("alerts", "Baseline"),
}


def module(noun):
    """millrace.v1.<noun>_pb2, compiled on first use."""
    global _folder
    if _folder is None:
        _folder = tempfile.TemporaryDirectory(prefix="millrace-proto-")
        protos = sorted((ROOT / "proto" / "millrace" / "v1").glob("*.proto"))
        subprocess.run(["protoc", f"--proto_path={ROOT / 'proto'}", f"--python_out={_folder.name}", *map(str, protos)],
                       check=True)
        sys.path.insert(0, _folder.name)
    return importlib.import_module(f"millrace.v1.{noun}_pb2")


def raw(address, topic, partition=None):
    """The values of all records of a topic up to its end, as bytes."""
    words = ["kcat", "-q", "-C", "-e", "-b", address, "-t", topic, "-o", "beginning", "-f", "%S\n%s\n"]
    if partition is not None:
        words += ["-p", str(partition)]
    out = subprocess.run(words, check=True, timeout=120, stdout=subprocess.PIPE).stdout
    at = 0
    while at < len(out):
        end = out.index(b"\n", at)
        length = int(out[at:end])
        if length >= 0:
            yield out[end + 1:end + 1 + length]
        at = end + 1 + max(length, 0) + 1


def read(address, topic):
    """All records of a topic up to its end, decoded."""
    noun, name = MESSAGES[topic]
    message = getattr(module(noun), name)
    return [message.FromString(value) for value in raw(address, topic)]


def flows(address):
    """Flows by id; an amended record replaces the one before it. Second: how often an id came without amendment."""
    latest, repeats = {}, 0
    for record in read(address, "millrace.flows"):
        for flow in record.flows:
            if flow.id in latest and not flow.amended:
                repeats += 1
            latest[flow.id] = flow
    return latest, repeats
