"""A program's C as files that are compiled apart and linked: kernels by names that say what they compute, and @main."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable, Mapping

from .loops_to_c import Source, joined

# Between the units of one library, and nowhere else.
_HIDDEN = """\
#if defined(__ELF__) || defined(__APPLE__)
#define HIDDEN __attribute__((visibility("hidden")))
#else
#define HIDDEN
#endif"""

_COMMENT = re.compile(r"^ */\* .* \*/\n", re.MULTILINE)
_NAME = re.compile(r"\blamina_[0-9a-f]{24}\b")


class Units:
    """The kernels of a program under the hash of their text: equal kernels of any programs of this compiler have equal names.

    Comments do not count, and neither does the number a program gives a kernel. kernels: text by name, in order.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        self.kernels: dict[str, str] = {}
        self._names: dict[str, str] = {}  # as the program calls it -> as it is called here
        self._declarations: dict[str, None] = {}
        called = [declaration.removeprefix("void ").partition("(")[0] for declaration, _ in source.kernels]
        self._pattern = re.compile(rf"\b(run_)?({'|'.join(called) or '!'})(_task\d*)?\b")
        for own, (declaration, text) in zip(called, source.kernels, strict=True):
            self._add(own, declaration, text)

    def _add(self, own: str, declaration: str, text: str) -> None:
        text = _COMMENT.sub("", text).replace(f"static {declaration} {{", f"{declaration} {{", 1)
        content = self._renamed(text, {**self._names, own: "kernel"})
        name = self._names[own] = f"lamina_{hashlib.sha256(content.encode()).hexdigest()[:24]}"
        self.kernels[name] = self._renamed(text, self._names)
        self._declarations[f"HIDDEN {self._renamed(declaration, {own: name})};"] = None

    def called(self, names: Collection[str]) -> set[str]:
        """The kernels these call that are not among them."""
        return {name for own in names for name in _NAME.findall(self.kernels[own])} - set(names)

    def of(self, names: Iterable[str]) -> str:
        """A file with these kernels."""
        return joined(*self._shared(), *(self.kernels[name] for name in names))

    def main(self) -> str:
        """The file with @main, which calls the kernels of the others."""
        door = self.source.run_here.replace("static range_runner", "range_runner")
        sizes = "\n".join(f"int64_t {name};" for name in self.source.symbols)
        return joined(*self._shared(), door, sizes, self._renamed(self.source.main, self._names))

    def _shared(self) -> tuple[str, ...]:
        door = "HIDDEN extern range_runner parallel_for;" if self.source.ranges else ""
        sizes = "\n".join(f"HIDDEN extern int64_t {name};" for name in self.source.symbols)
        return self.source.prelude, self.source.ranges, _HIDDEN, door, sizes, "\n".join(self._declarations)

    def _renamed(self, text: str, names: Mapping[str, str]) -> str:
        """C text with kernels, and what belongs to their tasks, under other names."""
        return self._pattern.sub(lambda m: f"{m[1] or ''}{names.get(m[2], m[2])}{m[3] or ''}", text)
