"""One factor of a chain's products in shared memory: how a block brings tiles of it from global memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xdsl.dialects import arith
from xdsl.dialects.builtin import IntegerAttr, MemRefType, NoneAttr, f32, i1, i16
from xdsl.ir import SSAValue

from ..dialects import kernel, nv
from .chain_expressions import Place
from .gpu_chain_plan import Factor
from .gpu_chain_shape import RUN
from .memref_layout import element_bytes

if TYPE_CHECKING:
    from .gpu_chain_sweep import SweepLaunch


class Operand:
    """A factor's tiles in shared memory, [row][depth], `stages` of them. depth: in whole sixteens; end: how much of it there is, zeros behind it."""

    def __init__(self, owner: SweepLaunch, factor: Factor, rows: int, stages: int) -> None:
        self.owner, self.b, self.factor, self.rows = owner, owner.b, factor, rows
        self.depth = owner.plan.depths[factor.depth]
        self.end = owner.sizes[factor.depth]
        self.pitch = owner.tiles.pitch(self.depth)
        self.length = rows * self.pitch
        element = owner.tiles.element
        at = owner.launch.take_shared(element_bytes(element) * self.length * stages)
        self.shared = self.b.shared(self.b.index(at), self.length * stages, element)
        self.limit = owner.sizes[factor.role]

    def base(self, stage: SSAValue) -> SSAValue:
        """Where a stage begins."""
        return self.b.scaled(stage, self.length)

    def _comes_in_runs(self, place: Place) -> bool:
        others = [step for role, step in place.steps if role != self.factor.depth]
        return place.step(self.factor.depth) == 1 and not any(n % RUN for n in (*others, place.offset, self.end))

    def fetch(self, first: SSAValue, stage: SSAValue) -> None:
        """Brings rows from `first` on to a stage; zeros beyond the last row and the end of the depth."""
        b, place = self.b, self.factor.place
        runs = self.owner.plan.kind is not None and place is not None and self._comes_in_runs(place)
        width = RUN if runs else 1
        total = self.rows * self.depth // width
        threads = self.owner.shape.threads
        with b.loop(0, -(-total // threads), unroll=runs) as i:
            number = b.add(b.scaled(i, threads), b.thread())
            if total % threads:
                with b.when(b.less(number, b.index(total))):
                    self._bring(number, width, first, stage)
            else:
                self._bring(number, width, first, stage)

    def _bring(self, number: SSAValue, width: int, first: SSAValue, stage: SSAValue) -> None:
        b = self.b
        row, depth = b.divided(number, self.depth // width)
        depth = b.scaled(depth, width)
        target = b.add(self.base(stage), b.add(b.scaled(row, self.pitch), depth))
        at = b.add(first, row)
        inside = b.less(at, b.index(self.limit))
        if self.end < self.depth:
            inside = b.emit(arith.AndIOp, (inside, b.less(depth, b.index(self.end))), i1)
            depth = b.minimum(depth, b.index(self.end - width))
        indices = {self.factor.role: b.minimum(at, b.index(self.limit - 1)), self.factor.depth: depth}
        place = self.factor.place
        if width > 1:
            assert place is not None
            memory = self.owner.memory(place)
            b.do(nv.CpAsyncOp.create(operands=[memory, self.owner.address(place, indices), self.shared, target, inside]))
        elif self.owner.plan.kind is not None:
            assert place is not None
            value = b.read(self._bits(self.owner.memory(place)), self.owner.address(place, indices))
            zero = b.constant(IntegerAttr(0, i16), i16)
            b.write(b.emit(arith.SelectOp, (inside, value, zero), i16), self._bits(self.shared), target)
        else:
            value = self.owner.value(self.factor.value, self.owner.indices(indices))
            b.write(b.emit(arith.SelectOp, (inside, value, self.owner.number(0.0)), f32), self.shared, target)

    def _bits(self, memory: SSAValue) -> SSAValue:
        held = memory.type
        assert isinstance(held, MemRefType)
        return self.b.emit(kernel.BitsOp, (memory,), MemRefType(i16, held.get_shape(), NoneAttr(), held.memory_space))
