"""The left operand of a warpgroup's f32 products in registers: read from the tile as the copy engine left it, along the sum or along its rows.

Where it lies along its rows nothing has to be turned in shared memory so. Neighbouring rows of a warp then are four here and four 16 further, so
that the lanes of a warp, which read eight rows at four depths, find them in different banks. Where f32 is two numbers of TF32 (3xTF32), they are made on the way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from xdsl.dialects import arith
from xdsl.dialects.builtin import i32
from xdsl.ir import SSAValue

from ..dialects.nv_hopper import SWIZZLE_BYTES
from .gpu_turned_tiles import PIECE, PIECES, SIDE, two_numbers
from .loop_builder import INDEX

if TYPE_CHECKING:
    from .gpu_wgmma import WgmmaLaunch, _Operand

CORE = 8
"""Elements of the sum in one wgmma."""
LINE = SWIZZLE_BYTES // 4


class Fragments:
    """A warpgroup's 64 rows of a stage. registers: one array, or two for two numbers; terms: which of them is multiplied with the right
    operand's numbers (True: with what rounding left over), the smallest products first.
    """

    def __init__(self, owner: WgmmaLaunch, operand: _Operand, doubled: bool) -> None:
        self.owner, self.b, self.operand, self.doubled = owner, owner.b, operand, doubled

    def start(self, own: SSAValue, lane: SSAValue) -> None:
        """For a warpgroup's threads. own: its first row in the tile; lane: the thread in it."""
        b = self.b
        self.registers = [b.registers(self.operand.depth // 2, i32, "a") for _ in range(2 if self.doubled else 1)]
        self.terms = [(self.registers[-1], False), (self.registers[0], True), (self.registers[0], False)] if self.doubled else [(self.registers[0], False)]
        warp, lane = b.divided(lane, 32)
        self.own, self.row, self.warp = own, b.divided(lane, 4)[0], warp
        self.column = b.divided(lane, 4)[1]

    def row_of(self, warp: SSAValue, eighth: SSAValue) -> SSAValue:
        """See WgmmaLaunch: in blocks of 32 rows every other four are the other warp's."""
        b = self.b
        if not self.operand.is_turned_here:
            return b.add(b.scaled(warp, 16), eighth)
        block, odd = b.divided(warp, 2)
        four, within = b.divided(eighth, PIECE)
        return b.add(b.add(b.scaled(block, SIDE), b.scaled(four, SIDE // 2)), b.add(b.scaled(odd, PIECE), within))

    def read(self, stage: SSAValue) -> None:
        """All of the stage's depths: four elements for each 8, rows `row` and 8 more, depths `column` and 4 more."""
        b = self.b
        base = b.add(b.scaled(stage, self.operand.stage_length), b.scaled(self.own, self.operand.depth))
        for k in range(self.operand.depth // CORE):
            for e in range(4):
                place = self._turned(k, e % 2, e // 2) if self.operand.is_turned_here else self._along(k, e % 2, e // 2)
                value = b.read(self.operand.shared, b.add(base, place))
                numbers = two_numbers(b, value) if self.doubled else (value,)
                for number, registers in zip(numbers, self.registers, strict=True):
                    b.write(b.emit(arith.BitcastOp, (number,), i32), registers, b.index(4 * k + e))

    def _along(self, k: int, lower: int, deeper: int) -> SSAValue:
        """Rows of 128 bytes of the sum: the piece changes its place by the row."""
        b = self.b
        piece = b.emit(arith.XOrIOp, (b.index(2 * k + deeper), self.row), INDEX)
        row = b.plus(b.add(b.scaled(self.warp, 16), self.row), 8 * lower)
        return b.add(b.add(b.scaled(row, LINE), b.scaled(piece, PIECE)), self.column)

    def _turned(self, k: int, lower: int, deeper: int) -> SSAValue:
        """Blocks of 32 rows: a line has all of them at one depth, the piece changes its place by the depth."""
        b = self.b
        block, odd = b.divided(self.warp, 2)
        four, within = b.divided(self.row, PIECE)
        depth = b.plus(self.column, 4 * deeper)
        piece = b.emit(arith.XOrIOp, (b.plus(b.add(b.scaled(four, PIECES // 2), odd), 2 * lower), depth), INDEX)
        line = b.add(b.scaled(block, SIDE**2), b.scaled(b.plus(depth, CORE * k), LINE))
        return b.add(b.add(line, b.scaled(piece, PIECE)), within)
