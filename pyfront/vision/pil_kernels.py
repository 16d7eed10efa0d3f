"""Image operations on Pillow pictures: what torchvision asks of Pillow, call by call."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from .images import picture
from .padding import check_padding, sides


def filled(img: Image.Image, fill: Any, name: str = "fillcolor") -> dict[str, Any]:
    """Pillow's fill argument: one number per channel, whole where the mode holds whole numbers."""
    channels = len(img.getbands())
    fill = 0 if fill is None else fill
    if isinstance(fill, (int, float)) and channels > 1:
        fill = (fill,) * channels
    if isinstance(fill, (list, tuple)):
        fill = tuple(fill) * channels if len(fill) == 1 else tuple(fill)
        if len(fill) != channels:
            raise ValueError(
                f"The number of elements in 'fill' does not match the number of channels of the image ({len(fill)} != {channels})"
            )
    if img.mode != "F":
        fill = tuple(int(x) for x in fill) if isinstance(fill, tuple) else int(fill)
    return {name: fill}


def hflip(img: Image.Image) -> Image.Image:
    """Left and right exchanged."""
    return img.transpose(Image.Transpose.FLIP_LEFT_RIGHT)


def vflip(img: Image.Image) -> Image.Image:
    """Top and bottom exchanged."""
    return img.transpose(Image.Transpose.FLIP_TOP_BOTTOM)


def crop(img: Image.Image, top: int, left: int, height: int, width: int) -> Image.Image:
    """A rectangle; what lies outside is black."""
    return img.crop((left, top, left + width, top + height))


def resize(img: Image.Image, size: list[int], interpolation: int) -> Image.Image:
    """Resampled to [height, width]."""
    return img.resize((size[1], size[0]), interpolation)


def pad(img: Image.Image, padding: Any, fill: Any = 0, padding_mode: str = "constant") -> Image.Image:
    """A border around the picture."""
    check_padding(padding, fill, padding_mode)
    if padding_mode == "constant":
        border = tuple(padding) if isinstance(padding, (list, tuple)) else padding
        border = border[0] if isinstance(border, tuple) and len(border) == 1 else border
        made = ImageOps.expand(img, border=border, **filled(img, fill, "fill"))
        if img.mode == "P":
            made.putpalette(img.getpalette())
        return made
    left, top, right, bottom = sides(padding)
    if min(left, top, right, bottom) < 0:
        img = img.crop((-min(left, 0), -min(top, 0), img.width + min(right, 0), img.height + min(bottom, 0)))
        left, top, right, bottom = (max(side, 0) for side in (left, top, right, bottom))
    array = np.asarray(img)
    widths = ((top, bottom), (left, right), (0, 0))[: array.ndim]
    made = Image.fromarray(np.pad(array, widths, mode=padding_mode))  # type: ignore[call-overload]  # checked above
    if img.mode == "P":
        made.putpalette(img.getpalette())
    return made


def adjust_brightness(img: Image.Image, brightness_factor: float) -> Image.Image:
    """0 is black, 1 the picture."""
    return ImageEnhance.Brightness(img).enhance(brightness_factor)


def adjust_contrast(img: Image.Image, contrast_factor: float) -> Image.Image:
    """0 is grey, 1 the picture."""
    return ImageEnhance.Contrast(img).enhance(contrast_factor)


def adjust_saturation(img: Image.Image, saturation_factor: float) -> Image.Image:
    """0 is black and white, 1 the picture."""
    return ImageEnhance.Color(img).enhance(saturation_factor)


def adjust_sharpness(img: Image.Image, sharpness_factor: float) -> Image.Image:
    """0 is blurred, 1 the picture."""
    return ImageEnhance.Sharpness(img).enhance(sharpness_factor)


def adjust_hue(img: Image.Image, hue_factor: float) -> Image.Image:
    """Hue turned by a fraction of the circle in [-0.5, 0.5]. ValueError outside."""
    if not -0.5 <= hue_factor <= 0.5:
        raise ValueError(f"hue_factor ({hue_factor}) is not in [-0.5, 0.5].")
    if img.mode in ("L", "1", "I", "F"):
        return img
    h, s, v = img.convert("HSV").split()
    turned = np.array(h, dtype=np.uint8) + np.int32(hue_factor * 255).astype(np.uint8)
    return Image.merge("HSV", (picture(turned, "L"), s, v)).convert(img.mode)


def adjust_gamma(img: Image.Image, gamma: float, gain: float = 1.0) -> Image.Image:
    """255 * gain * (x / 255) ** gamma, of the colours."""
    if gamma < 0:
        raise ValueError("Gamma should be a non-negative real number")
    table = [int((255 + 1 - 1e-3) * gain * pow(x / 255.0, gamma)) for x in range(256)] * 3
    return img.convert("RGB").point(table).convert(img.mode)


def rgb_to_grayscale(img: Image.Image, num_output_channels: int = 1) -> Image.Image:
    """Grey, in one channel or in three equal ones."""
    if num_output_channels not in (1, 3):
        raise ValueError("num_output_channels should be either 1 or 3")
    grey = img.convert("L")
    if num_output_channels == 1:
        return grey
    array = np.array(grey, dtype=np.uint8)
    return picture(np.dstack([array, array, array]), "RGB")


def invert(img: Image.Image) -> Image.Image:
    """The negative."""
    return ImageOps.invert(img)


def posterize(img: Image.Image, bits: int) -> Image.Image:
    """Only the highest bits of each value."""
    return ImageOps.posterize(img, bits)


def solarize(img: Image.Image, threshold: float) -> Image.Image:
    """The negative of what is above the threshold."""
    return ImageOps.solarize(img, threshold)  # type: ignore[arg-type]  # Pillow compares, whole or not


def autocontrast(img: Image.Image) -> Image.Image:
    """Darkest to black, brightest to white."""
    return ImageOps.autocontrast(img)


def equalize(img: Image.Image) -> Image.Image:
    """All values about equally frequent."""
    return ImageOps.equalize(img)


def affine(img: Image.Image, matrix: list[float], interpolation: int, fill: Any = None) -> Image.Image:
    """Pixels fetched through a matrix from output to input."""
    return img.transform(img.size, Image.Transform.AFFINE, matrix, interpolation, **filled(img, fill))


def perspective(img: Image.Image, coefficients: list[float], interpolation: int, fill: Any = None) -> Image.Image:
    """Pixels fetched through a projective map from output to input."""
    return img.transform(img.size, Image.Transform.PERSPECTIVE, coefficients, interpolation, **filled(img, fill))


def rotate(img: Image.Image, angle: float, interpolation: int, expand: bool, center: Any, fill: Any = None) -> Image.Image:
    """Turned counter-clockwise by degrees."""
    return img.rotate(angle, interpolation, expand, center, **filled(img, fill))
