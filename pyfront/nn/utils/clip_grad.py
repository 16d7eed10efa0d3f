"""Clipping gradients by norm or by value, in place."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from ... import recorder
from ...assignment import check_in_place, store
from ...autograd import no_grad
from ...creation import tensor
from ...joining import stack
from ...node import Node
from ...phrases import Phrases
from ...promote import cast
from ...tensor import Tensor, wrap


def _gradients(parameters: Tensor | Iterable[Tensor]) -> list[Tensor]:
    chosen = [parameters] if isinstance(parameters, Tensor) else list(parameters)
    return [p.grad for p in chosen if p.grad is not None]


_phrases = Phrases()


def _total(nodes: Sequence[Node], norm_type: float) -> Node:
    """The norm of all values together."""
    norms = stack([wrap(node).norm(norm_type) for node in nodes])
    return (norms.max() if norm_type == math.inf else norms.norm(norm_type))._read()


@no_grad
def get_total_norm(
    tensors: Tensor | Iterable[Tensor], norm_type: float = 2.0, error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:  # fmt: skip
    """The norm of all tensors together. RuntimeError when it is not finite and that is an error."""
    given = [tensors] if isinstance(tensors, Tensor) else list(tensors)
    if not given:
        return tensor(0.0)
    nodes = [t._read() for t in given]
    total = wrap(_phrases.recorded(("norm", norm_type), nodes, lambda *nodes: (_total(nodes, float(norm_type)),))[0])
    if error_if_nonfinite and not math.isfinite(total.item()):
        raise RuntimeError(
            f"The total norm of order {float(norm_type)} for gradients from `parameters` is non-finite, so it cannot be "
            "clipped. To disable this error and scale the gradients by the non-finite norm anyway, "
            "set `error_if_nonfinite=False`"
        )
    return total


@no_grad
def clip_grad_norm_(
    parameters: Tensor | Iterable[Tensor], max_norm: float, norm_type: float = 2.0, error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:  # fmt: skip
    """Scale the gradients so that their total norm is at most max_norm; gives the norm before."""
    parameters = parameters if isinstance(parameters, Tensor) else list(parameters)
    total = get_total_norm(_gradients(parameters), norm_type, error_if_nonfinite)
    clip_grads_with_norm_(parameters, max_norm, total)
    return total


def _factor(total: Tensor, max_norm: float) -> Node:
    return (max_norm / (total + 1e-6)).clamp_max(1.0)._read()


def _scaled(gradient: Node, factor: Node) -> tuple[Node]:
    return ((wrap(gradient) * wrap(cast(factor, gradient.type[1])))._read(),)


@no_grad
def clip_grads_with_norm_(
    parameters: Tensor | Iterable[Tensor], max_norm: float, total_norm: Tensor, foreach: bool | None = None
) -> None:
    """Scale the gradients by max_norm / total_norm where that is less than 1."""
    max_norm = float(max_norm)
    (factor,) = _phrases.recorded(("factor", max_norm), (total_norm._read(),), lambda node: (_factor(wrap(node), max_norm),))
    for gradient in _gradients(parameters):
        check_in_place(gradient)
        start = recorder.state.order
        (scaled,) = _phrases.recorded("scaled", (gradient._read(), factor), _scaled)
        store(gradient, scaled, start)
        gradient._forget()


clip_grad_norm = clip_grad_norm_


@no_grad
def clip_grad_value_(parameters: Tensor | Iterable[Tensor], clip_value: float, foreach: bool | None = None) -> None:
    """Limit every gradient element to [-clip_value, clip_value]."""
    limit = float(clip_value)
    for gradient in _gradients(parameters):
        gradient.clamp_(-limit, limit)
