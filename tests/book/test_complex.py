"""Complex numbers: every reading on parts against numpy's, the ops between real and complex numbers, and what is refused."""

import numpy as np
import pytest

from lamina.dialects.book import OPS, NumpyBuild
from lamina.dialects.book.complex_parts import OnParts, Parts
from lamina.dialects.errors import DTypeError
from lamina.dialects.types import complex64, complex128, float32, float64, int64, promote_types

ON_PARTS = [name.removeprefix("complex_") for name in OPS if name.startswith("complex_")]
NUMPY = {
    "div": np.divide, "mul": np.multiply, "abs": np.abs, "conj": np.conj, "equal": np.equal, "not_equal": np.not_equal,
    "is_nan": np.isnan, "is_inf": np.isinf, "is_finite": np.isfinite, "pow": np.power, "sign": lambda z: z / np.abs(z),
    "rsqrt": lambda z: 1 / np.sqrt(z), "sigmoid": lambda z: 1 / (1 + np.exp(-z)), "silu": lambda z: z / (1 + np.exp(-z)), "asin": np.arcsin, "acos": np.arccos,
    "atan": np.arctan, "asinh": np.arcsinh, "acosh": np.arccosh, "atanh": np.arctanh,
}  # fmt: skip


def parts(z):
    return Parts(np.ascontiguousarray(z.real), np.ascontiguousarray(z.imag))


def whole(value):
    return value.re + 1j * (0 if value.im is None else value.im) if isinstance(value, Parts) else value


def numbers(seed, count=400):
    rng = np.random.default_rng(seed)
    z = rng.standard_normal(count) * 10.0 ** rng.uniform(-3, 0.7, count) + 1j * rng.standard_normal(count) * 10.0 ** rng.uniform(-3, 0.7, count)
    return np.concatenate([z, [1.0, -1.0 + 0.5j, 2j, -0.25j, 0.5 - 3j]])


@pytest.mark.parametrize("name", ON_PARTS)
def test_parts_are_those_of_numpy(name):
    count = len(OPS[f"complex_{name}"].tensors) // 2
    z = [numbers(i) for i in range(count)]
    (got,) = OnParts(NumpyBuild(OPS), OPS)(name, tuple(map(parts, z)), ())
    want = NUMPY.get(name, getattr(np, name, None))(*z)
    np.testing.assert_allclose(whole(got), want, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("name", ["mul", "div"])
@pytest.mark.parametrize("real", [0, 1])
def test_a_part_that_is_zero_is_not_multiplied(name, real):
    steps = []

    class Noted(NumpyBuild):
        def __call__(self, op, operands, attrs):
            steps.append(op)
            return super().__call__(op, operands, attrs)

    z, x = numbers(1), np.linspace(0.5, 2, 405)
    operands = [parts(z), parts(z)]
    operands[real] = Parts(x)
    (got,) = OnParts(Noted(OPS), OPS)(name, tuple(operands), ())
    values = [z, z]
    values[real] = x
    np.testing.assert_allclose(whole(got), getattr(np, {"mul": "multiply", "div": "divide"}[name])(*values), rtol=1e-12)
    if name == "mul" or real == 1:
        assert steps == [name, name]


def test_large_and_small_numbers_do_not_overflow():
    z = np.array([3e300 + 4e300j, 3e-300 + 4e-300j, complex(np.inf, 1), 0j])
    on = OnParts(NumpyBuild(OPS), OPS)
    np.testing.assert_allclose(on("abs", (parts(z),), ())[0], [5e300, 5e-300, np.inf, 0])
    np.testing.assert_allclose(whole(on("div", (parts(z[:2]), parts(z[:2])), ())[0]), [1, 1])
    np.testing.assert_allclose(whole(on("reciprocal", (parts(z[:1]),), ())[0]), 1 / z[:1])
    np.testing.assert_allclose(whole(on("tanh", (parts(np.array([800 + 1j, -800 - 1j])),), ())[0]), [1, -1])


def test_cuts_lie_where_those_of_numpy_lie():
    z = np.array([-2 + 0j, complex(-2, -0.0), 0j, 4 + 0j, -4 + 1e-9j])
    on = OnParts(NumpyBuild(OPS), OPS)
    for name in ("sqrt", "log"):
        with np.errstate(divide="ignore"):
            np.testing.assert_allclose(whole(on(name, (parts(z[z != 0] if name == "log" else z),), ())[0]), getattr(np, name)(z[z != 0] if name == "log" else z))


def test_products_go_by_parts():
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal(s) + 1j * rng.standard_normal(s) for s in ((3, 4), (4, 5)))
    on = OnParts(NumpyBuild(OPS), OPS)
    np.testing.assert_allclose(whole(on("matmul", (parts(a), parts(b)), ())[0]), a @ b)
    np.testing.assert_allclose(whole(on("matmul", (parts(a), Parts(b.real)), ())[0]), a @ b.real)
    assert on("matmul", (Parts(a.real), Parts(b.real)), ())[0].im is None
    w, c = rng.standard_normal((5, 4)) + 0j, rng.standard_normal(5) * 1j  # a composite: opened
    np.testing.assert_allclose(whole(on("linear", (parts(a), parts(w), parts(c)), ())[0]), a @ w.T + c)


def test_padding_is_a_real_number():
    z = np.array([1 + 2j, 3 + 4j])
    (got,) = OnParts(NumpyBuild(OPS), OPS)("pad", (parts(z),), ((1,), (1,), (0,), 7.0))
    np.testing.assert_array_equal(whole(got), [7, 1 + 2j, 3 + 4j, 7])


def test_between_real_and_complex():
    re, im = np.arange(3.0), np.array([0.5, np.inf, -0.0])
    (z,) = OPS["to_complex"].evaluate((re, im), (complex128,))
    assert z.dtype == np.complex128 and np.array_equal(z.real, re) and np.array_equal(z.imag, im)
    (pairs,) = OPS["as_parts"].evaluate((z,), (float64,))
    np.testing.assert_array_equal(pairs, np.stack([re, im], -1))
    (again,) = OPS["from_parts"].evaluate((pairs,), (complex128,))
    np.testing.assert_array_equal(again, z)


def test_types():
    z, x = ((3,), complex64), ((3,), float32)
    assert OPS["mul"].infer((z, z), ()) == (z,)
    assert OPS["abs"].infer((z,), ()) == (x,)
    assert OPS["is_nan"].infer((z,), ())[0][1].name == "bool"
    assert promote_types(complex64, float64) is complex128 and promote_types(int64, complex64) is complex64
    for name in ("maximum", "less", "floor", "softmax", "sort", "relu", "mse_loss"):
        s = OPS[name]
        with pytest.raises(DTypeError, match="complex64"):
            s.infer((z,) * len(s.tensors), ((0,),) if name == "softmax" else (0, False) if name == "sort" else ())
    with pytest.raises(DTypeError, match="one dtype, got complex64 and float32"):
        OPS["mul"].infer((z, x), ())


def test_every_op_that_says_it_takes_complex_numbers_does():
    """What a stanza accepts, the parts know: no op is recorded that cannot be compiled."""
    from lamina.dialects.errors import UnsupportedError

    from .samples import IN_IR, samples

    for name in IN_IR:
        s = OPS[name]
        if s.in_code or not s.takes_complex or name.startswith("complex_") or any(t.many for t in s.tensors):
            continue
        for arrays, attrs in samples(s):
            lifted = tuple([Parts(a, a) if a.dtype == np.float64 and p.dtype != "float64" else a for a, p in zip(arrays, s.tensors, strict=True)])
            try:
                OnParts(NumpyBuild(OPS), OPS)(name, lifted, attrs)
            except (UnsupportedError, AttributeError) as error:
                raise AssertionError(f"{name}: {error}") from error
