"""A network that a test may break: listeners in front of real ones, in user space, whose connections know who speaks.

    network = Network()
    port = network.listen("broker-1", 9092)     # forwards to 127.0.0.1:9092, which is called broker-1
    network.know("broker-2", pid)               # connections of this process come from broker-2, of others from OUTSIDE
    network.cut("broker-1", "broker-2")         # what broker-1 sends to broker-2 waits; the other way goes on
    network.slow("broker-1", OUTSIDE, 1024)     # bytes a second
    network.delay("broker-1", OUTSIDE, 0.2)     # seconds, each turn
    network.reset("broker-1"); network.half_open("broker-1")
    network.heal()

A cut holds bytes and does not drop them, as TCP's repeats make of a network that comes back: nobody sees an end, new
connections get no answer, and what was sent before arrives after healing. One thread of its own, calls from any.
"""

import asyncio
import collections
import dataclasses
import os
import pathlib
import re
import socket
import struct
import threading

OUTSIDE = "outside"
WAITING_BYTES = 1 << 18  # of one way; then the speaker feels it
SLOW_BYTES = 128  # a piece of what is slowed, so that a healed link does not wait for a large one
BACKLOG = 512
STEP_S = 0.05


@dataclasses.dataclass
class _Rule:
    held: bool = False
    delay_s: float = 0
    rate: float = 0  # bytes a second; 0: all that there are


class _End(asyncio.Protocol):
    """One end of a connection and what it has said that the other has not yet heard."""

    def __init__(self, network, connection, source, destination):
        self.network, self.connection = network, connection
        self.source, self.destination = source, destination  # of what this end says
        self.transport = self.other = self.task = None
        self.waiting = collections.deque()  # (when it came, bytes); no bytes: its end
        self.size = 0

    def connection_made(self, transport):
        self.transport = transport
        self.connection.made(self)

    def data_received(self, data):
        if self.connection.half_open:
            self.connection.swallow()
        elif not self.waiting and self.other.transport and (self.source, self.destination) not in self.network.rules:
            self.other.transport.write(data)
        else:
            self._wait(data)

    def eof_received(self):
        if self.connection.half_open:
            return False
        self._wait(b"")
        return True

    def connection_lost(self, _):
        self.connection.lost(self)

    def pause_writing(self):
        self.other.transport.pause_reading()

    def resume_writing(self):
        if self.other.size < WAITING_BYTES and not self.other.transport.is_closing():
            self.other.transport.resume_reading()

    def _wait(self, data):
        self.waiting.append((self.network.loop.time(), data))
        self.size += len(data)
        if self.size >= WAITING_BYTES:
            self.transport.pause_reading()
        if self.task is None:
            self.task = self.network.loop.create_task(self._drain())

    async def _drain(self):
        await self.connection.opened.wait()
        while self.waiting:
            came, data = self.waiting[0]
            piece = await self._admitted(came, data)
            self.size -= len(piece)
            if len(piece) == len(data):
                self.waiting.popleft()
            else:
                self.waiting[0] = (came, data[len(piece):])
            if piece:
                self.other.transport.write(piece)
            elif self.other.transport.can_write_eof():
                self.other.transport.write_eof()
            if self.size < WAITING_BYTES and not self.transport.is_closing():
                self.transport.resume_reading()
        self.task = None

    async def _admitted(self, came, data):
        """As much of it as may pass at once, when it may by the rule of then."""
        slow_since = self.network.loop.time()
        while rule := self.network.rules.get((self.source, self.destination)):
            piece = data[:SLOW_BYTES] if rule.rate else data
            due = max(came + rule.delay_s, slow_since + len(piece) / rule.rate if rule.rate else 0)
            now = self.network.loop.time()
            if not rule.held and now >= due:
                return piece
            await self.network.change(None if rule.held else due - now)
        return data


class _Connection:
    def __init__(self, network, name, to_port):
        self.network, self.to_port = network, to_port
        self.near = _End(network, self, OUTSIDE, name)
        self.far = _End(network, self, name, OUTSIDE)
        self.near.other, self.far.other = self.far, self.near
        self.opened, self.opening = asyncio.Event(), None
        self.half_open = self.healed = False

    def of(self, name):
        return name in (self.near.source, self.near.destination)

    def made(self, end):
        end.transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if end is self.near:
            self.near.source = self.far.destination = self.network.who(end.transport)
            self.network.connections.add(self)
            self.opening = self.network.loop.create_task(self._open())

    async def _open(self):
        # a SYN and its answer pass, or there is no connection
        while any((rule := self.network.rules.get(way)) and rule.held for way in (
                (self.near.source, self.near.destination), (self.far.source, self.far.destination))):
            await self.network.change(None)
        try:
            await self.network.loop.create_connection(lambda: self.far, "127.0.0.1", self.to_port)
        except OSError:
            self.reset()
        self.opened.set()

    def lost(self, end):
        if end is self.far and self.half_open:
            return
        self.opening.cancel()
        for one in (self.near, self.far):
            if one.task:
                one.task.cancel()
        if end.other.transport and not end.other.transport.is_closing():
            end.other.transport.close()
        self.network.connections.discard(self)

    def reset(self):
        """Both ends get a reset."""
        for end in (self.near, self.far):
            self._abort(end)

    @staticmethod
    def _abort(end):
        if end.transport and not end.transport.is_closing():
            end.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                                                              struct.pack("ii", 1, 0))
            end.transport.abort()

    def become_half_open(self):
        self.half_open = True
        self._abort(self.far)

    def swallow(self):
        if self.healed:
            self._abort(self.near)


def _inode_of(port, to_port):
    """Of the socket at this port of 127.0.0.1 that is connected to the other."""
    ends = re.compile(rf"^ *\d+: \S+:{port:04X} \S+:{to_port:04X} \S+ \S+ \S+ \S+ +\d+ +\d+ (\d+)", re.M)
    for table in ("/proc/net/tcp6", "/proc/net/tcp"):
        found = ends.search(pathlib.Path(table).read_text())
        if found:
            return found.group(1)
    return None


def _holds(pid, inode):
    folder = f"/proc/{pid}/fd"
    try:
        for name in os.listdir(folder):
            try:
                if os.readlink(f"{folder}/{name}") == f"socket:[{inode}]":
                    return True
            except OSError:
                continue
    except OSError:
        pass
    return False


class Network:
    def __init__(self):
        self.loop = asyncio.new_event_loop()
        self.rules = {}  # (source, destination): _Rule
        self.connections = set()
        self._changed = asyncio.Event()
        self._pids = {}
        self._servers = []
        self._thread = threading.Thread(target=self._run, name="network", daemon=True)
        self._thread.start()

    def _run(self):
        self.loop.run_forever()
        for task in asyncio.all_tasks(self.loop):
            task.cancel()
        self.loop.run_until_complete(asyncio.sleep(STEP_S))  # connections end
        self.loop.close()

    def _do(self, function):
        """On the network's thread, waited for."""
        async def call():
            return function()
        return asyncio.run_coroutine_threadsafe(call(), self.loop).result()

    # ---- what a test says

    def listen(self, name, to_port):
        """The port behind which the one of this name is reached."""
        server = asyncio.run_coroutine_threadsafe(self.loop.create_server(
            lambda: _Connection(self, name, to_port).near, "127.0.0.1", 0, backlog=BACKLOG), self.loop).result()
        self._servers.append(server)
        return server.sockets[0].getsockname()[1]

    def know(self, name, pid):
        self._do(lambda: self._pids.__setitem__(name, pid))

    def cut(self, source, destination):
        self._rule(source, destination, _Rule(held=True))

    def delay(self, source, destination, seconds):
        self._rule(source, destination, _Rule(delay_s=seconds))

    def slow(self, source, destination, bytes_a_second):
        self._rule(source, destination, _Rule(rate=bytes_a_second))

    def _rule(self, source, destination, rule):
        def put():
            self.rules[source, destination] = rule
            self._wake()
        self._do(put)

    def reset(self, name):
        """Both ends of each connection to or from it get a reset. How many there were."""
        return self._do(lambda: sum(1 for connection in list(self.connections)
                                    if connection.of(name) and not connection.reset()))

    def half_open(self, name):
        """Its ends of the connections to it are gone, and the others are not told: what they send is swallowed until the
        network heals, then it is answered with a reset. How many there were."""
        return self._do(lambda: sum(1 for connection in list(self.connections)
                                    if connection.near.destination == name and not connection.become_half_open()))

    def heal(self):
        def clear():
            self.rules.clear()
            for connection in self.connections:
                connection.healed = True
            self._wake()
        self._do(clear)

    def close(self):
        def end():
            for server in self._servers:
                server.close()
            for connection in list(self.connections):
                connection.reset()
        self._do(end)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()

    # ---- on its thread

    def _wake(self):
        self._changed.set()
        self._changed = asyncio.Event()

    async def change(self, within_s):
        """Returns when the rules have changed, or after the time."""
        try:
            await asyncio.wait_for(self._changed.wait(), within_s)
        except asyncio.TimeoutError:
            pass

    def who(self, transport):
        """The name of who is at the other end of an accepted connection."""
        inode = _inode_of(transport.get_extra_info("peername")[1], transport.get_extra_info("sockname")[1])
        return next((name for name, pid in self._pids.items() if inode and _holds(pid, inode)), OUTSIDE)
