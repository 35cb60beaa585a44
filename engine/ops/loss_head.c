/*
** loss_head.c - fused losses taken straight from hidden states and the output head.
**
** Rows of logits z = h W^T are made in chunks, used and thrown away: N x V is never stored. The
** size of a chunk follows from V, the precision and whether the head is trained. cross_entropy
** makes its gradients in the forward pass, while the logits are at hand (their scale is known but
** for one factor, the gradient of the loss), the head's where the tape will look for it; logprob
** and kl_full get one gradient a row later, so their backward makes the logits again.
*/
#include "base/thread.h"
#include "kernels/elementwise.h"
#include "kernels/sample.h"
#include "ops/head_parts.h"
#include "ops/product.h"

/* The same places in every row of this file; ROWS and TARGETS not in kl_full. */
enum {
    HIDDEN = CROSS_ENTROPY_hidden,
    HEAD = CROSS_ENTROPY_head,
    ROWS = CROSS_ENTROPY_rows,
    TARGETS = CROSS_ENTROPY_targets,
    SOFTCAP = CROSS_ENTROPY_softcap,
    PRECISION = CROSS_ENTROPY_precision
};
PL_SAME_PLACE(LOGPROB_hidden, HIDDEN);
PL_SAME_PLACE(LOGPROB_head, HEAD);
PL_SAME_PLACE(LOGPROB_rows, ROWS);
PL_SAME_PLACE(LOGPROB_targets, TARGETS);
PL_SAME_PLACE(LOGPROB_softcap, SOFTCAP);
PL_SAME_PLACE(LOGPROB_precision, PRECISION);
PL_SAME_PLACE(KL_FULL_hidden, HIDDEN);
PL_SAME_PLACE(KL_FULL_head, HEAD);

/* The place of the parameter `precision`. */
static int precision_of(const pl_call *c)
{
    return c->op == PL_OP_kl_full ? KL_FULL_precision : PRECISION;
}

/* Logits at a time. Each chunk reads and packs the head twice, and adds to its gradient where there
** is one: what bfloat16 products, many times as fast, would mostly wait for. */
#define CHUNK_ELEMENTS ((int64_t)8 << 20)
#define CHUNK_ELEMENTS_TRAINED ((int64_t)32 << 20)
#define CHUNK_ELEMENTS_BF16 ((int64_t)32 << 20)
#define CHUNK_ELEMENTS_BF16_TRAINED ((int64_t)64 << 20)

typedef struct {
    int64_t n, v, c, chunk;
    const real *hidden;
    const pl_tensor *head;
    const int32_t *rows;
    real *picked; /* [chunk,C] rows of hidden */
    real *logits; /* [chunk,V] */
    real *work;
    product_way way;  /* of the logits */
    product_way back; /* of the gradients */
    real cap;         /* of the logits; 0: none */
} head_job;

/* A multiple of 32, the depth of a bfloat16 product's step: so no chunk ends within one. More rows
** than the head has columns would save little of its reading, and leave the caches. */
static int64_t chunk_rows(int64_t v, int64_t width, bool bf16, bool trained)
{
    static const int64_t sizes[2][2] = {{CHUNK_ELEMENTS, CHUNK_ELEMENTS_TRAINED},
                                        {CHUNK_ELEMENTS_BF16, CHUNK_ELEMENTS_BF16_TRAINED}};
    const int64_t by_size = sizes[bf16][trained] / (v > 0 ? v : 1) / 32 * 32;
    const int64_t by_width = width * 4 / 3 / 32 * 32;
    const int64_t most = by_width < 256 ? 256 : by_width > 1024 ? 1024 : by_width;
    return by_size < 32 ? 32 : by_size > most ? most : by_size;
}

/* hidden [T,C], head [V,C], rows [N]. */
static pl_status check_head(pl_call *c, int hidden, int head, int rows)
{
    const pl_tensor *h = c->in[hidden], *w = c->in[head], *r = c->in[rows];
    if (h->rank != 2) return pl__shape_fail(c, hidden, "[T,C]");
    if (w->rank != 2 || w->shape[1] != h->shape[1] || w->shape[0] < 1)
        return pl__shape_fail(c, head, "[V,C] with the C of the hidden states");
    if (r->rank != 1) return pl__shape_fail(c, rows, "[N]");
    return pl__check_index(c, rows, h->shape[0]);
}

static pl_status check_softcap(pl_call *c, int k)
{
    const double cap = c->param[k].f;
    if (cap >= 0 && cap < INFINITY) return PL_OK;
    return pl__op_fail(c, PL_ERR_ARG, "%s is %g; a positive number wanted, or 0 for none",
                       c->row->param[k].name, cap);
}

/* Elements of workspace for the products of chunks of m rows and less. */
static int64_t job_work(const head_job *job, int64_t m)
{
    const int64_t v = job->v, c = job->c;
    const int64_t logits = product_weight_work(job->way, job->head, true, m, v, c);
    const int64_t back = product_weight_work(job->back, job->head, false, m, c, v);
    const int64_t side = product_work(job->back, true, false, v, c, m);
    const int64_t most = logits > back ? logits : back;
    return most > side ? most : side;
}

/* softcap: the place of that parameter. */
static pl_status open_job(pl_call *c, head_job *job, int hidden, int head, int rows, int softcap)
{
    job->cap = (real)c->param[softcap].f;
    job->n = c->in[rows]->count;
    job->v = c->in[head]->shape[0];
    job->c = c->in[head]->shape[1];
    job->hidden = pl__real(c->in[hidden]);
    job->head = c->in[head];
    job->rows = pl__ints(c->in[rows]);
    job->chunk = chunk_rows(job->v, job->c, wants_bf16(c, precision_of(c)),
                            c->grad && job->head->requires_grad);
    const int64_t m = job->n < job->chunk ? job->n : job->chunk;
    const bool large = K(gemm_blas_takes)(false, m, job->v, job->c);
    PL_TRY(weight_way(c, precision_of(c), job->head, large, &job->way));
    PL_TRY(gradient_way(c, precision_of(c), job->head, large, &job->back));
    /* Log-probs are those of sampling, bit for bit; the loss of training has no such twin. */
    if (c->op == PL_OP_cross_entropy && !job->way.int8) job->way = job->back;
    const int64_t size = (int64_t)sizeof(real);
    job->picked = pl__work(c, m * job->c * size);
    job->logits = job->picked != NULL ? pl__work(c, m * job->v * size) : NULL;
    job->work = job->logits != NULL ? pl__work(c, job_work(job, m) * size) : NULL;
    return job->work != NULL ? PL_OK : PL_ERR_NOMEM;
}

/* Logits of rows first .. first+m-1 of the job. */
static void make_logits(const head_job *job, int64_t first, int64_t m)
{
    for (int64_t i = 0; i < m; i++)
        memcpy(job->picked + i * job->c, job->hidden + job->rows[first + i] * job->c,
               (size_t)job->c * sizeof(real));
    product_weight(job->way, true, m, job->v, job->c, job->picked, job->c, job->head, false,
                   job->logits, job->v, job->work);
}

/* Row i of the chunk, capped; it is read once, before gradients overwrite it. */
static real *logits_row(const head_job *job, int64_t i)
{
    real *z = job->logits + i * job->v;
    if (job->cap > 0) K(softcap_fwd)(job->v, z, z, job->cap, 1 / job->cap);
    return z;
}

/* dlogits of row i are whole. With precision bf16 they are rounded now, in the front half of the
** row, while the cache has them: both products read half the bytes, and round nothing. */
static void close_row(const head_job *job, int64_t i)
{
#ifdef PL_F64_BUILD
    (void)job, (void)i;
#else
    enum { PIECE = 4096 };
    if (!job->way.bf16) return;
    float *z = job->logits + i * job->v;
    uint16_t piece[PIECE];
    for (int64_t j = 0; j < job->v; j += PIECE) {
        const int64_t n = job->v - j < PIECE ? job->v - j : PIECE;
        K(bf16_rows)(1, n, z + j, n, piece, n);
        memcpy((uint16_t *)z + j, piece, (size_t)n * sizeof *piece);
    }
#endif
}

/* dlogits as close_row leaves them. */
static operand dlogits_operand(const head_job *job)
{
    if (job->way.bf16) return (operand){PL_BF16, job->logits, 2 * job->v};
    return real_operand(job->logits, job->v);
}

/* d_head (+)= dlogitsᵀ picked */
static void push_to_head(const head_job *job, int64_t m, real *d_head, bool acc)
{
    const operand d = dlogits_operand(job), x = real_operand(job->picked, job->c);
    if (job->way.bf16)
        product_bf16(true, false, job->v, job->c, m, d, x, NULL, acc, d_head, job->c, job->work);
    else
        product(job->back, true, false, job->v, job->c, m, d.data, d.ld, x.data, x.ld, acc, d_head,
                job->c, job->work);
}

/* picked = dlogits W */
static void push_to_picked(const head_job *job, int64_t m)
{
    if (job->way.bf16)
        product_bf16(false, false, m, job->c, job->v, dlogits_operand(job),
                     tensor_operand(job->head, job->c), NULL, false, job->picked, job->c,
                     job->work);
    else
        product_weight(job->back, false, m, job->c, job->v, job->logits, job->v, job->head, false,
                       job->picked, job->c, job->work);
}

/* From dlogits: adds to d_hidden (whole, [T,C]) and d_head; either may be NULL. `head_acc` tells
** whether d_head holds something already. Overwrites picked. */
static void push_back(const head_job *job, int64_t first, int64_t m, real *d_hidden, real *d_head,
                      bool head_acc)
{
    if (d_head != NULL) push_to_head(job, m, d_head, head_acc);
    if (d_hidden == NULL) return;
    push_to_picked(job, m);
    for (int64_t i = 0; i < m; i++) { /* rows may repeat: one after the other */
        real *to = d_hidden + job->rows[first + i] * job->c;
        const real *from = job->picked + i * job->c;
        for (int64_t k = 0; k < job->c; k++) to[k] += from[k];
    }
}

/* For a row that sends nothing back: what it holds, NaN perhaps, must not come to the head's
** gradient as 0 x NaN. */
static void silence(const head_job *job, int64_t i)
{
    memset(job->logits + i * job->v, 0, (size_t)job->v * sizeof(real));
    memset(job->picked + i * job->c, 0, (size_t)job->c * sizeof(real));
}

/* A saved tensor of one k_row for each of n rows. */
static pl_status save_rows(pl_call *c, int slot, int64_t n)
{
    return pl__saved(c, slot, PL_REAL_DTYPE, 2, (const int64_t[]){n, sizeof(k_row) / sizeof(real)});
}

static k_row *saved_rows(const pl_call *c, int slot)
{
    return (k_row *)pl__data(c->saved[slot]);
}

static void zero_unless(bool acc, pl_tensor *t)
{
    if (t != NULL && !acc) memset(pl__data(t), 0, (size_t)t->count * sizeof(real));
}

/* ---- by parts of the vocabulary -------------------------------------------------------------- */

/* Of cross_entropy and logprob: whether they go so, and then what of. */
static bool by_parts(const pl_call *c, real inv_temperature, head_rows *whole)
{
    *whole = (head_rows){.n = c->in[ROWS]->count,
                         .v = c->in[HEAD]->shape[0],
                         .c = c->in[HEAD]->shape[1],
                         .hidden = pl__real(c->in[HIDDEN]),
                         .head = c->in[HEAD],
                         .rows = pl__ints(c->in[ROWS]),
                         .targets = pl__ints(c->in[TARGETS]),
                         .inv_temperature = inv_temperature,
                         .cap = (real)c->param[SOFTCAP].f};
    return wants_bf16(c, PRECISION) && K(head_by_parts)(whole->v);
}

/* ---- cross_entropy --------------------------------------------------------------------------- */

static bool wants(const pl_call *c, int i)
{
    return c->grad && c->in[i]->requires_grad;
}

enum { SAVED_D_HIDDEN = HIDDEN, SAVED_D_HEAD = HEAD }; /* gradients for d_loss = 1, kept by input */

static pl_status cross_entropy_shape(pl_call *c)
{
    PL_TRY(check_precision(c, PRECISION));
    PL_TRY(check_softcap(c, SOFTCAP));
    PL_TRY(check_head(c, HIDDEN, HEAD, ROWS));
    const int64_t n = c->in[ROWS]->count;
    if (c->in[TARGETS]->rank != 1 || c->in[TARGETS]->count != n)
        return pl__shape_fail(c, TARGETS, "[N], one for each row,");
    PL_TRY(pl__check_index(c, TARGETS, c->in[HEAD]->shape[0]));
    const pl_tensor *weights = c->in[CROSS_ENTROPY_weights];
    if (weights != NULL && (weights->rank != 1 || weights->count != n))
        return pl__shape_fail(c, CROSS_ENTROPY_weights, "[N], one for each row,");
    if (weights != NULL && weights->requires_grad && c->grad)
        return pl__op_fail(c, PL_ERR_GRAD,
                           "weights are constants: no gradient is defined for them");
    for (int i = HIDDEN; i <= HEAD; i++)
        if (wants(c, i)) PL_TRY(pl__saved_as_grad(c, i));
    return pl__out(c, CROSS_ENTROPY_loss, PL_REAL_DTYPE, 0, NULL);
}

static void set_loss(const pl_call *c, int64_t n, const double *nll)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += nll[i];
    *pl__real(c->out[CROSS_ENTROPY_loss]) = (real)(sum * c->param[CROSS_ENTROPY_scale].f);
}

static pl_status cross_entropy_by_parts(pl_call *c, const head_rows *h)
{
    const pl_tensor *given = c->in[CROSS_ENTROPY_weights];
    const real *weights = given != NULL ? pl__real(given) : NULL;
    const real scale = (real)c->param[CROSS_ENTROPY_scale].f;
    pl_tensor *d_hidden = c->saved[SAVED_D_HIDDEN], *d_head = c->saved[SAVED_D_HEAD];
    double *nll = pl__work(c, h->n * 8);
    k_row *read = nll != NULL ? pl__work(c, h->n * (int64_t)sizeof *read) : NULL;
    real *g = read != NULL ? pl__work(c, h->n * (int64_t)sizeof *g) : NULL; /* first logits */
    if (g == NULL) return PL_ERR_NOMEM;
    PL_TRY(K(head_read)(c, h, read, NULL, g));
    for (int64_t i = 0; i < h->n; i++) {
        const real w = weights != NULL ? weights[i] : 1;
        nll[i] = w == 0 ? 0 : -(double)w * (double)K(row_logprob)(read[i], 1, g[i]);
        g[i] = -w * scale;
    }
    set_loss(c, h->n, nll);
    zero_unless(false, d_hidden);
    if (h->n == 0) zero_unless(false, d_head);
    if (d_hidden == NULL && d_head == NULL) return PL_OK;
    PL_TRY(K(head_back)(c, h, read, NULL, g, NULL, d_hidden ? pl__real(d_hidden) : NULL,
                        d_head ? pl__real(d_head) : NULL, false));
    return PL_OK;
}

static pl_status cross_entropy_fwd(pl_call *c)
{
    head_rows h;
    if (by_parts(c, 1, &h)) return cross_entropy_by_parts(c, &h);
    head_job job;
    PL_TRY(open_job(c, &job, HIDDEN, HEAD, ROWS, SOFTCAP));
    const int32_t *targets = pl__ints(c->in[TARGETS]);
    const pl_tensor *given = c->in[CROSS_ENTROPY_weights];
    const real *weights = given != NULL ? pl__real(given) : NULL;
    const real scale = (real)c->param[CROSS_ENTROPY_scale].f;
    pl_tensor *saved_hidden = c->saved[SAVED_D_HIDDEN], *saved_head = c->saved[SAVED_D_HEAD];
    real *d_hidden = saved_hidden != NULL ? pl__real(saved_hidden) : NULL;
    real *d_head = saved_head != NULL ? pl__real(saved_head) : NULL;
    zero_unless(false, saved_hidden);
    if (job.n == 0) zero_unless(false, saved_head);
    double *nll = pl__work(c, job.n * 8);
    if (nll == NULL) return PL_ERR_NOMEM;

    for (int64_t first = 0; first < job.n; first += job.chunk) {
        const int64_t m = job.n - first < job.chunk ? job.n - first : job.chunk;
        PL_TRY(pl__check_interrupt(c->ctx));
        make_logits(&job, first, m);
        PL_PARALLEL_FOR(m * job.v * 4)
        for (int64_t i = 0; i < m; i++) {
            real *z = logits_row(&job, i);
            const int64_t target = targets[first + i];
            const real w = weights != NULL ? weights[first + i] : 1;
            const k_row row = K(read_row)(job.v, z, 1, NULL);
            /* Chosen by selection: a row of weight 0 adds nothing, whatever it holds. */
            nll[first + i] = w == 0 ? 0 : -(double)w * (double)K(row_logprob)(row, 1, z[target]);
            if (d_hidden == NULL && d_head == NULL) continue;
            if (w == 0) silence(&job, i);
            else K(logprob_row_bwd)(job.v, z, 1, job.cap, target, row, 0, -w * scale, 0);
            close_row(&job, i);
        }
        if (d_hidden != NULL || d_head != NULL)
            push_back(&job, first, m, d_hidden, d_head, first > 0);
    }
    set_loss(c, job.n, nll);
    return PL_OK;
}

static pl_status cross_entropy_bwd(pl_call *c)
{
    const real g = *pl__real(c->d_out[CROSS_ENTROPY_loss]);
    for (int i = HIDDEN; i <= HEAD; i++) {
        if (c->d_in[i] == NULL) continue;
        real *d = pl__real(c->d_in[i]);
        const real *s = pl__real(c->saved[i]);
        const int64_t n = c->d_in[i]->count;
        const bool acc = c->acc[i];
        if (d == s && g == 1) continue; /* saved in the gradient's own memory */
        PL_PARALLEL_FOR(n)
        for (int64_t k = 0; k < n; k++) d[k] = (acc ? d[k] : 0) + g * s[k];
    }
    return PL_OK;
}

extern const pl_op_impl OPI(cross_entropy);
const pl_op_impl OPI(cross_entropy) = {cross_entropy_shape, cross_entropy_fwd, cross_entropy_bwd};

/* ---- logprob --------------------------------------------------------------------------------- */

enum { TEMPERATURE = LOGPROB_temperature }; /* of kl_full too */
PL_SAME_PLACE(KL_FULL_temperature, TEMPERATURE);

static pl_status check_temperature(pl_call *c)
{
    const double temperature = c->param[TEMPERATURE].f;
    if (temperature > 0) return PL_OK;
    return pl__op_fail(c, PL_ERR_ARG, "temperature is %g, more than 0 wanted", temperature);
}

enum { READ, ENTROPY }; /* saved for each row: k_row, and a number */

static pl_status logprob_shape(pl_call *c)
{
    PL_TRY(check_precision(c, PRECISION));
    PL_TRY(check_softcap(c, SOFTCAP));
    PL_TRY(check_temperature(c));
    PL_TRY(check_head(c, HIDDEN, HEAD, ROWS));
    const int64_t n = c->in[ROWS]->count;
    if (c->in[TARGETS]->rank != 1 || c->in[TARGETS]->count != n)
        return pl__shape_fail(c, TARGETS, "[N], one for each row,");
    PL_TRY(pl__check_index(c, TARGETS, c->in[HEAD]->shape[0]));
    PL_TRY(save_rows(c, READ, n));
    PL_TRY(pl__saved(c, ENTROPY, PL_REAL_DTYPE, 1, &n));
    PL_TRY(pl__out(c, LOGPROB_logprob, PL_REAL_DTYPE, 1, &n));
    return pl__out(c, LOGPROB_entropy, PL_REAL_DTYPE, 1, &n);
}

static pl_status logprob_fwd(pl_call *c)
{
    head_job job;
    head_rows whole;
    const int32_t *targets = pl__ints(c->in[TARGETS]);
    const real inv_t = (real)(1 / c->param[TEMPERATURE].f);
    k_row *read = saved_rows(c, READ);
    real *saved_entropy = pl__real(c->saved[ENTROPY]);
    real *logprob = pl__real(c->out[LOGPROB_logprob]);
    real *entropy = pl__real(c->out[LOGPROB_entropy]);
    if (by_parts(c, inv_t, &whole)) {
        PL_TRY(K(head_read)(c, &whole, read, saved_entropy, logprob));
        for (int64_t r = 0; r < whole.n; r++) {
            entropy[r] = saved_entropy[r];
            logprob[r] = K(row_logprob)(read[r], inv_t, logprob[r]); /* it held the logit */
        }
        return PL_OK;
    }
    PL_TRY(open_job(c, &job, HIDDEN, HEAD, ROWS, SOFTCAP));
    for (int64_t first = 0; first < job.n; first += job.chunk) {
        const int64_t m = job.n - first < job.chunk ? job.n - first : job.chunk;
        PL_TRY(pl__check_interrupt(c->ctx));
        make_logits(&job, first, m);
        PL_PARALLEL_FOR(m * job.v * 4)
        for (int64_t i = 0; i < m; i++) {
            const real *z = logits_row(&job, i);
            const int64_t r = first + i;
            read[r] = K(read_row)(job.v, z, inv_t, &entropy[r]);
            saved_entropy[r] = entropy[r];
            logprob[r] = K(row_logprob)(read[r], inv_t, z[targets[r]]);
        }
    }
    return PL_OK;
}

static pl_status logprob_bwd(pl_call *c)
{
    head_job job;
    head_rows whole;
    const int32_t *targets = pl__ints(c->in[TARGETS]);
    const real inv_t = (real)(1 / c->param[TEMPERATURE].f);
    const k_row *read = saved_rows(c, READ);
    const real *entropy = pl__real(c->saved[ENTROPY]);
    const pl_tensor *d_logprob = c->d_out[LOGPROB_logprob], *d_entropy = c->d_out[LOGPROB_entropy];
    const real *g_logprob = d_logprob != NULL ? pl__real(d_logprob) : NULL;
    const real *g_entropy = d_entropy != NULL ? pl__real(d_entropy) : NULL;
    real *d_hidden = c->d_in[HIDDEN] != NULL ? pl__real(c->d_in[HIDDEN]) : NULL;
    real *d_head = c->d_in[HEAD] != NULL ? pl__real(c->d_in[HEAD]) : NULL;
    zero_unless(c->acc[HIDDEN], c->d_in[HIDDEN]);
    if (c->in[ROWS]->count == 0) zero_unless(c->acc[HEAD], c->d_in[HEAD]);
    if (by_parts(c, inv_t, &whole))
        return K(head_back)(c, &whole, read, entropy, g_logprob, g_entropy, d_hidden, d_head,
                            c->acc[HEAD]);
    PL_TRY(open_job(c, &job, HIDDEN, HEAD, ROWS, SOFTCAP));
    for (int64_t first = 0; first < job.n; first += job.chunk) {
        const int64_t m = job.n - first < job.chunk ? job.n - first : job.chunk;
        make_logits(&job, first, m);
        PL_PARALLEL_FOR(m * job.v * 4)
        for (int64_t i = 0; i < m; i++) {
            const int64_t r = first + i;
            const real g = g_logprob != NULL ? g_logprob[r] : 0;
            const real h = g_entropy != NULL ? g_entropy[r] : 0;
            if (g == 0 && h == 0) silence(&job, i);
            else
                K(logprob_row_bwd)(job.v, logits_row(&job, i), inv_t, job.cap, targets[r], read[r],
                                   entropy[r], g, h);
            close_row(&job, i);
        }
        push_back(&job, first, m, d_hidden, d_head, c->acc[HEAD] || first > 0);
    }
    return PL_OK;
}

extern const pl_op_impl OPI(logprob);
const pl_op_impl OPI(logprob) = {logprob_shape, logprob_fwd, logprob_bwd};

/* ---- kl_full --------------------------------------------------------------------------------- */

enum { REF_HIDDEN = KL_FULL_ref_hidden, REF_HEAD = KL_FULL_ref_head, KL_ROWS = KL_FULL_rows };
enum { KL_READ, KL_REF_READ, KL_VALUE }; /* saved for each row: two k_row, and a number */

static pl_status kl_full_shape(pl_call *c)
{
    PL_TRY(check_precision(c, KL_FULL_precision));
    PL_TRY(check_softcap(c, KL_FULL_softcap));
    PL_TRY(check_softcap(c, KL_FULL_ref_softcap));
    PL_TRY(check_temperature(c));
    PL_TRY(check_head(c, HIDDEN, HEAD, KL_ROWS));
    PL_TRY(check_head(c, REF_HIDDEN, REF_HEAD, KL_ROWS));
    if (c->in[HEAD]->shape[0] != c->in[REF_HEAD]->shape[0])
        return pl__shape_fail(c, REF_HEAD, "the vocabulary of the policy's head");
    if (c->grad && (c->in[REF_HIDDEN]->requires_grad || c->in[REF_HEAD]->requires_grad))
        return pl__op_fail(c, PL_ERR_GRAD, "the reference is a constant: compute it under no_grad");
    const int64_t n = c->in[KL_ROWS]->count;
    PL_TRY(save_rows(c, KL_READ, n));
    PL_TRY(save_rows(c, KL_REF_READ, n));
    PL_TRY(pl__saved(c, KL_VALUE, PL_REAL_DTYPE, 1, &n));
    return pl__out(c, KL_FULL_kl, PL_REAL_DTYPE, 1, &n);
}

static pl_status kl_full_fwd(pl_call *c)
{
    head_job job, ref;
    PL_TRY(open_job(c, &job, HIDDEN, HEAD, KL_ROWS, KL_FULL_softcap));
    PL_TRY(open_job(c, &ref, REF_HIDDEN, REF_HEAD, KL_ROWS, KL_FULL_ref_softcap));
    const real inv_t = (real)(1 / c->param[TEMPERATURE].f);
    k_row *read = saved_rows(c, KL_READ), *ref_read = saved_rows(c, KL_REF_READ);
    real *saved_kl = pl__real(c->saved[KL_VALUE]), *kl = pl__real(c->out[KL_FULL_kl]);
    for (int64_t first = 0; first < job.n; first += job.chunk) {
        const int64_t m = job.n - first < job.chunk ? job.n - first : job.chunk;
        PL_TRY(pl__check_interrupt(c->ctx));
        make_logits(&job, first, m);
        make_logits(&ref, first, m);
        PL_PARALLEL_FOR(m * job.v * 8)
        for (int64_t i = 0; i < m; i++) {
            const real *z = logits_row(&job, i), *q = logits_row(&ref, i);
            const int64_t r = first + i;
            read[r] = K(read_row)(job.v, z, inv_t, NULL);
            ref_read[r] = K(read_row)(job.v, q, inv_t, NULL);
            kl[r] = saved_kl[r] = K(kl_row)(job.v, z, q, inv_t, read[r], ref_read[r]);
        }
    }
    return PL_OK;
}

static pl_status kl_full_bwd(pl_call *c)
{
    head_job job, ref;
    PL_TRY(open_job(c, &job, HIDDEN, HEAD, KL_ROWS, KL_FULL_softcap));
    PL_TRY(open_job(c, &ref, REF_HIDDEN, REF_HEAD, KL_ROWS, KL_FULL_ref_softcap));
    const real inv_t = (real)(1 / c->param[TEMPERATURE].f);
    const k_row *read = saved_rows(c, KL_READ), *ref_read = saved_rows(c, KL_REF_READ);
    const real *kl = pl__real(c->saved[KL_VALUE]), *g = pl__real(c->d_out[KL_FULL_kl]);
    real *d_hidden = c->d_in[HIDDEN] != NULL ? pl__real(c->d_in[HIDDEN]) : NULL;
    real *d_head = c->d_in[HEAD] != NULL ? pl__real(c->d_in[HEAD]) : NULL;
    zero_unless(c->acc[HIDDEN], c->d_in[HIDDEN]);
    if (job.n == 0) zero_unless(c->acc[HEAD], c->d_in[HEAD]);
    for (int64_t first = 0; first < job.n; first += job.chunk) {
        const int64_t m = job.n - first < job.chunk ? job.n - first : job.chunk;
        make_logits(&job, first, m);
        make_logits(&ref, first, m);
        PL_PARALLEL_FOR(m * job.v * 8)
        for (int64_t i = 0; i < m; i++) {
            const int64_t r = first + i;
            if (g[r] == 0) silence(&job, i);
            else
                K(kl_row_bwd)(job.v, logits_row(&job, i), logits_row(&ref, i), inv_t, job.cap,
                              read[r], ref_read[r], kl[r], g[r]);
            close_row(&job, i);
        }
        push_back(&job, first, m, d_hidden, d_head, c->acc[HEAD] || first > 0);
    }
    return PL_OK;
}

extern const pl_op_impl OPI(kl_full);
const pl_op_impl OPI(kl_full) = {kl_full_shape, kl_full_fwd, kl_full_bwd};
