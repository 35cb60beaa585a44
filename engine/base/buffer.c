/*
** buffer.c - growing runs of bytes and of ids.
*/
#include "base/buffer.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

pl_status pl__buf_reserve(pl_ctx *ctx, pl__buf *buf, size_t more)
{
    if (buf->room - buf->length >= more) return PL_OK;
    if (more > SIZE_MAX / 4 - buf->length)
        return pl__fail(ctx, PL_ERR_NOMEM, "text of more than %zu bytes", SIZE_MAX / 4);
    size_t room = (buf->length + more) + (buf->length + more) / 2 + 64;
    char *data = pl_realloc(ctx, buf->data, room);
    if (data == NULL) return PL_ERR_NOMEM;
    buf->data = data;
    buf->room = room;
    return PL_OK;
}

pl_status pl__buf_add(pl_ctx *ctx, pl__buf *buf, const char *data, size_t length)
{
    PL_TRY(pl__buf_reserve(ctx, buf, length));
    if (length > 0) memcpy(buf->data + buf->length, data, length);
    buf->length += length;
    return PL_OK;
}

pl_status pl__buf_format(pl_ctx *ctx, pl__buf *buf, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    const int n = vsnprintf(NULL, 0, format, args);
    pl_status st = n < 0 ? pl__fail(ctx, PL_ERR_ARG, "a text cannot be written as '%s'", format)
                         : pl__buf_reserve(ctx, buf, (size_t)n + 1);
    if (st == PL_OK) {
        vsnprintf(buf->data + buf->length, (size_t)n + 1, format, again);
        buf->length += (size_t)n;
    }
    va_end(again);
    va_end(args);
    return st;
}

pl_status pl__buf_quote(pl_ctx *ctx, pl__buf *buf, const char *text)
{
    PL_TRY(pl__buf_add(ctx, buf, "\"", 1));
    for (; *text != '\0'; text++) {
        const unsigned char c = (unsigned char)*text;
        if (c == '"' || c == '\\') PL_TRY(pl__buf_add(ctx, buf, "\\", 1));
        if (c < 0x20) PL_TRY(pl__buf_format(ctx, buf, "\\u%04x", c));
        else PL_TRY(pl__buf_add(ctx, buf, text, 1));
    }
    return pl__buf_add(ctx, buf, "\"", 1);
}

void pl__buf_free(pl_ctx *ctx, pl__buf *buf)
{
    pl_free(ctx, buf->data);
    *buf = (pl__buf){0};
}

pl_status pl__ids_add(pl_ctx *ctx, pl__ids *ids, int32_t id)
{
    if (ids->count == ids->room) {
        int64_t room = ids->room * 2 + 64;
        int32_t *data = pl_realloc(ctx, ids->data, (size_t)room * sizeof *data);
        if (data == NULL) return PL_ERR_NOMEM;
        ids->data = data;
        ids->room = room;
    }
    ids->data[ids->count++] = id;
    return PL_OK;
}
