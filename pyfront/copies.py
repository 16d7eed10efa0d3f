"""Copies: view functions under the names that promise memory of their own, and splits that promise nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .definitions import define
from .joining import clone
from .shaping import (
    chunk,
    diagonal,
    expand,
    narrow,
    permute,
    select,
    split,
    squeeze,
    t,
    transpose,
    unbind,
    unfold,
    unsqueeze,
    view,
)
from .tensor import Tensor, dimension
from .writing import as_strided


def _copied(view_of: Callable[..., Any]) -> Callable[..., Any]:
    def apply(input: Tensor, *args: Any, **options: Any) -> Any:
        seen = view_of(input, *args, **options)
        return tuple([clone(part) for part in seen]) if isinstance(seen, tuple) else clone(seen)

    apply.__doc__ = f"``{view_of.__name__}``, in memory of its own."
    return apply


def _alias(input: Tensor) -> Tensor:
    return input


def _detached(input: Tensor) -> Tensor:
    return input.detach()


def _expanded(input: Tensor, size: Any, *, implicit: bool = False) -> Tensor:
    return expand(input, size)


def _sliced(
    input: Tensor, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1
) -> Tensor:
    at = dimension(dim, input.dim())
    return input[(slice(None),) * at + (slice(start, end, step),)]


for _name, _function in (
    ("alias", _alias), ("as_strided", as_strided), ("detach", _detached), ("diagonal", diagonal), ("expand", _expanded),
    ("permute", permute), ("select", select), ("slice", _sliced), ("split", split), ("split_with_sizes", split),
    ("squeeze", squeeze), ("t", t), ("transpose", transpose), ("unbind", unbind), ("unfold", unfold),
    ("unsqueeze", unsqueeze), ("view", view),
):  # fmt: skip
    define(f"{_name}_copy", method=False, label=_name)(_copied(_function))
define("narrow_copy")(_copied(narrow))
define("unsafe_chunk")(chunk)
define("unsafe_split", "unsafe_split_with_sizes", also=dict.fromkeys(("split_size", "split_sizes"), "split_size_or_sections"))(split)
