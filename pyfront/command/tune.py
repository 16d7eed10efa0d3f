"""`lamina tune SCRIPT [ARGUMENTS]`: run a program, measure plans of its products and convolutions on the way, say what was found."""

from __future__ import annotations

import argparse
import sys

from . import flags
from .run import run_script

SECONDS = 60.0


def add(subcommands: argparse._SubParsersAction) -> None:
    """Enter the subcommand."""
    parser = subcommands.add_parser(
        "tune", help="run a script and measure plans of its kernels", usage="lamina tune [options] SCRIPT [ARGUMENTS ...]"
    )
    flags.options(parser)
    parser.add_argument("script", metavar="SCRIPT")
    parser.add_argument("arguments", metavar="ARGUMENTS", nargs=argparse.REMAINDER)
    parser.set_defaults(act=act, tune=SECONDS)


def act(options: argparse.Namespace) -> int:
    """Run the script, print what was measured to stderr; the script's exit status."""
    from ...backends import driver

    with flags.applied(options):
        status = run_script(options.script, options.arguments)
        print(driver.tuning_report(), file=sys.stderr)
    return status
