/*
** quant_lanes.h - blocks of RL rows at a time: words of four bytes, word i of all rows in one
** register, and the factors of their pieces (layouts: quant.h).
*/
#ifndef PL_QUANT_LANES_H
#define PL_QUANT_LANES_H

#include "kernels/gemm_reg.h"
#include "kernels/quant_piece.h"

/* Dense rows of blocks. */
typedef struct {
    pl_dtype dtype;
    const uint8_t *blocks;
    size_t row_bytes;
} kept;

static inline const uint8_t *kept_row(const kept *b, int64_t row)
{
    return b->blocks + (size_t)row * b->row_bytes;
}

#if !defined(PL_F64_BUILD)
typedef uint32_t ureg __attribute__((vector_size(RBYTES)));
typedef int32_t ireg __attribute__((vector_size(RBYTES)));
#endif

#if (defined(__AVX2__) || defined(__AVX512F__)) && !defined(PL_F64_BUILD)
#define KEPT_LANES

/* The places of RL rows, and how far each lies behind the first. */
typedef struct {
    const uint8_t *row[RL];
    ireg behind;
} lanes;

/* Four words of each row: word[i][j] is the i-th of row j. */
static inline __attribute__((always_inline)) void load_words(const lanes *l, int64_t at,
                                                             ureg word[4])
{
#define ROW_(j) _mm_loadu_si128((const __m128i *)(l->row[j] + at))
#if defined(__AVX512F__)
    __m512i r[4];
    UNROLL
    for (int i = 0; i < 4; i++) {
        r[i] = _mm512_castsi128_si512(ROW_(i));
        r[i] = _mm512_inserti32x4(r[i], ROW_(i + 4), 1);
        r[i] = _mm512_inserti32x4(r[i], ROW_(i + 8), 2);
        r[i] = _mm512_inserti32x4(r[i], ROW_(i + 12), 3);
    }
#define OP_(name) _mm512_##name
#else
    __m256i r[4];
    UNROLL
    for (int i = 0; i < 4; i++)
        r[i] = _mm256_inserti128_si256(_mm256_castsi128_si256(ROW_(i)), ROW_(i + 4), 1);
#define OP_(name) _mm256_##name
#endif
    const __typeof__(r[0]) a = OP_(unpacklo_epi32)(r[0], r[1]), b = OP_(unpackhi_epi32)(r[0], r[1]);
    const __typeof__(r[0]) c = OP_(unpacklo_epi32)(r[2], r[3]), d = OP_(unpackhi_epi32)(r[2], r[3]);
    word[0] = (ureg)OP_(unpacklo_epi64)(a, c);
    word[1] = (ureg)OP_(unpackhi_epi64)(a, c);
    word[2] = (ureg)OP_(unpacklo_epi64)(b, d);
    word[3] = (ureg)OP_(unpackhi_epi64)(b, d);
#undef OP_
#undef ROW_
}

/* One word of each row. */
static inline ureg load_word(const lanes *l, int64_t at)
{
#if defined(__AVX512F__)
    return (ureg)_mm512_i32gather_epi32((__m512i)l->behind, l->row[0] + at, 1);
#else
    return (ureg)_mm256_i32gather_epi32((const int *)(l->row[0] + at), (__m256i)l->behind, 1);
#endif
}

static inline reg r_number(ureg x)
{
    return __builtin_convertvector((ireg)x, reg);
}

/* The float16 in the lower half of each word. */
static inline reg r_half(ureg x)
{
#if defined(__AVX512F__)
    return (reg)_mm512_cvtph_ps(_mm512_cvtepi32_epi16((__m512i)x));
#else
    const __m256i low = (__m256i)(x & 0xffff);
    const __m256i packed = _mm256_permute4x64_epi64(_mm256_packus_epi32(low, low), 8);
    return (reg)_mm256_cvtph_ps(_mm256_castsi256_si128(packed));
#endif
}

/* What a piece of 32 elements has in each row: element k is scale[k / 16] * q, + least if it has
** one. */
typedef struct {
    reg scale[2], least;
} factors;

static inline __attribute__((always_inline)) factors factors_of_two(ureg word)
{
    const reg scale = r_half(word);
    return (factors){{scale, scale}, r_half(word >> 16)};
}

/* head: the first 16 bytes of a q4_k or q5_k block; j its piece. */
static inline __attribute__((always_inline)) factors factors_of_k(const ureg head[4], int j)
{
    ureg scale, least;
    if (j < 4) {
        scale = head[1] >> 8 * j & 63;
        least = head[2] >> 8 * j & 63;
    } else {
        const int at = 8 * (j - 4);
        scale = (head[3] >> at & 15) | (head[1] >> (at + 6) & 3) << 4;
        least = (head[3] >> (at + 4) & 15) | (head[2] >> (at + 6) & 3) << 4;
    }
    const factors two = factors_of_two(head[0]);
    const reg s = two.scale[0] * r_number(scale);
    return (factors){{s, s}, -(two.least * r_number(least))};
}

static inline __attribute__((always_inline)) factors factors_of_k6(const lanes *l, int64_t at,
                                                                   int j)
{
    const reg d = r_half(load_word(l, at + 206) >> 16);
    const ireg two = (ireg)load_word(l, at + 192 + 2 * j);
    return (factors){{d * __builtin_convertvector(two << 24 >> 24, reg),
                      d * __builtin_convertvector(two << 16 >> 24, reg)},
                     d};
}

/* Whether places within RL rows fit 32 bits. */
static bool has_lanes(const kept *b)
{
    return b->row_bytes <= INT32_MAX / RL;
}

/* The last of `rows` rows stands for those beyond it. */
static lanes lanes_of(const kept *b, int64_t row, int64_t rows)
{
    lanes l;
    for (int64_t j = 0; j < RL; j++) {
        l.row[j] = kept_row(b, row + (j < rows ? j : rows - 1));
        l.behind[j] = (int32_t)(l.row[j] - l.row[0]);
    }
    return l;
}
#endif

#endif
