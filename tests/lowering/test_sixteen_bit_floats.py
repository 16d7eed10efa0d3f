"""16-bit floats between memory and registers: every number of f16 and what rounds to it, and bits that only move."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from lamina.backends import driver
from lamina.backends.executable import Executable
from lamina.backends.toolchain import build_shared, find_compiler
from lamina.dialects.graph import Graph
from lamina.dialects.target import native_target
from lamina.dialects.types import bfloat16, float16, float32
from lamina.lowering.loops_to_c import emit_c

sys.path.insert(0, str(Path(__file__).parents[1]))

from graphs import Recorder  # noqa: E402
from needs import needs_compiler  # noqa: E402

pytestmark = needs_compiler

PLAIN = ("-march=x86-64",) if native_target().vector_bytes > 16 and native_target().name != "neon" else ()


def run(graph: Graph, array: np.ndarray, folder: Path, flags: tuple[str, ...], target: str = "avx512") -> tuple[np.ndarray, str]:
    """The result, and the C text."""
    module = driver.loops_of(graph, target=target)
    text = emit_c(module).text
    folder = Path(tempfile.mkdtemp(dir=folder))  # a library is loaded once by its name
    (folder / "p.c").write_text(text)
    build_shared(find_compiler(), folder / "p.c", folder / "p.so", ("-Wall", "-Wextra", "-Werror", *flags))
    arena = module.attributes["lamina.arena_bytes"].value.data
    return Executable(folder / "p.so", list(graph.inputs), [graph.types[k] for k in graph.outputs], arena)([array])[0], text


def cast(size: int, source: object, to: object) -> Graph:
    r = Recorder()
    return r.graph(r("cast", r.input((size,), source), attrs=(to,)))


@pytest.mark.parametrize("flags", [(), PLAIN], ids=["this machine", "plain"])
def test_every_number_of_f16_and_back(flags: tuple[str, ...], tmp_path: Path) -> None:
    """The last three go one by one; what is between two numbers, or just beside the middle of them, is rounded as numpy rounds it."""
    halves = np.resize(np.arange(1 << 16, dtype=np.uint16).view(np.float16), (1 << 16) + 3)
    wide, _ = run(cast(halves.size, float16, float32), halves, tmp_path, flags)
    np.testing.assert_array_equal(wide, halves.astype(np.float32))
    finite = np.unique(wide[np.isfinite(wide)])
    middles = ((finite[1:].astype(np.float64) + finite[:-1]) / 2).astype(np.float32)
    tried = np.concatenate([finite, middles, np.nextafter(middles, np.inf), np.nextafter(middles, -np.inf)])
    tried = np.concatenate([tried, np.array([65519.99, 65520, 1e9, 1e-9, -1e-30, 1e-42, np.inf, -np.inf, np.nan, 2.0**-25, -0.0], np.float32)])
    with np.errstate(over="ignore"):
        wanted = tried.astype(np.float16)
    found, _ = run(cast(tried.size, float32, float16), tried, tmp_path, flags)
    np.testing.assert_array_equal(found, wanted)
    np.testing.assert_array_equal(np.signbit(found)[~np.isnan(tried)], np.signbit(wanted)[~np.isnan(tried)])


@pytest.mark.parametrize("dtype", [float16, bfloat16], ids=str)
def test_what_only_moves_keeps_its_bits(dtype: object, tmp_path: Path) -> None:
    r = Recorder()
    x = r.input((7, 37), dtype)
    graph = r.graph(r("pad", x, attrs=((1, 2), (0, 3), (0, 0), 0.0)))
    array = np.random.default_rng(0).integers(0, 1 << 16, (7, 37)).astype(np.uint16)
    array[0, :4] = 0x7F81, 0x7C01, 0xFFFF, 0x0001  # numbers that are none and signal it among them
    found, text = run(graph, array.view(np.float16 if dtype is float16 else ml_dtypes.bfloat16), tmp_path, ())
    np.testing.assert_array_equal(found.view(np.uint16)[1:, 2:39], array)
    assert not np.asarray(found.view(np.uint16))[0].any() and f"from_{'f16' if dtype is float16 else 'bf16'}" not in text
