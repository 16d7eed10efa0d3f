"""Collects the FileCheck files: every .mlir below tests/ with a RUN line is a test."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


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
