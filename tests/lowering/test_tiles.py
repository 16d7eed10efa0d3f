"""Contractions in tile registers (AMX): what the C computes against numpy, with the instructions and without, and the loop executor."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("hypothesis")
from hypothesis import HealthCheck, given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from lamina.backends.executor import execute  # noqa: E402
from lamina.backends.pipelines import standard_pipeline  # noqa: E402
from lamina.dialects.target import AVX512_AMX, native_target, target_named, with_f32  # noqa: E402
from lamina.dialects.types import bfloat16, float32, int8, int32, uint8  # noqa: E402
from lamina.lowering.capture import capture  # noqa: E402
from lamina.lowering.contraction_candidates import candidates, neighbours  # noqa: E402
from lamina.lowering.contraction_choice import choice, like  # noqa: E402
from lamina.lowering.contraction_decision import read_decision  # noqa: E402
from lamina.lowering.contraction_schedule import posed  # noqa: E402

sys.path.insert(0, str(Path(__file__).parent))
from contraction_programs import NHWC, Compiled, Operand, Program, kernel_of, linear, lowered, matrix  # noqa: E402

sys.path.insert(0, str(Path(__file__).parents[1]))
from graphs import Recorder  # noqa: E402
from needs import needs_compiler  # noqa: E402
from xdsl.dialects import func  # noqa: E402

pytestmark = needs_compiler

TILES = replace(AVX512_AMX, vector_bytes=4)  # whose vectors are so slow that tiles always pay
PLAIN_C = ("-mno-amx-tile",) if native_target().tiles else ()
STRICT = ("-Wall", "-Wextra", "-Werror", "-O0")  # the compiler's time is most of what these tests take
FLAGS = {"plain": (*STRICT, *PLAIN_C)} | ({"amx": STRICT} if native_target().tiles else {})
ULP = {"bf16": 2.0**-8, "f32": 2.0**-22}


def arrays_of(program: Program, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [o.array(program.sizes, rng) for o in (program.left, program.right, *program.others)]


def bits_of(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)


def assert_right(program: Program, apply=None, target=TILES, arrays=None, plan: str = "") -> None:  # noqa: ANN001
    made = lowered(program, target, plan=plan)
    assert made is not None and any(op.name == "amx.tile_config" for op in made[0].walk()), "planned for vectors"
    arrays = arrays or arrays_of(program)
    found = {name: Compiled(program, target, flags=flags, made=made)(arrays) for name, flags in FLAGS.items()}
    wanted = program.expected(arrays, apply).reshape(found["plain"].shape)
    element = program.result.element
    for name, values in found.items():
        if element in ULP:
            depth = np.prod([n for k, n in program.sizes.items() if k not in program.parallel])
            tolerance = ULP[element] * np.abs(wanted).max() + 2.0**-20 * depth**0.5 * 4
            np.testing.assert_allclose(values.astype(np.float64), wanted, rtol=0, atol=tolerance, err_msg=name)
        else:
            np.testing.assert_array_equal(values, wanted.astype(values.dtype), err_msg=name)
        np.testing.assert_array_equal(bits_of(values), bits_of(found["plain"]), err_msg=f"{name} and plain C differ")


def product(m: int, n: int, k: int, a: str = "mk", b: str = "kn", result: str = "f32", element: str = "bf16", casts=("extf", "extf")) -> Program:  # noqa: ANN001
    left, right = Operand(tuple(a), element=element), Operand(tuple(b), element=element)
    return Program({"m": m, "n": n, "k": k}, left, right, Operand(("m", "n"), element=result), direct=True, casts=casts)


def name_of(program: Program) -> str:
    return "-".join([*map(str, program.sizes.values()), *program.left.dims, *program.right.dims, program.left.element, program.result.element])


@pytest.mark.parametrize(
    "program",
    [
        product(64, 48, 96, b="nk"), product(33, 50, 70), product(17, 40, 65, "km"), product(1, 100, 300), product(16, 16, 3000),
        product(40, 18, 33, "km", "nk", "bf16"), product(63, 7, 64),  # tiles of two heights follow each other
        *(
            pytest.param(program, marks=pytest.mark.slow)
            for program in (
                product(20, 48, 37, "mk", "nk"), product(19, 35, 64, "km", "nk"), product(100, 1, 64), product(5, 7, 100),
                product(33, 20, 2000, "km"), product(70, 40, 31, result="bf16"),
            )
        ),
    ],
    ids=name_of,
)  # fmt: skip
@pytest.mark.slow
def test_products_of_bf16(program: Program) -> None:
    assert_right(program)


@pytest.mark.parametrize(
    ("shape", "casts"),
    [
        ((33, 50, 70, "mk", "kn"), ("extsi", "extui")), ((20, 17, 131, "km", "nk"), ("extui", "extsi")),
        pytest.param((64, 32, 128, "mk", "nk"), ("extsi", "extsi"), marks=pytest.mark.slow),
        pytest.param((33, 50, 70, "mk", "kn"), ("extui", "extui"), marks=pytest.mark.slow),
    ],
)  # fmt: skip
@pytest.mark.slow
def test_products_of_bytes(shape: tuple[int, int, int, str, str], casts: tuple[str, str]) -> None:
    assert_right(product(*shape, result="i32", element="i8", casts=casts))


def test_products_of_bytes_that_wrap_around() -> None:
    assert_right(product(33, 50, 70, result="i8", element="i8"))


def test_infinities_and_what_is_not_a_number_stay_in_their_row_and_column() -> None:
    program = product(20, 19, 37)  # zeros behind the last depth meet nothing of the next row
    a, b = arrays_of(program)
    a[3, 36], a[7, 0], b[5, 18], a[11, :] = np.inf, np.nan, -np.inf, 1e-39
    found = Compiled(program, TILES)([a, b])
    wanted = a.astype(np.float32) @ b.astype(np.float32)
    wanted[11, 18] = np.nan  # numbers below the normal ones count as zero
    np.testing.assert_array_equal(np.isnan(found), np.isnan(wanted))
    finite = np.isfinite(wanted)
    np.testing.assert_array_equal(found[~finite & ~np.isnan(wanted)], wanted[~finite & ~np.isnan(wanted)])
    np.testing.assert_allclose(found[finite], wanted[finite], atol=1e-4)


BIAS = "%s = arith.addf %0, %1 : f32\n%z = arith.constant 0.0 : f32\n%y = arith.maximumf %s, %z : f32"


@pytest.mark.parametrize("n", [48, 37])
def test_epilogues(n: int) -> None:
    sizes = {"m": 29, "n": n, "k": 64}
    left, right = Operand(("m", "k"), element="bf16"), Operand(("n", "k"), element="bf16")
    bias = Program(sizes, left, right, Operand(("m", "n")), (Operand(("n",)),), BIAS)
    assert_right(bias, lambda t, b: np.maximum(t + b, 0))
    body = "%s = arith.mulf %0, %1 : f32\n%m = arith.select %3, %s, %2 : f32\n%y = arith.addf %m, %2 : f32"
    others = (Operand(("m",)), Operand(("m", "n"), (1, 0)), Operand(("m", "n"), element="i1"))
    masked = Program(sizes, left, right, Operand(("m", "n")), others, body)
    assert_right(masked, lambda t, scale, rest, mask: np.where(mask, t * scale, rest) + rest)


def window(n: int, c: int, o: int, h: int, k: int, stride: int = 1, order: tuple[int, ...] | None = NHWC) -> Program:
    out = (h - k) // stride + 1
    sizes = {"n": n, "o": o, "i": out, "j": out, "c": c, "u": k, "v": k}
    i, j = (f"{stride}*i+u", f"{stride}*j+v") if stride > 1 else ("i+u", "j+v")
    x, w = Operand(("n", "c", i, j), order, "bf16"), Operand(("o", "c", "u", "v"), element="bf16")
    return Program(sizes, x, w, Operand(("n", "o", "i", "j"), order), direct=True)


def gradient(n: int, c: int, o: int, h: int, k: int) -> Program:
    out = h - k + 1
    sizes = {"o": o, "c": c, "u": k, "v": k, "n": n, "i": out, "j": out}
    x, g = Operand(("n", "c", "i+u", "j+v"), NHWC, "bf16"), Operand(("n", "o", "i", "j"), NHWC, "bf16")
    return Program(sizes, x, g, Operand(("o", "c", "u", "v")), direct=True)


@pytest.mark.parametrize(
    "program", [window(2, 32, 16, 9, 3), window(1, 3, 40, 21, 3, 2), window(2, 5, 7, 9, 3, order=None), gradient(2, 8, 17, 9, 3)], ids=name_of
)  # fmt: skip
def test_convolutions(program: Program) -> None:
    assert_right(program)


def test_rows_that_are_copied_once() -> None:
    """Windows overlap in the copy, which has zeros up to whole blocks of depths."""
    assert_right(window(2, 5, 20, 9, 3, 2, order=None), plan="unit=tiles side=right copy=once")


def test_batches() -> None:
    sizes = {"z": 3, "m": 17, "n": 33, "k": 40}
    left, right = Operand(("z", "m", "k"), element="bf16"), Operand(("z", "n", "k"), element="bf16")
    assert_right(Program(sizes, left, right, Operand(("z", "m", "n")), direct=True))


@st.composite
def programs(draw: st.DrawFn) -> Program:
    """Loops b (batch), m, n (rows), o, p (columns), k, l (reductions); rows may be windows over k."""
    sizes = {"b": draw(st.integers(1, 3)), "m": draw(st.integers(1, 40)), "n": draw(st.integers(1, 5))}
    sizes |= {"o": draw(st.integers(1, 70)), "p": draw(st.integers(1, 3)), "k": draw(st.integers(1, 5)), "l": draw(st.integers(2, 80))}
    element, result = draw(st.sampled_from([("bf16", "f32"), ("bf16", "bf16"), ("i8", "i32"), ("i8", "i8")]))
    windowed = draw(st.booleans())
    row = f"{draw(st.integers(1, 2))}*m+k" if windowed else "m"

    def shuffled(dims: list[str], element: str) -> Operand:
        order = draw(st.permutations(range(len(dims))))
        return Operand(tuple(dims), None if list(order) == sorted(order) else tuple(order), element)

    left = shuffled(["b", row, "n", *([] if windowed else ["k"]), "l"], element)
    right = shuffled(["b", "o", "p", "k", "l"], element)
    casts = ("extf", "extf") if element == "bf16" else (draw(st.sampled_from(["extsi", "extui"])), "extsi")
    casts = casts if element != result else ("extsi", "extsi")
    return Program(sizes, left, right, shuffled(["b", "m", "n", "o", "p"], result), direct=True, casts=casts)


@pytest.mark.slow
@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(programs())
def test_random_products(program: Program) -> None:
    found = posed(kernel_of(program)[1], TILES)
    if found is None:
        return
    for plan in ("unit=tiles", "unit=tiles copy=once"):
        if like(found[2], TILES, read_decision(plan)) is not None:
            assert_right(program, plan=plan)


@pytest.mark.parametrize("program", [product(18, 20, 45), product(18, 20, 70, "km", "nk", "bf16"), product(5, 33, 70, result="i32", element="i8", casts=("extsi", "extui"))], ids=name_of)  # fmt: skip
def test_the_executor_computes_what_the_c_computes(program: Program) -> None:
    made = lowered(program, TILES)
    assert made is not None
    arrays = arrays_of(program)
    module, scratch = made
    memory = [*arrays, np.zeros(program.result.shape(program.sizes), arrays[0].dtype)][: len(arrays)]
    found = execute(module, memory)[0]
    np.testing.assert_array_equal(bits_of(found), bits_of(Compiled(program, TILES)(arrays)))


def test_small_products_stay_with_vectors() -> None:
    made = lowered(product(4, 8, 16), AVX512_AMX)
    assert made is None or not any(op.name.startswith("amx.") for op in made[0].walk())
    made = lowered(matrix(64, 64, 64), AVX512_AMX)
    assert made is not None and not any(op.name.startswith("amx.") for op in made[0].walk()), "f32 is not narrow"


@pytest.mark.parametrize("program", [product(70, 50, 96, "mk", "nk"), window(2, 32, 40, 9, 3)], ids=name_of)
def test_plans_are_text_that_can_be_taken_again(program: Program) -> None:
    found = posed(kernel_of(program)[1], AVX512_AMX)
    assert found is not None
    chosen = choice(found[2], AVX512_AMX)
    assert chosen is not None and chosen.decision.unit == "tiles"
    assert like(found[2], AVX512_AMX, read_decision(str(chosen.decision))) == chosen
    other = like(found[2], AVX512_AMX, read_decision("unit=tiles side=left vectors=1"))
    assert other is not None and other.swapped and other != chosen
    vectors = choice(found[2], AVX512_AMX, read_decision("unit=vectors"))
    assert vectors is not None and vectors.blocks is None
    tried = candidates(found[2], AVX512_AMX, 8)
    assert tried[0] == chosen.decision and {d.unit for d in tried if not d.plain} == {None, "tiles"}
    assert all(d.unit == "tiles" for d in neighbours(found[2], AVX512_AMX, chosen.decision))


@pytest.mark.parametrize(("how", "bits"), [("bf16", 8), ("3xbf16", 16)])
@pytest.mark.parametrize("program", [matrix(40, 37, 70), matrix(33, 20, 64, "km", "nk"), linear(19, 40, 33)], ids=name_of)
@pytest.mark.slow
def test_f32_as_numbers_of_bf16(program: Program, how: str, bits: int) -> None:
    target = replace(target_named(f"avx512_amx_{how}"), vector_bytes=4)
    made = lowered(program, target)
    assert made is not None and sum(op.name == "amx.tile_mulf" for op in made[0].walk()) % (1 if bits == 8 else 3) == 0
    arrays = arrays_of(program)
    found = {name: Compiled(program, target, flags=flags, made=made)(arrays) for name, flags in FLAGS.items()}
    wanted = program.expected(arrays, (lambda t, b: np.maximum(t + b, 0)) if program.others else None).reshape(found["plain"].shape)
    error = np.abs(found["plain"] - wanted).max() / np.abs(wanted).max()
    assert 2.0 ** (-bits - 6) < error < 2.0 ** (2 - bits)
    for values in found.values():
        np.testing.assert_array_equal(bits_of(values), bits_of(found["plain"]))


@pytest.mark.parametrize("how", ["bf16", "3xbf16"])
@pytest.mark.parametrize("letters", ["kn", "nk"])
@pytest.mark.slow
def test_f32_as_numbers_of_bf16_keeps_infinities(how: str, letters: str) -> None:
    """Infinity times what one number of bf16 holds, times what takes two, times infinity, times zero; the largest float is none."""
    program, target = matrix(20, 19, 37, "mk", letters), replace(target_named(f"avx512_amx_{how}"), vector_bytes=4)
    a, b = arrays_of(program)
    columns = b if letters == "kn" else b.T
    a[3, 36], a[7, 0], columns[5, 18], columns[36, :4], a[9, 5], a[11, 2] = np.inf, np.nan, -np.inf, (1, 0.1, -np.inf, 0), -np.inf, np.finfo(np.float32).max
    made = lowered(program, target)
    assert made is not None and any(op.name == "amx.tile_mulf" for op in made[0].walk())
    found = Compiled(program, target, flags=FLAGS["plain"], made=made)([a, b])
    a[11, 2] = np.inf  # what it is as bf16
    with np.errstate(invalid="ignore"):
        wanted = a @ columns
    np.testing.assert_array_equal(np.isnan(found), np.isnan(wanted))
    infinite = np.isinf(wanted)
    np.testing.assert_array_equal(found[infinite], wanted[infinite])
    assert np.isfinite(found[~infinite & ~np.isnan(wanted)]).all()


def test_targets_that_multiply_f32_otherwise() -> None:
    assert with_f32("avx512_amx", "tf32") == "avx512_amx_3xbf16" and with_f32("avx512_amx", "bf16") == "avx512_amx_bf16"
    assert with_f32("avx512_amx", "3xtf32") == with_f32("avx512_amx", "ieee") == "avx512_amx", "two numbers of bf16 are not enough for that"
    assert with_f32("avx512", "tf32") == "avx512" and with_f32("sm_80", "bf16") == "sm_80_tf32"
    assert target_named("avx512_amx_bf16").f32 == "bf16" and target_named("avx512_amx").f32 == "ieee"
    for name in ("avx512_vnni_bf16", "avx512_amx_ieee", "avx512_amx_tf32"):
        with pytest.raises(ValueError, match="no target is called"):
            target_named(name)


def test_products_read_the_bytes_that_were_widened_for_them() -> None:
    r = Recorder()
    x, y = r.input((70, 96), int8), r.input((96, 50), uint8)
    module = capture(r.graph(r("matmul", r("cast", x, attrs=(int32,)), r("cast", y, attrs=(int32,)))))
    standard_pipeline("avx512_amx").until("loops").run(module)
    calls = [op for op in module.walk() if isinstance(op, func.CallOp)]
    assert len(calls) == 1, "the widened matrices are made"
    assert any(op.name == "amx.tile_muli" and op.is_zext_rhs is not None for op in module.walk())
    rng = np.random.default_rng(0)
    a, b = rng.integers(-128, 128, (70, 96)).astype(np.int8), rng.integers(0, 256, (96, 50)).astype(np.uint8)
    np.testing.assert_array_equal(execute(module, [a, b])[0], a.astype(np.int32) @ b.astype(np.int32))


@pytest.mark.parametrize("both", [True, False])
def test_products_read_the_bf16_that_was_widened_for_them(both: bool) -> None:
    r = Recorder()
    x, y = r.input((40, 64), bfloat16), r.input((64, 96), bfloat16 if both else float32)
    module = capture(r.graph(r("matmul", r("cast", x, attrs=(float32,)), r("cast", y, attrs=(float32,)) if both else y)))
    standard_pipeline("avx512_amx").until("loops").run(module)
    assert any(op.name == "amx.tile_mulf" for op in module.walk()) == both, "what is multiplied with f32 stays f32"
    assert len([op for op in module.walk() if isinstance(op, func.CallOp)]) == (1 if both else 2)
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal(shape, dtype=np.float32).astype(bfloat16.numpy) for shape in ((40, 64), (64, 96)))
    found = execute(module, [a, b if both else b.astype(np.float32)])[0]
    np.testing.assert_allclose(found, a.astype(np.float32) @ b.astype(np.float32), rtol=0, atol=2e-5)
