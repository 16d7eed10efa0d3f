"""ProcessGroup: some processes, this one among them, that make their calls together: what is told to peers, order, and failure."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import numpy as np

from ...dialects.types import DTYPES, dtype_of
from ..origin import origin, source_line
from .connections import COLLECTIVE, MESSAGES, connect
from .errors import DistBackendError, DistError
from .mailbox import Mailbox
from .patterns import Patterns, Told
from .reduce_ops import ReduceOp
from .stores import Store
from .transfer import HEAD, Lines
from .work import Line, Work

CALLS = (
    "all_reduce", "reduce", "broadcast", "all_gather", "gather", "scatter", "reduce_scatter", "all_to_all", "barrier", "monitored_barrier",
    "object collective", "DistributedDataParallel: parameters and buffers", "DistributedDataParallel: gradients",
)  # fmt: skip
_MARK = b"lamc"
_NAMES = tuple(sorted(DTYPES))
_NO_TYPE = 255
_groups: weakref.WeakSet[ProcessGroup] = weakref.WeakSet()


def type_code(dtype: np.dtype) -> int:
    """What a dtype is called on the wire."""
    return _NAMES.index(dtype_of(dtype).name)


def type_text(code: int, nbytes: int) -> str:
    """``float32, 12 elements``."""
    if code >= len(_NAMES):
        return f"{nbytes} bytes"
    return f"{_NAMES[code]}, {nbytes // DTYPES[_NAMES[code]].itemsize} elements"


class ProcessGroup:
    """Processes that call collectives together. ranks: theirs in the whole program. backend: what was asked for.

    Calls are counted; each tells its peers what it is, so that a process that calls something else, or brings other shapes, is an error of both.
    """

    def __init__(self, store: Store, ranks: Sequence[int], rank: int, backend: str, timeout: timedelta, name: str, desc: str = "undefined") -> None:
        self.ranks, self._rank, self.backend, self.timeout = tuple(ranks), rank, backend, timeout
        self.group_name, self.group_desc, self.store = name, desc, store
        self._broken: BaseException | None = None
        self._count = 0
        self._channels, areas = connect(store, rank, len(self.ranks), timeout)
        self.lines = Lines(self._channels[COLLECTIVE], timeout.total_seconds(), self.ranks)
        self.patterns = Patterns(self.lines, rank, len(self.ranks), areas)
        self._line = Line(f"lamina-group-{name}")
        self._mailbox: Mailbox | None = None
        _groups.add(self)

    def rank(self) -> int:
        """This process's number in the group."""
        return self._rank

    def size(self) -> int:
        """How many processes there are."""
        return len(self.ranks)

    def name(self) -> str:
        """The backend, as it was asked for."""
        return self.backend

    @property
    def mailbox(self) -> Mailbox:
        """The messages of this group; read from the first time on that somebody sends or receives one."""
        if self._mailbox is None:
            self._check()
            self._mailbox = Mailbox(self._channels[MESSAGES], self.ranks, type_text)
        return self._mailbox

    def _check(self) -> None:
        if self._broken is not None:
            raise DistBackendError(
                f"this process group is of no use any more: {getattr(self._broken, 'sentence', self._broken)}", at=source_line(origin()),
                help="end all processes and start them again; training goes on from the last checkpoint",
            ) from self._broken

    def told(self, call: str, array: np.ndarray | None = None, op: int = 0, root: int = 0, elements: int | None = None) -> Told:
        """The head of the next call's streams. elements: another number than the array has."""
        code = _NO_TYPE if array is None else type_code(array.dtype)
        count = elements if elements is not None else 0 if array is None else array.size
        head = HEAD.pack(_MARK, CALLS.index(call), op, code, root, self._count & 0xFFFFFFFF, count)
        at = source_line(origin())
        return Told(head, lambda peer, got: self._differs(peer, head, got, at))

    def _differs(self, peer: int, own: bytes, got: bytes, at: str | None) -> DistBackendError:
        return DistBackendError(
            "the ranks of a group make different calls",
            [(f"rank {self.ranks[self._rank]}", self._described(own), ""), (f"rank {self.ranks[peer]}", self._described(got), "")],
            at=at, help="all ranks make the same calls in the same order, with tensors of the same shapes and dtypes",
        )  # fmt: skip

    def _described(self, head: bytes) -> str:
        mark, call, op, code, root, count, elements = HEAD.unpack(head)
        if mark != _MARK or call >= len(CALLS):
            return "something that is no call"
        name = CALLS[call]
        how = f", {ReduceOp(op).name}" if "reduce" in name and op < len(ReduceOp) else ""
        of = "" if code == _NO_TYPE else f" of {_NAMES[code]}, {elements} elements{how}" if code < len(_NAMES) else ""
        return f"call {count + 1}: {name}{of}" + (f", rank {root} of the group the root" if name in ("broadcast", "reduce", "gather", "scatter") else "")

    def run(self, call: Callable[[], None], deliver: Callable[[], Any], later: bool) -> Work | None:
        """Make a call now, or in turn behind those that have not ended. The Work of one that is made later; None of one that has ended."""
        self._check()
        self._count += 1
        at = source_line(origin())
        work = Work(deliver)

        def guarded() -> None:
            try:
                self._check()
                call()
            except BaseException as error:
                self._give_up(error)
                if isinstance(error, DistError) and error.at is None:
                    error.at = at
                raise

        self._line.run(guarded, work, later)
        if later:
            return work
        work.wait()
        return None

    def _give_up(self, error: BaseException) -> None:
        """Nothing that comes on the connections can be told apart any more: end them, so that no peer waits for this one."""
        if self._broken is None:
            self._broken = error
        for connection in self._channels[COLLECTIVE]:
            if connection is not None:
                connection.close()

    def close(self) -> None:
        """End all connections, after what is on its way."""
        self._line.close()
        if self._mailbox is not None:
            self._mailbox.close()
        self._broken = self._broken or DistBackendError("it was destroyed")
        self.let_go()

    def let_go(self) -> None:
        """Close this process's ends of the connections; in a forked child its copies of them."""
        for row in self._channels:
            for connection in row:
                if connection is not None:
                    connection.close()

    def __repr__(self) -> str:
        return f"<torch.distributed.ProcessGroup {self.group_name}: rank {self._rank} of {len(self.ranks)}, {self.backend}>"


def _forked() -> None:
    """A child of this process is no member of its groups."""
    for group in list(_groups):
        group.let_go()
        group._broken = DistBackendError("it belongs to the process this one was forked from")
    _groups.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
