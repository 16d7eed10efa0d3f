"""torchvision.transforms.functional: each operation on a Pillow picture or on a tensor [..., channels, height, width]."""

from __future__ import annotations

import numbers
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from ... import recorder
from ...nn import functional as nn
from ...tensor import Tensor
from .. import array_kernels, pil_kernels, resampling
from ..tv_tensors import BoundingBoxes
from . import box_kernels
from ..images import (
    PILLOW_MODES, InterpolationMode, array_of, convert_image_dtype, dimensions, is_pil, mode_of, on_array, pil_to_tensor,
    tensor_of, to_pil_image, to_tensor,
)  # fmt: skip

__all__ = [
    "InterpolationMode", "adjust_brightness", "adjust_contrast", "adjust_gamma", "adjust_hue", "adjust_saturation",
    "adjust_sharpness", "affine", "autocontrast", "center_crop", "convert_image_dtype", "crop", "elastic_transform", "equalize",
    "erase", "five_crop", "gaussian_blur", "get_dimensions", "get_image_num_channels", "get_image_size", "hflip", "invert",
    "normalize", "pad", "perspective", "pil_modes_mapping", "pil_to_tensor", "posterize", "resize", "resized_crop",
    "rgb_to_grayscale", "rotate", "solarize", "ten_crop", "to_grayscale", "to_pil_image", "to_tensor", "vflip",
]  # fmt: skip

get_dimensions = dimensions
pil_modes_mapping = PILLOW_MODES


def _either(name: str) -> Callable[..., Any]:
    """One operation with a kernel for each kind of image."""
    on_picture, kernel = getattr(pil_kernels, name), getattr(array_kernels, name)

    def operation(img: Any, *args: Any, **options: Any) -> Any:
        if is_pil(img):
            return on_picture(img, *args, **options)
        return on_array(kernel, img, *args, **options)

    operation.__name__ = operation.__qualname__ = name
    operation.__doc__ = kernel.__doc__
    return operation


adjust_brightness = _either("adjust_brightness")
adjust_contrast = _either("adjust_contrast")
adjust_saturation = _either("adjust_saturation")
adjust_sharpness = _either("adjust_sharpness")
adjust_hue = _either("adjust_hue")
adjust_gamma = _either("adjust_gamma")
rgb_to_grayscale = _either("rgb_to_grayscale")
invert = _either("invert")
solarize = _either("solarize")
autocontrast = _either("autocontrast")
equalize = _either("equalize")
_posterize = _either("posterize")


def posterize(img: Any, bits: int) -> Any:
    """Only the highest bits of each value. ValueError for bits outside 0 to 8."""
    if not 0 <= bits <= 8:
        raise ValueError(f"The number if bits should be between 0 and 8. Got {bits}")
    return _posterize(img, bits)


def to_grayscale(img: Any, num_output_channels: int = 1) -> Any:
    """A picture in grey. TypeError for tensors: rgb_to_grayscale takes both."""
    if not is_pil(img):
        raise TypeError("Input should be PIL Image")
    return pil_kernels.rgb_to_grayscale(img, num_output_channels)


def get_image_size(img: Any) -> list[int]:
    """[width, height]."""
    return dimensions(img)[:0:-1]


def get_image_num_channels(img: Any) -> int:
    """Channels."""
    return dimensions(img)[0]


def _tracked(img: Any) -> bool:
    """Whether a gradient flows through this image: then the operation is recorded, otherwise done at once on the host."""
    return isinstance(img, Tensor) and img.requires_grad and recorder.state.grad


def hflip(img: Any) -> Any:
    """Left and right exchanged."""
    if isinstance(img, BoundingBoxes):
        return box_kernels.hflip(img)
    return img.flip(-1) if _tracked(img) else _hflip(img)


def vflip(img: Any) -> Any:
    """Top and bottom exchanged."""
    if isinstance(img, BoundingBoxes):
        return box_kernels.vflip(img)
    return img.flip(-2) if _tracked(img) else _vflip(img)


_hflip, _vflip, _pad, _crop = _either("hflip"), _either("vflip"), _either("pad"), _either("crop")


def pad(img: Any, padding: Any, fill: Any = 0, padding_mode: str = "constant") -> Any:
    """A border: padding is one width, (left/right, top/bottom) or (left, top, right, bottom)."""
    if isinstance(img, BoundingBoxes):
        return box_kernels.pad(img, array_kernels.sides(padding), padding_mode)
    if _tracked(img) and padding_mode in ("constant", "edge", "reflect"):
        left, top, right, bottom = array_kernels.sides(padding)
        mode = "replicate" if padding_mode == "edge" else padding_mode
        return nn.pad(img, (left, right, top, bottom), mode=mode, value=fill if mode == "constant" else None)
    return _pad(img, padding, fill, padding_mode)


def crop(img: Any, top: int, left: int, height: int, width: int) -> Any:
    """A rectangle; what lies outside is zero."""
    if isinstance(img, BoundingBoxes):
        return box_kernels.crop(img, top, left, height, width)
    if _tracked(img):
        _, h, w = dimensions(img)
        if top >= 0 and left >= 0 and top + height <= h and left + width <= w:
            return img[..., top : top + height, left : left + width]
        bottom, right = h - top - height, w - left - width
        return nn.pad(img, (-left, -right, -top, -bottom))
    return _crop(img, top, left, height, width)


def normalize(tensor: Tensor, mean: Any, std: Any, inplace: bool = False) -> Tensor:
    """(tensor - mean) / std by channel, for a float tensor [..., channels, height, width]."""
    if not isinstance(tensor, Tensor):
        raise TypeError(f"img should be Tensor Image. Got {type(tensor)}")
    if not _tracked(tensor):
        made = on_array(array_kernels.normalize, tensor, mean, std)
        return tensor.copy_(made) if inplace else made
    array_kernels.normalize(np.zeros((*tensor.shape[:-2], 1, 1), tensor.dtype.numpy), mean, std)  # its checks
    mean, std = (tensor_of(np.asarray(v, tensor.dtype.numpy).reshape(-1, 1, 1)) for v in (mean, std))
    return tensor.sub_(mean).div_(std) if inplace else (tensor - mean) / std


def output_size(image_size: tuple[int, int], size: Any, max_size: int | None = None) -> list[int]:
    """[height, width] after resizing: `size` is both, or the shorter edge, the longer one at most `max_size`."""
    h, w = image_size
    if size is not None and len(size) == 2:
        return [size[0], size[1]]
    short, long = min(h, w), max(h, w)
    if size is None:
        new_short, new_long = int(max_size * short / long), int(max_size)  # type: ignore[operator]  # checked by Resize
    else:
        new_short, new_long = size[0], int(size[0] * long / short)
        if max_size is not None:
            if max_size <= size[0]:
                raise ValueError(
                    f"max_size = {max_size} must be strictly greater than the requested size for the smaller edge size = {size}"
                )
            if new_long > max_size:
                new_short, new_long = int(max_size * new_short / new_long), max_size
    return [new_long, new_short] if w <= h else [new_short, new_long]


def resize(
    img: Any, size: Any, interpolation: Any = InterpolationMode.BILINEAR, max_size: int | None = None,
    antialias: bool | None = True,
) -> Any:  # fmt: skip
    """Resampled to [height, width], or so that the shorter edge is `size`. Pictures are always antialiased."""
    interpolation = mode_of(interpolation)
    if isinstance(size, (list, tuple)):
        if len(size) not in (1, 2):
            raise ValueError(f"Size must be an int or a 1 or 2 element tuple/list, not a {len(size)} element tuple/list")
        if max_size is not None and len(size) != 1:
            raise ValueError(
                "max_size should only be passed if size specifies the length of the smaller edge, i.e. size should be an int or "
                "a sequence of length 1 in torchscript mode."
            )
    _, height, width = dimensions(img)
    new = output_size((height, width), [size] if isinstance(size, int) else size, max_size)
    if [height, width] == new:
        return img
    if isinstance(img, BoundingBoxes):
        return box_kernels.resize(img, new)
    if is_pil(img):
        if antialias is False:
            warnings.warn("Anti-alias option is always applied for PIL Image input. Argument antialias is ignored.", stacklevel=2)
        return pil_kernels.resize(img, new, PILLOW_MODES[interpolation])
    if _tracked(img):
        linear = interpolation in (InterpolationMode.BILINEAR, InterpolationMode.BICUBIC)
        batch = img if img.ndim == 4 else img.reshape(-1, 1, height, width)
        made = nn.interpolate(
            batch, tuple(new), mode=interpolation.value, align_corners=False if linear else None,
            antialias=bool(antialias) and linear,
        )  # fmt: skip
        return made.reshape(*img.shape[:-2], *new)
    return on_array(resampling.resize, img, new, interpolation, antialias)


def resized_crop(
    img: Any, top: int, left: int, height: int, width: int, size: Any, interpolation: Any = InterpolationMode.BILINEAR,
    antialias: bool | None = True,
) -> Any:  # fmt: skip
    """A rectangle, resampled to `size`."""
    return resize(crop(img, top, left, height, width), size, interpolation, antialias=antialias)


def _two(size: Any) -> tuple[int, int]:
    if isinstance(size, numbers.Number):
        return int(size), int(size)  # type: ignore[call-overload]  # a number
    if len(size) == 1:
        return size[0], size[0]
    if len(size) != 2:
        raise ValueError("Please provide only two dimensions (h, w) for size.")
    return tuple(size)


def center_crop(img: Any, output_size: Any) -> Any:
    """The middle [height, width], with a black border where the image is smaller."""
    height, width = _two(output_size)
    _, h, w = dimensions(img)
    if width > w or height > h:
        x, y = max(width - w, 0), max(height - h, 0)
        img = pad(img, [x // 2, y // 2, (x + 1) // 2, (y + 1) // 2])
        _, h, w = dimensions(img)
        if (width, height) == (w, h):
            return img
    return crop(img, int(round((h - height) / 2.0)), int(round((w - width) / 2.0)), height, width)


def five_crop(img: Any, size: Any) -> tuple[Any, ...]:
    """The four corners and the middle."""
    height, width = _two(size)
    _, h, w = dimensions(img)
    if width > w or height > h:
        raise ValueError(f"Requested crop size {size} is bigger than input size {(h, w)}")
    corners = [(0, 0), (0, w - width), (h - height, 0), (h - height, w - width)]
    return (*[crop(img, top, left, height, width) for top, left in corners], center_crop(img, [height, width]))


def ten_crop(img: Any, size: Any, vertical_flip: bool = False) -> tuple[Any, ...]:
    """Five crops of the image and five of its mirror image."""
    return five_crop(img, size) + five_crop((vflip if vertical_flip else hflip)(img), size)


def _fill_of(img: Tensor, fill: Any) -> Any:
    return fill if fill is None or isinstance(fill, (list, tuple)) else [float(fill)]


def rotate(
    img: Any, angle: float, interpolation: Any = InterpolationMode.NEAREST, expand: bool = False, center: Any = None, fill: Any = None
) -> Any:
    """Turned counter-clockwise by degrees about `center` (x, y), or the middle; `expand` makes room for all of it."""
    mode = mode_of(interpolation)
    if not isinstance(angle, (int, float)):
        raise TypeError("Argument angle should be int or float")
    if center is not None and not isinstance(center, (list, tuple)):
        raise TypeError("Argument center should be a sequence")
    if is_pil(img):
        return pil_kernels.rotate(img, angle, PILLOW_MODES[mode], expand, center, fill)
    _, height, width = dimensions(img)
    matrix = resampling.inverse_matrix(_from_middle(center, width, height), -angle, [0.0, 0.0], 1.0, [0.0, 0.0])
    size = resampling.turned_size(matrix, width, height) if expand else None
    if isinstance(img, BoundingBoxes):
        return box_kernels.turned(img, matrix, size and size[::-1])
    return on_array(resampling.affine, img, matrix, mode.value, _fill_of(img, fill), size)


def _from_middle(center: Any, width: int, height: int) -> list[float]:
    return [0.0, 0.0] if center is None else [c - s * 0.5 for c, s in zip(center, (width, height), strict=True)]


def affine(
    img: Any, angle: float, translate: Any, scale: float, shear: Any, interpolation: Any = InterpolationMode.NEAREST,
    fill: Any = None, center: Any = None,
) -> Any:  # fmt: skip
    """Sheared and turned (degrees, clockwise), scaled, then shifted by pixels."""
    mode = mode_of(interpolation)
    if not isinstance(angle, (int, float)):
        raise TypeError("Argument angle should be int or float")
    if not isinstance(translate, (list, tuple)):
        raise TypeError("Argument translate should be a sequence")
    if len(translate) != 2:
        raise ValueError("Argument translate should be a sequence of length 2")
    if scale <= 0.0:
        raise ValueError("Argument scale should be positive")
    if not isinstance(shear, (numbers.Number, list, tuple)):
        raise TypeError("Shear should be either a single value or a sequence of two values")
    shear = [shear, 0.0] if isinstance(shear, numbers.Number) else list(shear) * (2 if len(shear) == 1 else 1)
    if len(shear) != 2:
        raise ValueError(f"Shear should be a sequence containing two values. Got {shear}")
    if center is not None and not isinstance(center, (list, tuple)):
        raise TypeError("Argument center should be a sequence")
    _, height, width = dimensions(img)
    if is_pil(img):
        middle = [width * 0.5, height * 0.5] if center is None else center
        matrix = resampling.inverse_matrix(middle, angle, translate, scale, shear)
        return pil_kernels.affine(img, matrix, PILLOW_MODES[mode], fill)
    matrix = resampling.inverse_matrix(_from_middle(center, width, height), angle, translate, scale, shear)
    if isinstance(img, BoundingBoxes):
        return box_kernels.turned(img, matrix)
    return on_array(resampling.affine, img, matrix, mode.value, _fill_of(img, fill))


def perspective(
    img: Any, startpoints: Any, endpoints: Any, interpolation: Any = InterpolationMode.BILINEAR, fill: Any = None,
    coefficients: Any = None,
) -> Any:  # fmt: skip
    """Four corners [x, y] moved to four others."""
    if isinstance(img, BoundingBoxes):
        raise box_kernels.refusal("a change of perspective")
    coefficients = coefficients or resampling.perspective_coefficients(startpoints, endpoints)
    mode = mode_of(interpolation)
    if is_pil(img):
        return pil_kernels.perspective(img, coefficients, PILLOW_MODES[mode], fill)
    return on_array(resampling.perspective, img, coefficients, mode.value, _fill_of(img, fill))


def _via_tensor(operation: Callable[..., Tensor], img: Any, *args: Any) -> Any:
    """Pictures take the tensor's way and come back."""
    if is_pil(img):
        return to_pil_image(operation(pil_to_tensor(img), *args), mode=img.mode)
    return operation(img, *args)


def elastic_transform(
    img: Any, displacement: Tensor, interpolation: Any = InterpolationMode.BILINEAR, fill: Any = None
) -> Any:  # fmt: skip
    """Pixels fetched from places that `displacement` [1, height, width, 2] says, beside their own."""
    if not isinstance(displacement, Tensor):
        raise TypeError("Argument displacement should be a Tensor")
    if isinstance(img, BoundingBoxes):
        raise box_kernels.refusal("an elastic change")
    _, height, width = dimensions(img)
    if tuple(displacement.shape) != (1, height, width, 2):
        raise ValueError(
            f"Argument displacement shape should be {(1, height, width, 2)}, but given {tuple(displacement.shape)}"
        )
    mode, moved = mode_of(interpolation).value, array_of(displacement)
    return _via_tensor(lambda t: on_array(resampling.elastic, t, moved, mode, _fill_of(t, fill)), img)


def gaussian_blur(img: Any, kernel_size: Any, sigma: Any = None) -> Any:
    """Blurred by a kernel of odd sizes [x, y] and deviations `sigma`."""
    if not isinstance(kernel_size, (int, list, tuple)):
        raise TypeError(f"kernel_size should be int or a sequence of integers. Got {type(kernel_size)}")
    kernel_size = [kernel_size] * 2 if isinstance(kernel_size, int) else list(kernel_size)
    if len(kernel_size) != 2:
        raise ValueError(f"If kernel_size is a sequence its length should be 2. Got {len(kernel_size)}")
    if any(k % 2 == 0 or k < 0 for k in kernel_size):
        raise ValueError(f"kernel_size should have odd and positive integers. Got {kernel_size}")
    sigma = [k * 0.15 + 0.35 for k in kernel_size] if sigma is None else sigma
    if not isinstance(sigma, (int, float, list, tuple)):
        raise TypeError(f"sigma should be either float or sequence of floats. Got {type(sigma)}")
    sigma = [float(sigma)] * 2 if isinstance(sigma, (int, float)) else list(sigma) * (2 if len(sigma) == 1 else 1)
    if len(sigma) != 2:
        raise ValueError(f"If sigma is a sequence, its length should be 2. Got {len(sigma)}")
    if min(sigma) <= 0.0:
        raise ValueError(f"sigma should have positive values. Got {sigma}")
    return _via_tensor(lambda t: on_array(array_kernels.gaussian_blur, t, kernel_size, sigma), img)


def erase(img: Any, i: int, j: int, h: int, w: int, v: Tensor, inplace: bool = False) -> Tensor:
    """A rectangle of a tensor image filled with `v`."""
    if not isinstance(img, Tensor):
        raise TypeError(f"img should be Tensor Image. Got {type(img)}")
    made = img if inplace else img.clone()
    made[..., i : i + h, j : j + w] = v
    return made
