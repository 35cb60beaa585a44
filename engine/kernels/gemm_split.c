/*
** gemm_split.c - how a split product is cut into squares of 32 x 32 and shared out.
**
** Each worker has a rectangle of C to itself and waits for nobody. Of its columns it takes a few
** panels, and for each piece of k packs them into its own space, which its L2 cache holds; with
** these it multiplies all its strips of A, each packed just before. Sums rest in C between pieces,
** so none of this cutting shows in the result.
*/
#include "kernels/gemm_split.h"

#ifndef PL_F64_BUILD

#include "base/cpu.h"
#include "base/thread.h"
#include "kernels/gemm_split_step.h"

enum {
    STRIPS_TURNED = 4, /* packed together where rows of the source run across them */
    PACK_COST = 2,     /* to pack a piece of a strip or panel, in squares */
};

typedef struct {
    int64_t m, n, k;
    operand a, b;
    bool acc;
    float *c;
    int64_t ldc;
    split_fn square;
    bool tiles; /* AMX is in use: its registers are set up by each thread */
    int64_t strips, panels;
    pl_stop stop;
} job;

/* What one worker has, at the beginning of its space; the packed pieces of A and of B follow. */
typedef struct {
    float sums[2][LINES * LINES];
    split_scales a_scales[STRIPS_TURNED], b_scales[GROUP];
    split_finish finish;
    split_ahead ahead;
    int turn;
    uint8_t *a, *b;
} worker;

enum {
    PIECE_BYTES = PIECE_STEPS * STEP_BYTES,
    WORKER_BYTES = (sizeof(worker) + 63) / 64 * 64 + STRIPS_TURNED * PIECE_BYTES,
};

/* The piece of k and the panels that are packed at one time. */
typedef struct {
    int64_t from, count, panel, panels;
    bool first;
} slab;

/* ---- Lines that are not split ---- */

static float element(const operand *o, int64_t line, int64_t k)
{
    return o->turned ? o->at[k * o->ld + line] : o->at[line * o->ld + k];
}

static float chain(const job *g, const slab *w, int64_t row, int64_t col, float s)
{
    for (int64_t k = w->from; k < w->from + w->count; k++)
        s = fmaf(element(&g->a, row, k), element(&g->b, col, k), s);
    return s;
}

/* A square with lines that are not split: their sums, where they were before, become chains. */
static void finish_odd(const job *g, const slab *w, split_finish *f, int64_t row, int64_t col,
                       uint32_t odd_a, uint32_t odd_b)
{
    float before[LINES][LINES];
    for (int64_t i = 0; i < f->rows; i++)
        for (int64_t j = 0; j < f->cols; j++) before[i][j] = f->acc ? f->c[i * f->ldc + j] : 0;
    finish_rows(f, LINES);
    for (int64_t i = 0; i < f->rows; i++)
        for (int64_t j = 0; j < f->cols; j++)
            if (odd_a >> i & 1 || odd_b >> j & 1)
                f->c[i * f->ldc + j] = chain(g, w, row + i, col + j, before[i][j]);
}

/* ---- One worker ---- */

static void run_square(const job *g, const slab *w, worker *own, int64_t strip, int64_t panel,
                       int64_t index)
{
    const int64_t row = strip * LINES, col = panel * LINES, steps = ceil_div(w->count, STEP);
    const split_scales *a = own->a_scales + index, *b = own->b_scales + panel - w->panel;
    float *c = g->c + row * g->ldc + col, *sums = own->sums[own->turn];
    const split_args args = {.steps = steps,
                             .a = own->a + index * steps * STEP_BYTES,
                             .b = own->b + (panel - w->panel) * steps * STEP_BYTES,
                             .sums = sums,
                             .rows = least(LINES, g->m - row),
                             .cols = least(LINES, g->n - col),
                             .c = c,
                             .ldc = g->ldc,
                             .before = &own->finish,
                             .ahead = &own->ahead,
                             .ahead_lines = LINES * LINES / 2 / (w->panels * steps) + 1};
    g->square(&args);
    own->finish = (split_finish){.sums = sums,
                                 .scale_a = a->scale,
                                 .scale_b = b->scale,
                                 .rows = args.rows,
                                 .cols = args.cols,
                                 .acc = g->acc || !w->first,
                                 .c = c,
                                 .ldc = g->ldc};
    own->turn = !own->turn;
    if (a->odd || b->odd) finish_odd(g, w, &own->finish, row, col, a->odd, b->odd);
}

/* What will be packed of A after `strip` strips: the next `count`. */
static split_ahead strips_ahead(const job *g, const slab *w, int64_t strip, int64_t count)
{
    const operand *a = &g->a;
    const int64_t first = strip * LINES, lines = least(count * LINES, a->lines - first);
    const int64_t size = sizeof(float);
    split_ahead f = {.ld_bytes = a->ld * size};
    if (lines <= 0) return f;
    f.at = (const uint8_t *)(a->turned ? a->at + w->from * a->ld + first
                                       : a->at + first * a->ld + w->from);
    f.bytes = (a->turned ? lines : w->count) * size;
    f.rows = a->turned ? w->count : lines;
    return f;
}

static void run_slab(const job *g, const slab *w, const rectangle *r, worker *own)
{
    const int64_t group = g->a.turned ? STRIPS_TURNED : 1;
    pack_piece(&g->b, true, w->panel, w->panels, w->from, w->count, own->b, own->b_scales);
    for (int64_t strip = r->strip; strip < r->strip_end; strip += group) {
        const int64_t count = least(group, r->strip_end - strip);
        if (pl__stopped(g->stop)) break;
        finish_rows(&own->finish, LINES); /* it reads scales that change now */
        pack_piece(&g->a, false, strip, count, w->from, w->count, own->a, own->a_scales);
        own->ahead = strips_ahead(g, w, strip + group, least(group, r->strip_end - strip - group));
        for (int64_t i = 0; i < count; i++)
            for (int64_t p = 0; p < w->panels; p++)
                run_square(g, w, own, strip + i, w->panel + p, i);
    }
    finish_rows(&own->finish, LINES);
}

static void run_rectangle(const void *of, const rectangle *r, uint8_t *space)
{
    const job *g = of;
    worker *own = (worker *)space;
    const int64_t panels = r->panel_end - r->panel, parts = ceil_div(panels, GROUP);
    own->finish = (split_finish){0};
    own->ahead = (split_ahead){0};
    own->turn = 0;
    own->a = space + WORKER_BYTES - STRIPS_TURNED * PIECE_BYTES;
    own->b = space + WORKER_BYTES;
    for (int64_t part = 0; part < parts; part++) {
        slab w = {.panel = r->panel + panels * part / parts};
        w.panels = r->panel + panels * (part + 1) / parts - w.panel;
        for (int64_t i = 0; i < pieces_of(g->k) && !pl__stopped(g->stop); i++) {
            w.from = split_start(g->k, i);
            w.count = split_start(g->k, i + 1) - w.from;
            w.first = i == 0;
            run_slab(g, &w, r, own);
        }
    }
}

/* ---- All workers ---- */

/* About as many multiplications as one scalar operation takes. */
static int64_t cost(int64_t m, int64_t n, int64_t k)
{
    return m * n / 16 * k;
}

static int64_t space_of(int64_t panels)
{
    return WORKER_BYTES + least(panels, GROUP) * PIECE_BYTES;
}

/* How many parts the strips are cut into when `workers` share them and the panels: that with the
** smallest share of the busiest. */
static int64_t row_parts(const job *g, int64_t workers)
{
    int64_t best = 1, best_cost = INT64_MAX;
    for (int64_t rows = 1; rows <= workers && rows <= g->strips; rows++) {
        const int64_t columns = workers / rows, strips = ceil_div(g->strips, rows);
        const int64_t panels = ceil_div(g->panels, columns);
        const int64_t share =
            strips * panels + PACK_COST * (panels + strips * ceil_div(panels, GROUP));
        if (share < best_cost) best = rows, best_cost = share;
    }
    return best;
}

static void clear(const job *g)
{
    for (int64_t i = 0; i < g->m && !g->acc; i++)
        memset(g->c + i * g->ldc, 0, (size_t)g->n * sizeof(float));
}

int64_t K(gemm_split_work)(int64_t m, int64_t n, int64_t k)
{
    return pl__threads_for(cost(m, n, k)) * space_of(ceil_div(n, LINES));
}

void K(gemm_split)(bool ta, bool tb, int64_t m, int64_t n, int64_t k, const float *a, int64_t lda,
                   const float *b, int64_t ldb, bool acc, float *c, int64_t ldc, void *work)
{
    job g = {.m = m,
             .n = n,
             .k = k,
             .a = {ta, a, lda, m, k},
             .b = {!tb, b, ldb, n, k},
             .acc = acc,
             .c = c,
             .ldc = ldc,
             .square = split_by_model,
             .strips = ceil_div(m, LINES),
             .panels = ceil_div(n, LINES),
             .stop = pl__stop_get()};
    if (m <= 0 || n <= 0) return;
    if (k <= 0) {
        clear(&g);
        return;
    }
#if defined(__AVX512F__)
    g.tiles = pl__has_tiles();
    if (g.tiles) g.square = split_by_tiles;
#endif
    const int64_t threads = pl__threads_for(cost(m, n, k)), size = space_of(g.panels);
    const int64_t rows = row_parts(&g, threads), columns = least(threads / rows, g.panels);
    const rectangles all = {g.strips, g.panels, rows, columns, size, g.tiles};
    run_rectangles(&all, cost(m, n, k), run_rectangle, &g, (uint8_t *)work);
}

#endif
