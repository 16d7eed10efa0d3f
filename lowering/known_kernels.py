"""Kernels whose C is known before they are lowered: what equals one that was printed before is a declaration, and its text is taken.

Two programs of one script (training and evaluation, a last batch of another size, the script after an edit) have most of their
kernels in common. A buffered function is known by its ops, their attributes and the names of its values; which lines of a user's
program it comes from does not count, and stands in its text as comments that are filled in.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import Protocol

from xdsl.dialects import func
from xdsl.dialects.builtin import ModuleOp, StringAttr
from xdsl.ir import Block, Operation, Region, SSAValue

from ..dialects.target import Target
from .c_helpers import Prelude
from .liveness import ops_within

SYMBOL = "lamina_kernel"
"""What a kept text calls its kernel: no name of a user's."""

HEAD = "@calls"
"""What stands for the lines of a kernel's calls while it is printed."""

_OWN = re.compile(rf"\b(run_)?{SYMBOL}(_task\d*)?\b")
_COMMENT = re.compile(r"^( */\* )(.*)( \*/)$", re.MULTILINE)
_LINE = re.compile(r"^( */\* )@(\d+)( \*/)$", re.MULTILINE)


class Texts(Protocol):
    """Where texts are kept."""

    def get(self, key: str) -> str | None:
        """The text under a key."""

    def put(self, key: str, text: str) -> None:
        """Keep a text."""


@dataclass(frozen=True)
class Printed:
    """A kernel's C. asks: calls of the prelude's methods, for types and helpers. parallel, tiles: whether it runs threads, takes tile registers."""

    declaration: str
    text: str
    asks: tuple[tuple[str, ...], ...]
    parallel: bool
    tiles: bool


class Asked:
    """A prelude that notes what it is asked for."""

    def __init__(self, prelude: Prelude) -> None:
        self._prelude = prelude
        self.asks: dict[tuple[str, ...], None] = {}

    def memory(self, code: str) -> str:
        self.asks["memory", code] = None
        return self._prelude.memory(code)

    def vector(self, code: str, lanes: int) -> str:
        self.asks["vector", code, lanes] = None  # type: ignore[index]  # plain data
        return self._prelude.vector(code, lanes)

    def function(self, name: str, code: str, lanes: int) -> str:
        self.asks["function", name, code, lanes] = None  # type: ignore[index]
        return self._prelude.function(name, code, lanes)

    def piece(self, text: str) -> None:
        self.asks["piece", text] = None
        self._prelude.piece(text)


def ask(prelude: Prelude, printed: Printed) -> None:
    """Everything a kernel asks of a prelude, in its order."""
    for method, *arguments in printed.asks:
        getattr(prelude, method)(*arguments)


class KnownKernels:
    """The kernels of one program that were printed before, and where those are kept that were not."""

    def __init__(self, texts: Texts, target: Target) -> None:
        self._texts = texts
        self._target = repr(target)
        self._found: dict[str, Printed] = {}
        self._new: dict[str, tuple[str, list[str]]] = {}

    def set_aside(self, module: ModuleOp) -> int:
        """Makes declarations of a buffered module's known kernels; returns how many."""
        for function in module.ops:
            if not isinstance(function, func.FuncOp) or function.sym_name.data == "main" or calls_of(function):
                continue
            name, (described, origins) = function.sym_name.data, _described(function)
            key = hashlib.sha256(f"{self._target}\0{described}".encode()).hexdigest()
            printed = _read(self._texts.get(key))
            if printed is None:
                self._new[name] = key, origins
                continue
            self._found[name] = _with_lines(printed, origins)
            function.detach_region(function.body)
            function.add_region(Region())
        return len(self._found)

    def of(self, name: str) -> Printed | None:
        """The C of a kernel that was set aside."""
        return self._found.get(name)

    def keeps(self, name: str) -> bool:
        """Whether a kernel's text is wanted for other programs."""
        return name in self._new

    def keep(self, name: str, printed: Printed) -> None:
        """Keeps a kernel's text, printed under the name `SYMBOL`."""
        key, origins = self._new[name]
        numbers = {origin.replace("*/", "* /"): k for k, origin in enumerate(origins)}
        text = _COMMENT.sub(lambda m: f"{m[1]}@{numbers[m[2]]}{m[3]}" if m[2] in numbers else m[0], printed.text)
        self._texts.put(key, json.dumps([printed.declaration, text, printed.asks, printed.parallel, printed.tiles]))


def named(printed: Printed, symbol: str, calls: str | None) -> tuple[str, str]:
    """Declaration and text of a kernel as a program calls it. calls: the user's lines it is called from."""
    text = printed.text.replace(f"/* {HEAD} */\n", f"/* {calls} */\n" if calls else "", 1)
    declaration, text = (_OWN.sub(lambda m: f"{m[1] or ''}{symbol}{m[2] or ''}", each) for each in (printed.declaration, text))
    return declaration, text


def calls_of(function: func.FuncOp) -> list[str]:
    """The kernels a kernel calls, by the program's names, which say nothing to other programs."""
    return list(dict.fromkeys(op.callee.string_value() for op in ops_within(function) if type(op) is func.CallOp))


def _read(text: str | None) -> Printed | None:
    try:
        declaration, body, asks, parallel, tiles = json.loads(text or "")
        return Printed(declaration, body, tuple(tuple(each) for each in asks), parallel, tiles)
    except (ValueError, TypeError):
        return None


def _with_lines(printed: Printed, origins: list[str]) -> Printed:
    text = _LINE.sub(lambda m: f"{m[1]}{origins[int(m[2])].replace('*/', '* /')}{m[3]}", printed.text)
    return Printed(printed.declaration, text, printed.asks, printed.parallel, printed.tiles)


def contents_of(function: func.FuncOp) -> str:
    """What a function computes: its ops, but for the lines they come from."""
    return repr(_block(function.body.block, {}, {}))


def _described(function: func.FuncOp) -> tuple[str, list[str]]:
    """All that decides a kernel's C but the lines it comes from, and these. Which of its ops share a line decides where comments stand."""
    origins: dict[str, int] = {}
    attributes = _attributes(function, origins)
    block = _block(function.body.block, {}, origins)
    return repr((attributes, block)), list(origins)


def _block(block: Block, numbers: dict[SSAValue, int], origins: dict[str, int]) -> tuple[object, ...]:
    for argument in block.args:
        numbers[argument] = len(numbers)
    ops = []
    for op in block.ops:
        operands = [numbers[value] for value in op.operands]
        for result in op.results:
            numbers[result] = len(numbers)
        regions = [_block(each, numbers, origins) for region in op.regions for each in region.blocks]
        results = [(result.type, result.name_hint) for result in op.results]
        ops.append((op.name, operands, results, _attributes(op, origins), [*op.properties.items()], regions))
    return [(argument.type, argument.name_hint) for argument in block.args], ops


def _attributes(op: Operation, origins: dict[str, int]) -> list[tuple[str, object]]:
    found: list[tuple[str, object]] = []
    for name, value in sorted(op.attributes.items()):
        if name == "origin" and isinstance(value, StringAttr):
            found.append((name, origins.setdefault(value.data, len(origins))))
        else:
            found.append((name, value))
    return found
