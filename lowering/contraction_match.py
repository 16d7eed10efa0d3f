"""Reads a buffered kernel as a contraction with an epilogue: accesses are offsets and strides per loop.

What is recognised, from maps, sizes and strides alone:

    linalg.fill 0 -> T                          (or a generic that yields the constant)
    T[..] += left[..] * right[..]               one linalg.generic, all accesses linear in the loop dims
    out[..] = f(T[..], others[..])              any number of elementwise generics over T's index
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from xdsl.dialects import func, memref
from xdsl.dialects.builtin import IndexType, MemRefType
from xdsl.dialects.linalg.ops import GenericOp, IndexOp
from xdsl.ir import Attribute, Block, BlockArgument, Operation, SSAValue
from xdsl.ir.affine import (
    AffineBinaryOpExpr,
    AffineBinaryOpKind,
    AffineConstantExpr,
    AffineDimExpr,
    AffineExpr,
    AffineMap,
)

from ..dialects.sizes import estimate
from .contraction_body import filled_number, is_elementwise, product_of, read_by, written_by
from .zero_margins import Box, noted

_INDEX = IndexType()


@dataclass(frozen=True)
class Access:
    """Memory read or written at ``offset + sum(stride[d] * index[d])`` elements from the start of
    ``buffer``.
    """

    buffer: SSAValue | None
    element: Attribute
    offset: int
    strides: tuple[int, ...]
    """buffer: None for a position, which is a number instead of a place in memory (``linalg.index``)."""

    def key(self) -> tuple[object, ...]:
        """Equal for accesses of the same element."""
        return id(self.buffer), self.offset, self.strides


@dataclass(frozen=True)
class Stage:
    """One elementwise epilogue step. Inputs are accesses, or the number of an earlier value (0:
    the contraction's result).
    """

    body: Block
    inputs: tuple[Access | int, ...]
    outputs: tuple[Access, ...]
    positions: tuple[Access, ...] = ()
    """What ``linalg.index`` of each loop is."""


@dataclass(frozen=True)
class Factor:
    """One operand of the product: where it is, and the casts its element goes through."""

    access: Access
    casts: tuple[Operation, ...]


@dataclass(frozen=True)
class Contraction:
    """The kernel as the scheduler sees it. Loop dims of size 1 are gone;
    ``parallel`` and ``reduction`` number the others.
    """

    sizes: tuple[int, ...]
    parallel: tuple[int, ...]
    reduction: tuple[int, ...]
    left: Factor
    right: Factor
    result: Access
    sum_type: Attribute
    stages: tuple[Stage, ...]
    outputs: tuple[Access, ...]
    consumed: tuple[Operation, ...]
    origin: Attribute | None
    limits: tuple[tuple[Access, int], ...] = ()
    """Positions, and how far each goes, outside of which a factor is zero: such steps of the reduction add nothing."""


def asked_positions(stage: Stage) -> list[Access]:
    """The positions the body of a stage asks for."""
    return [stage.positions[op.dim.value.data] for op in stage.body.ops if isinstance(op, IndexOp)]


def match_contraction(kernel: func.FuncOp) -> Contraction | None:
    """The kernel's contraction; None when it has none, several,
    or one of a form the scheduler does not take.
    """
    body = kernel.body.block
    found = [op for op in body.ops if isinstance(op, GenericOp) and product_of(op) is not None]
    return _Matcher(body, found[0], noted(kernel)).match() if len(found) == 1 else None


class _Matcher:
    def __init__(self, body: Block, product: GenericOp, margins: Mapping[SSAValue, Box]) -> None:
        self.body = body
        self.product = product
        self.margins = margins
        self.consumed: list[Operation] = []

    def match(self) -> Contraction | None:
        sizes = loop_sizes(self.product)
        accesses = [access_of(v, m, len(sizes or ())) for v, m in _operands(self.product)]
        if sizes is None or any(a is None for a in accesses):
            return None
        product = product_of(self.product)
        assert product is not None
        left, right, result = accesses[product.left], accesses[product.right], accesses[-1]
        kept = [d for d, n in enumerate(sizes) if n != 1]
        kinds = [kind.data.value for kind in self.product.iterator_types]
        parallel = tuple(i for i, d in enumerate(kept) if kinds[d] == "parallel")
        reduction = tuple(i for i, d in enumerate(kept) if kinds[d] == "reduction")
        if 0 in sizes or len(parallel) + len(reduction) != len(kept) or not self._starts_from_zero(result):
            return None
        left, right, result = (_restricted(a, kept) for a in (left, right, result))
        if not _is_injective(result, [(sizes[kept[d]], d) for d in parallel]):
            return None
        if any(result.strides[d] for d in reduction):
            return None
        shape = tuple(sizes[d] for d in kept)
        stages, outputs = self._epilogue(shape, parallel, result)
        if stages is None:
            return None
        return Contraction(
            shape, parallel, reduction,
            Factor(left, product.left_casts), Factor(right, product.right_casts),
            result, product.sum_type, tuple(stages), tuple(outputs), tuple(self.consumed),
            self.product.attributes.get("origin"), tuple(self._limits((product.left, product.right), kept, reduction)),
        )  # fmt: skip

    def _limits(self, factors: Sequence[int], kept: Sequence[int], reduction: Sequence[int]) -> Iterator[tuple[Access, int]]:
        """What the factors' zero margins say about the reduction: positions that one of its loops moves."""
        for number in factors:
            value, map = _operands(self.product)[number]
            box = self.margins.get(value)
            for expr, size, start, inside in zip(map.results, value.type.get_shape(), *box, strict=True) if box else ():  # type: ignore[attr-defined]  # a memref
                form = linear_form(expr, map.num_dims)
                strides = tuple(form[d] for d in kept) if form and inside < size else ()
                if sum(bool(strides[d]) for d in reduction) == 1 if strides else False:
                    yield Access(None, _INDEX, form[-1] - start, strides), inside  # type: ignore[index]  # strides come from it

    def _starts_from_zero(self, result: Access) -> bool:
        """The last write of the result's buffer before the product fills it with zero."""
        writer = None
        for op in self.body.ops:
            if op is self.product:
                break
            if any(_root(v) is result.buffer for v in written_by(op)):
                writer = op
            elif writer is not None and any(_root(v) is result.buffer for v in read_by(op)):
                return False
        if writer is None or filled_number(writer) != 0:
            return False
        if written_by(writer)[0] is not written_by(self.product)[0]:
            return False
        self.consumed += [writer, self.product]
        return True

    def _epilogue(
        self, shape: Sequence[int], parallel: Sequence[int], result: Access
    ) -> tuple[list[Stage] | None, list[Access]]:
        values = [result]
        stages: list[Stage] = []
        outputs: list[Access] = []
        op = self.product.next_op
        while op is not None:
            stage = self._stage(op, shape, parallel, values) if isinstance(op, GenericOp) else None
            if stage is not None:
                stages.append(stage)
                values += stage.outputs
                outputs += stage.outputs
                self.consumed.append(op)
            elif any(_root(v) is known.buffer for v in (*read_by(op), *written_by(op)) for known in values):
                return None, []
            op = op.next_op
        # later stages forward values; only what somebody outside the kernel, or nobody inside it, reads is
        # written
        kept = [a for a in outputs if isinstance(a.buffer, BlockArgument)]
        if isinstance(result.buffer, BlockArgument) or not stages:
            kept.insert(0, result)
        return (stages, kept) if all(isinstance(a.buffer, BlockArgument) for a in kept) else (None, [])

    def _stage(
        self, op: GenericOp, shape: Sequence[int], parallel: Sequence[int], values: list[Access]
    ) -> Stage | None:
        sizes = loop_sizes(op)
        if sizes is None or not is_elementwise(op.body.block, len(op.inputs)):
            return None
        if any(kind.data.value != "parallel" for kind in op.iterator_types):
            return None
        accesses = [access_of(v, m, len(sizes)) for v, m in _operands(op)]
        places = (_correspondence(sizes, accesses, shape, parallel, value) for value in values)
        place = next((found for found in places if found is not None), None)
        if place is None or any(a is None for a in accesses):
            return None
        moved = [_moved(a, place, len(shape)) for a in accesses if a is not None]
        inputs = [_number_of(a, values) for a in moved[: len(op.inputs)]]
        if any(i is None for i in inputs):
            return None
        positions = tuple(_position(p, len(shape)) for p in place)
        return Stage(op.body.block, tuple(inputs), tuple(moved[len(op.inputs) :]), positions)  # type: ignore[arg-type]  # no None


# -- accesses --------------------------------------------------------------------------------------


def access_of(value: SSAValue, map: AffineMap, dims: int) -> Access | None:
    """The access ``value[map(dims)]``; None when it is not linear or a stride is not known."""
    place = placed(value)
    if place is None:
        return None
    root, offset, steps = place
    strides = [0] * dims
    for step, expr in zip(steps, map.results, strict=True):
        form = linear_form(expr, dims)
        if form is None:
            return None
        offset += step * form[dims]
        for d in range(dims):
            strides[d] += step * form[d]
    assert isinstance(value.type, MemRefType)
    return Access(root, value.type.element_type, offset, tuple(strides))


def placed(value: SSAValue) -> tuple[SSAValue, int, tuple[int, ...]] | None:
    """A memref value as (the argument or allocation it lies in, offset in elements, strides)."""
    kind = value.type
    if not isinstance(kind, MemRefType):
        return None
    owner = value.owner
    if isinstance(owner, memref.SubviewOp):
        inner = placed(owner.source)
        lows, steps = owner.static_offsets.get_values(), owner.static_strides.get_values()
        if inner is None or owner.offsets or owner.strides or len(lows) != len(kind.shape.data):
            return None
        offset = inner[1] + sum(low * s for low, s in zip(lows, inner[2], strict=True))
        return inner[0], offset, tuple(step * s for step, s in zip(steps, inner[2], strict=True))
    if isinstance(owner, memref.ReinterpretCastOp):
        inner = placed(owner.source)
        if inner is None or owner.offsets or owner.sizes or owner.strides:
            return None
        return (
            inner[0],
            inner[1] + owner.static_offsets.get_values()[0],
            tuple(owner.static_strides.get_values()),
        )
    if not isinstance(value, BlockArgument) and not isinstance(owner, memref.AllocaOp):
        return None
    strides = kind.get_strides()
    if strides is None or kind.get_offset() != 0 or any(s is None for s in strides):
        return None
    return value, 0, tuple(strides)  # type: ignore[arg-type]  # checked above


def _root(value: SSAValue) -> SSAValue:
    """The argument or allocation a memref value lies in."""
    while isinstance(owner := value.owner, (memref.SubviewOp, memref.ReinterpretCastOp, memref.CastOp)):
        value = owner.operands[0]
    return value


def linear_form(expr: AffineExpr, dims: int) -> list[int] | None:
    """Coefficients of the dims and, last, the constant; None when the expression is not linear."""
    form = [0] * (dims + 1)
    if isinstance(expr, AffineDimExpr):
        form[expr.position] = 1
        return form
    if isinstance(expr, AffineConstantExpr):
        form[dims] = expr.value
        return form
    if not isinstance(expr, AffineBinaryOpExpr):
        return None
    a, b = linear_form(expr.lhs, dims), linear_form(expr.rhs, dims)
    if a is None or b is None:
        return None
    if expr.kind is AffineBinaryOpKind.Add:
        return [x + y for x, y in zip(a, b, strict=True)]
    if expr.kind is not AffineBinaryOpKind.Mul or (any(a[:dims]) and any(b[:dims])):
        return None
    if any(b[:dims]):
        a, b = b, a
    return [x * b[dims] for x in a]


def loop_sizes(op: GenericOp) -> list[int] | None:
    """The extent of every loop dim, from the operands that have it alone in a dimension;
    None when one is not known.
    """
    sizes: dict[int, int] = {}
    dims = op.indexing_maps.data[0].data.num_dims
    for value, map in _operands(op):
        if not isinstance(value.type, MemRefType):
            return None
        for expr, size in zip(map.results, value.type.get_shape(), strict=True):
            if isinstance(expr, AffineDimExpr):
                sizes[expr.position] = size
    return [sizes[d] for d in range(dims)] if len(sizes) == dims else None


def _operands(op: GenericOp) -> list[tuple[SSAValue, AffineMap]]:
    return [(v, m.data) for v, m in zip(op.operands, op.indexing_maps.data, strict=True)]


def _restricted(access: Access | None, kept: Sequence[int]) -> Access:
    assert access is not None
    return Access(access.buffer, access.element, access.offset, tuple(access.strides[d] for d in kept))


def _is_injective(access: Access, dims: list[tuple[int, int]]) -> bool:
    """No two indices meet in one element (enough: sorted by stride, each dim steps over all smaller ones)."""
    reach = 1
    for stride, size in sorted(((abs(access.strides[d]), n) for n, d in dims), key=estimate):
        if stride < reach:
            return False
        reach = stride * (size - 1) + reach
    return True


def _correspondence(
    sizes: Sequence[int],
    accesses: Sequence[Access | None],
    shape: Sequence[int],
    parallel: Sequence[int],
    result: Access,
) -> list[int | None] | None:
    """For each loop dim of an epilogue the contraction's dim it is (None: size 1),
    found where it reads the result (the sum, or what an earlier epilogue made of it).
    """
    for access in accesses:
        if access is None or access.buffer is not result.buffer or access.offset != result.offset:
            continue
        by_stride = {result.strides[d]: d for d in parallel}
        place = [None if n == 1 else by_stride.get(s, -1) for n, s in zip(sizes, access.strides, strict=True)]
        named = [p for p in place if p is not None]
        if sorted(named) != list(parallel):
            continue
        if all(p is None or shape[p] == n for p, n in zip(place, sizes, strict=True)):
            return place
    return None


def _position(dim: int | None, dims: int) -> Access:
    """The index along a dim of the contraction; 0 where the loop has one step."""
    return Access(None, _INDEX, 0, tuple(int(d == dim) for d in range(dims)))


def _moved(access: Access, place: Sequence[int | None], dims: int) -> Access:
    strides = [0] * dims
    for p, s in zip(place, access.strides, strict=True):
        if p is not None:
            strides[p] = s
    return Access(access.buffer, access.element, access.offset, tuple(strides))


def _number_of(access: Access, values: Sequence[Access]) -> Access | int | None:
    """An earlier value when the access reads one, the access itself when its buffer is not written here,
    else None.
    """
    for number in range(len(values) - 1, -1, -1):
        if values[number].key() == access.key():
            return number
    return None if any(v.buffer is access.buffer for v in values) else access
