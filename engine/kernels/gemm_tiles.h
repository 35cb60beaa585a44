/*
** gemm_tiles.h - what products by the tile registers of AMX share: sizes, the transpose of a tile,
** and how rectangles of C are shared out.
**
** A tile is 16 rows of 64 bytes: 32 bfloat16 numbers or 16 float32 ones each. 32 lines (rows of A,
** columns of B) go together as a strip of A or a panel of B, and 32 elements of each are a step.
*/
#ifndef PL_GEMM_TILES_H
#define PL_GEMM_TILES_H

#include "base/sizes.h"
#include "base/thread.h"
#include "kernels/amx.h"
#include "kernels/variant.h"

enum {
    SIDE = 16,        /* lines in a tile */
    LINES = 2 * SIDE, /* in a strip or panel */
    STEP = 32,        /* elements of a line in a step */
    ROW_BYTES = 64,   /* of a tile */
    TILE_BYTES = SIDE * ROW_BYTES,
    LINE = 16, /* floats in a line of the cache */
};

#if defined(__AVX512F__) && !defined(PL_F64_BUILD)
static inline __mmask16 first16(int64_t n)
{
    return (__mmask16)((1u << (n < 0 ? 0 : n < 16 ? n : 16)) - 1);
}

/* In words of four bytes, in place. */
static inline void turn_tile(uint8_t *tile)
{
    __m512i r[SIDE], t[SIDE];
    for (int i = 0; i < SIDE; i++) r[i] = _mm512_loadu_si512(tile + i * ROW_BYTES);
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
        _mm512_storeu_si512(tile + j * ROW_BYTES, _mm512_shuffle_i32x4(t[j], t[j + 8], 0x88));
        _mm512_storeu_si512(tile + (j + 8) * ROW_BYTES, _mm512_shuffle_i32x4(t[j], t[j + 8], 0xdd));
    }
}
#else
static inline void turn_tile(uint8_t *tile)
{
    uint32_t r[SIDE][SIDE], t[SIDE][SIDE];
    memcpy(r, tile, sizeof r);
    for (int i = 0; i < SIDE; i++)
        for (int j = 0; j < SIDE; j++) t[j][i] = r[i][j];
    memcpy(tile, t, sizeof t);
}
#endif

/* ---- Rectangles of C, one for each worker ---- */

typedef struct {
    int64_t strip, strip_end, panel, panel_end;
} rectangle;

/* Of a product: `rows` times `columns` workers share its strips and panels, each with a space of
** its own of `space` bytes. */
typedef struct {
    int64_t strips, panels, rows, columns, space;
    bool tiles; /* AMX is in use */
} rectangles;

typedef void (*rectangle_fn)(const void *job, const rectangle *, uint8_t *space);

/* cost: of the whole product, in scalar operations. */
static void run_rectangles(const rectangles *all, int64_t cost, rectangle_fn run, const void *job,
                           uint8_t *spaces)
{
    PL_PARALLEL_FOR(cost)
    for (int64_t w = 0; w < all->rows * all->columns; w++) {
        const int64_t i = w / all->columns, j = w % all->columns;
        const rectangle r = {.strip = all->strips * i / all->rows,
                             .strip_end = all->strips * (i + 1) / all->rows,
                             .panel = all->panels * j / all->columns,
                             .panel_end = all->panels * (j + 1) / all->columns};
#if defined(__AVX512F__)
        if (all->tiles) tiles_open();
#endif
        run(job, &r, spaces + w * all->space);
#if defined(__AVX512F__)
        if (all->tiles) tiles_close();
#endif
    }
}

#endif
