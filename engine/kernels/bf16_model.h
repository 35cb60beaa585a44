/*
** bf16_model.h - in plain C, to the bit, what the processors' bfloat16 instructions compute.
**
** VDPBF16PS (AVX512_BF16) and TDPBF16PS (AMX) are built of fused multiply-adds and sums of float32
** that round to nearest even whatever MXCSR says, read denormal numbers as zeros of their sign and
** write zeros in place of denormal results. A result counts as denormal when it would be below
** 2^-126 after rounding to 24 bits with an unbounded exponent. Of several NaNs the first operand's
** goes on, quiet. Formulas: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2;
** tests/engine/gemm_bf16_test.c holds the models to the instructions where there are any.
*/
#ifndef PL_KERNELS_BF16_MODEL_H
#define PL_KERNELS_BF16_MODEL_H

#include "kernels/bf16.h"

static inline uint32_t model_bits(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static inline float model_float(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static inline float model_flushed(float x)
{
    const uint32_t bits = model_bits(x);
    return bits & 0x7f800000 ? x : model_float(bits & 0x80000000);
}

static inline bool model_is_nan(float x)
{
    return (model_bits(x) & 0x7fffffff) > 0x7f800000;
}

static inline float model_quiet(float x)
{
    return model_float(model_bits(x) | 0x00400000);
}

/* `rounded` with its denormal values as zeros. `exact`, in double precision, tells apart what was
** rounded up to 2^-126 from below the middle of the last two numbers of 24 bits. */
static inline float model_result(float rounded, double exact)
{
    if (model_is_nan(rounded)) return model_float(0xffc00000);
    if (fabsf(rounded) == 0x1p-126f && fabs(exact) < 0x1p-126 - 0x1p-151)
        return copysignf(0, rounded);
    return model_flushed(rounded);
}

/* a b + c; a and b are bfloat16 values, whose product is exact in double precision. */
static inline float model_fma(float a, float b, float c)
{
    if (model_is_nan(a)) return model_quiet(a);
    if (model_is_nan(b)) return model_quiet(b);
    if (model_is_nan(c)) return model_quiet(c);
    a = model_flushed(a);
    b = model_flushed(b);
    c = model_flushed(c);
    return model_result(fmaf(a, b, c), (double)a * b + c);
}

static inline float model_add(float a, float b)
{
    if (model_is_nan(a)) return model_quiet(a);
    if (model_is_nan(b)) return model_quiet(b);
    a = model_flushed(a);
    b = model_flushed(b);
    return model_result(a + b, (double)a + b);
}

/* One element of VDPBF16PS zmm1 {c}, zmm2 {x}, zmm3 {y}: the upper products first. */
static inline float model_pair(const uint16_t x[2], const uint16_t y[2], float c)
{
    c = model_fma(bf16_value(x[1]), bf16_value(y[1]), c);
    return model_fma(bf16_value(x[0]), bf16_value(y[0]), c);
}

/* One element of TDPBF16PS tmm1 {c}, tmm2 {x, its row}, tmm3: y[stride * i] is the first of the
** i-th pair of its column. */
static inline float model_tile(const uint16_t x[32], const uint16_t *y, int64_t stride, float c)
{
    float even = 0, odd = 0;
    for (int i = 0; i < 16; i++, y += stride) {
        even = model_fma(bf16_value(x[2 * i]), bf16_value(y[0]), even);
        odd = model_fma(bf16_value(x[2 * i + 1]), bf16_value(y[1]), odd);
    }
    return model_add(c, model_add(even, odd));
}

#endif
