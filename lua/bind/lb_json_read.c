/*
** lb_json_read.c - the short way for JSON that is as it should be.
**
** Data come as millions of small objects. json-c makes a tree of each, which is then copied to Lua
** and freed; half of the time is spent in malloc. Here a text goes to Lua values in one pass over
** its bytes, with no memory but Lua's.
**
** It reads RFC 8259 and nothing else: at anything unusual (an error of any kind, a key twice, a key
** with escapes, a control character, half a surrogate pair, bytes that are not UTF-8, an integer of
** 19 digits or more, NaN, too much depth) it gives up, and lb_json_decode begins anew with json-c,
** which decides what such a text is and words what is wrong. So no text is read in two ways:
** accepted here is what strict and lax reading have in common.
*/
#include "lb_json.h"

#include <math.h>
#include <string.h>
#include <utf8proc.h>

typedef struct {
    lua_State *L;
    const pl_ctx *ctx;
    const char *at, *end;
} reader;

static bool read_value(reader *r, int depth);

static void skip_blanks(reader *r)
{
    while (r->at < r->end && (*r->at == ' ' || *r->at == '\n' || *r->at == '\t' || *r->at == '\r'))
        r->at++;
}

static bool take(reader *r, char c)
{
    if (r->at == r->end || *r->at != c) return false;
    r->at++;
    return true;
}

/* --------------------------------------------------------------------------------------------
** Strings
*/

/* Past the bytes from `s` that stand for themselves in a string; NULL for bytes that may not. */
static const char *plain_end(const char *s, const char *end)
{
    while (s < end) {
        const unsigned char c = (unsigned char)*s;
        if (c == '"' || c == '\\') return s;
        if (c < 0x20) return NULL;
        if (c < 0x80) {
            s++;
            continue;
        }
        utf8proc_int32_t code;
        const utf8proc_ssize_t step = utf8proc_iterate((const utf8proc_uint8_t *)s, end - s, &code);
        if (step <= 0) return NULL;
        s += step;
    }
    return NULL;
}

/* The four hexadecimal digits at `s`, -1 when they are not there. */
static int hex4(const char *s, const char *end)
{
    int code = 0;
    if (end - s < 4) return -1;
    for (int i = 0; i < 4; i++) {
        const char c = s[i];
        const int digit = c >= '0' && c <= '9'   ? c - '0'
                          : c >= 'a' && c <= 'f' ? c - 'a' + 10
                          : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                                 : -1;
        if (digit < 0) return -1;
        code = code * 16 + digit;
    }
    return code;
}

/* Reads what follows "\u"; false for half a surrogate pair and for what is no code. */
static bool read_code(reader *r, luaL_Buffer *b)
{
    int code = hex4(r->at, r->end);
    if (code < 0 || (code >= 0xdc00 && code < 0xe000)) return false;
    r->at += 4;
    if (code >= 0xd800 && code < 0xdc00) {
        if (r->end - r->at < 6 || r->at[0] != '\\' || r->at[1] != 'u') return false;
        const int low = hex4(r->at + 2, r->end);
        if (low < 0xdc00 || low >= 0xe000) return false;
        code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
        r->at += 6;
    }
    utf8proc_uint8_t bytes[4];
    const utf8proc_ssize_t n = utf8proc_encode_char(code, bytes);
    luaL_addlstring(b, (const char *)bytes, (size_t)n);
    return true;
}

/* Reads what follows a backslash. */
static bool read_escape(reader *r, luaL_Buffer *b)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    if (r->at == r->end) return false;
    const char c = *r->at++;
    if (c == 'u') return read_code(r, b);
    const char *place = c != '\0' ? strchr(from, c) : NULL;
    if (place == NULL) return false;
    luaL_addchar(b, to[place - from]);
    return true;
}

/* Pushes the string whose opening quote was taken. */
static bool read_string(reader *r, bool escapes)
{
    const char *stop = plain_end(r->at, r->end);
    if (stop == NULL) return false;
    if (*stop == '"') {
        lua_pushlstring(r->L, r->at, (size_t)(stop - r->at));
        r->at = stop + 1;
        return true;
    }
    if (!escapes) return false;
    luaL_Buffer b;
    luaL_buffinit(r->L, &b);
    for (;;) {
        luaL_addlstring(&b, r->at, (size_t)(stop - r->at));
        r->at = stop + 1;
        if (*stop == '"') break;
        if (!read_escape(r, &b)) return false;
        stop = plain_end(r->at, r->end);
        if (stop == NULL) return false;
    }
    luaL_pushresult(&b);
    return true;
}

/* --------------------------------------------------------------------------------------------
** Numbers and words
*/
static size_t count_digits(const char *s, const char *end)
{
    size_t n = 0;
    while (s + n < end && s[n] >= '0' && s[n] <= '9') n++;
    return n;
}

/* What follows the whole part of a number from `start`: a float of Lua's own conversion, which
** minds the locale. */
static bool read_float(reader *r, const char *start)
{
    char text[64];
    size_t n;
    if (take(r, '.')) {
        n = count_digits(r->at, r->end);
        if (n == 0) return false;
        r->at += n;
    }
    if (take(r, 'e') || take(r, 'E')) {
        if (!take(r, '+')) take(r, '-');
        n = count_digits(r->at, r->end);
        if (n == 0) return false;
        r->at += n;
    }
    n = (size_t)(r->at - start);
    if (n >= sizeof text) return false;
    memcpy(text, start, n);
    text[n] = '\0';
    return lua_stringtonumber(r->L, text) == n + 1 && isfinite(lua_tonumber(r->L, -1));
}

static bool read_number(reader *r)
{
    const char *start = r->at;
    const bool negative = take(r, '-');
    const size_t n = count_digits(r->at, r->end);
    if (n == 0 || n > 18 || (n > 1 && *r->at == '0')) return false;
    lua_Integer value = 0;
    for (size_t i = 0; i < n; i++) value = value * 10 + (r->at[i] - '0');
    r->at += n;
    if (r->at < r->end && (*r->at == '.' || *r->at == 'e' || *r->at == 'E'))
        return read_float(r, start);
    lua_pushinteger(r->L, negative ? -value : value);
    return true;
}

static bool take_word(reader *r, const char *word, size_t n)
{
    if ((size_t)(r->end - r->at) < n || memcmp(r->at, word, n) != 0) return false;
    r->at += n;
    return true;
}

/* --------------------------------------------------------------------------------------------
** Lists and objects
*/
static bool read_list(reader *r, int depth)
{
    lua_newtable(r->L);
    luaL_setmetatable(r->L, LB_JSON_ARRAY);
    skip_blanks(r);
    if (take(r, ']')) return true;
    for (lua_Integer i = 1;; i++) {
        if (!read_value(r, depth)) return false;
        lua_rawseti(r->L, -2, i);
        skip_blanks(r);
        if (take(r, ']')) return true;
        if (!take(r, ',')) return false;
    }
}

/* Null members count as members while a key might come twice, and are taken out at the end. */
static void remove_nulls(lua_State *L)
{
    for (lua_pushnil(L); lua_next(L, -2);) {
        const bool is_null = lua_touserdata(L, -1) == NULL && lua_islightuserdata(L, -1);
        lua_pop(L, 1);
        if (!is_null) continue;
        lua_pushvalue(L, -1);
        lua_pushnil(L);
        lua_rawset(L, -4);
    }
}

static bool read_object(reader *r, int depth)
{
    lua_State *L = r->L;
    bool nulls = false;
    lua_createtable(L, 0, 8);
    skip_blanks(r);
    if (take(r, '}')) return true;
    for (;;) {
        skip_blanks(r);
        if (!take(r, '"') || !read_string(r, false)) return false;
        lua_pushvalue(L, -1);
        if (lua_rawget(L, -3) != LUA_TNIL) return false;
        lua_pop(L, 1);
        skip_blanks(r);
        if (!take(r, ':') || !read_value(r, depth)) return false;
        nulls = nulls || lua_islightuserdata(L, -1);
        lua_rawset(L, -3);
        skip_blanks(r);
        if (take(r, '}')) break;
        if (!take(r, ',')) return false;
    }
    if (nulls) remove_nulls(L);
    return true;
}

/* Pushes a value; false leaves anything on the stack. */
static bool read_value(reader *r, int depth)
{
    lb_check_interrupt(r->L, r->ctx);
    skip_blanks(r);
    if (r->at == r->end) return false;
    switch (*r->at) {
    case '"': r->at++; return read_string(r, true);
    case '{':
    case '[':
        if (depth == 0) return false;
        luaL_checkstack(r->L, 8, "json: nesting too deep");
        return *r->at++ == '{' ? read_object(r, depth - 1) : read_list(r, depth - 1);
    case 't': lua_pushboolean(r->L, 1); return take_word(r, "true", 4);
    case 'f': lua_pushboolean(r->L, 0); return take_word(r, "false", 5);
    case 'n': lua_pushlightuserdata(r->L, NULL); return take_word(r, "null", 4);
    default: return read_number(r);
    }
}

bool lb_json_read(lua_State *L, const char *text, size_t n, int depth)
{
    reader r = {.L = L, .ctx = lb_ctx(L), .at = text, .end = text + n};
    const int top = lua_gettop(L);
    luaL_checkstack(L, 8, "json: nesting too deep");
    if (read_value(&r, depth)) {
        skip_blanks(&r);
        if (r.at == r.end) return true;
    }
    lua_settop(L, top);
    return false;
}
