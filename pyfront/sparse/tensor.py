"""What sparse tensors of all layouts share: they are tensors to programs, and refuse what is about dense memory."""

from __future__ import annotations

from typing import Any, NoReturn

from ...dialects.errors import UnsupportedError
from ...dialects.types import DType, int64
from ..origin import origin, source_line
from ..overrides import disabled
from ..promote import Defaults
from ..size import Size, device
from ..tensor import Tensor


class SparseError(UnsupportedError):
    """An operation that sparse tensors do not have."""


class Sparse(Tensor):
    """Fields: _held, a dense tensor [nnz, ...] with its history; _shape."""

    __slots__ = ("_held", "_shape")
    __torch_function__ = classmethod(disabled)
    _is_bare = True  # printed as a tensor
    is_cuda = property(lambda self: self._held.is_cuda)

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise SparseError(
            f"this operation is not there for sparse tensors (layout {self.layout})", at=source_line(origin()), help="call to_dense() first",
        )  # fmt: skip

    _node = _storage = _chain = _seen = property(_refuse)  # type: ignore[assignment]
    _read = _value = _through = _forget = _refuse  # type: ignore[assignment]

    def _with(self, values: Tensor) -> Sparse:
        """Other values at the same places."""
        raise NotImplementedError

    # -- what it is

    @property
    def shape(self) -> Size:
        return Size(self._shape)

    def size(self, dim: int | None = None) -> Any:
        """All sizes, or that of one dimension."""
        return self.shape if dim is None else self._shape[dim]

    @property
    def dtype(self) -> DType:
        return self._held.dtype

    @property
    def ndim(self) -> int:
        return len(self._shape)

    def dim(self) -> int:
        """Number of dimensions."""
        return len(self._shape)

    def numel(self) -> int:
        """Number of elements, kept or not."""
        return self.shape.numel()

    @property
    def device(self) -> device:
        return self._held.device

    def is_floating_point(self) -> bool:
        """As for its values."""
        return self._held.is_floating_point()

    def __len__(self) -> int:
        return self._shape[0]

    def _nnz(self) -> int:
        return self._held.shape[0]

    # -- history

    @property
    def requires_grad(self) -> bool:
        return self._held.requires_grad

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        self._held.requires_grad = value

    def requires_grad_(self, requires_grad: bool = True) -> Sparse:
        """Collect gradients of the values."""
        self._held.requires_grad_(requires_grad)
        return self

    @property
    def is_leaf(self) -> bool:
        return self._held.is_leaf

    @property
    def grad(self) -> Any:
        """The gradient at the places that are kept, as a sparse tensor."""
        found = self._held.grad
        return None if found is None else self._with(found)

    grad_fn = property(lambda self: self._held.grad_fn)

    def detach(self) -> Sparse:
        """Without history."""
        return self._with(self._held.detach())

    def clone(self, memory_format: object = None) -> Sparse:
        """In memory of its own."""
        return self._with(self._held.clone())

    # -- element by element, where 0 stays 0

    def to(self, *args: Any, **options: Any) -> Sparse:
        """Another dtype or device."""
        return self._with(self._held.to(*args, **options))

    def float(self) -> Sparse:
        """As float32."""
        return self._with(self._held.float())

    def double(self) -> Sparse:
        """As float64."""
        return self._with(self._held.double())

    def __neg__(self) -> Sparse:
        return self._with(-self._held)

    neg = __neg__

    def __truediv__(self, other: Any) -> Sparse:
        return self._with(self._held / other) if not isinstance(other, Tensor) or not other.dim() else self._refuse()

    div = __truediv__

    def abs(self) -> Sparse:
        """Magnitudes."""
        return self._with(self._held.abs())

    def sqrt(self) -> Sparse:
        """Roots."""
        return self._with(self._held.sqrt())

    def pow(self, exponent: Any) -> Sparse:
        """Powers."""
        return self._with(self._held.pow(exponent))

    __pow__ = pow

    # -- what only dense tensors have

    def numpy(self, *, force: bool = False) -> NoReturn:
        """TypeError."""
        raise TypeError(f"can't convert {'Sparse' if self.is_sparse else 'SparseCsr'} layout tensor to numpy. Use Tensor.to_dense() first.")

    def tolist(self) -> Any:
        """Of the dense tensor."""
        return self.to_dense().tolist()

    def __repr__(self, *, tensor_contents: object = None) -> str:
        more = [f"size={tuple(self._shape)}", f"nnz={self._nnz()}"]
        more += [] if self.dtype in (Defaults.dtype, int64) else [f"dtype={self.dtype}"]
        more.append(f"layout={self.layout}")
        if self.requires_grad:
            more.append("requires_grad=True" if self.is_leaf else f"grad_fn=<{type(self.grad_fn).__name__}>")
        return _continued(f"tensor({self._fields()}", more, self.is_sparse)

    def _fields(self) -> str:
        """The parts, one below the other."""
        raise NotImplementedError


def _continued(text: str, more: list[str], on_a_new_line: bool) -> str:
    """What else there is to say, behind the text while the line has room (PyTorch's lines have 80 characters)."""
    at = len(text) - text.rfind("\n") + 1
    for part in more:
        if on_a_new_line or at + len(part) + 2 > 80:
            text, at, on_a_new_line = f"{text},\n       {part}", 7 + len(part), False
        else:
            text, at = f"{text}, {part}", at + len(part) + 2
    return text + ")"


def field(name: str, tensor: Tensor, before: str = "       ") -> str:
    """One tensor inside of the text of another, its lines below each other."""
    text = repr(tensor.detach())
    if tensor.numel():
        text = text[: text.rindex(")")].split(", dtype=")[0] + ")"
    return f"{name}=" + text.replace("\n", "\n" + " " * (len(before) + len(name) + 1))
