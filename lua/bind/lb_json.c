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
** A text that is as it should be is read by lb_json_read.c, in one pass. For all others, and for
** ordered objects, json-c does the grammar. What it lets through silently is looked for in one scan
** of the text (check_text): integers beyond 64 bits (which it clamps; here they become floats),
** keys cut at \u0000, and in strict mode also control characters, lone surrogates, duplicate keys,
** "1." and NaN. Misuse of encode raises an error with the path of the value; a malformed text is
** nil, message, with line and column.
*/
#include "lb.h"
#include "lb_json_read.h"

#include <errno.h>
#include <json-c/json.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#define ARRAY_MT "perilune.json.array"
#define OBJECT_MT "perilune.json.object"
#define TREE_MT "perilune.json.tree"
#define ORDER_KEY "perilune.json.order" /* registry: object -> its key order, weak keys */
#define DEFAULT_DEPTH 128
#define MAX_DEPTH 1000

/* ---------------------------------------------------------------------------------------------
** A json-c tree that is freed whatever happens.
*/
static int tree_free(lua_State *L)
{
    struct json_object **box = luaL_checkudata(L, 1, TREE_MT);
    json_object_put(*box);
    *box = NULL;
    return 0;
}

static struct json_object **new_tree(lua_State *L)
{
    struct json_object **box = lua_newuserdatauv(L, sizeof *box, 0);
    *box = NULL;
    luaL_setmetatable(L, TREE_MT);
    lua_toclose(L, -1);
    return box;
}

static int check_depth(lua_State *L, int idx)
{
    lua_Integer depth = lb_integer_field(L, idx, "depth", DEFAULT_DEPTH);
    if (depth < 1 || depth > MAX_DEPTH)
        luaL_error(L, "depth must be from 1 to %d, got %I", MAX_DEPTH, (LUAI_UACINT)depth);
    return (int)depth;
}

/* ---------------------------------------------------------------------------------------------
** Text
*/

/* Length of the valid UTF-8 sequence at s, 0 when there is none. */
static size_t utf8_step(const char *s, size_t n)
{
    utf8proc_int32_t code;
    utf8proc_ssize_t step =
        utf8proc_iterate((const utf8proc_uint8_t *)s, (utf8proc_ssize_t)n, &code);
    return step > 0 ? (size_t)step : 0;
}

/* Length of the valid UTF-8 that s begins with. */
static size_t utf8_length(const char *s, size_t n)
{
    size_t i = 0, step;
    while (i < n && (step = utf8_step(s + i, n - i)) > 0) i += step;
    return i;
}

static bool utf8_valid(const char *s, size_t n)
{
    return utf8_length(s, n) == n;
}

/* Pushes the text with U+FFFD for each byte that is not UTF-8. */
static void push_repaired(lua_State *L, const char *s, size_t n)
{
    luaL_Buffer b;
    luaL_buffinit(L, &b);
    for (size_t i = 0; i < n;) {
        size_t step = utf8_step(s + i, n - i);
        if (step > 0) luaL_addlstring(&b, s + i, step);
        else luaL_addstring(&b, "\xef\xbf\xbd");
        i += step > 0 ? step : 1;
    }
    luaL_pushresult(&b);
}

/* ---------------------------------------------------------------------------------------------
** Decoding
*/
typedef struct {
    size_t at;     /* where the fault is */
    int64_t pairs; /* colons outside strings: members as written */
    size_t n_huge; /* integers that do not fit 64 bits */
} text_facts;

typedef struct {
    const pl_ctx *ctx;
    bool ordered, strict;
    int64_t pairs; /* members as read: fewer than written when a key stood twice */
} decode_state;

static unsigned hex4(const char *s, size_t n)
{
    char digits[5] = "";
    memcpy(digits, s, n < 4 ? n : 4);
    return (unsigned)strtoul(digits, NULL, 16);
}

/* Past the string that begins at s[i]; sets *why when it holds what may not be there. */
static size_t check_string(const char *s, size_t n, size_t i, bool strict, text_facts *facts,
                           const char **why)
{
    bool has_nul = false;
    size_t start = i, nul_at = 0;
    for (i++; i < n && s[i] != '"'; i++) {
        facts->at = i;
        if (s[i] == '\\' && i + 1 < n && s[i + 1] == 'u') {
            unsigned code = hex4(s + i + 2, n - i - 2);
            if (code == 0 && !has_nul) nul_at = i, has_nul = true;
            if (code >= 0xd800 && code < 0xdc00 && i + 12 <= n && s[i + 6] == '\\' &&
                s[i + 7] == 'u' && (hex4(s + i + 8, 4) & 0xfc00) == 0xdc00)
                i += 11;
            else if (strict && code >= 0xd800 && code < 0xe000) *why = "half of a surrogate pair";
            else i++;
        } else if (s[i] == '\\') {
            i++;
        } else if (strict && (unsigned char)s[i] < 0x20) {
            *why = "control character in a string (write it as an escape)";
        }
        if (*why != NULL) return i;
    }
    i = i < n ? i + 1 : n;
    if (has_nul) {
        size_t next = i + strspn(s + i, " \t\r\n");
        if (next < n && s[next] == ':') {
            facts->at = nul_at > start ? nul_at : start;
            *why = "a key that holds \\u0000 is not supported";
        }
    }
    return i;
}

/* True when s[0..n) is an integer beyond int64. */
static bool is_huge(const char *s, size_t n)
{
    char digits[32];
    size_t sign = n > 0 && s[0] == '-';
    if (n - sign < 19 || strspn(s + sign, "0123456789") < n - sign) return false;
    if (n >= sizeof digits) return true;
    memcpy(digits, s, n);
    digits[n] = '\0';
    errno = 0;
    strtoll(digits, NULL, 10);
    return errno == ERANGE;
}

/* What json-c would let pass. NULL, or the reason with facts->at set. `copy`, when not NULL,
** receives the text with ".0" after each huge integer. */
static const char *check_text(const char *s, size_t n, bool strict, text_facts *facts,
                              luaL_Buffer *copy)
{
    const char *why = NULL;
    memset(facts, 0, sizeof *facts);
    for (size_t i = 0; i < n && why == NULL;) {
        size_t start = i;
        bool huge = false;
        if (s[i] == '"') {
            i = check_string(s, n, i, strict, facts, &why);
        } else if ((s[i] >= '0' && s[i] <= '9') || s[i] == '-') {
            i += 1 + strspn(s + i + 1, "0123456789+-.eE");
            huge = is_huge(s + start, i - start);
            facts->n_huge += huge;
            const char *dot = memchr(s + start, '.', i - start);
            if (strict && dot != NULL && (dot[1] < '0' || dot[1] > '9')) {
                facts->at = (size_t)(dot - s);
                why = "a digit must follow the decimal point";
            }
        } else {
            if (strict && (s[i] == 'N' || s[i] == 'I')) {
                facts->at = i;
                why = "NaN and Infinity are not allowed here";
            }
            facts->pairs += s[i] == ':';
            i++;
        }
        if (copy != NULL) luaL_addlstring(copy, s + start, i - start);
        if (copy != NULL && huge) luaL_addstring(copy, ".0");
    }
    return why;
}

static int decode_fail(lua_State *L, const char *text, size_t at, const char *why)
{
    int line = 1, column = 1;
    for (size_t i = 0; i < at; i++) {
        if (text[i] == '\n') line++, column = 1;
        else if (((unsigned char)text[i] & 0xc0) != 0x80) column++;
    }
    lua_pushnil(L);
    lua_pushfstring(L, "json: %s at line %d, column %d", why, line, column);
    return 2;
}

/* NULL on success, else the reason with *at set. The tree goes to *box. */
static const char *parse(struct json_object **box, const char *text, size_t n, int depth,
                         bool strict, size_t *at)
{
    struct json_tokener *tokener = json_tokener_new_ex(depth + 1);
    const char *why = NULL;
    if (tokener == NULL) return "not enough memory";
    json_tokener_set_flags(tokener,
                           JSON_TOKENER_STRICT | (strict ? JSON_TOKENER_VALIDATE_UTF8 : 0));
    /* With the final NUL, which ends a number that is the whole text. */
    *box = json_tokener_parse_ex(tokener, text, (int)(n + 1));
    enum json_tokener_error error = json_tokener_get_error(tokener);
    *at = json_tokener_get_parse_end(tokener);
    if (error == json_tokener_continue || (error != json_tokener_success && *at >= n))
        why = "unexpected end of text", *at = n;
    else if (error == json_tokener_error_depth) why = "nesting too deep";
    else if (error != json_tokener_success) why = json_tokener_error_desc(error);
    else if (*at < n) why = "NUL byte in the text";
    json_tokener_free(tokener);
    return why;
}

static void push_ordered_mt(lua_State *L, int object)
{
    luaL_setmetatable(L, OBJECT_MT);
    lua_getfield(L, LUA_REGISTRYINDEX, ORDER_KEY);
    lua_pushvalue(L, object);
    lua_newtable(L);
    lua_rawset(L, -3);
    lua_pop(L, 1);
}

/* Pushes the value. The depth of the tree is bounded by the parser. */
static void push_value(lua_State *L, struct json_object *value, decode_state *state)
{
    luaL_checkstack(L, 8, "json: nesting too deep");
    lb_check_interrupt(L, state->ctx);
    switch (json_object_get_type(value)) {
    case json_type_null: lua_pushlightuserdata(L, NULL); break;
    case json_type_boolean: lua_pushboolean(L, json_object_get_boolean(value)); break;
    case json_type_int: lua_pushinteger(L, json_object_get_int64(value)); break;
    case json_type_double: lua_pushnumber(L, json_object_get_double(value)); break;
    case json_type_string:
        lua_pushlstring(L, json_object_get_string(value),
                        (size_t)json_object_get_string_len(value));
        break;
    case json_type_array: {
        size_t n = json_object_array_length(value);
        lua_createtable(L, n < INT_MAX ? (int)n : INT_MAX, 0);
        for (size_t i = 0; i < n; i++) {
            push_value(L, json_object_array_get_idx(value, i), state);
            lua_rawseti(L, -2, (lua_Integer)i + 1);
        }
        luaL_setmetatable(L, ARRAY_MT);
        break;
    }
    case json_type_object: {
        struct json_object_iter it;
        lua_createtable(L, 0, json_object_object_length(value));
        if (state->ordered) push_ordered_mt(L, lua_gettop(L));
        json_object_object_foreachC(value, it)
        {
            state->pairs++;
            if (it.val == NULL && !state->ordered) continue;
            lua_pushstring(L, it.key);
            push_value(L, it.val, state);
            if (state->ordered) lua_settable(L, -3); /* __newindex notes the order */
            else lua_rawset(L, -3);
        }
        break;
    }
    }
}

/// json.decode(text, {ordered = false, strict = false, depth = 128}) -> value | nil, message
static int json_decode(lua_State *L)
{
    static const char *const known[] = {"ordered", "strict", "depth", NULL};
    size_t n, skip = 0, at = 0;
    const char *text = luaL_checklstring(L, 1, &n);
    lb_known(L, 2, "json.decode option", known);
    decode_state state = {.ctx = lb_ctx(L),
                          .ordered = lb_boolean_field(L, 2, "ordered", false),
                          .strict = lb_boolean_field(L, 2, "strict", false)};
    int depth = check_depth(L, 2);
    if (n >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) skip = 3; /* byte order mark */
    text += skip, n -= skip;
    if (n >= INT_MAX - 1) return decode_fail(L, text, 0, "a text of 2 GB or more is not supported");
    if (!state.ordered && lb_json_read(L, text, n, depth, ARRAY_MT)) return 1;

    text_facts facts;
    struct json_object **box = new_tree(L);
    const char *why = parse(box, text, n, depth, state.strict, &at);
    if (why != NULL) return decode_fail(L, text, at, why);
    why = check_text(text, n, state.strict, &facts, NULL);
    if (why != NULL) return decode_fail(L, text, facts.at, why);
    at = state.strict ? utf8_length(text, n) : n; /* json-c lets surrogates and long forms pass */
    if (at < n) return decode_fail(L, text, at, "invalid utf-8");
    if (facts.n_huge > 0) {
        luaL_Buffer copy;
        size_t copied;
        luaL_buffinit(L, &copy);
        check_text(text, n, state.strict, &facts, &copy);
        luaL_pushresult(&copy);
        const char *widened = lua_tolstring(L, -1, &copied);
        json_object_put(*box);
        *box = NULL;
        if (copied >= INT_MAX - 1) return decode_fail(L, text, 0, "text too long");
        why = parse(box, widened, copied, depth, state.strict, &at);
        if (why != NULL) return decode_fail(L, widened, at, why);
    }
    push_value(L, *box, &state);
    if (state.strict && state.pairs < facts.pairs) {
        lua_pushnil(L);
        lua_pushliteral(L, "json: a key stands twice in one object");
        return 2;
    }
    return 1;
}

/* ---------------------------------------------------------------------------------------------
** Encoding
*/

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
        luaL_getmetatable(L, OBJECT_MT);
        if (lua_rawequal(L, -1, -2)) {
            lua_getfield(L, LUA_REGISTRYINDEX, ORDER_KEY);
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
        luaL_getmetatable(L, ARRAY_MT);
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
static int json_encode(lua_State *L)
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
                          .max_depth = check_depth(L, 2)};
    state.root = new_tree(L);
    lua_pushvalue(L, 1);
    put_value(L, &state, NULL, NULL);
    size_t n = 0;
    const char *text = json_object_to_json_string_length(*state.root, flags, &n);
    if (text == NULL) encode_fail(L, NULL, "not enough memory");
    lua_pushlstring(L, text, n);
    return 1;
}

/* ---------------------------------------------------------------------------------------------
** Marked tables
*/

/// json.array(t) -> t, written as an array even when it is empty
static int json_array(lua_State *L)
{
    if (lua_isnoneornil(L, 1)) lua_newtable(L);
    else luaL_checktype(L, 1, LUA_TTABLE), lua_settop(L, 1);
    luaL_setmetatable(L, ARRAY_MT);
    return 1;
}

/// json.object() -> an object that remembers the order in which its keys were first set
static int json_object_make(lua_State *L)
{
    lua_settop(L, 0);
    lua_newtable(L);
    push_ordered_mt(L, 1);
    return 1;
}

static int push_order(lua_State *L)
{
    lua_getfield(L, LUA_REGISTRYINDEX, ORDER_KEY);
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
    static const luaL_Reg tree[] = {{"__gc", tree_free}, {"__close", tree_free}, {NULL, NULL}};
    static const luaL_Reg object[] = {
        {"__newindex", object_newindex}, {"__pairs", object_pairs}, {NULL, NULL}};
    static const luaL_Reg functions[] = {{"decode", json_decode},
                                         {"encode", json_encode},
                                         {"array", json_array},
                                         {"object", json_object_make},
                                         {NULL, NULL}};
    luaL_newmetatable(L, TREE_MT);
    luaL_setfuncs(L, tree, 0);
    luaL_newmetatable(L, OBJECT_MT);
    luaL_setfuncs(L, object, 0);
    luaL_newmetatable(L, ARRAY_MT);
    lua_pop(L, 3);

    lua_newtable(L);
    lua_newtable(L);
    lua_pushliteral(L, "k");
    lua_setfield(L, -2, "__mode");
    lua_setmetatable(L, -2);
    lua_setfield(L, LUA_REGISTRYINDEX, ORDER_KEY);

    luaL_newlib(L, functions);
    lua_pushlightuserdata(L, NULL);
    lua_setfield(L, -2, "null");
    lua_setfield(L, -2, "json");
}
