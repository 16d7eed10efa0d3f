"""Public: everything importable as ``torch.<name>`` that is about tensors, gathered from where it is defined."""

from __future__ import annotations

import math
import sys
import types as _types
from collections.abc import Callable
from typing import Any

from .. import backends  # loaded first, so that loading the driver later leaves torch.backends alone
from ..dialects import flags, types
from ..dialects.errors import OutOfMemoryError
from . import (  # noqa: F401  # noqa: F401  # importing enters their definitions
    arithmetic,
    autograd,
    calculus,
    complex_numbers,
    composites,
    control_flow,
    conversion,
    copies,
    creation,
    cuda,
    definitions,
    finding,
    foreach,
    grad_fn,
    grad_mode,
    indexing,
    joining,
    later,
    ldl,
    limits,
    linalg,
    linear_algebra,
    lowrank,
    lu,
    operators,
    overrides,
    printing,
    random,
    random_fills,
    random_tensors,
    recorder,
    reductions,
    segments,
    selection,
    sequences,
    settings,
    shaping,
    sharing,
    special_functions,
    spectrograms,
    stated_conditions,
    statistics,
    storages,
    strided,
    tensor_types,
    torch_library,
    traits,
    windows,
    writing,
)
from .dtype_arguments import dtype_given
from .quantization import fake_quantization, quantizing  # noqa: F401  # importing enters their definitions
from .quantization.dtypes import QUANTIZED, SCHEMES, qscheme
from .quantization.forms import with_quantized_forms
from .sparse.operations import with_sparse_forms
from .size import Size, device
from .tensor import Tensor
from .torch_backends import BACKENDS

_FUNCTIONS = with_quantized_forms(definitions.install())
_SPARSE_FORMS = with_sparse_forms(_FUNCTIONS)  # made once: a function is the same object under all its names
overrides.public_forms.update({_FUNCTIONS[name]: form for name, form in _SPARSE_FORMS.items() if name in _FUNCTIONS})

DTYPES: dict[str, Any] = {
    "float64": types.float64,
    "double": types.float64,
    "float32": types.float32,
    "float": types.float32,
    "float16": types.float16,
    "half": types.float16,
    "bfloat16": types.bfloat16,
    "int64": types.int64,
    "long": types.int64,
    "int32": types.int32,
    "int": types.int32,
    "int16": types.int16,
    "short": types.int16,
    "int8": types.int8,
    "uint8": types.uint8,
    "uint16": types.uint16,
    "uint32": types.uint32,
    "uint64": types.uint64,
    "bool": types.bool_,
    **{t.name: t for t in types.FLOAT8},
}

def vander(x: Tensor, N: int | None = None, increasing: bool = False) -> Tensor:  # noqa: N803  # PyTorch's name
    """Powers of the elements of a vector, falling unless ``increasing``."""
    if x.dim() != 1:
        raise RuntimeError("x must be a one-dimensional tensor.")
    count = x.shape[0] if N is None else N
    powers = sequences.arange(count, dtype=x.dtype if x.dtype.kind == "f" else types.int64, device=x.device)
    found = x.unsqueeze(-1) ** (powers if increasing else powers.flip(0))
    return found


def frobenius_norm(input: Tensor, dim: Any = (), keepdim: bool = False) -> Tensor:
    """The root of the sum of squares."""
    return linalg.vector_norm(input, 2, dim or None, keepdim)


def nuclear_norm(input: Tensor, dim: Any = (-2, -1), keepdim: bool = False) -> Tensor:
    """The sum of singular values."""
    return linalg.matrix_norm(input, "nuc", dim, keepdim)


def norm_except_dim(v: Tensor, pow: int = 2, dim: int = 0) -> Tensor:
    """The norm over every dimension but one, which stays (all of them for -1)."""
    if dim == -1:
        return v.norm(pow)
    return linalg.vector_norm(v, pow, [d for d in range(v.dim()) if d != dim % v.dim()], True)


def numel(input: Tensor) -> int:
    """Number of elements."""
    return input.numel()


def is_floating_point(input: Tensor) -> bool:
    """True for floating dtypes."""
    return input.is_floating_point()


def broadcast_shapes(*shapes: Any) -> Size:
    """The common shape."""
    from .promote import broadcast_shape

    return Size(broadcast_shape(*[(s,) if isinstance(s, int) else tuple(s) for s in shapes]))


def _assert(condition: Any, message: str) -> None:
    """AssertionError with this message unless the condition holds (a tensor's truth is looked at)."""
    found = () if isinstance(condition, Tensor) else overrides.asked((condition,))
    if found:
        overrides.answer(_assert, found, (condition, message), {})
    else:
        assert condition, message


def _assert_async(input: Tensor, assert_msg: str = "Expected Tensor with single nonzero value, but got zero") -> None:
    """RuntimeError with this message when the only element is zero (its value is looked at)."""
    if not bool(input):
        raise RuntimeError(assert_msg)


def can_cast(from_: types.DType, to: types.DType) -> bool:
    """Whether promotion rules let one dtype become another."""
    order = {"b": 0, "u": 1, "i": 1, "f": 2, "c": 3}
    return order[dtype_given(from_).kind] <= order[dtype_given(to).kind]


def promote_types(type1: types.DType, type2: types.DType) -> types.DType:
    """The dtype that values of both fit in."""
    return types.promote_types(dtype_given(type1), dtype_given(type2))


def result_type(a: Any, b: Any) -> types.DType:
    """The dtype an operation on both would have."""
    from .promote import result_type as combined

    both = (a, b)
    return combined(
        [t._node.type for t in both if isinstance(t, Tensor)], [t for t in both if not isinstance(t, Tensor)]
    )


def synchronize() -> None:
    """Compute everything that is pending."""
    recorder.flush()


def set_num_threads(int: int) -> None:
    """Threads of compiled programs from now on (results do not depend on it). BackendError below 1."""
    from ..backends import driver

    driver.set_num_threads(int)


def get_num_threads() -> int:
    """Threads of compiled programs."""
    return flags.threads.value


def names() -> dict[str, Any]:
    """Every public name with what it stands for."""
    found: dict[str, Any] = dict(_FUNCTIONS)
    found.update(_SPARSE_FORMS)
    found.update(creation.PUBLIC)
    found.update(sequences.PUBLIC)
    found.update(DTYPES)
    found.update(complex_numbers.DTYPES)
    found.update(QUANTIZED | SCHEMES, qscheme=qscheme)
    found.update(tensor_types.CPU)
    found.update(settings.PUBLIC)
    found.update({f.__name__: f for f in windows.ROOT})
    found.update({f.__name__: f for f in _OWN})
    found.update(
        Tensor=Tensor,
        Size=Size,
        device=device,
        dtype=types.DType,
        pi=math.pi,
        e=math.e,
        inf=math.inf,
        nan=math.nan,
        newaxis=None,
        layout=traits.layout,
        memory_format=traits.memory_format,
        strided=traits.strided,
        **{word.name: word for word in traits.SPARSE},
        contiguous_format=traits.contiguous_format,
        channels_last=traits.channels_last,
        channels_last_3d=traits.channels_last_3d,
        preserve_format=traits.preserve_format,
        backends=BACKENDS,
        ops=torch_library.OPS,
        PyTorchFileReader=later.PyTorchFileReader,
        SymInt=later.SymInt,
        **{name: kind for name, kind in later.SCRIPTING.items() if name.endswith("Type")},
        lobpcg=lowrank.lobpcg,
        legacy_contiguous_format=traits.contiguous_format,
        OutOfMemoryError=OutOfMemoryError,
        **control_flow.PUBLIC,
        **stated_conditions.PUBLIC,
        **foreach.PUBLIC,
    )
    return found


_OWN: tuple[Callable, ...] = (
    limits.finfo,
    limits.iinfo,
    sharing.frombuffer,
    sharing.from_dlpack,
    sharing.to_dlpack,
    vander,
    frobenius_norm,
    nuclear_norm,
    norm_except_dim,
    storages.is_storage,
    storages.UntypedStorage,
    storages.TypedStorage,
    cuda.Stream,  # a GPU is the only accelerator
    cuda.Event,
    traits.typename,
    strided.empty_permuted,
    numel,
    is_floating_point,
    broadcast_shapes,
    can_cast,
    _assert,
    _assert_async,
    synchronize,
    set_num_threads,
    get_num_threads,
    promote_types,
    result_type,
    autograd.no_grad,
    autograd.enable_grad,
    autograd.inference_mode,
    autograd.set_grad_enabled,
    autograd.is_grad_enabled,
    grad_mode.is_inference_mode_enabled,
    autograd.is_anomaly_check_nan_enabled,
    autograd.is_anomaly_enabled,
    autograd.set_detect_anomaly,
    printing.set_printoptions,
)
