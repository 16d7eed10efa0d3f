"""DataLoader: batches of a dataset, in PyTorch's order for the same seed."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from ..random import Generator
from .collate import default_collate, default_convert
from .dataset import IterableDataset
from .processes import Fetcher, WorkerPool, can_fork
from .sampler import BatchSampler, RandomSampler, Sampler, SequentialSampler, draw_seed
from .worker import Worker

_collate_fn_t = Callable[[list], Any]  # what samplers of ones own are annotated with


_FIXED = ("batch_size", "batch_sampler", "sampler", "drop_last", "dataset", "persistent_workers")


class DataLoader:
    """Iterate over a dataset in batches.

    dataset: map-style (``__getitem__``, ``__len__``) or iterable. The other arguments are PyTorch's. Workers are forked
    processes; where processes cannot be forked (or another start method is asked for) they are stood in for one after
    another in this process. Pinning has no effect.
    """

    def __init__(
        self, dataset: Any, batch_size: int | None = 1, shuffle: bool | None = None, sampler: Any = None,
        batch_sampler: Any = None, num_workers: int = 0, collate_fn: Callable[[list], Any] | None = None,
        pin_memory: bool = False, drop_last: bool = False, timeout: float = 0,
        worker_init_fn: Callable[[int], Any] | None = None, multiprocessing_context: Any = None,
        generator: Generator | None = None, *, prefetch_factor: int | None = None, persistent_workers: bool = False,
        pin_memory_device: str = "", in_order: bool = True,
    ) -> None:  # fmt: skip
        if num_workers < 0:
            raise ValueError("num_workers option should be non-negative; use num_workers=0 to disable multiprocessing.")
        if timeout < 0:
            raise ValueError("timeout option should be non-negative")
        if num_workers == 0 and prefetch_factor is not None:
            raise ValueError(
                "prefetch_factor option could only be specified in multiprocessing.let num_workers > 0 to enable "
                "multiprocessing, otherwise set prefetch_factor to None."
            )
        if persistent_workers and num_workers == 0:
            raise ValueError("persistent_workers option needs num_workers > 0")
        self.dataset, self.num_workers, self.generator = dataset, num_workers, generator
        self.pin_memory, self.timeout, self.worker_init_fn = pin_memory, timeout, worker_init_fn
        self.prefetch_factor = 2 if num_workers > 0 and prefetch_factor is None else prefetch_factor
        self.persistent_workers, self.multiprocessing_context = persistent_workers, multiprocessing_context
        self.is_iterable = isinstance(dataset, IterableDataset)
        if self.is_iterable:
            for option, given in (("shuffle", shuffle or None), ("sampler", sampler), ("batch_sampler", batch_sampler)):
                if given is not None:
                    raise ValueError(
                        f"DataLoader with IterableDataset: expected unspecified {option} option, but got {option}={given}"
                    )
        if sampler is not None and shuffle:
            raise ValueError("sampler option is mutually exclusive with shuffle")
        if batch_sampler is not None:
            if batch_size != 1 or shuffle or sampler is not None or drop_last:
                raise ValueError(
                    "batch_sampler option is mutually exclusive with batch_size, shuffle, sampler, and drop_last"
                )
            batch_size, drop_last = None, False
        elif batch_size is None and drop_last:
            raise ValueError("batch_size=None option disables auto-batching and is mutually exclusive with drop_last")
        if sampler is None:
            sampler = self._default_sampler_(shuffle)
        if batch_size is not None and batch_sampler is None:
            batch_sampler = BatchSampler(sampler, batch_size, drop_last)
        self.batch_size, self.drop_last, self.sampler, self.batch_sampler = batch_size, drop_last, sampler, batch_sampler
        if collate_fn is None:
            collate_fn = default_convert if batch_sampler is None else default_collate
        self.collate_fn = collate_fn
        self._workers_: list[Worker] | None = None
        self._pool_: WorkerPool | None = None
        self._is_made_ = True

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _FIXED and self.__dict__.get("_is_made_"):
            raise ValueError(f"{name} attribute should not be set after {type(self).__name__} is initialized")
        super().__setattr__(name, value)

    def _default_sampler_(self, shuffle: bool | None) -> Any:
        if self.is_iterable:
            return _Endless()
        return RandomSampler(self.dataset, generator=self.generator) if shuffle else SequentialSampler(self.dataset)

    def __len__(self) -> int:
        if not self.is_iterable:
            return len(self.sampler if self.batch_sampler is None else self.batch_sampler)
        n = len(self.dataset)
        if self.batch_size is None:
            return n
        return n // self.batch_size if self.drop_last else -(-n // self.batch_size)

    def __iter__(self) -> Iterator[Any]:
        if self._pool_ is not None:  # persistent workers keep the seed they began with
            return _BatchesOfProcesses(self, self._by_processes_(self._pool_))
        # PyTorch draws this seed for every pass, workers or not; the sampler's own draw comes with the first batch.
        base_seed = draw_seed(self.generator)
        if self.num_workers == 0:
            return _Batches(self, self._stream_() if self.is_iterable else self._mapped_())
        if not can_fork(self.multiprocessing_context):
            return _Batches(self, self._by_workers_(base_seed))
        fetcher = Fetcher(self._fetching_, self.worker_init_fn)
        pool = WorkerPool(self.num_workers, base_seed, self.dataset, fetcher, self.prefetch_factor or 2, self.timeout)
        self._pool_ = pool if self.persistent_workers else None
        return _BatchesOfProcesses(self, self._by_processes_(pool))

    def _by_processes_(self, pool: WorkerPool) -> Iterator[Any]:
        """Batches made by worker processes; the first tasks are handed out before this returns."""
        pool.begin(iter(self._indices_()))

        def batches() -> Iterator[Any]:
            try:
                yield from pool.batches()
            finally:
                if pool is not self._pool_:
                    pool.stop()

        return batches()

    def _fetching_(self) -> Callable[[Any], Any]:
        """In a worker: how a task becomes a batch, for one pass."""
        if not self.is_iterable:
            return lambda indices: self._fetch_(self.dataset, indices)
        samples = iter(self.dataset)

        def fetch(_: Any) -> Any:
            batch = self._take_(samples)
            if batch is None:
                raise StopIteration
            return batch[0]

        return fetch

    def _indices_(self) -> Iterable[Any]:
        return self.sampler if self.batch_sampler is None else self.batch_sampler

    def _mapped_(self) -> Iterator[Any]:
        for indices in self._indices_():
            yield self._fetch_(self.dataset, indices)

    def _fetch_(self, dataset: Any, indices: Any) -> Any:
        if self.batch_sampler is None:
            return self.collate_fn(dataset[indices])
        many = getattr(dataset, "__getitems__", None)
        return self.collate_fn(many(indices) if callable(many) else [dataset[i] for i in indices])

    def _stream_(self) -> Iterator[Any]:
        samples = iter(self.dataset)
        while True:
            batch = self._take_(samples)
            if batch is None:
                return
            yield batch[0]

    def _take_(self, samples: Iterator[Any]) -> tuple[Any] | None:
        """The next batch of a stream, in a tuple; None at its end."""
        if self.batch_size is None:
            for sample in samples:
                return (self.collate_fn(sample),)
            return None
        batch = []
        for sample in samples:
            batch.append(sample)
            if len(batch) == self.batch_size:
                return (self.collate_fn(batch),)
        return (self.collate_fn(batch),) if batch and not self.drop_last else None

    # -- workers ----------------------------------------------------------------------------------------------

    def _team_(self, base_seed: int) -> list[Worker]:
        if self._workers_ is None or not self.persistent_workers:
            n = self.num_workers
            self._workers_ = [Worker(i, n, base_seed, self.dataset, self.worker_init_fn) for i in range(n)]
        return self._workers_

    def _by_workers_(self, base_seed: int) -> Iterator[Any]:
        team = self._team_(base_seed)
        if self.is_iterable:
            yield from self._streams_(team)
            return
        for number, indices in enumerate(self._indices_()):
            worker = team[number % len(team)]
            with worker.running():
                batch = self._fetch_(worker.dataset, indices)
            yield batch

    def _streams_(self, team: list[Worker]) -> Iterator[Any]:
        """A batch of each worker's own stream in turn, until all have ended."""
        running = []
        for worker in team:
            with worker.running():
                running.append((worker, iter(worker.dataset)))
        while running:
            for entry in list(running):
                worker, samples = entry
                with worker.running():
                    batch = self._take_(samples)
                if batch is None:
                    running.remove(entry)
                else:
                    yield batch[0]


class _Endless(Sampler):
    """The sampler of a stream: it has nothing to say."""

    def __iter__(self) -> Iterator[None]:
        while True:
            yield None


class _Batches:
    """The iterator of one pass."""

    def __init__(self, loader: DataLoader, batches: Iterator[Any]) -> None:
        self._loader = loader
        self._batches = batches
        self._given = 0

    def __iter__(self) -> _Batches:
        return self

    def __next__(self) -> Any:
        batch = next(self._batches)
        self._given += 1
        self._warn_when_too_many()
        return batch

    def _warn_when_too_many(self) -> None:
        loader = self._loader
        if loader.is_iterable and hasattr(loader.dataset, "__len__") and self._given == len(loader) + 1:
            warnings.warn(
                f"Length of IterableDataset {loader.dataset} was reported to be {len(loader)} (when accessing "
                f"len(dataloader)), but {self._given} samples have been fetched. ", stacklevel=3,
            )  # fmt: skip

    def __len__(self) -> int:
        return len(self._loader)


class _BatchesOfProcesses(_Batches):
    """The iterator of one pass over what worker processes make."""

    def _shutdown_workers(self) -> None:
        """Ends the workers, unless they are kept for the next pass."""
        self._batches.close()  # type: ignore[attr-defined]  # a generator


# PyTorch's names, which libraries ask iterators about.
_BaseDataLoaderIter, _MultiProcessingDataLoaderIter = _Batches, _BatchesOfProcesses
