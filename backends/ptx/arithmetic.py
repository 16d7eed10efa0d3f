"""What PTX's arithmetic, comparison, bit and conversion instructions compute, on numpy arrays of one value per thread.

Source: PTX ISA 9.0, "Integer Arithmetic", "Floating Point", "Comparison and Selection", "Logic and Shift", "cvt", "prmt".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from . import halves, rounding
from .parse import WIDTHS, Both, Instruction

Array = np.ndarray
DTYPES = {
    "b8": np.uint8, "u8": np.uint8, "s8": np.int8, "b16": np.uint16, "u16": np.uint16, "s16": np.int16, "f16": np.uint16, "bf16": np.uint16,
    "b32": np.uint32, "u32": np.uint32, "s32": np.int32, "f32": np.float32, "f16x2": np.uint32, "bf16x2": np.uint32, "tf32": np.uint32,
    "b64": np.uint64, "u64": np.uint64, "s64": np.int64, "f64": np.float64, "pred": np.bool_,
}  # fmt: skip
"""numpy's types of PTX's; 16-bit floats as their bits."""
MODES = ("rn", "rz", "rm", "rp")


@dataclass(frozen=True)
class Meaning:
    """result: a type; takes: the operands' types; compute: from arrays of those to one (or two, of setp with p|q) of that."""

    result: str
    takes: tuple[str, ...]
    compute: Callable[..., Array]


class Unknown(Exception):
    """An instruction, or a form of one, that is not implemented."""


def meaning(instruction: Instruction) -> Meaning:
    """What an instruction without side effects computes. Unknown otherwise."""
    made = _FAMILIES.get(instruction.opcode)
    if made is None:
        raise Unknown
    form = _Form(instruction)
    return _half(form) if form.opcode in halves.ARITHMETIC and set(form.words) & set(halves.KINDS) else made(form)


class _Form:
    """An instruction's words, each of which has to be asked for: one nobody asked for is an instruction that is not known."""

    def __init__(self, instruction: Instruction) -> None:
        self.opcode, self.words = instruction.opcode, list(instruction.parts)
        self.count = len(instruction.operands)
        self.gives_two = bool(instruction.operands) and isinstance(instruction.operands[0], Both)

    def has(self, word: str) -> bool:
        if word in self.words:
            self.words.remove(word)
            return True
        return False

    def one_of(self, words: tuple[str, ...], otherwise: str) -> str:
        return next((w for w in words if self.has(w)), otherwise)

    def types(self, count: int = 1) -> list[str]:
        found = [w for w in self.words if w in WIDTHS]
        if len(found) != count or len(self.words) != count:
            raise Unknown
        return found


def _half(form: _Form) -> Meaning:
    """Arithmetic of 16-bit floats: .ftz and .sat are f16's, .relu is fma's, which names its rounding."""
    name, mode = form.opcode, form.one_of(MODES, "")
    flush, saturate, relu, takes_nan = (form.has(word) for word in ("ftz", "sat", "relu", "NaN"))
    (kind,) = form.types()
    is_plain, is_extreme = name in ("neg", "abs"), name in ("min", "max")
    if mode not in ("", "rn") or (mode != "rn") if name == "fma" else mode not in ("", "rn") or mode and (is_plain or is_extreme):
        raise Unknown
    if (flush or saturate) and halves.single(kind) != "f16" or saturate and (is_plain or is_extreme or relu) or relu and name != "fma" or takes_nan and not is_extreme:
        raise Unknown
    takes = {"fma": 3, "neg": 1, "abs": 1}.get(name, 2)
    return Meaning(kind, (kind,) * takes, halves.arithmetic(name, kind, flush, saturate, relu, takes_nan))


def _is_float(kind: str) -> bool:
    return kind in ("f32", "f64")


def _binary(form: _Form) -> Meaning:
    mode, flush, saturate = form.one_of(MODES, "rn"), form.has("ftz"), form.has("sat")
    (kind,) = form.types()
    function = {"add": np.add, "sub": np.subtract}[form.opcode]
    if _is_float(kind):
        return _float_binary(form.opcode, function, kind, mode, flush, saturate)
    if saturate or kind not in DTYPES or kind in ("f16", "bf16", "f16x2", "bf16x2"):
        raise Unknown
    return Meaning(kind, (kind, kind), function)


def _float_binary(name: str, function: Callable[..., Array], kind: str, mode: str, flush: bool, saturate: bool) -> Meaning:
    if mode != "rn" and kind != "f32":
        raise Unknown

    def compute(a: Array, b: Array) -> Array:
        if flush:
            a, b = rounding.flushed(a), rounding.flushed(b)
        y = rounding.canonical(function(a, b) if mode == "rn" else rounding.directed32(name, a, b, mode))
        y = rounding.flushed(y) if flush else y
        return rounding.saturated(y) if saturate else y

    return Meaning(kind, (kind, kind), compute)


def _wide(kind: str) -> str:
    return kind[0] + str(2 * WIDTHS[kind])


def _high(a: Array, b: Array, kind: str) -> Array:
    """The upper half of a product."""
    bits = WIDTHS[kind]
    if bits < 64:
        wider = DTYPES[_wide(kind)]
        return (a.astype(wider) * b.astype(wider) >> wider(bits)).astype(DTYPES[kind])
    exact = np.asarray(a).astype(object) * np.asarray(b).astype(object)
    return np.asarray([int(v) >> 64 for v in exact.reshape(-1)], object).astype(DTYPES[kind])


def _product(kind: str, half: str) -> Callable[[Array, Array], Array]:
    if half == "wide":
        wider = DTYPES[_wide(kind)]
        return lambda a, b: a.astype(wider) * b.astype(wider)
    return np.multiply if half == "lo" else lambda a, b: _high(a, b, kind)


def _mul(form: _Form) -> Meaning:
    half = form.one_of(("lo", "hi", "wide"), "")
    if half:
        (kind,) = form.types()
        return Meaning(_wide(kind) if half == "wide" else kind, (kind, kind), _product(kind, half))
    mode, flush, saturate = form.one_of(MODES, "rn"), form.has("ftz"), form.has("sat")
    (kind,) = form.types()
    if not _is_float(kind):
        raise Unknown
    return _float_binary("mul", np.multiply, kind, mode, flush, saturate)


def _mad(form: _Form) -> Meaning:
    half = form.one_of(("lo", "hi", "wide"), "")
    if not half:
        return _fma(form)
    (kind,) = form.types()
    times, result = _product(kind, half), _wide(kind) if half == "wide" else kind
    return Meaning(result, (kind, kind, result), lambda a, b, c: times(a, b) + c)


def _fma(form: _Form) -> Meaning:
    mode, flush, saturate = form.one_of(MODES, "rn"), form.has("ftz"), form.has("sat")
    (kind,) = form.types()
    if not _is_float(kind) or kind == "f64" and mode != "rn":
        raise Unknown
    fused = rounding.fused32 if kind == "f32" else rounding.fused64

    def compute(a: Array, b: Array, c: Array) -> Array:
        if flush:
            a, b, c = map(rounding.flushed, (a, b, c))
        y = rounding.canonical(fused(a, b, c, mode))
        y = rounding.flushed(y) if flush else y
        return rounding.saturated(y) if saturate else y

    return Meaning(kind, (kind,) * 3, compute)


def _div(form: _Form) -> Meaning:
    mode, flush = form.one_of(("rn", "approx", "full"), ""), form.has("ftz")
    (kind,) = form.types()
    if _is_float(kind):
        if not mode:
            raise Unknown
        return _float_binary("div", np.divide, kind, "rn", flush, False)
    return Meaning(kind, (kind, kind), lambda a, b: _quotient(a, b)[0])


def _quotient(a: Array, b: Array) -> tuple[Array, Array]:
    """Towards zero, and what remains; by zero all bits are ones (the ISA leaves it open, the hardware does so)."""
    a, b = np.broadcast_arrays(a, b)
    safe = np.where(b == 0, b.dtype.type(1), b)
    if a.dtype.kind == "u":
        q = a // safe
        return np.where(b == 0, ~a.dtype.type(0), q), np.where(b == 0, a, a - q * safe)
    minus = safe == -1
    safe = np.where(minus, a.dtype.type(1), safe)
    q = np.sign(a) * np.sign(safe) * (np.abs(a) // np.abs(safe))
    q = np.where(minus, a.dtype.type(0) - a, np.where(a == np.iinfo(a.dtype).min, _lowest_quotient(a, safe), q))
    safe = np.where(minus, a.dtype.type(-1), safe)
    return np.where(b == 0, a.dtype.type(-1), q), np.where(b == 0, a, a - q * safe)


def _lowest_quotient(a: Array, b: Array) -> Array:
    wide = [int(abs(int(x)) // abs(int(y))) * (-1 if (x < 0) != (y < 0) else 1) for x, y in zip(a.reshape(-1), b.reshape(-1), strict=True)]
    return np.asarray([w if w <= np.iinfo(a.dtype).max else 0 for w in wide], a.dtype).reshape(a.shape)


def _rem(form: _Form) -> Meaning:
    (kind,) = form.types()
    return Meaning(kind, (kind, kind), lambda a, b: _quotient(a, b)[1])


def _extreme(form: _Form) -> Meaning:
    """The larger or the smaller: +0 is larger than -0, and NaN counts only where .NaN says so or both are."""
    takes_nan, flush = form.has("NaN"), form.has("ftz")
    (kind,) = form.types()
    larger = form.opcode == "max"
    if not _is_float(kind):
        return Meaning(kind, (kind, kind), np.maximum if larger else np.minimum)

    def compute(a: Array, b: Array) -> Array:
        if flush:
            a, b = rounding.flushed(a), rounding.flushed(b)
        first = (a > b) if larger else (a < b)
        first = first | ((a == b) & (np.signbit(b) if larger else np.signbit(a)))
        y = np.where(first, a, b)
        if takes_nan:
            return rounding.canonical(np.where(np.isnan(a) | np.isnan(b), a + b, y))
        return rounding.canonical(np.where(np.isnan(b), a, np.where(np.isnan(a), b, y)))

    return Meaning(kind, (kind, kind), compute)


def _unary(form: _Form) -> Meaning:
    flush = form.has("ftz")
    (kind,) = form.types()
    function = {"abs": np.abs, "neg": np.negative}[form.opcode]
    return Meaning(kind, (kind,), lambda a: function(rounding.flushed(a) if flush else a))


def _special(form: _Form) -> Meaning:
    """rcp, sqrt, rsqrt, ex2, lg2, sin, cos, tanh: exact where a rounding is asked for, else near."""
    mode, flush = form.one_of(("rn", "approx"), ""), form.has("ftz")
    (kind,) = form.types()
    if kind in halves.KINDS:
        if form.opcode not in ("ex2", "tanh") or mode != "approx" or flush != (form.opcode == "ex2" and halves.single(kind) == "bf16"):
            raise Unknown
        return Meaning(kind, (kind,), halves.special(form.opcode, kind))
    if not mode or not _is_float(kind) or mode == "rn" and form.opcode not in ("rcp", "sqrt"):
        raise Unknown
    exact = {"rcp": lambda x: x.dtype.type(1) / x, "sqrt": np.sqrt}.get(form.opcode) if mode == "rn" else None

    def compute(x: Array) -> Array:
        x = rounding.flushed(x) if flush else x
        y = exact(x) if exact is not None else rounding.approximate(form.opcode, x)
        return rounding.canonical(rounding.flushed(y) if flush else y)

    return Meaning(kind, (kind,), compute)


def _logic(form: _Form) -> Meaning:
    (kind,) = form.types()
    function = {"and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor}[form.opcode]
    return Meaning(kind, (kind, kind), function)


def _not(form: _Form) -> Meaning:
    (kind,) = form.types()
    return Meaning(kind, (kind,), np.invert)


def _shift(form: _Form) -> Meaning:
    """Amounts of the width and more shift everything out (of .s: leave the sign)."""
    (kind,) = form.types()
    bits, dtype = WIDTHS[kind], DTYPES[kind]
    left = form.opcode == "shl"

    def compute(a: Array, n: Array) -> Array:
        a, n = np.broadcast_arrays(a, n)
        over = n >= bits
        amount = np.where(over, bits - 1, n).astype(dtype)
        if left:
            return np.where(over, dtype(0), a << amount)
        return np.where(over & (dtype(0) <= a) | over & (np.dtype(dtype).kind == "u"), dtype(0), a >> amount)

    return Meaning(kind, (kind, "u32"), compute)


_ORDERED = {
    "eq": np.equal, "ne": np.not_equal, "lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal,
    "lo": np.less, "ls": np.less_equal, "hi": np.greater, "hs": np.greater_equal,
}  # fmt: skip


def comparison(name: str, kind: str) -> Callable[[Array, Array], Array]:
    """A comparison: of floats, without u false where one is NaN, with u true."""
    if not _is_float(kind):
        if name not in _ORDERED or name in ("lo", "ls", "hi", "hs") and kind[0] != "u":
            raise Unknown
        return _ORDERED[name]
    if name == "num":
        return lambda a, b: ~(np.isnan(a) | np.isnan(b))
    if name == "nan":
        return lambda a, b: np.isnan(a) | np.isnan(b)
    if name.endswith("u") and name[:-1] in _ORDERED:
        function = _ORDERED[name[:-1]]
        return lambda a, b: function(a, b) | np.isnan(a) | np.isnan(b)
    function = _ORDERED[name]
    return (lambda a, b: function(a, b) & ~(np.isnan(a) | np.isnan(b))) if name == "ne" else function


_BOOLEAN = {"and": np.logical_and, "or": np.logical_or, "xor": np.logical_xor}


def _setp(form: _Form) -> Meaning:
    names = [w for w in form.words if w in _ORDERED or w in ("num", "nan", "equ", "neu", "ltu", "leu", "gtu", "geu")]
    if len(names) != 1:
        raise Unknown
    form.has(names[0])
    combined, flush = form.one_of(tuple(_BOOLEAN), ""), form.has("ftz")
    (kind,) = form.types()
    is_half, is_pair = kind in halves.KINDS, kind in ("f16x2", "bf16x2")
    if is_half and flush and halves.single(kind) != "f16" or is_pair and not form.gives_two:
        raise Unknown
    compare = comparison(names[0], "f64" if is_half else kind)

    def compared(a: Array, b: Array) -> Array:
        if is_half:
            a, b = (halves.wide(halves.flushed(x, kind) if flush else x, kind) for x in (a, b))
        elif flush:
            a, b = rounding.flushed(a), rounding.flushed(b)
        return compare(a, b)

    def compute(a: Array, b: Array, c: Array | None = None) -> Array | tuple[Array, Array]:
        """Of p|q the second is the opposite, of two halves that of the upper one; c is combined with either."""
        found = [compared(x, y) for x, y in zip(halves.parts(a), halves.parts(b), strict=True)] if is_pair else [compared(a, b)]
        if form.gives_two and not is_pair:
            found.append(~found[0])
        made = found if c is None else [_BOOLEAN[combined](y, c) for y in found]
        return (made[0], made[1]) if form.gives_two else made[0]

    return Meaning("pred", (kind, kind, "pred") if combined else (kind, kind), compute)


def _selp(form: _Form) -> Meaning:
    (kind,) = form.types()
    return Meaning(kind, (kind, kind, "pred"), lambda a, b, p: np.where(p, a, b))


def _copysign(form: _Form) -> Meaning:
    (kind,) = form.types()
    return Meaning(kind, (kind, kind), lambda sign, size: np.copysign(size, sign))


def _cvt(form: _Form) -> Meaning:
    saturate, flush, relu = form.has("sat"), form.has("ftz"), form.has("relu")
    mode = form.one_of((*MODES, "rna", *rounding.WHOLE), "")
    to, of = form.types(2)
    if relu or to in ("f16x2", "bf16x2") and (saturate or of != "f32" or mode not in ("rn", "rz")):
        raise Unknown
    if to in ("f16x2", "bf16x2"):
        bits = rounding.f16_bits if to == "f16x2" else rounding.bf16_bits
        return Meaning(to, (of, of), lambda high, low: bits(high, mode).astype(np.uint32) << np.uint32(16) | bits(low, mode))
    convert = _conversion(to, of, mode)

    def compute(x: Array) -> Array:
        x = rounding.flushed(x) if flush else x
        if saturate and not _is_float(to):
            limits = np.iinfo(DTYPES[to])
            if not _is_float(of):
                x = np.clip(x.astype(object), limits.min, limits.max).astype(DTYPES[to])
        y = convert(x)
        return rounding.saturated(y) if saturate and _is_float(to) else y

    return Meaning(to, (of,), compute)


def _conversion(to: str, of: str, mode: str) -> Callable[[Array], Array]:
    dtype = DTYPES[to]
    if to == "tf32":
        if mode != "rna" or of != "f32":
            raise Unknown
        return rounding.tf32
    if to in ("f16", "bf16"):
        if of not in ("f32", "f64") or mode not in ("rn", "rz"):
            raise Unknown
        return lambda x: (rounding.f16_bits if to == "f16" else rounding.bf16_bits)(x, mode)
    if of in ("f16", "bf16"):
        if to != "f32":
            raise Unknown
        return rounding.from_f16 if of == "f16" else rounding.from_bf16
    if _is_float(of) and _is_float(to):
        if mode in rounding.WHOLE:
            return lambda x: rounding.WHOLE[mode](x)
        if to == of or to == "f64":
            return lambda x: x.astype(dtype)
        if not mode:
            raise Unknown
        return lambda x: rounding.canonical(rounding.rounded(x, np.zeros_like(x), mode))
    if _is_float(of):
        if mode not in rounding.WHOLE:
            raise Unknown
        return lambda x: rounding.to_integer(x, mode, np.dtype(dtype))
    if _is_float(to) and mode != "rn":
        raise Unknown
    return lambda x: x.astype(dtype)


def _prmt(form: _Form) -> Meaning:
    (kind,) = form.types()
    if kind != "b32":
        raise Unknown

    def compute(a: Array, b: Array, select: Array) -> Array:
        a, b, select = np.broadcast_arrays(a, b, select)
        pool = a.astype(np.uint64) | b.astype(np.uint64) << np.uint64(32)
        y = np.zeros(a.shape, np.uint64)
        for i in range(4):
            one = (select >> np.uint32(4 * i)).astype(np.uint64)
            byte = pool >> (one & np.uint64(7)) * np.uint64(8) & np.uint64(255)
            byte = np.where(one & np.uint64(8), (byte >> np.uint64(7)) * np.uint64(255), byte)
            y |= byte << np.uint64(8 * i)
        return y.astype(np.uint32)

    return Meaning(kind, (kind,) * 3, compute)


def _lop3(form: _Form) -> Meaning:
    """Any function of three bits: bit 4a + 2b + c of the table."""
    (kind,) = form.types()
    if kind != "b32":
        raise Unknown

    def compute(a: Array, b: Array, c: Array, table: Array) -> Array:
        y = np.zeros_like(a | b | c)
        for row in range(8):
            chosen = (table >> np.uint32(row) & np.uint32(1)) * np.uint32(0xFFFFFFFF)
            y |= chosen & (a if row & 4 else ~a) & (b if row & 2 else ~b) & (c if row & 1 else ~c)
        return y

    return Meaning(kind, (kind,) * 3 + ("u32",), compute)


def _shf(form: _Form) -> Meaning:
    """A shift of two words, of which a is the lower one: to the left the upper half stays, to the right the lower one."""
    direction, mode = form.one_of(("l", "r"), ""), form.one_of(("wrap", "clamp"), "")
    (kind,) = form.types()
    if kind != "b32" or not direction or not mode:
        raise Unknown

    def compute(a: Array, b: Array, n: Array) -> Array:
        amount = (n & np.uint32(31) if mode == "wrap" else np.minimum(n, np.uint32(32))).astype(np.uint64)
        both = b.astype(np.uint64) << np.uint64(32) | a.astype(np.uint64)
        return (both << amount >> np.uint64(32) if direction == "l" else both >> amount).astype(np.uint32)

    return Meaning(kind, (kind, kind, "u32"), compute)


def _bfi(form: _Form) -> Meaning:
    (kind,) = form.types()
    bits, dtype = WIDTHS[kind], DTYPES[kind]

    def compute(a: Array, b: Array, position: Array, length: Array) -> Array:
        a, b, position, length = np.broadcast_arrays(a, b, position & np.uint32(255), length & np.uint32(255))
        at, end = (np.minimum(v, bits).astype(np.uint64) for v in (position, position + length))
        full = [(np.uint64(1) << np.minimum(v, np.uint64(63))) - np.uint64(1) for v in (at, end)]
        mask = np.where(end >= 64, ~np.uint64(0), full[1]) & ~full[0]
        placed = a.astype(np.uint64) << np.minimum(at, np.uint64(63))
        y = b.astype(np.uint64) & ~mask | placed & mask
        return np.where(position >= bits, b, y.astype(dtype))

    return Meaning(kind, (kind, kind, "u32", "u32"), compute)


def _bfe(form: _Form) -> Meaning:
    (kind,) = form.types()
    if kind not in ("u32", "u64"):
        raise Unknown
    dtype = DTYPES[kind]

    def compute(a: Array, position: Array, length: Array) -> Array:
        at, n = (np.minimum(v & np.uint32(255), 64).astype(np.uint64) for v in (position, length))
        shifted = np.where(at >= WIDTHS[kind], np.uint64(0), a.astype(np.uint64) >> np.minimum(at, np.uint64(63)))
        mask = np.where(n >= 64, ~np.uint64(0), (np.uint64(1) << np.minimum(n, np.uint64(63))) - np.uint64(1))
        return (shifted & mask).astype(dtype)

    return Meaning(kind, (kind, "u32", "u32"), compute)


def _dp(form: _Form) -> Meaning:
    """dp4a and dp2a: products of bytes (with halves) added to 32 bits."""
    half = form.one_of(("lo", "hi"), "") if form.opcode == "dp2a" else "lo"
    if len(form.words) != 2 or not half or set(form.words) - {"u32", "s32"}:
        raise Unknown
    left, right = form.words
    size = 1 if form.opcode == "dp4a" else 2
    result = "u32" if (left, right) == ("u32", "u32") else "s32"
    kinds = [np.dtype(f"{'i' if k[0] == 's' else 'u'}{n}") for k, n in ((left, size), (right, 1))]

    def compute(a: Array, b: Array, c: Array) -> Array:
        a, b, c = (np.ascontiguousarray(v) for v in np.broadcast_arrays(a, b, c))
        first = a.view(kinds[0]).reshape(*a.shape, -1).astype(np.int64)
        second = b.view(kinds[1]).reshape(*b.shape, -1).astype(np.int64)
        if size == 2:
            second = second[..., 2:] if half == "hi" else second[..., :2]
        return (c.astype(np.int64) + (first * second).sum(-1)).astype(DTYPES[result])

    return Meaning(result, (left, right, result), compute)


def _count(form: _Form) -> Meaning:
    (kind,) = form.types()
    bits = WIDTHS[kind]

    def compute(a: Array) -> Array:
        a = np.asarray(a)
        each = np.unpackbits(np.ascontiguousarray(a).view(np.uint8).reshape(*a.shape, -1), axis=-1, bitorder="little")
        if form.opcode == "popc":
            return each.sum(-1, dtype=np.uint32)
        return np.where(each.any(-1), np.argmax(each[..., ::-1], -1), bits).astype(np.uint32)

    return Meaning("u32", (kind,), compute)


_FAMILIES: dict[str, Callable[[_Form], Meaning]] = {
    "add": _binary, "sub": _binary, "mul": _mul, "mad": _mad, "fma": _fma, "div": _div, "rem": _rem, "min": _extreme, "max": _extreme,
    "abs": _unary, "neg": _unary, "and": _logic, "or": _logic, "xor": _logic, "not": _not, "shl": _shift, "shr": _shift, "setp": _setp,
    "selp": _selp, "copysign": _copysign, "cvt": _cvt, "prmt": _prmt, "bfi": _bfi, "lop3": _lop3, "shf": _shf, "bfe": _bfe, "dp2a": _dp, "dp4a": _dp, "popc": _count,
    "clz": _count, **dict.fromkeys(("rcp", "sqrt", "rsqrt", "ex2", "lg2", "sin", "cos", "tanh"), _special),
}  # fmt: skip
