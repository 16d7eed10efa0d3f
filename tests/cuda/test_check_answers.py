"""The first lines of the GPU check's report: what a visit answers, and whether products on warpgroups are to stay."""

from __future__ import annotations

from typing import Any

import pytest

from lamina.backends.cuda import check_speed
from lamina.backends.cuda.check_answers import answers, decision, text, warpgroups
from lamina.backends.cuda.check_report import Section, Table

MMA, GROUPS = "sm_90a", "sm_90a_wgmma"
PEERS = ["row", "lamina, ms", "its products by", "PyTorch eager, ms", "torch.compile, ms", "eager / lamina", "compile / lamina", "goal"]
STEP = "≥ 1.5 × eager, ≥ 1.0 × compile"


def section(name: str, head: list[str], *rows: list[Any], **more: Any) -> Section:
    return Section(name, name, **{"status": "done", "tables": [Table(head, list(rows))], **more})


def visit(**other: Section) -> list[Section]:
    """A visit on which everything went well."""
    rates = ["program", "target", "size", "ms", "TFLOP/s", "goal"]
    made = {
        "layouts": section("layouts", ["operands", "target", "wrong elements", "where"], *(["f16", t, 0, ""] for t in (MMA, GROUPS))),
        "launched": section("launched", ["program", "target", "size", "largest error"], *(["softmax", t, 8, "0.2"] for t in (MMA, GROUPS))),
        "products": section("products", rates, ["matmul bf16 4096", MMA, 4096, 0.3, 458.0, ""], ["matmul bf16 4096", GROUPS, 4096, 0.2, 687.0, ""]),
        "attention": section("attention", rates),
        "nests": section("nests", ["program", "size", "launches", "ms", "GB/s", "of the copy rate", "goal"], ["softmax", 8, 1, 1.0, 4.0, 0.93, "≥ 0.90 of the copy rate"]),
        "replay": section("replay", ["program", "launches", "host, µs per call", "goal"], ["products", 100, 12.0, "≤ 30 µs"]),
        "peers": section(
            "peers", PEERS, ["matmul bf16 8192", 1.5, "wgmma", 1.4, "", 0.93, "", "≥ 0.97 of cuBLAS"],
            ["train: ResNet-50, batch 64, bf16", 10.0, "wgmma", 20.0, 12.0, 2.0, 1.2, STEP], ["train: GPT-2 124M, 8 x 1024 tokens, bf16", 10.0, "wgmma", 20.0, "", 2.0, "", STEP],
        ),
        "sanitizer": section("sanitizer", ["tool", "programs", "verdict"], ["memcheck", "", "ERROR SUMMARY: 0 errors"], ["racecheck", "", "RACECHECK SUMMARY: 0 hazards displayed"]),
    }  # fmt: skip
    return list({**made, **other}.values())


def told(sections: list[Section], question: str) -> tuple[str, str]:
    return next((a.told, a.met) for a in answers(sections) if a.question.startswith(question))


def test_every_question_has_an_answer() -> None:
    made = visit()
    assert told(made, "every layout") == ("1 of 1 on sm_90a, 1 of 1 on sm_90a_wgmma", "yes")
    assert told(made, "matmul bf16 8192") == ("1.5 ms by wgmma, 0.93 × eager", "no")
    assert told(made, "matmul bf16 4096") == ("687 TFLOP/s on sm_90a_wgmma; 458 TFLOP/s on sm_90a; nothing to hold it against", "not measured")
    assert told(made, "train: ResNet-50, batch 64, bf16") == ("10 ms by wgmma, 2 × eager, 1.2 × compile", "yes")
    assert told(made, "train: GPT-2")[1] == "not measured"  # by torch.compile
    assert told(made, "softmax") == ("0.93 of it, 1 launches", "yes") and told(made, "launch overhead") == ("12 µs", "yes")
    assert told(made, "compute-sanitizer, racecheck")[1] == "yes"
    nothing = answers([Section("layouts", "", "skipped", "no GPU can be used: why")])
    assert {a.met for a in nothing} == {"not measured"} and nothing[0].told == "no GPU can be used: why" and nothing[1].told == "not run"
    assert text(made).startswith("## Answers\n\n| question | answer | met |") and decision(made) in text(made)
    asked = {row.name for row in (*check_speed.PRODUCTS[:3], *check_speed.ATTENTION)}
    assert asked <= {a.question.split(":")[0] for a in nothing}


def test_what_is_wrong_is_not_met() -> None:
    bad = section("layouts", ["operands", "target", "wrong elements", "where"], ["f16", MMA, 3, "rows"], ["f16", GROUPS, 0, ""])
    assert told(visit(layouts=bad), "every layout") == ("0 of 1 on sm_90a, 1 of 1 on sm_90a_wgmma", "no")
    failed = section("launched", ["program", "target", "size", "largest error"], ["softmax", MMA, 8, "failed"], failures=["x"])
    assert told(visit(launched=failed), "every program") == ("0 of 1 on sm_90a; 1 failures", "no")
    assert "right and fast" in decision(visit(layouts=bad))  # mma.sync is another question


@pytest.mark.parametrize(
    ("other", "place", "held", "words"),
    [
        ({}, 0, True, "right and fast"),
        ({"layouts": section("layouts", ["operands", "target", "wrong elements", "where"], ["f16", GROUPS, 1, ""])}, 0, False, "not right"),
        ({"layouts": section("layouts", ["operands", "target", "wrong elements", "where"], ["f16", MMA, 0, ""])}, 0, None, "does not say"),
        ({"layouts": section("layouts", ["operands", "target", "wrong elements", "where"], ["f16", GROUPS, 0, ""], status="stopped")}, 0, None, "does not say"),
        ({"launched": section("launched", ["program", "target", "size", "largest error"], ["f16", GROUPS, 0, "0.1"], failures=["x, sm_90a_wgmma_p114: y"])}, 1, False, "not right"),
        ({"products": section("products", ["program"], wasted={GROUPS: 45.0})}, 2, False, "not right"),
        ({"sanitizer": section("sanitizer", ["tool", "verdict"], ["racecheck", "ERROR SUMMARY: 10 errors"], ["memcheck", "no end"])}, 3, False, "not right"),
        ({"sanitizer": section("sanitizer", ["tool", "verdict"], ["racecheck", "no end"])}, 3, None, "does not say"),
        ({"sanitizer": Section("sanitizer", "", "skipped", "no tool")}, 3, None, "does not say"),
        ({"products": section("products", ["program", "target", "ms", "TFLOP/s"], ["a", MMA, 1.0, 1.0], ["a", GROUPS, 1.5, 1.0])}, 4, False, "but where they are slower"),
    ],
)  # fmt: skip
def test_what_warpgroups_have_to_show(other, place: int, held: bool | None, words: str) -> None:
    made = visit(**other)
    assert warpgroups(made)[place][1] is held and words in decision(made)


def test_rows_of_other_tables_do_no_harm() -> None:
    assert text([section(s.name, ["something"], ["else"]) for s in visit()])
