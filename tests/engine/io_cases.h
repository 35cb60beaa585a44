/*
** io_cases.h - what the tests of files share: a scratch folder, raw files, and the loop that fails
** every input/output call in turn.
*/
#ifndef IO_CASES_H
#define IO_CASES_H

#include <dirent.h>
#include <errno.h>
#include <ftw.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"

typedef struct {
    pl_ctx *ctx;
    int64_t live;                /* bytes of the context itself */
    char folder[200], path[256]; /* path: "<folder>/x" */
} scratch;

static int scratch_open(void **state)
{
    scratch *s = calloc(1, sizeof *s);
    /* In memory where that is possible: the fault loops sync thousands of times. */
    const char *parent = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : P_tmpdir;
    snprintf(s->folder, sizeof s->folder, "%s/perilune-io-XXXXXX", parent);
    if (mkdtemp(s->folder) == NULL) return -1;
    snprintf(s->path, sizeof s->path, "%s/x", s->folder);
    s->ctx = pl_ctx_new();
    *state = s;
    if (s->ctx == NULL) return -1;
    s->live = pl_mem_get(s->ctx).live;
    return 0;
}

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *where)
{
    (void)info;
    (void)kind;
    (void)where;
    return remove(path);
}

static int scratch_close(void **state)
{
    scratch *s = *state;
    const int64_t live = pl_mem_get(s->ctx).live - s->live;
    pl_ctx_free(s->ctx);
    nftw(s->folder, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    free(s);
    if (live != 0) fprintf(stderr, "%lld bytes were not released\n", (long long)live);
    return live == 0 ? 0 : -1;
}

/* A name in the scratch folder; good until the fourth call after. */
static inline const char *in(const scratch *s, const char *name)
{
    static char texts[4][512];
    static int next;
    char *text = texts[next++ % 4];
    snprintf(text, sizeof texts[0], "%s/%s", s->folder, name);
    return text;
}

static inline void put_raw(const char *path, const void *data, size_t size)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, size, f), size);
    assert_int_equal(fclose(f), 0);
}

static inline int count_items(const char *folder)
{
    int n = -2; /* "." and ".." */
    DIR *dir = opendir(folder);
    assert_non_null(dir);
    while (readdir(dir) != NULL) n++;
    closedir(dir);
    return n;
}

static inline int count_fds(void)
{
    return count_items("/proc/self/fd");
}

/* Calls `work` with its k-th input/output call failing, k = 1, 2, ... until it passes unharmed, for
** every kind of fault, once and for ever; after each failure calls `check`. Returns calls seen. */
typedef struct {
    pl_status (*work)(scratch *s);
    void (*check)(scratch *s, pl_status st);
} fault_case;

static inline int64_t for_each_fault(scratch *s, const fault_case *c)
{
    static const int errors[] = {EIO, ENOSPC, EDQUOT, EINTR, 0};
    int64_t most = 0;
    for (size_t e = 0; e < sizeof errors / sizeof errors[0]; e++)
        for (int forever = 0; forever < 2; forever++) {
            int64_t k = 1;
            for (bool reached = true; reached; k++) {
                const int fds = count_fds();
                const int64_t before = pl_io_calls(s->ctx), live = pl_mem_get(s->ctx).live;
                pl_io_fail_at(s->ctx, k, errors[e], forever);
                const pl_status st = c->work(s);
                pl_io_fail_at(s->ctx, 0, 0, false);
                reached = pl_io_calls(s->ctx) - before >= k;
                if (st != PL_OK) assert_true(strlen(pl_error(s->ctx)) > 10);
                if (!reached) assert_int_equal(st, PL_OK);
                assert_int_equal(count_fds(), fds);
                assert_int_equal(pl_mem_get(s->ctx).live, live);
                c->check(s, st);
                assert_true(k < 1000);
            }
            if (k > most) most = k;
        }
    return most;
}

#endif
