/*
** lb_io.c - files in Lua: core.files. Weight files are in lb_weights.c.
**
** What can go wrong outside (a missing file, a full disk, a malformed checkpoint) is nil, message;
** wrong arguments, lack of memory and Ctrl-C raise. C resources sit in to-be-closed boxes, so that
** an error on the way out releases them.
*/
#include <errno.h>
#include <string.h>

#include "lb.h"

#define WRITER_MT "perilune.Writer"
#define LOG_MT "perilune.Log"
#define READ_LIMIT ((lua_Integer)1 << 31)

static int succeed(lua_State *L, pl_status st)
{
    if (st != PL_OK) return lb_soft_fail(L, st);
    lua_pushboolean(L, 1);
    return 1;
}

/* --------------------------------------------------------------------------------------------
** Single files
*/

/// files.read(path, limit = 2 GB) -> text | nil, message
static int files_read(lua_State *L)
{
    const char *path = lb_check_path(L, 1);
    const lua_Integer limit = luaL_optinteger(L, 2, READ_LIMIT);
    lb_block *box = lb_new_block(L);
    char *data;
    size_t size;
    const pl_status st = pl_file_read(lb_ctx(L), &data, &size, path, limit);
    box->block = data;
    if (st != PL_OK) return lb_soft_fail(L, st);
    lua_pushlstring(L, data, size);
    return 1;
}

/// files.write_atomic(path, text) -> true | nil, message
static int files_write(lua_State *L)
{
    size_t size;
    const char *path = lb_check_path(L, 1), *text = luaL_checklstring(L, 2, &size);
    return succeed(L, pl_file_write(lb_ctx(L), path, text, size));
}

/// files.copy(from, to) -> true | nil, message
static int files_copy(lua_State *L)
{
    const char *from = lb_check_path(L, 1), *to = lb_check_path(L, 2);
    return succeed(L, pl_file_copy(lb_ctx(L), to, from));
}

/// files.hash(path) -> 32 hexadecimal digits (XXH3-128) | nil, message
static int files_hash(lua_State *L)
{
    char hex[PL_HASH_TEXT];
    const pl_status st = pl_file_hash(lb_ctx(L), hex, lb_check_path(L, 1));
    if (st != PL_OK) return lb_soft_fail(L, st);
    lua_pushstring(L, hex);
    return 1;
}

/// files.hash_string(text) -> 32 hexadecimal digits
static int files_hash_string(lua_State *L)
{
    char hex[PL_HASH_TEXT];
    size_t size;
    const char *text = luaL_checklstring(L, 1, &size);
    pl_hash(hex, text, size);
    lua_pushstring(L, hex);
    return 1;
}

/// files.rename(from, to) -> true | nil, message
static int files_rename(lua_State *L)
{
    const char *from = lb_check_path(L, 1), *to = lb_check_path(L, 2);
    return succeed(L, pl_file_rename(lb_ctx(L), from, to));
}

/// files.remove(path) -> true | nil, message
static int files_remove(lua_State *L)
{
    return succeed(L, pl_file_remove(lb_ctx(L), lb_check_path(L, 1)));
}

/* --------------------------------------------------------------------------------------------
** Files written piece by piece, and logs
*/
static pl_writer *check_writer(lua_State *L)
{
    pl_writer **box = luaL_checkudata(L, 1, WRITER_MT);
    luaL_argcheck(L, *box != NULL, 1, "the file was closed");
    return *box;
}

/// files.create(path) -> writer | nil, message
static int files_create(lua_State *L)
{
    const char *path = lb_check_path(L, 1);
    pl_writer **box = lua_newuserdatauv(L, sizeof *box, 0);
    *box = NULL;
    luaL_setmetatable(L, WRITER_MT);
    const pl_status st = pl_writer_open(lb_ctx(L), box, path);
    return st == PL_OK ? 1 : lb_soft_fail(L, st);
}

/// writer:write(text, ...) -> true | nil, message
static int writer_write(lua_State *L)
{
    pl_writer *writer = check_writer(L);
    const int n = lua_gettop(L);
    pl_status st = PL_OK;
    for (int i = 2; i <= n; i++) luaL_checkstring(L, i);
    for (int i = 2; i <= n && st == PL_OK; i++)
        st = pl_writer_put(writer, lua_tostring(L, i), lua_rawlen(L, i));
    return succeed(L, st);
}

/// writer:commit() -> true | nil, message
static int writer_commit(lua_State *L)
{
    return succeed(L, pl_writer_commit(check_writer(L)));
}

/// writer:close(): gives up what was not committed; more than once is fine
static int writer_close(lua_State *L)
{
    pl_writer **box = luaL_checkudata(L, 1, WRITER_MT);
    pl_writer *writer = *box;
    *box = NULL;
    pl_writer_close(writer);
    return 0;
}

static pl_logfile *check_log(lua_State *L)
{
    pl_logfile **box = luaL_checkudata(L, 1, LOG_MT);
    luaL_argcheck(L, *box != NULL, 1, "the log was closed");
    return *box;
}

/// files.open_log(path, {owner_only = false}) -> log | nil, message
static int files_open_log(lua_State *L)
{
    static const char *const known[] = {"owner_only", NULL};
    const char *path = lb_check_path(L, 1);
    lb_known(L, 2, "open_log option", known);
    const bool owner_only = lb_boolean_field(L, 2, "owner_only", false);
    pl_logfile **box = lua_newuserdatauv(L, sizeof *box, 0);
    *box = NULL;
    luaL_setmetatable(L, LOG_MT);
    const pl_status st = pl_logfile_open(lb_ctx(L), box, path, owner_only);
    return st == PL_OK ? 1 : lb_soft_fail(L, st);
}

/// log:append(text) -> true | nil, message
static int log_append(lua_State *L)
{
    size_t size;
    pl_logfile *log = check_log(L);
    const char *text = luaL_checklstring(L, 2, &size);
    return succeed(L, pl_logfile_append(log, text, size));
}

/// log:sync() -> true | nil, message
static int log_sync(lua_State *L)
{
    return succeed(L, pl_logfile_sync(check_log(L)));
}

/// log:close(): more than once is fine
static int log_close(lua_State *L)
{
    pl_logfile **box = luaL_checkudata(L, 1, LOG_MT);
    pl_logfile *log = *box;
    *box = NULL;
    pl_logfile_close(log);
    return 0;
}

/* --------------------------------------------------------------------------------------------
** Folders
*/

/// files.folder_make(path) -> true | nil, message
static int folder_make(lua_State *L)
{
    return succeed(L, pl_folder_make(lb_ctx(L), lb_check_path(L, 1)));
}

/// files.folder_remove(path) -> true | nil, message
static int folder_remove(lua_State *L)
{
    return succeed(L, pl_folder_remove(lb_ctx(L), lb_check_path(L, 1)));
}

/// files.folder_begin(path) -> name of a temporary folder to fill | nil, message
static int folder_begin(lua_State *L)
{
    const char *path = lb_check_path(L, 1);
    lb_block *box = lb_new_block(L);
    char *tmp;
    const pl_status st = pl_folder_begin(lb_ctx(L), &tmp, path);
    box->block = tmp;
    if (st != PL_OK) return lb_soft_fail(L, st);
    lua_pushstring(L, tmp);
    return 1;
}

/// files.folder_commit(tmp, path) -> true | nil, message
static int folder_commit(lua_State *L)
{
    const char *tmp = lb_check_path(L, 1), *path = lb_check_path(L, 2);
    return succeed(L, pl_folder_commit(lb_ctx(L), tmp, path));
}

/// files.folder_verify(path) -> true | nil, message
static int folder_verify(lua_State *L)
{
    return succeed(L, pl_folder_verify(lb_ctx(L), lb_check_path(L, 1)));
}

/// files.folder_sweep(path)
static int folder_sweep(lua_State *L)
{
    pl_folder_sweep(lb_check_path(L, 1));
    return 0;
}

/// files.folder_discard(tmp) -> true | nil, message
static int folder_discard(lua_State *L)
{
    return succeed(L, pl_folder_discard(lb_ctx(L), lb_check_path(L, 1)));
}

/// files.io_fail_at(k, kind = "EIO", forever = false): test hook; k = 0 turns it off
static int io_fail_at(lua_State *L)
{
    static const char *const kinds[] = {"EIO", "ENOSPC", "EDQUOT", "EINTR", "short", NULL};
    static const int errors[] = {EIO, ENOSPC, EDQUOT, EINTR, 0};
    const lua_Integer k = luaL_checkinteger(L, 1);
    pl_io_fail_at(lb_ctx(L), k, errors[luaL_checkoption(L, 2, "EIO", kinds)], lua_toboolean(L, 3));
    return 0;
}

/// files.io_calls() -> input/output calls since the start
static int io_calls(lua_State *L)
{
    lua_pushinteger(L, pl_io_calls(lb_ctx(L)));
    return 1;
}

static void sub_table(lua_State *L, const char *name, const luaL_Reg *functions)
{
    lua_newtable(L);
    luaL_setfuncs(L, functions, 0);
    lua_setfield(L, -2, name);
}

void lb_open_io(lua_State *L)
{
    static const luaL_Reg writer[] = {{"write", writer_write},   {"commit", writer_commit},
                                      {"close", writer_close},   {"__gc", writer_close},
                                      {"__close", writer_close}, {NULL, NULL}};
    static const luaL_Reg log[] = {{"append", log_append}, {"sync", log_sync},
                                   {"close", log_close},   {"__gc", log_close},
                                   {"__close", log_close}, {NULL, NULL}};
    static const luaL_Reg files[] = {{"read", files_read},
                                     {"write_atomic", files_write},
                                     {"copy", files_copy},
                                     {"rename", files_rename},
                                     {"remove", files_remove},
                                     {"create", files_create},
                                     {"open_log", files_open_log},
                                     {"hash", files_hash},
                                     {"hash_string", files_hash_string},
                                     {"folder_make", folder_make},
                                     {"folder_remove", folder_remove},
                                     {"folder_begin", folder_begin},
                                     {"folder_commit", folder_commit},
                                     {"folder_verify", folder_verify},
                                     {"folder_discard", folder_discard},
                                     {"folder_sweep", folder_sweep},
                                     {"io_fail_at", io_fail_at},
                                     {"io_calls", io_calls},
                                     {NULL, NULL}};
    lb_class(L, WRITER_MT, writer);
    lb_class(L, LOG_MT, log);
    sub_table(L, "files", files);
}
