"""Contraction kernels at the buffered level, made from loop letters; numpy's answer; a run through C.

A factor is a list of dimensions, each a string like ``"n"`` or ``"2*i+u"`` over loop letters; ``order`` is
its dims from outermost to innermost in memory.
"""

from __future__ import annotations

import ctypes
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import ml_dtypes
import numpy as np
from xdsl.context import Context
from xdsl.dialects import arith, builtin, func, linalg, math, memref, scf, vector
from xdsl.parser import Parser

from lamina.backends.toolchain import build_shared, find_compiler
from lamina.dialects.target import Target, native_target
from lamina.lowering import linalg_to_loops
from lamina.lowering.contraction import scratch_bytes, lower_contraction
from lamina.lowering.loops_to_c import emit_c

NUMPY = {
    "bf16": ml_dtypes.bfloat16,
    "f16": np.float16,
    "f32": np.float32,
    "f64": np.float64,
    "i32": np.int32,
    "i64": np.int64,
    "i8": np.int8,
    "i1": np.bool_,
}


@dataclass(frozen=True)
class Operand:
    """Dimensions over loop letters, memory order and element type."""

    dims: tuple[str, ...]
    order: tuple[int, ...] | None = None
    element: str = "f32"

    def terms(self) -> list[dict[str, int]]:
        out = []
        for dim in self.dims:
            found: dict[str, int] = {}
            for term in dim.replace("-", "+-").split("+"):
                if match := re.fullmatch(r"(-?)(?:(\d+)\*)?([a-z])", term):
                    found[match[3]] = (-1 if match[1] else 1) * int(match[2] or 1)
                elif term:
                    found[""] = found.get("", 0) + int(term)
            out.append(found)
        return out

    def shape(self, sizes: dict[str, int]) -> tuple[int, ...]:
        return tuple(
            1 + sum(max(0, c * (sizes[k] - 1)) if k else c for k, c in t.items()) for t in self.terms()
        )

    def strides(self, sizes: dict[str, int]) -> tuple[int, ...]:
        shape, strides, step = self.shape(sizes), [0] * len(self.dims), 1
        for d in reversed(self.order or range(len(self.dims))):
            strides[d] = step
            step *= shape[d]
        return tuple(strides)

    def type(self, sizes: dict[str, int]) -> str:
        shape = "x".join(map(str, self.shape(sizes)))
        layout = f", strided<[{', '.join(map(str, self.strides(sizes)))}]>" if self.order else ""
        return f"memref<{shape}x{self.element}{layout}>"

    def map(self, letters: str) -> str:
        def text(term: dict[str, int]) -> str:
            parts = [
                str(c) if not k else f"d{letters.index(k)} * {c}" if c != 1 else f"d{letters.index(k)}"
                for k, c in term.items()
            ]
            return " + ".join(parts) or "0"

        dims = ", ".join(f"d{i}" for i in range(len(letters)))
        return f"affine_map<({dims}) -> ({', '.join(map(text, self.terms()))})>"

    def array(self, sizes: dict[str, int], rng: np.random.Generator) -> np.ndarray:
        """Random contents in logical order."""
        shape, kind = self.shape(sizes), NUMPY[self.element]
        if self.element == "i1":
            return rng.random(shape) < 0.5
        return (
            rng.standard_normal(shape).astype(kind)
            if self.element[0] in "fb"
            else rng.integers(-9, 9, shape).astype(kind)
            if self.element != "i8"
            else rng.integers(-128, 128, shape).astype(kind)
        )

    def stored(self, array: np.ndarray) -> np.ndarray:
        """The array as it lies in memory."""
        return np.ascontiguousarray(array.transpose(self.order) if self.order else array)

    def logical(self, stored: np.ndarray) -> np.ndarray:
        """A stored array in logical order."""
        return stored.transpose(np.argsort(self.order)) if self.order else stored

    def over_loops(self, array: np.ndarray, letters: str, sizes: dict[str, int]) -> np.ndarray:
        """A view with one axis per loop letter."""
        strides, start = [0] * len(letters), 0
        for term, step in zip(self.terms(), array.strides, strict=True):
            for k, c in term.items():
                if k:
                    strides[letters.index(k)] += c * step
                else:
                    start += c * step
        flat = np.lib.stride_tricks.as_strided
        base = array.reshape(-1)[start // array.itemsize :] if start else array
        return flat(base, tuple(sizes[k] for k in letters), tuple(strides))


@dataclass(frozen=True)
class Program:
    """``result[..] = epilogue(sum over the other letters of left * right, others...)``."""

    sizes: dict[str, int]
    left: Operand
    right: Operand
    result: Operand
    others: tuple[Operand, ...] = ()
    epilogue: str = ""  # lines of a body: %0 is the sum, %1.. the others, ends with a definition of %y
    direct: bool = False  # no epilogue: the contraction writes the result itself
    casts: tuple[str, str] = ("extf", "extf")  # of factors that are narrower than the result

    @property
    def parallel(self) -> str:
        return "".join(k for t in self.result.terms() for k in t if k)

    @property
    def letters(self) -> str:
        return self.parallel + "".join(k for k in self.sizes if k not in self.parallel)

    def text(self, scratch: int = 0) -> str:
        sizes, e = self.sizes, self.result.element
        operands = (self.left, self.right, *self.others, self.result)
        names = ["%a", "%b", *(f"%o{i}" for i in range(len(self.others))), "%out"]
        if scratch:
            names.append("%scratch")
        types = [o.type(sizes) for o in operands] + ([f"memref<{scratch}xi8>"] if scratch else [])
        arguments = ", ".join(f"{n}: {t}" for n, t in zip(names, types, strict=True))
        kinds = ", ".join('"parallel"' if k in self.parallel else '"reduction"' for k in self.letters)
        number = "0.0" if e[0] in "fb" else "0"
        mul, add = ("mulf", "addf") if e[0] in "fb" else ("muli", "addi")
        temporary = Operand(tuple(self.parallel), element=e)
        target, kind, where = (
            ("%out", self.result.type(sizes), self.result)
            if self.direct
            else ("%t", temporary.type(sizes), temporary)
        )
        loose = [
            k
            for k in sizes
            if not any(t == {k: 1} for o in (self.left, self.right, where) for t in o.terms())
        ]
        shape = (
            Operand(tuple(loose)) if loose else None
        )  # gives the loops their size, as kernels at the linalg level do
        factors = (self.left, self.right, *([shape] if shape else []))
        maps = ", ".join(o.map(self.letters) for o in (*factors, where))
        inputs = ", ".join(["%a", "%b", *(["%shape"] if shape else [])])
        input_types = ", ".join(o.type(sizes) for o in factors)
        spare = f", %spare: {shape.element}" if shape else ""
        widened = self.left.element != e
        lines = [f"%zero = arith.constant {number} : {e}"]
        if shape:
            lines.append(f"%shape = memref.alloca() : {shape.type(sizes)}")
        if not self.direct:
            lines.append(f"%t = memref.alloca() : {kind}")
        lines += [
            f"linalg.fill ins(%zero : {e}) outs({target} : {kind})",
            f"linalg.generic {{indexing_maps = [{maps}], iterator_types = [{kinds}]}} "
            f"ins({inputs} : {input_types}) outs({target} : {kind}) {{",
            f"^bb0(%0: {self.left.element}, %1: {self.right.element}{spare}, %2: {e}):",
            *(f"  %w{i} = arith.{cast} %{i} : {self.left.element} to {e}" for i, cast in enumerate(self.casts) if widened),
            f"  %3 = arith.{mul} {'%w0, %w1' if widened else '%0, %1'} : {e}",
            f"  %4 = arith.{add} %2, %3 : {e}",
            f"  linalg.yield %4 : {e}",
            "}",
        ]
        if not self.direct:
            lines += self._epilogue_lines(temporary, names, types)
        body = "\n    ".join(lines)
        call = f"func.call @k0({', '.join(names)}) : ({', '.join(types)}) -> ()"
        return (
            f"builtin.module {{\n  func.func private @k0({arguments}) {{\n    {body}\n    func.return\n  }}\n"
            f"  func.func @main({arguments}) {{\n    {call}\n    func.return\n  }}\n}}\n"
        )

    def _epilogue_lines(self, temporary: Operand, names: list[str], types: list[str]) -> list[str]:
        sizes, e = self.sizes, self.result.element
        maps = ", ".join(o.map(self.parallel) for o in (temporary, *self.others, self.result))
        kinds = ", ".join('"parallel"' for _ in self.parallel)
        count = len(self.others)
        ins = ", ".join(["%t", *names[2 : 2 + count]])
        in_types = ", ".join([temporary.type(sizes), *types[2 : 2 + count]])
        arguments = ", ".join(
            f"%{i}: {o.element}" for i, o in enumerate((temporary, *self.others, self.result))
        )
        inner = [f"  {line.strip()}" for line in self.epilogue.strip().splitlines()]
        return [
            f"linalg.generic {{indexing_maps = [{maps}], iterator_types = [{kinds}]}} "
            f"ins({ins} : {in_types}) outs(%out : {types[2 + count]}) {{",
            f"^bb0({arguments}):",
            *inner,
            f"  linalg.yield {'%y' if inner else '%0'} : {e}",
            "}",
        ]

    def expected(self, arrays: Sequence[np.ndarray], apply=None) -> np.ndarray:  # noqa: ANN001
        """numpy's answer; ``apply(sum, *others)`` is the epilogue, all over the result's loops."""
        a = self.left.over_loops(arrays[0], self.letters, self.sizes)
        b = self.right.over_loops(arrays[1], self.letters, self.sizes)
        wide = np.float64 if self.result.element[0] in "fb" else np.int64
        a, b = (v.view(np.uint8) if cast == "extui" else v for v, cast in zip((a, b), self.casts, strict=True))
        ids = list(range(len(self.letters)))
        used = [[i for i in ids if v.strides[i]] for v in (a, b)]
        squeezed = [v[tuple(slice(None) if v.strides[i] else 0 for i in ids)].astype(wide) for v in (a, b)]
        missing = [i for i in range(len(self.parallel)) if i not in used[0] and i not in used[1]]
        assert not missing or all(self.sizes[self.letters[i]] == 1 for i in missing)
        out = [i for i in range(len(self.parallel)) if i not in missing]
        total = np.einsum(squeezed[0], used[0], squeezed[1], used[1], out, optimize=True)
        total = total.reshape([self.sizes[k] for k in self.parallel])
        lost = [
            k
            for k in self.letters[len(self.parallel) :]
            if all(not v.strides[self.letters.index(k)] for v in (a, b))
        ]
        assert all(self.sizes[k] == 1 for k in lost)
        if apply is None:
            return total
        return apply(
            total,
            *(
                o.over_loops(v, self.parallel, self.sizes)
                for o, v in zip(self.others, arrays[2:], strict=True)
            ),
        )


NHWC = (0, 2, 3, 1)
BIAS_RELU = "%s = arith.addf %0, %1 : f32\n%z = arith.constant 0.0 : f32\n%y = arith.maximumf %s, %z : f32"


def matrix(m: int, n: int, k: int, a: str = "mk", b: str = "kn", element: str = "f32") -> Program:
    left, right = Operand(tuple(a), element=element), Operand(tuple(b), element=element)
    return Program({"m": m, "n": n, "k": k}, left, right, Operand(("m", "n"), element=element), direct=True)


def linear(m: int, n: int, k: int) -> Program:
    sizes = {"m": m, "n": n, "k": k}
    return Program(
        sizes, Operand(("m", "k")), Operand(("n", "k")), Operand(("m", "n")), (Operand(("n",)),), BIAS_RELU
    )


def convolution(
    n: int, c: int, o: int, h: int, k: int = 3, stride: int = 1, order: tuple[int, ...] | None = NHWC
) -> Program:
    out = (h - k) // stride + 1
    sizes = {"n": n, "o": o, "i": out, "j": out, "c": c, "u": k, "v": k}
    i, j = ("i+u", "j+v") if stride == 1 else (f"{stride}*i+u", f"{stride}*j+v")
    x, w, y = (
        Operand(("n", "c", i, j), order),
        Operand(("o", "c", "u", "v")),
        Operand(("n", "o", "i", "j"), order),
    )
    return Program(sizes, x, w, y, (Operand(("o",)),), BIAS_RELU)


def kernel_gradient(n: int, c: int, o: int, h: int, k: int = 3) -> Program:
    out = h - k + 1
    sizes = {"o": o, "c": c, "u": k, "v": k, "n": n, "i": out, "j": out}
    x, g = Operand(("n", "c", "i+u", "j+v"), NHWC), Operand(("n", "o", "i", "j"), NHWC)
    return Program(sizes, x, g, Operand(("o", "c", "u", "v")), direct=True)


def input_gradient(n: int, c: int, o: int, h: int, k: int = 3) -> Program:
    out = h - k + 1
    sizes = {"n": n, "c": c, "i": out, "j": out, "o": o, "u": k, "v": k}
    g, w = Operand(("n", "o", f"i-u+{k - 1}", f"j-v+{k - 1}"), NHWC), Operand(("o", "c", "u", "v"))
    return Program(sizes, g, w, Operand(("n", "c", "i", "j"), NHWC), direct=True)


def context() -> Context:
    """The dialects of the buffered and the loops level."""
    ctx = Context()
    for d in (
        builtin.Builtin,
        func.Func,
        linalg.Linalg,
        memref.MemRef,
        arith.Arith,
        math.Math,
        scf.Scf,
        vector.Vector,
    ):
        ctx.load_dialect(d)
    return ctx


def kernel_of(program: Program, scratch: int = 0, plan: str = "") -> tuple[builtin.ModuleOp, func.FuncOp]:
    """The program as a module, and its kernel, with this plan written on it."""
    module = Parser(context(), program.text(scratch)).parse_module()
    kernel = next(op for op in module.ops if isinstance(op, func.FuncOp))
    if plan:
        kernel.attributes["lamina.plan"] = builtin.StringAttr(plan)
    return module, kernel


def lowered(
    program: Program, target: Target | None = None, plain: bool = False, plan: str = ""
) -> tuple[builtin.ModuleOp, int] | None:
    """The module with the kernel lowered, and its scratch bytes; None where the scheduler declines.

    plain: a kernel that is declined goes to the nest scheduler. plan: one it has to get.
    """
    target = target or native_target()
    module, kernel = kernel_of(program, plan=plan)
    module.verify()
    scratch = linalg_to_loops.scratch_bytes(kernel, target) if plain else scratch_bytes(kernel, target)
    if scratch:
        module, kernel = kernel_of(program, scratch, plan)
    if plain:
        linalg_to_loops.lower_kernel(kernel, target)
    elif not lower_contraction(kernel, target):
        return None
    return module, scratch


Made = tuple[builtin.ModuleOp, int]  # what `lowered` gives


class Compiled:
    """A program as a function of arrays."""

    def __init__(
        self, program: Program, target: Target | None = None, plain: bool = False, plan: str = "", flags: tuple[str, ...] = (),
        made: Made | None = None,
    ) -> None:  # fmt: skip
        made = made or lowered(program, target, plain, plan)
        assert made is not None, "the scheduler declined"
        self.program = program
        self.module, scratch = made
        self.source = emit_c(self.module).text
        compiler = find_compiler()
        assert compiler is not None
        self._folder = tempfile.TemporaryDirectory()
        folder = Path(self._folder.name)
        (folder / "k.c").write_text(self.source)
        build_shared(compiler, folder / "k.c", folder / "k.so", flags)
        self._entry = ctypes.CDLL(str(folder / "k.so")).lamina_main
        self._scratch = aligned(scratch, np.int8)

    def bind(self, arrays: Sequence[np.ndarray]) -> tuple[np.ndarray, object]:
        """The result's memory and a call without arguments; arrays are in logical order."""
        program = self.program
        operands = (program.left, program.right, *program.others)
        stored = [aligned_copy(o.stored(a)) for o, a in zip(operands, arrays, strict=True)]
        shape = program.result.shape(program.sizes)
        order = program.result.order or tuple(range(len(shape)))
        result = aligned(int(np.prod(shape)), NUMPY[program.result.element]).reshape(
            [shape[d] for d in order]
        )
        result.view(np.uint8)[...] = 255
        held = [*stored, result, *([self._scratch] if self._scratch.size else [])]
        table = np.array([a.ctypes.data for a in held], np.int64)
        pointer = ctypes.c_void_p(table.ctypes.data)
        entry = self._entry

        def call() -> None:
            entry(pointer)

        call.held = (held, table)  # type: ignore[attr-defined]  # keeps the memory alive
        return program.result.logical(result), call

    def __call__(self, arrays: Sequence[np.ndarray]) -> np.ndarray:
        result, call = self.bind(arrays)
        call()
        return result


def aligned(count: int, kind: type) -> np.ndarray:
    """Memory on a 64-byte boundary."""
    raw = np.empty(count * np.dtype(kind).itemsize + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + count * np.dtype(kind).itemsize].view(kind)


def aligned_copy(array: np.ndarray) -> np.ndarray:
    """A copy on a 64-byte boundary."""
    out = aligned(array.size, array.dtype.type).reshape(array.shape)
    out[...] = array
    return out
