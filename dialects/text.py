"""IR as text: one context with every dialect, parse, print, verify (dominance included)."""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Sequence
from functools import cache

from xdsl.context import Context
from xdsl.dialects import get_all_dialects
from xdsl.dialects.builtin import ArrayAttr, BytesAttr, ModuleOp, StringAttr
from xdsl.ir import Attribute, Block, Operation, Region, SSAValue
from xdsl.parser import Parser
from xdsl.printer import Printer
from xdsl.traits import IsolatedFromAbove
from xdsl.utils.exceptions import ParseError, VerifyException

from . import arith_vectors  # noqa: F401  # widens arith as it is imported
from .errors import Fact, LaminaError, TextError

UPSTREAM = ("builtin", "func", "linalg", "tensor", "memref", "scf", "arith", "math", "vector", "affine", "gpu")


@cache
def context() -> Context:
    """A context that knows lamina's dialects and the upstream ones its levels use.

    Shared: do not change it.
    """
    from .amx import Amx
    from .autodiff import Autodiff
    from .kernel import Kernel
    from .nv import Nv
    from .ops import Nn, Prim, Scans

    made = Context()
    upstream = get_all_dialects()
    for name in UPSTREAM:
        made.register_dialect(name, upstream[name])
    for dialect in (Nn, Prim, Scans, Autodiff, Kernel, Nv, Amx):
        made.load_dialect(dialect)
    return made


# What xDSL's constructors and verifiers raise on text they did not foresee, such as integers of 2**40 bits.
_UNFORESEEN = (
    ValueError, IndexError, KeyError, TypeError, AttributeError, AssertionError, OverflowError,
    NotImplementedError, RecursionError, MemoryError, struct.error,
)  # fmt: skip


class _Reader(Parser):
    """A parser that remembers where each op begins."""

    def __init__(self, text: str, filename: str) -> None:
        super().__init__(context(), text, filename)
        self.places: dict[Operation, int] = {}
        self.started = 0

    def parse_operation(self) -> Operation:
        start = self.started = self._current_token.span.start
        op = super().parse_operation()
        self.places[op] = start
        return op


def parse(text: str, filename: str = "<text>") -> ModuleOp:
    """The module a text says. TextError with line, column and caret if it cannot be read."""
    return _parse(text, filename)[0]


def read(text: str, filename: str = "<text>") -> ModuleOp:
    """The module a text says, verified. TextError with line, column and caret for what does not hold, too."""
    module, places = _parse(text, filename)
    try:
        verify(module)
    except _BrokenError as error:
        start = places.get(error.op) if error.op is not None else None
        if start is None:
            raise
        raise _error_at(start, error.sentence, text, filename, error.facts, error.help) from error
    return module


def _parse(text: str, filename: str) -> tuple[ModuleOp, dict[Operation, int]]:
    _check_strings(text, filename)
    if not text.strip():
        raise TextError(f"{filename} is empty", help="give a file of IR text, such as --dump writes")
    parser: _Reader | None = None
    try:
        parser = _Reader(text, filename)
        module = parser.parse_module()
    except ParseError as error:
        start, sentence = error.span.start, _sentence(error.msg)
        if parser is not None and (missing := _undefined(parser, sentence, text)) is not None:
            start, sentence = missing
        elif parser is not None and (unknown := re.fullmatch(r"Operation (\S+) is not registered", sentence)):
            start = max(text.find(unknown[1], parser.started), parser.started)
        elif not text[start:].strip():
            sentence = f"the text ends here, unfinished ({sentence})"
        raise _error_at(start, f"the IR cannot be read: {sentence}", text, filename) from None
    except (VerifyException, *_UNFORESEEN) as error:
        start = parser.pos if parser is not None else 0
        raise _error_at(start, f"the IR cannot be read: {_sentence(str(error))}", text, filename) from error
    for op in module.walk():
        for name, attr in op.attributes.items():
            if isinstance(attr, BytesAttr | ArrayAttr):
                op.attributes[name] = _as_text(attr)
    return module, parser.places


def _undefined(parser: Parser, sentence: str, text: str) -> tuple[int, str] | None:
    """Where the first value that nothing defines is used; None if that is not what is wrong."""
    if not sentence.startswith("values used but not defined"):
        return None
    uses = [found for found in re.finditer(r"%([\w.$-]+)", text) if found[1] in parser.forward_ssa_references]
    return (uses[0].start(), f"{uses[0][0]} is used but not defined") if uses else None


def _as_text(attr: Attribute) -> Attribute:
    """xDSL prints strings beyond ASCII as escaped bytes and reads them as bytes; here they are text again."""
    if isinstance(attr, ArrayAttr):
        return (
            ArrayAttr(map(_as_text, attr.data)) if any(isinstance(a, BytesAttr) for a in attr.data) else attr
        )
    return StringAttr(attr.data.decode("utf-8", "replace")) if isinstance(attr, BytesAttr) else attr


# A string, a comment, or a quote that opens no proper string.
_QUOTED = re.compile(r'"(?:[^"\\\n\v\f]|\\(?:["nt\\]|[0-9A-Fa-f]{2}))*"|//[^\n]*|"')


def _check_strings(text: str, filename: str) -> None:
    """Broken strings are refused before xDSL sees them: its lexer backtracks over them without end."""
    for found in _QUOTED.finditer(text):
        if found[0] == '"':
            raise _error_at(
                found.start(),
                "the IR cannot be read: a string is not closed on its line, or holds an unknown escape",
                text,
                filename,
            )


def _error_at(
    start: int, sentence: str, text: str, filename: str, facts: Sequence[Fact] = (), help: str | None = None
) -> TextError:
    line = text.count("\n", 0, start) + 1
    column = start - (text.rfind("\n", 0, start) + 1) + 1
    shown = text.split("\n")[line - 1] if line <= text.count("\n") + 1 else ""
    where = f"{filename}:{line}:{column}"
    caret = " " * (len("    at ") + len(where) + 3 + column - 1) + "^"
    return TextError(sentence, facts, at=f"{where}   {shown}\n{caret}", help=help)


def _sentence(message: str) -> str:
    lines = [line.strip() for line in message.strip().split("\n") if line.strip()]
    return lines[-1] if lines else "it is not IR"


def print_module(module: Operation) -> str:
    """Deterministic text: values keep their names where they have one, else they are numbered."""
    out = io.StringIO()
    Printer(out).print_op(module)
    out.write("\n")
    return out.getvalue()


class _BrokenError(TextError):
    """A TextError that knows its op."""

    op: Operation | None = None


def verify(module: Operation) -> None:
    """Every op holds by its own rules and uses only values that are defined before it.

    TextError names the first that does not.
    """
    try:
        module.verify()
    except (VerifyException, *_UNFORESEEN) as error:
        inner = _innermost(error)
        facts, help = (inner.facts, inner.help) if isinstance(inner, LaminaError) else ((), None)
        sentence = inner.sentence if isinstance(inner, LaminaError) else str(inner)
        broken = _BrokenError(f"the IR does not hold together: {sentence}", facts, help=help)
        broken.op = _first_broken(module)
        raise broken from error
    for region in module.regions:
        _check_region(region, set())


def _innermost(error: BaseException) -> BaseException:
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def _first_broken(module: Operation) -> Operation | None:
    """The first op that does not hold by itself."""
    for op in module.walk():
        try:
            op.verify(verify_nested_ops=False)
        except (VerifyException, *_UNFORESEEN):
            return op
    return None


def _check_region(region: Region, outer: set[SSAValue]) -> None:
    """Dominance: a block sees what stands before it and, unless its op is isolated, what its op sees."""
    owner = region.parent
    seen = set() if owner is not None and owner.has_trait(IsolatedFromAbove) else outer
    defined: list[SSAValue] = []
    for block in region.blocks:
        _check_block(block, seen, defined)
    seen.difference_update(defined)


def _check_block(block: Block, seen: set[SSAValue], defined: list[SSAValue]) -> None:
    seen.update(block.args)
    defined.extend(block.args)
    for op in block.ops:
        for i, operand in enumerate(op._operands):
            if operand not in seen:
                broken = _BrokenError(
                    f"operand {i} of {op.name} is used before it is defined, or is not visible here",
                    facts=[("op", _line(op), _origin(op))],
                )
                broken.op = op
                raise broken
        for region in op.regions:
            _check_region(region, seen)
        seen.update(op.results)
        defined.extend(op.results)


def _line(op: Operation) -> str:
    text = str(op).strip().split("\n")
    return text[0] + (" ..." if len(text) > 1 else "")


def _origin(op: Operation) -> str:
    each: Operation | None = op
    while each is not None:
        found = each.attributes.get("origin")
        if isinstance(found, StringAttr):
            return found.data
        each = each.parent_op()
    return ""


__all__ = ["context", "parse", "print_module", "read", "verify"]
