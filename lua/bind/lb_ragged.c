/*
** lb_ragged.c - core.ragged: whole sequences of a ragged batch.
**
**   take(x, offsets, indices) -> x, offsets       the sequences at indices (from 1), in that order
**   join(a, a_offsets, b, b_offsets) -> x, offsets, before
**   positions(offsets) -> int32 [T]
**   distinct(tokens, offsets) -> rows, places     rows but for common beginnings of neighbours
*/
#include "lb.h"

static int l_take(lua_State *L)
{
    const pl_tensor *x = lb_check_tensor(L, 1), *offsets = lb_check_tensor(L, 2);
    luaL_checktype(L, 3, LUA_TTABLE);
    const lua_Integer n = luaL_len(L, 3);
    int64_t *index = lua_newuserdatauv(L, sizeof *index * (size_t)(n + 1), 0);
    for (lua_Integer i = 0; i < n; i++) {
        int is_integer;
        lua_geti(L, 3, i + 1);
        index[i] = lua_tointegerx(L, -1, &is_integer) - 1;
        if (!is_integer)
            return luaL_error(L, "ragged.take: index %d is not an integer", (int)i + 1);
        lua_pop(L, 1);
    }
    pl_tensor **out = lb_new_tensor(L), **out_offsets = lb_new_tensor(L);
    lb_check(L, pl_ragged_take(lb_ctx(L), out, out_offsets, x, offsets, index, n));
    lb_charge(L, *out);
    return 2;
}

static int l_join(lua_State *L)
{
    const pl_tensor *a = lb_check_tensor(L, 1), *a_offsets = lb_check_tensor(L, 2);
    const pl_tensor *b = lb_check_tensor(L, 3), *b_offsets = lb_check_tensor(L, 4);
    pl_tensor **out = lb_new_tensor(L), **offsets = lb_new_tensor(L), **before = lb_new_tensor(L);
    lb_check(L, pl_ragged_join(lb_ctx(L), out, offsets, before, a, a_offsets, b, b_offsets));
    lb_charge(L, *out);
    return 3;
}

static int l_positions(lua_State *L)
{
    const pl_tensor *offsets = lb_check_tensor(L, 1);
    pl_tensor **out = lb_new_tensor(L);
    lb_check(L, pl_ragged_positions(lb_ctx(L), out, offsets));
    lb_charge(L, *out);
    return 1;
}

static int l_distinct(lua_State *L)
{
    const pl_tensor *tokens = lb_check_tensor(L, 1), *offsets = lb_check_tensor(L, 2);
    pl_tensor **rows = lb_new_tensor(L), **places = lb_new_tensor(L);
    lb_check(L, pl_ragged_distinct(lb_ctx(L), rows, places, tokens, offsets));
    return 2;
}

void lb_open_ragged(lua_State *L)
{
    static const luaL_Reg functions[] = {{"take", l_take},
                                         {"join", l_join},
                                         {"positions", l_positions},
                                         {"distinct", l_distinct},
                                         {NULL, NULL}};
    luaL_newlib(L, functions);
    lua_setfield(L, -2, "ragged");
}
