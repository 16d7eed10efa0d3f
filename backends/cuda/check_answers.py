"""What a visit to a GPU answers, in the first lines of its report: one row per question, and whether products on warpgroups are to stay.

Everything is read from the sections: what is not there was not measured, and the row says so.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from .check_report import Section, Table

WARPGROUPS = "_wgmma"


class Answer(NamedTuple):
    """question; told: what was found; met: "yes", "no", "" (nothing is asked of it) or "not measured"."""

    question: str
    told: str
    met: str


class Found:
    """The sections by name, and their rows as mappings from column to cell."""

    def __init__(self, sections: Sequence[Section]) -> None:
        self.sections = {s.name: s for s in sections}

    def rows(self, name: str, *columns: str) -> list[dict[str, Any]]:
        """Of those tables of a section that have some columns, as far as it came."""
        section = self.sections.get(name)
        tables = [t for t in (section.tables if section else ()) if set(columns) <= set(t.head)]
        return [dict(zip(t.head, row, strict=False)) for t in tables for row in t.rows]

    def absent(self, name: str) -> str:
        """Why a section has not what was asked for."""
        section = self.sections.get(name)
        return "not run" if section is None else section.why or "no such row"


def answers(sections: Sequence[Section]) -> list[Answer]:
    """A row per question, in the order in which they are asked of a GPU backend."""
    found = Found(sections)
    return [*_right(found), *_against_peers(found), *_nests(found), *_overhead(found)]


def text(sections: Sequence[Section]) -> str:
    """The first lines of the report."""
    table = Table(["question", "answer", "met"], [list(a) for a in answers(sections)])
    verdict = [f"- {'yes' if held else 'NO' if held is False else 'not known'}: {words}" for words, held in warpgroups(sections)]
    return "\n".join(["## Answers", "", table.text(), "", "## Products on warpgroups", "", *verdict, "", f"**{decision(sections)}**", ""])


# Is it right


def _right(found: Found) -> Iterator[Answer]:
    for name, question, cell, is_right in (
        ("layouts", "every layout of tensor cores and the copy engine exact", "wrong elements", lambda cell: cell == 0),
        ("launched", "every program agrees with numpy: launched, captured, replayed", "largest error", lambda cell: _number(cell) <= 1),
    ):
        yield _counted(found, name, question, cell, is_right)
    rows = found.rows("sanitizer", "tool", "verdict")
    if not rows:
        yield Answer("compute-sanitizer", found.absent("sanitizer"), "not measured")
    for row in rows:
        yield Answer(f"compute-sanitizer, {row['tool']}", row["verdict"], _yes(_is_clean(row)))


def _counted(found: Found, name: str, question: str, cell: str, is_right: Callable[[Any], bool]) -> Answer:
    rows = found.rows(name, "target", cell)
    if not rows:
        return Answer(question, found.absent(name), "not measured")
    targets = list(dict.fromkeys(row["target"] for row in rows))
    counts = {t: [is_right(row[cell]) for row in rows if row["target"] == t] for t in targets}
    told = ", ".join(f"{sum(good)} of {len(good)} on {t}" for t, good in counts.items())
    failures = found.sections[name].failures
    return Answer(question, told + f"; {len(failures)} failures" * bool(failures), _yes(all(map(all, counts.values())) and not failures))


def _is_clean(row: dict[str, Any]) -> bool:
    return re.search(r"\b0 (errors|hazards)", row["verdict"]) is not None


# Is it fast


_PEERS = (  # a row of the peers, and the section that has it without PyTorch
    ("matmul bf16 4096", "products"), ("matmul bf16 8192", "products"), ("matmul f32 4096", "products"),
    *((f"attention{kind}, bf16, causal, depth {depth}", "attention") for kind in ("", " and gradients") for depth in (64, 128)),
    ("train: digits CNN, batch 64, f32", ""), ("train: GPT-2 124M, 8 x 1024 tokens, bf16", ""), ("train: ResNet-50, batch 64, bf16", ""),
    ("train: ResNet-50, batch 64, TF32", ""), ("train: ResNet-50, batch 64, f32", ""),
)  # fmt: skip
_RATES = ("program", "target", "ms", "TFLOP/s")
_GOAL = re.compile(r"≥ ([\d.]+)(?: × (eager|compile))?")


def _against_peers(found: Found) -> Iterator[Answer]:
    peers = {row["row"]: row for row in found.rows("peers", "row", "lamina, ms", "goal")}
    for name, alone in _PEERS:
        row = peers.get(name)
        if row is not None and row["lamina, ms"] != "":
            shares = {peer: row[f"{peer} / lamina"] for peer in ("eager", "compile")}
            told = [f"{float(row['lamina, ms']):.4g} ms by {row['its products by']}", *(f"{share:.3g} × {peer}" for peer, share in shares.items() if share != "")]
            goals = [(float(least), peer or "eager") for least, peer in _GOAL.findall(row["goal"])]
            known = [shares[peer] >= least for least, peer in goals if shares[peer] != ""]
            yield Answer(f"{name}: {row['goal']}", ", ".join(told), "not measured" if len(known) < len(goals) and all(known) else _yes(all(known)))
            continue
        rows = [r for r in found.rows(alone, *_RATES) if r["program"] == name] if alone else []
        told = [f"{r['TFLOP/s']:.4g} TFLOP/s on {r['target']}" for r in sorted(rows, key=lambda r: r["ms"])]
        yield Answer(name, "; ".join([*told, "nothing to hold it against"]) if told else found.absent("peers"), "not measured")


def _nests(found: Found) -> Iterator[Answer]:
    rows = found.rows("nests", "program", "of the copy rate")
    for row in rows:
        share = row["of the copy rate"]
        yield Answer(f"{row['program']}: {row['goal']}", f"{share:.3g} of it, {row['launches']} launches", _yes(share >= float(_GOAL.findall(row["goal"])[0][0])))
    if not rows:
        yield Answer("fused nests against the copy rate", found.absent("nests"), "not measured")


def _overhead(found: Found) -> Iterator[Answer]:
    rows = found.rows("replay", "host, µs per call")
    for row in rows:
        most = float(re.findall(r"[\d.]+", row["goal"])[0])
        yield Answer(f"launch overhead, {row['launches']} launches: {row['goal']}", f"{row['host, µs per call']:.3g} µs", _yes(row["host, µs per call"] <= most))
    if not rows:
        yield Answer("launch overhead", found.absent("replay"), "not measured")


# Are products on warpgroups to stay


def warpgroups(sections: Sequence[Section]) -> list[tuple[str, bool | None]]:
    """What a visit must show for products on warpgroups to be the default, and whether it did; None: it was not asked."""
    found = Found(sections)
    shown: list[tuple[str, bool | None]] = []
    for name, cell, what, is_right in (
        ("layouts", "wrong elements", "every layout is exact", lambda cell: cell == 0),
        ("launched", "largest error", "every program agrees with numpy", lambda cell: _number(cell) <= 1),
    ):
        rows = [row for row in found.rows(name, "target", cell) if str(row["target"]).endswith(WARPGROUPS) or WARPGROUPS + "_" in str(row["target"])]
        failures = [f for f in found.sections[name].failures if WARPGROUPS in f] if name in found.sections else []
        good = [is_right(row[cell]) for row in rows]
        is_whole = name in found.sections and found.sections[name].status == "done"
        shown.append((f"{what} ({sum(good)} of {len(good)})", False if failures or not all(good) else True if good and is_whole else None))
    wasted = {kind: seconds for s in sections for kind, seconds in s.wasted.items() if WARPGROUPS in kind}
    shown.append(("nothing on them hung, crashed or lost the device" + f" ({sum(wasted.values()):.0f} s were wasted so)" * bool(wasted), not wasted if any(held is not None for _, held in shown) else None))
    tools = found.rows("sanitizer", "tool", "verdict")
    told = [_is_clean(row) if "SUMMARY" in row["verdict"] else None for row in tools]  # a tool that came to no end has found nothing either way
    shown.append(("compute-sanitizer finds nothing", False if False in told else True if told and None not in told else None))
    slower = list(_slower(found))
    measured = {row["program"] for name in ("products", "attention") for row in found.rows(name, *_RATES)}
    shown.append(("no product or attention is slower by them" + f": {', '.join(slower)}" * bool(slower), not slower if measured else None))
    return shown


def _slower(found: Found) -> Iterator[str]:
    """Programs that take longer on warpgroups than by mma.sync, with how many times as long."""
    times: dict[str, dict[bool, float]] = {}
    for name in ("products", "attention"):
        for row in found.rows(name, *_RATES):
            times.setdefault(row["program"], {})[WARPGROUPS in row["target"]] = row["ms"]
    for program, ms in times.items():
        if len(ms) == 2 and ms[True] > 1.02 * ms[False]:
            yield f"{program} ({ms[True] / ms[False]:.2f} ×)"


def decision(sections: Sequence[Section]) -> str:
    """One sentence."""
    shown = warpgroups(sections)
    if any(held is False for _, held in shown[:4]):
        return "Products on warpgroups are not right on this GPU: LAMINA_CUDA=mma, and what failed is to be mended."
    if any(held is None for _, held in shown):
        return "Whether products on warpgroups are to be the default this report does not say."
    if shown[4][1] is False:
        return "Products on warpgroups are right, and are to be the default but where they are slower."
    return "Products on warpgroups are right and fast: they are to be the default, without a confirmation of every GPU."


def _number(cell: Any) -> float:
    try:
        return float(cell)
    except ValueError:  # "failed"
        return float("inf")


def _yes(is_met: bool) -> str:
    return "yes" if is_met else "no"
