"""Parts of layers under PyTorch's names, which programs call or put their own in place of."""

from __future__ import annotations

import types
from typing import Any

import numpy as np
import pytest

import lamina

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch


def standardized(t: Any) -> Any:
    class Standardized(t.nn.Conv2d):
        def forward(self, x: Any) -> Any:
            w = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
            return self._conv_forward(x, w, self.bias)

    t.manual_seed(0)
    layer, x = Standardized(2, 3, 3, padding=1, padding_mode="circular"), t.randn(1, 2, 5, 5)
    y = layer(x)
    y.square().sum().backward()
    return [y, layer.weight.grad]


def counted(t: Any) -> Any:
    class Counted(t.nn.Conv1d):
        calls = 0

        def _conv_forward(self, x: Any, weight: Any, bias: Any) -> Any:
            self.calls += 1
            return super()._conv_forward(x, weight * self.calls, bias)

    t.manual_seed(1)
    layer, x = Counted(2, 3, 3), t.randn(1, 2, 7)
    return [layer(x), layer(x), layer(x), t.tensor(layer.calls)]


def exchanged(t: Any) -> Any:
    t.manual_seed(2)
    layer, x = t.nn.Conv2d(2, 3, 3, padding=1), t.randn(1, 2, 5, 5)
    found = [layer(x) for _ in range(3)]
    pad, convolve = t.nn.functional.pad, t.nn.functional.conv2d
    layer._conv_forward = types.MethodType(lambda self, i, w, b: convolve(pad(i, (1, 1, 1, 1), mode="circular"), w, b), layer)
    return found + [layer(x) for _ in range(3)]


def blocks(t: Any) -> Any:
    class Flipped(t.nn.TransformerEncoderLayer):
        def _sa_block(self, x: Any, attn_mask: Any, key_padding_mask: Any, is_causal: bool = False) -> Any:
            return self.dropout1(self.self_attn(x.flip(1), x, x, need_weights=False)[0])

    t.manual_seed(3)
    encoder, decoder = Flipped(8, 2, 16, batch_first=True), t.nn.TransformerDecoderLayer(8, 2, 16, batch_first=True, norm_first=True)
    x = t.randn(2, 4, 8)
    return [encoder(x), encoder._ff_block(x), decoder(x, x), decoder._mha_block(x, x, None, None), decoder._ff_block(x)]


@pytest.mark.parametrize("program", [standardized, counted, exchanged, blocks])
def test_is_what_pytorch_gives(program: Any) -> None:
    for ours, theirs in zip(program(lamina), program(torch), strict=True):
        np.testing.assert_allclose(ours.detach().numpy(), theirs.detach().numpy(), rtol=1e-4, atol=1e-5)
