/*
** context.c - making and freeing a context: each floor's part, opened upward, closed downward.
*/
#include "base/mem.h"
#include "graph/graph.h"

pl_ctx *pl_ctx_new(void)
{
    pl_ctx *ctx = pl__mem_context(sizeof(pl_graph_floor)); /* the top floor's part holds all */
    if (ctx == NULL) return NULL;
    pl__tape_open(ctx);
    if (pl__ops_open(ctx) != PL_OK) {
        pl_ctx_free(ctx);
        return NULL;
    }
    return ctx;
}

void pl_ctx_free(pl_ctx *ctx)
{
    if (ctx == NULL) return;
    pl_plan_cancel(ctx);
    pl_scope_close(ctx, 1); /* the outermost, and so all */
    pl__tape_close(ctx);
    pl_profile_end(ctx);
    pl__ops_close(ctx);
    pl__scopes_close(ctx);
    pl__mem_close(ctx);
}
