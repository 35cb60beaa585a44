/*
** gemm.c - matrix products: how the work is cut into register tiles and shared among threads.
**
** Three ways, all made of the tiles of gemm_tile.h and therefore equal in every bit:
**   panels  few rows, or serial: for each panel of NR columns of B, all rows. B is read once, from
**           memory when packed beforehand, else packed piece by piece into a buffer on the stack.
**   blocks  many rows: columns in chunks, K in blocks; all threads pack the block of B
**           into the workspace, then share the strips of MR rows. Between blocks the chains rest in
**           C.
**   direct  many rows, B not transposed and narrow: as blocks, but B is read where it stands and
**           threads need not wait for each other between blocks of K (the products dW = dYᵀ X, K
**           in the thousands).
** A is read where it stands; only a transposed A used for several panels is packed, on the stack.
**
** Blocking after Goto & van de Geijn, "Anatomy of high-performance matrix multiplication" (2008);
** the tile of A stays in L1 and the block of B in L2.
*/
#include "kernels/gemm.h"

#include "base/sizes.h"
#include "base/thread.h"
#include "kernels/gemm_kept.h"
#include "kernels/gemm_tile.h"

enum {
    BLOCK = 6144 * NR,    /* elements in a block of B: 768 KB on AVX-512, in L2 */
    KC = 768,             /* K in a block */
    KC_TURNED = 384,      /* where A is transposed: columns in a chunk share packed strips of it */
    KC_TURNED_WIDE = 256, /* and where C has more columns than such a chunk */
    KS = 128,             /* K in a buffer of the panels way */
    GROUP = 4,            /* strips of a transposed A packed at a time */
    M_FEW = 64,           /* rows up to which panels are shared out rather than strips */
    N_DIRECT = 256,       /* row length up to which B is read where it stands */
};

typedef enum { B_PACKED, B_STRAIGHT, B_TRANSPOSED, B_KEPT, B_KEPT_TRANSPOSED } b_kind;

typedef struct {
    int64_t m, n, k;
    bool ta, acc;
    b_kind kind;
    const real *a, *b, *bias;
    kept w; /* instead of b */
    int64_t lda, ldb, ldc;
    real *c;
    pl_stop stop;
} job;

/* A block of B for tiles: panel p at at + p * ps, row k of it bs further. `direct`: B itself, where
** the last panel may not be read beyond the row. */
typedef struct {
    const real *at;
    int64_t bs, ps;
    bool direct;
} b_view;

/* Threads are worth it by multiplications, some 16 of which cost as much as a scalar operation. */
static int64_t cost(int64_t m, int64_t n, int64_t k)
{
    return m * n / 16 * k;
}

/* Blocks of K of nearly equal size, at most `most`, bounds at multiples of PIECE; at least one
** block, so that k = 0 still writes C. */
static int64_t k_blocks(int64_t k, int64_t most)
{
    return k > most ? ceil_div(k, most) : 1;
}

static int64_t k_bound(int64_t k, int64_t blocks, int64_t i)
{
    return least(k, ceil_div(k, PIECE) * i / blocks * PIECE);
}

/* Strips of rows, at most MR and nearly equal. */
static int64_t strip_bound(int64_t m, int64_t strips, int64_t i)
{
    return m * i / strips;
}

/* K in a block at most, and columns in a chunk: BLOCK elements together. */
static int64_t block_k(const job *g)
{
    if (!g->ta) return KC;
    return g->n > BLOCK / KC_TURNED ? KC_TURNED_WIDE : KC_TURNED;
}

static int64_t chunk_columns(const job *g)
{
    return BLOCK / block_k(g);
}

static const real *a_at(const job *g, int64_t row, int64_t k)
{
    return g->ta ? g->a + k * g->lda + row : g->a + row * g->lda + k;
}

static tile_args tile_of(const job *g, int64_t k0, int64_t kc)
{
    const bool last = k0 + kc == g->k;
    return (tile_args){.kc = kc,
                       .bias = last ? g->bias : NULL,
                       .ldc = g->ldc,
                       .acc = g->acc || k0 > 0,
                       .lda = g->lda,
                       .transposed = g->ta};
}

static void tile_place(tile_args *t, const job *g, int64_t row, int64_t col, int64_t cols)
{
    t->c = g->c + row * g->ldc + col;
    t->cols = cols;
    if (t->bias) t->bias = g->bias + col;
}

/* --------------------------------------------------------------------------------------------
** Panels: columns [col, col + cols), cols <= 2 NR, all rows.
*/
static void run_panel(const job *g, int64_t col, int64_t cols)
{
#if defined(KEPT_LANES)
    if (g->kind == B_KEPT_TRANSPOSED && g->m == 1 && has_lanes(&g->w)) {
        dot_kept(&g->w, col, cols, g->k, g->a, g->acc, g->bias ? g->bias + col : NULL, g->c + col);
        return;
    }
#endif
    real buffer[2 * KS * NR] __attribute__((aligned(64)));
    const bool whole = cols % NR == 0;
    const bool ready = g->kind == B_PACKED || (g->kind == B_STRAIGHT && whole);
    const int64_t strips = ceil_div(g->m, MR);
    const int64_t blocks = ready && strips == 1 ? 1 : k_blocks(g->k, ready ? block_k(g) : KS);

    for (int64_t i = 0; i < blocks; i++) {
        const int64_t k0 = k_bound(g->k, blocks, i), kc = k_bound(g->k, blocks, i + 1) - k0;
        tile_args t = tile_of(g, k0, kc);
        if (g->kind == B_PACKED) {
            t.b = g->b + col * g->k + k0 * NR;
            t.bs = NR;
            t.ps = NR * g->k;
        } else if (ready) {
            t.b = g->b + k0 * g->ldb + col;
            t.bs = g->ldb;
            t.ps = NR;
        } else {
            const bool transposed = g->kind == B_TRANSPOSED;
            const real *src = transposed ? g->b + col * g->ldb + k0 : g->b + k0 * g->ldb + col;
            t.bs = cols > NR ? 2 * NR : NR;
            t.ps = NR;
            t.b = buffer;
            if (g->kind == B_KEPT_TRANSPOSED)
                pack_kept(&g->w, col, cols, k0, kc, buffer, t.bs, true);
            else pack(transposed, src, g->ldb, cols, kc, buffer, t.bs);
        }
        for (int64_t s = 0; s < strips && !pl__stopped(g->stop); s++) {
            const int64_t row = strip_bound(g->m, strips, s);
            t.a = t.next = a_at(g, row, k0);
            tile_place(&t, g, row, col, cols);
            tile_run(strip_bound(g->m, strips, s + 1) - row, &t);
        }
    }
}

static int64_t panel_width(const job *g)
{
    return g->m <= WIDE_MR ? 2 * NR : NR;
}

static void run_panels(const job *g, bool parallel)
{
    const int64_t width = panel_width(g), panels = ceil_div(g->n, width);
    /* To make a number of a kept weight costs about as much as three products with it. */
    const int64_t work = cost(g->kind == B_KEPT_TRANSPOSED ? g->m + 3 : g->m, g->n, g->k);
    if (!parallel || pl__threads_for(work) == 1) {
        for (int64_t p = 0; p < panels && !pl__stopped(g->stop); p++)
            run_panel(g, p * width, least(width, g->n - p * width));
        return;
    }
    PL_PARALLEL_FOR(work)
    for (int64_t p = 0; p < panels; p++)
        if (!pl__stopped(g->stop)) run_panel(g, p * width, least(width, g->n - p * width));
}

/* --------------------------------------------------------------------------------------------
** Blocks
*/

enum { STRIP = MA * KC_TURNED + LINE }; /* of a packed strip; a line more, for other sets of L1 */

/* Strips [s0, s1) of a transposed A, k-major: strip s at to + (s - s0) * STRIP. A row of A is read
** for all of them in one go, and the rows after it asked for ahead: they lie far apart. */
static void pack_strips(const job *g, int64_t s0, int64_t s1, int64_t k0, int64_t kc, real *to)
{
    enum { FETCH = 8 };
    const int64_t strips = ceil_div(g->m, MR), first = strip_bound(g->m, strips, s0);
    const int64_t width = strip_bound(g->m, strips, s1) - first;
    int64_t at[GROUP];
    r_count valid[GROUP][MA / RL];
    for (int64_t s = s0; s < s1; s++) {
        const int64_t begin = strip_bound(g->m, strips, s);
        at[s - s0] = begin - first;
        for (int v = 0; v < MA / RL; v++)
            valid[s - s0][v] = r_first(r_cols(strip_bound(g->m, strips, s + 1) - begin, v));
    }
    for (int64_t k = 0; k < kc; k++) {
        const real *row = a_at(g, first, k0 + k);
        for (int64_t j = 0; k + FETCH < kc && j < width; j += LINE)
            __builtin_prefetch(row + FETCH * g->lda + j);
        for (int64_t i = 0; i < s1 - s0; i++)
            for (int v = 0; v < MA / RL; v++)
                r_store(to + i * STRIP + k * MA + v * RL,
                        r_load_n(row + at[i] + v * RL, valid[i][v]));
    }
}

/* What tile p of a strip asks for ahead: row p of the strip below, or all of it where rows lie end
** to end. */
static void fetch_next(tile_args *t, bool whole, int64_t mr, int64_t p, bool below)
{
    t->next = t->a;
    t->next_step = 0;
    if (whole && p == 0) {
        t->next = t->a + mr * t->kc;
        t->next_step = LINE;
    } else if (!whole && below && !t->transposed && p < mr) {
        t->next = t->a + (mr + p) * t->lda;
        t->next_step = 1;
    }
}

/* Tiles [t0, t1) of the grid (strips of all rows) x (panels of the chunk of columns that starts at
** col), for one block of K. */
static void run_tiles(const job *g, b_view b, int64_t col, int64_t panels, int64_t k0, int64_t kc,
                      int64_t t0, int64_t t1)
{
    real packed[GROUP * STRIP] __attribute__((aligned(64)));
    real edge[NR * KC] __attribute__((aligned(64)));
    const int64_t strips = ceil_div(g->m, MR), s1 = ceil_div(t1, panels);
    const int64_t odd = col + panels * NR > g->n ? (g->n - col) % NR : 0; /* in the last panel */
    const bool pack_edge = odd && b.direct;
    const bool pack_a = g->ta && panels > 2;
    const bool fetch_a = !g->ta && g->lda == kc; /* strips lie end to end */
    int64_t packed_from = 0, packed_to = 0;
    tile_args t = tile_of(g, k0, kc);

    if (pack_edge) pack(false, b.at + (panels - 1) * b.ps, b.bs, odd, kc, edge, NR);
    for (int64_t i = t0; i < t1 && !pl__stopped(g->stop);) {
        const int64_t s = i / panels, row = strip_bound(g->m, strips, s);
        const int64_t mr = strip_bound(g->m, strips, s + 1) - row;
        t.a = a_at(g, row, k0);
        if (pack_a) {
            if (s >= packed_to) {
                packed_from = s;
                packed_to = least(s + GROUP, s1);
                pack_strips(g, packed_from, packed_to, k0, kc, packed);
            }
            t.a = packed + (s - packed_from) * STRIP;
            t.lda = MA;
            t.transposed = true;
        }
        for (int64_t p = i % panels; p < panels && i < t1; p++, i++) {
            const bool at_edge = pack_edge && p == panels - 1;
            t.b = at_edge ? edge : b.at + p * b.ps;
            t.bs = at_edge ? NR : b.bs;
            fetch_next(&t, fetch_a, mr, p, s + 1 < strips);
            tile_place(&t, g, row, col + p * NR, odd && p == panels - 1 ? odd : NR);
            tile_run(mr, &t);
        }
    }
}

static void share_tiles(const job *g, const b_view *b, int64_t col, int64_t panels, int64_t k_from,
                        int64_t k_to)
{
    const int64_t tiles = ceil_div(g->m, MR) * panels;
    const int64_t work = cost(g->m, panels * NR, g->k);
    const int64_t workers = least(pl__threads_for(work), tiles);
    const int64_t blocks = k_blocks(g->k, block_k(g));
    PL_PARALLEL_FOR(work)
    for (int64_t w = 0; w < workers; w++)
        for (int64_t i = k_from; i < k_to && !pl__stopped(g->stop); i++) {
            const int64_t k0 = k_bound(g->k, blocks, i), kc = k_bound(g->k, blocks, i + 1) - k0;
            b_view v = *b;
            if (g->kind == B_PACKED) v.at = g->b + col * g->k + k0 * NR;
            if (v.direct) v.at = g->b + k0 * g->ldb + col;
            run_tiles(g, v, col, panels, k0, kc, tiles * w / workers, tiles * (w + 1) / workers);
        }
}

static bool is_direct(const job *g)
{
    return g->kind == B_STRAIGHT && g->n <= N_DIRECT;
}

/* Between panels of a packed block: a line more, so that a row of all panels falls into many sets
** of the caches. */
static int64_t panel_step(int64_t kc)
{
    return NR * kc + LINE;
}

/* Rows of B that are not transposed, each read in one go: row k0 + k of `cols` columns. */
static void pack_row(const job *g, int64_t col, int64_t cols, int64_t k, real *to, int64_t ps)
{
    const real *row = g->b + k * g->ldb + col;
    for (int64_t j = 0; j < cols; j += NR, to += ps)
        for (int v = 0; v < 2; v++)
            r_store(to + v * RL, r_load_n(row + j + v * RL, r_first(r_cols(cols - j, v))));
}

/* The block of B of `panels` panels from column col on, panel p at work + p * panel_step(kc). */
static void pack_block(const job *g, int64_t col, int64_t panels, int64_t k0, int64_t kc,
                       real *work)
{
    const int64_t ps = panel_step(kc), cols = least(panels * NR, g->n - col);
    if (g->kind == B_KEPT) {
        PL_PARALLEL_FOR(panels * NR * kc)
        for (int64_t k = 0; k < kc; k++)
            pack_kept_line(&g->w, k0 + k, col, cols, work + k * NR, ps);
        return;
    }
    if (g->kind == B_STRAIGHT) {
        PL_PARALLEL_FOR(panels * NR * kc)
        for (int64_t k = 0; k < kc; k++) pack_row(g, col, cols, k0 + k, work + k * NR, ps);
        return;
    }
    PL_PARALLEL_FOR(panels * NR * kc)
    for (int64_t p = 0; p < panels; p++) {
        const int64_t j = p * NR, n = least(NR, cols - j);
        if (g->kind == B_KEPT_TRANSPOSED)
            pack_kept(&g->w, col + j, n, k0, kc, work + p * ps, NR, false);
        else pack(true, g->b + (col + j) * g->ldb + k0, g->ldb, n, kc, work + p * ps, NR);
    }
}

static void run_blocks(const job *g, real *work)
{
    const int64_t blocks = k_blocks(g->k, block_k(g));
    const int64_t chunk = chunk_columns(g);
    for (int64_t col = 0; col < g->n && !pl__stopped(g->stop); col += chunk) {
        const int64_t panels = ceil_div(least(chunk, g->n - col), NR);
        if (g->kind == B_PACKED || is_direct(g)) {
            const bool packed = g->kind == B_PACKED;
            b_view v = {NULL, packed ? NR : g->ldb, packed ? NR * g->k : NR, !packed};
            share_tiles(g, &v, col, panels, 0, blocks);
            continue;
        }
        for (int64_t i = 0; i < blocks && !pl__stopped(g->stop); i++) {
            const int64_t k0 = k_bound(g->k, blocks, i), kc = k_bound(g->k, blocks, i + 1) - k0;
            const b_view v = {work, NR, panel_step(kc), false};
            pack_block(g, col, panels, k0, kc, work);
            share_tiles(g, &v, col, panels, i, i + 1);
        }
    }
}

static void run(job *g, bool parallel, real *work)
{
    if (g->m <= 0 || g->n <= 0) return;
    g->stop = pl__stop_get();
    if (g->k <= 0) g->a = g->b = g->c; /* not read, but NULL has no places to point at */
    const bool straight = g->kind == B_STRAIGHT || g->kind == B_KEPT;
    if (!parallel || (g->m <= M_FEW && !straight)) run_panels(g, parallel);
    else run_blocks(g, work);
}

/* --------------------------------------------------------------------------------------------
** The public functions
*/
static int64_t block_size(const job *g)
{
    const int64_t panels = least(ceil_div(g->n, NR), chunk_columns(g) / NR);
    return panels * panel_step(least(g->k, block_k(g)));
}

int64_t K(gemm_work)(bool ta, bool tb, int64_t m, int64_t n, int64_t k)
{
    const job g = {.m = m, .n = n, .k = k, .ta = ta, .kind = tb ? B_TRANSPOSED : B_STRAIGHT};
    if (is_direct(&g) || (tb && m <= M_FEW)) return 0;
    return block_size(&g);
}

void K(gemm)(bool ta, bool tb, int64_t m, int64_t n, int64_t k, const real *a, int64_t lda,
             const real *b, int64_t ldb, bool acc, real *c, int64_t ldc, real *work)
{
    job g = {.m = m,
             .n = n,
             .k = k,
             .ta = ta,
             .acc = acc,
             .a = a,
             .b = b,
             .lda = lda,
             .ldb = ldb,
             .c = c,
             .ldc = ldc,
             .kind = tb ? B_TRANSPOSED : B_STRAIGHT};
    run(&g, true, work);
}

void K(gemm_serial)(bool ta, bool tb, int64_t m, int64_t n, int64_t k, const real *a, int64_t lda,
                    const real *b, int64_t ldb, bool acc, real *c, int64_t ldc)
{
    job g = {.m = m,
             .n = n,
             .k = k,
             .ta = ta,
             .acc = acc,
             .a = a,
             .b = b,
             .lda = lda,
             .ldb = ldb,
             .c = c,
             .ldc = ldc,
             .kind = tb ? B_TRANSPOSED : B_STRAIGHT};
    run(&g, false, NULL);
}

int64_t K(gemm_kept_work)(bool tb, int64_t m, int64_t n, int64_t k)
{
    const job g = {.m = m, .n = n, .k = k};
    if (tb && m <= M_FEW) return 0;
    return block_size(&g);
}

void K(gemm_kept)(bool tb, int64_t m, int64_t n, int64_t k, const real *a, int64_t lda,
                  pl_dtype dtype, const void *b, const real *bias, bool acc, real *c, int64_t ldc,
                  real *work)
{
    job g = {.m = m,
             .n = n,
             .k = k,
             .acc = acc,
             .a = a,
             .w = {dtype, b, pl__dtype_bytes(dtype, tb ? k : n)},
             .bias = bias,
             .lda = lda,
             .c = c,
             .ldc = ldc,
             .kind = tb ? B_KEPT_TRANSPOSED : B_KEPT};
    run(&g, true, work);
}

int64_t K(gemm_pack_size)(int64_t n, int64_t k)
{
    return ceil_div(n, NR) * NR * k;
}

void K(gemm_pack)(bool tb, int64_t n, int64_t k, const real *b, int64_t ldb, real *packed)
{
    const int64_t panels = k > 0 ? ceil_div(n, NR) : 0;
    const pl_stop stop = pl__stop_get();
    PL_PARALLEL_FOR(n * k)
    for (int64_t p = 0; p < panels; p++) {
        if (pl__stopped(stop)) continue;
        const int64_t j = p * NR;
        pack(tb, tb ? b + j * ldb : b + j, ldb, least(NR, n - j), k, packed + j * k, NR);
    }
}

static void run_packed(int64_t m, int64_t n, int64_t k, const real *a, int64_t lda,
                       const real *packed, bool acc, real *c, int64_t ldc, bool parallel)
{
    job g = {.m = m,
             .n = n,
             .k = k,
             .acc = acc,
             .a = a,
             .b = packed,
             .lda = lda,
             .c = c,
             .ldc = ldc,
             .kind = B_PACKED};
    run(&g, parallel, NULL);
}

void K(gemm_packed)(int64_t m, int64_t n, int64_t k, const real *a, int64_t lda, const real *packed,
                    bool acc, real *c, int64_t ldc, real *work)
{
    (void)work;
    run_packed(m, n, k, a, lda, packed, acc, c, ldc, true);
}

void K(gemm_packed_serial)(int64_t m, int64_t n, int64_t k, const real *a, int64_t lda,
                           const real *packed, bool acc, real *c, int64_t ldc)
{
    run_packed(m, n, k, a, lda, packed, acc, c, ldc, false);
}

void K(gemm_linear)(int64_t m, int64_t n, int64_t k, const real *x, const real *w,
                    const real *packed, const real *bias, real *y, real *work)
{
    job g = {.m = m,
             .n = n,
             .k = k,
             .a = x,
             .b = packed ? packed : w,
             .bias = bias,
             .lda = k,
             .ldb = k,
             .c = y,
             .ldc = n,
             .kind = packed ? B_PACKED : B_TRANSPOSED};
    run(&g, true, work);
}
