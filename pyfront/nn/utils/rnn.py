"""Sequences of unequal length: padded into one tensor, or packed step by step."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ....dialects.types import bool_, int64
from ... import recorder
from ...creation import full, tensor
from ...joining import cat
from ...selection import where
from ...tensor import Tensor, wrap


class _Packed(NamedTuple):
    data: Tensor
    batch_sizes: Tensor
    sorted_indices: Tensor | None
    unsorted_indices: Tensor | None


class PackedSequence(_Packed):
    """data: the rows of step 0, then of step 1, ...; batch_sizes: rows of each step, never growing.

    sorted_indices, unsorted_indices: how the batch was ordered by length, and back; None when it was already.
    """

    def __new__(
        cls, data: Tensor, batch_sizes: Tensor | None = None, sorted_indices: Tensor | None = None,
        unsorted_indices: Tensor | None = None,
    ) -> PackedSequence:  # fmt: skip
        """ValueError when the batch sizes are missing."""
        if batch_sizes is None:
            raise ValueError("batch_sizes of a PackedSequence must be given")
        if unsorted_indices is None and sorted_indices is not None:
            unsorted_indices = invert_permutation(sorted_indices)
        return super().__new__(cls, data, batch_sizes, sorted_indices, unsorted_indices)

    @property
    def is_cuda(self) -> bool:
        """False: there is no GPU here."""
        return self.data.is_cuda

    def to(self, *args: Any, **kwargs: Any) -> PackedSequence:
        """The same with the data converted."""
        return self._replace(data=self.data.to(*args, **kwargs))

    def cpu(self) -> PackedSequence:
        """The same."""
        return self


def invert_permutation(permutation: Tensor | None) -> Tensor | None:
    """The permutation that undoes one."""
    return None if permutation is None else permutation.argsort()


def pack_padded_sequence(
    input: Tensor, lengths: Tensor | Sequence[int], batch_first: bool = False, enforce_sorted: bool = True
) -> PackedSequence:
    """float[steps, batch, ...] and the length of each sequence. RuntimeError when the lengths do not fit."""
    counts = [int(n) for n in (lengths.tolist() if isinstance(lengths, Tensor) else lengths)]
    order = None
    if enforce_sorted:
        if any(a < b for a, b in itertools.pairwise(counts)):
            raise RuntimeError(
                "`lengths` array must be sorted in decreasing order when `enforce_sorted` is True. You can pass "
                "`enforce_sorted=False` to pack_padded_sequence and/or pack_sequence to sidestep this requirement if you "
                "do not need ONNX exportability."
            )
    else:
        order = sorted(range(len(counts)), key=lambda i: -counts[i])
        counts = [counts[i] for i in order]
    x = input.transpose(0, 1) if batch_first else input
    if len(counts) != x.shape[1]:
        raise RuntimeError(
            f"Expected `len(lengths)` to be equal to batch_size, but got {len(counts)} (batch_size={x.shape[1]})"
        )
    if counts[-1] <= 0:
        raise RuntimeError("Length of all samples has to be greater than 0, but found an element in 'lengths' that is <= 0")
    if counts[0] > x.shape[0]:
        raise RuntimeError(f"Expected lengths of at most {x.shape[0]} steps, got {counts[0]}")
    steps, batch = x.shape[:2]
    there = np.arange(counts[0])[:, None] < np.asarray(counts)
    step, column = np.nonzero(there)
    chosen = column if order is None else np.asarray(order)[column]
    places = chosen * steps + step if batch_first else step * batch + chosen
    rows = input.reshape(steps * batch, *input.shape[2:]).index_select(0, _places(places))
    return PackedSequence(rows, tensor(there.sum(1).tolist()), None if order is None else tensor(order))


def _places(places: np.ndarray) -> Tensor:
    """Where rows come from, as data: the lengths of a batch's sequences are no part of the program."""
    return wrap(recorder.constant(places, (places.shape, int64)))


def pad_packed_sequence(
    sequence: PackedSequence, batch_first: bool = False, padding_value: float = 0.0, total_length: int | None = None
) -> tuple[Tensor, Tensor]:
    """A padded batch and the lengths: the inverse of pack_padded_sequence."""
    sizes = sequence.batch_sizes.tolist()
    steps = len(sizes) if total_length is None else total_length
    if steps < len(sizes):
        raise ValueError(
            "Expected total_length to be at least the length of the longest sequence in input, but got "
            f"total_length={total_length} and max sequence length being {len(sizes)}"
        )
    there = np.arange(sizes[0]) < np.array([*sizes, *[0] * (steps - len(sizes))])[:, None]
    lengths = there.sum(0)
    rows = np.maximum(np.cumsum(there).reshape(there.shape) - 1, 0)  # where there is none, any row will do
    if sequence.unsorted_indices is not None:
        back = sequence.unsorted_indices._value()
        there, rows, lengths = there[:, back], rows[:, back], lengths[back]
    if batch_first:
        there, rows = there.T, rows.T
    data = sequence.data
    trailing = tuple(data.shape[1:])
    padded = data.index_select(0, _places(rows.reshape(-1))).reshape(*rows.shape, *trailing)
    mask = wrap(recorder.constant(there.copy(), (there.shape, bool_))).reshape(*rows.shape, *[1] * len(trailing))
    return where(mask, padded, full((), padding_value, dtype=data.dtype)), tensor(lengths.tolist())


def pad_sequence(
    sequences: Sequence[Tensor], batch_first: bool = False, padding_value: float = 0.0, padding_side: str = "right"
) -> Tensor:
    """[length, ...] tensors as one batch of the longest length."""
    if isinstance(sequences, Tensor):
        sequences = sequences.unbind(0)
    longest = max(s.shape[0] for s in sequences)
    rows = []
    for s in sequences:
        missing = s.new_full((longest - s.shape[0], *s.shape[1:]), padding_value)
        parts = [s, missing] if padding_side == "right" else [missing, s]
        rows.append((cat(parts) if longest > s.shape[0] else s).unsqueeze(0 if batch_first else 1))
    return cat(rows, 0 if batch_first else 1)


def unpad_sequence(padded_sequences: Tensor, lengths: Tensor, batch_first: bool = False) -> list[Tensor]:
    """The sequences of a padded batch."""
    rows = padded_sequences if batch_first else padded_sequences.transpose(0, 1)
    return [row[: int(n)] for row, n in zip(rows.unbind(0), lengths.tolist(), strict=True)]


def pack_sequence(sequences: Sequence[Tensor], enforce_sorted: bool = True) -> PackedSequence:
    """Pack [length, ...] tensors."""
    lengths = [s.shape[0] for s in sequences]
    return pack_padded_sequence(pad_sequence(sequences), lengths, enforce_sorted=enforce_sorted)


def unpack_sequence(packed_sequences: PackedSequence) -> list[Tensor]:
    """The sequences of a packed batch."""
    padded, lengths = pad_packed_sequence(packed_sequences, batch_first=True)
    return unpad_sequence(padded, lengths, batch_first=True)
