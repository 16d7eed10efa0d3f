"""Disk cache: finished programs under the user's cache folder, one folder per key, made whole by one rename."""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import json
import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..dialects import flags

_ROOT = Path(__file__).resolve().parent.parent
_COMPILER_FOLDERS = ("dialects", "passes", "lowering", "backends")
_TEXT = (".py", ".ops", ".lark", ".rules", ".c", ".cu", ".h")


def _user_folder() -> Path:
    """Where this platform keeps a user's caches."""
    if chosen := os.environ.get("XDG_CACHE_HOME"):
        return Path(chosen) / "lamina"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "lamina"
    if sys.platform == "win32" and (local := os.environ.get("LOCALAPPDATA")):
        return Path(local) / "lamina" / "cache"
    return Path.home() / ".cache" / "lamina"


def temporary_folder() -> Path:
    """A new folder for files that stay as long as this process, and no longer."""
    return Path(tempfile.mkdtemp(dir=_process_folder(os.getpid())))


@lru_cache(maxsize=1)
def _process_folder(process: int) -> str:
    """The folder that goes away with a process. A forked child has its own, and leaves its parent's alone."""
    folder = tempfile.mkdtemp(prefix="lamina-")

    def remove() -> None:
        if os.getpid() == process:
            shutil.rmtree(folder, ignore_errors=True)

    atexit.register(remove)
    return folder


@lru_cache(maxsize=4)
def _prepare(wanted: str) -> Path:
    """The folder, made for this user alone; a temporary one (said once) if it cannot be written."""
    try:
        folder = Path(wanted) if wanted else _user_folder()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not wanted:
            folder.chmod(0o700)
        probe = tempfile.mkdtemp(prefix=".probe-", dir=folder)
        os.rmdir(probe)
        return folder
    except (OSError, RuntimeError) as error:
        temporary = temporary_folder()
        warnings.warn(
            f"the cache folder cannot be written ({error}): compiled programs are kept in {temporary} for now\n"
            "help: LAMINA_CACHE=DIR chooses another folder, LAMINA_CACHE=off none",
            RuntimeWarning,
            stacklevel=3,
        )
        return temporary


def cache_folder() -> Path | None:
    """The cache folder in use; None when LAMINA_CACHE=off."""
    return None if flags.cache.value == "off" else _prepare(flags.cache.value)


@lru_cache(maxsize=1)
def source_version() -> str:
    """Hash of the compiler's own files: another lamina makes other programs. It is noted under what the file system says of them (size,
    times of the last changes): reading them all takes half of a warm first step.
    """
    found = sorted(entry for folder in _COMPILER_FOLDERS for entry in _sources(_ROOT / folder))
    stamp = key_of("sources", [(path, s.st_size, s.st_mtime_ns, s.st_ctime_ns) for path, s in found])
    known = noted(stamp)
    if known is not None:
        return known
    digest = hashlib.sha256()
    for path, _ in found:
        digest.update(f"{Path(path).relative_to(_ROOT).as_posix()}\0".encode() + Path(path).read_bytes())
    note(stamp, digest.hexdigest())
    return digest.hexdigest()


def _sources(folder: str | Path) -> Iterator[tuple[str, os.stat_result]]:
    """The compiler's files in a folder and those within."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.endswith(_TEXT):
                yield entry.path, entry.stat()
            elif entry.is_dir():
                yield from _sources(entry.path)


def key_of(*parts: object) -> str:
    """A key from the repr of its parts; parts are plain data whose repr says everything."""
    return hashlib.sha256("\0".join(map(repr, parts)).encode()).hexdigest()[:40]


def lookup(key: str) -> tuple[Path, dict[str, Any]] | None:
    """Folder and facts of a stored program, or None. A damaged entry counts as absent."""
    root = cache_folder()
    if root is None:
        return None
    folder = root / key[:2] / key
    facts = _facts(folder)
    return None if facts is None else (folder, facts)


def _facts(folder: Path) -> dict[str, Any] | None:
    """What `store` noted of an entry; None unless all of it is there."""
    try:
        facts = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
        return facts if isinstance(facts, dict) and facts.get("files") == _sizes(folder) else None
    except (OSError, ValueError):
        return None


def _sizes(folder: Path) -> dict[str, int]:
    """Bytes of each file of an entry: a truncated library must not be loaded (that is a bus error, not an exception)."""
    return {path.name: path.stat().st_size for path in sorted(folder.iterdir()) if path.name != "facts.json"}


def store(key: str, make: Callable[[Path], dict[str, Any]], *, replace: bool = False) -> tuple[Path, dict[str, Any]]:
    """Let ``make(folder)`` write its files and return the facts; the entry appears whole or not at all.

    replace: take the new entry even if there is one.
    """
    root = cache_folder()
    if root is None:
        folder = temporary_folder()
        return folder, make(folder)
    shelf = root / key[:2]
    try:
        shelf.mkdir(mode=0o700, parents=True, exist_ok=True)  # somebody may have removed the folder
        building = Path(tempfile.mkdtemp(prefix=".building-", dir=shelf))
    except OSError:  # or taken the right to write there away: the program runs all the same
        folder = temporary_folder()
        return folder, make(folder)
    try:
        facts = make(building)
        facts["files"] = _sizes(building)
        (building / "facts.json").write_text(json.dumps(facts, sort_keys=True), encoding="utf-8")
        if replace:
            shutil.rmtree(shelf / key, ignore_errors=True)
        return _publish(building, shelf / key), facts
    finally:
        shutil.rmtree(building, ignore_errors=True)


def note(key: str, text: str) -> None:
    """Keep a line of text under a key: all of it or nothing, the last one stays. Nothing without a cache folder, or where it cannot be
    written any more: a note only saves time."""
    root = cache_folder()
    if root is None:
        return
    shelf = root / key[:2]
    with contextlib.suppress(OSError):
        shelf.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=".note-", dir=shelf)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
            os.replace(name, shelf / f"{key}.note")
        except OSError:
            os.unlink(name)
            raise


def noted(key: str) -> str | None:
    """The text kept under a key."""
    root = cache_folder()
    try:
        return None if root is None else (root / key[:2] / f"{key}.note").read_text(encoding="utf-8")
    except (OSError, ValueError):
        return None


def discard(key: str) -> None:
    """Forget a stored program."""
    root = cache_folder()
    if root is not None:
        shutil.rmtree(root / key[:2] / key, ignore_errors=True)


def _publish(building: Path, final: Path) -> Path:
    """Rename into place; another process's finished entry wins, a damaged one is replaced."""
    for _ in range(2):
        try:
            os.rename(building, final)
            return final
        except OSError:
            if _facts(final) is not None:
                return final
            shutil.rmtree(final, ignore_errors=True)
    kept = temporary_folder()
    shutil.copytree(building, kept, dirs_exist_ok=True)
    return kept
