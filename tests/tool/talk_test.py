#!/usr/bin/env python3
"""`aios generate` with many prompts and stops, and `aios chat`, through a pipe and at a terminal."""
import ctypes.util
import json
import os
import pty
import select
import shutil
import subprocess
import tempfile
import termios
import time
import unittest

AIOS = os.environ["AIOS_TOOL"]


class Talk(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix="aios-talk-")
        cls.addClassCleanup(shutil.rmtree, cls.folder, ignore_errors=True)
        os.mkdir(os.path.join(cls.folder, "plugins"))
        cls.environment = {**{k: v for k, v in os.environ.items() if not k.startswith("AIOS_")}, "LC_ALL": "C.UTF-8",
                           "AIOS_BACKEND_PATH": os.path.join(cls.folder, "plugins"), "XDG_CACHE_HOME": os.path.join(cls.folder, "cache")}
        with open(os.path.join(cls.folder, "text.txt"), "w", encoding="utf-8") as text:
            text.write("User: who sat?\nAssistant: the cat sat.\nUser: who ran?\nAssistant: the dog ran.\n" * 60)
        trained = cls.tool("train", "--dataset-file", "text.txt", "--save-dir", "run", "--n-layer", "2", "--n-head", "2", "--n-embd", "32",
                                      "--max-seq-len", "96", "--batch-size", "4", "--steps", "250", "--lr", "1e-2", "--device", "cpu", "--quiet")
        assert trained.returncode == 0, trained.stderr
        cls.model = os.path.join(cls.folder, "run", "checkpoints", "step-00000250")

    @classmethod
    def tool(cls, *arguments, **more):
        return subprocess.run([AIOS, *arguments], env=cls.environment, cwd=cls.folder, encoding="utf-8", capture_output=True, timeout=120,
                              check=False, **more)

    def run_model(self, command, *arguments, code=0, **more):
        result = self.tool(command, "--model", self.model, "--sample-seed", "7", "--device", "cpu", *arguments, **more)
        self.assertEqual(result.returncode, code, result.stdout + result.stderr)
        return result

    def samples(self, *arguments, **more):
        return [json.loads(line) for line in self.run_model("generate", "--json", "--max-tokens", "60", *arguments, **more).stdout.splitlines()]

    def test_each_prompt_has_its_samples_whatever_others_there_are(self):
        both = self.samples("--prompt", "User: who", "--prompt", "Assistant:", "--samples", "2", "--temperature", "2")
        alone = [self.samples("--prompt", prompt, "--samples", "2", "--temperature", "2") for prompt in ("User: who", "Assistant:")]
        self.assertEqual(both, alone[0] + alone[1])
        self.assertEqual([(s["sample"], s["seed"]) for s in both], [(0, 7), (1, 8)] * 2)
        self.assertNotEqual(both[0]["text"], both[1]["text"])

    def test_prompts_come_from_files(self):
        for name, text in (("plain.txt", "User: who\n\nAssistant:\n"), ("prompts.jsonl", '"User: who"\n{"prompt": "Assistant:", "id": 3}\n'),
                           ("windows.txt", "\ufeffUser: who\r\n\r\nAssistant:\r\n"), ("windows.jsonl", '\ufeff"User: who"\r\n\r\n"Assistant:"')):
            with open(os.path.join(self.folder, name), "w", encoding="utf-8", newline="") as file:
                file.write(text)
            self.assertEqual([s["prompt"] for s in self.samples("--prompts", name)], ["User: who", "Assistant:"])
        self.assertEqual([s["prompt"] for s in self.samples("--prompts", "-", input="one\ntwo\n")], ["one", "two"])
        with open(os.path.join(self.folder, "wrong.jsonl"), "w", encoding="utf-8") as file:
            file.write('"good"\n{"text": "no prompt"}\n')
        with open(os.path.join(self.folder, "twice.jsonl"), "w", encoding="utf-8") as file:
            file.write('{"prompt": "a", "prompt": "b"}\n')
        for path, part in (("wrong.jsonl", "wrong.jsonl, line 2"), ("twice.jsonl", "twice.jsonl, line 1"), ("nowhere.txt", "can't be opened"), ("/dev/null", "has no prompt")):
            self.assertIn(part, self.run_model("generate", "--prompts", path, code=2).stderr)

    def test_text_ends_before_the_first_stop(self):
        whole = self.samples("--prompt", "User: who")[0]
        self.assertEqual(whole["stopped_by"], "end")
        for stops in (["sat"], ["ran.", "cat"], [whole["text"][20:31]], ["never written"]):
            cut = self.samples("--prompt", "User: who", *(word for stop in stops for word in ("--stop", stop)))[0]
            at = min([whole["text"].find(stop) for stop in stops if stop in whole["text"]], default=len(whole["text"]))
            self.assertEqual((cut["text"], cut["stopped_by"]), (whole["text"][:at], "stop" if at < len(whole["text"]) else "end"))
        plain = self.run_model("generate", "--max-tokens", "60", "--prompt", "User: who", "--stop", "sat").stdout
        self.assertEqual(plain, "User: who" + whole["text"].partition("sat")[0] + "\n")
        self.assertIn("--stop is empty", self.run_model("generate", "--stop", "", code=2).stderr)

    def test_a_conversation_through_a_pipe(self):
        turns = [json.loads(line) for line in
                 self.run_model("chat", "--json", "--temperature", "0", input="who sat?\nwho ran?\n").stdout.splitlines()]
        self.assertEqual([(t["turn"], t["user"]) for t in turns], [(1, "who sat?"), (2, "who ran?")])
        self.assertEqual([t["assistant"] for t in turns], ["the cat sat.", "the dog ran."])  # what it was trained on, and no word of the user's
        plain = self.run_model("chat", "--temperature", "0", "--prompt", "who sat?", input="who ran?\n/history\n").stdout
        self.assertEqual(plain, "the cat sat.\nthe dog ran.\nUser: who sat?\nAssistant: the cat sat.\nUser: who ran?\nAssistant: the dog ran.\n")

    def test_what_can_be_said_besides(self):
        result = self.run_model("chat", "--temperature", "0", "--max-tokens", "20",
                                input="/help\nwho sat?\n/undo\n/history\nwho \\\nran?\n/retry\n/set max-tokens 3\nwho sat?\n/set top-p 7\n/nope\n/save talk.jsonl\n"
                                "/system Be short.\n/history\n/reset\n/quit\nnever read\n")
        lines = result.stdout.splitlines()
        for command in ("history", "reset", "undo", "retry", "system", "set", "save", "quit"):
            self.assertTrue(any(line.startswith(f"/{command} ") for line in lines), command)
        self.assertIn("Be short.", lines)
        self.assertNotIn("never read", result.stdout)
        for part in ("top-p is 7", "\"/nope\" is no command"):
            self.assertIn(part, result.stderr)
        with open(os.path.join(self.folder, "talk.jsonl"), encoding="utf-8") as file:
            kept = [json.loads(line) for line in file]
        self.assertEqual([turn["user"] for turn in kept], ["who \nran?", "who sat?"])
        self.assertLessEqual(len(kept[1]["assistant"]), 3)  # tokens are bytes
        self.assertGreater(len(kept[0]["assistant"]), 3)
        self.assertIn("--samples is not for chat", self.run_model("chat", "--samples", "2", code=2).stderr)

    def test_a_long_conversation_loses_its_oldest_turns(self):
        turns = self.run_model("chat", "--json", "--temperature", "0", "--max-tokens", "16", input="who sat?\n" * 8).stdout.splitlines()
        self.assertEqual(len(turns), 8)  # 8 turns are longer than the model's 96 positions
        result = self.run_model("chat", input="x" * 200 + "\n", code=1)
        self.assertIn("context holds 96", result.stderr)

    def test_an_option_that_is_refused_changes_nothing(self):
        result = self.run_model("chat", "--json", "--temperature", "0",
                                input="/set device cuda:7\n/set max_tokens 3\n/set samples 2\n/set prompt x\n/set sample-seed 5\nwho sat?\n/set sample-seed 9\nwho ran?\n")
        first, second = (json.loads(line) for line in result.stdout.splitlines())
        self.assertLessEqual(len(first["assistant"]), 3)  # tokens are bytes
        self.assertEqual((first["seed"], second["seed"]), (5, 10))
        for part in ("device cuda:7 can't be used", "samples is not for chat", "prompt is not for chat"):
            self.assertEqual(result.stderr.count(part), 1, result.stderr)

    def test_a_long_prompt_is_answered_as_if_nothing_had_been_said_before(self):
        """Of the beginning that two prompts share, the second need not compute all anew."""
        prompts = ["User: who sat?\nAssistant: the cat sat.\nUser: who ran?\nAssistant: the dog ran.\n"[:length] for length in (66, 80, 66, 70, 64, 20, 79)]
        together = self.samples("--temperature", "2", "--max-tokens", "40", *(word for prompt in prompts for word in ("--prompt", prompt)))
        alone = [sample for prompt in prompts for sample in self.samples("--temperature", "2", "--max-tokens", "40", "--prompt", prompt)]
        self.assertEqual(together, alone)

    def at_terminal(self, *arguments, **environment):
        return Terminal([AIOS, "chat", "--model", self.model, "--device", "cpu", "--temperature", "0", *arguments], self.folder,
                        {**self.environment, "TERM": "dumb", **environment})

    def test_a_person_at_a_terminal_has_a_prompt_and_interrupts_answers(self):
        for kind in ("dumb", "xterm"):
            person = self.at_terminal("--max-tokens", "1000000", "--stop", "~never~", "--user", "~user~", TERM=kind)
            person.wait_for("> ")
            person.write("who sat?\n")
            person.wait_for("the cat")
            person.write("\x03")
            person.wait_for("\n> ")
            person.write("/quit\n")
            self.assertEqual(person.end(), 0)

    def test_another_answer_that_fails_leaves_the_one_that_was(self):
        person = self.at_terminal()
        for line, answer in (("who sat?", "the cat sat."), ("/system " + "x" * 200, "> "), ("/retry", "context holds 96"), ("/system", "> "),
                             ("/history", "Assistant: the cat sat."), ("/retry", "the cat sat."), ("who ran?", "the dog ran.")):
            person.write(line + "\n")
            person.wait_for(line[-70:])
            person.wait_for(answer)
        person.write("/quit\n")
        self.assertEqual(person.end(), 0)

    @unittest.skipUnless(ctypes.util.find_library("edit"), "libedit is not installed")
    def test_a_person_edits_lines_and_has_those_before(self):
        person = self.at_terminal(TERM="xterm")
        person.wait_for_editor()
        person.write("ho sat?\x1b[D\x1b[D\x01w\n")  # left, left, to the beginning
        person.wait_for("the cat sat.")
        person.wait_for_editor()
        person.write("who ran\u00e9\x7f?\n")  # a letter of two bytes is one
        person.wait_for("the dog ran.")
        person.wait_for_editor()
        person.write("\x1b[A\x1b[A\n")  # the line before the last
        person.wait_for("\n")
        person.wait_for_editor()
        person.write("/history\n")
        for line in ("who sat?", "who ran?", "who sat?"):
            person.wait_for("User: " + line + "\r")
        person.wait_for_editor()
        person.write("\x04")
        self.assertEqual(person.end(), 0)


class Terminal:
    """A program as a person meets it."""

    def __init__(self, command, folder, environment):
        self.shown, self.at = "", 0
        self.process, self.file = pty.fork()
        if self.process == 0:
            os.chdir(folder)
            os.execve(command[0], command, environment)

    def write(self, text):
        os.write(self.file, text.encode())

    def wait_for(self, text):
        end = time.monotonic() + 30
        while text not in self.shown[self.at:]:
            assert time.monotonic() < end, (text, self.shown)
            if select.select([self.file], [], [], 1)[0]:
                self.shown += os.read(self.file, 4096).decode("utf-8", "replace")
        self.at = self.shown.index(text, self.at) + len(text)

    def wait_for_editor(self):
        """The prompt is shown a moment before the terminal leaves keys to the program: before, it would take some for itself."""
        self.wait_for("> ")
        end = time.monotonic() + 30
        while termios.tcgetattr(self.file)[3] & termios.ICANON:
            assert time.monotonic() < end, self.shown
            time.sleep(0.001)

    def end(self):
        end = time.monotonic() + 30
        try:
            while not select.select([self.file], [], [], 1)[0] or os.read(self.file, 4096):
                assert time.monotonic() < end, self.shown
        except OSError:  # how a terminal says that nobody is there any more
            pass
        os.close(self.file)
        return os.waitstatus_to_exitcode(os.waitpid(self.process, 0)[1])


if __name__ == "__main__":
    unittest.main()
