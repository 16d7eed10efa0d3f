"""linalg level to buffered level: kernel functions on memrefs, one arena, an exact memory plan.

`@main` gets its inputs, its outputs and the arena; every kernel.fused becomes a call of a private function,
and structurally equal kernels share one. Top-level `prim.reshape` is an alias. Irregular prim ops become
kernels of loops at once (irregular.py).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from xdsl.dialects import arith, func, memref
from xdsl.dialects.builtin import (
    DenseArrayBase,
    FunctionType,
    IndexType,
    IntegerAttr,
    MemRefType,
    ModuleOp,
    StringAttr,
    TensorType,
    i8,
    i64,
)
from xdsl.ir import Attribute, Block, Operation, Region, SSAValue

from ..dialects.errors import PassError
from ..dialects.kernel import FusedOp
from ..dialects.target import GpuTarget, Target, target_named
from ..passes.base import Pass
from .in_place import may_overwrite
from .irregular import irregular_function
from .kernel_functions import copy_function, kernel_function, structural_key
from .linalg_to_gpu import gpu_scratch_bytes
from .linalg_to_loops import scratch_bytes
from .kept_copies import KeptCopies
from .memory_plan import Lifetime, plan
from .memref_layout import bytes_of, memory_element, memref_type, strides_in_order, strides_of

INDEX = IndexType()


@dataclass(eq=False, slots=True)
class Storage:
    """Memory several values may share: a program input or output, or a piece of the arena."""

    size: int
    first: int
    last: int
    argument: SSAValue | None = None  # of the new @main; None: in the arena
    is_input: bool = False
    offset: int = 0


@dataclass(slots=True)
class Call:
    """One kernel call, before the arena is planned."""

    function: func.FuncOp
    operands: list[tuple[Storage, MemRefType]]
    results: list[tuple[Storage, MemRefType]]
    origin: Attribute | None
    scratch: Storage | None = None


@dataclass(frozen=True)
class Bufferize(Pass):
    """Give every tensor a buffer and every kernel a function.

    Module attributes read: `lamina.donations = array<i64: output, input, …>`: output may be made in that
    input's own memory. Written: `lamina.arena_bytes`, and `lamina.donated`, the pairs that were taken: the
    caller passes one pointer for both; `lamina.reusable`, pairs for which it may, call by call, one
    input for one output;
    `lamina.unsigned`, the outputs whose elements are unsigned integers.

    keep: contractions get packed copies of program inputs that outlive a call. @main has an argument for each
    (`lamina.kept`: of which input; `lamina.forms`: how it is packed), then one that says which it has to fill again.
    """

    name: ClassVar[str] = "bufferize"
    takes: ClassVar[str] = "linalg"
    gives: ClassVar[str] = "buffered"

    target: str = "native"
    keep: bool = False

    def run(self, module: ModuleOp) -> int:
        """Rewrites the module; returns the number of kernel calls.

        PassError for ops without a meaning on buffers.
        """
        main = next(
            (
                op
                for op in module.body.block.ops
                if isinstance(op, func.FuncOp) and op.sym_name.data == "main"
            ),
            None,
        )
        if main is None:
            raise PassError("bufferize needs a function @main")
        return _Program(module, main, target_named(self.target), self.keep).run()


@dataclass
class _Program:
    module: ModuleOp
    main: func.FuncOp
    target: Target
    keep: bool
    functions: dict[object, func.FuncOp] = field(default_factory=dict)
    scratch: dict[func.FuncOp, int] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)
    storages: list[Storage] = field(default_factory=list)
    home: dict[SSAValue, tuple[Storage, MemRefType]] = field(default_factory=dict)
    uses: dict[SSAValue, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.kept = KeptCopies(self.target, self.functions)

    def run(self) -> int:
        source = self.main.body.block
        self.outputs = list(source.last_op.operands)
        self.reusable: list[tuple[int, int]] = []
        self._make_block(source)
        self._last_uses(source)
        for step, op in enumerate(source.ops):
            self._op(step, op)
        self._late_outputs(len(source.ops))
        self._plan_arena()
        self._write_main()
        return len(self.calls)

    # Arguments and lifetimes

    def _make_block(self, source: Block) -> None:
        types = [_row_major_type(v.type) for v in [*source.args, *self.outputs]]
        self.block = Block(arg_types=types)
        for arg, new in zip(source.args, self.block.args, strict=False):
            new.name_hint = arg.name_hint
            self.home[arg] = (Storage(bytes_of(new.type), -1, -1, new, is_input=True), new.type)

    def _last_uses(self, source: Block) -> None:
        """The last step at which each value's memory is read.

        Reshapes pass the question on to their operand.
        """
        root: dict[SSAValue, SSAValue] = {}
        for step, op in enumerate(source.ops):
            if op.name == "prim.reshape":
                root[op.results[0]] = root.get(op.operands[0], op.operands[0])
                continue
            for operand in op.operands:
                self.uses[root.get(operand, operand)] = step
        self.root = root
        self.direct = self._direct_outputs()
        self.donated = self._donations(source)

    def _direct_outputs(self) -> dict[SSAValue, int]:
        """Values made straight into an output buffer: the first output each made value has."""
        direct: dict[SSAValue, int] = {}
        for k, value in enumerate(self.outputs):
            made = self.root.get(value, value)
            if isinstance(made.owner, Operation) and made not in direct:
                direct[made] = k
        return direct

    def _donations(self, source: Block) -> dict[int, SSAValue]:
        """Output index -> the input whose memory it may take, as far as caller and outputs allow it."""
        asked = self.module.attributes.get("lamina.donations")
        pairs = list(asked.get_values()) if isinstance(asked, DenseArrayBase) else []
        returned = {self.root.get(v, v) for v in self.outputs}
        made = {k: v for v, k in self.direct.items()}
        found: dict[int, SSAValue] = {}
        for output, given in zip(pairs[::2], pairs[1::2], strict=True):
            value = source.args[given]
            if output in made and value not in returned and value.type == self.outputs[output].type:
                found[output] = value
        return found

    # Ops to calls

    def _op(self, step: int, op: Operation) -> None:
        if isinstance(op, func.ReturnOp):
            return
        if op.name == "prim.reshape":
            self._alias(op)
        elif isinstance(op, FusedOp):
            self._kernel(step, op)
        else:
            self._irregular(step, op)

    def _alias(self, op: Operation) -> None:
        storage, held = self.home[op.operands[0]]
        if held != _row_major_type(op.operands[0].type):
            raise PassError(
                "a reshape at the top level needs a row-major operand", [("operand", str(held), _origin(op))]
            )
        self.home[op.results[0]] = (storage, _row_major_type(op.results[0].type))

    def _kernel(self, step: int, op: FusedOp) -> None:
        operands = [self.home[v] for v in op.operands]
        orders = op.result_layouts()
        types = [
            memref_type(r.type.get_shape(), r.type.element_type, strides_in_order(r.type.get_shape(), order))
            for r, order in zip(op.results, orders, strict=True)
        ]
        inputs = [t for _, t in operands]
        given = [k for k, (storage, _) in enumerate(operands) if storage.is_input] if self.keep else []
        key = (structural_key(op, inputs, types), *given)
        function = self.functions.get(key)
        if function is None:
            function = kernel_function(f"k{len(self.functions)}", op, inputs, types)
            self.kept.offer(function, given)
            self._register(key, function)
        self._call(step, op, function, operands, types)

    def _copies(self, function: func.FuncOp, operands: list[tuple[Storage, MemRefType]]) -> list[tuple[Storage, MemRefType]]:
        """The packed copy of an operand that outlives the call, where the kernel reads one."""
        operand = self.kept.wanted(function)
        if operand is None:
            return []
        storage, held = operands[operand]
        argument = self.kept.argument(function, storage.argument, held, self.block)
        return [(Storage(bytes_of(argument.type), -1, -1, argument), argument.type)]

    def _register(self, key: object, function: func.FuncOp) -> func.FuncOp:
        """Keeps a new function, with a scratch argument when its scheduler wants one."""
        self.functions[key] = function
        known = function.attributes.get("lamina.scratch")
        self.scratch[function] = known.value.data if known is not None else self._wanted_scratch(function)
        if self.scratch[function] and known is None:
            block = function.body.block
            arg = block.insert_arg(MemRefType(i8, [self.scratch[function]]), len(block.args))
            arg.name_hint = "scratch"
            function.properties["function_type"] = FunctionType.from_lists([a.type for a in block.args], [])
        return function

    def _wanted_scratch(self, function: func.FuncOp) -> int:
        if isinstance(self.target, GpuTarget):
            return gpu_scratch_bytes(function, self.target)
        return scratch_bytes(function, self.target)

    def _irregular(self, step: int, op: Operation) -> None:
        operands = [self.home[v] for v in op.operands]
        types = [_row_major_type(r.type) for r in op.results]
        attributes = tuple(
            sorted((k, v) for k, v in [*op.attributes.items(), *op.properties.items()] if k != "origin")
        )
        key = (op.name, attributes, tuple(t for _, t in operands), tuple(types))
        function = self.functions.get(key)
        if function is None:
            inputs = [t for _, t in operands]
            function = irregular_function(f"k{len(self.functions)}", op, inputs, types, self.target)
            self._register(key, function)
        self._call(step, op, function, operands, types)

    def _call(
        self,
        step: int,
        op: Operation,
        function: func.FuncOp,
        operands: list[tuple[Storage, MemRefType]],
        types: list[MemRefType],
    ) -> None:
        results = []
        taken: set[int] = set()
        for k, (result, held) in enumerate(zip(op.results, types, strict=True)):
            storage = self._result_storage(step, op, function, k, held, taken)
            storage.last = max(storage.last, self.uses.get(result, step))
            self.home[result] = (storage, held)
            results.append((storage, held))
        call = Call(function, operands + self._copies(function, operands), results, op.attributes.get("origin"))
        if self.scratch[function]:
            call.scratch = Storage(self.scratch[function], step, step)
            self.storages.append(call.scratch)
        self.calls.append(call)

    def _result_storage(
        self, step: int, op: Operation, function: func.FuncOp, k: int, held: MemRefType, taken: set[int]
    ) -> Storage:
        output = self.direct.get(op.results[k])
        if output is not None and held == _row_major_type(op.results[k].type):
            self._settle_donation(step, op, function, k, output)
            self._find_reusable(step, op, function, k, output)
            argument = self.block.args[len(self.main.body.block.args) + output]
            return Storage(bytes_of(held), step, step, argument)
        self.direct.pop(op.results[k], None)
        for i, operand in enumerate(op.operands):
            if i not in taken and self._dies_here(step, op, i, held) and may_overwrite(function, i, k):
                taken.add(i)
                return self.home[operand][0]
        storage = Storage(bytes_of(held), step, step)
        self.storages.append(storage)
        return storage

    def _dies_here(self, step: int, op: Operation, i: int, held: MemRefType) -> bool:
        """Whether operand i is an arena buffer of this very type that nobody needs after this call."""
        storage, type_here = self.home[op.operands[i]]
        if storage.argument is not None or storage.last > step or type_here != held:
            return False
        return sum(self.home[v][0] is storage for v in op.operands) == 1

    def _settle_donation(self, step: int, op: Operation, function: func.FuncOp, k: int, output: int) -> None:
        """Keeps a donation only if the input is read here for the last time, element by element."""
        given = self.donated.get(output)
        if given is None:
            return
        storage, held = self.home[given]
        reads = [i for i, v in enumerate(op.operands) if self.home[v][0] is storage]
        clear = self.uses.get(given, -1) <= step and held == self.home_type(op, k)
        if not clear or len(reads) > 1 or (reads and not may_overwrite(function, reads[0], k)):
            del self.donated[output]

    def _find_reusable(self, step: int, op: Operation, function: func.FuncOp, k: int, output: int) -> None:
        """Notes the program inputs that are read here for the last time as this output is made, element by element."""
        returned = {self.root.get(v, v) for v in self.outputs}
        for i, operand in enumerate(op.operands):
            given = self.root.get(operand, operand)
            storage, held = self.home[operand]
            if not storage.is_input or given in returned or given.owner is not self.main.body.block:
                continue
            number, clear = given.index, self.uses.get(given, -1) <= step and held == self.home_type(op, k)
            once = sum(self.home[v][0] is storage for v in op.operands) == 1
            if clear and once and may_overwrite(function, i, k):
                self.reusable.append((output, number))

    def home_type(self, op: Operation, k: int) -> MemRefType:
        return _row_major_type(op.results[k].type)

    # Outputs that are not made in place: inputs returned, values returned twice, other layouts

    def _late_outputs(self, step: int) -> None:
        offset = len(self.main.body.block.args)
        made = {k for v, k in self.direct.items()}
        for k, value in enumerate(self.outputs):
            if k in made:
                continue
            storage, held = self.home[value]
            wanted = self.block.args[offset + k]
            key = ("copy", held, wanted.type)
            function = self.functions.get(key)
            if function is None:
                function = self._register(key, copy_function(f"k{len(self.functions)}", held, wanted.type))
            storage.last = max(storage.last, step)
            target = Storage(bytes_of(wanted.type), step, step, wanted)
            call = Call(function, [(storage, held)], [(target, wanted.type)], None)
            if self.scratch[function]:
                call.scratch = Storage(self.scratch[function], step, step)
                self.storages.append(call.scratch)
            self.calls.append(call)
        self.donated = {k: v for k, v in self.donated.items() if k in made}

    # The new @main

    def _plan_arena(self) -> None:
        offsets, self.arena_bytes = plan([Lifetime(s.size, s.first, s.last) for s in self.storages])
        for storage, offset in zip(self.storages, offsets, strict=True):
            storage.offset = offset

    def _write_main(self) -> None:
        views = _Views(self.block)
        self.kept.write(self.block, lambda source, held: views.of(Storage(0, -1, -1, source), held))
        views.arena = arena = self.block.insert_arg(MemRefType(i8, [self.arena_bytes]), len(self.block.args))
        arena.name_hint = "arena"
        for call in self.calls:
            operands = [views.of(storage, held) for storage, held in (*call.operands, *call.results)]
            if call.scratch is not None:
                operands.append(views.of(call.scratch, call.function.body.block.args[-1].type))
            invoke = func.CallOp(call.function.sym_name.data, operands, [])
            if call.origin is not None:
                invoke.attributes["origin"] = call.origin
            self.block.add_op(invoke)
        self.block.add_op(func.ReturnOp())
        self._replace()

    def _replace(self) -> None:
        main = func.FuncOp("main", ([a.type for a in self.block.args], []), Region(self.block))
        main.attributes.update(self.main.attributes)
        inputs = list(self.main.body.block.args)
        top = self.module.body.block
        self.main.detach()
        self.main.drop_all_references()
        for function in self.functions.values():
            top.add_op(function)
        top.add_op(main)
        pairs = [n for k, v in sorted(self.donated.items()) for n in (k, inputs.index(v))]
        self.module.attributes.pop("lamina.donations", None)
        self.module.attributes["lamina.arena_bytes"] = IntegerAttr(self.arena_bytes, i64)
        self.kept.describe(self.module)
        elements = [v.type.element_type for v in self.outputs]
        unsigned = [k for k, element in enumerate(elements) if memory_element(element) != element]
        if unsigned:
            self.module.attributes["lamina.unsigned"] = DenseArrayBase.from_list(i64, unsigned)
        found = [n for pair in sorted(self.reusable) for n in pair]
        if found:
            self.module.attributes["lamina.reusable"] = DenseArrayBase.from_list(i64, found)
        if pairs:
            self.module.attributes["lamina.donated"] = DenseArrayBase.from_list(i64, pairs)


class _Views:
    """Memrefs of storages in @main, each made once, right before its first use."""

    def __init__(self, block: Block) -> None:
        self.block = block
        self.arena: SSAValue | None = None
        self.made: dict[tuple[object, MemRefType], SSAValue] = {}

    def of(self, storage: Storage, held: MemRefType) -> SSAValue:
        if storage.argument is not None and storage.argument.type == held:
            return storage.argument
        key = (storage.argument or storage.offset, held)
        if key not in self.made:
            self.made[key] = self._cast(self._flat(storage, held), held)
        return self.made[key]

    def _flat(self, storage: Storage, held: MemRefType) -> SSAValue:
        if storage.argument is not None:
            return storage.argument
        length = (
            storage.size
            if held.element_type == i8
            else bytes_of(held) // max(1, bytes_of(memref_type((1,), held.element_type)))
        )
        flat = memref_type((length,), held.element_type)
        key = (storage.offset, flat)
        if key not in self.made:
            offset = arith.ConstantOp(IntegerAttr(storage.offset, INDEX))
            view = memref.ViewOp(self.arena, offset.result, [], flat)
            self.block.add_ops([offset, view])
            self.made[key] = view.result
        return self.made[key]

    def _cast(self, source: SSAValue, held: MemRefType) -> SSAValue:
        if source.type == held:
            return source
        cast = memref.ReinterpretCastOp.from_dynamic(source, [0], held.get_shape(), strides_of(held), held)
        self.block.add_op(cast)
        return cast.result


def _row_major_type(tensor: Attribute) -> MemRefType:
    if not isinstance(tensor, TensorType):
        raise PassError(f"a program's values are tensors, got {tensor}")
    return memref_type(tensor.get_shape(), tensor.element_type)


def _origin(op: Operation) -> str:
    origin = op.attributes.get("origin")
    return origin.data if isinstance(origin, StringAttr) else ""
