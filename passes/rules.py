"""Rewrite rules as code: what matches a pattern, and what is put in its place."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from math import frexp
from pathlib import Path
from typing import Any

from xdsl.ir import Block, Operation, SSAValue

from ..dialects.book import OPS
from ..dialects.book import expr as tree
from ..dialects.book.shapes import FUNCTIONS
from ..dialects.errors import RuleError
from ..dialects.kept_forms import kept_form
from ..dialects.ops import BookOp, XdslBuilder, attrs_of, stanza_of, type_of
from ..dialects.sizes import is_symbolic
from ..dialects.types import DType
from .dce import is_dead
from .order import cost
from .program import origin_of
from .rule_language import (
    Call,
    Expr,
    Name,
    Number,
    Rule,
    commuted,
    measure,
    read_rules,
    to_tree,
)

Env = dict[str, Any]
Match = Callable[[SSAValue, Env], bool]


@lru_cache(maxsize=1)
def algebra() -> tuple[Rule, ...]:
    """The rules that come with lamina, parsed and checked once per installation."""
    here = Path(__file__).parent
    path = here / "algebra.rules"

    def make() -> tuple[Rule, ...]:
        return read_rules(path.read_text(encoding="utf8"), f"passes/{path.name}")

    book = [p for p in (here.parent / "dialects" / "book").iterdir() if p.suffix in (".py", ".ops", ".lark")]
    made_by = [here / f for f in ("rules.lark", "rule_language.py", "rule_parser.py", "order.py")]
    return kept_form(path, [path, *made_by, *book], (Rule, Call, Name, Number), make) or make()


def apply_rules(block: Block, rules: tuple[Rule, ...]) -> Counter[Rule]:
    """Apply rules to the ops of a block until none fits; returns how often each one did."""
    return _Rewriter(block, _compiled(rules)).run()


@dataclass(frozen=True)
class Variant:
    """One order of operands of a rule's pattern, compiled."""

    rule: Rule
    match: Match
    inner: tuple[tuple[int, ...], ...]
    condition: tree.Expr | None
    replacement: tree.Expr
    saved: int
    """Cost of the replacement beyond the root op: what must die inside the pattern for the rule to pay."""


@lru_cache(maxsize=8)
def _compiled(rules: tuple[Rule, ...]) -> dict[str, list[Variant]]:
    """Variants by the name of their root op, as xDSL has it."""
    table: dict[str, list[Variant]] = {}
    for rule in rules:
        root = OPS[rule.pattern.fn]
        condition = None if rule.condition is None else to_tree(rule.condition)
        beyond = measure(rule.replacement) - cost(root)
        for pattern in commuted(rule.pattern):
            variant = Variant(
                rule, _match_op(pattern), _inner_ops(pattern), condition, to_tree(rule.replacement), beyond
            )
            table.setdefault(f"{root.dialect}.{root.name}", []).append(variant)
    return table


def _inner_ops(pattern: Call, path: tuple[int, ...] = ()) -> tuple[tuple[int, ...], ...]:
    """Operand paths from the root to every op inside a pattern."""
    found: list[tuple[int, ...]] = []
    for i, arg in enumerate(pattern.args):
        if isinstance(arg, Call):
            found += [(*path, i), *_inner_ops(arg, (*path, i))]
    return tuple(found)


def _match_op(pattern: Call) -> Match:
    """A function that matches a value made by the pattern's op and binds its names."""
    stanza = OPS[pattern.fn]
    name, count = f"{stanza.dialect}.{stanza.name}", len(stanza.tensors)
    tensors = [(i, _match_tensor(arg)) for i, arg in enumerate(pattern.args[:count])]
    attributes = [(i, _match_attribute(arg)) for i, arg in enumerate(pattern.args[count:])]

    def match(value: SSAValue, env: Env) -> bool:
        op = value.owner
        if op.__class__ is Block or op.name != name:
            return False
        operands = op._operands  # the property costs three times as much (facts/xdsl.md)
        for i, test in tensors:
            if not test(operands[i], env):
                return False
        if attributes:
            attrs = attrs_of(op)
            return all(test(attrs[i], env) for i, test in attributes)
        return True

    return match


def _match_tensor(pattern: Expr) -> Match:
    if isinstance(pattern, Call):
        return _match_op(pattern)
    if isinstance(pattern, Number):
        wanted = pattern.value
        return lambda value, env: constant_of(value) == wanted
    assert isinstance(pattern, Name)
    name = pattern.id
    if not pattern.is_constant:
        return lambda value, env: env.setdefault(name, value) is value

    def match(value: SSAValue, env: Env) -> bool:
        number = constant_of(value)
        return number is not None and env.setdefault(name, number) == number

    return match


def _match_attribute(pattern: Expr) -> Callable[[Any, Env], bool]:
    if isinstance(pattern, Number):
        wanted = pattern.value
        return lambda attr, env: attr == wanted
    assert isinstance(pattern, Name)
    name = pattern.id
    return lambda attr, env: env.setdefault(name, attr) == attr


def constant_of(value: SSAValue) -> float | int | None:
    """The number a value is filled with (it comes from `prim.full`), or None."""
    op = value.owner
    number = attrs_of(op)[1] if op.__class__ is not Block and op.name == "prim.full" else None
    return None if is_symbolic(number) else number


def holds(t: DType, u: DType) -> bool:
    """Whether every value of type u is a value of type t."""
    if t is u or u.kind == "b":
        return True
    if t.kind == "f" and u.kind == "f":
        return t.itemsize > u.itemsize
    if t.kind == "f":
        digits = {"float64": 53, "float32": 24, "float16": 11, "bfloat16": 8}[t.name]
        return u.itemsize * 8 - (u.kind == "i") <= digits
    if t.kind == "b" or u.kind == "f":
        return False
    return t.itemsize > u.itemsize and (t.kind == "i" or u.kind == "u")


CONDITIONS = {
    **FUNCTIONS,
    "denied": lambda a: not a,
    "holds": holds,
    "power_of_two": lambda c: (
        abs(frexp(c)[0]) == 0.5 and -13 <= frexp(c)[1] <= 15
    ),  # 1/c is exact even in float16
    "increasing": lambda p: all(a == i for i, a in enumerate(p)),
    "zeros": lambda s: all(d == 0 for d in s),
    "ones": lambda s: all(d == 1 for d in s),
    "is_bool": lambda t: t.kind == "b",
}
"""Functions of attributes a rule can use: the op book's, and these."""


class _Rewriter:
    """A worklist over the ops of one block: an op is looked at again when an operand of it was replaced."""

    def __init__(self, block: Block, table: dict[str, list[Variant]]) -> None:
        self.block = block
        self.table = table
        self.depth = max((len(path) for vs in table.values() for v in vs for path in v.inner), default=0)
        self.queue: deque[Operation] = deque()
        self.waiting: set[Operation] = set()
        self.fired: Counter[Rule] = Counter()

    def run(self) -> Counter[Rule]:
        self.push(self.block.ops)
        while self.queue:
            op = self.queue.popleft()
            self.waiting.discard(op)
            if op.parent is None or not isinstance(op, BookOp):
                continue
            if is_dead(op):
                self.erase(op)
            else:
                self.rewrite(op)
        return self.fired

    def push(self, ops: Iterable[Operation]) -> None:
        for op in ops:
            if op not in self.waiting:
                self.waiting.add(op)
                self.queue.append(op)

    def rewrite(self, op: BookOp) -> None:
        for variant in self.table.get(op.name, ()):
            env: Env = {}
            if variant.match(op.results[0], env) and self.pays(variant, op) and self.fire(variant, op, env):
                return

    def pays(self, variant: Variant, op: BookOp) -> bool:
        """Whether enough ops die with the root: those inside the pattern that nobody else uses."""
        if variant.saved <= 0:
            return True
        saved = 0
        for path in variant.inner:
            value: SSAValue = op.results[0]
            for i in path:
                value = value.owner._operands[i]
            saved += cost(stanza_of(value.owner)) if value.has_one_use() else 0
        return saved >= variant.saved

    def fire(self, variant: Variant, op: BookOp, env: Env) -> bool:
        build = XdslBuilder(op, origin_of(op))
        evaluator = tree.Evaluator(build, env, book=OPS, functions=CONDITIONS)
        if variant.condition is not None and not evaluator.value(variant.condition):
            return False
        before = op.prev_op
        value = evaluator.value(variant.replacement)
        shape, dtype = type_of(op.results[0])
        if tree.is_attribute(value):
            value = build("full", (), (shape, value, dtype))[0]
        if type_of(value) != (shape, dtype):
            rule = variant.rule
            raise RuleError(f"{rule.name} changes the type of {op.name}", [(rule.origin, rule.text, "")])
        self.fired[variant.rule] += 1
        self.replace(op, value, before)
        return True

    def replace(self, op: BookOp, value: SSAValue, before: Operation | None) -> None:
        created = self.block.first_op if before is None else before.next_op
        while created is not op and created is not None:
            self.push((created,))
            created = created.next_op
        op.results[0].replace_all_uses_with(value)
        readers = {use.operation: None for use in value.uses}
        for _ in range(self.depth + 1):
            self.push(readers)
            readers = {
                use.operation: None for reader in readers for result in reader.results for use in result.uses
            }
        self.erase(op)

    def erase(self, op: Operation) -> None:
        makers = [operand.owner for operand in op._operands if operand.owner.__class__ is not Block]
        self.block.erase_op(op)
        self.push(makers)
