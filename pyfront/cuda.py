"""torch.cuda: the GPU's state, memory, streams and events. Everything launched on it runs in one order."""

from __future__ import annotations

import sys
from types import SimpleNamespace, TracebackType
from typing import Any

from ..dialects.errors import OutOfMemoryError  # noqa: F401  # public here
from . import placement, random, recorder
from . import size as _size
from .creation import of_array
from .cuda_graphs import Capture, Region
from .mersenne import fresh_seed

device_type = "cuda"
has_half, has_magma = True, False


def _runtime() -> Any:
    """The GPU. NoDeviceError where there is none."""
    _size.require("cuda")
    from ..backends import driver

    return driver.accelerator()


def is_available() -> bool:
    """Whether tensors can be moved to "cuda"."""
    from ..backends import driver

    return driver.has_accelerator()


def device_count() -> int:
    """How many GPUs can be used: 1 or 0."""
    return int(is_available())


def is_initialized() -> bool:
    """Whether some tensor was on the GPU."""
    return placement.was_on_gpu()


def init() -> None:
    """NoDeviceError where there is no GPU; else it is ready."""
    _runtime()


def current_device() -> int:
    """0: the first GPU."""
    _runtime()
    return 0


def set_device(device: Any) -> None:
    """The GPU to use: there is one, 0."""
    _size.require(_named(device))


def _named(device: Any) -> Any:
    return "cuda" if device is None else _size.device("cuda", device) if isinstance(device, int) else device


class device:
    """``with torch.cuda.device(0):`` the GPU to use inside; -1 and None change nothing."""

    def __init__(self, device: Any) -> None:
        self.idx = device
        if device is not None and device != -1:
            set_device(device)

    def __enter__(self) -> device:
        return self

    def __exit__(self, *_: object) -> None:
        return None


def get_device_name(device: Any = None) -> str:
    """What the GPU is called."""
    set_device(device)
    return _runtime().device.name


def get_device_capability(device: Any = None) -> tuple[int, int]:
    """Its compute capability, (9, 0) for Hopper."""
    set_device(device)
    return divmod(_runtime().device.compute, 10)


def get_device_properties(device: Any = None) -> SimpleNamespace:
    """name, major, minor, total_memory (bytes), multi_processor_count."""
    set_device(device)
    gpu = _runtime().device
    major, minor = divmod(gpu.compute, 10)
    return SimpleNamespace(
        name=gpu.name, major=major, minor=minor, total_memory=gpu.total_bytes, multi_processor_count=gpu.processors
    )


def get_arch_list() -> list[str]:
    """Architectures programs can be compiled for."""
    return list(_runtime().architectures) if is_available() else []


def is_bf16_supported(including_emulation: bool = True) -> bool:
    """Whether bfloat16 is computed with: always, where there is a GPU."""
    return is_available()


def is_tf32_supported() -> bool:
    """Whether float32 can be rounded to TF32 for products: from compute capability 8.0 on."""
    return is_available() and _runtime().device.compute >= 80


def can_device_access_peer(device: Any, peer_device: Any) -> bool:
    """False: there is one GPU."""
    for named in (device, peer_device):
        set_device(named)
    return False


def set_sync_debug_mode(debug_mode: int | str) -> None:
    """Noted: programs wait where they look at a value, and nowhere else. RuntimeError for a mode PyTorch does not have."""
    if isinstance(debug_mode, str):
        if debug_mode not in _SYNC_MODES:
            raise RuntimeError("invalid value of debug_mode, expected one of `default`, `warn`, `error`")
        debug_mode = _SYNC_MODES.index(debug_mode)
    _Noted.sync_debug_mode = int(debug_mode)


def get_sync_debug_mode() -> int:
    """What `set_sync_debug_mode` said last: 0 (default), 1 (warn) or 2 (error)."""
    return _Noted.sync_debug_mode


_SYNC_MODES = ("default", "warn", "error")


class _Noted:
    """What programs set and ask for again."""

    sync_debug_mode = 0
    memory_fraction = 1.0


def synchronize(device: Any = None) -> None:
    """Compute what is pending and wait for the GPU. BackendError when a kernel failed."""
    _runtime().refuse_waiting()
    recorder.flush()
    _runtime().device.synchronize()
    recorder.settle()


# -- random numbers of tensors on the GPU: Philox, computed there (its numbers are not those of PyTorch's CUDA kernels)


def manual_seed(seed: int) -> None:
    """Seed the numbers drawn on the GPU."""
    random.default_generator.sequence.reseed(int(seed))


manual_seed_all = manual_seed


def seed() -> None:
    """Seed them with something nobody can guess."""
    manual_seed(fresh_seed())


seed_all = seed


def initial_seed() -> int:
    """The seed in force."""
    return random.default_generator.sequence.seed


def get_rng_state(device: Any = "cuda") -> Any:
    """The seed and how many numbers were drawn, uint8[16] on the CPU."""
    return of_array(random.default_generator.sequence.state())


def set_rng_state_all(new_states: Any) -> None:
    """The states of the generators of all GPUs, as `get_rng_state_all` gave them."""
    for number, state in enumerate(new_states):
        set_rng_state(state, number)


def get_rng_state_all() -> list[Any]:
    """`get_rng_state` of every GPU."""
    return [get_rng_state(number) for number in range(device_count())]


def set_rng_state(new_state: Any, device: Any = "cuda") -> None:
    """Go on from a state. RuntimeError for one of another size."""
    random.default_generator.sequence.restore(new_state.numpy())


# -- memory, in bytes


def _pool() -> Any:
    from ..backends import driver

    return driver.accelerator().pool if is_initialized() and is_available() else None


def memory_allocated(device: Any = None) -> int:
    """Bytes in blocks that tensors hold."""
    pool = _pool()
    return pool.allocated if pool else 0


def max_memory_allocated(device: Any = None) -> int:
    """The most bytes tensors held at once."""
    pool = _pool()
    return pool.most_allocated if pool else 0


def memory_reserved(device: Any = None) -> int:
    """Bytes taken from the GPU, unused blocks included."""
    pool = _pool()
    return pool.reserved if pool else 0


def max_memory_reserved(device: Any = None) -> int:
    """The most bytes taken from the GPU at once."""
    pool = _pool()
    return pool.most_reserved if pool else 0


def reset_peak_memory_stats(device: Any = None) -> None:
    """Peaks count from now on."""
    pool = _pool()
    if pool:
        pool.forget_peaks()


reset_max_memory_allocated = reset_max_memory_cached = reset_peak_memory_stats
memory_cached, max_memory_cached = memory_reserved, max_memory_reserved


def memory_stats(device: Any = None) -> dict[str, int]:
    """What is known of the memory, by PyTorch's names; nothing before there is any."""
    if _pool() is None:
        return {}
    counts = {
        "allocated_bytes": (memory_allocated(), max_memory_allocated()),
        "active_bytes": (memory_allocated(), max_memory_allocated()),
        "reserved_bytes": (memory_reserved(), max_memory_reserved()),
    }
    return {f"{name}.all.{which}": n for name, pair in counts.items() for which, n in zip(("current", "peak"), pair, strict=True)}


def memory_stats_as_nested_dict(device: Any = None) -> dict[str, Any]:
    """`memory_stats` as dictionaries in dictionaries, one level per part of a name."""
    whole: dict[str, Any] = {}
    for name, n in memory_stats().items():
        *outer, last = name.split(".")
        inside = whole
        for part in outer:
            inside = inside.setdefault(part, {})
        inside[last] = n
    return whole


def reset_accumulated_memory_stats(device: Any = None) -> None:
    """Nothing is added up from call to call."""


def memory_summary(device: Any = None, abbreviated: bool = False) -> str:
    """The same as a table."""
    lines = [f"| {name:<28} | {n / 2**20:12.1f} MiB |" for name, n in memory_stats(device).items()]
    return "\n".join(["memory of GPU 0", *lines])


def set_per_process_memory_fraction(fraction: float, device: Any = None) -> None:
    """Checked and noted: memory is taken as it is needed. ValueError outside of 0 to 1."""
    if not isinstance(fraction, float):
        raise TypeError("Invalid type for fraction argument, must be `float`")
    if not 0 <= fraction <= 1:
        raise ValueError(f"Invalid fraction value: {fraction}. Allowed range: 0~1")
    _Noted.memory_fraction = fraction


def get_per_process_memory_fraction(device: Any = None) -> float:
    """What `set_per_process_memory_fraction` said last."""
    return _Noted.memory_fraction


def get_allocator_backend() -> str:
    """The pool's name in PyTorch."""
    return "native"


def ipc_collect() -> None:
    """Nothing to collect: memory of a GPU is not shared between processes."""


def empty_cache() -> None:
    """Give unused blocks back to the GPU."""
    pool = _pool()
    if pool:
        pool.empty()


def mem_get_info(device: Any = None) -> tuple[int, int]:
    """Bytes of the GPU that nobody has taken, other programs included, and all of them."""
    gpu = _runtime().device
    return gpu.free_bytes(), gpu.total_bytes


# -- streams and events


class Stream:
    """A queue of launches. Work of several streams runs in the order it was given: memory is used again at once."""

    def __init__(self, device: Any = None, priority: int = 0, **_: Any) -> None:
        self._gpu, self.priority = _runtime().device, priority
        self.handle = self._gpu.new_stream()

    @property
    def device(self) -> Any:
        """The GPU."""
        return placement.CUDA

    @property
    def cuda_stream(self) -> int:
        """The driver's handle as a number; 0: the default stream."""
        return int(self.handle) if isinstance(self.handle, int) or hasattr(self.handle, "__int__") else id(self.handle)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Stream) and self.handle is other.handle

    def __hash__(self) -> int:
        return hash(self.cuda_stream)

    def __del__(self) -> None:
        if getattr(self, "handle", 0):
            self._gpu.drop_stream(self.handle)

    def synchronize(self) -> None:
        """Until everything on it is done."""
        recorder.flush()
        _runtime().device.wait_stream(self.handle)

    def wait_stream(self, stream: Stream) -> None:
        """Wait for another stream: launches are in one order, nothing is left to do."""

    def wait_event(self, event: Event) -> None:
        """Wait for an event: launches are in one order, nothing is left to do."""

    def record_event(self, event: Event | None = None) -> Event:
        """An event behind everything given so far."""
        event = event or Event()
        event.record(self)
        return event

    def query(self) -> bool:
        """Whether everything on it is done."""
        return self.record_event().query()

    def __enter__(self) -> Stream:
        recorder.flush()
        self._before = _runtime().device.use_stream(self.handle)
        _current.append(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        if kind is None:
            recorder.flush()
        _current.pop()
        _runtime().device.use_stream(self._before)


class _DefaultStream(Stream):
    """The stream of programs that name none."""

    def __init__(self) -> None:
        self.handle, self.priority = 0, 0


_default = _DefaultStream()
_current: list[Stream] = [_default]


def default_stream(device: Any = None) -> Stream:
    """The stream of programs that name none."""
    return _default


def current_stream(device: Any = None) -> Stream:
    """The stream launches go to now."""
    return _current[-1]


def set_stream(stream: Stream | None) -> None:
    """Launches go to ``stream`` from now on."""
    if stream is not None and stream is not _current[-1]:
        recorder.flush()
        _runtime().device.use_stream(stream.handle)
        _current[-1] = stream


def is_current_stream_capturing() -> bool:
    """Whether a region is being captured (`graph`)."""
    return Capture.running is not None


def stream(stream: Stream | None) -> Any:
    """``with torch.cuda.stream(s):`` launches go to ``s`` inside."""
    return device(None) if stream is None else stream


StreamContext = Stream  # what `stream` gives


class CUDAGraph:
    """What a region launches, to be launched again by `replay` on what the region's tensors hold then. Within the region nothing is computed:
    RuntimeError where a value is looked at."""

    def __init__(self, keep_graph: bool = False) -> None:
        self._capture: Capture | None = None
        self._region: Region | None = None
        self._generators = [random.default_generator]

    def register_generator_state(self, generator: random.Generator) -> None:
        """Numbers of this generator are drawn in the region: each replay draws the next ones."""
        if all(generator is not g for g in self._generators):
            self._generators.append(generator)

    def capture_begin(self, pool: Any = None, capture_error_mode: str = "global") -> None:
        """The region begins. RuntimeError for a second one, here or at the same time."""
        if self._region is not None or self._capture is not None:
            raise RuntimeError("This CUDAGraph instance already owns a captured graph. To capture a new graph, create a new instance.")
        if Capture.running is not None:
            raise RuntimeError("Captures to a private pool may not be nested: another CUDAGraph is being captured")
        self._capture = Capture(_runtime(), self._generators)

    def capture_end(self) -> None:
        """The region ends. RuntimeError where none began."""
        self._end(False)

    def _end(self, failed: bool) -> None:
        capture, self._capture = self._capture, None
        if capture is None:
            raise RuntimeError("CUDAGraph::capture_end() called before capture_begin().")
        self._region = capture.end(failed)

    def replay(self) -> None:
        """Launch the region. RuntimeError where none was captured, and within one."""
        if self._region is None:
            raise RuntimeError("Called CUDAGraph::replay without a preceding successful capture.")
        _runtime().refuse_waiting()
        self._region.replay()

    def reset(self) -> None:
        """Forget the region."""
        self._region = None

    def pool(self) -> tuple[int, int]:
        """The handle of the memory it takes from."""
        return graph_pool_handle()

    def enable_debug_mode(self) -> None:
        """Nothing to prepare: LAMINA_DUMP writes what is compiled."""

    def debug_dump(self, debug_path: str) -> None:
        """Nothing: LAMINA_DUMP writes what is compiled."""


class graph:
    """``with torch.cuda.graph(g):`` what the region launches is captured in ``g``. What raises within leaves ``g`` without a region."""

    def __init__(self, cuda_graph: CUDAGraph, pool: Any = None, stream: Stream | None = None, capture_error_mode: str = "global") -> None:
        self.cuda_graph, self._stream = cuda_graph, stream

    def __enter__(self) -> None:
        synchronize()
        if self._stream is not None:
            self._stream.__enter__()
        try:
            self.cuda_graph.capture_begin()
        except BaseException as error:
            if self._stream is not None:
                self._stream.__exit__(type(error), error, None)
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        try:
            self.cuda_graph._end(kind is not None)
        finally:
            if self._stream is not None:
                self._stream.__exit__(kind, error, where)


def make_graphed_callables(
    callables: Any, sample_args: Any, num_warmup_iters: int = 3, allow_unused_input: bool = False, pool: Any = None, **_: Any
) -> Any:
    """The callables themselves: what comes again at the same addresses is replayed as a CUDA graph anyway."""
    _runtime()
    return callables


def graph_pool_handle() -> tuple[int, int]:
    """The handle of the pool: all graphs share the one there is."""
    _runtime()
    return 0, 0


class Event:
    """A point in the order of launches, to wait for or to take the time at."""

    def __init__(self, enable_timing: bool = False, blocking: bool = False, interprocess: bool = False) -> None:
        self._gpu = _runtime().device
        self.handle = self._gpu.new_event()
        self._timed, self._recorded = enable_timing, False

    def __del__(self) -> None:
        if hasattr(self, "handle"):
            self._gpu.drop_event(self.handle)

    def record(self, stream: Stream | None = None) -> None:
        """Behind everything given so far."""
        recorder.flush()
        _runtime().device.record(self.handle)
        self._recorded = True

    def wait(self, stream: Stream | None = None) -> None:
        """Later launches come after it: they do anyway."""

    def synchronize(self) -> None:
        """Until it has happened."""
        if self._recorded:
            _runtime().device.wait(self.handle)

    def query(self) -> bool:
        """Whether it has happened."""
        return not self._recorded or _runtime().device.has_happened(self.handle)

    def elapsed_time(self, end_event: Event) -> float:
        """Milliseconds to another event. ValueError unless both were recorded, and made with enable_timing."""
        if not (self._timed and end_event._timed):
            raise ValueError("Both events must be created with argument 'enable_timing=True'.")
        if not (self._recorded and end_event._recorded):
            raise ValueError("Both events must be recorded before calculating elapsed time.")
        end_event.synchronize()
        return _runtime().device.milliseconds(self.handle, end_event.handle)


def __getattr__(name: str) -> Any:
    if name == "amp":
        from . import cuda_amp

        return cuda_amp
    if name in ("nvtx", "profiler"):
        from . import rooms

        return getattr(rooms, name.upper())
    if name == "_initialized":  # read before generators of GPUs are saved
        return is_initialized()
    if name == "default_generators":
        return (random.DefaultOnGpu(),) if is_available() else ()
    if name in ("memory", "streams", "graphs"):  # PyTorch's files of these names
        return sys.modules[__name__]
    if name.endswith("Tensor"):
        from .tensor_types import CUDA

        if name in CUDA:
            return CUDA[name]
    raise AttributeError(f"module 'torch.cuda' has no attribute '{name}'")
