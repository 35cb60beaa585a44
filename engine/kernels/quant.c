/*
** quant.c - kept dtypes to numbers, and numbers to the three that are written.
*/
#include "kernels/quant.h"

#include "base/thread.h"
#include "kernels/quant_piece.h"

enum { RUN = 4096 }; /* elements a thread takes at a time: whole blocks of every dtype */

void K(dequantise)(pl_dtype dtype, int64_t n, const void *blocks, real *values)
{
    const int64_t runs = (n + RUN - 1) / RUN;
    PL_PARALLEL_FOR(n * 2)
    for (int64_t r = 0; r < runs; r++) {
        const int64_t from = r * RUN, count = n - from < RUN ? n - from : RUN;
#ifdef PL_F64_BUILD
        float narrow[RUN];
        row_values(dtype, blocks, from, count, narrow);
        for (int64_t i = 0; i < count; i++) values[from + i] = narrow[i];
#else
        row_values(dtype, blocks, from, count, values + from);
#endif
    }
}

#ifndef PL_F64_BUILD
static bool is_finite(uint32_t bits)
{
    return (bits & 0x7f800000) != 0x7f800000;
}

/* To the nearest, ties to even; false when a finite number becomes infinite. */
static bool to_bfloat(float x, uint16_t *out)
{
    const uint32_t bits = bits_of_float(x);
    if (!is_finite(bits)) {
        *out = (uint16_t)(bits >> 16 | ((bits & 0x7fffff) != 0 ? 0x40 : 0));
        return true;
    }
    *out = (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
    return (*out & 0x7f80) != 0x7f80;
}

static bool to_half(float x, uint16_t *out)
{
    const uint32_t bits = bits_of_float(x), sign = bits >> 16 & 0x8000;
    const uint32_t size = bits & 0x7fffffff;
    if (!is_finite(bits)) {
        *out =
            (uint16_t)(sign | 0x7c00 | ((bits & 0x7fffff) != 0 ? 0x200 | (bits >> 13 & 0x3ff) : 0));
        return true;
    }
    if (size < 0x38800000) { /* below 2^-14: a multiple of 2^-24, which adding 1/2 makes room for */
        const float aligned = float_of_bits(size) + 0.5f;
        *out = (uint16_t)(sign | (bits_of_float(aligned) - 0x3f000000));
        return true;
    }
    const uint32_t half = (size - (112u << 23) + 0xfff + (size >> 13 & 1)) >> 13;
    *out = (uint16_t)(sign | (half < 0x7c00 ? half : 0x7c00));
    return half < 0x7c00;
}

/* The first element of 32 that is no number or too large; -1 for none. */
static int to_q8_0(const float *x, uint8_t *block)
{
    float most = 0;
    int most_at = 0;
    for (int i = 0; i < PIECE; i++) {
        const float size = fabsf(x[i]);
        if (!is_finite(bits_of_float(x[i]))) return i;
        if (size > most) most = size, most_at = i;
    }
    const float scale = most / 127, inverse = scale != 0 ? 1 / scale : 0;
    uint16_t half;
    if (!to_half(scale, &half)) return most_at;
    block[0] = (uint8_t)half;
    block[1] = (uint8_t)(half >> 8);
    for (int i = 0; i < PIECE; i++) {
        const float q = roundf(x[i] * inverse); /* infinite where 1 / scale is */
        block[2 + i] = (uint8_t)(int8_t)(q > 127 ? 127 : q < -127 ? -127 : q);
    }
    return -1;
}

static int64_t quantise_run(pl_dtype dtype, int64_t n, const float *values, void *blocks)
{
    int64_t bad = -1;
    if (dtype == PL_Q8_0) {
        for (int64_t i = 0; i < n; i += PIECE) {
            const int at = to_q8_0(values + i, (uint8_t *)blocks + i / PIECE * 34);
            if (at >= 0 && bad < 0) bad = i + at;
        }
        return bad;
    }
    uint16_t *out = blocks;
    for (int64_t i = 0; i < n; i++) {
        const bool fits =
            dtype == PL_BF16 ? to_bfloat(values[i], &out[i]) : to_half(values[i], &out[i]);
        if (!fits && bad < 0) bad = i;
    }
    return bad;
}

int64_t K(quantise)(pl_dtype dtype, int64_t n, const float *values, void *blocks)
{
    const int64_t runs = (n + RUN - 1) / RUN;
    int64_t bad = INT64_MAX;
    PL_PRAGMA_(omp parallel for schedule(static) num_threads(pl__threads_for(n * 4))
               reduction(min : bad))
    for (int64_t r = 0; r < runs; r++) {
        const int64_t from = r * RUN, count = n - from < RUN ? n - from : RUN;
        const int64_t at = quantise_run(dtype, count, values + from,
                                        (uint8_t *)blocks + pl__dtype_bytes(dtype, from));
        if (at >= 0 && from + at < bad) bad = from + at;
    }
    return bad == INT64_MAX ? -1 : bad;
}
#endif
