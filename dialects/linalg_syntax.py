"""What the linalg dialect of xDSL 0.74 lacks: it cannot read the `-> (A, B)` its own linalg.generic printer writes for several results,
and takes a linalg.index of a loop that is not there.

The printer follows MLIR and puts parentheses around the result types; the parser expects a bare list.
Importing this module mends `linalg.GenericOp.parse` and `linalg.IndexOp.verify_`; remove it when the pinned xDSL does both.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from xdsl.dialects.linalg import ops as linalg
from xdsl.parser import Parser
from xdsl.utils.exceptions import VerifyException

_parse = linalg.GenericOp.parse.__func__


class _ParserWithResultLists:
    """The parser, except that an undelimited list of attributes may stand in parentheses."""

    def __init__(self, parser: Parser) -> None:
        self._parser = parser

    def __getattr__(self, name: str) -> Any:
        return getattr(self._parser, name)

    def parse_comma_separated_list(self, delimiter: Parser.Delimiter, parse: Callable[[], Any]) -> list[Any]:
        parser = self._parser
        if parse == parser.parse_attribute and parser.parse_optional_punctuation("("):
            items = parser.parse_comma_separated_list(Parser.Delimiter.NONE, parse)
            parser.parse_punctuation(")")
            return items
        return parser.parse_comma_separated_list(delimiter, parse)


def _parse_generic(cls: type[linalg.GenericOp], parser: Parser) -> linalg.GenericOp:
    return _parse(cls, _ParserWithResultLists(parser))


linalg.GenericOp.parse = classmethod(_parse_generic)  # type: ignore[method-assign]  # mends the library


def _verify_index(op: linalg.IndexOp) -> None:
    around = op.parent_op()
    loops = len(around.iterator_types.data) if isinstance(around, linalg.GenericOp) else 0
    if not 0 <= op.dim.value.data < loops:
        raise VerifyException(f"linalg.index {op.dim.value.data} is in {loops} loops: it must be one of 0 to {loops - 1}")


linalg.IndexOp.verify_ = _verify_index  # type: ignore[method-assign]  # mends the library
