"""The arena's plan: buffers alive together never overlap, and easy cases take no more than they must."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from lamina.lowering.memory_plan import ALIGNMENT, Lifetime, aligned, plan

lifetimes = st.builds(
    lambda size, first, length: Lifetime(size, first, first + length),
    st.integers(0, 5000), st.integers(0, 30), st.integers(0, 12),
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(st.lists(lifetimes, max_size=40))
def test_no_overlap_while_alive(buffers: list[Lifetime]) -> None:
    offsets, total = plan(buffers)
    assert plan(buffers) == (offsets, total)
    for i, a in enumerate(buffers):
        assert offsets[i] % ALIGNMENT == 0 and offsets[i] + a.size <= total
        for j, b in enumerate(buffers[:i]):
            if a.size and b.size and a.first <= b.last and b.first <= a.last:
                assert offsets[i] + a.size <= offsets[j] or offsets[j] + b.size <= offsets[i]
    steps = {s for b in buffers for s in (b.first, b.last)}
    assert total >= max(
        (sum(aligned(b.size) for b in buffers if b.first <= s <= b.last) for s in steps), default=0
    )


def test_a_chain_needs_two_buffers() -> None:
    offsets, total = plan([Lifetime(1000, k, k + 1) for k in range(10)])
    assert total == 2 * aligned(1000)
    assert len(set(offsets)) == 2


def test_nothing_needs_nothing() -> None:
    assert plan([]) == ([], 0)
    assert plan([Lifetime(0, 0, 5)]) == ([0], 0)
