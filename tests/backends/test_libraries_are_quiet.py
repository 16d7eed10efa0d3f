"""The C that is written by hand compiles without a warning."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from needs import needs_compiler

from lamina.backends import toolchain
from lamina.backends.toolchain import find_compiler

SOURCES = sorted(Path(toolchain.__file__).parent.glob("*.c"))


@needs_compiler
@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.name)
def test_libraries_are_quiet(source):
    command = [*find_compiler().command, "-fsyntax-only", "-Wall", "-Wextra", "-Werror", str(source)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
