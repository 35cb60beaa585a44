/*
** lb_json.c - JSON for Lua, over json-c.
**
** json.decode(text, opts) reads, json.encode(value, opts) writes. Integers stay integers, floats
** are written with the fewest of 15, 16 or 17 digits that read back to the same bits (and with a
** ".0" when they look like integers), NaN and the infinities as Python writes them (as texts, which
** every reader takes, when `finite` numbers alone are asked for). Objects are
** plain tables, written with sorted keys; arrays carry a shared metatable, so an empty one stays
** an array. With `ordered` an object remembers the order of its keys and its nulls, which is what
** editing somebody's config.json needs; without it a null member is absent (nil).
**
** Here is what Lua sees, and the tables with a mark: arrays and ordered objects.
*/
#include "lb_json.h"

/// json.array(t) -> t, written as an array even when it is empty
static int json_array(lua_State *L)
{
    if (lua_isnoneornil(L, 1)) lua_newtable(L);
    else luaL_checktype(L, 1, LUA_TTABLE), lua_settop(L, 1);
    luaL_setmetatable(L, LB_JSON_ARRAY);
    return 1;
}

/// json.object() -> an object that remembers the order in which its keys were first set
static int json_object_make(lua_State *L)
{
    lua_settop(L, 0);
    lua_newtable(L);
    lb_json_mark_ordered(L, 1);
    return 1;
}

static int push_order(lua_State *L)
{
    lua_getfield(L, LUA_REGISTRYINDEX, LB_JSON_ORDER);
    lua_pushvalue(L, 1);
    if (lua_rawget(L, -2) != LUA_TTABLE) luaL_argerror(L, 1, "not an ordered object");
    return lua_gettop(L);
}

static int object_newindex(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 3);
    if (lua_type(L, 2) == LUA_TSTRING && !lua_isnil(L, 3)) {
        int order = push_order(L);
        lua_pushvalue(L, 2);
        if (lua_rawget(L, order) == LUA_TNIL) {
            lua_Integer n = (lua_Integer)lua_rawlen(L, order) + 1;
            lua_pushvalue(L, 2);
            lua_rawseti(L, order, n);
            lua_pushvalue(L, 2);
            lua_pushinteger(L, n);
            lua_rawset(L, order);
        }
    }
    lua_settop(L, 3);
    lua_rawset(L, 1);
    return 0;
}

/* Iterator: state is the object, the control variable its key, the order an upvalue. */
static int object_next(lua_State *L)
{
    int order = lua_upvalueindex(1);
    lua_Integer i = 0;
    if (!lua_isnil(L, 2)) {
        lua_pushvalue(L, 2);
        lua_rawget(L, order);
        i = lua_tointeger(L, -1);
    }
    while (lua_rawgeti(L, order, ++i) == LUA_TSTRING) {
        lua_pushvalue(L, -1);
        if (lua_rawget(L, 1) != LUA_TNIL) return 2;
        lua_pop(L, 2);
    }
    return 0;
}

static int object_pairs(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    push_order(L);
    lua_pushcclosure(L, object_next, 1);
    lua_pushvalue(L, 1);
    lua_pushnil(L);
    return 3;
}

void lb_open_json(lua_State *L)
{
    static const luaL_Reg object[] = {
        {"__newindex", object_newindex}, {"__pairs", object_pairs}, {NULL, NULL}};
    static const luaL_Reg functions[] = {{"decode", lb_json_decode},
                                         {"encode", lb_json_encode},
                                         {"array", json_array},
                                         {"object", json_object_make},
                                         {NULL, NULL}};
    lb_json_open_trees(L);
    luaL_newmetatable(L, LB_JSON_OBJECT);
    luaL_setfuncs(L, object, 0);
    luaL_newmetatable(L, LB_JSON_ARRAY);
    lua_pop(L, 2);

    lua_newtable(L);
    lua_newtable(L);
    lb_set_string(L, "__mode", "k");
    lua_setmetatable(L, -2);
    lua_setfield(L, LUA_REGISTRYINDEX, LB_JSON_ORDER);

    luaL_newlib(L, functions);
    lua_pushlightuserdata(L, NULL);
    lua_setfield(L, -2, "null");
    lua_setfield(L, -2, "json");
}
