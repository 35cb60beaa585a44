/*
** lb_http.c - core.http: a web server on 127.0.0.1 for one person, asked by Lua when it has time.
**
** What can go wrong outside (the port is taken) is nil, message; wrong arguments, lack of memory
** and Ctrl-C raise.
*/
#include "lb.h"

#define HTTP_MT "perilune.HttpServer"

static pl_http *check_server(lua_State *L)
{
    pl_http **box = luaL_checkudata(L, 1, HTTP_MT);
    luaL_argcheck(L, *box != NULL, 1, "the server was closed");
    return *box;
}

/// http.open{port = 0, token = random} -> server | nil, message: port 0 is any that is free
static int http_open(lua_State *L)
{
    static const char *const known[] = {"port", "token", NULL};
    lb_known(L, 1, "http.open", known);
    const lua_Integer port = lb_integer_field(L, 1, "port", 0);
    luaL_argcheck(L, port >= 0 && port <= 65535, 1, "a port is from 0 to 65535");
    const char *token = lb_string_field(L, 1, "token", NULL);
    pl_http **box = lua_newuserdatauv(L, sizeof(pl_http *), 0);
    *box = NULL;
    luaL_setmetatable(L, HTTP_MT);
    const pl_status st = pl_http_open(lb_ctx(L), box, (int)port, token);
    return st == PL_OK ? 1 : lb_soft_fail(L, st);
}

/// server:close(): more than once is fine
static int server_close(lua_State *L)
{
    pl_http **box = luaL_checkudata(L, 1, HTTP_MT);
    pl_http *http = *box;
    *box = NULL;
    pl_http_close(http);
    return 0;
}

/// server:address() -> "http://127.0.0.1:PORT/TOKEN/"
static int server_address(lua_State *L)
{
    pl_http *http = check_server(L);
    lua_pushfstring(L, "http://127.0.0.1:%d/%s/", pl_http_port(http), pl_http_token(http));
    return 1;
}

/// server:next(seconds) -> {number, method, path, query, body} | nil when none came in that time
static int server_next(lua_State *L)
{
    pl_http *http = check_server(L);
    const lua_Number seconds = luaL_checknumber(L, 2);
    luaL_argcheck(L, seconds >= 0 && seconds < 1e6, 2, "seconds from 0 to 1e6");
    pl_http_request request;
    lb_check(L, pl_http_next(http, &request, seconds));
    if (request.number == 0) return 0;
    lua_createtable(L, 0, 5);
    lb_set_integer(L, "number", request.number);
    lb_set_string(L, "method", request.post ? "POST" : "GET");
    lb_set_string(L, "path", request.path);
    lb_set_string(L, "query", request.query);
    lua_pushlstring(L, request.body, request.body_size);
    lua_setfield(L, -2, "body");
    return 1;
}

/// server:answer(number, status, type, body, policy = "")
static int server_answer(lua_State *L)
{
    size_t size;
    pl_http *http = check_server(L);
    const lua_Integer number = luaL_checkinteger(L, 2), status = luaL_checkinteger(L, 3);
    const char *type = luaL_checkstring(L, 4), *body = luaL_checklstring(L, 5, &size);
    const char *policy = luaL_optstring(L, 6, "");
    luaL_argcheck(L, status >= 200 && status < 600, 3, "a status is from 200 to 599");
    lb_check(L, pl_http_answer(http, number, (int)status, type, policy, body, size));
    return 0;
}

/// server:publish(event, text): one line of text to all who view, and to those who come back
static int server_publish(lua_State *L)
{
    size_t size;
    pl_http *http = check_server(L);
    const char *name = luaL_checkstring(L, 2), *text = luaL_checklstring(L, 3, &size);
    lb_check(L, pl_http_publish(http, name, text, size));
    return 0;
}

/// server:events() -> number of the last event
static int server_events(lua_State *L)
{
    lua_pushinteger(L, pl_http_events(check_server(L)));
    return 1;
}

/// server:viewers() -> how many are told events now
static int server_viewers(lua_State *L)
{
    lua_pushinteger(L, pl_http_viewers(check_server(L)));
    return 1;
}

void lb_open_http(lua_State *L)
{
    static const luaL_Reg methods[] = {{"close", server_close},     {"address", server_address},
                                       {"next", server_next},       {"answer", server_answer},
                                       {"publish", server_publish}, {"events", server_events},
                                       {"viewers", server_viewers}, {"__gc", server_close},
                                       {"__close", server_close},   {NULL, NULL}};
    static const luaL_Reg functions[] = {{"open", http_open}, {NULL, NULL}};
    lb_class(L, HTTP_MT, methods);
    luaL_newlib(L, functions);
    lua_setfield(L, -2, "http");
}
