"""The programs the GPU check runs: one for each way kernels are made, at a small and at a large size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ...dialects.book import OPS
from ...dialects.graph import Graph, Step
from ...dialects.types import DType, Type, bfloat16, float16, float32, float64, int8, int32, int64, size_of, uint8


@dataclass(frozen=True)
class CheckProgram:
    """name; make(size) records it; small: emulated and compared with numpy; large: timed on a GPU.

    flops(size): multiply-adds count two; 0: the program is bound by memory. f32: how float32 is multiplied.
    """

    name: str
    make: Callable[[int], Graph]
    small: int
    large: int
    flops: Callable[[int], int] = lambda size: 0
    f32: str = "ieee"


class Recorder:
    """Inputs first, then ops; values are numbers."""

    def __init__(self) -> None:
        self.inputs: list[Type] = []
        self.types: list[Type] = []
        self.steps: list[Step] = []

    def input(self, *shape: int, dtype: DType = float32) -> int:
        self.inputs.append((shape, dtype))
        self.types.append((shape, dtype))
        return len(self.types) - 1

    def __call__(self, op: str, *operands: int, attrs: tuple = ()) -> int:
        self.steps.append(Step(op, attrs, operands))
        if op == "autodiff.grad":
            results = [self.types[i] for i in operands[2:]]
        else:
            results = list(OPS[op].infer(tuple(self.types[i] for i in operands), attrs))
        self.types += results
        return len(self.types) - len(results)

    def graph(self, *outputs: int) -> Graph:
        origins = tuple(f"check.py:{i + 1}" for i in range(len(self.steps)))
        return Graph(tuple(self.inputs), tuple(self.steps), outputs, origins, (None,) * len(self.inputs), tuple(self.types))


def arrays_for(graph: Graph, seed: int = 0) -> list[np.ndarray]:
    """Normal numbers (positive ones for rank 0), and 0 or 1 for integers."""
    rng = np.random.default_rng(seed)
    made = []
    for shape, dtype in graph.inputs:
        if dtype.is_floating_point:
            values = rng.standard_normal(shape, dtype=np.float32)
            made.append(np.asarray(values if shape else np.abs(values)).astype(dtype.numpy))
        else:
            made.append(np.asarray(rng.integers(0, 2, shape)).astype(dtype.numpy))
    return made


def _elementwise(n: int) -> Graph:
    r = Recorder()
    x, y = r.input(n, 64), r.input(n, 64)
    return r.graph(r("tanh", r("add", r("mul", x, y), x)))


def _transposed(n: int) -> Graph:
    r = Recorder()
    return r.graph(r("add", r("permute", r.input(n, 96), attrs=((1, 0),)), r.input(96, n)))


def _softmax(n: int) -> Graph:
    r = Recorder()
    return r.graph(r("softmax", r.input(n, 1000), attrs=((1,),)))


def _layer_norm(n: int) -> Graph:
    r = Recorder()
    x, w, b, seed = r.input(n, 768), r.input(768), r.input(768), r.input(n, 768)
    y = r("layer_norm", x, w, b, attrs=(1, 1e-5))
    loss = r("reshape", r("sum", r("mul", y, seed), attrs=((0, 1),)), attrs=((),))
    first = r("autodiff.grad", loss, r("full", attrs=((), 1.0, float32)), x, w, b)
    return r.graph(y, first, first + 1, first + 2)


def _sums(n: int) -> Graph:
    r = Recorder()
    x = r.input(n, 512)
    return r.graph(*(r("sum", x, attrs=(axes,)) for axes in ((0,), (1,), (0, 1))), r("max", x, attrs=((0,),)))


def _matmul(dtype: DType, rows_last: bool) -> Callable[[int], Graph]:
    def make(n: int) -> Graph:
        r = Recorder()
        x, w = r.input(n, n, dtype=dtype), r.input(n, n, dtype=dtype)
        w = r("permute", w, attrs=((1, 0),)) if rows_last else w
        return r.graph(r("relu", r("matmul", x, w)))

    return make


def bytes_program(n: int) -> Graph:
    """Bytes multiplied as integers of 32 bits."""
    r = Recorder()
    given = [r.input(n, n, dtype=kind) for kind in (int8, uint8)]
    x, w = (r("cast", i, attrs=(int32,)) for i in given)
    return r.graph(r("matmul", x, r("permute", w, attrs=((1, 0),))))


def _batched(n: int) -> Graph:
    r = Recorder()
    return r.graph(r("matmul", r.input(n, 40, 72), r.input(n, 72, 56)))


def _convolution(n: int) -> Graph:
    r = Recorder()
    x, k, seed = r.input(n, 1, 20, 18, 18), r.input(1, 24, 20, 3, 3), r.input(n, 1, 24, 16, 16)
    y = r("conv", x, k, attrs=((1, 1), (1, 1)))
    loss = r("reshape", r("sum", r("mul", y, seed), attrs=((0, 1, 2, 3, 4),)), attrs=((),))
    first = r("autodiff.grad", loss, r("full", attrs=((), 1.0, float32)), x, k)
    return r.graph(y, first, first + 1)


def _pooling(n: int) -> Graph:
    r = Recorder()
    x, seed = r.input(n, 8, 13, 13), r.input(n, 8, 6, 6)
    y = r("max_pool", x, attrs=((3, 3), (2, 2), (1, 1)))
    loss = r("reshape", r("sum", r("mul", y, seed), attrs=((0, 1, 2, 3),)), attrs=((),))
    return r.graph(y, r("autodiff.grad", loss, r("full", attrs=((), 1.0, float32)), x))


def _places(n: int) -> Graph:
    r = Recorder()
    x, index, y = r.input(n, 33), r.input(n, dtype=int64), r.input(n, 33)
    low, high, inside = (1, 2), (0, 3), (0, 0)
    padded = r("pad", x, attrs=(low, high, inside, 0.5))
    return r.graph(r("take", x, index, attrs=(0,)), padded, r("concat", x, y, attrs=(1,)), r("put_add", x, index, y, attrs=(0,)))


def _along_an_axis(n: int) -> Graph:
    r = Recorder()
    x = r.input(n, 50)
    values = r("sort", x, attrs=(1, True))
    return r.graph(r("cumsum", x, attrs=(1,)), r("argmax", x, attrs=(1,)), values, values + 1)


def _mlp_step(n: int) -> Graph:
    r = Recorder()
    x, target, seed = r.input(n, 784), r.input(n, dtype=int64), r.input()
    shapes = ((256, 784), (256,), (10, 256), (10,))
    w1, b1, w2, b2 = (r.input(*shape) for shape in shapes)
    loss = r("cross_entropy", r("linear", r("gelu", r("linear", x, w1, b1)), w2, b2), target)
    first = r("autodiff.grad", loss, seed, w1, b1, w2, b2)
    rate, momentum = r("full", attrs=((), 0.01, float64)), r("full", attrs=((), 0.9, float64))
    steps = [
        r(
            "sgd", w, first + i, r("full", attrs=(shape, 0.0, float32)), rate, momentum,
            attrs=(True, 0.0, 0.0, False, False, True),
        )  # fmt: skip
        for i, (w, shape) in enumerate(zip((w1, b1, w2, b2), shapes, strict=True))
    ]
    return r.graph(loss, *steps)


def attention(batch: int, heads: int, rows: int, columns: int, depth: int, dtype: DType, causal: bool, backward: bool) -> Graph:
    """softmax(q k^T / sqrt(depth)) v, with its gradients by q, k and v where backward; in float32, rounded once."""
    r = Recorder()
    q, k, v, seed = (r.input(batch, heads, n, depth, dtype=dtype) for n in (rows, columns, columns, rows))
    wide = [i if dtype is float32 else r("cast", i, attrs=(float32,)) for i in (q, k, v, seed)]
    scale = r("full", attrs=((batch, heads, rows, depth), depth**-0.5, float32))
    scores = r("matmul", r("mul", wide[0], scale), r("permute", wide[1], attrs=((0, 1, 3, 2),)))
    if causal:
        row, column = (r("iota", attrs=((rows, columns), axis, int64)) for axis in (0, 1))
        seen = r("reshape", r("less_equal", column, row), attrs=((1, 1, rows, columns),))
        shape = (batch, heads, rows, columns)
        lowest = r("full", attrs=(shape, float("-inf"), float32))
        scores = r("select", r("expand", seen, attrs=(shape,)), scores, lowest)
    y = r("matmul", r("softmax", scores, attrs=((3,),)), wide[2])
    rounded = y if dtype is float32 else r("cast", y, attrs=(dtype,))
    if not backward:
        return r.graph(rounded)
    loss = r("reshape", r("sum", r("mul", y, wide[3]), attrs=((0, 1, 2, 3),)), attrs=((),))
    first = r("autodiff.grad", loss, r("full", attrs=((), 1.0, float32)), q, k, v)
    return r.graph(rounded, first, first + 1, first + 2)


def _attention(depth: int, dtype: DType, backward: bool) -> Callable[[int], Graph]:
    """Causal, 2 batches of 12 heads when it is large, 1 of 2 when it is small."""
    return lambda n: attention(*((2, 12) if n >= 1024 else (1, 2)), n, n, depth, dtype, True, backward)


def _many_heads(n: int) -> Graph:
    """Causal, with blocks enough for two warpgroups each even where it is small."""
    return attention(1, 66, n, n, 64, bfloat16, True, False)


def _attention_flops(depth: int, backward: bool) -> Callable[[int], int]:
    """Half the matrix is computed; 2 products forward, 5 backward."""
    return lambda n: (7 if backward else 2) * 24 * n * n * depth


def product(dtype: DType, rows_last: bool = False) -> Callable[[int], Graph]:
    """A square product and nothing else. rows_last: the second operand is transposed."""

    def make(n: int) -> Graph:
        r = Recorder()
        x, w = r.input(n, n, dtype=dtype), r.input(n, n, dtype=dtype)
        return r.graph(r("matmul", x, r("permute", w, attrs=((1, 0),)) if rows_last else w))

    return make


def bias_gelu(n: int) -> Graph:
    """gelu(x + b) on rows of 4096."""
    r = Recorder()
    x, b = r.input(n, 4096), r.input(1, 4096)
    return r.graph(r("gelu", r("add", x, r("expand", b, attrs=((n, 4096),)))))


def softmax(n: int) -> Graph:
    """Softmax of rows of 4096."""
    r = Recorder()
    return r.graph(r("softmax", r.input(n, 4096), attrs=((1,),)))


def layer_norm(n: int) -> Graph:
    """Layer norm of rows of 4096."""
    r = Recorder()
    return r.graph(r("layer_norm", r.input(n, 4096), r.input(4096), r.input(4096), attrs=(1, 1e-5)))


def adam_program(n: int) -> Graph:
    """Adam of 12 layers with a weight [n, n] and a bias each."""
    r = Recorder()
    numbers = [r.input(dtype=float64) for _ in range(3)]
    given = [[r.input(*shape) for _ in range(4)] for _ in range(12) for shape in ((n, n), (n,))]
    steps = [r("adam", *one, *numbers, attrs=(0.999, 1e-8, 0.0, False)) for one in given]
    return r.graph(*(step + k for step in steps for k in range(3)))


def chained_products(count: int) -> Graph:
    """Small products, each of the one before: nothing can be fused."""
    r = Recorder()
    x, w = r.input(32, 32), r.input(32, 32)
    for _ in range(count):
        x = r("matmul", x, w)
    return r.graph(x)


def _cube(n: int) -> int:
    return 2 * n**3


PROGRAMS = (
    CheckProgram("elementwise", _elementwise, 37, 1 << 20),
    CheckProgram("transposed", _transposed, 50, 1 << 16),
    CheckProgram("softmax", _softmax, 9, 1 << 15),
    CheckProgram("layer norm and gradient", _layer_norm, 6, 1 << 15),
    CheckProgram("sums", _sums, 300, 1 << 16),
    CheckProgram("matmul f32", _matmul(float32, False), 67, 4096, _cube),
    CheckProgram("matmul f32, second operand transposed", _matmul(float32, True), 48, 4096, _cube),
    CheckProgram("matmul bf16", _matmul(bfloat16, False), 80, 8192, _cube),
    CheckProgram("matmul bf16, second operand transposed", _matmul(bfloat16, True), 72, 8192, _cube),
    CheckProgram("matmul f16, second operand transposed", _matmul(float16, True), 64, 8192, _cube),
    CheckProgram("matmul bf16, whole tiles", _matmul(bfloat16, True), 136, 8192, _cube),
    CheckProgram("matmul bf16, whole tiles, second operand turned", _matmul(bfloat16, False), 136, 8192, _cube),
    CheckProgram("matmul TF32, whole tiles", _matmul(float32, True), 136, 4096, _cube, "tf32"),
    CheckProgram("matmul TF32, second operand turned", _matmul(float32, False), 136, 4096, _cube, "tf32"),
    CheckProgram("matmul of bytes", bytes_program, 80, 8192, _cube),
    CheckProgram("matmul of bytes, whole tiles", bytes_program, 144, 8192, _cube),
    CheckProgram("batched matmul", _batched, 5, 4096, lambda n: 2 * n * 40 * 72 * 56),
    CheckProgram("convolution and gradients", _convolution, 3, 1024, lambda n: 6 * n * 256 * 24 * 180),
    CheckProgram("pooling and gradient", _pooling, 3, 4096),
    CheckProgram("places", _places, 21, 1 << 10),
    CheckProgram("along an axis", _along_an_axis, 13, 1 << 10),
    CheckProgram("attention bf16, depth 64", _attention(64, bfloat16, False), 80, 4096, _attention_flops(64, False)),
    CheckProgram("attention bf16, depth 128", _attention(128, bfloat16, False), 72, 4096, _attention_flops(128, False)),
    CheckProgram("attention bf16 and gradients, depth 64", _attention(64, bfloat16, True), 72, 4096, _attention_flops(64, True)),
    CheckProgram("attention f16 and gradients, depth 128", _attention(128, float16, True), 72, 4096, _attention_flops(128, True)),
    CheckProgram("attention bf16 and gradients, depth 40", _attention(40, bfloat16, True), 72, 4096, _attention_flops(40, True)),
    CheckProgram("attention bf16 of many heads", _many_heads, 136, 2048, lambda n: 2 * 66 * n * n * 64),
    CheckProgram("attention f32 and gradients, depth 64", _attention(64, float32, True), 70, 2048, _attention_flops(64, True)),
    CheckProgram("MLP training step", _mlp_step, 12, 4096, lambda n: 6 * n * 784 * 256),
)


def bytes_moved(graph: Graph) -> int:
    """Bytes of all inputs and outputs: what a program that is bound by memory has to move at least."""
    types = [*graph.inputs, *(graph.types[i] for i in graph.outputs)]
    return sum(size_of(shape) * dtype.itemsize for shape, dtype in types)
