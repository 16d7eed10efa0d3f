"""Detectors against torchvision: built alike, the same losses, gradients and detections, on small images of different sizes."""

import lamina
import numpy as np
import pytest
import torch
from lamina.backends import driver
from lamina.pyfront import recorder
from lamina.vision.models import detection as ours

from .torchvision_oracle import torchvision, with_operators

SMALL = {"weights": None, "weights_backbone": None, "num_classes": 5}


def _rooms():
    """(torch, its detection), (lamina, ours)."""
    return (torch, with_operators().models.detection), (lamina, ours)


def _pictures(t):
    r = np.random.RandomState(0)
    images, targets = [], []
    for _ in range(2):
        h, w = r.randint(50, 90, 2)
        images.append(t.tensor(r.rand(3, h, w).astype(np.float32)))
        count = r.randint(1, 4)
        low = r.uniform(0, 0.6, (count, 2)) * [w, h]
        boxes = np.concatenate([low, low + r.uniform(8, 20, (count, 2))], 1).astype(np.float32)
        targets.append({"boxes": t.tensor(boxes), "labels": t.tensor(r.randint(1, 5, count))})
        targets[-1]["masks"] = t.tensor((r.rand(count, h, w) > 0.5).astype(np.uint8))
        places = r.uniform(boxes[:, None, :2] - 1, boxes[:, None, 2:], (count, 3, 2))
        targets[-1]["keypoints"] = t.tensor(np.concatenate([places, r.randint(0, 3, (count, 3, 1))], 2).astype(np.float32))
    return images, targets


def _backbone(t, room, wide=8):
    """Two small maps."""
    body = t.nn.Sequential(t.nn.Conv2d(3, 6, 3, 4, 1), t.nn.Conv2d(6, 8, 3, 2, 1))
    return room.backbone_utils.BackboneWithFPN(body, {"0": "0", "1": "1"}, [6, 8], wide)


def _small(t, room):
    anchors = room.anchor_utils.AnchorGenerator(((8,), (16,), (32,)), ((0.5, 1.0, 2.0),) * 3)
    options = {"rpn_post_nms_top_n_train": 80, "rpn_post_nms_top_n_test": 40, "box_batch_size_per_image": 64, "box_score_thresh": 0.15}
    return {"min_size": (60, 64), "max_size": 96, "rpn_anchor_generator": anchors, **options}


def _small_faster(t, room):
    return room.FasterRCNN(_backbone(t, room), 5, **_small(t, room))


def _small_mask(t, room):
    head = room.mask_rcnn.MaskRCNNHeads(8, (6, 7), 1)
    predictor = room.mask_rcnn.MaskRCNNPredictor(7, 6, 5)
    model = room.MaskRCNN(_backbone(t, room), 5, mask_head=head, **_small(t, room))
    model.roi_heads.mask_predictor = predictor
    return model


def _small_keypoint(t, room):
    head = room.keypoint_rcnn.KeypointRCNNHeads(8, (6, 7))
    model = room.KeypointRCNN(_backbone(t, room), 5, keypoint_head=head, **_small(t, room))
    model.roi_heads.keypoint_predictor = room.keypoint_rcnn.KeypointRCNNPredictor(7, 3)
    return model


def _levels(t, room):
    """Two maps of equal channels, and boxes over them."""
    anchors = room.anchor_utils.AnchorGenerator(((8,), (16,), (32,)), ((0.5, 1.0, 2.0),) * 3)
    return _backbone(t, room), {"min_size": (60, 64), "max_size": 96, "anchor_generator": anchors}


def _lively(t, model):
    """Larger weights in the head, so that scores differ by more than rounding does."""
    with t.no_grad():
        for p in model.head.parameters():
            p.mul_(10 if p.ndim > 1 else 0.5)


def _small_retina(t, room):
    backbone, options = _levels(t, room)
    return room.RetinaNet(backbone, 5, **options, topk_candidates=50)


def _small_retina_of_shapes(t, room):
    model = _small_retina(t, room)
    model.head.regression_head._loss_type = "giou"
    return model


def _small_fcos(t, room):
    _, options = _levels(t, room)
    options["anchor_generator"] = room.anchor_utils.AnchorGenerator(((4,), (8,), (16,)), ((1.0,),) * 3)
    return room.FCOS(_backbone(t, room, 32), 5, **options, topk_candidates=50)


def _small_ssd(t, room):
    boxes = room.anchor_utils.DefaultBoxGenerator([[2], [2, 3], [2]], min_ratio=0.2, max_ratio=0.9)
    return room.ssd.SSD(_backbone(t, room), boxes, (64, 72), 5, score_thresh=0.2, topk_candidates=30, head=room.ssd.SSDHead([8] * 3, [4, 6, 4], 5))


def _agree(make):
    """Built alike; one training step's losses and gradients; what is found afterwards."""
    runs = []
    for t, room in _rooms():
        t.manual_seed(1)
        model = make(t, room).train()
        state = {name: value.numpy().copy() for name, value in model.state_dict().items()}
        images, targets = _pictures(t)
        losses = model(images, targets)
        sum(losses.values()).backward()
        gradients = {name: p.grad.numpy() for name, p in model.named_parameters() if p.grad is not None}
        if hasattr(model, "head"):
            _lively(t, model)
        model.eval()
        with t.no_grad():
            found = [{key: value.numpy() for key, value in one.items()} for one in model(images)]
        runs.append((state, repr(model), {name: loss.item() for name, loss in losses.items()}, gradients, found, t.rand(1).item()))
    (state, text, losses, gradients, found, drawn), mine = runs
    assert list(state) == list(mine[0]) and text == mine[1] and list(losses) == list(mine[2]) and drawn == mine[5]
    for name, value in state.items():
        np.testing.assert_array_equal(mine[0][name], value, err_msg=name)
    for name, loss in losses.items():
        np.testing.assert_allclose(mine[2][name], loss, rtol=1e-4, atol=1e-6, err_msg=name)
    assert set(gradients) == set(mine[3])
    for name, g in gradients.items():
        np.testing.assert_allclose(mine[3][name], g, atol=1e-3 * np.abs(g).max() + 1e-7, err_msg=name)
    for theirs, one in zip(found, mine[4], strict=True):
        assert list(theirs) == list(one)
        order = [np.lexsort((*np.round(d["boxes"], 2).T, d["labels"])) for d in (theirs, one)]
        for key in theirs:
            np.testing.assert_allclose(one[key][order[1]], theirs[key][order[0]], atol=2e-3, err_msg=key)
    return mine


@pytest.mark.slow
@pytest.mark.parametrize("make,key", [(_small_faster, "boxes"), (_small_mask, "masks"), (_small_keypoint, "keypoints")])
def test_two_stages(make, key):
    found = _agree(make)[4]
    assert sum(len(one[key]) for one in found) > 10


@pytest.mark.slow
@pytest.mark.parametrize("make", [_small_retina, _small_retina_of_shapes, _small_fcos, _small_ssd])
def test_one_stage(make):
    found = _agree(make)[4]
    assert sum(len(one["boxes"]) for one in found) > 10


def test_masks_on_images():
    """Boxes beyond the image, boxes of no size; gradients go to the masks."""
    from torchvision.models.detection.roi_heads import paste_masks_in_image

    masks = np.random.RandomState(0).rand(4, 1, 5, 5).astype(np.float32)
    boxes = np.array([[3, 4, 20, 16], [-5, -6, 9, 40], [7.4, 7.6, 7.4, 7.6], [25, 3, 60, 30]], np.float32)
    found = []
    for t, paste in ((torch, paste_masks_in_image), (lamina, ours.roi_heads.paste_masks_in_image)):
        leaf = t.tensor(masks).requires_grad_()
        y = paste(leaf, t.tensor(boxes), (24, 30))
        (y * y).sum().backward()
        found.append([y, leaf.grad, paste(t.tensor(masks), t.tensor(boxes), (24, 30))])
    for want, got in zip(*found, strict=True):
        np.testing.assert_allclose(got.detach().numpy(), want.detach().numpy(), atol=1e-5)


def test_weights_with_older_names():
    lamina.manual_seed(0)
    state = ours.mask_rcnn.MaskRCNNHeads(3, (4, 5), 1).state_dict()
    older = {f"mask_fcn{int(key[0]) + 1}.{key.split('.')[-1]}": value for key, value in state.items()}
    again = ours.mask_rcnn.MaskRCNNHeads(3, (4, 5), 1)
    again.load_state_dict(older)
    head = ours.rpn.RPNHead(3, 2)
    head.load_state_dict({key.replace("conv.0.0", "conv"): value for key, value in ours.rpn.RPNHead(3, 2).state_dict().items()})
    assert all((again.state_dict()[key] == value).all() for key, value in state.items())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fasterrcnn_mobilenet_v3_large_320_fpn", "maskrcnn_resnet50_fpn_v2", "keypointrcnn_resnet50_fpn", "retinanet_resnet50_fpn_v2", "fcos_resnet50_fpn", "ssd300_vgg16", "ssdlite320_mobilenet_v3_large"])
def test_built_as_torchvision_builds(name):
    made = []
    for t, room in _rooms():
        t.manual_seed(1)
        made.append(getattr(room, name)(**SMALL))
    theirs, mine = made
    wanted = theirs.state_dict()
    assert list(mine.state_dict()) == list(wanted) and repr(mine) == repr(theirs)
    for key, value in mine.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), wanted[key].numpy(), err_msg=key)
    assert [p.requires_grad for p in mine.parameters()] == [p.requires_grad for p in theirs.parameters()]


def test_every_name_is_there():
    assert ours.rpn.AnchorGenerator is ours.anchor_utils.AnchorGenerator and ours._utils.BoxCoder is ours.coding.BoxCoder
    names = set(torchvision().models.detection.__dict__)
    for key in ours.__all__:
        assert key in names
    assert {name for name in names if name.endswith("_Weights") or "_" in name and name.split("_")[-1] in ("fpn", "v2", "vgg16", "large")} <= set(ours.__all__)


@pytest.mark.slow
def test_images_without_boxes_and_what_is_refused():
    model = _small_faster(lamina, ours)
    images, targets = _pictures(lamina)
    targets[0] = {"boxes": lamina.zeros(0, 4), "labels": lamina.zeros(0, dtype=lamina.int64)}
    losses = model(images, targets)
    assert all(np.isfinite(loss.item()) for loss in losses.values())
    for wrong, message in (
        (None, "targets should not be none"), ([{"boxes": lamina.zeros(1, 5)}], r"shape \[N, 4\]"), ([{"boxes": [1]}], "of type Tensor"),
        ([{"boxes": lamina.tensor([[3.0, 3, 3, 5]])}], r"Found invalid box"),
    ):  # fmt: skip
        with pytest.raises(AssertionError, match=message):
            model(images[:1], wrong)
    with pytest.raises(TypeError, match="target labels must of int64"):
        model(images[:1], [{"boxes": targets[1]["boxes"], "labels": lamina.zeros(1)}])
    with pytest.raises(ValueError, match="num_classes should be None"):
        ours.FasterRCNN(model.backbone, 3, box_predictor=model.roi_heads.box_predictor)
    with pytest.raises(ValueError, match="out_channels"):
        ours.FasterRCNN(lamina.nn.Linear(1, 1), 3)


def test_matching_and_coding():
    from torchvision.models.detection import _utils as theirs

    r = np.random.RandomState(0)
    quality = r.rand(3, 12).astype(np.float32)
    for weak in (False, True):
        matched = [room.Matcher(0.7, 0.4, weak)(t.tensor(quality)).tolist() for t, room in ((torch, theirs), (lamina, ours.matching))]
        assert matched[0] == matched[1]
    boxes = np.sort(r.rand(2, 5, 2, 2), 2).reshape(2, 5, 4).astype(np.float32)
    found = []
    for t, room in ((torch, theirs), (lamina, ours.matching)):
        coder = room.BoxCoder((10.0, 10.0, 5.0, 5.0))
        a, b = (t.tensor(x) for x in boxes)
        (codes,) = coder.encode([a], [b])
        found.append([codes, coder.decode(codes, [b])])
        for by_size in (False, True):
            linear = room.BoxLinearCoder(by_size)
            found[-1] += [linear.encode(a, b), linear.decode(linear.encode(a, b), a)]
    for got, want in zip(*found, strict=True):
        np.testing.assert_allclose(got.numpy(), want.numpy(), atol=1e-5)


def test_what_follows_a_batch_is_one_program_whatever_sizes_its_images_have(monkeypatch):
    """Which images fill the batch, and which are resized, is settled before."""
    graphs = []
    monkeypatch.setattr(recorder.state, "run", lambda graph, *given: graphs.append(graph) or driver.run(graph, *given))
    transform = ours.transform.GeneralizedRCNNTransform(32, 64, [0.5] * 3, [0.2] * 3)
    last = []
    for widths in ((40, 50), (64, 33), (50, 64)):
        batch = transform([lamina.rand(3, 32 if w % 2 else 40, w) for w in widths])[0].tensors
        assert batch.shape == (2, 3, 32, 64)
        (batch * 2).sum().item()
        last.append(graphs[-1])
    assert last[0] == last[1] == last[2]
