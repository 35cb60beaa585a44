/*
** block.c - all parameters of a model in one flat piece of memory.
**
** Adam, averaging, norms, hashes and checkpoints are then one loop over one array. Each parameter
** is a view of the weights and has a view of the gradients waiting for it; memory for gradients is
** there only once a gradient is asked for, and is lent between zero_grad and the first write into
** it: activations fill it while a forward pass runs, and leave while its backward makes gradients.
*/
#include "train/block.h"

#include <stdio.h>
#include <string.h>
#include <xxhash.h>

#define ALIGN_ELEMENTS 16

static int64_t rounded_up(int64_t count)
{
    return (count + ALIGN_ELEMENTS - 1) / ALIGN_ELEMENTS * ALIGN_ELEMENTS;
}

void pl_block_free(pl_block *block)
{
    if (block == NULL) return;
    for (int i = 0; i < block->n && block->tensors != NULL; i++)
        pl_tensor_release(block->tensors[i]);
    pl_tensor_release(block->flat);
    pl_tensor_release(block->grads);
    pl_free(block->ctx, block->tensors);
    pl_free(block->ctx, block);
}

pl_status pl_block_new(pl_ctx *ctx, pl_block **out, pl_dtype dtype, int n,
                       const pl_block_entry *entries)
{
    pl_status st = PL_OK;
    *out = NULL;
    if (dtype != PL_F32 && dtype != PL_F64)
        return pl__fail(ctx, PL_ERR_DTYPE, "block: parameters are float32 or float64, not %s",
                        pl_dtype_name(dtype));
    pl_block *block = pl_calloc(ctx, 1, sizeof *block);
    if (block == NULL) return PL_ERR_NOMEM;
    block->ctx = ctx;
    block->tensors = pl_calloc(ctx, (size_t)n + 1, sizeof *block->tensors);
    if (block->tensors == NULL) PL_GO(PL_ERR_NOMEM);
    block->n = n;
    int64_t total = 0;
    for (int i = 0; i < n; i++) {
        int64_t count;
        if (!pl__shape_count(entries[i].rank, entries[i].shape, &count))
            PL_GO(pl__fail(ctx, PL_ERR_SHAPE, "block: parameter '%s' has a bad shape",
                           entries[i].name));
        if (strlen(entries[i].name) > PL_MAX_NAME)
            PL_GO(pl__fail(ctx, PL_ERR_ARG, "block: a parameter's name may have %d bytes: '%s'",
                           PL_MAX_NAME, entries[i].name));
        block->count += count;
        total += rounded_up(count);
    }
    PL_GO(pl__tensor_zeros_free(ctx, &block->flat, dtype, 1, &total));
    int64_t at = 0;
    for (int i = 0; i < n; i++) {
        PL_GO(pl_tensor_view(ctx, &block->tensors[i], block->flat, at, entries[i].rank,
                             entries[i].shape));
        pl_tensor *t = block->tensors[i];
        pl_tensor_keep_forever(t);
        pl_tensor_set_name(t, entries[i].name);
        t->requires_grad = true;
        at += rounded_up(t->count);
    }
    *out = block;
done:
    if (st != PL_OK) pl_block_free(block);
    return st;
}

/* Memory for gradients, and a view of it as the gradient of each parameter. */
pl_status pl__block_want_grads(pl_block *block)
{
    if (block->grads != NULL) return PL_OK;
    pl_tensor *grads;
    PL_TRY(pl__tensor_zeros_free(block->ctx, &grads, block->flat->dtype, 1, block->flat->shape));
    for (int i = 0; i < block->n; i++) {
        pl_tensor *t = block->tensors[i], *view = NULL;
        pl_status st = pl__tape_reclaim_grad(block->ctx, t);
        if (st == PL_OK)
            st = pl_tensor_view(block->ctx, &view, grads, t->offset - block->flat->offset, t->rank,
                                t->shape);
        if (st != PL_OK) {
            for (int k = 0; k < i; k++) {
                pl_tensor_release(block->tensors[k]->grad);
                block->tensors[k]->grad = NULL;
                block->tensors[k]->grad_valid = false;
            }
            pl_tensor_release(grads);
            return st;
        }
        pl_tensor_keep_forever(view);
        if (t->grad_valid) /* a gradient came before the flat memory did */
            memcpy(pl__data(view), pl__data(t->grad), pl_tensor_bytes(t));
        pl_tensor_release(t->grad);
        t->grad = view;
    }
    block->grads = grads;
    return PL_OK;
}

int pl_block_size(const pl_block *block)
{
    return block->n;
}

int64_t pl_block_count(const pl_block *block)
{
    return block->count;
}

pl_tensor *pl_block_get(const pl_block *block, int i)
{
    return i >= 0 && i < block->n ? block->tensors[i] : NULL;
}

pl_tensor *pl_block_flat(const pl_block *block)
{
    return block->flat;
}

static pl_status check_alike(const pl_block *block, pl_tensor *const *tensors)
{
    for (int i = 0; i < block->n; i++) {
        PL_TRY(pl_tensor_check(block->ctx, tensors[i]));
        if (tensors[i]->dtype != block->flat->dtype ||
            tensors[i]->count != block->tensors[i]->count)
            return pl__fail(block->ctx, PL_ERR_SHAPE, "block: '%s' is of another shape or dtype",
                            block->tensors[i]->name);
    }
    return PL_OK;
}

pl_status pl_block_take(pl_block *block, pl_tensor *const *tensors)
{
    PL_TRY(check_alike(block, tensors));
    PL_TRY(pl__block_want_grads(block));
    for (int i = 0; i < block->n; i++) { /* all that can fail, before anything is written */
        pl_tensor *t = block->tensors[i];
        PL_TRY(pl__tape_reclaim_grad(block->ctx, t));
        if (pl_tensor_grad(tensors[i]) != NULL) PL_TRY(pl__tensor_claim(t->grad));
    }
    for (int i = 0; i < block->n; i++) {
        pl_tensor *t = block->tensors[i];
        const pl_tensor *grad = pl_tensor_grad(tensors[i]);
        memcpy(pl__data(t), pl__data(tensors[i]), pl_tensor_bytes(t));
        t->grad_valid = grad != NULL;
        if (grad != NULL) memcpy(pl__data(t->grad), pl__data(grad), pl_tensor_bytes(t));
    }
    pl_tensor_touch(block->flat);
    return PL_OK;
}

pl_status pl_block_give(const pl_block *block, pl_tensor *const *tensors)
{
    PL_TRY(check_alike(block, tensors));
    for (int i = 0; i < block->n; i++) {
        memcpy(pl__data(tensors[i]), pl__data(block->tensors[i]), pl_tensor_bytes(tensors[i]));
        pl_tensor_touch(tensors[i]);
    }
    return PL_OK;
}

bool pl_block_has_grad(const pl_block *block, int i)
{
    return block->tensors[i]->grad_valid;
}

/* What lies between the gradients of two parameters. */
static void zero_between(const pl_block *block)
{
    const size_t size = pl_dtype_size(block->flat->dtype);
    for (int i = 0; i < block->n; i++) {
        const int64_t count = block->tensors[i]->count;
        char *end = (char *)pl__data(block->tensors[i]->grad) + (size_t)count * size;
        memset(end, 0, (size_t)(rounded_up(count) - count) * size);
    }
}

pl_status pl_block_grads(pl_block *block, pl_tensor **borrowed)
{
    *borrowed = NULL;
    PL_TRY(pl__block_want_grads(block));
    for (int i = 0; i < block->n; i++) {
        pl_tensor *t = block->tensors[i];
        if (t->grad_valid) continue;
        PL_TRY(pl__tape_reclaim_grad(block->ctx, t));
        PL_TRY(pl__tensor_claim(t->grad));
        memset(pl__data(t->grad), 0, pl_tensor_bytes(t));
    }
    if (block->grads->storage->lent) zero_between(block);
    *borrowed = block->grads;
    return PL_OK;
}

/* Whether nobody but the block can look at the memory of its gradients. */
static bool holds_grads_alone(const pl_block *block)
{
    if (block->grads == NULL || block->grads->refs > 1) return false;
    if (block->grads->storage->users > block->n + 1) return false;
    for (int i = 0; i < block->n; i++) {
        const pl_tensor *t = block->tensors[i];
        if (t->borrower != NULL || t->grad == NULL || t->grad->refs > 1) return false;
    }
    return true;
}

void pl_block_zero_grad(pl_block *block)
{
    for (int i = 0; i < block->n; i++) block->tensors[i]->grad_valid = false;
    if (holds_grads_alone(block)) pl__tensor_lend(block->grads);
}

pl_status pl_block_grad_norm(pl_block *block, double *norm)
{
    pl_tensor *grads;
    PL_TRY(pl_block_grads(block, &grads));
    const pl_kernel_set *k = &pl__ops_for(block->ctx, grads->dtype)->kernels;
    const int64_t began = pl__profile_now(block->ctx);
    *norm = sqrt(k->sum_squares(grads->count, pl__data(grads)));
    pl__profile_work(block->ctx, began, PL_WORK_GRAD_NORM,
                     (pl_cost){.bytes = (double)pl_tensor_bytes(grads)});
    return PL_OK;
}

pl_status pl_block_average(pl_block *dst, const pl_block *src, double decay)
{
    if (dst->flat->dtype != src->flat->dtype || dst->flat->count != src->flat->count ||
        dst->n != src->n)
        return pl__fail(dst->ctx, PL_ERR_SHAPE, "block: the two blocks hold other parameters");
    if (!(decay >= 0 && decay <= 1))
        return pl__fail(dst->ctx, PL_ERR_ARG, "block: decay is %g, 0 to 1 wanted", decay);
    if (decay == 0) return pl_tensor_copy(dst->ctx, dst->flat, src->flat);
    const pl_kernel_set *k = &pl__ops_for(dst->ctx, dst->flat->dtype)->kernels;
    const int64_t began = pl__profile_now(dst->ctx);
    k->ema(dst->flat->count, pl__data(dst->flat), pl__data(src->flat), decay);
    pl__profile_work(dst->ctx, began, PL_WORK_AVERAGE,
                     (pl_cost){.bytes = 3 * (double)pl_tensor_bytes(dst->flat)});
    pl_tensor_touch(dst->flat);
    return PL_OK;
}

pl_status pl_block_hash(pl_block *block, char text[33])
{
    XXH3_state_t *state = XXH3_createState();
    if (state == NULL) return pl__fail(block->ctx, PL_ERR_NOMEM, "hash: not enough memory");
    XXH3_128bits_reset(state);
    for (int i = 0; i < block->n; i++) {
        const pl_tensor *t = block->tensors[i];
        XXH3_128bits_update(state, t->name, strlen(t->name) + 1);
        XXH3_128bits_update(state, t->shape, sizeof t->shape[0] * (size_t)t->rank);
        XXH3_128bits_update(state, pl__data(t), pl_tensor_bytes(t));
    }
    const XXH128_hash_t h = XXH3_128bits_digest(state);
    XXH3_freeState(state);
    snprintf(text, 33, "%016llx%016llx", (unsigned long long)h.high64, (unsigned long long)h.low64);
    return PL_OK;
}
