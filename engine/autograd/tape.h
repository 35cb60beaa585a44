/*
** tape.h - the record of ops whose inputs want gradients, in the order they ran.
*/
#ifndef PL_AUTOGRAD_TAPE_H
#define PL_AUTOGRAD_TAPE_H

#include "base/ctx.h"

struct pl_call;

/* Takes a finished call onto the tape: its outputs now want gradients. */
pl_status pl__tape_record(pl_ctx *ctx, const struct pl_call *call);
/* Releases every node after `mark` (NULL: all). */
void pl__tape_release(pl_ctx *ctx, struct pl_node *mark);
/* Releases a node nobody can reach any more, and those that only led to it. */
void pl__tape_prune(pl_ctx *ctx, struct pl_node *node);

#endif
