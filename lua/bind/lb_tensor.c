/*
** lb_tensor.c - tensors in Lua: making, reading, writing, keeping; scopes and memory.
**
** A tensor is a userdata with one pointer. Lua sees eight bytes where the engine holds megabytes,
** so tensors made outside scopes are charged to the collector: after every CHARGE bytes of them a
** full collection runs. Inside a scope nothing is charged: the scope frees its tensors itself.
*/
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "lb.h"

#define TENSOR "perilune.Tensor"
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

pl_tensor **lb_new_tensor(lua_State *L)
{
    pl_tensor **box = lua_newuserdatauv(L, sizeof *box, 0);
    *box = NULL;
    luaL_setmetatable(L, TENSOR);
    return box;
}

pl_tensor *lb_check_tensor(lua_State *L, int idx)
{
    pl_tensor **box = luaL_checkudata(L, idx, TENSOR);
    luaL_argcheck(L, *box != NULL, idx, "tensor was collected");
    if (pl_tensor_data(*box) == NULL) lb_check(L, pl_tensor_check(lb_ctx(L), *box));
    return *box;
}

pl_tensor *lb_opt_tensor(lua_State *L, int idx)
{
    return lua_isnoneornil(L, idx) ? NULL : lb_check_tensor(L, idx);
}

/* The handle even of a freed tensor, for what needs no data. */
static pl_tensor *handle(lua_State *L)
{
    pl_tensor **box = luaL_checkudata(L, 1, TENSOR);
    luaL_argcheck(L, *box != NULL, 1, "tensor was collected");
    return *box;
}

static int tensor_gc(lua_State *L)
{
    pl_tensor **box = luaL_checkudata(L, 1, TENSOR);
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

static int check_shape(lua_State *L, int idx, int64_t shape[PL_MAX_RANK])
{
    luaL_checktype(L, idx, LUA_TTABLE);
    const lua_Integer rank = luaL_len(L, idx);
    luaL_argcheck(L, rank <= PL_MAX_RANK, idx, "at most 6 axes");
    for (lua_Integer i = 1; i <= rank; i++) {
        lua_geti(L, idx, i);
        int is_integer;
        shape[i - 1] = lua_tointegerx(L, -1, &is_integer);
        luaL_argcheck(L, is_integer && shape[i - 1] >= 0, idx, "sizes must be whole and >= 0");
        lua_pop(L, 1);
    }
    return (int)rank;
}

/* A tensor at idx whose elements are numbers in memory; `what` is the function at work. */
static pl_tensor *check_numbers(lua_State *L, int idx, const char *what)
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

/* The value on top of the stack as element i; `what` is the function at work. */
static void write_element(lua_State *L, pl_tensor *t, int64_t i, const char *what)
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

static void push_element(lua_State *L, const pl_tensor *t, int64_t i)
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
        write_element(L, t, (*at)++, "tensor");
        return;
    }
    const int64_t n = pl_tensor_shape(t)[level];
    if (!lua_istable(L, -1) || luaL_len(L, -1) != n)
        luaL_error(L, "tensor: ragged table: level %d wants %d elements", level + 1, (int)n);
    for (int64_t i = 1; i <= n; i++) {
        lua_geti(L, -1, i);
        fill_nested(L, t, level + 1, at);
        lua_pop(L, 1);
    }
}

static int tensor_new(lua_State *L)
{
    int64_t shape[PL_MAX_RANK];
    const pl_dtype dtype = (pl_dtype)luaL_checkoption(L, 2, "float32", dtype_names);
    luaL_argcheck(L, lua_istable(L, 1) || lua_isnumber(L, 1), 1, "a number or a table wanted");
    const int rank = nested_shape(L, 1, shape);
    pl_tensor *t = make(L, dtype, rank, shape);
    int64_t at = 0;
    lua_pushvalue(L, 1);
    if (pl_tensor_count(t) > 0) fill_nested(L, t, 0, &at);
    lua_pop(L, 1);
    return 1;
}

static int tensor_full(lua_State *L)
{
    int64_t shape[PL_MAX_RANK];
    const int rank = check_shape(L, 1, shape);
    const lua_Number value = luaL_checknumber(L, 2);
    const pl_dtype dtype = (pl_dtype)luaL_checkoption(L, 3, "float32", dtype_names);
    pl_tensor *t = make(L, dtype, rank, shape);
    lb_check(L, pl_tensor_fill(lb_ctx(L), t, value));
    return 1;
}

static int tensor_zeros(lua_State *L)
{
    int64_t shape[PL_MAX_RANK];
    const int rank = check_shape(L, 1, shape);
    const pl_dtype dtype = (pl_dtype)luaL_checkoption(L, 2, "float32", dtype_names);
    pl_tensor *t = make(L, dtype, rank, shape);
    memset(pl_tensor_data(t), 0, pl_tensor_bytes(t));
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

/* randn(shape, options) and uniform(shape, options): without `seed` the next draw of the session's
** stream; with it, the stream (seed, purpose). */
static int random_tensor(lua_State *L, bool normal)
{
    static const char *const names[] = {"seed", "purpose", "dtype", "a", "b", NULL};
    int64_t shape[PL_MAX_RANK];
    const int rank = check_shape(L, 1, shape);
    lb_known(L, 2, "option", names);
    uint64_t from = (uint64_t)session_number(L, &session_key), purpose;
    if (lua_istable(L, 2) && lua_getfield(L, 2, "seed") != LUA_TNIL) {
        from = (uint64_t)lb_integer_field(L, 2, "seed", 0);
        purpose = (uint64_t)lb_integer_field(L, 2, "purpose", 0);
    } else {
        const lua_Integer drawn = session_number(L, &drawn_key) + 1;
        set_session_number(L, &drawn_key, drawn);
        purpose = pl_random_purpose("session", (int64_t[]){drawn}, 1);
    }
    lua_settop(L, 2);
    const double a = lb_number_field(L, 2, "a", 0), b = lb_number_field(L, 2, "b", 1);
    const char *name = lb_string_field(L, 2, "dtype", "float32");
    lua_pushstring(L, name);
    const pl_dtype dtype = (pl_dtype)luaL_checkoption(L, -1, NULL, dtype_names);
    pl_tensor *t = make(L, dtype, rank, shape);
    lb_check(L, pl_tensor_random(lb_ctx(L), t, normal, a, b, from, purpose));
    return 1;
}

static int tensor_randn(lua_State *L)
{
    return random_tensor(L, true);
}

static int tensor_uniform(lua_State *L)
{
    return random_tensor(L, false);
}

static int tensor_from_bytes(lua_State *L)
{
    int64_t shape[PL_MAX_RANK];
    size_t size;
    const char *bytes = luaL_checklstring(L, 1, &size);
    const pl_dtype dtype = check_any_dtype(L, 2);
    const int rank = check_shape(L, 3, shape);
    pl_tensor *t = make(L, dtype, rank, shape);
    luaL_argcheck(L, size == pl_tensor_bytes(t), 1, "another number of bytes than the shape has");
    memcpy(pl_tensor_data(t), bytes, size);
    return 1;
}

/* ---- methods --------------------------------------------------------------------------------- */

static int tensor_shape(lua_State *L)
{
    const pl_tensor *t = handle(L);
    lua_createtable(L, pl_tensor_rank(t), 0);
    for (int i = 0; i < pl_tensor_rank(t); i++) {
        lua_pushinteger(L, pl_tensor_shape(t)[i]);
        lua_seti(L, -2, i + 1);
    }
    return 1;
}

static int tensor_size(lua_State *L)
{
    const pl_tensor *t = handle(L);
    lua_Integer axis = luaL_optinteger(L, 2, 1);
    if (axis < 0) axis += pl_tensor_rank(t) + 1;
    luaL_argcheck(L, axis >= 1 && axis <= pl_tensor_rank(t), 2, "no such axis");
    lua_pushinteger(L, pl_tensor_shape(t)[axis - 1]);
    return 1;
}

static int tensor_len(lua_State *L)
{
    const pl_tensor *t = handle(L);
    lua_pushinteger(L, pl_tensor_rank(t) > 0 ? pl_tensor_shape(t)[0] : 1);
    return 1;
}

static int tensor_rank(lua_State *L)
{
    lua_pushinteger(L, pl_tensor_rank(handle(L)));
    return 1;
}

static int tensor_count(lua_State *L)
{
    lua_pushinteger(L, pl_tensor_count(handle(L)));
    return 1;
}

static int tensor_dtype(lua_State *L)
{
    lua_pushstring(L, pl_dtype_name(pl_tensor_dtype(handle(L))));
    return 1;
}

static int tensor_item(lua_State *L)
{
    const pl_tensor *t = check_numbers(L, 1, "item");
    luaL_argcheck(L, pl_tensor_count(t) == 1, 1, "item: the tensor must have one element");
    push_element(L, t, 0);
    return 1;
}

/* Flat place of the 1-based indices from argument 2 on. */
static int64_t place(lua_State *L, const pl_tensor *t)
{
    int64_t at = 0;
    for (int i = 0; i < pl_tensor_rank(t); i++) {
        const int64_t n = pl_tensor_shape(t)[i];
        lua_Integer k = luaL_checkinteger(L, 2 + i);
        if (k < 0) k += n + 1;
        luaL_argcheck(L, k >= 1 && k <= n, 2 + i, "index outside the tensor");
        at = at * n + (k - 1);
    }
    return at;
}

static int tensor_get(lua_State *L)
{
    const pl_tensor *t = check_numbers(L, 1, "get");
    push_element(L, t, place(L, t));
    return 1;
}

static int tensor_set(lua_State *L)
{
    pl_tensor *t = check_numbers(L, 1, "set");
    const int64_t at = place(L, t);
    luaL_checknumber(L, 2 + pl_tensor_rank(t));
    lua_settop(L, 2 + pl_tensor_rank(t));
    write_element(L, t, at, "set");
    pl_tensor_touch(t);
    lua_settop(L, 1);
    return 1;
}

static void push_nested(lua_State *L, const pl_tensor *t, int level, int64_t *at)
{
    if (level == pl_tensor_rank(t)) {
        push_element(L, t, (*at)++);
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
    push_nested(L, check_numbers(L, 1, "totable"), 0, &at);
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
    pl_tensor *t = lb_check_tensor(L, 1);
    lb_check(L, pl_tensor_fill(lb_ctx(L), t, luaL_checknumber(L, 2)));
    lua_settop(L, 1);
    return 1;
}

static int tensor_copy(lua_State *L)
{
    pl_tensor *t = lb_check_tensor(L, 1);
    lb_check(L, pl_tensor_copy(lb_ctx(L), t, lb_check_tensor(L, 2)));
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

/* t:view(shape [, offset]): the same memory, no autograd; offset counts elements from 0. */
static int tensor_view(lua_State *L)
{
    int64_t shape[PL_MAX_RANK];
    pl_tensor *t = lb_check_tensor(L, 1);
    const int rank = check_shape(L, 2, shape);
    const lua_Integer offset = luaL_optinteger(L, 3, 0);
    pl_tensor **box = lb_new_tensor(L);
    lb_check(L, pl_tensor_view(lb_ctx(L), box, t, offset, rank, shape));
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
    pl_tensor_free_data(handle(L));
    return 0;
}

static int tensor_alive(lua_State *L)
{
    lua_pushboolean(L, pl_tensor_data(handle(L)) != NULL);
    return 1;
}

static int tensor_memory(lua_State *L)
{
    lua_pushinteger(L, (lua_Integer)pl_tensor_bytes(handle(L)));
    return 1;
}

static int tensor_version(lua_State *L)
{
    lua_pushinteger(L, (lua_Integer)pl_tensor_version(handle(L)));
    return 1;
}

static int tensor_name(lua_State *L)
{
    pl_tensor *t = handle(L);
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
    pl_tensor **a = luaL_testudata(L, 1, TENSOR), **b = luaL_testudata(L, 2, TENSOR);
    lua_pushboolean(L, a != NULL && b != NULL && *a == *b);
    return 1;
}

/* Of a kept tensor: its bytes, and the values it begins with. */
static void describe_kept(lua_State *L, luaL_Buffer *b, const pl_tensor *t)
{
    enum { MOST = 256, SHOWN = 4 }; /* a block at most */
    float values[MOST];
    char text[64];
    const int64_t n = pl_tensor_count(t), block = pl_dtype_block(pl_tensor_dtype(t));
    const int64_t read = block > 1 ? block : n < SHOWN ? n : SHOWN;
    snprintf(text, sizeof text, " %lld bytes", (long long)pl_tensor_bytes(t));
    luaL_addstring(b, text);
    if (n == 0) return;
    lb_check(L, pl_dequantise(lb_ctx(L), values, pl_tensor_dtype(t), pl_tensor_data(t), read));
    luaL_addstring(b, ":");
    for (int64_t i = 0; i < read && i < SHOWN; i++) {
        snprintf(text, sizeof text, " %.5g", (double)values[i]);
        luaL_addstring(b, text);
    }
    if (n > SHOWN) luaL_addstring(b, " ...");
}

/* First and last values, spread, count of values that are not finite. */
static void describe_values(lua_State *L, luaL_Buffer *b, const pl_tensor *t)
{
    const int64_t n = pl_tensor_count(t);
    double least = INFINITY, most = -INFINITY, sum = 0;
    int64_t bad = 0;
    char text[160];
    for (int64_t i = 0; i < n; i++) {
        push_element(L, t, i);
        const double v = lua_tonumber(L, -1);
        lua_pop(L, 1);
        if (!isfinite(v)) bad++;
        else {
            least = v < least ? v : least;
            most = v > most ? v : most;
            sum += v;
        }
    }
    for (int64_t i = 0; i < n; i++) {
        if (n > 8 && i == 4) {
            luaL_addstring(b, " ...");
            i = n - 3;
        }
        push_element(L, t, i);
        snprintf(text, sizeof text, " %.5g", lua_tonumber(L, -1));
        lua_pop(L, 1);
        luaL_addstring(b, text);
    }
    if (n - bad > 1) {
        snprintf(text, sizeof text, " | min %.4g mean %.4g max %.4g", least,
                 sum / (double)(n - bad), most);
        luaL_addstring(b, text);
    }
    if (bad > 0) {
        snprintf(text, sizeof text, " | %lld not finite!", (long long)bad);
        luaL_addstring(b, text);
    }
}

static int tensor_tostring(lua_State *L)
{
    const pl_tensor *t = handle(L);
    luaL_Buffer b;
    luaL_buffinit(L, &b);
    char text[64];
    snprintf(text, sizeof text, "%s%s%s[", pl_tensor_name(t), pl_tensor_name(t)[0] ? ": " : "",
             pl_dtype_name(pl_tensor_dtype(t)));
    luaL_addstring(&b, text);
    for (int i = 0; i < pl_tensor_rank(t); i++) {
        snprintf(text, sizeof text, i ? ",%lld" : "%lld", (long long)pl_tensor_shape(t)[i]);
        luaL_addstring(&b, text);
    }
    luaL_addstring(&b, "]");
    if (pl_tensor_requires_grad(t)) luaL_addstring(&b, " requires_grad");
    if (pl_tensor_data(t) == NULL) luaL_addstring(&b, " (freed)");
    else if (pl_dtype_kept(pl_tensor_dtype(t))) describe_kept(L, &b, t);
    else describe_values(L, &b, t);
    luaL_pushresult(&b);
    return 1;
}

/* ---- scopes, memory, machine ----------------------------------------------------------------- */

#define SCOPE "perilune.Scope"

static int open_scope(lua_State *L, bool frame)
{
    const char *name = luaL_optstring(L, 1, frame ? "frame" : "scope");
    int64_t *box = lua_newuserdatauv(L, sizeof *box, 0);
    *box = 0;
    luaL_setmetatable(L, SCOPE);
    lb_check(L, pl_scope_open(lb_ctx(L), box, name, frame));
    return 1;
}

static int scope_new(lua_State *L)
{
    return open_scope(L, false);
}

static int frame_new(lua_State *L)
{
    return open_scope(L, true);
}

static int scope_close(lua_State *L)
{
    int64_t *box = luaL_checkudata(L, 1, SCOPE);
    const int64_t id = *box;
    *box = 0;
    pl_scope_close(lb_ctx(L), id);
    return 0;
}

static int mem_info(lua_State *L)
{
    const pl_mem_info info = pl_mem_get(lb_ctx(L));
    lua_createtable(L, 0, 5);
#define SET(name) (lua_pushinteger(L, info.name), lua_setfield(L, -2, #name))
    SET(live);
    SET(peak);
    SET(limit);
    SET(cached);
    SET(calls);
#undef SET
    return 1;
}

static int mem_limit(lua_State *L)
{
    pl_mem_set_limit(lb_ctx(L), luaL_checkinteger(L, 1));
    return 0;
}

static int mem_reset_peak(lua_State *L)
{
    pl_mem_reset_peak(lb_ctx(L));
    return 0;
}

static int mem_fail_at(lua_State *L)
{
    pl_mem_fail_at(lb_ctx(L), luaL_checkinteger(L, 1), lua_toboolean(L, 2));
    return 0;
}

static int mem_trim(lua_State *L)
{
    pl_mem_trim(lb_ctx(L));
    return 0;
}

static int threads(lua_State *L)
{
    if (!lua_isnoneornil(L, 1)) {
        const lua_Integer n = luaL_checkinteger(L, 1);
        if (!pl_threads_set(n))
            return luaL_error(L, "%I threads: there may be 1 to %d", (LUAI_UACINT)n,
                              PL_MAX_THREADS);
    }
    lua_pushinteger(L, pl_threads_get());
    return 1;
}

static int isa(lua_State *L)
{
    lua_pushstring(L, pl_isa());
    return 1;
}

/* gemm([name]) -> {wish =, float32 =, float64 =}: who does large matrix products, "own" or
** "openblas"; rows_alone tells whether rows keep their bits beside any others. */
static int gemm(lua_State *L)
{
    static const struct {
        pl_dtype dtype;
        const char *field;
    } dtypes[] = {{PL_F32, "float32"}, {PL_F64, "float64"}};
    bool rows_alone = true;
    if (!lua_isnoneornil(L, 1)) lb_check(L, pl_gemm_set(lb_ctx(L), luaL_checkstring(L, 1)));
    lua_newtable(L);
    for (int i = 0; i < 2; i++) {
        pl_gemm_info info;
        lb_check(L, pl_gemm_get(lb_ctx(L), dtypes[i].dtype, &info));
        lua_pushstring(L, info.openblas ? "openblas" : "own");
        lua_setfield(L, -2, dtypes[i].field);
        lua_pushstring(L, info.wish);
        lua_setfield(L, -2, "wish");
        rows_alone = rows_alone && info.rows_alone;
    }
    lua_pushboolean(L, rows_alone);
    lua_setfield(L, -2, "rows_alone");
    return 1;
}

/* random_purpose(name, ...): a text part counts as the hash of the text. */
static int random_purpose(lua_State *L)
{
    enum { MOST = 16 };
    int64_t parts[MOST];
    const int n = lua_gettop(L) - 1;
    const char *name = luaL_checkstring(L, 1);
    luaL_argcheck(L, n <= MOST, n, "at most 16 parts");
    for (int i = 0; i < n; i++) {
        const int idx = i + 2;
        if (lua_type(L, idx) == LUA_TSTRING)
            parts[i] = (int64_t)pl_random_purpose(lua_tostring(L, idx), NULL, 0);
        else parts[i] = luaL_checkinteger(L, idx);
    }
    lua_pushinteger(L, (lua_Integer)pl_random_purpose(name, parts, n));
    return 1;
}

static int random_uniform(lua_State *L)
{
    lua_pushnumber(L, pl_random_uniform((uint64_t)luaL_checkinteger(L, 1),
                                        (uint64_t)luaL_checkinteger(L, 2),
                                        (uint64_t)luaL_checkinteger(L, 3)));
    return 1;
}

static int random_normal(lua_State *L)
{
    lua_pushnumber(L, pl_random_normal((uint64_t)luaL_checkinteger(L, 1),
                                       (uint64_t)luaL_checkinteger(L, 2),
                                       (uint64_t)luaL_checkinteger(L, 3)));
    return 1;
}

static const luaL_Reg tensor_methods[] = {
    {"__gc", tensor_gc},         {"__tostring", tensor_tostring},
    {"__len", tensor_len},       {"__eq", tensor_eq},
    {"shape", tensor_shape},     {"size", tensor_size},
    {"rank", tensor_rank},       {"count", tensor_count},
    {"dtype", tensor_dtype},     {"item", tensor_item},
    {"get", tensor_get},         {"set", tensor_set},
    {"totable", tensor_totable}, {"bytes", tensor_bytes},
    {"fill_", tensor_fill},      {"copy_", tensor_copy},
    {"clone", tensor_clone},     {"view", tensor_view},
    {"detach", tensor_detach},   {"keep", tensor_keep},
    {"free", tensor_free},       {"alive", tensor_alive},
    {"name", tensor_name},       {"version", tensor_version},
    {"memory", tensor_memory},   {NULL, NULL},
};

static const luaL_Reg scope_methods[] = {
    {"__gc", scope_close},
    {"__close", scope_close},
    {"close", scope_close},
    {NULL, NULL},
};

static const luaL_Reg functions[] = {
    {"tensor", tensor_new},
    {"full", tensor_full},
    {"zeros", tensor_zeros},
    {"randn", tensor_randn},
    {"uniform", tensor_uniform},
    {"from_bytes", tensor_from_bytes},
    {"scope", scope_new},
    {"frame", frame_new},
    {"mem", mem_info},
    {"mem_limit", mem_limit},
    {"mem_reset_peak", mem_reset_peak},
    {"mem_fail_at", mem_fail_at},
    {"mem_trim", mem_trim},
    {"threads", threads},
    {"isa", isa},
    {"gemm", gemm},
    {"random_uniform", random_uniform},
    {"random_normal", random_normal},
    {"random_purpose", random_purpose},
    {"seed", seed},
    {NULL, NULL},
};

void lb_open_tensor(lua_State *L)
{
    lb_class(L, TENSOR, tensor_methods);
    lb_class(L, SCOPE, scope_methods);
    luaL_setfuncs(L, functions, 0);
}
