"""Single operations on small tensors against PyTorch eager: what the call itself costs, whatever it computes.

    python benchmarks/small_operations.py [part of a name …] [--rounds 9] [--read]

Processor time of one thread, the fastest of interleaved rounds, in microseconds; 300 calls a round, whose results are dropped but for what a row looks
at itself; of what is written in place, the last contents are computed with each round. --read: every result is computed as well, which PyTorch's are in any case. At the end: the geometric mean, and the rows above 1.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from types import ModuleType
from typing import Any

from side_by_side import interleave, wait

Make = Callable[[ModuleType], Callable[[], Any]]
CALLS = 300


def on(call: Callable[[Any, Any], Any], *shape: int, grad: bool = False) -> Make:
    """A call of torch and a tensor of a shape."""

    def make(torch: ModuleType) -> Callable[[], Any]:
        torch.manual_seed(0)
        x = torch.randn(*shape)
        if grad:
            x.requires_grad_()
        return lambda: call(torch, x)

    return make


def on_two(call: Callable[[Any, Any, Any], Any], *shape: int) -> Make:
    """A call of torch and two tensors of a shape."""

    def make(torch: ModuleType) -> Callable[[], Any]:
        torch.manual_seed(0)
        x, y = torch.randn(*shape), torch.rand(*shape)
        return lambda: call(torch, x, y)

    return make


def of_integers(call: Callable[[Any, Any, Any], Any], numbers: Any, *shape: int) -> Make:
    """A call of torch, a tensor of a shape, and one of integers."""

    def make(torch: ModuleType) -> Callable[[], Any]:
        torch.manual_seed(0)
        x, i = torch.randn(*shape), torch.tensor(numbers)
        return lambda: call(torch, x, i)

    return make


def _under_no_grad(torch: ModuleType, x: Any) -> None:
    with torch.no_grad():
        x -= 0.1


def _scaled_under_no_grad(torch: ModuleType, x: Any, y: Any) -> None:
    with torch.no_grad():
        x += 0.1 * y


def _zero_grad(set_to_none: bool) -> Make:
    def make(torch: ModuleType) -> Callable[[], Any]:
        model = torch.nn.Linear(4, 4)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        model(torch.randn(2, 4)).sum().backward()
        return lambda: optimizer.zero_grad(set_to_none=set_to_none)

    return make


def _views_with_history(torch: ModuleType, x: Any) -> Any:
    return x.view(2, 8).t()


def _loss_item(torch: ModuleType) -> Callable[[], Any]:
    model = torch.nn.Linear(4, 1)
    x, y = torch.randn(8, 4), torch.randn(8, 1)
    return lambda: torch.nn.functional.mse_loss(model(x), y).item()


def _written(torch: ModuleType) -> Callable[[], Any]:
    buffer, row = torch.zeros(16, 4), torch.randn(4)
    count = [0]

    def write() -> None:
        count[0] = (count[0] + 1) % 16
        buffer[count[0]] = row

    return write


def _from_numpy(torch: ModuleType) -> Callable[[], Any]:
    array = torch.randn(4).numpy().copy()
    return lambda: torch.from_numpy(array)


def _argmax_row(torch: ModuleType, x: Any) -> int:
    return x.argmax().item()


ROWS: dict[str, Make] = {
    "zero_": on(lambda t, x: x.zero_(), 4, 4),
    "fill_": on(lambda t, x: x.fill_(0.5), 4, 4),
    "copy_": on_two(lambda t, x, y: x.copy_(y), 4, 4),
    "x += 1": on(lambda t, x: x.add_(1.0), 4, 4),
    "x += y": on_two(lambda t, x, y: x.add_(y), 4, 4),
    "x *= 0.9": on(lambda t, x: x.mul_(0.9), 4, 4),
    "x.add_(y, alpha)": on_two(lambda t, x, y: x.add_(y, alpha=0.1), 4, 4),
    "clamp_": on(lambda t, x: x.clamp_(-1, 1), 4, 4),
    "leaf -= 0.1, no_grad": on(_under_no_grad, 4, 4, grad=True),
    "x += 0.1 * y, no_grad": on_two(_scaled_under_no_grad, 4, 4),
    "zero_grad": _zero_grad(True),
    "zero_grad to zeros": _zero_grad(False),
    "detach": on(lambda t, x: x.detach(), 4, 4),
    "detach of a leaf": on(lambda t, x: x.detach(), 4, 4, grad=True),
    "detach of a result": on(lambda t, x: (x * 2.0).detach(), 4, 4, grad=True),
    "x.data": on(lambda t, x: x.data, 4, 4, grad=True),
    "clone": on(lambda t, x: x.clone(), 4, 4),
    "detach clone": on(lambda t, x: x.detach().clone(), 4, 4, grad=True),
    "requires_grad_": on(lambda t, x: x.detach().requires_grad_(), 4, 4),
    "to float32": on(lambda t, x: x.to(t.float32), 4, 4),
    "to float64": on(lambda t, x: x.to(t.float64), 4, 4),
    "x.float()": on(lambda t, x: x.float(), 4, 4),
    "x.long()": on(lambda t, x: x.long(), 4, 4),
    "to cpu": on(lambda t, x: x.to("cpu"), 4, 4),
    "contiguous": on(lambda t, x: x.contiguous(), 4, 4),
    "zeros": on(lambda t, x: t.zeros(4, 4), 1),
    "ones": on(lambda t, x: t.ones(4), 1),
    "full": on(lambda t, x: t.full((4, 4), 0.5), 1),
    "empty": on(lambda t, x: t.empty(4, 4), 1),
    "zeros_like": on(lambda t, x: t.zeros_like(x), 4, 4),
    "ones_like": on(lambda t, x: t.ones_like(x), 4, 4),
    "new_zeros": on(lambda t, x: x.new_zeros(4), 4, 4),
    "eye": on(lambda t, x: t.eye(4), 1),
    "arange": on(lambda t, x: t.arange(8), 1),
    "arange float": on(lambda t, x: t.arange(0, 1, 0.125), 1),
    "linspace": on(lambda t, x: t.linspace(0, 1, 8), 1),
    "tensor number": on(lambda t, x: t.tensor(0.5), 1),
    "tensor list": on(lambda t, x: t.tensor([1.0, 2.0, 3.0]), 1),
    "tensor ints": on(lambda t, x: t.tensor([[1, 2], [3, 4]]), 1),
    "tensor index": on(lambda t, x: t.tensor([3]), 1),
    "randn": on(lambda t, x: t.randn(4, 4), 1),
    "rand": on(lambda t, x: t.rand(4), 1),
    "rand()": on(lambda t, x: t.rand(()), 1),
    "randint": on(lambda t, x: t.randint(0, 10, (4,)), 1),
    "randn_like": on(lambda t, x: t.randn_like(x), 4, 4),
    "randperm": on(lambda t, x: t.randperm(8), 1),
    "rand(1).item": on(lambda t, x: t.rand(1).item(), 1),
    "bernoulli": on_two(lambda t, x, y: t.bernoulli(y), 4, 4),
    "multinomial": on_two(lambda t, x, y: t.multinomial(y, 1), 8),
    "stack": on_two(lambda t, x, y: t.stack([x, y]), 4),
    "stack of 8": on(lambda t, x: t.stack([x, x, x, x, x, x, x, x]), 4),
    "stack of numbers": on_two(lambda t, x, y: t.stack([x[0], y[1], x[2]]), 4),
    "cat": on_two(lambda t, x, y: t.cat([x, y]), 4),
    "cat dim 1": on_two(lambda t, x, y: t.cat((x, y), 1), 4, 4),
    "split": on(lambda t, x: x.split(2), 4),
    "chunk": on(lambda t, x: x.chunk(2, -1), 4, 4),
    "unbind": on(lambda t, x: x.unbind(0), 4, 4),
    "x[0]": on(lambda t, x: x[0], 4, 4),
    "x[1:3]": on(lambda t, x: x[1:3], 4, 4),
    "x[:, 0]": on(lambda t, x: x[:, 0], 4, 4),
    "x[-1]": on(lambda t, x: x[-1], 4, 4),
    "x[None]": on(lambda t, x: x[None], 4, 4),
    "x[i].item": on(lambda t, x: x[2].item(), 4),
    "float(x[i])": on(lambda t, x: float(x[2]), 4),
    "x[i, j].item": on(lambda t, x: x[1, 2].item(), 4, 4),
    "x[0] = 1": on(lambda t, x: x.__setitem__(0, 1.0), 4, 4),
    "x[0] = row": _written,
    "x[indices]": of_integers(lambda t, x, i: x[i], [0, 2], 4, 4),
    "x[rows, columns]": of_integers(lambda t, x, i: x[i, i], [0, 2], 4, 4),
    "x[list]": on(lambda t, x: x[[0, 2]], 4, 4),
    "x[mask]": on(lambda t, x: x[x > 0], 4, 4),
    "x[mask] = 0": on(lambda t, x: x.__setitem__(x < 0, 0.0), 4, 4),
    "gather": of_integers(lambda t, x, i: x.gather(1, i), [[0], [1], [2], [3]], 4, 4),
    "index_select": of_integers(lambda t, x, i: x.index_select(0, i), [0, 2], 4, 4),
    "where": on_two(lambda t, x, y: t.where(x > 0, x, y), 4, 4),
    "masked_fill": on(lambda t, x: x.masked_fill(x > 0, 0.0), 4, 4),
    "x > 0": on(lambda t, x: x > 0, 4, 4),
    "x == y": on_two(lambda t, x, y: x == y, 4, 4),
    "x > y": on_two(lambda t, x, y: x > y, 4, 4),
    "x & y": of_integers(lambda t, x, i: i & i, [0, 1], 1),
    "~x": of_integers(lambda t, x, i: ~i, [0, 1], 1),
    "any": on(lambda t, x: (x > 0).any(), 4, 4),
    "bool(any)": on(lambda t, x: bool((x > 0).any()), 4, 4),
    "if x > 0": on(lambda t, x: 1 if x > 0 else 0, ()),
    "argmax": on(lambda t, x: x.argmax(-1), 4, 4),
    "argmax.item": on(_argmax_row, 8),
    "max dim": on(lambda t, x: x.max(-1), 4, 4),
    "max": on(lambda t, x: x.max(), 4, 4),
    "sum": on(lambda t, x: x.sum(), 4, 4),
    "sum.item": on(lambda t, x: x.sum().item(), 4, 4),
    "mean dim": on(lambda t, x: x.mean(-1), 4, 4),
    "norm.item": on(lambda t, x: x.norm().item(), 4, 4),
    "item": on(lambda t, x: x.item(), ()),
    "float": on(lambda t, x: float(x), ()),
    "int": of_integers(lambda t, x, i: int(i), 3, 1),
    "tolist": on(lambda t, x: x.tolist(), 4),
    "numpy": on(lambda t, x: x.numpy(), 4),
    "detach numpy": on(lambda t, x: x.detach().numpy(), 4, grad=True),
    "from_numpy": _from_numpy,
    "loss.item": _loss_item,
    "x + y": on_two(lambda t, x, y: x + y, 4, 4),
    "x + y of a leaf": on(lambda t, x: x + x, 4, 4, grad=True),
    "x * 2": on(lambda t, x: x * 2.0, 4, 4),
    "2 - x": on(lambda t, x: 2.0 - x, 4, 4),
    "-x": on(lambda t, x: -x, 4, 4),
    "x ** 2": on(lambda t, x: x**2, 4, 4),
    "x / 3": on(lambda t, x: x / 3, 4, 4),
    "int + int": of_integers(lambda t, x, i: i + 1, [0, 2], 1),
    "exp": on(lambda t, x: x.exp(), 4, 4),
    "torch.tanh": on(lambda t, x: t.tanh(x), 4, 4),
    "softmax": on(lambda t, x: x.softmax(-1), 4, 4),
    "matmul": on_two(lambda t, x, y: x @ y, 4, 4),
    "dot": on_two(lambda t, x, y: x.dot(y), 4),
    "linear": on_two(lambda t, x, y: t.nn.functional.linear(x, y), 4, 4),
    "clamp": on(lambda t, x: x.clamp(0, 1), 4, 4),
    "view": on(lambda t, x: x.view(2, 8), 4, 4),
    "view -1": on(lambda t, x: x.view(-1), 4, 4),
    "reshape": on(lambda t, x: x.reshape(2, 8), 4, 4),
    "t": on(lambda t, x: x.t(), 4, 4),
    "transpose": on(lambda t, x: x.transpose(0, 1), 4, 4),
    "permute": on(lambda t, x: x.permute(1, 0), 4, 4),
    "unsqueeze": on(lambda t, x: x.unsqueeze(0), 4, 4),
    "squeeze": on(lambda t, x: x.squeeze(0), 1, 4),
    "flatten": on(lambda t, x: x.flatten(), 4, 4),
    "expand": on(lambda t, x: x.expand(3, 4), 4),
    "repeat": on(lambda t, x: x.repeat(2, 1), 4, 4),
    "view of a leaf": on(lambda t, x: x.view(2, 8), 4, 4, grad=True),
    "views of a leaf": on(_views_with_history, 4, 4, grad=True),
    "x[0] of a leaf": on(lambda t, x: x[0], 4, 4, grad=True),
    "view of a result": on(lambda t, x: (x * 2.0).view(2, 8), 4, 4, grad=True),
    "one_hot": of_integers(lambda t, x, i: t.nn.functional.one_hot(i, 4), [0, 2], 1),
    "embedding": of_integers(lambda t, x, i: t.nn.functional.embedding(i, x), [0, 2], 4, 4),
    "embedding_bag": of_integers(lambda t, x, i: t.nn.functional.embedding_bag(i, x), [[0, 2]], 4, 4),
    "interpolate": on(lambda t, x: t.nn.functional.interpolate(x, size=(4, 4), mode="bilinear"), 1, 2, 8, 8),
    "topk": on(lambda t, x: x.topk(2), 8),
    "sort": on(lambda t, x: x.sort(), 8),
    "cumsum": on(lambda t, x: x.cumsum(0), 8),
    "nonzero": on(lambda t, x: (x > 0).nonzero(), 8),
    "allclose": on(lambda t, x: t.allclose(x, x), 8),
    "equal": on(lambda t, x: t.equal(x, x), 8),
    "isnan any": on(lambda t, x: bool(t.isnan(x).any()), 8),
    "shape": on(lambda t, x: x.shape, 4, 4),
    "size(0)": on(lambda t, x: x.size(0), 4, 4),
    "len": on(lambda t, x: len(x), 4, 4),
    "requires_grad": on(lambda t, x: x.requires_grad, 4, 4),
    "device": on(lambda t, x: x.device, 4, 4),
    "dtype": on(lambda t, x: x.dtype, 4, 4),
    "backward of a leaf": on(lambda t, x: (x * x).sum().backward(), 4, 4, grad=True),
    "manual_seed": on(lambda t, x: t.manual_seed(3), 1),
}  # fmt: skip


def warm_up(torch: ModuleType) -> None:
    """What a program that looks at values again and again makes of itself."""
    x = torch.randn(8, 8)
    for _ in range(50):
        (x @ x).sum().item()
        x[0].max().item()


def repeated(call: Callable[[], Any], reads: bool) -> Callable[[], None]:
    def run() -> None:
        for _ in range(CALLS):
            call()

    def run_and_read() -> None:
        for _ in range(CALLS):
            wait(call())

    return run_and_read if reads else run


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("names", nargs="*")
    options.add_argument("--rounds", type=int, default=9)
    options.add_argument("--read", action="store_true")
    arguments = options.parse_args()

    import lamina
    import torch

    lamina.set_num_threads(1)
    torch.set_num_threads(1)
    warm_up(lamina)
    print(f"{'':24} {'lamina us':>10} {'torch us':>10} {'ratio':>7}")
    ratios = {}
    for name, make in ROWS.items():
        if arguments.names and not any(part in name for part in arguments.names):
            continue
        calls = {side.__name__: repeated(make(side), arguments.read) for side in (lamina, torch)}
        times = interleave(calls, rounds=arguments.rounds, warm=2, least=0.001, clock=time.process_time)
        mine, other = (1e6 * t.fastest / CALLS for t in times)
        ratios[name] = mine / other
        print(f"{name:24} {mine:10.2f} {other:10.2f} {mine / other:7.2f}", flush=True)
    if ratios:
        print(f"geometric mean {math.exp(sum(map(math.log, ratios.values())) / len(ratios)):.2f}")
        print("above 1: " + ", ".join(f"{name} {ratio:.1f}" for name, ratio in sorted(ratios.items(), key=lambda r: -r[1]) if ratio > 1))


if __name__ == "__main__":
    main()
