// The device's side of generated CUDA C++: types, and one function per op of the nv dialect. PTX stands only here.
// "//: name" starts a section; `head` is always printed, the others when they are called.

//: head
typedef signed char int8_t;
typedef unsigned char uint8_t;
typedef short int16_t;
typedef unsigned short uint16_t;
typedef int int32_t;
typedef unsigned uint32_t;
typedef long long int64_t;
typedef unsigned long long uint64_t;
#define INFINITY __int_as_float(0x7f800000)
#define NAN __int_as_float(0x7fffffff)
#define INT32_MIN (-2147483647 - 1)
#define INT64_C(n) n##ll
#define UINT64_C(n) n##ull
#define INT64_MIN (-9223372036854775807ll - 1)
#define LM_SHARED(name) extern __shared__ __align__(1024) unsigned char name[]

//: shuffle_xor
template <class T> __device__ __forceinline__ T lm_shuffle_xor(T x, int mask) { return __shfl_xor_sync(0xffffffffu, x, mask); }
template <> __device__ __forceinline__ bool lm_shuffle_xor(bool x, int mask) { return __shfl_xor_sync(0xffffffffu, (int)x, mask) != 0; }
template <> __device__ __forceinline__ int8_t lm_shuffle_xor(int8_t x, int mask) { return (int8_t)__shfl_xor_sync(0xffffffffu, (int)x, mask); }
template <> __device__ __forceinline__ int16_t lm_shuffle_xor(int16_t x, int mask) { return (int16_t)__shfl_xor_sync(0xffffffffu, (int)x, mask); }

//: ldmatrix
__device__ __forceinline__ void lm_ldmatrix(uint32_t *r, const void *row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"((uint32_t)__cvta_generic_to_shared(row))
                 : "memory");
}

//: ldmatrix_transposed
__device__ __forceinline__ void lm_ldmatrix_transposed(uint32_t *r, const void *row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"((uint32_t)__cvta_generic_to_shared(row))
                 : "memory");
}

//: cp_async
__device__ __forceinline__ void lm_cp_async(void *to, const void *from, bool inside) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
                 :: "r"((uint32_t)__cvta_generic_to_shared(to)), "l"(from), "r"(inside ? 16 : 0)
                 : "memory");
}

//: cp_async_commit
__device__ __forceinline__ void lm_cp_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }

//: cp_async_wait
template <int pending> __device__ __forceinline__ void lm_cp_async_wait() {
    asm volatile("cp.async.wait_group %0;" :: "n"(pending) : "memory");
}

//: mma_bf16
__device__ __forceinline__ void lm_mma_bf16(float *d, const uint32_t *a, const uint32_t *b, const float *c) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%10, %11, %12, %13};"
        : "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]), "f"(c[0]), "f"(c[1]), "f"(c[2]), "f"(c[3]));
}

//: mma_f16
__device__ __forceinline__ void lm_mma_f16(float *d, const uint32_t *a, const uint32_t *b, const float *c) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%10, %11, %12, %13};"
        : "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]), "f"(c[0]), "f"(c[1]), "f"(c[2]), "f"(c[3]));
}

//: mma_tf32
__device__ __forceinline__ void lm_mma_tf32(float *d, const float *a, const float *b, const float *c) {
    asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%10, %11, %12, %13};"
        : "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3])
        : "r"(__float_as_uint(a[0])), "r"(__float_as_uint(a[1])), "r"(__float_as_uint(a[2])), "r"(__float_as_uint(a[3])),
          "r"(__float_as_uint(b[0])), "r"(__float_as_uint(b[1])), "f"(c[0]), "f"(c[1]), "f"(c[2]), "f"(c[3]));
}

//: mma_s8_s8
__device__ __forceinline__ void lm_mma_s8_s8(int32_t *d, const int32_t *a, const int32_t *b, const int32_t *c) {
    asm("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%10, %11, %12, %13};"
        : "=r"(d[0]), "=r"(d[1]), "=r"(d[2]), "=r"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]), "r"(c[0]), "r"(c[1]), "r"(c[2]), "r"(c[3]));
}

//: mma_s8_u8
__device__ __forceinline__ void lm_mma_s8_u8(int32_t *d, const int32_t *a, const int32_t *b, const int32_t *c) {
    asm("mma.sync.aligned.m16n8k32.row.col.s32.s8.u8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%10, %11, %12, %13};"
        : "=r"(d[0]), "=r"(d[1]), "=r"(d[2]), "=r"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]), "r"(c[0]), "r"(c[1]), "r"(c[2]), "r"(c[3]));
}

//: mma_u8_s8
__device__ __forceinline__ void lm_mma_u8_s8(int32_t *d, const int32_t *a, const int32_t *b, const int32_t *c) {
    asm("mma.sync.aligned.m16n8k32.row.col.s32.u8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%10, %11, %12, %13};"
        : "=r"(d[0]), "=r"(d[1]), "=r"(d[2]), "=r"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]), "r"(c[0]), "r"(c[1]), "r"(c[2]), "r"(c[3]));
}

//: mma_u8_u8
__device__ __forceinline__ void lm_mma_u8_u8(int32_t *d, const int32_t *a, const int32_t *b, const int32_t *c) {
    asm("mma.sync.aligned.m16n8k32.row.col.s32.u8.u8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%10, %11, %12, %13};"
        : "=r"(d[0]), "=r"(d[1]), "=r"(d[2]), "=r"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]), "r"(c[0]), "r"(c[1]), "r"(c[2]), "r"(c[3]));
}

//: round_tf32
__device__ __forceinline__ float lm_round_tf32(float x) {
    uint32_t r;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(r) : "f"(x));
    return __uint_as_float(r);
}

//: to_bf16
__device__ __forceinline__ uint16_t lm_to_bf16(float x) {
#if __CUDA_ARCH__ >= 800
    uint32_t r; // two at a time is the faster instruction
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(0.0f), "f"(x));
    return (uint16_t)r;
#else
    const uint32_t b = __float_as_uint(x);
    return (uint16_t)(x != x ? 0x7fff : (b + 0x7fff + ((b >> 16) & 1)) >> 16);
#endif
}

//: from_f16
__device__ __forceinline__ float lm_from_f16(uint16_t h) {
    float r;
    asm("cvt.f32.f16 %0, %1;" : "=f"(r) : "h"(h));
    return r;
}

//: to_f16
__device__ __forceinline__ uint16_t lm_to_f16(float x) {
#if __CUDA_ARCH__ >= 800
    uint32_t r; // as for bf16
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(0.0f), "f"(x));
    return (uint16_t)r;
#else
    uint16_t r;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(r) : "f"(x));
    return r;
#endif
}

//: exp2
__device__ __forceinline__ float lm_exp2(float x) {
    float r;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(x));
    return r;
}

//: max_nan
__device__ __forceinline__ float lm_max_nan(float a, float b) {
#if __CUDA_ARCH__ >= 800
    float r;
    asm("max.NaN.f32 %0, %1, %2;" : "=f"(r) : "f"(a), "f"(b));
    return r;
#else
    return a > b || a != a ? a : b;
#endif
}

//: min_nan
__device__ __forceinline__ float lm_min_nan(float a, float b) {
#if __CUDA_ARCH__ >= 800
    float r;
    asm("min.NaN.f32 %0, %1, %2;" : "=f"(r) : "f"(a), "f"(b));
    return r;
#else
    return a < b || a != a ? a : b;
#endif
}

//: pack_bf16
__device__ __forceinline__ uint32_t lm_pack_bf16(float low, float high) {
    uint32_t r;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(high), "f"(low));
    return r;
}

//: pack_f16
__device__ __forceinline__ uint32_t lm_pack_f16(float low, float high) {
    uint32_t r;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(high), "f"(low));
    return r;
}

//: tensor_map
struct __align__(128) lm_tensor_map { uint64_t words[16]; };

//: tma_load_2d
__device__ __forceinline__ void lm_tma_load_2d(void *to, const lm_tensor_map *map, int64_t *barrier, int x, int y) {
    asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4}], [%2];"
                 :: "r"((uint32_t)__cvta_generic_to_shared(to)), "l"(map), "r"((uint32_t)__cvta_generic_to_shared(barrier)),
                    "r"(x), "r"(y)
                 : "memory");
}

//: tma_load_3d
__device__ __forceinline__ void lm_tma_load_3d(void *to, const lm_tensor_map *map, int64_t *barrier, int x, int y, int z) {
    asm volatile("cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5}], [%2];"
                 :: "r"((uint32_t)__cvta_generic_to_shared(to)), "l"(map), "r"((uint32_t)__cvta_generic_to_shared(barrier)),
                    "r"(x), "r"(y), "r"(z)
                 : "memory");
}

//: tma_load_4d
__device__ __forceinline__ void lm_tma_load_4d(void *to, const lm_tensor_map *map, int64_t *barrier, int x, int y, int z, int w) {
    asm volatile("cp.async.bulk.tensor.4d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5, %6}], [%2];"
                 :: "r"((uint32_t)__cvta_generic_to_shared(to)), "l"(map), "r"((uint32_t)__cvta_generic_to_shared(barrier)),
                    "r"(x), "r"(y), "r"(z), "r"(w)
                 : "memory");
}

//: tma_load_5d
__device__ __forceinline__ void lm_tma_load_5d(void *to, const lm_tensor_map *map, int64_t *barrier, int x, int y, int z, int w, int v) {
    asm volatile("cp.async.bulk.tensor.5d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5, %6, %7}], [%2];"
                 :: "r"((uint32_t)__cvta_generic_to_shared(to)), "l"(map), "r"((uint32_t)__cvta_generic_to_shared(barrier)),
                    "r"(x), "r"(y), "r"(z), "r"(w), "r"(v)
                 : "memory");
}

//: tma_load_2d_cluster
__device__ __forceinline__ void lm_tma_load_2d_cluster(void *to, const lm_tensor_map *map, int64_t *barrier, int blocks, int x, int y) {
    asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes.multicast::cluster [%0], [%1, {%4, %5}], [%2], %3;"
                 :: "r"((uint32_t)__cvta_generic_to_shared(to)), "l"(map), "r"((uint32_t)__cvta_generic_to_shared(barrier)),
                    "h"((uint16_t)blocks), "r"(x), "r"(y)
                 : "memory");
}

//: tma_load_3d_cluster
__device__ __forceinline__ void lm_tma_load_3d_cluster(void *to, const lm_tensor_map *map, int64_t *barrier, int blocks, int x, int y, int z) {
    asm volatile("cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes.multicast::cluster [%0], [%1, {%4, %5, %6}], [%2], %3;"
                 :: "r"((uint32_t)__cvta_generic_to_shared(to)), "l"(map), "r"((uint32_t)__cvta_generic_to_shared(barrier)),
                    "h"((uint16_t)blocks), "r"(x), "r"(y), "r"(z)
                 : "memory");
}

//: tma_load_4d_cluster
__device__ __forceinline__ void lm_tma_load_4d_cluster(void *to, const lm_tensor_map *map, int64_t *barrier, int blocks, int x, int y, int z, int w) {
    asm volatile("cp.async.bulk.tensor.4d.shared::cluster.global.tile.mbarrier::complete_tx::bytes.multicast::cluster [%0], [%1, {%4, %5, %6, %7}], [%2], %3;"
                 :: "r"((uint32_t)__cvta_generic_to_shared(to)), "l"(map), "r"((uint32_t)__cvta_generic_to_shared(barrier)),
                    "h"((uint16_t)blocks), "r"(x), "r"(y), "r"(z), "r"(w)
                 : "memory");
}

//: tma_load_5d_cluster
__device__ __forceinline__ void lm_tma_load_5d_cluster(void *to, const lm_tensor_map *map, int64_t *barrier, int blocks, int x, int y, int z, int w, int v) {
    asm volatile("cp.async.bulk.tensor.5d.shared::cluster.global.tile.mbarrier::complete_tx::bytes.multicast::cluster [%0], [%1, {%4, %5, %6, %7, %8}], [%2], %3;"
                 :: "r"((uint32_t)__cvta_generic_to_shared(to)), "l"(map), "r"((uint32_t)__cvta_generic_to_shared(barrier)),
                    "h"((uint16_t)blocks), "r"(x), "r"(y), "r"(z), "r"(w), "r"(v)
                 : "memory");
}

//: mbarrier_arrive_at
/* Says that reads have ended and hands over nothing that was written: a release for the cluster would wait for all memory of the GPU. */
__device__ __forceinline__ void lm_mbarrier_arrive_at(int64_t *barrier, int rank) {
    asm volatile("{\n.reg .b32 at;\nmapa.shared::cluster.u32 at, %0, %1;\nmbarrier.arrive.relaxed.cluster.shared::cluster.b64 _, [at];\n}"
                 :: "r"((uint32_t)__cvta_generic_to_shared(barrier)), "r"(rank) : "memory");
}

//: cluster_barrier
__device__ __forceinline__ void lm_cluster_barrier() {
    asm volatile("barrier.cluster.arrive.release;\nbarrier.cluster.wait.acquire;" ::: "memory");
}

//: tma_store_2d
__device__ __forceinline__ void lm_tma_store_2d(const lm_tensor_map *map, const void *from, int x, int y) {
    asm volatile("cp.async.bulk.tensor.2d.global.shared::cta.tile.bulk_group [%0, {%2, %3}], [%1];"
                 :: "l"(map), "r"((uint32_t)__cvta_generic_to_shared(from)), "r"(x), "r"(y) : "memory");
}

//: tma_store_3d
__device__ __forceinline__ void lm_tma_store_3d(const lm_tensor_map *map, const void *from, int x, int y, int z) {
    asm volatile("cp.async.bulk.tensor.3d.global.shared::cta.tile.bulk_group [%0, {%2, %3, %4}], [%1];"
                 :: "l"(map), "r"((uint32_t)__cvta_generic_to_shared(from)), "r"(x), "r"(y), "r"(z) : "memory");
}

//: tma_store_4d
__device__ __forceinline__ void lm_tma_store_4d(const lm_tensor_map *map, const void *from, int x, int y, int z, int w) {
    asm volatile("cp.async.bulk.tensor.4d.global.shared::cta.tile.bulk_group [%0, {%2, %3, %4, %5}], [%1];"
                 :: "l"(map), "r"((uint32_t)__cvta_generic_to_shared(from)), "r"(x), "r"(y), "r"(z), "r"(w) : "memory");
}

//: tma_store_5d
__device__ __forceinline__ void lm_tma_store_5d(const lm_tensor_map *map, const void *from, int x, int y, int z, int w, int v) {
    asm volatile("cp.async.bulk.tensor.5d.global.shared::cta.tile.bulk_group [%0, {%2, %3, %4, %5, %6}], [%1];"
                 :: "l"(map), "r"((uint32_t)__cvta_generic_to_shared(from)), "r"(x), "r"(y), "r"(z), "r"(w), "r"(v) : "memory");
}

//: tma_store_commit
__device__ __forceinline__ void lm_tma_store_commit() { asm volatile("cp.async.bulk.commit_group;" ::: "memory"); }

//: tma_store_wait
template <int pending> __device__ __forceinline__ void lm_tma_store_wait() {
    asm volatile("cp.async.bulk.wait_group.read %0;" :: "n"(pending) : "memory");
}

//: fence_async
__device__ __forceinline__ void lm_fence_async() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

//: group_barrier
__device__ __forceinline__ void lm_group_barrier(int group) { asm volatile("bar.sync %0, 128;" :: "r"(group + 1) : "memory"); }

//: stmatrix
__device__ __forceinline__ void lm_stmatrix(const uint32_t *r, void *row) {
    asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};"
                 :: "r"((uint32_t)__cvta_generic_to_shared(row)), "r"(r[0]), "r"(r[1]), "r"(r[2]), "r"(r[3])
                 : "memory");
}

//: mbarrier_init
__device__ __forceinline__ void lm_mbarrier_init(int64_t *barrier, int count) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" :: "r"((uint32_t)__cvta_generic_to_shared(barrier)), "r"(count) : "memory");
}

//: mbarrier_expect
__device__ __forceinline__ void lm_mbarrier_expect(int64_t *barrier, int bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;"
                 :: "r"((uint32_t)__cvta_generic_to_shared(barrier)), "r"(bytes) : "memory");
}

//: mbarrier_arrive
__device__ __forceinline__ void lm_mbarrier_arrive(int64_t *barrier) {
    asm volatile("mbarrier.arrive.release.cta.shared::cta.b64 _, [%0];" :: "r"((uint32_t)__cvta_generic_to_shared(barrier)) : "memory");
}

//: mbarrier_wait
__device__ __forceinline__ void lm_mbarrier_wait(int64_t *barrier, int parity) {
    const uint32_t at = (uint32_t)__cvta_generic_to_shared(barrier);
    uint32_t over;
    do
        asm volatile("{\n.reg .pred p;\nmbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\nselp.u32 %0, 1, 0, p;\n}"
                     : "=r"(over) : "r"(at), "r"(parity) : "memory");
    while (!over);
}

//: mbarrier_wait_cluster
__device__ __forceinline__ void lm_mbarrier_wait_cluster(int64_t *barrier, int parity) {
    const uint32_t at = (uint32_t)__cvta_generic_to_shared(barrier);
    uint32_t over;
    do
        asm volatile("{\n.reg .pred p;\nmbarrier.try_wait.parity.relaxed.cluster.shared::cta.b64 p, [%1], %2;\nselp.u32 %0, 1, 0, p;\n}"
                     : "=r"(over) : "r"(at), "r"(parity) : "memory");
    while (!over);
}

//: fence_barrier_init
__device__ __forceinline__ void lm_fence_barrier_init() { asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"); }

//: matrix_descriptor
__device__ __forceinline__ int64_t lm_matrix_descriptor(const void *start, int leading) {
    const uint64_t at = (uint32_t)__cvta_generic_to_shared(start);
    // address, bytes between blocks, bytes between patterns of eight rows (each / 16), and the 128-byte swizzle
    return (int64_t)((at & 0x3ffff) >> 4 | (uint64_t)(leading >> 4) << 16 | (uint64_t)(1024 >> 4) << 32 | (uint64_t)1 << 62);
}

//: hold
// What registers hold is computed before this and read behind it: the compiler knows what wgmma does to memory, not that it goes on in them.
template <int count> __device__ __forceinline__ void lm_hold(float *d) {
#pragma unroll
    for (int i = 0; i < count; i++) asm volatile("" : "+f"(d[i]) :: "memory");
}
template <int count> __device__ __forceinline__ void lm_hold(int32_t *d) {
#pragma unroll
    for (int i = 0; i < count; i++) asm volatile("" : "+r"(d[i]) :: "memory");
}

//: wgmma_fence
__device__ __forceinline__ void lm_wgmma_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }

//: wgmma_commit
__device__ __forceinline__ void lm_wgmma_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }

//: wgmma_wait
template <int pending> __device__ __forceinline__ void lm_wgmma_wait() {
    asm volatile("wgmma.wait_group.sync.aligned %0;" :: "n"(pending) : "memory");
}

//: more_registers
template <int count> __device__ __forceinline__ void lm_more_registers() { asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" :: "n"(count)); }

//: fewer_registers
template <int count> __device__ __forceinline__ void lm_fewer_registers() { asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" :: "n"(count)); }
