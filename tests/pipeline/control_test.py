#!/usr/bin/python3
"""Control records over the API and the command line: signed into a real Kafka, listed, withdrawn, refused.

The signature is made anew here from the schema's own words; the topic is read with kcat."""

import hmac
import http.client
import json
import os
import pathlib
import subprocess
import sys
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import kafka
import millraced
import processes
import records

SKIPPED = 77
CLI = processes.BUILD / "bin" / "millrace"
SECRET = "0123456789abcdef the deployment's"
TOKEN = "a token that nobody guesses"
PATH = "/api/v1/agents/control"


def pipeline_key():
    key = hmac.digest(bytes(32), SECRET.encode(), "sha256")  # HKDF-SHA-256, no salt
    return hmac.digest(key, b"millrace.pipeline\x01", "sha256")


class Control(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.kafka = kafka.Kafka()
        cls.addClassCleanup(cls.kafka.stop)
        cls.daemon = millraced.Millraced(cls.kafka.address, f'key: "{SECRET}"\n')
        cls.addClassCleanup(cls.daemon.stop)
        cls.wait_read(cls.daemon)

    @staticmethod
    def wait_read(daemon):
        daemon.wait_ready()
        assert millraced.until(lambda: daemon.get(PATH)[0] == 200, 30), daemon.log()[-3000:]

    def cli(self, *words, status=0, daemon=None, **environment):
        done = subprocess.run([CLI, *words], capture_output=True, text=True, timeout=30,
                              env={**os.environ, "MILLRACE_SERVER": f"http://{(daemon or self.daemon).api}",
                                   **environment})
        self.assertEqual(status, done.returncode, (words, done.stderr))
        return done

    def ask(self, method, path, body=None, daemon=None, **headers):
        connection = http.client.HTTPConnection((daemon or self.daemon).api, timeout=30)
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        return answer.status, json.loads(text) if text else None

    def post(self, body, **headers):
        return self.ask("POST", PATH, json.dumps(body), Content_Type="application/json", **headers)

    def last(self):
        return list(records.raw(self.kafka.address, "millrace.control"))[-1]

    def test_what_the_command_line_says_is_what_the_signed_record_says(self):
        made = json.loads(self.cli("agents", "set", "--node", "web-*", "--node", "cache-?", "--zone", "a", "--region",
                                   "r", "--role", "front", "--label", "rack=r7", "--scan-period", "5s",
                                   "--batch-interval", "250ms", "--feature", "processes=off", "--feature", "dns=on",
                                   "--scope", "/system.slice", "--budget", "0.25", "--for", "90m", "-o", "json").stdout)
        value = self.last()
        self.assertEqual(b"\xfa\x07\x20", value[-35:-32])
        self.assertEqual(hmac.digest(pipeline_key(), value[:-35], "sha256"), value[-32:])
        record = records.module("control").Control.FromString(value)
        self.assertEqual(made["id"], record.id)
        self.assertEqual(1, record.version)
        self.assertFalse(record.withdrawn)
        self.assertEqual(90 * 60 * 10**9, record.expires_ns - record.issued_ns)
        self.assertAlmostEqual(time.time(), record.issued_ns / 1e9, delta=10)
        self.assertEqual(["web-*", "cache-?"], list(record.selector.node))
        self.assertEqual(("a", "r", "front"), (record.selector.zone, record.selector.region, record.selector.role))
        self.assertEqual([("rack", "r7")], [(label.key, label.value) for label in record.selector.labels])
        settings = record.settings
        self.assertEqual((5000, 250, 0.0025), (settings.scan_period_ms, settings.batch_interval_ms, settings.cpu_budget))
        self.assertEqual({"processes": False, "dns": True}, {f.name: f.on for f in settings.features})
        self.assertEqual((True, ["/system.slice"]), (settings.scoped, list(settings.scope_cgroups)))
        self.assertIn(made, json.loads(self.cli("agents", "control", "-o", "json").stdout)["controls"])
        self.assertIn(made["id"], self.cli("agents", "control").stdout)

    def test_what_is_withdrawn_is_withdrawn_by_a_signed_record(self):
        made = self.post({"id": "gone", "settings": {"scan_period_s": 2}})[1]
        first = records.module("control").Control.FromString(self.last())
        self.cli("agents", "unset", "gone")
        value = self.last()
        self.assertEqual(hmac.digest(pipeline_key(), value[:-35], "sha256"), value[-32:])
        record = records.module("control").Control.FromString(value)
        self.assertEqual(("gone", True), (record.id, record.withdrawn))
        self.assertGreater(record.issued_ns, first.issued_ns)
        self.assertNotIn(made["id"], [r["id"] for r in self.ask("GET", PATH)[1]["controls"]])
        self.assertIn("no such control record", self.cli("agents", "unset", "gone", status=1).stderr)

    def test_the_newest_stands_first_and_an_id_given_again_takes_its_place(self):
        for scan, id in ((2, "one"), (3, "two"), (4, "one")):
            self.assertEqual(201, self.post({"id": id, "settings": {"scan_period_s": scan}})[0])
        found = [(r["id"], r["settings"]["scan_period_s"]) for r in self.ask("GET", PATH)[1]["controls"]
                 if r["id"] in ("one", "two")]
        self.assertEqual([("one", 4), ("two", 3)], found)

    def test_it_stands_for_another_millraced_and_goes_when_it_expires(self):
        self.post({"id": "brief", "for_s": 45, "settings": {"scan_period_s": 2}})
        with millraced.Millraced(self.kafka.address, f'key: "{SECRET}"\nkafka.group: another\n') as other:
            self.wait_read(other)

            def ids():
                return [r["id"] for r in self.ask("GET", PATH, daemon=other)[1]["controls"]]

            self.assertTrue(millraced.until(lambda: "brief" in ids(), 30))
            self.assertTrue(millraced.until(lambda: "brief" not in ids(), 60))

    def test_records_fit_the_openapi_document(self):
        document = self.ask("GET", "/openapi.json")[1]
        schemas, paths = document["components"]["schemas"], document["paths"]

        def fits(value, schema, where):
            schema = schemas[schema["$ref"].rsplit("/", 1)[1]] if "$ref" in schema else schema
            kinds = {"object": dict, "array": list, "string": str, "boolean": bool, "number": (int, float)}
            self.assertIsInstance(value, kinds[schema["type"]], where)
            if schema["type"] == "array":
                for inner in value:
                    fits(inner, schema["items"], where + "[]")
            if schema["type"] == "object":
                self.assertLessEqual(set(schema.get("required", ())), set(value), where)
                for name, inner in value.items():
                    fits(inner, schema["properties"][name] if "properties" in schema else schema["additionalProperties"],
                         f"{where}.{name}")

        def answer(path, verb, status):
            return paths[path][verb]["responses"][status]["content"]["application/json"]["schema"]

        wish = {"id": "fits", "for_s": 60, "selector": {"node": ["x*"], "zone": "z", "region": "r", "role": "o",
                                                        "labels": {"rack": "r7"}},
                "settings": {"scan_period_s": 2, "batch_interval_s": 0.5, "cpu_budget": 0.01, "features": {"dns": False},
                             "scope_cgroups": ["/a"]}}
        fits(wish, paths[PATH]["post"]["requestBody"]["content"]["application/json"]["schema"], "wish")
        for object, name in ((wish, "ControlWish"), (wish["selector"], "ControlSelector"),
                             (wish["settings"], "ControlSettings")):
            self.assertEqual(set(schemas[name]["properties"]), set(object), name)  # all that there is was tried
        status, made = self.post(wish)
        self.assertEqual(201, status, made)
        fits(made, answer(PATH, "post", "201"), "made")
        listed = self.ask("GET", PATH)[1]
        self.assertIn(made, listed["controls"])
        fits(listed, answer(PATH, "get", "200"), "listed")
        status, gone = self.ask("DELETE", PATH + "/fits")
        self.assertEqual(200, status)
        fits(gone, answer(PATH + "/{id}", "delete", "200"), "gone")

    def test_bodies_that_say_nothing_good_are_refused_with_a_sentence(self):
        for body, word in (({}, "settings"), ([], "object"), ({"settings": {}}, "at least one"),
                           ({"settings": {"scan_period_s": 16}}, "scan period"),
                           ({"settings": {"scan_period_s": -1}}, "scan_period_s"),
                           ({"settings": {"cpu_budget": 1.5}}, "cpu_budget"),
                           ({"settings": {"features": {"dns": "off"}}}, "features"),
                           ({"settings": {"levitation": True}}, "levitation"),
                           ({"settings": {"scan_period_s": 1}, "selector": {"node": "x"}}, "node"),
                           ({"settings": {"scan_period_s": 1}, "selector": {"node": ["x"] * 17}}, "node"),
                           ({"settings": {"scan_period_s": 1}, "id": "No Good"}, "id"),
                           ({"settings": {"scan_period_s": 1}, "for_s": 0}, "for_s"),
                           ({"settings": {"scan_period_s": 1}, "for_s": 1e9}, "for_s"),
                           ({"settings": {"scan_period_s": 1}, "colour": "red"}, "colour")):
            status, answer = self.post(body)
            self.assertEqual(400, status, body)
            self.assertIn(word, answer["detail"], body)
        self.assertEqual(400, self.ask("POST", PATH, "{", Content_Type="application/json")[0])

    def test_a_web_page_cannot_write(self):
        good = {"settings": {"scan_period_s": 2}}
        self.assertEqual(415, self.ask("POST", PATH, json.dumps(good))[0])
        self.assertEqual(403, self.post(good, Host="rebound.example")[0])
        self.assertEqual(403, self.ask("DELETE", PATH + "/x", Host="rebound.example")[0])
        for host in ("127.evil.example", "127.0.0.1.evil.example:80", "localhost.evil.example", "localhost:1.example",
                     "[::1].evil.example", "[::1", "::ffff:127.evil.example", "10.0.0.1", "[::2]:80", "", ":80"):
            self.assertEqual(403, self.post(good, Host=host)[0], host)
        for host in ("localhost:1", "LOCALHOST", "127.0.0.1", "127.9.9.9:80", "[::1]", "[::1]:80", "::1",
                     "[::ffff:127.0.0.1]:80"):
            self.assertEqual(201, self.post({**good, "for_s": 5}, Host=host)[0], host)

    def test_with_a_token_only_who_shows_it_may_write(self):
        with millraced.Millraced(self.kafka.address,
                                 f'key: "{SECRET}"\nkafka.group: guarded\ncontrol.token: "{TOKEN}"\n') as guarded:
            self.wait_read(guarded)
            words = ("agents", "set", "--scan-period", "2s", "--for", "5s")
            self.assertIn("MILLRACE_TOKEN", self.cli(*words, daemon=guarded, status=1).stderr)
            self.cli(*words, daemon=guarded, status=1, MILLRACE_TOKEN=TOKEN[:-1])
            self.cli(*words, daemon=guarded, status=1, MILLRACE_TOKEN=TOKEN + "x")
            self.cli(*words, daemon=guarded, MILLRACE_TOKEN=TOKEN)
            self.assertEqual(200, self.ask("GET", PATH, daemon=guarded)[0])


if __name__ == "__main__":
    missing = kafka.missing() + [str(p) for p in (CLI, millraced.PROGRAM) if not p.exists()]
    if missing:
        print("skipped: needs " + ", ".join(missing))
        sys.exit(SKIPPED)
    unittest.main(verbosity=2)
