/*
** lb_make.c - tensors made in Lua: from tables and bytes, filled, counted up, drawn at random.
*/
#include <math.h>
#include <string.h>

#include "lb.h"

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

/* ---- Sizes and dtypes ------------------------------------------------------------------------ */

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

/* ---- From tables ----------------------------------------------------------------------------- */

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
    pl_tensor *t = lb_make_tensor(L, dtype, rank, shape);
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

/* ---- Filled, counted, drawn ------------------------------------------------------------------ */

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
    pl_tensor *t = lb_make_tensor(L, check_dtype(L, 2, what), rank, shape);
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
    pl_tensor *t = lb_make_tensor(L, dtype, 1, &size);
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
    pl_tensor *t = lb_make_tensor(L, dtype, rank, shape);
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
    pl_tensor *t = lb_make_tensor(L, dtype, rank, shape);
    if (size != pl_tensor_bytes(t))
        return luaL_error(L, "from_bytes: %I bytes given, the shape has %I", (LUAI_UACINT)size,
                          (LUAI_UACINT)pl_tensor_bytes(t));
    memcpy(pl_tensor_data(t), bytes, size);
    return 1;
}

void lb_open_make(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"tensor", tensor_new},
        {"full", tensor_full},
        {"zeros", tensor_zeros},
        {"ones", tensor_ones},
        {"arange", tensor_arange},
        {"randn", tensor_randn},
        {"rand", tensor_rand},
        {"uniform", tensor_uniform},
        {"from_bytes", tensor_from_bytes},
        {"seed", seed},
        {NULL, NULL},
    };
    luaL_setfuncs(L, functions, 0);
}
