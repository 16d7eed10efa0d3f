"""What a contraction's plan decides, as text on its kernel: printed, edited by hand, and taken again.

    lamina.plan = "side=right loop=0 lanes=16 inner=0 rows=6 vectors=4 pack=columns chunks=1 block=0/3 ahead=1024 stretches=1"

| word | decides |
|---|---|
| side, loop, lanes | whose columns are the vector (the right factor's or the left one's), which of its loops, elements of a vector |
| inner, rows, vectors | the register tile: innermost row loops it takes whole, rows it takes of the next one, vectors beside each other |
| pack | what is copied first: `none` (only what must be), `columns`, `rows`, `both` |
| chunks | parts of the sum that are made apart and added in order (other chunks, side, unit, depth, or plain loops round otherwise) |
| block | rows that meet a panel before the next one is touched: row loops outside the panels, shares of the next loop |
| ahead | elements of a packed panel that are fetched before they are needed |
| stretches | parts of the sum that every panel goes over one after the other, the sums in memory between them |
| unit | what multiplies: `vectors`, or groups of depths at once: `tiles` (registers of AMX) or `dots` (vectors that add several products to a sum) |
| copy | of the rows' side in groups: `none` (read where it lies), `tiles` (tile by tile, windows written out), `once` (each element once, windows overlap) |
| row, depth | of plans in groups, which have side, loop, rows, vectors, chunks and block, too: the loop that gives rows of tiles, the one that is cut into groups |
| runs | vectors of a packed panel that lie side by side in the copy, which is several runs then; only on targets that read such runs faster |
| apart | row loops that lie outside all others because they move the limits of a sum over what was padded with zeros |

A word that is left out is decided by the cost model. `plain` alone: no tiles, plain loops.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from ..dialects.errors import PassError

PLAN = "lamina.plan"
SIDES = ("right", "left")
PACKS = ("none", "columns", "rows", "both")
UNITS = ("vectors", "tiles", "dots")
COPIES = ("none", "tiles", "once")


@dataclass(frozen=True)
class Decision:
    """The words of a plan; None: left to the cost model."""

    side: str | None = None
    loop: int | None = None
    lanes: int | None = None
    inner: int | None = None
    rows: int | None = None
    vectors: int | None = None
    pack: str | None = None
    chunks: int | None = None
    block: tuple[int, int] | None = None
    ahead: int | None = None
    stretches: int | None = None
    unit: str | None = None
    row: int | None = None
    depth: int | None = None
    copy: str | None = None
    apart: int | None = None
    runs: int | None = None
    plain: bool = False

    def __bool__(self) -> bool:
        """Whether anything is decided."""
        return self != FREE

    def __str__(self) -> str:
        if self.plain:
            return "plain"
        return " ".join(f"{name}={_text(value)}" for name, value in self._words() if value is not None)

    def allows(self, word: str, value: object) -> bool:
        """Whether this value of a word is not ruled out."""
        asked = getattr(self, word)
        return asked is None or asked == value

    def missed(self, other: Decision) -> list[str]:
        """The words of this decision that another one has otherwise."""
        return [name for name, value in self._words() if value is not None and value != getattr(other, name)]

    def allows_groups(self, unit: str) -> bool:
        """Whether nothing is decided that only plans of another unit have."""
        return not self.plain and self.allows("unit", unit) and (self.lanes, self.inner, self.pack, self.ahead, self.stretches) == (None,) * 5

    def packs(self, what: str) -> bool | None:
        """Whether the columns or the rows are copied; None: not decided."""
        return None if self.pack is None else self.pack in (what, "both")

    def _words(self) -> list[tuple[str, Any]]:
        return [(f.name, getattr(self, f.name)) for f in fields(self) if f.name != "plain"]


FREE = Decision()
PLAIN = Decision(plain=True)


def _text(value: object) -> str:
    return "/".join(map(str, value)) if isinstance(value, tuple) else str(value)


def read_decision(text: str) -> Decision:
    """The decision a text spells. PassError names the word that cannot be read."""
    if text.strip() == "plain":
        return PLAIN
    found: dict[str, Any] = {}
    for word in text.split():
        name, _, value = word.partition("=")
        try:
            if name in found or name not in _READ:
                raise ValueError
            found[name] = _READ[name](value)
        except ValueError:
            help = "words are " + ", ".join(f"{n}={shape}" for n, shape in _SHAPES.items()) + ", each at most once; or plain alone"
            raise PassError(f"{word!r} is not a word of a plan", [("plan", text, "")], help=help) from None
    return Decision(**found)


def _one_of(*names: str) -> Any:
    def read(text: str) -> str:
        if text not in names:
            raise ValueError
        return text

    return read


def _at_least(least: int) -> Any:
    def read(text: str) -> int:
        if not text.isascii() or not text.isdigit() or int(text) < least:
            raise ValueError
        return int(text)

    return read


def _block(text: str) -> tuple[int, int]:
    outside, _, shares = text.partition("/")
    return _at_least(0)(outside), _at_least(1)(shares)


_READ = {
    "side": _one_of(*SIDES), "loop": _at_least(0), "lanes": _at_least(1), "inner": _at_least(0), "rows": _at_least(1),
    "vectors": _at_least(1), "pack": _one_of(*PACKS), "chunks": _at_least(1), "block": _block, "ahead": _at_least(0),
    "stretches": _at_least(1), "unit": _one_of(*UNITS), "row": _at_least(0), "depth": _at_least(0), "copy": _one_of(*COPIES), "apart": _at_least(0), "runs": _at_least(1),
}  # fmt: skip

_SHAPES = {name: "N" for name in _READ} | {"side": "right|left", "pack": "|".join(PACKS), "unit": "|".join(UNITS), "copy": "|".join(COPIES), "block": "LOOPS/SHARES"}

