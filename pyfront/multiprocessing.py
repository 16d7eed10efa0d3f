"""torch.multiprocessing: Python's own processes; tensors are pickled, and forked processes share what they had."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from multiprocessing import (  # noqa: F401  # public here
    Array, Barrier, BoundedSemaphore, Condition, Event, JoinableQueue, Lock, Manager, Pipe, Pool, Process, Queue, RLock,
    Semaphore, SimpleQueue, Value, active_children, cpu_count, current_process, freeze_support, get_context, get_start_method,
    set_start_method,
)  # fmt: skip
from multiprocessing.connection import wait
from typing import Any

_NOT_PUBLIC = ("annotations", "Any", "Callable", "os", "signal", "sys", "tempfile", "time", "traceback", "wait")
__all__ = sorted(name for name in dir() if not name.startswith("_") and name not in _NOT_PUBLIC)
__all__ += [
    "ProcessContext", "ProcessException", "ProcessExitedException", "ProcessRaisedException", "SpawnContext", "get_all_sharing_strategies",
    "get_sharing_strategy", "set_sharing_strategy", "spawn", "start_processes",
]  # fmt: skip
_PATIENCE = 10.0  # seconds a process may take to end when it is asked to


class ProcessException(Exception):
    """A process of ``spawn`` did not end well. error_index: which of them. pid: its number in the system."""

    def __init__(self, msg: str, error_index: int, pid: int) -> None:
        super().__init__(msg)
        self.msg, self.error_index, self.pid = msg, error_index, pid

    def __reduce__(self) -> tuple:
        return type(self), (self.msg, self.error_index, self.pid)


class ProcessRaisedException(ProcessException):
    """A process of ``spawn`` ended with an error, whose text this one has."""


class ProcessExitedException(ProcessException):
    """A process of ``spawn`` ended by itself, or was killed. exit_code; signal_name: of the signal that did it."""

    def __init__(self, msg: str, error_index: int, error_pid: int, exit_code: int, signal_name: str | None = None) -> None:
        super().__init__(msg, error_index, error_pid)
        self.exit_code, self.signal_name = exit_code, signal_name

    def __reduce__(self) -> tuple:
        return type(self), (self.msg, self.error_index, self.pid, self.exit_code, self.signal_name)


def get_all_sharing_strategies() -> set[str]:
    """How tensors get to other processes."""
    return {"file_system"}


def get_sharing_strategy() -> str:
    """How tensors get to other processes."""
    return "file_system"


def set_sharing_strategy(new_strategy: str) -> None:
    """Noted: tensors are pickled."""


class ProcessContext:
    """Processes that were started together. error_files: where each writes the text of its error."""

    def __init__(self, processes: list[Any], error_files: list[str]) -> None:
        self.processes, self.error_files = processes, error_files
        self.sentinels = {process.sentinel: number for number, process in enumerate(processes)}

    def pids(self) -> list[int]:
        """Their numbers in the system."""
        return [process.pid for process in self.processes]

    def join(self, timeout: float | None = None, grace_period: float | None = None) -> bool:
        """Wait until one ends; whether all have ended well. When one fails the others are stopped, after grace_period seconds to end by
        themselves: ProcessRaisedException with its error, ProcessExitedException where it left none.
        """
        ready = wait(list(self.sentinels), timeout) if self.sentinels else []
        failed = None
        for sentinel in ready:
            number = self.sentinels.pop(sentinel)
            self.processes[number].join()
            if self.processes[number].exitcode and failed is None:
                failed = number
        if failed is not None:
            self._stop(grace_period)
            raise self._error_of(failed)
        if not self.sentinels:
            self._forget_files()
        return not self.sentinels

    def _stop(self, grace_period: float | None) -> None:
        if grace_period is not None:
            deadline = time.monotonic() + grace_period
            for process in self.processes:
                process.join(max(0.0, deadline - time.monotonic()))
        for process in self.processes:
            if process.is_alive():
                process.terminate()
        for process in self.processes:
            process.join(_PATIENCE)
            if process.is_alive():
                process.kill()
                process.join()

    def _error_of(self, number: int) -> ProcessException:
        process = self.processes[number]
        with open(self.error_files[number], encoding="utf-8") as file:
            text = file.read()
        self._forget_files()
        if text:
            return ProcessRaisedException(f"\n\n-- Process {number} terminated with the following error:\n{text}\n", number, process.pid)
        if process.exitcode < 0:
            name = signal.Signals(-process.exitcode).name
            return ProcessExitedException(f"process {number} terminated with signal {name}", number, process.pid, process.exitcode, name)
        return ProcessExitedException(f"process {number} terminated with exit code {process.exitcode}", number, process.pid, process.exitcode)

    def _forget_files(self) -> None:
        for path in self.error_files:
            if os.path.exists(path):
                os.unlink(path)


SpawnContext = ProcessContext


def _run(fn: Callable[..., Any], number: int, args: tuple, error_file: str) -> None:
    """What a process does: the function, and its error's text into a file."""
    try:
        fn(number, *args)
    except KeyboardInterrupt:
        pass  # the one that started it says so
    except Exception:
        with open(error_file, "w", encoding="utf-8") as file:
            file.write(traceback.format_exc())
        sys.exit(1)


def start_processes(
    fn: Callable[..., Any], args: tuple = (), nprocs: int = 1, join: bool = True, daemon: bool = False, start_method: str = "spawn"
) -> ProcessContext | None:
    """Run ``fn(i, *args)`` in `nprocs` processes. join: wait for all of them; otherwise the ProcessContext of what was started."""
    context: Any = get_context(start_method)
    processes, files = [], []
    for number in range(nprocs):
        handle, path = tempfile.mkstemp(prefix="lamina-spawn-", suffix=".txt")
        os.close(handle)
        process = context.Process(target=_run, args=(fn, number, args, path), daemon=daemon)
        process.start()
        processes.append(process)
        files.append(path)
    made = ProcessContext(processes, files)
    if not join:
        return made
    while not made.join():
        pass
    return None


def spawn(
    fn: Callable[..., Any], args: tuple = (), nprocs: int = 1, join: bool = True, daemon: bool = False, start_method: str = "spawn",
) -> ProcessContext | None:  # fmt: skip
    """Run ``fn(i, *args)`` in `nprocs` new processes. ProcessRaisedException when one of them fails, with its error: the others are
    stopped."""
    return start_processes(fn, args, nprocs, join, daemon, start_method)
