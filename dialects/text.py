"""IR as text: one context with every dialect, parse, print, verify (dominance included)."""

from __future__ import annotations

import io
from functools import cache

from xdsl.context import Context
from xdsl.dialects import get_all_dialects
from xdsl.dialects.builtin import ModuleOp, StringAttr
from xdsl.ir import Block, Operation, Region, SSAValue
from xdsl.parser import Parser
from xdsl.printer import Printer
from xdsl.traits import IsolatedFromAbove
from xdsl.utils.exceptions import ParseError, VerifyException

from . import arith_vectors  # noqa: F401  # widens arith as it is imported
from .errors import TextError

UPSTREAM = ("builtin", "func", "linalg", "tensor", "memref", "scf", "arith", "math", "vector", "affine")


@cache
def context() -> Context:
    """A context that knows lamina's dialects and the upstream ones its levels use.

    Shared: do not change it.
    """
    from .autodiff import Autodiff
    from .kernel import Kernel
    from .ops import Nn, Prim

    made = Context()
    upstream = get_all_dialects()
    for name in UPSTREAM:
        made.register_dialect(name, upstream[name])
    for dialect in (Nn, Prim, Autodiff, Kernel):
        made.load_dialect(dialect)
    return made


def parse(text: str, filename: str = "<text>") -> ModuleOp:
    """The module a text says. TextError with line, column and caret if it cannot be read."""
    try:
        return Parser(context(), text, filename).parse_module()
    except ParseError as error:
        start = error.span.start
        line = text.count("\n", 0, start) + 1
        column = start - (text.rfind("\n", 0, start) + 1) + 1
        raise _text_error(
            f"the IR cannot be read: {_sentence(error.msg)}", text, filename, line, column
        ) from None
    except VerifyException as error:  # raised by constructors of attributes and types
        raise TextError(f"the IR cannot be read: {_sentence(str(error))}", at=filename) from None


def _text_error(sentence: str, text: str, filename: str, line: int, column: int) -> TextError:
    shown = text.split("\n")[line - 1] if line <= text.count("\n") + 1 else ""
    where = f"{filename}:{line}:{column}"
    caret = " " * (len("    at ") + len(where) + 3 + column - 1) + "^"
    return TextError(sentence, at=f"{where}   {shown}\n{caret}")


def _sentence(message: str) -> str:
    lines = [line.strip() for line in message.strip().split("\n") if line.strip()]
    return lines[-1] if lines else "it is not IR"


def print_module(module: Operation) -> str:
    """Deterministic text: values keep their names where they have one, else they are numbered."""
    out = io.StringIO()
    Printer(out).print_op(module)
    out.write("\n")
    return out.getvalue()


def verify(module: Operation) -> None:
    """Every op holds by its own rules and uses only values that are defined before it.

    TextError names the first that does not.
    """
    try:
        module.verify()
    except VerifyException as error:
        raise TextError(f"the IR does not hold together: {_innermost(error)}") from None
    for region in module.regions:
        _check_region(region, set())


def _innermost(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error)


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
                raise TextError(
                    f"operand {i} of {op.name} is used before it is defined, or is not visible here",
                    facts=[("op", _line(op), _origin(op))],
                )
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


__all__ = ["context", "parse", "print_module", "verify"]
