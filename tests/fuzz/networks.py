"""Random networks on images and on tokens, as programs: layers are drawn one by one, what PyTorch refuses at the shape there is is drawn again."""

from __future__ import annotations

import random
from dataclasses import dataclass

import torch

MODULES = '''
nn, F = torch.nn, torch.nn.functional

class Residual(nn.Module):
    def __init__(self, *parts): super().__init__(); self.part = nn.Sequential(*parts)
    def forward(self, x): return x + self.part(x)

class Joined(nn.Module):
    def __init__(self, *parts): super().__init__(); self.parts = nn.ModuleList(parts)
    def forward(self, x): return torch.cat([part(x) for part in self.parts], 1)

class Halves(nn.Module):
    def __init__(self, *parts): super().__init__(); self.part = nn.Sequential(*parts)
    def forward(self, x):
        a, b = x.chunk(2, 1)
        return torch.cat([a, self.part(b)], 1)

class Weighted(nn.Module):
    """Squeeze and excitation."""
    def __init__(self, c): super().__init__(); self.a, self.b = nn.Conv2d(c, 2, 1), nn.Conv2d(2, c, 1)
    def forward(self, x): return x * self.b(F.silu(self.a(x.mean((2, 3), keepdim=True)))).sigmoid()

class Standardised(nn.Conv2d):
    def forward(self, x):
        w = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        return self._conv_forward(x, w / (w.std((1, 2, 3), keepdim=True) + 1e-5), self.bias)

class Last(nn.Module):
    """Channels are the last dimension within."""
    def __init__(self, *parts): super().__init__(); self.part = nn.Sequential(*parts)
    def forward(self, x): return self.part(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)

class Tokens(nn.Module):
    """Pixels are a sequence within."""
    def __init__(self, *parts): super().__init__(); self.part = nn.Sequential(*parts)
    def forward(self, x): return self.part(x.flatten(2).transpose(1, 2)).transpose(1, 2).reshape(x.shape)

class Windows(nn.Module):
    def __init__(self, k, part): super().__init__(); self.k, self.part = k, part
    def forward(self, x):
        (b, c, h, w), k = x.shape, self.k
        y = self.part(x.view(b, c, h // k, k, w // k, k).permute(0, 2, 4, 3, 5, 1).reshape(-1, k * k, c))
        return y.view(b, h // k, w // k, k, k, c).permute(0, 5, 1, 3, 2, 4).reshape(b, c, h, w)

class Shuffled(nn.Module):
    def __init__(self, groups): super().__init__(); self.groups = groups
    def forward(self, x): return x.view(len(x), self.groups, -1, *x.shape[2:]).transpose(1, 2).reshape(x.shape).roll((1, -2), (2, 3))

class Attention(nn.Module):
    """heads of queries look at so many of keys. kind: how it is written, and what is seen."""
    def __init__(self, width, heads, groups, kind):
        super().__init__()
        self.heads, self.groups, self.kind, self.size = heads, groups, kind, width // heads
        self.q, self.kv, self.o = nn.Linear(width, width), nn.Linear(width, 2 * groups * self.size, bias=False), nn.Linear(width, width)
    def forward(self, x):
        (b, t, _), turned = x.shape, self.kind in ("causal", "linear")
        q = self.q(x).view(b, t, self.heads, self.size).transpose(1, 2)
        k, v = self.kv(x).view(b, t, 2, self.groups, self.size).permute(2, 0, 3, 1, 4)
        if turned:
            angle = torch.arange(t)[:, None] * 0.1 ** torch.arange(0, self.size // 2)
            q, k = (torch.cat([a * angle.cos() - c * angle.sin(), c * angle.cos() + a * angle.sin()], -1) for a, c in (q.chunk(2, -1), k.chunk(2, -1)))
        if self.kind != "grouped":
            k, v = k.repeat_interleave(self.heads // self.groups, 1), v.repeat_interleave(self.heads // self.groups, 1)
        i = torch.arange(t)
        if self.kind in ("grouped", "all"):
            y = F.scaled_dot_product_attention(q, k, v, is_causal=self.kind == "grouped", enable_gqa=True)
        elif self.kind == "near":
            y = F.scaled_dot_product_attention(q, k, v, attn_mask=(i[:, None] - i).abs() < 3)
        else:
            w = q @ k.mT * self.size ** -0.5
            later = torch.full((t, t), float("-inf")).triu(1)
            y = (w + later - ((i[:, None] - i).abs() * 0.1 if self.kind == "linear" else 0)).softmax(-1) @ v
        return self.o(y.transpose(1, 2).reshape(b, t, -1))

class Gated(nn.Module):
    def __init__(self, width): super().__init__(); self.a, self.b = nn.Linear(width, 3 * width, bias=False), nn.Linear(3 * width // 2, width)
    def forward(self, x):
        a, b = self.a(x).chunk(2, -1)
        return self.b(F.silu(a) * b)

class Experts(nn.Module):
    def __init__(self, width): super().__init__(); self.gate, self.each = nn.Linear(width, 3), nn.ModuleList(nn.Linear(width, width) for _ in range(3))
    def forward(self, x):
        w, i = self.gate(x).softmax(-1).topk(2, -1)
        y = torch.stack([m(x) for m in self.each], -2)
        return (y.gather(-2, i[..., None].expand(*i.shape, x.shape[-1])) * w[..., None]).sum(-2)

class Recurrence(nn.Module):
    def __init__(self, width): super().__init__(); self.a, self.b = nn.Parameter(torch.linspace(-1, 1, width)), nn.Linear(width, width)
    def forward(self, x):
        a, u, h, out = self.a.sigmoid(), self.b(x), torch.zeros(x.shape[0], x.shape[2]), []
        for t in range(x.shape[1]):
            h = a * h + (1 - a) * u[:, t]
            out.append(h)
        return torch.stack(out, 1)

class Along(nn.Module):
    """A convolution along the sequence; before: of what came before only."""
    def __init__(self, width, k, groups, before): super().__init__(); self.conv, self.pad = nn.Conv1d(width, width, k, groups=groups), (k - 1, 0) if before else (k // 2, (k - 1) // 2)
    def forward(self, x): return self.conv(F.pad(x.mT, self.pad)).mT

class Shifted(nn.Module):
    def forward(self, x):
        a, b = x.chunk(2, -1)
        return torch.cat([F.pad(a, (0, 0, 1, 0))[:, :-1], b.cumsum(1) / torch.arange(1, x.shape[1] + 1)[:, None]], -1)

class First(nn.Module):
    def __init__(self, part): super().__init__(); self.part = part
    def forward(self, x): return self.part(x)[0]

class Language(nn.Module):
    def __init__(self, words, width, tied, *blocks):
        super().__init__()
        self.e, self.p = nn.Embedding(words, width, padding_idx=0), nn.Parameter(torch.randn(24, width) * 0.1)
        self.blocks, self.o = nn.Sequential(*blocks), nn.Linear(width, words, bias=not tied)
        if tied: self.o.weight = self.e.weight
    def forward(self, t): return self.o(self.blocks(self.e(t) + self.p[:t.shape[1]]))

class Judge(Language):
    def forward(self, t):
        seen = (t != 0)[..., None]
        return self.o((self.blocks(self.e(t) + self.p[:t.shape[1]]) * seen).sum(1) / seen.sum(1).clamp(min=1))
'''


@dataclass(frozen=True)
class Network:
    """text: of the module. inputs: the shape of one image, or how many words there are. dense: whether there is a class for each place."""

    text: str
    inputs: tuple[int, ...] | int
    dense: bool


def network(seed: int) -> Network:
    choose = random.Random(seed)
    return _on_images(choose) if choose.random() < 0.6 else _on_tokens(choose)


def _activation(choose: random.Random) -> str:
    return choose.choice((
        "nn.ReLU()", "nn.ReLU(inplace=True)", "nn.GELU()", "nn.SiLU()", "nn.Hardswish()", "nn.PReLU()", "nn.ELU()", "nn.Sigmoid()", "nn.Softplus()", "nn.ReLU6()",
    ))  # fmt: skip


def _same(choose: random.Random, c: int, h: int, w: int) -> str:
    """A layer that keeps the shape of images."""
    groups = choose.choice([d for d in range(1, c + 1) if c % d == 0])
    attention = f"Attention({c}, 2, {choose.choice((1, 2))}, {choose.choice(('all', 'grouped', 'near', 'causal', 'linear'))!r})"
    k, dilation = choose.choice((1, 3, 3, 5)), choose.choice((1, 1, 2))
    padding = choose.choice(("zeros", "zeros", "reflect", "replicate", "circular"))
    conv = f"nn.Conv2d({c}, {c}, {k}, padding={k // 2 * dilation}, dilation={dilation}, groups={groups}, bias={choose.random() < 0.5}, padding_mode={padding!r})"
    mixed = f"nn.LayerNorm({c}), nn.Linear({c}, {2 * c}), nn.GELU(), nn.Linear({2 * c}, {c})"
    return choose.choice((
        conv, conv, conv, f"nn.BatchNorm2d({c})", f"nn.BatchNorm2d({c})", f"nn.GroupNorm({groups}, {c})", f"nn.LayerNorm([{c}, {h}, {w}])", f"nn.InstanceNorm2d({c}, affine=True)",
        f"Standardised({c}, {c}, 3, padding=1)", _activation(choose), f"nn.{choose.choice(('Max', 'Avg'))}Pool2d(3, 1, 1)", f"Weighted({c})", f"Shuffled({groups})", f"Last({mixed})",
        f"Tokens({mixed})", f"Tokens({attention})", f"Windows({choose.choice((2, 4))}, {attention})",
    ))  # fmt: skip


def _block(choose: random.Random, c: int, h: int, w: int) -> str:
    """A layer that may change it."""
    to, k, stride = choose.choice((4, 6, 8, 12, 16, 24, 32)), choose.choice((1, 3, 3, 5, 7)), choose.choice((1, 2))

    def some() -> str:
        return ", ".join(_same(choose, c, h, w) for _ in range(choose.randint(1, 3)))

    return choose.choice((
        f"nn.Conv2d({c}, {to}, {k}, {stride}, {choose.choice((0, 1, k // 2))}, bias={choose.random() < 0.5}), nn.BatchNorm2d({to}), {_activation(choose)}",
        f"nn.Conv2d({c}, {c}, {k}, {stride}, {k // 2}, groups={c}), nn.Conv2d({c}, {to}, 1), {_activation(choose)}",
        f"nn.ConvTranspose2d({c}, {to}, {choose.choice((2, 3, 4))}, {stride}, {choose.choice((0, 1))}, output_padding={stride - 1})",
        f"nn.{choose.choice(('Max', 'Avg'))}Pool2d({choose.choice((2, 3))}, 2, {choose.choice((0, 1))}, ceil_mode={choose.random() < 0.3})",
        f"nn.Adaptive{choose.choice(('Max', 'Avg'))}Pool2d(({choose.randint(1, 8)}, {choose.randint(1, 8)}))",
        f"nn.Upsample(scale_factor={choose.choice((2, 1.5))}, mode={choose.choice(('nearest', 'bilinear', 'bicubic'))!r})",
        f"Residual({some()})", f"Residual({some()})", f"Joined(nn.Sequential({some()}), nn.Conv2d({c}, {to}, 1), nn.Sequential(nn.Conv2d({c}, 4, 3, padding=1), {_activation(choose)}))",
        f"Halves({_same(choose, c // 2, h, w)})", "nn.PixelShuffle(2)", "nn.PixelUnshuffle(2)", "nn.GLU(1)", some(),
    ))  # fmt: skip


def _fits(text: str, shape: tuple[int, ...]) -> tuple[int, ...] | None:
    """The shape of what layers make of images of a shape; None where PyTorch refuses, or it is too large."""
    names = {"torch": torch}
    exec(MODULES, names)
    try:
        made = tuple(eval(f"nn.Sequential({text})", names)(torch.zeros(3, *shape)).shape[1:])
    except (RuntimeError, ValueError, AssertionError, ZeroDivisionError):
        return None
    return made if made[0] <= 64 and made[1] * made[2] <= 1100 else None


def _on_images(choose: random.Random) -> Network:
    first = choose.choice((1, 3, 8)), choose.choice((8, 12, 16, 28)), choose.choice((8, 12, 16, 28))
    shape, parts, count = first, [], choose.randint(3, 6)
    while len(parts) < count:
        text = _block(choose, *shape) if parts else f"nn.Conv2d({shape[0]}, {choose.choice((8, 16))}, 3, {choose.choice((1, 2))}, 1)"
        made = _fits(text, shape)
        if made is not None:
            parts.append(text)
            shape = made
    c, h, w = shape
    dense = choose.random() < 0.25
    ends = (f"nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear({c}, 5)", f"nn.Flatten(), nn.Linear({c * h * w}, 5)", f"nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear({c}, 5)")
    parts.append(f"nn.Conv2d({c}, 5, 1)" if dense else choose.choice(ends))
    return Network(f"nn.Sequential({', '.join(parts)})", first, dense)


def _on_tokens(choose: random.Random) -> Network:
    heads = choose.choice((2, 4))
    width, words = heads * choose.choice((4, 8, 16)), choose.choice((11, 32, 50))
    blocks = []
    for _ in range(choose.randint(1, 3)):
        attention = f"Attention({width}, {heads}, {choose.choice((1, 2, heads))}, {choose.choice(('all', 'grouped', 'near', 'causal', 'linear'))!r})"
        other = choose.choice((
            f"First(nn.LSTM({width}, {width}, batch_first=True))", f"First(nn.GRU({width}, {width // 2}, batch_first=True, bidirectional=True))", f"Recurrence({width})", "Shifted()",
            f"Along({width}, {choose.choice((2, 3, 4))}, {choose.choice((1, width))}, {choose.random() < 0.5})",
        ))  # fmt: skip
        norm = choose.choice((f"nn.LayerNorm({width})", f"nn.RMSNorm({width})"))
        blocks += [f"Residual({norm}, {attention if choose.random() < 0.6 else other})", f"Residual({norm}, {choose.choice(('Gated', 'Experts'))}({width}))"]
    dense = choose.random() < 0.5
    return Network(f"{'Language' if dense else 'Judge'}({words}, {width}, {choose.random() < 0.3}, {', '.join(blocks)})", words, dense)
