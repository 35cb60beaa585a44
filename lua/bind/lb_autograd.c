/*
** lb_autograd.c - gradients in Lua: requires_grad, backward, no_grad, checkpoint.
*/
#include "lb.h"

#define GUARD "perilune.NoGrad"

static int requires_grad(lua_State *L)
{
    pl_tensor *t = lb_check_tensor(L, 1);
    if (lua_isnone(L, 2)) {
        lua_pushboolean(L, pl_tensor_requires_grad(t));
        return 1;
    }
    if (lua_toboolean(L, 2) && pl_dtype_kept(pl_tensor_dtype(t)))
        return luaL_error(L, "requires_grad: the tensor is %s, a constant; cast makes it float32",
                          pl_dtype_name(pl_tensor_dtype(t)));
    pl_tensor_set_requires_grad(t, lua_toboolean(L, 2));
    lua_settop(L, 1);
    return 1;
}

static int tensor_grad(lua_State *L)
{
    pl_tensor *grad = pl_tensor_grad(lb_check_tensor(L, 1));
    if (grad == NULL) return 0;
    pl_tensor **box = lb_new_tensor(L);
    pl_tensor_retain(grad);
    *box = grad;
    return 1;
}

static int zero_grad(lua_State *L)
{
    pl_tensor_zero_grad(lb_check_tensor(L, 1));
    lua_settop(L, 1);
    return 1;
}

static int backward(lua_State *L)
{
    pl_tensor *t = lb_check_tensor(L, 1), *seed = lb_opt_tensor(L, 2);
    lb_check(L, pl_backward(lb_ctx(L), t, seed));
    return 0;
}

static int grad_enabled(lua_State *L)
{
    lua_pushboolean(L, pl_grad_enabled(lb_ctx(L)));
    return 1;
}

static int guard_close(lua_State *L)
{
    int *former = luaL_checkudata(L, 1, GUARD);
    if (*former >= 0) pl_set_grad_enabled(lb_ctx(L), *former != 0);
    *former = -1;
    return 0;
}

/* Nobody held it and it was not closed: it is told. */
static int guard_gc(lua_State *L)
{
    const int *former = luaL_checkudata(L, 1, GUARD);
    if (*former >= 0)
        lua_writestringerror("%s\n", "perilune: a guard of pl.no_grad or pl.with_grad was not held "
                                     "by a variable and ends now. Write: local guard <close> = "
                                     "pl.no_grad()");
    return guard_close(L);
}

static int guard_tostring(lua_State *L)
{
    const int *former = luaL_checkudata(L, 1, GUARD);
    lua_pushstring(L, *former < 0 ? "guard of the tape, closed"
                                  : "guard of the tape, open; it ends with the block that has: "
                                    "local guard <close> = pl.no_grad()");
    return 1;
}

static int guard_new(lua_State *L, bool on)
{
    int *former = lua_newuserdatauv(L, sizeof *former, 0);
    *former = -1;
    luaL_setmetatable(L, GUARD);
    *former = pl_set_grad_enabled(lb_ctx(L), on);
    return 1;
}

/* local _ <close> = pl.no_grad() */
static int no_grad(lua_State *L)
{
    return guard_new(L, false);
}

/* local _ <close> = pl.with_grad() */
static int with_grad(lua_State *L)
{
    return guard_new(L, true);
}

/* ---- activation checkpointing -------------------------------------------------------------------
** pl.checkpoint(fn, x...): runs fn(x...) without a tape and keeps only the inputs; backward runs fn
** again with a tape and walks that. fn must give one tensor and the same values each time.
*/
typedef struct {
    lua_State *L; /* the main state */
    int fn;       /* registry reference */
    int n;
    pl_tensor *x[PL_MAX_IN]; /* views, alive whatever frame closes */
    pl_tensor *const *d_out;
    pl_tensor **d_in;
} checkpoint;

static void checkpoint_drop(void *data)
{
    checkpoint *cp = data;
    luaL_unref(cp->L, LUA_REGISTRYINDEX, cp->fn);
    pl_ctx *ctx = lb_ctx(cp->L);
    for (int i = 0; i < cp->n; i++) pl_tensor_release(cp->x[i]);
    pl_free(ctx, cp);
}

/* Puts a view that the scope frees into the box: an input and its gradient do not wait for the
** collector, which sees a few bytes where there are megabytes. */
static void free_box(lua_State *L, int index)
{
    pl_tensor **box = lua_touserdata(L, index), *x = *box, *view;
    lb_check(L, pl_tensor_view(lb_ctx(L), &view, x, 0, pl_tensor_rank(x), pl_tensor_shape(x)));
    *box = view;
    pl_tensor_release(x);
}

/* Runs protected: recomputes with a tape and walks it. */
static int recompute(lua_State *L)
{
    checkpoint *cp = lua_touserdata(L, 1);
    pl_ctx *ctx = lb_ctx(L);
    guard_new(L, true);
    lua_toclose(L, -1);
    const int boxes = lua_gettop(L);
    for (int i = 0; i < cp->n; i++) {
        pl_tensor **box = lb_new_tensor(L);
        pl_tensor_retain(cp->x[i]);
        *box = cp->x[i];
    }
    lua_rawgeti(L, LUA_REGISTRYINDEX, cp->fn);
    for (int i = 0; i < cp->n; i++) lua_pushvalue(L, boxes + 1 + i);
    lua_call(L, cp->n, 1);
    pl_tensor *y = lb_check_tensor(L, -1);
    lb_check(L, pl_backward(ctx, y, cp->d_out[0]));
    for (int i = 0; i < cp->n; i++) {
        cp->d_in[i] = pl_tensor_grad(cp->x[i]);
        if (cp->d_in[i] != NULL) pl_tensor_retain(cp->d_in[i]);
    }
    for (int i = 0; i < cp->n; i++) free_box(L, boxes + 1 + i);
    return 0;
}

static pl_status checkpoint_backward(pl_ctx *ctx, void *data, pl_tensor *const *d_out,
                                     pl_tensor **d_in)
{
    checkpoint *cp = data;
    lua_State *L = cp->L;
    int64_t frame;
    cp->d_out = d_out;
    cp->d_in = d_in;
    pl_status st = pl_scope_open(ctx, &frame, "checkpoint", false);
    if (st != PL_OK) return st;
    lua_pushcfunction(L, recompute);
    lua_pushlightuserdata(L, cp);
    if (lua_pcall(L, 1, 0, 0) != LUA_OK) {
        const char *text = lua_tostring(L, -1);
        st = pl_fail_callback(ctx, text != NULL ? text : "error in a checkpointed function");
        lua_pop(L, 1);
    }
    pl_scope_close(ctx, frame);
    return st;
}

static lua_State *main_state(lua_State *L)
{
    lua_rawgeti(L, LUA_REGISTRYINDEX, LUA_RIDX_MAINTHREAD);
    lua_State *M = lua_tothread(L, -1);
    lua_pop(L, 1);
    return M;
}

static int checkpoint_call(lua_State *L)
{
    pl_ctx *ctx = lb_ctx(L);
    const int n = lua_gettop(L) - 1;
    luaL_checktype(L, 1, LUA_TFUNCTION);
    luaL_argcheck(L, n >= 1 && n <= PL_MAX_IN, 2, "1 to 8 tensors wanted");
    for (int i = 0; i < n; i++) lb_check_tensor(L, 2 + i);
    lua_settop(L, n + 1);
    if (!pl_grad_enabled(ctx)) {
        lua_call(L, n, 1);
        return 1;
    }
    guard_new(L, false); /* at n + 2 */
    lua_toclose(L, -1);
    lua_pushvalue(L, 1);
    for (int i = 0; i < n; i++) lua_pushvalue(L, 2 + i);
    lua_call(L, n, 1); /* the output at n + 3 */
    pl_tensor *out = lb_check_tensor(L, -1), *in[PL_MAX_IN];
    lua_pushvalue(L, 1);
    const int fn = luaL_ref(L, LUA_REGISTRYINDEX);
    checkpoint *cp = pl_calloc(ctx, 1, sizeof *cp);
    pl_status st = cp != NULL ? PL_OK : PL_ERR_NOMEM;
    if (cp == NULL) luaL_unref(L, LUA_REGISTRYINDEX, fn);
    else {
        cp->L = main_state(L);
        cp->fn = fn;
        for (int i = 0; i < n && st == PL_OK; i++) {
            in[i] = *(pl_tensor **)lua_touserdata(L, 2 + i);
            st = pl_tensor_view(ctx, &cp->x[i], in[i], 0, pl_tensor_rank(in[i]),
                                pl_tensor_shape(in[i]));
            if (st != PL_OK) break;
            cp->n = i + 1;
            pl_tensor_keep_forever(cp->x[i]);
            pl_tensor_set_requires_grad(cp->x[i], pl_tensor_requires_grad(in[i]));
        }
        if (st == PL_OK)
            st = pl_custom(ctx, in, n, &out, 1, checkpoint_backward, checkpoint_drop, cp);
        if (st != PL_OK) checkpoint_drop(cp);
    }
    lb_check(L, st);
    lua_pushvalue(L, n + 3);
    return 1;
}

void lb_open_autograd(lua_State *L)
{
    static const luaL_Reg guard_methods[] = {
        {"__gc", guard_gc},
        {"__close", guard_close},
        {"__tostring", guard_tostring},
        {NULL, NULL},
    };
    static const luaL_Reg methods[] = {
        {"requires_grad", requires_grad}, {"grad", tensor_grad}, {"zero_grad", zero_grad},
        {"backward", backward},           {NULL, NULL},
    };
    static const luaL_Reg functions[] = {
        {"no_grad", no_grad},
        {"with_grad", with_grad},
        {"grad_enabled", grad_enabled},
        {"checkpoint", checkpoint_call},
        {NULL, NULL},
    };
    lb_class(L, GUARD, guard_methods);
    luaL_getmetatable(L, LB_TENSOR);
    lua_getfield(L, -1, "__methods");
    luaL_setfuncs(L, methods, 0);
    lua_pop(L, 2);
    luaL_setfuncs(L, functions, 0);
}
