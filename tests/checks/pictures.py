#!/usr/bin/python3
"""The pictures in docs/notifications are the messages in tests/data/notify, which tests/api/notify/picture_test.c makes as
receivers get them; and a document shows each of them.

    tests/checks/pictures.py --write    draws them anew"""

import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import picture
import source

MESSAGES, PICTURES, SHOWN = "tests/data/notify", "docs/notifications", "docs/alerts.md"


def drawn(root):
    return {f"{PICTURES}/{path.stem}.svg": picture.draw(json.loads(path.read_text()))
            for path in sorted((root / MESSAGES).glob("*.json"))}


def problems(root):
    wanted, found = drawn(root), []
    shown = (root / SHOWN).read_text() if (root / SHOWN).exists() else ""
    for name, text in wanted.items():
        if not (root / name).exists() or (root / name).read_text() != text:
            found.append(f"{name}: is not its message as drawn now: tests/checks/pictures.py --write, and look at it")
        if f"]({name.removeprefix('docs/')})" not in shown:
            found.append(f"{SHOWN}: {name} is not shown")
    for path in sorted((root / PICTURES).glob("*.svg")):
        if f"{PICTURES}/{path.name}" not in wanted:
            found.append(f"{PICTURES}/{path.name}: there is no such message")
    return found


MESSAGE = {"text": "error: a", "blocks": [{"type": "header", "text": {"type": "plain_text", "text": "🔴 Firing"}}]}
OTHER = {**MESSAGE, "text": "error: b"}
GOOD = {f"{MESSAGES}/a.json": json.dumps(MESSAGE), f"{PICTURES}/a.svg": picture.draw(MESSAGE),
        SHOWN: "![a](notifications/a.svg)"}
FAULTS = [({f"{MESSAGES}/a.json": json.dumps(OTHER)}, "a.svg: is not its message"),
          ({f"{MESSAGES}/b.json": json.dumps(OTHER)}, "b.svg: is not its message"),
          ({f"{PICTURES}/b.svg": "<svg/>"}, "b.svg: there is no such message"),
          ({SHOWN: "none"}, "a.svg is not shown")]

if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        for name, text in drawn(source.ROOT).items():
            (source.ROOT / name).write_text(text)
    source.run(problems, GOOD, FAULTS)
