"""A Kubernetes API server by script: what it answers to each request, in protobuf as the real one writes it."""

import socket
import threading
import urllib.parse

HOLD = object()  # nothing more, but the connection stays


# ---- protobuf, as an API server writes it


def varint(value):
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(out) + bytes([value])


def field(number, value):
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    value = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(value)) + value


def wrapped(message):
    return b"k8s\0" + field(1, field(1, "v1")) + field(2, message) + field(3, "") + field(4, "")


def pod(name, version):
    metadata = field(1, name) + field(3, "shop") + field(5, f"uid-{name}") + field(6, str(version))
    return field(1, metadata) + field(2, field(10, "n1")) + field(3, field(1, "Running") + field(6, "10.0.0.7"))


def page(version, items, token=""):
    metadata = field(2, str(version)) + (field(3, token) if token else b"")
    return wrapped(field(1, metadata) + b"".join(field(2, item) for item in items))


def event(kind, message):
    body = field(1, kind) + field(2, field(1, wrapped(message)))
    return len(body).to_bytes(4, "big") + body


def bookmark(version):
    return event("BOOKMARK", field(1, field(6, str(version))))


def status(code, message):
    return field(2, "Failure") + field(3, message) + field(6, code)


# ---- a server by script


class Answer:
    """code, headers; then parts of the body, each a chunk. The last may be HOLD; cut: without the body's end."""

    def __init__(self, *parts, code=200, headers=(), cut=False):
        self.parts, self.code, self.headers, self.cut = parts, code, headers, cut


class Server:
    """script: for each kind the answers in their turn; the last is for all that follow."""

    def __init__(self, script):
        self.script = {kind: list(answers) for kind, answers in script.items()}
        self.requests = {kind: [] for kind in script}  # (query, headers)
        self.lock = threading.Lock()
        self.ending = threading.Event()
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        threading.Thread(target=self.accept, daemon=True).start()

    def close(self):
        self.ending.set()
        self.socket.close()

    def accept(self):
        while True:
            try:
                connection = self.socket.accept()[0]
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        reader = connection.makefile("rb")
        try:
            while line := reader.readline():
                target = line.split()[1].decode()
                headers = {}
                while (header := reader.readline().decode().strip()):
                    name, _, value = header.partition(":")
                    headers[name.lower()] = value.strip()
                if not self.answer(connection, target, headers):
                    return
        except OSError:
            pass
        finally:
            connection.close()

    def answer(self, connection, target, headers):
        path, _, query = target.partition("?")
        kind = path.rsplit("/", 1)[1]
        query = {name: values[0] for name, values in urllib.parse.parse_qs(query).items()}
        with self.lock:
            self.requests[kind].append((query, headers))
            answers = self.script[kind]
            answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if callable(answer):
            answer = answer(query, headers)
        head = [f"HTTP/1.1 {answer.code} Said", "Transfer-Encoding: chunked", *answer.headers]
        connection.sendall(("\r\n".join(head) + "\r\n\r\n").encode())
        for part in answer.parts:
            if part is HOLD:
                self.ending.wait()
                return False
            connection.sendall(f"{len(part):x}\r\n".encode() + part + b"\r\n")
        if answer.cut:
            return False
        connection.sendall(b"0\r\n\r\n")
        return True

    def targets(self, kind="pods"):
        """What each request was for: "list", "next TOKEN" or "watch VERSION"."""
        with self.lock:
            return [f"watch {query['resourceVersion']}" if "watch" in query
                    else f"next {query['continue']}" if "continue" in query else "list"
                    for query, _ in self.requests[kind]]
