"""Distances between vectors, and the losses built on them."""

from __future__ import annotations

from collections.abc import Callable

from ....dialects.types import promote_types
from ...assignment import title
from ...autocasting import autocasts
from ...sequences import triu_indices
from ...tensor import Tensor
from .applying import reduced
from .loss import reduction_of


@autocasts("cosine_similarity")
def cosine_similarity(x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """x1 . x2 / (|x1| |x2|) along `dim`, each length at least eps. RuntimeError for complex numbers."""
    if x1.dtype.is_complex or x2.dtype.is_complex:
        raise RuntimeError(f"expected common dtype to be floating point, yet common dtype is {title(promote_types(x1.dtype, x2.dtype))}")
    n1, n2 = [x.norm(2, dim, keepdim=True).clamp_min(eps) for x in (x1, x2)]
    return ((x1 / n1) * (x2 / n2)).sum(dim)


def pairwise_distance(x1: Tensor, x2: Tensor, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False) -> Tensor:
    """p-norm of x1 - x2 + eps over the last dimension."""
    return (x1 - x2 + eps).norm(p, -1, keepdim=keepdim)


@autocasts("pdist")
def pdist(input: Tensor, p: float = 2.0) -> Tensor:
    """Distances of all pairs of rows of [n, m], each pair once: [n * (n - 1) / 2]. RuntimeError for anything but a matrix."""
    if input.dim() != 2:
        raise RuntimeError(f"pdist only supports 2D tensors, got: {input.dim()}D")
    if p < 0:
        raise RuntimeError("pdist only supports non-negative p values")
    first, second = triu_indices(input.shape[0], input.shape[0], 1, device=input.device)
    return (input.index_select(0, first) - input.index_select(0, second)).norm(p, -1)


@autocasts("triplet_margin_loss")
def triplet_margin_loss(
    anchor: Tensor, positive: Tensor, negative: Tensor, margin: float = 1.0, p: float = 2.0, eps: float = 1e-6,
    swap: bool = False, size_average: bool | None = None, reduce: bool | None = None, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """max(0, d(anchor, positive) - d(anchor, negative) + margin)."""
    if margin <= 0:
        raise ValueError(f"margin must be greater than 0, got {margin}")
    near = pairwise_distance(anchor, positive, p, eps)
    far = pairwise_distance(anchor, negative, p, eps)
    if swap:
        far = far.minimum(pairwise_distance(positive, negative, p, eps))
    return reduced((near - far + margin).clamp_min(0.0), reduction_of(reduction, size_average, reduce))


def triplet_margin_with_distance_loss(
    anchor: Tensor, positive: Tensor, negative: Tensor, *,
    distance_function: Callable[[Tensor, Tensor], Tensor] | None = None, margin: float = 1.0, swap: bool = False,
    reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """triplet_margin_loss with a distance of one's own."""
    if margin <= 0:
        raise ValueError(f"margin must be greater than 0, got {margin}")
    distance = pairwise_distance if distance_function is None else distance_function
    near, far = distance(anchor, positive), distance(anchor, negative)
    if swap:
        far = far.minimum(distance(positive, negative))
    return reduced((near - far + margin).clamp_min(0.0), reduction)


@autocasts("cosine_embedding_loss")
def cosine_embedding_loss(
    input1: Tensor, input2: Tensor, target: Tensor, margin: float = 0.0, size_average: bool | None = None,
    reduce: bool | None = None, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """1 - cos where the target is 1, max(0, cos - margin) where it is -1."""
    similarity = _cosine(input1, input2)
    loss = (1.0 - similarity).masked_fill(target != 1, 0.0)
    loss = loss + (similarity - margin).clamp_min(0.0).masked_fill(target != -1, 0.0)
    return reduced(loss, reduction_of(reduction, size_average, reduce))


def _cosine(a: Tensor, b: Tensor) -> Tensor:
    tiny = 1e-12  # added under the root by PyTorch's kernel of this loss
    squares = ((a * a).sum(-1) + tiny) * ((b * b).sum(-1) + tiny)
    return (a * b).sum(-1) / squares.sqrt()
