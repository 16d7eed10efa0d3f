"""Which of the eight registers each tile of a loops-level function is in.

A tile is in a register of its shape, as the last `amx.tile_config` before it says; what a product adds to, and what a loop carries
from step to step, stays where it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from xdsl.dialects import func, scf
from xdsl.ir import Block, Operation, SSAValue

from ..dialects.amx import TileConfigOp, TileMulFOp, TileMulIOp, TileType
from ..dialects.errors import BackendError


def tile_registers(function: func.FuncOp, ops: Iterable[Operation]) -> dict[SSAValue, int]:
    """The register of every tile. ops: all of the function's. BackendError where more tiles live at once than there are registers of their shape."""
    return _Registers(function).given if any(type(op) is TileConfigOp for op in ops) else {}


class _Registers:
    def __init__(self, function: func.FuncOp) -> None:
        self.given: dict[SSAValue, int] = {}
        self.shapes: tuple[TileType, ...] = ()
        self.until: dict[int, tuple[Block, Operation]] = {}  # a register's last reader, seen from the block its tile was made in
        self.last = -1
        self._block(function.body.block)

    def _block(self, block: Block) -> None:
        for op in block.ops:
            if isinstance(op, TileConfigOp):
                self.shapes, self.until = tuple(op.tiles.data), {}  # type: ignore[arg-type]  # verified
            elif isinstance(op, scf.ForOp):
                for argument, start, result in zip(op.body.block.args[1:], op.iter_args, op.results, strict=True):
                    if start in self.given:
                        self.given[argument] = self.given[result] = self.given[start]
            elif isinstance(op, (TileMulFOp, TileMulIOp)):
                self.given[op.result] = self.given[op.acc]
            elif op.results and isinstance(op.results[0].type, TileType):
                self._take(op)
            for region in op.regions:
                for inner in region.blocks:
                    self._block(inner)
            self.until = {register: (where, reader) for register, (where, reader) in self.until.items() if reader is not op}

    def _take(self, op: Operation) -> None:
        tile = op.results[0]
        count = len(self.shapes)
        order = [(self.last + 1 + k) % count for k in range(count)]  # in turn: a load need not wait for who reads the one before
        free = (r for r in order if self.shapes[r] == tile.type and r not in self.until)
        register = next(free, None)
        if register is None:
            raise BackendError(f"no register is free for a tile {tile.type}", help="this is a bug of lamina's scheduler")
        block = op.parent
        assert block is not None
        readers = {_seen_from(block, reader) for reader in _readers(tile)}
        if readers:
            self.until[register] = block, max(readers, key=list(block.ops).index)
        self.given[tile], self.last = register, register


def _readers(tile: SSAValue) -> Iterator[Operation]:
    """Who reads a tile, or what became of it in the same register."""
    for use in tile.uses:
        op = use.operation
        yield op
        if isinstance(op, scf.ForOp):
            place = use.index - 3
            yield from _readers(op.results[place])
        elif isinstance(op, (TileMulFOp, TileMulIOp)) and op.acc is tile:
            yield from _readers(op.result)


def _seen_from(block: Block, op: Operation) -> Operation:
    """The op of a block that is, or holds, another one; the block's last op for one outside."""
    inner: Operation | None = op
    while inner is not None and inner.parent is not block:
        inner = inner.parent_op()
    last = block.last_op
    assert last is not None
    return inner or last
