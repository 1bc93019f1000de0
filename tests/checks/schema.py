#!/usr/bin/python3
"""The public schema compiles, explains every field (beside it, at its message, or at its type), and no message contains itself: protobuf-c unpacks by recursion
without a limit, so a recursive message would let a peer choose our stack depth."""

import shutil
import subprocess
import tempfile

import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import source

try:
    from google.protobuf import descriptor_pb2
except ImportError:
    descriptor_pb2 = None

OURS = "millrace/"  # other folders of proto/ hold the published protocols of others, as they are
MESSAGES, FIELDS, NESTED = 4, 2, 3  # numbers of FileDescriptorProto.message_type, DescriptorProto.field, .nested_type
TYPE_MESSAGE = 11


def describe(root, names):
    """(FileDescriptorSet, problems)"""
    with tempfile.NamedTemporaryFile() as out:
        result = subprocess.run(["protoc", f"--proto_path={root}/proto", "--include_source_info", "--include_imports",
                                 f"--descriptor_set_out={out.name}", *(str(root / name) for name in names)],
                                capture_output=True, text=True)
        if result.returncode != 0:
            return None, result.stderr.splitlines()
        return descriptor_pb2.FileDescriptorSet.FromString(pathlib.Path(out.name).read_bytes()), []


def walk(messages, path, prefix):
    """Every message, nested ones too: (its path in the source info, full name, message)."""
    for index, message in enumerate(messages):
        here = path + [index]
        name = f"{prefix}.{message.name}"
        yield here, name, message
        yield from walk(message.nested_type, here + [NESTED], name)


def all_messages(files):
    for file in files:
        for path, name, message in walk(file.message_type, [MESSAGES], "." + file.package):
            yield file, path, name, message


def undocumented(files):
    documented = set()
    places = {}
    for file in files:
        for place in file.source_code_info.location:
            places[file.name, tuple(place.path)] = place
    for file, path, name, _ in all_messages(files):
        place = places.get((file.name, tuple(path)))
        if place and (place.leading_comments or place.trailing_comments):
            documented.add(name)
    for file, path, name, message in all_messages(files):
        if not file.name.startswith(OURS) or message.options.map_entry:
            continue
        for index, field in enumerate(message.field):
            place = places[file.name, tuple(path + [FIELDS, index])]
            # else its message says it for all fields, or its type is documented
            if not (place.leading_comments or place.trailing_comments or name in documented
                    or field.type_name in documented):
                yield f"proto/{file.name}:{place.span[0] + 1}: {name[1:]}.{field.name} has no comment"


def recursive(files):
    parts = {name: [field.type_name for field in message.field if field.type == TYPE_MESSAGE]
             for _, _, name, message in all_messages(files)}
    state = {}

    def visit(name, trail):
        if state.get(name) == "done":
            return None
        if name in trail:
            return trail[trail.index(name):] + [name]
        for part in parts.get(name, []):
            circle = visit(part, trail + [name])
            if circle:
                return circle
        state[name] = "done"
        return None

    for name in parts:
        circle = visit(name, [])
        if circle:
            yield "proto: a message contains itself: " + " -> ".join(part[1:] for part in circle)
            return


def problems(root):
    names = [name for name in source.files(root, ".proto") if name.startswith("proto/")]
    described, found = describe(root, names)
    if described is not None:
        found += list(undocumented(described.file)) + list(recursive(described.file))
    return found


PROTO = """syntax = "proto3";
package millrace.v1;
// A part.
message Part {
  // bytes
  uint64 size = 1;
}
message Whole {
  uint32 version = 1;  // schema version
  repeated Part parts = 2;
  %s
}
"""
GOOD = {"proto/millrace/v1/a.proto": PROTO % ""}
FAULTS = [({"proto/millrace/v1/a.proto": PROTO % "uint32 x = 3;"}, "a.proto:11: millrace.v1.Whole.x has no comment"),
          ({"proto/millrace/v1/a.proto": PROTO % "Whole x = 3;  // itself"}, "a message contains itself: millrace.v1.Whole"),
          ({"proto/millrace/v1/a.proto": PROTO % "uint32 version = 3;  // twice"}, "already defined")]

if __name__ == "__main__":
    if not shutil.which("protoc") or descriptor_pb2 is None:
        source.skip("protoc or python3-protobuf is not installed")
    source.run(problems, GOOD, FAULTS)
