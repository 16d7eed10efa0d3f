"""Recording: microseconds per recorded op (must be at most 8), and per Node to build the Graph of a step.

python benchmarks/recording.py
"""

from __future__ import annotations

import time
from collections.abc import Callable

import lamina as torch
from lamina.pyfront import recorder
from lamina.pyfront.schedule import Schedule


def best(action: Callable[[], int], rounds: int = 30) -> float:
    """The fastest of several rounds, in microseconds per op."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        count = action()
        times.append((time.perf_counter() - start) / count * 1e6)
    return min(times)


def program(kind: str, requires_grad: bool, count: int = 250) -> Callable[[], int]:
    x = torch.ones(64, 64).clone()
    x.numpy()
    x = torch.tensor(x.tolist(), requires_grad=requires_grad)
    y = torch.tensor(x.tolist())

    def run() -> int:
        z = x
        if kind == "add tensor":
            for _ in range(count):
                z = z + y
        elif kind == "add number":
            for _ in range(count):
                z = z + 1.5
        elif kind == "tanh":
            for _ in range(count):
                z = z.tanh()
        elif kind == "matmul":
            for _ in range(count):
                z = z @ y
        elif kind == "broadcast":
            for _ in range(count):
                z = z + y[0]
        elif kind == "view":
            for _ in range(count):
                z = z.view(4096).view(64, 64)
            z = y
        recorder.state.flushed = recorder.state.order
        return count * (2 if kind in ("broadcast", "view") else 1)

    return run


def graph_building(count: int = 1000) -> float:
    x = torch.tensor([[1.0, 2.0]], requires_grad=True)

    def build() -> int:
        z = x
        for _ in range(count):
            z = z * x + x
        z = z.sum()
        z.backward(retain_graph=True)
        node = x.grad._read()
        x.grad = None
        recorder.state.flushed = recorder.state.order
        start = time.perf_counter()
        Schedule([node])
        taken.append((time.perf_counter() - start) / (2 * count) * 1e6)
        return 1

    taken: list[float] = []
    best(build, 5)
    return min(taken)


def main() -> None:
    for kind in ("add tensor", "add number", "tanh", "matmul", "broadcast", "view"):
        plain, tracked = best(program(kind, False)), best(program(kind, True))
        print(f"{kind:12} {plain:6.2f} us/op   tracked {tracked:6.2f} us/op")
    print(f"graph        {graph_building():6.2f} us/node")


if __name__ == "__main__":
    main()
