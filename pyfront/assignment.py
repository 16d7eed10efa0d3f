"""Assignment: every in-place write goes through here, with PyTorch's checks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..dialects.types import DType, size_of
from . import recorder, views
from .node import Node
from .promote import cast, expand
from .strides import follow
from .tensor import Tensor, wrap

_TITLES = {
    "float64": "Double",
    "float32": "Float",
    "float16": "Half",
    "bfloat16": "BFloat16",
    "int64": "Long",
    "int32": "Int",
    "int16": "Short",
    "int8": "Char",
    "uint8": "Byte",
    "uint16": "UInt16",
    "uint32": "UInt32",
    "uint64": "UInt64",
    "bool": "Bool",
    "complex64": "ComplexFloat",
    "complex128": "ComplexDouble",
}


def title(dtype: DType) -> str:
    """``Float`` for float32: how PyTorch's errors call a dtype."""
    return _TITLES[dtype.name]


def check_in_place(tensor: Tensor, part: Tensor | None = None) -> None:
    """RuntimeError when autograd (or overlapping memory) forbids writing into ``tensor``. part: the view of it that is written."""
    if tensor._storage.inference and not recorder.state.inference:
        raise RuntimeError(
            "Inplace update to inference tensor outside InferenceMode is not allowed.You can make a clone to get a normal "
            "tensor before doing inplace update.See https://github.com/pytorch/rfcs/pull/17 for more details."
        )
    check_leaf(tensor)
    if tensor._several and recorder.state.grad and tensor.requires_grad:
        raise RuntimeError(
            "this tensor is a view and is being modified inplace. It is the output of a function that returns multiple "
            "views. Such functions do not allow the output views to be modified inplace. You should replace the inplace "
            "operation by an out-of-place one."
        )
    if tensor._chain:
        views.check_writable(tensor._storage, tensor._chain if part is None else part._chain)
        if recorder.state.grad and views.is_of_no_grad(tensor._chain):
            raise RuntimeError(
                "A view was created in no_grad mode and is being modified inplace with grad mode enabled. Make the view and "
                "write it both inside the no_grad block (autograd does not see the write) or both outside (it does)."
            )


def check_overlap(tensor: Tensor, source: Any, expanded: bool = False, whole: bool = False) -> None:
    """RuntimeError when ``tensor`` is to be written from memory that partly is its own (the whole of it is fine).

    expanded: the source takes the shape of ``tensor`` first, with new dimensions in front.
    whole: the whole of it is not fine either.
    """
    if not isinstance(source, Tensor) or source._storage is not tensor._storage or not whole and source._chain == tensor._chain:
        return
    (a, s, i), (b, t, j) = [views.layout(x._storage, x._chain) for x in (tensor, source)]
    m, n = size_of(a), size_of(b)
    if not (m and n and views.is_dense(a, s) and views.is_dense(b, t)):
        return
    while expanded and len(t) > len(s) and b[0] == 1:
        b, t = b[1:], t[1:]
    while expanded and len(t) < len(s):
        b, t = (1, *b), (b[0] * t[0] if b else 1, *t)
    if expanded and b != a:  # repeated by strides of 0: PyTorch does not look into those
        return
    if not whole and (i, m) == (j, n) and s == t or i >= j + n or j >= i + m:
        return
    raise RuntimeError(
        "unsupported operation: some elements of the input tensor and the written-to tensor refer to a single memory "
        "location. Please clone() the tensor before performing the operation."
    )


def check_leaf(tensor: Tensor) -> None:
    """RuntimeError for a leaf that requires grad, and for a view of one."""
    if recorder.state.grad and (tensor._seen != tensor._storage.version or tensor._node.requires_grad) and tensor.requires_grad:
        if views.leaf_mark(tensor._chain) is not None:
            view = "a view of a leaf Variable" if tensor._mark is None else "a leaf Variable"
            raise RuntimeError(f"{view} that requires grad is being used in an in-place operation.")


def store(tensor: Tensor, node: Node, start: int, strict: bool = True) -> None:
    """Make ``node`` the contents of ``tensor``. ``start``: recording position before the operation.

    strict: the dtype may not lose its category (a float result does not go into an int tensor).
    """
    shape, dtype = tensor._node.type
    if node.type[1] is not dtype:
        if (
            strict
            and "buifc".index(node.type[1].kind) // 1 > "buifc".index(dtype.kind)
            and not _both_int(node.type[1], dtype)
        ):
            raise RuntimeError(
                f"result type {title(node.type[1])} can't be cast to the desired output type {title(dtype)}"
            )
        node = cast(node, dtype)
    if node.type[0] != shape:
        if strict:
            raise RuntimeError(
                f"output with shape {list(shape)} doesn't match the broadcast shape {list(node.type[0])}"
            )
        node = expand(node, shape)
    if node.order <= start:
        node = recorder.alias(node)
    views.write(tensor._storage, tensor._chain, node, start)


def _both_int(a: DType, b: DType) -> bool:
    return a.kind in "ui" and b.kind in "ui"


def in_place(
    tensor: Tensor, made_node: Callable[[tuple, dict[str, Any]], Node], args: tuple, options: dict[str, Any], number: int, label: str | None
) -> Tensor:  # fmt: skip
    """``tensor.f_(…)`` from the value that ``f`` gives. number: the argument that is read as a number, before anything is
    written: it may be an element of ``tensor``; -1: none. label: what a tracked result is called after. Asked for as `recorder.state.in_place`."""
    check_in_place(tensor)
    for i, a in enumerate(args):
        if i != number:
            check_overlap(tensor, a)
    start = recorder.state.order
    gone: list[Node] = []
    if recorder.state.grad:
        args = tuple([_as_operand(a, tensor, gone) for a in args])
    put(tensor, made_node((tensor, *args), options), start, label)
    for node in gone:
        node.overwritten = recorder.state.order + 1
    return tensor


recorder.state.in_place = in_place


def put(tensor: Tensor, node: Node, start: int, label: str | None) -> None:
    """`store`, and what the tensor is called after if that is tracked."""
    store(tensor, node, start)
    if label is not None and is_tracked_after(tensor):
        tensor._label = label


def is_tracked_after(tensor: Tensor) -> bool:
    """Whether what was just written requires grad; where memory without a history tells, the tensor is not read for that."""
    storage = tensor._storage
    if storage.host is None and not storage.node.requires_grad and views.is_plain(tensor._chain):
        return False
    return tensor._read().requires_grad


def _as_operand(argument: Any, tensor: Tensor, gone: list[Node]) -> Any:
    """An argument of an in-place operation as what may be saved of it: memory the operation itself overwrites is gone
    afterwards, except as the tensor it is a method of."""
    if not isinstance(argument, Tensor) or argument._storage is not tensor._storage:
        return argument
    gone.append(recorder.alias(argument._read()))
    return wrap(gone[-1])


def write_out(out: Tensor, result: Tensor, start: int) -> Tensor:
    """``f(…, out=out)``: the result goes into ``out``, which takes the result's shape when it is empty or
    differs."""
    if out.requires_grad or result.requires_grad and recorder.state.grad:
        raise RuntimeError(
            "functions with out=... arguments don't support automatic differentiation, "
            "but one of the arguments requires grad."
        )
    if out._chain:
        views.check_writable(out._storage, out._chain)
    node = result._read()
    if out.shape != result.shape:
        from .storage import Storage
        from .tensor import _fill

        if out._storage.host is not None and result.numel() > out.numel():
            raise RuntimeError("Trying to resize storage that is not resizable")
        _fill(out, Storage(cast(recorder.alias(node), out.dtype)), ())
        follow(out, (result,))
        return out
    store(out, node, start)
    return out


def assign(tensor: Tensor, node: Node) -> None:
    """Replace the values of ``tensor`` (a parameter, a buffer, optimizer state) without autograd seeing
    it."""
    order, old = node.order, tensor._node
    start = order - 1 if order > old.order else recorder.state.order
    before, recorder.state.grad = recorder.state.grad, False
    try:
        if order > start and node.type == old.type:
            views.write(tensor._storage, tensor._chain, node, start)
        else:
            store(tensor, node, start)
    finally:
        recorder.state.grad = before
    tensor._forget()
