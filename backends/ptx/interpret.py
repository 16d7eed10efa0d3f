"""Runs a program's PTX on the CPU by its launch table: the text NVRTC made, instruction by instruction, against the manual's rules."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np

from ...dialects.types import DTYPES
from ...lowering.gpu_launches import Launch, LaunchTable, TensorMap
from .copies import Copies, Tensor
from .decode import decode
from .faults import Fault, PtxError
from .machine import Code, Machine
from .memory import GLOBAL, PARAMETERS, Flat, Local
from .parse import parse
from .shared import Shared
from .synchronisation import Barriers
from .warpgroups import Products

Array = np.ndarray
MOST_THREADS_AT_ONCE = 1 << 16


class Interpretation:
    """A program as its PTX says: call it with its inputs, get its outputs.

    PtxError names an instruction that is not implemented, and what a kernel does that PTX does not allow: with the PTX's line, the
    line of the CUDA C++ it came from and the threads.
    """

    def __init__(self, ptx: str, table: LaunchTable) -> None:
        self.table = table
        self.module = parse(ptx)
        constants = [v for v in self.module.variables if v.space in ("const", "global")]
        names = [f"{b.kind} {i}" for i, b in enumerate(table.buffers)]
        sizes = [*zip(names, (b.bytes for b in table.buffers), strict=True), *((v.name, v.size) for v in constants)]
        self._sizes, self._constants = sizes, constants
        starts = [r.start for r in Flat(GLOBAL, sizes).regions[len(names) :]]
        places = dict(zip((v.name for v in constants), starts, strict=True))
        self.codes: dict[str, Code] = {name: decode(self.module, self.module.kernels[name], places) for name in table.kernels()}

    def __call__(self, arrays: Sequence[Array], seed: int = 0) -> list[Array]:
        """Outputs for these inputs. seed: the order in which warps run and copies arrive; 0: as they are numbered."""
        memory = Flat(GLOBAL, self._sizes)
        for number, array in enumerate(arrays):
            memory.fill(number, np.ascontiguousarray(array).reshape(-1).view(np.uint8))
        for number, variable in enumerate(self._constants, len(self.table.buffers)):
            memory.fill(number, variable.values.ljust(variable.size, b"\0"))
        first = sum(buffer.kind == "input" for buffer in self.table.buffers)
        donated = {first + output: given for output, given in self.table.donated}
        addresses = [memory.regions[donated.get(i, i)].start for i in range(len(self.table.buffers))]
        for launch in self.table.launches:
            self.launch(launch, memory, addresses, seed)
        outputs = []
        for number, buffer in enumerate(self.table.buffers):
            if buffer.kind == "output":
                place = memory.place(donated.get(number, number))
                self._check_written(memory, place, number)
                outputs.append(memory.data[place].view(DTYPES[buffer.element].numpy).reshape(buffer.sizes).copy())
        return outputs

    def _check_written(self, memory: Flat, place: slice, number: int) -> None:
        missing = np.flatnonzero(memory.written[place] == 0)
        if len(missing):
            raise PtxError(f"the program ends and nobody has written byte {missing[0]} of output {number}")

    def launch(self, launch: Launch, memory: Flat, addresses: Sequence[int], seed: int = 0) -> None:
        """One launch. addresses: of every buffer. PtxError says what goes wrong and where."""
        code, shape = self.codes[launch.kernel], launch.shape
        memory.new_launch()
        parameters, maps = self._parameters(code, launch, addresses)
        total = int(np.prod(shape.grid))
        together = max(1, MOST_THREADS_AT_ONCE // shape.threads) if code.alone else shape.cluster
        if total % shape.cluster:
            raise PtxError(f"{launch.kernel} is launched with {total} blocks, which are no clusters of {shape.cluster}")
        for start in range(0, total, together):
            blocks = np.arange(start, min(total, start + together))
            machine = Machine(code, blocks, shape.grid, shape.threads, seed + start if seed else 0)
            machine.memory, machine.parameters = memory, parameters
            machine.local = Local(machine.count, code.local_bytes)
            shared = None if code.alone else Shared(shape.shared_bytes, len(blocks) * shape.threads, code.granule, len(blocks))
            machine.barriers = Barriers(shared)
            machine.copies = Copies(shared, memory, machine.barriers, maps, machine.count)
            machine.products = Products(-(-machine.count // 128))
            if shared is not None:
                machine.shared = shared
            self._run(machine, launch)

    @staticmethod
    def _parameters(code: Code, launch: Launch, addresses: Sequence[int]) -> tuple[Flat, dict[int, Tensor]]:
        """Parameter memory, and the tensor maps that lie in it by their address."""
        pointers = [struct.pack("<Q", addresses[p.buffer] + p.offset) for p in launch.arguments]
        given = [b"".join(pointers)] if launch.packed else pointers
        parameters = code.kernel.parameters
        memory = Flat(PARAMETERS, [("parameters", 8192)])
        start = memory.regions[0].start
        data = bytearray(8192)
        for parameter, value in zip(parameters, given, strict=False):
            at = code.places[parameter.name] - start
            data[at : at + parameter.size] = value.ljust(parameter.size, b"\0")
        memory.fill(0, bytes(data))
        behind = parameters[len(given) :]
        if any(p.size != 128 or p.alignment < 64 for p in behind):
            raise PtxError(f"{launch.kernel} takes tensor maps that are not 128 bytes, aligned to 64")
        if len(behind) != len(launch.maps):
            raise PtxError(f"{launch.kernel} has {len(parameters)} parameters and is launched with {len(given)} and {len(launch.maps)} tensor maps")
        return memory, {code.places[p.name]: tensor(view, addresses) for p, view in zip(behind, launch.maps, strict=True)}

    @staticmethod
    def _run(machine: Machine, launch: Launch) -> None:
        try:
            with np.errstate(all="ignore"):
                machine.run()
            machine.copies.check_end()
            machine.products.check_end()
            machine.barriers.check_end()
            if not machine.code.alone:
                machine.shared.check_end()
        except Fault as fault:
            now = machine.now
            facts = [("kernel", launch.kernel, launch.origin)]
            if now is not None:
                facts.append(("PTX", f"line {now.line}: {now.text[:160]}", now.source))
            threads = fault.threads if len(fault.threads) else machine.acting
            blocks = sorted({int(b) - 1 for b in machine.block[threads % machine.count]})
            shown = ", ".join(str(t % machine.block_threads) for t in threads[:4].tolist()) + (", …" if len(threads) > 4 else "")
            facts.append(("threads", f"{shown} of block {', '.join(map(str, blocks[:4]))}", ""))
            raise PtxError(fault.what, facts) from None


def tensor(view: TensorMap, addresses: Sequence[int]) -> Tensor:
    """What the runtime tells cuTensorMapEncodeTiled about a view (`cuda/device.py`). PtxError: what that would not take."""
    size = view.element_bytes
    strides = tuple(size * s for s in view.strides)
    try:
        return Tensor(addresses[view.place.buffer] + view.place.offset, size, view.sizes, strides, view.reach, view.every, 128, view.element == "tf32")
    except Fault as fault:
        raise PtxError(fault.what) from None
