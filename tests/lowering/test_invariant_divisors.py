"""Divisions by what a loop does not change: which are marked, and that a marked one has the bits of a division."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
from needs import needs_compiler
from xdsl.dialects import arith, func

from lamina.backends.executable import Executable
from lamina.backends.toolchain import build_shared, find_compiler
from lamina.dialects.target import target_named
from lamina.dialects.text import parse, verify
from lamina.dialects.types import dtype_of
from lamina.lowering.c_expressions import BY_INVERSE
from lamina.lowering.invariant_divisors import mark_divisions
from lamina.lowering.loops_to_c import emit_c


def program(body: str, count: int, turns: int = 64, lanes: int = 16) -> str:
    """Rows of numerators, each over its own divisor. body: of the loop over vectors, from %x and %d to %y."""
    rows = f"memref<{count}xf32>"
    return f"""builtin.module attributes {{lamina.arena_bytes = 64 : i64}} {{
      func.func @main(%a: {rows}, %b: memref<{count // turns}xf32>, %v: {rows}, %arena: memref<64xi8>) {{
        %c0 = arith.constant 0 : index
        %c1 = arith.constant 1 : index
        %lanes = arith.constant {lanes} : index
        %turns = arith.constant {turns} : index
        %m = arith.constant {count // turns} : index
        %three = arith.constant 3.0 : f32
        %minus = arith.constant -3.0 : f32
        %third = vector.broadcast %three : f32 to vector<{lanes}xf32>
        %below = vector.broadcast %minus : f32 to vector<{lanes}xf32>
        scf.for %j = %c0 to %m step %c1 {{
          %s = memref.load %b[%j] : memref<{count // turns}xf32>
          %d = vector.broadcast %s : f32 to vector<{lanes}xf32>
          %first = arith.muli %j, %turns : index
          scf.for %k = %c0 to %turns step %lanes {{
            %i = arith.addi %first, %k : index
            %x = vector.load %a[%i] : {rows}, vector<{lanes}xf32>
            {body.replace("FLOAT", f"vector<{lanes}xf32>")}
            vector.store %y, %v[%i] : {rows}, vector<{lanes}xf32>
          }}
        }}
        func.return
      }}
    }}"""


def marked(body: str, target: str = "avx512", **sizes: int) -> list[bool]:
    module = parse(program(body, 1024, **sizes), "m.mlir")
    verify(module)
    function = next(op for op in module.body.block.ops if isinstance(op, func.FuncOp))
    mark_divisions(function, target_named(target))
    divisions = [BY_INVERSE in op.attributes for op in function.walk() if isinstance(op, arith.DivfOp)]
    assert str(parse(str(module), "again.mlir")) == str(module)
    return divisions


PLAIN = "%y = arith.divf %x, %d : FLOAT"


def test_a_body_that_waits_for_the_divider():
    assert marked(PLAIN) == [True]
    assert marked(PLAIN.replace("%d", "%third")) == [True]


def test_a_root_keeps_the_divider_while_multiply_adds_divide():
    assert marked("%r = math.sqrt %x : FLOAT\n%q = arith.divf %r, %d : FLOAT\n%z = arith.addf %q, %d : FLOAT\n%y = arith.divf %x, %z : FLOAT") == [True, False]


@pytest.mark.parametrize(
    "body",
    [
        PLAIN.replace("%x, %d", "%d, %x"),  # another divisor in every turn
        PLAIN.replace("%d", "%below"),  # no inverse of it is taken
        "%e = math.exp %x : FLOAT\n%f = math.tanh %e : FLOAT\n%y = arith.divf %f, %d : FLOAT",  # the divider has the time
    ],
)
def test_others_are_left_to_the_divider(body):
    assert marked(body) == [False]


def test_short_loops_narrow_vectors_and_other_machines():
    assert marked(PLAIN, turns=32) == [False]
    assert marked(PLAIN, lanes=8) == [False]
    assert marked(PLAIN, target="avx2") == [False]
    assert marked(PLAIN, target="sm_80") == [False]


def run(a: np.ndarray, b: np.ndarray, folder: Path) -> np.ndarray:
    """The marked division, as the C compiler has it: a row of numerators per divisor."""
    module = parse(program(PLAIN.replace(" :", f" {{{BY_INVERSE}}} :"), a.size), "m.mlir")
    source, library = folder / "m.c", folder / "m.so"
    source.write_text(emit_c(module).text)
    assert "quotient_f32x16(" in source.read_text()
    build_shared(find_compiler(), source, library, ("-Wall", "-Wextra", "-Werror"))
    types = [((a.size,), dtype_of("f32")), ((b.size,), dtype_of("f32"))]
    return Executable(library, types, types[:1], 64)([a.reshape(-1), b])[0].reshape(a.shape)


@needs_compiler
def test_bits_are_those_of_a_division(tmp_path):
    rng = np.random.default_rng(0)
    rows = 4096
    b = (rng.uniform(1, 2, rows) * 2.0 ** rng.integers(-25, 45, rows)).astype(np.float32)
    b[::5] = rng.uniform(0.5, 4, rows // 5 + 1)
    specials = [1, 3, 0.1, -0.1, 0, -0.0, np.inf, -np.inf, np.nan, 2.0**40, 2.0**-20, 2.0**41, 2.0**-21, 1e-45, 3e38, 1.9999999, 1e-8]
    b[: len(specials)] = specials
    a = (rng.uniform(-2, 2, (rows, 64)) * 2.0 ** rng.integers(-150, 128, (rows, 1))).astype(np.float32)
    a[1::2] = rng.uniform(-2, 2, (rows // 2, 64)) * 2.0 ** rng.integers(-150, 128, (rows // 2, 64)).astype(np.float32)
    a[2::4] = rng.uniform(0, 2, (rows // 4, 64))
    a[: 8 * rows // 16 : 3, 40:54] = [0, -0.0, np.inf, -np.inf, np.nan, 1e-45, -1e-45, 1.2e-38, 3.4e38, -3.4e38, 2.0**-80, 2.0**-100, 2.0**-101, 1]
    a[3::4, ::3] = 0.0
    b[7::8] = rng.uniform(1, 2, rows // 8) * 2.0 ** rng.integers(-20, -18, rows // 8)
    a[7::8] = rng.uniform(1, 2, (rows // 8, 64)) * b[7::8, None] * 2.0 ** rng.integers(-104, -76, (rows // 8, 64))
    with np.errstate(all="ignore"):
        want = a / b[:, None]
    got = run(a, b, tmp_path)
    numbers = ~np.isnan(want)
    assert np.array_equal(np.isnan(got), ~numbers)
    different = np.argwhere(numbers & (got.view(np.int32) != want.view(np.int32)))
    assert not len(different), [(a[i, j], b[i], got[i, j], want[i, j]) for i, j in different[:5]]


@needs_compiler
@pytest.mark.parametrize("every", [1999, pytest.param(1, marks=pytest.mark.slow)])
def test_numerators_whose_quotient_nearly_lies_between_two_numbers(every, tmp_path):
    binary = tmp_path / "hard"
    source = Path(__file__).parent / "hard_quotients.c"
    command = [*find_compiler().command, "-O2", "-std=gnu11", "-march=native", "-ffp-contract=off", str(source), "-o", str(binary), "-lm"]
    subprocess.run(command, check=True)
    done = subprocess.run([str(binary), str(every)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert int(done.stdout.split()[0]) > 2e8 // every // 2
