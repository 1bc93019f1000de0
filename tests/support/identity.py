"""Who is who, for one test: an authority with certificates, and an OAuth 2.0 token endpoint with its JWKS.

    authority = Authority(folder)
    authority.certificate("broker")            # broker.crt, broker.key, broker.pem (both)
    endpoint = TokenEndpoint(folder)           # endpoint.url, endpoint.jwks; endpoint.down = True; endpoint.life_s = 10
"""

import base64
import http.server
import json
import pathlib
import subprocess
import threading
import time
import urllib.parse


def openssl(*words, text=None):
    return subprocess.run(["openssl", *map(str, words)], input=text, check=True, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE).stdout


class Authority:
    def __init__(self, folder, name="ca"):
        self.folder, self.name = pathlib.Path(folder), name
        self.path = self.folder / f"{name}.pem"
        openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", 30, "-subj", f"/CN={name}", "-keyout",
                self.folder / f"{name}.key", "-out", self.path)

    def certificate(self, name, alternatives="DNS:localhost,IP:127.0.0.1", expired=False):
        """The path of the certificate; its key stands beside it, PKCS#8 as Java wants it."""
        key, request, out = (self.folder / f"{name}.{end}" for end in ("key", "csr", "crt"))
        openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}", "-keyout", key, "-out", request,
                "-addext", f"subjectAltName={alternatives}")
        words = ["x509", "-req", "-in", request, "-CA", self.path, "-CAkey", self.folder / f"{self.name}.key",
                 "-CAcreateserial", "-copy_extensions", "copy", "-out", out, "-days", 30]
        if expired:
            # x509 knows no end in the past: a certificate of -1 days ends yesterday and began today, which is enough
            words[-1] = -1
        openssl(*words)
        (self.folder / f"{name}.pem").write_bytes(key.read_bytes() + out.read_bytes())
        return out


def base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class TokenEndpoint:
    """Client credentials only. Down: it takes connections and closes them without an answer."""

    CLIENT, SECRET, AUDIENCE = "agent one", "a%secret/with:all+of them", "kafka"

    def __init__(self, folder, life_s=300):
        self.key = pathlib.Path(folder) / "token.key"
        openssl("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", self.key)
        self.life_s, self.down, self.given, self.refused, self.problems = life_s, False, 0, 0, []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def do_GET(self):
                outer.answer(self, 200, outer.keys())

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if outer.down:
                    self.close_connection = True
                    return
                outer.answer(self, *outer.grant(self.headers, urllib.parse.parse_qs(body.decode())))

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.base = f"http://127.0.0.1:{self.server.server_port}"
        self.url, self.jwks = f"{self.base}/token", f"{self.base}/jwks"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @staticmethod
    def answer(handler, status, document):
        body = json.dumps(document).encode()
        handler.send_response(status)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    def keys(self):
        modulus = openssl("rsa", "-in", self.key, "-noout", "-modulus").decode().strip().split("=")[1]
        return {"keys": [{"kty": "RSA", "kid": "one", "alg": "RS256", "use": "sig", "e": "AQAB",
                          "n": base64url(bytes.fromhex(modulus))}]}

    def token(self, life_s=None, audience=AUDIENCE):
        now = time.time()
        claims = {"iss": self.base, "aud": audience, "sub": "agent", "iat": int(now),
                  "exp": int(now + (self.life_s if life_s is None else life_s)), "scope": "events"}
        head = {"alg": "RS256", "typ": "JWT", "kid": "one"}
        text = ".".join(base64url(json.dumps(part).encode()) for part in (head, claims))
        return f"{text}.{base64url(openssl('dgst', '-sha256', '-sign', self.key, text=text.encode()))}"

    def grant(self, headers, form):
        wanted = ":".join(urllib.parse.quote(word, safe="") for word in (self.CLIENT, self.SECRET))
        if headers.get("Authorization") != "Basic " + base64.b64encode(wanted.encode()).decode():
            self.refused += 1
            return 401, {"error": "invalid_client"}
        if form.get("grant_type") != ["client_credentials"] or form.get("scope") != ["events"]:
            self.problems.append(form)
            return 400, {"error": "invalid_request"}
        self.given += 1
        return 200, {"access_token": self.token(), "token_type": "Bearer", "expires_in": self.life_s}

    def stop(self):
        self.server.shutdown()
        self.server.server_close()
