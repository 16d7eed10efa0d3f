"""`lamina explain OP`: all there is to know about one op."""

from __future__ import annotations

import argparse
import difflib

from ...dialects.errors import LaminaError


def add(subcommands: argparse._SubParsersAction) -> None:
    """Enter the subcommand."""
    parser = subcommands.add_parser("explain", help="print an op's stanza, shapes, derivatives and loops")
    parser.add_argument("op", metavar="OP", nargs="?", help="an op of the book; without it, all of them are listed")
    parser.set_defaults(act=act)


def act(options: argparse.Namespace) -> int:
    """Print what the book says."""
    from ...dialects.book import OPS
    from ...dialects.book.explain import contents, explain

    if options.op is None:
        print(contents())
        return 0
    name = options.op.split(".")[-1]
    if name not in OPS:
        near = difflib.get_close_matches(name, list(OPS), 3)
        raise LaminaError(
            f"there is no op {name!r} in the book", help=f"did you mean {', '.join(near)}?" if near else "`lamina explain` lists them"
        )
    print(explain(name))
    return 0
