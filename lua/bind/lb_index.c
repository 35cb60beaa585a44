/*
** lb_index.c - places and parts of a tensor: x[...], x[...] = v, get, set.
**
**   x[3]  x[-1]        the third, the last along the first axis
**   x[{2, 5}]          places 2 to 5 along the first axis
**   x[{{2, 5}, 3}]     for each axis a place (the axis goes), a run {from, to} or {} for all of it
**
** What comes back shares memory with x where the part lies in one piece (places and then a run of
** leading axes), else it is a copy; when x wants a gradient it is on the tape. A single element is
** a number, or a tensor of one element when it is on the tape. Writing never makes a copy first.
*/
#include <math.h>
#include <string.h>

#include "lb.h"

/* ---- places ---------------------------------------------------------------------------------- */

/* The place `k` as typed (from 1, or from the end) along an axis, from 0. */
static int64_t check_place(lua_State *L, const pl_tensor *t, int axis, lua_Integer k)
{
    const int64_t n = pl_tensor_shape(t)[axis];
    const int64_t at = k < 0 ? k + n : k - 1;
    if (at >= 0 && at < n && k != 0) return at;
    if (n == 0)
        return luaL_error(L, "place %I of axis %d: shape %s has none there", (LUAI_UACINT)k,
                          axis + 1, lb_shape_text(L, t));
    return luaL_error(L, "place %I of axis %d: shape %s has 1 to %I there, or -1 to -%I",
                      (LUAI_UACINT)k, axis + 1, lb_shape_text(L, t), (LUAI_UACINT)n,
                      (LUAI_UACINT)n);
}

/* The number at idx as a place. */
static int64_t read_place(lua_State *L, int idx, const pl_tensor *t, int axis)
{
    int whole = 0;
    const bool is_number = lua_type(L, idx) == LUA_TNUMBER;
    const lua_Integer k = is_number ? lua_tointegerx(L, idx, &whole) : 0;
    if (!whole)
        luaL_error(L, "place of axis %d: a whole number wanted, got %s", axis + 1,
                   is_number ? luaL_tolstring(L, idx, NULL) : luaL_typename(L, idx));
    return check_place(L, t, axis, k);
}

/* An end of the run on top of the stack: item `i` of it, from 1 or the end, as it was typed. */
static lua_Integer read_end(lua_State *L, int axis, int i)
{
    int whole;
    lua_geti(L, -1, i);
    const lua_Integer k = lua_tointegerx(L, -1, &whole);
    if (!whole || lua_type(L, -1) != LUA_TNUMBER)
        luaL_error(L, "run of axis %d: {from, to} in whole numbers wanted, got %s there", axis + 1,
                   luaL_typename(L, -1));
    lua_pop(L, 1);
    return k;
}

/* The table on top of the stack as a run {from, to}; {} is the whole axis, {k, k - 1} empty. */
static pl_part read_run(lua_State *L, const pl_tensor *t, int axis)
{
    const int64_t n = pl_tensor_shape(t)[axis];
    const lua_Unsigned ends = lua_rawlen(L, -1);
    if (ends == 0) return (pl_part){0, n, false};
    if (ends != 2)
        luaL_error(L,
                   "run of axis %d: {from, to} wanted, got a list of %d; a single place stands "
                   "without braces, and pl.gather takes a list of places",
                   axis + 1, (int)ends);
    const lua_Integer from = read_end(L, axis, 1), to = read_end(L, axis, 2);
    const int64_t first = from < 0 ? from + n : from - 1, last = to < 0 ? to + n : to - 1;
    if (from == 0 || first < 0 || first > n || last >= n || last < first - 1)
        luaL_error(L, "run {%I, %I} of axis %d: shape %s has places 1 to %I there",
                   (LUAI_UACINT)from, (LUAI_UACINT)to, axis + 1, lb_shape_text(L, t),
                   (LUAI_UACINT)n);
    return (pl_part){first, last - first + 1, false};
}

static pl_part read_item(lua_State *L, const pl_tensor *t, int axis)
{
    if (lua_type(L, -1) == LUA_TTABLE) return read_run(L, t, axis);
    return (pl_part){read_place(L, -1, t, axis), 1, true};
}

static bool holds_table(lua_State *L, int idx)
{
    const lua_Unsigned n = lua_rawlen(L, idx);
    for (lua_Unsigned i = 1; i <= n; i++) {
        const int type = lua_rawgeti(L, idx, (lua_Integer)i);
        lua_pop(L, 1);
        if (type == LUA_TTABLE) return true;
    }
    return false;
}

/* The key at index 2 as a part of t; parts[] has a place for each axis. */
static void read_key(lua_State *L, const pl_tensor *t, pl_part *parts)
{
    const int rank = pl_tensor_rank(t);
    for (int i = 0; i < rank; i++) parts[i] = (pl_part){0, pl_tensor_shape(t)[i], false};
    if (lb_test_tensor(L, 2) != NULL)
        luaL_error(L, "a tensor is no place: pl.gather(x, rows) takes rows, pl.where(mask, a, b) "
                      "chooses by a mask");
    if (rank == 0) luaL_error(L, "a tensor of one number has no places; x:item() is its value");
    if (!lua_istable(L, 2) || !holds_table(L, 2)) {
        lua_pushvalue(L, 2);
        parts[0] = read_item(L, t, 0);
        lua_pop(L, 1);
        return;
    }
    const lua_Integer n = luaL_len(L, 2);
    if (n > rank)
        luaL_error(L, "%I axes are listed, shape %s has %d", (LUAI_UACINT)n, lb_shape_text(L, t),
                   rank);
    for (int i = 0; i < n; i++) {
        lua_geti(L, 2, i + 1);
        parts[i] = read_item(L, t, i);
        lua_pop(L, 1);
    }
}

/* ---- reading --------------------------------------------------------------------------------- */

static bool is_whole(const pl_tensor *t, const pl_part *parts, int axis)
{
    return parts[axis].count == pl_tensor_shape(t)[axis];
}

/* The first axis that is more than one place; the part lies in one piece when all after it are
** whole. */
static int first_run(const pl_tensor *t, const pl_part *parts)
{
    int axis = 0;
    while (axis < pl_tensor_rank(t) - 1 && parts[axis].count == 1) axis++;
    return axis;
}

/* Replaces the tensor on top of the stack by what the op makes of it. */
static void apply(lua_State *L, pl_op_id op, const pl_param *param)
{
    pl_tensor *x = *(pl_tensor **)lua_touserdata(L, -1), *out[PL_MAX_OUT];
    pl_tensor **box = lb_new_tensor(L);
    lb_check(L, pl_op(lb_ctx(L), op, &x, param, out));
    *box = out[0];
    lb_charge(L, out[0]);
    lua_remove(L, -2);
}

static void apply_view(lua_State *L, int64_t offset, int rank, const int64_t *shape)
{
    pl_param param[2] = {{.n = rank}, {.i = offset}};
    memcpy(param[0].list, shape, sizeof *shape * (size_t)rank);
    apply(L, PL_OP_view, param);
}

/* Pushes the part: the piece that holds it, cut along the axes after that. */
static void push_part(lua_State *L, const pl_tensor *t, const pl_part *parts)
{
    const int rank = pl_tensor_rank(t), run = first_run(t, parts);
    int64_t shape[PL_MAX_RANK], offset = 0;
    for (int i = 0; i < rank; i++) {
        offset = offset * pl_tensor_shape(t)[i] + (i <= run ? parts[i].start : 0);
        shape[i] = i <= run ? parts[i].count : pl_tensor_shape(t)[i];
    }
    for (int i = run + 1; i < rank; i++)
        if (pl_dtype_kept(pl_tensor_dtype(t)) && !is_whole(t, parts, i))
            luaL_error(L,
                       "the tensor is %s, a kept dtype, which comes in whole rows; cast makes "
                       "it float32",
                       pl_dtype_name(pl_tensor_dtype(t)));
    lua_pushvalue(L, 1);
    apply_view(L, offset, rank, shape);
    for (int i = run + 1; i < rank; i++) {
        if (is_whole(t, parts, i)) continue;
        const int64_t stop = parts[i].start + parts[i].count;
        apply(L, PL_OP_slice, (pl_param[]){{.i = i}, {.i = parts[i].start}, {.i = stop}});
    }
    int left = 0;
    for (int i = 0; i < rank; i++)
        if (!parts[i].drop) shape[left++] = parts[i].count;
    if (left < rank) apply_view(L, 0, left, shape);
}

static bool on_tape(lua_State *L, const pl_tensor *t)
{
    return pl_tensor_requires_grad(t) && pl_grad_enabled(lb_ctx(L));
}

/* x[k]: the name of a method, else a part. Upvalue: the methods. */
static int tensor_index(lua_State *L)
{
    if (lua_type(L, 2) == LUA_TSTRING) {
        lua_pushvalue(L, 2);
        if (lua_rawget(L, lua_upvalueindex(1)) != LUA_TNIL) return 1;
        return lb_no_member(L, "Tensor", lua_upvalueindex(1), lua_tostring(L, 2));
    }
    const pl_tensor *t = lb_check_tensor(L, 1);
    pl_part parts[PL_MAX_RANK];
    read_key(L, t, parts);
    if (pl_tensor_rank(t) == 1 && parts[0].drop && !on_tape(L, t) &&
        !pl_dtype_kept(pl_tensor_dtype(t))) {
        lb_push_element(L, t, parts[0].start);
        return 1;
    }
    push_part(L, t, parts);
    const pl_tensor *part = *lb_test_tensor(L, -1);
    if (pl_tensor_rank(part) == 0 && !on_tape(L, t)) lb_push_element(L, part, 0);
    return 1;
}

/* ---- writing --------------------------------------------------------------------------------- */

/* The value at idx as a tensor of the dtype of t, left on the stack. */
static pl_tensor *check_value(lua_State *L, int idx, const pl_tensor *t)
{
    if (lb_test_tensor(L, idx) != NULL) {
        lua_pushvalue(L, idx);
        return lb_check_tensor(L, idx);
    }
    if (!lua_istable(L, idx) && lua_type(L, idx) != LUA_TNUMBER)
        luaL_error(L, "a number, a tensor or a table wanted as the value, got %s",
                   luaL_typename(L, idx));
    return lb_tensor_of(L, idx, pl_tensor_dtype(t));
}

static int tensor_newindex(lua_State *L)
{
    pl_tensor *t = lb_check_tensor(L, 1);
    pl_part parts[PL_MAX_RANK];
    if (lua_type(L, 2) == LUA_TSTRING)
        return luaL_error(L, "a tensor has no fields to set: '%s'", lua_tostring(L, 2));
    read_key(L, t, parts);
    if (pl_dtype_kept(pl_tensor_dtype(t)))
        return luaL_error(L,
                          "the tensor is %s, a kept dtype, which is not written; cast makes it "
                          "float32",
                          pl_dtype_name(pl_tensor_dtype(t)));
    lb_check(L, pl_tensor_check_write(lb_ctx(L), t, "x[...] = v"));
    const pl_tensor *value = check_value(L, 3, t);
    lb_check(L, pl_tensor_put(lb_ctx(L), t, parts, value));
    return 0;
}

/* ---- get and set ----------------------------------------------------------------------------- */

/* Flat place of the indices from argument 2 on; `more` arguments follow them. */
static int64_t flat_place(lua_State *L, const pl_tensor *t, const char *what, int more)
{
    const int rank = pl_tensor_rank(t), given = lua_gettop(L) - 1;
    int64_t at = 0;
    if (given != rank + more)
        luaL_error(L, "%s: %d %s wanted for shape %s%s, got %d", what, rank,
                   rank == 1 ? "place" : "places", lb_shape_text(L, t),
                   more > 0 ? " and then a value" : "", given);
    for (int i = 0; i < rank; i++) at = at * pl_tensor_shape(t)[i] + read_place(L, 2 + i, t, i);
    return at;
}

static int tensor_get(lua_State *L)
{
    const pl_tensor *t = lb_check_numbers(L, 1, "get");
    lb_push_element(L, t, flat_place(L, t, "get", 0));
    return 1;
}

static int tensor_set(lua_State *L)
{
    pl_tensor *t = lb_check_numbers(L, 1, "set");
    const int64_t at = flat_place(L, t, "set", 1);
    lb_check(L, pl_tensor_check_write(lb_ctx(L), t, "set"));
    lb_write_element(L, t, at, "set");
    pl_tensor_touch(t);
    lua_settop(L, 1);
    return 1;
}

static int no_order(lua_State *L)
{
    return luaL_error(L, "<, <=, > and >= give one truth, a tensor has many: pl.lt(a, b), pl.le, "
                         "pl.gt and pl.ge compare element by element; a:item() is the number of a "
                         "tensor of one element");
}

static int no_text(lua_State *L)
{
    return luaL_error(L, "..: a tensor is no text; tostring(x) shows it, x:item() is the number of "
                         "a tensor of one element");
}

/* After lb_open_tensor. */
void lb_open_index(lua_State *L)
{
    static const luaL_Reg methods[] = {{"get", tensor_get}, {"set", tensor_set}, {NULL, NULL}};
    static const luaL_Reg events[] = {{"__newindex", tensor_newindex},
                                      {"__lt", no_order},
                                      {"__le", no_order},
                                      {"__concat", no_text},
                                      {NULL, NULL}};
    luaL_getmetatable(L, LB_TENSOR);
    luaL_setfuncs(L, events, 0);
    lua_getfield(L, -1, "__methods");
    luaL_setfuncs(L, methods, 0);
    lua_pushcclosure(L, tensor_index, 1);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
}
