/*
** buffer.h - growing runs of bytes and of ids; {0} is an empty one.
*/
#ifndef PL_BASE_BUFFER_H
#define PL_BASE_BUFFER_H

#include "base/ctx.h"

typedef struct {
    char *data;
    size_t length, room;
} pl__buf;

/* Room for `more` bytes behind those that are there. */
pl_status pl__buf_reserve(pl_ctx *ctx, pl__buf *buf, size_t more);
pl_status pl__buf_add(pl_ctx *ctx, pl__buf *buf, const char *data, size_t length);
pl_status pl__buf_format(pl_ctx *ctx, pl__buf *buf, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Adds UTF-8 text as a JSON string. */
pl_status pl__buf_quote(pl_ctx *ctx, pl__buf *buf, const char *text);
void pl__buf_free(pl_ctx *ctx, pl__buf *buf);

typedef struct {
    int32_t *data;
    int64_t count, room;
} pl__ids;

pl_status pl__ids_add(pl_ctx *ctx, pl__ids *ids, int32_t id);

#endif
