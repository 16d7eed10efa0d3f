"""Writes loops-level IR quickly: one insertion point, cached constants, addresses as value plus constant.

Every op goes through ``Operation.create`` (no constructors, no verification on the way). Constants and the
1-D casts of the memory are made once, in front of the code that is written; loops are opened with ``with``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from xdsl.dialects import arith, memref, scf, vector
from xdsl.dialects.builtin import (
    AnyFloat,
    DenseIntOrFPElementsAttr,
    FloatAttr,
    IndexType,
    IntAttr,
    IntegerAttr,
    IntegerType,
    MemRefType,
    NoneAttr,
    VectorType,
    i1,
    i64,
)
from xdsl.ir import Attribute, Block, Operation, Region, SSAValue

from ..dialects.attributes import dimensions, integers, segments
from ..dialects.kernel import BitsOp, PrefetchOp
from ..dialects.sizes import same

INDEX = IndexType()
_NO_FASTMATH = {"fastmath": arith.FastMathFlagsAttr("none")}
_NO_OVERFLOW = {"overflowFlags": arith.IntegerOverflowAttr("none")}


class Address(NamedTuple):
    """An element index into flat memory: a value (None: zero) plus a constant."""

    base: SSAValue | None = None
    offset: int = 0

    def __add__(self, elements: int) -> Address:  # type: ignore[override]  # an address is not a sequence to be joined
        return Address(self.base, self.offset + elements)


class LoopWriter:
    """Writes ops in front of ``anchor``. Constants and casts of memory come first, each once.

    ``origin`` is put on the outermost loops, where the emitted C tells the user's line.
    """

    def __init__(self, anchor: Operation, origin: Attribute | None = None) -> None:
        block = anchor.parent
        assert block is not None
        self.origin = {} if origin is None else {"origin": origin}
        self.block: Block = block
        self.anchor: Operation | None = anchor
        self._flat: dict[SSAValue, SSAValue] = {}
        self._bits: dict[SSAValue, SSAValue] = {}
        self._vectors: dict[tuple[Attribute, int], VectorType] = {}
        zero = arith.ConstantOp.create(result_types=(INDEX,), properties={"value": IntegerAttr(0, INDEX)})
        block.insert_op_before(zero, anchor)
        self._last_hoisted: Operation = zero
        self._constants: dict[tuple[object, ...], SSAValue] = {(0, INDEX): zero.results[0]}

    # -- placing -----------------------------------------------------------------------------------

    def add(self, op: Operation) -> Operation:
        """Places one op at the insertion point."""
        if self.anchor is None:
            self.block.add_op(op)
        else:
            self.block.insert_op_before(op, self.anchor)
        return op

    def value(self, op: Operation) -> SSAValue:
        """Places one op and gives its first result."""
        self.add(op)
        return op.results[0]

    def _hoisted(self, op: Operation) -> SSAValue:
        block = self._last_hoisted.parent
        assert block is not None
        block.insert_op_after(op, self._last_hoisted)
        self._last_hoisted = op
        return op.results[0]

    # -- constants ---------------------------------------------------------------------------------

    def index(self, number: int) -> SSAValue:
        """An index constant."""
        found = self._constants.get((number, INDEX))
        if found is None:
            attr = IntegerAttr(IntAttr(number), INDEX)
            found = self._hoisted(arith.ConstantOp.create(result_types=(INDEX,), properties={"value": attr}))
            self._constants[(number, INDEX)] = found
        return found

    def scalar(self, number: float | int, element: Attribute) -> SSAValue:
        """A scalar constant of an element type."""
        key = (repr(number), element)
        found = self._constants.get(key)
        if found is None:
            attr = number_attr(number, element)
            found = self._hoisted(
                arith.ConstantOp.create(result_types=(element,), properties={"value": attr})
            )
            self._constants[key] = found
        return found

    def splat(self, attr: Attribute, lanes: int) -> SSAValue:
        """A vector constant whose lanes all hold the scalar attribute (an IntegerAttr or FloatAttr)."""
        key = (attr, lanes)
        found = self._constants.get(key)
        if found is None:
            assert isinstance(attr, (IntegerAttr, FloatAttr))
            kind = self.vector_type(attr.type, lanes)
            dense = DenseIntOrFPElementsAttr.from_list(kind, [attr.value.data])
            found = self._hoisted(arith.ConstantOp.create(result_types=(kind,), properties={"value": dense}))
            self._constants[key] = found
        return found

    def counting(self, element: IntegerType, lanes: int, step: int) -> SSAValue:
        """The vector constant 0, step, 2 * step, ..."""
        key = ("counting", element, lanes, step)
        if key not in self._constants:
            kind = self.vector_type(element, lanes)
            dense = DenseIntOrFPElementsAttr.from_list(kind, [i * step for i in range(lanes)])
            self._constants[key] = self._hoisted(arith.ConstantOp.create(result_types=(kind,), properties={"value": dense}))
        return self._constants[key]

    def vector_type(self, element: Attribute, lanes: int) -> VectorType:
        """``vector<lanes x element>``, one object per kind."""
        kind = self._vectors.get((element, lanes))
        if kind is None:
            kind = self._vectors[element, lanes] = VectorType(element, [lanes])
        return kind

    # -- memory ------------------------------------------------------------------------------------

    def flat(self, buffer: SSAValue) -> SSAValue:
        """The 1-D cast of a memref that starts at its first element."""
        found = self._flat.get(buffer)
        if found is None:
            assert isinstance(buffer.type, MemRefType)
            span = span_of(buffer.type)
            if len(buffer.type.shape.data) == 1 and isinstance(buffer.type.layout, NoneAttr):
                found = buffer
            else:
                kind = MemRefType(buffer.type.element_type, dimensions([span]))
                parts = {"static_offsets": integers([0]), "static_sizes": integers([span]), "static_strides": integers([1])}
                parts["operandSegmentSizes"] = segments(1, 0, 0, 0)
                found = self._hoisted(memref.ReinterpretCastOp.create(operands=(buffer,), result_types=(kind,), properties=parts))
            self._flat[buffer] = found
        return found

    def bits(self, buffer: SSAValue) -> SSAValue:
        """A flat memref of 16-bit floats that was there before the code being written, as integers; one of integers as it is."""
        assert isinstance(buffer.type, MemRefType)
        if isinstance(buffer.type.element_type, IntegerType):
            return buffer
        if buffer not in self._bits:
            kind = MemRefType(IntegerType(8 * bytes_of(buffer.type.element_type)), buffer.type.shape)
            self._bits[buffer] = self._hoisted(BitsOp.create(operands=(buffer,), result_types=(kind,)))
        return self._bits[buffer]

    def window(self, scratch: SSAValue, byte: int, element: Attribute, count: int) -> SSAValue:
        """A typed 1-D window of a scratch buffer of bytes."""
        kind = MemRefType(element, dimensions([count]))
        op = memref.ViewOp.create(operands=(scratch, self.index(byte)), result_types=(kind,))
        return self._hoisted(op)

    def buffer(self, element: Attribute, count: int) -> SSAValue:
        """A small 1-D buffer private to the thread that runs the code being written."""
        kind = MemRefType(element, [count])
        properties = {
            "operandSegmentSizes": segments(0, 0),
            "alignment": IntegerAttr(64, i64),
        }
        return self.value(memref.AllocaOp.create(result_types=(kind,), properties=properties))

    def load(self, buffer: SSAValue, at: Address) -> SSAValue:
        """One element of a flat memref."""
        element = buffer.type.element_type  # type: ignore[union-attr]  # flat() gives memrefs
        return self.value(memref.LoadOp.create(operands=(buffer, self.at(at)), result_types=(element,)))

    def store(self, value: SSAValue, buffer: SSAValue, at: Address) -> None:
        """Writes one element of a flat memref."""
        self.add(memref.StoreOp.create(operands=(value, buffer, self.at(at))))

    def load_vector(self, buffer: SSAValue, at: Address, lanes: int) -> SSAValue:
        """``lanes`` neighbouring elements of a flat memref."""
        kind = self.vector_type(buffer.type.element_type, lanes)  # type: ignore[union-attr]  # flat() gives memrefs
        return self.value(vector.LoadOp.create(operands=(buffer, self.at(at)), result_types=(kind,)))

    def store_vector(self, value: SSAValue, buffer: SSAValue, at: Address) -> None:
        """Writes neighbouring elements of a flat memref."""
        self.add(vector.StoreOp.create(operands=(value, buffer, self.at(at))))

    def load_part(self, buffer: SSAValue, at: Address, lanes: int, count: SSAValue, rest: int) -> SSAValue:
        """The first ``count`` of ``lanes`` neighbouring elements of a flat memref; the other lanes hold ``rest``."""
        kind = self.vector_type(buffer.type.element_type, lanes)  # type: ignore[union-attr]  # flat() gives memrefs
        operands = (buffer, self.at(at), self._mask(count, lanes), self.splat(number_attr(rest, kind.element_type), lanes))
        return self.value(vector.MaskedLoadOp.create(operands=operands, result_types=(kind,)))

    def store_part(self, value: SSAValue, buffer: SSAValue, at: Address, count: SSAValue) -> None:
        """Writes the first ``count`` lanes to neighbouring elements of a flat memref."""
        mask = self._mask(count, value.type.get_shape()[0])  # type: ignore[union-attr]  # a vector
        self.add(vector.MaskedStoreOp.create(operands=(buffer, self.at(at), mask, value)))

    def _mask(self, count: SSAValue, lanes: int) -> SSAValue:
        return self.value(vector.CreateMaskOp.create(operands=(count,), result_types=(self.vector_type(i1, lanes),)))

    def prefetch(self, buffer: SSAValue, at: Address, written: bool = False, near: bool = False) -> None:
        """The line at an address will be wanted soon: to be written, or read from the first cache (``near``) or the second."""
        self.add(PrefetchOp.of(buffer, self.at(at), written, near))

    def broadcast(self, value: SSAValue, lanes: int) -> SSAValue:
        """A vector with the scalar in every lane."""
        kind = self.vector_type(value.type, lanes)
        return self.value(vector.BroadcastOp.create(operands=(value,), result_types=(kind,)))

    # -- arithmetic --------------------------------------------------------------------------------

    def at(self, address: Address) -> SSAValue:
        """The address as one index value."""
        if address.base is None:
            return self.index(address.offset)
        return self.plus(address.base, address.offset)

    def plus(self, value: SSAValue, number: int) -> SSAValue:
        """value + number (index)."""
        return self.binary(arith.AddiOp, value, self.index(number)) if not same(number, 0) else value

    def times(self, value: SSAValue, number: int) -> SSAValue:
        """value * number (index)."""
        return value if same(number, 1) else self.binary(arith.MuliOp, value, self.index(number))

    def advance(self, address: Address, index: SSAValue | int, stride: int) -> Address:
        """The address ``index`` steps of ``stride`` further on."""
        if not isinstance(index, SSAValue):
            return address + index * stride
        if same(stride, 0):
            return address
        step = self.times(index, stride)
        base = step if address.base is None else self.binary(arith.AddiOp, address.base, step)
        return Address(base, address.offset)

    def binary(self, kind: type[Operation], a: SSAValue, b: SSAValue) -> SSAValue:
        """A two-operand op whose result has the type of its operands."""
        return self.value(kind.create(operands=(a, b), result_types=(a.type,), properties=_properties(kind)))

    def divided(self, value: SSAValue, number: int) -> SSAValue:
        """value / number, rounded down; neither is negative."""
        return value if same(number, 1) else self.binary(arith.DivUIOp, value, self.index(number))

    def remainder(self, value: SSAValue, number: int) -> SSAValue:
        """value modulo number; neither is negative."""
        return self.binary(arith.RemUIOp, value, self.index(number))

    # -- regions -----------------------------------------------------------------------------------

    @contextmanager
    def loop(
        self, low: SSAValue | int, high: SSAValue | int, carried: Sequence[SSAValue] = (), step: int = 1
    ) -> Iterator[Loop]:
        """``scf.for``; the body sets ``loop.next`` when values are carried,
        the results are ``loop.results``.
        """
        bounds = [b if isinstance(b, SSAValue) else self.index(b) for b in (low, high, step)]
        kinds = [v.type for v in carried]
        body = Block(arg_types=[INDEX, *kinds])
        op = scf.ForOp.create(
            operands=(*bounds, *carried), result_types=kinds, regions=(Region(body),), attributes=self._origin_here()
        )
        self.add(op)
        state = Loop(body.args[0], list(body.args[1:]), list(op.results))
        with self._inside(body):
            yield state
            self.add(scf.YieldOp.create(operands=state.next))

    @contextmanager
    def when(self, number: SSAValue, low: int, high: int) -> Iterator[None]:
        """What follows happens only for low <= number < high; the number is not negative."""
        inside = number if same(low, 0) else self.binary(arith.SubiOp, number, self.index(low))
        bound = IntegerAttr(6, i64)  # unsigned less than: what is below low is a very large number
        condition = self.value(
            arith.CmpiOp.create(operands=(inside, self.index(high - low)), result_types=(i1,), properties={"predicate": bound})
        )
        body = Block()
        self.add(scf.IfOp.create(operands=(condition,), regions=(Region(body), Region())))
        with self._inside(body):
            yield
            self.add(scf.YieldOp.create())

    @contextmanager
    def parallel(self, count: int) -> Iterator[SSAValue]:
        """1-D ``scf.parallel`` over ``count`` independent tasks."""
        body = Block(arg_types=[INDEX])
        properties = {"operandSegmentSizes": segments(1, 1, 1, 0)}
        op = scf.ParallelOp.create(
            operands=(self.index(0), self.index(count), self.index(1)),
            regions=(Region(body),),
            properties=properties,
            attributes=self._origin_here(),
        )
        self.add(op)
        with self._inside(body):
            yield body.args[0]
            self.add(scf.ReduceOp.create())

    @contextmanager
    def tasks(self, count: int, threads: bool) -> Iterator[SSAValue]:
        """Independent iterations: ``scf.parallel`` when threads are worth it,
        else a plain loop (or none for one).
        """
        if same(count, 1):
            yield self.index(0)
        elif threads:
            with self.parallel(count) as task:
                yield task
        else:
            with self.loop(0, count) as loop:
                yield loop.counter

    def _origin_here(self) -> dict[str, Attribute]:
        return {} if self.anchor is None else self.origin

    @contextmanager
    def _inside(self, body: Block) -> Iterator[None]:
        outer = self.block, self.anchor
        self.block, self.anchor = body, None
        yield
        self.block, self.anchor = outer


class Loop:
    """An open loop: its counter, the carried values inside, what they become, and the results outside."""

    __slots__ = ("counter", "inside", "next", "results")

    def __init__(self, counter: SSAValue, inside: list[SSAValue], results: list[SSAValue]) -> None:
        self.counter = counter
        self.inside = inside
        self.next: list[SSAValue] = inside
        self.results = results


def number_attr(number: float | int, element: Attribute) -> IntegerAttr | FloatAttr:
    """The attribute of a number in an integer, index or float type."""
    if isinstance(element, AnyFloat):
        return FloatAttr(float(number), element)  # type: ignore[arg-type]  # checked by name
    return IntegerAttr(int(number), element)  # type: ignore[arg-type]  # the other element types are integers


def bytes_of(element: Attribute) -> int:
    """Bytes of one element of an integer or float type."""
    return max(1, (element.bitwidth + 7) // 8)  # type: ignore[attr-defined]  # element types have a width


def span_of(kind: MemRefType) -> int:
    """Elements from the first to the last one a memref reaches (at least 1)."""
    strides = kind.get_strides()
    assert strides is not None
    return 1 + sum((n - 1) * (s or 0) for n, s in zip(kind.get_shape(), strides, strict=True) if n > 1)


def _properties(kind: type[Operation]) -> dict[str, Attribute]:
    if kind in (arith.AddiOp, arith.MuliOp, arith.SubiOp):
        return _NO_OVERFLOW
    return _NO_FASTMATH if kind in (arith.AddfOp, arith.MulfOp, arith.SubfOp) else {}
