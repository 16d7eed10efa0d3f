"""The loop line of every stanza against its numpy line, in many dtypes, special values included."""

from __future__ import annotations

import numpy as np
import pytest
from lamina.dialects.book import OPS
from lamina.dialects.book.stanza import CLASSES, fixed_dtype
from lamina.dialects.types import (
    DTYPES,
    bfloat16,
    bool_,
    dtype_of,
    float16,
    float32,
    float64,
    int32,
    int64,
    uint8,
)

from . import irregular_loops, loops
from .samples import IN_IR, samples, takes

REGULAR = [n for n in OPS if OPS[n].family in ("each", "fold", "view", "contract")]
SPECIAL = np.array([0.0, -0.0, 1.0, -1.0, 2.5, -3.5, np.inf, -np.inf, np.nan, 0.5])


def admits(s, dtype):
    """True if every operand can be of this dtype (or is of a fixed one)."""
    words = [p.dtype for p in s.tensors]
    return all(fixed_dtype(w) is not None or dtype.kind in CLASSES.get(w, CLASSES["any"])[0] for w in words)


def converted(s, arrays, dtype):
    return [a.astype(dtype.numpy) if fixed_dtype(p.dtype) is None else a for p, a in zip(s.tensors, arrays)]


TOLERANCE = {float64: 1e-11, float32: 1e-5, float16: 4e-3, bfloat16: 3e-2}


@pytest.mark.parametrize(
    "dtype", [float64, float32, float16, bfloat16, int64, uint8, bool_], ids=lambda d: d.name
)
def test_loops_agree_with_numpy(dtype):
    for name in REGULAR:
        s = OPS[name]
        if not admits(s, dtype):
            continue
        for arrays, attrs in samples(s):
            arrays = converted(
                s, [np.abs(a) if dtype is uint8 and a.dtype.kind == "f" else a for a in arrays], dtype
            )
            if (
                name in ("floor_divide", "remainder", "fmod", "shift_left", "shift_right", "pow")
                and dtype.kind in "iu"
            ):
                arrays[1] = np.maximum(np.abs(arrays[1]), 1).astype(arrays[1].dtype)
            if not s.tensors or not takes(s, arrays, attrs):
                continue
            (want,) = s.evaluate(arrays, attrs)
            wide = [a.astype(np.float32) if a.dtype in (float16.numpy, bfloat16.numpy) else a for a in arrays]
            got = loops.run(
                s, wide if dtype in (float16, bfloat16) and s.family in ("each", "fold") else arrays, attrs
            )
            shape, found = s.infer(tuple((a.shape, dtype_of(a)) for a in arrays), attrs)[0]
            assert want.shape == shape and want.dtype == found.numpy, name
            tolerance = TOLERANCE.get(dtype, 0)
            np.testing.assert_allclose(
                got.astype(np.float64),
                want.astype(np.float64),
                rtol=tolerance,
                atol=tolerance,
                err_msg=f"{name} {dtype}",
            )


FLOATS = [
    n
    for n in REGULAR
    if OPS[n].family == "each" and any(fixed_dtype(p.dtype) is None for p in OPS[n].tensors)
]
ROUNDING = ("floor(", "ceil(", "trunc(", "//", "%", "fmod", "pow", "atan2", "cast")


@pytest.mark.parametrize("name", [n for n in FLOATS if admits(OPS[n], float64)])
def test_special_values(name):
    s = OPS[name]
    if any(word in str(s.scalar) for word in ROUNDING):
        values = SPECIAL[np.isfinite(SPECIAL) & (SPECIAL != 0)]  # Python's own functions differ at the rest
    else:
        values = SPECIAL
    grids = np.meshgrid(*[values] * sum(fixed_dtype(p.dtype) is None for p in s.tensors), indexing="ij")
    floats = iter([g.ravel() for g in grids])
    arrays = [
        next(floats) if fixed_dtype(p.dtype) is None else np.arange(grids[0].size) % 2 == 0 for p in s.tensors
    ]
    attrs = {"cast": (float32,), "bitcast": (int64,)}.get(name, ())
    (want,) = s.evaluate(arrays, attrs)
    np.testing.assert_allclose(loops.run(s, arrays, attrs), want, rtol=1e-12, err_msg=name)


@pytest.mark.parametrize("name", [n for n in IN_IR if OPS[n].family == "irregular"])
def test_irregular(name):
    s = OPS[name]
    for arrays, attrs in samples(s):
        got = s.evaluate(arrays, attrs)
        types = s.infer(tuple((a.shape, dtype_of(a)) for a in arrays), attrs)
        assert [(a.shape, dtype_of(a)) for a in got] == list(types)
        np.testing.assert_allclose(
            got[0], getattr(irregular_loops, name)(*arrays, *attrs), err_msg=name, rtol=1e-12, atol=1e-14
        )


def test_sort_keeps_equals_in_order():
    x = np.array([2, 1, 2, 1, 2])
    values, index = OPS["sort"].evaluate([x], (0, False))
    assert index.tolist() == [1, 3, 0, 2, 4]
    values, index = OPS["sort"].evaluate([x], (0, True))
    assert values.tolist() == [2, 2, 2, 1, 1] and index.tolist() == [0, 2, 4, 1, 3]


def test_sums_keep_their_dtype():
    (y,) = OPS["sum"].evaluate([np.ones((2, 3), np.int32)], ((0, 1),))
    assert y.dtype == int32.numpy and y.shape == (1, 1)
    (y,) = OPS["sum"].evaluate([np.full(5000, 1, DTYPES["float16"].numpy)], ((0,),))
    assert y.dtype == np.float16 and y[0] == 5000  # float16 partial sums would stop at 2048


def test_results_are_arrays():
    (y,) = OPS["sum"].evaluate([np.float64(3)], ((),))
    assert isinstance(y, np.ndarray) and y.shape == ()
