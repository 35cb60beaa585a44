/*
** lb_scope.c - scopes, memory and the machine in Lua: threads, kernels, random numbers.
*/
#include <string.h>

#include "lb.h"

#define SCOPE "perilune.Scope"

/* A scope; its user value is where it was opened. */
typedef struct {
    int64_t id; /* 0: closed */
    bool frame;
} scope_box;

static int open_scope(lua_State *L, bool frame)
{
    const char *name = luaL_optstring(L, 1, frame ? "frame" : "scope");
    scope_box *box = lua_newuserdatauv(L, sizeof *box, 2);
    *box = (scope_box){0, frame};
    luaL_setmetatable(L, SCOPE);
    luaL_where(L, 1);
    lua_setiuservalue(L, -2, 1);
    lua_pushstring(L, name);
    lua_setiuservalue(L, -2, 2);
    lb_check(L, pl_scope_open(lb_ctx(L), &box->id, name, frame));
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
    scope_box *box = luaL_checkudata(L, 1, SCOPE);
    const int64_t id = box->id;
    box->id = 0;
    pl_scope_close(lb_ctx(L), id);
    return 0;
}

/* Pushes what to write instead: local step <close> = pl.scope("step"). */
static void push_advice(lua_State *L, const scope_box *box)
{
    lua_getiuservalue(L, 1, 2);
    lua_pushfstring(L, "local this <close> = pl.%s(\"%s\")", box->frame ? "frame" : "scope",
                    lua_tostring(L, -1));
    lua_remove(L, -2);
}

/* Nobody holds it and it was not closed: it is told, and its tensors go on living. */
static int scope_gc(lua_State *L)
{
    scope_box *box = luaL_checkudata(L, 1, SCOPE);
    if (box->id == 0) return 0;
    pl_scope_dissolve(lb_ctx(L), box->id);
    box->id = 0;
    lua_getiuservalue(L, 1, 2);
    lua_getiuservalue(L, 1, 1);
    push_advice(L, box);
    lua_pushfstring(L,
                    "perilune: %sthe scope '%s' was not held by a variable, so nothing closed "
                    "it; its tensors stay. Write: %s",
                    lua_tostring(L, -2), lua_tostring(L, -3), lua_tostring(L, -1));
    lua_writestringerror("%s\n", lua_tostring(L, -1));
    return 0;
}

static int scope_tostring(lua_State *L)
{
    const scope_box *box = luaL_checkudata(L, 1, SCOPE);
    int64_t tensors = 0, bytes = 0;
    const bool open = pl_scope_get(lb_ctx(L), box->id, &tensors, &bytes);
    lua_getiuservalue(L, 1, 2);
    const char *name = lua_tostring(L, -1);
    if (!open) {
        lua_pushfstring(L, "%s '%s', closed", box->frame ? "frame" : "scope", name);
        return 1;
    }
    push_advice(L, box);
    lua_pushfstring(L, "%s '%s', open: %I tensor%s, %I bytes; it ends with the block that has: %s",
                    box->frame ? "frame" : "scope", name, (LUAI_UACINT)tensors,
                    tensors == 1 ? "" : "s", (LUAI_UACINT)bytes, lua_tostring(L, -1));
    return 1;
}

static int mem_info(lua_State *L)
{
    const pl_mem_info info = pl_mem_get(lb_ctx(L));
    lua_createtable(L, 0, 6);
    lb_set_integer(L, "live", info.live);
    lb_set_integer(L, "peak", info.peak);
    lb_set_integer(L, "limit", info.limit);
    lb_set_integer(L, "cached", info.cached);
    lb_set_integer(L, "held_peak", info.held_peak);
    lb_set_integer(L, "calls", info.calls);
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

/* bf16() -> rule, native: how bfloat16 products are added up. */
static int bf16(lua_State *L)
{
    bool native;
    lua_pushstring(L, pl_bf16(&native));
    lua_pushboolean(L, native);
    return 2;
}

/* vnni() -> boolean: whether products in eight bits have an instruction of their own. */
static int vnni(lua_State *L)
{
    lua_pushboolean(L, pl_vnni());
    return 1;
}

/* gemm([name]) -> {wish =, float32 =, float64 =, split =}: who does large matrix products, "own"
** or "openblas"; split, whether those for float32 gradients are of split numbers; rows_alone,
** whether rows keep their bits beside any others. */
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
        lb_set_string(L, dtypes[i].field, info.openblas ? "openblas" : "own");
        lb_set_string(L, "wish", info.wish);
        rows_alone = rows_alone && info.rows_alone;
        if (i > 0) continue;
        lb_set_boolean(L, "split", info.split);
    }
    lb_set_boolean(L, "rows_alone", rows_alone);
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

static const luaL_Reg scope_methods[] = {
    {"__gc", scope_gc},
    {"__tostring", scope_tostring},
    {"__close", scope_close},
    {"close", scope_close},
    {NULL, NULL},
};

static const luaL_Reg functions[] = {
    {"scope", scope_new},
    {"frame", frame_new},
    {"mem", mem_info},
    {"mem_limit", mem_limit},
    {"mem_reset_peak", mem_reset_peak},
    {"mem_fail_at", mem_fail_at},
    {"mem_trim", mem_trim},
    {"threads", threads},
    {"isa", isa},
    {"bf16", bf16},
    {"gemm", gemm},
    {"vnni", vnni},
    {"random_uniform", random_uniform},
    {"random_normal", random_normal},
    {"random_purpose", random_purpose},
    {NULL, NULL},
};

void lb_open_scope(lua_State *L)
{
    lb_class(L, SCOPE, scope_methods);
    luaL_setfuncs(L, functions, 0);
}
