/*
** json.h - reading JSON files over json-c: the text, and members whose types are known.
**
** Members are read in two steps: pl__json_check holds an object against a table of its keys once,
** and names the file, the key and what stands there when a type is wrong; pl__json_get, _text and
** _flag then read without a further look. A member that is null counts as absent.
*/
#ifndef PL_BASE_JSON_H
#define PL_BASE_JSON_H

#include <json-c/json.h>

#include "base/ctx.h"

/* Types that a member may have, to be joined by |. */
enum {
    PL__JSON_TEXT = 1, /* without \u0000 */
    PL__JSON_BOOLEAN = 2,
    PL__JSON_INTEGER = 4,
    PL__JSON_NUMBER = 8, /* integers too */
    PL__JSON_LIST = 16,
    PL__JSON_OBJECT = 32
};

typedef struct {
    const char *key; /* NULL: the end of the table */
    unsigned types;
    bool required; /* may be neither absent nor null */
} pl__json_field;

/* The object that `text` is (length bytes, then a NUL), to be released by json_object_put.
** PL_ERR_FORMAT for malformed JSON, for what is no object, for a key with \u0000 in it, and for
** text that follows. */
pl_status pl__json_parse(pl_ctx *ctx, struct json_object **out, const char *text, size_t length,
                         int depth, const char *path);

/* PL_ERR_FORMAT unless `value` is of one of these types; `name` says in the error text which value
** it is. */
pl_status pl__json_check_type(pl_ctx *ctx, struct json_object *value, const char *name,
                              unsigned types, const char *path);
/* The same for an object and those of its members that the table names. */
pl_status pl__json_check(pl_ctx *ctx, struct json_object *value, const char *name,
                         const pl__json_field *fields, const char *path);

/* NULL where the member is absent or `object` is none. Borrowed. */
struct json_object *pl__json_get(struct json_object *object, const char *key);
/* "" where the member is absent or no text. */
const char *pl__json_text(struct json_object *object, const char *key);
bool pl__json_flag(struct json_object *object, const char *key, bool fallback);

#endif
