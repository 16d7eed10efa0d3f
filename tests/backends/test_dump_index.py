"""`--dump` leaves the stages of every program, however small, and an index of them."""

from __future__ import annotations

import sys
from pathlib import Path

from needs import needs_compiler

sys.path.insert(0, str(Path(__file__).parent))
import backend_graphs as graphs  # noqa: E402

from lamina.backends import driver  # noqa: E402
from lamina.backends.dump_index import lines_of  # noqa: E402
from lamina.dialects import flags  # noqa: E402


@needs_compiler
def test_small_programs_are_dumped_and_listed(tmp_path):
    driver._programs.clear()
    driver._seen.clear()
    with flags.cache(str(tmp_path / "cache")), flags.dump(str(tmp_path / "dump")):
        for graph in (graphs.softmax(3, 4), graphs.sums(), graphs.softmax(3, 4)):
            driver.run(graph, graphs.arrays_for(graph))
    folder = tmp_path / "dump"
    assert sorted(p.name for p in folder.iterdir()) == ["index.md", "program-000", "program-001"]
    for program in ("program-000", "program-001"):
        names = sorted(p.name for p in (folder / program).iterdir())
        assert names[0] == "000-captured.mlir" and names[-2:] == ["index.md", "stages.json"] and names[-3].endswith("program.c")
    index = (folder / "index.md").read_text()
    assert "| [program-000](program-000/index.md) | model.py:1 | 1 | float32[3, 4] | float32[3, 4] |" in index
    assert "| [program-001](program-001/index.md) | model.py:1-3 | 3 | float32[37, 100] |" in index


def test_lines_of_several_files():
    graph = graphs.softmax()
    graph.origins = ("a.py:9", "b.py:4", "b.py:2", "", "c.py:1", "d.py:7")
    assert lines_of(graph) == "b.py:2-4, a.py:9, c.py:1 and 1 more"
