/*
** lb_profile.c - core.profile: the engine's account of its time, and the machine's limits.
**
**   core.profile.begin{...}  the limits as `measure` gives them, and `events`
**   core.profile.finish()    {rows =, stages =, events =, lost =}, and ends it; nil when none runs
**   core.profile.measure()   the limits, in operations and bytes a second
**   core.profile.fma_rate(s) float32 multiplications and additions a second, over s seconds
**
** perilune.base.profile and perilune.base.processor are what others use.
*/
#include "lb.h"

static const char *const limit_names[] = {"float32", "bfloat16",    "split",  "read", "copy",
                                          "cache",   "cache_bytes", "events", NULL};

static int begin(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    lb_known(L, 1, "profile", limit_names);
    const pl_limits limits = {
        .float32 = lb_number_field(L, 1, "float32", 0),
        .bfloat16 = lb_number_field(L, 1, "bfloat16", 0),
        .split = lb_number_field(L, 1, "split", 0),
        .read = lb_number_field(L, 1, "read", 0),
        .copy = lb_number_field(L, 1, "copy", 0),
        .cache = lb_number_field(L, 1, "cache", 0),
        .cache_bytes = lb_integer_field(L, 1, "cache_bytes", 0),
    };
    lb_check(L, pl_profile_begin(lb_ctx(L), &limits, lb_integer_field(L, 1, "events", 0)));
    return 0;
}

static void push_row(lua_State *L, int64_t i)
{
    const pl_profile_row *row = pl_profile_get_row(lb_ctx(L), i);
    lua_createtable(L, 0, 11);
    lb_set_string(L, "stage", row->stage);
    lb_set_string(L, "name", row->name);
    lb_set_boolean(L, "backward", row->backward);
    lb_set_integer(L, "calls", row->calls);
    lb_set_number(L, "seconds", row->seconds);
    lb_set_number(L, "flops", row->flops);
    lb_set_number(L, "split", row->split);
    lb_set_number(L, "bytes", row->bytes);
    lb_set_number(L, "peak", row->peak);
    lb_set_number(L, "least", row->least);
    lb_set_string(L, "example", row->example);
}

static void push_stage(lua_State *L, int64_t i)
{
    const pl_profile_stage stage = pl_profile_get_stage(lb_ctx(L), i);
    lua_createtable(L, 0, 5);
    lb_set_string(L, "name", stage.name);
    lb_set_integer(L, "calls", stage.calls);
    lb_set_number(L, "seconds", stage.seconds);
    lb_set_number(L, "nested", stage.nested);
    lb_set_number(L, "ops", stage.ops);
}

static void push_event(lua_State *L, int64_t i)
{
    const pl_profile_event event = pl_profile_get_event(lb_ctx(L), i);
    lua_createtable(L, 0, 5);
    lb_set_string(L, "name", event.name);
    lb_set_string(L, "stage", event.stage);
    lb_set_boolean(L, "backward", event.backward);
    lb_set_number(L, "began", event.began);
    lb_set_number(L, "seconds", event.seconds);
}

static void set_list(lua_State *L, const char *name, pl_profile_list list,
                     void (*push)(lua_State *L, int64_t i))
{
    const int64_t n = pl_profile_count(lb_ctx(L), list);
    lua_newtable(L);
    for (int64_t i = 0; i < n; i++) {
        push(L, i);
        lua_seti(L, -2, i + 1);
    }
    lua_setfield(L, -2, name);
}

static int finish(lua_State *L)
{
    if (!pl_profile_on(lb_ctx(L))) return 0;
    lua_createtable(L, 0, 4);
    set_list(L, "rows", PL_PROFILE_ROWS, push_row);
    set_list(L, "stages", PL_PROFILE_STAGES, push_stage);
    set_list(L, "events", PL_PROFILE_EVENTS, push_event);
    lb_set_integer(L, "lost", pl_profile_count(lb_ctx(L), PL_PROFILE_LOST));
    pl_profile_end(lb_ctx(L));
    return 1;
}

static int measure(lua_State *L)
{
    pl_limits limits;
    lb_check(L, pl_limits_measure(lb_ctx(L), &limits));
    lua_createtable(L, 0, 7);
    lb_set_number(L, "float32", limits.float32);
    lb_set_number(L, "bfloat16", limits.bfloat16);
    lb_set_number(L, "split", limits.split);
    lb_set_number(L, "read", limits.read);
    lb_set_number(L, "copy", limits.copy);
    lb_set_number(L, "cache", limits.cache);
    lb_set_integer(L, "cache_bytes", limits.cache_bytes);
    return 1;
}

static int fma_rate(lua_State *L)
{
    const lua_Number seconds = luaL_checknumber(L, 1);
    luaL_argcheck(L, seconds >= 0 && seconds <= 60, 1, "0 to 60 seconds wanted");
    lua_pushnumber(L, pl_fma_rate(seconds));
    return 1;
}

void lb_open_profile(lua_State *L)
{
    static const luaL_Reg functions[] = {{"begin", begin},
                                         {"finish", finish},
                                         {"measure", measure},
                                         {"fma_rate", fma_rate},
                                         {NULL, NULL}};
    luaL_newlib(L, functions);
    lua_setfield(L, -2, "profile");
}
