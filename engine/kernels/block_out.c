/*
** block_out.c - what follows attention in a block: the projection back to the residual stream, a
** norm, and the gated layer (narrow_block.h).
*/
#include "kernels/block_rows.h"
#include "kernels/elementwise.h"

/* What one thread has of a tile: [BLOCK_TILE, C] but for the three of [BLOCK_TILE, F]. */
typedef struct {
    real *h, *n, *dn, *dh, *rstd, *gate, *up, *act;
} room;

static int64_t room_size(const block_out *b)
{
    return 4 * lines(BLOCK_TILE * b->C) + lines(BLOCK_TILE) +
           3 * lines(BLOCK_TILE * whole(b->gate.n));
}

static room room_at(const block_out *b, real *work)
{
    const int64_t narrow = BLOCK_TILE * b->C, wide = BLOCK_TILE * whole(b->gate.n);
    work += omp_get_thread_num() * room_size(b);
    room r = {.h = cut(&work, narrow), .n = cut(&work, narrow)};
    r.dn = cut(&work, narrow);
    r.dh = cut(&work, narrow);
    r.rstd = cut(&work, BLOCK_TILE);
    r.gate = cut(&work, wide);
    r.up = cut(&work, wide);
    r.act = cut(&work, wide);
    return r;
}

static int64_t weights_of(const block_out *b)
{
    return b->o.n * b->o.k + 3 * b->gate.n * b->gate.k;
}

int64_t K(block_out_work)(const block_out *b, bool backward)
{
    const int64_t parts = block_parts(b->rows);
    const block_weight *const w[] = {&b->o, &b->gate, &b->up, &b->down};
    int64_t size = room_size(b) * omp_get_max_threads();
    for (int i = 0; i < 4; i++) {
        size += pack_size(w[i], true);
        if (backward) size += pack_size(w[i], false) + sum_size(w[i], parts);
    }
    return size + (backward ? lines(tiles_of(b->rows) * b->C) : 0);
}

/* The packed weights, transposed: of the forward pass. */
typedef struct {
    const real *o, *gate, *up, *down;
} packed_weights;

static void add_rows(int64_t n, real *y, const real *a, const real *b)
{
    for (int64_t i = 0; i < n; i++) y[i] = a[i] + b[i];
}

/* h, n, gate and up of the rows from `row` on. */
static void open_tile(const block_out *b, const packed_weights *p, const room *r, real *rstd,
                      int64_t row, int64_t m)
{
    const int64_t C = b->C, A = b->o.k, F = whole(b->gate.n);
    K(gemm_packed_serial)(m, C, A, b->y + row * A, A, p->o, false, r->h, C);
    add_rows(m * C, r->h, b->x + row * C, r->h);
    K(rmsnorm_fwd)(m, C, b->eps, r->n, rstd, r->h, b->norm);
    K(gemm_packed_serial)(m, F, C, r->n, C, p->gate, false, r->gate, F);
    K(gemm_packed_serial)(m, F, C, r->n, C, p->up, false, r->up, F);
}

static void forward_tile(const block_out *b, const packed_weights *p, room r, real *z, int64_t row,
                         int64_t m)
{
    const int64_t C = b->C, F = whole(b->gate.n);
    const real *const in[] = {r.gate, r.up};
    const bool step[] = {true, true};
    open_tile(b, p, &r, NULL, row, m);
    K(swiglu_fwd)(m * F, r.act, false, in, step, NULL);
    K(gemm_packed_serial)(m, C, b->gate.n, r.act, F, p->down, false, r.n, C);
    add_rows(m * C, z + row * C, r.h, r.n);
}

void K(block_out_fwd)(const block_out *b, real *z, real *work)
{
    const int64_t work_size = cost_of(b->rows, weights_of(b));
    const int64_t rows = forward_rows(b->rows, work_size);
    block_pack list[4];
    int count = 0;
    const packed_weights p = {.o = packed_at(&b->o, true, list, &count, &work),
                              .gate = packed_at(&b->gate, true, list, &count, &work),
                              .up = packed_at(&b->up, true, list, &count, &work),
                              .down = packed_at(&b->down, true, list, &count, &work)};
    pack_all(list, count);
    const pl_stop stop = pl__stop_get();
    PL_PARALLEL_FOR(work_size)
    for (int64_t row = 0; row < b->rows; row += rows)
        if (!pl__stopped(stop))
            forward_tile(b, &p, room_at(b, work), z, row, least(rows, b->rows - row));
}

/* ---- backward ---- */

enum { O, GATE, UP, DOWN, WEIGHTS };

typedef struct {
    const block_out *b;
    const block_out_grads *g;
    packed_weights turned;         /* for h, gate and up again */
    const real *straight[WEIGHTS]; /* for dy W */
    block_sum sums[WEIGHTS];
    real *norm_sum;
} back;

/* dz to dn, and the gradients of the gated layer's weights. */
static void backward_gated(const back *k, const room *r, const real *dz, int64_t part, bool first,
                           int64_t m)
{
    const block_out *b = k->b;
    const int64_t C = b->C, F = b->gate.n, Fw = whole(F);
    K(gemm_packed_serial)(m, Fw, C, dz, C, k->straight[DOWN], false, r->act, Fw);
    K(swiglu_bwd)(m * Fw, r->act, r->gate, r->up, r->gate, r->up, r->act);
    sum_tile(&k->sums[DOWN], part, first, m, dz, C, r->act, Fw);
    K(gemm_packed_serial)(m, C, F, r->up, Fw, k->straight[UP], false, r->dn, C);
    sum_tile(&k->sums[UP], part, first, m, r->up, Fw, r->n, C);
    K(gemm_packed_serial)(m, C, F, r->gate, Fw, k->straight[GATE], true, r->dn, C);
    sum_tile(&k->sums[GATE], part, first, m, r->gate, Fw, r->n, C);
}

static void backward_tile(const back *k, room r, int64_t part, bool first, int64_t tile)
{
    const block_out *b = k->b;
    const block_out_grads *g = k->g;
    const int64_t C = b->C, A = b->o.k, row = tile * BLOCK_TILE;
    const int64_t m = least(BLOCK_TILE, b->rows - row);
    const real *dz = g->dz + row * C;
    open_tile(b, &k->turned, &r, r.rstd, row, m);
    backward_gated(k, &r, dz, part, first, m);

    real *dw = g->norm.d != NULL ? k->norm_sum + tile * C : NULL;
    if (dw != NULL) memset(dw, 0, (size_t)C * sizeof(real));
    real *dx = g->x.d != NULL ? g->x.d + row * C : NULL;
    real *dh = dx != NULL && !g->x.acc ? dx : r.dh;
    memcpy(dh, dz, (size_t)(m * C) * sizeof(real));
    K(rmsnorm_bwd)(m, C, dh, true, dw, r.dn, r.h, b->norm, r.rstd);
    if (dx != NULL && dh != dx) add_rows(m * C, dx, dx, dh);
    sum_tile(&k->sums[O], part, first, m, dh, C, b->y + row * A, A);
    if (g->y.d == NULL) return;
    K(gemm_packed_serial)(m, A, C, dh, C, k->straight[O], g->y.acc, g->y.d + row * A, A);
}

void K(block_out_bwd)(const block_out *b, const block_out_grads *g, real *work)
{
    const int64_t parts = block_parts(b->rows), tiles = tiles_of(b->rows);
    const block_weight *const w[] = {&b->o, &b->gate, &b->up, &b->down};
    const block_grad to[] = {g->o, g->gate, g->up, g->down};
    block_pack list[WEIGHTS * 2];
    int count = 0;
    back k = {.b = b, .g = g};
    k.turned.o = packed_at(&b->o, true, list, &count, &work);
    k.turned.gate = packed_at(&b->gate, true, list, &count, &work);
    k.turned.up = packed_at(&b->up, true, list, &count, &work);
    for (int i = 0; i < WEIGHTS; i++) {
        k.straight[i] = packed_at(w[i], false, list, &count, &work);
        k.sums[i] = sum_at(w[i], to[i], parts, &work);
    }
    k.norm_sum = cut(&work, tiles * b->C);
    pack_all(list, count);
    const pl_stop stop = pl__stop_get();
    PL_PARALLEL_FOR(cost_of(b->rows, 3 * weights_of(b)))
    for (int64_t part = 0; part < parts; part++) {
        const int64_t from = tiles * part / parts, end = tiles * (part + 1) / parts;
        for (int64_t tile = from; tile < end && !pl__stopped(stop); tile++)
            backward_tile(&k, room_at(b, work), part, tile == from, tile);
    }
    sums_finish(k.sums, WEIGHTS, b->rows);
    norm_finish(&g->norm, tiles, b->C, k.norm_sum);
}
