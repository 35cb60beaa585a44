/*
** gemm_bf16_step.h - 32 x 32 elements of a bfloat16 product, by the instruction of the rule or by
** its model: the innermost loop over packed operands (gemm_bf16_pack.h).
**
** The sums are four squares of 16 x 16, upper left, upper right, lower left, lower right, dense.
** Only gemm_bf16_blocks.c includes this file.
*/
#ifndef PL_GEMM_BF16_STEP_H
#define PL_GEMM_BF16_STEP_H

#include "kernels/bf16_model.h"
#include "kernels/gemm_bf16_pack.h"

typedef struct {
    int64_t steps;
    const uint8_t *a, *b;
    float *sums;
    /* What will be wanted soon: by the next call 32 rows of sums, `next_ld` apart, by later ones so
    ** many bytes a step. */
    const float *next;
    int64_t next_ld;
    const uint8_t *fetch_a, *fetch_b;
    int64_t fetch_a_bytes, fetch_b_bytes;
    /* By tiles, where all 32 x 32 count: where the sums come from and go, with its leading
    ** dimension. NULL: `sums`. */
    const float *from;
    float *c;
    int64_t ldc;
    bool acc;           /* go on from `from` or `sums` rather than from zeros */
    int64_t rows, cols; /* of the 32 each: the rest need not be summed up */
} square_args;

typedef void (*square_fn)(const square_args *);

/* ---- Models ---- */

static inline __attribute__((always_inline)) void square_by_model(const bool tiles,
                                                                  const square_args *g)
{
    for (int i = 0; i < g->rows; i++)
        for (int j = 0; j < g->cols; j++) {
            float *sum =
                g->sums + (2 * (i / SIDE) + j / SIDE) * SIDE * SIDE + i % SIDE * SIDE + j % SIDE;
            float s = g->acc ? *sum : 0;
            for (int64_t k = 0; k < g->steps; k++) {
                const uint16_t *x = (const uint16_t *)(g->a + k * STEP_BYTES +
                                                       i / SIDE * TILE_BYTES + i % SIDE * 64);
                const uint16_t *y = (const uint16_t *)(g->b + k * STEP_BYTES +
                                                       j / SIDE * TILE_BYTES + j % SIDE * 4);
                if (tiles) s = model_tile(x, y, 2 * SIDE, s);
                for (int p = 0; p < STEP / 2 && !tiles; p++)
                    s = model_pair(y + p * 2 * SIDE, x + 2 * p, s);
            }
            *sum = s;
        }
}

static void square_model_tiles(const square_args *g)
{
    square_by_model(true, g);
}

static void square_model_pairs(const square_args *g)
{
    square_by_model(false, g);
}

#if defined(__AVX512F__) && !defined(PL_F64_BUILD)
/* ---- VDPBF16PS: up to eight rows at a time ---- */

static inline __attribute__((always_inline, target("avx512bf16"))) void
pairs_rows(const square_args *g, const int first, const int rows, const int registers)
{
    float *sums = g->sums + first / SIDE * 2 * SIDE * SIDE + first % SIDE * SIDE;
    const uint8_t *a = g->a + first / SIDE * TILE_BYTES + first % SIDE * ROW_BYTES, *b = g->b;
    __m512 x[8][2];
    UNROLL
    for (int i = 0; i < rows; i++) {
        UNROLL
        for (int v = 0; v < registers; v++)
            x[i][v] =
                g->acc ? _mm512_loadu_ps(sums + v * SIDE * SIDE + i * SIDE) : _mm512_setzero_ps();
    }
    for (int64_t k = 0; k < g->steps; k++, a += STEP_BYTES, b += STEP_BYTES)
        for (int p = 0; p < STEP / 2; p++) {
            __m512i y[2];
            UNROLL
            for (int v = 0; v < registers; v++)
                y[v] = _mm512_loadu_si512(b + v * TILE_BYTES + p * ROW_BYTES);
            UNROLL
            for (int i = 0; i < rows; i++) {
                int pair;
                memcpy(&pair, a + i * ROW_BYTES + p * 4, sizeof pair);
                UNROLL
                for (int v = 0; v < registers; v++)
                    x[i][v] = _mm512_dpbf16_ps(x[i][v], (__m512bh)y[v],
                                               (__m512bh)_mm512_set1_epi32(pair));
            }
        }
    UNROLL
    for (int i = 0; i < rows; i++) {
        UNROLL
        for (int v = 0; v < registers; v++)
            _mm512_storeu_ps(sums + v * SIDE * SIDE + i * SIDE, x[i][v]);
    }
}

static inline __attribute__((always_inline, target("avx512bf16"))) void
pairs_run(const square_args *g, const int registers)
{
    for (int i = 0; i < g->rows; i += 8) {
        if (g->rows - i > 4) pairs_rows(g, i, 8, registers);
        else if (g->rows - i > 2) pairs_rows(g, i, 4, registers);
        else if (g->rows - i > 1) pairs_rows(g, i, 2, registers);
        else pairs_rows(g, i, 1, registers);
    }
}

static __attribute__((target("avx512bf16"))) void square_pairs(const square_args *g)
{
    if (g->cols <= SIDE) pairs_run(g, 1);
    else pairs_run(g, 2);
}

/* ---- TDPBF16PS: accumulators 0 to 3, tiles of A 4 and 5, of B 6 and 7 ---- */

#define SQUARE (SIDE * SIDE)

/* B is read by the load that leaves L1 alone, where the piece of the strip of A is to stay. */
static inline __attribute__((always_inline)) WITH_TILES void
tiles_run(const square_args *g, const bool upper, const bool left)
{
    const uint8_t *a = g->a, *b = g->b;
    const float *next = g->next;
    const uint8_t *fetch_a = g->fetch_a, *fetch_b = g->fetch_b;
    float *sums = g->sums;
    const int64_t ldc_bytes = g->ldc * (int64_t)sizeof(float);
    __asm__ volatile("" ::: "memory"); /* gcc's tile loads do not say that they read memory */
    if (g->acc && g->from && !upper && !left) {
        const float *low = g->from + SIDE * g->ldc;
        _tile_loadd(0, g->from, ldc_bytes);
        _tile_loadd(1, g->from + SIDE, ldc_bytes);
        _tile_loadd(2, low, ldc_bytes);
        _tile_loadd(3, low + SIDE, ldc_bytes);
    } else if (g->acc) {
        _tile_loadd(0, sums, 64);
        if (!left) _tile_loadd(1, sums + SQUARE, 64);
        if (!upper) _tile_loadd(2, sums + 2 * SQUARE, 64);
        if (!upper && !left) _tile_loadd(3, sums + 3 * SQUARE, 64);
    } else {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
    }
    for (int64_t k = 0; k < g->steps; k++, a += STEP_BYTES, b += STEP_BYTES) {
        _tile_loadd(4, a, 64);
        _tile_stream_loadd(6, b, 64);
        if (!left) _tile_stream_loadd(7, b + TILE_BYTES, 64);
        _tile_dpbf16ps(0, 4, 6);
        UNROLL
        for (int i = 0; i < LINES / PIECE_STEPS; i++, next += g->next_ld) {
            __builtin_prefetch(next);
            __builtin_prefetch(next + LINE);
        }
        for (const uint8_t *end = fetch_a + g->fetch_a_bytes; fetch_a < end; fetch_a += 64)
            __builtin_prefetch(fetch_a, 0, 2);
        for (const uint8_t *end = fetch_b + g->fetch_b_bytes; fetch_b < end; fetch_b += 64)
            __builtin_prefetch(fetch_b, 0, 2);
        if (!upper) _tile_loadd(5, a + TILE_BYTES, 64);
        if (!left) _tile_dpbf16ps(1, 4, 7);
        if (!upper) _tile_dpbf16ps(2, 5, 6);
        if (!upper && !left) _tile_dpbf16ps(3, 5, 7);
    }
    if (g->c && !upper && !left) {
        float *low = g->c + SIDE * g->ldc;
        _tile_stored(0, g->c, ldc_bytes);
        _tile_stored(1, g->c + SIDE, ldc_bytes);
        _tile_stored(2, low, ldc_bytes);
        _tile_stored(3, low + SIDE, ldc_bytes);
        return;
    }
    _tile_stored(0, sums, 64);
    if (!left) _tile_stored(1, sums + SQUARE, 64);
    if (!upper) _tile_stored(2, sums + 2 * SQUARE, 64);
    if (!upper && !left) _tile_stored(3, sums + 3 * SQUARE, 64);
}

static WITH_TILES void square_tiles(const square_args *g)
{
    const bool upper = g->rows <= SIDE, left = g->cols <= SIDE;
    if (upper && left) tiles_run(g, true, true);
    else if (upper) tiles_run(g, true, false);
    else if (left) tiles_run(g, false, true);
    else tiles_run(g, false, false);
}

/* 64 x 16 elements, by four tiles of A for each of B: columns `half`, 0 or 1, of two squares, g and
** the one below it. Both strips of A stay in L1, and B, which comes from far, is read once. */
static inline __attribute__((always_inline)) WITH_TILES void
tall_half(const square_args *g, const square_args *below, const int half)
{
    const uint8_t *a = g->a, *c = below->a, *b = g->b + half * TILE_BYTES, *fetch = g->fetch_b;
    if (fetch) fetch += half * TILE_BYTES;
    float *to[4] = {g->sums, g->sums + 2 * SQUARE, below->sums, below->sums + 2 * SQUARE};
    const float *from[4] = {to[0], to[1], to[2], to[3]};
    int64_t to_bytes = 64, from_bytes = 64;
    for (int i = 0; i < 4; i++) {
        to[i] += half * SQUARE;
        from[i] += half * SQUARE;
        if (g->from) from[i] = g->from + i * SIDE * g->ldc + half * SIDE;
        if (g->c) to[i] = g->c + i * SIDE * g->ldc + half * SIDE;
    }
    if (g->from) from_bytes = g->ldc * (int64_t)sizeof(float);
    if (g->c) to_bytes = g->ldc * (int64_t)sizeof(float);
    __asm__ volatile("" ::: "memory");
    if (g->acc) {
        _tile_loadd(0, from[0], from_bytes);
        _tile_loadd(1, from[1], from_bytes);
        _tile_loadd(2, from[2], from_bytes);
        _tile_loadd(3, from[3], from_bytes);
    } else {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
    }
    for (int64_t k = 0; k < g->steps; k++) {
        _tile_stream_loadd(6, b, 64);
        _tile_loadd(4, a, 64);
        _tile_dpbf16ps(0, 4, 6);
        _tile_loadd(5, a + TILE_BYTES, 64);
        _tile_dpbf16ps(1, 5, 6);
        if (fetch) {
            UNROLL
            for (int i = 0; i < TILE_BYTES; i += 64) __builtin_prefetch(fetch + i, 0, 2);
            fetch += STEP_BYTES;
        }
        _tile_loadd(7, c, 64);
        _tile_dpbf16ps(2, 7, 6);
        _tile_loadd(4, c + TILE_BYTES, 64);
        _tile_dpbf16ps(3, 4, 6);
        a += STEP_BYTES;
        b += STEP_BYTES;
        c += STEP_BYTES;
    }
    _tile_stored(0, to[0], to_bytes);
    _tile_stored(1, to[1], to_bytes);
    _tile_stored(2, to[2], to_bytes);
    _tile_stored(3, to[3], to_bytes);
}

static WITH_TILES void tall_tiles(const square_args *g, const square_args *below)
{
    tall_half(g, below, 0);
    if (g->cols > SIDE) tall_half(g, below, 1);
}
#endif

#endif
