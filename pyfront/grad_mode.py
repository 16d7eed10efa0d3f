"""Grad modes: no_grad, enable_grad, inference_mode, set_grad_enabled; context managers and decorators."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from . import recorder


class _Mode:
    """A grad mode: context manager, decorator (also of generators), and usable without parentheses."""

    enabled = False

    def __new__(cls, function: Callable | None = None) -> Any:
        mode = object.__new__(cls)
        mode._before = []
        return mode(function) if function is not None else mode

    def __enter__(self) -> None:
        self._before.append(recorder.state.grad)
        recorder.state.grad = self.enabled

    def __exit__(self, *_: object) -> None:
        recorder.state.grad = self._before.pop()

    def __call__(self, function: Callable) -> Callable:
        if inspect.isgeneratorfunction(function):
            return self._generator(function)

        @functools.wraps(function)
        def wrapped(*args: Any, **options: Any) -> Any:
            with self:
                return function(*args, **options)

        return wrapped

    def _generator(self, function: Callable) -> Callable:
        @functools.wraps(function)
        def wrapped(*args: Any, **options: Any) -> Any:
            with self:
                running = function(*args, **options)
            while True:
                with self:
                    try:
                        item = next(running)
                    except StopIteration as stop:
                        return stop.value
                yield item

        return wrapped


class no_grad(_Mode):
    """Nothing recorded inside is tracked."""


class enable_grad(_Mode):
    """Tracked again, inside ``no_grad``."""

    enabled = True


class inference_mode(_Mode):
    """As ``no_grad``, and tensors made inside stay out of autograd: they may not be written or tracked outside."""

    mode = True

    def __new__(cls, mode: Callable | bool = True) -> Any:
        if callable(mode):
            return _Mode.__new__(cls, mode)
        made = _Mode.__new__(cls)
        made.mode = bool(mode)
        return made

    def __enter__(self) -> None:
        self._before.append((recorder.state.grad, recorder.state.inference))
        recorder.state.inference = self.mode
        recorder.state.grad = not self.mode

    def __exit__(self, *_: object) -> None:
        recorder.state.grad, recorder.state.inference = self._before.pop()


class set_grad_enabled(_Mode):
    """``set_grad_enabled(flag)``: takes effect at once; as context manager it is undone at the end."""

    def __new__(cls, mode: bool) -> Any:
        return _Mode.__new__(cls)

    def __init__(self, mode: bool) -> None:
        self.enabled = bool(mode)
        self._outer = recorder.state.grad
        recorder.state.grad = self.enabled

    def __enter__(self) -> None:
        self._before.append(self._outer)
        recorder.state.grad = self.enabled

    def __call__(self, function: Callable) -> Callable:
        recorder.state.grad = self._outer
        return super().__call__(function)


def is_inference_mode_enabled() -> bool:
    """True inside of ``inference_mode``."""
    return recorder.state.inference


def is_grad_enabled() -> bool:
    """True outside ``no_grad``."""
    return recorder.state.grad
