"""Winograd: convolutions with kernels of three by three take fewer products, by minimal filtering."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any, ClassVar

from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Block, BlockArgument, SSAValue

from ..dialects import flags
from ..dialects.ops import BookOp, XdslBuilder, attrs_of, type_of
from ..dialects.sizes import any_symbolic
from ..dialects.types import float32
from .base import Pass
from .minimal_filtering import FILTERINGS, TAPS, Filtering
from .phases import LEADING, Part, carried_on, padded
from .program import bound_inputs, origin_of, program_blocks

MOVED = 9.0
"""Cost of making an element of what is multiplied, or of reading one of what comes of it, in multiply-adds: all of them go through memory."""
WEIGHED = 40.0
"""The same of an element made of a kernel's, which lie far apart."""
FAR = 6.0
"""Of reading an element made of a kernel's that was kept, where all of them are too many for the second-level cache."""
NEAR_BYTES = 1 << 20
LEAST_GAIN = 1.2
MOST_PRODUCTS = 64
"""Of a tile; programs grow with their number."""
SHARED_BYTES = 8 << 20
"""What a convolution and its gradient by the kernel multiply of the input is the same. It is two to four times as large as the input; what is
larger than this is made twice rather than held in between."""


@dataclass(frozen=True)
class Winograd(Pass):
    """Multiply tiles of sums where products of windows and kernels of three elements are added up.

    before  %1 = prim.conv %x, %k {stride = [1], dilation = [1]}
    after   %1 = sums of elements of %x, six per four results
            %2 = sums of elements of %k, six per kernel
            %3 = prim.matmul %1, %2, for each of the six
            %4 = sums of those, written to every fourth place

    where %x is [1, 1, 64, 66] and %k is [1, 64, 64, 3]. Two results of a kernel of three elements take four products in place of six, four take six in place of
    twelve; in two dimensions sixteen in place of thirty-six, and thirty-six in place of a hundred and forty-four (Lavin and Gray, "Fast Algorithms for
    Convolutional Neural Networks", 2016; the sums are those of `minimal_filtering.py`). Of two results rounding is that of the sums they replace, of four three times as
    much; an element that is infinite or no number reaches all results of its tile. It is done where there are products enough to pay for the memory that tiles
    go through, with as many results at once as take least. Gradients are such sums, too: by the input with the kernel turned, by the kernel with three results per tile of elements.
    """

    name: ClassVar[str] = "winograd"
    takes: ClassVar[str] = "primitive"

    keep: bool = False
    """What is made of weights outlives a call: it costs nothing."""

    def run(self, module: ModuleOp) -> int:
        """Number of convolutions replaced; none with LAMINA_WINOGRAD=0."""
        if not flags.winograd.value:
            return 0
        bound = bound_inputs(module)

        def is_kept(kernel: SSAValue) -> bool:
            while isinstance(kernel.owner, BookOp) and kernel.owner.op_name in ("reshape", "permute"):
                kernel = kernel.owner.operands[0]
            return self.keep and isinstance(kernel, BlockArgument) and (bound is None or kernel.index in bound)

        return sum(_replace_all(block, is_kept) for block in program_blocks(module))


def _replace_all(block: Block, is_kept: Callable[[SSAValue], bool]) -> int:
    count = 0
    op = block.last_op
    while op is not None:
        before = op.prev_op
        if isinstance(op, BookOp) and op.op_name in _REWRITES and (chosen := _choice(op, is_kept)) is not None:
            op.results[0].replace_all_uses_with(_REWRITES[op.op_name](op, chosen))
            block.erase_op(op)
            count += 1
        op = before
    return count


def _choice(op: BookOp, is_kept: Callable[[SSAValue], bool]) -> Filtering | None:
    """How many results are made at once; None where windows are not dense, kernels are not of three elements, or it does not pay."""
    x, k = (type_of(v)[0] for v in op.operands)
    shape, dtype = type_of(op.results[0])
    attrs = attrs_of(op)
    by_kernel = op.op_name == "conv_kernel"
    taps = (shape if by_kernel else k)[LEADING:]
    if dtype is not float32 or any(n != TAPS for n in taps) or any(n != 1 for a in attrs[by_kernel:] for n in a):
        return None
    if any_symbolic((*x, *k, *shape)) or 0 in (*x, *k, *shape):
        return None
    places = (k if by_kernel else shape)[LEADING:]
    groups, outs, ins = (shape if by_kernel else k)[:LEADING]
    kept = not by_kernel and is_kept(op.operands[1])

    def cost(way: Filtering) -> float:
        tiles, products = x[0] * prod(-(-n // way.tile) for n in places), way.products ** len(taps)
        weighed = WEIGHED if not kept else FAR if 4 * products * groups * ins * outs > NEAR_BYTES else 0.0
        return products * (tiles * ins * outs + MOVED * tiles * (ins + outs) + weighed * ins * outs)

    best = min((way for way in FILTERINGS if way.products ** len(taps) <= MOST_PRODUCTS), key=cost)
    return best if x[0] * prod(places) * prod(taps) * ins * outs > LEAST_GAIN * cost(best) else None


# -- sums along every dimension --------------------------------------------------------------------------------


def _along_all(parts: Callable[[tuple[int, ...]], SSAValue], rank: int, count: int, sums: Callable[[list[SSAValue]], Sequence[SSAValue]]) -> list[SSAValue]:
    """Sums of parts along one dimension, of those along the next, and so on: all combinations, the last dimension's fastest.

    parts: by their number along every dimension, of count each.
    """
    grid = [parts(at) for at in product(range(count), repeat=rank)]
    size = count
    shape = [count] * rank
    for dim in range(rank):
        inner = prod(shape[dim + 1 :])
        outer = prod(shape[:dim])
        made = [sums([grid[(o * shape[dim] + k) * inner + i] for k in range(size)]) for o in range(outer) for i in range(inner)]
        shape[dim] = len(made[0])
        grid = [made[o * inner + i][k] for o in range(outer) for k in range(shape[dim]) for i in range(inner)]
    return grid


class _Once(XdslBuilder):
    """Builds what is built again once: sums of neighbouring tiles have much in common."""

    def __init__(self, where: BookOp, origin: Any) -> None:
        super().__init__(where, origin)
        self._made: dict[tuple, tuple[SSAValue, ...]] = {}

    def __call__(self, op: str, operands: tuple, attrs: tuple) -> tuple[SSAValue, ...]:
        key = op, operands, attrs
        if key not in self._made:
            self._made[key] = super().__call__(op, operands, attrs)
        return self._made[key]


# -- the three convolutions ------------------------------------------------------------------------------------


def _spread(build: XdslBuilder, x: SSAValue) -> SSAValue:
    """[n, groups, channels, ...] as [1, groups, n, ..., channels]."""
    n, groups, channels, *spatial = type_of(x)[0]
    turned = build("permute", (x,), ((1, 0, *range(LEADING, LEADING + len(spatial)), 2),))[0]
    return build("reshape", (turned,), ((1, groups, n, *spatial, channels),))[0]


def _every(build: XdslBuilder, step: int, x: SSAValue, at: Sequence[int], sizes: Sequence[int]) -> SSAValue:
    """Elements of a spread image from a place on, a step apart, so many along each spatial dimension."""
    shape = type_of(x)[0]
    attrs = (0, 0, 0, *at, 0), (*shape[:3], *sizes, shape[-1]), (1, 1, 1, *(step for _ in at), 1)
    return build("slice", (x,), attrs)[0]


def _side_by_side(build: XdslBuilder, values: Sequence[SSAValue], by_channel: bool = False) -> SSAValue:
    """Spread images each: [values, groups, all places, channels]; by_channel: [values, groups, channels, all places]."""
    _, groups, n, *tiles, channels = type_of(values[0])[0]
    if by_channel:
        rank = 3 + len(tiles)
        values = [build("permute", (v,), ((0, 1, rank, *range(2, rank)),))[0] for v in values]
    together = build("concat", tuple(values), (0,))[0]
    places = n * prod(tiles)
    return build("reshape", (together,), ((len(values), groups, *((channels, places) if by_channel else (places, channels))),))[0]


def _windows(build: XdslBuilder, way: Filtering, x: SSAValue, tiles: Sequence[int], by_channel: bool = False) -> SSAValue:
    """[products, groups, tiles, channels]: the sums of every window's elements; by_channel: [..., channels, tiles]."""
    image = _spread(build, padded(build, x, [way.tile * n + TAPS - 1 for n in tiles]))
    sums = _along_all(lambda at: _every(build, way.tile, image, at, tiles), len(tiles), way.products, lambda d: way.of_window(build, d))
    return _side_by_side(build, sums, by_channel)


def _kernels(build: XdslBuilder, way: Filtering, k: SSAValue, turned: bool) -> SSAValue:
    """[products, groups, channels read, channels made] of a kernel [groups, out, in, ...]; turned: elements from the last to the first, in for out."""
    groups, outs, ins, *taps = type_of(k)[0]
    read, made = (outs, ins) if turned else (ins, outs)
    order = (*range(LEADING, LEADING + len(taps)), 0, *((1, 2) if turned else (2, 1)))
    elements = build("reshape", (build("permute", (k,), (order,))[0],), ((prod(taps), groups, read, made),))[0]

    def element(at: tuple[int, ...]) -> SSAValue:
        return _numbered(build, elements, tuple(TAPS - 1 - n for n in at) if turned else at, TAPS)

    return build("concat", tuple(_along_all(element, len(taps), TAPS, lambda g: way.of_factor(build, g))), (0,))[0]


def _numbered(build: XdslBuilder, values: SSAValue, at: Sequence[int], count: int) -> SSAValue:
    """One of the values along the first dimension, by its number along every spatial one, of count each."""
    number = 0
    for place in at:
        number = number * count + place
    rank = len(type_of(values)[0])
    return build("slice", (values,), ((number, *(0,) * (rank - 1)), (1, *type_of(values)[0][1:]), (1,) * rank))[0]


def _convolution(op: BookOp, way: Filtering) -> SSAValue:
    """conv and conv_input."""
    x, k = op.operands
    n, groups, outs, *places = type_of(op.results[0])[0]
    rank, tiles = len(places), [-(-size // way.tile) for size in places]
    build = _Once(op, origin_of(op))
    made = build("matmul", (_windows(build, way, x, tiles), _kernels(build, way, k, op.op_name == "conv_input")), ())[0]
    images = build("reshape", (made,), ((way.products**rank, groups, n, *tiles, outs),))[0]
    sums = _along_all(lambda at: _numbered(build, images, at, way.products), rank, way.products, lambda m: way.results(build, m, way.tile))
    parts = []
    for first, value in zip(product(range(way.tile), repeat=rank), sums, strict=True):
        image = build("reshape", (value,), ((groups, n, *tiles, outs),))[0]
        parts.append(Part(build("permute", (image,), ((1, 0, 2 + rank, *range(2, 2 + rank)),))[0], first))
    return carried_on(op, parts, [way.tile] * rank, channels_last=True)


def _by_kernel(op: BookOp, way: Filtering) -> SSAValue:
    """conv_kernel: three by three results per group and pair of channels, of tiles that are added up."""
    x, e = op.operands
    groups, outs, ins, *taps = type_of(op.results[0])[0]
    n, *_ = type_of(x)[0]
    places = type_of(e)[0][LEADING:]
    rank, tiles = len(places), [-(-size // way.tile) for size in places]
    build = _Once(op, origin_of(op))
    image = _spread(build, padded(build, e, [way.tile * size for size in tiles]))
    arrived = _along_all(lambda at: _every(build, way.tile, image, at, tiles), rank, way.tile, lambda e: way.of_factor(build, e))
    if 4 * way.products**rank * n * groups * ins * prod(tiles) > SHARED_BYTES:
        windows = _windows(build, way, x, tiles, by_channel=True)
    else:
        windows = build("permute", (_windows(build, way, x, tiles),), ((0, 1, 3, 2),))[0]
    made = build("matmul", (windows, _side_by_side(build, arrived)), ())[0]  # [products, groups, in, out]
    sums = _along_all(lambda at: _numbered(build, made, at, way.products), rank, way.products, lambda m: way.results(build, m, TAPS))
    turned = build("permute", (build("concat", tuple(sums), (0,))[0],), ((1, 3, 2, 0),))[0]
    return build("reshape", (turned,), ((groups, outs, ins, *taps),))[0]


_REWRITES = {"conv": _convolution, "conv_input": _convolution, "conv_kernel": _by_kernel}
