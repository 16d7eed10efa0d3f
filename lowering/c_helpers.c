// Helper functions of generated C, as templates: only those a program calls are printed into it.
//
// "//: name form [elements]" starts a section. form: vector, scalar or any (both). In a section VEC is the value type
// (f32x16, or float in scalar form), ELT its element (float), SIGNED and UNSIGNED the integers of the same width and lanes,
// NARROW the uint16 value of the same lanes, LANES and BITS numbers; exp_VEC( becomes exp_f32x16(. Of f32, HALF is half of the lanes, WIDE
// as many doubles, LOWER and UPPER are the lanes' numbers.
// A function without a scalar form is called on four equal lanes: a scalar and a lane are the same bit for bit.

//: splat vector
VEC splat_VEC(ELT x) { return x - (VEC){0}; }

//: select vector
VEC select_VEC(SIGNED mask, VEC a, VEC b) { return (VEC)(((SIGNED)a & mask) | ((SIGNED)b & ~mask)); }

//: first vector
// The first n lanes, as a mask.
VEC first_VEC(ELT n) {
    VEC k = {0};
    for (int i = 0; i < LANES; i++) k[i] = i;
    return k < splat_VEC(n);
}

//: load_part vector
// The first n lanes from memory, the others those of rest.
VEC load_part_VEC(const void *p, VEC rest, int64_t n) {
#ifdef X86_LOADPART_VEC
    return (VEC)X86_LOADPART_VEC(p, rest, n);
#else
    __builtin_memcpy(&rest, p, (size_t)(n < LANES ? n : LANES) * sizeof(ELT));
    return rest;
#endif
}

//: store_part vector
// The first n lanes to memory.
void store_part_VEC(void *p, VEC x, int64_t n) {
#ifdef X86_STOREPART_VEC
    X86_STOREPART_VEC(p, x, n);
#else
    __builtin_memcpy(p, &x, (size_t)(n < LANES ? n : LANES) * sizeof(ELT));
#endif
}

//: fma vector
VEC fma_VEC(VEC a, VEC b, VEC c) {
#if defined(HAS_VECTOR_FMA)
    return __builtin_elementwise_fma(a, b, c);
#elif defined(X86_FMA_VEC)
    return X86_FMA_VEC(a, b, c);
#elif defined(HAS_FMA)
    VEC y = c;
    for (int i = 0; i < LANES; i++) y[i] = FMA_ELT(a[i], b[i], c[i]);
    return y;
#else
    return a * b + c;
#endif
}

//: fma scalar
ELT fma_ELT(ELT a, ELT b, ELT c) {
#ifdef HAS_FMA
    return FMA_ELT(a, b, c);
#else
    return a * b + c;
#endif
}

//: inverse vector f32
// 1 / b for quotient; not a number where b is not one that it may divide by so.
VEC inverse_VEC(VEC b) { return select_VEC((b >= 0x1p-20f) & (b <= 0x1p40f), 1.0f / b, splat_VEC(NAN)); }

//: quotient vector f32
// a / b, bit for bit, for a b that stays the same and its inverse y: a * y is nearly the quotient, and what is left of a, exact for
// these exponents, corrects it. Zeros come out with their sign; what is too small or not a number then is divided after all.
VEC quotient_VEC(VEC a, VEC b, VEC y) {
#ifdef X86_DOUBTFUL_VEC
    VEC near = a * y, q = fma_VEC(fma_VEC(b, near, -a), -y, near);
    if (__builtin_expect(X86_DOUBTFUL_VEC(a, q), 0)) q = a / b;
    return q;
#else
    (void)y;
    return a / b;
#endif
}

//: larger vector
// a > b ? a : b
VEC larger_VEC(VEC a, VEC b) {
#ifdef X86_MAX_VEC
    return X86_MAX_VEC(a, b);
#else
    return select_VEC(a > b, a, b);
#endif
}

//: smaller vector
// a < b ? a : b
VEC smaller_VEC(VEC a, VEC b) {
#ifdef X86_MIN_VEC
    return X86_MIN_VEC(a, b);
#else
    return select_VEC(a < b, a, b);
#endif
}

//: larger scalar
ELT larger_ELT(ELT a, ELT b) { return a > b ? a : b; }

//: smaller scalar
ELT smaller_ELT(ELT a, ELT b) { return a < b ? a : b; }

//: maximum vector f32
VEC maximum_VEC(VEC a, VEC b) {
#ifdef X86_MAXIMUM_VEC
    return X86_MAXIMUM_VEC(a, b);
#else
    return select_VEC(a != a, a, larger_VEC(a, b));
#endif
}

//: minimum vector f32
VEC minimum_VEC(VEC a, VEC b) {
#ifdef X86_MINIMUM_VEC
    return X86_MINIMUM_VEC(a, b);
#else
    return select_VEC(a != a, a, smaller_VEC(a, b));
#endif
}

//: maximum vector
VEC maximum_VEC(VEC a, VEC b) { return select_VEC((a > b) | (a != a), a, b); }

//: maximum scalar
ELT maximum_ELT(ELT a, ELT b) { return a > b || a != a ? a : b; }

//: minimum vector
VEC minimum_VEC(VEC a, VEC b) { return select_VEC((a < b) | (a != a), a, b); }

//: minimum scalar
ELT minimum_ELT(ELT a, ELT b) { return a < b || a != a ? a : b; }

//: maxnum vector
VEC maxnum_VEC(VEC a, VEC b) { return select_VEC((a > b) | (b != b), a, b); }

//: maxnum scalar
ELT maxnum_ELT(ELT a, ELT b) { return a > b || b != b ? a : b; }

//: minnum vector
VEC minnum_VEC(VEC a, VEC b) { return select_VEC((a < b) | (b != b), a, b); }

//: minnum scalar
ELT minnum_ELT(ELT a, ELT b) { return a < b || b != b ? a : b; }

//: imax vector
VEC imax_VEC(VEC a, VEC b) { return (VEC)select_VEC((SIGNED)(a > b), a, b); }

//: imax scalar
ELT imax_ELT(ELT a, ELT b) { return a > b ? a : b; }

//: imin vector
VEC imin_VEC(VEC a, VEC b) { return (VEC)select_VEC((SIGNED)(a < b), a, b); }

//: imin scalar
ELT imin_ELT(ELT a, ELT b) { return a < b ? a : b; }

//: divide scalar signed
ELT divide_ELT(ELT a, ELT b) { return b == 0 ? 0 : b == -1 ? (ELT)(0 - (UNSIGNED)a) : (ELT)(a / b); }

//: divide scalar unsigned
ELT divide_ELT(ELT a, ELT b) { return b == 0 ? 0 : (ELT)(a / b); }

//: remainder scalar signed
ELT remainder_ELT(ELT a, ELT b) { return b == 0 || b == -1 ? 0 : (ELT)(a % b); }

//: remainder scalar unsigned
ELT remainder_ELT(ELT a, ELT b) { return b == 0 ? 0 : (ELT)(a % b); }

//: floordiv scalar signed
ELT floordiv_ELT(ELT a, ELT b) {
    ELT q = divide_ELT(a, b);
    return (ELT)(q - (b != 0 && (ELT)((UNSIGNED)a - (UNSIGNED)q * (UNSIGNED)b) != 0 && (a < 0) != (b < 0)));
}

//: ceildiv scalar signed
ELT ceildiv_ELT(ELT a, ELT b) {
    ELT q = divide_ELT(a, b);
    return (ELT)(q + (b != 0 && (ELT)((UNSIGNED)a - (UNSIGNED)q * (UNSIGNED)b) != 0 && (a < 0) == (b < 0)));
}

//: ceildiv scalar unsigned
ELT ceildiv_ELT(ELT a, ELT b) { return b == 0 ? 0 : (ELT)(a / b + (a % b != 0)); }

//: shl scalar
ELT shl_ELT(ELT a, ELT s) { return (UNSIGNED)s >= BITS ? 0 : (ELT)((UNSIGNED)a << s); }

//: shr scalar signed
ELT shr_ELT(ELT a, ELT s) { return (ELT)(a >> ((UNSIGNED)s >= BITS ? BITS - 1 : s)); }

//: shr scalar unsigned
ELT shr_ELT(ELT a, ELT s) { return s >= BITS ? 0 : (ELT)(a >> s); }

//: from_bf16 vector
VEC from_bf16_VEC(NARROW h) { return (VEC)(__builtin_convertvector(h, UNSIGNED) << 16); }

//: from_bf16 scalar
ELT from_bf16_ELT(uint16_t h) {
    union { UNSIGNED bits; ELT value; } u = {(UNSIGNED)h << 16};
    return u.value;
}

//: to_bf16 vector
NARROW to_bf16_VEC(VEC x) {
    UNSIGNED b = (UNSIGNED)x;
    UNSIGNED rounded = (b + 0x7fff + ((b >> 16) & 1)) >> 16;
    UNSIGNED nan = (UNSIGNED)(x != x);
    return __builtin_convertvector((((b >> 16) | 0x40) & nan) | (rounded & ~nan), NARROW);
}

//: to_bf16 scalar
uint16_t to_bf16_ELT(ELT x) {
    union { ELT value; UNSIGNED bits; } u = {x};
    return (uint16_t)(x != x ? (u.bits >> 16) | 0x40 : (u.bits + 0x7fff + ((u.bits >> 16) & 1)) >> 16);
}

//: from_f16 vector
VEC from_f16_VEC(NARROW h) {
#ifdef X86_FROMHALF_VEC
    return X86_FROMHALF_VEC(h);
#else
    UNSIGNED b = __builtin_convertvector(h, UNSIGNED), a = (b & 0x7fff) << 13;
    UNSIGNED special = (UNSIGNED)((b & 0x7c00) == 0x7c00);
    UNSIGNED finite = (UNSIGNED)((VEC)a * 0x1p112f);
    return (VEC)(((a | 0x7f800000) & special) | (finite & ~special) | ((b & 0x8000) << 16));
#endif
}

//: from_f16 scalar
ELT from_f16_ELT(uint16_t h) {
#ifdef X86_FROMHALF
    return X86_FROMHALF(h);
#else
    union { UNSIGNED bits; ELT value; } u = {((UNSIGNED)h & 0x7fff) << 13};
    if ((h & 0x7c00) == 0x7c00) u.bits |= 0x7f800000;
    else u.value *= 0x1p112f;
    u.bits |= ((UNSIGNED)h & 0x8000) << 16;
    return u.value;
#endif
}

//: to_f16 vector
NARROW to_f16_VEC(VEC x) {
#ifdef X86_TOHALF_VEC
    return X86_TOHALF_VEC(x);
#else
    UNSIGNED b = (UNSIGNED)x, a = b & 0x7fffffff;
    UNSIGNED normal = (a - 0x38000000 + 0xfff + ((a >> 13) & 1)) >> 13;
    UNSIGNED small = (UNSIGNED)((VEC)a + 0.5f) - 0x3f000000;
    UNSIGNED is_small = (UNSIGNED)(a < 0x38800000), is_large = (UNSIGNED)(a >= 0x477ff000);
    UNSIGNED large = 0x7c00 | ((UNSIGNED)(x != x) & 0x0200);
    UNSIGNED y = (small & is_small) | (large & is_large) | (normal & ~is_small & ~is_large);
    return __builtin_convertvector(y | ((b >> 16) & 0x8000), NARROW);
#endif
}

//: to_f16 scalar
uint16_t to_f16_ELT(ELT x) {
#ifdef X86_TOHALF
    return X86_TOHALF(x);
#else
    union { ELT value; UNSIGNED bits; } u = {x}, small;
    UNSIGNED sign = (u.bits >> 16) & 0x8000, a = u.bits & 0x7fffffff;
    if (a >= 0x477ff000) return (uint16_t)(sign | 0x7c00 | (x != x ? 0x0200 : 0));
    if (a >= 0x38800000) return (uint16_t)(sign | ((a - 0x38000000 + 0xfff + ((a >> 13) & 1)) >> 13));
    small.bits = a;
    small.value += 0.5f;
    return (uint16_t)(sign | (small.bits - 0x3f000000));
#endif
}

//: round_bf16 vector
VEC round_bf16_VEC(VEC x) {
    UNSIGNED b = (UNSIGNED)x;
    UNSIGNED rounded = b + 0x7fff + ((b >> 16) & 1);
    UNSIGNED nan = (UNSIGNED)(x != x);
    return (VEC)((((b | 0x400000) & nan) | (rounded & ~nan)) & 0xffff0000);
}

//: round_bf16 scalar
ELT round_bf16_ELT(ELT x) { return from_bf16_ELT(to_bf16_ELT(x)); }

//: round_f16 any
VEC round_f16_VEC(VEC x) { return from_f16_VEC(to_f16_VEC(x)); }

//: stream vector f32
// Past the caches where the machine can and the place is aligned.
void stream_VEC(ELT *p, VEC x) {
#ifdef X86_STREAM_VEC
    if ((uintptr_t)p % sizeof x == 0) {
        X86_STREAM_VEC(p, x);
        return;
    }
#endif
    __builtin_memcpy(p, &x, sizeof x);
}

//: fence vector f32
// Other threads see what was streamed.
void fence_VEC(void) {
#ifdef X86_STREAM_VEC
    __builtin_ia32_sfence();
#endif
}

//: fraction vector f32
// What a number is added to so that it is rounded to a multiple of a sixteenth, or to a whole one where no register holds a table of 16.
VEC fraction_VEC(void) {
#ifdef HAS_LOOKUP
    return splat_VEC(786432.0f);
#else
    return splat_VEC(12582912.0f);
#endif
}

//: scaled vector f32
// r * 2^floor(j), rounded once, for t = j + fraction: the form in which ranges are reduced here. 0 where x < least, and not by
// rounding: a processor takes some twenty times as long for a result that is too small, and masks give many of them.
VEC scaled_VEC(VEC r, VEC t, VEC x, VEC least) {
#ifdef X86_SCALE_VEC
    return X86_SCALE_VEC(r, t - fraction_VEC(), x, least);
#else
#ifdef HAS_LOOKUP
    SIGNED n = ((SIGNED)t - 0x49400000) >> 4, half = n >> 1;
#else
    SIGNED n = (SIGNED)t - 0x4b400000, half = n >> 1;
#endif
    r = (VEC)((SIGNED)r & ~(SIGNED)(x < least));
    return r * (VEC)((half + 127) << 23) * (VEC)((n - half + 127) << 23);
#endif
}

//: power vector f32
// 2^(j - floor(j)) * exp(f) for t = j + fraction and an f of at most half its steps: by a table of the first factor, or one polynomial.
VEC power_VEC(VEC t, VEC f) {
#ifdef HAS_LOOKUP
    static const ELT powers[16] __attribute__((aligned(64))) = {
        1.0f, 1.04427373f, 1.09050775f, 1.13878858f, 1.18920708f, 1.24185777f, 1.29683959f, 1.35425556f,
        1.41421354f, 1.47682619f, 1.54221082f, 1.61049032f, 1.68179286f, 1.75625217f, 1.8340081f, 1.91520655f,
    };
    VEC r = fma_VEC(f, splat_VEC(1.66666672e-1f), splat_VEC(5.00016212e-1f)), p = lookup_VEC(powers, t);
    r = fma_VEC(r, f, splat_VEC(1.0f));
    return fma_VEC(r * f, p, p);
#else
    (void)t;
    VEC r = fma_VEC(f, splat_VEC(1.37805939e-3f), splat_VEC(8.37312452e-3f));
    r = fma_VEC(r, f, splat_VEC(4.16695364e-2f));
    r = fma_VEC(r, f, splat_VEC(1.66664720e-1f));
    r = fma_VEC(r, f, splat_VEC(4.99999851e-1f));
    r = fma_VEC(r, f, splat_VEC(1.0f));
    return fma_VEC(r, f, splat_VEC(1.0f));
#endif
}

//: exp vector f32
VEC exp_VEC(VEC x) { return exp_low_VEC(smaller_VEC(splat_VEC(89.0f), x)); }

//: exp_low vector f32
// exp of what is at most 89. 1.1 ulp, denormal results included.
VEC exp_low_VEC(VEC x) {
    VEC c = x;
#ifndef X86_SCALE_VEC
    c = larger_VEC(splat_VEC(-104.0f), c);
#endif
    VEC t = fma_VEC(c, splat_VEC(1.442695041f), fraction_VEC()), j = t - fraction_VEC();
    VEC f = fma_VEC(j, splat_VEC(-1.42860677e-6f), fma_VEC(j, splat_VEC(-6.93145752e-1f), c));
    return scaled_VEC(power_VEC(t, f), t, x, splat_VEC(-104.0f));
}

//: series vector f64
// (exp(f) - 1 - f) / f^2 where |f| is at most log(2) / 2.
VEC series_VEC(VEC f) {
    VEC q = fma_VEC(f, splat_VEC(2.0914728984148772e-09), splat_VEC(2.5105275841936966e-08));
    q = fma_VEC(q, f, splat_VEC(2.7557273542102106e-07));
    q = fma_VEC(q, f, splat_VEC(2.755725525875986e-06));
    q = fma_VEC(q, f, splat_VEC(2.4801587325627418e-05));
    q = fma_VEC(q, f, splat_VEC(1.9841269874932202e-04));
    q = fma_VEC(q, f, splat_VEC(1.3888888888883726e-03));
    q = fma_VEC(q, f, splat_VEC(8.333333333326103e-03));
    q = fma_VEC(q, f, splat_VEC(4.166666666666667e-02));
    q = fma_VEC(q, f, splat_VEC(1.666666666666667e-01));
    q = fma_VEC(q, f, splat_VEC(0.5));
    return q;
}

//: exp vector f64
// 0.8 ulp, 1.1 where results are denormal; 0 below their range, not by rounding.
VEC exp_VEC(VEC x) {
    VEC c = larger_VEC(splat_VEC(-746.0), smaller_VEC(splat_VEC(710.0), x));
    VEC t = fma_VEC(c, splat_VEC(1.4426950408889634), splat_VEC(6755399441055744.0)), j = t - 6755399441055744.0;
    VEC high = fma_VEC(j, splat_VEC(-6.931471803691238e-01), c), f = fma_VEC(j, splat_VEC(-1.9082149292705877e-10), high);
    VEC left = fma_VEC(j, splat_VEC(-1.9082149292705877e-10), high - f);
    SIGNED n = (SIGNED)t - 0x4338000000000000, half = n >> 1;
    VEC r = f + fma_VEC(series_VEC(f), f * f, left) + 1.0;
    r = (VEC)((SIGNED)r & ~(SIGNED)(x < -746.0));
    return r * (VEC)((half + 1023) << 52) * (VEC)((n - half + 1023) << 52);
}

//: exp2 vector f64
// 1.1 ulp, exact for integers; 0 below the range of results, not by rounding.
VEC exp2_VEC(VEC x) {
    VEC c = larger_VEC(splat_VEC(-1080.0), smaller_VEC(splat_VEC(1030.0), x));
    VEC t = c + 6755399441055744.0, f = (c - (t - 6755399441055744.0)) * 0.6931471805599453;
    SIGNED n = (SIGNED)t - 0x4338000000000000, half = n >> 1;
    VEC r = fma_VEC(series_VEC(f), f * f, f) + 1.0;
    r = (VEC)((SIGNED)r & ~(SIGNED)(x < -1080.0));
    return r * (VEC)((half + 1023) << 52) * (VEC)((n - half + 1023) << 52);
}

//: expm1 vector f64
// 1.6 ulp.
VEC expm1_VEC(VEC x) {
    VEC c = larger_VEC(splat_VEC(-50.0), smaller_VEC(splat_VEC(710.0), x));
    VEC t = fma_VEC(c, splat_VEC(1.4426950408889634), splat_VEC(6755399441055744.0)), j = t - 6755399441055744.0;
    VEC high = fma_VEC(j, splat_VEC(-6.931471803691238e-01), c), f = fma_VEC(j, splat_VEC(-1.9082149292705877e-10), high);
    VEC left = fma_VEC(j, splat_VEC(-1.9082149292705877e-10), high - f);
    VEC p = f + fma_VEC(series_VEC(f), f * f, left);
    VEC scale = (VEC)(((SIGNED)t - 0x4338000000000000 + 1022) << 52), y = fma_VEC(p, scale, scale - 0.5);
    return select_VEC((SIGNED)(x == 0.0), x, y + y);
}

//: mantissa vector f64
// Of a positive number a, from sqrt(1/2) to sqrt(2); *exponent: how often 2 was taken out of it.
VEC mantissa_VEC(VEC a, VEC *exponent) {
    SIGNED tiny = (SIGNED)(a < 2.2250738585072014e-308);
    a = select_VEC(tiny, a * 18014398509481984.0, a);
    UNSIGNED e = ((UNSIGNED)a + (0x4000000000000000 - 0x3fe6a09e667f3bcd)) >> 52;
    *exponent = (VEC)(e | 0x4330000000000000) - select_VEC(tiny, splat_VEC(4503599627370496.0 + 1078.0), splat_VEC(4503599627370496.0 + 1024.0));
    return (VEC)((UNSIGNED)a - ((e - 1024) << 52));
}

//: logarithm vector f64
// i log(2) + log(m) of a mantissa m, with s = f / (2 + f) and f = m - 1: f - (h - s (h + r)), h half the square of f.
VEC logarithm_VEC(VEC m, VEC i) {
    VEC f = m - 1.0, s = f / (f + 2.0), z = s * s, h = 0.5 * f * f;
    VEC r = fma_VEC(z, splat_VEC(0.1461703754879165), splat_VEC(0.1533167403016786));
    r = fma_VEC(r, z, splat_VEC(0.18182890556695602));
    r = fma_VEC(r, z, splat_VEC(0.2222221111514416));
    r = fma_VEC(r, z, splat_VEC(0.2857142862609589));
    r = fma_VEC(r, z, splat_VEC(0.3999999999989924));
    r = fma_VEC(r, z, splat_VEC(0.666666666666667));
    VEC low = fma_VEC(s, fma_VEC(r, z, h), i * 1.9082149292705877e-10);
    return i * 6.931471803691238e-01 - ((h - low) - f);
}

//: log vector f64
// 0.9 ulp, denormals included.
VEC log_VEC(VEC x) {
    VEC i, m = mantissa_VEC(x, &i);
    return log_special_VEC(logarithm_VEC(m, i), x);
}

//: log2 vector f64
// 1.7 ulp; exact for powers of two.
VEC log2_VEC(VEC x) {
    VEC i, r = logarithm_VEC(mantissa_VEC(x, &i), splat_VEC(0.0));
    return log_special_VEC(fma_VEC(r, splat_VEC(1.4426950408889634), fma_VEC(r, splat_VEC(2.0355273740931033e-17), i)), x);
}

//: pow vector f64
// 1.1 ulp, special values as in C: the logarithm as a sum of two numbers, log2(m) = 2 / log(2) (s + s z (1/3 + z (1/5 + ...))) with z = s^2.
VEC pow_VEC(VEC x, VEC y) {
    VEC r = x;
#ifdef HAS_FMA
    VEC a = magnitude_VEC(x), i, f = mantissa_VEC(a, &i) - 1.0;
    VEC d = f + 2.0, inverse = 1.0 / d, s = f * inverse, s1 = (fma_VEC(-s, d, f) - s * (f - (d - 2.0))) * inverse;
    VEC z = s * s, z1 = fma_VEC(s, s, -z) + 2.0 * s * s1;
    VEC k = fma_VEC(z, splat_VEC(0.0645701135847418), splat_VEC(0.06642962328621099));
    k = fma_VEC(k, z, splat_VEC(0.07692787891410022));
    k = fma_VEC(k, z, splat_VEC(0.09090904117001572));
    k = fma_VEC(k, z, splat_VEC(0.11111111135592656));
    k = fma_VEC(k, z, splat_VEC(0.14285714285669163));
    k = fma_VEC(k, z, splat_VEC(0.20000000000000012));
    k = k * z;
    VEC g = k + 0.3333333333333333, g1 = (0.3333333333333333 - g + k) + 1.850371707708594e-17;
    VEC p = z * g, p1 = fma_VEC(z, g, -p) + fma_VEC(z, g1, z1 * g);
    VEC q = s * p, q1 = fma_VEC(s, p, -q) + fma_VEC(s, p1, s1 * p);
    VEC h = s + q, h1 = (s - h + q) + (q1 + s1);
    VEC u = h * 2.8853900817779268, u1 = fma_VEC(h, splat_VEC(2.8853900817779268), -u) + fma_VEC(h, splat_VEC(4.0710547481862066e-17), h1 * 2.8853900817779268);
    VEC v = i + u, v1 = (i - v + u) + u1;
    VEC c = smaller_VEC(splat_VEC(1e300), larger_VEC(splat_VEC(-1e300), y)), w = c * v, w1 = fma_VEC(c, v, -w) + c * v1;
    SIGNED far = (SIGNED)(magnitude_VEC(w) > 1100.0);
    w = smaller_VEC(splat_VEC(1100.0), larger_VEC(splat_VEC(-1100.0), w));
    VEC t = w + 6755399441055744.0;
    f = ((w - (t - 6755399441055744.0)) + select_VEC(far, splat_VEC(0.0), w1)) * 0.6931471805599453;
    SIGNED n = (SIGNED)t - 0x4338000000000000, part = n >> 1;
    r = (fma_VEC(series_VEC(f), f * f, f) + 1.0) * (VEC)((part + 1023) << 52) * (VEC)((n - part + 1023) << 52);
    r = select_VEC((SIGNED)(a == 0.0) | (SIGNED)(a == INFINITY), select_VEC((SIGNED)(a == 0.0) ^ (SIGNED)(y < 0.0), splat_VEC(0.0), splat_VEC(INFINITY)), r);
    r = pow_special_VEC(r, x, y);
#else
    for (int i = 0; i < LANES; i++) r[i] = pow(x[i], y[i]);
#endif
    return r;
}

//: quadrants vector f64
// Sine and cosine, to 1 ulp, of what is left of x when quarters of a turn were taken away; how many, to a multiple of four. |x| is at most 2^20, multiply-adds are fused.
SIGNED quadrants_VEC(VEC x, VEC *sine, VEC *cosine) {
    VEC t = fma_VEC(x, splat_VEC(0.6366197723675814), splat_VEC(6755399441055744.0)), j = t - 6755399441055744.0;
    VEC f = fma_VEC(j, splat_VEC(-6.123233995736766e-17), fma_VEC(j, splat_VEC(-1.5707963267948966), x));
    f = fma_VEC(j, splat_VEC(1.4973849048591833e-33), f);
    VEC s = f * f, h = 0.5 * s, w = 1.0 - h;
    VEC p = fma_VEC(s, splat_VEC(1.5918049742485297e-10), splat_VEC(-2.5051130740503045e-08));
    p = fma_VEC(p, s, splat_VEC(2.755731609725143e-06));
    p = fma_VEC(p, s, splat_VEC(-0.00019841269836748352));
    p = fma_VEC(p, s, splat_VEC(0.008333333333330941));
    p = fma_VEC(p, s, splat_VEC(-0.16666666666666666));
    *sine = fma_VEC(p, s * f, f);
    VEC q = fma_VEC(s, splat_VEC(-1.1382582658234034e-11), splat_VEC(2.0876145577441954e-09));
    q = fma_VEC(q, s, splat_VEC(-2.755731726841358e-07));
    q = fma_VEC(q, s, splat_VEC(2.4801587298759292e-05));
    q = fma_VEC(q, s, splat_VEC(-0.0013888888888887393));
    q = fma_VEC(q, s, splat_VEC(0.041666666666666664));
    *cosine = w + fma_VEC(q, s * s, (1.0 - w) - h);
    return (SIGNED)t;
}

//: sine vector f64
// sin, or cos with shift 1, by quadrants; 1.5 ulp below 2^20. Without a fused multiply-add the reduction would not be exact.
VEC sine_VEC(VEC x, int64_t shift, double (*exact)(double)) {
    VEC y = x;
    SIGNED left = (SIGNED)(x == x);
#ifdef HAS_FMA
    VEC p, q;
    SIGNED n = quadrants_VEC(x, &p, &q) + shift;
    y = (VEC)((SIGNED)select_VEC(-(n & 1), q, p) ^ (SIGNED)((UNSIGNED)(n & 2) << 62));
    left = (SIGNED)(magnitude_VEC(x) > 1048576.0);
#else
    (void)shift;
#endif
    return corrected_VEC(y, left, x, exact);
}

//: sin vector f64
VEC sin_VEC(VEC x) { return select_VEC((SIGNED)(x == 0.0), x, sine_VEC(x, 0, sin)); }

//: cos vector f64
VEC cos_VEC(VEC x) { return sine_VEC(x, 1, cos); }

//: tan vector f64
// 2.8 ulp below 2^20.
VEC tan_VEC(VEC x) {
    VEC y = x;
    SIGNED left = (SIGNED)(x == x);
#ifdef HAS_FMA
    VEC p, q;
    SIGNED odd = -(quadrants_VEC(x, &p, &q) & 1);
    y = select_VEC((SIGNED)(x == 0.0), x, select_VEC(odd, -q, p) / select_VEC(odd, p, q));
    left = (SIGNED)(magnitude_VEC(x) > 1048576.0);
#endif
    return corrected_VEC(y, left, x, tan);
}

//: direction vector f64
// Of the point (x, y), y not negative, from 0 to pi, to 1.9 ulp: as `angle`, but by the quotient of sides or, nearer to the diagonal, by the angle to that.
VEC direction_VEC(VEC y, VEC x) {
    VEC a = magnitude_VEC(x), low = smaller_VEC(a, y), high = larger_VEC(a, y), k = select_VEC((SIGNED)(high > 1e300), splat_VEC(0.25), splat_VEC(1.0));
    low *= k, high *= k; // their sum is finite
    SIGNED same = (SIGNED)(low == high), near = (SIGNED)(low > high * 0.41421356237309503) | (same & (SIGNED)(high > 0.0));
    VEC t = select_VEC(same, splat_VEC(0.0), select_VEC(near, low - high, low) / select_VEC(near, low + high, high));
    VEC s = t * t;
    VEC r = fma_VEC(s, splat_VEC(-0.01917627151752634), splat_VEC(0.0392311556198723));
    r = fma_VEC(r, s, splat_VEC(-0.050854323376990765));
    r = fma_VEC(r, s, splat_VEC(0.05858145587628202));
    r = fma_VEC(r, s, splat_VEC(-0.06664511064599371));
    r = fma_VEC(r, s, splat_VEC(0.07692183163650894));
    r = fma_VEC(r, s, splat_VEC(-0.09090904576954117));
    r = fma_VEC(r, s, splat_VEC(0.11111111015227572));
    r = fma_VEC(r, s, splat_VEC(-0.14285714284666184));
    r = fma_VEC(r, s, splat_VEC(0.19999999999995519));
    r = fma_VEC(r, s, splat_VEC(-0.3333333333333333));
    r = fma_VEC(r, s * t, t);
    r = select_VEC(near, r + 0.7853981633974483, r);
    r = select_VEC((SIGNED)(y > a), 1.5707963267948966 - (r - 6.123233995736766e-17), r);
    return select_VEC((SIGNED)x < 0, 3.141592653589793 - (r - 1.2246467991473532e-16), r);
}

//: atan vector f64
// 1.9 ulp.
VEC atan_VEC(VEC x) { return signed_VEC(direction_VEC(magnitude_VEC(x), splat_VEC(1.0)), x); }

//: atan2 vector f64
// 1.9 ulp, special values as in C.
VEC atan2_VEC(VEC y, VEC x) {
    VEC r = signed_VEC(direction_VEC(magnitude_VEC(y), x), y);
    return select_VEC((SIGNED)(x != x), x, r);
}

//: asin vector f64
// 2.6 ulp.
VEC asin_VEC(VEC x) {
    VEC a = magnitude_VEC(x), r = signed_VEC(direction_VEC(a, beside_VEC(a)), x);
    return select_VEC((SIGNED)(a > 1.0), splat_VEC(NAN), r);
}

//: acos vector f64
// 2.6 ulp.
VEC acos_VEC(VEC x) {
    VEC r = direction_VEC(beside_VEC(x), x);
    return select_VEC((SIGNED)(x != x), x, select_VEC((SIGNED)(magnitude_VEC(x) > 1.0), splat_VEC(NAN), r));
}

//: sinh vector f64
// 2 ulp: (e + e / (e + 1)) / 2 with e = exp(|x|) - 1, where that is finite.
VEC sinh_VEC(VEC x) {
    VEC a = magnitude_VEC(x), e = expm1_VEC(a), y = signed_VEC((e + e / (e + 1.0)) * 0.5, x);
    SIGNED left = (SIGNED)(a > 709.0);
    return corrected_VEC(y, left, x, sinh);
}

//: cosh vector f64
// 1.8 ulp.
VEC cosh_VEC(VEC x) {
    VEC a = magnitude_VEC(x), e = exp_VEC(a), y = fma_VEC(e, splat_VEC(0.5), 0.5 / e);
    SIGNED left = (SIGNED)(a > 709.0);
    return corrected_VEC(y, left, x, cosh);
}

//: erf_quotient vector f64
// erf(x) / x of s = x^2 up to 1.
VEC erf_quotient_VEC(VEC s) {
    VEC r = fma_VEC(s, splat_VEC(-7.795898827002142e-10), splat_VEC(1.3720064546777686e-08));
    r = fma_VEC(r, s, splat_VEC(-1.6208483801871705e-07));
    r = fma_VEC(r, s, splat_VEC(1.6447424703317362e-06));
    r = fma_VEC(r, s, splat_VEC(-1.492473690741966e-05));
    r = fma_VEC(r, s, splat_VEC(0.00012055294904839707));
    r = fma_VEC(r, s, splat_VEC(-0.0008548325975389692));
    r = fma_VEC(r, s, splat_VEC(0.0052239776071164225));
    r = fma_VEC(r, s, splat_VEC(-0.02686617064323777));
    r = fma_VEC(r, s, splat_VEC(0.11283791670945006));
    r = fma_VEC(r, s, splat_VEC(-0.37612638903183543));
    r = fma_VEC(r, s, splat_VEC(1.1283791670955126));
    return r;
}

//: erfc_tail vector f64
// erfc(a) for a from 1/2 to 28: exp(-a^2) / (1 + 2 a) times a polynomial of (a - k) / (a + k) (Shepherd and Laframboise, 1981).
VEC erfc_tail_VEC(VEC a) {
    VEC t = (a - 3.75) / (a + 3.75), s = a * a, e = exp_VEC(-s);
    VEC r = fma_VEC(t, splat_VEC(2.5265557531642926e-08), splat_VEC(1.350875974161026e-08));
    r = fma_VEC(r, t, splat_VEC(-2.4233140808399475e-07));
    r = fma_VEC(r, t, splat_VEC(-4.5210823716014646e-08));
    r = fma_VEC(r, t, splat_VEC(1.740269903212129e-06));
    r = fma_VEC(r, t, splat_VEC(-9.82051742210998e-07));
    r = fma_VEC(r, t, splat_VEC(-1.1439294277760925e-05));
    r = fma_VEC(r, t, splat_VEC(2.238795673013135e-05));
    r = fma_VEC(r, t, splat_VEC(5.164780741855856e-05));
    r = fma_VEC(r, t, splat_VEC(-0.00029015511154243344));
    r = fma_VEC(r, t, splat_VEC(0.00029371387469142674));
    r = fma_VEC(r, t, splat_VEC(0.0017556260320963533));
    r = fma_VEC(r, t, splat_VEC(-0.009746579577035586));
    r = fma_VEC(r, t, splat_VEC(0.028362277400278118));
    r = fma_VEC(r, t, splat_VEC(-0.05869339858885731));
    r = fma_VEC(r, t, splat_VEC(0.09230432116144294));
    r = fma_VEC(r, t, splat_VEC(-0.10880393014175117));
    r = fma_VEC(r, t, splat_VEC(0.08227673849011752));
    r = fma_VEC(r, t, splat_VEC(0.0035854154854639947));
    r = fma_VEC(r, t, splat_VEC(-0.14024059858554674));
    r = fma_VEC(r, t, splat_VEC(1.2375126308378275));
    e = fma_VEC(fma_VEC(a, a, -s), -e, e);
    return e * r / fma_VEC(a, splat_VEC(2.0), splat_VEC(1.0));
}

//: erf vector f64
// 2 ulp.
VEC erf_VEC(VEC x) {
    VEC a = magnitude_VEC(x);
    VEC r = select_VEC((SIGNED)(a < 1.0), a * erf_quotient_VEC(smaller_VEC(splat_VEC(1.0), a * a)), 1.0 - erfc_tail_VEC(larger_VEC(splat_VEC(1.0), smaller_VEC(splat_VEC(28.0), a))));
    return select_VEC((SIGNED)(x != x), x, (VEC)((SIGNED)r | ((SIGNED)x & INT64_MIN)));
}

//: erfc vector f64
// 4 ulp; without a fused multiply-add a square would not be exact enough.
VEC erfc_VEC(VEC x) {
    VEC y = x;
#ifdef HAS_FMA
    VEC a = magnitude_VEC(x);
    VEC r = erfc_tail_VEC(larger_VEC(splat_VEC(0.5), smaller_VEC(splat_VEC(28.0), a)));
    r = select_VEC((SIGNED)(x < 0.0), 2.0 - r, r);
    y = select_VEC((SIGNED)(x != x), x, select_VEC((SIGNED)(a < 0.5), 1.0 - x * erf_quotient_VEC(smaller_VEC(splat_VEC(0.25), x * x)), r));
#else
    for (int i = 0; i < LANES; i++) y[i] = erfc(x[i]);
#endif
    return y;
}

//: fmod vector f64
// Exact: a multiple of b taken away at once, up to 2^52 of them.
VEC fmod_VEC(VEC x, VEC y) {
    VEC r = x;
    SIGNED far = (SIGNED)(r == r) | (SIGNED)(r != r);
#ifdef HAS_FMA
    VEC a = magnitude_VEC(x), b = magnitude_VEC(y), q = a / b;
    r = fma_VEC(-((q + 4503599627370496.0) - 4503599627370496.0), b, a);
    r = select_VEC((SIGNED)(r < 0.0), r + b, r);
    r = (VEC)((SIGNED)r | ((SIGNED)x & INT64_MIN));
    far = ~((SIGNED)(q < 4503599627370496.0) & (SIGNED)(b < INFINITY));
#endif
    if (__builtin_expect(any_VEC(far), 0))
        for (int i = 0; i < LANES; i++) r[i] = far[i] ? fmod(x[i], y[i]) : r[i];
    return r;
}

//: tanh vector f64
// 2.2 ulp: e / (e + 2) with e = exp(2 |x|) - 1.
VEC tanh_VEC(VEC x) {
    VEC c = smaller_VEC(splat_VEC(20.0), magnitude_VEC(x));
    c = c + c;
    VEC t = fma_VEC(c, splat_VEC(1.4426950408889634), splat_VEC(6755399441055744.0)), j = t - 6755399441055744.0;
    VEC high = fma_VEC(j, splat_VEC(-6.931471803691238e-01), c), f = fma_VEC(j, splat_VEC(-1.9082149292705877e-10), high);
    VEC left = fma_VEC(j, splat_VEC(-1.9082149292705877e-10), high - f);
    VEC power = (VEC)(((SIGNED)t - 0x4338000000000000 + 1023) << 52);
    VEC e = fma_VEC(power, f + fma_VEC(series_VEC(f), f * f, left), power - 1.0);
    return (VEC)((SIGNED)(e / (e + 2.0)) | ((SIGNED)x & INT64_MIN));
}

//: exp_normal vector f32
// exp of moderate arguments (|x| < 20), for functions built on it.
VEC exp_normal_VEC(VEC x) {
    VEC t = fma_VEC(x, splat_VEC(1.442695041f), splat_VEC(12582912.0f));
    VEC f = fma_VEC(t - 12582912.0f, splat_VEC(-6.93147182e-1f), x);
    VEC r = fma_VEC(f, splat_VEC(1.37805939e-3f), splat_VEC(8.37312452e-3f));
    r = fma_VEC(r, f, splat_VEC(4.16695364e-2f));
    r = fma_VEC(r, f, splat_VEC(1.66664720e-1f));
    r = fma_VEC(r, f, splat_VEC(4.99999851e-1f));
    r = fma_VEC(r, f, splat_VEC(1.0f));
    r = fma_VEC(r, f, splat_VEC(1.0f));
    return (VEC)((SIGNED)r + (SIGNED)((UNSIGNED)t << 23));
}

//: exp2 vector f32
// 1.2 ulp, denormal results included; exact for integers.
VEC exp2_VEC(VEC x) {
    VEC c = larger_VEC(splat_VEC(-151.0f), smaller_VEC(splat_VEC(129.0f), x));
    VEC t = c + fraction_VEC(), f = (c - (t - fraction_VEC())) * 0.693147182f;
    return scaled_VEC(power_VEC(t, f), t, x, splat_VEC(-150.0f));
}

//: expm1 vector f32
// 1.2 ulp.
VEC expm1_VEC(VEC x) {
    VEC c = larger_VEC(splat_VEC(-25.0f), smaller_VEC(splat_VEC(89.0f), x));
    VEC t = fma_VEC(c, splat_VEC(1.442695041f), splat_VEC(12582912.0f)), j = t - 12582912.0f;
    VEC f = fma_VEC(j, splat_VEC(-1.42860677e-6f), fma_VEC(j, splat_VEC(-6.93145752e-1f), c));
    VEC r = fma_VEC(f, splat_VEC(1.97350979e-4f), splat_VEC(1.39309070e-3f));
    r = fma_VEC(r, f, splat_VEC(8.33343994e-3f));
    r = fma_VEC(r, f, splat_VEC(4.16668020e-2f));
    r = fma_VEC(r, f, splat_VEC(1.66666716e-1f));
    r = fma_VEC(r, f, splat_VEC(4.99999970e-1f));
    VEC p = fma_VEC(r, f * f, f);
    VEC scale = (VEC)(((SIGNED)t - 0x4b400000 + 126) << 23), low = scale - 0.5f;
    VEC y = fma_VEC(p, scale, (scale - low) - 0.5f) + low;
    return select_VEC((SIGNED)(j == 0.0f), select_VEC(x == 0.0f, x, p), y + y);
}

//: log_special vector
// r where x is positive and finite; 0, infinity, negative numbers and what is none as in IEEE 754.
VEC log_special_VEC(VEC r, VEC x) {
    r = select_VEC((SIGNED)(x == INFINITY) | (SIGNED)(x != x), x, r);
    r = select_VEC((SIGNED)(x == 0), splat_VEC(-INFINITY), r);
    return select_VEC((SIGNED)(x < 0), splat_VEC(NAN), r);
}

//: log vector f32
// 0.9 ulp; denormals, 0, infinity and negative numbers as in IEEE 754.
VEC log_VEC(VEC x) {
    SIGNED tiny = (SIGNED)(x < 1.17549435e-38f);
    VEC a = select_VEC(tiny, x * 8388608.0f, x);
    SIGNED e = ((SIGNED)a - 0x3f2aaaab) & (int32_t)0xff800000;
    VEC m = (VEC)((SIGNED)a - e);
    VEC i = fma_VEC(__builtin_convertvector(e, VEC), splat_VEC(1.19209290e-7f), select_VEC(tiny, splat_VEC(-23.0f), splat_VEC(0.0f)));
    VEC f = m - 1.0f, s = f * f;
    VEC r = fma_VEC(s, splat_VEC(-0.130310059f), splat_VEC(-0.121483363f));
    VEC t = fma_VEC(s, splat_VEC(0.140869141f), splat_VEC(0.139814854f));
    r = fma_VEC(r, s, splat_VEC(-0.166846052f));
    t = fma_VEC(t, s, splat_VEC(0.200120345f));
    r = fma_VEC(r, s, splat_VEC(-0.249996200f));
    r = fma_VEC(t, f, r);
    r = fma_VEC(r, f, splat_VEC(0.333331972f));
    r = fma_VEC(r, f, splat_VEC(-0.5f));
    r = fma_VEC(r, s, f);
    return log_special_VEC(fma_VEC(i, splat_VEC(0.693147182f), r), x);
}

//: log1p vector
// 1.5 ulp: the logarithm of the rounded sum, and what rounding it lost.
VEC log1p_VEC(VEC x) {
    VEC u = 1 + x, lost = (x - (u - 1)) / u;
    VEC y = log_VEC(u) + select_VEC((SIGNED)(u > 0) & (SIGNED)(u < INFINITY), lost, splat_VEC(0));
    return select_VEC((SIGNED)(x == 0), x, y);
}

//: log2 vector f32
// 1.7 ulp; exact for powers of two; denormals, 0, infinity and negative numbers as in IEEE 754.
VEC log2_VEC(VEC x) {
    SIGNED tiny = (SIGNED)(x < 1.17549435e-38f);
    VEC a = select_VEC(tiny, x * 8388608.0f, x);
    SIGNED e = ((SIGNED)a - 0x3f2aaaab) & (int32_t)0xff800000;
    VEC i = fma_VEC(__builtin_convertvector(e, VEC), splat_VEC(1.19209290e-7f), select_VEC(tiny, splat_VEC(-23.0f), splat_VEC(0.0f)));
    VEC r = log_VEC((VEC)((SIGNED)a - e));
    return log_special_VEC(fma_VEC(r, splat_VEC(1.442695041f), fma_VEC(r, splat_VEC(1.92596303e-8f), i)), x);
}

//: lower vector f32
// The first half of the lanes in double precision: functions that are made of doubles are rounded once.
WIDE lower_VEC(VEC x) { return __builtin_convertvector(__builtin_shufflevector(x, x, LOWER), WIDE); }

//: upper vector f32
WIDE upper_VEC(VEC x) { return __builtin_convertvector(__builtin_shufflevector(x, x, UPPER), WIDE); }

//: narrowed vector f32
VEC narrowed_VEC(WIDE low, WIDE high) {
    return __builtin_shufflevector(__builtin_convertvector(low, HALF), __builtin_convertvector(high, HALF), LOWER, UPPER);
}

//: raised vector f64
// a^y of what single precision holds, a not negative, to 1e-8: 2^(y log2(a)), the logarithm by (m - 1) / (m + 1) for the mantissa m.
VEC raised_VEC(VEC a, VEC y) {
    UNSIGNED e = ((UNSIGNED)a + (0x4000000000000000 - 0x3fe6a09e667f3bcd)) >> 52;
    VEC m = (VEC)((UNSIGNED)a - ((e - 1024) << 52)), i = (VEC)(e | 0x4330000000000000) - (4503599627370496.0 + 1024.0);
    VEC s = (m - 1.0) / (m + 1.0), w = s * s;
    VEC p = fma_VEC(w, splat_VEC(0.34074979623533014), splat_VEC(0.4116716986967665));
    p = fma_VEC(p, w, splat_VEC(0.5770836011815943));
    p = fma_VEC(p, w, splat_VEC(0.9617966732613431));
    p = fma_VEC(p, w, splat_VEC(2.885390081790146));
    p = fma_VEC(p, s, i);
    p = select_VEC((SIGNED)(a == 0.0), splat_VEC(-1e60), select_VEC((SIGNED)(a == INFINITY), splat_VEC(1e60), p));
    y = smaller_VEC(splat_VEC(1e60), larger_VEC(splat_VEC(-1e60), y));
    p = smaller_VEC(splat_VEC(1000.0), larger_VEC(splat_VEC(-1000.0), y * p));
    VEC t = p + 6755399441055744.0, f = p - (t - 6755399441055744.0);
    VEC r = fma_VEC(f, splat_VEC(0.00015346250017842083), splat_VEC(0.0013399934983196393));
    r = fma_VEC(r, f, splat_VEC(0.009618487330758442));
    r = fma_VEC(r, f, splat_VEC(0.05550328765249363));
    r = fma_VEC(r, f, splat_VEC(0.24022646905628953));
    r = fma_VEC(r, f, splat_VEC(0.6931472057445335));
    r = fma_VEC(r, f, splat_VEC(1.0000000005521514));
    return (VEC)((UNSIGNED)r + ((UNSIGNED)t << 52));
}

//: pow_special vector
// x^y from |x|^y: the sign, and special values as in C.
VEC pow_special_VEC(VEC r, VEC x, VEC y) {
    VEC a = magnitude_VEC(x), b = magnitude_VEC(y), h = b * (ELT)0.5;
    SIGNED whole = (SIGNED)(b >= WHOLE) | (SIGNED)((b + WHOLE) - WHOLE == b);
    SIGNED even = (SIGNED)(h >= WHOLE) | (SIGNED)((h + WHOLE) - WHOLE == h);
    r = (VEC)((SIGNED)r | ((SIGNED)x & whole & ~even & LEAST));
    r = select_VEC((SIGNED)(x < 0) & (SIGNED)(a < INFINITY) & ~whole, splat_VEC(NAN), r);
    r = select_VEC((SIGNED)(x != x) | (SIGNED)(y != y), x + y, r);
    return select_VEC((SIGNED)(x == 1) | (SIGNED)(y == 0), splat_VEC(1), r);
}

//: pow vector f32
// 0.6 ulp, special values as in C: in double precision, half of the lanes at a time.
VEC pow_VEC(VEC x, VEC y) {
    VEC a = magnitude_VEC(x);
    VEC r = narrowed_VEC(raised_WIDE(lower_VEC(a), lower_VEC(y)), raised_WIDE(upper_VEC(a), upper_VEC(y)));
    return pow_special_VEC(r, x, y);
}

//: magnitude vector
VEC magnitude_VEC(VEC x) { return (VEC)((SIGNED)x & MOST); }

//: signed vector
// r with the sign of x, and x where that is not a number.
VEC signed_VEC(VEC r, VEC x) { return select_VEC((SIGNED)(x != x), x, (VEC)((SIGNED)r | ((SIGNED)x & LEAST))); }

//: any vector
int any_VEC(SIGNED mask) {
    typedef int8_t bytes __attribute__((vector_size(LANES)));
    union { bytes lanes; uint16_t words[LANES / 2]; } u = {__builtin_convertvector(mask, bytes)};
    uint16_t found = 0;
    for (int i = 0; i < LANES / 2; i++) found |= u.words[i];
    return found != 0;
}

//: corrected vector
// y, but what libm says of x where y is not good enough.
VEC corrected_VEC(VEC y, SIGNED where, VEC x, ELT (*exact)(ELT)) {
    if (__builtin_expect(any_VEC(where), 0))
        for (int i = 0; i < LANES; i++) y[i] = where[i] ? exact(x[i]) : y[i];
    return y;
}

//: sine vector f32
// sin, or cos with shift 1, by quadrants; 1.5 ulp below 2^16. Without a fused multiply-add the reduction would not be exact.
VEC sine_VEC(VEC x, int32_t shift, float (*exact)(float)) {
    VEC y = x;
    SIGNED left = (SIGNED)(x == x);
#ifdef HAS_FMA
    VEC t = fma_VEC(x, splat_VEC(0.636619747f), splat_VEC(12582912.0f)), j = t - 12582912.0f;
    VEC f = fma_VEC(j, splat_VEC(-1.57079601f), x);
    f = fma_VEC(j, splat_VEC(-3.13916473e-7f), f);
    f = fma_VEC(j, splat_VEC(-5.39030253e-15f), f);
    SIGNED n = (SIGNED)t + shift;
    VEC s = f * f;
    VEC p = fma_VEC(s, splat_VEC(2.86567956e-6f), splat_VEC(-1.98559923e-4f));
    p = fma_VEC(p, s, splat_VEC(8.33338592e-3f));
    p = fma_VEC(p, s, splat_VEC(-1.66666672e-1f));
    p = fma_VEC(p, s * f, f);
    VEC q = fma_VEC(s, splat_VEC(2.44677067e-5f), splat_VEC(-1.38877297e-3f));
    q = fma_VEC(q, s, splat_VEC(4.16666567e-2f));
    q = fma_VEC(q, s, splat_VEC(-0.5f));
    q = fma_VEC(q, s, splat_VEC(1.0f));
    y = (VEC)((SIGNED)select_VEC((n & 1) == 0, p, q) ^ (SIGNED)((UNSIGNED)(n & 2) << 30));
    left = (SIGNED)(magnitude_VEC(x) > 65536.0f);
#else
    (void)shift;
#endif
    return corrected_VEC(y, left, x, exact);
}

//: sin vector f32
VEC sin_VEC(VEC x) { return select_VEC(x == 0.0f, x, sine_VEC(x, 0, sinf)); }

//: cos vector f32
VEC cos_VEC(VEC x) { return sine_VEC(x, 1, cosf); }

//: tangent vector f64
// To 1e-10, where multiples of a quarter turn are taken away exactly.
VEC tangent_VEC(VEC x) {
    VEC t = fma_VEC(x, splat_VEC(0.6366197723675814), splat_VEC(6755399441055744.0)), j = t - 6755399441055744.0;
    VEC f = fma_VEC(j, splat_VEC(-6.123233995736766e-17), fma_VEC(j, splat_VEC(-1.5707963267948966), x)), s = f * f;
    VEC p = fma_VEC(s, splat_VEC(2.7169643091005488e-06), splat_VEC(-1.9839160831533646e-04));
    p = fma_VEC(p, s, splat_VEC(8.333328645003186e-03));
    p = fma_VEC(p, s, splat_VEC(-0.16666666630170537));
    p = fma_VEC(p, s, splat_VEC(0.9999999999954529)) * f;
    VEC q = fma_VEC(s, splat_VEC(2.437564598714034e-05), splat_VEC(-1.388657258669845e-03));
    q = fma_VEC(q, s, splat_VEC(4.166661518398301e-02));
    q = fma_VEC(q, s, splat_VEC(-0.49999999599265754));
    q = fma_VEC(q, s, splat_VEC(0.9999999999500717));
    SIGNED odd = -((SIGNED)t & 1);
    return select_VEC(odd, -q, p) / select_VEC(odd, p, q);
}

//: tan vector f32
// 0.6 ulp below 2^20.
VEC tan_VEC(VEC x) {
    VEC y = x;
    SIGNED left = (SIGNED)(x == x);
#ifdef HAS_FMA
    y = select_VEC((SIGNED)(x == 0.0f), x, narrowed_VEC(tangent_WIDE(lower_VEC(x)), tangent_WIDE(upper_VEC(x))));
    left = (SIGNED)(magnitude_VEC(x) > 1048576.0f);
#endif
    return corrected_VEC(y, left, x, tanf);
}

//: angle vector f64
// Of the point (x, y), y not negative, from 0 to pi, to 5e-10: by the quotient of the shorter side and the longer one. What is not a number counts as some.
VEC angle_VEC(VEC y, VEC x) {
    VEC a = magnitude_VEC(x), low = smaller_VEC(a, y), high = larger_VEC(a, y);
    VEC t = select_VEC((SIGNED)(low == high), select_VEC((SIGNED)(high > 0.0), splat_VEC(1.0), splat_VEC(0.0)), low / high), s = t * t;
    VEC r = fma_VEC(s, splat_VEC(1.0576074380522326e-03), splat_VEC(-7.030669470400535e-03));
    r = fma_VEC(r, s, splat_VEC(2.191294586540156e-02));
    r = fma_VEC(r, s, splat_VEC(-4.392841073321736e-02));
    r = fma_VEC(r, s, splat_VEC(6.685281517874306e-02));
    r = fma_VEC(r, s, splat_VEC(-8.785043282361721e-02));
    r = fma_VEC(r, s, splat_VEC(0.11050771275849447));
    r = fma_VEC(r, s, splat_VEC(-0.14278576024807968));
    r = fma_VEC(r, s, splat_VEC(0.19999558100363984));
    r = fma_VEC(r, s, splat_VEC(-0.33333322488911593));
    r = fma_VEC(r, s, splat_VEC(0.9999999995535376)) * t;
    r = select_VEC((SIGNED)(y > a), 1.5707963267948966 - r, r);
    return select_VEC((SIGNED)x < 0, 3.141592653589793 - r, r);
}

//: atan vector f32
// 1.6 ulp.
VEC atan_VEC(VEC x) {
    VEC a = magnitude_VEC(x);
    SIGNED steep = (SIGNED)(a > 1.0f);
    VEC t = select_VEC(steep, 1.0f / a, a), s = t * t;
    VEC r = fma_VEC(s, splat_VEC(-0.0025085764937102795f), splat_VEC(0.013996483758091927f));
    r = fma_VEC(r, s, splat_VEC(-0.03667028620839119f));
    r = fma_VEC(r, s, splat_VEC(0.06318219751119614f));
    r = fma_VEC(r, s, splat_VEC(-0.08689044415950775f));
    r = fma_VEC(r, s, splat_VEC(0.1104203537106514f));
    r = fma_VEC(r, s, splat_VEC(-0.14279615879058838f));
    r = fma_VEC(r, s, splat_VEC(0.1999979019165039f));
    r = fma_VEC(r, s, splat_VEC(-0.3333333134651184f));
    r = fma_VEC(r, s * t, t);
    return signed_VEC(select_VEC(steep, 1.57079637f - (r + 4.37113883e-8f), r), x);
}

//: atan2 vector f32
// 0.6 ulp, special values as in C.
VEC atan2_VEC(VEC y, VEC x) {
    VEC a = magnitude_VEC(y);
    VEC r = signed_VEC(narrowed_VEC(angle_WIDE(lower_VEC(a), lower_VEC(x)), angle_WIDE(upper_VEC(a), upper_VEC(x))), y);
    return select_VEC((SIGNED)(x != x), x, r);
}

//: beside vector f64
// The other short side of a triangle on a longest one of 1.
VEC beside_VEC(VEC x) { return sqrt_VEC((1.0 - x) * (1.0 + x)); }

//: halved_arcsine vector f32
// The arcsine of a number from 0 to 1, where that is at most 0.5; else half of what is missing to a quarter turn.
VEC halved_arcsine_VEC(VEC a, SIGNED far) {
    VEC z = (1.0f - a) * 0.5f, s = select_VEC(far, z, a * a), t = select_VEC(far, sqrt_VEC(z), a);
    VEC r = fma_VEC(s, splat_VEC(0.0339210070669651f), splat_VEC(0.017005832865834236f));
    r = fma_VEC(r, s, splat_VEC(0.031131910160183907f));
    r = fma_VEC(r, s, splat_VEC(0.04459662735462189f));
    r = fma_VEC(r, s, splat_VEC(0.07500103116035461f));
    r = fma_VEC(r, s, splat_VEC(0.1666666567325592f));
    return fma_VEC(r, s * t, t);
}

//: asin vector f32
// 2.3 ulp.
VEC asin_VEC(VEC x) {
    VEC a = magnitude_VEC(x);
    SIGNED far = (SIGNED)(a > 0.5f);
    VEC r = halved_arcsine_VEC(a, far);
    return signed_VEC(select_VEC(far, fma_VEC(r, splat_VEC(-2.0f), splat_VEC(1.57079637f)) - 4.37113883e-8f, r), x);
}

//: acos vector f32
// 1.3 ulp.
VEC acos_VEC(VEC x) {
    VEC a = magnitude_VEC(x);
    SIGNED far = (SIGNED)(a > 0.5f), left = (SIGNED)(x < 0.0f);
    VEC r = halved_arcsine_VEC(a, far);
    VEC beyond = select_VEC(left, fma_VEC(r, splat_VEC(-2.0f), splat_VEC(3.14159274f)) - 8.74227766e-8f, 2.0f * r);
    return select_VEC(far, beyond, 1.57079637f - (select_VEC(left, -r, r) + 4.37113883e-8f));
}

//: hyperbolic vector f64
// (exp(x) - exp(-x)) / 2 for sign -1, by a series where little would be left of it; with a plus for sign 1.
VEC hyperbolic_VEC(VEC x, ELT sign) {
    VEC e = exp_VEC(x), y = fma_VEC(splat_VEC(sign), 1.0 / e, e) * 0.5, s = x * x;
    VEC near = fma_VEC(fma_VEC(s, splat_VEC(1.0 / 120.0), splat_VEC(1.0 / 6.0)), s * x, x);
    return select_VEC((SIGNED)(s < 4e-4) & (SIGNED)splat_VEC(sign) >> 63, near, y);
}

//: sinh vector f32
// 0.6 ulp.
VEC sinh_VEC(VEC x) { return signed_VEC(narrowed_VEC(hyperbolic_WIDE(lower_VEC(x), -1.0), hyperbolic_WIDE(upper_VEC(x), -1.0)), x); }

//: cosh vector f32
// 0.6 ulp.
VEC cosh_VEC(VEC x) { return narrowed_VEC(hyperbolic_WIDE(lower_VEC(x), 1.0), hyperbolic_WIDE(upper_VEC(x), 1.0)); }

//: left vector f64
// What is left of a when b was taken away as often as it goes, exactly, for numbers of single precision that are not negative and go less than 2^28 times.
VEC left_VEC(VEC a, VEC b) {
    VEC n = (a / b + 4503599627370496.0) - 4503599627370496.0, r = a - n * b;
    return select_VEC((SIGNED)(r < 0.0), r + b, r);
}

//: fmod vector f32
// Exact.
VEC fmod_VEC(VEC x, VEC y) {
    VEC a = magnitude_VEC(x), b = magnitude_VEC(y);
    VEC r = signed_VEC(narrowed_VEC(left_WIDE(lower_VEC(a), lower_VEC(b)), left_WIDE(upper_VEC(a), upper_VEC(b))), x);
    SIGNED far = ~((SIGNED)(a / b < 268435456.0f) & (SIGNED)(b < INFINITY));
    if (__builtin_expect(any_VEC(far), 0))
        for (int i = 0; i < LANES; i++) r[i] = far[i] ? fmodf(x[i], y[i]) : r[i];
    return r;
}

//: roundeven vector f32
VEC roundeven_VEC(VEC x) {
    VEC a = magnitude_VEC(x), r = (a + 8388608.0f) - 8388608.0f;
    return signed_VEC(select_VEC((SIGNED)(a < 8388608.0f), r, a), x);
}

//: lookup vector f32
// table[k] by lanes, for the last four bits of a float's mantissa: one instruction where registers hold all of the table.
VEC lookup_VEC(const ELT *table, VEC k) {
#ifdef X86_LOOKUP_VEC
    return X86_LOOKUP_VEC(table, k);
#else
    for (int i = 0; i < LANES; i++) k[i] = table[((SIGNED)k)[i] & 15];
    return k;
#endif
}

//: tanh vector f32
// 1.2 ulp: polynomials around multiples of 0.6252 that were chosen for tanh being nearly a float32 there; or, in 1.8 ulp, by exp.
VEC tanh_VEC(VEC x) {
#ifdef HAS_LOOKUP
    static const ELT parts[8][16] __attribute__((aligned(64))) = {
        {0.0f, 5.5476874e-1f, 8.484205e-1f, 9.54111e-1f, 9.866402e-1f, 9.961559e-1f, 9.988977e-1f, 9.996842e-1f,
         9.999096e-1f, 9.999741e-1f, 9.999926e-1f, 9.9999785e-1f, 9.999994e-1f, 9.999998e-1f, 9.9999994e-1f, 1.0f},
        {-1.4417234e-8f, 6.9223166e-1f, 2.8018266e-1f, 8.967223e-2f, 2.6541032e-2f, 7.673405e-3f, 2.2034347e-3f, 6.314831e-4f,
         1.8087537e-4f, 5.1799707e-5f, 1.4833894e-5f, 4.2479296e-6f, 1.21646e-6f, 3.4835162e-7f, 9.97557e-8f, 0.0f},
        {0.0f, -3.8402888e-1f, -2.377128e-1f, -8.555719e-2f, -2.6186448e-2f, -7.643909e-3f, -2.2010063e-3f, -6.3128385e-4f,
         -1.8085908e-4f, -5.1798383e-5f, -1.4833789e-5f, -4.247922e-6f, -1.2164596e-6f, -3.4835168e-7f, -9.975573e-8f, 0.0f},
        {-3.333286e-1f, -1.7697724e-2f, 1.0828629e-1f, 5.174036e-2f, 1.6989592e-2f, 5.056722e-3f, 1.4641014e-3f, 4.2059e-4f,
         1.20550874e-4f, 3.4530458e-5f, 9.889043e-6f, 2.8319353e-6f, 8.1097187e-7f, 2.3223431e-7f, 6.65038e-8f, 0.0f},
        {0.0f, 1.3785964e-1f, -1.26262605e-2f, -2.085232e-2f, -8.034136e-3f, -2.489207e-3f, -7.2876824e-4f, -2.1001305e-4f,
         -6.0248847e-5f, -1.7262058e-5f, -4.9439786e-6f, -1.415842e-6f, -4.0545243e-7f, -1.16107756e-7f, -3.3249222e-8f, 0.0f},
        {1.3308991e-1f, -5.51113e-2f, -1.9163959e-2f, 4.6379035e-3f, 2.853338e-3f, 9.646881e-4f, 2.8893747e-4f, 8.3795785e-5f,
         2.408296e-5f, 6.9036396e-6f, 1.9775448e-6f, 5.663474e-7f, 1.6218597e-7f, 4.6444697e-8f, 1.3300159e-8f, 0.0f},
        {0.0f, -2.4559664e-2f, 1.5010567e-2f, 7.3345937e-4f, -7.121798e-4f, -3.0327882e-4f, -9.563389e-5f, -2.8122273e-5f,
         -8.113967e-6f, -2.3285447e-6f, -6.672229e-7f, -1.9110281e-7f, -5.47279e-8f, -1.5672377e-8f, -4.488038e-9f, 0.0f},
        {-4.99159e-2f, 2.8357394e-2f, -4.386553e-3f, -1.214926e-3f, 7.431868e-5f, 7.455592e-5f, 2.624474e-5f, 7.9299625e-6f,
         2.3051555e-6f, 6.629352e-7f, 1.9007277e-7f, 5.4449153e-8f, 1.5593885e-8f, 4.4656696e-9f, 1.2788216e-9f, 0.0f},
    };
    VEC b = smaller_VEC(splat_VEC(9.378662109375f), magnitude_VEC(x));
    VEC k = fma_VEC(b, splat_VEC(1.5993752f), splat_VEC(12582912.0f)), u = fma_VEC(k - 12582912.0f, splat_VEC(-0.625244140625f), b);
    VEC w = lookup_VEC(parts[7], k);
    w = fma_VEC(w, u, lookup_VEC(parts[6], k));
    w = fma_VEC(w, u, lookup_VEC(parts[5], k));
    w = fma_VEC(w, u, lookup_VEC(parts[4], k));
    w = fma_VEC(w, u, lookup_VEC(parts[3], k));
    w = fma_VEC(w, u, lookup_VEC(parts[2], k));
    w = fma_VEC(w, u, lookup_VEC(parts[1], k));
    w = fma_VEC(w, u, larger_VEC(lookup_VEC(parts[0], k), u));
    return (VEC)((SIGNED)w | ((SIGNED)x & INT32_MIN));
#else
    SIGNED sign = (SIGNED)x & INT32_MIN;
    VEC a = magnitude_VEC(x), s = x * x, c = smaller_VEC(splat_VEC(9.1f), a);
    VEC r = 1.0f - 2.0f / (exp_normal_VEC(c + c) + 1.0f);
    VEC p = fma_VEC(s, splat_VEC(1.57394409e-2f), splat_VEC(-5.23025580e-2f));
    p = fma_VEC(p, s, splat_VEC(1.33152470e-1f));
    p = fma_VEC(p, s, splat_VEC(-3.33327681e-1f));
    p = fma_VEC(p * s, a, a);
    return (VEC)((SIGNED)select_VEC(a >= 0.599609375f, r, p) | sign);
#endif
}

//: erf vector f32
// 1.5 ulp: polynomials around multiples of 0.2554, as in tanh; or 1 - exp of a polynomial that is log(1 - erf |x|).
VEC erf_VEC(VEC x) {
#ifdef HAS_LOOKUP
    static const ELT parts[6][16] __attribute__((aligned(64))) = {
        {0.0f, 2.8207666e-1f, 5.2999514e-1f, 7.2150517e-1f, 8.515259e-1f, 9.2910945e-1f, 9.6979666e-1f, 9.8854977e-1f,
         9.9614614e-1f, 9.9885046e-1f, 9.9969655e-1f, 9.999292e-1f, 9.999854e-1f, 9.999974e-1f, 9.999996e-1f, 9.9999994e-1f},
        {1.2837917e-1f, 1.0571078f, 8.691843e-1f, 6.272388e-1f, 3.972669e-1f, 2.2083111e-1f, 1.07737415e-1f, 4.613189e-2f,
         1.7336618e-2f, 5.718155e-3f, 1.6552967e-3f, 4.2055637e-4f, 9.3778006e-5f, 1.8352963e-5f, 3.152389e-6f, 4.7522778e-7f},
        {0.0f, -2.700159e-1f, -4.440311e-1f, -4.806488e-1f, -4.058995e-1f, -2.820386e-1f, -1.651191e-1f, -8.248559e-2f,
         -3.5426594e-2f, -1.314515e-2f, -4.227946e-3f, -1.1815433e-3f, -2.8739893e-4f, -6.0927254e-5f, -1.1268753e-5f, -1.8198327e-6f},
        {-3.761224e-1f, -3.063869e-1f, -1.3850081e-1f, 3.6466185e-2f, 1.4405552e-1f, 1.6652696e-1f, 1.327933e-1f, 8.2946636e-2f,
         4.2483233e-2f, 1.8240526e-2f, 6.648235e-3f, 2.0732137e-3f, 5.5609946e-4f, 1.2878432e-4f, 2.5821288e-5f, 4.491704e-6f},
        {0.0f, 1.2830158e-1f, 1.8238117e-1f, 1.4574027e-1f, 6.1844245e-2f, -1.18845105e-2f, -4.6349473e-2f, -4.650902e-2f,
         -3.1606585e-2f, -1.664697e-2f, -7.1339738e-3f, -2.547318e-3f, -7.6827424e-4f, -1.9742394e-4f, -4.348146e-5f, -8.242779e-6f},
        {1.12182915e-1f, 7.8401625e-2f, 4.2018555e-3f, -5.5387266e-2f, -6.814484e-2f, -4.3610077e-2f, -1.1304283e-2f, 8.369983e-3f,
         1.3024328e-2f, 9.771851e-3f, 5.253692e-3f, 2.2210125e-3f, 7.6727103e-4f, 2.210345e-4f, 5.375252e-5f, 1.1124227e-5f},
    };
    VEC b = smaller_VEC(splat_VEC(3.92f), magnitude_VEC(x));
    VEC k = fma_VEC(b, splat_VEC(3.9149344f), splat_VEC(12582912.0f)), u = fma_VEC(k - 12582912.0f, splat_VEC(-0.25543212890625f), b);
    VEC w = lookup_VEC(parts[5], k);
    w = fma_VEC(w, u, lookup_VEC(parts[4], k));
    w = fma_VEC(w, u, lookup_VEC(parts[3], k));
    w = fma_VEC(w, u, lookup_VEC(parts[2], k));
    w = fma_VEC(w, u, lookup_VEC(parts[1], k));
    w = fma_VEC(w, u, larger_VEC(lookup_VEC(parts[0], k), u));
    return (VEC)((SIGNED)w | ((SIGNED)x & INT32_MIN));
#else
    VEC a = smaller_VEC(splat_VEC(4.0f), magnitude_VEC(x));
    VEC q = fma_VEC(a, splat_VEC(-9.411665473635367e-7f), splat_VEC(1.817781048885081e-5f));
    q = fma_VEC(q, a, splat_VEC(-1.5157501911744475e-4f));
    q = fma_VEC(q, a, splat_VEC(6.99683849234134e-4f));
    q = fma_VEC(q, a, splat_VEC(-1.7404361860826612e-3f));
    q = fma_VEC(q, a, splat_VEC(2.0540287368930876e-4f));
    q = fma_VEC(q, a, splat_VEC(1.9138488918542862e-2f));
    q = fma_VEC(q, a, splat_VEC(-1.0277565568685532e-1f));
    q = fma_VEC(q, a, splat_VEC(-6.36619508266449e-1f));
    q = fma_VEC(q, a, splat_VEC(-1.2837916612625122e-1f));
    q = fma_VEC(q, a, -a);
    VEC t = fma_VEC(q, splat_VEC(1.442695041f), splat_VEC(12582912.0f));
    VEC f = fma_VEC(t - 12582912.0f, splat_VEC(-6.93147182e-1f), q);
    VEC r = fma_VEC(f, splat_VEC(1.97350979e-4f), splat_VEC(1.39309070e-3f));
    r = fma_VEC(r, f, splat_VEC(8.33343994e-3f));
    r = fma_VEC(r, f, splat_VEC(4.16668020e-2f));
    r = fma_VEC(r, f, splat_VEC(1.66666716e-1f));
    r = fma_VEC(r, f, splat_VEC(4.99999970e-1f));
    r = fma_VEC(r, f * f, f);
    VEC scale = (VEC)(((UNSIGNED)t << 23) + 0xbf800000u);
    r = fma_VEC(r, scale, scale + 1.0f);
    return (VEC)((SIGNED)r | ((SIGNED)x & INT32_MIN));
#endif
}

//: rsqrt any
VEC rsqrt_VEC(VEC x) { return 1 / sqrt_VEC(x); }

//: dot_u8s8 vector i32
// s + the products of four bytes, those of a without sign
VEC dot_u8s8_VEC(VEC a, VEC b, VEC s) {
#ifdef X86_BYTES_VEC
    X86_BYTES_VEC(s, a, b);
#else
    for (int i = 0; i < LANES; i++) {
        uint32_t sum = (uint32_t)s[i];
        for (int k = 0; k < 32; k += 8) sum += (uint32_t)((uint8_t)(a[i] >> k) * (int8_t)(b[i] >> k));
        s[i] = (int32_t)sum;
    }
#endif
    return s;
}

//: dot_i16 vector i32
// s + the products of two integers of 16 bits
VEC dot_i16_VEC(VEC a, VEC b, VEC s) {
#ifdef X86_PAIRS_VEC
    VEC sum;
    X86_PAIRS_VEC(sum, a, b);
    return (VEC)((UNSIGNED)s + (UNSIGNED)sum);
#else
    for (int i = 0; i < LANES; i++) {
        uint32_t low = (uint32_t)((int16_t)a[i] * (int16_t)b[i]), high = (uint32_t)((a[i] >> 16) * (b[i] >> 16));
        s[i] = (int32_t)((uint32_t)s[i] + low + high);
    }
    return s;
#endif
}

//: dot_bf16 vector f32
// s + the products of two numbers of bf16, the upper one first, each rounded once; what is smaller than normal counts as zero
VEC dot_bf16_VEC(SIGNED a, SIGNED b, VEC s) {
#ifdef X86_HALVES_VEC
    X86_HALVES_VEC(s, a, b);
#else
    for (int i = 0; i < LANES; i++) {
        union {
            uint32_t bits[4];
            float value[4];
        } u = {{(uint32_t)a[i] & 0xffff0000u, (uint32_t)b[i] & 0xffff0000u, (uint32_t)a[i] << 16, (uint32_t)b[i] << 16}};
        float sum = s[i];
        for (int k = 0; k < 4; k++)
            if (fabsf(u.value[k]) < 0x1p-126f) u.bits[k] &= 0x80000000u;
        for (int k = 0; k < 4; k += 2) {
            sum = fmaf(u.value[k], u.value[k + 1], fabsf(sum) < 0x1p-126f ? copysignf(0.0f, sum) : sum);
            if (fabsf(sum) < 0x1p-126f) sum = copysignf(0.0f, sum);
        }
        s[i] = sum;
    }
#endif
    return s;
}
