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

/* Raises "interrupted!" when somebody asked for it; for long loops that hold no C resource. */
void lb_check_interrupt(lua_State *L, const pl_ctx *ctx);
#define LB_LOOK 4096 /* rounds of such a loop from one look to the next */

#define LB_TENSOR "perilune.Tensor" /* the metatable of tensors */

/* Pushes an empty tensor userdata; fill *box afterwards (it takes the reference). */
pl_tensor **lb_new_tensor(lua_State *L);
/* The tensor at idx; raises when it is none or was freed. Borrowed. */
pl_tensor *lb_check_tensor(lua_State *L, int idx);
/* NULL for nil or absent. */
pl_tensor *lb_opt_tensor(lua_State *L, int idx);
/* The box of the tensor at idx, NULL when there is none; it may be freed. Never raises. */
pl_tensor **lb_test_tensor(lua_State *L, int idx);
/* The tensor at idx, even a freed one: for what needs no data. */
pl_tensor *lb_check_handle(lua_State *L, int idx);
/* One whose elements are numbers in memory, not of a kept dtype; `what` is the function at work. */
pl_tensor *lb_check_numbers(lua_State *L, int idx, const char *what);
/* Pushes a new tensor, contents undefined, charged to the collector; borrowed. */
pl_tensor *lb_make_tensor(lua_State *L, pl_dtype dtype, int rank, const int64_t *shape);
/* Pushes a tensor of the number or nested table at idx; borrowed. */
pl_tensor *lb_tensor_of(lua_State *L, int idx, pl_dtype dtype);
/* Pushes element i; the other takes the value on top of the stack, which stays there. */
void lb_push_element(lua_State *L, const pl_tensor *t, int64_t i);
void lb_write_element(lua_State *L, pl_tensor *t, int64_t i, const char *what);
/* Pushes "[3,4]", and gives it. */
const char *lb_shape_text(lua_State *L, const pl_tensor *t);

/* Charges a new tensor to the collector (see lb_tensor.c); call it once a box is filled. */
void lb_charge(lua_State *L, const pl_tensor *t);

/* A class: metatable `name` with the methods; names starting with "__" go to the metatable, the
** rest to a table that is __index and __methods; __metatable is false. A name that is not among the
** methods raises. */
void lb_class(lua_State *L, const char *name, const luaL_Reg *methods);
/* Raises "a Tensor has no 'foo'; did you mean 'fool'?" with the nearest name of the methods in the
** table at idx. */
int lb_no_member(lua_State *L, const char *class_name, int idx, const char *name);

/* Option tables. lb_known raises for a key of the table at idx that is not in `names` (NULL ended),
** naming the nearest known one; nil or absent tables are fine everywhere. */
void lb_known(lua_State *L, int idx, const char *what, const char *const *names);
/* The same for a table that also has a list part, which is let be; what is no table is fine. */
void lb_known_fields(lua_State *L, int idx, const char *what, const char *const *names);
lua_Number lb_number_field(lua_State *L, int idx, const char *name, lua_Number fallback);
lua_Integer lb_integer_field(lua_State *L, int idx, const char *name, lua_Integer fallback);
bool lb_boolean_field(lua_State *L, int idx, const char *name, bool fallback);
const char *lb_string_field(lua_State *L, int idx, const char *name, const char *fallback);

/* Sets a field of the table on top of the stack; of a text that is NULL there is none. */
void lb_set_number(lua_State *L, const char *name, lua_Number x);
void lb_set_integer(lua_State *L, const char *name, lua_Integer n);
void lb_set_boolean(lua_State *L, const char *name, bool on);
void lb_set_string(lua_State *L, const char *name, const char *text);

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
void lb_open_make(lua_State *L);
void lb_open_index(lua_State *L); /* this and the next after lb_open_tensor */
void lb_open_show(lua_State *L);
void lb_open_scope(lua_State *L);
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
void lb_open_http(lua_State *L);
void lb_open_profile(lua_State *L);

#endif
