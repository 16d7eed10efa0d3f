"""Images: Pillow pictures and tensors [..., channels, height, width], their sizes, and the ways between them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from enum import Enum
from typing import Any

import numpy as np
from PIL import Image

from ...dialects.errors import UnsupportedError
from ...dialects.types import DTYPES, DType, dtype_of
from .. import recorder
from ..promote import Defaults
from ..tensor import Tensor, wrap
from .tv_tensors import BoundingBoxes, like, TVTensor

_LITTLE = sys.byteorder == "little"
_INT16 = "I;16" if _LITTLE else "I;16B"
_ARRAY_TYPES = {"I": np.int32, _INT16: np.int16, "F": np.float32}
_MODES = {2: ("LA",), 3: ("RGB", "YCbCr", "HSV"), 4: ("RGBA", "CMYK", "RGBX")}
_PLAIN_MODES = {np.uint8: "L", np.int16: _INT16, np.int32: "I", np.float32: "F"}


class InterpolationMode(Enum):
    """Ways to compute a pixel between pixels."""

    NEAREST = "nearest"
    NEAREST_EXACT = "nearest-exact"
    BILINEAR = "bilinear"
    BICUBIC = "bicubic"
    BOX = "box"
    HAMMING = "hamming"
    LANCZOS = "lanczos"


PILLOW_MODES = {
    InterpolationMode.NEAREST: 0, InterpolationMode.LANCZOS: 1, InterpolationMode.BILINEAR: 2, InterpolationMode.BICUBIC: 3,
    InterpolationMode.BOX: 4, InterpolationMode.HAMMING: 5, InterpolationMode.NEAREST_EXACT: 0,
}  # fmt: skip
_BY_NUMBER = {number: mode for mode, number in reversed(PILLOW_MODES.items())}


def mode_of(interpolation: Any) -> InterpolationMode:
    """A mode from itself, its name or Pillow's number. TypeError for anything else."""
    if isinstance(interpolation, InterpolationMode):
        return interpolation
    if isinstance(interpolation, int) and interpolation in _BY_NUMBER:
        return _BY_NUMBER[interpolation]
    if isinstance(interpolation, str):
        return InterpolationMode(interpolation)
    raise TypeError("Argument interpolation should be a InterpolationMode or a corresponding Pillow integer constant")


def is_pil(img: Any) -> bool:
    """Whether this is a Pillow picture."""
    return isinstance(img, Image.Image)


def dimensions(img: Any) -> list[int]:
    """[channels, height, width]. TypeError for what is no image."""
    if isinstance(img, Image.Image):
        return [len(img.getbands()), img.height, img.width]
    if not isinstance(img, Tensor):
        raise TypeError(f"Unexpected type {type(img)}")
    if isinstance(img, BoundingBoxes):  # what is known of their image
        return [0, *img.canvas_size]
    if img.ndim < 2:
        raise TypeError("Tensor is not a torch image.")
    return [1 if img.ndim == 2 else img.shape[-3], img.shape[-2], img.shape[-1]]


def array_of(img: Tensor) -> np.ndarray:
    """The values of a tensor image. UnsupportedError where that would lose a gradient."""
    if img.requires_grad and recorder.state.grad:
        raise UnsupportedError(
            "this image transform keeps no gradient, and its image requires one",
            help="transform img.detach(), or spell the transform with tensor operations",
        )
    return np.asarray(img._value())


def tensor_of(array: np.ndarray, source: Any = None) -> Tensor:
    """A tensor with these values, of the kind `source` is (a tv_tensor stays one)."""
    array = np.ascontiguousarray(array)
    made = wrap(recorder.leaf(array, (array.shape, dtype_of(array.dtype))))
    return like(made, source) if isinstance(source, TVTensor) else made


def on_array(kernel: Callable[..., np.ndarray], img: Tensor, *args: Any, **options: Any) -> Tensor:
    """A kernel over arrays, applied to a tensor image."""
    if not isinstance(img, Tensor):
        raise TypeError(f"img should be PIL Image or Tensor. Got {type(img)}")
    dimensions(img)
    array = array_of(img)
    made = kernel(array, *args, **options)
    return img if made is array else tensor_of(made, img)


def _pixels(pic: Image.Image) -> np.ndarray:
    """[height, width, channels] in memory of its own."""
    array = np.array(pic, _ARRAY_TYPES.get(pic.mode, np.uint8))
    return array.reshape(pic.height, pic.width, -1)


def to_tensor(pic: Any) -> Tensor:
    """A picture or array [h, w] or [h, w, c] as a tensor [c, h, w]; bytes become floats in [0, 1].

    TypeError for anything else, ValueError for arrays of another rank.
    """
    if isinstance(pic, np.ndarray):
        if pic.ndim not in (2, 3):
            raise ValueError(f"pic should be 2/3 dimensional. Got {pic.ndim} dimensions.")
        array = pic[:, :, None] if pic.ndim == 2 else pic
    elif isinstance(pic, Image.Image):
        array = _pixels(pic)
        if pic.mode == "1":
            array = array * np.uint8(255)
    else:
        raise TypeError(f"pic should be PIL Image or ndarray. Got {type(pic)}")
    array = np.ascontiguousarray(array.transpose(2, 0, 1))
    if array.dtype == np.uint8:
        array = np.divide(array, 255, dtype=Defaults.dtype.numpy)
    elif isinstance(pic, np.ndarray) and array.base is pic:
        array = array.copy()
    return tensor_of(array)


def pil_to_tensor(pic: Any) -> Tensor:
    """A picture as a tensor [c, h, w] of its own element type."""
    if not isinstance(pic, Image.Image):
        raise TypeError(f"pic should be PIL Image. Got {type(pic)}")
    array = np.array(pic).reshape(pic.height, pic.width, -1)
    return tensor_of(array.transpose(2, 0, 1))


def to_pil_image(pic: Any, mode: str | None = None) -> Image.Image:
    """A tensor [c, h, w] or [h, w], or an array [h, w, c], as a picture; floats in [0, 1] become bytes.

    TypeError for other types, ValueError for shapes and modes that do not fit.
    """
    if isinstance(pic, Tensor):
        array = np.asarray(pic.detach()._value())
        array = array.transpose(1, 2, 0) if array.ndim == 3 else array
    elif isinstance(pic, np.ndarray):
        array = pic
    else:
        raise TypeError(f"pic should be Tensor or ndarray. Got {type(pic)}.")
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3:
        raise ValueError(f"pic should be 2/3 dimensional. Got {array.ndim} dimensions.")
    if array.shape[-1] > 4:
        raise ValueError(f"pic should not have > 4 channels. Got {array.shape[-1]} channels.")
    if array.dtype.kind == "f" and mode != "F":
        array = (array * 255).astype(np.uint8)
    channels = array.shape[2]
    if channels == 1:
        expected = _PLAIN_MODES.get(array.dtype.type)
        if mode is not None and mode != expected:
            raise ValueError(f"Incorrect mode ({mode}) supplied for input type {array.dtype}. Should be {expected}")
        array, mode = array[:, :, 0], expected
    else:
        if mode is not None and mode not in _MODES[channels]:
            raise ValueError(f"Only modes {list(_MODES[channels])} are supported for {channels}D inputs")
        if mode is None and array.dtype == np.uint8:
            mode = _MODES[channels][0]
    if mode is None:
        raise TypeError(f"Input type {array.dtype} is not supported")
    return picture(array, mode)


def picture(array: np.ndarray, mode: str) -> Image.Image:
    """A Pillow picture of a mode from [h, w] or [h, w, c]."""
    array = np.ascontiguousarray(array)
    if mode in ("YCbCr", "HSV", "LA", "CMYK", "RGBX"):
        return Image.frombytes(mode, (array.shape[1], array.shape[0]), array.tobytes())
    made = Image.fromarray(array)
    return made if made.mode == mode else Image.frombytes(mode, (array.shape[1], array.shape[0]), array.tobytes())


_LARGEST = {"uint8": 255, "int8": 127, "int16": 32767, "uint16": 65535, "int32": 2147483647, "int64": 9223372036854775807}


def largest(dtype: np.dtype) -> int:
    """The value of full brightness: the largest integer, 1 for floats."""
    return _LARGEST.get(np.dtype(dtype).name, 1)


def converted(array: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Another element type, full brightness staying full brightness."""
    source, dtype = array.dtype, np.dtype(dtype)
    if source == dtype:
        return array
    if source.kind == "f":
        if dtype.kind == "f":
            return array.astype(dtype)
        if (source == np.float32 and dtype in (np.int32, np.int64)) or (source == np.float64 and dtype == np.int64):
            raise RuntimeError(f"The cast from torch.{source} to torch.{dtype} cannot be performed safely.")
        return (array * source.type(largest(dtype) + 1.0 - 1e-3)).astype(dtype)
    if dtype.kind == "f":
        return np.divide(array, largest(source), dtype=dtype)
    if largest(source) > largest(dtype):
        return (array // int((largest(source) + 1) // (largest(dtype) + 1))).astype(dtype)
    return array.astype(dtype) * dtype.type((largest(dtype) + 1) // (largest(source) + 1))


def convert_image_dtype(image: Tensor, dtype: DType = DTYPES["float32"]) -> Tensor:
    """A tensor image of another dtype, its values scaled along. RuntimeError where the cast would overflow."""
    if not isinstance(image, Tensor):
        raise TypeError("Input img should be Tensor Image")
    return image if image.dtype is dtype else on_array(converted, image, dtype.numpy)
