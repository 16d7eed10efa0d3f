"""One launch: a function of one thread with the kernel's arguments, its grid, its block, its shared memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from xdsl.dialects import func, memref
from xdsl.dialects.builtin import DenseArrayBase, IntegerAttr, StringAttr, i64
from xdsl.ir import Attribute, Block, Region, SSAValue

from ..dialects.errors import PassError
from .gpu_builder import GpuBuilder
from .memref_layout import memref_type

GRID, THREADS, SHARED_BYTES, CLUSTER, TOGETHER = "nv.grid", "nv.block", "nv.shared_bytes", "nv.cluster", "nv.together"
_LARGEST_GRID = (2**31 - 1, 65535, 65535)


class LaunchBuilder:
    """A launch under construction. b: builds its code; args: the kernel's arguments."""

    def __init__(self, function: func.FuncOp, name: str, origin: str = "") -> None:
        self.name = name
        self.origin = origin
        old = function.body.block.args
        self.block = Block(arg_types=[a.type for a in old])
        for arg, new in zip(old, self.block.args, strict=True):
            new.name_hint = arg.name_hint
        self.args = self.block.args
        self.b = GpuBuilder(self.block)
        self.shared_bytes = 0
        self.cluster = 1
        self.together = 1
        """Blocks that a processor has registers for at once."""

    def scratch(self, offset: SSAValue, length: int, element: Attribute) -> SSAValue:
        """A piece of the scratch argument, some bytes from its start."""
        op = memref.ViewOp(self.args[-1], offset, [], memref_type((length,), element))
        return self.b.at(op, self.b.level[offset])

    def take_shared(self, size: int, alignment: int = 16) -> int:
        """The byte offset of a new piece of shared memory."""
        at = -(-self.shared_bytes // alignment) * alignment
        self.shared_bytes = at + size
        return at

    def finish(self, grid: Sequence[int], threads: int) -> func.FuncOp:
        """The function. grid: blocks along x, y, z. PassError for a grid no GPU takes."""
        whole = [*grid, 1, 1][:3]
        if any(n > most for n, most in zip(whole, _LARGEST_GRID, strict=True)):
            raise PassError(f"a grid of {whole} blocks is too large for any GPU", [("kernel", self.name, self.origin)])
        self.block.add_op(func.ReturnOp())
        made = func.FuncOp(self.name, ([a.type for a in self.args], []), Region(self.block), "private")
        made.attributes[GRID] = DenseArrayBase.from_list(i64, whole)
        made.attributes[THREADS] = IntegerAttr(threads, i64)
        made.attributes[SHARED_BYTES] = IntegerAttr(self.shared_bytes, i64)
        if self.cluster > 1:
            made.attributes[CLUSTER] = IntegerAttr(self.cluster, i64)
        if self.together > 1:
            made.attributes[TOGETHER] = IntegerAttr(self.together, i64)
        if self.origin:
            made.attributes["origin"] = StringAttr(self.origin)
        return made


@dataclass(frozen=True)
class LaunchShape:
    """Blocks along x, y, z; threads per block; bytes of shared memory per block; how many neighbours along x are a cluster; blocks a processor has registers for."""

    grid: tuple[int, int, int]
    threads: int
    shared_bytes: int
    cluster: int = 1
    together: int = 1


def launch_shape(function: func.FuncOp) -> LaunchShape | None:
    """The shape a function is launched with; None when it is no kernel of the gpu level."""
    grid = function.attributes.get(GRID)
    if not isinstance(grid, DenseArrayBase):
        return None
    threads, shared = function.attributes[THREADS], function.attributes[SHARED_BYTES]
    assert isinstance(threads, IntegerAttr) and isinstance(shared, IntegerAttr)
    x, y, z = grid.get_values()
    cluster, together = (n.value.data if isinstance(n := function.attributes.get(name), IntegerAttr) else 1 for name in (CLUSTER, TOGETHER))
    return LaunchShape((x, y, z), threads.value.data, shared.value.data, cluster, together)
