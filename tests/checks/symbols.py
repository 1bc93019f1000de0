"""No name is defined by two of the libraries that a program links: C has one space of names for all of them.

Looks at the static libraries of a build folder ($MILLRACE_BUILD, else build/dev); skips when there are none."""

import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("MILLRACE_BUILD", ROOT / "build" / "dev"))


def defined(archive):
    """Global names that the archive's objects define."""
    out = subprocess.run(["nm", "-g", "--defined-only", archive], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                         text=True).stdout
    names = set()
    for line in out.splitlines():
        words = line.split()
        if len(words) == 3 and words[1] in "TDBRVW":
            names.add(words[2])
    return names


def clashes(names_by_library):
    owners = {}
    for library, names in sorted(names_by_library.items()):
        for name in names:
            owners.setdefault(name, []).append(library)
    return sorted((name, libraries) for name, libraries in owners.items() if len(libraries) > 1)


def main():
    assert clashes({"a": {"x", "y"}, "b": {"y"}}) == [("y", ["a", "b"])], "the check does not find a seeded clash"
    # The agent is a program of its own: its names may be those of millraced's libraries.
    archives = [path for path in BUILD.glob("libmillrace_*.a") if path.stem not in ("libmillrace_agent", "libmillrace_bpf")]
    if not archives:
        print(f"skipped: no libraries in {BUILD}")
        return 77
    found = clashes({path.stem: defined(path) for path in archives})
    for name, libraries in found:
        # sanitizers' own
        if name.startswith(("__asan", "__odr_asan", "__tsan", "__sanitizer")):
            continue
        print(f"{name} is defined in {' and '.join(libraries)}: give one of them its folder's noun")
    return 1 if [name for name, _ in found if not name.startswith("__")] else 0


if __name__ == "__main__":
    sys.exit(main())
