"""loops level to C11 source: one static function per kernel, ``int lamina_main(void **table)`` for @main.

Every SSA value is a named variable, constants stand where they are used, ``/* model.py:12 */`` tells the user's line.
A ``scf.parallel`` becomes a function over a range, handed to ``parallel_for`` (plain call until a pool is set).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from xdsl.dialects import arith, func, memref, scf, vector
from xdsl.dialects.builtin import MemRefType, ModuleOp, StringAttr
from xdsl.ir import Block, Operation, SSAValue

from ..dialects import arith_vectors as arith_vectors  # vector comparisons
from ..dialects.errors import BackendError
from .c_expressions import EXPRESSIONS, constant_of, convert, type_name
from .c_helpers import Prelude
from .c_types import CType, c_type, offset_of, scalar_name, span_of, strides_of
from .liveness import captured_values, live_values, root_of, written_roots

_RESERVED = frozenset(
    "auto break case char const continue default do double else enum extern float for goto if inline int long register "
    "restrict return short signed sizeof static struct switch typedef union unsigned void volatile while bool true false "
    "main table task begin end abs exp log sin cos tan pow sqrt floor ceil round trunc div y0 y1 yn j0 j1 jn gamma index "
    "f64 f32 f16 bf16 i64 i32 i16 i8 i1 u8 u16 u32 u64 asm typeof".split()
)
_PARALLEL_FOR = """\
typedef void (*range_body)(void *task, int64_t begin, int64_t end);
typedef void (*range_runner)(range_body body, void *task, int64_t count);
static void run_here(range_body body, void *task, int64_t count) { body(task, 0, count); }
static range_runner parallel_for = run_here;"""


@dataclass(frozen=True)
class Source:
    """C text of a program and the facts its callers need."""

    text: str
    entry: str
    arguments: int


def emit_c(module: ModuleOp, entry: str = "lamina_main", *, pool: bool = True, shared: bool = True) -> Source:
    """The C11 source of a loops-level module.

    entry: name of the function made from @main. pool: emit ``parallel_for`` and ``<entry>_pool`` to set it.
    shared: give entry external linkage. BackendError names an op that has no C.
    """
    prelude = Prelude()
    bodies: list[str] = []
    count = 0
    has_parallel = any(isinstance(op, scf.ParallelOp) for f in module.ops for op in f.walk())
    origins = _origins(module)
    for function in module.ops:
        if not isinstance(function, func.FuncOp):
            raise BackendError(f"the loops level holds functions only, got {function.name}")
        if function.is_declaration:
            continue
        printer = FunctionPrinter(prelude, function)
        if function.sym_name.data == "main":
            count = len(function.body.block.args)
            bodies.append(printer.main(entry, "" if shared else "static "))
        else:
            bodies.append(printer.kernel(origins.get(function.sym_name.data)))
    parts = [prelude.text()]
    if has_parallel:
        parts.append(_PARALLEL_FOR)
        if pool:
            parts.append(f"void {entry}_pool(range_runner runner) {{ parallel_for = runner ? runner : run_here; }}")
    elif pool:
        parts.append(f"void {entry}_pool(void *runner) {{ (void)runner; }}")
    return Source("\n\n".join(p.rstrip() for p in (*parts, *bodies)) + "\n", entry, count)


def _origins(module: ModuleOp) -> dict[str, str]:
    """Kernel name -> the user's lines of its calls, for the comment above the kernel."""
    found: dict[str, dict[str, None]] = {}
    for function in module.ops:
        for op in function.walk():
            if isinstance(op, func.CallOp) and isinstance(origin := op.attributes.get("origin"), StringAttr):
                found.setdefault(op.callee.string_value(), {})[origin.data] = None
    return {name: ", ".join(list(lines)[:4]) + (", ..." if len(lines) > 4 else "") for name, lines in found.items()}


def _next_insert(op: vector.InsertOp) -> vector.InsertOp | None:
    """The insert that alone uses this one's result as its vector."""
    users = [use.operation for use in op.result.uses]
    if len(users) == 1 and isinstance(users[0], vector.InsertOp) and users[0].dest is op.result:
        return users[0]
    return None


def _lanes_of(last: vector.InsertOp) -> list[SSAValue] | None:
    """The scalars of a vector made by a chain of inserts that ends here; None when a lane is missing or not static."""
    count = c_type(last.result.type).lanes
    found: dict[int, SSAValue] = {}
    op = last
    while True:
        where = op.get_mixed_position()[0]
        if not isinstance(where, int):
            return None
        found.setdefault(where, op.source)
        before = op.dest.owner
        if not isinstance(before, vector.InsertOp) or _next_insert(before) is not op:
            break
        op = before
    return [found[k] for k in range(count)] if len(found) == count else None


class FunctionPrinter:
    """Prints one function; also the scope its expressions are named in."""

    def __init__(self, prelude: Prelude, function: func.FuncOp) -> None:
        self.prelude = prelude
        self.function = function
        self.symbol = re.sub(r"\W", "_", function.sym_name.data)
        self._names: dict[SSAValue, str] = {}
        self._taken: dict[str, int] = {}
        self._bits: dict[SSAValue, int] = {}
        self._lines: list[str] = []
        self._indent = 1
        self._origin: str | None = None
        self._tasks: list[str] = []
        self._live = live_values(function)
        self._written = written_roots(function)

    # -- the scope expressions see ----------------------------------------------------------------------------------

    def name(self, value: SSAValue) -> str:
        """The variable, literal or alias a value is printed as."""
        return self._names[value]

    def mask_bits(self, value: SSAValue) -> int:
        """Bits of each lane of an i1 vector's mask."""
        return self._bits.get(value, 32)

    def set_mask_bits(self, value: SSAValue, bits: int) -> None:
        """Say how wide the mask of an i1 vector is."""
        self._bits[value] = bits

    def mask(self, value: SSAValue, bits: int) -> str:
        """An i1 vector as a mask with lanes of that many bits."""
        have, lanes = self.mask_bits(value), c_type(value.type).lanes
        if have == bits:
            return self.name(value)
        source, target = (CType(f"i{n}", "i", n, lanes) for n in (have, bits))
        return convert(self, self.name(value), source, target)

    # -- naming and lines ------------------------------------------------------------------------------------------

    def fresh(self, hint: str | None, fallback: str = "v") -> str:
        """A new variable name, close to the hint."""
        base = re.sub(r"\W", "_", hint) if hint else fallback
        if not base[0].isalpha() or base in _RESERVED or base.startswith("_"):
            base = f"v_{base.lstrip('_')}" if not base[:1].isalpha() else f"{base}_"
        n = self._taken.get(base, 0)
        self._taken[base] = n + 1
        name = base if n == 0 and fallback != base else f"{base}_{n}" if hint else f"{base}{n}"
        return name if n == 0 or name not in self._taken else self.fresh(name)

    def declare(self, value: SSAValue, fallback: str = "v") -> str:
        """Name a value and give its declarator, ``f32x16 acc`` or ``const f32 *x``."""
        name = self._names[value] = self.fresh(value.name_hint, fallback)
        return f"{self.type_text(value)}{name}"

    def type_text(self, value: SSAValue) -> str:
        """The C type of a value, ready to be followed by a name."""
        if isinstance(value.type, MemRefType):
            const = "" if root_of(value) in self._written else "const "
            return f"{const}{self.prelude.memory(c_type(value.type.element_type).code)} *"
        t = c_type(value.type)
        if t.kind == "b" and t.lanes:
            return f"{self.prelude.vector(f'i{self.mask_bits(value)}', t.lanes)} "
        return f"{type_name(self, t)} "

    def line(self, text: str) -> None:
        """Add a line at the current depth."""
        self._lines.append("    " * self._indent + text)

    # -- functions -------------------------------------------------------------------------------------------------

    def kernel(self, origin: str | None) -> str:
        """A private kernel function."""
        arguments = list(self.function.body.block.args)
        parameters = ", ".join(self.declare(a, "p") for a in arguments)
        self._block(self.function.body.block)
        head = f"/* {origin} */\n" if origin else ""
        unused = [self._names[a] for a in arguments if a not in self._live]
        body = [f"    (void){name};" for name in unused] + self._lines
        return "\n\n".join([*self._tasks, "\n".join([f"{head}static void {self.symbol}({parameters}) {{", *body, "}"])])

    def main(self, entry: str, linkage: str) -> str:
        """@main: its arguments come from the table."""
        arguments = list(self.function.body.block.args)
        for i, a in enumerate(arguments):
            if a in self._live:
                self._written[root_of(a)] = None
                self.line(f"{self.declare(a, 'p')} = table[{i}];")
        if not self._lines:
            self.line("(void)table;")
        self._block(self.function.body.block)
        self.line("return 0;")
        return "\n\n".join([*self._tasks, "\n".join([f"{linkage}int {entry}(void **table) {{", *self._lines, "}"])])

    def _block(self, block: Block) -> None:
        for op in block.ops:
            self._op(op)

    def _op(self, op: Operation) -> None:
        printer = _STATEMENTS.get(type(op))
        if printer is not None:
            self._comment(op)
            printer(self, op)
            return
        if not any(result in self._live for result in op.results):
            return
        expression = EXPRESSIONS.get(type(op))
        if expression is None:
            raise BackendError(f"the C backend has no statement for {op.name}", help="lowering/README.md lists the loops level")
        result = op.results[0]
        text = expression(self, op)
        if isinstance(op, arith.ConstantOp) or text in self._taken:
            self._names[result] = text  # a literal, or another name of the same variable
            return
        self._comment(op)
        self.line(f"{self.declare(result)} = {text};")

    def _comment(self, op: Operation) -> None:
        origin = op.attributes.get("origin")
        if isinstance(origin, StringAttr) and origin.data and origin.data != self._origin:
            self._origin = origin.data
            self.line(f"/* {origin.data.replace('*/', '* /')} */")

    # -- memory ----------------------------------------------------------------------------------------------------

    def address(self, base: SSAValue, indices: list[SSAValue]) -> str:
        """``x[i * 28 + j]``'s index: the linear element index of a memref access."""
        strides = strides_of(base.type)
        fixed, terms = 0, []
        for value, stride in zip(indices, strides, strict=True):
            number = constant_of(value)
            if number is not None:
                fixed += int(number) * stride
            elif stride:
                terms.append(self.name(value) if stride == 1 else f"{self.name(value)} * {stride}")
        if fixed or not terms:
            terms.append(str(fixed))
        return " + ".join(terms)

    def _load(self, op: memref.LoadOp) -> None:
        if op.res not in self._live:
            return
        t = c_type(op.memref.type.element_type)
        text = f"{self.name(op.memref)}[{self.address(op.memref, list(op.indices))}]"
        if t.is_half:
            text = f"{self.prelude.function(f'from_{t.code}', 'f32', 0)}({text})"
        self.line(f"{self.declare(op.res)} = {text};")

    def _store(self, op: memref.StoreOp) -> None:
        t = c_type(op.memref.type.element_type)
        text = self.name(op.value)
        if t.is_half:
            text = f"{self.prelude.function(f'to_{t.code}', 'f32', 0)}({text})"
        self.line(f"{self.name(op.memref)}[{self.address(op.memref, list(op.indices))}] = {text};")

    def _vector_place(self, base: SSAValue, indices: list[SSAValue], lanes: int, const: str) -> tuple[str, CType]:
        t = c_type(base.type.element_type)
        stored = {"i1": "u8", "f16": "u16", "bf16": "u16"}.get(t.code, t.code)
        where = self.address(base, indices)
        pointer = self.name(base) if where == "0" else f"({self.name(base)} + {where})"
        return f"*({const}{self.prelude.vector(stored, lanes)}u *){pointer}", t

    def _vector_load(self, op: vector.LoadOp) -> None:
        if op.result not in self._live:
            return
        lanes = c_type(op.result.type).lanes
        text, t = self._vector_place(op.base, list(op.indices), lanes, "const ")
        if t.is_half:
            text = f"{self.prelude.function(f'from_{t.code}', 'f32', lanes)}({text})"
        elif t.kind == "b":
            bits = self._wanted_mask_bits(op.result)
            self.set_mask_bits(op.result, bits)
            text = f"-__builtin_convertvector({text}, {self.prelude.vector(f'i{bits}', lanes)})"
        self.line(f"{self.declare(op.result)} = {text};")

    def _wanted_mask_bits(self, value: SSAValue) -> int:
        """Width of what the mask will select: that of its first reader with a wider result, else 32."""
        for use in value.uses:
            t = c_type(use.operation.results[0].type) if use.operation.results else None
            if t is not None and t.kind != "b":
                return 32 if t.is_half else t.bits
        return 32

    def _vector_store(self, op: vector.StoreOp) -> None:
        lanes = c_type(op.vector.type).lanes
        place, t = self._vector_place(op.base, list(op.indices), lanes, "")
        text = self.name(op.vector)
        if t.is_half:
            text = f"{self.prelude.function(f'to_{t.code}', 'f32', lanes)}({text})"
        elif t.kind == "b":
            text = f"__builtin_convertvector(-{text}, {self.prelude.vector('u8', lanes)})"
        self.line(f"{place} = {text};")

    def _insert(self, op: vector.InsertOp) -> None:
        last = op
        while (following := _next_insert(last)) is not None:
            last = following
        lanes = _lanes_of(last)
        if lanes is not None and c_type(op.result.type).kind != "b":
            if op is last:
                values = ", ".join(self.name(v) for v in lanes)
                self.line(f"{self.declare(op.result)} = ({self.type_text(op.result).strip()}){{{values}}};")
            return
        where = op.get_mixed_position()[0]
        self.set_mask_bits(op.result, self.mask_bits(op.dest))
        self.line(f"{self.declare(op.result)} = {self.name(op.dest)};")
        text = self.name(op.source)
        if c_type(op.result.type).kind == "b":
            text = f"-(int{self.mask_bits(op.dest)}_t){text}"
        self.line(f"{self.name(op.result)}[{where if isinstance(where, int) else self.name(where)}] = {text};")

    def _alloca(self, op: memref.AllocaOp) -> None:
        if op.memref not in self._live:
            return
        element = self.prelude.memory(c_type(op.memref.type.element_type).code)
        name = self._names[op.memref] = self.fresh(op.memref.name_hint, "row")
        self.line(f"{element} {name}[{max(1, span_of(op.memref.type))}] __attribute__((aligned(64)));")

    def _view(self, op: memref.ViewOp) -> None:
        if op.result not in self._live:
            return
        shift = self.name(op.byte_shift)
        base = f"(char *){self.name(op.source)}"
        if root_of(op.result) not in self._written:
            base = f"(const char *){self.name(op.source)}"
        self._pointer(op.result, base if shift == "0" else f"({base} + {shift})")

    def _reinterpret(self, op: memref.ReinterpretCastOp) -> None:
        if op.result not in self._live:
            return
        static = op.static_offsets.get_values()[0]
        offset = self.name(op.offsets[0]) if op.offsets else str(static - offset_of(op.source.type))
        self._moved(op.result, op.source, offset)

    def _subview(self, op: memref.SubviewOp) -> None:
        dynamic = iter(op.offsets)
        terms = []
        for stride, fixed in zip(strides_of(op.source.type), op.static_offsets.get_values(), strict=True):
            start = self.name(next(dynamic)) if fixed < -(2**62) else str(fixed)
            if start != "0":
                terms.append(start if stride == 1 else f"{start} * {stride}")
        self._moved(op.result, op.source, " + ".join(terms) or "0")

    def _same_pointer(self, op: Operation) -> None:
        self._names[op.results[0]] = self.name(op.operands[0])

    def _moved(self, result: SSAValue, source: SSAValue, offset: str) -> None:
        if offset == "0":
            self._names[result] = self.name(source)
        else:
            self._pointer(result, f"{self.name(source)} + {offset}", cast=False)

    def _pointer(self, result: SSAValue, text: str, cast: bool = True) -> None:
        kind = self.type_text(result)
        self.line(f"{self.declare(result, 'b')} = {f'({kind.strip()})' if cast else ''}{text};")

    # -- control flow ----------------------------------------------------------------------------------------------

    def _for(self, op: scf.ForOp) -> None:
        index, *carried = op.body.block.args
        for argument, start, result in zip(carried, op.iter_args, op.results, strict=True):
            self._bits[argument] = self._bits[result] = self.mask_bits(start)
            self.line(f"{self.declare(argument, 'acc')} = {self.name(start)};")
            self._names[result] = self._names[argument]
        self._loop(index, self.name(op.lb), self.name(op.ub), self.name(op.step), op.body.block)

    def _loop(self, index: SSAValue, low: str, high: str, step: str, body: Block) -> None:
        declaration = self.declare(index, "i")
        name = self._names[index]
        advance = f"{name}++" if step == "1" else f"{name} += {step}"
        self.line(f"for ({declaration} = {low}; {name} < {high}; {advance}) {{")
        self._indent += 1
        self._block(body)
        self._indent -= 1
        self.line("}")

    def _yield(self, op: scf.YieldOp) -> None:
        parent = op.parent_op()
        if isinstance(parent, scf.IfOp):
            targets = [self._names[r] for r in parent.results]
        else:
            targets = [self._names[a] for a in parent.body.block.args[1:]]
        texts = []
        for value, target in zip(op.operands, targets, strict=True):
            t = c_type(value.type)
            if t.kind == "b" and t.lanes:
                texts.append(self.mask(value, self.mask_bits(parent.results[len(texts)])))
            else:
                texts.append(self.name(value))
        moves = [(a, b, v) for a, b, v in zip(targets, texts, op.operands, strict=True) if a != b]
        if any(b in targets for _, b, _ in moves) and len(moves) > 1:
            held = []
            for target, text, value in moves:
                name = self.fresh(None, "next")
                self.line(f"{self.type_text(value)}{name} = {text};")
                held.append((target, name, value))
            moves = held
        for target, text, _ in moves:
            self.line(f"{target} = {text};")

    def _if(self, op: scf.IfOp) -> None:
        for result in op.results:
            self.line(f"{self.declare(result)};")
        self.line(f"if ({self.name(op.cond)}) {{")
        self._indent += 1
        self._block(op.true_region.block)
        self._indent -= 1
        if op.false_region.blocks and len(op.false_region.block.ops) > (0 if op.results else 1):
            self.line("} else {")
            self._indent += 1
            self._block(op.false_region.block)
            self._indent -= 1
        self.line("}")

    def _parallel(self, op: scf.ParallelOp) -> None:
        if len(op.lowerBound) != 1 or op.results:
            raise BackendError("the loops level has 1-D scf.parallel without reductions only", help="lowering/README.md")
        index = op.body.block.args[0]
        low, high, step = (self.name(v[0]) for v in (op.lowerBound, op.upperBound, op.step))
        if op.parent_op() is not self.function:
            self._loop(index, low, high, step, op.body.block)
            return
        if low != "0" or step != "1":
            raise BackendError("scf.parallel starts at 0 and steps by 1 at the loops level", help="lowering/README.md")
        captured = [v for v in captured_values(op) if not isinstance(v.owner, arith.ConstantOp)]
        task = f"{self.symbol}_task{len(self._tasks) or ''}"
        fields = list({self.name(v): (self.type_text(v), self.name(v)) for v in captured}.values())
        self._task(op, task, fields)
        self.line(f"struct {task} {task} = {{{', '.join(name for _, name in fields)}}};")
        self.line(f"parallel_for(run_{task}, &{task}, {high});")

    def _task(self, op: scf.ParallelOp, task: str, fields: list[tuple[str, str]]) -> None:
        """Print the body of a parallel loop as a function of a range."""
        outer_lines, outer_indent, self._lines, self._indent = self._lines, self._indent, [], 1
        for kind, name in fields:
            self.line(f"{kind}{name} = task->{name};")
        self._loop(op.body.block.args[0], "begin", "end", "1", op.body.block)
        struct = "\n".join([f"struct {task} {{", *(f"    {kind}{name};" for kind, name in fields), "};"])
        head = f"static void run_{task}(void *context, int64_t begin, int64_t end) {{"
        body = "\n".join([head, f"    const struct {task} *task = context;", *self._lines, "}"])
        self._tasks.append(f"{struct}\n\n{body}")
        self._lines, self._indent = outer_lines, outer_indent

    def _call(self, op: func.CallOp) -> None:
        symbol = re.sub(r"\W", "_", op.callee.string_value())
        self.line(f"{symbol}({', '.join(self.name(v) for v in op.arguments)});")

    def _nothing(self, op: Operation) -> None:
        pass


_STATEMENTS = {
    memref.LoadOp: FunctionPrinter._load, memref.StoreOp: FunctionPrinter._store,
    vector.LoadOp: FunctionPrinter._vector_load, vector.StoreOp: FunctionPrinter._vector_store,
    vector.InsertOp: FunctionPrinter._insert, memref.AllocaOp: FunctionPrinter._alloca,
    memref.ViewOp: FunctionPrinter._view, memref.ReinterpretCastOp: FunctionPrinter._reinterpret,
    memref.SubviewOp: FunctionPrinter._subview, memref.CastOp: FunctionPrinter._same_pointer,
    memref.CollapseShapeOp: FunctionPrinter._same_pointer, memref.ExpandShapeOp: FunctionPrinter._same_pointer,
    scf.ForOp: FunctionPrinter._for, scf.YieldOp: FunctionPrinter._yield, scf.IfOp: FunctionPrinter._if,
    scf.ParallelOp: FunctionPrinter._parallel, scf.ReduceOp: FunctionPrinter._nothing,
    func.CallOp: FunctionPrinter._call, func.ReturnOp: FunctionPrinter._nothing,
}  # fmt: skip
