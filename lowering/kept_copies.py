"""Packed copies of program inputs that outlive a call: arguments of @main, filled again only when their input changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from xdsl.dialects import arith, func, memref, scf
from xdsl.dialects.builtin import ArrayAttr, DenseArrayBase, IndexType, IntegerAttr, MemRefType, ModuleOp, StringAttr, i1, i64
from xdsl.ir import Block, BlockArgument, SSAValue

from ..dialects.attributes import dtype_of_element
from ..dialects.kept import Kept
from ..dialects.target import Target
from ..passes.program import main_block
from .contraction_decision import Decision
from .prepacking import packed_ahead
from .storage import Call, Loop

INDEX = IndexType()


@dataclass(slots=True)
class _Copy:
    """maker: the function that fills it. source: the input, seen with the type the maker reads."""

    maker: func.FuncOp
    source: BlockArgument
    held: MemRefType
    form: str
    argument: SSAValue


class KeptCopies:
    """The copies of one program under construction. functions: the program's, by key. known: plans by problem."""

    def __init__(self, target: Target, functions: dict[object, func.FuncOp], known: Mapping[str, Decision]) -> None:
        self.target = target
        self.known = known
        self.functions = functions
        self._wanted: dict[func.FuncOp, tuple[int, str, func.FuncOp]] = {}
        self._copies: dict[tuple[SSAValue, func.FuncOp], _Copy] = {}

    def offer(self, kernel: func.FuncOp, operands: Sequence[int], times: int = 1) -> None:
        """Lets a kernel read a packed copy of one of these operands: program inputs, or the same in every step of a loop."""
        packing = packed_ahead(kernel, operands, self.target, times, self.known)
        if packing is None:
            return
        key = kernel.body.block.args[packing.operand].type, packing.form
        if key not in self.functions:
            self.functions[key] = packing.function(f"k{len(self.functions) + 1}")  # the kernel itself takes the number before
        self._wanted[kernel] = packing.operand, packing.form, self.functions[key]

    def wanted(self, kernel: func.FuncOp) -> int | None:
        """The operand whose copy a kernel reads."""
        return self._wanted[kernel][0] if kernel in self._wanted else None

    def maker(self, kernel: func.FuncOp) -> func.FuncOp:
        """The function that fills the copy a kernel reads."""
        return self._wanted[kernel][2]

    def argument(self, kernel: func.FuncOp, source: BlockArgument, held: MemRefType, main: Block) -> SSAValue:
        """The argument of @main for the copy a kernel reads of an input."""
        _, form, maker = self._wanted[kernel]
        copy = self._copies.get((source, maker))
        if copy is None:
            argument = main.insert_arg(maker.body.block.args[1].type, len(main.args))
            argument.name_hint = "packed"
            copy = self._copies[source, maker] = _Copy(maker, source, held, form, argument)
        return copy.argument

    def forget_unread(self, calls: Iterable[Call | Loop], main: Block) -> None:
        """Gives up the copies that no call reads any more."""
        read: set[int] = set()
        waiting = list(calls)
        while waiting:
            item = waiting.pop()
            if isinstance(item, Loop):
                waiting += item.items
            else:
                read.update(id(s.argument) for s, _ in item.operands)
        for key, copy in list(self._copies.items()):
            if id(copy.argument) not in read:
                main.erase_arg(copy.argument)  # type: ignore[arg-type]  # an argument of @main
                del self._copies[key]

    def write(self, main: Block, view: Callable[[BlockArgument, MemRefType], SSAValue]) -> None:
        """Adds the argument that says which copies are stale, and what fills those, at the end of @main as it is now."""
        if not self._copies:
            return
        stale = main.insert_arg(MemRefType(i1, [len(self._copies)]), len(main.args))
        stale.name_hint = "stale"
        for k, copy in enumerate(self._copies.values()):
            source = view(copy.source, copy.held)
            number = arith.ConstantOp(IntegerAttr(k, INDEX))
            changed = memref.LoadOp.get(stale, [number.result])
            call = func.CallOp(copy.maker.sym_name.data, [source, copy.argument], [])
            main.add_ops([number, changed, scf.IfOp(changed.res, [], [call, scf.YieldOp()])])

    def describe(self, module: ModuleOp) -> None:
        """`lamina.kept`: the input each copy is of; `lamina.forms`: how it is packed."""
        if self._copies:
            copies = self._copies.values()
            module.attributes["lamina.kept"] = DenseArrayBase.from_list(i64, [copy.source.index for copy in copies])
            module.attributes["lamina.forms"] = ArrayAttr([StringAttr(copy.form) for copy in copies])


def kept_copies(module: ModuleOp) -> tuple[Kept, ...]:
    """The copies @main of a buffered or loops module has arguments for."""
    numbers, forms = module.attributes.get("lamina.kept"), module.attributes.get("lamina.forms")
    if not isinstance(numbers, DenseArrayBase) or not isinstance(forms, ArrayAttr):
        return ()
    count = len(numbers.get_values())
    types = [argument.type for argument in main_block(module).args[-2 - count : -2]]  # then what is stale, and the arena
    return tuple(
        Kept(number, (tuple(held.get_shape()), dtype_of_element(held.element_type)), form.data)
        for number, held, form in zip(numbers.get_values(), types, forms, strict=True)
    )
