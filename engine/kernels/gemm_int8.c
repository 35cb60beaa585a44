/*
** gemm_int8.c - how a product in eight bits is shared out.
**
** x is rounded once, by all threads. Then each panel of RL columns is its worker's own: some pieces
** of it become integers in a buffer, and multiply strips of rows. Sums rest in y between pieces of
** k that the buffer does not hold, and go on from their float32 bits there.
*/
#include "kernels/gemm_int8.h"

#ifndef PL_F64_BUILD

#include "base/sizes.h"
#include "base/thread.h"
#include "kernels/gemm_int8_step.h"

enum {
    DEPTH = 24, /* pieces of a panel at a time: with the strip's, in L1 */
    CHUNK = 16, /* strips that go by a panel while L2 has them */
};

typedef struct {
    int64_t m, n, pieces, strips;
    const x_piece *x;
    kept w;
    const float *bias;
    float *y;
    int64_t ldy;
    piece_kind kind;
    bool vnni;
    pl_stop stop;
} job;

static void round_strip(const float *x, int64_t ldx, int64_t rows, int64_t pieces, int offset,
                        bool halves, x_piece *to)
{
    for (int64_t p = 0; p < pieces; p++) {
        if (rows < STRIP) memset(to + p, 0, sizeof *to);
        for (int i = 0; i < rows; i++)
            round_piece(x + i * ldx + p * PIECE, offset, halves, to + p, i);
    }
}

static void run_strip(const job *g, const strip_args *t)
{
#if defined(KEPT_LANES)
    if (g->vnni) vnni_any(g->kind, t);
    else bytes_any(g->kind, t);
#else
    strip_plain(g->kind, t);
#endif
}

static void run_panel(const job *g, int64_t panel, int64_t strip, int64_t strip_end)
{
    w_piece w[DEPTH];
    const int64_t col = panel * RL, cols = least(RL, g->n - col);
    for (int64_t p = 0; p < g->pieces || p == 0; p += DEPTH) {
        const int64_t count = least(DEPTH, g->pieces - p);
        const bool last = p + count >= g->pieces;
        unpack(&g->w, col, cols, p, count, w);
        for (int64_t s = strip; s < strip_end && !pl__stopped(g->stop); s++) {
            const strip_args t = {.pieces = count,
                                  .x = g->x + s * g->pieces + p,
                                  .w = w,
                                  .y = g->y + s * STRIP * g->ldy + col,
                                  .ldy = g->ldy,
                                  .rows = least(STRIP, g->m - s * STRIP),
                                  .cols = cols,
                                  .bias = last && g->bias ? g->bias + col : NULL,
                                  .acc = p > 0};
            run_strip(g, &t);
        }
    }
}

/* About as many multiplications as one scalar operation takes; to unpack a panel is as much as some
** rows. */
static int64_t cost(int64_t m, int64_t n, int64_t k)
{
    return (m + 8) * n / 32 * k;
}

int64_t K(gemm_int8_work)(int64_t m, int64_t k)
{
    return ceil_div(m, STRIP) * (k / PIECE) * (int64_t)sizeof(x_piece);
}

void K(gemm_int8)(bool vnni, int64_t m, int64_t n, int64_t k, const float *x, int64_t ldx,
                  pl_dtype dtype, const void *w, const float *bias, float *y, int64_t ldy,
                  void *work)
{
    if (m <= 0 || n <= 0) return;
    job g = {.m = m,
             .n = n,
             .pieces = k / PIECE,
             .strips = ceil_div(m, STRIP),
             .x = work,
             .w = {dtype, w, pl__dtype_bytes(dtype, k)},
             .bias = bias,
             .y = y,
             .ldy = ldy,
             .kind = kind_of(dtype),
             .vnni = vnni,
             .stop = pl__stop_get()};
    const int offset = offset_of(dtype);
    PL_PARALLEL_FOR(m * k)
    for (int64_t s = 0; s < g.strips; s++)
        if (!pl__stopped(g.stop))
            round_strip(x + s * STRIP * ldx, ldx, least(STRIP, m - s * STRIP), g.pieces, offset,
                        g.kind == TWO_SCALES, (x_piece *)work + s * g.pieces);

    const int64_t panels = ceil_div(n, RL), chunks = ceil_div(g.strips, CHUNK);
    PL_PARALLEL_FOR(cost(m, n, k))
    for (int64_t i = 0; i < panels * chunks; i++) {
        const int64_t strip = i / panels * CHUNK;
        if (pl__stopped(g.stop)) continue;
        run_panel(&g, i % panels, strip, least(g.strips, strip + CHUNK));
    }
}

#endif
