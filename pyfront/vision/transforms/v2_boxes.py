"""v2 transforms of bounding boxes alone: formats, limits, and leaving out those that are none any more."""

from __future__ import annotations

from typing import Any

from ...tensor import Tensor
from .. import tv_tensors
from . import box_kernels, v2_functional as functional
from .transform import flatten, rebuild
from .v2_transform import Transform


class ConvertBoundingBoxFormat(Transform):
    """Boxes in another format ("XYXY", "XYWH", "CXCYWH")."""

    takes = staticmethod(lambda value: isinstance(value, tv_tensors.BoundingBoxes))

    def __init__(self, format: Any) -> None:
        super().__init__()
        self.format = format

    def _transformed(self, leaf: Any, drawn: dict[str, Any]) -> Any:
        return functional.convert_bounding_box_format(leaf, new_format=self.format)


class ClampBoundingBoxes(Transform):
    """Boxes inside of their image."""

    takes = staticmethod(lambda value: isinstance(value, tv_tensors.BoundingBoxes))

    def __init__(self, clamping_mode: Any = "auto") -> None:
        super().__init__()
        self.clamping_mode = clamping_mode

    def _transformed(self, leaf: Any, drawn: dict[str, Any]) -> Any:
        return leaf if self.clamping_mode is None else functional.clamp_bounding_boxes(leaf)


class SanitizeBoundingBoxes(Transform):
    """Without boxes that are too small or reach out of their image, and without the labels and masks that belong to them.

    labels_getter: a function of the sample that gives the labels (several in a tuple), the key of the dictionary that has them, None for no labels, or
    "default": the key that says "labels" in whatever case, in the sample or its second part.
    """

    def __init__(self, min_size: float = 1.0, min_area: float = 1.0, labels_getter: Any = "default") -> None:
        super().__init__()
        if min_size < 1 or min_area < 1:
            raise ValueError(f"min_size and min_area must be at least 1, got {min_size} and {min_area}")
        self.min_size = min_size
        self.min_area = min_area
        self.labels_getter = labels_getter

    def _labels(self, sample: Any) -> list[Any]:
        if self.labels_getter is None:
            return []
        if callable(self.labels_getter):
            found = self.labels_getter(sample)
            return list(found) if isinstance(found, (tuple, list)) else [] if found is None else [found]
        inner = sample[1] if isinstance(sample, (tuple, list)) and len(sample) > 1 else sample
        if not isinstance(inner, dict):
            raise ValueError(f"the labels are looked for in a dictionary, in the sample or its second part, but got {type(inner)}: pass a labels_getter")
        if self.labels_getter != "default":
            return [inner[self.labels_getter]]
        keys = [key for key in inner if isinstance(key, str) and "label" in key.lower()]
        if not keys:
            raise ValueError("Could not infer where the labels are in the sample. Try passing a callable as the labels_getter parameter?")
        return [inner[next((key for key in keys if key.lower() == "labels"), keys[0])]]

    def forward(self, *inputs: Any) -> Any:
        """The sample without them."""
        sample = inputs if len(inputs) > 1 else inputs[0]
        leaves, labels = flatten(sample), self._labels(sample)
        boxes = next((leaf for leaf in leaves if isinstance(leaf, tv_tensors.BoundingBoxes)), None)
        if boxes is None:
            return sample
        valid = box_kernels.large_enough(boxes, self.min_size, self.min_area)
        for label in labels:
            if not isinstance(label, Tensor) or label.shape[0] != boxes.shape[0]:
                raise ValueError(f"Number of boxes ({boxes.shape[0]}) and must match the number of labels")

        def kept(leaf: Any) -> Any:
            if leaf is boxes or isinstance(leaf, tv_tensors.Mask):
                return tv_tensors.wrap(leaf.as_subclass(Tensor)[valid], like=leaf)
            return leaf[valid] if any(leaf is label for label in labels) else leaf

        return rebuild(sample, map(kept, leaves))
