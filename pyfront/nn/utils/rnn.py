"""Sequences of unequal length: padded into one tensor, or packed step by step."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

from ...creation import tensor
from ...joining import cat
from ...tensor import Tensor


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
        input = input.index_select(0 if batch_first else 1, tensor(order))
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
    sizes = [sum(n > t for n in counts) for t in range(counts[0])]
    rows = cat([x[t, :n] for t, n in enumerate(sizes)])
    return PackedSequence(rows, tensor(sizes), None if order is None else tensor(order))


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
    trailing = tuple(sequence.data.shape[1:])
    parts = []
    for rows, n in zip(sequence.data.split(sizes), sizes, strict=True):
        missing = rows.new_full((sizes[0] - n, *trailing), padding_value)
        parts.append((rows if n == sizes[0] else cat([rows, missing])).unsqueeze(0))
    if steps > len(sizes):
        parts.append(sequence.data.new_full((steps - len(sizes), sizes[0], *trailing), padding_value))
    padded = cat(parts)
    lengths = tensor([sum(n > i for n in sizes) for i in range(sizes[0])])
    padded = padded.transpose(0, 1) if batch_first else padded
    if sequence.unsorted_indices is None:
        return padded, lengths
    back = sequence.unsorted_indices
    return padded.index_select(0 if batch_first else 1, back), lengths[back]


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
