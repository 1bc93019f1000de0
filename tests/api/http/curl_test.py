#!/usr/bin/python3
"""curl against the test server: HTTP/1.1, HTTP/2 with prior knowledge and TLS give the same answers."""
import json, subprocess, sys, tempfile, time, unittest

ECHO = sys.argv[1]


class Answer:
    def __init__(self, text):
        head, _, self.body = text.partition(b"\r\n\r\n")
        while head.startswith(b"HTTP/1.1 100"):
            head, _, self.body = self.body.partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        self.status = int(lines[0].split()[1])
        self.headers = {}
        for line in lines[1:]:
            name, _, value = line.partition(": ")
            self.headers.setdefault(name.lower(), []).append(value)


class Common:
    arguments, certificate = [], []
    scheme = "http"

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        files = []
        if cls.scheme == "https":
            files = [cls.folder.name + "/cert.pem", cls.folder.name + "/key.pem"]
            subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                            "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost",
                            "-out", files[0], "-keyout", files[1]], check=True, capture_output=True)
            cls.certificate = ["--cacert", files[0]]
        cls.server = subprocess.Popen([ECHO] + files, stdout=subprocess.PIPE, text=True)
        cls.port = int(cls.server.stdout.readline())
        cls.addClassCleanup(cls.server.stdout.close)

    @classmethod
    def tearDownClass(cls):
        cls.server.terminate()
        status = cls.server.wait(10)
        cls.folder.cleanup()
        assert status == 0, f"server ended with {status}"

    def curl(self, path, *arguments):
        result = subprocess.run(["curl", "-sS", "-i", "--max-time", "20", *self.arguments, *self.certificate, "--resolve",
                                 f"localhost:{self.port}:127.0.0.1", *arguments,
                                 f"{self.scheme}://localhost:{self.port}{path}"], capture_output=True)
        self.assertEqual(result.returncode, 0, result.stderr)
        return Answer(result.stdout)

    def test_the_protocol_is_the_one_asked_for(self):
        version = subprocess.run(["curl", "-sS", "-o", "/dev/null", "-w", "%{http_version}", *self.arguments,
                                  *self.certificate, "--resolve", f"localhost:{self.port}:127.0.0.1",
                                  f"{self.scheme}://localhost:{self.port}/echo"], capture_output=True).stdout
        self.assertEqual(version.decode(), self.version)

    def test_parameters_are_decoded_in_order_with_repeats(self):
        answer = json.loads(self.curl("/echo?a=1&b=x%20y+z&a=%C3%BC&c&d=").body)
        self.assertEqual(answer["parameters"], [["a", "1"], ["b", "x y z"], ["a", "ü"], ["c", ""], ["d", ""]])
        self.assertEqual(answer["host"], f"localhost:{self.port}")
        self.assertEqual(answer["peer"], "127.0.0.1")
        self.assertEqual(answer["secure"], self.scheme == "https")

    def test_malformed_escapes_are_refused(self):
        for path in ("/echo?a=%", "/echo?a=%2", "/echo?%zz=1", "/echo?a=%00", "/ec%00ho", "/%"):
            self.assertEqual(self.curl(path).status, 400, path)

    def test_prefix_routes_cannot_be_climbed_out_of(self):
        self.assertEqual(json.loads(self.curl("/ui/a/b%20c").body)["rest"], "a/b c")
        for path in ("/ui/../echo", "/ui/%2e%2e/echo", "/ui/.", "/ui/.."):
            self.assertEqual(self.curl(path, "--path-as-is").status, 400, path)

    def test_bodies_arrive_whole(self):
        for size in (0, 1, 70000, 1 << 20):
            with tempfile.NamedTemporaryFile() as file:
                file.write(b"x" * size)
                file.flush()
                for more in ([], ["-H", "Transfer-Encoding: chunked"]):
                    if more and self.version == "2":
                        continue
                    answer = self.curl("/echo", "--data-binary", "@" + file.name, *more)
                    self.assertEqual(answer.status, 200)
                    self.assertEqual(len(json.loads(answer.body)["body"]), size)

    def test_a_body_over_the_bound_gets_413(self):
        with tempfile.NamedTemporaryFile() as file:
            file.write(b"x" * ((1 << 20) + 1))
            file.flush()
            self.assertEqual(self.curl("/echo", "--data-binary", "@" + file.name).status, 413)
            if self.version == "1.1":
                self.assertEqual(self.curl("/echo", "--data-binary", "@" + file.name, "-H",
                                           "Transfer-Encoding: chunked").status, 413)

    def test_errors_are_problems_and_405_says_what_is_allowed(self):
        answer = self.curl("/nothing")
        self.assertEqual(answer.status, 404)
        self.assertEqual(answer.headers["content-type"], ["application/problem+json"])
        self.assertEqual(json.loads(answer.body)["title"], "Not Found")
        answer = self.curl("/echo", "-X", "DELETE")
        self.assertEqual((answer.status, answer.headers["allow"]), (405, ["GET, HEAD, POST, OPTIONS"]))
        self.assertEqual(self.curl("/echo", "-X", "OPTIONS").status, 204)

    def test_head_has_the_length_and_no_body(self):
        answer = self.curl("/page", "-I")
        self.assertEqual((answer.status, answer.headers["content-length"], answer.body), (200, ["34"], b""))
        answer = self.curl("/stream", "-I")
        self.assertEqual((answer.status, answer.body), (200, b""))

    def test_assets_are_tagged_and_pages_are_fenced(self):
        answer = self.curl("/page")
        self.assertEqual(answer.headers["etag"], ['"e1"'])
        self.assertIn("default-src 'none'", answer.headers["content-security-policy"][0])
        self.assertEqual(answer.headers["x-content-type-options"], ["nosniff"])
        for tag, status in (('"e1"', 304), ('W/"e1"', 304), ('"x", "e1"', 304), ("*", 304), ('"e"', 200), ('"e11"', 200)):
            answer = self.curl("/page", "-H", "If-None-Match: " + tag)
            self.assertEqual(answer.status, status, tag)
            self.assertEqual(len(answer.body), 34 if status == 200 else 0)

    def test_request_ids_are_kept_or_made(self):
        given = self.curl("/echo", "-H", "X-Request-Id: abc-1").headers["x-request-id"]
        self.assertEqual(given, ["abc-1"])
        made = {self.curl("/echo", "-H", "X-Request-Id: no good").headers["x-request-id"][0] for _ in range(2)}
        self.assertEqual(len(made), 2)
        self.assertRegex(made.pop(), "^[0-9a-f]{16}$")

    def test_streams_and_events_come_in_order(self):
        self.assertEqual(len(self.curl("/stream?count=2000").body), 2000 * 4096)
        self.assertEqual(self.curl("/stream?count=0").body, b"")
        self.assertEqual(self.curl("/events").body, b"id: 7\nevent: tick\ndata: a\ndata: b\n\n" * 3)

    def test_a_producer_that_does_not_wait_is_cut_off(self):
        before = json.loads(self.curl("/stats").body)
        result = subprocess.run(["curl", "-sS", "-o", "/dev/null", *self.arguments, *self.certificate, "--resolve",
                                 f"localhost:{self.port}:127.0.0.1",
                                 f"{self.scheme}://localhost:{self.port}/stream?count=1000&rude=1"], capture_output=True)
        self.assertNotEqual(result.returncode, 0)
        after = json.loads(self.curl("/stats").body)
        self.assertEqual(after["slow_clients"], before["slow_clients"] + 1)
        self.assertEqual(after["gone"], before["gone"] + 1)

    def test_a_client_that_leaves_is_reported(self):
        before = json.loads(self.curl("/stats").body)["gone"]
        client = subprocess.Popen(["curl", "-sS", *self.arguments, *self.certificate, "--resolve",
                                   f"localhost:{self.port}:127.0.0.1", f"{self.scheme}://localhost:{self.port}/never"])
        deadline = time.time() + 10
        while json.loads(self.curl("/stats").body)["streams_open"] < 2 and time.time() < deadline:
            time.sleep(0.05)
        client.kill()
        client.wait()
        while json.loads(self.curl("/stats").body)["gone"] == before and time.time() < deadline:
            time.sleep(0.05)
        self.assertEqual(json.loads(self.curl("/stats").body)["gone"], before + 1)

    def test_closing_lets_an_answer_finish(self):
        server = subprocess.Popen(self.server.args, stdout=subprocess.PIPE, text=True)
        port = int(server.stdout.readline())
        url = f"{self.scheme}://localhost:{port}"
        resolve = ["--resolve", f"localhost:{port}:127.0.0.1"]
        client = subprocess.Popen(["curl", "-sS", "--limit-rate", "20M", *self.arguments, *self.certificate, *resolve,
                                   url + "/stream?count=3000"], stdout=subprocess.PIPE)
        first = client.stdout.read(4096)
        server.terminate()
        rest = client.stdout.read()
        self.assertEqual(client.wait(), 0)
        self.assertEqual(len(first) + len(rest), 3000 * 4096)
        self.assertEqual(server.wait(10), 0)
        client.stdout.close()
        server.stdout.close()


class Http1(Common, unittest.TestCase):
    arguments, version = ["--http1.1"], "1.1"

    def test_gRPC_is_not_served_here(self):
        self.assertEqual(self.curl("/echo.Echo/Unary", "-H", "Content-Type: application/grpc", "-d", "x").status, 415)


class Http2(Common, unittest.TestCase):
    arguments, version = ["--http2-prior-knowledge"], "2"

    def test_grpc_paths_want_their_content_type(self):
        self.assertEqual(self.curl("/echo.Echo/Unary", "-d", "{}").status, 415)

    def test_too_many_header_bytes_get_431_or_a_reset(self):
        answer = self.curl("/echo", *sum([["-H", f"x-{i}: " + "y" * 1000] for i in range(20)], []))
        self.assertEqual(answer.status, 431)


class Tls1(Common, unittest.TestCase):
    arguments, version, scheme = ["--http1.1"], "1.1", "https"


class Tls2(Common, unittest.TestCase):
    arguments, version, scheme = ["--http2"], "2", "https"

    def test_old_tls_is_refused(self):
        self.assertNotEqual(subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{self.port}", "-tls1_1",
                                            "-cipher", "ALL:@SECLEVEL=0"], stdin=subprocess.DEVNULL,
                                           capture_output=True).returncode, 0)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
