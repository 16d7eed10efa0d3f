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
from ...tensor import Tensor
from ..images import InterpolationMode
from .presets import ImageClassification, ObjectDetection, SemanticSegmentation, VideoClassification

_SOURCE = "https://download.pytorch.org/models/"
_BYTES = {"mean": (0.48235, 0.45882, 0.40784), "std": (1.0 / 255.0,) * 3}  # less the mean, as many as there are


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
def categories(of: str) -> list[str] | None:
    """The classes of a data set: imagenet (1000), kinetics (400), voc (21), coco (91) or people (2), the background among the last three's."""
    if not of:
        return None
    return files(__package__).joinpath(f"{of}_categories.txt").read_text(encoding="utf-8").splitlines()


class _Meta(dict):
    """A dictionary whose categories, those of a data set, are read when they are asked for."""

    def __init__(self, data: str, **known: Any) -> None:
        super().__init__(known)
        self._data = data

    def __missing__(self, key: str) -> Any:
        if key != "categories":
            raise KeyError(key)
        self[key] = categories(self._data)
        return self[key]


@cache
def catalogue() -> dict[str, type[WeightsEnum]]:
    """Model name -> the enum of its weights, out of weights.txt."""
    rows: dict[tuple[str, str], list[tuple[str, Weights]]] = {}
    for line in files(__package__).joinpath("weights.txt").read_text(encoding="utf-8").splitlines()[1:]:
        model, group, name, file, crop, resize, mode, params, least, *pixels = line.split()
        transforms, data = _transforms(crop, resize, InterpolationMode(mode), *pixels)
        made = Weights(_SOURCE + file, transforms, _Meta(data, num_params=int(params), min_size=(int(least), int(least))))
        members = rows.setdefault((model, group), [])
        members.append((name.rstrip("*"), made))
        if name.endswith("*"):
            rows[model, group].append(("DEFAULT", made))
    return {model: WeightsEnum(group, members) for (model, group), members in rows.items()}  # type: ignore[misc,call-arg]  # functional API


def _transforms(crop: str, resize: str, mode: InterpolationMode, pixels: str = "") -> tuple[Callable[..., Any], str]:
    """What a row of weights.txt says of transforms, and the data set that goes with them: without a crop they are for every pixel, two sizes are a clip's."""
    if crop == "boxes":
        return ObjectDetection, resize
    if crop == "-":
        return partial(SemanticSegmentation, resize_size=int(resize), interpolation=mode), "voc"
    if "x" in resize:
        size = tuple(map(int, resize.split("x")))
        return partial(VideoClassification, crop_size=(int(crop),) * 2, resize_size=size, interpolation=mode), "kinetics"
    options: dict[str, Any] = {"half": {"mean": (0.5,) * 3, "std": (0.5,) * 3}, "bytes": _BYTES, "": {}}[pixels]
    data = "" if pixels == "bytes" else "imagenet"  # features alone know no classes
    return partial(ImageClassification, crop_size=int(crop), resize_size=int(resize), interpolation=mode, **options), data


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
