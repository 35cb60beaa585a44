/*
** blocks.h - the cache of a generator, cut into blocks of positions.
**
** A block is a row of every cache [blocks, G, block_len, D]. Texts that begin alike have the same
** blocks there; a block goes back when the last of them lets it go. There are more of them when
** they are wanted, up to `most`, and the caches are then moved, one after another.
*/
#ifndef PL_GEN_BLOCKS_H
#define PL_GEN_BLOCKS_H

#include "perilune.h"

typedef struct {
    pl_ctx *ctx;
    pl_tensor **caches; /* keys and values, in pairs */
    int n_caches;
    int64_t block_len;
    int64_t n, most; /* blocks there are, and may be */
    int64_t step;    /* so many more at least when they are wanted, as far as there may be */
    int32_t *refs;   /* [n] texts that have it */
    int32_t *free;   /* [n] a stack */
    int64_t n_free;
} block_pool;

/* Where a text stands: positions 0 .. n * block_len - 1. */
typedef struct {
    int32_t *blocks; /* as many places as the text may want; the owner's */
    int64_t n;
} text_place;

/* References of its own to the caches, whose shapes are checked. */
pl_status pl__blocks_open(pl_ctx *ctx, block_pool *pool, pl_tensor *const *caches, int n_caches);
void pl__blocks_close(block_pool *pool);
/* Blocks that may still be taken. */
int64_t pl__blocks_left(const block_pool *pool);
int64_t pl__blocks_for(const block_pool *pool, int64_t positions);
/* Blocks for so many positions of a text, those it has among them. PL_ERR_NOMEM when there may be
** no more, or no memory is left for them: it has some of them then. */
pl_status pl__text_extend(block_pool *pool, text_place *text, int64_t positions);
/* The first n positions of `from` also become those of `to`, which has none: whole blocks are
** shared, what is left is copied into a block of its own. After PL_ERR_NOMEM it has none. */
pl_status pl__text_adopt(block_pool *pool, text_place *to, const text_place *from, int64_t n);
/* The same, all of it shared: `to` is only read from, never extended. */
void pl__text_refer(block_pool *pool, text_place *to, const text_place *from, int64_t n);
void pl__text_drop(block_pool *pool, text_place *text); /* it has none after that */

#endif
