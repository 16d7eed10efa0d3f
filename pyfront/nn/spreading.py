"""Spreading: batches cut for several devices and put together again, and modules called on the parts one after the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..joining import cat
from ..tensor import Tensor
from .module import Module


def _is_namedtuple(obj: Any) -> bool:
    """Whether it is a tuple whose entries have names."""
    return isinstance(obj, tuple) and hasattr(obj, "_asdict") and hasattr(obj, "_fields")


is_namedtuple = _is_namedtuple


def _alike(kind: Any, parts: Any) -> Any:
    return type(kind)(*parts) if _is_namedtuple(kind) else type(kind)(parts)


def scatter(inputs: Any, target_gpus: Sequence[Any], dim: int = 0) -> list[Any]:
    """One part of each tensor per device; what is no tensor goes to every device as it is."""
    devices = list(target_gpus)
    if isinstance(inputs, Tensor):
        parts = inputs.chunk(len(devices), dim)
        return [part.to(device) for part, device in zip(parts, devices, strict=False)]
    if isinstance(inputs, (tuple, list)) and inputs:
        return [_alike(inputs, parts) for parts in zip(*[scatter(entry, devices, dim) for entry in inputs], strict=False)]
    if isinstance(inputs, Mapping) and inputs:
        columns = [scatter(entry, devices, dim) for entry in inputs.values()]
        return [type(inputs)(zip(inputs, parts, strict=True)) for parts in zip(*columns, strict=False)]  # type: ignore[call-arg]
    return [inputs for _ in devices]


def scatter_kwargs(
    inputs: tuple[Any, ...], kwargs: dict[str, Any] | None, target_gpus: Sequence[Any], dim: int = 0
) -> tuple[tuple[Any, ...], tuple[dict[str, Any], ...]]:
    """Arguments and named arguments of each device: as many of the one as of the other."""
    cut = scatter(inputs, target_gpus, dim) if inputs else []
    named = scatter(kwargs, target_gpus, dim) if kwargs else []
    count = max(len(cut), len(named))
    return (
        tuple([*cut, *[() for _ in range(count - len(cut))]]),
        tuple([*named, *[{} for _ in range(count - len(named))]]),
    )


def gather(outputs: Sequence[Any], target_device: Any, dim: int = 0) -> Any:
    """The parts as one, on one device ("cpu" or a number; -1 is the CPU)."""
    first = outputs[0]
    device = "cpu" if target_device == -1 else target_device
    if isinstance(first, Tensor):
        parts = [part.reshape(1) if part.dim() == 0 else part for part in outputs]
        return cat([part.to(device) for part in parts], dim)
    if first is None:
        return None
    if isinstance(first, Mapping):
        if any(len(first) != len(part) for part in outputs):
            raise ValueError("All dicts must have the same number of keys")
        return type(first)((key, gather([part[key] for part in outputs], target_device, dim)) for key in first)  # type: ignore[call-arg]
    return _alike(first, [gather(parts, target_device, dim) for parts in zip(*outputs, strict=True)])


def replicate(network: Module, devices: Sequence[Any], detach: bool = False) -> list[Module]:
    """The module once per device. There is one device of a kind: every one gets the module itself."""
    return [network for _ in devices]


def parallel_apply(
    modules: Sequence[Callable], inputs: Sequence[Any], kwargs_tup: Sequence[dict[str, Any]] | None = None, devices: Any = None
) -> list[Any]:
    """Each module of its own arguments."""
    if len(modules) != len(inputs):
        raise AssertionError(f"The number of modules {len(modules)} is not equal to the number of inputs {len(inputs)}")
    named = kwargs_tup if kwargs_tup is not None else [{}] * len(modules)
    given = [entry if isinstance(entry, (list, tuple)) else (entry,) for entry in inputs]
    return [module(*args, **options) for module, args, options in zip(modules, given, named, strict=True)]
