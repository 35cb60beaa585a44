/*
** lb_json_tree.c - what reading and writing of JSON share: json-c's trees, UTF-8, the mark of
** ordered objects.
*/
#include "lb_json.h"

#include <utf8proc.h>

#define TREE_MT "perilune.json.tree"
#define DEFAULT_DEPTH 128
#define MAX_DEPTH 1000

static int tree_free(lua_State *L)
{
    struct json_object **box = luaL_checkudata(L, 1, TREE_MT);
    json_object_put(*box);
    *box = NULL;
    return 0;
}

struct json_object **lb_json_new_tree(lua_State *L)
{
    struct json_object **box = lua_newuserdatauv(L, sizeof *box, 0);
    *box = NULL;
    luaL_setmetatable(L, TREE_MT);
    lua_toclose(L, -1);
    return box;
}

int lb_json_check_depth(lua_State *L, int idx)
{
    lua_Integer depth = lb_integer_field(L, idx, "depth", DEFAULT_DEPTH);
    if (depth < 1 || depth > MAX_DEPTH)
        luaL_error(L, "depth must be from 1 to %d, got %I", MAX_DEPTH, (LUAI_UACINT)depth);
    return (int)depth;
}

size_t lb_json_utf8_step(const char *s, size_t n)
{
    utf8proc_int32_t code;
    utf8proc_ssize_t step =
        utf8proc_iterate((const utf8proc_uint8_t *)s, (utf8proc_ssize_t)n, &code);
    return step > 0 ? (size_t)step : 0;
}

size_t lb_json_utf8_length(const char *s, size_t n)
{
    size_t i = 0, step;
    while (i < n && (step = lb_json_utf8_step(s + i, n - i)) > 0) i += step;
    return i;
}

void lb_json_mark_ordered(lua_State *L, int object)
{
    luaL_setmetatable(L, LB_JSON_OBJECT);
    lua_getfield(L, LUA_REGISTRYINDEX, LB_JSON_ORDER);
    lua_pushvalue(L, object);
    lua_newtable(L);
    lua_rawset(L, -3);
    lua_pop(L, 1);
}

void lb_json_open_trees(lua_State *L)
{
    static const luaL_Reg tree[] = {{"__gc", tree_free}, {"__close", tree_free}, {NULL, NULL}};
    luaL_newmetatable(L, TREE_MT);
    luaL_setfuncs(L, tree, 0);
    lua_pop(L, 1);
}
