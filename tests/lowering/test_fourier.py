"""Discrete Fourier transforms as loops and as compiled C: rows, columns and real numbers of many lengths, vectors of several widths, against numpy's."""

from __future__ import annotations

from math import prod

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lamina.backends.driver import compile_graph, loops_of
from lamina.backends.executor import execute
from lamina.dialects.book import OPS
from lamina.dialects.book.fourier import places, radices, real_table, table, table_length
from lamina.dialects.graph import Graph, Step
from lamina.dialects.types import dtype_of
from needs import needs_compiler

TOLERANCE = {np.float32: 1e-6, np.float64: 1e-14}


def graph(op: str, x: np.ndarray, roots: np.ndarray, *attrs: object) -> tuple[Graph, list[np.ndarray]]:
    """One op, and its operands."""
    arrays = [x, roots.astype(x.dtype)]
    types = [(a.shape, dtype_of(a)) for a in arrays]
    results = OPS[op].infer(tuple(types), attrs)
    return Graph(tuple(types), (Step(op, attrs, (0, 1)),), (2,), ("model.py:1",), (None, None), (*types, *results)), arrays


def numbers(shape: tuple[int, ...], dtype: type = np.float32) -> np.ndarray:
    return np.random.default_rng(len(shape)).standard_normal(shape).astype(dtype)


def near(made: np.ndarray, want: np.ndarray) -> None:
    assert np.abs(made - want).max() <= TOLERANCE[made.dtype.type] * np.abs(want).max()


def transform(x: np.ndarray, axis: int, sign: int) -> np.ndarray:
    """numpy's, of numbers whose parts are the last dimension."""
    z = x[..., 0].astype(np.float64) + 1j * x[..., 1]
    z = np.fft.fft(z, axis=axis) if sign < 0 else np.fft.ifft(z, axis=axis, norm="forward")
    return np.stack((z.real, z.imag), -1)


CASES = [
    ((3, 2, 2), 1, -1), ((5, 7, 2), 1, 1), ((2, 16, 2), 1, -1), ((2, 24, 2), 1, 1), ((2, 143, 2), 1, -1), ((3, 128, 2), 1, 1), ((1, 1000, 2), 1, -1),
    ((12, 37, 2), 0, -1), ((2, 60, 3, 2), 1, 1), ((2, 32, 16, 2), 1, -1),
]  # fmt: skip


@pytest.mark.parametrize("target", ["avx512", "avx2", "portable"])
@pytest.mark.parametrize("shape,axis,sign", CASES[3:5] + CASES[7:])
def test_rows_and_columns_for_vectors_of_any_width(shape, axis, sign, target):
    x = numbers(shape)
    program, arrays = graph("dft_parts", x, table(shape[axis]), axis, sign, 0.5)
    near(execute(loops_of(program, target=target), arrays)[0], transform(x, axis, sign) / 2)


@needs_compiler
@pytest.mark.parametrize("shape,axis,sign", CASES)
def test_rows_and_columns(shape, axis, sign):
    x = numbers(shape)
    program, arrays = graph("dft_parts", x, table(shape[axis]), axis, sign, 1.0)
    near(compile_graph(program)(arrays)[0], transform(x, axis, sign))


@needs_compiler
@pytest.mark.parametrize("n,dtype,rows", [(4, np.float32, 2), (10, np.float64, 3), (50, np.float32, 3), (66, np.float64, 400), (512, np.float32, 1)])
def test_real_numbers(n, dtype, rows):
    x = numbers((rows, n), dtype)
    program, arrays = graph("real_dft", x, real_table(n), 0.25)
    z = np.fft.rfft(x.astype(np.float64)) / 4
    half = np.stack((z.real, z.imag), -1)
    near(compile_graph(program)(arrays)[0], half)
    x = numbers(half.shape, dtype)
    program, arrays = graph("dft_to_real", x, real_table(n), 2.0)
    near(compile_graph(program)(arrays)[0], 2 * np.fft.irfft(x[..., 0].astype(np.float64) + 1j * x[..., 1], norm="forward"))


@needs_compiler
def test_many_rows():
    x = numbers((300, 256, 2), np.float64)
    program, arrays = graph("dft_parts", x, table(256), 1, 1, 1.0)
    near(compile_graph(program)(arrays)[0], transform(x, 1, 1))


@pytest.mark.parametrize("op,shape,roots", [("dft_parts", (2, 48, 2), table(48)), ("real_dft", (2, 40), real_table(40)), ("dft_to_real", (2, 21, 2), real_table(40))])
def test_every_stage_agrees(op, shape, roots):
    program, _ = graph(op, numbers(shape), roots, *((1, -1, 1.0) if op == "dft_parts" else (1.0,)))
    compile_graph(program, check=2)


@given(st.integers(1, 5000))
def test_stages_multiply_to_the_points(n):
    found, rest = radices(n), n
    for p in (2, 3, 5, 7, 11, 13):
        while rest % p == 0:
            rest //= p
    assert prod(found) == n if rest == 1 else not found
    at = 0
    for r, m, roots in places(n):
        assert roots == at
        at += 2 * (r - 1) * m if m > 1 else 0
    assert len(table(n)) == table_length(n) == max(at, 1)
