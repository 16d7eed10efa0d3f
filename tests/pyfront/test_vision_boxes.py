"""Bounding boxes that go where their image goes: torchvision's numbers, through v2's transforms and the detection tutorial's."""

from __future__ import annotations

import lamina
import numpy as np
import pytest

pytest.importorskip("PIL")
from lamina.dialects.errors import UnsupportedError  # noqa: E402
from lamina.pyfront.vision import tv_tensors  # noqa: E402
from lamina.pyfront.vision.transforms import v2  # noqa: E402

from .torchvision_oracle import torchvision  # noqa: E402

BOXES = [[1.0, 2.0, 7.5, 9.0], [0.0, 0.0, 30.0, 20.0], [20.0, 5.0, 28.0, 19.0], [3.0, 3.0, 3.5, 3.5]]
CANVAS = (20, 30)


def _both(make, numbers=BOXES, fmt="XYXY"):
    """What a transform makes of the boxes, here and there, after the same seed."""
    import torch

    found = []
    for t, room, kinds in ((lamina, v2, tv_tensors), (torch, torchvision().transforms.v2, torchvision().tv_tensors)):
        t.manual_seed(3)
        boxes = kinds.BoundingBoxes(t.tensor(numbers), format=fmt, canvas_size=CANVAS)
        image = kinds.Image(t.arange(3 * 20 * 30, dtype=t.uint8).reshape(3, 20, 30))
        found.append(make(room)({"image": image, "boxes": boxes, "n": 3}))
    return found


GEOMETRY = {
    "flip": lambda v: v.RandomHorizontalFlip(1.0),
    "vertical flip": lambda v: v.RandomVerticalFlip(1.0),
    "resize": lambda v: v.Resize((37, 41)),
    "short edge": lambda v: v.Resize(13),
    "crop": lambda v: v.RandomCrop((9, 11)),
    "scale jitter": lambda v: v.ScaleJitter((24, 24)),
    "shortest size": lambda v: v.RandomShortestSize([9, 12], 30),
    "centre": lambda v: v.CenterCrop((12, 40)),
    "resized crop": lambda v: v.RandomResizedCrop((16, 16)),
    "pad": lambda v: v.Pad([1, 2, 3, 4]),
    "rotation": lambda v: v.RandomRotation(30),
    "affine": lambda v: v.RandomAffine(20, translate=(0.1, 0.2), scale=(0.8, 1.2), shear=5),
    "colours": lambda v: v.ColorJitter(0.5),
    "dtype": lambda v: v.ToDtype(__import__("torch").float32 if v is not v2 else lamina.float32, scale=True),
    "format": lambda v: v.ConvertBoundingBoxFormat("CXCYWH"),
    "clamp": lambda v: v.ClampBoundingBoxes(),
    "chain": lambda v: v.Compose([v.RandomHorizontalFlip(0.5), v.RandomCrop((15, 15)), v.Resize((8, 9))]),
}  # fmt: skip


@pytest.mark.torch
@pytest.mark.parametrize("fmt", ["XYXY", "XYWH", "CXCYWH"])
@pytest.mark.parametrize("name", GEOMETRY)
def test_boxes_go_with_their_image(name, fmt):
    mine, theirs = _both(GEOMETRY[name], fmt=fmt)
    np.testing.assert_allclose(mine["boxes"].numpy(), theirs["boxes"].numpy(), atol=2e-4)
    assert mine["boxes"].canvas_size == tuple(theirs["boxes"].canvas_size) and mine["boxes"].format.name == theirs["boxes"].format.name
    assert tuple(mine["image"].shape) == tuple(theirs["image"].shape) and mine["n"] == 3
    assert type(mine["boxes"]) is tv_tensors.BoundingBoxes and str(mine["boxes"].dtype) == str(theirs["boxes"].dtype)


@pytest.mark.torch
def test_a_turned_image_with_room_for_all_of_it():
    mine, theirs = _both(lambda v: v.RandomRotation(30, expand=True))
    assert mine["boxes"].canvas_size == tuple(mine["image"].shape[1:]) == tuple(theirs["image"].shape[1:])
    # torchvision's boxes may have a canvas one pixel smaller than their image, where they end then
    np.testing.assert_allclose(mine["boxes"].numpy(), theirs["boxes"].numpy(), atol=1.001)
    np.testing.assert_allclose(mine["boxes"][:, :2].numpy(), theirs["boxes"][:, :2].numpy(), atol=2e-4)


@pytest.mark.torch
@pytest.mark.parametrize("name", ["flip", "resize", "crop", "pad"])
def test_whole_numbers_stay_whole(name):
    mine, theirs = _both(GEOMETRY[name], [[1, 2, 7, 9], [0, 0, 30, 20]])
    np.testing.assert_array_equal(mine["boxes"].numpy(), theirs["boxes"].numpy())
    assert mine["boxes"].dtype is lamina.int64


@pytest.mark.torch
def test_printed_as_torchvision_prints():
    import torch

    made = tv_tensors.BoundingBoxes([[1, 2, 3, 4]], format="XYXY", canvas_size=(10, 12))
    theirs = torchvision().tv_tensors.BoundingBoxes([[1, 2, 3, 4]], format="XYXY", canvas_size=(10, 12))
    assert repr(made) == repr(theirs) and type(made + 1) is lamina.Tensor and type(theirs + 1) is torch.Tensor
    for name in ("SanitizeBoundingBoxes", "ClampBoundingBoxes"):
        assert repr(getattr(v2, name)()) == repr(getattr(torchvision().transforms.v2, name)())
    assert repr(v2.ConvertBoundingBoxFormat("XYWH")) == repr(torchvision().transforms.v2.ConvertBoundingBoxFormat("XYWH"))
    assert tv_tensors.wrap(lamina.zeros(1, 4), like=made, canvas_size=(5, 6)).canvas_size == (5, 6)


@pytest.mark.torch
def test_small_boxes_and_what_belongs_to_them_are_left_out():
    import torch

    found = []
    for t, room, kinds in ((lamina, v2, tv_tensors), (torch, torchvision().transforms.v2, torchvision().tv_tensors)):
        boxes = kinds.BoundingBoxes(t.tensor([*BOXES, [25.0, 5.0, 35.0, 19.0]]), format="XYXY", canvas_size=CANVAS)
        masks = kinds.Mask(t.arange(5 * 4).reshape(5, 2, 2))
        target = {"boxes": boxes, "labels": t.arange(5), "masks": masks, "iscrowd": t.zeros(5)}
        _, target = room.SanitizeBoundingBoxes(min_size=2)(kinds.Image(t.zeros(3, 20, 30)), target)
        found.append([target[k].tolist() for k in ("boxes", "labels", "masks", "iscrowd")])
    assert found[0] == found[1] and found[0][1] == [0, 1, 2]


def test_what_boxes_cannot_do_is_said():
    boxes = tv_tensors.BoundingBoxes(BOXES, format="XYXY", canvas_size=CANVAS)
    with pytest.raises(UnsupportedError, match="change of perspective"):
        v2.RandomPerspective(p=1.0)(boxes)
    with pytest.raises(ValueError, match="Padding mode 'reflect' is not supported with bounding boxes"):
        v2.Pad(1, padding_mode="reflect")(boxes)
    with pytest.raises(ValueError, match="where the labels are"):
        v2.SanitizeBoundingBoxes()({"boxes": boxes})
