"""Activation layers: the functions of torch.nn.functional with their arguments kept."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from ...dialects.types import DTYPES
from .. import overrides
from ..creation import full
from ..tensor import Tensor
from . import functional as F
from .calls import remembered
from .module import Module
from .parameter import Parameter

_REQUIRED = object()


class _Activation(Module):
    """An element-wise function with arguments. _defaults: PyTorch's argument names in order."""

    _function_: Callable[..., Tensor]
    _defaults_: dict[str, Any] = {}
    _show_: Callable[[Any], str] | None = None

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__()
        name, names = type(self).__name__, list(self._defaults_)
        if len(args) > len(names):
            raise TypeError(f"{name}() takes at most {len(names)} arguments, got {len(args)}")
        given = dict(zip(names, args, strict=False))
        for key, value in options.items():
            if key not in self._defaults_ or key in given:
                raise TypeError(f"{name}() got an unexpected keyword argument {key!r}")
            given[key] = value
        for key, default in self._defaults_.items():
            value = given.get(key, default)
            if value is _REQUIRED:
                raise TypeError(f"{name}() is missing its argument {key!r}")
            setattr(self, key, value)

    @remembered
    def forward(self, input: Tensor) -> Tensor:
        """The function of each element."""
        function = type(self)._function_ if not overrides.state.on else overrides.overridable(type(self)._function_)
        return function(input, **{name: getattr(self, name) for name in self._defaults_})

    def extra_repr(self) -> str:
        """The arguments, as PyTorch prints them."""
        if type(self)._show_ is not None:
            return type(self)._show_(self)
        shown = [f"{k}={getattr(self, k)}" for k in self._defaults_ if k != "inplace"]
        if getattr(self, "inplace", False):
            shown.append("inplace=True")
        return ", ".join(shown)


def signature_of(defaults: dict[str, Any]) -> inspect.Signature:
    """The signature of a layer that is made from a table, for those who look."""
    kind, empty = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.empty
    return inspect.Signature(
        [inspect.Parameter(k, kind, default=empty if v is _REQUIRED else v) for k, v in defaults.items()]
    )


def _layer(
    name: str, function: Callable[..., Tensor], show: Callable[[Any], str] | None = None, **defaults: Any
) -> type[_Activation]:
    body = {"_function_": staticmethod(function), "_defaults_": defaults, "__doc__": function.__doc__, "__module__": __name__}
    if show is not None:
        body["_show_"] = staticmethod(show)
    body["__signature__"] = signature_of(defaults)
    return type(name, (_Activation,), body)


def _inplace(self: Any) -> str:
    return ", inplace=True" if self.inplace else ""


ReLU = _layer("ReLU", F.relu, inplace=False)
SELU = _layer("SELU", F.selu, inplace=False)
SiLU = _layer("SiLU", F.silu, inplace=False)
Mish = _layer("Mish", F.mish, inplace=False)
Hardswish = _layer("Hardswish", F.hardswish, lambda self: "", inplace=False)
Hardsigmoid = _layer("Hardsigmoid", F.hardsigmoid, lambda self: "", inplace=False)
Tanh = _layer("Tanh", F.tanh)
Sigmoid = _layer("Sigmoid", F.sigmoid)
Softsign = _layer("Softsign", F.softsign)
Tanhshrink = _layer("Tanhshrink", F.tanhshrink)
LogSigmoid = _layer("LogSigmoid", F.logsigmoid)
GELU = _layer("GELU", F.gelu, lambda self: f"approximate={self.approximate!r}", approximate="none")
ReLU6 = _layer("ReLU6", F.relu6, lambda self: "inplace=True" if self.inplace else "", inplace=False)
Hardtanh = _layer(
    "Hardtanh", F.hardtanh, lambda self: f"min_val={self.min_val}, max_val={self.max_val}" + _inplace(self),
    min_val=-1.0, max_val=1.0, inplace=False,
)  # fmt: skip
ELU = _layer("ELU", F.elu, alpha=1.0, inplace=False)
CELU = _layer("CELU", F.celu, alpha=1.0, inplace=False)
LeakyReLU = _layer("LeakyReLU", F.leaky_relu, negative_slope=0.01, inplace=False)
Softplus = _layer("Softplus", F.softplus, beta=1.0, threshold=20.0)
Softshrink = _layer("Softshrink", F.softshrink, lambda self: str(self.lambd), lambd=0.5)
Hardshrink = _layer("Hardshrink", F.hardshrink, lambda self: str(self.lambd), lambd=0.5)
Threshold = _layer("Threshold", F.threshold, threshold=_REQUIRED, value=_REQUIRED, inplace=False)
GLU = _layer("GLU", F.glu, dim=-1)
Softmax = _layer("Softmax", F.softmax, dim=None)
LogSoftmax = _layer("LogSoftmax", F.log_softmax, dim=None)
Softmin = _layer("Softmin", F.softmin, dim=None)


class Softmax2d(Module):
    """softmax over the channels of [n, c, h, w]."""

    @remembered
    def forward(self, input: Tensor) -> Tensor:
        """Same shape out."""
        if input.dim() not in (3, 4):
            raise ValueError(f"Softmax2d: expected input to be 3D or 4D, got {input.dim()}D instead")
        return F.softmax(input, -3)


class RReLU(Module):
    """A leaky ReLU with random slopes in training."""

    def __init__(self, lower: float = 1.0 / 8, upper: float = 1.0 / 3, inplace: bool = False) -> None:
        super().__init__()
        self.lower, self.upper, self.inplace = lower, upper, inplace

    def forward(self, input: Tensor) -> Tensor:
        """Same shape out."""
        return F.rrelu(input, self.lower, self.upper, self.training, self.inplace)

    def extra_repr(self) -> str:
        """The arguments."""
        return f"lower={self.lower}, upper={self.upper}" + _inplace(self)


class PReLU(Module):
    """A leaky ReLU whose slopes are trained."""

    def __init__(self, num_parameters: int = 1, init: float = 0.25, device: Any = None, dtype: Any = None) -> None:
        super().__init__()
        self.num_parameters, self.init = num_parameters, init
        self.weight = Parameter(full((num_parameters,), init, device=device, dtype=dtype or DTYPES["float32"]))

    def reset_parameters(self) -> None:
        """All slopes as given."""
        self.weight.data.fill_(self.init)

    @remembered
    def forward(self, input: Tensor) -> Tensor:
        """Same shape out."""
        return F.prelu(input, self.weight)

    def extra_repr(self) -> str:
        """The arguments."""
        return f"num_parameters={self.num_parameters}"
