"""Programs by what they compute: a Graph remembers its own, and holds none that was forgotten."""

import gc
import weakref

from lamina.backends.compiled_program import Programs
from lamina.dialects.graph import Graph


class _Program:
    def __call__(self) -> None:
        """Nothing."""


def _graph() -> Graph:
    return Graph((), (), (), (), (), ())


def test_a_graph_finds_what_an_equal_one_was_compiled_to():
    programs, one, other = Programs(), _graph(), _graph()
    assert programs.of(one) is None
    program = programs[other] = _Program()
    assert programs.of(one) is program and programs.of(one) is program
    later = programs[one] = _Program()
    assert programs.of(one) is later and programs.of(other) is later


def test_what_is_forgotten_is_gone():
    programs, graph = Programs(), _graph()
    programs[graph] = _Program()
    gone = weakref.ref(programs.of(graph))
    programs.pop(graph, None)
    gc.collect()
    assert gone() is None and programs.of(graph) is None
    programs[graph] = _Program()
    assert programs.of(graph) is not None
    programs.clear()
    assert programs.of(graph) is None
