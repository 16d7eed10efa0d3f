"""torch.nn.init: fills tensors in place, with PyTorch's numbers for the same seed."""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from ...dialects.errors import ShapeError
from .. import draws, recorder
from ..assignment import assign
from ..autograd import no_grad
from ..mersenne import Engine
from ..random import default_generator
from ..random_tensors import randperm
from ..tensor import Tensor

_GAINS = {
    "linear": 1.0, "conv1d": 1.0, "conv2d": 1.0, "conv3d": 1.0, "conv_transpose1d": 1.0, "conv_transpose2d": 1.0,
    "conv_transpose3d": 1.0, "sigmoid": 1.0, "tanh": 5.0 / 3, "relu": math.sqrt(2.0), "selu": 3.0 / 4,
}  # fmt: skip


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The recommended gain before a nonlinearity. ValueError for unknown ones."""
    if nonlinearity == "leaky_relu":
        if param is not None and (isinstance(param, bool) or not isinstance(param, (int, float))):
            raise ValueError(f"negative_slope {param} not a valid number")
        return math.sqrt(2.0 / (1 + (0.01 if param is None else param) ** 2))
    if nonlinearity not in _GAINS:
        raise ValueError(f"Unsupported nonlinearity {nonlinearity}")
    return _GAINS[nonlinearity]


def _calculate_fan_in_and_fan_out(tensor: Tensor) -> tuple[int, int]:
    if tensor.dim() < 2:
        raise ValueError("Fan in and fan out can not be computed for tensor with fewer than 2 dimensions")
    field = math.prod(tensor.shape[2:])
    return tensor.shape[1] * field, tensor.shape[0] * field


def _calculate_correct_fan(tensor: Tensor, mode: str) -> int:
    mode = mode.lower()
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"Mode {mode} not supported, please use one of ['fan_in', 'fan_out']")
    return _calculate_fan_in_and_fan_out(tensor)[mode == "fan_out"]


def _put(tensor: Tensor, values: Callable[[], np.ndarray]) -> Tensor:
    """Make an array the contents of a tensor, unless it has none."""
    if not tensor.is_meta:
        assign(tensor, recorder.constant(np.asarray(values(), tensor.dtype.numpy, order="C"), tensor._type))
    return tensor


@no_grad
def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0, generator: Any = None) -> Tensor:
    """Uniform in [a, b)."""
    return tensor.uniform_(a, b, generator=generator)


@no_grad
def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0, generator: Any = None) -> Tensor:
    """Normal."""
    return tensor.normal_(mean, std, generator=generator)


@no_grad
def constant_(tensor: Tensor, val: float) -> Tensor:
    """All elements `val`. They are data, so that the first training step is the same program as all others."""
    return _put(tensor, lambda: np.full(tensor.shape, val))


@no_grad
def ones_(tensor: Tensor) -> Tensor:
    """All ones."""
    return constant_(tensor, 1.0)


@no_grad
def zeros_(tensor: Tensor) -> Tensor:
    """All zeros."""
    return constant_(tensor, 0.0)


@no_grad
def eye_(tensor: Tensor) -> Tensor:
    """The identity matrix."""
    if tensor.dim() != 2:
        raise ValueError("Only tensors with 2 dimensions are supported")
    return _put(tensor, lambda: np.eye(*tensor.shape))


@no_grad
def dirac_(tensor: Tensor, groups: int = 1) -> Tensor:
    """A convolution kernel that hands its input through."""
    if tensor.dim() not in (3, 4, 5):
        raise ValueError("Only tensors with 3, 4, or 5 dimensions are supported")
    if tensor.shape[0] % groups:
        raise ValueError("dim 0 must be divisible by groups")
    values = np.zeros(tensor.shape)
    per_group = tensor.shape[0] // groups
    middle = tuple(n // 2 for n in tensor.shape[2:])
    for group in range(groups):
        for i in range(min(per_group, tensor.shape[1])):
            values[(group * per_group + i, i, *middle)] = 1
    return _put(tensor, lambda: values)


@no_grad
def xavier_uniform_(tensor: Tensor, gain: float = 1.0, generator: Any = None) -> Tensor:
    """Glorot's uniform initialisation."""
    fan_in, fan_out = _calculate_fan_in_and_fan_out(tensor)
    bound = math.sqrt(3.0) * gain * math.sqrt(2.0 / float(fan_in + fan_out))
    return tensor.uniform_(-bound, bound, generator=generator)


@no_grad
def xavier_normal_(tensor: Tensor, gain: float = 1.0, generator: Any = None) -> Tensor:
    """Glorot's normal initialisation."""
    fan_in, fan_out = _calculate_fan_in_and_fan_out(tensor)
    return tensor.normal_(0.0, gain * math.sqrt(2.0 / float(fan_in + fan_out)), generator=generator)


def _he(tensor: Tensor, a: float, mode: str, nonlinearity: str) -> float | None:
    if 0 in tensor.shape:
        warnings.warn("Initializing zero-element tensors is a no-op", stacklevel=4)
        return None
    return calculate_gain(nonlinearity, a) / math.sqrt(_calculate_correct_fan(tensor, mode))


@no_grad
def kaiming_uniform_(
    tensor: Tensor, a: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu", generator: Any = None
) -> Tensor:
    """He's uniform initialisation."""
    std = _he(tensor, a, mode, nonlinearity)
    if std is None:
        return tensor
    bound = math.sqrt(3.0) * std
    return tensor.uniform_(-bound, bound, generator=generator)


@no_grad
def kaiming_normal_(
    tensor: Tensor, a: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu", generator: Any = None
) -> Tensor:
    """He's normal initialisation."""
    std = _he(tensor, a, mode, nonlinearity)
    return tensor if std is None else tensor.normal_(0, std, generator=generator)


@no_grad
def trunc_normal_(
    tensor: Tensor, mean: float = 0.0, std: float = 1.0, a: float = -2.0, b: float = 2.0, generator: Any = None
) -> Tensor:
    """Normal, limited to [a, b]: what falls outside is drawn again (by normal draws, or uniform ones in a far tail)."""

    def below(x: float) -> float:
        return (1.0 + math.erf(x / math.sqrt(2.0))) / 2.0

    engine = (generator or default_generator).engine
    draw = _normal_within if below((b - mean) / std) - below((a - mean) / std) > 0.3 else _tail_within
    return _put(tensor, lambda: draw(engine, tensor.numel(), tensor.dtype.numpy, mean, std, a, b).reshape(tensor.shape))


def _normal_within(engine: Engine, n: int, dtype: np.dtype, mean: float, std: float, a: float, b: float) -> np.ndarray:
    low, high = np.asarray([a, b], dtype)
    values = draws.normal(engine, n, dtype, mean, std)
    while ((values < low) | (values > high)).any():
        values = np.where((values < low) | (values > high), draws.normal(engine, n, dtype, mean, std), values)
    return values


def _tail_within(engine: Engine, n: int, dtype: np.dtype, mean: float, std: float, a: float, b: float) -> np.ndarray:
    peak = -0.5 * ((max(a, min(mean, b)) - mean) / std) ** 2
    values = np.empty(n, dtype)
    pending = np.ones(n, np.bool_)
    while pending.any():
        drawn = draws.uniform(engine, n, dtype, a, b)
        values = np.where(pending, drawn, values)
        density = ((drawn - dtype.type(mean)) / dtype.type(std)) ** 2 * dtype.type(-0.5) - dtype.type(peak)
        with np.errstate(divide="ignore"):
            pending &= np.log(draws.uniform(engine, n, dtype)) > density
    return values


@no_grad
def orthogonal_(tensor: Tensor, gain: float = 1, generator: Any = None) -> Tensor:
    """A (semi-)orthogonal matrix, over all dimensions behind the first."""
    if tensor.dim() < 2:
        raise ValueError("Only tensors with 2 or more dimensions are supported")
    rows, columns = tensor.shape[0], tensor.numel() // tensor.shape[0]

    def values() -> np.ndarray:
        flat = tensor.new_empty(rows, columns).normal_(0, 1, generator=generator)._value()
        q, r = np.linalg.qr(flat.T if rows < columns else flat)
        q = q * np.sign(np.diagonal(r))
        return (q.T if rows < columns else q).reshape(tensor.shape) * gain

    return _put(tensor, values)


@no_grad
def sparse_(tensor: Tensor, sparsity: float, std: float = 0.01, generator: Any = None) -> Tensor:
    """Normal, with a share of each column zero."""
    if tensor.dim() != 2:
        raise ShapeError("Only tensors with 2 dimensions are supported")
    rows, columns = tensor.shape

    def values() -> np.ndarray:
        drawn = np.array(tensor.normal_(0, std, generator=generator)._value())
        for column in range(columns):
            drawn[randperm(rows)._value()[: math.ceil(sparsity * rows)], column] = 0
        return drawn

    return _put(tensor, values)


def _without_underscore(fill: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The name a function had before PyTorch 0.4: the same, and it warns."""
    old = fill.__name__[:-1]

    @functools.wraps(fill)
    def deprecated(*args: Any, **options: Any) -> Tensor:
        warnings.warn(f"`nn.init.{old}` is now deprecated in favor of `nn.init.{old}_`.", FutureWarning, stacklevel=2)
        return fill(*args, **options)

    deprecated.__name__ = old
    return deprecated


uniform, normal, constant, eye, dirac, sparse, orthogonal = map(
    _without_underscore, (uniform_, normal_, constant_, eye_, dirac_, sparse_, orthogonal_)
)
xavier_uniform, xavier_normal, kaiming_uniform, kaiming_normal = map(
    _without_underscore, (xavier_uniform_, xavier_normal_, kaiming_uniform_, kaiming_normal_)
)
