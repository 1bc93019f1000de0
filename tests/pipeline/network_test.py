#!/usr/bin/python3
"""The network that tests break is itself held to what they rely on."""

import pathlib
import socket
import sys
import threading
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import os
from proxy import OUTSIDE, Network

SOON_S = 20
NOT_S = 0.4


class Echo(threading.Thread):
    def __init__(self):
        super().__init__(daemon=True)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.start()

    def run(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    @staticmethod
    def serve(connection):
        with connection:
            try:
                while data := connection.recv(65536):
                    connection.sendall(data)
            except OSError:
                pass


class TheNetwork(unittest.TestCase):
    def setUp(self):
        self.echo = Echo()
        self.addCleanup(self.echo.listener.close)
        self.network = Network()
        self.addCleanup(self.network.close)
        self.port = self.network.listen("echo", self.echo.port)

    def connect(self):
        connection = socket.create_connection(("127.0.0.1", self.port), SOON_S)
        self.addCleanup(connection.close)
        return connection

    def hears(self, connection, wanted, within_s=SOON_S):
        connection.settimeout(within_s)
        heard = b""
        try:
            while len(heard) < len(wanted):
                heard += connection.recv(65536)
        except TimeoutError:
            pass
        return heard == wanted

    def test_whole_it_passes_all_bytes_and_the_end_of_them(self):
        connection = self.connect()
        said = bytes(range(256)) * 8192
        teller = threading.Thread(target=lambda: (connection.sendall(said), connection.shutdown(socket.SHUT_WR)))
        teller.start()
        self.assertTrue(self.hears(connection, said))
        teller.join()
        self.assertEqual(b"", connection.recv(1))

    def test_a_cut_holds_one_way_and_gives_all_when_it_heals(self):
        for source, destination in ((OUTSIDE, "echo"), ("echo", OUTSIDE)):
            with self.subTest(source=source):
                connection = self.connect()
                connection.sendall(b"before")
                self.assertTrue(self.hears(connection, b"before"))
                self.network.cut(source, destination)
                connection.sendall(b"held")
                self.assertFalse(self.hears(connection, b"held", NOT_S))
                self.network.heal()
                self.assertTrue(self.hears(connection, b"held"))

    def test_a_connection_made_during_a_cut_opens_when_it_heals(self):
        self.network.cut("echo", OUTSIDE)
        connection = self.connect()
        connection.sendall(b"hello")
        self.assertFalse(self.hears(connection, b"hello", NOT_S))
        self.network.heal()
        self.assertTrue(self.hears(connection, b"hello"))

    def test_it_knows_who_speaks_by_the_process(self):
        self.network.know("me", os.getpid())
        self.network.cut(OUTSIDE, "echo")
        connection = self.connect()
        connection.sendall(b"hello")
        self.assertTrue(self.hears(connection, b"hello"), "a cut between others")
        self.network.cut("me", "echo")
        connection.sendall(b"again")
        self.assertFalse(self.hears(connection, b"again", NOT_S))

    def test_slow_means_so_many_bytes_a_second_and_delay_so_many_seconds(self):
        connection = self.connect()
        self.network.slow(OUTSIDE, "echo", 1024)
        began = time.monotonic()
        connection.sendall(b"x" * 768)
        self.assertTrue(self.hears(connection, b"x" * 768))
        self.assertGreaterEqual(time.monotonic() - began, 0.7)
        self.network.heal()
        self.network.delay("echo", OUTSIDE, 0.5)
        began = time.monotonic()
        connection.sendall(b"y" * 70000)
        self.assertTrue(self.hears(connection, b"y" * 70000))
        self.assertGreaterEqual(time.monotonic() - began, 0.5)

    def test_a_reset_is_felt_at_once(self):
        connection = self.connect()
        connection.sendall(b"hello")
        self.assertTrue(self.hears(connection, b"hello"))
        self.assertEqual(1, self.network.reset("echo"))
        with self.assertRaises(ConnectionResetError):
            connection.recv(1)

    def test_half_open_is_silence_until_it_heals_and_then_a_reset(self):
        connection = self.connect()
        connection.sendall(b"hello")
        self.assertTrue(self.hears(connection, b"hello"))
        self.assertEqual(1, self.network.half_open("echo"))
        connection.sendall(b"anyone?")
        self.assertFalse(self.hears(connection, b"anyone?", NOT_S))
        self.network.heal()
        connection.sendall(b"anyone now?")
        connection.settimeout(SOON_S)
        with self.assertRaises(ConnectionResetError):
            connection.recv(1)


if __name__ == "__main__":
    unittest.main()
