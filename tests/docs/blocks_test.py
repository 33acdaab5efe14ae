#!/usr/bin/env python3
"""Every block of code in the documentation is run (sh, python), compiled (c, cpp), built (cmake) or parsed (json), in the order of its page.

    <!-- not run: REASON -->     before a block: it needs hardware, a network or rights that a test has not
    <!-- file: NAME -->          before a block: it is the content of a file that later blocks use
    <!-- no block is run: REASON -->     anywhere: the same for a whole page
"""
import glob
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import unittest

SOURCE, BUILD = os.environ["AIOS_SOURCE"], os.environ["AIOS_BUILD"]
TOOL, LIBRARY = os.environ["AIOS_TOOL"], os.environ["AIOS_LIBRARY_FOLDER"]
OTHERS = {"docs/python.md": "tests/python/test_docs.py", "bindings/python/README.md": "tests/python"}  # pages with a test of their own
HERE = os.path.dirname(os.path.abspath(__file__))


def pages():
    found = ["README.md", "CONTRIBUTING.md", "backends/README.md", *sorted(os.path.relpath(p, SOURCE) for p in glob.glob(os.path.join(SOURCE, "docs/*.md")))]
    return [page for page in found if os.path.exists(os.path.join(SOURCE, page)) and page not in OTHERS]


def blocks(page):
    """[(line, language, text, {marker: value})]"""
    with open(os.path.join(SOURCE, page), encoding="utf-8") as file:
        lines = file.read().split("\n")
    whole = next((m.group(1) for m in (re.fullmatch(r"<!-- no block is run: (.+) -->", line) for line in lines) if m), None)
    found, at = [], 0
    while at < len(lines):
        fence = re.fullmatch(r"( *)```(\S*)", lines[at])
        if not fence:
            at += 1
            continue
        begin, markers = at, {"not run": whole} if whole else {}
        before = begin - 1
        while before >= 0 and (marker := re.fullmatch(r" *<!-- (not run|file): (.+) -->", lines[before])):
            markers[marker.group(1)] = marker.group(2)
            before -= 1
        at += 1
        text = []
        while lines[at].strip() != "```":
            text.append(lines[at].removeprefix(fence.group(1)))
            at += 1
        at += 1
        found.append((begin + 1, fence.group(2), "\n".join(text) + "\n", markers))
    return found


class Blocks(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.root = tempfile.mkdtemp(prefix="aios-docs-")
        cls.addClassCleanup(shutil.rmtree, cls.root, ignore_errors=True)
        for name in ("bin", "pc", "cmake", "cache", "plugins"):
            os.mkdir(os.path.join(cls.root, name))
        shim = os.path.join(cls.root, "bin", "aios")
        shutil.copy(os.path.join(HERE, "aios_shim.py"), shim)
        os.chmod(shim, os.stat(shim).st_mode | stat.S_IXUSR)
        os.symlink(os.environ["AIOS_SIM"], os.path.join(cls.root, "bin", "aios-sim"))
        with open(os.path.join(cls.root, "pc", "libaios.pc"), "w", encoding="utf-8") as file:
            file.write(f"Name: libaios\nDescription: as built\nVersion: 0.1.0\nCflags: -I{SOURCE}/include\nLibs: -L{LIBRARY} -Wl,-rpath,{LIBRARY} -laios\n")
        with open(os.path.join(cls.root, "cmake", "aiosConfig.cmake"), "w", encoding="utf-8") as file:
            file.write("add_library(aios::aios SHARED IMPORTED)\nset_target_properties(aios::aios PROPERTIES IMPORTED_LOCATION "
                       f"{LIBRARY}/libaios.so INTERFACE_INCLUDE_DIRECTORIES {SOURCE}/include)\n")
        with open(os.path.join(cls.root, "cmake", "aiosConfigVersion.cmake"), "w", encoding="utf-8") as file:
            file.write("set(PACKAGE_VERSION 0.1.0)\nset(PACKAGE_VERSION_COMPATIBLE TRUE)\n")
        cls.text = os.path.join(cls.root, "text.txt")
        with open(cls.text, "w", encoding="utf-8") as file:
            file.write("It was the cat. She said that the dog ran far, and sat on the mat once upon a time. " * 60)
        clean = {k: v for k, v in os.environ.items() if not k.startswith("AIOS_")}
        cls.environment = {**clean, "LC_ALL": "C.UTF-8", "PATH": f"{cls.root}/bin:{os.environ['PATH']}", "PKG_CONFIG_PATH": f"{cls.root}/pc",
                           "XDG_CACHE_HOME": f"{cls.root}/cache", "AIOS_TOOL": TOOL, "AIOS_SIM": os.environ["AIOS_SIM"], "DOCS_TEXT": cls.text,
                           "DOCS_MODEL": f"{cls.root}/run/checkpoints/step-00000030", "AIOS_BACKEND_PATH": os.path.join(BUILD, "lib", "aios"),
                           "AIOS_LIBRARY": os.path.join(LIBRARY, "libaios.so.0"), "PYTHONPATH": os.path.join(BUILD, "python"),
                           "AIOS_BACKEND_KIT": f"{cls.root}/kit", "CFLAGS": ""}
        cls.make_kit()
        made = cls.run_in(cls.root, [TOOL, "train", "--dataset-file", cls.text, "--n-layer", "1", "--n-head", "2", "--n-embd", "16", "--max-seq-len", "64",
                                     "--batch-size", "4", "--steps", "30", "--save-dir", "run", "--devices", "cpu:0,cpu:1", "--strategy",
                                     "parallel-independent", "--quiet"], AIOS_CPU_DEVICES="2")
        assert made.returncode == 0, made.stderr

    @classmethod
    def make_kit(cls):
        """As it is installed: what plugins share."""
        os.mkdir(os.path.join(cls.root, "kit"))
        for name, origin in (("kernels", "lib/kernels"), ("common", "backends/common"), ("template", "backends/template")):
            os.symlink(os.path.join(SOURCE, origin), os.path.join(cls.root, "kit", name))

    @classmethod
    def run_in(cls, folder, command, **more):
        return subprocess.run(command, cwd=folder, env={**cls.environment, **more}, encoding="utf-8", errors="replace", capture_output=True,
                              stdin=subprocess.DEVNULL, timeout=240, check=False)

    def folder_of(self, page):
        folder = os.path.join(self.root, page.replace("/", "_").removesuffix(".md"))
        os.mkdir(folder)
        for name in ("text.txt", "notes.txt", "other.txt", "some.txt", "start.txt", "prompts.txt"):
            shutil.copy(self.text, os.path.join(folder, name))
        program = "#include <aios/aios.h>\n#include <stdio.h>\nint main(void) { puts(aios_version()); return 0; }\n"
        for name, text in (("app.c", program), ("app.cpp", program.replace("aios.h", "aios.hpp"))):
            with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
                file.write(text)
        with open(os.path.join(folder, "questions.jsonl"), "w", encoding="utf-8") as file:
            file.write('{"context": "the dog", "choices": ["ran", "xyz"], "answer": 0}\n')
        return folder

    def run_block(self, folder, language, text):
        if language == "sh":
            return self.run_in(folder, ["bash", "-euo", "pipefail", "-c", text])
        if language == "python":
            return self.run_in(folder, [sys.executable, "-c", text])
        if language == "cmake":
            return self.run_project(folder, text)
        compiler, name = ("cc", "example.c") if language == "c" else ("c++", "example.cpp")
        with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
            file.write(text)
        standard = "-std=c11" if language == "c" else "-std=c++17"
        program = "main(" in text
        command = [compiler, standard, "-Wall", "-Wextra", "-Werror", f"-I{SOURCE}/include", name, *(["-o", "example"] if program else ["-c", "-o", "example.o"])]
        result = self.run_in(folder, command + ([f"-L{LIBRARY}", f"-Wl,-rpath,{LIBRARY}", "-laios"] if program else []))
        return result

    def run_project(self, folder, text):
        """A project of its own, which finds the library as it would be installed and builds what it names."""
        with open(os.path.join(folder, "CMakeLists.txt"), "w", encoding="utf-8") as file:
            file.write(text)
        made = self.run_in(folder, ["cmake", "-S", ".", "-B", "project", f"-Daios_DIR={self.root}/cmake"])
        return made if made.returncode else self.run_in(folder, ["cmake", "--build", "project"])

    def check_page(self, page):
        folder = None
        for line, language, text, markers in blocks(page):
            with self.subTest(page=page, line=line):
                if "not run" in markers:
                    self.assertGreater(len(markers["not run"]), 8, "a reason")
                    continue
                if "file" in markers or language in ("sh", "c", "cpp", "python", "cmake"):
                    folder = folder or self.folder_of(page)
                if "file" in markers:
                    with open(os.path.join(folder, markers["file"]), "w", encoding="utf-8") as file:
                        file.write(text)
                elif language == "json":
                    json.loads(text)
                elif language in ("sh", "c", "cpp", "python", "cmake"):
                    result = self.run_block(folder, language, text)
                    self.assertEqual(result.returncode, 0, f"{page}:{line}\n{result.stdout[-3000:]}\n{result.stderr[-3000:]}")
                else:
                    self.assertIn(language, ("", "text"), f"{page}:{line}")

    def test_pages_with_a_test_of_their_own(self):
        for page, test in OTHERS.items():
            self.assertTrue(os.path.exists(os.path.join(SOURCE, test)), (page, test))


def add_page(page):
    name = "test_" + re.sub(r"\W", "_", page.removesuffix(".md").lower())
    setattr(Blocks, name, lambda self: self.check_page(page))


for each in pages():
    add_page(each)

if __name__ == "__main__":
    unittest.main()
