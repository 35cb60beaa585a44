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

#endif
