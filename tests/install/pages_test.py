#!/usr/bin/env python3
"""The programs of documentation pages, compiled by the pages' own commands with the installed library, and run.

    pages_test.py PAGE WORK      environment: PKG_CONFIG_PATH, LD_LIBRARY_PATH, CC, CXX, CMAKE, CMAKE_PREFIX_PATH"""
import os
import re
import shutil
import subprocess
import sys

PAGE, WORK = sys.argv[1:3]
WARNINGS = "-Wall -Wextra -Wpedantic -Wconversion -Werror"


def run(command, folder, **how):
    result = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **how)
    if result.returncode:
        sys.exit("FAILED: %s in %s: %s" % (command, PAGE, result.stdout.decode(errors="replace")[-3000:]))
    return result.stdout.decode(errors="replace")


def main():
    with open(PAGE, encoding="utf-8") as f:
        blocks = re.findall(r"^```(\w+)\n(.*?)^```", f.read(), re.S | re.M)
    programs = [(kind, text) for kind, text in blocks if kind in ("c", "cpp")]
    commands = [line for kind, text in blocks if kind == "sh" for line in text.splitlines() if re.match(r"(cc|c\+\+) ", line)]
    if not programs:
        sys.exit("FAILED: %s has no program" % PAGE)
    shutil.rmtree(WORK, ignore_errors=True)
    os.makedirs(WORK)
    with open(os.path.join(WORK, "notes.txt"), "w", encoding="utf-8") as f:
        f.write("The quick brown fox jumps over the lazy dog.\n" * 200)
    compile_c = next((line for line in commands if line.startswith("cc ")), "cc -std=c11 app.c $(pkg-config --cflags --libs libaios) -o app")
    compile_cpp = next((line for line in commands if line.startswith("c++ ")), None)
    environment = dict(os.environ, XDG_CACHE_HOME=os.path.join(WORK, "cache"))
    first = {}
    for number, (kind, text) in enumerate(programs, 1):
        if "int main(" not in text:
            sys.exit("FAILED: program %d of %s has no main" % (number, PAGE))
        first.setdefault(kind, text)
        source, program = ("app.c", "app") if kind == "c" else ("app.cpp", "app_cpp")
        with open(os.path.join(WORK, source), "w", encoding="utf-8") as f:
            f.write(text)
        command = compile_c if kind == "c" else compile_cpp
        command = re.sub(r"^(cc|c\+\+)", os.environ["CC" if kind == "c" else "CXX"] + " " + WARNINGS, command)
        run(command, WORK, shell=True, env=environment)
        run([os.path.join(WORK, program)], WORK, env=environment)
        print("program %d (%s): ok" % (number, kind))
    for kind, text in blocks:
        if kind == "cmake":
            for name, language in (("app.c", "c"), ("app.cpp", "cpp")):
                with open(os.path.join(WORK, name), "w", encoding="utf-8") as f:
                    f.write(first[language])
            with open(os.path.join(WORK, "CMakeLists.txt"), "w", encoding="utf-8") as f:
                f.write(text)
            run([os.environ["CMAKE"], "-B", "build", "-DCMAKE_C_COMPILER=" + os.environ["CC"], "-DCMAKE_CXX_COMPILER=" + os.environ["CXX"]], WORK)
            run([os.environ["CMAKE"], "--build", "build"], WORK)
            print("CMake: ok")


main()
