/*
** http_serve.c - what a connection's thread does: it looks whether a request is ours, puts it into
** a slot and waits for the answer, or tells a viewer events. It takes and gives back no memory.
*/
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "net/http.h"

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

int pl__http_serve(struct mg_connection *conn)
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
