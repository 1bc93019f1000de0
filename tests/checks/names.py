#!/usr/bin/python3
"""Names that users rely on are spelt one way: a topic named in C stands in deploy/kafka/topics, and each topic there
is known to the daemon."""

import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import source

TOPICS = "deploy/kafka/topics"
DAEMON = "daemon/topics.h"
LITERAL = re.compile(r'"(millrace\.[A-Za-z0-9_.-]+)"')
OTHERS = ["millrace.pipeline"]  # the info string of a derived key
NOT_TOPICS = re.compile(r"millrace\.(v\d+($|\.)|ya?ml$|service$)")  # the proto package, files


def topics(root):
    lines = (root / TOPICS).read_text().splitlines()
    return [line.split()[0] for line in lines if line.strip() and not line.startswith("#")]


def problems(root):
    known = topics(root)
    found = [f"{TOPICS}: {name} stands there twice" for name in sorted(set(known)) if known.count(name) > 1]
    in_daemon = set()
    for name in source.c_files(root):
        if name.startswith("tests/"):
            continue
        text = source.code((root / name).read_text(errors="replace"), strings=True)
        for number, line in enumerate(text.splitlines(), 1):
            for topic in LITERAL.findall(line):
                if topic in OTHERS or NOT_TOPICS.match(topic):
                    continue
                if topic not in known:
                    found.append(f"{name}:{number}: {topic} is not in {TOPICS}")
                if name == DAEMON:
                    in_daemon.add(topic)
    found += [f"{TOPICS}: {topic} is not in {DAEMON}" for topic in known if topic not in in_daemon]
    return found


GOOD = {TOPICS: "# all\nmillrace.events 16 a=b\n", DAEMON: '#define TOPIC_EVENTS "millrace.events"\n',
        "api/a.c": 'const char *a = "millrace.v1.Query";\n'}
FAULTS = [({"api/a.c": 'const char *a = "millrace.event";\n'}, "api/a.c:1: millrace.event is not in"),
          ({TOPICS: "millrace.events 16\nmillrace.flows 16\n"}, "millrace.flows is not in daemon/topics.h"),
          ({TOPICS: "millrace.events 16\nmillrace.events 1\n"}, "twice")]

if __name__ == "__main__":
    source.run(problems, GOOD, FAULTS)
