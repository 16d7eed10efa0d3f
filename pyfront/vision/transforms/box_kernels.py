"""Image operations on bounding boxes: where boxes are once their image was turned, cut or resized."""

from __future__ import annotations

from collections.abc import Sequence

from ....dialects.errors import UnsupportedError
from ....dialects.types import DTYPES
from ...origin import origin, source_line
from ...joining import stack
from ...tensor import Tensor
from .. import tv_tensors
from ..ops import box_convert
from ..tv_tensors import BoundingBoxes, BoundingBoxFormat

XYXY = BoundingBoxFormat.XYXY
_FLOAT = DTYPES["float32"]


def _corners(boxes: BoundingBoxes) -> Tensor:
    """[..., 4] as left, top, right, bottom."""
    return converted(boxes.as_subclass(Tensor), boxes.format, XYXY)


def converted(boxes: Tensor, old: BoundingBoxFormat, new: BoundingBoxFormat) -> Tensor:
    """[..., 4] from one format to another."""
    return boxes if old is new else box_convert(boxes, old.value.lower(), new.value.lower()).to(boxes.dtype)


def _made(corners: Tensor, like: BoundingBoxes, canvas: Sequence[int], clamp: bool = False) -> BoundingBoxes:
    """Corners in the format, dtype and kind of other boxes, on an image of this size; clamped: inside of it."""
    height, width = canvas
    if clamp and like.clamping_mode is not None:
        x, y = corners[..., 0::2].clamp(min=0, max=width), corners[..., 1::2].clamp(min=0, max=height)
        corners = stack([x[..., 0], y[..., 0], x[..., 1], y[..., 1]], -1)
    return tv_tensors.wrap(converted(corners.to(like.dtype), XYXY, like.format), like=like, canvas_size=(height, width))


def hflip(boxes: BoundingBoxes) -> BoundingBoxes:
    """Left and right exchanged."""
    left, top, right, bottom = _corners(boxes).unbind(-1)
    width = boxes.canvas_size[1]
    return _made(stack([width - right, top, width - left, bottom], -1), boxes, boxes.canvas_size)


def vflip(boxes: BoundingBoxes) -> BoundingBoxes:
    """Top and bottom exchanged."""
    left, top, right, bottom = _corners(boxes).unbind(-1)
    height = boxes.canvas_size[0]
    return _made(stack([left, height - bottom, right, height - top], -1), boxes, boxes.canvas_size)


def _moved(boxes: BoundingBoxes, x: float, y: float, canvas: Sequence[int]) -> BoundingBoxes:
    corners = _corners(boxes)
    return _made(corners + corners.new_tensor([x, y, x, y]), boxes, canvas, clamp=True)


def crop(boxes: BoundingBoxes, top: int, left: int, height: int, width: int) -> BoundingBoxes:
    """In a rectangle of the image; what lies outside of it is cut off."""
    return _moved(boxes, -left, -top, (height, width))


def pad(boxes: BoundingBoxes, sides: tuple[int, int, int, int], mode: str) -> BoundingBoxes:
    """With a border (left, top, right, bottom) around the image. ValueError for borders that repeat it: boxes would be there twice."""
    if mode not in ("constant", "edge"):
        raise ValueError(f"Padding mode '{mode}' is not supported with bounding boxes")
    left, top, right, bottom = sides
    height, width = boxes.canvas_size
    return _moved(boxes, left, top, (height + top + bottom, width + left + right))


def resize(boxes: BoundingBoxes, new: Sequence[int]) -> BoundingBoxes:
    """On the image resized to [height, width]."""
    (height, width), numbers = boxes.canvas_size, boxes.as_subclass(Tensor)
    x, y = new[1] / width, new[0] / height
    scaled = (numbers * numbers.new_tensor([x, y, x, y], dtype=None if numbers.is_floating_point() else _FLOAT)).to(boxes.dtype)
    return tv_tensors.wrap(scaled, like=boxes, canvas_size=(new[0], new[1]))


def turned(boxes: BoundingBoxes, matrix: Sequence[float], canvas: Sequence[int] | None = None) -> BoundingBoxes:
    """Around the corners of boxes after an affine map. matrix: the six numbers of its inverse, about the middle of the image; canvas: of the
    image that has room for all of it, or None for the same size."""
    height, width = boxes.canvas_size
    a, b, c, d, e, f = matrix
    size = a * e - b * d
    inverse = e / size, -b / size, (b * f - c * e) / size, -d / size, a / size, (c * d - a * f) / size
    middle = _corners(boxes).new_tensor([width / 2, height / 2] * 2, dtype=_FLOAT)
    left, top, right, bottom = (_corners(boxes).to(_FLOAT) - middle).unbind(-1)
    points = [(x, y) for x in (left, right) for y in (top, bottom)]
    rims = [(x * width / 2, y * height / 2) for x in (-1, 1) for y in (-1, 1)]
    place = []
    for (u, v, w), half in ((inverse[:3], width / 2), (inverse[3:], height / 2)):
        shift = half if canvas is None else -min(u * x + v * y + w for x, y in rims)  # a larger image begins where the turned one does
        place.append(stack([u * x + v * y + w for x, y in points], -1) + shift)
    found = stack([place[0].amin(-1), place[1].amin(-1), place[0].amax(-1), place[1].amax(-1)], -1)
    return _made(found if boxes.is_floating_point() else found.round(), boxes, canvas or boxes.canvas_size, clamp=True)


def clamped(boxes: BoundingBoxes) -> BoundingBoxes:
    """Inside of their image."""
    return _made(_corners(boxes), boxes, boxes.canvas_size, clamp=True)


def large_enough(boxes: BoundingBoxes, least_size: float, least_area: float) -> Tensor:
    """bool[n]: boxes inside of their image whose sides and area are at least that."""
    left, top, right, bottom = _corners(boxes).unbind(-1)
    height, width = boxes.canvas_size
    w, h = right - left, bottom - top
    inside = (left >= 0) & (top >= 0) & (right <= width) & (bottom <= height)
    return (w >= least_size) & (h >= least_size) & (w * h >= least_area) & inside


def refusal(what: str) -> UnsupportedError:
    """For what is not there for boxes."""
    return UnsupportedError(
        f"{what} of an image with bounding boxes is not supported", at=source_line(origin()),
        help="flips, crops, borders, resizing, rotations and affine maps take boxes along",
    )  # fmt: skip
