"""torchvision.tv_tensors: tensors that say what they hold, so that the v2 transforms know what to do with them."""

from __future__ import annotations

from enum import Enum
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


class BoundingBoxFormat(Enum):
    """What the four numbers of a box are: corners; left, top and size; centre and size."""

    XYXY = "XYXY"
    XYWH = "XYWH"
    CXCYWH = "CXCYWH"


class BoundingBoxes(TVTensor):
    """Boxes [n, 4] (or one, [4]) on an image of a size. format: see `BoundingBoxFormat`. canvas_size: (height, width) of the image.

    clamping_mode: None where transforms are to leave boxes that reach out of the image as they are.
    """

    format: BoundingBoxFormat
    canvas_size: tuple[int, int]
    clamping_mode: str | None

    def __new__(
        cls, data: Any, *, format: BoundingBoxFormat | str, canvas_size: tuple[int, int], clamping_mode: str | None = "soft", dtype: Any = None,
        device: Any = None, requires_grad: bool | None = None,
    ) -> BoundingBoxes:  # fmt: skip
        held = data if isinstance(data, Tensor) else _tensor(data)
        held = held if dtype is None else held.to(dtype)
        if held.ndim == 1:
            held = held.unsqueeze(0)
        if held.ndim != 2:
            raise ValueError(f"Expected a 1D or 2D tensor, got {held.ndim}D")
        made = Tensor._make_subclass(cls, held, held.requires_grad if requires_grad is None else requires_grad)
        made.format = BoundingBoxFormat[format.upper()] if isinstance(format, str) else format
        made.canvas_size = tuple(canvas_size)
        made.clamping_mode = clamping_mode
        return made

    def __repr__(self, *, tensor_contents: object = None) -> str:
        told = f"format={self.format}, canvas_size={self.canvas_size}, clamping_mode={self.clamping_mode}"
        return f"{super().__repr__()[:-1]}, {told})"


def like(made: Tensor, source: TVTensor) -> TVTensor:
    """`made` as the kind of tensor that `source` is."""
    return wrap(made, like=source)  # type: ignore[return-value]  # it is of a kind


def wrap(wrappee: Tensor, *, like: Any, **told: Any) -> Tensor:
    """A tensor as the kind of tensor that `like` is; of boxes with another ``format``, ``canvas_size`` or ``clamping_mode`` where these are given."""
    if not isinstance(like, TVTensor) or isinstance(wrappee, BoundingBoxes) and not told:
        return wrappee
    made = Tensor._make_subclass(type(like), wrappee, wrappee.requires_grad)
    if isinstance(like, BoundingBoxes):
        for name in ("format", "canvas_size", "clamping_mode"):
            setattr(made, name, told.get(name, getattr(like, name)))
    return made
