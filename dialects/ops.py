"""Book ops in xDSL: one class per op of the book, made from it, on one base.

Text form: ``%y = prim.sum %x {axes = array<i64: 1>} : (tensor<4x3xf32>) -> tensor<4x1xf32>``.
Beside the stanza's attributes an op may carry a discardable ``origin = "train.py:12"``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from xdsl.dialects.builtin import FunctionType, StringAttr
from xdsl.ir import Attribute, Block, Dialect, Operation, Region, SSAValue
from xdsl.irdl import traits_def
from xdsl.parser import Parser
from xdsl.printer import Printer
from xdsl.traits import IsolatedFromAbove, IsTerminator, Pure
from xdsl.utils.exceptions import VerifyException

from .attributes import attribute_of, ir_type, type_of, type_of_ir, value_of
from .book import OPS, Stanza
from .book.scan import Counts
from .errors import BookError, LaminaError
from .graph import Graph, Step
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

    @classmethod
    def region_of(cls, body: Graph) -> Region:
        """A graph among the attributes as a region (ops that have one)."""
        raise BookError(f"{cls.name} has no body")

    def attrs_with_body(self) -> tuple:
        """The attributes in the stanza's order, the region as a graph (ops that have one)."""
        raise BookError(f"{self.name} has no body")

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


class ScanYieldOp(TensorOp):
    """Ends the body of a scan: the carried values for the next step, then the slices of the stacked results."""

    name = "scan.yield"
    traits = traits_def(IsTerminator(), Pure())


class ScanOp(BookOp):
    """A body run once per step; the region sees nothing but its arguments.

        %h, %ys = prim.scan %h0, %xs, %w {carried = 1 : i64, scanned = 1 : i64, steps = 30 : i64, reverse = false}
            : (tensor<8xf32>, tensor<30x8xf32>, tensor<8xf32>) -> (tensor<8xf32>, tensor<30x8xf32>) {
        ^bb0(%0: tensor<8xf32>, %x: tensor<8xf32>, %1: tensor<8xf32>):
          ...
          scan.yield %2, %2 : (tensor<8xf32>, tensor<8xf32>) -> ()
        }
    """

    name = "prim.scan"
    op_name = "scan"
    traits = traits_def(IsolatedFromAbove(), Pure())

    @property
    def counts(self) -> Counts:
        """How many operands are carried and scanned, the steps, the direction."""
        found = (value_of(p.kind, self.attributes[p.name]) for p in self.stanza.attributes if p.kind != "graph")
        return Counts(*found)

    @property
    def body(self) -> Block:
        """What one step does."""
        return self.regions[0].block

    @classmethod
    def make(
        cls, operands: Sequence[SSAValue], region: Region, counts: Counts, origin: str | StringAttr | None = None
    ) -> ScanOp:
        """A scan around a region; result types follow from its yield."""
        yielded = region.block.last_op
        assert yielded is not None
        types = [type_of(v) for v in yielded.operands]
        stacked = [((counts.steps, *shape), dtype) for shape, dtype in types[counts.carried :]]
        attributes = {
            p.name: attribute_of(p.kind, value) for p, value in zip(OPS["scan"].attributes[1:], counts, strict=True)
        }
        if origin:
            attributes["origin"] = origin if isinstance(origin, StringAttr) else StringAttr(origin)
        kinds = [ir_type(t) for t in (*types[: counts.carried], *stacked)]
        return cls.create(operands=operands, result_types=kinds, attributes=attributes, regions=[region])

    @classmethod
    def region_of(cls, body: Graph) -> Region:
        """The region of a body."""
        block = Block(arg_types=[ir_type(t) for t in body.inputs])
        values = append_graph(block, body)
        block.add_op(ScanYieldOp.create(operands=[values[i] for i in body.outputs]))
        return Region(block)

    def attrs_with_body(self) -> tuple:
        """The body as a graph, then the counts. LaminaError when it holds more than book ops."""
        return (graph_of(self.body), *self.counts)

    def verify_(self) -> None:
        """Operands, block arguments, yielded values and results fit together."""
        try:
            counts = self.counts
        except (KeyError, LaminaError) as error:
            raise VerifyException(f"prim.scan lacks an attribute, or has one of the wrong kind: {error}") from None
        last = self.body.last_op
        if not isinstance(last, ScanYieldOp):
            raise VerifyException("prim.scan: the region must end in scan.yield")
        if min(counts.carried, counts.scanned, counts.steps) < 0 or counts.carried + counts.scanned > len(self._operands):
            raise VerifyException(f"prim.scan has {len(self._operands)} operands, not {counts.carried} carried and {counts.scanned} scanned")
        types = [type_of(v) for v in self._operands]
        for i in range(counts.carried, counts.carried + counts.scanned):
            if types[i][0][:1] != (counts.steps,):
                raise VerifyException(f"prim.scan: operand {i} needs {counts.steps} slices along its first dimension")
        if tuple(type_of(a) for a in self.body.args) != counts.slices(types):
            raise VerifyException("prim.scan: block arguments must be the carried operands, the slices, and the others, in order")
        made = [type_of(v) for v in last.operands]
        stacked = [((counts.steps, *shape), dtype) for shape, dtype in made[counts.carried :]]
        if made[: counts.carried] != types[: counts.carried]:
            raise VerifyException("prim.scan: scan.yield must give the carried operands' types first")
        if [type_of(r) for r in self.results] != made[: counts.carried] + stacked:
            raise VerifyException("prim.scan gives the carried values, then one stack per further yielded value")

    def print(self, printer: Printer) -> None:
        """As other tensor ops, then the region."""
        super().print(printer)
        printer.print_string(" ")
        printer.print_region(self.regions[0])

    @classmethod
    def parse(cls, parser: Parser) -> ScanOp:
        """Read what `print` writes."""
        made = super().parse(parser)
        made.add_region(parser.parse_region())
        return made  # type: ignore[return-value]  # made by cls.create


STEP_BUILDERS: dict[str, Callable[[Sequence[SSAValue], str], TensorOp]] = {}
"""How steps of a graph that are not in the book become ops: the dialect they belong to says."""


def append_graph(block: Block, graph: Graph) -> list[SSAValue]:
    """Append the steps of a graph to a block whose arguments are its inputs; one value per value id."""
    values: list[SSAValue] = list(block.args)
    for (name, attrs, operands), origin in zip(graph.steps, graph.origins, strict=True):
        read = [values[i] for i in operands]
        make = STEP_BUILDERS.get(name)
        op = build_op(name, read, attrs, origin) if make is None else make(read, origin)
        block.add_op(op)
        values.extend(op.results)
    return values


def graph_of(block: Block) -> Graph:
    """A block of book ops and other steps as a graph. LaminaError when it holds others."""
    number: dict[SSAValue, int] = {arg: i for i, arg in enumerate(block.args)}
    types = [type_of(arg) for arg in block.args]
    steps, origins = [], []
    last = block.last_op
    assert last is not None
    for op in block.ops:
        if op is last:
            break
        if isinstance(op, BookOp):
            steps.append(Step(op.op_name, attrs_of(op), tuple(number[v] for v in op._operands)))
        elif isinstance(op, TensorOp) and op.name in STEP_BUILDERS:
            steps.append(Step(op.name, (), tuple(number[v] for v in op._operands)))
        else:
            raise LaminaError(f"{op.name} is not in the book: this body is past the primitive level")
        origins.append(op.origin or "")
        for result in op.results:
            number[result] = len(number)
            types.append(type_of(result))
    outputs = tuple(number[v] for v in last.operands)
    inputs = tuple(types[: len(block.args)])
    return Graph(inputs, tuple(steps), outputs, tuple(origins), (None,) * len(inputs), tuple(types))


def _make_classes() -> dict[str, type[BookOp]]:
    return {
        name: type(
            f"{name.title().replace('_', '')}Op", (BookOp,), {"name": f"{dialect}.{name}", "op_name": name}
        )
        for name, dialect in OPS.dialects().items()
        if dialect != "complex"  # of recorded graphs only
    }


CLASSES: dict[str, type[BookOp]] = _make_classes()
CLASSES["scan"] = ScanOp
Prim = Dialect("prim", [c for c in CLASSES.values() if c.name.startswith("prim.")])
Nn = Dialect("nn", [c for c in CLASSES.values() if c.name.startswith("nn.")])
Scans = Dialect("scan", [ScanYieldOp])


_STANZAS: dict[type[Operation], Stanza | None] = {}


def stanza_of(op: Operation) -> Stanza | None:
    """The stanza of a book op, None for any other op."""
    kind = type(op)  # `isinstance` asks an abstract class in Python, and this is asked of every op by every pass
    if kind not in _STANZAS:
        _STANZAS[kind] = OPS[kind.op_name] if issubclass(kind, BookOp) else None
    return _STANZAS[kind]


_ATTRS: dict[tuple, tuple] = {}
_LIMIT = 1 << 16


def attrs_of(op: BookOp) -> tuple:
    """Attribute values in the stanza's order, as Python values.

    LaminaError if one is missing or of the wrong kind.
    """
    params = OPS[op.op_name].attributes
    if not params:
        return ()
    if op.regions:
        return op.attrs_with_body()
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
    return {p.name: attribute_of(p.kind, value) for p, value in zip(stanza.attributes, attrs) if p.kind != "graph"}


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
    regions = [cls.region_of(value) for value in attrs if isinstance(value, Graph)]
    return cls.create(operands=operands, result_types=[ir_type(t) for t in types], attributes=attributes, regions=regions)


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
    "Counts",
    "Nn",
    "Prim",
    "ScanOp",
    "ScanYieldOp",
    "Scans",
    "TensorOp",
    "XdslBuilder",
    "append_graph",
    "attrs_of",
    "build_op",
    "graph_of",
    "ir_type",
    "stanza_of",
    "type_of",
]
