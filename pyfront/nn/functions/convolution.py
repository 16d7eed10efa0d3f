"""Convolutions of one to three dimensions, transposed ones, and padding: all are the book's pad and conv."""

from __future__ import annotations

from typing import Any

from ....dialects.errors import ShapeError, UnsupportedError
from ....dialects.types import Shape, show_type
from ...autocasting import autocasts
from ...complex_numbers import complex_
from ...joining import apart
from ...node import Node
from ...origin import origin, source_line
from ...phrases import Phrases
from ...recorder import record
from ...tensor import Tensor, wrap
from .applying import apply, check_same_dtype, each

Spatial = int | tuple[int, ...]


def padded(x: Tensor, low: tuple[int, ...], high: tuple[int, ...], fill: float = 0.0, interior: int | tuple = 0) -> Tensor:
    """Pad (or, where negative, crop) the last len(low) dimensions."""
    before = (0,) * (x.dim() - len(low))
    between = (interior,) * len(low) if isinstance(interior, int) else interior
    if not any(low) and not any(high) and not any(between):
        return x
    return apply("pad", (x,), (before + tuple(low), before + tuple(high), before + tuple(between), fill), "constant_pad_nd")


def _refuse(what: str, x: Tensor, weight: Tensor, help: str) -> ShapeError:
    facts = [
        ("input", show_type(x._type), x._node.origin),
        ("weight", show_type(weight._type), weight.name or weight._node.origin),
    ]
    return ShapeError(what, facts, at=source_line(origin()), help=help)


def _same_padding(size: tuple[int, ...], dilation: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    total = [d * (k - 1) for k, d in zip(size, dilation, strict=True)]
    return tuple(t // 2 for t in total), tuple(t - t // 2 for t in total)


_phrases = Phrases()  # the steps of convolutions, by types and options


def _convolve(
    rank: int, input: Tensor, weight: Tensor, bias: Tensor | None, stride: Any, padding: Any, dilation: Any, groups: int
) -> Tensor:
    x, w, b = input._read(), weight._read(), None if bias is None else bias._read()
    options = [tuple(o) if type(o) is list else o for o in (stride, padding, dilation)]
    key = (rank, x.type, w.type, b and b.type, *options, groups)
    operands = (x, w) if b is None else (x, w, b)
    phrase = _phrases.get(key)
    if phrase is None:
        check_same_dtype(f"conv{rank}d", input=input, weight=weight, bias=bias)
        if input.dim() == rank + 1:
            return _convolve(rank, input.unsqueeze(0), weight, bias, stride, padding, dilation, groups).squeeze(0)
        y = _phrases.keep(key, operands, _convolved(rank, input, weight, operands, *options, groups))
    else:
        y = phrase.again(operands)
    result = wrap(y)
    result._label = "convolution"
    return result


def _convolved(
    rank: int, input: Tensor, weight: Tensor, operands: tuple[Node, ...], stride: Any, padding: Any, dilation: Any, groups: int
) -> Node:
    """Check a convolution, work out its shapes and record it. ShapeError with PyTorch's sentences."""
    if input.dim() != rank + 2:
        raise _refuse(
            f"Expected {rank + 1}D (unbatched) or {rank + 2}D (batched) input to conv{rank}d, "
            f"but got input of size: {list(input.shape)}", input, weight, "give [batch, channels, ...]",
        )  # fmt: skip
    outs, inner, *size = weight.shape
    batch, channels, *spatial = input.shape
    if channels != inner * groups:
        raise _refuse(
            f"Given groups={groups}, weight of size {list(weight.shape)}, expected input{list(input.shape)} to have "
            f"{inner * groups} channels, but got {channels} channels instead", input, weight,
            f"in_channels of this layer is {inner * groups}",
        )  # fmt: skip
    stride, dilation = each(stride, rank, "stride"), each(dilation, rank, "dilation")
    low, high = _margins(padding, tuple(size), stride, dilation)
    reach = [d * (k - 1) + 1 for k, d in zip(size, dilation, strict=True)]
    room = [n + a + b for n, a, b in zip(spatial, low, high, strict=True)]
    if any(r > n for r, n in zip(reach, room, strict=True)):
        raise _refuse(
            f"Calculated padded input size per channel: ({' x '.join(map(str, room))}). Kernel size: "
            f"({' x '.join(map(str, reach))}). Kernel size can't be greater than actual input size", input, weight,
            "a larger input, more padding or a smaller kernel",
        )  # fmt: skip
    positions = [(n - r) // s + 1 for n, r, s in zip(room, reach, stride, strict=True)]
    none, result = (0, 0), (batch, outs, *positions)
    x, w, *rest = operands
    if any(low) or any(high):
        x = record("pad", (x,), (none + low, none + high, (0,) * (rank + 2), 0.0))
    x = record("reshape", (x,), ((batch, groups, inner, *room),))
    w = record("reshape", (w,), ((groups, outs // groups, inner, *size),))
    y = record("reshape", (record("conv", (x, w), (stride, dilation)),), (result,))
    for b in rest:
        b = record("expand", (record("reshape", (b,), ((1, outs, *(1,) * rank),)),), (result,))
        y = record("add", (y, b))
    return y


def _margins(padding: Any, size: Shape, stride: Shape, dilation: Shape) -> tuple[Shape, Shape]:
    """How much is padded before and behind each dimension."""
    rank = len(size)
    if padding == "valid":
        return (0,) * rank, (0,) * rank
    if padding == "same":
        if any(s != 1 for s in stride):
            raise RuntimeError("padding='same' is not supported for strided convolutions")
        return _same_padding(size, dilation)
    if isinstance(padding, str):
        raise RuntimeError(f"Invalid padding string: '{padding}'")
    both = each(padding, rank, "padding")
    return both, both


def _with_bias(y: Tensor, bias: Tensor | None, rank: int) -> Tensor:
    if bias is not None:
        y = y + bias.reshape(1, -1, *(1,) * rank)
    y._label = "convolution"
    return y


@autocasts("conv1d")
def conv1d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Spatial = 1, padding: Spatial | str = 0,
    dilation: Spatial = 1, groups: int = 1,
) -> Tensor:  # fmt: skip
    """float[n, c, l] (or [c, l]) with weight[o, c / groups, k]."""
    return _convolve(1, input, weight, bias, stride, padding, dilation, groups)


@autocasts("conv2d")
def conv2d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Spatial = 1, padding: Spatial | str = 0,
    dilation: Spatial = 1, groups: int = 1,
) -> Tensor:  # fmt: skip
    """float[n, c, h, w] (or [c, h, w]) with weight[o, c / groups, kh, kw]."""
    return _convolve(2, input, weight, bias, stride, padding, dilation, groups)


@autocasts("conv3d")
def conv3d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Spatial = 1, padding: Spatial | str = 0,
    dilation: Spatial = 1, groups: int = 1,
) -> Tensor:  # fmt: skip
    """float[n, c, d, h, w] (or [c, d, h, w]) with weight[o, c / groups, kd, kh, kw]."""
    return _convolve(3, input, weight, bias, stride, padding, dilation, groups)


def _transposed(
    rank: int, input: Tensor, weight: Tensor, bias: Tensor | None, stride: Any, padding: Any, output_padding: Any,
    groups: int, dilation: Any,
) -> Tensor:  # fmt: skip
    """The adjoint of a convolution: the input spread out by the stride, convolved with the flipped kernel."""
    check_same_dtype(f"conv_transpose{rank}d", input=input, weight=weight, bias=bias)
    if input.dim() == rank + 1:
        batch = input.unsqueeze(0)
        return _transposed(rank, batch, weight, bias, stride, padding, output_padding, groups, dilation).squeeze(0)
    ins, inner, *size = weight.shape
    if input.dim() != rank + 2 or input.shape[1] != ins:
        raise _refuse(
            f"Given transposed=1, weight of size {list(weight.shape)}, expected input{list(input.shape)} to have "
            f"{ins} channels, but got {input.shape[1] if input.dim() > 1 else 0} channels instead", input, weight,
            f"in_channels of this layer is {ins}",
        )  # fmt: skip
    stride, dilation = each(stride, rank, "stride"), each(dilation, rank, "dilation")
    padding, extra = each(padding, rank, "padding"), each(output_padding, rank, "output_padding")
    if any(e >= max(s, d) for e, s, d in zip(extra, stride, dilation, strict=True)):
        raise RuntimeError("output padding must be smaller than either stride or dilation")
    low = tuple(d * (k - 1) - p for d, k, p in zip(dilation, size, padding, strict=True))
    high = tuple(a + e for a, e in zip(low, extra, strict=True))
    grouped = input.reshape(input.shape[0], groups, ins // groups, *input.shape[2:])
    grouped = padded(grouped, low, high, 0.0, tuple(s - 1 for s in stride))
    kernel = weight.reshape(groups, ins // groups, inner, *size).transpose(1, 2)
    kernel = kernel.flip(tuple(range(3, 3 + rank)))
    y = apply("conv", (grouped, kernel), ((1,) * rank, dilation), "convolution")
    return _with_bias(y.reshape(y.shape[0], groups * inner, *y.shape[3:]), bias, rank)


@autocasts("conv_transpose1d")
def conv_transpose1d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Spatial = 1, padding: Spatial = 0,
    output_padding: Spatial = 0, groups: int = 1, dilation: Spatial = 1,
) -> Tensor:  # fmt: skip
    """float[n, c, l] with weight[c, o / groups, k]."""
    return _transposed(1, input, weight, bias, stride, padding, output_padding, groups, dilation)


@autocasts("conv_transpose2d")
def conv_transpose2d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Spatial = 1, padding: Spatial = 0,
    output_padding: Spatial = 0, groups: int = 1, dilation: Spatial = 1,
) -> Tensor:  # fmt: skip
    """float[n, c, h, w] with weight[c, o / groups, kh, kw]."""
    return _transposed(2, input, weight, bias, stride, padding, output_padding, groups, dilation)


@autocasts("conv_transpose3d")
def conv_transpose3d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Spatial = 1, padding: Spatial = 0,
    output_padding: Spatial = 0, groups: int = 1, dilation: Spatial = 1,
) -> Tensor:  # fmt: skip
    """float[n, c, d, h, w] with weight[c, o / groups, kd, kh, kw]."""
    return _transposed(3, input, weight, bias, stride, padding, output_padding, groups, dilation)


def pad(input: Tensor, pad: tuple[int, ...], mode: str = "constant", value: float | None = None) -> Tensor:
    """Pad from the last dimension on: (left, right, top, bottom, ...). constant, reflect, replicate or circular."""
    sizes = tuple(int(p) for p in pad)
    if len(sizes) % 2 or len(sizes) // 2 > input.dim():
        raise RuntimeError(f"Padding length must be divisible by 2 and at most twice the rank, got {len(sizes)}")
    low, high = sizes[0::2][::-1], sizes[1::2][::-1]
    if mode == "constant" and isinstance(value, complex):
        parts = zip((input.real, input.imag), (value.real, value.imag), strict=True)
        return complex_(*[padded(part, low, high, fill) for part, fill in parts])
    if mode == "constant":
        return apart(padded(input, low, high, 0.0 if value is None else value), input)
    if mode not in ("reflect", "replicate", "circular"):
        raise UnsupportedError(f"Unrecognised padding mode {mode}", at=source_line(origin()))
    y = input
    for axis, (a, b) in enumerate(zip(low, high, strict=True), input.dim() - len(low)):
        y = _pad_axis(y, axis, a, b, mode)
    return apart(y, input)


def _pad_axis(x: Tensor, axis: int, low: int, high: int, mode: str) -> Tensor:
    """Pad one dimension with what `mode` finds in it."""
    n = x.shape[axis]
    if mode == "reflect" and max(low, high) >= n or mode == "circular" and max(low, high) > n:
        raise RuntimeError(
            f"Padding size should be less than the corresponding input dimension, but got: padding ({low}, {high}) "
            f"at dimension {axis} of input {list(x.shape)}"
        )
    parts = [x]
    if low > 0:
        parts.insert(0, _border(x, axis, low, mode, True))
    if high > 0:
        parts.append(_border(x, axis, high, mode, False))
    y = apply("concat", parts, (axis,)) if len(parts) > 1 else x
    if low < 0 or high < 0:
        start = max(-low, 0)
        y = y.narrow(axis, start, y.shape[axis] - start - max(-high, 0))
    return y


def _border(x: Tensor, axis: int, count: int, mode: str, front: bool) -> Tensor:
    n = x.shape[axis]
    if mode == "replicate":
        edge = x.narrow(axis, 0 if front else n - 1, 1)
        return edge.expand(*[count if i == axis else s for i, s in enumerate(x.shape)])
    if mode == "circular":
        return x.narrow(axis, n - count if front else 0, count)
    return x.narrow(axis, 1 if front else n - 1 - count, count).flip((axis,))


@autocasts("conv_tbc")
def conv_tbc(input: Tensor, weight: Tensor, bias: Tensor, pad: int = 0) -> Tensor:
    """conv1d with time first: float[t, n, c] with weight[k, c, o] -> float[t', n, o]."""
    y = conv1d(input.permute(1, 2, 0), weight.permute(2, 1, 0), bias, padding=pad)
    return y.permute(2, 0, 1)
