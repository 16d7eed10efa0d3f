"""What the elements of a kernel's buffers are, as expressions of indices that have roles: batch, row, column, depth.

Stages are inlined: the element of a temporary is the expression its stage writes. What stays a leaf is memory of the
caller (`Read`), a sum of products (`Sum`), a fold over one role (`Fold`) and an index itself (`Index`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from xdsl.dialects import arith
from xdsl.dialects.builtin import BoolAttr, FloatAttr, IndexType, IntegerAttr, i1
from xdsl.ir import Attribute, Block, Operation, SSAValue

from .loop_builder import NO_OVERFLOW

ROW, COLUMN, DEPTH = "row", "column", "depth"


@dataclass(frozen=True)
class Place:
    """An element of memory of the caller: offset + the sum of steps[role] * index[role]."""

    buffer: SSAValue
    element: Attribute
    offset: int
    steps: tuple[tuple[str, int], ...]

    @property
    def roles(self) -> frozenset[str]:
        return frozenset(role for role, step in self.steps if step)

    def step(self, role: str) -> int:
        """Elements between neighbours along a role."""
        return dict(self.steps).get(role, 0)


@dataclass(frozen=True, eq=False)
class Expression:
    """type: of the value; roles: the indices it depends on."""

    type: Attribute
    roles: frozenset[str]


@dataclass(frozen=True, eq=False)
class Read(Expression):
    place: Place


@dataclass(frozen=True, eq=False)
class Number(Expression):
    value: Attribute


@dataclass(frozen=True, eq=False)
class Index(Expression):
    role: str


@dataclass(frozen=True, eq=False)
class Sum(Expression):
    """The sum over one role of left * right."""

    left: Expression
    right: Expression
    over: str
    name: str


@dataclass(frozen=True, eq=False)
class Fold(Expression):
    """All values along a role combined by an op, begun with a number."""

    value: Expression
    combiner: type[Operation]
    start: Attribute
    over: str
    name: str


@dataclass(frozen=True, eq=False)
class Apply(Expression):
    op: type[Operation]
    properties: tuple[tuple[str, Attribute], ...]
    operands: tuple[Expression, ...]


class Expressions:
    """Makes expressions, equal ones once."""

    def __init__(self) -> None:
        self._made: dict[object, Expression] = {}

    def _once(self, key: object, make: Callable[[], Expression]) -> Expression:
        found = self._made.get(key)
        if found is None:
            found = self._made[key] = make()
        return found

    def read(self, place: Place) -> Expression:
        return self._once(place, lambda: Read(place.element, place.roles, place))

    def number(self, value: Attribute, kind: Attribute) -> Expression:
        return self._once((value, kind), lambda: Number(kind, frozenset(), value))

    def index(self, role: str, kind: Attribute) -> Expression:
        return self._once((role, kind), lambda: Index(kind, frozenset((role,)), role))

    def position(self, roles: Sequence[tuple[str | None, int]]) -> Expression:
        """The index of a loop whose pieces have these roles and units; a piece without a role has one index."""
        kind, total = IndexType(), None
        for role, unit in roles:
            if role is None:
                continue
            one = self.index(role, kind)
            if unit != 1:
                one = self.apply(arith.MuliOp, NO_OVERFLOW, (one, self.number(IntegerAttr(unit, kind), kind)), kind)
            total = one if total is None else self.apply(arith.AddiOp, NO_OVERFLOW, (total, one), kind)
        return self.number(IntegerAttr(0, kind), kind) if total is None else total

    def apply(self, op: type[Operation], properties: Mapping[str, Attribute], operands: Sequence[Expression], kind: Attribute) -> Expression:
        key = (op, tuple(sorted(properties.items())), tuple(operands), kind)
        roles = frozenset().union(*(e.roles for e in operands))
        return self._once(key, lambda: Apply(kind, roles, op, key[1], key[2]))

    def truth(self, value: bool) -> Expression:
        return self.number(BoolAttr.from_bool(value), i1)


def values_in(
    made: Expressions, block: Block, inputs: Sequence[Expression | None], position: Callable[[int], Expression], wanted: Sequence[SSAValue]
) -> list[Expression | None]:
    """Values of a stage's body, given those of its arguments (None: not known, nor is what comes of it) and the index of each loop."""
    env: dict[SSAValue, Expression | None] = dict(zip(block.args, inputs, strict=True))

    def known(value: SSAValue) -> Expression | None:
        owner = value.owner
        return env[value] if value in env else made.number(owner.value, value.type) if isinstance(owner, arith.ConstantOp) else None

    for op in block.ops:
        if op is block.last_op:
            break
        if isinstance(op, arith.ConstantOp):
            continue
        if op.name == "linalg.index":
            env[op.results[0]] = position(op.properties["dim"].value.data)  # type: ignore[attr-defined]  # an integer
        elif op.regions or len(op.results) != 1 or not op.name.startswith(("arith.", "math.", "kernel.")):
            env.update((r, None) for r in op.results)
        else:
            operands = [known(o) for o in op.operands]
            given = [o for o in operands if o is not None]
            env[op.results[0]] = made.apply(type(op), op.properties, given, op.results[0].type) if len(given) == len(operands) else None
    return [known(v) for v in wanted]


def number_in(e: Expression) -> float | int | None:
    """The number an expression is; None when it is none."""
    if isinstance(e, Number) and isinstance(e.value, FloatAttr | IntegerAttr):
        return e.value.value.data
    return None


def is_truth(e: Expression, value: bool) -> bool:
    """Whether the expression is this truth value for certain."""
    found = number_in(e)
    return e.type == i1 and found is not None and bool(found) == value


def rewritten(e: Expression, made: Expressions, rule: Callable[[Expression], Expression | None], known: dict[Expression, Expression]) -> Expression:
    """The expression with every part the rule has an answer for replaced; parts of sums and folds stay as they are."""
    found = known.get(e)
    if found is not None:
        return found
    answer = rule(e)
    if answer is None and isinstance(e, Apply):
        operands = [rewritten(o, made, rule, known) for o in e.operands]
        answer = e if all(a is b for a, b in zip(operands, e.operands, strict=True)) else made.apply(e.op, dict(e.properties), operands, e.type)
        answer = rule(answer) or answer
    known[e] = answer = answer or e
    return answer


def leaves(e: Expression, seen: dict[Expression, None] | None = None) -> dict[Expression, None]:
    """What an expression is made of: everything but applied ops, in the order met."""
    seen = {} if seen is None else seen
    if isinstance(e, Apply):
        for o in e.operands:
            leaves(o, seen)
    else:
        seen[e] = None
    return seen


def parts(e: Expression, seen: dict[Expression, None] | None = None) -> dict[Expression, None]:
    """The expression and all applied ops and leaves in it."""
    seen = {} if seen is None else seen
    if e not in seen:
        seen[e] = None
        if isinstance(e, Apply):
            for o in e.operands:
                parts(o, seen)
    return seen
