// Functions of generated CUDA C++ that are plain C++: only those a program calls are printed into it.
// "//: name" starts a section; lm_name<T> works on every type T its users give it.

//: larger
template <class T> __device__ __forceinline__ T lm_larger(T a, T b) { return a > b ? a : b; }

//: smaller
template <class T> __device__ __forceinline__ T lm_smaller(T a, T b) { return a < b ? a : b; }

//: maximum
template <class T> __device__ __forceinline__ T lm_maximum(T a, T b) { return a > b || a != a ? a : b; }

//: minimum
template <class T> __device__ __forceinline__ T lm_minimum(T a, T b) { return a < b || a != a ? a : b; }

//: maxnum
template <class T> __device__ __forceinline__ T lm_maxnum(T a, T b) { return a > b || b != b ? a : b; }

//: minnum
template <class T> __device__ __forceinline__ T lm_minnum(T a, T b) { return a < b || b != b ? a : b; }

//: imax
template <class T> __device__ __forceinline__ T lm_imax(T a, T b) { return a > b ? a : b; }

//: imin
template <class T> __device__ __forceinline__ T lm_imin(T a, T b) { return a < b ? a : b; }

//: part
// The last of some ascending numbers that is not above n; the first is 0.
template <class T> __device__ __forceinline__ T lm_part(const T *starts, int count, T n) {
    int low = 0, high = count;
    while (high - low > 1) {
        int middle = (low + high) / 2;
        if (starts[middle] <= n) low = middle;
        else high = middle;
    }
    return (T)low;
}

//: wrapping
// The unsigned integer of the same width: arithmetic in it wraps around.
template <class T> struct lm_wrapping { typedef T type; };
template <> struct lm_wrapping<signed char> { typedef unsigned char type; };
template <> struct lm_wrapping<short> { typedef unsigned short type; };
template <> struct lm_wrapping<int> { typedef unsigned type; };
template <> struct lm_wrapping<long> { typedef unsigned long type; };
template <> struct lm_wrapping<long long> { typedef unsigned long long type; };

//: divide
// Division that never traps: by zero it gives 0.
template <class T> __device__ __forceinline__ T lm_divide(T a, T b) {
    if (b == 0) return 0;
    if (T(-1) < T(0) && b == T(-1)) return T(0 - typename lm_wrapping<T>::type(a));
    return T(a / b);
}

//: remainder
template <class T> __device__ __forceinline__ T lm_remainder(T a, T b) {
    return b == 0 || (T(-1) < T(0) && b == T(-1)) ? T(0) : T(a % b);
}

//: floordiv
template <class T> __device__ __forceinline__ T lm_floordiv(T a, T b) {
    typedef typename lm_wrapping<T>::type U;
    T q = lm_divide<T>(a, b);
    return T(q - (b != 0 && T(U(a) - U(q) * U(b)) != 0 && (a < 0) != (b < 0)));
}

//: ceildiv
template <class T> __device__ __forceinline__ T lm_ceildiv(T a, T b) {
    typedef typename lm_wrapping<T>::type U;
    T q = lm_divide<T>(a, b);
    return T(q + (b != 0 && T(U(a) - U(q) * U(b)) != 0 && (a < 0) == (b < 0)));
}

//: shl
template <class T> __device__ __forceinline__ T lm_shl(T a, T s) {
    typedef typename lm_wrapping<T>::type U;
    return U(s) >= 8 * sizeof(T) ? T(0) : T(U(a) << s);
}

//: shr
template <class T> __device__ __forceinline__ T lm_shr(T a, T s) {
    typedef typename lm_wrapping<T>::type U;
    if (T(-1) < T(0)) return T(a >> (U(s) >= 8 * sizeof(T) ? 8 * sizeof(T) - 1 : U(s)));
    return U(s) >= 8 * sizeof(T) ? T(0) : T(a >> s);
}

//: bitcast
template <class To, class From> __device__ __forceinline__ To lm_bitcast(From x) {
    static_assert(sizeof(To) == sizeof(From), "a bitcast keeps the size");
    union { From from; To to; } u = {x};
    return u.to;
}

//: rsqrt
template <class T> __device__ __forceinline__ T lm_rsqrt(T x) { return T(1) / sqrt(x); }

//: from_bf16
__device__ __forceinline__ float lm_from_bf16(uint16_t h) { return lm_bitcast<float>((uint32_t)h << 16); }

//: round_bf16
__device__ __forceinline__ float lm_round_bf16(float x) { return lm_from_bf16(lm_to_bf16(x)); }

//: round_f16
__device__ __forceinline__ float lm_round_f16(float x) { return lm_from_f16(lm_to_f16(x)); }
