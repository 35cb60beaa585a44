/*
** lb_json_decode.c - JSON texts that lb_json_read.c gives up on, and ordered objects.
**
** json-c does the grammar. What it lets through silently is looked for in one scan of the text
** (check_text): integers beyond 64 bits (which it clamps; here they become floats), keys cut at
** \u0000, and in strict mode also control characters, lone surrogates, duplicate keys, "1." and
** NaN. A malformed text is nil, message, with line and column.
*/
#include "lb_json.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

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
        luaL_setmetatable(L, LB_JSON_ARRAY);
        break;
    }
    case json_type_object: {
        struct json_object_iter it;
        lua_createtable(L, 0, json_object_object_length(value));
        if (state->ordered) lb_json_mark_ordered(L, lua_gettop(L));
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
int lb_json_decode(lua_State *L)
{
    static const char *const known[] = {"ordered", "strict", "depth", NULL};
    size_t n, skip = 0, at = 0;
    const char *text = luaL_checklstring(L, 1, &n);
    lb_known(L, 2, "json.decode option", known);
    decode_state state = {.ctx = lb_ctx(L),
                          .ordered = lb_boolean_field(L, 2, "ordered", false),
                          .strict = lb_boolean_field(L, 2, "strict", false)};
    int depth = lb_json_check_depth(L, 2);
    if (n >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) skip = 3; /* byte order mark */
    text += skip, n -= skip;
    if (n >= INT_MAX - 1) return decode_fail(L, text, 0, "a text of 2 GB or more is not supported");
    if (!state.ordered && lb_json_read(L, text, n, depth)) return 1;

    text_facts facts;
    struct json_object **box = lb_json_new_tree(L);
    const char *why = parse(box, text, n, depth, state.strict, &at);
    if (why != NULL) return decode_fail(L, text, at, why);
    why = check_text(text, n, state.strict, &facts, NULL);
    if (why != NULL) return decode_fail(L, text, facts.at, why);
    at = state.strict ? lb_json_utf8_length(text, n)
                      : n; /* json-c lets surrogates and long forms pass */
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
