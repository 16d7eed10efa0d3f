"""The second witness: each stanza's loop line interpreted one element at a time, in plain Python."""

from __future__ import annotations

import itertools
import math

import numpy as np
from lamina.dialects.book import Name, Number, Stanza, accumulator
from lamina.dialects.types import DType, dtype_of


def scalar(expr, env):
    """Value of a scalar expression."""
    if isinstance(expr, Number):
        return expr.value
    if isinstance(expr, Name):
        return env[expr.name]
    return SCALARS[expr.fn](*(scalar(a, env) for a in expr.args))


POLES = {
    (math.log, 0.0): -math.inf,
    (math.log2, 0.0): -math.inf,
    (math.log10, 0.0): -math.inf,
    (math.log1p, -1.0): -math.inf,
    (math.atanh, 1.0): math.inf,
    (math.atanh, -1.0): -math.inf,
}


def _guarded(fn):
    """math functions raise where floats have infinities and NaN."""

    def apply(*args):
        try:
            return fn(*args)
        except OverflowError:
            return math.inf
        except ValueError:
            return POLES.get((fn, *args), math.nan)

    return apply


def _divide(a, b):
    if b != 0:
        return a / b
    return math.nan if a == 0 or a != a else math.copysign(math.inf, a) * math.copysign(1, b)


def _power(a, b):
    if isinstance(a, int) and isinstance(b, int):
        return a**b if b >= 0 else int(a**b) if abs(a) == 1 else 0
    return _guarded(math.pow)(a, b)


def _extreme(pick):
    return lambda a, b: math.nan if a != a or b != b else pick(a, b)


def _round(x):
    return float(round(x)) if math.isfinite(x) else x


def _cast(x, t: DType):
    if t.kind == "b":
        return bool(x)
    return float(x) if t.kind == "f" else int(x)


SCALARS = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": _divide,
    "floor_divide": lambda a, b: a // b,
    "remainder": lambda a, b: a % b,
    "fmod": _guarded(math.fmod),
    "pow": _power,
    "maximum": _extreme(max),
    "minimum": _extreme(min),
    "atan2": math.atan2,
    "neg": lambda a: -a,
    "abs": abs,
    "equal": lambda a, b: a == b,
    "not_equal": lambda a, b: a != b,
    "less": lambda a, b: a < b,
    "less_equal": lambda a, b: a <= b,
    "greater": lambda a, b: a > b,
    "greater_equal": lambda a, b: a >= b,
    "logical_and": lambda a, b: a and b,
    "logical_or": lambda a, b: a or b,
    "logical_xor": lambda a, b: a != b,
    "logical_not": lambda a: not a,
    "bitwise_and": lambda a, b: a & b,
    "bitwise_or": lambda a, b: a | b,
    "bitwise_xor": lambda a, b: a ^ b,
    "bitwise_not": lambda a: not a if isinstance(a, bool) else ~a,
    "shift_left": lambda a, b: a << b,
    "shift_right": lambda a, b: a >> b,
    "select": lambda c, a, b: a if c else b,
    "cast": _cast,
    "bitcast": lambda x, t: np.asarray(x).view(t.numpy).item(),
    "exp2": lambda x: _guarded(math.pow)(2.0, x),
    "round": _round,
    "erf": math.erf,
    "erfc": math.erfc,
    "floor": lambda x: float(math.floor(x)),
    "ceil": lambda x: float(math.ceil(x)),
    "trunc": lambda x: float(math.trunc(x)),
    **{
        f: _guarded(getattr(math, f))
        for f in (
            "exp expm1 log log2 log10 log1p sqrt sin cos tan asin acos atan sinh cosh tanh asinh acosh atanh"
        ).split()
    },
}


def stored(value, dtype: DType):
    """What memory of this dtype keeps: integers wrap around."""
    if dtype.kind not in "iu":
        return value
    bits = 8 * dtype.itemsize
    value = int(value) % (1 << bits)
    return value - (1 << bits) if dtype.kind == "i" and value >> (bits - 1) else value


COMBINE = {
    "add": lambda a, b: a + b,
    "mul": lambda a, b: a * b,
    "maximum": _extreme(max),
    "minimum": _extreme(min),
    "and": lambda a, b: bool(a and b),
    "or": lambda a, b: bool(a or b),
}


def run(s: Stanza, arrays, attrs) -> np.ndarray:
    """The first result by the loop line."""
    types = tuple((a.shape, dtype_of(a)) for a in arrays)
    shape, dtype = s.infer(types, attrs)[0]
    return globals()[f"_{'place' if s.is_placement else s.family}"](s, arrays, attrs, types, shape, dtype)


def _each(s, arrays, attrs, types, shape, dtype):
    y = np.empty(shape, dtype.numpy)
    named = {p.name: v for p, v in zip(s.attributes, attrs)}
    for i in np.ndindex(*shape):
        env = {**named, **{p.name: a[i].item() for p, a in zip(s.tensors, arrays)}}
        y[i] = stored(scalar(s.scalar, env), dtype)
    return y


def _fold(s, arrays, attrs, types, shape, dtype):
    (axes,) = attrs
    y = np.full(shape, s.fold.initial(dtype), accumulator(dtype).numpy)
    for i in np.ndindex(*arrays[0].shape):
        at = tuple(0 if k in axes else v for k, v in enumerate(i))
        value = scalar(s.fold.operand, {p.name: a[i].item() for p, a in zip(s.tensors, arrays)})
        y[at] = stored(COMBINE[s.fold.combiner](y[at].item(), value), dtype)
    return y.astype(dtype.numpy)


def _view(s, arrays, attrs, types, shape, dtype):
    y = np.empty(shape, dtype.numpy)
    for i in np.ndindex(*shape):
        source, fill = s.index_map(types[0][0], shape, attrs, i)
        assert fill is None
        y[i] = arrays[0][tuple(source)]
    return y


def _place(s, arrays, attrs, types, shape, dtype):
    x = arrays[0]
    _, fill = s.index_map(x.shape, shape, attrs, (0,) * len(shape))
    y = np.full(shape, fill, dtype.numpy)
    for i in np.ndindex(*x.shape):
        at = tuple(s.placement(x.shape, attrs, i))
        if all(0 <= k < n for k, n in zip(at, shape)):
            y[at] = x[i]
            assert tuple(s.index_map(x.shape, shape, attrs, at)[0]) == i
    return y


def _contract(s, arrays, attrs, types, shape, dtype):
    c = s.contraction(types, attrs)
    y = np.zeros(shape, accumulator(dtype).numpy)
    order = c.parallel + c.reduction
    for values in itertools.product(*(range(c.sizes[name]) for name in order)):
        index = {1: 1, **dict(zip(order, values))}

        def at(linear, index=index):
            return tuple(sum(index[k] * v for k, v in dim.items()) for dim in linear)

        total = y[at(c.result)].item() + math.prod(a[at(o)].item() for a, o in zip(arrays, c.operands))
        y[at(c.result)] = stored(total, dtype)
    return y.astype(dtype.numpy)
