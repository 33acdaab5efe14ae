#!/usr/bin/env python3
"""What the aios command promises, tried on the built program (AIOS_TOOL)."""
import fcntl
import hashlib
import http.server
import io
import json
import os
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import tarfile
import tempfile
import termios
import threading
import time
import unittest
import zipfile

AIOS = os.environ["AIOS_TOOL"]
PAGE = os.environ["AIOS_OPTIONS_PAGE"]
COMMANDS = ["train", "eval", "estimate", "generate", "chat", "data", "hrm", "hrm-hf", "merge", "report", "chunks", "devices", "list-gpus", "resolve", "doctor", "options", "completion", "version", "help"]
# A model that trains in a moment: 5 steps of 32 bytes.
SMALL = ["--n-layer", "1", "--n-head", "2", "--n-embd", "32", "--max-seq-len", "16", "--batch-size", "2", "--steps", "5", "--device", "cpu"]


def environment(**more):
    """No plugins, so that every machine has the CPU alone; no cache outside the test's folder."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("AIOS_") and k not in ("COLUMNS",)}
    return {**kept, "LC_ALL": "C.UTF-8", **{k: v for k, v in more.items() if v is not None}}


class ToolTest(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="aios-tool-")
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        os.mkdir(os.path.join(self.folder, "plugins"))
        self.environment = environment(AIOS_BACKEND_PATH=os.path.join(self.folder, "plugins"),
                                       XDG_CACHE_HOME=os.path.join(self.folder, "cache"))

    def write(self, name, text):
        path = os.path.join(self.folder, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return path

    def corpus(self):
        return self.write("corpus.txt", "".join(f"line {i} of a text to learn from, and {i * i} more\n" for i in range(400)))

    def run_tool(self, *arguments, **more):
        return subprocess.run([AIOS, *arguments], env=self.environment, cwd=self.folder, encoding="utf-8", errors="replace",
                              capture_output=True, timeout=120, check=False, **more)

    def done(self, *arguments, **more):
        result = self.run_tool(*arguments, **more)
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        return result.stdout

    def refused(self, code, parts, *arguments, **more):
        """Ends with `code`, prints nothing on stdout, and one line on stderr that holds every part."""
        result = self.run_tool(*arguments, **more)
        self.assertEqual(result.returncode, code, (arguments, result.stdout, result.stderr))
        self.assertRegex(result.stderr, r"\Aaios: [^\n]+\n\Z", arguments)
        for part in parts:
            self.assertIn(part, result.stderr, arguments)
        self.assertEqual(result.stdout, "", arguments)


class Help(ToolTest):
    def test_every_command_has_help_in_three_ways(self):
        for command in COMMANDS:
            text = self.done(command, "--help")
            self.assertIn(f"Usage: aios {command}", text)
            self.assertEqual(text, self.done("help", command))
            self.assertEqual(text, self.done("--help", command))
            self.assertEqual(text, self.done(command, "-h"))

    def test_the_overview_names_commands_flags_and_exit_codes(self):
        text = self.done("help")
        self.assertEqual(text, self.done("--help"))
        for command in COMMANDS:
            self.assertRegex(text, rf"\n  {command} +\w")
        for part in ("--json", "--quiet", "--log-level", "--config", "130", "143", "\n  3 "):
            self.assertIn(part, text)

    def test_no_command_is_wrong_use_and_shows_the_overview(self):
        result = self.run_tool()
        self.assertEqual((result.returncode, result.stdout), (2, ""))
        self.assertIn("Usage: aios COMMAND", result.stderr)

    def test_help_has_exactly_the_options_of_the_command(self):
        options = json.loads(self.done("options", "--json"))["options"]
        for command in ("train", "eval", "generate", "data", "hrm"):
            text = self.done(command, "--help")
            self.assertIn("\nExamples\n", text)
            for option in options:
                flag = rf"\n  --(\[no-\])?{option['name']}( |\n)"
                self.assertEqual(command in option["commands"], re.search(flag, text) is not None, (command, option["name"]))

    def test_lines_fit_a_page(self):
        for command in ("train", "generate"):
            for line in self.done(command, "--help").splitlines():
                self.assertLessEqual(len(line), 110, line)


class WrongUse(ToolTest):
    def test_exit_2_and_one_line_that_says_what_is_right(self):
        text = self.corpus()
        for parts, *arguments in [
            (["unknown command \"trian\"", "train"], "trian"),
            (["unknown command \"xyzzy\"", "aios help"], "xyzzy"),
            (["unknown flag --jsno", "--json"], "--jsno", "devices"),
            (["unknown flag --bath-size", "--batch-size"], "train", "--bath-size", "8"),
            (["unknown flag --bath-size=8", "--batch-size"], "train", "--bath-size=8"),
            (["unknown flag --qqqqqqqqq", "aios train --help"], "train", "--qqqqqqqqq"),
            (["unknown flag -x"], "train", "-x"),
            (["--top-k is no flag of train"], "train", "--top-k", "5"),
            (["--lr is no flag of devices"], "devices", "--lr", "1"),
            (["batch-size is 0", "from 1 to 65536"], "train", "--batch-size", "0"),
            (["batch-size is \"eight\"", "whole number"], "train", "--batch-size=eight"),
            (["precision is \"16\"", "32, 16-mixed, bf16-mixed"], "train", "--precision", "16"),
            (["shuffle is \"maybe\"", "on or off"], "train", "--shuffle=maybe"),
            (["--steps needs a value"], "train", "--steps"),
            (["--steps needs a value"], "train", "--steps", "--resume"),
            (["--no-steps", "no switch"], "train", "--no-steps"),
            (["--no-shuffle takes no value"], "train", "--no-shuffle=on"),
            (["--json takes no value"], "devices", "--json=1"),
            (["--log-level is \"loud\"", "error, warning, info or debug"], "devices", "--log-level", "loud"),
            (["--log-level needs a value"], "devices", "--log-level"),
            (["no arguments", "\"text.txt\""], "train", "text.txt"),
            (["no arguments", "\"--json\""], "devices", "--", "--json"),
            (["1 argument", "\"two\""], "help", "train", "two"),
            (["no command \"trian\"", "train"], "help", "trian"),
            (["needs a shell"], "completion"),
            (["needs a STATE", "chunk_tracker_state.json"], "chunks"),
            (["neither chunk_tracker.sqlite", "nowhere"], "chunks", "nowhere"),
            (["\"tcsh\"", "bash"], "completion", "tcsh"),
            (["no JSON form"], "help", "--json"),
            (["--markdown and --json"], "options", "--markdown", "--json"),
            (["--config has no use with devices"], "devices", "--config", "x.json"),
            (["no.json"], "train", "--config", "no.json"),
            (["nothing.txt"], "train", "--dataset-file", "nothing.txt", "--device", "cpu"),
            (["dataset-file"], "train"),
            (["model"], "eval", "--dataset-file", text),
            (["model"], "generate"),
            (["no-model"], "generate", "--model", "no-model"),
        ]:
            self.refused(2, parts, *arguments)

    def test_a_device_that_is_not_there_is_exit_3(self):
        text = self.corpus()
        for device in ("cuda:0", "hip:3", "cpu:99", "7"):
            self.refused(3, [], "train", "--dataset-file", text, "--device", device)

    def test_output_that_cannot_be_written_is_exit_1(self):
        if not os.path.exists("/dev/full"):
            self.skipTest("no /dev/full")
        with open("/dev/full", "w", encoding="utf-8") as full:
            result = subprocess.run([AIOS, "options"], env=self.environment, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60,
                                    check=False)
        self.assertEqual(result.returncode, 1)
        self.assertIn("No space left", result.stderr)

    def test_a_reader_that_leaves_ends_it_quietly_as_the_shell_expects(self):
        for ignored in (False, True):
            hook = (lambda: signal.signal(signal.SIGPIPE, signal.SIG_IGN)) if ignored else None
            reader, writer = os.pipe()
            os.close(reader)
            with subprocess.Popen([AIOS, "options"], env=self.environment, stdout=writer, stderr=subprocess.PIPE, preexec_fn=hook,
                                  restore_signals=not ignored) as process:
                os.close(writer)
                _, error = process.communicate(timeout=60)
                self.assertEqual((process.returncode, error), (-signal.SIGPIPE, b""))


class Config(ToolTest):
    def test_a_bad_file_is_wrong_use_and_named(self):
        for parts, text in [(["batch-size is 0"], '{"batch-size": 0}'), (["nearest is \"steps\""], '{"stepz": 1}'), (["line 1"], "{"),
                            (["object"], "[1]"), (["belongs to generate"], '{"top-k": 1}')]:
            path = self.write("bad.json", text)
            self.refused(2, [path, *parts], "train", "--config", path)

    def test_flags_override_it_wherever_they_stand(self):
        path = self.write("run.json", '{"batch-size": 3, "device": "cpu:99", "dataset_file": "nothing.txt"}')
        self.refused(2, ["batch-size is 70000"], "train", "--batch-size", "70000", "--config", path)
        self.refused(2, ["other.txt"], "train", "--dataset-file", "other.txt", "--device", "cpu", "--config", path)
        self.refused(2, ["other.txt"], "--config", path, "train", "--dataset_file=other.txt", "--device=cpu")


class Reports(ToolTest):
    def test_json_is_json(self):
        for command in ("devices", "list-gpus", "doctor", "options", "version"):
            json.loads(self.done(command, "--json"))
            self.assertEqual(self.done(command, "--json"), self.done("--json", command)) if command in ("options", "version") else None

    def test_devices_lists_the_cpu(self):
        devices = json.loads(self.done("devices", "--json"))["devices"]
        self.assertEqual([d["device"] for d in devices], ["cpu:0"])
        self.assertGreater(devices[0]["vram_total"], 1 << 28)
        self.assertIn("f32", devices[0]["storage_types"])
        text = self.done("devices")
        self.assertRegex(text, r"(?m)^Device +Vendor +Model +Memory +Free +Architecture +Driver$")
        self.assertRegex(text, r"(?m)^cpu:0 .* \d+\.\d GiB ")

    def test_the_cpu_can_be_split(self):
        self.environment["AIOS_CPU_DEVICES"] = "2"
        devices = json.loads(self.done("devices", "--json"))["devices"]
        self.assertEqual([d["device"] for d in devices], ["cpu:0", "cpu:1"])

    def test_list_gpus_without_a_gpu_tells_every_backends_reason(self):
        text = self.done("list-gpus")
        self.assertIn("No GPU", text)
        for backend in ("cuda", "hip", "xpu"):
            self.assertRegex(text, rf"(?m)^  {backend} +\S+ .*\S")
        self.environment["CUDA_VISIBLE_DEVICES"] = "1"
        self.assertIn('CUDA_VISIBLE_DEVICES is "1"', self.done("list-gpus"))
        report = json.loads(self.done("list-gpus", "--json"))
        self.assertEqual((report["gpus"], report["visibility"]["CUDA_VISIBLE_DEVICES"]), ([], "1"))
        self.assertEqual([cpu["id"] for cpu in report["cpus"]], [None])
        for backend in report["backends"]:
            self.assertEqual(backend["usable"], backend["reason"] == "")

    def test_doctor_tells_of_every_broken_plugin_and_keeps_the_others(self):
        folder, plugins = os.path.join(self.folder, "plugins"), os.environ.get("AIOS_TEST_PLUGINS", "")
        broken = {"text": ("this is no library\n", "invalid ELF header|file too short"), "empty": ("", "file too short")}
        for name, (text, _) in broken.items():
            self.write(f"plugins/libaios-{name}.so", text)
        template = os.path.join(plugins, "libaios-template.so")
        with open(template, "rb") as file:
            image = bytearray(file.read())
        for name, (length, machine, reason) in {"half": (len(image) // 2, image[18:20], r"\S"), "arm": (len(image), b"\x28\x00", r"\S")}.items():
            with open(os.path.join(folder, f"libaios-{name}.so"), "wb") as file:
                file.write(image[:18] + machine + image[20:length])
            broken[name] = (None, reason)
        for kind, reason in {"no_symbol": "has no symbol aios_backend_query", "wrong_abi": "ABI", "incomplete": "lacks", "no_driver": r"\S",
                             "short_table": "bytes", "silent": r"\S"}.items():
            name = kind.replace("_", "")
            os.symlink(os.path.join(plugins, f"lib{kind}.so"), os.path.join(folder, f"libaios-{name}.so"))
            broken[name] = (None, reason)
        os.mkdir(os.path.join(folder, "libaios-folder.so"))
        broken["folder"] = (None, r"\S")
        shutil.copy(template, folder)
        for command in ("doctor", "devices"):
            report = json.loads(self.done(command, "--json"))
            backends = {b["name"]: b for b in report["backends"]}
            for name, (_, reason) in broken.items():
                self.assertFalse(backends[name]["usable"], name)
                self.assertRegex(backends[name]["reason"], reason, name)
            self.assertTrue(backends["template"]["usable"], backends["template"])
            self.assertEqual([d["device"] for d in report["devices"]], ["cpu:0", "template:0"])
        text = self.done("doctor")
        for name in broken:
            self.assertIn(f"libaios-{name}.so", text)

    def test_doctor_tells_backends_devices_processor_and_folders(self):
        report = json.loads(self.done("doctor", "--json"))
        self.assertEqual({b["name"] for b in report["backends"]}, {"cpu", "cuda", "hip", "xpu"})
        self.assertGreater(report["cpu"]["threads"], 0)
        self.assertEqual(report["folders"]["cache"], {"path": os.path.join(self.folder, "cache", "aios"), "state": "can be made"})
        self.assertEqual(report["folders"]["working"]["state"], "writable")
        self.assertEqual(report["environment"]["AIOS_BACKEND_PATH"], os.path.join(self.folder, "plugins"))
        text = self.done("doctor")
        for part in ("Backends", "Devices", "Processor", "Libraries", "Folders", "Environment", "cpu:0"):
            self.assertIn(part, text)

    def test_a_broken_plugin_is_reported_and_hides_nothing(self):
        self.write("plugins/libaios-cuda.so", "not a library")
        backends = {b["name"]: b for b in json.loads(self.done("doctor", "--json"))["backends"]}
        self.assertFalse(backends["cuda"]["usable"])
        self.assertTrue(backends["cuda"]["reason"])
        self.assertTrue(backends["cpu"]["usable"])

    def test_the_options_page_is_what_the_command_prints(self):
        with open(PAGE, encoding="utf-8") as page:
            self.assertEqual(page.read(), self.done("options", "--markdown"), "run: aios options --markdown > docs/options.md")

    def test_options_json_has_types_and_ranges(self):
        options = {o["name"]: o for o in json.loads(self.done("options", "--json"))["options"]}
        self.assertEqual(options["batch-size"]["default"], 8)
        self.assertEqual((options["batch-size"]["minimum"], options["batch-size"]["maximum"]), (1, 65536))
        self.assertEqual(options["precision"]["choices"], ["32", "16-mixed", "bf16-mixed"])
        self.assertEqual(options["precision"]["alias"], "amp")
        self.assertIs(options["shuffle"]["default"], True)
        for option in options.values():
            self.assertTrue(set(option["commands"]) <= {"train", "eval", "generate", "data", "hrm"} and option["commands"], option)


class Estimate(ToolTest):
    def test_parts_sum_up_and_the_largest_batch_fits(self):
        command = ["estimate", "--devices", "cpu:0", "--n-layer", "2", "--max-seq-len", "64"]
        report = json.loads(self.done(*command, "--memory", "200MiB", "--json"))
        device = report["devices"][0]
        parts = ("parameters", "gradients", "optimizer", "activations", "workspace", "exchange", "evaluation")
        self.assertEqual(sum(device[part] for part in parts), device["total"])
        self.assertEqual((device["device"], device["memory"], report["max_seq_len"]), ("cpu:0", 200 << 20, 64))
        largest = report["largest_batch_size"]
        for batch, fits in ((largest, True), (largest + 1, False)):
            device = json.loads(self.done(*command, "--batch-size", str(batch), "--json"))["devices"][0]
            self.assertEqual(device["total"] <= 200 << 20, fits)
        text = self.done(*command, "--memory", "200MiB")
        self.assertRegex(text, r"(?m)^optimizer +\d+\.\d MiB$")
        self.assertIn(f"largest batch-size that fits: {largest}\n", text)

    def test_devices_that_are_not_here_are_assumed(self):
        command = ["estimate", "--devices", "cuda:4,cuda:5", "--zero-stage", "zero3"]
        devices = json.loads(self.done(*command, "--eval-fraction", "0", "--json"))["devices"]
        self.assertAlmostEqual(devices[0]["optimizer"] / devices[1]["optimizer"], 1, delta=0.01)
        text = self.done(*command)
        self.assertIn("cuda:5 is not on this machine", text)
        self.assertIn("--memory", text)
        self.refused(2, ["--memory", "24GiB"], "estimate", "--devices", "cpu:0", "--memory", "much")


class Resolve(ToolTest):
    def test_the_cpu_in_json_and_in_words(self):
        report = json.loads(self.done("resolve", "--json", "--batch-size", "32", "--num-workers=4", "--os", "linux", "cpu"))
        self.assertEqual({k: report[k] for k in ("accelerator", "devices", "strategy", "precision", "effective_batch_size", "notes", "warnings")},
                         {"accelerator": "cpu", "devices": "auto", "strategy": "auto", "precision": "32", "effective_batch_size": 32,
                          "notes": [], "warnings": []})
        self.assertEqual((report["specs"], report["loader_workers"], report["platform"]), (["cpu:0"], 4, "linux"))
        text = self.done("resolve", "--precision", "bf16-mixed", "cpu")
        self.assertRegex(text, r"(?m)^accelerator +cpu$")
        self.assertRegex(text, r"(?m)^precision +bf16-mixed$")

    def test_devices_come_as_arguments_lists_and_json(self):
        self.environment["AIOS_CPU_DEVICES"] = "2"
        for arguments in (["cpu:0", "cpu:1"], ["cpu:0,cpu:1"], ['{"hardware": {"selected_devices": ["cpu:0", "cpu:1"]}}'], ['["cpu:0", "cpu:1"]']):
            report = json.loads(self.done("resolve", "--json", *arguments))
            self.assertEqual((report["specs"], report["strategy"]), (["cpu:0", "cpu:1"], "ddp"), arguments)
        report = json.loads(self.done("resolve", "--json", "--strategy", "parallel_independent", "cpu:0", "cpu:1"))
        self.assertEqual(report["strategy"], "parallel_independent")
        self.assertEqual(json.loads(self.done("resolve", "--json", "auto"))["specs"], ["cpu:0"])

    def test_a_selection_that_makes_no_sense_is_exit_2_and_one_sentence(self):
        for parts, *arguments in [
            (["No device selected"],),
            (["there is no device gpu:0; there are cpu:0"], "gpu:0"),
            (["cuda:0", "libaios-cuda.so"], "cuda:0"),
            (["cpu:0 is selected twice"], "cpu", "cpu:0"),
            (["\"cpu;0\"", "a device is"], "cpu;0"),
            (["precision is \"16\"", "32, 16-mixed or bf16-mixed"], "--precision", "16", "cpu"),
            (["strategy is \"zero\""], "--strategy", "zero", "cpu"),
            (["os is \"beos\"", "linux, windows or macos"], "--os", "beos", "cpu"),
            (["--batch-size is \"0\"", "from 1"], "--batch-size", "0", "cpu"),
            (["--num-workers is \"x\""], "--num-workers", "x", "cpu"),
            (["--batch-size needs a value"], "cpu", "--batch-size"),
            (["selection:1:"], '{"hardware"'),
            (["one of them selects"], "--load", "x", "cpu"),
            (["nowhere.json"], "--load", "nowhere.json"),
        ]:
            self.refused(2, parts, "resolve", *arguments)

    def test_a_selection_is_kept_and_tells_what_changed(self):
        self.environment["AIOS_CPU_DEVICES"] = "2"
        self.done("resolve", "--os", "windows", "--save", "devices.json", "cpu:1")
        self.environment["AIOS_CPU_DEVICES"] = "1"
        result = self.run_tool("resolve", "--json", "--os", "linux", "--load", "devices.json")
        report = json.loads(result.stdout)
        self.assertEqual((report["requested"], report["specs"]), (["cpu:1"], ["cpu:0"]))
        self.assertEqual(report["warnings"], ["empty_selection_defaulted", "selected_device_missing", "operating_system_changed"])
        self.assertEqual(len(report["changes"]), 2)
        for token in report["warnings"]:
            self.assertIn(token, result.stderr)
        with open(os.path.join(self.folder, "devices.json"), encoding="utf-8") as kept:
            self.assertEqual(json.load(kept)["hardware"]["selected_devices"], ["cpu:1"])


class Merge(ToolTest):
    def train(self, name, *flags):
        self.done("train", "--dataset-file", self.corpus(), *SMALL, "--save-dir", name, *flags)
        return f"{name}/checkpoints/step-00000005"

    def weights(self, folder):
        with open(os.path.join(self.folder, folder, "model.safetensors"), "rb") as file:
            size = struct.unpack("<Q", file.read(8))[0]
            header = json.loads(file.read(size))
            data = file.read()
        values = {}
        for name, tensor in header.items():
            if name != "__metadata__":
                begin, end = tensor["data_offsets"]
                values[name] = struct.unpack(f"<{(end - begin) // 4}f", data[begin:end])
        return values

    def test_the_mean_by_weights_and_a_model_that_is_usable(self):
        a, b = self.train("a"), self.train("b", "--seed", "7")
        self.done("merge", "--weights", "3,1", a, b, "-o", "merged")
        x, y, merged = self.weights(a), self.weights(b), self.weights("merged")
        self.assertEqual(list(merged), list(x))
        for name, values in merged.items():
            for k, value in enumerate(values):
                self.assertAlmostEqual(value, 0.75 * x[name][k] + 0.25 * y[name][k], delta=1e-6 * max(1, abs(value)))
        self.done("generate", "--model", "merged", "--max-tokens", "3", "--device", "cpu")

    def test_of_itself_it_is_itself_byte_for_byte(self):
        a = self.train("a")
        self.assertEqual(json.loads(self.done("merge", "--json", a, a, a, "--output", "same"))["merged"], 3)
        with open(os.path.join(self.folder, a, "model.safetensors"), "rb") as one, open(os.path.join(self.folder, "same/model.safetensors"), "rb") as two:
            self.assertEqual(one.read(), two.read())

    def test_what_is_not_finite_is_left_out_and_said(self):
        a, b = self.train("a"), self.train("b", "--seed", "7")
        path = os.path.join(self.folder, b, "model.safetensors")
        with open(path, "r+b") as file:
            file.seek(-4, os.SEEK_END)
            file.write(struct.pack("<f", float("nan")))
        result = self.run_tool("merge", a, b, "-o", "merged")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn("not finite", result.stderr)
        self.assertEqual(self.weights("merged"), self.weights(a))
        result = self.run_tool("merge", b, "-o", "nothing")
        self.assertEqual(result.returncode, 1)
        self.assertFalse(os.path.exists(os.path.join(self.folder, "nothing")))

    def test_mistakes(self):
        a, other = self.train("a"), self.train("other", "--n-embd", "16")
        for arguments, words in [([a, other, "-o", "m"], "n_embd"), ([a], "-o FOLDER"), (["-o", "m"], "folders"), ([a, "-o", a], "is there already"),
                                 ([a, a, "--weights", "1", "-o", "m"], "2 numbers"), ([a, a, "--weights", "1,-1", "-o", "m"], "-1"),
                                 ([a, "missing", "-o", "m"], "missing")]:
            result = self.run_tool("merge", *arguments)
            self.assertIn(result.returncode, (1, 2), arguments)
            self.assertIn(words, result.stderr)
            self.assertFalse(os.path.exists(os.path.join(self.folder, "m")))


class EarlierFlags(ToolTest):
    def test_they_mean_what_they_meant(self):
        self.environment["AIOS_CPU_DEVICES"] = "2"
        out = self.done("train", "--dataset-file", self.corpus(), *SMALL[:-2], "--gpu-ids", "cpu:0,cpu:1", "--world-size", "2", "--parallel-independent",
                        "--dataset-chunk-size", "20", "--linear-dataset", "on", "--brain-name", "mine", "--bundle-dir", "brains", "--json")
        start = [json.loads(line) for line in out.splitlines() if '"run_start"' in line][0]
        self.assertEqual((start["strategy"], start["device"]), ("parallel-independent", "cpu:0,cpu:1"))
        with open(os.path.join(self.folder, "brains/mine/chunk_tracker_state.json"), encoding="utf-8") as file:
            state = json.load(file)
        self.assertEqual((state["brain_id"], state["total_steps"]), ("mine", 5))
        with open(os.path.join(self.folder, "brains/mine/run.json"), encoding="utf-8") as file:
            self.assertEqual(json.load(file)["options"]["shuffle"], False)

    def test_mistakes(self):
        for flags, words in [(["--world-size", "2"], "1 device is named"), (["--cuda-ids", "a"], "as in 0,1"), (["--bundle-dir", "b"], "--brain-name"),
                             (["--brain-name", "a/b"], "folder's name"), (["--ddp=on"], "no value"), (["--linear-dataset", "maybe"], "on or off"),
                             (["--cuda-ids", "0"], "cuda:0")]:
            result = self.run_tool("train", "--dataset-file", self.corpus(), *SMALL[:-2], *flags)
            self.assertNotEqual(result.returncode, 0)
            self.assertIn(words, result.stderr)


class Completion(ToolTest):
    def complete(self, *words):
        """What bash offers for the last word."""
        quoted = " ".join("'" + w.replace("'", "'\\''") + "'" for w in words)
        script = (f'source <("{AIOS}" completion bash) || exit 1\nCOMP_WORDS=({quoted})\nCOMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))\n'
                  '_aios 2>/dev/null\nprintf "%s\\n" "${COMPREPLY[@]}"\n')
        result = subprocess.run(["bash", "--norc", "-c", script], env=self.environment, cwd=self.folder, text=True, capture_output=True,
                                timeout=60, check=False)
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        return sorted(result.stdout.split("\n")[:-1]) if result.stdout != "\n" else []

    def setUp(self):
        super().setUp()
        if not shutil.which("bash"):
            self.skipTest("no bash")

    def test_commands_flags_choices_and_files(self):
        self.write("corpus one.txt", "x")
        os.mkdir(os.path.join(self.folder, "models"))
        for words, offered in [
            (["tra"], ["train"]),
            (["--json", "tra"], ["train"]),
            (["--log-level", "debug", "ver"], ["version"]),
            (["train", "--batch"], ["--batch-size"]),
            (["train", "--res"], ["--resume"]),
            (["train", "--no-"], ["--no-gradient-checkpointing", "--no-iterate", "--no-keep-cpu", "--no-keep-global-batch", "--no-overlap", "--no-resume", "--no-shuffle", "--no-stop-after-epoch", "--no-strict", "--no-use-moe"]),
            (["train", "--top"], []),
            (["generate", "--top"], ["--top-k", "--top-p"]),
            (["train", "--precision", ""], ["16-mixed", "32", "bf16-mixed"]),
            (["train", "--precision", "b"], ["bf16-mixed"]),
            (["train", "--precision", "=", "b"], ["bf16-mixed"]),
            (["train", "--precision", "="], ["16-mixed", "32", "bf16-mixed"]),
            (["train", "--amp", "bf"], ["bf16-mixed"]),
            (["train", "--batch-size", "1"], []),
            (["train", "--dataset-file", "corp"], ["corpus one.txt"]),
            (["train", "--model", "m"], ["models"]),
            (["devices", "--js"], ["--json"]),
            (["--log-level", "d"], ["debug"]),
            (["options", "--mark"], ["--markdown"]),
            (["resolve", "--st"], ["--strategy"]),
            (["resolve", "--os", "w"], ["windows"]),
            (["resolve", "--precision", "b"], ["bf16-mixed"]),
            (["resolve", "--save", "corp"], ["corpus one.txt"]),
            (["resolve", "cu"], ["cuda:0"]),
            (["help", "gen"], ["generate"]),
            (["completion", "b"], ["bash"]),
        ]:
            self.assertEqual(self.complete("aios", *words), offered, words)

    def test_every_command_is_offered(self):
        self.assertLessEqual(set(COMMANDS), set(self.complete("aios", "")))

    def test_a_shell_finds_it_registered(self):
        result = subprocess.run(["bash", "--norc", "-c", f'source <("{AIOS}" completion bash); complete -p aios'], env=self.environment,
                                text=True, capture_output=True, timeout=60, check=True)
        self.assertIn("-F _aios aios", result.stdout)


class Puzzles(ToolTest):
    def test_data_makes_sets_and_says_what_they_hold(self):
        made = json.loads(self.done("data", "sudoku", "--puzzle-size", "4", "--train-count", "50", "--test-count", "20", "--augmentations",
                                    "2", "--output-dir", "s", "--json"))
        self.assertEqual((made["train"]["groups"], made["test"]["examples"], made["train"]["length"]), (50, 20, 16))
        for name in ("inputs", "labels", "puzzle_identifiers", "puzzle_indices", "group_indices"):
            for split in ("train", "test"):
                with open(os.path.join(self.folder, "s", split, f"all__{name}.npy"), "rb") as file:
                    self.assertEqual(file.read(6), b"\x93NUMPY")
        maze = self.done("data", "maze", "--puzzle-size", "9", "--train-count", "5", "--test-count", "0", "--output-dir", "m")
        self.assertIn("5 examples of 81 tokens", maze)

    SMALL = ["--hidden-size", "16", "--num-heads", "2", "--h-layers", "1", "--l-layers", "1", "--halt-max-steps", "3", "--expansion", "0.1",
             "--global-batch-size", "8", "--lr", "1e-3", "--lr-warmup-steps", "5", "--device", "cpu"]

    def test_hrm_trains_measures_and_solves(self):
        self.done("data", "sudoku", "--puzzle-size", "4", "--train-count", "40", "--test-count", "12", "--output-dir", "s")
        events = [json.loads(line) for line in self.done("hrm", "train", "--data-path", "s", "--steps", "12", "--log-interval", "4",
                                                         "--eval-interval", "6", "--save-dir", "run", "--json", *self.SMALL).splitlines()]
        self.assertEqual([e["step"] for e in events if e["event"] == "step"], [4, 8, 12])
        self.assertEqual([e["step"] for e in events if e["event"] == "eval"], [6, 12])
        self.assertEqual(events[0]["event"], "run_start")
        self.assertEqual(events[-1]["outcome"], "complete")
        last = [e for e in events if e["event"] == "eval"][-1]
        model = os.path.join("run", "checkpoints", "step-00000012")
        scores = json.loads(self.done("hrm", "eval", "--model", model, "--data-path", "s", "--global-batch-size", "5", "--json"))
        self.assertEqual(scores["examples"], 12)
        for name in ("exact_accuracy", "accuracy", "loss"):
            self.assertAlmostEqual(scores[name], last[name], 5)
        answer = json.loads(self.done("hrm", "solve", "--model", model, "1... ..2. .3.. ...4", "--json"))
        self.assertEqual((len(answer["grid"]), len(answer["answer"])), (16, 16))
        self.assertEqual(answer["grid"], "1.....2..3.....4")
        self.assertTrue(1 <= answer["steps"] <= 3)
        watched = self.done("hrm", "solve", "--model", model, "1.....2..3.....4", "--watch")
        self.assertEqual(watched.count("segment "), answer["steps"] + watched.count("\n1 segment "))
        with open(os.path.join(self.folder, model, "model.safetensors"), "rb") as file:
            header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
        for name in ("embed_tokens.embedding_weight", "lm_head.weight", "q_head.bias", "puzzle_emb.weights", "H_init", "L_init",
                     "H_level.layers.0.self_attn.qkv_proj.weight", "L_level.layers.0.mlp.gate_up_proj.weight"):
            self.assertIn("model.inner." + name, header)
        with open(os.path.join(self.folder, model, "model.safetensors"), "rb") as file: # as the reference names them where it was compiled
            data = file.read()
        renamed = json.dumps({k if k == "__metadata__" else "_orig_mod." + k: v for k, v in header.items()}).encode()
        renamed += b" " * (-len(renamed) % 8)
        os.makedirs(os.path.join(self.folder, "reference"))
        shutil.copy(os.path.join(self.folder, model, "config.json"), os.path.join(self.folder, "reference"))
        with open(os.path.join(self.folder, "reference", "model.safetensors"), "wb") as file:
            file.write(struct.pack("<Q", len(renamed)) + renamed + data[8 + struct.unpack("<Q", data[:8])[0]:])
        self.assertEqual(json.loads(self.done("hrm", "eval", "--model", "reference", "--data-path", "s", "--global-batch-size", "5", "--json")), scores)

    def test_hrm_killed_at_any_time_goes_on_as_if_it_were_not(self):
        self.done("data", "sudoku", "--puzzle-size", "4", "--train-count", "40", "--test-count", "4", "--output-dir", "s")
        train = ["hrm", "train", "--data-path", "s", "--steps", "30", "--log-interval", "1", "--checkpoint-interval", "4", "--halt-max-steps", "3",
                 "--lr-warmup-steps", "5", "--lr", "1e-2", "--json", *self.SMALL]
        steps = lambda lines: {e["step"]: e["loss"] for e in map(json.loads, lines) if e["event"] == "step"}
        whole = steps(self.done(*train, "--save-dir", "whole").splitlines())
        for killed in (3, 13, 22):
            folder, seen = f"run{killed}", []
            with subprocess.Popen([AIOS, *train, "--save-dir", folder], env=self.environment, cwd=self.folder, encoding="utf-8",
                                  stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
                for line in process.stdout:
                    seen.append(line)
                    if f'"step", "step": {killed},' in line:
                        process.kill()
                        break
            later = self.done(*train, "--save-dir", folder, "--resume").splitlines()
            self.assertEqual({**steps(seen), **steps(later)}, whole)
            with open(f"{self.folder}/{folder}/checkpoints/step-00000030/model.safetensors", "rb") as a, \
                    open(f"{self.folder}/whole/checkpoints/step-00000030/model.safetensors", "rb") as b:
                self.assertEqual(a.read(), b.read())

    def test_hrm_says_what_it_can_not_do(self):
        self.done("data", "sudoku", "--puzzle-size", "4", "--train-count", "9", "--test-count", "3", "--output-dir", "s")
        self.done("data", "maze", "--puzzle-size", "5", "--train-count", "3", "--test-count", "3", "--output-dir", "m")
        self.done("hrm", "train", "--data-path", "s", "--steps", "1", "--save-dir", "run", *self.SMALL)
        model = os.path.join("run", "checkpoints", "step-00000001")
        self.refused(2, ["train, eval and solve"], "hrm", "dance")
        self.refused(2, ["data-path is empty"], "hrm", "train")
        self.refused(2, ["nowhere"], "hrm", "train", "--data-path", "nowhere")
        self.refused(2, ["--lr is not for hrm eval"], "hrm", "eval", "--model", model, "--data-path", "s", "--lr", "1")
        self.refused(2, ["25 tokens", "made for others"], "hrm", "eval", "--model", model, "--data-path", "m", "--global-batch-size", "2")
        self.refused(2, ["a puzzle of 4 cells", "takes 16"], "hrm", "solve", "--model", model, "1234")
        self.refused(2, ["'x'"], "hrm", "solve", "--model", model, "12x4")
        self.refused(2, ["cell 0 is 9"], "hrm", "solve", "--model", model, "8..............1")
        self.refused(2, ["steps is 3 and epochs 2"], "hrm", "train", "--data-path", "s", "--steps", "3", "--epochs", "2", *self.SMALL)
        self.refused(2, ["--watch"], "hrm", "eval", "--watch")

    def test_what_a_kind_does_not_know_is_refused(self):
        self.refused(2, ["sudoku, maze or arc", "chess"], "data", "chess", "--output-dir", "x")
        self.refused(2, ["--clues", "not for maze"], "data", "maze", "--clues", "3", "--output-dir", "x")
        self.refused(2, ["--output-dir is missing"], "data", "sudoku")
        self.refused(2, ["size is 5", "4, 6 or 9"], "data", "sudoku", "--puzzle-size", "5", "--output-dir", "x")
        self.refused(2, ["nowhere"], "data", "arc", "--training-dir", "nowhere", "--output-dir", "x")


class Chunks(ToolTest):
    STATE = {"brain_id": "old", "dataset_name": "tiny", "current_epoch": 0, "total_blocks_in_dataset": 3, "total_true_steps": 9,
             "completed_chunks": [{"block_id": 0, "chunk_id": chunk, "gpu_id": chunk % 2, "step": 7, "samples_trained": 2}
                                  for chunk in range(3)]}

    def test_a_state_is_told_by_epoch_block_and_device_and_left_alone(self):
        path = self.write("chunk_tracker_state.json", json.dumps(self.STATE))
        for state in (self.folder, path, "chunk_tracker_state.json"):
            text = self.done("chunks", state)
            for part in ("tiny", "300,000 in 3 blocks", "3 of 75", "3 of 25", "66.7 %", "9"):
                self.assertIn(part, text)
        report = json.loads(self.done("chunks", path, "--json"))
        self.assertEqual(report["total_blocks_in_dataset"], 3)
        self.assertEqual(report["total_steps"], 9)
        self.assertEqual([(e["epoch"], e["chunks"], e["chunks_committed"], e["complete"]) for e in report["epochs"]], [(0, 75, 3, False)])
        self.assertEqual([(d["gpu_id"], d["samples_committed"]) for d in report["epochs"][0]["devices"]][-2:], [(0, 8000), (1, 4000)])
        self.assertEqual([(b["block_id"], b["samples_trained"]) for b in report["blocks_this_epoch"]], [(0, 12000)])
        self.assertEqual(report["in_progress_chunks"], [])
        self.assertEqual(sorted(os.listdir(self.folder)), ["chunk_tracker_state.json", "plugins"])

    def test_a_damaged_state_is_named(self):
        path = self.write("chunk_tracker_state.json", json.dumps(self.STATE)[:100])
        self.refused(1, ["chunk_tracker_state.json:1:", "left as it is"], "chunks", path)


class Hub(http.server.BaseHTTPRequestHandler):
    """A data set as the Hugging Face Hub serves it, breaking off in the middle the first time."""
    text = "".join(f"{i} bottles\n" for i in range(20000)).encode()
    commit = "0123456789abcdef0123456789abcdef01234567"
    requests = []
    ranges = []
    hold = None  # an event that the first bytes of a file wait for before the connection ends

    def do_GET(self):
        self.requests.append(self.path)
        self.ranges.append(self.headers.get("Range"))
        if self.path.startswith("/api/datasets/org/name/revision/main"):
            digest = hashlib.sha256(self.text).hexdigest()
            body = json.dumps({"sha": self.commit, "siblings": [
                {"rfilename": "train.txt", "size": len(self.text), "blobId": self.commit, "lfs": {"sha256": digest, "size": len(self.text)}},
                {"rfilename": "old/train.parquet", "size": 1, "blobId": self.commit}]}).encode()
            start = 0
        elif self.path == f"/datasets/org/name/resolve/{self.commit}/train.txt":
            body = self.text
            start = int((self.headers.get("Range") or "bytes=0-")[6:-1])
        else:
            self.send_error(404)
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        self.wfile.write(body[start:] if start or body is not self.text else body[:1000])
        self.wfile.flush()
        if self.hold and body is self.text and not start:
            self.hold.wait(60)
        self.close_connection = True

    def log_message(self, *_):
        pass


class Data(ToolTest):
    def train(self, path):
        return ["train", *SMALL, "--dataset-file", path]

    def test_archives_of_other_programs_are_read(self):
        text = "".join(f"line {i} of a text to learn from\n" for i in range(400))
        lines = "".join(json.dumps({"text": f"line {i} \u00fcber"}) + "\n" for i in range(400))
        with zipfile.ZipFile(os.path.join(self.folder, "a.zip"), "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("a/text.txt", text)
            archive.writestr("a/l\u00efnes.jsonl", lines)
        for kind in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
            with tarfile.open(os.path.join(self.folder, f"a{kind}.tar.gz"), "w:gz", format=kind) as archive:
                for name, content in (("a/text.txt", text), ("a/l\u00efnes" + 20 * "-and-longer" + ".jsonl", lines)):
                    member = tarfile.TarInfo(name if kind != tarfile.USTAR_FORMAT else name[-60:])
                    member.size = len(content.encode())
                    archive.addfile(member, io.BytesIO(content.encode()))
        first = None
        for name in ("a.zip", f"a{tarfile.USTAR_FORMAT}.tar.gz", f"a{tarfile.GNU_FORMAT}.tar.gz", f"a{tarfile.PAX_FORMAT}.tar.gz"):
            report = json.loads(self.done("eval", "--model", self.model(), "--dataset-file", name, "--eval-batches", "0", "--device", "cpu", "--json"))
            first = first or report
            self.assertEqual(report["loss"], first["loss"], name)

    def model(self):
        """A model that was trained a little, made once per test."""
        folder = os.path.join(self.folder, "run")
        if not os.path.isdir(folder):
            self.done(*self.train(self.corpus()), "--save-dir", folder)
        return os.path.join(folder, "checkpoints", "step-00000005")

    def serve_hub(self, hold=None):
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        Hub.requests.clear()
        Hub.ranges.clear()
        Hub.hold = hold
        self.environment.update(HF_ENDPOINT=f"http://127.0.0.1:{server.server_port}/", HF_HOME=os.path.join(self.folder, "hf"), no_proxy="127.0.0.1")

    def test_a_download_that_was_killed_goes_on(self):
        hold = threading.Event()
        self.addCleanup(hold.set)
        self.serve_hub(hold)
        blobs = os.path.join(self.folder, "hf", "hub", "datasets--org--name", "blobs")
        with subprocess.Popen([AIOS, "data", "text", "--dataset-file", "hf://org/name"], env=self.environment, cwd=self.folder) as process:
            part = os.path.join(blobs, hashlib.sha256(Hub.text).hexdigest() + ".incomplete")
            end = time.monotonic() + 60
            while not (os.path.exists(part) and os.path.getsize(part) == 1000) and time.monotonic() < end:
                time.sleep(0.02)
            self.assertEqual(os.path.getsize(part), 1000)
            process.kill()
        self.environment["HF_HUB_OFFLINE"] = "1"
        self.refused(1, ["is not in the cache", "HF_HUB_OFFLINE"], "data", "text", "--dataset-file", "hf://org/name")
        del self.environment["HF_HUB_OFFLINE"]
        report = json.loads(self.done("data", "text", "--dataset-file", "hf://org/name", "--json"))
        self.assertEqual(report["text_bytes"], len(Hub.text))
        self.assertEqual(Hub.ranges[-1], "bytes=1000-")
        self.assertEqual(os.listdir(blobs), [hashlib.sha256(Hub.text).hexdigest()])

    def test_a_data_set_of_the_hub_is_fetched_once(self):
        self.serve_hub()
        events = [json.loads(line) for line in self.done(*self.train("hf://org/name"), "--json").splitlines()]
        fetched = [event for event in events if event.get("phase") == "fetching"]
        self.assertEqual(fetched[-1]["done"], len(Hub.text))
        self.assertEqual(fetched[-1]["total"], len(Hub.text))
        self.assertEqual(len(Hub.requests), 3, Hub.requests)  # the list, what broke off, the rest
        with open(os.path.join(self.folder, "hf", "hub", "datasets--org--name", "snapshots", Hub.commit, "train.txt"), "rb") as file:
            self.assertEqual(file.read(), Hub.text)
        self.environment["HF_HUB_OFFLINE"] = "1"
        self.done(*self.train("hf://org/name:train"))
        self.assertEqual(len(Hub.requests), 3)
        self.refused(1, ["no split", "train.txt"], *self.train("hf://org/name:test"))
        del self.environment["HF_HUB_OFFLINE"]
        self.refused(2, ["old/train.parquet: .parquet files are not read", "to_json"], *self.train("hf://org/name/old"))
        self.refused(2, ["hf://org/none", "404"], *self.train("hf://org/none"))

    def test_a_text_is_made_ready_and_described(self):
        path = self.write("a.txt", "x" * 4000)
        arguments = ["data", "text", "--dataset-file", path, "--max-seq-len", "10", "--eval-fraction", "0", "--dataset-block-size", "150",
                     "--dataset-chunk-size", "40"]
        report = json.loads(self.done(*arguments, "--json"))
        self.assertEqual((report["tokens"], report["samples"]), (4001, 400))
        self.assertEqual((report["blocks"], report["last_block_samples"]), (3, 100))  # 150, 150, 100
        self.assertEqual((report["chunks"], report["last_chunk_samples"]), (11, 20))  # 4 + 4 + 3, of 40, 40 and 20
        self.assertTrue(os.path.exists(report["cache"]))
        self.assertIn(report["identity"], self.done(*arguments))
        whole = json.loads(self.done(*arguments[:-3], "100", "--dataset-chunk-size", "25", "--json"))
        self.assertEqual((whole["blocks"], whole["last_block_samples"], whole["chunks"], whole["last_chunk_samples"]), (4, 100, 16, 25))
        self.assertEqual(whole["identity"], report["identity"])  # how it is cut is no matter
        other = json.loads(self.done(*arguments, "--seed", "2", "--json"))
        self.assertNotEqual(other["identity"], report["identity"])
        self.refused(2, ["--clues is not for text"], *arguments, "--clues", "3")
        self.refused(2, ["--max-seq-len is not for sudoku"], "data", "sudoku", "--max-seq-len", "4", "--output-dir", "x")
        self.refused(2, ["--dataset-file is missing"], "data", "text")
        self.refused(2, ["nowhere.txt"], "data", "text", "--dataset-file", "nowhere.txt")

    def test_a_library_that_is_missing_is_named(self):
        """A folder whose libraries are none stands before those of the machine."""
        for name in ("libarchive.so.13", "libcurl.so.4", "libcurl-gnutls.so.4"):
            self.write(name, "no library")
        self.environment.update(LD_LIBRARY_PATH=self.folder, HF_HOME=os.path.join(self.folder, "hf"))
        with zipfile.ZipFile(os.path.join(self.folder, "a.zip"), "w") as archive:
            archive.writestr("a.txt", "text")
        self.refused(1, ["a.zip", "libarchive13", "unpack"], *self.train("a.zip"))
        self.refused(1, ["hf://org/name", "libcurl4", "fetch the files with another program"], *self.train("hf://org/name"))


class Training(ToolTest):
    def train(self, *more, json_output=True):
        return ["train", *SMALL, "--dataset-file", self.corpus(), "--save-dir", "run", *(["--json"] if json_output else []), *more]

    def events(self, text):
        return [json.loads(line) for line in text.splitlines()]

    def test_json_is_one_event_per_line_and_nothing_else(self):
        result = self.run_tool(*self.train())
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        events = self.events(result.stdout)
        names = [e["event"] for e in events]
        self.assertEqual([e["step"] for e in events if e["event"] == "step"], [1, 2, 3, 4, 5])
        self.assertLess(names.index("run_start"), names.index("step"))
        self.assertLess(names.index("step"), names.index("checkpoint_save"))
        self.assertEqual(names[-1], "training_complete")

    def test_plain_lines_have_first_and_last_step_and_what_to_do_next(self):
        text = self.done(*self.train(json_output=False))
        self.assertNotIn("\r", text)
        self.assertNotIn("\033", text)
        self.assertIn("\nstep 1/5 ", text)
        self.assertIn("\nstep 5/5 ", text)
        self.assertRegex(text, r"(?m)^checkpoint .*run/checkpoints/step-00000005$")
        self.assertRegex(text, r"(?m)^sample +aios generate --model .*run/checkpoints/step-00000005$")

    def test_quiet_says_nothing(self):
        self.assertEqual(self.done(*self.train("--quiet", json_output=False)), "")

    def test_a_checkpoint_is_evaluated_and_sampled(self):
        events = self.events(self.done(*self.train()))
        model = [e["path"] for e in events if e["event"] == "checkpoint_save"][-1]
        evaluation = ["eval", "--model", model, "--dataset-file", self.corpus(), "--device", "cpu", "--max-seq-len", "16"]
        report = json.loads(self.done(*evaluation, "--json"))
        self.assertGreater(report["tokens"], 0)
        self.assertGreater(report["loss"], 0)
        self.assertIn("perplexity", self.done(*evaluation))
        sampling = ["generate", "--model", model, "--device", "cpu", "--max-tokens", "8", "--sample-seed", "5"]
        samples = self.events(self.done(*sampling, "--prompt", "line", "--samples", "2", "--json"))
        self.assertEqual([(s["sample"], s["seed"], s["prompt"]) for s in samples], [(0, 5, "line"), (1, 6, "line")])
        self.assertEqual(samples, self.events(self.done(*sampling, "--prompt", "line", "--samples", "2", "--json")))
        self.refused(2, ["context"], *sampling, "--prompt", "far too long " * 10)
        raw = subprocess.run([AIOS, *sampling, "--prompt", "-"], env=self.environment, cwd=self.folder, input=b"line", capture_output=True,
                             timeout=60, check=True)
        self.assertEqual(raw.stdout.decode(errors="replace").rstrip("\n"), ("line" + samples[0]["text"]).rstrip("\n"))

    def test_ctrl_c_ends_a_sample_and_keeps_its_text(self):
        events = self.events(self.done(*self.train()))
        model = [e["path"] for e in events if e["event"] == "checkpoint_save"][-1]
        sampling = ["generate", "--model", model, "--device", "cpu", "--max-tokens", "1000000000", "--prompt", "line"]
        for seed in range(1, 41):  # a text that ends by itself before the signal proves nothing: take another
            command = [AIOS, *sampling, "--sample-seed", str(seed)]
            with subprocess.Popen(command, env=self.environment, cwd=self.folder, stdout=subprocess.PIPE) as process:
                seen = process.stdout.read(20)
                process.send_signal(signal.SIGINT)
                rest, _ = process.communicate(timeout=60)
            if process.returncode == 130:
                break
            self.assertIn(process.returncode, (0, -signal.SIGINT))
        self.assertEqual(process.returncode, 130)
        self.assertTrue(seen.startswith(b"line") and rest.endswith(b"\n"), (seen, rest[-20:]))

    def stopped_by(self, number):
        with subprocess.Popen([AIOS, *self.train("--steps", "1000000")], env=self.environment, cwd=self.folder, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            for line in process.stdout:
                if '"event": "step"' in line:
                    break
            process.send_signal(number)
            rest, error = process.communicate(timeout=60)
        return process.returncode, self.events(rest), error

    def test_a_signal_saves_a_checkpoint_and_is_the_exit_code(self):
        for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)):
            returned, events, error = self.stopped_by(number)
            self.assertEqual(returned, code, error)
            self.assertIn("stopping after this step", error)
            saved = [e for e in events if e["event"] == "checkpoint_save"]
            self.assertTrue(saved)
            self.assertTrue(os.path.isdir(os.path.join(self.folder, saved[-1]["path"])))
            shutil.rmtree(os.path.join(self.folder, "run"))

    def test_after_a_stop_the_printed_command_goes_on(self):
        with subprocess.Popen([AIOS, *self.train("--steps", "1000000", json_output=False)], env=self.environment, cwd=self.folder,
                              text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            for line in process.stdout:
                if line.startswith("step 1/"):
                    break
            process.send_signal(signal.SIGINT)
            rest, _ = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 130)
        resume = re.search(r"(?m)^resume +aios (.*)$", rest).group(1)
        self.assertTrue(resume.endswith("--resume"), resume)
        steps = int(re.search(r"(?m)^stopped at step ([\d,]+)", rest).group(1).replace(",", "")) + 2
        resumed = subprocess.run(["sh", "-c", f'"{AIOS}" {resume} --json --steps {steps}'], env=self.environment, cwd=self.folder,
                                 text=True, capture_output=True, timeout=60, check=True)
        events = self.events(resumed.stdout)
        self.assertEqual([e["step"] for e in events if e["event"] == "step"], [steps - 1, steps])

    def test_a_reader_that_leaves_stops_and_saves(self):
        with subprocess.Popen([AIOS, *self.train("--steps", "1000000")], env=self.environment, cwd=self.folder, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE) as process:
            process.stdout.readline()
            process.stdout.close()
            error = process.stderr.read()
            self.assertEqual((process.wait(timeout=60), error), (-signal.SIGPIPE, b""))
        self.assertTrue(os.listdir(os.path.join(self.folder, "run", "checkpoints")))

    def terminal(self, width, *arguments):
        """What the command writes to a terminal of that width."""
        master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
        with subprocess.Popen([AIOS, *arguments], env=self.environment, cwd=self.folder, stdin=slave, stdout=slave, stderr=slave,
                              start_new_session=True) as process:
            os.close(slave)
            seen, end = b"", time.monotonic() + 60
            while time.monotonic() < end:
                if not select.select([master], [], [], 1)[0]:
                    continue
                try:
                    part = os.read(master, 65536)
                except OSError:  # the terminal's other side is closed
                    break
                if not part:
                    break
                seen += part
            os.close(master)
            self.assertEqual(process.wait(timeout=60), 0, seen)
        return seen.decode()

    def test_a_terminal_shows_one_bar_that_fits(self):
        for width in (40, 80, 120):
            text = self.terminal(width, *self.train(json_output=False))
            drawings = [part for part in re.split(r"\r\033\[K|\r\n", text) if re.match(r" *\d+/5 ", part)]
            self.assertTrue(drawings, text)
            for drawing in drawings:
                self.assertLess(len(drawing), width)
                self.assertEqual("[" in drawing, width > 40, drawing)
            self.assertIn("loss", drawings[-1])
            self.assertIn("5/5 ", drawings[-1])
            lines = text.split("\r\n")
            self.assertTrue(any(re.match(r"(\r\033\[K)?complete", line.split("\033[K")[-1]) or "sample " in line for line in lines), text)
            self.assertNotRegex(text, "\033\\[[0-9;]*m")  # no colour
            shutil.rmtree(os.path.join(self.folder, "run"), ignore_errors=True)


if __name__ == "__main__":
    unittest.main()
