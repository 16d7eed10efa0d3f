"""torchvision.io: image files to tensors and back, through Pillow."""

from __future__ import annotations

import io as _io
import os
from enum import Enum
from typing import Any

import numpy as np
from PIL import Image

from ...dialects.errors import FileError
from ..tensor import Tensor
from .images import pil_to_tensor, tensor_of, to_pil_image

__all__ = [
    "ImageReadMode", "decode_image", "decode_jpeg", "decode_png", "encode_jpeg", "encode_png", "read_file", "read_image",
    "write_file", "write_jpeg", "write_png",
]  # fmt: skip


class ImageReadMode(Enum):
    """Channels an image is read with."""

    UNCHANGED = 0
    GRAY = 1
    GRAY_ALPHA = 2
    RGB = 3
    RGB_ALPHA = 4


_MODES = {"GRAY": "L", "GRAY_ALPHA": "LA", "RGB": "RGB", "RGB_ALPHA": "RGBA"}


def read_file(path: Any) -> Tensor:
    """A file's bytes, uint8 [n]."""
    with open(path, "rb") as file:
        return tensor_of(np.frombuffer(file.read(), np.uint8).copy())


def write_file(filename: Any, data: Tensor) -> None:
    """Write uint8 [n] as a file."""
    whole = os.fspath(filename)
    with open(f"{whole}.part", "wb") as file:
        file.write(np.asarray(data._value(), np.uint8).tobytes())
    os.replace(f"{whole}.part", whole)


def decode_image(input: Any, mode: Any = ImageReadMode.UNCHANGED, apply_exif_orientation: bool = False) -> Tensor:
    """An encoded image (a path, or its bytes uint8 [n]) as uint8 [c, h, w]. FileError when it is no image."""
    source = _io.BytesIO(np.asarray(input._value()).tobytes()) if isinstance(input, Tensor) else input
    mode = ImageReadMode[mode.upper()] if isinstance(mode, str) else mode
    try:
        with Image.open(source) as img:
            img.load()
            if apply_exif_orientation:
                from PIL import ImageOps

                img = ImageOps.exif_transpose(img)
            if mode is not ImageReadMode.UNCHANGED:
                img = img.convert(_MODES[mode.name])
            elif img.mode in ("P", "1", "CMYK"):
                img = img.convert("RGB")
            return pil_to_tensor(img)
    except (OSError, SyntaxError) as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise FileError(f"not an image that can be read: {error}", help="is the file complete, and an image?") from None


def read_image(path: Any, mode: Any = ImageReadMode.UNCHANGED, apply_exif_orientation: bool = False) -> Tensor:
    """An image file as uint8 [c, h, w]."""
    return decode_image(os.fspath(path), mode, apply_exif_orientation)


def decode_png(input: Tensor, mode: Any = ImageReadMode.UNCHANGED) -> Tensor:
    """decode_image."""
    return decode_image(input, mode)


def decode_jpeg(input: Any, mode: Any = ImageReadMode.UNCHANGED, device: Any = "cpu") -> Any:
    """decode_image, of one or of a list."""
    return [decode_image(x, mode) for x in input] if isinstance(input, list) else decode_image(input, mode)


def _encoded(input: Tensor, format: str, **options: Any) -> Tensor:
    if input.dtype.name != "uint8":
        raise RuntimeError("Input tensor dtype should be uint8")
    out = _io.BytesIO()
    to_pil_image(input).save(out, format, **options)
    return tensor_of(np.frombuffer(out.getvalue(), np.uint8).copy())


def encode_png(input: Tensor, compression_level: int = 6) -> Tensor:
    """uint8 [c, h, w] as the bytes of a PNG file."""
    return _encoded(input, "PNG", compress_level=compression_level)


def encode_jpeg(input: Tensor, quality: int = 75) -> Tensor:
    """uint8 [c, h, w] as the bytes of a JPEG file."""
    return _encoded(input, "JPEG", quality=quality)


def write_png(input: Tensor, filename: Any, compression_level: int = 6) -> None:
    """Write uint8 [c, h, w] as a PNG file."""
    write_file(filename, encode_png(input, compression_level))


def write_jpeg(input: Tensor, filename: Any, quality: int = 75) -> None:
    """Write uint8 [c, h, w] as a JPEG file."""
    write_file(filename, encode_jpeg(input, quality))
