"""The launch table: @main of a gpu-level module as data, every launch with its grid and where its arguments lie.

Loops of @main are gone through: a table has none.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from xdsl.dialects import func
from xdsl.dialects.builtin import DenseArrayBase, MemRefType, ModuleOp, StringAttr
from xdsl.ir import BlockArgument

from ..dialects.errors import BackendError
from ..dialects.nv_hopper import TensorMapOp
from .gpu_calls import Called, Place, calls_of
from .gpu_launch import LaunchShape, launch_shape
from .liveness import ops_within, written_roots
from .memref_layout import bytes_of, element_bytes

MAP_BYTES = {"bf16": 2, "f16": 2, "f32": 4, "tf32": 4, "i32": 4, "i8": 1}
"""What tensor maps are of, and the bytes of an element."""


@dataclass(frozen=True)
class TensorMap:
    """A box-wise view of an array, which the host makes and passes by value (see nv.tensor_map).

    sizes, box: elements, innermost first; strides: elements, of every dimension but the innermost; every: how far apart a box's elements
    are along each dimension. element: a key of MAP_BYTES; tf32 is f32, rounded on the way.
    """

    place: Place
    element: str
    sizes: tuple[int, ...]
    strides: tuple[int, ...]
    box: tuple[int, ...]
    every: tuple[int, ...]

    @property
    def element_bytes(self) -> int:
        return MAP_BYTES[self.element]

    @property
    def reach(self) -> tuple[int, ...]:
        """Over how many elements a box goes along each dimension: what cuTensorMapEncodeTiled calls its size."""
        return tuple(b * e for b, e in zip(self.box, self.every, strict=True))


@dataclass(frozen=True)
class Launch:
    """One kernel launch: arguments are pointers, in the order of the kernel's parameters; tensor maps follow them.

    packed: the kernel's only parameter is the array of all pointers.
    """

    kernel: str
    shape: LaunchShape
    arguments: tuple[Place, ...]
    origin: str
    maps: tuple[TensorMap, ...] = ()
    packed: bool = False


@dataclass(frozen=True)
class Buffer:
    """One array of the program. element: its IR element type, ``f32`` or ``i64``."""

    kind: str
    element: str
    sizes: tuple[int, ...]
    bytes: int


@dataclass(frozen=True)
class LaunchTable:
    """Everything a host needs to run a program: its arrays (inputs, outputs, arena) and its launches in order.

    donated: pairs (output, input) that are passed one pointer. reusable: pairs that may be, call by call, each input for one output.
    """

    buffers: tuple[Buffer, ...]
    launches: tuple[Launch, ...]
    donated: tuple[tuple[int, int], ...] = ()
    reusable: tuple[tuple[int, int], ...] = ()

    @property
    def arena_bytes(self) -> int:
        return self.buffers[-1].bytes

    def kernels(self) -> list[str]:
        """Names of the kernels that are launched, each once."""
        return list(dict.fromkeys(launch.kernel for launch in self.launches))

    def shared_bytes(self) -> dict[str, int]:
        """Shared memory of each kernel, the most any of its launches has."""
        found: dict[str, int] = {}
        for launch in self.launches:
            found[launch.kernel] = max(launch.shape.shared_bytes, found.get(launch.kernel, 0))
        return found

    def as_json(self) -> dict[str, Any]:
        """Plain lists and dicts."""
        return asdict(self)

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> LaunchTable:
        """The table `as_json` describes."""
        launches = [
            Launch(
                given["kernel"],
                LaunchShape(**{**given["shape"], "grid": tuple(given["shape"]["grid"])}),
                tuple(Place(**place) for place in given["arguments"]),
                given["origin"],
                tuple(
                    TensorMap(
                        Place(**m["place"]), m["element"], tuple(m["sizes"]), tuple(m["strides"]), tuple(m["box"]), tuple(m["every"])
                    )
                    for m in given["maps"]
                ),
                given["packed"],
            )
            for given in data["launches"]
        ]
        buffers = [Buffer(**{**given, "sizes": tuple(given["sizes"])}) for given in data["buffers"]]
        donated, reusable = (tuple(map(tuple, data[pairs])) for pairs in ("donated", "reusable"))
        return LaunchTable(tuple(buffers), tuple(launches), donated, reusable)


def launch_table(
    module: ModuleOp, parameters: Mapping[str, Sequence[int]], outputs: int | None = None,
    maps: Mapping[str, Sequence[TensorMapOp]] | None = None, packed: Collection[str] = (),
) -> LaunchTable:  # fmt: skip
    """The table of a gpu-level module. BackendError without @main.

    parameters: per kernel which arguments are passed; maps: the tensor maps behind them; packed: kernels that get one table of
    pointers. outputs: how many of @main's arguments are; None: from the first one
    a kernel writes (outputs without elements before it would count as inputs).
    """
    functions = {op.sym_name.data: op for op in module.body.block.ops if isinstance(op, func.FuncOp)}
    main = functions.get("main")
    if main is None:
        raise BackendError("a program needs a function @main")
    outputs = _output_count(main, functions) if outputs is None else outputs
    arguments = main.body.block.args
    kinds = ["input"] * (len(arguments) - 1 - outputs) + ["output"] * outputs + ["arena"]
    buffers = tuple(_buffer(a.type, kind) for a, kind in zip(arguments, kinds, strict=True))
    launches = []
    for call in calls_of(main):
        op = call.op
        name = op.callee.string_value()
        shape = launch_shape(functions[name])
        if shape is None:
            raise BackendError(f"@main calls {name}, which is no kernel of the gpu level")
        origin = op.attributes.get("origin")
        places = tuple(call.places[i] for i in parameters[name])
        views = tuple(_tensor_map(view, call) for view in (maps or {}).get(name, ()))
        launches.append(Launch(name, shape, places, origin.data if isinstance(origin, StringAttr) else "", views, name in packed))
    return LaunchTable(buffers, tuple(launches), _pairs(module, "lamina.donated"), _pairs(module, "lamina.reusable"))


def _pairs(module: ModuleOp, name: str) -> tuple[tuple[int, int], ...]:
    given = module.attributes.get(name)
    flat = list(given.get_values()) if isinstance(given, DenseArrayBase) else []
    return tuple(zip(flat[::2], flat[1::2], strict=True))


def _output_count(main: func.FuncOp, functions: Mapping[str, func.FuncOp]) -> int:
    """How many of main's arguments are outputs: kernels write outputs and the arena, never inputs."""
    arguments = list(main.body.block.args)
    first = len(arguments) - 1
    for call in calls_of(main, 1):
        function = functions[call.op.callee.string_value()]
        written = written_roots(ops_within(function))
        for mine, given in zip(function.body.block.args, call.places, strict=True):
            if mine in written:
                first = min(first, given.buffer)
    return len(arguments) - 1 - first


def _tensor_map(view: TensorMapOp, call: Called) -> TensorMap:
    """The map of a kernel's argument for one call."""
    assert isinstance(view.source, BlockArgument)
    given = call.places[view.source.index]
    element = view.source.type.element_type
    place = Place(given.buffer, given.offset + view.offset.value.data * element_bytes(element))
    sizes, strides, box = (tuple(a.get_values()) for a in (view.sizes, view.strides, view.box))
    every = tuple(view.every.get_values()) if view.every is not None else (1,) * len(box)
    return TensorMap(place, str(element) if view.tf32 is None else "tf32", sizes, strides, box, every)


def _buffer(held: MemRefType, kind: str) -> Buffer:
    return Buffer(kind, str(held.element_type), tuple(held.get_shape()), bytes_of(held))
