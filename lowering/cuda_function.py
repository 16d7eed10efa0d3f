"""One kernel of the gpu level as CUDA C++: the C emitter's statements and expressions, and those only a GPU has."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from xdsl.dialects import arith, func, gpu, memref, scf
from xdsl.dialects.builtin import IndexType, MemRefType
from xdsl.ir import Operation, SSAValue

from ..dialects import nv, nv_parts
from ..dialects.errors import BackendError
from ..dialects.nv_hopper import TensorMapOp
from .c_expressions import EXPRESSIONS, Expression, constant_of, convert, type_name
from .c_function import FunctionPrinter
from .c_statements import STATEMENTS, address
from .c_types import c_type, scalar_name, span_of
from .cuda_hopper import HOPPER_STATEMENTS
from .cuda_prelude import CudaPrelude
from .gpu_launch import LaunchShape, launch_shape

_CPP = frozenset(
    "alignas alignof and asm bitand bitor bool catch class compl concept const_cast consteval constexpr decltype delete "
    "dynamic_cast explicit export false friend mutable namespace new noexcept not nullptr operator or private protected "
    "public reinterpret_cast requires static_assert static_cast template this thread_local throw true try typeid typename "
    "using virtual wchar_t xor fma min max pointers_ threadIdx blockIdx blockDim gridDim warpSize arena_".split()
)
ARENA = "arena_"


class CudaFunctionPrinter(FunctionPrinter):
    """Prints one kernel. Index values are int where every position fits, else int64_t."""

    moves_bits = False

    def __init__(self, prelude: CudaPrelude, function: func.FuncOp) -> None:
        super().__init__(prelude, function)  # type: ignore[arg-type]  # the same methods as the C prelude
        self.cuda = prelude
        shape = launch_shape(function)
        if shape is None:
            raise BackendError(f"{function.sym_name.data} is not a kernel of the gpu level: it has no nv.grid")
        self.shape: LaunchShape = shape
        self.index_type = "int" if _positions_fit(function, shape) else "int64_t"
        self.packed = any(isinstance(op, nv_parts.PartMemoryOp) for op in function.walk())
        """Whether its pointers are passed as one table, which parts look theirs up in."""
        self.tables: list[str] = []
        self._numbers: dict[tuple[int, ...], str] = {}

    def fresh(self, hint: str | None, fallback: str = "v") -> str:
        """A new variable name that is no word of C++."""
        return super().fresh(f"{hint}_" if hint in _CPP else hint, fallback)

    def type_text(self, value: SSAValue) -> str:
        """The C++ type of a value, ready to be followed by a name."""
        if isinstance(value.type, IndexType):
            return f"{self.index_type} "
        return super().type_text(value)

    def parameters(self) -> list[int]:
        """Which of the kernel's arguments it uses as pointers: only those are passed."""
        arguments = self.function.body.block.args
        mapped = [all(isinstance(use.operation, TensorMapOp) for use in a.uses) for a in arguments]
        return [i for i, a in enumerate(arguments) if a in self._live and not mapped[i]]

    def maps(self) -> list[TensorMapOp]:
        """The tensor maps it gets behind its arguments."""
        return [op for op in self.function.walk() if isinstance(op, TensorMapOp) and op.result in self._live]

    def map_name(self, op: TensorMapOp) -> str:
        """The parameter that is a tensor map."""
        return self._map_names[op]

    def global_function(self) -> str:
        """The kernel's text."""
        arguments = [self.function.body.block.args[i] for i in self.parameters()]
        parameters = self._table_of(arguments) if self.packed else ", ".join(self.declare(a, "p") for a in arguments)
        self._map_names = {op: self.fresh(None, "map") for op in self.maps()}
        if self._map_names:
            kind = self.cuda.use("tensor_map")
            parameters = ", ".join([*([parameters] if parameters else []), *(f"const __grid_constant__ {kind} {n}" for n in self._map_names.values())])
        if self.shape.shared_bytes:
            self._lines.append(f"    LM_SHARED({ARENA});")
        self.block(self.function.body.block)
        origin = self.function.attributes.get("origin")
        blocks = " x ".join(str(n) for n in self.shape.grid if n > 1) or "1"
        note = f"/* {blocks} blocks of {self.shape.threads} threads, {self.shape.shared_bytes} bytes of shared memory"
        note += f"; {origin.data.replace('*/', '* /')} */" if origin is not None else " */"
        cluster = f"__cluster_dims__({self.shape.cluster}, 1, 1) " if self.shape.cluster > 1 else ""
        head = f'extern "C" __global__ void {cluster}__launch_bounds__({self.shape.threads}, {self.shape.together}) {self.symbol}({parameters}) {{'
        return "\n".join([*self.tables, note, head, *self._lines, "}"])

    def _table_of(self, arguments: Sequence[SSAValue]) -> str:
        """The one parameter of a kernel whose parts look their pointers up; those all parts share get names."""
        self.pointers = {argument: k for k, argument in enumerate(arguments)}
        kind = f"{self.symbol}_pointers"
        self.tables.append(f"struct {kind} {{ void *at[{len(arguments)}]; }};")
        for k, argument in enumerate(arguments):
            if not all(isinstance(use.operation, nv_parts.PartMemoryOp) for use in argument.uses):
                kind_of = self.type_text(argument)
                self._lines.append(f"    {self.declare(argument, 'p')} = ({kind_of.strip()})pointers_.at[{k}];")
        return f"const __grid_constant__ {kind} pointers_"

    def numbers(self, hint: str, numbers: Sequence[int]) -> str:
        """The name of a table of numbers in constant memory."""
        known = self._numbers.get(tuple(numbers))
        if known is None:
            known = self._numbers[tuple(numbers)] = f"{self.symbol}_{hint}{len(self._numbers) or ''}"
            self.tables.append(f"__constant__ {self.index_type} {known}[{len(numbers)}] = {{{', '.join(map(str, numbers))}}};")
        return known

    def _op(self, op: Operation) -> None:
        statement = CUDA_STATEMENTS.get(type(op))
        if statement is not None:
            self._comment(op)
            statement(self, op)
            return
        expression = CUDA_EXPRESSIONS.get(type(op))
        text = expression(self, op) if expression is not None and op.results[0] in self._live else None
        if text is not None:
            self._comment(op)
            self.line(f"{self.declare(op.results[0])} = {text};")
            return
        known = type(op) in STATEMENTS or type(op) in EXPRESSIONS or expression is not None
        if not known:
            raise BackendError(f"the CUDA backend has no statement for {op.name}")
        super()._op(op)


def _positions_fit(function: func.FuncOp, shape: LaunchShape) -> bool:
    threads = shape.threads
    for n in shape.grid:
        threads *= n
    sizes = [span_of(v.type) for op in function.walk() for v in (*op.operands, *op.results) if isinstance(v.type, MemRefType)]
    return max([threads, *sizes]) < 1 << 30


# Statements


def _alloca(p: CudaFunctionPrinter, op: memref.AllocaOp) -> None:
    if not p.is_live(op.memref):
        return
    kind = op.memref.type
    t = c_type(kind.element_type) if not isinstance(kind.element_type, IndexType) else None
    if kind.memory_space == nv.REGISTERS:
        element = p.index_type if t is None else p.cuda.memory(t.code)
    else:
        element = p.cuda.memory(t.code)
    name = p.fresh(op.memref.name_hint, "row")
    p.alias(op.memref, name)
    p.line(f"{element} {name}[{max(1, span_of(kind))}];")


def _shared(p: CudaFunctionPrinter, op: nv.SharedOp) -> None:
    if not p.is_live(op.result):
        return
    element = p.cuda.memory(c_type(op.result.type.element_type).code)
    p.declare(op.result, "s")
    p.line(f"{element} *{p.name(op.result)} = ({element} *)({ARENA} + {p.name(op.offset)});")


def _for(p: CudaFunctionPrinter, op: scf.ForOp) -> None:
    if nv.UNROLL in op.attributes:
        index, *carried = op.body.block.args
        for argument, start, result in zip(carried, op.iter_args, op.results, strict=True):
            p.line(f"{p.declare(argument, 'acc')} = {p.name(start)};")
            p.alias(result, p.name(argument))
        declaration = p.declare(index, "i")
        name, low, high, step = p.name(index), p.name(op.lb), p.name(op.ub), p.name(op.step)
        p.line("#pragma unroll")
        p.line(f"for ({declaration} = {low}; {name} < {high}; {name} += {step}) {{")
        p.block(op.body.block)
        p.line("}")
        return
    if nv.ROLLED in op.attributes:
        p.line("#pragma unroll 1")
    STATEMENTS[scf.ForOp](p, op)


def _place(p: CudaFunctionPrinter, memory: SSAValue, index: SSAValue) -> str:
    where = address(p, memory, [index])
    return p.name(memory) if where == "0" else f"({p.name(memory)} + {where})"


def _wide_load(p: CudaFunctionPrinter, op: nv.LoadOp) -> None:
    t = c_type(op.memory.type.element_type)
    kind = p.cuda.vector(t.code, len(op.lanes))
    name = p.fresh(None, "wide")
    p.line(f"const {kind} {name} = *(const {kind} *){_place(p, op.memory, op.index)};")
    for k, lane in enumerate(op.lanes):
        if not p.is_live(lane):
            continue
        text = f"{name}.v[{k}]"
        if t.is_half:
            text = f"{p.cuda.function(f'from_{t.code}', 'f32', 0)}({text})"
        p.line(f"{p.declare(lane)} = {text};")


def _wide_store(p: CudaFunctionPrinter, op: nv.StoreOp) -> None:
    t = c_type(op.memory.type.element_type)
    kind = p.cuda.vector(t.code, len(op.lanes))
    texts = [p.name(v) for v in op.lanes]
    if t.is_half:
        function = p.cuda.function(f"to_{t.code}", "f32", 0)
        texts = [f"{function}({text})" for text in texts]
    name = p.fresh(None, "wide")
    p.line(f"const {kind} {name} = {{{{{', '.join(texts)}}}}};")
    p.line(f"*({kind} *){_place(p, op.memory, op.index)} = {name};")


def _ldmatrix(p: CudaFunctionPrinter, op: nv.LdmatrixOp) -> None:
    name = p.fresh(None, "fragment")
    p.line(f"uint32_t {name}[4];")
    function = p.cuda.use("ldmatrix" if op.transposed is None else "ldmatrix_transposed")
    p.line(f"{function}({name}, {_place(p, op.memory, op.index)});")
    for k, result in enumerate(op.results):
        p.alias(result, f"{name}[{k}]")


def _mma(factors: str, sums: str, function: Callable[[Operation], str]) -> Callable[[CudaFunctionPrinter, Operation], None]:
    """A product of a warp: how registers of factors and of sums are declared, and the helper that an op asks for."""

    def write(p: CudaFunctionPrinter, op: Operation) -> None:
        *given, d = (p.fresh(None, name) for name in ("ma", "mb", "mc", "md"))
        for name, kind, i, j in zip(given, (factors, factors, sums), (0, 4, 6), (4, 6, 10), strict=True):
            texts = ", ".join(p.name(v) for v in op.operands[i:j])
            p.line(f"const {kind} {name}[{j - i}] = {{{_unsigned(texts) if kind == 'uint32_t' else texts}}};")
        p.line(f"{sums} {d}[4];")
        p.line(f"{p.cuda.use(function(op))}({d}, {', '.join(given)});")
        for k, result in enumerate(op.results):
            p.alias(result, f"{d}[{k}]")

    return write


def _cp_async(p: CudaFunctionPrinter, op: nv.CpAsyncOp) -> None:
    target, source = _place(p, op.target, op.target_index), _place(p, op.source, op.source_index)
    p.line(f"{p.cuda.use('cp_async')}({target}, {source}, {p.name(op.inside)});")


def _part(p: CudaFunctionPrinter, op: nv_parts.PartOp) -> None:
    starts = list(op.starts.get_values())
    table = p.numbers("starts", starts)
    p.line(f"{p.declare(op.part)} = {p.cuda.use('part')}<{p.index_type}>({table}, {len(starts)}, {p.name(op.block)});")


def _part_number(p: CudaFunctionPrinter, op: nv_parts.PartNumberOp) -> None:
    if p.is_live(op.result):
        table = p.numbers("lengths", list(op.numbers.get_values()))
        p.line(f"{p.declare(op.result)} = {table}[{p.name(op.part)}];")


def _part_memory(p: CudaFunctionPrinter, op: nv_parts.PartMemoryOp) -> None:
    if not p.is_live(op.result):
        return
    places = [p.pointers[array] for array in op.arrays]
    if places != list(range(places[0], places[0] + len(places))):
        raise BackendError("the arrays of a kernel's parts stand side by side in its arguments", [("kernel", p.symbol, "")])
    kind = p.type_text(op.result).strip()
    p.line(f"{p.declare(op.result, 'p')} = ({kind})pointers_.at[{places[0]} + {p.name(op.part)}];")


def _unsigned(names: str) -> str:
    return ", ".join(f"(uint32_t){name}" for name in names.split(", "))


def _line(text: str) -> Callable[[Any, Any], None]:
    return lambda p, op: p.line(text)


CUDA_STATEMENTS: dict[type[Operation], Callable[[Any, Any], None]] = {
    memref.AllocaOp: _alloca, nv.SharedOp: _shared, scf.ForOp: _for, nv.LoadOp: _wide_load, nv.StoreOp: _wide_store,
    nv.LdmatrixOp: _ldmatrix, nv.MmaSyncOp: _mma("uint32_t", "float", lambda op: f"mma_{op.kind.name}"),
    nv.MmaTf32Op: _mma("float", "float", lambda op: "mma_tf32"),
    nv.MmaBytesOp: _mma("int32_t", "int32_t", lambda op: f"mma_{op.left.data}_{op.right.data}"),
    gpu.BarrierOp: _line("__syncthreads();"),
    nv.SyncWarpOp: _line("__syncwarp();"), nv.CpAsyncOp: _cp_async,
    nv_parts.PartOp: _part, nv_parts.PartNumberOp: _part_number, nv_parts.PartMemoryOp: _part_memory,
    nv.CpAsyncCommitOp: lambda p, op: p.line(f"{p.cuda.use('cp_async_commit')}();"),
    nv.CpAsyncWaitOp: lambda p, op: p.line(f"{p.cuda.use('cp_async_wait')}<{op.pending.value.data}>();"),
    **HOPPER_STATEMENTS,
}  # fmt: skip


# Expressions: where an index is 32 bits wide, so are its operations


def _number(which: str) -> Expression:
    return lambda scope, op: f"({scope.index_type}){which}.{op.dimension.data.value}"


def _unsigned_division(symbol: str) -> Expression:
    """By a positive constant as the compiler knows it best: without sign, in the width of the index."""

    def expression(scope: Any, op: Operation) -> str | None:
        divisor = constant_of(op.operands[1])
        if not isinstance(op.results[0].type, IndexType) or not isinstance(divisor, int) or divisor <= 0:
            return None
        word = "uint32_t" if scope.index_type == "int" else "uint64_t"
        return f"({scope.index_type})(({word}){scope.name(op.operands[0])} {symbol} {divisor}u)"

    return expression


def _of_index(name: str) -> Expression:
    def expression(scope: Any, op: Operation) -> str | None:
        if not isinstance(op.results[0].type, IndexType):
            return None
        scope.cuda.use(name)
        return f"lm_{name}<{scope.index_type}>({', '.join(scope.name(v) for v in op.operands)})"

    return expression


def _shuffle(scope: Any, op: nv.ShuffleXorOp) -> str:
    kind = scalar_name(c_type(op.value.type).carrier)
    return f"{scope.cuda.use('shuffle_xor')}<{kind}>({scope.name(op.value)}, {op.mask.value.data})"


def _pack(scope: Any, op: nv.PackOp) -> str:
    kind = "bf16" if op.kind.name == "bf16" else "f16"
    return f"(int32_t){scope.cuda.use(f'pack_{kind}')}({scope.name(op.low)}, {scope.name(op.high)})"


def _bitcast(scope: Any, op: arith.BitcastOp) -> str:
    source, target = c_type(op.operands[0].type), c_type(op.results[0].type)
    text = scope.name(op.operands[0])
    if source.is_half and not target.is_half:
        return f"({type_name(scope, target)}){scope.cuda.function(f'to_{source.code}', 'f32', 0)}({text})"
    if target.is_half and not source.is_half:
        return f"{scope.cuda.function(f'from_{target.code}', 'f32', 0)}((uint16_t){text})"
    if source.is_half or source.kind in "iu" and target.kind in "iu":
        return convert(scope, text, source, target)
    return f"{scope.cuda.use('bitcast')}<{type_name(scope, target)}>({text})"


CUDA_EXPRESSIONS: dict[type[Operation], Expression] = {
    gpu.ThreadIdOp: _number("threadIdx"), gpu.BlockIdOp: _number("blockIdx"),
    arith.DivUIOp: _unsigned_division("/"), arith.RemUIOp: _unsigned_division("%"),
    arith.MaxSIOp: _of_index("imax"), arith.MinSIOp: _of_index("imin"), arith.DivSIOp: _of_index("divide"),
    arith.RemSIOp: _of_index("remainder"), arith.CeilDivSIOp: _of_index("ceildiv"), arith.FloorDivSIOp: _of_index("floordiv"),
    nv.RoundTf32Op: lambda scope, op: f"{scope.cuda.use('round_tf32')}({scope.name(op.value)})",
    nv.Exp2Op: lambda scope, op: f"{scope.cuda.use('exp2')}({scope.name(op.value)})",
    nv.ShuffleXorOp: _shuffle, nv.PackOp: _pack, arith.BitcastOp: _bitcast,
}  # fmt: skip
