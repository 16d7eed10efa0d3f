"""What a user sees of an error: their own lines, and where lamina failed when it is lamina's fault."""

from __future__ import annotations

import os
import sys
import sysconfig
import traceback
import warnings
from typing import TextIO

from ...dialects import flags
from ...dialects.errors import LaminaError

_PACKAGE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
_ROOMS = tuple(os.path.join(_PACKAGE, room) + os.sep for room in ("dialects", "passes", "lowering", "backends", "pyfront"))
_COMPILER = tuple(room for room in _ROOMS if not room.endswith(os.sep + "pyfront" + os.sep))
_LIBRARIES = tuple(
    os.path.join(path, name)
    for path in sorted({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})
    for name in ("numpy", "xdsl", "lark", "ml_dtypes")
)
_STANDARD = os.path.join(sysconfig.get_path("stdlib"), "")
_PACKAGES = tuple(os.path.join(os.path.dirname(_STANDARD), name) for name in ("site-packages", "dist-packages"))


def show_error(error: BaseException) -> None:
    """Print an error with the frames that belong to the user; all of them under LAMINA_SHOW=traceback."""
    shown = traceback.TracebackException.from_exception(error)
    inside = _inside(shown)
    if "traceback" not in flags.show.value:
        _keep_user_frames(shown)
    kind = type(error)
    for line in shown.format():
        if isinstance(error, LaminaError):  # its module is of no interest
            line = line.replace(f"{kind.__module__}.{kind.__qualname__}:", f"{kind.__qualname__}:", 1)
        sys.stderr.write(line)
    if inside is not None and not isinstance(error, (LaminaError, MemoryError, KeyboardInterrupt)):
        place = os.path.relpath(inside.filename, _PACKAGE).replace(os.sep, "/")
        sys.stderr.write(
            f"    inside lamina: {place}:{inside.lineno}, in {inside.name}\n"
            "help: this is a bug in lamina, please report it; LAMINA_SHOW=traceback shows the whole way there,"
            " LAMINA_DEVICE=numpy runs without the compiler\n"
        )


def show_warnings_plainly() -> None:
    """Let lamina's own warnings speak to users: no file and line of lamina."""
    usual = warnings.showwarning

    def show(
        message: Warning | str, category: type[Warning], filename: str, lineno: int, file: TextIO | None = None, line: str | None = None
    ) -> None:  # fmt: skip
        if _is_ours(filename):
            print(f"lamina: {message}", file=file or sys.stderr)
        else:
            usual(message, category, filename, lineno, file, line)

    warnings.showwarning = show


def _inside(shown: traceback.TracebackException) -> traceback.FrameSummary | None:
    """The innermost frame of ours if the compiler itself, below the frontend, failed."""
    for frame in reversed(shown.stack):
        if _is_ours(frame.filename):
            return frame if os.path.abspath(frame.filename).startswith(_COMPILER) else None
        if not _is_library(frame.filename):
            return None
    return None


def _keep_user_frames(shown: traceback.TracebackException | None) -> None:
    """Drop our frames, and those of libraries we called; then causes that have none left."""
    seen: set[int] = set()
    while shown is not None and id(shown) not in seen:
        seen.add(id(shown))
        shown.stack[:] = _user_frames(shown.stack)
        for chained in (shown.__cause__, shown.__context__):
            if chained is not None and not _user_frames(chained.stack):
                shown.__cause__ = shown.__context__ = None
        shown = shown.__cause__ or shown.__context__


def _user_frames(stack: traceback.StackSummary) -> list[traceback.FrameSummary]:
    kept: list[traceback.FrameSummary] = []
    inside = False
    for frame in stack:
        if _is_ours(frame.filename):
            inside = True
        elif not (inside and _is_library(frame.filename)):
            inside = False
            kept.append(frame)
    return kept


def _is_ours(filename: str) -> bool:
    return os.path.abspath(filename).startswith(_ROOMS) or filename.startswith("<frozen ")


def _is_library(filename: str) -> bool:
    """Files of the standard library and of what lamina depends on."""
    path = os.path.abspath(filename)
    return path.startswith(_LIBRARIES) or (path.startswith(_STANDARD) and not path.startswith(_PACKAGES))
