"""A kernel of several parts as one launch: a table maps blocks to parts, another one arrays and lengths."""

from __future__ import annotations

from collections.abc import Sequence

from xdsl.dialects import arith, func
from xdsl.dialects.builtin import DenseArrayBase, i64
from xdsl.ir import SSAValue

from ..dialects import nv_parts
from ..dialects.target import GpuTarget
from .alike_kernels import Part, read_joined
from .gpu_nest import GroupLaunch
from .gpu_teams import THREADS, is_aligned
from .loop_builder import INDEX, NO_OVERFLOW
from .memref_layout import element_bytes, memref_type, span_of
from .nest_plan import flats_of
from .nest_stages import Buffer


def parts_launch(function: func.FuncOp, name: str, target: GpuTarget) -> func.FuncOp:
    """The launch of a function that says it has parts (alike_kernels.py)."""
    found = read_joined(function)
    return _PartsLaunch(function, name, found.parts, found.arguments, target).write()


class _PartsLaunch(GroupLaunch):
    """Writes the launch: one part's code, its arrays those of the block's part.

    A thread takes `width` neighbouring elements in wide accesses; where a part's length is no multiple of that, the rest one by one.
    """

    def __init__(
        self, function: func.FuncOp, name: str, parts: Sequence[Part], arguments: Sequence[Sequence[SSAValue]], target: GpuTarget
    ) -> None:
        first = next((k for k, part in enumerate(parts) if part.loop is not None), 0)
        self.part, self.lengths = parts[first], [part.length for part in parts]
        super().__init__(function, name, self.part.plan, self.part.plan.groups[0], target, 0)
        origins = (p.stage.origin for part in parts for p in part.leaf.stages if p.stage.origin)
        self.launch.origin = ", ".join(list(dict.fromkeys(origins))[:4])
        self.given = [[self.launch.args[v.index] for v in mine] for mine in arguments]  # type: ignore[attr-defined]  # arguments
        self.roles = {argument: role for role, argument in enumerate(self.part.roles)}
        self.arguments = len(self.part.roles)
        self.wide = (self.part.loop, _width(self.part, target)) if self.part.loop is not None else (None, 1)

    def write(self) -> func.FuncOp:
        """The launch's function."""
        b, width = self.b, self.wide[1]
        starts, blocks = [], 0
        for length in self.lengths:
            starts.append(blocks)
            blocks += -(-length // (THREADS * width))
        thread, block = b.thread(), b.block()
        self.number = b.emit(nv_parts.PartOp, (block,), INDEX, {"starts": _table(starts)})
        self.number.name_hint = "part"
        mine = b.emit(arith.SubiOp, (block, self._own(starts, "start")), INDEX, NO_OVERFLOW)
        place = b.scaled(b.add(b.scaled(mine, THREADS), thread), width)
        length = self._own(self.lengths, "length")
        for buffer in self.part.plan.kernel.buffers:
            if buffer.index < self.arguments:
                self.memory(buffer)
        with b.when(b.less(b.plus(place, width - 1), length)):
            self._at(place)
        if any(n % width for n in self.lengths):
            self.wide = (None, 1)
            with b.otherwise(), b.loop(place, length) as one:
                self._at(one)
        return self.launch.finish([blocks], THREADS)

    def _own(self, numbers: Sequence[int], hint: str) -> SSAValue:
        """The number of the block's part."""
        value = self.b.emit(nv_parts.PartNumberOp, (self.number,), INDEX, {"numbers": _table(numbers)})
        value.name_hint = hint
        return value

    def _at(self, place: SSAValue) -> None:
        """The part's code for the elements from a place on."""
        if self.part.loop is not None:
            self.body.variables[self.part.loop] = place
        self.begin(self.part.leaf)
        self._once(self.part.leaf)

    def _home(self, buffer: Buffer) -> SSAValue:
        role = self.roles[buffer.index]
        arrays = [mine[role] for mine in self.given]
        if all(a is arrays[0] for a in arrays):
            return self.b.flat(arrays[0])
        longest = max(span_of(a.type) for a in arrays)  # type: ignore[arg-type]  # memrefs
        held = memref_type((longest,), buffer.element)
        value = self.b.emit(nv_parts.PartMemoryOp, (self.number, *arrays), held)
        value.name_hint = self.launch.args[self.given[0][role].index].name_hint  # type: ignore[attr-defined]  # an argument
        return value


def _width(part: Part, target: GpuTarget) -> int:
    """Neighbouring elements a thread takes: as many as fit one access."""
    assert part.loop is not None
    flats = [f for f in flats_of(part.leaf) if f.terms.get(part.loop, 0) == 1]
    if not flats:
        return 1
    width = target.access_bytes // max(element_bytes(f.buffer.element) for f in flats)
    while width > 1 and not any(is_aligned(f, part.loop, width, target.access_bytes) for f in flats):
        width //= 2
    return max(1, width)


def _table(numbers: Sequence[int]) -> DenseArrayBase:
    return DenseArrayBase.from_list(i64, numbers)
