/*
** lb_store.c - core.db: connections and prepared statements for lua/perilune/store/init.lua and the
** sorter of lua/perilune/rules, the two places that write SQL.
**
** A statement holds its connection, so that the collector takes them in the right order; closing
** the connection by hand ends its statements. No SQLite call is under way when Lua may raise: a row
** is stepped to, then its columns are pushed.
*/
#include <string.h>

#include "lb.h"

#define DB_MT "perilune.Db"
#define STATEMENT_MT "perilune.DbStatement"
#define ROWS_MT "perilune.DbRows"

typedef struct {
    pl_statement *handle;
    lua_Integer turn; /* counts uses: rows() of an earlier use have ended */
} statement_box;

typedef struct {
    statement_box *statement; /* alive: it is this userdata's user value */
    lua_Integer turn;
} rows_box;

static pl_db *check_db(lua_State *L)
{
    pl_db **box = luaL_checkudata(L, 1, DB_MT);
    luaL_argcheck(L, *box != NULL, 1, "the store was closed");
    return *box;
}

static statement_box *check_statement(lua_State *L)
{
    statement_box *box = luaL_checkudata(L, 1, STATEMENT_MT);
    luaL_argcheck(L, box->handle != NULL, 1, "the statement was closed");
    return box;
}

static const char *check_sql(lua_State *L, int idx)
{
    size_t n;
    const char *sql = luaL_checklstring(L, idx, &n);
    luaL_argcheck(L, strlen(sql) == n, idx, "SQL cannot hold a NUL");
    return sql;
}

/* --------------------------------------------------------------------------------------------
** Connections
*/

/// db.open(path, {readonly = false, busy_ms = 5000, cache_kb}) -> connection | nil, message
static int db_open(lua_State *L)
{
    static const char *const known[] = {"readonly", "busy_ms", "cache_kb", NULL};
    size_t n;
    const char *path = luaL_checklstring(L, 1, &n);
    luaL_argcheck(L, strlen(path) == n, 1, "a path cannot hold a NUL");
    lb_known(L, 2, "db.open option", known);
    const pl_db_options options = {.readonly = lb_boolean_field(L, 2, "readonly", false),
                                   .busy_ms = lb_integer_field(L, 2, "busy_ms", 5000),
                                   .cache_kb = lb_integer_field(L, 2, "cache_kb", 0)};
    pl_db **box = lua_newuserdatauv(L, sizeof *box, 0);
    *box = NULL;
    luaL_setmetatable(L, DB_MT);
    const pl_status st = pl_db_open(lb_ctx(L), box, path, &options);
    return st == PL_OK ? 1 : lb_soft_fail(L, st);
}

/// connection:close(): more than once is fine
static int db_close(lua_State *L)
{
    pl_db **box = luaL_checkudata(L, 1, DB_MT);
    pl_db *db = *box;
    *box = NULL;
    pl_db_close(db);
    return 0;
}

/// connection:exec(script)
static int db_exec(lua_State *L)
{
    pl_db *db = check_db(L);
    lb_check(L, pl_db_exec(db, check_sql(L, 2)));
    return 0;
}

/// connection:prepare(sql) -> statement
static int db_prepare(lua_State *L)
{
    pl_db *db = check_db(L);
    const char *sql = check_sql(L, 2);
    statement_box *box = lua_newuserdatauv(L, sizeof *box, 1);
    *box = (statement_box){NULL, 0};
    luaL_setmetatable(L, STATEMENT_MT);
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, -2, 1);
    lb_check(L, pl_statement_new(db, &box->handle, sql));
    return 1;
}

/// connection:last_id() -> id of the last row that was inserted
static int db_last_id(lua_State *L)
{
    lua_pushinteger(L, pl_db_last_id(check_db(L)));
    return 1;
}

/// connection:changes() -> rows that the last insert, update or delete changed
static int db_changes(lua_State *L)
{
    lua_pushinteger(L, pl_db_changes(check_db(L)));
    return 1;
}

/// connection:in_transaction() -> boolean
static int db_in_transaction(lua_State *L)
{
    lua_pushboolean(L, pl_db_in_transaction(check_db(L)));
    return 1;
}

/* --------------------------------------------------------------------------------------------
** Statements
*/
static pl_db_value value_at(lua_State *L, int idx)
{
    pl_db_value v = {.kind = PL_DB_NULL};
    size_t n;
    switch (lua_type(L, idx)) {
    case LUA_TNIL: break;
    case LUA_TBOOLEAN:
        v.kind = PL_DB_INTEGER;
        v.integer = lua_toboolean(L, idx);
        break;
    case LUA_TNUMBER:
        if (lua_isinteger(L, idx)) {
            v.kind = PL_DB_INTEGER;
            v.integer = lua_tointeger(L, idx);
        } else {
            v.kind = PL_DB_FLOAT;
            v.number = lua_tonumber(L, idx);
        }
        break;
    case LUA_TSTRING:
        v.kind = PL_DB_TEXT;
        v.text = lua_tolstring(L, idx, &n);
        v.size = (int64_t)n;
        break;
    default: luaL_argerror(L, idx, "a parameter must be nil, a boolean, a number or a text");
    }
    return v;
}

/* Binds the arguments after the statement. Texts are not copied: they must stay on the stack while
** the statement runs. */
static void bind(lua_State *L, statement_box *box, bool copy)
{
    const int given = lua_gettop(L) - 1, wanted = pl_statement_parameters(box->handle);
    if (given != wanted)
        luaL_error(L, "the statement has %d parameters, %d were given", wanted, given);
    pl_statement_reset(box->handle);
    box->turn++;
    for (int i = 0; i < given; i++) {
        const pl_db_value v = value_at(L, i + 2);
        lb_check(L, pl_statement_bind(box->handle, i, &v, copy));
    }
}

/* Pushes the columns of the row that was stepped to; returns their number. */
static int push_row(lua_State *L, const pl_statement *s)
{
    const int n = pl_statement_columns(s);
    luaL_checkstack(L, n, "too many columns");
    for (int i = 0; i < n; i++) {
        const pl_db_value v = pl_statement_column(s, i);
        switch (v.kind) {
        case PL_DB_NULL: lua_pushnil(L); break;
        case PL_DB_INTEGER: lua_pushinteger(L, v.integer); break;
        case PL_DB_FLOAT: lua_pushnumber(L, v.number); break;
        case PL_DB_TEXT: lua_pushlstring(L, v.text, (size_t)v.size); break;
        }
    }
    return n;
}

/// statement:run(...) -> rows changed
static int statement_run(lua_State *L)
{
    statement_box *box = check_statement(L);
    int64_t changed;
    bind(L, box, false);
    lb_check(L, pl_statement_run(box->handle, &changed));
    lua_pushinteger(L, changed);
    return 1;
}

/// statement:row(...) -> the columns of the first row, or nothing
static int statement_row(lua_State *L)
{
    statement_box *box = check_statement(L);
    bool row;
    bind(L, box, false);
    lb_check(L, pl_statement_step(box->handle, &row));
    const int n = row ? push_row(L, box->handle) : 0;
    pl_statement_reset(box->handle);
    return n;
}

static int next_row(lua_State *L)
{
    rows_box *rows = lua_touserdata(L, lua_upvalueindex(1));
    statement_box *box = rows->statement;
    bool row;
    if (rows->turn == 0) return 0;
    if (rows->turn != box->turn || box->handle == NULL)
        return luaL_error(L, "the statement was used anew or closed while its rows were read");
    const pl_status st = pl_statement_step(box->handle, &row);
    if (st != PL_OK || !row) rows->turn = 0;
    lb_check(L, st);
    return row ? push_row(L, box->handle) : 0;
}

/* Leaving the loop early gives the store's read lock back. */
static int rows_close(lua_State *L)
{
    rows_box *rows = luaL_checkudata(L, 1, ROWS_MT);
    if (rows->turn != 0 && rows->turn == rows->statement->turn && rows->statement->handle)
        pl_statement_reset(rows->statement->handle);
    rows->turn = 0;
    return 0;
}

/// statement:rows(...) -> iterator over the columns of all rows; closed by `for` when left early
static int statement_rows(lua_State *L)
{
    statement_box *box = check_statement(L);
    bind(L, box, true);
    rows_box *rows = lua_newuserdatauv(L, sizeof *rows, 1);
    *rows = (rows_box){box, box->turn};
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, -2, 1);
    luaL_setmetatable(L, ROWS_MT);
    lua_pushvalue(L, -1);
    lua_pushcclosure(L, next_row, 1);
    lua_insert(L, -2);
    lua_pushnil(L);
    lua_pushnil(L);
    lua_rotate(L, -3, 2); /* iterator, nil, nil, what `for` closes */
    return 4;
}

/// statement:close(): more than once is fine
static int statement_close(lua_State *L)
{
    statement_box *box = luaL_checkudata(L, 1, STATEMENT_MT);
    pl_statement *handle = box->handle;
    box->handle = NULL;
    pl_statement_free(handle);
    return 0;
}

void lb_open_store(lua_State *L)
{
    static const luaL_Reg db[] = {
        {"close", db_close},     {"exec", db_exec},       {"prepare", db_prepare},
        {"last_id", db_last_id}, {"changes", db_changes}, {"in_transaction", db_in_transaction},
        {"__gc", db_close},      {"__close", db_close},   {NULL, NULL}};
    static const luaL_Reg statement[] = {{"run", statement_run},
                                         {"row", statement_row},
                                         {"rows", statement_rows},
                                         {"close", statement_close},
                                         {"__gc", statement_close},
                                         {"__close", statement_close},
                                         {NULL, NULL}};
    static const luaL_Reg rows[] = {{"__gc", rows_close}, {"__close", rows_close}, {NULL, NULL}};
    lb_class(L, DB_MT, db);
    lb_class(L, STATEMENT_MT, statement);
    lb_class(L, ROWS_MT, rows);
    lua_newtable(L);
    lua_pushcfunction(L, db_open);
    lua_setfield(L, -2, "open");
    lua_setfield(L, -2, "db");
}
