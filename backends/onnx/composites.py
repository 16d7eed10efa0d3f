"""Composites ONNX has whole: they stay one node, so that runtimes find their kernels. The others are opened."""

from __future__ import annotations

from math import inf, prod

from ...dialects.types import float32, float64, int8, uint8
from .contractions import Margins, pad_of
from .writer import Use, Value, Writer, rule

_SINCE = {"gelu": 20, "gelu_tanh": 20, "mish": 18}
_NUMBERED = {"leaky_relu": ("LeakyRelu", ("slope",)), "elu": ("Elu", ("alpha",)), "selu": ("Selu", ()), "softsign": ("Softsign", ()), "mish": ("Mish", ()),
             "hardswish": ("HardSwish", ())}  # fmt: skip


@rule("leaky_relu", "elu", "softsign", "mish", "hardswish")
def _activation(w: Writer, use: Use) -> Value | None:
    if w.opset < _SINCE.get(use.op, 0) or not _is_plain(use):
        return None
    kind, names = _NUMBERED[use.op]
    return w.emit(kind, use.operands, use.types[0], **({"alpha": float(use[names[0]])} if names else {}))


def _is_plain(use: Use) -> bool:
    """Whether the numbers are float32 or float64: half precision is computed in float32 when it is opened, and rounded once."""
    return use.types[0][1] in (float32, float64)


@rule("gelu", "gelu_tanh")
def _gelu(w: Writer, use: Use) -> Value | None:
    if w.opset < _SINCE[use.op] or not _is_plain(use):
        return None
    return w.emit("Gelu", use.operands, use.types[0], approximate="tanh" if use.op == "gelu_tanh" else "none")


@rule("softmax", "log_softmax")
def _softmax(w: Writer, use: Use) -> Value | None:
    if len(use["axes"]) != 1 or not _is_plain(use):
        return None
    return w.emit("Softmax" if use.op == "softmax" else "LogSoftmax", use.operands, use.types[0], axis=use["axes"][0])


@rule("hardtanh", "clamp")
def _clip(w: Writer, use: Use) -> Value | None:
    dtype = use.types[0][1]
    if not _is_plain(use):
        return None
    low, high = (w.scalar(use[name], dtype) if abs(use[name]) != inf else "" for name in ("low", "high"))
    return w.emit("Clip", (*use.operands, low, high), use.types[0])


@rule("batch_norm_infer")
def _batch_norm(w: Writer, use: Use) -> Value | None:
    return w.emit("BatchNormalization", use.operands, use.types[0], epsilon=float(use["eps"])) if _is_plain(use) else None


@rule("layer_norm")
def _layer_norm(w: Writer, use: Use) -> Value | None:
    if not _is_plain(use):
        return None
    return w.emit("LayerNormalization", use.operands, use.types[0], axis=-use["axes_count"], epsilon=float(use["eps"]))


@rule("max_pool")
def _max_pool(w: Writer, use: Use) -> Value | None:
    (x,) = use.operands
    if x.dtype.kind != "f" and x.dtype not in (int8, uint8):
        return None
    return _pool(w, use, "MaxPool", -inf, dilations=list(use["dilation"]))


@rule("avg_pool")
def _avg_pool(w: Writer, use: Use) -> Value | None:
    return _pool(w, use, "AveragePool", 0.0, count_include_pad=1)


def _pool(w: Writer, use: Use, kind: str, fill: float, **attributes: object) -> Value:
    """The last dimensions are pooled; those in front of them become two."""
    (x,), size = use.operands, use["size"]
    before = len(x.shape) - len(size)
    shape, dtype = use.types[0]
    if before == 2:
        inner, margins = pad_of(x, 2, fill) or (x, Margins.none(len(size)))
        if any(margins.interior):
            inner, margins = x, Margins.none(len(size))
        pads = [*margins.low, *margins.high]
        return w.emit(kind, (inner,), use.types[0], kernel_shape=list(size), strides=list(use["stride"]), pads=pads, **attributes)
    head = (prod(x.shape[: before - 1]), x.shape[before - 1]) if before > 1 else (1, *x.shape[:before], *(1,) * (1 - before))
    flat = w.op("reshape", x, (*head, *x.shape[before:]))
    y = w.emit(kind, (flat,), ((*head, *shape[before:]), dtype), kernel_shape=list(size), strides=list(use["stride"]), **attributes)
    return w.op("reshape", y, shape)


