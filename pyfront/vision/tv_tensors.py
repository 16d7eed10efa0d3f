"""torchvision.tv_tensors: tensors that say what they hold, so that the v2 transforms know what to do with them."""

from __future__ import annotations

from typing import Any

from ..creation import tensor as _tensor
from ..overrides import disabled
from ..tensor import Tensor


class TVTensor(Tensor):
    """A tensor of a known kind. Operations on it give plain tensors; transforms keep the kind."""

    __torch_function__ = classmethod(disabled)
    _is_bare = True  # printed as a tensor

    def __new__(cls, data: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool | None = None) -> TVTensor:
        """The kind over the memory of `data` (a tensor, array or picture)."""
        if not isinstance(data, Tensor):
            if hasattr(data, "getbands"):
                from .images import pil_to_tensor

                data = pil_to_tensor(data)
            else:
                data = _tensor(data)
        if dtype is not None:
            data = data.to(dtype)
        if data.ndim < 2:
            raise ValueError(f"a {cls.__name__} has at least 2 dimensions, got {data.ndim}")
        data = data.unsqueeze(0) if data.ndim == 2 and cls is Image else data
        return Tensor._make_subclass(cls, data, data.requires_grad if requires_grad is None else requires_grad)

    def __init__(self, data: Any = None, **_: Any) -> None:
        pass

    def __repr__(self, *, tensor_contents: object = None) -> str:
        return type(self).__name__ + super().__repr__().removeprefix("tensor")


class Image(TVTensor):
    """An image [..., channels, height, width]."""


class Video(TVTensor):
    """A video [..., frames, channels, height, width]."""


class Mask(TVTensor):
    """Labels of pixels, [..., height, width]."""


def like(made: Tensor, source: TVTensor) -> TVTensor:
    """`made` as the kind of tensor that `source` is."""
    return Tensor._make_subclass(type(source), made, made.requires_grad)


def wrap(wrappee: Tensor, *, like: Any, **_: Any) -> Tensor:
    """A tensor as the kind of tensor that `like` is."""
    return Tensor._make_subclass(type(like), wrappee, wrappee.requires_grad) if isinstance(like, TVTensor) else wrappee
