"""Work: a call that may not have ended yet. Results are put into tensors by the thread that asks, never by another one."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from .errors import DistBackendError
from .futures import Future


class Work:
    """A collective or a message on its way. deliver: puts what arrived into tensors, and returns them."""

    def __init__(self, deliver: Callable[[], Any], source: int | None = None) -> None:
        self._done = threading.Event()
        self._error: BaseException | None = None
        self._deliver: Callable[[], Any] | None = deliver
        self._delivering = threading.RLock()
        self._result: Any = None
        self._future: Future | None = None
        self._source = source

    def end(self, error: BaseException | None = None) -> None:
        """It has ended, with an error or without."""
        self._error = error
        self._done.set()

    def hand_over(self) -> None:
        """Put the results of a call that ended well into its tensors, once."""
        with self._delivering:
            deliver, self._deliver = self._deliver, None
            if deliver is not None and self._error is None:
                self._result = deliver()

    def wait(self, timeout: timedelta | None = None) -> bool:
        """Until it has ended. Its error is raised; DistBackendError when the timeout is past."""
        if not self._done.wait(timeout.total_seconds() if timeout else None):
            raise DistBackendError(f"Wait timeout: the call did not end within {timeout}", help="give it longer, or look at the other processes")
        if self._error is not None:
            raise self._error
        self.hand_over()
        return True

    synchronize = wait

    def is_completed(self) -> bool:
        """Whether it has ended."""
        if not self._done.is_set():
            return False
        self.hand_over()
        return True

    def is_success(self) -> bool:
        """Whether it has ended well."""
        return self._done.is_set() and self._error is None

    def exception(self) -> BaseException | None:
        """The error it ended with."""
        return self._error

    def result(self) -> list:
        """Its tensors, once it has ended."""
        self.wait()
        return self._result if isinstance(self._result, list) else [self._result]

    def source_rank(self) -> int:
        """Which rank a received message came from."""
        if self._source is None:
            raise RuntimeError("sourceRank() may only be called on work objects that correspond to a recv or recv-from-any call.")
        return self._source

    def came_from(self, rank: int) -> None:
        """Note which rank a message came from."""
        self._source = rank

    def get_future(self) -> Future:
        """The same as a Future of the list of its tensors."""
        if self._future is None:
            self._future = Future(waits=self.result)
        return self._future


class Line:
    """Calls one after the other, in a thread of their own. A call that is waited for at once runs where it is made if nothing is before it."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._calls: queue.SimpleQueue[tuple[Callable[[], None], Work] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._open: list[Work] = []

    def run(self, call: Callable[[], None], work: Work, later: bool) -> None:
        """Do a call and end its work; later: without waiting for it."""
        for earlier in self._open:
            earlier.is_completed()  # what has come is in its tensors, also where nobody waits for it
        self._open = [earlier for earlier in self._open if not earlier._done.is_set()]
        if not later and not self._open:
            _finish(call, work)
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
            self._thread.start()
        self._open.append(work)
        self._calls.put((call, work))

    def _work(self) -> None:
        while (entry := self._calls.get()) is not None:
            _finish(*entry)

    def close(self) -> None:
        """End the thread after what is before it; what has come is put into its tensors."""
        if self._thread is not None:
            self._calls.put(None)
            self._thread.join()
            self._thread = None
        for work in self._open:
            work.is_completed()
        self._open.clear()


def _finish(call: Callable[[], None], work: Work) -> None:
    try:
        call()
    except Exception as error:
        work.end(error)
    else:
        work.end()
