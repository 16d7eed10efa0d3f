// Helper functions of generated C, as templates: only those a program calls are printed into it.
//
// "//: name form [elements]" starts a section. form: vector, scalar or any (both). In a section VEC is the value type
// (f32x16, or float in scalar form), ELT its element (float), SIGNED and UNSIGNED the integers of the same width and lanes,
// WIDE the f32 value of the same lanes, NARROW the uint16 one, LANES and BITS numbers; exp_VEC( becomes exp_f32x16(.
// A function without a scalar form is called on four equal lanes: a scalar and a lane are the same bit for bit.

//: splat vector
VEC splat_VEC(ELT x) { return x - (VEC){0}; }

//: select vector
VEC select_VEC(SIGNED mask, VEC a, VEC b) { return (VEC)(((SIGNED)a & mask) | ((SIGNED)b & ~mask)); }

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
    UNSIGNED b = __builtin_convertvector(h, UNSIGNED), a = (b & 0x7fff) << 13;
    UNSIGNED special = (UNSIGNED)((b & 0x7c00) == 0x7c00);
    UNSIGNED finite = (UNSIGNED)((VEC)a * 0x1p112f);
    return (VEC)(((a | 0x7f800000) & special) | (finite & ~special) | ((b & 0x8000) << 16));
}

//: from_f16 scalar
ELT from_f16_ELT(uint16_t h) {
    union { UNSIGNED bits; ELT value; } u = {((UNSIGNED)h & 0x7fff) << 13};
    if ((h & 0x7c00) == 0x7c00) u.bits |= 0x7f800000;
    else u.value *= 0x1p112f;
    u.bits |= ((UNSIGNED)h & 0x8000) << 16;
    return u.value;
}

//: to_f16 vector
NARROW to_f16_VEC(VEC x) {
    UNSIGNED b = (UNSIGNED)x, a = b & 0x7fffffff;
    UNSIGNED normal = (a - 0x38000000 + 0xfff + ((a >> 13) & 1)) >> 13;
    UNSIGNED small = (UNSIGNED)((VEC)a + 0.5f) - 0x3f000000;
    UNSIGNED is_small = (UNSIGNED)(a < 0x38800000), is_large = (UNSIGNED)(a >= 0x477ff000);
    UNSIGNED large = 0x7c00 | ((UNSIGNED)(x != x) & 0x0200);
    UNSIGNED y = (small & is_small) | (large & is_large) | (normal & ~is_small & ~is_large);
    return __builtin_convertvector(y | ((b >> 16) & 0x8000), NARROW);
}

//: to_f16 scalar
uint16_t to_f16_ELT(ELT x) {
    union { ELT value; UNSIGNED bits; } u = {x}, small;
    UNSIGNED sign = (u.bits >> 16) & 0x8000, a = u.bits & 0x7fffffff;
    if (a >= 0x477ff000) return (uint16_t)(sign | 0x7c00 | (x != x ? 0x0200 : 0));
    if (a >= 0x38800000) return (uint16_t)(sign | ((a - 0x38000000 + 0xfff + ((a >> 13) & 1)) >> 13));
    small.bits = a;
    small.value += 0.5f;
    return (uint16_t)(sign | (small.bits - 0x3f000000));
}

//: round_bf16 any
VEC round_bf16_VEC(VEC x) { return from_bf16_VEC(to_bf16_VEC(x)); }

//: round_f16 any
VEC round_f16_VEC(VEC x) { return from_f16_VEC(to_f16_VEC(x)); }

//: exp vector f32
// 0.9 ulp, denormal results included.
VEC exp_VEC(VEC x) {
    VEC c = select_VEC(x > 89.0f, splat_VEC(89.0f), x);
    c = select_VEC(c < -104.0f, splat_VEC(-104.0f), c);
    VEC t = fma_VEC(c, splat_VEC(1.442695041f), splat_VEC(12582912.0f)), j = t - 12582912.0f;
    SIGNED n = (SIGNED)t - 0x4b400000, half = n >> 1;
    VEC f = fma_VEC(j, splat_VEC(-1.42860677e-6f), fma_VEC(j, splat_VEC(-6.93145752e-1f), c));
    VEC r = fma_VEC(f, splat_VEC(1.37805939e-3f), splat_VEC(8.37312452e-3f));
    r = fma_VEC(r, f, splat_VEC(4.16695364e-2f));
    r = fma_VEC(r, f, splat_VEC(1.66664720e-1f));
    r = fma_VEC(r, f, splat_VEC(4.99999851e-1f));
    r = fma_VEC(r, f, splat_VEC(1.0f));
    r = fma_VEC(r, f, splat_VEC(1.0f));
    return r * (VEC)((half + 127) << 23) * (VEC)((n - half + 127) << 23);
}

//: exp_normal vector f32
// exp clamped to normal results, for functions built on it; NaN is not kept.
VEC exp_normal_VEC(VEC x) {
    VEC c = select_VEC(x > -87.33f, x, splat_VEC(-87.33f));
    c = select_VEC(c < 88.37f, c, splat_VEC(88.37f));
    VEC t = fma_VEC(c, splat_VEC(1.442695041f), splat_VEC(12582912.0f)), j = t - 12582912.0f;
    VEC f = fma_VEC(j, splat_VEC(-1.42860677e-6f), fma_VEC(j, splat_VEC(-6.93145752e-1f), c));
    VEC r = fma_VEC(f, splat_VEC(1.37805939e-3f), splat_VEC(8.37312452e-3f));
    r = fma_VEC(r, f, splat_VEC(4.16695364e-2f));
    r = fma_VEC(r, f, splat_VEC(1.66664720e-1f));
    r = fma_VEC(r, f, splat_VEC(4.99999851e-1f));
    r = fma_VEC(r, f, splat_VEC(1.0f));
    r = fma_VEC(r, f, splat_VEC(1.0f));
    return (VEC)((SIGNED)r + (SIGNED)((UNSIGNED)t << 23));
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
    r = fma_VEC(i, splat_VEC(0.693147182f), r);
    r = select_VEC((SIGNED)(x > 3.40282347e+38f) | (x != x), x, r);
    r = select_VEC((SIGNED)(x == 0.0f), splat_VEC(-INFINITY), r);
    return select_VEC((SIGNED)(x < 0.0f), splat_VEC(NAN), r);
}

//: tanh vector f32
// 1.8 ulp.
VEC tanh_VEC(VEC x) {
    SIGNED sign = (SIGNED)x & INT32_MIN;
    VEC a = (VEC)((SIGNED)x & 0x7fffffff), s = x * x;
    VEC r = 1.0f - 2.0f / (exp_normal_VEC(a + a) + 1.0f);
    r = select_VEC(a > 9.1f, splat_VEC(1.0f), r);
    VEC p = fma_VEC(s, splat_VEC(1.57394409e-2f), splat_VEC(-5.23025580e-2f));
    p = fma_VEC(p, s, splat_VEC(1.33152470e-1f));
    p = fma_VEC(p, s, splat_VEC(-3.33327681e-1f));
    p = fma_VEC(p * s, a, a);
    VEC y = (VEC)((SIGNED)select_VEC(a >= 0.599609375f, r, p) | sign);
    return select_VEC(x != x, x, y);
}

//: erf vector f32
// 1.0 ulp.
VEC erf_VEC(VEC x) {
    SIGNED sign = (SIGNED)x & INT32_MIN;
    VEC t = (VEC)((SIGNED)x & 0x7fffffff), s = x * x;
    VEC r = fma_VEC(t, splat_VEC(-1.72853470e-5f), splat_VEC(3.83197126e-4f));
    VEC u = fma_VEC(t, splat_VEC(-3.88396438e-3f), splat_VEC(2.42546219e-2f));
    r = fma_VEC(r, s, u);
    r = fma_VEC(r, t, splat_VEC(-1.06777877e-1f));
    r = fma_VEC(r, t, splat_VEC(-6.34846687e-1f));
    r = fma_VEC(r, t, splat_VEC(-1.28717512e-1f));
    r = fma_VEC(r, t, -t);
    r = 1.0f - exp_normal_VEC(r);
    r = (VEC)((SIGNED)select_VEC(t > 4.0f, splat_VEC(1.0f), r) | sign);
    VEC p = fma_VEC(s, splat_VEC(-5.96761703e-4f), splat_VEC(4.99119423e-3f));
    p = fma_VEC(p, s, splat_VEC(-2.67681349e-2f));
    p = fma_VEC(p, s, splat_VEC(1.12819925e-1f));
    p = fma_VEC(p, s, splat_VEC(-3.76125336e-1f));
    p = fma_VEC(p, s, splat_VEC(1.28379166e-1f));
    p = fma_VEC(p, x, x);
    return select_VEC(x != x, x, select_VEC(t > 0.927734375f, r, p));
}

//: rsqrt any
VEC rsqrt_VEC(VEC x) { return 1 / sqrt_VEC(x); }
