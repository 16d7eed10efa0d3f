"""Operations whose results depend on the data, and decompositions, against PyTorch eager: small and large inputs, one thread, processor time.

    python benchmarks/host_operations.py [part of a name ...]

Each time is the least of many calls, results included. Rows above 1.5 are marked. What PyTorch has and lamina has not is said so.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
from side_by_side import wait

from lamina.dialects.errors import UnsupportedError

Make = Callable[[int, np.random.Generator], np.ndarray]


@dataclass(frozen=True)
class Row:
    """A call on arrays of several sizes."""

    name: str
    make: Make
    sizes: tuple[int, ...]
    call: Callable[[ModuleType, Any], Any]


def _vector(n: int, rng: np.random.Generator) -> np.ndarray:
    return rng.standard_normal(n).astype(np.float32)


def _rows(n: int, rng: np.random.Generator) -> np.ndarray:
    return rng.standard_normal((64, max(1, n // 64))).astype(np.float32)


def _integers(n: int, rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, max(2, n // 4), n)


def _definite(n: int, rng: np.random.Generator) -> np.ndarray:
    a = rng.standard_normal((n, n)).astype(np.float32)
    return a @ a.T + n * np.eye(n, dtype=np.float32)


def _square(n: int, rng: np.random.Generator) -> np.ndarray:
    return (rng.standard_normal((n, n)) + n**0.5 * np.eye(n)).astype(np.float32)


def _batch(n: int, rng: np.random.Generator) -> np.ndarray:
    return np.stack([_definite(8, rng) for _ in range(n)])


def _filled(torch: ModuleType, x: Any) -> Any:
    y = x.clone()
    y[y > 0] = 0.5
    return y


MANY, MATRICES, BATCHES = (1000, 1_000_000), (8, 64, 512), (32, 4096)
ROWS = (
    Row("x[mask]", _vector, MANY, lambda t, x: x[x > 0]),
    Row("rows[mask]", _rows, MANY, lambda t, x: x[x[:, 0] > 0]),
    Row("x[mask] = v", _vector, MANY, _filled),
    Row("masked_scatter", _vector, MANY, lambda t, x: x.masked_scatter(x > 0, x)),
    Row("nonzero", _vector, MANY, lambda t, x: t.nonzero(x > 0)),
    Row("nonzero 2d", _rows, MANY, lambda t, x: t.nonzero(x > 0)),
    Row("median", _vector, MANY, lambda t, x: x.median()),
    Row("median of rows", _rows, MANY, lambda t, x: x.median(-1)),
    Row("quantile", _vector, MANY, lambda t, x: t.quantile(x, 0.3)),
    Row("kthvalue", _vector, MANY, lambda t, x: x.kthvalue(x.numel() // 3)),
    Row("mode", _integers, MANY, lambda t, x: x.mode()),
    Row("unique", _integers, MANY, lambda t, x: t.unique(x)),
    Row("unique, inverse", _integers, MANY, lambda t, x: t.unique(x, return_inverse=True, return_counts=True)),
    Row("unique_consecutive", _integers, MANY, lambda t, x: t.unique_consecutive(x)),
    Row("sort", _vector, MANY, lambda t, x: x.sort()),
    Row("sort int64", _integers, MANY, lambda t, x: x.sort()),
    Row("sort rows", _rows, MANY, lambda t, x: x.sort(-1)),
    Row("topk 10", _vector, MANY, lambda t, x: x.topk(10)),
    Row("bincount", _integers, MANY, lambda t, x: t.bincount(x)),
    Row("searchsorted", _vector, MANY, lambda t, x: t.searchsorted(x[:200].sort()[0], x)),
    Row("repeat_interleave", _integers, MANY, lambda t, x: x.repeat_interleave(3)),
    Row("cholesky", _definite, MATRICES, lambda t, x: t.linalg.cholesky(x)),
    Row("solve", _square, MATRICES, lambda t, x: t.linalg.solve(x, x[:, :1])),
    Row("inv", _square, MATRICES, lambda t, x: t.linalg.inv(x)),
    Row("slogdet", _square, MATRICES, lambda t, x: t.linalg.slogdet(x)),
    Row("eigh", _definite, (8, 64, 256), lambda t, x: t.linalg.eigh(x)),
    Row("eig", _square, (8, 64), lambda t, x: t.linalg.eig(x)),
    Row("svd", _square, (8, 64, 256), lambda t, x: t.linalg.svd(x)),
    Row("svdvals", _square, (8, 64, 256), lambda t, x: t.linalg.svdvals(x)),
    Row("qr", _square, MATRICES, lambda t, x: t.linalg.qr(x)),
    Row("lu", _square, MATRICES, lambda t, x: t.linalg.lu(x)),
    Row("lstsq", _square, (8, 64, 256), lambda t, x: t.linalg.lstsq(x, x[:, :2]).solution),
    Row("solve_triangular", _definite, MATRICES, lambda t, x: t.linalg.solve_triangular(x, x, upper=False)),
    Row("cholesky_solve", _definite, MATRICES, lambda t, x: t.cholesky_solve(x, x)),
    Row("batched cholesky", _batch, BATCHES, lambda t, x: t.linalg.cholesky(x)),
    Row("batched solve", _batch, BATCHES, lambda t, x: t.linalg.solve(x, x[:, :, :1])),
    Row("batched qr", _batch, BATCHES, lambda t, x: t.linalg.qr(x)),
)


def least(call: Callable[[], Any]) -> float:
    """Processor seconds of the fastest of many calls, after three."""
    for _ in range(3):
        wait(call())
    times: list[float] = []
    while len(times) < 3 or (sum(times) < 0.15 and len(times) < 300):
        start = time.process_time()
        wait(call())
        times.append(time.process_time() - start)
    return min(times)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("parts", nargs="*")
    parts = options.parse_args().parts

    import lamina
    import torch

    lamina.set_num_threads(1)
    torch.set_num_threads(1)
    print(f"{'':20} {'size':>8} {'lamina us':>11} {'torch us':>11} {'ratio':>6}")
    for row in ROWS:
        if parts and not any(part in row.name for part in parts):
            continue
        for size in row.sizes:
            array = row.make(size, np.random.default_rng(0))
            try:
                ours, theirs = (least(lambda t=t, x=t.from_numpy(array.copy()): row.call(t, x)) for t in (lamina, torch))
            except UnsupportedError as error:
                print(f"{row.name:20} {size:8} {str(error).splitlines()[0]}")
                continue
            mark = "  slow" if ours > 1.5 * theirs else ""
            print(f"{row.name:20} {size:8} {1e6 * ours:11.1f} {1e6 * theirs:11.1f} {ours / theirs:6.2f}{mark}", flush=True)


if __name__ == "__main__":
    main()
