"""Dumps: stages parse back, commands in the index replay their step, two dumps are byte-identical."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from graphs import cnn_step
from lamina.backends.dump import Dump
from lamina.backends.pipelines import standard_pipeline
from lamina.backends.replay import replay
from lamina.dialects.errors import FileError
from lamina.dialects.text import parse, print_module
from lamina.lowering.capture import capture
from lamina.passes.autodiff import Differentiate
from lamina.passes.base import Pipeline
from lamina.passes.cse import ComputeOnce
from lamina.passes.dce import RemoveDead
from lamina.passes.open_composites import OpenComposites
from lamina.passes.simplify import Simplify


def dumped(folder: Path) -> Dump:
    module = capture(cnn_step(2, (1, 2), 4, 4))
    dump = Dump(folder, "one step")
    dump.start(module)
    steps = [Differentiate(), OpenComposites(), Simplify(), ComputeOnce(), RemoveDead()]
    Pipeline(steps, "captured").run(module, dump.after)
    dump.add("model.c", "int x;\n", "loops-to-c", "lamina compile")
    dump.finish()
    return dump


@pytest.mark.slow
def test_every_file_parses_and_every_command_replays(tmp_path: Path) -> None:
    dump = dumped(tmp_path)
    files = [row.file for row in dump.rows if row.file.endswith(".mlir")]
    assert files == [
        "000-captured.mlir",
        "001-autodiff.mlir",
        "002-open-composites.mlir",
        "003-simplify.mlir",
        "004-cse.mlir",
    ]
    for name in files:
        text = (tmp_path / name).read_text()
        assert print_module(parse(text, name)) == text
    commands = re.findall(r"`lamina opt (\S+) -p '([^']*)'`", (tmp_path / "index.md").read_text())
    assert len(commands) == len(files) - 1
    for (source, pipeline), after in zip(commands, files[1:], strict=True):
        assert replay((tmp_path / source).read_text(), source, pipeline) == (tmp_path / after).read_text()


@pytest.mark.slow
def test_the_standard_pipeline_replays_from_its_files(tmp_path: Path) -> None:
    """Down to loops: no stage keeps anything outside the text."""
    module = capture(cnn_step(2, (1, 2), 4, 4))
    dump = Dump(tmp_path)
    dump.start(module)
    standard_pipeline().run(module, dump.after)
    rows = [row for row in dump.rows if row.command]
    assert rows[-1].file.endswith("linalg-to-loops.mlir")
    for row in rows:
        source, pipeline = re.fullmatch(r"lamina opt (\S+) -p '([^']*)'", row.command).groups()
        assert replay((tmp_path / source).read_text(), source, pipeline) == (tmp_path / row.file).read_text(), row.file


def test_two_dumps_are_equal(tmp_path: Path) -> None:
    dumped(tmp_path / "a")
    dumped(tmp_path / "b")
    a, b = ({p.name: p.read_bytes() for p in (tmp_path / side).iterdir()} for side in "ab")
    assert a == b and "index.md" in a and "005-model.c" in a


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError, match="cannot make the folder"):
        Dump(tmp_path / "file" / "below")
