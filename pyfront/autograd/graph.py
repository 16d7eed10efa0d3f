"""torch.autograd.graph: places of the graph, hooks on several tensors, and what is saved for backward."""

from __future__ import annotations

import abc
import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from .. import function, recorder
from ..grad_fn import GradFn, GradientEdge, edge_of
from ..hub import running
from ..hooks import RemovableHandle
from ..tensor import Tensor


class Node(abc.ABC):
    """A step of the graph: what ``tensor.grad_fn`` is. ``isinstance`` is all it is for."""


Node.register(GradFn)


def get_gradient_edge(tensor: Tensor) -> GradientEdge:
    """Where a tensor's gradient arrives; ``autograd.grad`` and ``backward`` take it in place of the tensor."""
    return edge_of(tensor)


def increment_version(tensor: Tensor | Iterable[Tensor]) -> None:
    """Treat tensors as written: a backward that needs their old values raises RuntimeError."""
    for t in [tensor] if isinstance(tensor, Tensor) else tensor:
        node = t._storage.node
        if node is not None:
            t._storage.replace(recorder.alias(node, requires_grad=node.requires_grad), recorder.state.order)
        else:
            t._storage.written()


class saved_tensors_hooks:
    """A region in which ``autograd.Function`` packs what it saves and unpacks it in backward.

    What the compiler keeps for other operations is its own choice, made when a program runs, and is not packed.
    """

    def __init__(self, pack_hook: Callable[[Tensor], Any], unpack_hook: Callable[[Any], Tensor]) -> None:
        self.pack_hook, self.unpack_hook = pack_hook, unpack_hook

    def __enter__(self) -> None:
        if function.packing.refused is not None:
            raise RuntimeError(function.packing.refused)
        function.packing.append((self.pack_hook, self.unpack_hook))

    def __exit__(self, *_: object) -> None:
        function.packing.pop()


class save_on_cpu(saved_tensors_hooks):
    """A region whose saved tensors wait in the host's memory."""

    def __init__(self, pin_memory: bool = False, device_type: str = "cuda") -> None:
        super().__init__(lambda t: (t.device, t.cpu()), lambda packed: packed[1].to(packed[0]))


class disable_saved_tensors_hooks:
    """A region (or decorated function) in which ``saved_tensors_hooks`` raises RuntimeError with this message."""

    def __init__(self, error_message: str) -> None:
        self.error_message = error_message

    def __enter__(self) -> None:
        self._before = function.packing.refused
        function.packing.refused = self.error_message

    def __exit__(self, *_: object) -> None:
        function.packing.refused = self._before

    def __call__(self, wrapped: Callable) -> Callable:
        @functools.wraps(wrapped)
        def inside(*args: Any, **kwargs: Any) -> Any:
            with self:
                return wrapped(*args, **kwargs)

        return inside


class allow_mutation_on_saved_tensors:
    """A region in which tensors that backward needs may be written: it reads what they were."""

    def __enter__(self) -> allow_mutation_on_saved_tensors:
        recorder.state.keeps_old += 1
        return self

    def __exit__(self, *_: object) -> None:
        recorder.state.keeps_old -= 1

    def clear(self) -> None:
        """Nothing is kept beside the recording itself."""


class _Handles:
    """Removes several hooks at once."""

    def __init__(self, handles: Sequence[RemovableHandle]) -> None:
        self.handles = tuple(handles)

    def remove(self) -> None:
        """Take the hooks away."""
        for handle in self.handles:
            handle.remove()

    def __enter__(self) -> _Handles:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()


def register_multi_grad_hook(
    tensors: Sequence[Tensor], fn: Callable[[Any], None], *, mode: str = "all"
) -> _Handles:
    """Call ``fn`` in each backward: with the gradients of all ``tensors`` once the last arrived ("all"; None for those
    that get none), or with the first that arrives ("any")."""
    if mode not in ("all", "any"):
        raise ValueError(f"Expects mode to be one of ('all', 'any') but got {mode}")
    waiting: dict[int, list[Any]] = {}

    def arrived(i: int, gradient: Tensor) -> None:
        run = running[-1]
        if run.number not in waiting:
            waiting.clear()
            waiting[run.number] = [None] * len(tensors)
            if mode == "all":
                run.at_end.append(lambda: fn(waiting.pop(run.number, [])))
            else:
                fn(gradient)
        waiting[run.number][i] = gradient

    return _Handles([t.register_hook(functools.partial(arrived, i)) for i, t in enumerate(tensors)])


__all__ = [
    "GradientEdge", "Node", "allow_mutation_on_saved_tensors", "disable_saved_tensors_hooks", "get_gradient_edge",
    "increment_version", "register_multi_grad_hook", "save_on_cpu", "saved_tensors_hooks",
]  # fmt: skip
