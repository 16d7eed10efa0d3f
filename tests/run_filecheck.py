"""FileCheck tests in-process: `// RUN: lamina opt %s -p '...' | filecheck %s` in milliseconds.

Understood on a RUN line: `lamina opt %s [-p PIPELINE] [--check-each-pass] [--split-input-file]`, `not` before
it (the error is what is checked, `2>&1` is accepted), and `| filecheck %s [--check-prefix=NAME]`. Without a
pipe the program only has to succeed. `conftest.py` collects every .mlir file below tests/ that has a RUN
line.
"""

from __future__ import annotations

import contextlib
import io
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from filecheck.finput import FInput
from filecheck.matcher import Matcher
from filecheck.options import Options
from filecheck.parser import Parser, pattern_for_opts
from lamina.backends.replay import replay
from lamina.dialects.errors import LaminaError

RUN = re.compile(r"^\s*//\s*RUN:\s*(.*\S)\s*$", re.MULTILINE)


@dataclass(frozen=True)
class Run:
    """One RUN line."""

    pipeline: str
    check: int
    split: bool
    fails: bool
    prefixes: tuple[str, ...]


class CheckFailed(AssertionError):
    """The output is not what the CHECK lines say; the message is filecheck's, with the output."""


def run_lines(text: str) -> list[Run]:
    """The RUN lines of a test file; a line ending in a backslash goes on in the next."""
    lines = "\n".join(RUN.findall(text)).replace("\\\n", " ").splitlines()
    return [_read(line) for line in lines]


def _read(line: str) -> Run:
    program, _, checker = line.partition("|")
    words = [w for w in shlex.split(program) if w != "2>&1"]
    fails = words[0] == "not"
    words = words[1:] if fails else words
    if words[:2] != ["lamina", "opt"]:
        raise ValueError(f"a RUN line runs `lamina opt`: {line}")
    pipeline, check, split, rest = "", 0, False, iter(words[2:])
    for word in rest:
        if word in ("-p", "--pass", "--passes"):
            pipeline = next(rest)
        elif word == "--check-each-pass":
            check = 2
        elif word == "--split-input-file":
            split = True
        elif word != "%s":
            raise ValueError(f"{word!r} is not understood on a RUN line: {line}")
    prefixes = re.findall(r"--?check-prefix(?:es)?[= ](\S+)", checker)
    return Run(pipeline, check, split, fails, tuple(prefixes or ["CHECK"]) if checker.strip() else ())


def output_of(run: Run, text: str, filename: str) -> str:
    """What `lamina opt` prints for a RUN line (the error text where it has to fail)."""
    parts = re.split(r"^//\s*-----.*$", text, flags=re.MULTILINE) if run.split else [text]
    printed = []
    for part in parts:
        try:
            printed.append(replay(part, filename, run.pipeline, check=run.check))
        except LaminaError as error:
            if not run.fails:
                raise
            printed.append(f"{type(error).__name__}: {error}\n")
        else:
            if run.fails:
                raise CheckFailed(f"{filename}: expected an error, got\n{printed[-1]}")
    return "// -----\n".join(printed)


def run_file(path: Path) -> None:
    """Run every RUN line of a file; CheckFailed names the CHECK line that does not match."""
    text = path.read_text(encoding="utf8")
    for run in run_lines(text):
        match(output_of(run, text, path.name), text, path.name, run.prefixes)


def match(output: str, text: str, filename: str, prefixes: tuple[str, ...]) -> None:
    """Check an output against the CHECK lines of a text."""
    if not prefixes:
        return
    options = Options(match_filename=filename, check_prefixes=list(prefixes))
    errors = io.StringIO()
    matcher = Matcher(
        options, FInput("<output>", output), Parser(options, io.StringIO(text), *pattern_for_opts(options))
    )
    matcher.stderr = errors
    with contextlib.redirect_stderr(errors):
        status = matcher.run()
    if status:
        raise CheckFailed(f"{errors.getvalue()}\n--- output ---\n{output}")
