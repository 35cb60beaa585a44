/*
** lb_tensor.c - tensors in Lua: making, reading, writing, keeping. Places and parts are in
** lb_index.c, tensors as text in lb_show.c.
**
** A tensor is a userdata with one pointer. Lua sees eight bytes where the engine holds megabytes,
** so tensors made outside scopes are charged to the collector: after every CHARGE bytes of them a
** full collection runs. Inside a scope nothing is charged: the scope frees its tensors itself.
*/
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "lb.h"

#define CHARGE ((int64_t)64 << 20)

/* Of tensors made from numbers. */
static const char *const dtype_names[] = {"float32", "float64", "int32", NULL};

/* The name of any dtype at idx. */
static pl_dtype check_any_dtype(lua_State *L, int idx)
{
    const char *names[PL_DTYPE_COUNT + 1];
    for (int i = 0; i < PL_DTYPE_COUNT; i++) names[i] = pl_dtype_name((pl_dtype)i);
    names[PL_DTYPE_COUNT] = NULL;
    return (pl_dtype)luaL_checkoption(L, idx, NULL, names);
}

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

/* ---- shapes and values ----------------------------------------------------------------------- */

static int64_t check_size(lua_State *L, int idx, const char *what)
{
    int whole;
    const lua_Integer size = lua_tointegerx(L, idx, &whole);
    if (lua_type(L, idx) != LUA_TNUMBER)
        luaL_error(L, "%s: sizes are whole numbers, got %s", what, luaL_typename(L, idx));
    if (!whole || size < 0)
        luaL_error(L, "%s: sizes are whole numbers from 0 on, got %s", what,
                   luaL_tolstring(L, idx, NULL));
    return size;
}

/* The list of sizes at idx; its named fields are not looked at. */
static int check_shape(lua_State *L, int idx, const char *what, int64_t shape[PL_MAX_RANK])
{
    if (!lua_istable(L, idx))
        luaL_error(L, "%s: a list of sizes wanted, as {3, 4}, got %s", what, luaL_typename(L, idx));
    const lua_Integer rank = luaL_len(L, idx);
    if (rank > PL_MAX_RANK)
        luaL_error(L, "%s: at most %d axes, got %d", what, PL_MAX_RANK, (int)rank);
    for (lua_Integer i = 1; i <= rank; i++) {
        lua_geti(L, idx, i);
        shape[i - 1] = check_size(L, -1, what);
        lua_pop(L, 1);
    }
    return (int)rank;
}

/* Sizes from argument 1 on: a list, or as many numbers as there are but for the last `more`. Leaves
** the stack so that what follows them begins at index 2. */
static int check_sizes(lua_State *L, const char *what, int more, int64_t shape[PL_MAX_RANK])
{
    if (lua_type(L, 1) != LUA_TNUMBER) {
        if (!lua_istable(L, 1))
            luaL_error(L, "%s: sizes wanted, as %s(3, 4) or %s{3, 4}, got %s", what, what, what,
                       lua_isnone(L, 1) ? "nothing" : luaL_typename(L, 1));
        return check_shape(L, 1, what, shape);
    }
    int n = 0;
    while (lua_type(L, n + 1) == LUA_TNUMBER) n++;
    if (n <= more) luaL_error(L, "%s: a number after the sizes wanted", what);
    if (n - more > PL_MAX_RANK)
        luaL_error(L, "%s: at most %d axes, got %d", what, PL_MAX_RANK, n - more);
    for (int i = 0; i < n - more; i++) shape[i] = check_size(L, i + 1, what);
    for (int i = 1; i < n - more; i++) lua_remove(L, 2);
    return n - more;
}

/* The dtype after the sizes: a name at idx, or `dtype` of the table there or of the sizes. */
static pl_dtype check_dtype(lua_State *L, int idx, const char *what)
{
    const int table = lua_istable(L, idx) ? idx : lua_istable(L, 1) ? 1 : 0;
    const char *name = "float32";
    if (lua_type(L, idx) == LUA_TSTRING) name = lua_tostring(L, idx);
    else if (!lua_isnoneornil(L, idx) && !lua_istable(L, idx))
        luaL_error(L, "%s: the name of a dtype wanted after the sizes, got %s", what,
                   luaL_typename(L, idx));
    else if (table != 0) name = lb_string_field(L, table, "dtype", name);
    for (int i = 0; dtype_names[i] != NULL; i++)
        if (strcmp(name, dtype_names[i]) == 0) return (pl_dtype)i;
    return (pl_dtype)lb_unknown(L, "dtype", name, dtype_names);
}

/* A tensor at idx whose elements are numbers in memory; `what` is the function at work. */
pl_tensor *lb_check_numbers(lua_State *L, int idx, const char *what)
{
    pl_tensor *t = lb_check_tensor(L, idx);
    if (pl_dtype_kept(pl_tensor_dtype(t)))
        luaL_error(L, "%s: the tensor is %s, a kept dtype; cast makes it float32", what,
                   pl_dtype_name(pl_tensor_dtype(t)));
    return t;
}

static pl_tensor *make(lua_State *L, pl_dtype dtype, int rank, const int64_t *shape)
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

/* Shape of a nested table, from its first elements. */
static int nested_shape(lua_State *L, int idx, int64_t shape[PL_MAX_RANK])
{
    int rank = 0;
    luaL_checkstack(L, PL_MAX_RANK + 4, NULL);
    lua_pushvalue(L, idx);
    while (lua_istable(L, -1)) {
        if (rank == PL_MAX_RANK) luaL_error(L, "tensor: at most %d levels", PL_MAX_RANK);
        shape[rank++] = luaL_len(L, -1);
        if (shape[rank - 1] == 0) {
            lua_pushnil(L);
            break;
        }
        lua_geti(L, -1, 1);
    }
    lua_settop(L, lua_gettop(L) - rank - 1);
    return rank;
}

/* Fills from the nested table on top; ragged tables are an error. */
static void fill_nested(lua_State *L, pl_tensor *t, int level, int64_t *at)
{
    const int rank = pl_tensor_rank(t);
    if (level == rank) {
        if (*at % LB_LOOK == 0) lb_check_interrupt(L, lb_ctx(L));
        lb_write_element(L, t, (*at)++, "tensor");
        return;
    }
    const int64_t n = pl_tensor_shape(t)[level];
    if (!lua_istable(L, -1))
        luaL_error(L, "tensor: the table is ragged: level %d has tables and %s", level + 1,
                   luaL_typename(L, -1));
    if (luaL_len(L, -1) != n)
        luaL_error(L, "tensor: the table is ragged: level %d has lists of %d and of %d", level + 1,
                   (int)n, (int)luaL_len(L, -1));
    for (int64_t i = 1; i <= n; i++) {
        lua_geti(L, -1, i);
        fill_nested(L, t, level + 1, at);
        lua_pop(L, 1);
    }
}

pl_tensor *lb_tensor_of(lua_State *L, int idx, pl_dtype dtype)
{
    int64_t shape[PL_MAX_RANK], at = 0;
    idx = lua_absindex(L, idx);
    const int rank = nested_shape(L, idx, shape);
    pl_tensor *t = make(L, dtype, rank, shape);
    lua_pushvalue(L, idx);
    if (pl_tensor_count(t) > 0) fill_nested(L, t, 0, &at);
    lua_pop(L, 1);
    return t;
}

static int tensor_new(lua_State *L)
{
    if (!lua_istable(L, 1) && lua_type(L, 1) != LUA_TNUMBER)
        return luaL_error(L, "tensor: a number or a table wanted, got %s",
                          lua_isnone(L, 1) ? "nothing" : luaL_typename(L, 1));
    lb_tensor_of(L, 1, check_dtype(L, 2, "tensor"));
    return 1;
}

static int filled(lua_State *L, const char *what, int more, lua_Number value)
{
    static const char *const names[] = {"dtype", NULL};
    int64_t shape[PL_MAX_RANK];
    const int rank = check_sizes(L, what, more, shape);
    if (more > 0) {
        if (lua_type(L, 2) != LUA_TNUMBER)
            return luaL_error(L, "%s: the value after the sizes must be a number, got %s", what,
                              lua_isnone(L, 2) ? "nothing" : luaL_typename(L, 2));
        value = lua_tonumber(L, 2);
        lua_remove(L, 2);
    }
    lb_known_fields(L, 1, "option", names);
    if (lua_istable(L, 2)) lb_known(L, 2, "option", names);
    pl_tensor *t = make(L, check_dtype(L, 2, what), rank, shape);
    lb_check(L, pl_tensor_fill(lb_ctx(L), t, value));
    return 1;
}

static int tensor_full(lua_State *L)
{
    return filled(L, "full", 1, 0);
}

static int tensor_zeros(lua_State *L)
{
    return filled(L, "zeros", 0, 0);
}

static int tensor_ones(lua_State *L)
{
    return filled(L, "ones", 0, 1);
}

/* arange(n), arange(from, to [, step]) [, dtype], or all in one table */
static int tensor_arange(lua_State *L)
{
    lua_Number ends[3] = {0, 0, 1};
    int n = 0;
    bool whole = true;
    if (lua_istable(L, 1) && lua_gettop(L) == 1) {
        lua_getfield(L, 1, "dtype");
        const int count = (int)luaL_len(L, 1);
        luaL_checkstack(L, 8, NULL);
        for (int i = 1; i <= count && i <= 4; i++) lua_geti(L, 1, i);
        lua_remove(L, 1);
        if (lua_isnil(L, 1)) lua_remove(L, 1);
        else lua_rotate(L, 1, -1);
    }
    for (; n < 3 && lua_type(L, n + 1) == LUA_TNUMBER; n++) {
        ends[n] = lua_tonumber(L, n + 1);
        whole = whole && ends[n] == floor(ends[n]);
    }
    if (n == 0)
        return luaL_error(L, "arange: a number wanted, as arange(n) or arange(from, to), got %s",
                          lua_isnone(L, 1) ? "nothing" : luaL_typename(L, 1));
    if (n == 1) {
        ends[1] = ends[0];
        ends[0] = 0;
        if (!whole || ends[1] < 0)
            return luaL_error(L, "arange: a whole number from 0 on wanted, got %s",
                              luaL_tolstring(L, 1, NULL));
    }
    const double count = ceil((ends[1] - ends[0]) / ends[2]);
    if (!(fabs(ends[2]) > 0) || !(count < 1e15))
        return luaL_error(L, "arange: from %f to %f there is no end by steps of %f", ends[0],
                          ends[1], ends[2]);
    const pl_dtype dtype =
        lua_isnoneornil(L, n + 1) ? (whole ? PL_I32 : PL_F32) : check_dtype(L, n + 1, "arange");
    const int64_t size = count > 0 ? (int64_t)count : 0;
    pl_tensor *t = make(L, dtype, 1, &size);
    for (int64_t i = 0; i < size; i++) {
        const double v = ends[0] + (double)i * ends[2];
        if (dtype == PL_I32 && (v != floor(v) || fabs(v) > INT32_MAX))
            return luaL_error(L, "arange: %f is no integer of 32 bits", v);
        if (dtype == PL_I32) ((int32_t *)pl_tensor_data(t))[i] = (int32_t)v;
        else if (dtype == PL_F32) ((float *)pl_tensor_data(t))[i] = (float)v;
        else ((double *)pl_tensor_data(t))[i] = v;
    }
    return 1;
}

/* The session's stream, for tensors whose seed nobody gave: registry[&session_key] is its seed,
** [&drawn_key] how many tensors were drawn from it. */
static const char session_key = 0, drawn_key = 0;

static lua_Integer session_number(lua_State *L, const char *key)
{
    lua_rawgetp(L, LUA_REGISTRYINDEX, key);
    const lua_Integer n = lua_tointeger(L, -1);
    lua_pop(L, 1);
    return n;
}

static void set_session_number(lua_State *L, const char *key, lua_Integer n)
{
    lua_pushinteger(L, n);
    lua_rawsetp(L, LUA_REGISTRYINDEX, key);
}

/* seed(n): begins the session's stream anew; seed() gives its seed. */
static int seed(lua_State *L)
{
    if (lua_isnoneornil(L, 1)) {
        lua_pushinteger(L, session_number(L, &session_key));
        return 1;
    }
    set_session_number(L, &session_key, luaL_checkinteger(L, 1));
    set_session_number(L, &drawn_key, 0);
    return 0;
}

/* randn(sizes, options), rand and uniform: without `seed` the next draw of the session's stream;
** with it, the stream (seed, purpose). */
static int random_tensor(lua_State *L, const char *what, bool normal)
{
    static const char *const names[] = {"seed", "purpose", "dtype", "a", "b", NULL};
    int64_t shape[PL_MAX_RANK];
    const int rank = check_sizes(L, what, 0, shape);
    lb_known_fields(L, 1, "option", names);
    if (!lua_isnoneornil(L, 2) && !lua_istable(L, 2) && lua_type(L, 2) != LUA_TSTRING)
        luaL_error(L, "%s: a table of options wanted after the sizes, got %s", what,
                   luaL_typename(L, 2));
    if (lua_istable(L, 2)) lb_known(L, 2, "option", names);
    const int opts = lua_istable(L, 2) ? 2 : lua_istable(L, 1) ? 1 : 3; /* 3: there are none */
    const pl_dtype dtype = check_dtype(L, 2, what);
    lua_settop(L, 2);
    const double a = lb_number_field(L, opts, "a", 0), b = lb_number_field(L, opts, "b", 1);
    uint64_t from = (uint64_t)session_number(L, &session_key), purpose;
    if (lua_istable(L, opts) && lua_getfield(L, opts, "seed") != LUA_TNIL) {
        from = (uint64_t)lb_integer_field(L, opts, "seed", 0);
        purpose = (uint64_t)lb_integer_field(L, opts, "purpose", 0);
    } else {
        const lua_Integer drawn = session_number(L, &drawn_key) + 1;
        set_session_number(L, &drawn_key, drawn);
        purpose = pl_random_purpose("session", (int64_t[]){drawn}, 1);
    }
    pl_tensor *t = make(L, dtype, rank, shape);
    lb_check(L, pl_tensor_random(lb_ctx(L), t, normal, a, b, from, purpose));
    return 1;
}

static int tensor_randn(lua_State *L)
{
    return random_tensor(L, "randn", true);
}

static int tensor_rand(lua_State *L)
{
    return random_tensor(L, "rand", false);
}

static int tensor_uniform(lua_State *L)
{
    return random_tensor(L, "uniform", false);
}

static int tensor_from_bytes(lua_State *L)
{
    int64_t shape[PL_MAX_RANK];
    size_t size;
    const char *bytes = luaL_checklstring(L, 1, &size);
    const pl_dtype dtype = check_any_dtype(L, 2);
    const int rank = check_shape(L, 3, "from_bytes", shape);
    pl_tensor *t = make(L, dtype, rank, shape);
    if (size != pl_tensor_bytes(t))
        return luaL_error(L, "from_bytes: %I bytes given, the shape has %I", (LUAI_UACINT)size,
                          (LUAI_UACINT)pl_tensor_bytes(t));
    memcpy(pl_tensor_data(t), bytes, size);
    return 1;
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
    pl_tensor *copy = make(L, pl_tensor_dtype(t), pl_tensor_rank(t), pl_tensor_shape(t));
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

static const luaL_Reg functions[] = {
    {"tensor", tensor_new}, {"full", tensor_full},       {"zeros", tensor_zeros},
    {"ones", tensor_ones},  {"arange", tensor_arange},   {"randn", tensor_randn},
    {"rand", tensor_rand},  {"uniform", tensor_uniform}, {"from_bytes", tensor_from_bytes},
    {"seed", seed},         {"is_tensor", is_tensor},    {NULL, NULL},
};

void lb_open_tensor(lua_State *L)
{
    lb_class(L, LB_TENSOR, tensor_methods);
    luaL_setfuncs(L, functions, 0);
}
