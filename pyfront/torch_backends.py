"""torch.backends: switches that programs set, and questions they ask; of all only TF32 on GPUs changes what lamina computes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from . import settings


class Room(ModuleType):
    """A module of switches. What it does not have is looked for in `behind`, another module."""

    def __init__(self, name: str, doc: str, behind: str | None = None, **switches: Any) -> None:
        super().__init__(name, doc)
        self.__dict__.update(switches, __path__=[], _behind=behind)

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("_") and self.__dict__.get("_behind"):
            return getattr(sys.modules[self.__dict__["_behind"]], name)
        raise AttributeError(f"module '{self.__name__}' has no attribute '{name}'")


class Cudnn(Room):
    """Its switch for TF32 is asked before float32 is rounded on a GPU."""

    @property
    def allow_tf32(self) -> bool:
        return settings.convolutions_may_use_tf32()

    @allow_tf32.setter
    def allow_tf32(self, allowed: bool) -> None:
        settings.allow_tf32_in_convolutions(allowed)


class Quantized(Room):
    """Which library quantized products are those of. The numbers are those of fbgemm, which x86 stands for."""

    supported_engines = ("x86", "fbgemm")
    _engine = "x86"

    @property
    def engine(self) -> str:
        return self._engine

    @engine.setter
    def engine(self, name: str) -> None:
        if name not in self.supported_engines:
            raise RuntimeError(f"{name} is not a valid value for quantized engine: there are {', '.join(self.supported_engines)}")
        self.__dict__["_engine"] = name


class Matmul(Room):
    """allow_tf32 and fp32_precision are other words for `torch.set_float32_matmul_precision`."""

    @property
    def allow_tf32(self) -> bool:
        return settings.get_float32_matmul_precision() != "highest"

    @allow_tf32.setter
    def allow_tf32(self, allowed: bool) -> None:
        settings.set_float32_matmul_precision("high" if allowed else "highest")

    @property
    def fp32_precision(self) -> str:
        return "tf32" if self.allow_tf32 else "ieee"

    @fp32_precision.setter
    def fp32_precision(self, precision: str) -> None:
        if precision not in ("ieee", "tf32", "none"):
            raise RuntimeError(f"Invalid precision: {precision}")
        self.allow_tf32 = precision == "tf32"


def _no(*_: Any, **__: Any) -> bool:
    return False


def _yes() -> bool:
    return True


def _nothing(*_: Any, **__: Any) -> None:
    return None


def _set(room: Room, switches: dict[str, Any]) -> None:
    for name, value in switches.items():
        setattr(room, name, value)


def _flags(room: Room, **usual: Any) -> Callable[..., Any]:
    """A context manager that sets switches of a room, and puts them back."""

    @contextmanager
    def flags(**wanted: Any) -> Iterator[None]:
        before = {name: getattr(room, name) for name in usual}
        _set(room, {**usual, **wanted})
        try:
            yield
        finally:
            _set(room, before)

    return flags


def _set_flags(room: Room, names: tuple[str, ...]) -> Callable[..., tuple]:
    """Set switches of a room by position or name; what they were is returned."""

    def set_flags(*given: Any, **named: Any) -> tuple:
        before = tuple(getattr(room, f"{name}") for name in names)
        wanted = {**dict(zip(names, given, strict=False)), **{k.removeprefix("_"): v for k, v in named.items()}}
        _set(room, {k: v for k, v in wanted.items() if v is not None})
        return before

    return set_flags


def _cudnn() -> Room:
    room = Cudnn(
        "torch.backends.cudnn", "Switches of cuDNN, which is not used.", enabled=True, benchmark=False, benchmark_limit=10,
        deterministic=False, is_available=_no, version=_nothing, is_acceptable=_no,
    )  # fmt: skip
    room.flags = _flags(room, enabled=False, benchmark=False, benchmark_limit=10, deterministic=False, allow_tf32=True)
    room.set_flags = _set_flags(room, ("enabled", "benchmark", "benchmark_limit", "deterministic", "allow_tf32"))
    return room


def _cuda() -> Room:
    matmul = Matmul(
        "torch.backends.cuda.matmul", "Switches of cuBLAS, which is not used.", allow_fp16_reduced_precision_reduction=True, allow_bf16_reduced_precision_reduction=True, allow_fp16_accumulation=False,
    )  # fmt: skip
    room = Room("torch.backends.cuda", "Switches of CUDA libraries, which are not used.", is_built=_no, matmul=matmul)
    for kind in ("flash", "mem_efficient", "math", "cudnn"):
        _attention(room, kind)
    room.preferred_linalg_library = _nothing
    room.preferred_blas_library = _nothing
    room.can_use_flash_attention = room.can_use_efficient_attention = _no
    room.is_flash_attention_available = _no

    @contextmanager
    def sdp_kernel(**_: Any) -> Iterator[None]:
        yield

    room.sdp_kernel = sdp_kernel
    return room


def _attention(room: Room, kind: str) -> None:
    """Which kernels attention may use: noted, and answered."""
    state = [True]
    room.__dict__[f"{kind}_sdp_enabled"] = lambda: state[0]
    room.__dict__[f"enable_{kind}_sdp"] = lambda enabled: state.__setitem__(0, bool(enabled))


def _mkldnn() -> Room:
    room = Room(
        "torch.backends.mkldnn", "Switches of oneDNN, which is not used.", is_available=_no, enabled=True, deterministic=False,
        allow_tf32=True,
    )  # fmt: skip
    room.flags = _flags(room, enabled=False, deterministic=False, allow_tf32=True)
    room.set_flags = _set_flags(room, ("enabled", "deterministic", "allow_tf32"))
    return room


def made(behind: str) -> Room:
    """torch.backends itself."""
    none: dict[str, Any] = {"is_available": _no, "is_built": _no}
    nnpack = Room("torch.backends.nnpack", "Switches of NNPACK, which is not used.", is_available=_no)
    nnpack.flags, nnpack.set_flags = _flags(nnpack, enabled=False), _set_flags(nnpack, ("enabled",))
    nnpack.enabled = False
    rooms = {
        "cudnn": _cudnn(), "cuda": _cuda(), "mkldnn": _mkldnn(), "nnpack": nnpack,
        "mps": Room("torch.backends.mps", "Apple's GPUs, which are not used.", is_macos_or_newer=_no,
                    is_macos13_or_newer=_no, **none),
        "mkl": Room("torch.backends.mkl", "MKL, which is not used.", is_available=_no),
        "openmp": Room("torch.backends.openmp", "OpenMP: compiled programs run on threads.", is_available=_yes),
        "cpu": Room("torch.backends.cpu", "The CPU.", get_cpu_capability=lambda: "DEFAULT"),
        "quantized": Quantized("torch.backends.quantized", "Quantized products: the numbers of fbgemm."),
        "xnnpack": Room("torch.backends.xnnpack", "Switches of XNNPACK, which is not used.", enabled=False),
        "opt_einsum": Room("torch.backends.opt_einsum", "opt_einsum, which is not used.", is_available=_no, enabled=False,
                           strategy=None),
    }  # fmt: skip
    return Room("torch.backends", str(__doc__), behind, **rooms)


BACKENDS = made(__name__.rpartition(".pyfront")[0] + ".backends")
