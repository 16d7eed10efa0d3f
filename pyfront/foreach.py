"""torch._foreach_…: one operation on every tensor of a list, as optimizers and averages of weights have it; and torch.utils._foreach_utils."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from .linalg import vector_norm
from .size import device
from .tensor import Tensor

__all__: list[str] = []  # PyTorch's names begin with an underscore

_OF_ONE = (
    "abs acos asin atan ceil cos cosh erf erfc exp expm1 floor frac lgamma log log10 log1p log2 neg reciprocal round rsqrt sigmoid sign sin sinh "
    "sqrt tan tanh trunc"
)
_BESIDES: dict[str, tuple[str, ...]] = {
    **{name: () for name in _OF_ONE.split()},
    **{name: ("other",) for name in ("add", "sub", "mul", "div", "clamp_max", "clamp_min", "maximum", "minimum")},
    "pow": ("exponent",), "lerp": ("tensors1", "weight"),
    **{name: ("tensor1", "tensor2", "value") for name in ("addcmul", "addcdiv")},
}  # fmt: skip
"""What each operation takes besides its list; each of these a list of tensors, a list of numbers, a number or a tensor for all."""

_ONLY_NEW: dict[str, tuple[str, ...]] = {"clone": (), "max": (), "mm": ("mat2",), "norm": ("ord",), "powsum": ("ord",)}
_ONLY_IN_PLACE: dict[str, tuple[str, ...]] = {"zero": (), "copy": ("src",)}
_OTHER_NAMES = {"scalar": "other", "weights": "weight", "scalars": None}  # None: the last one, whatever its name


def _powsum(tensor: Tensor, ord: float = 2, dtype: Any = None) -> Tensor:
    """The sum of powers of absolute values."""
    return (tensor if dtype is None else tensor.to(dtype)).abs().pow(ord).sum()


def _norm(tensor: Tensor, ord: float = 2, dtype: Any = None) -> Tensor:
    return vector_norm(tensor, ord, dtype=dtype)


def _pow(base: Any, exponent: Any) -> Tensor:
    return base**exponent


_OWN: dict[str, Callable] = {"norm": _norm, "powsum": _powsum, "pow": _pow}


def _for_one(name: str) -> Callable[..., Any]:
    """The operation for one tensor: the method of the name, which clamps where an extreme is taken with a number."""
    clamps = {"maximum": "clamp_min", "minimum": "clamp_max", "maximum_": "clamp_min_", "minimum_": "clamp_max_"}

    def apply(tensor: Tensor, *args: Any, **options: Any) -> Any:
        named = name
        if name in clamps and (name.endswith("_") or not isinstance(args[0], Tensor)):
            named = clamps[name]
        if name.rstrip("_") in ("addcmul", "addcdiv") and len(args) == 3:
            args, options = args[:2], {"value": args[2]}
        return getattr(tensor, named)(*args, **options)

    return _OWN.get(name, apply)


def _is_list(value: Any) -> bool:
    return isinstance(value, (list, tuple))


def _checked(name: str, tensors: Any) -> Sequence[Tensor]:
    """The list an operation is on. TypeError for anything else, RuntimeError for an empty one."""
    if not _is_list(tensors):
        raise TypeError(f"{name}(): argument 'self' (position 1) must be tuple of Tensors, not {type(tensors).__name__}")
    if not tensors:
        raise RuntimeError("Tensor list must have at least one tensor.")
    if not all(isinstance(t, Tensor) for t in tensors):
        wrong = next(i for i, t in enumerate(tensors) if not isinstance(t, Tensor))
        raise TypeError(f"expected Tensor as element {wrong} in argument 0, but got {type(tensors[wrong]).__name__}")
    return tensors


def _one_by_one(name: str, given: Any, count: int, has_scalars: bool) -> Iterator[Any]:
    """What each of ``count`` tensors is given: its part of a list (of the numbers in a vector, too), or what all are given."""
    if isinstance(given, Tensor) and has_scalars and given.dim() == 1:
        given = given.tolist()
    elif isinstance(given, Tensor) and given.dim():
        raise RuntimeError(f"scalar tensor expected to be 0 dim but it has {given.dim()} dimensions and {given.numel()} elements.")
    if not _is_list(given):
        if not isinstance(given, (int, float, complex, Tensor)):
            raise TypeError(
                f"{name}() received an invalid combination of arguments: beside its list it takes a number, a tensor of one element, or a list of "
                f"numbers or tensors, but got {type(given).__name__}"
            )
        return iter([given] * count)
    if len(given) != count:
        if given and isinstance(given[0], Tensor):
            raise RuntimeError(f"Tensor lists must have the same number of tensors, got {count} and {len(given)}")
        raise RuntimeError("Tensor list must have same number of elements as scalar list.")
    return iter(given)


def _function(name: str, besides: tuple[str, ...], in_place: bool) -> Callable[..., Any]:
    """``_foreach_name``: a tuple of new tensors; ``_foreach_name_``: the list that was written to."""
    public = f"_foreach_{name}{'_' * in_place}"
    for_one = _for_one(name + "_" * in_place)

    def foreach(self: Any, *args: Any, **options: Any) -> Any:
        if len(args) > len(besides):
            raise TypeError(f"{public}() takes {len(besides) + 1} positional argument{'s' * bool(besides)} but {len(args) + 1} were given")
        if name == "pow" and not in_place and not _is_list(self):  # a number to the power of each
            return tuple([self**exponent for exponent in _checked(public, *args)])
        tensors = _checked(public, self)
        named = {(_OTHER_NAMES.get(k, k) or besides[-1]): value for k, value in options.items()}
        operands = [*args, *[named.pop(each) for each in besides[len(args) :] if each in named]]
        if besides and not operands and for_one not in (_norm, _powsum):
            raise TypeError(f"{public}() received an invalid combination of arguments - got ({type(self).__name__})")
        named.pop("non_blocking", None)
        last = len(besides) - 1 if besides[-1:] == ("value",) else -1
        parts = [_one_by_one(public, given, len(tensors), i == last) for i, given in enumerate(operands)]
        made = [for_one(*each, **named) for each in zip(tensors, *parts, strict=True)]
        return self if in_place else tuple(made)

    foreach.__name__ = foreach.__qualname__ = public
    foreach.__doc__ = f"``{name}`` of every tensor of a list" + (", in place." if in_place else ", as a tuple.")
    return foreach


PUBLIC: dict[str, Callable] = {
    made.__name__: made
    for made in (
        *[_function(name, besides, False) for name, besides in (_BESIDES | _ONLY_NEW).items()],
        *[_function(name, besides, True) for name, besides in (_BESIDES | _ONLY_IN_PLACE).items()],
    )
}


_foreach_supported_types = [Tensor]


def _get_foreach_kernels_supported_devices() -> list[str]:
    """Kinds of devices besides the CPU on which PyTorch's own optimizers take all parameters at once."""
    return ["cuda", "xpu", "mtia"]


def _get_fused_kernels_supported_devices() -> list[str]:
    """Kinds of devices on which an optimizer may be asked for one kernel of everything."""
    return ["mps", "cuda", "xpu", "hpu", "cpu", "mtia"]


def _device_has_foreach_support(device: device) -> bool:
    """Whether lists of tensors may be on a device."""
    return device.type in (*_get_foreach_kernels_supported_devices(), "cpu")


def _has_foreach_support(tensors: Sequence[Tensor | None], device: device) -> bool:
    """Whether these may be a list of tensors: no subclasses."""
    return _device_has_foreach_support(device) and all(t is None or type(t) in _foreach_supported_types for t in tensors)


def _group_tensors_by_device_and_dtype(lists: Sequence[Sequence[Tensor | None]], with_indices: bool = False) -> dict[tuple[Any, Any], tuple[list, list[int]]]:
    """Lists of equal length cut by what the first one's tensors are: ``{(device, dtype): (lists, places)}``."""
    groups: dict[tuple[Any, Any], tuple[list, list[int]]] = {}
    for place, first in enumerate(lists[0]):
        parts, places = groups.setdefault((first.device, first.dtype), ([[] for _ in lists], []))
        for part, each in zip(parts, lists, strict=True):
            if each:
                part.append(each[place])
        if with_indices:
            places.append(place)
    return groups
