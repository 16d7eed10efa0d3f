"""Placement: on which device a value is, that operands are on the same one, and copies from one to the other.

A value is where its operands are; numbers an operation brings along (`recorder.constant`, ``full``) are anywhere. Nothing
here runs before the first tensor is put on another device than the CPU, or such a device is where tensors are made by default; with the
last meta tensor it ends again.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..dialects.errors import DeviceError
from ..dialects.types import DType, Type, dtype_of, show_type
from . import meta, recorder
from .dtype_arguments import dtype_given
from .node import ALIAS, ANYWHERE, Boundary, Node
from .origin import origin, source_line
from .size import CPU, META, device, require
from .storage import Storage
from .tensor import Tensor, wrap

CUDA = device("cuda", 0)


class _Default:
    """Where tensors are made when nobody says: the one that was set, and those of the `with` statements that are running, innermost last."""

    chosen: device = CPU
    inner: list[device] = []
    on_gpu = False  # whether any tensor ever was there


def default() -> device:
    """Where tensors are made when nobody says."""
    return _Default.inner[-1] if _Default.inner else _Default.chosen


def choose(where: device) -> None:
    """From now on tensors are made there when nobody says."""
    if where.type != "cpu":
        _start()
    _Default.chosen = where
    end_if_over()


def enter(where: device) -> None:
    """Tensors are made there until `leave`."""
    if where.type != "cpu":
        _start()
    _Default.inner.append(where)


def leave() -> None:
    """What was entered last is left."""
    _Default.inner.pop()
    end_if_over()


def end_if_over() -> None:
    """Devices no longer matter when everything that is left is on the CPU."""
    if not (_Default.on_gpu or meta.are_alive() or _Default.chosen.type != "cpu" or any(d.type != "cpu" for d in _Default.inner)):
        recorder.state.placement = None


def was_on_gpu() -> bool:
    """Whether any tensor ever was on a GPU."""
    return _Default.on_gpu


def forget() -> None:
    """From now on everything is on the CPU: for who gave up all that was elsewhere."""
    _Default.on_gpu, _Default.chosen = False, CPU
    _Default.inner.clear()
    recorder.state.placement = None


def asked(where: Any) -> Any:
    """The device an argument names, or the default one where there is none. None: the CPU, and nobody has said otherwise."""
    if where is None and recorder.state.placement is not None:
        where = default()
    return None if where is None else require(where)


def device_of(node: Node) -> device | None:
    """Where a value is; None: anywhere."""
    found = node.device
    if found is not None:
        return None if found is ANYWHERE else found
    if node.op == "full":
        return None
    if node.op == ALIAS and node.inputs and node.value is node.inputs[0].value:
        found = device_of(node.inputs[0])
    elif node.value is not None:
        found = CPU if isinstance(node.value, (np.ndarray, list)) else META if isinstance(node.value, meta.Absent) else CUDA
    else:
        found = _common(node.inputs)[0]
    node.device = found
    return found


def _common(nodes: tuple[Node, ...]) -> tuple[device | None, Node | None, Node | None]:
    """The device of some operands, one operand there, and one that is elsewhere. Single numbers go anywhere."""
    found, there = None, None
    for node in nodes:
        where = device_of(node)
        if where is None or where is CPU and node.type[0] == ():
            continue
        if found is None:
            found, there = where, node
        elif where is not found:
            return found, there, node
    return found, there, None


def check(op: str, inputs: tuple[Node, ...]) -> device | None:
    """Where a step of these operands is; None: anywhere. DeviceError, at the user's line, when they are on different devices."""
    quick = None  # what most steps are made of: values on the GPU and constants
    for node in inputs:
        if node.device is CUDA:
            quick = CUDA
        elif node.device is not ANYWHERE and (node.device is not None or node.op != "full"):
            break
    else:
        return quick
    found, there, elsewhere = _common(inputs)
    if elsewhere is None:
        return found
    other = device_of(elsewhere)
    first, second = sorted((found, other), key=lambda d: d is CPU)
    raise DeviceError(
        f"Expected all tensors to be on the same device, but found at least two devices, {first} and {second}!",
        [(str(device_of(n)), show_type(n.type), n.origin) for n in (there, elsewhere)],
        at=source_line(origin()),
        help="move one of them with .to(device)",
    )


def together(nodes: Sequence[Node]) -> device | None:
    """The device all of these are on, but for those that go where they are used: nothing is to be checked of what is recorded of them.
    None where they are on several, on none, or have no contents."""
    found = None
    for node in nodes:
        where = node.device if node.device is CUDA else device_of(node)
        if where is not found and where is not None:
            if found is not None or where is META:
                return None
            found = where
    return found


def of_tensor(tensor: Tensor) -> device:
    """What ``tensor.device`` is."""
    if recorder.state.placement is None or tensor._storage.host is not None:
        return CPU
    return device_of(tensor._storage.node) or CPU


def settled(old: Node, new: Node) -> Node:
    """New contents of a memory, where the old ones were, also when they could be anywhere. What has no contents keeps none."""
    here, there = device_of(old), device_of(new)
    if here is META:
        return new if there is META else meta_leaf(new.type)  # type: ignore[arg-type]  # one result
    if there is META:
        raise meta.refusal()
    if here is CUDA and there is None:
        known = recorder.known(new)
        if known is not None:
            new.value = _runtime().upload(known)
        new.device = CUDA
    return new


def meta_leaf(type: Type) -> Node:
    """A new value without contents."""
    return recorder.leaf(meta.Absent(), type)  # type: ignore[arg-type]  # in an array's place


def _start() -> None:
    """From now on devices matter. What is pending is of the CPU."""
    if recorder.state.placement is None:
        recorder.flush()
        recorder.state.placement = sys.modules[__name__]  # type: ignore[assignment]  # this module answers


def moved(tensor: Tensor, where: Any) -> Tensor:
    """A copy on a device; the tensor itself when it is there. Gradients go the way back. DeviceError: no such device."""
    wanted = require(where)
    here = tensor.device
    if wanted.type == here.type:
        return tensor
    if here.type == "meta":
        raise meta.refusal()
    _start()
    source = tensor._read()
    node = meta_leaf(source.type) if wanted is META else recorder.leaf(_sent(tensor, wanted), source.type)  # type: ignore[arg-type]  # one result
    if not (source.requires_grad and recorder.state.grad):
        return wrap(node)

    def deliver(gradient: Node) -> list[tuple[Node, Node]]:
        return [(source, moved(wrap(gradient), here)._read())]

    recorder.state.order += 1
    edge = Boundary((source,), source.type, origin(), recorder.state.order, deliver, False, None, (source,))
    edge.value = node.value
    made = wrap(edge)
    made._label = "ToCopyBackward0"
    return made


def _sent(tensor: Tensor, wanted: device) -> Any:
    gpu = _runtime()
    _Default.on_gpu = True
    return np.array(tensor._value(), order="C") if wanted.type == "cpu" else gpu.upload(tensor._value())


def _runtime() -> Any:
    from ..backends import driver

    return driver.accelerator()


def gpu_leaf(array: np.ndarray) -> Node:
    """A new value that the host has, on the GPU."""
    return placed_on_gpu(recorder.leaf(_runtime().upload(array), (array.shape, dtype_of(array))))


def array_of(storage: Storage) -> Any:
    """The array of a memory on the GPU, computed now; what the host filled in is sent."""
    recorder.flush((storage.node,))
    node = storage.node
    if isinstance(node.value, np.ndarray):
        node.value = _runtime().upload(node.value)
    return node.value


def filled_on_gpu(shape: tuple[int, ...], number: Any, dtype: DType) -> Node:
    """A new value of equal elements, made in the GPU's memory. OutOfMemoryError."""
    return placed_on_gpu(recorder.leaf(_runtime().filled(shape, np.asarray(number, dtype.numpy)), (shape, dtype)))


def copied_from(address: int, count: int, dtype: DType) -> Tensor:
    """A row of elements that somebody else has on the GPU, copied in the order of launches."""
    return wrap(placed_on_gpu(recorder.leaf(_runtime().copied_from(address, (count,), dtype.numpy), ((count,), dtype))))


def send(node: Node) -> None:
    """A number of the host is used on the GPU only: it goes there with the program's other inputs."""
    node.device = CUDA


def placed_on_gpu(node: Node) -> Node:
    """A value that needs no operand, to be computed on the GPU."""
    _start()
    _Default.on_gpu = True
    node.device = CUDA
    return node


def on(tensor: Tensor, where: Any, requires_grad: bool = False) -> Tensor:
    """A tensor that was just made, on the device its maker was asked for, or the default one."""
    where = asked(where)
    made = tensor if where is None else moved(tensor, where)
    return made.requires_grad_() if requires_grad else made


def placed(make: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A function that makes tensors, with ``device=``. One with a parameter ``input`` makes them where that is."""
    like = "input" in inspect.signature(make).parameters

    @functools.wraps(make)
    def made(*args: Any, device: Any = None, **options: Any) -> Tensor:
        if options.get("dtype") is not None:
            options["dtype"] = dtype_given(options["dtype"])
        if recorder.state.placement is None and device is None:
            return make(*args, **options)
        where = require(device)
        if device is None and (like or options.get("out") is not None):
            given = options["out"] if options.get("out") is not None else args[0] if args else options["input"]
            where = given.device
        elif device is None:
            where = default()
        leaf = options.pop("requires_grad", False)
        with where:  # what it is made of is made there
            return on(make(*args, **options), where, leaf)

    return made
