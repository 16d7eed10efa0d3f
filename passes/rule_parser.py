"""Text to the nodes of rules: what `rules.lark` says a rule looks like."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from lark import Lark, Token, Transformer, v_args
from lark.exceptions import UnexpectedInput as SyntaxFault

from ..dialects.book.expr import OPERATORS
from .rule_language import Call, Expr, Name, Number, Word

__all__ = ["SyntaxFault", "parse"]


@v_args(inline=True)
class _Builder(Transformer):  # type: ignore[type-arg]  # lark's Transformer is not generic at run time
    def number(self, token: Token) -> Number:
        text = str(token)
        return Number(
            float(text) if any(c in text for c in ".eE") else int(text), line=token.line, column=token.column
        )

    def name(self, token: Token) -> Name:
        return Name(str(token), line=token.line, column=token.column)

    def call(self, fn: Token, *args: Expr | None) -> Call:
        return Call(str(fn), tuple(a for a in args if a is not None), line=fn.line, column=fn.column)

    def binary(self, a: Expr, sign: Token, b: Expr) -> Call:
        return Call(OPERATORS[str(sign)], (a, b), line=sign.line, column=sign.column)

    def neg(self, x: Expr) -> Expr:
        if isinstance(x, Number):
            return Number(-x.value, line=x.line, column=x.column)
        return Call("neg", (x,), line=x.line, column=x.column)

    def either(self, a: Expr, b: Expr) -> Call:
        return Call("either", (a, b), line=a.line, column=a.column)

    def both(self, a: Expr, b: Expr) -> Call:
        return Call("both", (a, b), line=a.line, column=a.column)

    def denied(self, a: Expr) -> Call:
        return Call("denied", (a,), line=a.line, column=a.column)

    def rule(
        self, name: Token, pattern: Expr, arrow: Token, replacement: Expr, condition: Expr | None
    ) -> tuple[object, ...]:
        word = Word(name)
        word.line = name.line
        return word, pattern, str(arrow), replacement, condition

    def start(self, *rules: tuple[object, ...]) -> tuple[tuple[object, ...], ...]:
        return rules


@lru_cache(maxsize=1)
def _grammar() -> Lark:
    text = Path(__file__).with_name("rules.lark").read_text(encoding="utf8")
    return Lark(text, parser="lalr", maybe_placeholders=True)


def parse(text: str) -> tuple[tuple[object, ...], ...]:
    """(name, pattern, arrow, replacement, condition or None) of each rule, unchecked. SyntaxFault knows line and column."""
    return _Builder().transform(_grammar().parse(text))
