"""PTX text to kernels: their parameters, variables and instructions, each with its line and the source line it came from.

Source: PTX ISA 9.0, "Syntax" and "State Spaces, Types, and Variables".
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from ...dialects.errors import BackendError

WIDTHS = {
    "pred": 1, "b8": 8, "u8": 8, "s8": 8, "b16": 16, "u16": 16, "s16": 16, "f16": 16, "bf16": 16, "b32": 32, "u32": 32, "s32": 32,
    "f32": 32, "tf32": 32, "f16x2": 32, "bf16x2": 32, "b64": 64, "u64": 64, "s64": 64, "f64": 64, "b128": 128,
}  # fmt: skip
"""Bits of a value of each type."""


@dataclass(frozen=True)
class Register:
    """A register: its place in the kernel's list and its width in bits (1: a predicate)."""

    name: str
    index: int
    bits: int


@dataclass(frozen=True)
class Number:
    """An immediate as written, and its value as an integer or (of ``0f`` and ``0d``) as the bits of a float."""

    text: str
    value: int
    float_bits: int = 0


@dataclass(frozen=True)
class Name:
    """A variable, a label, a special register such as ``%tid.x``, or the sink ``_``."""

    name: str


@dataclass(frozen=True)
class Memory:
    """``[base + offset]``, or of a tensor ``[base, {places}]``."""

    base: Operand
    offset: int = 0
    places: tuple[Operand, ...] = ()


@dataclass(frozen=True)
class Vector:
    """``{a, b, …}``."""

    parts: tuple[Operand, ...]


@dataclass(frozen=True)
class Both:
    """``d|p``: a result and a predicate."""

    first: Operand
    second: Operand


Operand = Register | Number | Name | Memory | Vector | Both


@dataclass(frozen=True)
class Instruction:
    """One instruction. opcode: its first word, parts: the words behind its dots. guard: a predicate, and whether its opposite counts."""

    opcode: str
    parts: tuple[str, ...]
    operands: tuple[Operand, ...]
    guard: tuple[Register, bool] | None
    line: int
    text: str
    source: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Variable:
    """Something with a place in a state space. size: bytes; 0: an array without a size (dynamic shared memory)."""

    name: str
    space: str
    size: int
    alignment: int
    values: bytes = b""


@dataclass
class Kernel:
    """An entry: its parameters in order, its variables, its registers' widths, its instructions, the place of every label."""

    name: str
    parameters: list[Variable] = field(default_factory=list)
    variables: list[Variable] = field(default_factory=list)
    registers: list[Register] = field(default_factory=list)
    code: list[Instruction] = field(default_factory=list)
    labels: dict[str, int] = field(default_factory=dict)
    most_threads: int = 1024


@dataclass
class Module:
    """A PTX file."""

    target: str = ""
    variables: list[Variable] = field(default_factory=list)
    kernels: dict[str, Kernel] = field(default_factory=dict)


def parse(text: str) -> Module:
    """The kernels of a PTX file. BackendError names the line that is not understood."""
    return _Reader(text).module


_TOKEN = re.compile(r"0[fF][0-9a-fA-F]{8}|0[dD][0-9a-fA-F]{16}|0[xX][0-9a-fA-F]+U?|\d+U?|[%$A-Za-z_][\w$.]*|[-\[\]{},+|!<>=()]")
_STATEMENT = re.compile(r"\s*(?:@(!?)([%\w$]+)\s+)?([a-z]\w*)((?:\.[\w:]+)*)\s*(.*)", re.S)
_DECLARED = re.compile(r"\.(reg|shared|local|global|const|param)\s+(?:\.align\s+(\d+)\s+)?(?:\.v([248])\s+)?\.(\w+)\s+(.*)", re.S)
_DECLARATION = re.compile(r"([%\w$]+)(?:<(\d+)>)?((?:\[\d*\])*)(?:\s*=\s*\{?([^}]*)\}?)?\s*(?:,|$)")


class _Scope:
    """Names of registers: those written out, and families such as ``%r<20>``."""

    def __init__(self, outer: _Scope | None = None) -> None:
        self.outer = outer
        self.known: dict[str, Register] = {}
        self.families: dict[str, tuple[int, int]] = {}


class _Reader:
    """Goes through the statements of a file once."""

    def __init__(self, text: str) -> None:
        self.module = Module()
        self.files: dict[str, str] = dict(re.findall(r'^\s*\.file\s+(\d+)\s+"([^"]*)"', text, re.M))
        self.lines = text.splitlines()
        self.kernel: Kernel | None = None
        self.scope = _Scope()
        self.line, self.source = 0, ""
        depth = 0
        for line, kind, body in _statements(text):
            self.line = line
            if kind == "loc":
                number, at = body.split()[1:3]
                file = self.files.get(number, "program.cu").rsplit("/", 1)[-1]
                self.source = f"{file}:{at}"
            elif kind == "open":
                depth += 1
                if depth == 1:
                    self._start(body)
                else:
                    self.scope = _Scope(self.scope)
            elif kind == "close":
                depth -= 1
                self.scope = self.scope.outer or _Scope()
                if depth == 0:
                    self.kernel = None
            elif kind == "label":
                assert self.kernel is not None
                self.kernel.labels[body] = len(self.kernel.code)
            else:
                self._statement(body.strip())

    def _fail(self, what: str) -> BackendError:
        shown = self.lines[self.line - 1].strip() if 0 < self.line <= len(self.lines) else ""
        return BackendError(f"PTX line {self.line}: {what}", [("line", shown, self.source)])

    def _start(self, head: str) -> None:
        entry = re.search(r"\.entry\s+([\w$]+)\s*(?:\((.*?)\))?(.*)", head, re.S)
        if entry is None:
            raise self._fail("only kernels (.entry) can be run, no functions")
        self.kernel = Kernel(entry[1])
        self.module.kernels[entry[1]] = self.kernel
        self.scope = _Scope(_Scope())
        if entry[2] and entry[2].strip():
            for one in entry[2].split(","):
                self.kernel.parameters += self._variables(one.strip())
        if threads := re.search(r"\.maxntid\s+(\d+)(?:\s*,\s*(\d+))?(?:\s*,\s*(\d+))?", entry[3]):
            self.kernel.most_threads = int(threads[1]) * int(threads[2] or 1) * int(threads[3] or 1)

    def _statement(self, body: str) -> None:
        if not body or re.match(r"\.(version|address_size|pragma|maxn|minn|explicitcluster|reqn)", body):
            return
        if body.startswith(".target"):
            self.module.target = body.split()[1].rstrip(",")
        elif body.startswith(".reg"):
            self._registers(body)
        elif body.startswith("."):
            body = re.sub(r"\.(extern|visible|weak|common)\s+", "", body)
            (self.module.variables if self.kernel is None else self.kernel.variables).extend(self._variables(body))
        else:
            self._instruction(body)

    def _registers(self, body: str) -> None:
        declared = _DECLARED.match(body)
        if declared is None or declared[4] not in WIDTHS:
            raise self._fail("not a declaration of registers")
        for name, count, _, _ in _DECLARATION.findall(declared[5]):
            if count:
                self.scope.families[name] = (WIDTHS[declared[4]], int(count))
            else:
                self.scope.known[name] = self._register(name, WIDTHS[declared[4]])

    def _register(self, name: str, bits: int) -> Register:
        assert self.kernel is not None
        made = Register(name, len(self.kernel.registers), bits)
        self.kernel.registers.append(made)
        return made

    def _find(self, name: str) -> Register | None:
        scope: _Scope | None = self.scope
        family = re.match(r"(.*?)(\d+)$", name)
        while scope is not None:
            if name in scope.known:
                return scope.known[name]
            if family and family[1] in scope.families:
                bits, count = scope.families[family[1]]
                if int(family[2]) < count:
                    scope.known[name] = self._register(name, bits)
                    return scope.known[name]
            scope = scope.outer
        return None

    def _variables(self, body: str) -> list[Variable]:
        declared = _DECLARED.match(body)
        if declared is None or declared[4] not in WIDTHS:
            raise self._fail(f"not understood: {body[:60]}")
        space, alignment, lanes, kind, rest = declared.groups()
        size = max(1, WIDTHS[kind] // 8) * int(lanes or 1)
        found = []
        for name, _, lengths, values in _DECLARATION.findall(rest):
            total = size
            for length in re.findall(r"\[(\d*)\]", lengths):
                total *= int(length or 0)
            given = b"".join(_packed(v, kind) for v in values.replace(" ", "").split(",") if v)
            found.append(Variable(name, space, total, int(alignment or size), given))
        return found

    def _instruction(self, body: str) -> None:
        if self.kernel is None:
            raise self._fail("an instruction outside a kernel")
        match = _STATEMENT.fullmatch(body)
        if match is None:
            raise self._fail("no instruction")
        negated, guard, opcode, parts, rest = match.groups()
        operands = tuple(_Operands(self, rest).all())
        condition = None
        if guard:
            register = self._find(guard)
            if register is None or register.bits != 1:
                raise self._fail(f"{guard} is no predicate")
            condition = (register, bool(negated))
        text = " ".join(body.split())
        self.kernel.code.append(Instruction(opcode, tuple(parts.split(".")[1:]), operands, condition, self.line, text, self.source))


class _Operands:
    """Reads the operands of one instruction."""

    def __init__(self, reader: _Reader, text: str) -> None:
        self.reader = reader
        self.tokens = _TOKEN.findall(text)
        if sum(map(len, self.tokens)) != len("".join(text.split())):
            raise reader._fail("operands that are not understood")
        self.at = 0

    def all(self) -> list[Operand]:
        found: list[Operand] = []
        while self.at < len(self.tokens):
            found.append(self._one())
            if self.at < len(self.tokens):
                self._take(",")
        return found

    def _take(self, token: str) -> None:
        if self._peek() != token:
            raise self.reader._fail(f"{token} expected, not {self._peek() or 'the end'}")
        self.at += 1

    def _peek(self) -> str:
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def _one(self) -> Operand:
        if self._peek() == "[":
            return self._memory()
        if self._peek() == "{":
            return Vector(self._list())
        one = self._atom()
        if self._peek() == "|":
            self.at += 1
            return Both(one, self._atom())
        return one

    def _list(self) -> tuple[Operand, ...]:
        self._take("{")
        parts = [self._atom()]
        while self._peek() == ",":
            self.at += 1
            parts.append(self._atom())
        self._take("}")
        return tuple(parts)

    def _memory(self) -> Memory:
        self._take("[")
        base, offset, places = self._atom(), 0, ()
        if self._peek() in ("+", "-"):
            sign = 1 if self._peek() == "+" else -1
            self.at += 1
            step = self._atom()
            if not isinstance(step, Number):
                raise self.reader._fail("an offset is a number")
            offset = sign * step.value
        if self._peek() == ",":
            self.at += 1
            places = self._list()
        self._take("]")
        return Memory(base, offset, places)

    def _atom(self) -> Operand:
        token = self._peek()
        self.at += 1
        if token == "-":
            number = self._atom()
            assert isinstance(number, Number)
            return Number("-" + number.text, -number.value)
        if token == "!":
            raise self.reader._fail("a predicate's opposite as an operand is not known here")
        if re.match(r"\d", token):
            return _number(token)
        if not token or not re.match(r"[%$A-Za-z_]", token):
            raise self.reader._fail(f"an operand expected, not {token or 'the end'}")
        return self.reader._find(token) or Name(token)


def _number(token: str) -> Number:
    if token[:2] in ("0f", "0F"):
        return Number(token, 0, int(token[2:], 16))
    if token[:2] in ("0d", "0D"):
        return Number(token, 0, int(token[2:], 16))
    return Number(token, int(token.rstrip("U"), 0))


def _packed(value: str, kind: str) -> bytes:
    number = _number(value.lstrip("-"))
    if value[:2].lower() in ("0f", "0d"):
        return struct.pack("<I" if kind.endswith("32") else "<Q", number.float_bits)
    whole = -number.value if value.startswith("-") else number.value
    return (whole & (1 << WIDTHS[kind]) - 1).to_bytes(WIDTHS[kind] // 8, "little")


def _statements(text: str) -> Iterator[tuple[int, str, str]]:
    """(line, kind, text): "loc", "open" and "close" of a scope, "label", "statement"."""
    text = re.sub(r"/\*.*?\*/", lambda m: "\n" * m[0].count("\n"), text, flags=re.S)
    buffer, start, braces = "", 0, 0
    for number, line in enumerate(text.splitlines(), 1):
        line = line.split("//")[0]
        bare = line.strip()
        if bare.startswith((".section", ".file", ".debug")) and not buffer.strip():
            if bare.startswith(".section"):
                return
            continue
        if re.match(r"\.loc\s", bare):
            yield number, "loc", bare
            continue
        if re.match(r"\.(version|address_size|target|maxn|minn)", bare) and not buffer.strip():
            yield number, "statement", bare
            continue
        for piece in re.split(r"([;{}])", line + "\n"):
            empty = not buffer.strip()
            if piece == ";":
                yield start, "statement", buffer
                buffer = ""
            elif piece == "{" and (empty or re.search(r"\.entry|\.func", buffer)):
                yield start if not empty else number, "open", buffer
                buffer = ""
            elif piece == "}" and empty and not braces:
                yield number, "close", ""
            else:
                braces += (piece == "{") - (piece == "}")
                if empty and piece.strip():
                    start = number
                while empty and (label := re.match(r"\s*([$\w]+):(?!:)", piece)):
                    yield number, "label", label[1]
                    piece = piece[label.end() :]
                buffer += piece
