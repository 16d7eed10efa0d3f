"""Loops that generate, one token or value a turn, written the way people write them (`torch` is lamina or PyTorch).

Each function makes a model and gives a function of the number of turns, which returns what was generated as a list.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from types import ModuleType

Loop = Callable[[int], list]


def _block(torch: ModuleType, width: int, heads: int, block: int):
    """nanoGPT's block: attention written out with a buffer for the mask, or with keys and values of the turns before."""
    nn, F = torch.nn, torch.nn.functional

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
            self.c_attn, self.c_proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
            self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
            self.register_buffer("bias", torch.tril(torch.ones(block, block)).view(1, 1, block, block))

        def attend(self, x, past):
            B, T, C = x.size()
            q, k, v = self.c_attn(x).split(width, dim=2)
            q, k, v = (y.view(B, T, heads, C // heads).transpose(1, 2) for y in (q, k, v))
            if past is not None:
                k, v = torch.cat((past[0], k), dim=2), torch.cat((past[1], v), dim=2)
            att = (q @ k.transpose(-2, -1)) * (1.0 / math.sqrt(k.size(-1)))
            if T > 1:
                att = att.masked_fill(self.bias[:, :, :T, :T] == 0, float("-inf"))
            y = F.softmax(att, dim=-1) @ v
            return self.c_proj(y.transpose(1, 2).contiguous().view(B, T, C)), (k, v)

        def forward(self, x, past=None):
            y, now = self.attend(self.ln_1(x), past)
            x = x + y
            return x + self.mlp(self.ln_2(x)), now

    return Block()


def _gpt(torch: ModuleType, layers: int = 4, width: int = 128, heads: int = 4, block: int = 128, vocabulary: int = 65):
    nn = torch.nn

    class GPT(nn.Module):
        def __init__(self):
            super().__init__()
            self.wte, self.wpe = nn.Embedding(vocabulary, width), nn.Embedding(block, width)
            self.h = nn.ModuleList([_block(torch, width, heads, block) for _ in range(layers)])
            self.ln_f, self.lm_head = nn.LayerNorm(width), nn.Linear(width, vocabulary, bias=False)

        def forward(self, idx, pasts=None):
            before = 0 if pasts is None or pasts[0] is None else pasts[0][0].size(2)
            pos = torch.arange(before, before + idx.size(1), dtype=torch.long, device=idx.device)
            x, now = self.wte(idx) + self.wpe(pos), []
            for k, block in enumerate(self.h):
                x, kept = block(x, None if pasts is None else pasts[k])
                now.append(kept)
            x = self.ln_f(x)
            return (self.lm_head(x), None) if pasts is None else (self.lm_head(x[:, [-1], :]), now)

    return GPT().eval()


def nano_gpt(torch: ModuleType) -> Loop:
    """nanoGPT's generate: the whole text through the model in every turn, cropped to the block size."""
    F, model, block = torch.nn.functional, _gpt(torch), 128

    @torch.no_grad()
    def generate(idx, max_new_tokens, temperature=0.8, top_k=20):
        for _ in range(max_new_tokens):
            idx_cond = idx if idx.size(1) <= block else idx[:, -block:]
            logits, _ = model(idx_cond)
            logits = logits[:, -1, :] / temperature
            v, _ = torch.topk(logits, min(top_k, logits.size(-1)))
            logits[logits < v[:, [-1]]] = -float("Inf")
            probs = F.softmax(logits, dim=-1)
            idx_next = torch.multinomial(probs, num_samples=1)
            idx = torch.cat((idx, idx_next), dim=1)
        return idx

    return lambda turns: generate(torch.zeros((1, 1), dtype=torch.long), turns)[0].tolist()


def cached_gpt(torch: ModuleType) -> Loop:
    """The same model with keys and values that are concatenated in every turn; greedy, one `.item()` a token."""
    model = _gpt(torch)

    def run(turns: int) -> list:
        tokens, pasts = [0], [None] * len(model.h)
        with torch.no_grad():
            for _ in range(turns):
                logits, pasts = model(torch.tensor([[tokens[-1]]]), pasts)
                tokens.append(logits[0, -1].argmax().item())
        return tokens

    return run


def bigram_sampling(torch: ModuleType) -> Loop:
    """Batches of sampled text, in the short form of many courses: no top-k, the text cropped by a slice."""
    F, model, block = torch.nn.functional, _gpt(torch, layers=2, width=64, heads=4, block=32), 32

    def run(turns: int) -> list:
        idx = torch.zeros((4, 1), dtype=torch.long)
        with torch.no_grad():
            for _ in range(turns):
                logits, _ = model(idx[:, -block:])
                probs = F.softmax(logits[:, -1, :], dim=-1)
                idx = torch.cat((idx, torch.multinomial(probs, num_samples=1)), dim=1)
        return idx.tolist()

    return run


def _translator(torch: ModuleType, width: int = 128, heads: int = 4, layers: int = 2, vocabulary: int = 200, longest: int = 200):
    nn = torch.nn

    class Translator(nn.Module):
        def __init__(self):
            super().__init__()
            self.transformer = nn.Transformer(width, heads, layers, layers, 4 * width, dropout=0.1)
            self.source, self.target = nn.Embedding(vocabulary, width), nn.Embedding(vocabulary, width)
            self.generator = nn.Linear(width, vocabulary)
            angle = torch.arange(longest).unsqueeze(1) * torch.exp(torch.arange(0, width, 2) * (-math.log(10000.0) / width))
            table = torch.zeros(longest, 1, width)
            table[:, 0, 0::2], table[:, 0, 1::2] = torch.sin(angle), torch.cos(angle)
            self.register_buffer("table", table)
            self.scale = math.sqrt(width)

        def place(self, x):
            return x * self.scale + self.table[: x.size(0)]

        def encode(self, src, src_mask):
            return self.transformer.encoder(self.place(self.source(src)), src_mask)

        def decode(self, tgt, memory, tgt_mask):
            return self.transformer.decoder(self.place(self.target(tgt)), memory, tgt_mask)

    return Translator().eval()


def translation(torch: ModuleType) -> Loop:
    """PyTorch's translation tutorial: greedy decoding with `nn.Transformer`, the mask made anew in every turn."""
    nn, model = torch.nn, _translator(torch)
    src = torch.randint(0, 200, (12, 1))

    def run(turns: int) -> list:
        with torch.no_grad():
            memory = model.encode(src, torch.zeros(12, 12).type(torch.bool))
            ys = torch.ones(1, 1).fill_(2).type(torch.long)
            for _ in range(turns):
                tgt_mask = nn.Transformer.generate_square_subsequent_mask(ys.size(0)).type(torch.bool)
                out = model.decode(ys, memory, tgt_mask).transpose(0, 1)
                _, next_word = torch.max(model.generator(out[:, -1]), dim=1)
                ys = torch.cat([ys, torch.ones(1, 1).type_as(src.data).fill_(next_word.item())], dim=0)
        return ys.flatten().tolist()

    return run


def beam_search(torch: ModuleType) -> Loop:
    """Four beams over the decoder of `nn.Transformer`: scores, the best of beams times words, sequences chosen and made longer."""
    nn, model, beams = torch.nn, _translator(torch), 4
    src = torch.randint(0, 200, (12, 1))

    def run(turns: int) -> list:
        with torch.no_grad():
            memory = model.transformer.encoder(model.place(model.source(src))).repeat(1, beams, 1)
            ys, scores = torch.full((1, beams), 2, dtype=torch.long), torch.tensor([0.0] + [-1e9] * (beams - 1))
            for _ in range(turns):
                mask = nn.Transformer.generate_square_subsequent_mask(ys.size(0))
                logits = model.generator(model.decode(ys, memory, mask)[-1])
                total = scores.unsqueeze(1) + torch.log_softmax(logits, dim=-1)
                scores, best = total.view(-1).topk(beams)
                beam, word = torch.div(best, logits.size(-1), rounding_mode="floor"), best % logits.size(-1)
                ys = torch.cat((ys[:, beam], word.unsqueeze(0)), dim=0)
                if bool((word == 1).all()):
                    break
        return ys[:, 0].tolist()

    return run


def char_rnn(torch: ModuleType) -> Loop:
    """PyTorch's tutorial on names: a cell of `Linear` layers on one-hot letters, hidden state carried, one `.item()` a letter."""
    nn, letters, hidden_size = torch.nn, 59, 128

    class RNN(nn.Module):
        def __init__(self):
            super().__init__()
            self.i2h, self.i2o = nn.Linear(letters + hidden_size, hidden_size), nn.Linear(letters + hidden_size, letters)
            self.o2o = nn.Linear(hidden_size + letters, letters)
            self.dropout, self.softmax = nn.Dropout(0.1), nn.LogSoftmax(dim=1)

        def forward(self, input, hidden):
            input_combined = torch.cat((input, hidden), 1)
            hidden, output = self.i2h(input_combined), self.i2o(input_combined)
            output = self.o2o(torch.cat((hidden, output), 1))
            return self.softmax(self.dropout(output)), hidden

    rnn = RNN().eval()

    def one_hot(letter: int):
        tensor = torch.zeros(1, 1, letters)
        tensor[0][0][letter] = 1
        return tensor

    def run(turns: int) -> list:
        made = [3]
        with torch.no_grad():
            hidden = torch.zeros(1, hidden_size)
            for _ in range(turns):
                output, hidden = rnn(one_hot(made[-1])[0], hidden)
                _, topi = output.topk(1)
                made.append(topi[0][0].item())
        return made

    return run


def char_lstm(torch: ModuleType) -> Loop:
    """A character model of `nn.LSTM`, its state carried, one character drawn by `multinomial` a turn."""
    nn, vocabulary, width = torch.nn, 65, 128

    class CharLSTM(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.lstm = nn.Embedding(vocabulary, 64), nn.LSTM(64, width, 2, batch_first=True)
            self.fc = nn.Linear(width, vocabulary)

        def forward(self, x, state=None):
            out, state = self.lstm(self.embed(x), state)
            return self.fc(out), state

    model = CharLSTM().eval()

    def run(turns: int) -> list:
        made, state = [1], None
        with torch.no_grad():
            for _ in range(turns):
                logits, state = model(torch.tensor([[made[-1]]]), state)
                probs = torch.softmax(logits[0, -1] / 0.8, dim=0)
                made.append(torch.multinomial(probs, 1).item())
        return made

    return run


def forecast(torch: ModuleType) -> Loop:
    """A series that grows by what the model says of its last values, kept as one tensor, the mean of all of it subtracted."""
    nn = torch.nn
    model = nn.Sequential(nn.Linear(32, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 1)).eval()
    start = torch.randn(32)

    def run(turns: int) -> list:
        series = start.clone()
        with torch.no_grad():
            for _ in range(turns):
                level = series.mean()
                series = torch.cat((series, model((series[-32:] - level).unsqueeze(0))[0] + level))
                if torch.isnan(series[-1]):
                    break
        return series.tolist()

    return run


LOOPS: dict[str, Callable[[ModuleType], Loop]] = {
    "nanoGPT": nano_gpt,
    "sampling, batch 4": bigram_sampling,
    "GPT, cache": cached_gpt,
    "translation": translation,
    "beam search": beam_search,
    "char RNN": char_rnn,
    "char LSTM": char_lstm,
    "forecast": forecast,
}
