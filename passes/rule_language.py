"""The rule language: text to rules, with every law that can be checked at load.

    name: pattern => replacement if condition

``=>`` keeps every value (NaN and infinities included; zero's sign is not a value); ``~>`` may change rounding
and special values and runs only with fast-math allowed. In a pattern, lower-case names stand for tensors or,
in an attribute's place, for attributes; CAPITALS stand for the number of a constant (`prim.full`); numbers
match constants. Ops that commute match in both orders. A name that occurs twice must be the same value twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NoReturn

from ..dialects.book import OPS
from ..dialects.book import expr as tree
from ..dialects.errors import RuleError
from .order import cost


@dataclass(frozen=True)
class Expr:
    """A node of a rule. Positions take no part in equality."""

    column: int = field(compare=False, kw_only=True, default=0)
    line: int = field(compare=False, kw_only=True, default=0)


@dataclass(frozen=True)
class Number(Expr):
    """A literal."""

    value: float | int


@dataclass(frozen=True)
class Name(Expr):
    """A tensor, an attribute, or (CAPITALS) the number of a constant."""

    id: str

    @property
    def is_constant(self) -> bool:
        return self.id.isupper()


@dataclass(frozen=True)
class Call(Expr):
    """A book op or a function on attributes; operators stand under their names (``+`` is ``add``)."""

    fn: str
    args: tuple[Expr, ...]


class Word(str):
    """A rule's name with the line it stands on."""

    line: int


@dataclass(frozen=True)
class Rule:
    """One rule. ``tensors`` and ``attributes``: the names its pattern binds, in order of appearance."""

    name: str
    pattern: Call
    replacement: Expr
    condition: Expr | None
    exact: bool
    origin: str
    text: str
    tensors: tuple[str, ...] = ()
    attributes: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.text


def walk(e: Expr) -> Iterator[Expr]:
    """The node and everything below it."""
    yield e
    if isinstance(e, Call):
        for arg in e.args:
            yield from walk(arg)


def is_number(e: Expr) -> bool:
    """Whether an expression is a plain number once the constants are known: no tensor, no op."""
    if isinstance(e, Call):
        return all(is_number(arg) for arg in e.args)
    return isinstance(e, Number) or (isinstance(e, Name) and e.is_constant)


def to_tree(e: Expr) -> tree.Expr:
    """The same expression for the op book's evaluator."""
    if isinstance(e, Number):
        return tree.Number(e.value)
    if isinstance(e, Name):
        return tree.Name(e.id)
    assert isinstance(e, Call)
    return tree.Call(e.fn, tuple(map(to_tree, e.args)))


def commuted(e: Expr) -> list[Expr]:
    """Every way to write the pattern with the operands of commuting ops in either order."""
    if not isinstance(e, Call):
        return [e]
    found = [()]
    for arg in e.args:
        found = [(*head, tail) for head in found for tail in commuted(arg)]
    if OPS[e.fn].commutes and len(e.args) == 2:
        found += [args[::-1] for args in found]
    unique = dict.fromkeys(found)
    return [Call(e.fn, args, line=e.line, column=e.column) for args in unique]


def read_rules(text: str, filename: str) -> tuple[Rule, ...]:
    """The rules of a text. filename: as errors and traces name it.

    RuleError for text that cannot be read, unbound names, ops or attributes that are not in the book, a
    replacement that does not lower the cost of `order.py`, and a rule another one makes superfluous.
    """
    from .rule_parser import SyntaxFault, parse  # the parser is loaded for text that is new

    lines = text.splitlines()
    try:
        parsed = parse(text)
    except SyntaxFault as error:
        _fail(
            "cannot read this rule",
            filename,
            lines,
            error.line,
            error.column,
            "name: pattern => replacement if condition",
        )
    rules = tuple(_Checker(filename, lines).rule(*parts) for parts in parsed)
    _check_overlap(rules)
    return rules


def _fail(sentence: str, filename: str, lines: list[str], line: int, column: int, help: str) -> NoReturn:
    source = lines[line - 1] if 0 < line <= len(lines) else ""
    facts = [(f"{filename}:{line}", source, ""), ("", " " * (column - 1) + "^", "")]
    raise RuleError(sentence, facts, help=help)


class _Checker:
    """The laws of one rule: names bound, ops and attributes in their places, cost lowered."""

    def __init__(self, filename: str, lines: list[str]) -> None:
        self.filename = filename
        self.lines = lines
        self.kinds: dict[str, str] = {}

    def rule(self, name: Word, pattern: Expr, arrow: str, replacement: Expr, condition: Expr | None) -> Rule:
        """A checked Rule."""
        self.kinds = {}
        if not isinstance(pattern, Call):
            self.fail(pattern, "a pattern is an op", "start the pattern with an op of the book")
        self.bind(pattern, "tensor")
        for side in (replacement, condition):
            for node in () if side is None else walk(side):
                if isinstance(node, Name) and node.id not in self.kinds:
                    bound = ", ".join(sorted(self.kinds))
                    self.fail(
                        node, f"{node.id!r} appears on the right but not on the left", f"bound there: {bound}"
                    )
        if not measure(replacement) < measure(pattern):
            sentence = f"the replacement costs {measure(replacement)}, the pattern {measure(pattern)}"
            self.fail(replacement, sentence, "a rule must lower the cost of passes/order.py")
        return Rule(
            str(name), pattern, replacement, condition, arrow == "=>", f"{self.filename}:{name.line}",
            self.lines[name.line - 1].strip(),
            tuple(n for n, kind in self.kinds.items() if kind == "tensor"),
            tuple(n for n, kind in self.kinds.items() if kind not in ("tensor", "constant")),
        )  # fmt: skip

    def bind(self, e: Expr, kind: str) -> None:
        """Note the names of a pattern, and that every op gets the arguments it takes."""
        if isinstance(e, Name):
            kind = "constant" if e.is_constant and kind in ("tensor", "number") else kind
            if self.kinds.setdefault(e.id, kind) != kind:
                self.fail(e, f"{e.id!r} stands for a {self.kinds[e.id]} and for a {kind}", "use two names")
            return
        if isinstance(e, Number):
            return
        assert isinstance(e, Call)
        if kind != "tensor":
            self.fail(
                e, "an attribute's place in a pattern takes a name or a number", "compare it after `if`"
            )
        if e.fn not in OPS:
            self.fail(e, f"there is no op called {e.fn!r}", "ops are in dialects/book")
        stanza = OPS[e.fn]
        params = [p.kind for p in (*stanza.tensors, *stanza.attributes)]
        if len(params) != len(e.args):
            self.fail(
                e,
                f"{e.fn} takes {len(params)} arguments, got {len(e.args)}",
                f"signature: {stanza.text.splitlines()[0]}",
            )
        if len(stanza.results) != 1:
            self.fail(e, f"{e.fn} has {len(stanza.results)} results", "patterns match ops with one result")
        for arg, slot in zip(e.args, params, strict=True):
            self.bind(arg, slot)

    def fail(self, e: Expr, sentence: str, help: str) -> NoReturn:
        """RuleError with a caret under the node."""
        _fail(sentence, self.filename, self.lines, e.line, e.column, help)


def measure(e: Expr) -> int:
    """Cost of the ops of an expression (published in `order.py`); attributes and constants cost nothing."""
    if not isinstance(e, Call) or is_number(e) or e.fn not in OPS:
        return 0
    stanza = OPS[e.fn]
    tensors = e.args[: len(stanza.tensors)]
    return cost(stanza) + sum(measure(arg) for arg in tensors)


def generalises(a: Expr, b: Expr, env: dict[str, Expr] | None = None) -> bool:
    """Whether pattern a matches whatever pattern b matches."""
    env = {} if env is None else env
    if isinstance(a, Name):
        if a.is_constant and not is_number(b):
            return False
        return env.setdefault(a.id, b) == b
    if isinstance(a, Number) or isinstance(b, Number | Name):
        return a == b
    assert isinstance(a, Call) and isinstance(b, Call)
    return a.fn == b.fn and all(generalises(x, y, env) for x, y in zip(a.args, b.args, strict=True))


def _check_overlap(rules: tuple[Rule, ...]) -> None:
    names: dict[str, Rule] = {}
    for rule in rules:
        if rule.name in names:
            raise RuleError(
                f"two rules are called {rule.name}",
                [(r.origin, r.text, "") for r in (names[rule.name], rule)],
            )
        names[rule.name] = rule
    for a in rules:
        for b in rules:
            covers = a is not b and a.condition is None and (a.exact or not b.exact)
            if covers and any(generalises(p, b.pattern) for p in commuted(a.pattern)):
                rows = [(r.origin, r.text, "") for r in (a, b)]
                raise RuleError(
                    f"{b.name} never fires first: {a.name} matches the same", rows, help=f"remove {b.name}"
                )
