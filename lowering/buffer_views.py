"""Calls and loops of @main, and the memrefs they use: views of the arena and parts of buffers, made where first needed."""

from __future__ import annotations

from collections.abc import Sequence

from xdsl.dialects import arith, func, memref, scf
from xdsl.dialects.builtin import IndexType, IntAttr, IntegerAttr, MemRefType, NoneAttr, StridedLayoutAttr, i8
from xdsl.ir import Block, Operation, Region, SSAValue

from ..dialects.attributes import dimensions
from .memref_layout import bytes_of, element_bytes, memref_type, reinterpreted, strides_of
from .storage import Call, Loop, Row, Storage

INDEX = IndexType()


class CallWriter:
    """Writes calls and loops into a block. Memrefs are made once per block, right before their first use there.

    arena: to be set before anything in it is used.
    """

    def __init__(self, block: Block) -> None:
        self.arena: SSAValue | None = None
        self.blocks = [block]
        self.made: list[dict[object, SSAValue]] = [{}]

    def write(self, items: Sequence[Call | Loop]) -> None:
        """The calls, in order."""
        for item in items:
            if isinstance(item, Loop):
                self._loop(item)
            else:
                self._call(item)

    def _call(self, call: Call) -> None:
        operands = [self.of(storage, held) for storage, held in (*call.operands, *call.results)]
        if call.scratch is not None:
            operands.append(self.of(call.scratch, call.function.body.block.args[-1].type))
        invoke = func.CallOp(call.function.sym_name.data, operands, [])
        if call.origin is not None:
            invoke.attributes["origin"] = call.origin
        self._add(invoke)

    def _loop(self, loop: Loop) -> None:
        bounds = [self._number(n) for n in (0, loop.steps, 1)]
        body = Block(arg_types=[INDEX])
        self._add(scf.ForOp(*bounds, [], Region(body)))
        loop.index = body.args[0]
        loop.index.name_hint = "step"  # never i1, which is a type in C
        if loop.reverse:
            last = arith.ConstantOp(IntegerAttr(IntAttr(loop.steps - 1), INDEX))
            turned = arith.SubiOp(last.result, loop.index)
            body.add_ops([last, turned])
            loop.index = turned.result
        self.blocks.append(body)
        self.made.append({})
        self.write(loop.items)
        self.blocks.pop()
        self.made.pop()
        body.add_op(scf.YieldOp())

    def _add(self, op: Operation) -> SSAValue:
        self.blocks[-1].add_op(op)
        return op.results[0] if op.results else None  # type: ignore[return-value]  # calls and loops have none

    def _number(self, value: int) -> SSAValue:
        return self._once(("number", value), lambda: self._add(arith.ConstantOp(IntegerAttr(IntAttr(value), INDEX))))

    def _once(self, key: object, make) -> SSAValue:
        for known in self.made:
            if key in known:
                return known[key]
        made = self.made[-1][key] = make()
        return made

    def of(self, storage: Storage, held: MemRefType) -> SSAValue:
        """The memref of a storage, as this type."""
        if isinstance(storage, Row):
            return self._once((storage, held), lambda: self._part(storage, held))
        if storage.argument is not None and storage.argument.type == held:
            return storage.argument
        key = (storage.argument or storage.offset, held)
        return self._once(key, lambda: self._cast(self._flat(storage, held), held))

    def _flat(self, storage: Storage, held: MemRefType) -> SSAValue:
        if storage.argument is not None:
            return storage.argument
        size = storage.size if held.element_type == i8 else bytes_of(held)
        return self._elements(storage, memref_type((size // element_bytes(held.element_type),), held.element_type))

    def _elements(self, storage: Storage, flat: MemRefType) -> SSAValue:
        def make() -> SSAValue:
            return self._add(memref.ViewOp(self.arena, self._number(storage.offset), [], flat))

        return self._once((storage.offset, flat), make)

    def _cast(self, source: SSAValue, held: MemRefType) -> SSAValue:
        if source.type == held:
            return source
        return self._add(reinterpreted(source, 0, held, strides_of(held)))

    def _part(self, part: Row, held: MemRefType) -> SSAValue:
        """A part of a buffer: its offset is the sum of what every loop around it adds."""
        moving: list[SSAValue] = []
        fixed = 0
        storage: Storage = part
        while isinstance(storage, Row):
            fixed += storage.shift
            if storage.loop is not None and storage.span:
                moving.append(self._times(storage.loop, storage.span))
            storage = storage.base
        element = held.element_type
        flat = memref_type((storage.size // element_bytes(element),), element)
        whole = storage.argument if storage.argument is not None else self._elements(storage, flat)
        if not moving:
            offset: int | SSAValue = fixed
        else:
            offset = moving[0]
            for term in moving[1:]:
                offset = self._add(arith.AddiOp(offset, term))
            if fixed:
                offset = self._add(arith.AddiOp(offset, self._number(fixed)))
        layout = StridedLayoutAttr(dimensions(strides_of(held)), *([NoneAttr()] if moving else dimensions([fixed])))
        there = MemRefType(element, dimensions(held.get_shape()), layout)
        cast = reinterpreted(whole, offset, there, strides_of(held))
        return self._add(memref.CastOp.get(self._add(cast), held))

    def _times(self, loop: Loop, span: int) -> SSAValue:
        index = loop.index
        assert index is not None, "a part of a buffer is used outside its loop"
        if span == 1:
            return index
        return self._once(("row", loop, span), lambda: self._add(arith.MuliOp(index, self._number(span))))
