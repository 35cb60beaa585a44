/*
** net_test.c - sockets between programs of one machine: the file's mode, long paths, files left by
** the dead, lines and their bounds, a peer that goes, does not read or sends too much; lack of
** memory at every allocation.
*/
#include "check.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

typedef struct {
    pl_ctx *ctx;
    int64_t live;
    char folder[64], path[512];
} place;

static place begin(void)
{
    place p = {.ctx = pl_ctx_new(), .folder = "/tmp/net-test-XXXXXX"};
    assert_non_null(p.ctx);
    assert_non_null(mkdtemp(p.folder));
    snprintf(p.path, sizeof p.path, "%s/s", p.folder);
    p.live = pl_mem_get(p.ctx).live;
    return p;
}

static void end(place *p)
{
    unlink(p->path);
    assert_int_equal(rmdir(p->folder), 0);
    assert_int_equal(pl_mem_get(p->ctx).live, p->live);
    pl_ctx_free(p->ctx);
}

static mode_t mode_of(const char *path)
{
    struct stat info;
    assert_int_equal(lstat(path, &info), 0);
    assert_true(S_ISSOCK(info.st_mode));
    return info.st_mode & 07777;
}

static bool there(const char *path)
{
    return access(path, F_OK) == 0;
}

static void pair(place *p, pl_listener **listener, pl_channel **here, pl_channel **other)
{
    assert_int_equal(pl_listen(p->ctx, listener, p->path), PL_OK);
    assert_int_equal(pl_connect(p->ctx, other, p->path), PL_OK);
    assert_int_equal(pl_accept(*listener, here), PL_OK);
    assert_non_null(*here);
}

static void has_mode_0600_whatever_the_umask(void **state)
{
    (void)state;
    place p = begin();
    const mode_t masks[] = {0, 022, 077};
    for (size_t i = 0; i < 3; i++) {
        pl_listener *listener;
        const mode_t before = umask(masks[i]);
        assert_int_equal(pl_listen(p.ctx, &listener, p.path), PL_OK);
        umask(before);
        assert_int_equal(mode_of(p.path), 0600);
        pl_listener_close(listener);
        assert_false(there(p.path));
    }
    end(&p);
}

static void takes_paths_longer_than_an_address(void **state)
{
    (void)state;
    place p = begin();
    char inner[200];
    snprintf(inner, sizeof inner, "%s/%0120d", p.folder, 0);
    assert_int_equal(mkdir(inner, 0700), 0);
    snprintf(p.path, sizeof p.path, "%s/control.sock", inner);
    assert_true(strlen(p.path) > sizeof((struct sockaddr_un *)0)->sun_path);
    pl_listener *listener;
    pl_channel *here, *other;
    pair(&p, &listener, &here, &other);
    assert_int_equal(mode_of(p.path), 0600);
    pl_channel_close(here);
    pl_channel_close(other);
    pl_listener_close(listener);
    assert_false(there(p.path));
    snprintf(p.path, sizeof p.path, "%s/%0110d", inner, 0); /* a long name is told */
    assert_int_equal(pl_listen(p.ctx, &listener, p.path), PL_ERR_ARG);
    assert_null(listener);
    assert_int_equal(rmdir(inner), 0);
    end(&p);
}

static void replaces_what_the_dead_left_and_nothing_else(void **state)
{
    (void)state;
    place p = begin();
    pl_listener *listener, *second;
    pl_channel *channel;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strcpy(address.sun_path, p.path);
    const int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    close(fd); /* as a killed process leaves it */
    assert_int_equal(pl_connect(p.ctx, &channel, p.path), PL_ERR_IO);
    assert_int_equal(pl_listen(p.ctx, &listener, p.path), PL_OK);
    assert_int_equal(pl_listen(p.ctx, &second, p.path), PL_ERR_IO);
    assert_non_null(strstr(pl_error(p.ctx), "is served by a process that runs"));
    assert_true(there(p.path));
    assert_int_equal(unlink(p.path), 0); /* somebody else's file is not removed */
    const int file = open(p.path, O_CREAT | O_WRONLY, 0600);
    close(file);
    pl_listener_close(listener);
    assert_true(there(p.path));
    assert_int_equal(pl_listen(p.ctx, &listener, p.path), PL_ERR_IO);
    assert_non_null(strstr(pl_error(p.ctx), "is there already and no socket"));
    assert_true(there(p.path));
    end(&p);
}

static void carries_whole_lines(void **state)
{
    (void)state;
    place p = begin();
    pl_listener *listener;
    pl_channel *here, *other, *none;
    const char *line;
    size_t size;
    bool ready;
    pair(&p, &listener, &here, &other);
    assert_int_equal(pl_accept(listener, &none), PL_OK);
    assert_null(none);
    assert_int_equal(pl_net_wait(p.ctx, listener, &here, 1, 0.01, &ready), PL_OK);
    assert_false(ready);
    assert_int_equal(pl_channel_send(other, "one\n\ntwo", 8), PL_OK);
    assert_int_equal(pl_net_wait(p.ctx, listener, &here, 1, 10, &ready), PL_OK);
    assert_true(ready);
    assert_int_equal(pl_channel_line(here, &line, &size), PL_OK);
    assert_int_equal(size, 3);
    assert_memory_equal(line, "one", 3);
    assert_int_equal(pl_channel_line(here, &line, &size), PL_OK);
    assert_non_null(line);
    assert_int_equal(size, 0);
    assert_int_equal(pl_channel_line(here, &line, &size), PL_OK);
    assert_null(line); /* half a line waits for its end */
    assert_int_equal(pl_channel_send(other, "\nlast\nlost", 10), PL_OK);
    pl_channel_close(other);
    assert_int_equal(pl_channel_line(here, &line, &size), PL_OK);
    assert_memory_equal(line, "two", 3);
    assert_int_equal(pl_channel_line(here, &line, &size), PL_OK);
    assert_memory_equal(line, "last", 4);
    assert_int_equal(pl_channel_line(here, &line, &size), PL_ERR_IO);
    assert_string_equal(pl_error(p.ctx), "the other side has gone");
    assert_int_equal(pl_channel_send(here, "x\n", 2), PL_ERR_IO); /* and no SIGPIPE */
    assert_int_equal(pl_net_wait(p.ctx, NULL, &here, 1, 10, &ready), PL_OK);
    assert_true(ready);
    assert_int_equal(pl_net_wait(p.ctx, NULL, &here, 64, 0, &ready), PL_ERR_ARG);
    assert_int_equal(pl_net_wait(p.ctx, NULL, &here, 1, -1, &ready), PL_ERR_ARG);
    pl_channel_close(here);
    pl_listener_close(listener);
    end(&p);
}

static void holds_no_more_than_its_bounds(void **state)
{
    (void)state;
    place p = begin();
    pl_listener *listener;
    pl_channel *here, *other;
    const char *line;
    size_t size, sent = 0;
    const size_t portion = 100000;
    char *bytes = malloc(portion);
    memset(bytes, 'y', portion);
    pair(&p, &listener, &here, &other);
    while (pl_channel_send(here, bytes, portion) == PL_OK) sent += portion; /* nobody reads */
    assert_string_equal(pl_error(p.ctx), "the other side does not read");
    assert_true(sent >= PL_CHANNEL_BACKLOG - portion && sent < PL_CHANNEL_BACKLOG + (4 << 20));
    assert_true(pl_mem_get(p.ctx).live < 3 * (int64_t)PL_CHANNEL_BACKLOG);
    assert_int_equal(pl_channel_send(here, "", 0), PL_ERR_IO); /* and so for ever */
    pl_channel_close(here);
    pl_channel_close(other);
    pl_listener_close(listener);

    pair(&p, &listener, &here, &other);
    pl_status st = PL_OK;
    for (sent = 0; sent < 3 * PL_CHANNEL_LINE && st == PL_OK; sent += portion) {
        assert_int_equal(pl_channel_send(other, bytes, portion), PL_OK);
        st = pl_channel_line(here, &line, &size);
        assert_null(line);
    }
    assert_int_equal(st, PL_ERR_IO);
    assert_string_equal(pl_error(p.ctx), "the other side sent too long a line");
    pl_channel_close(here);
    pl_channel_close(other);
    pl_listener_close(listener);
    free(bytes);
    end(&p);
}

static volatile sig_atomic_t alarms;

static void note_alarm(int sig)
{
    (void)sig;
    alarms++;
}

/* More alarms than `before`, at once or soon. */
static bool more_alarms(int before)
{
    for (int i = 0; i < 5000 && alarms <= before; i++) usleep(1000);
    return alarms > before;
}

static void tells_by_sigurg_while_the_alarm_is_on(void **state)
{
    (void)state;
    place p = begin();
    pl_listener *listener;
    pl_channel *here, *other;
    void (*before)(int) = signal(SIGURG, note_alarm);
    pair(&p, &listener, &here, &other);
    assert_int_equal(pl_channel_send(other, "a\n", 2), PL_OK);
    assert_int_equal(alarms, 0);
    assert_int_equal(pl_channel_alarm(here, true), PL_OK);
    assert_int_equal(pl_channel_send(other, "b\n", 2), PL_OK);
    assert_true(more_alarms(0));
    assert_int_equal(pl_channel_alarm(here, false), PL_OK);
    const int told = alarms;
    assert_int_equal(pl_channel_send(other, "c\n", 2), PL_OK);
    assert_int_equal(alarms, told);
    assert_int_equal(pl_channel_alarm(here, true), PL_OK);
    pl_channel_close(other); /* that it goes is told as well */
    assert_true(more_alarms(told));
    pl_channel_close(here);
    pl_listener_close(listener);
    signal(SIGURG, before);
    end(&p);
}

static pl_status whole_talk(place *p)
{
    pl_listener *listener = NULL;
    pl_channel *here = NULL, *other = NULL;
    const char *line;
    size_t size;
    pl_status st = pl_listen(p->ctx, &listener, p->path);
    if (st == PL_OK) st = pl_connect(p->ctx, &other, p->path);
    if (st == PL_OK) st = pl_accept(listener, &here);
    if (st == PL_OK) st = pl_channel_send(other, "line\n", 5);
    if (st == PL_OK) st = pl_channel_line(here, &line, &size);
    pl_channel_close(here);
    pl_channel_close(other);
    pl_listener_close(listener);
    return st;
}

static void leaves_nothing_behind_without_memory(void **state)
{
    (void)state;
    place p = begin();
    int failures = 0;
    for (int64_t k = 1;; k++) {
        pl_mem_fail_at(p.ctx, k, false);
        const pl_status st = whole_talk(&p);
        pl_mem_fail_at(p.ctx, 0, false);
        assert_int_equal(pl_mem_get(p.ctx).live, p.live);
        assert_false(there(p.path));
        if (st == PL_OK) break;
        assert_int_equal(st, PL_ERR_NOMEM);
        failures++;
    }
    assert_int_equal(failures, 6);
    end(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(has_mode_0600_whatever_the_umask),
        cmocka_unit_test(takes_paths_longer_than_an_address),
        cmocka_unit_test(replaces_what_the_dead_left_and_nothing_else),
        cmocka_unit_test(carries_whole_lines),
        cmocka_unit_test(holds_no_more_than_its_bounds),
        cmocka_unit_test(tells_by_sigurg_while_the_alarm_is_on),
        cmocka_unit_test(leaves_nothing_behind_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
