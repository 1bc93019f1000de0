"""What the checks in tests/checks/ share: which files are the project's, C without comments, and how a check ends.

A check is a function problems(root) -> ["file:line: what is wrong", ...]. run() first seeds faults into a scratch
tree and demands that the check finds each: a check that cannot fail proves nothing.
"""

import os
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
SKIPPED = 77  # ctest's SKIP_RETURN_CODE


def files(root, *suffixes):
    """Tracked files, as paths relative to root; all files where root is no git checkout (an unpacked archive)."""
    listing = subprocess.run(["git", "-c", f"safe.directory={root}", "ls-files", "-z"], cwd=root, capture_output=True)
    inside = listing.returncode == 0 and (root / ".git").exists()
    if inside:
        names = [name for name in os.fsdecode(listing.stdout).split("\0") if name and (root / name).is_file()]
    else:
        names = [str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()]
        names = [name for name in names if not name.startswith("build/") and "node_modules/" not in name]
    return sorted(name for name in names if name.endswith(suffixes))


def c_files(root):
    return files(root, ".c", ".h")


_TOKEN = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)


def code(text, strings=False):
    """C text with comments blanked (and string literals, unless strings), line numbers unchanged."""

    def blank(match):
        token = match.group(0)
        if token[0] == "/" or not strings:
            return re.sub(r"[^\n]", " ", token)
        return token

    return _TOKEN.sub(blank, text)


def scratch_problems(problems, tree):
    """problems() of a scratch tree given as {path: text}."""
    with tempfile.TemporaryDirectory(prefix="millrace-check-") as folder:
        root = pathlib.Path(folder)
        for name, text in tree.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)
        return problems(root)


def run(problems, good, faults):
    """good: a scratch tree without fault. faults: [(change to that tree, part of the message it must give), ...]."""
    found = scratch_problems(problems, good)
    if found:
        sys.exit("the check finds a fault where there is none:\n" + "\n".join(found))
    for change, message in faults:
        found = scratch_problems(problems, {**good, **change})
        if not any(message in line for line in found):
            sys.exit(f"the check misses a seeded fault: wanted {message!r}, found {found}")
    found = problems(ROOT)
    for line in found:
        print(line)
    name = pathlib.Path(sys.argv[0]).stem
    print(f"{name}: {len(found)} problems; {len(faults)} seeded faults found")
    sys.exit(1 if found else 0)


def skip(why):
    print(f"{pathlib.Path(sys.argv[0]).stem}: skipped: {why}")
    sys.exit(SKIPPED)
