/*
** lb_gen.c - recording a decode step and generating, in Lua.
**
**   local g = pl.generator(step, caches)     step(batch) gives logits of the last rows
**   local answers = g:generate(prompts, {max_tokens =, temperature =, ...})
**
** lua/perilune/model/generate.lua wraps these for models.
*/
#include <stdio.h>
#include <string.h>

#include "lb.h"

#define GENERATOR "perilune.Generator"

enum { N_INPUTS = 6 };
static const char *const input_names[N_INPUTS] = {"tokens", "positions", "offsets",
                                                  "blocks", "past",      "last"};

static int generator_gc(lua_State *L)
{
    pl_generator **box = luaL_checkudata(L, 1, GENERATOR);
    pl_generator_free(*box);
    *box = NULL;
    return 0;
}

/* The recording's example: two sequences of two and one tokens in blocks 0 and 1 (one sequence when
** there is one block only). */
static void push_example(lua_State *L, int64_t n_blocks, pl_tensor **inputs)
{
    static const int32_t values[N_INPUTS][4] = {{0, 0, 0}, {0, 1, 0}, {0, 2, 3},
                                                {0, 1},    {0, 0},    {1, 2}};
    const int64_t two[N_INPUTS] = {3, 3, 3, 2, 2, 2}, one[N_INPUTS] = {2, 2, 2, 1, 1, 1};
    enum { BLOCKS = 3 };
    lua_createtable(L, 0, N_INPUTS);
    for (int i = 0; i < N_INPUTS; i++) {
        const int64_t *n = n_blocks > 1 ? &two[i] : &one[i];
        const int64_t shape[2] = {*n, 1};
        pl_tensor **box = lb_new_tensor(L);
        lb_check(L, pl_tensor_new(lb_ctx(L), box, PL_I32, i == BLOCKS ? 2 : 1, shape));
        memcpy(pl_tensor_data(*box), values[i], (size_t)*n * sizeof(int32_t));
        inputs[i] = *box;
        lua_setfield(L, -2, input_names[i]);
    }
}

static int generator_new(lua_State *L)
{
    pl_ctx *ctx = lb_ctx(L);
    luaL_checktype(L, 1, LUA_TFUNCTION);
    luaL_checktype(L, 2, LUA_TTABLE);
    const lua_Integer n = luaL_len(L, 2);
    luaL_argcheck(L, n >= 2 && n <= 4096, 2, "wanted: the k and v cache of each layer");
    pl_tensor **caches = lua_newuserdatauv(L, sizeof *caches * (size_t)n, 0); /* index 3 */
    for (lua_Integer i = 0; i < n; i++) {
        lua_geti(L, 2, i + 1);
        caches[i] = lb_check_tensor(L, -1);
        lua_pop(L, 1);
    }
    pl_generator **box = lua_newuserdatauv(L, sizeof *box, 0); /* index 4 */
    *box = NULL;
    luaL_setmetatable(L, GENERATOR);

    pl_tensor *inputs[N_INPUTS];
    lua_pushvalue(L, 1);
    push_example(L, pl_tensor_shape(caches[0])[0], inputs);
    const bool grad = pl_set_grad_enabled(ctx, false);
    pl_status st = pl_plan_begin(ctx, inputs, N_INPUTS);
    int called = LUA_OK;
    pl_plan *plan = NULL;
    if (st == PL_OK) {
        called = lua_pcall(L, 1, 1, 0);
        pl_tensor **y = called == LUA_OK ? luaL_testudata(L, -1, "perilune.Tensor") : NULL;
        if (y != NULL && *y != NULL) st = pl_plan_end(ctx, *y, &plan);
        else pl_plan_cancel(ctx);
        if (called == LUA_OK && y == NULL)
            st = pl_fail_callback(ctx, "generator: the step function must give a tensor of logits");
    }
    pl_set_grad_enabled(ctx, grad);
    if (called != LUA_OK) return lua_error(L);
    lb_check(L, st);
    lb_check(L, pl_generator_new(ctx, box, plan, caches, (int)n));
    lua_settop(L, 4);
    return 1;
}

/* The list of token ids on top of the stack, n of them; the engine knows the vocabulary. */
static void read_ids(lua_State *L, const char *what, int32_t *ids, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        lua_geti(L, -1, i + 1);
        ids[i] = lb_list_int32(L, what, i + 1);
        lua_pop(L, 1);
    }
}

typedef struct {
    lua_State *L;
    int fn;
} ends_call;

static int call_ends(lua_State *L) /* fn, tokens, n -> boolean */
{
    const int32_t *tokens = lua_touserdata(L, 2);
    const lua_Integer n = lua_tointeger(L, 3);
    lua_pushvalue(L, 1);
    lua_createtable(L, (int)n, 0);
    for (lua_Integer i = 0; i < n; i++) {
        lua_pushinteger(L, tokens[i]);
        lua_seti(L, -2, i + 1);
    }
    lua_call(L, 1, 1);
    return 1;
}

static pl_status ends(void *data, const int32_t *tokens, int64_t n, bool *end)
{
    ends_call *call = data;
    lua_State *L = call->L;
    lua_pushcfunction(L, call_ends);
    lua_pushvalue(L, call->fn);
    lua_pushlightuserdata(L, (void *)tokens);
    lua_pushinteger(L, n);
    pl_status st = PL_OK;
    if (lua_pcall(L, 3, 1, 0) == LUA_OK) *end = lua_toboolean(L, -1);
    else
        st = pl_fail_callback(lb_ctx(L), lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1)
                                                                        : "error in ends()");
    lua_pop(L, 1);
    return st;
}

typedef struct {
    pl_ctx *ctx;
    pl_gen_result *result;
} result_box;

static int result_gc(lua_State *L)
{
    result_box *box = lua_touserdata(L, 1);
    pl_gen_result_free(box->ctx, box->result);
    box->result = NULL;
    return 0;
}

/* Sets field `name` to a tensor of the answers' elements, laid end to end. `from` has 4 bytes an
** element, answer i at [i * max_tokens]. */
static void set_flat(lua_State *L, const char *name, const pl_gen_result *r, pl_dtype dtype,
                     const void *from, int64_t total)
{
    pl_tensor **box = lb_new_tensor(L);
    lb_check(L, pl_tensor_new(lb_ctx(L), box, dtype, 1, &total));
    char *to = pl_tensor_data(*box);
    for (int64_t i = 0; i < r->n; i++) {
        memcpy(to, (const char *)from + 4 * (size_t)(i * r->max_tokens), 4 * (size_t)r->length[i]);
        to += 4 * r->length[i];
    }
    lb_charge(L, *box);
    lua_setfield(L, -2, name);
}

/* The answers as flat tensors and where each begins. */
static void push_answers(lua_State *L, const pl_gen_result *r, int64_t samples)
{
    static const char *const reasons[] = {"stop", "length", "stop_string"};
    int64_t total = 0;
    for (int64_t i = 0; i < r->n; i++) total += r->length[i];
    if (total > INT32_MAX) luaL_error(L, "generate: the answers have more than 2^31 tokens");
    lua_createtable(L, 0, 12);
    pl_tensor **box = lb_new_tensor(L);
    lb_check(L, pl_tensor_new(lb_ctx(L), box, PL_I32, 1, &(int64_t){r->n + 1}));
    int32_t *offsets = pl_tensor_data(*box);
    offsets[0] = 0;
    for (int64_t i = 0; i < r->n; i++) offsets[i + 1] = offsets[i] + (int32_t)r->length[i];
    lua_setfield(L, -2, "offsets");
    set_flat(L, "tokens", r, PL_I32, r->tokens, total);
    set_flat(L, "logprobs", r, PL_F32, r->logprob, total);
    set_flat(L, "sampling_logprobs", r, PL_F32, r->sampling_logprob, total);
    set_flat(L, "entropies", r, PL_F32, r->entropy, total);
    lua_createtable(L, (int)r->n, 0);
    for (int64_t i = 0; i < r->n; i++) {
        lua_pushstring(L, reasons[r->finish[i]]);
        lua_seti(L, -2, i + 1);
    }
    lua_setfield(L, -2, "finish_reasons");
    lb_set_integer(L, "samples", samples);
    lb_set_integer(L, "steps", r->steps);
    lb_set_integer(L, "prefill_tokens", r->prefill_tokens);
    lb_set_integer(L, "pauses", r->pauses);
    lb_set_integer(L, "drafted", r->drafted);
    lb_set_integer(L, "accepted", r->accepted);
}

/* The list of lists of token ids at index 2, laid end to end: *tokens with the n + 1 places where
** each begins. Pushes two blocks, which hold them. */
static void read_prompts(lua_State *L, int64_t n, int32_t **tokens, int64_t **offsets)
{
    int64_t *at = lua_newuserdatauv(L, sizeof *at * (size_t)(n + 1), 0), total = 0;
    for (int64_t i = 0; i < n; i++) {
        at[i] = total;
        if (lua_geti(L, 2, i + 1) != LUA_TTABLE)
            luaL_error(L, "generate: prompt %d is not a list of token ids", (int)i + 1);
        total += luaL_len(L, -1);
        lua_pop(L, 1);
    }
    at[n] = total;
    *offsets = at;
    *tokens = lua_newuserdatauv(L, sizeof **tokens * (size_t)(total + 1), 0);
    for (int64_t i = 0; i < n; i++) {
        char what[48];
        snprintf(what, sizeof what, "generate: prompt %lld", (long long)i + 1);
        lua_geti(L, 2, i + 1);
        read_ids(L, what, *tokens + at[i], at[i + 1] - at[i]);
        lua_pop(L, 1);
    }
}

/* The options of the table at index 3 but for `ends`. Leaves what holds the stop tokens. */
static pl_gen_options read_options(lua_State *L)
{
    pl_gen_options o = {
        .max_tokens = lb_integer_field(L, 3, "max_tokens", 64),
        .samples = lb_integer_field(L, 3, "samples", 1),
        .context = lb_integer_field(L, 3, "context", 0),
        .slots = lb_integer_field(L, 3, "slots", 0),
        .cache_blocks = lb_integer_field(L, 3, "cache_blocks", 0),
        .prompt_lookup = lb_integer_field(L, 3, "prompt_lookup", 0),
        .temperature = lb_number_field(L, 3, "temperature", 1),
        .top_k = lb_integer_field(L, 3, "top_k", 0),
        .top_p = lb_number_field(L, 3, "top_p", 1),
        .min_p = lb_number_field(L, 3, "min_p", 0),
        .seed = (uint64_t)lb_integer_field(L, 3, "seed", 0),
        .reuse = lb_boolean_field(L, 3, "reuse", false),
        .stream = pl_random_purpose(lb_string_field(L, 3, "stream", ""), NULL, 0),
    };
    if (lua_getfield(L, 3, "stop") != LUA_TNIL) {
        if (!lua_istable(L, -1)) luaL_error(L, "generate: stop must be a list of token ids");
        o.n_stop = (int)luaL_len(L, -1);
        int32_t *stop = lua_newuserdatauv(L, sizeof *stop * (size_t)(o.n_stop + 1), 0);
        lua_insert(L, -2);
        read_ids(L, "generate: stop", stop, o.n_stop);
        o.stop = stop;
    }
    return o;
}

/* The option `keys`, one for each of n prompts; NULL when there is none. Leaves what holds them. */
static int64_t *read_keys(lua_State *L, int64_t n)
{
    if (lua_getfield(L, 3, "keys") == LUA_TNIL) return NULL;
    if (!lua_istable(L, -1) || luaL_len(L, -1) != n)
        luaL_error(L, "generate: keys: one for each prompt wanted");
    const int list = lua_gettop(L);
    int64_t *keys = lua_newuserdatauv(L, sizeof *keys * (size_t)(n + 1), 0);
    for (int64_t i = 0; i < n; i++) {
        lua_geti(L, list, i + 1);
        keys[i] = lb_list_integer(L, "generate: keys", i + 1);
        lua_pop(L, 1);
    }
    return keys;
}

/* Pushes a box for a result, which is freed whatever happens. */
static result_box *new_result_box(lua_State *L)
{
    result_box *holder = lua_newuserdatauv(L, sizeof *holder, 0);
    *holder = (result_box){lb_ctx(L), NULL};
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, result_gc);
    lua_setfield(L, -2, "__gc");
    lua_setmetatable(L, -2);
    return holder;
}

/* g:generate(prompts, options): prompts is a list of lists of token ids. Gives a table of flat
** tensors (tokens, logprobs, sampling_logprobs, entropies [N]), offsets [B+1], the list
** finish_reasons, and the numbers samples (answers to each prompt), steps, prefill_tokens, pauses,
** drafted and accepted. */
static int generator_generate(lua_State *L)
{
    static const char *const names[] = {
        "max_tokens", "samples", "temperature",  "top_k",         "top_p", "min_p",
        "seed",       "stream",  "stop",         "ends",          "keys",  "context",
        "reuse",      "slots",   "cache_blocks", "prompt_lookup", NULL};
    pl_generator **box = luaL_checkudata(L, 1, GENERATOR);
    luaL_argcheck(L, *box != NULL, 1, "generator was collected");
    luaL_checktype(L, 2, LUA_TTABLE);
    lb_known(L, 3, "generation option", names);
    lua_settop(L, 3);
    if (lua_isnil(L, 3)) {
        lua_newtable(L);
        lua_replace(L, 3);
    }
    const int64_t n = luaL_len(L, 2);
    int32_t *tokens;
    int64_t *offsets;
    read_prompts(L, n, &tokens, &offsets);
    pl_gen_options o = read_options(L);
    const int64_t *keys = read_keys(L, n);
    result_box *holder = new_result_box(L);
    lua_getfield(L, 3, "ends");
    ends_call call = {L, lua_gettop(L)};
    if (!lua_isnil(L, -1)) {
        luaL_checktype(L, -1, LUA_TFUNCTION);
        o.ends = ends;
        o.ends_data = &call;
    }
    luaL_checkstack(L, 20, NULL);
    lb_check(L, pl_generate(*box, &holder->result, n, tokens, offsets, keys, &o));
    push_answers(L, holder->result, o.samples);
    pl_gen_result_free(holder->ctx, holder->result);
    holder->result = NULL;
    return 1;
}

void lb_open_gen(lua_State *L)
{
    static const luaL_Reg methods[] = {
        {"__gc", generator_gc},
        {"generate", generator_generate},
        {NULL, NULL},
    };
    lb_class(L, GENERATOR, methods);
    lua_pushcfunction(L, generator_new);
    lua_setfield(L, -2, "generator");
}
