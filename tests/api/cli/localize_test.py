#!/usr/bin/python3
"""millrace localize: rows of a CSV file in, ranked explanations out, without a server."""
import csv, io, itertools, json, os, random, subprocess, unittest

MILLRACE = os.path.join(os.environ.get("MILLRACE_BUILD", "build/dev"), "bin", "millrace")
FIGURES = ("--actual", "now", "--expected", "usual")


def table(header, rows):
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    return text.getvalue()


def shop(seed=1):
    """Leaves of which those of version v2 in zone "b, old" are at a third."""
    draw = random.Random(seed)
    for zone, version, node in itertools.product(["a", "b, old", 'c "new"'], ["v1", "v2", "v3"], range(20)):
        usual = 10 + 100 * draw.random()
        share = 0.33 if (zone, version) == ("b, old", "v2") else 1
        yield [zone, version, f"n{node}", usual * share * (1 + 0.05 * draw.gauss(0, 1)), usual]


SHOP = ["zone", "version", "node", "now", "usual"]


class Localize(unittest.TestCase):
    def run_cli(self, text, *arguments, status=0):
        result = subprocess.run([MILLRACE, "localize", "--csv", "-", *arguments], input=text, capture_output=True,
                                text=True, timeout=60, env={**os.environ, "MILLRACE_SERVER": "http://127.0.0.1:1"})
        self.assertEqual(result.returncode, status, (arguments, result.stderr))
        return result

    def sets(self, text, *arguments):
        result = self.run_cli(text, *FIGURES, "-o", "json", *arguments)
        return json.loads(result.stdout)["sets"], result.stderr

    def test_the_first_set_is_the_best_explanation_and_others_come_after_it(self):
        sets, told = self.sets(table(SHOP, shop()))
        self.assertEqual(sets[0]["combinations"], [{"zone": "b, old", "version": "v2"}])
        self.assertEqual(told, "")
        self.assertGreater(sets[0]["explained"], 0.5)
        scores = [one["score"] for one in sets]
        self.assertEqual(scores, sorted(scores, reverse=True))
        self.assertLessEqual(len(sets), 5)
        self.assertEqual(len(self.sets(table(SHOP, shop()), "--top", "1")[0]), 1)

    def test_a_line_is_a_set_and_a_table_is_for_people(self):
        text = table(SHOP, shop())
        lines = self.run_cli(text, *FIGURES, "-o", "jsonl").stdout.splitlines()
        self.assertEqual([json.loads(line) for line in lines], self.sets(text)[0])
        rows = self.run_cli(text, *FIGURES).stdout.splitlines()
        self.assertEqual(rows[0].split(), ["SCORE", "EXPLAINED", "COMBINATIONS"])
        self.assertIn("zone=b, old version=v2", rows[1])

    def test_only_the_attributes_that_are_named_explain(self):
        text = table(SHOP, shop())
        sets, told = self.sets(text, "--attributes", "version")
        self.assertEqual(sets[0]["combinations"], [{"version": "v2"}])
        self.assertEqual(told, "177 rows added to others with the same attributes.\n")
        self.assertIn('no column "rack"', self.run_cli(text, *FIGURES, "--attributes", "zone,rack", status=2).stderr)
        self.run_cli(text, *FIGURES, "--attributes", "zone,zone", status=2)
        self.run_cli(text, *FIGURES, "--attributes", "now", status=2)
        self.run_cli(text, *FIGURES, "--attributes", "", status=2)

    def test_a_change_of_everything_names_no_attribute(self):
        rows = [[*row[:3], row[4] * (0.4 + 0.01 * (i % 5)), row[4]] for i, row in enumerate(shop())]
        sets, _ = self.sets(table(SHOP, rows))
        self.assertEqual([one["combinations"] for one in sets], [[{}]])
        self.assertIn("everything", self.run_cli(table(SHOP, rows), *FIGURES).stdout)

    def test_nothing_is_said_when_nothing_differs(self):
        rows = [[*row[:3], row[4], row[4]] for row in shop()]
        self.assertEqual(self.sets(table(SHOP, rows))[0], [])
        self.assertIn("Nothing departs", self.run_cli(table(SHOP, rows), *FIGURES).stderr)

    def test_rows_without_figures_are_left_out_and_counted(self):
        rows = list(shop())
        bad = [["a", "v1", f"x{i}", now, usual] for i, (now, usual) in enumerate(
            [("", 1), ("one", 1), (1, "nan"), ("inf", 1), (1, "2 3"), (-1, 1), (1, "-0.5")])]
        sets, told = self.sets(table(SHOP, rows + bad))
        self.assertEqual(sets[0]["combinations"], [{"zone": "b, old", "version": "v2"}])
        self.assertEqual(told.splitlines(), ["5 rows left out: actual or expected is no number.",
                                             "2 rows left out: actual or expected is negative."])
        self.assertIn("no row that can be used", self.run_cli(table(SHOP, bad), *FIGURES, status=1).stderr)

    def test_what_was_not_expected_is_a_cause(self):
        rows = [[*row[:3], row[4], 0 if row[1] == "v3" else row[4]] for row in shop()]
        self.assertEqual(self.sets(table(SHOP, rows))[0][0]["combinations"], [{"version": "v3"}])

    def test_wrong_use_ends_with_2_and_says_what_is_right(self):
        text = table(SHOP, shop())
        self.assertIn("needs --csv FILE", self.run_cli(text, "--actual", "now", status=2).stderr)
        for top in ("0", "51", "x", ""):
            self.assertIn("1 to 50", self.run_cli(text, *FIGURES, "--top", top, status=2).stderr)
        told = self.run_cli(text, "--actual", "nov", "--expected", "usual", status=2).stderr
        self.assertIn('did you mean "now"? It has: zone, version, node, now, usual', told)
        self.run_cli(text, "--actual", "now", "--expected", "now", "--attributes", "now", status=2)
        self.assertIn("no column beside", self.run_cli("now,usual\n1,2\n", *FIGURES, status=2).stderr)
        wide = table([f"a{i}" for i in range(17)] + ["now", "usual"], [[0] * 19])
        self.assertIn("more than 16 attributes", self.run_cli(wide, *FIGURES, status=2).stderr)
        result = subprocess.run([MILLRACE, "localize", "--csv", "/nowhere/x.csv", *FIGURES], capture_output=True, text=True)
        self.assertEqual((result.returncode, result.stdout), (1, ""))
        self.assertIn("line 3", self.run_cli("a,now,usual\n1,1,1\n1,1\n", *FIGURES, status=1).stderr)

    def test_sixteen_attributes_are_taken(self):
        wide = table([f"a{i}" for i in range(16)] + ["now", "usual"],
                     [[*(f"{i >> a & 1}" for a in range(16)), 20.5 if i & 1 else 101 + i % 7, 104.0] for i in range(512)])
        self.assertEqual(self.sets(wide)[0][0]["combinations"], [{"a0": "1"}])


if __name__ == "__main__":
    unittest.main()
