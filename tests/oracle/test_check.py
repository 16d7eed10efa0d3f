"""The check after each pass: a broken pass is caught, with the op and user line where numbers part."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from graphs import Recorder, cnn_step, inputs_for
from lamina.backends.check import Checker, compare
from lamina.backends.pipelines import standard_pipeline
from lamina.dialects.errors import PassError
from lamina.dialects.ops import build_op
from lamina.lowering.capture import capture
from lamina.passes.autodiff import Differentiate
from lamina.passes.base import Pass, Pipeline
from lamina.passes.constants import FoldConstants
from lamina.passes.cse import ComputeOnce
from lamina.passes.dce import RemoveDead
from lamina.passes.narrow import Narrow
from lamina.passes.open_composites import OpenComposites
from lamina.passes.program import main_block, origin_of
from lamina.passes.simplify import Simplify
from xdsl.dialects.builtin import ModuleOp


@dataclass(frozen=True)
class SwapOperands(Pass):
    """A wrong pass: believes that subtraction commutes."""

    name = "swap-operands"
    takes = ("captured", "differentiated")

    def run(self, module: ModuleOp) -> int:
        block = main_block(module)
        for op in block.ops:
            if op.name == "prim.sub":
                wrong = build_op("sub", list(op.operands)[::-1], (), origin_of(op))
                block.insert_op_before(wrong, op)
                op.results[0].replace_all_uses_with(wrong.results[0])
                block.erase_op(op)
                return 1
        return 0


@dataclass(frozen=True)
class LoseOrder(Pass):
    """A wrong pass: moves the first op behind its readers."""

    name = "lose-order"
    takes = "captured"

    def run(self, module: ModuleOp) -> int:
        block = main_block(module)
        first = block.first_op
        first.detach()
        block.insert_op_before(first, block.last_op)
        return 1


def program() -> ModuleOp:
    r = Recorder()
    x, y = r.input((4,), name="x"), r.input((4,), name="y")
    a = r("exp", x, origin="net.py:3")
    b = r("sub", a, y, origin="net.py:4")
    c = r("mul", b, x, origin="net.py:5")
    return capture(r.graph(a, r("sum", c, attrs=((0,),), origin="net.py:6")))


def test_a_broken_pass_is_named_with_op_and_line() -> None:
    module = program()
    with pytest.raises(PassError) as caught:
        Pipeline([RemoveDead(), SwapOperands()], "captured").run(module, Checker(module, level=2).after)
    lines = str(caught.value).splitlines()
    assert lines[0] == "swap-operands changed the answer"
    assert (
        lines[1].split()[:2] == ["output", "1"] and "largest difference" in lines[1] and "allowed" in lines[1]
    )
    assert lines[2].split() == ["first", "wrong", "value", "%1", "prim.sub", "from", "net.py:4"]
    assert lines[3].startswith("help: ") and "-p 'swap-operands'" in lines[3]


def test_a_module_that_does_not_verify_is_caught_at_level_1() -> None:
    module = program()
    with pytest.raises(PassError, match="lose-order left a module that does not verify"):
        Pipeline([LoseOrder()], "captured").run(module, Checker(module, level=1).after)


def test_right_passes_pass() -> None:
    graph = cnn_step(2, (1, 2, 3), 4, 8)
    module = capture(graph)
    arrays = [
        np.abs(a) if name and name.endswith(".v") else a
        for a, name in zip(inputs_for(graph), graph.names, strict=True)
    ]
    steps = [
        Differentiate(),
        OpenComposites(),
        FoldConstants(),
        Simplify(fast=True),
        Narrow(),
        ComputeOnce(),
        RemoveDead(),
    ]
    history = Pipeline(steps, "captured").run(module, Checker(module, arrays, level=2).after)
    assert all(ran.changes for ran in history[:2])


@pytest.mark.parametrize(
    ("want", "have", "words"),
    [
        (np.zeros(2, np.float32), np.zeros(3, np.float32), "is float32[3], was float32[2]"),
        (np.zeros(2, np.float32), np.zeros(2, np.float64), "is float64[2], was float32[2]"),
        (np.array([1, 2]), np.array([1, 3]), "1 of 2 values differ"),
        (np.array([1.0, np.nan]), np.array([1.0, 2.0]), "1 of 2 values are NaN or infinite on one side only"),
        (np.array([1.0, 2.0]), np.array([np.inf, 2.0]), "1 of 2 values are NaN or infinite on one side only"),
        (np.array([np.inf]), np.array([-np.inf]), "1 of 1 values are NaN or infinite on one side only"),
    ],
)
def test_compare_says_what_differs(want: np.ndarray, have: np.ndarray, words: str) -> None:
    assert str(compare(want, have)) == words
    assert not compare(want, have).fits


def test_compare_allows_rounding_and_equal_specials() -> None:
    a = np.array([1.0, np.nan, np.inf, -np.inf], np.float32)
    assert compare(a, a + np.float32(1e-6)).fits
    assert not compare(a, np.where(np.isfinite(a), a + np.float32(0.1), a)).fits
    assert compare(np.zeros((0, 3)), np.zeros((0, 3))).fits


def test_a_module_too_long_for_the_executor_is_only_verified(capsys: pytest.CaptureFixture[str]) -> None:
    module = program()
    standard_pipeline().run(module, Checker(module, level=2, largest=1).after)
    assert "linalg-to-loops verified, not run" in capsys.readouterr().err
