/*
** quant_piece.h - one piece of a kept row: 32 elements of it, as integers with their factors.
**
** The one place that knows the bits of each block format (layouts: quant.h).
*/
#ifndef PL_QUANT_PIECE_H
#define PL_QUANT_PIECE_H

#include <string.h>

#include "base/dtype.h"
#include "kernels/quant.h"

enum { PIECE = 32 };

/* Element i: scale[i / 16] * q[i], and then + least when has_least. */
typedef struct {
    int8_t q[PIECE];
    float scale[2];
    float least;
    bool has_least;
} piece;

static inline float float_of_bits(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static inline uint32_t bits_of_float(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

/* As the machine's instruction: a signalling NaN becomes a quiet one. */
static inline float float_of_half(uint16_t half)
{
    const uint32_t sign = (uint32_t)(half & 0x8000) << 16, rest = half & 0x7fff;
    if (rest >= 0x7c00)
        return float_of_bits(sign | 0x7f800000 | (rest & 0x3ff) << 13 |
                             (rest > 0x7c00 ? 0x400000 : 0));
    if (rest >= 0x400) return float_of_bits(sign | ((rest << 13) + (112u << 23)));
    const float small = (float)rest * 0x1p-24f;
    return sign ? -small : small;
}

static inline float read_half(const uint8_t *at)
{
    return float_of_half((uint16_t)(at[0] | at[1] << 8));
}

static inline float read_bfloat(const uint8_t *at)
{
    return float_of_bits((uint32_t)at[0] << 16 | (uint32_t)at[1] << 24);
}

/* Six bits of scale and least for the j-th 32 elements of a q4_k or q5_k block. */
static inline void read_six_bits(const uint8_t *packed, int j, int *scale, int *least)
{
    if (j < 4) {
        *scale = packed[j] & 63;
        *least = packed[j + 4] & 63;
    } else {
        *scale = (packed[j + 4] & 15) | (packed[j - 4] >> 6) << 4;
        *least = packed[j + 4] >> 4 | (packed[j] >> 6) << 4;
    }
}

static inline void read_simple(pl_dtype dtype, const uint8_t *block, piece *p)
{
    const bool has_least = dtype == PL_Q4_1 || dtype == PL_Q5_1;
    const bool fifth = dtype == PL_Q5_0 || dtype == PL_Q5_1;
    const int middle = has_least ? 0 : fifth ? 16 : 8;
    const uint8_t *nibbles = block + (has_least ? 4 : 2) + (fifth ? 4 : 0);
    uint32_t bits = 0;
    if (fifth) memcpy(&bits, nibbles - 4, 4);
    for (int i = 0; i < PIECE / 2; i++) {
        p->q[i] = (int8_t)(((nibbles[i] & 15) | (int)(bits >> i & 1) << 4) - middle);
        p->q[i + 16] = (int8_t)((nibbles[i] >> 4 | (int)(bits >> (i + 16) & 1) << 4) - middle);
    }
    p->scale[0] = p->scale[1] = read_half(block);
    p->least = has_least ? read_half(block + 2) : 0;
    p->has_least = has_least;
}

static inline void read_k4_k5(pl_dtype dtype, const uint8_t *block, int j, piece *p)
{
    const bool fifth = dtype == PL_Q5_K;
    const uint8_t *bits = block + 16, *nibbles = block + (fifth ? 48 : 16) + j / 2 * PIECE;
    const int shift = j % 2 * 4;
    int scale, least;
    read_six_bits(block + 4, j, &scale, &least);
    for (int i = 0; i < PIECE; i++)
        p->q[i] = (int8_t)((nibbles[i] >> shift & 15) | (fifth ? (bits[i] >> j & 1) << 4 : 0));
    p->scale[0] = p->scale[1] = read_half(block) * (float)scale;
    p->least = -(read_half(block + 2) * (float)least);
    p->has_least = true;
}

static inline void read_k6(const uint8_t *block, int j, piece *p)
{
    const int half = j / 4, quarter = j % 4;
    const uint8_t *low = block + half * 64 + quarter % 2 * 32, *high = block + 128 + half * 32;
    const int8_t *scales = (const int8_t *)block + 192 + j * 2;
    const float d = read_half(block + 208);
    for (int i = 0; i < PIECE; i++)
        p->q[i] =
            (int8_t)(((low[i] >> quarter / 2 * 4 & 15) | (high[i] >> quarter * 2 & 3) << 4) - 32);
    p->scale[0] = d * (float)scales[0];
    p->scale[1] = d * (float)scales[1];
    p->least = 0;
    p->has_least = false;
}

/* The j-th piece of a block; block formats alone. */
static inline void read_piece(pl_dtype dtype, const uint8_t *block, int j, piece *p)
{
    switch (dtype) {
    case PL_Q4_K:
    case PL_Q5_K: read_k4_k5(dtype, block, j, p); break;
    case PL_Q6_K: read_k6(block, j, p); break;
    case PL_Q8_0:
        memcpy(p->q, block + 2, PIECE);
        p->scale[0] = p->scale[1] = read_half(block);
        p->least = 0;
        p->has_least = false;
        break;
    default: read_simple(dtype, block, p);
    }
}

static inline void piece_values(const piece *p, float values[PIECE])
{
    for (int i = 0; i < PIECE; i++) values[i] = p->scale[i / 16] * (float)p->q[i];
    if (!p->has_least) return; /* + 0 would make 0 of -0 */
    for (int i = 0; i < PIECE; i++) values[i] += p->least;
}

/* `count` elements from `from` on of a row of blocks; both multiples of PIECE, but for the dtypes
** without blocks. */
static inline void row_values(pl_dtype dtype, const void *row, int64_t from, int64_t count,
                              float *values)
{
    const uint8_t *bytes = row;
    if (dtype == PL_BF16) {
        for (int64_t i = 0; i < count; i++) values[i] = read_bfloat(bytes + 2 * (from + i));
        return;
    }
    if (dtype == PL_F16) {
        for (int64_t i = 0; i < count; i++) values[i] = read_half(bytes + 2 * (from + i));
        return;
    }
    const int shift = pl__dtypes[dtype].shift - 5; /* pieces of a block, as a power of two */
    for (int64_t i = 0; i < count; i += PIECE) {
        const int64_t at = (from + i) / PIECE;
        piece p;
        read_piece(dtype, bytes + (at >> shift) * pl__dtypes[dtype].bytes,
                   (int)(at & ((1 << shift) - 1)), &p);
        piece_values(&p, values + i);
    }
}

#endif
