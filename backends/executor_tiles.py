"""The amx dialect and kernel.dot in numpy, as the processor rounds: tiles are 2-D arrays, words vectors of i32."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..dialects import amx

_SMALLEST = np.float32(2.0**-126)


def loaded(memory: np.ndarray, at: int, stride: int, rows: int, columns: int) -> np.ndarray:
    """A copy of the tile that begins at an index."""
    return np.stack([memory[at + r * stride : at + r * stride + columns] for r in range(rows)])


def stored(memory: np.ndarray, at: int, stride: int, tile: np.ndarray) -> None:
    """Writes a tile from an index on."""
    for r, row in enumerate(tile):
        memory[at + r * stride : at + r * stride + len(row)] = row


def multiplied(left: np.ndarray, right: np.ndarray, total: np.ndarray) -> np.ndarray:
    """total + left * right of bf16: even and odd depths are summed apart, each step rounded once."""
    x, y = _flushed(left.astype(np.float32)), _flushed(right.astype(np.float32)).reshape(len(right), -1, 2)
    sums = np.zeros((2, *total.shape), np.float32)
    for k in range(x.shape[1]):
        product = np.multiply.outer(x[:, k].astype(np.float64), y[k // 2, :, k % 2].astype(np.float64))
        sums[k % 2] = _flushed((product + sums[k % 2]).astype(np.float32))
    return _flushed(total + _flushed(sums[0] + sums[1]))


def multiplied_bytes(left: np.ndarray, right: np.ndarray, total: np.ndarray, signs: tuple[bool, bool]) -> np.ndarray:
    """total + left * right of bytes, which wraps around. signs: whether each side's bytes have one."""
    x, y = (side.view(np.int8 if signed else np.uint8).astype(np.int32) for side, signed in zip((left, right), signs, strict=True))
    y = y.reshape(len(y), -1, 4).transpose(0, 2, 1).reshape(x.shape[1], -1)
    return total + x @ y


def dotted(kind: str, left: np.ndarray, right: np.ndarray, total: np.ndarray) -> np.ndarray:
    """total + the products of the elements of each word, summed as kernel.dot says."""
    if kind != "bf16":
        types = {"i16": (np.int16, np.int16), "u8s8": (np.uint8, np.int8)}[kind]
        x, y = (side.view(held).reshape(len(side), -1).astype(np.int32) for side, held in zip((left, right), types, strict=True))
        return total + (x * y).sum(1, dtype=np.int32)
    for high in (True, False):
        x, y = (_flushed((side & -65536 if high else side << 16).view(np.float32)).astype(np.float64) for side in (left, right))
        total = _flushed((x * y + _flushed(total)).astype(np.float32))
    return total


def _flushed(x: np.ndarray) -> np.ndarray:
    return np.where(np.abs(x) < _SMALLEST, np.copysign(np.float32(0), x), x)


def _zero(w: Any, op: amx.TileZeroOp) -> None:
    kind = op.result.type
    w.line(f"{w.new(op.result)} = np.zeros(({kind.rows.data}, {kind.columns.data}), {w.dtype(kind.element)})")


def _load(w: Any, op: amx.TileLoadOp) -> None:
    kind, load = op.result.type, w.keep(loaded)
    sizes = f"{kind.rows.data}, {kind.columns.data}"
    w.line(f"{w.new(op.result)} = {load}({w.name(op.base)}, {w.at(op.base, [op.index])}, {w.name(op.stride)}, {sizes})")


def _store(w: Any, op: amx.TileStoreOp) -> None:
    w.line(f"{w.keep(stored)}({w.name(op.base)}, {w.at(op.base, [op.index])}, {w.name(op.stride)}, {w.name(op.value)})")


def _mulf(w: Any, op: amx.TileMulFOp) -> None:
    w.line(f"{w.new(op.result)} = {w.keep(multiplied)}({w.name(op.lhs)}, {w.name(op.rhs)}, {w.name(op.acc)})")


def _muli(w: Any, op: amx.TileMulIOp) -> None:
    signs = op.is_zext_lhs is None, op.is_zext_rhs is None
    w.line(f"{w.new(op.result)} = {w.keep(multiplied_bytes)}({w.name(op.lhs)}, {w.name(op.rhs)}, {w.name(op.acc)}, {signs})")


TILE_STATEMENTS = {
    amx.TileConfigOp: lambda w, op: None, amx.TileZeroOp: _zero, amx.TileLoadOp: _load, amx.TileStoreOp: _store,
    amx.TileMulFOp: _mulf, amx.TileMulIOp: _muli,
}  # fmt: skip
