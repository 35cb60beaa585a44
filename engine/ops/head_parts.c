/*
** head_parts.c - see head_parts.h.
**
** Of the vocabulary each thread takes parts, PART columns and less. It packs a part's rows of the
** head once for all chunks of rows (which are packed once for all parts), and makes a chunk's
** logits in float32: spans of them are read, or their gradients packed as bfloat16. From a part's
** gradients come those of its rows of the head, and what it adds to the rows' own: those sums go in
** the order of the parts, and then, since a row may be taken more than once, in the order of the
** rows. So shapes alone decide on all sums.
*/
#include "ops/head_parts.h"

#include "base/sizes.h"
#include "base/thread.h"
#include "kernels/bf16.h"
#include "kernels/elementwise.h"
#include "ops/product.h"

enum {
    LEAST = 8192, /* entries of a vocabulary that goes by parts */
    TURN = 2048,  /* rows that are gone through before the next ones: they stay in a cache */
    ROWS = 256,   /* of these in a chunk: with PART columns of it they are half of an L2 cache */
    PART = 1024,
    MULTIPLE = 512,  /* of all widths of parts but the last one's, of spans too */
    MOST_PARTS = 16, /* of a vocabulary of MOST_PARTS * PART and less */
    ODD = 16,        /* elements that keep rows from lying powers of two apart */
};

static const operand NO_OPERAND; /* for products of packed ones alone */

bool K(head_by_parts)(int64_t v)
{
    return v >= LEAST;
}

typedef struct {
    const head_rows *h;
    int64_t turn, m, part, parts; /* rows of a turn and a chunk, columns of a part, their number */
    uint16_t *picked;             /* [m,C] rows of the hidden states */
    char *left, *right;           /* those of each chunk of a turn packed: for logits, for d_head */
    int64_t left_bytes, right_bytes;
    k_span *spans; /* [turn,spans of a row] */
    int64_t row_spans;
    int64_t first, count; /* rows of this turn */
    real *sums;           /* [turn,C] their gradients */
    /* of each thread */
    int64_t threads, work_size;
    char *columns, *lines; /* a part of the head packed, for logits and for d_picked */
    int64_t columns_bytes, lines_bytes;
    real *logits;           /* [m,part + ODD] */
    char *dlogits, *turned; /* [m,part], packed, and its transpose */
    int64_t dlogits_bytes, turned_bytes;
    real *d_picked; /* [m,C] */
    real *work;
    char *space; /* all of these */
    int64_t size;
} job;

/* Elements of work for the products of a part. */
static int64_t product_space(const job *j, bool back)
{
    const int64_t c = j->h->c, sizes[] = {
                                   product_bf16_left_work(true, j->m, j->part, c),
                                   back ? product_bf16_left_work(true, j->part, c, j->m) : 0,
                                   back ? product_bf16_left_work(true, j->m, c, j->part) : 0,
                               };
    int64_t most = 0;
    for (int i = 0; i < 3; i++) most = sizes[i] > most ? sizes[i] : most;
    return ceil_div(most, ODD) * ODD;
}

static int64_t whole_lines(int64_t bytes)
{
    return ceil_div(bytes, 64) * 64;
}

/* Takes `bytes` of the space, or only counts them while there is none. */
static void *carve(job *j, int64_t bytes)
{
    void *at = j->space != NULL ? j->space + j->size : NULL;
    j->size += whole_lines(bytes);
    return at;
}

static void carve_all(job *j, bool back)
{
    const int64_t c = j->h->c, threads = j->threads, size = (int64_t)sizeof(real);
    const int64_t chunks = ceil_div(j->turn, j->m);
    j->size = 0;
    j->picked = carve(j, j->m * c * 2);
    j->left = carve(j, chunks * j->left_bytes);
    j->logits = carve(j, threads * j->m * (j->part + ODD) * size);
    j->work = carve(j, threads * j->work_size * size);
    j->columns = carve(j, threads * j->columns_bytes);
    if (!back) j->spans = carve(j, j->turn * j->row_spans * (int64_t)sizeof *j->spans);
    if (!back) return;
    j->sums = carve(j, j->turn * c * size);
    j->lines = carve(j, threads * j->lines_bytes);
    j->right = carve(j, chunks * j->right_bytes);
    j->dlogits = carve(j, threads * j->dlogits_bytes);
    j->turned = carve(j, threads * j->turned_bytes);
    j->d_picked = carve(j, threads * j->m * c * size);
}

/* The caller frees j->space. */
static pl_status open_job(pl_call *c, const head_rows *h, bool back, job *j)
{
    *j = (job){.h = h, .turn = least(h->n, TURN), .m = least(h->n > 0 ? h->n : 1, ROWS)};
    j->part = least(ceil_div(ceil_div(h->v, MOST_PARTS), MULTIPLE) * MULTIPLE, PART);
    j->parts = ceil_div(h->v, j->part);
    j->row_spans = ceil_div(h->v, K(span_size)());
    j->threads = least(omp_get_max_threads(), j->parts);
    j->columns_bytes = whole_lines(product_bf16_pack_size(j->part, h->c));
    j->lines_bytes = whole_lines(product_bf16_pack_size(h->c, j->part));
    j->left_bytes = whole_lines(product_bf16_a_size(j->m, h->c));
    j->right_bytes = whole_lines(product_bf16_pack_size(h->c, j->m));
    j->dlogits_bytes = whole_lines(product_bf16_a_size(j->m, j->part));
    j->turned_bytes = whole_lines(product_bf16_a_size(j->part, j->m));
    PL_PARALLEL_FOR(PL_PARALLEL_MIN)
    for (int64_t t = 0; t < j->threads; t++) /* of products that have one thread each */
        if (t == 0) j->work_size = product_space(j, back);
    carve_all(j, back);
    j->space = pl_alloc(c->ctx, (size_t)j->size);
    if (j->space == NULL) return PL_ERR_NOMEM;
    carve_all(j, back);
    return PL_OK;
}

static void rounded(int64_t n, const real *x, uint16_t *to)
{
    for (int64_t k = 0; k < n; k++) to[k] = bf16_of((float)x[k]);
}

static void pick_row(const job *j, int64_t row, uint16_t *to)
{
    const int64_t c = j->h->c;
    rounded(c, j->h->hidden + j->h->rows[row] * c, to);
}

typedef struct {
    const k_row *read;
    const real *entropy, *g_logprob, *g_entropy;
    real *d_hidden, *d_head;
    bool acc;
} gradients;

static bool silent(const gradients *g, int64_t row)
{
    return (g->g_logprob == NULL || g->g_logprob[row] == 0) &&
           (g->g_entropy == NULL || g->g_entropy[row] == 0);
}

/* The rows of the turn, packed a chunk at a time; zeros for those that `g`, or NULL, says are
** silent. */
static void pick_rows(const job *j, const gradients *g)
{
    const int64_t c = j->h->c;
    for (int64_t row = 0; row < j->count; row += j->m) {
        const int64_t m = least(j->m, j->count - row), chunk = row / j->m;
        const operand x = {PL_BF16, j->picked, c};
        for (int64_t i = 0; i < m; i++) {
            uint16_t *to = j->picked + i * c;
            if (g && silent(g, j->first + row + i)) memset(to, 0, (size_t)c * sizeof *to);
            else pick_row(j, j->first + row + i, to);
        }
        product_bf16_pack_a(m, c, x, j->left + chunk * j->left_bytes);
        if (g && g->d_head) product_bf16_pack(false, c, m, x, j->right + chunk * j->right_bytes);
    }
}

/* Columns of a part; it begins at `part` * j->part. */
static int64_t part_width(const job *j, int64_t part)
{
    return least(j->part, j->h->v - part * j->part);
}

/* Rows of the head from `column` on. */
static operand head_operand(const job *j, int64_t column)
{
    const pl_tensor *w = j->h->head;
    const size_t skipped = (size_t)column * pl__dtype_bytes(w->dtype, j->h->c);
    return (operand){w->dtype, (const char *)pl__data(w) + skipped, j->h->c};
}

static void pack_part(const job *j, int64_t part, int64_t thread)
{
    const int64_t wide = part_width(j, part), c = j->h->c;
    const operand w = head_operand(j, part * j->part);
    product_bf16_pack(true, wide, c, w, j->columns + thread * j->columns_bytes);
    if (j->lines != NULL) product_bf16_pack(false, c, wide, w, j->lines + thread * j->lines_bytes);
}

/* A part's logits of m rows from `row` of the turn on. */
static real *make_logits(const job *j, int64_t row, int64_t m, int64_t wide, int64_t thread)
{
    const int64_t ld = j->part + ODD;
    real *logits = j->logits + thread * j->m * ld;
    product_bf16_left(m, wide, j->h->c, j->left + row / j->m * j->left_bytes, NO_OPERAND,
                      j->columns + thread * j->columns_bytes, false, logits, ld,
                      j->work + thread * j->work_size);
    for (int64_t i = 0; i < m && j->h->cap > 0; i++)
        K(softcap_fwd)(wide, logits + i * ld, logits + i * ld, j->h->cap, 1 / j->h->cap);
    return logits;
}

/* ---- reading */

/* The spans of a row of the turn, and the target's logit if it is in this part. */
static void read_row(const job *j, int64_t row, int64_t part, bool weighted, const real *z,
                     real *logit)
{
    const int64_t size = K(span_size)(), wide = part_width(j, part);
    k_span *to = j->spans + row * j->row_spans + part * j->part / size;
    for (int64_t s = 0; s < wide; s += size)
        *to++ = K(read_span)(least(size, wide - s), z + s, j->h->inv_temperature, weighted);
    const int64_t target = j->h->targets[j->first + row] - part * j->part;
    if (target >= 0 && target < wide) logit[j->first + row] = z[target];
}

static void read_part(const job *j, int64_t part, bool weighted, real *logit, int64_t thread)
{
    pack_part(j, part, thread);
    for (int64_t row = 0; row < j->count; row += j->m) {
        const int64_t m = least(j->m, j->count - row);
        const real *z = make_logits(j, row, m, part_width(j, part), thread);
        for (int64_t i = 0; i < m; i++)
            read_row(j, row + i, part, weighted, z + i * (j->part + ODD), logit);
    }
}

pl_status K(head_read)(pl_call *c, const head_rows *h, k_row *read, real *entropy, real *logit)
{
    job j;
    PL_TRY(open_job(c, h, false, &j));
    const pl_stop stop = pl__stop_get();
    for (j.first = 0; j.first < h->n && !pl__stopped(stop); j.first += j.turn) {
        j.count = least(j.turn, h->n - j.first);
        pick_rows(&j, NULL);
        PL_PARALLEL_FOR(PL_PARALLEL_MIN)
        for (int64_t part = 0; part < j.parts; part++)
            if (!pl__stopped(stop))
                read_part(&j, part, entropy != NULL, logit, omp_get_thread_num());
        PL_PARALLEL_FOR(j.count * j.row_spans * 16)
        for (int64_t i = 0; i < j.count; i++)
            read[j.first + i] =
                K(join_spans)(j.row_spans, j.spans + i * j.row_spans, h->inv_temperature,
                              entropy ? &entropy[j.first + i] : NULL);
    }
    pl_free(c->ctx, j.space);
    return PL_OK;
}

/* ---- gradients */

/* A row's logits, `wide` from column `from` on -> their gradients. */
static void turn_row(const job *j, const gradients *g, int64_t row, int64_t from, int64_t wide,
                     real *z)
{
    const real gl = g->g_logprob ? g->g_logprob[row] : 0, ge = g->g_entropy ? g->g_entropy[row] : 0;
    if (silent(g, row)) {
        memset(z, 0, (size_t)wide * sizeof *z);
        return;
    }
    K(logprob_row_bwd)
    (wide, z, j->h->inv_temperature, j->h->cap, j->h->targets[row] - from, g->read[row],
     g->g_entropy ? g->entropy[row] : 0, gl, ge);
}

static void back_part(const job *j, const gradients *g, int64_t row, int64_t m, int64_t part,
                      int64_t thread)
{
    const int64_t from = part * j->part, wide = part_width(j, part), c = j->h->c;
    const int64_t ld = j->part + ODD;
    real *work = j->work + thread * j->work_size;
    char *left = j->dlogits + thread * j->dlogits_bytes;
    char *turned = j->turned + thread * j->turned_bytes;
    if (row == 0) pack_part(j, part, thread);
    real *z = make_logits(j, row, m, wide, thread);
    for (int64_t i = 0; i < m; i++) turn_row(j, g, j->first + row + i, from, wide, z + i * ld);
    if (g->d_head != NULL) product_bf16_pack_both(m, wide, z, ld, left, turned);
    else product_bf16_pack_a(m, wide, real_operand(z, ld), left);
    if (g->d_head != NULL)
        product_bf16_left(wide, c, m, turned, NO_OPERAND, j->right + row / j->m * j->right_bytes,
                          g->acc || j->first + row > 0, g->d_head + from * c, c, work);
    if (g->d_hidden != NULL)
        product_bf16_left(m, c, wide, left, NO_OPERAND, j->lines + thread * j->lines_bytes, false,
                          j->d_picked + thread * j->m * c, c, work);
}

/* Adds what `count` parts gave for m rows of the turn, in the order of the parts. */
static void add_parts(const job *j, int64_t row, int64_t m, int64_t count)
{
    const int64_t c = j->h->c, cells = m * c;
    real *to = j->sums + row * c;
    PL_PARALLEL_FOR(cells * count)
    for (int64_t i = 0; i < m; i++)
        for (int64_t t = 0; t < count; t++) {
            const real *from = j->d_picked + (t * j->m + i) * c;
            for (int64_t k = 0; k < c; k++) to[i * c + k] += from[k];
        }
}

/* As many parts as there are threads, from `part` on. */
static void back_parts(const job *j, const gradients *g, int64_t part)
{
    const int64_t count = least(j->threads, j->parts - part);
    for (int64_t row = 0; row < j->count; row += j->m) {
        const int64_t m = least(j->m, j->count - row);
        PL_PARALLEL_FOR(PL_PARALLEL_MIN)
        for (int64_t t = 0; t < count; t++) back_part(j, g, row, m, part + t, t);
        if (g->d_hidden != NULL) add_parts(j, row, m, count);
    }
}

/* Rows may repeat: one after the other. */
static void add_turn(const job *j, real *d_hidden)
{
    const int64_t c = j->h->c;
    for (int64_t i = 0; i < j->count; i++) {
        real *to = d_hidden + j->h->rows[j->first + i] * c;
        for (int64_t k = 0; k < c; k++) to[k] += j->sums[i * c + k];
    }
}

pl_status K(head_back)(pl_call *c, const head_rows *h, const k_row *read, const real *entropy,
                       const real *g_logprob, const real *g_entropy, real *d_hidden, real *d_head,
                       bool acc)
{
    const gradients g = {read, entropy, g_logprob, g_entropy, d_hidden, d_head, acc};
    const pl_stop stop = pl__stop_get();
    job j;
    PL_TRY(open_job(c, h, true, &j));
    for (j.first = 0; j.first < h->n && !pl__stopped(stop); j.first += j.turn) {
        j.count = least(j.turn, h->n - j.first);
        pick_rows(&j, &g);
        memset(j.sums, 0, (size_t)(j.count * h->c) * sizeof(real));
        for (int64_t part = 0; part < j.parts && !pl__stopped(stop); part += j.threads)
            back_parts(&j, &g, part);
        if (d_hidden != NULL) add_turn(&j, d_hidden);
    }
    pl_free(c->ctx, j.space);
    return PL_OK;
}
