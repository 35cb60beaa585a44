/*
** gemm_split_step.h - 32 x 32 sums of a split product over one piece of k, by AMX or by its model,
** and their way to C.
**
** The loop over steps does by the way, between multiplications of tiles, what else is due: rows of
** the square before this one go to C, and what will be read soon is asked for. Only gemm_split.c
** includes this file.
*/
#ifndef PL_GEMM_SPLIT_STEP_H
#define PL_GEMM_SPLIT_STEP_H

#include "kernels/bf16_model.h"
#include "kernels/gemm_split_pack.h"

/* Sums of a piece, four squares of 16 x 16 (upper left, upper right, lower left, lower right), on
** their way to C; rows before `row` have gone. */
typedef struct {
    const float *sums;
    const float *scale_a, *scale_b;
    int64_t row, rows, cols;
    bool acc;
    float *c;
    int64_t ldc;
} split_finish;

/* Lines of the cache to ask for: `rows` rows of `bytes`. */
typedef struct {
    const uint8_t *at;
    int64_t ld_bytes, bytes, next, rows;
} split_ahead;

typedef struct {
    int64_t steps;
    const uint8_t *a, *b;
    float *sums;
    int64_t rows, cols; /* of the 32 each: the rest need not be summed up */
    const float *c;     /* where the sums will go */
    int64_t ldc;
    split_finish *before;
    split_ahead *ahead;
    int64_t ahead_lines; /* a step */
} split_args;

typedef void (*split_fn)(const split_args *);

/* Part of A and part of B of the products kept: five small ones, then the leading one. */
static const uint8_t split_terms[][2] = {{2, 0}, {1, 0}, {1, 1}, {0, 1}, {0, 2}, {0, 0}};
enum { TERMS = sizeof split_terms / sizeof split_terms[0], SMALL_TERMS = TERMS - 1 };

static inline void ask_ahead(split_ahead *f, int64_t lines)
{
    for (; lines > 0 && f->rows > 0; lines--) {
        __builtin_prefetch(f->at + f->next, 0, 2);
        f->next += ROW_BYTES;
        if (f->next < f->bytes) continue;
        f->next = 0;
        f->at += f->ld_bytes;
        f->rows--;
    }
}

/* ---- To C ---- */

#if defined(__AVX512F__) && !defined(PL_F64_BUILD)
static inline __attribute__((always_inline)) void finish_row(const split_finish *f, int64_t i,
                                                             const bool whole)
{
    const float *sums = f->sums + i / SIDE * 2 * SIDE * SIDE + i % SIDE * SIDE;
    const __m512 a = _mm512_set1_ps(f->scale_a[i]);
    UNROLL
    for (int v = 0; v < 2; v++) {
        float *c = f->c + i * f->ldc + v * SIDE;
        const __mmask16 there = whole ? 0xffff : first16(f->cols - v * SIDE);
        const __m512 b = _mm512_loadu_ps(f->scale_b + v * SIDE);
        const __m512 p =
            _mm512_mul_ps(_mm512_loadu_ps(sums + v * SIDE * SIDE), _mm512_max_ps(a, b));
        const __m512 s = f->acc ? _mm512_maskz_loadu_ps(there, c) : _mm512_setzero_ps();
        _mm512_mask_storeu_ps(c, there, _mm512_fmadd_ps(p, _mm512_min_ps(a, b), s));
    }
}
#else
static inline void finish_row(const split_finish *f, int64_t i, const bool whole)
{
    (void)whole;
    for (int64_t j = 0; j < f->cols; j++) {
        const float p =
            f->sums[(2 * (i / SIDE) + j / SIDE) * SIDE * SIDE + i % SIDE * SIDE + j % SIDE];
        const float a = f->scale_a[i], b = f->scale_b[j];
        float *c = f->c + i * f->ldc + j;
        *c = fmaf(p * (a > b ? a : b), a > b ? b : a, f->acc ? *c : 0);
    }
}
#endif

static inline void finish_rows(split_finish *f, int64_t rows)
{
    int64_t i = f->row;
    const int64_t end = least(i + rows, f->rows);
    if (f->cols == LINES)
        for (; i < end; i++) finish_row(f, i, true);
    else
        for (; i < end; i++) finish_row(f, i, false);
    f->row = i;
}

/* ---- The model ---- */

/* Goes on from s by terms [term, end) of all steps, for line i of A and j of B. */
static float model_terms(const split_args *g, int64_t i, int64_t j, int term, int end, float s)
{
    const uint8_t *a = g->a + i / SIDE * TILE_BYTES + i % SIDE * ROW_BYTES;
    const uint8_t *b = g->b + j / SIDE * TILE_BYTES + j % SIDE * 4;
    for (int64_t k = 0; k < g->steps; k++, a += STEP_BYTES, b += STEP_BYTES)
        for (int t = term; t < end; t++)
            s = model_tile((const uint16_t *)(a + split_terms[t][0] * PART_BYTES),
                           (const uint16_t *)(b + split_terms[t][1] * PART_BYTES), 2 * SIDE, s);
    return s;
}

static void split_by_model(const split_args *g)
{
    finish_rows(g->before, LINES);
    for (int64_t i = 0; i < g->rows; i++)
        for (int64_t j = 0; j < g->cols; j++) {
            const float small = model_terms(g, i, j, 0, SMALL_TERMS, 0);
            g->sums[(2 * (i / SIDE) + j / SIDE) * SIDE * SIDE + i % SIDE * SIDE + j % SIDE] =
                model_terms(g, i, j, SMALL_TERMS, TERMS, small);
        }
}

/* ---- TDPBF16PS: sums 0 to 3, tiles of A 4 and 5, of B 6 and 7 ---- */

#if defined(__AVX512F__) && !defined(PL_F64_BUILD)
#define LOAD_A(part)                                                               \
    do {                                                                           \
        _tile_loadd(4, a + (part)*PART_BYTES, ROW_BYTES);                          \
        if (!upper) _tile_loadd(5, a + (part)*PART_BYTES + TILE_BYTES, ROW_BYTES); \
    } while (0)
#define LOAD_B(part)                                                              \
    do {                                                                          \
        _tile_loadd(6, b + (part)*PART_BYTES, ROW_BYTES);                         \
        if (!left) _tile_loadd(7, b + (part)*PART_BYTES + TILE_BYTES, ROW_BYTES); \
    } while (0)
#define MULTIPLY()                                    \
    do {                                              \
        _tile_dpbf16ps(0, 4, 6);                      \
        if (!left) _tile_dpbf16ps(1, 4, 7);           \
        if (!upper) _tile_dpbf16ps(2, 5, 6);          \
        if (!upper && !left) _tile_dpbf16ps(3, 5, 7); \
        finish_rows(g->before, due);                  \
    } while (0)

static inline __attribute__((always_inline)) WITH_TILES void
split_tiles_run(const split_args *g, const bool upper, const bool left)
{
    const uint8_t *a = g->a, *b = g->b;
    const float *c = g->c;
    const int64_t due = ceil_div(g->before->rows, g->steps * TERMS);
    const int64_t fetch = ceil_div(LINES, g->steps);
    int64_t fetched = 0;
    __asm__ volatile("" ::: "memory"); /* gcc's tile loads do not say that they read memory */
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (int64_t k = 0; k < g->steps; k++, a += STEP_BYTES, b += STEP_BYTES) {
        LOAD_B(0);
        LOAD_A(2);
        MULTIPLY();
        ask_ahead(g->ahead, g->ahead_lines);
        LOAD_A(1);
        MULTIPLY();
        LOAD_B(1);
        MULTIPLY();
        LOAD_A(0);
        MULTIPLY();
        for (const int64_t end = least(fetched + fetch, g->rows); fetched < end; fetched++) {
            __builtin_prefetch(c + fetched * g->ldc, 1, 2);
            __builtin_prefetch(c + fetched * g->ldc + g->cols - 1, 1, 2);
        }
        LOAD_B(2);
        MULTIPLY();
    }
    a = g->a;
    b = g->b;
    for (int64_t k = 0; k < g->steps; k++, a += STEP_BYTES, b += STEP_BYTES) {
        LOAD_A(0);
        LOAD_B(0);
        MULTIPLY();
    }
    finish_rows(g->before, LINES);
    _tile_stored(0, g->sums, ROW_BYTES);
    if (!left) _tile_stored(1, g->sums + SIDE * SIDE, ROW_BYTES);
    if (!upper) _tile_stored(2, g->sums + 2 * SIDE * SIDE, ROW_BYTES);
    if (!upper && !left) _tile_stored(3, g->sums + 3 * SIDE * SIDE, ROW_BYTES);
    __asm__ volatile("" ::: "memory");
}

static WITH_TILES void split_by_tiles(const split_args *g)
{
    const bool upper = g->rows <= SIDE, left = g->cols <= SIDE;
    if (upper && left) split_tiles_run(g, true, true);
    else if (upper) split_tiles_run(g, true, false);
    else if (left) split_tiles_run(g, false, true);
    else split_tiles_run(g, false, false);
}
#endif

#endif
