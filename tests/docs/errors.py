#!/usr/bin/env python3
"""Prints docs/errors.md: every error text and warning of the sources, beside its code and what docs/troubleshooting.md says to do about it.

    tests/docs/errors.py > docs/errors.md
"""
import os
import re
import sys

SOURCE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
# Where a text stands in the arguments, and what its code is where no argument says it.
EXITS = {"TOOL_ERROR": "exit 1", "TOOL_USAGE": "exit 2", "TOOL_NO_DEVICE": "exit 3"}
CALLS = {"FAIL": (1, None), "FAIL_OS": (2, None), "plugin_fail": (2, None), "MISTAKE": (None, None), "report_warning": (1, "warning"),
         "aios_log": (2, "warning"), "tool_fail": (1, None)}
PARTS = (("Devices and drivers", ("lib/gpu", "lib/hardware", "lib/cpu", "lib/kernels", "backends")), ("Options, files and other input", ("lib/base",)),
         ("Texts, tokenizers and puzzles", ("lib/data",)), ("Models, graphs and optimizers", ("lib/model", "lib/graph", "lib/optim")),
         ("Training, checkpoints, evaluation, generation", ("lib/trainer",)), ("Several devices, processes and hosts", ("lib/comm",)),
         ("Chunks and their tracker", ("lib/chunks",)), ("The aios command", ("tools",)))
OWN = "Calls of a program"  # arguments that a program gave: aios_…
NAME = re.compile(r"^(?:lib|backends)/|\.\w+$")
TOKEN = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:[^"\\]|\\.)*"|\'(?:[^\'\\]|\\.)*\'|[()\[\]{},?:]|[A-Za-z_]\w*|[^\s]', re.S)
CONVERSION = re.compile(r"%[-+ #0]*(?:\*|\d+)?(?:\.(?:\*|\d+))?(?:hh|ll|[hlzjtL])?([diouxXeEfgGaAcspn%])")


def arguments(text, at):
    """[[token]] of a call whose opening bracket is at `at`."""
    found, depth = [[]], 0
    for match in TOKEN.finditer(text, at):
        token = match.group()
        if token.startswith(("/*", "//")):
            continue
        depth += token in "([{"
        depth -= token in ")]}"
        if depth == 0:
            return found
        if token == "," and depth == 1:
            found.append([])
        elif depth > 1 or token != "(":
            found[-1].append(token)
    raise ValueError("a call without an end")


def literals(tokens):
    """The texts of an argument: the parts of a literal joined, the branches of a choice apart."""
    found, open_text = [], False
    for token in tokens:
        if token.startswith('"'):
            if not open_text:
                found.append("")
            found[-1] += token[1:-1]
            open_text = True
        elif open_text and re.fullmatch(r"[A-Z_]\w*", token):  # "%" PRId64, or a name that stands for a literal
            found[-1] += "d" if found[-1].endswith("%") and not found[-1].endswith("%%") else "%s"
        else:
            open_text = False
    return found


def readable(text):
    text = CONVERSION.sub(lambda m: "%" if m.group(1) == "%" else "…", text)
    text = re.sub(r"\\x[0-9a-f]{2}|\\[0-7]{3}", "…", text).replace('\\"', '"').replace("\\n", " ").replace("\\\\", "\\")
    return re.sub(r"…(?:\s?…)+", "…", re.sub(r"\s+", " ", text)).strip()


def takes_text(name, given):
    """The argument with the text: where it is expected, or (a helper's own order) the first that has one."""
    expected = CALLS[name][0]
    if expected is not None and expected < len(given) and literals(given[expected]):
        return given[expected]
    return None if expected is not None else next((argument for argument in given if literals(argument)), [])


def calls(text):
    """(code, text) of each call."""
    for match in re.finditer(r"\b(" + "|".join(CALLS) + r")\(", text):
        name = match.group(1)
        if re.search(r"(#define\s+|\bvoid\s+|\baios_status\s+|\bint\s+)$", text[:match.start()][-40:]):
            continue
        given = arguments(text, match.end() - 1)
        if name == "aios_log" and "AIOS_LOG_WARNING" not in given[1] and "AIOS_LOG_ERROR" not in given[1]:
            continue
        said = takes_text(name, given)
        codes = [EXITS.get(token, token.removeprefix("AIOS_")) for token in given[0] if re.fullmatch(r"AIOS_[A-Z_]+", token) or token in EXITS]
        code = CALLS[name][1] or " or ".join(dict.fromkeys(codes)) or {"MISTAKE": "INVALID_ARGUMENT", "tool_fail": "message"}.get(name, "the cause's")
        for literal in literals(said or []):
            if re.search(r"[a-z]{3}", CONVERSION.sub("", literal)):
                yield code, readable(literal)


def sources():
    for top in ("lib", "backends", "tools"):
        for folder, _, names in sorted(os.walk(os.path.join(SOURCE, top))):
            for name in sorted(names):
                if name.endswith((".c", ".h", ".cpp", ".cc")) and "conformance" not in folder:
                    path = os.path.join(folder, name)
                    with open(path, encoding="utf-8") as file:
                        yield os.path.relpath(path, SOURCE), file.read()


def remedies():
    """[(folders, pattern, what to do)] of the guide's tables."""
    with open(os.path.join(SOURCE, "docs", "troubleshooting.md"), encoding="utf-8") as file:
        page = file.read()
    found = []
    for section in page.split("\n## "):
        folders = tuple(folder + "/" for parts in re.findall(r"<!-- errors of: (.+) -->", section) for folder in parts.split())
        for said, remedy in re.findall(r"^\| `(.+?)`[^|`]* \| (.+) \|$", section, re.M):
            found.append((folders, re.compile(".*?".join(re.escape(part) for part in said.split("…"))), remedy))
    return found


def collect():
    """{part: {text: (codes, files)}}"""
    found = {title: {} for title, _ in PARTS} | {OWN: {}}
    for path, text in sources():
        part = next(title for title, folders in PARTS if path.startswith(tuple(folder + "/" for folder in folders)))
        for code, said in calls(text):
            codes, files = found[OWN if re.match(r"aios_\w+: ", said) else part].setdefault(said, (set(), set()))
            codes.add(code)
            files.add(path)
    return found


def cell(text):
    return text.replace("|", "\\|")


def code_span(text):
    return f"``{cell(text)}``" if "`" in text else f"`{cell(text)}`"


def page():
    known, lines = remedies(), []
    lines += ["# Every error text", "",
              "<!-- made by tests/docs/errors.py from the sources: change them, or troubleshooting.md, and run it again -->", "",
              "`…` stands for a value: a name, a number, a path. To find a sentence, search this page for a few of its words between values. In brackets behind an",
              "error stand the calls that were under way, the innermost first; they are not listed here. The second column is the code: what it means, and what",
              "helps in general, is in [troubleshooting.md](troubleshooting.md#by-code). *warning*: the work goes on. *exit*: `aios` itself says it and ends with that",
              "code; *message*: it goes on. The third column is the part of the sources that says it."]
    for title, texts in collect().items():
        lines += ["", f"## {title}", ""]
        if title == OWN:
            lines += ["A program gave a function of libaios what it can't take: its header says what each argument must be.", ""]
        lines += ["| it says | code | from |", "|---|---|---|"]
        for said in sorted(texts, key=lambda text: (re.sub(r"^[…\W]+", "", text).lower(), text)):
            codes, files = texts[said]
            remedy = next((remedy for folders, pattern, remedy in known if pattern.search(said) and any(path.startswith(folders) for path in files)), None)
            advice = f"<br>{remedy}" if remedy and remedy not in ("as it says", "do that", "likewise") else ""
            lines.append(f"| {code_span(said)}{advice} | {', '.join(sorted(codes))} | {', '.join(sorted({re.sub(NAME, '', path) for path in files}))} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(page())
