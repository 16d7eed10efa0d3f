"""Packed copies of inputs: filled once, again for another array, shared between programs, right in every plan."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from needs import needs_compiler
from xdsl.dialects import func, scf

from lamina.backends import driver, emission, kept_copies
from lamina.backends.aligned_memory import aligned_array
from lamina.backends.executor import execute
from lamina.backends.kept_copies import KeptCopies
from lamina.backends.oracle import evaluate
from lamina.dialects.graph import Graph
from lamina.dialects.kept import Kept
from lamina.dialects.types import float32
from lamina.lowering.capture import capture

sys.path.insert(0, str(Path(__file__).parent))

from backend_graphs import Recorder, arrays_for  # noqa: E402

FORM = Kept((0,), ((8,), float32), "as it is")


def linear(m: int, k: int, n: int) -> Graph:
    """x @ w.T + y: weights as torch keeps them, and something to add."""
    r = Recorder()
    x, w, y = r.input(m, k), r.input(n, k), r.input(m, n)
    return r.done(r.op("add", r.op("matmul", x, r.op("permute", w, attrs=((1, 0),))), y))


def test_a_copy_is_filled_once_per_array():
    copies = KeptCopies([FORM], aligned_array)
    first, second = np.ones(8, np.float32), np.ones(8, np.float32)
    assert copies.follow([first]) and list(copies.stale) == [1]
    place = copies.places[0]
    copies.filled()
    assert not copies.follow([first]) and list(copies.stale) == [0]
    assert copies.follow([second]) and list(copies.stale) == [1], "equal numbers in another array are another input"
    assert copies.places[0] == place, "nobody else reads the old copy: its memory serves again"


def test_a_copy_that_was_not_filled_stays_stale():
    copies, other = KeptCopies([FORM], aligned_array), KeptCopies([FORM], aligned_array)
    x = np.ones(8, np.float32)
    assert copies.follow([x])  # the call fails: filled() is not reached
    assert copies.follow([x]) and list(copies.stale) == [1]
    assert other.follow([x]) and list(other.stale) == [1] and other.places != copies.places


def test_what_is_made_of_several_inputs_follows_each():
    kept = Kept((0, 2), ((8,), float32), "their sum")
    copies = KeptCopies([FORM, kept], aligned_array)
    x, y, z, w = (np.full(8, k, np.float32) for k in range(4))
    assert copies.follow([x, y, z]) and list(copies.stale) == [1, 1]
    copies.filled()
    assert not copies.follow([x, w, z])
    assert copies.follow([x, y, w]) and list(copies.stale) == [0, 1]
    copies.filled()
    assert copies.follow([z, y, w]) and list(copies.stale) == [1, 1]


def test_programs_share_copies_and_forget_them():
    x = np.ones(8, np.float32)
    one, two = KeptCopies([FORM], aligned_array), KeptCopies([FORM, FORM._replace(form="turned")], aligned_array)
    one.follow([x])
    one.filled()
    assert two.follow([x]) and list(two.stale) == [0, 1] and two.places[0] == one.places[0]
    two.filled()
    y = np.zeros(8, np.float32)
    two.follow([y])
    assert two.places[0] != one.places[0], "the other program still reads the old copy"
    before = len(kept_copies._copies)
    del one, two, x, y
    assert len(kept_copies._copies) < before


@pytest.mark.parametrize("shape", [(24, 40, 50), (5, 2048, 16)], ids=["partly filled panel", "sums in chunks"])
def test_loops_with_packed_copies_on_the_executor(shape):
    graph = linear(*shape)
    arrays = arrays_for(graph)
    module = driver.loops_of(graph, target="avx512", keep=True)
    assert "lamina.kept" in module.attributes
    x, w, y = arrays
    np.testing.assert_allclose(execute(module, arrays)[0], x @ w.T + y, rtol=1e-4, atol=1e-4)


def encoded(r: Recorder, places: int, rates: int, along: int) -> int:
    """Sines and cosines of places, scaled by the last of them, times rates: several kernels between the weights and what is kept."""
    (n,), (d,) = r.types[places][0], r.types[rates][0]
    square = r.op("expand", r.op("reshape", places, attrs=((n, 1) if along == 0 else (1, n),)), attrs=((n, n),))
    start, size = ((n - 1, 0), (1, n)) if along == 0 else ((0, n - 1), (n, 1))
    last = r.op("slice", square, attrs=(start, size, (1, 1)))
    scaled = r.op("div", square, r.op("expand", r.op("add", last, last), attrs=((n, n),)))
    wide = r.op("expand", r.op("reshape", scaled, attrs=((n, n, 1),)), attrs=((n, n, d),))
    angle = r.op("div", wide, r.op("expand", r.op("reshape", r.op("exp", rates), attrs=((1, 1, d),)), attrs=((n, n, d),)))
    halves = [r.op(name, r.op("slice", angle, attrs=((0, 0, k), (n, n, d // 2), (1, 1, 2)))) for k, name in enumerate(("sin", "cos"))]
    pairs = r.op("concat", *[r.op("reshape", half, attrs=((n, n, d // 2, 1),)) for half in halves], attrs=(3,))
    return r.op("reshape", pairs, attrs=((n, n, d),))


def test_what_passes_on_the_way_to_a_copy_lasts_until_it_was_read():
    """A copy of what was made of several arrays, which were made of others: none of them lies where another is still needed."""
    r = Recorder()
    x, rows, columns, rates = r.input(14, 14, 32), r.input(14, name="rows"), r.input(14, name="columns"), r.input(32, name="rates")
    graph = r.done(*[r.op("mul", x, encoded(r, places, rates, along)) for along, places in enumerate((rows, columns))])
    arrays = arrays_for(graph)
    module = driver.loops_of(graph, target="avx512", keep=True)
    fills = [op for op in module.walk() if isinstance(op, scf.IfOp)]
    assert [sum(isinstance(op, func.CallOp) for op in fill.true_region.block.ops) for fill in fills] == [4, 4], "three of each pass"
    for got, wanted in zip(execute(module, arrays), evaluate(capture(graph), arrays), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5)


@needs_compiler
def test_what_is_read_beside_its_packed_copy_is_kept_too():
    """A product of a matrix by itself reads the packed copy as one operand, and what it is a copy of as the other."""
    r = Recorder()
    x, w = r.input(8, 48), r.input(48, 48, name="w")
    rows = r.op("div", w, r.op("expand", r.op("exp", r.op("slice", w, attrs=((0, 47), (48, 1), (1, 1)))), attrs=((48, 48),)))
    graph = r.done(r.op("matmul", x, r.op("matmul", rows, rows)))
    program = driver.compile_graph(graph)
    x, w = arrays_for(graph)
    assert len(program._copies.kept) == 2, "the rows, and their packed copy"
    for _ in range(3):
        made = w / np.exp(w[:, 47:])
        np.testing.assert_allclose(program([x, w])[0], x @ (made @ made), rtol=1e-4, atol=1e-4)


@needs_compiler
def test_a_program_follows_its_weights():
    graph = linear(24, 2048, 48)
    program = driver.compile_graph(graph)
    assert [k.inputs for k in program._copies.kept] == [(1,)]
    x, w, y = arrays_for(graph)
    for weight in (w, w, 2 * w, w):
        np.testing.assert_allclose(program([x, weight, y])[0], x @ weight.T + y, rtol=2e-4, atol=2e-3)


@needs_compiler
def test_what_is_computed_of_weights_alone_follows_them():
    """The scale of a norm, from a weight and a statistic without a name: computed once, and again when either is another array. What is
    computed of anything else is computed in every call, and so is what the program gives back changed."""
    r = Recorder()
    x, weight, variance = r.input(64, 48), r.input(48, name="norm.weight"), r.input(48)
    scale = r.op("mul", weight, r.op("rsqrt", variance))
    wide = r.op("expand", r.op("reshape", scale, attrs=((1, 48),)), attrs=((64, 48),))
    graph = r.done(r.op("mul", x, wide))
    program = driver.compile_graph(graph)
    assert [sorted(k.inputs) for k in program._copies.kept] == [[1, 2]]
    arrays = [np.abs(a) + np.float32(0.5) for a in arrays_for(graph)]
    for changed in (None, 1, None, 2, 0):
        if changed is not None:
            arrays[changed] = arrays[changed] + np.float32(1)
        a, w, v = arrays[0], arrays[1], arrays[2]
        np.testing.assert_allclose(program(arrays)[0], a * (w / np.sqrt(v)), rtol=1e-4, atol=1e-5)


def test_programs_with_gradients_keep_nothing():
    r = Recorder()
    x, w, seed = r.input(32, 64), r.input(64, 48), r.input()
    loss = r.op("reshape", r.op("sum", r.op("matmul", x, w), attrs=((0, 1),)), attrs=((),))
    assert not emission.keeps(r.done(r.op("autodiff.grad", loss, seed, w)))
    assert emission.keeps(linear(4, 4, 4))


@needs_compiler
def test_what_was_packed_is_not_overwritten_in_place():
    r = Recorder()
    x, w = r.input(64, 64), r.input(64, 64)
    graph = r.done(r.op("sub", w, r.op("relu", r.op("matmul", x, w))))  # w is read for the last time where w' is made
    program = driver.compile_graph(graph)
    assert program._copies.kept and not program.reusable
    x, w = (0.1 * a for a in arrays_for(graph))
    for _ in range(6):
        wanted = w - np.maximum(x @ w, 0)
        w = program([x, w])[0]
        np.testing.assert_allclose(w, wanted, rtol=1e-4, atol=1e-4)
