"""Text to the pieces of a Stanza: what `grammar.lark` says a stanza looks like."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

from lark import Lark, Token, Transformer, v_args
from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken

from ..errors import BookError
from .expr import OPERATORS, Binding, Call, Expr, Name, Number
from .readings import Fold, Place
from .sources import Source
from .stanza import Dim, Need, Param

_HERE = Path(__file__).parent
_LITERALS = {"inf": float("inf"), "true": True, "false": False}


@v_args(inline=True)
class _Trees(Transformer):
    """Parse tree to the pieces of a Stanza; `op` gives a dict of its fields."""

    def number(self, text: Token) -> Expr:
        return Number(float(text) if any(c in text for c in ".eE") else int(text))

    def name(self, text: Token) -> Expr:
        return Number(_LITERALS[text]) if text in _LITERALS else Name(str(text))

    def word(self, text: Token) -> Expr:
        return Number(str(text)[1:-1])

    def negative(self, x: Expr) -> Expr:
        return Number(-x.value) if isinstance(x, Number) else Call("neg", (x,))

    def binary(self, a: Expr, sign: Token, b: Expr) -> Expr:
        return Call(OPERATORS[sign], (a, b))

    def choose(self, then: Expr, condition: Expr, otherwise: Expr) -> Expr:
        return Call("choose", (condition, then, otherwise))

    def call(self, fn: Token, *args: Expr) -> Expr:
        return Call(str(fn), args)

    def listed(self, *items: Expr) -> Expr:
        return Call("tuple", items)

    def rest(self, expr: Expr) -> Dim:
        return Dim(expr, True)

    def one(self, expr: Expr) -> Dim:
        return Dim(expr, False)

    def dims(self, *dims: Dim) -> tuple[Dim, ...]:
        return dims

    def param(
        self, name: Token, kind: Token, dims: tuple[Dim, ...] | None = None, many: Token | None = None
    ) -> Param:
        if dims is None:
            return Param(str(name), str(kind))
        return Param(str(name), "tensor", str(kind), dims, many is not None)

    def results(self, *params: Param) -> dict:
        return {"results": params}

    def place(self, name: Token, dims: tuple[Dim, ...]) -> Place:
        return Place(str(name), dims)

    def each(self, _: Token, body: Expr) -> dict:
        return {"family": "each", "scalar": body}

    def fold(self, _: Token, combiner: Token, operand: Expr, axes: Token, init: Expr) -> dict:
        return {"family": "fold", "fold": Fold(str(combiner), operand, init), "axes": str(axes)}

    def view(self, written: Place, read: Place) -> dict:
        return {"family": "view", "places": (written, read)}

    def placement(self, written: Place, read: Place, fill: Expr) -> dict:
        return {"family": "view", "places": (written, read), "fill": fill}

    def contract(self, *places: Place) -> dict:
        return {"family": "contract", "places": places}

    def is_one(self, body: Expr, where: tuple[Binding, ...] = ()) -> dict:
        return {"family": "is", "meaning": (((), body),), "meaning_bindings": where}

    def is_many(self, *parts: Any) -> dict:
        where = () if len(parts[-1]) == 0 or isinstance(parts[-1][0][0], str) else parts[-1]
        return {"family": "is", "meaning": parts[:-1] if where else parts, "meaning_bindings": where}

    def irregular(self, reason: Token) -> dict:
        return {"family": "irregular", "reason": reason[1:-1]}

    def binding(self, name: Token, expr: Expr) -> Binding:
        return (str(name),), expr

    def binding_many(self, *parts: Any) -> Binding:
        return tuple(map(str, parts[:-1])), parts[-1]

    def where(self, *bindings: Binding) -> tuple[Binding, ...]:
        return bindings

    def need(self, condition: Expr, sentence: Token) -> Need:
        pieces = re.split(r"\{([^}]*)\}", sentence[1:-1])
        return Need(condition, tuple(p if i % 2 == 0 else _parse(p, "expr") for i, p in enumerate(pieces)))

    def derivative(self, _: Token, name: Token, expr: Expr) -> Binding:
        return (str(name),), expr

    def derivatives(self, *lines: Any) -> dict:
        where = lines[-1] if not isinstance(lines[-1][0][0], str) else ()
        return {"derivatives": lines[:-1] if where else lines, "bindings": where}

    def op(self, name: Token, *parts: Any) -> dict:
        out: dict[str, Any] = {
            "name": str(name),
            "params": (),
            "needs": (),
            "commutes": False,
            "partwise": False,
            "unsaved": False,
            "numpy_line": "",
        }
        for part in parts:
            if isinstance(part, dict):
                out.update(part)
            elif isinstance(part, Param):
                out["params"] += (part,)
            elif isinstance(part, Need):
                out["needs"] += (part,)
            elif part.type in ("COMMUTES", "PARTWISE", "UNSAVED"):
                out[part.type.lower()] = True
            else:
                out["numpy_line"] = re.sub(r"\s+", " ", part[len("numpy") :].strip())
        return out


@cache
def _parser() -> Lark:
    grammar = (_HERE / "grammar.lark").read_text(encoding="utf-8")
    return Lark(grammar, start=["op", "expr"], parser="lalr", maybe_placeholders=False, transformer=_Trees())


def _parse(text: str, start: str) -> Any:
    return _parser().parse(text, start=start)


def fields_of(source: Source) -> dict[str, Any]:
    """The pieces of a stanza, unchecked. BookError with file, line and column for text the grammar does not have."""
    try:
        return _parse(source.text, "op")
    except UnexpectedInput as error:
        raise _syntax_error(error, source) from None


def _syntax_error(error: UnexpectedInput, source: Source) -> BookError:
    line, column = max(error.line, 1), max(error.column, 1)
    shown = source.text.split("\n")[min(line, source.text.count("\n") + 1) - 1]
    where = f"{source.file}:{source.line + line - 1}:{column}"
    if isinstance(error, UnexpectedToken):
        what = repr(str(error.token)) if error.token.type != "$END" else "the end of the stanza"
    else:
        what = repr(shown[column - 1]) if isinstance(error, UnexpectedCharacters) else "this"
    caret = " " * (len(where) + 3 + column - 1 + len("    at ")) + "^"
    return BookError(
        f"the stanza cannot be read: {what} is not expected here", at=f"{where}   {shown}\n{caret}"
    )
