"""Shaping: ops that see the same memory under another shape: reshape, permute, slice, expand."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from operator import index
from typing import Any

from ..dialects.errors import ShapeError
from ..dialects.types import DType, Shape, show_type
from . import views
from .bits import seen_as
from .assignment import check_leaf
from .definitions import define
from .dtype_arguments import dtype_given
from .known_calls import KnownCalls
from .origin import origin, source_line
from .promote import broadcast_shape
from .recorder import record
from .tensor import Tensor, dimension, wrap
from .tensor import dimension as counted


def sizes(args: tuple) -> Shape:
    """The shape given as ``f(2, 3)``, ``f((2, 3))`` or ``f(size)``."""
    if len(args) == 1 and isinstance(args[0], (tuple, list)):
        args = args[0]
    try:
        return tuple([a if type(a) is int else index(a) for a in args])
    except TypeError:
        wrong = next(type(a).__name__ for a in args if not hasattr(a, "__index__"))
        raise TypeError(f"argument 'size' must be tuple of ints, but found element of type {wrong}") from None


def dimensions(dim: int | Sequence[int] | None, rank: int) -> tuple[int, ...]:
    """One, several or all dimensions, counted from the front, sorted. RuntimeError for one named twice."""
    if dim is None:
        return tuple(range(rank))
    listed = list(dim) if isinstance(dim, (list, tuple)) else [index(dim)]
    found = sorted([dimension(int(d), rank) for d in listed])
    if len(set(found)) != len(found):
        raise RuntimeError(
            f"dim {next(d for d in found if found.count(d) > 1)} appears multiple times in the list of dims"
        )
    return tuple(found) if rank else ()


def inferred(shape: Shape, to: Shape) -> Shape:
    """``to`` with its -1 worked out. RuntimeError when the number of elements differs."""
    total = prod(shape)
    if -1 in to:
        at = to.index(-1)
        known = prod(to[:at] + to[at + 1 :])
        if -1 in to[at + 1 :]:
            raise RuntimeError("only one dimension can be inferred")
        if known and total % known == 0:
            return (*to[:at], total // known, *to[at + 1 :])
        if not known and not total:
            raise RuntimeError(
                f"cannot reshape tensor of 0 elements into shape {list(to)} because the unspecified dimension size -1 "
                "can be any value and is ambiguous"
            )
    if prod(to) != total or any(n < 0 for n in to):
        raise ShapeError(f"shape '{list(to)}' is invalid for input of size {total}", at=source_line(origin()))
    return to


# -- views
# ----------------------------------------------------------------------------------------------------------


def _reshape_link(shape: Shape) -> views.Link:
    return "reshape", (shape,)


def _slice(input: Tensor, dim: int, start: int, size: int, step: int = 1) -> Tensor:
    shape = input._node.type[0]
    starts, counts, steps = [0] * len(shape), list(shape), [1] * len(shape)
    starts[dim], counts[dim], steps[dim] = start, size, step
    return input._through(("slice", (tuple(starts), tuple(counts), tuple(steps))))


@define("view", function=False, also={"size": "shape"})
def view(input: Tensor, *shape: Any, dtype: DType | None = None) -> Tensor:
    """The same memory under another shape, or as numbers of another dtype. RuntimeError when only a copy could do it."""
    if dtype is not None or len(shape) == 1 and isinstance(shape[0], (DType, type)):
        return seen_as(input, dtype_given(shape[0] if dtype is None else dtype))
    to = inferred(input._node.type[0], sizes(shape))
    if len(input._chain) > 0 and not _can_view(input, to):
        raise RuntimeError(
            "view size is not compatible with input tensor's size and stride (at least one dimension spans across two "
            "contiguous subspaces). Use .reshape(...) instead."
        )
    return input._through(_reshape_link(to))


def _can_view(input: Tensor, to: Shape) -> bool:
    if input._storage.host is None and not any([type(link) is tuple for link in input._chain]):
        return True  # all of the memory, whosever it is to autograd
    shape, strides, _ = views.layout(input._storage, input._chain)
    return views.reshaped_strides(shape, strides, to) is not None


@define("reshape", label="view")
def reshape(input: Tensor, *shape: Any) -> Tensor:
    """A view where memory allows it, else a copy."""
    to = inferred(input._node.type[0], sizes(shape))
    return reshaped(input, to)


def reshaped(input: Tensor, to: Shape) -> Tensor:
    """``reshape`` to a shape that is known to fit."""
    if not input._chain or _can_view(input, to):
        return input._through(_reshape_link(to))
    return wrap(record("reshape", (input._read(),), (to,)))


@define("view_as", function=False, label="view")
def view_as(input: Tensor, other: Tensor) -> Tensor:
    """``view(other.shape)``."""
    return view(input, other.shape)


@define("reshape_as", function=False, label="view")
def reshape_as(input: Tensor, other: Tensor) -> Tensor:
    """``reshape(other.shape)``."""
    return reshape(input, other.shape)


@define("flatten", label="view")
def flatten(input: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """Dimensions start_dim … end_dim as one."""
    shape = input._node.type[0]
    first, last = dimension(start_dim, len(shape)), dimension(end_dim, len(shape))
    if first > last:
        raise RuntimeError("flatten() has invalid args: start_dim cannot come after end_dim")
    if not shape:
        return reshaped(input, (1,))
    return (
        input
        if first == last
        else reshaped(input, (*shape[:first], prod(shape[first : last + 1]), *shape[last + 1 :]))
    )


@define("ravel", label="view")
def ravel(input: Tensor) -> Tensor:
    """One dimension."""
    flat = (input.numel(),)
    return reshaped(input, flat) if input.is_contiguous() else wrap(record("reshape", (input._read(),), (flat,)))


@define("unflatten", label="view")
def unflatten(input: Tensor, dim: int, sizes: Sequence[int]) -> Tensor:
    """One dimension as several."""
    shape = input._node.type[0]
    at = dimension(dim, len(shape))
    if not shape:
        raise RuntimeError("unflatten: a 0-d tensor has no dimension to unflatten")
    return reshaped(input, (*shape[:at], *inferred((shape[at],), tuple(sizes)), *shape[at + 1 :]))


@define("permute")
def permute(input: Tensor, *dims: Any) -> Tensor:
    """Dimensions in another order."""
    rank, wanted = input.dim(), sizes(dims)
    if len(wanted) != rank:
        raise RuntimeError(
            f"permute(sparse_coo): number of dimensions in the tensor input does not match the length of the "
            f"desired ordering of dimensions i.e. input.dim() = {rank} is not equal to len(dims) = {len(wanted)}"
        )
    order = tuple([dimension(d, rank) for d in wanted])
    if len(set(order)) < len(order):
        raise RuntimeError("permute(): duplicate dims are not allowed.")
    return input._through(("permute", (order,)))


def _exchanged(input: Tensor, a: int, b: int) -> Tensor:
    rank = input.dim()
    order = list(range(rank))
    a, b = dimension(a, rank), dimension(b, rank)
    if rank:
        order[a], order[b] = order[b], order[a]
    return input._through(("permute", (tuple(order),)))


@define("transpose", "swapaxes", "swapdims", in_place=False, also={"axis0": "dim0", "axis1": "dim1"})
def transpose(input: Tensor, dim0: int, dim1: int) -> Tensor:
    """Two dimensions exchanged."""
    return _exchanged(input, dim0, dim1)


@define("t")
def t(input: Tensor) -> Tensor:
    """A matrix transposed; vectors stay."""
    if input.dim() > 2:
        raise RuntimeError(f"t() expects a tensor with <= 2 dimensions, but self is {input.dim()}D")
    return _exchanged(input, 0, 1) if input.dim() == 2 else input._through()


@define("adjoint", label="transpose")
def adjoint(input: Tensor) -> Tensor:
    """The last two dimensions exchanged, and complex numbers conjugated."""
    return _conjugated(_exchanged(input, -2, -1))


def _conjugated(input: Tensor) -> Tensor:
    return wrap(record("conj", (input._read(),))) if input.dtype.is_complex else input


@define("movedim", "moveaxis", label="permute")
def movedim(input: Tensor, source: int | Sequence[int], destination: int | Sequence[int]) -> Tensor:
    """Some dimensions moved to new places, the others in order."""
    rank = input.dim()
    from_ = [dimension(d, rank) for d in ([source] if isinstance(source, int) else source)]
    to = [dimension(d, rank) for d in ([destination] if isinstance(destination, int) else destination)]
    if len(from_) != len(to):
        raise RuntimeError(
            f"movedim: Invalid source or destination dims: source ({source} dims) should contain the same number of dims as "
            f"destination ({destination} dims)"
        )
    for name, given in (("source", from_), ("destination", to)):
        if len(set(given)) != len(given):
            raise RuntimeError(f"movedim: repeated dim in `{name}` ({source if name == 'source' else destination})")
    placed = dict(zip(to, from_, strict=True))
    rest = iter([d for d in range(rank) if d not in from_])
    return input._through(
        ("permute", (tuple([placed[i] if i in placed else next(rest) for i in range(rank)]),))
    )


@define("unsqueeze")
def unsqueeze(input: Tensor, dim: int) -> Tensor:
    """A new dimension of size 1."""
    shape = input._node.type[0]
    at = dimension(dim, len(shape) + 1)
    return input._through(_reshape_link((*shape[:at], 1, *shape[at:])))


@define("squeeze")
def squeeze(input: Tensor, dim: int | Sequence[int] | None = None) -> Tensor:
    """Without dimensions of size 1 (all, or those named)."""
    shape = input._node.type[0]
    gone = dimensions(dim, len(shape))
    return input._through(_reshape_link(tuple([n for i, n in enumerate(shape) if n != 1 or i not in gone])))


def in_place_view(name: str) -> Any:
    """``t_()``, ``squeeze_()``: the tensor itself becomes the view."""

    def method(self: Tensor, *args: Any, **options: Any) -> Tensor:
        check_leaf(self)
        result = getattr(self, name)(*args, **options)
        self._storage.touch()
        self._owns = self._owns or not self._chain
        self._chain, self._seen = result._chain, -1
        self._node = result._node
        return self

    return method


for _name in ("t", "squeeze", "unsqueeze", "transpose", "swapaxes", "swapdims"):
    setattr(Tensor, _name + "_", in_place_view(_name))


@define("expand", function=False)
def expand(input: Tensor, *size: Any) -> Tensor:
    """Dimensions of size 1 repeated without copying; -1 keeps a size."""
    shape, to = input._node.type[0], list(sizes(size))
    if len(to) < len(shape):
        raise RuntimeError(
            f"expand({show_type(input._node.type)}, size={to}): the number of sizes provided ({len(to)}) must be greater or "
            f"equal to the number of dimensions in the tensor ({len(shape)})"
        )
    padded = (1,) * (len(to) - len(shape)) + shape
    for i, (n, m) in enumerate(zip(padded, to, strict=True)):
        if m == -1 and i < len(to) - len(shape):
            raise RuntimeError(f"The expanded size of the tensor (-1) isn't allowed in a leading, non-existing dimension {i}")
        if m == -1:
            to[i] = n
        elif n not in (1, m):
            raise ShapeError(
                f"The expanded size of the tensor ({m}) must match the existing size ({n}) at non-singleton dimension {i}.  "
                f"Target sizes: {to}.  Tensor sizes: {list(shape)}",
                at=source_line(origin()),
            )
    result = input if padded == shape else input._through(_reshape_link(padded))
    return result._through(("expand", (tuple(to),))) if tuple(to) != padded else result._through()


@define("broadcast_to", label="expand")
def broadcast_to(input: Tensor, *shape: Any, size: Sequence[int] | None = None) -> Tensor:
    """``expand``."""
    return expand(input, *shape) if size is None else expand(input, tuple(size))


@define("expand_as", function=False, label="expand")
def expand_as(input: Tensor, other: Tensor) -> Tensor:
    """``expand(other.shape)``."""
    return expand(input, other.shape)


@define("sum_to_size", function=False, label="sum")
def sum_to_size(input: Tensor, *size: Any) -> Tensor:
    """Summed over the dimensions that broadcasting ``size`` would have grown."""
    to, shape = sizes(size), input._node.type[0]
    padded = (1,) * (len(shape) - len(to)) + to
    if len(to) > len(shape) or any(m not in (1, n) for n, m in zip(shape, padded, strict=True)):
        raise RuntimeError(f"size {{{list(to)}}} is not expandable to size {{{list(shape)}}}.")
    grown = tuple([i for i, (n, m) in enumerate(zip(shape, padded, strict=True)) if n != m])
    if not to:
        return input.sum()
    result = input.sum(grown, keepdim=True) if grown else input
    return reshaped(result, to) if to != tuple(result.shape) else result


@define("broadcast_tensors", method=False)
def broadcast_tensors(*tensors: Tensor) -> tuple[Tensor, ...]:
    """All expanded to their common shape."""
    listed = tensors[0] if len(tensors) == 1 and isinstance(tensors[0], (list, tuple)) else tensors
    shape = broadcast_shape(*[t._node.type[0] for t in listed])
    return tuple([expand(t, shape) for t in listed])


@define("narrow", label="slice")
def narrow(input: Tensor, dim: int, start: int, length: int) -> Tensor:
    """``length`` entries from ``start`` along one dimension."""
    if isinstance(start, Tensor) and (start.dim() or start.dtype.kind not in "iu"):
        raise RuntimeError("start must be an 0-dim integral Tensor.")
    if not input.dim():
        raise RuntimeError("narrow() cannot be applied to a 0-dim tensor.")
    at = dimension(dim, input.dim())
    n = input.shape[at]
    start = int(start) + n if start < 0 else int(start)
    if start < 0 or start > n:
        raise IndexError(f"Dimension out of range (expected to be in range of [{-n}, {n}], but got {start})")
    if start < 0 or length < 0 or start + length > n:
        raise RuntimeError(f"start ({start}) + length ({length}) exceeds dimension size ({n}).")
    return _slice(input, at, start, length)


@define("select")
def select(input: Tensor, dim: int, index: int) -> Tensor:
    """One entry along a dimension, which disappears."""
    shape = input._node.type[0]
    if not shape:
        raise IndexError("select() cannot be applied to a 0-dim tensor.")
    at = dimension(dim, len(shape))
    i = int(index)
    if not -shape[at] <= i < shape[at]:
        raise IndexError(
            f"select(): index {i} out of range for tensor of size {list(shape)} at dimension {at}"
        )
    return _slice(input, at, i % shape[at], 1)._through(_reshape_link((*shape[:at], *shape[at + 1 :])))


def _dimension_to_cut(input: Tensor, dim: int, name: str) -> int:
    if not input.dim():
        raise RuntimeError(f"{name} expects at least a 1-dimensional tensor")
    return dimension(dim, input.dim())


@define("unbind")
def unbind(input: Tensor, dim: int = 0) -> tuple[Tensor, ...]:
    """All entries along a dimension."""
    if not input.dim():
        raise IndexError(f"Dimension specified as {dim} but tensor has no dimensions")
    return _one_of_several([select(input, dim, i) for i in range(input.shape[dimension(dim, input.dim())])])


def _one_of_several(made: list[Tensor]) -> tuple[Tensor, ...]:
    for tensor in made:
        if tensor._node.requires_grad:
            tensor._several = True
    return tuple(made)


@define("split", also={"split_size": "split_size_or_sections", "tensor": "input"})
def split(input: Tensor, split_size_or_sections: int | Sequence[int], dim: int = 0) -> tuple[Tensor, ...]:
    """Pieces of a size, or of the listed sizes."""
    at = _dimension_to_cut(input, dim, "split")
    n = input.shape[at]
    if isinstance(split_size_or_sections, int):
        step = split_size_or_sections
        if step <= 0 and n:
            raise RuntimeError(f"split expects split_size be non-negative, but got split_size={step}")
        pieces = [min(step, n - i) for i in range(0, n, step)] if n else [0]
    else:
        pieces = list(split_size_or_sections)
        if sum(pieces) != n:
            raise RuntimeError(
                f"split_with_sizes expects split_sizes to sum exactly to {n} (input tensor's size at dimension {at}), "
                f"but got split_sizes={pieces}"
            )
    starts = [sum(pieces[:i]) for i in range(len(pieces))]
    return _one_of_several([_slice(input, at, start, size) for start, size in zip(starts, pieces, strict=True)])


define("split_with_sizes", also={"split_sizes": "split_size_or_sections"})(split)


@define("chunk")
def chunk(input: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """At most ``chunks`` pieces of equal size (the last may be smaller)."""
    if chunks < 1:
        raise RuntimeError(f"chunk expects `chunks` to be greater than 0, got: {chunks}")
    n = input.shape[_dimension_to_cut(input, dim, "chunk")]
    return split(input, max(-(-n // chunks), 1), dim)


@define("tensor_split", also={name: "indices_or_sections" for name in ("indices", "sections", "tensor_indices_or_sections")})
def tensor_split(input: Tensor, indices_or_sections: Any, dim: int = 0) -> tuple[Tensor, ...]:
    """Pieces at the given positions, or a number of nearly equal pieces."""
    n = input.shape[_dimension_to_cut(input, dim, "tensor_split")]
    if isinstance(indices_or_sections, Tensor):
        indices_or_sections = indices_or_sections.tolist()
    if isinstance(indices_or_sections, int):
        k = indices_or_sections
        return split(input, [n // k + (i < n % k) for i in range(k)], dim)
    cuts = [0, *[min(max(i + n if i < 0 else i, 0), n) for i in indices_or_sections], n]
    return tuple([narrow(input, dim, a, max(b - a, 0)) for a, b in zip(cuts[:-1], cuts[1:], strict=True)])


def _split_along(name: str, least: int, at: int) -> Any:
    def apply(input: Tensor, *indices_or_sections: Any, **named: Any) -> tuple[Tensor, ...]:
        given = named.get("indices", named.get("indices_or_sections", named.get("sections")))
        given = indices_or_sections[0] if indices_or_sections else given
        if not isinstance(given, (int, list, tuple)):
            raise TypeError(f"{name}() received an invalid combination of arguments - got (Tensor, {type(given).__name__})")
        rank = input.dim()
        if rank < least:
            raise RuntimeError(
                f"torch.{name} requires a tensor with at least {least} dimension, but got a tensor with {rank} dimensions!"
            )
        dim = 0 if rank == 1 else at
        n = input.shape[dim]
        if isinstance(given, int) and (given == 0 or n % given):
            raise RuntimeError(
                f"torch.{name} attempted to split along dimension {dim}, but the size of the dimension {n} is not "
                f"divisible by the split_size {given}!"
            )
        return tensor_split(input, given, dim)

    apply.__doc__ = f"``tensor_split`` along dimension {at}, into equal parts or at places."
    return apply


define("hsplit")(_split_along("hsplit", 1, 1))
define("vsplit")(_split_along("vsplit", 2, 0))
define("dsplit")(_split_along("dsplit", 3, 2))


@define("diagonal")
def diagonal(input: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """The diagonal of two dimensions, as the last dimension: a view."""
    rank = input.dim()
    a, b = dimension(dim1, rank), dimension(dim2, rank)
    if a == b:
        raise RuntimeError(f"diagonal dimensions cannot be identical {dim1}, {dim2}")
    rest = [d for d in range(rank) if d not in (a, b)]
    order = (*rest, a, b)
    moved = input if order == tuple(range(rank)) else input._through(("permute", (order,)))
    return moved._through(("diagonal", (offset,)))


@define("unfold", function=False)
def unfold(input: Tensor, dimension: int, size: int, step: int) -> Tensor:
    """All windows of ``size``, ``step`` apart, along one dimension; the window is the new last dimension."""
    if not input.dim():
        return unfold(input.unsqueeze(0), 0, size, step).squeeze(0) if size else input.new_empty(0)
    rank = input.dim()
    at = counted(dimension, rank)
    n = input.shape[at]
    if size > n:
        raise RuntimeError(f"maximum size for tensor at dimension {at} is {n} but size is {size}")
    order = [d for d in range(rank) if d != at] + [at]
    windows = input._through(("permute", (tuple(order),)), ("window", ((size,), (step,), (1,))))
    back = [*range(at), rank - 1, *range(at, rank - 1), rank]
    return windows._through(("permute", (tuple(back),)))


_turned = KnownCalls(lambda input: permute(input, tuple(range(input.dim() - 1, -1, -1))))
Tensor.T = property(lambda self: _turned.made(self))


def _matrices(name: str, ranks: range | tuple[int, ...], what: str) -> property:
    """The last two dimensions exchanged. RuntimeError for what is no matrix."""

    def transposed(self: Tensor) -> Tensor:
        rank = self.dim()
        if rank and rank not in ranks:
            raise RuntimeError(f"tensor.{name} is only supported on {what}. Got {rank}-D tensor.")
        exchanged = _exchanged(self, -2, -1) if rank else self
        return exchanged if name == "mT" else _conjugated(exchanged)

    return property(transposed)


Tensor.mT = _matrices("mT", range(2, 65), "matrices or batches of matrices")
Tensor.H = _matrices("H", (2,), "matrices (2-D tensors)")
Tensor.mH = _matrices("mH", range(2, 65), "matrices or batches of matrices")
