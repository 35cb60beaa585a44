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

#if defined(__AVX2__) || defined(__AVX512F__)
#include <immintrin.h>
#endif

enum { PIECE = 32 };

/* Element i: scale[i / 16] * q[i], and then + least when has_least. */
typedef struct {
    int8_t q[PIECE] __attribute__((aligned(64)));
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

/* A signalling NaN becomes a quiet one. */
static inline float float_of_half(uint16_t half)
{
#if defined(__F16C__)
    return _cvtsh_ss(half);
#endif
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

/* Sixteen bytes, and as many words of two. */
typedef uint8_t bytes16 __attribute__((vector_size(16)));
typedef uint16_t words8 __attribute__((vector_size(16)));

static inline bytes16 load_bytes(const void *at)
{
    bytes16 r;
    memcpy(&r, at, sizeof r);
    return r;
}

static inline void put_bytes(piece *p, int half, bytes16 q)
{
    memcpy(p->q + 16 * half, &q, sizeof q);
}

/* The bits of mask, and no higher than the eighth, `shift` places up in each byte. */
static inline bytes16 bits_at(bytes16 x, int shift, int mask)
{
    return (bytes16)((words8)x >> shift) & (uint8_t)mask;
}

/* Sixteen bits, each as the fifth one of a byte. */
static inline bytes16 fifth_bits(const uint8_t *at)
{
    const uint64_t twice[2] = {at[0] * UINT64_C(0x0101010101010101),
                               at[1] * UINT64_C(0x0101010101010101)};
    const bytes16 own = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
    return (bytes16)((load_bytes(twice) & own) == own) & 16;
}

/* Of 32 elements; inlined, so that each of the four formats has loops of its own. */
static inline __attribute__((always_inline)) void
read_simple(const bool fifth, const bool has_least, const uint8_t *block, piece *p)
{
    const uint8_t middle = has_least ? 0 : fifth ? 16 : 8;
    const uint8_t *nibbles = block + (has_least ? 4 : 2) + (fifth ? 4 : 0);
    const bytes16 both = load_bytes(nibbles);
    for (int half = 0; half < 2; half++) {
        bytes16 q = bits_at(both, 4 * half, 15);
        if (fifth) q |= fifth_bits(nibbles - 4 + 2 * half);
        put_bytes(p, half, q - middle);
    }
    p->scale[0] = p->scale[1] = read_half(block);
    p->least = has_least ? read_half(block + 2) : 0;
    p->has_least = has_least;
}

static inline void read_k4_k5(pl_dtype dtype, const uint8_t *block, int j, piece *p)
{
    const bool fifth = dtype == PL_Q5_K;
    const uint8_t *upper = block + 16, *nibbles = block + (fifth ? 48 : 16) + j / 2 * PIECE;
    int scale, least;
    read_six_bits(block + 4, j, &scale, &least);
    for (int half = 0; half < 2; half++) {
        bytes16 q = bits_at(load_bytes(nibbles + 16 * half), j % 2 * 4, 15);
        if (fifth) q |= bits_at(load_bytes(upper + 16 * half), j, 1) << 4;
        put_bytes(p, half, q);
    }
    p->scale[0] = p->scale[1] = read_half(block) * (float)scale;
    p->least = -(read_half(block + 2) * (float)least);
    p->has_least = true;
}

static inline void read_k6(const uint8_t *block, int j, piece *p)
{
    const int quarter = j % 4;
    const uint8_t *low = block + j / 4 * 64 + quarter % 2 * 32, *high = block + 128 + j / 4 * 32;
    const int8_t *scales = (const int8_t *)block + 192 + j * 2;
    const float d = read_half(block + 208);
    for (int half = 0; half < 2; half++) {
        const bytes16 q = bits_at(load_bytes(low + 16 * half), quarter / 2 * 4, 15) |
                          bits_at(load_bytes(high + 16 * half), quarter * 2, 3) << 4;
        put_bytes(p, half, q - 32);
    }
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
    case PL_Q4_0: read_simple(false, false, block, p); break;
    case PL_Q4_1: read_simple(false, true, block, p); break;
    case PL_Q5_0: read_simple(true, false, block, p); break;
    default: read_simple(true, true, block, p);
    }
}

/* Some of p's elements from i on as numbers; QL at a time. */
#if defined(__AVX512F__)
enum { QL = 16 };
typedef float numbers __attribute__((vector_size(QL * 4)));
static inline numbers numbers_of(const piece *p, int i)
{
    return (numbers)_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32((__m128i)load_bytes(p->q + i)));
}
#elif defined(__AVX2__)
enum { QL = 8 };
typedef float numbers __attribute__((vector_size(QL * 4)));
static inline numbers numbers_of(const piece *p, int i)
{
    const __m128i q = _mm_loadl_epi64((const __m128i *)(p->q + i));
    return (numbers)_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(q));
}
#else
enum { QL = 4 };
typedef float numbers __attribute__((vector_size(QL * 4)));
static inline numbers numbers_of(const piece *p, int i)
{
    return (numbers){(float)p->q[i], (float)p->q[i + 1], (float)p->q[i + 2], (float)p->q[i + 3]};
}
#endif

static inline void piece_values(const piece *p, float values[PIECE])
{
    for (int i = 0; i < PIECE; i += QL) {
        numbers x = numbers_of(p, i) * p->scale[i / 16];
        if (p->has_least) x = x + p->least; /* + 0 would make 0 of -0 */
        memcpy(values + i, &x, sizeof x);
    }
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
