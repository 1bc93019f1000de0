#!/usr/bin/python3
"""Data flows one way: a folder includes base/, itself and what feeds it, never what it feeds."""

import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import source

FEEDS = {
    "base": [],
    "config": ["base"],
    "kafka": ["base", "config", "agent/batch"],  # how a client gets in: the same for both programs
    "fetch": ["base"],  # requests to others from a loop
    "kube": ["base", "fetch"],  # a cluster's objects
    "kube/catalog": ["base", "kube", "proto"],  # and the records of the metadata topic made of them
    "agent/bpf": [],
    "agent/batch": ["base", "proto"],
    "agent": ["base", "config", "kafka", "agent/batch", "agent/bpf"],
    "metadata": ["base", "proto"],
    "ingest": ["base", "kafka", "agent/batch", "metadata", "proto"],
    "join": ["base", "ingest", "metadata"],
    "aggregate": ["base", "join"],
    "anomaly": ["base", "aggregate", "metadata"],
    "rules": ["base", "agent/batch", "metadata", "anomaly", "proto"],  # what people told it to watch for, while it runs
    "api/http": ["base", "proto"],
    "api/history": ["base", "metadata", "anomaly", "aggregate", "join", "api", "proto"],
    "api/notify": ["base", "fetch", "metadata", "anomaly", "aggregate", "join", "api", "proto"],
    "api/query": ["base", "metadata", "anomaly", "aggregate", "join", "api", "proto"],
    "api/cli": ["base", "config", "anomaly", "aggregate", "join", "api", "proto"],
    "daemon": ["base", "config", "kafka", "kube", "kube/catalog", "agent/batch", "metadata", "ingest", "join", "aggregate", "anomaly", "rules", "api", "proto"],
    "bench": ["base", "config", "kafka", "kube", "kube/catalog", "agent", "metadata", "ingest", "join", "aggregate", "anomaly", "rules", "api", "daemon", "proto"],
}
ANYTHING = "tests"  # tests may include whatever they test
INCLUDE = re.compile(r'^\s*#\s*include\s*"([^"]+)"')


def folder_of(path):
    """The layer that owns a path: the longest known folder that it lies in."""
    if path.startswith("millrace/v1/") or path.startswith("grpc/"):
        return "proto"  # generated from proto/
    owners = [folder for folder in FEEDS if path.startswith(folder + "/")]
    return max(owners, key=len, default=path.split("/")[0])


def allowed(folder, target):
    # "api" in the table stands for all of api/; any other name for that folder alone, and bench sees all of agent/
    fed_by = FEEDS[folder]
    return target == folder or target in fed_by or target.split("/")[0] in [
        name for name in fed_by if name == "api" or folder == "bench"]


def problems(root):
    found = []
    for name in source.c_files(root):
        folder = folder_of(name)
        if folder == ANYTHING:
            continue
        if folder not in FEEDS:
            found.append(f"{name}:1: {folder}/ is no layer; add it to tests/checks/layering.py with its reason")
            continue
        text = source.code((root / name).read_text(errors="replace"), strings=True)
        for number, line in enumerate(text.splitlines(), 1):
            match = INCLUDE.match(line)
            if not match:
                continue
            target = folder_of(match.group(1))
            if "/" not in match.group(1):
                found.append(f"{name}:{number}: \"{match.group(1)}\" is not written from the root")
            elif not allowed(folder, target):
                found.append(f"{name}:{number}: {folder}/ may not include {target}/")
    return found


GOOD = {
    "ingest/mirror.c": '#include "ingest/mirror.h"\n#include "agent/batch/batch.h"\n#include "base/hash.h"\n'
                       '#include "millrace/v1/events.pb-c.h"\n/* #include "join/join.h" */\n',
    "api/query/map.c": '#include "api/http/server.h"\n#include "anomaly/alert.h"\n',
    "tests/sim/all_test.c": '#include "daemon/task.h"\n',
    "bench/load.c": '#include "agent/slots.h"\n#include "daemon/task.h"\n',
}
FAULTS = [
    ({"ingest/mirror.c": '#include "join/join.h"\n'}, "ingest/mirror.c:1: ingest/ may not include join/"),
    ({"base/hash.c": '\n  #  include "config/config.h"\n'}, "base/hash.c:2: base/ may not include config/"),
    ({"join/nat.h": '#include "aggregate/rollup.h"\n'}, "join/ may not include aggregate/"),
    ({"join/nat.h": '#include "millrace/v1/flows.pb-c.h"\n'}, "join/ may not include proto/"),
    ({"anomaly/map.h": '#include "join/join.h"\n'}, "anomaly/ may not include join/"),
    ({"api/http/route.c": '#include "api/query/query.h"\n'}, "api/http/ may not include api/query/"),
    ({"agent/batch/batch.c": '#include "agent/slots.h"\n'}, "agent/batch/ may not include agent/"),
    ({"daemon/main.c": '#include "bench/world/world.h"\n'}, "daemon/ may not include bench/"),
    ({"daemon/main.c": '#include "task.h"\n'}, "is not written from the root"),
    ({"util/misc.c": "int x;\n"}, "util/ is no layer"),
]

if __name__ == "__main__":
    source.run(problems, GOOD, FAULTS)
