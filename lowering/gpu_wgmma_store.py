"""Results of a warpgroup by the copy engine: 128 bytes of columns at a time through shared memory, while the next ones are made.

Elements of 16 bits get there by stmatrix, those of 32 bits as the pairs a thread has; in the 128-byte swizzle either is without
bank conflicts. Two buffers take turns. What lies outside the result the copy engine does not write.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from xdsl.dialects import arith
from xdsl.dialects.builtin import BFloat16Type, DenseArrayBase, Float16Type, IntegerAttr, UnitAttr, f32, i32, i64
from xdsl.ir import Attribute, SSAValue

from ..dialects import nv, nv_store
from ..dialects.nv_hopper import SWIZZLE_BYTES, WGMMA_ROWS, TensorMapOp, TensorMapType
from .contraction_match import Access
from .gpu_boxes import Dimension, Loop, stored_dimensions
from .gpu_contraction_plan import Tiling
from .loop_builder import INDEX
from .loop_writer import number_attr
from .memref_layout import element_bytes

if TYPE_CHECKING:
    from .gpu_builder import GpuBuilder
    from .gpu_wgmma import WgmmaLaunch

BUFFERS = 2
_STORED = (BFloat16Type, Float16Type)


def boxed_output(t: Tiling) -> tuple[Access, list[Dimension]] | None:
    """The output that goes through shared memory, and its map's dimensions behind the columns; None where none can, or pieces are stored first."""
    assert t.boxes is not None
    for access in t.contraction.outputs if t.splits == 1 else ():
        known = isinstance(access.element, _STORED) or access.element in (f32, i32)
        found = stored_dimensions(t.contraction, access, t.boxes) if known else None
        if found is not None:
            return access, found
    return None


def tensor_map(
    owner: WgmmaLaunch, buffer: SSAValue | None, offset: int, dimensions: Sequence[Dimension], box: Sequence[int], is_rounded: bool = False
) -> SSAValue:
    """The map of one of the kernel's arguments. box: how many elements of each dimension; is_rounded: f32 to TF32."""
    argument = owner.launch.args[next(i for i, old in enumerate(owner.old) if old is buffer)]
    numbers = {"sizes": [d.size for d in dimensions], "strides": [d.step for d in dimensions[1:]], "box": box}
    properties: dict[str, Attribute] = {name: DenseArrayBase.from_list(i64, given) for name, given in numbers.items()}
    properties["offset"] = IntegerAttr(offset, i64)
    if any(d.every > 1 for d in dimensions):
        properties["every"] = DenseArrayBase.from_list(i64, [d.every for d in dimensions])
    if is_rounded:
        properties["tf32"] = UnitAttr()
    return owner.b.at(TensorMapOp.create(operands=[argument], result_types=[TensorMapType()], properties=properties), 0)


def meet(b: GpuBuilder, group: SSAValue) -> None:
    """The threads of a warpgroup that multiplies wait for each other."""
    b.do(nv_store.GroupBarrierOp.create(operands=[b.plus(group, 1)]))  # the first of the block copies


class BoxedOutput:
    """One output of a product on its way: `open` a block of columns, `keep` its elements, `send` it."""

    def __init__(self, owner: WgmmaLaunch, access: Access, dimensions: list[Dimension]) -> None:
        self.owner, self.b, self.access, self.dimensions = owner, owner.b, access, dimensions
        b = owner.b
        self.is_half = isinstance(access.element, _STORED)
        self.columns = SWIZZLE_BYTES // element_bytes(access.element)
        """Of a block."""
        self.length = WGMMA_ROWS * self.columns
        at = owner.launch.take_shared(2 * BUFFERS * WGMMA_ROWS * SWIZZLE_BYTES, 1024)
        self.shared = b.shared(b.index(at), 2 * BUFFERS * self.length, access.element)
        self.map = tensor_map(owner, access.buffer, access.offset, dimensions, [self.columns, *(d.box for d in dimensions[1:])])

    def start(self, group: SSAValue, lane: SSAValue) -> None:
        """For the threads of a warpgroup that multiplies; lane: of the warpgroup."""
        b = self.b
        self.group, self.leader = group, b.equal(lane, b.index(0))
        self.warp, self.lane = b.divided(lane, 32)
        kind = f32 if self.is_half else self.access.element
        self.values = b.registers(self.columns // 2, kind, "out")
        if not self.owner.clips:  # of places outside the result nothing is kept; what is sent for them is cut off, and is a number
            zero = b.constant(number_attr(0, kind), kind)
            with b.loop(0, self.columns // 2, unroll=True) as i:
                b.write(zero, self.values, i)

    def keep(self, value: SSAValue, number: SSAValue) -> None:
        """The number-th of the thread's elements of a block. 16-bit ones are rounded when they are packed."""
        if self.is_half:
            owner = value.owner
            is_rounded = isinstance(owner, arith.TruncFOp) and owner.input.type == f32
            value = owner.input if is_rounded else self.b.emit(arith.ExtFOp, (value,), f32, {"fastmath": arith.FastMathFlagsAttr("none")})
        self.b.write(value, self.values, number)

    def open(self) -> None:
        """Before values of a block are kept: the buffer they will go to has been read.

        Here, not before they are written there: ptxas takes sums that are read right behind a wait for read too early.
        """
        with self.b.when(self.leader):
            self.b.do(nv_store.TmaStoreWaitOp.create(properties={"pending": IntegerAttr(BUFFERS - 1, i32)}))
        self._meet()

    def send(self, block: int, rows: Mapping[Loop, SSAValue], column: SSAValue) -> None:
        """The block of columns whose values were kept; rows, column: its first ones in the result."""
        b = self.b
        buffer = b.add(b.scaled(self.group, BUFFERS * self.length), b.index(block % BUFFERS * self.length))
        if self.is_half:
            self._put_matrices(buffer)
        else:
            self._put_pairs(buffer)
        b.do(nv_store.FenceAsyncOp.create())
        self._meet()
        with b.when(self.leader):
            known = {**rows, **self.owner.batch_places()}
            places = [column, *(known[loop] for d in self.dimensions[1:] for loop, _ in d.loops)]
            b.do(nv_store.TmaStoreOp.create(operands=[self.shared, buffer, self.map, *places]))
            b.do(nv_store.TmaStoreCommitOp.create())

    def finish(self) -> None:
        """Before the block ends: shared memory has been read."""
        with self.b.when(self.leader):
            self.b.do(nv_store.TmaStoreWaitOp.create(properties={"pending": IntegerAttr(0, i32)}))

    def _meet(self) -> None:
        meet(self.b, self.group)

    def _place(self, buffer: SSAValue, row: SSAValue, piece: SSAValue) -> SSAValue:
        """Where the swizzle puts a piece of 16 bytes of a row."""
        b = self.b
        swizzled = b.emit(arith.XOrIOp, (piece, b.divided(row, 8)[1]), INDEX)
        return b.add(buffer, b.add(b.scaled(row, self.columns), b.scaled(swizzled, self.columns // 8)))

    def _put_matrices(self, buffer: SSAValue) -> None:
        """16 rows of a warp and 16 columns at a time: lane l names row l%8 of a matrix, the second one below, the third beside the first."""
        b, kind = self.b, self.access.element
        matrix, within = b.divided(self.lane, 8)
        beside, below = b.divided(matrix, 2)
        row = b.add(self.owner.row_of(self.warp, within), b.scaled(below, 8))
        with b.loop(0, self.columns // 16, unroll=True) as j:
            pairs = []
            for quarter in range(4):
                at = b.plus(b.scaled(j, 8), 2 * quarter)
                values = [b.read(self.values, b.plus(at, k)) for k in range(2)]
                op = nv.PackOp.create(operands=values, result_types=[i32], properties={"kind": kind})
                b.do(op)
                pairs.append(op.results[0])
            place = self._place(buffer, row, b.add(b.scaled(j, 2), beside))
            b.do(nv_store.StmatrixOp.create(operands=[*pairs, self.shared, place]))

    def _put_pairs(self, buffer: SSAValue) -> None:
        """Two neighbours of a row at a time: half a piece."""
        b = self.b
        row, pair = b.divided(self.lane, 4)
        beside, half = b.divided(pair, 2)
        row = self.owner.row_of(self.warp, row)
        with b.loop(0, self.columns // 8, unroll=True) as j, b.loop(0, 2, unroll=True) as lower:
            at = b.add(b.scaled(j, 4), b.scaled(lower, 2))
            values = [b.read(self.values, b.plus(at, k)) for k in range(2)]
            place = self._place(buffer, b.add(row, b.scaled(lower, 8)), b.add(b.scaled(j, 2), beside))
            b.write_lanes(values, self.shared, b.add(place, b.scaled(half, 2)))
