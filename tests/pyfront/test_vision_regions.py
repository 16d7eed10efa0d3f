"""roi_align, roi_pool and deform_conv2d against their definitions in PyTorch's tensors; DropBlock and the feature pyramid against torchvision.

torchvision's own are in its compiled part, which not every build of PyTorch can load.
"""

import math

import lamina
import numpy as np
import pytest
import torch
from lamina.vision import ops as ours

from .torchvision_oracle import torchvision

R = np.random.default_rng(0)


def _number(v):
    return v.item() if isinstance(v, torch.Tensor) else float(v)


def _between(planes, y, x, is_inside, beyond):
    """Planes [channels, height, width] at a place between their elements. beyond: what lies outside is the nearest edge, else 0."""
    height, width = planes.shape[-2:]
    if not is_inside(_number(y), height) or not is_inside(_number(x), width):
        return planes.new_zeros(planes.shape[0])
    if beyond:
        y, x = (min(max(v, 0.0), n - 1.0) for v, n in ((y, height), (x, width)))
    top, left = math.floor(_number(y)), math.floor(_number(x))
    found = 0
    for row, by_row in ((top, 1 - (y - top)), (top + 1, y - top)):
        for column, by_column in ((left, 1 - (x - left)), (left + 1, x - left)):
            if 0 <= row < height and 0 <= column < width:
                found = found + planes[:, row, column] * by_row * by_column
    return found


def _roi_align(x, boxes, output_size, spatial_scale, sampling_ratio, aligned):
    found = []
    for number, *corners in boxes.tolist():
        left, top, right, bottom = np.float32(corners) * np.float32(spatial_scale) - np.float32(0.5 * aligned)  # how many samples there are depends on the rounding
        sizes = [v if aligned else max(v, 1.0) for v in (bottom - top, right - left)]
        high, wide = (size / n for size, n in zip(sizes, output_size, strict=True))
        rows, columns = (sampling_ratio if sampling_ratio > 0 else math.ceil(v) for v in (high, wide))
        for p in range(output_size[0]):
            for q in range(output_size[1]):
                places = [(top + high * (p + (i + 0.5) / rows), left + wide * (q + (j + 0.5) / columns)) for i in range(rows) for j in range(columns)]
                values = [_between(x[int(number)], *place, lambda v, n: -1 <= v <= n, True) for place in places]
                found.append(sum(values) / max(len(values), 1))
    return torch.stack(found).view(len(boxes), *output_size, x.shape[1]).permute(0, 3, 1, 2)


def _roi_pool(x, boxes, size, spatial_scale):
    found, (height, width) = [], x.shape[-2:]
    for number, *corners in boxes.tolist():
        left, top, right, bottom = (math.floor(v * spatial_scale + 0.5) for v in corners)
        high, wide = max(bottom - top + 1, 1) / size, max(right - left + 1, 1) / size
        for p in range(size):
            for q in range(size):
                rows = [min(max(v + top, 0), height) for v in (math.floor(p * high), math.ceil((p + 1) * high))]
                columns = [min(max(v + left, 0), width) for v in (math.floor(q * wide), math.ceil((q + 1) * wide))]
                part = x[int(number), :, rows[0] : rows[1], columns[0] : columns[1]].flatten(1)
                found.append(part.max(1).values if part.shape[1] else x.new_zeros(x.shape[1]))
    return torch.stack(found).view(len(boxes), size, size, x.shape[1]).permute(0, 3, 1, 2)


def _deform_conv2d(x, offset, weight, bias, stride, padding, dilation, mask):
    taps, groups = [(i, j) for i in range(weight.shape[2]) for j in range(weight.shape[3])], x.shape[1] // weight.shape[1]
    parts = offset.shape[1] // (2 * len(taps))
    columns = []
    for n in range(x.shape[0]):
        for p in range(offset.shape[2]):
            for q in range(offset.shape[3]):
                for k, (i, j) in enumerate(taps):
                    for g, planes in enumerate(x[n].chunk(parts)):
                        at = g * len(taps) + k
                        y = p * stride[0] - padding[0] + i * dilation[0] + offset[n, 2 * at, p, q]
                        z = q * stride[1] - padding[1] + j * dilation[1] + offset[n, 2 * at + 1, p, q]
                        value = _between(planes, y, z, lambda v, size: -1 < v < size, False)
                        columns.append(value if mask is None else value * mask[n, at, p, q])
    seen = torch.stack(columns).view(x.shape[0], *offset.shape[2:], len(taps), x.shape[1])  # channels of the parts lie side by side
    seen = seen.unflatten(-1, (groups, -1)).permute(0, 4, 1, 2, 5, 3)
    found = torch.einsum("ngpqck,gock->ngopq", seen, weight.flatten(2).unflatten(0, (groups, -1)))
    return found.flatten(1, 2) + bias[:, None, None]


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
    got, want = ours.roi_align(a, lamina.tensor(BOXES), **options), _roi_align(b, torch.tensor(BOXES), **options)
    _same(got, want)
    (got * got).sum().backward(), (want * want).sum().backward()
    _same(a.grad, b.grad, 1e-4)


def test_roi_pool_and_lists_of_boxes():
    x = np.round(R.standard_normal((2, 3, 9, 8))).astype(np.float32)  # ties: the first is the maximum
    (a,), (b,) = _tensors(x)
    got, want = ours.roi_pool(a, lamina.tensor(BOXES), 3, 0.8), _roi_pool(b, torch.tensor(BOXES), 3, 0.8)
    _same(got, want)
    (got * got).sum().backward(), (want * want).sum().backward()
    _same(a.grad, b.grad)
    lists = [BOXES[1:3, 1:], BOXES[:1, 1:]]
    numbered = np.concatenate([np.insert(boxes, 0, i, 1) for i, boxes in enumerate(lists)])
    _same(ours.RoIPool(2, 1.0)(a, [lamina.tensor(l) for l in lists]), _roi_pool(b, torch.tensor(numbered), 2, 1.0))
    assert ours.roi_align(a, [lamina.zeros(0, 4), lamina.zeros(0, 4)], 2).shape == (0, 3, 2, 2)
    with pytest.raises(AssertionError, match="not correct as Tensor"):
        ours.roi_align(a, lamina.zeros(1, 4), 2)
    assert repr(ours.RoIAlign(7, 0.5, 2)) == repr(torchvision().ops.RoIAlign(7, 0.5, 2))


@pytest.mark.slow
@pytest.mark.parametrize("masked", [False, True])
def test_deformable_convolution(masked):
    f = lambda *s: R.standard_normal(s).astype(np.float32)  # noqa: E731
    a, b = _tensors(f(2, 4, 7, 6), 2 * f(2, 2 * 2 * 6, 3, 3), f(6, 2, 3, 2), f(6), f(2, 2 * 6, 3, 3))
    found = []
    for convolve, (x, offset, weight, bias, mask) in ((ours.deform_conv2d, a), (_deform_conv2d, b)):
        y = convolve(x, offset, weight, bias, stride=(2, 2), padding=(1, 0), dilation=(2, 1), mask=mask if masked else None)
        (y * y).sum().backward()
        found.append([y, x.grad, offset.grad, weight.grad, bias.grad, *([mask.grad] if masked else [])])
    for got, want in zip(*found, strict=True):
        _same(got, want, 2e-3)
    with pytest.raises(RuntimeError, match="offset tensor at dimension 1"):
        ours.deform_conv2d(a[0], a[1][:, :2], a[2])


def test_the_same_seed_drops_the_same_blocks_and_draws_the_same_layers():
    found = []
    for t, ops in ((lamina, ours), (torch, torchvision().ops)):
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
