"""The autodiff dialect: derivatives that are asked for but not yet spelled out.

``%dw, %db = autodiff.grad %loss, %seed, %w, %b : (...) -> (...)``
    d(seed . loss)/d(w, b), each typed as its operand; a seed with one dimension more, in front, is several seeds, and
    each result has that dimension too
``%y = autodiff.saved %value, %saved : (t, t) -> t``
    the contents of %saved, differentiated as %value
"""

from __future__ import annotations

from collections.abc import Sequence

from xdsl.dialects.builtin import StringAttr
from xdsl.ir import Dialect, SSAValue
from xdsl.utils.exceptions import VerifyException

from .attributes import ir_type, type_of
from .ops import STEP_BUILDERS, TensorOp


class GradOp(TensorOp):
    """Derivatives of `loss`, weighted by `seed`, with respect to the remaining operands."""

    name = "autodiff.grad"

    @property
    def loss(self) -> SSAValue:
        """What is differentiated."""
        return self._operands[0]

    @property
    def seed(self) -> SSAValue:
        """The cotangent of the loss, typed as it, or several of them."""
        return self._operands[1]

    @property
    def seeds(self) -> int | None:
        """How many seeds there are; None for one without a dimension for it."""
        shape = type_of(self.seed)[0]
        return shape[0] if len(shape) > len(type_of(self.loss)[0]) else None

    @property
    def wrt(self) -> tuple[SSAValue, ...]:
        """What it is differentiated by; one result each."""
        return tuple(self._operands[2:])

    def verify_(self) -> None:
        """The seed is typed as the loss, each result as its operand, but for the dimension of several seeds."""
        if len(self._operands) < 2:
            raise VerifyException("autodiff.grad needs a loss and a seed of its type")
        front = () if self.seeds is None else (self.seeds,)
        (shape, dtype), seed = type_of(self.loss), type_of(self.seed)
        if seed != ((*front, *shape), dtype):
            raise VerifyException("autodiff.grad needs a loss and a seed of its type")
        if [type_of(r) for r in self.results] != [((*front, *s), d) for s, d in map(type_of, self.wrt)]:
            raise VerifyException("autodiff.grad gives one result per wrt operand, of its type")


class SavedOp(TensorOp):
    """A forward value computed before: its contents are `saved`, its derivative is that of `value`."""

    name = "autodiff.saved"

    @property
    def value(self) -> SSAValue:
        """The value as the program computes it: what is differentiated."""
        return self._operands[0]

    @property
    def saved(self) -> SSAValue:
        """The same numbers, kept from an earlier run."""
        return self._operands[1]

    def verify_(self) -> None:
        """Both operands and the result have one type."""
        if (
            len(self._operands) != 2
            or len(self.results) != 1
            or len({v.type for v in (*self._operands, *self.results)}) != 1
        ):
            raise VerifyException("autodiff.saved needs a value and its saved contents, of one type")


def _attributes(origin: str | None) -> dict:
    return {"origin": StringAttr(origin)} if origin else {}


def grad(loss: SSAValue, seed: SSAValue, wrt: Sequence[SSAValue], origin: str | None = None) -> GradOp:
    """An `autodiff.grad`, typed."""
    several = type_of(seed)[0][: len(type_of(seed)[0]) - len(type_of(loss)[0])]
    types = [ir_type(((*several, *shape), dtype)) for shape, dtype in map(type_of, wrt)]
    return GradOp.create(operands=[loss, seed, *wrt], result_types=types, attributes=_attributes(origin))


def saved(value: SSAValue, contents: SSAValue, origin: str | None = None) -> SavedOp:
    """An `autodiff.saved`, typed."""
    return SavedOp.create(
        operands=[value, contents], result_types=[contents.type], attributes=_attributes(origin)
    )


STEP_BUILDERS["autodiff.grad"] = lambda operands, origin: grad(operands[0], operands[1], operands[2:], origin)
STEP_BUILDERS["autodiff.saved"] = lambda operands, origin: saved(*operands, origin)
Autodiff = Dialect("autodiff", [GradOp, SavedOp])

__all__ = ["Autodiff", "GradOp", "SavedOp", "grad", "saved"]
