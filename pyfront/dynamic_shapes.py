"""Dynamic shapes: which sizes of a model's inputs are known only when it runs, as users say it, and examples that show it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..dialects.errors import LaminaError

_LEAST = 2  # sizes of 0 and 1 are structure: there is nothing, or it is broadcast

Labels = dict[tuple[int, int], str]
"""(number of the tensor, dimension) -> name of its size. Sizes of one name are the same."""


class Dim:
    """``torch.export.Dim("batch")``: a size known only when the program runs. min, max: kept for those who read them."""

    AUTO = "auto"
    DYNAMIC = "dynamic"
    STATIC = None

    def __init__(self, name: str, *, min: int | None = None, max: int | None = None) -> None:
        if not name.isidentifier():
            raise ValueError(f"Dim's name must be a Python identifier, got {name!r}")
        self.__name__, self.min, self.max = name, min, max

    def __repr__(self) -> str:
        return f"Dim('{self.__name__}')"


def dims(*names: str, min: int | None = None, max: int | None = None) -> tuple[Dim, ...]:
    """Several Dims at once."""
    return tuple(Dim(name, min=min, max=max) for name in names)


def labels_of_axes(axes: Mapping[str, Any], names: Sequence[str], others: Sequence[str] = ()) -> Labels:
    """``dynamic_axes`` of torch.onnx.export: tensor name -> {dimension: name}, or a list of dimensions. others: names that may be
    given and say nothing: those of results, whose sizes follow. LaminaError for a name that is neither."""
    found: Labels = {}
    for name, entry in axes.items():
        if name not in names:
            if name not in others:
                raise LaminaError(f"dynamic_axes names {name!r}, which is no input", help=f"inputs: {', '.join(names)}")
            continue
        entries = entry if isinstance(entry, Mapping) else {d: f"{name}_dynamic_axes_{i + 1}" for i, d in enumerate(entry)}
        _enter(found, names.index(name), name, entries)
    return found


def labels_of_shapes(shapes: Any, names: Sequence[str]) -> Labels:
    """``dynamic_shapes`` of torch.export: per input, by name or in order, {dimension: Dim or name} or a sequence of them; None is static."""
    if isinstance(shapes, Mapping):
        unknown = [name for name in shapes if name not in names]
        if unknown:
            raise LaminaError(f"dynamic_shapes names {unknown[0]!r}, which is no input", help=f"inputs: {', '.join(names)}")
        entries = [shapes.get(name) for name in names]
    else:
        entries = [*shapes, *[None] * (len(names) - len(shapes))]
    found: Labels = {}
    for i, (name, entry) in enumerate(zip(names, entries, strict=True)):
        if entry is not None:
            _enter(found, i, name, entry if isinstance(entry, Mapping) else dict(enumerate(entry)))
    return found


def _enter(found: Labels, i: int, name: str, entries: Mapping[int, Any]) -> None:
    for dim, size in entries.items():
        if size is None or isinstance(size, int):
            continue
        label = getattr(size, "__name__", size)
        found[i, int(dim)] = f"{name}_dim_{dim}" if label in (Dim.AUTO, Dim.DYNAMIC) else str(label)


def normalised(labels: Labels, arrays: Sequence[np.ndarray], names: Sequence[str]) -> Labels:
    """Dimensions counted from the front. LaminaError for one a tensor does not have."""
    found: Labels = {}
    for (i, dim), label in labels.items():
        rank = arrays[i].ndim
        if not -rank <= dim < rank:
            raise LaminaError(f"{names[i]} has {rank} dimensions, none of them is {dim} ({label})")
        found[i, dim % rank] = label
    return found


def examples(arrays: Sequence[np.ndarray], labels: Labels, shrink: bool = False) -> list[list[np.ndarray]]:
    """Three times the arrays, that differ in the sizes with names only, so that no size looks like a function of another one: with
    the examples' sizes where those are not 1, and twice with larger ones, or (shrink) smaller ones. LaminaError where there are none."""
    base: dict[str, int] = {}
    for (i, dim), label in labels.items():
        base[label] = max(base.get(label, _LEAST), arrays[i].shape[dim])
    second = _others(base, {}, shrink)
    third = _others(base, second, shrink)
    return [[_resized(a, i, labels, sizes) for i, a in enumerate(arrays)] for sizes in (base, second, third)]


def _others(base: Mapping[str, int], known: Mapping[str, int], shrink: bool) -> dict[str, int]:
    """For each name another size, none of the known ones."""
    found: dict[str, int] = {}
    for label, size in base.items():
        candidates = range(size - 1, _LEAST - 1, -1) if shrink else (size * k for k in range(2, 64))
        free = (n for n in candidates if n != known.get(label) and all(_independent(base[k], found[k], size, n) for k in found))
        n = next(free, None)
        if n is None:
            raise LaminaError(f"no example of another size of {label}", help=f"give an example whose {label} is larger than {size}")
        found[label] = n
    return found


def _independent(a: int, a2: int, b: int, b2: int) -> bool:
    """Whether neither size looks like a linear function of the other, as `families` reads numbers that differ, nor grows as the other
    does: halves and quarters of them would be taken for each other's."""
    if a * b2 == b * a2:
        return False
    for x, x2, y, y2 in ((a, a2, b, b2), (b, b2, a, a2)):
        factor, rest = divmod(y - y2, x - x2)
        if rest == 0 and (factor == -1 or factor > 0 and (y - factor * x) % factor == 0):
            return False
    return True


def _resized(array: np.ndarray, i: int, labels: Labels, sizes: Mapping[str, int]) -> np.ndarray:
    """The array, repeated or cut to its named sizes: values stay such that occur."""
    for dim in range(array.ndim):
        label = labels.get((i, dim))
        if label is not None:
            array = np.take(array, np.arange(sizes[label]) % max(array.shape[dim], 1), axis=dim)
    return array
