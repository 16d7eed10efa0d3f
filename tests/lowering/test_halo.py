"""Fills in front of what a contraction writes: only the slabs around the box are left of them, and values stay what they were."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from xdsl.dialects.linalg.ops import FillOp
from xdsl.parser import Parser

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "backends")]

from backend_graphs import Recorder, arrays_for  # noqa: E402
from contraction_programs import context  # noqa: E402

from lamina.backends import driver  # noqa: E402
from lamina.backends.executor import execute  # noqa: E402
from lamina.backends.oracle import evaluate  # noqa: E402
from lamina.lowering.capture import capture  # noqa: E402
from lamina.lowering.halo import shrink_fills  # noqa: E402

WRITE = """
    linalg.generic {indexing_maps = [affine_map<(d0, d1) -> (d0, d1)>, affine_map<(d0, d1) -> (d0, d1)>],
      iterator_types = ["parallel", "parallel"]} ins(%x : memref<4x6xf32>) outs(%b : memref<4x6xf32, strided<[9, 1], offset: 10>>) {
    ^bb0(%0: f32, %1: f32):
      linalg.yield VALUE : f32
    }"""


def slabs(between: str = "", value: str = "%0") -> list[tuple[tuple[int, ...], int]]:
    """Shapes and offsets of what is filled of a 6 x 9 buffer whose box [1:5, 1:7] is written."""
    module = Parser(
        context(),
        f"""builtin.module {{ func.func @k(%x: memref<4x6xf32>, %p: memref<6x9xf32>, %q: memref<6x9xf32>) {{
    %z = arith.constant 0.0 : f32
    linalg.fill ins(%z : f32) outs(%p : memref<6x9xf32>)
    %b = memref.subview %p[1, 1] [4, 6] [1, 1] : memref<6x9xf32> to memref<4x6xf32, strided<[9, 1], offset: 10>>
    {between}{WRITE.replace("VALUE", value)}
    func.return }} }}""",
    ).parse_module()
    shrink_fills(next(iter(module.ops)))
    module.verify()
    kinds = [op.outputs[0].type for op in module.walk() if isinstance(op, FillOp)]
    return [(kind.get_shape(), kind.get_offset()) for kind in kinds]


def test_what_is_overwritten_is_not_filled():
    assert slabs() == [((1, 9), 0), ((1, 9), 45), ((4, 1), 9), ((4, 2), 16)]


@pytest.mark.parametrize(
    ("between", "value"),
    [("", "%1"), ("linalg.fill ins(%z : f32) outs(%b : memref<4x6xf32, strided<[9, 1], offset: 10>>)", "%0"),
     ('"memref.copy"(%p, %q) : (memref<6x9xf32>, memref<6x9xf32>) -> ()', "%0")],
    ids=["the stage reads it", "another stage comes first", "somebody reads it before"],
)  # fmt: skip
def test_a_fill_that_is_read_stays(between, value):
    assert ((6, 9), 0) in slabs(between, value)


@pytest.mark.parametrize("low, high", [((1, 1), (1, 1)), ((0, 2), (3, 0)), ((2, 0), (0, 0))])
def test_convolutions_into_halos(low, high):
    r = Recorder()
    x, w = r.input(1, 1, 8, 9, 9), r.input(1, 16, 8, 3, 3)
    y = r.op("relu", r.op("conv", x, w, attrs=((1, 1), (1, 1))))
    y = r.op("pad", y, attrs=((0, 0, 0, *low), (0, 0, 0, *high), (0,) * 5, 0.0))
    graph = r.done(y)
    arrays = arrays_for(graph)
    wanted = evaluate(capture(graph), arrays)[0]
    np.testing.assert_allclose(execute(driver.loops_of(graph, target="avx2"), arrays)[0], wanted, rtol=1e-5, atol=1e-5)
