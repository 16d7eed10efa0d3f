"""Programs for sizes that are known only at the call: who gets one, compiling it, and one program per size beside another.

The first graph of a family (`families.py`) is compiled for its sizes. When a relative comes, the two make a template, and one
program is compiled that serves all its instances within bounds and conditions the compiler noted (`dialects/sizes.py`). Sizes
beyond them make the next program, with twice the room; what the compiler cannot do without the numbers is compiled size by size.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from ..dialects import flags
from ..dialects.graph import Graph
from ..dialects.sizes import Scope, admits
from . import background, emission
from .cache import key_of, lookup, source_version, store
from .compiled_program import Program, build, load, programs
from .families import Family, Template, take_apart
from .instances import Instances
from .graph_text import template_to_json
from .stats import show, stats
from .template_search import template_of
from .toolchain import find_compiler

OFTEN = 8
"""Small graphs of one family that run on the oracle, whatever their sizes, before a program is made for them."""

MOST_FAMILIES = 1024
MOST_KIN = 256
MOST_TEMPLATES = 6
MOST_SEARCHES = 8
"""Searches for a template of one family that find none, before its graphs are taken to have nothing in common."""

MOST_PROGRAMS = 6
"""Programs of one template; what fits none of them is compiled size by size."""

MOST_SIZES = 16
"""Sizes of one program that are kept ready, whatever memory their results take."""

MOST_SMALL_SIZES = 256
"""The same while their results take little."""

SMALL_BYTES = 1 << 20
"""How much that is, of all of them together."""

ROOM = 4
"""How many times the largest size seen a program is made for, at least."""

ROOM_TO_GROW = 16
"""The same for a size that was larger by as much each time it came: a text that grows by a word in each turn goes on doing so."""

GROWN = 4
"""Sizes that show it."""

MOST_LINES = 4096

STRAYS = 6
"""Graphs of mostly the same lines, one after the other, for which there was no program, before the next ones are expected not to come back either (rows that
a network sends to its experts, as many to each as it happens)."""

_families: OrderedDict[object, Family] = OrderedDict()
_lines: OrderedDict[str, None] = OrderedDict()
"""The lines of graphs whose sizes change."""

_strays: OrderedDict[str, int] = OrderedDict()
"""How many there were of a line since a program for many sizes last served them."""

_kin: OrderedDict[object, list[Instances]] = OrderedDict()
"""By `Graph.kin`: the templates that served such graphs as the frontend recorded them, the last first."""


@dataclass(eq=False)
class Relatives:
    """What is known about a graph's family when the graph comes."""

    graph: Graph
    family: Family
    numbers: tuple[int, ...]

    @classmethod
    def of(cls, graph: Graph) -> Relatives:
        """Looks a graph's family up; a first member founds it."""
        skeleton, numbers = take_apart(graph)
        family = _families.pop(skeleton, None) or Family()
        _families[skeleton] = family  # the one seen last is the last
        if len(_families) > MOST_FAMILIES:
            _families.popitem(last=False)
        family.came += 1
        family.seen(numbers)
        return cls(graph, family, numbers)

    @property
    def few(self) -> bool:
        """Whether the family has not come often yet."""
        return self.family.came <= OFTEN

    @property
    def is_passing(self) -> bool:
        """Whether a graph is the first of its family, of lines whose sizes change: a program for its own sizes is hardly used again (a
        text reaches its longest, and is cut from then on)."""
        lines = set(self.graph.origins)
        return len(self.family.members) == 1 and sum(line in _lines for line in lines) > len(lines) // 2

    @property
    def is_stray(self) -> bool:
        """Whether a graph is one of many of the same lines that differ in more than a program for any size leaves open."""
        lines = set(self.graph.origins)
        return sum(_strays.get(line, 0) > STRAYS for line in lines) > len(lines) // 2

    def stray(self) -> None:
        """The graph came for the first time, and there is no program for it."""
        for line in set(self.graph.origins):
            _strays[line] = _strays.pop(line, 0) + 1
        while len(_strays) > MOST_LINES:
            _strays.popitem(last=False)

    def program(self) -> Program | None:
        """A program made for relatives that is right for this graph, too."""
        for template in self.family.templates:
            values = template.values(self.numbers)
            if values is None:
                continue
            found = _admitting(template, self.graph, values)
            if found is not None:
                _remember(self.graph, template)
                return found
        return None

    def compiled(self, elsewhere: bool = False) -> Program | None:
        """A new program for this graph and its relatives; None where there are none, or the compiler needs the numbers.

        elsewhere: it may be made by another process, Making says that it is.
        """
        template = self._template()
        if template is None or template.refused or len(template.programs) >= MOST_PROGRAMS:
            return None
        values = template.values(self.numbers)
        assert values is not None
        others = [v for m in self.family.members if (v := template.values(m)) is not None]
        if template.asked is None:
            lately = [*(v for compiled in template.programs[-1:] for v in compiled.values), values] if template.programs else others
            grows = [_grows(each) for each in zip(*lately[-GROWN:], strict=True)]
            template.asked = [max(each) for each in zip(*others, strict=True)], grows
        estimates, grows = template.asked
        found = _compile(template, scope_of(estimates, grows), elsewhere)
        template.asked = None
        if found is None:
            template.refused = True
            return None
        template.programs.append(found)
        if admits(found.facts["sizes"], values):
            _remember(self.graph, template)
            return found.at(self.graph, values)
        if any(v > n for v, n in zip(values, estimates, strict=True)):
            return None  # it was made for smaller ones while this one came
        template.refused = True  # conditions that are not met by what it was made for: others would not be either
        return None

    def _template(self) -> Template | None:
        """A template this graph is an instance of: one that is there, or one made with a relative."""
        for template in self.family.templates:
            if template.values(self.numbers) is not None:
                return template
        family = self.family
        others = [m for m in family.members if m != self.numbers]
        if len(family.templates) >= MOST_TEMPLATES or family.searched >= MOST_SEARCHES or not others:
            return None
        family.searched += 1
        found = template_of(self.graph, [*others, self.numbers])
        if found is None and len(others) > 1:  # one of them may be no relative after all
            pairs = [t for other in reversed(others) if (t := template_of(self.graph, [other, self.numbers])) is not None]
            found = max(pairs, key=lambda t: len(t.sources), default=None)  # the first of those that leave most open
        if found is not None:
            family.searched = 0
            family.templates.append(found)
        return found


def forget() -> None:
    """What is known of families: their programs are made in another way from now on."""
    _families.clear()
    _lines.clear()
    _strays.clear()
    _kin.clear()


def program_of_kin(graph: Graph) -> Program | None:
    """A program that was made for what this graph is kin of, and is right for it, too."""
    for instances in _kin.get(graph.kin, ()):
        values = instances.values(graph)
        found = None if values is None else _admitting(instances.template, graph, values)
        if found is not None:
            return found
    return None


def _admitting(template: Template, graph: Graph, values: Sequence[int]) -> Program | None:
    for compiled in template.programs:
        if admits(compiled.facts["sizes"], values):
            return compiled.at(graph, values)
    return None


def _remember(graph: Graph, template: Template) -> None:
    """A template serves a graph that may have kin."""
    for line in graph.origins:
        _lines[line] = None
        _strays.pop(line, None)
    while len(_lines) > MOST_LINES:
        _lines.popitem(last=False)
    if graph.kin is None:
        return
    known = _kin.pop(graph.kin, [])
    if all(each.template is not template for each in known) and (made := Instances.of(template)) is not None:
        known = [made, *known[: MOST_TEMPLATES - 1]]
    _kin[graph.kin] = known
    if len(_kin) > MOST_KIN:
        _kin.popitem(last=False)


@dataclass(eq=False)
class Compiled:
    """A compiled template. first: its program for the sizes it was called with first; those for other sizes share its memory. sizes:
    those met lately, with their programs.
    """

    folder: Path
    facts: dict[str, Any]
    first: Program | None = None
    sizes: OrderedDict[Graph, Program] = field(default_factory=OrderedDict)
    bytes: int = 0  # of one result of each of them

    @property
    def values(self) -> list[tuple[int, ...]]:
        """The symbols' values met lately, in their order."""
        return [program.sizes for program in self.sizes.values()]

    def at(self, graph: Graph, values: Sequence[int]) -> Program:
        """The program for these values of the symbols, which make the template this graph."""
        with stats.timed("load"):
            if self.first is None:
                made = self.first = load(self.folder, self.facts, graph, sizes=values)
            else:
                made = self.first.at(graph, values)
        if (old := self.sizes.pop(graph, None)) is not None:
            self.bytes -= old.output_bytes
        self.sizes[graph] = made
        self.bytes += made.output_bytes
        while (count := len(self.sizes)) > MOST_SMALL_SIZES or count > MOST_SIZES and self.bytes > SMALL_BYTES:  # each holds output arrays
            old_graph, program = self.sizes.popitem(last=False)
            self.bytes -= program.output_bytes
            programs.pop(old_graph, None)
            program.forget()
        return made


def scope_of(estimates: Sequence[int], grows: Sequence[bool] = ()) -> Scope:
    """The symbols of a program that is planned for these sizes. grows: which of them go on growing."""
    rooms = [ROOM_TO_GROW if each else ROOM for each in grows] or [ROOM] * len(estimates)
    return Scope(list(estimates), [1 << (room * n - 1).bit_length() for room, n in zip(rooms, estimates, strict=True)])


def _grows(sizes: Sequence[int]) -> bool:
    steps = {b - a for a, b in pairwise(sizes)}
    return len(sizes) == GROWN and len(steps) == 1 and min(steps) > 0


def _compile(template: Template, scope: Scope, elsewhere: bool) -> Compiled | None:
    """A program for a template; None where the compiler refuses. Making while another process makes it."""
    compiler = find_compiler()
    assert compiler is not None  # the driver asked
    key = key_of(
        "symbolic", source_version(), compiler.identity, compiler.flags, flags.fast.value, flags.winograd.value, emission.cpu_target(flags.f32.value),
        template.text, scope.estimates, scope.high,
    )  # fmt: skip
    if elsewhere:
        background.leave(key, lambda: {"template": template_to_json(template), "estimates": scope.estimates, "high": scope.high})
    found = lookup(key)
    if found is not None:
        stats.disk_hits += 1
    else:
        found = store(key, lambda folder: _build(template, scope, folder))
        stats.compiles += 1
    folder, facts = found
    if "refused" in facts:
        stats.refused += 1
        show("cache", f"a program for any size is not made: {facts['refused']}")
        return None
    stats.symbolic += 1
    show("cache", f"a program for sizes {facts['sizes']} is {folder}")
    return Compiled(folder, facts)


def _build(template: Template, scope: Scope, folder: Path) -> dict[str, Any]:
    """Compile into a cache entry; its facts. What goes wrong on the way is a fact as well: a pass may need a number that is known
    at the call only, and the road for one size says what is wrong with the program itself.
    """
    try:
        return build(template.in_scope(scope), folder, None, 0, symbols=len(scope.estimates)) | {"sizes": scope.facts()}
    except Exception as error:  # noqa: BLE001
        return {"refused": f"{type(error).__name__}: {error}"}
