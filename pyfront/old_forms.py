"""Old forms: factors given among the tensors they multiply (``p.add_(-lr, grad)``), as optimizers of the first PyTorch have it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from .tensor import Tensor


def factors_in_front(*names: str, tensors: int) -> Callable[[Callable], Callable]:
    """Lets a function of so many tensors also take its options ``names`` by position, each somewhere in front of the last two of them:
    deprecated in PyTorch, and accepted."""

    def is_old(args: tuple) -> bool:
        extra = len(args) - tensors
        factors = [not isinstance(a, Tensor) for a in args]
        return 0 < extra <= len(names) and sum(factors) == extra and not any(factors[-max(1, tensors - 1) :])

    def decorate(function: Callable) -> Callable:
        @functools.wraps(function)
        def either(*args: Any, **options: Any) -> Any:
            if len(args) > tensors and is_old(args):
                factors = [a for a in args if not isinstance(a, Tensor)]
                args = tuple(a for a in args if isinstance(a, Tensor))
                options = {**dict(zip(names, factors, strict=False)), **options}
            return function(*args, **options)

        either.is_old_form = is_old  # type: ignore[attr-defined]  # `definitions` asks before it refuses a number
        return either

    return decorate
