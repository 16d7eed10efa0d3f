"""A matched contraction with its plan, and where all it touches lies: operands, packed copy, partial sums.

Accesses are numbered: 0 the rows' side, 1 the vectors' side, 2… what the epilogue reads and writes, then the
packed copy, the partial sums and the packed rows, all in scratch memory. Every loop dim has one stride for each of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod

from xdsl.dialects import func
from xdsl.dialects.builtin import DenseArrayBase, StringAttr
from xdsl.ir import Attribute, BlockArgument

from ..dialects.errors import PassError
from ..dialects.sizes import any_symbolic, largest
from ..dialects.target import Target
from .contraction_choice import choice
from .contraction_decision import FREE, PLAIN, PLAN, Decision, read_decision
from .contraction_limits import MOST_KEPT, Limit, kept, way_of
from .contraction_match import Access, Contraction, asked_positions, match_contraction
from .contraction_covers import Panel
from .contraction_problem import Dim, Plan, Problem, turned
from .contraction_tile import Memory, Tile, accumulator_type
from .loop_writer import LoopWriter, bytes_of
from .packing import Packing
from .dot_products import DotTile
from .grouped_plan import box_packing, grouped_packings
from .tile_kind import TileKind, dot_kind, tile_kind
from .tile_products import RegisterTile

ALIGNMENT = 64


@dataclass(frozen=True)
class Schedule:
    """What the loops are written from. ``plan`` has strides for the accesses of the kernel only,
    ``full_plan`` for all. ``holds``: the access where sums lie between stretches.
    """

    contraction: Contraction
    plan: Plan
    accesses: tuple[Access, ...]
    packing: Packing | None
    row_packing: Packing | None
    threads: bool
    holds: int = 0
    box: Packing | None = None  # the copy that the rows' strides are of; None: of where they lie
    ahead: BlockArgument | None = None  # holds the packed copy when somebody makes it before the kernel runs

    @property
    def kind(self) -> TileKind | None:
        """What is multiplied in groups of depths; None: nothing."""
        return None if self.plan.blocks is None else self.plan.blocks.kind

    @property
    def total(self) -> Attribute:
        """The type sums are held in."""
        return accumulator_type(self.contraction) if self.kind is None else self.kind.total

    def tile(self, writer: LoopWriter, memory: Sequence[Memory]) -> Tile:
        """What writes the tiles of the contraction."""
        if self.kind is None:
            return Tile(writer, self.contraction, memory)
        return (RegisterTile if self.kind.unit == "tiles" else DotTile)(writer, self.contraction, memory, self.kind)

    @property
    def offsets(self) -> list[int]:
        """Where the loops begin in each access, of the rows' side in its copy."""
        box = None if self.plan.blocks is None else self.plan.blocks.box
        return [box.start if k == 0 and box is not None else a.offset for k, a in enumerate(self.accesses)]

    @property
    def packed(self) -> int:
        """Number of the packed copy among the accesses."""
        return len(self.accesses)

    @property
    def partial(self) -> int:
        """Number of the partial sums among the accesses."""
        return len(self.accesses) + 1

    @property
    def packed_rows(self) -> int:
        """Number of the packed rows among the accesses."""
        return len(self.accesses) + 2

    @property
    def partial_elements(self) -> int:
        """Elements of the partial sums of one chunk."""
        return self._padded * prod(d.size for d in self.plan.results) if self.plan.chunks > 1 else 0

    @property
    def packed_bytes(self) -> int:
        """Bytes of the packed copy, rounded up to whole lines."""
        if self.packing is None or self.ahead is not None:
            return 0
        return _lines(self.packing.elements * bytes_of(self.packing.element))

    @property
    def packed_row_bytes(self) -> int:
        """Bytes of the packed rows, rounded up to whole lines."""
        rows = self.row_packing or self.box
        return 0 if rows is None else _lines(rows.elements * bytes_of(rows.element))

    @property
    def scratch_bytes(self) -> int:
        """The packed copy, the packed rows, then the partial sums of all chunks."""
        item = bytes_of(self.total)
        return self.packed_bytes + self.packed_row_bytes + _lines(self.plan.chunks * self.partial_elements * item)

    @property
    def _padded(self) -> int:
        return -(-self.plan.vector.size // self.plan.lanes) * self.plan.lanes

    @cached_property
    def full_plan(self) -> Plan:
        """The plan whose dims also have strides for the packed copy and the partial sums."""
        plan = self.plan
        slots = iter(self.packing.slot_strides() if self.packing else ())
        row_slots = iter(self.row_packing.slot_strides() if self.row_packing else ())
        sizes = [d.size for d in plan.results]
        partial = iter([prod(sizes[i + 1 :]) * self._padded for i in range(len(sizes))])
        groups = (plan.batch, plan.outer, plan.beside, plan.within, (plan.tiled,), plan.inner)
        in_slots = (True, False, True, False, False, False)
        in_row_slots = (True, True, False, True, False, False)
        batch, outer, beside, within, tiled, inner = (
            tuple(
                Dim(d.size, (*d.strides, next(slots, 0) if slotted else 0, next(partial), next(row_slots, 0) if of_rows else 0))
                for d in group
            )
            for group, slotted, of_rows in zip(groups, in_slots, in_row_slots, strict=True)
        )
        row_steps = self.row_packing.steps if self.row_packing else 0
        tiled = (Dim(tiled[0].size, (*tiled[0].strides[:-1], row_steps)),)
        vector = Dim(plan.vector.size, (*plan.vector.strides, 0, 1, 0))
        return replace(
            plan, batch=batch, outer=outer, beside=beside, within=within, tiled=tiled[0], inner=inner, vector=vector
        )

    def panel_dim(self, panel: Panel) -> Dim:
        """The loop over the panels of one width."""
        plan = self.full_plan
        width = panel.vectors * plan.lanes
        strides = [s * width for s in plan.vector.strides]
        if panel.packed and self.packing is not None:
            strides[self.packed] = width * self.packing.steps
        return Dim(panel.count, tuple(strides))

    def tile_rows(self, size: int) -> tuple[Dim, ...]:
        """The rows of a tile of this size, with their distances from its place."""
        tiled = self.full_plan.tiled
        packed = 1 if self.row_packing is None else self.row_packing.row_stride
        return (Dim(size, (*tiled.strides[:-1], packed)), *self.full_plan.inner)

    def reduction(self, panel: Panel, tile: int) -> list[Dim]:
        """The reduction's loops with the strides of both sides for a tile of so many rows; what is packed is read front to back."""
        dims = [Dim(d.size, d.strides[:2]) for d in self.plan.reduction]
        sides = [[d.strides[side] for d in dims] for side in (0, 1)]
        if self.row_packing is not None:
            sides[0] = self.row_packing.step_strides(tile)
        if panel.packed and self.packing is not None:
            sides[1] = self.packing.step_strides(panel.near * self.plan.lanes)
        return [Dim(d.size, (left, right)) for d, left, right in zip(dims, *sides, strict=True)]


def schedule(kernel: func.FuncOp, target: Target, ahead: Sequence[int] = ()) -> Schedule | None:
    """The schedule of a kernel's contraction; None when it has none or plain loops serve as well.

    ahead: operands whose packed copy would cost nothing. A kernel that has an argument for one says so itself:
    `lamina.packed = array<i64: operand, argument>`. A plan that is written on the kernel (`lamina.plan`) is taken;
    PassError where there is none like it.
    """
    found = posed(kernel, target, ahead)
    if found is None:
        return None
    contraction, accesses, problem = found
    plan = _planned(kernel, problem, target)
    if plan is None:
        return None
    if plan.swapped:
        contraction = replace(contraction, left=contraction.right, right=contraction.left)
        accesses = (accesses[1], accesses[0], *accesses[2:])
    made = _made_ahead(kernel)
    packings = _packings(contraction, plan) if plan.blocks is None else grouped_packings(contraction, plan)
    copied = kernel.body.block.args[made[1]] if made else None
    box = box_packing(contraction, plan)
    return Schedule(contraction, plan, accesses, *packings, problem.work >= target.parallel_work, problem.holds, box, copied)


def posed(kernel: func.FuncOp, target: Target, ahead: Sequence[int] = ()) -> tuple[Contraction, tuple[Access, ...], Problem] | None:
    """A kernel's contraction, its accesses, and the problem a plan is made for; arguments as in `schedule`."""
    contraction = match_contraction(kernel)
    if contraction is None:
        return None
    accesses, outputs = _accesses(contraction)
    limits: tuple[Limit, ...] = ()
    dims = [Dim(n, tuple(a.strides[d] for a in accesses)) for d, n in enumerate(contraction.sizes)]
    total = accumulator_type(contraction)
    free = [kernel.body.block.args[k] for k in (_made_ahead(kernel)[:1] or ahead)]
    tiles, dots = tile_kind(contraction, target), dot_kind(contraction, target)
    if tiles is None and dots is None:
        accesses, dims, limits = _limited(contraction, accesses, dims)
    problem = Problem(
        tuple(dims[d] for d in contraction.parallel),
        tuple(dims[d] for d in contraction.reduction),
        outputs,
        bytes_of(total),
        tuple(a.element != total for a in accesses[:2]),
        tuple(a.buffer in free for a in accesses[:2]),
        tiles=tiles,
        dots=dots,
        holds=_holds(contraction, accesses, outputs),
        limits=limits,
    )
    return contraction, accesses, problem


def _limited(contraction: Contraction, accesses: tuple[Access, ...], dims: list[Dim]) -> tuple[tuple[Access, ...], list[Dim], tuple[Limit, ...]]:
    """Accesses and loops with the positions that limit the reduction, where enough of it is left out."""
    found = dict(contraction.limits)
    if not found or any_symbolic(n for d in dims for n in (d.size, *d.strides)):
        return accesses, dims, ()
    positions = list(found)
    numbered = [Dim(d.size, (*d.strides, *(p.strides[k] for p in positions))) for k, d in enumerate(dims)]
    limits = tuple(Limit(k, p.offset, found[p]) for k, p in enumerate(positions, len(accesses)))
    parallel, reduction = ([numbered[d] for d in part] for part in (contraction.parallel, contraction.reduction))
    if prod(kept(limit, way_of(limit, parallel, (), reduction)) for limit in limits) > MOST_KEPT:
        return accesses, dims, ()
    return (*accesses, *positions), numbered, limits


def _holds(contraction: Contraction, accesses: Sequence[Access], outputs: Sequence[int]) -> int:
    """An output that may hold sums until they are whole: of their type, and the memory of nothing the epilogue still reads.

    What is read at every element of an output may be the same memory (a dying operand's); what some loop leaves where it is cannot.
    """
    total = accumulator_type(contraction)
    made = {a.key() for s in contraction.stages for a in s.outputs}
    read = [a for s in contraction.stages for a in s.inputs if isinstance(a, Access) and a.key() not in {contraction.result.key(), *made}]
    if contraction.result.element != total or any(all(a.strides[d] for d in contraction.parallel) for a in read):
        return 0
    return next((n for n in outputs if accesses[n].element == total), 0)


def settle(kernel: func.FuncOp, target: Target, known: Mapping[str, Decision], ahead: Sequence[int] = ()) -> None:
    """Writes the plan of a kernel's contraction on the kernel: the known one of its problem, else the cost model's.

    Nothing for a kernel without a contraction, or one whose sizes are known at the call only.
    """
    found = posed(kernel, target, ahead)
    if found is None or not found[2].is_static:
        return
    decision = known.get(problem_key(found[2], target))
    if decision is None:
        plan = _planned(kernel, found[2], target)
        decision = PLAIN if plan is None else plan.decision
    kernel.attributes[PLAN] = StringAttr(str(decision))


def problem_key(problem: Problem, target: Target) -> str:
    """A problem and where it is solved, on one line."""
    return f"{target.name}{'' if target.tasks > 1 else ' in one task'}: {problem}"


def _planned(kernel: func.FuncOp, problem: Problem, target: Target) -> Plan | None:
    """The plan that is written on the kernel, else the cost model's."""
    text = kernel.attributes.get(PLAN)
    wanted = read_decision(text.data) if isinstance(text, StringAttr) else FREE
    plan = choice(problem, target, wanted)
    if not wanted or wanted.plain or (plan is not None and not wanted.missed(plan.decision)):
        return plan
    raise _refusal(kernel, wanted, plan or choice(problem, target))


def _refusal(kernel: func.FuncOp, wanted: Decision, nearest: Plan | None) -> PassError:
    """What to say of a plan that is none. nearest: one that is, as far as there is one."""
    facts, help = [("plan", str(wanted), "")], "plain loops are the only plan: write plain"
    if nearest is not None:
        decision = nearest.decision
        facts.append(("misses", " ".join(wanted.missed(decision)), ""))
        help = f"the nearest one is {decision}"
    return PassError(f"no plan of @{kernel.sym_name.data} is like the one it asks for", facts, help=help)


def _made_ahead(kernel: func.FuncOp) -> tuple[int, ...]:
    """The operand that has a packed copy, and the argument that is the copy; () without one."""
    given = kernel.attributes.get("lamina.packed")
    return tuple(given.get_values()) if isinstance(given, DenseArrayBase) else ()


def _accesses(contraction: Contraction) -> tuple[tuple[Access, ...], tuple[int, ...]]:
    """Every access once (both factors first), and the numbers of those that are written."""
    found: dict[tuple[object, ...], Access] = {}
    for stage in contraction.stages:
        for access in (*stage.inputs, *asked_positions(stage)):
            if isinstance(access, Access):
                found.setdefault(access.key(), access)
    for access in contraction.outputs:
        found.setdefault(access.key(), access)
    numbers = {key: i + 2 for i, key in enumerate(found)}
    outputs = tuple(numbers[a.key()] for a in contraction.outputs)
    return (contraction.left.access, contraction.right.access, *found.values()), outputs


def _packings(contraction: Contraction, plan: Plan) -> tuple[Packing | None, Packing | None]:
    return _packing(contraction, plan), _row_packing(contraction, plan)


def _packing(contraction: Contraction, plan: Plan) -> Packing | None:
    panels = tuple(p for p in plan.panels if p.packed)
    if not panels:
        return None
    access, slots = contraction.right.access, (*plan.batch, *plan.beside)
    element = accumulator_type(contraction)
    return Packing(
        access.buffer, access.offset, element, plan.lanes, slots, plan.vector, plan.reduction, panels
    )


def _row_packing(contraction: Contraction, plan: Plan) -> Packing | None:
    """Rows copied as a packing knows it: a tile is a panel of vectors of one lane."""
    if not plan.packs_rows:
        return None
    access = contraction.left.access
    slots, columns, *reduction = (turned(dims) for dims in ((*plan.batch, *plan.outer, *plan.within), (plan.tiled,), plan.reduction))
    tiles = tuple(Panel(t.size, t.count, t.start, 1, True) for t in plan.tiles)
    return Packing(access.buffer, access.offset, accumulator_type(contraction), 1, slots, columns[0], reduction[0], tiles)


def _lines(count: int) -> int:
    return -(-largest(count) // ALIGNMENT) * ALIGNMENT
