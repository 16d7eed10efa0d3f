"""What a row's maximum says about what is computed from it: no overflow in exp(x - max x), no look for NaN where a sum has it."""

from __future__ import annotations

import numpy as np
import pytest

from lamina.backends.executor import execute
from lamina.backends.oracle import evaluate
from lamina.dialects.text import parse, verify
from lamina.lowering.bufferize import Bufferize
from lamina.lowering.kernel_to_linalg import KernelToLinalg
from lamina.lowering.linalg_to_loops import LinalgToLoops
from lamina.passes.fuse import Fuse
from lamina.passes.open_composites import OpenComposites

ROWS, COLUMNS = 12, 40
WHOLE, SHORT, COLUMN = f"tensor<{ROWS}x{COLUMNS}xf32>", f"tensor<{ROWS}x1xf32>", f"tensor<1x{COLUMNS}xf32>"
HEAD = {
    "x": f"  %m = prim.max %x {{axes = array<i64: 1>}} : ({WHOLE}) -> {SHORT}\n",
    "2x": (
        f"  %x2 = prim.add %x, %x : ({WHOLE}, {WHOLE}) -> {WHOLE}\n"
        f"  %m = prim.max %x2 {{axes = array<i64: 1>}} : ({WHOLE}) -> {SHORT}\n"
    ),
}
EXPAND = f"{{to = array<i64: {ROWS}, {COLUMNS}>}} : ({SHORT}) -> {WHOLE}"


def exp_of(x: str) -> str:
    """exp(x - m), element by element."""
    return f"  %w = prim.expand %m {EXPAND}\n  %d = prim.sub %{x}, %w : ({WHOLE}, {WHOLE}) -> {WHOLE}\n  %e = prim.exp %d : ({WHOLE}) -> {WHOLE}\n"


SUM = f"  %s = prim.sum %e {{axes = array<i64: 1>}} : ({WHOLE}) -> {SHORT}\n"
QUOTIENT = f"  %b = prim.expand %s {EXPAND}\n  %y = prim.div %e, %b : ({WHOLE}, {WHOLE}) -> {WHOLE}\n"
LOG = f"  %l = prim.log %s : ({SHORT}) -> {SHORT}\n  %y = prim.add %l, %m : ({SHORT}, {SHORT}) -> {SHORT}\n"

PROGRAMS = {
    # name: operands, body, results, whether no exponential looks for overflow, whether no maximum looks for NaN
    "softmax": ("x", HEAD["x"] + exp_of("x") + SUM + QUOTIENT, [("y", WHOLE)], True, True),
    "softmax of what is computed": ("x", HEAD["2x"] + exp_of("x2") + SUM + QUOTIENT, [("y", WHOLE)], True, True),
    "logsumexp": ("x", HEAD["x"] + exp_of("x") + SUM + LOG, [("y", SHORT)], True, True),
    "the exponentials alone": ("x", HEAD["x"] + exp_of("x"), [("e", WHOLE)], True, False),
    "exponentials and softmax": ("x", HEAD["x"] + exp_of("x") + SUM + QUOTIENT, [("e", WHOLE), ("y", WHOLE)], True, False),
    "sums of columns": (  # the maximum is another kernel
        "x", HEAD["x"] + exp_of("x") + SUM.replace("%s =", "%y =").replace("i64: 1>", "i64: 0>").replace(SHORT, COLUMN), [("y", COLUMN)], False, False,
    ),
    "another's maximum": ("xz", HEAD["x"] + exp_of("z") + SUM + QUOTIENT, [("y", WHOLE)], False, False),
    "a multiple": ("x", HEAD["x"] + f"  %t = prim.add %x, %x : ({WHOLE}, {WHOLE}) -> {WHOLE}\n" + exp_of("t") + SUM + QUOTIENT, [("y", WHOLE)], False, True),
    "the other way round": (
        "x", HEAD["x"] + exp_of("x").replace("prim.sub %x, %w", "prim.sub %w, %x") + SUM + QUOTIENT, [("y", WHOLE)], False, True,
    ),
    "a mask that hides NaN": (
        "xz", HEAD["x"] + exp_of("x").replace("%e =", "%f =")
        + f"  %c = prim.less %z, %x : ({WHOLE}, {WHOLE}) -> tensor<{ROWS}x{COLUMNS}xi1>\n"
        + f"  %e = prim.select %c, %f, %z : (tensor<{ROWS}x{COLUMNS}xi1>, {WHOLE}, {WHOLE}) -> {WHOLE}\n" + SUM + QUOTIENT,
        [("y", WHOLE)], True, False,
    ),
}  # fmt: skip


def program(operands: str, body: str, results: list[tuple[str, str]]) -> str:
    arguments, types = ", ".join(f"%{x}: {WHOLE}" for x in operands), ", ".join(t for _, t in results)
    names = ", ".join(f"%{name}" for name, _ in results)
    return f"func.func @main({arguments}) -> ({types}) {{\n{body}  func.return {names} : {types}\n}}"


def numbers(operands: str) -> list[np.ndarray]:
    """Rows of large numbers; some have NaN, infinities, nothing but -inf, or all of them."""
    arrays = [(np.random.default_rng(k).standard_normal((ROWS, COLUMNS)) * 60).astype(np.float32) for k in range(len(operands))]
    x = arrays[0]
    x[1, 3], x[2, -1], x[3, 20], x[4, 5], x[5] = np.nan, np.nan, np.inf, -np.inf, -np.inf
    x[6, 1:4] = np.nan, np.inf, -np.inf
    return arrays


@pytest.mark.parametrize("target", ["avx512", "portable"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_facts(name: str, target: str) -> None:
    operands, body, results, low, blind = PROGRAMS[name]
    text = program(operands, body, results)
    arrays = numbers(operands)
    module = parse(text, "test")
    OpenComposites().run(module)
    Fuse().run(module)
    KernelToLinalg().run(module)
    Bufferize(target=target).run(module)
    LinalgToLoops(target=target).run(module)
    verify(module)
    code = str(module)
    assert ("kernel.exp_low" in code, "math.exp " in code) == (low, not low)
    maxima = [line for line in code.splitlines() if "arith.maximumf" in line]
    assert maxima and all(("nnan" in line) == blind for line in maxima)
    with np.errstate(all="ignore"):
        for got, want in zip(execute(module, arrays), evaluate(parse(text, "test"), arrays), strict=True):
            np.testing.assert_allclose(got, want, rtol=2e-5, atol=1e-30)
