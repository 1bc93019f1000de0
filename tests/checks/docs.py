#!/usr/bin/python3
"""What docs/ repeats from the sources is what the sources say. A block

    <!-- from daemon/metrics.c -->
    ...
    <!-- end -->

holds what is made from the named source (a file, or a program's --print-reference); links between documents lead
somewhere; configurations that the documents show are accepted by the program that their first line names.

    tests/checks/docs.py --write    makes the blocks anew

Programs are asked when they are built ($MILLRACE_BUILD, else build/release) and not older than their sources."""

import os
import pathlib
import re
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import source

BUILD = pathlib.Path(os.environ.get("MILLRACE_BUILD", source.ROOT / "build" / "release"))
SHARED = ["config/print.c", "kafka/options.h", "kafka/signing.h", "kafka/signing.c"]
PROGRAMS = {"millraced": ["daemon/settings.c", *SHARED], "millrace-agent": ["agent/options.c", *SHARED]}
BLOCK = re.compile(r"(<!-- from (.+?) -->\n)(.*?)(<!-- end -->\n)", re.S)
LINK = re.compile(r"\[[^]\[]+\]\(([^)#: ]+)(?:#[^)]*)?\)")
FENCED = re.compile(r"^ *```yaml\n(.*?)^ *```$", re.S | re.M)
NAMED = re.compile(r"# /etc/millrace/(millraced|agent)\.yaml\b")

# A list of C strings and words between commas, as calls and initialisers of the metrics hold them.
STRING = r'"(?:\\.|[^"\\])*"'
TEXT = rf"({STRING}(?:\s*{STRING})*)"
METRIC = re.compile(rf'(?:\b(\w+)\(\w+,|\{{)\s*"((?:millrace_|process_)?[a-z0-9_]+)",\s*(?:"(counter|gauge)",\s*)?{TEXT}')
UNITS = [("_seconds_total", "seconds"), ("_bytes_total", "bytes"), ("_seconds", "seconds"), ("_bytes", "bytes"),
         ("_share", "ratio"), ("_budget", "ratio"), ("_info", "–"), ("millrace_ready", "0 or 1"), ("_connected", "0 or 1")]


def joined(text):
    return "".join(part.replace('\\"', '"') for part in re.findall(r'"((?:\\.|[^"\\])*)"', text))


def unit(name):
    return next((unit for end, unit in UNITS if name.endswith(end)), "count")


def metrics(text, prefix):
    """A table of all metrics that a C file prints, in its order. A name has one meaning."""
    rows = ["| Metric | Type | Unit | Meaning |", "|---|---|---|---|"]
    names = set()
    for call, name, kind, meaning in METRIC.findall(text):
        if call == "fprintf" or not joined(meaning)[:1].isupper() and not joined(meaning)[:1].isdigit():
            continue  # no HELP text: another kind of string
        kind = kind or {"gauge": "gauge", "histogram": "histogram"}.get(call, "counter")
        name = name if not prefix and name.startswith(("millrace_", "process_")) else prefix + name
        if name in names:
            raise ValueError(f"{name} is there twice")
        names.add(name)
        rows.append(f"| `{name}` | {kind} | {unit(name)} | {joined(meaning)} |")
    return "\n".join(rows) + "\n"


def topics(text):
    rows = ["| Topic | Partitions | Time | Kept | Compression |", "|---|---|---|---|---|"]
    for line in text.splitlines():
        if not line or line.startswith("#"):
            continue
        name, partitions, *settings = line.split()
        given = dict(setting.split("=", 1) for setting in settings)
        hours = int(given.get("retention.ms", 0)) // 3600000
        kept = ["latest of each key"] if "compact" in given.get("cleanup.policy", "") else []
        kept += [f"{hours // 24} days" if hours >= 48 else f"{hours} h"] if hours else []
        time = "of the broker" if given.get("message.timestamp.type") == "LogAppendTime" else "of the producer"
        codec = given["compression.type"]
        rows.append(f"| `{name}` | {partitions} | {time} | {', '.join(kept)} | {'as written' if codec == 'producer' else codec} |")
    return "\n".join(rows) + "\n"


def counters(text):
    rows = ["| Counter | Unit | Meaning |", "|---|---|---|"]
    for name, of, meaning in re.findall(rf'=\s*\{{"(\w+)",\s*"(\w+)",\s*{TEXT}\}}', text):
        rows.append(f"| `{name}` | {of} | {joined(meaning)} |")
    return "\n".join(rows) + "\n"


def methods(text):
    """The query API's paths with what a request may say."""
    given = {name: re.findall(r'^\s*\{"(\w+)",\s*"\w+",\s*PARAMETER_', body, re.M)
             for name, body in re.findall(r"struct parameter (\w+)\[\] = \{(.*?)\n\};", text, re.S)}
    rows = ["| Path | gRPC, service `millrace.v1.Query` | Parameters |", "|---|---|---|"]
    for path, rpc, rest in re.findall(r'"(/api/v1/[\w/{}]+)",\s*"/millrace\.v1\.Query/(\w+)",(.*?answer_\w+)', text, re.S):
        table = re.search(r"TABLE\((\w+)\)", rest)
        names = ", ".join(f"`{name}`" for name in given[table[1]]) if table else "–"
        rows.append(f"| `{path}` | `{rpc}` | {names} |")
    return "\n".join(rows) + "\n"


FILES = {"daemon/metrics.c": lambda text: metrics(text, ""),
         "agent/metrics.c": lambda text: metrics(text, "millrace_agent_"),
         "deploy/kafka/topics": topics, "aggregate/counter.c": counters,
         "api/query/method.c": methods}


def program(root, name):
    """Path of a built program that is not older than its sources, or None."""
    path = BUILD / "bin" / name
    if root != source.ROOT or not path.exists():
        return None
    sources = [root / file for file in PROGRAMS[name] if (root / file).exists()]
    return path if all(path.stat().st_mtime >= file.stat().st_mtime for file in sources) else None


def made(root, name):
    """What the block `from name` is to hold; None when that cannot be known here."""
    words = name.split()
    if words[0] in PROGRAMS and words[1:] == ["--print-reference"]:
        path = program(root, words[0])
        if not path:
            return None
        return subprocess.run([path, words[1]], check=True, capture_output=True, text=True).stdout
    if name not in FILES:
        raise ValueError(f"there is no source {name}")
    return FILES[name]((root / name).read_text())


def blocks(root, name, text):
    for match in BLOCK.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        try:
            wanted = made(root, match[2])
        except ValueError as error:
            yield f"{name}:{line}: {error}"
            continue
        if wanted is not None and match[3] != wanted:
            yield f"{name}:{line}: is not what {match[2]} says: run tests/checks/docs.py --write"


def links(root, name, text):
    for match in LINK.finditer(text):
        if not (root / name).parent.joinpath(match[1]).exists():
            yield f"{name}:{text.count(chr(10), 0, match.start()) + 1}: {match[1]} is not there"


def refusal(path, text):
    """What the program says against a configuration; the secrets' files that it names exist where it is read."""
    with tempfile.TemporaryDirectory() as folder:
        for secret in re.findall(r"_file: (\S+)", text):
            name = pathlib.Path(secret).name
            key = "0123456789abcdef0123456789abcdef"
            value = "https://hooks.slack.com/services/T/B/X" if "url" in name else key
            value = f"whsec_{key}" if name == "hook-secret" else value
            pathlib.Path(folder, name).write_text(value + "\n")
        config = pathlib.Path(folder, "config.yaml")
        config.write_text(re.sub(r"(_file: )\S*/(\S+)", r"\1\2", text))
        result = subprocess.run([path, "--config", config, "--check-config"], capture_output=True, text=True,
                                env={"KAFKA_PASSWORD": "secret", "CREDENTIALS_DIRECTORY": folder})
    return result.stderr.strip() if result.returncode else ""


def configurations(root, name, text):
    for match in FENCED.finditer(text):
        block = match[1]
        named = NAMED.search(block.splitlines()[0])
        path = named and program(root, {"millraced": "millraced", "agent": "millrace-agent"}[named[1]])
        refused = path and refusal(path, block)
        if refused:
            line = text.count("\n", 0, match.start()) + 1
            yield f"{name}:{line}: {path.name} refuses this configuration: {refused}"


def documents(root):
    return [name for name in source.files(root, ".md") if "/" not in name or name.startswith("docs/")]


def problems(root):
    found = []
    for name in documents(root):
        text = (root / name).read_text()
        for check in (blocks, links, configurations):
            found += list(check(root, name, text))
    return found


def write(root):
    for name in documents(root):
        text = (root / name).read_text()
        new = BLOCK.sub(lambda match: match[1] + (made(root, match[2]) or match[3]) + match[4], text)
        if new != text:
            (root / name).write_text(new)
            print(name)


HEAD = "| Metric | Type | Unit | Meaning |\n|---|---|---|---|\n"
SOURCE = '{"millrace_a_total", "counter", "Things " "seen.", TOTAL(a)},\none(out, "millrace_b_bytes", "gauge",\n "Size.", 1);'
ROWS = "| `millrace_a_total` | counter | count | Things seen. |\n| `millrace_b_bytes` | gauge | bytes | Size. |\n"


def page(body, name="daemon/metrics.c"):
    return f"# Metrics\n\n<!-- from {name} -->\n{body}<!-- end -->\n\nSee [it](metrics.md).\n"


GOOD = {"daemon/metrics.c": SOURCE, "docs/metrics.md": page(HEAD + ROWS)}
FAULTS = [({"docs/metrics.md": page(HEAD)}, "docs/metrics.md:3: is not what daemon/metrics.c says"),
          ({"daemon/metrics.c": SOURCE + 'one(out, "millrace_c", "gauge", "More.", 1);'}, "is not what daemon/metrics.c"),
          ({"daemon/metrics.c": SOURCE + SOURCE}, "docs/metrics.md:3: millrace_a_total is there twice"),
          ({"docs/metrics.md": page(HEAD, "daemon/metric.c")}, "there is no source daemon/metric.c"),
          ({"agent/metrics.c": 'gauge(file, "process_text_bytes", "Kept.", 1);', "docs/metrics.md": page(
              HEAD + "| `process_text_bytes` | gauge | bytes | Kept. |\n", "agent/metrics.c")}, "not what agent/metrics.c"),
          ({"README.md": "[more](docs/metric.md)\n"}, "README.md:1: docs/metric.md is not there")]

if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        write(source.ROOT)
    else:
        source.run(problems, GOOD, FAULTS)
