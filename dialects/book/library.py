"""The book itself: a mapping from op name to Stanza, read from the `.ops` files beside this module."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from ..errors import BookError
from .irregular import IRREGULAR
from .stanza import Stanza

_HERE = Path(__file__).parent
FILES = {  # file: dialect of its ops
    "each.ops": "prim",
    "fold.ops": "prim",
    "view.ops": "prim",
    "contract.ops": "prim",
    "irregular.ops": "prim",
    "nn.ops": "nn",
    "loss.ops": "nn",
    "optim.ops": "nn",
    "special.ops": "nn",
    "random.ops": "nn",
    "complex_parts.ops": "nn",
    "complex.ops": "complex",
}


class Book(Mapping[str, Stanza]):
    """Stanzas by name.

    A stanza is parsed and checked when it is first asked for; `read_all` does so for every one.
    """

    def __init__(self, files: Mapping[str, str], folder: Path = _HERE) -> None:
        self._stanzas: dict[str, Stanza] = {}
        self._sources: dict = {}
        self._files = [(folder / name, dialect) for name, dialect in files.items()]
        self._found = False

    def _find(self) -> dict:
        if not self._found:
            from .sources import sources

            for path, dialect in self._files:
                shown = f"dialects/book/{path.name}"
                for name, source in sources(path.read_text(encoding="utf-8"), shown, dialect):
                    if name in self._sources:
                        raise BookError(f"op {name} stands twice in the book", at=f"{shown}:{source.line}")
                    self._sources[name] = source
            self._found = True
        return self._sources

    def __getitem__(self, name: str) -> Stanza:
        try:
            return self._stanzas[name]
        except KeyError:
            pass
        source = self._find()[name]
        from .reader import read

        stanza = self._stanzas[name] = read(source, self, IRREGULAR.get(name, Stanza))
        return stanza

    def get(self, name: str, default: Stanza | None = None) -> Stanza | None:
        """The stanza of a name, or the default."""
        return self[name] if name in self._find() else default

    def __contains__(self, name: object) -> bool:
        return name in self._find()

    def __iter__(self) -> Iterator[str]:
        return iter(self._find())

    def __len__(self) -> int:
        return len(self._find())

    def dialects(self) -> dict[str, str]:
        """Dialect of every op ("prim", "nn" or "complex"), without reading a stanza."""
        return {name: source.dialect for name, source in self._find().items()}

    def read_all(self) -> None:
        """Parse and check every stanza, and how it calls others. BookError names the first that is wrong."""
        from .reader import check_calls

        for name in self:
            check_calls(self[name])


OPS = Book(FILES)
