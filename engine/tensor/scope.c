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

pl_status pl_scope_open(pl_ctx *ctx, pl_scope **out, const char *name, bool frame)
{
    *out = NULL;
    const char *interned = intern(ctx, name);
    if (interned == NULL) return PL_ERR_NOMEM;
    pl_scope *s = pl_calloc(ctx, 1, sizeof *s);
    if (s == NULL) return PL_ERR_NOMEM;
    s->ctx = ctx;
    s->name = interned;
    s->frame = frame;
    s->outer = ctx->scopes.innermost;
    s->mark = ctx->tape.last;
    ctx->scopes.innermost = s;
    *out = s;
    return PL_OK;
}

void pl_scope_close(pl_scope *scope)
{
    pl_ctx *ctx = scope->ctx;
    while (ctx->scopes.innermost != scope) pl_scope_close(ctx->scopes.innermost);
    if (!scope->frame) pl__tape_release(ctx, scope->mark);
    while (scope->tensors != NULL) {
        pl_tensor *t = scope->tensors;
        t->freed_in = scope->name;
        t->refs++; /* the handle stays until its data is dealt with */
        pl__scope_remove(t);
        if (t->claimed) {
            t->claimed = false;
            pl__tensor_hold(t);
            pl__tensor_unhold(t);
        }
        pl_tensor_release(t);
    }
    ctx->scopes.innermost = scope->outer;
    pl_free(ctx, scope);
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
