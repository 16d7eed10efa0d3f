"""torch.sparse: tensors of which only some elements are kept, and what is computed with them."""

from .operations import addmm, log_softmax, mm, softmax, sum
from .coordinates import SparseTensor
from .rows import SparseRows

__all__ = ["SparseRows", "SparseTensor", "addmm", "log_softmax", "mm", "softmax", "sum"]
