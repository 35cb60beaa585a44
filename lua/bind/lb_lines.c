/*
** lb_lines.c - core.lines: reading text files, plain or gzip, line by line.
**
** What is wrong with the file is nil, message from open and a problem from next; wrong arguments,
** lack of memory and Ctrl-C raise.
*/
#include <string.h>

#include "lb.h"

#define LINES_MT "perilune.Lines"

static pl_lines *check_lines(lua_State *L)
{
    pl_lines **box = luaL_checkudata(L, 1, LINES_MT);
    luaL_argcheck(L, *box != NULL, 1, "the reader was closed");
    return *box;
}

/// lines.open(path, {max_bytes = 16 MB, offset = 0, line = 0, skip_empty = false})
///   -> reader | nil, message
static int lines_open(lua_State *L)
{
    static const char *const known[] = {"max_bytes", "offset", "line", "skip_empty", NULL};
    const char *path = lb_check_path(L, 1);
    lb_known(L, 2, "lines.open option", known);
    const pl_lines_options options = {.max_bytes =
                                          lb_integer_field(L, 2, "max_bytes", PL_LINES_MAX_BYTES),
                                      .offset = lb_integer_field(L, 2, "offset", 0),
                                      .line = lb_integer_field(L, 2, "line", 0),
                                      .skip_empty = lb_boolean_field(L, 2, "skip_empty", false)};
    if (options.max_bytes < 1) return luaL_error(L, "'max_bytes' must be at least 1");
    pl_lines **box = lua_newuserdatauv(L, sizeof *box, 0);
    *box = NULL;
    luaL_setmetatable(L, LINES_MT);
    const pl_status st = pl_lines_open(lb_ctx(L), box, path, &options);
    return st == PL_OK ? 1 : lb_soft_fail(L, st);
}

/// reader:next() -> text, number | false, number, problem | nil, lines at the end
static int lines_next(lua_State *L)
{
    pl_lines *reader = check_lines(L);
    pl_line line;
    bool more;
    lb_check(L, pl_lines_next(reader, &line, &more));
    if (!more) {
        lua_pushnil(L);
        lua_pushinteger(L, pl_lines_count(reader));
        return 2;
    }
    if (line.problem != NULL) lua_pushboolean(L, 0);
    else lua_pushlstring(L, line.text, (size_t)line.size);
    lua_pushinteger(L, line.number);
    lua_pushstring(L, line.problem); /* nil for NULL */
    return 3;
}

/// reader:offset() -> the uncompressed byte where the next line starts
static int lines_offset(lua_State *L)
{
    lua_pushinteger(L, pl_lines_offset(check_lines(L)));
    return 1;
}

/// reader:close(): more than once is fine
static int lines_close(lua_State *L)
{
    pl_lines **box = luaL_checkudata(L, 1, LINES_MT);
    pl_lines *reader = *box;
    *box = NULL;
    pl_lines_close(reader);
    return 0;
}

void lb_open_lines(lua_State *L)
{
    static const luaL_Reg reader[] = {{"next", lines_next},     {"offset", lines_offset},
                                      {"close", lines_close},   {"__gc", lines_close},
                                      {"__close", lines_close}, {NULL, NULL}};
    lb_class(L, LINES_MT, reader);
    lua_newtable(L);
    lua_pushcfunction(L, lines_open);
    lua_setfield(L, -2, "open");
    lua_setfield(L, -2, "lines");
}
