"""Weights: which files trained models come from, where they are looked for, and the transforms that go with them."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Callable
from enum import Enum
from functools import cache, partial
from importlib.resources import files
from typing import Any

from ....dialects.errors import FileError
from ...files import load
from ...nn import Module
from ...tensor import Tensor
from .. import images
from ..images import InterpolationMode
from ..transforms import functional as F

_SOURCE = "https://download.pytorch.org/models/"


class ImageClassification(Module):
    """Resized, cropped in the middle, floats, normalised: what classifiers were trained on."""

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
        if not isinstance(img, Tensor):
            img = images.pil_to_tensor(img)
        return F.normalize(images.convert_image_dtype(img), self.mean, self.std)

    def __repr__(self) -> str:
        names = ("crop_size", "resize_size", "mean", "std", "interpolation")
        return "".join([f"{type(self).__name__}(", *[f"\n    {n}={getattr(self, n)}" for n in names], "\n)"])


class Weights:
    """One file of trained weights: url, transforms (a class to call), meta (categories, num_params, min_size)."""

    def __init__(self, url: str, transforms: Callable[..., Any], meta: dict[str, Any]) -> None:
        self.url = url
        self.transforms = transforms
        self.meta = meta

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Weights) and self.url == other.url

    def __hash__(self) -> int:
        return hash(self.url)


class WeightsEnum(Enum):
    """The weights of one model."""

    @classmethod
    def verify(cls, obj: Any) -> Any:
        """A member from itself or its name; None stays. TypeError and KeyError for others."""
        if isinstance(obj, str):
            return cls[obj.replace(cls.__name__ + ".", "")]
        if obj is not None and not isinstance(obj, cls):
            raise TypeError(f"Invalid Weight class provided; expected {cls.__name__} but received {type(obj).__name__}.")
        return obj

    def get_state_dict(self, *_: Any, **__: Any) -> dict[str, Tensor]:
        """The weights, from the folder PyTorch's hub keeps them in. FileError when they are not there or damaged."""
        path = os.path.join(hub_folder(), self.url.rpartition("/")[2])
        if not os.path.isfile(path):
            raise FileError(
                f"the weights {self!r} are not at {path}",
                help=f"download {self.url} into that folder, or name a file: weights='model.pth'",
            )
        _check_sum(path)
        return load(path)

    def __repr__(self) -> str:
        return f"{type(self).__name__}.{self._name_}"

    @property
    def url(self) -> str:
        """Where the file is published."""
        return self.value.url

    @property
    def transforms(self) -> Callable[..., Any]:
        """Makes the transform the model was evaluated with."""
        return self.value.transforms

    @property
    def meta(self) -> dict[str, Any]:
        """Categories, number of parameters, smallest image."""
        return self.value.meta


def hub_folder() -> str:
    """$TORCH_HOME/hub/checkpoints, or below $XDG_CACHE_HOME or ~/.cache."""
    cache_home = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    home = os.environ.get("TORCH_HOME", os.path.join(cache_home, "torch"))
    return os.path.join(os.path.expanduser(home), "hub", "checkpoints")


def _check_sum(path: str) -> None:
    """The end of the name is the beginning of the file's SHA-256."""
    wanted = os.path.splitext(path)[0].rpartition("-")[2]
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    if not digest.hexdigest().startswith(wanted):
        raise FileError(
            f"{path}: its SHA-256 begins with {digest.hexdigest()[: len(wanted)]}, not with {wanted}", help="download it again"
        )


@cache
def categories() -> list[str]:
    """The 1000 classes of ImageNet."""
    return files(__package__).joinpath("imagenet_categories.txt").read_text(encoding="utf-8").splitlines()


class _Meta(dict):
    """A dictionary whose categories are read when they are asked for."""

    def __missing__(self, key: str) -> Any:
        if key != "categories":
            raise KeyError(key)
        self[key] = categories()
        return self[key]


@cache
def catalogue() -> dict[str, type[WeightsEnum]]:
    """Model name -> the enum of its weights, out of weights.txt."""
    rows: dict[tuple[str, str], list[tuple[str, Weights]]] = {}
    for line in files(__package__).joinpath("weights.txt").read_text(encoding="utf-8").splitlines()[1:]:
        model, group, name, file, crop, resize, mode, params, least, *half = line.split()
        options: dict[str, Any] = {"mean": (0.5,) * 3, "std": (0.5,) * 3} if half else {}
        transforms = partial(
            ImageClassification, crop_size=int(crop), resize_size=int(resize), interpolation=InterpolationMode(mode), **options
        )
        made = Weights(_SOURCE + file, transforms, _Meta(num_params=int(params), min_size=(int(least), int(least))))
        members = rows.setdefault((model, group), [])
        members.append((name.rstrip("*"), made))
        if name.endswith("*"):
            rows[model, group].append(("DEFAULT", made))
    return {model: WeightsEnum(group, members) for (model, group), members in rows.items()}  # type: ignore[misc,call-arg]  # functional API


def resolve(model: str, weights: Any, pretrained: Any) -> tuple[WeightsEnum | None, str | None]:
    """What the weights argument means: a member of the model's enum, or a file's path."""
    if pretrained is not None:
        warnings.warn(
            "The parameter 'pretrained' is deprecated since 0.13 and may be removed in the future, please use 'weights' instead.",
            stacklevel=4,
        )
        weights = "IMAGENET1K_V1" if pretrained else None
    if isinstance(weights, os.PathLike) or isinstance(weights, str) and (weights.endswith((".pth", ".pt", ".safetensors")) or os.sep in weights):
        path = os.fspath(weights)
        if not os.path.isfile(path):
            raise FileError(f"there are no weights at {path}", help="give the path of a saved state dict, or a name of the model's weights")
        return None, path
    try:
        return catalogue()[model].verify(weights), None
    except KeyError:
        names = ", ".join(m.name for m in catalogue()[model])
        raise KeyError(f"{model} has no weights {weights!r}: it has {names}, or name a file ending in .pth") from None
