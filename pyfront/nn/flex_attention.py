"""Flex attention: attention whose scores and masks are functions of positions (https://docs.pytorch.org/docs/stable/nn.attention.flex_attention.html).

The functions are recorded once, on positions that broadcast against all scores; the compiler makes of the formula what it makes of any
attention: blocks of rows with an online softmax, masks computed where they are used.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from ...dialects.types import bool_, int32
from ..sequences import arange
from ..selection import where
from ..tensor import Tensor

__all__ = [
    "AuxOutput", "AuxRequest", "BlockMask", "and_masks", "create_block_mask", "create_mask", "flex_attention", "noop_mask", "or_masks",
]  # fmt: skip

_DEFAULT_SPARSE_BLOCK_SIZE = 128
ScoreMod = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]
MaskMod = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


class AuxRequest(NamedTuple):
    """What `flex_attention` is to return beside its result: the log of the sum of exponentials, the largest score, per row."""

    lse: bool = False
    max_scores: bool = False


class AuxOutput(NamedTuple):
    """What was asked for, [B, H, L] in float32 each."""

    lse: Tensor | None = None
    max_scores: Tensor | None = None


def noop_mask(batch: Tensor, head: Tensor, token_q: Tensor, token_kv: Tensor) -> Tensor:
    """Every position sees every other."""
    return batch.new_ones((), dtype=bool_)


def and_masks(*mask_mods: MaskMod) -> MaskMod:
    """Where all of them hold."""

    def both(b: Tensor, h: Tensor, q_idx: Tensor, kv_idx: Tensor) -> Tensor:
        found = noop_mask(b, h, q_idx, kv_idx)
        for mask in mask_mods:
            found = found & mask(b, h, q_idx, kv_idx)
        return found

    return both


def or_masks(*mask_mods: MaskMod) -> MaskMod:
    """Where one of them holds."""

    def one(b: Tensor, h: Tensor, q_idx: Tensor, kv_idx: Tensor) -> Tensor:
        found = b.new_zeros((), dtype=bool_)
        for mask in mask_mods:
            found = found | mask(b, h, q_idx, kv_idx)
        return found

    return one


def _positions(sizes: tuple[int, int, int, int], device: Any) -> tuple[Tensor, ...]:
    """Batch, head, query and key positions, int32, each along its own of four dimensions."""
    found = []
    for axis, size in enumerate(sizes):
        found.append(arange(size, dtype=int32, device=device).reshape([-1 if i == axis else 1 for i in range(4)]))
    return tuple(found)


class BlockMask:
    """A mask as a function of positions. seq_lengths: of queries and keys. shape: (B, H, L, S); 1 where all are alike."""

    def __init__(self, mask_mod: MaskMod, shape: tuple[int, int, int, int], block_size: tuple[int, int], device: Any = "cpu") -> None:
        self.mask_mod = mask_mod
        self.shape = shape
        self.seq_lengths = shape[2:]
        self.BLOCK_SIZE = block_size
        self._device = device

    def to_dense(self) -> Tensor:
        """Per block, [B, H, L / block, S / block] int32: 1 where one of its positions is seen."""
        seen = create_mask(self.mask_mod, *self.shape, device=self._device)
        rows, columns = (-(-n // block) for n, block in zip(self.seq_lengths, self.BLOCK_SIZE, strict=True))
        whole = seen.new_zeros((*self.shape[:2], rows * self.BLOCK_SIZE[0], columns * self.BLOCK_SIZE[1]))
        whole[..., : self.seq_lengths[0], : self.seq_lengths[1]] = seen
        blocks = whole.reshape(*self.shape[:2], rows, self.BLOCK_SIZE[0], columns, self.BLOCK_SIZE[1])
        return blocks.transpose(-3, -2).flatten(-2).any(-1).to(int32)

    def sparsity(self) -> float:
        """Percentage of blocks nobody sees."""
        dense = self.to_dense()
        return 100 * (1 - dense.sum().item() / dense.numel())

    def numel(self) -> int:
        """Scores there are."""
        return math.prod(self.shape)

    def to(self, device: Any) -> BlockMask:
        """The same for another device."""
        return BlockMask(self.mask_mod, self.shape, self.BLOCK_SIZE, device)

    def __repr__(self) -> str:
        return f"BlockMask(shape={self.shape}, block_size={self.BLOCK_SIZE})"


def create_mask(mod_fn: Callable[..., Tensor], B: int | None, H: int | None, Q_LEN: int, KV_LEN: int, device: Any = "cpu") -> Tensor:  # noqa: N803
    """The mask of all positions, [B, H, L, S] truth values (1 for a B or H of None)."""
    sizes = (B or 1, H or 1, Q_LEN, KV_LEN)
    return mod_fn(*_positions(sizes, device)).expand(sizes)


def create_block_mask(
    mask_mod: MaskMod, B: int | None, H: int | None, Q_LEN: int, KV_LEN: int, device: Any = None,  # noqa: N803  # PyTorch's names
    BLOCK_SIZE: int | tuple[int, int] = _DEFAULT_SPARSE_BLOCK_SIZE, _compile: bool = False, **_: Any,  # noqa: N803
) -> BlockMask:  # fmt: skip
    """A mask for `flex_attention`; nothing is computed before it is used."""
    block = (BLOCK_SIZE, BLOCK_SIZE) if isinstance(BLOCK_SIZE, int) else tuple(BLOCK_SIZE)
    return BlockMask(mask_mod, (B or 1, H or 1, Q_LEN, KV_LEN), block, "cpu" if device is None else device)


def flex_attention(
    query: Tensor, key: Tensor, value: Tensor, score_mod: ScoreMod | None = None, block_mask: BlockMask | None = None,
    scale: float | None = None, enable_gqa: bool = False, return_lse: bool = False, kernel_options: Any = None, *,
    return_aux: AuxRequest | None = None,
) -> Any:  # fmt: skip
    """``softmax(score_mod(q k^T scale) where the mask holds) v``; [B, H, L, D] queries, [B, H, S, D] keys, [B, H, S, E] values give [B, H, L, E].

    score_mod(score, batch, head, q_idx, kv_idx) gives a score; rows nothing is seen of are 0. enable_gqa: fewer heads of keys and values, each for
    as many of queries. return_lse: also the log of the sum of exponentials, [B, H, L]; return_aux: an `AuxOutput` of what it asks for.
    ValueError where heads or sizes do not fit.
    """
    if query.dim() != 4 or key.dim() != 4 or value.dim() != 4:
        raise ValueError("Expected query, key and value to be 4-dimensional")
    heads = query.shape[1]
    if key.shape[1] != heads:
        if not enable_gqa or heads % key.shape[1]:
            raise ValueError(
                f"Expect query and key/value to have the same number of heads but got Hq={heads} and Hkv={key.shape[1]}. "
                "Try setting enable_gqa=True for GQA."
            )
        key, value = (t.repeat_interleave(heads // t.shape[1], 1) for t in (key, value))
    sizes = (query.shape[0], heads, query.shape[2], key.shape[2])
    if block_mask is not None and block_mask.seq_lengths != sizes[2:]:
        raise ValueError(f"block_mask was created for block_mask.shape={block_mask.shape} but got q_len={sizes[2]} and kv_len={sizes[3]}.")
    positions = _positions(sizes, query.device)
    scores = (query @ key.transpose(-2, -1)) * (query.shape[-1] ** -0.5 if scale is None else scale)
    if score_mod is not None:
        scores = score_mod(scores, *positions)
    seen = None
    if block_mask is not None:
        seen = block_mask.mask_mod(*positions)
        scores = where(seen, scores, -math.inf)
    weights = scores.softmax(-1)
    if seen is not None:
        weights = where(seen.any(-1, keepdim=True), weights, 0.0)
    out = (weights @ value).to(query.dtype)
    if return_aux is not None:
        lse = scores.float().logsumexp(-1) if return_aux.lse else None
        return out, AuxOutput(lse, scores.float().amax(-1) if return_aux.max_scores else None)
    return (out, scores.float().logsumexp(-1)) if return_lse else out
