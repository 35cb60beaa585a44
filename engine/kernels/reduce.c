/*
** reduce.c - sums and extremes along one axis, in a fixed order (reduce.h).
*/
#include "kernels/reduce.h"

#include "base/sizes.h"
#include "base/thread.h"
#include "kernels/elementwise.h"
#include "kernels/vec.h"

#define INLINE static inline __attribute__((always_inline))

#define CHUNK 4096     /* elements of a run whose sum is made before it is folded */
#define MAX_BLOCKS 256 /* blocks of a run that threads may share */
#define ROW_BLOCK 128  /* rows down a column */
#define TILE_VECS 4    /* vectors of columns a thread takes at a time */
#define SPREAD 8192    /* elements written at a time */

static real sum_chunk(int64_t n, const real *x)
{
    v_total total = {0};
    V_BLOCKS(from, to, n)
    {
        vec s = v_set1(REAL(0.0));
        int64_t i = from;
        for (; to - i >= VL; i += VL) s += v_load(x + i);
        if (i < to) s += v_load_n(x + i, to - i, REAL(0.0));
        total = v_total_add(total, s);
    }
    return v_total_sum(total);
}

static double sum_block(int64_t n, const real *x)
{
    double s = 0;
    for (int64_t i = 0; i < n; i += CHUNK) s += (double)sum_chunk(least(CHUNK, n - i), x + i);
    return s;
}

/* Elements of a block: whole chunks, so that no more than MAX_BLOCKS are needed. */
static int64_t block_of(int64_t n)
{
    const int64_t chunks = (n + CHUNK - 1) / CHUNK;
    return CHUNK * ((chunks + MAX_BLOCKS - 1) / MAX_BLOCKS);
}

double K(sum_run)(int64_t n, const real *x)
{
    if (n <= CHUNK) return (double)sum_chunk(n, x);
    const int64_t block = block_of(n);
    double s = 0;
    for (int64_t i = 0; i < n; i += block) s += sum_block(least(block, n - i), x + i);
    return s;
}

static double sum_run_shared(int64_t n, const real *x)
{
    if (n <= CHUNK) return (double)sum_chunk(n, x);
    const int64_t block = block_of(n), blocks = (n + block - 1) / block;
    double part[MAX_BLOCKS];
    const pl_stop stop = pl__stop_get();
    PL_PARALLEL_FOR(n)
    for (int64_t b = 0; b < blocks; b++)
        part[b] = pl__stopped(stop) ? 0 : sum_block(least(block, n - b * block), x + b * block);
    double s = 0;
    for (int64_t b = 0; b < blocks; b++) s += part[b];
    return s;
}

/* Columns [0, w) of m rows `stride` apart; w <= vecs * VL. */
INLINE void sum_columns(int64_t m, int64_t stride, int64_t w, const int vecs, real *y, bool acc,
                        const real *x, real divisor)
{
    const vec zero = v_set1(REAL(0.0));
    vec total[TILE_VECS], s[TILE_VECS];
    for (int k = 0; k < vecs; k++) total[k] = zero;
    for (int64_t from = 0; from < m; from += ROW_BLOCK) {
        const int64_t to = least(from + ROW_BLOCK, m);
        for (int k = 0; k < vecs; k++) s[k] = zero;
        for (int64_t r = from; r < to; r++)
            for (int k = 0; k < vecs; k++)
                s[k] += w >= vecs * VL
                            ? v_load(x + r * stride + k * VL)
                            : v_load_n(x + r * stride + k * VL, least(w - k * VL, VL), REAL(0.0));
        for (int k = 0; k < vecs; k++) total[k] += s[k];
    }
    for (int k = 0; k < vecs; k++) {
        const int64_t n = least(w - k * VL, VL);
        vec v = total[k] / v_set1(divisor);
        if (acc) v = v_load_n(y + k * VL, n, REAL(0.0)) + v;
        v_store_n(y + k * VL, v, n);
    }
}

/* Columns from `at` on, at most TILE_VECS vectors of them. */
static void sum_column_tile(int64_t m, int64_t c, int64_t at, real *y, bool acc, const real *x,
                            real divisor)
{
    const int64_t w = least(c - at, TILE_VECS * VL);
    if (w == TILE_VECS * VL) {
        sum_columns(m, c, w, TILE_VECS, y + at, acc, x + at, divisor);
        return;
    }
    for (int64_t k = 0; k < w; k += VL)
        sum_columns(m, c, least(w - k, VL), 1, y + at + k, acc, x + at + k, divisor);
}

void K(sum_rows)(int64_t m, int64_t c, real *y, bool acc, const real *x)
{
    for (int64_t at = 0; at < c; at += TILE_VECS * VL)
        sum_column_tile(m, c, at, y, acc, x, REAL(1.0));
}

void K(sum_axis)(int64_t before, int64_t size, int64_t after, real *y, bool acc, const real *x,
                 real divisor)
{
    if (after == 1 && before < 16) {
        for (int64_t b = 0; b < before; b++) {
            const real s = (real)(sum_run_shared(size, x + b * size) / (double)divisor);
            y[b] = acc ? y[b] + s : s;
        }
        return;
    }
    const pl_stop stop = pl__stop_get();
    if (after == 1) {
        PL_PARALLEL_FOR(before * size)
        for (int64_t b = 0; b < before; b++) {
            if (pl__stopped(stop)) continue;
            const real s = (real)(K(sum_run)(size, x + b * size) / (double)divisor);
            y[b] = acc ? y[b] + s : s;
        }
        return;
    }
    const int64_t tile = TILE_VECS * VL, tiles = (after + tile - 1) / tile;
    PL_PARALLEL_FOR(before * size * after)
    for (int64_t t = 0; t < before * tiles; t++) {
        if (pl__stopped(stop)) continue;
        const int64_t b = t / tiles;
        sum_column_tile(size, after, t % tiles * tile, y + b * after, acc, x + b * size * after,
                        divisor);
    }
}

/* One row of `after` elements. */
static void spread_row(int64_t n, real *y, bool acc, const real *x, real divisor)
{
    if (acc)
        for (int64_t i = 0; i < n; i++) y[i] += x[i] / divisor;
    else
        for (int64_t i = 0; i < n; i++) y[i] = x[i] / divisor;
}

void K(spread_axis)(int64_t before, int64_t size, int64_t after, real *y, bool acc, const real *x,
                    real divisor)
{
    const pl_stop stop = pl__stop_get();
    if (after == 1) {
        const int64_t tiles = (size + SPREAD - 1) / SPREAD;
        PL_PARALLEL_FOR(before * size)
        for (int64_t t = 0; t < before * tiles; t++) {
            if (pl__stopped(stop)) continue;
            const int64_t b = t / tiles, at = t % tiles * SPREAD;
            K(put_value)(least(SPREAD, size - at), y + b * size + at, acc, x[b] / divisor);
        }
        return;
    }
    PL_PARALLEL_FOR(before * size * after)
    for (int64_t r = 0; r < before * size; r++)
        if (!pl__stopped(stop))
            spread_row(after, y + r * after, acc, x + r / size * after, divisor);
}

/* ---- extremes ---- */
INLINE vec better(vec best, vec x, bool smaller)
{
    ivec wins = smaller ? x < best : x > best;
    return v_select(wins | (x != x), x, best);
}

INLINE real extreme_run(int64_t n, const real *x, bool smaller, pl_stop stop)
{
    const real worst = smaller ? (real)INFINITY : -(real)INFINITY;
    vec best = v_set1(worst);
    for (int64_t from = 0; from < n && !pl__stopped(stop); from += PL_LOOK)
        V_SPAN(i, m, from, least(from + PL_LOOK, n))
    best = better(best, v_load_n(x + i, m, worst), smaller);
    real t[VL];
    v_store(t, best);
    real r = t[0];
    for (int i = 1; i < VL; i++)
        if ((smaller ? t[i] < r : t[i] > r) || t[i] != t[i]) r = t[i];
    return r;
}

INLINE void extreme_columns(int64_t size, int64_t after, real *y, const real *x, bool smaller)
{
    V_EACH(i, m, after) {
        vec best = v_load_n(x + i, m, REAL(0.0));
        for (int64_t r = 1; r < size; r++)
            best = better(best, v_load_n(x + r * after + i, m, REAL(0.0)), smaller);
        v_store_n(y + i, best, m);
    }
}

void K(extreme_axis)(int64_t before, int64_t size, int64_t after, real *y, const real *x,
                     bool smaller)
{
    const pl_stop stop = pl__stop_get();
    PL_PARALLEL_FOR(before * size * after)
    for (int64_t b = 0; b < before; b++) {
        if (pl__stopped(stop)) continue;
        const real *from = x + b * size * after;
        if (after == 1)
            y[b] = smaller ? extreme_run(size, from, true, stop)
                           : extreme_run(size, from, false, stop);
        else if (smaller) extreme_columns(size, after, y + b * after, from, true);
        else extreme_columns(size, after, y + b * after, from, false);
    }
}

void K(extreme_axis_bwd)(int64_t before, int64_t size, int64_t after, real *dx, bool acc,
                         const real *dy, const real *x, const real *y)
{
    const pl_stop stop = pl__stop_get();
    PL_PARALLEL_FOR(before * size * after)
    for (int64_t b = 0; b < before; b++) {
        if (pl__stopped(stop)) continue;
        real *to = dx + b * size * after;
        const real *from = x + b * size * after;
        if (!acc) memset(to, 0, (size_t)(size * after) * sizeof *to);
        for (int64_t i = 0; i < after; i++) {
            const real want = y[b * after + i];
            int64_t r = 0;
            while (r < size - 1 && from[r * after + i] != want &&
                   !(want != want && from[r * after + i] != from[r * after + i]))
                r++;
            to[r * after + i] += dy[b * after + i];
        }
    }
}
