#!/usr/bin/env python3
"""What the aios command promises of its words: help, flags, wrong use, reports, completion."""
import json
import os
import re
import shutil
import signal
import subprocess
import unicodedata
import unittest

from common import AIOS, COMMANDS, SMALL, ToolTest, environment

PAGE = os.environ["AIOS_OPTIONS_PAGE"]


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
        path = self.write("run.json", '\ufeff{"batch-size": 3, "device": "cpu:99", "dataset_file": "nothing.txt"}')
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

    def test_tables_count_the_columns_of_a_terminal(self):
        name = "e\u0301 \u4e2d\u6587 \U0001f600".encode()  # a letter of two characters, wide ones, a picture: 8 columns, 15 bytes
        with open(os.path.join(os.environ.get("AIOS_TEST_PLUGINS", ""), "libaios-template.so"), "rb") as file:
            image = file.read()
        self.assertEqual((image.count(b"Template device\0"), len(name)), (1, 15))
        with open(os.path.join(self.folder, "plugins", "libaios-template.so"), "wb") as file:
            file.write(image.replace(b"Template device", name))
        columns = lambda text: sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)
        for locale in ("C", "C.UTF-8"):
            self.environment["LC_ALL"] = locale
            lines = self.done("devices").splitlines()
            self.assertEqual(len(lines), 3)
            self.assertIn(name.decode(), lines[2])
            places = {columns(re.match(r"(.*?)(Memory|[\d.]+ [KMG]iB) ", line).group(1)) for line in lines}
            self.assertEqual(len(places), 1, lines)

    def test_a_message_is_never_cut_inside_a_character(self):
        for word in ("\u00e9" * 3000, "x" + "\u00e9" * 3000, "\U0001f600" * 999):
            message = subprocess.run([AIOS, word], env=self.environment, capture_output=True, timeout=60, check=False).stderr
            self.assertGreater(len(message.decode("utf-8")), 500)

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
        for flags, words in [(["--world-size", "2"], "1 device is named"), (["--cuda-ids", "a"], "as in 0,1"), (["--cuda-ids", ","], "as in 0,1"),
                             (["--cuda-ids", ",".join(map(str, range(500)))], "more devices than"), (["--world-size", "1x"], "1 device is named"), (["--bundle-dir", "b"], "--brain-name"),
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


if __name__ == "__main__":
    unittest.main()
