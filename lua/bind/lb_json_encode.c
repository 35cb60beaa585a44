/*
** lb_json_encode.c - Lua values as JSON text. They become a json-c tree first, which then writes
** itself. Misuse raises an error with the path of the value.
*/
#include "lb_json.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool utf8_valid(const char *s, size_t n)
{
    return lb_json_utf8_length(s, n) == n;
}

/* Pushes the text with U+FFFD for each byte that is not UTF-8. */
static void push_repaired(lua_State *L, const char *s, size_t n)
{
    luaL_Buffer b;
    luaL_buffinit(L, &b);
    for (size_t i = 0; i < n;) {
        size_t step = lb_json_utf8_step(s + i, n - i);
        if (step > 0) luaL_addlstring(&b, s + i, step);
        else luaL_addstring(&b, "\xef\xbf\xbd");
        i += step > 0 ? step : 1;
    }
    luaL_pushresult(&b);
}

/* The way from the root to the value, for error texts. */
typedef struct path {
    const struct path *up;
    const char *key; /* NULL: an array element */
    lua_Integer index;
    int depth;
} path;

typedef struct {
    struct json_object **root;
    const pl_ctx *ctx;
    int max_depth;
    bool strict, finite;
} encode_state;

static int encode_fail(lua_State *L, const path *where, const char *why)
{
    luaL_checkstack(L, 4, NULL);
    lua_pushliteral(L, "");
    for (; where != NULL; where = where->up) {
        if (where->key != NULL) lua_pushfstring(L, ".%s", where->key);
        else lua_pushfstring(L, "[%I]", (LUAI_UACINT)where->index);
        lua_insert(L, -2);
        lua_concat(L, 2);
    }
    const char *trail = lua_tostring(L, -1);
    return luaL_error(L, "json.encode: %s at value%s", why, trail);
}

/* Hands `child` to its parent, or makes it the root. No Lua call between its making and this. */
static void attach(lua_State *L, encode_state *state, struct json_object *parent, const path *where,
                   struct json_object *child, bool made)
{
    int failed = !made;
    if (!failed && parent == NULL) *state->root = child;
    else if (!failed && where->key == NULL) failed = json_object_array_add(parent, child) != 0;
    else if (!failed)
        failed = json_object_object_add_ex(parent, where->key, child, JSON_C_OBJECT_ADD_KEY_IS_NEW);
    if (failed) {
        json_object_put(child);
        encode_fail(L, where, "not enough memory");
    }
}

static struct json_object *new_float(const encode_state *state, double x)
{
    char text[40];
    if (!isfinite(x)) {
        const char *name = isnan(x) ? "NaN" : x > 0 ? "Infinity" : "-Infinity";
        return state->finite ? json_object_new_string(name) : json_object_new_double_s(x, name);
    }
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, sizeof text - 2, "%.*g", digits, x);
        if (strtod(text, NULL) == x) break;
    }
    size_t plain = strspn(text, "0123456789-");
    if (text[plain] == '\0') memcpy(text + plain, ".0", 3);
    else if (text[plain] != 'e') text[plain] = '.'; /* whatever the locale's decimal point is */
    return json_object_new_double_s(x, text);
}

static struct json_object *new_string(lua_State *L, encode_state *state, const path *where)
{
    size_t n;
    const char *s = lua_tolstring(L, -1, &n);
    if (!utf8_valid(s, n)) {
        if (state->strict) encode_fail(L, where, "text that is not UTF-8");
        push_repaired(L, s, n);
        lua_replace(L, -2);
        s = lua_tolstring(L, -1, &n);
    }
    if (n >= INT_MAX) encode_fail(L, where, "string of 2 GB or more");
    return json_object_new_string_len(s, (int)n);
}

static int by_bytes(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Raises unless the key at the top of the stack can be an object's key. */
static const char *check_key(lua_State *L, const path *where)
{
    size_t n;
    if (lua_type(L, -1) != LUA_TSTRING)
        encode_fail(L, where,
                    "table with keys that are neither all strings nor exactly 1..n (a hole? an "
                    "object's keys must be strings)");
    const char *key = lua_tolstring(L, -1, &n);
    if (strlen(key) != n) encode_fail(L, where, "key that holds a NUL byte");
    if (!utf8_valid(key, n)) encode_fail(L, where, "key that is not UTF-8");
    return key;
}

/* Pushes a userdata with the keys of the table at t in the order they are written. The strings are
** held by the table. */
static const char **push_keys(lua_State *L, int t, size_t count, const path *where)
{
    const char **keys = lua_newuserdatauv(L, (count + 1) * sizeof *keys, 0);
    size_t n_known = 0, n = 0;
    int order = 0;
    if (lua_getmetatable(L, t)) {
        luaL_getmetatable(L, LB_JSON_OBJECT);
        if (lua_rawequal(L, -1, -2)) {
            lua_getfield(L, LUA_REGISTRYINDEX, LB_JSON_ORDER);
            lua_pushvalue(L, t);
            if (lua_rawget(L, -2) == LUA_TTABLE) order = lua_gettop(L);
        }
    }
    if (order != 0) {
        for (lua_Integer i = 1; lua_rawgeti(L, order, i) == LUA_TSTRING && n < count; i++) {
            const char *key = check_key(L, where);
            if (lua_rawget(L, t) != LUA_TNIL) keys[n++] = key;
            lua_pop(L, 1);
        }
        lua_pop(L, 1);
    }
    n_known = n;
    for (lua_pushnil(L); lua_next(L, t);) {
        lua_pop(L, 1);
        const char *key = check_key(L, where);
        bool known = false;
        if (order != 0) {
            lua_pushvalue(L, -1);
            known = lua_rawget(L, order) != LUA_TNIL;
            lua_pop(L, 1);
        }
        if (!known) keys[n++] = key;
    }
    qsort(keys + n_known, n - n_known, sizeof *keys, by_bytes);
    keys[n] = NULL;
    return keys;
}

static void put_value(lua_State *L, encode_state *state, struct json_object *parent,
                      const path *where);

/* The table on top of the stack, as an array when it has the array metatable or is 1..n. */
static void put_table(lua_State *L, encode_state *state, struct json_object *parent,
                      const path *where)
{
    int t = lua_gettop(L), depth = where != NULL ? where->depth : 0;
    size_t count = 0, length = lua_rawlen(L, t);
    luaL_checkstack(L, 12, "json: nesting too deep");
    if (depth >= state->max_depth) encode_fail(L, where, "nesting too deep (a cycle?)");
    for (lua_pushnil(L); lua_next(L, t); lua_pop(L, 1)) count++;
    bool is_array = count > 0 && count == length;
    if (lua_getmetatable(L, t)) {
        luaL_getmetatable(L, LB_JSON_ARRAY);
        if (lua_rawequal(L, -1, -2)) {
            is_array = true;
            if (count != length)
                encode_fail(L, where, "array with a hole or a key that is no index");
        }
        lua_settop(L, t);
    }
    path inside = {.up = where, .depth = depth + 1};
    if (is_array) {
        struct json_object *array = json_object_new_array();
        attach(L, state, parent, where, array, array != NULL);
        for (inside.index = 1; inside.index <= (lua_Integer)length; inside.index++) {
            lua_rawgeti(L, t, inside.index);
            put_value(L, state, array, &inside);
            lua_settop(L, t);
        }
    } else {
        struct json_object *object = json_object_new_object();
        attach(L, state, parent, where, object, object != NULL);
        const char **keys = push_keys(L, t, count, where);
        int top = lua_gettop(L);
        for (; *keys != NULL; keys++) {
            inside.key = *keys;
            lua_pushstring(L, inside.key);
            lua_rawget(L, t);
            put_value(L, state, object, &inside);
            lua_settop(L, top);
        }
    }
    lua_settop(L, t);
}

/* The value on top of the stack. */
static void put_value(lua_State *L, encode_state *state, struct json_object *parent,
                      const path *where)
{
    struct json_object *child = NULL;
    bool is_null = false;
    lb_check_interrupt(L, state->ctx);
    switch (lua_type(L, -1)) {
    case LUA_TBOOLEAN: child = json_object_new_boolean(lua_toboolean(L, -1)); break;
    case LUA_TNUMBER:
        child = lua_isinteger(L, -1) ? json_object_new_int64(lua_tointeger(L, -1))
                                     : new_float(state, lua_tonumber(L, -1));
        break;
    case LUA_TSTRING: child = new_string(L, state, where); break;
    case LUA_TLIGHTUSERDATA:
        is_null = lua_touserdata(L, -1) == NULL;
        if (!is_null) encode_fail(L, where, "cannot write a light userdata");
        break;
    case LUA_TTABLE: put_table(L, state, parent, where); return;
    case LUA_TNIL: encode_fail(L, where, "nil (use json.null, or leave the key out)"); break;
    default:
        lua_pushfstring(L, "cannot write a %s", luaL_typename(L, -1));
        encode_fail(L, where, lua_tostring(L, -1));
    }
    attach(L, state, parent, where, child, is_null || child != NULL);
}

/// json.encode(value, {pretty = false, strict = false, finite = false, depth = 128}) -> text
int lb_json_encode(lua_State *L)
{
    static const char *const known[] = {"pretty", "strict", "finite", "depth", NULL};
    luaL_checkany(L, 1);
    lb_known(L, 2, "json.encode option", known);
    int flags = JSON_C_TO_STRING_NOSLASHESCAPE;
    if (lb_boolean_field(L, 2, "pretty", false))
        flags |= JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED;
    encode_state state = {.ctx = lb_ctx(L),
                          .strict = lb_boolean_field(L, 2, "strict", false),
                          .finite = lb_boolean_field(L, 2, "finite", false),
                          .max_depth = lb_json_check_depth(L, 2)};
    state.root = lb_json_new_tree(L);
    lua_pushvalue(L, 1);
    put_value(L, &state, NULL, NULL);
    size_t n = 0;
    const char *text = json_object_to_json_string_length(*state.root, flags, &n);
    if (text == NULL) encode_fail(L, NULL, "not enough memory");
    lua_pushlstring(L, text, n);
    return 1;
}
