"""Transforms give what torchvision's give: pictures bit for bit, tensors to rounding, the same random numbers, words, errors."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import lamina
from lamina.pyfront.vision import transforms as ours
from lamina.pyfront.vision import tv_tensors, pictures
from lamina.pyfront.vision.transforms import functional as F
from lamina.pyfront.vision.transforms import v2

from .torchvision_oracle import torchvision

Image = pytest.importorskip("PIL.Image")


def pixels() -> np.ndarray:
    """uint8 [56, 72, 3]: patches with noise."""
    noise = np.random.RandomState(0)
    patches = np.kron(noise.randint(0, 256, (7, 9, 3)), np.ones((8, 8, 1)))
    return (patches * 0.7 + noise.randint(0, 77, (56, 72, 3))).astype(np.uint8)


# (T, M): T has the enums, M the classes of the interface under test
CASES: dict[str, Callable[[Any, Any], Any]] = {
    "Resize": lambda T, M: M.Resize(20),
    "Resize bicubic": lambda T, M: M.Resize((30, 41), interpolation=T.InterpolationMode.BICUBIC),
    "Resize max": lambda T, M: M.Resize(20, max_size=22),
    "Resize nearest": lambda T, M: M.Resize((100, 90), interpolation=T.InterpolationMode.NEAREST),
    "Resize up": lambda T, M: M.Resize(99),
    "CenterCrop": lambda T, M: M.CenterCrop(30),
    "CenterCrop padded": lambda T, M: M.CenterCrop((60, 80)),
    "RandomCrop": lambda T, M: M.RandomCrop(32, padding=4),
    "RandomCrop needed": lambda T, M: M.RandomCrop((60, 80), pad_if_needed=True, padding_mode="reflect"),
    "RandomResizedCrop": lambda T, M: M.RandomResizedCrop(24),
    "RandomHorizontalFlip": lambda T, M: M.RandomHorizontalFlip(),
    "RandomVerticalFlip": lambda T, M: M.RandomVerticalFlip(0.7),
    "Pad": lambda T, M: M.Pad((2, 3), fill=9),
    "Pad edge": lambda T, M: M.Pad((1, 2, 3, 4), padding_mode="edge"),
    "Pad symmetric": lambda T, M: M.Pad(3, padding_mode="symmetric"),
    "ColorJitter": lambda T, M: M.ColorJitter(0.4, 0.4, 0.4, 0.1),
    "ColorJitter brightness": lambda T, M: M.ColorJitter(brightness=(0.5, 1.5)),
    "Grayscale": lambda T, M: M.Grayscale(3),
    "RandomGrayscale": lambda T, M: M.RandomGrayscale(0.5),
    "RandomRotation": lambda T, M: M.RandomRotation(30),
    "RandomRotation expand": lambda T, M: M.RandomRotation((10, 50), T.InterpolationMode.BILINEAR, expand=True, fill=1),
    "RandomAffine": lambda T, M: M.RandomAffine(15, translate=(0.1, 0.2), scale=(0.8, 1.2), shear=(-5, 5, -3, 3)),
    "RandomAffine bilinear": lambda T, M: M.RandomAffine(15, interpolation=T.InterpolationMode.BILINEAR, fill=1, center=(10, 12)),
    "RandomPerspective": lambda T, M: M.RandomPerspective(0.5, 0.9),
    "GaussianBlur": lambda T, M: M.GaussianBlur((5, 3), (0.3, 2.0)),
    "FiveCrop": lambda T, M: M.FiveCrop(20),
    "TenCrop": lambda T, M: M.TenCrop((20, 10)),
    "RandomInvert": lambda T, M: M.RandomInvert(0.6),
    "RandomPosterize": lambda T, M: M.RandomPosterize(3, 0.6),
    "RandomSolarize": lambda T, M: M.RandomSolarize(1, 0.6),
    "RandomAdjustSharpness": lambda T, M: M.RandomAdjustSharpness(2.0, 0.6),
    "RandomAutocontrast": lambda T, M: M.RandomAutocontrast(0.6),
    "RandomEqualize": lambda T, M: M.RandomEqualize(0.6),
    "ElasticTransform": lambda T, M: M.ElasticTransform(alpha=40.0, sigma=4.0),
    "AutoAugment": lambda T, M: M.AutoAugment(),
    "AutoAugment CIFAR10": lambda T, M: M.AutoAugment(T.AutoAugmentPolicy.CIFAR10),
    "AutoAugment SVHN": lambda T, M: M.AutoAugment(T.AutoAugmentPolicy.SVHN),
    "RandAugment": lambda T, M: M.RandAugment(3),
    "TrivialAugmentWide": lambda T, M: M.TrivialAugmentWide(),
    "AugMix": lambda T, M: M.AugMix(),
    "RandomChoice": lambda T, M: M.RandomChoice([M.Resize(10), M.Resize(12)]),
    "RandomApply": lambda T, M: M.RandomApply([M.CenterCrop(10)], p=0.4),
    "RandomOrder": lambda T, M: M.RandomOrder([M.CenterCrop(30), M.RandomHorizontalFlip()]),
    "RandomErasing": lambda T, M: M.RandomErasing(0.9),
    "RandomErasing noise": lambda T, M: M.RandomErasing(0.9, value="random"),
    "Normalize": lambda T, M: M.Normalize([0.4, 0.5, 0.6], [0.2, 0.3, 0.25]),
    "PILToTensor": lambda T, M: M.PILToTensor(),
    "Compose": lambda T, M: M.Compose([M.RandomResizedCrop(32), M.RandomHorizontalFlip(), M.ToTensor()]),
}
VIA_TENSORS = ("ElasticTransform", "AugMix", "GaussianBlur")  # pictures that go through float tensors and back
# float32 coordinates of a grid, or thresholds of bytes that were truncated: single pixels fall to either side
GRIDS = ("RandomPerspective", "ElasticTransform")
FEW_PIXELS = ("RandomAffine", "RandomRotation", "AutoAugment", "RandAugment", "TrivialAugmentWide", "AugMix", "ColorJitter")


def plain(value: Any) -> Any:
    """A result as (kind, array), in lists as it came."""
    if isinstance(value, Image.Image):
        return value.mode, np.asarray(value)
    if isinstance(value, (tuple, list)):
        return [plain(part) for part in value]
    return str(value.dtype), value.detach().numpy().copy()


def outcome(torch: Any, transform: Any, image: Any) -> Any:
    """Three applications and the random numbers after them, or the error's class."""
    torch.manual_seed(3)
    random.seed(3)
    try:
        return [plain(transform(image)) for _ in range(3)], torch.rand(2).tolist()
    except Exception as error:  # noqa: BLE001  # its class is the outcome
        return error


def agree(name: str, mine: Any, theirs: Any) -> None:
    if isinstance(theirs, list):
        assert len(mine) == len(theirs)
        for a, b in zip(mine, theirs, strict=True):
            agree(name, a, b)
        return
    assert mine[0] == theirs[0] and mine[1].shape == theirs[1].shape
    a, b = mine[1].astype(np.float64), theirs[1].astype(np.float64)
    first = name.split()[0]
    if mine[0] in ("RGB", "L"):
        off = 1 if first in VIA_TENSORS else 0
        assert np.abs(a - b).max() <= off and (a != b).mean() < 2e-2
        return
    limit = 1 if mine[1].dtype.kind in "iu" else 5e-5 if first in FEW_PIXELS + GRIDS else 5e-6
    limit = 1.01 / 255 if name == "Compose" and limit < 1 else limit  # bytes resampled, then floats: one byte's step
    assert (np.abs(a - b) > limit).mean() <= (4e-3 if first in FEW_PIXELS else 0)


@pytest.mark.slow
@pytest.mark.torch
@pytest.mark.parametrize("interface", ["v1", "v2"])
@pytest.mark.parametrize("name", CASES)
def test_as_torchvision(interface: str, name: str) -> None:
    import torch

    theirs = torchvision().transforms
    mine, other = (ours, theirs) if interface == "v1" else (v2, theirs.v2)
    a, b = CASES[name](ours, mine), CASES[name](theirs, other)
    assert repr(a) == repr(b)
    base = pixels()
    for kind in ("RGB", "L", "uint8", "float32"):
        if kind in ("RGB", "L"):
            images = (Image.fromarray(base).convert(kind),) * 2
        else:
            array = base.transpose(2, 0, 1).copy()
            array = array if kind == "uint8" else array.astype(np.float32) / 255
            images = (lamina.from_numpy(array), torch.from_numpy(array))
        made, wanted = outcome(lamina, a, images[0]), outcome(torch, b, images[1])
        if isinstance(wanted, Exception):
            assert isinstance(made, Exception), (kind, wanted)
            assert isinstance(made, type(wanted)) or isinstance(wanted, AttributeError), (kind, made, wanted)
            continue
        assert not isinstance(made, Exception), (kind, made)
        assert made[1] == wanted[1], f"{kind}: the next random numbers differ"
        agree(name if kind == "uint8" or name != "Compose" else "Chain", made[0], wanted[0])


@pytest.mark.slow
@pytest.mark.torch
def test_conversions_as_torchvision() -> None:
    import torch

    theirs = torchvision().transforms.functional
    picture = Image.fromarray(pixels())
    for mode in ("L", "RGB", "RGBA", "1", "I", "F", "P", "CMYK", "YCbCr"):
        converted = picture.convert(mode)
        for function in ("to_tensor", "pil_to_tensor"):
            a, b = getattr(F, function)(converted), getattr(theirs, function)(converted)
            assert str(a.dtype) == str(b.dtype)
            np.testing.assert_array_equal(a.numpy(), b.numpy())
    array = pixels().transpose(2, 0, 1).copy()
    for source in ("uint8", "int16", "float32"):
        values = array.astype(source) if source != "float32" else array.astype(np.float32) / 255
        for target in ("uint8", "int8", "int16", "int32", "int64", "float32", "float64"):
            a = outcome(lamina, lambda t, d=target: F.convert_image_dtype(t, getattr(lamina, d)), lamina.from_numpy(values))
            b = outcome(torch, lambda t, d=target: theirs.convert_image_dtype(t, getattr(torch, d)), torch.from_numpy(values))
            if isinstance(b, Exception):
                assert isinstance(a, type(b))
                continue
            np.testing.assert_allclose(a[0][0][1], b[0][0][1], rtol=1e-7)
    floats = array.astype(np.float32) / 255
    for make in (lambda f, t: f.to_pil_image(t), lambda f, t: f.to_pil_image(t[0], mode="F")):
        np.testing.assert_array_equal(make(F, lamina.from_numpy(floats)), make(theirs, torch.from_numpy(floats)))


@pytest.mark.slow
@pytest.mark.torch
def test_grids_as_torchvision() -> None:
    import torch

    theirs = torchvision().utils
    x = np.random.RandomState(0).rand(10, 3, 5, 6).astype(np.float32)
    spread = {"normalize": True, "scale_each": True, "pad_value": 1, "padding": 1}
    for options in ({"nrow": 4}, spread, {"normalize": True, "value_range": (0.2, 0.8)}):
        for images in (x, x[:, :1], x[:1], x[0]):
            made = pictures.make_grid(lamina.from_numpy(images), **options)
            wanted = theirs.make_grid(torch.from_numpy(images), **options)
            np.testing.assert_allclose(made.numpy(), wanted.numpy(), atol=1e-6)


BAD: dict[str, tuple[type, Callable[[Any], object]]] = {
    "crop too large": (ValueError, lambda picture: ours.RandomCrop(100)(picture)),
    "negative jitter": (ValueError, lambda picture: ours.ColorJitter(-1)),
    "even kernel": (ValueError, lambda picture: ours.GaussianBlur(4)),
    "negative angle": (ValueError, lambda picture: ours.RandomRotation(-1)),
    "zero deviation": (ValueError, lambda picture: ours.Normalize([0], [0])(F.to_tensor(picture))),
    "bytes normalised": (TypeError, lambda picture: ours.Normalize([0], [1])(F.pil_to_tensor(picture))),
    "no picture": (TypeError, lambda picture: F.to_tensor(3)),
    "not an image": (TypeError, lambda picture: F.hflip(3)),
    "padding": (TypeError, lambda picture: ours.Pad("x")),
    "not callable": (TypeError, lambda picture: ours.Lambda(3)),
    "scale": (ValueError, lambda picture: F.affine(picture, 0, [0, 0], -1, 0)),
    "probability": (ValueError, lambda picture: v2.RandomHorizontalFlip(2)),
    "empty": (ValueError, lambda picture: v2.Compose([])),
    "no size": (ValueError, lambda picture: v2.Resize(None)),
    "picture normalised": (TypeError, lambda picture: v2.Normalize([0], [1])(picture)),
}


@pytest.mark.parametrize("name", BAD)
def test_errors(name: str) -> None:
    kind, call = BAD[name]
    with pytest.raises(kind):
        call(Image.fromarray(pixels()))


def test_samples_of_any_structure() -> None:
    """The image (or the first plain tensor) is transformed, masks go along, labels pass."""
    picture = Image.fromarray(pixels())
    mask = tv_tensors.Mask(lamina.zeros(56, 72, dtype=lamina.uint8))
    lamina.manual_seed(0)
    chain = v2.Compose([v2.RandomCrop(20), v2.ToImage(), v2.ToDtype(lamina.float32, scale=True)])
    made = chain({"image": picture, "label": 3, "mask": mask})
    assert type(made["image"]) is tv_tensors.Image and made["image"].shape == (3, 20, 20) and made["label"] == 3
    assert type(made["mask"]) is tv_tensors.Mask and made["mask"].shape == (20, 20) and made["mask"].dtype is lamina.uint8
    image, label = v2.RandomCrop(20)(lamina.zeros(3, 30, 30), lamina.tensor(5))
    assert image.shape == (3, 20, 20) and label.item() == 5


def test_gradients_flow_where_images_are_trained() -> None:
    x = lamina.rand(1, 3, 8, 8, requires_grad=True)
    F.normalize(F.resize(F.hflip(F.crop(x, 1, 1, 6, 6)), [4, 4]), [0.5] * 3, [0.5] * 3).sum().backward()
    assert abs(float(x.grad.sum()) - 96) < 1e-3  # 3 * 16 outputs, each a weighted mean of pixels over 0.5
    with pytest.raises(NotImplementedError, match="keeps no gradient"):
        F.adjust_hue(x[0], 0.1)
