"""Barriers of sm_90a in shared memory: who copies and who multiplies wait for each other there."""

from __future__ import annotations

from collections.abc import Sequence

from xdsl.dialects.builtin import IntegerAttr, UnitAttr, i32, i64
from xdsl.ir import Attribute, Operation, SSAValue

from ..dialects import nv_hopper as nv
from .gpu_launch import LaunchBuilder

BARRIER_BYTES = 8


class Barriers:
    """Some barriers. arrivals: how many end a phase, one number per barrier; copies that are announced have to come, too."""

    def __init__(self, launch: LaunchBuilder, arrivals: Sequence[int]) -> None:
        self.b, self.arrivals = launch.b, arrivals
        at = launch.take_shared(len(arrivals) * BARRIER_BYTES)
        self.memory = self.b.shared(self.b.index(at), len(arrivals), i64)

    def start(self, thread: SSAValue, in_cluster: bool = False) -> None:
        """Makes them, for all threads of the block, or of the cluster."""
        b = self.b
        with b.when(b.equal(thread, b.index(0))):
            for number, count in enumerate(self.arrivals):
                self._on(nv.MbarrierInitOp, b.index(number), count=IntegerAttr(count, i32))
            b.do(nv.FenceBarrierInitOp.create())
        if in_cluster:
            b.do(nv.ClusterBarrierOp.create())
        else:
            b.barrier()

    def expect(self, number: SSAValue, size: int) -> None:
        """An arrival that announces bytes."""
        self._on(nv.MbarrierExpectOp, number, bytes=IntegerAttr(size, i32))

    def arrive(self, number: SSAValue) -> None:
        self._on(nv.MbarrierArriveOp, number)

    def arrive_at(self, number: SSAValue, rank: SSAValue) -> None:
        """At the barrier of that number of another block of the cluster."""
        self._on(nv.MbarrierArriveAtOp, number, rank)

    def wait(self, number: SSAValue, parity: SSAValue, in_cluster: bool = False) -> None:
        """For the end of a phase: 0 for the first, 1, 0, …; 1 of a fresh barrier has ended. in_cluster: other blocks arrive, too."""
        self._on(nv.MbarrierWaitOp, number, parity, **({"cluster": UnitAttr()} if in_cluster else {}))

    def _on(self, op: type[Operation], number: SSAValue, *operands: SSAValue, **properties: Attribute) -> None:
        self.b.do(op.create(operands=[self.memory, number, *operands], properties=properties))
