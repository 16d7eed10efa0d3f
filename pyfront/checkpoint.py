"""torch.utils.checkpoint: segments whose inner values are not kept for backward but computed again.

Before a segment is computed again, what is pending is computed and let go: forward and second forward are two programs, so
that no value lives from the one to the other.
"""

from __future__ import annotations

import enum
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from . import recorder
from .grad_mode import enable_grad, no_grad
from .hub import FREED, behind_hub, running
from .node import Boundary, Node
from .random import default_generator
from .tensor import Tensor, wrap


class CheckpointError(RuntimeError):
    """A segment that did something else when it was computed again."""


_INCOMPATIBLE = (
    "When use_reentrant=True, torch.utils.checkpoint is incompatible with .grad() or passing an `inputs` parameter to "
    ".backward(). To resolve this error, you can either set use_reentrant=False, or call .backward() without passing the "
    "`inputs` argument."
)


def checkpoint(
    function: Callable[..., Any], *args: Any, use_reentrant: bool | None = None,
    context_fn: Callable[[], tuple[AbstractContextManager, AbstractContextManager]] | None = None,
    determinism_check: str = "default", debug: bool = False, early_stop: bool = True, **kwargs: Any,
) -> Any:  # fmt: skip
    """Call ``function``; what it computes inside is not kept for backward but computed again there.

    use_reentrant: True: gradients of inputs only where an input requires grad, and not with ``autograd.grad``; False (to be
    preferred): as if there were no checkpoint. preserve_rng_state (a keyword, True): the same random numbers both times.
    CheckpointError where the second call gives other results.
    """
    preserve = bool(kwargs.pop("preserve_rng_state", True))
    if use_reentrant is None:
        warnings.warn(
            "torch.utils.checkpoint: the use_reentrant parameter should be passed explicitly. Starting in PyTorch 2.9, calling "
            "checkpoint without use_reentrant will raise an exception. use_reentrant=False is recommended, but if you need to "
            "preserve the current default behavior, you can pass use_reentrant=True. Refer to docs for more details on the "
            "differences between the two variants.",
            stacklevel=2,
        )
        use_reentrant = True
    if use_reentrant and kwargs:
        raise ValueError("Unexpected keyword arguments: " + ",".join(kwargs))
    if use_reentrant and (context_fn is not None or debug):
        raise ValueError("Passing `context_fn` or `debug` is only supported when use_reentrant=False.")
    given = [a for a in args if isinstance(a, Tensor)]
    if use_reentrant and not any(t.requires_grad for t in given):
        if recorder.state.grad:
            warnings.warn("None of the inputs have requires_grad=True. Gradients will be None", stacklevel=2)
        with no_grad():
            return function(*args)
    first, second = context_fn() if context_fn is not None else (nullcontext(), nullcontext())
    return _Segment(function, args, kwargs, use_reentrant, preserve, second).result(first)


class _Segment:
    """One call: what it takes to make it again."""

    def __init__(
        self, function: Callable, args: tuple, kwargs: dict, reentrant: bool, preserve: bool, second: AbstractContextManager
    ) -> None:
        self.function, self.args, self.kwargs = function, args, kwargs
        self.reentrant, self.second = reentrant, second
        self.nodes = {i: a._read() for i, a in enumerate(args) if isinstance(a, Tensor)}
        self.read = recorder.state.order
        self.state = default_generator.engine.state() if preserve else None
        self.types: list[Any] = []
        self.done = False

    def result(self, first: AbstractContextManager) -> Any:
        """The results of the first call, whose history is that of a second one."""
        with first, no_grad() if self.reentrant and recorder.state.grad else nullcontext():
            found = self.function(*self.args, **self.kwargs)
        results = list(found) if isinstance(found, tuple) else [found]
        if not recorder.state.grad:
            return found
        tracked = [k for k, r in enumerate(results) if isinstance(r, Tensor) and self._is_tracked(r)]
        if not tracked:
            return found
        sources = [results[k]._read() for k in tracked]
        self.types = [s.type for s in sources]
        behind = tuple([n for n in self.nodes.values() if n.requires_grad])
        for source in sources:
            _let_go(source, self.read)
        untracked = [recorder.alias(s, requires_grad=False) for s in sources]
        for k, node in zip(tracked, behind_hub(untracked, behind, self.again(tracked)), strict=True):
            label = results[k]._label
            results[k] = wrap(node)
            results[k]._label = "CheckpointFunctionBackward" if self.reentrant else label
        return tuple(results) if isinstance(found, tuple) else results[0]

    def _is_tracked(self, result: Tensor) -> bool:
        return result.dtype.has_gradient and (self.reentrant or result.requires_grad)

    def again(self, tracked: list[int]) -> Callable[[list[Node | None]], list[tuple[Node, Node]]]:
        """What backward does: call the function once more and go on at its results."""

        def go_on(gradients: list[Node | None]) -> list[tuple[Node, Node]]:
            run = running[-1]
            if self.reentrant and run.collects:
                raise RuntimeError(_INCOMPATIBLE)
            if self.done:
                raise RuntimeError(FREED)
            self.done = not run.retains
            self._check_inputs()
            if not recorder.state.levels:
                recorder.flush([g for g in gradients if g is not None])
            args = [wrap(self.nodes[i]) if i in self.nodes else a for i, a in enumerate(self.args)]
            with self.second, self._numbers(), enable_grad():
                found = self.function(*args, **self.kwargs)
            results = list(found) if isinstance(found, tuple) else [found]
            nodes = [results[k]._read() if k < len(results) and isinstance(results[k], Tensor) else None for k in tracked]
            if [n and n.type for n in nodes] != self.types:
                raise CheckpointError(
                    "torch.utils.checkpoint: Recomputed values for the following tensors have different metadata than during "
                    f"the forward pass.\nsaved metadata: {self.types}\nrecomputed metadata: {[n and n.type for n in nodes]}"
                )
            return [(n, g) for n, g in zip(nodes, gradients, strict=True) if g is not None and n.requires_grad]

        return go_on

    def _check_inputs(self) -> None:
        for node in self.nodes.values():
            if node.overwritten > self.read - 1 and not recorder.state.keeps_old:
                raise RuntimeError(
                    "one of the variables needed for gradient computation has been modified by an inplace operation: "
                    f"{list(node.type[0])}, made at {node.origin}, is an input of a checkpoint and was overwritten since."
                )

    @contextmanager
    def _numbers(self) -> Iterator[None]:
        """The random numbers of the first call."""
        before = default_generator.engine.state()
        if self.state is not None:
            default_generator.engine.restore(self.state)
        try:
            yield
        finally:
            if self.state is not None:
                default_generator.engine.restore(before)


def _let_go(root: Node, since: int) -> None:
    """Nothing the call itself made is kept for a backward that will not come this way; what was there before still is."""
    stack, seen = [root], set()
    while stack:
        node = stack.pop()
        if id(node) in seen or not node.requires_grad or node.order <= since:
            continue
        seen.add(id(node))
        if type(node) is not Boundary:
            node.freed = True
            stack += node.inputs


def checkpoint_sequential(
    functions: Any, segments: int, input: Any, use_reentrant: bool | None = None, **kwargs: Any
) -> Any:
    """A chain of modules in ``segments`` parts of equal length, each but the last one a checkpoint."""
    if use_reentrant is None:
        warnings.warn(
            "torch.utils.checkpoint.checkpoint_sequential: the use_reentrant parameter should be passed explicitly. In version "
            "2.9 we will raise an exception if use_reentrant is not passed. use_reentrant=False is recommended, but if you need "
            "to preserve the current default behavior, you can pass use_reentrant=True. Refer to docs for more details on the "
            "differences between the two variants.",
            stacklevel=2,
        )
        use_reentrant = True
    preserve = kwargs.pop("preserve_rng_state", True)
    if kwargs:
        raise ValueError("Unexpected keyword arguments: " + ",".join(kwargs))
    chain: Sequence[Callable] = list(functions.children()) if hasattr(functions, "children") else list(functions)
    size = len(chain) // segments
    end = -1
    for start in range(0, size * (segments - 1), size):
        end = start + size - 1
        part = _run(chain[start : end + 1])
        input = checkpoint(part, input, use_reentrant=use_reentrant, preserve_rng_state=preserve)
    return _run(chain[end + 1 :])(input)


def _run(functions: Sequence[Callable]) -> Callable[[Any], Any]:
    def run(input: Any) -> Any:
        for function in functions:
            input = function(input)
        return input

    return run


def detach_variable(inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """The arguments without history; each tensor requires grad as it did. RuntimeError for anything but a tuple."""
    if not isinstance(inputs, tuple):
        raise RuntimeError("Only tuple of tensors is supported. Got Unsupported input type: ", type(inputs).__name__)
    return tuple([x.detach().requires_grad_(x.requires_grad) if isinstance(x, Tensor) else x for x in inputs])


def check_backward_validity(inputs: Sequence[Any]) -> None:
    """Warn where no argument requires grad: a checkpoint of them will have no gradients."""
    if not any(x.requires_grad for x in inputs if isinstance(x, Tensor)):
        warnings.warn("None of the inputs have requires_grad=True. Gradients will be None", stacklevel=2)


def get_device_states(*args: Any) -> tuple[list[int], list[Tensor]]:
    """The GPUs the arguments are on, and their random numbers' states."""
    if not any(x.is_cuda for x in args if isinstance(x, Tensor)):
        return [], []
    from . import cuda

    return [0], [cuda.get_rng_state()]


def set_device_states(devices: Sequence[int], states: Sequence[Tensor], *, device_type: str | None = None) -> None:
    """Put them back."""
    from . import cuda

    for state in states:
        cuda.set_rng_state(state)


def noop_context_fn() -> tuple[Any, Any]:
    """Contexts for the first run and for the second: none."""
    return nullcontext(), nullcontext()


class CheckpointPolicy(enum.Enum):
    """What a policy says of an operation: keep its result, or compute it again; PREFER leaves it to the compiler."""

    MUST_SAVE = 0
    PREFER_SAVE = 1
    MUST_RECOMPUTE = 2
    PREFER_RECOMPUTE = 3


class SelectiveCheckpointContext:
    """What a policy is told beside the operation. is_recompute: it is the second run."""

    def __init__(self, *, is_recompute: bool) -> None:
        self.is_recompute = is_recompute


def create_selective_checkpoint_contexts(policy_fn_or_list: Any, allow_cache_entry_mutation: bool = False) -> tuple[Any, Any]:
    """Contexts for the first run and for the second. A policy changes memory and time, not numbers: here the whole segment is computed again.

    TypeError for what is neither a function nor a list of operations.
    """
    if not callable(policy_fn_or_list) and not isinstance(policy_fn_or_list, list):
        raise TypeError("policy_fn_or_list must be either a function or a list of ops.")
    return nullcontext(), nullcontext()


def set_checkpoint_early_stop(enable: bool) -> AbstractContextManager:
    """Whether the second run ends where the last value that is needed is there: what is not needed is never computed."""
    return nullcontext()


def set_checkpoint_debug_enabled(enabled: bool | None) -> AbstractContextManager:
    """Whether checkpoints compare both runs operation by operation: their results are compared as always."""
    return nullcontext()


__all__ = [
    "CheckpointPolicy", "SelectiveCheckpointContext", "create_selective_checkpoint_contexts", "set_checkpoint_debug_enabled", "set_checkpoint_early_stop",
    "CheckpointError", "check_backward_validity", "checkpoint", "checkpoint_sequential", "detach_variable", "get_device_states", "noop_context_fn",
    "set_device_states",
]  # fmt: skip
