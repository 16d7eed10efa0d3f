"""torch.profiler: wall time of the ranges a program names. Kernels have a profiler of their own: `lamina profile SCRIPT`."""

from __future__ import annotations

import enum
import functools
import json
import time
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from typing import Any, NamedTuple

from . import recorder


class ProfilerActivity(enum.Enum):
    """What may be looked at; all of it is the same here."""

    CPU = 0
    XPU = 1
    MTIA = 2
    CUDA = 3
    HPU = 4
    PrivateUse1 = 5


class ProfilerAction(enum.Enum):
    """What a profiler does in a step."""

    NONE = 0
    WARMUP = 1
    RECORD = 2
    RECORD_AND_SAVE = 3


def schedule(*, wait: int, warmup: int, active: int, repeat: int = 0, skip_first: int = 0) -> Callable[[int], ProfilerAction]:
    """What to do in step n: after `skip_first` steps, wait, warm up and record in turn, `repeat` times (0: always)."""

    def action(step: int) -> ProfilerAction:
        step -= skip_first
        length = wait + warmup + active
        if step < 0 or (repeat and step // length >= repeat) or step % length < wait:
            return ProfilerAction.NONE
        if step % length < wait + warmup:
            return ProfilerAction.WARMUP
        return ProfilerAction.RECORD if step % length < length - 1 else ProfilerAction.RECORD_AND_SAVE

    return action


class _Range(NamedTuple):
    name: str
    start: float
    seconds: float


_open: list[profile] = []  # profilers that are on


class record_function:
    """A named part of a program; with a profiler on, its time includes the computing of what it recorded. Also a decorator."""

    def __init__(self, name: str, args: str | None = None) -> None:
        self.name = name

    def __enter__(self) -> record_function:
        if _open:
            recorder.flush()
        self._start = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        if not _open:
            return
        recorder.flush()
        seconds = time.perf_counter() - self._start
        for profiler in _open:
            profiler._add(_Range(self.name, self._start, seconds))

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, each call a range."""

        @functools.wraps(function)
        def inside(*args: Any, **kwargs: Any) -> Any:
            with record_function(self.name):
                return function(*args, **kwargs)

        return inside


class emit_nvtx(nullcontext):  # noqa: N801  # PyTorch's name
    """Marks for another profiler of GPUs: none are set."""

    def __init__(self, enabled: bool = True, record_shapes: bool = False) -> None:
        super().__init__()


def kineto_available() -> bool:
    """False: PyTorch's library of traces is not there."""
    return False


class FunctionEventAvg(NamedTuple):
    """All ranges of one name; times in microseconds."""

    key: str
    count: int
    cpu_time_total: float

    @property
    def cpu_time(self) -> float:
        """Of one range."""
        return self.cpu_time_total / self.count


class EventList(list):
    """Averages by name."""

    def table(self, sort_by: str | None = None, row_limit: int = 100, **_: Any) -> str:
        """As text, the longest first when sorted by a time."""
        rows = sorted(self, key=lambda e: -(e.count if sort_by == "count" else e.cpu_time_total)) if sort_by else list(self)
        lines = [f"{'Name':<40}{'CPU total':>14}{'CPU time avg':>14}{'# of Calls':>12}"]
        lines += [f"{e.key[:39]:<40}{e.cpu_time_total:>12.3f}us{e.cpu_time:>12.3f}us{e.count:>12}" for e in rows[: row_limit if row_limit >= 0 else None]]
        return "\n".join([*lines, "Kernels: lamina profile SCRIPT"])


class profile:
    """Ranges of `record_function` and steps while it is on. PyTorch's options for what else to look at are taken and change nothing."""

    def __init__(
        self, *, activities: Iterable[ProfilerActivity] | None = None, schedule: Callable[[int], ProfilerAction] | None = None,
        on_trace_ready: Callable[[profile], Any] | None = None, **_: Any,
    ) -> None:  # fmt: skip
        self._plan = schedule or (lambda step: ProfilerAction.RECORD)
        self._ready = on_trace_ready
        self._scheduled = schedule is not None
        self._ranges: list[_Range] = []
        self.step_num = 0

    def __enter__(self) -> profile:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Look from here on."""
        recorder.flush()
        self._since = time.perf_counter()
        _open.append(self)

    def stop(self) -> None:
        """No longer."""
        recorder.flush()
        _open.remove(self)
        if self._ready is not None and (not self._scheduled or self._plan(self.step_num) in (ProfilerAction.RECORD, ProfilerAction.RECORD_AND_SAVE)):
            self._ready(self)

    def step(self) -> None:
        """The next step of the program begins."""
        recorder.flush()
        now = time.perf_counter()
        self._add(_Range(f"ProfilerStep#{self.step_num}", self._since, now - self._since))
        action = self._plan(self.step_num)
        self.step_num, self._since = self.step_num + 1, now
        if action is ProfilerAction.RECORD_AND_SAVE and self._ready is not None:
            self._ready(self)
        if action is ProfilerAction.RECORD_AND_SAVE:
            self._ranges.clear()

    def _add(self, made: _Range) -> None:
        if self._plan(self.step_num) in (ProfilerAction.RECORD, ProfilerAction.RECORD_AND_SAVE):
            self._ranges.append(made)

    def events(self) -> list[_Range]:
        """The ranges in the order they ended."""
        return list(self._ranges)

    def key_averages(self, group_by_input_shape: bool = False, group_by_stack_n: int = 0) -> EventList:
        """One entry per name; all steps are one."""
        found: dict[str, list[float]] = {}
        for name, _, seconds in self._ranges:
            found.setdefault("ProfilerStep*" if name.startswith("ProfilerStep#") else name, []).append(seconds * 1e6)
        return EventList(FunctionEventAvg(name, len(times), sum(times)) for name, times in found.items())

    def export_chrome_trace(self, path: str) -> None:
        """Write the ranges for chrome://tracing."""
        events = [{"ph": "X", "pid": 0, "tid": 0, "name": n, "ts": start * 1e6, "dur": seconds * 1e6} for n, start, seconds in self._ranges]
        with open(path, "w", encoding="utf8") as file:
            json.dump({"traceEvents": events}, file)


def tensorboard_trace_handler(dir_name: str, worker_name: str | None = None, use_gzip: bool = False) -> Callable[[profile], None]:
    """A handler that writes every trace into a folder."""
    import os

    def handler(profiler: profile) -> None:
        os.makedirs(dir_name, exist_ok=True)
        profiler.export_chrome_trace(os.path.join(dir_name, f"{worker_name or 'worker'}.{profiler.step_num}.pt.trace.json"))

    return handler
