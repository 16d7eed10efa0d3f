"""torch.autograd: the public names."""

from .. import function, grad_mode
from ..function import Function
from ..hooks import RemovableHandle
from ..grad_mode import enable_grad, inference_mode, is_grad_enabled, no_grad, set_grad_enabled
from ..tensor import Tensor
from . import forward_ad, functional, graph
from .anomaly_mode import detect_anomaly, is_anomaly_check_nan_enabled, is_anomaly_enabled, set_detect_anomaly
from .backward import backward, grad, run_backward
from .gradcheck import GradcheckError, gradcheck, gradgradcheck


class _EveryTensor(type):
    """Since PyTorch 0.4 every tensor is a Variable."""

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, Tensor)


class Variable(metaclass=_EveryTensor):
    """``Variable(data)`` is a tensor over the same memory, and every tensor is an instance."""

    def __new__(cls, data: Tensor, requires_grad: bool = False, volatile: bool = False) -> Tensor:  # type: ignore[misc]  # PyTorch's too
        """The tensor over the memory of ``data``, a leaf."""
        made = data.detach()
        return made.requires_grad_() if requires_grad else made


__all__ = [
    "Function", "GradcheckError", "RemovableHandle", "Variable", "backward", "detect_anomaly", "enable_grad", "forward_ad",
    "function", "functional", "grad", "grad_mode", "gradcheck", "gradgradcheck", "graph", "inference_mode",
    "is_anomaly_check_nan_enabled", "is_anomaly_enabled", "is_grad_enabled", "no_grad", "run_backward", "set_detect_anomaly",
    "set_grad_enabled",
]  # fmt: skip
