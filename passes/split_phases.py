"""Split phases: a convolution of what was spread out becomes one convolution per phase, none of which meets the zeros between."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from math import gcd, prod
from typing import NamedTuple

from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Block, SSAValue

from ..dialects.ops import BookOp, XdslBuilder, attrs_of, type_of
from .base import Pass
from .folded_phases import MOST, fold, folded_conv, folded_kernel
from .phases import LEADING, Part, carried_on, empty, kernel_of_conv, part, put, together, zero
from .program import origin_of, program_blocks


@dataclass(frozen=True)
class SplitPhases(Pass):
    """Compute the results of a convolution whose input was spread by a stride per residue of their places.

    before  %1 = prim.pad %x {low = [0, 0, 0, 1], high = [0, 0, 0, 1], interior = [0, 0, 0, 1], fill = 0}
            %2 = prim.conv %1, %k {stride = [1], dilation = [1]}
    after   %2 = prim.conv of %x and the odd elements of %k, written to the even places
            %3 = prim.conv of %x and the even elements of %k, written to the odd places

    Transposed convolutions and the gradients of strided ones are such convolutions: with a stride of 2 in two dimensions three
    of four products are with zeros. Their gradients, in turn, are convolutions of which every second result is read
    (`slice` with a step: it becomes the stride) and sums over a spread input (`conv_kernel`: one per phase).
    """

    name = "split-phases"
    takes = "primitive"

    def run(self, module: ModuleOp) -> int:
        """Number of convolutions replaced."""
        return sum(_split(block) for block in program_blocks(module))


def _split(block: Block) -> int:
    count = 0
    op = block.last_op
    while op is not None:
        before = op.prev_op
        if isinstance(op, BookOp):
            rewrite = _REWRITES.get(op.op_name)
            result = rewrite(op) if rewrite is not None else None
            if result is not None:
                op.results[0].replace_all_uses_with(result)
                block.erase_op(op)
                count += 1
        op = before
    return count


class _Spread(NamedTuple):
    """An operand behind a pad that puts zeros between its elements: the source, and per spatial dimension the distance and
    the place of its first element."""

    source: SSAValue
    stride: tuple[int, ...]
    low: tuple[int, ...]

    @property
    def sizes(self) -> tuple[int, ...]:
        return type_of(self.source)[0][LEADING:]


def _spread(value: SSAValue) -> _Spread | None:
    maker = value.owner
    if not isinstance(maker, BookOp) or maker.op_name != "pad":
        return None
    low, high, interior, fill = attrs_of(maker)
    if fill != 0 or not any(interior) or any((*low[:LEADING], *high[:LEADING], *interior[:LEADING])):
        return None
    return _Spread(maker.operands[0], tuple(n + 1 for n in interior[LEADING:]), tuple(low[LEADING:]))


def _are_many(spread: _Spread, dilation: Sequence[int]) -> bool:
    """Whether phases are too many for a kernel each."""
    return prod(spread.stride) > MOST and all(d == 1 for d in dilation)


class _Phase(NamedTuple):
    """One residue of the places along one dimension: results first, first + s, …; kernel elements tap, tap + skip, … (taps of
    them); the source element the first result reads first; the distance between those of neighbouring taps."""

    first: int
    results: int
    tap: int
    skip: int
    taps: int
    start: int
    dilation: int


def _phases(results: int, kernel: int, dilation: int, stride: int, low: int) -> list[_Phase]:
    """result[i] = sum over u of spread[i + u * dilation] * kernel[u], with the source at low, low + stride, …"""
    skip = stride // gcd(stride, dilation)
    found = []
    for first in range(min(stride, results)):
        taps = [u for u in range(kernel) if (first + u * dilation - low) % stride == 0]
        start = (first + taps[0] * dilation - low) // stride if taps else 0
        count = -(-(results - first) // stride)
        found.append(_Phase(first, count, taps[0] if taps else 0, skip, len(taps), start, skip * dilation // stride))
    return found


def _around(build: XdslBuilder, spread: _Spread, phases: Sequence[Sequence[_Phase]]) -> tuple[SSAValue, list[int]]:
    """The source with the zeros that some phase reads around it, and how many stand in front."""
    lows, highs = [], []
    for size, along in zip(spread.sizes, phases, strict=True):
        used = [p for p in along if p.taps]
        lows.append(max([-p.start for p in used], default=0))
        highs.append(max([p.start + p.results + (p.taps - 1) * p.dilation - size for p in used], default=0))
    lows, highs = [max(n, 0) for n in lows], [max(n, 0) for n in highs]
    if not any((*lows, *highs)):
        return spread.source, lows
    nothing = (0,) * LEADING
    rank = LEADING + len(lows)
    attrs = ((*nothing, *lows), (*nothing, *highs), (0,) * rank, zero(spread.source))
    return build("pad", (spread.source,), attrs)[0], lows


def _by_phase(op: BookOp) -> SSAValue | None:
    """conv and conv_input of a spread input."""
    spread = _spread(op.operands[0])
    attrs = attrs_of(op)
    dilation, turned = attrs[-1], op.op_name == "conv_input"
    if spread is None or not turned and any(n != 1 for n in attrs[0]):
        return None
    kernel = op.operands[1]
    sizes = type_of(kernel)[0][LEADING:]
    results = type_of(op.results[0])[0][LEADING:]
    if _are_many(spread, dilation):
        return folded_conv(op, spread.source, [fold(*along) for along in zip(results, sizes, spread.stride, spread.low, strict=True)])
    phases = [_phases(*along) for along in zip(results, sizes, dilation, spread.stride, spread.low, strict=True)]
    build = XdslBuilder(op, origin_of(op))
    source, front = _around(build, spread, phases)
    parts: list[Part] = []
    for combination in product(*phases):
        if not all(p.taps for p in combination):
            continue
        start = [p.start + n for p, n in zip(combination, front, strict=True)]
        size = [p.results + (p.taps - 1) * p.dilation for p in combination]
        # conv_input reads its kernel from the end: the taps of a phase are counted from there.
        taps = [n - 1 - p.tap - p.skip * (p.taps - 1) if turned else p.tap for p, n in zip(combination, sizes, strict=True)]
        piece = part(build, kernel, taps, [p.taps for p in combination], [p.skip for p in combination])
        read = part(build, source, start, size, [1] * len(size))
        spacing = tuple(p.dilation for p in combination)
        made = build(op.op_name, (read, piece), (spacing,) if turned else ((1,) * len(size), spacing))[0]
        parts.append(Part(made, [p.first for p in combination]))
    if len(parts) == prod(map(len, phases)):
        return carried_on(op, parts, spread.stride)
    return together(build, op.results[0], parts, spread.stride)


def _kernel_by_phase(op: BookOp) -> SSAValue | None:
    """conv_kernel of a spread input: kernel[u] = sum over i of spread[i + u * dilation] * e[i]."""
    spread = _spread(op.operands[0])
    size, stride, dilation = attrs_of(op)
    if spread is None or any(n != 1 for n in stride):
        return None
    other = op.operands[1]
    results = type_of(other)[0][LEADING:]
    if _are_many(spread, dilation):
        return folded_kernel(op, spread.source, [fold(*along) for along in zip(results, size, spread.stride, spread.low, strict=True)])
    phases = [_phases(*along) for along in zip(results, size, dilation, spread.stride, spread.low, strict=True)]
    build = XdslBuilder(op, origin_of(op))
    source, front = _around(build, spread, phases)
    whole = empty(build, op.results[0])
    for combination in product(*phases):
        if not all(p.taps for p in combination):
            continue
        start = [p.start + n for p, n in zip(combination, front, strict=True)]
        reach = [p.results + (p.taps - 1) * p.dilation for p in combination]
        read = part(build, source, start, reach, [1] * len(reach))
        arrived = part(build, other, [p.first for p in combination], [p.results for p in combination], spread.stride)
        taps, spacing = tuple(p.taps for p in combination), tuple(p.dilation for p in combination)
        made = build("conv_kernel", (read, arrived), (taps, (1,) * len(taps), spacing))[0]
        whole = put(build, whole, made, [p.tap for p in combination], [p.skip for p in combination])  # each tap has one phase
    return whole


def _strided(op: BookOp) -> SSAValue | None:
    """A slice with steps of a convolution nobody else reads: the steps become its stride."""
    start, size, step = attrs_of(op)
    maker = op.operands[0].owner
    if not isinstance(maker, BookOp) or maker.op_name not in ("conv", "conv_input") or not op.operands[0].has_one_use():
        return None
    shape = type_of(op.operands[0])[0]
    if all(n == 1 for n in step[LEADING:]) or tuple(size[:LEADING]) != shape[:LEADING] or any(n != 1 for n in step[:LEADING]):
        return None
    if 0 in size or _spread(maker.operands[0]) is not None:
        return None
    x, kernel = maker.operands
    attrs = attrs_of(maker)
    build = XdslBuilder(op, origin_of(maker))
    taps, dilation = type_of(kernel)[0][LEADING:], attrs[-1]
    stride = attrs[0] if maker.op_name == "conv" else (1,) * len(taps)
    if maker.op_name == "conv_input":
        kernel = kernel_of_conv(build, kernel)
    steps = tuple(a * b for a, b in zip(stride, step[LEADING:], strict=True))
    first = [a * b for a, b in zip(start[LEADING:], stride, strict=True)]
    reach = [(n - 1) * s + (u - 1) * d + 1 for n, s, u, d in zip(size[LEADING:], steps, taps, dilation, strict=True)]
    read = part(build, x, first, reach, [1] * len(reach))
    return build("conv", (read, kernel), (steps, dilation))[0]


_REWRITES = {"conv": _by_phase, "conv_input": _by_phase, "conv_kernel": _kernel_by_phase, "slice": _strided}
