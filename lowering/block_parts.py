"""The kernels of a blocked chain as they run for one block: smaller sizes, positions counted from the block's own, sums added up.

    k(q, k -> S)    S[m, n] = index m >= index n ? sum_k Q[m, k] K[n, k] : -inf
    part            the same with m of one block, and its first row as one more operand that is added to `index m`
    k(P, g -> dV)   dV[n, d] = sum_m P[m, n] g[m, d]
    part            dV[n, d] = before[n, d] + the same over m of one block; before and dV are one memory
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from xdsl.dialects import arith, func, memref
from xdsl.dialects.builtin import AffineMapAttr, FloatAttr, FunctionType, IntegerAttr, IntegerType, MemRefType, StringAttr, UnitAttr, i64
from xdsl.dialects.linalg.ops import FillOp, GenericOp, IndexOp, YieldOp
from xdsl.ir import Attribute, Block, BlockArgument, Operation, Region, SSAValue
from xdsl.ir.affine import AffineConstantExpr, AffineDimExpr, AffineMap
from xdsl.rewriter import Rewriter

from ..dialects.attributes import dimensions
from .block_analysis import Cut, asked, pure_dims
from .contraction_body import product_of
from .contraction_match import loop_sizes
from .kernel_functions import PARALLEL, make_function, unplanned
from .memref_layout import memref_type, strides_in_order, strides_of
from .storage import Call, Home


class Rows(NamedTuple):
    """Equal blocks of the innermost blocked loop: `count` of `size`, the first one at index `start`. limit: columns of their matrices
    that matter (0: all).
    """

    start: int
    count: int
    size: int
    limit: int = 0


@dataclass(slots=True)
class Member:
    """A call of a chain: its function with an argument per operand slot, and the home of each argument. unpacked: the operand of which
    the call outside of a chain reads a packed copy.
    """

    call: Call
    function: func.FuncOp
    homes: list[Home]
    cuts: list[Cut]
    steps: list[list[int]]  # per cut, the elements every argument moves per step; 0: it is read whole
    writes: int
    unpacked: int | None = None

    @property
    def reads(self) -> int:
        """Arguments that are read; then come those that are written."""
        return len(self.homes) - self.writes

    def sums_over(self, loops: int) -> int | None:
        """The first of so many cuts over which its product sums."""
        return next((b for b, cut in enumerate(self.cuts[:loops]) if cut.sums is not None), None)


class Given(NamedTuple):
    """What an argument of a part is: argument `number` of the member (home), the first index of block loop `number` as a value of a
    type (position), or the memory of result `number` as it was (before)."""

    what: str
    number: int
    kind: Attribute | None = None


def arguments_of(m: Member, loops: int) -> list[Given]:
    """What the arguments of the member's part are, all but the scratch memory."""
    reads = [Given("home", k) for k in range(m.reads)]
    writes = [Given("home", k) for k in range(m.reads, len(m.homes))]
    before = [Given("before", g.number) for g in writes] if m.sums_over(loops) is not None else []
    return [*reads, *_positions(m, loops), *before, *writes]


def _positions(m: Member, loops: int) -> list[Given]:
    found: dict[Given, None] = {}
    for b, cut in enumerate(m.cuts[:loops]):
        for op, loop in cut.loops.items():
            for index in asked(op, loop):  # type: ignore[arg-type]  # stages are generics
                found.update((Given("position", b, use.operation.results[0].type), None) for use in index.results[0].uses)
    return list(found)


def type_within(m: Member, number: int, sizes: Sequence[int]) -> MemRefType:
    """The type of an argument inside block loops of these sizes."""
    value = m.function.body.block.args[number]
    held = value.type
    assert isinstance(held, MemRefType)
    shape = _shapes(m, sizes).get(value, list(held.get_shape()))
    return memref_type(tuple(shape), held.element_type, tuple(strides_of(held)))


def part_of(m: Member, sizes: Sequence[int], loops: int, small: Sequence[int], name: str) -> func.FuncOp:
    """The member's function for one block of these sizes, on one thread. loops: so many cuts move from block to block; one more has a
    size only. small: arguments that hold one block only, and are dense.
    """
    m = _copied(m)
    function, positions = m.function, _positions(m, loops)
    _shrink(m, sizes, small)
    _add_positions(m, positions, sizes)
    _drop_unit_loops(m)
    if m.sums_over(loops) is not None:
        _add_up(m)
    function.sym_name = StringAttr(name)
    function.attributes["lamina.serial"] = UnitAttr()
    function.properties["function_type"] = FunctionType.from_lists([a.type for a in function.body.block.args], [])
    return function


def fill_function(name: str, held: MemRefType) -> func.FuncOp:
    """``name(sums)``: zeros."""
    block = Block(arg_types=[held])
    zero = arith.ConstantOp(_zero(held.element_type))
    block.add_ops([zero, FillOp([zero.result], [block.args[0]], []), func.ReturnOp()])
    function = make_function(name, [], [held], Region(block))
    function.attributes["lamina.serial"] = UnitAttr()
    return function


def split(m: Member, name: str) -> tuple[Member, func.FuncOp, MemRefType] | None:
    """A product that sums over blocks and goes on with its sum: the member without what follows, the function of what follows
    with the sum as its last operand, and the sum's type. None where nothing follows."""
    product = next(cut.sums for cut in m.cuts if cut.sums is not None)
    total = product.outputs[0]
    if isinstance(total, BlockArgument):
        return None
    held = total.type
    assert isinstance(held, MemRefType)
    after = unplanned(m.call.function)
    _keep_after(after, held, name)
    steps = [cut.written.get(total, 0) for cut in m.cuts]
    block, reads = m.function.body.block, m.reads
    _erase([op for op in block.ops if isinstance(op, GenericOp) and op is not product])
    finished = list(block.args)[reads:]
    for argument in finished:
        block.erase_arg(argument)
    made = block.insert_arg(held, reads)
    total.replace_all_uses_with(made)
    _erase([total.owner])  # type: ignore[list-item]  # an alloca
    _erase([op for op in block.ops if isinstance(op, memref.AllocaOp) and not op.results[0].uses])
    for cut, step in zip(m.cuts, steps, strict=True):
        for value in (total, *finished):
            cut.written.pop(value, None)
        if step:
            cut.written[made] = step
        cut.loops = {op: loop for op, loop in cut.loops.items() if op is product}
    m.function.attributes["lamina.outputs"] = IntegerAttr(1, i64)
    rest = replace(m, homes=m.homes[:reads], steps=[[*s[:reads], step] for s, step in zip(m.steps, steps, strict=True)], writes=1)
    return rest, after, held


def _keep_after(function: func.FuncOp, held: MemRefType, name: str) -> None:
    """Takes the product out of a function: its sum becomes the last operand."""
    block = function.body.block
    product = next(op for op in block.ops if isinstance(op, GenericOp) and product_of(op) is not None)
    total = product.outputs[0]
    fills = [use.operation for use in total.uses if isinstance(use.operation, FillOp)]
    if has_scratch(function):
        block.erase_arg(block.args[-1])
    finished = _add_input(function, held)
    _erase([*fills, product])
    total.replace_all_uses_with(finished)
    _erase([total.owner])  # type: ignore[list-item]  # an alloca
    function.sym_name = StringAttr(name)
    function.properties["function_type"] = FunctionType.from_lists([a.type for a in block.args], [])


def has_scratch(function: func.FuncOp) -> bool:
    """Whether a function takes scratch memory beside what it reads and writes."""
    return len(function.body.block.args) > sum(_count(function, part) for part in ("inputs", "outputs"))


def _count(function: func.FuncOp, part: str) -> int:
    return int(function.attributes[f"lamina.{part}"].value.data)  # type: ignore[attr-defined]  # an integer


def _add_input(function: func.FuncOp, held: MemRefType) -> BlockArgument:
    """One more operand, behind those there are."""
    count = _count(function, "inputs")
    function.attributes["lamina.inputs"] = IntegerAttr(count + 1, i64)
    return function.body.block.insert_arg(held, count)


def _erase(ops: Sequence[Operation]) -> None:
    for op in reversed(ops):
        op.detach()
        op.erase()


# Changes of a function


def _copied(m: Member) -> Member:
    """The member with a function of its own."""
    function = m.function.clone()
    ops = dict(zip(m.function.walk(), function.walk(), strict=True))
    values: dict[SSAValue, SSAValue] = dict(zip(m.function.body.block.args, function.body.block.args, strict=True))
    for old, new in ops.items():
        values.update(zip(old.results, new.results, strict=True))
    cuts = [
        Cut(
            cut.extent, {ops[op]: loop for op, loop in cut.loops.items()}, {values[v]: step for v, step in cut.written.items()},
            {(ops[op], k): step for (op, k), step in cut.steps.items() if op in ops}, None if cut.sums is None else ops[cut.sums],  # type: ignore[arg-type]
        )
        for cut in m.cuts
    ]  # fmt: skip
    return replace(m, function=function, cuts=cuts)


def _shapes(m: Member, sizes: Sequence[int]) -> dict[SSAValue, list[int]]:
    """The sizes of every value that these loops cut."""
    shapes: dict[SSAValue, list[int]] = {}
    for size, cut in zip(sizes, m.cuts, strict=False):
        for op, loop in cut.loops.items():
            for k, value in enumerate(op.operands):
                assert isinstance(value.type, MemRefType)
                shape = shapes.setdefault(value, list(value.type.get_shape()))
                for p in pure_dims(op, k, loop):  # type: ignore[arg-type]  # stages are generics
                    shape[p] = size
    return shapes


def _shrink(m: Member, sizes: Sequence[int], small: Sequence[int]) -> None:
    for value, shape in _shapes(m, sizes).items():
        held = value.type
        assert isinstance(held, MemRefType)
        strides = strides_of(held)
        if not isinstance(value, BlockArgument) or value.index in small:
            strides = strides_in_order(shape, sorted(range(len(shape)), key=lambda d: (-strides[d], d)))
        Rewriter.replace_value_with_new_type(value, memref_type(tuple(shape), held.element_type, tuple(strides)))


def _add_positions(m: Member, positions: Sequence[Given], sizes: Sequence[int]) -> None:
    """Positions along blocked loops count from the block's first index, which is an operand."""
    for given in positions:
        assert given.kind is not None
        first = _add_input(m.function, memref_type((1,), given.kind))
        for op, loop in list(m.cuts[given.number].loops.items()):
            assert isinstance(op, GenericOp)
            uses = [use.operation for index in asked(op, loop) for use in index.results[0].uses]
            counted = [cast for cast in uses if cast.results[0].type == given.kind]
            if counted:
                _replaced(m, op, _with_first(op, first, counted, sizes[given.number] > 1))


def _with_first(op: GenericOp, first: SSAValue, counted: Sequence[Operation], several: bool) -> GenericOp:
    """The stage with one more input, which is added to these positions. several: the block has more than one."""
    body = op.detach_region(op.body)
    number = body.block.insert_arg(counted[0].results[0].type, len(op.inputs))
    for cast in counted:
        place = cast.results[0]
        if not several:
            place.replace_all_uses_with(number)
            _erase([cast])
            continue
        added = arith.AddiOp(place, number)
        place.replace_uses_with_if(added.result, lambda use, made=added: use.operation is not made)
        body.block.insert_op_after(added, cast)
    maps = list(op.indexing_maps.data)
    dims = maps[0].data.num_dims
    maps.insert(len(op.inputs), AffineMapAttr(AffineMap(dims, 0, (AffineConstantExpr(0),))))
    _erase([i for i in body.block.ops if isinstance(i, IndexOp) and not i.results[0].uses])
    made = GenericOp([*op.inputs, first], list(op.outputs), body, maps, list(op.iterator_types.data))
    made.attributes.update(op.attributes)
    return made


def _drop_unit_loops(m: Member) -> None:
    """Stages that ask where they are have no loops of one step: the nest scheduler numbers loops without them."""
    for op in list(m.function.body.block.ops):
        if isinstance(op, GenericOp) and any(isinstance(inner, IndexOp) for inner in op.body.block.ops):
            sizes = loop_sizes(op)
            if sizes is not None and 1 in sizes:
                _replaced(m, op, _without_unit_loops(op, sizes))


def _without_unit_loops(op: GenericOp, sizes: Sequence[int]) -> GenericOp:
    kept = [d for d, n in enumerate(sizes) if n != 1]
    numbers = {d: i for i, d in enumerate(kept)}
    dims = [AffineDimExpr(numbers[d]) if d in numbers else AffineConstantExpr(0) for d in range(len(sizes))]
    maps = [AffineMapAttr(m.data.replace_dims_and_symbols(dims, [], len(kept), 0)) for m in op.indexing_maps.data]
    kinds = [op.iterator_types.data[d] for d in kept]
    body = op.detach_region(op.body)
    for inner in body.block.ops:
        if isinstance(inner, IndexOp):
            inner.properties["dim"] = IntegerAttr(numbers[inner.dim.value.data], i64)
    made = GenericOp(list(op.inputs), list(op.outputs), body, maps, kinds)
    made.attributes.update(op.attributes)
    return made


def _replaced(m: Member, old: GenericOp, new: GenericOp) -> None:
    block = old.parent
    assert block is not None
    block.insert_op_before(new, old)
    for cut in m.cuts:
        if old in cut.loops:
            cut.loops[new] = cut.loops.pop(old)
        cut.sums = new if cut.sums is old else cut.sums
    _erase([old])


def _add_up(m: Member) -> None:
    """out = product becomes out = before + product, before being the memory of out."""
    block = m.function.body.block
    product = next(cut.sums for cut in m.cuts if cut.sums is not None)
    out = product.outputs[0]
    held = out.type
    assert isinstance(held, MemRefType)
    fresh = memref.AllocaOp.get(held.element_type, shape=dimensions(held.get_shape()))
    first = block.first_op
    assert first is not None
    block.insert_op_before(fresh, first)
    out.replace_all_uses_with(fresh.memref)
    before = _add_input(m.function, held)
    block.insert_op_before(_sum_stage(before, fresh.memref, out), block.last_op)  # type: ignore[arg-type]  # a return


def _sum_stage(a: SSAValue, b: SSAValue, out: SSAValue) -> GenericOp:
    held = out.type
    assert isinstance(held, MemRefType)
    element, dims = held.element_type, len(held.get_shape())
    body = Block(arg_types=[element] * 3)
    add = (arith.AddiOp if isinstance(element, IntegerType) else arith.AddfOp)(body.args[0], body.args[1])
    body.add_ops([add, YieldOp(add.result)])
    identity = AffineMapAttr(AffineMap.identity(dims))
    return GenericOp([a, b], [out], Region(body), [identity] * 3, [PARALLEL] * dims)


def _zero(element: Attribute) -> IntegerAttr | FloatAttr:
    return IntegerAttr(0, element) if isinstance(element, IntegerType) else FloatAttr(0.0, element)  # type: ignore[arg-type]
