/*
** pump.c - see pump.h. Jupyter's wire protocol: https://jupyter-client.readthedocs.io, "Messaging".
**
** The thread owns all sockets and never blocks on one: a client that does not read loses what is
** sent to it, one that goes is forgotten by libzmq. What it takes from outside without a right
** signature, or with that of one of the last messages, it drops, and looks no further into it.
**
** What is printed and the messages of Lua leave in the order they were made: before a message goes
** out on iopub or stdin the pipes are emptied, and Lua waits until it has gone. Else a stream goes
** out fifty times a second, so that a loop of prints makes few messages.
*/
#include "pump.h"

#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <math.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>
#include <utf8proc.h>
#include <zmq.h>

enum {
    MOST_FRAMES = 64,      /* of a message */
    MOST_KNOWN = 1 << 14,  /* messages after which one could be heard again */
    BEGINNING = 16,        /* digits of a signature that tell it from all others */
    MOST_BYTES = 32 << 20, /* of a frame */
    PORTION = 64 << 10,    /* bytes of one stream message */
    PIPE_BYTES = 1 << 20,  /* what is printed while a stream is held back */
    MOST_PUBLISHED = 4000, /* messages kept for a client that does not read */
    LINGER_MS = 1000,      /* after the end, for what is still on its way */
    DIGEST_HEX = 2 * crypto_auth_hmacsha256_BYTES,
};

static const double STREAM_DELAY = 0.02, PARENT_PAUSE = 1.0; /* seconds */

typedef struct {
    const char *name;
    int number;                       /* of the descriptor it replaces */
    int original, from;               /* that one; the pipe's end that is read */
    unsigned char bytes[PORTION + 4]; /* what was read; a character may be there in part */
    size_t held;
    double due; /* when it goes out; 0 while nothing is known to be there */
} stream;

struct pump {
    void *context, *socket[PUMP_SOCKETS];
    void *ends[2]; /* Lua's, the thread's */
    char *key, *session, *user;
    size_t key_size;
    char *parent; /* header that what is printed answers */
    stream streams[2];
    unsigned char text[3 * (PORTION + 4)]; /* of a stream, as UTF-8 */
    pthread_t thread, owner;
    sem_t heard;                       /* once for each message of Lua that is dealt with */
    char known[MOST_KNOWN][BEGINNING]; /* of the last signatures, in a ring */
    size_t n_known;
    bool running, watch_parent;
    pid_t parent_id;
    double look; /* when the next look for the parent is due */
};

typedef struct {
    zmq_msg_t frame[MOST_FRAMES];
    int n;
} parts;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- Messages -------------------------------------------------------------------------------- */

static void parts_close(parts *m)
{
    for (int i = 0; i < m->n; i++) zmq_msg_close(&m->frame[i]);
    m->n = 0;
}

/* The next message of a socket, if there is one; of one of too many frames none is kept. */
static bool parts_receive(parts *m, void *socket)
{
    zmq_msg_t beyond;
    bool more = true, fits = true;
    m->n = 0;
    while (more) {
        zmq_msg_t *frame = m->n < MOST_FRAMES ? &m->frame[m->n] : &beyond;
        int got;
        zmq_msg_init(frame);
        do got = zmq_msg_recv(frame, socket, ZMQ_DONTWAIT);
        while (got < 0 && errno == EINTR);
        more = got >= 0 && zmq_msg_more(frame) != 0;
        if (got >= 0 && frame != &beyond) {
            m->n++;
            continue;
        }
        zmq_msg_close(frame);
        fits = false;
        if (got < 0 && m->n == 0) return false;
    }
    if (!fits) parts_close(m);
    return true;
}

/* Sends a frame without waiting; whether it was taken. */
static bool send_frame(void *socket, const void *bytes, size_t size, bool more)
{
    return zmq_send(socket, bytes, size, ZMQ_DONTWAIT | (more ? ZMQ_SNDMORE : 0)) >= 0;
}

/* Sends frames from..n and leaves them empty. */
static void send_parts(void *socket, parts *m, int from, int to, bool more)
{
    for (int i = from; i < to; i++)
        if (zmq_msg_send(&m->frame[i], socket,
                         ZMQ_DONTWAIT | (more || i < to - 1 ? ZMQ_SNDMORE : 0)) < 0)
            return;
}

/* The frame that parts identities from the message; -1 when there is none. */
static int delimiter(parts *m)
{
    const size_t size = sizeof PUMP_DELIMITER - 1;
    for (int i = 0; i < m->n; i++)
        if (zmq_msg_size(&m->frame[i]) == size &&
            memcmp(zmq_msg_data(&m->frame[i]), PUMP_DELIMITER, size) == 0)
            return i;
    return -1;
}

typedef struct {
    const void *bytes;
    size_t size;
} span;

static span span_of(zmq_msg_t *frame)
{
    return (span){zmq_msg_data(frame), zmq_msg_size(frame)};
}

/* HMAC-SHA256 of header, parent, metadata and content, as hexadecimal digits; without a key "". */
static size_t sign(const pump *p, const span part[4], char hex[DIGEST_HEX + 1])
{
    unsigned char digest[crypto_auth_hmacsha256_BYTES];
    crypto_auth_hmacsha256_state state;
    hex[0] = '\0';
    if (p->key_size == 0) return 0;
    crypto_auth_hmacsha256_init(&state, (const unsigned char *)p->key, p->key_size);
    for (int i = 0; i < 4; i++) crypto_auth_hmacsha256_update(&state, part[i].bytes, part[i].size);
    crypto_auth_hmacsha256_final(&state, digest);
    sodium_bin2hex(hex, DIGEST_HEX + 1, digest, sizeof digest);
    return DIGEST_HEX;
}

/* Whether a right signature came before, with a message that somebody sends once more; notes it. */
static bool came_before(pump *p, const char *hex)
{
    const size_t held = p->n_known < MOST_KNOWN ? p->n_known : MOST_KNOWN;
    for (size_t i = 0; i < held; i++)
        if (memcmp(p->known[i], hex, BEGINNING) == 0) return true;
    memcpy(p->known[p->n_known++ % MOST_KNOWN], hex, BEGINNING);
    return false;
}

/* Whether the message is a new one of somebody who has the key; `at` is its delimiter. */
static bool is_signed(pump *p, parts *m, int at)
{
    char hex[DIGEST_HEX + 1];
    span part[4];
    if (at < 0 || m->n < at + 6) return false;
    for (int i = 0; i < 4; i++) part[i] = span_of(&m->frame[at + 2 + i]);
    const span given = span_of(&m->frame[at + 1]);
    const size_t size = sign(p, part, hex);
    if (size == 0) return true; /* no key, and so no signatures */
    return given.size == size && sodium_memcmp(given.bytes, hex, size) == 0 && !came_before(p, hex);
}

/* ---- What the program prints ----------------------------------------------------------------- */

/* Whether the bytes can be the beginning of one character whose end is to come. */
static bool is_beginning(const unsigned char *bytes, size_t n)
{
    const unsigned char first = bytes[0];
    const size_t whole = first >= 0xF5   ? 1
                         : first >= 0xF0 ? 4
                         : first >= 0xE0 ? 3
                         : first >= 0xC2 ? 2
                                         : 1;
    for (size_t i = 1; i < n; i++)
        if ((bytes[i] & 0xC0) != 0x80) return false;
    return n < whole;
}

/* Takes what a stream holds as UTF-8 into p->text, but for a character that is there in part; bytes
** that are no UTF-8 become U+FFFD. The size of the text. */
static size_t take_text(pump *p, stream *s)
{
    size_t at = 0, size = 0;
    while (at < s->held) {
        utf8proc_int32_t code;
        const size_t left = s->held - at;
        const utf8proc_ssize_t n = utf8proc_iterate(s->bytes + at, (utf8proc_ssize_t)left, &code);
        if (n > 0) {
            memcpy(p->text + size, s->bytes + at, (size_t)n);
            size += (size_t)n;
            at += (size_t)n;
            continue;
        }
        if (left < 4 && is_beginning(s->bytes + at, left)) break;
        memcpy(p->text + size, "\xEF\xBF\xBD", 3);
        size += 3;
        at++;
    }
    s->held -= at;
    memmove(s->bytes, s->bytes + at, s->held);
    return size;
}

static void add_text(json_object *object, const char *key, const char *text, size_t size)
{
    json_object_object_add(object, key, json_object_new_string_len(text, (int)size));
}

static json_object *stream_header(const pump *p)
{
    char id[33], seconds[32], date[64];
    struct timespec t;
    struct tm utc;
    pump_token(id);
    clock_gettime(CLOCK_REALTIME, &t);
    gmtime_r(&t.tv_sec, &utc);
    strftime(seconds, sizeof seconds, "%Y-%m-%dT%H:%M:%S", &utc);
    snprintf(date, sizeof date, "%s.%06ldZ", seconds, t.tv_nsec / 1000);
    json_object *header = json_object_new_object();
    add_text(header, "msg_id", id, strlen(id));
    add_text(header, "session", p->session, strlen(p->session));
    add_text(header, "username", p->user, strlen(p->user));
    add_text(header, "date", date, strlen(date));
    add_text(header, "msg_type", "stream", 6);
    add_text(header, "version", "5.3", 3);
    return header;
}

static void publish_text(pump *p, const stream *s, size_t size)
{
    char hex[DIGEST_HEX + 1];
    json_object *header = stream_header(p), *content = json_object_new_object();
    add_text(content, "name", s->name, strlen(s->name));
    add_text(content, "text", (const char *)p->text, size);
    const char *head = json_object_to_json_string(header);
    const char *body = json_object_to_json_string(content);
    const span part[4] = {
        {head, strlen(head)}, {p->parent, strlen(p->parent)}, {"{}", 2}, {body, strlen(body)}};
    const size_t digits = sign(p, part, hex);
    void *to = p->socket[PUMP_IOPUB];
    bool sent = send_frame(to, "stream", 6, true) &&
                send_frame(to, PUMP_DELIMITER, sizeof PUMP_DELIMITER - 1, true) &&
                send_frame(to, hex, digits, true);
    for (int i = 0; i < 4; i++) sent = sent && send_frame(to, part[i].bytes, part[i].size, i < 3);
    json_object_put(header);
    json_object_put(content);
}

/* Sends one portion of what is in the pipe; how many bytes there were, or 0. */
static ssize_t publish_portion(pump *p, stream *s)
{
    const ssize_t n = read(s->from, s->bytes + s->held, PORTION);
    if (n <= 0) return 0;
    s->held += (size_t)n;
    const size_t size = take_text(p, s);
    if (size > 0) publish_text(p, s, size);
    return n;
}

/* Sends what is in the pipe now, not what is written meanwhile. */
static void empty_pipe(pump *p, stream *s)
{
    int left = 0;
    s->due = 0;
    if (ioctl(s->from, FIONREAD, &left) != 0) return;
    for (ssize_t n = 1; left > 0 && n > 0; left -= (int)n) n = publish_portion(p, s);
}

static void empty_pipes(pump *p)
{
    for (int i = 0; i < 2; i++) empty_pipe(p, &p->streams[i]);
}

/* ---- The thread ------------------------------------------------------------------------------ */

/* Whether a control message stops the cell that runs. */
static bool stops_cell(parts *m, int at)
{
    const span header = span_of(&m->frame[at + 2]);
    json_tokener *reader = json_tokener_new();
    json_object *object = json_tokener_parse_ex(reader, header.bytes, (int)header.size), *type;
    bool stops = false;
    if (json_object_is_type(object, json_type_object) &&
        json_object_object_get_ex(object, "msg_type", &type)) {
        const char *name = json_object_get_string(type);
        stops = name &&
                (strcmp(name, "interrupt_request") == 0 || strcmp(name, "shutdown_request") == 0);
    }
    json_object_put(object);
    json_tokener_free(reader);
    return stops;
}

/* Hands the messages that wait at a socket to Lua. */
static void take_in(pump *p, int socket, char kind)
{
    parts m;
    while (parts_receive(&m, p->socket[socket])) {
        const int at = delimiter(&m);
        if (is_signed(p, &m, at)) {
            const bool stops = socket == PUMP_CONTROL && stops_cell(&m, at);
            send_frame(p->ends[1], &kind, 1, true);
            send_parts(p->ends[1], &m, 0, at + 1, true);
            send_parts(p->ends[1], &m, at + 2, at + 6, false);
            if (stops) pthread_kill(p->owner, SIGINT);
        }
        parts_close(&m);
    }
}

static void beat(pump *p)
{
    parts m;
    while (parts_receive(&m, p->socket[PUMP_HEARTBEAT])) {
        send_parts(p->socket[PUMP_HEARTBEAT], &m, 0, m.n, false);
        parts_close(&m);
    }
}

static void send_signed(pump *p, void *to, parts *m)
{
    char hex[DIGEST_HEX + 1];
    span part[4];
    const int at = delimiter(m);
    if (at < 0 || m->n != at + 5) return;
    for (int i = 0; i < 4; i++) part[i] = span_of(&m->frame[at + 1 + i]);
    const size_t digits = sign(p, part, hex);
    send_parts(to, m, 1, at + 1, true); /* 0 is the kind */
    send_frame(to, hex, digits, true);
    send_parts(to, m, at + 1, m->n, false);
}

static void set_parent(pump *p, zmq_msg_t *frame)
{
    char *header = strndup(zmq_msg_data(frame), zmq_msg_size(frame));
    if (header) {
        free(p->parent);
        p->parent = header;
    }
}

/* What Lua sends; false when it is the end. */
static bool take_out(pump *p)
{
    parts m;
    bool on = true;
    while (on && parts_receive(&m, p->ends[1])) {
        const char kind = m.n > 0 ? *(const char *)zmq_msg_data(&m.frame[0]) : '\0';
        if (kind != PUMP_OF_SHELL && kind != PUMP_OF_CONTROL) empty_pipes(p);
        switch (kind) {
        case PUMP_OF_SHELL: send_signed(p, p->socket[PUMP_SHELL], &m); break;
        case PUMP_OF_CONTROL: send_signed(p, p->socket[PUMP_CONTROL], &m); break;
        case PUMP_OF_STDIN: send_signed(p, p->socket[PUMP_STDIN], &m); break;
        case PUMP_OF_IOPUB: send_signed(p, p->socket[PUMP_IOPUB], &m); break;
        case PUMP_PARENT:
            if (m.n == 2) set_parent(p, &m.frame[1]);
            break;
        default: on = false;
        }
        parts_close(&m);
        sem_post(&p->heard);
    }
    return on;
}

/* Tells that the process that began this one has gone, and stops the cell that runs, and each that
** comes before Lua hears of it. */
static void look_for_parent(pump *p)
{
    const char kind = PUMP_PARENT_GONE;
    if (!p->watch_parent || now() < p->look || getppid() == p->parent_id) return;
    p->look = now() + PARENT_PAUSE;
    send_frame(p->ends[1], &kind, 1, false);
    pthread_kill(p->owner, SIGINT);
}

static void *serve(void *argument)
{
    pump *p = argument;
    bool on = true;
    while (on) {
        const double time = now();
        double wait = p->watch_parent ? PARENT_PAUSE : -1;
        zmq_pollitem_t item[] = {{p->ends[1], 0, ZMQ_POLLIN, 0},
                                 {p->socket[PUMP_SHELL], 0, ZMQ_POLLIN, 0},
                                 {p->socket[PUMP_CONTROL], 0, ZMQ_POLLIN, 0},
                                 {p->socket[PUMP_STDIN], 0, ZMQ_POLLIN, 0},
                                 {p->socket[PUMP_HEARTBEAT], 0, ZMQ_POLLIN, 0},
                                 {NULL, p->streams[0].from, 0, 0},
                                 {NULL, p->streams[1].from, 0, 0}};
        for (int i = 0; i < 2; i++) {
            const double left = p->streams[i].due - time;
            if (p->streams[i].due == 0) item[5 + i].events = ZMQ_POLLIN;
            else if (left <= 0) wait = 0;
            else if (wait < 0 || left < wait) wait = left;
        }
        if (zmq_poll(item, 7, wait < 0 ? -1 : (long)ceil(wait * 1000)) < 0 && errno == ETERM) break;
        if (item[4].revents) beat(p);
        on = take_out(p);
        if (item[2].revents) take_in(p, PUMP_CONTROL, PUMP_OF_CONTROL);
        if (item[1].revents) take_in(p, PUMP_SHELL, PUMP_OF_SHELL);
        if (item[3].revents) take_in(p, PUMP_STDIN, PUMP_OF_STDIN);
        for (int i = 0; i < 2; i++) {
            stream *one = &p->streams[i];
            if (item[5 + i].revents) one->due = now() + STREAM_DELAY;
            else if (one->due != 0 && now() >= one->due) empty_pipe(p, one);
        }
        look_for_parent(p);
    }
    empty_pipes(p);
    return NULL;
}

/* ---- Opening and closing --------------------------------------------------------------------- */

static bool open_socket(pump *p, int which, const char *address)
{
    static const int types[PUMP_SOCKETS] = {ZMQ_ROUTER, ZMQ_ROUTER, ZMQ_ROUTER, ZMQ_REP, ZMQ_PUB};
    const int linger = LINGER_MS, most = MOST_PUBLISHED, handover = 1;
    const int64_t bytes = MOST_BYTES;
    void *s = p->socket[which] = zmq_socket(p->context, types[which]);
    if (s == NULL) return false;
    zmq_setsockopt(s, ZMQ_LINGER, &linger, sizeof linger);
    zmq_setsockopt(s, ZMQ_MAXMSGSIZE, &bytes, sizeof bytes);
    zmq_setsockopt(s, ZMQ_SNDHWM, &most, sizeof most);
    if (types[which] == ZMQ_ROUTER) /* who comes again under its name is served */
        zmq_setsockopt(s, ZMQ_ROUTER_HANDOVER, &handover, sizeof handover);
    return zmq_bind(s, address) == 0;
}

/* The two ends between Lua and the thread, which hold any number of messages. */
static bool open_ends(pump *p)
{
    const int all = 0;
    for (int i = 0; i < 2; i++) {
        p->ends[i] = zmq_socket(p->context, ZMQ_PAIR);
        if (p->ends[i] == NULL) return false;
        zmq_setsockopt(p->ends[i], ZMQ_SNDHWM, &all, sizeof all);
        zmq_setsockopt(p->ends[i], ZMQ_RCVHWM, &all, sizeof all);
        zmq_setsockopt(p->ends[i], ZMQ_LINGER, &all, sizeof all);
    }
    return zmq_bind(p->ends[0], "inproc://lua") == 0 &&
           zmq_connect(p->ends[1], "inproc://lua") == 0;
}

static bool open_stream(stream *s, const char *name, int number)
{
    int ends[2];
    s->name = name;
    s->number = number;
    s->original = fcntl(number, F_DUPFD_CLOEXEC, 3);
    if (s->original < 0 || pipe2(ends, O_CLOEXEC) != 0) return false;
    s->from = ends[0];
    fcntl(ends[0], F_SETFL, O_NONBLOCK);
    fcntl(ends[0], F_SETPIPE_SZ, PIPE_BYTES); /* where the system allows it */
    const bool placed = dup2(ends[1], number) >= 0;
    close(ends[1]);
    return placed;
}

static bool start(pump *p)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are the owner's */
    p->running = pthread_create(&p->thread, NULL, serve, p) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return p->running;
}

pump *pump_open(const pump_options *options, char *message, size_t room)
{
    const char *doing = "starting libsodium";
    pump *p = calloc(1, sizeof *p);
    if (p == NULL) goto failed;
    for (int i = 0; i < 2; i++) p->streams[i].original = p->streams[i].from = -1;
    sem_init(&p->heard, 0, 0);
    p->owner = pthread_self();
    p->watch_parent = options->watch_parent;
    p->parent_id = getppid();
    p->key = strdup(options->key);
    p->session = strdup(options->session);
    p->user = strdup(options->user);
    p->parent = strdup("{}");
    if (!p->key || !p->session || !p->user || !p->parent || sodium_init() < 0) goto failed;
    p->key_size = strlen(p->key);
    doing = "starting libzmq";
    p->context = zmq_ctx_new();
    if (p->context == NULL || !open_ends(p)) goto failed;
    for (int i = 0; i < PUMP_SOCKETS; i++) {
        doing = options->address[i];
        if (!open_socket(p, i, doing)) goto failed;
    }
    doing = "taking over standard output";
    fflush(stdout);
    if (!open_stream(&p->streams[0], "stdout", STDOUT_FILENO) ||
        !open_stream(&p->streams[1], "stderr", STDERR_FILENO))
        goto failed;
    setvbuf(stdout, NULL, _IONBF, 0); /* what is printed is seen, with or without a line's end */
    doing = "starting a thread";
    if (start(p)) return p;
failed:
    snprintf(message, room, "%s: %s", doing, zmq_strerror(p ? zmq_errno() : ENOMEM));
    pump_close(p);
    return NULL;
}

void *pump_end(pump *p)
{
    return p->ends[0];
}

static void close_stream(stream *s)
{
    if (s->from >= 0) {
        dup2(s->original, s->number);
        close(s->from);
    }
    if (s->original >= 0) close(s->original);
}

void pump_parent(pump *p, const char *header, size_t size)
{
    static const char kind = PUMP_PARENT;
    while (zmq_send(p->ends[0], &kind, 1, ZMQ_SNDMORE) < 0 && errno == EINTR) continue;
    while (zmq_send(p->ends[0], header, size, 0) < 0 && errno == EINTR) continue;
    pump_heard(p);
}

void pump_heard(pump *p)
{
    while (sem_wait(&p->heard) < 0 && errno == EINTR) continue;
}

void pump_close(pump *p)
{
    const char quit = PUMP_QUIT;
    if (p == NULL) return;
    if (p->running) {
        fflush(stdout);
        while (zmq_send(p->ends[0], &quit, 1, 0) < 0 && errno == EINTR) continue;
        pthread_join(p->thread, NULL);
    }
    for (int i = 0; i < 2; i++) close_stream(&p->streams[i]);
    for (int i = 0; i < PUMP_SOCKETS; i++)
        if (p->socket[i]) zmq_close(p->socket[i]);
    for (int i = 0; i < 2; i++)
        if (p->ends[i]) zmq_close(p->ends[i]);
    if (p->context) zmq_ctx_term(p->context);
    if (p->key) sodium_memzero(p->key, p->key_size);
    free(p->key);
    free(p->session);
    free(p->user);
    free(p->parent);
    sem_destroy(&p->heard);
    free(p);
}

void pump_token(char text[33])
{
    unsigned char bytes[16];
    randombytes_buf(bytes, sizeof bytes);
    sodium_bin2hex(text, 33, bytes, sizeof bytes);
}
