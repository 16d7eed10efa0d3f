"""torch.autograd.forward_ad: dual tensors, whose tangents are pushed forward when they are asked for."""

from __future__ import annotations

from typing import Any, NamedTuple

from .. import recorder
from ..func.forward import Tangents
from ..func.level import nowhere
from ..func.reverse import Differentiation
from ..node import Boundary, Node
from ..storage import Storage
from ..tensor import Tensor, from_storage
from ..views import LeafMark


class UnpackedDualTensor(NamedTuple):
    """primal: the values. tangent: their derivative along the tangents of this level, None where they have none."""

    primal: Tensor
    tangent: Tensor | None


class _Level:
    """A dual level: the dual tensors made in it, by the Node of each."""

    def __init__(self) -> None:
        self.derivative = Differentiation()
        self.duals: dict[int, tuple[Node, Tensor, Tensor]] = {}


def enter_dual_level() -> int:
    """Begin a level; gives its number. RuntimeError inside of another: they do not nest."""
    if recorder.state.duals:
        raise RuntimeError("Nested forward mode AD is not supported at the moment")
    recorder.state.duals.append(_Level())
    return 0


def exit_dual_level(*, level: int | None = None) -> None:
    """End a level: its tangents are forgotten. RuntimeError when it is not the last."""
    if not recorder.state.duals or level not in (None, len(recorder.state.duals) - 1):
        raise RuntimeError(
            "Trying to exit a forward AD level that was not the last one that was created. This is not supported."
        )
    recorder.state.duals.pop()


class dual_level:
    """``with dual_level():`` tensors may have tangents inside."""

    def __enter__(self) -> int:
        return enter_dual_level()

    def __exit__(self, *_: object) -> None:
        exit_dual_level()


def make_dual(tensor: Tensor, tangent: Tensor, *, level: int | None = None) -> Tensor:
    """A tensor with a tangent. RuntimeError outside of a level, or where the tangent does not fit; ValueError for integers."""
    if not recorder.state.duals:
        raise RuntimeError(
            "Trying to create a dual Tensor for forward AD but no level exists, make sure to enter_dual_level() first."
        )
    for what, t in (("primal", tensor), ("tangent", tangent)):
        if not t.dtype.has_gradient:
            raise ValueError(f"Expected {what} to be floating point or complex, but got: {t.dtype}")
    if tangent.shape != tensor.shape:
        raise RuntimeError(
            "Trying to set a forward gradient that has a different size than that of the original Tensor, this is not "
            f"supported. Tensor is of size {list(tensor.shape)} while the given forward gradient is of size "
            f"{list(tangent.shape)}."
        )
    if tangent.dtype is not tensor.dtype:
        raise RuntimeError(
            f"Expected the forward gradient to have dtype {tensor.dtype} as the Tensor, but got {tangent.dtype}"
        )
    source, opened = tensor._read(), recorder.state.duals[-1]
    deliver = (lambda gradient: [(source, gradient)]) if source.requires_grad else nowhere
    mark = LeafMark(deliver, leaf=False)
    made = from_storage(Storage(source), (mark,))
    made._mark = mark
    node = made._read()
    opened.duals[id(node)] = (node, made, tangent)
    return made


def unpack_dual(tensor: Tensor, *, level: int | None = None) -> UnpackedDualTensor:
    """The primal and the tangent of a tensor, None where it depends on no dual tensor."""
    if not recorder.state.duals:
        return UnpackedDualTensor(tensor, None)
    opened: _Level = recorder.state.duals[-1]
    own = opened.duals.get(id(tensor._read()))
    if own is not None:
        return UnpackedDualTensor(opened.derivative.outside(tensor), own[2])
    found = [(t, tangent) for node, t, tangent in opened.duals.values() if _reaches(tensor._read(), node)]
    if not found:
        return UnpackedDualTensor(tensor, None)
    with opened.derivative:
        push = Tangents(opened.derivative, [t for t, _ in found], [tensor])
        (moved,) = push.of([tangent for _, tangent in found])
    return UnpackedDualTensor(opened.derivative.outside(tensor), moved)


def _reaches(node: Node, target: Node) -> bool:
    """True when a tracked Node was computed from another."""
    seen: set[int] = set()
    stack = [node]
    while stack:
        at = stack.pop()
        if at is target:
            return True
        if id(at) in seen or not at.requires_grad or at.order < target.order:
            continue
        seen.add(id(at))
        stack += at.behind if type(at) is Boundary else at.inputs
    return False


def is_tracked(tensor: Tensor) -> bool:
    """``requires_grad`` inside of a level, where tangents are no reason for it."""
    node: Any = tensor._read()
    return node.requires_grad and recorder.state.duals[0].derivative._is_tracked_outside(node)


__all__ = ["UnpackedDualTensor", "dual_level", "enter_dual_level", "exit_dual_level", "make_dual", "unpack_dual"]
