"""torchvision.transforms._presets: what images go through before trained models: resized, cropped, floats, normalised."""

from __future__ import annotations

from typing import Any

from ...nn import Module
from ...tensor import Tensor
from .. import images
from ..images import InterpolationMode
from ..transforms import functional as F


class _Preset(Module):
    """Prints what it was made with."""

    _names: tuple[str, ...] = ("resize_size", "mean", "std", "interpolation")

    def __repr__(self) -> str:
        return "".join([f"{type(self).__name__}(", *[f"\n    {n}={getattr(self, n)}" for n in self._names], "\n)"])


def _normalised(img: Any, mean: list[float], std: list[float]) -> Tensor:
    if not isinstance(img, Tensor):
        img = images.pil_to_tensor(img)
    return F.normalize(images.convert_image_dtype(img), mean, std)


class ImageClassification(_Preset):
    """Resized, cropped in the middle, floats, normalised: what classifiers were trained on."""

    _names = ("crop_size", *_Preset._names)

    def __init__(
        self, *, crop_size: int, resize_size: int = 256, mean: Any = (0.485, 0.456, 0.406), std: Any = (0.229, 0.224, 0.225),
        interpolation: InterpolationMode = InterpolationMode.BILINEAR, antialias: bool | None = True,
    ) -> None:  # fmt: skip
        super().__init__()
        self.crop_size = [crop_size]
        self.resize_size = [resize_size]
        self.mean = list(mean)
        self.std = list(std)
        self.interpolation = interpolation
        self.antialias = antialias

    def forward(self, img: Any) -> Tensor:
        """float32 [..., 3, crop, crop] of a picture or tensor image."""
        img = F.resize(img, self.resize_size, self.interpolation, antialias=self.antialias)
        img = F.center_crop(img, self.crop_size)
        return _normalised(img, self.mean, self.std)


class SemanticSegmentation(_Preset):
    """Resized (unless `resize_size` is None), floats, normalised: what scores every pixel was trained on."""

    def __init__(
        self, *, resize_size: int | None, mean: Any = (0.485, 0.456, 0.406), std: Any = (0.229, 0.224, 0.225),
        interpolation: InterpolationMode = InterpolationMode.BILINEAR, antialias: bool | None = True,
    ) -> None:  # fmt: skip
        super().__init__()
        self.resize_size = None if resize_size is None else [resize_size]
        self.mean = list(mean)
        self.std = list(std)
        self.interpolation = interpolation
        self.antialias = antialias

    def forward(self, img: Any) -> Tensor:
        """float32 [..., 3, h, w] of a picture or tensor image, its shorter side as long as `resize_size`."""
        if self.resize_size is not None:
            img = F.resize(img, self.resize_size, self.interpolation, antialias=self.antialias)
        return _normalised(img, self.mean, self.std)


class ObjectDetection(_Preset):
    """Floats: detectors resize and normalise."""

    _names = ()

    def forward(self, img: Any) -> Tensor:
        """float32 [..., 3, h, w] of a picture or tensor image."""
        return F.convert_image_dtype(img if isinstance(img, Tensor) else F.pil_to_tensor(img))

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class VideoClassification(_Preset):
    """Frames resized, cropped in the middle, floats, normalised, channels before frames."""

    _names = ("crop_size", *_Preset._names)

    def __init__(
        self, *, crop_size: Any, resize_size: Any, mean: Any = (0.43216, 0.394666, 0.37645), std: Any = (0.22803, 0.22145, 0.216989),
        interpolation: InterpolationMode = InterpolationMode.BILINEAR,
    ) -> None:  # fmt: skip
        super().__init__()
        self.crop_size = list(crop_size)
        self.resize_size = list(resize_size)
        self.mean = list(mean)
        self.std = list(std)
        self.interpolation = interpolation

    def forward(self, vid: Tensor) -> Tensor:
        """float32 [..., 3, frames, h, w] of clips [..., frames, 3, h, w]."""
        flat = vid.reshape(-1, *vid.shape[-3:])
        flat = F.resize(flat, self.resize_size, self.interpolation, antialias=False)
        flat = _normalised(F.center_crop(flat, self.crop_size), self.mean, self.std)
        return flat.reshape(*vid.shape[:-3], *flat.shape[-3:]).transpose(-4, -3)
