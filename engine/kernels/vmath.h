/*
** vmath.h - exp, log, tanh, sigmoid, erf and kin on a `vec`: the same bits in every lane.
**
** float32: range reduction and minimax polynomials (fitted for this file by Lawson iteration on
** Chebyshev nodes), evaluated by v_fma; largest errors over the whole range, in units of the last
** place (vmath_test.c measures them): log 0.8, exp 1.2, tanh and erf 1.4, log1p 1.5, softplus and
** log_sigmoid 2.1, sigmoid 2.4. float64 serves gradient checks alone: lane by lane through libm.
**
** Special values follow libm: NaN in, NaN out; exp underflows through the denormals to 0 and
** overflows to inf; log(0) = -inf, log of a negative is NaN; tanh, erf and sigmoid saturate.
** The results depend on the variant (FMA or not), never on lane, length or neighbours.
*/
#ifndef PL_VMATH_H
#define PL_VMATH_H

#include "vec.h"

#ifdef PL_F64_BUILD
#define V_SIGN INT64_MIN
#else
#define V_SIGN INT32_MIN
#endif

static inline vec v_abs(vec x)
{
    return (vec)((ivec)x & ~V_SIGN);
}

static inline vec v_copysign(vec magnitude, vec sign)
{
    return (vec)(((ivec)magnitude & ~V_SIGN) | ((ivec)sign & V_SIGN));
}

#ifdef PL_F64_BUILD

#define V_LANES(name, f)                             \
    static inline vec name(vec x)                    \
    {                                                \
        for (int i = 0; i < VL; i++) x[i] = f(x[i]); \
        return x;                                    \
    }
V_LANES(v_exp, exp)
V_LANES(v_log, log)
V_LANES(v_log1p, log1p)
V_LANES(v_tanh, tanh)
V_LANES(v_erf, erf)
#undef V_LANES

#else

/* c[0] + c[1] x + ... + c[n-1] x^(n-1), by Horner's rule; n is a constant where this is called. */
static inline __attribute__((always_inline)) vec v_poly(vec x, const float *c, int n)
{
    vec y = v_set1(c[n - 1]);
    for (int i = n - 2; i >= 0; i--) y = v_fma(y, x, v_set1(c[i]));
    return y;
}

#define V_LN2_HI 0.693359375f /* 9 bits: its products with exponents are exact */
#define V_LN2_LO -2.12194440e-4f
#define V_LOG2_E 1.44269504f
#define V_EXP_ROUND 12582912.0f /* 1.5 * 2^23: adding it leaves the integer part */
#define V_EXP_TERMS                                                                     \
    {                                                                                   \
        1.0f, 1.0f, 4.999999332e-1f, 1.666651879e-1f, 4.166840970e-2f, 8.368939498e-3f, \
            1.381413732e-3f                                                             \
    }

/* e^x = 2^k e^r with |r| <= ln 2 / 2. */
static inline vec v_exp(vec x)
{
    static const float c[] = V_EXP_TERMS;
    const vec round = v_set1(V_EXP_ROUND);
    x = v_min(v_set1(90.0f), v_max(v_set1(-105.0f), x)); /* this order lets NaN through */
    vec t = v_fma(x, v_set1(V_LOG2_E), round);
    vec n = t - round;
    vec r = v_fma(n, v_set1(-V_LN2_LO), v_fma(n, v_set1(-V_LN2_HI), x));
    vec y = v_poly(r, c, 7);
#if defined(__AVX512F__)
    return (vec)_mm512_scalef_ps((__m512)y, (__m512)n);
#else
    /* Two factors, for 2^k alone may be no normal number; only the second product can round. */
    ivec k = (ivec)t - (ivec)round, half = k >> 1;
    return y * (vec)((half + 127) << 23) * (vec)((k - half + 127) << 23);
#endif
}

/* log x = k ln 2 + log(1 + f) with 1 + f in [sqrt(1/2), sqrt 2). */
static inline vec v_log(vec x)
{
    static const float c[] = {3.333331260e-1f,  -2.500000960e-1f, 2.000211866e-1f,
                              -1.666799586e-1f, 1.421955238e-1f,  -1.240558888e-1f,
                              1.188816210e-1f,  -1.167565197e-1f, 6.746641048e-2f};
    const vec inf = v_set1(INFINITY);
    ivec denormal = x < v_set1(1.17549435e-38f);
    vec m = v_abs(v_select(denormal, x * v_set1(8388608.0f), x)); /* the sign is seen to below */
    ivec k = ((ivec)m - 0x3f3504f3) >> 23; /* 0x3f3504f3: the bits of sqrt(1/2) */
    vec f = (vec)((ivec)m - (k << 23)) - v_set1(1.0f);
    vec e = __builtin_convertvector(k - (denormal & 23), vec);
    vec f2 = f * f;
    vec y = v_fma(e, v_set1(V_LN2_LO), v_poly(f, c, 9) * f * f2);
    y = v_fma(e, v_set1(V_LN2_HI), f + v_fma(f2, v_set1(-0.5f), y));
    y = v_select(x == v_set1(0.0f), -inf, y);
    y = v_select(x == inf, inf, y);
    return v_select(x >= v_set1(0.0f), y, v_set1(NAN));
}

/* log(1 + x): what rounding took from u = 1 + x comes back as (x - (u - 1)) / u. */
static inline vec v_log1p(vec x)
{
    const vec one = v_set1(1.0f);
    vec u = one + x, y = v_log(u);
    vec fixed = y + (x - (u - one)) / u;
    ivec edge = (u == v_set1(0.0f)) | (u == v_set1(INFINITY));
    return v_select(edge, y, v_select(x == v_set1(0.0f), x, fixed));
}

/* Near 0 an odd polynomial, elsewhere 1 - 2 / (e^2x + 1). */
static inline vec v_tanh(vec x)
{
    static const float c[] = {-3.333333057e-1f, 1.333319652e-1f,  -5.394552045e-2f,
                              2.169368121e-2f,  -8.159555173e-3f, 2.126227211e-3f};
    const vec one = v_set1(1.0f);
    vec a = v_abs(x), x2 = a * a;
    vec near = v_fma(v_poly(x2, c, 6) * x2, a, a);
    vec far = one - v_set1(2.0f) / (v_exp(a + a) + one);
    return v_copysign(v_select(a < v_set1(0.625f), near, far), x);
}

/* Near 0 an odd polynomial; beyond 1, erf = 1 - e^-p with p a polynomial for -log erfc. */
static inline vec v_erf(vec x)
{
    static const float c[] = {1.283791657e-1f, -3.761262583e-1f, 1.128358516e-1f, -2.685381229e-2f,
                              5.188328277e-3f, -8.010198302e-4f, 7.853875613e-5f};
    static const float d[] = {5.364941044e+0f,  4.418159387e+0f, 9.237534822e-1f, 1.648790395e-2f,
                              -3.544232477e-3f, 7.111079995e-4f, -1.863791935e-4f};
    vec a = v_abs(x), x2 = x * x;
    vec near = v_fma(v_poly(x2, c, 7), a, a);
    vec b = v_min(v_set1(4.0f), a) - v_set1(2.0f); /* erfc(4) is below half a unit of 1 */
    vec far = v_set1(1.0f) - v_exp(-v_poly(b, d, 7));
    return v_copysign(v_select(a < v_set1(1.0f), near, far), x);
}

#endif

/* 1 / (1 + e^-x), without overflow and keeping small results exact on the far left. */
static inline vec v_sigmoid(vec x)
{
    const vec one = v_set1(REAL(1.0));
    vec e = v_exp(-v_abs(x));
    return v_select(x < v_set1(REAL(0.0)), e, one) / (one + e);
}

/* log(1 + e^x). */
static inline vec v_softplus(vec x)
{
    return v_max(v_set1(REAL(0.0)), x) + v_log1p(v_exp(-v_abs(x)));
}

/* log sigmoid(x) = -softplus(-x). */
static inline vec v_log_sigmoid(vec x)
{
    return v_min(v_set1(REAL(0.0)), x) - v_log1p(v_exp(-v_abs(x)));
}

/* e^x of what a softmax takes, at most some roundings above 0, and 0 where that would be no normal
** number: a processor takes some hundred cycles over each underflow, and softmax rows are full of
** them. NaN stays NaN. */
static inline vec v_exp_normal(vec x)
{
    const vec least = v_set1(sizeof(real) == 4 ? REAL(-87.0) : REAL(-708.0));
#if defined(__AVX512F__) && !defined(PL_F64_BUILD)
    static const float c[] = V_EXP_TERMS;
    const vec round = v_set1(V_EXP_ROUND);
    const __mmask16 normal = _mm512_cmp_ps_mask((__m512)x, (__m512)least, _CMP_NLT_UQ);
    x = v_max(least, x);
    const vec n = v_fma(x, v_set1(V_LOG2_E), round) - round;
    const vec r = v_fma(n, v_set1(-V_LN2_LO), v_fma(n, v_set1(-V_LN2_HI), x));
    return (vec)_mm512_maskz_scalef_ps(normal, (__m512)v_poly(r, c, 7), (__m512)n);
#else
    return (vec)((ivec)v_exp(v_max(least, x)) & ~(x < least));
#endif
}

#endif
