/*
** lb_train.c - parameter blocks and optimizers in Lua.
**
**   local block = pl.block({ {"wte", {512, 64}}, ... } [, dtype])
**   local opt = core.adamw_state(block)          -- wrapped by learn/optimizer.lua
**   local r = opt:step{lr = 1e-4, ...}           -- r.grad_norm, r.skipped
**
** An optimizer keeps its block alive, and a parameter tensor may outlive its block: its memory is
** counted by the views.
*/
#include <string.h>

#include "lb.h"

#define BLOCK "perilune.ParameterBlock"
#define OPTIMIZER "perilune.Optimizer"

static pl_block *check_block(lua_State *L, int idx)
{
    pl_block **box = luaL_checkudata(L, idx, BLOCK);
    luaL_argcheck(L, *box != NULL, idx, "block was collected");
    return *box;
}

static int block_gc(lua_State *L)
{
    pl_block **box = luaL_checkudata(L, 1, BLOCK);
    pl_block_free(*box);
    *box = NULL;
    return 0;
}

/* Reads {name, {shape}} at the top of the stack. The name stays in the table that holds it. */
static void read_entry(lua_State *L, pl_block_entry *e)
{
    if (!lua_istable(L, -1)) luaL_error(L, "block: each entry is {name, {sizes}}");
    lua_geti(L, -1, 1);
    if (lua_type(L, -1) != LUA_TSTRING) luaL_error(L, "block: an entry has no name");
    e->name = lua_tostring(L, -1);
    if (strlen(e->name) > PL_MAX_NAME)
        luaL_error(L, "block: the name '%s' is longer than %d bytes", e->name, PL_MAX_NAME);
    lua_pop(L, 1);
    if (lua_geti(L, -1, 2) != LUA_TTABLE) luaL_error(L, "block: '%s' has no shape", e->name);
    const lua_Integer rank = luaL_len(L, -1);
    if (rank > PL_MAX_RANK) luaL_error(L, "block: '%s' has more than 6 axes", e->name);
    e->rank = (int)rank;
    for (int i = 0; i < e->rank; i++) {
        lua_geti(L, -1, i + 1);
        e->shape[i] = luaL_checkinteger(L, -1);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
}

static int block_new(lua_State *L)
{
    static const char *const dtypes[] = {"float32", "float64", NULL};
    luaL_checktype(L, 1, LUA_TTABLE);
    const pl_dtype dtype = (pl_dtype)luaL_checkoption(L, 2, "float32", dtypes);
    const lua_Integer n = luaL_len(L, 1);
    pl_block_entry *entries = lua_newuserdatauv(L, sizeof *entries * (size_t)(n + 1), 0);
    for (lua_Integer i = 0; i < n; i++) {
        lua_geti(L, 1, i + 1);
        read_entry(L, &entries[i]);
        lua_pop(L, 1);
    }
    pl_block **box = lua_newuserdatauv(L, sizeof *box, 0);
    *box = NULL;
    luaL_setmetatable(L, BLOCK);
    pl_status st = pl_block_new(lb_ctx(L), box, dtype, (int)n, entries);
    if (st == PL_ERR_NOMEM) {
        lua_gc(L, LUA_GCCOLLECT);
        st = pl_block_new(lb_ctx(L), box, dtype, (int)n, entries);
    }
    lb_check(L, st);
    return 1;
}

static int push_borrowed(lua_State *L, pl_tensor *t)
{
    if (t == NULL) return 0;
    pl_tensor **box = lb_new_tensor(L);
    pl_tensor_retain(t);
    *box = t;
    return 1;
}

static int block_tensors(lua_State *L)
{
    const pl_block *block = check_block(L, 1);
    lua_newtable(L);
    for (int i = 0; i < pl_block_size(block); i++) {
        push_borrowed(L, pl_block_get(block, i));
        lua_setfield(L, -2, pl_tensor_name(pl_block_get(block, i)));
    }
    return 1;
}

static int block_names(lua_State *L)
{
    const pl_block *block = check_block(L, 1);
    lua_newtable(L);
    for (int i = 0; i < pl_block_size(block); i++) {
        lua_pushstring(L, pl_tensor_name(pl_block_get(block, i)));
        lua_seti(L, -2, i + 1);
    }
    return 1;
}

static int block_count(lua_State *L)
{
    lua_pushinteger(L, pl_block_count(check_block(L, 1)));
    return 1;
}

static int block_flat(lua_State *L)
{
    return push_borrowed(L, pl_block_flat(check_block(L, 1)));
}

static int block_grads(lua_State *L)
{
    pl_block *block = check_block(L, 1);
    pl_tensor *grads;
    lb_check(L, pl_block_grads(block, &grads));
    return push_borrowed(L, grads);
}

static int block_zero_grad(lua_State *L)
{
    pl_block_zero_grad(check_block(L, 1));
    return 0;
}

static int block_grad_norm(lua_State *L)
{
    double norm;
    lb_check(L, pl_block_grad_norm(check_block(L, 1), &norm));
    lua_pushnumber(L, norm);
    return 1;
}

/* Names of the parameters no gradient has reached since the last zero_grad. */
static int block_unreached(lua_State *L)
{
    const pl_block *block = check_block(L, 1);
    lua_newtable(L);
    for (int i = 0, n = 0; i < pl_block_size(block); i++)
        if (!pl_block_has_grad(block, i)) {
            lua_pushstring(L, pl_tensor_name(pl_block_get(block, i)));
            lua_seti(L, -2, ++n);
        }
    return 1;
}

/* block:average(other, decay): block = decay block + (1 - decay) other */
static int block_average(lua_State *L)
{
    pl_block *dst = check_block(L, 1), *src = check_block(L, 2);
    lb_check(L, pl_block_average(dst, src, luaL_checknumber(L, 3)));
    return 0;
}

/* block:take(list), block:give(list): values (and gradients) from tensors that stand alone, values
** back to them; see learn/optimizer.lua. */
static int exchange(lua_State *L, bool take)
{
    pl_block *block = check_block(L, 1);
    const int n = pl_block_size(block);
    luaL_checktype(L, 2, LUA_TTABLE);
    luaL_argcheck(L, luaL_len(L, 2) == n, 2, "one tensor for each parameter wanted");
    pl_tensor **list = lua_newuserdatauv(L, sizeof *list * (size_t)(n + 1), 0);
    for (int i = 0; i < n; i++) {
        lua_geti(L, 2, i + 1);
        list[i] = lb_check_tensor(L, -1);
        lua_pop(L, 1);
    }
    lb_check(L, take ? pl_block_take(block, list) : pl_block_give(block, list));
    return 0;
}

static int block_take(lua_State *L)
{
    return exchange(L, true);
}

static int block_give(lua_State *L)
{
    return exchange(L, false);
}

static int block_tostring(lua_State *L)
{
    pl_block **box = luaL_checkudata(L, 1, BLOCK);
    if (*box == NULL) {
        lua_pushliteral(L, "ParameterBlock, collected");
        return 1;
    }
    const pl_tensor *flat = pl_block_flat(*box);
    lua_pushfstring(L, "ParameterBlock: %d tensors, %I parameters, %s, %I bytes",
                    pl_block_size(*box), (LUAI_UACINT)pl_block_count(*box),
                    pl_dtype_name(pl_tensor_dtype(flat)), (LUAI_UACINT)pl_tensor_bytes(flat));
    return 1;
}

static int block_hash(lua_State *L)
{
    char text[33];
    lb_check(L, pl_block_hash(check_block(L, 1), text));
    lua_pushstring(L, text);
    return 1;
}

static int block_requires_grad(lua_State *L)
{
    pl_block *block = check_block(L, 1);
    for (int i = 0; i < pl_block_size(block); i++)
        pl_tensor_set_requires_grad(pl_block_get(block, i), lua_toboolean(L, 2));
    return 0;
}

/* ---- Optimizers ------------------------------------------------------------------------------ */

static pl_optimizer *check_optimizer(lua_State *L)
{
    pl_optimizer **box = luaL_checkudata(L, 1, OPTIMIZER);
    luaL_argcheck(L, *box != NULL, 1, "optimizer was collected");
    return *box;
}

static int optimizer_gc(lua_State *L)
{
    pl_optimizer **box = luaL_checkudata(L, 1, OPTIMIZER);
    pl_optimizer_free(*box);
    *box = NULL;
    return 0;
}

static pl_optimizer **new_optimizer(lua_State *L)
{
    pl_optimizer **box = lua_newuserdatauv(L, sizeof *box, 1);
    *box = NULL;
    luaL_setmetatable(L, OPTIMIZER);
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, -2, 1); /* the block lives as long */
    return box;
}

static int adamw_new(lua_State *L)
{
    pl_block *block = check_block(L, 1);
    const bool eight_bit = lua_toboolean(L, 2);
    pl_optimizer **box = new_optimizer(L);
    lb_check(L, (eight_bit ? pl_optimizer_new_adamw_8bit : pl_optimizer_new_adamw)(lb_ctx(L), box,
                                                                                   block));
    return 1;
}

/* muon_state(block, {[name] = true}, bf16) */
static int muon_new(lua_State *L)
{
    pl_block *block = check_block(L, 1);
    const bool bf16 = lua_toboolean(L, 3);
    luaL_checktype(L, 2, LUA_TTABLE);
    const int n = pl_block_size(block);
    bool *matrices = lua_newuserdatauv(L, (size_t)n + 1, 0);
    for (int i = 0; i < n; i++) {
        lua_getfield(L, 2, pl_tensor_name(pl_block_get(block, i)));
        matrices[i] = lua_toboolean(L, -1);
        lua_pop(L, 1);
    }
    pl_optimizer **box = new_optimizer(L);
    lb_check(L, pl_optimizer_new_muon(lb_ctx(L), box, block, matrices, bf16));
    return 1;
}

static int optimizer_step(lua_State *L)
{
    static const char *const names[] = {
        "lr", "beta1", "beta2", "eps", "weight_decay", "max_grad_norm", "tf_eps", "momentum", NULL};
    pl_optimizer *opt = check_optimizer(L);
    luaL_checktype(L, 2, LUA_TTABLE);
    lb_known(L, 2, "optimizer option", names);
    const pl_optimizer_options o = {
        .lr = lb_number_field(L, 2, "lr", -1),
        .beta1 = lb_number_field(L, 2, "beta1", 0.9),
        .beta2 = lb_number_field(L, 2, "beta2", 0.95),
        .eps = lb_number_field(L, 2, "eps", 1e-8),
        .weight_decay = lb_number_field(L, 2, "weight_decay", 0),
        .max_grad_norm = lb_number_field(L, 2, "max_grad_norm", 0),
        .momentum = lb_number_field(L, 2, "momentum", 0.95),
        .tf_eps = lb_boolean_field(L, 2, "tf_eps", false),
    };
    luaL_argcheck(L, o.lr >= 0, 2, "lr is missing or below 0");
    pl_optimizer_result result;
    lb_check(L, pl_optimizer_step(opt, &o, &result));
    lua_createtable(L, 0, 2);
    lb_set_number(L, "grad_norm", result.grad_norm);
    lb_set_boolean(L, "skipped", result.skipped);
    return 1;
}

/* opt:state() -> {m = tensor, v = tensor, steps = n}; the tensors are the live moments. */
static int optimizer_state(lua_State *L)
{
    pl_optimizer *opt = check_optimizer(L);
    lua_createtable(L, 0, 3);
    push_borrowed(L, pl_optimizer_moment(opt, 0));
    lua_setfield(L, -2, "m");
    push_borrowed(L, pl_optimizer_moment(opt, 1));
    lua_setfield(L, -2, "v");
    lb_set_integer(L, "steps", pl_optimizer_steps(opt));
    return 1;
}

static int optimizer_set_steps(lua_State *L)
{
    pl_optimizer *opt = check_optimizer(L);
    luaL_argcheck(L, luaL_checkinteger(L, 2) >= 0, 2, "at least 0");
    pl_optimizer_set_steps(opt, lua_tointeger(L, 2));
    return 0;
}

void lb_open_train(lua_State *L)
{
    static const luaL_Reg block_methods[] = {
        {"__gc", block_gc},
        {"__tostring", block_tostring},
        {"take", block_take},
        {"give", block_give},
        {"tensors", block_tensors},
        {"names", block_names},
        {"count", block_count},
        {"flat", block_flat},
        {"grads", block_grads},
        {"zero_grad", block_zero_grad},
        {"grad_norm", block_grad_norm},
        {"unreached", block_unreached},
        {"average", block_average},
        {"hash", block_hash},
        {"requires_grad", block_requires_grad},
        {NULL, NULL},
    };
    static const luaL_Reg optimizer_methods[] = {
        {"__gc", optimizer_gc},
        {"step", optimizer_step},
        {"state", optimizer_state},
        {"set_steps", optimizer_set_steps},
        {NULL, NULL},
    };
    static const luaL_Reg functions[] = {
        {"block", block_new},
        {"adamw_state", adamw_new},
        {"muon_state", muon_new},
        {NULL, NULL},
    };
    lb_class(L, BLOCK, block_methods);
    lb_class(L, OPTIMIZER, optimizer_methods);
    luaL_setfuncs(L, functions, 0);
}
