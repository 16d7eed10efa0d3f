"""Chains of kernels in stripes of rows: equal numbers whatever borders, strides and skips are on the way, and only small buffers between."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from math import prod
from pathlib import Path
from random import Random

import numpy as np
import pytest
from needs import needs_compiler
from xdsl.dialects import func, scf
from xdsl.dialects.builtin import MemRefType, ModuleOp

from lamina.backends import driver
from lamina.backends.executable import Executable
from lamina.backends.executor import execute
from lamina.backends.oracle import evaluate
from lamina.backends.toolchain import build_shared, find_compiler
from lamina.dialects import target
from lamina.dialects.graph import Graph
from lamina.lowering.capture import capture
from lamina.lowering.loops_to_c import emit_c

sys.path.insert(0, str(Path(__file__).parents[1] / "backends"))

from backend_graphs import Recorder, arrays_for  # noqa: E402


class Net(Recorder):
    """Convolutional layers on one image. given: the shapes of all inputs, which a Graph has first; without them inputs are made as they
    are asked for.
    """

    def __init__(self, given: Sequence[tuple[int, ...]] | None = None) -> None:
        super().__init__()
        self.made = iter([Recorder.input(self, *shape) for shape in given]) if given is not None else None

    def input(self, *shape: int) -> int:
        return Recorder.input(self, *shape) if self.made is None else next(self.made)

    def pad(self, x: int, above: int, below: int, number: float = 0.0) -> int:
        low, high = (0, 0, above, above), (0, 0, below, below)
        return self.op("pad", x, attrs=(low, high, (0, 0, 0, 0), number))

    def conv(self, x: int, channels: int, size: int = 1, stride: int = 1, dilation: int = 1, depthwise: bool = False) -> int:
        n, c, h, w = self.types[x][0]
        z = c if depthwise else 1
        wide = self.op("reshape", x, attrs=((n, z, c // z, h, w),))
        y = self.op("conv", wide, self.input(z, channels // z, c // z, size, size), attrs=((stride, stride), (dilation, dilation)))
        return self.op("reshape", y, attrs=((n, channels, *self.types[y][0][3:]),))

    def pool(self, x: int, size: int, stride: int) -> int:
        return self.op("max_pool", x, attrs=((size, size), (stride, stride), (1, 1)))


def network(build: Callable[[Net], Sequence[int]]) -> Graph:
    """The graph of what a function records."""
    first = Net()
    build(first)
    r = Net([shape for shape, _ in first.inputs])
    return r.done(*build(r))


def block(height: int, stride: int, size: int = 3, residual: bool = False, above: int = 1, below: int = 1) -> Graph:
    """Channels expanded, a depthwise convolution of them, channels reduced."""

    def build(r: Net) -> Sequence[int]:
        x = r.conv(r.input(1, 3, height, height - 1), 4)
        y = r.op("relu", r.conv(x, 16))
        y = r.op("tanh", r.conv(r.pad(y, above, below), 16, size, stride, depthwise=True))
        y = r.conv(y, 4)
        return [r.op("add", x, y) if residual else y]

    return network(build)


def lowered(monkeypatch: pytest.MonkeyPatch, graph: Graph, l2: int, **others: object) -> ModuleOp:
    """The loops module for a machine with a second-level cache of this size, beyond which everything is far."""
    name = f"small{l2}"
    machine = replace(target.AVX2, name=name, l2_bytes=l2, l3_bytes=1 << 12, byte_costs=(0.0, 50.0, 50.0), **others)
    monkeypatch.setitem(target.TARGETS, name, machine)
    return driver.loops_of(graph, target=name)


def is_striped(module: ModuleOp) -> bool:
    return any(op.name == "kernel.run" for op in module.walk())


def check(module: ModuleOp, graph: Graph) -> None:
    arrays = arrays_for(graph)
    for got, want in zip(execute(module, arrays), evaluate(capture(graph), arrays), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5 * max(1.0, float(np.abs(want).max())))


CASES = [
    block(16, 1), block(16, 2), block(20, 1, residual=True), block(17, 2, 5, above=2, below=2), block(24, 1, 5, above=1, below=3),
    block(18, 1, above=0, below=2), block(18, 1, above=2, below=0), block(30, 2, 2, above=0, below=0),
]  # fmt: skip


@pytest.mark.parametrize("l2", [1 << 12, 1 << 13])
@pytest.mark.parametrize("graph", CASES)
def test_the_numbers_are_those_of_whole_arrays(monkeypatch, graph, l2):
    check(lowered(monkeypatch, graph, l2), graph)


def test_a_block_runs_in_stripes_and_nothing_whole_is_left_of_its_arrays(monkeypatch):
    module = lowered(monkeypatch, block(32, 1), 1 << 15)
    assert is_striped(module)
    main = next(f for f in module.ops if isinstance(f, func.FuncOp) and f.sym_name.data == "main")
    kinds = [v.type for op in main.walk() for v in op.operands if isinstance(v.type, MemRefType)]
    counts = {prod(k.get_shape()) for k in kinds}
    assert not counts & {16 * 34 * 33, 16 * 32 * 31}, "neither the expanded channels nor what the depthwise convolution makes"


def test_stripes_are_as_many_as_threads_share_evenly_where_that_costs_little(monkeypatch):
    """Seven would fit, eight make few rows more twice."""
    module = lowered(monkeypatch, block(112, 1), 300 << 10)
    function = next(f for f in module.ops if isinstance(f, func.FuncOp) and any(op.name == "kernel.run" for op in f.walk()))
    (shared,) = (op for op in function.walk() if isinstance(op, scf.ParallelOp))
    assert shared.upperBound[0].owner.value.value.data == 8


@pytest.mark.parametrize(("channels", "striped"), [(96, False), (1024, True)])
def test_stripes_of_neighbours_are_runs_of_them(monkeypatch, channels, striped):
    """Rows and columns turned around, as shifted windows have them: only channels could be cut, into a few of each pixel or into many."""

    def build(r: Net) -> Sequence[int]:
        x = r.input(9, 9, channels)
        for axis in (0, 1):
            parts = []
            for start, size in ((3, 6), (0, 3)):
                box = [(0, start)[axis == k] for k in range(3)], [(9, size)[axis == k] for k in range(2)]
                parts.append(r.op("slice", x, attrs=(tuple(box[0]), (*box[1], channels), (1, 1, 1))))
            x = r.op("concat", *parts, attrs=(axis,))
        return [x]

    graph = network(build)
    module = lowered(monkeypatch, graph, 30 << 10)
    assert is_striped(module) == striped
    check(module, graph)


def tiled(images: int, rows: int) -> Graph:
    """Sums of every second row and its neighbours, side by side; products with a matrix for each; sums of those, several results."""

    def build(r: Net) -> Sequence[int]:
        x, channels, cols = r.input(images, 2 * rows + 2, 5, 3), 4, 5
        wide = r.op("matmul", x, r.input(images, 2 * rows + 2, 3, channels))
        row = [r.op("slice", wide, attrs=((0, k, 0, 0), (images, rows, cols, channels), (1, 2, 1, 1))) for k in range(4)]
        pairs = [("sub", 0, 2), ("add", 1, 2), ("sub", 2, 1), ("sub", 3, 1)]
        sums = [r.op("reshape", r.op(op, row[a], row[b]), attrs=((1, images, rows, cols, channels),)) for op, a, b in pairs]
        tiles = r.op("reshape", r.op("concat", *sums, attrs=(0,)), attrs=((4, images * rows * cols, channels),))
        made = r.op("matmul", tiles, r.input(4, channels, 6))
        whole = r.op("reshape", made, attrs=((4, images, rows, cols, 6),))
        m = [r.op("slice", whole, attrs=((k, 0, 0, 0, 0), (1, images, rows, cols, 6), (1, 1, 1, 1, 1))) for k in range(4)]
        even, odd = r.op("add", r.op("add", m[0], m[1]), m[2]), r.op("sub", r.op("sub", m[1], m[2]), m[3])
        return [r.op("tanh", even), r.op("relu", odd)]

    return network(build)


@pytest.mark.parametrize(("images", "rows"), [(1, 16), (8, 3), (16, 1)])
def test_tiles_put_together_and_read_reshaped(monkeypatch, images, rows):
    """What lies between is made in boxes, read in another shape, and ends in two results: nothing whole of it is left."""
    graph = tiled(images, rows)
    module = lowered(monkeypatch, graph, 1 << 12)
    check(module, graph)
    main = next(f for f in module.ops if isinstance(f, func.FuncOp) and f.sym_name.data == "main")
    counts = {prod(v.type.get_shape()) for op in main.walk() for v in op.operands if isinstance(v.type, MemRefType)}
    places = images * rows * 5
    assert is_striped(module) and not counts & {4 * places * 4, 4 * places * 6}, "neither the sums nor the products"


def drawn(seed: int) -> Graph:
    """Layers one after the other, as they come."""
    return network(lambda r: layers(r, Random(seed)))


def layers(r: Net, draw: Random) -> Sequence[int]:
    x = r.input(draw.choice((1, 1, 2)), 4, draw.randint(12, 26), draw.randint(3, 9))
    kept = [x]
    for _ in range(draw.randint(2, 5)):
        kind = draw.choice(("conv", "conv", "depthwise", "depthwise", "pointwise", "pool", "unary", "skip", "pad"))
        height, width = r.types[x][0][2:]
        size, dilation = draw.choice((2, 3, 3)), draw.choice((1, 1, 2))
        reach = (size - 1) * dilation
        if kind in ("conv", "depthwise"):
            above = draw.randint(0, reach)
            below = max(reach - above, 0) + draw.randint(0, 1)
            stride = draw.choice((1, 1, 2)) if height > 12 else 1
            channels = r.types[x][0][1] if kind == "depthwise" else draw.choice((4, 6, 8))
            x = r.conv(r.pad(x, above, below, draw.choice((0.0, 0.5))), channels, size, stride, dilation, kind == "depthwise")
        elif kind == "pool" and min(height, width) > 2:
            x = r.pool(x, 2, 1)
        elif kind == "skip" and (alike := [y for y in kept if r.types[y] == r.types[x] and y != x]):
            x = r.op("add", draw.choice(alike), x)
        elif kind == "pad":
            x = r.pad(x, draw.randint(0, 1), draw.randint(0, 2))
        elif kind == "unary":
            x = r.op(draw.choice(("relu", "tanh", "neg")), x)
        else:
            x = r.conv(x, draw.choice((4, 6, 8)))
        kept.append(x)
    return [x, *([draw.choice(kept[1:])] if draw.random() < 0.3 else [])]


@pytest.mark.parametrize("seed", range(40))
def test_layers_drawn_at_random(monkeypatch, seed):
    graph = drawn(seed)
    check(lowered(monkeypatch, graph, 1 << 11, parallel_work=1 << 10), graph)


@pytest.mark.slow
def test_many_of_them_run_in_stripes(monkeypatch):
    assert sum(is_striped(lowered(monkeypatch, drawn(seed), 1 << 11)) for seed in range(0, 40, 4)) >= 4


@needs_compiler
@pytest.mark.parametrize("pieces", ["whole", "one by one"])
def test_any_run_of_stripes_gives_the_same_in_c(monkeypatch, tmp_path, pieces):
    """A thread does all stripes in one go, or each by itself."""
    graph = block(20, 1, residual=True)
    module = lowered(monkeypatch, graph, 1 << 13)
    text = emit_c(module).text
    if pieces == "one by one":
        text = text.replace("body(task, 0, count);", "for (int64_t i = 0; i < count; i++) body(task, i, i + 1);")
    assert is_striped(module) and (pieces == "whole" or "i, i + 1)" in text)
    (tmp_path / "k.c").write_text(text)
    build_shared(find_compiler(), tmp_path / "k.c", tmp_path / "k.so", ("-Wall", "-Wextra", "-Werror"))
    arrays = arrays_for(graph)
    types = [(a.shape, t[1]) for a, t in zip(arrays, graph.inputs, strict=True)]
    want = evaluate(capture(graph), arrays)[0]
    arena = module.attributes["lamina.arena_bytes"].value.data
    got = Executable(tmp_path / "k.so", types, [(want.shape, graph.inputs[0][1])], arena)(arrays)[0]
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)
