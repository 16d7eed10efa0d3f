"""Operations that change nothing give memory of their own where PyTorch's do, and views where those are views."""

from __future__ import annotations

import lamina
import pytest
from lamina.dialects import flags

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

CALLS = (
    "F.pad(x, (0, 0))", "F.pad(x, (0, 0), mode='reflect')", "F.pad(x, (0, 0), mode='circular')", "F.pad(x, (0, 0), mode='replicate')", "x.repeat_interleave(1, 2)",
    "torch.nn.ConstantPad1d(0, 1.0)(x)", "F.interpolate(x, scale_factor=1.0, mode='linear')", "F.interpolate(x, size=4)", "F.pixel_shuffle(x, 1)", "F.pixel_unshuffle(x, 1)",
    "F.channel_shuffle(x, 1)", "F.pixel_shuffle(x.reshape(8, 1, 1), 2)", "F.avg_pool1d(x, 1)", "F.adaptive_avg_pool1d(x, 4)", "F.max_pool1d(x, 1)", "F.dropout(x, 0.0)",
    "F.dropout(x, 0.5, training=False)", "x.roll(0)", "x.flip([])", "x.repeat(1, 1, 1)", "x.tile((1,))", "torch.cat([x])", "torch.stack([x])[0]", "torch.rot90(x, 4, [1, 2])",
    "torch.hstack([x])", "torch.dstack([x])", "x.clamp(-99)", "x.tril(9)", "x.diff(n=0)", "x.sum(0)", "x[:1].cumprod(0)", "x ** 1", "x * 1", "+x", "x.nan_to_num()", "x[[0]]",
    "x.index_select(0, torch.tensor([0]))", "x.slice_scatter(x, 0)", "x.renorm(2, 0, 1e9)", "x.contiguous()", "x.float()", "x.reshape(1, 2, 4)", "x.expand(1, 2, 4)", "x[...]",
    "torch.real(x)", "x.conj()", "x.resolve_conj()", "torch.as_tensor(x)", "torch.broadcast_tensors(x)[0]", "torch.cartesian_prod(x[0, 0])", "x.squeeze()", "torch.atleast_3d(x)",
    "torch.einsum('abc->acb', x)", "x.split(9)[0]", "x.detach()", "x.clone()", "x.view_as(x)", "x.ravel()", "torch.meshgrid(x[0, 0], indexing='ij')[0]",
)  # fmt: skip


@pytest.mark.parametrize("tracked", [False, True])
def test_who_sees_a_write(tracked: bool) -> None:
    def seen(torch, call: str) -> list:
        x = torch.arange(8.0).reshape(1, 2, 4)
        x = x.requires_grad_() * 1 if tracked else x
        made = eval(call, {"torch": torch, "F": torch.nn.functional, "x": x})
        made.detach().fill_(77.0)
        return x.tolist()

    with flags.device("numpy"):
        for call in CALLS:
            assert seen(lamina, call) == seen(torch, call), call
