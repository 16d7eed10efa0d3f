"""torchvision.transforms.v2.functional: the operations of v1 under v2's names, and v2's own."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...random_tensors import randn_like
from ...tensor import Tensor
from .. import images, tv_tensors
from . import box_kernels
from . import functional as _v1
from .functional import *  # noqa: F403  # the same operations
from .functional import dimensions, pil_to_tensor, to_pil_image

horizontal_flip = hflip = _v1.hflip
vertical_flip = vflip = _v1.vflip
elastic = elastic_transform = _v1.elastic_transform
convert_image_dtype = _v1.convert_image_dtype
get_dimensions = dimensions


def _as_bytes(operation: Any, inpt: Any, *args: Any) -> Any:
    """Float images by way of bytes."""
    if isinstance(inpt, Tensor) and inpt.is_floating_point():
        return convert_image_dtype(operation(convert_image_dtype(inpt, images.DTYPES["uint8"]), *args), inpt.dtype)
    return operation(inpt, *args)


def equalize(inpt: Any) -> Any:
    """All values about equally frequent, by channel."""
    return _as_bytes(_v1.equalize, inpt)


def posterize(inpt: Any, bits: int) -> Any:
    """Only the highest bits of each value; floats keep 2 ** bits levels."""
    if isinstance(inpt, Tensor) and inpt.is_floating_point():
        levels = 1 << bits
        return images.on_array(lambda a: np.clip(np.floor(a * levels), 0, levels - 1) / a.dtype.type(levels), inpt)
    return _v1.posterize(inpt, bits)


def get_size(inpt: Any) -> list[int]:
    """[height, width]."""
    return dimensions(inpt)[1:]


def get_num_channels(inpt: Any) -> int:
    """Channels."""
    return dimensions(inpt)[0]


def to_image(inpt: Any) -> tv_tensors.Image:
    """A picture, an array [h, w, c] or a tensor as a tv_tensors.Image. TypeError for anything else."""
    if isinstance(inpt, np.ndarray):
        inpt = images.tensor_of(np.atleast_3d(inpt).transpose(2, 0, 1).copy())
    elif images.is_pil(inpt):
        inpt = pil_to_tensor(inpt)
    elif not isinstance(inpt, Tensor):
        raise TypeError(f"Input can either be a pure Tensor, a numpy array, or a PIL image, but got {type(inpt)} instead.")
    return tv_tensors.Image(inpt)


def to_dtype(inpt: Tensor, dtype: images.DType = images.DTYPES["float32"], scale: bool = False) -> Tensor:
    """Another dtype; with `scale`, full brightness stays full brightness."""
    made = convert_image_dtype(inpt, dtype) if scale else inpt.to(dtype)
    return tv_tensors.wrap(made, like=inpt)


def grayscale_to_rgb(inpt: Any) -> Any:
    """Three channels of a grey image; a coloured one as it is."""
    if images.is_pil(inpt):
        return inpt if len(inpt.getbands()) >= 3 else inpt.convert("RGB")
    return inpt if inpt.shape[-3] >= 3 else _v1.rgb_to_grayscale(inpt, 3)


def permute_channels(inpt: Any, permutation: list[int]) -> Any:
    """Channels in another order."""
    if images.is_pil(inpt):
        return to_pil_image(permute_channels(pil_to_tensor(inpt), permutation))
    return images.on_array(lambda a: a[..., list(permutation), :, :], inpt)


def gaussian_noise(inpt: Tensor, mean: float = 0.0, sigma: float = 0.1, clip: bool = True) -> Tensor:
    """Normal noise added to a float image, kept in [0, 1] by `clip`. ValueError for other dtypes and sigma < 0."""
    if not isinstance(inpt, Tensor) or not inpt.is_floating_point():
        raise ValueError(f"Input tensor is expected to be in float dtype, got dtype={getattr(inpt, 'dtype', type(inpt))}")
    if sigma < 0:
        raise ValueError(f"sigma shouldn't be negative. Got {sigma}")
    noise = mean + randn_like(inpt) * sigma
    made = inpt + noise
    return made.clamp(0, 1) if clip else made


def convert_bounding_box_format(inpt: Tensor, old_format: Any = None, new_format: Any = None, inplace: bool = False) -> Tensor:
    """Boxes in another format. Plain tensors need their `old_format`; boxes know it."""
    if new_format is None:
        raise TypeError("convert_bounding_box_format() missing 1 required argument: 'new_format'")
    new = _format(new_format)
    if isinstance(inpt, tv_tensors.BoundingBoxes):
        return tv_tensors.wrap(box_kernels.converted(inpt.as_subclass(Tensor), inpt.format, new), like=inpt, format=new)
    if old_format is None:
        raise ValueError("For pure tensor inputs, `old_format` has to be passed.")
    return box_kernels.converted(inpt, _format(old_format), new)


def _format(name: Any) -> tv_tensors.BoundingBoxFormat:
    return tv_tensors.BoundingBoxFormat[name.upper()] if isinstance(name, str) else name


def clamp_bounding_boxes(inpt: tv_tensors.BoundingBoxes) -> tv_tensors.BoundingBoxes:
    """Boxes inside of their image."""
    return box_kernels.clamped(inpt)
