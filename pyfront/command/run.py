"""`lamina run SCRIPT [ARGUMENTS]`: a PyTorch program as it is, with lamina behind `import torch`."""

from __future__ import annotations

import argparse
import builtins
import os
import sys
from types import CodeType, ModuleType
from typing import Any

from ...dialects.errors import FileError
from .. import import_hook
from . import flags
from .failure import show_error, show_warnings_plainly


def add(subcommands: argparse._SubParsersAction) -> None:
    """Enter the subcommand."""
    parser = subcommands.add_parser("run", help="run a PyTorch script", usage="lamina run [options] SCRIPT [ARGUMENTS ...]")
    flags.options(parser)
    parser.add_argument("script", metavar="SCRIPT")
    parser.add_argument("arguments", metavar="ARGUMENTS", nargs=argparse.REMAINDER)
    parser.set_defaults(act=act)


def act(options: argparse.Namespace) -> int:
    """Run the script; its exit status."""
    with flags.applied(options):
        return run_script(options.script, options.arguments)


def read_script(path: str) -> tuple[str, CodeType]:
    """Source and code of a script. FileError when it cannot be read; SyntaxErrors are the user's."""
    try:
        with open(path, "rb") as file:
            source = file.read()
    except OSError as error:
        raise FileError(f"cannot read {path}: {error.strerror}", help="give the path of a Python script") from None
    return source.decode("utf-8", "replace"), compile(source, path, "exec", dont_inherit=True)


def run_script(path: str, arguments: list[str]) -> int:
    """Run a file as ``__main__``, with ``import torch`` served by lamina. Errors show the user's own frames."""
    try:
        _, code = read_script(path)
    except SyntaxError as error:
        show_error(error)
        return 1
    import_hook.install()
    show_warnings_plainly()
    module = ModuleType("__main__")
    module.__dict__.update(__file__=path, __builtins__=builtins, __cached__=None)
    outside = sys.modules.get("__main__"), sys.argv, list(sys.path)
    sys.modules["__main__"], sys.argv = module, [path, *arguments]
    sys.path.insert(0, os.path.dirname(os.path.abspath(path)))
    try:
        exec(code, module.__dict__)  # the user's own script: running it is what was asked for
        return 0
    except SystemExit as stop:
        return _status(stop.code)
    except KeyboardInterrupt:
        print("KeyboardInterrupt", file=sys.stderr)
        return 130
    except BaseException as error:
        show_error(error)
        return 1
    finally:
        sys.modules["__main__"], sys.argv, sys.path[:] = outside[0] or module, outside[1], outside[2]


def _status(code: Any) -> int:
    if code is None or isinstance(code, int):
        return code or 0
    print(code, file=sys.stderr)
    return 1
