"""DataParallel where there is no GPU: the module itself, under the name ``module``."""

from __future__ import annotations

from typing import Any

from .module import Module


class DataParallel(Module):
    """Hands its arguments to ``module``, as PyTorch's does when there is no GPU to spread a batch over."""

    def __init__(self, module: Module, device_ids: Any = None, output_device: Any = None, dim: int = 0) -> None:
        super().__init__()
        self.module, self.device_ids, self.output_device, self.dim = module, [], output_device, dim

    def forward(self, *inputs: Any, **kwargs: Any) -> Any:
        """What the module gives."""
        return self.module(*inputs, **kwargs)


def data_parallel(
    module: Module, inputs: Any, device_ids: Any = None, output_device: Any = None, dim: int = 0, module_kwargs: dict | None = None
) -> Any:
    """The module of the inputs (one tensor or a tuple of them), which one device computes."""
    return module(*(inputs if isinstance(inputs, tuple) else (inputs,)), **(module_kwargs or {}))
