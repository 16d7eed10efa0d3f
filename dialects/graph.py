"""A recorded program as plain data: what the frontend hands to the driver, and the key of every cache."""

from __future__ import annotations

from typing import Any, NamedTuple

from .types import Type


class Step(NamedTuple):
    """One recorded op: attributes in the stanza's order (hashable), operands as value ids."""

    op: str
    attrs: tuple
    operands: tuple[int, ...]


class Graph:
    """Inputs, steps, outputs. Value ids: inputs first, then every result of every step in order.

    Equality and hash cover inputs, steps and outputs; origins ("file.py:12" per step), names (per input)
    and types (per value id) come along for readers of the IR and do not split the cache. kin: where it is the same object, ops,
    operands and outputs are likely the same, too: where to look for a graph that differs in sizes only. found: a reference to what runs it, and when it was looked up, for who does (backends/compiled_program.py).
    """

    __slots__ = ("inputs", "steps", "outputs", "origins", "names", "types", "kin", "found", "_hash")

    def __init__(
        self,
        inputs: tuple[Type, ...],
        steps: tuple[Step, ...],
        outputs: tuple[int, ...],
        origins: tuple[str, ...],
        names: tuple[str | None, ...],
        types: tuple[Type, ...],
        kin: object = None,
    ) -> None:
        self.inputs = inputs
        self.steps = steps
        self.outputs = outputs
        self.origins = origins
        self.names = names
        self.types = types
        self.kin = kin
        self.found: tuple[Any, object] = None, None
        self._hash = hash((inputs, steps, outputs))

    def __hash__(self) -> int:
        return self._hash

    def __reduce__(self) -> tuple:
        """Without what was found for it in this process."""
        return Graph, (self.inputs, self.steps, self.outputs, self.origins, self.names, self.types)

    def __repr__(self) -> str:
        """What equality covers: part of the disk cache's key when a graph is the body of a step."""
        return f"Graph({self.inputs!r}, {self.steps!r}, {self.outputs!r})"

    def __eq__(self, other: object) -> bool:
        return self is other or (
            isinstance(other, Graph)
            and self._hash == other._hash
            and self.inputs == other.inputs
            and self.steps == other.steps
            and self.outputs == other.outputs
        )


class Arrays(list):
    """A Graph's inputs, of which most are those of other calls. base: what they were taken from, the same object for calls that differ at the
    numbers in ``changing`` alone; it holds the arrays as long as it lives.
    """

    __slots__ = ("base", "changing", "__weakref__")

    base: Arrays
    changing: tuple[int, ...]


def is_complex(graph: Graph) -> bool:
    """Whether some value of a graph is complex."""
    return any([dtype.kind == "c" for _, dtype in graph.types])
