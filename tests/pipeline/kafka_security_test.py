#!/usr/bin/python3
"""Both programs and a real Kafka that wants TLS, certificates, passwords or tokens: each way in, and each mistake with
what is said of it. The agent watches one network namespace of its own; root and BTF are needed for its part."""

import os
import re
import pathlib
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import identity
import kafka
import processes
import records
from millraced import Millraced, until

AGENT = processes.BUILD / "bin" / "millrace-agent"
PASSWORD = "a-password-of-SCRAM"
SPACE = f"mk{os.getpid()}"
SCRAM = ("SCRAM-SHA-512", "SCRAM-SHA-256")
COME_WITHIN_S = 90
TOLD_WITHIN_S = 40
LOAD_S = 45  # several lives of a token
LIFE_S = 10

# Connections within one namespace, as fast as one thread makes them, for as many seconds; prints how many.
TRAFFIC = """
import socket, sys, threading, time
listener = socket.create_server(("127.0.0.1", 0), backlog=512)
def serve():
    while True:
        peer, _ = listener.accept()
        peer.sendall(peer.recv(64)); peer.close()
threading.Thread(target=serve, daemon=True).start()
until, count = time.monotonic() + float(sys.argv[1]), 0
while time.monotonic() < until:
    with socket.create_connection(listener.getsockname()) as one:
        one.sendall(b"hello"); one.recv(64)
    count += 1
    time.sleep(0.002)
print(count)
"""


def librdkafka():
    """Its version, (2, 0, 2)."""
    said = subprocess.run(["kcat", "-V"], stdout=subprocess.PIPE, text=True).stdout if shutil.which("kcat") else ""
    return tuple(map(int, re.search(r"librdkafka (\d+)\.(\d+)\.(\d+)|$", said).groups("0")))


SCRAM_RIGHT = librdkafka() >= (2, 6, 1)  # older ones and Kafka 4 do not agree on a nonce


def sweep():
    """Namespaces of killed runs."""
    for line in subprocess.run(["ip", "netns", "list"], stdout=subprocess.PIPE, text=True).stdout.splitlines():
        name = line.split()[0]
        if name.startswith("mk") and name[2:].isdigit() and not os.path.exists(f"/proc/{name[2:]}"):
            subprocess.run(["ip", "netns", "delete", name], check=False)


class Agent:
    """more: lines under `kafka:`."""

    number = 0

    def __init__(self, brokers, more=()):
        Agent.number += 1
        self.node = f"node-{Agent.number}"
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="millrace-agent-"))
        self.listen = f"127.0.0.1:{processes.free_port()}"
        self.config = self.folder / "agent.yaml"
        self.config.write_text("\n".join([
            f"node: {self.node}", f'listen: "{self.listen}"', "features.conntrack: false", "features.run_stats: false",
            f"scope.netns: [{SPACE}]", "kafka:", f'  brokers: ["{brokers}"]', *(f"  {line}" for line in more), ""]))
        with open(self.folder / "log", "ab") as log:
            self.child = processes.start([AGENT, "--config", self.config], stdout=log, stderr=log)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        processes.end(self.child)
        shutil.rmtree(self.folder, ignore_errors=True)

    def log(self):
        return (self.folder / "log").read_text(errors="replace")

    def metric(self, name):
        try:
            with urllib.request.urlopen(f"http://{self.listen}/metrics", timeout=5) as answer:
                lines = answer.read().decode().splitlines()
        except OSError:
            return 0
        return sum(float(line.split()[-1]) for line in lines if line.split("{")[0].split(" ")[0] == name)


@unittest.skipIf(os.geteuid() != 0 or not os.path.exists("/sys/kernel/btf/vmlinux"), "the agent needs root and BTF")
class Security(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        sweep()
        subprocess.run(["ip", "netns", "add", SPACE], check=True)
        cls.addClassCleanup(subprocess.run, ["ip", "netns", "delete", SPACE])
        subprocess.run(["ip", "-n", SPACE, "link", "set", "lo", "up"], check=True)
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="millrace-identity-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        cls.authority = identity.Authority(cls.folder)
        cls.stranger = identity.Authority(cls.folder, "stranger")
        cls.authority.certificate("broker")
        cls.authority.certificate("other", "DNS:kafka.elsewhere.example")
        cls.authority.certificate("agent")
        cls.tokens = identity.TokenEndpoint(cls.folder)
        cls.addClassCleanup(cls.tokens.stop)
        cls.kafka = cls.broker()
        cls.addClassCleanup(cls.kafka.stop)
        classes = subprocess.run([kafka.SCRIPT, "jars"], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
        for size in (256, 512):  # Kafka takes one mechanism of a user a request
            subprocess.run(["java", "-XX:TieredStopAtLevel=1", "-cp", classes, "kafka.admin.ConfigCommand",
                            "--bootstrap-server", cls.kafka.address, "--alter", "--entity-type", "users",
                            "--entity-name", "agent", "--add-config", f"SCRAM-SHA-{size}=[password={PASSWORD}]"],
                           check=True, stdout=subprocess.DEVNULL)

    @classmethod
    def broker(cls):
        names = ("TLS", "MTLS", "SCRAM", "OAUTH", "OTHER")
        cls.at = {name: f"localhost:{processes.free_port()}" for name in names}
        jaas = "org.apache.kafka.common.security"
        return kafka.Kafka(properties={
            "listeners": "+" + "".join(f",{name}://{at.replace('localhost', '127.0.0.1')}"
                                       for name, at in cls.at.items()),
            "advertised.listeners": "+" + "".join(f",{name}://{at}" for name, at in cls.at.items()),
            "listener.security.protocol.map": "+,TLS:SSL,MTLS:SSL,OTHER:SSL,SCRAM:SASL_SSL,OAUTH:SASL_SSL",
            "ssl.keystore.type": "PEM", "ssl.keystore.location": cls.folder / "broker.pem",
            "ssl.truststore.type": "PEM", "ssl.truststore.location": cls.authority.path,
            "listener.name.mtls.ssl.client.auth": "required",
            "listener.name.other.ssl.keystore.type": "PEM",
            "listener.name.other.ssl.keystore.location": cls.folder / "other.pem",
            # Credentials are kept for the mechanisms of this list alone, whatever a listener says.
            "sasl.enabled.mechanisms": "SCRAM-SHA-512,SCRAM-SHA-256,PLAIN,OAUTHBEARER",
            "listener.name.scram.sasl.enabled.mechanisms": "SCRAM-SHA-512,SCRAM-SHA-256,PLAIN",
            "listener.name.scram.scram-sha-512.sasl.jaas.config": f"{jaas}.scram.ScramLoginModule required;",
            "listener.name.scram.scram-sha-256.sasl.jaas.config": f"{jaas}.scram.ScramLoginModule required;",
            "listener.name.scram.plain.sasl.jaas.config":
                f'{jaas}.plain.PlainLoginModule required user_agent="{PASSWORD}";',
            "listener.name.oauth.sasl.enabled.mechanisms": "OAUTHBEARER",
            "listener.name.oauth.oauthbearer.sasl.jaas.config":
                f"{jaas}.oauthbearer.OAuthBearerLoginModule required;",
            "listener.name.oauth.oauthbearer.sasl.server.callback.handler.class":
                f"{jaas}.oauthbearer.OAuthBearerValidatorCallbackHandler",
            # Kafka 4.1's default validator is a client's: it looks at no signature.
            "sasl.oauthbearer.jwt.validator.class": f"{jaas}.oauthbearer.BrokerJwtValidator",
            # A connection ends with the token that opened it.
            "listener.name.oauth.oauthbearer.connections.max.reauth.ms": "3600000",
            "sasl.oauthbearer.clock.skew.seconds": "1",
            "sasl.oauthbearer.jwks.endpoint.url": cls.tokens.jwks,
            "sasl.oauthbearer.expected.audience": cls.tokens.AUDIENCE,
            "sasl.oauthbearer.expected.issuer": cls.tokens.base,
        },
            jvm_options=[f"-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls={cls.tokens.jwks}"])

    def setUp(self):
        self.tokens.down, self.tokens.life_s = False, 300

    # What stands under `kafka:`, by way in.

    def tls(self, *more, ca=None):
        return ("tls: true", f"tls_ca: {ca or self.authority.path}", "properties: {broker.address.family: v4}", *more)

    def mtls(self, certificate="agent"):
        return self.tls(f"tls_certificate: {self.folder}/{certificate}.crt", f"tls_key: {self.folder}/{certificate}.key")

    def password(self, mechanism="SCRAM-SHA-512", password=PASSWORD):
        path = self.folder / f"password-{password}"
        path.write_text(f"{password}\n")
        return self.tls(f"sasl.mechanism: {mechanism}", "sasl.username: agent", f"sasl.password_file: {path}")

    def oauth(self, secret=identity.TokenEndpoint.SECRET):
        # the endpoint of this test speaks http
        path = self.folder / f"secret-{len(secret)}"
        path.write_text(secret)
        return self.tls("sasl.mechanism: OAUTHBEARER", "tls_insecure: true", f"oauth.token_url: {self.tokens.url}",
                        f"oauth.client_id: {self.tokens.CLIENT}", f"oauth.client_secret_file: {path}",
                        "oauth.scope: events", "oauth.extensions: {traceId: abc}")

    def token_file(self, path):
        return self.tls("sasl.mechanism: OAUTHBEARER", f"oauth.token_file: {path}")

    def batches(self, node):
        return [batch for batch in records.read(self.kafka.address, "millrace.events") if batch.node == node]

    def nothing_missing(self, agent):
        """Ends the agent; its batches in the log are all there, without gaps. Repeats are known by their numbers."""
        self.assertEqual(0, agent.metric("millrace_agent_dropped_events_total"))
        self.assertEqual(0, agent.metric("millrace_agent_dropped_batches_total"))
        self.assertEqual(0, processes.end(agent.child, 20), agent.log())
        numbered = {batch.sequence: batch for batch in self.batches(agent.node)}
        self.assertEqual(list(range(len(numbered))), sorted(numbered), agent.log())
        issued = 0
        for sequence in range(len(numbered)):
            self.assertEqual(issued, numbered[sequence].first_event)
            issued += numbered[sequence].events
        return numbered.values()

    def delivers(self, agent, least=1):
        return until(lambda: agent.metric("millrace_agent_delivered_batches_total") >= least, COME_WITHIN_S)

    def spools(self, agent, *words):
        """It says all of the words, delivers nothing, and keeps everything."""
        told = until(lambda: all(word in agent.log() for word in words), TOLD_WITHIN_S)
        self.assertTrue(told, f"{words} not in\n{agent.log()}")
        before = agent.metric("millrace_agent_spool_batches")
        self.assertTrue(until(lambda: agent.metric("millrace_agent_spool_batches") > before, TOLD_WITHIN_S))
        self.assertEqual(0, agent.metric("millrace_agent_delivered_batches_total"))
        self.assertEqual(0, agent.metric("millrace_agent_dropped_batches_total"))
        self.assertTrue(agent.child.poll() is None)
        self.assertLessEqual(len(agent.log().splitlines()), 12, agent.log())  # told once, not each time

    def test_each_way_in_lets_records_flow_through_both_programs(self):
        fresh = self.folder / "fresh.jwt"
        fresh.write_text(self.tokens.token(3600) + "\n")
        ways = {"TLS": [self.tls()], "MTLS": [self.mtls()],
                "SCRAM": [self.password("PLAIN"), *(self.password(mechanism) for mechanism in SCRAM if SCRAM_RIGHT)],
                "OAUTH": [self.oauth(), self.token_file(fresh)]}
        for listener, options in ways.items():
            for more in options:
                with self.subTest(listener=listener, more=more), Agent(self.at[listener], more) as agent, \
                        Millraced(self.at[listener], "".join(f"  {line}\n" for line in more)
                                  + f"  group: {listener}{Agent.number}\n") as daemon:
                    self.assertTrue(self.delivers(agent, 5), agent.log())
                    daemon.wait_ready(COME_WITHIN_S)
                    self.assertTrue(daemon.wait_metric("millrace_records_total", 5, COME_WITHIN_S), daemon.log())
                    self.assertTrue(until(lambda: agent.node in daemon.get("/api/v1/agents")[1], COME_WITHIN_S))
                    self.assertTrue(daemon.wait_metric("millrace_outputs_delivered_total", 1, COME_WITHIN_S))
                    secrets = (PASSWORD, self.tokens.SECRET, fresh.read_text().strip())
                    for secret in secrets:
                        self.assertNotIn(secret, agent.log() + daemon.log())
                        for child in (agent.child, daemon.child):
                            command = pathlib.Path(f"/proc/{child.pid}/cmdline").read_text()
                            self.assertNotIn(secret, command)
                    self.nothing_missing(agent)

    @unittest.skipIf(SCRAM_RIGHT, "this librdkafka knows how")
    def test_two_instances_share_the_tasks_over_tls_with_a_password(self):
        lines = "".join(f"  {line}\n" for line in self.password("PLAIN"))
        daemons = [Millraced(self.at["SCRAM"], f"{lines}  group: pair\nexchange: {{carrier: kafka, instance: {name}}}\n")
                   for name in "ab"]
        for daemon in daemons:
            self.addCleanup(daemon.stop, check=False)

        def shared():
            return all(daemon.ready() and daemon.metric("millrace_tasks_owned") == 8 for daemon in daemons)
        self.assertTrue(until(shared, COME_WITHIN_S), "".join(daemon.log()[-3000:] for daemon in daemons))
        for daemon in daemons:
            self.assertTrue(daemon.wait_metric("millrace_exchange_received_total", 1), daemon.log()[-3000:])
            self.assertNotIn(PASSWORD, daemon.log())

    def test_a_librdkafka_whose_scram_kafka_refuses_is_told(self):
        for mechanism in SCRAM:
            with Agent(self.at["SCRAM"], self.password(mechanism)) as agent:
                self.spools(agent, "SCRAM needs librdkafka 2.6.1 or newer, which this is not: use mTLS, OAUTHBEARER")

    def test_a_wrong_password_is_told_and_the_spool_keeps_what_comes(self):
        more = self.password("PLAIN", password="not-the-one")
        with Agent(self.at["SCRAM"], more) as agent:
            self.spools(agent, "see kafka.sasl.username and kafka.sasl.password")
            self.assertNotIn("not-the-one", agent.log())
        with Millraced(self.at["SCRAM"], "".join(f"  {line}\n" for line in more)) as daemon:
            told = until(lambda: "see kafka.sasl.username and kafka.sasl.password" in daemon.log(), TOLD_WITHIN_S)
            self.assertTrue(told, daemon.log())
            self.assertFalse(daemon.ready())
            self.assertNotIn("not-the-one", daemon.log())

    def test_an_untrusted_authority_is_told(self):
        more = self.tls(ca=self.stranger.path)
        with Agent(self.at["TLS"], more) as agent:
            self.spools(agent, "its certificate is not from an authority that is trusted here: kafka.tls_ca must hold")
        with Millraced(self.at["TLS"], "".join(f"  {line}\n" for line in more)) as daemon:
            self.assertTrue(until(lambda: "kafka.tls_ca must hold" in daemon.log(), TOLD_WITHIN_S), daemon.log())

    def test_another_hosts_certificate_is_told(self):
        with Agent(self.at["OTHER"], self.tls()) as agent:
            self.spools(agent, "its certificate is for another name")

    def impostor(self, more, version=None):
        """A server with a certificate; (what the programs sent inside TLS, whether a handshake was finished)."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.folder / ("other.crt" if version is None else "broker.crt"),
                                self.folder / ("other.key" if version is None else "broker.key"))
        if version is not None:
            context.set_ciphers("ALL:@SECLEVEL=0")
            context.minimum_version = context.maximum_version = version
        got, finished, tries = bytearray(), [], []
        with socket.create_server(("127.0.0.1", 0)) as listener:
            def serve():
                while True:
                    try:
                        plain, _ = listener.accept()
                    except OSError:
                        return
                    tries.append(1)
                    try:
                        with context.wrap_socket(plain, server_side=True) as peer:
                            finished.append(1)
                            peer.settimeout(5)
                            got.extend(peer.recv(65536))
                    except OSError:
                        pass
            threading.Thread(target=serve, daemon=True).start()
            with Agent(f"localhost:{listener.getsockname()[1]}", more) as agent:
                self.assertTrue(until(lambda: len(tries) >= 3, TOLD_WITHIN_S))
                log = agent.log()
        return bytes(got), log

    def test_an_impostor_gets_no_byte(self):
        got, log = self.impostor(self.password("PLAIN"))
        self.assertEqual(b"", got)
        self.assertIn("its certificate is for another name", log)
        # Proof that the impostor would see it: verification off.
        got, _ = self.impostor(("tls: true", "tls_insecure: true",
                                "properties: {broker.address.family: v4, "
                                "ssl.endpoint.identification.algorithm: none, "
                                "enable.ssl.certificate.verification: 'false'}"))
        self.assertGreater(len(got), 0)

    def test_a_tls_older_than_1_2_is_not_spoken(self):
        for version in (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1):
            self.assertEqual(b"", self.impostor(self.tls(), version)[0])
        self.assertGreater(len(self.impostor(self.tls(), ssl.TLSVersion.TLSv1_2)[0]), 0)

    def test_an_expired_certificate_of_ones_own_is_told_and_renewed_without_a_restart(self):
        self.authority.certificate("short", expired=True)
        with Agent(self.at["MTLS"], self.mtls("short")) as agent:
            self.spools(agent, "short.crt has expired: brokers refuse it until it is renewed")
            self.assertLess(agent.metric("millrace_agent_kafka_certificate_expires_timestamp_seconds"), time.time())
            self.authority.certificate("short")
            self.assertTrue(self.delivers(agent), agent.log())
            self.assertGreater(agent.metric("millrace_agent_kafka_certificate_expires_timestamp_seconds"), time.time())
            self.nothing_missing(agent)

    def test_a_token_endpoint_that_is_down_is_told_once_and_asked_again(self):
        self.tokens.down = True
        with Agent(self.at["OAUTH"], self.oauth()) as agent:
            self.spools(agent, f"no OAUTHBEARER token from {self.tokens.url}: ", "it is asked for again until it comes")
            again = until(lambda: agent.metric("millrace_agent_kafka_token_errors_total") > 2, TOLD_WITHIN_S)
            self.assertTrue(again, agent.log())
            self.assertEqual(1, agent.log().count("no OAUTHBEARER token"))
            self.tokens.down = False
            self.assertTrue(self.delivers(agent), agent.log())
            self.assertIn("OAUTHBEARER tokens come again", agent.log())
            self.assertGreater(agent.metric("millrace_agent_kafka_token_expires_timestamp_seconds"), time.time())
            self.nothing_missing(agent)

    def test_a_wrong_client_secret_is_told_with_what_to_do(self):
        with Agent(self.at["OAUTH"], self.oauth(secret="wrong")) as agent:
            self.spools(agent, "status 401 invalid_client: see kafka.oauth.client_id, client_secret")

    def test_an_expired_token_of_a_file_is_told_and_its_renewal_is_read(self):
        path = self.folder / "projected.jwt"
        path.write_text(self.tokens.token(-60))
        with Agent(self.at["OAUTH"], self.token_file(path)) as agent:
            self.spools(agent, "the token has already expired")
            path.write_text(self.tokens.token(LIFE_S))
            self.assertTrue(self.delivers(agent), agent.log())
            # It is read again before it expires, as the kubelet writes it anew.
            had = agent.metric("millrace_agent_kafka_tokens_total")
            path.write_text(self.tokens.token(300))
            self.assertTrue(until(lambda: agent.metric("millrace_agent_kafka_tokens_total") > had, 2 * LIFE_S))
            self.nothing_missing(agent)

    def test_a_token_that_the_broker_does_not_accept_is_told(self):
        path = self.folder / "foreign.jwt"
        other = self.folder / "other"
        other.mkdir()
        stranger = identity.TokenEndpoint(other)
        self.addCleanup(stranger.stop)
        path.write_text(stranger.token(300))
        with Agent(self.at["OAUTH"], self.token_file(path)) as agent:
            self.spools(agent, "the broker does not accept the token: see its audience")

    def test_short_tokens_are_renewed_under_load_and_nothing_is_lost(self):
        self.tokens.life_s, given = LIFE_S, self.tokens.given
        more = self.oauth()
        with Agent(self.at["OAUTH"], more) as agent, \
                Millraced(self.at["OAUTH"], "".join(f"  {line}\n" for line in more) + "  group: load\n") as daemon:
            self.assertTrue(self.delivers(agent), agent.log())
            daemon.wait_ready(COME_WITHIN_S)
            made = int(subprocess.run(["ip", "netns", "exec", SPACE, sys.executable, "-c", TRAFFIC, str(LOAD_S)],
                                      check=True, stdout=subprocess.PIPE).stdout)
            self.assertGreaterEqual(agent.metric("millrace_agent_kafka_tokens_total"), LOAD_S // LIFE_S)
            self.assertEqual(0, agent.metric("millrace_agent_kafka_token_errors_total"), agent.log())
            self.assertEqual([], self.tokens.problems)
            until(lambda: agent.metric("millrace_agent_spool_batches") == 0, COME_WITHIN_S)
            batches = self.nothing_missing(agent)
            issued = sum(batch.events for batch in batches)
            self.assertGreaterEqual(issued, made)
            # All of this node's, as the pipeline has them: nothing lost, nothing refused.
            lost = until(lambda: daemon.metric("millrace_events_issued_total") >= issued, COME_WITHIN_S)
            self.assertTrue(lost, daemon.log())
            self.assertEqual(0, daemon.metric("millrace_events_lost_total"), daemon.log())
            self.assertGreaterEqual(daemon.metric("millrace_kafka_tokens_total"), LOAD_S // LIFE_S)
            self.assertGreater(self.tokens.given - given, 2 * (LOAD_S // LIFE_S))


if __name__ == "__main__":
    if kafka.missing():
        print("skipped: not installed:", *kafka.missing())
        sys.exit(77)
    unittest.main()
