"""Transforms that move pixels: sizes, crops, flips, turns, perspective, elastic deformation."""

from __future__ import annotations

import math
import numbers
import warnings
from collections.abc import Sequence
from typing import Any

from ...random_tensors import rand
from ...joining import cat
from ...tensor import Tensor
from ..images import InterpolationMode, dimensions
from ..padding import check_padding
from . import drawing
from . import functional as F
from .transform import Sometimes, Transform, angles, check_sequence, two


def _check_fill(fill: Any) -> Any:
    if fill is None:
        return 0
    if not isinstance(fill, (Sequence, numbers.Number)):
        raise TypeError("Fill should be either a sequence or a number.")
    return fill


class Geometric(Transform):
    """Masks go along."""

    geometric = True


class Resize(Geometric):
    """To [h, w], or the shorter edge to `size`."""

    def __init__(self, size: Any, interpolation: Any = "bilinear", max_size: int | None = None, antialias: bool | None = True) -> None:
        super().__init__()
        self.size = self.checked(size, max_size)
        self.interpolation = self.mode(interpolation)
        self.max_size = max_size
        self.antialias = antialias

    def checked(self, size: Any, max_size: int | None) -> Any:
        """The size as it is kept."""
        if not isinstance(size, (int, Sequence)):
            raise TypeError(f"Size should be int or sequence. Got {type(size)}")
        if isinstance(size, Sequence) and len(size) not in (1, 2):
            raise ValueError("If size is a sequence, it should have 1 or 2 values")
        return size

    def apply(self, img: Any) -> Any:
        """The resized image."""
        return F.resize(img, self.size, self.interpolation_for(img), self.max_size, self.antialias)

    def shown(self) -> str:
        """All four arguments."""
        mode = getattr(self.interpolation, "value", self.interpolation)
        return f"size={self.size}, interpolation={mode}, max_size={self.max_size}, antialias={self.antialias}"


class CenterCrop(Geometric):
    """The middle."""

    def __init__(self, size: Any) -> None:
        super().__init__()
        self.size = two(size)

    def apply(self, img: Any) -> Any:
        """The crop."""
        return F.center_crop(img, self.size)

    def shown(self) -> str:
        """The size."""
        return f"size={self.size}"


class FiveCrop(CenterCrop):
    """The corners and the middle: a tuple of five."""

    def apply(self, img: Any) -> Any:
        """The crops."""
        return F.five_crop(img, self.size)


class TenCrop(CenterCrop):
    """Five crops and those of the mirror image: a tuple of ten."""

    def __init__(self, size: Any, vertical_flip: bool = False) -> None:
        super().__init__(size)
        self.vertical_flip = vertical_flip

    def apply(self, img: Any) -> Any:
        """The crops."""
        return F.ten_crop(img, self.size, self.vertical_flip)

    def shown(self) -> str:
        """Size and direction."""
        return f"size={self.size}, vertical_flip={self.vertical_flip}"


class Pad(Geometric):
    """A border."""

    def __init__(self, padding: Any, fill: Any = 0, padding_mode: str = "constant") -> None:
        super().__init__()
        check_padding(padding, 0 if fill is None else fill, padding_mode)
        self.padding = padding
        self.fill = fill
        self.padding_mode = padding_mode

    def apply(self, img: Any) -> Any:
        """The image with its border."""
        return F.pad(img, self.padding, self.fill, self.padding_mode)

    def shown(self) -> str:
        """All three arguments."""
        return f"padding={self.padding}, fill={self.fill}, padding_mode={self.padding_mode}"


class RandomCrop(Geometric):
    """A crop at a random place, after padding."""

    def __init__(
        self, size: Any, padding: Any = None, pad_if_needed: bool = False, fill: Any = 0, padding_mode: str = "constant"
    ) -> None:  # fmt: skip
        super().__init__()
        self.size = tuple(two(size))
        self.padding = padding
        self.pad_if_needed = pad_if_needed
        self.fill = fill
        self.padding_mode = padding_mode

    @staticmethod
    def get_params(img: Any, output_size: tuple[int, int]) -> tuple[int, int, int, int]:
        """(top, left, height, width) of a random crop. ValueError when the image is too small."""
        _, h, w = dimensions(img)
        th, tw = output_size
        if h < th or w < tw:
            raise ValueError(f"Required crop size {(th, tw)} is larger than input image size {(h, w)}")
        if (h, w) == (th, tw):
            return 0, 0, h, w
        top = drawing.whole(0, h - th + 1)
        return top, drawing.whole(0, w - tw + 1), th, tw

    def forward(self, img: Any) -> Any:
        """The crop."""
        if self.padding is not None:
            img = F.pad(img, self.padding, self.fill, self.padding_mode)
        _, height, width = dimensions(img)
        if self.pad_if_needed and width < self.size[1]:
            img = F.pad(img, [self.size[1] - width, 0], self.fill, self.padding_mode)
        if self.pad_if_needed and height < self.size[0]:
            img = F.pad(img, [0, self.size[0] - height], self.fill, self.padding_mode)
        return F.crop(img, *self.get_params(img, self.size))

    def shown(self) -> str:
        """Size and padding."""
        return f"size={self.size}, padding={self.padding}"


def _check_ranges(scale: Any, ratio: Any) -> None:
    if not isinstance(scale, Sequence):
        raise TypeError("Scale should be a sequence")
    if not isinstance(ratio, Sequence):
        raise TypeError("Ratio should be a sequence")
    if scale[0] > scale[1] or ratio[0] > ratio[1]:
        warnings.warn("Scale and ratio should be of kind (min, max)", stacklevel=3)


class RandomResizedCrop(Geometric):
    """A rectangle of random area and shape (Inception's crop), resampled to `size`."""

    def __init__(
        self, size: Any, scale: Any = (0.08, 1.0), ratio: Any = (3.0 / 4.0, 4.0 / 3.0), interpolation: Any = "bilinear",
        antialias: bool | None = True,
    ) -> None:  # fmt: skip
        super().__init__()
        self.size = two(size)
        _check_ranges(scale, ratio)
        self.scale = scale
        self.ratio = ratio
        self.interpolation = self.mode(interpolation)
        self.antialias = antialias

    @staticmethod
    def get_params(img: Any, scale: Any, ratio: Any) -> tuple[int, int, int, int]:
        """(top, left, height, width): ten tries, then the largest middle crop of an allowed shape."""
        _, height, width = dimensions(img)
        for _ in range(10):
            area = height * width * drawing.between(scale[0], scale[1])
            shape = drawing.ratio(ratio[0], ratio[1])
            w, h = int(round(math.sqrt(area * shape))), int(round(math.sqrt(area / shape)))
            if 0 < w <= width and 0 < h <= height:
                top = drawing.whole(0, height - h + 1)
                return top, drawing.whole(0, width - w + 1), h, w
        h, w = height, width
        if width / height < min(ratio):
            h = int(round(w / min(ratio)))
        elif width / height > max(ratio):
            w = int(round(h * max(ratio)))
        return (height - h) // 2, (width - w) // 2, h, w

    def draw(self, img: Any) -> dict[str, Any]:
        """The rectangle."""
        return dict(zip(("top", "left", "height", "width"), self.get_params(img, self.scale, self.ratio), strict=True))

    def apply(self, img: Any, **box: int) -> Any:
        """The resampled rectangle."""
        return F.resized_crop(img, **box, size=self.size, interpolation=self.interpolation_for(img), antialias=self.antialias)

    def shown(self) -> str:
        """All arguments, ranges rounded."""
        scale, ratio = (tuple(round(x, 4) for x in pair) for pair in (self.scale, self.ratio))
        mode = getattr(self.interpolation, "value", self.interpolation)
        return f"size={self.size}, scale={scale}, ratio={ratio}, interpolation={mode}, antialias={self.antialias}"


class RandomHorizontalFlip(Sometimes, Geometric):
    """Left and right exchanged, sometimes."""

    def apply(self, img: Any) -> Any:
        """The mirror image."""
        return F.hflip(img)


class RandomVerticalFlip(Sometimes, Geometric):
    """Top and bottom exchanged, sometimes."""

    def apply(self, img: Any) -> Any:
        """The mirror image."""
        return F.vflip(img)


class RandomRotation(Geometric):
    """Turned by a random angle."""

    def __init__(
        self, degrees: Any, interpolation: Any = "nearest", expand: bool = False, center: Any = None, fill: Any = 0
    ) -> None:  # fmt: skip
        super().__init__()
        self.degrees = angles(degrees, "degrees")
        self.interpolation = self.mode(interpolation)
        self.expand = expand
        self.fill = _check_fill(fill)
        if center is not None:
            check_sequence(center, "center", (2,))
        self.center = center

    @staticmethod
    def get_params(degrees: Any) -> float:
        """An angle."""
        return drawing.between(degrees[0], degrees[1])

    def draw(self, img: Any) -> dict[str, Any]:
        """The angle."""
        return {"angle": self.get_params(self.degrees)}

    def apply(self, img: Any, angle: float) -> Any:
        """The turned image."""
        return F.rotate(img, angle, self.interpolation_for(img), self.expand, self.center, self.fill_for(img))

    def shown(self) -> str:
        """All arguments that are set."""
        text = f"degrees={self.degrees}, interpolation={self.interpolation.value}, expand={self.expand}"
        text += f", center={self.center}" if self.center is not None else ""
        return text + (f", fill={self.fill}" if self.fill is not None else "")


class RandomAffine(Geometric):
    """Turned, shifted, scaled and sheared at random."""

    def __init__(
        self, degrees: Any, translate: Any = None, scale: Any = None, shear: Any = None, interpolation: Any = "nearest",
        fill: Any = 0, center: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.degrees = angles(degrees, "degrees")
        if translate is not None:
            check_sequence(translate, "translate", (2,))
            if any(not 0.0 <= t <= 1.0 for t in translate):
                raise ValueError("translation values should be between 0 and 1")
        self.translate = translate
        if scale is not None:
            check_sequence(scale, "scale", (2,))
            if any(s <= 0 for s in scale):
                raise ValueError("scale values should be positive")
        self.scale = scale
        self.shear = angles(shear, "shear", (2, 4)) if shear is not None else None
        self.interpolation = self.mode(interpolation)
        self.fill = _check_fill(fill)
        if center is not None:
            check_sequence(center, "center", (2,))
        self.center = center

    @staticmethod
    def get_params(degrees: Any, translate: Any, scale_ranges: Any, shears: Any, img_size: Any) -> tuple[Any, ...]:
        """(angle, (right, down), scale, (shear x, shear y)) for an image of (width, height)."""
        angle, shift, scale, shear = drawing.between(degrees[0], degrees[1]), (0, 0), 1.0, (0.0, 0.0)
        if translate is not None:
            x, y = (float(part * n) for part, n in zip(translate, img_size, strict=True))
            right = int(round(drawing.between(-x, x)))
            shift = (right, int(round(drawing.between(-y, y))))
        if scale_ranges is not None:
            scale = drawing.between(scale_ranges[0], scale_ranges[1])
        if shears is not None:
            first = drawing.between(shears[0], shears[1])
            shear = (first, drawing.between(shears[2], shears[3]) if len(shears) == 4 else 0.0)
        return angle, shift, scale, shear

    def draw(self, img: Any) -> dict[str, Any]:
        """The map's parts."""
        _, height, width = dimensions(img)
        drawn = self.get_params(self.degrees, self.translate, self.scale, self.shear, [width, height])
        return dict(zip(("angle", "translate", "scale", "shear"), drawn, strict=True))

    def apply(self, img: Any, **parts: Any) -> Any:
        """The mapped image."""
        return F.affine(img, **parts, interpolation=self.interpolation_for(img), fill=self.fill_for(img), center=self.center)

    def shown(self) -> str:
        """All arguments that are set."""
        text = f"degrees={self.degrees}"
        for name in ("translate", "scale", "shear"):
            text += f", {name}={getattr(self, name)}" if getattr(self, name) is not None else ""
        text += f", interpolation={self.interpolation.value}" if self.interpolation != InterpolationMode.NEAREST else ""
        text += f", fill={self.fill}" if self.fill != 0 else ""
        return text + (f", center={self.center}" if self.center is not None else "")


class RandomPerspective(Sometimes, Geometric):
    """The corners moved inwards at random, sometimes."""

    def __init__(
        self, distortion_scale: float = 0.5, p: float = 0.5, interpolation: Any = "bilinear", fill: Any = 0
    ) -> None:  # fmt: skip
        super().__init__(p)
        self.distortion_scale = distortion_scale
        self.interpolation = self.mode(interpolation)
        self.fill = _check_fill(fill)

    @staticmethod
    def get_params(width: int, height: int, distortion_scale: float) -> tuple[list[list[int]], list[list[int]]]:
        """Where the corners are, and where they go: [x, y] from the top left clockwise."""
        dx, dy = int(distortion_scale * (width // 2)) + 1, int(distortion_scale * (height // 2)) + 1
        ends = [
            [drawing.whole(width - dx, width) if right else drawing.whole(0, dx),
             drawing.whole(height - dy, height) if low else drawing.whole(0, dy)]
            for right, low in ((False, False), (True, False), (True, True), (False, True))
        ]  # fmt: skip
        return [[0, 0], [width - 1, 0], [width - 1, height - 1], [0, height - 1]], ends

    def draw(self, img: Any) -> dict[str, Any]:
        """The corners."""
        _, height, width = dimensions(img)
        return dict(zip(("start", "end"), self.get_params(width, height, self.distortion_scale), strict=True))

    def apply(self, img: Any, start: Any, end: Any) -> Any:
        """The distorted image."""
        return F.perspective(img, start, end, self.interpolation_for(img), self.fill_for(img))


def _floats(x: Any, name: str) -> list[float]:
    if not isinstance(x, (float, Sequence)):
        raise TypeError(f"{name} should be float or a sequence of floats. Got {type(x)}")
    if isinstance(x, Sequence) and len(x) != 2:
        raise ValueError(f"If {name} is a sequence its length should be 2. Got {len(x)}")
    for element in x if isinstance(x, Sequence) else ():
        if not isinstance(element, float):
            raise TypeError(f"{name} should be a sequence of floats. Got {type(element)}")
    return [x, x] if isinstance(x, float) else list(x)


class ElasticTransform(Geometric):
    """Pixels displaced by smoothed noise of strength `alpha` and smoothness `sigma`."""

    def __init__(self, alpha: Any = 50.0, sigma: Any = 5.0, interpolation: Any = "bilinear", fill: Any = 0) -> None:
        super().__init__()
        self.alpha = self.floats(alpha, "alpha")
        self.sigma = self.floats(sigma, "sigma")
        self.interpolation = self.mode(interpolation)
        self.fill = self.filling(fill)

    floats = staticmethod(_floats)

    def filling(self, fill: Any) -> Any:
        """The fill as it is kept."""
        if not isinstance(fill, (int, float, list, tuple)):
            raise TypeError(f"fill should be int or float or a list or tuple of them. Got {type(fill)}")
        return [float(f) for f in fill] if isinstance(fill, (list, tuple)) else [float(fill)]

    @staticmethod
    def get_params(alpha: Any, sigma: Any, size: list[int]) -> Tensor:
        """Displacements [1, height, width, 2] in units of half the image."""
        parts = []
        for axis in (0, 1):
            noise = rand(1, 1, *size) * 2 - 1
            if sigma[axis] > 0.0:
                k = int(8 * sigma[axis] + 1)
                noise = F.gaussian_blur(noise, [k + 1 - k % 2] * 2, list(sigma))
            parts.append(noise * alpha[axis] / size[1 - axis])
        return cat(parts, 1).permute(0, 2, 3, 1)

    def draw(self, img: Any) -> dict[str, Any]:
        """The displacement."""
        return {"displacement": self.get_params(self.alpha, self.sigma, dimensions(img)[1:])}

    def apply(self, img: Any, displacement: Tensor) -> Any:
        """The deformed image."""
        return F.elastic_transform(img, displacement, self.interpolation_for(img), self.fill_for(img))

    def shown(self) -> str:
        """All arguments."""
        return f"alpha={self.alpha}, sigma={self.sigma}, interpolation={self.interpolation}, fill={self.fill}"
