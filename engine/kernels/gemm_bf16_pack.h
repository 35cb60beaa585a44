/*
** gemm_bf16_pack.h - operands of a bfloat16 product in the order in which the instructions read.
**
** An operand is a set of lines (rows of A, columns of B), each k elements long. Packed, 32 lines go
** together as a strip of A or a panel of B, and 32 elements of each are a step of 2,048 bytes, two
** tiles of 16 lines. In a tile of A lines stand one after the other, 64 bytes each. In a tile of B
** pairs do: pair i of all lines is 64 bytes, line j at 4 j; in words of four bytes that is the
** transpose. Lines that are not there and elements beyond k are zeros.
**
** A few steps are a piece. Up to 12 strips or panels are a chunk, which holds their first pieces,
** one after the other, then their second ones: what is multiplied at one time lies together, and
** never a power of two apart, which the sets of a cache would not bear.
**
** The source is read along its rows, whichever way they run; where that is not the way wanted, each
** tile is transposed in place. Only gemm_bf16_blocks.c includes this file.
*/
#ifndef PL_GEMM_BF16_PACK_H
#define PL_GEMM_BF16_PACK_H

#include "kernels/bf16.h"
#include "kernels/gemm_tiles.h"
#include "kernels/quant_piece.h"

enum {
    STEP_BYTES = 2 * TILE_BYTES,
    PIECE_STEPS = 8,
    WHOLE_STEPS = 12,
    CHUNK = 12, /* strips or panels */
};

/* Element k of line i is at [i * ld + k], or at [k * ld + i] when `turned`; counted in elements,
** for dtypes of blocks whole ones. */
typedef struct {
    pl_dtype dtype;
    bool turned;
    const void *at;
    int64_t ld, lines, k;
} operand;

/* A few steps of k are one piece, whose sums rest nowhere; more are cut into pieces of nearly equal
** size, at most PIECE_STEPS. */
static inline int64_t pieces_of(int64_t steps)
{
    return steps > WHOLE_STEPS ? ceil_div(steps, PIECE_STEPS) : steps > 0;
}

static inline int64_t piece_start(int64_t steps, int64_t i)
{
    return steps > WHOLE_STEPS ? steps * i / pieces_of(steps) : steps * i;
}

/* Where packed pieces from `first` on of `width` lines of one chunk stand. */
typedef struct {
    uint8_t *at;
    int64_t steps, first, width;
} place;

static inline uint8_t *piece_at(const place *p, int64_t i, int64_t line)
{
    const int64_t from = piece_start(p->steps, i), to = piece_start(p->steps, i + 1);
    return p->at +
           ((from - piece_start(p->steps, p->first)) * p->width + line * (to - from)) * STEP_BYTES;
}

/* ---- Rows of tiles ---- */

#if defined(__AVX512F__) && !defined(PL_F64_BUILD)
/* bf16_of each, in the upper halves; the lower ones are of no meaning. */
static inline __m512i rounded(__m512 x)
{
    const __m512i bits = _mm512_castps_si512(x);
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    const __m512i sum = _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff)), odd);
    return _mm512_mask_or_epi32(sum, _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q), bits,
                                _mm512_set1_epi32(0x400000));
}

/* Up to 32 elements of a line. */
static inline void put_line(bool narrow, const void *x, int64_t count, uint8_t *to)
{
    const __m512i upper =
        _mm512_set_epi16(63, 61, 59, 57, 55, 53, 51, 49, 47, 45, 43, 41, 39, 37, 35, 33, 31, 29, 27,
                         25, 23, 21, 19, 17, 15, 13, 11, 9, 7, 5, 3, 1);
    const float *f = x;
    __m512i row;
    if (count >= STEP) {
        row = narrow ? _mm512_loadu_si512(x)
                     : _mm512_permutex2var_epi16(rounded(_mm512_loadu_ps(f)), upper,
                                                 rounded(_mm512_loadu_ps(f + 16)));
    } else {
        const __mmask16 low = first16(count), high = first16(count - 16);
        row = narrow ? _mm512_maskz_loadu_epi16((__mmask32)high << 16 | low, x)
                     : _mm512_permutex2var_epi16(rounded(_mm512_maskz_loadu_ps(low, f)), upper,
                                                 rounded(_mm512_maskz_loadu_ps(high, f + 16)));
    }
    _mm512_storeu_si512(to, row);
}

/* Pairs of up to 16 lines of float32: the first of each from x, the second from y or, without it,
** zeros. */
static inline void put_16_pairs(const float *x, const float *y, int64_t count, uint8_t *to)
{
    const __mmask16 mask = first16(count), mask_y = y ? mask : 0;
    const __m512i low = _mm512_srli_epi32(rounded(_mm512_maskz_loadu_ps(mask, x)), 16);
    const __m512i high = rounded(_mm512_maskz_loadu_ps(mask_y, y));
    _mm512_storeu_si512(to, _mm512_mask_blend_epi16(0xaaaaaaaa, low, high));
}

/* Pairs of up to 32 lines, those from the 16th on in the second tile. */
static inline void put_pairs(bool narrow, const void *x, const void *y, int64_t count, uint8_t *to)
{
    if (!narrow) {
        const float *f = x, *g = y;
        put_16_pairs(f, g, count, to);
        put_16_pairs(f + SIDE, g ? g + SIDE : NULL, count - SIDE, to + TILE_BYTES);
        return;
    }
    const __m512i first =
        _mm512_set_epi16(47, 15, 46, 14, 45, 13, 44, 12, 43, 11, 42, 10, 41, 9, 40, 8, 39, 7, 38, 6,
                         37, 5, 36, 4, 35, 3, 34, 2, 33, 1, 32, 0);
    const __m512i second = _mm512_add_epi16(first, _mm512_set1_epi16(SIDE));
    const __mmask32 mask = (__mmask32)first16(count - SIDE) << SIDE | first16(count);
    const __m512i a = _mm512_maskz_loadu_epi16(mask, x);
    const __m512i b = _mm512_maskz_loadu_epi16(y ? mask : 0, y);
    _mm512_storeu_si512(to, _mm512_permutex2var_epi16(a, first, b));
    _mm512_storeu_si512(to + TILE_BYTES, _mm512_permutex2var_epi16(a, second, b));
}
#else
static inline uint16_t element(bool narrow, const void *x, int64_t i)
{
    return narrow ? ((const uint16_t *)x)[i] : bf16_of(((const float *)x)[i]);
}

static inline void put_line(bool narrow, const void *x, int64_t count, uint8_t *to)
{
    uint16_t row[STEP] = {0};
    for (int64_t i = 0; i < count && i < STEP; i++) row[i] = element(narrow, x, i);
    memcpy(to, row, sizeof row);
}

static inline void put_pairs(bool narrow, const void *x, const void *y, int64_t count, uint8_t *to)
{
    uint16_t row[2 * LINES] = {0};
    for (int64_t i = 0; i < count && i < LINES; i++) {
        row[2 * i] = element(narrow, x, i);
        if (y) row[2 * i + 1] = element(narrow, y, i);
    }
    memcpy(to, row, ROW_BYTES);
    memcpy(to + TILE_BYTES, row + LINES, ROW_BYTES);
}
#endif

static inline void turn_step(uint8_t *step)
{
    turn_tile(step);
    turn_tile(step + TILE_BYTES);
}

/* ---- Operands ---- */

/* The `count` elements of row `row` of the array from `from` on, a multiple of 32: where they stand
** if they are float32 or bfloat16, else as float32 in `values`. */
static inline const void *elements(const operand *o, int64_t row, int64_t from, int64_t count,
                                   float *values)
{
    const uint8_t *at = (const uint8_t *)o->at + (size_t)row * pl__dtype_bytes(o->dtype, o->ld);
    if (o->dtype == PL_F32) return (const float *)at + from;
    if (o->dtype == PL_BF16) return (const uint16_t *)at + from;
    row_values(o->dtype, at, from, count, values);
    return values;
}

/* Steps [from, end) of a line, STEP_BYTES apart; zeros where there is no such line. */
static void pack_line(const operand *o, int64_t line, int64_t from, int64_t end, uint8_t *out)
{
    const bool narrow = o->dtype == PL_BF16;
    const int64_t count = least(o->k, end * STEP) - from * STEP, size = narrow ? 2 : 4;
    float values[WHOLE_STEPS * STEP];
    if (line >= o->lines) {
        for (int64_t e = 0; e < end - from; e++) memset(out + e * STEP_BYTES, 0, ROW_BYTES);
        return;
    }
    const uint8_t *x = elements(o, line, from * STEP, count, values);
    for (int64_t e = 0; e < end - from; e++)
        put_line(narrow, x + e * STEP * size, count - e * STEP, out + e * STEP_BYTES);
}

/* Pieces [begin, last) of lines [LINES * group, + LINES), the `index`-th ones of `to`. */
static void pack_along_lines(const operand *o, bool as_pairs, int64_t group, int64_t begin,
                             int64_t last, const place *to, int64_t index)
{
    const place p = *to; /* which nothing written here can be a part of */
    for (int64_t j = 0; j < LINES; j++) {
        int64_t from = piece_start(p.steps, begin);
        uint8_t *at = p.at + (from - piece_start(p.steps, p.first)) * p.width * STEP_BYTES;
        for (int64_t i = begin; i < last; i++) {
            const int64_t end = piece_start(p.steps, i + 1), size = (end - from) * STEP_BYTES;
            pack_line(o, group * LINES + j, from, end, at + index * size + j * ROW_BYTES);
            at += size * p.width;
            from = end;
        }
    }
    for (int64_t i = begin; i < last && as_pairs; i++) {
        uint8_t *const end = piece_at(&p, i, index + 1);
        for (uint8_t *step = piece_at(&p, i, index); step < end; step += STEP_BYTES)
            turn_step(step);
    }
}

/* Of a turned operand piece `i` of groups [group, group_end), the first ones of `to`. */
static void pack_across_lines(const operand *o, bool as_pairs, int64_t group, int64_t group_end,
                              int64_t i, const place *to)
{
    const bool narrow = o->dtype == PL_BF16;
    const int64_t size = narrow ? 2 : 4, first = group * LINES, groups = group_end - group;
    const int64_t lines = least(o->lines, group_end * LINES) - first, count = o->k;
    const int64_t from = piece_start(to->steps, i), end = piece_start(to->steps, i + 1);
    const int64_t line_bytes = (end - from) * STEP_BYTES;
    uint8_t *step = piece_at(to, i, 0);
    float values[2][CHUNK * LINES];
    for (int64_t s = from; s < end; s++, step += STEP_BYTES) {
        for (int64_t k = s * STEP; k < (s + 1) * STEP; k += 2) {
            const uint8_t *x = NULL, *y = NULL;
            uint8_t *out = step + (k - s * STEP) / 2 * ROW_BYTES;
            if (k < count) x = elements(o, k, first, lines, values[0]);
            if (k + 1 < count) y = elements(o, k + 1, first, lines, values[1]);
            for (int64_t j = 0; j < groups * LINES; j += LINES, out += line_bytes)
                if (x) put_pairs(narrow, x + j * size, y ? y + j * size : NULL, lines - j, out);
                else memset(out, 0, ROW_BYTES), memset(out + TILE_BYTES, 0, ROW_BYTES);
        }
        for (int64_t j = 0; j < groups && !as_pairs; j++) turn_step(step + j * line_bytes);
    }
}

/* 32 x 32 elements of float32, of which `rows` and `cols` are there: as a step of a strip of A, and
** as one of its transpose. */
static inline void pack_square(const float *x, int64_t ld, int64_t rows, int64_t cols,
                               uint8_t *step, uint8_t *turned)
{
    for (int64_t i = 0; i < rows; i++) put_line(false, x + i * ld, cols, step + i * ROW_BYTES);
    memset(step + rows * ROW_BYTES, 0, (size_t)((LINES - rows) * ROW_BYTES));
    for (int64_t i = 0; i < LINES; i += 2) {
        const uint8_t *line = step + i * ROW_BYTES;
        put_pairs(true, line, line + ROW_BYTES, LINES, turned + i / 2 * ROW_BYTES);
    }
    turn_step(turned);
}

#endif
