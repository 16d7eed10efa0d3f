"""torchvision.transforms.v2: the same transforms over samples of any structure, and a few of its own."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...nn.module import Module
from ...tensor import Tensor
from .. import images, tv_tensors
from ..images import InterpolationMode, dimensions, is_pil
from . import colour, drawing, geometry, policies, v2_functional
from . import functional as F
from .policies import AutoAugmentPolicy
from .transform import Sometimes, Structured, Transform as _Transform, is_pure
from .v2_boxes import ClampBoundingBoxes, ConvertBoundingBoxFormat, SanitizeBoundingBoxes
from .v2_transform import Transform

functional = v2_functional


def _structured(base: type) -> Any:
    """The v2 form of a transform that differs in nothing but its interface."""
    return type(base.__name__, (Structured, base), {"__doc__": base.__doc__, "__module__": __name__})


CenterCrop, RandomResizedCrop, FiveCrop, TenCrop, RandomHorizontalFlip, RandomVerticalFlip, RandomRotation, RandomAffine = (
    _structured(getattr(geometry, name)) for name in (
        "CenterCrop", "RandomResizedCrop", "FiveCrop", "TenCrop", "RandomHorizontalFlip", "RandomVerticalFlip", "RandomRotation",
        "RandomAffine",
    )
)  # fmt: skip
RandomPerspective = _structured(geometry.RandomPerspective)
(ColorJitter, Grayscale, RandomGrayscale, RandomInvert, RandomAutocontrast, RandomSolarize, RandomAdjustSharpness,
 LinearTransformation) = (
    _structured(getattr(colour, name)) for name in (
        "ColorJitter", "Grayscale", "RandomGrayscale", "RandomInvert", "RandomAutocontrast", "RandomSolarize",
        "RandomAdjustSharpness", "LinearTransformation",
    )
)  # fmt: skip


class RandomPosterize(Structured, colour.RandomPosterize):
    """Only the highest bits, sometimes; floats, too."""

    def apply(self, img: Any) -> Any:
        """The changed image."""
        return functional.posterize(img, self.bits)


class RandomEqualize(Structured, colour.RandomEqualize):
    """All values about equally frequent, sometimes; floats, too."""

    def apply(self, img: Any) -> Any:
        """The changed image."""
        return functional.equalize(img)


class Resize(Structured, geometry.Resize):
    """To [h, w], the shorter edge to `size`, or (size None) the longer edge to `max_size`."""

    def checked(self, size: Any, max_size: int | None) -> Any:
        """A list, or None."""
        if isinstance(size, int):
            return [size]
        if isinstance(size, Sequence) and len(size) in (1, 2):
            return list(size)
        if size is not None:
            raise ValueError(f"size can be an integer, a sequence of one or two integers, or None, but got {size} instead.")
        if not isinstance(max_size, int):
            raise ValueError(f"max_size must be an integer when size is None, but got {max_size} instead.")
        return None


class Pad(Structured, geometry.Pad):
    """A border."""

    def __init__(self, padding: Any, fill: Any = 0, padding_mode: str = "constant") -> None:
        super().__init__(padding if isinstance(padding, int) else list(padding), fill, padding_mode)

    def apply(self, img: Any) -> Any:
        """The image with its border."""
        return F.pad(img, self.padding, self.fill_for(img), self.padding_mode)


class RandomCrop(Structured, geometry.RandomCrop):
    """A crop at a random place, after padding. A side that fits draws no number."""

    def __init__(
        self, size: Any, padding: Any = None, pad_if_needed: bool = False, fill: Any = 0, padding_mode: str = "constant"
    ) -> None:  # fmt: skip
        super().__init__(size, padding, pad_if_needed, fill, padding_mode)
        if padding:
            left, top, right, bottom = geometry.F.array_kernels.sides(padding)
            self.padding = [left, right, top, bottom]

    def draw(self, img: Any) -> dict[str, Any]:
        """Padding and place."""
        _, height, width = dimensions(img)
        left, right, top, bottom = self.padding or (0, 0, 0, 0)
        height, width = height + top + bottom, width + left + right
        h, w = self.size
        if self.pad_if_needed:
            y, x = max(h - height, 0), max(w - width, 0)
            left, right, top, bottom = left + x, right + x, top + y, bottom + y
            height, width = height + 2 * y, width + 2 * x
        if height < h or width < w:
            raise ValueError(
                f"Required crop size {(h, w)} is larger than {'padded ' if self.padding is not None else ''}input image size "
                f"{(height, width)}."
            )
        y = drawing.whole(0, height - h + 1) if height > h else 0
        x = drawing.whole(0, width - w + 1) if width > w else 0
        return {"padding": [left, top, right, bottom], "box": (y, x, h, w), "cut": height > h or width > w}

    def apply(self, img: Any, padding: list[int], box: tuple[int, ...], cut: bool) -> Any:
        """The crop."""
        if any(padding):
            img = F.pad(img, padding, self.fill_for(img), self.padding_mode)
        return F.crop(img, *box) if cut else img

    forward = Structured.forward


class ElasticTransform(Structured, geometry.ElasticTransform):
    """Pixels displaced by smoothed noise."""

    def filling(self, fill: Any) -> Any:
        """Kept as it was given."""
        return fill


class Normalize(Structured, colour.Normalize):
    """(x - mean) / std by channel; tensors only."""

    def __init__(self, mean: Any, std: Any, inplace: bool = False) -> None:
        super().__init__(list(mean), list(std), inplace)

    def apply(self, img: Any) -> Any:
        """The normalised tensor."""
        if is_pil(img):
            raise TypeError(f"{type(self).__name__}() does not support PIL images.")
        return super().apply(img)


class GaussianBlur(Structured, colour.GaussianBlur):
    """Blurred with a random deviation."""

    def __init__(self, kernel_size: Any, sigma: Any = (0.1, 2.0)) -> None:
        super().__init__(kernel_size, sigma)
        self.sigma = [float(s) for s in self.sigma]


class RandomErasing(Structured, colour.RandomErasing):
    """A random rectangle of a tensor image filled, sometimes."""

    def __init__(
        self, p: float = 0.5, scale: Any = (0.02, 0.33), ratio: Any = (0.3, 3.3), value: Any = 0.0, inplace: bool = False
    ) -> None:  # fmt: skip
        super().__init__(p, scale, ratio, value, inplace)
        if isinstance(value, str):
            self.value = None
        else:
            self.value = [float(v) for v in (value if isinstance(value, (list, tuple)) else [value])]

    def apply(self, img: Any, **rectangle: Any) -> Any:
        """The image with a hole."""
        if is_pil(img):
            return images.to_pil_image(super().apply(images.pil_to_tensor(img), **rectangle), mode=img.mode)
        return super().apply(img, **rectangle)


class _Chain:
    """Containers of v2 pass every argument on to their transforms."""

    def __init__(self, transforms: Any, word: str = "sequence of callables") -> None:
        Module.__init__(self)  # type: ignore[arg-type]  # mixed into one
        if not isinstance(transforms, Sequence) and not hasattr(transforms, "append"):
            raise TypeError(f"Argument transforms should be a {word}")
        if not transforms:
            raise ValueError("Pass at least one transform")
        self.transforms = transforms

    def run(self, transforms: Any, inputs: tuple[Any, ...]) -> Any:
        """One after the other."""
        several = len(inputs) > 1
        for t in transforms:
            outputs = t(*inputs)
            inputs = outputs if several else (outputs,)
        return inputs if several else inputs[0]


class Compose(_Chain, Transform):
    """One after the other."""

    def forward(self, *inputs: Any) -> Any:
        """The transformed sample."""
        return self.run(self.transforms, inputs)

    def extra_repr(self) -> str:
        """One line each."""
        return "\n".join(f"    {t}" for t in self.transforms)


class RandomApply(_Chain, Transform):
    """All of them, or none."""

    def __init__(self, transforms: Any, p: float = 0.5) -> None:
        super().__init__(transforms, "sequence of callables or a `nn.ModuleList`")
        if not 0.0 <= p <= 1.0:
            raise ValueError("`p` should be a floating point value in the interval [0.0, 1.0].")
        self.p = p

    def forward(self, *inputs: Any) -> Any:
        """The transformed sample, or the sample."""
        return self.run(self.transforms if drawing.happens(self.p) else (), inputs)

    extra_repr = Compose.extra_repr


class RandomChoice(_Chain, Transform):
    """One of them, drawn from torch's generator."""

    def __init__(self, transforms: Any, p: Any = None) -> None:
        super().__init__(transforms)
        p = [1] * len(transforms) if p is None else p
        if len(p) != len(transforms):
            raise ValueError(f"Length of p doesn't match the number of transforms: {len(p)} != {len(transforms)}")
        self.p = [chance / sum(p) for chance in p]

    def forward(self, *inputs: Any) -> Any:
        """The transformed sample."""
        return self.transforms[drawing.choice(self.p)](*inputs)


class RandomOrder(_Chain, Transform):
    """All of them, in an order of torch's generator."""

    def forward(self, *inputs: Any) -> Any:
        """The transformed sample."""
        return self.run([self.transforms[i] for i in drawing.order(len(self.transforms))], inputs)


class _Drawn(Structured):
    """Policies in v2 draw signs as ``torch.rand(()) <= 0.5`` and scale thresholds to the dtype."""

    functions = functional
    bright = 1.0

    def coin(self) -> bool:
        """Whether a magnitude turns negative."""
        return drawing.unit() <= 0.5


class AutoAugment(_Drawn, policies.AutoAugment):
    """A learned policy (https://arxiv.org/abs/1805.09501)."""

    def apply(self, img: Any) -> Any:
        """The changed image."""
        space = self.space(img)
        for name, p, at in self._policies[drawing.below(len(self._policies))]:
            if drawing.unit() <= np.float32(p):
                img = self.stepped(img, space, name, lambda at=at: at)
        return img


class RandAugment(_Drawn, policies.RandAugment):
    """A few operations at one magnitude (https://arxiv.org/abs/1909.13719)."""


class TrivialAugmentWide(_Drawn, policies.TrivialAugmentWide):
    """One operation at a random magnitude (https://arxiv.org/abs/2103.10158)."""


class AugMix(_Drawn, policies.AugMix):
    """Chains of operations, mixed (https://arxiv.org/abs/1912.02781)."""


class Identity(Transform):
    """Nothing."""

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """The same."""
        return inpt


class RGB(Transform):
    """Grey images in three channels."""

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """Three channels."""
        return functional.grayscale_to_rgb(inpt)


class Lambda(Transform):
    """A function, on every leaf of the given types."""

    def __init__(self, lambd: Any, *types: type) -> None:
        super().__init__()
        self.lambd = lambd
        self.types = types or (object,)

    def _chosen(self, leaves: list[Any]) -> list[bool]:
        return [isinstance(leaf, self.types) for leaf in leaves]

    def _transformed(self, leaf: Any, drawn: dict[str, Any]) -> Any:
        return self.lambd(leaf)

    def draw(self, img: Any) -> dict[str, Any]:
        """Nothing."""
        return {}

    def extra_repr(self) -> str:
        """The function's name and the types."""
        name = getattr(self.lambd, "__name__", None)
        return ", ".join([*([name] if name else []), f"types={[t.__name__ for t in self.types]}"])


class ToTensor(Transform):
    """Pictures and arrays as floats; v2 prefers ToImage and ToDtype."""

    takes = staticmethod(lambda value: is_pil(value) or isinstance(value, np.ndarray))

    def __init__(self) -> None:
        warnings.warn(
            "The transform `ToTensor()` is deprecated and will be removed in a future release. Instead, please use "
            "`v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])`.Output is equivalent up to float precision.",
            stacklevel=2,
        )
        super().__init__()

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """The tensor."""
        return images.to_tensor(inpt)

    _transformed = Transform.apply

    def draw(self, img: Any) -> dict[str, Any]:
        """Nothing."""
        return {}


class PILToTensor(ToTensor):
    """Pictures as tensors of their own element type."""

    takes = staticmethod(is_pil)

    def __init__(self) -> None:
        Transform.__init__(self)

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """The tensor."""
        return images.pil_to_tensor(inpt)


class ToImage(PILToTensor):
    """Pictures, arrays [h, w, c] and tensors as tv_tensors.Image."""

    takes = staticmethod(lambda value: is_pil(value) or isinstance(value, np.ndarray) or is_pure(value))

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """The image."""
        return functional.to_image(inpt)


class ToPILImage(PILToTensor):
    """Tensors and arrays as pictures."""

    takes = staticmethod(
        lambda value: isinstance(value, np.ndarray) or is_pure(value) or isinstance(value, tv_tensors.Image)
    )  # fmt: skip

    def __init__(self, mode: str | None = None) -> None:
        super().__init__()
        self.mode = mode  # type: ignore[assignment]  # PyTorch's name for the picture's mode

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """The picture."""
        return images.to_pil_image(inpt, self.mode)


class ToPureTensor(PILToTensor):
    """tv_tensors as plain tensors."""

    takes = staticmethod(lambda value: isinstance(value, tv_tensors.TVTensor))

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """The plain tensor."""
        return inpt.view(inpt.shape)


class ToDtype(Transform):
    """Another dtype (or one for each kind of tensor); `scale` keeps full brightness full brightness."""

    takes = staticmethod(lambda value: isinstance(value, Tensor))

    def __init__(self, dtype: Any, scale: bool = False) -> None:
        super().__init__()
        if not isinstance(dtype, (dict, images.DType)):
            raise ValueError(f"dtype must be a dict or a torch.dtype, got {type(dtype)} instead")
        self.dtype = dtype
        self.scale = scale

    def draw(self, img: Any) -> dict[str, Any]:
        """Nothing."""
        return {}

    def _transformed(self, leaf: Any, drawn: dict[str, Any]) -> Any:
        image = is_pure(leaf) or isinstance(leaf, (tv_tensors.Image, tv_tensors.Video))
        if not isinstance(self.dtype, dict):
            return functional.to_dtype(leaf, self.dtype, self.scale) if image else leaf
        if type(leaf) not in self.dtype and "others" not in self.dtype:
            raise ValueError(
                f"No dtype was specified for type {type(leaf)}. If you only need to convert the dtype of images or videos, you can "
                'just pass e.g. dtype=torch.float32. If you\'re passing a dict as dtype, you can use "others" as a catch-all key '
                'e.g. dtype={tv_tensors.Mask: torch.int64, "others": None} to pass-through the rest of the inputs.'
            )
        dtype = self.dtype.get(type(leaf), self.dtype.get("others"))
        if dtype is None:
            return leaf
        return functional.to_dtype(leaf, dtype, self.scale and image)


class ConvertImageDtype(ToDtype):
    """ToDtype with scale."""

    def __init__(self, dtype: Any = images.DTYPES["float32"]) -> None:
        super().__init__(dtype, True)

    def extra_repr(self) -> str:
        """Nothing."""
        return ""


class RandomResize(Structured, geometry.Geometric):
    """The shorter edge to a random size in [min_size, max_size)."""

    def __init__(self, min_size: int, max_size: int, interpolation: Any = "bilinear", antialias: bool | None = True) -> None:
        super().__init__()
        self.min_size = min_size
        self.max_size = max_size
        self.interpolation = interpolation
        self.antialias = antialias

    def draw(self, img: Any) -> dict[str, Any]:
        """The size."""
        return {"size": [drawing.whole(self.min_size, self.max_size)]}

    def apply(self, img: Any, size: Any) -> Any:
        """The resized image."""
        return F.resize(img, size, self.interpolation_for(img), antialias=self.antialias)


class RandomShortestSize(RandomResize):
    """The shorter edge to one of several sizes, the longer one at most `max_size`."""

    def __init__(self, min_size: Any, max_size: int | None = None, interpolation: Any = "bilinear", antialias: bool | None = True) -> None:
        super().__init__([min_size] if isinstance(min_size, int) else list(min_size), max_size, interpolation, antialias)  # type: ignore[arg-type]  # both kinds

    def draw(self, img: Any) -> dict[str, Any]:
        """The size."""
        _, height, width = dimensions(img)
        r = self.min_size[drawing.below(len(self.min_size))] / min(height, width)  # type: ignore[index,arg-type]  # a list here
        r = r if self.max_size is None else min(r, self.max_size / max(height, width))
        return {"size": (int(height * r), int(width * r))}


class ScaleJitter(RandomResize):
    """Fitted into `target_size`, times a random scale."""

    def __init__(
        self, target_size: Any, scale_range: Any = (0.1, 2.0), interpolation: Any = "bilinear", antialias: bool | None = True
    ) -> None:  # fmt: skip
        _Transform.__init__(self)
        self.target_size = target_size
        self.scale_range = scale_range
        self.interpolation = interpolation
        self.antialias = antialias

    def draw(self, img: Any) -> dict[str, Any]:
        """The size."""
        _, height, width = dimensions(img)
        low, high = self.scale_range
        scale = low + np.float32(drawing.unit()) * (high - low)
        r = np.float32(min(self.target_size[1] / height, self.target_size[0] / width)) * np.float32(scale)
        return {"size": (int(np.float32(height) * r), int(np.float32(width) * r))}


class RandomZoomOut(Structured, Sometimes, geometry.Geometric):
    """Placed at random on a larger canvas, sometimes."""

    def __init__(self, fill: Any = 0, side_range: Any = (1.0, 4.0), p: float = 0.5) -> None:
        super().__init__(p)
        self.fill = fill
        if side_range[0] < 1.0 or side_range[0] > side_range[1]:
            raise ValueError(f"Invalid side range provided {side_range}.")
        self.side_range = side_range

    def draw(self, img: Any) -> dict[str, Any]:
        """The borders."""
        _, height, width = dimensions(img)
        low, high = self.side_range
        r = np.float32(low) + np.float32(drawing.unit()) * np.float32(high - low)
        w, h = int(np.float32(width) * r), int(np.float32(height) * r)
        left = int(np.float32(w - width) * np.float32(drawing.unit()))
        top = int(np.float32(h - height) * np.float32(drawing.unit()))
        return {"padding": [left, top, w - left - width, h - top - height]}

    def apply(self, img: Any, padding: list[int]) -> Any:
        """The canvas."""
        return F.pad(img, padding, self.fill_for(img))


class GaussianNoise(Transform):
    """Normal noise added to float images."""

    def __init__(self, mean: float = 0.0, sigma: float = 0.1, clip: bool = True) -> None:
        super().__init__()
        self.mean = mean
        self.sigma = sigma
        self.clip = clip

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """The noisy image."""
        return functional.gaussian_noise(inpt, self.mean, self.sigma, self.clip)


class RandomPhotometricDistort(Transform):
    """Colours changed and channels exchanged, each sometimes (SSD's augmentation)."""

    def __init__(
        self, brightness: Any = (0.875, 1.125), contrast: Any = (0.5, 1.5), saturation: Any = (0.5, 1.5), hue: Any = (-0.05, 0.05),
        p: float = 0.5,
    ) -> None:  # fmt: skip
        super().__init__()
        self.brightness = brightness
        self.contrast = contrast
        self.hue = hue
        self.saturation = saturation
        self.p = p

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """Factors, the place of contrast, a permutation."""
        ranges = (self.brightness, self.contrast, self.saturation, self.hue)
        factors = [drawing.between(*r) if drawing.happens(self.p) else None for r in ranges]
        early = drawing.happens(0.5)
        channels = drawing.order(dimensions(flat_inputs[0])[0]) if drawing.happens(self.p) else None
        return {"factors": factors, "order": (0, 1, 2, 3) if early else (0, 2, 3, 1), "channels": channels}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """The changed image."""
        for i in params["order"]:
            if params["factors"][i] is not None:
                inpt = colour._ADJUST[i](inpt, params["factors"][i])
        return inpt if params["channels"] is None else functional.permute_channels(inpt, params["channels"])


class RandomChannelPermutation(Transform):
    """Channels in random order."""

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """The order."""
        return {"permutation": drawing.order(dimensions(flat_inputs[0])[0])}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """The permuted image."""
        return functional.permute_channels(inpt, params["permutation"])


__all__ = [name for name, value in list(globals().items()) if isinstance(value, type) and not name.startswith("_")
           and name not in ("Any", "Sequence", "Module", "Tensor", "Sometimes", "Structured")]  # fmt: skip
__all__ += ["functional"]
