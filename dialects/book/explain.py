"""What `lamina explain OP` prints: the stanza, and what lamina makes of it."""

from __future__ import annotations

import difflib

from ..errors import BookError
from ..types import DTYPES, Type, show_type
from .expr import Call, Expr, walk
from .library import OPS
from .stanza import CLASSES, Stanza, fixed_dtype

_MEANINGS = {
    "each": "one scalar expression per element; fuses into whatever reads or makes its operands",
    "fold": "a reduction that keeps its dimensions at size 1",
    "view": "an index map; costs nothing when its reader is fused",
    "contract": "a sum of products over index maps; gets the register-tiled contraction kernel",
    "is": "a composite; spelled out with the ops below before kernels are made",
    "irregular": "lowered by hand, because",
}


def explain(name: str) -> str:
    """Everything about one op as text. BookError, with near names, if there is none."""
    if name not in OPS:
        near = difflib.get_close_matches(name, list(OPS), 3)
        raise BookError(
            f"there is no op {name!r}",
            help=f"did you mean {', '.join(near)}?" if near else "lamina explain lists all",
        )
    s = OPS[name]
    blocks = [f"{s.dialect}.{s.name}   {s.origin}", s.text, _family(s), _types(s), _derivatives(s)]
    return "\n\n".join(block for block in blocks if block) + "\n"


def contents() -> str:
    """The names of all ops by dialect and family."""
    shelves: dict[str, list[str]] = {}
    for name in OPS:
        s = OPS[name]
        shelves.setdefault(f"{s.dialect} {s.family}", []).append(name)
    return "\n".join(f"{shelf:<16} {' '.join(names)}" for shelf, names in shelves.items()) + "\n"


def _family(s: Stanza) -> str:
    reason = f" {s.reason}" if s.reason else ""
    lines = [f"family   {s.family}: {_MEANINGS[s.family]}{reason}"]
    if s.scalar is not None:
        lines.append(f"body     y = {s.scalar}")
    if s.fold is not None:
        lines.append(
            f"body     {s.fold.combiner} of {s.fold.operand}, starting from {s.fold.init} (halves in float32)"
        )
    if s.meaning:
        lines.append(f"uses     {' '.join(_ops_in([*s.meaning, *(e for _, e in s.meaning_bindings)]))}")
    if s.commutes:
        lines.append("commutes its operands may be exchanged; rules match both orders")
    if s.unsaved:
        lines.append("unsaved  its result may be written over before backward")
    return "\n".join(lines)


def _ops_in(trees: list[Expr]) -> list[str]:
    names = (node.fn for tree in trees for node in walk(tree) if isinstance(node, Call))
    return list(dict.fromkeys(name for name in names if name in OPS))


def _types(s: Stanza) -> str:
    lines = [f"types    {s.signature}"]
    if s.in_code:
        return lines[0]
    for word in dict.fromkeys(p.dtype for p in s.tensors):
        if fixed_dtype(word) is None:
            kinds = CLASSES.get(word, CLASSES["any"])[0]
            admitted = dict.fromkeys(t.name for t in DTYPES.values() if t.kind in kinds)
            lines.append(f"         {word}: {', '.join(admitted)}, the same everywhere")
    lines += [f"needs    {need.condition}" for need in s.needs]
    return "\n".join(lines)


def _derivatives(s: Stanza) -> str:
    if not s.tensors:
        return ""
    if s.in_code:
        return f"d        in code: {type(s).gradients.__doc__.strip().splitlines()[0]}"
    if not s.derivatives:
        return "d        none of its own: opened first, then differentiated"
    lines = [f"d {p.name:<6} {s.derivatives[p.name]}" for p in s.tensors]
    lines += [f"         where {', '.join(names)} = {expr}" for names, expr in s.bindings]
    return "\n".join(lines)


def explain_call(name: str, types: tuple[Type, ...], attrs: tuple = ()) -> str:
    """`matmul(float32[2, 3], float32[3, 4]) -> float32[2, 4]`; ShapeError or DTypeError if it cannot be."""
    results = OPS[name].infer(types, attrs)
    given = ", ".join([show_type(t) for t in types] + [repr(a) for a in attrs])
    return f"{name}({given}) -> {', '.join(map(show_type, results))}"


__all__ = ["contents", "explain", "explain_call"]
