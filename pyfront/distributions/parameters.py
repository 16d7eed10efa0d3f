"""Parameters: numbers and tensors brought to one shape and dtype, and chances turned into logits and back."""

from __future__ import annotations

from functools import update_wrapper
from typing import Any

from ..creation import tensor
from ..grad_mode import enable_grad
from ..limits import finfo
from ..promote import Defaults
from ..random_tensors import randn
from ..sequences import tril_indices
from ..shaping import broadcast_tensors
from ..tensor import Tensor

EULER = 0.57721566490153286060


def broadcast_all(*values: Any) -> tuple[Tensor, ...]:
    """Tensors of one shape; numbers take the first tensor's dtype and device. ValueError for anything else."""
    if not all(isinstance(v, (Tensor, int, float)) for v in values):
        raise ValueError("Input arguments must all be instances of Number, torch.Tensor or objects implementing __torch_function__.")
    first = next((v for v in values if isinstance(v, Tensor)), None)
    options = {"dtype": Defaults.dtype} if first is None else {"dtype": first.dtype, "device": first.device}
    given = tuple(v if isinstance(v, Tensor) else tensor(v, **options) for v in values)
    return given if len({v.shape for v in given}) == 1 else tuple(broadcast_tensors(*given))  # a leaf stays the leaf


def one_of(probs: Any, logits: Any) -> None:
    """ValueError unless exactly one is given."""
    if (probs is None) == (logits is None):
        raise ValueError("Either `probs` or `logits` must be specified, but not both.")


def sum_rightmost(value: Tensor, count: int) -> Tensor:
    """Sums over the last ``count`` dimensions."""
    return value if count == 0 else value.reshape((*value.shape[: value.dim() - count], -1)).sum(-1)


def clamp_probs(probs: Tensor) -> Tensor:
    """Away from 0 and 1 by one unit in the last place of 1."""
    eps = finfo(probs.dtype).eps
    return probs.clamp(min=eps, max=1 - eps)


def probs_to_logits(probs: Tensor, is_binary: bool = False) -> Tensor:
    """Logarithms of chances; of the odds if there are two outcomes."""
    inside = clamp_probs(probs)
    return inside.log() - (-inside).log1p() if is_binary else inside.log()


def logits_to_probs(logits: Tensor, is_binary: bool = False) -> Tensor:
    """Chances; along the last dimension they sum to 1 unless there are two outcomes."""
    return logits.sigmoid() if is_binary else logits.softmax(-1)


class Chances:
    """``probs`` and ``logits``, of which one is given and the other one made when it is asked for."""

    def __init__(self, is_binary: bool, name: str) -> None:
        self.is_binary, self.name = is_binary, name

    def __get__(self, owner: Any, kind: type | None = None) -> Any:
        if owner is None:
            return self
        other, turn = ("logits", logits_to_probs) if self.name == "probs" else ("probs", probs_to_logits)
        with enable_grad():  # kept for later uses, of which some may want gradients
            made = turn(vars(owner)[other], self.is_binary)
        vars(owner)[self.name] = made
        return made


def vec_to_tril_matrix(vec: Tensor, diag: int = 0) -> Tensor:
    """Vectors [..., d (d + 1) / 2] (for ``diag`` 0) as the lower triangles of matrices [..., d, d], row by row."""
    n = (-(1 + 2 * diag) + ((1 + 2 * diag) ** 2 + 8 * vec.shape[-1] + 4 * abs(diag) * (diag + 1)) ** 0.5) / 2
    if abs(round(n) - n) > finfo(vec.dtype).eps:
        raise ValueError(f"The size of last dimension is {vec.shape[-1]} which cannot be expressed as the lower triangular part of a square D x D matrix.")
    rows, columns = tril_indices(round(n), round(n), diag, device=vec.device)
    matrix = vec.new_zeros((*vec.shape[:-1], round(n), round(n)))
    matrix[..., rows, columns] = vec
    return matrix


def tril_matrix_to_vec(mat: Tensor, diag: int = 0) -> Tensor:
    """The lower triangles of matrices [..., d, d] as vectors, row by row. ValueError for a diagonal outside of them."""
    n = mat.shape[-1]
    if diag < -n or diag >= n:
        raise ValueError(f"diag ({diag}) provided is outside [{-n}, {n - 1}].")
    rows, columns = tril_indices(n, n, diag)
    return mat[..., rows, columns]


def _standard_normal(shape: Any, dtype: Any, device: Any) -> Tensor:
    return randn(tuple(shape), dtype=dtype, device=device)


class lazy_property:  # noqa: N801  # PyTorch's name
    """A method whose result, computed when it is first asked for, takes its place on the instance; of a class, a property."""

    def __init__(self, wrapped: Any) -> None:
        self.wrapped = wrapped
        update_wrapper(self, wrapped)

    def __get__(self, instance: Any, kind: Any = None) -> Any:
        if instance is None:
            return property(self.wrapped)
        with enable_grad():
            found = self.wrapped(instance)
        setattr(instance, self.wrapped.__name__, found)
        return found


_sum_rightmost = sum_rightmost  # PyTorch's name, which Pyro imports
