"""A character GPT, trained on the language reference that ships with Python (`pydoc_data.topics`); it writes some of its own.

    lamina run examples/char_gpt.py         under lamina
    python examples/char_gpt.py             the same script under PyTorch
"""

import argparse
import time

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

CONTEXT, WIDTH, HEADS, LAYERS = 64, 96, 4, 2


class Block(nn.Module):
    """Causal attention and an MLP, each after a norm and beside the identity."""

    def __init__(self):
        super().__init__()
        self.norm1 = nn.LayerNorm(WIDTH)
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH)
        self.project = nn.Linear(WIDTH, WIDTH)
        self.norm2 = nn.LayerNorm(WIDTH)
        self.mlp = nn.Sequential(nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH))

    def forward(self, x):
        n, t, _ = x.shape
        q, k, v = (part.view(n, t, HEADS, -1).transpose(1, 2) for part in self.qkv(self.norm1(x)).split(WIDTH, dim=2))
        attended = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.project(attended.transpose(1, 2).reshape(n, t, WIDTH))
        return x + self.mlp(self.norm2(x))


class GPT(nn.Module):
    """Characters int64 [n, t] to logits [n, t, characters]."""

    def __init__(self, characters):
        super().__init__()
        self.tokens = nn.Embedding(characters, WIDTH)
        self.positions = nn.Embedding(CONTEXT, WIDTH)
        self.blocks = nn.Sequential(*[Block() for _ in range(LAYERS)])
        self.norm = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, characters, bias=False)
        self.apply(self.initialise)
        self.head.weight = self.tokens.weight  # one matrix reads and writes characters

    def initialise(self, module):
        if isinstance(module, (nn.Linear, nn.Embedding)):
            nn.init.normal_(module.weight, std=0.02)

    def forward(self, x):
        position = torch.arange(x.size(1))
        return self.head(self.norm(self.blocks(self.tokens(x) + self.positions(position))))

    @torch.no_grad()
    def write(self, text, count):
        """Text goes on for `count` characters, each drawn from the prediction."""
        for _ in range(count):
            logits = self(text[:, -CONTEXT:])[:, -1]
            text = torch.cat([text, torch.multinomial(F.softmax(logits, -1), 1)], 1)
        return text


def book():
    """The text, its characters, and its numbers: training part, held-out part."""
    from pydoc_data.topics import topics

    text = "\n".join(topics[name] for name in sorted(topics))
    characters = sorted(set(text))
    number = {character: i for i, character in enumerate(characters)}
    data = torch.tensor([number[c] for c in text])
    cut = int(0.9 * len(data))
    return characters, data[:cut], data[cut:]


def excerpts(data, count):
    """Random pieces of the text: inputs and, one further on, targets [count, CONTEXT]."""
    starts = torch.randint(len(data) - CONTEXT - 1, (count,))
    places = starts[:, None] + torch.arange(CONTEXT)
    return data[places], data[places + 1]


def make_model():
    return GPT(len(book()[0]))


def score(model, data, pieces=8):
    """Cross entropy per character over the first pieces of the held-out text."""
    model.eval()
    whole = data[: 16 * pieces * CONTEXT + 1]
    with torch.no_grad():
        inputs, targets = whole[:-1].view(-1, CONTEXT), whole[1:].view(-1, CONTEXT)
        return F.cross_entropy(model(inputs).flatten(0, 1), targets.flatten()).item()


def evaluate(path):
    """The held-out cross entropy of saved weights."""
    model = make_model()
    model.load_state_dict(torch.load(path))
    return score(model, book()[2])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--losses", metavar="FILE", help="write the loss of each step")
    parser.add_argument("--weights", metavar="FILE", default="char_gpt.pt")
    parser.add_argument("--write", type=int, default=120, metavar="N", help="characters to write at the end")
    options = parser.parse_args()

    torch.manual_seed(options.seed)
    characters, train, held_out = book()
    model = make_model()
    size = sum(p.numel() for p in model.parameters())
    print(f"{len(train) + len(held_out):,} characters, {len(characters)} different ones; {size:,} parameters")
    decayed = [p for p in model.parameters() if p.dim() > 1]
    others = [p for p in model.parameters() if p.dim() <= 1]
    groups = [{"params": decayed, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=2e-3, betas=(0.9, 0.95))
    warm_up = torch.optim.lr_scheduler.LinearLR(optimizer, 0.05, total_iters=20)
    losses, start = [], time.perf_counter()
    for step in range(1, options.steps + 1):
        model.train()
        inputs, targets = excerpts(train, 16)
        loss = F.cross_entropy(model(inputs).flatten(0, 1), targets.flatten())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        warm_up.step()
        losses.append(loss.item())
        if step % 100 == 0 or step == options.steps:
            print(f"step {step}: training loss {np.mean(losses[-20:]):.4f}")
    seconds = time.perf_counter() - start
    torch.save(model.state_dict(), options.weights)
    if options.losses:
        np.savetxt(options.losses, losses)
    if options.write:
        written = model.write(held_out[None, :CONTEXT], options.write)[0, CONTEXT:].tolist()
        print("".join(characters[i] for i in written))
    print(f"final score: {score(model, held_out):.4f}   ({1e3 * seconds / options.steps:.1f} ms a step)")


if __name__ == "__main__":
    main()
