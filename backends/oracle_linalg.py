"""What linalg.generic and the tensor ops of kernels mean, on numpy arrays."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided
from xdsl.dialects.builtin import AffineMapAttr
from xdsl.dialects.linalg import ops as linalg
from xdsl.ir import Block, Operation, SSAValue
from xdsl.ir.affine import (
    AffineBinaryOpExpr,
    AffineBinaryOpKind,
    AffineConstantExpr,
    AffineDimExpr,
    AffineExpr,
)

from ..dialects.errors import ShapeError, UnsupportedError
from ..dialects.ops import ScanOp
from .oracle_scalars import evaluate_scalar, numpy_type

Array = np.ndarray
Env = dict[SSAValue, Array]

CHUNK = 1 << 24
"""Largest number of iteration points evaluated at once in a reduction."""


@dataclass(frozen=True)
class Linear:
    """An index expression as constant plus a coefficient per loop dim."""

    constant: int
    coefficients: dict[int, int]


def linear(e: AffineExpr) -> Linear:
    """UnsupportedError for mod and division, which no kernel map has."""
    if isinstance(e, AffineConstantExpr):
        return Linear(e.value, {})
    if isinstance(e, AffineDimExpr):
        return Linear(0, {e.position: 1})
    if isinstance(e, AffineBinaryOpExpr):
        a, b = linear(e.lhs), linear(e.rhs)
        if e.kind is AffineBinaryOpKind.Add:
            dims = {
                d: a.coefficients.get(d, 0) + b.coefficients.get(d, 0)
                for d in (*a.coefficients, *b.coefficients)
            }
            return Linear(a.constant + b.constant, dims)
        if e.kind is AffineBinaryOpKind.Mul and not (a.coefficients and b.coefficients):
            factor, other = (b.constant, a) if not b.coefficients else (a.constant, b)
            return Linear(other.constant * factor, {d: c * factor for d, c in other.coefficients.items()})
    raise UnsupportedError(f"the oracle reads linear index maps only, not {e}")


def loop_sizes(
    maps: Sequence[list[Linear]], shapes: Sequence[tuple[int, ...]], count: int
) -> tuple[int, ...]:
    """Extent of every loop dim: the size of an operand dim it indexes alone."""
    sizes: list[int | None] = [None] * count
    for exprs, shape in zip(maps, shapes, strict=True):
        for e, size in zip(exprs, shape, strict=True):
            if e.constant == 0 and list(e.coefficients.values()) == [1]:
                (dim,) = e.coefficients
                sizes[dim] = size
    if None in sizes:
        raise ShapeError(f"no operand of a linalg.generic gives the size of its loop dim {sizes.index(None)}")
    return tuple(size or 0 for size in sizes)


def view_over_loops(array: Array, exprs: list[Linear], sizes: tuple[int, ...]) -> Array:
    """The operand as an array over the loop dims (size 1 where it does not depend); shares memory."""
    strides = [0] * len(sizes)
    for axis, e in enumerate(exprs):
        low = e.constant + sum(min(c * (sizes[d] - 1), 0) for d, c in e.coefficients.items())
        high = e.constant + sum(max(c * (sizes[d] - 1), 0) for d, c in e.coefficients.items())
        if 0 not in sizes and not 0 <= low <= high < array.shape[axis]:
            raise ShapeError(
                f"a linalg.generic reads indices {low} to {high} of a dimension of size {array.shape[axis]}"
            )
        for d, c in e.coefficients.items():
            strides[d] += c * array.strides[axis]
    used = {d for e in exprs for d, c in e.coefficients.items() if c}
    shape = tuple(size if d in used else 1 for d, size in enumerate(sizes))
    if 0 in sizes:
        return np.empty(shape, array.dtype)
    first = array[
        (*(slice(e.constant, None) for e in exprs), ...)
    ]  # where every loop stands at 0; `...` keeps rank 0 a view
    return as_strided(first, shape=shape, strides=strides)


class Generic:
    """One linalg.generic under evaluation."""

    def __init__(self, op: linalg.GenericOp, env: Env) -> None:
        self.op = op
        self.env = env
        self.block: Block = op.body.block
        operands = [env[v] for v in op.operands]
        attributes = list(op.indexing_maps.data)
        self.maps = [[linear(e) for e in a.data.results] for a in attributes if isinstance(a, AffineMapAttr)]
        kinds = [str(kind.data.value) for kind in op.iterator_types.data]
        self.reduction = tuple(i for i, kind in enumerate(kinds) if kind == "reduction")
        self.sizes = loop_sizes(self.maps, [a.shape for a in operands], len(kinds))
        count = len(op.inputs)
        self.outs = [np.array(a, order="C") for a in operands[count:]]
        arrays = [*operands[:count], *self.outs]
        views = [view_over_loops(a, m, self.sizes) for a, m in zip(arrays, self.maps, strict=True)]
        self.inputs, self.accumulators = views[:count], views[count:]

    def run(self) -> list[Array]:
        """The results: the outs operands with everything written."""
        if 0 in self.sizes:
            return self.outs
        if not self.reduction:
            values = self.body(self.inputs, self.accumulators, self.sizes)
            for view, value in zip(self.accumulators, values, strict=True):
                _store(view, value)
        elif not self.contract() and not self.fold():
            self.step_by_step()
        return self.outs

    def body(
        self,
        inputs: Sequence[Array],
        accumulators: Sequence[Array],
        sizes: tuple[int, ...],
        start: tuple[int, ...] = (),
    ) -> list[Array]:
        """The yielded values for all loop points at once; `start`: first index per dim (for linalg.index)."""
        env = dict(self.env)
        env.update(zip(self.block.args, (*inputs, *accumulators), strict=True))
        with np.errstate(all="ignore"):
            for op in self.block.ops:
                if isinstance(op, linalg.YieldOp):
                    return [env[v] for v in op.operands]
                env[op.results[0]] = self.scalar(op, env, sizes, start)
        raise ShapeError("the body of a linalg.generic has no yield")

    def scalar(self, op: Operation, env: Env, sizes: tuple[int, ...], start: tuple[int, ...]) -> Array:
        if op.name == "linalg.index":
            dim = op.properties["dim"].value.data
            first = start[dim] if start else 0
            shape = [1] * len(sizes)
            shape[dim] = sizes[dim]
            return np.arange(first, first + sizes[dim], dtype=np.int64).reshape(shape)
        operands = [env[v] for v in op.operands]
        if op.name == "tensor.extract":
            return operands[0][tuple(operands[1:])]
        value = evaluate_scalar(op, operands)
        if value is None:
            raise UnsupportedError(f"the oracle does not know {op.name} in the body of a linalg.generic")
        return value

    # reductions

    def combiners(self) -> list[tuple[Operation, SSAValue]] | None:
        """Per result the op that joins accumulator and value, and the value. None: the body does more."""
        found = []
        last = self.block.last_op
        for i, value in enumerate(last.operands if last is not None else ()):
            acc = self.block.args[len(self.inputs) + i]
            op = value.owner
            if (
                isinstance(op, Block)
                or op.name not in _UFUNCS
                or acc not in tuple(op.operands)
                or not acc.has_one_use()
            ):
                return None
            if not value.has_one_use() or any(
                e.coefficients.keys() & set(self.reduction) for e in self.maps[len(self.inputs) + i]
            ):
                return None
            found.append((op, next(v for v in op.operands if v is not acc)))
        return found

    def fold(self) -> bool:
        """Reduce with numpy, a slab of the first parallel dim at a time; False: not of that form."""
        combiners = self.combiners()
        if combiners is None:
            return False
        slab = next(
            (d for d in range(len(self.sizes)) if d not in self.reduction and self.sizes[d] > 1), None
        )
        for low, high in _slabs(self.sizes, slab):
            cut = _cut(slab, low, high)
            sizes = self.sizes if slab is None else (*self.sizes[:slab], high - low, *self.sizes[slab + 1 :])
            start = tuple(low if d == slab else 0 for d in range(len(sizes)))
            values = self._joined(combiners, [cut(v) for v in self.inputs], sizes, start)
            for (op, _), view, value in zip(combiners, self.accumulators, values, strict=True):
                ufunc, acc = _UFUNCS[op.name], cut(view)
                whole = np.broadcast_to(value, sizes)
                with np.errstate(all="ignore"):
                    _store(
                        acc,
                        ufunc(acc, ufunc.reduce(whole, axis=self.reduction, keepdims=True, dtype=acc.dtype)),
                    )
        return True

    def _joined(
        self,
        combiners: list[tuple[Operation, SSAValue]],
        inputs: list[Array],
        sizes: tuple[int, ...],
        start: tuple[int, ...],
    ) -> list[Array]:
        """What is joined to each accumulator."""
        skipped = {op for op, _ in combiners}
        env = dict(self.env)
        env.update(zip(self.block.args, inputs, strict=False))
        with np.errstate(all="ignore"):
            for op in self.block.ops:
                if op not in skipped and not isinstance(op, linalg.YieldOp):
                    env[op.results[0]] = self.scalar(op, env, sizes, start)
        return [env[value] for _, value in combiners]

    def contract(self) -> bool:
        """A sum of products of two operands, by matrix multiplication; False: not of that form."""
        combiners = self.combiners()
        if (
            combiners is None
            or len(combiners) != 1
            or combiners[0][0].name not in ("arith.addf", "arith.addi")
        ):
            return False
        product = combiners[0][1].owner
        if isinstance(product, Block) or product.name not in ("arith.mulf", "arith.muli"):
            return False
        factors = [_through_casts(v) for v in product.operands]
        if factors[0] is factors[1] or not all(f in self.block.args[: len(self.inputs)] for f in factors):
            return False
        a, b = (self.inputs[self.block.args.index(f)] for f in factors)
        acc = self.accumulators[0]
        written = {d for d, size in enumerate(acc.shape) if size > 1}
        dims = {d for d, size in enumerate(self.sizes) if size > 1}
        if dims - {d for v in (a, b) for d, size in enumerate(v.shape) if size > 1}:
            return False
        with np.errstate(all="ignore"):
            _store(acc, acc + multiply(a, b, written).astype(acc.dtype))
        return True

    def step_by_step(self) -> None:
        """Any body at all: the reduction points in order, all parallel points at once."""
        points = itertools.product(*(range(self.sizes[d]) for d in self.reduction))
        sizes = tuple(1 if d in self.reduction else size for d, size in enumerate(self.sizes))
        for point in points:
            at = dict(zip(self.reduction, point, strict=True))
            start = tuple(at.get(d, 0) for d in range(len(self.sizes)))

            def here(view: Array, at: dict[int, int] = at) -> Array:
                return view[
                    tuple(
                        slice(at[d], at[d] + 1) if d in at and n > 1 else slice(None)
                        for d, n in enumerate(view.shape)
                    )
                ]

            accumulators = [here(v) for v in self.accumulators]
            values = self.body([here(v) for v in self.inputs], [a.copy() for a in accumulators], sizes, start)
            for view, value in zip(accumulators, values, strict=True):
                _store(view, value)


_UFUNCS: dict[str, np.ufunc] = {
    "arith.addf": np.add, "arith.addi": np.add, "arith.mulf": np.multiply, "arith.muli": np.multiply,
    "arith.maximumf": np.maximum, "arith.minimumf": np.minimum, "arith.maxsi": np.maximum,
    "arith.minsi": np.minimum, "arith.andi": np.bitwise_and, "arith.ori": np.bitwise_or,
    "arith.xori": np.bitwise_xor,
}  # fmt: skip


def multiply(a: Array, b: Array, written: set[int]) -> Array:
    """Sum of a * b over the dims that are not written; both over the loop dims, size 1 where independent."""
    rank = a.ndim
    wide = (
        np.promote_types(np.promote_types(a.dtype, b.dtype), np.float32)
        if a.dtype.kind not in "iu"
        else a.dtype
    )
    a, b = (_sum_alone(x, y, written).astype(wide, copy=False) for x, y in ((a, b), (b, a)))
    in_a, in_b = ({d for d, n in enumerate(x.shape) if n > 1} for x in (a, b))
    batch = sorted(in_a & in_b & written)
    rows, columns, inner = sorted(in_a - in_b), sorted(in_b - in_a), sorted((in_a & in_b) - written)
    left = _grouped(a, (batch, rows, inner))
    right = _grouped(b, (batch, inner, columns))
    product = np.matmul(left, right)
    order = [*batch, *rows, *columns]
    shape = [max(a.shape[d], b.shape[d]) for d in order]
    full = product.reshape(shape).transpose(np.argsort(order)) if order else product.reshape(())
    return full.reshape([max(a.shape[d], b.shape[d]) if d in order else 1 for d in range(rank)])


def _sum_alone(x: Array, other: Array, written: set[int]) -> Array:
    """Sum over dims only this factor depends on and the result does not."""
    axes = tuple(d for d, n in enumerate(x.shape) if n > 1 and other.shape[d] == 1 and d not in written)
    return x.sum(axis=axes, keepdims=True) if axes else x


def _grouped(x: Array, groups: Sequence[list[int]]) -> Array:
    order = [d for group in groups for d in group]
    rest = [d for d in range(x.ndim) if d not in order]
    sizes = [int(np.prod([x.shape[d] for d in group], dtype=np.int64)) for group in groups]
    return x.transpose([*rest, *order]).reshape(sizes)


def _through_casts(value: SSAValue) -> SSAValue:
    while not isinstance(value.owner, Block) and value.owner.name == "arith.extf":
        value = value.owner.operands[0]
    return value


def _store(view: Array, value: Array) -> None:
    view[...] = (
        np.broadcast_to(value, np.broadcast_shapes(view.shape, value.shape))
        if value.shape != view.shape
        else value
    )


def _slabs(sizes: tuple[int, ...], slab: int | None) -> list[tuple[int, int]]:
    if slab is None:
        return [(0, 1)]
    rest = int(np.prod(sizes, dtype=np.int64)) // sizes[slab]
    step = max(1, CHUNK // max(rest, 1))
    return [(low, min(low + step, sizes[slab])) for low in range(0, sizes[slab], step)]


def _cut(slab: int | None, low: int, high: int) -> Callable[[Array], Array]:
    def cut(view: Array) -> Array:
        if slab is None or view.shape[slab] == 1:
            return view
        return view[(slice(None),) * slab + (slice(low, high),)]

    return cut


def points_of(module: Operation) -> int:
    """Iteration points of every linalg.generic in a module, together: how long its loops are, those of scans included."""
    total = 0
    for op in module.walk():
        if isinstance(op, linalg.GenericOp):
            points, around = int(np.prod(op.get_static_loop_ranges())), op.parent_op()
            while around is not None:
                points *= around.counts.steps if isinstance(around, ScanOp) else 1
                around = around.parent_op()
            total += points
    return total


# tensor ops


def evaluate_tensor_op(op: Operation, operands: list[Array]) -> Array | None:
    """The result of a tensor.* op or linalg.fill; None for another op."""
    if op.name == "tensor.empty":
        shape, element = op.results[0].type.get_shape(), numpy_type(op.results[0].type.get_element_type())
        return np.full(shape, np.nan if element.kind not in "iub" else 0, element)  # reading it would show
    if op.name == "linalg.fill":
        return np.full(op.results[0].type.get_shape(), operands[0], operands[1].dtype)
    if op.name == "tensor.extract_slice":
        return operands[0][_box(op)].reshape(op.results[0].type.get_shape())
    if op.name == "tensor.insert_slice":
        result = operands[1].copy()
        box = result[_box(op)]
        box[...] = operands[0].reshape(box.shape)
        return result
    if op.name in ("tensor.collapse_shape", "tensor.expand_shape", "tensor.cast"):
        return operands[0].reshape(op.results[0].type.get_shape())
    if op.name == "tensor.extract":
        return operands[0][tuple(operands[1:])]
    return None


def _box(op: Operation) -> tuple[slice, ...]:
    def numbers(name: str) -> Any:
        return op.properties[name].get_values()

    triples = zip(numbers("static_offsets"), numbers("static_sizes"), numbers("static_strides"), strict=True)
    return tuple(slice(o, o + (n - 1) * s + 1 if n else o, s) for o, n, s in triples)
