"""Winograd: convolutions with kernels of three by three take fewer products, by minimal filtering."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import ClassVar

from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Block, BlockArgument, SSAValue

from ..dialects import flags
from ..dialects.ops import BookOp, XdslBuilder, attrs_of, type_of
from ..dialects.sizes import any_symbolic
from ..dialects.types import float32
from .base import Pass
from .phases import LEADING, Part, carried_on, part, padded
from .program import bound_inputs, origin_of, program_blocks

TAPS = 3
"""Elements of a kernel along a dimension, of which two neighbouring results are made at once."""
TILE = 2
PRODUCTS = TAPS + TILE - 1
MOVED = 9.0
"""Cost of making an element of what is multiplied, or of reading one of what comes of it, in multiply-adds: all of them go through memory."""
WEIGHED = 40.0
"""The same of an element made of a kernel's, which lie far apart."""
LEAST_GAIN = 1.2
SHARED_BYTES = 8 << 20
"""What a convolution and its gradient by the kernel multiply of the input is the same. It is four times as large as the input; what is larger
than this is made twice rather than held in between."""


@dataclass(frozen=True)
class Winograd(Pass):
    """Multiply tiles of sums where products of windows and kernels of three elements are added up.

    before  %1 = prim.conv %x, %k {stride = [1], dilation = [1]}
    after   %1 = sums of pairs of elements of %x, four per pair of results
            %2 = sums of elements of %k, four per kernel
            %3 = prim.matmul %1, %2, for each of the four
            %4 = sums of those, written to the even and to the odd places

    where %x is [1, 1, 64, 66] and %k is [1, 64, 64, 3]. Two results of a kernel of three elements take four products in place of six, in two dimensions
    sixteen in place of thirty-six (F(2, 3) of Winograd, "Arithmetic Complexity of Computations", 1980; on images: Lavin and Gray, "Fast Algorithms for
    Convolutional Neural Networks", 2016). The numbers between are sums of two elements per dimension, so rounding is that of the sums it replaces; an element
    that is infinite or no number reaches all results of its tile. It is done where there are products enough to pay for the memory that tiles go
    through. Gradients are such sums, too: by the input with the kernel turned, by the kernel with three results per pair of elements.
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
        if isinstance(op, BookOp) and op.op_name in _REWRITES and _fits(op, is_kept):
            op.results[0].replace_all_uses_with(_REWRITES[op.op_name](op))
            block.erase_op(op)
            count += 1
        op = before
    return count


def _fits(op: BookOp, is_kept: Callable[[SSAValue], bool]) -> bool:
    """Whether windows are dense, kernels are of three elements, and it pays."""
    x, k = (type_of(v)[0] for v in op.operands)
    shape, dtype = type_of(op.results[0])
    attrs = attrs_of(op)
    by_kernel = op.op_name == "conv_kernel"
    taps = (shape if by_kernel else k)[LEADING:]
    if dtype is not float32 or any(n != TAPS for n in taps) or any(n != 1 for a in attrs[by_kernel:] for n in a):
        return False
    if any_symbolic((*x, *k, *shape)) or 0 in (*x, *k, *shape):
        return False
    places = (k if by_kernel else shape)[LEADING:]
    groups, outs, ins = (shape if by_kernel else k)[:LEADING]
    tiles = x[0] * prod(-(-n // TILE) for n in places)
    direct = x[0] * prod(places) * prod(taps) * ins * outs
    weighed = 0.0 if not by_kernel and is_kept(op.operands[1]) else WEIGHED
    each = tiles * ins * outs + MOVED * tiles * (ins + outs) + weighed * ins * outs
    return direct > LEAST_GAIN * PRODUCTS ** len(taps) * each


# -- sums along every dimension --------------------------------------------------------------------------------


def _along_all(parts: Callable[[tuple[int, ...]], SSAValue], rank: int, count: int, sums: Callable[[list[SSAValue]], list[SSAValue]]) -> list[SSAValue]:
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


class _Sums:
    """The sums of F(2, 3), its points 0, 1, -1 and infinity, in the order of their products."""

    def __init__(self, build: XdslBuilder) -> None:
        self._build = build

    def _add(self, a: SSAValue, b: SSAValue) -> SSAValue:
        return self._build("add", (a, b), ())[0]

    def _sub(self, a: SSAValue, b: SSAValue) -> SSAValue:
        return self._build("sub", (a, b), ())[0]

    def _half(self, a: SSAValue) -> SSAValue:
        half = self._build("full", (), (type_of(a)[0], 0.5, type_of(a)[1]))[0]
        return self._build("mul", (a, half), ())[0]

    def of_window(self, d: list[SSAValue]) -> list[SSAValue]:
        """Of four neighbours."""
        return [self._sub(d[0], d[2]), self._add(d[1], d[2]), self._sub(d[2], d[1]), self._sub(d[3], d[1])]

    def of_three(self, g: list[SSAValue]) -> list[SSAValue]:
        """Of a kernel's elements."""
        ends = self._add(g[0], g[2])
        return [g[0], self._half(self._add(ends, g[1])), self._half(self._sub(ends, g[1])), g[2]]

    def of_two(self, e: list[SSAValue]) -> list[SSAValue]:
        """Of two elements that three results are made of."""
        return [e[0], self._half(self._add(e[0], e[1])), self._half(self._sub(e[0], e[1])), e[1]]

    def two_of(self, m: list[SSAValue]) -> list[SSAValue]:
        """Two results."""
        return [self._add(m[0], self._add(m[1], m[2])), self._add(self._sub(m[1], m[2]), m[3])]

    def three_of(self, m: list[SSAValue]) -> list[SSAValue]:
        """Three results."""
        both = self._add(m[1], m[2])
        return [self._add(m[0], both), self._sub(m[1], m[2]), self._add(both, m[3])]


# -- the three convolutions ------------------------------------------------------------------------------------


def _spread(build: XdslBuilder, x: SSAValue) -> SSAValue:
    """[n, groups, channels, ...] as [1, groups, n, ..., channels]."""
    n, groups, channels, *spatial = type_of(x)[0]
    turned = build("permute", (x,), ((1, 0, *range(LEADING, LEADING + len(spatial)), 2),))[0]
    return build("reshape", (turned,), ((1, groups, n, *spatial, channels),))[0]


def _every_second(build: XdslBuilder, x: SSAValue, at: Sequence[int], sizes: Sequence[int]) -> SSAValue:
    """Elements of a spread image from a place on, so many along each spatial dimension."""
    shape = type_of(x)[0]
    attrs = (0, 0, 0, *at, 0), (*shape[:3], *sizes, shape[-1]), (1, 1, 1, *(TILE for _ in at), 1)
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


def _windows(build: XdslBuilder, x: SSAValue, tiles: Sequence[int], by_channel: bool = False) -> SSAValue:
    """[products, groups, tiles, channels]: the sums of four by four elements for two by two results; by_channel: [..., channels, tiles]."""
    image = _spread(build, padded(build, x, [TILE * n + TAPS - 1 for n in tiles]))
    sums = _along_all(lambda at: _every_second(build, image, at, tiles), len(tiles), PRODUCTS, _Sums(build).of_window)
    return _side_by_side(build, sums, by_channel)


def _kernels(build: XdslBuilder, k: SSAValue, turned: bool) -> SSAValue:
    """[products, groups, channels read, channels made] of a kernel [groups, out, in, ...]; turned: elements from the last to the first, in for out."""
    groups, outs, ins, *taps = type_of(k)[0]
    read, made = (outs, ins) if turned else (ins, outs)
    order = (*range(LEADING, LEADING + len(taps)), 0, *((1, 2) if turned else (2, 1)))
    elements = build("reshape", (build("permute", (k,), (order,))[0],), ((prod(taps), groups, read, made),))[0]

    def element(at: tuple[int, ...]) -> SSAValue:
        return _numbered(build, elements, tuple(TAPS - 1 - n for n in at) if turned else at, TAPS)

    return build("concat", tuple(_along_all(element, len(taps), TAPS, _Sums(build).of_three)), (0,))[0]


def _numbered(build: XdslBuilder, values: SSAValue, at: Sequence[int], count: int) -> SSAValue:
    """One of the values along the first dimension, by its number along every spatial one, of count each."""
    number = 0
    for place in at:
        number = number * count + place
    rank = len(type_of(values)[0])
    return build("slice", (values,), ((number, *(0,) * (rank - 1)), (1, *type_of(values)[0][1:]), (1,) * rank))[0]


def _convolution(op: BookOp) -> SSAValue:
    """conv and conv_input."""
    x, k = op.operands
    n, groups, outs, *places = type_of(op.results[0])[0]
    rank, tiles = len(places), [-(-size // TILE) for size in places]
    build = XdslBuilder(op, origin_of(op))
    made = build("matmul", (_windows(build, x, tiles), _kernels(build, k, op.op_name == "conv_input")), ())[0]
    images = build("reshape", (made,), ((PRODUCTS**rank, groups, n, *tiles, outs),))[0]
    sums = _along_all(lambda at: _numbered(build, images, at, PRODUCTS), rank, PRODUCTS, _Sums(build).two_of)
    parts = []
    for first, value in zip(product(range(TILE), repeat=rank), sums, strict=True):
        sizes = [-(-(size - at) // TILE) for size, at in zip(places, first, strict=True)]
        if 0 not in sizes:
            image = build("reshape", (value,), ((groups, n, *tiles, outs),))[0]
            channels_first = build("permute", (image,), ((1, 0, 2 + rank, *range(2, 2 + rank)),))[0]
            parts.append(Part(part(build, channels_first, [0] * rank, sizes, [1] * rank), first))
    return carried_on(op, parts, [TILE] * rank, channels_last=True)


def _by_kernel(op: BookOp) -> SSAValue:
    """conv_kernel: three by three results per group and pair of channels, of tiles that are added up."""
    x, e = op.operands
    groups, outs, ins, *taps = type_of(op.results[0])[0]
    n, *_ = type_of(x)[0]
    places = type_of(e)[0][LEADING:]
    rank, tiles = len(places), [-(-size // TILE) for size in places]
    build = XdslBuilder(op, origin_of(op))
    image = _spread(build, padded(build, e, [TILE * size for size in tiles]))
    arrived = _along_all(lambda at: _every_second(build, image, at, tiles), rank, TILE, _Sums(build).of_two)
    if 4 * PRODUCTS**rank * n * groups * ins * prod(tiles) > SHARED_BYTES:
        windows = _windows(build, x, tiles, by_channel=True)
    else:
        windows = build("permute", (_windows(build, x, tiles),), ((0, 1, 3, 2),))[0]
    made = build("matmul", (windows, _side_by_side(build, arrived)), ())[0]  # [products, groups, in, out]
    sums = _along_all(lambda at: _numbered(build, made, at, PRODUCTS), rank, PRODUCTS, _Sums(build).three_of)
    turned = build("permute", (build("concat", tuple(sums), (0,))[0],), ((1, 3, 2, 0),))[0]
    return build("reshape", (turned,), ((groups, outs, ins, *taps),))[0]


_REWRITES = {"conv": _convolution, "conv_input": _convolution, "conv_kernel": _by_kernel}
