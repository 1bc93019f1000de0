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
        end = out[0].index("RECEIVED") + len("RECEIVED")
        self.assertEqual({line[end - 1] for line in out[1:]}, {"s"})  # right-aligned "/s"

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

    def test_alerts_and_agents_are_listed(self):
        alerts = self.run_cli("alerts", "--state", "firing").stdout.splitlines()
        self.assertEqual(len(alerts), 2)
        for word in ("error", "2027-01-15T07:59:35Z", "server_instance api-0", "pager", "800.0 ms"):
            self.assertIn(word, alerts[1])
        agents = self.run_cli("agents").stdout.splitlines()
        self.assertEqual([line.split()[0] for line in agents], ["NODE", "node-1", "node-2", "node-3"])

    def test_status_tells_reasons_and_figures_and_fails_when_not_ready(self):
        result = self.run_cli("status", status=1)
        self.assertRegex(result.stdout, r"lag +0\.75 s")
        self.assertRegex(result.stdout, r"agents +3")
        self.assertIn("Not ready: reading state", result.stderr)
        document = json.loads(self.run_cli("status", "-o", "json", status=1).stdout)
        self.assertEqual((document["ready"], document["metrics"]["millrace_events_lost_total"]), (False, 5))

    def test_wrong_usage_ends_with_2_and_says_what_is_right(self):
        for arguments, wanted in ((["frob"], "accepted: map, top"), ([], "which command"), (["map", "--by", "x"], "map has no --by"),
                                  (["top", "--by", "x"], "accepted: bytes"), (["map", "a", "b"], 'takes no "b"'),
                                  (["top", "--limit", "x"], "from 1 to 2000"), (["map", "-o", "xml"], "accepted: table"),
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
        self.assertIn("Exit status: 0 done", self.run_cli("help").stdout)

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
