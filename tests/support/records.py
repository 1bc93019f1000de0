"""Records of Millrace's topics as Python messages: the schema compiled by protoc, the bytes read by kcat."""

import functools
import hashlib
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time

import processes

PROTO = processes.ROOT / "proto"
WITHIN_S = 120

# The headers of an output as kcat's %h prints them: epoch, task, number.
NUMBER = r"millrace-output=(\d+)\.(\d+)\.(\d+),millrace-pane=\d+\.\d+,millrace-digest=[0-9a-f]{8}"

MESSAGES = {
    "millrace.events": ("events", "Batch"),
    "millrace.deadletter": ("events", "DeadLetter"),
    "millrace.metadata": ("metadata", "Metadata"),
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


def ends(address, topic):
    """{partition: the offset after its last record}."""
    words = ["kcat", "-q", "-L", "-J", "-b", address, "-t", topic]
    topics = json.loads(subprocess.run(words, check=True, timeout=WITHIN_S, stdout=subprocess.PIPE).stdout)["topics"]
    partitions = [part["partition"] for found in topics for part in found["partitions"]]
    words = ["kcat", "-q", "-Q", "-b", address]
    for partition in partitions:
        words += ["-t", f"{topic}:{partition}:-1"]
    for _ in range(WITHIN_S):  # a broker that has just come back leads no partition yet
        out = subprocess.run(words, timeout=WITHIN_S, capture_output=True, text=True)
        found = {int(part): int(offset) for part, offset in re.findall(r"\[(\d+)\] offset (-?\d+)", out.stdout)}
        if sorted(found) == sorted(partitions):
            return found
        time.sleep(1)
    raise RuntimeError(f"the ends of {topic} are not known: {out}")


def raw(address, topic, partition=None):
    """The values of all records that a topic has now, as bytes. It may go on to grow meanwhile, so its end is that of now."""
    wanted = {part: end for part, end in ends(address, topic).items() if end > 0 and partition in (None, part)}
    words = ["kcat", "-q", "-u", "-C", "-e", "-b", address, "-t", topic, "-o", "beginning", "-f", "%p %o %S\n%s"]
    if partition is not None:
        words += ["-p", str(partition)]
    child = processes.start(words, stdout=subprocess.PIPE)
    watchdog = threading.Timer(WITHIN_S, child.kill)
    watchdog.start()
    try:
        while wanted and (line := child.stdout.readline()):
            part, offset, length = map(int, line.split())
            value = child.stdout.read(length) if length > 0 else b""
            if length >= 0 and offset < wanted.get(part, 0):
                yield value
            if offset + 1 >= wanted.get(part, 0):
                wanted.pop(part, None)
        assert not wanted or watchdog.is_alive(), f"not read within {WITHIN_S} s: {wanted}"
    finally:
        watchdog.cancel()
        child.kill()
        processes.end(child)


def batches(address, node):
    """All of a node that Kafka has now, by their numbers: of one epoch, or of several mixed."""
    told = (batch for batch in map(module("events").Batch.FromString, raw(address, "millrace.events")) if batch.node == node)
    return sorted(told, key=lambda batch: batch.sequence)


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
