/*
** gemm_tiles.h - what products by the tile registers of AMX share: sizes, the transpose of a tile,
** and the registers' set-up.
**
** A tile is 16 rows of 64 bytes: 32 bfloat16 numbers or 16 float32 ones each. 32 lines (rows of A,
** columns of B) go together as a strip of A or a panel of B, and 32 elements of each are a step.
*/
#ifndef PL_GEMM_TILES_H
#define PL_GEMM_TILES_H

#include "kernels/variant.h"

#if defined(__AVX512F__)
#include <immintrin.h>
#endif

enum {
    SIDE = 16,        /* lines in a tile */
    LINES = 2 * SIDE, /* in a strip or panel */
    STEP = 32,        /* elements of a line in a step */
    ROW_BYTES = 64,   /* of a tile */
    TILE_BYTES = SIDE * ROW_BYTES,
    LINE = 16, /* floats in a line of the cache */
};

static inline int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static inline int64_t ceil_div(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

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

#define WITH_TILES __attribute__((target("amx-tile,amx-bf16")))

static const struct {
    uint8_t palette, start, zero[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} tile_shapes __attribute__((aligned(64))) = {
    .palette = 1,
    .row_bytes = {64, 64, 64, 64, 64, 64, 64, 64},
    .rows = {SIDE, SIDE, SIDE, SIDE, SIDE, SIDE, SIDE, SIDE},
};

static WITH_TILES void tiles_open(void)
{
    _tile_loadconfig(&tile_shapes);
}

static WITH_TILES void tiles_close(void)
{
    _tile_release();
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

#endif
