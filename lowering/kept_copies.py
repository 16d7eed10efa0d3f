"""What outlives a call: arguments of @main, filled again only when the inputs they are made of changed.

Packed copies of operands of contractions, and results of kernels that read nothing but a program's weights.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from xdsl.dialects import arith, func, memref, scf
from xdsl.dialects.builtin import ArrayAttr, DenseArrayBase, FunctionType, IndexType, IntegerAttr, MemRefType, ModuleOp, StringAttr, i1, i64
from xdsl.ir import Attribute, Block, Operation, SSAValue

from ..dialects.attributes import dtype_of_element
from ..dialects.kept import Kept
from ..dialects.target import Target
from ..passes.program import main_block
from .contraction_decision import Decision
from .known_kernels import contents_of
from .memref_layout import bytes_of
from .prepacking import packed_ahead
from .storage import Call, Home, Loop, Storage

INDEX = IndexType()
_LATE, _EARLY = -2, -(1 << 60)  # all steps of the program come later


@dataclass(slots=True)
class _Copy:
    """maker: the function that fills it. sources: what it reads, as it sees it: inputs, and other copies. roots: numbers of the inputs behind them.
    passing: where it is made, if only other copies are made of it: it does not outlive that.
    """

    maker: func.FuncOp
    sources: list[Home]
    roots: tuple[int, ...]
    form: str
    argument: SSAValue
    passing: Storage | None = None


class KeptCopies:
    """The copies of one program under construction. functions: the program's, by key. known: plans by problem."""

    def __init__(self, target: Target, functions: dict[object, func.FuncOp], known: Mapping[str, Decision]) -> None:
        self.target = target
        self.known = known
        self.functions = functions
        self._wanted: dict[func.FuncOp, tuple[int, str, func.FuncOp]] = {}
        self._copies: dict[tuple[object, ...], _Copy] = {}
        self._by_argument: dict[SSAValue, _Copy] = {}
        self._texts: dict[func.FuncOp, str] = {}

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

    def holds(self, storage: Storage) -> bool:
        """Whether this memory is one of the copies."""
        return storage.argument in self._by_argument

    def argument(self, kernel: func.FuncOp, source: Home, main: Block) -> SSAValue:
        """The argument of @main for the copy a kernel reads of an input, or of another copy."""
        _, form, maker = self._wanted[kernel]
        return self._argument(maker, [source], form, maker.body.block.args[1].type, main, "packed")

    def computed(self, kernel: func.FuncOp, operands: list[Home], main: Block) -> SSAValue:
        """The argument of @main for what a kernel makes of inputs and other copies."""
        if kernel not in self._texts:
            self._texts[kernel] = hashlib.sha256(contents_of(kernel).encode()).hexdigest()[:16]
        return self._argument(kernel, operands, f"made by {self._texts[kernel]}", kernel.body.block.args[len(operands)].type, main, "kept")

    def _argument(self, maker: func.FuncOp, sources: list[Home], form: str, held: Attribute, main: Block, hint: str) -> SSAValue:
        key = (maker, *[s.argument for s, _ in sources])
        copy = self._copies.get(key)
        if copy is None:
            behind = [self._by_argument.get(s.argument) for s, _ in sources]  # type: ignore[arg-type]  # all are arguments
            places = [(s.argument.index,) if c is None else c.roots for (s, _), c in zip(sources, behind, strict=True)]  # type: ignore[union-attr]
            form = f"{form} of {', '.join('it' if c is None else c.form for c in behind)}" if any(behind) else form
            argument = main.insert_arg(held, len(main.args))
            argument.name_hint = hint
            roots = tuple(n for place in places for n in place)
            copy = self._copies[key] = self._by_argument[argument] = _Copy(maker, sources, roots, form, argument)
        return copy.argument

    def settle(self, calls: Iterable[Call | Loop], main: Block) -> list[Storage]:
        """Gives up the copies that no call reads any more; memory for those that others are made of, each while it is needed."""
        every = list(_all_calls(calls))
        read = {id(s.argument) for call in every for k, (s, _) in enumerate(call.operands) if k != _packed_alone(call.function)}
        passing: list[Storage] = []
        wanted: set[int] = set()
        for key, copy in reversed(list(self._copies.items())):
            if id(copy.argument) in read or id(copy.argument) in wanted:
                wanted.update(id(s.argument) for s, _ in copy.sources)
            if id(copy.argument) in read:
                continue
            copy.passing = Storage(bytes_of(copy.argument.type), _LATE, _EARLY)  # type: ignore[arg-type]  # a memref
            if id(copy.argument) in wanted:
                passing.append(copy.passing)
            for call in every:  # who reads a packed copy of it gets it, too, and looks at nothing but where it is
                call.operands[:] = [(copy.passing if s.argument is copy.argument else s, held) for s, held in call.operands]
            main.erase_arg(copy.argument)  # type: ignore[arg-type]  # an argument of @main
            del self._copies[key]
        self._time()
        return passing

    def _time(self) -> None:
        """When what passes is needed: from where it is made to where it was read for the last time, over all that is filled."""
        made = [copy for kept in self._copies.values() for copy in self._making(kept)]
        for step, copy in enumerate(made, start=_LATE + 1 - len(made)):
            for passed in self._passing(copy):
                passed.passing.keep(step)  # type: ignore[union-attr]  # it passes
            if copy.passing is not None:
                copy.passing.first = min(copy.passing.first, step)
                copy.passing.keep(step)

    def _passing(self, copy: _Copy) -> list[_Copy]:
        """What a copy is made of that does not outlive that."""
        behind = [self._by_argument.get(s.argument) for s, _ in copy.sources]  # type: ignore[arg-type]  # all are arguments
        return [c for c in behind if c is not None and c.passing is not None]

    def _making(self, copy: _Copy) -> list[_Copy]:
        """The copy, and in front of it all that passes on the way to it, each once and behind what it is made of."""
        order: dict[int, _Copy] = {}

        def visit(made: _Copy) -> None:
            for passed in self._passing(made):
                if id(passed) not in order:
                    visit(passed)
            order[id(made)] = made

        visit(copy)
        return list(order.values())

    def write(self, main: Block, view: Callable[[Home], SSAValue]) -> None:
        """Adds what fills stale copies, at the end of @main as it is now. `add_flags` comes before."""
        for k, copy in enumerate(self._copies.values()):
            number = arith.ConstantOp(IntegerAttr(k, INDEX))
            made = [self._call(one, view) for one in self._making(copy)]
            changed = memref.LoadOp.get(self._stale, [number.result])
            main.add_ops([number, changed, scf.IfOp(changed.res, [], [*made, scf.YieldOp()])])

    def add_flags(self, main: Block) -> None:
        """Adds the argument that says which copies are stale."""
        if self._copies:
            self._stale = main.insert_arg(MemRefType(i1, [len(self._copies)]), len(main.args))
            self._stale.name_hint = "stale"

    def _call(self, copy: _Copy, view: Callable[[Home], SSAValue]) -> Operation:
        """The call that makes a copy where it is kept, or where it passes."""
        sources = []
        for storage, held in copy.sources:
            before = self._by_argument.get(storage.argument)  # type: ignore[arg-type]  # an argument
            sources.append(view((storage if before is None or before.passing is None else before.passing, held)))
        target = copy.argument if copy.passing is None else view((copy.passing, copy.argument.type))  # type: ignore[arg-type]  # a memref
        return func.CallOp(copy.maker.sym_name.data, [*sources, target], [])

    def describe(self, module: ModuleOp) -> None:
        """`lamina.kept`: the inputs each copy is made of; `lamina.forms`: how."""
        if self._copies:
            copies = self._copies.values()
            module.attributes["lamina.kept"] = ArrayAttr([DenseArrayBase.from_list(i64, list(copy.roots)) for copy in copies])
            module.attributes["lamina.forms"] = ArrayAttr([StringAttr(copy.form) for copy in copies])


def _all_calls(items: Iterable[Call | Loop]) -> Iterator[Call]:
    for item in items:
        if isinstance(item, Loop):
            yield from _all_calls(item.items)
        else:
            yield item


def _packed_alone(kernel: func.FuncOp) -> int:
    """The operand that a kernel reads a packed copy in place of, and nothing else of; -1 where there is none."""
    packed = kernel.attributes.get("lamina.packed")
    if not isinstance(packed, DenseArrayBase):
        return -1
    operand = int(packed.get_values()[0])
    return operand if _readings(kernel.body.block.args[operand]) == 1 else -1


def _readings(memory: SSAValue) -> int:
    """How often a memory is an operand, of what is no view of it."""
    counts = (sum(_readings(r) for r in use.operation.results if isinstance(r.type, MemRefType)) or 1 for use in memory.uses)
    return sum(counts)


def kept_copies(module: ModuleOp) -> tuple[Kept, ...]:
    """The copies @main of a buffered or loops module has arguments for."""
    numbers, forms = module.attributes.get("lamina.kept"), module.attributes.get("lamina.forms")
    if not isinstance(numbers, ArrayAttr) or not isinstance(forms, ArrayAttr):
        return ()
    count = len(numbers)
    types = [argument.type for argument in main_block(module).args[-2 - count : -2]]  # then what is stale, and the arena
    return tuple(
        Kept(tuple(roots.get_values()), (tuple(held.get_shape()), dtype_of_element(held.element_type)), form.data)
        for roots, held, form in zip(numbers, types, forms, strict=True)
    )


def without_fills(module: ModuleOp) -> frozenset[int]:
    """Takes out of a loops module what fills copies, and the argument that says which are stale: whoever calls it has filled them. Returns the
    numbers of the arguments nothing reads then."""
    main = main_block(module)
    for op in list(main.ops):
        if isinstance(op, scf.IfOp):
            main.erase_op(op)
    for op in reversed(list(main.ops)):
        if isinstance(op, (memref.LoadOp, memref.ViewOp, memref.ReinterpretCastOp, arith.ConstantOp)) and not any(r.uses for r in op.results):
            main.erase_op(op)
    main.erase_arg(main.args[-2])
    called = {op.callee.string_value() for op in module.walk() if isinstance(op, func.CallOp)}
    for function in list(module.ops):
        if isinstance(function, func.FuncOp) and function.sym_name.data not in (*called, "main"):
            module.body.block.erase_op(function)
    whole = main.parent_op()
    assert isinstance(whole, func.FuncOp)
    whole.properties["function_type"] = FunctionType.from_lists([a.type for a in main.args], [])
    for name in ("lamina.kept", "lamina.forms"):
        module.attributes.pop(name)
    functions = {f.sym_name.data: f for f in module.ops if isinstance(f, func.FuncOp)}
    return frozenset(a.index for a in main.args if not _is_read(a, functions))


def _is_read(value: SSAValue, functions: Mapping[str, func.FuncOp]) -> bool:
    """Whether anything is done with what lies at an argument, by whom it is handed to as well."""
    for use in value.uses:
        op = use.operation
        if isinstance(op, func.CallOp):
            if _is_read(functions[op.callee.string_value()].body.block.args[use.index], functions):
                return True
        elif not isinstance(op, memref.ReinterpretCastOp) or _is_read(op.results[0], functions):
            return True
    return False
