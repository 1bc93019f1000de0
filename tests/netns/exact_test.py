"""Every connection in the lab is joined from both ends, true client and true server named, the dialled address kept, and
the payload bytes of both ends are those that the programs sent, to the byte; short ones included."""

import json
import pathlib
import random
import subprocess
import sys
import time
import unittest

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parent), str(pathlib.Path(__file__).resolve().parents[1] / "support")]

import records
import system
from lab import SERVER_PORT, SERVICE4, SERVICE6, SERVICE_PORT

SETTLE_S = 6  # lateness, the wait of one-sided ends and a second of reserve
STORM = 20000
SERVERS = {"10.77.2.2", "10.77.3.2", "fd77:2::2", "fd77:3::2"}


class Exact(unittest.TestCase):
    # Which agent sees which namespace: subclasses say.
    @staticmethod
    def agents(lab):
        return {"node-a": [lab.client, lab.router], "node-b": lab.servers}

    @classmethod
    def setUpClass(cls):
        cls.system = system.System(cls.agents)
        for server in cls.system.lab.servers:
            cls.system.serve(server, SERVER_PORT)

    @classmethod
    def tearDownClass(cls):
        cls.system.stop()

    def flows(self):
        time.sleep(SETTLE_S)
        self.system.check_children()
        return records.flows(self.system.kafka.address)

    def check_flow(self, flow, talked):
        problems = []
        expected = {
            "joined": (flow.joined, True),
            "dialled": ((flow.dialled_address, flow.dialled_port), (talked["address"], talked["port"])),
            "true server": (flow.server_address in SERVERS, True),
            "client bytes": ((flow.client.tx_bytes, flow.client.rx_bytes), (talked["sent"], talked["received"])),
            "server bytes": ((flow.server.rx_bytes, flow.server.tx_bytes), (talked["sent"], talked["received"])),
            "client node": (flow.client.instance.node, "node-a"),
            "server node": (flow.server.instance.node, "node-b"),
        }
        for what, (seen, wanted) in expected.items():
            if seen != wanted:
                problems.append(f"{what}: {seen}, expected {wanted}")
        if not flow.client.instance.workload or not flow.server.instance.workload:
            problems.append("a workload has no name")
        return problems

    def check_all(self, talked):
        flows, repeats = self.flows()
        by_client = {(flow.client_address, flow.client_port, flow.dialled_port): flow for flow in flows.values()
                     if flow.established and flow.client.seen}
        problems = []
        for one in talked:
            flow = by_client.get((one["local"], one["local_port"], one["port"]))
            found = ["missing"] if flow is None else self.check_flow(flow, one)
            problems += [f"{one}: {problem}" for problem in found]
        self.assertEqual(problems[:5], [], f"{len(problems)} problems of {len(talked)} connections")
        self.assertEqual(repeats, 0)

    def test_a_service_and_direct_connections_are_joined_to_the_byte(self):
        random.seed(7)
        plan = self.system.folder / "plan"
        lines = []
        for _ in range(60):
            address, port = random.choice([(SERVICE4, SERVICE_PORT), (SERVICE6, SERVICE_PORT),
                                           ("10.77.3.2", SERVER_PORT), ("fd77:2::2", SERVER_PORT)])
            lines.append(f"{address} {port} {random.choice([0, 1, 1000, 100000])} "
                         f"{random.choice([1, 50, 70000, 1500000])}\n")
        plan.write_text("".join(lines))
        self.check_all(self.system.peer("talk", plan))

    def test_b_curl_and_nginx_agree_to_the_byte(self):
        folder = self.system.folder
        (folder / "page").write_bytes(b"z" * 54321)
        (folder / "nginx.conf").write_text(f"""
daemon off; pid {folder}/nginx.pid; error_log stderr; worker_processes 2;
events {{ worker_connections 512; }}
http {{ access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  server {{ listen 8081; root {folder}; }} }}
user root;
""")
        nginx = self.system.lab.start(self.system.lab.servers[1], ["nginx", "-p", folder, "-c", folder / "nginx.conf"],
                                      stderr=subprocess.DEVNULL)
        try:
            talked = [self.curl("http://10.77.3.2:8081/page") for _ in range(10)]
            flows, _ = self.flows()
        finally:
            nginx.terminate()
            nginx.wait()
            subprocess.run(["rm", "-rf", *[str(folder / name) for name in ("body", "proxy", "fcgi", "uwsgi", "scgi")]])
        by_port = {flow.client_port: flow for flow in flows.values() if flow.dialled_port == 8081}
        for one in talked:
            flow = by_port[one["local_port"]]
            self.assertEqual(self.check_flow(flow, one), [])
            self.assertEqual(flow.server.instance.process, "nginx")
            self.assertEqual(flow.client.instance.process, "curl")

    def curl(self, url):
        form = '{"local": "%{local_ip}", "local_port": %{local_port}, "request": %{size_request}, ' \
               '"header": %{size_header}, "body": %{size_download}}'
        out = self.system.lab.start(self.system.lab.client, ["curl", "-s", "-o", "/dev/null", "-w", form, url],
                                    stdout=subprocess.PIPE)
        text, _ = out.communicate(timeout=30)
        told = json.loads(text)
        return {"address": "10.77.3.2", "port": 8081, "local": told["local"], "local_port": told["local_port"],
                "sent": told["request"], "received": told["header"] + told["body"]}

    def test_c_twenty_thousand_short_connections_none_missing_none_doubled(self):
        before, _ = records.flows(self.system.kafka.address)
        half = STORM // 2
        done = [self.system.peer("storm", SERVICE4, SERVICE_PORT, half, 4)[0],
                self.system.peer("storm", SERVICE6, SERVICE_PORT, STORM - half, 4)[0]]
        self.assertEqual(sum(one["ok"] for one in done), STORM, done)
        flows, repeats = self.flows()
        new = [flow for flow_id, flow in flows.items()
               if flow_id not in before and flow.dialled_port == SERVICE_PORT and flow.established]
        joined = [flow for flow in new if flow.joined]
        wrong = [flow for flow in joined
                 if (flow.client.tx_bytes, flow.client.rx_bytes) != (flow.server.rx_bytes, flow.server.tx_bytes)
                 or flow.client.tx_bytes != len("10 20\n") + 10 or flow.client.rx_bytes != 20]
        self.assertEqual((len(new), len(joined), len(wrong), repeats), (STORM, STORM, 0, 0))

    def test_d_the_map_tells_the_same_totals(self):
        time.sleep(12)  # the 10 s window of the last connections closes
        edges = self.system.get("/api/v1/map?window=600s&limit=1000")["edges"]
        flows, _ = records.flows(self.system.kafka.address)
        opened = sum(1 for flow in flows.values() if flow.established)
        self.assertEqual(sum(edge["opened"] for edge in edges), opened)
        sent = sum(flow.client.tx_bytes if flow.client.seen else flow.server.rx_bytes for flow in flows.values())
        self.assertEqual(sum(edge["tx_bytes"] for edge in edges), sent)


class ExactThroughAThirdNode(Exact):
    """The router's NAT is known to an agent of its own, a third node."""

    @staticmethod
    def agents(lab):
        return {"node-a": [lab.client], "node-r": [lab.router], "node-b": lab.servers}


if __name__ == "__main__":
    reason = system.missing()
    if reason:
        print("skipped:", reason)
        sys.exit(77)
    unittest.main(verbosity=2)
