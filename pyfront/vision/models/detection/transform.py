"""What happens to images and targets before a detector and to its results after it: sizes, means, one batch."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ....creation import empty
from ....joining import stack
from .... import nn, recorder
from ....nn import functional as F
from ....tensor import Tensor
from ...images import tensor_of
from .image_list import ImageList
from .masks import paste_masks_in_image
from .matching import array_of

Target = dict[str, Any]


def _ratios(original_size: Any, new_size: Any) -> tuple[float, float]:
    down, across = (float(np.float32(new) / np.float32(old)) for new, old in zip(new_size, original_size, strict=True))
    return down, across


def _scaled(places: Tensor, by: list[float]) -> Tensor:
    """Places [n, ..., len(by)] times numbers: on the host at once where no gradient is wanted, so that no program depends on how many there are."""
    factors = tensor_of(np.asarray(by, np.float32)).to(device=places.device, dtype=places.dtype)
    if places.requires_grad:
        return places * factors
    return tensor_of(array_of(places) * array_of(factors)).to(places.device)


def resize_boxes(boxes: Tensor, original_size: Any, new_size: Any) -> Tensor:
    """Boxes [n, 4] of an image of (height, width) where it has another size."""
    down, across = _ratios(original_size, new_size)
    return _scaled(boxes if boxes.is_floating_point() else boxes.float(), [across, down] * 2)


def resize_keypoints(keypoints: Tensor, original_size: Any, new_size: Any) -> Tensor:
    """Places [n, k, 3] (x, y, whether it is seen) of an image of (height, width) where it has another size."""
    down, across = _ratios(original_size, new_size)
    return _scaled(keypoints if keypoints.is_floating_point() else keypoints.float(), [across, down, 1])


def _resized_masks(masks: Tensor, size: tuple[int, int]) -> Tensor:
    """Masks [n, h, w] in another size: the pixel that is nearest, as uint8."""
    held = array_of(masks)
    rows, columns = (
        np.minimum((np.arange(new, dtype=np.float32) * (np.float32(old) / np.float32(new))).astype(np.int64), old - 1)
        for old, new in zip(held.shape[-2:], size, strict=True)
    )
    return tensor_of(np.ascontiguousarray(held[:, rows][:, :, columns].astype(np.uint8))).to(masks.device)


def _compute() -> None:
    """Compute what is pending: a program for an image serves all images, and no program of what follows depends on which of them fill the
    batch, which are resized and which are not. Not where what is recorded is not what will be computed."""
    if recorder.can_doubt():
        recorder.flush()


class GeneralizedRCNNTransform(nn.Module):
    """Images are normalized, resized (their shorter side to min_size, the longer to max_size at most) and put into one batch."""

    def __init__(
        self, min_size: Any, max_size: int, image_mean: list[float], image_std: list[float], size_divisible: int = 32,
        fixed_size: tuple[int, int] | None = None, **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__()
        self.min_size = tuple(min_size) if isinstance(min_size, (list, tuple)) else (min_size,)
        self.max_size, self.image_mean, self.image_std = max_size, image_mean, image_std
        self.size_divisible, self.fixed_size = size_divisible, fixed_size
        self._skip_resize = kwargs.pop("_skip_resize", False)

    def forward(self, images: list[Tensor], targets: list[Target] | None = None) -> tuple[ImageList, list[Target] | None]:
        """The batch of images [3, h, w] and targets that fit it."""
        targets = None if targets is None else [dict(t) for t in targets]
        made = []
        for i, image in enumerate(images):
            if image.ndim != 3:
                raise ValueError(f"images is expected to be a list of 3d tensors of shape [C, H, W], got {image.shape}")
            image, target = self.resize(self.normalize(image), None if targets is None else targets[i])
            made.append(image)
            _compute()
            if targets is not None and target is not None:
                targets[i] = target
        sizes = [(image.shape[-2], image.shape[-1]) for image in made]
        batch = self.batch_images(made, self.size_divisible)
        _compute()
        return ImageList(batch, sizes), targets

    def normalize(self, image: Tensor) -> Tensor:
        """Less the mean, over the deviation, channel by channel."""
        if not image.is_floating_point():
            raise TypeError(f"Expected input images to be of floating type (in range [0, 1]), but found type {image.dtype} instead")
        mean, std = (
            tensor_of(np.asarray(v, np.float32)[:, None, None]).to(device=image.device, dtype=image.dtype)
            for v in (self.image_mean, self.image_std)
        )
        return (image - mean) / std

    def torch_choice(self, k: Any) -> Any:
        """One of k, by torch's generator."""
        return k[int(empty(1).uniform_(0.0, float(len(k))).item())]

    def _size(self, height: int, width: int) -> tuple[int, int]:
        """The size an image of that size gets."""
        shorter = self.torch_choice(self.min_size) if self.training else self.min_size[-1]
        if self.fixed_size is not None:
            return self.fixed_size[1], self.fixed_size[0]
        scale = min(shorter / min(height, width), self.max_size / max(height, width))
        return int(height * scale), int(width * scale)

    def resize(self, image: Tensor, target: Target | None = None) -> tuple[Tensor, Target | None]:
        """An image and its target in the size they get; while training the shorter side is drawn."""
        if self.training and self._skip_resize:
            return image, target
        old = tuple(image.shape[-2:])
        new = self._size(*old)
        image = F.interpolate(image[None], size=new, mode="bilinear", align_corners=False)[0]
        if target is None:
            return image, target
        if "masks" in target:
            target["masks"] = _resized_masks(target["masks"], new)
        target["boxes"] = resize_boxes(target["boxes"], old, new)
        if "keypoints" in target:
            target["keypoints"] = resize_keypoints(target["keypoints"], old, new)
        return image, target

    def batch_images(self, images: list[Tensor], size_divisible: int = 32) -> Tensor:
        """[n, 3, h, w]: zeros right of and below the smaller ones; both sides are multiples."""
        height, width = (math.ceil(max(image.shape[d] for image in images) / size_divisible) * size_divisible for d in (1, 2))
        return stack([F.pad(image, (0, width - image.shape[2], 0, height - image.shape[1])) for image in images])

    def postprocess(self, result: list[Target], image_shapes: list[tuple[int, int]], original_image_sizes: list[tuple[int, int]]) -> list[Target]:
        """The results where the images have the sizes they had."""
        for found, old, new in zip(() if self.training else result, image_shapes, original_image_sizes, strict=not self.training):
            found["boxes"] = resize_boxes(found["boxes"], old, new)
            if "masks" in found:
                found["masks"] = paste_masks_in_image(found["masks"], found["boxes"], new)
            if "keypoints" in found:
                found["keypoints"] = resize_keypoints(found["keypoints"], old, new)
        return result

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(\n    Normalize(mean={self.image_mean}, std={self.image_std})\n"
            f"    Resize(min_size={self.min_size}, max_size={self.max_size}, mode='bilinear')\n)"
        )
