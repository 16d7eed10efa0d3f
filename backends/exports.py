"""What leaves the process: a recorded program as C, as GPU files, as text, as an ONNX model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..dialects.errors import BackendError
from ..dialects.graph import Graph
from .complex_program import as_parts

if TYPE_CHECKING:
    from .recorded_program import RecordedProgram


def write_c(
    graph: Graph, weights: Mapping[int, np.ndarray], names: Sequence[str | None] | None, directory: str | Path, **options: Any
) -> list[Path]:
    """The graph as files ahead of time; see ``ahead_of_time.write_c`` for the options (updates among them).

    Complex inputs and outputs are real ones with a last dimension of 2. target ``cuda:sm_90a`` (any architecture of `dialects/target.py`) writes GPU kernels and a host program instead, see
    ``cuda.files.write_cuda``; of the options it takes `updates` and `dump` only. BackendError for a target it does not know.
    """
    from ..passes.roll_graph import rolled, rolled_if_long
    from ..passes.split_complex import split_complex

    weights = {i: as_parts(array, graph.inputs[i]) for i, array in weights.items()}
    graph = split_complex(graph)
    target = str(options.get("target", "native"))
    if target.startswith("cuda:"):
        from .cuda.files import write_cuda

        updates = options.get("updates", ())
        return write_cuda(rolled_if_long(graph), weights, names, directory, arch=gpu_arch(target), updates=updates, dump=options.get("dump"))
    from . import ahead_of_time

    return ahead_of_time.write_c(rolled(graph, rows=False).graph, weights, names, directory, **options)


def recorded_program(
    recordings: Sequence[tuple[Graph, Mapping[int, np.ndarray]]], first: int = 0
) -> tuple[RecordedProgram, Mapping[int, np.ndarray]]:
    """A program recorded at one or several sizes, and the weights of the first recording by its inputs. first: how many steps stay in
    front of all others. BackendError for constants
    that depend on sizes in a way that is not seen from the recordings."""
    from .recorded_program import RecordedProgram
    from .sized_constants import constants_as_steps

    recordings = constants_as_steps(recordings, first)
    return RecordedProgram([graph for graph, _ in recordings]), recordings[0][1]


def recorded_program_of_text(text: str, where: str) -> RecordedProgram:
    """The program a text holds. FileError where it holds none; where: what the error calls it."""
    from .recorded_program import RecordedProgram

    return RecordedProgram.from_text(text, where)


def make_onnx(
    recordings: Sequence[tuple[Graph, Mapping[int, np.ndarray]]], outputs: Sequence[str], *, updates: int = 0, draws: Sequence[tuple[str, tuple]] = (),
    **options: Any,
) -> Any:  # fmt: skip
    """A program, recorded at several sizes with its weights, as an ``onnx.ModelProto``; see ``onnx.model.onnx_model`` for the options.
    updates: how many of its last results are state it writes, which the model does not give.

    Complex inputs and outputs are real ones with a last dimension of 2. BackendError where the onnx package is missing.
    """
    from ..passes.split_complex import split_complex
    from .sized_constants import constants_as_steps

    recordings = constants_as_steps(recordings, len(draws))
    graph, weights = recordings[0]
    weights = {i: as_parts(array, graph.inputs[i]) for i, array in weights.items()}
    graphs = [_without_last(g, updates) for g, _ in recordings]
    if draws and any(split_complex(g) is not g for g in graphs):
        raise BackendError("an ONNX model of complex numbers cannot draw random ones", help="give them to the model as an argument")
    return _onnx_room().onnx_model([split_complex(g) for g in graphs], weights, outputs, draws=draws, **options)


def _without_last(graph: Graph, count: int) -> Graph:
    """The graph without its last results."""
    outputs = graph.outputs[: len(graph.outputs) - count]
    return Graph(graph.inputs, graph.steps, outputs, graph.origins, graph.names, graph.types)


def save_onnx(model: Any, path: str | Path) -> list[Path]:
    """Write an ``onnx.ModelProto``; the files it became."""
    return _onnx_room().write_model(model, path)


def _onnx_room() -> Any:
    try:
        import onnx  # noqa: F401
    except ImportError:
        raise BackendError("the onnx package is not installed", help="pip install lamina[onnx]") from None
    from .onnx import model

    return model


def gpu_arch(target: str) -> str:
    """The architecture of ``cuda:sm_90a``. BackendError for one that is not known."""
    from ..dialects.target import GPU_TARGETS, gpu_target_named

    arch = target.removeprefix("cuda:")
    try:
        return gpu_target_named(arch).name
    except KeyError:
        known = ", ".join(f"cuda:{name}" for name in GPU_TARGETS)
        help = f"known targets: native, portable, {known}; with _p114 behind for a GPU of 114 processors, from sm_80 on with _tf32 or _3xtf32 behind that"
        raise BackendError(f"no GPU architecture is called {arch!r}", help=help) from None
