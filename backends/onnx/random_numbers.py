"""Random numbers: nodes that draw, so that every run has others."""

from __future__ import annotations

from typing import Any

from ...dialects.sizes import Size
from ...dialects.types import Type, bool_, float32, float64
from .writer import Value, Writer, element_type


def drawn(w: Writer, name: str, numbers: tuple[Any, ...], t: Type) -> Value:
    """Numbers of a distribution: uniform or normal ones by the node, others made of uniform ones, in float32 unless they are float64."""
    shape, dtype = t
    kind = float64 if dtype is float64 else float32
    if name in ("normal", "scattered_normal"):
        mean, scale = (*numbers, *(0.0, 1.0)[len(numbers) :])
        return w.cast(_node(w, "RandomNormal", (shape, kind), mean=float(mean), scale=float(scale)), dtype)
    if name == "uniform":
        low, high = (*numbers, *(0.0, 1.0)[len(numbers) :])
        return w.cast(_node(w, "RandomUniform", (shape, kind), low=float(low), high=float(high)), dtype)
    if name == "integers":
        low, high = numbers
        number = w.op("floor", _node(w, "RandomUniform", (shape, float64), low=float(low), high=float(high)))
        return w.cast(w.op("minimum", number, w.op("full", shape, float(high - 1), float64)), dtype)
    unit = _node(w, "RandomUniform", (shape, kind), low=0.0, high=1.0)
    if name == "exponential":
        rate = numbers[0] if numbers else 1.0
        number = w.op("log1p", w.op("neg", unit))
        return w.cast(w.op("mul", number, w.op("full", shape, -1.0 / rate, kind)), dtype)
    hit = w.op("less", unit, w.op("full", shape, float(numbers[0]), kind))  # bernoulli, and what dropout keeps
    assert hit.dtype is bool_
    value = 1.0 if name == "bernoulli" else 1.0 / numbers[0]
    return w.op("select", hit, w.op("full", shape, value, kind), w.op("full", shape, 0.0, kind)) if dtype is kind else w.cast(
        w.op("select", hit, w.op("full", shape, value, kind), w.op("full", shape, 0.0, kind)), dtype
    )


def _node(w: Writer, kind: str, t: Type, **numbers: float) -> Value:
    """A node that draws; where a size is known only when it runs, for the shape of a tensor."""
    shape, dtype = t
    if not any(isinstance(d, Size) for d in shape):
        return w.emit(kind, (), t, shape=[int(d) for d in shape], dtype=element_type(dtype), **numbers)
    like = w.emit("ConstantOfShape", (w.ints(shape),), (shape, float32))
    return w.emit(f"{kind}Like", (like,), t, dtype=element_type(dtype), **numbers)
