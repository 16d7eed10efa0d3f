"""`lamina check SCRIPT`: every name of torch a program uses that lamina does not have, with its line, without running it."""

from __future__ import annotations

import argparse
import ast
import os
from collections.abc import Iterator
from importlib.resources import files
from typing import Any, NamedTuple

from ...dialects.errors import FileError
from .. import import_hook


class Missing(NamedTuple):
    """One use of something lamina does not have."""

    file: str
    line: int
    name: str
    note: str


def add(subcommands: argparse._SubParsersAction) -> None:
    """Enter the subcommand."""
    parser = subcommands.add_parser("check", help="list what a script needs of torch that lamina does not have")
    parser.add_argument("scripts", metavar="SCRIPT", nargs="+")
    parser.set_defaults(act=act)


def act(options: argparse.Namespace) -> int:
    """Print what is missing; 1 when anything is."""
    found = [missing for script in options.scripts for missing in check(script)]
    for use in found:
        print(f"{use.file}:{use.line}  {use.name}{use.note}")
    count = len({use.name for use in found})
    names = ", ".join(options.scripts)
    print(f"{names}: {count} names are missing, used in {len(found)} places" if found else f"{names}: all names of torch are there")
    return 1 if found else 0


def check(script: str) -> list[Missing]:
    """Missing names of a script and of the modules it imports from beside it, in the order of the files."""
    found: list[Missing] = []
    waiting, seen = [script], set()
    while waiting:
        path = waiting.pop(0)
        if os.path.abspath(path) in seen:
            continue
        seen.add(os.path.abspath(path))
        reader = _Reader(path, _parse(path))
        found.extend(sorted(reader.missing(), key=lambda use: use.line))
        waiting.extend(reader.neighbours())
    return found


def _parse(path: str) -> ast.Module:
    try:
        with open(path, "rb") as file:
            return ast.parse(file.read(), path)
    except OSError as error:
        raise FileError(f"cannot read {path}: {error.strerror}", help="give the path of a Python script") from None
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None)
        raise FileError(f"{path}{f':{line}' if line else ''} is not Python: {error}", help="mend the script first") from None


class _Reader:
    """What one file imports from torch and does with it."""

    def __init__(self, path: str, tree: ast.Module) -> None:
        self._path = path
        self._tree = tree
        self._names: dict[str, str] = {}  # local name -> dotted torch name
        self._own = {node.name for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))}
        self._imports: list[tuple[int, str]] = []
        self._modules: list[str] = []
        self._collect_imports()

    def _collect_imports(self) -> None:
        for node in ast.walk(self._tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    self._note(alias.name, alias.asname or alias.name.split(".")[0], node.lineno, alias.asname is not None)
            elif isinstance(node, ast.ImportFrom):
                self._from(node)

    def _note(self, module: str, local: str, line: int, renamed: bool) -> None:
        if module.split(".")[0] in import_hook.PACKAGES:
            self._names[local] = module if renamed else module.split(".")[0]
            self._imports.append((line, module))
        else:
            self._modules.append(module)

    def _from(self, node: ast.ImportFrom) -> None:
        module = node.module or ""
        if not node.level and module.split(".")[0] in import_hook.PACKAGES:
            for alias in node.names:
                name = module if alias.name == "*" else f"{module}.{alias.name}"
                self._names[alias.asname or alias.name] = name
                self._imports.append((node.lineno, name))
        elif node.level <= 1:
            self._modules.extend([module] if module else [alias.name for alias in node.names])

    def neighbours(self) -> list[str]:
        """Files beside this one that it imports."""
        folder = os.path.dirname(self._path)
        paths = []
        for module in self._modules:
            base = os.path.join(folder, *module.split("."))
            paths += [p for p in (base + ".py", os.path.join(base, "__init__.py")) if os.path.isfile(p)]
        return paths

    def missing(self) -> Iterator[Missing]:
        """Uses of what is not there."""
        for line, name in self._imports:
            gap = first_missing(name)
            if gap:
                yield Missing(self._path, line, gap, "")
        inner = {id(node.value) for node in ast.walk(self._tree) if isinstance(node, ast.Attribute)}
        for node in ast.walk(self._tree):
            if isinstance(node, ast.Attribute) and id(node) not in inner:
                name = self._dotted(node)
                gap = first_missing(name) if name else None
                if gap and gap not in {first_missing(imported) for _, imported in self._imports}:
                    yield Missing(self._path, node.lineno, gap, "")
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                yield from self._method(node.func)

    def _dotted(self, node: ast.Attribute) -> str | None:
        """The torch name an attribute chain stands for."""
        parts: list[str] = []
        value: ast.expr = node
        while isinstance(value, ast.Attribute):
            parts.append(value.attr)
            value = value.value
        if not isinstance(value, ast.Name) or value.id not in self._names:
            return None
        return ".".join([self._names[value.id], *reversed(parts)])

    def _method(self, function: ast.Attribute) -> Iterator[Missing]:
        """A method of PyTorch's Tensor that ours lacks, on something that may be a tensor."""
        from ..tensor import Tensor

        name = function.attr
        if self._dotted(function) or name in self._own or name not in _tensor_methods():
            return
        if not hasattr(Tensor, name) and not any(hasattr(kind, name) for kind in (str, list, dict, set, tuple, bytes)):
            yield Missing(self._path, function.lineno, f"torch.Tensor.{name}", "   (if this is a tensor)")


def _tensor_methods() -> frozenset[str]:
    """The public methods of PyTorch's Tensor."""
    return frozenset(files(__package__).joinpath("tensor_methods.txt").read_text(encoding="utf-8").split())


def first_missing(name: str) -> str | None:
    """The shortest part of a dotted torch name that lamina does not have; None when all of it is there."""
    parts = name.split(".")
    here: Any = import_hook.source_of(parts[0])
    if here is None:
        return parts[0]
    for i in range(1, len(parts)):
        path = ".".join(parts[: i + 1])
        module = import_hook.source_of(path)
        if module is None:
            if path in import_hook.MODULES or not hasattr(here, parts[i]):
                return path if path != "torch.__version__" else None
            module = getattr(here, parts[i])
        if isinstance(module, type) or callable(module):
            return _missing_of_class(module, parts, i + 1)
        here = module
    return None


def _missing_of_class(owner: Any, parts: list[str], start: int) -> str | None:
    """Attributes of a class (``torch.Tensor.sum``); what calls return is not followed."""
    for i in range(start, len(parts)):
        if not hasattr(owner, parts[i]):
            return ".".join(parts[: i + 1])
        owner = getattr(owner, parts[i])
    return None
