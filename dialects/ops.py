"""Book ops in xDSL: one class per op of the book, made from it, on one base.

Text form: ``%y = prim.sum %x {axes = array<i64: 1>} : (tensor<4x3xf32>) -> tensor<4x1xf32>``.
Beside the stanza's attributes an op may carry a discardable ``origin = "train.py:12"``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from xdsl.dialects.builtin import FunctionType, StringAttr
from xdsl.ir import Attribute, Block, Dialect, Operation, SSAValue
from xdsl.irdl import traits_def
from xdsl.parser import Parser
from xdsl.printer import Printer
from xdsl.traits import Pure
from xdsl.utils.exceptions import VerifyException

from .attributes import attribute_of, ir_type, type_of, type_of_ir, value_of
from .book import OPS, Stanza
from .errors import BookError, LaminaError
from .types import Type


class TensorOp(Operation):
    """Text form shared by ops on tensors: operands, attributes, function type; no regions."""

    traits = traits_def(Pure())

    @classmethod
    def parse(cls, parser: Parser) -> TensorOp:
        """Read what `print` writes."""
        at = parser.pos
        operands = parser.parse_optional_undelimited_comma_separated_list(
            parser.parse_optional_unresolved_operand, parser.parse_unresolved_operand
        )
        attributes = parser.parse_optional_attr_dict()
        parser.parse_punctuation(":")
        kind = parser.parse_function_type()
        values = parser.resolve_operands(operands or [], kind.inputs.data, at)
        return cls.create(operands=values, result_types=kind.outputs.data, attributes=attributes)

    def print(self, printer: Printer) -> None:
        """``%a, %b {attributes} : (types) -> types``."""
        if self._operands:
            printer.print_string(" ")
            printer.print_list(self._operands, printer.print_ssa_value)
        printer.print_op_attributes(self.attributes)
        printer.print_string(" : ")
        printer.print_attribute(
            FunctionType.from_lists([v.type for v in self._operands], [r.type for r in self.results])
        )

    @property
    def origin(self) -> str | None:
        """The user's line ("train.py:12"), if known."""
        found = self.attributes.get("origin")
        return found.data if isinstance(found, StringAttr) else None


class BookOp(TensorOp):
    """An op whose meaning stands in the book. `attrs_of` gives its attributes in the stanza's order."""

    op_name: ClassVar[str]

    @property
    def stanza(self) -> Stanza:
        """The stanza this op is an instance of."""
        return OPS[self.op_name]

    def verify_(self) -> None:
        """Attributes are the stanza's, and result types are those it infers."""
        stanza = self.stanza
        try:
            unknown = [
                key
                for key in self.attributes
                if key != "origin" and key not in {p.name for p in stanza.attributes}
            ]
            if unknown and not all("." in key for key in unknown):
                raise VerifyException(
                    f"{self.name} has no attribute {unknown[0]}; its signature is {stanza.signature}"
                )
            found = tuple(type_of(r) for r in self.results)
            wanted = stanza.infer(tuple(type_of(v) for v in self._operands), attrs_of(self))
        except LaminaError as error:
            raise VerifyException(str(error)) from None
        if found != wanted:
            shown = ", ".join(str(ir_type(t)) for t in wanted)
            raise VerifyException(
                f"{self.name} gives {shown}, not {', '.join(str(r.type) for r in self.results)}"
            )


def _make_classes() -> dict[str, type[BookOp]]:
    return {
        name: type(
            f"{name.title().replace('_', '')}Op", (BookOp,), {"name": f"{dialect}.{name}", "op_name": name}
        )
        for name, dialect in OPS.dialects().items()
    }


CLASSES: dict[str, type[BookOp]] = _make_classes()
Prim = Dialect("prim", [c for c in CLASSES.values() if c.name.startswith("prim.")])
Nn = Dialect("nn", [c for c in CLASSES.values() if c.name.startswith("nn.")])


def stanza_of(op: Operation) -> Stanza | None:
    """The stanza of a book op, None for any other op."""
    return OPS[op.op_name] if isinstance(op, BookOp) else None


_ATTRS: dict[tuple, tuple] = {}
_LIMIT = 1 << 16


def attrs_of(op: BookOp) -> tuple:
    """Attribute values in the stanza's order, as Python values.

    LaminaError if one is missing or of the wrong kind.
    """
    params = OPS[op.op_name].attributes
    if not params:
        return ()
    attributes = op.attributes
    try:
        found = [attributes[p.name] for p in params]
    except KeyError as missing:
        raise LaminaError(f"{op.name} lacks its attribute {missing.args[0]}") from None
    key = (op.op_name, *map(id, found))
    known = _ATTRS.get(key)
    if known is not None:  # the entry keeps its attributes alive, so an id means the same attribute
        return known[0]
    values = tuple(value_of(p.kind, a) for p, a in zip(params, found))
    if len(_ATTRS) >= _LIMIT:
        _ATTRS.clear()
    _ATTRS[key] = (values, found)
    return values


def _attributes(stanza: Stanza, attrs: tuple) -> dict[str, Attribute]:
    if not attrs:
        return {}
    return {p.name: attribute_of(p.kind, value) for p, value in zip(stanza.attributes, attrs)}


def build_op(
    name: str, operands: Sequence[SSAValue], attrs: tuple = (), origin: str | StringAttr | None = None
) -> BookOp:
    """A book op with inferred result types.

    BookError for an unknown op; ShapeError, DTypeError from the stanza.
    """
    cls = CLASSES.get(name)
    if cls is None:
        raise BookError(f"there is no op {name}")
    stanza = OPS[name]
    types = stanza.infer(tuple(type_of_ir(v.type) for v in operands), attrs)
    attributes = _attributes(stanza, attrs)
    if origin:
        attributes["origin"] = origin if isinstance(origin, StringAttr) else StringAttr(origin)
    return cls.create(operands=operands, result_types=[ir_type(t) for t in types], attributes=attributes)


class XdslBuilder:
    """The `build` of gradients and opened composites that inserts xDSL ops.

    where: a Block (append) or an Operation (insert before it); origin: the line new ops come from.
    """

    def __init__(self, where: Block | Operation, origin: str | StringAttr | None = None) -> None:
        self.origin = origin
        self.place(where)

    def place(self, where: Block | Operation) -> None:
        """Insert here from now on."""
        self._insert: Callable[[Operation], Any]
        if isinstance(where, Block):
            self._insert = where.add_op
        else:
            block = where.parent
            if block is None:
                raise ValueError("ops can only be inserted before an op that stands in a block")
            self._insert = lambda op: block.insert_op_before(op, where)

    def __call__(self, op: str, operands: tuple, attrs: tuple) -> tuple[SSAValue, ...]:
        """Build one op; its results."""
        made = build_op(op, operands, attrs, self.origin)
        self._insert(made)
        return tuple(made.results)

    def type(self, value: SSAValue) -> Type:
        """(shape, dtype) of a value."""
        return type_of_ir(value.type)


__all__ = [
    "CLASSES",
    "BookOp",
    "Nn",
    "Prim",
    "TensorOp",
    "XdslBuilder",
    "attrs_of",
    "build_op",
    "ir_type",
    "stanza_of",
    "type_of",
]
