"""Attention against PyTorch: values and gradients over masks, lengths and heads, through the library's function and by hand."""

from __future__ import annotations

import math
from types import ModuleType

import lamina
import numpy as np
import pytest
from lamina.backends import driver
from lamina.dialects import flags
from lamina.pyfront import recorder

torch = pytest.importorskip("torch")

PLAIN = (2, 3, 40, 40, 16)
SHAPES = [PLAIN, (1, 2, 131, 67, 20), (1, 2, 96, 160, 24), (2, 4, 1, 300, 32)]
"""Batch, heads, queries, keys, width."""


def attend(lib: ModuleType, how: str, q, k, v, mask):
    """One way to write attention."""
    function = lib.nn.functional.scaled_dot_product_attention
    rows, columns, scale = q.shape[-2], k.shape[-2], 1 / math.sqrt(q.shape[-1])
    if how == "plain":
        return function(q, k, v)
    if how == "causal":
        return function(q, k, v, is_causal=True)
    if how == "boolean":
        return function(q, k, v, attn_mask=mask > 0)
    if how == "added":
        return function(q, k, v, attn_mask=mask, scale=0.3)
    scores = q @ k.transpose(-2, -1) * scale
    if how == "by hand":
        later = lib.arange(columns)[None, :] > lib.arange(rows)[:, None]
        return lib.softmax(scores.masked_fill(later, -math.inf), dim=-1) @ v
    assert how == "window"
    distance = lib.arange(rows)[:, None] - lib.arange(columns)[None, :]
    near = (distance >= 0) & (distance < 16) | (lib.arange(columns)[None, :] == 0)
    return lib.where(near, scores, lib.tensor(-math.inf)).softmax(-1) @ v


def outcome(lib: ModuleType, how: str, shape: tuple[int, ...], dtype: str = "float32") -> list[np.ndarray]:
    """The result and the gradients of queries, keys and values."""
    batch, heads, rows, columns, width = shape
    numbers = np.random.default_rng(0)
    arrays = [numbers.standard_normal((batch, heads, n, width)).astype(dtype) for n in (rows, columns, columns, rows)]
    mask = numbers.standard_normal((rows, columns)).astype(dtype)
    mask[:, 0] = 1.0
    q, k, v = (lib.from_numpy(a).requires_grad_() for a in arrays[:3])
    y = attend(lib, how, q, k, v, lib.from_numpy(mask))
    y.backward(lib.from_numpy(arrays[3]))
    return [t.numpy() for t in (y.detach(), q.grad, k.grad, v.grad)]


def compare(how: str, shape: tuple[int, ...], dtype: str = "float32") -> None:
    tight = 1e-5 if dtype == "float32" else 1e-12
    for ours, theirs in zip(outcome(lamina, how, shape, dtype), outcome(torch, how, shape, dtype), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=10 * tight, atol=tight)


@pytest.mark.parametrize("how", ["causal", "by hand"])
def test_like_pytorch(how):
    compare(how, PLAIN)


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES[1:], ids=str)
@pytest.mark.parametrize("how", ["plain", "causal", "boolean", "added", "by hand", "window"])
def test_masks_and_lengths(how, shape):
    compare(how, shape)


@pytest.mark.slow
@pytest.mark.parametrize("shape", [PLAIN, (1, 2, 300, 300, 16)], ids=str)
def test_double_precision(shape):
    compare("causal", shape, "float64")


@pytest.mark.slow
def test_long_causal_rows_run_in_blocks():
    compare("causal", (1, 2, 520, 520, 32))
    compare("by hand", (1, 2, 521, 521, 16))


@pytest.mark.slow
def test_grouped_queries():
    """Four heads of queries share a head of keys and values."""

    def program(lib: ModuleType) -> list[np.ndarray]:
        numbers = np.random.default_rng(1)
        q, k, v = (lib.from_numpy(numbers.standard_normal((1, h, 200, 16), dtype=np.float32)).requires_grad_() for h in (8, 2, 2))
        y = lib.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        (y * y).sum().backward()
        return [t.numpy() for t in (y.detach(), q.grad, k.grad, v.grad)]

    for ours, theirs in zip(program(lamina), program(torch), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_dropout_drops_what_pytorch_drops():
    """PyTorch's masks, by hand: its own function may take another order of draws."""

    def program(lib: ModuleType) -> list[np.ndarray]:
        lib.manual_seed(3)
        numbers = np.random.default_rng(2)
        q, k, v = (lib.from_numpy(numbers.standard_normal((1, 2, 150, 16), dtype=np.float32)).requires_grad_() for _ in range(3))
        weights = lib.nn.functional.dropout((q @ k.transpose(-2, -1) / 4).softmax(-1), 0.2)
        y = weights @ v
        (y * y).sum().backward()
        return [t.numpy() for t in (y.detach(), q.grad, k.grad, v.grad)]

    for ours, theirs in zip(program(lamina), program(torch), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_calls_that_are_remembered_are_told_apart():
    """Without gradients a call is recorded again as it was before: by its scale, its mask and its types; operands may be one tensor."""
    g = np.random.default_rng(5)
    for shape in ((1, 2, 5, 4), (2, 5, 4)):
        for turn in range(3):
            q, k, v = (lamina.tensor(g.standard_normal(shape).astype(np.float32)) for _ in range(3))
            for operands in ((q, k, v), (q, q, q), (q, k, k), (k.transpose(-2, -3).contiguous().transpose(-2, -3), k, v)):
                for causal in (False, True):
                    for scale in (None, 0.3, 2.0):
                        with lamina.no_grad():
                            found = lamina.nn.functional.scaled_dot_product_attention(*operands, is_causal=causal, scale=scale).numpy()
                        a, b, c = (x.numpy() for x in operands)
                        scores = a @ b.swapaxes(-1, -2) * (scale or 0.5)
                        scores = np.where(np.tril(np.ones((5, 5), bool)), scores, -np.inf) if causal else scores
                        weights = np.exp(scores - scores.max(-1, keepdims=True))
                        np.testing.assert_allclose(found, weights / weights.sum(-1, keepdims=True) @ c, rtol=2e-5, atol=2e-6)
            tracked = lamina.nn.functional.scaled_dot_product_attention(q.requires_grad_(), k, v)
            assert tracked.requires_grad and tracked.grad_fn is not None


def oracle(graph, arrays, spare=None):
    with flags.device("numpy"):
        return driver.run(graph, arrays)


@pytest.mark.parametrize("options", [{}, {"kdim": 6, "vdim": 6}, {"add_bias_kv": True, "add_zero_attn": True}, {"batch_first": True, "bias": False}])
def test_heads_recorded_again_are_what_they_were(options, monkeypatch):
    """Without gradients the layer's Python runs once per types; whose operand is whose, masks and options are told apart."""
    monkeypatch.setattr(recorder.state, "run", oracle)
    lamina.manual_seed(0)
    layer = lamina.nn.MultiheadAttention(6, 2, dropout=0.5, **options).eval()
    q, k, v = (lamina.randn(3, 3, 6) for _ in range(3))
    hidden = lamina.ones(3, 3).triu(1).bool()
    for mask in (None, hidden, hidden.float() * -2):
        for weights in (False, True):
            for operands in ((q, k, v), (q, q, q), (k, v, v), (v, k, v), (q, k, v)):
                with lamina.no_grad():
                    got = layer(*operands, need_weights=weights, attn_mask=mask)
                want = layer(*operands, need_weights=weights, attn_mask=mask)
                assert want[0].requires_grad and not got[0].requires_grad
                assert lamina.allclose(got[0], want[0], atol=1e-6)
                assert (got[1] is None) if not weights else lamina.allclose(got[1], want[1], atol=1e-6)
    with lamina.no_grad():
        before = layer(q, k, v)[0]
        layer.out_proj.weight.mul_(2.0)
        assert not lamina.allclose(layer(q, k, v)[0], before), "weights are looked at in each call"
        assert not lamina.equal(layer.train()(q, k, v)[0], layer(q, k, v)[0]), "dropout is drawn anew"


@pytest.mark.parametrize("length", [4, 20])
def test_a_query_that_may_see_no_key_is_given_zeros(length):
    def grads(module):
        module.manual_seed(0)
        q, k, v = [module.randn(2, 2, length, 8, requires_grad=True) for _ in range(3)]
        mask = module.ones(1, 1, length, length, dtype=module.bool)
        mask[..., 1, :] = False
        mask[..., -1] = False
        found = []
        for m in (mask, module.zeros(length, length).masked_fill(~mask[0, 0], float("-inf"))):
            y = module.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=m)
            found += [y, *module.autograd.grad(y.square().sum(), (q, k, v))]
        return [t.detach().numpy() for t in found]

    for ours, theirs in zip(grads(lamina), grads(torch), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)
