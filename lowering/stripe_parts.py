"""The kernels of a striped chain as they run for one stripe: fewer rows of everything that has rows, the rest as it was.

    k(x, w -> P)    P = zeros; P[1 : 1 + h, 1 : 1 + w] = relu(x * w)        the border and the box inside it
    part            p[rows, w] = relu(x[rows] * w)                          the box alone; the border is somebody else's
    k(P, v -> y)    y[i, j] = sum P[i + a, j + b] v[a, b]                   rows i .. i + 2 of P for row i

A result may be made in several boxes that are whole along the rows (what is put together side by side), and a kernel may make several
results, all of them row by row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from xdsl.dialects import arith, func, memref
from xdsl.dialects.builtin import FunctionType, MemRefType, StringAttr, UnitAttr
from xdsl.dialects.linalg.ops import FillOp, GenericOp, IndexOp
from xdsl.ir import Attribute, Block, BlockArgument, Region, SSAValue
from xdsl.ir.affine import AffineDimExpr
from xdsl.rewriter import Rewriter

from ..dialects.sizes import any_symbolic
from ..dialects.target import Target
from .block_parts import has_scratch
from .contraction_decision import PLAN, read_decision
from .contraction_match import linear_form, loop_sizes
from .kernel_functions import make_function
from .linalg_to_loops import target_for
from .memref_layout import box_of, element_bytes, memref_type, strides_in_order, strides_of
from .prepacking import reads_same_copy
from .zero_margins import MARGINS

LINE_BYTES = 64
_PLAIN = (GenericOp, FillOp, arith.ConstantOp, memref.AllocaOp, memref.SubviewOp, func.ReturnOp)


@dataclass(frozen=True, slots=True)
class Reads:
    """Rows of an operand that row i of the result is made from: step * i, and `reach` more of them."""

    dim: int
    step: int
    reach: int

    def count(self, rows: int) -> int:
        """How many of them so many rows need."""
        return (rows - 1) * self.step + self.reach + 1


@dataclass(slots=True)
class RowCut:
    """A kernel that makes its results row by row. dims: of every result. box: per dim of the first result's buffer where the rows
    lie in it, and how many. border: what is around the box. values: dims of everything that has rows. work: multiply-adds.
    """

    function: func.FuncOp
    dims: list[int]
    box: list[tuple[int, int]]
    border: Attribute | None
    values: dict[SSAValue, int] = field(default_factory=dict)
    reads: dict[int, Reads | None] = field(default_factory=dict)
    work: int = 0

    @property
    def dim(self) -> int:
        """Of the first result."""
        return self.dims[0]

    @property
    def extent(self) -> int:
        """Rows of the results."""
        return self.box[self.dim][1]


def _inputs(function: func.FuncOp) -> int:
    return int(function.attributes["lamina.inputs"].value.data)  # type: ignore[attr-defined]  # an integer


def _results(function: func.FuncOp) -> Sequence[BlockArgument]:
    """The arguments results are written to."""
    first = _inputs(function)
    return function.body.block.args[first : first + int(function.attributes["lamina.outputs"].value.data)]  # type: ignore[attr-defined]


def cut_rows(function: func.FuncOp, dim: int) -> RowCut | None:
    """The kernel as one that makes its results row by row along a dim of the first; None where index maps do not say so."""
    block = function.body.block
    if not _results(function) or not all(isinstance(op, _PLAIN) for op in block.ops):
        return None
    if any(any_symbolic(a.type.get_shape()) for a in block.args):  # type: ignore[attr-defined]  # memrefs
        return None
    cut = _boxed(function, dim)
    if cut is None:
        return None
    waiting = [op for op in block.ops if isinstance(op, GenericOp)]
    while waiting:
        stage = next((op for op in waiting if any(v in cut.values for v in op.operands)), None)
        stage = stage or next((op for op in waiting if any(_has_rows(cut, v) for v in op.inputs)), None)
        if stage is None or not _cut_stage(cut, stage):
            return None
        waiting.remove(stage)
    return cut if all(_settle(cut, out) for out in _results(function)[1:]) else None


def _has_rows(cut: RowCut, value: SSAValue) -> bool:
    """Whether this is an operand of the kernel's of which one row is known to belong to each of a result."""
    if not isinstance(value, BlockArgument) or value.index >= _inputs(cut.function):
        return False
    reads = cut.reads.get(value.index)
    return reads is not None and (reads.step, reads.reach) == (1, 0)


def _places(out: BlockArgument) -> list[SSAValue]:
    """What stages write of a result: all of it, or boxes of it."""
    views = [use.operation.results[0] for use in out.uses if isinstance(use.operation, memref.SubviewOp)]
    return [*views] or [out]


def _settle(cut: RowCut, out: BlockArgument) -> bool:
    """Notes the dim of another result, which all that is written of it has in common."""
    dims = {cut.values.get(v) for v in _places(out)}
    dim = dims.pop()
    if dims or dim is None or not _is_whole(out, dim) or out.type.get_shape()[dim] != cut.extent:  # type: ignore[attr-defined]  # a memref
        return False
    cut.dims.append(dim)
    return True


def _is_whole(out: BlockArgument, dim: int) -> bool:
    """Whether stages write a result as it is, or boxes of it alone that reach from its first row to its last."""
    users = [use.operation for use in out.uses]
    views = [op for op in users if isinstance(op, memref.SubviewOp)]
    if not views:
        return True
    rows = out.type.get_shape()[dim]  # type: ignore[attr-defined]  # a memref
    return len(views) == len(users) and all(
        len(v.operands) == 1
        and (v.static_offsets.get_values()[dim], v.static_sizes.get_values()[dim], v.static_strides.get_values()[dim]) == (0, rows, 1)
        for v in views
    )


def _boxed(function: func.FuncOp, dim: int) -> RowCut | None:
    """The cut of a kernel that writes its whole first result, or a box of it and a constant around."""
    out, *others = _results(function)
    assert isinstance(out.type, MemRefType)
    if _is_whole(out, dim):
        return RowCut(function, [dim], [(0, n) for n in out.type.get_shape()], None, dict.fromkeys(_places(out), dim))
    users = [use.operation for use in out.uses]
    views = [op for op in function.body.block.ops if isinstance(op, memref.SubviewOp)]
    fills = [op for op in users if isinstance(op, FillOp)]
    if others or len(views) != 1 or views[0] not in users or len(users) != 2 or not fills or len(views[0].operands) > 1:
        return None
    view, constant = views[0], fills[0].inputs[0].owner
    if set(view.static_strides.get_values()) != {1} or not isinstance(constant, arith.ConstantOp):
        return None
    around = constant.value
    box = list(zip(view.static_offsets.get_values(), view.static_sizes.get_values(), strict=True))
    return RowCut(function, [dim], box, around, {view.result: dim})


def _cut_stage(cut: RowCut, op: GenericOp) -> bool:
    """Cuts a stage along the loop its known operands go along; what else it goes through becomes known."""
    sizes = loop_sizes(op)
    maps = [m.data.results for m in op.indexing_maps.data]
    known = [maps[k][cut.values[v]] for k, v in enumerate(op.operands) if v in cut.values]
    known = known or [maps[k][cut.reads[v.index].dim] for k, v in enumerate(op.inputs) if _has_rows(cut, v)]  # type: ignore[union-attr]  # an argument with rows
    loops = {e.position if isinstance(e, AffineDimExpr) else -1 for e in known}
    if sizes is None or len(loops) != 1 or min(loops) < 0 or sizes[row := loops.pop()] != cut.extent:
        return False
    if op.iterator_types.data[row].data.value != "parallel" or any(inner.name == "memref.load" for inner in op.body.block.ops):
        return False
    if any(isinstance(inner, IndexOp) and inner.dim.value.data == row for inner in op.body.block.ops):
        return False
    cut.work = max(cut.work, _product(sizes))
    return all(_follow(cut, op, k, value, row, sizes) for k, value in enumerate(op.operands))


def _product(sizes: Sequence[int]) -> int:
    n = 1
    for size in sizes:
        n *= size
    return n


def _follow(cut: RowCut, op: GenericOp, k: int, value: SSAValue, row: int, sizes: Sequence[int]) -> bool:
    """Notes how an operand goes along the rows."""
    forms = [linear_form(e, len(sizes)) for e in op.indexing_maps.data[k].data.results]
    if any(f is None for f in forms):
        return False
    dims = [p for p, f in enumerate(forms) if f is not None and f[row]]
    if isinstance(value, BlockArgument) and value.index < _inputs(cut.function):
        if len(dims) > 1 or any(c < 0 for f in forms for c in f or ()):
            return False
        found = None
        if dims:
            form = forms[dims[0]]
            assert form is not None
            reach = form[-1] + sum(c * (n - 1) for d, (c, n) in enumerate(zip(form, sizes, strict=False)) if d != row)
            found = Reads(dims[0], form[row], reach)
        known = cut.reads.setdefault(value.index, found)
        if known is None or found is None:
            return known is found
        cut.reads[value.index] = replace(known, reach=max(known.reach, found.reach))
        return (known.dim, known.step) == (found.dim, found.step)
    if len(dims) != 1 or not isinstance(op.indexing_maps.data[k].data.results[dims[0]], AffineDimExpr):
        return False
    return cut.values.setdefault(value, dims[0]) == dims[0]


# One stripe


class Parts:
    """The functions of parts of a program, each made once. functions, register: the program's, by key; see bufferize."""

    def __init__(self, target: Target, functions: dict[object, func.FuncOp], register: Callable[[object, func.FuncOp], func.FuncOp]) -> None:
        self.target, self.functions, self.register = target, functions, register
        self.tried: dict[object, func.FuncOp] = {}

    def can_be_had(self, cut: RowCut, rows: int, held: Sequence[MemRefType]) -> bool:
        """Whether a kernel's part for so many rows reads the packed copy that was made for the whole."""
        key = self._key(cut, rows, held)
        if key in self.functions:
            return True
        part = self.tried.get(key) or self.tried.setdefault(key, part_of(cut, rows, held, "part"))
        return reads_same_copy(cut.function, part, target_for(part, self.target))

    def of(self, cut: RowCut, rows: int, held: Sequence[MemRefType]) -> func.FuncOp:
        """The function of such a part."""
        key = self._key(cut, rows, held)
        if key in self.functions:
            return self.functions[key]
        part = self.tried.pop(key, None) or part_of(cut, rows, held, "part")
        part.sym_name = StringAttr(f"k{len(self.functions)}")
        return self.register(key, part)

    @staticmethod
    def _key(cut: RowCut, rows: int, held: Sequence[MemRefType]) -> object:
        return ("stripe", cut.function, cut.dim, rows, *held)


def part_of(cut: RowCut, rows: int, held: Sequence[MemRefType], name: str) -> func.FuncOp:
    """The kernel for so many rows, on one thread. held: the types of its arguments then; with a border the result's is that of its box
    alone.
    """
    function, values = _copied(cut)
    block = function.body.block
    for value, dim in values.items():
        kind = value.type
        assert isinstance(kind, MemRefType)
        if isinstance(value.owner, memref.AllocaOp):
            shape, strides = list(kind.get_shape()), strides_of(kind)
            shape[dim] = rows
            order = sorted(range(len(shape)), key=lambda d, strides=strides: (-strides[d], d))
            Rewriter.replace_value_with_new_type(value, memref_type(tuple(shape), kind.element_type, strides_in_order(shape, order)))
    if cut.border is not None:
        out = _results(function)[0]
        views = [use.operation for use in out.uses if isinstance(use.operation, memref.SubviewOp)]
        fills = [use.operation for use in out.uses if isinstance(use.operation, FillOp)]
        views[0].results[0].replace_all_uses_with(out)
        for op in (*views, *fills):
            op.detach()
            op.erase()
    if has_scratch(function):
        block.erase_arg(block.args[-1])
    for argument, kind in zip(block.args, held, strict=True):
        Rewriter.replace_value_with_new_type(argument, kind)
    for view in [op for op in block.ops if isinstance(op, memref.SubviewOp)]:
        _shorten(view, values[view.result], rows)
    function.sym_name = StringAttr(name)
    function.attributes["lamina.serial"] = UnitAttr()
    function.properties["function_type"] = FunctionType.from_lists([a.type for a in block.args], [])
    return function


def _shorten(view: memref.SubviewOp, dim: int, rows: int) -> None:
    """A box of a result that has fewer rows."""
    sizes = [rows if d == dim else n for d, n in enumerate(view.static_sizes.get_values())]
    box = box_of(view.source, view.static_offsets.get_values(), sizes, view.static_strides.get_values())
    Rewriter.replace_op(view, box)


def _copied(cut: RowCut) -> tuple[func.FuncOp, dict[SSAValue, int]]:
    """A copy of the function, and what has rows in it. With a packed copy of an operand the panels that it is read in stay, too."""
    function = cut.function.clone()
    values: dict[SSAValue, SSAValue] = dict(zip(cut.function.body.block.args, function.body.block.args, strict=True))
    for old, new in zip(cut.function.walk(), function.walk(), strict=True):
        values.update(zip(old.results, new.results, strict=True))
    function.attributes.pop(MARGINS, None)  # of whole operands
    plan = function.attributes.pop(PLAN, None)
    if isinstance(plan, StringAttr) and "lamina.packed" in function.attributes:
        decision = read_decision(plan.data)
        if decision.apart:  # loops that nothing limits any more come in their own order
            decision = replace(decision, inner=None, rows=None)
        if decision.unit is None:  # so many rows may be covered by other tiles
            decision = replace(decision, rows=None, ahead=None)
        function.attributes[PLAN] = StringAttr(str(replace(decision, block=None, apart=None)))
    return function, {values[v]: dim for v, dim in cut.values.items()}


def rows_of(kind: MemRefType, dim: int, rows: int) -> MemRefType:
    """So many rows of a buffer, where they lie."""
    shape = list(kind.get_shape())
    shape[dim] = rows
    return memref_type(tuple(shape), kind.element_type, strides_of(kind))


def dense_rows(kind: MemRefType, dim: int, rows: int) -> MemRefType:
    """A buffer of its own for so many rows, its dims in the same order. What lies in front of the rows is an odd number of cache lines apart:
    what a kernel makes side by side (tiles of several sums) would else meet in few sets of the first cache.
    """
    shape, whole = list(kind.get_shape()), strides_of(kind)
    shape[dim] = rows
    order = sorted(range(len(shape)), key=lambda d: (-whole[d], d))
    strides = list(strides_in_order(shape, order))
    run = strides[dim] * rows
    lines, rest = divmod(run * element_bytes(kind.element_type), LINE_BYTES)
    gap = 0 if rest or lines % 2 else LINE_BYTES // element_bytes(kind.element_type)
    for d in order[: order.index(dim)]:
        strides[d] += strides[d] // run * gap
    return memref_type(tuple(shape), kind.element_type, tuple(strides))


def border_function(name: str, kind: MemRefType, slabs: Sequence[Sequence[tuple[int, int]]], number: Attribute) -> func.FuncOp:
    """``name(buffer)``: a constant in these boxes of it."""
    block = Block(arg_types=[kind])
    constant = arith.ConstantOp(number)  # type: ignore[arg-type]  # a number's attribute
    block.add_op(constant)
    for slab in slabs:
        view = box_of(block.args[0], [low for low, _ in slab], [high - low for low, high in slab], [1] * len(slab))
        block.add_ops([view, FillOp([constant.result], [view.result], [])])
    block.add_op(func.ReturnOp())
    function = make_function(name, [], [kind], Region(block))
    function.attributes["lamina.serial"] = UnitAttr()
    return function
