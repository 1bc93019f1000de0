#!/usr/bin/python3
"""Functions that overflow or truncate in silence are banned from the product (tests run under ASan); clocks, randomness, the environment and the
world are banned where the result must be a function of the log. Sources are read, and the undefined symbols of the
built libraries, which also see what a macro or an inline function hides."""

import os
import shutil
import subprocess

import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import source

ALWAYS = ["strcpy", "strcat", "sprintf", "vsprintf", "gets", "alloca", "strtok", "strncpy"]
OUTSIDE = ["clock_gettime", "gettimeofday", "time", "clock", "rand", "random", "srand", "srandom", "drand48",
           "getrandom", "arc4random", "getenv", "secure_getenv", "gethostname", "nanosleep", "usleep",
           "real_ns"]  # base/real.h's, for the others
REAL = {"base/real.h": ["clock_gettime", "real_ns"]}  # it is what it says
WORLD = ["pthread_create", "socket", "connect", "open", "fopen", "printf", "puts", "syslog"]
# State is kept in the heap of its task, which only base/memory.h knows.
MEMORY = ["malloc", "calloc", "realloc", "free", "strdup", "strndup", "reallocarray", "aligned_alloc"]
STATE = {"base", "metadata", "ingest", "join", "aggregate", "anomaly", "rules", "kube/catalog"}
OTHERS = {"base/memory.c", "ingest/kafka.c"}  # no state
PURE = {"base": OUTSIDE, "metadata": OUTSIDE + WORLD, "join": OUTSIDE + WORLD, "aggregate": OUTSIDE + WORLD,
        "anomaly": OUTSIDE + WORLD, "rules": OUTSIDE + WORLD, "kube/catalog": OUTSIDE + WORLD}


def calls(names):
    return re.compile(r"(?<![\w.>])(" + "|".join(names) + r")\s*\(")


def in_sources(root):
    found = []
    for name in source.c_files(root):
        folder = name.split("/")[0]
        if folder == "tests":
            continue
        folder = max((pure for pure in PURE if name.startswith(pure + "/")), key=len, default=folder)
        names = ALWAYS + PURE.get(folder, []) + (MEMORY if folder in STATE and name not in OTHERS else [])
        banned = calls([one for one in names if one not in REAL.get(name, [])])
        text = source.code((root / name).read_text(errors="replace"))
        for number, line in enumerate(text.splitlines(), 1):
            for match in banned.finditer(line):
                found.append(f"{name}:{number}: {match.group(1)}() is banned in {folder}/")
    return found


def undefined(library):
    lines = subprocess.run(["nm", "-u", library], capture_output=True, text=True).stdout.splitlines()
    return {line.split()[1].split("@")[0] for line in lines if line.startswith(" ") and len(line.split()) == 2}


def in_libraries(build):
    found = []
    for folder, names in PURE.items():
        library = build / f"libmillrace_{folder.split('/')[-1]}.a"
        # the fortified twins of printf and of the string functions are spelt __printf_chk
        symbols = {re.sub(r"^__(\w+)_chk$", r"\1", symbol) for symbol in undefined(library)} if library.exists() else set()
        found += [f"{library.name}: uses {name}()" for name in sorted(symbols.intersection(names + ALWAYS))]
    return found


def problems(root):
    found = in_sources(root)
    build = os.environ.get("MILLRACE_BUILD")
    if root == source.ROOT and build:
        found += in_libraries(pathlib.Path(build))
    return found


def check_library_reading():
    """A library that calls time() through a macro must be found out."""
    if not shutil.which("gcc"):
        return
    import tempfile

    with tempfile.TemporaryDirectory(prefix="millrace-check-") as folder:
        path = pathlib.Path(folder)
        (path / "a.c").write_text("#include <time.h>\n#define NOW time\nlong now(void);\nlong now(void) { return NOW(0); }\n")
        subprocess.run(["gcc", "-c", "a.c", "-o", "a.o"], cwd=path, check=True)
        subprocess.run(["ar", "rc", "libmillrace_join.a", "a.o"], cwd=path, check=True)
        if in_libraries(path) != ["libmillrace_join.a: uses time()"]:
            sys.exit("the check misses a seeded fault in a library")


GOOD = {
    "join/join.c": 'int f(void) { return strtok_r(0, 0, 0) + run_time(1) + x.time(2) + p->random(3); } /* time() */\n'
                   'const char *s = "getenv()";\n',
    "ingest/kafka.c": "void g(void *a) { free(a); memory_free(a); }\n",
    "daemon/clock.c": "int g(void) { return clock_gettime(0, 0) + real_ns(); }\n",
    "base/real.h": "static inline int real_ns(void) { return clock_gettime(0, 0); }\n",
    "tests/join/join_test.c": "int h(char *a) { return printf(0) + time(0) + sprintf(a, a); }\n",
}
FAULTS = [
    ({"api/a.c": "void f(char *a) {\n\tstrcpy (a, a);\n}\n"}, "api/a.c:2: strcpy() is banned in api/"),
    ({"bench/a.c": "int f(char *a) { return sprintf(a, a); }\n"}, "sprintf() is banned"),
    ({"join/a.c": "long f(void) { return time(0); }\n"}, "join/a.c:1: time() is banned in join/"),
    ({"base/a.h": "static inline int f(void) { return rand(); }\n"}, "rand() is banned in base/"),
    ({"base/a.h": "static inline int f(void) { return clock_gettime(0, 0); }\n"}, "clock_gettime() is banned in base/"),
    ({"base/real.h": "static inline int f(void) { return time(0); }\n"}, "time() is banned in base/"),
    ({"join/a.c": '#include "base/real.h"\nlong f(void) { return real_ns(); }\n'}, "join/a.c:2: real_ns() is banned in join/"),
    ({"base/a.c": "long f(void) { return real_ns(); }\n"}, "base/a.c:1: real_ns() is banned in base/"),
    ({"anomaly/a.c": "char *f(void) { return getenv(0); }\n"}, "getenv() is banned in anomaly/"),
    ({"ingest/a.c": "void f(void *a) { free(a); }\n"}, "free() is banned in ingest/"),
    ({"kube/catalog/a.c": "long f(void) { return time(0); }\n"}, "kube/catalog/a.c:1: time() is banned in kube/catalog/"),
    ({"aggregate/a.c": "int f(void) { return printf(0); }\n"}, "printf() is banned in aggregate/"),
]

if __name__ == "__main__":
    check_library_reading()
    source.run(problems, GOOD, FAULTS)
