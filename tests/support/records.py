"""Records of Millrace's topics as Python messages: the schema compiled by protoc, the bytes read by kcat."""

import functools
import hashlib
import importlib
import os
import shutil
import subprocess
import sys
import tempfile

import processes

PROTO = processes.ROOT / "proto"

MESSAGES = {
    "millrace.events": ("events", "Batch"),
    "millrace.deadletter": ("events", "DeadLetter"),
    "millrace.flows": ("flows", "Flows"),
    "millrace.rollups": ("rollups", "Rollups"),
    "millrace.alerts": ("alerts", "Alert"),
    "millrace.alerts.delivery": ("alerts", "Delivery"),
    "millrace.baselines": ("alerts", "Baseline"),
}


@functools.cache
def compiled():
    """The folder of the schema's Python modules, named by its content: one for all tests, whoever compiles it first."""
    protos = sorted((PROTO / "millrace" / "v1").glob("*.proto"))
    content = hashlib.sha256(b"".join(proto.read_bytes() for proto in protos)).hexdigest()
    folder = processes.BUILD.resolve() / "python" / content[:16]
    if folder.exists():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    making = tempfile.mkdtemp(dir=folder.parent)
    subprocess.run(["protoc", f"--proto_path={PROTO}", f"--python_out={making}", *map(str, protos)], check=True)
    try:
        os.rename(making, folder)
    except OSError:  # another was first
        shutil.rmtree(making)
    return folder


def module(noun):
    """millrace.v1.<noun>_pb2."""
    folder = str(compiled())
    if folder not in sys.path:
        sys.path.insert(0, folder)
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
