"""What an interpreted kernel did that the PTX ISA does not allow, said with its line of PTX and of CUDA C++."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...dialects.errors import BackendError


class Fault(Exception):
    """Raised where it is seen; threads: whose doing it is (places in the machine's list of threads)."""

    def __init__(self, what: str, threads: Sequence[int] | np.ndarray = ()) -> None:
        super().__init__(what)
        self.what = what
        self.threads = np.asarray(threads, np.int64).reshape(-1)


class PtxError(BackendError):
    """A kernel that breaks a rule of PTX, or asks for what is not implemented."""
