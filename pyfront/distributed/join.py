"""Join: ranks with different numbers of batches: those that have run out make the calls the others wait for."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Any, NamedTuple

from ..creation import ones, zeros
from .collectives import all_reduce
from .process_group import ProcessGroup
from .work import Work


class JoinHook:
    """What a rank does once it has run out."""

    def main_hook(self) -> None:
        """In place of one iteration, as long as another rank has some."""

    def post_hook(self, is_last_joiner: bool) -> None:
        """When all have run out."""


class _Config(NamedTuple):
    enable: bool
    throw_on_early_termination: bool
    is_first_joinable: bool


_DISABLED = _Config(False, False, False)


class Joinable:
    """Something whose calls ranks can make without batches. Subclasses have `join_hook`, `join_device`, `join_process_group`."""

    def __init__(self) -> None:
        self._join_config = _DISABLED

    def join_hook(self, **options: Any) -> JoinHook:
        """What to do instead."""
        raise NotImplementedError

    join_process_group: Any
    join_device: Any


class Join:
    """``with Join([model]):`` around a loop over batches. enable: False where all ranks have the same number.

    throw_on_early_termination: RuntimeError on all ranks when the first has run out.
    """

    def __init__(self, joinables: Sequence[Joinable], enable: bool = True, throw_on_early_termination: bool = False, **options: Any) -> None:
        if not joinables:
            raise ValueError("The join context manager requires at least one joinable")
        self._joinables, self._enable, self._throws = list(joinables), enable, throw_on_early_termination
        self._hooks = [one.join_hook(**options) for one in joinables]
        self._group: ProcessGroup = joinables[0].join_process_group
        if any(one.join_process_group is not self._group for one in joinables):
            raise ValueError("Using join context manager with multiple process groups")

    def __enter__(self) -> Join:
        if self._enable:
            for number, one in enumerate(self._joinables):
                one._join_config = _Config(True, self._throws, number == 0)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            if self._enable and kind is None:
                self._go_along()
        finally:
            for one in self._joinables:
                one._join_config = _DISABLED

    def _go_along(self) -> None:
        last = True
        while self._active():
            if self._throws:
                _told_to_stop(self._group, True)
                raise RuntimeError(f"Rank {self._group.rank()} exhausted all inputs.")
            last = False
            for hook in self._hooks:
                hook.main_hook()
        for hook in self._hooks:
            hook.post_hook(last)

    def _active(self) -> int:
        """How many ranks begin another iteration."""
        count = zeros(1)
        all_reduce(count, group=self._group)
        return int(count.item())

    @staticmethod
    def notify_join_context(joinable: Joinable) -> Work | None:
        """This rank begins another iteration: called first in each. The Work's result is the number of ranks that do; None outside of a Join.

        RuntimeError where a rank has run out and that is to end all.
        """
        config = joinable._join_config
        if not config.enable or not config.is_first_joinable:
            return None
        work = all_reduce(ones(1), group=joinable.join_process_group, async_op=True)
        if config.throw_on_early_termination and _told_to_stop(joinable.join_process_group, False):
            raise RuntimeError("Detected at least one rank that exhausted inputs. Throwing across all ranks.")
        return work


def _told_to_stop(group: ProcessGroup, stops: bool) -> bool:
    said = ones(1) if stops else zeros(1)
    all_reduce(said, group=group)
    return bool(said.item())
