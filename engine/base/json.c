/*
** json.c - JSON files over json-c: strict parsing, typed members (json.h).
*/
#include "base/json.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

/* In sound JSON the place of the first key that holds \u0000, at which json-c cuts it; else `n`. */
static size_t nul_key(const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (text[i] != '"') continue;
        const size_t start = i;
        bool nul = false;
        for (i++; i < n && text[i] != '"'; i++)
            if (text[i] == '\\') {
                nul = nul || (n - i > 5 && memcmp(text + i, "\\u0000", 6) == 0);
                i++;
            }
        if (!nul) continue;
        const size_t blank = i + 1 < n ? strspn(text + i + 1, " \t\r\n") : 0;
        if (i + 1 + blank < n && text[i + 1 + blank] == ':') return start;
    }
    return n;
}

pl_status pl__json_parse(pl_ctx *ctx, struct json_object **out, const char *text, size_t length,
                         int depth, const char *path)
{
    *out = NULL;
    if (length >= INT_MAX - 1)
        return pl__fail(ctx, PL_ERR_FORMAT, "'%s': JSON of 2 GB or more", path);
    struct json_tokener *parser = json_tokener_new_ex(depth);
    if (parser == NULL) return pl__fail(ctx, PL_ERR_NOMEM, "reading '%s': not enough memory", path);
    json_tokener_set_flags(parser, JSON_TOKENER_STRICT);
    /* With the final NUL, which ends a number that is the whole text. */
    struct json_object *root = json_tokener_parse_ex(parser, text, (int)length + 1);
    const enum json_tokener_error error = json_tokener_get_error(parser);
    const size_t at = json_tokener_get_parse_end(parser);
    json_tokener_free(parser);
    pl_status st = PL_OK;
    if (error != json_tokener_success || at < length)
        st = pl__fail(ctx, PL_ERR_FORMAT, "'%s', byte %zu: malformed JSON: %s", path,
                      at < length ? at : length,
                      error == json_tokener_continue ||
                              (error != json_tokener_success && at >= length)
                          ? "the text ends early"
                      : error == json_tokener_success ? "text after the end"
                                                      : json_tokener_error_desc(error));
    else if (nul_key(text, length) < length)
        st = pl__fail(ctx, PL_ERR_FORMAT, "'%s', byte %zu: a key holds \\u0000", path,
                      nul_key(text, length));
    else st = pl__json_check_type(ctx, root, "the whole file", PL__JSON_OBJECT, path);
    if (st != PL_OK) json_object_put(root);
    else *out = root;
    return st;
}

/* ------------------------------------------------------------------------------------------- */

static unsigned type_of(struct json_object *value)
{
    switch (json_object_get_type(value)) {
    case json_type_boolean: return PL__JSON_BOOLEAN;
    case json_type_int: return PL__JSON_INTEGER | PL__JSON_NUMBER;
    case json_type_double: return PL__JSON_NUMBER;
    case json_type_string: return PL__JSON_TEXT;
    case json_type_array: return PL__JSON_LIST;
    case json_type_object: return PL__JSON_OBJECT;
    case json_type_null: break;
    }
    return 0;
}

/* "a text or a list" */
static void name_types(char *out, size_t size, unsigned types)
{
    static const struct {
        unsigned type;
        const char *name;
    } names[] = {{PL__JSON_TEXT, "a text"},        {PL__JSON_BOOLEAN, "true or false"},
                 {PL__JSON_INTEGER, "an integer"}, {PL__JSON_NUMBER, "a number"},
                 {PL__JSON_LIST, "a list"},        {PL__JSON_OBJECT, "an object"}};
    out[0] = '\0';
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (!(types & names[i].type)) continue;
        const size_t n = strlen(out);
        snprintf(out + n, size - n, "%s%s", n > 0 ? " or " : "", names[i].name);
    }
}

/* The value, or for one that may be long its kind. */
static void describe(char *out, size_t size, struct json_object *value)
{
    const unsigned type = type_of(value);
    if (type & (PL__JSON_LIST | PL__JSON_OBJECT)) name_types(out, size, type);
    else if (type & PL__JSON_TEXT) snprintf(out, size, "'%.60s'", json_object_get_string(value));
    else snprintf(out, size, "%.60s", value == NULL ? "null" : json_object_get_string(value));
}

pl_status pl__json_check_type(pl_ctx *ctx, struct json_object *value, const char *name,
                              unsigned types, const char *path)
{
    char found[80], wanted[80];
    if (!(type_of(value) & types)) {
        describe(found, sizeof found, value);
        name_types(wanted, sizeof wanted, types);
        return pl__fail(ctx, PL_ERR_FORMAT, "'%s': %s is %s, not %s", path, name, found, wanted);
    }
    if (json_object_is_type(value, json_type_string) &&
        strlen(json_object_get_string(value)) < (size_t)json_object_get_string_len(value))
        return pl__fail(ctx, PL_ERR_FORMAT, "'%s': %s holds \\u0000", path, name);
    return PL_OK;
}

pl_status pl__json_check(pl_ctx *ctx, struct json_object *value, const char *name,
                         const pl__json_field *fields, const char *path)
{
    char member[128];
    PL_TRY(pl__json_check_type(ctx, value, name, PL__JSON_OBJECT, path));
    for (const pl__json_field *f = fields; f->key != NULL; f++) {
        struct json_object *item = pl__json_get(value, f->key);
        if (item == NULL && !f->required) continue;
        snprintf(member, sizeof member, "'%s' of %s", f->key, name);
        if (item == NULL && !json_object_object_get_ex(value, f->key, NULL))
            return pl__fail(ctx, PL_ERR_FORMAT, "'%s': %s is missing", path, member);
        PL_TRY(pl__json_check_type(ctx, item, member, f->types, path));
    }
    return PL_OK;
}

/* ------------------------------------------------------------------------------------------- */

struct json_object *pl__json_get(struct json_object *object, const char *key)
{
    struct json_object *value = NULL;
    if (json_object_is_type(object, json_type_object))
        json_object_object_get_ex(object, key, &value);
    return value;
}

const char *pl__json_text(struct json_object *object, const char *key)
{
    struct json_object *value = pl__json_get(object, key);
    return json_object_is_type(value, json_type_string) ? json_object_get_string(value) : "";
}

bool pl__json_flag(struct json_object *object, const char *key, bool fallback)
{
    struct json_object *value = pl__json_get(object, key);
    return json_object_is_type(value, json_type_boolean) ? json_object_get_boolean(value)
                                                         : fallback;
}
