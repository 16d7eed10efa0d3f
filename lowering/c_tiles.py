"""The amx dialect as C: instructions of the processor, or the same in plain C where the compiler was not told that there are any."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..dialects import amx
from ..dialects.amx import TileType
from .c_statements import STATEMENTS, address
from .c_types import bytes_of, c_type

if TYPE_CHECKING:
    from .c_function import FunctionPrinter

NO_TILES = 6
"""What a program returns that the system does not let use tile registers."""

# Linux saves the registers of threads that use them only in processes that asked: arch_prctl(ARCH_REQ_XCOMP_PERM, XTILEDATA).
PRELUDE = """\
typedef struct {
    uint8_t palette, start, unused[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} tile_shapes;
#if defined(__AMX_TILE__) && defined(__AMX_BF16__) && defined(__AMX_INT8__)
#define TILE_REGISTERS
#endif
#if defined(TILE_REGISTERS) && defined(__x86_64__) && defined(__linux__)
#define TILE_SHAPES(s) __asm__ volatile("ldtilecfg %0" ::"m"(s))
#define TILE_RELEASE() __asm__ volatile("tilerelease" ::: "memory")
#define TILE_ZERO(t) __asm__ volatile("tilezero %%tmm" #t ::: "memory")
#define TILE_LOAD(t, p, stride) \\
    __asm__ volatile("tileloadd (%0,%1,1), %%tmm" #t ::"r"(p), "r"((int64_t)(stride)) : "memory")
#define TILE_STORE(t, p, stride) \\
    __asm__ volatile("tilestored %%tmm" #t ", (%0,%1,1)" ::"r"(p), "r"((int64_t)(stride)) : "memory")
#define TILE_DOT(kind, c, a, b) __asm__ volatile("tdp" #kind " %%tmm" #b ", %%tmm" #a ", %%tmm" #c ::)
static inline bool tiles_allowed(void) {
    static int answer;
    if (!answer) {
        int64_t refused;
        __asm__ volatile("syscall" : "=a"(refused) : "0"((int64_t)158), "D"((int64_t)0x1023), "S"((int64_t)18) : "rcx", "r11", "memory");
        answer = refused ? -1 : 1;
    }
    return answer > 0;
}
#else
typedef union {
    float f[16];
    int32_t i[16];
    uint16_t h[32];
    uint8_t b[64];
} tile_row;
static _Thread_local tile_row tile_data[8][16];
static _Thread_local tile_shapes tile_now;
#define TILE_SHAPES(s) (tile_now = (s))
#define TILE_RELEASE() ((void)0)
#define TILE_ZERO(t) __builtin_memset(tile_data[t], 0, sizeof tile_data[t])
#define TILE_LOAD(t, p, stride) tile_load(t, (const char *)(p), stride)
#define TILE_STORE(t, p, stride) tile_store(t, (char *)(p), stride)
#define TILE_DOT(kind, c, a, b) tile_##kind(c, a, b)
static inline bool tiles_allowed(void) { return true; }
static inline void tile_load(int t, const char *p, int64_t stride) {
    TILE_ZERO(t);
    for (int r = 0; r < tile_now.rows[t]; r++) __builtin_memcpy(tile_data[t][r].b, p + r * stride, tile_now.row_bytes[t]);
}
static inline void tile_store(int t, char *p, int64_t stride) {
    for (int r = 0; r < tile_now.rows[t]; r++) __builtin_memcpy(p + r * stride, tile_data[t][r].b, tile_now.row_bytes[t]);
}
static inline float tile_flushed(float x) { return fabsf(x) < 0x1p-126f ? copysignf(0.0f, x) : x; }
static inline float tile_number(uint16_t h) {
    union {
        uint32_t bits;
        float value;
    } u = {(uint32_t)h << 16};
    return tile_flushed(u.value);
}
static inline void tile_bf16ps(int c, int a, int b) {
    for (int m = 0; m < tile_now.rows[c]; m++)
        for (int n = 0; n < tile_now.row_bytes[c] / 4; n++) {
            float sums[2] = {0.0f, 0.0f};
            for (int k = 0; k < tile_now.row_bytes[a] / 2; k++) {
                float x = tile_number(tile_data[a][m].h[k]), y = tile_number(tile_data[b][k / 2].h[2 * n + k % 2]);
                sums[k % 2] = tile_flushed(fmaf(x, y, sums[k % 2]));
            }
            tile_data[c][m].f[n] = tile_flushed(tile_data[c][m].f[n] + tile_flushed(sums[0] + sums[1]));
        }
}
static inline void tile_bytes(int c, int a, int b, int left_sign, int right_sign) {
    for (int m = 0; m < tile_now.rows[c]; m++)
        for (int n = 0; n < tile_now.row_bytes[c] / 4; n++) {
            uint32_t sum = (uint32_t)tile_data[c][m].i[n];
            for (int k = 0; k < tile_now.row_bytes[a]; k++) {
                int x = tile_data[a][m].b[k], y = tile_data[b][k / 4].b[4 * n + k % 4];
                sum += (uint32_t)(((x ^ left_sign) - left_sign) * ((y ^ right_sign) - right_sign));
            }
            tile_data[c][m].i[n] = (int32_t)sum;
        }
}
static inline void tile_bssd(int c, int a, int b) { tile_bytes(c, a, b, 128, 128); }
static inline void tile_bsud(int c, int a, int b) { tile_bytes(c, a, b, 128, 0); }
static inline void tile_busd(int c, int a, int b) { tile_bytes(c, a, b, 0, 128); }
static inline void tile_buud(int c, int a, int b) { tile_bytes(c, a, b, 0, 0); }
#endif"""


def _config(p: FunctionPrinter, op: amx.TileConfigOp) -> None:
    p.uses_tiles()
    tiles = [t for t in op.tiles.data if isinstance(t, TileType)]
    widths, rows = ", ".join(str(t.row_bytes) for t in tiles), ", ".join(str(t.rows.data) for t in tiles)
    name = p.fresh(None, "shapes")
    p.line(f"static const tile_shapes {name} = {{1, 0, {{0}}, {{{widths}}}, {{{rows}}}}};")
    p.line(f"TILE_SHAPES({name});")


def _zero(p: FunctionPrinter, op: amx.TileZeroOp) -> None:
    p.line(f"TILE_ZERO({p.name(op.result)});")


def _moved(p: FunctionPrinter, op: amx.TileLoadOp | amx.TileStoreOp, what: str, tile: str) -> None:
    size = bytes_of(c_type(op.base.type.element_type).code)
    where, stride = address(p, op.base, [op.index]), p.name(op.stride)
    stride = str(int(stride) * size) if stride.isdigit() else f"{size} * {stride}" if size > 1 else stride
    p.line(f"{what}({tile}, {p.name(op.base)} + {where}, {stride});")


def _load(p: FunctionPrinter, op: amx.TileLoadOp) -> None:
    _moved(p, op, "TILE_LOAD", p.name(op.result))


def _store(p: FunctionPrinter, op: amx.TileStoreOp) -> None:
    _moved(p, op, "TILE_STORE", p.name(op.value))


def _dot(p: FunctionPrinter, kind: str, op: amx.TileMulFOp | amx.TileMulIOp) -> None:
    p.line(f"TILE_DOT({kind}, {p.name(op.acc)}, {p.name(op.lhs)}, {p.name(op.rhs)});")


def _mulf(p: FunctionPrinter, op: amx.TileMulFOp) -> None:
    _dot(p, "bf16ps", op)


def _muli(p: FunctionPrinter, op: amx.TileMulIOp) -> None:
    signs = "".join("s" if flag is None else "u" for flag in (op.is_zext_lhs, op.is_zext_rhs))
    _dot(p, f"b{signs}d", op)


TILE_STATEMENTS = {
    amx.TileConfigOp: _config, amx.TileZeroOp: _zero, amx.TileLoadOp: _load, amx.TileStoreOp: _store,
    amx.TileMulFOp: _mulf, amx.TileMulIOp: _muli,
}  # fmt: skip
STATEMENTS |= TILE_STATEMENTS
