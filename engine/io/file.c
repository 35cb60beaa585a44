/*
** file.c - reading and writing single files so that neither a crash, a full disk nor a signal can
** leave half a file under the real name.
**
** Writing: "<path>.tmp-<host>-<pid>-<n>" made with O_EXCL, written, fsync, close, rename, fsync of
** the folder. A failed fsync is never retried: the kernel may have dropped the pages and would
** report success the second time. Reading is by pread, never mmap: a file that shrinks while it is
** read is an error here, and a SIGBUS there.
**
** Every system call goes through one of the sys_ functions, where pl_io_fail_at can make it fail.
** It does not know folders of files (folder.c) nor any format.
*/
#include "io/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/path.h"

#define CHUNK ((int64_t)8 << 20) /* bytes between two looks at the interrupt flag */
#define HASH_BUFFER ((int64_t)1 << 20)
#define MAX_RETRIES 1000 /* interrupted calls in a row */
#define MAX_NAMES 100

/* --------------------------------------------------------------------------------------------
** System calls behind the fault hook
*/
void pl_io_fail_at(pl_ctx *ctx, int64_t k, int error, bool forever)
{
    pl__faults_set(&ctx->system_calls, k, forever);
    ctx->system_error = error;
}

int64_t pl_io_calls(const pl_ctx *ctx)
{
    return ctx->system_calls.calls;
}

/* Counts the call; true when it shall fail, with errno set. */
static bool fault(pl_ctx *ctx)
{
    if (!pl__faults_next(&ctx->system_calls)) return false;
    errno = ctx->system_error;
    return true;
}

static int sys_open(pl_ctx *ctx, const char *path, int flags, mode_t mode)
{
    for (int tries = 0; tries < MAX_RETRIES; tries++) {
        const bool bad = fault(ctx) && errno != 0;
        const int fd = bad ? -1 : open(path, flags | O_CLOEXEC | O_NOCTTY, mode);
        if (fd >= 0 || errno != EINTR) return fd;
    }
    return -1;
}

/* The bytes moved, which may be fewer than asked for; -1 with errno. */
static ssize_t sys_move(pl_ctx *ctx, int fd, void *to, const void *from, int64_t size,
                        int64_t offset)
{
    size_t n = (size_t)(size < CHUNK ? size : CHUNK);
    for (int tries = 0; tries < MAX_RETRIES; tries++) {
        ssize_t moved = -1;
        const bool hit = fault(ctx);
        if (hit && errno == 0 && n > 1) n /= 2;
        if (hit && errno != 0) moved = -1;
        else if (to) moved = pread(fd, to, n, offset);
        else if (from) moved = write(fd, from, n);
        if (moved >= 0 || errno != EINTR) return moved;
    }
    return -1;
}

static int sys_fsync(pl_ctx *ctx, int fd)
{
    return fault(ctx) && errno != 0 ? -1 : fsync(fd);
}

/* Linux closes the descriptor even when it reports EINTR. */
static int sys_close(pl_ctx *ctx, int fd)
{
    const bool bad = fault(ctx) && errno != 0;
    const int error = errno;
    int rc = close(fd);
    if (bad) rc = -1, errno = error;
    return rc < 0 && errno == EINTR ? 0 : rc;
}

static int sys_fchmod(pl_ctx *ctx, int fd, mode_t mode)
{
    return fault(ctx) && errno != 0 ? -1 : fchmod(fd, mode);
}

static int sys_unlink(pl_ctx *ctx, const char *path)
{
    return fault(ctx) && errno != 0 ? -1 : unlink(path);
}

static int sys_rename(pl_ctx *ctx, const char *from, const char *to)
{
    return fault(ctx) && errno != 0 ? -1 : rename(from, to);
}

/* --------------------------------------------------------------------------------------------
** Reading
*/
pl_status pl__io_fail(pl_ctx *ctx, const char *doing, const char *path)
{
    const int error = errno;
    const char *hint = error == ENOSPC || error == EDQUOT ? " (free some space and try again)" : "";
    errno = error;
    return pl__fail(ctx, PL_ERR_IO, "%s '%s': %m%s", doing, path, hint);
}

static const char *kind_name(mode_t mode)
{
    return S_ISDIR(mode)    ? "a folder"
           : S_ISFIFO(mode) ? "a pipe"
           : S_ISCHR(mode)  ? "a device"
           : S_ISBLK(mode)  ? "a block device"
           : S_ISSOCK(mode) ? "a socket"
                            : "no regular file";
}

pl_status pl__file_open(pl_ctx *ctx, int *fd, int64_t *size, const char *path, bool follow)
{
    struct stat info;
    /* O_NONBLOCK: opening a pipe must not wait for its writer. */
    *fd = sys_open(ctx, path, O_RDONLY | O_NONBLOCK | (follow ? 0 : O_NOFOLLOW), 0);
    if (*fd < 0 && errno == ELOOP && !follow)
        return pl__fail(ctx, PL_ERR_FORMAT, "'%s' is a symbolic link, which is not allowed here",
                        path);
    if (*fd < 0) return pl__io_fail(ctx, "opening", path);
    if (fstat(*fd, &info) != 0) {
        pl__io_fail(ctx, "looking at", path);
        pl__file_close(fd);
        return PL_ERR_IO;
    }
    if (!S_ISREG(info.st_mode)) {
        pl__file_close(fd);
        return pl__fail(ctx, PL_ERR_FORMAT, "'%s' is %s, not a regular file", path,
                        kind_name(info.st_mode));
    }
    *size = info.st_size;
    return PL_OK;
}

pl_status pl__file_pread(pl_ctx *ctx, int fd, const char *path, void *to, int64_t size,
                         int64_t offset)
{
    for (int64_t done = 0; done < size;) {
        PL_TRY(pl__check_interrupt(ctx));
        const ssize_t n = sys_move(ctx, fd, (char *)to + done, NULL, size - done, offset + done);
        if (n < 0) return pl__io_fail(ctx, "reading", path);
        if (n == 0)
            return pl__fail(ctx, PL_ERR_FORMAT, "'%s' ended at byte %lld while it was read", path,
                            (long long)(offset + done));
        done += n;
    }
    return PL_OK;
}

void pl__file_close(int *fd)
{
    if (*fd >= 0) close(*fd);
    *fd = -1;
}

pl_status pl_file_read(pl_ctx *ctx, char **data, size_t *size, const char *path, int64_t limit)
{
    pl_status st;
    int fd;
    int64_t length = 0;
    char *block = NULL;
    *data = NULL;
    *size = 0;
    PL_TRY(pl__file_open(ctx, &fd, &length, path, true));
    if (length > limit) {
        st = pl__fail(ctx, PL_ERR_FORMAT, "'%s' has %lld bytes, more than the %lld allowed here",
                      path, (long long)length, (long long)limit);
        goto done;
    }
    block = pl_alloc(ctx, (size_t)length + 1);
    if (block == NULL) {
        st = PL_ERR_NOMEM;
        goto done;
    }
    PL_GO(pl__file_pread(ctx, fd, path, block, length, 0));
    block[length] = '\0';
    *data = block;
    *size = (size_t)length;
    block = NULL;
done:
    pl_free(ctx, block);
    pl__file_close(&fd);
    return st;
}

/* --------------------------------------------------------------------------------------------
** Hashes
*/
void pl__hash_hex(char hex[PL_HASH_TEXT], XXH128_hash_t hash)
{
    snprintf(hex, PL_HASH_TEXT, "%016llx%016llx", (unsigned long long)hash.high64,
             (unsigned long long)hash.low64);
}

void pl_hash(char hex[PL_HASH_TEXT], const void *data, size_t size)
{
    pl__hash_hex(hex, XXH3_128bits(data, size));
}

pl_status pl__file_hash_fd(pl_ctx *ctx, char hex[PL_HASH_TEXT], int fd, const char *path,
                           int64_t size)
{
    pl_status st = PL_OK;
    XXH3_state_t *state = XXH3_createState();
    char *buffer = pl_alloc(ctx, (size_t)HASH_BUFFER);
    if (state == NULL || buffer == NULL) {
        st = pl__fail(ctx, PL_ERR_NOMEM, "hash of '%s': not enough memory", path);
        goto done;
    }
    XXH3_128bits_reset(state);
    for (int64_t at = 0; at < size; at += HASH_BUFFER) {
        const int64_t n = size - at < HASH_BUFFER ? size - at : HASH_BUFFER;
        PL_GO(pl__file_pread(ctx, fd, path, buffer, n, at));
        XXH3_128bits_update(state, buffer, (size_t)n);
    }
    pl__hash_hex(hex, XXH3_128bits_digest(state));
done:
    pl_free(ctx, buffer);
    XXH3_freeState(state);
    return st;
}

pl_status pl_file_hash(pl_ctx *ctx, char hex[PL_HASH_TEXT], const char *path)
{
    int fd;
    int64_t size = 0;
    PL_TRY(pl__file_open(ctx, &fd, &size, path, true));
    const pl_status st = pl__file_hash_fd(ctx, hex, fd, path, size);
    pl__file_close(&fd);
    return st;
}

/* --------------------------------------------------------------------------------------------
** Writing
*/
pl_status pl__file_sync(pl_ctx *ctx, int fd, const char *path)
{
    return sys_fsync(ctx, fd) == 0 ? PL_OK : pl__io_fail(ctx, "syncing", path);
}

pl_status pl__file_sync_folder(pl_ctx *ctx, const char *path)
{
    int fd = sys_open(ctx, path, O_RDONLY | O_DIRECTORY, 0);
    if (fd < 0) return pl__io_fail(ctx, "opening the folder", path);
    /* EINVAL: a file system that cannot sync folders. */
    if (sys_fsync(ctx, fd) != 0 && errno != EINVAL) {
        pl__io_fail(ctx, "syncing the folder", path);
        pl__file_close(&fd);
        return PL_ERR_IO;
    }
    pl__file_close(&fd);
    return PL_OK;
}

pl_status pl__file_rename(pl_ctx *ctx, const char *from, const char *to)
{
    return sys_rename(ctx, from, to) == 0 ? PL_OK : pl__io_fail(ctx, "renaming to", to);
}

pl_status pl__file_swap(pl_ctx *ctx, const char *tmp, const char *path)
{
    const bool bad = fault(ctx) && errno != 0;
    if (!bad && renameat2(AT_FDCWD, tmp, AT_FDCWD, path, RENAME_EXCHANGE) == 0) return PL_OK;
    if (bad || (errno != EINVAL && errno != ENOSYS))
        return pl__io_fail(ctx, "changing places with", path);
    char *aside = pl__tmp_name(ctx, path, "tmp-old", 0);
    if (aside == NULL) return PL_ERR_NOMEM;
    pl_status st;
    PL_GO(pl__file_rename(ctx, path, aside));
    if ((st = pl__file_rename(ctx, tmp, path)) != PL_OK) rename(aside, path);
    else rename(aside, tmp); /* both failures leave a folder to remove, not a lost one */
done:
    pl_free(ctx, aside);
    return st;
}

pl_status pl__folder_make(pl_ctx *ctx, const char *path)
{
    const bool bad = fault(ctx) && errno != 0;
    if (!bad && mkdir(path, 0777) == 0) return PL_OK;
    const int error = errno;
    pl__io_fail(ctx, "making the folder", path);
    errno = error;
    return PL_ERR_IO;
}

pl_status pl__file_append_open(pl_ctx *ctx, int *fd, const char *path, bool owner_only)
{
    struct stat info;
    /* O_NONBLOCK: opening a pipe must not wait for its reader. */
    *fd = sys_open(ctx, path, O_WRONLY | O_CREAT | O_APPEND | O_NONBLOCK, owner_only ? 0600 : 0666);
    if (*fd < 0 || fstat(*fd, &info) != 0) return pl__io_fail(ctx, "opening", path);
    if (S_ISREG(info.st_mode)) return PL_OK;
    return pl__fail(ctx, PL_ERR_FORMAT, "'%s' is %s, not a regular file", path,
                    kind_name(info.st_mode));
}

pl_status pl__file_put(pl_ctx *ctx, int fd, const char *path, const void *data, size_t size,
                       size_t *done)
{
    const ssize_t n =
        sys_move(ctx, fd, NULL, (const char *)data + *done, (int64_t)(size - *done), 0);
    if (n == 0) errno = EIO;
    if (n <= 0) return pl__io_fail(ctx, "writing", path);
    *done += (size_t)n;
    return PL_OK;
}

pl_status pl_file_rename(pl_ctx *ctx, const char *from, const char *to)
{
    pl_status st = PL_ERR_NOMEM;
    char *parent = pl__parent_name(ctx, to), *former = pl__parent_name(ctx, from);
    if (parent == NULL || former == NULL) goto done;
    PL_GO(pl__file_rename(ctx, from, to));
    PL_GO(pl__file_sync_folder(ctx, parent));
    if (strcmp(parent, former) != 0) st = pl__file_sync_folder(ctx, former);
done:
    pl_free(ctx, parent);
    pl_free(ctx, former);
    return st;
}

pl_status pl_file_remove(pl_ctx *ctx, const char *path)
{
    return sys_unlink(ctx, path) == 0 || errno == ENOENT ? PL_OK
                                                         : pl__io_fail(ctx, "removing", path);
}

pl_status pl__writer_open(pl_ctx *ctx, pl__writer *w, const char *path)
{
    struct stat info;
    *w = (pl__writer){.ctx = ctx, .fd = -1, .path = path};
    const bool stood = stat(path, &info) == 0;
    if (stood && !S_ISREG(info.st_mode))
        return pl__fail(ctx, PL_ERR_IO, "writing '%s': it is %s, which is not replaced by a file",
                        path, kind_name(info.st_mode));
    pl__sweep_beside(path);
    for (int n = 0; n < MAX_NAMES; n++) {
        w->tmp = pl__tmp_name(ctx, path, "tmp", n);
        if (w->tmp == NULL) return PL_ERR_NOMEM;
        w->fd = sys_open(ctx, w->tmp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0666);
        if (w->fd >= 0 && stood && sys_fchmod(ctx, w->fd, info.st_mode & 07777) != 0) break;
        if (w->fd >= 0) return PL_OK;
        const int error = errno;
        pl_free(ctx, w->tmp);
        w->tmp = NULL;
        errno = error;
        if (error != EEXIST) break;
    }
    return pl__io_fail(ctx, "making a file beside", path);
}

pl_status pl__writer_put(pl__writer *w, const void *data, size_t size)
{
    for (size_t done = 0; done < size;) {
        PL_TRY(pl__check_interrupt(w->ctx));
        PL_TRY(pl__file_put(w->ctx, w->fd, w->path, data, size, &done));
    }
    return PL_OK;
}

pl_status pl__writer_commit(pl__writer *w)
{
    pl_status st;
    char *parent = pl__parent_name(w->ctx, w->path);
    if (parent == NULL) return PL_ERR_NOMEM;
    PL_GO(pl__file_sync(w->ctx, w->fd, w->path));
    const int fd = w->fd;
    w->fd = -1;
    if (sys_close(w->ctx, fd) != 0) {
        st = pl__io_fail(w->ctx, "closing", w->path);
        goto done;
    }
    PL_GO(pl__file_rename(w->ctx, w->tmp, w->path));
    pl_free(w->ctx, w->tmp);
    w->tmp = NULL;
    st = pl__file_sync_folder(w->ctx, parent);
done:
    pl_free(w->ctx, parent);
    return st;
}

void pl__writer_abort(pl__writer *w)
{
    pl__file_close(&w->fd);
    if (w->tmp != NULL) unlink(w->tmp);
    pl_free(w->ctx, w->tmp);
    w->tmp = NULL;
}

pl_status pl_file_write(pl_ctx *ctx, const char *path, const void *data, size_t size)
{
    pl_status st;
    pl__writer w;
    PL_GO(pl__writer_open(ctx, &w, path));
    PL_GO(pl__writer_put(&w, data, size));
    st = pl__writer_commit(&w);
done:
    pl__writer_abort(&w);
    return st;
}

pl_status pl_file_copy(pl_ctx *ctx, const char *to, const char *from)
{
    pl_status st;
    pl__writer w = {.ctx = ctx, .fd = -1};
    int fd = -1;
    int64_t size = 0;
    char *buffer = pl_alloc(ctx, (size_t)HASH_BUFFER);
    if (buffer == NULL) return PL_ERR_NOMEM;
    PL_GO(pl__file_open(ctx, &fd, &size, from, true));
    PL_GO(pl__writer_open(ctx, &w, to));
    for (int64_t at = 0; at < size; at += HASH_BUFFER) {
        const int64_t n = size - at < HASH_BUFFER ? size - at : HASH_BUFFER;
        PL_GO(pl__file_pread(ctx, fd, from, buffer, n, at));
        PL_GO(pl__writer_put(&w, buffer, (size_t)n));
    }
    st = pl__writer_commit(&w);
done:
    pl__writer_abort(&w);
    pl__file_close(&fd);
    pl_free(ctx, buffer);
    return st;
}
