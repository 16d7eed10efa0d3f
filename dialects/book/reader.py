"""Text to Stanza: one stanza, checked that it holds together."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from ..errors import BookError
from ..kept_forms import kept_form
from ..types import DTYPES
from .expr import SCALARS, TENSOR_FUNCTIONS, Call, Expr, Name, Number, names_in, walk
from .numerics import check_line
from .readings import Fold, Place
from .shapes import FUNCTIONS
from .sources import Source, sources
from .stanza import ATTRIBUTE_KINDS, CLASSES, Dim, Need, Param, Stanza, fixed_dtype

_HERE = Path(__file__).parent
_COMBINERS = ("add", "mul", "maximum", "minimum", "and", "or")
_PIECES = (Call, Name, Number, Dim, Param, Need, Fold, Place)


@cache
def _known_fields() -> dict[str, dict[str, Any]]:
    """The pieces of the book's own stanzas by their text, parsed once per installation."""
    files = sorted(_HERE.glob("*.ops"))
    made_by = [_HERE / f for f in ("grammar.lark", "parser.py", "expr.py", "readings.py", "sources.py", "stanza.py")]
    return kept_form(_HERE / "book.ops", [*files, *made_by], _PIECES, lambda: parse_all(files)) or {}


def parse_all(files: list[Path]) -> dict[str, dict[str, Any]]:
    """The pieces of every stanza by its text; a stanza that cannot be read is left to whoever asks for it."""
    from .parser import fields_of

    found = {}
    for path in files:
        for _, source in sources(path.read_text(encoding="utf-8"), path.name, ""):
            with contextlib.suppress(BookError):
                found[source.text] = fields_of(source)
    return found


def read(source: Source, book: Mapping[str, Stanza], kind: type[Stanza] = Stanza) -> Stanza:
    """One stanza, checked; `kind` is its class. BookError with file, line and column."""
    origin = f"{source.file}:{source.line}"
    fields = _known_fields().get(source.text)
    if fields is None:
        from .parser import fields_of  # the parser is loaded for text that is new

        fields = fields_of(source)
    family = {k: v for k, v in fields.items() if k != "axes"}
    family["derivatives"] = {names[0]: expr for names, expr in fields.get("derivatives", ())}
    family["meaning"] = tuple(expr for _, expr in fields.get("meaning", ()))
    family.setdefault("bindings", ())
    stanza = kind(dialect=source.dialect, origin=origin, text=source.text, book=book, **family)
    meant = [names[0] for names, _ in fields.get("meaning", ()) if names]
    _check(stanza, fields.get("axes"), meant)
    return stanza


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
