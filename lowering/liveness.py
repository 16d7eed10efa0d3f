"""Facts about the values of one loops-level function: which are needed, which memory is written, what a loop captures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from xdsl.ir import Block, Operation, SSAValue

# By name: programs for CPUs do not wait for the nv dialect to be loaded.
_POINTERS = frozenset(
    "memref.view memref.reinterpret_cast memref.subview memref.cast memref.collapse_shape memref.expand_shape kernel.bits nv.tensor_map".split()
)
_WRITTEN_OPERAND = {"memref.store": 1, "vector.store": 1, "vector.maskedstore": 0, "nv.store": -2, "nv.cp_async": 2, "nv.tma_store": 2, "amx.tile_store": 0}


def ops_within(op: Operation) -> list[Operation]:
    """Every op in the regions of one, as they are printed. xDSL's walk resumes a generator for each region around an op; a kernel has thousands."""
    found: list[Operation] = []

    def visit(block: Block) -> None:
        for inner in block.ops:
            found.append(inner)
            for region in inner.regions:
                for each in region.blocks:
                    visit(each)

    for region in op.regions:
        for block in region.blocks:
            visit(block)
    return found


def live_values(ops: Sequence[Operation]) -> set[SSAValue]:
    """Values that reach a store, a call or a loop: the others are not printed. ops: all of a function's, as `ops_within` gives them."""
    live: set[SSAValue] = set()
    for op in reversed(ops):
        if not op.results or op.regions or not live.isdisjoint(op.results):
            live.update(op.operands)
    return live


def root_of(value: SSAValue) -> SSAValue:
    """The memory a memref points into: an argument, an alloca, or a view of the arena."""
    while isinstance(owner := value.owner, Operation) and owner.name in _POINTERS:
        value = owner.operands[0]
    return value


def written_roots(ops: Iterable[Operation]) -> dict[SSAValue, None]:
    """Memory a function stores to, or hands to a call. ops: all of the function's."""
    found: dict[SSAValue, None] = {}
    for op in ops:
        name = op.name
        if name in _WRITTEN_OPERAND:
            root = root_of(op.operands[_WRITTEN_OPERAND[name]])
            found[root] = None
            if isinstance(root.owner, Operation) and root.owner.name == "nv.part_memory":  # one of these
                found.update((array, None) for array in root.owner.operands[1:])
        elif name == "func.call":
            found.update((root_of(value), None) for value in op.operands)
        elif name == "memref.alloca":
            found[op.results[0]] = None
    return found


def captured_values(loop: Operation) -> list[SSAValue]:
    """Values used inside a region op and made outside, in order of first use."""
    ops = ops_within(loop)
    inside: set[SSAValue] = {argument for op in (loop, *ops) for region in op.regions for block in region.blocks for argument in block.args}
    used: dict[SSAValue, None] = {}
    for op in ops:
        inside.update(op.results)
        used.update(dict.fromkeys(op.operands))
    return [value for value in used if value not in inside]
