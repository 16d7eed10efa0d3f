"""Distribution: what all distributions answer, and the checks of their parameters and values."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import Any, TypeVar

from ..grad_mode import no_grad
from ..size import Size
from ..tensor import Tensor
from . import constraints
from .parameters import Chances

D = TypeVar("D", bound="Distribution")


class Distribution:
    """batch_shape: of independent parameters. event_shape: of one draw."""

    has_rsample = False
    has_enumerate_support = False
    _validate_args = __debug__
    _copied_: tuple[str, ...] = ()  # parameters that expand() repeats over the batch
    _event_parameters_ = 0  # dimensions on the right of those that belong to one event

    @staticmethod
    def set_default_validate_args(value: bool) -> None:
        """Whether distributions check what they are given. ValueError unless True or False."""
        if value not in (True, False):
            raise ValueError
        Distribution._validate_args = value

    def __init__(
        self, batch_shape: Iterable[int] = (), event_shape: Iterable[int] = (), validate_args: bool | None = None
    ) -> None:
        self._batch_shape, self._event_shape = Size(batch_shape), Size(event_shape)
        if validate_args is not None:
            self._validate_args = validate_args
        if self._validate_args:
            self._check_parameters_()

    def _get_checked_instance(self, cls: type, _instance: Any = None) -> Any:
        """What ``expand`` of a class programs derive puts parameters into. NotImplementedError for a subclass that has another ``__init__``."""
        if _instance is None and type(self).__init__ != cls.__init__:
            raise NotImplementedError(
                f"Subclass {type(self).__name__} of {cls.__name__} that defines a custom __init__ method must also define a custom .expand() method."
            )
        return type(self).__new__(type(self)) if _instance is None else _instance

    def _check_parameters_(self) -> None:
        for name, region in self._regions_().items():
            if constraints.is_dependent(region):
                continue
            if name not in vars(self) and isinstance(getattr(type(self), name, None), (Chances, cached_property)):
                continue  # not given: made from another one when it is asked for
            value = getattr(self, name)
            if not region.check(value).all():
                raise ValueError(
                    f"Expected parameter {name} ({type(value).__name__} of shape {tuple(value.shape)}) of distribution "
                    f"{self!r} to satisfy the constraint {region!r}, but found invalid values:\n{shown(value)}"
                )

    def _regions_(self) -> dict[str, Any]:
        try:
            return self.arg_constraints
        except NotImplementedError:
            return {}

    @property
    def batch_shape(self) -> Size:
        """Shape of the parameters, one distribution each."""
        return self._batch_shape

    @property
    def event_shape(self) -> Size:
        """Shape of one draw of one distribution."""
        return self._event_shape

    @property
    def arg_constraints(self) -> dict[str, Any]:
        """Parameters' names and the regions they lie in."""
        raise NotImplementedError

    @property
    def support(self) -> Any:
        """The region draws lie in."""
        raise NotImplementedError

    @property
    def mean(self) -> Tensor:
        """Means, batch + event."""
        raise NotImplementedError

    @property
    def mode(self) -> Tensor:
        """Most probable values, batch + event."""
        raise NotImplementedError(f"{self.__class__} does not implement mode")

    @property
    def variance(self) -> Tensor:
        """Variances, batch + event."""
        raise NotImplementedError

    @property
    def stddev(self) -> Tensor:
        """Square roots of the variances."""
        return self.variance.sqrt()

    def expand(self: D, batch_shape: Iterable[int], _instance: Any = None) -> D:
        """The same distribution for a larger batch; parameters are views of this one's."""
        if not self._copied_:
            raise NotImplementedError
        shape = Size(batch_shape)
        other = type(self).__new__(type(self)) if _instance is None else _instance
        for name in self._copied_:
            if name in vars(self):
                value = vars(self)[name]
                own = value.shape[len(value.shape) - self._event_parameters_ :] if self._event_parameters_ else ()
                setattr(other, name, value.expand((*shape, *own)))
        other._batch_shape, other._event_shape = shape, self._event_shape
        other._validate_args = self._validate_args
        return other

    def sample(self, sample_shape: Iterable[int] = ()) -> Tensor:
        """Draws [sample + batch + event] without history."""
        with no_grad():
            return self.rsample(sample_shape)

    def rsample(self, sample_shape: Iterable[int] = ()) -> Tensor:
        """Draws [sample + batch + event] that gradients pass through."""
        raise NotImplementedError

    def sample_n(self, n: int) -> Tensor:
        """n draws of each."""
        return self.sample((n,))

    def log_prob(self, value: Tensor) -> Tensor:
        """Logarithms of the density or mass at the values, without the event's dimensions."""
        raise NotImplementedError

    def cdf(self, value: Tensor) -> Tensor:
        """Chances of at most the value."""
        raise NotImplementedError

    def icdf(self, value: Tensor) -> Tensor:
        """Values that a draw is below with the given chances."""
        raise NotImplementedError

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """All values of a countable support, along a first dimension."""
        raise NotImplementedError

    def entropy(self) -> Tensor:
        """Entropies of the batch, in nats."""
        raise NotImplementedError

    def perplexity(self) -> Tensor:
        """Exponentials of the entropies."""
        return self.entropy().exp()

    def _extended_shape(self, sample_shape: Iterable[int] = ()) -> Size:
        return Size((*sample_shape, *self._batch_shape, *self._event_shape))

    def _validate_sample(self, value: Any) -> None:
        """ValueError for what no draw can be: no tensor, a shape that does not fit, values outside of the support."""
        if not isinstance(value, Tensor):
            raise ValueError("The value argument to log_prob must be a Tensor")
        event = len(self._event_shape)
        if tuple(value.shape[value.dim() - event :]) != tuple(self._event_shape):
            raise ValueError(
                "The right-most size of value must match event_shape: "
                f"{value.shape} vs {self._event_shape}."
            )
        expected = Size((*self._batch_shape, *self._event_shape))
        for have, want in zip(reversed(value.shape), reversed(expected), strict=False):
            if 1 not in (have, want) and have != want:
                raise ValueError(
                    f"Value is not broadcastable with batch_shape+event_shape: {value.shape} vs {expected}."
                )
        try:
            region = self.support
        except NotImplementedError:
            return
        if not region.check(value).all():
            raise ValueError(
                f"Expected value argument ({type(value).__name__} of shape {tuple(value.shape)}) to be within the support "
                f"({region!r}) of the distribution {self!r}, but found invalid values:\n{shown(value)}"
            )

    def __repr__(self) -> str:
        named = [name for name in self._regions_() if name in vars(self)]
        said = [(name, vars(self)[name]) for name in named]
        return f"{type(self).__name__}({', '.join(f'{n}: {v if v.numel() == 1 else v.shape}' for n, v in said)})"


def shown(value: Tensor) -> str:
    """As PyTorch's f-string shows it: a number without dimensions as Python's."""
    return str(value.item() if value.dim() == 0 else value)
