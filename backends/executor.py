"""Loop executor: runs the buffered and loops levels without a C compiler, by writing Python from them.

Every function becomes a Python function over flat numpy arrays; vectors are small arrays, scalars numpy scalars, indices
plain ints. ``linalg.generic`` (buffered level) is evaluated whole by the oracle on strided views of the buffers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from xdsl.dialects import arith, func, linalg, memref, scf, vector
from xdsl.dialects.builtin import IndexType, MemRefType, ModuleOp, VectorType
from xdsl.ir import Block, Operation, SSAValue

from ..dialects import kernel
from ..dialects.errors import ShapeError, UnsupportedError
from ..dialects.kernel import PrefetchOp
from ..lowering.c_expressions import constant_of
from ..lowering.c_types import offset_of, span_of, strides_of
from .executor_tiles import TILE_STATEMENTS, dotted
from .oracle_linalg import Generic
from .oracle_scalars import constant_value, evaluate_scalar, numpy_type


def execute(module: ModuleOp, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The outputs of a buffered or loops module for these inputs (row-major arrays of the inputs' types).

    Outputs are the arguments of ``@main`` between the inputs and the arena (or kept copies). ShapeError on a wrong number of inputs.
    """
    program = PythonProgram(module)
    main = next(f for f in module.ops if isinstance(f, func.FuncOp) and f.sym_name.data == "main")
    types = [argument.type for argument in main.body.block.args]
    if len(arrays) > len(types):
        raise ShapeError(f"the program takes {len(types)} buffers, got {len(arrays)} inputs")
    flat = [_flat(a, t) for a, t in zip(arrays, types, strict=False)]
    made = [np.zeros(span_of(t), numpy_type(t.element_type)) for t in types[len(arrays) :]]
    after = int("lamina.arena_bytes" in module.attributes)
    kept = module.attributes.get("lamina.kept")
    if kept is not None:
        made[-2][:] = True  # every packed copy is stale
        after += len(kept) + 1
    with np.errstate(all="ignore"):
        program.call("main", [*flat, *made])
    outputs = list(zip(made, types[len(arrays) :], strict=True))[: len(made) - after]
    results = [strided_view(a, t).copy() for a, t in outputs]
    unsigned = module.attributes.get("lamina.unsigned")
    for k in unsigned.get_values() if unsigned is not None else ():
        results[k] = results[k].view(f"u{results[k].itemsize}")
    return results


def python_source(module: ModuleOp) -> str:
    """The Python text the executor runs."""
    return PythonProgram(module).source


def _flat(array: np.ndarray, t: MemRefType) -> np.ndarray:
    """A copy of the array as the flat memory its memref type describes (a uint8 may be stored as i8)."""
    element = numpy_type(t.element_type)
    flat = np.zeros(span_of(t), element)
    strided_view(flat, t)[...] = array if array.dtype == element else array.view(element)
    return flat


def strided_view(flat: np.ndarray, t: MemRefType) -> np.ndarray:
    """The n-dimensional view a memref type makes of flat memory that begins at its first element."""
    strides = [s * flat.itemsize for s in strides_of(t)]
    return np.lib.stride_tricks.as_strided(flat, tuple(t.get_shape()), strides, writeable=True)


class PythonProgram:
    """The functions of a module as Python; ``call(name, flat arrays)`` runs one."""

    def __init__(self, module: ModuleOp) -> None:
        self._environment: dict[str, Any] = {"np": np, "_fma": _fma, "_divide": _divide, "_masked": _masked, "_strided": strided_view}
        functions = [f for f in module.ops if isinstance(f, func.FuncOp) and not f.is_declaration]
        self.source = "\n\n".join(_FunctionWriter(f, self._environment).text() for f in functions) + "\n"
        exec(compile(self.source, "<loop executor>", "exec"), self._environment)  # noqa: S102  # text made above from IR

    def call(self, name: str, buffers: Sequence[np.ndarray]) -> None:
        """Run a function on flat arrays, one per argument."""
        self._environment[f"f_{name}"](*buffers)


def _fma(a: Any, b: Any, c: Any) -> Any:
    """a * b + c rounded once for 32-bit and narrower floats (through float64); f64 is rounded twice."""
    if a.dtype == np.float64:
        return a * b + c
    return (a.astype(np.float64) * b + c).astype(a.dtype)


def _divide(a: int, b: int) -> int:
    """Index division as C does it, towards zero."""
    return 0 if b == 0 else a // b if (a >= 0) == (b > 0) else -(-a // b)


def _masked(memory: np.ndarray, at: int, mask: np.ndarray, rest: np.ndarray) -> np.ndarray:
    """The lanes of a mask from memory, the others those of ``rest``."""
    lanes = rest.copy()
    lanes[mask] = memory[at + np.flatnonzero(mask)]
    return lanes


class _BufferedGeneric(Generic):
    """A linalg.generic on memrefs: its body may also load from buffers."""

    def scalar(self, op: Operation, env: Any, sizes: tuple[int, ...], start: tuple[int, ...]) -> np.ndarray:
        if isinstance(op, memref.LoadOp):
            return env[op.memref][tuple(env[i] for i in op.indices)]
        return super().scalar(op, env, sizes, start)


_SYMBOLS: dict[type[Operation], str] = {
    arith.AddfOp: "+", arith.SubfOp: "-", arith.MulfOp: "*", arith.DivfOp: "/",
    arith.AddiOp: "+", arith.SubiOp: "-", arith.MuliOp: "*",
}  # fmt: skip
_SIGNED = ("==", "!=", "<", "<=", ">", ">=")


class _FunctionWriter:
    """Writes one function as Python text."""

    def __init__(self, function: func.FuncOp, environment: dict[str, Any]) -> None:
        self._function = function
        self._environment = environment
        self._names: dict[SSAValue, str] = {}
        self._offsets: dict[SSAValue, str] = {}
        self._lines: list[str] = []
        self._indent = 1

    def text(self) -> str:
        """``def f_<name>(buffers): ...``"""
        arguments = [self.new(a) for a in self._function.body.block.args]
        self._block(self._function.body.block)
        head = f"def f_{self._function.sym_name.data}({', '.join(arguments)}):"
        return "\n".join([head, *(self._lines or ["    pass"])])

    def new(self, value: SSAValue) -> str:
        """A fresh name for a value."""
        name = self._names[value] = f"v{len(self._names)}"
        return name

    def name(self, value: SSAValue) -> str:
        """The expression of a value."""
        return self._names[value]

    def line(self, text: str) -> None:
        """Add a line at the current depth."""
        self._lines.append("    " * self._indent + text)

    def keep(self, thing: object) -> str:
        """A name under which the Python text can use an object."""
        name = f"_k{len(self._environment)}"
        self._environment[name] = thing
        return name

    def _block(self, block: Block) -> None:
        before = len(self._lines)
        for op in block.ops:
            statement = _STATEMENTS.get(type(op))
            if statement is not None:
                statement(self, op)
            else:
                text = self._expression(op)
                self.line(f"{self.new(op.results[0])} = {text}")
        if len(self._lines) == before:
            self.line("pass")

    # -- values ------------------------------------------------------------------------------------------------------

    def _expression(self, op: Operation) -> str:
        names = [self.name(v) for v in op.operands]
        result = op.results[0].type
        if type(op) in _SYMBOLS and not str(result).endswith("i1"):
            return f"{names[0]} {_SYMBOLS[type(op)]} {names[1]}"
        if isinstance(op, arith.CmpiOp) and op.predicate.value.data < len(_SIGNED):
            return f"{names[0]} {_SIGNED[op.predicate.value.data]} {names[1]}"
        if isinstance(op, arith.SelectOp):
            scalar = not isinstance(op.cond.type, VectorType)
            return f"{names[1]} if {names[0]} else {names[2]}" if scalar else f"np.where({', '.join(names)})"
        if isinstance(op, arith.DivSIOp) and isinstance(result, IndexType):
            return f"_divide({names[0]}, {names[1]})"
        if isinstance(op, arith.RemSIOp) and isinstance(result, IndexType):
            return f"{names[0]} - _divide({names[0]}, {names[1]}) * {names[1]}"
        if isinstance(op, arith.IndexCastOp):
            return f"int({names[0]})" if isinstance(result, IndexType) else f"{self.dtype(result)}({names[0]})"
        if isinstance(op, vector.FMAOp):
            return f"_fma({', '.join(names)})"
        if isinstance(op, kernel.DotOp):
            return f"{self.keep(dotted)}({op.kind.data!r}, {', '.join(names)})"
        if isinstance(op, vector.BroadcastOp):
            return f"np.full({result.get_shape()[0]}, {names[0]}, {self.dtype(result)})"
        return self._by_oracle(op, names)

    def _by_oracle(self, op: Operation, names: list[str]) -> str:
        def apply(*operands: Any) -> Any:
            arrays = [np.asarray(x, np.int64) if isinstance(x, int) else np.asarray(x) for x in operands]
            value = evaluate_scalar(op, arrays)
            if value is None:
                raise UnsupportedError(f"the loop executor does not know {op.name}", help="lowering/README.md lists the loops level")
            return int(value) if isinstance(op.results[0].type, IndexType) else value[()]

        return f"{self.keep(apply)}({', '.join(names)})"

    def dtype(self, t: Any) -> str:
        """A name for the numpy type of an element, or of a vector's."""
        element = t.element_type if isinstance(t, VectorType) else t
        return self.keep(numpy_type(element).type)

    def _constant(self, op: arith.ConstantOp) -> None:
        number = constant_of(op.result)
        if isinstance(op.result.type, IndexType):
            self._names[op.result] = str(number)
        else:
            value = constant_value(op.value)
            self._names[op.result] = self.keep(np.array(value) if value.ndim else value[()])

    # -- memory ------------------------------------------------------------------------------------------------------

    def at(self, base: SSAValue, indices: Sequence[SSAValue]) -> str:
        """The index of an element in the flat array a memref lies in."""
        terms = [t for t in [self._offsets.get(base, "")] if t]
        for value, stride in zip(indices, strides_of(base.type), strict=True):
            if stride and self.name(value) != "0":
                terms.append(self.name(value) if stride == 1 else f"{self.name(value)} * {stride}")
        return " + ".join(terms) or "0"

    def _load(self, op: memref.LoadOp) -> None:
        self.line(f"{self.new(op.res)} = {self.name(op.memref)}[{self.at(op.memref, op.indices)}]")

    def _store(self, op: memref.StoreOp) -> None:
        self.line(f"{self.name(op.memref)}[{self.at(op.memref, op.indices)}] = {self.name(op.value)}")

    def _vector_load(self, op: vector.LoadOp) -> None:
        lanes = op.result.type.get_shape()[0]
        at = self.at(op.base, op.indices)
        self.line(f"{self.new(op.result)} = {self.name(op.base)}[{at} : {at} + {lanes}].copy()")

    def _run(self, op: kernel.RunOp) -> None:
        self.line(f"{self.new(op.result)} = {self.name(op.iteration)}")

    def _load_words(self, op: kernel.LoadWordsOp) -> None:
        at = self.at(op.memory, [op.index])
        count = 32 // op.memory.type.element_type.bitwidth
        lanes = op.result.type.get_shape()[0] if isinstance(op.result.type, VectorType) else 0
        words = f"{self.name(op.memory)}[{at} : {at} + {count * max(1, lanes)}].view(np.int32)"
        self.line(f"{self.new(op.result)} = {words}{'.copy()' if lanes else '[0]'}")

    def _vector_store(self, op: vector.StoreOp) -> None:
        lanes = op.vector.type.get_shape()[0]
        at = self.at(op.base, op.indices)
        self.line(f"{self.name(op.base)}[{at} : {at} + {lanes}] = {self.name(op.vector)}")

    def _create_mask(self, op: vector.CreateMaskOp) -> None:
        self.line(f"{self.new(op.mask_vector)} = np.arange({op.mask_vector.type.get_shape()[0]}) < {self.name(op.mask_dim_sizes[0])}")

    def _masked_load(self, op: vector.MaskedLoadOp) -> None:
        at = self.at(op.base, op.indices)
        self.line(f"{self.new(op.result)} = _masked({self.name(op.base)}, {at}, {self.name(op.mask)}, {self.name(op.pass_thru)})")

    def _masked_store(self, op: vector.MaskedStoreOp) -> None:
        mask = self.name(op.mask)
        self.line(f"{self.name(op.base)}[{self.at(op.base, op.indices)} + np.flatnonzero({mask})] = {self.name(op.value_to_store)}[{mask}]")

    def _alloca(self, op: memref.AllocaOp) -> None:
        t = op.memref.type
        self.line(f"{self.new(op.memref)} = np.empty({span_of(t)}, {self.dtype(t.element_type)})")

    def _view(self, op: memref.ViewOp) -> None:
        t, start = op.result.type, self.name(op.byte_shift)
        element = numpy_type(t.element_type)
        size = span_of(t) * element.itemsize
        source = self.name(op.source)
        self.line(f"{self.new(op.result)} = {source}[{start} : {start} + {size}].view({self.keep(element)})")

    def _reinterpret(self, op: memref.ReinterpretCastOp) -> None:
        static = op.static_offsets.get_values()[0] - offset_of(op.source.type) if not op.offsets else 0
        self._move(op.result, op.source, self.name(op.offsets[0]) if op.offsets else str(static))

    def _subview(self, op: memref.SubviewOp) -> None:
        dynamic, terms = iter(op.offsets), []
        for stride, fixed in zip(strides_of(op.source.type), op.static_offsets.get_values(), strict=True):
            start = self.name(next(dynamic)) if fixed < -(2**62) else str(fixed)
            if start != "0":
                terms.append(f"{start} * {stride}")
        self._move(op.result, op.source, " + ".join(terms) or "0")

    def _move(self, result: SSAValue, source: SSAValue, offset: str) -> None:
        self._names[result] = self.name(source)
        parts = [p for p in (self._offsets.get(source, ""), offset) if p and p != "0"]
        if parts:
            self._offsets[result] = " + ".join(parts)

    def _same(self, op: Operation) -> None:
        self._move(op.results[0], op.operands[0], "0")

    def _bits(self, op: kernel.BitsOp) -> None:
        self._move(op.result, op.source, "0")
        self.line(f"{self.new(op.result)} = {self.name(op.source)}.view({self.dtype(op.result.type.element_type)})")

    def _strided(self, value: SSAValue) -> str:
        return f"_strided({self._flat_from(value)}, {self.keep(value.type)})"

    def _flat_from(self, value: SSAValue) -> str:
        offset = self._offsets.get(value, "")
        return f"{self.name(value)}[{offset}:]" if offset else self.name(value)

    # -- vectors -----------------------------------------------------------------------------------------------------

    def _extract(self, op: vector.ExtractOp) -> None:
        at = op.get_mixed_position()[0]
        self.line(f"{self.new(op.result)} = {self.name(op.vector)}[{at if isinstance(at, int) else self.name(at)}]")

    def _insert(self, op: vector.InsertOp) -> None:
        at = op.get_mixed_position()[0]
        self.line(f"{self.new(op.result)} = {self.name(op.dest)}.copy()")
        self.line(f"{self.name(op.result)}[{at if isinstance(at, int) else self.name(at)}] = {self.name(op.source)}")

    def _shuffle(self, op: vector.ShuffleOp) -> None:
        both = f"np.concatenate(({self.name(op.operands[0])}, {self.name(op.operands[1])}))"
        self.line(f"{self.new(op.results[0])} = {both}[{list(op.mask.get_values())}]")

    # -- control flow ------------------------------------------------------------------------------------------------

    def _for(self, op: scf.ForOp) -> None:
        index, *carried = op.body.block.args
        for argument, start, result in zip(carried, op.iter_args, op.results, strict=True):
            self.line(f"{self.new(argument)} = {self.name(start)}")
            self._names[result] = self._names[argument]
        self._loop(index, op.lb, op.ub, op.step, op.body.block)

    def _loop(self, index: SSAValue, low: SSAValue, high: SSAValue, step: SSAValue, body: Block) -> None:
        self.line(f"for {self.new(index)} in range({self.name(low)}, {self.name(high)}, {self.name(step)}):")
        self._indent += 1
        self._block(body)
        self._indent -= 1

    def _parallel(self, op: scf.ParallelOp) -> None:
        self._loop(op.body.block.args[0], op.lowerBound[0], op.upperBound[0], op.step[0], op.body.block)

    def _yield(self, op: scf.YieldOp) -> None:
        parent = op.parent_op()
        targets = parent.results if isinstance(parent, scf.IfOp) else parent.body.block.args[1:]
        if op.operands:
            left = ", ".join(self.name(t) for t in targets)
            self.line(f"{left} = {', '.join(self.name(v) for v in op.operands)}")

    def _if(self, op: scf.IfOp) -> None:
        for result in op.results:
            self.new(result)
        self.line(f"if {self.name(op.cond)}:")
        for region, head in ((op.true_region, ""), (op.false_region, "else:")):
            if region.blocks:
                if head:
                    self.line(head)
                self._indent += 1
                self._block(region.block)
                self._indent -= 1

    def _call(self, op: func.CallOp) -> None:
        self.line(f"f_{op.callee.string_value()}({', '.join(self._flat_from(v) for v in op.arguments)})")

    def _nothing(self, op: Operation) -> None:
        pass

    # -- linalg on buffers -------------------------------------------------------------------------------------------

    def _generic(self, op: linalg.ops.GenericOp) -> None:
        outer = _values_from_outside(op)

        def run(*arrays: np.ndarray) -> None:
            env = dict(zip([*op.operands, *outer], arrays, strict=True))
            made = _BufferedGeneric(op, env).run()
            for target, value in zip(arrays[len(op.inputs) : len(op.operands)], made, strict=True):
                target[...] = value

        operands = [self._strided(v) if isinstance(v.type, MemRefType) else self.name(v) for v in (*op.operands, *outer)]
        self.line(f"{self.keep(run)}({', '.join(operands)})")

    def _fill(self, op: linalg.ops.FillOp) -> None:
        self.line(f"{self._strided(op.outputs[0])}[...] = {self.name(op.inputs[0])}")


def _values_from_outside(op: Operation) -> list[SSAValue]:
    """Values the body of a linalg.generic uses that are neither its operands nor made inside."""
    inside = {r for inner in op.walk() for r in inner.results} | set(op.regions[0].block.args)
    found: dict[SSAValue, None] = {}
    for inner in op.regions[0].block.ops:
        for value in inner.operands:
            if value not in inside and value not in op.operands:
                found[value] = None
    return list(found)


_STATEMENTS: dict[type[Operation], Callable[[_FunctionWriter, Any], None]] = {
    arith.ConstantOp: _FunctionWriter._constant,
    memref.LoadOp: _FunctionWriter._load, memref.StoreOp: _FunctionWriter._store,
    memref.AllocaOp: _FunctionWriter._alloca, memref.ViewOp: _FunctionWriter._view,
    memref.ReinterpretCastOp: _FunctionWriter._reinterpret, memref.SubviewOp: _FunctionWriter._subview,
    memref.CastOp: _FunctionWriter._same, memref.CollapseShapeOp: _FunctionWriter._same,
    memref.ExpandShapeOp: _FunctionWriter._same, kernel.BitsOp: _FunctionWriter._bits,
    kernel.LoadWordsOp: _FunctionWriter._load_words, kernel.RunOp: _FunctionWriter._run,
    vector.LoadOp: _FunctionWriter._vector_load, vector.StoreOp: _FunctionWriter._vector_store,
    vector.CreateMaskOp: _FunctionWriter._create_mask, vector.MaskedLoadOp: _FunctionWriter._masked_load,
    vector.MaskedStoreOp: _FunctionWriter._masked_store,
    vector.ExtractOp: _FunctionWriter._extract, vector.InsertOp: _FunctionWriter._insert,
    vector.ShuffleOp: _FunctionWriter._shuffle, PrefetchOp: _FunctionWriter._nothing,
    scf.ForOp: _FunctionWriter._for, scf.IfOp: _FunctionWriter._if, scf.YieldOp: _FunctionWriter._yield,
    scf.ParallelOp: _FunctionWriter._parallel, scf.ReduceOp: _FunctionWriter._nothing,
    func.CallOp: _FunctionWriter._call, func.ReturnOp: _FunctionWriter._nothing,
    linalg.ops.GenericOp: _FunctionWriter._generic, linalg.ops.FillOp: _FunctionWriter._fill, **TILE_STATEMENTS,
}  # fmt: skip
