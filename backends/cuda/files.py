"""Ahead of time for NVIDIA GPUs: a program's .cu, .ptx, .cubin, launch table, weights and a C host program."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ...dialects.errors import FileError
from ...dialects.graph import Graph
from ..ahead_of_time import fit_weights, pack_weights
from .host import host_source
from .program import CudaProgram, build

TABLE_VERSION = 1


def write_cuda(
    graph: Graph, weights: Mapping[int, np.ndarray], names: Sequence[str | None] | None, directory: str | Path, *,
    arch: str, prefix: str = "model", updates: Sequence[int] = (), dump: str | Path | None = None,
) -> list[Path]:  # fmt: skip
    """Write a program for an architecture ("sm_90a") into a folder and return the files' paths.

    ``.cu`` is the source, ``.ptx`` what there is to read, ``.cubin`` what is loaded, ``.launches.json`` the launch table with
    every kernel's registers and spills, ``.weights`` the bound inputs (raw, checksummed), ``_host.c`` a program over the CUDA
    driver API that runs it on raw files. updates: weights the last results are the new contents of: the host program writes them into the
    weights file. BackendError without NVRTC, FileError if the folder cannot be written.
    """
    program = build(graph, arch, dump)
    fit_weights(graph, weights)
    blob, offsets = pack_weights(weights)
    labels = list(names or graph.names)
    state = dict(enumerate(updates, len(graph.outputs) - len(updates)))
    table = json.dumps(table_json(program, offsets, labels, state), indent=1) + "\n"
    files = {
        f"{prefix}.cu": program.source.text.encode(),
        f"{prefix}.ptx": program.compiled.ptx.encode(),
        f"{prefix}.cubin": program.compiled.cubin,
        f"{prefix}.launches.json": table.encode(),
        f"{prefix}.weights": blob,
        f"{prefix}_host.c": host_source(program.source.table, offsets, len(blob), prefix, state).encode(),
    }
    return write_files(Path(directory), files)


def write_files(folder: Path, files: Mapping[str, bytes]) -> list[Path]:
    """Write every file under another name, then rename them all. FileError where the folder refuses."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".making-", dir=folder) as draft:
            for name, data in files.items():
                (Path(draft) / name).write_bytes(data)
            for name in files:
                os.replace(Path(draft) / name, folder / name)
    except OSError as error:
        raise FileError(f"cannot write into {folder}: {error.strerror or error}", help="choose another folder") from error
    return [folder / name for name in files]


def table_json(program: CudaProgram, offsets: Mapping[int, int], names: Sequence[str | None], state: Mapping[int, int] | None = None) -> dict[str, Any]:
    """The launch table for other hosts: arrays, launches, and ptxas's report per kernel. state: outputs that are the new contents of inputs."""
    table = program.source.table
    buffers = []
    for k, buffer in enumerate(table.buffers):
        entry: dict[str, Any] = asdict(buffer)
        if buffer.kind == "input":
            entry["name"] = names[k]
        if k in offsets:
            entry["weights_offset"] = offsets[k]
        buffers.append(entry)
    return {
        "version": TABLE_VERSION,
        "arch": program.compiled.arch,
        "buffers": buffers,
        "donated": [list(pair) for pair in table.donated],
        "state": [list(pair) for pair in (state or {}).items()],
        "kernels": [asdict(usage) for usage in sorted(program.compiled.usage, key=lambda u: u.kernel)],
        "launches": [asdict(launch) for launch in table.launches],
    }
