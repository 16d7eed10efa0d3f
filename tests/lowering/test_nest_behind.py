"""Rows whose last leaf is a row behind: the same results whatever rows and pieces of rows a task has."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

import lamina as torch

sys.path.insert(0, str(Path(__file__).parent))
from test_buffers_and_nests import check  # noqa: E402

from lamina.dialects.text import parse, print_module  # noqa: E402
from lamina.lowering.kernel_to_linalg import KernelToLinalg  # noqa: E402
from lamina.passes.fuse import Fuse  # noqa: E402
from lamina.passes.layout import ChooseLayout  # noqa: E402
from lamina.passes.open_composites import OpenComposites  # noqa: E402


def kernel(op: str, shape: str, axis: int) -> str:
    """The linalg level of one softmax."""
    type_ = f"tensor<{shape}xf32>"
    module = parse(
        f"func.func @main(%x: {type_}) -> {type_} {{ %0 = nn.{op} %x {{axes = array<i64: {axis}>}} : ({type_}) -> {type_}\n func.return %0 : {type_} }}", "test"
    )
    for step in (OpenComposites(), Fuse(), ChooseLayout(), KernelToLinalg()):
        step.run(module)
    return print_module(module)


@pytest.mark.parametrize("op", ["softmax", "log_softmax"])
@pytest.mark.parametrize(
    ("shape", "axis", "behind"), [("66x333", 1, True), ("2x5x333", 2, True), ("3x333", 1, False), ("66x48", 1, False), ("4x300x6", 1, False)]
)
def test_rows_are_what_the_oracle_says(op: str, shape: str, axis: int, behind: bool) -> None:
    """66 rows are tasks of five and one of a single row; 333 elements are 16 x 20 + 8 + 4 + 1."""
    text = check(kernel(op, shape, axis), rounds=False)
    assert ("arith.remui" in text) == behind


def test_what_is_behind_may_take_an_operand_s_memory() -> None:
    x = np.random.default_rng(0).standard_normal((130, 1000)).astype(np.float32) * 8
    x[3, :500], x[7, 999], x[64] = -np.inf, np.nan, -np.inf
    held = torch.from_numpy(x) + 0.0
    with np.errstate(invalid="ignore"):
        e = np.exp(x - x.max(1, keepdims=True))
    for _ in range(3):
        got, held = torch.softmax(held, 1), None
        np.testing.assert_allclose(got.numpy(), e / e.sum(1, keepdims=True), rtol=2e-6, atol=1e-30)
        held = torch.from_numpy(x) * 1.0
