#!/usr/bin/env python3
"""The manual page and the guides say what the command and the library are: nothing of them is left out."""
import json
import os
import re
import shutil
import subprocess
import unittest

AIOS, SOURCE = os.environ["AIOS_TOOL"], os.environ["AIOS_SOURCE"]


def tool(*arguments):
    return subprocess.run([AIOS, *arguments], encoding="utf-8", capture_output=True, check=True).stdout


class Manual(unittest.TestCase):
    def setUp(self):
        self.page = tool("help", "--man")

    def plain(self):
        return re.sub(r"\\f[BIR]", "", self.page).replace("\\-", "-").replace("\\(aq", "'")

    def test_it_has_every_command_flag_and_option(self):
        plain = self.plain()
        for command in re.findall(r"^  ([a-z-]+) +\w", tool("help").partition("\nCommands\n")[2].partition("\n\n")[0], re.M):
            self.assertIn(f"\n.SS aios {command}", plain)
            for flag in re.findall(r"^  (--[a-z-]+)", tool("help", command).partition("\nFlags\n")[2], re.M):
                self.assertIn(f"\n{flag}", plain)
        for option in json.loads(tool("options", "--json"))["options"]:
            self.assertRegex(plain, rf"\n--(\[no-\])?{option['name']}( |\n)")

    def test_no_reader_of_manual_pages_complains(self):
        checked = 0
        if shutil.which("man") and shutil.which("groff"):
            result = subprocess.run(["man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z", "-"], input=self.page, encoding="utf-8", capture_output=True,
                                    env={**os.environ, "LC_ALL": "C.UTF-8", "MANROFFSEQ": ""}, check=False)
            self.assertEqual((result.returncode, result.stderr), (0, ""))
            checked += 1
        if shutil.which("mandoc"):
            result = subprocess.run(["mandoc", "-T", "lint", "-W", "warning"], input=self.page, encoding="utf-8", capture_output=True, check=False)
            self.assertEqual(result.returncode, 0, result.stdout)
            checked += 1
        if not checked:
            self.skipTest("neither groff nor mandoc is installed")


if __name__ == "__main__":
    unittest.main()
