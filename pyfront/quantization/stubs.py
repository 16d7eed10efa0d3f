"""Stubs: where a model's numbers are quantized, and where they become numbers again."""

from __future__ import annotations

from typing import Any

from ..nn.module import Module
from ..tensor import Tensor


class QuantStub(Module):
    """Hands its input through; observed by ``prepare``, a `Quantize` after ``convert``."""

    def __init__(self, qconfig: Any = None) -> None:
        super().__init__()
        if qconfig:
            self.qconfig = qconfig

    def forward(self, x: Tensor) -> Tensor:
        """x."""
        return x


class DeQuantStub(QuantStub):
    """Hands its input through; a `DeQuantize` after ``convert``."""


class QuantWrapper(Module):
    """A module between a QuantStub and a DeQuantStub."""

    def __init__(self, module: Module) -> None:
        super().__init__()
        config = getattr(module, "qconfig", None)
        self.add_module("quant", QuantStub(config))
        self.add_module("dequant", DeQuantStub(config))
        self.add_module("module", module)
        self.train(module.training)

    def forward(self, X: Tensor) -> Tensor:  # noqa: N803  # PyTorch's name
        """What the module gives."""
        return self.dequant(self.module(self.quant(X)))
