"""Kernels of prim ops become kernels of linalg.generic: one per stage, everything else inlined into it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import ClassVar

from xdsl.dialects.builtin import ModuleOp, i1
from xdsl.dialects.linalg.ops import FillOp
from xdsl.dialects.linalg.ops import YieldOp as LinalgYieldOp
from xdsl.ir import Attribute, Block, Operation, Region, SSAValue

from ..dialects.attributes import Numbers, dtype_of_element, segments
from ..dialects.kernel import FusedOp, YieldOp, fused_block
from ..dialects.ops import BookOp, attrs_of, stanza_of
from ..passes.access import (
    CONTRACT,
    EACH,
    FOLD,
    INLINE,
    PLACE,
    Domain,
    leaf_reads,
    role_of,
    shape_of,
    stage_domains,
    stage_roots,
)
from ..passes.base import Pass
from ..passes.linear_index import Index, loop_dims
from ..passes.placement import Box, are_apart, boxes, fill_value, is_whole, window_dims, window_target
from ..passes.program import program_blocks
from .kernel_functions import structural_key
from .scalar_body import ScalarBody, accumulation_type, signless
from .stage import Stage, element_of, empty, tensor_type

_TOGETHER = "elementwise"
MANY_BOXES = 8
"""Boxes made of the same numbers from which on one stage makes them all."""


@dataclass(frozen=True)
class KernelToLinalg(Pass):
    """Turn the prim ops inside every kernel into linalg.generic ops on tensors, one per stage.

    Views become index maps, each-ops scalar bodies; folds and contractions start from a fill; placements write
    into a strided slice. tests/lowering/kernel_*.mlir shows every form.
    """

    name: ClassVar[str] = "kernel-to-linalg"
    takes: ClassVar[str] = "fused"
    gives: ClassVar[str] = "linalg"

    def run(self, module: ModuleOp) -> int:
        count = 0
        written: dict[object, tuple[FusedOp, list[Attribute | None]]] = {}
        numbers = Numbers()
        for block in program_blocks(module):
            for op in block.ops:
                if not isinstance(op, FusedOp):
                    continue
                count += 1
                key = structural_key(op, (), (), numbers)
                origins = [inner.attributes.get("origin") for inner in op.body.block.ops]
                alike = written.setdefault(key, (op, origins))
                if alike[0] is op or not _write_alike(op, origins, *alike):
                    _KernelWriter(op).write()
        return count


def _write_alike(kernel: FusedOp, origins: list[Attribute | None], alike: FusedOp, its_origins: list[Attribute | None]) -> bool:
    """Copies the stages of a kernel that had the same ops, with the lines of this one's. False where lines do not say which is which."""
    line: dict[Attribute, Attribute] = {}
    for its, own in zip(its_origins, origins, strict=True):
        if (its is None) != (own is None) or its is not None and line.setdefault(its, own) != own:
            return False
    region = alike.body.clone()
    for op in region.block.ops:
        if "origin" in op.attributes:
            op.attributes["origin"] = line[op.attributes["origin"]]
    kernel.detach_region(kernel.body).drop_all_references()
    kernel.add_region(region)
    return True


@dataclass
class _Root:
    """An op of the old region that is a stage."""

    op: Operation
    role: str
    domains: list[Domain]

    @property
    def value(self) -> SSAValue:
        return self.op.results[0]

    @property
    def key(self) -> object:
        """Roots with equal keys can be results of one generic; None: never."""
        if self.role in INLINE or (self.role == PLACE and is_whole(self.op)):
            return _TOGETHER, self.domains[0].sizes
        if self.role == FOLD:
            return FOLD, shape_of(self.op.operands[0]), _axes(self.op)
        return None


class _KernelWriter:
    """Writes the stages of one kernel into a new region."""

    def __init__(self, kernel: FusedOp) -> None:
        self.kernel = kernel
        self.old = kernel.body.block
        self.region, self.block = fused_block([a.type for a in self.old.args])
        self.values: dict[SSAValue, SSAValue] = dict(zip(self.old.args, self.block.args, strict=True))

    def write(self) -> None:
        last = self.old.last_op
        assert isinstance(last, YieldOp)
        for batch in self._batches():
            self._write_batch(batch)
        self.block.add_op(YieldOp.create(operands=[self.values[v] for v in last.operands]))
        self.kernel.detach_region(self.kernel.body).drop_all_references()
        self.kernel.add_region(self.region)

    # which stages share a generic

    def _batches(self) -> list[list[_Root]]:
        """Stages in order, those together that can be one generic. A stage joins the last batch of its kind if all
        it reads is made before that batch, or in it at the very same place."""
        batches: list[list[_Root]] = []
        made_in: dict[SSAValue, int] = dict.fromkeys(self.old.args, -1)
        latest: dict[object, int] = {}
        for op in stage_roots(self.old):
            role = role_of(op)
            root = _Root(op, role, stage_domains(op, role))
            key = root.key
            at = latest.get(key) if key is not None else None
            if at is None or not self._can_join(root, at, made_in):
                at = len(batches)
                batches.append([])
                latest[key] = at
            batches[at].append(root)
            made_in[root.value] = at
        return batches

    def _can_join(self, root: _Root, at: int, made_in: dict[SSAValue, int]) -> bool:
        own = root.value if root.role in INLINE else None
        for value, index in leaf_reads(root.domains[0], made_in.__contains__, own):
            if made_in[value] > at:
                return False
            here = root.role != FOLD and index is not None and index == loop_dims(shape_of(value))[1]
            if made_in[value] == at and not here:
                return False
        return True

    # writing

    def _write_batch(self, batch: list[_Root]) -> None:
        role = batch[0].role
        if batch[0].key is not None and role != FOLD:
            self._write_elementwise(batch)
        elif role == FOLD:
            self._write_folds(batch)
        elif role == CONTRACT:
            self._write_contraction(batch[0])
        elif boxes(batch[0].op) is None:
            self._write_overlap(batch[0])
        else:
            self._write_boxes(batch[0])

    def _write_elementwise(self, batch: list[_Root]) -> None:
        stage = Stage(self.block, batch[0].domains[0].sizes, self.values)
        for root in batch:
            ((value, index),) = root.domains[0].reads
            if root.role in INLINE:
                scalar = stage.expand(value, index)
                stage.local[value] = (index, scalar)
                stage.write(empty(self.block, root.value.type), index, scalar)
            else:
                scalar = stage.read(value, index)
                target = self._filled(root.value.type, fill_value(root.op))
                found = boxes(root.op)
                if found is None:
                    stage.write(target, window_target(root.op), scalar)
                else:
                    stage.write(target, loop_dims(found[0].size)[1], scalar, found[0])
        results = stage.finish(batch[-1].op.attributes.get("origin"))
        self.values.update((root.value, result) for root, result in zip(batch, results, strict=True))

    def _write_folds(self, batch: list[_Root]) -> None:
        op = batch[0].op
        shape, axes = shape_of(op.operands[0]), _axes(op)
        loop_of = [k for k, d in enumerate(shape) if d != 1]
        reductions = frozenset(loop for loop, k in enumerate(loop_of) if k in axes)
        sizes, index = loop_dims(shape)
        target_index = tuple(0 if k in axes else i for k, i in enumerate(index))
        stage = Stage(self.block, sizes, self.values, reductions)
        parts = [self._fold_value(stage, root.op, index) for root in batch]
        for root, (value, start) in zip(batch, parts, strict=True):
            element = value.type
            target = self._filled(tensor_type(element, shape_of(root.value)), start)
            combined = stage.body.combine(stanza_of(root.op).fold.combiner, stage.accumulator(element), value)
            stage.write(target, target_index, combined)
        results = stage.finish(op.attributes.get("origin"))
        for root, result in zip(batch, results, strict=True):
            self.values[root.value] = self._rounded(result, root.op)

    def _fold_value(self, stage: Stage, op: Operation, index: tuple[Index, ...]) -> tuple[SSAValue, float]:
        """What a fold combines at one place, and what it starts from."""
        stanza = stanza_of(op)
        element = element_of(op.results[0])
        env = {p.name: stage.read(v, index) for p, v in zip(stanza.tensors, op.operands, strict=True)}
        value = stage.body.evaluate(stanza.fold.operand, env, accumulation_type(element))
        return value, stanza.fold.initial(dtype_of_element(element))

    def _write_contraction(self, root: _Root) -> None:
        (domain,) = root.domains
        element = accumulation_type(element_of(root.value))
        index = loop_dims(shape_of(root.value))[1]
        parallel = sum(not isinstance(i, int) for i in index)
        stage = Stage(self.block, domain.sizes, self.values, frozenset(range(parallel, len(domain.sizes))))
        left, right = (stage.body.cast(stage.read(v, i), element) for v, i in domain.reads)
        product = stage.body.apply("mul", [left, right])
        target = self._filled(tensor_type(element, shape_of(root.value)), 0)
        stage.write(target, index, stage.body.combine("add", stage.accumulator(element), product))
        (made,) = stage.finish(root.op.attributes.get("origin"))
        self.values[root.value] = self._rounded(made, root.op)

    def _write_overlap(self, root: _Root) -> None:
        """unwindow with windows that overlap: the write accumulates."""
        (domain,) = root.domains
        ((value, index),) = domain.reads
        element = accumulation_type(element_of(root.value))
        stage = Stage(self.block, domain.sizes, self.values, window_dims(root.op))
        scalar = stage.body.cast(stage.read(value, index), element)
        target = self._filled(tensor_type(element, shape_of(root.value)), 0)
        total = stage.body.combine("add", stage.accumulator(element), scalar)
        stage.write(target, window_target(root.op), total)
        (made,) = stage.finish(root.op.attributes.get("origin"))
        self.values[root.value] = self._rounded(made, root.op)

    def _write_boxes(self, root: _Root) -> None:
        """A placement in several parts, or one that uses a part of its operand: box after box."""
        whole = self._filled(root.value.type, fill_value(root.op))
        for together in _sharing(box for box in boxes(root.op) or () if 0 not in box.size):
            sizes, index = loop_dims(together[0].size)
            stage = Stage(self.block, sizes, self.values)
            for box in together:
                source = tuple(i + s for i, s in zip(index, box.source, strict=True))
                stage.write(whole, index, stage.read(box.value, source), box)
            whole = stage.finish(root.op.attributes.get("origin"))[-1]
        self.values[root.value] = whole

    def _rounded(self, made: SSAValue, op: Operation) -> SSAValue:
        """A sum kept in f32, rounded to the op's own type by one more elementwise stage."""
        wanted = op.results[0].type
        if made.type == wanted:
            return made
        sizes, index = loop_dims(shape_of(made))
        stage = Stage(self.block, sizes, {made: made})
        scalar = stage.body.cast(stage.read(made, index), element_of(op.results[0]))
        stage.write(empty(self.block, wanted), index, scalar)
        (rounded,) = stage.finish(op.attributes.get("origin"))
        return rounded

    def _filled(self, tensor: Attribute, value: float | None) -> SSAValue:
        """A tensor holding one value everywhere; None: anything."""
        made = empty(self.block, tensor)
        if value is None:
            return made
        element = tensor.get_element_type()  # type: ignore[attr-defined]  # a TensorType
        constant = ScalarBody(self.block).constant(bool(value) if element == i1 else value, signless(element))
        body = Block(arg_types=[constant.type, element])
        body.add_op(LinalgYieldOp.create(operands=[body.args[0]]))
        fill = FillOp.create(
            operands=[constant, made],
            result_types=[tensor],
            properties={"operandSegmentSizes": segments(1, 1)},
            regions=[Region(body)],
        )
        self.block.add_op(fill)
        return fill.results[0]


def _sharing(found: Iterable[Box]) -> Iterator[list[Box]]:
    """Boxes in order, those together that one stage makes: neighbours of one size that are made of the same numbers for the most part, and more of them
    than a stage for each is worth."""
    waiting: list[Box] = []
    for box in found:
        if waiting and (box.size != waiting[0].size or not all(are_apart(box, b) for b in waiting)):
            yield from _together(waiting)
            waiting = []
        waiting.append(box)
    yield from _together(waiting)


def _together(found: list[Box]) -> list[list[Box]]:
    if len(found) >= MANY_BOXES:
        roles: dict[Operation, str] = {}  # asked once: boxes are made of the same ops
        made = [_computed(box.value, roles) for box in found]
        if sum(map(len, made)) > 2 * len(set().union(*made)):
            return [found]
    return [[box] for box in found]


def _computed(value: SSAValue, roles: dict[Operation, str]) -> set[Operation]:
    """The elementwise ops of a stage's expression. roles: those known so far."""
    found: set[Operation] = set()
    todo = [value]
    while todo:
        op = todo.pop().owner
        if not isinstance(op, BookOp) or op in found:
            continue
        role = roles.get(op) or roles.setdefault(op, role_of(op))
        if role not in INLINE or "kernel.stage" in op.attributes:
            continue
        if role == EACH:
            found.add(op)
        todo += op.operands
    return found


def _axes(op: Operation) -> tuple[int, ...]:
    """The axes of a fold."""
    (axes,) = attrs_of(op)  # type: ignore[arg-type]  # a book op
    return axes
