/*
** adamw.c - the optimizer's state and step; the arithmetic is in kernels/adamw.c.
**
** A gradient norm that is not finite means that some gradient is not: then nothing is updated, and
** the caller is told. Weight decay (Loshchilov & Hutter) touches parameters of rank 2 and more.
*/
#include <string.h>

#include "train/block.h"

struct pl_adamw {
    pl_ctx *ctx;
    pl_block *block;
    pl_tensor *m, *v;
    int64_t steps;
};

void pl_adamw_free(pl_adamw *opt)
{
    if (opt == NULL) return;
    pl_tensor_release(opt->m);
    pl_tensor_release(opt->v);
    pl_free(opt->ctx, opt);
}

pl_status pl_adamw_new(pl_ctx *ctx, pl_adamw **out, pl_block *block)
{
    pl_status st = PL_OK;
    *out = NULL;
    pl_adamw *opt = pl_calloc(ctx, 1, sizeof *opt);
    if (opt == NULL) return PL_ERR_NOMEM;
    opt->ctx = ctx;
    opt->block = block;
    const pl_tensor *flat = block->flat;
    PL_GO(pl__tensor_new_free(ctx, &opt->m, flat->dtype, 1, flat->shape));
    PL_GO(pl__tensor_new_free(ctx, &opt->v, flat->dtype, 1, flat->shape));
    const size_t bytes = pl_tensor_bytes(flat);
    memset(pl__data(opt->m), 0, bytes);
    memset(pl__data(opt->v), 0, bytes);
    PL_GO(pl__block_want_grads(block));
    *out = opt;
done:
    if (st != PL_OK) pl_adamw_free(opt);
    return st;
}

static char *at(const pl_tensor *flat, int64_t element)
{
    return (char *)pl__data(flat) + element * (int64_t)pl_dtype_size(flat->dtype);
}

/* Runs over flat elements [from, to). */
static void update(const pl_adamw *opt, int64_t from, int64_t to, const pl_adamw_args *args)
{
    const pl_block *b = opt->block;
    if (to <= from) return;
    pl__ops_for(opt->ctx, b->flat->dtype)
        ->kernels.adamw(to - from, at(b->flat, from), at(b->grads, from), at(opt->m, from),
                        at(opt->v, from), args);
}

pl_status pl_adamw_step(pl_adamw *opt, const pl_adamw_options *o, pl_adamw_result *result)
{
    pl_block *block = opt->block;
    PL_TRY(pl_block_grad_norm(block, &result->grad_norm));
    result->skipped = !isfinite(result->grad_norm);
    if (result->skipped) return PL_OK;
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
    const int64_t began = pl__profile_now(opt->ctx);
    int64_t from = 0; /* runs of parameters with the same decay go in one call */
    for (int i = 0; i < block->n; i++) {
        const pl_tensor *t = block->tensors[i];
        const double decay = t->rank >= 2 ? o->weight_decay : 0;
        const int64_t start = t->offset - block->flat->offset;
        if (decay == args.weight_decay) continue;
        update(opt, from, start, &args);
        args.weight_decay = decay;
        from = start;
    }
    update(opt, from, block->flat->count, &args);
    /* weights and moments read and written, gradients read */
    pl__profile_work(opt->ctx, began, PL_WORK_ADAMW, 0, 7 * (double)pl_tensor_bytes(block->flat));
    pl_tensor_touch(block->flat);
    return PL_OK;
}

pl_tensor *pl_adamw_moment(const pl_adamw *opt, int which)
{
    return which == 0 ? opt->m : opt->v;
}

int64_t pl_adamw_steps(const pl_adamw *opt)
{
    return opt->steps;
}

void pl_adamw_set_steps(pl_adamw *opt, int64_t steps)
{
    opt->steps = steps;
}
