/*
** http.c - a web server for one person on one machine: pages, actions, and events as they come.
**
** It listens on 127.0.0.1 alone. Each request must name a host of this machine with our port (a
** page of elsewhere whose name was made to lead here does not), come from a page of ours where it
** names an origin, and begin with the token; what fails gets 403 and is never seen by the caller.
** Nothing is read from the disk.
**
** civetweb has a thread for each connection; the caller has one of its own. They meet in fixed
** places under one lock: a request waits in a slot until the caller takes and answers it, an event
** stands in a ring from which the connections of viewers (text/event-stream) copy. Memory is taken
** and given back by the caller's thread alone, all sizes are bounded, and nobody waits for a viewer
** who does not read: his connection ends when the ring has gone past him.
*/
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/http.h"

static int quiet(const struct mg_connection *conn, const char *message)
{
    (void)conn;
    (void)message;
    return 1;
}

/* ---- What the caller does -------------------------------------------------------------------- */

static pl_status make_token(pl_http *http, const char *token)
{
    unsigned char bytes[PL_HTTP_TOKEN / 2];
    if (token) {
        if (strlen(token) != PL_HTTP_TOKEN || strspn(token, "0123456789abcdef") != PL_HTTP_TOKEN)
            return pl__fail(http->ctx, PL_ERR_ARG, "a token has %d hexadecimal digits",
                            PL_HTTP_TOKEN);
        memcpy(http->token, token, PL_HTTP_TOKEN + 1);
        return PL_OK;
    }
    if (getrandom(bytes, sizeof bytes, 0) != (ssize_t)sizeof bytes)
        return pl__fail(http->ctx, PL_ERR_IO, "no random bytes for a token: %s", strerror(errno));
    for (size_t i = 0; i < sizeof bytes; i++) snprintf(http->token + 2 * i, 3, "%02x", bytes[i]);
    return PL_OK;
}

static void free_memory(pl_http *http)
{
    for (int i = 0; i < SLOTS; i++) pl_free(http->ctx, http->slots[i].answer);
    for (int i = 0; i < EVENTS; i++) pl_free(http->ctx, http->ring[i].text);
    pl_free(http->ctx, http->bodies);
    pthread_cond_destroy(&http->asked);
    pthread_cond_destroy(&http->told);
    pthread_mutex_destroy(&http->lock);
    pl_free(http->ctx, http);
}

static pl_status start(pl_http *http, int port)
{
    char listen[32];
    snprintf(listen, sizeof listen, "127.0.0.1:%d", port);
    const char *options[] = {"listening_ports",
                             listen,
                             "num_threads",
                             THREADS,
                             "enable_keep_alive",
                             "no",
                             "request_timeout_ms",
                             "10000",
                             "tcp_nodelay",
                             "1",
                             NULL};
    const struct mg_callbacks callbacks = {.begin_request = pl__http_serve, .log_message = quiet};
    /* Signals are for the caller's thread: civetweb's inherit this mask. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    mg_init_library(0);
    errno = 0;
    http->server = mg_start(&callbacks, http, options);
    const int code = errno;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    struct mg_server_port found;
    if (http->server == NULL || mg_get_server_ports(http->server, 1, &found) != 1) {
        if (http->server) mg_stop(http->server);
        mg_exit_library();
        return pl__fail(http->ctx, PL_ERR_IO, "port %d of 127.0.0.1 cannot be listened on%s%s",
                        port, code ? ": " : "", code ? strerror(code) : "");
    }
    http->port = found.port;
    return PL_OK;
}

pl_status pl_http_open(pl_ctx *ctx, pl_http **out, int port, const char *token)
{
    pl_status st = PL_ERR_NOMEM;
    *out = NULL;
    if (port < 0 || port > 65535) return pl__fail(ctx, PL_ERR_ARG, "%d is no port", port);
    pl_http *http = pl_calloc(ctx, 1, sizeof *http);
    if (http == NULL) return PL_ERR_NOMEM;
    http->ctx = ctx;
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&http->lock, NULL);
    pthread_cond_init(&http->asked, &monotonic);
    pthread_cond_init(&http->told, &monotonic);
    pthread_condattr_destroy(&monotonic);
    http->bodies = pl_alloc(ctx, SLOTS * BODY);
    if (http->bodies == NULL) goto done;
    for (int i = 0; i < SLOTS; i++) http->slots[i].body = http->bodies + (size_t)i * BODY;
    PL_GO(make_token(http, token));
    /* The names wait for the port, and the first request for the lock. */
    pthread_mutex_lock(&http->lock);
    st = start(http, port);
    for (int i = 0; i < 2; i++) {
        const char *name = i ? "localhost" : "127.0.0.1";
        snprintf(http->hosts[i], sizeof http->hosts[i], "%s:%d", name, http->port);
        snprintf(http->origins[i], sizeof http->origins[i], "http://%s:%d", name, http->port);
    }
    pthread_mutex_unlock(&http->lock);
    if (st != PL_OK) goto done;
    *out = http;
    http = NULL;
done:
    if (http) free_memory(http);
    return st;
}

/* civetweb looks only every two seconds whether it shall stop, or when somebody connects. */
static void *wake(void *data)
{
    pl_http *http = data;
    const struct sockaddr_in here = {.sin_family = AF_INET,
                                     .sin_port = htons((uint16_t)http->port),
                                     .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    bool stopped = false;
    while (!stopped) {
        const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd >= 0) {
            (void)connect(fd, (const struct sockaddr *)&here, sizeof here);
            close(fd);
        }
        nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
        pthread_mutex_lock(&http->lock);
        stopped = http->stopped;
        pthread_mutex_unlock(&http->lock);
    }
    return NULL;
}

void pl_http_close(pl_http *http)
{
    if (http == NULL) return;
    pthread_t waker;
    pthread_mutex_lock(&http->lock);
    http->closing = true;
    pthread_cond_broadcast(&http->told);
    pthread_mutex_unlock(&http->lock);
    const bool wakes = pthread_create(&waker, NULL, wake, http) == 0;
    mg_stop(http->server); /* waits for its threads */
    mg_exit_library();
    pthread_mutex_lock(&http->lock);
    http->stopped = true;
    pthread_mutex_unlock(&http->lock);
    if (wakes) pthread_join(waker, NULL);
    free_memory(http);
}

int pl_http_port(const pl_http *http)
{
    return http->port;
}

const char *pl_http_token(const pl_http *http)
{
    return http->token;
}

int64_t pl_http_viewers(pl_http *http)
{
    pthread_mutex_lock(&http->lock);
    const int64_t n = http->viewers;
    pthread_mutex_unlock(&http->lock);
    return n;
}

/* Gives back what answered slots hold; the lock is held. */
static void sweep(pl_http *http)
{
    for (int i = 0; i < SLOTS; i++) {
        slot *s = &http->slots[i];
        if (s->state != DONE) continue;
        pl_free(http->ctx, s->answer);
        s->answer = NULL;
        s->state = FREE;
    }
}

static slot *oldest_waiting(pl_http *http)
{
    slot *found = NULL;
    for (int i = 0; i < SLOTS; i++) {
        slot *s = &http->slots[i];
        if (s->state == WAITING && (found == NULL || s->number < found->number)) found = s;
    }
    return found;
}

pl_status pl_http_next(pl_http *http, pl_http_request *request, double seconds)
{
    const double until = now() + seconds;
    slot *s;
    memset(request, 0, sizeof *request);
    pthread_mutex_lock(&http->lock);
    sweep(http);
    while ((s = oldest_waiting(http)) == NULL) {
        const double left = until - now();
        if (left <= 0) break;
        wait_for(http, &http->asked, left < 0.1 ? left : 0.1);
        if (http->ctx->interrupted) break;
    }
    if (s) {
        s->state = TAKEN;
        *request = (pl_http_request){.number = s->number,
                                     .post = s->post,
                                     .path = s->path,
                                     .query = s->query,
                                     .body = s->body,
                                     .body_size = s->body_size};
    }
    pthread_mutex_unlock(&http->lock);
    return s ? PL_OK : pl__check_interrupt(http->ctx);
}

static bool is_plain(const char *text, size_t room)
{
    return strlen(text) < room && strpbrk(text, "\r\n") == NULL;
}

pl_status pl_http_answer(pl_http *http, int64_t number, int status, const char *type,
                         const char *policy, const void *body, size_t size)
{
    pl_ctx *ctx = http->ctx;
    slot *s = NULL;
    if (status < 200 || status > 599) return pl__fail(ctx, PL_ERR_ARG, "%d is no status", status);
    if (!is_plain(type, sizeof s->type) || !is_plain(policy, sizeof s->policy))
        return pl__fail(ctx, PL_ERR_ARG, "a header is too long, or of several lines");
    char *copy = pl_alloc(ctx, size ? size : 1);
    if (copy == NULL) return PL_ERR_NOMEM;
    memcpy(copy, body, size);
    pthread_mutex_lock(&http->lock);
    for (int i = 0; i < SLOTS; i++) {
        if (http->slots[i].state == TAKEN && http->slots[i].number == number) s = &http->slots[i];
    }
    if (s && !s->left) {
        s->status = status;
        snprintf(s->type, sizeof s->type, "%s", type);
        snprintf(s->policy, sizeof s->policy, "%s", policy);
        s->answer = copy;
        s->answer_size = size;
        s->state = ANSWERED;
        copy = NULL;
        pthread_cond_broadcast(&http->told);
    } else if (s) {
        s->state = FREE;
    }
    pthread_mutex_unlock(&http->lock);
    pl_free(ctx, copy);
    return s ? PL_OK
             : pl__fail(ctx, PL_ERR_ARG, "request %lld waits for no answer", (long long)number);
}

/* Takes the oldest events out until there is room; the lock is held. */
static void make_room(pl_http *http, size_t size)
{
    int64_t first = http->events + 1 > EVENTS ? http->events + 1 - EVENTS : 1;
    for (int64_t i = first; i <= http->events; i++) {
        event *e = &http->ring[i % EVENTS];
        if (e->number != i) continue;
        if (http->events + 1 - i < EVENTS && http->event_bytes + size <= EVENT_BYTES) break;
        http->event_bytes -= e->size;
        pl_free(http->ctx, e->text);
        *e = (event){0};
    }
}

pl_status pl_http_publish(pl_http *http, const char *name, const char *text, size_t size)
{
    pl_ctx *ctx = http->ctx;
    if (!is_plain(name, 64) || memchr(text, '\n', size) || memchr(text, '\r', size))
        return pl__fail(ctx, PL_ERR_ARG, "an event is one line");
    const size_t room = size + 128;
    if (size > EVENT_BYTES / 4)
        return pl__fail(ctx, PL_ERR_ARG, "an event of %zu bytes is too long", size);
    char *copy = pl_alloc(ctx, room);
    if (copy == NULL) return PL_ERR_NOMEM;
    const int head =
        snprintf(copy, room, "id: %lld\nevent: %s\ndata: ", (long long)(http->events + 1), name);
    memcpy(copy + head, text, size);
    memcpy(copy + head + size, "\n\n", 2);
    const size_t all = (size_t)head + size + 2;
    pthread_mutex_lock(&http->lock);
    make_room(http, all);
    const int64_t number = ++http->events;
    http->ring[number % EVENTS] = (event){.number = number, .text = copy, .size = all};
    http->event_bytes += all;
    pthread_cond_broadcast(&http->told);
    pthread_mutex_unlock(&http->lock);
    return PL_OK;
}

int64_t pl_http_events(const pl_http *http)
{
    return http->events; /* the caller's thread alone changes it */
}
