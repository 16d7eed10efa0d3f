"""Tensor: a Storage seen through a chain of views: what it holds and what it is.

Methods of operations (``add``, ``sum``, ``view``, …) are put on the class by ``definitions.install``.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from numbers import Number
from operator import attrgetter, index
from typing import Any

import numpy as np

from ..dialects.types import DType, Type, size_of
from . import recorder, views
from .node import Node
from .size import CPU, Size, device
from .storage import Storage
from .views import NO_GRAD, Chain, Detached, LeafMark


class Tensor:
    """A multi-dimensional array of one dtype, with PyTorch's meaning.

    Fields of the class: _storage and _chain say where the values are; _node is the value last read, valid
    while _seen equals the storage's version.
    """

    __slots__ = ("_storage", "_chain", "_node", "_seen", "__dict__", "__weakref__")

    # What few tensors have lives in the instance dictionary.
    _grad: Tensor | Node | None = None  # a Node: see leaves.py
    _label: str | None = None  # the public function that made it, for grad_fn
    _hooks: dict[int, Callable] | None = None
    _post_hooks: dict[int, Callable] | None = None  # called after a gradient was accumulated
    _mark: LeafMark | None = None  # this tensor's own link in its chain when it is a leaf that requires grad
    _told: Node | None = None  # what told its type when it was last written and not read since
    _takes_data = False  # a program's class: made of what Tensor is made of
    _several = False  # one of the views that split(), chunk() or unbind() made at once
    _owns = False  # no view to autograd: a parameter, or what became another view of its own memory in place (t_(), resize_())
    name: str | None = None
    grad_fn_metadata = None
    is_sparse = is_quantized = is_mkldnn = is_nested = False
    layout: object
    __array_priority__ = 1000

    def __new__(cls, *args: Any, **options: Any) -> Tensor:
        """``Tensor(2, 3)`` (uninitialised), ``Tensor([1, 2])``: the legacy constructor; prefer
        ``torch.tensor``."""
        from .creation import legacy_constructor

        if cls is Tensor:
            return legacy_constructor(*args, **options)
        if args and cls._takes_data:
            return legacy_constructor(*args, **options).as_subclass(cls)  # type: ignore[attr-defined]  # a definition
        return object.__new__(cls)

    # -- reading
    # --------------------------------------------------------------------------------------------------

    def _read(self) -> Node:
        """The Node of the values now."""
        storage = self._storage
        if self._seen == storage.version:
            return self._node
        if storage.host is None:
            chain = self._chain
            if not chain:
                self._node, self._seen = storage.node, storage.version
                return storage.node
            if storage.views is None and len(chain) == 1 and type(chain[0]) is LeafMark:  # a parameter after an optimizer's step
                node = self._node = views.boundary(storage.node, chain[0])
                storage.views = {chain: node}
                self._seen = storage.version
                return node
        node = views.read(storage, self._chain)
        # A view read under no_grad is untracked for now only: the next read outside must find its history.
        if storage.host is None and (recorder.state.grad or node.requires_grad or not self._chain):
            self._node = node
            self._seen = storage.version
        return node

    def _forget(self) -> None:
        """Refer no more to what was read last, after a write: the new values may be made in its memory."""
        storage = self._storage
        if not self._chain and storage.host is None:
            self._node, self._seen = storage.node, storage.version
            return
        node, told = self._node, self._told
        if told is None or told.requires_grad is not node.requires_grad or told.type != node.type:
            told = self._told = _placeholder(node.type, node.requires_grad)
        self._node, self._seen = told, -1

    def _value(self) -> np.ndarray:
        """The values as a numpy array, computed now if need be. Not to be written, not shared."""
        state, storage = recorder.state, self._storage
        if state.watch is not None:
            state.watch.looked = True
        if storage.host is None:
            if self._seen == storage.version and type(array := self._node.value) is np.ndarray:  # a view of data that was read already
                state.asked += 1
                return array
            array = storage.node.value
            if type(array) is np.ndarray:  # `value`, without the call
                state.asked += 1
            else:
                array = recorder.value(storage.node)
        else:
            array = storage.host if storage.is_shared() else recorder.value(storage.node)
        return views.host_view(array, self._chain) if self._chain else array

    @property
    def _type(self) -> Type:
        return self._node.type

    def _through(self, *links: views.Link) -> Tensor:
        """A view of this tensor's memory through more links. Also one through none is a value of its own to autograd."""
        if not links and self._node.requires_grad and recorder.state.grad:
            links = (views.RENAMED,)
        storage, chain = self._storage, self._extended(links)
        made = from_storage(storage, chain)
        if made._node.requires_grad and links:
            owners = storage.owners
            if owners is None:
                storage.owners = {chain: _weakly(made)}
            elif chain not in owners and len(owners) < _MOST_OWNERS:
                owners[chain] = _weakly(made)
            elif (own := views.own_chain(storage, chain, len(self._chain), len(links), made)) is not None:
                return from_storage(storage, own)
        return made

    def _extended(self, links: Chain) -> Chain:
        """The chain of a view of this tensor."""
        if not recorder.state.grad and self._node.requires_grad:
            links = (NO_GRAD, *links)  # a view made under no_grad has no history, also when it is read later
        if not self._chain:
            return links
        # With history every view is a value of its own, which gradients may be taken by: its link becomes one with none behind it,
        # unless views of its kind follow each other without end.
        if self._node.requires_grad and not views.is_run(self._chain):
            return (*self._chain, *links)
        return views.extended(self._chain, links)

    def _part(self, links: Chain, shape: tuple[int, ...]) -> Tensor:
        """A view of this tensor that is to be written, and not read before. shape: the view's."""
        return unread(self._storage, self._extended(links), (shape, self._node.type[1]), self._node.requires_grad)

    # -- what it is
    # -----------------------------------------------------------------------------------------------

    @property
    def shape(self) -> Size:
        return Size(self._node.type[0])

    def size(self, dim: int | None = None) -> Size | int:
        """All sizes, or that of one dimension."""
        shape = self._node.type[0]
        return Size(shape) if dim is None else shape[dimension(dim, len(shape))]

    @property
    def dtype(self) -> DType:
        return self._node.type[1]

    @property
    def ndim(self) -> int:
        return len(self._node.type[0])

    def dim(self) -> int:
        """Number of dimensions."""
        return len(self._node.type[0])

    ndimension = dim

    def numel(self) -> int:
        """Number of elements."""
        return size_of(self._node.type[0])

    nelement = numel

    def element_size(self) -> int:
        """Bytes per element."""
        return self._node.type[1].itemsize

    @property
    def itemsize(self) -> int:
        return self._node.type[1].itemsize

    @property
    def nbytes(self) -> int:
        return self.numel() * self.itemsize

    @property
    def device(self) -> device:
        placement = recorder.state.placement
        if placement is None or self._storage.host is not None:
            return CPU
        return placement.device_of(self._storage.node) or CPU

    @property
    def is_cuda(self) -> bool:
        return self.device.type == "cuda"

    @property
    def is_meta(self) -> bool:
        return self.device.type == "meta"

    def get_device(self) -> int:
        """The number of the GPU; -1 for the CPU."""
        return 0 if self.is_cuda else -1

    def is_floating_point(self) -> bool:
        """True for float64, float32, float16, bfloat16."""
        return self.dtype.is_floating_point

    def is_complex(self) -> bool:
        """True for complex64 and complex128."""
        return self.dtype.is_complex

    def __len__(self) -> int:
        shape = self._node.type[0]
        if not shape:
            raise TypeError("len() of a 0-d tensor")
        return shape[0]

    def __hash__(self) -> int:
        return id(self)

    # -- memory
    # ---------------------------------------------------------------------------------------------------

    def stride(self, dim: int | None = None) -> tuple[int, ...] | int:
        """Steps in elements between neighbours, per dimension."""
        strides = views.layout(self._storage, self._chain)[1]
        return strides if dim is None else strides[dimension(dim, len(strides))]

    def storage_offset(self) -> int:
        """Position of the first element in the storage."""
        return views.layout(self._storage, self._chain)[2]

    def is_contiguous(self, memory_format: object = None) -> bool:
        """True when the elements lie in row-major order without gaps."""
        shape, strides, _ = views.layout(self._storage, self._chain)
        if 0 in shape:
            return True
        expected = 1
        for n, s in zip(reversed(shape), reversed(strides), strict=True):
            if n != 1:
                if s != expected:
                    return False
                expected *= n
        return True

    def data_ptr(self) -> int:
        """The address of the first element; computes the contents."""
        if self.is_meta:
            return 0
        if self.is_cuda:
            assert recorder.state.placement is not None
            return recorder.state.placement.array_of(self._storage).address + self.storage_offset() * self.itemsize
        return self._storage.address() + self.storage_offset() * self.itemsize

    @property
    def _version(self) -> int:
        if self._storage.inference:
            raise RuntimeError("Inference tensors do not track version counter.")
        return self._storage.version

    def is_set_to(self, other: Tensor) -> bool:
        """True when both see the same memory the same way."""
        return self._storage is other._storage and (
            views.layout(self._storage, self._chain) == views.layout(other._storage, other._chain)
        )

    def is_shared(self) -> bool:
        """False: memory shared between processes is not used."""
        return False

    def share_memory_(self) -> Tensor:
        """Nothing to do on one process."""
        return self

    def is_pinned(self, device: object = None) -> bool:
        """Whether `pin_memory` gave it, or what it is a view of."""
        return self._storage in _pinned

    def record_stream(self, s: object) -> None:
        """Nothing to note: everything launched on a GPU runs in one order."""

    def pin_memory(self, device: object = None) -> Tensor:
        """A copy to be sent to the GPU, or the tensor itself where there is none (what is sent goes by way of pinned memory in any case).
        RuntimeError for a tensor that is not the host's."""
        from ..backends import driver

        if self.device.type != "cpu":
            raise RuntimeError(f"cannot pin '{self.type()}' only dense CPU tensors can be pinned")
        if self.is_pinned() or not driver.has_accelerator():
            return self
        made = self.clone()
        _pinned.add(made._storage)
        return made

    # -- values in Python
    # -----------------------------------------------------------------------------------------

    def numpy(self, *, force: bool = False) -> np.ndarray:
        """The values as numpy array. Memory is shared both ways."""
        if self.requires_grad and not force:
            raise RuntimeError(
                "Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead."
            )
        if self.device.type != "cpu":
            if force:
                return np.array(self._value())
            raise TypeError(
                f"can't convert {self.device} device type tensor to numpy. Use Tensor.cpu() to copy the tensor to host memory "
                "first."
            )
        if recorder.state.levels:
            recorder.batches().refuse_memory(self._read())
        storage = self._storage
        return views.host_view(storage.share(), self._chain)

    def item(self) -> bool | int | float | complex:
        """The only element as a Python number. RuntimeError when there are several."""
        shape = self._node.type[0]
        if shape and size_of(shape) != 1:
            raise RuntimeError(f"a Tensor with {self.numel()} elements cannot be converted to Scalar")
        try:
            return self._value().item()
        except NotImplementedError:
            if self.is_meta:
                raise RuntimeError("Tensor.item() cannot be called on meta tensors") from None
            raise

    def tolist(self) -> Any:
        """Nested lists of Python numbers."""
        if recorder.state.levels:
            recorder.batches().refuse_memory(self._read())
        return self._value().tolist()

    def __bool__(self) -> bool:
        n = size_of(self._node.type[0])
        if n == 1:
            if recorder.state.levels:
                recorder.batches().refuse_control_flow(self._read())
            return bool(self.item())
        if n == 0:
            raise RuntimeError("Boolean value of Tensor with no values is ambiguous")
        raise RuntimeError("Boolean value of Tensor with more than one value is ambiguous")

    def _number(self) -> bool | int | float | complex:
        if size_of(self._node.type[0]) != 1:
            raise ValueError("only one element tensors can be converted to Python scalars")
        return self.item()

    def __float__(self) -> float:
        return float(self._real_number("double"))

    def __int__(self) -> int:
        return int(self._real_number("int64_t"))

    def _real_number(self, to: str) -> bool | int | float:
        value = self._number()
        if isinstance(value, complex):
            if value.imag:
                raise RuntimeError(f"value cannot be converted to type {to} without overflow")
            return value.real
        return value

    def __index__(self) -> int:
        if self.dtype.has_gradient or self.numel() != 1:
            raise TypeError("only integer tensors of a single element can be converted to an index")
        return int(self.item())

    def __complex__(self) -> complex:
        return complex(self.item())

    def __iter__(self) -> Iterator[Tensor]:
        if not self._node.type[0]:
            raise TypeError("iteration over a 0-d tensor")
        return iter(self.unbind(0))

    def __contains__(self, element: object) -> bool:
        if not isinstance(element, (Tensor, Number)):
            raise RuntimeError(f"Tensor.__contains__ only supports Tensor or scalar, but you passed in a {type(element)}.")
        return bool((element == self).any())

    def __repr__(self, *, tensor_contents: object = None) -> str:
        from .printing import show

        return show(self)

    def __format__(self, spec: str) -> str:
        if self.ndim == 0 and type(self) is Tensor:
            return self.item().__format__(spec)
        return object.__format__(self, spec)

    @staticmethod
    def _make_subclass(cls: type, data: Tensor, require_grad: bool = False) -> Any:
        """A ``cls`` (Parameter, Buffer) over the memory of ``data``, without its history."""
        made = object.__new__(cls)
        chain = data._chain
        if data.requires_grad:
            chain = (*chain, Detached())
        elif chain:  # a leaf from here on: what it was a leaf of, and what detached it, do not matter any more
            marks = (Detached, LeafMark)
            bare = tuple([link for link in chain if type(link) not in marks or getattr(link, "node", None) is not None])
            _fill(made, data._storage, bare)
            chain = chain if made.requires_grad else bare  # the memory itself may have a history
        _fill(made, data._storage, chain)
        if require_grad:
            made.requires_grad_()
        if chain:
            made._owns = True  # over whatever part of a memory, it is no view to autograd
        return made

    # -- moving
    # ---------------------------------------------------------------------------------------------------

    def cpu(self, memory_format: object = None) -> Tensor:
        """On the CPU: the tensor itself, or a copy."""
        return self.to(CPU)

    def cuda(self, device: object = None, non_blocking: bool = False, memory_format: object = None) -> Tensor:
        """On the GPU: the tensor itself, or a copy. NoDeviceError where there is none."""
        return self.to(device if device is not None else "cuda", non_blocking=non_blocking)


_placeholders: dict[tuple[Type, bool], Node] = {}  # Nodes that only tell a type


def _placeholder(type: Type, requires_grad: bool) -> Node:
    key = type, requires_grad
    told = _placeholders.get(key)
    if told is None:
        told = _placeholders[key] = Node(None, (), (), type, "", requires_grad, 0)
    return told


def _fill(tensor: Tensor, storage: Storage, chain: Chain) -> None:
    tensor._storage = storage
    tensor._chain = chain
    if storage.host is None:
        tensor._node = views.read(storage, chain)
        tensor._seen = storage.version
    else:  # numpy sees the memory too: every read takes a snapshot, and this Node only tells the type
        whole = storage.type
        type = whole if not chain else (views.layout(storage, chain)[0], views.dtype_through(whole[1], chain))
        tensor._node = _placeholder(type, views.is_tracked(storage, chain))
        tensor._seen = -1


def unread(storage: Storage, chain: Chain, type: Type, requires_grad: bool) -> Tensor:
    """A Tensor that sees ``storage`` through ``chain`` and was not read yet; what it is, the caller knows."""
    tensor = _new(Tensor)
    tensor._storage, tensor._chain, tensor._seen = storage, chain, -1
    tensor._node = _placeholder(type, requires_grad)
    return tensor


def from_storage(storage: Storage, chain: Chain) -> Tensor:
    """A Tensor that sees ``storage`` through ``chain``."""
    tensor = _new(Tensor)
    _fill(tensor, storage, chain)
    return tensor


_new = object.__new__
_weakly = weakref.ref
_pinned: weakref.WeakSet[Storage] = weakref.WeakSet()
_MOST_OWNERS = 256  # views of one memory that are remembered with the tensor they are of


def wrap(node: Node) -> Tensor:
    """A fresh Tensor whose memory holds ``node``."""
    tensor = _new(Tensor)
    tensor._storage = Storage(node)
    tensor._chain = ()
    tensor._node = node
    tensor._seen = 0
    return tensor


whereabouts = attrgetter("_storage", "_chain", "_storage.version")
"""Which view of which memory a tensor is, and how often that was written."""


def nodes_of(tensors: list[Tensor]) -> list[Node]:
    """What each of some tensors holds now. Asked for as `recorder.state.nodes_of`."""
    return [t._node if t._seen == t._storage.version else t._read() for t in tensors]


recorder.state.nodes_of = nodes_of


def holding(array: np.ndarray, type: Type, where: str | None) -> Tensor:
    """A fresh Tensor of an array the host has, which must not change afterwards. where: the user's line, None for the running one. Asked for as
    `recorder.state.holding`.
    """
    return wrap(recorder.leaf(array, type, where))


recorder.state.holding = holding


def dimension(dim: int, rank: int) -> int:
    """``dim`` counted from the front. IndexError as PyTorch words it."""
    if type(dim) is not int:  # one of numpy's
        dim = index(dim)
    bound = rank or 1
    if not -bound <= dim < bound:
        raise IndexError(
            f"Dimension out of range (expected to be in range of [{-bound}, {bound - 1}], but got {dim})"
        )
    return dim + bound if dim < 0 else dim
