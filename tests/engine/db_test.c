/*
** db_test.c - connections and statements: values back to the bit, failures told with file and
** statement, interrupts of a long statement and of a wait, closing in any order.
*/
#include <math.h>

#include "io_cases.h"

static pl_db *open_db(scratch *s, const char *sql)
{
    pl_ctx *ctx = s->ctx;
    pl_db *db;
    OK(pl_db_open(ctx, &db, s->path, NULL));
    OK(pl_db_exec(db, sql));
    return db;
}

static void values_come_back(void **state)
{
    scratch *s = *state;
    pl_ctx *ctx = s->ctx;
    pl_db *db = open_db(s, "CREATE TABLE t (v ANY) STRICT; -- and a comment");
    pl_statement *put, *get;
    const pl_db_value values[] = {
        {.kind = PL_DB_NULL},
        {.kind = PL_DB_INTEGER, .integer = INT64_MIN},
        {.kind = PL_DB_FLOAT, .number = -0.1},
        {.kind = PL_DB_FLOAT, .number = HUGE_VAL},
        {.kind = PL_DB_FLOAT, .number = 3.0},
        {.kind = PL_DB_TEXT, .text = "", .size = 0},
        {.kind = PL_DB_TEXT, .text = "a\0b\xff", .size = 4},
    };
    const int n = (int)(sizeof values / sizeof values[0]);
    OK(pl_statement_new(db, &put, "INSERT INTO t VALUES (?)"));
    assert_int_equal(pl_statement_parameters(put), 1);
    for (int i = 0; i < n; i++) {
        int64_t changed;
        OK(pl_statement_bind(put, 0, &values[i], i % 2 == 0));
        OK(pl_statement_run(put, &changed));
        assert_int_equal(changed, 1);
        assert_int_equal(pl_db_last_id(db), i + 1);
    }
    const pl_db_value nan_value = {.kind = PL_DB_FLOAT, .number = NAN};
    FAILS(pl_statement_bind(put, 0, &nan_value, false), PL_ERR_NONFINITE, "parameter 1");
    OK(pl_statement_new(db, &get, "SELECT v FROM t ORDER BY rowid"));
    bool row = true;
    for (int i = 0;; i++) {
        OK(pl_statement_step(get, &row));
        if (!row) {
            assert_int_equal(i, n);
            break;
        }
        assert_int_equal(pl_statement_columns(get), 1);
        const pl_db_value v = pl_statement_column(get, 0);
        assert_int_equal(v.kind, values[i].kind);
        assert_int_equal(v.integer, values[i].integer);
        assert_memory_equal(&v.number, &values[i].number, sizeof v.number);
        assert_int_equal(v.size, values[i].size);
        if (v.kind == PL_DB_TEXT) assert_memory_equal(v.text, values[i].text, (size_t)v.size);
    }
    pl_statement_free(put);
    pl_db_close(db); /* `get` is still there */
    assert_int_equal(count_items(s->folder), 1);
    FAILS(pl_statement_step(get, &row), PL_ERR_ARG, "was closed");
    assert_int_equal(pl_statement_columns(get), 0);
    pl_statement_free(get);
}

static void failures_name_file_and_statement(void **state)
{
    scratch *s = *state;
    pl_ctx *ctx = s->ctx;
    pl_statement *statement;
    pl_db *db = open_db(s, "CREATE TABLE t (id INTEGER PRIMARY KEY, up INTEGER REFERENCES t)");
    FAILS(pl_db_exec(db, "INSERT INTO t VALUES (1, NULL); INSERT INTO t VALUES (2, 9)"), PL_ERR_ARG,
          "(it names a row that does not exist); in: INSERT INTO t VALUES (2, 9)");
    assert_non_null(strstr(pl_error(ctx), s->path));
    FAILS(pl_statement_new(db, &statement, "SELECT 1; SELECT 2"), PL_ERR_ARG, "here are several");
    assert_null(statement);
    FAILS(pl_statement_new(db, &statement, " -- nothing"), PL_ERR_ARG, "here is none");
    FAILS(pl_statement_new(db, &statement, "SELECT \"text\""), PL_ERR_ARG, "no such column");
    pl_db_close(db);
    pl_db *none;
    const pl_db_options readonly = {.readonly = true};
    FAILS(pl_db_open(ctx, &none, in(s, "none"), &readonly), PL_ERR_IO, "must exist");
    assert_null(none);
    FAILS(pl_db_open(ctx, &none, s->folder, NULL), PL_ERR_FORMAT, "a folder");
    put_raw(in(s, "text"), "this is only a text, but one of more than sixteen bytes", 55);
    FAILS(pl_db_open(ctx, &none, in(s, "text"), NULL), PL_ERR_FORMAT, "not a database");
    assert_int_equal(count_items(s->folder), 2);
}

static void reads_from_a_read_only_place(void **state)
{
    scratch *s = *state;
    pl_ctx *ctx = s->ctx;
    char path[300];
    snprintf(path, sizeof path, "%s/50%%?#.db", s->folder);
    pl_db *db;
    OK(pl_db_open(ctx, &db, path, NULL));
    OK(pl_db_exec(db, "PRAGMA journal_mode = WAL; CREATE TABLE t (a); INSERT INTO t VALUES (7)"));
    pl_db_close(db);
    assert_int_equal(chmod(s->folder, 0555), 0);
    assert_int_equal(chmod(path, 0444), 0);
    const bool can_write = access(s->folder, W_OK) == 0; /* root can write anywhere */
    const pl_db_options readonly = {.readonly = true};
    OK(pl_db_open(ctx, &db, path, &readonly));
    pl_statement *get;
    bool row;
    OK(pl_statement_new(db, &get, "SELECT a FROM t"));
    OK(pl_statement_step(get, &row));
    assert_true(row);
    assert_int_equal(pl_statement_column(get, 0).integer, 7);
    pl_statement_free(get);
    pl_db_close(db);
    if (!can_write)
        FAILS(pl_db_open(ctx, &db, path, NULL), PL_ERR_IO, "its place cannot be written");
    assert_int_equal(chmod(s->folder, 0755), 0);
}

static const char endless[] =
    "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n";

static void interrupts_stop_it(void **state)
{
    scratch *s = *state;
    pl_ctx *ctx = s->ctx;
    pl_db *db = open_db(s, "CREATE TABLE t (a)");
    pl_statement *statement;
    bool row;
    OK(pl_statement_new(db, &statement, endless));
    pl_interrupt(ctx);
    FAILS(pl_statement_step(statement, &row), PL_ERR_INTERRUPTED, "interrupted!");
    pl_interrupt(ctx);
    FAILS(pl_db_exec(db, endless), PL_ERR_INTERRUPTED, "interrupted!");
    OK(pl_db_exec(db, "INSERT INTO t VALUES (1)")); /* the request is spent */

    pl_db *other;
    const pl_db_options patient = {.busy_ms = 3600 * 1000}, hasty = {.busy_ms = 0};
    OK(pl_db_open(ctx, &other, s->path, &patient));
    OK(pl_db_exec(db, "BEGIN IMMEDIATE"));
    assert_true(pl_db_in_transaction(db));
    pl_interrupt(ctx);
    FAILS(pl_db_exec(other, "BEGIN IMMEDIATE"), PL_ERR_INTERRUPTED, "interrupted!");
    pl_db_close(other);
    OK(pl_db_open(ctx, &other, s->path, &hasty));
    FAILS(pl_db_exec(other, "BEGIN IMMEDIATE"), PL_ERR_IO, "database is locked");
    pl_db_close(other);
    OK(pl_db_exec(db, "ROLLBACK"));
    assert_false(pl_db_in_transaction(db));
    pl_statement_free(statement);
    pl_db_close(db);
}

static void lack_of_memory_releases_everything(void **state)
{
    scratch *s = *state;
    const int fds = count_fds();
    for (int64_t k = 1;; k++) {
        pl_db *db;
        pl_statement *statement = NULL;
        pl_mem_fail_at(s->ctx, k, true);
        pl_status st = pl_db_open(s->ctx, &db, s->path, NULL);
        if (st == PL_OK) st = pl_statement_new(db, &statement, "SELECT 1");
        pl_mem_fail_at(s->ctx, 0, false);
        pl_statement_free(statement);
        pl_db_close(db);
        assert_int_equal(count_fds(), fds);
        assert_int_equal(pl_mem_get(s->ctx).live, s->live);
        if (st == PL_OK) {
            assert_int_equal(k, 3);
            break;
        }
        assert_int_equal(st, PL_ERR_NOMEM);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(values_come_back, scratch_open, scratch_close),
        cmocka_unit_test_setup_teardown(failures_name_file_and_statement, scratch_open,
                                        scratch_close),
        cmocka_unit_test_setup_teardown(reads_from_a_read_only_place, scratch_open, scratch_close),
        cmocka_unit_test_setup_teardown(interrupts_stop_it, scratch_open, scratch_close),
        cmocka_unit_test_setup_teardown(lack_of_memory_releases_everything, scratch_open,
                                        scratch_close),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
