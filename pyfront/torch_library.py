"""torch.library and torch.ops: operations that programs and libraries define in Python, under a name others can call.

They run as the Python they are; what they do to tensors is recorded like anything else. A backward of their own makes them an
``autograd.Function``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any

from ..dialects.errors import UnsupportedError
from .definitions import TABLE
from .function import Function, FunctionCtx
from .leaves import is_tracked
from .origin import origin, source_line
from .pytree import tree_leaves
from .tensor import Tensor

__all__ = ["CustomOpDef", "Library", "custom_op", "define", "impl", "register_autograd", "register_fake", "register_kernel", "register_vmap"]

_defined: dict[str, CustomOpDef] = {}  # by "namespace::name"


class CustomOpDef:
    """An operation under a name; call it like the function it was made from. ``default`` is itself: there is one overload."""

    def __init__(self, name: str, function: Callable[..., Any] | None = None) -> None:
        self._qualname = self.__qualname__ = name
        self.__name__ = name.partition("::")[2]
        self._function = function
        self._gradient: type[Function] | None = None

    @property
    def default(self) -> CustomOpDef:
        """Itself."""
        return self

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self._function is None:
            raise NotImplementedError(f"{self._qualname} was defined without an implementation; register one with torch.library.impl")
        if self._gradient is not None and any(isinstance(leaf, Tensor) and is_tracked(leaf) for leaf in tree_leaves([args, kwargs])):
            return self._gradient.apply(*self._positional(args, kwargs))
        return self._function(*args, **kwargs)

    def _positional(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]:
        """Arguments by position, as backward's gradients are."""
        if not kwargs:
            return args
        import inspect

        bound = inspect.signature(self._function).bind(*args, **kwargs)  # type: ignore[arg-type]  # it was asked for
        bound.apply_defaults()
        return (*bound.args, *bound.kwargs.values())

    def register_fake(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        """Taken and not needed: shapes follow from what is recorded."""
        return fn

    register_vmap = register_torch_dispatch = register_fake

    def register_kernel(self, device_types: Any, fn: Callable[..., Any] | None = None) -> Any:
        """The function for some devices ("cpu", None for all)."""
        devices = (device_types,) if isinstance(device_types, str) or device_types is None else tuple(device_types)

        def register(function: Callable[..., Any]) -> Callable[..., Any]:
            if self._function is None or "cpu" in devices:
                self._function = function
            return function

        return register if fn is None else register(fn)

    def register_autograd(self, backward: Callable[..., Any], /, *, setup_context: Callable[..., Any] | None = None) -> None:
        """``backward(ctx, *grads)`` gives a gradient per argument; ``setup_context(ctx, inputs, output)`` saves what it needs."""
        op = self

        class Gradient(Function):
            @staticmethod
            def forward(ctx: FunctionCtx, *args: Any) -> Any:
                found = op._function(*args)  # type: ignore[misc]  # called with one
                if setup_context is not None:
                    setup_context(ctx=ctx, inputs=args, output=found)
                return found

            @staticmethod
            def backward(ctx: FunctionCtx, *grads: Any) -> Any:
                return backward(ctx, *grads)

        Gradient.__name__ = Gradient.__qualname__ = self.__name__
        self._gradient = Gradient


def _known(op: str | CustomOpDef) -> CustomOpDef:
    if isinstance(op, CustomOpDef):
        return op
    name = op.partition("(")[0].strip()
    found = _defined.get(name.partition(".")[0])
    if found is None:
        raise RuntimeError(f"Could not find the operator {name}: define it with torch.library.custom_op or torch.library.define first")
    return found


def custom_op(
    name: str, fn: Callable[..., Any] | None = None, /, *, mutates_args: str | Iterable[str] = (), device_types: Any = None,
    schema: str | None = None, tags: Any = None,
) -> Any:  # fmt: skip
    """A function as ``torch.ops.<namespace>.<name>`` (``name`` is "namespace::name"); also a decorator. ValueError for a name without a
    namespace. What it writes in place (`mutates_args`) is seen where it is written."""
    if "::" not in name:
        raise ValueError(f"expected a name of the form 'namespace::name', got {name!r}")

    def make(function: Callable[..., Any]) -> CustomOpDef:
        _defined[name] = CustomOpDef(name, function)
        _defined[name].__doc__ = function.__doc__
        return _defined[name]

    return make if fn is None else make(fn)


def define(qualname: str, schema: str | None = None, *, lib: Any = None, tags: Any = ()) -> Any:
    """A name for an operation whose implementation comes with `impl`; without a schema a decorator, as `custom_op`."""
    if schema is None:
        return custom_op(qualname, mutates_args=())
    return _defined.setdefault(qualname, CustomOpDef(qualname)) and None


def impl(qualname: str | CustomOpDef, types: Any = "default", func: Callable[..., Any] | None = None, *, lib: Any = None) -> Any:
    """The implementation of an operation that was defined; also a decorator."""
    return _known(qualname).register_kernel(None if types in ("default", "CompositeExplicitAutograd", "CompositeImplicitAutograd") else types, func)


def register_kernel(op: str | CustomOpDef, device_types: Any, func: Callable[..., Any] | None = None, /, *, lib: Any = None) -> Any:
    """See `CustomOpDef.register_kernel`."""
    return _known(op).register_kernel(device_types, func)


def register_autograd(op: str | CustomOpDef, backward: Callable[..., Any], /, *, setup_context: Callable[..., Any] | None = None, lib: Any = None) -> None:
    """See `CustomOpDef.register_autograd`."""
    _known(op).register_autograd(backward, setup_context=setup_context)


def register_fake(op: str | CustomOpDef, func: Callable[..., Any] | None = None, /, **_: Any) -> Any:
    """Taken and not needed: shapes follow from what is recorded; also a decorator."""
    return (lambda f: f) if func is None else func


register_vmap = impl_abstract = register_fake


class Library:
    """A namespace of operations: ``define`` names them, ``impl`` gives them a function."""

    def __init__(self, ns: str, kind: str, dispatch_key: str = "") -> None:
        self.ns, self.kind = ns, kind

    def define(self, schema: str, alias_analysis: str = "", *, tags: Any = ()) -> str:
        """A name from a schema (``"mymul(Tensor x, Tensor y) -> Tensor"``)."""
        name = schema.partition("(")[0].strip().partition(".")[0]
        define(f"{self.ns}::{name}", schema)
        return name

    def impl(self, op_name: Any, fn: Callable[..., Any], dispatch_key: str = "", *, with_keyset: bool = False, **_: Any) -> None:
        """The function of a name; one for autograd or for another device is not taken."""
        if dispatch_key in ("", "CPU", "CompositeExplicitAutograd", "CompositeImplicitAutograd"):
            name = op_name if isinstance(op_name, str) else op_name.__name__
            _known(name if "::" in name else f"{self.ns}::{name}").register_kernel("cpu", fn)


class _Namespace:
    """``torch.ops.<name>``."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> CustomOpDef:
        found = _defined.get(f"{self._name}::{name}")
        if found is None:
            raise AttributeError(f"'_OpNamespace' '{self._name}' object has no attribute '{name}'")
        return found


class AtenOp:
    """``torch.ops.aten.<name>``, or an overload of it: a name for tables, and the public function of that name where there is one."""

    def __init__(self, name: str) -> None:
        self._name = self.__name__ = name

    def __getattr__(self, overload: str) -> AtenOp:
        if overload.startswith("_"):
            raise AttributeError(overload)
        made = self.__dict__[overload] = AtenOp(f"{self._name}.{overload}")
        return made

    def __repr__(self) -> str:
        name, _, overload = self._name.partition(".")
        return f"<OpOverload(op='aten.{name}', overload='{overload}')>" if overload else f"<OpOverloadPacket(op='aten.{name}')>"

    def __str__(self) -> str:
        return f"aten.{self._name}"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        name = self._name.partition(".")[0]
        entry = TABLE.get(name)
        if entry is None:
            raise UnsupportedError(
                f"torch.ops.aten.{self._name} is an operation of PyTorch's own that no public function answers for",
                at=source_line(origin()), help="call the function of torch that does this",
            )  # fmt: skip
        return entry.calls.made(*args, **kwargs)


class _Aten(_Namespace):
    """PyTorch's own operations."""

    def __getattr__(self, name: str) -> Any:
        found = _defined.get(f"aten::{name}")
        if found is not None or name.startswith("__"):
            return super().__getattr__(name)
        op = self.__dict__[name] = AtenOp(name)
        return op


class Ops(ModuleType):
    """``torch.ops``: namespaces of what programs defined; PyTorch's own (aten) are names for public functions."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        namespace = self.__dict__[name] = _Aten(name) if name == "aten" else _Namespace(name)
        return namespace

    def load_library(self, path: str) -> None:
        """UnsupportedError: libraries are built against PyTorch's own."""
        raise UnsupportedError(
            f"torch.ops.load_library: {path} is built against PyTorch's libraries", at=source_line(origin()),
            help="define the operation in Python with torch.library.custom_op",
        )  # fmt: skip


ops = OPS = Ops("torch.ops", "Operations that programs defined.")  # torch._ops.ops
OPS.__path__ = []  # a package to the import system
