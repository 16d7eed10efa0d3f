"""`lamina run SCRIPT [ARGUMENTS]`: a PyTorch program as it is, with lamina behind `import torch`, in one process or in several."""

from __future__ import annotations

import argparse
import builtins
import os
import sys
import zipfile
from importlib.machinery import ModuleSpec
from types import CodeType, ModuleType
from typing import Any

from ...dialects.errors import FileError
from .. import import_hook
from . import flags, launch, spawned
from .failure import show_error, show_warnings_plainly


def add(subcommands: argparse._SubParsersAction) -> None:
    """Enter the subcommand."""
    parser = subcommands.add_parser("run", help="run a PyTorch script", usage="lamina run [options] SCRIPT [ARGUMENTS ...]")
    flags.options(parser)
    launch.add(parser)
    parser.add_argument("script", metavar="SCRIPT")
    parser.add_argument("arguments", metavar="ARGUMENTS", nargs=argparse.REMAINDER)
    parser.set_defaults(act=act)


def act(options: argparse.Namespace) -> int:
    """Run the script; its exit status."""
    processes = launch.options_of(options)
    if processes is not None:
        return launch.launch(processes, options, options.script, options.arguments)
    with flags.applied(options):
        return run_script(options.script, options.arguments)


def read_script(path: str) -> tuple[str, CodeType]:
    """Source and code of a script, or of the ``__main__.py`` in a folder or zip file. FileError when it cannot be read; SyntaxErrors are
    the user's."""
    name = os.path.join(os.path.abspath(path), "__main__.py") if holds_main(path) else path
    try:
        if name != path and os.path.isfile(path):
            with zipfile.ZipFile(path) as packed:
                source = packed.read("__main__.py")
        else:
            with open(name, "rb") as file:
                source = file.read()
    except KeyError:
        raise FileError(f"there is no __main__.py in {path}", help="give the path of a Python script") from None
    except OSError as error:
        raise FileError(f"cannot read {name}: {error.strerror}", help="give the path of a Python script") from None
    return source.decode("utf-8", "replace"), compile(source, name, "exec", dont_inherit=True)


def holds_main(path: str) -> bool:
    """Whether a path is run as Python runs folders and zip files: by the ``__main__.py`` in it, with it in front of ``sys.path``."""
    return os.path.isdir(path) or zipfile.is_zipfile(path)


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
    packed = holds_main(path)
    module.__dict__.update(__file__=code.co_filename, __builtins__=builtins, __cached__=None, __package__="")
    module.__spec__ = ModuleSpec(spawned.__name__, None, origin=path)  # what a process that multiprocessing starts anew reads in place of the script
    outside = sys.modules.get("__main__"), sys.argv, list(sys.path)
    main = os.environ.get(spawned.MAIN)
    os.environ[spawned.MAIN] = os.path.abspath(path)
    sys.modules["__main__"], sys.argv = module, [path, *arguments]
    sys.path.insert(0, os.path.abspath(path) if packed else os.path.dirname(os.path.abspath(path)))
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
        if main is None:
            os.environ.pop(spawned.MAIN, None)
        else:
            os.environ[spawned.MAIN] = main


def _status(code: Any) -> int:
    if code is None or isinstance(code, int):
        return code or 0
    print(code, file=sys.stderr)
    return 1
