"""torchvision.utils: grids of images, image files, boxes and masks drawn on images."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image, ImageColor, ImageDraw, ImageFont

from ..joining import stack
from ..tensor import Tensor
from .images import tensor_of

__all__ = ["draw_bounding_boxes", "draw_segmentation_masks", "make_grid", "save_image"]


def make_grid(
    tensor: Any, nrow: int = 8, padding: int = 2, normalize: bool = False, value_range: tuple[float, float] | None = None,
    scale_each: bool = False, pad_value: float = 0.0,
) -> Tensor:  # fmt: skip
    """One image [c, h, w] of many: [n, c, h, w], a list of [c, h, w], or one; grey becomes three channels.

    nrow: images in a row. normalize: values shifted to [0, 1] from value_range (default: the extremes), each image by
    itself with scale_each. TypeError for what is no tensor.
    """
    if isinstance(tensor, list):
        odd = [type(t) for t in tensor if not isinstance(t, Tensor)]
        if odd:
            raise TypeError(f"tensor or list of tensors expected, got a list containing {odd[0]}")
        tensor = stack(tensor)
    if not isinstance(tensor, Tensor):
        raise TypeError(f"tensor or list of tensors expected, got {type(tensor)}")
    a = np.asarray(tensor.detach()._value())
    a = a[None] if a.ndim == 2 else a
    a = a[None] if a.ndim == 3 else a
    a = np.repeat(a, 3, 1) if a.shape[1] == 1 else a
    if normalize:
        if value_range is not None and not isinstance(value_range, tuple):
            raise TypeError("value_range has to be a tuple (min, max) if specified. min and max are numbers")
        a = np.stack([_spread(image, value_range) for image in a]) if scale_each else _spread(a, value_range)
    if len(a) == 1:
        return tensor_of(a[0])
    columns = min(nrow, len(a))
    rows = -(-len(a) // columns)
    h, w = a.shape[2] + padding, a.shape[3] + padding
    grid = np.full((a.shape[1], h * rows + padding, w * columns + padding), pad_value, a.dtype)
    for k, image in enumerate(a):
        y, x = k // columns * h + padding, k % columns * w + padding
        grid[:, y : y + h - padding, x : x + w - padding] = image
    return tensor_of(grid)


def _spread(a: np.ndarray, limits: tuple[float, float] | None) -> np.ndarray:
    low, high = limits or (float(a.min()), float(a.max()))
    return (np.clip(a, low, high) - a.dtype.type(low)) / a.dtype.type(max(high - low, 1e-5))


def save_image(tensor: Any, fp: Any, format: str | None = None, **options: Any) -> None:
    """Write an image or a grid of images (values in [0, 1]) to a file; options are make_grid's."""
    grid = np.asarray(make_grid(tensor, **options)._value())
    pixels = np.clip(grid * 255 + grid.dtype.type(0.5), 0, 255).astype(np.uint8).transpose(1, 2, 0)
    Image.fromarray(np.ascontiguousarray(pixels)).save(fp, format=format)


def _colours(colors: Any, count: int) -> list[tuple[int, ...]]:
    """A colour for each of `count` objects; a wheel of hues when none are given."""
    if colors is None:
        colors = [f"hsl({360 * i // max(count, 1)}, 100%, 50%)" for i in range(count)]
    if not isinstance(colors, list):
        colors = [colors] * count
    if len(colors) < count:
        raise ValueError(f"Number of colors must be equal or larger than the number of objects, but got {len(colors)} < {count}.")
    return [ImageColor.getrgb(c) if isinstance(c, str) else tuple(c) for c in colors[:count]]


def _bytes(image: Any) -> np.ndarray:
    """uint8 [3, h, w] of an image tensor. TypeError and ValueError for what cannot be drawn on."""
    if not isinstance(image, Tensor):
        raise TypeError(f"Tensor expected, got {type(image)}")
    if image.dim() != 3:
        raise ValueError("Pass individual images, not batches")
    if image.size(0) not in (1, 3):
        raise ValueError("Only grayscale and RGB images are supported")
    a = np.asarray(image.detach()._value())
    a = (a * 255).astype(np.uint8) if a.dtype.kind == "f" else a
    return np.repeat(a, 3, 0) if len(a) == 1 else a


def draw_bounding_boxes(
    image: Tensor, boxes: Tensor, labels: list[str] | None = None, colors: Any = None, fill: bool = False, width: int = 1,
    font: str | None = None, font_size: int | None = None,
) -> Tensor:  # fmt: skip
    """Boxes [n, 4] (x1, y1, x2, y2) drawn on an image [c, h, w]; uint8 [3, h, w]."""
    places = boxes.tolist()
    if any(x1 > x2 or y1 > y2 for x1, y1, x2, y2 in places):
        raise ValueError("Boxes need to be in (xmin, ymin, xmax, ymax) format. Use torchvision.ops.box_convert to convert them")
    if labels is not None and len(labels) != len(places):
        raise ValueError(f"Number of boxes ({len(places)}) and labels ({len(labels)}) mismatch. Please specify labels for each box.")
    drawn = Image.fromarray(np.ascontiguousarray(_bytes(image).transpose(1, 2, 0)))
    draw = ImageDraw.Draw(drawn, "RGBA" if fill else None)
    text = ImageFont.load_default() if font is None else ImageFont.truetype(font, font_size or 10)
    for i, (box, colour) in enumerate(zip(places, _colours(colors, len(places)), strict=True)):
        draw.rectangle(box, width=width, outline=colour, fill=(*colour, 100) if fill else None)
        if labels is not None and labels[i] is not None:
            draw.text((box[0] + width + 1, box[1] + width + 1), labels[i], fill=colour, font=text)
    made = np.array(drawn).transpose(2, 0, 1)
    return tensor_of(made if image.dtype.kind != "f" else made.astype(image.dtype.numpy) / 255)


def draw_segmentation_masks(image: Tensor, masks: Tensor, alpha: float = 0.8, colors: Any = None) -> Tensor:
    """Masks bool [n, h, w] or [h, w] laid over an image [3, h, w] with opacity alpha."""
    covers = np.asarray(masks.detach()._value())
    covers = covers[None] if covers.ndim == 2 else covers
    if covers.dtype != np.bool_:
        raise ValueError("The masks must be of dtype bool. Got torch." + str(covers.dtype))
    pixels = _bytes(image)
    if covers.shape[-2:] != pixels.shape[-2:]:
        raise ValueError("The image and the masks must have the same height and width")
    painted = pixels.copy()
    for cover, colour in zip(covers, _colours(colors, len(covers)), strict=True):
        painted[:, cover] = np.asarray(colour[:3], np.uint8)[:, None]
    mixed = pixels * np.float32(1 - alpha) + painted * np.float32(alpha)
    return tensor_of(mixed.astype(np.uint8) if image.dtype.kind != "f" else (mixed / 255).astype(image.dtype.numpy))
