#!/usr/bin/python3
"""C files are as clang-format 14 with the repository's .clang-format would write them. Other versions of
clang-format lay some lines out differently, so one version judges (Debian 12's)."""

import shutil
import subprocess

import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import source

JUDGE = 14


def judge():
    for program in (f"clang-format-{JUDGE}", "clang-format"):
        if shutil.which(program):
            text = subprocess.run([program, "--version"], capture_output=True, text=True).stdout
            match = re.search(r"version (\d+)", text)
            if match and int(match.group(1)) == JUDGE:
                return program
    return None


def problems(root):
    names = source.c_files(root)
    if not names:
        return []
    style = source.ROOT / ".clang-format"
    style = "file" if root == source.ROOT else "{" + ", ".join(
        line for line in style.read_text().splitlines() if line.strip()) + "}"
    result = subprocess.run([judge(), "--dry-run", "-Werror", f"-style={style}", *names], cwd=root,
                            capture_output=True, text=True)
    lines = [line for line in result.stderr.splitlines() if "[-Wclang-format-violations]" in line]
    files = {}
    for line in lines:
        files.setdefault(line.split(":")[0], []).append(line.split(":")[1])
    found = [f"{name}:{rows[0]}: {len(rows)} places differ from clang-format" for name, rows in files.items()]
    if result.returncode != 0 and not found:
        found = [result.stderr.strip()]
    return found


GOOD = {"base/a.c": "int f(int x)\n{\n\treturn x;\n}\n"}
FAULTS = [({"base/a.c": "int f(int x) { return  x; }\n"}, "base/a.c:1:"),
          ({"base/a.h": "int  f(int x);\n"}, "base/a.h:1: 1 places")]

if __name__ == "__main__":
    if judge() is None:
        source.skip(f"clang-format {JUDGE} is not installed")
    source.run(problems, GOOD, FAULTS)
