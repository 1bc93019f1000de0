#!/usr/bin/python3
"""What a snapshot of real tasks holds: no key, nothing of a key, and no address of the process that wrote it but those
that the next process sets anew.

Addresses are looked for in two lives: what points into the first one's program, libraries, heap or stacks and is in the
second one's snapshot, too, was not set anew. Places that are free, or beyond what their owner uses, may hold anything;
none does that these logs reach."""

import array
import hashlib
import hmac
import os
import pathlib
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
sys.path.insert(0, str(HERE.parent / "support"))
import processes
import replay_test as replay

SECRET = "a-secret-of-the-deployment-0123456789"
HEAPS = (0x200000000000, 0x300000000000)
MAGIC = b"MLRSNP02"
HEADER, TASK, PIECE, CHUNK = 8 + 20 + 4 + 8 * 3 + 8 * 4, 8 + 8 * 4 + 4 * 4, 24, 65536
END = 0xffffffff
NODES = 6


def pieces(path):
    """(heap, offset, bytes) of a snapshot file."""
    bytes = path.read_bytes()
    assert bytes.startswith(MAGIC)
    at = HEADER + struct.unpack_from("<I", bytes, 28)[0] * TASK + 4
    while True:
        number, length, offset, _, _ = struct.unpack_from("<IIQII", bytes, at)
        if number == END:
            return
        yield number, offset, bytes[at + PIECE:at + PIECE + length]
        at += PIECE + length


def mappings(pid):
    """Ranges of the process that are not its heaps'."""
    found = []
    for line in pathlib.Path(f"/proc/{pid}/maps").read_text().splitlines():
        begin, end = (int(word, 16) for word in line.split()[0].split("-"))
        if not HEAPS[0] <= begin < HEAPS[1] and end - begin < 1 << 32:
            found.append((begin, end, line.split()[-1]))
    return found


def words_into(path, ranges):
    """{(heap, offset): (address, whose)} of the aligned words that point there."""
    low, high = min(r[0] for r in ranges), max(r[1] for r in ranges)
    found = {}
    for number, offset, bytes in pieces(path):
        for i, word in enumerate(array.array("Q", bytes)):
            if low <= word < high:
                for begin, end, name in ranges:
                    if begin <= word < end:
                        found[number, offset + 8 * i] = (word, name)
    return found


def newest(folder):
    found = sorted(folder.glob("*.snapshot"))
    return found[-1] if found else None


def stopped_with_snapshot(log, folder, workers, after=None, key=None):
    """A life that is stopped when it has a snapshot newer than `after`: its newest, and its mappings."""
    for _ in range(30):
        words = [replay.REPLAY, log, folder, str(workers), "none"] + ([key] if key else [])
        child = subprocess.Popen(words, stderr=subprocess.DEVNULL)
        ranges = []
        while child.poll() is None:
            ranges = mappings(child.pid) or ranges
            if newest(folder) and newest(folder) != after:
                child.send_signal(signal.SIGSTOP)
                ranges += mappings(child.pid)
                break
            time.sleep(0.001)
        child.kill()
        child.wait()
        if newest(folder) and newest(folder) != after:
            return newest(folder), ranges
    raise RuntimeError("no life made a snapshot")


def hkdf(secret, info):
    prk = hmac.new(bytes(32), secret, hashlib.sha256).digest()
    return hmac.new(prk, info + b"\x01", hashlib.sha256).digest()


class State(unittest.TestCase):
    def setUp(self):
        self.above = pathlib.Path(tempfile.mkdtemp(prefix="millrace-state-", dir=replay.MEMORY))
        self.folder = self.above / "state"
        self.folder.mkdir(mode=0o700)

    def tearDown(self):
        shutil.rmtree(self.above)

    def log(self, *more):
        path = self.above / "log"
        subprocess.run([replay.FLEET, f"-n{NODES}", "-f60", "-e30", f"-p{replay.TASKS}", "-r600", "-s12", "--seed=1", "-o", path,
                        *replay.HAZARDS, *more], check=True, stdout=subprocess.DEVNULL)
        return path

    def node_names(self, log):
        bytes, at, names = log.read_bytes(), 16, set()
        while at < len(bytes):
            value, _, _, _, key, _ = struct.unpack_from("<IIQHHI", bytes, at)
            names.add(bytes[at + 24:at + 24 + key])
            at += 24 + key + value
        return names

    def test_no_byte_of_a_key_is_in_a_snapshot(self):
        log = self.log(f"--key={SECRET}")
        snapshot, _ = stopped_with_snapshot(log, self.folder, 2, key=SECRET)
        snapshot, _ = stopped_with_snapshot(log, self.folder, 2, snapshot, SECRET)  # one that goes on, with keys set anew
        secret, nodes = SECRET.encode(), self.node_names(log)
        self.assertEqual(len(nodes), NODES)
        keys = [secret, hkdf(secret, b"millrace.pipeline")] + [hkdf(secret, b"millrace.node " + node) for node in nodes]
        content = snapshot.read_bytes()
        for node in nodes:
            self.assertIn(node, content)  # its state is there: batches were verified
        for key in keys:
            for at in range(0, len(key) - 7):
                self.assertNotIn(key[at:at + 8], content, "eight bytes of a key")

    def test_the_keys_are_looked_for_where_they_are(self):
        """The same search finds them in a process that uses them."""
        log = self.log(f"--key={SECRET}")
        secret = SECRET.encode()
        wanted = hkdf(secret, b"millrace.node " + sorted(self.node_names(log))[0])
        for _ in range(30):
            child = subprocess.Popen([replay.REPLAY, log, self.folder, "1", "none", SECRET], stderr=subprocess.DEVNULL)
            while child.poll() is None and not newest(self.folder):
                time.sleep(0.001)
            child.send_signal(signal.SIGSTOP)
            try:
                found = self.memory_holds(child.pid, wanted)
            except (OSError, ValueError):
                found = False
            child.kill()
            child.wait()
            if found:
                return
        self.fail("no process held its node's key")

    @staticmethod
    def memory_holds(pid, wanted):
        with open(f"/proc/{pid}/mem", "rb") as memory:
            for begin, end, name in mappings(pid):
                if name in ("[vvar]", "[vsyscall]") or end - begin > 1 << 28:
                    continue
                try:
                    memory.seek(begin)
                    if wanted in memory.read(end - begin):
                        return True
                except OSError:
                    continue
        return False

    def addresses_left(self, log):
        """Words of a second life's snapshot that point into the first, and how many the first's own has."""
        folder = pathlib.Path(tempfile.mkdtemp(prefix="state-", dir=self.above))
        first, ranges = stopped_with_snapshot(log, folder, 2)
        bound = words_into(first, ranges)
        self.assertGreater(len(bound), 0, "the search finds nothing at all")
        second, _ = stopped_with_snapshot(log, folder, 2, first)
        return words_into(second, ranges), len(bound)

    def test_no_address_of_an_earlier_process_is_left_after_the_next_has_begun(self):
        """Two numbers side by side may look like an address, in about one pair of lives of twenty; with other mappings they
        do not again."""
        log = self.log()
        for _ in range(4):
            left, bound = self.addresses_left(log)
            if not left:
                return
        text = "\n".join(f"heap {heap} offset {offset:#x}: {word:#x} of {name}" for (heap, offset), (word, name) in left.items())
        self.fail(f"{len(left)} words of {bound}, four times in a row; the last:\n{text}")


if __name__ == "__main__":
    if not replay.REPLAY.exists() or not replay.FLEET.exists():
        print("no programs in", processes.BUILD, file=sys.stderr)
        sys.exit(77)
    unittest.main()
