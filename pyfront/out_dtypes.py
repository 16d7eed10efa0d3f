"""Out dtypes: which dtypes ``out=`` may have: the result's own, one the result may become, or any."""

from __future__ import annotations

from typing import Any

from ..dialects.types import DType, uint8
from .assignment import title
from .tensor import Tensor

_OWN = frozenset(
    "mm bmm mv dot vdot matmul addmm addmv baddbmm addbmm inner abs neg norm amax amin index_select gather take masked_select tril triu diag clamp "
    "where sign floor ceil round median cross conj_physical renorm frac heaviside softmax log_softmax inverse narrow_copy histc quantile nanquantile "
    "chain_matmul tensordot nan_to_num trunc fix take_along_dim scatter scatter_add index_add index_copy logcumsumexp any all signbit isposinf "
    "isneginf isin bucketize searchsorted argmax argmin nonzero multinomial polar complex float_power".split()
)
"""Functions that write the dtype they compute in, and no other."""

_COMPUTED_IN = frozenset("sum prod cumsum cumprod".split())
"""Functions that compute in the dtype of ``out``, whatever it is."""

_DRAWN = frozenset("bernoulli randint randperm".split())
_JOINED = frozenset("cat concat concatenate stack hstack vstack dstack column_stack row_stack".split())

_ORDER = {"b": 0, "u": 1, "i": 1, "f": 2, "c": 3}
_NAMES = {
    "float32": "float", "float64": "double", "float16": "c10::Half", "bfloat16": "c10::BFloat16", "complex64": "c10::complex<float>",
    "complex128": "c10::complex<double>", "int64": "long int", "int32": "int", "int16": "short int", "int8": "signed char", "uint8": "unsigned char",
}  # fmt: skip


def check_own(out: DType, result: DType) -> None:
    """RuntimeError unless both are the same."""
    if out is not result:
        names = [_NAMES.get(t.name, t.name) for t in (result, out)]
        raise RuntimeError(f"Expected out tensor to have dtype {names[0]}, but got {names[1]} instead")


def options_for(name: str, out: Any, options: dict[str, Any]) -> dict[str, Any]:
    """A call's options: with the dtype of ``out`` where that is what is computed in."""
    return {"dtype": out.dtype, **options} if name in _COMPUTED_IN and isinstance(out, Tensor) else options


def check(name: str, out: Any, result: Any) -> None:
    """RuntimeError where the function of a name does not write its result into a tensor of that dtype."""
    if not isinstance(out, Tensor) or not isinstance(result, Tensor) or out.dtype is result.dtype or name in _DRAWN:
        return
    if name in _OWN:
        if name not in ("any", "all") or out.dtype is not uint8:
            check_own(out.dtype, result.dtype)
    elif _ORDER.get(result.dtype.kind, 0) > _ORDER.get(out.dtype.kind, 3):
        if name in _JOINED:
            raise TypeError(f"torch.cat(): input types can't be cast to the desired output type {title(out.dtype)}")
        raise RuntimeError(f"result type {title(result.dtype)} can't be cast to the desired output type {title(out.dtype)}")
