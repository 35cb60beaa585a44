/*
** mem.h - the allocator's doors for the engine itself.
*/
#ifndef PL_BASE_MEM_H
#define PL_BASE_MEM_H

#include "perilune.h"

/* A zeroed context with the parts of all floors, `size` bytes; the one allocation that no context
** can count. */
pl_ctx *pl__mem_context(size_t size);
/* Gives everything cached back, and the context itself. */
void pl__mem_close(pl_ctx *ctx);

/* Lets a block's memory serve others until it is claimed: what the block holds is lost, and what is
** lent is no longer live. Small blocks lend nothing. */
void pl__mem_lend(pl_ctx *ctx, void *block);
/* The bytes [from, from + bytes) of a block of pl_alloc are its own again, their values undefined
** where they were not before. Fails as pl_alloc does; then nothing is claimed. */
pl_status pl__mem_claim(pl_ctx *ctx, void *block, size_t from, size_t bytes);

#endif
