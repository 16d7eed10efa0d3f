/* The three steps of `quotient` (lowering/c_helpers.c) in scalars, on the numerators that could go wrong.

   Significands of 24 bits as integers A and B. With y the rounded inverse of B, what is rounded last lies within 2^-46 of A / B (B <= A: 2^-47),
   for a quotient between 1/2 and 1 (1 and 2). So it can only be rounded to another number where A / B is that close to the middle of two
   neighbours, M / 2^25 (M / 2^24) for a whole M: where |A * 2^25 - B * M| < 8 (|A * 2^24 - B * M| < 2). These A are found by the inverse of a
   power of two modulo B; all below 32 are gone through. An argument N takes every Nth divisor only. */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

enum { NEAR = 32 };

static long tested, wrong;

static void try_one(int64_t A, int64_t B) {
    float a = (float)A, b = (float)B, y = 1.0f / b;
    float near = a * y, q = fmaf(fmaf(b, near, -a), -y, near);
    tested++;
    if (q != a / b && wrong++ < 10) printf("%ld / %ld\n", (long)A, (long)B);
}

static int64_t inverse_modulo(int64_t x, int64_t m) {
    int64_t a = x % m, b = m, u = 1, v = 0;
    while (b) {
        int64_t t = a / b, next = a - t * b, w = u - t * v;
        a = b, b = next, u = v, v = w;
    }
    return (u % m + m) % m;
}

int main(int count, char **arguments) {
    int64_t step = count > 1 ? atoi(arguments[1]) : 1, least = 1 << 23, end = 1 << 24;
    for (int64_t B = least; B < end; B += step) {
        int even = __builtin_ctzll((unsigned long long)B); /* then only multiples of 2^even are differences */
        int64_t odd = B >> even;
        if (odd == 1 || NEAR >> even == 0) continue;
        for (int shift = 24; shift <= 25; shift++) {
            int64_t inverse = inverse_modulo(((int64_t)1 << (shift - even)) % odd, odd);
            for (int64_t d = -(NEAR >> even); d <= NEAR >> even; d++) {
                int64_t A = (d * inverse % odd + odd) % odd;
                for (A += (least - A + odd - 1) / odd * odd; A < end; A += odd)
                    if ((A < B) == (shift == 25)) try_one(A, B);
            }
        }
    }
    printf("%ld tested, %ld wrong\n", tested, wrong);
    return wrong != 0;
}
