"""Reducer: hears which gradients a backward brings, and averages them over all ranks when it ends."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .. import hub, recorder
from ..leaves import Accumulation
from ..node import Node
from ..origin import origin, source_line
from ..tensor import Tensor
from .buckets import GradBucket, buckets_of, gradient_array, set_gradient
from .errors import DistError
from .patterns import Combination
from .process_group import ProcessGroup
from .reduce_ops import ReduceOp, combine_of
from .tensors import flat

_GRADIENTS = "DistributedDataParallel: gradients"
Hook = Callable[[Any, GradBucket], Any]


class Reducer:
    """The gradients of some parameters. some_unused: a backward may bring fewer than all; settled: which these are never changes.

    armed: the last forward wants its backward averaged. divisor: what sums are divided by.
    """

    def __init__(
        self, params: Sequence[Tensor], names: Sequence[str], group: ProcessGroup, capacity: int, some_unused: bool, settled: bool
    ) -> None:
        self.params, self.names, self.group = list(params), list(names), group
        self.some_unused, self.settled = some_unused, settled
        self.buckets = buckets_of(params, capacity)
        self.armed = False
        self.divisor = group.size()
        self.hook: tuple[Any, Hook] | None = None
        self._numbers = {id(p): number for number, p in enumerate(params)}
        self._brought: set[int] = set()  # since gradients were averaged last, also by backwards that only accumulate
        self._ready: set[int] = set()  # by backwards that will be averaged
        self._used: np.ndarray | None = None  # by any rank, once that is settled
        self._waits = False
        self._heard = _Hearing(weakref.ref(self))
        self.listen()

    def listen(self) -> None:
        """Hear of every parameter's gradient. Called before each forward: a parameter may have become another leaf."""
        heard = self._heard
        for p in self.params:
            mark = p._mark
            if mark is not None and isinstance(mark.deliver, Accumulation) and mark.deliver.heard is not heard:
                mark.deliver.heard = heard

    def prepare(self) -> None:
        """A forward whose backward will be averaged begins. DistError when the backward before it did not bring all gradients."""
        if self._ready:
            missing = [name for number, name in enumerate(self.names) if number not in self._ready]
            shown = ", ".join(missing[:8]) + (f" and {len(missing) - 8} more" if len(missing) > 8 else "")
            raise DistError(
                "Expected to have finished reduction in the prior iteration before starting a new one. This error indicates that your "
                f"module has parameters that were not used in producing loss: {shown}",
                at=source_line(origin()),
                help="pass find_unused_parameters=True to DistributedDataParallel, or let every output of the module take part in the loss",
            )
        self.armed = True

    def arrived(self, leaf: Tensor) -> None:
        """A gradient of this parameter has arrived."""
        number = self._numbers.get(id(leaf))
        if number is None:
            return
        self._brought.add(number)
        if self.armed:
            self._ready.add(number)
            if not self._waits:
                self._waits = True
                hub.afterwards.append(self._backward_ended)

    def _backward_ended(self) -> None:
        self._waits = False
        if len(self._ready) == len(self.params) or self.some_unused or self.settled:
            self.average(self._brought)

    def average(self, brought: set[int]) -> None:
        """Average the gradients of all ranks; this one has those of the parameters `brought`, and zeros for the others."""
        brought = set(brought)
        self.armed, self._waits = False, False
        self._ready, self._brought = set(), set()
        own = [p._grad for number, p in enumerate(self.params) if number in brought and p._grad is not None]
        recorder.flush([g if type(g) is Node else g._read() for g in own])
        used = self._used_by_any(brought)
        factor = 1.0 if self.hook else 1.0 / self.divisor
        filled = []
        for bucket in self.buckets:
            array = bucket.array()
            numbers = [self._numbers[id(p)] for p in bucket.params]
            has = [n in brought and p._grad is not None for n, p in zip(numbers, bucket.params, strict=True)]
            bucket.fill(array, [gradient_array(p) if h else None for p, h in zip(bucket.params, has, strict=True)], factor)
            filled.append(array)
            if self.hook is None:
                self._all_reduce(array, ReduceOp.SUM)
        if self.hook is not None:
            filled = self._hooked(filled)
        for bucket, array in zip(self.buckets, filled, strict=True):
            for number, p in enumerate(bucket.params):
                if used is None or used[self._numbers[id(p)]]:
                    set_gradient(p, bucket.part(array, number))

    def _used_by_any(self, brought: set[int]) -> np.ndarray | None:
        """Which parameters have a gradient on some rank; None: all."""
        if not self.some_unused and not self.settled:
            return None
        if self._used is not None:
            return self._used
        used = np.zeros(len(self.params), np.uint8)
        used[list(brought)] = 1
        self._all_reduce(used, ReduceOp.MAX)
        if self.settled:
            self._used = used
        return used

    def _all_reduce(self, array: np.ndarray, op: ReduceOp) -> None:
        told = self.group.told(_GRADIENTS, array, op)
        by = Combination(combine_of(op, array.dtype), None)
        self.group.run(lambda: self.group.patterns.all_reduce(told, array, array, by), lambda: None, False)

    def _hooked(self, arrays: list[np.ndarray]) -> list[np.ndarray]:
        """What a hook makes of the buckets."""
        assert self.hook is not None
        state, hook = self.hook
        futures = [hook(state, GradBucket(bucket, array)) for bucket, array in zip(self.buckets, arrays, strict=True)]
        made = []
        for bucket, future in zip(self.buckets, futures, strict=True):
            result = future.wait()
            result = result[0] if isinstance(result, (list, tuple)) else result
            if not isinstance(result, Tensor) or result.numel() != bucket.size:
                raise RuntimeError("a communication hook returns a Future of one tensor, as large as the bucket's buffer")
            made.append(np.array(flat(result), bucket.dtype.numpy))
        return made


class _Hearing:
    """What a leaf calls; it does not keep the reducer."""

    def __init__(self, reducer: weakref.ref[Reducer]) -> None:
        self._reducer = reducer

    def __call__(self, leaf: Tensor) -> None:
        reducer = self._reducer()
        if reducer is not None:
            reducer.arrived(leaf)
