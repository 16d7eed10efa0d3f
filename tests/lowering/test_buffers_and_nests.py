"""Every example kernel, bufferized and lowered to loops, computes what the oracle computes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lamina.backends.executor import execute
from lamina.backends.oracle import evaluate
from lamina.dialects.text import parse, print_module, verify
from lamina.lowering.bufferize import Bufferize
from lamina.lowering.linalg_to_loops import LinalgToLoops

EXAMPLES = sorted(Path(__file__).parent.glob("kernel_*.mlir"))


def arrays_for(module: object, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    main = next(
        op for op in module.body.block.ops if getattr(op, "sym_name", None) and op.sym_name.data == "main"
    )
    arrays = []
    for arg in main.body.block.args:
        shape, code = arg.type.get_shape(), str(arg.type.element_type)
        if code == "i64":
            arrays.append(rng.integers(-3, 120, shape))
        else:
            arrays.append(rng.standard_normal(shape).astype({"f32": np.float32, "f64": np.float64}[code]))
    return arrays


def check(text: str, target: str = "avx512", rounds: bool = True) -> str:
    module = parse(text, "test")
    arrays = arrays_for(module)
    expected = evaluate(module, arrays)
    Bufferize(target=target).run(module)
    verify(module)
    for got, want in zip(execute(module, arrays), expected, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)
    LinalgToLoops(target=target).run(module)
    verify(module)
    text = print_module(module)
    for got, want in zip(execute(module, arrays), expected, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)
    if rounds:
        assert print_module(parse(text, "again")) == text
    return text


@pytest.mark.parametrize("target", ["avx512", "avx2", "portable"])
@pytest.mark.parametrize(
    "path", [pytest.param(p, marks=[pytest.mark.slow] * (p.stem == "kernel_convolution"), id=p.stem) for p in EXAMPLES]
)
def test_example(path: Path, target: str) -> None:
    check(path.read_text(), target, rounds=target == "avx512")
