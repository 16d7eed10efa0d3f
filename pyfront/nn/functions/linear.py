"""linear, bilinear and one_hot: products with weights, and classes as vectors."""

from __future__ import annotations

from ....dialects.errors import ShapeError
from ....dialects.types import DTYPES, show_type
from ...autocasting import autocasts
from ...doubts import refuse_outside
from ... import recorder
from ...doubts import are_places
from ...origin import origin, source_line
from ...precision import in_single
from ...tensor import Tensor, wrap
from .applying import apply, check_same_dtype


@autocasts("linear")
def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """float[..., k], float[n, k], float[n] -> float[..., n]. ShapeError when k differs."""
    if bias is not None:  # what nearly every call is, told apart from Node to Node
        (xs, dtype), (ws, wd), (bs, bd) = input._node.type, weight._node.type, bias._node.type
        if dtype is wd and dtype is bd and len(ws) == 2 and len(bs) == 1 and xs and xs[-1] == ws[1]:
            return apply("linear", (input, weight, bias), (), "addmm" if len(xs) == 2 else "view")
    if input.shape[-1:] != weight.shape[-1:] or weight.dim() != 2:
        k = input.shape[-1] if input.dim() else 1
        first, second = f"{input.numel() // max(k, 1)}x{k}", "x".join(map(str, reversed(weight.shape)))
        raise ShapeError(
            f"mat1 and mat2 shapes cannot be multiplied ({first} and {second})",
            [
                ("input", show_type(input._type), input._node.origin),
                ("weight", show_type(weight._type), weight.name or weight._node.origin),
            ],
            at=source_line(origin()),
            help=f"Linear's in_features is {weight.shape[-1]}; the last size of its input must be the same",
        )
    check_same_dtype("linear", input=input, weight=weight, bias=bias)
    if bias is None:
        return input @ wrap(recorder.record("permute", (weight._read(),), ((1, 0),)))  # not a view, whose memory would be asked for
    return apply("linear", (input, weight, bias), (), "addmm" if input.dim() == 2 else "view")


@autocasts("bilinear")
@in_single
def bilinear(input1: Tensor, input2: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """y[..., o] = x1[..., i] w[o, i, j] x2[..., j] + b[o]."""
    check_same_dtype("bilinear", input1=input1, input2=input2, weight=weight, bias=bias)
    out, left, right = weight.shape
    x1, x2 = input1.reshape(-1, left), input2.reshape(-1, right)
    mixed = (x1 @ weight.permute(1, 0, 2).reshape(left, out * right)).reshape(-1, out, right)
    y = (mixed * x2.unsqueeze(1)).sum(-1, dtype=mixed.dtype).reshape(*input1.shape[:-1], out)
    return y if bias is None else y + bias


def _no_class(number: int | None) -> RuntimeError:
    return RuntimeError("Class values must be non-negative." if number is not None and number < 0 else "Class values must be smaller than num_classes.")


def one_hot(tensor: Tensor, num_classes: int = -1) -> Tensor:
    """int64[...] -> int64[..., classes]. The number of classes is read from the data when it is not given."""
    if tensor.dtype is not DTYPES["int64"]:
        raise RuntimeError("one_hot is only applicable to index tensor of type LongTensor.")
    if not tensor.numel():
        if num_classes <= 0:
            raise RuntimeError("Can not infer total number of classes from empty tensor.")
        low = high = 0
    elif num_classes > 0 and not recorder.state.levels:  # nobody waits for the numbers
        low = high = 0
        refuse_outside(tensor._read(), int(num_classes), _no_class)
    elif recorder.state.levels and num_classes != -1:
        held = recorder.batches().everything(tensor._read())
        low, high = int(held.min()), int(held.max())
    elif num_classes > 0 and are_places(tensor._read(), num_classes):
        low = high = 0
    else:
        low, high = int(tensor.min().item()), int(tensor.max().item())
    if low < 0:
        raise RuntimeError("Class values must be non-negative.")
    if num_classes == -1:
        num_classes = high + 1
    num_classes = int(num_classes)
    if high >= num_classes:
        raise RuntimeError("Class values must be smaller than num_classes.")
    classes = wrap(recorder.record("iota", (), ((num_classes,), 0, DTYPES["int64"])))
    return (tensor.unsqueeze(-1) == classes).to(DTYPES["int64"])
