"""The C emitter: every op of the loops level on scalars and vectors, against the loop executor and libm."""

from __future__ import annotations

import math
import re

import ml_dtypes
import numpy as np
import pytest
from needs import needs_compiler

from lamina.backends.executable import Executable
from lamina.backends.executor import execute
from lamina.backends.toolchain import build_shared, find_compiler
from lamina.dialects.errors import BackendError
from lamina.dialects.text import parse, verify
from lamina.dialects.types import dtype_of
from lamina.lowering.loops_to_c import emit_c

N, LANES = 35, 16
NUMPY = {
    "f64": np.float64, "f32": np.float32, "f16": np.float16, "bf16": ml_dtypes.bfloat16, "i64": np.int64,
    "i32": np.int32, "i16": np.int16, "i8": np.int8, "i1": np.bool_,
}  # fmt: skip



def lane(text: str, t: str, vectors: bool) -> str:
    """Replace {f32}-style placeholders by scalar or vector types."""
    for code in NUMPY:
        text = text.replace("{" + code + "}", f"vector<{LANES}x{code}>" if vectors else code)
    return text


def kernel(name: str, inputs: list[str], output: str, body: str) -> str:
    """A kernel that maps n elements, in vectors and a scalar rest. body uses %a %b %c and makes %y."""
    letters = "abc"[: len(inputs)]
    args = ", ".join(f"%{x}m: memref<{N}x{t}>" for x, t in zip(letters, inputs)) + f", %ym: memref<{N}x{output}>"

    def loop(vectors: bool) -> str:
        def access(op: str) -> tuple[str, str]:
            return (f"vector.{op}", f", vector<{LANES}x%s>") if vectors else (f"memref.{op}", "")

        load, kind = access("load")
        lines = [
            f"%{x} = {load} %{x}m[%i] : memref<{N}x{t}>" + (kind % t if kind else "")
            for x, t in zip(letters, inputs)
        ]
        lines += [lane(line.strip(), "", vectors) for line in body.strip().splitlines()]
        store, kind = access("store")
        lines.append(f"{store} %y, %ym[%i] : memref<{N}x{output}>" + (kind % output if kind else ""))
        low, high, step = ("%c0", "%c32", "%c16") if vectors else ("%c32", "%c35", "%c1")
        return f"scf.for %i = {low} to {high} step {step} {{\n" + "\n".join(lines) + "\n}"

    return f"""
  func.func private @{name}({args}) {{
    %c0 = arith.constant 0 : index
    %c1 = arith.constant 1 : index
    %c16 = arith.constant 16 : index
    %c32 = arith.constant 32 : index
    %c35 = arith.constant 35 : index
    {loop(True)}
    {loop(False)}
    func.return
  }}"""


def program(kernels: list[tuple[list[str], str, str]]) -> str:
    """A module that runs each kernel (inputs, output, body) on its own arguments."""
    functions, calls, ins, outs = [], [], [], []
    for k, (inputs, output, body) in enumerate(kernels):
        functions.append(kernel(f"k{k}", inputs, output, body))
        names = [f"%x{k}_{i}" for i in range(len(inputs))]
        ins += [f"{n}: memref<{N}x{t}>" for n, t in zip(names, inputs)]
        outs.append(f"%y{k}: memref<{N}x{output}>")
        types = ", ".join(f"memref<{N}x{t}>" for t in (*inputs, output))
        calls.append(f'func.call @k{k}({", ".join([*names, f"%y{k}"])}) {{origin = "model.py:{k + 1}"}} : ({types}) -> ()')
    main = f"func.func @main({', '.join([*ins, *outs, '%arena: memref<64xi8>'])}) {{\n" + "\n".join(calls) + "\nfunc.return\n}"
    return "builtin.module attributes {lamina.arena_bytes = 64 : i64} {\n" + "\n".join(functions) + "\n" + main + "\n}"


def build(text: str, folder, inputs: list[np.ndarray], outputs: list[str], count: int = N) -> list[np.ndarray]:
    module = parse(text, "test.mlir")
    verify(module)
    source = folder / "program.c"
    source.write_text(emit_c(module).text)
    library = folder / "program.so"
    build_shared(find_compiler(), source, library, ("-Wall", "-Wextra", "-Werror"))
    types = [((count,), dtype_of(t)) for t in outputs]
    return Executable(library, [(a.shape, dtype_of(a)) for a in inputs], types, 64)(inputs)


def values(t: str, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    if t == "i1":
        return rng.integers(0, 2, N).astype(bool)
    if t.startswith("i"):
        x = rng.integers(-100, 100, N).astype(NUMPY[t])
        info = np.iinfo(NUMPY[t])
        x[[0, 33]], x[[1, 34]], x[[2, 32]] = info.min, info.max, 0
        return x
    x = (rng.normal(size=N) * 3).astype(NUMPY[t])
    x[:6] = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-3]
    x[32:] = [np.nan, -np.inf, 0.0]
    return x


def float_ops(t: str) -> list[tuple[list[str], str, str]]:
    t1 = "{" + t + "}"
    two = [f"%y = arith.{op} %a, %b : {t1}" for op in "addf subf mulf divf maximumf minimumf maxnumf minnumf".split()]
    out = [([t, t], t, body) for body in two]
    out.append(([t], t, f"%y = arith.negf %a : {t1}"))
    for predicate in "oeq ogt oge olt ole one ord ueq ugt uge ult ule une uno".split():
        out.append(([t, t], "i1", f"%y = arith.cmpf {predicate}, %a, %b : {t1}"))
        condition = f"%m = arith.cmpf {predicate}, %a, %b : {t1}\n"
        out.append(([t, t], t, condition + f"%y = arith.select %m, %a, %b : {{i1}}, {t1}"))
    return out


def int_ops(t: str) -> list[tuple[list[str], str, str]]:
    t1 = "{" + t + "}"
    names = "addi subi muli divsi remsi floordivsi divui remui minsi maxsi minui maxui andi ori xori".split()
    out = [([t, t], t, f"%y = arith.{op} %a, %b : {t1}") for op in names]
    for predicate in "eq ne slt sle sgt sge ult ule ugt uge".split():
        out.append(([t, t], "i1", f"%y = arith.cmpi {predicate}, %a, %b : {t1}"))
    return out


CASTS = [
    ("extf", "f32", "f64"), ("extf", "bf16", "f32"), ("extf", "f16", "f32"), ("truncf", "f64", "f32"),
    ("truncf", "f32", "bf16"), ("truncf", "f32", "f16"), ("sitofp", "i32", "f32"), ("sitofp", "i64", "f64"),
    ("sitofp", "i8", "f32"), ("uitofp", "i8", "f32"), ("uitofp", "i1", "f32"), ("sitofp", "i64", "f32"),
    ("extsi", "i8", "i32"), ("extsi", "i32", "i64"), ("extui", "i8", "i32"), ("extui", "i1", "i64"), ("extui", "i1", "i8"),
    ("trunci", "i64", "i32"), ("trunci", "i32", "i8"), ("bitcast", "f32", "i32"), ("bitcast", "i64", "f64"),
]  # fmt: skip


def check(kernels: list[tuple[list[str], str, str]], folder, exact: bool = True) -> None:
    text = program(kernels)
    inputs = [values(t, 7 * k + i) for k, (ins, _, _) in enumerate(kernels) for i, t in enumerate(ins)]
    got = build(text, folder, inputs, [output for _, output, _ in kernels])
    want = execute(parse(text, "test.mlir"), inputs)
    for (ins, output, body), a, b in zip(kernels, got, want, strict=True):
        if exact:
            assert np.array_equal(a, b, equal_nan=output[0] in "fb"), (ins, body, a, b)
        else:
            np.testing.assert_allclose(a, b, rtol=3e-6, err_msg=body)


@needs_compiler
@pytest.mark.parametrize("t", ["f32", "f64"])
@pytest.mark.slow
def test_float_arithmetic_is_the_executors(t, tmp_path):
    check(float_ops(t), tmp_path)


@needs_compiler
def test_half_arithmetic_rounds_after_every_operation(tmp_path):
    check([op for t in ("f16", "bf16") for op in float_ops(t)[:9]], tmp_path)


@needs_compiler
@pytest.mark.parametrize("t", ["i8", "i32", "i64"])
def test_integer_arithmetic_wraps_and_never_traps(t, tmp_path):
    check(int_ops(t), tmp_path)


@needs_compiler
def test_casts(tmp_path):
    kernels = [([a], b, f"%y = arith.{op} %a : {{{a}}} to {{{b}}}") for op, a, b in CASTS]
    check(kernels, tmp_path)


@needs_compiler
def test_bool_algebra_and_masks_of_different_widths(tmp_path):
    mixed = (
        "%m = arith.cmpf olt, %a, %a : {f32}\n%n = arith.cmpi slt, %b, %b : {i64}\n%o = arith.ori %m, %n : {i1}\n"
        "%p = arith.xori %o, %c : {i1}\n%y = arith.select %p, %a, %a : {i1}, {f32}"
    )
    kernels = [([f, i, "i1"], "f32", mixed) for f, i in [("f32", "i64")]]
    kernels += [(["i1", "i1"], "i1", f"%y = arith.{op} %a, %b : {{i1}}") for op in ("andi", "ori", "xori")]
    kernels += [(["i1", "f64", "f64"], "f64", "%y = arith.select %a, %b, %c : {i1}, {f64}")]
    check(kernels, tmp_path)


FUNCTIONS = (
    "absf ceil floor trunc roundeven sqrt rsqrt exp exp2 expm1 log log2 log10 log1p sin cos tan asin acos atan "
    "sinh cosh asinh acosh atanh tanh erf"
).split()


@needs_compiler
@pytest.mark.parametrize("t", ["f32", "f64"])
def test_math_functions(t, tmp_path):
    t1 = "{" + t + "}"
    kernels = [([t], t, f"%y = math.{f} %a : {t1}") for f in FUNCTIONS]
    kernels += [([t, t], t, f"%y = math.{f} %a, %b : {t1}") for f in ("powf", "atan2", "copysign")]
    check(kernels, tmp_path, exact=False)


def ulps(got: np.ndarray, want: np.ndarray) -> float:
    """want: in a wider type."""
    with np.errstate(all="ignore"):
        unit = np.spacing(np.abs(want).astype(got.dtype)).astype(want.dtype)
        off = np.abs(got.astype(want.dtype) - want) / unit
    return float(np.nanmax(np.where(np.isfinite(want) & (np.abs(want) < np.finfo(got.dtype).max), off, 0)))


@needs_compiler
@pytest.mark.parametrize(
    "name,low,high,bound,code",
    [(*each, "f32") for each in [
        ("exp", -130, 88.7, 1.1), ("exp2", -180, 127.9, 1.5), ("expm1", -20, 88.7, 1.5), ("log", -87, 88, 1.0),
        ("log2", -87, 88, 2.0), ("log1p", -0.999, 10, 2.0), ("log1p", 0, 1e6, 2.0), ("sin", -10, 10, 1.6), ("cos", -10, 10, 1.6),
        ("sin", -70000, 70000, 1.6), ("cos", -70000, 70000, 1.6), ("tanh", -10, 10, 2.0), ("erf", -5, 5, 1.5),
        ("tan", -10, 10, 0.6), ("tan", -2e6, 2e6, 1.0), ("atan", -30, 30, 1.6), ("asin", -1, 1, 2.3), ("asin", -0.5, 0.5, 1.0), ("acos", -1, 1, 1.3),
        ("sinh", -89, 89, 0.6), ("cosh", -89, 89, 0.6),
    ]] + [("exp", -760, 709.7, 1.1, "f64"), ("exp", -3, 3, 0.85, "f64"), ("tanh", -25, 25, 2.3, "f64"), ("tanh", -1, 1, 2.3, "f64")]
    + [(*each, "f64") for each in [
        ("exp2", -1100, 1023.9, 1.1), ("expm1", -45, 709.7, 1.6), ("expm1", -1, 1, 1.6), ("log", -740, 709, 0.9), ("log", -0.4, 0.4, 0.9),
        ("log2", -740, 709, 1.8), ("log1p", -0.999, 10, 1.8), ("log1p", 0, 1e6, 1.8), ("sin", -10, 10, 1.5), ("cos", -10, 10, 1.5),
        ("sin", -2e6, 2e6, 1.5), ("cos", -2e6, 2e6, 1.5), ("tan", -10, 10, 2.8), ("tan", -2e6, 2e6, 2.8),
        ("atan", -30, 30, 1.9), ("asin", -1, 1, 2.6), ("acos", -1, 1, 2.6), ("sinh", -710.4, 710.4, 2.0), ("sinh", -1, 1, 2.0), ("cosh", -710.4, 710.4, 1.8),
        ("erf", -7, 7, 2.0), ("erfc", -7, 26, 5),
    ]],
)
def test_vector_functions_are_exact_to_two_ulps_or_so(name, low, high, bound, code, tmp_path):
    count, lanes, dialect = 1 << 16, {"f32": 16, "f64": 8}[code], "kernel" if name == "erfc" else "math"
    text = f"""builtin.module attributes {{lamina.arena_bytes = 64 : i64}} {{
      func.func @main(%a: memref<{count}x{code}>, %v: memref<{count}x{code}>, %s: memref<{count}x{code}>, %arena: memref<64xi8>) {{
        %c0 = arith.constant 0 : index
        %c1 = arith.constant 1 : index
        %c16 = arith.constant {lanes} : index
        %n = arith.constant {count} : index
        scf.for %i = %c0 to %n step %c16 {{
          %x = vector.load %a[%i] : memref<{count}x{code}>, vector<{lanes}x{code}>
          %y = {dialect}.{name} %x : vector<{lanes}x{code}>
          vector.store %y, %v[%i] : memref<{count}x{code}>, vector<{lanes}x{code}>
        }}
        scf.for %i = %c0 to %n step %c1 {{
          %x = memref.load %a[%i] : memref<{count}x{code}>
          %y = {dialect}.{name} %x : {code}
          memref.store %y, %s[%i] : memref<{count}x{code}>
        }}
        func.return
      }}
    }}"""
    rng = np.random.default_rng(0)
    own, wider = {"f32": (np.float32, np.float64), "f64": (np.float64, np.longdouble)}[code]
    x = rng.uniform(low, high, count).astype(own)
    if name in ("log", "log2"):
        x = np.exp(x.astype(np.float64)).astype(own)
    else:
        x[: count // 4] *= np.exp(rng.uniform(-40, 0, count // 4)).astype(own)
    specials = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-45, -1e-45, 1e-40, 1.0, -1.0, 3.4e38, -3.4e38, 200, -200], own)
    x[: len(specials)] = specials
    v, s = build(text, tmp_path, [x], [code, code], count)
    assert np.array_equal(v.view(np.uint8), s.view(np.uint8)), "a lane is the scalar, bit for bit"
    exact = getattr(np, name, None) or getattr(np, f"arc{name[1:]}", None) or np.vectorize(getattr(math, name))
    with np.errstate(all="ignore"):
        want = exact(x.astype(wider))
    assert ulps(v, want) <= bound
    k = len(specials)
    with np.errstate(all="ignore"):
        rounded = want[:k].astype(own)
    np.testing.assert_array_equal(np.isnan(v[:k]), np.isnan(rounded))
    np.testing.assert_array_equal(np.isinf(v[:k]), np.isinf(rounded))
    numbers = ~np.isnan(rounded)
    np.testing.assert_array_equal(np.signbit(v[:k])[numbers], np.signbit(rounded)[numbers])


@needs_compiler
@pytest.mark.parametrize("code,lanes,bound", [("f32", 16, 0.6), ("f64", 8, 1.9)])
def test_functions_of_two_numbers_and_rounding_are_those_of_c(code, lanes, bound, tmp_path):
    """Remainders and rounding exactly, angles to an ulp or so: by vectors, and by scalars."""
    count, own, wider = 1 << 14, *{"f32": (np.float32, np.float64), "f64": (np.float64, np.longdouble)}[code]
    memory = f"memref<{count}x{code}>"
    loops = ""
    for k in (lanes, 1):
        held = f"vector<{k}x{code}>" if k > 1 else code
        load, store, also = ("vector.load", "vector.store", f", {held}") if k > 1 else ("memref.load", "memref.store", "")
        loops += f"""%k{k} = arith.constant {k} : index
        scf.for %i = %c0 to %n step %k{k} {{
          %x = {load} %a[%i] : {memory}{also}
          %y = {load} %b[%i] : {memory}{also}
          %p = kernel.fmod %x, %y : {held}
          %q = math.atan2 %x, %y : {held}
          %r = math.roundeven %x : {held}
          {store} %p, %p{k}[%i] : {memory}{also}
          {store} %q, %q{k}[%i] : {memory}{also}
          {store} %r, %r{k}[%i] : {memory}{also}
        }}
        """
    results = ", ".join(f"%{name}{k}: {memory}" for k in (lanes, 1) for name in "pqr")
    text = f"""builtin.module attributes {{lamina.arena_bytes = 64 : i64}} {{
      func.func @main(%a: {memory}, %b: {memory}, {results}, %arena: memref<64xi8>) {{
        %c0 = arith.constant 0 : index
        %n = arith.constant {count} : index
        {loops}
        func.return
      }}
    }}"""
    rng = np.random.default_rng(0)
    x, y = ((rng.standard_normal(count) * np.exp(rng.uniform(-20, 20, count))).astype(own) for _ in range(2))
    x[:4000] = np.round(x[:4000] * 4) / 2  # halves, and multiples of one another
    y[:2000] = np.round(y[:2000] * 2) / 2
    special = np.array([0.0, -0.0, 1, -1, 0.5, -0.5, 1.5, 2.5, -2.5, np.inf, -np.inf, np.nan, 1e-45, -1e-40, 3.4e38, 8388607.5, 8388609, 1e9, *([1e308, 1.7e308, 5e-324, 1e16] if code == "f64" else [])], own)
    pairs = [(a, b) for a in special for b in special]
    x[-len(pairs) :], y[-len(pairs) :] = np.array(pairs, own).T
    made = build(text, tmp_path, [x, y], [code] * 6, count)
    with np.errstate(all="ignore"):
        remainder, angle, whole = np.fmod(x, y), np.arctan2(x.astype(wider), y.astype(wider)), np.rint(x)
    for p, q, r in (made[:3], made[3:]):
        for found, wanted in ((p, remainder), (r, whole)):
            np.testing.assert_array_equal(found, wanted)
            np.testing.assert_array_equal(np.signbit(found)[~np.isnan(wanted)], np.signbit(wanted)[~np.isnan(wanted)])
        assert ulps(q, angle) <= bound
        np.testing.assert_array_equal(np.isnan(q), np.isnan(angle))
        np.testing.assert_array_equal(np.signbit(q)[~np.isnan(angle)], np.signbit(angle)[~np.isnan(angle)])


@needs_compiler
@pytest.mark.parametrize("code,lanes,bound", [("f32", (16, 8, 4, 2, 1), 0.6), ("f64", (8, 4, 2, 1), 1.1)])
def test_powers_are_exact_to_an_ulp_and_special_as_in_c(code, lanes, bound, tmp_path):
    count, memory = 1 << 14, f"memref<{1 << 14}x{code}>"
    own, wider, most = {"f32": (np.float32, np.float64, 88), "f64": (np.float64, np.longdouble, 700)}[code]
    loops = ""
    for k in lanes:
        held = code if k == 1 else f"vector<{k}x{code}>"
        load, store = ("memref.load", "memref.store") if k == 1 else ("vector.load", "vector.store")
        also = "" if k == 1 else f", {held}"
        loops += f"""%k{k} = arith.constant {k} : index
        scf.for %i = %c0 to %n step %k{k} {{
          %x = {load} %a[%i] : {memory}{also}
          %y = {load} %b[%i] : {memory}{also}
          %z = math.powf %x, %y : {held}
          {store} %z, %r{k}[%i] : {memory}{also}
        }}
        """
    results = ", ".join(f"%r{k}: {memory}" for k in lanes)
    text = f"""builtin.module attributes {{lamina.arena_bytes = 64 : i64}} {{
      func.func @main(%a: {memory}, %b: {memory}, {results}, %arena: memref<64xi8>) {{
        %c0 = arith.constant 0 : index
        %n = arith.constant {count} : index
        {loops}
        func.return
      }}
    }}"""
    rng = np.random.default_rng(0)
    x = np.exp(rng.uniform(-most, most, count)).astype(own)
    y = (rng.uniform(-most - 2, most + 2, count) / np.maximum(np.abs(np.log(x)), 1e-3)).astype(own)
    x[:2000], y[:2000] = -x[:2000], np.round(y[:2000])
    special = np.array([
        0.0, -0.0, 1, -1, 2, -2, 3, -3, 0.5, -0.5, 1.5, -2.5, np.inf, -np.inf, np.nan, 1e-45, -1e-45, 3.4e38, -3.4e38, 8388607, 16777217,
        -8388608, 1e10, 0.9999999, 1.0000001, *([4503599627370497, 9007199254740992, -1e300, 5e-324, 1 - 2.0**-53] if code == "f64" else []),
    ], own)  # fmt: skip
    places = slice(4000, 4000 + len(special) ** 2)
    x[places], y[places] = (m.ravel() for m in np.meshgrid(special, special))
    got = build(text, tmp_path, [x, y], [code] * len(lanes), count)
    assert all(np.array_equal(r.view(np.uint8), got[0].view(np.uint8)) for r in got), "a lane is the scalar, bit for bit"
    with np.errstate(all="ignore"):
        want = np.power(x.astype(wider), y.astype(wider))
        rounded = want.astype(own)
    assert ulps(got[0], want) <= bound
    same = (got[0] == rounded) | (np.isnan(got[0]) & np.isnan(rounded))
    assert same[~np.isfinite(rounded) | (rounded == 0)].all()
    assert (np.signbit(got[0]) == np.signbit(rounded))[~np.isnan(rounded)].all()


def test_unknown_ops_are_named():
    text = """builtin.module { func.func @main(%a: memref<4xf32>) {
      %c0 = arith.constant 0 : index
      %d = memref.dim %a, %c0 : memref<4xf32>
      %f = arith.index_cast %d : index to i32
      %m = memref.alloca() : memref<4xi32>
      memref.store %f, %m[%c0] : memref<4xi32>
      func.return } }"""
    with pytest.raises(BackendError, match="memref.dim"):
        emit_c(parse(text, "d.mlir"))


def test_carried_values_may_swap():
    text = """builtin.module { func.func @main(%a: memref<2xi64>) {
      %c0 = arith.constant 0 : index
      %c1 = arith.constant 1 : index
      %c5 = arith.constant 5 : index
      %x = memref.load %a[%c0] : memref<2xi64>
      %y = memref.load %a[%c1] : memref<2xi64>
      %p, %q = scf.for %i = %c0 to %c5 step %c1 iter_args(%s = %x, %t = %y) -> (i64, i64) {
        %u = arith.addi %s, %t : i64
        scf.yield %t, %u : i64, i64
      }
      memref.store %p, %a[%c0] : memref<2xi64>
      memref.store %q, %a[%c1] : memref<2xi64>
      func.return } }"""
    source = emit_c(parse(text, "s.mlir")).text
    body = source[source.index("for (") :]
    assert body.index("= t;") < body.index("= u;")
    assert "next" in body


def test_names_of_users_and_generated_ones_do_not_meet():
    text = """builtin.module { func.func @main(%0: memref<2xf32>, %p0: memref<2xf32>, %p0_1: memref<2xf32>, %for: memref<2xf32>) {
      %c0 = arith.constant 0 : index
      %v0 = memref.load %0[%c0] : memref<2xf32>
      %1 = arith.addf %v0, %v0 : f32
      memref.store %1, %p0[%c0] : memref<2xf32>
      memref.store %v0, %p0_1[%c0] : memref<2xf32>
      memref.store %v0, %for[%c0] : memref<2xf32>
      func.return } }"""
    source = emit_c(parse(text, "n.mlir")).text
    names = re.findall(r"^    (?:f32 \*|float )(\w+) =", source, re.M)
    assert len(names) == len(set(names)) == 6 and "for" not in names


def test_loops_have_no_names_of_types():
    loop = "scf.for %q = %c0 to %c1 step %c1 { memref.store %b, %a[%c0] : memref<2xi8> }\n"
    text = """builtin.module { func.func @main(%a: memref<2xi8>) {
      %c0 = arith.constant 0 : index
      %c1 = arith.constant 1 : index
      %b = memref.load %a[%c1] : memref<2xi8>
      """
    source = emit_c(parse(text + loop.replace("%q", "%0") * 10 + "func.return } }", "l.mlir")).text
    loops = re.findall(r"for \(int64_t (\w+) =", source)
    assert len(loops) == 10 and "i8" not in loops
