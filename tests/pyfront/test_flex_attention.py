"""Flex attention against PyTorch's own (gradients, which that one has no CPU kernels for, against the formula): masks and scores as
functions of positions, grouped heads."""

from __future__ import annotations

import numpy as np
import pytest

import lamina
from lamina.pyfront.nn import flex_attention as ours

torch = pytest.importorskip("torch")
theirs = pytest.importorskip("torch.nn.attention.flex_attention")
pytestmark = pytest.mark.torch


@pytest.fixture(autouse=True)
def checked_distributions():
    """PyTorch's flex attention brings its compiler along, which turns the checks of distributions off."""
    yield
    torch.distributions.Distribution.set_default_validate_args(True)


def causal(b, h, q_idx, kv_idx):
    return q_idx >= kv_idx


def near(b, h, q_idx, kv_idx):
    return (q_idx - kv_idx).abs() <= 5


def _tensors(module, heads=4, kv_heads=4):
    rng = np.random.default_rng(0)
    shapes = ((2, heads, 24, 16), (2, kv_heads, 40, 16), (2, kv_heads, 40, 8))
    return [module.tensor(rng.standard_normal(s).astype(np.float32), requires_grad=True) for s in shapes]


def _score(module):
    slopes = module.tensor([0.1, 0.2, 0.3, 0.4])
    return lambda score, b, h, q_idx, kv_idx: score - slopes[h] * (q_idx - kv_idx).abs()


@pytest.mark.parametrize("mask", [None, "causal", "both"])
@pytest.mark.parametrize("scored", [False, True])
@pytest.mark.slow
def test_results_and_gradients(mask, scored):
    found = []
    for module, flex in ((lamina, ours), (torch, theirs)):
        q, k, v = _tensors(module)
        mod = {None: None, "causal": causal, "both": flex.and_masks(causal, near)}[mask]
        block = None if mod is None else flex.create_block_mask(mod, None, None, 24, 40, device="cpu")
        score = _score(module) if scored else None
        if module is torch:
            wanted = [t.numpy() for t in flex.flex_attention(q.detach(), k.detach(), v.detach(), score, block, return_lse=True)]
            out = _formula(q, k, v, score, mod)
        else:
            out, lse = flex.flex_attention(q, k, v, score, block, return_lse=True)
            wanted = [out.detach().numpy(), lse.detach().numpy()]
        (out.sum() + out.square().sum()).backward()
        found.append([*wanted, *(t.grad.numpy() for t in (q, k, v))])
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5)


def _formula(q, k, v, score, mask):
    positions = [torch.arange(n).reshape([-1 if i == axis else 1 for i in range(4)]) for axis, n in enumerate((2, 4, 24, 40))]
    scores = q @ k.mT / 4
    scores = scores if score is None else score(scores, *positions)
    return (scores if mask is None else torch.where(mask(*positions), scores, -torch.inf)).softmax(-1) @ v


def test_rows_that_see_nothing_and_grouped_heads():
    found = []
    for module, flex in ((lamina, ours), (torch, theirs)):
        q, k, v = _tensors(module, kv_heads=2)
        block = flex.create_block_mask(lambda b, h, q_idx, kv_idx: (q_idx > 3) & (kv_idx < 10), None, None, 24, 40, device="cpu")
        found.append(flex.flex_attention(q.detach(), k.detach(), v.detach(), block_mask=block, enable_gqa=True).numpy())
    np.testing.assert_allclose(*found, rtol=2e-4, atol=2e-5)
    assert (found[0][:, :, :4] == 0).all()


def test_what_does_not_fit_is_refused():
    q, k, v = _tensors(lamina, kv_heads=2)
    with pytest.raises(ValueError, match="enable_gqa"):
        ours.flex_attention(q, k, v)
    with pytest.raises(ValueError, match="kv_len=40"):
        ours.flex_attention(q, k, v, enable_gqa=True, block_mask=ours.create_block_mask(causal, None, None, 24, 24))


def test_masks_as_tensors():
    block = ours.create_block_mask(causal, None, None, 256, 256)
    assert block.to_dense().tolist() == [[[[1, 0], [1, 1]]]] and block.sparsity() == 25.0
    assert ours.create_mask(causal, 2, None, 3, 3).shape == (2, 1, 3, 3)
