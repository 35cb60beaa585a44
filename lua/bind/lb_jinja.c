/*
** lb_jinja.c - core.jinja: chat templates of models. compile(text, name) gives a template or nil
** and a message; template:render(opts) the text and its spans, or nil and a message.
*/
#include "lb.h"

#define JINJA_MT "perilune.Jinja"

static int jinja_gc(lua_State *L)
{
    pl_jinja **box = luaL_checkudata(L, 1, JINJA_MT);
    pl_jinja_free(*box);
    *box = NULL;
    return 0;
}

static const pl_jinja *check_jinja(lua_State *L)
{
    pl_jinja **box = luaL_checkudata(L, 1, JINJA_MT);
    luaL_argcheck(L, *box != NULL, 1, "the template was released");
    return *box;
}

static int compile(lua_State *L)
{
    size_t length;
    const char *text = luaL_checklstring(L, 1, &length);
    const char *name = luaL_checkstring(L, 2);
    pl_jinja **box = lua_newuserdatauv(L, sizeof *box, 0);
    *box = NULL;
    luaL_setmetatable(L, JINJA_MT);
    const pl_status st = pl_jinja_compile(lb_ctx(L), box, text, length, name);
    return st == PL_OK ? 1 : lb_soft_fail(L, st);
}

static int has_generation(lua_State *L)
{
    lua_pushboolean(L, pl_jinja_has_generation(check_jinja(L)));
    return 1;
}

/* {first, last, first, last, ...}: bytes from 1, as `guarded` of encode takes them */
static void push_spans(lua_State *L, const pl_text_span *spans, int64_t n)
{
    lua_createtable(L, (int)(2 * n), 0);
    for (int64_t i = 0; i < n; i++) {
        lua_pushinteger(L, (lua_Integer)spans[i].start + 1);
        lua_rawseti(L, -2, 2 * i + 1);
        lua_pushinteger(L, (lua_Integer)spans[i].end);
        lua_rawseti(L, -2, 2 * i + 2);
    }
}

typedef struct {
    pl_ctx *ctx;
    pl_jinja_output output;
} output_box;

static int output_gc(lua_State *L)
{
    output_box *box = lua_touserdata(L, 1);
    pl_jinja_output_free(box->ctx, &box->output);
    return 0;
}

#define OUTPUT_MT "perilune.JinjaOutput"

/* render{values =, trusted =, now =, steps =, bytes =, depth =} -> text, spans, spans */
static int render(lua_State *L)
{
    static const char *const known[] = {"values", "trusted", "now", "steps",
                                        "bytes",  "depth",   NULL};
    const pl_jinja *t = check_jinja(L);
    luaL_checktype(L, 2, LUA_TTABLE);
    lua_settop(L, 2);
    lb_known(L, 2, "option of render", known);
    pl_jinja_input in = {.now = lb_integer_field(L, 2, "now", -1),
                         .most_steps = lb_integer_field(L, 2, "steps", 0),
                         .most_bytes = lb_integer_field(L, 2, "bytes", 0),
                         .most_depth = (int)lb_integer_field(L, 2, "depth", 0)};
    if (lua_getfield(L, 2, "values") != LUA_TSTRING)
        return luaL_error(L, "render wants values, the text of a JSON object");
    in.values = lua_tolstring(L, -1, &in.values_length);
    if (lua_getfield(L, 2, "trusted") == LUA_TSTRING)
        in.trusted = lua_tolstring(L, -1, &in.trusted_length);
    output_box *box = lua_newuserdatauv(L, sizeof *box, 0);
    *box = (output_box){.ctx = lb_ctx(L)};
    luaL_setmetatable(L, OUTPUT_MT);
    lua_toclose(L, -1);
    const pl_status st = pl_jinja_render(t, &box->output, &in);
    if (st == PL_ERR_NOMEM) { /* a budget, as a rule */
        lua_pushnil(L);
        lua_pushstring(L, pl_error(lb_ctx(L)));
        return 2;
    }
    if (st != PL_OK) return lb_soft_fail(L, st);
    lua_pushlstring(L, box->output.text, box->output.length);
    push_spans(L, box->output.user, box->output.n_user);
    push_spans(L, box->output.generated, box->output.n_generated);
    return 3;
}

void lb_open_jinja(lua_State *L)
{
    static const luaL_Reg methods[] = {
        {"render", render}, {"has_generation", has_generation}, {"__gc", jinja_gc}, {NULL, NULL}};
    static const luaL_Reg output_methods[] = {
        {"__gc", output_gc}, {"__close", output_gc}, {NULL, NULL}};
    lb_class(L, JINJA_MT, methods);
    lb_class(L, OUTPUT_MT, output_methods);
    lua_newtable(L);
    lua_pushcfunction(L, compile);
    lua_setfield(L, -2, "compile");
    lua_setfield(L, -2, "jinja");
}
