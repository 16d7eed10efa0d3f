"""Kernels for ops that are no loop nest of index maps: argmax, scattered additions, sorting, running folds.

Every operand and result is row-major and seen as [before, axis, after]. Rows along the axis are independent
of each other, so they are what threads share; along the axis everything is sequential and in order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from xdsl.dialects import arith, func, memref, vector
from xdsl.dialects.builtin import (
    FloatAttr,
    IntegerAttr,
    IntegerType,
    MemRefType,
    Signedness,
    StringAttr,
    f32,
    i1,
    i64,
)
from xdsl.ir import Attribute, Block, Operation, Region, SSAValue

from ..dialects.errors import PassError, UnsupportedError
from ..dialects.sizes import Size, any_symbolic, estimate, largest
from ..dialects.target import Target
from . import fourier, radix_sort, rank_sort, selection
from .extremes import first_extreme
from .kernel_functions import make_function
from .loop_builder import INDEX, NO_OVERFLOW, LoopBuilder, vector_of
from .memory_plan import aligned
from .memref_layout import element_bytes, memref_type

FLOAT_PREDICATES = {"greater": 2, "less": 4, "nan": 14}
SIGNED_PREDICATES = {"less": 2, "greater": 4}
UNSIGNED_PREDICATES = {"less": 6, "greater": 8}
NARROW_FLOATS = ("f16", "bf16")


def irregular_function(
    name: str, op: Operation, inputs: Sequence[MemRefType], outputs: Sequence[MemRefType], target: Target
) -> func.FuncOp:
    """A private function of loops for one op; `lamina.scratch` gives the bytes of its scratch argument.

    UnsupportedError for an op without a kernel, PassError for an operand that is not row-major.
    """
    writer = _WRITERS.get(op.name)
    if writer is None:
        origin = op.attributes.get("origin")
        at = origin.data if isinstance(origin, StringAttr) else None
        raise UnsupportedError(
            f"{op.name} has no kernel", at=at, help="LAMINA_DEVICE=numpy runs it on the oracle"
        )
    for held in inputs:
        if held != memref_type(held.get_shape(), held.element_type):
            raise PassError(f"{op.name} needs row-major operands", [("operand", str(held), "")])
    return _Kernel(op, inputs, outputs, target).function(name, writer)


class _Kernel:
    """The function under construction; `x[k]` and `y[k]` are operands and results as 1-D memrefs."""

    def __init__(
        self, op: Operation, inputs: Sequence[MemRefType], outputs: Sequence[MemRefType], target: Target
    ) -> None:
        self.op, self.inputs, self.outputs, self.target = op, inputs, outputs, target
        self.block = Block(arg_types=[*inputs, *outputs])
        self.b = LoopBuilder(self.block)
        flats = [self.b.flat(a) for a in self.block.args]
        self.x, self.y = flats[: len(inputs)], flats[len(inputs) :]
        self.scratch_bytes = 0
        self.task: SSAValue | None = None

    def function(self, name: str, writer: Callable[[_Kernel], None]) -> func.FuncOp:
        if not any(0 in t.get_shape() for t in self.outputs):
            writer(self)
        self.block.add_op(func.ReturnOp())
        function = make_function(name, self.inputs, self.outputs, Region(self.block))
        if self.scratch_bytes:
            function.attributes["lamina.scratch"] = IntegerAttr(largest(self.scratch_bytes), i64)
        return function

    # Shapes and attributes

    @property
    def axis(self) -> int:
        return self.op.attributes.get("axis", self.op.properties.get("axis")).value.data

    def flag(self, name: str) -> bool:
        return bool(self.op.attributes.get(name, self.op.properties.get(name)).value.data)

    def element(self, k: int) -> Attribute:
        return self.inputs[k].element_type

    def is_unsigned(self, k: int) -> bool:
        element = self.op.operands[k].type.element_type
        return element == i1 or (
            isinstance(element, IntegerType) and element.signedness.data == Signedness.UNSIGNED
        )

    # Loops

    @contextmanager
    def loop(self, low: SSAValue | int, high: SSAValue | int, step: int = 1) -> Iterator[SSAValue]:
        """A loop without carried values."""
        ends = [e if isinstance(e, SSAValue) else self.b.index(e) for e in (low, high)]
        variable, _ = self.b.open_for(ends[0], ends[1], step)
        yield variable
        self.b.close_for()

    @contextmanager
    def rows(self, count: int, work: int) -> Iterator[SSAValue]:
        """`count` independent iterations of `work` operations each, shared by threads when that pays."""
        known = estimate(count)
        tasks = min(self.target.tasks, known) if known * estimate(work) >= self.target.parallel_work else 1
        if tasks == 1:
            with self.loop(0, count) as row:
                yield row
            return
        chunk = -(-count // tasks)
        self.task = self.b.open_parallel(tasks if isinstance(chunk, Size) else -(-count // chunk))
        low = self.b.scaled(self.task, chunk)
        with self.loop(low, self.b.minimum(self.b.plus(low, chunk), self.b.index(count))) as row:
            yield row
        self.b.close_parallel()

    def at(self, *terms: tuple[SSAValue, int]) -> SSAValue:
        """The sum of value * factor."""
        total: SSAValue | None = None
        for value, factor in terms:
            total = self.b.add(total, self.b.scaled(value, factor))
        return self.b.plus(total, 0)

    # Statements: loads and stores are in program order, so they are never shared or hoisted

    def do(self, op: Operation) -> SSAValue:
        self.b.do(op)
        return op.results[0]

    def load(self, memory: SSAValue, at: SSAValue, lanes: int = 1) -> SSAValue:
        element = memory.type.element_type
        if lanes > 1:
            return self.do(
                vector.LoadOp.create(operands=[memory, at], result_types=[vector_of(element, lanes)])
            )
        return self.do(memref.LoadOp.create(operands=[memory, at], result_types=[element]))

    def store(self, value: SSAValue, memory: SSAValue, at: SSAValue, lanes: int = 1) -> None:
        cls = vector.StoreOp if lanes > 1 else memref.StoreOp
        self.b.do(cls.create(operands=[value, memory, at]))

    def combine(self, a: SSAValue, b: SSAValue, product: bool = False) -> SSAValue:
        """a + b (or a * b)."""
        element = a.type.element_type if hasattr(a.type, "element_type") else a.type
        if isinstance(element, IntegerType):
            return self.b.emit(arith.MuliOp if product else arith.AddiOp, (a, b), a.type, NO_OVERFLOW)
        return self.b.emit(arith.MulfOp if product else arith.AddfOp, (a, b), a.type, PLAIN)

    def compare(self, relation: str, a: SSAValue, b: SSAValue, unsigned: bool = False) -> SSAValue:
        """a scalar i1: a relation b; "nan": either is NaN."""
        if isinstance(a.type, IntegerType) or a.type == INDEX:
            table = UNSIGNED_PREDICATES if unsigned else SIGNED_PREDICATES
            return self.b.emit(arith.CmpiOp, (a, b), i1, {"predicate": IntegerAttr(table[relation], i64)})
        properties = {"predicate": IntegerAttr(FLOAT_PREDICATES[relation], i64), **PLAIN}
        return self.b.emit(arith.CmpfOp, (a, b), i1, properties)

    def select(self, condition: SSAValue, a: SSAValue, b: SSAValue) -> SSAValue:
        return self.b.emit(arith.SelectOp, (condition, a, b), a.type)

    def both(self, a: SSAValue, b: SSAValue) -> SSAValue:
        return self.b.emit(arith.AndIOp, (a, b), i1)

    def either(self, a: SSAValue, b: SSAValue) -> SSAValue:
        return self.b.emit(arith.OrIOp, (a, b), i1)

    def before(self, a: SSAValue, b: SSAValue, descending: bool, unsigned: bool) -> SSAValue:
        """Whether a comes strictly before b in a sort; NaN counts as the largest."""
        if descending:
            a, b = b, a
        less = self.compare("less", a, b, unsigned)
        if isinstance(a.type, IntegerType):
            return less
        return self.either(
            less, self.both(self.compare("nan", b, b), self.negated(self.compare("nan", a, a)))
        )

    def negated(self, a: SSAValue) -> SSAValue:
        return self.b.emit(arith.XOrIOp, (a, self.b.constant(IntegerAttr(1, i1), i1)), i1)

    def clamped(self, position: SSAValue, size: int) -> SSAValue:
        """An i64 position as an index within 0..size-1: memory stays safe whatever the data."""
        index = self.b.emit(arith.IndexCastOp, (position,), INDEX)
        return self.b.maximum(self.b.minimum(index, self.b.index(size - 1)), self.b.index(0))

    def widened(self, value: SSAValue) -> SSAValue:
        """Narrow floats as f32."""
        return self.b.emit(arith.ExtFOp, (value,), f32) if str(value.type) in NARROW_FLOATS else value

    def narrowed(self, value: SSAValue, element: Attribute) -> SSAValue:
        return value if value.type == element else self.b.emit(arith.TruncFOp, (value,), element)

    def copy_all(self) -> None:
        """The first result starts as a copy of the first operand."""
        total = _product(self.outputs[0].get_shape())
        lanes = self.target.lanes(element_bytes(self.element(0)))
        whole = total - total % lanes
        for low, high, step in ((0, whole, lanes), (whole, total, 1)):
            if any_symbolic((low, high)) or low < high:
                with self.loop(low, high, step) as i:
                    self.store(self.load(self.x[0], i, step), self.y[0], i, step)

    def claim(self, scratch_bytes: int) -> None:
        """Adds the scratch argument."""
        self.scratch_bytes = scratch_bytes
        self.block.insert_arg(memref_type((scratch_bytes,), IntegerType(8)), len(self.block.args))
        self.b.level[self.block.args[-1]] = 0

    def view(self, element: Attribute, offset: SSAValue, length: int) -> SSAValue:
        """A piece of the scratch argument, `offset` bytes from its start."""
        return self.do(memref.ViewOp(self.block.args[-1], offset, [], memref_type((length,), element)))


PLAIN: dict[str, Attribute] = {"fastmath": arith.FastMathFlagsAttr("none")}


def _product(sizes: Sequence[int]) -> int:
    n = 1
    for size in sizes:
        n *= size
    return n


def _split(shape: Sequence[int], axis: int) -> tuple[int, int, int]:
    return _product(shape[:axis]), shape[axis], _product(shape[axis + 1 :])


def _first_extreme(kernel: _Kernel, largest: bool) -> None:
    """argmax and argmin: the index of the first largest (smallest) element; a NaN wins over everything."""
    outer, length, inner = _split(kernel.inputs[0].get_shape(), kernel.axis)
    b, unsigned = kernel.b, kernel.is_unsigned(0)
    if not unsigned and first_extreme(kernel, outer, length, inner, largest):
        return
    with kernel.rows(outer * inner, length) as row:
        o, i = b.divided(row, inner) if inner > 1 else (row, None)
        start = kernel.at((o, length * inner), *([(i, 1)] if i is not None else []))
        first = kernel.load(kernel.x[0], start)
        k, (best, where) = b.open_for(b.index(1), b.index(length), 1, [first, b.index(0)])
        value = kernel.load(kernel.x[0], kernel.at((start, 1), (k, inner)))
        better = kernel.compare("greater" if largest else "less", value, best, unsigned)
        if not isinstance(value.type, IntegerType):
            new = kernel.both(
                kernel.compare("nan", value, value), kernel.negated(kernel.compare("nan", best, best))
            )
            settled = kernel.negated(kernel.compare("nan", best, best))
            better = kernel.either(kernel.both(better, settled), new)
        after = b.close_for([kernel.select(better, value, best), kernel.select(better, k, where)])
        kernel.store(b.emit(arith.IndexCastOp, (after[1],), i64), kernel.y[0], row)


Arrival = Callable[[_Kernel, SSAValue, SSAValue], SSAValue]


def _scatter(kernel: _Kernel, arrive: Arrival | None) -> None:
    """y = x, then src[..] arrives at y[.., index[..], ..] at every place of index, in order."""
    kernel.copy_all()
    shape, places, source = (kernel.inputs[k].get_shape() for k in range(3))
    axis = kernel.axis
    if 0 in places:
        return

    def nest(d: int, variables: list[SSAValue]) -> None:
        if d < len(places):
            with kernel.loop(0, places[d]) as v:
                nest(d + 1, [*variables, v])
            return
        place = kernel.load(kernel.x[1], kernel.at(*_row_major_terms(variables, places)))
        target = list(variables)
        target[axis] = kernel.clamped(place, shape[axis])
        to = kernel.at(*_row_major_terms(target, shape))
        _arrive(kernel, arrive, to, kernel.at(*_row_major_terms(variables, source)), 1)

    nest(0, [])


def _row_major_terms(variables: Sequence[SSAValue], shape: Sequence[int]) -> list[tuple[SSAValue, int]]:
    return [(v, _product(shape[d + 1 :])) for d, v in enumerate(variables)]


def _arrive(kernel: _Kernel, arrive: Arrival | None, to: SSAValue, source: SSAValue, lanes: int) -> None:
    """y[to] becomes src[source], or the two combined, for as many neighbouring elements as there are lanes."""
    element = kernel.element(0)
    new = kernel.load(kernel.x[2], source, lanes)
    if arrive is not None:
        old = kernel.load(kernel.y[0], to, lanes)
        if lanes == 1:
            old, new = kernel.widened(old), kernel.widened(new)
        new = arrive(kernel, old, new)
        new = kernel.narrowed(new, element) if lanes == 1 else new
    kernel.store(new, kernel.y[0], to, lanes)


def _sum(kernel: _Kernel, old: SSAValue, new: SSAValue) -> SSAValue:
    return kernel.combine(old, new)


def _combination(kernel: _Kernel) -> Arrival | None:
    """What scatter does with a value and what it finds: None for "set"."""
    by = kernel.op.attributes.get("by", kernel.op.properties.get("by")).data
    if by == "mul":
        return lambda k, old, new: k.combine(old, new, product=True)
    return None if by == "set" else lambda k, old, new: _extreme(k, old, new, "greater" if by == "max" else "less")


def _extreme(kernel: _Kernel, old: SSAValue, new: SSAValue, relation: str) -> SSAValue:
    better = kernel.compare(relation, new, old, kernel.is_unsigned(0))
    if not isinstance(new.type, IntegerType):
        better = kernel.either(better, kernel.compare("nan", new, new))
    return kernel.select(better, new, old)


def _put(kernel: _Kernel, arrive: Arrival | None) -> None:
    """y = x, then the row of src for every place of index arrives at the row of y it names, in order."""
    kernel.copy_all()
    outer, length, inner = _split(kernel.inputs[0].get_shape(), kernel.axis)
    places = _product(kernel.inputs[1].get_shape())
    element = kernel.element(0)
    lanes = 1 if str(element) in NARROW_FLOATS else kernel.target.lanes(element_bytes(element))
    whole = inner - inner % lanes
    with kernel.loop(0, outer) as o, kernel.loop(0, places) as j:
        place = kernel.clamped(kernel.load(kernel.x[1], j), length)
        to = kernel.at((o, length * inner), (place, inner))
        source = kernel.at((o, places * inner), (j, inner))
        for low, high, step in ((0, whole, lanes), (whole, inner, 1)):
            if any_symbolic((low, high)) or low < high:
                with kernel.loop(low, high, step) as i:
                    _arrive(kernel, arrive, kernel.at((to, 1), (i, 1)), kernel.at((source, 1), (i, 1)), step)


def _running_extreme(kernel: _Kernel) -> None:
    """y[k] = the largest (smallest) of x[0] .. x[k], and where it is: the last of several; a NaN stays."""
    outer, length, inner = _split(kernel.inputs[0].get_shape(), kernel.axis)
    b, unsigned, worse = kernel.b, kernel.is_unsigned(0), "less" if kernel.flag("largest") else "greater"
    with kernel.rows(outer * inner, length) as row:
        o, i = b.divided(row, inner) if inner > 1 else (row, None)
        start = kernel.at((o, length * inner), *([(i, 1)] if i is not None else []))
        first = kernel.load(kernel.x[0], start)
        k, (best, where) = b.open_for(b.index(0), b.index(length), 1, [first, b.index(0)])
        here = kernel.at((start, 1), (k, inner))
        value = kernel.load(kernel.x[0], here)
        takes = kernel.negated(kernel.compare(worse, value, best, unsigned))
        if not isinstance(value.type, IntegerType):
            takes = kernel.both(takes, kernel.negated(kernel.compare("nan", best, best)))
            takes = kernel.either(takes, kernel.compare("nan", value, value))
        best, where = kernel.select(takes, value, best), kernel.select(takes, k, where)
        kernel.store(best, kernel.y[0], here)
        kernel.store(b.emit(arith.IndexCastOp, (where,), i64), kernel.y[1], here)
        b.close_for([best, where])


def _running(kernel: _Kernel, product: bool) -> None:
    """cumsum and cumprod: y[k] = x[0] op ... op x[k]."""
    outer, length, inner = _split(kernel.inputs[0].get_shape(), kernel.axis)
    b, element = kernel.b, kernel.element(0)
    wide = f32 if str(element) in NARROW_FLOATS else element
    one = 1 if product else 0
    neutral = IntegerAttr(one, wide) if isinstance(wide, IntegerType) else FloatAttr(float(one), wide)
    lanes = kernel.target.lanes(element_bytes(element))
    if lanes > 1 and wide == element and element != i1 and inner >= lanes:
        _running_columns(kernel, (outer, length, inner), lanes, b.splat(neutral, vector_of(element, lanes)), product)
        return
    with kernel.rows(outer * inner, length) as row:
        o, i = b.divided(row, inner) if inner > 1 else (row, None)
        start = kernel.at((o, length * inner), *([(i, 1)] if i is not None else []))
        k, (sum_,) = b.open_for(b.index(0), b.index(length), 1, [b.constant(neutral, wide)])
        here = kernel.at((start, 1), (k, inner))
        total = kernel.combine(sum_, kernel.widened(kernel.load(kernel.x[0], here)), product)
        kernel.store(kernel.narrowed(total, element), kernel.y[0], here)
        b.close_for([total])


def _running_columns(kernel: _Kernel, sizes: tuple[int, int, int], lanes: int, start: SSAValue, product: bool) -> None:
    """The same of columns that lie side by side: a few vectors of them at a time, the last ones moved back so that they fit."""
    (outer, length, inner), b = sizes, kernel.b
    vectors = min(4, inner // lanes)
    blocks = -(-inner // (vectors * lanes))
    with kernel.rows(outer * blocks, length * vectors * lanes) as task:
        o, block = b.divided(task, blocks)
        column = b.minimum(b.scaled(block, vectors * lanes), b.index(inner - vectors * lanes))
        k, sums = b.open_for(b.index(0), b.index(length), 1, [start] * vectors)
        here = kernel.at((o, length * inner), (k, inner), (column, 1))
        places = [b.plus(here, v * lanes) for v in range(vectors)]
        totals = [kernel.combine(s, kernel.load(kernel.x[0], at, lanes), product) for s, at in zip(sums, places, strict=True)]
        for total, at in zip(totals, places, strict=True):
            kernel.store(total, kernel.y[0], at, lanes)
        b.close_for(totals)


def _sort(kernel: _Kernel) -> None:
    """Stable sort of every row: by ranks, by digits, or a merge sort from the bottom up between two halves of a scratch row."""
    outer, length, inner = _split(kernel.inputs[0].get_shape(), kernel.axis)
    b, element = kernel.b, kernel.element(0)
    tasks = kernel.target.tasks
    value_bytes = aligned(2 * length * element_bytes(element))
    by_digits = radix_sort.sorts_by_digits(element, length)
    by_rank = not by_digits and rank_sort.sorts_by_rank(element, length, kernel.target)
    row_bytes = radix_sort.scratch_bytes(element, length) if by_digits else value_bytes + aligned(2 * length * 8)
    if by_rank:
        row_bytes = rank_sort.RankSort.scratch_bytes(length, kernel.target)
    kernel.claim(row_bytes * tasks)
    with kernel.rows(outer * inner, 16 * length) as row:
        base = b.index(0) if kernel.task is None else b.scaled(kernel.task, row_bytes)
        o, i = b.divided(row, inner) if inner > 1 else (row, None)
        start = kernel.at((o, length * inner), *([(i, 1)] if i is not None else []))
        if by_digits:
            radix_sort.RadixSort(kernel, base, length).write(start, inner)
            return
        if by_rank:
            ranks = rank_sort.RankSort(kernel, base, length, kernel.flag("descending"))
            ranks.rank(start, inner)
            with kernel.loop(0, length) as k:
                value, to = kernel.load(kernel.x[0], kernel.at((start, 1), (k, inner))), kernel.at((start, 1), (ranks.place(k), inner))
                kernel.store(value, kernel.y[0], to)
                kernel.store(b.emit(arith.IndexCastOp, (k,), i64), kernel.y[1], to)
            return
        values = kernel.view(element, base, 2 * length)
        order = kernel.view(i64, b.plus(base, value_bytes), 2 * length)
        with kernel.loop(0, length) as k:
            kernel.store(kernel.load(kernel.x[0], kernel.at((start, 1), (k, inner))), values, k)
            kernel.store(b.emit(arith.IndexCastOp, (k,), i64), order, k)
        sorted_at = _merge_passes(kernel, values, order, length)
        with kernel.loop(0, length) as k:
            here, to = b.add(sorted_at, k), kernel.at((start, 1), (k, inner))
            kernel.store(kernel.load(values, here), kernel.y[0], to)
            kernel.store(kernel.load(order, here), kernel.y[1], to)


def _merge_passes(kernel: _Kernel, values: SSAValue, order: SSAValue, length: int) -> SSAValue:
    """Merges runs of 1, 2, 4, ... elements; returns where the sorted row begins (0 or `length`)."""
    b = kernel.b
    passes = max(0, (largest(length) - 1).bit_length())  # those of a length known at the call that are too many copy
    _, (run, source, target) = b.open_for(
        b.index(0), b.index(passes), 1, [b.index(1), b.index(0), b.index(length)]
    )
    pairs = b.emit(arith.CeilDivSIOp, (b.index(length), b.scaled(run, 2)), INDEX)
    with kernel.loop(0, pairs) as pair:
        low = b.emit(arith.MuliOp, (pair, b.scaled(run, 2)), INDEX, NO_OVERFLOW)
        middle = b.minimum(b.add(low, run), b.index(length))
        high = b.minimum(b.add(middle, run), b.index(length))
        _merge(kernel, values, order, (source, target), (low, middle, high))
    return b.close_for([b.scaled(run, 2), target, source])[1]


def _merge(
    kernel: _Kernel,
    values: SSAValue,
    order: SSAValue,
    where: tuple[SSAValue, SSAValue],
    bounds: tuple[SSAValue, SSAValue, SSAValue],
) -> None:
    """Merges [low, middle) and [middle, high) of the source half into the target half.

    The left one wins ties.
    """
    b, (source, target), (low, middle, high) = kernel.b, where, bounds
    last = b.index(kernel.inputs[0].get_shape()[kernel.axis] - 1)
    k, (i, j) = b.open_for(low, high, 1, [low, middle])
    at_i, at_j = b.add(source, b.minimum(i, last)), b.add(source, b.minimum(j, last))
    left, right = kernel.load(values, at_i), kernel.load(values, at_j)
    wins = kernel.before(right, left, kernel.flag("descending"), kernel.is_unsigned(0))
    left_over = kernel.negated(kernel.compare("less", i, middle))
    take = kernel.both(kernel.compare("less", j, high), kernel.either(left_over, wins))
    chosen, to = kernel.select(take, at_j, at_i), b.add(target, k)
    kernel.store(kernel.select(take, right, left), values, to)
    kernel.store(kernel.load(order, chosen), order, to)
    step = kernel.select(take, b.index(1), b.index(0))
    other = kernel.select(take, b.index(0), b.index(1))
    b.close_for([b.add(i, other), b.add(j, step)])


_WRITERS: dict[str, Callable[[_Kernel], None]] = {
    "prim.argmax": lambda k: _first_extreme(k, largest=True),
    "prim.argmin": lambda k: _first_extreme(k, largest=False),
    "prim.scatter_add": lambda k: _scatter(k, _sum),
    "prim.scatter": lambda k: _scatter(k, _combination(k)),
    "prim.put_add": lambda k: _put(k, _sum),
    "prim.put": lambda k: _put(k, None),
    "prim.running": _running_extreme,
    "prim.cumsum": lambda k: _running(k, product=False),
    "prim.cumprod": lambda k: _running(k, product=True),
    "prim.sort": _sort,
    "prim.topk": selection.top,
    "prim.dft_parts": fourier.transform,
    "prim.real_dft": fourier.of_real,
    "prim.dft_to_real": fourier.to_real,
}
