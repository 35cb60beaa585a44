/*
** http.h - what the two sides of the web server share: slots of requests, the ring of events, one
** lock. http_serve.c is what a connection's thread does, http.c what the caller does.
*/
#ifndef PL_NET_HTTP_H
#define PL_NET_HTTP_H

#include <civetweb.h>
#include <pthread.h>
#include <time.h>

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
static inline void wait_for(pl_http *http, pthread_cond_t *what, double seconds)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    const int64_t ns = until.tv_nsec + (int64_t)(seconds * 1e9);
    until.tv_sec += ns / 1000000000;
    until.tv_nsec = ns % 1000000000;
    pthread_cond_timedwait(what, &http->lock, &until);
}

static inline double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* What a connection's thread does with a request: civetweb's begin_request, whose user data are the
** server. */
int pl__http_serve(struct mg_connection *conn);

#endif
