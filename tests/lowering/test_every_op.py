"""Every op of the book, in every dtype it takes: fused, lowered to linalg, it still means its numpy line."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from lamina.backends import oracle
from lamina.dialects.book import OPS
from lamina.dialects.errors import LaminaError
from lamina.dialects.text import parse, print_module, verify
from lamina.dialects.types import DTYPES, DType, dtype_of
from lamina.lowering.capture import capture
from lamina.lowering.kernel_to_linalg import KernelToLinalg
from lamina.passes.fuse import Fuse
from lamina.passes.layout import ChooseLayout
from lamina.passes.open_composites import OpenComposites

from graphs import Recorder

_path = Path(__file__).parents[1] / "book" / "samples.py"
_spec = importlib.util.spec_from_file_location("book_samples", _path)
assert _spec is not None and _spec.loader is not None
book_samples = importlib.util.module_from_spec(_spec)
sys.modules["book_samples"] = book_samples
_spec.loader.exec_module(book_samples)

DTYPE_NAMES = ("float32", "float64", "float16", "bfloat16", "int64", "int32", "int8", "uint8", "bool")
TOLERANCE = {"float64": 1e-12, "float32": 3e-6, "float16": 2e-2, "bfloat16": 1e-1}


def cases() -> list[tuple[str, DType]]:
    found = []
    for name in OPS:
        stanza = OPS[name]
        words = {p.dtype for p in stanza.tensors}
        kinds = [DTYPES[n] for n in DTYPE_NAMES]
        for dtype in kinds if words else [DTYPES["float32"]]:
            if accepts(name, dtype):
                found.append((name, dtype))
    return found


def accepts(name: str, dtype: DType) -> bool:
    """True if the op's samples infer a type in this dtype."""
    for given, attrs in operands(name, dtype):
        try:
            OPS[name].infer(tuple((a.shape, dtype_of(a)) for a in given), attrs)
        except LaminaError:
            return False
    return True


def operands(name: str, dtype: DType) -> list[tuple[list[np.ndarray], tuple]]:
    """The op's samples with every operand whose dtype is open in this one."""
    found = []
    for arrays, attrs in book_samples.samples(OPS[name]):
        params = OPS[name].tensors
        given = []
        for i, a in enumerate(arrays):
            word = params[min(i, len(params) - 1)].dtype
            if (a.dtype == np.float64 and word != "float64") or word in ("int", "bits"):
                a = (a * 3).astype(dtype.numpy) if dtype.kind in "iu" else a.astype(dtype.numpy)
            given.append(a)
        found.append((given, attrs))
    return found


def check(graph: object, arrays: list[np.ndarray], tolerance: float) -> None:
    """Fused and linalg levels (also printed and read again) give what the primitive level gives."""
    module = capture(graph)
    OpenComposites().run(module)
    expected = oracle.evaluate(module, arrays)
    Fuse().run(module)
    ChooseLayout().run(module)
    module = parse(print_module(module))
    verify(module)
    for a, b in zip(expected, oracle.evaluate(module, arrays), strict=True):
        np.testing.assert_array_equal(wide(a), wide(b))
    KernelToLinalg().run(module)
    module = parse(print_module(module))
    verify(module)
    for a, b in zip(expected, oracle.evaluate(module, arrays), strict=True):
        assert a.dtype == b.dtype and a.shape == b.shape
        np.testing.assert_allclose(wide(a), wide(b), rtol=tolerance, atol=tolerance)


def wide(a: np.ndarray) -> np.ndarray:
    """Floats as float64 (numpy's comparisons do not know bfloat16)."""
    return a if a.dtype.kind in "iub" else a.astype(np.float64)


def marked(name: str, dtype: DType) -> object:
    """Dtypes that take the same road as another one are slow tests."""
    marks = (pytest.mark.slow,) if dtype.name in ("float16", "int32", "int8") else ()
    return pytest.param(name, dtype, marks=marks, id=f"{name}-{dtype.name}")


@pytest.mark.parametrize(("name", "dtype"), [marked(*case) for case in cases()])
def test_op(name: str, dtype: DType) -> None:
    for given, attrs in operands(name, dtype):
        types = tuple((a.shape, dtype_of(a)) for a in given)
        results = OPS[name].infer(types, attrs)
        recorder = Recorder()
        inputs = [recorder.input(*t) for t in types]
        first = recorder(name, *inputs, attrs=attrs)
        graph = recorder.graph(*range(first, first + len(results)))
        check(graph, given, TOLERANCE.get(dtype.name, 1e-12))
