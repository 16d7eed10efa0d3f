"""Transform: a map between regions with the logarithm of its derivative; inverses and chains of them."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import Any

from ..size import Size
from ..tensor import Tensor
from . import constraints
from .independent import sum_rightmost


class Transform:
    """A map from ``domain`` to ``codomain``. cache_size 1: the last value's inverse is what it was made from."""

    bijective = False
    domain: Any
    codomain: Any

    def __init__(self, cache_size: int = 0) -> None:
        if cache_size not in (0, 1):
            raise ValueError("cache_size must be 0 or 1")
        self._cache_size = cache_size
        self._inv: Transform | None = None
        self._cached: tuple[Any, Any] = (None, None)

    @property
    def event_dim(self) -> int:
        """Dimensions of one value, where both regions have as many."""
        if self.domain.event_dim == self.codomain.event_dim:
            return self.domain.event_dim
        raise ValueError("Please use either .domain.event_dim or .codomain.event_dim")

    @property
    def inv(self) -> Transform:
        """The way back."""
        if self._inv is None:
            self._inv = _InverseTransform(self)
        return self._inv

    @property
    def sign(self) -> Any:
        """1 where it rises, -1 where it falls."""
        raise NotImplementedError

    def with_cache(self, cache_size: int = 1) -> Transform:
        """The same with another cache."""
        if self._cache_size == cache_size:
            return self
        if type(self).__init__ is Transform.__init__:
            return type(self)(cache_size=cache_size)
        raise NotImplementedError(f"{type(self)}.with_cache is not implemented")

    def __eq__(self, other: object) -> bool:
        return self is other

    __hash__ = object.__hash__

    def __call__(self, x: Tensor) -> Tensor:
        if self._cache_size == 0:
            return self._call(x)
        if x is not self._cached[0]:
            self._cached = (x, self._call(x))
        return self._cached[1]

    def _inv_call(self, y: Tensor) -> Tensor:
        if self._cache_size == 0:
            return self._inverse(y)
        if y is not self._cached[1]:
            self._cached = (self._inverse(y), y)
        return self._cached[0]

    def _call(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def _inverse(self, y: Tensor) -> Tensor:
        raise NotImplementedError

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """log |dy / dx|, one number per value."""
        raise NotImplementedError

    def forward_shape(self, shape: Iterable[int]) -> Size:
        """Shape of what comes out."""
        return Size(shape)

    def inverse_shape(self, shape: Iterable[int]) -> Size:
        """Shape of what goes in."""
        return Size(shape)

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class _InverseTransform(Transform):
    """A transform walked backwards."""

    def __init__(self, transform: Transform) -> None:
        super().__init__(cache_size=transform._cache_size)
        self._there = transform

    @constraints.dependent_property
    def domain(self) -> Any:
        """Where the transform ends."""
        return self._there.codomain

    @constraints.dependent_property
    def codomain(self) -> Any:
        """Where the transform starts."""
        return self._there.domain

    @property
    def bijective(self) -> bool:  # type: ignore[override]  # the transform's
        """Whether the transform is."""
        return self._there.bijective

    @property
    def sign(self) -> Any:
        """The transform's."""
        return self._there.sign

    @property
    def inv(self) -> Transform:
        """The transform."""
        return self._there

    def with_cache(self, cache_size: int = 1) -> Transform:
        """The way back of the transform with a cache."""
        return self._there.with_cache(cache_size).inv

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _InverseTransform) and self._there == other._there

    __hash__ = object.__hash__

    def __call__(self, x: Tensor) -> Tensor:
        return self._there._inv_call(x)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """Minus that of the way there."""
        return -self._there.log_abs_det_jacobian(y, x)

    def forward_shape(self, shape: Iterable[int]) -> Size:
        """As the transform's inverse has it."""
        return self._there.inverse_shape(shape)

    def inverse_shape(self, shape: Iterable[int]) -> Size:
        """As the transform has it."""
        return self._there.forward_shape(shape)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._there!r})"


class ComposeTransform(Transform):
    """Transforms one after the other."""

    def __init__(self, parts: list[Transform], cache_size: int = 0) -> None:
        super().__init__(cache_size=cache_size)
        self.parts = [part.with_cache(cache_size) for part in parts] if cache_size else parts

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ComposeTransform) and self.parts == other.parts

    __hash__ = object.__hash__

    @constraints.dependent_property
    def domain(self) -> Any:
        """The first one's, with what later ones need."""
        if not self.parts:
            return constraints.real
        needed = self.parts[-1].codomain.event_dim
        for part in reversed(self.parts):
            needed = max(needed + part.domain.event_dim - part.codomain.event_dim, part.domain.event_dim)
        return _widened(self.parts[0].domain, needed)

    @constraints.dependent_property
    def codomain(self) -> Any:
        """The last one's, with what earlier ones need."""
        if not self.parts:
            return constraints.real
        needed = self.parts[0].domain.event_dim
        for part in self.parts:
            needed = max(needed + part.codomain.event_dim - part.domain.event_dim, part.codomain.event_dim)
        return _widened(self.parts[-1].codomain, needed)

    @cached_property
    def bijective(self) -> bool:  # type: ignore[override]  # of all parts
        """Whether all parts are."""
        return all(part.bijective for part in self.parts)

    @cached_property
    def sign(self) -> Any:  # type: ignore[override]  # of all parts
        """The product of the parts'."""
        sign: Any = 1
        for part in self.parts:
            sign = sign * part.sign
        return sign

    @property
    def inv(self) -> Transform:
        """The parts' inverses, the last one first."""
        if self._inv is None:
            self._inv = ComposeTransform([part.inv for part in reversed(self.parts)])
            self._inv._inv = self
        return self._inv

    def with_cache(self, cache_size: int = 1) -> Transform:
        """The same with another cache in each part."""
        return self if self._cache_size == cache_size else ComposeTransform(self.parts, cache_size=cache_size)

    def __call__(self, x: Tensor) -> Tensor:
        for part in self.parts:
            x = part(x)
        return x

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """The sum of the parts'."""
        if not self.parts:
            return x.new_zeros(x.shape)
        total, event_dim = None, self.domain.event_dim
        for part in self.parts:
            end = y if part is self.parts[-1] else part(x)
            term = sum_rightmost(part.log_abs_det_jacobian(x, end), event_dim - part.domain.event_dim)
            total = term if total is None else total + term
            event_dim += part.codomain.event_dim - part.domain.event_dim
            x = end
        return total

    def forward_shape(self, shape: Iterable[int]) -> Size:
        """Through all parts."""
        for part in self.parts:
            shape = part.forward_shape(shape)
        return Size(shape)

    def inverse_shape(self, shape: Iterable[int]) -> Size:
        """Back through all parts."""
        for part in reversed(self.parts):
            shape = part.inverse_shape(shape)
        return Size(shape)

    def __repr__(self) -> str:
        inner = ",\n    ".join([repr(part) for part in self.parts])
        return f"{type(self).__name__}(\n    {inner}\n)"


def _widened(region: Any, event_dim: int) -> Any:
    more = event_dim - region.event_dim
    return constraints.independent(region, more) if more > 0 else region


class IndependentTransform(Transform):
    """A transform whose values have further dimensions on the right that belong together."""

    def __init__(self, base_transform: Transform, reinterpreted_batch_ndims: int, cache_size: int = 0) -> None:
        super().__init__(cache_size=cache_size)
        self.base_transform = base_transform.with_cache(cache_size)
        self.reinterpreted_batch_ndims = reinterpreted_batch_ndims

    def with_cache(self, cache_size: int = 1) -> Transform:
        """The same with another cache."""
        if self._cache_size == cache_size:
            return self
        return IndependentTransform(self.base_transform, self.reinterpreted_batch_ndims, cache_size=cache_size)

    @constraints.dependent_property
    def domain(self) -> Any:
        """The base's, judged together."""
        return constraints.independent(self.base_transform.domain, self.reinterpreted_batch_ndims)

    @constraints.dependent_property
    def codomain(self) -> Any:
        """The base's, judged together."""
        return constraints.independent(self.base_transform.codomain, self.reinterpreted_batch_ndims)

    @property
    def bijective(self) -> bool:  # type: ignore[override]  # the base's
        """Whether the base is."""
        return self.base_transform.bijective

    @property
    def sign(self) -> Any:
        """The base's."""
        return self.base_transform.sign

    def _call(self, x: Tensor) -> Tensor:
        if x.dim() < self.domain.event_dim:
            raise ValueError("Too few dimensions on input")
        return self.base_transform(x)

    def _inverse(self, y: Tensor) -> Tensor:
        if y.dim() < self.codomain.event_dim:
            raise ValueError("Too few dimensions on input")
        return self.base_transform.inv(y)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """Sums of the base's."""
        return sum_rightmost(self.base_transform.log_abs_det_jacobian(x, y), self.reinterpreted_batch_ndims)

    def forward_shape(self, shape: Iterable[int]) -> Size:
        """The base's."""
        return self.base_transform.forward_shape(shape)

    def inverse_shape(self, shape: Iterable[int]) -> Size:
        """The base's."""
        return self.base_transform.inverse_shape(shape)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.base_transform!r}, {self.reinterpreted_batch_ndims})"
