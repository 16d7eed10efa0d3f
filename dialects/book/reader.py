"""Text to Stanza: parses one stanza and checks that it holds together."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from lark import Lark, Token, Transformer, v_args
from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken

from ..errors import BookError
from ..types import DTYPES
from .expr import OPERATORS, SCALARS, TENSOR_FUNCTIONS, Binding, Call, Expr, Name, Number, names_in, walk
from .numerics import check_line
from .readings import Fold, Place
from .shapes import FUNCTIONS
from .sources import Source
from .stanza import ATTRIBUTE_KINDS, CLASSES, Dim, Need, Param, Stanza, fixed_dtype

_HERE = Path(__file__).parent
_LITERALS = {"inf": float("inf"), "true": True, "false": False}
_COMBINERS = ("add", "mul", "maximum", "minimum", "and", "or")


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
            "numpy_line": "",
        }
        for part in parts:
            if isinstance(part, dict):
                out.update(part)
            elif isinstance(part, Param):
                out["params"] += (part,)
            elif isinstance(part, Need):
                out["needs"] += (part,)
            elif part.type == "COMMUTES":
                out["commutes"] = True
            else:
                out["numpy_line"] = re.sub(r"\s+", " ", part[len("numpy") :].strip())
        return out


@cache
def _parser() -> Lark:
    grammar = (_HERE / "grammar.lark").read_text(encoding="utf-8")
    return Lark(grammar, start=["op", "expr"], parser="lalr", maybe_placeholders=False, transformer=_Trees())


def _parse(text: str, start: str) -> Any:
    return _parser().parse(text, start=start)


def read(source: Source, book: Mapping[str, Stanza], kind: type[Stanza] = Stanza) -> Stanza:
    """One stanza, checked; `kind` is its class. BookError with file, line and column."""
    origin = f"{source.file}:{source.line}"
    try:
        fields = _parse(source.text, "op")
    except UnexpectedInput as error:
        raise _syntax_error(error, source) from None
    family = {k: v for k, v in fields.items() if k != "axes"}
    family["derivatives"] = {names[0]: expr for names, expr in fields.get("derivatives", ())}
    family["meaning"] = tuple(expr for _, expr in fields.get("meaning", ()))
    family.setdefault("bindings", ())
    stanza = kind(dialect=source.dialect, origin=origin, text=source.text, book=book, **family)
    meant = [names[0] for names, _ in fields.get("meaning", ()) if names]
    _check(stanza, fields.get("axes"), meant)
    return stanza


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


def _check(s: Stanza, fold_axes: str | None, meant: list[str]) -> None:
    """What must hold of every stanza: parameters, results, the family line, derivatives, the numpy line."""
    _check_params(s)
    known = {p.name for p in s.params} | {
        d.expr.name for p in s.tensors for d in p.dims if isinstance(d.expr, Name)
    }
    for param in s.results:
        for dim in param.dims:
            _bound(s, dim.expr, known)
    for need in s.needs:
        _bound(s, need.condition, known)
    if s.family == "each":
        _check_scalar(s, s.scalar, {p.name for p in s.params})
    if s.fold is not None:
        _check_fold(s, fold_axes)
    if s.family != "is" and not s.in_code:
        check_line(s.numpy_line, tuple(p.name for p in s.params), s.origin)
    elif meant and meant != [p.name for p in s.results]:
        raise _wrong(
            s,
            f"the is line defines {', '.join(meant)}; the results are {', '.join(p.name for p in s.results)}",
        )
    meaning_names = known | {n for names, _ in s.meaning_bindings for n in names} | set(meant) | set(DTYPES)
    for expr in (*s.meaning, *(e for _, e in s.meaning_bindings)):
        _bound(s, expr, meaning_names)
    _check_derivatives(s, known)


def _check_params(s: Stanza) -> None:
    seen: set[str] = set()
    for param in (*s.params, *s.results):
        if param.name in seen:
            raise _wrong(s, f"{param.name} is named twice")
        seen.add(param.name)
        if not param.is_tensor and param.kind not in ATTRIBUTE_KINDS:
            raise _wrong(s, f"{param.kind} is no kind of attribute ({', '.join(ATTRIBUTE_KINDS)})")
    _check_names(s, seen)
    if s.params != s.tensors + s.attributes:
        raise _wrong(s, "tensors come before attributes")
    words = {p.dtype for p in s.tensors} | {p.name for p in s.attributes if p.kind == "dtype"}
    for param in (*s.tensors, *s.results):
        if not param.is_tensor:
            raise _wrong(s, f"result {param.name} needs a shape")
        word = param.dtype
        if (
            fixed_dtype(word) is None
            and word not in CLASSES
            and word not in words
            and not (len(word) == 1 and word.isupper())
        ):
            raise _wrong(
                s, f"{word} is no dtype ({', '.join(CLASSES)}, a dtype's name, or one capital letter)"
            )
    for param in s.results:
        if fixed_dtype(param.dtype) is None and param.dtype not in words:
            raise _wrong(s, f"the dtype {param.dtype} of result {param.name} is not bound by an operand")


def _check_names(s: Stanza, taken: set[str]) -> None:
    """Sizes and `where` names are names of their own: the evaluator would silently prefer one meaning."""
    sizes = {d.expr.name for p in s.tensors for d in p.dims if isinstance(d.expr, Name)}
    for bindings in (s.bindings, s.meaning_bindings):
        bound = [name for names, _ in bindings for name in names]
        for name in bound:
            if name in sizes or name in taken or name in ("g", "none") or bound.count(name) > 1:
                raise _wrong(s, f"{name} is named twice", name)
    for name in sorted(taken & sizes):
        raise _wrong(s, f"{name} is named twice", name)


def _check_scalar(s: Stanza, expr: Expr, known: set[str]) -> None:
    for node in walk(expr):
        if isinstance(node, Call) and node.fn not in SCALARS:
            raise _wrong(s, f"{node.fn} is no scalar function (dialects/book/expr.py lists them)")
    _unbound(s, expr, known)


def _check_fold(s: Stanza, axes: str | None) -> None:
    if s.fold.combiner not in _COMBINERS:
        raise _wrong(s, f"{s.fold.combiner} is no combiner ({', '.join(_COMBINERS)})")
    if [p.name for p in s.attributes if p.kind == "axes"] != [axes]:
        raise _wrong(s, f"a fold goes over its one axes attribute, not {axes}")
    _check_scalar(s, s.fold.operand, {p.name for p in s.tensors})


def _check_derivatives(s: Stanza, known: set[str]) -> None:
    names = {p.name for p in s.tensors}
    for name in s.derivatives:
        if name not in names:
            raise _wrong(s, f"there is a d line for {name}, which is no tensor operand")
    missing = [p.name for p in s.tensors if p.name not in s.derivatives]
    if missing and not s.in_code and (s.family != "is" or s.derivatives):
        raise _wrong(s, f"{', '.join(missing)} has no d line; write none where there is no derivative")
    scope = (
        known | {p.name for p in s.results} | {"g", "none", *DTYPES} | {n for ns, _ in s.bindings for n in ns}
    )
    for expr in (*s.derivatives.values(), *(e for _, e in s.bindings)):
        _bound(s, expr, scope)


def check_calls(s: Stanza) -> None:
    """Every op that a stanza's expressions call gets as many arguments as it has parameters.

    Not part of `read`: it needs the stanzas of the ops that are called. BookError names the call.
    """
    bindings = (*s.bindings, *s.meaning_bindings)
    for tree in (*s.derivatives.values(), *s.meaning, *(expr for _, expr in bindings)):
        for node in walk(tree):
            if isinstance(node, Call) and node.fn in s.book and node.fn not in FUNCTIONS:
                called = s.book[node.fn]
                if len(node.args) != len(called.params):
                    raise _wrong(
                        s, f"{node.fn} takes {len(called.params)} arguments, got {len(node.args)}", node.fn
                    )


def _bound(s: Stanza, expr: Expr, known: set[str]) -> None:
    """Every name is bound; every function is an op of the book or a function on attributes."""
    for node in walk(expr):
        if not isinstance(node, Call) or node.fn in ("choose", *FUNCTIONS) or node.fn in TENSOR_FUNCTIONS:
            continue
        if node.fn not in s.book:
            raise _wrong(s, f"{node.fn} is neither an op nor a function on attributes")
    _unbound(s, expr, known)


def _unbound(s: Stanza, expr: Expr, known: set[str]) -> None:
    for name in names_in(expr):
        if name not in known:
            raise _wrong(s, f"{name!r} is not bound", name)


def _wrong(s: Stanza, sentence: str, word: str | None = None) -> BookError:
    """A BookError that shows the line in question, with a caret under the word."""
    file, first = s.origin.rsplit(":", 1)
    if word is not None:
        for i, line in enumerate(s.text.split("\n")):
            found = re.search(rf"\b{word}\b", line)
            if found:
                where = f"{file}:{int(first) + i}:{found.start() + 1}"
                caret = " " * (len(where) + 3 + found.start() + len("    at ")) + "^"
                return BookError(f"{s.name}: {sentence}", at=f"{where}   {line}\n{caret}")
    return BookError(f"{s.name}: {sentence}", at=f"{s.origin}   {s.text.split(chr(10))[0]}")
