"""Scans: their derivative again, sizes that do not depend on the number of steps, text, and errors."""

from __future__ import annotations

import numpy as np
import pytest
from lamina.backends import driver
from lamina.backends.check import Checker
from lamina.backends.oracle import evaluate
from lamina.backends.pipelines import TENSORS
from lamina.backends.replay import known_passes
from lamina.dialects.book import OPS
from lamina.dialects.book.scan import GraphBuilder
from lamina.dialects.errors import LaminaError, ShapeError
from lamina.dialects.graph import Graph, Step
from lamina.dialects.ops import ScanOp
from lamina.dialects.text import parse, print_module, verify
from lamina.dialects.types import float32, float64
from lamina.lowering.capture import capture
from lamina.passes.base import Pipeline
from lamina.passes.program import main_block, program_blocks


def lstm_body(batch: int, width: int) -> Graph:
    """h, c, x, w -> h', c', h'."""
    build = GraphBuilder(OPS, [*[((batch, width), float32)] * 2, ((batch, 4 * width), float32), ((4 * width, width), float32)], "net.py:3")
    h, c, x, w = build.values

    def op(name: str, *operands: object, attrs: tuple = ()) -> object:
        return build(name, operands, attrs)[0]  # type: ignore[arg-type]  # values

    gates = op("add", x, op("matmul", h, op("permute", w, attrs=((1, 0),))))
    parts = [op("slice", gates, attrs=((0, k * width), (batch, width), (1, 1))) for k in range(4)]
    enter, forget, leave = (op("sigmoid", parts[k]) for k in (0, 1, 3))
    c = op("add", op("mul", forget, c), op("mul", enter, op("tanh", parts[2])))
    h = op("mul", leave, op("tanh", c))
    return build.graph([h.id, c.id, h.id])


def training_step(steps: int, batch: int = 8, width: int = 16) -> Graph:
    """The gradients of a weighted sum of a scan's stack, with respect to everything it reads."""
    types = [*[((batch, width), float32)] * 2, ((steps, batch, 4 * width), float32), ((4 * width, width), float32)]
    types += [((steps, batch, width), float32), ((), float32)]
    build = GraphBuilder(OPS, types, "net.py:9")
    *given, weights, seed = build.values
    ys = build("scan", given, (lstm_body(batch, width), 2, 1, steps, False))[2]
    (loss,) = build("sum", build("mul", (ys, weights), ()), ((0, 1, 2),))
    (loss,) = build("reshape", (loss,), ((),))
    step = Step("autodiff.grad", (), (loss.id, seed.id, 0, 1, 2, 3))
    outputs = (loss.id, *range(len(build.types), len(build.types) + 4))
    names = ("h", "c", "x", "w", None, None)
    all_types = (*build.types, *(types[i] for i in range(4)))
    return Graph(tuple(types), (*build.steps, step), outputs, (*build.origins, "net.py:10"), names, all_types)


def test_size_does_not_depend_on_the_steps() -> None:
    """Of the program after all passes on tensors, and of its C text."""
    ops, characters = [], []
    for steps in (40, 90, 200):
        module = capture(training_step(steps))
        Pipeline.parse(",".join(TENSORS), known_passes(), "captured").run(module)
        ops.append(sum(1 for _ in module.walk()))
        characters.append(len(driver.source_of(training_step(steps))[0]))
    assert ops[0] == ops[1] == ops[2]
    assert max(characters) < 1.1 * min(characters)


def test_weight_gradients_leave_the_loop() -> None:
    module = capture(training_step(6))
    Pipeline.parse(",".join(TENSORS), known_passes(), "captured").run(module)
    bodies = [block for block in program_blocks(module) if block is not main_block(module)]
    products = [sum(op.name == "prim.matmul" for op in block.ops) for block in (*bodies, main_block(module))]
    assert products == [1, 1, 1]  # one per step forward and back, one for all steps
    assert [op.counts.carried for op in main_block(module).ops if isinstance(op, ScanOp)] == [2, 2]


@pytest.mark.parametrize("steps", [2, pytest.param(1, marks=pytest.mark.slow), pytest.param(7, marks=pytest.mark.slow)])
@pytest.mark.slow
def test_every_stage_computes_the_same(steps: int) -> None:
    """LAMINA_CHECK=2: oracle at every tensor level, the executor below; then the compiled program."""
    graph = training_step(steps, 2, 3)
    arrays = [np.asarray(np.random.default_rng(i).standard_normal(shape), np.float32) for i, (shape, _) in enumerate(graph.inputs)]
    program = driver.compile_graph(graph, check=2)
    for got, want in zip(program(arrays), evaluate(capture(graph), arrays), strict=True):
        np.testing.assert_allclose(got, want, 1e-5, 1e-5)


def test_the_derivative_has_a_derivative() -> None:
    """Against finite differences of the first one; the passes agree with the oracle's own walk."""
    build = GraphBuilder(OPS, [((2,), float64), ((2,), float64)])
    h, x = build.values
    body = build.graph([build("tanh", build("mul", build("add", (h, x), ()) + (h,), ()), ())[0].id] * 2)
    types = [((2,), float64), ((4, 2), float64), ((4, 2), float64), ((2,), float64)]
    outer = GraphBuilder(OPS, types)
    ys = outer("scan", outer.values[:2], (body, 1, 1, 4, True))[1]
    n = len(outer.types)
    first = Step("autodiff.grad", (), (ys.id, 2, 0))
    second = Step("autodiff.grad", (), (n, 3, 0, 1))
    graph = Graph(
        tuple(types), (*outer.steps, first, second), (n, n + 1, n + 2), ("",) * 3, (None,) * 4,
        (*outer.types, types[0], types[0], types[1]),
    )  # fmt: skip
    arrays = [np.random.default_rng(i).standard_normal(shape) * 0.5 for i, (shape, _) in enumerate(types)]
    module = capture(graph)
    slope, dh, dx = evaluate(module, arrays)
    for k, found in ((0, dh), (1, dx)):
        for at in np.ndindex(found.shape):
            ends = []
            for move in (1e-6, -1e-6):
                moved = [a.copy() for a in arrays]
                moved[k][at] += move
                ends.append((evaluate(module, moved)[0] * arrays[3]).sum())
            assert abs((ends[0] - ends[1]) / 2e-6 - found[at]) < 1e-6
    Pipeline.parse(",".join(TENSORS), known_passes(), "captured").run(module, Checker(module, arrays, level=2).after)


def test_text_round_trip() -> None:
    module = capture(training_step(3))
    text = print_module(module)
    again = parse(text)
    verify(again)
    assert print_module(again) == text
    assert "scan.yield" in text


def test_unequal_pieces_are_refused() -> None:
    body = lstm_body(2, 3)
    types = (((2, 3), float32), ((2, 3), float32), ((5, 2, 12), float32), ((12, 3), float32))
    with pytest.raises(ShapeError, match="scan of 4 steps needs operand 2 to have as many slices"):
        OPS["scan"].infer(types, (body, 2, 1, 4, False))
    with pytest.raises(ShapeError, match="where its body has"):
        OPS["scan"].infer((((2, 4), float32), *types[1:]), (body, 2, 1, 5, False))
    with pytest.raises(LaminaError, match="not 2 carried and 9 scanned"):
        OPS["scan"].infer(types, (body, 2, 9, 5, False))
    text = print_module(capture(training_step(3)))
    for old, new in (("steps = 3", "steps = 4"), ("carried = 2", "carried = 3"), ("scan.yield", "kernel.yield")):
        with pytest.raises(LaminaError):
            verify(parse(text.replace(old, new)))
