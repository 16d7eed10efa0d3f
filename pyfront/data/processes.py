"""Worker processes: forked, each with a socket of its own, handed batches in turn and read in order.

A worker that dies or stalls is named; workers end when the loader closes its sockets, for whatever reason it does.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import select
import signal
import socket
import sys
import time
import traceback
import weakref
from collections.abc import Callable, Iterator
from typing import Any

from ...dialects import flags
from .. import recorder
from . import transport
from .worker import become_worker

_DONE, _FAILED, _ENDED = "done", "failed", "ended"
_PATIENCE = 5.0  # seconds a worker may take to finish before it is stopped
_open_ends: weakref.WeakSet[socket.socket] = weakref.WeakSet()  # a child must not keep its siblings' sockets alive


def can_fork(context: Any) -> bool:
    """Whether workers of this multiprocessing context are processes here: forked ones only."""
    method = context if isinstance(context, str) else getattr(context, "_name", None)
    return hasattr(os, "fork") and sys.platform != "win32" and method in (None, "fork")


class Fetcher:
    """What a worker does with one task. `begin` gives a function from a task to a batch; StopIteration ends a stream."""

    def __init__(self, begin: Callable[[], Callable[[Any], Any]], start: Callable[[int], Any] | None) -> None:
        self.begin, self.start = begin, start


class _Process:
    """One worker as the loader sees it."""

    def __init__(self, number: int, workers: int, seed: int, dataset: Any, fetcher: Fetcher) -> None:
        self.number, self.running = number, True
        self.socket, theirs = socket.socketpair()
        _open_ends.add(self.socket)
        work = multiprocessing.get_context("fork").Process(
            target=_serve, args=(theirs, number, workers, seed, dataset, fetcher), daemon=True
        )
        work.start()
        theirs.close()
        self.process = work

    def send(self, task: Any) -> None:
        """Hand over a task. RuntimeError when the worker has gone."""
        try:
            transport.send(self.socket, task)
        except OSError:
            raise self._gone() from None

    def receive(self, deadline: float | None, timeout: float) -> tuple[Any, Any, Any]:
        """(task number, what happened, value). RuntimeError when the worker has gone or the deadline is past."""
        wait = None if deadline is None else max(0.0, deadline - time.monotonic())
        if not select.select([self.socket], [], [], wait)[0]:
            raise RuntimeError(f"DataLoader timed out after {timeout} seconds (worker {self.number} has the next batch)")
        try:
            return transport.receive(self.socket)
        except (EOFError, ConnectionError):
            raise self._gone() from None

    def _gone(self) -> RuntimeError:
        self.process.join(_PATIENCE)
        code = self.process.exitcode
        how = f"exit status {code}"
        if code is not None and code < 0:
            how = f"killed by signal {-code} ({signal.Signals(-code).name})"
        return RuntimeError(
            f"DataLoader worker (pid(s) {self.process.pid}) exited unexpectedly: worker {self.number}, {how}"
        )


class WorkerPool:
    """The workers of one loader, for one pass or, when they persist, for many."""

    def __init__(self, workers: int, seed: int, dataset: Any, fetcher: Fetcher, ahead: int, timeout: float) -> None:
        recorder.flush()  # what is pending belongs to this process alone
        self._ahead, self._timeout = ahead * workers, timeout
        self._team = [_Process(i, workers, seed, dataset, fetcher) for i in range(workers)]
        self._numbers = itertools.count()
        self._tasks: Iterator[Any] = iter(())
        self._owners: dict[int, _Process] = {}  # task number -> who has it, in order of the tasks
        self._arrived: dict[int, tuple[Any, Any]] = {}
        self._finalize = weakref.finalize(self, _stop, self._team, os.getpid())

    def begin(self, tasks: Iterator[Any]) -> None:
        """Start a pass: the first tasks are handed out now."""
        while self._owners:  # what an unfinished pass left behind
            number, owner = next(iter(self._owners.items()))
            del self._owners[number]
            if owner.running and number not in self._arrived:
                self._wait_for(number, owner)
            self._arrived.pop(number, None)
        for worker in self._team:
            worker.running = True
            worker.send(None)
        self._tasks, self._turn = tasks, itertools.cycle(self._team)
        for _ in range(self._ahead):
            self._hand_out()

    def _hand_out(self) -> None:
        """The next task to the worker whose turn it is."""
        if not any(worker.running for worker in self._team):
            return
        for task in self._tasks:
            worker = next(w for w in self._turn if w.running)
            number = next(self._numbers)
            self._owners[number] = worker
            worker.send((number, task))
            return

    def batches(self) -> Iterator[Any]:
        """The batches of the pass, in order of their tasks. Errors of a worker are raised here."""
        while self._owners:
            number, owner = next(iter(self._owners.items()))
            del self._owners[number]
            if number in self._arrived:
                kind, value = self._arrived.pop(number)
            elif owner.running:
                kind, value = self._wait_for(number, owner)
            else:
                continue  # the worker's stream ended before this task
            if kind == _ENDED:
                owner.running = False
            self._hand_out()
            if kind == _FAILED:
                raise _caught(value)
            if kind == _DONE:
                yield value

    def _wait_for(self, number: int, owner: _Process) -> tuple[Any, Any]:
        deadline = time.monotonic() + self._timeout if self._timeout > 0 else None
        while True:
            found, kind, value = owner.receive(deadline, self._timeout)
            if found == number:
                return kind, value
            self._arrived[found] = kind, value

    def stop(self) -> None:
        """End the workers; waits for the batches they are making."""
        self._finalize()


def _stop(team: list[_Process], owner: int) -> None:
    if os.getpid() != owner:  # a forked child dropped its copy of the pool
        return
    for worker in team:
        worker.socket.close()
    until = time.monotonic() + _PATIENCE
    for worker in team:
        worker.process.join(max(0.0, until - time.monotonic()))
        if worker.process.is_alive():
            worker.process.terminate()
            worker.process.join(_PATIENCE)
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join()


class _Plain(str):
    """A text that shows as it is, where a KeyError shows its key."""

    def __repr__(self) -> str:
        return str(self)


def _caught(failure: tuple[type[BaseException], str, str]) -> BaseException:
    """The worker's error, of its own class where that can be made from a text."""
    kind, name, text = failure
    if kind is KeyError:
        return KeyError(_Plain(text))
    try:
        return kind(text)
    except Exception:  # its constructor wants something else
        return RuntimeError(f"{name}: {text}")


# -- in the worker --------------------------------------------------------------------------------------------


def _serve(
    loader: socket.socket, number: int, workers: int, seed: int, dataset: Any, fetcher: Fetcher
) -> None:
    """The worker's life: tasks in, batches out, until the loader closes its end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the loader's business: it then closes its end
    for end in list(_open_ends):
        end.close()
    flags.threads.value = 1  # workers are the parallelism here
    become_worker(number, workers, seed, dataset)
    broken = None
    try:
        if fetcher.start is not None:
            fetcher.start(number)
    except Exception:
        broken = _described(number)
    fetch: Callable[[Any], Any] = _nothing
    while True:
        try:
            task = transport.receive(loader)
        except (EOFError, OSError):
            return
        try:
            if task is None:
                fetch = _nothing if broken else fetcher.begin()
                continue
            answer = (_FAILED, broken) if broken else (_DONE, fetch(task[1]))
        except StopIteration:
            answer = (_ENDED, None)
        except Exception:
            answer = (_FAILED, _described(number))
            if task is None:
                broken = answer[1]
                continue
        if not _answer(loader, (task[0], *answer), number):
            return


def _nothing(task: Any) -> Any:
    raise RuntimeError(f"a worker was given {task!r} before its pass began")


def _answer(loader: socket.socket, message: tuple[Any, ...], number: int) -> bool:
    """Send an answer; False when nobody listens any more."""
    try:
        transport.send(loader, message)
    except OSError:
        return False
    except Exception:  # the batch cannot be pickled
        transport.send(loader, (message[0], _FAILED, _described(number)))
    return True


def _described(number: int) -> tuple[type[BaseException], str, str]:
    kind = sys.exc_info()[0] or RuntimeError
    text = f"Caught {kind.__name__} in DataLoader worker process {number}.\nOriginal {traceback.format_exc()}"
    importable = getattr(sys.modules.get(kind.__module__), kind.__qualname__, None) is kind
    return (kind if importable else RuntimeError), kind.__name__, text
