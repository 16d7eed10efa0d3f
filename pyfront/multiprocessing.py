"""torch.multiprocessing: Python's own processes; tensors are pickled, and forked processes share what they had."""

from __future__ import annotations

from collections.abc import Callable
from multiprocessing import (  # noqa: F401  # public here
    Array, Barrier, BoundedSemaphore, Condition, Event, JoinableQueue, Lock, Manager, Pipe, Pool, Process, Queue, RLock,
    Semaphore, SimpleQueue, Value, active_children, cpu_count, current_process, freeze_support, get_context, get_start_method,
    set_start_method,
)  # fmt: skip
from typing import Any

__all__ = sorted(name for name in dir() if not name.startswith("_") and name not in ("annotations", "Any", "Callable"))
__all__ += ["ProcessRaisedException", "get_sharing_strategy", "set_sharing_strategy", "spawn"]


class ProcessRaisedException(Exception):
    """A process of ``spawn`` ended with an error."""


def get_all_sharing_strategies() -> set[str]:
    """How tensors get to other processes."""
    return {"file_system"}


def get_sharing_strategy() -> str:
    """How tensors get to other processes."""
    return "file_system"


def set_sharing_strategy(new_strategy: str) -> None:
    """Noted: tensors are pickled."""


def spawn(
    fn: Callable[..., Any], args: tuple = (), nprocs: int = 1, join: bool = True, daemon: bool = False,
    start_method: str = "spawn",
) -> list[Any] | None:  # fmt: skip
    """Run ``fn(i, *args)`` in `nprocs` processes. ProcessRaisedException when one of them fails, naming it."""
    context: Any = get_context(start_method)
    processes = [context.Process(target=fn, args=(i, *args), daemon=daemon) for i in range(nprocs)]
    for process in processes:
        process.start()
    if not join:
        return processes
    for process in processes:
        process.join()
    failed = [(i, p.exitcode) for i, p in enumerate(processes) if p.exitcode]
    if failed:
        raise ProcessRaisedException(f"Process {failed[0][0]} terminated with exit code {failed[0][1]}")
    return None
