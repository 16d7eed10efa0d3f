"""torch.testing: comparing tensors in tests."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ..dialects.types import DTYPES, part_of
from .complex_numbers import view_as_complex
from .creation import tensor
from .random_tensors import rand, randint
from .tensor import Tensor

__all__ = ["assert_allclose", "assert_close", "make_tensor"]

# dtype -> (rtol, atol), as PyTorch documents them
_TOLERANCES = {
    "float16": (1e-3, 1e-5), "bfloat16": (1.6e-2, 1e-5), "float32": (1.3e-6, 1e-5), "float64": (1e-7, 1e-7),
}  # fmt: skip


def assert_close(
    actual: Any, expected: Any, *, allow_subclasses: bool = True, rtol: float | None = None, atol: float | None = None,
    equal_nan: bool = False, check_device: bool = True, check_dtype: bool = True, check_layout: bool = True,
    check_stride: bool = False, msg: str | Callable[[str], str] | None = None,
) -> None:  # fmt: skip
    """AssertionError unless |actual - expected| <= atol + rtol * |expected| everywhere, of tensors, numbers, lists and dicts.

    The tolerances follow from the dtypes unless both are given. ValueError when only one of them is.
    """
    if (rtol is None) != (atol is None):
        raise ValueError("Both 'rtol' and 'atol' must be either specified or unspecified.")
    try:
        _compare(actual, expected, rtol, atol, equal_nan, check_dtype, check_device)
    except AssertionError as error:
        text = str(error)
        if msg is not None:
            text = msg(text) if callable(msg) else msg
        raise AssertionError(text) from None


def assert_allclose(
    actual: Any, expected: Any, rtol: float | None = None, atol: float | None = None, equal_nan: bool = True, msg: str = ""
) -> None:
    """`assert_close` of what need not have the same dtype, with NaN equal to NaN."""
    warnings.warn("torch.testing.assert_allclose() is deprecated: use torch.testing.assert_close() instead.", FutureWarning, stacklevel=2)
    actual = actual if isinstance(actual, Tensor) else tensor(actual)
    expected = expected if isinstance(expected, Tensor) else tensor(expected, dtype=actual.dtype)
    if rtol is None and atol is None:
        wide = [_TOLERANCES.get(t.dtype.name, (0.0, 0.0)) for t in (actual, expected)]
        rtol, atol = (max(pair) for pair in zip(*wide, strict=True))
    assert_close(actual, expected, rtol=rtol, atol=atol, equal_nan=equal_nan, check_dtype=False, msg=msg or None)


def _compare(
    actual: Any, expected: Any, rtol: float | None, atol: float | None, nan: bool, dtypes: bool, devices: bool, at: str = ""
) -> None:
    pairs: Any = None
    if isinstance(actual, Mapping) and isinstance(expected, Mapping):
        if actual.keys() != expected.keys():
            raise AssertionError(f"The keys of the mappings do not match: {sorted(actual)} != {sorted(expected)}")
        pairs = [(key, actual[key], expected[key]) for key in expected]
    elif not isinstance(expected, (Tensor, str)) and isinstance(actual, Sequence) and isinstance(expected, Sequence):
        if len(actual) != len(expected):
            raise AssertionError(f"The length of the sequences mismatch: {len(actual)} != {len(expected)}")
        pairs = [(i, a, b) for i, (a, b) in enumerate(zip(actual, expected, strict=True))]
    if pairs is not None:
        for key, a, b in pairs:
            _compare(a, b, rtol, atol, nan, dtypes, devices, f"{at}[{key!r}]")
        return
    are_numbers = not isinstance(expected, (Tensor, np.ndarray))
    a, b = (x if isinstance(x, Tensor) else tensor(x) for x in (actual, expected))
    where = f"\n\nThe failure occurred for item {at}" if at else ""
    if a.shape != b.shape:
        raise AssertionError(f"The values for attribute 'shape' do not match: {a.shape} != {b.shape}.{where}")
    for fact, wanted in (("dtype", dtypes and not are_numbers), ("device", devices)):
        if wanted and getattr(a, fact) != getattr(b, fact):
            raise AssertionError(
                f"The values for attribute '{fact}' do not match: {getattr(a, fact)} != {getattr(b, fact)}.{where}"
            )
    _compare_values(a, b, rtol, atol, nan, where, are_numbers)


def _compare_values(a: Tensor, b: Tensor, rtol: float | None, atol: float | None, nan: bool, where: str, number: bool) -> None:
    if rtol is None or atol is None:
        names = ("float64",) if number and "float32" in (a.dtype.name, b.dtype.name) else (a.dtype.name, b.dtype.name)
        chosen = [_TOLERANCES.get(name, (0.0, 0.0)) for name in names]
        rtol, atol = (max(values) for values in zip(*chosen, strict=True))
    x, y = (t.detach().cpu().double().numpy() for t in (a, b))
    wrong = ~np.isclose(x, y, rtol, atol, nan)
    if not wrong.any():
        return
    off = np.abs(x - y)
    relative = np.where(wrong, off / np.abs(np.where(y == 0, np.nan, y)), np.nan)
    place = np.unravel_index(int(np.nanargmax(np.where(wrong, off, -1))), off.shape)
    kind = "Scalars" if number else "Tensor-likes"
    what = "equal" if rtol == atol == 0 else "close"
    raise AssertionError(
        f"{kind} are not {what}!\n\nMismatched elements: {int(wrong.sum())} / {off.size} ({100 * wrong.mean():.1f}%)\n"
        f"Greatest absolute difference: {off[place]} at index {tuple(int(i) for i in place)} (up to {atol} allowed)\n"
        f"Greatest relative difference: {np.nanmax(relative, initial=0.0)} (up to {rtol} allowed){where}"
    )


def make_tensor(
    *shape: Any, dtype: Any, device: Any, low: float | None = None, high: float | None = None, requires_grad: bool = False, noncontiguous: bool = False,
    exclude_zero: bool = False, memory_format: Any = None,
) -> Tensor:  # fmt: skip
    """Random numbers between low and high: by default -9 to 9 (integers from -9 on, or 0 where there are no signs), uniformly drawn."""
    sizes = tuple(shape[0]) if len(shape) == 1 and not isinstance(shape[0], int) else shape
    if dtype is DTYPES["bool"]:
        made = randint(0, 2, sizes, device=device).to(dtype)
    elif dtype.kind in "ui":
        first = (0 if dtype.kind == "u" else -9) if low is None else low
        made = randint(int(first), int(10 if high is None else high), sizes, device=device).to(dtype)
    else:
        first, last = -9 if low is None else low, 9 if high is None else high
        if first > last or first == last and low is None:
            raise ValueError(f"low must be less than high, but got {low} >= {high}")
        real = part_of(dtype)
        parts = (*sizes, 2) if dtype.is_complex else sizes
        made = rand(parts, dtype=real, device=device) * (last - first) + first
        made = view_as_complex(made) if dtype.is_complex else made
    if exclude_zero:
        made = made.masked_fill(made == 0, 1)
    if noncontiguous and made.numel() > 1:
        made = made.repeat_interleave(2, dim=-1)[..., ::2]
    return made.requires_grad_(requires_grad) if requires_grad else made
