"""Transforms made of others, and those that change what an image is held in."""

from __future__ import annotations

import random as python_random
from collections.abc import Callable, Sequence
from typing import Any

from ...nn.module import Module
from .. import images
from . import drawing
from .transform import Transform


def _lines(transforms: Any) -> str:
    return "".join(f"\n    {t}" for t in transforms)


class Compose:
    """One after the other."""

    def __init__(self, transforms: Any) -> None:
        self.transforms = transforms

    def __call__(self, img: Any) -> Any:
        for t in self.transforms:
            img = t(img)
        return img

    def __repr__(self) -> str:
        return f"{type(self).__name__}({_lines(self.transforms)}\n)"


class RandomTransforms:
    """Transforms of which some are chosen."""

    def __init__(self, transforms: Any) -> None:
        if not isinstance(transforms, Sequence):
            raise TypeError("Argument transforms should be a sequence")
        self.transforms = transforms

    def __repr__(self) -> str:
        return f"{type(self).__name__}({_lines(self.transforms)}\n)"


class RandomOrder(RandomTransforms):
    """All of them, in an order of Python's random module."""

    def __call__(self, img: Any) -> Any:
        order = list(range(len(self.transforms)))
        python_random.shuffle(order)
        for i in order:
            img = self.transforms[i](img)
        return img


class RandomChoice(RandomTransforms):
    """One of them, chosen by Python's random module."""

    def __init__(self, transforms: Any, p: Any = None) -> None:
        super().__init__(transforms)
        if p is not None and not isinstance(p, Sequence):
            raise TypeError("Argument p should be a sequence")
        self.p = p

    def __call__(self, *args: Any) -> Any:
        return python_random.choices(self.transforms, weights=self.p)[0](*args)

    def __repr__(self) -> str:
        return f"{super().__repr__()}(p={self.p})"


class RandomApply(Module):
    """All of them, or none."""

    def __init__(self, transforms: Any, p: float = 0.5) -> None:
        super().__init__()
        self.transforms = transforms
        self.p = p

    def forward(self, img: Any) -> Any:
        """The transformed image, or the image."""
        if self.p < drawing.unit():
            return img
        for t in self.transforms:
            img = t(img)
        return img

    def __repr__(self) -> str:
        return f"{type(self).__name__}(\n    p={self.p}{_lines(self.transforms)}\n)"


class Lambda:
    """A function."""

    def __init__(self, lambd: Callable[[Any], Any]) -> None:
        if not callable(lambd):
            raise TypeError(f"Argument lambd should be callable, got {type(lambd).__name__!r}")
        self.lambd = lambd

    def __call__(self, img: Any) -> Any:
        return self.lambd(img)

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class ToTensor:
    """A picture or array as floats [c, h, w] in [0, 1]."""

    def __call__(self, pic: Any) -> Any:
        return images.to_tensor(pic)

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class PILToTensor:
    """A picture as a tensor [c, h, w] of its own element type."""

    def __call__(self, pic: Any) -> Any:
        return images.pil_to_tensor(pic)

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class ToPILImage:
    """A tensor or array as a picture."""

    def __init__(self, mode: str | None = None) -> None:
        self.mode = mode

    def __call__(self, pic: Any) -> Any:
        return images.to_pil_image(pic, self.mode)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({'' if self.mode is None else f'mode={self.mode}'})"


class ConvertImageDtype(Transform):
    """A tensor image of another dtype, scaled along."""

    def __init__(self, dtype: Any) -> None:
        super().__init__()
        self.dtype = dtype

    def apply(self, img: Any) -> Any:
        """The converted image."""
        return images.convert_image_dtype(img, self.dtype)
