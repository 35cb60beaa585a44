/*
** scope.c - scopes own the data of the tensors made inside them.
**
** Closing a scope ends the users' claim on its tensors: their handles stay (a later use is a clear
** error), their data goes at once, unless the tape still holds it and the scope is a frame.
** Dissolving one frees nothing.
*/
#include "tensor/tensor.h"

#include <string.h>

static const char *intern(pl_tensor_floor *floor, const char *name)
{
    pl_ctx *ctx = &floor->base;
    for (int i = 0; i < floor->n_names; i++)
        if (strcmp(floor->names[i], name) == 0) return floor->names[i];
    char **names = pl_realloc(ctx, floor->names, sizeof(char *) * (size_t)(floor->n_names + 1));
    if (names == NULL) return NULL;
    floor->names = names;
    char *copy = pl_strndup(ctx, name, strlen(name));
    if (copy == NULL) return NULL;
    names[floor->n_names++] = copy;
    return copy;
}

void pl__scopes_close(pl_ctx *ctx)
{
    pl_tensor_floor *floor = pl__tensor_floor(ctx);
    for (int i = 0; i < floor->n_names; i++) pl_free(ctx, floor->names[i]);
    pl_free(ctx, floor->names);
}

pl_status pl_scope_open(pl_ctx *ctx, int64_t *id, const char *name, bool frame)
{
    pl_tensor_floor *floor = pl__tensor_floor(ctx);
    *id = 0;
    const char *interned = intern(floor, name);
    if (interned == NULL) return PL_ERR_NOMEM;
    pl_scope *s = pl_calloc(ctx, 1, sizeof *s);
    if (s == NULL) return PL_ERR_NOMEM;
    s->id = *id = ++floor->opened;
    s->name = interned;
    s->frame = frame;
    s->outer = floor->innermost;
    floor->innermost = s;
    floor->hooks->scope_opened(ctx, s);
    return PL_OK;
}

static void close_innermost(pl_ctx *ctx)
{
    pl_tensor_floor *floor = pl__tensor_floor(ctx);
    pl_scope *scope = floor->innermost;
    if (!scope->frame) floor->hooks->scope_closing(ctx, scope);
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
    floor->innermost = scope->outer;
    pl_free(ctx, scope);
}

void pl_scope_close(pl_ctx *ctx, int64_t id)
{
    const pl_tensor_floor *floor = pl__tensor_floor(ctx);
    while (id > 0 && floor->innermost != NULL && floor->innermost->id >= id) close_innermost(ctx);
}

void pl_scope_dissolve(pl_ctx *ctx, int64_t id)
{
    pl_scope **link = &pl__tensor_floor(ctx)->innermost;
    while (*link != NULL && (*link)->id != id) link = &(*link)->outer;
    pl_scope *scope = *link;
    if (scope == NULL) return;
    while (scope->tensors != NULL) pl_tensor_keep(scope->tensors);
    *link = scope->outer;
    pl_free(ctx, scope);
}

bool pl_scope_get(const pl_ctx *ctx, int64_t id, int64_t *tensors, int64_t *bytes)
{
    const pl_scope *scope = pl__tensor_floor(ctx)->innermost;
    while (scope != NULL && scope->id != id) scope = scope->outer;
    if (scope == NULL) return false;
    *tensors = *bytes = 0;
    for (const pl_tensor *t = scope->tensors; t != NULL; t = t->next) {
        ++*tensors;
        *bytes += (int64_t)pl_tensor_bytes(t);
    }
    return true;
}

int pl_scope_depth(const pl_ctx *ctx)
{
    int depth = 0;
    for (const pl_scope *s = pl__tensor_floor(ctx)->innermost; s != NULL; s = s->outer) depth++;
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
