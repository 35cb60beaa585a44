/*
** lb.c - what the binding files share: the context, errors, classes, option tables, paths, blocks.
*/
#include "lb.h"

#include <string.h>

#define BLOCK_MT "perilune.Block"

static const char ctx_key = 0; /* its address is the registry key */

pl_ctx *lb_ctx(lua_State *L)
{
    lua_rawgetp(L, LUA_REGISTRYINDEX, &ctx_key);
    pl_ctx **box = lua_touserdata(L, -1);
    lua_pop(L, 1);
    return *box;
}

void lb_check(lua_State *L, pl_status st)
{
    if (st == PL_OK) return;
    luaL_where(L, 1);
    lua_pushstring(L, pl_error(lb_ctx(L)));
    lua_concat(L, 2);
    lua_error(L);
}

void lb_check_interrupt(lua_State *L, const pl_ctx *ctx)
{
    if (pl_interrupted(ctx)) luaL_error(L, "interrupted!");
}

int lb_soft_fail(lua_State *L, pl_status st)
{
    if (st == PL_ERR_NOMEM || st == PL_ERR_INTERRUPTED) lb_check(L, st);
    lua_pushnil(L);
    lua_pushstring(L, pl_error(lb_ctx(L)));
    return 2;
}

lua_Integer lb_list_integer(lua_State *L, const char *what, int64_t place)
{
    int fine = 0;
    const int type = lua_type(L, -1);
    const char *quote = type == LUA_TSTRING ? "'" : "";
    const lua_Integer value = type == LUA_TNUMBER ? lua_tointegerx(L, -1, &fine) : 0;
    if (!fine)
        luaL_error(L, "%s: item %I is %s%s%s, not an integer", what, (LUAI_UACINT)place, quote,
                   luaL_tolstring(L, -1, NULL), quote);
    return value;
}

int32_t lb_list_int32(lua_State *L, const char *what, int64_t place)
{
    const lua_Integer value = lb_list_integer(L, what, place);
    if (value < INT32_MIN || value > INT32_MAX)
        luaL_error(L, "%s: item %I is %I, not an integer of 32 bits", what, (LUAI_UACINT)place,
                   (LUAI_UACINT)value);
    return (int32_t)value;
}

const char *lb_check_path(lua_State *L, int idx)
{
    size_t n;
    const char *path = luaL_checklstring(L, idx, &n);
    luaL_argcheck(L, n > 0 && strlen(path) == n, idx, "a path must not be empty or hold a NUL");
    return path;
}

static int block_free(lua_State *L)
{
    lb_block *box = luaL_checkudata(L, 1, BLOCK_MT);
    pl_free(box->ctx, box->block);
    box->block = NULL;
    return 0;
}

lb_block *lb_new_block(lua_State *L)
{
    lb_block *box = lua_newuserdatauv(L, sizeof *box, 0);
    *box = (lb_block){lb_ctx(L), NULL};
    luaL_setmetatable(L, BLOCK_MT);
    lua_toclose(L, -1);
    return box;
}

int lb_no_member(lua_State *L, const char *class_name, int idx, const char *name)
{
    enum { MOST = 256 };
    const char *names[MOST];
    int n = 0;
    const char *an = strchr("AEIOU", class_name[0]) != NULL ? "an" : "a";
    idx = lua_absindex(L, idx);
    for (lua_pushnil(L); lua_next(L, idx) != 0; lua_pop(L, 1))
        if (n < MOST) names[n++] = lua_tostring(L, -2);
    const char *nearest = pl_nearest(name, names, n);
    if (nearest == NULL) return luaL_error(L, "%s %s has no '%s'", an, class_name, name);
    return luaL_error(L, "%s %s has no '%s'; did you mean '%s'?", an, class_name, name, nearest);
}

/* __index of a table of methods: upvalue 1 is the name of the class. */
static int no_method(lua_State *L)
{
    const char *name = lua_tostring(L, lua_upvalueindex(1));
    if (lua_type(L, 2) != LUA_TSTRING)
        return luaL_error(L, "%s: a method's name wanted, got %s", name, luaL_typename(L, 2));
    return lb_no_member(L, name, 1, lua_tostring(L, 2));
}

void lb_class(lua_State *L, const char *name, const luaL_Reg *methods)
{
    const char *dot = strrchr(name, '.');
    if (!luaL_newmetatable(L, name)) luaL_error(L, "class '%s' exists already", name);
    lua_newtable(L);
    lua_newtable(L);
    lua_pushstring(L, dot != NULL ? dot + 1 : name);
    lua_pushcclosure(L, no_method, 1);
    lua_setfield(L, -2, "__index");
    lua_setmetatable(L, -2);
    for (const luaL_Reg *m = methods; m->name != NULL; m++) {
        lua_pushcfunction(L, m->func);
        lua_setfield(L, strncmp(m->name, "__", 2) == 0 ? -3 : -2, m->name);
    }
    lua_pushvalue(L, -1);
    lua_setfield(L, -3, "__methods");
    lua_setfield(L, -2, "__index");
    lb_set_boolean(L, "__metatable", 0);
    lua_pop(L, 1);
}

int lb_unknown(lua_State *L, const char *what, const char *name, const char *const *names)
{
    int64_t n = 0;
    while (names[n] != NULL) n++;
    const char *nearest = pl_nearest(name, names, n);
    if (nearest != NULL)
        return luaL_error(L, "unknown %s '%s'; did you mean '%s'?", what, name, nearest);
    luaL_Buffer list;
    luaL_buffinit(L, &list);
    for (int64_t i = 0; i < n; i++) {
        if (i > 0) luaL_addstring(&list, ", ");
        luaL_addstring(&list, names[i]);
    }
    luaL_pushresult(&list);
    return luaL_error(L, "unknown %s '%s'; there are %s", what, name, lua_tostring(L, -1));
}

static void known(lua_State *L, int idx, const char *what, const char *const *names, bool listed)
{
    idx = lua_absindex(L, idx);
    for (lua_pushnil(L); lua_next(L, idx) != 0; lua_pop(L, 1)) {
        if (listed && lua_isinteger(L, -2)) continue;
        if (lua_type(L, -2) != LUA_TSTRING)
            luaL_error(L, "%s: keys of the option table must be names", what);
        const char *key = lua_tostring(L, -2);
        bool found = false;
        for (const char *const *n = names; *n != NULL; n++) found = found || strcmp(*n, key) == 0;
        if (!found) lb_unknown(L, what, key, names);
    }
}

void lb_known(lua_State *L, int idx, const char *what, const char *const *names)
{
    if (lua_isnoneornil(L, idx)) return;
    luaL_checktype(L, idx, LUA_TTABLE);
    known(L, idx, what, names, false);
}

void lb_known_fields(lua_State *L, int idx, const char *what, const char *const *names)
{
    if (lua_istable(L, idx)) known(L, idx, what, names, true);
}

/* Pushes the field, false (nothing pushed) when it or the table is absent. */
static bool field(lua_State *L, int idx, const char *name)
{
    if (lua_isnoneornil(L, idx)) return false;
    if (lua_getfield(L, idx, name) != LUA_TNIL) return true;
    lua_pop(L, 1);
    return false;
}

lua_Number lb_number_field(lua_State *L, int idx, const char *name, lua_Number fallback)
{
    if (!field(L, idx, name)) return fallback;
    int is_number;
    const lua_Number value = lua_tonumberx(L, -1, &is_number);
    if (!is_number) luaL_error(L, "'%s' must be a number, not %s", name, luaL_typename(L, -1));
    lua_pop(L, 1);
    return value;
}

lua_Integer lb_integer_field(lua_State *L, int idx, const char *name, lua_Integer fallback)
{
    if (!field(L, idx, name)) return fallback;
    int is_integer;
    const lua_Integer value = lua_tointegerx(L, -1, &is_integer);
    if (!is_integer) luaL_error(L, "'%s' must be an integer", name);
    lua_pop(L, 1);
    return value;
}

bool lb_boolean_field(lua_State *L, int idx, const char *name, bool fallback)
{
    if (!field(L, idx, name)) return fallback;
    if (!lua_isboolean(L, -1)) luaL_error(L, "'%s' must be true or false", name);
    const bool value = lua_toboolean(L, -1);
    lua_pop(L, 1);
    return value;
}

const char *lb_string_field(lua_State *L, int idx, const char *name, const char *fallback)
{
    if (!field(L, idx, name)) return fallback;
    if (lua_type(L, -1) != LUA_TSTRING) luaL_error(L, "'%s' must be a string", name);
    const char *value = lua_tostring(L, -1);
    lua_pop(L, 1); /* the table still holds the string */
    return value;
}

void lb_set_number(lua_State *L, const char *name, lua_Number x)
{
    lua_pushnumber(L, x);
    lua_setfield(L, -2, name);
}

void lb_set_integer(lua_State *L, const char *name, lua_Integer n)
{
    lua_pushinteger(L, n);
    lua_setfield(L, -2, name);
}

void lb_set_boolean(lua_State *L, const char *name, bool on)
{
    lua_pushboolean(L, on);
    lua_setfield(L, -2, name);
}

void lb_set_string(lua_State *L, const char *name, const char *text)
{
    lua_pushstring(L, text);
    lua_setfield(L, -2, name);
}

static int ctx_gc(lua_State *L)
{
    pl_ctx **box = lua_touserdata(L, 1);
    pl_ctx_free(*box);
    *box = NULL;
    return 0;
}

/* The context must outlive every tensor userdata; Lua closes a state by calling finalizers in the
** reverse order of their marking, so the context, marked first, goes last. */
void lb_make_context(lua_State *L)
{
    static const luaL_Reg block[] = {{"__gc", block_free}, {"__close", block_free}, {NULL, NULL}};
    pl_ctx **box = lua_newuserdatauv(L, sizeof *box, 0);
    *box = NULL;
    lua_newtable(L);
    lua_pushcfunction(L, ctx_gc);
    lua_setfield(L, -2, "__gc");
    lua_setmetatable(L, -2);
    *box = pl_ctx_new();
    if (*box == NULL) luaL_error(L, "not enough memory for an engine context");
    lua_rawsetp(L, LUA_REGISTRYINDEX, &ctx_key);
    lb_class(L, BLOCK_MT, block);
}
