#!/usr/bin/env python3
"""What --tensorboard and --prometheus write, read back by readers of their formats that know nothing of the writer."""
import json
import os
import re
import shutil
import struct
import subprocess
import tempfile
import unittest

AIOS = os.environ["AIOS_TOOL"]
SMALL = ["--n-layer", "1", "--n-head", "2", "--n-embd", "16", "--max-seq-len", "16", "--batch-size", "2", "--eval-batches", "2"]


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


assert crc32c(b"123456789") == 0xE3069283  # the check value of RFC 3720's CRC-32C


def masked(data):
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def records(data):
    """The payloads of a TFRecord file; every checksum is checked."""
    at = 0
    while at < len(data):
        length, = struct.unpack_from("<Q", data, at)
        assert struct.unpack_from("<I", data, at + 8)[0] == masked(data[at:at + 8])
        payload = data[at + 12:at + 12 + length]
        assert len(payload) == length and struct.unpack_from("<I", data, at + 12 + length)[0] == masked(payload)
        yield payload
        at += 16 + length


def fields(data):
    """{field: [value]} of a message of protocol buffers: integers of varints, bytes of all else."""
    def varint():
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    found, at = {}, 0
    while at < len(data):
        key = varint()
        kind = key & 7
        if kind == 0:
            value = varint()
        else:
            size = {1: 8, 5: 4}[kind] if kind != 2 else varint()
            value, at = data[at:at + size], at + size
            assert len(value) == size
        found.setdefault(key >> 3, []).append(value)
    return found


class Mirrors(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="aios-mirrors-")
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        os.mkdir(os.path.join(self.folder, "plugins"))
        self.environment = {**{k: v for k, v in os.environ.items() if not k.startswith("AIOS_")}, "LC_ALL": "C.UTF-8", "AIOS_CPU_DEVICES": "2",
                            "AIOS_BACKEND_PATH": os.path.join(self.folder, "plugins"), "XDG_CACHE_HOME": os.path.join(self.folder, "cache")}
        with open(os.path.join(self.folder, "text.txt"), "w", encoding="utf-8") as text:
            text.write("the cat sat on the mat and the dog ran far. " * 90)

    def tool(self, *arguments):
        return subprocess.run([AIOS, *arguments], env=self.environment, cwd=self.folder, encoding="utf-8", capture_output=True, timeout=120,
                              check=False)

    def train(self, *more):
        result = self.tool("train", "--dataset-file", "text.txt", "--save-dir", "run", "--quiet", *SMALL, *more)
        self.assertEqual(result.returncode, 0, result.stderr)
        with open(os.path.join(self.folder, "run", "metrics.jsonl"), encoding="utf-8") as log:
            return [json.loads(line) for line in log]

    def event_files(self, folder="boards"):
        """[[(step, {tag: value}, fields)]] of each file, in the order of their names."""
        files = []
        for name in sorted(os.listdir(os.path.join(self.folder, folder))):
            self.assertRegex(name, r"\Aevents\.out\.tfevents\.\d{10}\.")
            with open(os.path.join(self.folder, folder, name), "rb") as file:
                events = [fields(payload) for payload in records(file.read())]
            self.assertEqual(events[0][3], [b"brain.Event:2"])
            found = []
            for event in events[1:]:
                values = {}
                for value in fields(event.get(5, [b""])[0]).get(1, []):
                    parts = fields(value)
                    values[parts[1][0].decode()] = struct.unpack("<f", parts[2][0])[0]
                self.assertGreater(struct.unpack("<d", event[1][0])[0], 1.6e9)
                found.append((event[2][0], values, event))
            files.append(found)
        return files

    def metrics(self, name):
        """{(metric, label, …): value}, by the rules of Prometheus' text format; every metric has help and a type."""
        found, told = {}, {}
        with open(os.path.join(self.folder, name), encoding="utf-8") as file:
            text = file.read()
        self.assertTrue(text.endswith("\n"))
        for line in text.splitlines():
            if line.startswith("# "):
                _, kind, metric, rest = line.split(" ", 3)
                self.assertNotIn((kind, metric), told)
                told[kind, metric] = rest
                continue
            metric, labels, value = re.fullmatch(r'([a-z_]+)\{((?:[a-z_]+="(?:[^"\\\n]|\\["\\n])*",?)+)\} (\S+)', line).groups()
            self.assertIn(told["TYPE", metric], ("gauge", "counter"))
            self.assertEqual(told["TYPE", metric] == "counter", metric.endswith("_total"))
            self.assertIn(("HELP", metric), told)
            key = (metric, *(label for name, label in re.findall(r'([a-z_]+)="((?:[^"\\]|\\.)*)"', labels) if name != "run"))
            self.assertNotIn(key, found)
            found[key] = float(value)
        return found

    def test_event_files_hold_what_was_logged(self):
        log = self.train("--device", "cpu:0", "--steps", "12", "--eval-interval", "4", "--tensorboard", "boards")
        (events,) = self.event_files()
        for kind, group, keys in (("step", "train", ("loss", "lr", "grad_norm", "tokens_per_second", "tokens")), ("eval", "eval", ("loss", "accuracy"))):
            for key in keys:
                written = [(step, values[f"{group}/{key}"]) for step, values, _ in events if f"{group}/{key}" in values]
                narrow = [(e["step"], struct.unpack("<f", struct.pack("<f", e[key]))[0]) for e in log if e["event"] == kind]
                self.assertEqual(written, narrow, key)
        tags = {tag for _, values, _ in events for tag in values}
        self.assertFalse(tags & {"train/step", "train/elapsed", "train/eta"})

    def test_a_run_that_goes_on_takes_back_later_steps(self):
        self.train("--device", "cpu:0", "--steps", "6", "--tensorboard", "boards")
        self.train("--device", "cpu:0", "--steps", "9", "--resume")  # the option is the checkpoint's
        events = [event for file in self.event_files() for event in file]
        starts = [(step, fields(event[7][0])) for step, _, event in events if 7 in event]
        self.assertEqual(starts, [(1, {1: [1]}), (7, {1: [1]})])  # SessionLog.START: readers drop what others wrote from step 7 on
        self.assertEqual([step for step, values, _ in events if "train/loss" in values], list(range(1, 10)))

    def test_puzzles_too(self):
        self.assertEqual(self.tool("data", "sudoku", "--puzzle-size", "4", "--train-count", "40", "--test-count", "10", "--output-dir", "sudoku").returncode, 0)
        result = self.tool("hrm", "train", "--data-path", "sudoku", "--hidden-size", "16", "--num-heads", "2", "--h-layers", "1", "--l-layers", "1",
                           "--halt-max-steps", "2", "--global-batch-size", "8", "--steps", "4", "--log-interval", "2", "--device", "cpu:0",
                           "--save-dir", "run", "--quiet", "--tensorboard", "boards", "--prometheus", "hrm.prom")
        self.assertEqual(result.returncode, 0, result.stderr)
        tags = {tag for _, values, _ in self.event_files()[0] for tag in values}
        self.assertLessEqual({"train/loss", "train/lm_loss", "train/mean_steps", "eval/exact_accuracy"}, tags)
        metrics = self.metrics("hrm.prom")
        self.assertEqual((metrics[("aios_step",)], metrics[("aios_run_active",)], metrics[("aios_device_up", "cpu:0")]), (4, 0, 1))

    def test_prometheus_tells_how_the_run_stands(self):
        log = self.train("--devices", "cpu:0,cpu:1", "--strategy", "parallel-independent", "--steps", "20", "--merge-interval", "5", "--prometheus",
                         "a \"run\".prom")
        metrics, last = self.metrics("a \"run\".prom"), [e for e in log if e["event"] == "step"][-1]
        for metric, key in (("aios_loss", "loss"), ("aios_step", "step"), ("aios_tokens", "tokens"), ("aios_learning_rate", "lr")):
            self.assertEqual(metrics[metric,], last[key])
        self.assertEqual(metrics["aios_eval_loss",], [e for e in log if e["event"] == "eval"][-1]["loss"])
        self.assertEqual(metrics["aios_merges_total",], sum(e["event"] == "merge" for e in log))
        self.assertEqual((metrics["aios_checkpoints_total",], metrics["aios_run_active",], metrics["aios_devices_dropped_total",]), (1, 0, 0))
        self.assertEqual((metrics["aios_device_up", "cpu:0"], metrics["aios_device_up", "cpu:1"]), (1, 1))
        version = json.loads(self.tool("version", "--json").stdout)["library"]
        self.assertEqual(metrics["aios_run_info", "gpt2", "parallel-independent", "32", version], 1)
        self.assertEqual([name for name in os.listdir(self.folder) if ".tmp" in name], [])

    def test_a_run_goes_on_without_a_file_that_cant_be_written(self):
        with open(os.path.join(self.folder, "file"), "w", encoding="utf-8"):
            pass
        result = self.tool("train", "--dataset-file", "text.txt", "--save-dir", "run", *SMALL, "--steps", "3", "--device", "cpu:0", "--prometheus",
                           "file/x.prom")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(result.stderr.count("the run goes on without it"), 1, result.stderr)
        refused = self.tool("train", "--dataset-file", "text.txt", "--save-dir", "other", *SMALL, "--steps", "3", "--device", "cpu:0", "--tensorboard", "file")
        self.assertNotEqual(refused.returncode, 0)
        self.assertIn("file", refused.stderr)

    def test_tensorboard_itself_reads_them(self):
        try:
            from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
        except ImportError:
            self.skipTest("tensorboard is not installed")
        log = self.train("--device", "cpu:0", "--steps", "6", "--eval-interval", "3", "--tensorboard", "boards")
        board = EventAccumulator(os.path.join(self.folder, "boards"))
        board.Reload()
        losses = [(e.step, e.value) for e in board.Scalars("train/loss")]
        self.assertEqual(losses, [(e["step"], struct.unpack("<f", struct.pack("<f", e["loss"]))[0]) for e in log if e["event"] == "step"])


if __name__ == "__main__":
    unittest.main()
