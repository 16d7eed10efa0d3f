"""Discrete Fourier transforms: ONNX's DFT, which scales the inverse by the number of points."""

from __future__ import annotations

from typing import Any

from ...dialects.types import int64
from .scalars import wide
from .writer import Use, Value, Writer, rule


@rule("dft_parts")
def _dft_parts(w: Writer, use: Use) -> Value:
    x, axis, inverse = use.operands[0], use["axis"], use["sign"] > 0
    return _scaled(w, _dft(w, x, axis, x.shape, inverse=inverse), use["scale"] * (x.shape[axis] if inverse else 1), use)


@rule("real_dft")
def _real_dft(w: Writer, use: Use) -> Value:
    x = use.operands[0]
    axis = len(x.shape) - 1
    return _scaled(w, _dft(w, w.op("reshape", x, (*x.shape, 1)), axis, use.types[0][0], onesided=1), use["scale"], use)


@rule("dft_to_real")
def _dft_to_real(w: Writer, use: Use) -> Value:
    """The other half are the conjugates, backwards; the real part of the whole."""
    x = use.operands[0]
    *head, m, _ = x.shape
    rank, axis = len(x.shape), len(x.shape) - 2
    inner = w.op("slice", x, (*(0,) * axis, 1, 0), (*head, m - 2, 2), (1,) * rank)
    signs = w.op("reshape", w.constant([1, -1], x.dtype), (*(1,) * (rank - 1), 2))
    mirrored = w.op("mul", w.op("flip", inner, (axis,)), w.op("expand", signs, inner.shape))
    whole = w("concat", (x, mirrored), (axis,))[0]
    y = _dft(w, whole, axis, whole.shape, inverse=True)
    n = 2 * m - 2
    real = w.op("reshape", w.op("slice", y, (0,) * rank, (*head, n, 1), (1,) * rank), (*head, n))
    return _scaled(w, real, use["scale"] * n, use)


def _dft(w: Writer, x: Value, axis: int, shape: tuple, inverse: bool = False, onesided: int = 0) -> Value:
    """The node, with a batch in front: ONNX wants one. Its axis is an input from opset 20 on."""
    dtype = wide(x.dtype)
    batch = w.cast(w.op("reshape", x, (1, *x.shape)), dtype)
    attributes: dict[str, Any] = {"inverse": int(inverse), "onesided": onesided}
    inputs: list[Value | str] = [batch]
    if w.opset >= 20:
        inputs += ["", w.scalar(axis + 1, int64)]
    else:
        attributes["axis"] = axis + 1
    y = w.emit("DFT", inputs, ((1, *shape), dtype), **attributes)
    return w.op("reshape", y, shape)


def _scaled(w: Writer, y: Value, scale: Any, use: Use) -> Value:
    if scale != 1:
        y = w.op("mul", y, w.op("full", y.shape, scale, y.dtype))
    return w.cast(y, use.types[0][1])
