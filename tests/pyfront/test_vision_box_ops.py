"""torchvision.ops against torchvision (position-sensitive regions against their definitions): box losses, pyramids, layers of clips."""

import math

import lamina
import numpy as np
import pytest
import torch
from lamina.vision import ops as ours

from .test_vision_regions import _roi_align
from .torchvision_oracle import torchvision, with_operators

R = np.random.default_rng(0)


def _own_channels(pooled):
    """Of regions of all channels [k, c * high * wide, high, wide], each bin's own: [k, c, high, wide]."""
    high, wide = pooled.shape[2:]
    by_bin = pooled.view(len(pooled), -1, high, wide, high, wide)
    return torch.stack([torch.stack([by_bin[:, :, i, j, i, j] for j in range(wide)], -1) for i in range(high)], -2)


def _ps_roi_align(x, boxes, size, scale, samples):
    return _own_channels(_roi_align(x, boxes, size, scale, samples, True))


def _ps_roi_pool(x, boxes, size, scale):
    """Averages of whole pixels of all channels; the last row and column count nowhere."""
    found, (height, width) = [], x.shape[-2:]
    for number, *corners in boxes.tolist():
        left, top, right, bottom = (math.copysign(math.floor(abs(v * scale) + 0.5), v) for v in corners)
        high, wide = (np.float32(max(v, 1)) / np.float32(size) for v in (bottom - top, right - left))
        for p in range(size):
            for q in range(size):
                rows = [int(min(max(v + top, 0), height - 1)) for v in (math.floor(p * high), math.ceil((p + 1) * high))]
                columns = [int(min(max(v + left, 0), width - 1)) for v in (math.floor(q * wide), math.ceil((q + 1) * wide))]
                part = x[int(number), :, rows[0] : rows[1], columns[0] : columns[1]].flatten(1)
                found.append(part.mean(1) if part.shape[1] else x.new_zeros(x.shape[1]))
    return _own_channels(torch.stack(found).view(len(boxes), size, size, x.shape[1]).permute(0, 3, 1, 2))


def _same(got, want, tolerance=2e-6):
    np.testing.assert_allclose(got.detach().numpy(), want.detach().numpy(), atol=tolerance, rtol=tolerance)


def _boxes(n):
    return np.sort(R.uniform(0, 9, (n, 2, 2)), 1).reshape(n, 4).astype(np.float32)


@pytest.mark.slow
def test_every_name_is_there():
    assert set(ours.__all__) == set(torchvision().ops.__all__)


def test_distances_of_boxes():
    a, b = _boxes(5), _boxes(5)
    for name, rest in (("distance_box_iou", (0.5,)), ("complete_box_iou", (0.5,)), ("complete_box_iou", ()), ("generalized_box_iou", ())):
        got = getattr(ours, name)(lamina.tensor(a), lamina.tensor(b[:3]), *rest)
        _same(got, getattr(torchvision().ops, name)(torch.tensor(a), torch.tensor(b[:3]), *rest))


@pytest.mark.parametrize("name", ["distance_box_iou_loss", "complete_box_iou_loss", "generalized_box_iou_loss"])
@pytest.mark.slow
def test_losses_of_boxes_and_their_gradients(name):
    a, b, found = _boxes(6), _boxes(6), []
    for t, ops in ((lamina, ours), (torch, torchvision().ops)):
        x = t.tensor(a).requires_grad_()
        loss = getattr(ops, name)
        loss(x, t.tensor(b), reduction="sum", eps=0.5).backward()
        found.append([x.grad, loss(x, t.tensor(b)), loss(x, t.tensor(b), "mean"), loss(t.tensor(a).int(), t.tensor(b).int())])
        assert loss(x[:0], t.tensor(b[:0]), "mean").item() == 0
        with pytest.raises(ValueError, match="Invalid Value for arg 'reduction'"):
            loss(x, x, "most")
    for got, want in zip(*found, strict=True):
        _same(got, want)


def test_boxes_around_masks():
    masks = np.zeros((3, 4, 5), np.uint8)
    masks[0, 1:3, 2] = masks[1, 0, 0] = 7
    assert ours.masks_to_boxes(lamina.tensor(masks)).tolist() == torchvision().ops.masks_to_boxes(torch.tensor(masks[:2])).tolist() + [[0] * 4]
    assert ours.masks_to_boxes(lamina.zeros(0, 2, 2)).shape == (0, 4)


ROWS = np.array([[1, 0.4, 1.2, 5.7, 6.1], [0, -2, -3, 4, 12], [1, 3, 3, 3.2, 3.1], [0, 5, 2, 30, 4.5], [0, 20, 20, 25, 25], [0, 2.5, 2.5, 3, 3]], np.float32)


@pytest.mark.slow
@pytest.mark.parametrize("name,meant,rest", [("ps_roi_align", _ps_roi_align, (0.8, -1)), ("ps_roi_align", _ps_roi_align, (0.8, 2)), ("ps_roi_pool", _ps_roi_pool, (1.0,))])
def test_position_sensitive_regions(name, meant, rest):
    x, found = R.standard_normal((2, 12, 9, 8)).astype(np.float32), []
    for t, pool in ((lamina, getattr(ours, name)), (torch, meant)):
        maps = t.tensor(x).requires_grad_()
        y = pool(maps, t.tensor(ROWS), (3, 2) if rest[1:] else 2, *rest)
        (y * y).sum().backward()
        found.append([y, maps.grad])
    for got, want in zip(*found, strict=True):
        assert got.shape == want.shape
        _same(got, want, 2e-5)
    assert getattr(ours, name)(lamina.tensor(x), lamina.tensor(ROWS[:0]), 2).shape == (0, 3, 2, 2)
    with pytest.raises(RuntimeError, match="multiple of pooling height"):
        getattr(ours, name)(lamina.tensor(x), lamina.tensor(ROWS), 5)


def test_an_average_of_no_samples():
    """Of a box without width torchvision divides nothing by none."""
    x = np.ones((1, 4, 3, 3), np.float32)
    rows = np.array([[0, 1, 1, 1, 2], [0, 0, 0, 2, 2]], np.float32)
    none, some = ours.ps_roi_align(lamina.tensor(x), lamina.tensor(rows), 2)
    assert none.isnan().all()
    _same(some[None], _ps_roi_align(torch.tensor(x), torch.tensor(rows[1:]), (2, 2), 1.0, -1))


@pytest.mark.slow
def test_boxes_of_a_pyramid():
    sizes = [(80, 72), (64, 80)]
    maps = {name: R.standard_normal((2, 3, 80 // step, 80 // step)).astype(np.float32) for name, step in (("a", 4), ("b", 8), ("c", 16))}
    boxes = [np.array([[0, 0, 9, 9], [3, 5, 70, 71], [1, 2, 41, 40], [5, 5, 5, 5]], np.float32), np.array([[2, 2, 30, 28]], np.float32)]
    found = []
    for t, ops in ((lamina, ours), (torch, with_operators().ops)):
        pooler = ops.MultiScaleRoIAlign(["a", "b", "c"], (3, 2), 2, canonical_scale=40, canonical_level=3)
        leaves = {name: t.tensor(m).requires_grad_() for name, m in maps.items()}
        y = pooler(leaves, [t.tensor(b) for b in boxes], sizes)
        (y * y).sum().backward()
        one = ops.MultiScaleRoIAlign(["b"], 2, -1)(leaves, [t.tensor(b) for b in boxes], sizes)
        found += [[y, one, *[m.grad for m in leaves.values()]]]
        assert repr(pooler) == "MultiScaleRoIAlign(featmap_names=['a', 'b', 'c'], output_size=(3, 2), sampling_ratio=2)"
        assert pooler.scales == [0.25, 0.125, 0.0625]
    for got, want in zip(*found, strict=True):
        _same(got, want, 2e-5)


def test_coarser_maps_and_blocks_of_clips():
    found, x = [], R.standard_normal((1, 4, 6, 6)).astype(np.float32)
    for t, ops, pyramid in ((lamina, ours, "lamina.pyfront.vision.feature_pyramid"), (torch, torchvision().ops, "torchvision.ops.feature_pyramid_network")):
        extra = pytest.importorskip(pyramid).LastLevelP6P7
        t.manual_seed(3)
        blocks = [extra(4, 4), extra(3, 4)]
        maps = [block([t.tensor(x)], [t.tensor(x[:, :3])], ["a"]) for block in blocks]
        assert [names for _, names in maps] == [["a", "p6", "p7"]] * 2
        layer = ops.Conv3dNormActivation(2, 3, (3, 1, 5), dilation=(1, 2, 1))
        assert repr(ops.DropBlock3d(0.1, 3)) == "DropBlock3d(p=0.1, block_size=3, inplace=False)"
        dropped = ops.DropBlock3d(0.3, 3)(t.ones(2, 3, 6, 7, 5))
        found.append([m for made, _ in maps for m in made] + list(layer.state_dict().values()) + [layer(t.ones(1, 2, 4, 4, 4)), dropped])
        found[-1].append(repr(layer))
    assert found[0].pop() == found[1].pop()
    for got, want in zip(*found, strict=True):
        _same(got, want, 2e-5)
    with pytest.raises(ValueError, match="5 dimensional"):
        ours.drop_block3d(lamina.ones(1, 1, 3, 3), 0.1, 3)
