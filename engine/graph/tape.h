/*
** tape.h - a node of the tape, and what recording (tape.c), making again (remake.c) and walking
** back (backward.c) share.
*/
#ifndef PL_GRAPH_TAPE_H
#define PL_GRAPH_TAPE_H

#include "graph/graph.h"

struct pl_node {
    pl_node *prev, *next, *next_dead;
    bool dying;
    int n_in, n_out;
    pl_call call;
    pl_backward_fn fn; /* a custom node */
    void (*drop)(void *data);
    void *data;
    bool holds[PL_MAX_IN];   /* the data of in[i] are kept; or */
    bool remakes[PL_MAX_IN]; /* are made again; or */
    pl_tensor *rounded[PL_MAX_IN],
        *rounded_out;                      /* are here in bfloat16, as may be those of out[0] */
    pl_tensor *wide[PL_MAX_IN], *wide_out; /* what backward reads in their place */
    bool gave[PL_MAX_IN];                  /* the op made rounded[i], and reads it itself */
    bool made_again;                       /* this node holds the data of its output; or */
    pl_tensor *again;                      /* here they are, made from rounded inputs */
    uint64_t in_version[PL_MAX_IN], out_version[PL_MAX_OUT]; /* of the data that it keeps */
};

static inline bool pl__node_keeps(const pl_node *node, int flag)
{
    return node->fn == NULL && (node->call.row->flags & flag) != 0;
}

/* Whether backward reads the data of in[i], of the outputs as they are. */
static inline bool pl__node_reads_in(const pl_node *node, int i)
{
    return pl__node_keeps(node, PL_OPF_KEEP_IN) && !node->call.unread[i];
}

static inline bool pl__node_keeps_out(const pl_node *node)
{
    return pl__node_keeps(node, PL_OPF_KEEP_OUT) && node->rounded_out == NULL;
}

static inline pl_dtype pl__call_dtype(const pl_call *c)
{
    for (int i = 0; i < c->row->n_in; i++)
        if (c->in[i] != NULL && c->in[i]->dtype == PL_F64) return PL_F64;
    return PL_F32;
}

/* tape.c: unlinks and frees a node; its outputs become constants. */
void pl__node_free(pl_ctx *ctx, pl_node *node);
/* A tensor has no gradient any more, and no memory for one. */
void pl__grad_drop(pl_tensor *t);

/* remake.c: makes what this node's backward reads and nobody kept as it is. */
pl_status pl__node_remake_inputs(pl_ctx *ctx, pl_node *node);
/* Puts that into the call, and, the second time, what was there before. */
void pl__node_swap_wide(pl_node *node);
/* Fails unless what backward is about to read is what the op had. */
pl_status pl__node_check_versions(pl_ctx *ctx, const pl_node *node);
/* A node that goes before others which count on it to make its output again: they keep that now. */
pl_status pl__node_settle_readers(pl_ctx *ctx, pl_node *node);

#endif
