"""The command line: `lamina run / profile / tune / compile / opt / explain / check / flags`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from ...dialects.errors import LaminaError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand; the exit status."""
    from . import check, compile, explain, failure, flags, opt, profile, run, tune

    parser = argparse.ArgumentParser(prog="lamina", description="PyTorch programs through a compiler you can read.")
    subcommands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for command in (run, profile, tune, compile, opt, explain, check, flags):
        command.add(subcommands)
    given = list(sys.argv[1:] if arguments is None else arguments)
    options = parser.parse_args(given)
    try:
        return options.act(options)
    except LaminaError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output has gone; nothing more to say
        return 0
    except KeyboardInterrupt:
        print("KeyboardInterrupt", file=sys.stderr)
        return 130
    except Exception as error:
        failure.show_error(error)
        return 1
