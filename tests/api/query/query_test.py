#!/usr/bin/python3
"""The API over the small world of tests/api/query/world: REST by urllib, gRPC by Debian's own client, the OpenAPI
document against real answers."""
import json, os, re, subprocess, unittest, urllib.error, urllib.parse, urllib.request
import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory

WORLD = os.path.join(os.environ.get("MILLRACE_BUILD", "build/dev"), "tests", "query-world")
PER_S = {"tx_bytes": 1000, "rx_bytes": 5000, "opened": 9, "failed": 1, "joined": 8, "closed": 9,
         "client_tx_bytes": 1000, "client_rx_bytes": 5000, "server_tx_bytes": 990, "server_rx_bytes": 5010}
WEIGHT = {"shop/web": 3, "shop/api": 2, "ops/batch": 1}  # of the edge of that client
MOVED = {"shop/web": 700, "shop/api": -700, "ops/batch": 0}  # amended tx_bytes


def schema():
    out = subprocess.run(["protoc", "--proto_path=proto", "--descriptor_set_out=/dev/stdout", "--include_imports",
                          "proto/millrace/v1/query.proto"], check=True, capture_output=True).stdout
    pool = descriptor_pool.DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString(out).file:
        pool.Add(file)
    factory = message_factory.MessageFactory(pool)
    return lambda name: factory.GetPrototype(pool.FindMessageTypeByName("millrace.v1." + name))


message = schema()


class World(unittest.TestCase):
    NOW = 1800000005
    ARGUMENTS = []

    @classmethod
    def setUpClass(cls):
        cls.server = subprocess.Popen([WORLD, str(cls.NOW), *cls.ARGUMENTS], stdout=subprocess.PIPE, text=True)
        cls.port = int(cls.server.stdout.readline())
        cls.addClassCleanup(cls.server.stdout.close)
        cls.channel = grpc.insecure_channel(f"127.0.0.1:{cls.port}")

    @classmethod
    def tearDownClass(cls):
        cls.channel.close()
        cls.server.terminate()
        status = cls.server.wait(10)
        assert status == 0, f"server ended with {status}"  # the sanitizers speak through it

    def get(self, path, **parameters):
        query = "?" + urllib.parse.urlencode(parameters) if parameters else ""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}{query}") as response:
            return json.load(response)

    def refused(self, path, **parameters):
        with self.assertRaises(urllib.error.HTTPError) as raised:
            self.get(path, **parameters)
        with raised.exception as error:
            self.assertEqual(error.code, 400)
            self.assertEqual(error.headers["content-type"], "application/problem+json")
            return json.load(error)["detail"]

    def call(self, method, **fields):
        call = self.channel.unary_unary(f"/millrace.v1.Query/{method}",
                                        request_serializer=message(method + "Request").SerializeToString,
                                        response_deserializer=message(method + "Response").FromString)
        return call(message(method + "Request")(**fields), timeout=10)


class Edges(World):
    def edges(self, **parameters):
        return {row["edge"]["client"]: row for row in self.get("/api/v1/map", **parameters)["edges"]}

    def assert_totals(self, edges, seconds, amended):
        for client, row in edges.items():
            for name, per_s in PER_S.items():
                more = MOVED[client] if amended and name == "tx_bytes" else 0
                self.assertEqual(row[name], per_s * WEIGHT[client] * seconds + more, (client, name))


class Map(Edges):
    def test_each_second_of_a_window_counts_once_whatever_its_length(self):
        for seconds in (1, 4, 5, 6, 10, 11, 15, 16, 25, 60, 61, 99, 100):
            answer = self.get("/api/v1/map", window=f"{seconds}s")
            self.assertEqual(answer["end_s"] - answer["start_s"], seconds)
            self.assertEqual(answer["end_s"], self.NOW)
            # the amended window is [now - 45, now - 35): 10 s rows are read of it when it lies in the window whole
            start = self.NOW - seconds
            first = -(-start // 10) * 10
            amended = first <= (self.NOW - 40) // 10 * 10
            edges = {row["edge"]["client"]: row for row in answer["edges"]}
            self.assertEqual(len(edges), 3)
            self.assert_totals(edges, seconds, amended)

    def test_a_window_may_end_in_the_past(self):
        for at in (self.NOW - 20, self.NOW - 13):
            answer = self.get("/api/v1/map", window="40s", at=at)
            self.assertEqual((answer["start_s"], answer["end_s"]), (at - 40, at))
            self.assert_totals({row["edge"]["client"]: row for row in answer["edges"]}, 40, True)
        self.assertEqual(self.get("/api/v1/map", at="2027-01-15T07:59:45Z"),
                         self.get("/api/v1/map", at=1799999985))

    def test_rates_and_ratios_follow_from_the_totals(self):
        row = self.edges(window="60s")["ops/batch"]
        self.assertEqual(row["tx_bytes_per_s"], 1000)
        self.assertEqual(row["connections_per_s"], 9)
        self.assertEqual(row["failure_ratio"], 0.1)
        self.assertAlmostEqual(row["joined_ratio"], 8 / 9)
        self.assertEqual(row["retransmit_ratio"], 0.05)
        self.assertEqual(row["completeness"], 0.95)
        self.assertEqual(row["srtt_avg_s"], 0.002)
        self.assertEqual(row["active"], 30)  # of the newest 10 s row
        self.assertAlmostEqual(row["connect_p50_s"], 0.001, delta=0.001 / 64)
        self.assertAlmostEqual(row["connect_p99_s"], 0.05, delta=0.05 / 64)

    def test_hops_select_round_a_workload(self):
        one = self.get("/api/v1/map", workload="shop/web")
        self.assertEqual([row["edge"]["client"] for row in one["edges"]], ["shop/web"])
        self.assertEqual({node["workload"]: node["hops"] for node in one["nodes"]}, {"shop/web": 0, "shop/api": 1})
        two = self.get("/api/v1/map", workload="shop/web", hops=2)
        self.assertEqual({node["workload"]: node["hops"] for node in two["nodes"]},
                         {"shop/web": 0, "shop/api": 1, "shop/db": 2})
        self.assertEqual(len(self.edges(workload="shop/web", hops=3)), 3)
        self.assertEqual(self.edges(workload="nobody"), {})

    def test_the_busiest_edges_stay_within_the_limit(self):
        answer = self.get("/api/v1/map", limit=1)
        self.assertEqual([row["edge"]["client"] for row in answer["edges"]], ["shop/web"])
        self.assertEqual(answer["edges_left_out"], 2)

    def test_a_zone_selects_the_edges_that_touch_it(self):
        self.assertEqual(set(self.edges(zone="zone-b")), {"shop/api", "ops/batch"})
        self.assertEqual(set(self.edges(zone="zone-a")), {"shop/api", "shop/web"})
        self.assertEqual(self.edges(zone="zone-c"), {})

    def test_instances_are_known_in_a_second_though_told_in_ten(self):
        nodes = {node["workload"]: node for node in self.get("/api/v1/map", window="1s")["nodes"]}
        self.assertEqual((nodes["shop/db"]["zones"], nodes["shop/db"]["instances"]), (["zone-b"], 1))
        self.assertEqual(set(self.edges(zone="zone-b", window="1s")), {"shop/api", "ops/batch"})

    def test_nodes_know_their_dimensions_and_alerts(self):
        nodes = {node["workload"]: node for node in self.get("/api/v1/map")["nodes"]}
        self.assertEqual(nodes["shop/db"], {"workload": "shop/db", "resolution": "workload", "hops": 0,
                                            "zones": ["zone-b"], "versions": ["15.4"], "instances": 1,
                                            "alerting": False})
        self.assertTrue(nodes["shop/web"]["alerting"] and nodes["shop/api"]["alerting"])
        self.assertEqual({client: row["alerting"] for client, row in self.edges().items()},
                         {"shop/web": True, "shop/api": False, "ops/batch": False})


class MapAtTen(Map):
    NOW = 1800000000  # on the edge of a 10 s window


class Bounded(Edges):
    """30 rows are enough for the 18 of 10 s windows alone, not for the 45 to the second."""
    ARGUMENTS = ["30"]

    def test_a_map_too_large_for_seconds_is_read_in_closed_windows(self):
        answer = self.get("/api/v1/map", window="60s")
        self.assertEqual((answer["start_s"], answer["end_s"]), (self.NOW - 65, self.NOW - 5))
        self.assert_totals({row["edge"]["client"]: row for row in answer["edges"]}, 60, True)

    def test_what_is_too_large_even_so_is_refused(self):
        self.assertIn("more than 30 rows", self.refused("/api/v1/map", window="110s"))
        self.assertIn("more than 30 rows", self.refused("/api/v1/series", metric="opened"))
        with self.assertRaises(grpc.RpcError) as raised:
            self.call("Series", metric="opened")
        self.assertEqual(raised.exception.code(), grpc.StatusCode.OUT_OF_RANGE)


class LongPast(Edges):
    """10 s for 20 minutes, minutes for 3 hours, hours for long; no seconds. 500 rows an answer."""
    ARGUMENTS = ["500", "long-past"]

    def test_long_windows_are_read_from_minutes_and_hours(self):
        for seconds in (600, 3600, 7200, 10800, 14400, 36000):
            answer = self.get("/api/v1/map", window=f"{seconds}s")
            self.assertEqual(answer["end_s"], self.NOW - 5)  # of the newest 10 s
            self.assertGreaterEqual(answer["end_s"] - answer["start_s"], seconds)
            self.assertLess(answer["end_s"] - answer["start_s"], seconds + (60 if seconds < 10800 else 3600))
            self.assert_totals({row["edge"]["client"]: row for row in answer["edges"]},
                               answer["end_s"] - answer["start_s"], True)

    def test_no_second_counts_for_less_where_seconds_are_not_told(self):
        row = self.edges(window="60s")["ops/batch"]
        self.assertEqual(row["tx_bytes_per_s"], 1000)
        self.assertEqual(row["active"], 30)
        self.assertEqual(set(self.edges(zone="zone-b", window="10s")), {"shop/api", "ops/batch"})

    def test_a_step_is_read_from_the_longest_windows_in_it(self):
        for step, told, seconds in ((10, 10, 600), (30, 30, 600), (60, 60, 7200), (300, 300, 7200), (10, 60, 7200),
                                    (90, 120, 7200), (3600, 3600, 36000), (60, 3600, 36000)):
            end = (self.NOW - 5) // told * told
            answer = self.get("/api/v1/series", metric="opened", server="shop/api", step=step, start=end - seconds,
                              end=end)
            self.assertEqual(answer["step_s"], told, step)
            points = answer["series"][0]["points"]
            self.assertEqual(len(points), seconds // told)
            self.assertTrue(all(point["value"] == 9 * 3 * told for point in points))

    def test_without_a_step_it_follows_from_how_long_ago_the_range_began(self):
        for seconds, step in ((600, 10), (1100, 10), (7200, 60), (36000, 3600)):
            self.assertEqual(self.get("/api/v1/series", metric="opened", start=self.NOW - seconds)["step_s"], step)

    def test_distinct_connections_are_not_added_up(self):
        answer = self.get("/api/v1/series", metric="active", step=30, server="shop/api", start=self.NOW - 605)
        self.assertEqual({point["value"] for point in answer["series"][0]["points"]}, {30})

    def test_what_is_told_every_ten_seconds_says_so(self):
        for metric, group_by in (("opened", "lane"), ("tx_bytes", "server_instance"), ("srtt_p95", "edge")):
            self.assertEqual(self.get("/api/v1/series", metric=metric, group_by=group_by, step=1)["step_s"], 10)
            self.assertEqual(self.get("/api/v1/series", metric=metric, group_by=group_by, step=25)["step_s"], 30)


class Many(Edges):
    """More edges than an answer takes, nearly all busier than those that alert or fail."""
    ARGUMENTS = ["many"]

    def test_edges_that_alert_or_fail_are_left_out_last(self):
        def clients(limit):
            answer = self.get("/api/v1/map", limit=limit)
            self.assertEqual(answer["edges_left_out"], 2104 - limit)
            return [row["edge"]["client"] for row in answer["edges"]]
        # One alerts, over one nothing gets; of two a tenth fails; the others are well.
        self.assertEqual(clients(2), ["shop/web", "ops/probe"])
        self.assertEqual(clients(4), ["shop/web", "ops/probe", "shop/api", "ops/batch"])
        self.assertEqual({name.split("-")[0] for name in clients(2000)[4:]}, {"load/client"})


class Empty(World):
    ARGUMENTS = ["empty"]

    def test_an_empty_history_gives_empty_answers(self):
        self.assertEqual(self.get("/api/v1/map")["edges"], [])
        self.assertEqual(self.get("/api/v1/series", metric="opened")["series"], [])
        self.assertEqual(self.get("/api/v1/alerts"), {"alerts": [], "alerts_left_out": 0})
        self.assertEqual(self.get("/api/v1/search")["hits"], [])
        self.assertEqual(self.get("/api/v1/agents"), {"agents": [], "agents_left_out": 0, "total": None, "others": None})


class Others(World):
    def test_series_sum_to_what_was_stored(self):
        for step, seconds in ((1, 120), (10, 110)):
            series = self.get("/api/v1/series", metric="tx_bytes", step=step)["series"]
            self.assertEqual([one["client"] for one in series], ["shop/web", "shop/api", "ops/batch"])
            for one in series:
                self.assertEqual(len(one["points"]), seconds // step)
                self.assertEqual(sum(point["value"] for point in one["points"]),
                                 1000 * WEIGHT[one["client"]] * seconds + (MOVED[one["client"]] if step == 10 else 0))

    def test_series_group_by_every_dimension(self):
        for group_by, count in (("client", 3), ("server", 2), ("lane", 3), ("client_instance", 3),
                                ("server_instance", 2)):
            answer = self.get("/api/v1/series", metric="opened", group_by=group_by, step="1s")
            step = 1 if group_by in ("client", "server") else 10  # parts of edges are told every 10 s
            self.assertEqual(answer["step_s"], step)
            self.assertEqual(len(answer["series"]), count, group_by)
            self.assertEqual(sum(one["points"][0]["value"] for one in answer["series"]), 9 * 6 * step, group_by)
        largest = self.get("/api/v1/series", metric="opened", group_by="client_instance", limit=1)
        self.assertEqual(largest["series"][0]["instance"]["container"], "web-0")
        self.assertEqual(largest["series_left_out"], 2)

    def test_series_filter_and_range(self):
        answer = self.get("/api/v1/series", metric="failure_ratio", client="shop/web", server="shop/api", port=8080,
                          start=self.NOW - 20, end=self.NOW - 10)
        self.assertEqual(len(answer["series"]), 1)
        self.assertEqual([point["time_s"] for point in answer["series"][0]["points"]],
                         list(range(self.NOW - 20, self.NOW - 10)))
        self.assertTrue(all(point["value"] == 0.1 for point in answer["series"][0]["points"]))
        self.assertEqual(self.get("/api/v1/series", metric="opened", client="shop/web", port=1)["series"], [])

    def test_every_metric_that_a_refusal_names_is_accepted(self):
        names = self.refused("/api/v1/series", metric="nonsense").split("accepted: ")[1].split(", ")
        self.assertGreater(len(names), 40)
        for name in names:
            self.get("/api/v1/series", metric=name, start=self.NOW - 10)

    def test_alerts_past_the_limit_are_counted(self):
        answer = self.get("/api/v1/alerts", limit=1)
        self.assertEqual([one["alert"]["key"] for one in answer["alerts"]], ["firing-key"])
        self.assertEqual(answer["alerts_left_out"], 1)
        self.assertEqual(self.get("/api/v1/alerts")["alerts_left_out"], 0)

    def test_alerts_show_the_newest_transition_and_its_delivery(self):
        alerts = self.get("/api/v1/alerts")["alerts"]
        self.assertEqual([one["alert"]["key"] for one in alerts], ["firing-key", "resolved-key"])
        first = alerts[0]
        self.assertEqual((first["alert"]["state"], first["alert"]["severity"]), ("firing", "error"))
        self.assertEqual((first["alert"]["sequence"], first["alert"]["value"]), (2, 0.5))
        self.assertAlmostEqual(first["event_to_webhook_s"], 0.8)
        self.assertEqual([one["receiver"] for one in first["deliveries"]], ["pager"])
        self.assertEqual(alerts[1]["event_to_webhook_s"], 0)
        self.assertEqual([one["silenced_by"] for one in alerts], [["s-0123456789ab", "disks"], []])
        self.assertEqual([one["acknowledgement"] and one["acknowledgement"]["comment"] for one in alerts], ["looking", None])

    def test_alerts_filter(self):
        def keys(**parameters):
            return [one["alert"]["key"] for one in self.get("/api/v1/alerts", **parameters)["alerts"]]
        self.assertEqual(keys(state="resolved"), ["resolved-key"])
        self.assertEqual(keys(workload="shop/web"), ["firing-key"])
        self.assertEqual(keys(workload="shop/web", state="resolved"), [])
        self.assertEqual(keys(limit=1), ["firing-key"])
        self.assertEqual(keys(key="resolved-key"), ["resolved-key"])
        self.assertEqual(keys(key="other-key"), [])

    def test_search_finds_all_kinds_prefixes_first(self):
        def names(q, **more):
            return [(hit["kind"], hit["name"]) for hit in self.get("/api/v1/search", q=q, **more)["hits"]]
        self.assertEqual(names("DB"), [("workload", "shop/db"), ("instance", "db-0"), ("edge", "ops/batch -> shop/db:5432"),
                                       ("edge", "shop/api -> shop/db:5432")])
        self.assertEqual(names("node-3"), [("node", "node-3")])
        self.assertEqual(names("one-b"), [("zone", "zone-b")])
        self.assertEqual(names("15"), [("version", "15.4")])
        self.assertIn(("edge", "shop/web -> shop/api:8080"), names(":8080"))
        everything = self.get("/api/v1/search", limit=3)
        self.assertEqual((len(everything["hits"]), everything["hits_left_out"]), (3, 4 + 3 + 2 + 3 + 4 + 3 - 3))

    def test_events_are_what_changed_newest_first_by_workload_node_kind_and_time(self):
        deployed, added = self.get("/api/v1/events")["events"]
        self.assertEqual(("deployed", "shop/cart", "Deployment", "v3", "v4", "deployment shop/cart v3 → v4"),
                         tuple(deployed[name] for name in ("kind", "workload", "workload_kind", "before", "after", "text")))
        self.assertEqual(("node_added", "node-1", "node node-1 added"), tuple(added[name] for name in ("kind", "node", "text")))
        self.assertEqual(3600, deployed["time_s"] - added["time_s"])
        for query, wanted in (("workload=shop/cart", [deployed]), ("node=node-1", [added]), ("kind=node_added", [added]),
                              ("window=10m", [deployed]), (f"end={added['time_s']}", [added]), ("workload=none", []),
                              (f"start={added['time_s'] + 1}", [deployed])):
            self.assertEqual(wanted, self.get(f"/api/v1/events?{query}")["events"], query)
        self.assertEqual(1, self.get("/api/v1/events?limit=1")["events_left_out"])

    def test_receivers_say_how_they_do(self):
        team, on_call = self.get("/api/v1/receivers")["receivers"]
        self.assertEqual((team["name"], team["state"], team["delivered"], team["open"], team["last_error"]),
                         ("team", "ok", 12, 1, ""))
        self.assertEqual((on_call["type"], on_call["state"], on_call["waiting"], on_call["failed"], on_call["resumes_in_s"]),
                         ("pagerduty", "open", 7, 2, 12.5))
        self.assertEqual(on_call["failing_since_s"], team["last_delivery_s"] - 60)

    def test_agents_replace_what_their_task_had(self):
        agents = self.get("/api/v1/agents")["agents"]
        self.assertEqual([one["node"] for one in agents], ["node-1", "node-2", "node-3"])
        self.assertEqual((agents[0]["lost"], agents[0]["clock_offset_s"]), (5, -0.002))
        self.assertEqual(agents[1]["kernel"], "6.1.0-37-amd64")  # told once

    def test_an_agent_says_how_it_does_and_why(self):
        silent, live, degraded = self.get("/api/v1/agents")["agents"]
        self.assertEqual((silent["state"], silent["reason"], silent["lag_s"]), ("silent", "nothing came for 60 s", 60))
        self.assertEqual((live["state"], live["reason"], live["lag_s"]), ("live", "", 0.25))
        self.assertEqual((degraded["state"], degraded["reason"]), ("degraded", degraded["degraded"]))
        self.assertEqual([(one["control_id"], one["control_wanted"], one["control_pending"]) for one in (live, degraded)],
                         [("c-8a751d3fde94", "c-8a751d3fde94", False), ("", "c-8a751d3fde94", True)])

    def test_ledgers_come_when_they_are_asked_for(self):
        self.assertEqual([None] * 3, [one["ledger"] for one in self.get("/api/v1/agents")["agents"]])
        answer = self.get("/api/v1/agents", view="loss", limit=1)
        ledger = answer["agents"][0]["ledger"]
        self.assertEqual((905, 903, 5, 2, 3, 880, 0), tuple(ledger[name] for name in (
            "issued", "received", "lost", "lost_spool", "duplicate", "aggregated", "unexplained")))
        self.assertEqual((0.95, 0.99999), (ledger["completeness_1m"], ledger["completeness_1h"]))
        self.assertEqual((2905, 2913, 3), tuple(answer["total"][name] for name in ("issued", "received", "unexplained")))
        # whatever is left out of the list, others are of no agent at all
        self.assertEqual((0, 10, 10, 0), tuple(answer["others"][name] for name in ("issued", "received", "quarantined", "unexplained")))
        self.assertEqual([("ring", "close", 12), ("netlink", "nat", 3)], [
            (one["place"], one["kind"], one["events"]) for one in self.get("/api/v1/agents/node-2")["agent"]["ledger"]["losses"]])
        self.assertEqual(3, self.get("/api/v1/agents/node-3")["agent"]["ledger"]["unexplained"])

    def test_agents_filter_and_page(self):
        def nodes(**parameters):
            answer = self.get("/api/v1/agents", **parameters)
            return [one["node"] for one in answer["agents"]], answer["agents_left_out"]
        self.assertEqual(nodes(node="*-[13]"), ([], 0))
        self.assertEqual(nodes(node="*-?", zone="zone-a"), (["node-1", "node-2"], 0))
        self.assertEqual(nodes(region="eu-1", role="worker"), (["node-2"], 0))
        self.assertEqual(nodes(state="silent"), (["node-1"], 0))
        self.assertEqual(nodes(limit=2), (["node-1", "node-2"], 1))
        self.assertEqual(nodes(limit=2, after="node-2"), (["node-3"], 0))

    def test_one_agent_comes_with_its_listeners(self):
        answer = self.get("/api/v1/agents/node-2")
        self.assertEqual(answer["agent"], self.get("/api/v1/agents", node="node-2", view="loss")["agents"][0])
        self.assertEqual([(one["address"], one["port"], one["program"], one["drops"]) for one in answer["listeners"]],
                         [("0.0.0.0", 8080, "server", 17), ("::", 22, "sshd", 0)])
        self.assertEqual(self.get("/api/v1/agents/node-3")["listeners"], [])

    def test_an_agent_that_is_not_known_is_not_found(self):
        for path in ("/api/v1/agents/node-9", "/api/v1/agents/"):
            with self.assertRaises(urllib.error.HTTPError) as raised:
                self.get(path)
            with raised.exception as error:
                self.assertEqual((error.code, error.headers["content-type"]), (404, "application/problem+json"))
                self.assertIn("no agent of a node", json.load(error)["detail"])
        self.assertIn("accepted: none", self.refused("/api/v1/agents/node-1", node="node-2"))
        self.assertIn("up to 255 bytes", self.refused("/api/v1/agents/" + 256 * "x"))

    def test_wrong_parameters_are_refused_with_what_is_accepted(self):
        for path, parameters, wanted in (
                ("map", {"windw": 1}, 'no parameter "windw" here; accepted: workload, hops, window'),
                ("map", {"window": "abc"}, 'window is "abc"; accepted: a duration such as 60s or 5m, or seconds, from 1s to 720h'),
                ("map", {"window": "800h"}, "from 1s to 720h"), ("map", {"window": "-5"}, "from 1s to 720h"),
                ("map", {"window": "nan"}, "from 1s"), ("map", {"window": "1e3"}, "from 1s"),
                ("map", {"hops": 0}, "from 1 to 8"), ("map", {"hops": 9}, "from 1 to 8"),
                ("map", {"hops": "1.5"}, "a whole number"), ("map", {"limit": 2001}, "from 1 to 2000"),
                ("map", {"at": "yesterday"}, "2026-01-31T12:00:00Z"), ("map", {"at": "2026-02-30T00:00:00Z"}, "a time"),
                ("map", {"workload": "x" * 256}, "up to 255 bytes"),
                ("series", {}, 'metric is ""; accepted: failure_ratio'),
                ("series", {"metric": "opened", "group_by": "pod"}, "accepted: edge, client, server"),
                ("series", {"metric": "opened", "step": 1.5}, "accepted: whole seconds"),
                ("series", {"metric": "opened", "start": 20, "end": 10}, "a start before the end"),
                ("series", {"metric": "opened", "start": 1, "end": self.NOW, "step": 1}, "at most 11000 steps"),
                ("series", {"metric": "opened", "port": 65536}, "from 0 to 65535"),
                ("alerts", {"state": "open"}, "accepted: firing, resolved"),
                ("search", {"limit": 0}, "from 1 to"), ("agents", {"x": 1}, "accepted: node, zone, region, role, state, limit, after, view"),
                ("agents", {"state": "ready"}, "accepted: live, degraded, behind, silent"),
                ("agents", {"limit": 10001}, "from 1 to 10000")):
            self.assertIn(wanted, self.refused("/api/v1/" + path, **parameters))
        with self.assertRaises(urllib.error.HTTPError) as raised:
            urllib.request.urlopen(f"http://127.0.0.1:{self.port}/api/v1/map?hops=1&hops=2")
        with raised.exception as error:
            self.assertIn("more than once", json.load(error)["detail"])

    def test_times_are_rfc_3339_or_seconds(self):
        wanted = self.get("/api/v1/map", at=1799999985)
        for text in ("2027-01-15T07:59:45Z", "2027-01-15T08:59:45+01:00", "2027-01-15t02:29:45.000-05:30",
                     "1799999985.2"):
            self.assertEqual(self.get("/api/v1/map", at=text), wanted, text)


class Grpc(World):
    def same(self, method, rest, fields, **parameters):
        """The gRPC answer, printed by protobuf's own JSON code, is the REST answer."""
        answer = self.call(method, **fields)
        printed = json_format.MessageToDict(answer, including_default_value_fields=True,
                                            preserving_proto_field_name=True)
        self.assertEqual(self.normal(answer, printed), self.get(rest, **parameters), method)

    def normal(self, of, value):
        """protobuf's mapping to ours: 64-bit numbers, enum words, absent messages as null."""
        for field in of.DESCRIPTOR.fields:
            name = field.name
            many = field.label == field.LABEL_REPEATED
            if field.message_type:
                inner = getattr(of, name)
                if many:
                    value[name] = [self.normal(one, json) for one, json in zip(inner, value.get(name, []))]
                else:
                    value[name] = self.normal(inner, value[name]) if of.HasField(name) else None
            elif field.enum_type:
                prefix = re.sub(r"(?<!^)(?=[A-Z])", "_", field.enum_type.name).upper() + "_"
                value[name] = value[name].removeprefix(prefix).lower()
            elif field.cpp_type in (field.CPPTYPE_INT64, field.CPPTYPE_UINT64):
                value[name] = int(value[name])
        return value

    def test_grpc_and_rest_give_the_same_answers(self):
        self.same("Map", "/api/v1/map", {})
        self.same("Map", "/api/v1/map", {"workload": "shop/web", "hops": 2, "window_s": 30, "zone": "zone-a"},
                  workload="shop/web", hops=2, window="30s", zone="zone-a")
        self.same("Series", "/api/v1/series", {"metric": "connect_p95", "group_by": "client_instance", "step_s": 10},
                  metric="connect_p95", group_by="client_instance", step="10s")
        self.same("Series", "/api/v1/series", {"metric": "opened", "group_by": "lane", "limit": 1},
                  metric="opened", group_by="lane", limit=1)
        self.same("Alerts", "/api/v1/alerts", {})
        self.same("Alerts", "/api/v1/alerts", {"state": "firing"}, state="firing")
        self.same("Search", "/api/v1/search", {"q": "a"}, q="a")
        self.same("Agents", "/api/v1/agents", {})
        self.same("Agents", "/api/v1/agents", {"zone": "zone-a", "limit": 1}, zone="zone-a", limit=1)
        self.same("Agents", "/api/v1/agents", {"view": "loss"}, view="loss")
        self.same("Agent", "/api/v1/agents/node-2", {"node": "node-2"})

    def test_a_wrong_request_is_an_invalid_argument(self):
        for method, fields in (("Map", {"hops": 9}), ("Map", {"window_s": -1}), ("Map", {"window_s": float("nan")}),
                               ("Map", {"at_s": float("inf")}), ("Series", {"metric": "x"}),
                               ("Series", {"metric": "opened", "port": 70000}), ("Alerts", {"state": "open"}),
                               ("Search", {"q": "x" * 9000})):
            with self.assertRaises(grpc.RpcError) as raised:
                self.call(method, **fields)
            self.assertEqual(raised.exception.code(), grpc.StatusCode.INVALID_ARGUMENT, (method, fields))

    def test_an_agent_that_is_not_known_is_not_found(self):
        for node in ("node-9", ""):
            with self.assertRaises(grpc.RpcError) as raised:
                self.call("Agent", node=node)
            self.assertEqual(raised.exception.code(), grpc.StatusCode.NOT_FOUND)


class OpenApi(World):
    # The daemon's: see tests/pipeline/control_test.py, monitors_test.py, receivers_test.py and silences_test.py.
    OTHERS = ("/api/v1/agents/control", "/api/v1/agents/control/{id}", "/api/v1/monitors", "/api/v1/monitors/{name}",
              "/api/v1/receivers/test", "/api/v1/silences", "/api/v1/silences/{id}", "/api/v1/alerts/{key}/ack")

    @classmethod
    def served(cls, document):
        return {path: item for path, item in document["paths"].items()
                if path.startswith("/api/") and path not in cls.OTHERS}

    def document(self):
        return self.get("/openapi.json")

    def resolve(self, schema):
        name = schema.get("$ref", "").removeprefix("#/components/schemas/")
        return self.document_["components"]["schemas"][name] if name else schema

    def fits(self, value, schema, where):
        schema = self.resolve(schema)
        if "oneOf" in schema:
            schema = {"type": "null"} if value is None else self.resolve(schema["oneOf"][0])
        kinds = {"object": dict, "array": list, "string": str, "boolean": bool, "null": type(None),
                 "number": (int, float), "integer": int}
        self.assertIsInstance(value, kinds[schema["type"]], where)
        if "enum" in schema:
            self.assertIn(value, schema["enum"], where)
        if schema["type"] == "object" and "properties" in schema:
            self.assertEqual(list(value), list(schema["properties"]), where)
            self.assertEqual(set(value), set(schema["required"]), where)
            for name, inner in value.items():
                self.fits(inner, schema["properties"][name], f"{where}.{name}")
        if schema["type"] == "array":
            for inner in value:
                self.fits(inner, schema["items"], where + "[]")

    def test_answers_fit_the_document(self):
        self.document_ = self.document()
        asked = {"/api/v1/series": {"metric": "opened", "group_by": "client_instance"}, "/api/v1/search": {"q": ""}}
        for path, item in self.served(self.document_).items():
            schema = item["get"]["responses"]["200"]["content"]["application/json"]["schema"]
            answer = self.get(path.replace("{node}", "node-2"), **asked.get(path, {}))
            self.assertTrue(any(answer.values()), path)  # not fitting for being empty
            self.fits(answer, schema, path)

    def test_the_document_names_exactly_what_is_served(self):
        document = self.document()
        self.assertEqual(set(document["paths"]), {"/api/v1/" + name for name in ("search", "map", "series", "alerts", "agents",
                                                                                 "agents/{node}", "receivers", "events")}
                         | {*self.OTHERS, "/openapi.json", "/healthz", "/readyz", "/metrics"})
        for path in set(document["paths"]) - set(self.OTHERS):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path.replace('{node}', 'node-1')}").close()
            except urllib.error.HTTPError as error:
                with error:
                    self.assertNotIn(error.code, (404, 405), path)

    def test_documented_parameters_are_those_that_are_accepted(self):
        for path, item in self.served(self.document()).items():
            names = [one["name"] for one in item["get"]["parameters"] if one["in"] == "query"]
            self.assertEqual(", ".join(names) or "none", self.refused(path, nobody=1).split("accepted: ")[1])
            inside = [one["name"] for one in item["get"]["parameters"] if one["in"] == "path" and one["required"]]
            self.assertEqual(re.findall(r"{(\w+)}", path), inside)

    def test_every_reference_leads_somewhere(self):
        text = json.dumps(self.document())
        for name in set(re.findall(r'"#/components/schemas/(\w+)"', text)):
            self.assertIn(name, self.document()["components"]["schemas"])


if __name__ == "__main__":
    unittest.main()
