"""Old forms: a factor given in front of the tensor it multiplies (``p.add_(-lr, grad)``), as optimizers of the first PyTorch have it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from .tensor import Tensor


def factor_in_front(name: str, tensors: int) -> Callable[[Callable], Callable]:
    """Lets a function of so many tensors also take its option ``name`` by position, behind the first of them: deprecated in PyTorch,
    and accepted."""

    def decorate(function: Callable) -> Callable:
        @functools.wraps(function)
        def either(*args: Any, **options: Any) -> Any:
            if len(args) == tensors + 1 and not isinstance(args[1], Tensor):
                return function(args[0], *args[2:], **{name: args[1]}, **options)
            return function(*args, **options)

        return either

    return decorate
