"""grad_fn: the name that is printed behind a tensor is PyTorch's."""

from __future__ import annotations

from typing import Any

import pytest

import lamina

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

INDEXED = """
x[0, :3] | x[0] | x[:2] | x[..., 0] | x[:, None] | x[None, 0] | x[0, 1:, 2] | x[[0, 1]] | x[x > 0] | x[:] | x[...] | x[:, 1:] | x[1:2, 0] | x[0][1:] | x[None] | x[..., None]
x[0, ..., 1:] | x[0, :] | x[:, [0, 1]] | x[0, 0, 0] | x[:, :] | x[0:] | x[:, :, :5] | x[0, :4] | x[None, :] | x[:, None, :2] | x[..., :] | x[True] | x[()] | x[0][...] | x[...,0:5]
"""
MADE = """
x @ x.mT | x @ m | m @ m.T | m @ v[:4] | v @ n | x @ v | v @ v | x.square() | x.log1p() | x.clamp(0, 1) | x.chunk(2)[0] | m.tile(2) | torch.einsum("ij,kj->ik", m, m) | torch.outer(v, v)
torch.take_along_dim(m, torch.zeros(5, 1, dtype=torch.int64), 1) | m.repeat_interleave(2) | torch.meshgrid(v, v, indexing="ij")[0] | F.scaled_dot_product_attention(b, b, b) | F.selu(x)
"""


def parts(text: str) -> list[str]:
    return [call.strip() for line in text.strip().splitlines() for call in line.split(" | ")]


@pytest.mark.parametrize("source", parts(INDEXED) + parts(MADE))
def test_is_named_as_in_pytorch(source: str) -> None:
    def name(module: Any) -> str:
        shapes = {"x": (3, 4, 5), "m": (5, 4), "v": (5,), "n": (5, 2), "b": (1, 2, 3, 4)}
        scope = {k: module.ones(*s, requires_grad=True) for k, s in shapes.items()}
        return eval(source, {"torch": module, "F": module.nn.functional, **scope}).grad_fn.name()  # noqa: S307  # our own expressions

    assert name(lamina) == name(torch)
