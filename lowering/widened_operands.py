"""A product reads narrow numbers that were only widened for it, bytes to integers of 32 bits, bf16 to f32: tensor cores, tile registers
and some vectors multiply them as they are, exactly.

    y = i32(a) @ i32(b)      reads a and b, the widening stands in the product's body

Of bf16 both factors have to be so: what is multiplied with f32 stays f32.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import accumulate

from xdsl.dialects import arith, func
from xdsl.dialects.builtin import BFloat16Type, Float32Type, MemRefType, i8, i32
from xdsl.dialects.linalg.ops import GenericOp
from xdsl.ir import Attribute, Block, Region, SSAValue
from xdsl.rewriter import Rewriter

from .block_analysis import is_plain
from .blocked_calls import Register
from .call_values import CallValues, Item, Value, last_step, whole_of
from .chain_reader import contraction_of
from .chained_calls import drop_unread
from .kernel_functions import make_function
from .storage import Call, Home, Storage

Cast = arith.ExtSIOp | arith.ExtUIOp | arith.ExtFOp
WIDER: dict[Attribute, Attribute] = {i8: i32, BFloat16Type(): Float32Type()}


class WidenedOperands:
    """Rewrites the calls of a program. narrow: elements that are multiplied as they are. given: arguments whose memory may be another
    array's once they were read for the last time.
    """

    def __init__(
        self, functions: dict[object, func.FuncOp], register: Register, narrow: Collection[Attribute], given: frozenset[SSAValue]
    ) -> None:
        self.functions, self.register, self.given = functions, register, given
        self.narrow = {WIDER[element]: element for element in narrow}

    def rewrite(self, calls: list[Item], storages: list[Storage]) -> None:
        """Replaces products in place; drops what widened where nobody else reads it."""
        values, until = CallValues(calls), list(accumulate((last_step(item) for item in calls), max))
        changed = False
        for k, item in enumerate(calls):
            found = self._operands(calls, values, k) if isinstance(item, Call) else {}
            if found and isinstance(item, Call):
                calls[k] = self._reading(item, found)
                for _, (storage, _) in found.values():
                    whole_of(storage).keep(until[k])
                changed = True
        if changed:
            drop_unread(calls, storages)

    def _operands(self, calls: Sequence[Item], values: CallValues, k: int) -> dict[int, tuple[type[Cast], Home]]:
        """Operands of a product that a call widened, with what it read."""
        call = calls[k]
        assert isinstance(call, Call)
        function = call.function
        product = _product(function)
        narrow = None if product is None else self.narrow.get(_sum_type(product))
        if narrow is None:
            return {}
        found = {}
        for place, value in enumerate(values.read[k]):
            argument = function.body.block.args[place]
            maker = calls[value.maker] if value.maker >= 0 else None
            cast = _widening(maker.function, narrow) if isinstance(maker, Call) else None
            once = [use.operation for use in argument.uses] == [product] and call.operands.count(call.operands[place]) == 1
            if not isinstance(maker, Call) or cast is None or not once or call.operands[place][1] != maker.results[0][1]:
                continue
            source = values.read[value.maker][0]
            if source.storage.argument in self.given or not _still_there(values, source, value.maker, k):
                continue
            found[place] = cast, maker.operands[0]
        return found if narrow == i8 or len(found) == 2 else {}

    def _reading(self, call: Call, found: dict[int, tuple[type[Cast], Home]]) -> Call:
        """The call of the product that reads the bytes."""
        kinds = {place: cast for place, (cast, _) in found.items()}
        key = ("widened", call.function.sym_name.data, *((place, cast.name) for place, cast in kinds.items()))
        function = self.functions.get(key)
        if function is None:
            made = _reading_narrow(call.function, f"k{len(self.functions)}", len(call.operands), kinds)
            function = self.register(key, made)
        operands = [found[k][1] if k in found else home for k, home in enumerate(call.operands)]
        scratch = None
        if len(function.body.block.args) > len(operands) + len(call.results):
            held = function.body.block.args[-1].type
            assert isinstance(held, MemRefType)
            scratch = Storage(held.get_shape()[0], call.step, call.step)
        return Call(function, operands, call.results, call.origin, scratch, call.step)


def _product(function: func.FuncOp) -> GenericOp | None:
    """The only sum of products of a kernel, of integers of 32 bits or of f32."""
    if not is_plain(function) or "lamina.packed" in function.attributes:
        return None
    stages = [op for op in function.body.block.ops if isinstance(op, GenericOp)]
    products = [op for op in stages if contraction_of(op) is not None]
    return products[0] if len(products) == 1 and _sum_type(products[0]) in WIDER.values() else None


def _sum_type(product: GenericOp) -> Attribute:
    found = contraction_of(product)
    assert found is not None
    return found.sum_type


def _widening(function: func.FuncOp, narrow: Attribute) -> type[Cast] | None:
    """How a kernel widens such elements, when it does nothing else and leaves every element where it is."""
    ops = [op for op in function.body.block.ops if not isinstance(op, func.ReturnOp)]
    if len(ops) != 1 or not isinstance(ops[0], GenericOp) or len(function.body.block.args) != 2:
        return None
    source, target = (a.type for a in function.body.block.args)
    body = list(ops[0].body.block.ops)
    maps = [m.data for m in ops[0].indexing_maps.data]
    cast = body[0]
    same = maps[0] == maps[1] and source.get_shape() == target.get_shape() and source.layout == target.layout  # type: ignore[union-attr]  # memrefs
    if not same or len(body) != 2 or not isinstance(cast, Cast) or cast.operands[0] is not ops[0].body.block.args[0]:
        return None
    plain = cast.operands[0].type == narrow and cast.results[0].type == WIDER[narrow] and body[1].operands[0] is cast.results[0]
    return type(cast) if plain else None


def _still_there(values: CallValues, source: Value, maker: int, reader: int) -> bool:
    """Whether what the maker read is in its storage when the reader comes."""
    return not any(made.storage is source.storage for k in range(maker + 1, reader) for made in values.made[k])


def _reading_narrow(function: func.FuncOp, name: str, inputs: int, casts: dict[int, type[Cast]]) -> func.FuncOp:
    """The product with some narrow operands, which its body widens."""
    old = list(function.body.block.args)
    count = function.attributes["lamina.inputs"].value.data + function.attributes["lamina.outputs"].value.data  # type: ignore[union-attr]  # integers
    narrow = {k: _narrow_of(old[k].type) for k in casts}
    types = [MemRefType(narrow[k], a.type.shape, a.type.layout) if k in casts else a.type for k, a in enumerate(old[:count])]  # type: ignore[union-attr]
    block = Block(arg_types=types)
    mapped = dict(zip(old, block.args, strict=False))
    for op in function.body.block.ops:
        copy = op.clone(mapped)
        block.add_op(copy)
        for k, cast in casts.items():
            if isinstance(copy, GenericOp) and block.args[k] in copy.inputs:
                _widen(copy.body.block, list(copy.inputs).index(block.args[k]), cast, narrow[k])
    return make_function(name, types[:inputs], types[inputs:], Region(block))  # type: ignore[arg-type]  # memrefs


def _narrow_of(wide: Attribute) -> Attribute:
    assert isinstance(wide, MemRefType)
    return next(narrow for narrow, wider in WIDER.items() if wider == wide.element_type)


def _widen(body: Block, place: int, cast: type[Cast], narrow: Attribute) -> None:
    argument = Rewriter.replace_value_with_new_type(body.args[place], narrow)
    op = cast(argument, WIDER[narrow])  # type: ignore[arg-type]  # a float or an integer type
    argument.replace_uses_with_if(op.result, lambda use: use.operation is not op)
    first = body.first_op
    assert first is not None
    body.insert_op_before(op, first)
