"""Aliasing: random chains of views and in-place writes leave the same memory behind as PyTorch's."""

from __future__ import annotations

from typing import Any

import lamina
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lamina.dialects import flags

torch = pytest.importorskip("torch")


@st.composite
def view_action(draw: st.DrawFn) -> tuple[str, int, int, int]:
    kind = draw(
        st.sampled_from(
            [
                "index",
                "slice",
                "t",
                "view",
                "reshape",
                "unsqueeze",
                "squeeze",
                "detach",
                "diagonal",
                "permute",
                "expand",
                "narrow",
                "unfold",
            ]
        )
    )
    return kind, draw(st.integers(0, 3)), draw(st.integers(0, 3)), draw(st.integers(1, 3))


@st.composite
def write_action(draw: st.DrawFn) -> tuple[str, int]:
    kind = draw(
        st.sampled_from(["add_", "mul_", "fill_", "setitem", "copy_", "iadd", "masked", "index_put", "numpy"])
    )
    return kind, draw(st.integers(-3, 3))


def look(x: Any, action: tuple[str, int, int, int]) -> Any:
    """A view (or, for reshape, perhaps a copy) of ``x``; ``x`` itself where the action does not apply."""
    kind, a, b, c = action
    rank, shape = x.dim(), tuple(x.shape)
    d = a % max(rank, 1)
    if kind == "unsqueeze":
        return x.unsqueeze(a % (rank + 1))
    if kind == "squeeze":
        return x.squeeze()
    if kind == "detach":
        return x.detach()
    if not rank:
        return x
    if kind == "index":
        return x[b % shape[0]] if shape[0] else x
    if kind == "slice":
        return x[(slice(None),) * d + (slice(min(b, shape[d]), None, c),)]
    if kind == "t":
        return x.transpose(d, rank - 1)
    if kind in ("view", "reshape"):
        n = x.numel()
        to = (n // c, c) if n and n % c == 0 else (n,)
        try:
            return getattr(x, kind)(to)
        except RuntimeError:
            return x
    if kind == "diagonal":
        return x.diagonal(b - 1, 0, 1) if rank >= 2 else x
    if kind == "permute":
        return x.permute(*reversed(range(rank)))
    if kind == "expand":
        return x.expand(c, *shape)
    if kind == "unfold":
        return x.unfold(d, c, 1) if shape[d] >= c else x
    return x.narrow(d, 0, min(b, shape[d]))


def write(x: Any, action: tuple[str, int], lib: Any) -> None:
    kind, v = action
    if kind == "setitem" and x.dim():
        x[..., 0] = v
    elif kind == "copy_":
        x.copy_(lib.arange(x.numel()).reshape(tuple(x.shape)) + v)
    elif kind == "iadd":
        x += v
    elif kind == "masked" and x.dim():
        x[x > v] = v
    elif kind == "index_put" and x.dim() and x.shape[0]:
        x[lib.tensor([x.shape[0] - 1])] = v
    elif kind == "numpy" and x.numel():
        x.detach().numpy()[...] = v
    elif kind in ("add_", "mul_", "fill_"):
        getattr(x, kind)(v)


def overlapping(x: Any) -> bool:
    """Several indices reach one element (windows)."""
    n = int(np.prod(x.shape))
    reached = sum(
        np.arange(k).reshape([-1 if d == i else 1 for d in range(x.dim())]) * s
        for i, (k, s) in enumerate(zip(x.shape, x.stride(), strict=True))
    )
    return len(np.unique(reached)) < n if x.dim() else False


def play(lib: Any, program: list[tuple[list, tuple[str, int]]]) -> list[Any]:
    base = (
        lib.arange(24.0).reshape(2, 3, 4)
        if lib is torch
        else lib.tensor(np.arange(24.0, dtype=np.float32).reshape(2, 3, 4))
    )
    seen = []
    for looks, change in program:
        x = base
        for action in looks:
            x = look(x, action)
        if 0 in x.shape or any(n > 1 and s == 0 for n, s in zip(x.shape, x.stride(), strict=True)):
            continue  # PyTorch itself is not of one mind about writes into expanded memory
        if overlapping(x):
            continue
        strides = tuple([s if n > 1 else 0 for n, s in zip(x.shape, x.stride(), strict=True)])
        write(x, change, lib)
        seen.append((tuple(x.shape), strides, x.storage_offset(), x.tolist()))
    seen.append(base.tolist())
    return seen


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
@given(st.lists(st.tuples(st.lists(view_action(), max_size=4), write_action()), min_size=1, max_size=4))
def test_views_and_writes(program: list[tuple[list, tuple[str, int]]]) -> None:
    with flags.device("numpy"):
        assert play(lamina, program) == play(torch, program)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
@given(
    st.lists(
        st.tuples(
            st.lists(view_action(), max_size=3),
            st.sampled_from(["mul_", "add_", "fill_", "setitem", "masked"]),
        ),
        min_size=1,
        max_size=3,
    )
)
def test_gradients_through_writes(program: list[tuple[list, str]]) -> None:
    def gradient(lib: Any) -> Any:
        leaf = lib.tensor(np.arange(1.0, 25.0, dtype=np.float32).reshape(2, 3, 4), requires_grad=True)
        base = leaf * 1
        for looks, kind in program:
            x = base
            for action in looks:
                if action[0] not in ("detach", "expand", "unfold"):
                    x = look(x, action)
            if 0 not in x.shape:
                write(x, (kind, 2), lib)
        (base * base).sum().backward()
        return leaf.grad.tolist(), base.tolist()

    with flags.device("numpy"):
        assert gradient(lamina) == gradient(torch)
