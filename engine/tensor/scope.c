/*
** scope.c - scopes own the data of the tensors made inside them.
**
** Closing a scope ends the users' claim on its tensors: their handles stay (a later use is a clear
** error), their data goes at once, unless the tape still holds it and the scope is a frame.
*/
#include <string.h>

#include "autograd/tape.h"
#include "tensor/tensor.h"

static const char *intern(pl_ctx *ctx, const char *name)
{
    for (int i = 0; i < ctx->scopes.n_names; i++)
        if (strcmp(ctx->scopes.names[i], name) == 0) return ctx->scopes.names[i];
    char **names =
        pl_realloc(ctx, ctx->scopes.names, sizeof(char *) * (size_t)(ctx->scopes.n_names + 1));
    if (names == NULL) return NULL;
    ctx->scopes.names = names;
    char *copy = pl_strndup(ctx, name, strlen(name));
    if (copy == NULL) return NULL;
    names[ctx->scopes.n_names++] = copy;
    return copy;
}

void pl__scopes_close(pl_ctx *ctx)
{
    for (int i = 0; i < ctx->scopes.n_names; i++) pl_free(ctx, ctx->scopes.names[i]);
    pl_free(ctx, ctx->scopes.names);
}

void pl__scope_add(pl_tensor *t, pl_scope *scope)
{
    t->scope = scope;
    if (scope == NULL) return;
    t->prev = NULL;
    t->next = scope->tensors;
    if (t->next != NULL) t->next->prev = t;
    scope->tensors = t;
}

void pl__scope_remove(pl_tensor *t)
{
    if (t->scope == NULL) return;
    if (t->prev != NULL) t->prev->next = t->next;
    else t->scope->tensors = t->next;
    if (t->next != NULL) t->next->prev = t->prev;
    t->scope = NULL;
    t->prev = t->next = NULL;
}

pl_status pl_scope_open(pl_ctx *ctx, int64_t *id, const char *name, bool frame)
{
    *id = 0;
    const char *interned = intern(ctx, name);
    if (interned == NULL) return PL_ERR_NOMEM;
    pl_scope *s = pl_calloc(ctx, 1, sizeof *s);
    if (s == NULL) return PL_ERR_NOMEM;
    s->id = *id = ++ctx->scopes.opened;
    s->name = interned;
    s->frame = frame;
    s->outer = ctx->scopes.innermost;
    s->mark = ctx->tape.last;
    ctx->scopes.innermost = s;
    return PL_OK;
}

static void close_innermost(pl_ctx *ctx)
{
    pl_scope *scope = ctx->scopes.innermost;
    if (!scope->frame) pl__tape_release(ctx, scope->mark);
    while (scope->tensors != NULL) {
        pl_tensor *t = scope->tensors;
        t->freed_in = scope->name;
        t->refs++; /* the handle stays until its data is dealt with */
        pl__scope_remove(t);
        t->claimed = false;
        pl__tensor_hold(t);
        pl__tensor_unhold(t); /* lets the data go unless the tape holds it */
        pl_tensor_release(t);
    }
    ctx->scopes.innermost = scope->outer;
    pl_free(ctx, scope);
}

void pl_scope_close(pl_ctx *ctx, int64_t id)
{
    while (id > 0 && ctx->scopes.innermost != NULL && ctx->scopes.innermost->id >= id)
        close_innermost(ctx);
}

int pl_scope_depth(const pl_ctx *ctx)
{
    int depth = 0;
    for (const pl_scope *s = ctx->scopes.innermost; s != NULL; s = s->outer) depth++;
    return depth;
}

void pl_tensor_keep(pl_tensor *t)
{
    pl_scope *scope = t->scope;
    if (scope == NULL) return;
    pl__scope_remove(t);
    pl__scope_add(t, scope->outer);
}

void pl_tensor_keep_forever(pl_tensor *t)
{
    pl__scope_remove(t);
}
