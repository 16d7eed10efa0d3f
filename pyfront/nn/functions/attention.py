"""Attention: softmax(q k^T) v, and the whole multi-head layer as a function."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ....dialects.types import DTYPES
from ...autocasting import autocasts, regions
from ...joining import cat
from ...linear_algebra import on_or_below_diagonal
from ...node import Node
from ...phrases import Phrases
from ...precision import in_single
from ...recorder import state
from ...tensor import Tensor, wrap
from .applying import apply, filled
from .dropping import dropout
from .linear import linear

_phrases = Phrases()


@autocasts("scaled_dot_product_attention")
@in_single
def scaled_dot_product_attention(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, dropout_p: float = 0.0,
    is_causal: bool = False, scale: float | None = None, enable_gqa: bool = False,
) -> Tensor:  # fmt: skip
    """softmax(q k^T * scale + mask) v over the last two dimensions."""
    if is_causal and attn_mask is not None:
        raise RuntimeError("_scaled_dot_product_attention: Explicit attn_mask should not be set when is_causal=True")
    if enable_gqa:
        groups = query.shape[-3] // key.shape[-3]
        key, value = key.repeat_interleave(groups, -3), value.repeat_interleave(groups, -3)
    factor = 1.0 / math.sqrt(query.shape[-1]) if scale is None else scale
    if attn_mask is None and dropout_p <= 0.0:
        nodes = [query._read(), key._read(), value._read()]
        if not (state.grad and any([n.requires_grad for n in nodes])):
            (made,) = _phrases.recorded((factor, is_causal), nodes, lambda *nodes: (_read_by(*map(wrap, nodes), factor, is_causal),))
            return wrap(made)
    made = _attended(query, key, value, attn_mask, dropout_p, is_causal, factor)
    if query.dim() == 4 and dropout_p <= 0.0:
        made._label = "scaled_dot_product_flash_attention_for_cpu"
    return made


def _read_by(query: Tensor, key: Tensor, value: Tensor, factor: float, is_causal: bool) -> Node:
    return _attended(query, key, value, None, 0.0, is_causal, factor)._read()


def _attended(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None, dropout_p: float, is_causal: bool, factor: float
) -> Tensor:
    scores = (query * factor) @ key.transpose(-2, -1)
    if is_causal:
        attn_mask = wrap(on_or_below_diagonal(scores.shape[-2:], 0))
    if attn_mask is not None:
        scores = scores.masked_fill(attn_mask.logical_not(), -math.inf) if _is_bool(attn_mask) else scores + attn_mask
    can_hide_all = attn_mask is not None and not is_causal  # a query that may see no key is given zeros
    weights: Any = apply("masked_softmax" if can_hide_all else "softmax", (scores,), ((scores.dim() - 1,),))
    if dropout_p > 0.0:
        weights = dropout(weights, dropout_p, True)
    return weights @ value


def _is_bool(mask: Tensor) -> bool:
    return mask.dtype is DTYPES["bool"]


@in_single
def multi_head_attention_forward(
    query: Tensor, key: Tensor, value: Tensor, embed_dim_to_check: int, num_heads: int, in_proj_weight: Tensor | None,
    in_proj_bias: Tensor | None, bias_k: Tensor | None, bias_v: Tensor | None, add_zero_attn: bool, dropout_p: float,
    out_proj_weight: Tensor, out_proj_bias: Tensor | None, training: bool = True, key_padding_mask: Tensor | None = None,
    need_weights: bool = True, attn_mask: Tensor | None = None, use_separate_proj_weight: bool = False,
    q_proj_weight: Tensor | None = None, k_proj_weight: Tensor | None = None, v_proj_weight: Tensor | None = None,
    static_k: Tensor | None = None, static_v: Tensor | None = None, average_attn_weights: bool = True,
    is_causal: bool = False,
) -> tuple[Tensor, Tensor | None]:  # fmt: skip
    """Attention with projections: query[l, n, e], key[s, n, k], value[s, n, v] -> ([l, n, e], weights[n, l, s]).

    Without a batch dimension n the operands have two dimensions each.
    """
    if query.dim() == 2:
        mask = None if key_padding_mask is None else key_padding_mask.unsqueeze(0)
        y, weights = multi_head_attention_forward(
            query.unsqueeze(1), key.unsqueeze(1), value.unsqueeze(1), embed_dim_to_check, num_heads, in_proj_weight,
            in_proj_bias, bias_k, bias_v, add_zero_attn, dropout_p, out_proj_weight, out_proj_bias, training, mask,
            need_weights, attn_mask, use_separate_proj_weight, q_proj_weight, k_proj_weight, v_proj_weight, static_k,
            static_v, average_attn_weights, is_causal,
        )  # fmt: skip
        return y.squeeze(1), None if weights is None else weights.squeeze(0)
    length, batch, width = query.shape
    if width != embed_dim_to_check:
        raise AssertionError(f"was expecting embedding dimension of {embed_dim_to_check}, but got {width}")
    if width % num_heads:
        raise AssertionError(f"embed_dim {width} not divisible by num_heads {num_heads}")
    if is_causal and attn_mask is None:
        raise RuntimeError("Need attn_mask if specifying the is_causal hint.")
    weights_in = (q_proj_weight, k_proj_weight, v_proj_weight) if use_separate_proj_weight else in_proj_weight.chunk(3)
    biases = (None,) * 3 if in_proj_bias is None else in_proj_bias.chunk(3)
    given = query, key, value, *weights_in, *biases, bias_k, bias_v, out_proj_weight, out_proj_bias, key_padding_mask, attn_mask, static_k, static_v
    options = num_heads, add_zero_attn, dropout_p if training else 0.0, need_weights, average_attn_weights
    return _known_heads(given, options) or _heads(given, options)


_Given = Sequence[Tensor | None]


def _known_heads(given: _Given, options: tuple) -> tuple[Tensor, Tensor | None] | None:
    """`_heads`, recorded again without running its Python; None where a derivative may go through it or it draws numbers."""
    if options[2] > 0.0 or state.levels or state.duals or state.traces or state.placement is not None or state.watch is not None or regions.on:
        return None
    place: dict[int, int] = {}
    nodes: list[Node] = []
    which = []  # the operand each argument is: a layer looks at itself
    for tensor in given:
        if tensor is None:
            which.append(-1)
            continue
        node = tensor._read()
        if node.requires_grad and state.grad:
            return None
        which.append(place.setdefault(id(node), len(nodes)))
        if which[-1] == len(nodes):
            nodes.append(node)

    def made(*nodes: Node) -> list[Node]:
        again = _heads([None if k < 0 else wrap(nodes[k]) for k in which], options)
        return [t._read() for t in again if t is not None]

    found = list(map(wrap, _phrases.recorded((*which, *options), nodes, made)))
    return found[0], found[1] if len(found) > 1 else None


def _heads(given: _Given, options: tuple) -> tuple[Tensor, Tensor | None]:
    """Of operands [l, n, e]: projections, heads, and attention between them. Slices of weights are not made here: they are data."""
    query, key, value, *projections, bias_k, bias_v, out_proj_weight, out_proj_bias, key_padding_mask, attn_mask, static_k, static_v = given
    num_heads, add_zero_attn, dropout_p, need_weights, average_attn_weights = options
    length, batch, width = query.shape
    q, k, v = [linear(x, w, b) for x, w, b in zip((query, key, value), projections[:3], projections[3:], strict=True)]
    if bias_k is not None and bias_v is not None:
        k, v = cat([k, bias_k.expand(1, batch, width)]), cat([v, bias_v.expand(1, batch, width)])
    heads = batch * num_heads
    q = q.reshape(length, heads, width // num_heads).transpose(0, 1)
    k = static_k if static_k is not None else k.reshape(k.shape[0], heads, width // num_heads).transpose(0, 1)
    v = static_v if static_v is not None else v.reshape(v.shape[0], heads, width // num_heads).transpose(0, 1)
    if add_zero_attn:
        nothing = filled((heads, 1, width // num_heads), 0.0, q.dtype)
        k, v = cat([k, nothing], 1), cat([v, nothing], 1)
    grown = k.shape[1] - key.shape[0]
    mask = _joint_mask(attn_mask, key_padding_mask, batch, num_heads, grown, q)
    scores = (q * math.sqrt(1.0 / q.shape[-1])) @ k.transpose(1, 2)
    weights: Tensor = apply("softmax", (scores if mask is None else scores + mask,), ((2,),))
    if dropout_p > 0.0:
        weights = dropout(weights, dropout_p, True)
    y = (weights @ v).transpose(0, 1).reshape(length * batch, width)
    y = linear(y, out_proj_weight, out_proj_bias)
    y = y.reshape(length, batch, y.shape[1])  # a projection may have another width: CLIP's pooling
    if not need_weights:
        return y, None
    weights = weights.reshape(batch, num_heads, length, k.shape[1])
    return y, weights.mean(1) if average_attn_weights else weights


def _joint_mask(
    attn_mask: Tensor | None, padding: Tensor | None, batch: int, heads: int, grown: int, like: Tensor
) -> Tensor | None:
    """Both masks as numbers to be added, for every head: [batch * heads or 1, l, s + grown]."""
    total = None
    if attn_mask is not None:
        mask = _partwise(attn_mask, like)
        total = mask.unsqueeze(0) if mask.dim() == 2 else mask
    if padding is not None:
        row = _partwise(padding, like).reshape(batch, 1, 1, -1).expand(batch, heads, 1, padding.shape[1])
        row = row.reshape(batch * heads, 1, padding.shape[1])
        total = row if total is None else total + row
    if total is None or not grown:
        return total
    return cat([total, filled((*total.shape[:2], grown), 0.0, like.dtype)], 2)


def _partwise(mask: Tensor, like: Tensor) -> Tensor:
    """A bool mask (true: do not look) as minus infinity or 0."""
    if not _is_bool(mask):
        return mask.to(like.dtype)
    return filled(tuple(mask.shape), 0.0, like.dtype).masked_fill(mask, -math.inf)
