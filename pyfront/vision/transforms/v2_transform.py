"""The base of v2 transforms."""

from __future__ import annotations

from typing import Any

from .transform import Structured, Transform as _Transform


class Transform(Structured, _Transform):
    """Base of v2 transforms: subclasses give make_params and transform."""

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """Random numbers for a sample."""
        return {}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """One image transformed."""
        raise NotImplementedError

    def draw(self, img: Any) -> dict[str, Any]:
        """The parameters, under one keyword."""
        return {"params": self.make_params([img])}

    def apply(self, img: Any, params: dict[str, Any]) -> Any:
        """The transformed image."""
        return self.transform(img, params)
