/*
** gemm_bf16_pack.h - operands of a bfloat16 product in the order in which the instructions read.
**
** An operand is a set of lines (rows of A, columns of B), each k elements long. Packed, 32 lines go
** together as a strip of A or a panel of B, and 32 elements of each are a step of 2,048 bytes, two
** tiles of 16 lines. Steps of a strip or panel follow each other. In a tile of A lines stand one
** after the other, 64 bytes each. In a tile of B pairs do: pair i of all lines is 64 bytes, line j
** at 4 j. Lines that are not there and elements beyond k are zeros.
**
** Only gemm_bf16_blocks.c includes this file.
*/
#ifndef PL_GEMM_BF16_PACK_H
#define PL_GEMM_BF16_PACK_H

#include "kernels/bf16.h"
#include "kernels/quant_piece.h"

enum {
    SIDE = 16,        /* lines in a tile */
    LINES = 2 * SIDE, /* in a strip or panel */
    STEP = PIECE,     /* elements of a line in a step */
    TILE_BYTES = SIDE * STEP * 2,
    STEP_BYTES = 2 * TILE_BYTES,
};

/* Element k of line i is at [i * ld + k], or at [k * ld + i] when `turned`; counted in elements,
** for dtypes of blocks whole ones. */
typedef struct {
    pl_dtype dtype;
    bool turned;
    const void *at;
    int64_t ld, lines, k;
} operand;

static inline int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static inline const uint8_t *row_of(const operand *o, int64_t row)
{
    return (const uint8_t *)o->at + (size_t)row * pl__dtype_bytes(o->dtype, o->ld);
}

/* The `count` elements of row `row` of the array from `from` on, a multiple of 32. */
static inline void row_floats(const operand *o, int64_t row, int64_t from, int64_t count,
                              float values[STEP])
{
    if (o->dtype == PL_F32)
        memcpy(values, (const float *)row_of(o, row) + from, (size_t)count * sizeof(float));
    else row_values(o->dtype, row_of(o, row), from, count, values);
}

#if defined(__AVX512F__) && !defined(PL_F64_BUILD)
typedef __m512i tile_rows[SIDE];

static inline __mmask16 first16(int64_t n)
{
    return (__mmask16)((1u << (n < 0 ? 0 : n < 16 ? n : 16)) - 1);
}

/* bf16_of each, in the upper halves; the lower ones are of no meaning. */
static inline __m512i rounded(__m512 x)
{
    const __m512i bits = _mm512_castps_si512(x);
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    const __m512i sum = _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff)), odd);
    return _mm512_mask_or_epi32(sum, _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q), bits,
                                _mm512_set1_epi32(0x400000));
}

/* 32 elements of one line from its floats. */
static inline __m512i line_of_floats(__m512 low, __m512 high)
{
    const __m512i upper =
        _mm512_set_epi16(63, 61, 59, 57, 55, 53, 51, 49, 47, 45, 43, 41, 39, 37, 35, 33, 31, 29, 27,
                         25, 23, 21, 19, 17, 15, 13, 11, 9, 7, 5, 3, 1);
    return _mm512_permutex2var_epi16(rounded(low), upper, rounded(high));
}

/* Pairs of 16 lines: the first of each from x, the second from y. */
static inline __m512i pairs_of_floats(__m512 x, __m512 y)
{
    return _mm512_mask_blend_epi16(0xaaaaaaaa, _mm512_srli_epi32(rounded(x), 16), rounded(y));
}

/* Words of four bytes: row i to column i. */
static inline void turn(tile_rows r)
{
    __m512i t[SIDE];
    for (int i = 0; i < SIDE; i += 2) {
        t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
        t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
    }
    for (int i = 0; i < SIDE; i += 4) {
        r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
        r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
        r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
        r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
    }
    for (int i = 0; i < SIDE; i += 8)
        for (int j = i; j < i + 4; j++) {
            t[j] = _mm512_shuffle_i32x4(r[j], r[j + 4], 0x88);
            t[j + 4] = _mm512_shuffle_i32x4(r[j], r[j + 4], 0xdd);
        }
    for (int j = 0; j < 8; j++) {
        r[j] = _mm512_shuffle_i32x4(t[j], t[j + 8], 0x88);
        r[j + 8] = _mm512_shuffle_i32x4(t[j], t[j + 8], 0xdd);
    }
}

/* Elements [k, k + count) of lines [line, line + SIDE), a line in a register. */
static inline void load_lines(const operand *o, int64_t line, int64_t k, int64_t count, tile_rows r)
{
    const __mmask16 low = first16(count), high = first16(count - 16);
    for (int i = 0; i < SIDE; i++) {
        float values[STEP];
        const float *x = values;
        r[i] = _mm512_setzero_si512();
        if (line + i >= o->lines) continue;
        if (o->dtype == PL_F32) x = (const float *)row_of(o, line + i) + k;
        else if (o->dtype == PL_BF16) {
            r[i] =
                _mm512_maskz_loadu_epi16((__mmask32)high << 16 | low, row_of(o, line + i) + 2 * k);
            continue;
        } else row_floats(o, line + i, k, count, values);
        r[i] = line_of_floats(_mm512_maskz_loadu_ps(low, x), _mm512_maskz_loadu_ps(high, x + 16));
    }
}

/* The same of both tiles of a turned operand, a pair in a register. */
static inline void load_pairs(const operand *o, int64_t line, int64_t k, int64_t count,
                              tile_rows two[2])
{
    const __mmask16 low = first16(o->lines - line), high = first16(o->lines - line - SIDE);
    for (int i = 0; i < SIDE; i++) {
        __m512 x[2][2] = {{_mm512_setzero_ps(), _mm512_setzero_ps()},
                          {_mm512_setzero_ps(), _mm512_setzero_ps()}};
        for (int e = 0; e < 2; e++) {
            float values[STEP];
            const float *at = values;
            const int64_t row = k + 2 * i + e;
            if (2 * i + e >= count) continue;
            if (o->dtype == PL_F32) at = (const float *)row_of(o, row) + line;
            else row_floats(o, row, line, least(LINES, o->lines - line), values);
            x[e][0] = _mm512_maskz_loadu_ps(low, at);
            x[e][1] = _mm512_maskz_loadu_ps(high, at + SIDE);
        }
        two[0][i] = pairs_of_floats(x[0][0], x[1][0]);
        two[1][i] = pairs_of_floats(x[0][1], x[1][1]);
    }
}

static inline void pack_step(const operand *o, bool as_pairs, int64_t line, int64_t k, uint8_t *to)
{
    const int64_t count = least(STEP, o->k - k);
    tile_rows two[2];
    if (o->turned) load_pairs(o, line, k, count, two);
    for (int t = 0; t < 2; t++) {
        if (!o->turned) load_lines(o, line + t * SIDE, k, count, two[t]);
        if (o->turned != as_pairs) turn(two[t]);
        for (int i = 0; i < SIDE; i++) _mm512_storeu_si512(to + t * TILE_BYTES + i * 64, two[t][i]);
    }
}
#else
/* Where element k of a line stands in a step. */
static inline uint16_t *place_in_step(uint8_t *step, bool as_pairs, int64_t line, int64_t k)
{
    uint16_t *tile = (uint16_t *)(step + line / SIDE * TILE_BYTES);
    const int64_t j = line % SIDE;
    return as_pairs ? tile + k / 2 * (2 * SIDE) + 2 * j + k % 2 : tile + j * STEP + k;
}

static inline void pack_step(const operand *o, bool as_pairs, int64_t line, int64_t k, uint8_t *to)
{
    const int64_t lines = least(LINES, o->lines - line), count = least(STEP, o->k - k);
    float values[STEP];
    memset(to, 0, STEP_BYTES);
    for (int64_t i = 0; i < lines && !o->turned; i++) {
        row_floats(o, line + i, k, count, values);
        for (int64_t e = 0; e < count; e++) *place_in_step(to, as_pairs, i, e) = bf16_of(values[e]);
    }
    for (int64_t e = 0; e < count && o->turned; e++) {
        row_floats(o, k + e, line, lines, values);
        for (int64_t i = 0; i < lines; i++) *place_in_step(to, as_pairs, i, e) = bf16_of(values[i]);
    }
}
#endif

/* Steps [from, to) of groups [first, last) of 32 lines; those of group g begin at
** out + (g - first) * stride. */
static void pack_groups(const operand *o, bool as_pairs, int64_t first, int64_t last, int64_t from,
                        int64_t to, uint8_t *out, int64_t stride)
{
    if (o->turned)
        for (int64_t s = from; s < to; s++)
            for (int64_t g = first; g < last; g++)
                pack_step(o, as_pairs, g * LINES, s * STEP,
                          out + (g - first) * stride + (s - from) * STEP_BYTES);
    else
        for (int64_t g = first; g < last; g++)
            for (int64_t s = from; s < to; s++)
                pack_step(o, as_pairs, g * LINES, s * STEP,
                          out + (g - first) * stride + (s - from) * STEP_BYTES);
}

#endif
