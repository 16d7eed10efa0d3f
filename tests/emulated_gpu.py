"""The GPU whose kernels run on emulated threads, for one test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from lamina.dialects import flags
from lamina.pyfront import placement, recorder


@pytest.fixture
def gpu() -> Iterator[None]:
    """LAMINA_CUDA=emulated; afterwards there is one device again."""
    with flags.cuda("emulated"):
        yield
    recorder.flush()
    placement.forget()
