"""The interpreter of PTX by itself: what instructions compute, exactly, and small kernels that keep or break a rule. Needs no NVRTC."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lamina.backends.ptx.arithmetic import DTYPES, Unknown, meaning
from lamina.backends.ptx.faults import PtxError
from lamina.backends.ptx.interpret import Interpretation
from lamina.backends.ptx.parse import Instruction, parse
from lamina.backends.ptx.warpgroups import Descriptor
from lamina.dialects.errors import BackendError
from lamina.lowering.gpu_calls import Place
from lamina.lowering.gpu_launch import LaunchShape
from lamina.lowering.gpu_launches import Buffer, Launch, LaunchTable, TensorMap

# Numbers


def compute(words: str, *values):
    """One instruction on arrays (or numbers) of its operands' types."""
    opcode, *parts = words.split(".")
    means = meaning(Instruction(opcode, tuple(parts), (), None, 0, words, ""))
    assert len(values) == len(means.takes)
    with np.errstate(all="ignore"):
        return means.compute(*(np.atleast_1d(np.asarray(v, DTYPES[k])) for v, k in zip(values, means.takes, strict=True)))


def nearest(exact: Fraction, mode: str) -> np.float32:
    """A number as float32, by comparing exactly with its neighbours."""
    guess = np.float32(float(exact))
    around = [np.nextafter(guess, np.float32(-np.inf)), guess, np.nextafter(guess, np.float32(np.inf))]
    below = [x for x in around if Fraction(float(x)) <= exact]
    above = [x for x in around if Fraction(float(x)) >= exact]
    down, up = max(below), min(above)
    if mode in ("rm", "rp"):
        return down if mode == "rm" else up
    if mode == "rz":
        return down if exact > 0 else up
    low, high = exact - Fraction(float(down)), Fraction(float(up)) - exact
    if low != high:
        return down if low < high else up
    return down if not int(down.view(np.uint32)) & 1 else up


floats = st.floats(-(2.0**60), 2.0**60, width=32).filter(lambda x: abs(x) > 1e-18)


@given(floats, floats, floats, st.sampled_from(("rn", "rz", "rm", "rp")))
@settings(max_examples=200, deadline=None)
def test_fma_rounds_once(a: float, b: float, c: float, mode: str) -> None:
    exact = Fraction(a) * Fraction(b) + Fraction(c)
    if exact:
        assert compute(f"fma.{mode}.f32", a, b, c)[0] == nearest(exact, mode)


def test_fma_where_rounding_twice_goes_wrong() -> None:
    a, b = np.float32(1 + 2**-12), np.float32(1 + 2**-12)
    for c in (np.float32(2**-60), np.float32(-(2**-60))):  # far below the half between two neighbours
        exact = Fraction(float(a)) * Fraction(float(b)) + Fraction(float(c))
        assert compute("fma.rn.f32", a, b, c)[0] == nearest(exact, "rn")


@given(*[st.floats(-1e60, 1e60).filter(lambda x: abs(x) > 1e-60)] * 3)
@settings(max_examples=200, deadline=None)
def test_fma_of_doubles_rounds_once(a: float, b: float, c: float) -> None:
    assert compute("fma.rn.f64", a, b, c)[0] == float(Fraction(a) * Fraction(b) + Fraction(c))


@given(floats, floats, st.sampled_from(("add", "sub", "mul")), st.sampled_from(("rz", "rm", "rp")))
@settings(max_examples=100, deadline=None)
def test_directed_rounding(a: float, b: float, op: str, mode: str) -> None:
    x, y = Fraction(a), Fraction(b)
    exact = {"add": x + y, "sub": x - y, "mul": x * y}[op]
    if exact:
        assert compute(f"{op}.{mode}.f32", a, b)[0] == nearest(exact, mode)


INF, NAN = float("inf"), float("nan")


@pytest.mark.parametrize(
    ("words", "values", "want"),
    [
        ("cvt.rn.f16x2.f32", (1.0, 65519.0), 0x3C007BFF),
        ("cvt.rn.f16x2.f32", (65520.0, 2.0**-25), 0x7C000000),
        ("cvt.rn.bf16x2.f32", (1 + 2.0**-8, NAN), 0x3F807FFF),
        ("cvt.rn.bf16x2.f32", (1 + 3 * 2.0**-8, -0.0), 0x3F828000),
        ("cvt.rna.tf32.f32", (1 + 2.0**-11,), 0x3F802000),
        ("cvt.f32.f16", (0x0001,), 2.0**-24),
        ("cvt.rzi.s32.f32", (3e9,), 2**31 - 1),
        ("cvt.rzi.s32.f32", (-2.7,), -2),
        ("cvt.rzi.u32.f32", (-2.7,), 0),
        ("cvt.rni.s32.f32", (2.5,), 2),
        ("cvt.rzi.s32.f32", (NAN,), 0),
        ("cvt.sat.f32.f32", (-3.0,), 0.0),
        ("cvt.sat.f32.f32", (NAN,), 0.0),
        ("cvt.u16.u32", (0x12345,), 0x2345),
        ("cvt.s64.s32", (-5,), -5),
        ("cvt.rn.f32.s32", (16777217,), 16777216.0),
        ("cvt.rz.f32.f64", (1 + 2.0**-23 * 0.9,), 1.0),
        ("max.f32", (NAN, 1.0), 1.0),
        ("max.f32", (-0.0, 0.0), 0.0),
        ("shl.b32", (1, 32), 0),
        ("shr.s32", (-8, 40), -1),
        ("shr.u32", (8, 40), 0),
        ("shr.s32", (8, 40), 0),
        ("mul.hi.u32", (0xFFFFFFFF, 0xFFFFFFFF), 0xFFFFFFFE),
        ("mul.hi.s64", (-(2**62), 8), -2),
        ("mul.wide.s32", (-3, 2**30), -3 * 2**30),
        ("mad.lo.s32", (2**20, 2**20, 7), 7),
        ("div.s32", (-7, 2), -3),
        ("rem.s32", (-7, 2), -1),
        ("div.s32", (-(2**31), 3), -715827882),
        ("div.u64", (2**64 - 1, 10), (2**64 - 1) // 10),
        ("prmt.b32", (0x33221100, 0x77665544, 0x7531), 0x77553311),
        ("prmt.b32", (0x000000F0, 0, 0x0008), 0x000000FF | 0xF0F0F000),
        ("bfi.b32", (0xFF, 0, 4, 4), 0xF0),
        ("bfi.b32", (1, 0, 31, 8), 0x80000000),
        ("bfe.u32", (0xABCD, 4, 8), 0xBC),
        ("dp2a.lo.u32.u32", (0x00020003, 0x05040102, 10), 10 + 3 * 2 + 2 * 1),
        ("dp4a.s32.s32", (-0xFD00FE, 0x01010101, 0), 2),
        ("copysign.f32", (-1.0, 3.0), -3.0),
        ("setp.ne.f32", (NAN, 1.0), False),
        ("setp.neu.f32", (NAN, 1.0), True),
        ("setp.lt.and.f32", (1.0, 2.0, False), False),
        ("setp.num.f32", (NAN, 1.0), False),
        ("setp.lt.s32", (-1, 1), True),
        ("setp.lt.u32", (0xFFFFFFFF, 1), False),
        ("ex2.approx.ftz.f32", (-130.0,), 0.0),
        ("ex2.approx.ftz.f32", (10.0,), 1024.0),
        ("rcp.approx.ftz.f32", (1e-39,), INF),
        ("popc.b32", (0xF0F0,), 8),
        ("clz.b32", (0x00F0,), 24),
        ("clz.b32", (0,), 32),
    ],
)  # fmt: skip
def test_value(words: str, values: tuple, want) -> None:
    (got,) = compute(words, *values)
    assert got == want and np.signbit(got) == np.signbit(want)


@given(st.integers(0, 255), *[st.integers(0, 2**32 - 1)] * 3)
@settings(max_examples=100, deadline=None)
def test_any_function_of_three_bits(table: int, a: int, b: int, c: int) -> None:
    want = sum((table >> (4 * (a >> i & 1) + 2 * (b >> i & 1) + (c >> i & 1)) & 1) << i for i in range(32))
    assert compute("lop3.b32", a, b, c, table)[0] == want


@pytest.mark.parametrize("n", [0, 1, 13, 31, 32, 45, 77])
def test_shifts_of_two_words(n: int) -> None:
    low, high = 0x89ABCDEF, 0x01234567
    both = high << 32 | low
    for mode, by in (("wrap", n % 32), ("clamp", min(n, 32))):
        assert compute(f"shf.l.{mode}.b32", low, high, n)[0] == (both << by >> 32) & 0xFFFFFFFF
        assert compute(f"shf.r.{mode}.b32", low, high, n)[0] == both >> by & 0xFFFFFFFF


def half_bits(exact: Fraction, kind: str) -> int:
    """A number as f16 or bf16, ties to even, by comparing exactly with all of its sign."""
    every = np.arange(0x7C00 if kind == "f16" else 0x7F80, dtype=np.uint32)
    sizes = every.astype(np.uint16).view(np.float16).astype(np.float64) if kind == "f16" else (every << 16).view(np.float32).astype(np.float64)
    size = abs(exact)
    at = int(np.searchsorted(sizes, float(size)))
    near = [k for k in range(max(0, at - 2), min(len(sizes), at + 3))]
    best = min(near, key=lambda k: (abs(Fraction(float(sizes[k])) - size), k & 1))
    last = Fraction(float(sizes[-1]))
    if size >= last + (last - Fraction(float(sizes[-2]))) / 2:
        best = len(sizes)  # infinity
    return best | (0x8000 if exact < 0 else 0)


def half_value(bits: int, kind: str) -> Fraction:
    one = np.array([bits], np.uint16).view(np.float16) if kind == "f16" else np.array([bits << 16], np.uint32).view(np.float32)
    return Fraction(float(one[0]))


finite_halves = st.integers(0, 2**16 - 1)


@given(finite_halves, finite_halves, finite_halves, st.sampled_from(("f16", "bf16")), st.sampled_from(("add", "sub", "mul", "fma.rn")))
@settings(max_examples=300, deadline=None)
def test_halves_are_rounded_once(a: int, b: int, c: int, kind: str, name: str) -> None:
    infinite = 0x7C00 if kind == "f16" else 0x7F80
    if any(x & infinite == infinite for x in (a, b, c)):
        return
    x, y, z = (half_value(v, kind) for v in (a, b, c))
    exact = {"add": x + y, "sub": x - y, "mul": x * y, "fma.rn": x * y + z}[name]
    given = (a, b, c) if name == "fma.rn" else (a, b)
    if exact:
        assert compute(f"{name}.{kind}", *given)[0] == half_bits(exact, kind)
        both = compute(f"{name}.{kind}x2", *(v << 16 | v for v in given))[0]
        assert both == half_bits(exact, kind) * 0x10001


@pytest.mark.parametrize(("words", "values", "want"), [
    ("fma.rn.f16", (0x3C01, 0x3C01, 0x0001), 0x3C02),  # (1 + 2^-10)^2 + 2^-24: the last term decides nothing, nor is it in the way
    ("fma.rn.f16", (0x7C00, 0x0000, 0x3C00), 0x7FFF), ("add.f16", (0x7C00, 0xFC00), 0x7FFF), ("mul.f16", (0x7BFF, 0x4000), 0x7C00),
    ("add.f16", (0x8000, 0x8000), 0x8000), ("add.sat.f16", (0x3C00, 0x3C00), 0x3C00), ("add.sat.f16", (0x7FFF, 0x3C00), 0),
    ("mul.ftz.f16", (0x0400, 0x3800), 0), ("fma.rn.relu.bf16", (0xBF80, 0x3F80, 0), 0), ("fma.rn.relu.f16", (0x7FFF, 0x3C00, 0), 0x7FFF),
    ("neg.f16x2", (0x3C00BC00,), 0xBC003C00), ("abs.bf16x2", (0xBF803F80,), 0x3F803F80), ("max.f16", (0x7FFF, 0xBC00), 0xBC00),
    ("max.NaN.f16", (0x7E00, 0xBC00), 0x7FFF), ("min.bf16", (0x0000, 0x8000), 0x8000), ("max.f16x2", (0x3C000001, 0x40008000), 0x40000001),
    ("ex2.approx.f16", (0x4000,), 0x4400), ("ex2.approx.f16", (0xCE00,), 0x0001), ("ex2.approx.f16", (0x4C00,), 0x7C00), ("ex2.approx.f16x2", (0xBC00_3C00,), 0x3800_4000),
    ("ex2.approx.ftz.bf16", (0x4000,), 0x4080), ("ex2.approx.ftz.bf16", (0xC300,), 0), ("ex2.approx.ftz.bf16x2", (0xFF80_4000,), 0x0000_4080),
    ("tanh.approx.f16", (0x7C00,), 0x3C00), ("tanh.approx.f16", (0x8001,), 0x8001), ("tanh.approx.bf16x2", (0xC1A0_3F00,), 0xBF80_3EED), ("tanh.approx.f16x2", (0x7E00_0000,), 0x7FFF_0000),
    ("setp.lt.f16", (0xBC00, 0x0001), True), ("setp.lt.ftz.f16", (0x0000, 0x0001), False), ("setp.eq.bf16", (0x0000, 0x8000), True), ("setp.leu.f16", (0x7E00, 0), True),
])  # fmt: skip
def test_halves(words: str, values: tuple, want) -> None:
    assert compute(words, *values)[0] == want


def test_an_operations_nan_is_canonical() -> None:
    (got,) = compute("add.f32", np.array([0x7FC12345], np.uint32).view(np.float32), 1.0)
    assert got.view(np.uint32) == 0x7FFFFFFF
    assert compute("max.NaN.f32", NAN, 1.0).view(np.uint32) == 0x7FFFFFFF


@pytest.mark.parametrize("words", [
    "add.rz.f16", "add.sat.bf16", "fma.f16", "mul.relu.f16", "setp.lt.f16x2", "setp.lt.ftz.bf16", "ex2.approx.ftz.f16", "ex2.approx.bf16", "tanh.approx.ftz.bf16", "tanh.f16", "sin.approx.f16", "cvt.f16.f32", "cvt.s32.f32", "add.sat.s32", "mul.s32", "sqrt.f32",
    "setp.foo.s32", "lop3.or.b32", "shf.l.b32",
])  # fmt: skip
def test_forms_that_are_not_implemented(words: str) -> None:
    with pytest.raises((Unknown, KeyError)):
        compute(words)


# Descriptors


def test_addresses_of_canonical_layouts() -> None:
    """By the manual's tables, with elements of 16 bits: offsets of (row, column) before and after the swizzle."""
    k_major = Descriptor(0, 16, 1024, 128).addresses(64, 16, 2, False)
    assert k_major[0, 8] == 16 and k_major[1, 0] == 128 + 16 and k_major[7, 0] == 7 * 128 + 7 * 16 and k_major[8, 0] == 1024
    plain = Descriptor(0, 128, 256, 0).addresses(64, 16, 2, False)
    assert plain[1, 0] == 16 and plain[0, 8] == 128 and plain[8, 0] == 256
    half = Descriptor(0, 16, 512, 64).addresses(64, 16, 2, False)
    assert half[1, 0] == 64 and half[2, 0] == 128 + 16 and half[6, 8] == 6 * 64 + (1 ^ 3) * 16 and half[8, 0] == 512
    turned = Descriptor(0, 8192, 1024, 128).addresses(128, 16, 2, True)
    assert turned[1, 0] == 2 and turned[8, 1] == 128 + (1 ^ 1) * 16 and turned[64, 0] == 8192 and turned[0, 8] == 1024
    interleaved = Descriptor(0, 512, 128, 0).addresses(64, 16, 2, True)
    assert interleaved[8, 0] == 128 and interleaved[0, 1] == 16 and interleaved[0, 8] == 512


# Kernels

HEAD = ".version 9.0\n.target sm_90a\n.address_size 64\n.extern .shared .align 1024 .b8 arena[];\n"


def kernel(body: str) -> str:
    return f"""{HEAD}
.visible .entry k(.param .u64 k_param_0, .param .u64 k_param_1, .param .align 128 .b8 k_param_2[128])
.maxntid 1024, 1, 1
{{
    .reg .pred %p<9>;
    .reg .f32 %f<99>;
    .reg .b32 %r<99>;
    .reg .b64 %rd<99>;
    ld.param.u64 %rd1, [k_param_0];
    ld.param.u64 %rd2, [k_param_1];
    mov.b64 %rd90, k_param_2;
    mov.u32 %r1, %tid.x;
    mul.wide.u32 %rd3, %r1, 4;
    add.s64 %rd4, %rd1, %rd3;
    add.s64 %rd5, %rd2, %rd3;
    mov.u64 %rd6, arena;
    cvt.u32.u64 %r2, %rd6;
    shl.b32 %r3, %r1, 2;
    add.s32 %r4, %r2, %r3;
    {body}
    ret;
}}
"""


def run(body: str, given=None, threads: int = 64, blocks: int = 1, shared: int = 8192, seed: int = 0, want: int | None = None) -> np.ndarray:
    """A kernel with %r1: thread, %r4: its word of shared memory at %r2, %rd4 and %rd5: its words of the input and the output."""
    given = np.arange(threads, dtype=np.uint32) if given is None else given
    count = threads if want is None else want
    buffers = (Buffer("input", "i32", given.shape, given.nbytes), Buffer("output", "i32", (count,), 4 * count), Buffer("arena", "i8", (0,), 0))
    boxes = TensorMap(Place(0, 0), "f32", (8, 8), (8,), (8, 4), (1, 1))
    launch = Launch("k", LaunchShape((blocks, 1, 1), threads, shared), (Place(0, 0), Place(1, 0)), "here.py:1", (boxes,))
    return Interpretation(kernel(body), LaunchTable(buffers, (launch,)))([given], seed)[0].view(np.uint32)


LOAD, STORE = "ld.global.u32 %r10, [%rd4];", "st.global.u32 [%rd5], %r11;"


def through_shared(meeting: str, distance: int) -> str:
    """Every thread writes its word of shared memory and reads that of another one, some bytes away."""
    return f"{LOAD} st.shared.u32 [%r4], %r10; {meeting} xor.b32 %r5, %r4, {distance}; ld.shared.u32 %r11, [%r5]; {STORE}"



def test_threads_part_and_meet_again() -> None:
    """A loop of as many turns as the thread's number, then a shuffle of all lanes."""
    body = f"""mov.u32 %r11, 0;
    setp.eq.s32 %p1, %r1, 0;
    @%p1 bra $END;
$LOOP:
    add.s32 %r11, %r11, 2;
    sub.s32 %r1, %r1, 1;
    setp.ne.s32 %p2, %r1, 0;
    @%p2 bra $LOOP;
$END:
    mov.b32 %r20, 31; mov.b32 %r21, -1; mov.b32 %r22, 1;
    shfl.sync.bfly.b32 %r11|%p3, %r11, %r22, %r20, %r21;
    {STORE}"""
    assert run(body).tolist() == [2 * (t ^ 1) for t in range(64)]
    assert run(body, seed=3).tolist() == [2 * (t ^ 1) for t in range(64)]


@pytest.mark.parametrize(
    ("mode", "by", "bounds", "source"),
    [("bfly", 5, 31, lambda t: t ^ 5), ("up", 3, 0, lambda t: t - 3 if t % 32 >= 3 else t), ("down", 3, 31, lambda t: t + 3 if t % 32 < 29 else t),
     ("idx", 7, 31, lambda t: t // 32 * 32 + 7), ("down", 1, 0x1F | 24 << 8, lambda t: t + 1 if t % 8 < 7 else t)],
)  # fmt: skip
def test_shuffles(mode: str, by: int, bounds: int, source) -> None:
    body = f"{LOAD} shfl.sync.{mode}.b32 %r11, %r10, {by}, {bounds}, -1; {STORE}"
    assert run(body).tolist() == [source(t) for t in range(64)]


def test_scopes_local_memory_and_vectors() -> None:
    body = f""".local .align 16 .b8 depot[16]; .reg .b64 %SP; mov.u64 %SP, depot; {LOAD}
    st.local.v2.u32 [%SP+8], {{%r10, %r1}};
    {{ .reg .b32 t; ld.local.u32 t, [%SP+8]; add.s32 %r11, t, 1; }}
    {STORE}"""
    assert run(body).tolist() == [t + 1 for t in range(64)]
    with pytest.raises(PtxError, match="local memory"):
        run(body.replace("[%SP+8], {", "[%SP+16], {"))


def test_generic_addresses_reach_shared_memory() -> None:
    body = f"{LOAD} add.s64 %rd7, %rd6, %rd3; cvta.shared.u64 %rd8, %rd7; st.u32 [%rd8], %r10; ld.shared.u32 %r11, [%r4]; {STORE}"
    assert run(body).tolist() == list(range(64))


@pytest.mark.parametrize(
    ("meeting", "distance", "fine"),
    [("bar.sync 0;", 128, True), ("bar.warp.sync -1;", 128, False), ("bar.warp.sync -1;", 4, True), ("", 4, False), ("bar.sync 1, 64;", 128, True),
     ("@%p1 bar.sync 0;", 128, False)],
)  # fmt: skip
def test_races_between_and_within_warps(meeting: str, distance: int, fine: bool) -> None:
    """What another thread wrote is there behind a meeting of both, in every order of warps."""
    body = through_shared(f"setp.lt.u32 %p1, %r1, 32; {meeting}", distance)
    for seed in (0, 1):
        if fine:
            assert run(body, seed=seed).tolist() == [t ^ distance // 4 for t in range(64)]
        else:
            with pytest.raises(PtxError, match=r"a race: a read of shared byte|nobody has written|nothing will wake"):
                run(body, seed=seed)


def test_memory_is_not_written_over_before_it_is_read() -> None:
    read = f"{LOAD} st.shared.u32 [%r4], %r10; bar.sync 0; xor.b32 %r5, %r4, 128; ld.shared.u32 %r11, [%r5]; MEET st.shared.u32 [%r4], %r11; {STORE}"
    assert run(read.replace("MEET", "bar.sync 0;")).tolist() == [t ^ 32 for t in range(64)]
    with pytest.raises(PtxError, match=r"a write to shared byte \d+ that is not ordered behind the read by thread"):
        run(read.replace("MEET", ""))


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (f"ld.shared.u32 %r11, [%r4]; {STORE}", "which nobody has written"),
        (STORE, "%r11 is read and was never written"),
        (f"{LOAD} st.shared.u32 [%r4+8192], %r10;", "outside the block's 8192"),
        (f"{LOAD} st.shared.u32 [%r4+2], %r10;", "not a multiple of 4"),
        ("ld.global.u32 %r11, [%rd4+256];", "outside every array"),
        ("ld.global.u32 %r11, [%rd5];", "nobody has written"),
        (f"{LOAD} st.global.u32 [%rd2], %r10;", "different values"),
        ("setp.lt.u32 %p1, %r1, 3; @%p1 bar.warp.sync -1;", "all threads of a warp"),
        ("setp.lt.u32 %p1, %r1, 32; @%p1 bar.sync 0;", "32 of 64 threads have come to barrier 0"),
        ("bar.sync 16;", "barriers 0 to 15"),
        ("bar.sync 0, 33;", "multiple of 32"),
        ("$L: bra $L;", "no end after"),
        ("mbarrier.init.shared::cta.b64 [%r4], 1;", "not a multiple of 8"),
        ("mov.b32 %r9, 0; setp.eq.u32 %p1, %r1, 0; @%p1 mbarrier.init.shared::cta.b64 [%r2], 0;", "1 to 1048575 arrivals"),
        ("mbarrier.arrive.shared::cta.b64 _, [%r2];", "there is no barrier"),
        ("setp.eq.u32 %p1, %r1, 0; @%p1 mbarrier.init.shared::cta.b64 [%r2], 1; @%p1 st.shared.u32 [%r2], %r1;", "which is a barrier"),
        ("setp.lt.u32 %p1, %r1, 5; @%p1 bra.uni $E; mov.u32 %r11, 0; $E:", "do not (.uni)"),
        ("setmaxnreg.inc.sync.aligned.u32 240;", "all threads of a warpgroup"),
        ("foo.bar.b32 %r1, %r2;", "does not know foo.bar.b32"),
    ],
)  # fmt: skip
def test_rules(body: str, said: str, monkeypatch) -> None:
    monkeypatch.setattr("lamina.backends.ptx.machine.MOST_STEPS", 1000)
    with pytest.raises(PtxError) as caught:
        run(body)
    assert said in str(caught.value)


def test_bytes_nobody_writes_may_be_carried_and_not_used() -> None:
    """Two bytes of four, as NVRTC packs them for dp2a.lo: dp2a.hi would take the others."""
    body = f"{LOAD} prmt.b32 %r20, %r21, %r22, 0x3340U; prmt.b32 %r23, %r10, 2, 0x3340U; prmt.b32 %r24, %r23, %r20, 0x5410U; mov.b32 %r25, 0x00010003;"
    assert run(f"{body} dp2a.lo.u32.u32 %r11, %r25, %r24, %r10; {STORE}").tolist() == [t + 3 * t + 2 for t in range(64)]
    for use in ("dp2a.hi.u32.u32 %r11, %r25, %r24, %r10;", "add.u32 %r11, %r24, 1;", "mov.b32 %r11, %r20;"):
        with pytest.raises(PtxError, match="never written"):
            run(f"{body} {use} {STORE}")


TOLD = """mapa.shared::cluster.u32 %r30, %r2, 0;
    @%p1 mbarrier.arrive.{}.cluster.shared::cluster.b64 _, [%r30];"""


@pytest.mark.parametrize(("order", "said"), [("relaxed", "behind writes of the thread"), ("release", "")])
def test_relaxed_arrival_hands_no_writes_over(order: str, said: str) -> None:
    body = f"{MADE} @%p1 st.shared.u32 [%r2+8], %r1; {TOLD.format(order)} {wait(0, 0).replace('parity', 'parity.acquire.cluster')} {LOAD} mov.u32 %r11, %r10; {STORE}"
    if not said:
        run(body)
        return
    with pytest.raises(PtxError, match=said):
        run(body)


def test_registers_of_a_processor() -> None:
    split = "shr.u32 %r7, %r1, 7; setp.eq.u32 %p1, %r7, 0; @!%p1 bra $O; setmaxnreg.dec.sync.aligned.u32 40; bra $E; $O: setmaxnreg.inc.sync.aligned.u32 {};\n$E:"
    assert run(f"{split.format(232)} {LOAD} mov.u32 %r11, %r10; {STORE}", threads=384)[5] == 5
    with pytest.raises(PtxError, match="66560 registers"):
        run(split.format(240), threads=384)


def test_blocks_do_not_see_each_other() -> None:
    body = f"mov.u32 %r7, %ctaid.x; {LOAD} mov.u32 %r11, %r10; {STORE}"
    with pytest.raises(PtxError, match="by block 0 and written by block 1 of the same launch"):
        run(body, blocks=2)


MADE = """setp.eq.u32 %p1, %r1, 0;
    @%p1 mbarrier.init.shared::cta.b64 [%r2], 1;
    @%p1 fence.mbarrier_init.release.cluster;
    bar.sync 0;"""
WAIT = """
$W%d:
    mbarrier.try_wait.parity.shared::cta.b64 %%p2, [%%r2], %d;
    @!%%p2 bra $W%d;"""


def wait(place: int, parity: int) -> str:
    return WAIT % (place, parity, place)


def box(announced: int = 128, made: str = MADE, parity: int = 0, waits: bool = True) -> str:
    """Thread 0 has a box of 4 rows of 8 numbers from (x 0, y 2) brought to byte 1024; all wait and read it."""
    return f"""{made}
    add.s32 %r30, %r2, 1024;
    mov.b32 %r31, 0; mov.b32 %r32, 2;
    @%p1 mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r2], {announced};
    @%p1 cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%r30], [%rd90, {{%r31, %r32}}], [%r2];
    {wait(0, parity) if waits else ""}
    and.b32 %r33, %r1, 31;
    shr.u32 %r35, %r33, 5;
    shl.b32 %r33, %r33, 2;
    add.s32 %r34, %r30, %r33;
    ld.shared.u32 %r11, [%r34];
    {STORE}"""


def test_a_box_is_brought_and_waited_for() -> None:
    """Rows of 32 bytes lie side by side: four of them are a line of 128 bytes, the first, which is not moved."""
    given = np.arange(64, dtype=np.float32).view(np.uint32)
    for seed in (0, 5):
        got = run(box(), given, seed=seed).view(np.float32)
        assert got.tolist() == [16.0 + t % 32 for t in range(64)]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (box(announced=256), "lacks 0 of 1 arrivals and 128 bytes"),
        (box(announced=64), "lacks 0 of 1 arrivals and -64 bytes"),
        (box(waits=False), "a copy to it is under way"),
        (box(parity=1), "a copy to it is under way"),
        (box(made=MADE.replace("@%p1 fence.mbarrier_init.release.cluster;", "")), "before a fence"),
        (box(made=MADE.replace("bar.sync 0;", "")), "is not ordered before"),
        (f"{MADE} {wait(0, 0)}", "wait for phase parity 0"),
        (f"{MADE} mbarrier.arrive.shared::cta.b64 _, [%r2]; {wait(0, 2)}", "0 or 1"),
        (f"setp.eq.u32 %p1, %r1, 0; @%p1 mbarrier.init.shared::cta.b64 [%r2], 1; @%p1 mbarrier.init.shared::cta.b64 [%r2], 1;", "made twice"),
    ],
)  # fmt: skip
def test_boxes_and_barriers_that_do_not_fit(body: str, said: str) -> None:
    with pytest.raises(PtxError) as caught:
        run(body, np.arange(64, dtype=np.float32).view(np.uint32))
    assert said in str(caught.value)


def test_outside_a_tensor_there_is_zero() -> None:
    given = np.arange(1, 65, dtype=np.float32).view(np.uint32)
    got = run(box().replace("mov.b32 %r32, 2;", "mov.b32 %r32, -2;"), given).view(np.float32)
    assert got[:16].tolist() == [0.0] * 16 and got[16:32].tolist() == list(range(1, 17))


def test_phases_alternate() -> None:
    """A barrier of 64 arrivals orders three rounds through shared memory."""
    rounds = "".join(
        f"st.shared.u32 [%r4+{1024}], %r10; mbarrier.arrive.shared::cta.b64 _, [%r2]; {wait(2 * i, 0)} xor.b32 %r5, %r4, 128;"
        f" ld.shared.u32 %r11, [%r5+{1024}]; add.s32 %r10, %r11, 1; mbarrier.arrive.shared::cta.b64 _, [%r2]; {wait(2 * i + 1, 1)}"
        for i in range(3)
    )
    body = f"{MADE.replace('[%r2], 1;', '[%r2], 64;')} {LOAD} {rounds} mov.u32 %r11, %r10; {STORE}"
    for seed in (0, 2):
        assert run(body, seed=seed).tolist() == [(t ^ 32) + 3 for t in range(64)]
    with pytest.raises(PtxError, match="a race"):
        run(body.replace(wait(1, 1), ""))


@pytest.mark.parametrize(("change", "said"), [("", ""), ("cp.async.wait_group 0;", "a copy to it is under way"), ("cp.async.commit_group;", "a copy to it is under way")])
def test_copies_of_a_thread(change: str, said: str) -> None:
    body = f"""cp.async.ca.shared.global [%r4], [%rd4], 4; cp.async.commit_group;
    cp.async.wait_group 0; ld.shared.u32 %r11, [%r4]; {STORE}"""
    if not said:
        assert run(body).tolist() == list(range(64))
    else:
        with pytest.raises(PtxError, match=said):
            run(body.replace(change, ""))


def test_text_that_is_no_ptx_is_refused_with_its_line() -> None:
    with pytest.raises(BackendError, match="PTX line 3: not understood"):
        parse(".version 9.0\n\n.foo bar;\n")
    with pytest.raises(BackendError, match="functions"):
        parse(".func f() {\n ret;\n}\n")


CHANGES = {
    "add.u32": lambda old, x: old + x, "max.s32": max, "min.u32": min, "or.b32": lambda old, x: old | x, "xor.b32": lambda old, x: old ^ x,
    "inc.u32": lambda old, x: 0 if old >= x else old + 1, "exch.b32": lambda old, x: x,
}  # fmt: skip


@pytest.mark.parametrize("words", CHANGES)
@pytest.mark.parametrize("seed", [0, 3])
def test_atomic_instructions_of_two_blocks(words: str, seed: int) -> None:
    """Four counters, zero before; every thread keeps what it saw: each saw what another one made of it, and nobody's change is lost."""
    body = f"""and.b32 %r11, %r1, 3; mul.wide.u32 %rd7, %r11, 4; add.s64 %rd8, %rd1, %rd7; atom.global.{words} %r12, [%rd8], %r1;
    mov.u32 %r13, %ctaid.x; shl.b32 %r13, %r13, 8; mul.wide.u32 %rd9, %r13, 1; add.s64 %rd5, %rd5, %rd9; st.global.u32 [%rd5], %r12;"""
    seen = run(body, np.zeros(64, np.uint32), blocks=2, want=128, seed=seed).reshape(2, 16, 4)
    for counter in range(4):
        before = seen[:, :, counter].reshape(-1).tolist()
        after = [CHANGES[words](old, 4 * k % 64 + counter) for k, old in enumerate(before)]
        assert not Counter(before) - Counter([0, *after])  # one of what was made is the end, nobody saw it
    if words != "exch.b32":
        red = body.replace("atom.global", "red.relaxed.gpu.global").replace("%r12, [%rd8]", "[%rd8]").replace("[%rd5], %r12", "[%rd5], %r1")
        assert run(red, np.zeros(64, np.uint32), blocks=2, want=128, seed=seed).reshape(2, 64).tolist() == [list(range(64))] * 2


@pytest.mark.parametrize("words", [w for w in CHANGES if w != "exch.b32"])
@pytest.mark.parametrize("seed", [0, 3])
def test_atomic_instructions_on_shared_memory(words: str, seed: int) -> None:
    """Four counters of 64 threads; everybody sees the same end, the one that comes of all changes in some order, and what each saw is on the way there."""
    body = f"""st.shared.u32 [%r4], 0; bar.sync 0; and.b32 %r11, %r3, 12; add.s32 %r5, %r2, %r11; atom.shared.{words} %r12, [%r5], %r1; bar.sync 0;
    ld.shared.u32 %r13, [%r5]; shl.b32 %r13, %r13, 16; or.b32 %r11, %r13, %r12; {STORE}"""
    both = run(body, seed=seed).reshape(16, 4)
    seen, end = both & 0xFFFF, both >> 16
    assert (end == end[0]).all()
    for counter in range(4):
        after = [CHANGES[words](old, 4 * k + counter) for k, old in enumerate(seen[:, counter].tolist())]
        assert Counter([0, *after]) == Counter([*seen[:, counter].tolist(), int(end[0, counter])])
    red = body.replace("atom.shared", "red.shared::cta").replace("%r12, [%r5]", "[%r5]").replace("or.b32 %r11, %r13, %r12", "mov.u32 %r11, %r13")
    if words != "inc.u32":  # what comes of it depends on the order
        assert (run(red, seed=seed + 1).reshape(16, 4) >> 16 == end).all()


def test_atomic_instructions_of_floats_in_shared_memory() -> None:
    body = f"st.shared.u32 [%r4], 0; bar.sync 0; cvt.rn.f32.u32 %f1, %r1; red.shared.add.f32 [%r2], %f1; bar.sync 0; ld.shared.f32 %f2, [%r2]; cvt.rzi.u32.f32 %r11, %f2; {STORE}"
    assert run(body).tolist() == [64 * 63 // 2] * 64


def test_setp_of_two_results() -> None:
    """The second is the opposite, or that of the upper half; a third operand is combined with either."""
    body = f"""and.b32 %r5, %r1, 1; setp.eq.u32 %p3, %r5, 0; setp.lt.and.u32 %p1|%p2, %r1, 32, %p3; selp.u32 %r6, 1, 0, %p1; selp.u32 %r7, 2, 0, %p2; add.s32 %r11, %r6, %r7; {STORE}"""
    assert run(body).tolist() == [(1 if t < 32 else 2) if t % 2 == 0 else 0 for t in range(64)]
    halves = np.array([0x3C00_4000, 0x4000_3C00, 0x7E00_3C00, 0x3C00_7E00], np.uint32)[np.arange(64) % 4]  # (low, high): (2, 1), (1, 2), (1, NaN), (NaN, 1)
    body = f"{LOAD} mov.u32 %r12, 0x3E003E00; setp.lt.KIND %p1|%p2, %r10, %r12; selp.u32 %r6, 1, 0, %p1; selp.u32 %r7, 2, 0, %p2; add.s32 %r11, %r6, %r7; {STORE}"
    assert run(body.replace("KIND", "f16x2"), halves).tolist() == [2, 1, 1, 2] * 16
    wide = np.array([0x3F80_4000, 0x4000_3F80, 0x7FC0_3F80, 0x3F80_7FC0], np.uint32)[np.arange(64) % 4]
    assert run(body.replace("KIND", "bf16x2").replace("0x3E003E00", "0x3FC03FC0"), wide).tolist() == [2, 1, 1, 2] * 16


@pytest.mark.parametrize(("body", "said"), [
    ("red.global.add.u32 [%rd4], 1; ld.global.u32 %r11, [%rd4];", "in the launch whose atomic instructions change it"),
    ("red.global.add.u32 [%rd5], 1; mov.u32 %r11, 0;", "which nobody has written"),
    ("red.global.add.u32 [%rd4+2], 1; mov.u32 %r11, 0;", "which is not a multiple of 4"),
    ("red.shared.add.u32 [%r4], 1; mov.u32 %r11, 0;", "an atomic access to shared byte .*, which nobody has written"),
    ("st.shared.u32 [%r4], 0; red.shared.add.u32 [%r2], 1; mov.u32 %r11, 0;", "a race: a write .* not ordered behind the write by thread 0|nobody has written"),
    ("st.shared.u32 [%r4], 0; bar.sync 0; red.shared.add.u32 [%r2], 1; ld.shared.u32 %r11, [%r2];", "a race: a read .* behind an atomic instruction"),
    ("st.shared.u32 [%r4], 0; bar.sync 0; ld.shared.u32 %r11, [%r2]; red.shared.add.u32 [%r2], 1;", "a race: a write .* not ordered behind the read"),
    ("st.shared.u32 [%r4], 0; bar.sync 0; red.shared.add.u32 [%r2], 1; st.shared.u32 [%r4], 0; mov.u32 %r11, 0;", "a race: a write .* behind an atomic instruction"),
    ("red.shared.exch.b32 [%r4], 1; mov.u32 %r11, 0;", "does not know red.shared.exch.b32"),
    ("red.global.exch.b32 [%rd4], 1; mov.u32 %r11, 0;", "does not know red.global.exch.b32"),
])  # fmt: skip
def test_rules_of_atomic_instructions(body: str, said: str) -> None:
    with pytest.raises(PtxError, match=said):
        run(f"{body} {STORE}")


def test_compare_and_swap() -> None:
    """One thread of each pair finds what it expects."""
    body = f"shr.u32 %r5, %r1, 1; mul.wide.u32 %rd7, %r5, 4; add.s64 %rd8, %rd1, %rd7; add.s32 %r6, %r1, 7; atom.global.cas.b32 %r11, [%rd8], 0, %r6; {STORE}"
    for seed in (0, 5):
        pairs = np.sort(run(body, np.zeros(64, np.uint32), seed=seed).reshape(32, 2), 1)
        assert (pairs[:, 0] == 0).all() and all(second in (2 * k + 7, 2 * k + 8) for k, second in enumerate(pairs[:, 1].tolist()))
