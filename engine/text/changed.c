/*
** changed.c - a text that grows out of another one, with the place each byte comes from.
*/
#include "text/text.h"

static pl_status reserve(pl_ctx *ctx, pl__changed *out, size_t more)
{
    PL_TRY(pl__buf_reserve(ctx, &out->text, more));
    if (!out->traced || out->origin_room >= out->text.room) return PL_OK;
    const size_t room = out->text.room;
    pl__origin *origin = pl_realloc(ctx, out->origin, room * sizeof *origin);
    if (!origin) return PL_ERR_NOMEM;
    out->origin = origin;
    out->origin_room = room;
    return PL_OK;
}

pl_status pl__changed_add(pl_ctx *ctx, pl__changed *out, const char *bytes, size_t length,
                          pl__origin origin)
{
    PL_TRY(reserve(ctx, out, length));
    for (size_t i = 0; out->traced && i < length; i++) out->origin[out->text.length + i] = origin;
    return pl__buf_add(ctx, &out->text, bytes, length);
}

pl_status pl__changed_copy(pl_ctx *ctx, pl__changed *out, const pl__changed *from, size_t start,
                           size_t length)
{
    PL_TRY(reserve(ctx, out, length));
    if (out->traced && length > 0)
        memcpy(out->origin + out->text.length, from->origin + start, length * sizeof *out->origin);
    return pl__buf_add(ctx, &out->text, from->text.data + start, length);
}

pl__origin pl__changed_origin(const pl__changed *text, size_t start, size_t end)
{
    if (!text->traced) return (pl__origin){0, 0};
    return (pl__origin){text->origin[start].start, text->origin[end - 1].end};
}

void pl__changed_empty(pl__changed *text, bool traced)
{
    text->text.length = 0;
    text->traced = traced;
}

void pl__changed_free(pl_ctx *ctx, pl__changed *text)
{
    pl__buf_free(ctx, &text->text);
    pl_free(ctx, text->origin);
    *text = (pl__changed){0};
}
