"""One `kernel.fused` as a private function on memrefs, and the key that tells equal kernels.

Destination passing: every stage writes the buffer its `outs` operand stands for. A chain of fills, generics
and inserted slices shares one buffer: an output argument when the kernel yields the end of the chain, else a
`memref.alloca` temporary (its home is chosen by the scheduler).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from xdsl.dialects import arith, func, memref, tensor
from xdsl.dialects.builtin import (
    AffineMapAttr,
    IntegerAttr,
    MemRefType,
    StringAttr,
    TensorType,
    i64,
)
from xdsl.dialects.linalg.attrs import IteratorTypeAttr
from xdsl.dialects.linalg.ops import FillOp, GenericOp
from xdsl.dialects.linalg.ops import YieldOp as LinalgYieldOp
from xdsl.ir import Attribute, Block, Operation, Region, SSAValue
from xdsl.ir.affine import AffineMap
from xdsl.rewriter import Rewriter

from ..dialects.attributes import Numbers, dimensions
from ..dialects.errors import PassError
from ..dialects.kernel import FusedOp, YieldOp
from .contraction_decision import PLAN
from .memref_layout import box_of, memory_element, memref_type

PARALLEL = IteratorTypeAttr.parallel()


def structural_key(
    fused: FusedOp, inputs: Sequence[Attribute], outputs: Sequence[Attribute], attributes: Numbers
) -> tuple[object, ...]:
    """Equal for kernels that may share one function: same ops, same buffers' types. attributes: those of all keys that are compared.

    Origins and names do not count.
    """
    return (tuple(map(attributes.of, inputs)), tuple(map(attributes.of, outputs)), _block_key(fused.body.block, {}, attributes.of))


def _block_key(block: Block, number: dict[SSAValue, int], known: Callable[[Attribute], int]) -> tuple[object, ...]:
    for arg in block.args:
        number[arg] = len(number)
    ops = []
    for op in block.ops:
        operands = tuple([number[o] for o in op.operands])
        for result in op.results:
            number[result] = len(number)
        regions = tuple([_block_key(r.block, number, known) for r in op.regions])
        attributes = tuple(sorted([(k, known(v)) for k, v in op.attributes.items() if k != "origin"])) if op.attributes else ()
        properties = tuple([(k, known(v)) for k, v in op.properties.items()])
        types = tuple([known(r.type) for r in op.results])
        ops.append((op.name, operands, types, attributes, properties, regions))
    return (tuple([known(a.type) for a in block.args]), tuple(ops))


def make_function(
    name: str, inputs: Sequence[MemRefType], outputs: Sequence[MemRefType], body: Region
) -> func.FuncOp:
    """A private kernel function.

    `lamina.inputs` and `lamina.outputs` count its arguments (a scratch argument may follow).
    """
    function = func.FuncOp(name, ([a.type for a in body.block.args], []), body, "private")
    function.attributes["lamina.inputs"] = IntegerAttr(len(inputs), i64)
    function.attributes["lamina.outputs"] = IntegerAttr(len(outputs), i64)
    return function


def unplanned(function: func.FuncOp) -> func.FuncOp:
    """A copy of a kernel function that somebody is going to change: its plan is not that of what it becomes."""
    copy = function.clone()
    copy.attributes.pop(PLAN, None)
    return copy


def copy_stage(source: SSAValue, target: SSAValue) -> GenericOp:
    """target[i] = source[i] on memrefs of equal sizes."""
    sizes = source.type.get_shape()
    element = source.type.element_type
    block = Block(arg_types=[element, element])
    block.add_op(LinalgYieldOp(block.args[0]))
    identity = AffineMapAttr(AffineMap.identity(len(sizes)))
    return GenericOp([source], [target], Region(block), [identity, identity], [PARALLEL] * len(sizes))


def copy_function(name: str, source: MemRefType, target: MemRefType) -> func.FuncOp:
    """A kernel that copies one buffer into another of the same sizes (the strides may differ)."""
    block = Block(arg_types=[source, target])
    block.add_ops([copy_stage(*block.args), func.ReturnOp()])
    return make_function(name, [source], [target], Region(block))


def kernel_function(
    name: str, fused: FusedOp, inputs: Sequence[MemRefType], outputs: Sequence[MemRefType]
) -> func.FuncOp:
    """The kernel as a function. Takes the ops out of `fused` (which is left hollow).

    PassError for an unknown op.
    """
    return make_function(name, inputs, outputs, _Outliner(fused, inputs, outputs).body())


class _Outliner:
    """Moves the ops of one kernel from tensors to memrefs."""

    def __init__(self, fused: FusedOp, inputs: Sequence[MemRefType], outputs: Sequence[MemRefType]) -> None:
        self.source = fused.body.block
        self.block = Block(arg_types=[*inputs, *outputs])
        self.memory: dict[SSAValue, SSAValue] = dict(zip(self.source.args, self.block.args, strict=False))
        self.targets: dict[SSAValue, SSAValue] = {}  # root value of a chain -> output argument
        self.fills: dict[SSAValue, SSAValue] = {}  # fill result -> its scalar
        self.shapes: dict[SSAValue, SSAValue] = {}
        self.consumed: set[SSAValue] = set()
        self.late_copies: list[tuple[SSAValue, SSAValue]] = []
        self._choose_targets(self.block.args[len(inputs) :])

    def body(self) -> Region:
        for op in list(self.source.ops):
            handler = _HANDLERS.get(type(op))
            if handler is None:
                origin = op.attributes.get("origin")
                facts = [("op", op.name, origin.data if isinstance(origin, StringAttr) else "")]
                raise PassError("a kernel holds an op that has no meaning on buffers", facts)
            handler(self, op)
        for value, output in self.late_copies:
            if not isinstance(value.owner, tensor.EmptyOp):  # else nothing was ever written: there is nothing to copy
                self.add(copy_stage(self.memory[value], output))
        self.add(func.ReturnOp())
        return Region(self.block)

    def add(self, op: Operation) -> None:
        self.block.add_op(op)

    # Which chain ends in which output

    def _choose_targets(self, outputs: Sequence[SSAValue]) -> None:
        roots = self._roots()
        yielded = self.source.last_op
        for value, output in zip(yielded.operands, outputs, strict=True):
            root = roots.get(value)
            if root is None or root in self.targets or root.type != value.type:
                self.late_copies.append((value, output))
            else:
                self.targets[root] = output

    def _roots(self) -> dict[SSAValue, SSAValue]:
        """The value at which each chain of in-place writes began; none for operands and shapes."""
        roots: dict[SSAValue, SSAValue] = {}
        taken: set[SSAValue] = set()
        for op in self.source.ops:
            if isinstance(op, FillOp | GenericOp):
                for result, target in zip(op.results, op.outputs, strict=True):
                    roots[result] = self._continue(roots, taken, result, target)
            elif isinstance(op, tensor.ExtractSliceOp):
                source = op.operands[0]
                if isinstance(source.owner, tensor.EmptyOp):
                    roots.setdefault(source, source)
                if source in roots:
                    roots[op.results[0]] = roots[source]
            elif isinstance(op, tensor.InsertSliceOp):
                roots[op.results[0]] = self._continue(roots, taken, op.results[0], op.operands[1])
        return roots

    @staticmethod
    def _continue(
        roots: dict[SSAValue, SSAValue], taken: set[SSAValue], result: SSAValue, target: SSAValue
    ) -> SSAValue:
        if target not in roots or target in taken:
            return result
        taken.add(target)
        return roots[target]

    # Buffers

    def fresh(self, value: SSAValue) -> SSAValue:
        """The buffer of a chain that begins at this value."""
        target = self.targets.get(value)
        if target is None:
            buffer = memref_type(value.type.get_shape(), memory_element(value.type.element_type))
            alloca = memref.AllocaOp.get(buffer.element_type, shape=dimensions(buffer.get_shape()))
            self.add(alloca)
            target = alloca.memref
        return target

    def read(self, value: SSAValue) -> SSAValue:
        """The buffer that holds the value. A shape operand (tensor.empty) gets one that nobody touches."""
        if value in self.consumed:
            raise PassError(
                "a kernel reads a tensor after its buffer was overwritten", [("tensor", str(value.type), "")]
            )
        if isinstance(value.owner, tensor.EmptyOp):
            return self.shapes.get(value) or self.shapes.setdefault(value, self.fresh(value))
        return self.memory[value]

    def written(self, target: SSAValue, result: SSAValue, keeps: bool) -> SSAValue:
        """The buffer in which `result` is made when `target` is its outs operand.

        keeps: target's contents matter.
        """
        if target in self.memory and target not in self.consumed and target.owner is not self.source:
            self.consumed.add(target)
            return self.memory[target]
        buffer = self.fresh(result)
        if isinstance(target.owner, tensor.EmptyOp):
            return buffer
        if target in self.fills:
            self.add(_fill(self.fills[target], buffer))
        elif keeps:
            self.add(copy_stage(self.read(target), buffer))
        return buffer

    # Ops

    def constant(self, op: Operation) -> None:
        op.detach()
        self.add(op)

    def nothing(self, op: Operation) -> None:
        pass

    def fill(self, op: FillOp) -> None:
        result = op.results[0]
        buffer = self.written(op.operands[1], result, keeps=False)
        self.memory[result] = buffer
        self.fills[result] = op.operands[0]
        self.add(_fill(op.operands[0], buffer))

    def generic(self, op: GenericOp) -> None:
        inputs = [self.read(v) for v in op.inputs]
        block = op.body.block
        self._rebuild_body(block)
        out_args = block.args[len(op.inputs) :]
        outputs = [
            self.written(target, result, keeps=bool(arg.first_use))
            for target, result, arg in zip(op.outputs, op.results, out_args, strict=True)
        ]
        self.memory.update(zip(op.results, outputs, strict=True))
        maps, kinds = op.indexing_maps, op.iterator_types
        staged = GenericOp(inputs, outputs, op.detach_region(op.body), maps, kinds)
        if "origin" in op.attributes:
            staged.attributes["origin"] = op.attributes["origin"]
        self.add(staged)

    def _rebuild_body(self, block: Block) -> None:
        for value in [*block.args, *(r for op in block.ops for r in op.results)]:
            element = value.type if isinstance(value.type, TensorType) else memory_element(value.type)
            if element != value.type:
                Rewriter.replace_value_with_new_type(value, element)
        for op in list(block.ops):
            if isinstance(op, tensor.ExtractOp):
                load = memref.LoadOp.get(self.read(op.operands[0]), op.operands[1:])
                Rewriter.replace_op(op, load)

    def extract_slice(self, op: tensor.ExtractSliceOp) -> None:
        source = op.operands[0]
        if isinstance(source.owner, tensor.EmptyOp) and source not in self.memory:
            self.memory[source] = self.fresh(source)
        buffer = self.memory.get(source)
        if buffer is None or source in self.consumed:
            raise PassError(
                "a slice is taken of a tensor that has no contents", [("tensor", str(source.type), "")]
            )
        self.memory[op.results[0]] = self.slice_of(buffer, op)

    def insert_slice(self, op: tensor.InsertSliceOp) -> None:
        value, target = op.operands[0], op.operands[1]
        result = op.results[0]
        buffer = self.written(target, result, keeps=True)
        self.memory[result] = buffer
        where = self.memory.get(value)
        view = where.owner if where is not None else None
        if isinstance(view, memref.SubviewOp) and view.operands[0] is buffer and _same_box(view, op):
            return
        source = self.read(value)
        self.add(copy_stage(source, self.slice_of(buffer, op)))

    def slice_of(self, buffer: SSAValue, box: tensor.ExtractSliceOp | tensor.InsertSliceOp) -> SSAValue:
        """A subview of a buffer for the static box of a slice op."""
        if len(box.operands) > (1 if isinstance(box, tensor.ExtractSliceOp) else 2):
            raise PassError(
                "slices in kernels need static offsets, sizes and strides", [("op", str(box), "")]
            )
        offsets, sizes = box.static_offsets.get_values(), box.static_sizes.get_values()
        steps = box.static_strides.get_values()
        view = box_of(buffer, offsets, sizes, steps)
        self.add(view)
        return view.result


def _fill(scalar: SSAValue, buffer: SSAValue) -> FillOp:
    return FillOp([scalar], [buffer], [])


def _same_box(view: memref.SubviewOp, box: tensor.InsertSliceOp) -> bool:
    return all(
        getattr(view, part).get_values() == getattr(box, part).get_values()
        for part in ("static_offsets", "static_sizes", "static_strides")
    )


_HANDLERS = {
    arith.ConstantOp: _Outliner.constant,
    tensor.EmptyOp: _Outliner.nothing,
    FillOp: _Outliner.fill,
    GenericOp: _Outliner.generic,
    tensor.ExtractSliceOp: _Outliner.extract_slice,
    tensor.InsertSliceOp: _Outliner.insert_slice,
    YieldOp: _Outliner.nothing,
}
