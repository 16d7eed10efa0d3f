"""linalg level to buffered level: kernel functions on memrefs, one arena, an exact memory plan.

`@main` gets its inputs, its outputs and the arena; every kernel.fused becomes a call of a private function,
and structurally equal kernels share one. Top-level `prim.reshape` is an alias. Irregular prim ops become
kernels of loops at once (irregular.py).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

from xdsl.dialects import func
from xdsl.dialects.builtin import (
    ArrayAttr,
    BFloat16Type,
    DenseArrayBase,
    FunctionType,
    IntegerAttr,
    MemRefType,
    ModuleOp,
    StringAttr,
    i8,
    i64,
)
from xdsl.ir import Block, Operation, Region, SSAValue

from ..dialects.attributes import Numbers, dimensions
from ..dialects.errors import PassError
from ..dialects.kernel import FusedOp
from ..dialects.ops import ScanOp
from ..dialects.sizes import any_symbolic, largest
from ..dialects.target import GpuTarget, Target, target_named
from ..passes.base import Pass
from ..passes.program import BOUND, bound_inputs
from . import padded_rows, plane_gaps
from .buffer_views import CallWriter
from .bufferize_scan import Goal, ScanBuffers
from .blocked_calls import BlockedCalls, is_product
from .contraction_decision import Decision
from .in_place import is_made_from, may_overwrite
from .irregular import irregular_function
from .kernel_functions import copy_function, kernel_function, structural_key
from .kept_copies import KeptCopies
from .known_plans import read_plans
from .linalg_to_loops import plan_kernel, scratch_bytes
from .memory_plan import Lifetime, plan
from .memref_layout import bytes_of, memory_element, memref_type, places_of, row_major_type, strides_in_order, strides_of
from .placed_parts import PlacedParts, Whole, without_copies
from .recomputed_calls import recompute
from .sweeps import choose_sweeps
from .zero_margins import Box, multiplies, note, padded_values
from .shared_loops import SharedLoops
from .storage import Call, Home, Loop, Storage, row
from .striped_calls import StripedCalls
from .widened_operands import WidenedOperands

_SIZE = re.compile(r"(?:\b|x)s\d")
"""A size that is known at the call only, as IR prints it: `s0 * 64`, `memref<16xs1xf32>`."""


@dataclass(frozen=True)
class Bufferize(Pass):
    """Give every tensor a buffer and every kernel a function.

    Module attributes read: `lamina.donations = array<i64: output, input, …>`: output may be made in that
    input's own memory. Written: `lamina.arena_bytes`, and `lamina.donated`, the pairs that were taken: the
    caller passes one pointer for both; `lamina.reusable`, pairs for which it may, call by call, one
    input for one output;
    `lamina.unsigned`, the outputs whose elements are unsigned integers.

    keep: packed copies for contractions and what is computed of weights alone outlive a call. @main has an argument for each
    (`lamina.kept`: of which inputs; `lamina.forms`: how), then one that says which it has to fill again. Where `lamina.bound` says which
    inputs are the same in every call, of those alone.
    plans: a file of known plans (`known_plans.py`). Every contraction gets its plan written on its function, `lamina.plan`.
    """

    name: ClassVar[str] = "bufferize"
    takes: ClassVar[str] = "linalg"
    gives: ClassVar[str] = "buffered"

    target: str = "native"
    keep: bool = False
    plans: str = ""

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
        return _Program(module, main, target_named(self.target), self.keep, read_plans(self.plans)).run()


@dataclass
class _Program:
    module: ModuleOp
    main: func.FuncOp
    target: Target
    keep: bool
    known: Mapping[str, Decision]
    functions: dict[object, func.FuncOp] = field(default_factory=dict)
    scratch: dict[func.FuncOp, int] = field(default_factory=dict)
    calls: list[Call | Loop] = field(default_factory=list)
    storages: list[Storage] = field(default_factory=list)
    home: dict[SSAValue, Home] = field(default_factory=dict)
    uses: dict[SSAValue, int] = field(default_factory=dict)
    root: dict[SSAValue, SSAValue] = field(default_factory=dict)
    begins: dict[Operation, int] = field(default_factory=dict)
    ends: dict[Operation, int] = field(default_factory=dict)
    targets: dict[SSAValue, Goal] = field(default_factory=dict)
    invariant: dict[SSAValue, ScanBuffers] = field(default_factory=dict)
    parts: PlacedParts = field(default_factory=PlacedParts)
    wholes: dict[Whole, Storage] = field(default_factory=dict)
    padded: dict[SSAValue, Box] = field(default_factory=dict)
    numbers: Numbers = field(default_factory=Numbers)

    def __post_init__(self) -> None:
        names = self.module.attributes.get("lamina.names")
        given = [str(name.data) for name in names] if isinstance(names, ArrayAttr) else []
        self.names = given or [""] * len(self.main.body.block.args)
        self.bound = bound_inputs(self.module)
        self.is_open = any(any_symbolic(a.type.get_shape()) for a in self.main.body.block.args)  # type: ignore[attr-defined]  # tensors
        self.kept = KeptCopies(self.target, self.functions, self.known)

    def run(self) -> int:
        source = self.main.body.block
        self.outputs = list(source.last_op.operands)
        self.reusable: list[tuple[bool, int, int, int]] = []  # made apart from the input, inputs it is made from, output, input
        self._make_block(source)
        self.count = 0
        steps = self._number(source, 0)
        self._last_uses(source)
        self.returned = {self.root.get(v, v) for v in self.outputs}
        self.direct = self._direct_outputs()
        self.donated = self._donations(source)
        if not isinstance(self.target, GpuTarget):
            self.parts.find(source, self.returned)
            self.padded = padded_values(source)
        for op in source.ops:
            self.op(op)
        self._late_outputs(steps)
        if not isinstance(self.target, GpuTarget):
            self._read_narrow()
            recompute(self.calls, self.storages, self.target)
            BlockedCalls(self.target, self.functions, self._register).rewrite(self.calls, self.storages)
            StripedCalls(self.target, self.functions, self._register, self._given()).rewrite(self.calls, self.storages)
            SharedLoops(self.target, self.functions, self._register).rewrite(self.calls, self.storages)
            self.storages += self.kept.settle(self.calls, self.block)
            choose_sweeps(self.calls, self.target)
        else:
            self._rewrite_for_gpu(self.target)
        self._plan_arena()
        self._write_main()
        return self.count

    def _rewrite_for_gpu(self, target: GpuTarget) -> None:
        """Products with row folds between them become one kernel; others read what was widened for them, or copies in their order;
        calls that are alike become one."""
        from .chained_calls import ChainedCalls  # programs for CPUs wait for none of this
        from .gathered_calls import GatheredCalls
        from .gpu_chain import match_chain
        from .narrow_stores import NarrowStores
        from .reordered_operands import ReorderedOperands

        machines = [target, replace(target, access_bytes=1)]  # where arguments will lie is not known yet

        def fits(function: func.FuncOp) -> bool:
            return all(match_chain(function, machine) is not None for machine in machines)

        ChainedCalls(self.functions, self._register, fits, self._given()).rewrite(self.calls, self.storages)
        self._read_narrow()
        NarrowStores(self.functions, self._register).rewrite(self.calls, self.storages)
        ReorderedOperands(target, self.functions, self._register).rewrite(self.calls, self.storages)
        GatheredCalls(self.functions, self._register, self._may_share()).rewrite(self.calls, self.storages)

    def _read_narrow(self) -> None:
        """Products of narrow numbers read them, not what they were widened to for the product (widened_operands.py)."""
        narrow = [i8] if self.target.multiplies_bytes else []
        narrow += [BFloat16Type()] if "bf16" in self.target.tiles | self.target.dots else []
        if narrow:
            WidenedOperands(self.functions, self._register, narrow, self._given()).rewrite(self.calls, self.storages)

    def _given(self) -> frozenset[SSAValue]:
        """Arguments whose memory may be another array's once they were read for the last time."""
        donated = (self.home[v][0].argument for v in self.donated.values())
        return frozenset((*(self.block.args[n] for *_, n in self.reusable), *(a for a in donated if a is not None)))

    def _may_share(self) -> list[tuple[SSAValue, SSAValue]]:
        """Outputs and the inputs whose memory they may be given."""
        offset = len(self.main.body.block.args)
        donated = [(k, v.index) for k, v in self.donated.items()]  # type: ignore[attr-defined]  # arguments of @main
        pairs = [*donated, *((output, given) for *_, output, given in self.reusable)]
        return [(self.block.args[offset + output], self.block.args[given]) for output, given in pairs]

    # Arguments and lifetimes

    def _make_block(self, source: Block) -> None:
        types = [row_major_type(v.type) for v in [*source.args, *self.outputs]]
        self.block = Block(arg_types=types)
        for arg, new in zip(source.args, self.block.args, strict=False):
            new.name_hint = arg.name_hint
            self.home[arg] = (Storage(bytes_of(new.type), -1, -1, new, is_input=True), new.type)

    def _number(self, block: Block, step: int) -> int:
        """Number the ops, those of a scan's body between its beginning and its end; the next free number."""
        for op in block.ops:
            self.begins[op] = self.ends[op] = step
            step += 1
            if isinstance(op, ScanOp):
                self.ends[op] = self._number(op.body, step)
                step = self.ends[op] + 1
        return step

    def _last_uses(self, block: Block) -> None:
        """The last step at which each value's memory is read.

        Reshapes pass the question on to their operand.
        """
        root = self.root
        for op in block.ops:
            if op.name == "prim.reshape":
                root[op.results[0]] = root.get(op.operands[0], op.operands[0])
                continue
            for operand in op.operands:
                value = root.get(operand, operand)
                self.uses[value] = self.ends[op]
            if isinstance(op, ScanOp):
                self._last_uses(op.body)

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
        made = {k: v for v, k in self.direct.items()}
        found: dict[int, SSAValue] = {}
        for output, given in zip(pairs[::2], pairs[1::2], strict=True):
            value = source.args[given]
            if output in made and value not in self.returned and value.type == self.outputs[output].type:
                found[output] = value
        return found

    # Ops to calls

    def op(self, op: Operation) -> None:
        """Home and calls of one op."""
        step = self.begins[op]
        if isinstance(op, func.ReturnOp):
            return
        if op.name == "prim.reshape":
            self._alias(op)
        elif isinstance(op, ScanOp):
            ScanBuffers(self, op).write()
        elif isinstance(op, FusedOp):
            self._kernel(step, op)
        else:
            self._irregular(step, op)

    def _alias(self, op: Operation) -> None:
        storage, held = self.home[op.operands[0]]
        shape, wanted = op.operands[0].type.get_shape(), op.results[0].type.get_shape()  # type: ignore[attr-defined]  # tensors
        strides = plane_gaps.reshaped(shape, strides_of(held), wanted)
        if strides is not None and plane_gaps.reshaped(wanted, strides, shape) == strides_of(held):
            self.home[op.results[0]] = (storage, memref_type(wanted, held.element_type, strides))
            return
        if held != row_major_type(op.operands[0].type):
            raise PassError(
                "a reshape at the top level needs a row-major operand", [("operand", str(held), _origin(op))]
            )
        self.home[op.results[0]] = (storage, row_major_type(op.results[0].type))

    def _kernel(self, step: int, op: FusedOp) -> None:
        operands = [self.home[v] for v in op.operands]
        orders, places = op.result_layouts(), self.parts.places
        outlives = bool(operands) and all(self._is_kept(storage) for storage, _ in operands)
        types = [self._held(r, order, outlives) if r not in places else places[r].held for r, order in zip(op.results, orders, strict=True)]
        if op in self.parts.copied:
            self._rest(step, op, operands, types)
            return
        inputs = [t for _, t in operands]
        scans = [self._scan_of(v) for v in op.operands]
        given = [k for k, scan in enumerate(scans) if self._is_kept(operands[k][0]) or scan is not None]
        times = max((scan.counts.steps for scan in scans if scan is not None), default=1)
        boxes = [self.padded.get(v) for v in op.operands] if self.padded and multiplies(op) else []
        boxes = boxes if any(boxes) else []
        key = (structural_key(op, inputs, types, self.numbers), times, *given, *boxes)
        function = self.functions.get(key)
        if function is None:
            function = kernel_function(f"k{len(self.functions)}", op, inputs, types)
            note(function, boxes)
            self.kept.offer(function, given, times)
            self._register(key, function)
        if self._follows_from_weights(op, function, operands):
            argument = self.kept.computed(function, operands, self.block)
            self.home[op.results[0]] = Storage(bytes_of(types[0]), -1, -1, argument), types[0]
            return
        self._call(step, op, function, operands, types)

    def _held(self, result: SSAValue, order: Sequence[int], outlives: bool) -> MemRefType:
        """A kernel's result in memory. outlives: it may outlive the call; who keeps it knows its shape alone."""
        if outlives or result in self.returned or result in self.targets:
            strides = strides_in_order(result.type.get_shape(), order)  # type: ignore[attr-defined]  # a tensor
        elif isinstance(self.target, GpuTarget):
            strides = padded_rows.strides_with_gaps(result, order, self.target)
        else:
            strides = plane_gaps.strides_with_gaps(result, order)
        return memref_type(result.type.get_shape(), result.type.element_type, strides)  # type: ignore[attr-defined]  # a tensor

    def _rest(self, step: int, op: FusedOp, operands: list[Home], types: list[MemRefType]) -> None:
        """A kernel some of whose operands were made where it would copy them to."""
        copied = self.parts.copied[op]
        inputs = [t for _, t in operands]
        key = (structural_key(op, inputs, types, self.numbers), "without copies of", *copied)
        function = self.functions.get(key)
        if function is None:
            function = kernel_function(f"k{len(self.functions)}", op, inputs, types)
            if without_copies(function, copied):
                self._register(key, function)
            else:
                function = None
        if function is None:
            storage = self._place(step, op.results[0])
            storage.keep(self.uses.get(op.results[0], step))
            self.home[op.results[0]] = storage, types[0]
            return
        self._call(step, op, function, [home for k, home in enumerate(operands) if k not in copied], types)

    def _place(self, step: int, value: SSAValue) -> Storage:
        """The memory of a value that is made in a buffer with others."""
        place = self.parts.places[value]
        whole = self.wholes.get(place.whole)
        if whole is None:
            whole = self.wholes[place.whole] = Storage(bytes_of(place.whole.held), step, step)
            self.storages.append(whole)
        return row(whole, None, 0, place.shift) if place.held != place.whole.held or place.shift else whole

    def _is_kept(self, storage: Storage) -> bool:
        """Whether a packed copy of this memory may outlive the call."""
        if not self.keep:
            return False
        if storage.is_input and self.bound is not None:
            return storage.argument.index in self.bound  # type: ignore[union-attr]  # an argument
        return storage.is_input or self.kept.holds(storage)

    def _follows_from_weights(self, op: FusedOp, function: func.FuncOp, operands: list[Home]) -> bool:
        """Whether a kernel's result may outlive the call: it reads weights and what was made of them, and nothing else.

        Weights are inputs that have names, and what stands beside them; not what a program gives back changed. Products are what a program
        is for. What depends on sizes that differ from call to call is made anew.
        """
        if not operands or len(op.results) != 1 or self.scratch[function] or op.results[0] in self.returned:
            return False
        if op in self.parts.copied or op.results[0] in self.parts.places or not all(self._is_kept(storage) for storage, _ in operands):
            return False
        if is_product(function):
            return False
        if self.is_open and _asks_sizes(function):
            return False
        if self.bound is not None:
            return True
        inputs = [s.argument.index for s, _ in operands if s.is_input]  # type: ignore[union-attr]  # arguments of @main
        if len(inputs) == len(operands) and not any(self.names[i] for i in inputs):
            return False
        return {v.type for v in self.outputs}.isdisjoint([self.main.body.block.args[i].type for i in inputs])

    def _scan_of(self, value: SSAValue) -> ScanBuffers | None:
        """The scan whose every step sees this value of its body whole."""
        return self.invariant.get(self.root.get(value, value))

    def _copies(self, op: Operation, function: func.FuncOp, operands: list[Home]) -> list[Home]:
        """The packed copy of an operand that is made once, before the program runs or in front of a loop, where there is one."""
        operand = self.kept.wanted(function)
        if operand is None:
            return []
        storage, held = operands[operand]
        if not self._is_kept(storage):
            scan = self._scan_of(op.operands[operand])
            assert scan is not None
            return [scan.packed(self.kept.maker(function), operands[operand])]
        argument = self.kept.argument(function, (storage, held), self.block)
        return [(Storage(bytes_of(argument.type), -1, -1, argument), argument.type)]

    def _register(self, key: object, function: func.FuncOp) -> func.FuncOp:
        """Keeps a new function, with a scratch argument when its scheduler wants one."""
        self.functions[key] = function
        known = function.attributes.get("lamina.scratch")
        self.scratch[function] = known.value.data if known is not None else self._wanted_scratch(function)
        if self.scratch[function] and known is None:
            block = function.body.block
            arg = block.insert_arg(MemRefType(i8, dimensions([self.scratch[function]])), len(block.args))
            arg.name_hint = "scratch"
            function.properties["function_type"] = FunctionType.from_lists([a.type for a in block.args], [])
        return function

    def _wanted_scratch(self, function: func.FuncOp) -> int:
        if isinstance(self.target, GpuTarget):
            from .linalg_to_gpu import gpu_scratch_bytes  # programs for CPUs do not wait for it

            return gpu_scratch_bytes(function, self.target)
        plan_kernel(function, self.target, self.known)
        return scratch_bytes(function, self.target)

    def _irregular(self, step: int, op: Operation) -> None:
        operands = [self.home[v] for v in op.operands]
        types = [row_major_type(r.type) for r in op.results]
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
        operands: list[Home],
        types: list[MemRefType],
    ) -> None:
        results = []
        taken: set[int] = set()
        for k, (result, held) in enumerate(zip(op.results, types, strict=True)):
            storage = self._result_storage(step, op, function, k, held, taken)
            storage.keep(self.uses.get(result, step))
            self.home[result] = (storage, held)
            results.append((storage, held))
        copies = self._copies(op, function, operands)
        self._add(step, Call(function, operands + copies, results, op.attributes.get("origin")))

    def _add(self, step: int, call: Call) -> None:
        if self.scratch[call.function]:
            call.scratch = Storage(self.scratch[call.function], step, step)
            self.storages.append(call.scratch)
        call.step = step
        self.calls.append(call)
        self.count += 1

    def copy(self, step: int, source: Home, target: Home) -> None:
        """A call that copies one buffer into another."""
        key = ("copy", source[1], target[1])
        function = self.functions.get(key)
        if function is None:
            function = self._register(key, copy_function(f"k{len(self.functions)}", source[1], target[1]))
        source[0].keep(step)
        self._add(step, Call(function, [source], [target], None))

    def _result_storage(
        self, step: int, op: Operation, function: func.FuncOp, k: int, held: MemRefType, taken: set[int]
    ) -> Storage:
        if op.results[k] in self.parts.places:
            return self._place(step, op.results[k])
        target = self.targets.get(op.results[k])
        if target is not None and target.takes(step, op, function, k, held):
            return target.storage
        output = self.direct.get(op.results[k])
        if output is not None and held == row_major_type(op.results[k].type):
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
        """Whether operand i is an arena buffer with elements in the very same places that nobody needs after this call."""
        storage, type_here = self.home[op.operands[i]]
        if storage.argument is not None or storage.last > step or places_of(type_here) != places_of(held):
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
        """Notes the program inputs that are read here for the last time as this output is made, element by element.

        Those it is made from come first, and outputs made from few inputs before others: what a program updates stays where it is.
        """
        found = []
        for i, operand in enumerate(op.operands):
            given = self.root.get(operand, operand)
            storage, held = self.home[operand]
            if not storage.is_input or given in self.returned or given.owner is not self.main.body.block:
                continue
            number, clear = given.index, self.uses.get(given, -1) <= step and held == self.home_type(op, k)
            once = sum(self.home[v][0] is storage for v in op.operands) == 1
            if clear and once and may_overwrite(function, i, k):
                found.append((not is_made_from(function, i, k), output, number))
        makers = sum(not apart for apart, _, _ in found)
        self.reusable += [(apart, makers, output, number) for apart, output, number in found]

    def home_type(self, op: Operation, k: int) -> MemRefType:
        return row_major_type(op.results[k].type)

    # Outputs that are not made in place: inputs returned, values returned twice, other layouts

    def _late_outputs(self, step: int) -> None:
        offset = len(self.main.body.block.args)
        made = {k for v, k in self.direct.items()}
        for k, value in enumerate(self.outputs):
            if k in made:
                continue
            wanted = self.block.args[offset + k]
            self.copy(step, self.home[value], (Storage(bytes_of(wanted.type), step, step, wanted), wanted.type))
        self.donated = {k: v for k, v in self.donated.items() if k in made}

    # The new @main

    def _plan_arena(self) -> None:
        offsets, self.arena_bytes = plan([Lifetime(largest(s.size), s.first, s.last) for s in self.storages])
        for storage, offset in zip(self.storages, offsets, strict=True):
            storage.offset = offset

    def _write_main(self) -> None:
        writer = CallWriter(self.block)
        self.kept.add_flags(self.block)
        writer.arena = arena = self.block.insert_arg(MemRefType(i8, [self.arena_bytes]), len(self.block.args))
        arena.name_hint = "arena"
        self.kept.write(self.block, lambda home: writer.of(*home))
        writer.write(self.calls)
        self.block.add_op(func.ReturnOp())
        self._replace()

    def _replace(self) -> None:
        main = func.FuncOp("main", ([a.type for a in self.block.args], []), Region(self.block))
        main.attributes.update(self.main.attributes)
        inputs = list(self.main.body.block.args)
        top = self.module.body.block
        self.main.detach()
        self.main.drop_all_references()
        used = _called(main, {f.sym_name.data: f for f in self.functions.values()})
        for function in self.functions.values():
            if function.sym_name.data in used:
                top.add_op(function)
        top.add_op(main)
        pairs = [n for k, v in sorted(self.donated.items()) for n in (k, inputs.index(v))]
        self.module.attributes.pop("lamina.donations", None)
        self.module.attributes.pop(BOUND, None)
        self.module.attributes["lamina.arena_bytes"] = IntegerAttr(self.arena_bytes, i64)
        self.kept.describe(self.module)
        elements = [v.type.element_type for v in self.outputs]
        unsigned = [k for k, element in enumerate(elements) if memory_element(element) != element]
        if unsigned:
            self.module.attributes["lamina.unsigned"] = DenseArrayBase.from_list(i64, unsigned)
        found = [n for *_, output, number in sorted(self.reusable) for n in (output, number)]
        if found:
            self.module.attributes["lamina.reusable"] = DenseArrayBase.from_list(i64, found)
        if pairs:
            self.module.attributes["lamina.donated"] = DenseArrayBase.from_list(i64, pairs)


def _asks_sizes(function: func.FuncOp) -> bool:
    """Whether a size that is known at the call only is anywhere in a kernel."""
    for op in function.walk():
        types = (v.type for v in (*op.results, *(a for region in op.regions for block in region.blocks for a in block.args)))
        if any(_SIZE.search(str(a)) for a in (*op.properties.values(), *op.attributes.values(), *types)):
            return True
    return False


def _called(function: func.FuncOp, functions: dict[str, func.FuncOp]) -> set[str]:
    """Names of the functions that run when this one is called."""
    names = {op.callee.string_value() for op in function.walk() if isinstance(op, func.CallOp)}
    return names | {inner for name in names for inner in _called(functions[name], functions)}


def _origin(op: Operation) -> str:
    origin = op.attributes.get("origin")
    return origin.data if isinstance(origin, StringAttr) else ""
