/*
** gemm_split_pack.h - float32 operands as three bfloat16 parts, in the order in which tiles are
** read.
**
** Packed is one piece of k of some strips of A or panels of B, one after the other. A step of one
** is PARTS times two tiles of 16 lines. In a tile of A lines stand one after the other; in one of B
** pairs do: pair i of all lines is 64 bytes, line j at 4 j. Lines that are not there, elements
** beyond k and the pieces of lines that are no numbers for it are zeros.
**
** The source is read in squares of 16 x 16, once for the largest of each line and once, from the
** cache, to be split. Only gemm_split.c includes this file.
*/
#ifndef PL_GEMM_SPLIT_PACK_H
#define PL_GEMM_SPLIT_PACK_H

#include "kernels/gemm_tiles.h"

enum {
    PARTS = 3,
    PART_BYTES = 2 * TILE_BYTES,
    STEP_BYTES = PARTS * PART_BYTES,
    PIECE_STEPS = 8,
    GROUP = 16,      /* strips or panels packed at a time, at most */
    LARGEST = 236,   /* exponent as stored from which on a piece is not split: 2^110 */
    SMALLEST = 17,   /* and the least that is scaled by: 2^-110 */
    NEGLIGIBLE = 100 /* powers of two below the largest */
};

/* Element k of line i is at [i * ld + k], or at [k * ld + i] when `turned`. */
typedef struct {
    bool turned;
    const float *at;
    int64_t ld, lines, k;
} operand;

/* Of a strip or panel: what its lines were divided by, and a bit for each one that is not split. */
typedef struct {
    float scale[LINES];
    uint32_t odd;
    uint32_t unused[SIDE - 1];
} split_scales;

static inline int64_t pieces_of(int64_t k)
{
    return ceil_div(ceil_div(k, STEP), PIECE_STEPS);
}

/* The first element of piece i. */
static inline int64_t split_start(int64_t k, int64_t i)
{
    const int64_t steps = ceil_div(k, STEP), pieces = ceil_div(steps, PIECE_STEPS);
    return least(k, steps * i / pieces * STEP);
}

/* What splits a line: elements of at least `low` (as bits, without sign), times `factor`. */
typedef struct {
    float factor[GROUP * LINES];
    uint32_t low[GROUP * LINES];
} split_lines;

/* From the largest, as bits, of line `i`; false when it cannot be split. */
static inline bool scale_line(uint32_t largest, split_lines *s, int64_t i, float *scale)
{
    uint32_t exponent = largest >> 23;
    s->low[i] = exponent > NEGLIGIBLE ? (exponent - NEGLIGIBLE) << 23 : 1;
    const bool fine = exponent <= LARGEST;
    if (!fine) s->low[i] = UINT32_MAX;
    if (largest == 0 || !fine) exponent = 127;
    if (exponent < SMALLEST) exponent = SMALLEST;
    const uint32_t up = exponent << 23, down = (254 - exponent) << 23;
    memcpy(scale, &up, sizeof up);
    memcpy(s->factor + i, &down, sizeof down);
    return fine;
}

/* ---- Squares of 16 x 16 numbers ---- */

typedef struct {
    float x[SIDE][SIDE] __attribute__((aligned(64)));
} split_square;

#if defined(__AVX512F__) && !defined(PL_F64_BUILD)
static inline __m512i size_bits(__m512 x)
{
    return _mm512_and_si512(_mm512_castps_si512(x), _mm512_set1_epi32(0x7fffffff));
}

/* largest[i] = the larger of it and of x[i]. */
static inline void raise_each(uint32_t *largest, const float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i += SIDE) {
        const __m512 numbers =
            n - i >= SIDE ? _mm512_loadu_ps(x + i) : _mm512_maskz_loadu_ps(first16(n - i), x + i);
        const __m512i before = _mm512_loadu_si512(largest + i);
        _mm512_storeu_si512(largest + i, _mm512_max_epu32(before, size_bits(numbers)));
    }
}

static inline uint32_t largest_of(const float *x, int64_t n)
{
    __m512i largest = _mm512_setzero_si512();
    int64_t i = 0;
    for (; i + SIDE <= n; i += SIDE)
        largest = _mm512_max_epu32(largest, size_bits(_mm512_loadu_ps(x + i)));
    if (i < n)
        largest =
            _mm512_max_epu32(largest, size_bits(_mm512_maskz_loadu_ps(first16(n - i), x + i)));
    return _mm512_reduce_max_epu32(largest);
}

/* The upper halves of each of part[] are the parts; the lower ones are zeros. */
static inline void split_numbers(__m512 x, __m512 factor, __m512i low, __m512i part[PARTS])
{
    const __m512i upper = _mm512_set1_epi32((int)0xffff0000), half = _mm512_set1_epi32(0x8000);
    x = _mm512_maskz_mul_ps(_mm512_cmpge_epu32_mask(size_bits(x), low), x, factor);
    part[0] = _mm512_and_si512(_mm512_add_epi32(_mm512_castps_si512(x), half), upper);
    x = _mm512_sub_ps(x, _mm512_castsi512_ps(part[0]));
    part[1] = _mm512_and_si512(_mm512_add_epi32(_mm512_castps_si512(x), half), upper);
    part[2] = _mm512_castps_si512(_mm512_sub_ps(x, _mm512_castsi512_ps(part[1])));
}

/* x[k][line]: 8 rows of tiles, pair by pair. */
static inline void put_pairs(const split_square *s, const split_lines *l, int64_t line, uint8_t *to)
{
    const __m512 factor = _mm512_loadu_ps(l->factor + line);
    const __m512i low = _mm512_loadu_si512(l->low + line);
    for (int k = 0; k < SIDE; k += 2, to += ROW_BYTES) {
        __m512i x[PARTS], y[PARTS];
        split_numbers(_mm512_load_ps(s->x[k]), factor, low, x);
        split_numbers(_mm512_load_ps(s->x[k + 1]), factor, low, y);
        for (int p = 0; p < PARTS; p++)
            _mm512_storeu_si512(
                to + p * PART_BYTES,
                _mm512_mask_blend_epi16(0xaaaaaaaa, _mm512_srli_epi32(x[p], 16), y[p]));
    }
}

/* x[line][k]: half a row of 16 tiles' rows. */
static inline void put_lines(const split_square *s, const split_lines *l, int64_t line, uint8_t *to)
{
    for (int i = 0; i < SIDE; i++, to += ROW_BYTES) {
        __m512i x[PARTS];
        split_numbers(_mm512_load_ps(s->x[i]), _mm512_set1_ps(l->factor[line + i]),
                      _mm512_set1_epi32((int)l->low[line + i]), x);
        for (int p = 0; p < PARTS; p++)
            _mm256_storeu_si256((__m256i *)(to + p * PART_BYTES),
                                _mm512_cvtepi32_epi16(_mm512_srli_epi32(x[p], 16)));
    }
}
#else
static inline uint32_t size_bits(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits & 0x7fffffff;
}

static inline void raise_each(uint32_t *largest, const float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (size_bits(x[i]) > largest[i]) largest[i] = size_bits(x[i]);
}

static inline uint32_t largest_of(const float *x, int64_t n)
{
    uint32_t largest = 0;
    for (int64_t i = 0; i < n; i++)
        if (size_bits(x[i]) > largest) largest = size_bits(x[i]);
    return largest;
}

static inline void split_number(float x, float factor, uint32_t low, uint16_t part[PARTS])
{
    x = size_bits(x) >= low ? x * factor : 0;
    for (int p = 0; p < PARTS; p++) {
        uint32_t bits;
        memcpy(&bits, &x, sizeof bits);
        bits = (bits + 0x8000) & 0xffff0000; /* the last part has nothing to round */
        float rounded;
        memcpy(&rounded, &bits, sizeof bits);
        part[p] = (uint16_t)(bits >> 16);
        x -= rounded;
    }
}

static inline void put_pairs(const split_square *s, const split_lines *l, int64_t line, uint8_t *to)
{
    for (int k = 0; k < SIDE; k++)
        for (int j = 0; j < SIDE; j++) {
            uint16_t part[PARTS];
            split_number(s->x[k][j], l->factor[line + j], l->low[line + j], part);
            for (int p = 0; p < PARTS; p++)
                memcpy(to + p * PART_BYTES + k / 2 * ROW_BYTES + 4 * j + k % 2 * 2, part + p, 2);
        }
}

static inline void put_lines(const split_square *s, const split_lines *l, int64_t line, uint8_t *to)
{
    for (int i = 0; i < SIDE; i++)
        for (int k = 0; k < SIDE; k++) {
            uint16_t part[PARTS];
            split_number(s->x[i][k], l->factor[line + i], l->low[line + i], part);
            for (int p = 0; p < PARTS; p++)
                memcpy(to + p * PART_BYTES + i * ROW_BYTES + 2 * k, part + p, 2);
        }
}
#endif

/* `high` rows of the source from `at` on, `wide` elements of each, zeros beyond. */
static inline void read_square(const float *at, int64_t ld, int64_t high, int64_t wide,
                               split_square *s)
{
    if (high >= SIDE && wide >= SIDE) {
        for (int i = 0; i < SIDE; i++) memcpy(s->x[i], at + i * ld, SIDE * sizeof(float));
        return;
    }
    memset(s, 0, sizeof *s);
    for (int64_t i = 0; i < least(high, SIDE) && wide > 0; i++)
        memcpy(s->x[i], at + i * ld, (size_t)least(wide, SIDE) * sizeof(float));
}

/* ---- Pieces ---- */

/* Elements [from, from + count) of `groups` strips (or, with `as_pairs`, panels) from `group` on:
** the largest of each line, and by it the scales. */
static void scale_piece(const operand *o, int64_t group, int64_t groups, int64_t from,
                        int64_t count, split_lines *s, split_scales *scales)
{
    const int64_t first = group * LINES, lines = least(o->lines - first, groups * LINES);
    uint32_t largest[GROUP * LINES];
    memset(largest, 0, (size_t)(groups * LINES) * sizeof *largest);
    if (o->turned)
        for (int64_t k = from; k < from + count; k++)
            raise_each(largest, o->at + k * o->ld + first, lines);
    else
        for (int64_t i = 0; i < lines; i++)
            largest[i] = largest_of(o->at + (first + i) * o->ld + from, count);
    for (int64_t g = 0; g < groups; g++) {
        scales[g].odd = 0;
        for (int64_t i = 0; i < LINES; i++)
            if (!scale_line(largest[g * LINES + i], s, g * LINES + i, scales[g].scale + i))
                scales[g].odd |= (uint32_t)1 << i;
    }
}

/* The same, packed to `to`. At most GROUP groups. */
static void pack_piece(const operand *o, bool as_pairs, int64_t group, int64_t groups, int64_t from,
                       int64_t count, uint8_t *to, split_scales *scales)
{
    const int64_t first = group * LINES, lines = o->lines - first, steps = ceil_div(count, STEP);
    split_lines s;
    scale_piece(o, group, groups, from, count, &s, scales);
    for (int64_t outer = 0; outer < (o->turned ? 2 * steps : 2 * groups); outer++)
        for (int64_t inner = 0; inner < (o->turned ? 2 * groups : 2 * steps); inner++) {
            const int64_t e = o->turned ? outer : inner; /* 16 of k */
            const int64_t h = o->turned ? inner : outer; /* 16 lines */
            const int64_t k = from + e * SIDE, line = first + h * SIDE;
            const int64_t left = count - e * SIDE, high = lines - h * SIDE;
            uint8_t *tile = to + (h / 2 * steps + e / 2) * STEP_BYTES + h % 2 * TILE_BYTES;
            split_square square;
            if (left <= 0 || high <= 0) memset(&square, 0, sizeof square);
            else if (o->turned) read_square(o->at + k * o->ld + line, o->ld, left, high, &square);
            else read_square(o->at + line * o->ld + k, o->ld, high, left, &square);
            if (as_pairs != o->turned) turn_tile((uint8_t *)square.x);
            if (as_pairs) put_pairs(&square, &s, h * SIDE, tile + e % 2 * SIDE / 2 * ROW_BYTES);
            else put_lines(&square, &s, h * SIDE, tile + e % 2 * ROW_BYTES / 2);
        }
}

#endif
