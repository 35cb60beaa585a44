/*
** socket.c - lines of text between programs of one user on one machine, by Unix-domain sockets.
**
** Nothing here blocks but pl_net_wait, and nothing grows without bound: a channel keeps at most
** PL_CHANNEL_LINE bytes of a line that has no end yet and PL_CHANNEL_BACKLOG bytes that the other
** side does not read; past either it is broken, and says so from then on. A peer that is gone is an
** error of the call, never a SIGPIPE.
**
** The socket's file has mode 0600 from the moment it is there: on Linux bind takes the mode of the
** descriptor. File systems that know no modes are not trusted: who connects must be the same user
** (or root). A path longer than sun_path is reached through its folder's descriptor in /proc.
*/
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/ctx.h"
#include "base/path.h"

#define WAITING 8            /* connections the kernel holds until they are accepted */
#define PORTION (64 << 10)   /* bytes of one read */
#define MOST_WATCHED 64      /* places of pl_net_wait */
#define MOST_SECONDS 1000000 /* of a wait, so that milliseconds fit */

struct pl_listener {
    pl_ctx *ctx;
    char *path;
    int fd;
    dev_t device; /* the file it made, which it removes */
    ino_t inode;
};

typedef struct {
    char *bytes;
    size_t from, to, room; /* bytes[from .. to) are held */
} queue;

struct pl_channel {
    pl_ctx *ctx;
    int fd;
    queue in, out;
    bool ended;        /* the other side sends no more */
    const char *fault; /* why it is broken; NULL while it is not */
};

static pl_status fail(pl_ctx *ctx, const char *doing, const char *path)
{
    return pl__fail(ctx, PL_ERR_IO, "%s '%s': %s", doing, path, strerror(errno));
}

static void close_fd(int *fd)
{
    if (*fd >= 0) close(*fd);
    *fd = -1;
}

/* The address of a path; *folder is a descriptor it needs, to be closed after use, or -1. */
static pl_status address_of(pl_ctx *ctx, struct sockaddr_un *address, int *folder, const char *path)
{
    *folder = -1;
    memset(address, 0, sizeof *address);
    address->sun_family = AF_UNIX;
    if (strlen(path) < sizeof address->sun_path) {
        memcpy(address->sun_path, path, strlen(path));
        return PL_OK;
    }
    const char *slash = strrchr(path, '/');
    char *parent = slash ? pl__parent_name(ctx, path) : NULL;
    if (slash && parent == NULL) return PL_ERR_NOMEM;
    const int fd = parent ? open(parent, O_PATH | O_DIRECTORY | O_CLOEXEC) : -1;
    pl_free(ctx, parent);
    if (fd < 0)
        return slash ? fail(ctx, "opening the folder of", path)
                     : pl__fail(ctx, PL_ERR_ARG, "'%s' is too long a name for a socket", path);
    const int n =
        snprintf(address->sun_path, sizeof address->sun_path, "/proc/self/fd/%d/%s", fd, slash + 1);
    *folder = fd;
    if (n < (int)sizeof address->sun_path) return PL_OK;
    return pl__fail(ctx, PL_ERR_ARG, "'%s' is too long a name for a socket", slash + 1);
}

static int open_socket(void)
{
    return socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
}

/* ---- Listening ------------------------------------------------------------------------------- */

/* Whether what stands at the address may be replaced: a socket that no process serves. */
static pl_status check_stale(pl_ctx *ctx, const struct sockaddr_un *address, const char *path)
{
    struct stat info;
    if (lstat(address->sun_path, &info) != 0)
        return errno == ENOENT ? PL_OK : fail(ctx, "looking at", path);
    if (!S_ISSOCK(info.st_mode))
        return pl__fail(ctx, PL_ERR_IO, "'%s' is there already and no socket", path);
    int probe = open_socket();
    if (probe < 0) return fail(ctx, "opening a socket for", path);
    const int code =
        connect(probe, (const struct sockaddr *)address, sizeof *address) == 0 ? 0 : errno;
    close_fd(&probe);
    if (code == 0 || code == EAGAIN)
        return pl__fail(ctx, PL_ERR_IO, "'%s' is served by a process that runs", path);
    errno = code;
    return code == ECONNREFUSED ? PL_OK : fail(ctx, "looking at", path);
}

static pl_status bind_to(pl_listener *listener, const struct sockaddr_un *address)
{
    pl_ctx *ctx = listener->ctx;
    const struct sockaddr *at = (const struct sockaddr *)address;
    struct stat info;
    if (fchmod(listener->fd, 0600) != 0) return fail(ctx, "keeping others from", listener->path);
    if (bind(listener->fd, at, sizeof *address) != 0) {
        if (errno != EADDRINUSE) return fail(ctx, "making", listener->path);
        PL_TRY(check_stale(ctx, address, listener->path));
        if (unlink(address->sun_path) != 0 && errno != ENOENT)
            return fail(ctx, "removing", listener->path);
        if (bind(listener->fd, at, sizeof *address) != 0)
            return fail(ctx, "making", listener->path);
    }
    if (lstat(address->sun_path, &info) != 0) return fail(ctx, "looking at", listener->path);
    listener->device = info.st_dev;
    listener->inode = info.st_ino;
    return listen(listener->fd, WAITING) == 0 ? PL_OK : fail(ctx, "listening at", listener->path);
}

pl_status pl_listen(pl_ctx *ctx, pl_listener **out, const char *path)
{
    pl_status st = PL_ERR_NOMEM;
    struct sockaddr_un address;
    int folder = -1;
    *out = NULL;
    pl_listener *listener = pl_calloc(ctx, 1, sizeof *listener);
    if (listener == NULL) return PL_ERR_NOMEM;
    listener->ctx = ctx;
    listener->fd = -1;
    listener->path = pl_strndup(ctx, path, strlen(path));
    if (listener->path == NULL) goto done;
    PL_GO(address_of(ctx, &address, &folder, path));
    listener->fd = open_socket();
    if (listener->fd < 0) PL_GO(fail(ctx, "opening a socket for", path));
    PL_GO(bind_to(listener, &address));
    *out = listener;
    listener = NULL;
done:
    close_fd(&folder);
    pl_listener_close(listener);
    return st;
}

void pl_listener_close(pl_listener *listener)
{
    struct stat info;
    if (listener == NULL) return;
    if (listener->inode != 0 && lstat(listener->path, &info) == 0 &&
        info.st_ino == listener->inode && info.st_dev == listener->device)
        unlink(listener->path);
    close_fd(&listener->fd);
    pl_free(listener->ctx, listener->path);
    pl_free(listener->ctx, listener);
}

/* ---- Channels -------------------------------------------------------------------------------- */

static pl_status new_channel(pl_ctx *ctx, pl_channel **out, int fd)
{
    *out = pl_calloc(ctx, 1, sizeof **out);
    if (*out == NULL) {
        close_fd(&fd);
        return PL_ERR_NOMEM;
    }
    (*out)->ctx = ctx;
    (*out)->fd = fd;
    return PL_OK;
}

static bool same_user(int fd)
{
    struct ucred peer;
    socklen_t size = sizeof peer;
    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 &&
           (peer.uid == geteuid() || peer.uid == 0);
}

pl_status pl_accept(pl_listener *listener, pl_channel **out)
{
    *out = NULL;
    for (int tries = 0; tries < WAITING; tries++) {
        int fd = accept4(listener->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd < 0 && (errno == EINTR || errno == ECONNABORTED)) continue;
        if (fd < 0)
            return errno == EAGAIN ? PL_OK : fail(listener->ctx, "accepting at", listener->path);
        if (same_user(fd)) return new_channel(listener->ctx, out, fd);
        close_fd(&fd);
    }
    return PL_OK;
}

pl_status pl_connect(pl_ctx *ctx, pl_channel **out, const char *path)
{
    pl_status st = PL_OK;
    struct sockaddr_un address;
    int folder = -1, fd = -1;
    *out = NULL;
    PL_GO(address_of(ctx, &address, &folder, path));
    fd = open_socket();
    if (fd < 0) PL_GO(fail(ctx, "opening a socket for", path));
    if (connect(fd, (const struct sockaddr *)&address, sizeof address) != 0)
        PL_GO(fail(ctx, "connecting to", path));
    if (!same_user(fd))
        PL_GO(pl__fail(ctx, PL_ERR_IO, "'%s' is served by another user's process", path));
    st = new_channel(ctx, out, fd);
    fd = -1;
done:
    close_fd(&fd);
    close_fd(&folder);
    return st;
}

void pl_channel_close(pl_channel *channel)
{
    if (channel == NULL) return;
    close_fd(&channel->fd);
    pl_free(channel->ctx, channel->in.bytes);
    pl_free(channel->ctx, channel->out.bytes);
    pl_free(channel->ctx, channel);
}

static pl_status broken(pl_channel *channel, const char *fault)
{
    if (channel->fault == NULL) channel->fault = fault;
    return pl__fail(channel->ctx, PL_ERR_IO, "%s", channel->fault);
}

/* Makes room for `size` more bytes behind those that are held. */
static bool make_room(pl_ctx *ctx, queue *q, size_t size)
{
    if (q->from > 0) {
        memmove(q->bytes, q->bytes + q->from, q->to - q->from);
        q->to -= q->from;
        q->from = 0;
    }
    if (q->room - q->to >= size) return true;
    size_t room = q->room ? q->room : 1024;
    while (room - q->to < size) room *= 2;
    char *bytes = pl_realloc(ctx, q->bytes, room);
    if (bytes == NULL) return false;
    q->bytes = bytes;
    q->room = room;
    return true;
}

pl_status pl_channel_flush(pl_channel *channel, bool *empty)
{
    queue *out = &channel->out;
    *empty = false;
    if (channel->fault) return broken(channel, NULL);
    while (out->from < out->to) {
        const ssize_t n = send(channel->fd, out->bytes + out->from, out->to - out->from,
                               MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && errno == EAGAIN) return PL_OK;
        if (n < 0) return broken(channel, "the other side has gone");
        out->from += (size_t)n;
    }
    *empty = true;
    return PL_OK;
}

pl_status pl_channel_send(pl_channel *channel, const void *bytes, size_t size)
{
    queue *out = &channel->out;
    bool empty;
    if (channel->fault) return broken(channel, NULL);
    if (size > PL_CHANNEL_BACKLOG || out->to - out->from > PL_CHANNEL_BACKLOG - size)
        return broken(channel, "the other side does not read");
    if (size > 0) {
        if (!make_room(channel->ctx, out, size)) return PL_ERR_NOMEM;
        memcpy(out->bytes + out->to, bytes, size);
        out->to += size;
    }
    return pl_channel_flush(channel, &empty);
}

/* Takes the first whole line out of what was read. */
static bool take_line(queue *in, const char **line, size_t *size)
{
    const char *end =
        in->to > in->from ? memchr(in->bytes + in->from, '\n', in->to - in->from) : NULL;
    if (end == NULL) return false;
    *line = in->bytes + in->from;
    *size = (size_t)(end - *line);
    in->from += *size + 1;
    return true;
}

pl_status pl_channel_line(pl_channel *channel, const char **line, size_t *size)
{
    queue *in = &channel->in;
    *line = NULL;
    *size = 0;
    if (take_line(in, line, size)) return PL_OK;
    while (!channel->fault && !channel->ended) {
        if (in->to - in->from >= PL_CHANNEL_LINE)
            return broken(channel, "the other side sent too long a line");
        if (!make_room(channel->ctx, in, PORTION)) return PL_ERR_NOMEM;
        const ssize_t n = recv(channel->fd, in->bytes + in->to, PORTION, MSG_DONTWAIT);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && errno == EAGAIN) return PL_OK;
        if (n <= 0) {
            channel->ended = true;
            break;
        }
        in->to += (size_t)n;
        if (take_line(in, line, size)) return PL_OK;
    }
    return broken(channel, "the other side has gone");
}

pl_status pl_channel_alarm(pl_channel *channel, bool on)
{
    const int flags = fcntl(channel->fd, F_GETFL);
    if (flags < 0 || fcntl(channel->fd, F_SETOWN, getpid()) != 0 ||
        fcntl(channel->fd, F_SETSIG, SIGURG) != 0 ||
        fcntl(channel->fd, F_SETFL, on ? flags | O_ASYNC : flags & ~O_ASYNC) != 0)
        return fail(channel->ctx, "setting the alarm of", "a channel");
    return PL_OK;
}

/* ---- Waiting --------------------------------------------------------------------------------- */

pl_status pl_net_wait(pl_ctx *ctx, pl_listener *listener, pl_channel *const *channels, int64_t n,
                      double seconds, bool *ready)
{
    struct pollfd places[MOST_WATCHED];
    nfds_t count = 0;
    *ready = false;
    if (n < 0 || n >= MOST_WATCHED)
        return pl__fail(ctx, PL_ERR_ARG, "net_wait: at most %d channels", MOST_WATCHED - 1);
    if (!(seconds >= 0 && seconds <= MOST_SECONDS))
        return pl__fail(ctx, PL_ERR_ARG, "net_wait: %g is no number of seconds", seconds);
    if (listener) places[count++] = (struct pollfd){.fd = listener->fd, .events = POLLIN};
    for (int64_t i = 0; i < n; i++) {
        const queue *in = &channels[i]->in, *out = &channels[i]->out;
        if (channels[i]->ended || channels[i]->fault) *ready = true;
        if (in->to > in->from && memchr(in->bytes + in->from, '\n', in->to - in->from))
            *ready = true;
        places[count++] = (struct pollfd){
            .fd = channels[i]->fd, .events = out->to > out->from ? POLLIN | POLLOUT : POLLIN};
    }
    const int found = poll(places, count, *ready ? 0 : (int)ceil(seconds * 1000));
    if (found < 0 && errno != EINTR)
        return pl__fail(ctx, PL_ERR_IO, "waiting for a channel: %s", strerror(errno));
    *ready = *ready || found > 0;
    return PL_OK;
}
