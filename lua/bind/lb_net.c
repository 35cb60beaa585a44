/*
** lb_net.c - core.net: lines of text between programs of one user on one machine.
**
** What can go wrong outside (nobody serves a path, the other side has gone) is nil, message; wrong
** arguments, lack of memory and Ctrl-C raise.
*/
#include "lb.h"

#define LISTENER_MT "perilune.Listener"
#define CHANNEL_MT "perilune.Channel"

static pl_listener *check_listener(lua_State *L, int idx)
{
    pl_listener **box = luaL_checkudata(L, idx, LISTENER_MT);
    luaL_argcheck(L, *box != NULL, idx, "the listener was closed");
    return *box;
}

static pl_channel *check_channel(lua_State *L, int idx)
{
    pl_channel **box = luaL_checkudata(L, idx, CHANNEL_MT);
    luaL_argcheck(L, *box != NULL, idx, "the channel was closed");
    return *box;
}

static pl_channel **new_channel(lua_State *L)
{
    pl_channel **box = lua_newuserdatauv(L, sizeof(pl_channel *), 0);
    *box = NULL;
    luaL_setmetatable(L, CHANNEL_MT);
    return box;
}

/// net.listen(path) -> listener | nil, message
static int net_listen(lua_State *L)
{
    const char *path = lb_check_path(L, 1);
    pl_listener **box = lua_newuserdatauv(L, sizeof(pl_listener *), 0);
    *box = NULL;
    luaL_setmetatable(L, LISTENER_MT);
    const pl_status st = pl_listen(lb_ctx(L), box, path);
    return st == PL_OK ? 1 : lb_soft_fail(L, st);
}

/// net.connect(path) -> channel | nil, message
static int net_connect(lua_State *L)
{
    const char *path = lb_check_path(L, 1);
    pl_channel **box = new_channel(L);
    const pl_status st = pl_connect(lb_ctx(L), box, path);
    return st == PL_OK ? 1 : lb_soft_fail(L, st);
}

/// listener:accept() -> channel | nil when nobody waits | nil, message
static int listener_accept(lua_State *L)
{
    pl_listener *listener = check_listener(L, 1);
    pl_channel **box = new_channel(L);
    const pl_status st = pl_accept(listener, box);
    if (st != PL_OK) return lb_soft_fail(L, st);
    if (*box == NULL) lua_pushnil(L);
    return 1;
}

/// listener:close(): its file is removed; more than once is fine
static int listener_close(lua_State *L)
{
    pl_listener **box = luaL_checkudata(L, 1, LISTENER_MT);
    pl_listener *listener = *box;
    *box = NULL;
    pl_listener_close(listener);
    return 0;
}

/// channel:send(text) -> true | nil, message: what the other side does not read yet is kept
static int channel_send(lua_State *L)
{
    size_t size;
    pl_channel *channel = check_channel(L, 1);
    const char *text = luaL_checklstring(L, 2, &size);
    const pl_status st = pl_channel_send(channel, text, size);
    if (st != PL_OK) return lb_soft_fail(L, st);
    lua_pushboolean(L, 1);
    return 1;
}

/// channel:flush() -> whether all was sent | nil, message
static int channel_flush(lua_State *L)
{
    bool empty;
    const pl_status st = pl_channel_flush(check_channel(L, 1), &empty);
    if (st != PL_OK) return lb_soft_fail(L, st);
    lua_pushboolean(L, empty);
    return 1;
}

/// channel:line() -> the next line | false when none is there yet | nil, message
static int channel_line(lua_State *L)
{
    const char *line;
    size_t size;
    const pl_status st = pl_channel_line(check_channel(L, 1), &line, &size);
    if (st != PL_OK) return lb_soft_fail(L, st);
    if (line != NULL) lua_pushlstring(L, line, size);
    else lua_pushboolean(L, 0);
    return 1;
}

/// channel:alarm(on) -> true | nil, message: whether SIGURG tells of what the other side sends
static int channel_alarm(lua_State *L)
{
    pl_channel *channel = check_channel(L, 1);
    luaL_checktype(L, 2, LUA_TBOOLEAN);
    const pl_status st = pl_channel_alarm(channel, lua_toboolean(L, 2));
    if (st != PL_OK) return lb_soft_fail(L, st);
    lua_pushboolean(L, 1);
    return 1;
}

/// channel:close(): more than once is fine
static int channel_close(lua_State *L)
{
    pl_channel **box = luaL_checkudata(L, 1, CHANNEL_MT);
    pl_channel *channel = *box;
    *box = NULL;
    pl_channel_close(channel);
    return 0;
}

/// net.wait(channels, seconds, listener = nil) -> whether something came: somebody connected, sent,
/// reads again or has gone. A signal ends the wait.
static int net_wait(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    const double seconds = luaL_checknumber(L, 2);
    pl_listener *listener = lua_isnoneornil(L, 3) ? NULL : check_listener(L, 3);
    const lua_Integer n = luaL_len(L, 1);
    luaL_argcheck(L, n < 64, 1, "at most 63 channels");
    pl_channel *channels[64];
    for (lua_Integer i = 0; i < n; i++) {
        lua_geti(L, 1, i + 1);
        channels[i] = check_channel(L, -1); /* the table holds it */
        lua_pop(L, 1);
    }
    bool ready;
    lb_check(L, pl_net_wait(lb_ctx(L), listener, channels, n, seconds, &ready));
    lua_pushboolean(L, ready);
    return 1;
}

void lb_open_net(lua_State *L)
{
    static const luaL_Reg listener[] = {{"accept", listener_accept},
                                        {"close", listener_close},
                                        {"__gc", listener_close},
                                        {"__close", listener_close},
                                        {NULL, NULL}};
    static const luaL_Reg channel[] = {{"send", channel_send},     {"flush", channel_flush},
                                       {"line", channel_line},     {"alarm", channel_alarm},
                                       {"close", channel_close},   {"__gc", channel_close},
                                       {"__close", channel_close}, {NULL, NULL}};
    static const luaL_Reg functions[] = {
        {"listen", net_listen}, {"connect", net_connect}, {"wait", net_wait}, {NULL, NULL}};
    lb_class(L, LISTENER_MT, listener);
    lb_class(L, CHANNEL_MT, channel);
    luaL_newlib(L, functions);
    lua_setfield(L, -2, "net");
}
