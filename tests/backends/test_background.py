"""Background compilation: the oracle until the program is there, and what happens when the other process cannot make it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from graphs import Recorder, cnn_step
from needs import needs_compiler

from lamina.backends import background, driver, symbolic
from lamina.backends.families import take_apart
from lamina.backends.template_search import template_of
from lamina.backends.graph_text import graph_from_json, graph_to_json, template_from_json, template_to_json
from lamina.dialects import flags
from lamina.dialects.errors import BackendError
from lamina.dialects.graph import Graph


@pytest.fixture(autouse=True)
def own_cache(tmp_path):
    with flags.cache(str(tmp_path / "cache")), flags.background(True):
        driver._programs.clear()
        driver._seen.clear()
        symbolic.forget()
        driver.stats.reset()
        yield
        background.close()


def product(rows: int = 256, steps: int = 1) -> Graph:
    """Too large for the first run to be the oracle's by default."""
    r = Recorder()
    x, w = r.input((rows, 160)), r.input((160, 160))
    for _ in range(steps):
        x = r("relu", r("matmul", x, w))
    return r.graph(x)


def arrays_of(graph: Graph) -> list[np.ndarray]:
    draw = np.random.default_rng(0)
    return [(draw.standard_normal(shape) / 8).astype(dtype.numpy) for shape, dtype in graph.inputs]


def until(condition, run, patience: float = 120) -> None:
    """Runs until the condition holds."""
    end = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < end, driver.stats
        run()
        time.sleep(0.01)


@needs_compiler
@pytest.mark.slow
def test_the_oracle_runs_until_the_program_is_there():
    graph = product()
    arrays = arrays_of(graph)
    (first,) = driver.run(graph, arrays)
    assert (driver.stats.oracle_runs, driver.stats.compiles) == (1, 0)
    until(lambda: driver.stats.hits, lambda: driver.run(graph, arrays))
    assert (driver.stats.compiles, driver.stats.disk_hits) == (0, 1)
    np.testing.assert_allclose(driver.run(graph, arrays)[0], first, rtol=1e-4, atol=1e-4)


@needs_compiler
def test_a_small_graph_is_handed_over_when_it_comes_back():
    r = Recorder()
    graph = r.graph(r("tanh", r.input((4,))))
    driver.run(graph, [np.zeros(4, np.float32)])
    assert background._worker is None
    driver.run(graph, [np.zeros(4, np.float32)])
    assert driver.stats.oracle_runs == 2 and len(background._worker.asked) == 1


@pytest.mark.slow
@needs_compiler
def test_programs_for_many_sizes_are_made_there_too():
    graphs = [product(rows) for rows in (200, 216, 264)]
    run = lambda: [driver.run(graph, arrays_of(graph)) for graph in graphs]  # noqa: E731
    until(lambda: driver.stats.hits >= 3, run)
    assert (driver.stats.compiles, driver.stats.symbolic, driver.stats.refused) == (0, 1, 0)
    for graph in graphs:
        (got,) = driver.run(graph, arrays_of(graph))
        x, w = arrays_of(graph)
        np.testing.assert_allclose(got, np.maximum(x @ w, 0), rtol=1e-4, atol=1e-4)


@needs_compiler
@pytest.mark.parametrize("flag", [flags.check(1), flags.cache("off"), flags.background(False), flags.tune(1e-9), flags.show(frozenset(("time",)))])
def test_what_looks_at_the_compiler_waits_for_it(flag, capsys):
    graph = product()
    with flag:
        driver.run(graph, arrays_of(graph))
    assert (driver.stats.oracle_runs, driver.stats.compiles) == (0, 1) and background._worker is None


@needs_compiler
def test_profiles_and_dumps_wait_for_the_compiler(tmp_path):
    graph = product()
    with driver.profiled():
        driver.run(graph, arrays_of(graph))
    driver._programs.clear()
    with flags.dump(str(tmp_path / "ir")):
        driver.run(graph, arrays_of(graph))
    assert (driver.stats.oracle_runs, driver.stats.compiles) == (0, 2) and background._worker is None


@needs_compiler
def test_what_numpy_takes_longer_for_is_compiled_at_once():
    graph = product(1 << 14)
    assert not background.pays(driver.work_of(graph), len(graph.steps))
    driver.run(graph, [np.broadcast_to(np.float32(0), shape) for shape, _ in graph.inputs])
    assert (driver.stats.oracle_runs, driver.stats.compiles) == (0, 1)


REFUSES = """#!/bin/sh
case "$1" in --version) echo "refusing 1.0";; *) echo "error: not today" >&2; exit 3;; esac
"""


@needs_compiler
@pytest.mark.slow
def test_a_compile_that_fails_there_fails_here_with_its_reason(tmp_path, monkeypatch):
    script = tmp_path / "refuses"
    script.write_text(REFUSES)
    script.chmod(0o700)
    monkeypatch.setenv("LAMINA_CC", str(script))
    driver.find_compiler.cache_clear()
    try:
        graph = product()
        with pytest.raises(BackendError, match="not today"):
            until(lambda: False, lambda: driver.run(graph, arrays_of(graph)))
        assert driver.stats.oracle_runs >= 1
    finally:
        monkeypatch.undo()
        driver.find_compiler.cache_clear()


@needs_compiler
def test_when_the_process_is_lost_programs_are_compiled_here():
    graph = product()
    driver.run(graph, arrays_of(graph))
    background._worker.process.kill()
    with pytest.warns(RuntimeWarning, match="compiled here from now on") as said:
        until(lambda: driver.stats.hits, lambda: driver.run(graph, arrays_of(graph)))
        driver.run(product(steps=2), arrays_of(graph))
    assert driver.stats.compiles == 2 and len(said) == 1


@pytest.mark.slow
@needs_compiler
def test_a_cache_that_cannot_be_written_is_another_folder_for_both(tmp_path):
    (tmp_path / "file").write_text("")
    graph = product()
    with flags.cache(str(tmp_path / "file" / "below")), pytest.warns(RuntimeWarning, match="cannot be written"):
        until(lambda: driver.stats.hits, lambda: driver.run(graph, arrays_of(graph)))
    assert driver.stats.compiles == 0


@needs_compiler
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.slow
def test_a_forked_child_compiles_itself_and_leaves_the_process_alone():
    graph = product()
    driver.run(graph, arrays_of(graph))
    child = os.fork()
    if child == 0:
        try:
            driver.stats.reset()
            driver.run(product(steps=2), arrays_of(graph))
            background.close()
            os._exit((driver.stats.oracle_runs, driver.stats.compiles) != (0, 1))
        except BaseException:  # noqa: BLE001  # the child must not run the other tests
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    until(lambda: driver.stats.hits, lambda: driver.run(graph, arrays_of(graph)))
    assert driver.stats.compiles == 0


@needs_compiler
@pytest.mark.skipif(not hasattr(os, "getpgid"), reason="no process groups")
def test_an_interrupt_from_the_keyboard_is_not_for_it():
    graph = product()
    driver.run(graph, arrays_of(graph))
    assert os.getpgid(background._worker.process.pid) != os.getpgid(0)


LEAVES = """
import sys, time
import numpy as np
from pathlib import Path
sys.path[:0] = {paths!r}
from test_background import arrays_of, product
from lamina.backends import background, driver
graph = product(rows=64, steps=30)
driver.run(graph, arrays_of(graph))
print(background._worker.process.pid, flush=True)
worker = background._worker
while {wait} and not worker.ended and not any(worker.asked.values()) and not list(Path({cache!r}).rglob(".building-*")):
    time.sleep(0.005)
assert not worker.ended, worker.ended
{end}
"""


@needs_compiler
@pytest.mark.skipif(not Path("/proc/self").exists(), reason="looks at /proc")
@pytest.mark.parametrize(("wait", "end"), [(True, ""), (False, "raise KeyboardInterrupt")], ids=["busy", "interrupted"])
@pytest.mark.slow
def test_nothing_is_left_when_the_program_ends(tmp_path, wait, end):
    cache, temporary = tmp_path / "own", tmp_path / "temporary"
    temporary.mkdir()
    here = Path(__file__).parent
    code = LEAVES.format(paths=[str(here), str(here.parent)], cache=str(cache), wait=wait, end=end)
    environment = {**os.environ, "LAMINA_BACKGROUND": "1", "LAMINA_CACHE": str(cache), "TMPDIR": str(temporary)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=120, check=False)
    assert (done.returncode == 0) == (not end), done.stderr
    assert not Path("/proc", done.stdout.strip()).exists()
    assert not list(temporary.glob("lamina-*")) and not list(cache.rglob(".building-*"))
    if end:
        assert done.returncode in (-signal.SIGINT, 130, 1)


def scanned() -> Graph:
    inner = Recorder()
    carried, part = inner.input((3,)), inner.input((3,))
    total = inner("add", carried, part)
    r = Recorder()
    made = r("scan", r.input((3,)), r.input((5, 3)), attrs=(inner.graph(total, total), 1, 1, 5, False))
    return r.graph(made, r("add", made, r.full((3,), float("-inf"))))


@pytest.mark.parametrize("make", [product, scanned, cnn_step])
def test_graphs_as_text(make):
    graph = make()
    again = graph_from_json(json.loads(json.dumps(graph_to_json(graph))))
    assert (again, repr(again), hash(again)) == (graph, repr(graph), hash(graph))
    assert (again.origins, again.names, again.types) == (graph.origins, graph.names, graph.types)


def test_templates_as_text():
    (_, first), (_, second) = take_apart(product(200)), take_apart(product(264))
    template = template_of(product(264), [first, second])
    again = template_from_json(json.loads(json.dumps(template_to_json(template))))
    assert again.text == template.text and again.values(first) == template.values(first) == (200,)
