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


class Troubleshooting(unittest.TestCase):
    def setUp(self):
        with open(os.path.join(SOURCE, "docs", "troubleshooting.md"), encoding="utf-8") as file:
            self.page = file.read()

    def sources(self):
        for top in ("lib", "backends"):
            for folder, _, names in os.walk(os.path.join(SOURCE, top)):
                for name in names:
                    if name.endswith((".c", ".h", ".def")):
                        with open(os.path.join(folder, name), encoding="utf-8") as file:
                            yield os.path.relpath(folder, SOURCE), file.read()

    def test_every_part_that_has_errors_is_in_one_section(self):
        sections = [part for found in re.findall(r"<!-- errors of: (.+) -->", self.page) for part in found.split()]
        self.assertEqual(len(sections), len(set(sections)))
        with_errors = {folder for folder, text in self.sources() if re.search(r"\b(FAIL|MISTAKE|plugin_fail|report_warning)\(", text)}
        missing = {folder for folder in with_errors if not any(folder == part or folder.startswith(part + "/") for part in sections)}
        self.assertEqual(missing - {"lib/kernels"}, set())
        for part in sections:
            self.assertTrue(os.path.isdir(os.path.join(SOURCE, part)), part)

    def test_each_sentence_is_one_that_the_library_has(self):
        code = re.sub(r'"\s*\n\s*"', "", "\n".join(text for _, text in self.sources()))
        code = code.replace('\\"', '"')
        for row in re.findall(r"^\| (`.+?`)[^|`]* \|", self.page, re.M):
            words = row.strip("`")
            pattern = r"%[-+ #0-9.*]*(?:ll|z|l)?[a-zA-Z]".join(re.escape(part) for part in words.split("…"))
            self.assertRegex(code, pattern, words)


if __name__ == "__main__":
    unittest.main()
