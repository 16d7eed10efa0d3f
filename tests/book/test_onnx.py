"""Every op of the book as an ONNX model, run by ONNX Runtime, or where it has no kernel for a type by ONNX's reference, against the oracle."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from lamina.backends.onnx.model import onnx_model
from lamina.dialects.book import OPS
from lamina.dialects.errors import UnsupportedError
from lamina.dialects.graph import Graph, Step
from lamina.dialects.types import bool_, dtype_of, float16, float32, float64, int8, int32, int64, uint8
from onnx.reference import ReferenceEvaluator

from .samples import IN_IR, samples, takes
from .test_compiled import admits, converted, fits

TOLERANCE = {float64: 1e-6, float32: 2e-5, float16: 4e-3}
FLOATS_ONLY = ("conv", "conv_input", "conv_kernel")
# erfc is 1 - erf, which ONNX's reference computes in float32; erfcx multiplies what is left of it by a large number.
# ONNX Runtime sums transforms of numbers that are no power of two one by one.
LOOSE = {"erfcx": 1e-3, "dft_parts": 1e-3, "real_dft": 1e-3, "dft_to_real": 1e-3}
CASES = [(float32, 17), (float32, 20), *((t, 18) for t in (float64, float16, int64, int32, int8, uint8, bool_)), (int64, 17)]


def of_one_op(name: str, arrays: list[np.ndarray], attrs: tuple) -> Graph:
    types = tuple((a.shape, dtype_of(a)) for a in arrays)
    results = tuple(OPS[name].infer(types, attrs))
    n = len(types)
    names = tuple(f"a{i}" for i in range(n))
    return Graph(types, (Step(name, attrs, tuple(range(n))),), tuple(range(n, n + len(results))), (f"{name}:1",), names, types + results)


def run(model: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    except onnxruntime.capi.onnxruntime_pybind11_state.NotImplemented:
        with np.errstate(all="ignore"):
            return ReferenceEvaluator(model).run(None, feeds)
    return session.run(None, feeds)


@pytest.mark.parametrize(("dtype", "opset"), CASES, ids=lambda case: getattr(case, "name", case))
@pytest.mark.slow
def test_values(dtype, opset):
    checked = 0
    for s in map(OPS.__getitem__, IN_IR):
        if not (admits(s, dtype) or dtype is float32 and not s.tensors):
            continue
        for given, attrs in samples(s):
            if not fits(attrs, dtype) or dtype is float64 and s.name == "conv_input":  # ONNX's reference knows ConvTranspose in two dimensions only
                continue
            arrays = converted(s, given, dtype) if given else given
            if not takes(s, arrays, attrs):
                continue
            graph = of_one_op(s.name, arrays, attrs)
            needs_18 = opset == 17 and s.name.startswith(("bitwise_", "philox")) and dtype is not bool_
            if dtype.kind != "f" and s.name in FLOATS_ONLY or needs_18 or s.name == "bitcast":
                with pytest.raises(UnsupportedError, match=f"at {s.name}:1" if needs_18 else "convolutions|has no bitcast"):
                    onnx_model([graph], {}, opset=opset)
                continue
            model = onnx_model([graph], {}, opset=opset)
            onnx.checker.check_model(model, full_check=True)
            tolerance = max(LOOSE.get(s.name, 0), TOLERANCE.get(dtype, 0))
            for got, want in zip(run(model, dict(zip(graph.names, arrays, strict=True))), s.evaluate(arrays, attrs), strict=True):
                assert got.shape == want.shape and got.dtype == want.dtype, s.name
                np.testing.assert_allclose(got.astype(float), want.astype(float), rtol=tolerance, atol=tolerance, err_msg=f"{s.name} {attrs}")
            checked += 1
    assert checked > 40


def test_constants_are_computed_when_the_model_is_written():
    graph = of_one_op("matmul", [np.eye(3, dtype=np.float32), np.ones((3, 2), np.float32)], ())
    model = onnx_model([graph], {0: np.eye(3, dtype=np.float32), 1: np.ones((3, 2), np.float32)})
    assert [node.op_type for node in model.graph.node] == ["Identity"]
