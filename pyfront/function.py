"""autograd.Function: an operation whose backward the user writes.

The differentiable results stand behind a hub (hub.py), which calls the user's ``backward`` once and goes on at the
inputs.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Sequence
from typing import Any

from . import recorder, views
from .assignment import check_in_place
from .grad_mode import no_grad
from .hub import FREED, behind_hub, running
from .leaves import is_tracked
from .node import Boundary, Node
from .promote import cast, full
from .tensor import Tensor, wrap

_TWICE = "trying to differentiate twice a function that was marked with @once_differentiable"


class _Packing(list):
    """The pack and unpack hooks in force (autograd.graph.saved_tensors_hooks). refused: why there may be none."""

    refused: str | None = None


packing = _Packing()


class FunctionCtx:
    """What forward leaves for backward. needs_input_grad: per argument, whether its gradient is wanted."""

    needs_input_grad: tuple[bool, ...]

    def __init__(self) -> None:
        self._to_save: tuple[Tensor | None, ...] = ()
        self._saved: list[Callable[[], Tensor | None]] = []
        self._dirty: tuple[Tensor, ...] = ()
        self._constant: tuple[Tensor, ...] = ()
        self._materializes = True
        self._freed = False

    def save_for_backward(self, *tensors: Tensor | None) -> None:
        """Keep inputs, results or values in between; backward finds them in ``saved_tensors``."""
        for tensor in tensors:
            if tensor is not None and not isinstance(tensor, Tensor):
                raise TypeError(f"save_for_backward can only save variables, but got {type(tensor).__name__}")
        self._to_save = tensors

    def save_for_forward(self, *tensors: Tensor | None) -> None:
        """For forward-mode differentiation, which is not used: nothing to do."""

    @property
    def saved_tensors(self) -> tuple[Tensor | None, ...]:
        """What was saved. RuntimeError when one of them was overwritten since, or a backward that did not keep the graph
        is over."""
        if self._freed and self._saved:
            raise RuntimeError(FREED)
        return tuple([get() for get in self._saved])

    def mark_dirty(self, *tensors: Tensor) -> None:
        """Inputs that forward overwrote and returns."""
        self._dirty = tensors

    def mark_non_differentiable(self, *tensors: Tensor) -> None:
        """Results that have no gradient."""
        self._constant = tensors

    def set_materialize_grads(self, value: bool) -> None:
        """Whether backward gets zeros (the default) or None for results nobody used."""
        self._materializes = value


class Function(FunctionCtx):
    """Base of operations with a backward of their own: static ``forward(ctx, ...)`` and ``backward(ctx, *grads)``,
    or ``forward(...)`` with ``setup_context(ctx, inputs, output)``."""

    @staticmethod
    def forward(*args: Any, **options: Any) -> Any:
        """What the operation computes."""
        raise NotImplementedError("You must implement the forward function for custom autograd.Function.")

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Any) -> None:
        """Fill ``ctx`` when ``forward`` does not take it."""
        raise NotImplementedError("setup_context is not implemented.")

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        """Gradients of the inputs from those of the results."""
        raise NotImplementedError(
            "You must implement either the backward or vjp method for your custom autograd.Function to use it with "
            "backward mode AD."
        )

    vjp = backward

    def __call__(self, *args: Any, **options: Any) -> Any:
        """Programs for PyTorch before 1.3 call an instance."""
        raise RuntimeError(
            "Legacy autograd function with non-static forward method is deprecated. Please use new-style autograd function with static forward method. "
            "(Example: https://pytorch.org/docs/stable/autograd.html#torch.autograd.Function)"
        )

    @classmethod
    def apply(cls, *args: Any, **options: Any) -> Any:
        """Run forward; what it returns goes back through ``backward``."""
        ctx = cls()
        ctx.needs_input_grad = tuple([isinstance(a, Tensor) and is_tracked(a) for a in args])
        tracked = recorder.state.grad and any(ctx.needs_input_grad)
        before = {i: a._read() for i, a in enumerate(args) if isinstance(a, Tensor)} if tracked else {}
        with no_grad():
            if cls.setup_context is Function.setup_context:
                result = cls.forward(ctx, *args, **options)
            else:
                result = cls.forward(*args, **options)
                cls.setup_context(ctx, args, result)
        if not tracked:  # what was saved is saved for nobody
            return tuple(result) if isinstance(result, tuple) else result
        results = result if isinstance(result, tuple) else (result,)
        outer = _behind_boundaries(cls, ctx, results, before, args)
        ctx._saved = [_packed(_getter(tensor, results, outer)) for tensor in ctx._to_save]
        ctx._to_save = ()
        return tuple(outer) if isinstance(result, tuple) else outer[0]


class InplaceFunction(Function):
    """`Function` under the name that programs derive from which say whether they write in place."""

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace


def _behind_boundaries(
    cls: type[Function], ctx: Function, results: Sequence[Any], before: dict[int, Node], args: tuple
) -> list[Any]:
    """The results as the caller sees them: tracked, and for backward the work of ``ctx``."""
    types = [r._node.type if isinstance(r, Tensor) else None for r in results]
    differ = [
        k for k, r in enumerate(results)
        if isinstance(r, Tensor) and r.dtype.has_gradient and not any(r is c for c in ctx._constant)
    ]  # fmt: skip

    def go_on(gradients: list[Node | None]) -> list[tuple[Node, Node]]:
        arrived = dict(zip(differ, gradients, strict=True))
        given = [_given(arrived.get(k), t, ctx._materializes) for k, t in enumerate(types)]
        backward = cls.backward if cls.backward is not Function.backward else cls.vjp
        returned = backward(ctx, *given)
        ctx._freed = not running[-1].retains
        returned = returned if isinstance(returned, tuple) else (returned,)
        return _gradients_of_inputs(cls, ctx, returned, before, len(args))

    begin = recorder.state.order
    behind = tuple([n for i, n in before.items() if ctx.needs_input_grad[i]])
    nodes = dict(zip(differ, behind_hub([results[k]._read() for k in differ], behind, go_on), strict=True))
    outer: list[Any] = []
    for k, result in enumerate(results):
        if k in nodes:
            outer.append(_tracked(cls, ctx, result, nodes[k], begin))
        else:
            outer.append(result.detach() if isinstance(result, Tensor) and result.dtype.has_gradient else result)
    return outer


def _tracked(cls: type[Function], ctx: Function, result: Tensor, node: Node, begin: int) -> Tensor:
    if any(result is d for d in ctx._dirty):
        check_in_place(result)
        views.write(result._storage, result._chain, node, begin)
        outer = result
    else:
        outer = wrap(node)
    outer._label = cls.__name__ + "Backward"
    return outer


def _given(gradient: Node | None, type: Any, materializes: bool) -> Tensor | None:
    if gradient is not None:
        return wrap(gradient)
    return wrap(full(0.0, *type)) if materializes and type is not None and type[1].has_gradient else None


def _gradients_of_inputs(
    cls: type[Function], ctx: Function, returned: tuple, before: dict[int, Node], count: int
) -> list[tuple[Node, Node]]:
    name = cls.__name__ + "Backward"
    if len(returned) < count or any(g is not None for g in returned[count:]):
        raise RuntimeError(
            f"function {name} returned an incorrect number of gradients (expected {count}, got {len(returned)})"
        )
    pairs = []
    for i, gradient in enumerate(returned[:count]):
        if gradient is None or not ctx.needs_input_grad[i]:
            continue
        if not isinstance(gradient, Tensor):
            raise RuntimeError(f"expected Variable or None (got {type(gradient).__name__})")
        pairs.append((before[i], _fitted(name, i, gradient, before[i])))
    return pairs


def _fitted(name: str, i: int, gradient: Tensor, input: Node) -> Node:
    """The gradient in its input's shape (summed where it was broadcast) and dtype."""
    node, (shape, dtype) = gradient._read(), input.type
    own = node.type[0]
    if own != shape:
        extra = len(own) - len(shape)
        grown = [n != 1 and m == 1 for n, m in zip(own[extra:], shape, strict=True)] if extra >= 0 else []
        if extra < 0 or any(n != m and not g for n, m, g in zip(own[extra:], shape, grown, strict=True)):
            raise RuntimeError(
                f"Function {name} returned an invalid gradient at index {i} - got {list(own)} but expected "
                f"shape compatible with {list(shape)}"
            )
        axes = (*range(extra), *[extra + k for k, g in enumerate(grown) if g])
        node = recorder.record("reshape", (recorder.record("sum", (node,), (axes,)),), (shape,))
    return cast(node, dtype)


def _packed(get: Callable[[], Tensor | None]) -> Callable[[], Tensor | None]:
    """What reads a saved tensor again, through the hooks in force now."""
    if not packing or (tensor := get()) is None:
        return get
    pack, unpack = packing[-1]
    with no_grad():
        held = pack(tensor)
    return lambda: unpack(held)


def _getter(tensor: Tensor | None, results: Sequence[Any], outer: Sequence[Any]) -> Callable[[], Tensor | None]:
    """Reads a saved tensor again. A result is found through its Boundary, weakly: backward must not keep itself
    alive."""
    if tensor is None:
        return lambda: None
    version = tensor._storage.version
    for result, seen in zip(results, outer, strict=True):
        if result is tensor and seen is not tensor:
            node = seen._read()
            value = tensor.detach()
            found = weakref.ref(node) if type(node) is Boundary else lambda: None
            return lambda: wrap(node) if (node := found()) is not None else value

    def get() -> Tensor:
        if tensor._storage.version != version:
            raise RuntimeError(
                "one of the variables needed for gradient computation has been modified by an inplace operation: "
                f"[{list(tensor.shape)}] is at version {tensor._storage.version}; expected version {version} instead."
            )
        return tensor

    return get


def once_differentiable(backward: Callable) -> Callable:
    """A ``backward`` that is not recorded: differentiating its results raises RuntimeError."""

    @functools.wraps(backward)
    def wrapped(ctx: Any, *gradients: Any) -> Any:
        with no_grad():
            results = backward(ctx, *gradients)
        if not recorder.state.grad:
            return results
        if not any(isinstance(g, Tensor) and g.requires_grad for g in gradients):
            return results
        several = results if isinstance(results, tuple) else (results,)
        refusing = tuple([_refusing(r) if isinstance(r, Tensor) else r for r in several])
        return refusing if isinstance(results, tuple) else refusing[0]

    return wrapped


def _refusing(result: Tensor) -> Tensor:
    def deliver(_: Node) -> Any:
        raise RuntimeError(_TWICE)

    source = result._read()
    recorder.state.order += 1
    node = Boundary((source,), source.type, source.origin, recorder.state.order, deliver, False)
    node.value = source.value
    return wrap(node)
