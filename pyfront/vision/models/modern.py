"""Vision Transformer and ConvNeXt; and GoogLeNet, the network of parallel branches."""

from __future__ import annotations

import math
import warnings
from collections import OrderedDict, namedtuple
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


GoogLeNetOutputs = namedtuple("GoogLeNetOutputs", ["logits", "aux_logits2", "aux_logits1"])


class BasicConv2d(nn.Module):
    """Convolution, norm, relu."""

    def __init__(self, inputs: int, outputs: int, **options: Any) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, bias=False, **options)
        self.bn = nn.BatchNorm2d(outputs, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        """[n, outputs, ...]."""
        return F.relu(self.bn(self.conv(x)))


class Inception(nn.Module):
    """Four branches side by side."""

    def __init__(self, inputs: int, one: int, three_in: int, three: int, five_in: int, five: int, pooled: int) -> None:
        super().__init__()

        def pair(narrow: int, wide: int) -> nn.Sequential:
            return nn.Sequential(BasicConv2d(inputs, narrow, kernel_size=1), BasicConv2d(narrow, wide, kernel_size=3, padding=1))

        self.branch1 = BasicConv2d(inputs, one, kernel_size=1)
        self.branch2 = pair(three_in, three)
        self.branch3 = pair(five_in, five)
        self.branch4 = nn.Sequential(
            nn.MaxPool2d(kernel_size=3, stride=1, padding=1, ceil_mode=True), BasicConv2d(inputs, pooled, kernel_size=1)
        )

    def forward(self, x: Tensor) -> Tensor:
        """The branches' channels."""
        return cat([self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)], 1)


class InceptionAux(nn.Module):
    """A classifier half way, for training."""

    def __init__(self, inputs: int, num_classes: int, dropout: float = 0.7) -> None:
        super().__init__()
        self.conv = BasicConv2d(inputs, 128, kernel_size=1)
        self.fc1 = nn.Linear(2048, 1024)
        self.fc2 = nn.Linear(1024, num_classes)
        self.dropout = nn.Dropout(p=dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Logits [n, num_classes]."""
        x = self.conv(F.adaptive_avg_pool2d(x, (4, 4))).flatten(1)
        return self.fc2(self.dropout(F.relu(self.fc1(x))))


_INCEPTION = {
    "3a": (192, 64, 96, 128, 16, 32, 32), "3b": (256, 128, 128, 192, 32, 96, 64), "4a": (480, 192, 96, 208, 16, 48, 64),
    "4b": (512, 160, 112, 224, 24, 64, 64), "4c": (512, 128, 128, 256, 24, 64, 64), "4d": (512, 112, 144, 288, 32, 64, 64),
    "4e": (528, 256, 160, 320, 32, 128, 128), "5a": (832, 256, 160, 320, 32, 128, 128), "5b": (832, 384, 192, 384, 48, 128, 128),
}  # fmt: skip


class GoogLeNet(nn.Module):
    """GoogLeNet (https://arxiv.org/abs/1409.4842)."""

    def __init__(
        self, num_classes: int = 1000, aux_logits: bool = True, transform_input: bool = False, init_weights: bool | None = None,
        dropout: float = 0.2, dropout_aux: float = 0.7,
    ) -> None:  # fmt: skip
        super().__init__()
        if init_weights is None:
            warnings.warn("The default weight initialization of GoogleNet may change; set init_weights.", FutureWarning, stacklevel=2)
        self.aux_logits = aux_logits
        self.transform_input = transform_input
        pool = partial(nn.MaxPool2d, stride=2, ceil_mode=True)
        self.conv1 = BasicConv2d(3, 64, kernel_size=7, stride=2, padding=3)
        self.maxpool1 = pool(3)
        self.conv2 = BasicConv2d(64, 64, kernel_size=1)
        self.conv3 = BasicConv2d(64, 192, kernel_size=3, padding=1)
        self.maxpool2 = pool(3)
        for name, sizes in _INCEPTION.items():
            setattr(self, f"inception{name}", Inception(*sizes))
            if name in ("3b", "4e"):
                setattr(self, f"maxpool{name[0]}", pool(3 if name == "3b" else 2))
        self.aux1 = InceptionAux(512, num_classes, dropout_aux) if aux_logits else None
        self.aux2 = InceptionAux(528, num_classes, dropout_aux) if aux_logits else None
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.dropout = nn.Dropout(p=dropout)
        self.fc = nn.Linear(1024, num_classes)
        for m in self.modules() if init_weights in (None, True) else ():
            if isinstance(m, (nn.Conv2d, nn.Linear)):
                nn.init.trunc_normal_(m.weight, mean=0.0, std=0.01, a=-2, b=2)
            elif isinstance(m, nn.BatchNorm2d):
                nn.init.constant_(m.weight, 1)
                nn.init.constant_(m.bias, 0)

    def forward(self, x: Tensor) -> Any:
        """Logits [n, num_classes]; while training with aux_logits, GoogLeNetOutputs of three."""
        if self.transform_input:
            rows = ((0.229, 0.485), (0.224, 0.456), (0.225, 0.406))
            x = cat([x[:, i : i + 1] * (s / 0.5) + (m - 0.5) / 0.5 for i, (s, m) in enumerate(rows)], 1)
        x = self.maxpool2(self.conv3(self.conv2(self.maxpool1(self.conv1(x)))))
        x = self.inception4a(self.maxpool3(self.inception3b(self.inception3a(x))))
        half = self.training and self.aux_logits
        aux1 = self.aux1(x) if half and self.aux1 is not None else None
        x = self.inception4d(self.inception4c(self.inception4b(x)))
        aux2 = self.aux2(x) if half and self.aux2 is not None else None
        x = self.inception5b(self.inception5a(self.maxpool4(self.inception4e(x))))
        x = self.fc(self.dropout(self.avgpool(x).flatten(1)))
        return GoogLeNetOutputs(x, aux2, aux1) if half else x

    @staticmethod
    def prepared(weights: Any, options: dict[str, Any]) -> tuple[dict[str, Any], Any]:
        """Published weights hold the classifiers half way, which are dropped unless asked for."""
        if weights is None:
            return {"init_weights": False, **options}, lambda made: made
        asked = options.get("aux_logits", False)

        def finish(made: GoogLeNet) -> GoogLeNet:
            if not asked:
                made.aux_logits, made.aux1, made.aux2 = False, None, None
            return made

        return {"transform_input": True, **options, "aux_logits": True, "init_weights": False}, finish


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
googlenet = model("googlenet", GoogLeNet)
