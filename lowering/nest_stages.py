"""Reads a buffered kernel function as stages: loop dims, linear memory accesses, folds and combiners."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from xdsl.dialects import arith, func, memref
from xdsl.dialects.builtin import DYNAMIC_INDEX, MemRefType, StringAttr
from xdsl.dialects.linalg.attrs import IteratorType
from xdsl.dialects.linalg.ops import FillOp, GenericOp
from xdsl.ir import Attribute, Block, Operation, SSAValue
from xdsl.ir.affine import (
    AffineBinaryOpExpr,
    AffineBinaryOpKind,
    AffineConstantExpr,
    AffineDimExpr,
    AffineExpr,
)

from ..dialects.errors import PassError
from .memref_layout import strides_of

Linear = tuple[int, tuple[tuple[int, int], ...]]
"""constant + sum of coefficient * dim as (constant, ((dim, coefficient), ...)), dims ascending, none 0."""

COMBINERS = {
    "arith.addf": "add", "arith.mulf": "mul", "arith.maximumf": "maximum", "arith.minimumf": "minimum",
    "arith.addi": "addi", "arith.muli": "muli", "arith.maxsi": "maxsi", "arith.minsi": "minsi",
    "arith.maxui": "maxui", "arith.minui": "minui", "arith.andi": "and", "arith.ori": "or",
    "arith.xori": "xor",
}  # fmt: skip


@dataclass(eq=False, slots=True)
class Buffer:
    """Memory a kernel sees: an argument, or a temporary whose home the scheduler chooses. settled: its strides are not for it
    to choose.
    """

    value: SSAValue
    element: Attribute
    sizes: tuple[int, ...]
    strides: tuple[int, ...]
    is_temporary: bool
    index: int
    written: bool = False
    settled: bool = False


@dataclass(eq=False, slots=True)
class Access:
    """An element of a buffer as a function of the loop dims: one Linear per buffer dim."""

    buffer: Buffer
    dims: tuple[Linear, ...]

    def linear(self) -> Linear:
        """The position in memory, in elements."""
        constant, total = 0, {}
        for (c, terms), stride in zip(self.dims, self.buffer.strides, strict=True):
            constant += c * stride
            for dim, coefficient in terms:
                total[dim] = total.get(dim, 0) + coefficient * stride
        return constant, tuple(sorted((d, c) for d, c in total.items() if c))


@dataclass(eq=False, slots=True)
class Stage:
    """One linalg.generic (or fill): `outs[writes](domain) = body(ins[reads], outs)`.

    kinds: per loop dim "p" (parallel), "r" (folded into an accumulator) or "a" (adds into memory at places
    that other iterations of the dim also reach). combiners: per output the combining op's name, or None.
    starts: per output the constant the accumulator starts from (a folded fill), or None: from what the output
    holds.
    neutral: folds start from the combiners' neutral values instead. alone: shares no loops with stages before
    it.
    """

    sizes: tuple[int, ...]
    kinds: list[str]
    reads: list[Access | None]  # None: the block argument is not used
    writes: list[Access]
    block: Block | None
    fill: SSAValue | None = None
    uses_out: list[bool] = field(default_factory=list)
    combiners: list[str | None] = field(default_factory=list)
    starts: list[SSAValue | None] = field(default_factory=list)
    gathered: list[Buffer] = field(default_factory=list)
    origin: str = ""
    segment: int = 0
    neutral: bool = False
    alone: bool = False
    operations: int = -1

    @property
    def reduces(self) -> bool:
        return "r" in self.kinds

    @property
    def work(self) -> int:
        """Number of executions of the body."""
        n = 1
        for size in self.sizes:
            n *= size
        return n


@dataclass(slots=True)
class Kernel:
    """A function read as stages. others: ops that are loops already, by the segment they come before.

    Segments are runs of stages with no such op between them.
    """

    function: func.FuncOp
    buffers: list[Buffer]
    stages: list[Stage]
    others: dict[int, list[Operation]]


def read_kernel(function: func.FuncOp, taken: Sequence[Operation] = ()) -> Kernel:
    """The stages of a buffered kernel function. PassError for an op or an index map that is not linear.

    taken: stages another scheduler is going to replace by loops that stand at the last of them.
    """
    return _Reader(function, taken).kernel()


STAGE_OPS = GenericOp | FillOp | memref.SubviewOp | memref.LoadOp


class _Reader:
    def __init__(self, function: func.FuncOp, taken: Sequence[Operation]) -> None:
        self.function = function
        self.taken = set(taken)
        self.last_taken = taken[-1] if taken else None
        self.buffers: list[Buffer] = []
        self.views: dict[SSAValue, tuple[Buffer, tuple[Linear, ...]]] = {}
        self.stages: list[Stage] = []
        self.others: dict[int, list[Operation]] = {}
        self.segment = 0
        for arg in function.body.block.args:
            self.buffer(arg, is_temporary=False)

    def buffer(self, value: SSAValue, is_temporary: bool) -> None:
        held = value.type
        assert isinstance(held, MemRefType)
        buffer = Buffer(
            value, held.element_type, held.get_shape(), strides_of(held), is_temporary, len(self.buffers)
        )
        self.buffers.append(buffer)
        self.views[value] = (buffer, tuple((0, ((d, 1),)) for d in range(len(buffer.sizes))))

    def kernel(self) -> Kernel:
        for op in self.function.body.block.ops:
            if op in self.taken:
                if op is self.last_taken:
                    self.other(op)
            elif isinstance(op, GenericOp):
                self.generic(op)
            elif isinstance(op, FillOp):
                self.fill(op)
            elif isinstance(op, memref.AllocaOp) and not self.used_by_loops(op.results[0]):
                self.buffer(op.results[0], is_temporary=True)
            elif isinstance(op, memref.SubviewOp):
                self.subview(op)
            elif not isinstance(op, func.ReturnOp):
                self.other(op)
        stages = fold_fills(self.stages)
        for stage in stages:
            for access in stage.writes:
                access.buffer.written = True
        return Kernel(self.function, self.buffers, stages, self.others)

    def used_by_loops(self, value: SSAValue) -> bool:
        users = [use.operation for use in value.uses]
        return not all(isinstance(op, STAGE_OPS) and op not in self.taken for op in users)

    def other(self, op: Operation) -> None:
        """A constant, or a piece another scheduler has lowered: stays where it is between the stages."""
        if isinstance(op, memref.AllocaOp):
            self.buffer(op.results[0], is_temporary=False)
        if (
            not isinstance(op, arith.ConstantOp | memref.AllocaOp)
            and self.stages
            and self.stages[-1].segment == self.segment
        ):
            self.segment += 1
        self.others.setdefault(self.segment, []).append(op)

    def subview(self, op: memref.SubviewOp) -> None:
        offsets, steps = op.static_offsets.get_values(), op.static_strides.get_values()
        if (
            DYNAMIC_INDEX in offsets
            or DYNAMIC_INDEX in steps
            or len(op.results[0].type.get_shape()) != len(offsets)
        ):
            raise PassError(f"a subview in a kernel needs a static box of full rank, got {op}")
        buffer, dims = self.views[op.operands[0]]
        inner = [(o, ((d, s),)) for d, (o, s) in enumerate(zip(offsets, steps, strict=True))]
        self.views[op.results[0]] = (buffer, tuple(_substitute(expression, inner) for expression in dims))

    def fill(self, op: FillOp) -> None:
        buffer, dims = self.views[op.operands[1]]
        sizes = op.operands[1].type.get_shape()
        rename, loops = _drop_unit_dims(sizes)
        access = Access(buffer, tuple(_substitute(e, rename) for e in dims))
        self.stages.append(
            Stage(loops, ["p"] * len(loops), [], [access], None, fill=op.operands[0], uses_out=[False],
                  combiners=[None], starts=[None], segment=self.segment)
        )  # fmt: skip

    def generic(self, op: GenericOp) -> None:
        maps = [m.data for m in op.indexing_maps.data]
        sizes = _loop_sizes(op, maps)
        exprs = [tuple(linear(e) for e in m.results) for m in maps]
        rename, loops = _drop_unit_dims(sizes)
        accesses = [
            self._access(value, tuple(_substitute(e, rename) for e in es))
            for value, es in zip(op.operands, exprs, strict=True)
        ]
        block, n = op.body.block, len(op.inputs)
        used = [arg.first_use is not None for arg in block.args]
        writes, uses_out = accesses[n:], used[n:]
        declared = [k.data for k, size in zip(op.iterator_types.data, sizes, strict=True) if size != 1]
        kinds = _kinds(declared, writes)
        origin = op.attributes.get("origin")
        stage = Stage(
            loops, kinds, [a if u else None for a, u in zip(accesses[:n], used, strict=False)], writes, block,
            uses_out=uses_out, starts=[None] * len(writes),
            combiners=[_combiner(block, n + i) for i in range(len(writes))],
            gathered=self._gathered(block), origin=origin.data if isinstance(origin, StringAttr) else "",
        )  # fmt: skip
        self._renumber_indices(block, rename)
        stage.segment = self.segment
        self.stages.append(stage)

    def _access(self, value: SSAValue, exprs: tuple[Linear, ...]) -> Access:
        buffer, dims = self.views[value]
        return Access(buffer, tuple(_substitute(d, exprs) for d in dims))

    def _gathered(self, block: Block) -> list[Buffer]:
        return [self.views[op.operands[0]][0] for op in block.ops if isinstance(op, memref.LoadOp)]

    @staticmethod
    def _renumber_indices(block: Block, rename: Sequence[Linear]) -> None:
        """Nothing to do while loop dims of size 1 do not occur; refuse an index of one that was dropped."""
        for op in block.ops:
            if op.name == "linalg.index":
                d = op.properties["dim"].value.data
                if rename[d] != (0, ((d, 1),)):
                    raise PassError("linalg.index with loop dims of size 1 is not lowered")


def _drop_unit_dims(sizes: Sequence[int]) -> tuple[list[Linear], tuple[int, ...]]:
    """Loop dims of size 1 become the constant 0; the others are numbered anew."""
    rename: list[Linear] = []
    kept = []
    for size in sizes:
        rename.append((0, ()) if size == 1 else (0, ((len(kept), 1),)))
        if size != 1:
            kept.append(size)
    return rename, tuple(kept)


def _loop_sizes(op: GenericOp, maps: Sequence[object]) -> tuple[int, ...]:
    found: dict[int, int] = {}
    for value, index_map in zip(op.operands, maps, strict=True):
        for size, e in zip(value.type.get_shape(), index_map.results, strict=True):
            if isinstance(e, AffineDimExpr):
                found.setdefault(e.position, size)
    n = len(op.iterator_types.data)
    if len(found) != n:
        raise PassError(
            "a loop dim of a linalg.generic occurs alone in no map: its size is unknown",
            [("op", str(op), "")],
        )
    return tuple(found[d] for d in range(n))


def _kinds(declared: Sequence[IteratorType], writes: Sequence[Access]) -> list[str]:
    used = {dim for access in writes for _, terms in access.dims for dim, _ in terms}
    return [
        "p" if kind is IteratorType.PARALLEL else ("a" if dim in used else "r")
        for dim, kind in enumerate(declared)
    ]


def _combiner(block: Block, index: int) -> str | None:
    """The op of `yield op(accumulator, x)` for block argument `index`, if that is its only use."""
    accumulator = block.args[index]
    uses = list(accumulator.uses)
    if len(uses) != 1:
        return None
    op = uses[0].operation
    result_at = index - (len(block.args) - len(block.last_op.operands))
    if op.name not in COMBINERS or block.last_op.operands[result_at] is not op.results[0]:
        return None
    if len(list(op.results[0].uses)) != 1:
        return None
    return op.name


def linear(expression: AffineExpr) -> Linear:
    """An affine expression without division as a Linear. PassError otherwise."""
    match expression:
        case AffineConstantExpr():
            return expression.value, ()
        case AffineDimExpr():
            return 0, ((expression.position, 1),)
        case AffineBinaryOpExpr():
            left, right = linear(expression.lhs), linear(expression.rhs)
            if expression.kind is AffineBinaryOpKind.Add:
                return _add(left, right, 1)
            if expression.kind is AffineBinaryOpKind.Mul and not (left[1] and right[1]):
                return _add((0, ()), left, right[0]) if not right[1] else _add((0, ()), right, left[0])
    raise PassError(f"an index map must be linear to become a loop nest, got {expression}")


def _add(a: Linear, b: Linear, factor: int) -> Linear:
    total = dict(a[1])
    for dim, coefficient in b[1]:
        total[dim] = total.get(dim, 0) + factor * coefficient
    return a[0] + factor * b[0], tuple(sorted((d, c) for d, c in total.items() if c))


def _substitute(expression: Linear, inner: Sequence[Linear]) -> Linear:
    if not expression[0] and len(expression[1]) == 1 and expression[1][0][1] == 1:
        return inner[expression[1][0][0]]  # a loop by itself, as most are
    result: Linear = (expression[0], ())
    for dim, coefficient in expression[1]:
        result = _add(result, inner[dim], coefficient)
    return result


def fold_fills(stages: list[Stage]) -> list[Stage]:
    """A constant fill whose next reader is a fold over the whole buffer becomes the start of that fold."""
    dropped: set[int] = set()
    for at, stage in enumerate(stages):
        if stage.fill is None:
            continue
        written = stage.writes[0]
        for later in stages[at + 1 :]:
            if later.segment != stage.segment:
                break
            touched = [i for i, w in enumerate(later.writes) if w.buffer is written.buffer]
            reads = any(r is not None and r.buffer is written.buffer for r in later.reads)
            if not touched and not reads and written.buffer not in later.gathered:
                continue
            if len(touched) == 1 and not reads and written.buffer not in later.gathered:
                out = touched[0]
                covers = (
                    later.work and stage.work == _size(written.buffer) and _covers(later, later.writes[out])
                )
                if covers:
                    dropped.add(at)
                    later.starts[out] = stage.fill
            break
    return [s for i, s in enumerate(stages) if i not in dropped]


def _size(buffer: Buffer) -> int:
    n = 1
    for size in buffer.sizes:
        n *= size
    return n


def _covers(stage: Stage, access: Access) -> bool:
    """Whether the stage writes every element of the buffer exactly once (after its folds)."""
    if "a" in stage.kinds:
        return False
    seen: set[int] = set()
    for (constant, terms), size in zip(access.dims, access.buffer.sizes, strict=True):
        if not _exhausts(constant, terms, size, stage):
            return False
        for dim, _ in terms:
            if dim in seen:
                return False
            seen.add(dim)
    return True


def _exhausts(constant: int, terms: Sequence[tuple[int, int]], size: int, stage: Stage) -> bool:
    """Whether constant + terms runs through 0..size-1, each value once (a mixed-radix number)."""
    if constant:
        return False
    reach = 1
    for dim, coefficient in sorted(terms, key=lambda t: t[1]):
        if coefficient != reach:
            return False
        reach *= stage.sizes[dim]
    return reach == size
