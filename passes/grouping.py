"""Which stages share a kernel: the shapes of kernels that exist, and merging without making cycles."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from math import prod

from xdsl.ir import Operation

from ..dialects.ops import attrs_of, stanza_of
from ..dialects.sizes import estimate
from .access import (
    ALIAS,
    CONTRACT,
    FOLD,
    INLINE,
    OPAQUE,
    PLACE,
    Domain,
    Read,
    Seen,
    fold_of_rows,
    leaf_reads,
    shape_of,
    size_of_value,
    stage_domains,
    without_ones,
)
from .linear_index import reads_at
from .materialise import Program
from .placement import boxes, is_whole

Sizes = tuple[int, ...]

STAGE_LIMIT = 16
EPILOGUE_TRAFFIC = 3  # tensors as large as the result that the epilogue of a contraction may read and write

# Shapes of kernels
MAP = "map"  # elementwise stages over one domain
ROWS = "rows"  # folds of trailing dims and elementwise stages, all inside common outer loops
STATISTICS = "statistics"  # other folds over one domain, then elementwise stages over their result
PRODUCT = "product"  # a contraction, then elementwise stages over its result
ALONE = "alone"  # nothing joins


@dataclass(eq=False)
class Group:
    """A kernel in the making."""

    shape: str
    stages: list[int]  # places of their roots in the program
    domain: Sizes  # of elementwise stages (ROWS: the outer loops)
    inner: Sizes = ()  # ROWS: the loops inside a row
    loops: tuple = ()  # STATISTICS: operand shape and axes of the folds
    mask: int = 0  # bit set of stages, see `Grouping.bit`
    above: int = 0  # bit set of all stages of other groups this one depends on
    inputs: set = field(default_factory=set)

    def accepts_map(self, domain: Sizes) -> bool:
        """True if an elementwise stage with these loops can be a stage here."""
        return domain == self.domain or (self.shape == ROWS and domain == self.domain + self.inner)


class Grouping:
    """Groups the stages of a program, greedily: elementwise stages among themselves, then all of them."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.bit: dict[int, int] = {}  # of each stage: what is in no memory has none, so that sets stay short
        self.group: dict[int, Group] = {}
        self.reads: dict[int, list[Read]] = {}
        self.loops: dict[int, Sizes] = {}
        self.producers: dict[int, dict[int, None]] = {}
        self.readers: dict[int, list[int]] = {}
        for i, material in enumerate(program.material):
            if material:
                self._add(i)
        self._join_producers((MAP,))
        self._join_siblings((MAP,))
        self._join_producers((MAP, ROWS, STATISTICS, PRODUCT))
        self._join_siblings((MAP, ROWS, STATISTICS))

    def groups(self) -> list[Group]:
        """The groups, each once, by their first stage."""
        return list(dict.fromkeys(self.group.values()))

    def _add(self, i: int) -> None:
        op, role = self.program.ops[i], self.program.roles[i]
        if role in (ALIAS, OPAQUE):
            group, reads = Group(ALONE, [i], ()), [(v, None) for v in op.operands]
        else:
            domains = stage_domains(op, role)
            self.loops[i] = domains[0].sizes
            root = op.results[0] if role in INLINE else None
            seen: Seen = {}
            reads = [read for d in domains for read in leaf_reads(d, self.program.is_leaf, root, seen)]
            group = self._new_group(i, role, domains)
        self.reads[i] = reads
        group.inputs.update(v for v, _ in reads)
        places = [self.program.place_of(v) for v, _ in reads]
        self.producers[i] = dict.fromkeys(p for p in places if p is not None)
        if role == PLACE:  # what is overwritten everywhere is read by nothing, and yet an operand of the kernel
            self.producers[i].update(dict.fromkeys(self._operands(i)))
        group.mask = self.bit[i] = 1 << len(self.bit)
        for p in self.producers[i]:
            self.readers.setdefault(p, []).append(i)
            group.above |= self.group[p].above | self.bit[p]
        self.group[i] = group

    def _operands(self, i: int) -> Iterator[int]:
        """The places of what a stage's expression is made of in memory."""
        seen, todo = {i}, [i]
        while todo:
            for _, place in self.program.sources[todo.pop()]:
                if place is not None and place not in seen:
                    seen.add(place)
                    if self.program.material[place]:
                        yield place
                    else:
                        todo.append(place)

    def _new_group(self, i: int, role: str, domains: list[Domain]) -> Group:
        op = self.program.ops[i]
        result = without_ones(shape_of(op.results[0]))
        if role == CONTRACT:
            return Group(PRODUCT, [i], result)
        if role == FOLD:
            axes = attrs_of(op)[0]
            shape = shape_of(op.operands[0])
            rows = fold_of_rows(op)
            if rows is not None:
                return Group(ROWS, [i], *rows)
            outer = without_ones(d for k, d in enumerate(shape) if k not in axes)
            return Group(STATISTICS, [i], outer, loops=(shape, axes))
        if role == PLACE and (len(domains) > 1 or not is_whole(op)) and not _is_even(op, domains):
            return Group(ALONE, [i], ())
        return Group(MAP, [i], domains[0].sizes)

    def _join_producers(self, shapes: tuple[str, ...]) -> None:
        """Each stage with what makes its operands, the latest first, among groups of these shapes."""
        for i in self.group:
            for p in sorted(self.producers[i], reverse=True):
                a, b = self.group[p], self.group[i]
                if a.shape in shapes and b.shape in shapes:
                    self._try(a, b)

    def _join_siblings(self, shapes: tuple[str, ...]) -> None:
        """Groups over the same loops that read the same values: one pass over memory instead of several."""
        by_loops: dict[tuple, list[Group]] = {}
        for group in self.groups():
            if group.shape in shapes:
                by_loops.setdefault((group.shape, group.domain, group.inner, group.loops), []).append(group)
        for group in list(by_loops.values()):
            for k, late in enumerate(group):
                for early in group[max(0, k - 8) : k]:
                    early, late = self.group[early.stages[0]], self.group[late.stages[0]]
                    if early is not late and _share(early, late):
                        self._try(early, late)

    def _try(self, a: Group, b: Group) -> bool:
        """Merge b into a (b may read a) if that is a kernel of a known shape and no cycle comes of it."""
        if a is b or len(a.stages) + len(b.stages) > STAGE_LIMIT or not self._fit(a, b) or self._cycle(a, b):
            return False
        merged = a if a.shape != MAP or b.shape == MAP else b
        merged.stages, merged.mask = sorted(a.stages + b.stages), a.mask | b.mask
        merged.above = (a.above | b.above) & ~merged.mask
        merged.inputs = a.inputs | b.inputs
        for i in merged.stages:
            self.group[i] = merged
        self._tell_readers(merged)
        return True

    def _tell_readers(self, merged: Group) -> None:
        """What depends on a merged group depends on all of it; groups that know that already are not walked through."""
        known = merged.mask | merged.above
        todo = [merged]
        while todo:
            for i in todo.pop().stages:
                for reader in self.readers.get(i, ()):
                    group = self.group[reader]
                    if group is not merged and known & ~group.above:
                        group.above |= known
                        todo.append(group)

    def _fit(self, a: Group, b: Group) -> bool:
        if ALONE in (a.shape, b.shape):
            return False
        if b.shape == MAP:
            if a.shape == PRODUCT and self._traffic(a, b) > EPILOGUE_TRAFFIC:
                return False
            return a.accepts_map(b.domain) and self._meets(a, b) and self._meets(b, a)
        if b.shape == ROWS:
            same = (a.domain, a.inner) == (b.domain, b.inner) if a.shape == ROWS else b.accepts_map(a.domain)
            return a.shape in (MAP, ROWS) and same and self._meets(a, b) and self._meets(b, a)
        if b.shape == STATISTICS:
            return a.shape == STATISTICS and a.loops == b.loops and not (b.above & a.mask or a.above & b.mask)
        return False

    def _traffic(self, a: Group, b: Group) -> int:
        """Tensors of the result's size that elementwise stages would read and write in a contraction's kernel."""
        made = {self.program.ops[i].results[0] for i in a.stages + b.stages}
        foreign = [v for v in b.inputs if v not in made and size_of_value(v) == prod(b.domain)]
        return len(foreign) + len(made) - 1

    def _meets(self, a: Group, b: Group) -> bool:
        """Every value of a that b reads is read at the very place in the loops where a makes it."""
        for i in b.stages:
            for value, index in self.reads[i]:
                place = self.program.place_of(value)
                if place is None or not a.mask & self.bit.get(place, 0):
                    continue
                made = self._made_over(place)
                if index is None or made is None or made != self.loops[i][: len(made)]:
                    return False
                if not reads_at(index, range(len(made))):
                    return False
        return True

    def _made_over(self, i: int) -> Sizes | None:
        """The loops that make one element of the result at every step; None where its place is another."""
        if self.program.roles[i] == PLACE:
            return None
        return without_ones(shape_of(self.program.ops[i].results[0]))

    def _cycle(self, a: Group, b: Group) -> bool:
        return self._reaches(a, b) or self._reaches(b, a)

    def _reaches(self, a: Group, b: Group) -> bool:
        """True if a value goes from a to b through a third group."""
        if not b.above & a.mask:
            return False
        for i in b.stages:
            for p in self.producers[i]:
                between = self.group[p]
                if between is not a and between is not b and between.above & a.mask:
                    return True
        return False


def _is_even(op: Operation, domains: list[Domain]) -> bool:
    """Whether a placement writes whole values of one size side by side: a loop over one of them can write them all."""
    if boxes(op) is None or stanza_of(op).name == "update":
        return False
    return all(d.sizes == domains[0].sizes for d in domains)


def _share(a: Group, b: Group) -> bool:
    """True if both read a value that is not tiny against their loops."""
    loops = a.loops[0] if a.shape == STATISTICS else (*a.domain, *a.inner)
    least = prod(map(estimate, loops)) // 2
    return any(prod(map(estimate, shape_of(v))) >= least for v in a.inputs & b.inputs)
