"""Loaders, samplers and collation: PyTorch's order for the same seed, draw for draw."""

from __future__ import annotations

from collections import namedtuple
from typing import Any

import numpy as np
import pytest

import lamina
from lamina.pyfront import data as ours

torch = pytest.importorskip("torch")
theirs = pytest.importorskip("torch.utils.data")
BOTH = [(lamina, ours), (torch, theirs)]


def plain(value: Any) -> Any:
    if isinstance(value, (lamina.Tensor, torch.Tensor)):
        return str(value.dtype), value.tolist()
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    return type(value).__name__, [plain(v) for v in value] if isinstance(value, (list, tuple)) else value


def both(make: Any) -> None:
    results = []
    for lib, module in BOTH:
        lib.manual_seed(7)
        results.append((make(lib, module), lib.rand(2).tolist()))
    assert results[0] == results[1]


LOADERS: list[dict] = [
    {}, {"batch_size": 3}, {"batch_size": 4, "shuffle": True}, {"batch_size": 4, "shuffle": True, "drop_last": True},
    {"batch_size": None}, {"batch_size": 4, "shuffle": True, "num_workers": 2},
]  # fmt: skip


@pytest.mark.parametrize("options", LOADERS, ids=str)
def test_order(options: dict) -> None:
    def run(lib: Any, module: Any) -> list:
        dataset = module.TensorDataset(lib.arange(10), lib.arange(20.0).view(10, 2))
        loader = module.DataLoader(dataset, **options)
        return [len(loader), *[plain(batch) for _ in range(2) for batch in loader]]

    both(run)


def test_generator_of_its_own() -> None:
    def run(lib: Any, module: Any) -> list:
        loader = module.DataLoader(list(range(9)), 4, shuffle=True, generator=lib.Generator().manual_seed(3))
        return [plain(batch) for _ in range(2) for batch in loader]

    both(run)


def test_samplers() -> None:
    def run(lib: Any, module: Any) -> list:
        source = list(range(50))
        samplers = [
            module.RandomSampler(source), module.RandomSampler(source, replacement=True, num_samples=70),
            module.RandomSampler(source, num_samples=120), module.SubsetRandomSampler([3, 1, 4, 1, 5]),
            module.WeightedRandomSampler([0.1, 0.9, 0.5], 20), module.WeightedRandomSampler([0.1, 0.9, 0.5], 2, False),
            module.BatchSampler(module.SequentialSampler(source), 8, True),
        ]  # fmt: skip
        return [(list(s), len(s)) for s in samplers]

    both(run)


def test_random_split() -> None:
    both(lambda lib, m: [part.indices for part in m.random_split(range(11), [5, 6])])
    both(lambda lib, m: [part.indices for part in m.random_split(range(11), [0.5, 0.3, 0.2], lib.Generator().manual_seed(1))])


def test_iterable_datasets() -> None:
    def run(lib: Any, module: Any) -> list:
        class Stream(module.IterableDataset):
            def __iter__(self) -> Any:
                info = module.get_worker_info()
                start, step = (0, 1) if info is None else (info.id, info.num_workers)
                return iter(range(start, 11, step))

        return [plain(b) for n in (0, 2) for b in module.DataLoader(Stream(), batch_size=2, num_workers=n)]

    both(run)


Pair = namedtuple("Pair", "a b")


@pytest.mark.parametrize(
    "batch",
    [
        [1, 2], [1.5, 2.5], [True, False], ["a", "b"], [np.ones(2, np.float32)] * 2, [np.float64(1.0)] * 2, [{"a": 1, "b": "x"}] * 2,
        [(1, 2.0), (3, 4.0)], [[1, 2], [3, 4]], [Pair(1, np.zeros(1))] * 2,
    ],
    ids=str,
)  # fmt: skip
def test_collate(batch: list) -> None:
    both(lambda lib, module: plain(module.default_collate(batch)))
    both(lambda lib, module: plain(module.default_convert(batch[0])))


@pytest.mark.parametrize("batch", [[object()], [np.zeros(2), np.zeros(3)], [[1], [1, 2]], [np.array(["a"])]], ids=["object", "sizes", "lengths", "texts"])
def test_collate_errors(batch: list) -> None:
    for _, module in BOTH:
        with pytest.raises((TypeError, RuntimeError)):
            module.default_collate(batch)


@pytest.mark.parametrize(
    "options",
    [{"num_workers": -1}, {"shuffle": True, "sampler": [1]}, {"batch_size": None, "drop_last": True}, {"batch_size": 0}, {"prefetch_factor": 2}],
    ids=str,
)
def test_bad_options(options: dict) -> None:
    texts = []
    for _, module in BOTH:
        with pytest.raises(ValueError) as caught:
            module.DataLoader(list(range(4)), **options)
        texts.append(str(caught.value))
    assert texts[0] == texts[1]


def test_collating_plain_data_records_nothing() -> None:
    from lamina.pyfront import recorder

    lamina.synchronize()
    dataset = ours.TensorDataset(lamina.arange(64), lamina.rand(64, 3))
    before = len(recorder.state.pending)
    batch = next(iter(ours.DataLoader(dataset, batch_size=32)))
    assert len(recorder.state.pending) == before and batch[1]._storage.node.value is not None


EXPRESSIONS = """
[list(D.DistributedSampler(range(11), num_replicas=3, rank=r, **k)) for r in range(3) for k in ({}, {'drop_last': True}, {'seed': 3})]
[list(D.DistributedSampler(range(2), num_replicas=5, rank=r, shuffle=False)) for r in range(5)]
D.DistributedSampler(range(11), num_replicas=3, rank=3)
D.ConcatDataset([[1, 2, 3], [4, 5]]).cummulative_sizes, D.ConcatDataset([[1, 2, 3], [4, 5]])[-1], D.Subset([5, 6, 7], [2, 0])[1]
D.StackDataset([1, 2], [3, 4]).__getitems__([1, 0]), D.StackDataset(a=[1, 2], b=[3, 4]).__getitems__([1]), len(D.StackDataset([1]))
D.StackDataset([1, 2], [3])
setattr(D.DataLoader([1, 2]), 'batch_size', 3)
D.DataLoader(D.ChainDataset([]), shuffle=True)
D.DataLoader(D.ChainDataset([]), batch_sampler=[[1]])
list(D.WeightedRandomSampler([0.1, 0.9, 0.5], 20)), list(D.WeightedRandomSampler([0.1, 0.9, 0.5], 3, replacement=False))
list(D.RandomSampler(range(5), replacement=True, num_samples=40)), list(D.RandomSampler(range(5), num_samples=12))
D.default_collate([{'a': 1, 'b': (2.0, 's')}, {'a': 3, 'b': (4.0, 't')}])['b'][1]
""".strip().splitlines()


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_same_as_pytorch(expression: str) -> None:
    outcomes = []
    for lib, module in BOTH:
        lib.manual_seed(0)
        try:
            outcomes.append(eval(expression, {"D": module}))
        except Exception as error:
            outcomes.append((type(error), str(error)))
    assert outcomes[0] == outcomes[1]
