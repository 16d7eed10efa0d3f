"""Plans that measuring found, as a text file: one line per problem, `problem => plan`; `#` begins a comment."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from ..dialects.errors import PassError
from .contraction_decision import Decision, read_decision

ARROW = " => "


def read_plans(path: str) -> Mapping[str, Decision]:
    """The plans of a file by problem; none for the path "". PassError names the file, and the line that cannot be read."""
    if not path:
        return {}
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PassError(f"the plans in {path} cannot be read: {error}") from error
    return _read(text, path)


@lru_cache(maxsize=4)
def _read(text: str, path: str) -> Mapping[str, Decision]:
    found: dict[str, Decision] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        problem, arrow, plan = line.partition(ARROW)
        if not arrow:
            raise PassError(f"{path}:{number} holds no plan", [("line", line, "")], help=f"write PROBLEM{ARROW}PLAN")
        try:
            found[problem] = read_decision(plan)
        except PassError as error:
            raise PassError(f"{path}:{number}: {error.sentence}", [("line", line, "")], help=error.help) from None
    return found


def plans_text(plans: Mapping[str, Decision]) -> str:
    """The file for these plans."""
    return "".join(f"{problem}{ARROW}{plan}\n" for problem, plan in sorted(plans.items()))
