"""Autocast's rules: which functions compute in lower precision, which in float32, which in the widest dtype they are given.

Source: PyTorch's "Autocast Op Reference", one list per device. A function is looked up by its public name; its rule holds for
the tensors on the device the region is for. Without a region nothing but one test is done.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ..dialects.types import DType, bfloat16, float16, float32
from .tensor import Tensor

_PRODUCTS = (
    "conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d conv_tbc linear matmul __matmul__ mm mv bmm addmm "
    "addmv addbmm baddbmm chain_matmul multi_dot linalg_multi_dot einsum prelu rnn_layer"
).split()
_LOSSES = (
    "binary_cross_entropy_with_logits cosine_embedding_loss cross_entropy hinge_embedding_loss kl_div l1_loss "
    "margin_ranking_loss mse_loss multi_margin_loss multilabel_margin_loss nll_loss poisson_nll_loss soft_margin_loss "
    "triplet_margin_loss huber_loss"
).split()

LOWER: dict[str, frozenset[str]] = {
    "cpu": frozenset([*_PRODUCTS, "scaled_dot_product_attention"]) - {"mv", "addmv", "chain_matmul", "multi_dot", "linalg_multi_dot"},
    "cuda": frozenset([*_PRODUCTS, "addr", "scaled_dot_product_attention"]),
}
FLOAT32: dict[str, frozenset[str]] = {
    "cpu": frozenset(
        [*_LOSSES, *(
            "smooth_l1_loss binary_cross_entropy ctc_loss avg_pool3d grid_sample prod quantile nanquantile cdist trace cholesky "
            "cholesky_inverse cholesky_solve inverse pinverse max_pool3d max_unpool2d max_unpool3d adaptive_avg_pool3d "
            "linalg_cond linalg_matrix_rank linalg_solve linalg_cholesky linalg_svdvals linalg_inv linalg_tensorinv "
            "linalg_tensorsolve linalg_pinv linalg_qr linalg_svd linalg_eigh linalg_eigvalsh linalg_lstsq linalg_inv_ex "
            "linalg_cholesky_ex linalg_eigvals linalg_eig"
        ).split()]
    ),
    "cuda": frozenset(
        [*_LOSSES, *(
            "smooth_l1_loss acos asin cosh tan sinh erfinv exp expm1 log log10 log1p log2 pow __pow__ __rpow__ reciprocal "
            "rsqrt cumprod cumsum dist cdist pdist norm prod sum renorm cosine_similarity group_norm layer_norm normalize "
            "log_softmax softmax softmin softplus"
        ).split()]
    ),
}  # fmt: skip
WIDEST: dict[str, frozenset[str]] = {
    "cpu": frozenset("stack cat index_copy".split()),
    "cuda": frozenset(
        "addcdiv addcmul atan2 bilinear cross dot grid_sample index_put scatter_add tensordot cat stack index_copy".split()
    ),
}
RULED = frozenset().union(*LOWER.values(), *FLOAT32.values(), *WIDEST.values())


class _Regions:
    """The dtype each device computes in now, where a region is switched on."""

    def __init__(self) -> None:
        self.on: dict[str, DType] = {}
        self.chosen: dict[str, DType] = {"cpu": bfloat16, "cuda": float16}

    def keyed(self, key: Any) -> Any:
        """What a kept call depends on, with the regions that are on."""
        return (key, *self.on.items()) if self.on else key


regions = _Regions()
_ELIGIBLE = (float32, float16, bfloat16)


def _tensors(values: Any) -> list[Tensor]:
    found: list[Tensor] = []
    for value in values:
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, (list, tuple)):
            found += _tensors(value)
    return found


def _changed(value: Any, device: str, dtype: DType) -> Any:
    if isinstance(value, Tensor):
        fits = value.dtype in _ELIGIBLE and value.dtype is not dtype and value.device.type == device
        return value.to(dtype) if fits else value
    if type(value) in (list, tuple):
        return type(value)([_changed(v, device, dtype) for v in value])
    if isinstance(value, tuple) and hasattr(value, "_make"):  # a layer's products with their weights
        return value._make(_changed(v, device, dtype) for v in value)
    return value


def _target(name: str, args: tuple, options: dict[str, Any]) -> tuple[str, DType] | None:
    """The device and dtype a call's tensors are cast for; None: they stay as they are."""
    given = _tensors((*args, *options.values()))
    for device, fast in regions.on.items():
        here = [t for t in given if t.device.type == device and t.dtype in _ELIGIBLE]
        if not here:
            continue
        if name in LOWER[device]:
            return device, fast
        if name in FLOAT32[device]:
            return device, float32
        if name in WIDEST[device] and any(t.dtype is float32 for t in here):
            return device, float32
    return None


@contextmanager
def as_ruled(name: str, args: Any, options: dict[str, Any]) -> Iterator[tuple[Any, dict[str, Any]]]:
    """The arguments of a call inside a region, as the function's rule wants them; what a function with a rule calls follows none."""
    found = _target(name, args, options)
    if found is None:
        yield args, options
        return
    device = found[0]
    before = regions.on.pop(device)
    try:
        yield tuple([_changed(a, *found) for a in args]), {k: _changed(v, *found) for k, v in options.items()}
    finally:
        regions.on[device] = before


def autocasts(name: str) -> Callable[[Callable], Callable]:
    """Let a function follow autocast's rule for a public name."""

    def decorate(function: Callable) -> Callable:
        @functools.wraps(function)
        def inside(*args: Any, **options: Any) -> Any:
            if not regions.on:
                return function(*args, **options)
            with as_ruled(name, args, options) as (given, named):
                return function(*given, **named)

        return inside

    return decorate
