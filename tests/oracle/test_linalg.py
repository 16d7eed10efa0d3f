"""The oracle on the linalg forms of kernels, against numpy said another way."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from lamina.backends.check import sample_inputs
from lamina.backends.oracle import evaluate
from lamina.backends.oracle_linalg import Linear, view_over_loops
from lamina.dialects.errors import DTypeError, ShapeError, UnsupportedError
from lamina.dialects.text import parse

FORMS = Path(__file__).parents[1] / "lowering"


def run(name: str) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Inputs and outputs of one of the example kernels."""
    module = parse((FORMS / f"{name}.mlir").read_text(), name)
    arrays = sample_inputs(module, seed=1)
    return arrays, evaluate(module, arrays)


def test_row_reduction() -> None:
    (x,), (y,) = run("kernel_row_reduction")
    np.testing.assert_allclose(y, (x.astype(float) ** 2).sum(1, keepdims=True), rtol=1e-5)


def test_softmax() -> None:
    (x,), (y,) = run("kernel_softmax")
    e = np.exp(x.astype(float) - x.max(1, keepdims=True))
    np.testing.assert_allclose(y, e / e.sum(1, keepdims=True), rtol=1e-5)


def test_several_results() -> None:
    (x,), (mean, var) = run("kernel_batch_statistics")
    np.testing.assert_allclose(mean, x.mean((0, 2, 3), keepdims=True), atol=1e-6)
    np.testing.assert_allclose(var, x.var((0, 2, 3), keepdims=True), rtol=1e-4)


def test_convolution_with_epilogue() -> None:
    (x, k, bias), (y,) = run("kernel_convolution")
    windows = np.lib.stride_tricks.sliding_window_view(x[:, 0].astype(float), (3, 3), (2, 3))
    want = np.einsum("nchwuv,ocuv->nohw", windows, k[0]) + bias[None, :, None, None]
    np.testing.assert_allclose(y, np.maximum(want, 0), atol=1e-4)


def test_window_fold() -> None:
    (x,), (y,) = run("kernel_max_pool")
    np.testing.assert_array_equal(y[..., 0, 0], x.reshape(8, 16, 7, 2, 7, 2).max((3, 5)))


def test_accumulating_placement() -> None:
    (g,), (y,) = run("kernel_unwindow")
    want = np.zeros((8, 16, 13))
    for i in range(6):
        want[:, :, 2 * i : 2 * i + 3] += g[:, :, i]
    np.testing.assert_allclose(y, want, atol=1e-6)


def test_reads_through_an_index() -> None:
    (table, index), (y,) = run("kernel_take")
    np.testing.assert_array_equal(y, table[index])


def test_views_over_loops_of_any_strides() -> None:
    """Layouts below the tensor levels are not row-major, and boxes start anywhere."""
    maps = [[Linear(1, {0: 2}), Linear(3, {1: -1})]]
    for order in "CF":
        array = np.array(np.arange(24.0).reshape(6, 4), order=order)
        view = view_over_loops(array, maps[0], (3, 4))
        np.testing.assert_array_equal(view, array[1::2, ::-1])


BODY = """
builtin.module {
  func.func @main(%x: tensor<4x6xf32>) -> (tensor<4xf32>, tensor<4xi64>) {
    %low = arith.constant 0xFF800000 : f32
    %zero = arith.constant 0 : i64
    %e0 = tensor.empty() : tensor<4xf32>
    %e1 = tensor.empty() : tensor<4xi64>
    %f0 = linalg.fill ins(%low : f32) outs(%e0 : tensor<4xf32>) -> tensor<4xf32>
    %f1 = linalg.fill ins(%zero : i64) outs(%e1 : tensor<4xi64>) -> tensor<4xi64>
    %m, %i = linalg.generic {indexing_maps = [affine_map<(d0, d1) -> (d0, d1)>, affine_map<(d0, d1) -> (d0)>,
      affine_map<(d0, d1) -> (d0)>], iterator_types = ["parallel", "reduction"]}
      ins(%x : tensor<4x6xf32>) outs(%f0, %f1 : tensor<4xf32>, tensor<4xi64>) {
    ^bb0(%v: f32, %best: f32, %at: i64):
      %d = linalg.index 1 : index
      %k = arith.index_cast %d : index to i64
      %c = arith.cmpf ogt, %v, %best : f32
      %a = arith.select %c, %v, %best : f32
      %b = arith.select %c, %k, %at : i64
      linalg.yield %a, %b : f32, i64
    } -> (tensor<4xf32>, tensor<4xi64>)
    func.return %m, %i : tensor<4xf32>, tensor<4xi64>
  }
}
"""


def test_a_body_that_is_no_plain_fold_runs_step_by_step() -> None:
    module = parse(BODY)
    (x,) = sample_inputs(module)
    x[2, 1] = x[2, 4] = 9
    largest, where = evaluate(module, [x])
    np.testing.assert_array_equal(largest, x.max(1))
    np.testing.assert_array_equal(where, x.argmax(1))


def test_a_map_that_reads_outside_is_an_error() -> None:
    text = BODY.replace("affine_map<(d0, d1) -> (d0, d1)>", "affine_map<(d0, d1) -> (d0, d1 + 1)>")
    module = parse(text.replace("tensor<4x6xf32>", "tensor<4x6xf32>"))
    with pytest.raises(ShapeError, match="loop dim 1"):
        evaluate(module, sample_inputs(module))


def test_wrong_inputs_are_refused() -> None:
    module = parse(BODY)
    with pytest.raises(ShapeError, match="takes 1 inputs, got 0"):
        evaluate(module, [])
    with pytest.raises(ShapeError, match=r"input 0 has shape \[6, 4\]"):
        evaluate(module, [np.zeros((6, 4), np.float32)])
    with pytest.raises(DTypeError, match="input 0 holds float64"):
        evaluate(module, [np.zeros((4, 6))])


def test_an_op_of_a_lower_level_has_no_meaning() -> None:
    module = parse("""builtin.module { func.func @main(%x: memref<4xf32>) {
        %c = arith.constant 0 : index
        %v = memref.load %x[%c] : memref<4xf32>
        func.return } }""")
    main = next(iter(module.ops))
    from lamina.backends.oracle import run_block

    block = main.body.block
    with pytest.raises(UnsupportedError, match=r"no meaning for memref.load"):
        run_block(block, {block.args[0]: np.zeros(4, np.float32)})
