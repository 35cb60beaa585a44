/*
** config.c - fuzz target: config.json as the models read it, and the JSON reader below it. A config
** is taken or refused with a sentence that names it: an error of Lua itself is a fault.
*/
#include "fuzz.h"

#include <lauxlib.h>
#include <lfs.h>
#include <lualib.h>

int luaopen_perilune_core(lua_State *L);

static const char setup[] =
    "local folder = ...\n"
    "package.path = 'lua/?.lua;lua/?/init.lua'\n"
    "local json, model = require('perilune.base.json'), require('perilune.model')\n"
    "local small = model.new { model_type = 'llama', hidden_size = 4, intermediate_size = 4,\n"
    "  num_hidden_layers = 1, num_attention_heads = 2, vocab_size = 8 }\n"
    "assert(small:write(folder))\n"
    "local function read(text)\n"
    "  for _, strict in ipairs { false, true } do\n"
    "    local value, message = json.decode(text, { strict = strict })\n"
    "    if value ~= nil and strict then\n" /* lax reading lets through what is not UTF-8 */
    "      local written = json.encode(value)\n"
    "      local again = json.decode(written)\n"
    "      assert(again ~= nil and json.encode(again) == written, 'JSON changed')\n"
    "    else\n"
    "      assert(value ~= nil or message:find('^json: '), message)\n"
    "    end\n"
    "  end\n"
    "end\n"
    "local function load()\n"
    "  local made, message = model.load(folder)\n"
    "  assert(made or message:find('config.json', 1, true) or message:find('tensor', 1, true),\n"
    "    message)\n"
    "end\n"
    "return read, load\n";

static lua_State *start(void)
{
    make_folder();
    lua_State *L = luaL_newstate();
    luaL_openlibs(L);
    luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
    lua_pushcfunction(L, luaopen_perilune_core);
    lua_setfield(L, -2, "perilune.core");
    lua_pushcfunction(L, luaopen_lfs);
    lua_setfield(L, -2, "lfs");
    lua_settop(L, 0);
    if (luaL_loadstring(L, setup) == LUA_OK) {
        lua_pushstring(L, folder);
        if (lua_pcall(L, 1, 2, 0) == LUA_OK) return L; /* read at 1, load at 2 */
    }
    fprintf(stderr, "%s\n", lua_tostring(L, -1));
    abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static lua_State *L;
    if (!L) L = start();
    if (size < 1) return 0;
    const bool whole = data[0] % 2 == 1;
    if (whole) put("config.json", data + 1, size - 1);
    lua_pushvalue(L, whole ? 2 : 1);
    if (!whole) lua_pushlstring(L, (const char *)data + 1, size - 1);
    if (lua_pcall(L, whole ? 0 : 1, 0, 0) != LUA_OK) {
        fprintf(stderr, "%s\n", lua_tostring(L, -1));
        abort();
    }
    return 0;
}
