#!/usr/bin/python3
"""Each header compiles alone, and twice in one file."""

import concurrent.futures
import os
import shutil
import subprocess
import tempfile

import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import source

PACKAGES = ["libuv", "rdkafka", "libprotobuf-c", "libnghttp2", "openssl", "libcurl", "libcjson", "libcyaml", "sqlite3",
            "libbpf", "libelf", "jemalloc", "cmocka", "libzstd"]
# Not for compiling alone: kernel-side headers, whose includes only a BPF program has.
BPF = "agent/bpf/"
WARNINGS = ["-Wall", "-Wextra", "-Wshadow", "-Wstrict-prototypes", "-Wmissing-prototypes", "-Wpointer-arith", "-Wvla",
            "-Wwrite-strings", "-Werror"]


def package_flags():
    flags = []
    for package in PACKAGES:
        asked = subprocess.run(["pkg-config", "--cflags", package], capture_output=True, text=True)
        flags += asked.stdout.split() if asked.returncode == 0 else []
    if pathlib.Path("/usr/include/llhttp.h").exists():
        flags.append("-DMILLRACE_LLHTTP=1")
    return flags


def generate(root, folder):
    """The headers that the build makes from proto/."""
    protos = source.files(root, ".proto")
    protos = [name for name in protos if name.startswith("proto/")]
    for name in protos:
        subprocess.run(["protoc-c", f"--proto_path={root}/proto", f"--c_out={folder}", root / name], check=True)


def compile_alone(root, name, flags):
    if name.startswith(BPF):
        machine = "arm64" if os.uname().machine == "aarch64" else "x86"
        command = ["clang", "-target", "bpf", "-mcpu=v3", "-O2", f"-D__TARGET_ARCH_{machine}", "-Wall", "-Werror",
                   "-Wno-unused-function", f"-I/usr/include/{os.uname().machine}-linux-gnu"]
    else:
        command = ["gcc", "-std=gnu11", "-D_GNU_SOURCE", '-DMILLRACE_VERSION="0"', *WARNINGS, *flags]
    command += ["-fsyntax-only", "-x", "c", f"-I{root}", "-"]
    text = f'#include "{name}"\n#include "{name}"\n'
    result = subprocess.run(command, input=text, capture_output=True, text=True)
    if result.returncode == 0:
        return []
    lines = [line for line in result.stderr.splitlines() if "error" in line] or result.stderr.splitlines()
    return [f"{name}: does not compile alone: {lines[0]}"]


def problems(root):
    names = source.files(root, ".h")
    with tempfile.TemporaryDirectory(prefix="millrace-check-") as folder:
        generate(root, folder)
        flags = [f"-I{folder}", *package_flags()]
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            found = pool.map(lambda name: compile_alone(root, name, flags), names)
        return [line for lines in found for line in lines]


GOOD = {"base/a.h": "#pragma once\n#include <stdint.h>\nstruct a {\n\tuint64_t x;\n};\n"}
FAULTS = [({"base/b.h": "#pragma once\nuint64_t f(void);\n"}, "base/b.h: does not compile alone"),
          ({"base/c.h": "struct c {\n\tint x;\n};\n"}, "base/c.h: does not compile alone")]

if __name__ == "__main__":
    for program in ("gcc", "clang", "protoc-c", "pkg-config"):
        if not shutil.which(program):
            source.skip(f"{program} is not installed")
    source.run(problems, GOOD, FAULTS)
