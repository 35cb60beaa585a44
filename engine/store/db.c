/*
** db.c - SQLite through a narrow door: connections and prepared statements.
**
** A connection knows its statements, so closing it closes the file at once, whatever the collector
** of the language above still holds; such a statement then answers every call with a failure. Two
** things of a long call listen to pl_interrupt: the virtual machine, every few thousand of its
** instructions, and the wait for another program's lock.
**
** It knows no table and writes no SQL of its own but pragmas: schema and queries are Lua's. Nor
** does it share a connection between threads: the context's rule, one thread at a time, is SQLite's
** "multi-thread" mode.
*/
#include "base/ctx.h"

#include <errno.h>
#include <math.h>
#include <sqlite3.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#define STEPS_BETWEEN_LOOKS 4000 /* instructions of SQLite: far below a millisecond */
#define SQL_SHOWN 160            /* bytes of a statement in an error text */

struct pl_db {
    pl_ctx *ctx;
    sqlite3 *handle;
    pl_statement *first; /* its open statements */
    int64_t busy_ms;
    struct timespec waiting_since;
    char path[]; /* as it was given */
};

struct pl_statement {
    pl_ctx *ctx;
    pl_db *db; /* NULL once the connection is closed */
    sqlite3_stmt *handle;
    pl_statement *previous, *next;
};

/* --------------------------------------------------------------------------------------------
** Failures
*/
static pl_status status_of(int code)
{
    switch (code & 0xff) {
    case SQLITE_OK:
    case SQLITE_ROW:
    case SQLITE_DONE: return PL_OK;
    case SQLITE_NOMEM: return PL_ERR_NOMEM;
    case SQLITE_INTERRUPT: return PL_ERR_INTERRUPTED;
    case SQLITE_NOTADB:
    case SQLITE_CORRUPT: return PL_ERR_FORMAT;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_READONLY:
    case SQLITE_CANTOPEN:
    case SQLITE_IOERR:
    case SQLITE_FULL:
    case SQLITE_PERM:
    case SQLITE_AUTH:
    case SQLITE_PROTOCOL:
    case SQLITE_NOLFS: return PL_ERR_IO;
    default: return PL_ERR_ARG;
    }
}

static const char *hint_of(int code)
{
    if (code == SQLITE_CONSTRAINT_FOREIGNKEY) return " (it names a row that does not exist)";
    switch (code & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED: return " (another program is writing to it: wait until it is done)";
    case SQLITE_READONLY: return " (it was opened for reading, or its place cannot be written)";
    case SQLITE_CANTOPEN: return " (the folder must exist and be writable)";
    case SQLITE_NOTADB: return " (name another file: this one is no SQLite file)";
    case SQLITE_CORRUPT: return " (the file is damaged: take a copy or an export of it)";
    case SQLITE_FULL: return " (free some space and try again)";
    case SQLITE_IOERR: return " (look at the disk and the folder's rights)";
    case SQLITE_NOMEM: return " (not enough memory)";
    default: return "";
    }
}

/* Keeps the text of the connection's last failure; `sql` may be NULL. */
static pl_status db_fail(pl_db *db, int code, const char *sql)
{
    pl_ctx *ctx = db->ctx;
    const bool waited = (code & 0xff) == SQLITE_BUSY || (code & 0xff) == SQLITE_INTERRUPT;
    if (waited && ctx->interrupted) return pl__check_interrupt(ctx);
    const char *message = db->handle ? sqlite3_errmsg(db->handle) : sqlite3_errstr(code);
    if (sql) sql += strspn(sql, " \t\r\n");
    const size_t n = sql ? strlen(sql) : 0;
    return pl__fail(ctx, status_of(code), "store '%s': %s%s%s%.*s%s", db->path, message,
                    hint_of(code), n > 0 ? "; in: " : "", (int)(n < SQL_SHOWN ? n : SQL_SHOWN),
                    n > 0 ? sql : "", n > SQL_SHOWN ? "..." : "");
}

/* --------------------------------------------------------------------------------------------
** Connections
*/
static int look_at_interrupt(void *data)
{
    return ((const pl_ctx *)data)->interrupted != 0;
}

/* Called again and again while another connection holds the lock; 0 gives up. */
static int wait_for_lock(void *data, int calls)
{
    pl_db *db = data;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    if (calls == 0) db->waiting_since = now;
    const int64_t waited = ((int64_t)now.tv_sec - db->waiting_since.tv_sec) * 1000 +
                           (now.tv_nsec - db->waiting_since.tv_nsec) / 1000000;
    if (db->ctx->interrupted || waited >= db->busy_ms) return 0;
    sqlite3_sleep(calls < 20 ? calls + 1 : 20);
    return 1;
}

/* What SQLite would call "unable to open database file". */
static pl_status check_place(pl_ctx *ctx, const char *path, bool readonly)
{
    struct stat info;
    if (stat(path, &info) == 0) {
        if (S_ISREG(info.st_mode)) return PL_OK;
        return pl__fail(ctx, PL_ERR_FORMAT, "store '%s': this is %s, not a file (name a file)",
                        path, S_ISDIR(info.st_mode) ? "a folder" : "a pipe or device");
    }
    if (errno == ENOENT && !readonly) return PL_OK;
    return pl__fail(ctx, PL_ERR_IO, "store '%s': %m%s", path,
                    errno == ENOENT ? " (a store opened for reading must exist)" : "");
}

static pl_status set_up(pl_db *db, const pl_db_options *o)
{
    sqlite3 *h = db->handle;
    char pragma[64];
    sqlite3_extended_result_codes(h, 1);
    sqlite3_busy_handler(h, wait_for_lock, db);
    sqlite3_progress_handler(h, STEPS_BETWEEN_LOOKS, look_at_interrupt, db->ctx);
    sqlite3_db_config(h, SQLITE_DBCONFIG_DQS_DML, 0, NULL); /* "x" is a name, never a text */
    sqlite3_db_config(h, SQLITE_DBCONFIG_DQS_DDL, 0, NULL);
    sqlite3_db_config(h, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    sqlite3_db_config(h, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
    /* SQLite reads the file at the first statement only: this is the first. */
    PL_TRY(pl_db_exec(db, "PRAGMA schema_version"));
    if (!o->readonly && sqlite3_db_readonly(h, "main") == 1)
        return pl__fail(db->ctx, PL_ERR_IO,
                        "store '%s': the file cannot be written (open it for reading, or change "
                        "its rights)",
                        db->path);
    if (o->cache_kb > 0) {
        sqlite3_snprintf(sizeof pragma, pragma, "PRAGMA cache_size = -%lld",
                         (long long)o->cache_kb);
        PL_TRY(pl_db_exec(db, pragma));
    }
    return pl_db_exec(db, "PRAGMA foreign_keys = ON");
}

static pl_status open_handle(pl_db *db, const char *name, int flags, const pl_db_options *o)
{
    const int code = sqlite3_open_v2(name, &db->handle, flags | SQLITE_OPEN_NOMUTEX, NULL);
    return code == SQLITE_OK ? set_up(db, o) : db_fail(db, code, NULL);
}

/* Readers of a WAL database share a file beside it, which a read-only place does not let them make.
** Where no writer has left a log, nobody can write either, and the file is read as it stands. */
static pl_status open_unshared(pl_db *db, const pl_db_options *o)
{
    static const char hex[] = "0123456789abcdef", head[] = "file:", tail[] = "?immutable=1";
    const size_t n = strlen(db->path);
    struct stat info;
    char *uri = pl_alloc(db->ctx, 3 * n + sizeof head + sizeof tail);
    if (uri == NULL) return PL_ERR_NOMEM;
    memcpy(uri, db->path, n);
    memcpy(uri + n, "-wal", 5);
    const bool log = stat(uri, &info) == 0;
    char *to = stpcpy(uri, head);
    for (const char *from = db->path; *from != '\0'; from++) {
        const bool special = strchr("%?#", *from) != NULL;
        if (special) *to++ = '%';
        if (special) *to++ = hex[(unsigned char)*from >> 4];
        *to++ = special ? hex[*from & 15] : *from;
    }
    stpcpy(to, tail);
    pl_status st = PL_ERR_IO; /* of the first try: its text stands */
    if (!log) {
        sqlite3_close(db->handle);
        st = open_handle(db, uri, SQLITE_OPEN_READONLY | SQLITE_OPEN_URI, o);
    }
    pl_free(db->ctx, uri);
    return st;
}

pl_status pl_db_open(pl_ctx *ctx, pl_db **out, const char *path, const pl_db_options *options)
{
    static const pl_db_options defaults = {false, 5000, 0};
    const pl_db_options *o = options ? options : &defaults;
    const bool on_disk = path[0] != '\0' && strcmp(path, ":memory:") != 0;
    const size_t n = strlen(path);
    pl_status st;
    *out = NULL;
    if (o->busy_ms < 0 || o->cache_kb < 0 || o->cache_kb > INT32_MAX)
        return pl__fail(ctx, PL_ERR_ARG, "store '%s': busy_ms and cache_kb must not be negative",
                        path);
    if (on_disk) PL_TRY(check_place(ctx, path, o->readonly));
    pl_db *db = pl_calloc(ctx, 1, sizeof *db + n + 1);
    if (db == NULL) return PL_ERR_NOMEM;
    db->ctx = ctx;
    db->busy_ms = o->busy_ms;
    memcpy(db->path, path, n + 1);
    const int flags =
        o->readonly ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE;
    st = open_handle(db, path, flags, o);
    if (st == PL_ERR_IO && o->readonly && on_disk) st = open_unshared(db, o);
    if (st != PL_OK) {
        pl_db_close(db);
        return st;
    }
    *out = db;
    return PL_OK;
}

static void forget(pl_statement *s)
{
    if (s->db == NULL) return;
    if (s->previous) s->previous->next = s->next;
    else s->db->first = s->next;
    if (s->next) s->next->previous = s->previous;
    sqlite3_finalize(s->handle);
    s->handle = NULL;
    s->db = NULL;
}

void pl_db_close(pl_db *db)
{
    if (db == NULL) return;
    while (db->first) forget(db->first);
    sqlite3_close(db->handle); /* no statement is left, so it cannot refuse */
    pl_free(db->ctx, db);
}

pl_status pl_db_exec(pl_db *db, const char *sql)
{
    for (const char *rest = sql; *rest != '\0';) {
        const char *one = rest;
        sqlite3_stmt *handle = NULL;
        int code = sqlite3_prepare_v2(db->handle, one, -1, &handle, &rest);
        while (code == SQLITE_OK || code == SQLITE_ROW) {
            if (handle == NULL) break; /* white space or a comment */
            code = sqlite3_step(handle);
        }
        if (code == SQLITE_DONE) code = SQLITE_OK;
        const pl_status st = code == SQLITE_OK ? PL_OK : db_fail(db, code, one);
        sqlite3_finalize(handle);
        if (st != PL_OK) return st;
    }
    return PL_OK;
}

int64_t pl_db_last_id(const pl_db *db)
{
    return sqlite3_last_insert_rowid(db->handle);
}

int64_t pl_db_changes(const pl_db *db)
{
    return sqlite3_changes64(db->handle);
}

bool pl_db_in_transaction(const pl_db *db)
{
    return sqlite3_get_autocommit(db->handle) == 0;
}

/* --------------------------------------------------------------------------------------------
** Statements
*/
static bool is_blank(const char *s)
{
    return s[strspn(s, " \t\r\n;")] == '\0';
}

pl_status pl_statement_new(pl_db *db, pl_statement **out, const char *sql)
{
    const char *rest;
    *out = NULL;
    pl_statement *s = pl_calloc(db->ctx, 1, sizeof *s);
    if (s == NULL) return PL_ERR_NOMEM;
    s->ctx = db->ctx;
    const int code =
        sqlite3_prepare_v3(db->handle, sql, -1, SQLITE_PREPARE_PERSISTENT, &s->handle, &rest);
    pl_status st = PL_OK;
    if (code != SQLITE_OK) st = db_fail(db, code, sql);
    else if (s->handle == NULL || !is_blank(rest))
        st = pl__fail(db->ctx, PL_ERR_ARG,
                      "store '%s': one statement is wanted, here %s (use exec for scripts); in: "
                      "%.*s",
                      db->path, s->handle ? "are several" : "is none", SQL_SHOWN, sql);
    if (st != PL_OK) {
        sqlite3_finalize(s->handle);
        pl_free(db->ctx, s);
        return st;
    }
    s->db = db;
    s->next = db->first;
    if (s->next) s->next->previous = s;
    db->first = s;
    *out = s;
    return PL_OK;
}

void pl_statement_free(pl_statement *s)
{
    if (s == NULL) return;
    forget(s);
    pl_free(s->ctx, s);
}

static pl_status check_open(pl_statement *s)
{
    if (s->db) return PL_OK;
    return pl__fail(s->ctx, PL_ERR_ARG, "the store of this statement was closed");
}

int pl_statement_parameters(const pl_statement *s)
{
    return s->handle ? sqlite3_bind_parameter_count(s->handle) : 0;
}

pl_status pl_statement_bind(pl_statement *s, int i, const pl_db_value *v, bool copy)
{
    PL_TRY(check_open(s));
    int code = SQLITE_OK;
    switch (v->kind) {
    case PL_DB_NULL: code = sqlite3_bind_null(s->handle, i + 1); break;
    case PL_DB_INTEGER: code = sqlite3_bind_int64(s->handle, i + 1, v->integer); break;
    case PL_DB_FLOAT:
        if (isnan(v->number)) /* SQLite would store NULL */
            return pl__fail(s->ctx, PL_ERR_NONFINITE,
                            "store '%s': parameter %d is NaN, which cannot be stored; in: %.*s",
                            s->db->path, i + 1, SQL_SHOWN, sqlite3_sql(s->handle));
        code = sqlite3_bind_double(s->handle, i + 1, v->number);
        break;
    case PL_DB_TEXT:
        code = sqlite3_bind_text64(s->handle, i + 1, v->text, (sqlite3_uint64)v->size,
                                   copy ? SQLITE_TRANSIENT : SQLITE_STATIC, SQLITE_UTF8);
        break;
    }
    return code == SQLITE_OK ? PL_OK : db_fail(s->db, code, sqlite3_sql(s->handle));
}

pl_status pl_statement_step(pl_statement *s, bool *row)
{
    *row = false;
    PL_TRY(check_open(s));
    const int code = sqlite3_step(s->handle);
    *row = code == SQLITE_ROW;
    if (code == SQLITE_ROW) return PL_OK;
    const pl_status st = code == SQLITE_DONE ? PL_OK : db_fail(s->db, code, sqlite3_sql(s->handle));
    sqlite3_reset(s->handle);
    return st;
}

pl_status pl_statement_run(pl_statement *s, int64_t *changed)
{
    PL_TRY(check_open(s));
    const int64_t before = sqlite3_total_changes64(s->db->handle);
    bool row = true;
    *changed = 0;
    while (row) PL_TRY(pl_statement_step(s, &row));
    if (sqlite3_total_changes64(s->db->handle) != before)
        *changed = sqlite3_changes64(s->db->handle);
    return PL_OK;
}

void pl_statement_reset(pl_statement *s)
{
    if (s->handle) sqlite3_reset(s->handle);
}

int pl_statement_columns(const pl_statement *s)
{
    return s->handle ? sqlite3_column_count(s->handle) : 0;
}

pl_db_value pl_statement_column(const pl_statement *s, int i)
{
    pl_db_value v = {.kind = PL_DB_NULL};
    switch (sqlite3_column_type(s->handle, i)) {
    case SQLITE_INTEGER:
        v.kind = PL_DB_INTEGER;
        v.integer = sqlite3_column_int64(s->handle, i);
        break;
    case SQLITE_FLOAT:
        v.kind = PL_DB_FLOAT;
        v.number = sqlite3_column_double(s->handle, i);
        break;
    case SQLITE_NULL: break;
    default: /* text, or a blob's bytes; the pointer first, then its size */
        v.text = (const char *)sqlite3_column_blob(s->handle, i);
        v.size = sqlite3_column_bytes(s->handle, i);
        if (v.text == NULL) v.text = "";
        v.kind = PL_DB_TEXT;
    }
    return v;
}
