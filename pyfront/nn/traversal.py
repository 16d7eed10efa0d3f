"""Walking a module tree: named parameters, buffers, modules; converting and switching all of them at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from ..creation import empty_like
from ..leaves import zero_grad
from ..tensor import Tensor
from .changes import let_go, turned
from .parameter import Parameter

if TYPE_CHECKING:
    from .module import Module


class TraversalMethods:
    """The part of Module that goes through its tree."""

    _parameters: dict[str, Parameter | None]
    _buffers: dict[str, Tensor | None]
    _modules: dict[str, Any]  # Module or None, under a name `typing.get_type_hints` of a subclass finds at run time

    def named_modules(
        self, memo: set | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Module]]:
        """This module and all below, with dotted names; each module once unless told otherwise."""
        memo = set() if memo is None else memo
        if self in memo:
            return
        if remove_duplicate:
            memo.add(self)
        yield prefix, self
        for name, module in self._modules.items():
            if module is not None:
                below = f"{prefix}.{name}" if prefix else name
                yield from module.named_modules(memo, below, remove_duplicate)

    def modules(self) -> Iterator[Module]:
        """This module and all below."""
        for _, module in self.named_modules():
            yield module

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """Direct children with their names, each once."""
        seen = set()
        for name, module in self._modules.items():
            if module is not None and module not in seen:
                seen.add(module)
                yield name, module

    def children(self) -> Iterator[Module]:
        """Direct children."""
        for _, module in self.named_children():
            yield module

    def _named_members(
        self, table: str, prefix: str, recurse: bool, remove_duplicate: bool
    ) -> Iterator[tuple[str, Any]]:
        seen: set[int] = set()
        modules = self.named_modules(prefix=prefix, remove_duplicate=remove_duplicate) if recurse else [(prefix, self)]
        for path, module in modules:
            for name, member in module.__dict__[table].items():
                if member is None or id(member) in seen:
                    continue
                if remove_duplicate:
                    seen.add(id(member))
                yield f"{path}.{name}" if path else name, member

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """Parameters with dotted names, each once unless told otherwise."""
        yield from self._named_members("_parameters", prefix, recurse, remove_duplicate)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """Parameters, each once."""
        for _, parameter in self.named_parameters(recurse=recurse):
            yield parameter

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        """Buffers with dotted names."""
        yield from self._named_members("_buffers", prefix, recurse, remove_duplicate)

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """Buffers, each once."""
        for _, buffer in self.named_buffers(recurse=recurse):
            yield buffer

    def _walk_(self, target: str) -> Module:
        module: Any = self
        for name in target.split(".") if target else ():
            if not hasattr(module, name):
                raise AttributeError(f"{module._get_name()} has no attribute `{name}`")
            module = getattr(module, name)
            if "_modules" not in getattr(module, "__dict__", {}):
                raise AttributeError(f"`{name}` is not an nn.Module")
        return module

    def get_submodule(self, target: str) -> Module:
        """The module under a dotted name. AttributeError when there is none."""
        return self._walk_(target)

    def set_submodule(self, target: str, module: Module, strict: bool = False) -> None:
        """Put `module` under a dotted name; strict: only where there is one already. ValueError or AttributeError else."""
        if target == "":
            raise ValueError("Cannot set the submodule without a target name!")
        path, _, name = target.rpartition(".")
        if "_modules" not in getattr(module, "__dict__", {}):
            raise ValueError(f"`module` is not an nn.Module, found {type(module)}")
        parent = self._walk_(path)
        if strict and not hasattr(parent, name):
            raise AttributeError(f"{parent._get_name()} has no attribute `{name}`")
        if hasattr(parent, name) and "_modules" not in getattr(getattr(parent, name), "__dict__", {}):
            raise AttributeError(f"`{name}` is not an nn.Module")
        setattr(parent, name, module)

    def get_parameter(self, target: str) -> Parameter:
        """The parameter under a dotted name. AttributeError when there is none."""
        path, _, name = target.rpartition(".")
        module = self._walk_(path)
        if not hasattr(module, name):
            raise AttributeError(f"{module._get_name()} has no attribute `{name}`")
        found = getattr(module, name)
        if not isinstance(found, Parameter):
            raise AttributeError(f"`{name}` is not an nn.Parameter")
        return found

    def get_buffer(self, target: str) -> Tensor:
        """The buffer under a dotted name. AttributeError when there is none."""
        path, _, name = target.rpartition(".")
        module = self._walk_(path)
        if not hasattr(module, name):
            raise AttributeError(f"{module._get_name()} has no attribute `{name}`")
        if name not in module._buffers:
            raise AttributeError(f"`{name}` is not a buffer")
        return module._buffers[name]

    def apply(self, fn: Callable[[Module], None]) -> Any:
        """Call `fn` on every module, children first."""
        for module in self.children():
            module.apply(fn)
        fn(self)
        return self

    # -- conversion -------------------------------------------------------------------------------------------

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        """Replace the contents of every parameter, its gradient and every buffer; identities stay."""
        let_go()
        for module in self.children() if recurse else ():
            module._apply(fn)
        for parameter in self._parameters.values():
            if parameter is None:
                continue
            parameter.data = fn(parameter.data)
            if parameter.grad is not None:
                parameter.grad = fn(parameter.grad)
        for name, buffer in self._buffers.items():
            if buffer is not None:
                self._buffers[name] = fn(buffer)
        return self

    def to(self, *args: Any, **kwargs: Any) -> Any:
        """Move or convert in place: ``to(device)``, ``to(dtype)`` (floating tensors only), ``to(other)``."""
        keep = kwargs.pop("memory_format", None), kwargs.pop("non_blocking", None)
        del keep  # layout and transfers are the compiler's business
        target = [a.dtype if isinstance(a, Tensor) else a for a in args] + list(kwargs.values())
        dtypes = [a for a in target if hasattr(a, "is_floating_point") and not isinstance(a, Tensor)]
        devices = [a for a in target if a is not None and a not in dtypes and not isinstance(a, bool)]
        if any(not dtype.is_floating_point for dtype in dtypes):
            raise TypeError(f"nn.Module.to only accepts floating point or complex dtypes, but got desired dtype={dtypes[0]}")

        def convert(tensor: Tensor) -> Tensor:
            for device in devices:
                try:
                    tensor = tensor.to(device)
                except NotImplementedError as error:
                    if tensor.is_meta:
                        advice = "Please use torch.nn.Module.to_empty() instead of torch.nn.Module.to() when moving module from meta to a different device."
                        raise NotImplementedError(f"{error} {advice}") from None
                    raise
            for dtype in dtypes:
                tensor = tensor.to(dtype) if tensor.is_floating_point() else tensor
            return tensor

        return self._apply(convert) if dtypes or devices else self

    def type(self, dst_type: Any) -> Any:
        """All parameters and buffers in `dst_type`."""
        return self._apply(lambda t: t.type(dst_type))

    def float(self) -> Any:
        """Floating tensors to float32."""
        return self._apply(lambda t: t.float() if t.is_floating_point() else t)

    def double(self) -> Any:
        """Floating tensors to float64."""
        return self._apply(lambda t: t.double() if t.is_floating_point() else t)

    def half(self) -> Any:
        """Floating tensors to float16."""
        return self._apply(lambda t: t.half() if t.is_floating_point() else t)

    def bfloat16(self) -> Any:
        """Floating tensors to bfloat16."""
        return self._apply(lambda t: t.bfloat16() if t.is_floating_point() else t)

    def cpu(self) -> Any:
        """Everything on the CPU."""
        return self._apply(lambda t: t.cpu())

    def cuda(self, device: Any = None) -> Any:
        """Everything on a GPU."""
        return self._apply(lambda t: t.cuda(device))

    def ipu(self, device: Any = None) -> Any:
        """Everything on an accelerator that is not here: raises what ``to`` raises."""
        return self.to("ipu")

    def xpu(self, device: Any = None) -> Any:
        """Everything on an accelerator that is not here: raises what ``to`` raises."""
        return self.to("xpu")

    def mtia(self, device: Any = None) -> Any:
        """Everything on an accelerator that is not here: raises what ``to`` raises."""
        return self.to("mtia")

    def to_empty(self, *, device: Any, recurse: bool = True) -> Any:
        """Everything on `device`, with whatever values."""
        return self._apply(lambda t: empty_like(t, device=device), recurse)

    def train(self, mode: bool = True) -> Any:
        """Training mode for this module and all below."""
        if not isinstance(mode, bool):
            raise ValueError("training mode is expected to be boolean")
        kind: Any = type(self)
        if kind.__setattr__ is not kind._own_setattr_:
            self.training = mode
        elif self.training is not mode:
            turned(self, mode)
            object.__setattr__(self, "training", mode)
        for module in self.children():
            module.train(mode)
        return self

    def eval(self) -> Any:
        """Evaluation mode: ``train(False)``."""
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Any:
        """Freeze or thaw all parameters."""
        for parameter in self.parameters():
            parameter.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop (or zero) the gradients of all parameters."""
        for parameter in self.parameters():
            if parameter.grad is not None:
                if set_to_none:
                    parameter.grad = None
                else:
                    zero_grad(parameter)

    def share_memory(self) -> Any:
        """Kept for programs that ask; memory is shared by forking."""
        return self

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Kept for programs that ask; every module is compiled anyway."""
