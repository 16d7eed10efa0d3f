"""Linear algebra: matmul in all its ranks and spellings, einsum, outer products, traces and triangles."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from ..dialects.errors import DTypeError, ShapeError
from ..dialects.types import Shape, bool_, int8, int32, promote_types, show_type
from . import overrides
from .autocasting import autocasts
from .definitions import define
from .known_calls import KnownCalls, Public, publish
from .node import Node
from .old_forms import factors_in_front
from .origin import origin, source_line
from .precision import in_single
from .promote import broadcast_shape, expand, full
from .recorder import record
from .shaping import diagonal, permute, reshaped
from .tensor import Tensor, dimension, wrap


def _refuse(what: str, x: Node, y: Node, help: str | None = None) -> ShapeError:
    facts = [("a", show_type(x.type), x.origin), ("b", show_type(y.type), y.origin)]
    return ShapeError(what, facts, source_line(origin()), help)


def product(x: Node, y: Node) -> Node:
    """``x @ y`` for Nodes of any rank. ShapeError naming the dimensions that do not meet; DTypeError for
    mixed dtypes."""
    a, b = x.type[0], y.type[0]
    if not a or not b:
        raise _refuse(
            f"both arguments to matmul need to be at least 1D, but they are {len(a)}D and {len(b)}D", x, y
        )
    if x.type[1] is not y.type[1]:
        facts = [("a", show_type(x.type), x.origin), ("b", show_type(y.type), y.origin)]
        raise DTypeError(
            f"expected m1 and m2 to have the same dtype, but got: {x.type[1].name} != {y.type[1].name}",
            facts,
            source_line(origin()),
            f"convert one of them: b.to({x.type[1]})",
        )
    inner = b[-2] if len(b) > 1 else b[0]
    if a[-1] != inner:
        told = f"mat1 and mat2 shapes cannot be multiplied ({_matrix(a)} and {_matrix(b)})"
        turned = len(b) == 2 and b[1] == a[-1]
        raise _refuse(
            told, x, y, "b seems to be stored transposed; did you mean a @ b.T?" if turned else None
        )
    left = record("reshape", (x,), ((1, *a),)) if len(a) == 1 else x
    right = record("reshape", (y,), ((*b, 1),)) if len(b) == 1 else y
    result = _batched(left, right)
    shape = result.type[0]
    if len(a) == 1:
        shape = (*shape[:-2], shape[-1])
    if len(b) == 1:
        shape = shape[:-1]
    return result if shape == result.type[0] else record("reshape", (result,), (shape,))


def _matrix(shape: Shape) -> str:
    return f"{prod(shape[:-1])}x{shape[-1]}" if len(shape) > 1 else f"{shape[0]}"


def _batched(x: Node, y: Node) -> Node:
    a, b = x.type[0], y.type[0]
    if len(a) > 2 and len(b) <= len(a) and all([n == 1 for n in b[:-2]]):  # one matrix for every row of every batch
        flat = record("reshape", (x,), ((prod(a[:-1]), a[-1]),))
        y = record("reshape", (y,), (b[-2:],)) if len(b) > 2 else y
        return record("reshape", (record("matmul", (flat, y)),), ((*a[:-1], b[-1]),))
    batch = broadcast_shape(a[:-2], b[:-2])
    return record("matmul", (expand(x, (*batch, *a[-2:])), expand(y, (*batch, *b[-2:]))))


@define("matmul", "linalg_matmul", label="mm")
def matmul(input: Tensor, other: Tensor) -> Tensor:
    """The matrix product, batched over leading dimensions; vectors count as a row or a column."""
    return wrap(product(input._read(), other._read()))


def _ranked(name: str, ranks: tuple[int, int]) -> Any:
    def apply(input: Tensor, mat2: Tensor) -> Tensor:
        x, y = input._read(), mat2._read()
        if name == "vdot" and x.type[1].is_complex:
            x = record("conj", (x,))
        if (len(x.type[0]), len(y.type[0])) != ranks:
            raise _refuse(
                f"{name} needs tensors of {ranks[0]} and {ranks[1]} dimensions",
                x,
                y,
                "torch.matmul takes any rank",
            )
        return wrap(product(x, y))

    apply.__doc__ = f"``matmul`` of tensors with {ranks[0]} and {ranks[1]} dimensions."
    return apply


for _name, _ranks, _second in (
    ("mm", (2, 2), "mat2"), ("bmm", (3, 3), "mat2"), ("mv", (2, 1), "vec"), ("dot", (1, 1), "tensor"), ("vdot", (1, 1), "other"),
):  # fmt: skip
    define(_name, also={_second: "mat2"})(_ranked(_name, _ranks))


@define("_int_mm", method=False)
def _int_mm(input: Tensor, mat2: Tensor) -> Tensor:
    """The product of matrices of bytes, summed in int32."""
    for name, x in (("self", input), ("mat2", mat2)):
        if x.dim() != 2 or x.dtype is not int8:
            raise RuntimeError(f"expected {name} to be a matrix of int8, got {show_type(x._read().type)}")
    return matmul(input.to(int32), mat2.to(int32))


_NO_OPTIONS: dict[str, Any] = {}


def _last_step(rank: int, other: int) -> str:
    """What PyTorch makes of a product last: batches are one dimension while they are multiplied."""
    if rank <= 2 and other <= 2:
        return {(1, 1): "dot", (2, 1): "mv", (2, 2): "mm", (1, 2): "squeeze_several"}[rank, other]
    return "unsafe_view"


def _product(self: Tensor, other: Tensor) -> Tensor:
    result = matmul(self, other)
    if result._node.requires_grad:
        result._label = _last_step(self.dim(), other.dim())
    return result


_products = KnownCalls(_product)


@autocasts("__matmul__")
def _matmul_operator(self: Tensor, other: Any) -> Tensor:
    if not isinstance(other, Tensor):
        found = overrides.asked((other,))
        return overrides.answer(Tensor.matmul, found, (self, other), {}) if found else NotImplemented
    operands = self, other
    if type(self) is Tensor is type(other) and not (self._chain or other._chain or (x := self._read()).requires_grad or (y := other._read()).requires_grad):
        result = _products.of_two(x, y)
    else:
        result = _products.again(operands, _NO_OPTIONS)
    return _products.first(operands, _NO_OPTIONS) if result is None else result


Tensor.__matmul__ = publish(Public(_matmul_operator, _matmul_operator, _products))
Tensor.__rmatmul__ = lambda self, other: (
    _matmul_operator(other, self) if isinstance(other, Tensor) else NotImplemented
)


@define("inner")
def inner(input: Tensor, other: Tensor) -> Tensor:
    """Sums over the last dimension of both."""
    if not input.dim() or not other.dim():
        return input * other
    return tensordot(input, other, ([-1], [-1]))


@define("outer", "ger", in_place=False)
def outer(input: Tensor, vec2: Tensor) -> Tensor:
    """Every element of one vector times every element of another."""
    return input.unsqueeze(1) * vec2.unsqueeze(0)


def _combined(beta: Any, input: Tensor, alpha: Any, result: Tensor) -> Tensor:
    if input.dtype is bool_:
        result = result.logical_and(wrap(full(bool(alpha), tuple(result.shape), bool_)))
        return result.logical_or(input) if beta else result
    if not input.dtype.has_gradient:
        alpha, beta = int(alpha), int(beta)
    if alpha != 1:
        result = result * alpha
    if beta == 0:
        return result
    return (input if beta == 1 else input * beta) + result


@define("addmm", in_place=True)
@factors_in_front("beta", "alpha", tensors=3)
@in_single
def addmm(input: Tensor, mat1: Tensor, mat2: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    """``beta * input + alpha * (mat1 @ mat2)``."""
    return _combined(beta, input, alpha, matmul(mat1, mat2))


define("baddbmm", in_place=True, also={"batch1": "mat1", "batch2": "mat2"})(addmm)
define("addmv", in_place=True, also={"mat": "mat1", "vec": "mat2"})(addmm)


@define("addbmm", in_place=True)
@factors_in_front("beta", "alpha", tensors=3)
def addbmm(input: Tensor, batch1: Tensor, batch2: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    """``beta * input + alpha * sum over the batch of (batch1 @ batch2)``; half precision is rounded after each product."""
    if batch1.dtype.itemsize == 2 and batch1.dim() == 3 and len(batch1):
        for first, second in zip(batch1, batch2, strict=True):
            input, beta = addmm(input, first, second, beta=beta, alpha=alpha), 1
        return input
    return _combined(beta, input, alpha, matmul(batch1, batch2).sum(0, dtype=batch1.dtype))


@define("addr", in_place=True)
@factors_in_front("beta", "alpha", tensors=3)
def addr(input: Tensor, vec1: Tensor, vec2: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    """``beta * input + alpha * outer(vec1, vec2)``."""
    if not input.dtype.has_gradient:
        return _combined(beta, input, alpha, outer(vec1, vec2))
    vec1 = vec1 if alpha == 1 else vec1 * alpha
    return _combined(beta, input, 1, matmul(vec1.unsqueeze(1), vec2.unsqueeze(0)))


@define("chain_matmul", method=False)
def chain_matmul(*matrices: Tensor) -> Tensor:
    """The product of several matrices, from the left."""
    result = matrices[0]
    for m in matrices[1:]:
        result = matmul(result, m)
    return result


@define("tensordot", method=False)
def tensordot(a: Tensor, b: Tensor, dims: int | Sequence[Sequence[int]] = 2) -> Tensor:
    """Sums over pairs of dimensions."""
    if isinstance(dims, int):
        da, db = list(range(a.dim() - dims, a.dim())), list(range(dims))
    else:
        da, db = [[d] if isinstance(d, int) else list(d) for d in dims]
    da = [dimension(d, a.dim()) for d in da]
    db = [dimension(d, b.dim()) for d in db]
    for i, j in zip(da, db, strict=True):
        if a.shape[i] == 1 != b.shape[j]:
            b = b.sum(j, keepdim=True, dtype=b.dtype)
        elif b.shape[j] == 1 != a.shape[i]:
            a = a.sum(i, keepdim=True, dtype=a.dtype)
    free_a = [d for d in range(a.dim()) if d not in da]
    free_b = [d for d in range(b.dim()) if d not in db]
    n = prod(a.shape[d] for d in da)
    left = reshaped(permute(a, *free_a, *da) if a.dim() else a, (prod(a.shape[d] for d in free_a), n))
    right = reshaped(permute(b, *db, *free_b) if b.dim() else b, (n, prod(b.shape[d] for d in free_b)))
    shape = (*[a.shape[d] for d in free_a], *[b.shape[d] for d in free_b])
    return reshaped(matmul(left, right), shape)


@define("einsum", method=False)
def einsum(equation: str, *operands: Any) -> Tensor:
    """Einstein's summation: ``einsum("bik,bkj->bij", a, b)``, with ``...`` for broadcast dimensions."""
    tensors = (
        list(operands[0]) if len(operands) == 1 and isinstance(operands[0], (list, tuple)) else list(operands)
    )
    inputs, output, tensors = _letters(equation, tensors)
    letters, result = inputs[0], _diagonals(tensors[0], inputs[0])
    letters = _unique(letters)
    for k in range(1, len(tensors)):
        later = set("".join(inputs[k + 1 :])) | set(output)
        other, names = _diagonals(tensors[k], inputs[k]), _unique(inputs[k])
        result, letters = _contract(result, letters, other, names, later)
    gone = [i for i, c in enumerate(letters) if c not in output]
    if gone:
        result = result.sum(gone)
    letters = [c for c in letters if c in output]
    return permute(result, *[letters.index(c) for c in output]) if letters else result


def _letters(equation: str, tensors: list[Tensor]) -> tuple[list[str], str, list[Tensor]]:
    """One letter per dimension, ``...`` spelled out with capitals not in use."""
    left, arrow, right = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != len(tensors):
        many = "fewer" if len(tensors) < len(terms) else "more"
        raise RuntimeError(f"einsum(): {many} operands were provided than specified in the equation {equation}")
    spare = [chr(c) for c in range(ord("Α"), ord("Α") + 40)]
    extra = max(
        [t.dim() - (len(term) - 3) for term, t in zip(terms, tensors, strict=True) if "..." in term],
        default=0,
    )
    inputs = []
    for term, t in zip(terms, tensors, strict=True):
        if "..." in term:
            n = t.dim() - (len(term) - 3)
            term = term.replace("...", "".join(spare[extra - n : extra]))
        if len(term) != t.dim():
            raise RuntimeError(
                f"einsum(): the number of subscripts in '{term}' does not match the {t.dim()} dimensions of its operand"
            )
        inputs.append(term)
    if arrow:
        _check_result(right.replace("...", ""), "".join(inputs))
        return inputs, right.replace("...", "".join(spare[:extra])), tensors
    every = "".join(inputs)
    once = sorted(c for c in set(every) if every.count(c) == 1 and c not in spare)
    return inputs, "".join(spare[:extra]) + "".join(once), tensors


def _check_result(output: str, given: str) -> None:
    for c in output:
        if c not in given:
            raise RuntimeError(f"einsum(): output subscript {c} does not appear in the equation for any input operand")
        if output.count(c) > 1:
            raise RuntimeError(f"einsum(): output subscript {c} appears more than once in the output")


def _unique(term: str) -> list[str]:
    return list(dict.fromkeys(term))


def _diagonals(tensor: Tensor, term: str) -> Tensor:
    """A letter that occurs twice in one term takes the diagonal."""
    letters = list(term)
    while len(set(letters)) < len(letters):
        c = next(x for x in letters if letters.count(x) > 1)
        i = letters.index(c)
        j = letters.index(c, i + 1)
        tensor = diagonal(tensor, 0, i, j)
        letters = [x for k, x in enumerate(letters) if k not in (i, j)] + [c]
        order = [letters.index(x) for x in dict.fromkeys(term) if x in letters]
        if len(set(letters)) == len(letters):
            tensor, letters = permute(tensor, *order), [letters[k] for k in order]
    return tensor


def _contract(
    a: Tensor, la: list[str], b: Tensor, lb: list[str], later: set[str]
) -> tuple[Tensor, list[str]]:
    """One pairwise product: batch letters (kept, in both), summed letters (in both, not needed later), free
    letters."""
    for t_letters, other in ((la, lb), (lb, la)):
        alone = [i for i, c in enumerate(t_letters) if c not in other and c not in later]
        if alone:
            if t_letters is la:
                a, la = a.sum(alone), [c for i, c in enumerate(la) if i not in alone]
                t_letters = la
            else:
                b, lb = b.sum(alone), [c for i, c in enumerate(lb) if i not in alone]
    batch = [c for c in la if c in lb and c in later]
    summed = [c for c in la if c in lb and c not in later]
    free_a, free_b = [c for c in la if c not in lb], [c for c in lb if c not in la]
    size = {}
    for t, letters in ((a, la), (b, lb)):
        for c, n in zip(letters, t.shape, strict=True):
            if size.setdefault(c, n) != n and 1 not in (size[c], n):
                raise RuntimeError(
                    f"einsum(): operands do not broadcast with remapped shapes: {c} is {size[c]} and {n}"
                )
            size[c] = max(size[c], n)

    def arranged(t: Tensor, letters: list[str], groups: list[list[str]]) -> Tensor:
        order = [c for g in groups for c in g]
        t = permute(t, *[letters.index(c) for c in order]) if order else t
        t = t.expand(tuple([size[c] for c in order]))
        return reshaped(
            t,
            (
                *[size[c] for c in groups[0]],
                prod(size[c] for c in groups[1]),
                prod(size[c] for c in groups[2]),
            ),
        )

    if a.dtype is not b.dtype:  # sums of integers are int64
        common = promote_types(a.dtype, b.dtype)
        a, b = a.to(common), b.to(common)
    left = arranged(a, la, [batch, free_a, summed])
    right = arranged(b, lb, [batch, summed, free_b])
    letters = batch + free_a + free_b
    return reshaped(matmul(left, right), tuple([size[c] for c in letters])), letters


# -- triangles and diagonals
# ----------------------------------------------------------------------------------------


def _triangle(input: Tensor, diagonal: int, lower: bool) -> Tensor:
    x = input._read()
    shape, dtype = x.type
    if len(shape) < 2:
        raise RuntimeError("tril/triu: input tensor must have at least 2 dimensions")
    matrix = shape[-2:]
    below = on_or_below_diagonal(matrix, diagonal if lower else diagonal - 1)
    kept, zero = expand(below, shape), full(0, shape, dtype)
    return wrap(record("select", (kept, x, zero) if lower else (kept, zero, x)))


def on_or_below_diagonal(matrix: tuple[int, ...], diagonal: int) -> Node:
    """Which elements [rows, columns] are on or below a diagonal, computed from their positions alone."""
    row, column = record("iota", (), (matrix, 0, int32)), record("iota", (), (matrix, 1, int32))
    furthest = max(-(1 << 30), min(diagonal, 1 << 30))
    edge = record("add", (row, full(furthest, matrix, int32))) if furthest else row
    return record("less_equal", (column, edge))


@define("tril", in_place=True)
def tril(input: Tensor, diagonal: int = 0) -> Tensor:
    """The lower triangle; zero above."""
    return _triangle(input, diagonal, True)


@define("triu", in_place=True)
def triu(input: Tensor, diagonal: int = 0) -> Tensor:
    """The upper triangle; zero below."""
    return _triangle(input, diagonal, False)


@define("trace")
def trace(input: Tensor) -> Tensor:
    """The sum of the diagonal."""
    if input.dim() != 2:
        raise RuntimeError(f"trace: expected a matrix, but got tensor with dim {input.dim()}")
    return diagonal(input).sum()


@define("diag")
def diag(input: Tensor, diagonal: int = 0) -> Tensor:
    """The diagonal of a matrix (a copy), or a matrix with a vector on its diagonal."""
    if input.dim() == 2:
        return Tensor.diagonal(input, diagonal).clone()
    if input.dim() != 1:
        raise RuntimeError(f"diag(): Supports 1D or 2D tensors. Got {input.dim()}D")
    return diag_embed(input, diagonal)


@define("diagflat")
def diagflat(input: Tensor, offset: int = 0) -> Tensor:
    """``diag`` of all elements in a row."""
    return diag_embed(reshaped(input, (input.numel(),)), offset)


@define("diag_embed")
def diag_embed(input: Tensor, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor:
    """Matrices with the last dimension on their diagonal."""
    x = input._read()
    *z, k = x.type[0]
    rank = len(z) + 2
    a, b = dimension(dim1, rank), dimension(dim2, rank)
    if a == b:
        raise RuntimeError(f"diagonal dimensions cannot be identical {dim1}, {dim2}")
    n = k + abs(offset)
    first = offset if offset >= 0 else -offset * n
    zeros = full(0, (*z, n * n), x.type[1])
    placed = (
        zeros if not k else record("update", (zeros, x), ((*[0] * len(z), first), (*[1] * len(z), n + 1)))
    )
    result = wrap(record("reshape", (placed,), ((*z, n, n),)))
    return result if (a, b) == (rank - 2, rank - 1) else result.movedim((rank - 2, rank - 1), (a, b))


@define("kron")
def kron(input: Tensor, other: Tensor) -> Tensor:
    """The Kronecker product."""
    rank = max(input.dim(), other.dim())
    a = (1,) * (rank - input.dim()) + tuple(input.shape)
    b = (1,) * (rank - other.dim()) + tuple(other.shape)
    left = reshaped(input, tuple([k for n in a for k in (n, 1)]))
    right = reshaped(other, tuple([k for n in b for k in (1, n)]))
    return reshaped(left * right, tuple([n * m for n, m in zip(a, b, strict=True)]))


@define("cross", "linalg_cross")
def cross(input: Tensor, other: Tensor, dim: int | None = None) -> Tensor:
    """The cross product along a dimension of size 3."""
    shape = broadcast_shape(tuple(input.shape), tuple(other.shape))
    if dim is None and 3 not in shape:
        raise RuntimeError("no dimension of size 3 in input")
    at = shape.index(3) if dim is None else dimension(dim, len(shape))
    a, b = input.expand(shape), other.expand(shape)
    return a.roll(-1, at) * b.roll(1, at) - a.roll(1, at) * b.roll(-1, at)
