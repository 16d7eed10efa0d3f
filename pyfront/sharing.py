"""Sharing: memory exchanged with numpy, DLPack and buffers; tensors copied and pickled so that what shared memory still does."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..dialects.types import DType, dtype_of
from . import placement, recorder
from .creation import from_numpy, of_array, on
from .cuda import synchronize
from .device_capsules import CPU_KIND, GPU_KIND, IS_COPY, MANAGED_KIND, READ_ONLY, Taken, lend
from .storage import Storage
from .tensor import Tensor, from_storage, wrap
from .views import Mark

# -- numpy's protocols ---------------------------------------------------------------------------------------


def __array__(self: Tensor, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
    """The values as numpy asks for them: shared unless a copy or another dtype is wanted."""
    array = self.numpy()
    if dtype is not None and np.dtype(dtype) != array.dtype:
        if copy is False:
            raise ValueError("Unable to avoid copy while creating an array as requested.")
        return array.astype(dtype)
    return array.copy() if copy else array


def __array_wrap__(self: Tensor, array: np.ndarray, context: Any = None, return_scalar: bool = False) -> Tensor:
    """numpy functions of tensors give tensors (truth values as uint8, as in PyTorch)."""
    array = np.asarray(array)
    return from_numpy(array.astype(np.uint8) if array.dtype == np.bool_ else array)


# -- DLPack --------------------------------------------------------------------------------------------------


def __dlpack__(self: Tensor, **options: Any) -> Any:
    """A capsule of this tensor's memory. BufferError for tensors that require grad."""
    if self.requires_grad:
        raise BufferError("Can't export tensors that require gradient, use tensor.detach()")
    if self.is_cuda:
        return _lent(self, **options)
    return self.numpy().__dlpack__(**{k: v for k, v in options.items() if v is not None})


def _lent(self: Tensor, *, stream: Any = None, max_version: Any = None, dl_device: Any = None, copy: bool | None = None) -> Any:
    """A capsule of memory on the GPU, which all that was launched has filled, whatever stream asks; to be read only where it is no copy."""
    if dl_device is not None and tuple(dl_device) == (CPU_KIND, 0):
        return self.cpu().__dlpack__(max_version=max_version)
    if dl_device is not None and tuple(dl_device) != (GPU_KIND, 0):
        raise BufferError(f"this tensor is on device {(GPU_KIND, 0)}, and cannot be exported to {tuple(dl_device)}")
    if self.is_sparse:
        raise BufferError("Can't export tensors with layout other than torch.strided")
    given = self.clone() if copy else self
    address = given.data_ptr()
    synchronize()
    held = given._storage.node.value  # its memory is nobody else's as long as somebody has this
    return lend(
        address if given.numel() else 0, tuple(given.shape), tuple(given.stride()), given.dtype, held, IS_COPY if copy else READ_ONLY,
        max_version is not None and tuple(max_version) >= (1, 0),
    )  # fmt: skip


def _taken(capsule: Taken) -> Tensor:
    """A copy of another library's memory on the GPU: the elements between its first and last one, seen as it sees them."""
    shape, strides, dtype = capsule.shape, capsule.strides, capsule.dtype
    if any([step < 0 for step in strides]):
        raise BufferError(f"a tensor has no negative strides, got {strides}")
    count = 1 + sum([(n - 1) * step for n, step in zip(shape, strides, strict=True)]) if min(shape, default=1) else 0
    whole = placement.copied_from(capsule.address, count, dtype)
    synchronize()  # the other library may write to it from here on
    capsule.close()
    return whole.as_strided(shape, strides)


def __dlpack_device__(self: Tensor) -> tuple[Any, int]:
    """Kind and number of the device the memory is on."""
    if self.is_cuda:
        return GPU_KIND, 0
    return self.detach().numpy().__dlpack_device__()


class _Capsule:
    """A bare capsule of the host's memory, dressed as what numpy takes."""

    def __init__(self, capsule: Any) -> None:
        self.capsule = capsule

    def __dlpack__(self, **_: Any) -> Any:
        return self.capsule

    def __dlpack_device__(self) -> tuple[int, int]:
        return 1, 0


class _Writable:
    """An array of memory that numpy takes for read-only, since the capsule is older than the flag."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array
        self.__array_interface__ = {**array.__array_interface__, "data": (array.ctypes.data, False)}


def _at(tensor: Tensor, device: Any) -> Tensor:
    """Memory on a GPU stays there unless another device is asked for."""
    return tensor if device is None else on(tensor, device)


def from_dlpack(ext_tensor: Any, *, device: Any = None, copy: bool | None = None) -> Tensor:
    """A tensor on the memory of another library's array (anything with ``__dlpack__``, or a capsule); of one on a GPU a copy there."""
    is_capsule = not hasattr(ext_tensor, "__dlpack__")
    if isinstance(ext_tensor, Tensor) and ext_tensor.is_cuda:
        return _at(ext_tensor.detach().clone() if copy else ext_tensor.detach(), device)
    if not is_capsule and int(ext_tensor.__dlpack_device__()[0]) in (GPU_KIND, MANAGED_KIND):
        return _at(_taken(Taken(ext_tensor.__dlpack__())), device)
    if is_capsule and (there := Taken(ext_tensor)).is_on_gpu:
        return _at(_taken(there), device)
    if hasattr(ext_tensor, "__dlpack__"):
        array = np.from_dlpack(ext_tensor)
    else:
        array = np.asarray(_Writable(np.from_dlpack(_Capsule(ext_tensor))))
    return on(from_numpy(array.copy() if copy or not array.flags.writeable else array), device)


def to_dlpack(tensor: Tensor) -> Any:
    """A capsule of a tensor's memory."""
    return __dlpack__(tensor)


# -- GPUs ----------------------------------------------------------------------------------------------------


def cuda_array_interface(self: Tensor) -> dict[str, Any]:
    """Where the elements lie on the GPU, as CuPy, Numba and others take it (version 2 of Numba's protocol). To be read only: memory may be shared
    among tensors. It stays as long as this tensor does; what is written to the tensor is elsewhere, so ask again then.

    AttributeError for a tensor that is not on a GPU, RuntimeError for one that requires grad.
    """
    if not self.is_cuda or self.is_sparse:
        raise AttributeError(
            f"Can't get __cuda_array_interface__ on non-CUDA tensor type: {self.type()} If CUDA data is required use tensor.cuda() to copy tensor "
            "to device memory."
        )
    if self.requires_grad:
        raise RuntimeError(
            "Can't get __cuda_array_interface__ on Variable that requires grad. If gradients aren't required, use var.detach() to get Variable "
            "that doesn't require grad."
        )
    address = self.data_ptr()
    self.__dict__["_lent"] = self._storage.node.value  # the pool gets it back with the tensor
    synchronize()
    kind = self.dtype.numpy
    return {
        "typestr": kind.str if kind.kind != "V" else f"<V{kind.itemsize}", "shape": tuple(self.shape), "version": 2, "data": (address if self.numel() else 0, True),
        "strides": None if self.is_contiguous() else tuple(n * self.itemsize for n in self.stride()),
    }  # fmt: skip


# -- buffers -------------------------------------------------------------------------------------------------


def frombuffer(
    buffer: Any, *, dtype: DType, count: int = -1, offset: int = 0, requires_grad: bool = False
) -> Tensor:
    """A tensor on the memory of a buffer (a copy when that is read-only). ValueError where it does not fit."""
    length, size = memoryview(buffer).nbytes, dtype.itemsize
    if not length or not count:
        raise ValueError(f"both buffer length ({length}) and count ({count}) must not be 0")
    if not 0 <= offset < length:
        raise ValueError(f"offset ({offset} bytes) must be non-negative and no greater than buffer length ({length} bytes) minus 1")
    if count < 0 and (length - offset) % size:
        raise ValueError(
            f"buffer length ({length} bytes) after offset ({offset} bytes) must be a multiple of element size ({size})"
        )
    if count > 0 and offset + count * size > length:
        raise ValueError(
            f"requested buffer length ({count} * {size} bytes) after offset ({offset} bytes) must not be greater than "
            f"actual buffer length ({length} bytes)"
        )
    array = np.frombuffer(buffer, dtype.numpy, count, offset)
    made = from_numpy(array) if array.flags.writeable else of_array(array.copy())
    return made.requires_grad_() if requires_grad else made


# -- copies and pickles: whole storages, so that views go on sharing ------------------------------------------


def _links(tensor: Tensor) -> tuple:
    """The views between storage and tensor, without autograd's marks."""
    return tuple([link for link in tensor._chain if not isinstance(link, Mark)])


def _attributes(tensor: Tensor) -> dict[str, Any]:
    return {k: v for k, v in tensor.__dict__.items() if not k.startswith("_")}


def _of_class(cls: type, storage: Storage, links: tuple, requires_grad: bool, attributes: dict[str, Any]) -> Tensor:
    made = from_storage(storage, links)
    if cls is not Tensor:
        made = cls._make_subclass(cls, made, requires_grad)
    elif requires_grad:
        made.requires_grad_()
    made.__dict__.update(attributes)
    return made


def __copy__(self: Tensor) -> Tensor:
    """Another tensor on the same memory."""
    made = type(self)._make_subclass(type(self), self.detach(), self.requires_grad)
    made.__dict__.update(_attributes(self))
    return made


def __deepcopy__(self: Tensor, memo: dict) -> Tensor:
    """A tensor in memory of its own; tensors copied together go on sharing theirs. RuntimeError for non-leaves."""
    if not self.is_leaf:
        raise RuntimeError(
            "Only Tensors created explicitly by the user (graph leaves) support the deepcopy protocol at the moment.  If "
            "you were attempting to deepcopy a module, this may be because of a torch.nn.utils.weight_norm usage, see "
            "https://github.com/pytorch/pytorch/pull/103001"
        )
    if id(self) in memo:
        return memo[id(self)]
    storage = memo.get(id(self._storage))
    if storage is None:
        storage = memo[id(self._storage)] = _copied(from_storage(self._storage, ()).detach())
    copy = _of_class(type(self), storage, _links(self), self.requires_grad, _attributes(self))
    memo[id(self)] = copy
    if self.grad is not None:
        copy._grad = self.grad.__deepcopy__(memo)
    return copy


def _copied(whole: Tensor) -> Storage:
    """The same contents in another array where they are known on the host: layers that are copies of each other are parameters apart
    from the first program on, not one until they are updated.
    """
    node = whole._read()
    if type(node.value) is not np.ndarray:
        return whole.clone()._storage
    return wrap(recorder.leaf(np.array(node.value, order="C"), node.type))._storage


def __reduce_ex__(self: Tensor, protocol: int) -> tuple:
    """For pickle: memory, views, whether gradients are collected, and attributes. ``torch.save`` has a way of its own."""
    return _of_class, (type(self), self._storage, _links(self), self.requires_grad, _attributes(self))


def _filled(values: np.ndarray, where: str = "cpu") -> Storage:
    made = wrap(recorder.leaf(values, (tuple(values.shape), dtype_of(values))))
    return (made if where == "cpu" else made.to(where))._storage


def _reduce_storage(self: Storage) -> tuple:
    """For pickle: the contents. One storage is pickled once, so tensors on it share memory again."""
    whole = from_storage(self, ()).detach()
    return _filled, (np.array(whole.cpu()._value(), order="C"), *((str(whole.device),) if whole.is_cuda else ()))


def __setstate__(self: Tensor, state: dict[str, Any]) -> None:
    """Attributes out of a pickle."""
    self.__dict__.update(state)


def __reversed__(self: Tensor) -> Tensor:
    """Flipped along the first dimension."""
    return self.flip(0) if self.dim() else self


for _function in (
    __array__, __array_wrap__, __dlpack__, __dlpack_device__, __copy__, __deepcopy__, __reduce_ex__, __setstate__, __reversed__,
):  # fmt: skip
    setattr(Tensor, _function.__name__, _function)
Tensor.__cuda_array_interface__ = property(cuda_array_interface)
Storage.__reduce__ = _reduce_storage  # type: ignore[method-assign]  # storages know no tensors
