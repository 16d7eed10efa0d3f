"""Categorical: one of K categories, as an index."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..limits import finfo
from ..random_tensors import multinomial
from ..grad_mode import no_grad
from ..sequences import arange
from ..shaping import broadcast_tensors
from ..size import Size
from ..tensor import Tensor
from . import constraints
from .distribution import Distribution
from .parameters import Chances, one_of


class Categorical(Distribution):
    """Categorical(probs) or Categorical(logits=...): chances [batch, K], made to sum to 1."""

    arg_constraints = {"probs": constraints.simplex, "logits": constraints.real_vector}
    has_enumerate_support = True
    probs = Chances(is_binary=False, name="probs")
    logits = Chances(is_binary=False, name="logits")
    _copied_ = ("probs", "logits")
    _event_parameters_ = 1

    def __init__(self, probs: Tensor | None = None, logits: Tensor | None = None, validate_args: bool | None = None) -> None:
        one_of(probs, logits)
        name, given = ("probs", probs) if probs is not None else ("logits", logits)
        if given.dim() < 1:
            raise ValueError(f"`{name}` parameter must be at least one-dimensional.")
        if probs is not None:
            self.probs = probs / probs.sum(-1, keepdim=True)
        else:
            self.logits = logits - logits.logsumexp(dim=-1, keepdim=True)
        super().__init__(given.shape[:-1], validate_args=validate_args)

    @property
    def _param(self) -> Tensor:
        return vars(self)["probs"] if "probs" in vars(self) else self.logits

    @property
    def _num_events(self) -> int:
        return self._param.shape[-1]

    @constraints.dependent_property(is_discrete=True, event_dim=0)
    def support(self) -> Any:
        """0 … K-1."""
        return constraints.integer_interval(0, self._num_events - 1)

    @property
    def param_shape(self) -> Size:
        """[batch, K]."""
        return self._param.shape

    @property
    def mean(self) -> Tensor:
        """Categories have none: NaN."""
        return self._param.new_full(self._batch_shape, float("nan"))

    @property
    def mode(self) -> Tensor:
        """The most probable category."""
        return self.probs.argmax(dim=-1)

    @property
    def variance(self) -> Tensor:
        """Categories have none: NaN."""
        return self.mean

    def sample(self, sample_shape: Iterable[int] = ()) -> Tensor:
        """Indices, int64."""
        sample_shape = Size(sample_shape)
        with no_grad():
            rows = self.probs.reshape(-1, self._num_events)
            drawn = multinomial(rows, sample_shape.numel(), True)
        return drawn.T.reshape(self._extended_shape(sample_shape))

    def log_prob(self, value: Tensor) -> Tensor:
        """Log chances of the indices."""
        if self._validate_args:
            self._validate_sample(value)
        index, table = broadcast_tensors(value.long().unsqueeze(-1), self.logits)
        return table.gather(-1, index[..., :1]).squeeze(-1)

    def entropy(self) -> Tensor:
        """-sum p log p."""
        table = self.logits.clamp(min=finfo(self.logits.dtype).min)
        return -(table * self.probs).sum(-1)

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """All indices [K, batch]."""
        values = arange(self._num_events, device=self._param.device).reshape((-1, *(1,) * len(self._batch_shape)))
        return values.expand((-1, *self._batch_shape)) if expand else values
