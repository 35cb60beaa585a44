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
#include <arpa/inet.h>
#include <civetweb.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/ctx.h"

#define SLOTS 16                      /* requests at a time */
#define VIEWERS 8                     /* connections that are told events, at most */
#define THREADS "32"                  /* more than both, so that a refusal can be said */
#define EVENTS 1024                   /* in the ring, */
#define EVENT_BYTES ((size_t)8 << 20) /* of all of them */
#define BODY ((size_t)64 << 10)
#define PATIENCE 30.0 /* seconds a request waits for its answer */
#define HEARTBEAT \
    5.0 /* seconds after which an idle viewer is written to, to see whether he is there */

typedef enum { FREE, FILLING, WAITING, TAKEN, ANSWERED, DONE } slot_state;

typedef struct {
    slot_state state;
    bool left; /* the connection waits no longer */
    int64_t number;
    bool post;
    char path[256], query[1024];
    char *body; /* BODY bytes, kept */
    size_t body_size;
    int status;
    char type[64], policy[512];
    char *answer; /* the caller's thread frees it */
    size_t answer_size;
} slot;

typedef struct {
    int64_t number; /* from 1; 0: nothing is here */
    char *text;
    size_t size;
} event;

struct pl_http {
    pl_ctx *ctx;
    struct mg_context *server;
    int port;
    char token[PL_HTTP_TOKEN + 1];
    char hosts[2][32], origins[2][40];
    pthread_mutex_t lock;
    pthread_cond_t asked, told; /* a request waits; an answer, an event, or the end */
    bool closing, stopped;
    int viewers;
    int64_t requests, events;
    size_t event_bytes;
    slot slots[SLOTS];
    event ring[EVENTS];
    char *bodies;
};

/* Waits at most so long; the lock is held. */
static void wait_for(pl_http *http, pthread_cond_t *what, double seconds)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    const int64_t ns = until.tv_nsec + (int64_t)(seconds * 1e9);
    until.tv_sec += ns / 1000000000;
    until.tv_nsec = ns % 1000000000;
    pthread_cond_timedwait(what, &http->lock, &until);
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- What a connection's thread does --------------------------------------------------------- */

static const char *reason(int status)
{
    switch (status) {
    case 200: return "OK";
    case 403: return "Forbidden";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 413: return "Content Too Large";
    case 415: return "Unsupported Media Type";
    case 503: return "Service Unavailable";
    default: return status < 400 ? "OK" : "Error";
    }
}

static void send_head(struct mg_connection *conn, int status, const char *type, const char *policy)
{
    mg_printf(
        conn,
        "HTTP/1.1 %d %s\r\nContent-Type: %s\r\nConnection: close\r\nCache-Control: no-store\r\n"
        "X-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\n"
        "X-Frame-Options: DENY\r\nCross-Origin-Resource-Policy: same-origin\r\n"
        "Content-Security-Policy: %s\r\n",
        status, reason(status), type, policy[0] ? policy : "default-src 'none'");
}

static int send_text(struct mg_connection *conn, int status, const char *text)
{
    send_head(conn, status, "text/plain; charset=utf-8", "");
    mg_printf(conn, "Content-Length: %zu\r\n\r\n%s\n", strlen(text) + 1, text);
    return status;
}

static bool one_of(const char *text, const char *first, const char *second)
{
    return strcmp(text, first) == 0 || strcmp(text, second) == 0;
}

/* Takes as long for a wrong token as for the right one. */
static bool same_token(const char *token, const char *text)
{
    unsigned differs = 0;
    for (int i = 0; i < PL_HTTP_TOKEN; i++) {
        if (text[i] == '\0') return false;
        differs |= (unsigned)(token[i] ^ text[i]);
    }
    return differs == 0;
}

/* What stands behind the token in the request's path; NULL when the request is not ours. */
static const char *path_of(pl_http *http, struct mg_connection *conn)
{
    const struct mg_request_info *info = mg_get_request_info(conn);
    const char *host = mg_get_header(conn, "Host"), *origin = mg_get_header(conn, "Origin");
    const char *uri = info->request_uri;
    pthread_mutex_lock(&http->lock); /* a request may come before open knows the port */
    pthread_mutex_unlock(&http->lock);
    if (host == NULL || !one_of(host, http->hosts[0], http->hosts[1])) return NULL;
    if (origin && !one_of(origin, http->origins[0], http->origins[1])) return NULL;
    if (uri == NULL || uri[0] != '/' || !same_token(http->token, uri + 1)) return NULL;
    uri += 1 + PL_HTTP_TOKEN;
    return *uri == '/' ? uri + 1 : NULL;
}

/* Copies an event's bytes from `at` on; 0 at its end, -1 when the ring has gone past it. */
static int copy_event(pl_http *http, int64_t number, size_t at, char *into, size_t room)
{
    int n = -1;
    pthread_mutex_lock(&http->lock);
    const event *e = &http->ring[number % EVENTS];
    if (e->number == number) {
        const size_t left = e->size - at;
        n = (int)(left < room ? left : room);
        memcpy(into, e->text + at, (size_t)n);
    }
    pthread_mutex_unlock(&http->lock);
    return n;
}

static bool send_event(pl_http *http, struct mg_connection *conn, int64_t number)
{
    char piece[4096]; /* a worker of civetweb has 100 KB of stack, its library's TLS included */
    size_t at = 0;
    for (;;) {
        const int n = copy_event(http, number, at, piece, sizeof piece);
        if (n < 0) return false;
        if (n == 0) return true;
        if (mg_write(conn, piece, (size_t)n) != n) return false;
        at += (size_t)n;
    }
}

/* Whether the ring still has everything after `seen`; the lock is held. */
static bool has_all_after(const pl_http *http, int64_t seen)
{
    return seen >= 0 && seen <= http->events &&
           (seen == http->events || http->ring[(seen + 1) % EVENTS].number == seen + 1);
}

/* Tells events after `seen` until the viewer goes, falls behind, or the server closes. */
static void stream(pl_http *http, struct mg_connection *conn, int64_t seen)
{
    static const char anew[] = "event: reload\ndata: {}\n\n", beat[] = ": here\n\n";
    for (;;) {
        pthread_mutex_lock(&http->lock);
        if (!http->closing && http->events == seen) wait_for(http, &http->told, HEARTBEAT);
        const bool closing = http->closing, all = has_all_after(http, seen);
        const bool more = http->events > seen;
        pthread_mutex_unlock(&http->lock);
        if (closing) return;
        if (!all) {
            mg_write(conn, anew, sizeof anew - 1);
            return;
        }
        if (more) {
            if (!send_event(http, conn, seen + 1)) return;
            seen++;
        } else if (mg_write(conn, beat, sizeof beat - 1) <= 0) {
            return;
        }
    }
}

static int serve_events(pl_http *http, struct mg_connection *conn, const char *query)
{
    const char *last = mg_get_header(conn, "Last-Event-ID");
    char text[24] = "-1";
    if (last == NULL && query && mg_get_var(query, strlen(query), "after", text, sizeof text) > 0)
        last = text;
    pthread_mutex_lock(&http->lock);
    const bool full = http->viewers >= VIEWERS || http->closing;
    if (!full) http->viewers++;
    const int64_t seen = last ? strtoll(last, NULL, 10) : http->events;
    pthread_mutex_unlock(&http->lock);
    if (full) return send_text(conn, 503, "too many pages of this run are open");
    send_head(conn, 200, "text/event-stream; charset=utf-8", "");
    mg_printf(conn, "\r\nretry: 1000\n\n");
    stream(http, conn, seen);
    pthread_mutex_lock(&http->lock);
    http->viewers--;
    pthread_mutex_unlock(&http->lock);
    return 200;
}

/* A slot that is now FILLING; NULL when all are in use. */
static slot *take_slot(pl_http *http)
{
    slot *found = NULL;
    pthread_mutex_lock(&http->lock);
    for (int i = 0; i < SLOTS && !http->closing && found == NULL; i++) {
        if (http->slots[i].state == FREE) found = &http->slots[i];
    }
    if (found) {
        found->state = FILLING;
        found->left = false;
    }
    pthread_mutex_unlock(&http->lock);
    return found;
}

/* Waits for the answer; false when none came. The lock is held. */
static bool wait_for_answer(pl_http *http, slot *s)
{
    const double until = now() + PATIENCE;
    while (s->state != ANSWERED && !http->closing && now() < until)
        wait_for(http, &http->told, until - now());
    if (s->state == ANSWERED) return true;
    s->left = true; /* the caller may hold it */
    if (s->state == WAITING) s->state = FREE;
    return false;
}

static int ask(pl_http *http, struct mg_connection *conn, slot *s)
{
    pthread_mutex_lock(&http->lock);
    s->number = ++http->requests;
    s->state = WAITING;
    pthread_cond_signal(&http->asked);
    const bool answered = wait_for_answer(http, s);
    pthread_mutex_unlock(&http->lock);
    if (!answered) return send_text(conn, 503, "no answer came");
    const int status = s->status; /* nobody changes an answered slot but us */
    send_head(conn, status, s->type, s->policy);
    mg_printf(conn, "Content-Length: %zu\r\n\r\n", s->answer_size);
    for (size_t at = 0; at < s->answer_size;) {
        const size_t left = s->answer_size - at,
                     n = left < ((size_t)1 << 20) ? left : (size_t)1 << 20;
        if (mg_write(conn, s->answer + at, n) != (int)n) break;
        at += n;
    }
    pthread_mutex_lock(&http->lock);
    s->state = DONE;
    pthread_mutex_unlock(&http->lock);
    return status;
}

static void give_up(pl_http *http, slot *s)
{
    pthread_mutex_lock(&http->lock);
    s->state = FREE;
    pthread_mutex_unlock(&http->lock);
}

/* The body into the slot; false when less came than was said. */
static bool read_body(struct mg_connection *conn, slot *s, size_t size)
{
    for (s->body_size = 0; s->body_size < size;) {
        const int n = mg_read(conn, s->body + s->body_size, size - s->body_size);
        if (n <= 0) return false;
        s->body_size += (size_t)n;
    }
    return true;
}

static int serve(struct mg_connection *conn)
{
    const struct mg_request_info *info = mg_get_request_info(conn);
    pl_http *http = info->user_data;
    const char *path = path_of(http, conn), *query = info->query_string ? info->query_string : "";
    if (path == NULL)
        return send_text(conn, 403, "Forbidden: open the address that perilune watch printed");
    const bool post = strcmp(info->request_method, "POST") == 0;
    if (!post && strcmp(info->request_method, "GET") != 0)
        return send_text(conn, 405, "GET and POST alone");
    if (!post && strcmp(path, "events") == 0) return serve_events(http, conn, query);
    const char *type = mg_get_header(conn, "Content-Type");
    if (post && (type == NULL || strncmp(type, "application/json", 16) != 0))
        return send_text(conn, 415, "a body of application/json is wanted");
    const long long size = post ? info->content_length : 0;
    slot *s;
    if (size < 0 || size > (long long)BODY || strlen(path) >= sizeof s->path ||
        strlen(query) >= sizeof s->query)
        return send_text(conn, 413, "too long");
    s = take_slot(http);
    if (s == NULL) return send_text(conn, 503, "too many requests at a time");
    snprintf(s->path, sizeof s->path, "%s", path);
    snprintf(s->query, sizeof s->query, "%s", query);
    s->post = post;
    if (!read_body(conn, s, (size_t)size)) {
        give_up(http, s);
        return send_text(conn, 400, "the body ended early");
    }
    return ask(http, conn, s);
}

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
    const struct mg_callbacks callbacks = {.begin_request = serve, .log_message = quiet};
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
