/*
** bf16.h - bfloat16: the upper half of a float32.
*/
#ifndef PL_KERNELS_BF16_H
#define PL_KERNELS_BF16_H

#include "kernels/variant.h"

static inline float bf16_value(uint16_t x)
{
    const uint32_t bits = (uint32_t)x << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* The bfloat16 next to x, ties to even; NaN stays NaN, beyond the largest is infinity. */
static inline uint16_t bf16_of(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    if (x != x) return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

#endif
