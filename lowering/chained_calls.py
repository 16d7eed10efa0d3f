"""Products, row folds and products with what comes of them become one kernel of a GPU: no matrix between them is in memory.

    S = Q K^T; P = softmax(S); O = P V; ...; dP = dO V^T; dS = f(P, dP); dV = P^T dO; dQ = dS K; dK = dS^T Q

Calls that touch the matrices between them belong together. Where some of them wait for something that others have to make
first (the gradient of O), they are cut into levels, one kernel each, and what a later level reads of an earlier one's
matrices it makes again, but for rows' folds: those are kept (kept_rows.py). Kernels that only cast, scale or compare are made again, too, so that a product reads what they read.
What is merged is still a plain kernel of stages on whole temporaries: chain_reader.py says whether it is a chain, and
gpu_chain_sweep.py keeps the temporaries in registers, tile by tile.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import prod
from types import UnionType

from xdsl.dialects import arith, func, memref
from xdsl.dialects.builtin import AnyFloat, MemRefType
from xdsl.dialects.linalg.ops import GenericOp
from xdsl.ir import Block, Operation, Region, SSAValue

from ..dialects.attributes import segments
from .block_analysis import is_plain
from .blocked_calls import Register
from .call_values import CallValues, Item, Node, Value, in_order, last_step, operands_of, results_of, scratches_of, whole_of
from .chain_reader import contraction_of
from .kept_rows import KeptRows, kept_rows
from .kernel_functions import make_function
from .memref_layout import bytes_of, reinterpreted, span_of, strides_of
from .separate_outputs import separated
from .storage import Call, Home, Storage

LIGHT_OPS = 12
"""Ops of a kernel that is rather made again than read."""
MOST_MEMBERS = 16
SPREAD = 16
"""How many elements a kernel of few ops makes of one it reads, to be made again."""

Fits = Callable[[func.FuncOp], bool]


class ChainedCalls:
    """Rewrites the calls of a program for a GPU.

    fits: whether the lowering can keep a merged kernel's matrices on chip. given: arguments whose memory may become another
    array's once the program has read them for the last time; nobody reads them later than that.
    """

    def __init__(self, functions: dict[object, func.FuncOp], register: Register, fits: Fits, given: frozenset[SSAValue]) -> None:
        self.functions, self.register, self.fits, self.given = functions, register, fits, given
        self.halves: dict[func.FuncOp, KeptRows | None] = {}  # many calls share a function

    def rewrite(self, calls: list[Item], storages: list[Storage]) -> None:
        """Replaces the calls of every chain in place."""
        position = 0
        changed = False
        _set_apart(calls, storages)
        values = CallValues(calls)
        while position < len(calls):
            component = _Component.around(calls, values, position)
            if component is not None and (self._replaced_keeping_rows(component, storages) or self._replaced(component)):
                values, changed = CallValues(calls), True
            else:
                position += 1
        if changed:
            drop_unread(calls, storages)

    def _replaced(self, component: _Component) -> bool:
        """Whether a component became kernels."""
        order = component.order(self)
        if order is not None:
            component.replace(order)
        return order is not None

    def _replaced_keeping_rows(self, component: _Component, storages: list[Storage]) -> bool:
        """Whether it became kernels of which the later ones read the rows that folds of the earlier ones made."""
        calls, old = component.calls, {}
        exchanged: dict[int, Call] = {}
        homes: list[Storage] = []
        for k in component.folds_made_again():
            call = calls[k]
            assert isinstance(call, Call)
            if call.function not in self.halves:
                self.halves[call.function] = kept_rows(call.function, len(call.operands), len(call.results))
            halves = self.halves[call.function]
            if halves is None:
                continue
            rows = [(Storage(bytes_of(held), call.step, call.step), held) for held in halves.types]
            old[k] = call
            calls[k] = replace(call, function=halves.making, results=[*call.results, *rows])
            exchanged[k] = replace(call, function=halves.reading, operands=[*call.operands, *rows])
            homes += [storage for storage, _ in rows]
        if not old:
            return False
        again = _Component(calls, CallValues(calls), component.members, set())
        again.matrices = {again.values.made[v.maker][component.values.made[v.maker].index(v)] for v in component.matrices}
        again.exchanged = exchanged
        if self._replaced(again):
            storages += homes
            return True
        for k, call in old.items():
            calls[k] = call
        return False

    def merged(self, cluster: _Cluster) -> func.FuncOp | None:
        """The kernel of a cluster's calls; None when it is no chain."""
        key = ("chain", *cluster.key())
        found = self.functions.get(key)
        if found is None:
            found = cluster.function(f"k{len(self.functions)}")
            if found is None or not self.fits(found):
                return None
            self.register(key, found)
        return found


class _Component:
    """All calls that touch some matrices nobody else looks at."""

    def __init__(self, calls: list[Item], values: CallValues, members: Sequence[int], matrices: set[Value]) -> None:
        self.calls, self.values, self.members, self.matrices = calls, values, sorted(members), matrices
        self.exchanged: dict[int, Call] = {}
        """What members are where they are made again: calls that read rows which are kept."""

    @classmethod
    def around(cls, calls: list[Item], values: CallValues, start: int) -> _Component | None:
        """The component of a product's result; None when there is no fold in it, or somebody else reads a matrix."""
        first = calls[start]
        if not isinstance(first, Call) or not is_plain(first.function) or len(first.results) != 1 or not is_product(first.function):
            return None
        size = _size(first.results[0])
        matrices, members, waiting = {values.made[start][0]}, {start}, [values.made[start][0]]
        while waiting:
            value = waiting.pop()
            if value.outlives or value.home is None or len(members) > MOST_MEMBERS:
                return None
            for k in (value.maker, *value.readers):
                item = calls[k]
                if k in members:
                    continue
                if not isinstance(item, Call) or not is_plain(item.function):
                    return None
                members.add(k)
                if is_product(item.function) and not cls._goes_on(item.function, values.read[k], matrices):
                    continue
                near = [*(v for v, home in zip(values.made[k], item.results, strict=True) if _size(home) == size)]
                near += [v for v, home in zip(values.read[k], item.operands, strict=True) if _size(home) == size and _is_heavy(calls, v)]
                waiting += [v for v in near if v not in matrices]
                matrices.update(near)
        for k in list(members):
            cls._join_reader(calls, values, k, members, matrices)
        if start != min(members) or not any(folds(calls[k].function) for k in members):  # type: ignore[union-attr]  # calls
            return None
        return cls(calls, values, list(members), matrices)

    @staticmethod
    def _goes_on(product: func.FuncOp, read: Sequence[Value], matrices: set[Value]) -> bool:
        """Whether what a product makes is made element by element of a matrix, too: it is one then, not a sum over one."""
        elementwise = {v for op in product.body.block.ops if isinstance(op, GenericOp) and contraction_of(op) is None for v in op.inputs}
        return any(v in matrices and arg in elementwise for v, arg in zip(read, product.body.block.args, strict=False))

    @staticmethod
    def _join_reader(calls: list[Item], values: CallValues, k: int, members: set[int], matrices: set[Value]) -> None:
        """Takes in who only casts, scales or turns what a member hands out, where nobody else reads that."""
        for value in values.made[k]:
            if value not in matrices and not value.outlives and len(value.readers) == 1 and is_light(calls[value.readers[0]], rounds=True):
                members.add(value.readers[0])
                matrices.add(value)

    def order(self, how: ChainedCalls) -> list[Node] | None:
        """All calls from the first member to the last in their new order, those of every level merged; None if it cannot be."""
        clusters, outside = self._clusters()
        nodes: list[Node] = []
        for cluster in clusters:
            function = how.merged(cluster) if cluster.members else None
            if function is None or any(v.storage.argument in how.given for v in cluster.reads):
                return None
            nodes.append(Node(cluster.call(function), cluster.members[-1], cluster.reads, cluster.makes))
        for k in outside:
            nodes.append(Node(self.calls[k], k, self.values.read[k], self.values.made[k]))
        there = {v.storage: v for made in self.values.made[: self.members[0]] for v in made}
        if any(v.maker < self.members[0] and there.get(v.storage, v) is not v for node in nodes for v in node.reads):
            return None  # what is made again from it would read what was written over it since
        return in_order(sorted(nodes, key=lambda n: n.place))

    def _clusters(self) -> tuple[list[_Cluster], list[int]]:
        """The members of every level, and who stands between them."""
        level, outside = self._levels()
        return [_Cluster(self, [m for m in self.members if level[m] == n]) for n in range(max(level.values()) + 1)], outside

    def folds_made_again(self) -> list[int]:
        """Members that fold rows in one kernel, and are made again in a later one."""
        clusters, _ = self._clusters()
        again = {k for cluster in clusters for k in cluster.again}
        return [m for m in self.members if m in again and folds(self.calls[m].function)]  # type: ignore[union-attr]  # calls

    def _levels(self) -> tuple[dict[int, int], list[int]]:
        """Of every member how often somebody else stands between it and other members, members as late as their readers allow: what a
        later kernel's sweep can sum needs no sweep of its own. And who stands between them.
        """
        level: dict[int, int] = {}
        members = set(self.members)
        for k in range(self.members[0], self.members[-1] + 1):
            makers = [v.maker for v in self.values.read[k] if v.maker in level]
            waits = [level[m] + (m in members and k not in members) for m in makers]
            level[k] = max(waits, default=0)
        last = max(level[m] for m in members)
        for k in reversed(level):
            readers = [r for v in self.values.made[k] for r in v.readers if r in level]
            level[k] = min((level[r] - (k in members and r not in members) for r in readers), default=last + (k not in members))
        return {m: level[m] for m in self.members}, [k for k in level if k not in members]

    def replace(self, order: Sequence[Node]) -> None:
        """Puts the new order in the place of the old one; what either touches lives as long as both."""
        low, high = self.members[0], self.members[-1] + 1
        old = self.calls[low:high]
        items = [node.item for node in order if node.item is not None]
        steps = [item.step for item in old if isinstance(item, Call)]
        for item in (*old, *items):
            homes = [whole_of(s) for s, _ in (*operands_of(item), *results_of(item))]
            for storage in (*homes, *scratches_of(item)):
                storage.first = min(storage.first, steps[0])
                storage.keep(steps[-1])
        self.calls[low:high] = items


def _set_apart(calls: list[Item], storages: list[Storage]) -> None:
    """What products read of light kernels that write over what they read gets memory of its own: it can be made again from what is there then."""
    values = CallValues(calls)
    for k, item in enumerate(calls):
        if not isinstance(item, Call) or not {s for s, _ in item.operands} & {s for s, _ in item.results} or not is_light(item):
            continue
        for place, value in enumerate(values.made[k]):
            storage, held = item.results[place]
            readers = [calls[r] for r in value.readers]
            if value.outlives or not any(isinstance(r, Call) and is_product(r.function) for r in readers):
                continue
            own = Storage(bytes_of(held), item.step, max(map(last_step, readers)))
            storages.append(own)
            item.results[place] = own, held
            for r in set(value.readers):
                operands = calls[r].operands  # type: ignore[union-attr]  # a value that a loop reads outlives
                operands[:] = [(own if v is value else s, kind) for v, (s, kind) in zip(values.read[r], operands, strict=True)]


def is_product(function: func.FuncOp) -> bool:
    """Whether a sum of products is made, whatever follows it."""
    return any(isinstance(op, GenericOp) and contraction_of(op) is not None for op in function.body.block.ops)


def folds(function: func.FuncOp) -> bool:
    """Whether the kernel reduces, and makes no sum of products."""
    stages = [op for op in function.body.block.ops if isinstance(op, GenericOp)]
    return not is_product(function) and any(k.data.value == "reduction" for op in stages for k in op.iterator_types.data)


def _size(home: Home) -> int:
    return prod(home[1].get_shape())


def _is_heavy(calls: Sequence[Item], value: Value) -> bool:
    """Whether a value is better kept than made again; what was there before the program is kept anyway."""
    return value.maker >= 0 and not is_light(calls[value.maker])


def is_light(item: Item, rounds: bool = False) -> bool:
    """Whether the call only widens (rounds: or rounds) or scales an operand per result, or says of indices, truth values and a few numbers
    what is so.
    """
    if not isinstance(item, Call) or not is_plain(item.function):
        return False
    stages = [op for op in item.function.body.block.ops if isinstance(op, GenericOp)]
    if any(kind.data.value != "parallel" for op in stages for kind in op.iterator_types) or len(stages) != 1:
        return False
    body = list(stages[0].body.block.ops)
    if all(isinstance(held.element_type, AnyFloat) for _, held in item.results) and not _spreads(item):
        casts = arith.ExtFOp | arith.TruncFOp if rounds else arith.ExtFOp
        read = stages[0].body.block.args[: len(stages[0].inputs)]
        return all(_scaled_from(v, casts) in read for v in body[-1].operands)
    return len(item.results) == 1 and len(body) <= LIGHT_OPS and all(op.name.startswith("arith.") or op.name == "linalg.index" for op in body[:-1])


def _spreads(call: Call) -> bool:
    """Whether far more is made than read: what follows from indices and a few numbers."""
    return SPREAD * sum(map(_size, call.operands)) <= sum(map(_size, call.results))


def _scaled_from(value: SSAValue, casts: type[Operation] | UnionType) -> SSAValue | None:
    """What a value is a cast of, times constants; None when it is something else."""
    while isinstance(op := value.owner, Operation):
        others = [v for v in op.operands if not isinstance(v.owner, arith.ConstantOp)]
        if not isinstance(op, casts | arith.MulfOp) or len(others) != 1:
            return None
        value = others[0]
    return value


class _Cluster:
    """The calls of one merged kernel: members of one level, and what they need of others, made again."""

    def __init__(self, component: _Component, members: Sequence[int]) -> None:
        self.component, self.members = component, list(members)
        self.calls, self.values = component.calls, component.values
        self.again: set[int] = set()
        for k in members:
            self._make_again(k)
        self.all = sorted({*members, *self.again})
        inside = {v for k in self.all for v in self._made(k)}
        self.makes = [v for k in self.members for v in self.values.made[k] if v not in component.matrices]
        found = ((v, home) for k in self.all for v, home in zip(self._read(k), self._call(k).operands, strict=True) if v not in inside)
        self.operands = list(dict.fromkeys(found))
        self.reads = list(dict.fromkeys(v for v, _ in self.operands))

    def _call(self, k: int) -> Call:
        item = self.component.exchanged.get(k, self.calls[k]) if k in self.again else self.calls[k]
        assert isinstance(item, Call)
        return item

    def _read(self, k: int) -> list[Value]:
        """What a call reads here; rows that are kept are results of the member it is in the other kernel."""
        kept = len(self._call(k).operands) - len(self.values.read[k])
        return [*self.values.read[k], *self.values.made[k][len(self.values.made[k]) - kept :]]

    def _made(self, k: int) -> list[Value]:
        return self.values.made[k][: len(self._call(k).results)]

    def _make_again(self, k: int) -> None:
        for value in self.values.read[k]:
            if value.maker < 0 or value.maker in self.again or value.maker in self.members:
                continue
            if value in self.component.matrices or is_light(self.calls[value.maker]):
                self.again.add(value.maker)
                self._make_again(value.maker)

    def key(self) -> list[object]:
        """Equal for clusters whose kernels are equal."""
        numbers: dict[object, int] = {operand: i for i, operand in enumerate(self.operands)}
        key: list[object] = [tuple(home[1] for _, home in self.operands)]
        for k in self.all:
            call = self._call(k)
            inputs = [numbers.get((v, home), numbers.get(v, -1)) for v, home in zip(self._read(k), call.operands, strict=True)]
            for v in self._made(k):
                numbers[v] = len(numbers)
            key.append((call.function.sym_name.data, *inputs, *(v in self.makes for v in self._made(k))))
        return key

    def call(self, function: func.FuncOp) -> Call:
        """The call of the merged kernel."""
        first, last = self._call(self.members[0]), self._call(self.members[-1])
        results = [v.home for v in self.makes if v.home is not None]
        scratch = None
        if len(function.body.block.args) > len(self.operands) + len(results):
            held = function.body.block.args[-1].type
            assert isinstance(held, MemRefType)
            scratch = Storage(held.get_shape()[0], last.step, last.step)
        return Call(function, [home for _, home in self.operands], results, first.origin, scratch, last.step)

    def function(self, name: str) -> func.FuncOp | None:
        """All bodies one after the other; what they hand on lies in temporaries. None where it is read as another type."""
        results = [v.home for v in self.makes]
        if any(home is None for home in results):
            return None
        types = [home[1] for _, home in self.operands], [home[1] for home in results if home is not None]
        block = Block(arg_types=[*types[0], *types[1]])
        memory: dict[object, SSAValue] = dict(zip((*self.operands, *self.makes), block.args, strict=True))
        for k in self.all:
            call, mapped = self._call(k), {}
            for v, home, argument in zip(self._read(k), call.operands, call.function.body.block.args, strict=False):
                given = memory.get((v, home), memory.get(v))
                if given is None:
                    return None
                if given.type != home[1]:
                    seen = _seen_as(given, home[1])
                    if seen is None:
                        return None
                    block.add_op(seen)
                    given = seen.results[0]
                mapped[argument] = given
            made = zip(self._made(k), call.function.body.block.args[len(call.operands) :], strict=False)
            for v, argument in made:
                if v not in memory:
                    alloca = memref.AllocaOp.create(result_types=[argument.type], properties={"operandSegmentSizes": segments(0, 0)})
                    block.add_op(alloca)
                    memory[v] = alloca.results[0]
                mapped[argument] = memory[v]
            for op in call.function.body.block.ops:
                if not isinstance(op, func.ReturnOp):
                    block.add_op(op.clone(mapped))
            last = block.last_op
            if k in self.again and isinstance(last, GenericOp) and len(last.outputs) > 1:
                block.add_ops(list(separated(last)))
                block.erase_op(last)
        block.add_op(func.ReturnOp())
        return make_function(name, *types, Region(block))


def _seen_as(memory: SSAValue, wanted: MemRefType) -> Operation | None:
    """All elements of a temporary as an array of other dimensions; None where that is not the same memory."""
    held = memory.type
    assert isinstance(held, MemRefType)
    whole = prod(held.get_shape())
    if held.element_type != wanted.element_type or {prod(wanted.get_shape()), span_of(held), span_of(wanted)} != {whole}:
        return None
    return reinterpreted(memory, 0, wanted, strides_of(wanted))




def drop_unread(calls: list[Item], storages: list[Storage]) -> None:
    """Drops calls nobody reads the results of, and storages no call touches any more; adds the new kernels' scratch memory."""
    count = -1
    while count != len(calls):
        count, values = len(calls), CallValues(calls)
        calls[:] = [item for k, item in enumerate(calls) if any(v.readers or v.outlives for v in values.made[k])]
    scratches = [s for item in calls for s in scratches_of(item)]
    touched = {whole_of(s) for item in calls for s, _ in (*operands_of(item), *results_of(item))}
    kept = [s for s in storages if s in touched or s in scratches]
    storages[:] = [*kept, *(s for s in scratches if s not in kept)]
