"""Programs for any size beside programs for one: the same work at the same size, and PyTorch eager if it is there.

    python benchmarks/any_size.py [part of a name ...]

One process each, one thread, rounds in turns, processor milliseconds of the fastest call. `any` met two other sizes before: its program was compiled
for all sizes; `one` (LAMINA_SYMBOLIC=0) was compiled for this one.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

KINDS = {"torch": {}, "one": {"LAMINA_SYMBOLIC": "0"}, "any": {"LAMINA_SYMBOLIC": "1"}}
ROUNDS, WARM = 8, 12
Step = Callable[[], Any]


def attention(torch: Any, n: int, causal: bool = False, train: bool = False) -> Step:
    q, k, v = (torch.randn(1, 8, n, 64, requires_grad=train) for _ in range(3))

    def step() -> float:
        out = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=causal)
        return sum(g.sum() for g in torch.autograd.grad(out.square().sum(), (q, k, v))).item() if train else out.sum().item()

    return step


def rows(torch: Any, n: int, name: str) -> Step:
    x, b, functional = torch.randn(512, n), torch.randn(n), torch.nn.functional
    of = {
        "softmax": lambda: functional.softmax(x, -1), "log_softmax": lambda: functional.log_softmax(x, -1), "layer_norm": lambda: functional.layer_norm(x, (n,)),
        "sum of exp": lambda: x.exp().sum(-1), "tanh": lambda: torch.tanh(x * x + b) * torch.sigmoid(x), "cumsum": lambda: x.cumsum(-1), "argmax": lambda: x.argmax(-1),
    }[name]  # fmt: skip
    return lambda: of()[0].sum().item()


def product(torch: Any, n: int, left: str, right: str, turned: bool = False) -> Step:
    a, b = (torch.randn(*(n if c == "n" else 256 for c in dims)) for dims in (left, right))
    return lambda: (a @ (b.t() if turned else b))[0, 0].item()


def convolution(torch: Any, n: int, channels: tuple[int, int], size: str, groups: int = 1) -> Step:
    shape = (n, channels[0], 28, 28) if size == "batch" else (4, channels[0], n) if size == "length" else (4, channels[0], n, n)
    kind = torch.nn.Conv1d if size == "length" else torch.nn.Conv2d
    model, x = kind(*channels, 3, padding=1, groups=groups), torch.randn(*shape)
    return lambda: model(x).relu().flatten()[0].item()


def recurrent(torch: Any, n: int) -> Step:
    model, x = torch.nn.LSTM(64, 128, batch_first=True), torch.randn(n, 20, 64)
    return lambda: model(x)[0][0, 0, 0].item()


def language_model(torch: Any, n: int, width: int = 128, heads: int = 4) -> Step:
    nn, functional = torch.nn, torch.nn.functional

    class Block(nn.Module):  # type: ignore[name-defined, misc]  # a framework's
        def __init__(self) -> None:
            super().__init__()
            self.norms = nn.ModuleList([nn.LayerNorm(width) for _ in range(2)])
            self.qkv, self.out, self.up, self.down = (nn.Linear(a * width, b * width) for a, b in ((1, 3), (1, 1), (1, 4), (4, 1)))

        def forward(self, x: Any) -> Any:
            b, t, _ = x.shape
            q, k, v = (z.view(b, t, heads, width // heads).transpose(1, 2) for z in self.qkv(self.norms[0](x)).split(width, 2))
            y = functional.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(b, t, width)
            x = x + self.out(y)
            return x + self.down(functional.gelu(self.up(self.norms[1](x))))

    embed, body = nn.Embedding(256, width), nn.Sequential(*[Block() for _ in range(3)], nn.LayerNorm(width), nn.Linear(width, 256))
    optimizer = torch.optim.AdamW([*embed.parameters(), *body.parameters()], lr=1e-4)
    tokens = torch.arange(4 * (n + 1)).reshape(4, n + 1) % 256

    def step() -> float:
        optimizer.zero_grad()
        loss = functional.cross_entropy(body(embed(tokens[:, :-1])).reshape(-1, 256), tokens[:, 1:].reshape(-1))
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


CASES: dict[str, tuple[tuple[int, ...], Callable[..., Step]]] = {
    "attention": ((64, 177, 250), attention),
    "attention, causal": ((64, 177, 250), partial(attention, causal=True)),
    "attention, causal, with gradients": ((64, 177, 250), partial(attention, causal=True, train=True)),
    "GPT train": ((64, 177, 203), language_model),
    **{f"{name} of {n}": ((64, 77, n), partial(rows, name=name)) for name in ("softmax", "log_softmax", "layer_norm", "sum of exp", "tanh", "cumsum", "argmax") for n in (103, 1000)},
    "product, rows": ((64, 77, 203), partial(product, left="nk", right="kk")),
    "product, columns": ((64, 77, 203), partial(product, left="kk", right="kn")),
    "product, columns far apart": ((64, 77, 203), partial(product, left="kk", right="nk", turned=True)),
    "product, steps": ((64, 77, 203), partial(product, left="kn", right="nk")),
    "product, all": ((64, 77, 203), partial(product, left="nn", right="nn")),
    "convolution, batch": ((4, 7, 13), partial(convolution, channels=(32, 32), size="batch")),
    "convolution, image": ((20, 24, 37), partial(convolution, channels=(32, 32), size="image")),
    "convolution, image, 3 channels": ((40, 60, 83), partial(convolution, channels=(3, 16), size="image")),
    "convolution, depthwise": ((20, 24, 37), partial(convolution, channels=(64, 64), size="image", groups=64)),
    "convolution, length": ((64, 77, 403), partial(convolution, channels=(64, 64), size="length")),
    "LSTM, batch": ((4, 7, 13), recurrent),
}


def work(kind: str) -> None:
    """A process: makes a case, or times some calls of the last one, as each line asks."""
    if kind == "torch":
        import torch
    else:
        import lamina as torch
        from lamina.backends import driver, symbolic

    torch.set_num_threads(1)
    for line in sys.stdin:
        what, _, rest = line.strip().partition(" ")
        best = 0.0
        if what == "make":
            sizes, make = CASES[rest]
            if kind != "torch":  # each case is on its own: others would be relatives of other sizes
                symbolic.forget()
                driver._programs.clear()
            for n in sizes if kind == "any" else sizes[-1:]:
                torch.manual_seed(0)
                step = make(torch, n)
                for _ in range(WARM):
                    step()
        else:
            times = []
            for _ in range(int(rest)):
                start = time.process_time()
                step()
                times.append(time.process_time() - start)
            best = min(times)
        print(json.dumps(best), flush=True)


def main(wanted: list[str]) -> None:
    """The table."""
    names = [name for name in CASES if not wanted or any(part in name for part in wanted)]
    shared = {**os.environ, "LAMINA_THREADS": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__, "--work"]
    running = {k: subprocess.Popen([*command, k], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**shared, **more}) for k, more in KINDS.items()}

    def asked(kind: str, line: str) -> float | None:
        process = running[kind]
        try:
            print(line, file=process.stdin, flush=True)
            return float(json.loads(process.stdout.readline()))  # type: ignore[union-attr]  # a pipe
        except (OSError, ValueError):  # it has ended: no PyTorch, say
            return None

    print(f"{'case':36} {'torch ms':>9} {'one ms':>9} {'any ms':>9} {'any/one':>8}")
    for name in names:
        kinds = [k for k in KINDS if asked(k, f"make {name}") is not None]
        calls = max(1, min(30, int(0.05 / max(1e-6, *(asked(k, "run 1") or 0.0 for k in kinds)))))
        best = dict.fromkeys(kinds, float("inf"))
        for _ in range(ROUNDS):
            best = {k: min(best[k], asked(k, f"run {calls}") or 0.0) for k in kinds}
        cells = [f"{1e3 * best[k]:9.3f}" if k in best else f"{'-':>9}" for k in KINDS]
        print(f"{name:36} {' '.join(cells)} {best['any'] / best['one']:8.2f}", flush=True)


if __name__ == "__main__":
    work(sys.argv[2]) if sys.argv[1:2] == ["--work"] else main(sys.argv[1:])
