"""Memory programs: views, writes through them, numpy on the same memory, autograd through all of it."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from fuzz.program import RAISED, Chooser, NothingFits
from lamina.pyfront import links

VIEWS = """
{new} = {x}.transpose({dim}, {dim})
{new} = {x}[{index}]
{new} = {x}.view({factors})
{new} = {x}.reshape({factors})
{new} = {x}.permute({perm})
{new} = {x}.narrow({dim}, {start}, {rest})
{new} = {x}.select({dim}, {place})
{new} = {x}.t()
{new} = {x}.mT
{new} = {x}.squeeze()
{new} = {x}.squeeze({dim})
{new} = {x}.unsqueeze({newdim})
{new} = {x}.expand({grown})
{new} = {x}.diagonal({offset}, {dim}, {dim})
{new} = {x}.unfold({dim}, {window}, {stride})
{new} = {x}.flatten({dim})
{new} = {x}.movedim({dim}, {dim})
{new} = {x}.detach()
{new} = {x}.data
{new} = {x}.contiguous()
{new} = {x}.clone()
{new} = {u}.chunk({stride}, {dim})[0]
{new} = {u}.split({stride}, {dim})[-1]
{new} = {u}.unbind({dim})[{end}]
{new} = {x}.view_as({x})
{new} = {x}.ravel()
{new} = {whole}.as_strided({strided})
{new} = {x}.to(torch.{dtype})
{new} = {x}.float()
{new} = {x}.view(-1)
{new} = torch.atleast_2d({x})
{new} = {x}.unflatten({dim}, (1, -1))
with torch.no_grad(): {new} = {x} * 2
"""

WRITES = """
{w} += {like}
{w}[{index}] = {num}
{w}[{index}] += {num}
{solid}[{index}] = {akin}
{w}.mul_({kin})
{w}.add_({like})
{w}.sub_({like}, alpha=2)
{w}.copy_({like})
{w}.fill_({num})
{w}.zero_()
{w}.neg_()
{w}.clamp_(-2, 3)
{w}.relu_()
{w}.abs_()
{solid}[{x} > {num}] = {num}
{solid}[{x} > {num}] *= 2
{w}.masked_fill_({mask}, {num})
{w}.index_fill_({dim}, torch.tensor([{places}]), {num})
{rows}.index_add_({dim}, torch.tensor([{place}, {place}]), {same}.index_select({samedim}, torch.tensor([{place}, {place}])))
{rows}.index_copy_({dim}, torch.tensor([{place}]), {same}.index_select({samedim}, torch.tensor([{place}])))
{w}.scatter_({dim}, torch.zeros({shape}, dtype=torch.int64), {num})
{w}.fill_diagonal_({num})
{w}.transpose_({dim}, {dim})
{w}.t_()
{w}.squeeze_()
{w}.unsqueeze_({newdim})
{new} = ({x} * 2).detach_()
{new} = {x}.detach().clone().requires_grad_()
{w}.data.add_({num})
{w}.data[{index}] = {num}
{leaf}.data = {same}.clone()
{new} = torch.empty(0).set_({x}.detach())
{u}.resize_({fitting})
{w}.index_put_((torch.tensor([{place}, {place}]),), {number}, accumulate={flag})
{w}.swapaxes(0, -1).add_({num})
{new} = torch.add({x}, {like}, out=torch.empty(0, dtype=torch.float64))
with torch.no_grad(): {base} += {like}
with torch.no_grad(): {base}[{index}] = {num}
with torch.no_grad(): {base}.copy_({like})
{base}.detach().mul_({num})
{w}.addcmul_({twin}, {twin})
{w}.lerp_({twin}, 0.5)
{float}.cumsum_({dim})
{w}.where({mask}, {number}).add_(1)
"""


NUMPY = """
{newarray} = {x}.numpy()
{newarray} = {x}.detach().numpy()
{new} = torch.from_numpy({a})
{new} = torch.from_numpy({a}[::2])
{a}[...] = {num}
{a} += {num}
{a}.flat[0] = {num}
{new} = torch.as_tensor({a})
{new} = torch.tensor({a}.copy())
{newarray} = np.asarray({x}.detach())
{newarray} = {a}.T
{newarray} = {a} * 2
{newscalar} = float({a}.sum())
"""

VALUES = """
{new} = {x} * {kin}
{new} = {x} + {like}
{new} = {x} ** 2
{new} = {x}.tanh()
{new} = {x}.sum({dim})
{new} = {x}.sum()
{new} = torch.cat([{x}, {same}], {dim})
{new} = torch.stack([{x}, {same}])
{new} = {x}.relu()
{new} = torch.where({mask}, {same}, {number})
{new} = {solid}[torch.tensor([{place}, {place}])]
{new} = {x}[{mask}]
{new} = {x}.masked_fill({mask}, {num})
{new} = {x}.index_select({dim}, torch.tensor([{places}]))
{new} = {x}.flip({dim})
{new} = {x}.repeat({times})
{new} = torch.zeros_like({x})
{newscalar} = {x}.sum().item()
{newscalar} = {x}.tolist()
if {x}.sum() > {num}: {w} += 1
for _ in range(2): {x} = {same} * 2
if {x}.dim() > 1: {x} = {same}[0]
{x} = {same} + 1
del {x}
{new} = {leaf}.grad
{leaf}.grad = None
if {leaf}.grad is not None: {leaf}.grad.zero_()
({x} * {twin}).sum().backward()
{x}.sum().backward(retain_graph=True)
{newgrad} = torch.autograd.grad(({x} * {twin}).sum(), {leaf}, allow_unused=True)
"""

TABLE = [line for group in (VIEWS, WRITES, NUMPY, VALUES) for line in group.strip().splitlines()]

PRELUDES = [
    ["v0 = torch.arange(12.).reshape(3, 4)", "v1 = torch.arange(6.).reshape(2, 3).requires_grad_()", "v2 = v1 * 2"],
    ["v0 = torch.arange(8).reshape(2, 2, 2)", "v1 = torch.tensor([1., -2., 3.])", "n2 = np.arange(6, dtype=np.float32)"],
    ["v0 = torch.ones(2, 1, 3, requires_grad=True)", "v1 = v0.exp()", "v2 = torch.tensor(2.)"],
    ["n0 = np.arange(6.).reshape(2, 3)", "v1 = torch.from_numpy(n0)", "v2 = torch.zeros(0, 2)"],
    ["v0 = torch.tensor([[True, False], [False, True]])", "v1 = torch.arange(4.).requires_grad_()", "v2 = v1.view(2, 2) + 0"],
]  # fmt: skip


def closing(names: dict[str, Any]) -> list[str]:
    """Gradients of everything tracked, one by one (one may be forbidden by a write, the next not)."""
    leaves, tracked = [], []
    for name, x in names.items():
        with contextlib.suppress(RuntimeError):  # one of several views, invalid by now
            if isinstance(x, torch.Tensor) and x.requires_grad:
                (leaves if x.is_leaf else tracked).append(name)
    if not leaves:
        return []
    wrt = ", ".join(leaves)
    lines = [
        f"g{k} = torch.autograd.grad(({v} * {v}).sum(), [{wrt}], retain_graph=True, allow_unused=True)"
        for k, v in enumerate(tracked[-3:])
    ]
    return [*lines, f"({leaves[0]} * 3).sum().backward()", f"g = {leaves[0]}.grad"]


# -- placeholders
# --------------------------------------------------------------------------------------------------


def _distinct(t: torch.Tensor) -> bool:
    """True when every element has a place of its own: PyTorch's answer to other writes depends on the order it works in."""
    reach = 0
    for s, n in sorted((s, n) for n, s in zip(t.shape, t.stride(), strict=True) if n > 1):
        if s <= reach:
            return False
        reach += s * (n - 1)
    return True


def _dim(c: Chooser) -> str:
    rank = c.current.dim()
    odd = c.pick(32) == 31
    c.dim = c.pick(max(rank, 1))
    return str(rank if odd else c.dim - rank if c.pick(3) == 2 and rank else c.dim)


def _size(c: Chooser) -> int:
    return c.current.shape[c.dim] if c.current.dim() > c.dim else 1


def _factors(c: Chooser) -> str:
    n, shape = c.current.numel(), tuple(c.current.shape)
    options = [(-1,), (n,), (1, n), (n, 1), (*shape, 1), (1, *shape), shape]
    options += [(d, n // d) for d in (2, 3, 4) if n and n % d == 0]
    options += [(2, -1), tuple(reversed(shape))]
    return ", ".join(map(str, c.of([s for s in options if s])))


def _perm(c: Chooser) -> str:
    left, order = list(range(c.current.dim())), []
    while left:
        order.append(left.pop(c.pick(len(left))))
    if not order:
        raise NothingFits
    return ", ".join(map(str, order))


def _index(c: Chooser) -> str:
    """An index, kept for what is written there."""
    c.index = _items(c)
    return c.index


def _items(c: Chooser) -> str:
    """One item per dimension at most: integers, slices, None, an ellipsis, now and then a list or a mask."""
    shape, items = c.current.shape, []
    if not len(shape):
        return c.of(["...", "None", "()"])
    d = 0
    while d < len(shape):
        kind, n = c.pick(9), shape[d]
        d += kind != 4
        if kind == 0:
            items.append(":")
        elif kind == 1:
            items.append(str(c.pick(n + (c.pick(24) == 23)) - (c.pick(2) and n) if n else 0))
        elif kind in (2, 3):
            a, b, s = c.pick(n + 1), c.pick(n + 2), c.pick(3) + 1
            items.append(f"{a or ''}:{b or ''}" + (f":{s}" if s > 1 else ""))
        elif kind == 4 and len(items) < 4:
            items.append("None")
        elif kind == 5 and "..." not in items:
            items.append("...")
            break
        elif kind == 6 and 0 not in shape:
            items.append(f"[{c.pick(n)}, {c.pick(n)}]")
        elif kind == 7 and n and d == 1 and len(items) == 0:
            items.append(f"torch.tensor([{', '.join(str(bool(c.pick(2))) for _ in range(n))}])")
        else:
            break
    return ", ".join(items) or ":"


def _number(c: Chooser) -> str:
    return c.of(["1", "2", "-1", "0", "3.0", "0.5"] if c.current is not None and c.current.is_floating_point() else ["1", "2", "-1", "0"])


def _like(c: Chooser, same: bool = False) -> str:
    """Something that broadcasts to the current tensor (and has its dtype), or a number."""
    shape, dtype = tuple(c.current.shape), c.current.dtype
    tensors = [(k, v) for k, v in c.names.items() if isinstance(v, torch.Tensor)]
    found = [k for k, v in tensors if _fits(tuple(v.shape), shape) and (v.dtype == dtype or not same) and not _half_over(v, c.current)]
    return c.of([_number(c), *reversed(found)])


def _half_over(a: torch.Tensor, b: torch.Tensor) -> bool:
    """True when some memory of ``a`` is in ``b`` elsewhere: PyTorch reads what it has just written, where it does not refuse."""
    def memory(t: torch.Tensor) -> int:
        return t.untyped_storage().data_ptr()

    return memory(a) == memory(b) and (a.shape, a.stride(), a.storage_offset()) != (b.shape, b.stride(), b.storage_offset())


def _akin(c: Chooser) -> str:
    """A tensor of the same dtype for the part of the current one that was indexed."""
    part = c.current
    with contextlib.suppress(*RAISED):
        part = eval(f"part[{c.index}]", {"part": c.current, "torch": torch})
    return _named(c, lambda t: t.dtype == part.dtype and not _read_while_written(t, part))


def _read_while_written(source: torch.Tensor, target: torch.Tensor) -> bool:
    """True when a copy reads places it also writes, and PyTorch does not look: one of the two is not dense."""
    if source.untyped_storage().data_ptr() != target.untyped_storage().data_ptr() or not _fits(tuple(source.shape), tuple(target.shape)):
        return False
    source = source.expand(target.shape)
    where, at = [links.places(tuple(t.shape), t.stride(), t.storage_offset()) for t in (source, target)]
    dense = all(links.is_dense(tuple(t.shape), t.stride()) for t in (source, target))
    return not dense and not np.array_equal(where, at) and bool(np.isin(where, at).any())


def _fits(small: tuple, large: tuple) -> bool:
    return len(small) <= len(large) and all(n in (1, m) for n, m in zip(reversed(small), reversed(large), strict=False))


def _named(c: Chooser, wanted: Callable[[torch.Tensor], bool]) -> str:
    """Another tensor; ``current`` stays."""
    return c.of(reversed([k for k, v in c.names.items() if isinstance(v, torch.Tensor) and wanted(v)]))


def _same(c: Chooser) -> str:
    return _named(c, lambda t: t.shape == c.current.shape)


def _mask(c: Chooser) -> str:
    if c.current is None:
        c.tensor()
    name = next(k for k, v in c.names.items() if v is c.current)
    return f"{name} > {_number(c)}"


def _grown(c: Chooser) -> str:
    shape = tuple(c.current.shape)
    options = [(2, *shape), shape, tuple([2 if n == 1 else n for n in shape]), (-1,) * len(shape), (3,), (2, 2)]
    return ", ".join(map(str, c.of([s for s in options if s])))


def _strided(c: Chooser) -> str:
    return c.of(["(2,), (1,)", "(2, 2), (1, 2)", "(1, 2), (2, 1), 1", "(), ()"])


def _fitting(c: Chooser) -> str:
    """A shape that needs no more memory than there is (PyTorch leaves new memory unset)."""
    x = c.current
    room = x.untyped_storage().nbytes() // x.element_size() - x.storage_offset()
    return ", ".join(map(str, c.of([s for s in [(2,), (1, 3), (2, 2), (3, 2), (0,), (1,)] if math.prod(s) <= room])))


KINDS: dict[str, Callable[[Chooser], str]] = {
    "new": lambda c: c.new(),
    "newarray": lambda c: c.new("n"),
    "newscalar": lambda c: c.new("s"),
    "newgrad": lambda c: c.new("g"),
    "x": lambda c: c.tensor(),
    "u": lambda c: c.tensor(lambda t: not t.requires_grad),
    "solid": lambda c: c.tensor(_distinct),
    "rows": lambda c: c.tensor(lambda t: t.dim() > 0 and _distinct(t)),
    "whole": lambda c: c.tensor(lambda t: t.untyped_storage().nbytes() == t.numel() * t.element_size()),
    "base": lambda c: c.tensor(lambda t: _distinct(t) and (not t.requires_grad or not t._is_view())),
    "w": lambda c: c.tensor(_distinct),
    "float": lambda c: c.tensor(lambda t: t.is_floating_point() and _distinct(t)),
    "fitting": _fitting,
    "a": lambda c: c.array(),
    "leaf": lambda c: c.tensor(lambda t: t.is_leaf and t.requires_grad),
    "dim": _dim,
    "samedim": lambda c: str(c.dim),
    "newdim": lambda c: str(c.pick(c.current.dim() + 1) - c.pick(2) * (c.current.dim() + 1)),
    "place": lambda c: str(c.pick(_size(c))),
    "places": lambda c: ", ".join(str(c.pick(_size(c))) for _ in range(c.pick(3) + 1)),
    "start": lambda c: str(c.pick(_size(c) + 1)),
    "rest": lambda c: str(c.pick(_size(c) + 1)),
    "window": lambda c: str(c.pick(min(_size(c), 3)) + 1),
    "stride": lambda c: str(c.pick(3) + 1),
    "end": lambda c: c.of(["0", "-1"]),
    "offset": lambda c: c.of(["0", "1", "-1"]),
    "factors": _factors,
    "perm": _perm,
    "index": _index,
    "num": _number,
    "number": lambda c: f"torch.tensor({_number(c)}, dtype={c.current.dtype})",
    "like": _like,
    "same": _same,
    "twin": lambda c: _named(c, lambda t: t.shape == c.current.shape and t.dtype == c.current.dtype),
    "akin": _akin,
    "mask": _mask,
    "grown": _grown,
    "strided": _strided,
    "times": lambda c: c.of(["2", "1, 2", "2, 1, 1"]) if c.current.dim() < 2 else c.of(["1, 2", "2, 1, 1"]),
    "kin": lambda c: _like(c, same=True),
    "shape": lambda c: str(tuple(c.current.shape)),
    "dtype": lambda c: c.of(["float32", "float64", "int64", "bool"]),
    "flag": lambda c: c.of(["False", "True"]),
}
