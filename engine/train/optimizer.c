/*
** optimizer.c - the state and the step of AdamW and Muon; the arithmetic is in kernels/adamw.c,
** kernels/adamw_8bit.c and kernels/muon.c.
**
** A gradient norm that is not finite means that some gradient is not: then nothing is updated, and
** the caller is told. Weight decay (Loshchilov & Hutter) touches parameters of rank 2 and more.
** Moments of eight bits go tensor by tensor: each begins a block. With Muon some matrices have a
** momentum in m and no place in v, which holds the others.
*/
#include "train/block.h"

#include <string.h>

struct pl_optimizer {
    pl_ctx *ctx;
    pl_block *block;
    pl_tensor *m, *v;
    bool eight_bit; /* m and v are [blocks, PL_MOMENT_WORDS] words */
    bool *muon;     /* for each parameter; NULL: none */
    bool bf16;      /* products of muon */
    int64_t steps;
};

/* ---- State ---- */

void pl_optimizer_free(pl_optimizer *opt)
{
    if (opt == NULL) return;
    pl_tensor_release(opt->m);
    pl_tensor_release(opt->v);
    pl_free(opt->ctx, opt->muon);
    pl_free(opt->ctx, opt);
}

static bool by_muon(const pl_optimizer *opt, int i)
{
    return opt->muon != NULL && opt->muon[i];
}

/* Where parameter i begins in the block, and, with i = n, where the last one ends; with gaps. */
static int64_t start_of(const pl_block *block, int i)
{
    return i == block->n ? block->flat->count : block->tensors[i]->offset - block->flat->offset;
}

static int64_t moment_blocks(const pl_tensor *t)
{
    return (t->count + PL_MOMENT_BLOCK - 1) / PL_MOMENT_BLOCK;
}

static pl_status new_moments(pl_optimizer *opt)
{
    const pl_tensor *flat = opt->block->flat;
    if (!opt->eight_bit) {
        int64_t rest = flat->count;
        for (int i = 0; i < opt->block->n; i++)
            if (by_muon(opt, i)) rest -= start_of(opt->block, i + 1) - start_of(opt->block, i);
        PL_TRY(pl__tensor_zeros_free(opt->ctx, &opt->m, flat->dtype, 1, flat->shape));
        return pl__tensor_zeros_free(opt->ctx, &opt->v, flat->dtype, 1, &rest);
    }
    int64_t shape[2] = {0, PL_MOMENT_WORDS};
    for (int i = 0; i < opt->block->n; i++) shape[0] += moment_blocks(opt->block->tensors[i]);
    PL_TRY(pl__tensor_zeros_free(opt->ctx, &opt->m, PL_I32, 2, shape));
    return pl__tensor_zeros_free(opt->ctx, &opt->v, PL_I32, 2, shape);
}

static pl_status optimizer_new(pl_ctx *ctx, pl_optimizer **out, pl_block *block, bool eight_bit,
                               const bool *muon, bool bf16)
{
    pl_status st = PL_OK;
    *out = NULL;
    pl_optimizer *opt = pl_calloc(ctx, 1, sizeof *opt);
    if (opt == NULL) return PL_ERR_NOMEM;
    opt->ctx = ctx;
    opt->block = block;
    opt->eight_bit = eight_bit;
    opt->bf16 = bf16;
    if (muon != NULL) {
        opt->muon = pl_calloc(ctx, (size_t)block->n + 1, sizeof *opt->muon);
        if (opt->muon == NULL) PL_GO(PL_ERR_NOMEM);
        memcpy(opt->muon, muon, (size_t)block->n * sizeof *muon);
    }
    PL_GO(new_moments(opt));
    PL_GO(pl__block_want_grads(block));
    *out = opt;
done:
    if (st != PL_OK) pl_optimizer_free(opt);
    return st;
}

pl_status pl_optimizer_new_adamw(pl_ctx *ctx, pl_optimizer **out, pl_block *block)
{
    return optimizer_new(ctx, out, block, false, NULL, false);
}

pl_status pl_optimizer_new_adamw_8bit(pl_ctx *ctx, pl_optimizer **out, pl_block *block)
{
    *out = NULL;
    if (block->flat->dtype != PL_F32)
        return pl__fail(ctx, PL_ERR_DTYPE,
                        "adamw: moments of 8 bits are for float32 parameters, these are %s",
                        pl_dtype_name(block->flat->dtype));
    return optimizer_new(ctx, out, block, true, NULL, false);
}

pl_status pl_optimizer_new_muon(pl_ctx *ctx, pl_optimizer **out, pl_block *block,
                                const bool *matrices, bool bf16)
{
    *out = NULL;
    for (int i = 0; i < block->n; i++)
        if (matrices[i] && block->tensors[i]->rank != 2)
            return pl__fail(ctx, PL_ERR_SHAPE, "muon: '%s' has %d axes; matrices are wanted",
                            pl_tensor_name(block->tensors[i]), block->tensors[i]->rank);
    if (bf16 && block->flat->dtype != PL_F32)
        return pl__fail(ctx, PL_ERR_DTYPE,
                        "muon: products in bf16 are for float32 parameters, these are %s",
                        pl_dtype_name(block->flat->dtype));
    return optimizer_new(ctx, out, block, false, matrices, bf16);
}

/* ---- AdamW ---- */

static char *at(const pl_tensor *flat, int64_t element)
{
    return (char *)pl__data(flat) + element * (int64_t)pl_dtype_size(flat->dtype);
}

/* A run of flat elements whose second moments begin at `v` of theirs. */
typedef struct {
    int64_t from, to, v;
} run;

static void update(const pl_optimizer *opt, run r, const pl_adamw_args *args)
{
    const pl_block *b = opt->block;
    if (r.to <= r.from) return;
    pl__ops_for(opt->ctx, b->flat->dtype)
        ->kernels.adamw(r.to - r.from, at(b->flat, r.from), at(b->grads, r.from),
                        at(opt->m, r.from), at(opt->v, r.v), args);
}

/* By AdamW; parameters side by side with the same decay go in one call. */
static void update_all(const pl_optimizer *opt, const pl_optimizer_options *o, pl_adamw_args *args)
{
    const pl_block *block = opt->block;
    run r = {0};
    for (int i = 0; i < block->n; i++) {
        const int64_t start = start_of(block, i);
        const double decay = block->tensors[i]->rank >= 2 ? o->weight_decay : 0;
        r.to = start;
        if (by_muon(opt, i)) {
            update(opt, r, args);
            r = (run){.from = start_of(block, i + 1), .v = r.v + (r.to - r.from)};
        } else if (decay != args->weight_decay) {
            update(opt, r, args);
            args->weight_decay = decay;
            r = (run){.from = start, .v = r.v + (r.to - r.from)};
        }
    }
    r.to = block->flat->count;
    update(opt, r, args);
}

static void update_all_8bit(const pl_optimizer *opt, const pl_optimizer_options *o,
                            pl_adamw_args *args)
{
    const pl_block *block = opt->block;
    const pl_kernel_set *k = &pl__ops_for(opt->ctx, PL_F32)->kernels;
    uint32_t *m = pl__data(opt->m), *v = pl__data(opt->v);
    for (int i = 0; i < block->n; i++) {
        const pl_tensor *t = block->tensors[i];
        const int64_t start = t->offset - block->flat->offset;
        args->weight_decay = t->rank >= 2 ? o->weight_decay : 0;
        k->adamw_8bit(t->count, (float *)pl__data(block->flat) + start,
                      (const float *)pl__data(block->grads) + start, m, v, start, opt->steps, args);
        m += moment_blocks(t) * PL_MOMENT_WORDS;
        v += moment_blocks(t) * PL_MOMENT_WORDS;
    }
    pl_tensor_touch(opt->m);
    pl_tensor_touch(opt->v);
}

static void adamw_all(const pl_optimizer *opt, const pl_optimizer_options *o, pl_adamw_args *args)
{
    const int64_t began = pl__profile_now(opt->ctx);
    const double moments = (double)pl_tensor_bytes(opt->m) + (double)pl_tensor_bytes(opt->v);
    double weights = (double)pl_tensor_bytes(opt->block->flat), unread = 0;
    if (opt->eight_bit) update_all_8bit(opt, o, args);
    else update_all(opt, o, args);
    if (opt->muon != NULL) { /* what muon_all counts: parameters without a second moment */
        unread = weights - (double)pl_tensor_bytes(opt->v);
        weights -= unread;
    }
    /* weights and moments read and written, gradients read */
    pl__profile_work(opt->ctx, began, PL_WORK_ADAMW,
                     (pl_cost){.bytes = 3 * weights + 2 * (moments - unread)});
}

/* ---- Muon ---- */

/* Workspace for the largest matrix of Muon, for the caller to free; NULL when there is none. */
static pl_status muon_place(const pl_optimizer *opt, void **work)
{
    const pl_block *block = opt->block;
    int64_t most = 0;
    *work = NULL;
    for (int i = 0; i < block->n; i++) {
        if (!by_muon(opt, i)) continue;
        const int64_t *shape = block->tensors[i]->shape;
        const int64_t bytes = pl__ops_for(opt->ctx, block->flat->dtype)
                                  ->kernels.muon_work(shape[0], shape[1], opt->bf16);
        if (bytes > most) most = bytes;
    }
    if (most == 0) return PL_OK;
    *work = pl_alloc(opt->ctx, (size_t)most);
    return *work == NULL ? PL_ERR_NOMEM : PL_OK;
}

static void muon_all(const pl_optimizer *opt, const pl_optimizer_options *o, double grad_scale,
                     void *work)
{
    const pl_block *block = opt->block;
    const pl_muon_args args = {.lr = o->lr,
                               .momentum = o->momentum,
                               .weight_decay = o->weight_decay,
                               .grad_scale = grad_scale,
                               .bf16 = opt->bf16};
    for (int i = 0; i < block->n; i++) {
        if (!by_muon(opt, i)) continue;
        const int64_t began = pl__profile_now(opt->ctx), start = start_of(block, i);
        const int64_t rows = block->tensors[i]->shape[0], cols = block->tensors[i]->shape[1];
        pl__ops_for(opt->ctx, block->flat->dtype)
            ->kernels.muon(rows, cols, at(block->flat, start), at(block->grads, start),
                           at(opt->m, start), &args, work);
        const double n = (double)rows * (double)cols, side = (double)(rows < cols ? rows : cols);
        pl__profile_work(opt->ctx, began, PL_WORK_MUON,
                         (pl_cost){.flops = 5 * 2 * (2 * side * n + side * side * side),
                                   .bytes = 5 * n * (double)pl_dtype_size(block->flat->dtype),
                                   .half = opt->bf16});
    }
}

/* ---- The step ---- */

pl_status pl_optimizer_step(pl_optimizer *opt, const pl_optimizer_options *o,
                            pl_optimizer_result *result)
{
    pl_block *block = opt->block;
    PL_TRY(pl_block_grad_norm(block, &result->grad_norm));
    result->skipped = !isfinite(result->grad_norm);
    if (result->skipped) return PL_OK;
    void *work;
    PL_TRY(muon_place(opt, &work));
    opt->steps++;
    const bool clip = o->max_grad_norm > 0 && result->grad_norm > o->max_grad_norm;
    pl_adamw_args args = {
        .lr = o->lr,
        .beta1 = o->beta1,
        .beta2 = o->beta2,
        .eps = o->eps,
        .tf_eps = o->tf_eps,
        .correction1 = 1 - pow(o->beta1, (double)opt->steps),
        .correction2 = 1 - pow(o->beta2, (double)opt->steps),
        .grad_scale = clip ? o->max_grad_norm / (result->grad_norm + 1e-6) : 1,
    };
    adamw_all(opt, o, &args);
    muon_all(opt, o, args.grad_scale, work);
    pl_free(opt->ctx, work);
    pl_tensor_touch(block->flat);
    return PL_OK;
}

pl_tensor *pl_optimizer_moment(const pl_optimizer *opt, int which)
{
    return which == 0 ? opt->m : opt->v;
}

int64_t pl_optimizer_steps(const pl_optimizer *opt)
{
    return opt->steps;
}

void pl_optimizer_set_steps(pl_optimizer *opt, int64_t steps)
{
    opt->steps = steps;
}
