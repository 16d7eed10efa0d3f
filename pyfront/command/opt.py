"""`lamina opt FILE -p PIPELINE`: passes over IR text of any level."""

from __future__ import annotations

import argparse
import sys

from ...dialects.errors import FileError


def add(subcommands: argparse._SubParsersAction) -> None:
    """Enter the subcommand."""
    parser = subcommands.add_parser("opt", help="run passes over an IR file")
    parser.add_argument("file", metavar="FILE", nargs="?", default="-", help="IR text; - reads standard input")
    parser.add_argument("-p", "--pass", dest="pipeline", default="", metavar="PIPELINE", help="'pass{option=1},pass'")
    parser.add_argument("-o", "--output", metavar="FILE", help="where the result goes (default: standard output)")
    parser.add_argument("--emit", choices=("c", "cu"), default="", help="end in C (of the loops level) or CUDA C++ (of the gpu level) in place of IR")
    parser.add_argument("--check", "--check-each-pass", action="store_true", help="compare every stage with the oracle")
    parser.add_argument("--list", action="store_true", help="list the passes")
    parser.set_defaults(act=act)


def act(options: argparse.Namespace) -> int:
    """Print the IR after the pipeline, or its source."""
    from ...backends.replay import known_passes, replay

    if options.list:
        for name in known_passes():
            print(f"{name:<24} {(known_passes()[name].__doc__ or '').strip().splitlines()[0]}")
        return 0
    result = replay(_read(options.file), options.file, options.pipeline, check=2 if options.check else 0, source=options.emit)
    if options.output is None:
        sys.stdout.write(result)
        return 0
    from ..files.archive import replacing

    with replacing(options.output) as file:
        file.write(result.encode())
    return 0


def _read(path: str) -> str:
    if path == "-":
        return sys.stdin.read()
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise FileError(f"cannot read {path}: {error}", help="give a file of IR text, such as --dump writes") from None
