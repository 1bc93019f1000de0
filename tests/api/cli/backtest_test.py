#!/usr/bin/python3
"""millrace backtest --csv: a row out for each row in, from what came before alone."""
import csv, io, math, os, random, subprocess, tempfile, unittest

BUILD = os.path.abspath(os.environ.get("MILLRACE_BUILD", "build/dev"))
MILLRACE = os.path.join(BUILD, "bin", "millrace")


def backtest(text, *flags, status=0, file="-", time="t", value="v"):
    result = subprocess.run([MILLRACE, "backtest", "--csv", file, "--time-column", time, "--value-column", value, *flags],
                            input=text.encode(), capture_output=True, timeout=60, cwd="/",
                            env={**os.environ, "MILLRACE_SERVER": "http://127.0.0.1:1"})
    assert result.returncode == status, result.stderr
    return result.stdout.decode(), result.stderr.decode()


def rows(out):
    lines = list(csv.reader(io.StringIO(out)))
    assert lines[0] == ["timestamp", "value", "score", "detection"], lines[0]
    return lines[1:]


def noisy(count, seed=1, step=60, start=1700000000):
    draw = random.Random(seed)
    return [[str(start + i * step), f"{100 + 10 * math.sin(i / 200) + draw.gauss(0, 2):.3f}"] for i in range(count)]


def text_of(lines):
    return "t,v\n" + "".join(f"{time},{value}\n" for time, value in lines)


class Backtest(unittest.TestCase):
    def test_a_spike_is_detected_in_its_row_and_each_row_is_answered_in_order(self):
        lines = noisy(1500)
        lines[1200][1] = "400"
        out, err = backtest(text_of(lines))
        answers = rows(out)
        self.assertEqual([row[:2] for row in answers], lines)
        self.assertEqual(answers[1200][3], "1")
        self.assertLess(sum(row[3] == "1" for row in answers), 6)
        self.assertTrue(all(0 <= float(row[2]) <= 1 for row in answers))
        self.assertIn("millrace: 1500 rows,", err)
        self.assertIn("; interval 60 s\n", err)

    def test_any_prefix_of_the_file_gives_the_same_lines(self):
        draw = random.Random(5)
        lines = noisy(900, 2)
        for i in range(300, 900):  # the interval changes midway
            lines[i][0] = str(1700000000 + 300 * 60 + (i - 300) * 5)
        for i in draw.sample(range(900), 60):
            lines[i][draw.randrange(2)] = draw.choice(["", "nan", "x", "inf", "-5", "1e9", lines[i - 1][0], "1e40"])
        whole = backtest(text_of(lines))[0].splitlines()
        for count in [0, 1, 2, 7, 8, 9, 63, 64, 65, *draw.sample(range(900), 12)]:
            self.assertEqual(backtest(text_of(lines[:count]))[0].splitlines(), whole[:count + 1], count)

    def test_what_cannot_be_judged_is_counted_and_stands_with_score_0(self):
        lines = noisy(600)
        for row, value in ((300, ""), (301, "NaN"), (302, "n/a"), (310, "seven"), (320, "-inf"), (321, "1e31")):
            lines[row][1] = value
        lines[400][0] = lines[399][0]
        lines[401][0] = lines[390][0]
        lines[402][0] = "soon"
        for i in range(500, 600):
            lines[i][0] = str(int(lines[i][0]) + 7200)
        out, err = backtest(text_of(lines))
        answers = rows(out)
        self.assertEqual([row[:2] for row in answers], lines)
        for row in (300, 301, 302, 310, 320, 321):
            self.assertEqual(answers[row][2:], ["0.000000", "0"])
        for words in ("; 2 gaps", "; 3 values missing", "; 1 values that are no number", "; 2 values not finite or beyond 1e30",
                      "; 1 rows at the time of the row before", "; 1 rows earlier than one before", "; 1 times that cannot be read"):
            self.assertIn(words, err)

    def test_a_gap_is_not_a_zero(self):
        lines = noisy(1000)
        zeros = [[time, "0"] if 600 <= i < 660 else [time, value] for i, (time, value) in enumerate(lines)]
        self.assertEqual(rows(backtest(text_of(zeros))[0])[600][3], "1")
        behind = rows(backtest(text_of(lines[:600] + lines[660:]))[0])[600]
        self.assertEqual(behind[3], "0")
        self.assertLess(float(behind[2]), 0.4)

    def test_ways_to_write_the_same_times_give_the_same_scores(self):
        import datetime
        lines = noisy(400)

        def scores(write):
            return [row[2:] for row in rows(backtest(text_of([[write(int(time)), value] for time, value in lines]))[0])]

        def calendar(form):
            return lambda time: datetime.datetime.fromtimestamp(time, datetime.timezone.utc).strftime(form)
        want = scores(str)
        for write in (lambda time: f"{time}000", lambda time: f"{time}000000", lambda time: f"{time}.0", calendar("%Y-%m-%dT%H:%M:%SZ"),
                      calendar("%Y/%m/%d %H:%M:%S"), calendar("%m/%d/%Y %H:%M:%S"), lambda time: calendar("%Y-%m-%dT%H:%M:%S+01:00")(time + 3600)):
            self.assertEqual(scores(write), want)

    def test_fields_are_printed_as_they_stood(self):
        out, _ = backtest('"t","v"\r\n"2018-07-03 14:00:00","1,5"\r\n2018-07-03 15:00:00, 0012.50\r\n')
        self.assertEqual(out.splitlines()[1:], ['2018-07-03 14:00:00,"1,5",0.000000,0', "2018-07-03 15:00:00, 0012.50,0.000000,0"])

    def test_a_higher_sensitivity_in_decades_detects_less_and_changes_no_score(self):
        lines = noisy(3000)
        for i in range(500, 3000, 100):
            lines[i][1] = str(110 + i / 20)
        texts = [rows(backtest(text_of(lines), "--sensitivity", decades)[0]) for decades in ("3", "8")]
        few, many = (sum(row[3] == "1" for row in answers) for answers in (texts[1], texts[0]))
        self.assertLess(few, many)
        self.assertEqual([row[2] for row in texts[0]], [row[2] for row in texts[1]])

    def test_a_file_is_read_from_any_directory_without_a_server(self):
        with tempfile.NamedTemporaryFile("w", suffix=".csv") as file:
            file.write(text_of(noisy(50)))
            file.flush()
            self.assertEqual(len(rows(backtest("", file=file.name)[0])), 50)

    def test_wrong_use_exits_with_2_and_says_what_is_there(self):
        text = "when,value,other\n1,2,3\n"
        self.assertIn('no column "whem"; did you mean "when"? It has: when, value, other', backtest(text, status=2, time="whem")[1])
        self.assertIn('no column "v"; it has: when, value, other', backtest(text, status=2, time="when")[1])
        self.assertIn("accepted: 0.5 to 20 decades", backtest(text, "--sensitivity", "much", status=2)[1])
        self.assertIn("no header", backtest("", status=1)[1])
        self.assertIn("No such file", backtest("", file="/nowhere.csv", status=1)[1])
        result = subprocess.run([MILLRACE, "backtest", "--csv", "-"], capture_output=True, text=True)
        self.assertEqual(result.returncode, 2)
        self.assertIn("--time-column NAME", result.stderr)

    def test_a_malformed_row_ends_it_behind_the_rows_before(self):
        out, err = backtest("t,v\n1,2\n3,4,5\n", status=1)
        self.assertEqual(len(rows(out)), 1)
        self.assertIn("stdin, line 3: 3 fields where the header names 2 columns", err)


if __name__ == "__main__":
    unittest.main()
