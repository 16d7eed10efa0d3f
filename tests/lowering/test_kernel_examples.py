"""The hand-written kernels of this folder parse, verify, and print back to the same text."""

from __future__ import annotations

from pathlib import Path

import pytest
from xdsl.context import Context
from xdsl.dialects import arith, builtin, func, linalg, math, tensor
from xdsl.parser import Parser

from lamina.dialects.kernel import Kernel

EXAMPLES = sorted(Path(__file__).parent.glob("kernel_*.mlir"))


def context() -> Context:
    ctx = Context()
    for dialect in (builtin.Builtin, func.Func, linalg.Linalg, tensor.Tensor, arith.Arith, math.Math, Kernel):
        ctx.load_dialect(dialect)
    return ctx


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.stem)
def test_round_trip(path: Path) -> None:
    module = Parser(context(), path.read_text(), str(path)).parse_module()
    module.verify()
    text = str(module)
    again = Parser(context(), text).parse_module()
    again.verify()
    assert str(again) == text
