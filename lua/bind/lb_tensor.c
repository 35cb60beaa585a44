/*
** lb_tensor.c - tensors in Lua: what they are, their elements, reading, writing, keeping. They are
** made in lb_make.c; places and parts are in lb_index.c, tensors as text in lb_show.c.
**
** A tensor is a userdata with one pointer. Lua sees eight bytes where the engine holds megabytes,
** so tensors made outside scopes are charged to the collector: after every CHARGE bytes of them a
** full collection runs. Inside a scope nothing is charged: the scope frees its tensors itself.
*/
#include <stdio.h>
#include <string.h>

#include "lb.h"

#define CHARGE ((int64_t)64 << 20)

/* Told from other userdata by size and mark: much faster than by the name of its metatable. */
typedef struct {
    pl_tensor *t; /* first: a box is also seen as a pl_tensor ** */
    uint64_t mark;
} tensor_box;
#define MARK UINT64_C(0x9f3c61d87a25be04)

pl_tensor **lb_new_tensor(lua_State *L)
{
    tensor_box *box = lua_newuserdatauv(L, sizeof *box, 0);
    *box = (tensor_box){NULL, MARK};
    luaL_setmetatable(L, LB_TENSOR);
    return &box->t;
}

pl_tensor **lb_test_tensor(lua_State *L, int idx)
{
    if (lua_type(L, idx) != LUA_TUSERDATA || lua_rawlen(L, idx) != sizeof(tensor_box)) return NULL;
    tensor_box *box = lua_touserdata(L, idx);
    return box->mark == MARK ? &box->t : NULL;
}

pl_tensor *lb_check_handle(lua_State *L, int idx)
{
    pl_tensor **box = lb_test_tensor(L, idx);
    if (box == NULL) luaL_typeerror(L, idx, "Tensor");
    luaL_argcheck(L, *box != NULL, idx, "tensor was collected");
    return *box;
}

pl_tensor *lb_check_tensor(lua_State *L, int idx)
{
    pl_tensor *t = lb_check_handle(L, idx);
    if (pl_tensor_data(t) == NULL) lb_check(L, pl_tensor_check(lb_ctx(L), t));
    return t;
}

pl_tensor *lb_opt_tensor(lua_State *L, int idx)
{
    return lua_isnoneornil(L, idx) ? NULL : lb_check_tensor(L, idx);
}

const char *lb_shape_text(lua_State *L, const pl_tensor *t)
{
    luaL_Buffer b;
    luaL_buffinit(L, &b);
    luaL_addchar(&b, '[');
    for (int i = 0; i < pl_tensor_rank(t); i++) {
        char text[32];
        snprintf(text, sizeof text, i ? ",%lld" : "%lld", (long long)pl_tensor_shape(t)[i]);
        luaL_addstring(&b, text);
    }
    luaL_addchar(&b, ']');
    luaL_pushresult(&b);
    return lua_tostring(L, -1);
}

static int tensor_gc(lua_State *L)
{
    pl_tensor **box = lua_touserdata(L, 1);
    pl_tensor *t = *box;
    *box = NULL;
    pl_tensor_release(t);
    return 0;
}

void lb_charge(lua_State *L, const pl_tensor *t)
{
    static const char debt_key = 0;
    if (pl_scope_depth(lb_ctx(L)) > 0) return;
    lua_rawgetp(L, LUA_REGISTRYINDEX, &debt_key);
    int64_t debt = lua_tointeger(L, -1) + (int64_t)pl_tensor_bytes(t);
    lua_pop(L, 1);
    if (debt > CHARGE) {
        lua_gc(L, LUA_GCCOLLECT);
        debt = 0;
    }
    lua_pushinteger(L, debt);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &debt_key);
}

pl_tensor *lb_make_tensor(lua_State *L, pl_dtype dtype, int rank, const int64_t *shape)
{
    pl_tensor **box = lb_new_tensor(L);
    pl_status st = pl_tensor_new(lb_ctx(L), box, dtype, rank, shape);
    if (st == PL_ERR_NOMEM) { /* tensors that only wait for the collector may make room */
        lua_gc(L, LUA_GCCOLLECT);
        st = pl_tensor_new(lb_ctx(L), box, dtype, rank, shape);
    }
    lb_check(L, st);
    pl_tensor *t = *box;
    lb_charge(L, t);
    return t;
}

pl_tensor *lb_check_numbers(lua_State *L, int idx, const char *what)
{
    pl_tensor *t = lb_check_tensor(L, idx);
    if (pl_dtype_kept(pl_tensor_dtype(t)))
        luaL_error(L, "%s: the tensor is %s, a kept dtype; cast makes it float32", what,
                   pl_dtype_name(pl_tensor_dtype(t)));
    return t;
}

void lb_write_element(lua_State *L, pl_tensor *t, int64_t i, const char *what)
{
    int fine;
    if (pl_tensor_dtype(t) == PL_I32) {
        ((int32_t *)pl_tensor_data(t))[i] = lb_list_int32(L, what, i + 1);
        return;
    }
    const lua_Number v = lua_tonumberx(L, -1, &fine);
    if (!fine) luaL_error(L, "%s: a number wanted, got %s", what, luaL_typename(L, -1));
    if (pl_tensor_dtype(t) == PL_F32) ((float *)pl_tensor_data(t))[i] = (float)v;
    else ((double *)pl_tensor_data(t))[i] = v;
}

void lb_push_element(lua_State *L, const pl_tensor *t, int64_t i)
{
    const void *data = pl_tensor_data(t);
    if (pl_tensor_dtype(t) == PL_F32) lua_pushnumber(L, ((const float *)data)[i]);
    else if (pl_tensor_dtype(t) == PL_F64) lua_pushnumber(L, ((const double *)data)[i]);
    else lua_pushinteger(L, ((const int32_t *)data)[i]);
}

/* ---- methods --------------------------------------------------------------------------------- */

static int tensor_shape(lua_State *L)
{
    const pl_tensor *t = lb_check_handle(L, 1);
    lua_createtable(L, pl_tensor_rank(t), 0);
    for (int i = 0; i < pl_tensor_rank(t); i++) {
        lua_pushinteger(L, pl_tensor_shape(t)[i]);
        lua_seti(L, -2, i + 1);
    }
    return 1;
}

static int tensor_size(lua_State *L)
{
    const pl_tensor *t = lb_check_handle(L, 1);
    lua_Integer axis = luaL_optinteger(L, 2, 1);
    if (axis < 0) axis += pl_tensor_rank(t) + 1;
    if (axis < 1 || axis > pl_tensor_rank(t))
        return luaL_error(L, "size: there is no axis %I in a tensor of shape %s",
                          (LUAI_UACINT)luaL_optinteger(L, 2, 1), lb_shape_text(L, t));
    lua_pushinteger(L, pl_tensor_shape(t)[axis - 1]);
    return 1;
}

static int tensor_len(lua_State *L)
{
    const pl_tensor *t = lb_check_handle(L, 1);
    lua_pushinteger(L, pl_tensor_rank(t) > 0 ? pl_tensor_shape(t)[0] : 1);
    return 1;
}

static int tensor_rank(lua_State *L)
{
    lua_pushinteger(L, pl_tensor_rank(lb_check_handle(L, 1)));
    return 1;
}

static int tensor_count(lua_State *L)
{
    lua_pushinteger(L, pl_tensor_count(lb_check_handle(L, 1)));
    return 1;
}

static int tensor_dtype(lua_State *L)
{
    lua_pushstring(L, pl_dtype_name(pl_tensor_dtype(lb_check_handle(L, 1))));
    return 1;
}

static int tensor_item(lua_State *L)
{
    const pl_tensor *t = lb_check_numbers(L, 1, "item");
    if (pl_tensor_count(t) != 1)
        return luaL_error(L, "item: a tensor of one element wanted, this has shape %s",
                          lb_shape_text(L, t));
    lb_push_element(L, t, 0);
    return 1;
}

static void push_nested(lua_State *L, const pl_tensor *t, int level, int64_t *at)
{
    if (level == pl_tensor_rank(t)) {
        if (*at % LB_LOOK == 0) lb_check_interrupt(L, lb_ctx(L));
        lb_push_element(L, t, (*at)++);
        return;
    }
    const int64_t n = pl_tensor_shape(t)[level];
    luaL_checkstack(L, 3, NULL);
    lua_createtable(L, (int)n, 0);
    for (int64_t i = 1; i <= n; i++) {
        push_nested(L, t, level + 1, at);
        lua_seti(L, -2, i);
    }
}

static int tensor_totable(lua_State *L)
{
    int64_t at = 0;
    push_nested(L, lb_check_numbers(L, 1, "totable"), 0, &at);
    return 1;
}

static int tensor_bytes(lua_State *L)
{
    const pl_tensor *t = lb_check_tensor(L, 1);
    lua_pushlstring(L, pl_tensor_data(t), pl_tensor_bytes(t));
    return 1;
}

static int tensor_fill(lua_State *L)
{
    pl_tensor *t = lb_check_numbers(L, 1, "fill_");
    const lua_Number value = luaL_checknumber(L, 2);
    lb_check(L, pl_tensor_check_write(lb_ctx(L), t, "fill_"));
    lb_check(L, pl_tensor_fill(lb_ctx(L), t, value));
    lua_settop(L, 1);
    return 1;
}

static int tensor_copy(lua_State *L)
{
    pl_tensor *t = lb_check_tensor(L, 1);
    const pl_tensor *from = lb_check_tensor(L, 2);
    lb_check(L, pl_tensor_check_write(lb_ctx(L), t, "copy_"));
    lb_check(L, pl_tensor_copy(lb_ctx(L), t, from));
    lua_settop(L, 1);
    return 1;
}

static int tensor_clone(lua_State *L)
{
    const pl_tensor *t = lb_check_tensor(L, 1);
    pl_tensor *copy = lb_make_tensor(L, pl_tensor_dtype(t), pl_tensor_rank(t), pl_tensor_shape(t));
    lb_check(L, pl_tensor_copy(lb_ctx(L), copy, t));
    return 1;
}

static int tensor_detach(lua_State *L)
{
    pl_tensor *t = lb_check_tensor(L, 1);
    pl_tensor **box = lb_new_tensor(L);
    lb_check(L, pl_tensor_view(lb_ctx(L), box, t, 0, pl_tensor_rank(t), pl_tensor_shape(t)));
    return 1;
}

static int tensor_keep(lua_State *L)
{
    pl_tensor *t = lb_check_tensor(L, 1);
    if (lua_toboolean(L, 2)) pl_tensor_keep_forever(t);
    else pl_tensor_keep(t);
    lua_settop(L, 1);
    return 1;
}

static int tensor_free(lua_State *L)
{
    pl_tensor_free_data(lb_check_handle(L, 1));
    return 0;
}

static int tensor_alive(lua_State *L)
{
    lua_pushboolean(L, pl_tensor_data(lb_check_handle(L, 1)) != NULL);
    return 1;
}

static int tensor_memory(lua_State *L)
{
    lua_pushinteger(L, (lua_Integer)pl_tensor_bytes(lb_check_handle(L, 1)));
    return 1;
}

static int tensor_version(lua_State *L)
{
    lua_pushinteger(L, (lua_Integer)pl_tensor_version(lb_check_handle(L, 1)));
    return 1;
}

static int tensor_name(lua_State *L)
{
    pl_tensor *t = lb_check_handle(L, 1);
    if (lua_isnoneornil(L, 2)) {
        lua_pushstring(L, pl_tensor_name(t));
        return 1;
    }
    pl_tensor_set_name(t, luaL_checkstring(L, 2));
    lua_settop(L, 1);
    return 1;
}

static int tensor_eq(lua_State *L)
{
    pl_tensor **a = lb_test_tensor(L, 1), **b = lb_test_tensor(L, 2);
    lua_pushboolean(L, a != NULL && b != NULL && *a == *b);
    return 1;
}

static int is_tensor(lua_State *L)
{
    luaL_checkany(L, 1);
    lua_pushboolean(L, lb_test_tensor(L, 1) != NULL);
    return 1;
}

static const luaL_Reg tensor_methods[] = {
    {"__gc", tensor_gc},
    {"__len", tensor_len},
    {"__eq", tensor_eq},
    {"shape", tensor_shape},
    {"size", tensor_size},
    {"rank", tensor_rank},
    {"count", tensor_count},
    {"dtype", tensor_dtype},
    {"item", tensor_item},

    {"totable", tensor_totable},
    {"bytes", tensor_bytes},
    {"fill_", tensor_fill},
    {"copy_", tensor_copy},
    {"clone", tensor_clone},
    {"detach", tensor_detach},
    {"keep", tensor_keep},
    {"free", tensor_free},
    {"alive", tensor_alive},
    {"name", tensor_name},
    {"version", tensor_version},
    {"memory", tensor_memory},
    {NULL, NULL},
};

void lb_open_tensor(lua_State *L)
{
    lb_class(L, LB_TENSOR, tensor_methods);
    lua_pushcfunction(L, is_tensor);
    lua_setfield(L, -2, "is_tensor");
}
