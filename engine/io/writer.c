/*
** writer.c - a file written piece by piece, which appears whole under its name or not at all: the
** writer of file.c behind a buffer, for callers outside the engine.
*/
#include <string.h>

#include "io/file.h"

#define BUFFER 65536

struct pl_writer {
    pl__writer file;
    char *path;
    pl_status broken; /* of the first put that failed */
    size_t held;
    char buffer[BUFFER];
};

pl_status pl_writer_open(pl_ctx *ctx, pl_writer **out, const char *path)
{
    pl_status st = PL_ERR_NOMEM;
    *out = NULL;
    pl_writer *w = pl_calloc(ctx, 1, sizeof *w);
    if (w == NULL) return PL_ERR_NOMEM;
    w->file = (pl__writer){.ctx = ctx, .fd = -1};
    w->path = pl_strndup(ctx, path, strlen(path));
    if (w->path == NULL) goto done;
    PL_GO(pl__writer_open(ctx, &w->file, w->path));
    *out = w;
    w = NULL;
done:
    pl_writer_close(w);
    return st;
}

static pl_status flush(pl_writer *w)
{
    w->broken = pl__writer_put(&w->file, w->buffer, w->held);
    w->held = 0;
    return w->broken;
}

static pl_status check(const pl_writer *w)
{
    return w->broken == PL_OK
               ? PL_OK
               : pl__fail(w->file.ctx, w->broken,
                          "writing '%s': an earlier part could not be written", w->path);
}

pl_status pl_writer_put(pl_writer *w, const void *data, size_t size)
{
    PL_TRY(check(w));
    if (size > BUFFER - w->held) PL_TRY(flush(w));
    if (size > BUFFER) return w->broken = pl__writer_put(&w->file, data, size);
    memcpy(w->buffer + w->held, data, size);
    w->held += size;
    return PL_OK;
}

pl_status pl_writer_commit(pl_writer *w)
{
    PL_TRY(check(w));
    PL_TRY(flush(w));
    return w->broken = pl__writer_commit(&w->file);
}

void pl_writer_close(pl_writer *w)
{
    if (w == NULL) return;
    pl_ctx *ctx = w->file.ctx;
    pl__writer_abort(&w->file);
    pl_free(ctx, w->path);
    pl_free(ctx, w);
}
