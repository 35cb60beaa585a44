/*
** offered.c - perilune.host: what the program offers to its own Lua files. Calls that end a Ctrl-C,
** whether signals wait for whoever can stop well, the prompt. The signals themselves are in
** interrupt.c.
*/
#include "host.h"

#include "lb.h"

/* host.call(f, ...): like pcall, but also ends a Ctrl-C, and adds a traceback to the message.
** Returns true and the results, or false, the message and whether it was Ctrl-C. A caller that has
** a grace keeps it; one that is idle is not while f runs, and a Ctrl-C from before is forgotten. */
static int l_call(lua_State *L)
{
    luaL_checkany(L, 1);
    const bool graceful = host_interrupt_graceful(false);
    host_interrupt_graceful(graceful);
    const bool idle = host_interrupt_idle(false);
    if (idle) host_interrupt_forget(L);
    int status = host_call(L, lua_gettop(L) - 1, LUA_MULTRET);
    host_interrupt_idle(idle);
    bool interrupted = host_interrupt_pending();
    if (graceful) host_interrupt_forget(L); /* a signal that waits for the caller still does */
    else host_interrupt_clear(L);
    lua_pushboolean(L, status == LUA_OK);
    lua_insert(L, 1);
    if (status != LUA_OK) lua_pushboolean(L, interrupted);
    return lua_gettop(L);
}

/* host.graceful(on): whether Ctrl-C and SIGTERM wait for the caller, who asks `stopping` at each
** step and calls `stop` when it has written what it keeps. Returns the former state. */
static int l_graceful(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TBOOLEAN);
    lua_pushboolean(L, host_interrupt_graceful(lua_toboolean(L, 1)));
    return 1;
}

/* host.words(text): what a signal that nobody waits for writes first; nil: nothing. */
static int l_words(lua_State *L)
{
    size_t size = 0;
    const char *text = luaL_optlstring(L, 1, NULL, &size);
    host_interrupt_words(text, size);
    return 0;
}

/* host.stopping(): whether a signal waits for the caller. */
static int l_stopping(lua_State *L)
{
    lua_pushboolean(L, host_interrupt_noted() != 0);
    return 1;
}

/* host.stop(): honours it; does not return. */
static int l_stop(lua_State *L)
{
    if (!host_interrupt_noted()) return luaL_error(L, "host.stop: no signal waits");
    return host_interrupt_stop(L);
}

/* host.attend(on, seconds = none): whether SIGURG, which a client's channel sends, acts as Ctrl-C;
** and so does the end of the seconds. */
static int l_attend(lua_State *L)
{
    const lua_Integer seconds = luaL_optinteger(L, 2, 0);
    luaL_checktype(L, 1, LUA_TBOOLEAN);
    luaL_argcheck(L, seconds >= 0 && seconds <= 86400, 2, "a number of seconds, at most a day");
    host_interrupt_attend(lua_toboolean(L, 1), (unsigned)seconds);
    return 0;
}

/* host.interrupt(): as if Ctrl-C had come. */
static int l_interrupt(lua_State *L)
{
    return host_interrupt_raise(L);
}

/* host.interrupted(): whether an interrupt is on its way out. */
static int l_interrupted(lua_State *L)
{
    lua_pushboolean(L, host_interrupt_pending());
    return 1;
}

/* host.idle(on): whether Ctrl-C is only noted, but for what host.call runs. Returns the former
** state. */
static int l_idle(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TBOOLEAN);
    lua_pushboolean(L, host_interrupt_idle(lua_toboolean(L, 1)));
    return 1;
}

/* host.prompt(): the module perilune.repl.session, for who offers the prompt in another place. */
static int l_prompt(lua_State *L)
{
    lua_getglobal(L, "require");
    lua_pushliteral(L, "perilune.repl.session");
    lua_call(L, 1, 1);
    return 1;
}

/* host.watch(f): f(message) is called with each error that host.call or the program meets, before
** the stack is unwound; nil: nothing. What f raises is lost. */
static int l_watch(lua_State *L)
{
    if (!lua_isnoneornil(L, 1)) luaL_checktype(L, 1, LUA_TFUNCTION);
    lua_settop(L, 1);
    host_watch(L);
    return 0;
}

void host_offer(lua_State *L)
{
    static const luaL_Reg functions[] = {{"call", l_call},           {"graceful", l_graceful},
                                         {"stopping", l_stopping},   {"interrupted", l_interrupted},
                                         {"words", l_words},         {"stop", l_stop},
                                         {"attend", l_attend},       {"prompt", l_prompt},
                                         {"interrupt", l_interrupt}, {"watch", l_watch},
                                         {"idle", l_idle},           {NULL, NULL}};
    luaL_newlib(L, functions);
}
