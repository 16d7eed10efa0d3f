"""How a stage reaches memory: the role of each prim op in a kernel, and reads as index maps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from xdsl.ir import Attribute, Block, Operation, SSAValue

from ..dialects.ops import BookOp, attrs_of, stanza_of, type_of
from ..dialects.sizes import any_symbolic, estimate
from ..dialects.types import Shape, int8, int32, size_of, uint8
from .linear_index import Index, Linear, NotAffine, loop_dims

EACH, VIEW, SOURCE, READ = "each", "view", "source", "read"  # computed where they are read
FOLD, CONTRACT, PLACE = "fold", "contract", "place"  # always a stage of a kernel
PLACED = "placed"  # a placement whose one reader places it again: its parts are written where that one's result lies
ALIAS, OPAQUE = "alias", "opaque"  # stay outside kernels
MOST_PLACED = 16  # updates of updates that are one kernel
INLINE = frozenset((EACH, VIEW, SOURCE, READ, PLACED))
_FAMILIES = frozenset((EACH, FOLD, CONTRACT))  # whose ops have one role

_IRREGULAR = {
    "full": SOURCE, "iota": SOURCE, "gather": READ, "take": READ,
    "update": PLACE, "concat": PLACE, "unwindow": PLACE,
}  # fmt: skip


def role_of(op: Operation) -> str:
    """What an op is to a kernel. A reshape that needs // or % is an ALIAS: the same memory under another shape."""
    stanza = stanza_of(op)
    if stanza is None:
        return OPAQUE
    family = stanza.family
    if family in _FAMILIES:
        return family
    if family == "view":
        if stanza.is_placement:
            return PLACED if _is_placed(op, stanza.name) else PLACE
        return VIEW if _is_affine(op) else ALIAS
    role = _IRREGULAR.get(stanza.name, OPAQUE)
    return PLACED if role == PLACE and _is_placed(op, stanza.name) else role


def widens_bytes(op: Operation) -> bool:
    """Whether an op makes integers of 32 bits of bytes, which processors multiply as they are."""
    if not isinstance(op, BookOp) or stanza_of(op).name != "cast":
        return False
    return type_of(op.operands[0])[1] in (int8, uint8) and type_of(op.results[0])[1] is int32


def _is_placed(op: Operation, name: str) -> bool:
    """Whether the only reader is an update that writes over this, or pads all of what this puts side by side."""
    value = op.results[0]
    if not value.has_one_use():
        return False
    use = next(iter(value.uses))
    reader = use.operation
    if use.index or not isinstance(reader, BookOp) or reader.parent is not op.parent or name == "unwindow":
        return False
    if reader.op_name == "update":
        return not _is_deep(op)
    return name == "concat" and stanza_of(reader).is_placement and reader.op_name == "pad" and not _crops(reader)


def _is_deep(op: Operation) -> bool:
    """Whether it writes over so many others already that one kernel for all would be too long."""
    for _ in range(MOST_PLACED):
        below = op.operands[0].owner
        if not isinstance(below, BookOp) or below.op_name != "update":
            return False
        op = below
    return True


def _crops(pad: BookOp) -> bool:
    low, high, _, _ = attrs_of(pad)
    return any(n < 0 for n in (*low, *high))


def placed_values(op: Operation) -> Iterator[SSAValue]:
    """What a placement writes, the first first: its operands, or what these place; nothing for a constant that is written over."""
    for k, value in enumerate(op.operands):
        role = role_of(value.owner) if isinstance(value.owner, Operation) and not k else None
        if role == PLACED:
            yield from placed_values(value.owner)
        elif not is_background(op, k):
            yield value


def is_background(op: Operation, operand: int) -> bool:
    """Whether an operand of a placement is one value everywhere, and written over."""
    value = op.operands[operand]
    return not operand and len(op.operands) > 1 and stanza_of(op).name == "update" and isinstance(value.owner, BookOp) and value.owner.op_name == "full"


class _View:
    """What is known of views with these types and attributes. indices: where they read, by where their results are read."""

    __slots__ = ("held", "shape", "out", "attrs", "affine", "indices")

    def __init__(self, held: tuple[Attribute, Attribute], attrs: tuple) -> None:
        self.held, self.attrs = held, attrs  # kept alive: they are known by where they are
        self.shape, self.out = held[0].get_shape(), held[1].get_shape()  # type: ignore[attr-defined]  # TensorTypes
        self.affine: bool | None = None
        self.indices: dict[tuple, tuple[Index, ...]] = {}


_VIEWS: dict[tuple, _View] = {}
_MOST_VIEWS, _MOST_INDICES = 1 << 12, 1 << 10


def _view_of(op: Operation) -> _View:
    held, attrs = (op.operands[0].type, op.results[0].type), attrs_of(op)  # type: ignore[arg-type]  # a book op
    key = (op.name, id(held[0]), id(held[1]), id(attrs))
    found = _VIEWS.get(key)
    if found is None:
        if len(_VIEWS) >= _MOST_VIEWS:
            _VIEWS.clear()
        found = _VIEWS[key] = _View(held, attrs)
    return found


def _is_affine(op: Operation) -> bool:
    view = _view_of(op)
    if view.affine is None:
        try:
            view_index(op, loop_dims(view.out)[1])
            view.affine = True
        except NotAffine:
            view.affine = False
    return view.affine


_SHAPES: dict[int, tuple[Attribute, Shape]] = {}
_MOST_SHAPES = 1 << 12


def shape_of(value: SSAValue) -> Shape:
    """The shape of a tensor value."""
    kind = value.type
    known = _SHAPES.get(id(kind))
    if known is None:  # the entry keeps its type alive, so an id means the same type
        if len(_SHAPES) >= _MOST_SHAPES:
            _SHAPES.clear()
        known = _SHAPES[id(kind)] = kind, kind.get_shape()  # type: ignore[attr-defined]  # a TensorType
    return known[1]


def size_of_value(value: SSAValue) -> int:
    """Number of elements of a tensor value."""
    return size_of(shape_of(value))


def view_index(op: Operation, index: tuple[Index, ...]) -> tuple[Index, ...]:
    """The index a view reads its operand at, for an index of its result. NotAffine if it needs // or %."""
    view = _view_of(op)
    key = tuple([(i.terms, i.const, i.sizes) if isinstance(i, Linear) else i for i in index])
    found = view.indices.get(key)
    if found is None:
        found = tuple(stanza_of(op).index_map(view.shape, view.out, view.attrs, index)[0])
        if not any_symbolic((*view.shape, *view.out)):  # else what an answer relies on is noted each time
            if len(view.indices) >= _MOST_INDICES:
                view.indices.clear()
            view.indices[key] = found
    return found


def read_split(op: Operation, index: tuple[Index, ...]) -> tuple[tuple[Index, ...], int]:
    """For an op that reads through an index tensor: where it reads that, and the axis the element found selects.

    gather: the index tensor has the result's shape. take: its dims stand in the place of the axis.
    """
    (axis,) = attrs_of(op)
    if stanza_of(op).name == "gather":
        return index, axis
    rank = len(shape_of(op.operands[1]))
    return index[axis : axis + rank], axis


def read_source(op: Operation, index: tuple[Index, ...], found: SSAValue) -> tuple[Index | SSAValue, ...]:
    """The index into the table of such an op, with `found` at the axis."""
    (axis,) = attrs_of(op)
    after = axis + (1 if stanza_of(op).name == "gather" else len(shape_of(op.operands[1])))
    return (*index[:axis], found, *index[after:])


ROW_LIMIT = 64 * 1024  # elements of a row that later stages of its kernel read again
FEW_ROWS, SMALL_DOMAIN = 4, 32 * 1024  # fewer rows than this only when there is little to do


def without_ones(shape: Iterable[int]) -> Shape:
    """The sizes that have a loop."""
    return tuple(d for d in shape if d != 1)


def fold_of_rows(op: Operation) -> tuple[Shape, Shape] | None:
    """The outer loops and those of a row, for a fold of trailing dims whose rows fit in a cache; else None."""
    shape, axes = shape_of(op.operands[0]), attrs_of(op)[0]  # type: ignore[arg-type]  # a book op
    outer = without_ones(d for k, d in enumerate(shape) if k not in axes)
    inner = without_ones(d for k, d in enumerate(shape) if k in axes)
    rows, row = estimate(size_of(outer)), estimate(size_of(inner))
    if outer + inner != without_ones(shape) or not outer or not inner or row > ROW_LIMIT:
        return None
    if any(d != 1 and k not in axes for k, d in enumerate(shape) if k > min(axes)):
        return None
    return (outer, inner) if rows >= FEW_ROWS or rows * row <= SMALL_DOMAIN else None


def stage_roots(block: Block) -> list[Operation]:
    """The stages among the ops of a kernel: folds, contractions, placements, what is marked or yielded."""
    last = block.last_op
    kept = set() if last is None else set(last.operands)

    def is_stage(op: Operation) -> bool:
        return "kernel.stage" in op.attributes or op.results[0] in kept or role_of(op) not in INLINE

    return [op for op in block.ops if op is not last and is_stage(op)]


class Domain(NamedTuple):
    """The loops of a stage, or of one part of it: sizes, and the index at which each operand is read."""

    sizes: tuple[int, ...]
    reads: tuple[tuple[SSAValue, tuple[Index, ...]], ...]


def stage_domains(op: Operation, role: str) -> list[Domain]:
    """The loops of a stage: one domain, or several one after the other (concat, update).

    An INLINE op as a stage is read as its own result.
    """
    if role in INLINE:
        sizes, index = loop_dims(shape_of(op.results[0]))
        return [Domain(sizes, ((op.results[0], index),))]
    if role == CONTRACT:
        return [contraction_domain(op)]
    if role == FOLD:
        sizes, index = loop_dims(shape_of(op.operands[0]))
        return [Domain(sizes, tuple((operand, index) for operand in op.operands))]
    domains = []
    for operand in placed_values(op):
        sizes, index = loop_dims(shape_of(operand))
        domains.append(Domain(sizes, ((operand, index),)))
    return domains


def contraction_domain(op: Operation) -> Domain:
    """Loops of a contraction: parallel ones in the result's order, then the reductions; none of size 1."""
    found = stanza_of(op).contraction(tuple(type_of(v) for v in op.operands), attrs_of(op))
    names = [n for n in (*found.parallel, *found.reduction) if found.sizes[n] != 1]
    sizes = tuple(found.sizes[n] for n in names)
    place = {n: k for k, n in enumerate(names)}

    def linear(forms: tuple[dict, ...]) -> tuple[Index, ...]:
        return tuple(_linear(form, place, sizes) for form in forms)

    reads = zip(op.operands, map(linear, found.operands), strict=True)
    return Domain(sizes, tuple(reads))


def _linear(form: dict, place: dict[str, int], sizes: tuple[int, ...]) -> Index:
    terms = tuple(sorted((place[n], c) for n, c in form.items() if n != 1 and n in place))
    const = form.get(1, 0)
    return Linear(terms, const, sizes) if terms else const


Read = tuple[SSAValue, "tuple[Index, ...] | None"]


Seen = dict["tuple[Index, ...] | None", set[SSAValue]]
"""Which values were met at an index."""


def leaf_reads(
    domain: Domain, is_leaf: Callable[[SSAValue], bool], root: SSAValue | None = None, seen: Seen | None = None
) -> list[Read]:
    """Every value a stage reads from memory, with the index; None for a table read at computed places.

    is_leaf: True for values that are in memory. root: an INLINE stage's own value, which is not read. seen: what other domains were asked for
    already, which is left out.
    """
    found: dict[Read, None] = {}
    met: Seen = {} if seen is None else seen
    todo = [(value, index, met.setdefault(index, set())) for value, index in domain.reads]
    while todo:
        value, index, here = todo.pop()  # an expression of many ops has few indices, which take long to compare
        if value in here:
            continue
        here.add(value)
        if value is not root and is_leaf(value):
            found[value, index] = None
            continue
        op = value.owner
        assert isinstance(op, Operation)
        role = role_of(op)
        if role == EACH:
            todo += [(operand, index, here) for operand in op.operands]
        elif role == VIEW:
            inner = view_index(op, index)
            todo.append((op.operands[0], inner, met.setdefault(inner, set())))
        elif role == READ:
            found[op.operands[0], None] = None
            inner = read_split(op, index)[0]
            todo.append((op.operands[1], inner, met.setdefault(inner, set())))
    return list(found)
