"""Parameter and Buffer: tensors that a Module registers when they are assigned to an attribute."""

from __future__ import annotations

from typing import Any

from ..creation import tensor as _tensor
from ..tensor import Tensor


class Parameter(Tensor):
    """A tensor to be trained: a leaf that requires grad."""

    def __new__(cls, data: Any = None, requires_grad: bool = True) -> Parameter:
        """A Parameter over the memory of `data`."""
        source = data if isinstance(data, Tensor) else _tensor([] if data is None else data)
        return Tensor._make_subclass(cls, source, requires_grad)

    def __init__(self, data: Any = None, requires_grad: bool = True) -> None:
        pass

    def __repr__(self, *, tensor_contents: object = None) -> str:
        return "Parameter containing:\n" + super().__repr__()


class Buffer(Tensor):
    """A tensor that belongs to a module's state but is not trained."""

    persistent: bool

    def __new__(cls, data: Any = None, *, persistent: bool = True) -> Buffer:
        """A Buffer over the memory of `data`; saved with the module when `persistent`."""
        source = data if isinstance(data, Tensor) else _tensor([] if data is None else data)
        made = Tensor._make_subclass(cls, source, source.requires_grad)
        made.persistent = persistent
        return made

    def __init__(self, data: Any = None, *, persistent: bool = True) -> None:
        pass


def name_below(prefix: str, tensors: Any) -> None:
    """Put `prefix` before the names of parameters, so that a reader of the IR sees ``fc1.weight``."""
    for tensor in tensors:
        if tensor is not None:
            tensor.name = prefix if tensor.name is None else f"{prefix}.{tensor.name}"
