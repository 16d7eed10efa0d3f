"""Datasets: map-style, iterable, and the ones made of others."""

from __future__ import annotations

import bisect
import itertools
import math
import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Generic, TypeVar

import numpy as np

from ...dialects.types import int64
from .. import recorder
from ..random import Generator
from ..random_tensors import randperm
from ..tensor import Tensor, wrap

T = TypeVar("T")


class Dataset(Generic[T]):
    """Samples by index: subclasses define ``__getitem__``, and ``__len__`` where it is known."""

    def __getitem__(self, index: Any) -> T:
        raise NotImplementedError("Subclasses of Dataset should implement __getitem__.")

    def __add__(self, other: Dataset) -> ConcatDataset:
        return ConcatDataset([self, other])


class IterableDataset(Dataset[T]):
    """Samples in a stream: subclasses define ``__iter__``."""

    def __iter__(self) -> Iterator[T]:
        raise NotImplementedError("Subclasses of IterableDataset should implement __iter__.")

    def __add__(self, other: Dataset) -> Any:
        return ChainDataset([self, other])


class TensorDataset(Dataset):
    """Rows of tensors with equal first sizes."""

    def __init__(self, *tensors: Tensor) -> None:
        if any(t.shape[0] != tensors[0].shape[0] for t in tensors):
            raise AssertionError("Size mismatch between tensors")
        self.tensors = tensors

    def __getitem__(self, index: Any) -> tuple[Tensor, ...]:
        return tuple([_row(t, index) for t in self.tensors])

    def __getitems__(self, indices: list) -> list:
        """Several samples. Those on a GPU are gathered there at once, by indices that are data: every batch is the same program."""
        if type(self).__getitem__ is not TensorDataset.__getitem__ or not any(t.is_cuda for t in self.tensors):
            return [self[i] for i in indices]
        places = wrap(recorder.constant(np.array(indices, np.int64), ((len(indices),), int64)))
        columns = [t.index_select(0, places).unbind() if t.is_cuda else [_row(t, i) for i in indices] for t in self.tensors]
        return list(zip(*columns, strict=True))

    def __len__(self) -> int:
        return self.tensors[0].shape[0]


def _row(t: Tensor, index: Any) -> Tensor:
    """``t[index]``; plain data is read on the host, so that loading a sample records nothing."""
    if t.requires_grad or t.is_cuda or not isinstance(index, (int, np.integer)):
        return t[index]
    return wrap(recorder.leaf(np.array(t._value()[index]), (tuple(t.shape[1:]), t.dtype)))


class StackDataset(Dataset):
    """Samples that are tuples (or dicts) of the samples of several datasets."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if args and kwargs:
            raise ValueError("Supported either ``tuple``- (via ``args``) or ``dict``- (via ``kwargs``) like input/output")
        self.datasets: Any = args or kwargs
        parts = list(self.datasets.values()) if kwargs else list(args)
        if not parts:
            raise ValueError("At least one dataset should be passed")
        self._length = len(parts[0])
        if any(len(part) != self._length for part in parts):
            raise ValueError("Size mismatch between datasets")

    def __getitem__(self, index: Any) -> Any:
        if isinstance(self.datasets, dict):
            return {key: part[index] for key, part in self.datasets.items()}
        return tuple(part[index] for part in self.datasets)

    def __getitems__(self, indices: list) -> list:
        """Several samples; the datasets may load theirs at once."""
        named = self.datasets.items() if isinstance(self.datasets, dict) else enumerate(self.datasets)
        columns: list[tuple[Any, list]] = []
        for key, part in named:
            many = getattr(part, "__getitems__", None)
            found = many(indices) if callable(many) else [part[i] for i in indices]
            if len(found) != len(indices):
                raise ValueError(
                    f"Nested dataset's output size mismatch. Expected {len(indices)}, got {len(found)}"
                )
            columns.append((key, found))
        rows = zip(*[found for _, found in columns], strict=True)
        if isinstance(self.datasets, dict):
            keys = [key for key, _ in columns]
            return [dict(zip(keys, row, strict=True)) for row in rows]
        return list(rows)

    def __len__(self) -> int:
        return self._length


class ConcatDataset(Dataset):
    """Datasets behind one another."""

    def __init__(self, datasets: Iterable[Dataset]) -> None:
        self.datasets = list(datasets)
        if not self.datasets:
            raise AssertionError("datasets should not be an empty iterable")
        if any(isinstance(d, IterableDataset) for d in self.datasets):
            raise AssertionError("ConcatDataset does not support IterableDataset")
        self.cumulative_sizes = list(itertools.accumulate(len(d) for d in self.datasets))

    def __len__(self) -> int:
        return self.cumulative_sizes[-1]

    def __getitem__(self, index: int) -> Any:
        if index < 0:
            if -index > len(self):
                raise ValueError("absolute value of index should not exceed dataset length")
            index += len(self)
        part = bisect.bisect_right(self.cumulative_sizes, index)
        return self.datasets[part][index - (self.cumulative_sizes[part - 1] if part else 0)]

    @property
    def cummulative_sizes(self) -> list[int]:
        """``cumulative_sizes``, as it was misspelled."""
        return self.cumulative_sizes


class ChainDataset(IterableDataset):
    """Iterable datasets one after the other."""

    def __init__(self, datasets: Iterable[Dataset]) -> None:
        self.datasets = datasets

    def __iter__(self) -> Iterator[Any]:
        for dataset in self.datasets:
            if not isinstance(dataset, IterableDataset):
                raise AssertionError("ChainDataset only supports IterableDataset")
            yield from dataset

    def __len__(self) -> int:
        return sum(len(d) for d in self.datasets)  # type: ignore[arg-type]  # a TypeError is what is due


class Subset(Dataset):
    """Some samples of a dataset."""

    def __init__(self, dataset: Dataset, indices: Sequence[int]) -> None:
        self.dataset, self.indices = dataset, indices

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, list):
            return self.dataset[[self.indices[i] for i in index]]
        return self.dataset[self.indices[index]]

    def __getitems__(self, indices: list[int]) -> list[Any]:
        if callable(getattr(self.dataset, "__getitems__", None)):
            return self.dataset.__getitems__([self.indices[i] for i in indices])
        return [self.dataset[self.indices[i]] for i in indices]

    def __len__(self) -> int:
        return len(self.indices)


def random_split(dataset: Dataset, lengths: Sequence[int | float], generator: Generator | None = None) -> list[Subset]:
    """Split at random into parts of these lengths (or fractions of 1)."""
    total = len(dataset)  # type: ignore[arg-type]  # map-style datasets have a length
    if math.isclose(sum(lengths), 1) and sum(lengths) <= 1:
        sizes = []
        for i, fraction in enumerate(lengths):
            if fraction < 0 or fraction > 1:
                raise ValueError(f"Fraction at index {i} is not between 0 and 1")
            sizes.append(math.floor(total * fraction))
        for i in range(total - sum(sizes)):
            sizes[i % len(sizes)] += 1
        for i, size in enumerate(sizes):
            if size == 0:
                warnings.warn(f"Length of split at index {i} is 0. This might result in an empty dataset.", stacklevel=2)
        lengths = sizes
    if sum(lengths) != total:
        raise ValueError("Sum of input lengths does not equal the length of the input dataset!")
    order = randperm(total, generator=generator).tolist()
    ends = list(itertools.accumulate(int(n) for n in lengths))
    return [Subset(dataset, order[end - int(n) : end]) for n, end in zip(lengths, ends, strict=True)]
