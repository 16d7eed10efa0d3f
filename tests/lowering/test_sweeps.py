"""Sweeps: which kernels take their tasks in the other order, and that this changes nothing they compute."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from needs import needs_compiler
from xdsl.dialects import func
from xdsl.dialects.builtin import UnitAttr, f32

sys.path.insert(0, str(Path(__file__).parent))

from contraction_programs import Compiled, convolution, kernel_gradient, kernel_of, lowered, matrix  # noqa: E402

from lamina.dialects.target import AVX512  # noqa: E402
from lamina.lowering.memref_layout import memref_type  # noqa: E402
from lamina.lowering.storage import Call, Loop, Storage, row  # noqa: E402
from lamina.lowering.sweeps import BACKWARDS, choose_sweeps, turn_tasks  # noqa: E402

TYPE = memref_type((1,), f32)
LARGE, SMALL = 3 << 20, 1 << 10


def buffer(size: int = LARGE) -> Storage:
    return Storage(size, 0, 0)


def chosen(*touched: list[Storage] | None, functions: list[int] | None = None) -> list[bool]:
    """Of calls that touch these buffers, those that go backwards; None: a loop. functions: the number of each call's."""
    numbers = functions or list(range(len(touched)))
    made = [func.FuncOp(f"k{n}", ([], [])) for n in range(max(numbers) + 1)]
    calls = [
        Loop(2, False) if homes is None else Call(made[n], [(s, TYPE) for s in homes], [], None)
        for n, homes in zip(numbers, touched, strict=True)
    ]
    choose_sweeps(calls, AVX512)
    return [isinstance(c, Call) and BACKWARDS in c.function.attributes for c in calls]


def test_kernels_alternate_while_they_go_over_a_large_buffer() -> None:
    x, y, small = buffer(), buffer(), buffer(SMALL)
    assert chosen([x], [x, small], [x], [x]) == [False, True, False, True]
    assert chosen([x], [x, y], [y], [y]) == [False, True, False, True]
    assert chosen([small], [small], [y]) == [False, False, False]
    part = row(x, None, 0, 64)
    assert chosen([x], [part], [x]) == [False, True, False]


def test_the_larger_buffer_decides_and_what_is_gone_does_not() -> None:
    x, wide, other = buffer(), buffer(2 * LARGE), buffer()
    assert chosen([wide], [wide], [x], [x, wide]) == [False, True, False, True]  # wide was gone over long ago: x decides
    assert chosen([x], [x], [x, wide], [x, wide]) == [False, True, False, True]
    assert chosen([x], [other], [x]) == [False, False, False]
    assert chosen([x], None, [x]) == [False, False, False]


def test_a_function_has_one_direction() -> None:
    x = buffer()
    assert chosen([x], [x], [x], [x], functions=[0, 1, 1, 0]) == [False, True, True, False]


@needs_compiler
@pytest.mark.parametrize(
    "program", [matrix(200, 130, 300), convolution(4, 16, 32, 20), kernel_gradient(8, 16, 32, 16)], ids=["matrix", "convolution", "gradient"]
)
@pytest.mark.slow
def test_tasks_in_the_other_order_give_the_same_bits(program) -> None:  # noqa: ANN001
    rng = np.random.default_rng(0)
    arrays = [o.array(program.sizes, rng) for o in (program.left, program.right, *program.others)]
    wanted = Compiled(program, AVX512)(arrays)
    made = lowered(program, AVX512)
    assert made is not None
    kernel = next(op for op in made[0].ops if isinstance(op, func.FuncOp))
    before = str(kernel)
    turn_tasks(kernel)
    assert str(kernel) == before
    kernel.attributes[BACKWARDS] = UnitAttr()
    turn_tasks(kernel)
    made[0].verify()
    turned = Compiled(program, made=made)
    assert "begin" in turned.source
    np.testing.assert_array_equal(turned(arrays), wanted)


def test_products_that_fetch_for_the_tile_behind_theirs_go_forwards() -> None:
    x, fetching = buffer(), replace(AVX512, l1_bytes=4 << 10)
    for program, target, backwards in ((matrix(49, 256, 96, b="nk"), fetching, False), (convolution(8, 16, 32, 20), AVX512, True)):
        function = kernel_of(program)[1]
        choose_sweeps([Call(func.FuncOp("k9", ([], [])), [(x, TYPE)], [], None), Call(function, [(x, TYPE)], [], None)], target)
        assert (BACKWARDS in function.attributes) == backwards
