"""Collects the FileCheck files: every .mlir below tests/ with a RUN line is a test."""

from __future__ import annotations

import gc
import sys
import tempfile
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session", autouse=True)
def shared_bytecode():
    """Processes that tests start share their bytecode where this one must not write any: compiling the sources is most of a start."""
    if not sys.dont_write_bytecode:
        yield
        return
    with tempfile.TemporaryDirectory(prefix="lamina-bytecode-") as folder, pytest.MonkeyPatch.context() as patch:
        patch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
        patch.setenv("PYTHONPYCACHEPREFIX", folder)
        yield


def pytest_collection_finish() -> None:
    """Modules and tests are there to stay, millions of objects: no collection of garbage goes through them again."""
    gc.collect()
    gc.freeze()


class FileCheckItem(pytest.Item):
    """One .mlir file with RUN and CHECK lines."""

    def runtest(self) -> None:
        from run_filecheck import run_file

        run_file(self.path)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: object = None) -> object:
        from run_filecheck import CheckFailed

        if isinstance(excinfo.value, CheckFailed):
            return str(excinfo.value)
        return super().repr_failure(excinfo)

    def reportinfo(self) -> tuple[Path, int, str]:
        return self.path, 0, self.path.name


class FileCheckFile(pytest.File):
    """A .mlir file as a collector of its one test."""

    def collect(self) -> list[pytest.Item]:
        return [FileCheckItem.from_parent(self, name="filecheck")]


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    if file_path.suffix == ".mlir" and "RUN:" in file_path.read_text(encoding="utf8"):
        return FileCheckFile.from_parent(parent, path=file_path)
    return None
