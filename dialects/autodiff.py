"""The autodiff dialect: derivatives that are asked for but not yet spelled out.

``%dw, %db = autodiff.grad %loss, %seed, %w, %b : (...) -> (...)``
    d(seed . loss)/d(w, b), each typed as its operand
``%y = autodiff.saved %value, %saved : (t, t) -> t``
    the contents of %saved, differentiated as %value
"""

from __future__ import annotations

from collections.abc import Sequence

from xdsl.dialects.builtin import StringAttr
from xdsl.ir import Dialect, Operation, SSAValue
from xdsl.utils.exceptions import VerifyException

from .ops import TensorOp


class GradOp(TensorOp):
    """Derivatives of `loss`, weighted by `seed`, with respect to the remaining operands."""

    name = "autodiff.grad"

    @property
    def loss(self) -> SSAValue:
        """What is differentiated."""
        return self._operands[0]

    @property
    def seed(self) -> SSAValue:
        """The cotangent of the loss, typed as it."""
        return self._operands[1]

    @property
    def wrt(self) -> tuple[SSAValue, ...]:
        """What it is differentiated by; one result each."""
        return tuple(self._operands[2:])

    def verify_(self) -> None:
        """The seed is typed as the loss, each result as its operand."""
        if len(self._operands) < 2 or self.loss.type != self.seed.type:
            raise VerifyException("autodiff.grad needs a loss and a seed of its type")
        if [r.type for r in self.results] != [v.type for v in self.wrt]:
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
    return GradOp.create(
        operands=[loss, seed, *wrt], result_types=[v.type for v in wrt], attributes=_attributes(origin)
    )


def saved(value: SSAValue, contents: SSAValue, origin: str | None = None) -> SavedOp:
    """An `autodiff.saved`, typed."""
    return SavedOp.create(
        operands=[value, contents], result_types=[contents.type], attributes=_attributes(origin)
    )


STEP_OPS: dict[str, type[Operation]] = {
    "autodiff.grad": GradOp,
    "autodiff.saved": SavedOp,
}  # step names of a Graph
Autodiff = Dialect("autodiff", [GradOp, SavedOp])

__all__ = ["STEP_OPS", "Autodiff", "GradOp", "SavedOp", "grad", "saved"]
