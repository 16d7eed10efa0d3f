"""Tiles of 32-bit elements turned in shared memory: wgmma wants their sums side by side, they were brought with their rows so.

A block is 32 depths of 32 rows, 128 bytes each, in the 128-byte swizzle; turned it is 32 rows of 32 depths in the same 4096 bytes, eight by
eight squares of four by four that change places across the diagonal. A lane reads four depths of a square, 16 bytes each, and writes four rows;
what a warp reads at once are squares (i, i xor c) of four numbers c: among them the one every square changes places with, and eight lanes that
move together find their pieces in different banks both ways. Where f32 is two numbers of TF32, x = x1 + x2, the same warps make them.
"""

from __future__ import annotations

from collections.abc import Sequence

from xdsl.dialects import arith
from xdsl.dialects.builtin import f32
from xdsl.ir import SSAValue

from ..dialects import nv, nv_store
from .gpu_builder import GpuBuilder
from .gpu_contraction_launch import PLAIN
from .gpu_launch import LaunchBuilder
from .gpu_teams import WARP
from .loop_builder import INDEX

TURNERS = 3
"""Warps that turn: those of a warpgroup behind the one that copies."""
TURNER_REGISTERS = 72
SIDE = 32
"""Of a block."""
PIECE = 4
"""Elements of 16 bytes."""
PIECES = SIDE // PIECE


class TileTurner:
    """One warp's share of the blocks. lane: the thread in its warpgroup."""

    def __init__(self, launch: LaunchBuilder, lane: SSAValue) -> None:
        self.launch, self.b = launch, launch.b
        warp, self.lane = self.b.divided(lane, WARP)
        self.first = self.b.plus(warp, -1)
        self.is_leader = self.b.equal(self.lane, self.b.index(0))

    def turn(self, stage: SSAValue, at: int, length: int, turns: bool, rest_at: int | None) -> None:
        """Every third block of a stage, turned if it is to be. at: where in shared memory the first stage of the operand begins; length: how many
        elements each has; rest_at: where what rounding to TF32 leaves over goes (None: the elements are such numbers).
        """
        b = self.b
        shared = b.shared(b.index(0), self.launch.shared_bytes // 4, f32)
        rest = None if rest_at is None else (rest_at - at) // 4
        with b.loop(self.first, length // SIDE**2, TURNERS, unroll=False) as block:
            base = b.add(b.scaled(stage, length), b.plus(b.scaled(block, SIDE**2), at // 4))
            if turns:
                self._turn_block(shared, base, rest)
            else:
                with b.loop(0, SIDE**2 // PIECE // WARP, unroll=False) as some:
                    place = b.add(base, b.scaled(b.add(b.scaled(some, WARP), self.lane), PIECE))
                    self._write(b.read_lanes(shared, place, PIECE), shared, place, rest)

    def _turn_block(self, shared: SSAValue, base: SSAValue, rest: int | None) -> None:
        b = self.b
        own, piece = b.divided(self.lane, PIECES)
        with b.loop(0, PIECES, WARP // PIECES, unroll=False) as some:
            line = b.emit(arith.XOrIOp, (piece, b.add(own, some)), INDEX)
            read = [b.read_lanes(shared, b.add(base, place), PIECE) for place in self._places(line, piece)]
            b.sync_warp()
            for k, place in enumerate(self._places(piece, line)):
                self._write([values[k] for values in read], shared, b.add(base, place), rest)

    def _write(self, values: Sequence[SSAValue], shared: SSAValue, place: SSAValue, rest: int | None) -> None:
        """Four neighbours, or their two numbers of TF32."""
        b = self.b
        if rest is None:
            b.write_lanes(values, shared, place)
            return
        pairs = [two_numbers(b, value) for value in values]
        b.write_lanes([first for first, _ in pairs], shared, place)
        b.write_lanes([second for _, second in pairs], shared, b.plus(place, rest))

    def show(self) -> None:
        """What the warp has written is there for wgmma, as soon as a barrier says so."""
        self.b.do(nv_store.FenceAsyncOp.create())
        self.b.sync_warp()

    def _places(self, line: SSAValue, piece: SSAValue) -> list[SSAValue]:
        """Where a piece of four neighbouring lines lies; line: their number in fours."""
        b = self.b
        odd = b.divided(line, 2)[1]
        found = []
        for k in range(PIECE):
            swizzled = b.emit(arith.XOrIOp, (piece, b.plus(b.scaled(odd, PIECE), k)), INDEX)
            found.append(b.add(b.scaled(b.plus(b.scaled(line, PIECE), k), SIDE), b.scaled(swizzled, PIECE)))
        return found


def two_numbers(b: GpuBuilder, x: SSAValue) -> tuple[SSAValue, SSAValue]:
    """The f32 rounded to TF32, and what that leaves over, rounded."""
    first = b.emit(nv.RoundTf32Op, (x,), f32)
    return first, b.emit(nv.RoundTf32Op, (b.emit(arith.SubfOp, (x, first), f32, PLAIN),), f32)
