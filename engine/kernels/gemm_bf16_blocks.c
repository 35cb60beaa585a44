/*
** gemm_bf16_blocks.c - how a bfloat16 product is cut into squares of 32 x 32 and shared out.
**
** A is rounded and packed once, by all threads, or comes packed. Then each worker has a rectangle
** of C to itself and waits for nobody: of its columns it packs some panels of B into its own space,
** which its L2 cache holds, and multiplies all its rows with them. Two strips, as in decoding, go
** through B together, which may come from far. Rows go in chunks and k in pieces, so that the
** piece of a strip of A stays in L1; between pieces sums rest in the worker's space, in C between
** depths of k that do not fit it. A sum goes on from its float32 bits wherever it rested, so none
** of this cutting shows in the result.
*/
#include "kernels/gemm_bf16_blocks.h"

#ifndef PL_F64_BUILD

#include "base/thread.h"
#include "kernels/gemm_bf16_step.h"

enum {
    DEPTH = 16,      /* pieces of k for which B is packed at a time */
    PACK_STRIPS = 6, /* to pack a panel costs as much as so many strips times it, */
    READ_STRIPS = 1, /* to read a packed one */
    SUMS = LINES * LINES,
    NEAR = 1 << 20, /* bytes of a packed operand that L2 keeps from one strip to the next */
};

typedef struct {
    const bf16_product *p;
    const uint8_t *a; /* packed */
    square_fn square;
    bool tiles; /* AMX is in use: its registers are set up by each thread */
    bool near_a, near_b;
    int64_t steps, pieces, strips, panels;
    pl_stop stop;
} job;

/* ---- Sums to and from C ---- */

typedef struct {
    float *c; /* of its first element */
    int64_t ldc, rows, cols;
    const float *bias; /* of its first column */
} square;

static square square_of(const job *g, int64_t strip, int64_t panel)
{
    const bf16_product *p = g->p;
    const int64_t row = strip * LINES, col = panel * LINES;
    return (square){p->c + row * p->ldc + col, p->ldc, least(LINES, p->m - row),
                    least(LINES, p->n - col), p->bias ? p->bias + col : NULL};
}

static void sums_from(const square *at, float *sums)
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

static void sums_to(const square *at, const float *sums)
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

/* To sums that are in C already; of a whole square. */
static void add_bias(const square *at)
{
    for (int64_t i = 0; i < LINES; i++)
        for (int64_t j = 0; j < LINES; j++) at->c[i * at->ldc + j] += at->bias[j];
}

/* ---- One worker ---- */

/* Bytes of a worker's space for sums. */
static int64_t sums_space(int64_t strips, int64_t panels)
{
    return least(strips, CHUNK) * least(panels, CHUNK) * SUMS * (int64_t)sizeof(float);
}

/* Panels [panel, panel_end) and pieces [piece, piece_end) of one chunk; `b` has them, the panels
** from `first` on. */
typedef struct {
    int64_t panel, panel_end, piece, piece_end, first;
    place b;
} slab;

/* The chunk of a whole packed operand of `lines` strips or panels in which `line` is. */
static place chunk_of(const void *packed, int64_t steps, int64_t lines, int64_t line)
{
    const int64_t first = line / CHUNK * CHUNK;
    return (place){(uint8_t *)packed + first * steps * STEP_BYTES, steps, 0,
                   least(CHUNK, lines - first)};
}

/* Bytes for each step by which `count` squares fetch all of a piece, where it is not near. */
static int64_t share(bool near, int64_t count)
{
    return near ? 0 : (STEP_BYTES / count + 63) / 64 * 64;
}

/* A piece of all lines of a place, and the one after it; of one line so many bytes. */
typedef struct {
    const uint8_t *at, *after;
    int64_t line, line_after;
} one_piece;

static one_piece piece_of(const place *p, int64_t i)
{
    const int64_t end = piece_start(p->steps, i + 1);
    return (one_piece){piece_at(p, i, 0), piece_at(p, i + 1, 0),
                       (end - piece_start(p->steps, i)) * STEP_BYTES,
                       (piece_start(p->steps, i + 2) - end) * STEP_BYTES};
}

/* One piece of a slab and the strips of one chunk. */
typedef struct {
    const slab *w;
    const rectangle *r;
    one_piece a, b;
    int64_t steps, share_a, share_b;
    bool first, last, acc; /* acc: sums go on from what there is, the first time from C */
} turn;

/* The square of strip s and panel p. */
static square_args args_of(const turn *t, const square *at, int64_t s, int64_t p, bool straight,
                           float *sums)
{
    const int64_t strip = s % CHUNK, panel = p - t->w->first;
    return (square_args){.steps = t->steps,
                         .a = t->a.at + strip * t->a.line,
                         .b = t->b.at + panel * t->b.line,
                         .sums = sums,
                         .from = t->first && t->acc && straight ? at->c : NULL,
                         .c = t->last && straight ? at->c : NULL,
                         .ldc = at->ldc,
                         .acc = t->acc,
                         .rows = at->rows,
                         .cols = at->cols};
}

static void close_square(const job *g, const turn *t, const square *at, bool straight,
                         const float *sums)
{
    square end = *at;
    if (!t->last) return;
    if (t->w->piece_end < g->pieces) end.bias = NULL;
    if (!straight) sums_to(&end, sums);
    else if (end.bias) add_bias(&end);
}

static void run_square(const job *g, const turn *t, int64_t s, int64_t p, float *sums,
                       const float *next)
{
    const square at = square_of(g, s, p);
    const int64_t strip = s % CHUNK, panel = p - t->w->first;
    const bool straight = g->tiles && at.rows == LINES && at.cols == LINES;
    const bool from_c = t->first && t->acc, to_c = t->last && straight;
    square_args args = args_of(t, &at, s, p, straight, sums);
    args.next = from_c || to_c ? at.c + LINES : next; /* C is read before it is written */
    args.next_ld = from_c || to_c ? at.ldc : LINES;
    args.fetch_a = t->a.after + strip * t->a.line_after + (p - t->w->panel) * t->steps * t->share_a;
    args.fetch_b = t->b.after + panel * t->b.line_after + (s - t->r->strip) * t->steps * t->share_b;
    args.fetch_a_bytes = t->share_a;
    args.fetch_b_bytes = t->share_b;
    if (g->near_b && g->p->packed && s == t->r->strip) { /* near from the second strip on */
        args.fetch_b = args.b + t->b.line;
        args.fetch_b_bytes = STEP_BYTES;
    }
    if (from_c && !straight) sums_from(&at, sums);
    g->square(&args);
    close_square(g, t, &at, straight, sums);
}

#if defined(__AVX512F__)
/* Those of strips s and s + 1. What comes after a panel in packed B is read after it. */
static void run_two_squares(const job *g, const turn *t, int64_t s, int64_t p, float *sums,
                            float *below)
{
    const square at = square_of(g, s, p), low = square_of(g, s + 1, p);
    const bool straight = low.rows == LINES && at.cols == LINES;
    square_args args = args_of(t, &at, s, p, straight, sums);
    const square_args low_args = args_of(t, &low, s + 1, p, straight, below);
    if (g->p->packed) args.fetch_b = args.b + t->b.line;
    if (t->first && t->acc && !straight) sums_from(&at, sums), sums_from(&low, below);
    tall_tiles(&args, &low_args);
    close_square(g, t, &at, straight, sums);
    close_square(g, t, &low, straight, below);
}
#endif

/* Strips of one chunk. Where there is but one piece the sums need no place each. */
static void run_slab(const job *g, const slab *w, const rectangle *r, float *sums)
{
    const int64_t width = w->panel_end - w->panel, size = w->piece_end - w->piece > 1 ? SUMS : 0;
    const place a = chunk_of(g->a, g->steps, g->strips, r->strip);
    turn t = {.w = w,
              .r = r,
              .share_a = share(g->near_a, width),
              .share_b = share(g->near_b, r->strip_end - r->strip)};
    for (int64_t i = w->piece; i < w->piece_end || i == w->piece; i++) {
        t.a = piece_of(&a, i);
        t.b = piece_of(&w->b, i);
        t.steps = t.a.line / STEP_BYTES;
        t.first = i == w->piece;
        t.last = i + 1 >= w->piece_end;
        t.acc = i > 0 || g->p->acc;
#if defined(__AVX512F__)
        if (g->tiles && r->strip_end - r->strip == 2) {
            for (int64_t p = w->panel; p < w->panel_end && !pl__stopped(g->stop); p++) {
                float *own = sums + (p - w->panel) * size;
                run_two_squares(g, &t, r->strip, p, own, own + (size ? width * size : SUMS));
            }
            continue;
        }
#endif
        for (int64_t s = r->strip; s < r->strip_end && !pl__stopped(g->stop); s++)
            for (int64_t p = w->panel; p < w->panel_end; p++) {
                float *own = sums + ((s - r->strip) * width + p - w->panel) * size;
                run_square(g, &t, s, p, own, own + size);
            }
    }
}

static operand operand_b(const bf16_matrix *b, int64_t n, int64_t k)
{
    return (operand){b->dtype, !b->turned, b->at, b->ld, n, k};
}

static void pack_slab(const operand *b, const slab *w)
{
    if (b->turned)
        for (int64_t i = w->piece; i < w->piece_end; i++)
            pack_across_lines(b, true, w->first, w->first + w->b.width, i, &w->b);
    else
        for (int64_t j = 0; j < w->b.width; j++)
            pack_along_lines(b, true, w->first + j, w->piece, w->piece_end, &w->b, j);
}

static void run_rectangle(const void *of, const rectangle *r, uint8_t *space)
{
    const job *g = of;
    const bf16_product *p = g->p;
    const operand b = operand_b(&p->b, p->n, p->k);
    float *sums = (float *)space;
    uint8_t *own = space + sums_space(g->strips, g->panels);
    slab w = {.panel = r->panel};
    for (w.piece = 0; w.piece == 0 || w.piece < g->pieces; w.piece = w.piece_end) {
        w.piece_end = least(w.piece + DEPTH, g->pieces);
        for (w.panel = r->panel; w.panel < r->panel_end; w.panel = w.panel_end) {
            if (pl__stopped(g->stop)) return;
            if (p->packed) {
                w.first = w.panel / CHUNK * CHUNK;
                w.panel_end = least(r->panel_end, w.first + CHUNK);
                w.b = chunk_of(p->packed, g->steps, g->panels, w.first);
            } else {
                w.first = w.panel;
                w.panel_end = least(r->panel_end, w.first + CHUNK);
                w.b = (place){own, g->steps, w.piece, w.panel_end - w.first};
                pack_slab(&b, &w);
            }
            rectangle part = *r;
            for (; part.strip < r->strip_end && !pl__stopped(g->stop);
                 part.strip = part.strip_end) {
                part.strip_end = least(r->strip_end, (part.strip / CHUNK + 1) * CHUNK);
                run_slab(g, &w, &part, sums);
            }
        }
        if (g->pieces == 0) break;
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
    const int64_t b = least(panels, CHUNK) * least(steps, DEPTH * PIECE_STEPS) * STEP_BYTES;
    return sums_space(strips, panels) + (packed ? 0 : b);
}

/* How many parts the strips are cut into when `workers` share them and the panels: that with the
** smallest share of the busiest. */
static int64_t row_parts(const job *g, int64_t workers)
{
    int64_t best = 1, best_cost = INT64_MAX;
    for (int64_t rows = 1; rows <= workers && rows <= g->strips; rows++) {
        const int64_t columns = workers / rows;
        const int64_t share =
            ceil_div(g->panels, columns) *
            (ceil_div(g->strips, rows) + (g->p->packed ? READ_STRIPS : PACK_STRIPS));
        if (share < best_cost) best = rows, best_cost = share;
    }
    return best;
}

/* Everything of an operand, shared among threads. */
static void pack_all(const operand *o, bool as_pairs, void *out, pl_stop stop)
{
    const int64_t groups = ceil_div(o->lines, LINES), steps = ceil_div(o->k, STEP);
    const int64_t pieces = pieces_of(steps);
    const int64_t parts = o->turned ? ceil_div(groups, CHUNK) * pieces : groups;
    PL_PARALLEL_FOR(o->lines * o->k / 4)
    for (int64_t part = 0; part < parts; part++) {
        if (pl__stopped(stop)) continue;
        const int64_t group = o->turned ? part / pieces * CHUNK : part;
        const place to = chunk_of(out, steps, groups, group);
        if (o->turned) pack_across_lines(o, as_pairs, group, group + to.width, part % pieces, &to);
        else pack_along_lines(o, as_pairs, group, 0, pieces, &to, group % CHUNK);
    }
}

static square_fn way_of(pl_bf16_rule rule)
{
    const bool tiles = rule.kind == PL_BF16_TILES;
#if defined(__AVX512F__)
    if (rule.native) return tiles ? square_tiles : square_pairs;
#endif
    return tiles ? square_model_tiles : square_model_pairs;
}

int64_t K(bf16_blocks_work)(bool packed_a, bool packed, int64_t m, int64_t n, int64_t k)
{
    const int64_t strips = ceil_div(m, LINES), panels = ceil_div(n, LINES);
    const int64_t steps = ceil_div(k, STEP);
    return (packed_a ? 0 : K(bf16_pack_a_size)(m, k)) +
           pl__threads_for(cost(m, n, k)) * space_of(packed, strips, panels, steps);
}

void K(bf16_blocks)(pl_bf16_rule rule, const bf16_product *p, void *work)
{
    job g = {.p = p,
             .a = p->packed_a ? p->packed_a : work,
             .square = way_of(rule),
             .tiles = rule.kind == PL_BF16_TILES && rule.native,
             .steps = ceil_div(p->k, STEP),
             .pieces = pieces_of(ceil_div(p->k, STEP)),
             .strips = ceil_div(p->m, LINES),
             .panels = ceil_div(p->n, LINES),
             .near_a = K(bf16_pack_a_size)(p->m, p->k) <= NEAR,
             .near_b = K(bf16_pack_size)(p->n, p->k) <= NEAR,
             .stop = pl__stop_get()};
    if (p->m <= 0 || p->n <= 0) return;
    const operand a = {p->a.dtype, p->a.turned, p->a.at, p->a.ld, p->m, p->k};
    uint8_t *space = work;
    if (p->packed_a == NULL) {
        pack_all(&a, false, work, g.stop);
        space += K(bf16_pack_a_size)(p->m, p->k);
    }

    const int64_t size = space_of(p->packed != NULL, g.strips, g.panels, g.steps);
    const int64_t threads = pl__threads_for(cost(p->m, p->n, p->k));
    const int64_t rows = row_parts(&g, threads), columns = least(threads / rows, g.panels);
    const rectangles all = {g.strips, g.panels, rows, columns, size, g.tiles};
    run_rectangles(&all, cost(p->m, p->n, p->k), run_rectangle, &g, space);
}

int64_t K(bf16_pack_size)(int64_t n, int64_t k)
{
    return ceil_div(n, LINES) * ceil_div(k, STEP) * STEP_BYTES;
}

void K(bf16_pack)(int64_t n, int64_t k, const bf16_matrix *b, void *packed)
{
    const operand o = operand_b(b, n, k);
    pack_all(&o, true, packed, pl__stop_get());
}

int64_t K(bf16_pack_a_size)(int64_t m, int64_t k)
{
    return K(bf16_pack_size)(m, k);
}

void K(bf16_pack_a)(int64_t m, int64_t k, const bf16_matrix *a, void *packed)
{
    const operand o = {a->dtype, a->turned, a->at, a->ld, m, k};
    pack_all(&o, false, packed, pl__stop_get());
}

/* Rows [LINES * strip, + LINES) of x, m x k: a strip of A, and a step of each line of Aᵀ. */
static void pack_strip_both(int64_t m, int64_t k, const float *x, int64_t ld, int64_t strip,
                            void *packed, void *turned)
{
    const int64_t strips = ceil_div(m, LINES), steps = ceil_div(k, STEP);
    const int64_t rows = least(LINES, m - strip * LINES);
    const place to = chunk_of(packed, steps, strips, strip);
    int64_t of_turned = 0; /* the piece of Aᵀ in which the step is */
    while (piece_start(strips, of_turned + 1) <= strip) of_turned++;
    const int64_t within = (strip - piece_start(strips, of_turned)) * STEP_BYTES;
    x += strip * LINES * ld;
    for (int64_t i = 0; i < pieces_of(steps); i++) {
        uint8_t *step = piece_at(&to, i, strip % CHUNK);
        for (int64_t s = piece_start(steps, i); s < piece_start(steps, i + 1); s++) {
            const place across = chunk_of(turned, strips, steps, s);
            pack_square(x + s * STEP, ld, rows, least(STEP, k - s * STEP), step,
                        piece_at(&across, of_turned, s % CHUNK) + within);
            step += STEP_BYTES;
        }
    }
}

void K(bf16_pack_both)(int64_t m, int64_t k, const float *x, int64_t ld, void *packed, void *turned)
{
    const pl_stop stop = pl__stop_get();
    PL_PARALLEL_FOR(m * k / 4)
    for (int64_t strip = 0; strip < ceil_div(m, LINES); strip++)
        if (!pl__stopped(stop)) pack_strip_both(m, k, x, ld, strip, packed, turned);
}

#endif
