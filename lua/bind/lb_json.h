/*
** lb_json.h - what the files of JSON share: lb_json.c (what Lua sees, marked tables),
** lb_json_read.c (plain texts, in one pass), lb_json_decode.c (all others), lb_json_encode.c, and
** lb_json_tree.c below these.
*/
#ifndef LB_JSON_H
#define LB_JSON_H

#include <json-c/json.h>

#include "lb.h"

#define LB_JSON_ARRAY "perilune.json.array"   /* metatable of arrays */
#define LB_JSON_OBJECT "perilune.json.object" /* metatable of ordered objects */
#define LB_JSON_ORDER "perilune.json.order"   /* registry: object -> its key order, weak keys */

void lb_json_open_trees(lua_State *L); /* their metatable */
/* Pushes a to-be-closed box for a json-c tree, which is freed whatever happens. */
struct json_object **lb_json_new_tree(lua_State *L);
/* The option `depth` of the table at idx; raises when it is out of range. */
int lb_json_check_depth(lua_State *L, int idx);
/* Makes the table on top of the stack, at `object`, one that remembers the order of its keys. */
void lb_json_mark_ordered(lua_State *L, int object);
/* Length of the valid UTF-8 sequence at s, 0 when there is none. */
size_t lb_json_utf8_step(const char *s, size_t n);
/* Length of the valid UTF-8 that s begins with. */
size_t lb_json_utf8_length(const char *s, size_t n);

/* Pushes the value of text[0..n) and gives true; or false, with nothing pushed, for a text that is
** wrong or in any way unusual. */
bool lb_json_read(lua_State *L, const char *text, size_t n, int depth);

/* json.decode(text, options) and json.encode(value, options), as Lua calls them. */
int lb_json_decode(lua_State *L);
int lb_json_encode(lua_State *L);

#endif
