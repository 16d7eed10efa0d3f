"""Sums, products and concatenations as modules, so that their results are observed and quantized."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..joining import cat
from ..nn.linear import Identity
from ..nn.module import Module
from ..tensor import Tensor
from . import arithmetic
from .quantized_tensor import Quantizer


class FloatFunctional(Module):
    """Operations of numbers whose results go through ``activation_post_process``."""

    def __init__(self) -> None:
        super().__init__()
        self.activation_post_process: Any = Identity()

    def forward(self, x: Any) -> Any:
        """RuntimeError: the operations are to be called."""
        raise RuntimeError("FloatFunctional is not intended to use the 'forward'. Please use the underlying operation")

    def add(self, x: Tensor, y: Tensor) -> Tensor:
        """x + y."""
        return self.activation_post_process(x + y)

    def add_scalar(self, x: Tensor, y: float) -> Tensor:
        """x + y for a number y; not observed."""
        return x + y

    def mul(self, x: Tensor, y: Tensor) -> Tensor:
        """x * y."""
        return self.activation_post_process(x * y)

    def mul_scalar(self, x: Tensor, y: float) -> Tensor:
        """x * y for a number y; not observed."""
        return x * y

    def cat(self, x: Sequence[Tensor], dim: int = 0) -> Tensor:
        """The tensors side by side."""
        return self.activation_post_process(cat(x, dim))

    def add_relu(self, x: Tensor, y: Tensor) -> Tensor:
        """relu(x + y)."""
        return self.activation_post_process((x + y).relu())

    def matmul(self, x: Tensor, y: Tensor) -> Tensor:
        """x @ y."""
        return self.activation_post_process(x @ y)


class QFunctional(Module):
    """The same of quantized tensors, with ``scale`` and ``zero_point``."""

    def __init__(self) -> None:
        super().__init__()
        self.scale, self.zero_point = 1.0, 0
        self.activation_post_process: Any = Identity()

    @property
    def _quantizer(self) -> Quantizer:
        return Quantizer(self.scale, self.zero_point)

    def _get_name(self) -> str:
        return "QFunctional"

    def extra_repr(self) -> str:
        """Scale and zero point."""
        return f"scale={self.scale}, zero_point={self.zero_point}"

    def _save_to_state_dict(self, destination: dict, prefix: str, keep_vars: bool) -> None:
        from ..creation import tensor

        super()._save_to_state_dict(destination, prefix, keep_vars)
        destination[prefix + "scale"], destination[prefix + "zero_point"] = tensor(self.scale), tensor(self.zero_point)

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *more: Any) -> None:
        self.scale, self.zero_point = float(state_dict.pop(prefix + "scale")), int(state_dict.pop(prefix + "zero_point"))
        super()._load_from_state_dict(state_dict, prefix, *more)

    def forward(self, x: Any) -> Any:
        """RuntimeError: the operations are to be called."""
        raise RuntimeError("Functional is not intended to use the 'forward'. Please use the underlying operation")

    def add(self, x: Any, y: Any) -> Any:
        """x + y."""
        return self.activation_post_process(arithmetic.add(x, y, self._quantizer))

    def add_scalar(self, x: Any, y: float) -> Any:
        """x + y for a number y, with a zero point that follows."""
        return arithmetic.add_scalar(x, y)

    def mul(self, x: Any, y: Any) -> Any:
        """x * y."""
        return self.activation_post_process(arithmetic.mul(x, y, self._quantizer))

    def mul_scalar(self, x: Any, y: float) -> Any:
        """x * y for a number y, with a scale that follows."""
        return arithmetic.mul_scalar(x, y)

    def cat(self, x: Sequence[Any], dim: int = 0) -> Any:
        """The tensors side by side."""
        return self.activation_post_process(arithmetic.cat_as(x, dim, self._quantizer))

    def add_relu(self, x: Any, y: Any) -> Any:
        """relu(x + y)."""
        return self.activation_post_process(arithmetic.add(x, y, self._quantizer, then_relu=True))

    @classmethod
    def from_float(cls, mod: Any, use_precomputed_fake_quant: bool = False) -> QFunctional:
        """That of an observed one."""
        scale, zero_point = mod.activation_post_process.calculate_qparams()
        made = cls()
        made.scale, made.zero_point = float(scale), int(zero_point)
        return made
