"""Folds of columns on a GPU: cut into enough parts to keep the processors busy, several columns in one access; exact on emulated threads."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest
from needs import needs_emulation, needs_nvrtc

from graphs import Recorder

from lamina.backends.cuda.program import build, cuda_source
from lamina.backends.emulation import emulate
from lamina.backends.oracle import evaluate
from lamina.dialects.graph import Graph
from lamina.dialects.target import GPU_TARGETS
from lamina.dialects.types import DType, bfloat16, float32
from lamina.lowering.capture import capture

ARCH = "sm_90a"


def columns(shape: tuple[int, ...], dtype: DType = float32, op: str = "sum") -> Graph:
    """Two folds over all dimensions but the last: what batch norm asks of its input."""
    r = Recorder()
    x, y = r.input(shape, dtype), r.input(shape, dtype)
    axes = tuple(range(len(shape) - 1))
    return r.graph(r(op, x, attrs=(axes,)), r(op, r("mul", x, y), attrs=(axes,)))


def few_processors(monkeypatch) -> None:
    monkeypatch.setitem(GPU_TARGETS, ARCH, dataclasses.replace(GPU_TARGETS[ARCH], processors=2))


def check(graph: Graph, source) -> None:
    rng = np.random.default_rng(0)
    arrays = [rng.integers(-3, 4, shape).astype(dtype.numpy) for shape, dtype in graph.inputs]
    for got, want in zip(emulate.Emulation(source)(arrays, 3), evaluate(capture(graph), arrays), strict=True):
        assert (got.astype(np.float64) == want.astype(np.float64)).all()


@needs_emulation
@pytest.mark.parametrize("case, width", [
    (columns((8, 28, 28, 64)), "f32x4"), pytest.param(columns((8, 28, 28, 64), bfloat16, "max"), "bf16x4", marks=pytest.mark.slow),
    pytest.param(columns((64, 14, 14, 30)), "f32x2", marks=pytest.mark.slow), pytest.param(columns((8, 16, 4096)), "f32x4", marks=pytest.mark.slow),
], ids=["f32", "bf16", "in pairs", "not cut"])  # fmt: skip
@pytest.mark.slow
def test_a_thread_folds_several_columns(monkeypatch, case: Graph, width: str) -> None:
    few_processors(monkeypatch)
    source = cuda_source(case, ARCH)
    assert f"const {width} *" in source.kernels
    check(case, source)


@needs_emulation
@pytest.mark.slow
def test_a_planted_bug_in_the_columns_of_a_thread_is_seen(monkeypatch) -> None:
    few_processors(monkeypatch)
    graph = columns((8, 28, 28, 64))
    source = cuda_source(graph, ARCH)
    kernels, count = re.subn(r"wide0\.v\[3\]", "wide0.v[2]", source.kernels)
    assert count
    with pytest.raises(AssertionError):
        check(graph, source.with_kernels(kernels))


@pytest.mark.parametrize("shape", [(64, 112, 112, 64), (64, 56, 56, 256), (64, 14, 14, 1024), (64, 7, 7, 2048), (100352, 128)], ids=str)
def test_parts_keep_the_processors_busy(shape: tuple[int, ...]) -> None:
    source = cuda_source(columns(shape), ARCH)
    first, last = source.table.launches
    assert first.shape.grid[0] * first.shape.threads >= GPU_TARGETS[ARCH].processors * 128
    assert "const f32x4 *" in source.kernels and last.shape.grid[0] <= shape[-1]


@needs_nvrtc
@pytest.mark.slow
def test_no_spills() -> None:
    usage = build(columns((64, 56, 56, 256), bfloat16), ARCH).compiled.usage
    assert usage and not [u for u in usage if u.spill_loads or u.spill_stores or u.stack]
