"""The op book: `OPS["tanh"]` is all there is to know about tanh (docs/architecture.md, section 3)."""

from .batching import Batched, Batching
from .expr import Build, Call, Expr, Name, Number
from .library import OPS, Book
from .numerics import NumpyBuild
from .readings import Contraction, Fold, accumulator
from .stanza import Param, Stanza

__all__ = [
    "OPS", "Batched", "Batching", "Book", "Build", "Call", "Contraction", "Expr", "Fold", "Name", "Number", "NumpyBuild",
    "Param", "Stanza", "accumulator",
]  # fmt: skip
