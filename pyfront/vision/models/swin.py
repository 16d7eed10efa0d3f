"""Swin transformers (https://arxiv.org/abs/2103.14030) and their second version (https://arxiv.org/abs/2111.09883)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from ... import nn
from ...creation import of_array, ones, zeros
from ...joining import cat
from ...nn import functional as F
from ...tensor import Tensor
from ..layers import MLP, Permute, StochasticDepth
from .api import model


def _parts(x: Tensor) -> Tensor:
    """[..., h, w, c] to [..., h / 2, w / 2, 4 c], padded to even sizes."""
    h, w = x.shape[-3:-1]
    x = F.pad(x, (0, 0, 0, w % 2, 0, h % 2))
    return cat([x[..., i::2, j::2, :] for i, j in ((0, 0), (1, 0), (0, 1), (1, 1))], -1)


class PatchMerging(nn.Module):
    """Four neighbours become one, of twice the channels."""

    def __init__(self, dim: int, norm_layer: Any = nn.LayerNorm) -> None:
        super().__init__()
        self.dim = dim
        self.reduction = nn.Linear(4 * dim, 2 * dim, bias=False)
        self.norm = norm_layer(4 * dim)

    def forward(self, x: Tensor) -> Tensor:
        """[n, h, w, dim] to [n, h / 2, w / 2, 2 dim]."""
        return self.reduction(self.norm(_parts(x)))


class PatchMergingV2(nn.Module):
    """Four neighbours become one, of twice the channels; normalised last."""

    def __init__(self, dim: int, norm_layer: Any = nn.LayerNorm) -> None:
        super().__init__()
        self.dim = dim
        self.reduction = nn.Linear(4 * dim, 2 * dim, bias=False)
        self.norm = norm_layer(2 * dim)

    def forward(self, x: Tensor) -> Tensor:
        """[n, h, w, dim] to [n, h / 2, w / 2, 2 dim]."""
        return self.norm(self.reduction(_parts(x)))


def _relative_index(window: Sequence[int]) -> np.ndarray:
    """int64[area * area]: for two places of a window, where the table of relative positions has them."""
    places = np.stack(np.meshgrid(*[np.arange(n) for n in window], indexing="ij")).reshape(2, -1)
    apart = places[:, :, None] - places[:, None, :] + np.array(window)[:, None, None] - 1
    return (apart[0] * (2 * window[1] - 1) + apart[1]).reshape(-1)


def _regions(height: int, width: int, window: Sequence[int], shift: Sequence[int]) -> np.ndarray:
    """float32[windows, area, area]: 0 where two places of a shifted window were neighbours before, -100 where not."""
    region = np.zeros((height, width), np.float32)
    number = 0
    for rows in (slice(0, height - window[0]), slice(height - window[0], height - shift[0]), slice(height - shift[0], height)):
        for columns in (slice(0, width - window[1]), slice(width - window[1], width - shift[1]), slice(width - shift[1], width)):
            region[rows, columns] = number
            number += 1
    cut = region.reshape(height // window[0], window[0], width // window[1], window[1]).transpose(0, 2, 1, 3).reshape(-1, window[0] * window[1])
    return np.where(cut[:, None, :] != cut[:, :, None], np.float32(-100), np.float32(0))


class ShiftedWindowAttention(nn.Module):
    """Attention within windows of a map [n, h, w, dim], which are moved by a shift, with a bias per relative position."""

    def __init__(
        self, dim: int, window_size: Sequence[int], shift_size: Sequence[int], num_heads: int, qkv_bias: bool = True, proj_bias: bool = True,
        attention_dropout: float = 0.0, dropout: float = 0.0,
    ) -> None:  # fmt: skip
        super().__init__()
        if len(window_size) != 2 or len(shift_size) != 2:
            raise ValueError("window_size and shift_size must be of length 2")
        self.window_size = list(window_size)
        self.shift_size = list(shift_size)
        self.num_heads = num_heads
        self.attention_dropout = attention_dropout
        self.dropout = dropout
        self.qkv = nn.Linear(dim, dim * 3, bias=qkv_bias)
        self.proj = nn.Linear(dim, dim, bias=proj_bias)
        self._make_positions()

    def _make_positions(self) -> None:
        table = zeros((2 * self.window_size[0] - 1) * (2 * self.window_size[1] - 1), self.num_heads)
        self.relative_position_bias_table = nn.Parameter(table)
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)
        self.register_buffer("relative_position_index", of_array(_relative_index(self.window_size)))

    def get_relative_position_bias(self) -> Tensor:
        """[1, heads, area, area]."""
        return self._looked_up(self.relative_position_bias_table)

    def _looked_up(self, table: Tensor) -> Tensor:
        area = self.window_size[0] * self.window_size[1]
        return table[self.relative_position_index].view(area, area, -1).permute(2, 0, 1).contiguous().unsqueeze(0)

    def _scores(self, q: Tensor, k: Tensor) -> Tensor:
        return (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)

    def _qkv(self, x: Tensor) -> Tensor:
        return self.qkv(x)

    def forward(self, x: Tensor) -> Tensor:
        """[n, h, w, dim]."""
        n, height, width, dim = x.shape
        window, shift = self.window_size, list(self.shift_size)
        x = F.pad(x, (0, 0, 0, -width % window[1], 0, -height % window[0]))
        high, wide = x.shape[1:3]
        shift = [0 if size <= w else s for size, w, s in zip((high, wide), window, shift, strict=True)]
        moved = any(shift)
        x = x.roll(shifts=(-shift[0], -shift[1]), dims=(1, 2)) if moved else x
        count, area = (high // window[0]) * (wide // window[1]), window[0] * window[1]
        x = x.view(n, high // window[0], window[0], wide // window[1], window[1], dim).permute(0, 1, 3, 2, 4, 5).reshape(n * count, area, dim)
        q, k, v = self._qkv(x).reshape(n * count, area, 3, self.num_heads, dim // self.num_heads).permute(2, 0, 3, 1, 4).unbind(0)
        scores = self._scores(q, k) + self.get_relative_position_bias()
        if moved:
            apart = of_array(_regions(high, wide, window, shift), like=x).to(x.dtype)
            scores = (scores.view(n, count, self.num_heads, area, area) + apart.unsqueeze(1).unsqueeze(0)).view(-1, self.num_heads, area, area)
        weights = F.dropout(F.softmax(scores, dim=-1), p=self.attention_dropout, training=self.training)
        x = F.dropout(self.proj((weights @ v).transpose(1, 2).reshape(n * count, area, dim)), p=self.dropout, training=self.training)
        x = x.view(n, high // window[0], wide // window[1], window[0], window[1], dim).permute(0, 1, 3, 2, 4, 5).reshape(n, high, wide, dim)
        x = x.roll(shifts=(shift[0], shift[1]), dims=(1, 2)) if moved else x
        return x[:, :height, :width, :].contiguous()


class ShiftedWindowAttentionV2(ShiftedWindowAttention):
    """By the cosine of queries and keys, scaled per head; the bias is computed from the logarithm of the distance."""

    def __init__(self, dim: int, window_size: Sequence[int], shift_size: Sequence[int], num_heads: int, qkv_bias: bool = True, **options: Any) -> None:
        super().__init__(dim, window_size, shift_size, num_heads, qkv_bias=qkv_bias, **options)
        self.logit_scale = nn.Parameter((10 * ones(num_heads, 1, 1)).log())
        self.cpb_mlp = nn.Sequential(nn.Linear(2, 512, bias=True), nn.ReLU(inplace=True), nn.Linear(512, num_heads, bias=False))
        if qkv_bias:
            self.qkv.bias.data[dim : 2 * dim] = 0

    def _make_positions(self) -> None:
        rows = [np.arange(1 - n, n, dtype=np.float32) / np.float32(n - 1) * np.float32(8) for n in self.window_size]
        apart = np.stack(np.meshgrid(*rows, indexing="ij"), -1)[None]
        near = of_array(apart)
        self.register_buffer("relative_coords_table", near.sign() * (near.abs() + 1.0).log2() / 3.0)
        self.register_buffer("relative_position_index", of_array(_relative_index(self.window_size)))

    def get_relative_position_bias(self) -> Tensor:
        """[1, heads, area, area], up to 16."""
        return 16 * self._looked_up(self.cpb_mlp(self.relative_coords_table).view(-1, self.num_heads)).sigmoid()

    def _scores(self, q: Tensor, k: Tensor) -> Tensor:
        near = F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(-2, -1)
        return near * self.logit_scale.clamp(max=math.log(100.0)).exp()

    def _qkv(self, x: Tensor) -> Tensor:
        bias = self.qkv.bias
        if bias is not None:  # keys have none
            third = bias.numel() // 3
            bias = cat([bias[:third], bias[third : 2 * third] * 0, bias[2 * third :]])
        return F.linear(x, self.qkv.weight, bias)


class SwinTransformerBlock(nn.Module):
    """Attention in windows and an MLP, each beside the identity, normalised first."""

    _attention: Any = ShiftedWindowAttention

    def __init__(
        self, dim: int, num_heads: int, window_size: Sequence[int], shift_size: Sequence[int], mlp_ratio: float = 4.0, dropout: float = 0.0,
        attention_dropout: float = 0.0, stochastic_depth_prob: float = 0.0, norm_layer: Any = nn.LayerNorm,
    ) -> None:  # fmt: skip
        super().__init__()
        self.norm1 = norm_layer(dim)
        self.attn = self._attention(dim, window_size, shift_size, num_heads, attention_dropout=attention_dropout, dropout=dropout)
        self.stochastic_depth = StochasticDepth(stochastic_depth_prob, "row")
        self.norm2 = norm_layer(dim)
        self.mlp = MLP(dim, [int(dim * mlp_ratio), dim], activation_layer=nn.GELU, inplace=None, dropout=dropout)
        for m in self.mlp.modules():
            if isinstance(m, nn.Linear):
                nn.init.xavier_uniform_(m.weight)
                nn.init.normal_(m.bias, std=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        """[n, h, w, dim]."""
        x = x + self.stochastic_depth(self.attn(self.norm1(x)))
        return x + self.stochastic_depth(self.mlp(self.norm2(x)))


class SwinTransformerBlockV2(SwinTransformerBlock):
    """Normalised last."""

    _attention = ShiftedWindowAttentionV2

    def forward(self, x: Tensor) -> Tensor:
        """[n, h, w, dim]."""
        x = x + self.stochastic_depth(self.norm1(self.attn(x)))
        return x + self.stochastic_depth(self.norm2(self.mlp(x)))


class SwinTransformer(nn.Module):
    """Swin; images float [n, 3, h, w] to logits [n, num_classes]."""

    def __init__(
        self, patch_size: Sequence[int], embed_dim: int, depths: Sequence[int], num_heads: Sequence[int], window_size: Sequence[int],
        mlp_ratio: float = 4.0, dropout: float = 0.0, attention_dropout: float = 0.0, stochastic_depth_prob: float = 0.1, num_classes: int = 1000,
        norm_layer: Any = None, block: Any = None, downsample_layer: Any = PatchMerging,
    ) -> None:  # fmt: skip
        super().__init__()
        self.num_classes = num_classes
        block, norm_layer = block or SwinTransformerBlock, norm_layer or partial(nn.LayerNorm, eps=1e-5)
        patch = tuple(patch_size)
        layers: list[nn.Module] = [nn.Sequential(nn.Conv2d(3, embed_dim, kernel_size=patch, stride=patch), Permute([0, 2, 3, 1]), norm_layer(embed_dim))]
        last, done = max(sum(depths) - 1, 1), 0
        for stage, (depth, heads) in enumerate(zip(depths, num_heads, strict=True)):
            dim, blocks = embed_dim * 2**stage, []
            for i in range(depth):
                shift = [w // 2 if i % 2 else 0 for w in window_size]
                blocks.append(
                    block(dim, heads, window_size=window_size, shift_size=shift, mlp_ratio=mlp_ratio, dropout=dropout,
                          attention_dropout=attention_dropout, stochastic_depth_prob=stochastic_depth_prob * float(done) / last, norm_layer=norm_layer)
                )  # fmt: skip
                done += 1
            layers.append(nn.Sequential(*blocks))
            if stage < len(depths) - 1:
                layers.append(downsample_layer(dim, norm_layer))
        self.features = nn.Sequential(*layers)
        features = embed_dim * 2 ** (len(depths) - 1)
        self.norm = norm_layer(features)
        self.permute = Permute([0, 3, 1, 2])
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten(1)
        self.head = nn.Linear(features, num_classes)
        for m in self.modules():
            if isinstance(m, nn.Linear):
                nn.init.trunc_normal_(m.weight, std=0.02)
                if m.bias is not None:
                    nn.init.zeros_(m.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Logits [n, num_classes]."""
        return self.head(self.flatten(self.avgpool(self.permute(self.norm(self.features(x))))))


_SIZES = {  # channels, blocks of each stage, heads of each stage, chance of leaving the last block out
    "t": (96, (2, 2, 6, 2), (3, 6, 12, 24), 0.2), "s": (96, (2, 2, 18, 2), (3, 6, 12, 24), 0.3), "b": (128, (2, 2, 18, 2), (4, 8, 16, 32), 0.5),
}  # fmt: skip
swin_t, swin_s, swin_b = (
    model(f"swin_{size}", SwinTransformer, (4, 4), dim, depths, heads, (7, 7), stochastic_depth_prob=p) for size, (dim, depths, heads, p) in _SIZES.items()
)
swin_v2_t, swin_v2_s, swin_v2_b = (
    model(f"swin_v2_{size}", SwinTransformer, (4, 4), dim, depths, heads, (8, 8), stochastic_depth_prob=p, block=SwinTransformerBlockV2,
          downsample_layer=PatchMergingV2)
    for size, (dim, depths, heads, p) in _SIZES.items()
)  # fmt: skip
