"""Files of a dump that were edited: programs go on from them, and what cannot go on says why."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from needs import needs_compiler

sys.path.insert(0, str(Path(__file__).parent))
import backend_graphs as graphs  # noqa: E402

from lamina.backends import ahead_of_time, driver, edited_stages  # noqa: E402
from lamina.backends.cache import source_version  # noqa: E402
from lamina.backends.cuda.program import cuda_source  # noqa: E402
from lamina.backends.dump import Dump  # noqa: E402
from lamina.backends.pipelines import gpu_pipeline  # noqa: E402
from lamina.backends.replay import replay  # noqa: E402
from lamina.dialects import flags  # noqa: E402
from lamina.dialects.errors import FileError, PassError, TextError  # noqa: E402
from lamina.pyfront.command.flags import overridden  # noqa: E402

GRAPH = graphs.softmax(3, 4)
ARRAYS = [np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)]
SOFTMAX = np.exp(ARRAYS[0]) / np.exp(ARRAYS[0]).sum(1, keepdims=True)


@pytest.fixture
def fresh(tmp_path):
    """A cache of its own, nothing in memory."""
    driver._programs.clear()
    driver._seen.clear()
    edited_stages._edits.clear()
    with flags.cache(str(tmp_path / "cache")):
        yield tmp_path
    driver._programs.clear()
    edited_stages._edits.clear()


def dumped(folder: Path) -> Path:
    """The stages of GRAPH's program."""
    with flags.dump(str(folder)):
        driver.run(GRAPH, ARRAYS)
    driver._programs.clear()
    edited_stages._edits.clear()
    return folder / "program-000"


def edit(folder: Path, pattern: str, old: str, new: str) -> Path:
    """A file of a dump with something else in it."""
    (path,) = folder.glob(pattern)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    return path


def run(folder: Path) -> np.ndarray:
    driver._programs.clear()
    with flags.override(str(folder)):
        return driver.run(GRAPH, ARRAYS)[0]


@needs_compiler
def test_a_program_goes_on_from_an_edited_stage(fresh, capsys):
    stages = dumped(fresh / "ir")
    path = edit(stages, "*-open-composites.mlir", "prim.exp ", "prim.tanh ")
    made = run(fresh / "ir")
    shifted = np.tanh(ARRAYS[0] - ARRAYS[0].max(1, keepdims=True))
    np.testing.assert_allclose(made, shifted / shifted.sum(1, keepdims=True), rtol=1e-5)
    assert f"override: model.py:1 goes on from {path}" in capsys.readouterr().err

    driver._programs.clear()  # the program as it was recorded is none of the edit's
    np.testing.assert_allclose(driver.run(GRAPH, ARRAYS)[0], SOFTMAX, rtol=1e-5)


@needs_compiler
def test_c_is_edited_too_and_the_last_edit_wins(fresh, capsys):
    stages = dumped(fresh / "ir")
    first = edit(stages, "*-open-composites.mlir", "prim.exp ", "prim.tanh ")
    edit(stages, "*-program.c", "return 0;", "for (int i = 0; i < 12; i++) ((float *)table[1])[i] = 2.0f;\n    return 0;")
    np.testing.assert_array_equal(run(fresh / "ir"), np.full((3, 4), 2, np.float32))
    assert f"{first} was edited, too" in capsys.readouterr().err


@needs_compiler
def test_an_edited_program_can_be_dumped_and_edited_again(fresh):
    stages = dumped(fresh / "ir")
    edit(stages, "*-open-composites.mlir", "prim.exp ", "prim.tanh ")
    with flags.override(str(fresh / "ir")):
        again = dumped(fresh / "again")
    assert sorted(p.name for p in again.iterdir())[0] == "000-open-composites.mlir"
    edit(again, "000-open-composites.mlir", "prim.tanh ", "prim.exp ")
    np.testing.assert_allclose(run(fresh / "again"), SOFTMAX, rtol=1e-5)


@needs_compiler
def test_what_an_edit_must_keep(fresh):
    stages = dumped(fresh / "ir")
    captured = stages / "000-captured.mlir"
    captured.write_text(captured.read_text().replace("3x4xf32", "3x5xf32"))
    with pytest.raises(TextError, match="must take and give what it did") as caught:
        run(fresh / "ir")
    assert "tensor<3x5xf32>" in str(caught.value) and "tensor<3x4xf32>" in str(caught.value)

    edited_stages._edits.clear()
    captured.write_text(captured.read_text().replace("nn.softmax", "nn.softmix"))
    with pytest.raises(TextError, match=r"nn.softmix is not registered\n.*000-captured.mlir:3:"):
        run(fresh / "ir")


@needs_compiler
def test_folders(fresh, capsys):
    stages = dumped(fresh / "ir")
    (fresh / "empty").mkdir()
    with pytest.raises(FileError, match="no folder"), overridden(str(fresh / "none"), None):
        pass
    with pytest.raises(FileError, match="write over the edited files"), overridden(str(fresh / "ir"), str(fresh / "." / "ir")):
        pass
    with pytest.raises(FileError, match="holds no dump"), overridden(str(fresh / "empty"), None):
        pass
    with overridden(str(fresh / "ir"), None):
        np.testing.assert_allclose(driver.run(GRAPH, ARRAYS)[0], SOFTMAX, rtol=1e-5)
    assert "no file of" in capsys.readouterr().err

    edited_stages._edits.clear()
    path = edit(stages, "*-open-composites.mlir", "prim.exp ", "prim.tanh ")
    with overridden(str(fresh / "ir"), None):
        driver.run(graphs.softmax(4, 3), [ARRAYS[0].reshape(4, 3)])  # another program
        edited_stages.edits_in(str(fresh / "ir")).report()
    assert f"{path} was edited, but this run compiled no such program" in capsys.readouterr().err
    (stages / "stages.json").write_text("{}")
    edited_stages._edits.clear()
    with pytest.raises(FileError, match="dump the program again"):
        run(fresh / "ir")


@needs_compiler
def test_another_pipeline(fresh):
    stages = dumped(fresh / "ir")
    edit(stages, "*-open-composites.mlir", "prim.exp ", "prim.tanh ")
    record = stages / "stages.json"
    record.write_text(record.read_text().replace("autodiff,", "autodiff,roll,"))
    with pytest.raises(PassError, match="from another pipeline"):
        run(fresh / "ir")


@needs_compiler
def test_sources_of_another_version_are_refused(fresh):
    """They would be called with the memory that the present version's program needs."""
    stages = dumped(fresh / "ir")
    path = edit(stages, "*-program.c", "/*", "/* mine:")
    np.testing.assert_allclose(run(fresh / "ir"), SOFTMAX, rtol=1e-5)
    record = stages / "stages.json"
    record.write_text(record.read_text().replace(source_version(), "another"))
    edited_stages._edits.clear()
    with pytest.raises(PassError, match="belongs to the lamina that dumped it") as caught:
        run(fresh / "ir")
    assert str(path) in str(caught.value) and "dump again" in str(caught.value)


@needs_compiler
def test_the_last_command_of_a_dump_makes_its_c(fresh):
    stages = dumped(fresh / "ir")
    (loops,) = stages.glob("*-linalg-to-loops.mlir")
    (program,) = stages.glob("*-program.c")
    assert f"`lamina opt {loops.name} --emit c`" in (stages / "index.md").read_text()
    assert replay(loops.read_text(), loops.name, source="c") == program.read_text()
    (buffered,) = stages.glob("*-bufferize.mlir")
    for source in ("c", "cu"):
        with pytest.raises(PassError, match="no source of this module yet"):
            replay(buffered.read_text(), buffered.name, source=source)
    with pytest.raises(PassError, match="no source of this module yet"):
        replay(loops.read_text(), loops.name, source="cu")


def test_ahead_of_time(fresh):
    options = {"target": "portable", "shared": False}
    ahead_of_time.write_c(GRAPH, {}, None, fresh / "model", dump=fresh / "ir", **options)
    edit(fresh / "ir", "*-open-composites.mlir", "prim.exp ", "prim.tanh ")
    with flags.override(str(fresh / "ir")):
        ahead_of_time.write_c(GRAPH, {}, None, fresh / "other", **options)
    assert "tanh" in (fresh / "other" / "model.c").read_text() and "tanh" not in (fresh / "model" / "model.c").read_text()


def test_gpu_programs(fresh):
    pipeline = gpu_pipeline("sm_90a")
    dump = Dump(fresh / "ir")
    before = cuda_source(GRAPH, "sm_90a", dump)
    path = dump.add_source("program.cu", before.text, "the CUDA emitter", len(pipeline.passes))
    dump.finish()
    (gpu,) = (fresh / "ir").glob("*-linalg-to-gpu.mlir")
    assert replay(gpu.read_text(), gpu.name, source="cu") == before.text

    edit(fresh / "ir", "*-open-composites.mlir", "prim.exp ", "prim.tanh ")
    with flags.override(str(fresh / "ir")):
        after = cuda_source(GRAPH, "sm_90a", edit=edited_stages.edited(GRAPH, pipeline))
        assert "tanh" in after.text and "tanh" not in before.text
        path.write_text("// mine\n")
        edited_stages._edits.clear()
        mine = cuda_source(GRAPH, "sm_90a", edit=edited_stages.edited(GRAPH, pipeline))
    assert mine.text.strip() == "// mine" and mine.table == before.table
