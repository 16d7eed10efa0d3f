"""`lamina profile SCRIPT [ARGUMENTS]`: run a program and say where its time went: kernel by kernel, with the user's lines."""

from __future__ import annotations

import argparse
import sys

from ...dialects.errors import FileError
from . import flags
from .run import run_script


def add(subcommands: argparse._SubParsersAction) -> None:
    """Enter the subcommand."""
    parser = subcommands.add_parser(
        "profile", help="run a script, then list its kernels by time", usage="lamina profile [options] SCRIPT [ARGUMENTS ...]"
    )
    flags.options(parser)
    parser.add_argument("--trace", metavar="FILE", help="write every kernel as an event for chrome://tracing or Perfetto")
    parser.add_argument("--top", type=int, default=40, metavar="N", help="kernels to list (40)")
    parser.add_argument("script", metavar="SCRIPT")
    parser.add_argument("arguments", metavar="ARGUMENTS", nargs=argparse.REMAINDER)
    parser.set_defaults(act=act)


def act(options: argparse.Namespace) -> int:
    """Run the script, print the report to stderr; the script's exit status. FileError when the trace cannot be written."""
    from ...backends import driver

    with flags.applied(options), driver.profiled(bool(options.trace)) as profiler:
        status = run_script(options.script, options.arguments)
        print(profiler.report(options.top), file=sys.stderr)
    if options.trace:
        try:
            count = profiler.write_trace(options.trace)
        except OSError as error:
            raise FileError(f"cannot write {options.trace}: {error.strerror}", help="choose another file for --trace") from None
        print(f"{count} kernel events in {options.trace}", file=sys.stderr)
    return status
