"""Target description: what the machine that runs the code offers (vectors, registers, caches, threads)."""

from __future__ import annotations

import platform
import re
from collections.abc import Set
from contextlib import suppress
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Target:
    """One CPU as schedulers see it.

    Sizes are bytes; ``threads`` is how many tasks are worth making, not how many run.
    """

    name: str = "portable"
    vector_bytes: int = 16
    vector_registers: int = 16
    l1_bytes: int = 32 << 10
    l2_bytes: int = 512 << 10
    l3_bytes: int = 8 << 20
    tasks: int = 16
    parallel_work: int = 32 << 10
    load_cost: float = 0.6
    """Of a vector load or a broadcast, in vector multiply-adds."""
    streamed_cost: float = 0.005
    """Of a byte that a tile reads from the second cache while it multiplies: most of its way is hidden."""
    half_cost: float = 1.0
    """Of an operation on half a vector or less, in those on a whole one: 0.5 where whole ones are worked on in two halves."""
    least_step: float = 4.0
    """Vector multiply-adds in the time the next one on the same sum waits for."""
    ahead_bytes: int = 4096
    """How far ahead what comes from the third cache or memory is asked for: its way takes so long."""
    streams: int = 1
    """Runs of memory its own prefetchers follow at once, where several side by side arrive faster than one that asks ahead of itself; 1: they do not."""
    division_cost: float = 0.0
    """Of a vector division of f32, in vector multiply-adds, which are done meanwhile; 0 where these cannot stand in for it."""
    byte_costs: tuple[float, float, float] = (0.02, 0.1, 0.4)
    """Of a byte read from the second cache, the third, and memory, in vector multiply-adds."""

    tiles: frozenset[str] = frozenset()
    """Elements that tile registers multiply (AMX): bf16 into f32, i8 into i32."""
    dots: frozenset[str] = frozenset()
    """Elements of whose products vectors add several to each sum at once: two of bf16 into f32 (AVX512_BF16), two of i16 (every x86 processor)
    and four of i8 (VNNI) into i32."""
    masked_bytes: int = 0
    """The smallest elements whose vectors are loaded and stored under a mask in one instruction; 0: there is none."""
    f32: str = "ieee"
    """How products of f32 are made: of GPUs one of F32_PRODUCTS, of CPUs with tiles one of F32_TILES."""

    @property
    def multiplies_bytes(self) -> bool:
        """Whether it multiplies bytes faster than what they are widened to."""
        return "i8" in self.tiles or bool(self.dots & {"i8", "i16"})

    def read_cost(self, held: float) -> float:
        """Of reading a byte of so many that are gone through again and again: caches are shared with others, so half of each counts."""
        second, third, memory = self.byte_costs
        return second if held <= self.l2_bytes // 2 else third if held <= self.l3_bytes // 2 else memory

    def part_cost(self, vector_bytes: int) -> float:
        """Of an operation on a vector of so many bytes, in those on a whole one."""
        return self.half_cost if 2 * vector_bytes <= self.vector_bytes else 1.0

    def lanes(self, element_bytes: int) -> int:
        """Elements of that size in one vector register (at least 1)."""
        return max(1, self.vector_bytes // max(1, element_bytes))


AVX512 = Target("avx512", 64, 32, 32 << 10, 1 << 20, 16 << 20, load_cost=1.0, division_cost=20.0, dots=frozenset(("i16",)), masked_bytes=1)
AVX512_VNNI = replace(AVX512, name="avx512_vnni", dots=frozenset(("i8",)), streams=4)
AVX512_BF16 = replace(AVX512, name="avx512_bf16", dots=frozenset(("i8", "bf16")))
AVX512_HALVES = replace(AVX512_BF16, name="avx512_halves", half_cost=0.5, streams=4)
AVX512_AMX = replace(AVX512_VNNI, name="avx512_amx", tiles=frozenset(("bf16", "i8")))
AVX2 = Target("avx2", 32, 16, 32 << 10, 512 << 10, 8 << 20, load_cost=1.1, least_step=6.5, dots=frozenset(("i16",)), masked_bytes=4)
AVX2_VNNI = replace(AVX2, name="avx2_vnni", dots=frozenset(("i8",)))
NEON = Target("neon", 16, 32, 64 << 10, 512 << 10, 8 << 20)
PORTABLE = Target()



@dataclass(frozen=True)
class GpuTarget(Target):
    """One NVIDIA architecture as the gpu schedulers see it. name: as NVRTC and ptxas spell it (``sm_90a``).

    vector_bytes is 1: kernels are written for one thread, which has no vectors; wide accesses are chosen separately.
    """

    compute: int = 80
    processors: int = 108
    shared_bytes: int = 163 << 10
    """The most shared memory a block may ask for."""
    access_bytes: int = 16
    """What one thread moves at once, at an address that is a multiple of it."""
    wgmma: bool = False
    """Products on warpgroups, their operands brought by the copy engine (sm_90a)."""
    cluster: int = 1
    """Blocks that share what the copy engine brings."""

    @property
    def multiplies_bytes(self) -> bool:
        """Whether its tensor cores multiply bytes by mma.sync."""
        return self.compute >= 80

    @property
    def arch(self) -> str:
        """What NVRTC and ptxas call it."""
        return "_".join(self.name.split("_")[:2])


def _gpu(name: str, compute: int, processors: int, shared_kib: int, wgmma: bool = False) -> GpuTarget:
    return GpuTarget(
        name, vector_bytes=1, tasks=512, parallel_work=1 << 14, compute=compute, processors=processors,
        shared_bytes=shared_kib << 10, wgmma=wgmma, cluster=2 if wgmma else 1,
    )  # fmt: skip


GPU_TARGETS: dict[str, GpuTarget] = {
    t.name: t
    for t in (
        _gpu("sm_75", 75, 40, 64), _gpu("sm_80", 80, 108, 163), _gpu("sm_89", 89, 128, 99),
        _gpu("sm_90a", 90, 132, 227), _gpu("sm_90a_wgmma", 90, 132, 227, wgmma=True), _gpu("sm_100a", 100, 148, 227), _gpu("sm_103a", 103, 160, 227),
        _gpu("sm_110a", 110, 20, 227), _gpu("sm_120", 120, 170, 99),
    )
}  # fmt: skip

F32_PRODUCTS = ("ieee", "tf32", "3xtf32")
"""Multiply-adds of f32; tensor cores on factors rounded to TF32; the same on two such numbers per factor (sm_80 and later)."""


F32_TILES = ("ieee", "bf16", "3xbf16")
"""Multiply-adds of f32; tile registers on factors rounded to bf16; the same on two such numbers per factor, three products of them."""

_TILES_FOR = {"bf16": "bf16", "tf32": "3xbf16"}
_GPU_FOR = {"bf16": "tf32"}


_PARTS = re.compile(r"(?P<base>\w+?)(_p(?P<processors>[1-9]\d{0,3}))?(_(?P<f32>tf32|3xtf32))?")


def gpu_target_named(name: str) -> GpuTarget:
    """A GPU target, ``sm_90a``; one with another number of processors, ``sm_90a_p114``; one that multiplies f32 in another way,
    ``sm_90a_tf32``, ``sm_90a_p114_tf32``. KeyError for an unknown name.
    """
    if name in GPU_TARGETS:
        return GPU_TARGETS[name]
    parts = _PARTS.fullmatch(name)
    if parts is None:
        raise KeyError(name)
    base = GPU_TARGETS[parts["base"]]
    if parts["f32"] and base.compute < 80:
        raise KeyError(name)
    return replace(base, name=name, processors=int(parts["processors"] or base.processors), f32=parts["f32"] or "ieee")


def with_processors(name: str, count: int) -> str:
    """The name of a target of the table whose GPU has so many processors."""
    return name if GPU_TARGETS[name].processors == count else f"{name}_p{count}"


def with_f32(name: str, f32: str) -> str:
    """The name of a target that multiplies f32 so, or as nearly so as it can without losing more; the target itself where it cannot.

    f32: a value of the flag. On a CPU with tiles "tf32" is two numbers of bf16 per factor, and what asks for more is IEEE.
    """
    if name.startswith("sm_"):
        return name if f32 == "ieee" or gpu_target_named(name).compute < 80 else f"{name}_{_GPU_FOR.get(f32, f32)}"
    return f"{name}_{_TILES_FOR[f32]}" if f32 in _TILES_FOR and "bf16" in target_named(name).tiles else name


TARGETS: dict[str, Target] = {t.name: t for t in (AVX512, AVX512_VNNI, AVX512_BF16, AVX512_HALVES, AVX512_AMX, AVX2, AVX2_VNNI, NEON, PORTABLE, *GPU_TARGETS.values())}


def _linux_flags() -> frozenset[str]:
    """What the first processor says it can do, and who made it."""
    maker: list[str] = []
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            for line in file:
                if line.startswith("vendor_id"):
                    maker = line.split(":", 1)[1].split()
                if line.startswith(("flags", "Features")):
                    return frozenset((*maker, *line.split(":", 1)[1].split()))
    except OSError:
        pass
    return frozenset()


_native: Target | None = None
_PERMISSION = 0x1023, 18  # arch_prctl's ARCH_REQ_XCOMP_PERM, for the data of tiles


def _may_use_tiles() -> bool:
    """Asks Linux for this process's permission to use tile registers; every thread has it then. False where it is refused."""
    import ctypes

    try:
        return ctypes.CDLL(None).syscall(ctypes.c_long(158), *map(ctypes.c_ulong, _PERMISSION)) == 0
    except (OSError, AttributeError, TypeError):
        return False


def described_by(flags: Set[str]) -> Target | None:
    """The target of an x86 processor with these flags of Linux, the word for its maker among them; None: nothing more than `PORTABLE`.

    Products of bf16 are worth their instruction on AMD's only: on Intel's (measured where AMX is there, too) it takes the time of four
    multiply-adds of f32 and does the work of two. AMD's work on 512 bits in halves until AVX_VNNI came along (Zen 4).
    """
    if {"avx512f", "avx512bw", "avx512dq", "avx512vl"} <= flags:
        if "avx512_vnni" not in flags:
            return AVX512
        if {"amx_tile", "amx_bf16", "amx_int8"} <= flags:
            return AVX512_AMX
        if {"avx512_bf16", "AuthenticAMD"} <= flags:
            return AVX512_BF16 if "avx_vnni" in flags else AVX512_HALVES
        return AVX512_VNNI
    if {"avx2", "fma"} <= flags:
        return AVX2_VNNI if "avx_vnni" in flags else AVX2
    return None


def native_target() -> Target:
    """The machine this process runs on; decided once.

    An unknown machine gets ``PORTABLE`` (correct everywhere).
    """
    global _native
    if _native is None:
        machine = platform.machine().lower()
        flags = _linux_flags()
        x86 = described_by(flags) if machine in ("x86_64", "amd64") else None
        if x86 is not None:
            _native = AVX512_VNNI if x86.tiles and not _may_use_tiles() else x86
        elif machine in ("arm64", "aarch64"):
            _native = NEON
        else:
            _native = PORTABLE
    return _native


def target_named(name: str) -> Target:
    """The target called that; "native" is this machine. ValueError for an unknown name."""
    if name == "native":
        return native_target()
    if name.startswith("sm_"):
        with suppress(KeyError):
            return gpu_target_named(name)
    base, _, f32 = name.rpartition("_")
    if base in TARGETS and TARGETS[base].tiles and f32 in F32_TILES[1:]:
        return replace(TARGETS[base], name=name, f32=f32)
    if name not in TARGETS:
        raise ValueError(f"no target is called {name!r}; known: native, {', '.join(TARGETS)}")
    return TARGETS[name]
