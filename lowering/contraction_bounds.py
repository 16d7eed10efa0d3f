"""Bounds of a tile's loops over the reduction, as code: a share of the outermost one, and what limits leave of them."""

from __future__ import annotations

from xdsl.dialects import arith
from xdsl.ir import SSAValue

from .contraction_limits import Limit, Way, steps_within
from .loop_writer import Address, LoopWriter

Bounds = tuple[SSAValue | int, SSAValue | int]


def bounds_within(w: LoopWriter, limit: Limit, way: Way, place: Address) -> Bounds:
    """Iterations of the reduction's loop that count for a tile at a place."""
    low, high = _steps(w, limit, way, place)
    unit = limit.unit
    return tuple(v * unit if isinstance(v, int) else w.times(v, unit) for v in (low, high))  # type: ignore[return-value]  # two of them


def _steps(w: LoopWriter, limit: Limit, way: Way, place: Address) -> Bounds:
    if place.base is None:
        low, high = steps_within(place.offset + way.least, place.offset + way.most, limit.extent, way.step)
        return max(low, 0), min(high, way.size)
    least, most = place + (way.least - limit.extent), place + way.most
    if way.step > 0:
        first, last = _negative(w, _floor(w, most, way.step)), _negative(w, _floor(w, least, way.step))
    else:
        first, last = w.plus(_floor(w, least, -way.step), 1), w.plus(_floor(w, most, -way.step), 1)
    return w.binary(arith.MaxSIOp, first, w.index(0)), w.binary(arith.MinSIOp, last, w.index(way.size))


def _floor(w: LoopWriter, value: Address, number: int) -> SSAValue:
    return w.at(value) if number == 1 else w.binary(arith.FloorDivSIOp, w.at(value), w.index(number))


def _negative(w: LoopWriter, value: SSAValue) -> SSAValue:
    return w.binary(arith.SubiOp, w.index(0), value)


def both(w: LoopWriter, a: Bounds | None, b: Bounds) -> Bounds:
    """The steps that are within two ranges."""
    if a is None:
        return b
    (low, high), (first, last) = [tuple(v if isinstance(v, SSAValue) else w.index(v) for v in pair) for pair in (a, b)]
    return w.binary(arith.MaxSIOp, low, first), w.binary(arith.MinSIOp, high, last)
