"""Exponential family: the class PyTorch's programs ask for with ``isinstance``."""

from __future__ import annotations

from .distribution import Distribution


class ExponentialFamily(Distribution):
    """Densities exp(<statistics, parameters> - normaliser)."""
