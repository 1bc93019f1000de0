#!/usr/bin/python3
"""The command line over the small world of tests/api/query/world."""
import json, os, pty, re, select, signal, subprocess, time, unittest

BUILD = os.environ.get("MILLRACE_BUILD", "build/dev")
WORLD, MILLRACE = os.path.join(BUILD, "tests", "query-world"), os.path.join(BUILD, "bin", "millrace")


class Cli(unittest.TestCase):
    ARGUMENTS = ["1800000005"]

    @classmethod
    def setUpClass(cls):
        cls.server = subprocess.Popen([WORLD, *cls.ARGUMENTS], stdout=subprocess.PIPE, text=True)
        cls.url = f"http://127.0.0.1:{int(cls.server.stdout.readline())}"
        cls.addClassCleanup(cls.server.stdout.close)

    @classmethod
    def tearDownClass(cls):
        cls.server.terminate()
        assert cls.server.wait(10) == 0

    def run_cli(self, *arguments, status=0, **environment):
        result = subprocess.run([MILLRACE, *arguments], capture_output=True, text=True, timeout=30,
                                env={**os.environ, "MILLRACE_SERVER": self.url, "LC_ALL": "C.UTF-8", **environment})
        self.assertEqual(result.returncode, status, (arguments, result.stderr))
        return result


class Answers(Cli):
    def test_the_map_is_an_aligned_table_with_human_units(self):
        out = self.run_cli("map").stdout.splitlines()
        self.assertEqual(out[0].split()[:4], ["EDGE", "SENT", "RECEIVED", "CONN/S"])
        self.assertIn("shop/web -> shop/api:8080", out[1])
        self.assertIn("2.9 KiB/s", out[1])
        self.assertIn("50.1 ms", out[1])
        self.assertTrue(out[1].endswith("firing"))
        self.assertRegex(out[0], r"JOINED +COMPLETE +ALERT$")
        self.assertRegex(out[1], r" 95\.00 % +firing$")
        end = out[0].index("RECEIVED") + len("RECEIVED")
        self.assertEqual({line[end - 1] for line in out[1:]}, {"s"})  # right-aligned "/s"

    def test_a_wide_map_says_how_the_ends_were_named(self):
        out = self.run_cli("map", "-o", "wide").stdout.splitlines()
        self.assertRegex(out[0], r"ALERT +NAMED BY$")
        self.assertRegex(out[1], r"firing +workload -> workload$")

    def test_a_workload_and_hops_select(self):
        rows = [json.loads(line) for line in self.run_cli("map", "shop/web", "-o", "jsonl").stdout.splitlines()]
        self.assertEqual([row["edge"]["client"] for row in rows], ["shop/web"])
        rows = json.loads(self.run_cli("map", "shop/web", "--hops", "2", "-o", "json").stdout)["edges"]
        self.assertEqual([row["edge"]["client"] for row in rows], ["shop/web", "shop/api"])
        self.assertIn("1 more edges; --limit", self.run_cli("map", "shop/web", "--hops", "2", "--limit", "1").stderr)

    def test_top_ranks_by_what_is_asked(self):
        def clients(*arguments):
            return [row["edge"]["client"] for row in json.loads(self.run_cli("top", "-o", "json", *arguments).stdout)]
        self.assertEqual(clients("--by", "failures"), ["shop/web", "shop/api", "ops/batch"])
        self.assertEqual(clients("--limit", "1"), ["shop/web"])
        self.assertEqual(len(self.run_cli("top").stdout.splitlines()), 4)  # once, as stdout is no terminal

    def test_alerts_are_listed(self):
        alerts = self.run_cli("alerts", "--state", "firing").stdout.splitlines()
        self.assertEqual(len(alerts), 2)
        for word in ("error", "2027-01-15T07:59:35Z", "server_instance api-0", "100 %", "pager", "800.0 ms"):
            self.assertIn(word, alerts[1])
        self.assertRegex(alerts[0], r"SUSPECT +DIAGNOSIS +COMPLETE.*SILENCED BY +ACKNOWLEDGED$")
        self.assertTrue(alerts[1].startswith("firing-key "), alerts[1])
        self.assertTrue(alerts[1].endswith("  s-0123456789ab, disks  ann: looking"), alerts[1])
        self.assertIn("alerts ack KEY", self.run_cli("alerts", "ack", status=2).stderr)
        self.assertIn("one WORKLOAD", self.run_cli("alerts", "a", "b", status=2).stderr)
        self.assertIn("belong to alerts ack", self.run_cli("alerts", "--comment", "x", status=2).stderr)
        self.assertIn("1 more alerts; --limit shows them.", self.run_cli("alerts", "--limit", "1").stderr)

    def test_agents_say_how_they_do_and_why(self):
        lines = self.run_cli("agents").stdout.splitlines()
        self.assertEqual(lines[0].split(), "NODE ZONE STATE VERSION KERNEL CPU BUDGET LAG LOST CONTROL WHY".split())
        self.assertEqual([line.split()[:3] for line in lines[1:]],
                         [["node-1", "zone-a", "silent"], ["node-2", "zone-a", "live"], ["node-3", "zone-b", "degraded"]])
        for line, words in ((1, "60.0 s    12  -                       nothing came for 60 s"),
                            (2, "6.1.0-37-amd64   0.04 %  0.50 %  250 ms     0  c-8a751d3fde94          -"),
                            (3, "c-8a751d3fde94 pending  to keep the CPU budget counters of open sockets are read four times as rarely; dropped packets are not told")):
            self.assertTrue(lines[line].endswith(words), lines[line])
        wide = self.run_cli("agents", "-o", "wide").stdout.splitlines()
        for word in ("REGION", "INSTANCE", "SOCKETS", "LISTENERS", "LAST SEEN", "DROPPED", "CLOCK"):
            self.assertIn(word, wide[0])
        for word in ("eu-1", "worker", "i-0123456789abcdef0", "m5.2xlarge", "16.0 GiB", "2027-01-15T08:00:04Z"):
            self.assertIn(word, wide[2])
        self.assertIn("-2.0 ms", wide[1])

    def test_losses_balance_or_say_by_how_much_they_do_not(self):
        result = self.run_cli("agents", "--loss")
        lines = result.stdout.splitlines()
        self.assertEqual(lines[0].split(), "NODE STATE RING NETLINK ISSUED SPOOL TRANSIT RECEIVED DUPLICATE QUARANTINED REFUSED LATE "
                                           "PENDING AGGREGATED 1 MIN 1 H BALANCE".split())
        self.assertEqual([line.split() for line in lines[1:]], [
            "node-1 silent 7 0 905 2 3 903 3 0 0 20 0 880 95.00 % >99.99 % 0".split(),
            "node-2 live 0 0 1000 0 0 1000 0 0 0 0 0 1000 100 % 100 % 0".split(),
            "node-3 degraded 0 0 1000 0 0 1000 0 0 0 0 0 997 100 % 100 % 3".split(),
            "(others) - 0 0 0 0 0 10 0 10 0 0 0 0 - - 0".split(),
            "(all) all 7 0 2905 2 3 2913 3 10 0 20 0 2877 95.00 % >99.99 % 3".split()])
        self.assertEqual([line.split(":")[0] for line in result.stderr.splitlines()], ["node-3", "(all)"])
        self.assertIn("node-3: 3 events are unexplained (not issued 0, received and gone 3)", result.stderr)
        one = self.run_cli("agents", "--loss", "node-2").stdout
        self.assertRegex(one, r"^NODE.*\nnode-2 .*\n\nPLACE +KIND +EVENTS\nring +close +12\nnetlink +nat +3\n$")
        self.assertEqual(json.loads(self.run_cli("agents", "--loss", "-o", "json").stdout)["total"]["unexplained"], 3)
        self.assertEqual([json.loads(line)["ledger"]["issued"] for line in
                          self.run_cli("agents", "--loss", "-o", "jsonl", "--zone", "zone-a").stdout.splitlines()], [905, 1000])
        self.assertIn('node "node-9"', self.run_cli("agents", "--loss", "node-9", status=1).stderr)

    def test_agents_are_chosen_by_flags(self):
        def nodes(*flags):
            return [json.loads(line)["node"] for line in self.run_cli("agents", "-o", "jsonl", *flags).stdout.splitlines()]
        self.assertEqual(nodes("--zone", "zone-a"), ["node-1", "node-2"])
        self.assertEqual(nodes("--node", "*-3"), ["node-3"])
        self.assertEqual(nodes("--state", "live", "--role", "worker", "--region", "eu-1"), ["node-2"])
        self.assertIn("1 more agents; --limit shows them.", self.run_cli("agents", "--limit", "2").stderr)
        self.assertIn("none that match", self.run_cli("agents", "--zone", "nowhere").stderr)
        self.assertIn("accepted: live, degraded", self.run_cli("agents", "--state", "x", status=2).stderr)

    def test_one_agent_is_shown_with_its_listeners(self):
        out = self.run_cli("agents", "show", "node-2").stdout
        lines = {line.split("  ")[0]: line.split("  ", 1)[-1].strip() for line in out.splitlines() if line}
        for title, words in (("Node", "node-2"), ("State", "live"), ("Labels", "rack=r7, team=shop"),
                             ("System", "Debian GNU/Linux 12 (bookworm), 6.1.0-37-amd64, x86_64"),
                             ("Size", "8 CPUs, 16.0 GiB"), ("Cloud", "aws, m5.2xlarge, i-0123456789abcdef0"),
                             ("CPU", "0.04 % of the node, budget 0.50 %"), ("Programs", "14 of 14 attached"),
                             ("Last seen", "2027-01-15T08:00:04Z, 250 ms behind"),
                             ("Booted", "2027-01-03T08:00:05Z"), ("Control", "c-8a751d3fde94")):
            self.assertEqual(lines[title], words, title)
        self.assertRegex(out, r"\n\nADDRESS +PORT +PROGRAM +PID +BACKLOG +MAX +DROPS +NETNS +WORKLOAD\n"
                              r"0\.0\.0\.0 +8080 +server +4242 +3 +128 +17 +4026531840 +shop/api\n"
                              r":: +22 +sshd +801 +0 +128 +0 +4026531840 +ssh\.service\n$")
        out = self.run_cli("agents", "show", "node-3").stdout
        self.assertRegex(out, r"State +degraded: to keep the CPU budget")
        self.assertRegex(out, r"Missing +BPF run times are not measured")
        self.assertRegex(out, r"Control +c-8a751d3fde94 pending")
        self.assertNotIn("ADDRESS", out)
        self.assertEqual(json.loads(self.run_cli("agents", "show", "node-1", "-o", "json").stdout)["agent"]["lost"], 5)
        self.assertIn('node "node-9"', self.run_cli("agents", "show", "node-9", status=1).stderr)

    def test_status_tells_reasons_and_figures_and_fails_when_not_ready(self):
        result = self.run_cli("status", status=1)
        self.assertRegex(result.stdout, r"lag +0\.75 s")
        self.assertRegex(result.stdout, r"agents +3")
        self.assertRegex(result.stdout, r"alerts firing +1\n")  # what millrace alerts shows, not episodes
        self.assertRegex(result.stdout, r"receiver team +ok\n")
        self.assertRegex(result.stdout, r"receiver on-call +open, 7 waiting: the receiver answered 503; trying again")
        self.assertIn("Not ready: reading state", result.stderr)
        document = json.loads(self.run_cli("status", "-o", "json", status=1).stdout)
        self.assertEqual((document["ready"], document["metrics"]["millrace_events_lost_total"]), (False, 5))
        self.assertEqual([one["waiting"] for one in document["receivers"]], [0, 7])
        self.assertEqual(document["alerts_firing"], 1)

    def test_wrong_usage_ends_with_2_and_says_what_is_right(self):
        for arguments, wanted in ((["frob"], "accepted: map, top"), ([], "which command"), (["map", "--by", "x"], "map has no --by"),
                                  (["top", "--by", "x"], "accepted: bytes"), (["map", "a", "b"], 'takes no "b"'),
                                  (["top", "--limit", "x"], "from 1 to 2000"), (["map", "-o", "xml"], "accepted: table, wide, json"),
                                  (["agents", "show"], "agents show NODE"), (["agents", "show", "a/b"], "agents show NODE"),
                                  (["agents", "frob"], "agents takes show NODE"), (["agents", "--budget", "1"], "belong to agents set"),
                                  (["agents", "show", "a", "--zone", "b"], "belong to agents set"),
                                  (["agents", "set", "--limit", "1"], "belong to agents alone"),
                                  (["agents", "--loss", "a", "b"], "takes one NODE"),
                                  (["agents", "--loss", "--budget", "1"], "belong to agents set"),
                                  (["agents", "--node", "a", "--node", "b"], "--node once"),
                                  (["alerts", "--state", "x"], "accepted: firing, resolved"), (["map", "--frob"], "frob"),
                                  (["map", "--window", "x"], "a duration such as"), (["-s", "nonsense://", "map"], "is no address"),
                                  (["top", "--watch", "x"], "such as 2s")):
            result = self.run_cli(*arguments, status=2)
            self.assertIn(wanted, result.stderr)
            self.assertEqual(result.stdout, "")

    def test_an_unreachable_server_ends_with_3_and_says_what_to_do(self):
        result = self.run_cli("map", status=3, MILLRACE_SERVER="http://127.0.0.1:1")
        self.assertIn("Start millraced, or name its address", result.stderr)

    def test_the_flag_wins_over_the_environment(self):
        self.run_cli("agents", "--server", self.url, MILLRACE_SERVER="http://127.0.0.1:1")

    def test_version_and_help(self):
        self.assertRegex(self.run_cli("version").stdout, r"^millrace \d+\.\d+\.\d+\n$")
        general = self.run_cli("help").stdout
        for words in ("Exit status: 0 done", "MILLRACE_TOKEN", "--server URL", "--ca FILE", "localize", "COMMAND --help"):
            self.assertIn(words, general)
        self.assertNotIn("--csv", general)
        self.assertEqual(general, self.run_cli("--help").stdout)
        self.assertIn("no command frob", self.run_cli("help", "frob", status=2).stderr)

    def test_a_commands_help_has_its_own_flags_and_those_of_all(self):
        def flags(*words):
            return re.findall(r"^ .{4} --([a-z-]+)", self.run_cli(*words).stdout, re.M)
        of_all = ["server", "ca", "output", "help", "version"]
        for command, own in (("top", "window zone limit by watch once"), ("alerts", "comment created-by limit state"), ("status", ""),
                             ("localize", "csv actual expected attributes top")):
            self.assertEqual(sorted(flags(command, "--help")), sorted(own.split() + of_all), command)
        self.assertEqual(flags("-o", "json", "--help", "top"), flags("top", "--help"))
        self.assertEqual(flags("help", "top"), flags("top", "--help"))
        self.assertTrue(self.run_cli("map", "--help").stdout.startswith("Usage: millrace map [WORKLOAD] [FLAG]...\n"))

    def terminal(self, arguments, enough, **environment):
        """What comes to a terminal until `enough` of it has come; then an interrupt."""
        main, end = pty.openpty()
        process = subprocess.Popen([MILLRACE, *arguments], stdout=end, stderr=subprocess.PIPE,
                                   env={**os.environ, "MILLRACE_SERVER": self.url, **environment})
        os.close(end)
        out, deadline = b"", time.monotonic() + 20
        while not enough(out) and time.monotonic() < deadline:
            if select.select([main], [], [], 0.2)[0]:
                try:
                    out += os.read(main, 65536)
                except OSError:
                    break
        process.send_signal(signal.SIGINT)
        process.stderr.read()
        process.stderr.close()
        self.assertEqual(process.wait(10), 0)
        os.close(main)
        return out.decode()

    def test_top_refreshes_on_a_terminal_until_interrupted(self):
        out = self.terminal(["top", "--watch", "100ms"], lambda out: out.count(b"\033[H") >= 3)
        self.assertGreaterEqual(out.count("EDGE"), 3)
        self.assertIn("\033[1m", out)

    def test_no_color_is_obeyed(self):
        out = self.terminal(["top", "--watch", "100ms"], lambda out: out.count(b"firing") >= 1, NO_COLOR="1")
        self.assertNotIn("\033[1m", out)
        self.assertIn("EDGE", out)


class Many(Cli):
    ARGUMENTS = ["1800000005", "many"]

    def test_top_finds_what_fails_among_many_and_says_what_it_left_out(self):
        result = self.run_cli("top", "--by", "failures", "--limit", "3")
        self.assertIn("ops/probe -> shop/gone:9", result.stdout)
        self.assertIn("1997 more edges; --limit shows them.", result.stderr)
        self.assertIn("104 edges are left out before they are ranked: 2000 are", result.stderr)
        self.assertIn("104 edges are left out", self.run_cli("top", "-o", "json").stderr)


class Nothing(Cli):
    ARGUMENTS = ["1800000005", "empty"]

    def test_an_empty_result_says_why_it_may_be_empty(self):
        for arguments, wanted in ((["map"], "no agent"), (["map", "a"], "--window 1h"), (["top"], "no agent"),
                                  (["alerts"], "baselines still learn"), (["agents"], "Start millrace-agent")):
            result = self.run_cli(*arguments)
            self.assertEqual(result.stdout, "")
            self.assertIn(wanted, result.stderr)


if __name__ == "__main__":
    unittest.main()
