"""Sequence models the benchmarks share, written as ordinary scripts over either framework (`torch` is lamina or PyTorch)."""

from __future__ import annotations

from types import ModuleType


def lstm_classifier(torch: ModuleType, features: int = 32, width: int = 64, layers: int = 2, classes: int = 10) -> object:
    """An LSTM over [n, time, features], its last hidden state into a linear layer."""
    nn = torch.nn

    class Classifier(nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm = nn.LSTM(features, width, layers, batch_first=True)
            self.head = nn.Linear(width, classes)

        def forward(self, x):
            return self.head(self.lstm(x)[0][:, -1])

    return Classifier()


def transformer_block(torch: ModuleType, width: int, heads: int, causal: bool, norm_first: bool, eps: float = 1e-5):
    """Attention and an MLP of four times the width, both residual; with past keys and values it also returns the new ones."""
    nn, F = torch.nn, torch.nn.functional

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm1, self.norm2 = nn.LayerNorm(width, eps=eps), nn.LayerNorm(width, eps=eps)
            self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
            self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

        def attend(self, x, past):
            n, t = x.shape[0], x.shape[1]
            q, k, v = (y.view(n, t, heads, width // heads).transpose(1, 2) for y in self.qkv(x).split(width, dim=2))
            if past is not None:
                k, v = torch.cat([past[0], k], dim=2), torch.cat([past[1], v], dim=2)
            y = F.scaled_dot_product_attention(q, k, v, is_causal=causal and past is None)
            return self.out(y.transpose(1, 2).reshape(n, t, width)), (k, v)

        def forward(self, x, past=None):
            if norm_first:
                y, now = self.attend(self.norm1(x), past)
                x = x + y
                return x + self.down(F.gelu(self.up(self.norm2(x)), approximate="tanh")), now
            y, now = self.attend(x, past)
            x = self.norm1(x + y)
            return self.norm2(x + self.down(F.gelu(self.up(x)))), now

    return Block()


def gpt(
    torch: ModuleType, layers: int = 4, width: int = 128, heads: int = 4, time: int = 128, vocabulary: int = 256, cached: bool = False
) -> object:
    """GPT-2 (Radford et al., 2019), head tied to the embedding; 12 layers of 768 with 50257 tokens are the 124M model.

    tokens [n, t] to logits [n, t, vocabulary]. cached: call(tokens, place, keys, values) with keys and values [layers, n, heads,
    t, width / heads] of what came before; returns the logits of the last token and the longer keys and values.
    """
    nn = torch.nn

    class GPT(nn.Module):
        def __init__(self):
            super().__init__()
            self.token, self.place = nn.Embedding(vocabulary, width), nn.Embedding(time, width)
            self.blocks = nn.ModuleList(transformer_block(torch, width, heads, True, True) for _ in range(layers))
            self.norm = nn.LayerNorm(width)
            self.head = nn.Linear(width, vocabulary, bias=False)
            self.head.weight = self.token.weight

        def forward(self, tokens, place=None, keys=None, values=None):
            if not cached:
                x = self.token(tokens) + self.place(torch.arange(tokens.shape[1], device=tokens.device))
                for block in self.blocks:
                    x, _ = block(x)
                return self.head(self.norm(x))
            x = self.token(tokens) + self.place(place)
            now = []
            for i, block in enumerate(self.blocks):
                x, pair = block(x, (keys[i], values[i]))
                now.append(pair)
            return self.head(self.norm(x[:, -1])), torch.stack([k for k, _ in now]), torch.stack([v for _, v in now])

    model = GPT()
    with torch.no_grad():
        for name, p in model.named_parameters():
            if p.ndim == 2:
                p.normal_(0.0, 0.02)
    return model


def bert(
    torch: ModuleType, layers: int = 12, width: int = 768, heads: int = 12, time: int = 512, vocabulary: int = 30522
) -> object:
    """BERT's encoder (Devlin et al., 2018), base size by default: tokens [n, t] to the last hidden states [n, t, width]."""
    nn = torch.nn

    class BERT(nn.Module):
        def __init__(self):
            super().__init__()
            self.token, self.place, self.kind = nn.Embedding(vocabulary, width), nn.Embedding(time, width), nn.Embedding(2, width)
            self.norm = nn.LayerNorm(width, eps=1e-12)
            self.blocks = nn.ModuleList(transformer_block(torch, width, heads, False, False, 1e-12) for _ in range(layers))

        def forward(self, tokens):
            x = self.token(tokens) + self.place(torch.arange(tokens.shape[1])) + self.kind(torch.zeros_like(tokens))
            x = self.norm(x)
            for block in self.blocks:
                x, _ = block(x)
            return x

    model = BERT()
    with torch.no_grad():
        for p in model.parameters():
            if p.ndim == 2:
                p.normal_(0.0, 0.02)
    return model
