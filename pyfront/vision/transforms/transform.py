"""Transform: draws its random numbers, then works on one image (the v1 interface) or on the images of a sample (v2)."""

from __future__ import annotations

import enum
import numbers
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...nn.module import Module
from ...tensor import Tensor
from .. import tv_tensors
from ..images import InterpolationMode, dimensions, is_pil, mode_of
from . import drawing


def two(size: Any, message: str = "Please provide only two dimensions (h, w) for size.") -> Any:
    """(h, w) from a number or a sequence. ValueError with the message otherwise."""
    if isinstance(size, numbers.Number):
        return int(size), int(size)  # type: ignore[call-overload]  # a number
    if isinstance(size, Sequence) and len(size) == 1:
        return size[0], size[0]
    if len(size) != 2:
        raise ValueError(message)
    return size


def check_sequence(x: Any, name: str, sizes: tuple[int, ...]) -> None:
    """TypeError for no sequence, ValueError for another length."""
    wanted = " or ".join(str(s) for s in sizes)
    if not isinstance(x, Sequence):
        raise TypeError(f"{name} should be a sequence of length {wanted}.")
    if len(x) not in sizes:
        raise ValueError(f"{name} should be a sequence of length {wanted}.")


def angles(x: Any, name: str, sizes: tuple[int, ...] = (2,)) -> list[float]:
    """[-x, x] of a number, or the sequence as floats."""
    if isinstance(x, numbers.Number):
        if x < 0:  # type: ignore[operator]  # a number
            raise ValueError(f"If {name} is a single number, it must be positive.")
        return [-float(x), float(x)]  # type: ignore[arg-type]  # a number
    check_sequence(x, name, sizes)
    return [float(d) for d in x]


class Transform(Module):
    """Subclasses give ``draw`` (random numbers for an image, as keywords) and ``apply`` (the work)."""

    geometric = False  # whether masks go along

    def draw(self, img: Any) -> dict[str, Any]:
        """What one application draws."""
        return {}

    def apply(self, img: Any, **drawn: Any) -> Any:
        """The transformed image."""
        raise NotImplementedError

    def forward(self, img: Any) -> Any:
        """One image in, one image out."""
        return self.apply(img, **self.draw(img))

    def mode(self, interpolation: Any) -> Any:
        """How the interpolation argument is kept."""
        return InterpolationMode(interpolation) if isinstance(interpolation, str) else mode_of(interpolation)

    def interpolation_for(self, img: Any) -> Any:
        """The interpolation for this kind of image: between the labels of a mask there is nothing."""
        return InterpolationMode.NEAREST if isinstance(img, tv_tensors.Mask) else self.interpolation

    def fill_for(self, img: Any) -> Any:
        """The fill argument as the functions want it for this kind of image."""
        fill = self.fill
        if isinstance(img, tv_tensors.Mask):
            return 0
        if not isinstance(img, Tensor) or fill is None:
            return fill
        if isinstance(fill, (int, float)):
            return [float(fill)] * dimensions(img)[0]
        return [float(f) for f in fill]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.shown()})"

    def shown(self) -> str:
        """The arguments in the printed form."""
        return ""


class Sometimes(Transform):
    """A transform that happens with probability p."""

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        self.p = p

    def forward(self, img: Any) -> Any:
        """The transformed image, or the image."""
        return self.apply(img, **self.draw(img)) if drawing.happens(self.p) else img

    def shown(self) -> str:
        """p alone."""
        return f"p={self.p}"


def is_pure(value: Any) -> bool:
    """A tensor that is no tv_tensor."""
    return isinstance(value, Tensor) and not isinstance(value, tv_tensors.TVTensor)


def flatten(sample: Any) -> list[Any]:
    """The leaves of nested tuples, lists and dictionaries, in order."""
    if isinstance(sample, dict):
        return [leaf for value in sample.values() for leaf in flatten(value)]
    if isinstance(sample, (tuple, list)):
        return [leaf for value in sample for leaf in flatten(value)]
    return [sample]


def rebuild(sample: Any, leaves: Any) -> Any:
    """A sample of the same structure with other leaves (an iterator)."""
    if isinstance(sample, dict):
        made = {key: rebuild(value, leaves) for key, value in sample.items()}
        return made if type(sample) is dict else type(sample)(made)
    if isinstance(sample, tuple) and hasattr(sample, "_fields"):
        return type(sample)(*[rebuild(value, leaves) for value in sample])
    if isinstance(sample, (tuple, list)):
        return type(sample)(rebuild(value, leaves) for value in sample)
    return next(leaves)


_COMPANIONS = (tv_tensors.Mask, tv_tensors.BoundingBoxes)  # what goes where its image goes, and has no colours


class Structured:
    """The v2 interface: any nested sample; its images are transformed alike, everything else passes."""

    takes: Any = staticmethod(lambda value: isinstance(value, Tensor) or is_pil(value))

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        p = getattr(self, "p", None)
        if isinstance(p, (int, float)) and not 0.0 <= p <= 1.0:
            raise ValueError("`p` should be a floating point value in the interval [0.0, 1.0].")

    def forward(self, *inputs: Any) -> Any:
        """The sample (several arguments are a tuple) with its images transformed."""
        sample = inputs if len(inputs) > 1 else inputs[0]
        leaves = flatten(sample)
        if isinstance(self, Sometimes) and not drawing.happens(self.p):
            return sample
        chosen = self._chosen(leaves)
        if not any(chosen):
            return sample
        images = [leaf for leaf, wanted in zip(leaves, chosen, strict=True) if wanted]
        drawn = self.draw(next((leaf for leaf in images if not isinstance(leaf, _COMPANIONS)), images[0]))
        made = (self._transformed(leaf, drawn) if wanted else leaf for leaf, wanted in zip(leaves, chosen, strict=True))
        return rebuild(sample, made)

    def _chosen(self, leaves: list[Any]) -> list[bool]:
        """Images, videos and masks; a plain tensor only when it is the first and there is no image."""
        plain = not any(is_pil(x) or isinstance(x, (tv_tensors.Image, tv_tensors.Video)) for x in leaves)
        chosen = []
        for leaf in leaves:
            wanted = bool(self.takes(leaf))
            if wanted and is_pure(leaf):
                wanted, plain = plain, False
            chosen.append(wanted)
        return chosen

    def _transformed(self, leaf: Any, drawn: dict[str, Any]) -> Any:
        if isinstance(leaf, _COMPANIONS) and not self.geometric:
            return leaf
        made = self.apply(leaf, **drawn)
        return tv_tensors.wrap(made, like=leaf) if isinstance(made, Tensor) else made

    def mode(self, interpolation: Any) -> Any:
        """Kept as it was given."""
        return interpolation

    def __repr__(self) -> str:
        return Module.__repr__(self)

    def extra_repr(self) -> str:
        """Every public attribute that is a number, text, sequence or enum."""
        kinds = (bool, int, float, str, tuple, list, enum.Enum)
        shown = [f"{n}={v}" for n, v in self.__dict__.items() if not n.startswith("_") and n != "training" and isinstance(v, kinds)]
        return ", ".join(shown)


def array_or_image(value: Any) -> bool:
    """What becomes a tensor."""
    return is_pil(value) or isinstance(value, np.ndarray)
