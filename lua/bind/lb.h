/*
** lb.h - what the binding files share. Only lua/bind knows both worlds.
**
** Rules of the border: check all arguments first (may raise); make the userdata before the
** resource; call the engine; release C temporaries; only then raise, with lb_check. Between taking
** a C resource and anchoring it in a userdata no Lua call that can raise.
*/
#ifndef LB_H
#define LB_H

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

#include "perilune.h"

/* Makes the engine context of this Lua state, once; afterwards lb_ctx gives it. */
void lb_make_context(lua_State *L);
pl_ctx *lb_ctx(lua_State *L);

/* Raises the context's error text when st is not PL_OK; "interrupted!" for PL_ERR_INTERRUPTED. */
void lb_check(lua_State *L, pl_status st);

/* Pushes an empty tensor userdata; fill *box afterwards (it takes the reference). */
pl_tensor **lb_new_tensor(lua_State *L);
/* The tensor at idx; raises when it is none or was freed. Borrowed. */
pl_tensor *lb_check_tensor(lua_State *L, int idx);
/* NULL for nil or absent. */
pl_tensor *lb_opt_tensor(lua_State *L, int idx);

/* Charges a new tensor to the collector (see lb_tensor.c); call it once a box is filled. */
void lb_charge(lua_State *L, const pl_tensor *t);

/* A class: metatable `name` with the methods; names starting with "__" go to the metatable, the
** rest to __index; __gc and __close are as given in `methods`; __metatable is false. */
void lb_class(lua_State *L, const char *name, const luaL_Reg *methods);

/* Option tables. lb_known raises for a key of the table at idx that is not in `names` (NULL ended),
** naming the nearest known one; nil or absent tables are fine everywhere. */
void lb_known(lua_State *L, int idx, const char *what, const char *const *names);
lua_Number lb_number_field(lua_State *L, int idx, const char *name, lua_Number fallback);
lua_Integer lb_integer_field(lua_State *L, int idx, const char *name, lua_Integer fallback);
bool lb_boolean_field(lua_State *L, int idx, const char *name, bool fallback);
const char *lb_string_field(lua_State *L, int idx, const char *name, const char *fallback);

/* Raises "unknown <what> 'name'; did you mean 'x'?" with the nearest of `names` (NULL ended), or
** the list of them when none is near. */
int lb_unknown(lua_State *L, const char *what, const char *name, const char *const *names);

/* The integer on top of the stack, item `place` (from 1) of the list `what`: raises with these
** words when it is none. A string that reads like an integer is none. */
lua_Integer lb_list_integer(lua_State *L, const char *what, int64_t place);
int32_t lb_list_int32(lua_State *L, const char *what, int64_t place); /* and fits into 32 bits */

/* A path: not empty, without NUL. */
const char *lb_check_path(lua_State *L, int idx);

/* Pushes a to-be-closed box for a block of pl_alloc that is freed in any case; fill ->block. */
typedef struct {
    pl_ctx *ctx;
    void *block;
} lb_block;
lb_block *lb_new_block(lua_State *L);

/* nil, message for what can go wrong outside (files); returns 2. */
int lb_soft_fail(lua_State *L, pl_status st);

/* Each file's part: sets its functions into the table on top of the stack. */
void lb_open_tensor(lua_State *L);
void lb_open_ops(lua_State *L);
void lb_open_autograd(lua_State *L);
void lb_open_train(lua_State *L);
void lb_open_json(lua_State *L);
void lb_open_io(lua_State *L);
void lb_open_weights(lua_State *L); /* after lb_open_io */
void lb_open_text(lua_State *L);
void lb_open_gen(lua_State *L);
void lb_open_ragged(lua_State *L);
void lb_open_system(lua_State *L);
void lb_open_store(lua_State *L);
void lb_open_jinja(lua_State *L);
void lb_open_lines(lua_State *L);
void lb_open_net(lua_State *L);

#endif
