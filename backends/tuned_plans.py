"""The plans that were found by measuring on this machine: a file of plans in the cache folder, for this compiler and processor."""

from __future__ import annotations

import os
import tempfile
from functools import lru_cache
from pathlib import Path

from ..lowering.contraction_decision import Decision
from ..lowering.known_plans import plans_text, read_plans
from .cache import cache_folder, key_of, source_version, temporary_folder
from .toolchain import find_compiler

_HEAD = "# Plans of contractions that were the fastest of those measured; see lowering/contraction_decision.py.\n"


_temporary_folder = lru_cache(maxsize=1)(temporary_folder)


def plans_file() -> Path:
    """Where they are kept, whether or not there are any. Without a cache folder: a file of this process."""
    compiler = find_compiler()
    assert compiler is not None  # who asks is about to compile
    key = key_of("plans", source_version(), compiler.identity, compiler.flags)
    return (cache_folder() or _temporary_folder()) / f"plans-{key[:16]}.txt"


def plans_path() -> str:
    """The file's path for `bufferize`; "" while there is none."""
    path = plans_file()
    return str(path) if path.exists() else ""


def keep_plan(problem: str, decision: Decision) -> None:
    """Enter a plan, or replace the one there is. The file is whole at any time."""
    path = plans_file()
    plans = {**read_plans(plans_path()), problem: decision}
    handle, name = tempfile.mkstemp(prefix=".plans-", dir=path.parent)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(_HEAD + plans_text(plans))
    os.replace(name, path)
