"""Operands and attributes to try every stanza on: small, kept away from kinks, varied by a seed."""

from __future__ import annotations

import numpy as np
from lamina.dialects.book import OPS, Stanza
from lamina.dialects.book.fourier import real_table, table
from lamina.dialects.book.scan import GraphBuilder
from lamina.dialects.errors import LaminaError
from lamina.dialects.graph import Graph
from lamina.dialects.types import DTYPES, dtype_of, float64, int64

Sample = tuple[list[np.ndarray], tuple]

S = (2, 3, 4)


def _recurrent_body() -> Graph:
    """h, x, w -> tanh(h @ w + x), and what is stacked: x times it."""
    build = GraphBuilder(OPS, [((2, 3), float64), ((2, 3), float64), ((3, 3), float64)], "rnn.py:3")
    h, x, w = build.values
    (product,) = build("matmul", (h, w), ())
    (total,) = build("add", (product, x), ())
    (after,) = build("tanh", (total,), ())
    (seen,) = build("mul", (x, after), ())
    return build.graph([after.id, seen.id])


BODY = _recurrent_body()

# op: (shapes of the tensors, attributes), one or several; ops that are not listed take (2, 3, 4) each and
# no attributes
SHAPES: dict[str, list[tuple[list[tuple[int, ...]], tuple]]] = {
    "bitcast": [([S], (DTYPES["int64"],))],
    "cast": [([S], (DTYPES["float32"],)), ([S], (DTYPES["int32"],))],
    "full": [([], (S, 2.5, float64)), ([], ((), 1, int64))],
    "iota": [([], (S, 1, int64)), ([], ((3,), 0, float64))],
    "reshape": [
        ([S], ((4, 6),)),
        ([S], ((2, 1, 12),)),
        ([(6,)], ((2, 3, 1),)),
        ([(1,)], ((),)),
        ([(2, 6, 1)], ((1, 4, 3),)),
    ],
    "expand": [([(2, 1, 4)], (S,)), ([(1, 1)], ((3, 2),)), ([S], (S,))],
    "permute": [([S], ((2, 0, 1),)), ([S], ((0, 1, 2),))],
    "pad": [
        ([S], ((1, 0, 2), (0, 1, 1), (0, 0, 0), 0)),
        ([(3, 4)], ((1, 0), (2, 0), (1, 2), 0.5)),
        ([(4, 5)], ((-1, 1), (0, -2), (0, 0), 0)),
    ],
    "slice": [([S], ((0, 1, 0), (2, 2, 2), (1, 1, 3))), ([(5,)], ((1,), (2,), (2,)))],
    "flip": [([S], ((0, 2),))],
    "window": [([(2, 6)], ((3,), (2,), (1,))), ([(2, 5, 6)], ((2, 3), (1, 2), (2, 1)))],
    "unwindow": [
        ([(2, 2, 3)], ((6,), (3,), (2,), (1,))),
        ([(2, 3, 2, 2, 3)], ((5, 6), (2, 3), (1, 2), (2, 1))),
    ],
    "matmul": [([(2, 3, 4), (2, 4, 5)], ()), ([(3, 4), (4, 2)], ())],
    "conv": [
        ([(2, 1, 3, 5, 6), (1, 4, 3, 2, 3)], ((1, 1), (1, 1))),
        ([(2, 2, 2, 7, 6), (2, 3, 2, 2, 2)], ((2, 1), (1, 2))),
        ([(2, 1, 2, 8), (1, 3, 2, 3)], ((3,), (1,))),
    ],
    "conv_input": [([(2, 1, 3, 5, 6), (1, 3, 4, 2, 3)], ((1, 2),)), ([(2, 2, 3, 6), (2, 3, 2, 3)], ((1,),))],
    "conv_kernel": [
        ([(2, 1, 3, 5, 6), (1 + 1, 1, 4, 4, 4)], ((2, 3), (1, 1), (1, 1))),
        ([(2, 2, 2, 8), (2, 2, 3, 3)], ((3,), (2,), (1,))),
    ],
    "argmax": [([S], (1,))],
    "argmin": [([S], (2,))],
    "gather": [([S, (2, 5, 3)], (1,))],
    "scatter_add": [([S, (2, 5, 3), (2, 6, 4)], (1,))],
    "scatter": [
        ([S, (2, 2, 3), (2, 6, 4)], (1, "set")),
        *[([S, (2, 5, 3), (2, 6, 4)], (1, by)) for by in ("mul", "max", "min")],
    ],
    "put": [([S, (3,), (2, 3, 4)], (1,)), ([(4, 3), (2, 2), (2, 2, 3)], (0,))],
    "running": [([S], (1, True)), ([S], (2, False))],
    "take": [([S, (5,)], (1,)), ([(4, 3), (2, 2)], (0,))],
    "put_add": [([S, (5,), (2, 5, 4)], (1,)), ([(4, 3), (2, 2), (2, 2, 3)], (0,))],
    "update": [([(4, 5), (2, 2)], ((1, 0), (2, 3)))],
    "concat": [([S, (2, 1, 4), (2, 2, 4)], (1,))],
    "scan": [([(2, 3), (4, 2, 3), (3, 3)], (BODY, 1, 1, 4, reverse)) for reverse in (False, True)],
    "sort": [([S], (1, False)), ([S], (2, True))],
    "topk": [([S], (2, True)), ([(3, 20)], (5, False)), ([(2, 7)], (7, True))],
    "dft_parts": [
        ([(2, 6, 2), (len(table(6)),)], (1, -1, 0.5)), ([(2, 12, 3, 2), (len(table(12)),)], (1, 1, 1.0)),
        ([(2, 40, 2), (len(table(40)),)], (1, 1, 1.0)),
    ],
    "real_dft": [([(3, 8), (len(real_table(8)),)], (0.5,)), ([(20,), (len(real_table(20)),)], (1.0,))],
    "dft_to_real": [([(3, 5, 2), (len(real_table(8)),)], (0.5,)), ([(11, 2), (len(real_table(20)),)], (1.0,))],
    "cumsum": [([S], (1,))],
    "cumprod": [([S], (1,))],
    "vector_norm": [([S], ((0, 2), p)) for p in (2, 1, 0, 3, 1.5, 0.5, float("inf"), -float("inf"), -1)],
    "var": [([S], ((1, 2), 1))],
    "linear": [([(2, 3, 4), (5, 4), (5,)], ()), ([(3, 4), (2, 4), (2,)], ())],
    "layer_norm": [([S, (3, 4), (3, 4)], (2, 1e-5))],
    "batch_norm": [([(3, 2, 4, 2), (2,), (2,)], (1e-5,)), ([(5, 3), (3,), (3,)], (1e-5,))],
    "group_norm": [([(2, 4, 3), (4,), (4,)], (2, 1e-5)), ([(2, 3, 2, 2), (3,), (3,)], (1, 1e-5)), ([(3, 4), (4,), (4,)], (2, 1e-5))],
    "batch_norm_infer": [([(3, 2, 4), (2,), (2,), (2,), (2,)], (1e-5,))],
    "max_pool": [([(2, 4, 6)], ((2, 2), (2, 2), (1, 1))), ([(2, 5, 6)], ((3, 2), (1, 2), (1, 2))), ([(1, 129)], ((1, 127), (1, 1), (1, 1))), ([(1, 129)], ((1, 128), (1, 1), (1, 1)))],
    "avg_pool": [([(2, 4, 6)], ((2, 3), (2, 1)))],
    "softplus": [([S], (2.0, 2.0))],
    "leaky_relu": [([S], (0.1,))],
    "blend": [([S, S], (0.1, 0.9))],
    "blend_variance": [([S, S], (0.1, 0.9, 6))],
    "lerp": [([S, S], (0.3,)), ([S, S], (0.8,))],
    "elu": [([S], (1.5,))],
    "hardtanh": [([S], (-0.5, 0.6))],
    "clamp": [([S], (-0.5, 0.6))],
    "polygamma": [([(2, 3)], (1,)), ([(4,)], (3,))],
    "zeta": [([(2, 3), (2, 3)], ())],
    "cross_entropy": [([(5, 4), (5,)], ())],
    "nll": [([(5, 4), (5,)], ())],
    "one_hot": [([(2, 3)], (4,))],
    "huber": [([S, S], (0.4,))],
    "sgd": [
        ([S, S, S, (), ()], (True, 0.1, 0.01, True, False, False)),
        ([S, S, S, (), ()], (False, 0, 0, False, True, True)),
    ],
    "adam": [([S, S, S, S, (), (), ()], (0.99, 1e-8, 0.01, False))],
    "adam_amsgrad": [([S, S, S, S, S, (), (), ()], (0.99, 1e-8, 0, True))],
    "adamw": [([S, S, S, S, (), (), (), ()], (0.99, 1e-8, False))],
    "adamw_amsgrad": [([S, S, S, S, S, (), (), (), ()], (0.99, 1e-8, False))],
    "rmsprop": [
        ([S, S, S, S, S, ()], (0.9, 1e-8, 0.1, 0.9, True, False)),
        ([S, S, S, S, S, ()], (0.9, 1e-8, 0, 0, False, False)),
    ],
    "adagrad": [([S, S, S, ()], (1e-8, 0.1, False))],
}
POSITIVE = {
    "log",
    "log2",
    "log10",
    "sqrt",
    "rsqrt",
    "pow",
    "log1p",
    "kl_div",
    "adam",
    "adam_amsgrad",
    "adamw",
    "adamw_amsgrad",
    "rmsprop",
    "adagrad",
    "batch_norm_infer",
    "lgamma",
    "digamma",
    "polygamma",
    "zeta",
}
UNIT = {"asin", "acos", "atanh", "binary_cross_entropy", "erfinv", "ndtri", "erfc_inverse"}
BOUND = {"gather": 3, "scatter_add": 3, "take": 3, "put_add": 3, "scatter": 3, "put": 3, "cross_entropy": 4, "nll": 4, "one_hot": 4}


def samples(s: Stanza, seed: int = 0) -> list[Sample]:
    """Operands (float64 where the signature lets us choose) and attributes for a stanza."""
    fold_cases = [([S], ((1,),)), ([S], ((0, 2),)), ([S], ((0, 1, 2),))]
    by_axes = len(s.attributes) == 1 and s.attributes[0].kind == "axes" and s.name != "flip"
    cases = SHAPES.get(s.name) or (fold_cases if by_axes else [([S] * len(s.tensors), ())])
    rng = np.random.default_rng([seed, len(s.name)])
    return [([_array(s, i, shape, rng) for i, shape in enumerate(shapes)], attrs) for shapes, attrs in cases]


def takes(s: Stanza, arrays: list[np.ndarray], attrs: tuple) -> bool:
    """Whether the op takes these operands, which were converted since."""
    try:
        s.infer(tuple((a.shape, dtype_of(a)) for a in arrays), attrs)
    except LaminaError:
        return False
    return True


def _array(s: Stanza, i: int, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    word = s.tensors[min(i, len(s.tensors) - 1)].dtype
    if word == "bool":
        return rng.uniform(size=shape) > 0.5
    if s.name == "put" and word == "int64":  # one value per place, as for scatter by "set": there the slope is known
        return rng.permutation(int(np.prod(shape))).reshape(shape)
    if s.name == "scatter" and word == "int64" and shape[1] <= 3:
        return np.argsort(rng.uniform(size=(shape[0], 3, shape[2])), 1)[:, : shape[1]]
    if word == "int64":
        return rng.integers(0, BOUND.get(s.name, 4), shape)
    if word in ("int", "bits"):
        return rng.integers(1, 6, shape)
    if s.tensors[min(i, len(s.tensors) - 1)].name == "roots":
        return next((t for t in (make(n) for make in (table, real_table) for n in (6, 8, 12, 20, 40)) if t.shape == shape), np.ones(shape))
    if s.name == "acosh":
        return rng.uniform(1.2, 3, shape)
    if s.name in UNIT:
        return rng.uniform(0.1, 0.9, shape)
    values = rng.permutation(np.linspace(0.15, 2.95, max(int(np.prod(shape)), 1)))[
        : int(np.prod(shape))
    ].reshape(shape)
    signs = 1 if s.name in POSITIVE else rng.choice([-1, 1], shape)
    values = values + 1 if s.name == "zeta" and i == 0 else values
    return np.asarray(values * signs + rng.uniform(-0.004, 0.004, shape))


IN_IR = [name for name, dialect in OPS.dialects().items() if dialect != "complex"]
"""The ops of IR: those between real and complex numbers are in recorded graphs only (test_complex.py)."""

__all__ = ["IN_IR", "OPS", "Sample", "samples"]
