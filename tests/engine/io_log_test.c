/*
** io_log_test.c - logs and files written piece by piece: faults at every call, rows that are whole,
** what is left behind; making and removing folders.
*/
#include "io_cases.h"

#include <signal.h>
#include <sys/resource.h>

static void expect_text(scratch *s, const char *expected)
{
    char *text;
    size_t size;
    pl_ctx *ctx = s->ctx;
    OK(pl_file_read(ctx, &text, &size, s->path, 1 << 20));
    assert_int_equal(size, strlen(expected));
    assert_string_equal(text, expected);
    pl_free(ctx, text);
}

static mode_t mode_of(const char *path)
{
    struct stat info;
    assert_int_equal(stat(path, &info), 0);
    return info.st_mode & 0777;
}

/* --------------------------------------------------------------------------------------------
** Logs
*/
#define FIRST "first row\n"
#define SECOND "second row\n"

static void rows_are_appended(void **state)
{
    scratch *s = *state;
    pl_ctx *ctx = s->ctx;
    pl_logfile *log, *other;
    OK(pl_logfile_open(ctx, &log, s->path, true));
    assert_int_equal(mode_of(s->path), 0600);
    OK(pl_logfile_append(log, FIRST, strlen(FIRST)));
    expect_text(s, FIRST);
    OK(pl_logfile_open(ctx, &other, s->path, false));
    OK(pl_logfile_append(other, SECOND, strlen(SECOND)));
    OK(pl_logfile_append(log, FIRST, strlen(FIRST)));
    OK(pl_logfile_sync(log));
    expect_text(s, FIRST SECOND FIRST);
    pl_interrupt(ctx);
    OK(pl_logfile_append(other, FIRST, strlen(FIRST)));
    pl_interrupt_clear(ctx);
    expect_text(s, FIRST SECOND FIRST FIRST);
    pl_logfile_close(log);
    pl_logfile_close(other);
    pl_logfile_close(NULL);
    assert_int_equal(pl_logfile_open(ctx, &log, s->folder, false), PL_ERR_IO);
    assert_null(log);
    assert_non_null(strstr(pl_error(ctx), s->folder));
    assert_int_equal(pl_logfile_open(ctx, &log, "/dev/null", false), PL_ERR_FORMAT);
    assert_string_equal(pl_error(ctx), "'/dev/null' is a device, not a regular file");
}

static pl_status two_rows(scratch *s)
{
    pl_logfile *log;
    pl_status st = pl_logfile_open(s->ctx, &log, s->path, false);
    if (st == PL_OK) st = pl_logfile_append(log, FIRST, strlen(FIRST));
    if (st == PL_OK) st = pl_logfile_append(log, SECOND, strlen(SECOND));
    if (st == PL_OK) st = pl_logfile_sync(log);
    pl_logfile_close(log);
    return st;
}

static void rows_are_whole(scratch *s, pl_status st)
{
    char *text;
    size_t size;
    if (st == PL_OK) expect_text(s, FIRST SECOND);
    if (st != PL_OK) assert_non_null(strstr(pl_error(s->ctx), s->path));
    if (pl_file_read(s->ctx, &text, &size, s->path, 100) == PL_OK) {
        assert_int_equal(strncmp(text, FIRST SECOND, size), 0);
        assert_true(size == 0 || text[size - 1] == '\n');
        pl_free(s->ctx, text);
    }
    unlink(s->path);
}

static void a_log_survives_every_fault(void **state)
{
    assert_true(for_each_fault(*state, &(fault_case){two_rows, rows_are_whole}) > 4);
}

/* A file may grow to so many bytes, as if the disk were full beyond. */
static void limit_size(rlim_t bytes)
{
    struct rlimit limit;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = bytes < limit.rlim_max ? bytes : limit.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static void half_a_row_is_cut_off(void **state)
{
    scratch *s = *state;
    pl_ctx *ctx = s->ctx;
    pl_logfile *log;
    OK(pl_logfile_open(ctx, &log, s->path, false));
    OK(pl_logfile_append(log, FIRST, strlen(FIRST)));
    limit_size(strlen(FIRST) + 4);
    const pl_status st = pl_logfile_append(log, SECOND, strlen(SECOND));
    limit_size(RLIM_INFINITY);
    assert_int_equal(st, PL_ERR_IO);
    assert_non_null(strstr(pl_error(ctx), "File too large"));
    expect_text(s, FIRST);
    OK(pl_logfile_append(log, SECOND, strlen(SECOND)));
    expect_text(s, FIRST SECOND);
    pl_logfile_close(log);
}

/* --------------------------------------------------------------------------------------------
** Files written piece by piece
*/
#define BIG 200000

static pl_status pieces(scratch *s)
{
    static char big[BIG + 1];
    pl_writer *w;
    memset(big, 'b', BIG);
    pl_status st = pl_writer_open(s->ctx, &w, s->path);
    if (st == PL_OK) pl_writer_put(w, "a", 1); /* a failed put fails the commit */
    if (st == PL_OK) pl_writer_put(w, big, BIG);
    if (st == PL_OK) pl_writer_put(w, "c", 1);
    if (st == PL_OK) st = pl_writer_commit(w);
    pl_writer_close(w);
    return st;
}

static void old_or_pieces(scratch *s, pl_status st)
{
    char *text;
    size_t size;
    pl_ctx *ctx = s->ctx;
    OK(pl_file_read(ctx, &text, &size, s->path, 1 << 20));
    if (size != 3) {
        assert_int_equal(size, BIG + 2);
        assert_true(text[0] == 'a' && text[1] == 'b' && text[BIG] == 'b' && text[BIG + 1] == 'c');
    }
    if (st == PL_OK) assert_int_not_equal(size, 3);
    pl_free(ctx, text);
    assert_int_equal(count_items(s->folder), 1);
    assert_int_equal(mode_of(s->path), 0640);
    put_raw(s->path, "old", 3);
}

static void pieces_survive_every_fault(void **state)
{
    scratch *s = *state;
    pl_writer *w;
    pl_ctx *ctx = s->ctx;
    put_raw(s->path, "old", 3);
    assert_int_equal(chmod(s->path, 0640), 0);
    assert_true(for_each_fault(s, &(fault_case){pieces, old_or_pieces}) > 9);
    OK(pl_writer_open(ctx, &w, s->path));
    OK(pl_writer_put(w, "given up", 8));
    pl_writer_close(w);
    old_or_pieces(s, PL_ERR_IO);
    pl_writer_close(NULL);
    assert_int_equal(pl_writer_open(ctx, &w, s->folder), PL_ERR_IO);
    assert_null(w);
}

/* --------------------------------------------------------------------------------------------
** Names and folders
*/
static pl_status make_and_remove(scratch *s)
{
    pl_ctx *ctx = s->ctx;
    pl_status st = pl_folder_make(ctx, in(s, "x/deep/er/"));
    if (st == PL_OK) st = pl_file_write(ctx, in(s, "x/deep/a"), "a", 1);
    if (st == PL_OK) st = pl_file_rename(ctx, in(s, "x/deep/a"), in(s, "x/deep/b"));
    if (st == PL_OK) st = pl_file_remove(ctx, in(s, "x/deep/b"));
    if (st == PL_OK) st = pl_folder_remove(ctx, s->path);
    return st;
}

static void nothing_is_left(scratch *s, pl_status st)
{
    if (st != PL_OK) assert_non_null(strstr(pl_error(s->ctx), " '/"));
    pl_ctx *ctx = s->ctx;
    OK(pl_folder_remove(ctx, s->path));
    assert_int_equal(count_items(s->folder), 0);
}

static void names_and_folders(void **state)
{
    scratch *s = *state;
    pl_ctx *ctx = s->ctx;
    assert_true(for_each_fault(s, &(fault_case){make_and_remove, nothing_is_left}) > 15);
    OK(pl_file_remove(ctx, s->path));
    OK(pl_folder_make(ctx, s->path));
    assert_int_equal(pl_file_remove(ctx, s->path), PL_ERR_IO);
    put_raw(in(s, "x/file"), "", 0);
    assert_int_equal(pl_folder_make(ctx, in(s, "x/file")), PL_ERR_IO);
    assert_non_null(strstr(pl_error(ctx), "a file of that name is in the way"));
    assert_int_equal(pl_folder_make(ctx, in(s, "x/file/inside")), PL_ERR_IO);
    assert_int_equal(symlink(s->path, in(s, "link")), 0);
    OK(pl_folder_remove(ctx, in(s, "link")));
    assert_int_equal(count_items(s->path), 1);
}

/* The folders that are synced when `work` passes: each sync fails once, and its text names one. */
static int synced(scratch *s, pl_status (*work)(scratch *s), const char *folder)
{
    pl_ctx *ctx = s->ctx;
    char text[400];
    int times = 0;
    snprintf(text, sizeof text, "syncing the folder '%s'", folder);
    for (int64_t k = 1;; k++) {
        OK(pl_folder_remove(ctx, s->path));
        pl_io_fail_at(ctx, k, EIO, false);
        const pl_status st = work(s);
        pl_io_fail_at(ctx, 0, 0, false);
        if (st == PL_OK) return times;
        times += strstr(pl_error(ctx), text) != NULL;
    }
}

static pl_status make_deep(scratch *s)
{
    return pl_folder_make(s->ctx, in(s, "x/deep/er"));
}

static pl_status move_across(scratch *s)
{
    pl_ctx *ctx = s->ctx;
    mkdir(s->path, 0777);
    mkdir(in(s, "x/from"), 0777);
    mkdir(in(s, "x/to"), 0777);
    put_raw(in(s, "x/from/a"), "a", 1);
    return pl_file_rename(ctx, in(s, "x/from/a"), in(s, "x/to/a"));
}

static pl_status move_within(scratch *s)
{
    pl_ctx *ctx = s->ctx;
    mkdir(s->path, 0777);
    put_raw(in(s, "x/a"), "a", 1);
    return pl_file_rename(ctx, in(s, "x/a"), in(s, "x/b"));
}

/* An entry lasts when the folder it stands in is synced, and so does the lack of one. */
static void entries_are_synced(void **state)
{
    scratch *s = *state;
    pl_ctx *ctx = s->ctx;
    assert_int_equal(synced(s, make_deep, s->folder), 1);
    assert_int_equal(synced(s, make_deep, s->path), 1);
    assert_int_equal(synced(s, make_deep, in(s, "x/deep")), 1);
    assert_int_equal(synced(s, move_across, in(s, "x/from")), 1);
    assert_int_equal(synced(s, move_across, in(s, "x/to")), 1);
    assert_int_equal(synced(s, move_within, s->path), 1);
    OK(pl_folder_remove(ctx, s->path));
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, scratch_open, scratch_close)
    const struct CMUnitTest tests[] = {
        CASE(rows_are_appended),     CASE(a_log_survives_every_fault),
        CASE(half_a_row_is_cut_off), CASE(pieces_survive_every_fault),
        CASE(names_and_folders),     CASE(entries_are_synced),
    };
    return cmocka_run_group_tests_name("logs and folders", tests, NULL, NULL);
}
