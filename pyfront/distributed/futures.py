"""torch.futures: values that arrive later."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

__all__ = ["Future", "collect_all", "wait_all"]


T = TypeVar("T")


class Future(Generic[T]):
    """A value that arrives later. waits: gives it, when somebody asks; None: ``set_result`` does."""

    def __init__(self, *, devices: Any = None, waits: Callable[[], Any] | None = None) -> None:
        self._waits = waits
        self._is_done = self._is_asked = False
        self._value: Any = None
        self._error: BaseException | None = None
        self._callbacks: list[Callable[[Future], Any]] = []

    def done(self) -> bool:
        """Whether the value is there."""
        return self._is_done

    def wait(self) -> Any:
        """The value, once it is there. Its error is raised; RuntimeError where nothing will ever bring it."""
        if not self._is_done:
            if self._waits is None:
                raise RuntimeError("this Future has no value yet, and nothing runs that would set it: call set_result() first")
            self._is_asked = True
            try:
                self.set_result(self._waits())
            except Exception as error:
                self.set_exception(error)
        if self._error is not None:
            raise self._error
        return self._value

    def value(self) -> Any:
        """The value of one that is done."""
        return self.wait()

    def set_result(self, result: Any) -> None:
        """Here is the value. RuntimeError the second time."""
        if self._is_done:
            raise RuntimeError("Future already has a value: it can only be set once")
        self._value, self._is_done = result, True
        self._call_back()

    def set_exception(self, result: BaseException) -> None:
        """There will be none, for this reason."""
        self._error, self._is_done = result, True
        self._call_back()

    def _call_back(self) -> None:
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback(self)

    def then(self, callback: Callable[[Future], Any]) -> Future:
        """A Future of ``callback(this one)``."""

        def follow() -> Any:
            try:
                self.wait()
            except Exception:
                pass  # the callback is the one to ask for it
            return callback(self)

        made = Future(waits=follow)
        if self._is_done:
            _settle(made)
        else:
            self._callbacks.append(lambda _: _settle(made))
        return made

    def add_done_callback(self, callback: Callable[[Future], Any]) -> None:
        """Call ``callback(this one)`` once it is done."""
        if self._is_done:
            callback(self)
        else:
            self._callbacks.append(callback)


def _settle(future: Future) -> None:
    try:
        if not future.done() and not future._is_asked:
            future.wait()
    except Exception:
        pass  # it is raised where somebody asks for the value


def collect_all(futures: Sequence[Future]) -> Future:
    """A Future of the list of these, all of them done."""

    def all_of_them() -> list[Future]:
        for future in futures:
            _settle(future)
        return list(futures)

    return Future(waits=all_of_them)


def wait_all(futures: Sequence[Future]) -> list[Any]:
    """The values of all of them."""
    return [future.wait() for future in futures]
