"""``torch.fft``: discrete Fourier transforms.

On CPUs a transform of n points is the op `dft` where n has small prime factors only. Others, and those on GPUs, are products with matrices
of roots of unity: a transform of n = a * b points is one of a points, a multiplication by roots and one of b points (Cooley and
Tukey, "An Algorithm for the Machine Calculation of Complex Fourier Series", 1965); short ones are one product, long ones of prime
length a convolution (Bluestein, "A Linear Filtering Approach to the Computation of the Discrete Fourier Transform", 1970). An even
number of real numbers is seen as half as many complex ones. Roots are computed in float64 and rounded once.
Conventions: https://docs.pytorch.org/docs/stable/fft.html.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from ..dialects.book.fourier import radices, real_table, table
from ..dialects.types import DType, complex_of, dtype_of, part_of
from . import recorder
from .assignment import title, write_out
from .complex_numbers import conj, view_as_complex, view_as_real
from .conversion import converted
from .joining import cat, flip, roll
from .promote import Defaults
from .recorder import record
from .sequences import arange
from .tensor import Tensor, dimension, wrap

_SHORT = 32
"""Points up to which a transform is one product with a matrix."""
_LONG = 256
"""Points of prime length from which on the matrix is larger than two transforms of twice the length."""


@lru_cache(maxsize=256)
def _roots(rows: int, columns: int, of: int, dtype: DType, sign: int) -> np.ndarray:
    """exp(sign * 2 pi i * p * q / of) for p below rows and q below columns."""
    turns = np.outer(np.arange(rows), np.arange(columns)) % of
    return np.exp(sign * 2j * np.pi * turns / of).astype(dtype.numpy)


@lru_cache(maxsize=64)
def _chirps(n: int, dtype: DType, sign: int) -> tuple[np.ndarray, np.ndarray]:
    """Bluestein's chirp exp(sign * pi i * k ** 2 / n), and the transform of its conjugate, wrapped around a length with small factors."""
    squares = np.arange(n, dtype=np.int64) ** 2 % (2 * n)
    chirp = np.exp(sign * 1j * np.pi * squares / n)
    length = 1 << (2 * n - 2).bit_length()
    wrapped = np.zeros(length, np.complex128)
    wrapped[:n] = chirp.conj()
    wrapped[length - n + 1 :] = chirp[1:][::-1].conj()
    return chirp.astype(dtype.numpy), (np.fft.fft(wrapped) / length).astype(dtype.numpy)


def _constant(array: np.ndarray) -> Tensor:
    return wrap(recorder.fixed(array, (tuple(array.shape), dtype_of(array))))


def _factor(n: int) -> int:
    """The largest divisor of n whose transform is one product; 1 where there is none."""
    return next((a for a in range(min(_SHORT, n - 1), 1, -1) if n % a == 0), 1)


@lru_cache(maxsize=256)
def _table(n: int, dtype: DType) -> np.ndarray:
    return table(n).astype(part_of(dtype).numpy)


def _transformed(x: Tensor, dim: int, sign: int, scale: float = 1.0) -> Tensor:
    """The sums of x[j] * exp(sign * 2 pi i * j * k / n) over a dimension of n complex numbers, times a scale."""
    dim, n = dimension(dim, x.dim()), x.shape[dim]
    if n > 1 and radices(n) and x.device.type == "cpu":
        return wrap(record("dft", (x._read(), _constant(_table(n, x.dtype))._read()), (dim, sign, float(scale))))
    made = _products(x.transpose(dim, -1), sign).transpose(dim, -1)
    return made if scale == 1.0 else made * scale


def _products(x: Tensor, sign: int) -> Tensor:
    """The transform along the last dimension by matrices."""
    n, dtype = x.shape[-1], x.dtype
    a = _factor(n) if n > _SHORT else 1
    if n <= _SHORT or a == 1 and n < _LONG:
        return x.matmul(_constant(_roots(n, n, n, dtype, sign)))
    if a == 1:
        return _convolved(x, sign)
    parts = x.reshape(*x.shape[:-1], a, n // a)
    parts = _constant(_roots(a, a, a, dtype, sign)).matmul(parts) * _constant(_roots(a, n // a, n, dtype, sign))
    return _transformed(parts, -1, sign).transpose(-1, -2).reshape(x.shape)


def _convolved(x: Tensor, sign: int) -> Tensor:
    """A transform of prime length n by transforms of a length of small factors: j * k is (j ** 2 + k ** 2 - (k - j) ** 2) / 2."""
    n = x.shape[-1]
    chirp, kernel = (_constant(c) for c in _chirps(n, x.dtype, sign))
    spread = _transformed(_fitted(x * chirp, -1, kernel.shape[0]), -1, -1) * kernel
    return _transformed(spread, -1, 1).narrow(-1, 0, n) * chirp


def _halves(x: Tensor, n: int, dim: int) -> bool:
    """Whether n real numbers along a dimension are transformed as n / 2 complex ones: neighbours in memory are one number."""
    return n % 2 == 0 and bool(radices(n // 2)) and dimension(dim, x.dim()) == x.dim() - 1 and x.device.type == "cpu"


@lru_cache(maxsize=256)
def _real_table(n: int, dtype: DType) -> np.ndarray:
    return real_table(n).astype(dtype.numpy)


def _fitted(x: Tensor, dim: int, n: int) -> Tensor:
    """Cut off, or filled up with zeros, to n points."""
    have = x.shape[dim]
    if have >= n:
        return x if have == n else x.narrow(dim, 0, n)
    at = dimension(dim, x.dim())
    behind = tuple([n - have if d == at else 0 for d in range(x.dim())])
    none = (0,) * x.dim()
    return wrap(record("pad", (x._read(),), (none, behind, none, 0.0)))


def _checked(x: Tensor, n: int | None, dim: int) -> int:
    n = x.shape[dimension(dim, x.dim())] if n is None else n
    if n < 1:
        raise RuntimeError(f"Invalid number of data points ({n}) specified")
    return n


def _scale(n: int, norm: str | None, forward: bool) -> float:
    """What ``norm`` multiplies n points by. RuntimeError for a norm there is none of."""
    if norm not in (None, "backward", "ortho", "forward"):
        raise RuntimeError(f'Invalid normalization mode: "{norm}"')
    if norm == "ortho":
        return n**-0.5
    return 1.0 if (norm == "forward") is not forward else 1 / n


def _floating(x: Tensor) -> Tensor:
    """Whole numbers become the default float. RuntimeError for half precision."""
    if x.dtype.is_floating_point and x.dtype.itemsize < 4:
        raise RuntimeError(f"Unsupported dtype {title(x.dtype)}")
    return x if x.dtype.has_gradient else x.to(Defaults.dtype)


def _one(x: Tensor, n: int, dim: int, norm: str | None, forward: bool) -> Tensor:
    """One transform to n complex numbers along a dimension."""
    x = _fitted(_floating(x), dim, n)
    return _transformed(converted(x, complex_of(x.dtype)), dim, -1 if forward else 1, _scale(n, norm, forward))


def fft(input: Tensor, n: int | None = None, dim: int = -1, norm: str | None = None, *, out: Tensor | None = None) -> Tensor:
    """The transform along ``dim``, cut or filled up to ``n`` points. Complex result."""
    return _given(_one(input, _checked(input, n, dim), dim, norm, True), out)


def ifft(input: Tensor, n: int | None = None, dim: int = -1, norm: str | None = None, *, out: Tensor | None = None) -> Tensor:
    """The inverse of ``fft``."""
    return _given(_one(input, _checked(input, n, dim), dim, norm, False), out)


def rfft(input: Tensor, n: int | None = None, dim: int = -1, norm: str | None = None, *, out: Tensor | None = None) -> Tensor:
    """The first n // 2 + 1 results of ``fft`` of real numbers; the others are their conjugates. RuntimeError for complex input."""
    return _given(_half(input, _checked(input, n, dim), dim, norm, True, "rfft"), out)


def irfft(input: Tensor, n: int | None = None, dim: int = -1, norm: str | None = None, *, out: Tensor | None = None) -> Tensor:
    """The inverse of ``rfft``: ``n`` real numbers, an even number unless given."""
    return _given(_whole(input, _length(input, n, dim), dim, norm, False), out)


def hfft(input: Tensor, n: int | None = None, dim: int = -1, norm: str | None = None, *, out: Tensor | None = None) -> Tensor:
    """The ``n`` real numbers that are the transform of a signal of which ``input`` is one half, the other its conjugate."""
    return _given(_whole(conj(_floating(input)), _length(input, n, dim), dim, norm, True), out)


def ihfft(input: Tensor, n: int | None = None, dim: int = -1, norm: str | None = None, *, out: Tensor | None = None) -> Tensor:
    """The inverse of ``hfft``."""
    return _given(conj(_half(input, _checked(input, n, dim), dim, norm, False, "ihfft")), out)


def _length(x: Tensor, n: int | None, dim: int) -> int:
    return _checked(x, 2 * (x.shape[dimension(dim, x.dim())] - 1) if n is None else n, dim)


def _half(x: Tensor, n: int, dim: int, norm: str | None, forward: bool, name: str) -> Tensor:
    """The first half of the transform of real numbers by exp(-...), normalised as a forward or inverse one."""
    if x.dtype.is_complex:
        raise RuntimeError(f"{name} expects a real input tensor, but got {title(x.dtype)}")
    scale, x = _scale(n, norm, forward), _fitted(_floating(x), dim, n)
    if _halves(x, n, dim):
        return view_as_complex(wrap(record("real_dft", (x._read(), _constant(_real_table(n, x.dtype))._read()), (float(scale),))))
    return _transformed(converted(x, complex_of(x.dtype)), dim, -1, scale).narrow(dim, 0, n // 2 + 1)


def _whole(x: Tensor, n: int, dim: int, norm: str | None, forward: bool) -> Tensor:
    """The n real numbers whose transform begins with x, normalised as a forward or inverse one."""
    x = _fitted(_floating(x), dim, n // 2 + 1)
    x = converted(x, complex_of(x.dtype))
    scale = _scale(n, norm, forward)
    if _halves(x, n, dim):
        x = view_as_real(x)
        return wrap(record("dft_to_real", (x._read(), _constant(_real_table(n, x.dtype))._read()), (float(scale),)))
    rest = flip(x.narrow(dim, 1, (n - 1) // 2), [dim])
    return _transformed(cat((x, conj(rest)), dim), dim, 1, scale).real


def _given(result: Tensor, out: Tensor | None) -> Tensor:
    if out is None:
        return result
    return write_out(out, result, recorder.state.order)


# -- several dimensions


def _sizes(x: Tensor, s: Any, dim: Any) -> list[tuple[int, int | None]]:
    """(dimension, points or None) of each transform. RuntimeError as PyTorch words it."""
    s = None if s is None else [s] if isinstance(s, int) else list(s)
    if dim is None:
        dims = list(range(x.dim()) if s is None else range(x.dim() - len(s), x.dim()))
        if s is not None and len(s) > x.dim():
            raise RuntimeError(f"Got shape with {len(s)} values but input tensor only has {x.dim()} dimensions.")
    else:
        dims = [dimension(d, x.dim()) for d in ([dim] if isinstance(dim, int) else dim)]
        if len(set(dims)) != len(dims):
            raise RuntimeError("FFT dims must be unique")
        if s is not None and len(s) != len(dims):
            raise RuntimeError("When given, dim and shape arguments must have the same length")
    return list(zip(dims, s or [None] * len(dims), strict=True))


def fftn(input: Tensor, s: Any = None, dim: Any = None, norm: str | None = None, *, out: Tensor | None = None) -> Tensor:
    """``fft`` along several dimensions (all of them), each cut or filled up to ``s``."""
    return _given(_all(input, _sizes(input, s, dim), norm, fft), out)


def ifftn(input: Tensor, s: Any = None, dim: Any = None, norm: str | None = None, *, out: Tensor | None = None) -> Tensor:
    """The inverse of ``fftn``."""
    return _given(_all(input, _sizes(input, s, dim), norm, ifft), out)


def _all(x: Tensor, wanted: Sequence[tuple[int, int | None]], norm: str | None, transform: Callable[..., Tensor]) -> Tensor:
    if not wanted:
        return converted(_floating(x), complex_of(_floating(x).dtype))
    for d, n in reversed(wanted):
        x = transform(x, None if n == -1 else n, d, norm)
    return x


def _split(name: str, x: Tensor, s: Any, dim: Any) -> tuple[list[tuple[int, int | None]], tuple[int, int | None]]:
    wanted = _sizes(x, s, dim)
    if not wanted:
        raise RuntimeError(f"{name} must transform at least one axis")
    return wanted[:-1], wanted[-1]


def rfftn(input: Tensor, s: Any = None, dim: Any = None, norm: str | None = None, *, out: Tensor | None = None) -> Tensor:
    """``fftn`` of real numbers; of the last dimension the first half."""
    others, (last, n) = _split("rfftn", input, s, dim)
    made = rfft(input, None if n == -1 else n, last, norm)
    return _given(_all(made, others, norm, fft) if others else made, out)


def irfftn(input: Tensor, s: Any = None, dim: Any = None, norm: str | None = None, *, out: Tensor | None = None) -> Tensor:
    """The inverse of ``rfftn``."""
    others, (last, n) = _split("irfftn", input, s, dim)
    made = _all(input, others, norm, ifft) if others else input
    return _given(irfft(made, None if n == -1 else n, last, norm), out)


def hfftn(input: Tensor, s: Any = None, dim: Any = None, norm: str | None = None, *, out: Tensor | None = None) -> Tensor:
    """``hfft`` along the last of several dimensions, ``fft`` along the others."""
    others, (last, n) = _split("hfftn", input, s, dim)
    made = _all(input, others, norm, fft) if others else input
    return _given(hfft(made, None if n == -1 else n, last, norm), out)


def ihfftn(input: Tensor, s: Any = None, dim: Any = None, norm: str | None = None, *, out: Tensor | None = None) -> Tensor:
    """The inverse of ``hfftn``."""
    others, (last, n) = _split("ihfftn", input, s, dim)
    made = ihfft(input, None if n == -1 else n, last, norm)
    return _given(_all(made, others, norm, ifft) if others else made, out)


def _in_two(transform: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def apply(
        input: Tensor, s: Any = None, dim: Any = (-2, -1), norm: str | None = None, *, out: Tensor | None = None
    ) -> Tensor:
        return transform(input, s, dim, norm, out=out)

    apply.__doc__ = f"``{transform.__name__}`` along the last two dimensions."
    return apply


fft2, ifft2, rfft2, irfft2, hfft2, ihfft2 = map(_in_two, (fftn, ifftn, rfftn, irfftn, hfftn, ihfftn))


# -- frequencies


def fftfreq(n: int, d: float = 1.0, **options: Any) -> Tensor:
    """The frequencies of a transform of ``n`` samples ``d`` apart: 0, 1, …, -1, by ``n * d``."""
    half = (n - 1) // 2 + 1
    order = arange(n, **options)
    return ((order + (n - half)) % n - (n - half)) * (1.0 / (n * d)) if n else order


def rfftfreq(n: int, d: float = 1.0, **options: Any) -> Tensor:
    """The frequencies of a transform of ``n`` real samples: 0, 1, …, n // 2, by ``n * d``."""
    return arange(n // 2 + 1, **options) * (1.0 / (n * d))


def _shifted(input: Tensor, dim: int | Sequence[int] | None, back: bool) -> Tensor:
    dims = list(range(input.dim())) if dim is None else [dim] if isinstance(dim, int) else list(dim)
    shifts = [-(input.shape[d] // 2) if back else input.shape[d] // 2 for d in dims]
    return roll(input, shifts, dims)


def fftshift(input: Tensor, dim: int | Sequence[int] | None = None) -> Tensor:
    """Frequency 0 brought to the middle."""
    return _shifted(input, dim, False)


def ifftshift(input: Tensor, dim: int | Sequence[int] | None = None) -> Tensor:
    """Frequency 0 brought back to the front."""
    return _shifted(input, dim, True)
