/*
** block_in.c - a norm, the projections to queries, keys and values, and their rotation
** (narrow_block.h).
*/
#include "kernels/block_rows.h"

typedef struct {
    const block_weight *w;
    const real *packed; /* forward: its transpose; backward: as it is */
    real *y;
    const real *dy;
    block_sum sum;
    bool turned; /* by rope */
} side;

enum { SIDES = 3 };

/* What one thread has: a tile of n, dn and each projection. */
typedef struct {
    real *n, *dn, *rstd, *y[SIDES];
} room;

static int64_t widest(const block_in *b)
{
    return b->q.n > b->k.n ? b->q.n : b->k.n;
}

static int64_t room_size(const block_in *b)
{
    return 2 * lines(BLOCK_TILE * b->C) + lines(BLOCK_TILE) + SIDES * lines(BLOCK_TILE * widest(b));
}

static room room_at(const block_in *b, real *work)
{
    work += omp_get_thread_num() * room_size(b);
    room r = {.n = cut(&work, BLOCK_TILE * b->C), .dn = cut(&work, BLOCK_TILE * b->C)};
    r.rstd = cut(&work, BLOCK_TILE);
    for (int i = 0; i < SIDES; i++) r.y[i] = cut(&work, BLOCK_TILE * widest(b));
    return r;
}

static int64_t weights_of(const block_in *b)
{
    return (b->q.n + b->k.n + b->v.n) * b->C;
}

int64_t K(block_in_work)(const block_in *b, bool backward)
{
    const int64_t parts = block_parts(b->rows);
    int64_t size = room_size(b) * omp_get_max_threads();
    const block_weight *const w[] = {&b->q, &b->k, &b->v};
    for (int i = 0; i < SIDES; i++)
        size += pack_size(w[i], !backward) + (backward ? sum_size(w[i], parts) : 0);
    return size + (backward ? lines(tiles_of(b->rows) * b->C) : 0);
}

static void forward_tile(const block_in *b, const side *s, const double *frequency, room r,
                         int64_t row, int64_t m)
{
    const int64_t C = b->C;
    real *to[SIDES];
    const real *from[SIDES];
    int64_t heads[SIDES];
    int turned = 0;
    K(rmsnorm_fwd)(m, C, b->eps, r.n, NULL, b->x + row * C, b->norm);
    for (int i = 0; i < SIDES; i++) {
        const int64_t n = s[i].w->n;
        real *y = s[i].y + row * n;
        K(gemm_packed_serial)
        (m, n, C, r.n, C, s[i].packed, false, s[i].turned ? r.y[i] : y, n);
        if (!s[i].turned) continue;
        to[turned] = y;
        from[turned] = r.y[i];
        heads[turned++] = n / b->rope.D;
    }
    K(rope_rows)(&b->rope, frequency, b->positions + row, m, false, turned, to, from, heads);
}

void K(block_in_fwd)(const block_in *b, real *q, real *k, real *v, real *work)
{
    const int64_t work_size = cost_of(b->rows, weights_of(b));
    const int64_t rows = forward_rows(b->rows, work_size);
    double frequency[ROPE_MAX_DIM / 2];
    block_pack list[SIDES];
    int count = 0;
    side s[SIDES] = {{.w = &b->q, .y = q, .turned = true},
                     {.w = &b->k, .y = k, .turned = true},
                     {.w = &b->v, .y = v}};
    for (int i = 0; i < SIDES; i++) s[i].packed = packed_at(s[i].w, true, list, &count, &work);
    pack_all(list, count);
    K(rope_frequencies)(frequency, &b->rope);
    const pl_stop stop = pl__stop_get();
    PL_PARALLEL_FOR(work_size)
    for (int64_t row = 0; row < b->rows; row += rows)
        if (!pl__stopped(stop))
            forward_tile(b, s, frequency, room_at(b, work), row, least(rows, b->rows - row));
}

/* The gradients of the products: those of the outputs, turned back where rope turned them. */
static void turn_back(const block_in *b, const side *s, const double *frequency, const room *r,
                      int64_t row, int64_t m, const real *dy[SIDES])
{
    const real *from[SIDES];
    real *to[SIDES];
    int64_t heads[SIDES];
    int turned = 0;
    for (int i = 0; i < SIDES; i++) {
        dy[i] = s[i].dy + row * s[i].w->n;
        if (!s[i].turned) continue;
        from[turned] = dy[i];
        to[turned] = r->y[i];
        heads[turned++] = s[i].w->n / b->rope.D;
        dy[i] = r->y[i];
    }
    K(rope_rows)(&b->rope, frequency, b->positions + row, m, true, turned, to, from, heads);
}

static void backward_tile(const block_in *b, const block_in_grads *g, const side *s,
                          const double *frequency, room r, int64_t part, bool first, int64_t tile,
                          real *norm_sum)
{
    const int64_t C = b->C, row = tile * BLOCK_TILE, m = least(BLOCK_TILE, b->rows - row);
    const real *x = b->x + row * C, *dy[SIDES];
    K(rmsnorm_fwd)(m, C, b->eps, r.n, r.rstd, x, b->norm);
    turn_back(b, s, frequency, &r, row, m, dy);
    for (int i = SIDES - 1; i >= 0; i--) { /* as the tape goes through the three products */
        const int64_t n = s[i].w->n;
        K(gemm_packed_serial)(m, C, n, dy[i], n, s[i].packed, i < SIDES - 1, r.dn, C);
        sum_tile(&s[i].sum, part, first, m, dy[i], n, r.n, C);
    }
    real *dx = g->x.d != NULL ? g->x.d + row * C : NULL;
    real *dw = g->norm.d != NULL ? norm_sum + tile * C : NULL;
    if (dw != NULL) memset(dw, 0, (size_t)C * sizeof(real));
    K(rmsnorm_bwd)(m, C, dx, g->x.acc, dw, r.dn, x, b->norm, r.rstd);
}

void K(block_in_bwd)(const block_in *b, const block_in_grads *g, real *work)
{
    const int64_t parts = block_parts(b->rows), tiles = tiles_of(b->rows);
    double frequency[ROPE_MAX_DIM / 2];
    block_pack list[SIDES];
    block_sum sums[SIDES];
    int count = 0;
    side s[SIDES] = {{.w = &b->q, .dy = g->dq, .turned = true},
                     {.w = &b->k, .dy = g->dk, .turned = true},
                     {.w = &b->v, .dy = g->dv}};
    const block_grad to[SIDES] = {g->q, g->k, g->v};
    for (int i = 0; i < SIDES; i++) {
        s[i].packed = packed_at(s[i].w, false, list, &count, &work);
        s[i].sum = sums[i] = sum_at(s[i].w, to[i], parts, &work);
    }
    real *norm_sum = cut(&work, tiles * b->C);
    pack_all(list, count);
    K(rope_frequencies)(frequency, &b->rope);
    const pl_stop stop = pl__stop_get();
    PL_PARALLEL_FOR(cost_of(b->rows, 2 * weights_of(b)))
    for (int64_t part = 0; part < parts; part++) {
        const int64_t from = tiles * part / parts, end = tiles * (part + 1) / parts;
        for (int64_t tile = from; tile < end && !pl__stopped(stop); tile++)
            backward_tile(b, g, s, frequency, room_at(b, work), part, tile == from, tile, norm_sum);
    }
    sums_finish(sums, SIDES, b->rows);
    norm_finish(&g->norm, tiles, b->C, norm_sum);
}
