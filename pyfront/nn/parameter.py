"""Parameter and Buffer: tensors that a Module registers when they are assigned to an attribute."""

from __future__ import annotations

from typing import Any

from ..creation import empty
from ..creation import tensor as _tensor
from ..known_calls import is_plain
from ..overrides import disabled
from ..tensor import Tensor


@is_plain
class Parameter(Tensor):
    """A tensor to be trained: a leaf that requires grad."""

    __torch_function__ = classmethod(disabled)
    _is_bare = True  # printed as a tensor

    def __new__(cls, data: Any = None, requires_grad: bool = True) -> Parameter:
        """A Parameter over the memory of `data`."""
        source = data if isinstance(data, Tensor) else _tensor([] if data is None else data)
        return Tensor._make_subclass(cls, source, requires_grad)

    def __init__(self, data: Any = None, requires_grad: bool = True) -> None:
        pass

    def __repr__(self, *, tensor_contents: object = None) -> str:
        return "Parameter containing:\n" + super().__repr__()


@is_plain
class Buffer(Tensor):
    """A tensor that belongs to a module's state but is not trained."""

    __torch_function__ = classmethod(disabled)
    _is_bare = True  # printed as a tensor

    persistent: bool

    def __new__(cls, data: Any = None, *, persistent: bool = True) -> Buffer:
        """A Buffer over the memory of `data`; saved with the module when `persistent`."""
        source = data if isinstance(data, Tensor) else _tensor([] if data is None else data)
        made = Tensor._make_subclass(cls, source, source.requires_grad)
        made.persistent = persistent
        return made

    def __init__(self, data: Any = None, *, persistent: bool = True) -> None:
        pass


class UninitializedTensorMixin:
    """A tensor without a shape yet: `materialize` gives it one."""

    _becomes: type

    def materialize(self: Any, shape: Any, device: Any = None, dtype: Any = None) -> None:
        """From now on an ordinary parameter or buffer of this shape, with whatever values."""
        held = empty(tuple(shape), device=device or self.device, dtype=dtype or self.dtype)
        self.__class__ = self._becomes
        self.data = held

    @property
    def shape(self) -> Any:
        raise RuntimeError(
            "Can't access the shape of an uninitialized parameter or buffer. This error usually happens in `load_state_dict` "
            "when trying to load an uninitialized parameter into an initialized one. Call `forward` to initialize the "
            "parameters before accessing their attributes."
        )

    def share_memory_(self) -> Any:
        """RuntimeError: there is no memory."""
        raise RuntimeError(
            "Can't share memory on an uninitialized parameter or buffer. Call `forward` to initialize the parameters before "
            "calling `module.share_memory()`."
        )

    def __repr__(self, *, tensor_contents: object = None) -> str:
        return f"<{type(self).__name__}>"

    def __deepcopy__(self: Any, memo: dict) -> Any:
        if id(self) not in memo:
            memo[id(self)] = type(self)(self.requires_grad, self.device, self.dtype)
        return memo[id(self)]

    def __reduce_ex__(self: Any, protocol: int) -> tuple:
        return type(self), (self.requires_grad,)


class UninitializedParameter(UninitializedTensorMixin, Parameter):
    """A Parameter of a lazy layer, before its first batch."""

    _becomes = Parameter

    def __new__(cls, requires_grad: bool = True, device: Any = None, dtype: Any = None) -> UninitializedParameter:
        """A Parameter that has a dtype and a device, and no shape."""
        return Tensor._make_subclass(cls, empty(0, device=device, dtype=dtype), requires_grad)

    def __init__(self, requires_grad: bool = True, device: Any = None, dtype: Any = None) -> None:
        pass


class UninitializedBuffer(UninitializedTensorMixin, Tensor):
    """A buffer of a lazy layer, before its first batch."""

    __torch_function__ = classmethod(disabled)
    _is_bare = True  # printed as a tensor

    _becomes = Tensor
    persistent = True

    def __new__(
        cls, requires_grad: bool = False, device: Any = None, dtype: Any = None, persistent: bool = True
    ) -> UninitializedBuffer:
        """A buffer that has a dtype and a device, and no shape."""
        return Tensor._make_subclass(cls, empty(0, device=device, dtype=dtype), requires_grad)

    def __init__(
        self, requires_grad: bool = False, device: Any = None, dtype: Any = None, persistent: bool = True
    ) -> None:
        pass


def is_lazy(param: Any) -> bool:
    """Whether a parameter or buffer has no shape yet."""
    return isinstance(param, UninitializedTensorMixin)


def name_below(prefix: str, tensors: Any) -> None:
    """Put `prefix` before the names of parameters, so that a reader of the IR sees ``fc1.weight``."""
    for tensor in tensors:
        if tensor is not None:
            tensor.name = prefix if tensor.name is None else f"{prefix}.{tensor.name}"
