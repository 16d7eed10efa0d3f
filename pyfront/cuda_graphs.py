"""torch.cuda.CUDAGraph: what a region launches on the GPU, noted in place of being launched, and launched by each replay.

A captured region is programs whose inputs are what tensors hold when a replay begins, numbers as they were, random numbers
from where a generator is then, and results of the programs before; what the region wrote becomes the contents of the same tensors.
That is what PyTorch's static memory comes to: whoever writes into a tensor before a replay is read by it. Fixed addresses are no part of it:
a program finds a driver's graph wherever its addresses come back (`backends/cuda/launching.py`); results are made where what they replace was, and inputs
that were written anew are copied to where the last ones were.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Sequence
from functools import partial
from sys import getrefcount
from typing import Any, NamedTuple

import numpy as np

from ..dialects.types import Type, int64
from . import placement, recorder
from .dying import LOOKING
from .node import Node
from .philox import Places
from .random import Generator
from .storage import Storage
from .tensor import Tensor, wrap

READ, MADE, GIVEN, DRAWN = "read", "made", "given", "drawn"
"""Where a replay has an array from: what a tensor holds, a program before, the capture itself, a random generator."""


class Place(NamedTuple):
    """kind: one of the four. number: of the memory, the program or the generator; which: of the program's results. array: what is given."""

    kind: str
    number: int = 0
    which: int = 0
    array: Any = None


class Launch(NamedTuple):
    """A program of the region. sources: its inputs. last: those nobody reads after it: results may be made there."""

    graph: Any
    sources: list[Place]
    last: list[int]


class Written(NamedTuple):
    """Memory the region writes, and what with."""

    storage: weakref.ref[Storage]
    place: Place
    type: Type
    origin: str


class Capture:
    """A region that is running, from the moment it is made until `end`.

    contents: what all memory on the GPU holds before it, by id of the Storage. running: the region that is, if any.
    """

    running: Capture | None = None

    def __init__(self, gpu: Any, generators: Sequence[Generator]) -> None:
        recorder.flush()
        recorder.settle()
        self.gpu, self.generators = gpu, generators
        self.contents: dict[int, tuple[Storage, Node]] = {}
        taken: set[int] = set()
        for storage in _memory():
            self._hold(storage, taken)
        self.states = [recorder.constant(np.zeros(2, np.int64), ((2,), int64)) for _ in generators]
        self.sequences = [generator.sequence for generator in generators]
        for generator, state in zip(generators, self.states, strict=True):
            generator.sequence = Places(state)
        self.fresh, recorder.state.fresh = recorder.state.fresh, self._begin
        recorder.state.captured, gpu.noted, Capture.running = [], [], self

    def _hold(self, storage: Storage, taken: set[int]) -> None:
        """Remember what a memory holds, as an array that is nobody else's: within the region arrays are all that tells them apart."""
        array, node = placement.array_of(storage), storage.node
        if id(array.block) in taken:
            array = self.gpu.copied(array)
        taken.add(id(array.block))
        if array is not node.value:
            storage.node = recorder.alias(node, node.requires_grad) if node.requires_grad else recorder.leaf(array, node.type, node.origin)
            storage.node.value = array
        _look_again(storage)  # what was read of it is read by the region's programs
        self.contents[id(storage)] = storage, storage.node

    def _begin(self, array: np.ndarray) -> Tensor:
        """State of an optimizer that begins in the region: it is there before the first replay, which goes on from it."""
        made = wrap(placement.gpu_leaf(array))
        self.contents[id(made._storage)] = made._storage, made._storage.node
        return made

    def end(self, failed: bool) -> Region | None:
        """Everything holds again what it held before, since nothing was launched. The region, unless it failed."""
        try:
            if failed:
                return None
            recorder.flush()
            return Region(self)
        finally:
            for generator, sequence in zip(self.generators, self.sequences, strict=True):
                generator.sequence = sequence
            recorder.state.fresh = self.fresh
            recorder.state.captured, self.gpu.noted, Capture.running = None, None, None
            self._restore()

    def _restore(self) -> None:
        for storage, node in self.contents.values():
            storage.node = node
        touched = {id(storage): storage for storage in _memory()}
        for storage in touched.values():
            if id(storage) not in self.contents:  # made in the region: nothing leads back to what was not computed
                storage.node = recorder.leaf(storage.node.value, storage.node.type, storage.node.origin)
            _look_again(storage)
        for tensor in _shown(touched):
            tensor._forget()


class Region:
    """The programs of a captured region.

    read: the memory they read, which stays with them. written: what they write. doubts: truth values that must not be, with their errors.
    home: of memory that is read only, the Node that was read last, and where a copy of it is; None: where it was when the region was captured.
    drawn: how many random numbers are drawn, by generator. shown: the tensors that show read or written memory, by id of the Storage.
    """

    def __init__(self, capture: Capture) -> None:
        self.gpu, noted = capture.gpu, capture.gpu.noted
        self.generators, self.drawn = capture.generators, [g.sequence.taken for g in capture.generators]
        places: dict[int, Place] = {id(state.value): Place(DRAWN, k) for k, state in enumerate(capture.states)}
        places |= {id(array): Place(MADE, number, k) for number, (_, _, results) in enumerate(noted) for k, array in enumerate(results)}
        holders = {id(node.value): storage for storage, node in capture.contents.values()}
        self.read: list[Storage] = []

        def place(array: Any) -> Place:
            found = places.get(id(array))
            if found is None and id(array) in holders:
                found = places[id(array)] = Place(READ, len(self.read))
                self.read.append(holders[id(array)])
            return found or Place(GIVEN, array=array)

        sources = [[place(array) for array in arrays] for _, arrays, _ in noted]
        self.written = [
            Written(weakref.ref(s), place(s.node.value), s.node.type, s.node.origin)
            for s in _memory()
            if id(s) not in capture.contents or s.node.value is not capture.contents[id(s)][1].value
        ]
        self.doubts = [(place(array), error) for array, error in recorder.state.captured or ()]
        ends = {id(w.storage()) for w in self.written}
        self.home: dict[int, tuple[Node, Any]] = {k: (s.node, None) for k, s in enumerate(self.read) if id(s) not in ends}
        self.launches = self._launches([graph for graph, _, _ in noted], sources)
        targets = {id(s): s for s in (*self.read, *[w.storage() for w in self.written]) if s is not None}
        self.shown: dict[int, list[weakref.ref[Tensor]]] = {key: [] for key in targets}
        for tensor in _shown(targets):
            self.shown[id(tensor._storage)].append(weakref.ref(tensor))

    def _launches(self, graphs: list[Any], sources: list[list[Place]]) -> list[Launch]:
        """The programs, with what each is the last to read."""
        needed = {p[:3] for p in (*[w.place for w in self.written], *[p for p, _ in self.doubts])}
        needed |= {(READ, number, 0) for number in self.home}
        found = []
        for graph, own in zip(reversed(graphs), reversed(sources), strict=True):
            found.append(Launch(graph, own, [i for i, p in enumerate(own) if p.kind in (READ, MADE) and p[:3] not in needed]))
            needed.update(p[:3] for p in own)
        return found[::-1]

    def replay(self) -> None:
        """Launch the programs on what the tensors hold now."""
        recorder.flush()
        arrays: dict[tuple, Any] = {(READ, k, 0): self._contents(k, storage) for k, storage in enumerate(self.read)}
        for k, (generator, count) in enumerate(zip(self.generators, self.drawn, strict=True)):
            arrays[DRAWN, k, 0] = generator.sequence.place()
            generator.sequence.skip(count)
        free = [self._is_only_here(storage) for storage in self.read]
        for number, (graph, sources, last) in enumerate(self.launches):
            given = [p.array if p.kind == GIVEN else arrays[p[:3]] for p in sources]
            for i in last:
                del arrays[sources[i][:3]]
            holders = {i: int(sources[i].kind == READ) for i in last if sources[i].kind == MADE or free[sources[i].number]}
            made = self.gpu.run(graph, given, holders)
            del given
            arrays.update(((MADE, number, k), array) for k, array in enumerate(made))
            del made
        self._deliver(arrays)

    def _contents(self, number: int, storage: Storage) -> Any:
        """The array a memory holds; of memory that is read only one that is where it was last time."""
        node = storage.node
        if number not in self.home:
            return node.value
        seen, own = self.home[number]
        if node is not seen:
            own = self.gpu.copied_to(own, node.value)
            self.home[number] = node, own
        return node.value if own is None else own

    def _is_only_here(self, storage: Storage) -> bool:
        """Whether nobody but the memory itself and the tensors that show it refers to its contents."""
        nodes = [storage.node]
        shown = sum([1 for t in map(_called, self.shown[id(storage)]) if t is not None and t._node is nodes[0]])
        return list(map(getrefcount, nodes))[0] == LOOKING + 1 + shown

    def _deliver(self, arrays: dict[tuple, Any]) -> None:
        """Make what was computed the contents of what the region writes."""
        for storage_of, place, type, origin in self.written:
            storage, start = storage_of(), recorder.state.order
            if storage is None:
                continue
            made = recorder.leaf(place.array if place.kind == GIVEN else arrays[place[:3]], type, origin)
            made.device = placement.CUDA
            storage.replace(made, start)
            for tensor in map(_called, self.shown[id(storage)]):
                if tensor is not None:
                    tensor._forget()
        for place, error in self.doubts:
            recorder.state.suspected.append((partial(self.gpu.download, arrays[place[:3]]), error))


def _called(reference: Callable[[], Any]) -> Any:
    return reference()


def _look_again(storage: Storage) -> None:
    """Contents nobody wrote: what was read before is read again."""
    storage.views = storage.last = None
    storage.version += 1


def _alive() -> list[Any]:
    """Every object the collector knows of. Nobody counts memory while programs run, and a capture is rare."""
    frozen = gc.get_freeze_count()
    if frozen:
        gc.unfreeze()
    try:
        return gc.get_objects()
    finally:
        if frozen:
            gc.freeze()


def _memory() -> list[Storage]:
    """All memory on the GPU whose contents are there."""
    storages = [o for o in _alive() if type(o) is Storage and o.node is not None and o.node.value is not None]
    return [s for s in storages if placement.device_of(s.node) is placement.CUDA]


def _shown(storages: dict[int, Any]) -> list[Tensor]:
    """The tensors that show one of these, by id."""
    found = [o for o in _alive() if issubclass(type(o), Tensor)]  # by type: some objects say of themselves what they stand for
    return [t for t in found if id(getattr(t, "_storage", None)) in storages]
