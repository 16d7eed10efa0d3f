"""Building one stage of a kernel: reads become inputs with index maps, the expression becomes the body."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from xdsl.dialects.builtin import (
    AffineMapAttr,
    ArrayAttr,
    StringAttr,
    TensorType,
    f32,
)
from xdsl.dialects.linalg.attrs import IteratorTypeAttr
from xdsl.dialects.linalg.ops import GenericOp, YieldOp
from xdsl.dialects.tensor import EmptyOp, ExtractOp, ExtractSliceOp, InsertSliceOp
from xdsl.ir import Attribute, Block, Region, SSAValue
from xdsl.ir.affine import AffineMap

from ..dialects.attributes import dimensions, integers, segments
from ..dialects.ops import BookOp, attrs_of, stanza_of
from ..passes.access import EACH, READ, VIEW, read_source, read_split, role_of, shape_of, view_index
from ..passes.linear_index import Index, Linear, affine
from ..passes.placement import Box, covers
from .scalar_body import ScalarBody

IndexTuple = tuple[Index, ...]

_PARALLEL = IteratorTypeAttr.parallel()
_REDUCTION = IteratorTypeAttr.reduction()
_MAPS: dict[tuple, AffineMapAttr] = {}


def map_attribute(loops: int, index: IndexTuple) -> AffineMapAttr:
    """The affine map of an index over some loops."""
    key = (loops, index)
    if key not in _MAPS:
        _MAPS[key] = AffineMapAttr(AffineMap(loops, 0, tuple(affine(i) for i in index)))
    return _MAPS[key]


def tensor_type(element: Attribute, shape: Sequence[int]) -> TensorType:
    """A static tensor type."""
    return TensorType(element, dimensions(shape))


def element_of(tensor: SSAValue) -> Attribute:
    """The element type of a tensor value."""
    return tensor.type.get_element_type()  # type: ignore[attr-defined]  # a TensorType


def empty(block: Block, tensor: Attribute) -> SSAValue:
    """A tensor.empty at the end of the block."""
    op = EmptyOp.create(result_types=[tensor])
    block.add_op(op)
    return op.results[0]


class Stage:
    """One linalg.generic in the making, at the end of a kernel's block.

    sizes: the loops. is_leaf: True for values of the old region that `values` maps to tensors of the new one.
    """

    def __init__(
        self,
        block: Block,
        sizes: tuple[int, ...],
        values: dict[SSAValue, SSAValue],
        reductions: frozenset[int] = frozenset(),
    ) -> None:
        self.block = block
        self.sizes = sizes
        self.values = values
        self.reductions = reductions
        self.entry = Block()
        self.body = ScalarBody(self.entry)
        self.inputs: list[SSAValue] = []
        self.input_maps: list[IndexTuple] = []
        self.outputs: list[SSAValue] = []
        self.output_maps: list[IndexTuple] = []
        self.wholes: list[tuple[SSAValue, Box] | None] = []
        self.yields: list[SSAValue] = []
        self.local: dict[SSAValue, tuple[IndexTuple, SSAValue]] = {}  # results of this very stage
        self._known: dict[tuple[SSAValue, IndexTuple], SSAValue] = {}
        self._arguments: dict[tuple[SSAValue, IndexTuple], SSAValue] = {}

    # reading

    def read(self, value: SSAValue, index: IndexTuple) -> SSAValue:
        """The element of a value of the old region at an index over this stage's loops, as a scalar."""
        key = (value, index)
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = self._read(value, index)
        return found

    def _read(self, value: SSAValue, index: IndexTuple) -> SSAValue:
        here = self.local.get(value)
        if here is not None and here[0] == index:
            return here[1]
        leaf = self.values.get(value)
        return self._load(leaf, index) if leaf is not None else self.expand(value, index)

    def expand(self, value: SSAValue, index: IndexTuple) -> SSAValue:
        """The same, computed by the op that makes the value."""
        op = value.owner
        assert isinstance(op, BookOp)
        role = role_of(op)
        element = element_of(value)
        if role == EACH:
            return self._each(op, index, element)
        if role == VIEW:
            return self.read(op.operands[0], view_index(op, index))
        if role == READ:
            return self._table(op, index, element)
        return self._source(op, index, element)

    def _each(self, op: BookOp, index: IndexTuple, element: Attribute) -> SSAValue:
        stanza = stanza_of(op)
        env: dict[str, Any] = {p.name: a for p, a in zip(stanza.attributes, attrs_of(op), strict=True)}
        env |= {p.name: self.read(v, index) for p, v in zip(stanza.tensors, op.operands, strict=True)}
        return self.body.evaluate(stanza.scalar, env, element)

    def _source(self, op: BookOp, index: IndexTuple, element: Attribute) -> SSAValue:
        attrs = attrs_of(op)
        if stanza_of(op).name == "full":
            return self.body.constant(attrs[1], element)
        return self.body.index_as(index[attrs[1]], element)

    def _table(self, op: BookOp, index: IndexTuple, element: Attribute) -> SSAValue:
        table, where = op.operands
        at, axis = read_split(op, index)
        found = self.body.as_index(self.read(where, at), shape_of(table)[axis])
        source = read_source(op, index, found)
        places = [p if isinstance(p, SSAValue) else self.body.index(p) for p in source]
        extract = ExtractOp.create(operands=[self.values[table], *places], result_types=[element])
        self.entry.add_op(extract)
        return extract.results[0]

    def _load(self, tensor: SSAValue, index: IndexTuple) -> SSAValue:
        key = (tensor, index)
        if key not in self._arguments:
            element = element_of(tensor)
            self._arguments[key] = self.entry.insert_arg(element, len(self.inputs))
            self.inputs.append(self._fitting(tensor, index))
            self.input_maps.append(index)
        return self._arguments[key]

    def _fitting(self, tensor: SSAValue, index: IndexTuple) -> SSAValue:
        """The tensor, or its slice as large as the loops where a dim is read by a loop that is shorter."""
        shape = shape_of(tensor)
        size = tuple(self._reach(i, n) for i, n in zip(index, shape, strict=True))
        if size == shape:
            return tensor
        return slice_of(self.block, tensor, (0,) * len(size), size, (1,) * len(size))

    def _reach(self, index: Index, size: int) -> int:
        dim = index.pure_dim() if isinstance(index, Linear) else None
        return size if dim is None else self.sizes[dim]

    # writing

    def write(self, target: SSAValue, index: IndexTuple, value: SSAValue, box: Box | None = None) -> None:
        """One more result: `value` goes to `target`, or to a box of it, at `index`."""
        shape = shape_of(target)
        if box is None:
            size = tuple(self._reach(i, n) for i, n in zip(index, shape, strict=True))
            box = Box(0, (), size, (0,) * len(size), (1,) * len(size))
        if covers(box, shape):
            self.wholes.append(None)
        else:
            self.wholes.append((target, box))
            target = slice_of(self.block, target, box.offset, box.size, box.stride)
        self.outputs.append(target)
        self.output_maps.append(index)
        self.yields.append(value)

    def accumulator(self, element: Attribute) -> SSAValue:
        """A block argument for the next output (call `write` right after with that output)."""
        return self.entry.insert_arg(element, len(self.entry.args))

    def finish(self, origin: Attribute | None) -> list[SSAValue]:
        """Put the generic at the end of the kernel's block; the tensors written, whole."""
        self._cover_loops()
        for k in range(len(self.entry.args) - len(self.inputs), len(self.outputs)):
            element = element_of(self.outputs[k])
            self.entry.insert_arg(element, len(self.entry.args))
        self.entry.add_op(YieldOp.create(operands=self.yields))
        self.body.drop_unread()
        maps = [map_attribute(len(self.sizes), i) for i in (*self.input_maps, *self.output_maps)]
        iterators = [_REDUCTION if d in self.reductions else _PARALLEL for d in range(len(self.sizes))]
        generic = GenericOp.create(
            operands=[*self.inputs, *self.outputs],
            result_types=[t.type for t in self.outputs],
            properties={
                "indexing_maps": ArrayAttr(maps),
                "iterator_types": ArrayAttr(iterators),
                "operandSegmentSizes": segments(len(self.inputs), len(self.outputs)),
            },
            attributes={"origin": origin} if isinstance(origin, StringAttr) else {},
            regions=[Region(self.entry)],
        )
        self.block.add_op(generic)
        latest: dict[SSAValue, SSAValue] = {}  # a whole that boxes of are several results
        found = []
        for made, placed in zip(generic.results, self.wholes, strict=True):
            if placed is not None:
                whole, box = placed
                made = latest[whole] = put_back(self.block, made, latest.get(whole, whole), box)
            found.append(made)
        return found

    def _cover_loops(self) -> None:
        """Loops that no operand has alone get an empty tensor of their shape, as in MLIR's pooling ops."""
        indices = [i for index in (*self.input_maps, *self.output_maps) for i in index]
        shown = {i.pure_dim() for i in indices if isinstance(i, Linear)}
        hidden = [d for d in range(len(self.sizes)) if d not in shown]
        if not hidden:
            return
        window = empty(self.block, tensor_type(f32, [self.sizes[d] for d in hidden]))
        self.entry.insert_arg(f32, len(self.inputs))
        self.inputs.append(window)
        self.input_maps.append(tuple(Linear(((d, 1),), 0, self.sizes) for d in hidden))


def _slice_properties(
    tensors: int, offset: Sequence[int], size: Sequence[int], stride: Sequence[int]
) -> dict[str, Attribute]:
    return {
        "operandSegmentSizes": segments(*[1] * tensors, 0, 0, 0),
        "static_offsets": integers(offset),
        "static_sizes": integers(size),
        "static_strides": integers(stride),
    }


def slice_of(
    block: Block, tensor: SSAValue, offset: Sequence[int], size: Sequence[int], stride: Sequence[int]
) -> SSAValue:
    """tensor.extract_slice at the end of the block."""
    element = element_of(tensor)
    op = ExtractSliceOp.create(
        operands=[tensor],
        result_types=[tensor_type(element, size)],
        properties=_slice_properties(1, offset, size, stride),
    )
    block.add_op(op)
    return op.results[0]


def put_back(block: Block, part: SSAValue, whole: SSAValue, box: Box) -> SSAValue:
    """tensor.insert_slice at the end of the block."""
    op = InsertSliceOp.create(
        operands=[part, whole],
        result_types=[whole.type],
        properties=_slice_properties(2, box.offset, box.size, box.stride),
    )
    block.add_op(op)
    return op.results[0]
