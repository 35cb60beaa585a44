/*
** blocks.c - blocks of a generator's cache: taking, sharing, copying; see blocks.h.
*/
#include "gen/blocks.h"

#include "ops/op.h"

static pl_status check_caches(pl_ctx *ctx, pl_tensor *const *caches, int n_caches)
{
    if (n_caches < 2 || n_caches % 2 != 0)
        return pl__fail(ctx, PL_ERR_ARG, "generator: caches come in pairs of keys and values");
    for (int i = 0; i < n_caches; i++) {
        const pl_tensor *t = caches[i];
        if (t->rank == 4 && t->dtype == PL_F32 && t->shape[0] == caches[0]->shape[0] &&
            t->shape[2] == caches[0]->shape[2])
            continue;
        return pl__fail(ctx, PL_ERR_SHAPE,
                        "generator: cache %d must be float32 [blocks,G,block_len,D] like the first",
                        i);
    }
    return PL_OK;
}

/* Room to count n blocks, of which those from pool->n on are free. */
static pl_status count_blocks(block_pool *pool, int64_t n)
{
    int32_t *refs = pl_realloc(pool->ctx, pool->refs, (size_t)n * sizeof *refs);
    if (refs == NULL) return PL_ERR_NOMEM;
    pool->refs = refs;
    int32_t *waiting = pl_realloc(pool->ctx, pool->free, (size_t)n * sizeof *waiting);
    if (waiting == NULL) return PL_ERR_NOMEM;
    pool->free = waiting;
    return PL_OK;
}

static void add_free(block_pool *pool, int64_t n)
{
    for (int64_t i = n; i > pool->n; i--) {
        pool->refs[i - 1] = 0;
        pool->free[pool->n_free++] = (int32_t)(i - 1);
    }
    pool->n = n;
}

pl_status pl__blocks_open(pl_ctx *ctx, block_pool *pool, pl_tensor *const *caches, int n_caches)
{
    PL_TRY(check_caches(ctx, caches, n_caches));
    const int64_t n = caches[0]->shape[0];
    *pool = (block_pool){.ctx = ctx, .block_len = caches[0]->shape[2], .most = n, .step = 1};
    pool->caches = pl_calloc(ctx, (size_t)n_caches, sizeof(pl_tensor *));
    if (pool->caches == NULL || count_blocks(pool, n) != PL_OK) {
        pl__blocks_close(pool);
        return PL_ERR_NOMEM;
    }
    pool->n_caches = n_caches;
    for (int i = 0; i < n_caches; i++) {
        pool->caches[i] = caches[i];
        pl_tensor_retain(caches[i]);
    }
    add_free(pool, n);
    return PL_OK;
}

void pl__blocks_close(block_pool *pool)
{
    for (int i = 0; i < pool->n_caches; i++) pl_tensor_release(pool->caches[i]);
    pl_free(pool->ctx, pool->caches);
    pl_free(pool->ctx, pool->refs);
    pl_free(pool->ctx, pool->free);
    *pool = (block_pool){0};
}

int64_t pl__blocks_left(const block_pool *pool)
{
    return pool->n_free + (pool->most > pool->n ? pool->most - pool->n : 0);
}

/* A quarter more blocks, or `step` where that is more. Where memory ends half-way the first caches
** have got more than is counted. */
static pl_status grow(block_pool *pool)
{
    int64_t n = pool->n + (pool->n / 4 > pool->step ? pool->n / 4 : pool->step);
    if (n > pool->most) n = pool->most;
    if (n <= pool->n)
        return pl__fail(pool->ctx, PL_ERR_NOMEM, "generate: the cache's %lld blocks are in use",
                        (long long)pool->n);
    PL_TRY(count_blocks(pool, n));
    for (int i = 0; i < pool->n_caches; i++) {
        const pl_status st = pl__tensor_resize(pool->caches[i], n);
        if (st == PL_OK) continue;
        while (i-- > 0) pl__tensor_cut(pool->caches[i], pool->n);
        return st;
    }
    add_free(pool, n);
    return PL_OK;
}

static pl_status take(block_pool *pool, int32_t *block)
{
    if (pool->n_free == 0) PL_TRY(grow(pool));
    *block = pool->free[--pool->n_free];
    pool->refs[*block] = 1;
    return PL_OK;
}

static void copy(block_pool *pool, int32_t from, int32_t to, int64_t n)
{
    const pl_kernel_set *k = &pl__ops_for(pool->ctx, PL_F32)->kernels;
    for (int i = 0; i < pool->n_caches; i += 2) {
        const pl_tensor *t = pool->caches[i];
        k->cache_copy(pl__data(t), pl__data(pool->caches[i + 1]), t->shape[1], t->shape[2],
                      t->shape[3], from, to, n);
    }
}

int64_t pl__blocks_for(const block_pool *pool, int64_t positions)
{
    return positions / pool->block_len + (positions % pool->block_len > 0);
}

pl_status pl__text_extend(block_pool *pool, text_place *text, int64_t positions)
{
    const int64_t wanted = pl__blocks_for(pool, positions);
    while (text->n < wanted) {
        PL_TRY(take(pool, &text->blocks[text->n]));
        text->n++;
    }
    return PL_OK;
}

void pl__text_refer(block_pool *pool, text_place *to, const text_place *from, int64_t n)
{
    to->n = pl__blocks_for(pool, n);
    for (int64_t i = 0; i < to->n; i++) pool->refs[to->blocks[i] = from->blocks[i]]++;
}

pl_status pl__text_adopt(block_pool *pool, text_place *to, const text_place *from, int64_t n)
{
    const int64_t whole = n / pool->block_len, rest = n % pool->block_len;
    int32_t own = 0;
    if (rest > 0) PL_TRY(take(pool, &own));
    pl__text_refer(pool, to, from, whole * pool->block_len);
    if (rest == 0) return PL_OK;
    copy(pool, from->blocks[whole], own, rest);
    to->blocks[to->n++] = own;
    return PL_OK;
}

void pl__text_drop(block_pool *pool, text_place *text)
{
    for (int64_t i = 0; i < text->n; i++) {
        const int32_t block = text->blocks[i];
        if (--pool->refs[block] == 0) pool->free[pool->n_free++] = block;
    }
    text->n = 0;
}
