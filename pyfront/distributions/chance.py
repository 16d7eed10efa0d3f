"""A chance of one of two outcomes as a parameter: given as ``probs`` or as ``logits``."""

from __future__ import annotations

from typing import Any

from ..size import Size
from ..tensor import Tensor
from .parameters import Chances, broadcast_all, one_of


class OfChance:
    """Beside a Distribution: ``probs`` and ``logits``, of which one is given and the other one made when it is asked for."""

    probs = Chances(is_binary=True, name="probs")
    logits = Chances(is_binary=True, name="logits")
    _copied_: tuple[str, ...] = ("probs", "logits")

    def _take(self, probs: Any, logits: Any, *others: Any) -> tuple[Tensor, ...]:
        """Keeps the one that is given; what goes with it [batch], in its dtype."""
        one_of(probs, logits)
        name, given = ("probs", probs) if probs is not None else ("logits", logits)
        *rest, chance = broadcast_all(*others, given)
        setattr(self, name, chance)
        return tuple(other.type_as(chance) for other in rest)

    @property
    def _param(self) -> Tensor:
        return vars(self)["probs"] if "probs" in vars(self) else self.logits

    @property
    def param_shape(self) -> Size:
        """Shape of the parameter."""
        return self._param.shape
