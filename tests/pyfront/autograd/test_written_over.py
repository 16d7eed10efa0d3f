"""Results that a program writes over before backward: allowed wherever PyTorch's backward does without them, and refused where it keeps them."""

from __future__ import annotations

import lamina as ours
import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

RESULTS = {
    "quotient": lambda F, x, w: x / w,
    "normalize": lambda F, x, w: F.normalize(x, dim=-1),
    "elu": lambda F, x, w: F.elu(x - 0.5, 0.7),
    "selu": lambda F, x, w: F.selu(x - 0.5),
    "celu": lambda F, x, w: F.celu(x - 0.5),
    "max_pool1d": lambda F, x, w: F.max_pool1d(x[0], 2),
    "max_pool2d": lambda F, x, w: F.max_pool2d(x * w, 3, 2, 1),
    "max_pool3d": lambda F, x, w: F.max_pool3d(x, 2),
    "adaptive_max_pool2d": lambda F, x, w: F.adaptive_max_pool2d(x, 2),
    "avg_pool2d": lambda F, x, w: F.avg_pool2d(x, 2),
    "largest": lambda F, x, w: x.max(-1)[0],
    "exp": lambda F, x, w: x.exp(),
    "softmax": lambda F, x, w: x.softmax(-1),
    "sqrt": lambda F, x, w: x.sqrt(),
}
KEPT = {"exp", "softmax", "sqrt"}


def gradients(lib, make, early: bool):
    torch.manual_seed(0)
    start = torch.rand(2, 2, 4, 4, 4).numpy()[0] + 0.1
    x, w = (lib.from_numpy(start * scale).requires_grad_() for scale in (1.0, 1.5))
    y = make(lib.nn.functional, x * 1, w * 1)
    if early:
        y.sum().item()  # computed before backward is known
    y.mul_(2)
    y[..., 0] += 1
    (y * y.detach()).sum().backward()
    return [None if t.grad is None else t.grad.tolist() for t in (x, w)]


@pytest.mark.parametrize("early", (False, True))
@pytest.mark.parametrize("name", RESULTS)
def test_written_over(name: str, early: bool) -> None:
    if name in KEPT:
        for lib in (ours, torch):
            with pytest.raises(RuntimeError, match="modified by an inplace operation"):
                gradients(lib, RESULTS[name], early)
        return
    for mine, theirs in zip(gradients(ours, RESULTS[name], early), gradients(torch, RESULTS[name], early), strict=True):
        assert (mine is None) == (theirs is None)
        if mine is not None:
            torch.testing.assert_close(torch.tensor(mine), torch.tensor(theirs))
