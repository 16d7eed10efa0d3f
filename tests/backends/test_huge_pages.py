"""Large arrays in huge pages: where they start, that their contents stay, and which inputs are moved."""

from __future__ import annotations

import gc
import mmap
from pathlib import Path

import numpy as np
import pytest
from needs import needs_compiler

from lamina.backends import executable as executables
from lamina.backends import huge_pages, toolchain
from lamina.backends.aligned_memory import aligned_array
from lamina.backends.executable import Executable
from lamina.backends.huge_pages import LARGE, PAGE, are_allowed, move_into
from lamina.dialects.types import float32

FLOAT = np.dtype(np.float32)
SECOND = """
int lamina_main(void **t) { *(float *)t[2] = *(const float *)t[1]; return 0; }
void lamina_main_pool(void *runner, void *whole) { (void)runner, (void)whole; }
"""
needs_pages = pytest.mark.skipif(not are_allowed(), reason="this system gives no huge pages")


@pytest.fixture
def program(tmp_path: Path) -> Executable:
    """Gives the first element of its second input; both are just large."""
    (tmp_path / "program.c").write_text(SECOND)
    toolchain.build_shared(toolchain.find_compiler(), tmp_path / "program.c", tmp_path / "program.so")
    large = ((LARGE // 4,), float32)
    return Executable(tmp_path / "program.so", [large, large], [((1,), float32)], 64)


@needs_pages
@pytest.mark.parametrize("count", [LARGE // 4, LARGE // 4 + 1, 3 * PAGE // 4 - 5])
def test_large_arrays_start_with_a_page(count: int):
    array = aligned_array((count,), FLOAT)
    assert array.ctypes.data % PAGE == 0 and array.nbytes == 4 * count
    array[:] = 1
    assert array.sum(dtype=np.float64) == count


def test_small_arrays_are_numpys():
    array = aligned_array((LARGE // 4 - 1,), FLOAT)
    assert array.ctypes.data % 64 == 0 and array.base is not None and not isinstance(array.base, mmap.mmap)


def test_without_pages_arrays_are_the_same(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(huge_pages, "are_allowed", lambda: False)
    array = aligned_array((LARGE // 4,), FLOAT)
    assert array.ctypes.data % 64 == 0 and array.shape == (LARGE // 4,)
    move_into(array)


@needs_pages
def test_memory_goes_back_with_the_last_view():
    closed = []

    class Watched(mmap.mmap):
        def __del__(self) -> None:
            closed.append(True)

    made = mmap.mmap
    try:
        huge_pages.mmap.mmap = Watched  # type: ignore[misc]
        array = aligned_array((LARGE,), FLOAT)
    finally:
        huge_pages.mmap.mmap = made  # type: ignore[misc]
    row = array.reshape(4, -1)[2]
    del array
    gc.collect()
    row[:] = 3
    assert not closed and row.min() == 3
    del row
    gc.collect()
    assert closed


@pytest.mark.parametrize("offset", [0, 1, 1000])
def test_moving_keeps_contents(offset: int):
    around = np.arange(LARGE, dtype=np.float32)
    array = around[offset : offset + LARGE // 2 + 3]
    move_into(array)
    assert np.array_equal(around, np.arange(LARGE, dtype=np.float32))


@needs_compiler
def test_inputs_are_moved_when_they_come_again(monkeypatch: pytest.MonkeyPatch, program: Executable):
    moved = []
    monkeypatch.setattr(executables.huge_pages, "move_into", moved.append)
    weights, *batches = (np.full(LARGE // 4, k, np.float32) for k in range(4))
    for batch in batches:
        assert program([weights, batch])[0][0] == batch[0]
    assert [id(a) for a in moved] == [id(weights)]
    program([weights, batches[-1]])
    program([weights, batches[-1]])
    assert [id(a) for a in moved] == [id(weights), id(batches[-1])]


@needs_compiler
def test_bound_inputs_are_moved_at_once(monkeypatch: pytest.MonkeyPatch, program: Executable):
    moved = []
    monkeypatch.setattr(executables.huge_pages, "move_into", moved.append)
    weights, batch = np.zeros(LARGE // 4, np.float32), np.ones(LARGE // 4, np.float32)
    call = program.bind([weights, None])
    for _ in range(3):
        assert call([batch])[0][0] == 1
    assert [id(a) for a in moved] == [id(weights)]
