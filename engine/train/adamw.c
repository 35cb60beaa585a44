/*
** adamw.c - the optimizer's state and step; the arithmetic is in kernels/adamw.c.
**
** A gradient norm that is not finite means that some gradient is not: then nothing is updated, and
** the caller is told. Weight decay (Loshchilov & Hutter) touches parameters of rank 2 and more.
** Moments of eight bits (kernels/adamw_8bit.c) go tensor by tensor: each begins a block.
*/
#include "train/block.h"

struct pl_adamw {
    pl_ctx *ctx;
    pl_block *block;
    pl_tensor *m, *v;
    bool eight_bit; /* m and v are [blocks, PL_MOMENT_WORDS] words */
    int64_t steps;
};

void pl_adamw_free(pl_adamw *opt)
{
    if (opt == NULL) return;
    pl_tensor_release(opt->m);
    pl_tensor_release(opt->v);
    pl_free(opt->ctx, opt);
}

static int64_t moment_blocks(const pl_tensor *t)
{
    return (t->count + PL_MOMENT_BLOCK - 1) / PL_MOMENT_BLOCK;
}

static pl_status new_moments(pl_adamw *opt)
{
    const pl_tensor *flat = opt->block->flat;
    if (!opt->eight_bit) {
        PL_TRY(pl__tensor_zeros_free(opt->ctx, &opt->m, flat->dtype, 1, flat->shape));
        return pl__tensor_zeros_free(opt->ctx, &opt->v, flat->dtype, 1, flat->shape);
    }
    int64_t shape[2] = {0, PL_MOMENT_WORDS};
    for (int i = 0; i < opt->block->n; i++) shape[0] += moment_blocks(opt->block->tensors[i]);
    PL_TRY(pl__tensor_zeros_free(opt->ctx, &opt->m, PL_I32, 2, shape));
    return pl__tensor_zeros_free(opt->ctx, &opt->v, PL_I32, 2, shape);
}

static pl_status new_optimizer(pl_ctx *ctx, pl_adamw **out, pl_block *block, bool eight_bit)
{
    pl_status st = PL_OK;
    *out = NULL;
    pl_adamw *opt = pl_calloc(ctx, 1, sizeof *opt);
    if (opt == NULL) return PL_ERR_NOMEM;
    opt->ctx = ctx;
    opt->block = block;
    opt->eight_bit = eight_bit;
    PL_GO(new_moments(opt));
    PL_GO(pl__block_want_grads(block));
    *out = opt;
done:
    if (st != PL_OK) pl_adamw_free(opt);
    return st;
}

pl_status pl_adamw_new(pl_ctx *ctx, pl_adamw **out, pl_block *block)
{
    return new_optimizer(ctx, out, block, false);
}

pl_status pl_adamw_new_8bit(pl_ctx *ctx, pl_adamw **out, pl_block *block)
{
    *out = NULL;
    if (block->flat->dtype != PL_F32)
        return pl__fail(ctx, PL_ERR_DTYPE,
                        "adamw: moments of 8 bits are for float32 parameters, these are %s",
                        pl_dtype_name(block->flat->dtype));
    return new_optimizer(ctx, out, block, true);
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

static void update_all(const pl_adamw *opt, const pl_adamw_options *o, pl_adamw_args *args)
{
    const pl_block *block = opt->block;
    int64_t from = 0; /* runs of parameters with the same decay go in one call */
    for (int i = 0; i < block->n; i++) {
        const pl_tensor *t = block->tensors[i];
        const double decay = t->rank >= 2 ? o->weight_decay : 0;
        const int64_t start = t->offset - block->flat->offset;
        if (decay == args->weight_decay) continue;
        update(opt, from, start, args);
        args->weight_decay = decay;
        from = start;
    }
    update(opt, from, block->flat->count, args);
}

static void update_all_8bit(const pl_adamw *opt, const pl_adamw_options *o, pl_adamw_args *args)
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
    if (opt->eight_bit) update_all_8bit(opt, o, &args);
    else update_all(opt, o, &args);
    /* weights and moments read and written, gradients read */
    const double moments = (double)pl_tensor_bytes(opt->m) + (double)pl_tensor_bytes(opt->v);
    pl__profile_work(opt->ctx, began, PL_WORK_ADAMW, 0,
                     3 * (double)pl_tensor_bytes(block->flat) + 2 * moments);
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
