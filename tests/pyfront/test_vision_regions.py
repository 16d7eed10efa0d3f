"""roi_align, roi_pool, deform_conv2d, DropBlock and the feature pyramid against torchvision."""

import lamina
import numpy as np
import pytest
import torch
import torchvision.ops as theirs
from lamina.vision import ops as ours

R = np.random.default_rng(0)


def _same(ours_, theirs_, tolerance=2e-5):
    np.testing.assert_allclose(ours_.detach().numpy(), theirs_.detach().numpy(), atol=tolerance, rtol=tolerance)


def _tensors(*arrays):
    return [[t.tensor(a).requires_grad_() for a in arrays] for t in (lamina, torch)]


BOXES = np.array([[1, 0.4, 1.2, 5.7, 6.1], [0, -2, -3, 4, 12], [1, 3, 3, 3.2, 3.1], [0, 5, 2, 30, 4.5], [0, 20, 20, 25, 25]], np.float32)


@pytest.mark.parametrize("sampling", [-1, 2])
@pytest.mark.parametrize("aligned", [False, True])
def test_roi_align(sampling, aligned):
    (a,), (b,) = _tensors(R.standard_normal((2, 3, 9, 8)).astype(np.float32))
    options = {"output_size": (3, 2), "spatial_scale": 0.8, "sampling_ratio": sampling, "aligned": aligned}
    got, want = ours.roi_align(a, lamina.tensor(BOXES), **options), theirs.roi_align(b, torch.tensor(BOXES), **options)
    _same(got, want)
    (got * got).sum().backward(), (want * want).sum().backward()
    _same(a.grad, b.grad, 1e-4)


def test_roi_pool_and_lists_of_boxes():
    x = np.round(R.standard_normal((2, 3, 9, 8))).astype(np.float32)  # ties: the first is the maximum
    (a,), (b,) = _tensors(x)
    got, want = ours.roi_pool(a, lamina.tensor(BOXES), 3, 0.8), theirs.roi_pool(b, torch.tensor(BOXES), 3, 0.8)
    _same(got, want)
    (got * got).sum().backward(), (want * want).sum().backward()
    _same(a.grad, b.grad)
    lists = [BOXES[1:3, 1:], BOXES[:1, 1:]]
    _same(ours.RoIPool(2, 1.0)(a, [lamina.tensor(l) for l in lists]), theirs.RoIPool(2, 1.0)(b, [torch.tensor(l) for l in lists]))
    assert ours.roi_align(a, [lamina.zeros(0, 4), lamina.zeros(0, 4)], 2).shape == (0, 3, 2, 2)
    with pytest.raises(AssertionError, match="not correct as Tensor"):
        ours.roi_align(a, lamina.zeros(1, 4), 2)
    assert repr(ours.RoIAlign(7, 0.5, 2)) == repr(theirs.RoIAlign(7, 0.5, 2))


@pytest.mark.parametrize("masked", [False, True])
def test_deformable_convolution(masked):
    f = lambda *s: R.standard_normal(s).astype(np.float32)  # noqa: E731
    a, b = _tensors(f(2, 4, 7, 6), 2 * f(2, 2 * 2 * 6, 3, 3), f(6, 2, 3, 2), f(6), f(2, 2 * 6, 3, 3))
    found = []
    for ops, (x, offset, weight, bias, mask) in ((ours, a), (theirs, b)):
        y = ops.deform_conv2d(x, offset, weight, bias, stride=(2, 2), padding=(1, 0), dilation=(2, 1), mask=mask if masked else None)
        (y * y).sum().backward()
        found.append([y, x.grad, offset.grad, weight.grad, bias.grad, *([mask.grad] if masked else [])])
    for got, want in zip(*found, strict=True):
        _same(got, want, 2e-3)
    with pytest.raises(RuntimeError, match="offset tensor at dimension 1"):
        ours.deform_conv2d(a[0], a[1][:, :2], a[2])


def test_the_same_seed_drops_the_same_blocks_and_draws_the_same_layers():
    found = []
    for t, ops in ((lamina, ours), (torch, theirs)):
        t.manual_seed(3)
        layer = ops.DeformConv2d(4, 2, 3)
        pyramid = ops.FeaturePyramidNetwork([4, 6], 5)
        dropped = ops.DropBlock2d(0.3, 3)(t.ones(2, 3, 10, 10))
        maps = pyramid({"a": t.ones(1, 4, 8, 8), "b": t.ones(1, 6, 4, 4)})
        found.append([layer.weight, layer.bias, dropped, *maps.values()])
        assert list(maps) == ["a", "b"]
        found[-1] += list(pyramid.state_dict().values())
    for got, want in zip(*found, strict=True):
        _same(got, want)
    with pytest.raises(ValueError, match="drop probability"):
        ours.drop_block2d(lamina.ones(1, 1, 3, 3), 2.0, 3)
