/*
** log.c - files that rows are appended to while a program runs, and that are whole after any crash.
**
** A row is written at once, by O_APPEND, so several processes may append to one file. When the
** write fails half way, the part that got there is cut off again, unless somebody else has appended
** behind it; when even the cut fails, the next append tries it first. No buffer: a row is with the
** kernel when append returns.
*/
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io/file.h"

struct pl_logfile {
    pl_ctx *ctx;
    char *path;
    int fd;
    int64_t torn_at, torn; /* bytes of a failed append that still stand at torn_at */
};

pl_status pl_logfile_open(pl_ctx *ctx, pl_logfile **out, const char *path, bool owner_only)
{
    pl_status st = PL_ERR_NOMEM;
    *out = NULL;
    pl_logfile *log = pl_calloc(ctx, 1, sizeof *log);
    if (log == NULL) return PL_ERR_NOMEM;
    log->ctx = ctx;
    log->fd = -1;
    log->path = pl_strndup(ctx, path, strlen(path));
    if (log->path == NULL) goto done;
    PL_GO(pl__file_append_open(ctx, &log->fd, path, owner_only));
    *out = log;
    log = NULL;
done:
    pl_logfile_close(log);
    return st;
}

void pl_logfile_close(pl_logfile *log)
{
    if (log == NULL) return;
    pl__file_close(&log->fd);
    pl_free(log->ctx, log->path);
    pl_free(log->ctx, log);
}

/* Cuts off what a failed append left, unless it is no longer the end; false when that fails. */
static bool cut_torn(pl_logfile *log)
{
    struct stat info;
    if (log->torn > 0) {
        if (fstat(log->fd, &info) != 0) return false;
        if (info.st_size == log->torn_at + log->torn && ftruncate(log->fd, log->torn_at) != 0)
            return false;
    }
    log->torn = 0;
    return true;
}

pl_status pl_logfile_append(pl_logfile *log, const void *row, size_t size)
{
    struct stat info;
    pl_status st = PL_OK;
    size_t done = 0;
    if (!cut_torn(log) || fstat(log->fd, &info) != 0)
        return pl__io_fail(log->ctx, "writing", log->path);
    while (done < size && st == PL_OK)
        st = pl__file_put(log->ctx, log->fd, log->path, row, size, &done);
    if (st == PL_OK) return PL_OK;
    log->torn_at = info.st_size;
    log->torn = (int64_t)done;
    cut_torn(log);
    return st;
}

pl_status pl_logfile_sync(pl_logfile *log)
{
    return pl__file_sync(log->ctx, log->fd, log->path);
}
