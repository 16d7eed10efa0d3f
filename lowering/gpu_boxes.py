"""A product's operands as boxes the copy engine brings: which loops step together, which windows slide, how rows and sums are cut.

Everything is read from strides. Loops of one list (rows, columns, batch or sums of the product) whose joint number steps evenly are
one. A box goes some steps along each of the loops that are left: 64 rows of a tile are 64 rows of a matrix, or 4 x 4 pixels of 4
images; as deep as a step of the sum is, a box has 128 bytes of channels of one tap, or as many pixels. Two loops that overlap in memory,
an image's rows and a filter's, share a dimension of the tensor map: what they reach together is the padded image.

    x[n, 2 y + v, 2 x + u, c]   rows (n, y, x), sums (v, u, c)      dimensions c | x and u | y and v | n, every second x and y
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import gcd, prod

from ..dialects.nv_hopper import LARGEST_BOX, LARGEST_EVERY
from .contraction_match import Access, Contraction, Factor
from .memref_layout import element_bytes

RUN_BYTES = 16
"""What the copy engine's strides are multiples of."""
ROW_BYTES = 128
"""Of a row of a box."""
SLOT = 64
"""Rows, or columns, of a tile that one box brings at most; a warpgroup multiplies as many rows."""
TURNED_BYTES = (2, 4)
"""Of elements that may lie along an operand's rows: wgmma reads those of 16 bits so, blocks of 32 bits are turned where they were brought."""
MOST_DIMENSIONS = 5
LEAST_USE, FINER_USE = 0.5, 0.95
"""Of what boxes of several loops bring, the part that is multiplied for a result; where the operand itself needs fewer loops."""


@dataclass(frozen=True)
class Loop:
    """Loops whose joint number steps evenly: dims of the contraction, outermost first, and how many steps they make."""

    dims: tuple[int, ...]
    size: int

    def step(self, access: Access) -> int:
        """Elements between neighbours."""
        return access.strides[self.dims[-1]]

    def is_even(self, found: Contraction, access: Access) -> bool:
        """Whether an access steps evenly through it, too."""
        return all(access.strides[a] == access.strides[d] * found.sizes[d] for a, d in zip(self.dims, self.dims[1:], strict=False))


@dataclass(frozen=True)
class Cut:
    """A list's loops, outermost first, and how far along each a box goes."""

    loops: tuple[Loop, ...]
    box: tuple[int, ...]

    @property
    def counts(self) -> list[int]:
        """Boxes along each loop."""
        return [-(-loop.size // n) for loop, n in zip(self.loops, self.box, strict=True)]

    @property
    def count(self) -> int:
        return prod(self.counts)

    @property
    def use(self) -> float:
        """The part of what boxes go over that there is; of a single loop, only its last box is not full."""
        return prod(loop.size for loop in self.loops) / (self.count * max(SLOT, prod(self.box))) if len(self.loops) > 1 else 1.0

    @property
    def cut(self) -> list[Loop]:
        """Loops whose last box goes on behind their end."""
        return [loop for loop, n in zip(self.loops, self.box, strict=True) if loop.size % n]


@dataclass(frozen=True)
class Dimension:
    """One of a tensor map's: step: elements between neighbours; loops: with how many of these each moves, negative from its end on;
    box, every: see nv.tensor_map.
    """

    step: int
    loops: tuple[tuple[Loop, int], ...]
    box: int
    every: int

    @property
    def size(self) -> int:
        """All that the loops reach."""
        return 1 + sum(abs(many) * (loop.size - 1) for loop, many in self.loops)


@dataclass(frozen=True)
class OperandBoxes:
    """An operand of a product: its map's dimensions, innermost first, from `offset` on.

    turned: rows lie in a row of a box, else the sum does. own: how the operand's rows are cut; a slot of them is one box, or, where
    they lie turned and 128 bytes have fewer, `beside` boxes side by side.
    """

    own: Cut
    offset: int
    turned: bool
    dimensions: tuple[Dimension, ...]
    beside: int = 1

    @property
    def is_whole(self) -> bool:
        """Whether one box can bring all rows of a tile."""
        return not self.turned and len(self.own.loops) == 1


@dataclass(frozen=True)
class Boxes:
    """A product in boxes. depth: elements of the sum in one."""

    left: OperandBoxes
    right: OperandBoxes
    sums: Cut
    batch: tuple[Loop, ...]
    depth: int

    @property
    def is_even(self) -> bool:
        """Whether a sum may end anywhere: what lies behind the last box is zero in both operands."""
        return len(self.sums.loops) == 1 and not _end_within(self.sums.loops, self.left, self.right)


def joined(found: Contraction, dims: Sequence[int], accesses: Sequence[Access]) -> tuple[Loop, ...]:
    """Some loops of a contraction, neighbours that step evenly through all the accesses as one, unless another one slides over what they reach."""
    runs: list[list[int]] = []
    for d in dims:
        if runs and all(_steps_on(found, a, runs[-1], d) for a in accesses):
            runs[-1].append(d)
        else:
            runs.append([d])
    return tuple(Loop(tuple(run), prod(found.sizes[d] for d in run)) for run in runs)


def _steps_on(found: Contraction, access: Access, run: Sequence[int], d: int) -> bool:
    step, sizes = access.strides[d], found.sizes
    size = sizes[d] * prod(sizes[r] for r in run)
    others = [e for e, s in enumerate(access.strides) if s and e != d and e not in run]
    apart = step == 0 or all(_are_nested(abs(step), size, abs(access.strides[e]), sizes[e]) for e in others)
    return access.strides[run[-1]] == step * sizes[d] and apart


def plan_boxes(
    found: Contraction, factors: tuple[Factor, Factor], lists: tuple[Sequence[int], Sequence[int]], batch: Sequence[int], sums: Sequence[int]
) -> Boxes | None:
    """Both operands in boxes; None where one is not aligned, has bytes along its rows, or too little of the boxes is used.

    lists: the loops of the rows and of the columns, batch, sums: the others, all outermost first.
    """
    accesses = [f.access for f in factors]
    depth = ROW_BYTES // element_bytes(accesses[0].element)
    inner = joined(found, sums, accesses)
    between = joined(found, batch, accesses)
    sum_cut = _sum_cut(inner, accesses, depth)
    if sum_cut is None:
        return None
    owns = [_rows(found, dims, a) for dims, a in zip(lists, accesses, strict=True)]
    left, right = (_operand(a, loops, sum_cut, between) for a, loops in zip(accesses, owns, strict=True))
    if left is None or right is None or _end_within(sum_cut.cut, left, right):
        return None
    deep = prod(loop.size for loop in inner) / (sum_cut.count * depth) if len(inner) > 1 else 1.0
    if left.own.use * right.own.use * deep < LEAST_USE:
        return None
    return Boxes(left, right, sum_cut, between, depth)


def _rows(found: Contraction, dims: Sequence[int], access: Access) -> tuple[Loop, ...]:
    """Rows that step evenly through the operand and, where hardly anything of the boxes is lost by that, through the results."""
    finer = joined(found, dims, [access, *found.outputs])
    return finer if _row_cut(finer, _side_by_side(access, finer)).use >= FINER_USE else joined(found, dims, [access])


def operand_boxes(found: Contraction, factor: Factor, dims: Sequence[int], batch: Sequence[int], sums: Sequence[int]) -> OperandBoxes | None:
    """One operand in boxes, whatever the other one is; None where it is not aligned, or would have to be turned."""
    access = factor.access
    inner = joined(found, sums, [access])
    cut = _sum_cut(inner, [access], ROW_BYTES // element_bytes(access.element))
    own = joined(found, dims, [access])
    boxes = _operand(access, own, cut, joined(found, batch, [access])) if cut is not None and own else None
    return None if boxes is None or boxes.beside > 1 else boxes


def stored_dimensions(found: Contraction, access: Access, boxes: Boxes) -> list[Dimension] | None:
    """A result's dimensions, columns first, as the copy engine writes the rows of a box; None where it cannot.

    Its columns lie side by side, rows and batches step evenly, and no row lies within another.
    """
    run = RUN_BYTES // element_bytes(access.element)
    rows, columns = boxes.left.own, boxes.right.own.loops
    loops = [(columns[0], 1), *reversed(list(zip(rows.loops, rows.box, strict=True))), *((loop, 1) for loop in boxes.batch)]
    if len(columns) > 1 or columns[0].step(access) != 1 or len(loops) > MOST_DIMENSIONS:
        return None
    steps = [loop.step(access) for loop, _ in loops]
    if not all(loop.is_even(found, access) for loop, _ in loops) or access.offset % run or any(s % run for s in steps[1:]):
        return None
    if min(steps[1:]) < columns[0].size:
        return None
    return by_stride([Dimension(s, ((loop, 1),), n, 1) for s, (loop, n) in zip(steps, loops, strict=True)])


def by_stride(dimensions: Sequence[Dimension]) -> list[Dimension]:
    """Dimensions with the smaller stride first, as the driver's documents have it, as far as the order within a box stays what it is."""
    found = [d for k, d in enumerate(dimensions) if k == 0 or d.box > 1]
    for single in (d for k, d in enumerate(dimensions) if k and d.box == 1):
        found.insert(next((k for k, d in enumerate(found) if k and d.step > single.step), len(found)), single)
    return found


def _end_within(loops: Sequence[Loop], *operands: OperandBoxes) -> bool:
    """Whether some of the loops share a dimension: what lies behind their end is not outside of the map."""
    return any(len(d.loops) > 1 and any(loop in loops for loop, _ in d.loops) for operand in operands for d in operand.dimensions)


def _side_by_side(access: Access, loops: Sequence[Loop]) -> Loop | None:
    return next((loop for loop in loops if loop.step(access) == 1), None)


def _sum_cut(loops: tuple[Loop, ...], accesses: Sequence[Access], depth: int) -> Cut | None:
    """Boxes of the sum: along the loop an operand lies along, or, where all lie along their rows, along several that fill them."""
    leading = {loop for a in accesses if (loop := _side_by_side(a, loops)) is not None}
    if len(leading) > 1:
        return None
    if leading or len(loops) == 1:
        (one,) = leading or loops
        return Cut(loops, tuple(depth if loop == one else 1 for loop in loops))
    full = [box for box in _boxes(loops, depth) if prod(box) == depth and not Cut(loops, box).cut]
    return Cut(loops, max(full, key=_inner_first)) if full else None


@lru_cache(maxsize=None)
def _row_cut(loops: tuple[Loop, ...], lead: Loop | None) -> Cut:
    """Boxes of at most 64 rows: along the loop that lies side by side, along the only one, or as few as there can be."""
    if lead is not None or len(loops) == 1:
        one = lead if lead is not None else loops[0]
        return Cut(loops, tuple(SLOT if loop == one else 1 for loop in loops))
    return Cut(loops, min(_boxes(loops, SLOT), key=lambda box: (Cut(loops, box).count, [-n for n in _inner_first(box)])))


def _inner_first(box: Sequence[int]) -> list[int]:
    return list(reversed(box))


def _boxes(loops: Sequence[Loop], most: int) -> Iterator[tuple[int, ...]]:
    """All boxes of at most so many elements."""
    if not loops:
        yield ()
        return
    for n in range(1, min(loops[-1].size, most) + 1):
        for outer in _boxes(loops[:-1], most // n):
            yield (*outer, n)


def _operand(access: Access, own: tuple[Loop, ...], sums: Cut, batch: Sequence[Loop]) -> OperandBoxes | None:
    size = element_bytes(access.element)
    lead = _side_by_side(access, sums.loops)
    turned = lead is None
    if turned:
        lead = _side_by_side(access, own)
        if lead is None or size not in TURNED_BYTES:
            return None
    cut = _row_cut(own, lead if turned else None)
    lengths = {**dict(zip(cut.loops, cut.box, strict=True)), **dict(zip(sums.loops, sums.box, strict=True))}
    beside, rest = divmod(lengths[lead] * size, ROW_BYTES)
    if rest or beside != 1 and not turned:
        return None
    lengths[lead] //= beside
    between = [loop for loop in batch if loop.step(access)]
    loops = [lead, *(loop for loop in (*reversed(own), *reversed(sums.loops), *reversed(between)) if loop != lead)]
    dimensions: list[Dimension] | None = []
    for loop in sorted(loops, key=lambda loop: lengths.get(loop, 1) == 1):  # those that slide over others come last
        dimensions = _with(dimensions, loop, loop.step(access), lengths.get(loop, 1))
        if dimensions is None:
            return None
    assert dimensions is not None
    dimensions = by_stride(dimensions)
    run = RUN_BYTES // size
    offset = access.offset + sum(loop.step(access) * (loop.size - 1) for loop in loops if loop.step(access) < 0)
    if offset % run or len(dimensions) > MOST_DIMENSIONS or len(dimensions) < 2 or any(d.step % run for d in dimensions[1:]):
        return None
    fit = all(d.every <= LARGEST_EVERY and d.every * d.box <= LARGEST_BOX for d in dimensions)
    return OperandBoxes(cut, offset, turned, tuple(dimensions), beside) if fit and dimensions[0].every == 1 else None


def _with(dimensions: list[Dimension] | None, loop: Loop, step: int, length: int) -> list[Dimension] | None:
    """The dimensions with one more loop: as a new one, or within the one it overlaps in memory. None where it can be neither."""
    assert dimensions is not None
    if step == 0 or step < 0 and length > 1:
        return None
    over = [d for d in dimensions if not _are_nested(d.step, d.size, abs(step), loop.size)]
    both = [d for d in over if length == 1 or d.box == 1]
    if not both:  # boxes that overlap are read twice
        return [*dimensions, Dimension(abs(step), ((loop, 1 if step > 0 else -1),), length, 1)]
    if len(over) > 1:
        return None
    (old,) = over
    unit = gcd(old.step, abs(step))
    moved = tuple((other, many * (old.step // unit)) for other, many in old.loops)
    every = old.every * (old.step // unit) if old.box > 1 else abs(step) // unit if length > 1 else 1
    new = Dimension(unit, (*moved, (loop, step // unit)), old.box * length, every)
    return [new if d is old else d for d in dimensions]


def _are_nested(step: int, size: int, other_step: int, other_size: int) -> bool:
    """Whether one goes on behind where the other one ends."""
    return other_step > step * (size - 1) or step > other_step * (other_size - 1)
