"""The programs that talk in the lab, with bytes that are known.

    peer.py serve PORT            each connection: a line "N M", N bytes are read, M are sent, closed by the client
    peer.py talk  FILE            plan: lines "ADDRESS PORT N M"; one connection each, in order; prints a JSON line each
    peer.py storm ADDRESS PORT COUNT THREADS   as fast as it goes, 10 + 20 bytes each; prints {"ok": .., "failed": ..}
    peer.py knock ADDRESS PORT PERIOD_S        a connection each period until killed; prints "refused TIME" at the first
                                               refusal after a success, "ok TIME" at the first success after a refusal
"""

import json
import socket
import sys
import threading
import time


def read_exactly(connection, count):
    got = 0
    while got < count:
        part = connection.recv(min(65536, count - got))
        if not part:
            raise ConnectionError(f"closed after {got} of {count} bytes")
        got += len(part)


def read_line(connection):
    line = b""
    while not line.endswith(b"\n"):
        byte = connection.recv(1)
        if not byte:
            return None
        line += byte
    return line


def answer(connection):
    with connection:
        line = read_line(connection)
        if line is None:
            return
        reads, sends = map(int, line.split())
        read_exactly(connection, reads)
        connection.sendall(b"y" * sends)
        connection.recv(1)  # the client closes first


def serve(port):
    listener = socket.socket(socket.AF_INET6)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    listener.bind(("::", port))
    listener.listen(4096)
    print("listening", flush=True)
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=guarded, args=(connection,), daemon=True).start()


def guarded(connection):
    try:
        answer(connection)
    except OSError:
        pass


def exchange(address, port, sends, reads):
    """One connection; returns what it is known by and the payload bytes both ways."""
    with socket.create_connection((address, port), timeout=20) as connection:
        local = connection.getsockname()
        head = f"{sends} {reads}\n".encode()
        connection.sendall(head + b"x" * sends)
        read_exactly(connection, reads)
        return {"address": address, "port": port, "local": local[0], "local_port": local[1],
                "sent": len(head) + sends, "received": reads}


def talk(path):
    for line in open(path):
        address, port, sends, reads = line.split()
        print(json.dumps(exchange(address, int(port), int(sends), int(reads))), flush=True)


def storm(address, port, count, threads):
    done = {"ok": 0, "failed": 0}
    lock = threading.Lock()

    def work(share):
        ok = failed = 0
        for _ in range(share):
            try:
                exchange(address, port, 10, 20)
                ok += 1
            except OSError:
                failed += 1
        with lock:
            done["ok"] += ok
            done["failed"] += failed

    shares = [count // threads + (i < count % threads) for i in range(threads)]
    workers = [threading.Thread(target=work, args=(share,)) for share in shares]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    print(json.dumps(done), flush=True)


def knock(address, port, period):
    last = None
    while True:
        began = time.time()
        try:
            exchange(address, port, 10, 20)
            now = "ok"
        except OSError:
            now = "refused"
        if now != last:
            print(now, f"{began:.6f}", flush=True)
            last = now
        time.sleep(max(0.0, period - (time.time() - began)))


if __name__ == "__main__":
    verb, *rest = sys.argv[1:]
    if verb == "serve":
        serve(int(rest[0]))
    elif verb == "talk":
        talk(rest[0])
    elif verb == "storm":
        storm(rest[0], int(rest[1]), int(rest[2]), int(rest[3]))
    elif verb == "knock":
        knock(rest[0], int(rest[1]), float(rest[2]))
