// The emulation's side of generated CUDA C++: what stands in the place of types, PTX and the GPU itself.
//
// Threads of a block are fibers that run one at a time and change only where threads wait for each other, in an order
// that is shuffled by a seed. Shared memory is filled with NaN bits before every block and has guards around it, so a
// missing barrier shows as a wrong result, a write past the end as an error, a barrier not all threads reach as one too.

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <utility>
#include <sys/mman.h>
#if !defined(__x86_64__)
#include <ucontext.h>
#endif

#define __global__ static
#define __device__
#define __forceinline__ inline
#define __launch_bounds__(threads, blocks)
#define __cluster_dims__(x, y, z)
#define __grid_constant__
#define __constant__ static const
#define __align__(n) alignas(n)
#define LM_SHARED(name) unsigned char *name = lm_block.shared

struct lm_dim { unsigned x, y, z; };
static lm_dim threadIdx, blockIdx, blockDim, gridDim;

enum { LM_WARP = 32, LM_GROUP_THREADS = 128, LM_MOST_THREADS = 1024, LM_STACK = 128 << 10, LM_GUARD = 16 << 10, LM_MOST_CLUSTER = 2 };
enum { LM_FINE = 0, LM_DEADLOCK = 1, LM_GUARD_HIT = 2, LM_UNALIGNED = 3, LM_NEVER_WAITED = 4, LM_WRONG_BARRIER = 5, LM_UNEQUAL = 6, LM_NOT_SHOWN = 7, LM_BLOCK_OVER = 8 };

// ---- Fibers

#if defined(__x86_64__)
typedef void *lm_context;
extern "C" void lm_switch(lm_context *from, lm_context to);
asm(R"(
.text
.globl lm_switch
.hidden lm_switch
.type lm_switch,@function
lm_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
.size lm_switch, .-lm_switch
)");
#else
typedef ucontext_t lm_context;
static void lm_switch(lm_context *from, lm_context &to) { swapcontext(from, &to); }
#endif

// A place where some threads meet: the last to come does the work for all.
struct lm_meeting { int here; unsigned times; void *given[LM_MOST_THREADS]; };

struct lm_fiber { lm_context context; bool done; };

static struct {
    lm_fiber fiber[LM_MOST_THREADS];
    lm_context scheduler;
    lm_meeting all[LM_MOST_CLUSTER], cluster, warp[LM_MOST_THREADS / LM_WARP], group[LM_MOST_THREADS / LM_GROUP_THREADS], named[LM_MOST_THREADS / LM_GROUP_THREADS];
    unsigned char *shared, *stacks; // shared: of the running thread's block
    unsigned char *shared_of[LM_MOST_CLUSTER];
    int threads, blocks, current, alive, alive_of[LM_MOST_CLUSTER], failed; // threads: of a block; they are numbered through those of a cluster
    bool progress;
    void (*body)(void **);
    void **arguments;
} lm_block;

// Copies happen as late as a wait allows, so that a missing wait shows.
struct lm_copy { void *to; const void *from; bool inside; };
enum { LM_GROUPS = 8, LM_COPIES = 64 };
static struct { lm_copy copies[LM_GROUPS][LM_COPIES]; int counts[LM_GROUPS], first, open; } lm_queues[LM_MOST_THREADS];

__attribute__((noinline)) static void lm_yield() {
    lm_switch(&lm_block.fiber[lm_block.current].context, lm_block.scheduler);
}

// The thread did what no GPU allows: the launch ends with this status.
static void lm_fail(int status) {
    lm_block.failed = status;
    for (;;) lm_yield();
}

template <class Work> static void lm_meet(lm_meeting &m, int count, int who, void *given, Work work) {
    unsigned before = m.times;
    m.given[who] = given;
    if (++m.here == count) {
        work(m.given);
        m.here = 0;
        m.times++;
        lm_block.progress = true;
    } else {
        while (m.times == before) lm_yield();
    }
}

static void lm_entry() {
    lm_block.body(lm_block.arguments);
    lm_block.fiber[lm_block.current].done = true;
    lm_block.alive--;
    lm_block.alive_of[lm_block.current / lm_block.threads]--;
    lm_block.progress = true;
    for (;;) lm_yield();
}

static void lm_start_products(int t);
static void lm_start_stores(int t);

static void lm_start(int t) {
    lm_fiber &f = lm_block.fiber[t];
    unsigned char *stack = lm_block.stacks + (size_t)LM_STACK * t;
    f.done = false;
    lm_queues[t].first = lm_queues[t].open = lm_queues[t].counts[0] = 0;
    lm_start_products(t);
    lm_start_stores(t);
#if defined(__x86_64__)
    void **top = (void **)(stack + LM_STACK);
    *--top = nullptr;
    *--top = (void *)lm_entry;
    for (int i = 0; i < 6; i++) *--top = nullptr;
    f.context = top;
#else
    getcontext(&f.context);
    f.context.uc_stack.ss_sp = stack;
    f.context.uc_stack.ss_size = LM_STACK;
    f.context.uc_link = nullptr;
    makecontext(&f.context, lm_entry, 0);
#endif
}

// ---- What threads ask for

static int lm_rank() { return lm_block.current / lm_block.threads; }

static void __syncthreads() {
    lm_meet(lm_block.all[lm_rank()], lm_block.threads, lm_block.current % lm_block.threads, nullptr, [](void **) {});
}

static void lm_cluster_barrier() {
    lm_meet(lm_block.cluster, lm_block.threads * lm_block.blocks, lm_block.current, nullptr, [](void **) {});
}

// The same place in the shared memory of another block, which has not ended.
template <class T> static T *lm_at(T *mine, int rank) {
    if (rank >= lm_block.blocks || !lm_block.alive_of[rank]) lm_fail(LM_BLOCK_OVER);
    return (T *)(lm_block.shared_of[rank] + ((unsigned char *)mine - lm_block.shared));
}

template <class Work> static void lm_in_warp(void *given, Work work) {
    int t = lm_block.current;
    lm_meet(lm_block.warp[t / LM_WARP], LM_WARP, t % LM_WARP, given, work);
}

static void __syncwarp() { lm_in_warp(nullptr, [](void **) {}); }

template <class T> static T lm_shuffle_xor(T x, int mask) {
    struct Lane { T mine, theirs; int from; } lane = {x, x, lm_block.current % LM_WARP ^ mask};
    lm_in_warp(&lane, [](void **lanes) {
        for (int i = 0; i < LM_WARP; i++) ((Lane *)lanes[i])->theirs = ((Lane *)lanes[((Lane *)lanes[i])->from])->mine;
    });
    return lane.theirs;
}

static void lm_load_matrices(uint32_t *r, const void *row, bool transposed) {
    struct Lane { uint32_t *r; const void *row; bool transposed; } lane = {r, row, transposed};
    if ((uintptr_t)row % 16) lm_fail(LM_UNALIGNED);
    lm_in_warp(&lane, [](void **lanes) {
        for (int l = 0; l < LM_WARP; l++)
            for (int m = 0; m < 4; m++) {
                uint16_t pair[2];
                for (int h = 0; h < 2; h++) {
                    int row = l / 4, column = l % 4 * 2 + h;
                    if (((Lane *)lanes[l])->transposed) std::swap(row, column);
                    pair[h] = ((const uint16_t *)((Lane *)lanes[m * 8 + row])->row)[column];
                }
                memcpy(&((Lane *)lanes[l])->r[m], pair, 4);
            }
    });
}

static void lm_ldmatrix(uint32_t *r, const void *row) { lm_load_matrices(r, row, false); }
static void lm_ldmatrix_transposed(uint32_t *r, const void *row) { lm_load_matrices(r, row, true); }

static void lm_cp_async(void *to, const void *from, bool inside) {
    auto &q = lm_queues[lm_block.current];
    int &n = q.counts[q.open % LM_GROUPS];
    if ((uintptr_t)to % 16 || (uintptr_t)from % 16) lm_fail(LM_UNALIGNED);
    if (n == LM_COPIES) lm_fail(LM_NEVER_WAITED);
    q.copies[q.open % LM_GROUPS][n++] = {to, from, inside};
}

static void lm_cp_async_commit() {
    auto &q = lm_queues[lm_block.current];
    if (++q.open - q.first == LM_GROUPS) lm_fail(LM_NEVER_WAITED);
    q.counts[q.open % LM_GROUPS] = 0;
}

template <int pending> static void lm_cp_async_wait() {
    auto &q = lm_queues[lm_block.current];
    for (; q.open - q.first > pending; q.first++)
        for (int i = 0; i < q.counts[q.first % LM_GROUPS]; i++) {
            const lm_copy &c = q.copies[q.first % LM_GROUPS][i];
            if (c.inside) memcpy(c.to, c.from, 16);
            else memset(c.to, 0, 16);
        }
}

static float lm_exp2(float x) {
    float y = exp2f(x);
    return y < 1.17549435e-38f ? 0 : y;
}

// +0 is larger than -0, as for max.NaN.f32 and min.NaN.f32.
static float lm_max_nan(float a, float b) { return a > b || a != a || (a == b && std::signbit(b)) ? a : b; }
static float lm_min_nan(float a, float b) { return a < b || a != a || (a == b && std::signbit(a)) ? a : b; }

static float lm_half_bits(uint16_t h, bool bf16) {
    if (bf16) {
        uint32_t b = (uint32_t)h << 16;
        float f;
        memcpy(&f, &b, 4);
        return f;
    }
    int e = h >> 10 & 31, m = h & 1023;
    float f = e == 31 ? (m ? NAN : INFINITY) : e ? ldexpf(1024.0f + m, e - 25) : ldexpf((float)m, -24);
    return h & 0x8000 ? -f : f;
}

static uint32_t lm_rounded_bf16(float x) {
    uint32_t b;
    memcpy(&b, &x, 4);
    return (x != x ? 0x7fff : (b + 0x7fff + (b >> 16 & 1)) >> 16) & 0xffff;
}

static uint32_t lm_rounded_f16(float x) {
    uint32_t sign = std::signbit(x) ? 0x8000 : 0;
    float size = fabsf(x);
    if (x != x) return 0x7fff;
    if (size >= 65520) return sign | 0x7c00;
    int exponent = size < ldexpf(1, -14) ? -14 : ilogbf(size);
    uint32_t steps = (uint32_t)nearbyintf(ldexpf(size, 10 - exponent));  // a carry goes on into the exponent
    return sign | (steps < 1024 ? steps : (uint32_t)(exponent + 14) * 1024 + steps);
}

static uint16_t lm_to_bf16(float x) { return (uint16_t)lm_rounded_bf16(x); }
static uint16_t lm_to_f16(float x) { return (uint16_t)lm_rounded_f16(x); }
static float lm_from_f16(uint16_t h) { return lm_half_bits(h, false); }

static uint32_t lm_pack_bf16(float low, float high) { return lm_rounded_bf16(low) | lm_rounded_bf16(high) << 16; }
static uint32_t lm_pack_f16(float low, float high) { return lm_rounded_f16(low) | lm_rounded_f16(high) << 16; }

static void lm_mma(float *d, const uint32_t *a, const uint32_t *b, const float *c, bool bf16) {
    struct Lane { float *d; const uint32_t *a, *b; const float *c; bool bf16; } lane = {d, a, b, c, bf16};
    lm_in_warp(&lane, [](void **lanes) {
        float left[16][16], right[16][8];
        for (int l = 0; l < LM_WARP; l++) {
            Lane *q = (Lane *)lanes[l];
            int group = l / 4, pair = l % 4 * 2;
            for (int h = 0; h < 2; h++) {
                for (int i = 0; i < 4; i++)
                    left[group + (i & 1) * 8][pair + h + (i >> 1) * 8] = lm_half_bits((uint16_t)(q->a[i] >> 16 * h), q->bf16);
                for (int i = 0; i < 2; i++)
                    right[pair + h + i * 8][group] = lm_half_bits((uint16_t)(q->b[i] >> 16 * h), q->bf16);
            }
        }
        for (int l = 0; l < LM_WARP; l++) {
            Lane *q = (Lane *)lanes[l];
            for (int i = 0; i < 4; i++) {
                int row = l / 4 + (i >> 1) * 8, column = l % 4 * 2 + (i & 1);
                float sum = q->c[i];
                for (int k = 0; k < 16; k++) sum += left[row][k] * right[k][column];
                q->d[i] = sum;
            }
        }
    });
}

static void lm_mma_bf16(float *d, const uint32_t *a, const uint32_t *b, const float *c) { lm_mma(d, a, b, c, true); }
static void lm_mma_f16(float *d, const uint32_t *a, const uint32_t *b, const float *c) { lm_mma(d, a, b, c, false); }

// Of a factor of TF32 the upper 19 bits count.
static float lm_upper_bits(float x) {
    uint32_t bits;
    memcpy(&bits, &x, 4);
    bits &= 0xffffe000u;
    memcpy(&x, &bits, 4);
    return x;
}

static float lm_round_tf32(float x) {
    uint32_t bits;
    memcpy(&bits, &x, 4);
    if ((bits & 0x7f800000u) == 0x7f800000u) return x; // infinities and NaN
    bits += 0x1000u;
    memcpy(&x, &bits, 4);
    return lm_upper_bits(x);
}

static void lm_mma_tf32(float *d, const float *a, const float *b, const float *c) {
    struct Lane { float *d; const float *a, *b, *c; } lane = {d, a, b, c};
    lm_in_warp(&lane, [](void **lanes) {
        float left[16][8], right[8][8];
        for (int l = 0; l < LM_WARP; l++) {
            Lane *q = (Lane *)lanes[l];
            for (int i = 0; i < 4; i++) left[l / 4 + (i & 1) * 8][l % 4 + (i >> 1) * 4] = lm_upper_bits(q->a[i]);
            for (int i = 0; i < 2; i++) right[l % 4 + i * 4][l / 4] = lm_upper_bits(q->b[i]);
        }
        for (int l = 0; l < LM_WARP; l++) {
            Lane *q = (Lane *)lanes[l];
            for (int i = 0; i < 4; i++) {
                int row = l / 4 + (i >> 1) * 8, column = l % 4 * 2 + (i & 1);
                float sum = q->c[i];
                for (int k = 0; k < 8; k++) sum += left[row][k] * right[k][column];
                q->d[i] = sum;
            }
        }
    });
}

static void lm_mma_bytes(int32_t *d, const int32_t *a, const int32_t *b, const int32_t *c, bool a_signed, bool b_signed) {
    struct Lane { int32_t *d; const int32_t *a, *b, *c; bool a_signed, b_signed; } lane = {d, a, b, c, a_signed, b_signed};
    lm_in_warp(&lane, [](void **lanes) {
        int left[16][32], right[32][8];
        for (int l = 0; l < LM_WARP; l++) {
            Lane *q = (Lane *)lanes[l];
            for (int e = 0; e < 4; e++) {
                int depth = l % 4 * 4 + e;
                for (int i = 0; i < 4; i++) {
                    uint8_t byte = (uint8_t)((uint32_t)q->a[i] >> 8 * e);
                    left[l / 4 + (i & 1) * 8][depth + (i >> 1) * 16] = q->a_signed ? (int8_t)byte : byte;
                }
                for (int i = 0; i < 2; i++) {
                    uint8_t byte = (uint8_t)((uint32_t)q->b[i] >> 8 * e);
                    right[depth + i * 16][l / 4] = q->b_signed ? (int8_t)byte : byte;
                }
            }
        }
        for (int l = 0; l < LM_WARP; l++) {
            Lane *q = (Lane *)lanes[l];
            for (int i = 0; i < 4; i++) {
                int row = l / 4 + (i >> 1) * 8, column = l % 4 * 2 + (i & 1);
                uint32_t sum = (uint32_t)q->c[i];
                for (int k = 0; k < 32; k++) sum += (uint32_t)(left[row][k] * right[k][column]);
                q->d[i] = (int32_t)sum;
            }
        }
    });
}

static void lm_mma_s8_s8(int32_t *d, const int32_t *a, const int32_t *b, const int32_t *c) { lm_mma_bytes(d, a, b, c, true, true); }
static void lm_mma_s8_u8(int32_t *d, const int32_t *a, const int32_t *b, const int32_t *c) { lm_mma_bytes(d, a, b, c, true, false); }
static void lm_mma_u8_s8(int32_t *d, const int32_t *a, const int32_t *b, const int32_t *c) { lm_mma_bytes(d, a, b, c, false, true); }
static void lm_mma_u8_u8(int32_t *d, const int32_t *a, const int32_t *b, const int32_t *c) { lm_mma_bytes(d, a, b, c, false, false); }

// ---- sm_90a: barriers, the copy engine, warpgroups

// A barrier's phase ends when all arrivals have come and all announced bytes are there.
struct lm_mbarrier { int64_t *at; int count, missing; long bytes; unsigned phase; };
enum { LM_BARRIERS = 64, LM_BOXES = 256, LM_DIMENSIONS = 5 };
static struct { lm_mbarrier all[LM_BARRIERS]; int count; } lm_barriers;

static lm_mbarrier &lm_barrier_at(int64_t *at) {
    for (int i = 0; i < lm_barriers.count; i++)
        if (lm_barriers.all[i].at == at) return lm_barriers.all[i];
    lm_fail(LM_WRONG_BARRIER);
    return lm_barriers.all[0];
}

static void lm_check_phase(lm_mbarrier &b) {
    if (b.missing || b.bytes) return;
    b.phase++;
    b.missing = b.count;
    lm_block.progress = true;
}

static void lm_mbarrier_init(int64_t *at, int count) {
    if (lm_barriers.count == LM_BARRIERS) lm_fail(LM_WRONG_BARRIER);
    lm_barriers.all[lm_barriers.count++] = {at, count, count, 0, 0};
}

static void lm_arrived(lm_mbarrier &b) {
    if (--b.missing < 0) lm_fail(LM_WRONG_BARRIER);
    lm_check_phase(b);
}

static void lm_mbarrier_arrive(int64_t *at) { lm_arrived(lm_barrier_at(at)); }
static void lm_mbarrier_arrive_at(int64_t *at, int rank) { lm_arrived(lm_barrier_at(lm_at(at, rank))); }

static void lm_mbarrier_expect(int64_t *at, int bytes) {
    lm_mbarrier &b = lm_barrier_at(at);
    b.bytes += bytes;
    lm_arrived(b);
}

static void lm_mbarrier_wait(int64_t *at, int parity) {
    while ((lm_barrier_at(at).phase & 1) == (unsigned)parity) lm_yield();
}

static void lm_mbarrier_wait_cluster(int64_t *at, int parity) { lm_mbarrier_wait(at, parity); }

static void lm_fence_barrier_init() {}

// What the host fills in for cuTensorMapEncodeTiled: bytes, innermost dimension first.
struct lm_tensor_map { unsigned char *base; int64_t sizes[LM_DIMENSIONS], strides[LM_DIMENSIONS]; short box[LM_DIMENSIONS], every[LM_DIMENSIONS], rank, size, tf32; };
static_assert(sizeof(lm_tensor_map) <= 128, "a host has 128 bytes for a map");

// Boxes under way. They come as late as possible, in any order.
struct lm_box { unsigned char *to; const lm_tensor_map *map; int64_t *barrier; int64_t at[LM_DIMENSIONS]; unsigned char *shared; };
static struct { lm_box all[LM_BOXES]; int count; } lm_boxes;

// The 128-byte swizzle: bits 4 to 6 of a place in shared memory change with bits 7 to 9.
static unsigned char *lm_swizzled(size_t place) { return lm_block.shared + (place ^ (place >> 7 & 7) << 4); }

static int64_t lm_elements(const lm_tensor_map &map) {
    int64_t count = 1;
    for (int d = 0; d < map.rank; d++) count *= map.box[d];
    return count;
}

// The place of the i-th element of a box in global memory; null outside the map's sizes.
static unsigned char *lm_element(const lm_box &box, int64_t i) {
    const lm_tensor_map &map = *box.map;
    int64_t from = 0;
    bool inside = true;
    for (int d = 0; d < map.rank; d++) {
        int64_t x = box.at[d] + i % map.box[d] * map.every[d];
        i /= map.box[d];
        inside = inside && x >= 0 && x < map.sizes[d];
        from += x * map.strides[d];
    }
    return inside ? map.base + from : nullptr;
}

static void lm_bring_box(const lm_box &box) {
    const lm_tensor_map &map = *box.map;
    const int64_t count = lm_elements(map);
    lm_block.shared = box.shared;
    for (int64_t i = 0; i < count; i++) {
        const unsigned char *from = lm_element(box, i);
        unsigned char *to = lm_swizzled((size_t)(box.to - lm_block.shared) + (size_t)(i * map.size));
        if (from) memcpy(to, from, (size_t)map.size);
        else memset(to, 0, (size_t)map.size);
        if (map.tf32) {
            float x;
            memcpy(&x, to, 4);
            x = lm_round_tf32(x);
            memcpy(to, &x, 4);
        }
    }
    lm_mbarrier &b = lm_barrier_at(box.barrier);
    b.bytes -= count * map.size;
    lm_check_phase(b);
}

template <class... Place> static void lm_tma_load(void *to, const lm_tensor_map *map, int64_t *barrier, Place... at) {
    if ((size_t)((unsigned char *)to - lm_block.shared) % 1024) lm_fail(LM_UNALIGNED);
    if (lm_boxes.count == LM_BOXES) lm_fail(LM_NEVER_WAITED);
    lm_boxes.all[lm_boxes.count++] = {(unsigned char *)to, map, barrier, {(int64_t)at...}, lm_block.shared};
}

template <class... Place> static void lm_tma_load_cluster(void *to, const lm_tensor_map *map, int64_t *barrier, int blocks, Place... at) {
    unsigned char *mine = lm_block.shared;
    for (int rank = 0; blocks >> rank; rank++)
        if (blocks >> rank & 1) {
            void *there = lm_at(to, rank);
            int64_t *told = lm_at(barrier, rank);
            lm_block.shared = lm_block.shared_of[rank];
            lm_tma_load(there, map, told, at...);
            lm_block.shared = mine;
        }
}

static void lm_tma_load_2d_cluster(void *to, const lm_tensor_map *m, int64_t *b, int blocks, int x, int y) { lm_tma_load_cluster(to, m, b, blocks, x, y); }
static void lm_tma_load_3d_cluster(void *to, const lm_tensor_map *m, int64_t *b, int blocks, int x, int y, int z) {
    lm_tma_load_cluster(to, m, b, blocks, x, y, z);
}
static void lm_tma_load_4d_cluster(void *to, const lm_tensor_map *m, int64_t *b, int blocks, int x, int y, int z, int w) {
    lm_tma_load_cluster(to, m, b, blocks, x, y, z, w);
}
static void lm_tma_load_5d_cluster(void *to, const lm_tensor_map *m, int64_t *b, int blocks, int x, int y, int z, int w, int v) {
    lm_tma_load_cluster(to, m, b, blocks, x, y, z, w, v);
}

static void lm_tma_load_2d(void *to, const lm_tensor_map *map, int64_t *b, int x, int y) { lm_tma_load(to, map, b, x, y); }
static void lm_tma_load_3d(void *to, const lm_tensor_map *map, int64_t *b, int x, int y, int z) { lm_tma_load(to, map, b, x, y, z); }
static void lm_tma_load_4d(void *to, const lm_tensor_map *map, int64_t *b, int x, int y, int z, int w) { lm_tma_load(to, map, b, x, y, z, w); }
static void lm_tma_load_5d(void *to, const lm_tensor_map *map, int64_t *b, int x, int y, int z, int w, int v) {
    lm_tma_load(to, map, b, x, y, z, w, v);
}

// Boxes a thread has the copy engine write. Shared memory is read as late as a wait allows, so that one that comes too late shows.
enum { LM_STORES = 8 };
static struct { lm_box boxes[LM_STORES][LM_STORES]; int counts[LM_STORES]; unsigned first, open; bool unshown; } lm_stores[LM_MOST_THREADS];

static void lm_start_stores(int t) { lm_stores[t].first = lm_stores[t].open = 0, lm_stores[t].counts[0] = 0, lm_stores[t].unshown = false; }

static void lm_stmatrix(const uint32_t *r, void *row) {
    struct Lane { const uint32_t *r; void *row; } lane = {r, row};
    if ((uintptr_t)row % 16) lm_fail(LM_UNALIGNED);
    lm_stores[lm_block.current].unshown = true;
    lm_in_warp(&lane, [](void **lanes) {
        for (int l = 0; l < LM_WARP; l++)
            for (int m = 0; m < 4; m++) memcpy((uint32_t *)((Lane *)lanes[m * 8 + l / 4])->row + l % 4, &((Lane *)lanes[l])->r[m], 4);
    });
}

static void lm_fence_async() { lm_stores[lm_block.current].unshown = false; }

static void lm_group_barrier(int group) {
    int t = lm_block.current;
    if (group != t % lm_block.threads / LM_GROUP_THREADS) lm_fail(LM_WRONG_BARRIER);
    lm_meet(lm_block.named[t / LM_GROUP_THREADS], LM_GROUP_THREADS, t % LM_GROUP_THREADS, nullptr, [](void **) {});
}

template <class... Place> static void lm_tma_store(const lm_tensor_map *map, const void *from, Place... at) {
    int t = lm_block.current, first = t / LM_GROUP_THREADS * LM_GROUP_THREADS;
    auto &q = lm_stores[t];
    int &n = q.counts[q.open % LM_STORES];
    if ((size_t)((const unsigned char *)from - lm_block.shared) % 1024) lm_fail(LM_UNALIGNED);
    for (int i = first; i < first + LM_GROUP_THREADS && i < lm_block.threads * lm_block.blocks; i++)
        if (lm_stores[i].unshown) lm_fail(LM_NOT_SHOWN);
    if (n == LM_STORES) lm_fail(LM_NEVER_WAITED);
    q.boxes[q.open % LM_STORES][n++] = {(unsigned char *)const_cast<void *>(from), map, nullptr, {(int64_t)at...}};
}

static void lm_tma_store_2d(const lm_tensor_map *map, const void *from, int x, int y) { lm_tma_store(map, from, x, y); }
static void lm_tma_store_3d(const lm_tensor_map *map, const void *from, int x, int y, int z) { lm_tma_store(map, from, x, y, z); }
static void lm_tma_store_4d(const lm_tensor_map *map, const void *from, int x, int y, int z, int w) { lm_tma_store(map, from, x, y, z, w); }
static void lm_tma_store_5d(const lm_tensor_map *map, const void *from, int x, int y, int z, int w, int v) {
    lm_tma_store(map, from, x, y, z, w, v);
}

static void lm_tma_store_commit() {
    auto &q = lm_stores[lm_block.current];
    if (++q.open - q.first == LM_STORES) lm_fail(LM_NEVER_WAITED);
    q.counts[q.open % LM_STORES] = 0;
}

template <int pending> static void lm_tma_store_wait() {
    auto &q = lm_stores[lm_block.current];
    for (; q.open - q.first > pending; q.first++)
        for (int i = 0; i < q.counts[q.first % LM_STORES]; i++) {
            const lm_box &box = q.boxes[q.first % LM_STORES][i];
            const int64_t count = lm_elements(*box.map), size = box.map->size;
            for (int64_t e = 0; e < count; e++)
                if (unsigned char *to = lm_element(box, e))
                    memcpy(to, lm_swizzled((size_t)(box.to - lm_block.shared) + (size_t)(e * size)), (size_t)size);
        }
}

static bool lm_stores_are_over(int t) { return lm_stores[t].open == lm_stores[t].first && !lm_stores[t].counts[lm_stores[t].open % LM_STORES]; }

static int64_t lm_matrix_descriptor(const void *start, int leading) {
    uint64_t at = (uint64_t)((const unsigned char *)start - lm_block.shared);
    return (int64_t)((at & 0x3ffff) >> 4 | (uint64_t)(leading >> 4) << 16 | (uint64_t)(1024 >> 4) << 32 | (uint64_t)1 << 62);
}

// Products under way. They are made when they are waited for: until then the sums are the old ones, and a stage that was given
// back too early holds something else.
enum lm_kind { LM_BF16, LM_F16, LM_TF32, LM_S8, LM_U8 };
struct lm_product { void *sums; int64_t a, b; const int32_t *registers; int columns; lm_kind left, right; bool a_turned, b_turned, fresh; };
enum { LM_PRODUCTS = 32, LM_PRODUCT_GROUPS = 8, LM_DEEPEST = 32 };
static struct { lm_product all[LM_PRODUCT_GROUPS][LM_PRODUCTS]; int counts[LM_PRODUCT_GROUPS]; unsigned first, open; } lm_products[LM_MOST_THREADS];

static void lm_start_products(int t) { lm_products[t].first = lm_products[t].open = 0, lm_products[t].counts[0] = 0; }

static int lm_size_of(lm_kind kind) { return kind == LM_TF32 ? 4 : kind <= LM_F16 ? 2 : 1; }

// Of bytes and of what else there is, a float is exact.
static float lm_matrix_element(int64_t descriptor, int row, int depth, bool turned, lm_kind kind) {
    size_t start = (size_t)(descriptor & 0x3fff) << 4, leading = (size_t)(descriptor >> 16 & 0x3fff) << 4;
    size_t pattern = (size_t)(descriptor >> 32 & 0x3fff) << 4;
    int size = lm_size_of(kind), block = 128 / size, across = turned ? row : depth, along = turned ? depth : row;
    size_t place = start + (size_t)(across / block) * leading + (size_t)(along / 8) * pattern + (size_t)(along % 8) * 128;
    const unsigned char *at = lm_swizzled(place + (size_t)(across % block) * (size_t)size);
    if (size == 1) return kind == LM_S8 ? (float)*(const int8_t *)at : (float)*at;
    uint16_t bits;
    float number;
    memcpy(size == 2 ? (void *)&bits : (void *)&number, at, (size_t)size);
    return size == 2 ? lm_half_bits(bits, kind == LM_BF16) : lm_upper_bits(number);
}

static void lm_add(float &sum, float x, float y) { sum += x * y; }
static void lm_add(uint32_t &sum, float x, float y) { sum += (uint32_t)((int)x * (int)y); } // wraps around

// A thread's share of a product.
template <class T> static void lm_add_products(const lm_product &q, int t, int depth, float left[64][LM_DEEPEST], float right[256][LM_DEEPEST]) {
    for (int e = 0; e < q.columns / 2; e++) {
        int row = t / 32 * 16 + t % 32 / 4 + (e >> 1 & 1) * 8, column = e / 4 * 8 + t % 4 * 2 + (e & 1);
        T sum = q.fresh ? 0 : ((T *)q.sums)[e];
        for (int k = 0; k < depth; k++) lm_add(sum, left[row][k], right[column][k]);
        ((T *)q.sums)[e] = sum;
    }
}

static void lm_make_products(int group_of_products, int first_thread) {
    static float left[64][LM_DEEPEST], right[256][LM_DEEPEST];
    auto &leader = lm_products[first_thread];
    for (int i = 0; i < leader.counts[group_of_products]; i++) {
        const lm_product p = leader.all[group_of_products][i];
        const int depth = 32 / lm_size_of(p.left);
        for (int r = 0; r < 64; r++)
            for (int k = 0; k < depth && !p.registers; k++) left[r][k] = lm_matrix_element(p.a, r, k, p.a_turned, p.left);
        for (int t = 0; t < LM_GROUP_THREADS && p.registers; t++)
            for (int e = 0; e < (p.left == LM_TF32 ? 4 : 8); e++) { // four registers of one or two elements
                const int32_t *given = lm_products[first_thread + t].all[group_of_products][i].registers;
                if (p.left == LM_TF32) {
                    float number;
                    memcpy(&number, &given[e], 4);
                    left[t / 32 * 16 + t % 32 / 4 + (e & 1) * 8][t % 4 + (e >> 1) * 4] = lm_upper_bits(number);
                    continue;
                }
                uint32_t pair = (uint32_t)given[e / 2];
                int row = t / 32 * 16 + t % 32 / 4 + (e >> 1 & 1) * 8, k = t % 4 * 2 + (e & 1) + (e >> 2) * 8;
                left[row][k] = lm_half_bits((uint16_t)(pair >> 16 * (e & 1)), p.left == LM_BF16);
            }
        for (int r = 0; r < p.columns; r++)
            for (int k = 0; k < depth; k++) right[r][k] = lm_matrix_element(p.b, r, k, p.b_turned, p.right);
        for (int t = 0; t < LM_GROUP_THREADS; t++) {
            const lm_product &q = lm_products[first_thread + t].all[group_of_products][i];
            if (q.a != p.a || q.b != p.b) lm_fail(LM_UNEQUAL);
            if (lm_size_of(p.left) == 1) lm_add_products<uint32_t>(q, t, depth, left, right);
            else lm_add_products<float>(q, t, depth, left, right);
        }
    }
}

static void lm_wgmma(const lm_product &p) {
    auto &q = lm_products[lm_block.current];
    int &n = q.counts[q.open % LM_PRODUCT_GROUPS];
    if (n == LM_PRODUCTS) lm_fail(LM_NEVER_WAITED);
    q.all[q.open % LM_PRODUCT_GROUPS][n++] = p;
}

template <int count> static void lm_hold(void *) {}
static void lm_wgmma_fence() {}

static void lm_wgmma_commit() {
    auto &q = lm_products[lm_block.current];
    if (++q.open - q.first == LM_PRODUCT_GROUPS) lm_fail(LM_NEVER_WAITED);
    q.counts[q.open % LM_PRODUCT_GROUPS] = 0;
}

template <int pending> static void lm_wgmma_wait() {
    int t = lm_block.current, first = t / LM_GROUP_THREADS * LM_GROUP_THREADS;
    lm_meet(lm_block.group[t / LM_GROUP_THREADS], LM_GROUP_THREADS, t - first, &first, [](void **given) {
        int first = *(int *)given[0];
        auto &leader = lm_products[first];
        for (; leader.open - leader.first > pending; leader.first++) lm_make_products((int)(leader.first % LM_PRODUCT_GROUPS), first);
        for (int i = 1; i < LM_GROUP_THREADS; i++) lm_products[first + i].first = leader.first;
    });
}

template <int count> static void lm_more_registers() {}
template <int count> static void lm_fewer_registers() {}

// ---- Launching

static uint32_t lm_random(uint32_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 17;
    return *state ^= *state << 5;
}

// A block, or all of a cluster, of which the first is that of blockIdx.
static int lm_run_block(int threads_of_block, uint32_t *seed) {
    static int order[LM_MOST_THREADS];
    const int threads = threads_of_block * lm_block.blocks;
    const unsigned first = blockIdx.x;
    lm_block.threads = threads_of_block;
    lm_block.alive = threads;
    lm_block.failed = LM_FINE;
    lm_block.cluster.here = 0;
    for (int &n : lm_block.alive_of) n = threads_of_block;
    for (lm_meeting &m : lm_block.all) m.here = 0;
    for (lm_meeting &m : lm_block.warp) m.here = 0;
    for (lm_meeting &m : lm_block.group) m.here = 0;
    for (lm_meeting &m : lm_block.named) m.here = 0;
    lm_barriers.count = lm_boxes.count = 0;
    for (int t = 0; t < threads; t++) {
        order[t] = t;
        lm_start(t);
    }
    if (*seed)
        for (int t = threads - 1; t > 0; t--) std::swap(order[t], order[lm_random(seed) % (unsigned)(t + 1)]);
    while (lm_block.alive) {
        lm_block.progress = false;
        for (int i = 0; i < threads; i++) {
            int t = order[i];
            if (lm_block.fiber[t].done) continue;
            lm_block.current = t;
            threadIdx = {(unsigned)(t % threads_of_block), 0, 0};
            blockIdx.x = first + (unsigned)lm_rank();
            lm_block.shared = lm_block.shared_of[lm_rank()];
            lm_switch(&lm_block.scheduler, lm_block.fiber[t].context);
            if (lm_block.failed) return lm_block.failed;
        }
        if (!lm_block.progress && lm_block.alive && lm_boxes.count) {
            int one = *seed ? (int)(lm_random(seed) % (unsigned)lm_boxes.count) : 0;
            const lm_box box = lm_boxes.all[one];
            lm_boxes.all[one] = lm_boxes.all[--lm_boxes.count];
            lm_bring_box(box);
            lm_block.progress = true;
        }
        if (!lm_block.progress && lm_block.alive) return LM_DEADLOCK;
    }
    for (int t = 0; t < threads; t++)
        if (!lm_stores_are_over(t)) return LM_NEVER_WAITED;
    return LM_FINE;
}

static bool lm_guards_are_whole(const unsigned char *memory, size_t size) {
    for (int i = 0; i < LM_GUARD; i++)
        if (memory[i] != 0xa5 || memory[LM_GUARD + size + i] != 0xa5) return false;
    return true;
}

// alone: the kernel's threads never wait for each other, so each runs to its end without a fiber.
static int lm_launch(void (*body)(void **), void **arguments, const unsigned *grid, int threads, size_t shared, uint32_t seed, bool alone, int cluster) {
    const size_t each = (2 * LM_GUARD + shared + 1023) / 1024 * 1024;
    unsigned char *base = (unsigned char *)aligned_alloc(1024, each * cluster);
    memset(base, 0xa5, each * cluster);
    lm_block.blocks = cluster;
    for (int rank = 0; rank < cluster; rank++) lm_block.shared_of[rank] = base + LM_GUARD + each * rank;
    lm_block.shared = lm_block.shared_of[0];
    lm_block.body = body;
    lm_block.arguments = arguments;
    size_t stacks = (size_t)LM_STACK * threads * cluster;
    lm_block.stacks = (unsigned char *)mmap(nullptr, stacks, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    blockDim = {(unsigned)threads, 1, 1};
    gridDim = {grid[0], grid[1], grid[2]};
    int status = LM_FINE;
    for (unsigned z = 0; z < grid[2] && !status; z++)
        for (unsigned y = 0; y < grid[1] && !status; y++)
            for (unsigned x = 0; x < grid[0] && !status; x += cluster) {
                blockIdx = {x, y, z};
                if (alone) {
                    for (int t = 0; t < threads; t++) {
                        threadIdx = {(unsigned)t, 0, 0};
                        body(arguments);
                    }
                    continue;
                }
                for (int rank = 0; rank < cluster; rank++) memset(lm_block.shared_of[rank], 0xff, shared);
                status = lm_run_block(threads, &seed);
                for (int rank = 0; rank < cluster; rank++)
                    if (!status && !lm_guards_are_whole(base + each * rank, shared)) status = LM_GUARD_HIT;
            }
    munmap(lm_block.stacks, stacks);
    free(base);
    return status;
}

// A pointer is given as it is, a larger parameter (a tensor map, a table of pointers) by its address.
template <class T> struct lm_argument { static T of(void *p) { return *(const T *)p; } };
template <class T> struct lm_argument<T *> { static T *of(void *p) { return (T *)p; } };
template <class... A, size_t... I> static void lm_apply(void (*f)(A...), void **a, std::index_sequence<I...>) { f(lm_argument<A>::of(a[I])...); }
template <class... A> static void lm_call(void (*f)(A...), void **a) { lm_apply(f, a, std::make_index_sequence<sizeof...(A)>()); }
