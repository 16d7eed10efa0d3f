"""Complex graphs as graphs of real numbers: what is left of them, their inputs and outputs, and derivatives by both parts."""

from __future__ import annotations

import numpy as np
import pytest
from graphs import Recorder
from hypothesis import given, settings
from hypothesis import strategies as st
from lamina.backends import driver
from lamina.dialects.book import OPS
from lamina.dialects.graph import Graph, is_complex
from lamina.dialects.types import complex64, complex128, float32, float64
from lamina.passes.split_complex import split_complex


def ops_of(graph: Graph) -> list[str]:
    return [step.op for step in graph.steps]


def test_inputs_and_outputs_get_a_last_dimension_of_two() -> None:
    r = Recorder()
    a, b = r.input((3,), complex64), r.input((3,), complex64)
    graph = split_complex(r.graph(r("add", a, b)))
    assert graph.inputs == (((3, 2), float32),) * 2 and graph.types[graph.outputs[0]] == ((3, 2), float32)
    assert not is_complex(graph)
    assert ops_of(graph) == ["slice", "reshape"] * 4 + ["add", "add", "reshape", "reshape", "concat"]


def test_a_real_graph_is_left_alone() -> None:
    r = Recorder()
    graph = r.graph(r("neg", r.input((3,))))
    assert split_complex(graph) is graph


def test_real_factors_take_two_products_and_magnitudes_one_composite() -> None:
    r = Recorder()
    z, x = r.input((3,), complex128), r.input((3,), float64)
    y = r("abs", r("mul", z, r("cast", x, attrs=(complex128,))))
    assert ops_of(split_complex(r.graph(y)))[4:] == ["mul", "mul", "complex_abs"]


def test_origins_stay_with_their_steps() -> None:
    r = Recorder()
    z = r.input((3,), complex64)
    graph = split_complex(r.graph(r("exp", z, origin="train.py:7")))
    assert graph.origins[ops_of(graph).index("complex_exp")] == "train.py:7"


def run(graph: Graph, *arrays: np.ndarray) -> list[np.ndarray]:
    return driver.run(graph, list(arrays))


def test_the_derivative_is_that_by_both_parts() -> None:
    """d(re ** 2 * im) by z is 2 re im + i re ** 2."""
    r = Recorder()
    z = r.input((4,), complex128)
    re, im = r("real_part", z, attrs=(float64,)), r("imaginary_part", z, attrs=(float64,))
    loss = r("sum", r("mul", r("mul", re, re), im), attrs=((0,),))
    seed = r("full", attrs=((1,), 1.0, float64))
    graph = r.graph(r("autodiff.grad", loss, seed, z))
    value = np.array([1 + 2j, -3 + 0.5j, 0j, 2 - 2j])
    np.testing.assert_allclose(run(graph, value)[0], 2 * value.real * value.imag + 1j * value.real**2)


def test_a_complex_loss_brings_a_complex_seed() -> None:
    """For y = w z, the conjugate of w times the seed arrives at z."""
    r = Recorder()
    z, w, seed = (r.input((4,), complex128) for _ in range(3))
    graph = r.graph(r("autodiff.grad", r("mul", w, z), seed, z))
    rng = np.random.default_rng(0)
    values = [rng.standard_normal(4) + 1j * rng.standard_normal(4) for _ in range(3)]
    np.testing.assert_allclose(run(graph, *values)[0], values[1].conj() * values[2])


def test_a_derivative_by_a_number_that_was_real_has_an_imaginary_part() -> None:
    r = Recorder()
    x, w = r.input((4,), float64), r.input((4,), complex128)
    z = r("cast", x, attrs=(complex128,))
    loss = r("imaginary_part", r("mul", z, w), attrs=(float64,))
    seed = r("full", attrs=((4,), 1.0, float64))
    graph = r.graph(r("autodiff.grad", loss, seed, z))
    value = np.array([1 + 2j, 3, -1j, 0.5])
    np.testing.assert_allclose(run(graph, np.ones(4), value)[0], value.imag + 1j * value.real)


UNARY, BINARY = ("neg", "exp", "sin", "tanh", "conj", "reciprocal"), ("add", "sub", "mul", "div")


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(UNARY + BINARY), st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=6), st.integers(0, 99))
def test_compiled_programs_are_those_of_numpy(steps: list[tuple[str, int, int]], seed: int) -> None:
    rng = np.random.default_rng(seed)
    r = Recorder()
    ids = [r.input((3, 5), complex128) for _ in range(2)]
    values = [rng.standard_normal((3, 5)) + 1j * rng.standard_normal((3, 5)) for _ in ids]
    arrays = list(values)
    for op, i, k in steps:
        operands = [i % len(ids), k % len(ids)][: 1 if op in UNARY else 2]
        ids.append(r(op, *[ids[o] for o in operands]))
        values.append(OPS[op].evaluate([values[o] for o in operands])[0])
    if not all(np.isfinite(v).all() and np.abs(v).max() < 1e6 for v in values):
        return
    program = driver.compile_graph(split_complex(r.graph(*ids[2:])))
    made = program([np.ascontiguousarray(a).view(np.float64).reshape(3, 5, 2) for a in arrays])
    for got, want in zip(made, values[2:], strict=True):
        np.testing.assert_allclose(got.view(np.complex128)[..., 0], want, rtol=1e-8, atol=1e-9)
