"""The main job's programs as text: the same in every process, and the same after printing and parsing at every level."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import pytest
from command_line import python

from lamina.backends.pipelines import standard_pipeline
from lamina.dialects.text import parse, print_module, verify
from lamina.lowering.capture import capture

pytestmark = pytest.mark.slow

BUILD = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from digits_program import trained_model, training_step
from lamina.backends.ahead_of_time import write_c
from lamina.backends.driver import source_of

folder = Path(sys.argv[1])
graph, _ = training_step()
(folder / "step.c").write_text(source_of(graph, dump=folder / "ir")[0])
(folder / "portable.c").write_text(source_of(graph, target="portable")[0])
made = trained_model()
write_c(made.graph, made.weights, made.graph.names, folder / "model", main=True, shared=False)
"""


def test_two_builds_are_the_same_byte_for_byte(tmp_path: Path) -> None:
    text = BUILD.format(tests=str(Path(__file__).resolve().parents[1]))
    found = []
    for seed in ("1", "2"):
        (tmp_path / seed).mkdir()
        done = python(text, tmp_path / seed, PYTHONHASHSEED=seed)
        assert done.status == 0, done.err
        files = sorted(p for p in (tmp_path / seed).rglob("*") if p.is_file())
        found.append({str(p.relative_to(tmp_path / seed)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files})
    assert {"step.c", "portable.c", "model/model.c", "model/model.h", "model/model.weights", "model/main.c", "ir/index.md"} <= set(found[0])
    assert [name for name in found[0] if found[1].get(name) != found[0][name]] == [] and set(found[0]) == set(found[1])


def test_every_stage_prints_as_it_parses() -> None:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from digits_program import training_step

    graph, _ = training_step()
    module = capture(graph)
    stages = [("captured", print_module(module))]
    standard_pipeline().run(module, lambda ran, m: stages.append((ran.step.name, print_module(m))) if ran.changes else None)
    assert len(stages) >= 8
    for name, text in stages:
        again = parse(text, f"{name}.mlir")
        verify(again)
        assert print_module(again) == text, name
