"""One function of the loops level as C: names, declarations, the scope expressions see, and the statements in order."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from xdsl.dialects import arith, func, scf, vector
from xdsl.dialects.builtin import MemRefType, StringAttr
from xdsl.ir import Block, Operation, SSAValue

from ..dialects.errors import BackendError
from .c_expressions import EXPRESSIONS, convert, type_name
from .c_helpers import LIBM, Prelude
from .c_statements import STATEMENTS, chain_of
from .c_tiles import NO_TILES
from .c_tiles import PRELUDE as TILES
from .c_types import CType, c_type
from .liveness import live_values, ops_within, root_of, written_roots
from .tile_registers import tile_registers

_RESERVED = frozenset(
    "auto break case char const continue default do double else enum extern float for goto if inline int long register "
    "restrict return short signed sizeof static struct switch typedef union unsigned void volatile while bool true false "
    "main table task begin end abs exp log sin cos tan pow sqrt floor ceil round trunc div y0 y1 yn j0 j1 jn gamma index "
    "f64 f32 f16 bf16 i64 i32 i16 i8 i1 u8 u16 u32 u64 asm typeof".split()
)

_MATH = frozenset(f"{function}{kind}" for function, _ in LIBM.values() for kind in ("", "f", "l"))

# Kernels and their tasks, types, helpers of a type (exp_f32x16), macros.
_GENERATED = re.compile(
    r"[ks]\d+|(run|lamina|__)\w*|parallel_for|range_\w+|u?int\w*_t|size_t|ptrdiff_t|[fbiu]+\d+(x\d+u?)?|\w+_[fiu]\d+(x\d+u?)?"
    r"|[A-Z][A-Z0-9_]+"
)


_SYMBOL = re.compile(r"\bs\d+\b")


def _symbols(lines: list[str]) -> list[str]:
    """The sizes known at the call only that these lines speak of, as constants of the function."""
    code = [line for line in lines if not line.lstrip().startswith("/*")]  # a comment names the user's file, which may be s1.py
    found = sorted(set(_SYMBOL.findall("\n".join(code))))
    return [f"    const int64_t {name} = lamina_{name};" for name in found]


def is_reserved(name: str) -> bool:
    """Whether the C around it may mean something else by a name that a user chose."""
    return name in _RESERVED or name in _MATH or _GENERATED.fullmatch(name) is not None


def symbol_of(name: str) -> str:
    """What C calls a function of the module."""
    return re.sub(r"\W", "_", name)


class FunctionPrinter:
    """Prints one function; also the scope its expressions are named in."""

    moves_bits = True
    """Whether 16-bit floats that only move are held as their bits."""

    def __init__(self, prelude: Prelude, function: func.FuncOp, symbol: str | None = None) -> None:
        self.prelude = prelude
        self.function = function
        self.symbol = symbol or symbol_of(function.sym_name.data)
        self._names: dict[SSAValue, str] = {}
        self._counts: dict[str, int] = {}
        self._taken: dict[str, None] = {}
        self._bits: dict[SSAValue, int] = {}
        self._lines: list[str] = []
        self._indent = 0
        self._origin: str | None = None
        self._tasks: list[str] = []
        self.streams = ""  # what makes stores past the caches visible to other threads, once there are some
        self.declaration = ""  # of a printed kernel, as other units see it
        self.clock: str | None = None  # of @main: the array that gets the time before the first call and after each
        self.calls = 0
        self._chains: dict[Operation, tuple[Operation, list[SSAValue] | None]] = {}
        self._tiles = False  # since the innermost function of a range began
        self.ops = ops_within(function)
        self._live = live_values(self.ops)
        self._written = written_roots(self.ops)
        for tile, register in tile_registers(function, self.ops).items():
            self._names[tile] = str(register)

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
        """A new variable name: the hint, or the fallback with a number."""
        base = re.sub(r"\W", "_", hint) if hint else fallback
        if not base[0].isalpha():
            base = f"v_{base.lstrip('_')}"
        if hint and is_reserved(base):
            base = f"{base}_"
        while True:
            n = self._counts.get(base, 0)
            self._counts[base] = n + 1
            name = f"{base}{n}" if not hint else base if n == 0 else f"{base}_{n}"
            if name not in self._taken and name not in _RESERVED:  # a ninth loop would be i8, a type
                self._taken[name] = None
                return name

    def declare(self, value: SSAValue, fallback: str = "v") -> str:
        """Name a value and give its declarator, ``f32x16 acc`` or ``const f32 *x``."""
        name = self._names[value] = self.fresh(value.name_hint, fallback)
        return f"{self.type_text(value)}{name}"

    def declare_bits(self, value: SSAValue) -> str:
        """As `declare`, of a 16-bit float or a vector of them that is held as it is in memory."""
        name, lanes = self.declare(value).rpartition(" ")[2], c_type(value.type).lanes
        return f"{self.prelude.vector('u16', lanes) if lanes else 'uint16_t'} {name}"

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

    # -- what statements ask and say -------------------------------------------------------------------------------

    def is_live(self, value: SSAValue) -> bool:
        """Whether anything that is printed reads the value."""
        return value in self._live

    def is_written(self, value: SSAValue) -> bool:
        """Whether this function writes the memory a memref points into."""
        return root_of(value) in self._written

    def chain(self, op: vector.InsertOp) -> tuple[Operation, list[SSAValue] | None]:
        """The last insert of the chain an insert is in, and the scalars of its vector, see `chain_of`. The first one is met first."""
        if op not in self._chains:
            chain, lanes = chain_of(op)
            self._chains.update((each, (chain[-1], lanes)) for each in chain)
        return self._chains[op]

    def alias(self, value: SSAValue, text: str) -> None:
        """Print the value as another name or a literal."""
        self._names[value] = text

    def uses_tiles(self) -> None:
        """What is being printed puts tiles into registers, which it leaves empty: a thread's full ones are saved at every switch."""
        self._tiles = True
        self.prelude.piece(TILES)

    def block(self, block: Block) -> None:
        """The ops of a block, one step deeper."""
        self._indent += 1
        for op in block.ops:
            self._op(op)
        self._indent -= 1

    def task_name(self) -> str:
        """A name for the next parallel loop's function and what it captures."""
        return f"{self.symbol}_task{len(self._tasks) or ''}"

    @contextmanager
    def task(self, name: str, fields: dict[str, str]) -> Iterator[None]:
        """Collect the lines of a ``with`` block as the function ``run_<name>`` of a range. fields: captured name -> type."""
        outer, indent, tiles, self._lines, self._indent, self._tiles = self._lines, self._indent, self._tiles, [], 1, False
        for field, kind in fields.items():
            self.line(f"{kind}{field} = task->{field};")
        yield
        if self.streams:
            self.line(f"{self.streams}();")
        if self._tiles:
            self.line("TILE_RELEASE();")
        struct = "\n".join([f"struct {name} {{", *(f"    {kind}{field};" for field, kind in fields.items()), "};"])
        head = f"static void run_{name}(void *context, int64_t begin, int64_t end) {{"
        lines = [*_symbols(self._lines), *self._lines]
        self._tasks.append("\n".join([struct, "", head, f"    const struct {name} *task = context;", *lines, "}"]))
        self._lines, self._indent, self._tiles = outer, indent, tiles

    # -- functions -------------------------------------------------------------------------------------------------

    def kernel(self, origin: str | None) -> str:
        """A private kernel function."""
        arguments = list(self.function.body.block.args)
        parameters = ", ".join(self.declare(a, "p") for a in arguments)
        self.block(self.function.body.block)
        if self.streams:
            self._lines.append(f"    {self.streams}();")
        if self._tiles:
            self._lines.append("    TILE_RELEASE();")
        self.declaration = f"void {self.symbol}({parameters})"
        head = f"/* {origin} */\n" if origin else ""
        unused = [self._names[a] for a in arguments if a not in self._live]
        body = [f"    (void){name};" for name in unused] + _symbols(self._lines) + self._lines
        return "\n\n".join([*self._tasks, "\n".join([f"{head}static {self.declaration} {{", *body, "}"])])

    def main(self, entry: str, linkage: str, symbols: int = 0, tiles: bool = False) -> str:
        """@main: its arguments come from the table, and behind them sizes known at the call only. tiles: kernels use tile registers."""
        arguments = list(self.function.body.block.args)
        for i, a in enumerate(arguments):
            if a in self._live:
                self._written[a] = None
                self._lines.append(f"    {self.declare(a, 'p')} = table[{i}];")
        if not self._lines:
            self._lines.append("    (void)table;")
        if tiles:
            self._lines.append(f"    if (!tiles_allowed()) return {NO_TILES};")
        self.tick()
        for k in range(symbols):
            self._lines.append(f"    lamina_s{k} = (int64_t)(intptr_t)table[{len(arguments) + k}];")
            self._lines.append(f"    const int64_t s{k} = lamina_s{k};")
            self._lines.append(f"    (void)s{k};")
        self.block(self.function.body.block)
        self._lines.append("    return 0;")
        return "\n\n".join([*self._tasks, "\n".join([f"{linkage}int {entry}(void **table) {{", *self._lines, "}"])])

    def tick(self) -> None:
        """Note the time, when the program has a clock."""
        if self.clock is not None:
            self._lines.append(f"    {self.clock}[{self.calls}] = lamina_now();")
            self.calls += 1

    def _op(self, op: Operation) -> None:
        printer = STATEMENTS.get(type(op))
        if printer is not None:
            self._comment(op)
            printer(self, op)
            if isinstance(op, (func.CallOp, scf.IfOp, scf.ForOp)) and op.parent is self.function.body.block:
                self.tick()
            return
        if self._live.isdisjoint(op.results):
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
