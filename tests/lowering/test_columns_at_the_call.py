"""Products whose columns are known at the call only: whole vectors, then a vector of which the first lanes count."""

from __future__ import annotations

import lamina as torch
import ml_dtypes
import numpy as np
import pytest
from fresh_programs import fresh_programs  # noqa: F401  # a fixture
from hypothesis import given, settings
from hypothesis import strategies as st
from lamina.backends import driver
from lamina.backends.executable import Executable
from lamina.backends.executor import execute
from lamina.backends.toolchain import build_shared, find_compiler
from lamina.dialects import flags
from lamina.dialects.sizes import Scope, estimate, substituted
from lamina.dialects.text import parse, verify
from lamina.dialects.types import dtype_of
from lamina.lowering.contraction_covers import panels_of
from lamina.lowering.loops_to_c import emit_c
from lamina.nn import functional as F
from needs import needs_compiler

pytestmark = [needs_compiler, pytest.mark.usefixtures("fresh_programs")]

SIZES = (64, 77, 2, 3, 15, 16, 17, 31, 33, 48, 97)
"""The first is compiled for itself, the second for all."""


def drawn(*shape: int, dtype=np.float32) -> np.ndarray:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(dtype)


@given(st.integers(2, 700), st.integers(1, 8), st.sampled_from([4, 8, 16]))
def test_panels_cover_all_columns_once(columns, most, lanes):
    (n,) = Scope([200], [1 << 12]).symbols()
    seen = []
    for panel in panels_of(n, most, lanes):
        count, start = (substituted(x, [columns]) for x in (panel.count, panel.start))
        assert panel.vectors == 1 or not panel.cut
        for k in range(count):
            first = (start + k * panel.vectors) * lanes
            seen += range(first, min(first + panel.vectors * lanes, columns) if panel.cut else first + panel.vectors * lanes)
    assert seen == list(range(columns))
    assert estimate(sum(p.count * p.vectors for p in panels_of(n, most, lanes))) == -(-200 // lanes)


FORMS = {
    "columns": lambda n: ((40, 24), (24, n)),
    "columns far apart": lambda n: ((40, 24), (n, 24)),
    "rows and columns": lambda n: ((n, 24), (24, n)),
    "rows, columns and steps": lambda n: ((n, n), (n, n)),
    "a batch": lambda n: ((3, n, 16), (3, n, 16)),
    "one row": lambda n: ((1, 48), (48, n)),
}


@pytest.mark.parametrize("form", [form if form == "rows and columns" else pytest.param(form, marks=pytest.mark.slow) for form in FORMS])
@pytest.mark.slow
def test_products_with_what_becomes_of_them(form):
    """A bias along the columns, one along the rows, and a quotient: lanes that do not count divide by something, too."""
    turned = "apart" in form or "batch" in form
    for n in SIZES:
        left, right = FORMS[form](n)
        a, b = drawn(*left), drawn(*right)
        wide = np.swapaxes(b, -1, -2) if turned else b
        columns, rows = drawn(wide.shape[-1]) ** 2 + 1, drawn(a.shape[-2], 1)
        product = torch.tensor(a) @ (torch.tensor(b).transpose(-1, -2) if turned else torch.tensor(b))
        found = torch.relu((product + torch.tensor(rows)) / torch.tensor(columns)).numpy()
        np.testing.assert_allclose(found, np.maximum((a.astype(np.float64) @ wide + rows) / columns, 0), rtol=1e-4, atol=1e-4, err_msg=str(n))
    assert (driver.stats.compiles, driver.stats.symbolic, driver.stats.refused) == (2, 1, 0)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [np.float64, ml_dtypes.bfloat16, np.int32])
def test_products_of_other_types(dtype):
    for n in SIZES:
        a, b = (drawn(*shape) * 4 for shape in ((20, 24), (24, n)))
        a, b = a.astype(dtype), b.astype(dtype)
        kind = {"float64": torch.float64, "bfloat16": torch.bfloat16, "int32": torch.int32}[np.dtype(dtype).name]
        found = (torch.tensor(a.astype(np.float64)).to(kind) @ torch.tensor(b.astype(np.float64)).to(kind)).to(torch.float64).numpy()
        np.testing.assert_allclose(found, a.astype(np.float64) @ b.astype(np.float64), rtol=1e-2, atol=0.5 if dtype is ml_dtypes.bfloat16 else 1e-9)
    assert driver.stats.refused == 0 and driver.stats.symbolic == 1


@pytest.mark.slow
def test_the_program_moves_whole_vectors_and_one_that_is_cut():
    for n in (90, 100):
        torch.relu(torch.tensor(drawn(40, 24)) @ torch.tensor(drawn(24, n))).numpy()
    (source,) = {p.source for p in driver._programs.values() if p.sizes}
    lanes = 16 if "x16" in source else 8 if "x8" in source else 4
    kernel = source[source.index("struct k0_task") :]  # behind the helper functions
    assert f"store_part_f32x{lanes}(" in kernel and f"*(f32x{lanes}u *)" in kernel and f"fma_f32x{lanes}(" in kernel
    assert "fma_f32(" not in kernel, "no column is computed alone"


sizes_of_one_program = st.tuples(st.integers(2, 90), st.integers(2, 90), st.integers(2, 90))


@given(sizes_of_one_program, st.booleans())
@settings(max_examples=40, deadline=None)
@pytest.mark.slow
def test_any_sizes(sizes, turned):
    m, n, k = sizes
    for shape in ((60, 50, 40), (70, 65, 35), (m, n, k)):
        a, b = drawn(shape[0], shape[2]), drawn(shape[2], shape[1])
        other = torch.tensor(np.ascontiguousarray(b.T)).T if turned else torch.tensor(b)
        np.testing.assert_allclose((torch.tensor(a) @ other).numpy(), a.astype(np.float64) @ b, rtol=1e-4, atol=1e-4)
    assert driver.stats.refused == 0 and driver.stats.compiles <= 6  # two for the sizes alone, two for all, and again for a size of two


@pytest.mark.parametrize("causal", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.slow
def test_attention_over_any_length(causal):
    """Forward and backward: columns of the scores, and steps of both gradients."""

    def attended(n: int) -> list[np.ndarray]:
        q, k, v = (torch.tensor(drawn(2, 2, n, 8) + i).requires_grad_() for i in range(3))
        out = F.scaled_dot_product_attention(q, k, v, is_causal=causal)
        out.square().sum().backward()
        return [out.detach().numpy(), *(x.grad.numpy() for x in (q, k, v))]

    for n in (32, 45, 2, 15, 16, 17, 31, 33, 64):
        found = attended(n)
        with flags.device("numpy"):
            wanted = attended(n)
        for a, b in zip(found, wanted, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4, err_msg=str(n))
    assert driver.stats.refused == 0 and driver.stats.symbolic >= 1


@pytest.mark.slow
def test_convolutions_over_any_width():
    """Few channels: the pixels of a row are the columns."""
    weight = torch.tensor(drawn(3, 2, 3, 3))
    for n in (20, 26, 5, 15, 16, 17, 18, 19, 33):
        x = drawn(2, 2, n, n)
        found = F.conv2d(torch.tensor(x), weight, padding=1).relu().numpy()
        with flags.device("numpy"):
            wanted = F.conv2d(torch.tensor(x), weight, padding=1).relu().numpy()
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4, err_msg=str(n))
    assert driver.stats.refused == 0


# The ops: masked accesses by the loop executor and as C, with the processor's instructions and without

MASKED = """
builtin.module attributes {lamina.arena_bytes = 64 : i64} {
  func.func private @k0(%x: memref<40xT>, %y: memref<40xT>) {
    %c0 = arith.constant 0 : index
    %c1 = arith.constant 1 : index
    %cL = arith.constant LANES : index
    %last = arith.constant LAST : index
    %rest = arith.constant dense<1VALUE> : vector<LANESxT>
    scf.for %n = %c0 to %last step %c1 {
      %mask = vector.create_mask %n : vector<LANESxi1>
      %v = vector.maskedload %x[%c0], %mask, %rest : memref<40xT>, vector<LANESxi1>, vector<LANESxT> into vector<LANESxT>
      %w = arith.select %mask, %rest, %v : vector<LANESxi1>, vector<LANESxT>
      %back = OP %v, %w : vector<LANESxT>
      vector.maskedstore %y[%n], %mask, %back : memref<40xT>, vector<LANESxi1>, vector<LANESxT>
    }
    func.return
  }
  func.func @main(%x: memref<40xT>, %y: memref<40xT>, %arena: memref<64xi8>) {
    func.call @k0(%x, %y) : (memref<40xT>, memref<40xT>) -> ()
    func.return
  }
}
"""


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("code, lanes", [("f32", 16), ("f32", 8), ("f32", 4), ("f64", 8), ("i32", 16), ("i64", 4), ("i8", 16), ("i16", 16), ("f16", 16), ("bf16", 8)])
def test_masked_accesses(code, lanes, plain, tmp_path):
    is_float = "f" in code
    text = MASKED.replace("LANES", str(lanes)).replace("LAST", str(lanes + 1)).replace("OP", "arith.addf" if is_float else "arith.addi")
    module = parse(text.replace("VALUE", ".0" if is_float else "").replace("xT", f"x{code}"), "test.mlir")
    verify(module)
    source, library = tmp_path / "program.c", tmp_path / "program.so"
    written = emit_c(module).text
    source.write_text(written.replace("__AVX512", "__NO_AVX512") if plain else written)
    build_shared(find_compiler(), source, library, ("-Wall", "-Wextra", "-Werror"))
    kind = dtype_of(code)
    x = (np.random.default_rng(0).standard_normal(40) * 9).astype(ml_dtypes.bfloat16 if code == "bf16" else f"{code[0]}{int(code[1:]) // 8}")
    made = Executable(library, [((40,), kind)], [((40,), kind)], 64)([x])[0]
    (wanted,) = execute(module, [x])
    reached = slice(1, 2 * lanes)  # what is written
    np.testing.assert_array_equal(np.asarray(made)[reached].view(np.uint8), np.asarray(wanted)[reached].view(np.uint8))
