"""Plain: whether a function of a program does nothing but pass tensors through modules and operations.

Such a function gives the same steps whenever its arguments have the same types and what it reads besides is the same, so that a call
need not be made to know what it records (see calls.py). That is read off its source, from the syntax tree alone: a statement or an expression that is not
known to be harmless makes the function one that is always called. What a call really did is looked at as well; here it is made sure that
nothing is lost when Python does not run: no attribute is set, nothing is printed, counted or appended to what outlives the call.

Values are of two kinds. What stems from ``self`` (SELF) may be a module, a parameter or an option, so that the names looked up on it are
noted and found on each module later (`names`, `options`); everything else (VALUE) was made in the call, from its arguments, and is a tensor, a
number, or a list of these. Functions of other places are taken by what they stand for now, which is noted too (`found`).
"""

from __future__ import annotations

import ast
import builtins
import inspect
import linecache
import math
import os
import time
from collections.abc import Mapping
from types import BuiltinFunctionType, CellType, CodeType, FunctionType, ModuleType
from typing import Any, NamedTuple

from ...dialects.types import DType
from ..origin import is_own
from ..size import Size, device
from ..traits import layout, memory_format

VALUE, SELF = 0, 1
PLAIN = frozenset({int, float, bool, str, type(None), DType, Size, device, layout, memory_format})
"""Types of options: what does not change under the same name."""

_BUILTINS = frozenset(map(id, (
    abs, all, any, bool, divmod, enumerate, float, int, isinstance, len, list, map, max, min, pow, range, reversed, round, slice, sorted, str, sum,
    tuple, zip,
)))  # fmt: skip
_HOLD = frozenset({"children", "named_children", "items", "values", "keys"})
"""Methods of containers of modules: what they give stems from ``self`` as well."""

_ROOMS = frozenset({
    "arithmetic", "bessel", "calculus", "complex_numbers", "composites", "conversion", "copies", "creation", "decompositions", "definitions", "fft",
    "finding", "indexing", "joining", "linalg", "linear_algebra", "matrix_functions", "random_fills", "random_tensors", "reductions", "scanning", "segments",
    "selection", "sequences", "shaping", "signal", "special", "special_functions", "statistics", "strided", "windows",
})  # fmt: skip
"""Where functions are that only record steps, and draw random numbers."""

_FORBIDDEN = frozenset({
    "backward", "register_hook", "register_post_accumulate_grad_hook", "retain_grad", "requires_grad", "requires_grad_", "grad", "grad_fn", "is_leaf",
    "data", "set_", "share_memory_", "numpy", "storage", "untyped_storage", "data_ptr", "map_", "apply_", "record_stream", "names", "module_load",
})  # fmt: skip
"""Attributes of tensors that are about more than their values."""


class Facts(NamedTuple):
    """What a plain function depends on, besides its arguments. names: looked up on what stems from ``self``; options: those of them that are used
    otherwise than to look further through them, or to be called. found: (names of a function, name there, what it stands for), to be
    found again as the same object. gives: the kind of its result."""

    names: frozenset[str]
    options: frozenset[str]
    found: tuple[tuple[Mapping[str, Any], str, Any], ...]
    cells: tuple[tuple[Any, Any], ...]
    gives: int


class _NotPlain(Exception):
    pass


_facts: dict[tuple[CodeType, type | None, bool], tuple[FunctionType, Facts | None]] = {}
_MOST_KNOWN = 4096


def facts_of(function: Any, owner: type | None = None, stems: bool = True) -> Facts | None:
    """What a function depends on; None where it may do more than to give a result. owner: the class it is a method of; its first argument
    is an object of that class then. stems: for any other, whether its arguments may stem from ``self``."""
    if type(function) is not FunctionType:
        return None
    key = function.__code__, owner, stems
    known = _facts.get(key)
    if known is None or known[0] is not function or known[1] is not None and not _hold(known[1]):
        if len(_facts) >= _MOST_KNOWN:
            _facts.clear()
        _facts[key] = function, None  # what calls itself is not plain
        try:
            facts = _Reader(function, owner, stems).facts()
        except (_NotPlain, RecursionError):
            facts = None
        known = _facts[key] = function, facts
    return known[1]


def _hold(facts: Facts) -> bool:
    """Whether names stand for what they stood for when a function was read."""
    return all([table.get(name) is value for table, name, value in facts.found]) and all([holds(cell, value) for cell, value in facts.cells])


def holds(cell: CellType, value: Any) -> bool:
    """Whether a name of an enclosing function still stands for a value; it may have been deleted."""
    try:
        return cell.cell_contents is value
    except ValueError:
        return False


def is_recording(function: Any) -> bool:
    """A function of ours that only records steps from its arguments."""
    inner = inspect.unwrap(function)
    if type(inner) is not FunctionType or not is_own(inner.__code__.co_filename):
        return False
    _, _, rest = inner.__module__.partition("pyfront.")
    return rest in _ROOMS or rest.startswith(("nn.functional", "nn.functions."))


def is_option(value: Any) -> bool:
    """A number, a text, a dtype: or a tuple of these."""
    return type(value) in PLAIN or type(value) is tuple and all(map(is_option, value))


def _tree(function: FunctionType) -> ast.FunctionDef:
    """The syntax tree of a function, if its source is what runs: the file was not written since modules can be defined, or
    compiled it is the same code."""
    code = function.__code__
    lines = linecache.getlines(code.co_filename)
    if _is_older(code.co_filename):
        end = max([position[1] for position in code.co_positions() if position[1] is not None], default=0)
        own = lines[code.co_firstlineno - 1 : end]
        if not own:
            raise _NotPlain
        found = _parsed("".join(("if 1:\n", *own) if own[0][:1].isspace() else own)).body[0]
        tree = found.body[0] if isinstance(found, ast.If) else found
    else:
        whole = _parsed("".join(lines))
        codes = _codes(compile(whole, code.co_filename, "exec", dont_inherit=True))
        if not any([c.co_firstlineno == code.co_firstlineno and _spelled(c) == _spelled(code) for c in codes]):
            raise _NotPlain
        tree = next((n for n in ast.walk(whole) if isinstance(n, ast.FunctionDef) and n.lineno == code.co_firstlineno), None)
    if not isinstance(tree, ast.FunctionDef) or tree.name != code.co_name or tree.decorator_list:
        raise _NotPlain
    return tree


def _is_older(path: str) -> bool:
    """Whether a file was last written before that."""
    try:
        return os.stat(path).st_mtime < _BEGUN
    except OSError:
        return False


_BEGUN = time.time()
"""When this was read: before the class statement of any module of a program ran, and so before somebody could edit what it ran as."""


def _parsed(text: str) -> ast.Module:
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError):
        raise _NotPlain from None


def _codes(code: CodeType) -> list[CodeType]:
    inner = [c for c in code.co_consts if type(c) is CodeType]
    return inner + [c for outer in inner for c in _codes(outer)]


def _spelled(code: CodeType) -> tuple:
    """What a code object does."""
    constants = [_spelled(c) if type(c) is CodeType else (type(c), repr(c)) for c in code.co_consts]
    return code.co_code, code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars, constants


class _Reader:
    """One function read through. kinds: of its local names, whatever they were last: the body is read until none changes."""

    def __init__(self, function: FunctionType, owner: type | None, stems: bool) -> None:
        self.function, self.owner = function, owner
        self.node = _tree(function)
        self.cells = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))
        args = self.node.args
        every = [*args.posonlyargs, *args.args, *args.kwonlyargs, *[a for a in (args.vararg, args.kwarg) if a is not None]]
        code = function.__code__
        self.local = frozenset({*code.co_varnames, *code.co_cellvars})
        self.kinds = dict.fromkeys(self.local, VALUE)
        self.kinds |= {a.arg: SELF if stems and owner is None else VALUE for a in every}
        self.self_name = every[0].arg if owner is not None and every else None
        if self.self_name is not None:
            self.kinds[self.self_name] = SELF
        if not all(map(is_option, function.__defaults__ or ())) or not all(map(is_option, (function.__kwdefaults__ or {}).values())):
            raise _NotPlain
        self.names: set[str] = set()
        self.options: set[str] = set()
        self.found: dict[tuple[int, str], tuple[Mapping[str, Any], str, Any]] = {}
        self.read_cells: dict[str, tuple[Any, Any]] = {}
        self.gives = VALUE

    def facts(self) -> Facts:
        while True:
            before = dict(self.kinds)
            for statement in self.node.body:
                self.statement(statement)
            if before == self.kinds:
                break
        return Facts(frozenset(self.names), frozenset(self.options), tuple(self.found.values()), tuple(self.read_cells.values()), self.gives)

    def include(self, facts: Facts | None) -> int:
        """What a function that is called on the way depends on; the kind of its result."""
        if facts is None:
            raise _NotPlain
        self.names |= facts.names
        self.options |= facts.options
        self.found |= {(id(table), name): (table, name, value) for table, name, value in facts.found}
        self.read_cells |= {str(id(cell)): (cell, value) for cell, value in facts.cells}
        return facts.gives

    # -- statements
    # ---------------------------------------------------------------------------------------------

    def statement(self, node: ast.stmt) -> None:
        match node:
            case ast.Expr(value):
                self.kind(value)
            case ast.Assign(targets, value):
                kind = self.kind(value)
                for target in targets:
                    self.assign(target, kind)
            case ast.AnnAssign(target=ast.Name() as target, value=value):
                if value is not None:
                    self.assign(target, self.kind(value))
            case ast.AugAssign(target, _, value):
                self.kind(value)
                if isinstance(target, ast.Name):
                    if self.kinds.get(target.id) != VALUE:
                        raise _NotPlain
                else:
                    self.assign(target, VALUE)
            case ast.Return(value):
                if value is not None:
                    self.gives = max(self.gives, self.kind(value))
            case ast.If(test, body, orelse) | ast.While(test, body, orelse):
                self.kind(test)
                self.block(body, orelse)
            case ast.For(target, over, body, orelse):
                self.assign(target, self.kind(over))
                self.block(body, orelse)
            case ast.Assert(test):
                self.kind(test)
            case ast.Pass() | ast.Break() | ast.Continue() | ast.Raise():
                pass
            case _:
                raise _NotPlain

    def block(self, *bodies: list[ast.stmt]) -> None:
        for body in bodies:
            for statement in body:
                self.statement(statement)

    def assign(self, target: ast.expr, kind: int) -> None:
        match target:
            case ast.Name(name):
                if name in self.cells or name == self.self_name:
                    raise _NotPlain
                if name not in self.local and (name in self.function.__globals__ or hasattr(builtins, name)):
                    raise _NotPlain  # within a comprehension one thing, outside of it another
                self.kinds[name] = max(kind, self.kinds.get(name, VALUE))
            case ast.Tuple(elements) | ast.List(elements):
                for element in elements:
                    self.assign(element, kind)
            case ast.Starred(value):
                self.assign(value, kind)
            case ast.Subscript(value, index):  # of something made here, or of a tensor, which is looked at when it was done
                if self.kind(value) != VALUE:
                    raise _NotPlain
                self.kind(index)
            case _:
                raise _NotPlain

    # -- expressions
    # --------------------------------------------------------------------------------------------

    def kind(self, node: ast.expr, further: bool = False) -> int:
        """The kind of an expression's value. further: an attribute of it is looked up, or it is called."""
        match node:
            case ast.Constant():
                return VALUE
            case ast.Name(name):
                if name in self.kinds:
                    return self.kinds[name]
                return self.standing(node)
            case ast.Attribute(value, name):
                if self.outside(node):
                    return self.standing(node)
                if self.kind(value, True) == VALUE:
                    if name in _FORBIDDEN or name.startswith("_"):
                        raise _NotPlain
                    return VALUE
                if name in _FORBIDDEN:
                    raise _NotPlain
                self.names.add(name)
                if not further:
                    self.options.add(name)
                return SELF
            case ast.Subscript(value, index):
                self.kind(index)
                return self.kind(value)
            case ast.Call():
                return self.call(node)
            case ast.BinOp(left, _, right):
                self.every(left, right)
                return VALUE
            case ast.UnaryOp(_, value):
                self.kind(value)
                return VALUE
            case ast.Compare(left, _, others):
                self.every(left, *others)
                return VALUE
            case ast.BoolOp(_, values) | ast.Tuple(values) | ast.List(values):
                return self.every(*values)
            case ast.IfExp(test, body, orelse):
                self.kind(test)
                return self.every(body, orelse)
            case ast.Slice(lower, upper, step):
                self.every(*[v for v in (lower, upper, step) if v is not None])
                return VALUE
            case ast.Starred(value):
                return self.kind(value)
            case ast.Dict(keys, values):
                return self.every(*[k for k in keys if k is not None], *values)
            case ast.JoinedStr(values):
                self.every(*values)
                return VALUE
            case ast.FormattedValue(value):
                self.kind(value)
                return VALUE
            case ast.NamedExpr(target, value):
                kind = self.kind(value)
                self.assign(target, kind)
                return kind
            case ast.ListComp(element, generators) | ast.GeneratorExp(element, generators):
                for g in generators:
                    if g.is_async:
                        raise _NotPlain
                    self.assign(g.target, self.kind(g.iter))
                    self.every(*g.ifs)
                return self.kind(element)
        raise _NotPlain

    def every(self, *nodes: ast.expr) -> int:
        return max([self.kind(node) for node in nodes], default=VALUE)

    def call(self, node: ast.Call) -> int:
        """The kind of a call's result: what modules and functions give is no part of ``self``."""
        arguments = self.every(*node.args, *[k.value for k in node.keywords])
        called = node.func
        if isinstance(called, ast.Name | ast.Attribute) and self.outside(called):
            function = self.stands_for(called)
            if id(function) in _BUILTINS:
                return arguments if function not in (bool, float, int, isinstance, len, str, round) else VALUE
            if type(function) is BuiltinFunctionType and getattr(math, function.__name__, None) is function:
                return VALUE
            if callable(function) and is_recording(function):
                return VALUE
            return self.include(facts_of(function, stems=arguments == SELF))
        match called:
            case ast.Attribute(value, name) if self.kind(value, True) == SELF:
                self.names.add(name)
                if name in _HOLD:
                    return SELF
                method = inspect.getattr_static(self.owner, name, None) if self.is_self(value) else None
                if type(method) is FunctionType and not is_own(method.__code__.co_filename):
                    return self.include(facts_of(method, self.owner))
                return VALUE
            case ast.Attribute(_, name):
                if name in _FORBIDDEN or name.startswith("_"):
                    raise _NotPlain
                return VALUE
        if self.kind(called, True) != SELF:
            raise _NotPlain
        return VALUE

    def is_self(self, node: ast.expr) -> bool:
        return isinstance(node, ast.Name) and node.id == self.self_name

    # -- names of other places
    # ----------------------------------------------------------------------------------

    def outside(self, node: ast.expr) -> bool:
        """Whether a dotted name begins with one that is not local."""
        while isinstance(node, ast.Attribute):
            node = node.value
        return isinstance(node, ast.Name) and node.id not in self.kinds

    def standing(self, node: ast.expr) -> int:
        """A dotted name of another place, used as a value: an option, or a class to compare with."""
        value = self.stands_for(node)
        if not is_option(value) and not isinstance(value, type):
            raise _NotPlain
        return VALUE

    def stands_for(self, node: ast.expr) -> Any:
        """What a dotted name stands for now: to be found the same later."""
        if isinstance(node, ast.Name):
            return self.looked_up(node.id)
        assert isinstance(node, ast.Attribute)
        place = self.stands_for(node.value)
        if not isinstance(place, ModuleType) or node.attr not in vars(place):
            raise _NotPlain
        return self.noted(vars(place), node.attr)

    def looked_up(self, name: str) -> Any:
        if name in self.cells:
            cell = self.cells[name]
            try:
                self.read_cells[str(id(cell))] = cell, cell.cell_contents
            except ValueError:
                raise _NotPlain from None
            return cell.cell_contents
        names = self.function.__globals__
        if name in names:
            return self.noted(names, name)
        if name not in vars(builtins):
            raise _NotPlain
        return self.noted(vars(builtins), name)

    def noted(self, table: Mapping[str, Any], name: str) -> Any:
        value = table[name]
        self.found[id(table), name] = table, name, value
        return value

