// Random numbers of the CPU, many at a time: the words of mt19937, and what PyTorch's kernels make of them, operation by operation as
// pyfront/draws.py and pyfront/gaussian.py spell it in numpy. An engine is numpy's own state: 624 words and the place of the next one.

#include <math.h>
#include <stdint.h>
#include <string.h>

enum { WORDS = 624, FAR = 397, BLOCKS = 64, PAIRS = 8 * BLOCKS };

struct engine {
    uint32_t key[WORDS];
    int next;
};

static inline uint32_t twisted(uint32_t here, uint32_t after, uint32_t far) {
    uint32_t y = (here & 0x80000000u) | (after & 0x7fffffffu);
    return far ^ (y >> 1) ^ ((0u - (y & 1u)) & 0x9908b0dfu);
}

static void refill(uint32_t *key) {
    for (int i = 0; i < WORDS - FAR; i++) key[i] = twisted(key[i], key[i + 1], key[i + FAR]);
    for (int i = WORDS - FAR; i < WORDS - 1; i++) key[i] = twisted(key[i], key[i + 1], key[i + FAR - WORDS]);
    key[WORDS - 1] = twisted(key[WORDS - 1], key[0], key[FAR - 1]);
}

static void draw(struct engine *engine, uint32_t *restrict out, int64_t n) {
    while (n > 0) {
        if (engine->next >= WORDS) {
            refill(engine->key);
            engine->next = 0;
        }
        const uint32_t *from = engine->key + engine->next;
        int64_t left = WORDS - engine->next, count = n < left ? n : left;
        for (int64_t i = 0; i < count; i++) {
            uint32_t y = from[i];
            y ^= y >> 11;
            y ^= (y << 7) & 0x9d2c5680u;
            y ^= (y << 15) & 0xefc60000u;
            out[i] = y ^ (y >> 18);
        }
        engine->next += (int)count;
        out += count;
        n -= count;
    }
}

// out[n]: `kept` where a 53-bit uniform is below bound / 2**53, else 0.
void lamina_draw_mask(void *engine, float *out, int64_t n, uint64_t bound, float kept) {
    uint32_t words[2 * PAIRS];
    while (n > 0) {
        int64_t count = n < PAIRS ? n : PAIRS;
        draw(engine, words, 2 * count);
        for (int64_t i = 0; i < count; i++) {
            uint64_t number = (uint64_t)(words[2 * i] & 0x1fffffu) << 32 | words[2 * i + 1];
            out[i] = number < bound ? kept : 0.0f;
        }
        out += count;
        n -= count;
    }
}

// out[n] in [0, 1): 24 low bits of a word.
void lamina_draw_singles(void *engine, float *out, int64_t n) {
    uint32_t words[2 * PAIRS];
    while (n > 0) {
        int64_t count = n < 2 * PAIRS ? n : 2 * PAIRS;
        draw(engine, words, count);
        for (int64_t i = 0; i < count; i++) out[i] = (float)(int32_t)(words[i] & 0xffffffu) * 0x1p-24f;
        out += count;
        n -= count;
    }
}

// out[n] in low ... low + span - 1: a word modulo the range.
void lamina_draw_integers(void *engine, int64_t *out, int64_t n, uint32_t span, int64_t low) {
    uint32_t words[2 * PAIRS];
    while (n > 0) {
        int64_t count = n < 2 * PAIRS ? n : 2 * PAIRS;
        draw(engine, words, count);
        for (int64_t i = 0; i < count; i++) out[i] = (int64_t)(words[i] % span) + low;
        out += count;
        n -= count;
    }
}

// out[n]: 0 ... n - 1, shuffled from the front, a word for each exchange.
void lamina_draw_permutation(void *engine, int64_t *out, int64_t n) {
    uint32_t words[2 * PAIRS];
    for (int64_t i = 0; i < n; i++) out[i] = i;
    for (int64_t begin = 0; begin < n - 1; begin += 2 * PAIRS) {
        int64_t count = n - 1 - begin < 2 * PAIRS ? n - 1 - begin : 2 * PAIRS;
        draw(engine, words, count);
        for (int64_t k = 0; k < count; k++) {
            int64_t i = begin + k, left = n - i, held = out[i];
            int64_t other = i + (left <= UINT32_MAX ? words[k] % (uint32_t)left : words[k]);
            out[i] = out[other];
            out[other] = held;
        }
    }
}

static double few_double(struct engine *engine) {
    uint32_t words[2];
    draw(engine, words, 2);
    return (double)(int64_t)((uint64_t)(words[0] & 0x1fffffu) << 32 | words[1]) * 0x1p-53;
}

// out[n] one by one; saved: the second number of the last pair, and whether there is one.
void lamina_draw_normals(void *engine, double *out, int64_t n, double mean, double std, double *saved) {
    for (int64_t i = 0; i < n; i++) {
        double sample = saved[0];
        if (saved[1] != 0.0)
            saved[1] = 0.0;
        else {
            double first = few_double(engine), second = few_double(engine);
            double radius = sqrt(-2.0 * log1p(-second)), angle = 2.0 * 3.141592653589793 * first;
            sample = radius * cos(angle);
            saved[0] = radius * sin(angle);
            saved[1] = 1.0;
        }
        out[i] = sample * std + mean;
    }
}

static inline int32_t bits_of(float x) {
    int32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static inline float float_of(int32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

// a * b + c: the product is exact in double precision.
static inline float fused(float a, float b, float c) { return __builtin_fmaf(a, b, c); }

static inline float logarithm(float x) {
    int32_t bits = bits_of(x);
    float exponent = (float)((bits >> 23) - 126);
    x = float_of((bits & 0x007fffff) | 0x3f000000);
    int small = x < 0.707106781186547524f;
    exponent -= small ? 1.0f : 0.0f;
    x = (x - 1.0f) + (small ? x : 0.0f);
    float square = x * x, y = 7.0376836292e-2f;
    y = fused(y, x, -1.1514610310e-1f);
    y = fused(y, x, 1.1676998740e-1f);
    y = fused(y, x, -1.2420140846e-1f);
    y = fused(y, x, 1.4249322787e-1f);
    y = fused(y, x, -1.6668057665e-1f);
    y = fused(y, x, 2.0000714765e-1f);
    y = fused(y, x, -2.4999993993e-1f);
    y = fused(y, x, 3.3333331174e-1f);
    y = fused(y * x, square, exponent * -2.12194440e-4f);
    return fused(exponent, 0.693359375f, x + fused(square, -0.5f, y));
}

static inline void sine_cosine(float x, float *sine, float *cosine) {
    int32_t octant = ((int32_t)(x * 1.27323954473516f) + 1) & ~1;
    float whole = (float)octant;
    x = fused(whole, -0.78515625f, x);
    x = fused(whole, -2.4187564849853515625e-4f, x);
    x = fused(whole, -3.77489497744594108e-8f, x);
    float square = x * x;
    float near_axis = fused(fused(2.443315711809948e-5f, square, -1.388731625493765e-3f), square, 4.166664568298827e-2f) * square;
    near_axis = fused(near_axis, square, -(square * 0.5f)) + 1.0f;
    float off_axis = fused(fused(-1.9515295891e-4f, square, 8.3321608736e-3f), square, -1.6666654611e-1f) * square;
    off_axis = fused(off_axis, x, x);
    int even = (octant & 2) == 0;
    *sine = float_of(bits_of(even ? off_axis : near_axis) ^ (int32_t)((uint32_t)(octant & 4) << 29));
    *cosine = float_of(bits_of(even ? near_axis : off_axis) ^ (int32_t)((uint32_t)(~(octant - 2) & 4) << 29));
}

// Blocks of 16 uniforms, in place: 8 cosine and 8 sine samples each.
void lamina_box_muller(float *values, int64_t blocks, float mean, float std) {
    float radius[PAIRS], angle[PAIRS], sine[PAIRS], cosine[PAIRS];
    while (blocks > 0) {
        int64_t count = blocks < BLOCKS ? blocks : BLOCKS;
        for (int64_t k = 0; k < count; k++) {
            memcpy(radius + 8 * k, values + 16 * k, 8 * sizeof *radius);
            memcpy(angle + 8 * k, values + 16 * k + 8, 8 * sizeof *angle);
        }
        for (int64_t i = 0; i < 8 * count; i++) {
            float r = sqrtf(-2.0f * logarithm(1.0f - radius[i]));
            float s, c;
            sine_cosine(6.283185307179586f * angle[i], &s, &c);
            cosine[i] = fused(r * c, std, mean);
            sine[i] = fused(r * s, std, mean);
        }
        for (int64_t k = 0; k < count; k++) {
            memcpy(values + 16 * k, cosine + 8 * k, 8 * sizeof *cosine);
            memcpy(values + 16 * k + 8, sine + 8 * k, 8 * sizeof *sine);
        }
        values += 16 * count;
        blocks -= count;
    }
}

// out[n], 16 numbers or more: each block of 16 uniforms becomes 8 cosine and 8 sine samples; the last 16 are drawn again, overlapping the block before.
void lamina_draw_blocks(void *engine, float *out, int64_t n, float mean, float std) {
    lamina_draw_singles(engine, out, n);
    lamina_box_muller(out, n / 16, mean, std);
    if (n % 16) {
        lamina_draw_singles(engine, out + n - 16, 16);
        lamina_box_muller(out + n - 16, 1, mean, std);
    }
}
