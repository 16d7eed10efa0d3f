"""What a call gave back, as known calls tell it apart: fresh memory, a view of such, or views of its operands.

All but the last are kept as steps.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from .tensor import Tensor, from_storage
from .views import is_plain


class Shown(NamedTuple):
    """A call that gave views of its operands, or these themselves. parts: of each result the number of the operand, the chain of the view (None: the
    operand itself), and whether it is one of several views made at once. together: whether they come in a tuple, else None. asks: whether it asked where
    they lie."""

    parts: tuple[tuple[int, Any, bool], ...]
    together: bool | None
    asks: bool

    def again(self, operands: list[Tensor]) -> Any:
        """The same of other operands."""
        made = []
        for number, chain, several in self.parts:
            of = operands[number]
            result = of if chain is None else from_storage(of._storage, chain)
            if several:
                result._several = True
            made.append(result)
        return tuple(made) if self.together else made[0]


class Seen:
    """A result's memory as a chain shows it."""

    __slots__ = ("chain",)

    def __init__(self, chain: Any) -> None:
        self.chain = chain

    def __call__(self, whole: Tensor) -> Tensor:
        return from_storage(whole._storage, self.chain)


def shows(result: Any, tensors: list[Tensor]) -> bool:
    """Whether a result is one of these tensors, or a view of one about which there is nothing more to know."""
    if any([result is t for t in tensors]):
        return True
    return (
        type(result) is Tensor
        and any([result._storage is t._storage for t in tensors])
        and all([type(link) is tuple for link in result._chain])
        and result.__dict__.keys() <= {"_several"}
    )


def part(result: Tensor, tensors: list[Tensor]) -> tuple[int, Any, bool]:
    """A result of `Shown`."""
    for number, t in enumerate(tensors):
        if result is t:
            return number, None, False
    number = next(k for k, t in enumerate(tensors) if result._storage is t._storage)
    return number, result._chain, result._several


def is_fresh(result: Any, given: Iterable[Tensor]) -> bool:
    """A tensor with memory of its own, about which there is nothing more to know, and none of those that were given."""
    return (
        type(result) is Tensor
        and not any([result is t for t in given])
        and not result._chain
        and result._storage.host is None
        and result._storage.version == 0
        and result.__dict__.keys() <= {"_label"}
    )


def is_seen(result: Any, given: Iterable[Tensor]) -> bool:
    """A view of memory that was made for it and that no given tensor is of: a product, say, in another shape."""
    if type(result) is not Tensor or not result._chain or not is_plain(result._chain):
        return False
    storage = result._storage
    return storage.host is None and storage.version == 0 and result.__dict__.keys() <= {"_label"} and not any([storage is t._storage for t in given])
