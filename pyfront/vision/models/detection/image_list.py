"""Images of several sizes in one tensor, with the size each had."""

from __future__ import annotations

from typing import Any

from ....tensor import Tensor


class ImageList:
    """tensors: [n, 3, h, w], each image in the corner at the origin; image_sizes: (height, width) of each."""

    def __init__(self, tensors: Tensor, image_sizes: list[tuple[int, int]]) -> None:
        self.tensors, self.image_sizes = tensors, image_sizes

    def to(self, device: Any) -> ImageList:
        """The same on another device."""
        return ImageList(self.tensors.to(device), self.image_sizes)
