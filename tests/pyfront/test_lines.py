"""The user's line found in C is the one Python finds, wherever a step is recorded."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import lamina
import pytest
from needs import needs_compiler

from lamina.backends import driver
from lamina.lowering import c_function
from lamina.pyfront import origin, recorder

pytestmark = needs_compiler


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], str]]:
    function = origin.native(driver.recording_libraries()[0])
    assert function is not origin.origin
    monkeypatch.setattr(recorder.state, "origin", function)
    yield function


def _of_the_package(function: Callable[[int], str], deep: int) -> Callable[[], str]:
    """Calls it from ``deep`` functions that lie in a file of the package."""
    names: dict[str, object] = {"find": function}
    lines = ["def f0(up): return find(up)", *[f"def f{k + 1}(up): return f{k}(up)" for k in range(deep - 1)]]
    exec(compile("\n".join(lines), origin.__file__, "exec"), names)  # noqa: S102  # lines of this test
    return names[f"f{deep - 1}"]  # type: ignore[return-value]


@pytest.mark.parametrize("deep", [1, 2, 5, 20])
def test_the_same_line(found: Callable[[int], str], deep: int) -> None:
    native, python = _of_the_package(found, deep), _of_the_package(origin.origin, deep)
    for up in {1, 2, deep} & set(range(1, min(deep, 16) + 1)):
        for _ in range(2):  # asked for first, known then
            assert native(up) == python(up)
        assert [native(up) for _ in range(2)] == [python(up)] * 2
    here = native(1)
    assert here != native(1)  # on the next line


def test_nodes_say_where(found: Callable[[int], str]) -> None:
    x = lamina.ones(3)
    first = x + 1.5
    second = (lambda t: t.exp())(x)
    line = int(first._node.origin.partition(":")[2])
    assert first._node.origin.startswith("test_lines.py:") and second._node.origin == f"test_lines.py:{line + 1}"


def test_code_without_end(found: Callable[[int], str]) -> None:
    """Codes that are gone leave their addresses to others, which stand elsewhere."""
    for number in range(12_000):
        names: dict[str, object] = {"find": found}
        text = "\n" * (number % 50) + "def f(): return find(1)"
        exec(compile(text, f"made{number % 3}.py", "exec"), names)  # noqa: S102  # one function
        assert names["f"]() == f"made{number % 3}.py:{number % 50 + 1}"  # type: ignore[operator]


def test_programs_that_come_again_find_lines_in_c(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder.state, "quick", False)
    monkeypatch.setattr(recorder.state, "origin", origin.origin)
    x = lamina.ones(3)
    for _ in range(8):
        assert (x * 2.5).sum().item() == 7.5
    assert recorder.state.origin is not origin.origin


def test_without_a_compiler_python_finds_them() -> None:
    assert origin.native(None) is origin.origin


def test_a_file_named_like_a_size() -> None:
    """In a kernel's C comments name the user's lines; ``s1`` is what it calls a size, too."""
    lines = ["    /* s1.py:3 */", "    int64_t v0 = s0 * 64;", "        /* s2/train.py:8, s1.py:4 */"]
    assert c_function._symbols(lines) == ["    const int64_t s0 = lamina_s0;"]
