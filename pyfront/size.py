"""Size and device: what ``tensor.shape`` and ``tensor.device`` return."""

from __future__ import annotations

from math import prod

from ..dialects.errors import BackendError, NoDeviceError
from .origin import origin, source_line


class Size(tuple):
    """A shape, printed as PyTorch prints it."""

    __slots__ = ()

    def numel(self) -> int:
        """Number of elements."""
        return prod(self)

    def __repr__(self) -> str:
        return f"torch.Size([{', '.join(map(str, self))}])"

    __str__ = __repr__

    def __add__(self, other: tuple) -> Size:
        return Size(tuple.__add__(self, tuple(other)))

    def __radd__(self, other: tuple) -> Size:
        return Size(tuple(other) + tuple(self))

    def __mul__(self, times: int) -> Size:
        return Size(tuple.__mul__(self, times))

    def __getitem__(self, index: int | slice) -> int | Size:
        found = tuple.__getitem__(self, index)
        return Size(found) if isinstance(index, slice) else found


_KINDS = (
    "cpu", "cuda", "ipu", "xpu", "mkldnn", "opengl", "opencl", "ideep", "hip", "ve", "fpga", "maia", "xla", "lazy", "vulkan",
    "mps", "meta", "hpu", "mtia", "privateuseone",
)  # fmt: skip


class device:
    """``device("cpu")``, ``device("cuda", 0)``."""

    __slots__ = ("type", "index")

    def __init__(self, type: str | device | int, index: int | None = None) -> None:
        if isinstance(type, device):
            type, index = type.type, type.index if index is None else index
        elif isinstance(type, int):
            type, index = "cuda", type
        kind, _, number = str(type).partition(":")
        if kind not in _KINDS:
            raise RuntimeError(f"Expected one of {', '.join(_KINDS)} device type at start of device string: {type}")
        if ":" in str(type) and not (number.isdigit() and str(int(number)) == number):
            raise RuntimeError(f"Invalid device string: '{type}'")
        self.type = kind
        self.index = int(number) if number else index

    def __repr__(self) -> str:
        return (
            f"device(type='{self.type}')"
            if self.index is None
            else f"device(type='{self.type}', index={self.index})"
        )

    def __str__(self) -> str:
        return self.type if self.index is None else f"{self.type}:{self.index}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, device) and (self.type, self.index) == (other.type, other.index)

    def __hash__(self) -> int:
        return hash((self.type, self.index))

    def __enter__(self) -> device:
        from .placement import enter  # reads this module

        enter(require(self))
        return self

    def __exit__(self, *_: object) -> None:
        from .placement import leave

        leave()

    def __reduce__(self) -> tuple[object, tuple[str, int | None]]:
        return device, (self.type, self.index)


CPU = device("cpu")
META = device("meta")


def require(where: object) -> device:
    """The device some argument names (None: the CPU). NoDeviceError for one this machine cannot compute on."""
    if where is None or where is CPU:
        return CPU
    wanted = device(where)  # type: ignore[arg-type]  # device() itself refuses what is not one
    if wanted.type == "cpu":
        return wanted
    if wanted.type == "meta":
        return META
    why = "lamina computes on CPUs and on NVIDIA GPUs"
    if wanted.type == "cuda":
        from ..backends import driver

        try:
            driver.accelerator()
        except BackendError as error:
            why = f"Torch not compiled with CUDA enabled ({error.sentence})"
        else:
            if not wanted.index:
                return wanted
            why = "invalid device ordinal: there is one GPU, cuda:0"
    raise NoDeviceError(
        f"there is no device '{wanted}' here: {why}",
        at=source_line(origin()),
        help='use "cpu", or pick the device with torch.cuda.is_available()',
    )
