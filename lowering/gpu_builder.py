"""Builds gpu-level IR, the code of one thread: LoopBuilder plus thread numbers, branches, shared memory and registers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from xdsl.dialects import arith, gpu, memref, scf
from xdsl.dialects.builtin import IntegerAttr, MemRefType, NoneAttr, UnitAttr, i1, i32, i64
from xdsl.ir import Attribute, Block, Region, SSAValue

from ..dialects import nv, nv_hopper
from ..dialects.attributes import segments
from .loop_builder import INDEX, NO_OVERFLOW, LoopBuilder
from .memref_layout import element_bytes

DIMENSIONS = {"x": gpu.DimensionAttr(gpu.DimensionEnum.X), "y": gpu.DimensionAttr(gpu.DimensionEnum.Y),
              "z": gpu.DimensionAttr(gpu.DimensionEnum.Z)}  # fmt: skip
_LESS = IntegerAttr(2, i64)
_EQUAL = IntegerAttr(0, i64)


class GpuBuilder(LoopBuilder):
    """A LoopBuilder for one thread of a kernel. Pure ops are hoisted, but never out of a branch."""

    def __init__(self, entry: Block) -> None:
        super().__init__(entry)
        self._bases: list[int] = []

    # Who am I

    def thread(self) -> SSAValue:
        """The thread's number in its block."""
        return self._named(gpu.ThreadIdOp, "x", "thread")

    def block(self, dimension: str = "x") -> SSAValue:
        """The block's number in the grid."""
        return self._named(gpu.BlockIdOp, dimension, f"block_{dimension}")

    def _named(self, cls: type, dimension: str, hint: str) -> SSAValue:
        value = self.emit(cls, (), INDEX, {"dimension": DIMENSIONS[dimension]}, level=0)
        value.name_hint = hint
        return value

    # Branches and loops

    @contextmanager
    def when(self, condition: SSAValue) -> Iterator[None]:
        """What is built inside happens only where the condition holds; nothing is hoisted out of it."""
        self._push(Block(), scf.IfOp, (condition,), ())
        self._bases.append(self.base)
        self.base = self.depth
        yield
        self.base = self._bases.pop()
        self.blocks[-1].add_op(scf.YieldOp())
        block, _, (condition,), _ = self._pop()
        self.do(scf.IfOp.create(operands=[condition], regions=[Region(block), Region()]))

    @contextmanager
    def otherwise(self) -> Iterator[None]:
        """Right after `when`: what is built inside happens where its condition does not hold."""
        branch = self.blocks[-1].last_op
        assert isinstance(branch, scf.IfOp) and not branch.false_region.blocks
        branch.detach()  # what is put further out stands before it
        self._push(Block(), scf.IfOp, (), ())
        self._bases.append(self.base)
        self.base = self.depth
        yield
        self.base = self._bases.pop()
        self.blocks[-1].add_op(scf.YieldOp())
        branch.false_region.add_block(self._pop()[0])
        self.do(branch)

    @contextmanager
    def loop(
        self, low: SSAValue | int, high: SSAValue | int, step: int = 1, unroll: bool | None = None
    ) -> Iterator[SSAValue]:
        """A loop without carried values. unroll: the compiler of the source unrolls it (registers are indexed by it); False: it must not."""
        ends = [self.index(e) if isinstance(e, int) else e for e in (low, high)]
        variable, _ = self.open_for(ends[0], ends[1], step)
        yield variable
        self.close_for()
        if unroll is not None:
            self.unroll_last(unroll)

    def unroll_last(self, unroll: bool = True) -> None:
        """Marks the loop that was closed last."""
        last = self.blocks[-1].last_op
        assert isinstance(last, scf.ForOp)
        last.attributes[nv.UNROLL if unroll else nv.ROLLED] = UnitAttr()

    def less(self, a: SSAValue, b: SSAValue) -> SSAValue:
        """a < b as an i1 (signed)."""
        return self.emit(arith.CmpiOp, (a, b), i1, {"predicate": _LESS})

    def equal(self, a: SSAValue, b: SSAValue) -> SSAValue:
        return self.emit(arith.CmpiOp, (a, b), i1, {"predicate": _EQUAL})

    def digits(self, number: SSAValue, sizes: Sequence[int]) -> list[SSAValue]:
        """A number in mixed radix, the first digit the most significant one (not reduced by its size)."""
        found: list[SSAValue] = []
        for size in reversed(sizes[1:]):
            number, digit = self.divided(number, size) if size > 1 else (number, self.index(0))
            found.append(digit)
        return [number, *reversed(found)] if sizes else []

    # Memory

    def shared(self, offset: SSAValue, length: int, element: Attribute) -> SSAValue:
        """A piece of the block's shared memory at a byte offset."""
        held = MemRefType(element, [length], NoneAttr(), nv.SHARED)
        return self.emit(nv.SharedOp, (offset,), held)

    def registers(self, length: int, element: Attribute, hint: str) -> SSAValue:
        """A small array of the thread; its indices must become constants when loops are unrolled."""
        held = MemRefType(element, [length], NoneAttr(), nv.REGISTERS)
        op = memref.AllocaOp.create(
            result_types=[held], properties={"operandSegmentSizes": segments(0, 0)}
        )
        op.results[0].name_hint = hint
        return self.at(op, self.base)

    def read(self, memory: SSAValue, at: SSAValue) -> SSAValue:
        """A load in program order, never shared or hoisted."""
        op = memref.LoadOp.create(operands=[memory, at], result_types=[memory.type.element_type])
        self.do(op)
        return op.results[0]

    def write(self, value: SSAValue, memory: SSAValue, at: SSAValue) -> None:
        self.do(memref.StoreOp.create(operands=[value, memory, at]))

    def read_lanes(self, memory: SSAValue, at: SSAValue, lanes: int) -> list[SSAValue]:
        """Neighbouring elements in program order, with one access when there are several."""
        if lanes == 1:
            return [self.read(memory, at)]
        op = nv.LoadOp.create(operands=[memory, at], result_types=[memory.type.element_type] * lanes)
        self.do(op)
        return list(op.results)

    def write_lanes(self, values: Sequence[SSAValue], memory: SSAValue, at: SSAValue) -> None:
        """Neighbouring elements with one access."""
        self.do(nv.StoreOp.create(operands=[*values, memory, at]))

    def matrix(self, memory: SSAValue, at: SSAValue, further: int, leading: int) -> SSAValue:
        """What wgmma calls a matrix in shared memory, `further` elements (a multiple of 16 bytes) behind a place: one addition to what it calls that
        place. leading: bytes between blocks."""
        op = nv_hopper.MatrixDescriptorOp.create(operands=[memory, at], result_types=[i64], properties={"leading": IntegerAttr(leading, i32)})
        self.do(op)
        steps = further * element_bytes(memory.type.element_type) // nv_hopper.DESCRIPTOR_BYTES
        return self.emit(arith.AddiOp, (op.results[0], self.constant(IntegerAttr(steps, i64), i64)), i64, NO_OVERFLOW) if steps else op.results[0]

    # Other threads

    def barrier(self) -> None:
        """All threads of the block wait for each other."""
        self.do(gpu.BarrierOp())

    def sync_warp(self) -> None:
        self.do(nv.SyncWarpOp.create())

    def shuffled_xor(self, value: SSAValue, mask: int) -> SSAValue:
        op = nv.ShuffleXorOp.create(
            operands=[value], result_types=[value.type], properties={"mask": IntegerAttr(mask, i32)}
        )
        self.do(op)
        return op.results[0]
