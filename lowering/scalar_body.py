"""Scalar expressions of the op book as arith and math ops: the bodies of linalg.generic."""

from __future__ import annotations

from typing import Any

from xdsl.dialects import arith, math
from xdsl.dialects.builtin import (
    BFloat16Type,
    Float16Type,
    Float32Type,
    Float64Type,
    FloatAttr,
    IndexType,
    IntAttr,
    IntegerAttr,
    IntegerType,
    Signedness,
    f32,
    i1,
    i32,
    i64,
)
from xdsl.dialects.linalg.ops import IndexOp
from xdsl.ir import Attribute, Block, Operation, SSAValue

from ..dialects.attributes import SizesAttr, element_type
from ..dialects.book.expr import Call, Expr, Name, Number
from ..dialects.errors import UnsupportedError
from ..dialects.kernel import ErfcOp, FmodOp
from ..dialects.sizes import is_symbolic
from ..passes.linear_index import Index

_INDEX = IndexType()
_FLOATS = (Float16Type, BFloat16Type, Float32Type, Float64Type)
_HALVES = (Float16Type, BFloat16Type)
_EXACT = arith.FastMathFlagsAttr("none")
_ULT = 6  # predicate of arith.cmpi

_FLOAT_BINARY = {
    "add": arith.AddfOp, "sub": arith.SubfOp, "mul": arith.MulfOp, "div": arith.DivfOp,
    "maximum": arith.MaximumfOp, "minimum": arith.MinimumfOp, "pow": math.PowFOp, "atan2": math.Atan2Op,
    "fmod": FmodOp,
}  # fmt: skip
_FLOAT_UNARY = {
    "neg": arith.NegfOp, "abs": math.AbsFOp, "exp": math.ExpOp, "exp2": math.Exp2Op, "expm1": math.ExpM1Op,
    "log": math.LogOp, "log2": math.Log2Op, "log10": math.Log10Op, "log1p": math.Log1pOp, "sqrt": math.SqrtOp,
    "sin": math.SinOp, "cos": math.CosOp, "tan": math.TanOp, "asin": math.AsinOp, "acos": math.AcosOp,
    "atan": math.AtanOp, "sinh": math.SinhOp, "cosh": math.CoshOp, "tanh": math.TanhOp, "asinh": math.AsinhOp,
    "acosh": math.AcoshOp, "atanh": math.AtanhOp, "erf": math.ErfOp, "erfc": ErfcOp, "floor": math.FloorOp,
    "ceil": math.CeilOp, "round": math.RoundEvenOp, "trunc": math.TruncOp,
}  # fmt: skip
_INT_BINARY = {
    "add": arith.AddiOp, "sub": arith.SubiOp, "mul": arith.MuliOp,
    "maximum": arith.MaxSIOp, "minimum": arith.MinSIOp,
    "bitwise_and": arith.AndIOp, "bitwise_or": arith.OrIOp, "bitwise_xor": arith.XOrIOp,
    "logical_and": arith.AndIOp, "logical_or": arith.OrIOp, "logical_xor": arith.XOrIOp,
}  # fmt: skip
_UNSIGNED_BINARY = _INT_BINARY | {"maximum": arith.MaxUIOp, "minimum": arith.MinUIOp}
_BOOL_BINARY = _INT_BINARY | {
    "add": arith.OrIOp, "mul": arith.AndIOp, "maximum": arith.OrIOp, "minimum": arith.AndIOp,
}  # fmt: skip
_COMPARE_FLOAT = {"equal": 1, "not_equal": 13, "less": 4, "less_equal": 5, "greater": 2, "greater_equal": 3}
_COMPARE_SIGNED = {"equal": 0, "not_equal": 1, "less": 2, "less_equal": 3, "greater": 4, "greater_equal": 5}
_COMPARE_UNSIGNED = {"equal": 0, "not_equal": 1, "less": 6, "less_equal": 7, "greater": 8, "greater_equal": 9}
_COMBINERS = {
    "add": "add", "mul": "mul", "maximum": "maximum", "minimum": "minimum",
    "and": "logical_and", "or": "logical_or",
}  # fmt: skip
_PREDICATES = [IntegerAttr(k, i64) for k in range(16)]


def is_float(t: Attribute) -> bool:
    """True for f16, bf16, f32, f64."""
    return isinstance(t, _FLOATS)


def accumulation_type(t: Attribute) -> Attribute:
    """The element type sums of this type are kept in: f32 for half precision, else the type itself."""
    return f32 if isinstance(t, _HALVES) else t


def signless(t: Attribute) -> Attribute:
    """The type constants of an element type have: i8 for ui8, else the type itself."""
    if isinstance(t, IntegerType) and t.signedness.data != Signedness.SIGNLESS:
        return IntegerType(t.width.data)
    return t


class ScalarBody:
    """Appends scalar ops to a block; equal ops are made once."""

    def __init__(self, block: Block) -> None:
        self.block = block
        self._made: dict[tuple, SSAValue] = {}
        self._constants: dict[SSAValue, float] = {}
        self._passed: list[Operation] = []  # what comparisons looked through

    def drop_unread(self) -> None:
        """Takes out what comparisons looked through, if nobody else reads it; once the block is complete."""
        for op in self._passed:
            if op.parent is not None and not op.results[0].first_use:
                op.detach()
                op.erase()

    def _emit(
        self, kind: type[Operation], operands: list[SSAValue], result: Attribute, **properties: Attribute
    ) -> SSAValue:
        key = (kind, *operands, result, *properties.values())
        value = self._made.get(key)
        if value is None:
            op = kind.create(operands=operands, result_types=[result], properties=properties)
            self.block.add_op(op)
            value = self._made[key] = op.results[0]
        return value

    def constant(self, value: float, t: Attribute) -> SSAValue:
        """arith.constant of an element type, or index. Unsigned ones are constants of the signless type, cast."""
        if t == i1:
            value = bool(value)
        plain = signless(t)
        if is_symbolic(value):
            held: Attribute = SizesAttr((value,)) if is_float(t) else IntegerAttr(IntAttr(value), plain)
        else:
            held = FloatAttr(float(value), t) if is_float(t) else IntegerAttr(_wrapped(int(value), plain), plain)
        made = self._emit(arith.ConstantOp, [], plain, value=held)
        if plain != t:
            made = self._emit(arith.BitcastOp, [made], t)
        self._constants[made] = value
        return made

    def index(self, index: Index) -> SSAValue:
        """The value of a linear index expression, of type index."""
        if isinstance(index, int):
            return self.constant(index, _INDEX)
        total: SSAValue | None = None
        for d, c in index.terms:
            term = self._emit(IndexOp, [], _INDEX, dim=IntegerAttr(d, i64))
            if c != 1:
                term = self._emit(arith.MuliOp, [term, self.constant(c, _INDEX)], _INDEX)
            total = term if total is None else self._emit(arith.AddiOp, [total, term], _INDEX)
        assert total is not None
        if index.const:
            total = self._emit(arith.AddiOp, [total, self.constant(index.const, _INDEX)], _INDEX)
        return total

    def index_as(self, index: Index, t: Attribute) -> SSAValue:
        """A linear index as an element of a tensor (what iota holds)."""
        if isinstance(index, int):
            return self.constant(index, t)
        if is_float(t):
            return self.cast(self._emit(arith.IndexCastOp, [self.index(index)], i64), t)
        return self._emit(arith.IndexCastOp, [self.index(index)], t)

    def as_index(self, value: SSAValue, size: int) -> SSAValue:
        """An element of an index tensor as an index, clamped into 0 .. size-1."""
        value = self.cast(value, i64)
        low = self._emit(arith.MaxSIOp, [value, self.constant(0, i64)], i64)
        clamped = self._emit(arith.MinSIOp, [low, self.constant(size - 1, i64)], i64)
        return self._emit(arith.IndexCastOp, [clamped], _INDEX)

    def evaluate(self, expr: Expr, env: dict[str, Any], result: Attribute) -> SSAValue:
        """An expression over scalars: env binds tensor parameters to values and attributes to Python values.

        Half precision is computed in f32 and rounded once, to `result`.
        """
        env = {name: self._widened(v) if isinstance(v, SSAValue) else v for name, v in env.items()}
        value = self._value(expr, env, accumulation_type(result))
        return self.cast(value, result)

    def combine(self, combiner: str, accumulator: SSAValue, value: SSAValue) -> SSAValue:
        """One step of a fold."""
        return self.apply(_COMBINERS[combiner], [accumulator, value])

    def _widened(self, value: SSAValue) -> SSAValue:
        return self._emit(arith.ExtFOp, [value], f32) if isinstance(value.type, _HALVES) else value

    def _value(self, expr: Expr, env: dict[str, Any], hint: Attribute) -> SSAValue:
        if isinstance(expr, Number):
            return self.constant(expr.value, hint)
        if isinstance(expr, Name):
            bound = env[expr.name]
            return bound if isinstance(bound, SSAValue) else self.constant(bound, hint)
        if expr.fn in ("cast", "bitcast"):
            return self._cast_call(expr, env)
        return self.apply(expr.fn, self._arguments(expr, env, hint))

    def _cast_call(self, expr: Call, env: dict[str, Any]) -> SSAValue:
        source, target = expr.args
        assert isinstance(target, Name)
        value, t = self._value(source, env, f32), element_type(env[target.name])
        if expr.fn == "cast":
            return self.cast(value, t)
        return value if value.type == t else self._emit(arith.BitcastOp, [value], t)

    def _arguments(self, expr: Call, env: dict[str, Any], hint: Attribute) -> list[SSAValue]:
        """Arguments; numbers take the type of the first other one that is not the condition of a select."""
        args: list[SSAValue | None] = [
            None if _is_number(arg, env) else self._value(arg, env, hint) for arg in expr.args
        ]
        first = 1 if expr.fn == "select" else 0
        typed = [a.type for a in args[first:] if a is not None]
        meets = typed[0] if typed else hint
        return [self._value(e, env, meets) if a is None else a for a, e in zip(args, expr.args, strict=True)]

    def apply(self, fn: str, args: list[SSAValue]) -> SSAValue:
        """One scalar function on values of one type (select: condition first)."""
        if fn == "select":
            return self._emit(arith.SelectOp, args, args[1].type)
        t = args[0].type
        if fn in _COMPARE_FLOAT:
            return self._compare(fn, args)
        if is_float(t):
            return self._apply_float(fn, args, t)
        return self._apply_integer(fn, args, t)

    def _compare(self, fn: str, args: list[SSAValue]) -> SSAValue:
        t = args[0].type
        if is_float(t):
            args = self._beyond(fn, args)
            predicate = _PREDICATES[_COMPARE_FLOAT[fn]]
            return self._emit(arith.CmpfOp, args, i1, predicate=predicate, fastmath=_EXACT)
        table = _COMPARE_UNSIGNED if _is_unsigned(t) else _COMPARE_SIGNED
        return self._emit(arith.CmpiOp, args, i1, predicate=_PREDICATES[table[fn]])

    def _beyond(self, fn: str, args: list[SSAValue]) -> list[SSAValue]:
        """max(x, c) > c asks x > c, and min(x, c) < c asks x < c, whatever they are, NaN included: the mask of a relu made anew."""
        kind = {"greater": arith.MaximumfOp, "less": arith.MinimumfOp}.get(fn)
        clamp, bound = args[0].owner, args[1]
        if kind is None or not isinstance(clamp, kind) or bound not in clamp.operands:
            return args
        self._passed.append(clamp)
        return [clamp.operands[1 if clamp.operands[0] is bound else 0], bound]

    def _apply_float(self, fn: str, args: list[SSAValue], t: Attribute) -> SSAValue:
        table = _FLOAT_BINARY if len(args) == 2 else _FLOAT_UNARY
        if fn in table:
            kind = table[fn]
            if kind in (FmodOp, ErfcOp):
                return self._emit(kind, args, t)
            return self._emit(kind, args, t, fastmath=_EXACT)
        if fn == "remainder":
            return self._float_modulo(args[0], args[1])
        if fn == "floor_divide":
            return self._float_floor_divide(args[0], args[1])
        raise UnsupportedError(f"no scalar op for {fn} on {t}", help="add it to lowering/scalar_body.py")

    def _float_modulo(self, a: SSAValue, b: SSAValue) -> SSAValue:
        """Python's %: the sign of the divisor."""
        r, zero = self.apply("fmod", [a, b]), self.constant(0, a.type)
        signs = self.apply("logical_xor", [self.apply("less", [r, zero]), self.apply("less", [b, zero])])
        moved = self.apply("logical_and", [self.apply("not_equal", [r, zero]), signs])
        return self.apply("select", [moved, self.apply("add", [r, b]), r])

    def _float_floor_divide(self, a: SSAValue, b: SSAValue) -> SSAValue:
        """numpy's floor_divide: the quotient that belongs to %, so that q * b + a % b is a."""
        t, quotient = a.type, self.apply("div", [a, b])
        exact = self.apply("div", [self.apply("sub", [a, self._float_modulo(a, b)]), b])
        floor = self.apply("floor", [exact])
        low = self.apply("greater", [self.apply("sub", [exact, floor]), self.constant(0.5, t)])
        rounded = self.apply("select", [low, self.apply("add", [floor, self.constant(1, t)]), floor])
        by_zero = self.apply("equal", [b, self.constant(0, t)])
        return self.apply("select", [by_zero, quotient, rounded])

    def _apply_integer(self, fn: str, args: list[SSAValue], t: Attribute) -> SSAValue:
        table = _BOOL_BINARY if t == i1 else _UNSIGNED_BINARY if _is_unsigned(t) else _INT_BINARY
        if len(args) == 2 and fn in table:
            return self._emit(table[fn], args, t)
        if fn == "pow":
            return self._integer_power(args[0], args[1])
        if fn in ("floor_divide", "remainder", "fmod"):
            return self._divide(fn, args[0], args[1])
        if fn in ("shift_left", "shift_right"):
            return self._shift(fn, args[0], args[1])
        if fn in ("logical_not", "bitwise_not"):
            return self._emit(arith.XOrIOp, [args[0], self.constant(1 if t == i1 else -1, t)], t)
        if fn == "neg":
            return self._emit(arith.SubiOp, [self.constant(0, t), args[0]], t)
        if fn == "abs":
            return args[0] if _is_unsigned(t) else self.apply("maximum", [args[0], self.apply("neg", args)])
        if fn in ("floor", "ceil", "round", "trunc"):
            return args[0]
        raise UnsupportedError(f"no scalar op for {fn} on {t}", help="add it to lowering/scalar_body.py")

    def _divide(self, fn: str, a: SSAValue, b: SSAValue) -> SSAValue:
        """Integer division that cannot trap: by 0 gives 0, by -1 the negation (numpy's answers)."""
        t, known = a.type, self._constants.get(b)
        if known is not None and known > 0:
            return self._divide_safely(fn, a, b)
        zero, one = self.constant(0, t), self.constant(1, t)
        is_zero = self.apply("equal", [b, zero])
        unsafe, result = is_zero, zero
        if not _is_unsigned(t):
            minus = self.apply("equal", [b, self.constant(-1, t)])
            unsafe = self.apply("logical_or", [is_zero, minus])
            if fn == "floor_divide":
                result = self.apply("select", [minus, self.apply("neg", [a]), zero])
        safe = self._divide_safely(fn, a, self.apply("select", [unsafe, one, b]))
        return self.apply("select", [unsafe, result, safe])

    def _divide_safely(self, fn: str, a: SSAValue, b: SSAValue) -> SSAValue:
        t = a.type
        if _is_unsigned(t):
            return self._emit(arith.DivUIOp if fn == "floor_divide" else arith.RemUIOp, [a, b], t)
        if fn == "floor_divide":
            return self._emit(arith.FloorDivSIOp, [a, b], t)
        r = self._emit(arith.RemSIOp, [a, b], t)
        if fn == "fmod":
            return r
        zero = self.constant(0, t)
        signs = self.apply("less", [self.apply("bitwise_xor", [r, b]), zero])
        moved = self.apply("logical_and", [self.apply("not_equal", [r, zero]), signs])
        return self.apply("select", [moved, self.apply("add", [r, b]), r])

    def _integer_power(self, base: SSAValue, exponent: SSAValue) -> SSAValue:
        """Square and multiply, over as many bits as the exponent can have; wraps around.

        A negative exponent gives 0, but for 1 and -1: they are their own inverses, and the bits have made that already.
        """
        first, t, one, zero = base, base.type, self.constant(1, base.type), self.constant(0, base.type)
        known = self._constants.get(exponent)
        bits = _width(t) - 1 if known is None else int(known).bit_length()
        result = one
        for k in range(bits):
            if known is None:
                bit = self._emit(arith.AndIOp, [exponent, self.constant(1 << k, t)], t)
                taken = self.apply("select", [self.apply("not_equal", [bit, zero]), base, one])
                result = self._emit(arith.MuliOp, [result, taken], t)
            elif int(known) >> k & 1:
                result = self._emit(arith.MuliOp, [result, base], t)
            if k + 1 < bits:
                base = self._emit(arith.MuliOp, [base, base], t)
        if _is_unsigned(t) or (known is not None and known >= 0):
            return result
        kept = self.apply("select", [self.apply("equal", [first, self.constant(-1, t)]), result, zero])
        kept = self.apply("select", [self.apply("equal", [first, one]), result, kept])
        return self.apply("select", [self.apply("less", [exponent, zero]), kept, result])

    def _shift(self, fn: str, a: SSAValue, b: SSAValue) -> SSAValue:
        """Shifts past the width give what shifting bit by bit would."""
        t = a.type
        assert isinstance(t, IntegerType)
        width = t.width.data
        inside = self._emit(arith.CmpiOp, [b, self.constant(width, t)], i1, predicate=_PREDICATES[_ULT])
        last = self._emit(arith.MinUIOp, [b, self.constant(width - 1, t)], t)
        if fn == "shift_right" and not _is_unsigned(t):
            return self._emit(arith.ShRSIOp, [a, last], t)
        shifted = self._emit(arith.ShLIOp if fn == "shift_left" else arith.ShRUIOp, [a, last], t)
        return self._emit(arith.SelectOp, [inside, shifted, self.constant(0, t)], t)

    def cast(self, value: SSAValue, t: Attribute) -> SSAValue:
        """A value converted as numpy's astype does."""
        s = value.type
        if s == t:
            return value
        if t == i1:
            return self.apply("not_equal", [value, self.constant(0, s)])
        if is_float(s):
            return self._float_to_float(value, t) if is_float(t) else self._float_to_integer(value, t)
        if is_float(t):
            return self._integer_to_float(value, t)
        return self._integer_to_integer(value, t)

    def _float_to_float(self, value: SSAValue, t: Attribute) -> SSAValue:
        s = value.type
        if isinstance(s, _HALVES) and isinstance(t, _HALVES):
            value, s = self._widened(value), f32
        return self._emit(arith.ExtFOp if _width(t) > _width(s) else arith.TruncFOp, [value], t)

    def _float_to_integer(self, value: SSAValue, t: Attribute) -> SSAValue:
        value = self._widened(value)
        if _width(t) < 32:  # through i32, so that what does not fit wraps as in numpy
            return self._integer_to_integer(self._emit(arith.FPToSIOp, [value], i32), t)
        return self._emit(arith.FPToSIOp, [value], t)

    def _integer_to_float(self, value: SSAValue, t: Attribute) -> SSAValue:
        kind = arith.UIToFPOp if _is_unsigned(value.type) else arith.SIToFPOp
        if isinstance(t, _HALVES):
            return self._emit(arith.TruncFOp, [self._emit(kind, [value], f32)], t)
        return self._emit(kind, [value], t)

    def _integer_to_integer(self, value: SSAValue, t: Attribute) -> SSAValue:
        s = value.type
        if _width(t) == _width(s):
            return self._emit(arith.BitcastOp, [value], t)
        if _width(t) < _width(s):
            return self._emit(arith.TruncIOp, [value], t)
        return self._emit(arith.ExtUIOp if _is_unsigned(s) else arith.ExtSIOp, [value], t)


def _is_number(expr: Expr, env: dict[str, Any]) -> bool:
    return isinstance(expr, Number) or (isinstance(expr, Name) and not isinstance(env[expr.name], SSAValue))


def _is_unsigned(t: Attribute) -> bool:
    return isinstance(t, IntegerType) and (t.width.data == 1 or t.signedness.data == Signedness.UNSIGNED)


def _width(t: Attribute) -> int:
    if isinstance(t, IntegerType):
        return t.width.data
    return t.bitwidth  # type: ignore[attr-defined]  # a float type


def _wrapped(value: int, t: Attribute) -> int:
    """An integer as the attribute of a type holds it: two's complement in the type's width."""
    if not isinstance(t, IntegerType):
        return value
    width = t.width.data
    value &= (1 << width) - 1
    return value - (1 << width) if width > 1 and value >> (width - 1) else value
