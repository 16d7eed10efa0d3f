"""`lamina flags`: what can be set, its value now, and the options other subcommands set flags with."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from ...dialects import flags
from ...dialects.errors import FileError


def add(subcommands: argparse._SubParsersAction) -> None:
    """Enter the subcommand."""
    parser = subcommands.add_parser("flags", help="list the flags and their values")
    parser.set_defaults(act=lambda options: show())


def show() -> int:
    """Print every flag."""
    rows = [(f.variable, _text(f.value), f.help) for f in flags.ALL]
    widths = [max(len(row[i]) for row in rows) for i in range(2)]
    for variable, value, help in rows:
        print(f"{variable:<{widths[0]}}  {value:<{widths[1]}}  {help}")
    return 0


def _text(value: object) -> str:
    if isinstance(value, frozenset):
        return ",".join(sorted(value)) or "-"
    return str(int(value)) if isinstance(value, bool) else str(value) or "-"


def options(parser: argparse.ArgumentParser) -> None:
    """The options that set flags."""
    parser.add_argument("--device", choices=("c", "numpy"), help="where programs run")
    parser.add_argument("--dump", metavar="DIR", help="write the IR after each changing pass into a folder")
    parser.add_argument("--override", metavar="DIR", help="go on from the files of this dump that were edited")
    parser.add_argument("--check-each-pass", action="store_true", help="compare every stage with the numpy oracle")
    parser.add_argument("--show", metavar="WHAT", type=_value(flags.show), help=f"print {', '.join(flags.ARTIFACTS)} (comma list)")
    parser.add_argument("--threads", type=_value(flags.threads), metavar="N", help="number of threads of compiled programs")
    parser.add_argument("--tune", type=_value(flags.tune), metavar="SECONDS", help="time to spend on measuring plans of kernels")
    parser.add_argument("--fast", action="store_true", help="allow rules that may change rounding")


def _value(flag: flags.Flag) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        try:
            return flag.read(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not a value of it: {flag.help}") from None

    return read


def arguments(given: argparse.Namespace, folder: str) -> list[str]:
    """What `options` read, as arguments for another process; its dump goes into a folder of its own below, and so do edits."""
    made = []
    for name, value in (
        ("--device", given.device), ("--dump", given.dump and os.path.join(given.dump, folder)),
        ("--override", given.override and os.path.join(given.override, folder)), ("--show", given.show and ",".join(sorted(given.show))),
        ("--threads", given.threads), ("--tune", given.tune),
    ):  # fmt: skip
        made += [name, str(value)] if value is not None and value != "" else []
    return made + ["--check-each-pass"] * given.check_each_pass + ["--fast"] * given.fast


@contextmanager
def overridden(path: str | None, dump: str | None) -> Iterator[None]:
    """Programs go on from the edited files of a folder, for a while. FileError for one that is not there, holds no dump, or would be
    written over by one."""
    if not path:
        yield
        return
    if not os.path.isdir(path):
        raise FileError(f"there is no folder {path}", help="make one with --dump, edit a file of it, and give it to --override")
    if dump and os.path.realpath(path) == os.path.realpath(dump):
        raise FileError(f"--dump would write over the edited files in {path}", help="dump into another folder")
    from ...backends.edited_stages import edits_in

    edits_in(path)  # what cannot be read is said before the script runs
    with flags.override(path):
        yield


def _make_folder(path: str) -> None:
    """The dump's folder, before anything runs. FileError when it cannot be made."""
    try:
        os.makedirs(path, exist_ok=True)
    except OSError as error:
        raise FileError(f"cannot make the folder {path}: {error.strerror}", help="choose another folder for --dump") from None


@contextmanager
def applied(given: argparse.Namespace) -> Iterator[None]:
    """Set what `options` read, for a while."""
    with ExitStack() as stack:
        if given.device:
            stack.enter_context(flags.device(given.device))
        stack.enter_context(overridden(given.override, given.dump))
        if given.dump:
            _make_folder(given.dump)
            stack.enter_context(flags.dump(given.dump))
        if given.check_each_pass:
            stack.enter_context(flags.check(2))
        if given.show:
            stack.enter_context(flags.show(given.show))
        if given.threads:
            stack.enter_context(flags.threads(given.threads))
        if given.tune is not None:
            stack.enter_context(flags.tune(given.tune))
        if given.fast:
            stack.enter_context(flags.fast(True))
        yield
