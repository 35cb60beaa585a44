/*
** lb_json_read.h - the short way for JSON that is as it should be; see lb_json_read.c.
*/
#ifndef LB_JSON_READ_H
#define LB_JSON_READ_H

#include <lua.h>
#include <stdbool.h>
#include <stddef.h>

/* Pushes the value of text[0..n) and gives true; or false, with nothing pushed, for a text that is
** wrong or in any way unusual. Lists get the metatable `array_class`. */
bool lb_json_read(lua_State *L, const char *text, size_t n, int depth, const char *array_class);

#endif
