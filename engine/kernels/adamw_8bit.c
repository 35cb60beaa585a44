/*
** adamw_8bit.c - a step of AdamW whose moments are kept in eight bits an element, in blocks.
**
** Block-wise quantisation after Dettmers et al., "8-bit Optimizers via Block-wise Quantization"
** (arXiv:2110.02861), with a code of its own. A block of 256 elements has one scale, its largest
** magnitude, and a byte for each element, x / scale as a small floating-point number:
**   m  sign, 4 bits of exponent (2^-15 to 1), 3 of mantissa; less is 0
**   v  5 bits of exponent (2^-31 to 1), 3 of mantissa; never 0, for a step divides by its root
** The mantissa is rounded up or down by chance, in proportion to what is cut off: a moment that
** falls by a few per cent a step would else stand still. The chance is a hash of the element's
** place and the number of the step, so that a run can be repeated and resumed to the bit.
*/
#include "kernels/flat.h"

#include "base/thread.h"

#ifndef PL_F64_BUILD

enum {
    BLOCK = PL_MOMENT_BLOCK,
    CUT = 20,                  /* bits of a float's mantissa below the three that stay */
    LEAST_M = (127 - 15) << 3, /* exponent and mantissa of what code 0 would be */
    LEAST_V = (127 - 31) << 3,
};

static inline uint32_t bits_of(float x)
{
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}

static inline float float_of(uint32_t u)
{
    float x;
    memcpy(&x, &u, sizeof x);
    return x;
}

/* 32 bits that look random, from an element's place and a step. */
static inline uint32_t chance(uint32_t place, uint32_t step)
{
    uint32_t h = place * 0x9E3779B1u ^ step * 0x7FEB352Du;
    h = (h ^ h >> 16) * 0x85EBCA6Bu;
    h = (h ^ h >> 13) * 0xC2B2AE35u;
    return h ^ h >> 16;
}

/* The largest magnitude, found among bits, whose order is the same and needs no care for NaN. */
static float largest(int64_t n, const float *x)
{
    int32_t most = 0;
    for (int64_t i = 0; i < n; i++) {
        const int32_t size = (int32_t)(bits_of(x[i]) & 0x7FFFFFFFu);
        most = size > most ? size : most;
    }
    return float_of((uint32_t)most);
}

static void read_m(int64_t n, const uint32_t *from, float *x)
{
    const uint8_t *code = (const uint8_t *)(from + 1);
    const float scale = float_of(from[0]);
    for (int64_t i = 0; i < n; i++) {
        const uint32_t c = code[i], size = c & 127;
        const uint32_t u = size == 0 ? 0 : (size + LEAST_M) << CUT | (c & 128) << 24;
        x[i] = float_of(u) * scale;
    }
}

static void read_v(int64_t n, const uint32_t *from, float *x)
{
    const uint8_t *code = (const uint8_t *)(from + 1);
    const float scale = float_of(from[0]);
    for (int64_t i = 0; i < n; i++) x[i] = float_of((code[i] + LEAST_V) << CUT) * scale;
}

static void write_m(int64_t n, const float *x, uint32_t place, uint32_t step, uint32_t *to)
{
    uint8_t *code = (uint8_t *)(to + 1);
    const float scale = largest(n, x), inverse = scale > 0 ? 1 / scale : 0;
    to[0] = bits_of(scale);
    for (int64_t i = 0; i < n; i++) {
        const uint32_t u = bits_of(x[i] * inverse);
        const uint32_t up = chance(place + (uint32_t)i, 2 * step) >> (32 - CUT);
        const int32_t size = (int32_t)(((u & 0x7FFFFFFFu) + up) >> CUT) - LEAST_M;
        code[i] = (uint8_t)((size < 0 ? 0 : size > 127 ? 127 : size) | (int32_t)(u >> 31 << 7));
    }
}

static void write_v(int64_t n, const float *x, uint32_t place, uint32_t step, uint32_t *to)
{
    uint8_t *code = (uint8_t *)(to + 1);
    const float scale = largest(n, x), inverse = scale > 0 ? 1 / scale : 0;
    to[0] = bits_of(scale);
    for (int64_t i = 0; i < n; i++) {
        const uint32_t up = chance(place + (uint32_t)i, 2 * step + 1) >> (32 - CUT);
        const int32_t size = (int32_t)((bits_of(x[i] * inverse) + up) >> CUT) - LEAST_V;
        code[i] = (uint8_t)(size < 1 ? 1 : size > 255 ? 255 : size);
    }
}

void K(adamw_8bit)(int64_t n, float *weight, const float *grad, uint32_t *m, uint32_t *v,
                   int64_t place, int64_t step, const pl_adamw_args *args)
{
    const int64_t blocks = (n + BLOCK - 1) / BLOCK;
    PL_PARALLEL_FOR(n * 16)
    for (int64_t b = 0; b < blocks; b++) {
        const int64_t at = b * BLOCK, size = n - at < BLOCK ? n - at : BLOCK;
        const uint32_t first = (uint32_t)(place + at), now = (uint32_t)step;
        uint32_t *m_at = m + b * PL_MOMENT_WORDS, *v_at = v + b * PL_MOMENT_WORDS;
        float m1[BLOCK] __attribute__((aligned(64))), v1[BLOCK] __attribute__((aligned(64)));
        read_m(size, m_at, m1);
        read_v(size, v_at, v1);
        K(adamw_serial)(size, weight + at, grad + at, m1, v1, args);
        write_m(size, m1, first, now, m_at);
        write_v(size, v1, first, now, v_at);
    }
}
#endif
