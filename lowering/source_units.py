"""A program's C as files that are compiled apart and linked: kernels by names that say what they compute, and @main."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Sequence
from typing import NamedTuple

from .c_helpers import Prelude
from .known_kernels import HEAD, SYMBOL, Printed, ask
from .loops_to_c import RANGES, Source, joined

# Between the units of one library, and nowhere else.
_HIDDEN = """\
#if defined(__ELF__) || defined(__APPLE__)
#define HIDDEN __attribute__((visibility("hidden")))
#else
#define HIDDEN
#endif"""

_COMMENT = re.compile(r"^ */\* .* \*/\n", re.MULTILINE)


class Unit(NamedTuple):
    """One kernel, under its name. called: the names of those it calls."""

    declaration: str
    text: str
    printed: Printed
    called: tuple[str, ...]


class Units:
    """The kernels of a program under the hash of their text: equal kernels of any programs of this compiler have equal names.

    Comments do not count, and neither does the number a program gives a kernel. They are added one by one, those that others call
    before these. symbols: the variables of sizes known at the call only.
    """

    def __init__(self, symbols: Sequence[str] = ()) -> None:
        self.kernels: dict[str, Unit] = {}
        self._names: dict[str, str] = {}  # as the program calls it -> as it is called here
        self._sizes = tuple(symbols)
        self._symbols = "\n".join(f"HIDDEN extern int64_t {name};" for name in symbols)

    def add(self, own: str, printed: Printed, called: Collection[str]) -> str:
        """The name of a kernel. own, called: what the program calls it, and the kernels it calls."""
        text = _COMMENT.sub("", printed.text.replace(f"/* {HEAD} */\n", "", 1)).replace(f"static {printed.declaration} {{", f"{printed.declaration} {{", 1)
        text = _renamed(text, {each: self._names[each] for each in called})
        name = self._names[own] = f"lamina_{hashlib.sha256(text.encode()).hexdigest()[:24]}"
        if name not in self.kernels:
            declaration = f"HIDDEN {printed.declaration.replace(SYMBOL, name)};"
            self.kernels[name] = Unit(declaration, text.replace(SYMBOL, name), printed, tuple(self._names[each] for each in called))
        return name

    def called(self, names: Collection[str]) -> set[str]:
        """The kernels these call that are not among them."""
        return {name for own in names for name in self.kernels[own].called} - set(names)

    @property
    def doors(self) -> set[str]:
        """What @main has for its kernels: the sizes it is told and, if one of the kernels so far runs threads, the door to them."""
        return {*self._sizes, *(["parallel_for"] if any(unit.printed.parallel for unit in self.kernels.values()) else [])}

    def doors_of(self, names: Collection[str]) -> set[str]:
        """Which of these some kernels go through: a program without them cannot be linked with a unit of such kernels."""
        units = [self.kernels[name] for name in names]
        sizes = {size for size in self._sizes if any(re.search(rf"\b{size}\b", unit.text) for unit in units)}
        return sizes | ({"parallel_for"} if any(unit.printed.parallel for unit in units) else set())

    def of(self, names: Sequence[str]) -> str:
        """A file with these kernels."""
        prelude, units = Prelude(), [self.kernels[name] for name in names]
        for unit in units:
            ask(prelude, unit.printed)
        ranges = RANGES if any(unit.printed.parallel for unit in units) else ""
        declared = [*(self.kernels[name].declaration for name in sorted(self.called(names))), *(unit.declaration for unit in units)]
        return joined(prelude.text(), *self._shared(ranges, declared), *(unit.text for unit in units))

    def main(self, source: Source) -> str:
        """The file with @main, which calls the kernels of the others."""
        door = source.run_here.replace("static range_runner", "range_runner")
        sizes = "\n".join(f"int64_t {name};" for name in source.symbols)
        declared = [unit.declaration for unit in self.kernels.values()]
        return joined(source.prelude, *self._shared(source.ranges, declared), door, sizes, _renamed(source.main, self._names))

    def _shared(self, ranges: str, declared: Sequence[str]) -> tuple[str, ...]:
        door = "HIDDEN extern range_runner parallel_for;" if ranges else ""
        return ranges, _HIDDEN, door, self._symbols, "\n".join(declared)


def _renamed(text: str, names: dict[str, str]) -> str:
    """C text with kernels, and what belongs to their tasks, under other names."""
    if not names:
        return text
    return re.sub(rf"\b(run_)?({'|'.join(names)})(_task\d*)?\b", lambda m: f"{m[1] or ''}{names[m[2]]}{m[3] or ''}", text)
