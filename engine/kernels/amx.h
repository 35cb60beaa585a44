/*
** amx.h - the tile registers of AMX: all eight of 16 rows of 64 bytes, set up by each thread that
** uses them.
*/
#ifndef PL_KERNELS_AMX_H
#define PL_KERNELS_AMX_H

#if defined(__AVX512F__)
#include <immintrin.h>
#include <stdint.h>

#define WITH_TILES __attribute__((target("amx-tile,amx-bf16")))

static const struct {
    uint8_t palette, start, zero[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} tile_shapes __attribute__((aligned(64))) = {
    .palette = 1,
    .row_bytes = {64, 64, 64, 64, 64, 64, 64, 64},
    .rows = {16, 16, 16, 16, 16, 16, 16, 16},
};

static inline WITH_TILES void tiles_open(void)
{
    _tile_loadconfig(&tile_shapes);
}

static inline WITH_TILES void tiles_close(void)
{
    _tile_release();
}
#endif

#endif
