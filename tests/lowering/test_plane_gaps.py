"""Plane gaps: planes whole pages apart that a kernel touches side by side get a line between them; what others see has none."""

from __future__ import annotations

import numpy as np
import pytest
from graphs import Recorder, inputs_for
from xdsl.dialects.builtin import NoneAttr, f32

from lamina.backends import oracle
from lamina.backends.executor import execute
from lamina.dialects.graph import Graph
from lamina.dialects.kernel import FusedOp
from lamina.dialects.ops import BookOp
from lamina.lowering.bufferize import Bufferize
from lamina.lowering.capture import capture
from lamina.lowering.kernel_to_linalg import MANY_BOXES, KernelToLinalg
from lamina.lowering.linalg_to_loops import LinalgToLoops
from lamina.lowering.memref_layout import memref_type
from lamina.passes.fuse import Fuse
from lamina.passes.layout import ChooseLayout
from lamina.passes.program import main_block


def program(planes: int, rows: int, columns: int = 32, returned: bool = False, side_by_side: bool = True) -> Graph:
    """Planes are made of one array, reshaped, multiplied and added up: by their numbers (side by side), or by a fold."""
    r = Recorder()
    x, k = r.input((rows, columns), name="weight"), r.input((planes, columns, columns))
    root = r("add", r("mul", x, x), x)
    parts = [r("mul", root, x) if n % 2 else r("neg", root) for n in range(planes)]
    made = r("concat", *(r("reshape", part, attrs=((1, rows, columns),)) for part in parts), attrs=(0,))
    split = r("reshape", r("reshape", made, attrs=((planes, rows // 2, 2, columns),)), attrs=((planes, rows, columns),))
    product = r("matmul", split, k)
    if side_by_side:
        total = r("slice", product, attrs=((0, 0, 0), (1, rows, columns), (1, 1, 1)))
        for n in range(1, planes):
            total = r("add", total, r("slice", product, attrs=((n, 0, 0), (1, rows, columns), (1, 1, 1))))
    else:
        total = r("sum", product, attrs=((0,),))
    return r.graph(total, made, product) if returned else r.graph(total)


def buffered(graph: Graph):
    """The module at the buffered level, and what it and the loops below give."""
    module = capture(graph)
    arrays = inputs_for(graph, 0)
    expected = oracle.evaluate(module, arrays)
    for step in (Fuse(), ChooseLayout(), KernelToLinalg(), Bufferize(target="avx2")):
        step.run(module)
    text = str(module)
    for step in (None, LinalgToLoops(target="avx2")):
        if step is not None:
            step.run(module)
        for got, want in zip(execute(module, arrays), expected, strict=True):
            np.testing.assert_allclose(got, want, rtol=2e-5, atol=2e-4)
    return text


def test_planes_side_by_side_are_a_line_apart() -> None:
    """Sixteen planes of 64 rows of 32 are eight kilobytes each: so many lines would share a set."""
    text = buffered(program(16, 64))
    assert "memref<16x64x32xf32, strided<[2064, 32, 1]>>" in text


@pytest.mark.parametrize(
    "graph",
    [program(16, 64, returned=True), program(16, 62), program(4, 64)],
    ids=["returned", "not whole pages", "few planes"],
)
def test_others_are_dense(graph: Graph) -> None:
    assert "strided<[2064" not in buffered(graph) and "strided<[2000" not in buffered(graph)


def test_what_outlives_a_call_is_dense() -> None:
    """Who keeps what was made of weights knows its shape alone."""
    module = capture(program(16, 64))
    for step in (Fuse(), ChooseLayout(), KernelToLinalg(), Bufferize(target="avx2", keep=True)):
        step.run(module)
    kinds = [argument.type for argument in main_block(module).args]
    assert memref_type((16, 64, 32), f32) in kinds and all(isinstance(kind.layout, NoneAttr) for kind in kinds)


def test_a_fold_goes_plane_by_plane() -> None:
    """What the kernel that makes planes writes side by side has gaps; what a product makes and a fold reads has none."""
    text = buffered(program(16, 64, side_by_side=False))
    assert "memref<16x64x32xf32, strided<[2064, 32, 1]>>" in text
    assert "memref<16x64x32xf32>" in text


def test_boxes_of_the_same_numbers_are_one_stage() -> None:
    """Planes made of the same sum are one stage's, few of them are made by one each."""
    for planes, stages in ((MANY_BOXES, 1), (MANY_BOXES - 1, MANY_BOXES - 1)):
        module = capture(program(planes, 8))
        Fuse().run(module)
        makers = [op for op in module.walk() if isinstance(op, FusedOp) and any(isinstance(o, BookOp) and o.op_name == "concat" for o in op.walk())]
        KernelToLinalg().run(module)
        (maker,) = makers
        assert sum(op.name == "linalg.generic" for op in maker.body.block.ops) == stages
