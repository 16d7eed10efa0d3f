"""Reads pickled data without running it: an interpreter of the opcodes, over an allow-list of names."""

from __future__ import annotations

import struct
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from typing import Any

from ...dialects.errors import FileError
from . import opcodes as op
from .objects import empty_instance, is_plain_class, of_values, restore
from .plain_objects import FACTORIES, fill

Rebuild = Callable[..., Any]


class _Mark:
    """The stack mark of the pickle machine."""


_MARK = _Mark()
_NUMBERS = {op.BININT: "<i", op.BININT1: "<B", op.BININT2: "<H", op.BINFLOAT: ">d"}
_TEXTS = {op.BINUNICODE: "<I", op.SHORT_BINUNICODE: "<B", op.BINUNICODE8: "<Q"}
_BYTES = {op.BINBYTES: "<I", op.SHORT_BINBYTES: "<B"}
_STRINGS = {op.BINSTRING: "<i", op.SHORT_BINSTRING: "<B"}
_LONGS = {op.LONG1: "<B", op.LONG4: "<i"}
_GETS = {op.BINGET: "<B", op.LONG_BINGET: "<I"}
_PUTS = {op.BINPUT: "<B", op.LONG_BINPUT: "<I"}
_CONSTANTS = {op.NONE: None, op.NEWTRUE: True, op.NEWFALSE: False}
_EMPTY: dict[int, Callable[[], Any]] = {
    op.EMPTY_LIST: list, op.EMPTY_TUPLE: tuple, op.EMPTY_DICT: dict, op.EMPTY_SET: set,
}  # fmt: skip
_SHORT_TUPLES = {op.TUPLE1: 1, op.TUPLE2: 2, op.TUPLE3: 3}


class Unpickler:
    """One pickle to one object.

    data: the pickle. name: how errors call it. names: allowed globals "module name" -> callable or Named.
    persistent: turns a persistent id into an object. Everything else the file asks for is a FileError.
    """

    def __init__(
        self, data: bytes, name: str, names: Mapping[str, Any], persistent: Callable[[Any], Any], *, start: int = 0
    ) -> None:
        self._data = data
        self._name = name
        self._names = names
        self._persistent = persistent
        self._position = start
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}
        self._empty: set[int] = set()  # instances that still lack their attributes
        self._keep: list[Any] = []  # their ids stay theirs

    @property
    def position(self) -> int:
        """Offset of the next byte."""
        return self._position

    def load(self) -> Any:
        """Run to STOP and give the one object. FileError (with the offset) for anything malformed or not allowed."""
        start = self._position
        try:
            return self._run()
        except (IndexError, KeyError, TypeError, ValueError, struct.error, OverflowError, AttributeError) as error:
            raise self._bad(f"malformed pickle ({type(error).__name__}: {error})", max(start, self._position - 1)) from None

    def _bad(self, why: str, offset: int | None = None, help: str | None = None) -> FileError:
        at = self._position if offset is None else offset
        return FileError(f"{self._name}: {why} at byte {at}", help=help or "the file is damaged or not a checkpoint")

    def _take(self, n: int) -> bytes:
        end = self._position + n
        if n < 0 or end > len(self._data):
            raise self._bad(f"needs {n} more bytes, {len(self._data) - self._position} are left")
        piece = self._data[self._position : end]
        self._position = end
        return piece

    def _number(self, form: str) -> Any:
        return struct.unpack(form, self._take(struct.calcsize(form)))[0]

    def _line(self) -> str:
        end = self._data.index(b"\n", self._position)
        text = self._data[self._position : end].decode("utf-8")
        self._position = end + 1
        return text

    def _since_mark(self) -> list[Any]:
        at = len(self._stack) - 1
        while self._stack[at] is not _MARK:
            at -= 1
            if at < 0:
                raise self._bad("no mark on the stack")
        items = self._stack[at + 1 :]
        del self._stack[at:]
        return items

    def _run(self) -> Any:
        while True:
            code = self._take(1)[0]
            if code == op.STOP:
                result = self._stack.pop()
                if self._stack:
                    raise self._bad(f"{len(self._stack)} objects left on the stack")
                return result
            if not (self._literal(code) or self._memory(code) or self._container(code) or self._object(code)):
                raise self._bad(f"opcode 0x{code:02x} is not one that data needs", self._position - 1)

    def _literal(self, code: int) -> bool:
        push = self._stack.append
        if code in _TEXTS:
            push(self._take(self._number(_TEXTS[code])).decode("utf-8", "surrogatepass"))
        elif code in _NUMBERS:
            push(self._number(_NUMBERS[code]))
        elif code in _CONSTANTS:
            push(_CONSTANTS[code])
        elif code in _BYTES:
            push(self._take(self._number(_BYTES[code])))
        elif code in _STRINGS:
            push(self._take(self._number(_STRINGS[code])).decode("latin-1"))
        elif code in _LONGS:
            push(int.from_bytes(self._take(self._number(_LONGS[code])), "little", signed=True))
        elif code == op.PROTO:
            if self._number("<B") > 4:
                raise self._bad("pickle protocol above 4", self._position - 1)
        elif code == op.FRAME:
            self._take(8)
        else:
            return False
        return True

    def _memory(self, code: int) -> bool:
        if code in _PUTS:
            self._memo[self._number(_PUTS[code])] = self._stack[-1]
        elif code in _GETS:
            self._stack.append(self._memo[self._number(_GETS[code])])
        elif code == op.MEMOIZE:
            self._memo[len(self._memo)] = self._stack[-1]
        else:
            return False
        return True

    def _container(self, code: int) -> bool:
        stack = self._stack
        if code == op.MARK:
            stack.append(_MARK)
        elif code in _EMPTY:
            stack.append(_EMPTY[code]())
        elif code in _SHORT_TUPLES:
            n = _SHORT_TUPLES[code]
            if len(stack) < n:
                raise self._bad("tuple of more objects than there are")
            stack[-n:] = [tuple(stack[-n:])]
        elif code == op.TUPLE:
            stack.append(tuple(self._since_mark()))
        elif code == op.FROZENSET:
            stack.append(frozenset(self._since_mark()))
        elif code in (op.APPEND, op.APPENDS):
            items = [stack.pop()] if code == op.APPEND else self._since_mark()
            self._expect(list, deque).extend(items)
        elif code in (op.SETITEM, op.SETITEMS):
            items = [stack.pop(-2), stack.pop()] if code == op.SETITEM else self._since_mark()
            if len(items) % 2:
                raise self._bad("a key without a value")
            self._expect(dict).update(zip(items[::2], items[1::2], strict=True))
        elif code == op.ADDITEMS:
            items = self._since_mark()
            self._expect(set).update(items)
        elif code == op.POP:
            stack.pop()
        elif code == op.POP_MARK:
            self._since_mark()
        else:
            return False
        return True

    def _expect(self, *kinds: type) -> Any:
        if not isinstance(self._stack[-1], kinds):
            raise self._bad(f"expected a {kinds[0].__name__}, found {type(self._stack[-1]).__name__}")
        return self._stack[-1]

    def _object(self, code: int) -> bool:
        stack = self._stack
        if code == op.GLOBAL:
            stack.append(self._global(self._line(), self._line()))
        elif code == op.STACK_GLOBAL:
            name, module = stack.pop(), stack.pop()
            stack.append(self._global(str(module), str(name)))
        elif code in (op.REDUCE, op.NEWOBJ):
            arguments, function = stack.pop(), stack.pop()
            if not callable(function) or not isinstance(arguments, tuple):
                raise self._bad("calls something that cannot be called")
            is_allowed = self._allows(function)
            is_class = code == op.NEWOBJ and isinstance(function, type)  # made without __init__
            if is_class and not arguments and is_plain_class(function) and function not in FACTORIES:
                stack.append(empty_instance(function))
                self._empty.add(id(stack[-1]))
                self._keep.append(stack[-1])
            elif is_allowed:
                stack.append(function.__new__(function, *arguments) if is_class else function(*arguments))
            elif (made := of_values(function, arguments)) is not None:
                stack.append(made)
            else:
                raise self._bad(f"calls {getattr(function, '__qualname__', function)!r}, which files may not do")
        elif code == op.BUILD:
            state = stack.pop()
            self._build(stack[-1], state)
        elif code == op.BINPERSID:
            stack.append(self._persistent(stack.pop()))
        else:
            return False
        return True

    def _allows(self, function: Any) -> bool:
        return function not in FACTORIES and any(function is allowed for allowed in self._names.values())

    def _build(self, target: Any, state: Any) -> None:
        if id(target) in self._empty and isinstance(state, dict):
            self._empty.discard(id(target))
            restore(target, state)
        elif fill(target, state):
            pass
        elif isinstance(target, OrderedDict) and isinstance(state, dict):
            target.__dict__.update(state)
        elif hasattr(target, "__setstate__") and self._allows(type(target)):
            target.__setstate__(state)
        elif isinstance(state, dict) and self._allows(type(target)):
            target.__dict__.update(state)
        else:
            raise self._bad(f"sets the state of a {type(target).__name__}")

    def _global(self, module: str, name: str) -> Any:
        found = self._names.get(f"{module} {name}")
        if found is None and module.startswith("torch.nn.modules."):  # PyTorch's files name the inner module, ours the public one
            found = self._names.get(f"torch.nn {name}")
        if found is None:
            raise self._bad(
                f"wants {module}.{name}, which is not on the list of names a checkpoint may use",
                help="save a state_dict (tensors, numbers, text, lists and dicts); a whole module needs weights_only=False and "
                "its class defined before loading; torch.serialization.add_safe_globals([...]) allows a class of your own",
            )
        return found
