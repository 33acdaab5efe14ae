"""The built command (AIOS_TOOL), as its tests run it: without plugins, in a folder of its own."""
import fcntl
import os
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import tempfile
import termios
import time
import unittest

AIOS = os.environ["AIOS_TOOL"]
COMMANDS = ["train", "eval", "estimate", "generate", "chat", "data", "hrm", "hrm-hf", "merge", "report", "chunks", "devices", "list-gpus", "resolve", "doctor", "options", "completion", "version", "help"]
# A model that trains in a moment: 5 steps of 32 bytes.
SMALL = ["--n-layer", "1", "--n-head", "2", "--n-embd", "32", "--max-seq-len", "16", "--batch-size", "2", "--steps", "5", "--device", "cpu"]


def environment(**more):
    """No plugins, so that every machine has the CPU alone; no cache outside the test's folder."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("AIOS_") and k not in ("COLUMNS",)}
    return {**kept, "LC_ALL": "C.UTF-8", **{k: v for k, v in more.items() if v is not None}}


def catches(process, number):
    """Has it a handler of its own for a signal?"""
    with open(f"/proc/{process.pid}/status", encoding="ascii") as file:
        return int(re.search(r"SigCgt:\s*(\w+)", file.read()).group(1), 16) >> (number - 1) & 1


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

    def interrupted(self, command, after=0.3):
        """Code and words of a command that gets a Ctrl-C in the middle of what can be stopped."""
        with subprocess.Popen(command, env=self.environment, cwd=self.folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            while not catches(process, signal.SIGINT):
                time.sleep(0.01)
            time.sleep(after)
            process.send_signal(signal.SIGINT)
            out, words = process.communicate(timeout=60)
        return process.returncode, out, words

    def terminal(self, width, *arguments, interrupt_at=None, code=0):
        """What the command writes to a terminal of that width, where it gets a Ctrl-C once it has written those bytes."""
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
                if interrupt_at and interrupt_at in seen:
                    process.send_signal(signal.SIGINT)
                    interrupt_at = None
            os.close(master)
            self.assertEqual(process.wait(timeout=60), code, seen)
        return seen.decode()

    def refused(self, code, parts, *arguments, **more):
        """Ends with `code`, prints nothing on stdout, and one line on stderr that holds every part."""
        result = self.run_tool(*arguments, **more)
        self.assertEqual(result.returncode, code, (arguments, result.stdout, result.stderr))
        self.assertRegex(result.stderr, r"\Aaios: [^\n]+\n\Z", arguments)
        for part in parts:
            self.assertIn(part, result.stderr, arguments)
        self.assertEqual(result.stdout, "", arguments)
