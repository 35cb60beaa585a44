/*
** sockets.c - the pump to Lua: a module that `perilune jupyter kernel` loads, and nothing else.
**
** It is no part of the program, whose start would else wait for libzmq and what that brings along.
*/
#include "pump.h"

#include <errno.h>
#include <lauxlib.h>
#include <lua.h>
#include <math.h>
#include <string.h>
#include <zmq.h>

#define SOCKETS_MT "perilune.Sockets"

int luaopen_perilune_sockets(lua_State *L);

static const struct {
    const char *name;
    char kind;
} kinds[] = {{"shell", PUMP_OF_SHELL},
             {"control", PUMP_OF_CONTROL},
             {"stdin", PUMP_OF_STDIN},
             {"iopub", PUMP_OF_IOPUB},
             {"parent gone", PUMP_PARENT_GONE}};

static pump *check_pump(lua_State *L)
{
    pump **box = luaL_checkudata(L, 1, SOCKETS_MT);
    luaL_argcheck(L, *box != NULL, 1, "the sockets were closed");
    return *box;
}

static const char *option(lua_State *L, int table, const char *name)
{
    if (lua_getfield(L, table, name) != LUA_TSTRING)
        luaL_error(L, "sockets.open: '%s' has to be a text", name);
    return lua_tostring(L, -1); /* stays on the stack */
}

/* sockets.open{shell, control, stdin, heartbeat, iopub = addresses, key, session, user,
** watch_parent} -> sockets | nil, message */
static int open_sockets(lua_State *L)
{
    static const char *const names[PUMP_SOCKETS] = {"shell", "control", "stdin", "heartbeat",
                                                    "iopub"};
    char message[256];
    pump_options options;
    luaL_checktype(L, 1, LUA_TTABLE);
    for (int i = 0; i < PUMP_SOCKETS; i++) options.address[i] = option(L, 1, names[i]);
    options.key = option(L, 1, "key");
    options.session = option(L, 1, "session");
    options.user = option(L, 1, "user");
    lua_getfield(L, 1, "watch_parent");
    options.watch_parent = lua_toboolean(L, -1);
    pump **box = lua_newuserdatauv(L, sizeof(pump *), 0);
    *box = NULL;
    luaL_setmetatable(L, SOCKETS_MT);
    *box = pump_open(&options, message, sizeof message);
    if (*box) return 1;
    lua_pushnil(L);
    lua_pushstring(L, message);
    return 2;
}

/* Waits for a message; false when none has come, or a signal has. */
static bool wait_for(void *end, double seconds)
{
    zmq_pollitem_t item = {end, 0, ZMQ_POLLIN, 0};
    return zmq_poll(&item, 1, (long)ceil(seconds * 1000)) > 0;
}

/* Pushes the next frame; whether more follow. */
static bool push_frame(lua_State *L, void *end)
{
    int more = 0;
    size_t size = sizeof more;
    zmq_msg_t frame;
    zmq_msg_init(&frame);
    while (zmq_msg_recv(&frame, end, 0) < 0 && errno == EINTR) continue;
    lua_pushlstring(L, zmq_msg_data(&frame), zmq_msg_size(&frame));
    zmq_msg_close(&frame);
    zmq_getsockopt(end, ZMQ_RCVMORE, &more, &size);
    return more != 0;
}

/* sockets:receive(seconds) -> {channel, identities, header, parent, metadata, content} | nil when
** nothing came in time or a signal has come */
static int receive(lua_State *L)
{
    static const char *const fields[] = {"header", "parent", "metadata", "content"};
    void *end = pump_end(check_pump(L));
    const double seconds = luaL_checknumber(L, 2);
    luaL_argcheck(L, seconds >= 0 && seconds <= 3600, 2, "0 to 3600 seconds");
    if (!wait_for(end, seconds)) return 0;
    lua_createtable(L, 0, 6);
    bool more = push_frame(L, end);
    const char kind = *lua_tostring(L, -1);
    lua_pop(L, 1);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (kinds[i].kind != kind) continue;
        lua_pushstring(L, kinds[i].name);
        lua_setfield(L, -2, "channel");
    }
    lua_newtable(L);
    for (int i = 1; more; i++) {
        more = push_frame(L, end);
        if (strcmp(lua_tostring(L, -1), PUMP_DELIMITER) == 0) {
            lua_pop(L, 1);
            break;
        }
        lua_rawseti(L, -2, i);
    }
    lua_setfield(L, -2, "identities");
    for (int i = 0; more; i++) {
        more = push_frame(L, end);
        if (i < 4) lua_setfield(L, -2, fields[i]);
        else lua_pop(L, 1);
    }
    return 1;
}

static void send_bytes(void *end, const void *bytes, size_t size, bool more)
{
    while (zmq_send(end, bytes, size, more ? ZMQ_SNDMORE : 0) < 0 && errno == EINTR) continue;
}

static void send_text(lua_State *L, int idx, void *end, bool more)
{
    size_t size;
    const char *text = lua_tolstring(L, idx, &size);
    send_bytes(end, text, size, more);
}

/* sockets:send(channel, identities, header, parent, metadata, content): texts; signed on the way */
static int send_message(lua_State *L)
{
    pump *p = check_pump(L);
    void *end = pump_end(p);
    const char *channel = luaL_checkstring(L, 2);
    size_t which = 0;
    while (which < 4 && strcmp(kinds[which].name, channel) != 0) which++;
    luaL_argcheck(L, which < 4, 2, "no such channel");
    luaL_checktype(L, 3, LUA_TTABLE);
    for (int i = 4; i <= 7; i++) luaL_checkstring(L, i);
    const lua_Integer n = luaL_len(L, 3);
    luaL_argcheck(L, n <= 32, 3, "too many identities");
    for (lua_Integer i = 1; i <= n; i++) {
        luaL_argcheck(L, lua_rawgeti(L, 3, i) == LUA_TSTRING, 3, "texts are wanted");
        lua_pop(L, 1);
    }
    send_bytes(end, &kinds[which].kind, 1, true);
    for (lua_Integer i = 1; i <= n; i++) {
        lua_rawgeti(L, 3, i);
        send_text(L, -1, end, true);
        lua_pop(L, 1);
    }
    send_bytes(end, PUMP_DELIMITER, sizeof PUMP_DELIMITER - 1, true);
    for (int i = 4; i <= 7; i++) send_text(L, i, end, i < 7);
    pump_heard(p);
    return 0;
}

/* sockets:parent(header): the header of the message that what is printed from now on answers */
static int set_parent(lua_State *L)
{
    size_t size;
    pump *p = check_pump(L);
    const char *header = luaL_checklstring(L, 2, &size);
    pump_parent(p, header, size);
    return 0;
}

/* sockets:close(): what is on its way goes out; more than once is fine */
static int close_sockets(lua_State *L)
{
    pump **box = luaL_checkudata(L, 1, SOCKETS_MT), *p = *box;
    *box = NULL;
    pump_close(p);
    return 0;
}

/* sockets.token() -> 32 hexadecimal digits that nobody can guess */
static int token(lua_State *L)
{
    char text[33];
    pump_token(text);
    lua_pushstring(L, text);
    return 1;
}

int luaopen_perilune_sockets(lua_State *L)
{
    static const luaL_Reg methods[] = {{"receive", receive},
                                       {"send", send_message},
                                       {"parent", set_parent},
                                       {"close", close_sockets},
                                       {"__gc", close_sockets},
                                       {"__close", close_sockets},
                                       {NULL, NULL}};
    static const luaL_Reg functions[] = {{"open", open_sockets}, {"token", token}, {NULL, NULL}};
    luaL_newmetatable(L, SOCKETS_MT);
    luaL_setfuncs(L, methods, 0);
    lua_pushvalue(L, -1);
    lua_setfield(L, -2, "__index");
    luaL_newlib(L, functions);
    return 1;
}
