#!/usr/bin/env python3
"""What `aios report` draws: pages of real runs, read back by a strict parser and held against their logs; in a browser where there is one."""
import html.parser
import json
import math
import os
import re
import shutil
import struct
import subprocess
import tempfile
import unittest
import zlib
import xml.etree.ElementTree as tree

AIOS = os.environ["AIOS_TOOL"]
BROWSER = next((path for path in map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "firefox-esr", "firefox")) if path), None)
SMALL = ["--n-layer", "1", "--n-head", "2", "--n-embd", "16", "--max-seq-len", "16", "--batch-size", "2", "--eval-batches", "2"]


class Structure(html.parser.HTMLParser):
    """Every element closed where it was opened, and none that fetches something or acts."""

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.open, self.problems, self.ids = [], [], []

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)
        for name, value in attrs:
            if name in ("src", "href", "srcset", "xlink:href", "action", "data") or name.startswith("on"):
                self.problems.append((tag, name, value))
            if name == "id":
                self.ids.append(value)
        if tag in ("script", "link", "iframe", "object", "img", "foreignobject", "base"):
            self.problems.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.problems.append("/" + tag)


class Page:
    def __init__(self, test, path):
        with open(path, encoding="utf-8") as file:
            self.text = file.read()
        structure = Structure()
        structure.feed(self.text)
        structure.close()
        test.assertEqual((structure.problems, structure.open), ([], []))
        test.assertEqual(len(structure.ids), len(set(structure.ids)))
        for outside in ("url(", "@import", "http:", "https:", "javascript:"):
            test.assertNotIn(outside, self.text)
        self.root = tree.fromstring(re.sub(r"\A<!DOCTYPE html>", "", self.text))

    def find(self, name):
        return next((element for element in self.root.iter() if element.get("id") == name), None)

    def words(self, name):
        return " ".join("".join(self.find(name).itertext()).split())

    def tile(self, name):
        return self.find(name).find("b").text

    def lines(self, name):
        """{line: [(x, y)]} in the units of the axes, by the ends that the plot tells; and the ticks must agree with these ends."""
        plot = next(g for g in self.find(name).iter("g") if g.get("class") == "plot")
        x0, x1, y0, y1 = (float(plot.get(f"data-{end}")) for end in ("x0", "x1", "y0", "y1"))
        left, top, right, bottom = map(float, plot.get("data-box").split())
        found = {}
        for line in plot.iter("polyline"):
            pixels = [tuple(map(float, pair.split(","))) for pair in line.get("points").split()]
            assert all(left - 0.01 <= x <= right + 0.01 and top - 0.01 <= y <= bottom + 0.01 for x, y in pixels), (name, pixels)
            found.setdefault(line.get("data-name"), []).extend(
                (x0 + (x - left) / (right - left) * (x1 - x0), y0 + (bottom - y) / (bottom - top) * (y1 - y0)) for x, y in pixels)
        self.resolution = ((x1 - x0) / (right - left) * 0.011, (y1 - y0) / (bottom - top) * 0.011)  # two decimals of a pixel
        ticks = [tick for tick in plot.iter("text") if tick.get("class") == "tick y"]
        assert len(ticks) > 1, name
        for tick in ticks:
            number, unit = re.fullmatch(r"(-?[\d.,]+(?:e-?\d+)?)([kMG]| %)?", tick.text).groups()
            value = y0 + (bottom - float(tick.get("y")) + 4) / (bottom - top) * (y1 - y0)
            told = float(number.replace(",", "")) * {None: 1, "k": 1e3, "M": 1e6, "G": 1e9, " %": 0.01}[unit]
            assert abs(value - told) <= 0.003 * (y1 - y0), (name, tick.text, value)
        return found


def events(folder):
    with open(os.path.join(folder, "metrics.jsonl"), encoding="utf-8") as log:
        return [json.loads(line) for line in log]


def curve(log, event, key, x="step"):
    return [(e[x], e[key]) for e in log if e["event"] == event and e.get(key) is not None]


class Report(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix="aios-report-")
        cls.addClassCleanup(shutil.rmtree, cls.folder, ignore_errors=True)
        os.mkdir(os.path.join(cls.folder, "plugins"))
        cls.environment = {**{k: v for k, v in os.environ.items() if not k.startswith("AIOS_")}, "LC_ALL": "C.UTF-8", "AIOS_CPU_DEVICES": "2",
                           "AIOS_BACKEND_PATH": os.path.join(cls.folder, "plugins"), "XDG_CACHE_HOME": os.path.join(cls.folder, "cache")}
        with open(os.path.join(cls.folder, "text.txt"), "w", encoding="utf-8") as text:
            text.write("the cat sat on the mat and the dog ran far. " * 90)

    def tool(self, *arguments):
        return subprocess.run([AIOS, *arguments], env=self.environment, cwd=self.folder, encoding="utf-8", capture_output=True, timeout=120,
                              check=False)

    def train(self, name, *more):
        result = self.tool("train", "--dataset-file", "text.txt", "--save-dir", name, "--quiet", *SMALL, *more)
        self.assertEqual(result.returncode, 0, result.stderr)
        return events(os.path.join(self.folder, name))

    def report(self, name, *more):
        result = self.tool("report", name, *more)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(result.stdout, f"{name}/report.html\n" if not more else result.stdout)
        return Page(self, os.path.join(self.folder, name, "report.html"))

    def assert_line(self, page, chart, line, expected):
        found = page.lines(chart)[line]
        self.assertEqual(len(found), len(expected), (chart, line))
        for (x, y), (right_x, right_y) in zip(found, expected):
            self.assertLessEqual(abs(x - right_x), page.resolution[0], (chart, line))
            self.assertLessEqual(abs(y - right_y), page.resolution[1], (chart, line))

    def test_one_device_is_drawn_as_it_was_logged(self):
        log = self.train("one", "--device", "cpu:0", "--steps", "24", "--eval-interval", "6", "--checkpoint-interval", "12")
        page = self.report("one")
        self.assert_line(page, "chart-loss", "training", curve(log, "step", "loss"))
        self.assert_line(page, "chart-loss", "evaluation", curve(log, "eval", "loss"))
        self.assert_line(page, "chart-rate", "Learning rate", curve(log, "step", "lr"))
        self.assert_line(page, "chart-gradient", "Gradient norm", curve(log, "step", "grad_norm"))
        self.assert_line(page, "chart-accuracy", "next tokens, evaluation", curve(log, "eval", "accuracy"))
        self.assert_line(page, "chart-speed", "speed", curve(log, "step", "tokens_per_second", "elapsed"))
        self.assertEqual(page.tile("loss"), f"{curve(log, 'step', 'loss')[-1][1]:.4f}")
        self.assertEqual(page.tile("best"), f"{min(loss for _, loss in curve(log, 'eval', 'loss')):.4f}")
        self.assertEqual((page.tile("steps"), page.tile("checkpoints")), ("24", "2"))
        self.assertIn("nothing to compare", page.words("efficiency"))
        self.assertIn("Nothing: no device was lost", page.text)
        chosen = next(e for e in page.find("options") if e.get("class") == "chosen")
        options = {row.find("dt").text: row.find("dd").text for row in chosen}
        self.assertEqual({name: options.get(name) for name in ("n-embd", "steps", "eval-interval")}, {"n-embd": "16", "steps": "24", "eval-interval": "6"})
        self.assertNotIn("grad-clip", options)
        marks = {lane.get("data-lane"): sum(int(mark.get("data-count")) for mark in lane.iter("circle"))
                 for lane in page.find("timeline").iter("g") if lane.get("data-lane")}
        self.assertEqual((marks["evaluations"], marks["checkpoints"], marks["starts"]), (4, 2, 1))

    def test_devices_with_one_gradient_have_their_shares(self):
        log = self.train("ddp", "--devices", "cpu:0,cpu:1", "--strategy", "ddp", "--balance", "measured", "--gradient-accumulation-steps", "2",
                         "--steps", "12")
        page = self.report("ddp")
        self.assertEqual(log[0]["micro_batches"], [2, 2])
        parts = next(e for e in log if e["event"] == "devices")
        self.assertEqual(sum(part["tokens"] for part in parts["devices"]), log[-1]["tokens"])
        self.assertGreater(parts["efficiency"], 0)
        self.assertIn(f"{100 * parts['efficiency']:.1f} % of the sum", page.words("efficiency"))
        first, second, total = (page.lines("chart-speed")[line] for line in ("cpu:0", "cpu:1", "all"))
        for a, b, c in zip(first, second, total):
            self.assertLessEqual(abs(a[1] + b[1] - c[1]), 3 * page.resolution[1])
        rows = [["".join(cell.itertext()) for cell in row.iter("td")] for row in page.find("devices").iter("tr")][1:]
        self.assertEqual([row[:3] for row in rows],
                         [[f"cpu:{i}", f"{parts['devices'][i]['tokens']:,}", f"{100 * parts['devices'][i]['share']:.1f} %"] for i in (0, 1)])

    def test_devices_on_their_own_have_merges(self):
        log = self.train("own", "--devices", "cpu:0,cpu:1", "--strategy", "parallel-independent", "--steps", "60", "--merge-interval", "10",
                         "--dataset-chunk-size", "20")
        page = self.report("own")
        parts = next(e for e in log if e["event"] == "devices")
        self.assertIn(f"{100 * parts['efficiency']:.1f} % of the sum", page.words("efficiency"))
        marks = {lane.get("data-lane"): lane for lane in page.find("timeline").iter("g") if lane.get("data-lane")}
        self.assertEqual(sum(int(mark.get("data-count")) for mark in marks["merges"].iter("circle")), sum(e["event"] == "merge" for e in log))
        self.assertTrue({"cpu:0", "cpu:1"} <= set(marks))
        width = next(g for g in page.find("chart-speed").iter("g") if g.get("class") == "plot")
        total = page.lines("chart-speed")["all"]  # equal parts of the time: their mean is tokens by time
        self.assertLess(abs(sum(y for _, y in total) / len(total) * max(e["elapsed"] for e in log) - log[-1]["tokens"]),
                        0.02 * log[-1]["tokens"], width.attrib)

    def test_puzzles_have_their_own_curves(self):
        self.assertEqual(self.tool("data", "sudoku", "--puzzle-size", "4", "--train-count", "40", "--test-count", "10", "--output-dir", "sudoku").returncode, 0)
        result = self.tool("hrm", "train", "--data-path", "sudoku", "--hidden-size", "16", "--num-heads", "2", "--h-layers", "1", "--l-layers", "1",
                           "--halt-max-steps", "2", "--global-batch-size", "8", "--steps", "20", "--log-interval", "2", "--eval-interval", "10",
                           "--device", "cpu:0", "--save-dir", "hrm", "--quiet")
        self.assertEqual(result.returncode, 0, result.stderr)
        log, page = events(os.path.join(self.folder, "hrm")), self.report("hrm")
        self.assert_line(page, "chart-loss", "training", curve(log, "step", "loss"))
        self.assert_line(page, "chart-accuracy", "solved, evaluation", curve(log, "eval", "exact_accuracy"))
        self.assertEqual(page.tile("units"), "160")
        self.assertIn("hrm_actv1", page.text)

    def test_several_devices_speeds_are_of_puzzles_too(self):
        self.assertEqual(self.tool("data", "sudoku", "--puzzle-size", "4", "--train-count", "60", "--test-count", "0", "--output-dir", "many").returncode, 0)
        result = self.tool("hrm", "train", "--data-path", "many", "--hidden-size", "64", "--num-heads", "2", "--halt-max-steps", "2", "--global-batch-size", "64",
                           "--gradient-accumulation-steps", "4", "--steps", "8", "--devices", "cpu:0,cpu:1", "--strategy", "ddp", "--balance", "measured",
                           "--save-dir", "both", "--quiet")
        self.assertEqual(result.returncode, 0, result.stderr)
        parts = next(e for e in events(os.path.join(self.folder, "both")) if e["event"] == "devices")
        self.assertGreater(parts["efficiency"], 0.2)  # 0.7 and more; a sixteenth of it if a device's puzzles were counted by their cells

    def write_log(self, name, *lines):
        os.makedirs(os.path.join(self.folder, name), exist_ok=True)
        with open(os.path.join(self.folder, name, "metrics.jsonl"), "w", encoding="utf-8") as log:
            log.write("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines))

    def test_what_is_missing_is_said(self):
        start = {"event": "run_start", "model": "gpt2", "device": "cuda:0,hip:0", "strategy": "ddp", "steps": 9}
        self.write_log("bare", start, {"event": "step", "step": 1, "loss": None}, '{"event": "step", "st')
        page = self.report("bare")
        for part in ("no step with a loss", "no evaluation", "no event with a time", "no run.json", "no end in the log",
                     "does not say what each device does", "does not tell the devices' shares", "1 line could not be read and is left out"):
            self.assertIn(part, " ".join("".join(page.root.itertext()).split()))

    def test_losses_recoveries_and_gaps_are_drawn(self):
        start = {"event": "run_start", "model": "gpt2", "device": "cuda:0,hip:0", "strategy": "ddp", "steps": 9, "micro_batches": [3, 1]}
        step = lambda n, loss, at: {"event": "step", "step": n, "loss": loss, "lr": 1e-4, "tokens": 10 * n, "tokens_per_second": 8, "elapsed": at}
        self.write_log("broken", start, step(1, 5, 1), step(2, None, 2), step(3, 4, 3), step(4, 3.5, 4),
                       {"event": "device_dropped", "step": 4, "device": "hip:0", "message": "a <bad> & \"odd\" driver\u0001", "elapsed": 4.5},
                       {"event": "warning", "message": "hip:0 is dropped, the others go on: a <bad>", "elapsed": 4.5},
                       {"event": "rewind", "step": 3, "from_step": 4, "elapsed": 5}, step(4, 3.25, 6), step(5, 3, 7))
        page = self.report("broken")
        self.assert_line(page, "chart-loss", "training", [(1, 5), (3, 4), (4, 3.25), (5, 3)])
        self.assertEqual(len([line for line in page.find("chart-loss").iter("polyline") if line.get("data-name") == "training"]), 2)
        self.assertEqual([g.find("title").text for g in page.find("chart-loss").iter("g") if g.get("class") == "break"],
                         ["hip:0 is dropped: a <bad> & \"odd\" driver\ufffd", "goes back from step 4 to the checkpoint of step 3"])
        self.assertEqual(len(list(page.find("incidents").iter("tr"))), 3)
        self.assertIn("lost", page.words("devices"))

    def rows(self, page):
        return [["".join(cell.itertext()) for cell in row.iter("td")][:3] for row in page.find("devices").iter("tr")][1:]

    def test_shares_follow_the_devices_names_whatever_their_order_and_number(self):
        start = lambda devices, parts, step: {"event": "run_start", "model": "gpt2", "device": devices, "strategy": "ddp", "steps": 9, "step": step,
                                              "micro_batches": parts}
        steps = lambda first, last, **more: [{"event": "step", "step": n, "loss": 2, "tokens": 40 * n, "tokens_per_second": 8, "elapsed": n, **more}
                                             for n in range(first, last + 1)]
        first = [start("cuda:0,hip:0", [3, 1], 0), *steps(1, 4)]
        again = [*first, *steps(5, 6), start("hip:0,xpu:0,cuda:0", [2, 1, 1], 4), *steps(5, 8)]  # it was killed after step 6, its checkpoint is of step 4
        told = {"event": "devices", "step": 8, "elapsed": 9, "tokens_per_second": 8, "efficiency": 0.5,
                "devices": [{"device": "hip:0", "tokens": 82, "share": 0.5125}, {"device": "xpu:0", "tokens": 39}, {"device": "cuda:0", "tokens": 39}]}
        one = start("hip:0", [1], 4)
        lost = {"event": "device_dropped", "step": 4, "device": "cuda:0", "message": "it is gone", "elapsed": 4}
        for name, log, rows in (
                ("first", first, [["cuda:0", "120", "75.0 %"], ["hip:0", "40", "25.0 %"]]),
                ("again", again, [["cuda:0", "160", "50.0 %"], ["hip:0", "120", "37.5 %"], ["xpu:0", "40", "12.5 %"]]),
                ("told", [*again, told], [["cuda:0", "159", "49.7 %"], ["hip:0", "122", "38.1 %"], ["xpu:0", "39", "12.2 %"]]),
                ("fewer", [*first, one, *steps(5, 8)], [["cuda:0", "120", "37.5 %"], ["hip:0", "200", "62.5 %"]]),
                ("dropped", [*first, lost, {**one, "event": "balance"}, *steps(5, 8),
                             {**told, "devices": [{"device": "hip:0", "tokens": 160, "share": 1}]}], [["cuda:0", "120", "37.5 %"], ["hip:0", "200", "62.5 %"]]),
                ("twice", [start("cuda:0,cuda:0", [1, 3], 0), *steps(1, 4)], [["cuda:0", "40", "25.0 %"], ["cuda:0 (2)", "120", "75.0 %"]])):
            with self.subTest(name):
                self.write_log(name, *log)
                self.assertEqual(self.rows(self.report(name)), rows)

    def test_shares_of_a_run_that_goes_on_with_its_devices_turned_round(self):
        self.train("turned", "--devices", "cpu:0,cpu:1", "--strategy", "ddp", "--balance", "weights", "--device-weights", "3,1",
                   "--gradient-accumulation-steps", "4", "--steps", "5")
        log = self.train("turned", "--devices", "cpu:1,cpu:0", "--strategy", "ddp", "--balance", "weights", "--device-weights", "3,1",
                         "--gradient-accumulation-steps", "4", "--steps", "10", "--resume", "on")
        rows = self.rows(self.report("turned"))
        half = log[-1]["tokens"] // 2
        self.assertEqual(rows, [["cpu:0", f"{half:,}", "50.0 %"], ["cpu:1", f"{half:,}", "50.0 %"]])

    def test_a_long_run_is_a_small_page(self):
        self.write_log("long", {"event": "run_start", "model": "gpt2", "device": "cpu:0", "steps": 50000},
                       *({"event": "step", "step": n, "loss": 3 + math.sin(n), "elapsed": n / 10} for n in range(1, 50001)))
        page = self.report("long")
        self.assertLess(len(page.text), 150_000)
        faint = page.lines("chart-loss")["training"]
        self.assertLessEqual(len(faint), 800)
        self.assertLess(abs(sum(y for _, y in faint) / len(faint) - 3), 0.01)

    def test_a_loss_that_stays_has_an_axis(self):
        for loss in (2.5, 3.1, 0.0):
            self.write_log("still", {"event": "run_start", "model": "gpt2", "device": "cpu:0", "steps": 100},
                           *({"event": "step", "step": step, "loss": loss, "lr": 0.0, "tokens": step, "elapsed": float(step)} for step in range(1, 101)))
            self.assertLess(len(self.report("still").text), 50_000)  # smoothing moves the line by a rounding: no tick fits between

    def test_an_evaluation_without_a_number_is_not_the_best(self):
        start = {"event": "run_start", "model": "gpt2", "device": "cpu:0", "parameters": 1e300}
        self.write_log("gap", start, *({"event": "eval", "step": step, "loss": loss, "elapsed": step} for step, loss in enumerate((None, 2.5, 2.75, None))))
        self.assertEqual(self.report("gap").tile("best"), "2.5000")

    def test_names_are_text(self):
        name = '<x>"y"&'
        self.write_log("names", {"event": "run_start", "model": name, "device": name, "strategy": name, "precision": name, "steps": 2},
                       *({"event": "step", "step": step, "loss": 1.0, "tokens": step, "elapsed": float(step), "device": name} for step in (1, 2)))
        self.assertNotIn("<x>", self.report("names").text)

    def test_a_log_of_anybody_makes_a_page(self):
        long, many = "\u00e4" * 3000, ",".join(f"cuda:{i}" for i in range(100))
        start = {"event": "run_start", "model": long, "device": many, "micro_batches": [1] * 100, "steps": 1e300, "step": -5}
        odd = [1e308, -1e308, 0, -0.0, 1e-320, 2**62, None, "7", True, [1], {"a": 1}]
        self.write_log("odd", start, *({"event": name, "step": a, "loss": b, "lr": b, "tokens": a, "elapsed": b, "tokens_per_second": a, "message": b,
                                        "path": a, "devices": [{"device": device, "tokens": a, "share": b}, b], "micro_batches": [a], "device": device}
                                       for name in ("step", "eval", "merge", "devices", "device_dropped", "balance", "rewind", "reform", "warning", "checkpoint_save",
                                                    "training_complete", "run_start", "nothing")
                                       for a in odd for b in odd for device in (many, "cuda:1", b)),
                       "", "\r", "[]", "7", '{"event": 1e999}', '{"event": "step", "event": "eval"}', "\ufeff{}", "[" * 5000)
        self.assertLess(len(self.report("odd").text), 3_000_000)

    def test_where_the_page_goes(self):
        self.write_log("where", {"event": "run_start", "model": "gpt2", "device": "cpu:0"})
        self.assertEqual(self.tool("report", "where", "-o", "x.html").stdout, "x.html\n")
        self.assertEqual(self.tool("report", "where/metrics.jsonl").stdout, "where/metrics.jsonl.html\n")
        self.assertTrue(self.tool("report", "where", "-o", "-").stdout.startswith("<!DOCTYPE html>"))
        self.assertEqual(json.loads(self.tool("report", "where", "--json").stdout), {"output": "where/report.html", "lines": 1, "unreadable": 0})
        self.write_log(os.fsdecode(b"\xff"), {"event": "run_start", "model": "gpt2", "device": "cpu:0"})
        self.assertEqual(json.loads(self.tool("report", os.fsdecode(b"\xff"), "--json").stdout)["output"], "\ufffd/report.html")
        for code, part, *arguments in [(2, "needs a RUN_DIR"), (2, "holds no metrics.jsonl", "nowhere"), (1, "can't be written", "where", "-o", "no/where.html")]:
            result = self.tool("report", *arguments)
            self.assertEqual((result.returncode, result.stdout), (code, ""))
            self.assertIn(part, result.stderr)

    @unittest.skipUnless(BROWSER, "no browser is installed")
    def test_a_browser_shows_it(self):
        self.train("seen", "--devices", "cpu:0,cpu:1", "--strategy", "parallel-independent", "--steps", "40", "--merge-interval", "10", "--eval-interval", "10")
        self.report("seen")
        picture, page = os.path.join(self.folder, "seen.png"), os.path.join(self.folder, "seen", "report.html")
        command = ["--headless", f"--screenshot={picture}", "--window-size=1400,2200"]
        if "firefox" not in BROWSER:
            command += ["--no-sandbox", "--disable-gpu", f"--user-data-dir={self.folder}/profile"]
        environment = {**os.environ, "HOME": self.folder}
        result = subprocess.run([BROWSER, *command, "file://" + page], env=environment, capture_output=True, timeout=120, check=False)
        self.assertTrue(os.path.exists(picture), result.stderr[-2000:])
        colors = count_colors(picture)
        self.assertGreater(len(colors), 200)  # lines, smoothed letters; a blank page or a source text has a few greys
        for color in ((0x2f, 0x6f, 0xdb), (0xd9, 0x73, 0x0d)):  # of the first two lines
            self.assertTrue(any(max(abs(a - b) for a, b in zip(color, other)) < 24 for other in colors), color)


def count_colors(path):
    """{color} of a PNG of 8 bits per channel without interlacing: what browsers write."""
    with open(path, "rb") as file:
        data = file.read()
    at, packed, header = 8, b"", None
    while at < len(data):
        size, kind = struct.unpack(">I4s", data[at:at + 8])
        if kind == b"IHDR":
            header = struct.unpack(">IIBBBBB", data[at + 8:at + 21])
        elif kind == b"IDAT":
            packed += data[at + 8:at + 8 + size]
        at += 12 + size
    width, height, _, kind = header[:4]
    channels, raw = {2: 3, 6: 4}[kind], zlib.decompress(packed)
    stride, colors, above = width * channels, set(), bytes(width * channels)
    for row in range(height):
        method, line = raw[row * (stride + 1)], bytearray(raw[row * (stride + 1) + 1:(row + 1) * (stride + 1)])
        for i in range(stride):
            a, b, c = line[i - channels] if i >= channels else 0, above[i], above[i - channels] if i >= channels else 0
            nearest = min((abs(b - c), 0, a), (abs(a - c), 1, b), (abs(a + b - 2 * c), 2, c))[2]
            line[i] = (line[i] + (0, a, b, (a + b) // 2, nearest)[method]) & 255
        colors.update(zip(line[0::channels], line[1::channels], line[2::channels]))
        above = line
    return colors


if __name__ == "__main__":
    unittest.main()
