"""view(dtype): memory seen as numbers of another dtype, shared, by PyTorch's rules; files as storages."""

from __future__ import annotations

from pathlib import Path

import lamina as ours
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

DTYPES = ("float32", "float64", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "complex64")
SHAPES = {
    "whole": lambda x: x,
    "t": lambda x: x.t(),
    "rows": lambda x: x[1:],
    "columns": lambda x: x[:, 2:6],
    "even": lambda x: x[:, ::2],
    "one": lambda x: x[1, 1],
    "odd": lambda x: x[:, 1:6],
    "computed": lambda x: x + 0,
}


@given(st.sampled_from((*DTYPES, "bool")), st.sampled_from(DTYPES), st.sampled_from(sorted(SHAPES)))
@settings(max_examples=120, deadline=None)
@pytest.mark.slow
def test_views_as_in_pytorch(before: str, after: str, shape: str) -> None:
    said = []
    for module in (ours, torch):
        x = SHAPES[shape](module.arange(24).view(3, 8).to(getattr(module, before)))
        try:
            seen = x.view(getattr(module, after))
            said.append((tuple(seen.shape), seen.stride(), str(seen.dtype), seen.contiguous().view(module.uint8).tolist() if seen.dim() else 0))
        except RuntimeError as error:
            said.append(str(error))
    assert said[0] == said[1]


@pytest.mark.parametrize("write", ["z[1] = 5", "x[1] = 1.5", "z += 1", "x.mul_(2)", "z[2:] = 16256; x[0] = 7; z[0] = 1", "z.view(torch.uint8)[3] = 64"])
def test_memory_is_shared(write: str) -> None:
    said = []
    for module in (ours, torch):
        x = module.arange(4.0)
        z = x.view(module.int16)
        exec(write, {"x": x, "z": z, "torch": module})
        said.append((x.tolist(), z.tolist()))
    assert said[0] == said[1]


def test_a_file_as_storage(tmp_path: Path) -> None:
    path = tmp_path / "bytes"
    path.write_bytes(np.arange(4, dtype=np.float32).tobytes())
    read = ours.UntypedStorage.from_file(str(path), shared=False, nbytes=16)
    part = ours.asarray(read[4:16], dtype=ours.uint8).view(ours.float32)
    assert part.tolist() == [1, 2, 3]
    part += 1
    assert part.tolist() == [2, 3, 4] and path.read_bytes() == np.arange(4, dtype=np.float32).tobytes()
    written = ours.asarray(ours.UntypedStorage.from_file(path, shared=True, nbytes=32), dtype=ours.uint8)
    written.view(ours.float32)[1] = 9.0
    assert np.fromfile(path, np.float32).tolist() == [0, 9, 2, 3, 0, 0, 0, 0]
    with pytest.raises(RuntimeError, match="unable to map 64 bytes"):
        ours.UntypedStorage.from_file(path, nbytes=64)
    with pytest.raises(RuntimeError, match="unable to map"):
        ours.UntypedStorage.from_file(tmp_path / "none", nbytes=4)
