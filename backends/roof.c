/* The roof of a machine, for one thread: multiply-adds per second, and bytes per second read and written at a size. */
#define _POSIX_C_SOURCE 199309L
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#ifndef LANES
#define LANES 4
#endif
typedef float vector __attribute__((vector_size(4 * LANES)));
typedef float unaligned __attribute__((vector_size(4 * LANES), aligned(4)));

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Operations per second: twelve chains of multiply-adds, more than a processor has latency for. */
double lamina_roof_operations(float *seed, int64_t rounds) {
    vector x = *(unaligned *)seed, y = x * 0.5f, a[12];
    for (int k = 0; k < 12; k++) a[k] = x * (float)k;
    vector a0 = a[0], a1 = a[1], a2 = a[2], a3 = a[3], a4 = a[4], a5 = a[5];
    vector a6 = a[6], a7 = a[7], a8 = a[8], a9 = a[9], a10 = a[10], a11 = a[11];
    double start = now();
    for (int64_t i = 0; i < rounds; i++) {
        a0 = a0 * y + x, a1 = a1 * y + x, a2 = a2 * y + x, a3 = a3 * y + x, a4 = a4 * y + x, a5 = a5 * y + x;
        a6 = a6 * y + x, a7 = a7 * y + x, a8 = a8 * y + x, a9 = a9 * y + x, a10 = a10 * y + x, a11 = a11 * y + x;
    }
    double seconds = now() - start;
    *(unaligned *)seed = a0 + a1 + a2 + a3 + a4 + a5 + a6 + a7 + a8 + a9 + a10 + a11;
    return 2.0 * 12 * LANES * (double)rounds / seconds;
}

/* Bytes per second: two arrays are read and a third written, all of them `count` floats. */
double lamina_roof_bytes(float *a, float *b, float *c, int64_t count, int64_t rounds) {
    double start = now();
    for (int64_t r = 0; r < rounds; r++) {
        for (int64_t i = 0; i + LANES <= count; i += LANES)
            *(unaligned *)(c + i) = *(unaligned *)(a + i) + *(unaligned *)(b + i) * (float)r;
        float *t = a;
        a = c, c = t; /* no round is like the last one */
    }
    return 12.0 * (double)count * (double)rounds / (now() - start);
}
