#!/usr/bin/python3
"""millrace backtest MONITOR: what it asks of the millraced beside it, and what it shows of the answer. Here that one is a
script; the real one is tests/pipeline/backtest_test.py's."""
import json, os, pathlib, shutil, subprocess, tempfile, time, unittest

BUILD = os.path.abspath(os.environ.get("MILLRACE_BUILD", "build/dev"))
START = 1800000000


def incident(key, started, ended, **more):
    alert = {"key": key, "state": "resolved" if ended else "firing", "severity": "error", "monitor": "cart refuses",
             "client": "shop/web", "server": "shop/cart", "port": 7070, "unit": "ratio", "started_ns": started * 10**9,
             "ended_ns": ended * 10**9, "suspects": [{"kind": "server_node", "name": "node-7"}]}
    return {"alert": {**alert, **more.pop("alert", {})}, "value": 0.25, "lasted_s": more.pop("lasted_s", 250),
            "began_before": more.pop("began_before", False), "told": more.pop("told", []), **more}


ANSWER = {"from_ns": START * 10**9, "to_ns": (START + 3600) * 10**9, "read_from_ns": 0, "records": 5, "incidents": [
    incident("a", START - 10, START + 240, began_before=True,
             told=[{"key": "x", "monitor": "baseline/failure_ratio", "started_ns": 1, "ended_ns": 2}]),
    incident("b", START + 600, 0, lasted_s=8000, alert={"client": "", "suspects": [], "severity": "warning"})],
    "summary": {"incidents": 2, "firing": 1, "left_out": 0, "seconds": 8250, "longest_s": 8000, "overlapping": 1,
                "told": 3, "told_left_out": 0}}

SCRIPT = """#!/bin/sh
printf '%s\\n' "$@" > "$(dirname "$0")/words"
echo "millraced: read it" >&2
cat "$(dirname "$0")/answer"
exit $(cat "$(dirname "$0")/status")
"""


class Replay(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)
        shutil.copy(os.path.join(BUILD, "bin", "millrace"), self.folder)
        (self.folder / "millraced").write_text(SCRIPT)
        (self.folder / "millraced").chmod(0o755)
        self.answers(json.dumps(ANSWER))

    def answers(self, text, status=0):
        (self.folder / "answer").write_text(text + "\n")
        (self.folder / "status").write_text(str(status))

    def run_cli(self, *words, status=0, **environment):
        done = subprocess.run([self.folder / "millrace", "backtest", *words], capture_output=True, text=True, timeout=30,
                              env={**os.environ, "LC_ALL": "C.UTF-8", **environment})
        self.assertEqual(status, done.returncode, (words, done.stdout, done.stderr))
        return done

    def words(self):
        return (self.folder / "words").read_text().splitlines()

    def test_the_range_and_the_monitor_are_handed_on(self):
        self.run_cli("cart refuses", "--from", "2027-01-15T08:00:00Z", "--to", str(START + 60), "--config", "/etc/x.yaml",
                     "--set", "a=b", "--set", "c=d")
        self.assertEqual(["--config", "/etc/x.yaml", "--set", "a=b", "--set", "c=d", "--backtest", "cart refuses",
                          "--from", f"{START}000000000", "--to", f"{START + 60}000000000"], self.words())
        self.run_cli("-f", "m.yaml", "--from", "now-90m")
        words = self.words()
        self.assertEqual(["--backtest-file", "m.yaml", "--from"], words[:3])
        self.assertEqual(5400 * 10**9, int(words[5]) - int(words[3]))
        self.assertAlmostEqual(time.time(), int(words[5]) / 1e9, delta=60)

    def test_incidents_are_a_table_with_a_summary_below(self):
        done = self.run_cli("cart refuses", "--from", "now-1h")
        lines = done.stdout.splitlines()
        self.assertEqual("STARTED ENDED LASTED SEVERITY MONITOR EDGE VALUE UNIT SUSPECT TOLD".split(), lines[0].split())
        for words, line in ((("<2027-01-15T07:59:50Z", "2027-01-15T08:04:00Z", "4m10s", "error", "cart refuses",
                              "shop/web -> shop/cart:7070", "0.25", "ratio", "server_node node-7",
                              "baseline/failure_ratio"), lines[1]),
                            (("2027-01-15T08:10:00Z", "2h13m", "warning", "all -> shop/cart:7070"), lines[2])):
            for word in words:
                self.assertIn(word, line)
        self.assertEqual(["", "2 incidents from 2027-01-15T08:00:00Z to 2027-01-15T09:00:00Z, 2h17m in all, 2h13m the "
                          "longest, 1 still firing at the end; 1 of them overlaps incidents that were told at the same "
                          "servers, of 3 told in all."], lines[3:])
        self.assertEqual("millraced: read it\n", done.stderr)

    def test_programs_get_the_answer_as_it_came_or_an_incident_a_line(self):
        self.assertEqual(json.dumps(ANSWER) + "\n", self.run_cli("m", "--from", "now-1h", "-o", "json").stdout)
        lines = self.run_cli("m", "--from", "now-1h", "-o", "jsonl").stdout.splitlines()
        self.assertEqual(["a", "b"], [json.loads(line)["alert"]["key"] for line in lines])

    def test_nothing_is_said_as_such_and_what_found_no_room_is_told(self):
        nothing = {**ANSWER, "incidents": [], "summary": {**ANSWER["summary"], "incidents": 0, "firing": 0,
                                                         "overlapping": 0, "left_out": 7, "told_left_out": 1}}
        self.answers(json.dumps(nothing))
        done = self.run_cli("m", "--from", "now-1h")
        self.assertRegex(done.stdout, r"^0 incidents from \S+ to \S+; 0 of them overlap incidents")
        self.assertIn("7 more incidents found no room", done.stderr)
        self.assertIn("overlaps may be missing", done.stderr)

    def test_what_millraced_ends_with_is_the_status_and_its_words_are_shown(self):
        for status, shown in ((1, 1), (2, 2), (3, 3), (7, 1)):
            self.answers("", status)
            self.assertIn("millraced: read it", self.run_cli("m", "--from", "now-1h", status=shown).stderr)
        for answer in ("", "{}", "no JSON"):
            self.answers(answer)
            self.assertIn("of one version", self.run_cli("m", "--from", "now-1h", status=1).stderr)
        (self.folder / "millraced").write_text("#!/bin/sh\nkill -9 $$\n")
        self.assertIn("signal 9", self.run_cli("m", "--from", "now-1h", status=1).stderr)

    def test_without_millraced_it_is_said_where_there_is_one(self):
        (self.folder / "millraced").unlink()
        done = self.run_cli("m", "--from", "now-1h", status=1, PATH="/nowhere")
        self.assertIn("runs where millraced and its configuration are", done.stderr)

    def test_wrong_use_exits_with_2_and_says_what_is_right(self):
        for words, wanted in (((), "backtest takes MONITOR"), (("m",), "needs --from"),
                              (("m", "-f", "x", "--from", "now-1h"), "backtest takes MONITOR"),
                              (("m", "--from", "yesterday"), "now-12h"), (("m", "--from", "now-12"), "now-12h"),
                              (("m", "--from", "now-1h", "--to", "-5"), "--to -5 is no time"),
                              (("m", "--from", "now", "--to", "now-1h"), "--from is not before --to"),
                              (("m", "--from", "2200-01-01T00:00:00Z"), "--to, which is now"),
                              (("m", "n", "--from", "now-1h"), 'takes no "n"'),
                              (("m", "--from", "now-1h", "--sensitivity", "3"), "belong to backtest --csv"),
                              (("--csv", "-", "--from", "now-1h"), "belong to a backtest of the log"),
                              (("m", "--csv", "-"), "belong to a backtest of the log")):
            done = self.run_cli(*words, status=2)
            self.assertIn(wanted, done.stderr, words)
            self.assertEqual("", done.stdout)
        self.assertFalse((self.folder / "words").exists())


if __name__ == "__main__":
    unittest.main()
