#!/usr/bin/env python3
"""`aios train`: what it prints, how it is stopped and goes on, and what becomes of its checkpoints (eval, generate, merge)."""
import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import time
import unittest

from common import AIOS, SMALL, ToolTest, catches


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

    def test_ctrl_c_ends_an_evaluation_with_what_was_done(self):
        model = [e["path"] for e in self.events(self.done(*self.train())) if e["event"] == "checkpoint_save"][-1]
        text = self.write("long.txt", "a text that takes a while, since it is evaluated byte by byte\n" * 10000)
        evaluation = [AIOS, "eval", "--model", model, "--dataset-file", text, "--device", "cpu", "--max-seq-len", "16", "--batch-size", "1", "--eval-batches", "0"]
        for more in (["--json"], []):
            code, out, words = self.interrupted(evaluation + more)
            self.assertEqual(code, 130, words)
            done, count = re.search(r"stopped after (\d+) of (\d+) micro-batches", words).groups()
            self.assertLess(int(done), int(count))
            if more:
                report = json.loads(out)
                self.assertEqual((report["stopped"], report["tokens"]), (True, 16 * int(done)))

    def test_an_evaluation_shows_a_bar_at_a_terminal(self):
        model = [e["path"] for e in self.events(self.done(*self.train())) if e["event"] == "checkpoint_save"][-1]
        text = self.write("long.txt", "a text that takes a while, since it is evaluated byte by byte\n" * 10000)
        out = self.terminal(80, "eval", "--model", model, "--dataset-file", text, "--device", "cpu", "--batch-size", "1", "--eval-batches", "0",
                            interrupt_at=b"ETA", code=130)
        self.assertRegex(out, r"\r\033\[Kevaluating \[=*>? *\] \d+ %  ETA [\d:]+\r\033\[K")

    def interrupted_in_the_text(self, number, command):
        """Code, names of later events and words of a command that gets a signal while it tokenizes."""
        with subprocess.Popen([AIOS, *command, "--json"], env=self.environment, cwd=self.folder, text=True, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE) as process:
            seen = process.stdout.readline()
            process.send_signal(number)
            rest, words = process.communicate(timeout=60)
        self.assertEqual(self.events(seen)[0]["phase"], "tokenizing")
        return process.returncode, {e["event"] for e in self.events(rest)}, words

    def take_cache(self):
        """Which files are in it; there is none any more."""
        names = os.listdir(os.path.join(self.folder, "cache", "aios"))
        shutil.rmtree(os.path.join(self.folder, "cache"))
        return names

    def test_a_signal_while_the_text_is_tokenized_ends_it_and_leaves_what_is_whole(self):
        text, long = self.write("text.txt", "a text of a line\n" * 9), self.write("long.txt", "")
        os.truncate(long, 1 << 30)  # seconds of work, and no room on the disk
        run, model = ["--device", "cpu", "--save-dir", "run"], ["--n-layer", "1", "--n-head", "2", "--n-embd", "32", "--max-seq-len", "16"]
        for number, code, command in ((signal.SIGINT, 130, ["train", "--eval-file", long, *model, *run]),
                                      (signal.SIGTERM, 143, ["hrm-hf", "train-actv1", "--eval-file", long, *run])):
            returned, events, words = self.interrupted_in_the_text(number, [*command, "--dataset-file", text])
            self.assertEqual((returned, events - {"data"}), (code, set()), words)
            self.assertRegex(words, r"\Aaios: interrupted while the text was prepared, before the first step: [^\n]*long\.txt[^\n]*\n\Z")
            self.assertRegex(" ".join(self.take_cache()), r"\A\w+\.tokens\Z")  # of text.txt
            self.assertFalse(os.path.exists(os.path.join(self.folder, "run")))
        self.done("train", "--dataset-file", text, "--steps", "1", *model, *run)
        self.take_cache()
        code, out, words = self.interrupted([AIOS, "eval", "--model", "run/checkpoints/step-00000001", "--dataset-file", long, "--device", "cpu", "--json"])
        self.assertEqual((code, self.take_cache()), (130, []), words)
        self.assertEqual([json.loads(out)[key] for key in ("stopped", "tokens", "loss")], [True, 0, None])
        code, out, words = self.interrupted([AIOS, "data", "text", "--dataset-file", long])
        self.assertEqual((code, out, self.take_cache()), (130, "", []), words)

    def test_a_signal_ends_a_process_that_waits_for_others(self):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            waiting = dict(AIOS_RANK="1", AIOS_RANKS="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(free.getsockname()[1]), AIOS_JOB="nobody")
            with subprocess.Popen([AIOS, *self.train()], env={**self.environment, **waiting}, cwd=self.folder, text=True, stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE) as process:
                while not catches(process, signal.SIGTERM):
                    time.sleep(0.01)
                process.send_signal(signal.SIGTERM)
                out, words = process.communicate(timeout=60)
        self.assertEqual((process.returncode, out, words), (143, "", "\naios: interrupted before the first step\n"))

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

    def test_a_folder_may_end_with_a_slash_and_no_message_has_two(self):
        train = ["train", *SMALL, "--dataset-file", self.corpus(), "--cache-dir", "cache//", "--save-dir", "run//", "--tensorboard", "board/"]
        words = [self.done(*train), self.done("report", "run//"), self.done("data", "text", "--dataset-file", self.corpus(), "--cache-dir", "cache/")]
        model = "run/checkpoints/step-00000005"
        os.mkdir(os.path.join(self.folder, "empty"))
        for command in (["merge", model + "//", "-o", "/proc/x/"], ["merge", model + "/", "empty//", "-o", "merged"], train,
                        ["generate", "--model", "empty//"], ["eval", "--model", "run//", "--dataset-file", "corpus.txt"],
                        ["hrm", "eval", "--model", "empty/", "--data-path", "empty//"], ["train", *SMALL, "--dataset-file", "empty//"]):
            result = self.run_tool(*command)
            self.assertIn(result.returncode, (1, 2), result.stdout + result.stderr)
            words.append(result.stderr)
        self.assertNotRegex("".join(words), r"//[^ ):]")  # behind them stands a name; a folder alone is written as it was given
        self.assertIn("run/report.html", words[1])

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


if __name__ == "__main__":
    unittest.main()
