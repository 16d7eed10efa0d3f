"""Plans a contraction for blocks of threads: which loops are rows, columns, batch and sum, and the sizes of the tiles.

With `left[m, k] * right[k, n]` summed over k, every loop of the contraction belongs to one of four lists: `rows` index only
the left operand, `columns` only the right one, `batch` both (or none), `sums` are folded. Each list is one linear number;
since accesses are linear in the loops, an address is the sum of a part per list. Convolutions are no special case.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from math import sqrt

from xdsl.dialects.builtin import BFloat16Type, Float16Type, f32, i8, i32

from ..dialects.target import GpuTarget
from .contraction_match import Access, Contraction, Factor
from .gpu_boxes import RUN_BYTES, SLOT, Boxes, plan_boxes
from .gpu_teams import product
from .memref_layout import element_bytes

SIDE = 16
"""Threads along each side of a block's tile."""
DEPTH = 16
"""Elements of the sum per tile."""
CORE_DEPTH = 32
"""The same for tensor cores."""
TF32_DEPTH = 16
"""And for tensor cores on f32."""
BYTES_DEPTH = 64
"""And on bytes."""
LEAST_STEPS = 8
"""Steps of a sum for which two blocks meet before and after."""
WGMMA_TILE = 2 * SLOT
"""Rows of a block's tile on warpgroups: 64 of each of two."""
LEAST_SUM, LEAST_ELEMENTS = 128, 1 << 16
"""Of a product that folds make: the shortest sum and the smallest matrix."""


class Way(Enum):
    """How products are made: multiply-adds of threads, mma.sync of warps, wgmma of warpgroups (on any of the operands they know),
    mma.sync on factors rounded to TF32, on two such numbers per factor, on bytes."""

    FMA = "fma"
    MMA = "mma.sync"
    WGMMA = "wgmma"
    TF32 = "tf32"
    TF32X3 = "3xtf32"
    BYTES = "bytes"


@dataclass(frozen=True)
class Tiling:
    """The contraction as a matrix product, cut into tiles.

    rows, columns, batch, sums: loop dims, outermost first. left is the operand rows index. One thread computes
    thread_rows x thread_columns results; splits > 1: the sum is cut into pieces of `piece` elements whose partial results
    a second launch adds up in order. way: what multiplies. is_aligned: the operands start at multiples of 16 bytes. resident:
    blocks that run at once. boxes: the operands on warpgroups, whose sums are cut between boxes. pair: "left" or "right", the operand
    of which two neighbouring blocks (a cluster) read the same tiles, and each brings one half for both. doubled: warpgroups
    multiply f32 as two TF32 numbers per factor.
    """

    contraction: Contraction
    left: Factor
    right: Factor
    rows: tuple[int, ...]
    columns: tuple[int, ...]
    batch: tuple[int, ...]
    sums: tuple[int, ...]
    thread_rows: int
    thread_columns: int
    splits: int
    piece: int
    way: Way = Way.FMA
    is_aligned: bool = True
    resident: int = 1
    boxes: Boxes | None = None
    pair: str = ""
    doubled: bool = False

    def sizes(self, dims: Sequence[int]) -> list[int]:
        """The sizes of some loop dims."""
        return [self.contraction.sizes[d] for d in dims]

    @property
    def m(self) -> int:
        return product(self.sizes(self.rows))

    @property
    def n(self) -> int:
        return product(self.sizes(self.columns))

    @property
    def k(self) -> int:
        return product(self.sizes(self.sums))

    @property
    def z(self) -> int:
        return product(self.sizes(self.batch))

    @property
    def tile_rows(self) -> int:
        return SIDE * self.thread_rows

    @property
    def tile_columns(self) -> int:
        return SIDE * self.thread_columns

    @property
    def tiles_across(self) -> int:
        return _tiles(self.n if self.boxes is None else SLOT * self.boxes.right.own.count, self.tile_columns)

    @property
    def tiles_down(self) -> int:
        return _tiles(self.m if self.boxes is None else SLOT * self.boxes.left.own.count, self.tile_rows)

    @property
    def tiles(self) -> int:
        """Tiles of all batches and pieces."""
        return self.tiles_across * self.tiles_down * self.z * self.splits

    @property
    def turned(self) -> int:
        """How many operands lie along their rows, and cannot be read by wgmma so."""
        return 0 if self.boxes is None else sum(side.beside > 1 for side in (self.boxes.left, self.boxes.right))

    @property
    def band(self) -> int:
        """How many tiles a column of tiles has, where they are gone through column by column: those at work at once lie in a square."""
        at_once = min(self.tiles, self.resident)
        return min(self.tiles_down, max(1, round(sqrt(at_once * self.tile_columns / self.tile_rows))))

    @property
    def partial_bytes(self) -> int:
        """Scratch for the pieces' results."""
        if self.splits == 1:
            return 0
        return self.splits * self.z * self.m * self.n * element_bytes(self.contraction.sum_type)


def plan_contraction(found: Contraction, target: GpuTarget) -> Tiling:
    """A tiling for the contraction, from its sizes and strides alone."""
    aligned = target.access_bytes >= RUN_BYTES
    left, right = found.left, found.right
    rows = [d for d in found.parallel if left.access.strides[d] and not right.access.strides[d]]
    columns = [d for d in found.parallel if right.access.strides[d] and not left.access.strides[d]]
    batch = [d for d in found.parallel if d not in rows and d not in columns]
    stored = found.outputs[0] if found.outputs else found.result  # the sums themselves may lie in no memory
    if _innermost(stored, rows) < _innermost(stored, columns):
        left, right, rows, columns = right, left, columns, rows
    rows, columns, batch = (_in_order(stored, dims) for dims in (rows, columns, batch))
    sums = _in_order(left.access, list(found.reduction))
    m, n, z = (product([found.sizes[d] for d in dims]) for dims in (rows, columns, batch))
    k = product([found.sizes[d] for d in sums])
    rows, columns = _by_runs(left.access, rows, sums), _by_runs(right.access, columns, sums)
    way = _core_way(found, target) if min(m, n, k) >= SIDE else Way.FMA
    if way in _ON_WARPGROUPS and target.wgmma and aligned and max(m, n) >= WGMMA_TILE and min(m, n) >= SLOT:
        sides = ((left, tuple(rows)), (right, tuple(columns)))
        grouped = _on_warpgroups(found, sides if m > SLOT else sides[::-1], tuple(batch), tuple(sums), target, way is Way.TF32X3)
        if grouped is not None:
            return grouped
    tm, tn = _TILES[way](m, n, z, k, target)
    blocks = -(-m // (SIDE * tm)) * -(-n // (SIDE * tn)) * z
    splits, piece = _split(blocks, k, _DEPTHS[way], target)
    return Tiling(
        found, left, right, tuple(rows), tuple(columns), tuple(batch), tuple(sums), tm, tn, splits, piece, way, aligned,
        target.processors,
    )  # fmt: skip


def _on_warpgroups(
    found: Contraction, sides: tuple[tuple[Factor, tuple[int, ...]], ...], batch: tuple[int, ...], sums: tuple[int, ...], target: GpuTarget, doubled: bool
) -> Tiling | None:
    """The tiling where the copy engine brings both operands, (factor, rows or columns). A tile has two boxes of rows, and one of columns or more."""
    (left, rows), (right, columns) = sides
    boxes = plan_boxes(found, (left, right), (rows, columns), batch, sums)
    t = Tiling(found, left, right, rows, columns, batch, sums, 0, 0, 1, 1, Way.WGMMA, resident=target.processors, boxes=boxes, doubled=doubled)
    if boxes is None or t.m < WGMMA_TILE or t.k < boxes.depth:
        return None
    across = boxes.right.own.count
    width = min((1,) if across == 1 else (2,) if doubled else (4, 2), key=lambda n: -(-across // n) * n)  # of boxes
    t = replace(t, thread_rows=WGMMA_TILE // SIDE, thread_columns=width * SLOT // SIDE)
    if width > 2 and t.tiles < target.processors:
        t = replace(t, thread_columns=WGMMA_TILE // SIDE)
    if boxes.is_even:
        splits, piece = _split(t.tiles, t.k, boxes.depth, target)
    else:  # pieces of as many boxes each
        steps = boxes.sums.count
        wanted = _pieces(t.tiles, steps * boxes.depth, boxes.depth, target)
        splits = max(n for n in range(1, max(1, wanted) + 1) if steps % n == 0)
        piece = steps // splits * boxes.depth
    t = replace(t, splits=splits, piece=piece)
    return replace(t, pair=_pair(t, target))


def _pair(t: Tiling, target: GpuTarget) -> str:
    """What clusters of two share: the larger tile that has two halves, where blocks come in pairs and sums are long enough to meet for."""
    if target.cluster < 2 or target.processors % 2 or t.boxes is None or t.piece < LEAST_STEPS * t.boxes.depth:
        return ""
    sides = {"left": (t.tile_rows, t.tiles_across), "right": (t.tile_columns, t.tiles_down)}
    fit = [side for side, (extent, count) in sides.items() if extent >= 2 * SLOT and count % 2 == 0]
    return max(fit, key=lambda side: sides[side][0], default="")


def _tiles(count: int, size: int) -> int:
    return -(-count // size)


def _core_way(found: Contraction, target: GpuTarget) -> Way:
    """What multiplies such operands on a target."""
    if target.compute >= 80 and fits_tensor_core(found):
        return Way.MMA
    if target.f32 != "ieee" and target.compute >= 80 and is_plain_f32(found):
        return Way(target.f32)
    return Way.BYTES if target.multiplies_bytes and are_widened_bytes(found) else Way.FMA


def in_runs(found: Contraction, factor: Factor, dims: Sequence[int], sums: Sequence[int]) -> bool:
    """Whether an operand's elements lie in aligned runs of 16 bytes along the sum or, where it does not lie along that, along its rows."""
    access = factor.access
    run = RUN_BYTES // element_bytes(access.element)
    inner = (sums if access.strides[sums[-1]] == 1 else dims)[-1:]
    if not inner or access.strides[inner[0]] != 1 or found.sizes[inner[0]] % run or access.offset % run:
        return False
    return all(s % run == 0 for d, s in enumerate(access.strides) if d != inner[0])


def _by_runs(access: Access, dims: list[int], sums: Sequence[int]) -> list[int]:
    """An operand's rows in the order of the result, or, where one of them alone lies side by side in memory, in that of the operand."""
    along_sum = bool(sums) and access.strides[sums[-1]] == 1
    return dims if along_sum or not any(access.strides[d] == 1 for d in dims) else _in_order(access, dims)


def is_of_a_vector(found: Contraction) -> bool:
    """Whether one operand is a vector (per batch) and the other a large matrix whose rows lie along the sum: bringing those is all the work. Folds do it in
    whole accesses; of a tile one row would be used, and shared memory read sixteen times as often.
    """
    sides = (found.left.access.strides, found.right.access.strides)
    own = [[d for d in found.parallel if mine[d] and not other[d]] for mine, other in (sides, sides[::-1])]
    if all(own) or not any(own) or found.limits:
        return False
    strides = sides[0] if own[0] else sides[1]
    held = [d for d in (*found.parallel, *found.reduction) if strides[d]]
    sums, elements = (product([found.sizes[d] for d in dims]) for dims in (found.reduction, held))
    reach = 1 + sum((found.sizes[d] - 1) * abs(strides[d]) for d in held)
    lies_along = any(strides[d] == 1 for d in found.reduction) and all(strides[d] for d in found.reduction)
    return lies_along and sums >= LEAST_SUM and LEAST_ELEMENTS <= elements <= reach  # windows that overlap are read several times


def _innermost(access: Access, dims: Sequence[int]) -> int:
    return min((abs(access.strides[d]) for d in dims if access.strides[d]), default=1 << 62)


def _in_order(access: Access, dims: Sequence[int]) -> list[int]:
    """Dims with the largest stride first."""
    return sorted(dims, key=lambda d: (-abs(access.strides[d]), d))


def _thread_tile(m: int, n: int, z: int, k: int, target: GpuTarget) -> tuple[int, int]:
    """The largest tile per thread that covers no more than needed and keeps the processors busy.

    At most 8 x 8, or 4 x 4 for short sums: those are bound by the stores, and large tiles would only cost registers.
    """
    largest = 8 if k > 4 * DEPTH else 4
    tile = [min(largest, _power(-(-size // SIDE))) for size in (m, n)]
    while tile[0] * tile[1] > 4:
        blocks = -(-m // (SIDE * tile[0])) * -(-n // (SIDE * tile[1])) * z
        if blocks >= target.processors:
            break
        tile[0 if tile[0] >= tile[1] else 1] //= 2
    return tile[0], tile[1]


def _core_tile(m: int, n: int, z: int, k: int, target: GpuTarget) -> tuple[int, int]:
    """A block's tile, 64 or 128 on each side, in units of SIDE."""
    tile = [8 if size > 64 else 4 for size in (m, n)]
    while tile != [4, 4]:
        if -(-m // (SIDE * tile[0])) * -(-n // (SIDE * tile[1])) * z >= target.processors:
            break
        tile[0 if tile[0] == 8 else 1] = 4
    return tile[0], tile[1]


_TILES = {Way.FMA: _thread_tile, Way.MMA: _core_tile, Way.TF32: _core_tile, Way.TF32X3: _core_tile, Way.BYTES: _core_tile}
_ON_WARPGROUPS = (Way.MMA, Way.TF32, Way.TF32X3, Way.BYTES)
_DEPTHS = {Way.FMA: DEPTH, Way.MMA: CORE_DEPTH, Way.TF32: TF32_DEPTH, Way.TF32X3: TF32_DEPTH, Way.BYTES: BYTES_DEPTH}


def _power(n: int) -> int:
    return 1 << max(0, n - 1).bit_length()


def _pieces(blocks: int, k: int, depth: int, target: GpuTarget) -> int:
    """How many pieces a sum is cut into so that there are enough blocks."""
    return 1 if blocks >= target.processors else min(-(-2 * target.processors // blocks), k // (8 * depth))


def _split(blocks: int, k: int, depth: int, target: GpuTarget) -> tuple[int, int]:
    """How many pieces the sum is cut into, and the length of one."""
    wanted = _pieces(blocks, k, depth, target)
    if wanted <= 1:
        return 1, k
    piece = -(-(-(-k // wanted)) // depth) * depth
    return -(-k // piece), piece


def fits_tensor_core(found: Contraction) -> bool:
    """Whether both operands are bf16 (or both f16) that are only widened to f32 and summed there."""
    factors = (found.left, found.right)
    kinds = {type(f.access.element) for f in factors}
    widened = all(len(f.casts) == 1 and f.casts[0].name == "arith.extf" for f in factors)
    return widened and found.sum_type == f32 and kinds in ({BFloat16Type}, {Float16Type})


def is_plain_f32(found: Contraction) -> bool:
    """Whether both operands are f32, multiplied as they are and summed in f32."""
    return found.sum_type == f32 and all(f.access.element == f32 and not f.casts for f in (found.left, found.right))


def are_widened_bytes(found: Contraction) -> bool:
    """Whether both operands are bytes that are only widened to i32 and summed there."""
    factors = (found.left, found.right)
    widened = all(len(f.casts) == 1 and f.casts[0].name in ("arith.extsi", "arith.extui") for f in factors)
    return widened and found.sum_type == i32 and all(f.access.element == i8 for f in factors)
