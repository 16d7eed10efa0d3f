"""Printing: tensors as text, the way PyTorch writes them: widths, scientific notation, summaries."""

from __future__ import annotations

from contextlib import contextmanager
from math import inf
from typing import Any

import numpy as np

from ..dialects.types import bool_, complex_of, int64
from . import recorder
from .promote import Defaults
from .tensor import Tensor


class _Options:
    """What ``set_printoptions`` changes."""

    precision = 4
    threshold = 1000.0
    edgeitems = 3
    linewidth = 80
    sci_mode: bool | None = None


_PROFILES = {
    "default": {"precision": 4, "threshold": 1000, "edgeitems": 3, "linewidth": 80},
    "short": {"precision": 2, "threshold": 1000, "edgeitems": 2, "linewidth": 80},
    "full": {"precision": 4, "threshold": inf, "edgeitems": 3, "linewidth": 80},
}


def set_printoptions(
    precision: int | None = None,
    threshold: float | None = None,
    edgeitems: int | None = None,
    linewidth: int | None = None,
    profile: str | None = None,
    sci_mode: bool | None = None,
) -> None:
    """How tensors are printed; ``profile`` is "default", "short" or "full"."""
    for name, value in (_PROFILES[profile] if profile else {}).items():
        setattr(_Options, name, value)
    given = {"precision": precision, "threshold": threshold, "edgeitems": edgeitems, "linewidth": linewidth}
    for name, value in given.items():
        if value is not None:
            setattr(_Options, name, value)
    _Options.sci_mode = sci_mode


def get_printoptions() -> dict[str, Any]:
    """The options in force."""
    return {k: getattr(_Options, k) for k in ("precision", "threshold", "edgeitems", "linewidth", "sci_mode")}


@contextmanager
def printoptions(**options: Any) -> Any:
    """``set_printoptions`` for a while."""
    before = get_printoptions()
    set_printoptions(**options)
    try:
        yield
    finally:
        set_printoptions(**before)


class _ComplexFormatter:
    """How to write a complex element: each part as the real numbers it is among are written."""

    def __init__(self, shown: np.ndarray) -> None:
        self.parts = _Formatter(shown.real), _Formatter(shown.imag)
        self.width = self.parts[0].width + self.parts[1].width + 1

    def __call__(self, value: complex) -> str:
        re, im = self.parts[0](value.real), self.parts[1](value.imag).lstrip() + "j"
        return re + im if im[0] in "+-" else f"{re}+{im}"


class _Formatter:
    """How to write one element: chosen from all elements that will be shown."""

    def __init__(self, shown: np.ndarray) -> None:
        self.is_float = shown.dtype.kind == "f"
        self.integral = True
        self.scientific = False
        self.width = 1
        if not self.is_float:
            self.width = max([1, *[len(str(v)) for v in shown.reshape(-1).tolist()]])
            return
        values = shown.astype(np.float64).reshape(-1)
        finite = values[np.isfinite(values) & (values != 0)]
        if not finite.size:
            return
        magnitude = np.abs(finite)
        smallest, largest = float(magnitude.min()), float(magnitude.max())
        self.integral = bool((np.ceil(finite) == finite).all())
        wide = largest / smallest > 1000.0 or largest > 1.0e8 or smallest < 1.0e-4
        self.scientific = wide if _Options.sci_mode is None else _Options.sci_mode
        self.width = max([len(self._number(v)) for v in finite.tolist()])

    def _number(self, value: float) -> str:
        if self.scientific:
            return f"{value:.{_Options.precision}e}"
        if self.integral:
            return f"{value:.0f}."
        return f"{value:.{_Options.precision}f}"

    def __call__(self, value: Any) -> str:
        if not self.is_float:
            text = str(value)
        elif self.scientific:
            text = f"{value:{self.width}.{_Options.precision}e}"
        elif self.integral:
            text = f"{value:.0f}"
            if np.isfinite(value):
                text += "."
        else:
            text = f"{value:.{_Options.precision}f}"
        return " " * (self.width - len(text)) + text


def _vector(array: np.ndarray, indent: int, summarize: bool, show: _Formatter) -> str:
    per_line = max(1, int((_Options.linewidth - indent) / (show.width + 2)))
    edge = _Options.edgeitems
    if summarize and not edge:
        cells = ["..."]
    elif summarize and array.shape[0] > 2 * edge:
        cells = (
            [show(v) for v in array[:edge].tolist()] + [" ..."] + [show(v) for v in array[-edge:].tolist()]
        )
    else:
        cells = [show(v) for v in array.tolist()]
    lines = [", ".join(cells[i : i + per_line]) for i in range(0, len(cells), per_line)]
    return "[" + ("," + "\n" + " " * (indent + 1)).join(lines) + "]"


def _nested(array: np.ndarray, indent: int, summarize: bool, show: _Formatter) -> str:
    if array.ndim == 0:
        return show(array.item())
    if array.ndim == 1:
        return _vector(array, indent, summarize, show)
    edge = _Options.edgeitems
    if summarize and array.shape[0] > 2 * edge:
        rows = [_nested(a, indent + 1, summarize, show) for a in array[:edge]] + ["..."]
        rows += [_nested(a, indent + 1, summarize, show) for a in array[len(array) - edge :]]
    else:
        rows = [_nested(a, indent + 1, summarize, show) for a in array]
    return "[" + ("," + "\n" * (array.ndim - 1) + " " * (indent + 1)).join(rows) + "]"


def _edges(array: np.ndarray) -> np.ndarray:
    """Only the elements a summary shows."""
    edge = _Options.edgeitems
    for axis in range(array.ndim):
        if array.shape[axis] > 2 * edge:
            keep = [*range(edge), *range(array.shape[axis] - edge, array.shape[axis])]
            array = np.take(array, keep, axis)
    return array


def _suffixed(text: str, suffixes: list[str], indent: int, breaks: bool) -> str:
    length = len(text) - text.rfind("\n") + 1
    parts = [text]
    for suffix in suffixes:
        if breaks or length + len(suffix) + 2 > _Options.linewidth:
            parts.append(",\n" + " " * indent + suffix)
            length = indent + len(suffix)
            breaks = False
        else:
            parts.append(", " + suffix)
            length += len(suffix) + 2
    parts.append(")")
    return "".join(parts)


def contents(tensor: Tensor, indent: int) -> str:
    """The numbers of a tensor."""
    array = tensor._value()
    summarize = array.size > _Options.threshold
    if array.dtype.kind not in "iubfc":  # bfloat16
        array = array.astype(np.float32)
    formatter = _ComplexFormatter if array.dtype.kind == "c" else _Formatter
    return _nested(array, indent, summarize, formatter(_edges(array) if summarize else array))


def show(tensor: Tensor) -> str:
    """``tensor([1., 2.], grad_fn=<AddBackward0>)``."""
    if recorder.state.levels and (batch := recorder.batches().show_batch(tensor, show)) is not None:
        return batch
    kind = type(tensor)
    prefix = "tensor(" if getattr(kind, "_is_bare", False) or kind is Tensor else f"{kind.__name__}("
    suffixes: list[str] = [] if tensor.device.type == "cpu" else [f"device='{tensor.device}'"]
    implied = tensor.dtype in (Defaults.dtype, complex_of(Defaults.dtype), int64, bool_)
    if tensor.is_meta:
        suffixes.append(f"size={tuple(tensor.shape)}")
        text = "..."
        if not implied:
            suffixes.append(f"dtype={tensor.dtype}")
    elif tensor.numel() == 0:
        if tensor.dim() != 1:
            suffixes.append(f"size={tuple(tensor.shape)}")
        if tensor.dtype is not Defaults.dtype:
            suffixes.append(f"dtype={tensor.dtype}")
        text = "[]"
    else:
        if not _Options.edgeitems:
            suffixes.append(f"size={tuple(tensor.shape)}")
        text = contents(tensor, len(prefix))
        if not implied:
            suffixes.append(f"dtype={tensor.dtype}")
    if tensor.grad_fn is not None:
        suffixes.append(f"grad_fn=<{tensor.grad_fn.name()}>")
    elif tensor.requires_grad:
        suffixes.append("requires_grad=True")
    return _suffixed(prefix + text, suffixes, len(prefix), breaks=False)


def show_quantized(tensor: Any) -> str:
    """``tensor([0.5000], size=(1,), dtype=torch.quint8, quantization_scheme=torch.per_tensor_affine, scale=0.1, zero_point=5)``."""
    prefix, quantizer = "tensor(", tensor._quantizer
    text = "[]" if tensor.numel() == 0 else contents(tensor.dequantize(), len(prefix))
    suffixes = [f"device='{tensor.device}'"] if tensor.is_cuda else []
    suffixes += [f"size={tuple(tensor.shape)}", f"dtype={tensor.dtype}", f"quantization_scheme={quantizer.scheme}"]
    suffixes += [f"scale={quantizer.scale}", f"zero_point={quantizer.zero_point}"]
    if quantizer.axis >= 0:
        suffixes.append(f"axis={quantizer.axis}")
    return _suffixed(prefix + text, suffixes, len(prefix), breaks=False)


PRINT_OPTS, _tensor_str = _Options, contents  # PyTorch's names in torch._tensor_str
