"""Vision Transformer (https://arxiv.org/abs/2010.11929) and ConvNeXt (https://arxiv.org/abs/2201.03545)."""

from __future__ import annotations

import math
from collections import OrderedDict
from functools import partial
from typing import Any

from ... import nn
from ...creation import empty, ones, zeros
from ...joining import cat
from ...nn import functional as F
from ...public import _assert
from ...tensor import Tensor
from ..layers import MLP, Conv2dNormActivation, Permute, StochasticDepth
from .api import model

_NORM = partial(nn.LayerNorm, eps=1e-6)


class MLPBlock(MLP):
    """The transformer's two linear layers."""

    def __init__(self, in_dim: int, mlp_dim: int, dropout: float) -> None:
        super().__init__(in_dim, [mlp_dim, in_dim], activation_layer=nn.GELU, inplace=None, dropout=dropout)
        for m in self.modules():
            if isinstance(m, nn.Linear):
                nn.init.xavier_uniform_(m.weight)
                nn.init.normal_(m.bias, std=1e-6)


class EncoderBlock(nn.Module):
    """Attention and MLP, each after a norm and beside the identity."""

    def __init__(self, heads: int, width: int, mlp_dim: int, dropout: float, attention_dropout: float, norm_layer: Any = _NORM) -> None:
        super().__init__()
        self.num_heads = heads
        self.ln_1 = norm_layer(width)
        self.self_attention = nn.MultiheadAttention(width, heads, dropout=attention_dropout, batch_first=True)
        self.dropout = nn.Dropout(dropout)
        self.ln_2 = norm_layer(width)
        self.mlp = MLPBlock(width, mlp_dim, dropout)

    def forward(self, input: Tensor) -> Tensor:
        """[n, tokens, width]."""
        x = self.ln_1(input)
        x, _ = self.self_attention(x, x, x, need_weights=False)
        x = self.dropout(x) + input
        return x + self.mlp(self.ln_2(x))


class Encoder(nn.Module):
    """Positions, then the blocks, then a norm."""

    def __init__(
        self, tokens: int, layers: int, heads: int, width: int, mlp_dim: int, dropout: float, attention_dropout: float,
        norm_layer: Any = _NORM,
    ) -> None:  # fmt: skip
        super().__init__()
        self.pos_embedding = nn.Parameter(empty(1, tokens, width).normal_(std=0.02))
        self.dropout = nn.Dropout(dropout)
        blocks = [EncoderBlock(heads, width, mlp_dim, dropout, attention_dropout, norm_layer) for _ in range(layers)]
        self.layers = nn.Sequential(OrderedDict((f"encoder_layer_{i}", block) for i, block in enumerate(blocks)))
        self.ln = norm_layer(width)

    def forward(self, input: Tensor) -> Tensor:
        """[n, tokens, width]."""
        return self.ln(self.layers(self.dropout(input + self.pos_embedding)))


class VisionTransformer(nn.Module):
    """Vision Transformer (https://arxiv.org/abs/2010.11929)."""

    def __init__(
        self, patch_size: int, num_layers: int, num_heads: int, hidden_dim: int, mlp_dim: int, image_size: int = 224,
        dropout: float = 0.0, attention_dropout: float = 0.0, num_classes: int = 1000, representation_size: int | None = None,
        norm_layer: Any = _NORM,
    ) -> None:  # fmt: skip
        super().__init__()
        if image_size % patch_size:
            raise AssertionError("Input shape indivisible by patch size!")
        self.image_size = image_size
        self.patch_size = patch_size
        self.hidden_dim = hidden_dim
        self.mlp_dim = mlp_dim
        self.attention_dropout = attention_dropout
        self.dropout = dropout
        self.num_classes = num_classes
        self.representation_size = representation_size
        self.norm_layer = norm_layer
        self.conv_proj = nn.Conv2d(3, hidden_dim, kernel_size=patch_size, stride=patch_size)
        self.seq_length = (image_size // patch_size) ** 2 + 1
        self.class_token = nn.Parameter(zeros(1, 1, hidden_dim))
        self.encoder = Encoder(
            self.seq_length, num_layers, num_heads, hidden_dim, mlp_dim, dropout, attention_dropout, norm_layer
        )  # fmt: skip
        if representation_size is None:
            self.heads = nn.Sequential(OrderedDict(head=nn.Linear(hidden_dim, num_classes)))
        else:
            pre, head = nn.Linear(hidden_dim, representation_size), nn.Linear(representation_size, num_classes)
            self.heads = nn.Sequential(OrderedDict(pre_logits=pre, act=nn.Tanh(), head=head))
        nn.init.trunc_normal_(self.conv_proj.weight, std=math.sqrt(1 / (3 * patch_size**2)))
        nn.init.zeros_(self.conv_proj.bias)
        if representation_size is not None:
            nn.init.trunc_normal_(self.heads.pre_logits.weight, std=math.sqrt(1 / hidden_dim))
            nn.init.zeros_(self.heads.pre_logits.bias)
        nn.init.zeros_(self.heads.head.weight)
        nn.init.zeros_(self.heads.head.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Logits [n, num_classes] of images [n, 3, image_size, image_size]. AssertionError for another size."""
        n, _, h, w = x.shape
        for side, name in ((h, "height"), (w, "width")):
            _assert(side == self.image_size, f"Wrong image {name}! Expected {self.image_size} but got {side}!")
        x = self.conv_proj(x).reshape(n, self.hidden_dim, self.seq_length - 1).permute(0, 2, 1)
        x = cat([self.class_token.expand(n, -1, -1), x], 1)
        return self.heads(self.encoder(x)[:, 0])

    @staticmethod
    def prepared(weights: Any, options: dict[str, Any]) -> tuple[dict[str, Any], Any]:
        """Published weights say for which image size they are."""
        return options if weights is None else {"image_size": weights.meta["min_size"][0], **options}, lambda made: made

    @staticmethod
    def renamed(state: dict[str, Any]) -> dict[str, Any]:
        """Published files call an MLP's layers linear_1 and linear_2."""
        return {key.replace(".mlp.linear_1.", ".mlp.0.").replace(".mlp.linear_2.", ".mlp.3."): value for key, value in state.items()}


class LayerNorm2d(nn.LayerNorm):
    """Layer norm over the channels of [n, c, h, w]."""

    def forward(self, x: Tensor) -> Tensor:
        """The normalised tensor."""
        x = F.layer_norm(x.permute(0, 2, 3, 1), self.normalized_shape, self.weight, self.bias, self.eps)
        return x.permute(0, 3, 1, 2)


class CNBlock(nn.Module):
    """Depthwise 7 x 7, norm, two linear layers; scaled, dropped at random, beside the identity."""

    def __init__(self, dim: int, layer_scale: float, stochastic_depth_prob: float, norm_layer: Any = None) -> None:
        super().__init__()
        norm_layer = norm_layer or _NORM
        self.block = nn.Sequential(
            nn.Conv2d(dim, dim, kernel_size=7, padding=3, groups=dim, bias=True), Permute([0, 2, 3, 1]), norm_layer(dim),
            nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim), Permute([0, 3, 1, 2]),
        )  # fmt: skip
        self.layer_scale = nn.Parameter(ones(dim, 1, 1) * layer_scale)
        self.stochastic_depth = StochasticDepth(stochastic_depth_prob, "row")

    def forward(self, input: Tensor) -> Tensor:
        """[n, dim, h, w]."""
        return self.stochastic_depth(self.layer_scale * self.block(input)) + input


class ConvNeXt(nn.Module):
    """ConvNeXt (https://arxiv.org/abs/2201.03545)."""

    def __init__(
        self, widths: tuple[int, ...], counts: tuple[int, ...], stochastic_depth_prob: float = 0.0, layer_scale: float = 1e-6,
        num_classes: int = 1000, norm_layer: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        norm_layer = norm_layer or partial(LayerNorm2d, eps=1e-6)
        layers: list[Any] = [
            Conv2dNormActivation(
                3, widths[0], kernel_size=4, stride=4, padding=0, norm_layer=norm_layer, activation_layer=None, bias=True
            )
        ]  # fmt: skip
        total, done = sum(counts), 0
        for i, (width, count) in enumerate(zip(widths, counts, strict=True)):
            blocks = []
            for _ in range(count):
                blocks.append(CNBlock(width, layer_scale, stochastic_depth_prob * done / (total - 1.0)))
                done += 1
            layers.append(nn.Sequential(*blocks))
            if i + 1 < len(widths):
                layers.append(nn.Sequential(norm_layer(width), nn.Conv2d(width, widths[i + 1], kernel_size=2, stride=2)))
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(norm_layer(widths[-1]), nn.Flatten(1), nn.Linear(widths[-1], num_classes))
        for m in self.modules():
            if isinstance(m, (nn.Conv2d, nn.Linear)):
                nn.init.trunc_normal_(m.weight, std=0.02)
                nn.init.zeros_(m.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Logits [n, num_classes] of images [n, 3, h, w]."""
        return self.classifier(self.avgpool(self.features(x)))


vit_b_16 = model("vit_b_16", VisionTransformer, 16, 12, 12, 768, 3072)
vit_b_32 = model("vit_b_32", VisionTransformer, 32, 12, 12, 768, 3072)
vit_l_16 = model("vit_l_16", VisionTransformer, 16, 24, 16, 1024, 4096)
vit_l_32 = model("vit_l_32", VisionTransformer, 32, 24, 16, 1024, 4096)
vit_h_14 = model("vit_h_14", VisionTransformer, 14, 32, 16, 1280, 5120)
_WIDTHS = {"tiny": (96, 9, 0.1), "small": (96, 27, 0.4), "base": (128, 27, 0.5), "large": (192, 27, 0.5)}
convnext_tiny, convnext_small, convnext_base, convnext_large = (
    model(f"convnext_{size}", ConvNeXt, (w, 2 * w, 4 * w, 8 * w), (3, 3, count, 3), stochastic_depth_prob=p)
    for size, (w, count, p) in _WIDTHS.items()
)
