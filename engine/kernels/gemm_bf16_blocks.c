/*
** gemm_bf16_blocks.c - how a bfloat16 product is cut into squares of 32 x 32 and shared out.
**
** A is rounded and packed once, by all threads. Then each worker has a rectangle of C to itself and
** waits for nobody: of its columns it packs some panels of B into its own space, which its L2 cache
** holds, and multiplies all its rows with them. Rows go in blocks and k in pieces, so that the
** piece of a strip of A stays in L1; between pieces sums rest in the worker's space, in C between
** depths of k that do not fit it. A sum goes on from its float32 bits wherever it rested, so none
** of this cutting shows in the result.
*/
#include "kernels/gemm_bf16_blocks.h"

#ifndef PL_F64_BUILD

#include "base/thread.h"
#include "kernels/gemm_bf16_step.h"

enum {
    DEPTH = 128,     /* steps of k for which B is packed at a time */
    CHUNK = 16,      /* panels packed at a time */
    BLOCK = 16,      /* strips whose sums rest in the worker's space */
    PIECE_STEPS = 8, /* steps of k in a piece */
    FEW_STRIPS = 2,  /* of so few rows the sums go through all of the depth at once */
    PACK_STRIPS = 6, /* to pack a panel costs as much as so many strips times it */
    SUMS = LINES * LINES,
};

typedef struct {
    const bf16_product *p;
    const uint8_t *a; /* packed */
    square_fn square;
    bool tiles; /* AMX is in use: its registers are set up by each thread */
    int64_t steps, strips, panels;
    pl_stop stop;
} job;

static int64_t ceil_div(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

/* ---- Sums to and from C ---- */

typedef struct {
    float *c; /* of its first element */
    int64_t ldc, rows, cols;
    const float *bias; /* of its first column */
} place;

static place place_of(const job *g, int64_t strip, int64_t panel)
{
    const bf16_product *p = g->p;
    const int64_t row = strip * LINES, col = panel * LINES;
    return (place){p->c + row * p->ldc + col, p->ldc, least(LINES, p->m - row),
                   least(LINES, p->n - col), p->bias ? p->bias + col : NULL};
}

static void sums_from(const place *at, float *sums)
{
    for (int64_t i = 0; i < at->rows; i++)
        for (int64_t h = 0; h < at->cols; h += SIDE) {
            const float *c = at->c + i * at->ldc + h;
            float *to = sums + (2 * (i / SIDE) + h / SIDE) * SIDE * SIDE + i % SIDE * SIDE;
            const int64_t n = least(SIDE, at->cols - h);
            if (n == SIDE) memcpy(to, c, SIDE * sizeof(float));
            else memcpy(to, c, (size_t)n * sizeof(float));
        }
}

static void sums_to(const place *at, const float *sums)
{
    for (int64_t i = 0; i < at->rows; i++)
        for (int64_t h = 0; h < at->cols; h += SIDE) {
            float *c = at->c + i * at->ldc + h;
            const float *from = sums + (2 * (i / SIDE) + h / SIDE) * SIDE * SIDE + i % SIDE * SIDE;
            const int64_t n = least(SIDE, at->cols - h);
            if (at->bias)
                for (int64_t j = 0; j < n; j++) c[j] = from[j] + at->bias[h + j];
            else if (n == SIDE) memcpy(c, from, SIDE * sizeof(float));
            else memcpy(c, from, (size_t)n * sizeof(float));
        }
}

/* ---- One worker ---- */

/* Strips [strip, strip_end) times panels [panel, panel_end), for `depth` steps from `step` on. */
typedef struct {
    int64_t strip, strip_end, panel, panel_end, step, depth;
    const uint8_t *b; /* the first panel's first step */
    int64_t panel_bytes;
} block;

static void run_square(const job *g, const block *w, int64_t s, int64_t p, int64_t from, int64_t to,
                       float *sums)
{
    const place at = place_of(g, s, p);
    const bool first = from == 0, last = to == w->depth;
    square_args args = {.steps = to - from,
                        .a = g->a + (s * g->steps + w->step + from) * STEP_BYTES,
                        .b = w->b + (p - w->panel) * w->panel_bytes + from * STEP_BYTES,
                        .sums = sums,
                        .acc = !first || w->step > 0 || g->p->acc,
                        .upper = at.rows <= SIDE,
                        .left = at.cols <= SIDE};
    if (first && args.acc) sums_from(&at, sums);
    g->square(&args);
    if (last) {
        place end = at;
        if (w->step + w->depth < g->steps) end.bias = NULL;
        sums_to(&end, sums);
    }
}

static void run_block(const job *g, const block *w, float *sums)
{
    const int64_t width = w->panel_end - w->panel;
    const int64_t pieces = w->strip_end - w->strip <= FEW_STRIPS || w->depth == 0
                               ? 1
                               : ceil_div(w->depth, PIECE_STEPS);
    for (int64_t i = 0; i < pieces; i++)
        for (int64_t s = w->strip; s < w->strip_end && !pl__stopped(g->stop); s++)
            for (int64_t p = w->panel; p < w->panel_end; p++)
                run_square(g, w, s, p, w->depth * i / pieces, w->depth * (i + 1) / pieces,
                           pieces == 1 ? sums
                                       : sums + ((s - w->strip) * width + p - w->panel) * SUMS);
}

static operand operand_b(const bf16_matrix *b, int64_t n, int64_t k)
{
    return (operand){b->dtype, !b->turned, b->at, b->ld, n, k};
}

static void run_rectangle(const job *g, const block *r, uint8_t *space)
{
    const bf16_product *p = g->p;
    const operand b = operand_b(&p->b, p->n, p->k);
    float *sums = (float *)space;
    uint8_t *packed =
        space + least(g->strips, BLOCK) * least(g->panels, CHUNK) * SUMS * sizeof(float);
    for (int64_t step = 0; step == 0 || step < g->steps; step += DEPTH) /* once when k is 0 */
        for (int64_t panel = r->panel; panel < r->panel_end; panel += CHUNK) {
            block w = {.step = step,
                       .depth = least(DEPTH, g->steps - step),
                       .panel = panel,
                       .panel_end = least(panel + CHUNK, r->panel_end)};
            if (p->packed) {
                w.panel_bytes = g->steps * STEP_BYTES;
                w.b = (const uint8_t *)p->packed + panel * w.panel_bytes + step * STEP_BYTES;
            } else {
                w.panel_bytes = w.depth * STEP_BYTES;
                w.b = packed;
                pack_groups(&b, true, panel, w.panel_end, step, step + w.depth, packed,
                            w.panel_bytes);
            }
            for (w.strip = r->strip; w.strip < r->strip_end && !pl__stopped(g->stop);
                 w.strip = w.strip_end) {
                w.strip_end = least(w.strip + BLOCK, r->strip_end);
                run_block(g, &w, sums);
            }
        }
}

/* ---- All workers ---- */

/* About as many multiplications as one scalar operation takes. */
static int64_t cost(int64_t m, int64_t n, int64_t k)
{
    return ceil_div(m, LINES) * n * k / 8;
}

static int64_t space_of(bool packed, int64_t strips, int64_t panels, int64_t steps)
{
    const int64_t chunk = least(panels, CHUNK);
    return least(strips, BLOCK) * chunk * SUMS * (int64_t)sizeof(float) +
           (packed ? 0 : chunk * least(steps, DEPTH) * STEP_BYTES);
}

/* How many parts the strips are cut into when `workers` share them and the panels: that with the
** smallest share of the busiest. */
static int64_t row_parts(const job *g, int64_t workers)
{
    int64_t best = 1, best_cost = INT64_MAX;
    for (int64_t rows = 1; rows <= workers && rows <= g->strips; rows++) {
        const int64_t columns = workers / rows;
        const int64_t share = ceil_div(g->panels, columns) *
                              (ceil_div(g->strips, rows) + (g->p->packed ? 0 : PACK_STRIPS));
        if (share < best_cost) best = rows, best_cost = share;
    }
    return best;
}

/* Everything of an operand, shared among threads. */
static void pack_all(const operand *o, bool as_pairs, int64_t groups, int64_t steps, uint8_t *out)
{
    enum { TOGETHER = 8 }; /* groups whose rows are read side by side when turned */
    const int64_t stride = steps * STEP_BYTES, parts = ceil_div(groups, TOGETHER);
    PL_PARALLEL_FOR(o->lines * o->k / 4)
    for (int64_t i = 0; i < parts; i++)
        pack_groups(o, as_pairs, i * TOGETHER, least(groups, (i + 1) * TOGETHER), 0, steps,
                    out + i * TOGETHER * stride, stride);
}

static square_fn square_of(pl_bf16_rule rule)
{
    const bool tiles = rule.kind == PL_BF16_TILES;
#if defined(__AVX512F__)
    if (rule.native) return tiles ? square_tiles : square_pairs;
#endif
    return tiles ? square_model_tiles : square_model_pairs;
}

static void run_worker(const job *g, const block *r, uint8_t *space)
{
#if defined(__AVX512F__)
    if (g->tiles) tiles_open();
#endif
    run_rectangle(g, r, space);
#if defined(__AVX512F__)
    if (g->tiles) tiles_close();
#endif
}

int64_t K(bf16_blocks_work)(bool packed, int64_t m, int64_t n, int64_t k)
{
    const int64_t strips = ceil_div(m, LINES), panels = ceil_div(n, LINES);
    const int64_t steps = ceil_div(k, STEP);
    return strips * steps * STEP_BYTES +
           pl__threads_for(cost(m, n, k)) * space_of(packed, strips, panels, steps);
}

void K(bf16_blocks)(pl_bf16_rule rule, const bf16_product *p, void *work)
{
    job g = {.p = p,
             .a = work,
             .square = square_of(rule),
             .tiles = rule.kind == PL_BF16_TILES && rule.native,
             .steps = ceil_div(p->k, STEP),
             .strips = ceil_div(p->m, LINES),
             .panels = ceil_div(p->n, LINES),
             .stop = pl__stop_get()};
    if (p->m <= 0 || p->n <= 0) return;
    const operand a = {p->a.dtype, p->a.turned, p->a.at, p->a.ld, p->m, p->k};
    uint8_t *packed = work, *space = packed + g.strips * g.steps * STEP_BYTES;
    pack_all(&a, false, g.strips, g.steps, packed);

    const int64_t size = space_of(p->packed != NULL, g.strips, g.panels, g.steps);
    const int64_t threads = pl__threads_for(cost(p->m, p->n, p->k));
    const int64_t rows = row_parts(&g, threads), columns = least(threads / rows, g.panels);
    PL_PARALLEL_FOR(cost(p->m, p->n, p->k))
    for (int64_t w = 0; w < rows * columns; w++) {
        const int64_t i = w / columns, j = w % columns;
        const block r = {.strip = g.strips * i / rows,
                         .strip_end = g.strips * (i + 1) / rows,
                         .panel = g.panels * j / columns,
                         .panel_end = g.panels * (j + 1) / columns};
        run_worker(&g, &r, space + w * size);
    }
}

int64_t K(bf16_pack_size)(int64_t n, int64_t k)
{
    return ceil_div(n, LINES) * ceil_div(k, STEP) * STEP_BYTES;
}

void K(bf16_pack)(int64_t n, int64_t k, const bf16_matrix *b, void *packed)
{
    const operand o = operand_b(b, n, k);
    pack_all(&o, true, ceil_div(n, LINES), ceil_div(k, STEP), packed);
}

#endif
