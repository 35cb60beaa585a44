/*
** file.h - checked file access for the rooms of io/: every system call passes the fault hook, is
** repeated when a signal interrupts it, and is reported with the file's name.
*/
#ifndef PL_IO_FILE_H
#define PL_IO_FILE_H

#include <xxhash.h>

#include "base/ctx.h"

/* "<doing> '<path>': <text of errno>". */
pl_status pl__io_fail(pl_ctx *ctx, const char *doing, const char *path);

/* Opens a regular file for reading; anything else (folder, FIFO, device) is refused at once. With
** `follow` false a symbolic link is refused too. */
pl_status pl__file_open(pl_ctx *ctx, int *fd, int64_t *size, const char *path, bool follow);
/* Exactly `size` bytes from `offset`; PL_ERR_FORMAT when the file ends before. */
pl_status pl__file_pread(pl_ctx *ctx, int fd, const char *path, void *to, int64_t size,
                         int64_t offset);
void pl__file_close(int *fd); /* of a file that was read; -1 is fine, sets -1 */
/* For appending, made when it is not there; the caller closes *fd on failure too. */
pl_status pl__file_append_open(pl_ctx *ctx, int *fd, const char *path, bool owner_only);
/* Writes some of the bytes from data + *done on, at least one, and moves *done. */
pl_status pl__file_put(pl_ctx *ctx, int fd, const char *path, const void *data, size_t size,
                       size_t *done);
pl_status pl__file_sync(pl_ctx *ctx, int fd, const char *path);
pl_status pl__file_sync_folder(pl_ctx *ctx, const char *path);
pl_status pl__file_rename(pl_ctx *ctx, const char *from, const char *to);
/* The two folders change places: in one step where the file system can, else in three. */
pl_status pl__file_swap(pl_ctx *ctx, const char *tmp, const char *path);
/* Makes a folder; on failure errno says why (EEXIST). */
pl_status pl__folder_make(pl_ctx *ctx, const char *path);

/* What killed writers left beside path, see stale.c; what cannot be removed stays. */
void pl__sweep_beside(const char *path);
/* A file, or a folder with all that is in it: 0, or -1 with errno. */
int pl__tree_remove(const char *path);

/* The hash of an open file. */
pl_status pl__file_hash_fd(pl_ctx *ctx, char hex[PL_HASH_TEXT], int fd, const char *path,
                           int64_t size);
void pl__hash_hex(char hex[PL_HASH_TEXT], XXH128_hash_t hash);

/* A file on its way: the bytes go to `tmp`, which has the mode of what stands at `path`; commit
** renames it to `path`. Abort may follow
** anything, commit too, and is idempotent; it keeps the context's error text. */
typedef struct {
    pl_ctx *ctx;
    int fd;
    char *tmp;
    const char *path; /* borrowed */
} pl__writer;

pl_status pl__writer_open(pl_ctx *ctx, pl__writer *w, const char *path);
pl_status pl__writer_put(pl__writer *w, const void *data, size_t size);
pl_status pl__writer_commit(pl__writer *w);
void pl__writer_abort(pl__writer *w);

#endif
