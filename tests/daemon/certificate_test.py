#!/usr/bin/python3
"""The API's certificate: a renewed one is served without a restart, and the command line may be told whom to trust."""

import os
import pathlib
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import identity
import processes
from millraced import Millraced, until

MILLRACE = processes.BUILD / "bin" / "millrace"
UP_WITHIN_S = 30
FOLLOWED_WITHIN_S = 10  # it looks every 2 s


class Certificate(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="millrace-certificate-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        cls.authority = identity.Authority(cls.folder)
        for name in ("first", "second"):
            cls.authority.certificate(name)

    def setUp(self):
        for end in ("crt", "key"):
            self.put("first", end)
        # No broker is there: the API is, all the same.
        self.daemon = Millraced(f"127.0.0.1:{processes.free_port()}",
                                f"tls:\n  certificate: {self.folder}/api.crt\n  key: {self.folder}/api.key\n")
        self.addCleanup(self.daemon.stop, check=False)
        self.assertTrue(until(self.serves("first"), UP_WITHIN_S), self.daemon.log())

    def put(self, name, end):
        shutil.copyfile(self.folder / f"{name}.{end}", self.folder / f"new.{end}")
        os.replace(self.folder / f"new.{end}", self.folder / f"api.{end}")

    def serves(self, name):
        """Asks whether it is this one that a caller is shown."""
        wanted = ssl.PEM_cert_to_DER_cert((self.folder / f"{name}.crt").read_text())
        context = ssl.create_default_context(cafile=self.authority.path)
        host, port = self.daemon.api.split(":")

        def ask():
            try:
                with socket.create_connection((host, int(port)), timeout=5) as plain, \
                        context.wrap_socket(plain, server_hostname=host) as secured:
                    return secured.getpeercert(True) == wanted
            except OSError:
                return False
        return ask

    def test_a_renewed_certificate_is_served_once_its_key_is_there(self):
        self.put("second", "crt")
        self.assertTrue(until(lambda: "the API's certificate stays as it was" in self.daemon.log(), FOLLOWED_WITHIN_S))
        self.assertTrue(self.serves("first")())
        self.put("second", "key")
        self.assertTrue(until(self.serves("second"), FOLLOWED_WITHIN_S), self.daemon.log())

    def test_sighup_reads_it_again(self):
        self.daemon.child.send_signal(signal.SIGHUP)
        self.assertTrue(until(lambda: "the API's certificate was read again" in self.daemon.log(), FOLLOWED_WITHIN_S))
        self.assertTrue(self.serves("first")())

    def test_the_command_line_trusts_whom_it_is_told_to(self):
        def status(*flags):
            done = subprocess.run([MILLRACE, "status", "-s", f"https://{self.daemon.api}", *flags], text=True,
                                  capture_output=True, timeout=60)
            return done.returncode, done.stdout + done.stderr
        code, told = status("--ca", self.authority.path)
        self.assertEqual(1, code, told)  # not ready, as Kafka is away
        self.assertIn("Not ready", told)
        code, told = status()
        self.assertEqual(3, code, told)
        self.assertIn("is not trusted", told)
        self.assertIn("--ca", told)
        code, told = status("--ca", self.folder / "first.key")
        self.assertEqual(2, code, told)
        self.assertIn("--ca", told)


if __name__ == "__main__":
    unittest.main()
