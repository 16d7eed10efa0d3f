"""Contractions by vectors that add several products to a sum at once: what the C computes against numpy, with the instructions and without."""

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
from lamina.dialects.target import AVX2, AVX2_VNNI, AVX512, AVX512_AMX, AVX512_BF16, AVX512_HALVES, AVX512_VNNI, PORTABLE, Target, described_by, native_target  # noqa: E402
from lamina.dialects.types import float32, int8, int32, uint8  # noqa: E402
from lamina.lowering.capture import capture  # noqa: E402
from lamina.lowering.contraction_candidates import candidates, neighbours  # noqa: E402
from lamina.lowering.contraction_choice import choice, like  # noqa: E402
from lamina.lowering.contraction_decision import read_decision  # noqa: E402
from lamina.lowering.contraction_schedule import posed  # noqa: E402

sys.path.insert(0, str(Path(__file__).parent))
from contraction_programs import NHWC, Compiled, Operand, Program, kernel_of, lowered, matrix  # noqa: E402

sys.path.insert(0, str(Path(__file__).parents[1]))
from graphs import Recorder  # noqa: E402
from needs import needs_compiler  # noqa: E402
from xdsl.dialects import func  # noqa: E402

pytestmark = needs_compiler

PLAIN = ("-Wall", "-Wextra", "-Werror", "-O0", "-march=x86-64" if native_target().vector_bytes > 16 and native_target().name != "neon" else "-O0")
STRICT = ("-Wall", "-Wextra", "-Werror", "-O0")  # the compiler's time is most of what these tests take

SIGNS = [("extsi", "extsi"), ("extui", "extsi"), ("extsi", "extui"), ("extui", "extui")]


def arrays_of(program: Program, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [o.array(program.sizes, rng) for o in (program.left, program.right, *program.others)]


def dots_of(made: object) -> list[str]:
    assert made is not None
    return [op.kind.data for op in made[0].walk() if op.name == "kernel.dot"]  # type: ignore[index]  # a module and its scratch memory


def assert_right(program: Program, target: Target, plain: bool = False, plan: str = "unit=dots") -> None:
    made = lowered(program, target, plan=plan)
    assert dots_of(made), "planned for something else"
    arrays = arrays_of(program)
    wanted = program.expected(arrays)
    flags = {"this machine": STRICT} | ({"plain": PLAIN} if plain else {})
    found = {name: Compiled(program, target, flags=of, made=made)(arrays).reshape(wanted.shape) for name, of in flags.items()}
    for name, values in found.items():
        if program.left.element == "bf16":
            tolerance = (2.0**-8 if values.dtype != np.float32 else 2.0**-20) * max(1.0, np.abs(wanted).max()) * 4
            np.testing.assert_allclose(values.astype(np.float64), wanted, rtol=0, atol=tolerance, err_msg=name)
            np.testing.assert_array_equal(values, found["this machine"], err_msg="the instruction and plain C differ")
        else:
            np.testing.assert_array_equal(values, wanted.astype(values.dtype), err_msg=name)


def product(m: int, n: int, k: int, a: str = "mk", b: str = "kn", result: str = "i32", element: str = "i8", casts=("extsi", "extsi")) -> Program:  # noqa: ANN001
    left, right = Operand(tuple(a), element=element), Operand(tuple(b), element=element)
    return Program({"m": m, "n": n, "k": k}, left, right, Operand(("m", "n"), element=result), direct=True, casts=casts)


def name_of(value: Program | Target) -> str:
    if isinstance(value, Target):
        return value.name
    return "-".join([*map(str, value.sizes.values()), *value.left.dims, *value.right.dims, value.left.element, value.result.element])


@pytest.mark.parametrize("target", [AVX2_VNNI, AVX2], ids=name_of)
@pytest.mark.parametrize("casts", SIGNS, ids="-".join)
def test_products_of_bytes(casts: tuple[str, str], target: Target) -> None:
    assert_right(product(9, 21, 38, casts=casts), target, plain=casts == SIGNS[0])


@pytest.mark.parametrize("target", [AVX512_VNNI, AVX512], ids=name_of)
@pytest.mark.slow
def test_products_of_bytes_in_wide_vectors(target: Target) -> None:
    assert_right(product(19, 37, 70), target, plain=True)


@pytest.mark.parametrize("target", [pytest.param(AVX512_VNNI, marks=pytest.mark.slow), AVX2_VNNI, pytest.param(AVX2, marks=pytest.mark.slow)], ids=name_of)
@pytest.mark.parametrize(
    "program",
    [
        product(33, 50, 64, "mk", "nk", casts=("extui", "extsi")), product(20, 17, 71, "km", "nk"), product(1, 100, 300, "mk", "nk"),
        product(5, 7, 100, "km"), product(70, 8, 3), product(17, 20, 37, result="i8"),
        *(pytest.param(p, marks=pytest.mark.slow) for p in (product(64, 64, 64), product(40, 18, 33, "km", "nk"), product(16, 16, 5000), product(100, 1, 64))),
    ],
    ids=name_of,
)  # fmt: skip
def test_odd_sizes_and_turned_operands(program: Program, target: Target) -> None:
    assert_right(program, target)


@pytest.mark.parametrize(
    "program",
    [
        product(13, 20, 34, "mk", "nk", "f32", "bf16", ("extf", "extf")), pytest.param(product(19, 37, 35, "km", "kn", "bf16", "bf16", ("extf", "extf")), marks=pytest.mark.slow),
        pytest.param(product(18, 20, 300, "mk", "kn", "f32", "bf16", ("extf", "extf")), marks=pytest.mark.slow),
    ],
    ids=name_of,
)  # fmt: skip
def test_products_of_bf16(program: Program) -> None:
    assert_right(program, AVX512_BF16, plain=True)


def test_infinities_and_what_is_not_a_number_stay_in_their_row_and_column() -> None:
    program = product(20, 19, 37, "mk", "kn", "f32", "bf16", ("extf", "extf"))
    for copy in ("tiles", "once"):
        assert_infinities_stay(program, copy)


def assert_infinities_stay(program: Program, copy: str) -> None:
    a, b = arrays_of(program)
    a[3, 36], a[7, 0], b[5, 18], a[11, :] = np.inf, np.nan, -np.inf, 1e-39
    found = Compiled(program, AVX512_BF16, plan=f"unit=dots side=right copy={copy}")([a, b])
    wanted = a.astype(np.float32) @ b.astype(np.float32)
    wanted[11, 18] = np.nan  # numbers below the normal ones count as zero
    np.testing.assert_array_equal(np.isnan(found), np.isnan(wanted))
    finite = np.isfinite(wanted)
    np.testing.assert_array_equal(found[~finite & ~np.isnan(wanted)], wanted[~finite & ~np.isnan(wanted)])
    np.testing.assert_allclose(found[finite], wanted[finite], atol=1e-4)


@pytest.mark.slow
def test_bytes_at_their_ends_and_sums_that_wrap_around() -> None:
    program = product(17, 33, 40)
    for a, b in ((-128, -128), (-128, 127), (127, 127)):
        arrays = [np.full((17, 40), a, np.int8), np.full((40, 33), b, np.int8)]
        for target in (AVX512_VNNI, AVX512):
            np.testing.assert_array_equal(Compiled(program, target, flags=STRICT)(arrays), np.full((17, 33), 40 * a * b))


def recorded(target: str, m: int, n: int, k: int, scaled: bool):  # noqa: ANN201
    """Bytes that are widened and multiplied, scaled and rectified where asked: the module at the loops level."""
    r = Recorder()
    x, y, *scales = r.input((m, k), int8), r.input((k, n), uint8), *(r.input((1, n), float32) for _ in range(scaled))
    z = r("matmul", r("cast", x, attrs=(int32,)), r("cast", y, attrs=(int32,)))
    if scaled:
        scale = r("expand", scales[0], attrs=((m, n),))
        z = r("maximum", r("mul", r("cast", z, attrs=(float32,)), scale), scale)
    module = capture(r.graph(z))
    standard_pipeline(target).until("loops").run(module)
    return module


@pytest.mark.parametrize("target", ["avx512_vnni", "avx2_vnni", "avx512", "avx2"])
@pytest.mark.parametrize("scaled", [False, True], ids=["plain", "scaled"])
def test_products_read_the_bytes_that_were_widened_for_them(target: str, scaled: bool) -> None:
    module = recorded(target, 30, 50, 34, scaled)
    kinds = {op.kind.data for op in module.walk() if op.name == "kernel.dot"}
    assert kinds == {"u8s8" if "vnni" in target else "i16"}
    assert scaled or len([op for op in module.walk() if isinstance(op, func.CallOp)]) == 1, "the widened matrices are made"
    rng = np.random.default_rng(0)
    a, b = rng.integers(-128, 128, (30, 34)).astype(np.int8), rng.integers(0, 256, (34, 50)).astype(np.uint8)
    s = rng.standard_normal((1, 50)).astype(np.float32)
    wanted = a.astype(np.int32) @ b.astype(np.int32)
    wanted = np.maximum(wanted.astype(np.float32) * s, s) if scaled else wanted
    np.testing.assert_array_equal(execute(module, [a, b, s][: 2 + scaled])[0], wanted)


def made_by_a_kernel(r: Recorder, x: int, w: int) -> int:
    """Bytes that another kernel makes of numbers."""
    return r("matmul", r("cast", r("cast", r("round", x), attrs=(uint8,)), attrs=(int32,)), r("permute", r("cast", w, attrs=(int32,)), attrs=((1, 0),)))


def turned_first(r: Recorder, x: int, w: int) -> int:
    """A weight that is turned before it is widened."""
    q = r("cast", r("cast", x, attrs=(uint8,)), attrs=(int32,))
    return r("matmul", q, r("cast", r("permute", w, attrs=((1, 0),)), attrs=(int32,)))


def read_twice(r: Recorder, x: int, w: int) -> int:
    """What is widened is summed, too."""
    wide = r("cast", r("cast", x, attrs=(uint8,)), attrs=(int32,))
    product = r("matmul", wide, r("cast", r("permute", w, attrs=((1, 0),)), attrs=(int32,)))
    return r("sub", product, r("expand", r("sum", wide, attrs=((1,),)), attrs=(r.types[product][0],)))


@pytest.mark.parametrize("rows", [1, 9])
@pytest.mark.parametrize("record", [made_by_a_kernel, turned_first, read_twice], ids=lambda f: f.__name__)
@pytest.mark.slow
def test_bytes_are_read_wherever_they_come_from(record: object, rows: int) -> None:
    r = Recorder()
    result = record(r, r.input((rows, 64), float32), r.input((520, 64), int8))  # type: ignore[operator]
    module = capture(r.graph(result))
    standard_pipeline("avx512_vnni").until("loops").run(module)
    kinds = {op.kind.data for op in module.walk() if op.name == "kernel.dot"}
    assert kinds == ({"u8s8"} if rows > 1 else set())  # one row is not worth a copy of the weight, unless that is kept between calls
    assert not any("520x64xi32" in str(a.type) for op in module.walk() if isinstance(op, func.FuncOp) for a in op.body.block.args), "the wide weight is in memory"
    rng = np.random.default_rng(0)
    x, w = rng.integers(0, 256, (rows, 64)).astype(np.float32), rng.integers(-128, 128, (520, 64)).astype(np.int8)
    wanted = x.astype(np.int32) @ w.astype(np.int32).T
    wanted = wanted - x.astype(np.int32).sum(1, keepdims=True) if record is read_twice else wanted
    np.testing.assert_array_equal(execute(module, [x, w])[0], wanted)


@pytest.mark.parametrize(
    ("program", "target"),
    [(product(18, 20, 45), AVX512_VNNI), (product(5, 33, 70, "km", casts=SIGNS[3]), AVX512), (product(18, 20, 37, "km", "nk", "f32", "bf16", ("extf", "extf")), AVX512_BF16)],
    ids=name_of,
)  # fmt: skip
def test_the_executor_computes_what_the_c_computes(program: Program, target: Target) -> None:
    made = lowered(program, target, plan="unit=dots")
    assert made is not None
    arrays = arrays_of(program)
    np.testing.assert_array_equal(execute(made[0], arrays)[0], Compiled(program, target, flags=PLAIN, made=made)(arrays))


RUNS = [
    product(3, 183, 130, "mk", "nk"), product(1, 192, 66), product(2, 183, 33, casts=("extui", "extsi")),
    product(3, 183, 70, "mk", "nk", "f32", "bf16", ("extf", "extf")), product(1, 183, 33, "mk", "kn", "f32", "bf16", ("extf", "extf")),
]  # fmt: skip


@pytest.mark.parametrize(("vectors", "near"), [(4, 1), (6, 2)])
@pytest.mark.parametrize("program", RUNS, ids=name_of)
def test_a_panel_is_several_runs(program: Program, vectors: int, near: int) -> None:
    plan = f"unit=dots side=right vectors={vectors} chunks=1"
    found = posed(kernel_of(program)[1], AVX512_HALVES)
    chosen = None if found is None else choice(found[2], AVX512_HALVES, read_decision(f"{plan} runs={near}"))
    assert chosen is not None and chosen.decision.runs == near and chosen.panels[0].near == near
    assert_right(program, AVX512_HALVES, plan=f"{plan} runs={near}")


def test_plans_are_text_that_can_be_taken_again() -> None:
    program, target = product(70, 50, 96, "mk", "nk"), AVX512_VNNI
    found = posed(kernel_of(program)[1], target)
    assert found is not None
    chosen = choice(found[2], target)
    assert chosen is not None and chosen.decision.unit == "dots"
    assert like(found[2], target, read_decision(str(chosen.decision))) == chosen
    other = like(found[2], target, read_decision("unit=dots side=left vectors=1"))
    assert other is not None and other.swapped and other != chosen
    assert choice(found[2], target, read_decision("unit=vectors")).blocks is None
    tried = candidates(found[2], target, 8)
    assert tried[0] == chosen.decision and "dots" in {d.unit for d in tried}
    assert all(d.unit == "dots" for d in neighbours(found[2], target, chosen.decision))


def test_what_is_not_multiplied_in_groups() -> None:
    for program, target in ((matrix(64, 64, 64), AVX512_BF16), (product(64, 64, 64), PORTABLE), (product(64, 64, 64, result="f32", element="bf16", casts=("extf", "extf")), AVX512_VNNI)):
        assert not dots_of(lowered(program, target))


def test_rows_are_copied_where_bytes_need_the_other_sign() -> None:
    """Signed by signed: the rows are made unsigned as they are copied; of different signs they are read where they lie."""
    for casts, copied in (SIGNS[0], True), (SIGNS[1], False), (SIGNS[3], True):
        found = posed(kernel_of(product(64, 64, 64, "mk", "nk", casts=casts))[1], AVX512_VNNI)
        assert found is not None and choice(found[2], AVX512_VNNI, read_decision("side=right unit=dots")).packs_rows == copied


VECTORS, VNNI = {"avx512f", "avx512bw", "avx512dq", "avx512vl", "avx2", "fma"}, {"avx512_vnni"}


@pytest.mark.parametrize(
    ("flags", "target"),
    [
        (VECTORS, AVX512), (VECTORS | VNNI, AVX512_VNNI), (VECTORS | VNNI | {"avx512_bf16", "GenuineIntel"}, AVX512_VNNI),
        (VECTORS | VNNI | {"avx512_bf16", "avx_vnni", "AuthenticAMD"}, AVX512_BF16),
        (VECTORS | VNNI | {"avx512_bf16", "AuthenticAMD"}, AVX512_HALVES), (VECTORS | VNNI | {"amx_tile", "amx_bf16", "amx_int8"}, AVX512_AMX),
        ({"avx2", "fma"}, AVX2), ({"avx2", "fma", "avx_vnni"}, AVX2_VNNI), ({"sse2"}, None),
    ],
)  # fmt: skip
def test_processors_and_their_targets(flags: set[str], target: Target | None) -> None:
    assert described_by(flags) is target


def window(n: int, c: int, o: int, h: int, k: int, stride: int = 1, order: tuple[int, ...] | None = NHWC, element: str = "i8") -> Program:
    out = (h - k) // stride + 1
    sizes = {"n": n, "o": o, "i": out, "j": out, "c": c, "u": k, "v": k}
    i, j = (f"{stride}*i+u", f"{stride}*j+v") if stride > 1 else ("i+u", "j+v")
    x, w = Operand(("n", "c", i, j), order, element), Operand(("o", "c", "u", "v"), element=element)
    result, casts = ("i32", ("extui", "extsi")) if element == "i8" else ("f32", ("extf", "extf"))
    return Program(sizes, x, w, Operand(("n", "o", "i", "j"), order, result), direct=True, casts=casts)


@pytest.mark.parametrize(
    ("program", "target"),
    [(window(2, 32, 16, 9, 3), AVX512_VNNI), (window(1, 12, 20, 7, 3, order=None), AVX2_VNNI), (window(1, 10, 9, 6, 2, order=(1, 0, 2, 3)), AVX2_VNNI), (window(1, 3, 40, 15, 3, 2), AVX2_VNNI), (window(2, 5, 7, 9, 3, order=None), AVX512), (window(1, 8, 20, 9, 3, element="bf16"), AVX512_BF16)],
    ids=name_of,
)  # fmt: skip
def test_convolutions(program: Program, target: Target) -> None:
    assert_right(program, target)


def gradients(element: str) -> list[Program]:
    """Of a convolution's input, whose windows are walked backwards, and of its kernel."""
    result, casts = ("i32", ("extsi", "extsi")) if element == "i8" else ("f32", ("extf", "extf"))
    g, w = Operand(("n", "o", "i-u+2", "j-v+2"), element=element), Operand(("o", "c", "u", "v"), element=element)
    flipped = Program({"n": 2, "c": 9, "i": 6, "j": 7, "o": 18, "u": 3, "v": 3}, g, w, Operand(("n", "c", "i", "j"), element=result), direct=True, casts=casts)
    x, e = Operand(("n", "c", "2*i+u", "2*j+v"), NHWC, element), Operand(("n", "o", "i", "j"), NHWC, element)
    summed = Program({"o": 20, "c": 5, "u": 3, "v": 2, "n": 3, "i": 5, "j": 3}, x, e, Operand(("o", "c", "u", "v"), element=result), direct=True, casts=casts)
    return [flipped, summed]


@pytest.mark.parametrize(
    ("program", "target"),
    [
        (window(2, 5, 20, 9, 3, order=None, element="bf16"), AVX512_BF16), (gradients("bf16")[0], AVX512_BF16), (gradients("bf16")[1], AVX512_BF16),
        (gradients("i8")[0], AVX2_VNNI), (window(1, 35, 20, 9, 3, 2, order=None), AVX2_VNNI),
        *(pytest.param(p, AVX512, marks=pytest.mark.slow) for p in (*gradients("i8"), window(1, 70, 20, 22, 3, order=None))),
    ],
    ids=name_of,
)  # fmt: skip
def test_rows_that_are_copied_once(program: Program, target: Target) -> None:
    """Windows overlap in the copy; behind the last depth of each place are zeros."""
    assert_right(program, target, plan="unit=dots side=right copy=once")


def test_a_copy_of_each_element_once_is_what_windows_get() -> None:
    found = posed(kernel_of(window(8, 64, 64, 30, 3, order=None, element="bf16"))[1], AVX512_BF16)
    assert found is not None
    plan = choice(found[2], AVX512_BF16)
    assert plan is not None and plan.blocks is not None and plan.blocks.box is not None and plan.decision.copy == "once"
    assert plan.blocks.box.elements == 8 * 64 * 30 * 30
    assert like(found[2], AVX512_BF16, read_decision(str(plan.decision))) == plan
    odd = window(1, 16, 16, 9, 3, order=None, element="bf16")
    found = posed(kernel_of(replace(odd, sizes=odd.sizes | {"c": 1}))[1], AVX512_BF16)
    assert found is not None
    for depth in range(3):  # taps share the axis of columns, where odd numbers of them have no room for zeros
        plan = like(found[2], AVX512_BF16, read_decision(f"unit=dots side=right depth={depth} copy=once"))
        assert plan is None or plan.blocks is not None and plan.blocks.box is not None and plan.blocks.depths.strides[0] != 1


def test_batches() -> None:
    sizes = {"z": 3, "m": 17, "n": 33, "k": 40}
    left, right = Operand(("z", "m", "k"), element="i8"), Operand(("z", "n", "k"), element="i8")
    assert_right(Program(sizes, left, right, Operand(("z", "m", "n"), element="i32"), direct=True, casts=("extsi", "extsi")), AVX512_VNNI)


@st.composite
def programs(draw: st.DrawFn) -> Program:
    """Loops b (batch), m, n (rows), o, p (columns), k, l (reductions); rows may be windows over k."""
    sizes = {"b": draw(st.integers(1, 3)), "m": draw(st.integers(1, 40)), "n": draw(st.integers(1, 5))}
    sizes |= {"o": draw(st.integers(1, 70)), "p": draw(st.integers(1, 3)), "k": draw(st.integers(1, 5)), "l": draw(st.integers(2, 80))}
    element, result = draw(st.sampled_from([("bf16", "f32"), ("bf16", "bf16"), ("i8", "i32"), ("i8", "i32"), ("i8", "i8")]))
    windowed = draw(st.booleans())
    row = f"{draw(st.integers(1, 2))}*m+k" if windowed else "m"

    def shuffled(dims: list[str], element: str) -> Operand:
        order = draw(st.permutations(range(len(dims))))
        return Operand(tuple(dims), None if list(order) == sorted(order) else tuple(order), element)

    left = shuffled(["b", row, "n", *([] if windowed else ["k"]), "l"], element)
    right = shuffled(["b", "o", "p", "k", "l"], element)
    casts = ("extf", "extf") if element == "bf16" else draw(st.sampled_from(SIGNS))
    casts = casts if element != result else ("extsi", "extsi")
    return Program(sizes, left, right, shuffled(["b", "m", "n", "o", "p"], result), direct=True, casts=casts)


@pytest.mark.slow
@settings(max_examples=30, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(programs(), st.sampled_from([AVX512_BF16, replace(AVX2_VNNI, dots=frozenset(("i8", "bf16"))), AVX512]))
def test_random_products(program: Program, target: Target) -> None:
    found = posed(kernel_of(program)[1], target)
    if found is None:
        return
    for plan in ("unit=dots", "unit=dots copy=once"):
        if like(found[2], target, read_decision(plan)) is not None:
            assert_right(program, target, plan=plan)
