"""What nests look like: vectors along contiguous dims, rows fused, threads on top, borders filled."""

from __future__ import annotations

import re
import sys
import time
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from contraction_programs import lowered, matrix  # noqa: E402

from lamina.dialects.target import AVX512  # noqa: E402
from lamina.dialects.text import parse  # noqa: E402
from lamina.lowering.bufferize import Bufferize  # noqa: E402
from lamina.lowering.linalg_to_loops import LinalgToLoops  # noqa: E402

FOLDER = Path(__file__).parent


def loops(name: str, target: str = "avx512", changes: tuple[tuple[str, str], ...] = ()) -> str:
    """The text of an example's kernel at loops level, after changes to the example's text."""
    text = (FOLDER / f"kernel_{name}.mlir").read_text()
    for old, new in changes:
        text = text.replace(old, new)
    module = parse(text)
    Bufferize(target=target).run(module)
    LinalgToLoops(target=target).run(module)
    return str(next(iter(module.body.block.ops)))


ROW_MAJOR = (("layouts = [array<i64: 0, 2, 3, 1>], ", ""),)


def test_the_border_of_nothing_is_not_filled() -> None:
    changes = (("16x29", "16x16"), ("[1, 1, 1, 2]", "[1, 1, 1, 1]"), ("8x16x", "0x16x"), ("[8, 16,", "[0, 16,"))
    text = loops("pad", changes=changes)
    assert "memref<0x16x16x16xf32" in text and "store" not in text


def test_elementwise_loads_scales_outside_the_vector_loop() -> None:
    text = loops("elementwise", changes=ROW_MAJOR)
    assert text.count("memref.load") == 2 and "vector.insert" not in text
    loads = [m.start() for m in re.finditer("memref.load", text)]
    assert max(loads) < text.index("vector.load") and "vector<16xf32>" in text
    assert text.index("vector.broadcast", text.index("memref.load")) < text.rindex("scf.for")


def test_vectors_follow_the_target() -> None:
    assert "vector<8xf32>" in loops("elementwise", "avx2") and "vector<16xf32>" not in loops(
        "elementwise", "avx2"
    )
    assert "vector<4xf32>" in loops("elementwise", "portable")


def test_softmax_rows_stay_together() -> None:
    text = loops("softmax")
    assert text.count('"scf.parallel"') == 1, "threads share rows"
    assert len(re.findall(r"memref\.alloca\(\).*memref<2520xf32>", text)) == 1, "per task a buffer for this row and the one before, not whole pages apart"
    assert text.count("kernel.exp_low %") == 12 and "math.exp" not in text, "four vectors, one vector, and the remainder, in the first row and in others"
    assert "vector.shuffle" in text
    assert re.search(r"arith\.divf .*lamina\.by_inverse.* vector<16xf32>", text), "a row has one divisor"


def test_row_sums_use_several_accumulators() -> None:
    text = loops("row_reduction", "avx2", (("32x100", "32x1000"),))
    assert re.search(r"iter_args\((%\w+ = %\w+, ){3}%\w+ = %\w+\)", text)
    text = loops("row_reduction", "avx2")
    assert re.search(r"iter_args\((%\w+ = %\w+, ){7}%\w+ = %\w+\)", text), "two for each of four rows side by side"


def test_folds_with_few_results_are_split_into_fixed_chunks_for_threads() -> None:
    text = loops("row_reduction", changes=(("32x100", "2x64000"), ("32x1x", "2x1x")))
    assert text.count('"scf.parallel"') == 1 and "memref.view" in text
    assert '"scf.parallel"' in loops("batch_statistics") and "memref.view" not in loops("batch_statistics")


def test_pad_without_dilation_fills_only_its_border() -> None:
    text = loops("pad", changes=(("16x29", "16x16"), ("[1, 1, 1, 2]", "[1, 1, 1, 1]")))
    assert text.count("arith.maximumf") == 1
    assert text.count("vector.store") == 5, "four slabs and the box"


def test_windows_are_unrolled() -> None:
    text = loops("max_pool")
    assert text.count("arith.maximumf") == 4
    assert "iter_args" not in text


def test_gathered_rows_are_vector_loads() -> None:
    text = loops("take")
    assert "vector.insert" not in text and text.count("vector.load") == 1


def test_a_transpose_turns_squares_in_registers() -> None:
    text = loops("elementwise", changes=(("6x6", "8x8"),))
    assert "vector.shuffle" in text and "vector.insert" not in text


def test_the_same_text_every_time_and_quickly() -> None:
    first = loops("softmax")
    start = time.perf_counter()
    assert loops("softmax") == first
    assert time.perf_counter() - start < 1.0


def test_a_large_operand_of_a_fold_is_read_once() -> None:
    """Two rows times a matrix whose lines are summed over: its lines are the outer loop, where the second cache does not hold it."""

    def outer_loop(columns: int) -> str:
        made = lowered(matrix(2, columns, 1024, "mk", "nk"), replace(AVX512, parallel_work=1 << 60), plain=True)
        assert made is not None
        text = str(made[0])
        bound = re.search(r"scf\.for %\w+ = %\w+ to (%\w+)", text)
        assert bound is not None
        return re.search(rf"{bound[1]} = arith\.constant (\d+)", text)[1]

    assert outer_loop(320) == "320" and outer_loop(24) == "2"
