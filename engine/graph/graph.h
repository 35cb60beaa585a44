/*
** graph.h - what happens with ops that run: the tape remembers those whose inputs want gradients, a
** plan that is being recorded remembers all.
*/
#ifndef PL_GRAPH_GRAPH_H
#define PL_GRAPH_GRAPH_H

#include "ops/op.h"

typedef struct pl_node pl_node;
typedef struct pl_profile pl_profile; /* profile.h */

/* This floor's part of a context (base/ctx.h). */
typedef struct {
    pl_ops_floor ops;
    pl_node *first, *last; /* of the tape, in the order the ops ran */
    pl_node *barrier;      /* a nested backward walks no further back */
    int walking;           /* depth of running backwards */
    bool enabled;          /* ops are taken onto the tape */
    bool nan_check;
    pl_plan *recording;
    pl_profile *profile; /* NULL: nobody profiles */
} pl_graph_floor;

static inline pl_graph_floor *pl__graph_floor(const pl_ctx *ctx)
{
    return (pl_graph_floor *)ctx;
}

/* Empties the tape and lets it know of tensors and scopes from now on. */
void pl__tape_open(pl_ctx *ctx);
void pl__tape_close(pl_ctx *ctx);
/* Takes a finished call onto the tape: its outputs now want gradients. */
pl_status pl__tape_record(pl_ctx *ctx, const pl_call *call);
/* Before the memory of a leaf's gradient is written: what a node keeps there moves out. Fails for
** want of memory. */
pl_status pl__tape_reclaim_grad(pl_ctx *ctx, pl_tensor *t);
/* Adds a finished call to the plan that is being recorded. */
pl_status pl__plan_record(pl_ctx *ctx, const pl_call *call);

#endif
