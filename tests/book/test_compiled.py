"""Every op through the whole compiler, a family per program, in every dtype, and every derivative."""

from __future__ import annotations

import numpy as np
import pytest
from lamina.backends import driver
from lamina.dialects.book import OPS, NumpyBuild
from lamina.dialects.book.stanza import CLASSES, fixed_dtype
from lamina.dialects.graph import Graph, Step
from lamina.dialects.types import (
    bfloat16,
    bool_,
    dtype_of,
    float16,
    float32,
    float64,
    int32,
    int64,
    uint8,
)

from .samples import IN_IR, samples, takes

pytestmark = pytest.mark.slow
TOLERANCE = {float64: 1e-12, float32: 3e-5, float16: 4e-3, bfloat16: 4e-2}
DIVISORS = ("floor_divide", "remainder", "fmod", "shift_left", "shift_right", "pow")
CANCELS = ("rmsprop",)  # a small difference of two moments: no tolerance fits half precision
SHELVES = ("each", "fold", "view", "contract", "is", "irregular")


class Recorder:
    """Steps of one Graph over many ops."""

    def __init__(self):
        self.arrays, self.items = [], []

    def add(self, name, arrays, attrs, seed=None):
        """An op on arrays of its own; with a seed also the derivatives of its first result."""
        self.items.append((name, list(arrays), attrs, seed))

    def graph(self):
        """The Graph and its input arrays."""
        inputs, places = [], []
        for _, arrays, _, seed in self.items:
            places.append(len(inputs))
            inputs.extend(arrays if seed is None else [*arrays, seed])
        types = [(a.shape, dtype_of(a)) for a in inputs]
        values, steps, outputs = list(types), [], []
        for (name, arrays, attrs, seed), at in zip(self.items, places, strict=True):
            ids = tuple(range(at, at + len(arrays)))
            steps.append(Step(name, attrs, ids))
            first = len(values)
            values += OPS[name].infer(tuple(types[i] for i in ids), attrs)
            if seed is None:
                outputs += range(first, len(values))
                continue
            wrt = tuple(i for i in ids if types[i][1].is_floating_point)
            steps.append(Step("autodiff.grad", (), (first, at + len(arrays), *wrt)))
            outputs += range(len(values), len(values) + len(wrt))
            values += [types[i] for i in wrt]
        names = (None,) * len(inputs)
        origins = tuple(f"{s.op}:1" for s in steps)
        return Graph(tuple(types), tuple(steps), tuple(outputs), origins, names, tuple(values)), inputs


def admits(s, dtype):
    """True if some operand of the op can be of this dtype and none refuses it."""
    words = [p.dtype for p in s.tensors]
    free = [w for w in words if fixed_dtype(w) is None]
    return bool(free) and all(dtype.kind in CLASSES.get(w, CLASSES["any"])[0] for w in free)


def converted(s, arrays, dtype):
    """Sample operands in this dtype: integers spread out, unsigned ones positive, divisors not 0."""
    params = [*s.tensors, *[s.tensors[-1]] * len(arrays)]
    out = []
    for i, (a, p) in enumerate(zip(arrays, params, strict=False)):
        if fixed_dtype(p.dtype) is None:
            a = a * 3 if dtype.kind in "iu" and a.dtype.kind == "f" else a
            a = np.array((np.abs(a) if dtype.kind == "u" else a).astype(dtype.numpy))
            if i == 1 and dtype.kind in "iu" and s.name in DIVISORS:
                a = np.maximum(np.abs(a), 1).astype(dtype.numpy)
        out.append(a)
    return out


def fits(attrs, dtype):
    """False if the op takes a body that is a Graph of another dtype."""
    bodies = [value for value in attrs if isinstance(value, Graph)]
    return all(body.inputs[0][1] is dtype for body in bodies)


@pytest.mark.parametrize("family", SHELVES)
@pytest.mark.parametrize(
    "dtype", [float32, float64, float16, bfloat16, int64, int32, uint8, bool_], ids=lambda d: d.name
)
def test_values(family, dtype):
    program = Recorder()
    for s in map(OPS.__getitem__, IN_IR):
        if s.family == family and admits(s, dtype) and not (s.name in CANCELS and dtype.itemsize == 2):
            for arrays, attrs in samples(s):
                if fits(attrs, dtype) and takes(s, made := converted(s, arrays, dtype), attrs):
                    program.add(s.name, made, attrs)
    if not program.items:
        return
    graph, inputs = program.graph()
    found = iter(driver.compile_graph(graph)(inputs))
    for name, arrays, attrs, _ in program.items:
        for want in OPS[name].evaluate(arrays, attrs):
            got = next(found)
            assert got.shape == want.shape and got.dtype == want.dtype, name
            tolerance = TOLERANCE.get(dtype, 0)
            np.testing.assert_allclose(
                got.astype(float),
                want.astype(float),
                rtol=tolerance,
                atol=tolerance,
                err_msg=f"{name} {attrs}",
            )


@pytest.mark.parametrize("family", SHELVES)
def test_derivatives(family):
    program, rng = Recorder(), np.random.default_rng(0)
    for s in map(OPS.__getitem__, IN_IR):
        if s.family != family or not admits(s, float32) or not s.has_derivative:
            continue
        for arrays, attrs in samples(s):
            if not fits(attrs, float32):
                continue
            arrays = converted(s, arrays, float32)
            if not takes(s, arrays, attrs):
                continue
            shape, dtype = s.infer(tuple((a.shape, dtype_of(a)) for a in arrays), attrs)[0]
            if dtype is float32:
                program.add(s.name, arrays, attrs, np.asarray(rng.normal(size=shape), np.float32))
    graph, inputs = program.graph()
    found = iter(driver.compile_graph(graph)(inputs))
    for name, arrays, attrs, seed in program.items:
        s = OPS[name]
        exact = [a.astype(np.float64) if a.dtype == np.float32 else a for a in arrays]
        results = s.evaluate(exact, attrs)
        cotangents = [seed.astype(np.float64)] + [None] * (len(results) - 1)
        wanted = [a.dtype == np.float64 for a in exact]
        want = s.gradients(NumpyBuild(OPS), exact, results, cotangents, attrs, wanted)
        for i, gradient in enumerate(want):
            if wanted[i]:
                gradient = np.zeros(exact[i].shape) if gradient is None else gradient
                np.testing.assert_allclose(
                    next(found), gradient, rtol=3e-4, atol=3e-5, err_msg=f"{name} {attrs} {i}"
                )
