#!/usr/bin/env python3
"""The manual page and the guides say what the command and the library are: nothing of them is left out."""
import json
import os
import re
import shutil
import subprocess
import unittest

import errors

AIOS, SOURCE = os.environ["AIOS_TOOL"], os.environ["AIOS_SOURCE"]


def tool(*arguments):
    return subprocess.run([AIOS, *arguments], encoding="utf-8", capture_output=True, check=True).stdout


def judges_page():
    with open(os.path.join(SOURCE, "tools", "conformance", "aios-conformance.1"), encoding="utf-8") as file:
        return file.read()


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

    def test_the_judges_page_has_every_flag_of_it(self):
        with open(os.path.join(SOURCE, "tools", "conformance", "main.c"), encoding="utf-8") as file:
            flags = re.findall(r'"  (--[a-z]+)', file.read())
        self.assertGreater(len(flags), 5)
        for flag in flags:
            self.assertIn("\n\\fB" + flag.replace("-", "\\-") + "\\fR", judges_page())

    def test_no_reader_of_manual_pages_complains(self):
        for page in (self.page, judges_page()):
            self.check_page(page)

    def check_page(self, page):
        checked = 0
        if shutil.which("man") and shutil.which("groff"):
            result = subprocess.run(["man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z", "-"], input=page, encoding="utf-8", capture_output=True,
                                    env={**os.environ, "LC_ALL": "C.UTF-8", "MANROFFSEQ": ""}, check=False)
            self.assertEqual((result.returncode, result.stderr), (0, ""))
            checked += 1
        if shutil.which("mandoc"):
            result = subprocess.run(["mandoc", "-T", "lint", "-W", "warning"], input=page, encoding="utf-8", capture_output=True, check=False)
            self.assertEqual(result.returncode, 0, result.stdout)
            checked += 1
        if not checked:
            self.skipTest("neither groff nor mandoc is installed")


class Troubleshooting(unittest.TestCase):
    def test_the_page_of_every_error_text_is_that_of_the_sources(self):
        with open(os.path.join(SOURCE, "docs", "errors.md"), encoding="utf-8") as file:
            page = file.read()
        self.assertTrue(page == errors.page(), "docs/errors.md is not that of the sources: tests/docs/errors.py > docs/errors.md")

    def test_the_reader_of_sources_misses_no_text(self):
        text = """
            if (x) return FAIL(n < 0 ? AIOS_IO : AIOS_CORRUPT, "%s: \\"%.48s\\" is %" PRId64 ", (not" /* why */ " %d %%)", a, f("no text"), 1);
            status = FAIL(AIOS_INTERNAL, good ? "one thing: %5.2f" : "other " NAME "| thing");
            MISTAKE(g, "a wrong graph"); report_warning(t, "it is said: %s", x); aios_log(c, AIOS_LOG_INFO, "not this"); aios_log(c, AIOS_LOG_WARNING, "but this");
            return tool_fail(TOOL_USAGE, "%s can't be", y);"""
        self.assertEqual(list(errors.calls(text)),
                         [("IO or CORRUPT", '…: "…" is …, (not … %)'), ("INTERNAL", "one thing: …"), ("INTERNAL", "other …| thing"),
                          ("INVALID_ARGUMENT", "a wrong graph"), ("warning", "it is said: …"), ("warning", "but this"), ("exit 2", "… can't be")])
        texts = {said for part in errors.collect().values() for said in part}
        with_words = sum(len(re.findall(r'\bFAIL\([^;]*?"', text)) for _, text in self.sources())
        self.assertGreater(len(texts), 0.9 * with_words)  # some say the same

    def test_every_code_has_its_row(self):
        with open(os.path.join(SOURCE, "include", "aios", "backend.h"), encoding="utf-8") as file:
            codes = re.findall(r"^    X\(([A-Z_]+), \d+, ", file.read(), re.M)
        rows = re.findall(r"^\| ([A-Z_]+) \|", self.page.partition("## By code")[2].partition("\n## ")[0], re.M)
        self.assertEqual(["OK", *rows], codes)

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
